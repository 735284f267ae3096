package kubelet

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// leastGrace is what a container gets after its preStop hook has used up the grace, as upstream's minimumGracePeriodInSeconds.
const leastGrace = 2 * time.Second

// terminate ends a pod that is to be deleted, was evicted, or ran too long.
func (k *Kubelet) terminate(t loop.Trigger, w *worker) {
	w.terminating = true
	if w.busy {
		w.cancel() // a pull or a hook; a start just made is stopped when it is known
		return
	}
	if k.stopAll(t, w) {
		return
	}
	w.finished = true
	k.release(t, w)
}

// stopAll stops every container, sidecars last, and reports whether some are still to end.
func (k *Kubelet) stopAll(t loop.Trigger, w *worker) (waiting bool) {
	for _, c := range w.all() {
		if c.state != running || c.sidecar {
			continue
		}
		waiting = true
		k.stopOnce(t, w, c)
	}
	if waiting {
		return true
	}
	for _, c := range w.all() {
		if c.state == running {
			waiting = true
			k.stopOnce(t, w, c)
		}
	}
	return waiting || w.calls > 0
}

func (k *Kubelet) stopOnce(t loop.Trigger, w *worker, c *container) {
	grace := k.grace(w, c)
	if c.stopping && grace >= c.grace {
		return
	}
	k.stop(t, w, c, grace, fmt.Sprintf("Stopping container %s", c.spec.Name))
}

// grace is how long a container has to end.
func (k *Kubelet) grace(w *worker, c *container) time.Duration {
	seconds := int64(v1.DefaultTerminationGracePeriodSeconds)
	switch p := w.pod; {
	case w.gone && p.DeletionGracePeriodSeconds == nil:
		seconds = 1 // deleted by force
	case p.DeletionGracePeriodSeconds != nil:
		seconds = max(1, *p.DeletionGracePeriodSeconds)
	case p.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *p.Spec.TerminationGracePeriodSeconds
	}
	if w.pod.DeletionTimestamp == nil && !w.gone && c.killFor != "" {
		if p := c.probeSpec(c.killFor); p != nil && p.TerminationGracePeriodSeconds != nil {
			seconds = *p.TerminationGracePeriodSeconds
		}
	}
	return time.Duration(seconds) * time.Second
}

// stop runs the preStop hook and stops a container. A second call with less grace hastens the first.
func (k *Kubelet) stop(t loop.Trigger, w *worker, c *container, grace time.Duration, why string) {
	first := !c.stopping
	c.stopping, c.grace = true, grace
	t.Parent = w.parent
	ctx := k.Context(t, "stopping container=%s grace=%s", c.spec.Name, grace)
	id, began := c.id, k.Loop.Now()
	if !first {
		k.async(w, func() func() {
			_ = k.rt.StopContainer(context.Background(), id, grace) // the first call's answer tells how it ended
			return func() {}
		})
		return
	}
	k.events.Field(ctx, w.pod, c.path(), v1.EventTypeNormal, "Killing", "%s", why)
	var hook *v1.LifecycleHandler
	if c.spec.Lifecycle != nil {
		hook = c.spec.Lifecycle.PreStop
	}
	if hook != nil && hook.Sleep != nil {
		k.Loop.After(min(time.Duration(hook.Sleep.Seconds)*time.Second, grace), func() {
			if k.pods[w.uid] == w && c.id == id && c.state == running {
				k.kill(w, c, nil, grace, began)
			}
		})
		return
	}
	k.kill(w, c, hook, grace, began)
}

func (k *Kubelet) kill(w *worker, c *container, hook *v1.LifecycleHandler, grace time.Duration, began time.Time) {
	id := c.id
	sandbox, ip, pod := w.sandboxID, w.ip, w.pod
	k.async(w, func() func() {
		var hookErr error
		if hook != nil && grace > 0 {
			ctx, cancel := k.timeout(context.Background(), grace)
			hookErr = k.hook(ctx, pod, c.spec, id, sandbox, ip, hook)
			cancel()
		}
		left := grace
		if spent := k.Loop.Now().Sub(began); spent > 0 {
			left = max(grace-spent, min(grace, leastGrace))
		}
		err := k.rt.StopContainer(context.Background(), id, left)
		s, statusErr := k.rt.ContainerStatus(context.Background(), id)
		return func() {
			t := k.Loop.Current()
			t.Parent = w.parent
			if hookErr != nil {
				k.events.Field(k.Context(t, "prestop-failed"), w.pod, c.path(), v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
			}
			switch {
			case c.id != id || c.state != running:
			case err == nil && statusErr == nil && s.State == ContainerExitedState:
				k.observed(c, s)
			case err == nil:
				k.observed(c, ContainerStatus{State: ContainerExitedState, ExitCode: 137, Reason: "Error", StartedAt: c.status.StartedAt, FinishedAt: k.Loop.Now()})
			default:
				c.stopping = false
				k.events.Warning(k.Context(t, "kill-failed"), w.pod, "FailedKillPod", "error killing pod: %v", err)
				k.later(w, firstCrash)
			}
		}
	})
}

// release gives back what a finished pod holds, shows how it ended, and has it deleted if that is asked for. Its logs stay until then.
func (k *Kubelet) release(t loop.Trigger, w *worker) {
	if w.busy {
		return
	}
	if !w.released {
		k.releaseSandbox(w)
		return
	}
	if !w.gone && w.pod.DeletionTimestamp == nil {
		return
	}
	if w.gone {
		k.remove(w)
		return
	}
	if !w.shownEnd {
		w.shownEnd = true
		if err := k.putStatus(t, w, true); err != nil {
			w.shownEnd = false
			k.later(w, time.Second)
			return
		}
	}
	ctx := k.Context(t, "stopped ms=%d", k.Loop.Now().Sub(w.stoppedSince()).Milliseconds())
	now := int64(0)
	err := k.Client.Delete(ctx, informer.Pods, w.pod.Namespace, w.pod.Name, &metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(w.uid)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		k.later(w, time.Second)
	}
	// The delete's commit finds the worker and removes it; a pod with finalizers stays and is only watched.
}

func (w *worker) stoppedSince() time.Time {
	if d := w.pod.DeletionTimestamp; d != nil && w.pod.DeletionGracePeriodSeconds != nil {
		return d.Add(-time.Duration(*w.pod.DeletionGracePeriodSeconds) * time.Second)
	}
	return w.seen
}

func (k *Kubelet) releaseSandbox(w *worker) {
	id, uid := w.sandboxID, string(w.uid)
	k.run(w, func(ctx context.Context) func() {
		if id != "" {
			if err := k.rt.StopPodSandbox(ctx, id); err != nil {
				return func() { k.later(w, time.Second) }
			}
		}
		err := k.rt.RemoveVolumes(ctx, uid)
		return func() {
			if err != nil {
				k.later(w, time.Second)
				return
			}
			w.released = true
		}
	})
}

// remove forgets a pod that the API server no longer has, with its sandbox.
func (k *Kubelet) remove(w *worker) {
	id := w.sandboxID
	k.forget(w)
	if id == "" {
		return
	}
	k.Loop.Go(func() func() {
		_ = k.rt.RemovePodSandbox(context.Background(), id) // nothing but the runtime knows of it any more
		return nil
	})
}
