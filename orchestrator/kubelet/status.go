package kubelet

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// writeStatus shows a pod's state, once it is settled: while more is to be done at once there is nothing to write, and while a call is
// under way only what a reader of the pod would miss.
func (k *Kubelet) writeStatus(t loop.Trigger, uid types.UID) error {
	w := k.pods[uid]
	if w == nil || !k.on.Load() || w.gone || k.steps.Has(uid) || w.finished && !w.released {
		return nil
	}
	if w.finished && w.pod.DeletionTimestamp != nil {
		return nil // the last status is written just before the delete
	}
	return informer.Retry(k.putStatus(t, w, !w.busy))
}

// putStatus writes the pod's status if it differs from what is stored. all false leaves differences in conditions alone for later.
func (k *Kubelet) putStatus(t loop.Trigger, w *worker, all bool) error {
	shared, ok := informer.Get[*v1.Pod](k.Reader, informer.Pods, w.pod.Namespace, w.pod.Name)
	if !ok || shared.UID != w.uid {
		return nil
	}
	s := k.podStatus(w, shared)
	if equality.Semantic.DeepEqual(shared.Status, s) {
		return nil
	}
	if !all && s.Phase == shared.Status.Phase && equality.Semantic.DeepEqual(shared.Status.ContainerStatuses, s.ContainerStatuses) &&
		equality.Semantic.DeepEqual(shared.Status.InitContainerStatuses, s.InitContainerStatuses) {
		return nil
	}
	detail := k.statusDetail(w, &shared.Status, &s)
	next := shared.DeepCopy()
	next.Status = s
	_, err := k.Client.UpdateStatus(k.Context(t, "%s", detail), informer.Pods, next.Namespace, next)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// statusDetail says what a status write tells.
func (k *Kubelet) statusDetail(w *worker, old, new *v1.PodStatus) string {
	ready := func(s *v1.PodStatus) bool { return podutil.IsPodReadyConditionTrue(*s) }
	switch {
	case old.Phase != new.Phase && new.Phase == v1.PodRunning:
		return fmt.Sprintf("started ms=%d", k.Loop.Now().Sub(w.seen).Milliseconds())
	case old.Phase != new.Phase:
		return "phase=" + strings.ToLower(string(new.Phase))
	case ready(old) != ready(new):
		return fmt.Sprintf("ready=%v", ready(new))
	}
	for i := range new.ContainerStatuses {
		c := &new.ContainerStatuses[i]
		if w := c.State.Waiting; w != nil {
			return fmt.Sprintf("waiting container=%s reason=%s", c.Name, w.Reason)
		}
		if i < len(old.ContainerStatuses) && old.ContainerStatuses[i].RestartCount != c.RestartCount {
			return fmt.Sprintf("restarted container=%s restarts=%d", c.Name, c.RestartCount)
		}
		if t := c.State.Terminated; t != nil {
			return fmt.Sprintf("terminated container=%s code=%d reason=%s", c.Name, t.ExitCode, t.Reason)
		}
	}
	return "status"
}

// podStatus is the status that the worker's knowledge makes of the stored one.
func (k *Kubelet) podStatus(w *worker, stored *v1.Pod) v1.PodStatus {
	old := &stored.Status
	s := *old
	s.ObservedGeneration = podutil.CalculatePodStatusObservedGeneration(stored)
	if podutil.IsPodPhaseTerminal(old.Phase) && !w.finished {
		return s // somebody ended it: nothing more is to be said until its containers have stopped
	}
	s.Phase = k.phase(w, old.Phase)
	if w.deadline {
		s.Phase, s.Reason, s.Message = v1.PodFailed, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
	}
	if !w.started.IsZero() {
		started := w.started
		s.StartTime = &started
	}
	s.HostIP = k.cfg.Node.IP.String()
	s.HostIPs = []v1.HostIP{{IP: s.HostIP}}
	if ip := k.podIP(w); ip != "" && w.sandboxID != "" {
		s.PodIP, s.PodIPs = ip, []v1.PodIP{{IP: ip}}
	}
	s.InitContainerStatuses, s.ContainerStatuses = nil, nil
	for _, c := range w.all() {
		if c.init {
			s.InitContainerStatuses = append(s.InitContainerStatuses, c.show(w))
		} else {
			s.ContainerStatuses = append(s.ContainerStatuses, c.show(w))
		}
	}
	slices.SortFunc(s.ContainerStatuses, func(a, b v1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) })
	s.Conditions = k.podConditions(w, stored, &s)
	return s
}

