package informer

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Index finds pods by node and by controller without walking a whole namespace. Its lists are in order of namespace and name.
type Index struct {
	byNode       map[string][]*v1.Pod
	byController map[types.UID][]*v1.Pod
	orphans      map[string][]*v1.Pod // pods without a controller, by namespace
	byIP         map[string][]*v1.Pod
	count        int
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	return &Index{
		byNode: map[string][]*v1.Pod{}, byController: map[types.UID][]*v1.Pod{},
		orphans: map[string][]*v1.Pod{}, byIP: map[string][]*v1.Pod{},
	}
}

// Apply takes a change of a pod into the index; others are ignored.
func (x *Index) Apply(c *Change) {
	if c.Resource != Pods {
		return
	}
	old, new := As[v1.Pod](c)
	x.Replace(old, new)
}

// Replace puts new in the place of old; either may be nil.
func (x *Index) Replace(old, new *v1.Pod) {
	if old != nil {
		x.count--
		take(x.byNode, old.Spec.NodeName, old)
		take(x.byIP, old.Status.PodIP, old)
		if ref := metav1.GetControllerOfNoCopy(old); ref != nil {
			take(x.byController, ref.UID, old)
		} else {
			take(x.orphans, old.Namespace, old)
		}
	}
	if new != nil {
		x.count++
		put(x.byNode, new.Spec.NodeName, new)
		if new.Status.PodIP != "" {
			put(x.byIP, new.Status.PodIP, new)
		}
		if ref := metav1.GetControllerOfNoCopy(new); ref != nil {
			put(x.byController, ref.UID, new)
		} else {
			put(x.orphans, new.Namespace, new)
		}
	}
}

// OnNode returns the pods bound to a node; "" gives those that are bound to none.
func (x *Index) OnNode(node string) []*v1.Pod { return slices.Clone(x.byNode[node]) }

// ControlledBy returns the pods whose controller has the uid.
func (x *Index) ControlledBy(uid types.UID) []*v1.Pod { return slices.Clone(x.byController[uid]) }

// Orphans returns a namespace's pods that have no controller.
func (x *Index) Orphans(ns string) []*v1.Pod { return slices.Clone(x.orphans[ns]) }

// WithIP returns the pods that report the address (several where they share their node's network, or a terminated one held it).
func (x *Index) WithIP(ip string) []*v1.Pod { return slices.Clone(x.byIP[ip]) }

// Len is the number of pods.
func (x *Index) Len() int { return x.count }

func comparePods(a, b *v1.Pod) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

func put[K comparable](m map[K][]*v1.Pod, k K, p *v1.Pod) {
	l := m[k]
	i, found := slices.BinarySearchFunc(l, p, comparePods)
	if found {
		l[i] = p
		return
	}
	m[k] = slices.Insert(l, i, p)
}

func take[K comparable](m map[K][]*v1.Pod, k K, p *v1.Pod) {
	l := m[k]
	i, found := slices.BinarySearchFunc(l, p, comparePods)
	if !found {
		return
	}
	if l = slices.Delete(l, i, i+1); len(l) == 0 {
		delete(m, k)
		return
	}
	m[k] = l
}
