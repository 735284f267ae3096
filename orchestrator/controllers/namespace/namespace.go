// Package namespace empties namespaces that are being deleted and then lets them go.
//
// It follows upstream's pkg/controller/namespace/deletion; what there is comes from the store's table of kinds, so every resource that
// can be stored is deleted.
package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:namespace-controller"

// Controller deletes the namespaces of one cluster.
type Controller struct {
	*informer.Component
	kinds *store.Kinds
	queue *loop.Queue[string]
	going map[string]bool // namespaces that are being deleted
}

// New makes the controller.
func New(c *informer.Component, kinds *store.Kinds) *Controller {
	n := &Controller{Component: c, kinds: kinds, going: map[string]bool{}}
	n.queue = loop.NewQueue(c.Loop, "namespace", n.reconcile, nil)
	return n
}

// Handle enqueues namespaces that are being deleted, again whenever something in them is gone.
func (n *Controller) Handle(c *informer.Change) {
	if c.Resource == informer.Namespaces {
		_, new := informer.As[v1.Namespace](c)
		if new == nil {
			delete(n.going, c.Name)
			n.queue.Forget(c.Name)
		} else if new.DeletionTimestamp != nil {
			n.going[c.Name] = true
			n.queue.Add(c.Name, c.Rev)
		}
		return
	}
	if c.New == nil && c.Namespace != "" && n.going[c.Namespace] {
		n.queue.Add(c.Namespace, c.Rev)
	}
}

// content is what is left in a namespace.
type content struct {
	remaining  []string // "pods. has 3 resource instances"
	finalizers map[string]int
	errs       []error
}

func (n *Controller) reconcile(t loop.Trigger, name string) error {
	ns, ok := informer.Get[*v1.Namespace](n.Reader, informer.Namespaces, "", name)
	if !ok || ns.DeletionTimestamp == nil {
		return nil
	}
	left := n.empty(t, name)
	if err := n.tell(t, ns, left); err != nil {
		return informer.Retry(err)
	}
	if len(left.errs) > 0 {
		return errors.Join(left.errs...)
	}
	if len(left.remaining) > 0 {
		return nil // the last of it being gone brings the namespace back here
	}
	return informer.Retry(n.finalize(t, name))
}

// empty deletes what is in the namespace and lists what is left after that.
func (n *Controller) empty(t loop.Trigger, name string) content {
	left := content{finalizers: map[string]int{}}
	background := metav1.DeletePropagationBackground
	ctx := n.Context(t, "namespace-deleted name=%s", name)
	for _, k := range n.kinds.All() {
		if !k.Namespaced || k.Resource == informer.Events || k.Resource.Resource == "podtemplates" && k.Resource.Group != "" {
			continue
		}
		for _, o := range n.Reader.List(k.Resource, name, nil) {
			m, err := meta.Accessor(o)
			if err != nil || m.GetDeletionTimestamp() != nil {
				continue
			}
			err = n.Client.Delete(ctx, k.Resource, name, m.GetName(), &metav1.DeleteOptions{PropagationPolicy: &background})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				left.errs = append(left.errs, err)
			}
		}
		objs := n.Reader.List(k.Resource, name, nil)
		if len(objs) == 0 {
			continue
		}
		left.remaining = append(left.remaining, fmt.Sprintf("%s.%s has %d resource instances", k.Resource.Resource, k.Resource.Group, len(objs)))
		for _, o := range objs {
			if m, err := meta.Accessor(o); err == nil {
				for _, f := range m.GetFinalizers() {
					left.finalizers[f]++
				}
			}
		}
	}
	if len(left.remaining) == 0 {
		n.deleteEvents(t, name)
	}
	return left
}

// deleteEvents removes the events last, so that what happened while the namespace was emptied goes too.
func (n *Controller) deleteEvents(t loop.Trigger, name string) {
	ctx := n.Context(t, "namespace-deleted name=%s", name)
	for _, o := range n.Reader.List(informer.Events, name, nil) {
		if m, err := meta.Accessor(o); err == nil {
			_ = n.Client.Delete(ctx, informer.Events, name, m.GetName(), nil) // one that is gone or refuses does not hold the namespace
		}
	}
}

// tell writes upstream's conditions once something holds the namespace.
func (n *Controller) tell(t loop.Trigger, ns *v1.Namespace, left content) error {
	if len(left.remaining) == 0 && len(left.errs) == 0 {
		return nil // it is gone in a moment
	}
	conds := []v1.NamespaceCondition{
		{Type: v1.NamespaceDeletionDiscoveryFailure, Reason: "ResourcesDiscovered", Message: "All resources successfully discovered"},
		{Type: v1.NamespaceDeletionGVParsingFailure, Reason: "ParsedGroupVersions", Message: "All legacy kube types successfully parsed"},
		{Type: v1.NamespaceDeletionContentFailure, Reason: "ContentDeleted", Message: "All content successfully deleted, may be waiting on finalization"},
		{Type: v1.NamespaceContentRemaining, Reason: "ContentRemoved", Message: "All content successfully removed"},
		{Type: v1.NamespaceFinalizersRemaining, Reason: "ContentHasNoFinalizers", Message: "All content-preserving finalizers finished"},
	}
	set := func(i int, reason, message string) {
		conds[i].Status, conds[i].Reason, conds[i].Message = v1.ConditionTrue, reason, message
	}
	if len(left.errs) > 0 {
		set(2, "ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(left.errs), errors.Join(left.errs...)))
	}
	if len(left.remaining) > 0 {
		slices.Sort(left.remaining)
		set(3, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(left.remaining, ", "))
	}
	if len(left.finalizers) > 0 {
		var list []string
		for f, count := range left.finalizers {
			list = append(list, fmt.Sprintf("%s in %d resource instances", f, count))
		}
		slices.Sort(list)
		set(4, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(list, ", "))
	}
	now := metav1.NewTime(n.Loop.Now().Truncate(time.Second))
	for i := range conds {
		if conds[i].Status == "" {
			conds[i].Status = v1.ConditionFalse
		}
		conds[i].LastTransitionTime = now
		for _, old := range ns.Status.Conditions {
			if old.Type == conds[i].Type && old.Status == conds[i].Status {
				conds[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	if equality.Semantic.DeepEqual(ns.Status.Conditions, conds) {
		return nil
	}
	next := ns.DeepCopy()
	next.Status.Conditions = conds
	_, err := n.Client.UpdateStatus(n.Context(t, "namespace-holds remaining=%d", len(left.remaining)), informer.Namespaces, "", next)
	return err
}

// finalize takes the namespace's own finalizer away; storage deletes it then.
func (n *Controller) finalize(t loop.Trigger, name string) error {
	ns, ok := informer.Get[*v1.Namespace](n.Reader, informer.Namespaces, "", name)
	if !ok {
		return nil
	}
	next := ns.DeepCopy()
	next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f v1.FinalizerName) bool { return f == v1.FinalizerKubernetes })
	if len(next.Spec.Finalizers) == len(ns.Spec.Finalizers) {
		return nil
	}
	_, err := n.Client.Subresource(n.Context(t, "namespace-empty name=%s", name), informer.Namespaces, "", name, "finalize", next)
	return err
}
