package lessons

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// testWorld is a world that a test writes into.
type testWorld struct {
	mu       sync.Mutex
	rev      int64
	objects  map[string]map[string]any // "resource/namespace/name"
	log      []Change
	files    map[string]string
	docker   *testDocker // nil: the workstation is off
	watchers map[int]func()
	next     int
	now      time.Time
}

func newTestWorld() *testWorld {
	return &testWorld{objects: map[string]map[string]any{}, files: map[string]string{}, watchers: map[int]func(){}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (w *testWorld) write(op Op, resource, name string, object map[string]any, cause Cause) int64 {
	w.mu.Lock()
	w.rev++
	w.now = w.now.Add(10 * time.Millisecond)
	key := resource + "/default/" + name
	old := w.objects[key]
	if object == nil {
		object = old
	}
	if meta, ok := object["metadata"].(map[string]any); ok {
		meta["name"] = name
	} else if object != nil {
		object["metadata"] = map[string]any{"name": name}
	}
	if op == Delete {
		delete(w.objects, key)
	} else {
		w.objects[key] = object
	}
	w.log = append(w.log, Change{Rev: w.rev, Time: w.now, Op: op, Resource: resource, Namespace: "default", Name: name, Cause: cause,
		Object: func() map[string]any { return object }, Old: func() map[string]any { return old }})
	rev, watchers := w.rev, make([]func(), 0, len(w.watchers))
	for _, f := range w.watchers {
		watchers = append(watchers, f)
	}
	w.mu.Unlock()
	for _, f := range watchers {
		f()
	}
	return rev
}

func (w *testWorld) Rev() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rev
}

func (w *testWorld) Objects(resource, namespace string) (out []map[string]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for k := range w.objects {
		if strings.HasPrefix(k, resource+"/"+namespace) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		out = append(out, w.objects[k])
	}
	return out
}

func (w *testWorld) History(after int64, resource string) (out []Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.log {
		if c.Rev > after && (resource == "" || c.Resource == resource) {
			out = append(out, c)
		}
	}
	return out
}

func (w *testWorld) ReadFile(path string) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s, ok := w.files[path]; ok {
		return []byte(s), nil
	}
	return nil, fmt.Errorf("%s: %w", path, errors.New("no such file"))
}

func (w *testWorld) Usage(_, pod, _ string) (Usage, bool) {
	return Usage{MemoryBytes: 1 << 20, OOMKills: 1}, pod == "hog"
}
func (w *testWorld) Docker() DockerHost {
	if w.docker == nil {
		return nil
	}
	return w.docker
}
func (w *testWorld) Now() time.Time { return w.now }

func (w *testWorld) OnChange(f func()) (cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.next
	w.next++
	w.watchers[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watchers, id)
	}
}

// testLab runs commands that a test gives meaning to.
type testLab struct {
	*testWorld
	commands map[string]func() int
}

func (l *testLab) World() World { return l.testWorld }

func (l *testLab) Run(_ context.Context, line string) ([]byte, int, error) {
	f, ok := l.commands[line]
	if !ok {
		return []byte(line + ": command not found"), 127, nil
	}
	return nil, f(), nil
}

func (l *testLab) WriteFile(path string, data []byte, _ uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[path] = string(data)
	return nil
}

// testDocker is a Docker host that a test writes into.
type testDocker struct {
	containers []Container
	images     []Image
	written    map[string][]FileChange
	logged     map[string][]LogLine
}

func (d *testDocker) Containers() []Container          { return d.containers }
func (d *testDocker) Images() []Image                  { return d.images }
func (d *testDocker) Written(name string) []FileChange { return d.written[name] }
func (d *testDocker) Logged(name string) []LogLine     { return d.logged[name] }
