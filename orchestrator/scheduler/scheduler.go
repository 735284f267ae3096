// Package scheduler binds pods to nodes.
//
// Whether a pod fits a node and how well is decided by upstream's own plugins (k8s.io/kubernetes/pkg/scheduler/framework/plugins),
// with the weights of the default profile. This package keeps the nodes' sums up to date from commits, runs the plugins, and decides
// ties: fewest pods of the same controller, then fewest pods, then the node's name, where upstream draws lots. Answers of the plugins
// are kept for as long as a node does not change, for all pods with the same signature (upstream's SignPlugin).
//
// Differences to the default profile: no volumes, no dynamic resources, no image locality, and spreading without constraints of the
// pod's own comes from the ties alone.
package scheduler

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/events"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the scheduler writes as.
const Identity = "system:kube-scheduler"

// Back-off of pods that could not be scheduled, as upstream's queue: 1 s doubling to 10 s, counted from the last attempt.
const (
	firstBackOff = time.Second
	maxBackOff   = 10 * time.Second
)

// batch is how many pods are tried in one step before other components get their turn.
const batch = 16

// Scheduler binds the pods of one cluster.
type Scheduler struct {
	*informer.Component
	events *events.Source
	queue  *loop.Queue[string] // the one key "pods": there is a pod to try
	wait   *loop.Queue[types.UID]

	nodes   *snapshot
	profile *profile // made at the first pod

	active activeHeap
	pods   map[types.UID]*queued // every pod that is not bound
	seq    uint64
}

// queued is a pod that waits for a node.
type queued struct {
	pod      *v1.Pod
	parent   int64
	tick     bool
	attempts int
	tried    time.Time // last attempt
	moved    bool      // something changed that may help since the last attempt
	pos      int       // in active, -1 when not there
	seq      uint64
}

// New makes the scheduler.
func New(c *informer.Component, rec *events.Recorder) *Scheduler {
	s := &Scheduler{Component: c, events: rec.For(c, "default-scheduler", ""), nodes: newSnapshot(), pods: map[types.UID]*queued{}}
	s.queue = loop.NewQueue(c.Loop, "schedule", s.reconcile, nil)
	s.wait = loop.NewQueue(c.Loop, "schedule-backoff", s.backedOff, nil)
	return s
}

// Handle keeps the nodes' sums and the waiting pods up to date.
func (s *Scheduler) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.Nodes:
		old, new := informer.As[v1.Node](c)
		if s.nodes.setNode(old, new) {
			s.moveAll(c.Rev)
		}
	case informer.Pods:
		old, new := informer.As[v1.Pod](c)
		s.handlePod(old, new, c.Rev)
	case informer.Namespaces:
		if s.profile != nil {
			s.profile.forget() // namespace labels decide affinity terms
		}
	}
}

func bound(p *v1.Pod) bool {
	return p != nil && p.Spec.NodeName != "" && p.Status.Phase != v1.PodSucceeded && p.Status.Phase != v1.PodFailed
}

func waiting(p *v1.Pod) bool {
	return p != nil && p.Spec.NodeName == "" && p.DeletionTimestamp == nil && p.Spec.SchedulerName == v1.DefaultSchedulerName &&
		len(p.Spec.SchedulingGates) == 0 && p.Status.Phase != v1.PodSucceeded && p.Status.Phase != v1.PodFailed
}

func (s *Scheduler) handlePod(old, new *v1.Pod, rev int64) {
	switch {
	case bound(new):
		freed := s.nodes.setPod(new)
		s.drop(new.UID)
		if freed {
			s.moveAll(rev)
		}
		return
	case bound(old):
		s.nodes.removePod(old.UID)
		s.moveAll(rev)
	}
	switch {
	case waiting(new):
		q, known := s.pods[new.UID]
		if !known {
			q = &queued{pos: -1, moved: true}
			s.pods[new.UID] = q
		}
		changed := q.pod != nil && specChanged(q.pod, new)
		q.pod = new
		if !known || changed {
			s.activate(q, rev, false)
		}
	case new != nil:
		s.drop(new.UID)
	case old != nil:
		s.drop(old.UID)
	}
}

// specChanged: the pod itself changed in a way that may let it fit now.
func specChanged(a, b *v1.Pod) bool {
	return a.Generation != b.Generation || !equality.Semantic.DeepEqual(a.Labels, b.Labels)
}

func (s *Scheduler) drop(uid types.UID) {
	q, ok := s.pods[uid]
	if !ok {
		return
	}
	delete(s.pods, uid)
	s.wait.Forget(uid)
	if q.pos >= 0 {
		heap.Remove(&s.active, q.pos)
	}
}

// moveAll has every pod that found no node tried again, those that back off when that is over.
func (s *Scheduler) moveAll(rev int64) {
	if len(s.pods) == s.active.Len() {
		return
	}
	for _, q := range s.ordered() {
		if q.pos < 0 {
			q.moved = true
			s.activate(q, rev, false)
		}
	}
}

