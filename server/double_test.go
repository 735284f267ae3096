package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/api"
)

// doubleLabs stands in for labs in the portal's own tests, which are about sessions, sockets and pages and not about clusters.
type doubleLabs struct {
	mu   sync.Mutex
	labs []*doubleLab
	most int // refuse above; 0: no limit
}

func (d *doubleLabs) NewLab(_ context.Context, o LabOptions) (Lab, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	awake := 0
	for _, l := range d.labs {
		if !l.isClosed() {
			awake++
		}
	}
	if d.most > 0 && awake >= d.most {
		return nil, &Refusal{Code: "labs-full", Params: map[string]any{"limit": d.most}, RetryAfter: 30 * time.Second}
	}
	l := newDoubleLab(o)
	d.labs = append(d.labs, l)
	return l, nil
}

// OpenLab wakes a lab that was closed, with its objects and files.
func (d *doubleLabs) OpenLab(_ context.Context, id string) (Lab, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	awake := 0
	for _, l := range d.labs {
		if !l.isClosed() {
			awake++
		}
	}
	i := slices.IndexFunc(d.labs, func(l *doubleLab) bool { return l.id == id })
	switch {
	case i < 0:
		return nil, &Refusal{Code: "lab-gone"}
	case d.most > 0 && awake >= d.most:
		return nil, &Refusal{Code: "labs-full", Params: map[string]any{"limit": d.most}, RetryAfter: 30 * time.Second}
	}
	d.labs[i] = d.labs[i].again()
	return d.labs[i], nil
}

// DeleteLab forgets a lab.
func (d *doubleLabs) DeleteLab(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.labs = slices.DeleteFunc(d.labs, func(l *doubleLab) bool { return l.id == id })
	return nil
}

// Collect has nothing to remove.
func (d *doubleLabs) Collect() (int64, error) { return 0, nil }

// doubleLab is a small cluster model behind the lab interface: it knows Deployments, ReplicaSets, Pods, Services and nodes, as far as the page
// draws them.
type doubleLab struct {
	id   string
	lang string
	done chan struct{}
	rnd  *rand.Rand

	mu       sync.Mutex
	rev      int64
	objects  map[string]map[string]any // "resource/ns/name"
	log      []lessons.Change
	files    map[string][]byte
	watchers map[int]func()
	next     int
	grown    chan struct{}
	requests map[string]Requests
	closed   bool
	off      map[string]bool
	programs []Program
	kept     map[string]func() []byte
	asleep   map[string][]byte // what kept gave at the last Close
}

