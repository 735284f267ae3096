// Package replicaset keeps as many pods as each ReplicaSet wants.
//
// It follows upstream's pkg/controller/replicaset and uses its exported rules (which pods are active, which are deleted first). It
// keeps no expectations: the loop takes in every commit, its own too, before a reconcile.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/controller"
	upstream "k8s.io/kubernetes/pkg/controller/replicaset"

	"github.com/drydock-labs/drydock/orchestrator/events"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:replicaset-controller"

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Controller reconciles the ReplicaSets of one cluster.
type Controller struct {
	*informer.Component
	events *events.Source
	queue  *loop.Queue[informer.Key]
}

// New makes the controller.
func New(c *informer.Component, rec *events.Recorder) *Controller {
	r := &Controller{Component: c, events: rec.For(c, "replicaset-controller", "")}
	r.queue = loop.NewQueue(c.Loop, "replicaset", r.reconcile, nil)
	return r
}

// Handle enqueues the ReplicaSets that a change may concern.
func (r *Controller) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.ReplicaSets:
		r.queue.Add(c.Key(), c.Rev)
	case informer.Pods:
		old, new := informer.As[v1.Pod](c)
		if old != nil && new != nil && !concerns(old, new) {
			return
		}
		for _, p := range []*v1.Pod{old, new} {
			if p == nil {
				continue
			}
			if ref := metav1.GetControllerOfNoCopy(p); ref == nil {
				r.enqueueMatching(p, c.Rev)
			} else if ref.Kind == kind.Kind {
				r.queue.Add(informer.KeyOf(p.Namespace, ref.Name), c.Rev)
			}
		}
	}
}

// concerns tells whether a pod's update can change anything for its ReplicaSet: most status writes do not.
func concerns(old, new *v1.Pod) bool {
	return controller.IsPodActive(old) != controller.IsPodActive(new) ||
		controller.IsPodTerminating(old) != controller.IsPodTerminating(new) ||
		podutil.IsPodReady(old) != podutil.IsPodReady(new) ||
		!equality.Semantic.DeepEqual(old.Labels, new.Labels) ||
		!equality.Semantic.DeepEqual(old.OwnerReferences, new.OwnerReferences)
}

// enqueueMatching enqueues the ReplicaSets that would adopt a pod without a controller.
func (r *Controller) enqueueMatching(p *v1.Pod, rev int64) {
	for _, rs := range informer.List[*appsv1.ReplicaSet](r.Reader, informer.ReplicaSets, p.Namespace) {
		if sel, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector); err == nil && !sel.Empty() && sel.Matches(labels.Set(p.Labels)) {
			r.queue.Add(informer.KeyOf(rs.Namespace, rs.Name), rev)
		}
	}
}

func (r *Controller) reconcile(t loop.Trigger, k informer.Key) error {
	rs, ok := informer.Get[*appsv1.ReplicaSet](r.Reader, informer.ReplicaSets, k.Namespace, k.Name)
	if !ok {
		r.queue.Forget(k)
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil // validation lets none through
	}
	owned, err := r.claim(t, rs, selector)
	if err != nil {
		return informer.Retry(err)
	}
	active := controller.FilterActivePods(klog.Background(), owned)
	terminating := controller.FilterTerminatingPods(owned)
	var manageErr error
	if rs.DeletionTimestamp == nil {
		manageErr = r.manage(t, rs, active)
	}
	if err := r.writeStatus(t, rs, active, terminating, manageErr); err != nil {
		return informer.Retry(err)
	}
	return manageErr
}

// claim returns the pods that are rs's, after taking those of its selector that have no controller and letting go of those that no
// longer match.
func (r *Controller) claim(t loop.Trigger, rs *appsv1.ReplicaSet, sel labels.Selector) ([]*v1.Pod, error) {
	var owned []*v1.Pod
	for _, p := range r.Pods.ControlledBy(rs.UID) {
		if sel.Matches(labels.Set(p.Labels)) || p.DeletionTimestamp != nil || rs.DeletionTimestamp != nil {
			owned = append(owned, p)
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"uid":%q,"ownerReferences":[{"$patch":"delete","uid":%q}]}}`, p.UID, rs.UID)
		ctx := r.Context(t, "released pod=%s reason=labels-do-not-match", p.Name)
		if _, err := r.Client.Patch(ctx, informer.Pods, p.Namespace, p.Name, types.StrategicMergePatchType, []byte(patch), ""); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	if rs.DeletionTimestamp != nil {
		return owned, nil
	}
	for _, p := range r.Pods.Orphans(rs.Namespace) {
		if !sel.Matches(labels.Set(p.Labels)) || !controller.IsPodActive(p) {
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"uid":%q,"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}]}}`, p.UID, rs.Name, rs.UID)
		ctx := r.Context(t, "adopted pod=%s", p.Name)
		obj, err := r.Client.Patch(ctx, informer.Pods, p.Namespace, p.Name, types.StrategicMergePatchType, []byte(patch), "")
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		owned = append(owned, obj.(*v1.Pod))
	}
	return owned, nil
}

// burst is how many pods one reconcile creates or deletes at most, as upstream's BurstReplicas.
const burst = upstream.BurstReplicas

// manage creates or deletes pods until there are as many as rs wants.
func (r *Controller) manage(t loop.Trigger, rs *appsv1.ReplicaSet, active []*v1.Pod) error {
	wanted, had := int(*rs.Spec.Replicas), len(active)
	ctx := r.Context(t, "replicas wanted=%d had=%d", wanted, had)
	switch {
	case had < wanted:
		return r.create(ctx, rs, min(wanted-had, burst))
	case had > wanted:
		return r.delete(ctx, rs, active, min(had-wanted, burst))
	}
	return nil
}