// show is a container's status.
func (c *container) show(w *worker) v1.ContainerStatus {
	isRunning := c.state == running
	started := isRunning && c.passed
	s := v1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.imageID, RestartCount: c.restarts, Started: &started,
		Ready: isRunning && c.ready && c.passed, Resources: c.spec.Resources.DeepCopy(), AllocatedResources: c.spec.Resources.Requests.DeepCopy(),
	}
	if c.init && !c.sidecar {
		s.Ready = c.state == exited && c.status.ExitCode == 0 && !c.lost
	}
	if c.image.Ref != "" {
		s.Image = c.image.Ref
	}
	if c.id != "" {
		s.ContainerID = "drydock://" + c.id
	}
	if c.last != nil {
		s.LastTerminationState.Terminated = c.last
	}
	switch {
	case isRunning:
		s.State.Running = &v1.ContainerStateRunning{StartedAt: metav1.NewTime(c.status.StartedAt)}
	case c.state == exited && c.reason == "":
		s.State.Terminated = c.terminated()
	case c.state == exited:
		s.LastTerminationState.Terminated = c.terminated()
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: c.reason, Message: c.message}
	case c.reason != "":
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: c.reason, Message: c.message}
	case !c.init && !w.initialized && len(w.pod.Spec.InitContainers) > 0:
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: "PodInitializing"}
	case c.init && !c.first(w):
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: "PodInitializing"}
	default:
		s.State.Waiting = &v1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	if len(s.AllocatedResources) == 0 {
		s.AllocatedResources = nil
	}
	if s.Resources != nil && len(s.Resources.Limits) == 0 && len(s.Resources.Requests) == 0 {
		s.Resources = &v1.ResourceRequirements{}
	}
	return s
}

func (c *container) first(w *worker) bool {
	return len(w.pod.Spec.InitContainers) > 0 && w.pod.Spec.InitContainers[0].Name == c.spec.Name
}

// terminated is how the container ended.
func (c *container) terminated() *v1.ContainerStateTerminated {
	s := c.status
	t := &v1.ContainerStateTerminated{
		ExitCode: s.ExitCode, Signal: s.Signal, Reason: s.Reason, Message: s.Message,
		StartedAt: metav1.NewTime(s.StartedAt), FinishedAt: metav1.NewTime(s.FinishedAt),
	}
	if t.Reason == "" {
		if t.Reason = "Completed"; t.ExitCode != 0 {
			t.Reason = "Error"
		}
	}
	if c.id != "" {
		t.ContainerID = "drydock://" + c.id
	}
	return t
}

// phase follows the rules of the pod life cycle documentation ("Pod phase").
func (k *Kubelet) phase(w *worker, old v1.PodPhase) v1.PodPhase {
	if podutil.IsPodPhaseTerminal(old) {
		return old
	}
	if w.initFailed {
		return v1.PodFailed
	}
	waiting, live, failed := 0, 0, 0
	for _, c := range w.regular() {
		switch {
		case c.state == running:
			live++
		case c.state == exited || c.last != nil:
			if c.state != exited || c.status.ExitCode != 0 || c.lost {
				failed++
			}
			if c.state != exited || w.restarts(c) && !w.terminating {
				live++ // it will run again
			}
		default:
			waiting++
		}
	}
	switch {
	case w.finished || w.terminating && live == 0 && waiting == 0:
		if w.pod.DeletionTimestamp == nil && w.pod.Spec.RestartPolicy == v1.RestartPolicyAlways && !w.deadline {
			break
		}
		if failed > 0 || waiting > 0 {
			return v1.PodFailed
		}
		return v1.PodSucceeded
	}
	if !w.initialized || waiting > 0 {
		return v1.PodPending
	}
	return v1.PodRunning
}