func newDoubleLab(o LabOptions) *doubleLab {
	l := &doubleLab{id: fmt.Sprintf("lab-%x", o.Seed), lang: o.Lang, done: make(chan struct{}), rnd: rand.New(rand.NewPCG(1, o.Seed)), objects: map[string]map[string]any{},
		files: map[string][]byte{}, watchers: map[int]func(){}, grown: make(chan struct{}), requests: map[string]Requests{}, off: map[string]bool{},
		kept: map[string]func() []byte{}, asleep: map[string][]byte{}}
	boot := lessons.Cause{Kind: "boot"}
	l.mu.Lock()
	for i := range o.Nodes + 1 {
		name := "control-plane"
		if i > 0 {
			name = fmt.Sprintf("node-%d", i)
		}
		node := map[string]any{"kind": "Node", "metadata": map[string]any{"name": name, "labels": map[string]any{}}, "status": map[string]any{
			"capacity": map[string]any{"cpu": "2", "memory": "256Mi"}, "allocatable": map[string]any{"cpu": "2", "memory": "256Mi"},
			"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}
		if i == 0 {
			node["metadata"].(map[string]any)["labels"] = map[string]any{"node-role.kubernetes.io/control-plane": ""}
			node["spec"] = map[string]any{"taints": []any{map[string]any{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}}}
		}
		l.put("nodes", "", name, node, boot)
	}
	l.put("services", "default", "kubernetes", map[string]any{"kind": "Service", "metadata": map[string]any{"name": "kubernetes", "namespace": "default"},
		"spec": map[string]any{"clusterIP": "10.96.0.1", "ports": []any{map[string]any{"port": int64(443)}}}}, boot)
	l.unlock()
	return l
}

func (l *doubleLab) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// unlock tells the watchers what happened under the lock.
func (l *doubleLab) unlock() {
	list := slices.Collect(maps.Values(l.watchers))
	close(l.grown)
	l.grown = make(chan struct{})
	l.mu.Unlock()
	for _, f := range list {
		f()
	}
}

func clone(v any) any {
	switch t := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, v := range t {
			out[k] = clone(v)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, v := range t {
			out[i] = clone(v)
		}
		return out
	case int:
		return int64(t)
	case float64:
		if t == float64(int64(t)) {
			return int64(t)
		}
	}
	return v
}

func (l *doubleLab) put(res, ns, name string, o map[string]any, c lessons.Cause) int64 {
	key := res + "/" + ns + "/" + name
	old := l.objects[key]
	l.rev++
	op := lessons.Update
	if old == nil {
		op = lessons.Create
	}
	o = clone(o).(map[string]any)
	l.objects[key] = o
	l.commit(op, res, ns, name, o, old, c)
	return l.rev
}

func (l *doubleLab) commit(op lessons.Op, res, ns, name string, o, old map[string]any, c lessons.Cause) {
	l.log = append(l.log, lessons.Change{Rev: l.rev, Time: time.Now(), Op: op, Resource: res, Namespace: ns, Name: name,
		Object: func() map[string]any { return o }, Old: func() map[string]any { return old }, Cause: c})
}

func (l *doubleLab) remove(res, ns, name string, c lessons.Cause) int64 {
	key := res + "/" + ns + "/" + name
	old := l.objects[key]
	if old == nil {
		return l.rev
	}
	delete(l.objects, key)
	l.rev++
	l.commit(lessons.Delete, res, ns, name, old, old, c)
	return l.rev
}

func at(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (l *doubleLab) pods(owner string) []string {
	var names []string
	for k, o := range l.objects {
		if strings.HasPrefix(k, "pods/") && (owner == "" || strings.HasPrefix(k, "pods/default/"+owner+"-")) {
			names = append(names, at(o, "metadata", "name").(string))
		}
	}
	slices.Sort(names)
	return names
}

// settle does what the cluster's parts would: it is called after each change of a Deployment or a pod.
func (l *doubleLab) settle(parent int64) {
	d := l.objects["deployments/default/web"]
	if d == nil {
		return
	}
	wanted, _ := at(d, "spec", "replicas").(int64)
	sum := 0
	for _, b := range fmt.Sprint(at(d, "spec", "template")) {
		sum = (sum*31 + int(b)) % 0xffff
	}
	rs := fmt.Sprintf("web-%x", sum)
	by := func(who string, parent int64) lessons.Cause {
		return lessons.Cause{Kind: "event", Actor: "system:serviceaccount:kube-system:" + who, Component: who, Parent: parent}
	}
	set := l.objects["replicasets/default/"+rs]
	if set == nil || at(set, "spec", "replicas") != wanted {
		parent = l.put("replicasets", "default", rs, map[string]any{"kind": "ReplicaSet", "metadata": map[string]any{"name": rs, "namespace": "default",
			"ownerReferences": []any{map[string]any{"kind": "Deployment", "name": "web", "controller": true}}}, "spec": map[string]any{"replicas": wanted}},
			by("deployment-controller", parent))
	}
	for _, name := range l.pods("web") {
		if !strings.HasPrefix(name, rs+"-") {
			parent = l.remove("pods", "default", name, by("replicaset-controller", parent))
		}
	}
	have := l.pods(rs)
	for i := int64(len(have)); i > wanted; i-- {
		l.remove("pods", "default", have[i-1], by("replicaset-controller", parent))
	}
	for i := int64(len(have)); i < wanted; i++ {
		name := fmt.Sprintf("%s-%05x", rs, l.rnd.IntN(0xfffff))
		l.start(name, at(d, "spec", "template").(map[string]any), rs, by("replicaset-controller", parent))
	}
	l.count(parent)
}

// start creates a pod, gives it a node if there is room, and has it run a little later.
func (l *doubleLab) start(name string, template map[string]any, rs string, c lessons.Cause) {
	pod := clone(template).(map[string]any)
	pod["kind"] = "Pod"
	meta, _ := pod["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	meta["name"], meta["namespace"], meta["uid"] = name, "default", fmt.Sprintf("%s-%d", name, l.rev)
	if rs != "" {
		meta["ownerReferences"] = []any{map[string]any{"kind": "ReplicaSet", "name": rs, "controller": true}}
	}
	pod["metadata"] = meta
	pod["status"] = map[string]any{"phase": "Pending"}
	rev := l.put("pods", "default", name, pod, c)
	need := func(o any) int64 {
		q, err := resource.ParseQuantity(fmt.Sprint(at(at(o, "spec", "containers").([]any)[0], "resources", "requests", "memory")))
		if err != nil {
			return 0
		}
		return q.Value()
	}
	best, most := "", int64(-1)
	for _, n := range []string{"node-1", "node-2", "node-3"} {
		free := int64(256 << 20)
		for _, p := range l.pods("") {
			if o := l.objects["pods/default/"+p]; at(o, "spec", "nodeName") == n {
				free -= need(o)
			}
		}
		if free >= need(pod) && free > most {
			best, most = n, free
		}
	}
	spec := pod["spec"].(map[string]any)
	if best == "" {
		pod["status"] = map[string]any{"phase": "Pending", "conditions": []any{map[string]any{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
			"message": "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient memory."}}}
		l.put("pods", "default", name, pod, lessons.Cause{Kind: "event", Actor: "system:kube-scheduler", Component: "default-scheduler", Parent: rev})
		return
	}
	spec["nodeName"] = best
	rev = l.put("pods", "default", name, pod, lessons.Cause{Kind: "event", Actor: "system:kube-scheduler", Component: "default-scheduler", Parent: rev})
	time.AfterFunc(40*time.Millisecond, func() { l.run(name, best, rev) })
}

func (l *doubleLab) run(name, node string, parent int64) {
	l.mu.Lock()
	pod := l.objects["pods/default/"+name]
	if pod == nil {
		l.mu.Unlock()
		return
	}
	pod = clone(pod).(map[string]any)
	container := at(at(pod, "spec", "containers").([]any)[0], "name")
	status := map[string]any{"name": container, "ready": true, "restartCount": 0, "state": map[string]any{"running": map[string]any{}}}
	phase := "True"
	if name == "hog" {
		status = map[string]any{"name": "hog", "ready": false, "restartCount": 1, "state": map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff"}},
			"lastState": map[string]any{"terminated": map[string]any{"reason": "OOMKilled", "exitCode": 137}}}
		phase = "False"
	}
	pod["status"] = map[string]any{"phase": "Running", "podIP": fmt.Sprintf("10.244.1.%d", 2+l.rnd.IntN(200)), "containerStatuses": []any{status},
		"conditions": []any{map[string]any{"type": "PodScheduled", "status": "True"}, map[string]any{"type": "Ready", "status": phase}}}
	rev := l.put("pods", "default", name, pod, lessons.Cause{Kind: "event", Actor: "system:node:" + node, Component: "kubelet", Parent: parent})
	l.count(rev)
	l.unlock()
}

func (l *doubleLab) count(parent int64) {
	d := l.objects["deployments/default/web"]
	if d == nil {
		return
	}
	d = clone(d).(map[string]any)
	ready, all := int64(0), int64(0)
	for _, p := range l.pods("web") {
		all++
		list, _ := at(l.objects["pods/default/"+p], "status", "containerStatuses").([]any)
		if len(list) > 0 && at(list[0], "ready") == true {
			ready++
		}
	}
	d["status"] = map[string]any{"readyReplicas": ready, "replicas": all, "updatedReplicas": all}
	l.put("deployments", "default", "web", d, lessons.Cause{Kind: "event", Actor: "system:serviceaccount:kube-system:deployment-controller", Component: "deployment-controller", Parent: parent})
}

func (l *doubleLab) ID() string { return l.id }
func (l *doubleLab) Machines() []string {
	return []string{"workstation", "control-plane", "node-1", "node-2", "node-3"}
}
func (l *doubleLab) Kubeconfig(url string) ([]byte, error) {
	return []byte("apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: " + url + "\n"), nil
}
func (l *doubleLab) Done() <-chan struct{} { return l.done }
func (l *doubleLab) World() lessons.World  { return l }
func (l *doubleLab) Now() time.Time        { return time.Now() }

// Docker is none: the double's workstation has no Docker host.
func (l *doubleLab) Docker() lessons.DockerHost { return nil }
func (l *doubleLab) Usage(string, string, string) (lessons.Usage, bool) {
	return lessons.Usage{}, false
}

// Programs compiles a third of what is asked for between two looks.
func (l *doubleLab) Programs() []Program {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []Program
	for _, p := range l.programs {
		if p.Done += 1. / 3; p.Done < 1 {
			left = append(left, p)
		}
	}
	l.programs = left
	return slices.Clone(left)
}

func (l *doubleLab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		for name, now := range l.kept {
			l.asleep[name] = now()
		}
		close(l.done)
	}
	return nil
}

// again is the lab after it was closed.
func (l *doubleLab) again() *doubleLab {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &doubleLab{id: l.id, lang: l.lang, done: make(chan struct{}), rnd: l.rnd, rev: l.rev, objects: l.objects, log: l.log, files: l.files, watchers: map[int]func(){},
		grown: make(chan struct{}), requests: l.requests, off: l.off, kept: map[string]func() []byte{}, asleep: l.asleep}
}

func (l *doubleLab) Keep(name string, now func() []byte) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[name] = now
	return func() {}
}

func (l *doubleLab) KeepStream(name string, flush, _ func(emit func([]byte) error) error) func() {
	return l.Keep(name, func() []byte { // called under mu
		all := l.asleep[name]
		_ = flush(func(p []byte) error { all = append(all, p...); return nil }) // emit never fails
		return all
	})
}

func (l *doubleLab) Kept(name string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asleep[name]
}

func (l *doubleLab) KeptStream(name string) [][]byte {
	if p := l.Kept(name); p != nil {
		return [][]byte{p}
	}
	return nil
}

func (l *doubleLab) ReadFile(p string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.files[p]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("open %s: no such file or directory", p)
}

func (l *doubleLab) WriteFile(p string, data []byte, _ uint32) error {
	l.mu.Lock()
	l.files[p] = bytes.Clone(data)
	l.unlock()
	return nil
}

func (l *doubleLab) Rev() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rev
}

func (l *doubleLab) Objects(res, ns string) (out []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(l.objects)) {
		if strings.HasPrefix(k, res+"/"+ns) {
			out = append(out, l.objects[k])
		}
	}
	return out
}

