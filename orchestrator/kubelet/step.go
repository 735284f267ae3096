package kubelet

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// step looks at a pod and does what is next.
func (k *Kubelet) step(t loop.Trigger, uid types.UID) error {
	w := k.pods[uid]
	if w == nil || !k.on.Load() {
		return nil
	}
	k.refresh(w)
	switch {
	case w.gone || w.pod.DeletionTimestamp != nil || podutil.IsPodPhaseTerminal(w.pod.Status.Phase) && !w.finished:
		k.terminate(t, w)
	case w.finished:
		k.release(t, w)
	default:
		k.expire(t, w)
		if w.deadline {
			k.terminate(t, w)
			break
		}
		k.advance(t, w)
	}
	if k.pods[uid] == w {
		k.expose(w)
		k.status.Add(uid, w.parent)
	}
	return nil
}

// refresh asks for the status of containers of which the runtime said that something changed.
func (k *Kubelet) refresh(w *worker) {
	for _, c := range w.all() {
		if !c.stale || c.launching {
			continue
		}
		c.stale = false
		if c.state != running {
			continue
		}
		id := c.id
		k.async(w, func() func() {
			s, err := k.rt.ContainerStatus(context.Background(), id)
			return func() {
				if c.id == id && err == nil {
					k.observed(c, s)
				}
			}
		})
	}
}

// observed takes a container's status.
func (k *Kubelet) observed(c *container, s ContainerStatus) {
	if s.State != ContainerExitedState || c.state == exited {
		return
	}
	c.state, c.status = exited, s
	c.ready, c.stopping = false, false
	c.stopProbes()
}

