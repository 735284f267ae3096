package lab

import (
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	v1 "k8s.io/api/core/v1"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// world is the lab as lessons see it.
type world struct{ *Lab }

// Rev implements lessons.World.
func (w world) Rev() int64 { return w.cluster.Store().Rev() }

// Now implements lessons.World.
func (w world) Now() time.Time { return w.clock.Now() }

// OnChange implements lessons.World.
func (w world) OnChange(f func()) (cancel func()) {
	a, b := w.changes.watch(f), w.hosted.watch(f)
	return func() {
		a()
		b()
	}
}

// Objects implements lessons.World.
func (w world) Objects(resource, namespace string) []map[string]any {
	gr, ok := w.resource(resource)
	if !ok {
		return nil
	}
	var out []map[string]any
	for _, e := range w.cluster.Store().Entries(gr, namespace) {
		if o := asJSON(e); o != nil {
			out = append(out, o)
		}
	}
	return out
}

// resource finds a resource by its plural name, with or without its group. Without, a resource of the core group goes first.
func (l *Lab) resource(name string) (schema.GroupResource, bool) {
	want := schema.ParseGroupResource(name)
	var found schema.GroupResource
	ok := false
	for _, k := range l.cluster.Store().Kinds().All() {
		gr := k.Resource
		if gr.Resource != want.Resource || want.Group != "" && gr.Group != want.Group {
			continue
		}
		if !ok || gr.Group == "" {
			found, ok = gr, true
		}
	}
	return found, ok
}

// asJSON is a stored object as the API serves it in JSON, in its storage version.
func asJSON(e *store.Entry) map[string]any {
	if e == nil {
		return nil
	}
	obj := e.External()
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil
	}
	if kinds, _, err := legacyscheme.Scheme.ObjectKinds(obj); err == nil && len(kinds) > 0 {
		m["apiVersion"], m["kind"] = kinds[0].GroupVersion().String(), kinds[0].Kind
	}
	if md, ok := m["metadata"].(map[string]any); ok {
		md["resourceVersion"] = strconv.FormatInt(e.Rev, 10)
		delete(md, "managedFields")
	}
	return m
}

// History implements lessons.World.
func (w world) History(after int64, resource string) []lessons.Change {
	commits, err := w.cluster.Store().History(after)
	if err != nil { // the log begins later: what it still holds
		if commits, err = w.cluster.Store().History(w.cluster.Store().Usage().Compacted); err != nil {
			return nil
		}
	}
	gr, ok := schema.GroupResource{}, resource == ""
	if !ok {
		if gr, ok = w.resource(resource); !ok {
			return nil
		}
	}
	var out []lessons.Change
	for i := range commits {
		if resource == "" || commits[i].Resource == gr {
			out = append(out, change(commits[i]))
		}
	}
	return out
}

// change is a commit in the words of package lessons. Its objects are converted when somebody asks.
func change(c store.Commit) lessons.Change {
	ops := map[store.Op]lessons.Op{store.Create: lessons.Create, store.Update: lessons.Update, store.Delete: lessons.Delete}
	now := c.New
	if c.Op == store.Delete {
		now = c.Old
	}
	return lessons.Change{Rev: c.Rev, Time: c.Time, Op: ops[c.Op], Resource: c.Resource.Resource, Namespace: c.Namespace, Name: c.Name,
		Object: func() map[string]any { return asJSON(now) }, Old: func() map[string]any { return asJSON(c.Old) },
		Cause: lessons.Cause{Kind: string(c.Cause.Kind), Actor: c.Cause.Actor, Component: c.Cause.Component, Detail: c.Cause.Detail, Parent: c.Cause.Parent}}
}

// Usage implements lessons.World.
func (w world) Usage(namespace, pod, container string) (lessons.Usage, bool) {
	obj, ok := w.cluster.Reader().Get(informer.Pods, namespace, pod)
	if !ok {
		return lessons.Usage{}, false
	}
	p, ok := obj.(*v1.Pod)
	if !ok {
		return lessons.Usage{}, false
	}
	n := w.nodes[p.Spec.NodeName]
	for _, st := range p.Status.ContainerStatuses {
		if st.Name != container || n == nil || st.State.Running == nil {
			continue
		}
		_, id, _ := strings.Cut(st.ContainerID, "://")
		return n.usage(id)
	}
	return lessons.Usage{}, false
}

func (n *node) usage(id string) (lessons.Usage, bool) {
	r, err := n.runtime()
	if err != nil || r == nil {
		return lessons.Usage{}, false
	}
	s, err := r.Stats(n.lab.host.ctx, id)
	if err != nil {
		return lessons.Usage{}, false
	}
	n.mu.Lock()
	res := n.started[id]
	n.mu.Unlock()
	u := lessons.Usage{MemoryBytes: s.Memory, MemoryMax: s.MemoryLimit, OOMKills: s.OOMKills, CPU: s.CPU, Throttled: s.Throttled}
	if res.CPUQuota > 0 && res.CPUPeriod > 0 {
		u.CPUMaxFraction = float64(res.CPUQuota) / float64(res.CPUPeriod)
	}
	return u, true
}