func (l *doubleLab) History(after int64, res string) (out []lessons.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.log {
		if c.Rev > after && (res == "" || c.Resource == res) {
			out = append(out, c)
		}
	}
	return out
}

func (l *doubleLab) OnChange(f func()) (cancel func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.next
	l.next++
	l.watchers[id] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, id)
	}
}

type doubleFeed struct {
	lab  *doubleLab
	from int64
	told map[string]int64
}

func (l *doubleLab) Feed(from int64) Feed {
	return &doubleFeed{lab: l, from: from, told: map[string]int64{}}
}
func (f *doubleFeed) Close() {}

func (f *doubleFeed) Next(ctx context.Context) (Batch, error) {
	l := f.lab
	for {
		l.mu.Lock()
		b := Batch{Rev: l.rev, Requests: map[string]Requests{}}
		if f.from == 0 {
			b.Snapshot = true
			for _, k := range slices.Sorted(maps.Keys(l.objects)) {
				p, o := strings.Split(k, "/"), l.objects[k]
				b.Changes = append(b.Changes, lessons.Change{Rev: l.rev, Op: lessons.Create, Resource: p[0], Namespace: p[1], Name: p[2], Object: func() map[string]any { return o }})
			}
		} else {
			for _, c := range l.log {
				if c.Rev > f.from {
					b.Changes = append(b.Changes, c)
				}
			}
		}
		for k, r := range l.requests {
			if f.told[k] != r.Total {
				f.told[k], b.Requests[k] = r.Total, r
			}
		}
		f.from = l.rev
		grown := l.grown
		l.mu.Unlock()
		if b.Snapshot || len(b.Changes)+len(b.Requests) > 0 {
			return b, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		case <-l.done:
			return Batch{}, errors.New("the lab has ended")
		}
	}
}