// expire ends pods whose activeDeadlineSeconds have passed.
func (k *Kubelet) expire(t loop.Trigger, w *worker) {
	limit := w.pod.Spec.ActiveDeadlineSeconds
	if limit == nil || w.started.IsZero() {
		return
	}
	left := w.started.Add(time.Duration(*limit) * time.Second).Sub(k.Loop.Now())
	if left > 0 {
		k.later(w, left)
		return
	}
	if !w.deadline {
		w.deadline = true
		k.events.Normal(k.Context(t, "deadline-exceeded seconds=%d", *limit), w.pod, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
	}
}

// advance brings a pod that should run one call further.
func (k *Kubelet) advance(t loop.Trigger, w *worker) {
	if w.started.IsZero() {
		w.started = metav1.NewTime(k.Loop.Now().Truncate(time.Second))
		if w.pod.Spec.ActiveDeadlineSeconds != nil {
			k.expire(t, w)
		}
	}
	if w.busy {
		return
	}
	if w.sandboxLost {
		k.lostSandbox(t, w)
	}
	if !k.prepareVolumes(t, w) || w.busy {
		return
	}
	if w.sandboxID == "" {
		if !k.willRun(w) {
			k.finish(t, w)
			return
		}
		k.createSandbox(t, w)
		return
	}
	if !w.initialized && !k.initialize(t, w) {
		return
	}
	k.runContainers(t, w)
}

// lostSandbox: everything in the sandbox is gone; what ran has ended.
func (k *Kubelet) lostSandbox(t loop.Trigger, w *worker) {
	now := k.Loop.Now()
	for _, c := range w.all() {
		if c.state == running {
			c.state, c.lost = exited, true
			c.status = ContainerStatus{State: ContainerExitedState, ExitCode: 255, Reason: "Unknown", StartedAt: c.status.StartedAt, FinishedAt: now}
			c.ready = false
			c.stopProbes()
		}
	}
	w.sandboxLost, w.sandboxID = false, ""
	w.initialized = len(w.pod.Spec.InitContainers) == 0
	for _, c := range w.all() {
		if c.init && !c.sidecar && c.state == exited {
			c.remember()
		}
	}
}

// willRun tells whether anything of the pod is still to run, so that a sandbox is needed.
func (k *Kubelet) willRun(w *worker) bool {
	return slices.ContainsFunc(w.regular(), func(c *container) bool { return c.state != exited || w.restarts(c) })
}

// restarts tells whether a container that has ended is to run again.
func (w *worker) restarts(c *container) bool {
	return c.changed || podutil.ContainerShouldRestart(*c.spec, w.pod.Spec, c.status.ExitCode)
}

func (k *Kubelet) createSandbox(t loop.Trigger, w *worker) {
	if left := w.sandboxWait.left(k.Loop.Now()); left > 0 {
		k.later(w, left)
		return
	}
	if w.sandboxTries > 0 && w.sandboxWait.delay == 0 {
		k.events.Normal(k.Context(t, "sandbox-changed"), w.pod, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	if !w.pod.Spec.HostNetwork && !w.ip.IsValid() {
		ip, ok := k.ips.allocate()
		if !ok {
			k.sandboxFailed(t, w, fmt.Errorf("no address is left in %s", k.cfg.Node.PodCIDR))
			return
		}
		w.ip = ip
	}
	spec := k.sandboxSpec(w)
	k.run(w, func(ctx context.Context) func() {
		id, err := k.rt.RunPodSandbox(ctx, spec)
		return func() {
			w.sandboxTries++
			if err != nil {
				k.sandboxFailed(k.Loop.Current(), w, err)
				return
			}
			w.sandboxID, w.sandboxWait = id, backOff{}
		}
	})
}

func (k *Kubelet) sandboxFailed(t loop.Trigger, w *worker, err error) {
	t.Parent = w.parent
	w.sandboxWait.fail(k.Loop.Now(), firstVolume, maxVolume)
	k.events.Warning(k.Context(t, "sandbox-failed"), w.pod, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
}

// initialize runs the init containers one after the other and reports whether all have done their work. Sidecars among them only have
// to have started.
func (k *Kubelet) initialize(t loop.Trigger, w *worker) bool {
	for i := range w.pod.Spec.InitContainers {
		c := w.containers[w.pod.Spec.InitContainers[i].Name]
		switch {
		case c.sidecar && c.state == running && c.passed:
			continue
		case c.state == running:
			return false
		case !c.sidecar && c.state == exited && c.status.ExitCode == 0 && !c.lost:
			continue
		case !c.sidecar && c.state == exited && !podutil.ContainerShouldRestart(*c.spec, w.pod.Spec, c.status.ExitCode) && w.pod.Spec.RestartPolicy == v1.RestartPolicyNever:
			w.initFailed = true
			k.finish(t, w)
			return false
		}
		k.start(t, w, c)
		return false
	}
	w.initialized = true
	return true
}

// runContainers starts what should run and does not, and ends the pod when nothing should.
func (k *Kubelet) runContainers(t loop.Trigger, w *worker) {
	k.killUnhealthy(t, w)
	if !k.willRun(w) {
		k.finish(t, w)
		return
	}
	for _, c := range w.all() {
		if c.init && !c.sidecar || c.state == running || w.busy {
			continue
		}
		if c.state == exited && !w.restarts(c) && !c.sidecar {
			continue
		}
		k.start(t, w, c)
	}
}

// killUnhealthy stops containers that failed their liveness or startup probe, or have another image now; they are started again like
// any that ended.
func (k *Kubelet) killUnhealthy(t loop.Trigger, w *worker) {
	for _, c := range w.all() {
		if c.state == running && c.changed && !c.stopping {
			k.stop(t, w, c, k.grace(w, c), fmt.Sprintf("Container %s definition changed, will be restarted", c.spec.Name))
			continue
		}
		if c.state != running || c.killFor == "" || c.stopping {
			continue
		}
		k.stop(t, w, c, k.grace(w, c), fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, c.killFor))
		c.killFor = ""
	}
}

// finish ends a pod none of whose containers will run again.
func (k *Kubelet) finish(t loop.Trigger, w *worker) {
	if k.stopAll(t, w) {
		return
	}
	w.finished, w.terminating = true, true
	k.release(t, w)
}
