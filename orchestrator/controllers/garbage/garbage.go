// Package garbage deletes objects whose owners are gone, by the three propagation policies: background, foreground and orphan.
//
// It follows upstream's pkg/controller/garbagecollector in what it does; instead of watching everything and looking owners up again, it
// reads the cluster's commits and store, which are never stale.
package garbage

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/controller"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:generic-garbage-collector"

// object names an object of any resource.
type object struct {
	resource  schema.GroupResource
	namespace string
	name      string
}

func (o object) String() string { return fmt.Sprintf("%s %s/%s", o.resource, o.namespace, o.name) }

// Controller collects the garbage of one cluster.
type Controller struct {
	*informer.Component
	queue      *loop.Queue[object]
	dependents map[types.UID]map[object]types.UID // by owner: who names it, and their uid
}

// New makes the controller.
func New(c *informer.Component) *Controller {
	g := &Controller{Component: c, dependents: map[types.UID]map[object]types.UID{}}
	g.queue = loop.NewQueue(c.Loop, "garbage", g.reconcile, nil)
	return g
}

// Handle keeps the graph and enqueues what a change may make garbage.
func (g *Controller) Handle(c *informer.Change) {
	o := object{c.Resource, c.Namespace, c.Name}
	old, new := metaOf(c.Old), metaOf(c.New)
	if old != nil {
		for _, ref := range old.GetOwnerReferences() {
			if d := g.dependents[ref.UID]; d != nil {
				if delete(d, o); len(d) == 0 {
					delete(g.dependents, ref.UID)
				}
			}
		}
	}
	if new != nil {
		for _, ref := range new.GetOwnerReferences() {
			if g.dependents[ref.UID] == nil {
				g.dependents[ref.UID] = map[object]types.UID{}
			}
			g.dependents[ref.UID][o] = new.GetUID()
		}
		switch {
		case new.GetDeletionTimestamp() != nil && len(new.GetFinalizers()) > 0:
			g.queue.Add(o, c.Rev)
		case len(new.GetOwnerReferences()) > 0 && (old == nil || !slices.EqualFunc(old.GetOwnerReferences(), new.GetOwnerReferences(), sameRef)):
			g.queue.Add(o, c.Rev)
		}
		return
	}
	if old == nil {
		return
	}
	for _, d := range sorted(g.dependents[old.GetUID()]) {
		g.queue.Add(d, c.Rev)
	}
	for _, ref := range old.GetOwnerReferences() { // an owner may wait in the foreground for this one
		if owner, m := g.owner(ref, c.Namespace); m != nil && m.GetDeletionTimestamp() != nil {
			g.queue.Add(owner, c.Rev)
		}
	}
}

func sameRef(a, b metav1.OwnerReference) bool { return a.UID == b.UID }

func metaOf(o any) metav1.Object {
	if o == nil {
		return nil
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return nil
	}
	return m
}

func sorted(m map[object]types.UID) []object {
	out := make([]object, 0, len(m))
	for o := range m {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b object) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}
		return 0
	})
	return out
}

// owner finds the object a reference names, nil where there is none with that uid. A reference names a kind; built-in resources are its
// plural in lower case.
func (g *Controller) owner(ref metav1.OwnerReference, ns string) (object, metav1.Object) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return object{}, nil
	}
	plural, _ := meta.UnsafeGuessKindToResource(gv.WithKind(ref.Kind))
	for _, in := range []string{ns, ""} {
		o := object{plural.GroupResource(), in, ref.Name}
		if obj, ok := g.Reader.Get(o.resource, o.namespace, o.name); ok {
			if m := metaOf(obj); m != nil && m.GetUID() == ref.UID {
				return o, m
			}
		}
	}
	return object{}, nil
}

func (g *Controller) get(o object) metav1.Object {
	obj, ok := g.Reader.Get(o.resource, o.namespace, o.name)
	if !ok {
		return nil
	}
	return metaOf(obj)
}