func (l *doubleLab) Apply(_ context.Context, manifests []byte) ([]Applied, error) {
	var out []Applied
	for doc := range strings.SplitSeq(string(manifests), "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return nil, err
		}
		if o == nil {
			continue
		}
		o = clone(o).(map[string]any)
		kind, _ := o["kind"].(string)
		name, _ := at(o, "metadata", "name").(string)
		res := strings.ToLower(kind) + "s"
		if kind == "" || name == "" {
			out = append(out, Applied{Kind: kind, Name: name, Err: "kind and metadata.name are required"})
			continue
		}
		l.mu.Lock()
		result := "created"
		if l.objects[res+"/default/"+name] != nil {
			result = "configured"
			o["status"] = l.objects[res+"/default/"+name]["status"]
		}
		o["metadata"].(map[string]any)["namespace"] = "default"
		you := lessons.Cause{Kind: "request", Actor: "learner", Component: "kubectl"}
		if res == "pods" {
			if result == "created" {
				l.start(name, o, "", you)
			}
		} else {
			l.settle(l.put(res, "default", name, o, you))
		}
		l.unlock()
		out = append(out, Applied{Kind: kind, Namespace: "default", Name: name, Result: result})
	}
	return out, nil
}

// command does what the shell and kubectl of a lab would, as far as these tests type it.
func (l *doubleLab) command(line string) (out string, exit int) {
	w := strings.Fields(line)
	you := lessons.Cause{Kind: "request", Actor: "learner", Component: "kubectl"}
	switch {
	case len(w) == 0:
		return "", 0
	case w[0] == "cat" && len(w) > 1:
		d, err := l.ReadFile(w[1])
		if err != nil {
			return "cat: " + err.Error() + "\n", 1
		}
		return string(d), 0
	case w[0] == "echo":
		return strings.Join(w[1:], " ") + "\n", 0
	case w[0] == "printf":
		quoted := strings.SplitN(line, "'", 3)
		if len(quoted) < 3 {
			return "", 1
		}
		format := strings.NewReplacer(`\033`, "\x1b", `\007`, "\a", `\n`, "\n").Replace(quoted[1])
		for _, arg := range strings.Fields(quoted[2]) {
			format = strings.Replace(format, "%s", arg, 1)
		}
		return format, 0
	case w[0] == "vi": // its first start on this machine
		l.mu.Lock()
		l.programs = append(l.programs, Program{Name: "vi"})
		l.mu.Unlock()
		return "", 0
	case w[0] == "flood":
		return strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef\n", 40000), 0
	case w[0] == "curl":
		l.mu.Lock()
		r := l.requests["default/web"]
		by := maps.Clone(r.ByPod)
		if by == nil {
			by = map[string]int64{}
		}
		for i, p := range l.pods("web") {
			by[p] += int64(20 - 6*i)
			r.Total += int64(20 - 6*i)
		}
		r.ByPod = by
		l.requests["default/web"] = r
		l.unlock()
		return "Welcome\n", 0
	case line == "kubectl get pods" || strings.HasPrefix(line, "kubectl get pods -l"):
		l.mu.Lock()
		defer l.mu.Unlock()
		var b strings.Builder
		fmt.Fprintf(&b, "%-24s %-7s %-10s %-10s %s\n", "NAME", "READY", "STATUS", "RESTARTS", "AGE")
		for _, p := range l.pods("") {
			fmt.Fprintf(&b, "%-24s %-7s %-10v %-10s %s\n", p, "1/1", at(l.objects["pods/default/"+p], "status", "phase"), "0", "5s")
		}
		return b.String(), 0
	case strings.HasPrefix(line, "kubectl apply -f "):
		d, err := l.ReadFile(w[3])
		if err != nil {
			return "error: the path \"" + w[3] + "\" does not exist\n", 1
		}
		results, err := l.Apply(context.Background(), d)
		if err != nil {
			return err.Error() + "\n", 1
		}
		for _, r := range results {
			out += strings.ToLower(r.Kind) + "/" + r.Name + " " + r.Result + "\n"
		}
		return out, 0
	case strings.HasPrefix(line, "kubectl delete pod") && len(w) > 3, strings.HasPrefix(line, "kubectl delete -f hog"):
		name := "hog"
		if w[2] == "pod" {
			name = w[3]
		}
		l.mu.Lock()
		if strings.HasPrefix(name, "$(") {
			name = l.pods("web")[0]
		}
		l.settle(l.remove("pods", "default", name, you))
		l.unlock()
		return "pod \"" + name + "\" deleted\n", 0
	case strings.HasPrefix(line, "kubectl scale deployment web --replicas="):
		n, _ := strconv.Atoi(line[strings.IndexByte(line, '=')+1:])
		l.mu.Lock()
		d := clone(l.objects["deployments/default/web"]).(map[string]any)
		d["spec"].(map[string]any)["replicas"] = n
		l.settle(l.put("deployments", "default", "web", d, you))
		l.unlock()
		return "deployment.apps/web scaled\n", 0
	case w[0] == "kubectl":
		return "error: unknown command \"" + strings.Join(w[1:], " ") + "\" for \"kubectl\"\n", 1
	}
	return w[0] + ": command not found\n", 127
}

