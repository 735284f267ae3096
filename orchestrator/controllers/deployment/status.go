package deployment

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/controller/deployment/util"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// condition is upstream's with the cluster's time.
func (p *pass) condition(t appsv1.DeploymentConditionType, s v1.ConditionStatus, reason, message string) *appsv1.DeploymentCondition {
	c := util.NewDeploymentCondition(t, s, reason, message)
	c.LastUpdateTime = metav1.NewTime(p.Loop.Now())
	c.LastTransitionTime = c.LastUpdateTime
	return c
}

func (p *pass) setCondition(status *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType, s v1.ConditionStatus, reason, message string) {
	util.SetDeploymentCondition(status, *p.condition(t, s, reason, message))
}

// count is the status that the ReplicaSets add up to, with the conditions the Deployment has and Available set.
func (p *pass) count() appsv1.DeploymentStatus {
	all := p.all()
	available := util.GetAvailableReplicaCountForReplicaSets(all)
	s := appsv1.DeploymentStatus{
		ObservedGeneration: p.d.Generation, CollisionCount: p.d.Status.CollisionCount,
		Replicas:            util.GetActualReplicaCountForReplicaSets(all),
		UpdatedReplicas:     util.GetActualReplicaCountForReplicaSets([]*appsv1.ReplicaSet{p.new}),
		ReadyReplicas:       util.GetReadyReplicaCountForReplicaSets(all),
		TerminatingReplicas: util.GetTerminatingReplicaCountForReplicaSets(all),
		AvailableReplicas:   available,
		UnavailableReplicas: max(0, util.GetReplicaCountForReplicaSets(all)-available),
		Conditions:          append([]appsv1.DeploymentCondition(nil), p.d.Status.Conditions...),
	}
	if available >= *p.d.Spec.Replicas-util.MaxUnavailable(*p.d) {
		p.setCondition(&s, appsv1.DeploymentAvailable, v1.ConditionTrue, util.MinimumReplicasAvailable, "Deployment has minimum availability.")
	} else {
		p.setCondition(&s, appsv1.DeploymentAvailable, v1.ConditionFalse, util.MinimumReplicasUnavailable, "Deployment does not have minimum availability.")
	}
	return s
}

// syncStatus writes the counts alone.
func (p *pass) syncStatus() error { return p.write(p.count()) }

func (p *pass) write(s appsv1.DeploymentStatus) error {
	if equality.Semantic.DeepEqual(p.d.Status, s) {
		return nil
	}
	p.d.Status = s
	return p.putStatus("status replicas=%d updated=%d available=%d", s.Replicas, s.UpdatedReplicas, s.AvailableReplicas)
}

// syncRollout writes the counts and how the roll-out progresses.
func (p *pass) syncRollout() error {
	s := p.count()
	if !util.HasProgressDeadline(p.d) {
		util.RemoveDeploymentCondition(&s, appsv1.DeploymentProgressing)
	} else {
		p.progress(&s)
	}
	p.replicaFailure(&s)
	p.armDeadline(&s)
	return p.write(s)
}

// subject names what progresses: the new ReplicaSet once there is one.
func (p *pass) subject() string {
	if p.new != nil {
		return fmt.Sprintf("ReplicaSet %q", p.new.Name)
	}
	return fmt.Sprintf("Deployment %q", p.d.Name)
}

func (p *pass) progress(s *appsv1.DeploymentStatus) {
	cur := util.GetDeploymentCondition(p.d.Status, appsv1.DeploymentProgressing)
	if s.Replicas == s.UpdatedReplicas && cur != nil && cur.Reason == util.NewRSAvailableReason {
		return // done before; nothing rolls
	}
	switch {
	case util.DeploymentComplete(p.d, s):
		p.setCondition(s, appsv1.DeploymentProgressing, v1.ConditionTrue, util.NewRSAvailableReason, p.subject()+" has successfully progressed.")
	case util.DeploymentProgressing(p.d, s):
		next := p.condition(appsv1.DeploymentProgressing, v1.ConditionTrue, util.ReplicaSetUpdatedReason, p.subject()+" is progressing.")
		if cur != nil && cur.Status == v1.ConditionTrue {
			next.LastTransitionTime = cur.LastTransitionTime
		}
		util.RemoveDeploymentCondition(s, appsv1.DeploymentProgressing)
		util.SetDeploymentCondition(s, *next)
	case p.timedOut(s):
		p.setCondition(s, appsv1.DeploymentProgressing, v1.ConditionFalse, util.TimedOutReason, p.subject()+" has timed out progressing.")
	}
}

// timedOut tells whether the roll-out has made no progress for progressDeadlineSeconds of the cluster's time.
func (p *pass) timedOut(s *appsv1.DeploymentStatus) bool {
	cur := util.GetDeploymentCondition(*s, appsv1.DeploymentProgressing)
	if cur == nil || cur.Reason == util.NewRSAvailableReason {
		return false
	}
	return cur.Reason == util.TimedOutReason || p.deadline(cur).Before(p.Loop.Now())
}

func (p *pass) deadline(c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*p.d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// armDeadline has the Deployment looked at again when its deadline passes.
func (p *pass) armDeadline(s *appsv1.DeploymentStatus) {
	cur := util.GetDeploymentCondition(*s, appsv1.DeploymentProgressing)
	if cur == nil || !util.HasProgressDeadline(p.d) || util.DeploymentComplete(p.d, s) || cur.Reason == util.TimedOutReason {
		return
	}
	wait := p.deadline(cur).Add(time.Second).Sub(p.Loop.Now())
	p.queue.AddAfter(informer.KeyOf(p.d.Namespace, p.d.Name), max(wait, time.Millisecond), p.t.Parent)
}

// replicaFailure shows the failure of a ReplicaSet, the new one's first.
func (p *pass) replicaFailure(s *appsv1.DeploymentStatus) {
	util.RemoveDeploymentCondition(s, appsv1.DeploymentReplicaFailure)
	list := p.old
	if p.new != nil {
		list = append([]*appsv1.ReplicaSet{p.new}, p.old...)
	}
	for _, rs := range list {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				cond := util.ReplicaSetToDeploymentCondition(c)
				if prev := util.GetDeploymentCondition(p.d.Status, appsv1.DeploymentReplicaFailure); prev != nil && prev.Message == cond.Message {
					cond.LastUpdateTime = prev.LastUpdateTime
				}
				util.SetDeploymentCondition(s, cond)
				return
			}
		}
	}
}

// markPaused and markResumed record pauses in the Progressing condition, so that paused time is not counted as lack of progress.
func (p *pass) markPaused() error {
	cur := util.GetDeploymentCondition(p.d.Status, appsv1.DeploymentProgressing)
	if !util.HasProgressDeadline(p.d) || cur != nil && (cur.Reason == util.TimedOutReason || cur.Reason == util.PausedDeployReason) {
		return nil
	}
	p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, v1.ConditionUnknown, util.PausedDeployReason, "Deployment is paused")
	return p.putStatus("paused")
}

func (p *pass) markResumed() error {
	cur := util.GetDeploymentCondition(p.d.Status, appsv1.DeploymentProgressing)
	if cur == nil || cur.Reason != util.PausedDeployReason {
		return nil
	}
	p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, v1.ConditionUnknown, util.ResumedDeployReason, "Deployment is resumed")
	return p.putStatus("resumed")
}
