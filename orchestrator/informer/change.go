package informer

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Key names an object within its resource; Namespace is empty for cluster-scoped ones.
type Key = types.NamespacedName

// KeyOf makes a Key.
func KeyOf(ns, name string) Key { return Key{Namespace: ns, Name: name} }

// Change is a commit as components see it: Old is nil for a new object, New for a deleted one. Objects are shared and never changed.
type Change struct {
	store.Commit
	Old, New runtime.Object
}

// Key names the object.
func (c *Change) Key() Key { return Key{Namespace: c.Namespace, Name: c.Name} }

// Last is the object as it is, or as it was before it was deleted.
func (c *Change) Last() runtime.Object {
	if c.New != nil {
		return c.New
	}
	return c.Old
}

// Handler takes changes. It must only look and enqueue.
type Handler interface {
	Handle(c *Change)
}

// As returns old and new as *T objects, nil where there is none.
func As[T any, P interface {
	*T
	runtime.Object
}](c *Change) (old, new P) {
	old, _ = c.Old.(P)
	new, _ = c.New.(P)
	return old, new
}

// Get reads one object of type P.
func Get[P runtime.Object](r store.Reader, gr GroupResource, ns, name string) (obj P, ok bool) {
	o, ok := r.Get(gr, ns, name)
	if !ok {
		return obj, false
	}
	obj, ok = o.(P)
	return obj, ok
}

// List reads the objects of one resource as P, in key order; ns "" means all.
func List[P runtime.Object](r store.Reader, gr GroupResource, ns string) []P {
	objs := r.List(gr, ns, nil)
	out := make([]P, 0, len(objs))
	for _, o := range objs {
		if p, ok := o.(P); ok {
			out = append(out, p)
		}
	}
	return out
}
