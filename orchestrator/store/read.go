package store

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Get implements Reader.
func (c *Cluster) Get(gr schema.GroupResource, ns, name string) (runtime.Object, bool) {
	e, ok := c.Entry(gr, ns, name)
	if !ok {
		return nil, false
	}
	return e.External(), true
}

// Entry returns the newest state of an object as a reader sees it now.
func (c *Cluster) Entry(gr schema.GroupResource, ns, name string) (*Entry, bool) {
	k, ok := c.kinds.Get(gr)
	if !ok {
		return nil, false
	}
	_, shown, _ := c.lookup(k, k.Key(ns, name))
	return shown, shown != nil
}

// List implements Reader.
func (c *Cluster) List(gr schema.GroupResource, ns string, sel labels.Selector) []runtime.Object {
	var out []runtime.Object
	for _, e := range c.Entries(gr, ns) {
		obj := e.External()
		if sel != nil && !sel.Empty() {
			m, err := meta.Accessor(obj)
			if err != nil || !sel.Matches(labels.Set(m.GetLabels())) {
				continue
			}
		}
		out = append(out, obj)
	}
	return out
}

// Entries returns the newest states of a resource's objects in key order; ns "" means all namespaces.
func (c *Cluster) Entries(gr schema.GroupResource, ns string) []*Entry {
	k, ok := c.kinds.Get(gr)
	if !ok {
		return nil
	}
	entries, _, err := c.scan(k, k.within(ns), "", 0)
	if err != nil {
		return nil
	}
	return entries
}

// Content is Get without this cluster's identity and heartbeats: what is the template's is returned as it is there, shared by all
// clusters and not copied. For readers that look at what an object says, not at its uid or times, and read often.
func (c *Cluster) Content(gr schema.GroupResource, ns, name string) (runtime.Object, bool) {
	k, ok := c.kinds.Get(gr)
	if !ok {
		return nil, false
	}
	c.expire()
	c.mu.RLock()
	e, ok := c.tree.Get(&Entry{key: k.Key(ns, name)})
	c.mu.RUnlock()
	if !ok {
		return nil, false
	}
	return e.External(), true
}

// Contents is List as Content is Get.
func (c *Cluster) Contents(gr schema.GroupResource, ns string) []runtime.Object {
	k, ok := c.kinds.Get(gr)
	if !ok {
		return nil
	}
	c.expire()
	c.mu.RLock()
	entries, err := c.scanLocked(k.within(ns), "", c.rev)
	c.mu.RUnlock()
	if err != nil {
		return nil
	}
	out := make([]runtime.Object, len(entries))
	for i, e := range entries {
		out[i] = e.External()
	}
	return out
}

// Count returns the number of a resource's objects.
func (c *Cluster) Count(gr schema.GroupResource) int {
	return len(c.Entries(gr, ""))
}

// lookup returns the stored entry of a key and how it looks now (both nil when there is none), and the newest revision.
func (c *Cluster) lookup(k *Kind, key string) (stored, shown *Entry, rev int64) {
	c.expire()
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.tree.Get(&Entry{key: key})
	if !ok {
		return nil, nil, c.rev
	}
	return e, c.viewLocked(e), c.rev
}

// scan returns the entries whose key has the prefix and is not below from, as of revision at (0: the newest), in key order, and that
// revision. ErrCompacted when it can no longer be rebuilt.
func (c *Cluster) scan(k *Kind, prefix, from string, at int64) ([]*Entry, int64, error) {
	c.expire()
	c.mu.RLock()
	defer c.mu.RUnlock()
	if at == 0 || at == c.rev {
		entries, err := c.scanLocked(prefix, from, c.rev)
		for i, e := range entries {
			entries[i] = c.viewLocked(e)
		}
		return entries, c.rev, err
	}
	entries, err := c.scanLocked(prefix, from, at)
	for i, e := range entries {
		entries[i] = c.rebasedLocked(e)
	}
	return entries, at, err
}

// scanLocked rebuilds a past state by undoing the newer records.
func (c *Cluster) scanLocked(prefix, from string, at int64) ([]*Entry, error) {
	if at < c.compacted {
		return nil, ErrCompacted
	}
	start := max(prefix, from)
	var out []*Entry
	c.tree.AscendGreaterOrEqual(&Entry{key: start}, func(e *Entry) bool {
		if !strings.HasPrefix(e.key, prefix) {
			return false
		}
		out = append(out, e)
		return true
	})
	newer := c.since(at)
	if len(newer) == 0 {
		return out, nil
	}
	undone := map[string]*Entry{}
	for _, cm := range slices.Backward(newer) {
		if cm.Key >= start && strings.HasPrefix(cm.Key, prefix) {
			undone[cm.Key] = cm.Old
		}
	}
	out = slices.DeleteFunc(out, func(e *Entry) bool { _, changed := undone[e.key]; return changed })
	for _, e := range undone {
		if e != nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *Entry) int { return strings.Compare(a.key, b.key) })
	return out, nil
}

// viewLocked returns how an entry looks now: a template's entry with this cluster's identity, a beating one with its last beat.
func (c *Cluster) viewLocked(e *Entry) *Entry {
	e = c.rebasedLocked(e)
	if b := c.beats[e.key]; b != nil && e.kind.Derive != nil {
		if at := b.lastDue(c.now()); at.After(b.written) {
			return e.with(e.kind.Derive(e.Internal(), at))
		}
	}
	return e
}

func (c *Cluster) rebasedLocked(e *Entry) *Entry {
	if e.Rev > c.base || e.derived || c.opts.Rebase == nil {
		return e
	}
	obj := shallowCopy(e.Internal())
	c.opts.Rebase(obj)
	return e.with(obj)
}

// with returns a state of the same object and revision that looks like obj, which it takes over.
func (e *Entry) with(obj runtime.Object) *Entry {
	v := &Entry{Rev: e.Rev, Created: e.Created, kind: e.kind, key: e.key, expires: e.expires, derived: true}
	v.internal.Store(&obj)
	return v
}