// ordered lists the waiting pods in the order they came, so that maps' order is never seen.
func (s *Scheduler) ordered() []*queued {
	out := make([]*queued, 0, len(s.pods))
	for _, q := range s.pods {
		out = append(out, q)
	}
	sortQueued(out)
	return out
}

// activate puts q among the pods to try, or arms its back-off.
func (s *Scheduler) activate(q *queued, rev int64, tick bool) {
	if q.pos >= 0 {
		return
	}
	if q.seq == 0 {
		s.seq++
		q.seq = s.seq
	}
	if q.attempts > 0 {
		if left := q.backOff() - s.Loop.Now().Sub(q.tried); left > 0 {
			s.wait.AddAfter(q.pod.UID, left, rev)
			return
		}
	}
	q.parent, q.tick = rev, tick
	heap.Push(&s.active, q)
	s.queue.Add("pods", rev)
}

func (q *queued) backOff() time.Duration {
	return min(firstBackOff<<min(q.attempts-1, 10), maxBackOff)
}

func (s *Scheduler) backedOff(t loop.Trigger, uid types.UID) error {
	if q, ok := s.pods[uid]; ok && q.moved {
		s.activate(q, t.Parent, true)
	}
	return nil
}

// reconcile tries the next pods, most important and longest waiting first.
func (s *Scheduler) reconcile(t loop.Trigger, _ string) error {
	for n := 0; n < batch && s.active.Len() > 0; n++ {
		q := heap.Pop(&s.active).(*queued)
		s.try(loop.Trigger{Parent: q.parent, Tick: q.tick, Step: t.Step}, q)
	}
	if s.active.Len() > 0 {
		s.queue.Add("pods", t.Parent)
	}
	return nil
}

func (s *Scheduler) try(t loop.Trigger, q *queued) {
	if s.profile == nil {
		s.profile = newProfile(s.nodes, s.Reader)
	}
	q.attempts++
	q.tried = s.Loop.Now()
	q.moved = false
	ctx := context.Background()
	choice, failure := s.profile.pick(ctx, q.pod)
	if failure != nil {
		s.unschedulable(t, q, failure)
		return
	}
	s.bind(t, q, choice)
}

func (s *Scheduler) bind(t loop.Trigger, q *queued, c choice) {
	p := q.pod
	ctx := s.Context(t, "scheduled node=%s reason=%s feasible=%d nodes=%d", c.node, c.reason, c.feasible, s.nodes.len())
	_, err := s.Client.Subresource(ctx, informer.Pods, p.Namespace, p.Name, "binding", &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: c.node},
	})
	if err != nil {
		if !apierrors.IsNotFound(err) {
			s.events.Warning(ctx, p, "FailedScheduling", "running Bind plugin %q: %v", "DefaultBinder", err)
			q.moved = true
			s.activate(q, t.Parent, true)
		}
		return
	}
	// The next pod of this step must see the node as it will be, before the commit comes in.
	assumed := p.DeepCopy()
	assumed.Spec.NodeName = c.node
	s.nodes.setPod(assumed)
	s.drop(p.UID)
	s.events.Normal(ctx, p, "Scheduled", "Successfully assigned %v/%v to %v", p.Namespace, p.Name, c.node)
}

// unschedulable records why no node took the pod. What could help will have it tried again.
func (s *Scheduler) unschedulable(t loop.Trigger, q *queued, f *failure) {
	p := q.pod
	nominated := s.preempt(t, q, f)
	message := f.message()
	ctx := s.Context(t, "unschedulable nodes=%d", s.nodes.len())
	s.events.Warning(ctx, p, "FailedScheduling", "%s", message)

	next := p.DeepCopy()
	cond := &v1.PodCondition{Type: v1.PodScheduled, ObservedGeneration: podutil.CalculatePodConditionObservedGeneration(&p.Status, p.Generation, v1.PodScheduled), Status: v1.ConditionFalse, Reason: v1.PodReasonUnschedulable, Message: message}
	changed := setCondition(&next.Status, cond, s.Loop.Now())
	if nominated != "" && next.Status.NominatedNodeName != nominated {
		next.Status.NominatedNodeName, changed = nominated, true
	}
	if !changed {
		return
	}
	if _, err := s.Client.UpdateStatus(ctx, informer.Pods, p.Namespace, next); err != nil && !apierrors.IsNotFound(err) {
		q.moved = true
		s.activate(q, t.Parent, true)
	}
}

// setCondition puts cond into the status and reports whether anything but times changed.
func setCondition(s *v1.PodStatus, cond *v1.PodCondition, now time.Time) bool {
	cond.LastTransitionTime = metav1.NewTime(now)
	_, old := podutil.GetPodCondition(s, cond.Type)
	if old == nil {
		s.Conditions = append(s.Conditions, *cond)
		return true
	}
	if old.Status == cond.Status {
		cond.LastTransitionTime = old.LastTransitionTime
	}
	if equality.Semantic.DeepEqual(*old, *cond) {
		return false
	}
	*old = *cond
	return true
}

// String describes the queue, for tests and reports.
func (s *Scheduler) String() string {
	return fmt.Sprintf("%d nodes, %d pods waiting, %d of them to be tried", s.nodes.len(), len(s.pods), s.active.Len())
}