func (r *Controller) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	ref := metav1.NewControllerRef(rs, kind)
	for range n {
		// The first refusal ends it, as the next would most likely be refused as well.
		pod, err := controller.GetPodFromTemplate(&rs.Spec.Template, rs, ref)
		if err != nil {
			return err
		}
		obj, err := r.Client.Create(ctx, informer.Pods, rs.Namespace, pod)
		switch {
		case apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause):
			return nil
		case err != nil:
			r.events.Warning(ctx, rs, "FailedCreate", "Error creating: %v", err)
			return err
		}
		r.events.Normal(ctx, rs, "SuccessfulCreate", "Created pod: %v", obj.(*v1.Pod).Name)
	}
	return nil
}

func (r *Controller) delete(ctx context.Context, rs *appsv1.ReplicaSet, active []*v1.Pod, n int) error {
	var errs []error
	for _, p := range r.choose(rs, active, n) {
		err := r.Client.Delete(ctx, informer.Pods, p.Namespace, p.Name, &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			r.events.Warning(ctx, rs, "FailedDelete", "Error deleting: %v", err)
			errs = append(errs, err)
		default:
			r.events.Normal(ctx, rs, "SuccessfulDelete", "Deleted pod: %v", p.Name)
		}
	}
	return errors.Join(errs...)
}

// choose picks the pods to delete by upstream's ranking: on crowded nodes first, where crowded counts the pods of all ReplicaSets
// that share rs's controller.
func (r *Controller) choose(rs *appsv1.ReplicaSet, active []*v1.Pod, n int) []*v1.Pod {
	if n >= len(active) {
		return active
	}
	perNode := map[string]int{}
	for _, sibling := range r.siblings(rs) {
		for _, p := range r.Pods.ControlledBy(sibling.UID) {
			if controller.IsPodActive(p) {
				perNode[p.Spec.NodeName]++
			}
		}
	}
	ranked := controller.ActivePodsWithRanks{Pods: active, Rank: make([]int, len(active)), Now: metav1.NewTime(r.Loop.Now())}
	for i, p := range active {
		ranked.Rank[i] = perNode[p.Spec.NodeName]
	}
	sort.Stable(ranked)
	return ranked.Pods[:n]
}

func (r *Controller) siblings(rs *appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil {
		return []*appsv1.ReplicaSet{rs}
	}
	var out []*appsv1.ReplicaSet
	for _, o := range informer.List[*appsv1.ReplicaSet](r.Reader, informer.ReplicaSets, rs.Namespace) {
		if ref := metav1.GetControllerOfNoCopy(o); ref != nil && ref.UID == owner.UID {
			out = append(out, o)
		}
	}
	return out
}

func (r *Controller) writeStatus(t loop.Trigger, rs *appsv1.ReplicaSet, active, terminating []*v1.Pod, manageErr error) error {
	status, recheck := r.status(rs, active, terminating, manageErr)
	if recheck > 0 {
		r.queue.AddAfter(informer.KeyOf(rs.Namespace, rs.Name), recheck, t.Parent)
	}
	if equality.Semantic.DeepEqual(rs.Status, status) {
		return nil
	}
	next := rs.DeepCopy()
	next.Status = status
	ctx := r.Context(t, "status replicas=%d ready=%d available=%d", status.Replicas, status.ReadyReplicas, status.AvailableReplicas)
	_, err := r.Client.UpdateStatus(ctx, informer.ReplicaSets, rs.Namespace, next)
	return err
}

// status counts; recheck is when the next pod becomes available by time alone (0: none will).
func (r *Controller) status(rs *appsv1.ReplicaSet, active, terminating []*v1.Pod, manageErr error) (s appsv1.ReplicaSetStatus, recheck time.Duration) {
	now := metav1.NewTime(r.Loop.Now())
	template := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	ending := int32(len(terminating))
	s = appsv1.ReplicaSetStatus{
		Replicas: int32(len(active)), TerminatingReplicas: &ending,
		ObservedGeneration: rs.Generation, Conditions: append([]appsv1.ReplicaSetCondition(nil), rs.Status.Conditions...),
	}
	if rs.Status.TerminatingReplicas == nil && ending == 0 {
		s.TerminatingReplicas = nil // not worth a write of its own; and where the gate is off the API server drops it
	}
	for _, p := range active {
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		if !podutil.IsPodReady(p) {
			continue
		}
		s.ReadyReplicas++
		if podutil.IsPodAvailable(p, rs.Spec.MinReadySeconds, now) {
			s.AvailableReplicas++
			continue
		}
		since := podutil.GetPodReadyCondition(p.Status).LastTransitionTime.Time
		if wait := since.Add(time.Duration(rs.Spec.MinReadySeconds)*time.Second + time.Millisecond).Sub(now.Time); recheck == 0 || wait < recheck {
			recheck = max(wait, time.Millisecond)
		}
	}
	failed := upstream.GetCondition(rs.Status, appsv1.ReplicaSetReplicaFailure)
	switch {
	case manageErr != nil && failed == nil:
		reason := "FailedCreate"
		if len(active) > int(*rs.Spec.Replicas) {
			reason = "FailedDelete"
		}
		cond := upstream.NewReplicaSetCondition(appsv1.ReplicaSetReplicaFailure, v1.ConditionTrue, reason, manageErr.Error())
		cond.LastTransitionTime = now
		upstream.SetCondition(&s, cond)
	case manageErr == nil && failed != nil:
		upstream.RemoveCondition(&s, appsv1.ReplicaSetReplicaFailure)
	}
	return s, recheck
}