func (l *doubleLab) Run(_ context.Context, line string) ([]byte, int, error) {
	out, exit := l.command(line)
	return []byte(out), exit, nil
}

// doubleTerminal is a shell's terminal: it echoes, knows Backspace, Ctrl+C and Enter, and marks its commands.
type doubleTerminal struct {
	lab  *doubleLab
	name string
	out  chan []byte
	end  chan struct{}
	once sync.Once
	mu   sync.Mutex
	line []rune
	cols int
}

func (l *doubleLab) Terminal(machine string, _, cols int, _ string) (Terminal, error) {
	l.mu.Lock()
	off := l.off[machine]
	l.mu.Unlock()
	if off {
		return nil, &Refusal{Code: "machine-off", Params: map[string]any{"machine": machine}}
	}
	t := &doubleTerminal{lab: l, name: machine, out: make(chan []byte, 4096), end: make(chan struct{}), cols: cols}
	if machine == "workstation" && l.lang == "ko" {
		t.print("이 랩의 프로그램은 WebAssembly예요. 실제와 다른 점: drydock differences\r\n")
	} else if machine == "workstation" {
		t.print("Programs in this lab are WebAssembly. What differs: drydock differences\r\n")
	}
	t.prompt()
	return t, nil
}

func (t *doubleTerminal) print(s string) {
	select {
	case t.out <- []byte(s):
	case <-t.end:
	}
}

