package docker

import (
	"sync"
	"time"

	api "github.com/moby/moby/api/types/container"

	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// ContainerView is a container, running or not, for those who look on from outside the lab. It is a copy.
type ContainerView struct {
	ID, Name string
	Image    string // as Docker shows it, with its tag: "nginx:latest"
	ImageID  string
	State    api.ContainerState
	ExitCode int
	OOM      bool
	Failed   string     // why it did not start
	Restarts int        // by its policy
	Ports    []PortView // published, while it runs
	Created  time.Time
	Started  time.Time // zero: never
	Finished time.Time // zero: never
}

// PortView is a TCP port of the machine that leads to one of a container.
type PortView struct{ Host, Container uint16 }

// ImageView is an image of the host.
type ImageView struct {
	ID      string
	Tags    []string // as Docker shows them
	Size    int64    // bytes
	Created time.Time
}

// FileChange is a path that differs from the image's (docker diff).
type FileChange struct {
	Path string
	Kind string    // A, C or D, as docker diff prints
	At   time.Time // ctime in the container's own layer
}

// Containers tells of all containers, the newest first, as docker ps lists them.
func (e *Engine) Containers() []ContainerView {
	var l []ContainerView
	for _, c := range e.all() {
		l = append(l, c.view())
	}
	return l
}

// Images tells of all images, by digest.
func (e *Engine) Images() []ImageView {
	var l []ImageView
	for _, i := range e.cfg.Images.List() {
		l = append(l, ImageView{ID: i.ID, Tags: familiar(i.Tags), Size: i.Size, Created: i.Created})
	}
	return l
}

func (c *container) view() ContainerView {
	v := ContainerView{ID: c.id, Name: c.currentName(), Image: withTag(c.config.Image), ImageID: c.image.ID, Created: c.created}
	for _, p := range c.ports() {
		if p.PublicPort != 0 {
			v.Ports = append(v.Ports, PortView{p.PublicPort, p.PrivatePort})
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v.State, v.ExitCode, v.OOM, v.Failed, v.Restarts, v.Started, v.Finished = c.state, c.exitCode, c.oom, c.failed, c.restarts, c.started, c.finished
	return v
}

// Written is what a container's own layer changes, in the order of docker diff. The container is named as for the API.
func (e *Engine) Written(ref string) ([]FileChange, error) {
	c, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	l, err := c.changes()
	if err != nil {
		return nil, err
	}
	upper := vfs.NewNamespace(c.upper).View(vfs.Root)
	out := make([]FileChange, 0, len(l))
	for _, ch := range l {
		f := FileChange{Path: ch.Path, Kind: ch.Kind.String()}
		if st, err := upper.Lstat(nil, ch.Path); err == nil {
			f.At = time.Unix(0, st.Ctim).UTC()
		}
		out = append(out, f)
	}
	return out, nil
}

// Logged is the newest part of a container's log.
func (e *Engine) Logged(ref string) ([]runtime.Line, error) {
	c, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	return c.log.Recent(), nil
}

// Watch calls f after each event, and after a start that failed, until cancel is called. f may be called under any lock and must return at once.
func (e *Engine) Watch(f func()) (cancel func()) { return e.changed.add(f) }

// WatchLogs does the same for each line that a container writes.
func (e *Engine) WatchLogs(f func()) (cancel func()) { return e.written.add(f) }

// watchers are functions that want to know. The lock is the innermost.
type watchers struct {
	mu   sync.Mutex
	list map[int]func() // guarded by mu
	next int            // guarded by mu
}

func (w *watchers) add(f func()) (cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.list == nil {
		w.list = map[int]func(){}
	}
	id := w.next
	w.next++
	w.list[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.list, id)
	}
}

func (w *watchers) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.list {
		f()
	}
}