func (g *Controller) reconcile(t loop.Trigger, o object) error {
	m := g.get(o)
	if m == nil {
		g.queue.Forget(o)
		return nil
	}
	if m.GetDeletionTimestamp() != nil {
		switch {
		case slices.Contains(m.GetFinalizers(), metav1.FinalizerOrphanDependents):
			return informer.Retry(g.orphan(t, o, m))
		case slices.Contains(m.GetFinalizers(), metav1.FinalizerDeleteDependents):
			return informer.Retry(g.foreground(t, o, m))
		}
		return nil
	}
	return informer.Retry(g.attempt(t, o, m))
}

// attempt deletes an object none of whose owners is left, or takes the ones that are gone out of its references.
func (g *Controller) attempt(t loop.Trigger, o object, m metav1.Object) error {
	var solid, gone []metav1.OwnerReference
	waiting := false // an owner is being deleted in the foreground and waits for this object
	for _, ref := range m.GetOwnerReferences() {
		_, owner := g.owner(ref, o.namespace)
		switch {
		case owner == nil:
			gone = append(gone, ref)
		case owner.GetDeletionTimestamp() != nil && slices.Contains(owner.GetFinalizers(), metav1.FinalizerDeleteDependents):
			gone = append(gone, ref)
			waiting = true
		default:
			solid = append(solid, ref)
		}
	}
	switch {
	case len(gone) == 0:
		return nil
	case len(solid) > 0:
		uids := make([]types.UID, len(gone))
		for i := range gone {
			uids[i] = gone[i].UID
		}
		return g.unref(t, o, m.GetUID(), uids)
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case slices.Contains(m.GetFinalizers(), metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	case slices.Contains(m.GetFinalizers(), metav1.FinalizerDeleteDependents), waiting && len(g.dependents[m.GetUID()]) > 0:
		policy = metav1.DeletePropagationForeground
	}
	ctx := g.Context(t, "owner-gone kind=%s name=%s", gone[0].Kind, gone[0].Name)
	return g.Client.Delete(ctx, o.resource, o.namespace, o.name, &metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: metav1.NewUIDPreconditions(string(m.GetUID())),
	})
}

// unref takes owners out of an object's references.
func (g *Controller) unref(t loop.Trigger, o object, uid types.UID, owners []types.UID) error {
	patch, err := controller.GenerateDeleteOwnerRefStrategicMergeBytes(uid, owners)
	if err != nil {
		return err
	}
	_, err = g.Client.Patch(g.Context(t, "owner-reference-removed"), o.resource, o.namespace, o.name, types.StrategicMergePatchType, patch, "")
	return err
}

// orphan cuts the dependents loose and then lets the owner go.
func (g *Controller) orphan(t loop.Trigger, o object, m metav1.Object) error {
	deps := g.dependents[m.GetUID()]
	for _, d := range sorted(deps) {
		if err := informer.Retry(g.unref(t, d, deps[d], []types.UID{m.GetUID()})); err != nil {
			return err
		}
	}
	return g.removeFinalizer(t, o, m, metav1.FinalizerOrphanDependents)
}

// foreground deletes the dependents, and lets the owner go when none is left that blocks it.
func (g *Controller) foreground(t loop.Trigger, o object, m metav1.Object) error {
	blocked := false
	for _, d := range sorted(g.dependents[m.GetUID()]) {
		dm := g.get(d)
		if dm == nil {
			continue
		}
		for _, ref := range dm.GetOwnerReferences() {
			blocked = blocked || ref.UID == m.GetUID() && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
		}
		if dm.GetDeletionTimestamp() == nil {
			g.queue.Add(d, t.Parent)
		}
	}
	if blocked {
		return nil
	}
	return g.removeFinalizer(t, o, m, metav1.FinalizerDeleteDependents)
}

func (g *Controller) removeFinalizer(t loop.Trigger, o object, m metav1.Object, finalizer string) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q,"$deleteFromPrimitiveList/finalizers":[%q]}}`, m.GetUID(), m.GetResourceVersion(), finalizer)
	_, err := g.Client.Patch(g.Context(t, "finalizer-removed name=%s", finalizer), o.resource, o.namespace, o.name, types.StrategicMergePatchType, []byte(patch), "")
	return err
}
