package kubelet

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// podConditions keeps the conditions that others own and sets the kubelet's, in the order kubectl users know. The rules and texts are
// those of upstream's pkg/kubelet/status, which cannot be imported without the kubelet's cgroup code.
func (k *Kubelet) podConditions(w *worker, stored *v1.Pod, s *v1.PodStatus) []v1.PodCondition {
	ready := containersReady(w, s)
	sandbox := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: status(w.sandboxID != "" && !w.finished)}
	podReady := ready
	podReady.Type = v1.PodReady
	if ready.Status == v1.ConditionTrue {
		if missing := gates(stored); missing != "" {
			podReady = v1.PodCondition{Type: v1.PodReady, Status: v1.ConditionFalse, Reason: "ReadinessGatesNotReady", Message: missing}
		}
	}
	mine := []v1.PodCondition{sandbox, initialized(w, s), podReady, ready, {Type: v1.PodScheduled, Status: v1.ConditionTrue}}
	var out []v1.PodCondition
	now := metav1.NewTime(k.Loop.Now())
	for i := range mine {
		c := &mine[i]
		c.ObservedGeneration = podutil.CalculatePodConditionObservedGeneration(&stored.Status, stored.Generation, c.Type)
		c.LastTransitionTime = now.Rfc3339Copy()
		if _, old := podutil.GetPodConditionFromList(stored.Status.Conditions, c.Type); old != nil {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			c.LastProbeTime = old.LastProbeTime
			if c.Type == v1.PodScheduled {
				*c = *old // the binding's
				c.Status = v1.ConditionTrue
			}
		}
		out = append(out, *c)
	}
	for _, old := range stored.Status.Conditions {
		if _, have := podutil.GetPodConditionFromList(out, old.Type); have == nil {
			out = append(out, old)
		}
	}
	return out
}

func status(b bool) v1.ConditionStatus {
	if b {
		return v1.ConditionTrue
	}
	return v1.ConditionFalse
}

// initialized: all init containers have done their work.
func initialized(w *worker, s *v1.PodStatus) v1.PodCondition {
	c := v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue}
	if s.Phase == v1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	if w.initialized || w.finished && !w.initFailed {
		return c
	}
	var incomplete []string
	for _, cs := range w.all() {
		if cs.init && !(cs.sidecar && cs.state == running && cs.passed) && !(!cs.sidecar && cs.state == exited && cs.status.ExitCode == 0 && !cs.lost) {
			incomplete = append(incomplete, cs.spec.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason = v1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

// containersReady: every container that should run is ready.
func containersReady(w *worker, s *v1.PodStatus) v1.PodCondition {
	c := v1.PodCondition{Type: v1.ContainersReady, Status: v1.ConditionFalse}
	switch s.Phase {
	case v1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case v1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for _, cs := range w.all() {
		if cs.init && !cs.sidecar {
			continue
		}
		if !(cs.state == running && cs.ready && cs.passed) {
			unready = append(unready, cs.spec.Name)
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = v1.ConditionTrue
	return c
}

// gates lists the readiness gates that are not open.
func gates(p *v1.Pod) string {
	var closed []string
	for _, g := range p.Spec.ReadinessGates {
		_, c := podutil.GetPodConditionFromList(p.Status.Conditions, g.ConditionType)
		if c == nil {
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(g.ConditionType)))
		} else if c.Status != v1.ConditionTrue {
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", string(g.ConditionType), c.Status))
		}
	}
	return strings.Join(closed, ", ")
}