func (t *doubleTerminal) prompt() {
	t.print("\x1b]133;A\a\x1b[32mlearner@" + t.name + "\x1b[0m:\x1b[34m~\x1b[0m$ \x1b[?2004h\x1b]133;B\a")
}

func (t *doubleTerminal) Read(ctx context.Context) ([]byte, error) {
	select {
	case p := <-t.out:
		return p, nil
	default:
	}
	select {
	case p := <-t.out:
		return p, nil
	case <-t.end:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *doubleTerminal) Write(_ context.Context, p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	p = bytes.ReplaceAll(bytes.ReplaceAll(p, []byte("\x1b[200~"), nil), []byte("\x1b[201~"), nil)
	for r := bufio.NewReader(bytes.NewReader(p)); ; {
		c, _, err := r.ReadRune()
		if err != nil {
			return nil
		}
		switch c {
		case '\r', '\n':
			t.enter()
		case 3:
			t.line = nil
			t.print("^C\r\n\x1b]133;D;130\a")
			t.prompt()
		case 21:
			for range t.line {
				t.print("\b \b")
			}
			t.line = nil
		case 127:
			if n := len(t.line); n > 0 {
				back := "\b \b"
				if t.line[n-1] >= 0x1100 {
					back = "\b\b  \b\b"
				}
				t.line = t.line[:n-1]
				t.print(back)
			}
		default:
			if c >= ' ' {
				t.line = append(t.line, c)
				t.print(string(c))
			}
		}
	}
}

func (t *doubleTerminal) enter() {
	line := strings.TrimSpace(string(t.line))
	t.line = nil
	if line == "exit" {
		t.print("\r\nexit\r\n")
		t.Close()
		return
	}
	if line == "poweroff" {
		t.lab.mu.Lock()
		t.lab.off[t.name] = true
		t.lab.mu.Unlock()
		t.Close()
		return
	}
	t.print("\r\n\x1b]133;C;cmdline_url=" + url.PathEscape(line) + "\a")
	out, exit := t.lab.command(line)
	for p := []byte(strings.ReplaceAll(out, "\n", "\r\n")); len(p) > 0; {
		n := min(len(p), 32<<10)
		t.print(string(p[:n]))
		p = p[n:]
	}
	t.print(fmt.Sprintf("\x1b]133;D;%d\a", exit))
	t.prompt()
}

func (t *doubleTerminal) Resize(_, cols int) error { return nil }
func (t *doubleTerminal) Foreground() string       { return "" }
func (t *doubleTerminal) Close() error {
	t.once.Do(func() { close(t.end) })
	return nil
}

var _ api.Labs = (*doubleLabs)(nil)
