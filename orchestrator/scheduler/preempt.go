package scheduler

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// victims are the pods that would have to leave a node for a pod.
type victims struct {
	node string
	pods []*v1.Pod // most important first
}

// preempt makes room for a pod that found none by deleting less important pods, as upstream's DefaultPreemption (without disruption
// budgets), and returns the node it nominates. f is told what was found, for the message.
func (s *Scheduler) preempt(t loop.Trigger, q *queued, f *failure) (nominated string) {
	p := q.pod
	if p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy == v1.PreemptNever {
		f.post = "preemption: not eligible due to preemptionPolicy=Never."
		return ""
	}
	if s.nodes.len() == 0 {
		return ""
	}
	if s.leaving(p) {
		f.post = "preemption: not eligible due to a terminating pod on the nominated node."
		return p.Status.NominatedNodeName
	}
	found, why := s.candidates(f)
	if len(found) == 0 {
		f.post = "preemption: " + why.Error()
		return ""
	}
	best := slices.MinFunc(found, lessDisruptive)
	ctx := s.Context(t, "preempted node=%s for=%s/%s victims=%d", best.node, p.Namespace, p.Name, len(best.pods))
	for _, v := range best.pods {
		if err := s.evict(ctx, p, v); err != nil {
			f.post = fmt.Sprintf("preemption: %v", err)
			return ""
		}
	}
	return best.node
}

// leaving tells whether room is being made already: a less important pod is terminating on the nominated node.
func (s *Scheduler) leaving(p *v1.Pod) bool {
	st, ok := s.nodes.byName[p.Status.NominatedNodeName]
	if !ok || p.Status.NominatedNodeName == "" {
		return false
	}
	for _, o := range st.info.Pods {
		if o.GetPod().DeletionTimestamp != nil && corev1.PodPriority(o.GetPod()) < corev1.PodPriority(p) {
			return true
		}
	}
	return false
}

// candidates looks for nodes where removing less important pods would let the pod fit; why says for each other node what stands
// against it.
func (s *Scheduler) candidates(f *failure) (found []victims, why error) {
	statuses := framework.NewDefaultNodeToStatus()
	statuses.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Preemption is not helpful for scheduling"))
	for _, st := range s.nodes.list {
		if st.info.Node() == nil || f.class.rejected != nil || f.fit.Diagnosis.NodeToStatus.Get(st.name).Code() != fwk.Unschedulable {
			continue
		}
		if v := s.dryRun(f, st); v != nil {
			found = append(found, *v)
			continue
		}
		statuses.Set(st.name, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "No preemption victims found for incoming pod"))
	}
	return found, &framework.FitError{Pod: f.pod, NumAllNodes: s.nodes.len(), Diagnosis: framework.Diagnosis{NodeToStatus: statuses}}
}

// dryRun takes every less important pod off a copy of the node; if the pod fits then, it puts back as many as it can, the most
// important first. The rest are the victims.
func (s *Scheduler) dryRun(f *failure, st *nodeState) *victims {
	ctx := context.Background()
	info := st.info.SnapshotConcrete()
	state := f.class.state.Clone()
	var lower []fwk.PodInfo
	for _, pi := range st.info.Pods {
		if corev1.PodPriority(pi.GetPod()) < corev1.PodPriority(f.pod) {
			lower = append(lower, pi)
		}
	}
	if len(lower) == 0 {
		return nil
	}
	move := func(pi fwk.PodInfo, add bool) {
		if add {
			info.AddPodInfo(pi)
		} else {
			_ = info.RemovePod(logger, pi.GetPod())
		}
		for _, pl := range s.profile.plugins {
			if pl.preFilter == nil || f.class.skipF.Has(pl.name) {
				continue
			}
			if ext := pl.preFilter.PreFilterExtensions(); ext != nil && add {
				ext.AddPod(ctx, state, f.pod, pi, info)
			} else if ext != nil {
				ext.RemovePod(ctx, state, f.pod, pi, info)
			}
		}
	}
	for _, pi := range lower {
		move(pi, false)
	}
	if s.profile.filter(ctx, f.class, state, f.pod, info) != nil {
		return nil
	}
	slices.SortStableFunc(lower, func(a, b fwk.PodInfo) int {
		if util.MoreImportantPod(a.GetPod(), b.GetPod()) {
			return -1
		}
		return 1
	})
	v := &victims{node: st.name}
	for _, pi := range lower {
		move(pi, true)
		if s.profile.filter(ctx, f.class, state, f.pod, info) != nil {
			move(pi, false)
			v.pods = append(v.pods, pi.GetPod())
		}
	}
	return v
}

// lessDisruptive orders candidates as upstream: lowest most important victim, lowest sum of priorities, fewest victims.
func lessDisruptive(a, b victims) int {
	rank := func(v victims) (top, sum int64) {
		for i, p := range v.pods {
			if prio := int64(corev1.PodPriority(p)); i == 0 {
				top = prio
			}
			sum += int64(corev1.PodPriority(p)) + 1<<31
		}
		return top, sum
	}
	at, as := rank(a)
	bt, bs := rank(b)
	switch {
	case at != bt:
		return int(max(-1, min(1, at-bt)))
	case as != bs:
		return int(max(-1, min(1, as-bs)))
	}
	return len(a.pods) - len(b.pods)
}

func (s *Scheduler) evict(ctx context.Context, p, v *v1.Pod) error {
	next, ok := informer.Get[*v1.Pod](s.Reader, informer.Pods, v.Namespace, v.Name)
	if !ok || next.UID != v.UID || next.DeletionTimestamp != nil {
		return nil
	}
	next = next.DeepCopy()
	if setCondition(&next.Status, &v1.PodCondition{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: v1.PodReasonPreemptionByScheduler,
		Message: fmt.Sprintf("%s: preempting to accommodate a higher priority pod", p.Spec.SchedulerName)}, s.Loop.Now()) {
		if _, err := s.Client.UpdateStatus(ctx, informer.Pods, v.Namespace, next); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	err := s.Client.Delete(ctx, informer.Pods, v.Namespace, v.Name, &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(v.UID))})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	s.events.Normal(ctx, v, "Preempted", "Preempted by pod %v on node %v", p.UID, v.Spec.NodeName)
	return nil
}
