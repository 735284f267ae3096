package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// start brings a container that should run and does not one call further: back-off, image, creation.
func (k *Kubelet) start(t loop.Trigger, w *worker, c *container) {
	t.Parent = w.parent
	if c.state == exited && !k.mayRestart(t, w, c) {
		return
	}
	if left := c.configWait.left(k.Loop.Now()); left > 0 {
		k.later(w, left)
		return
	}
	spec, err := k.containerSpec(w, c)
	if err != nil {
		k.configFailed(t, w, c, err)
		return
	}
	policy := c.spec.ImagePullPolicy
	if !c.imageReady && (policy == v1.PullAlways || c.imageMissing) {
		k.pullImage(t, w, c)
		return
	}
	k.launch(w, c, spec)
}

// mayRestart is the crash loop's back-off, counted from the end of the last run.
func (k *Kubelet) mayRestart(t loop.Trigger, w *worker, c *container) bool {
	ended := c.status.FinishedAt
	if c.changed {
		c.changed, c.crash = false, backOff{} // the back-off was the old image's
	}
	if c.crash.delay > 0 && ended.Sub(c.crash.at) <= 2*maxCrash {
		if left := ended.Add(c.crash.delay).Sub(k.Loop.Now()); left > 0 {
			if c.reason != "CrashLoopBackOff" {
				c.wait("CrashLoopBackOff", fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", c.crash.delay, c.spec.Name, describe(w.pod)))
				k.events.Field(k.Context(t, "crash-loop delay=%s restarts=%d", c.crash.delay, c.restarts), w.pod, c.path(), v1.EventTypeWarning, "BackOff",
					"Back-off restarting failed container %s in pod %s", c.spec.Name, describe(w.pod))
			}
			k.later(w, left)
			return false
		}
	}
	c.crash.fail(ended, firstCrash, maxCrash)
	k.discard(w, c.previousID)
	c.remember()
	c.restarts++
	c.reason, c.message = "", ""
	c.imageReady, c.imageMissing, c.lost = false, false, false
	return true
}

// discard removes a container whose log can no longer be asked for.
func (k *Kubelet) discard(w *worker, id string) {
	if id == "" {
		return
	}
	k.async(w, func() func() {
		_ = k.rt.RemoveContainer(context.Background(), id) // it goes with its sandbox at the latest
		return func() {}
	})
}

// describe names a pod as the kubelet's messages do.
func describe(p *v1.Pod) string { return fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID) }

func (c *container) wait(reason, message string) { c.reason, c.message = reason, message }

// path is the container's place in its pod, for events.
func (c *container) path() string {
	if c.init {
		return fmt.Sprintf("spec.initContainers{%s}", c.spec.Name)
	}
	return fmt.Sprintf("spec.containers{%s}", c.spec.Name)
}

func (k *Kubelet) configFailed(t loop.Trigger, w *worker, c *container, err error) {
	c.wait("CreateContainerConfigError", err.Error())
	c.configWait = backOff{until: k.Loop.Now().Add(firstCrash)}
	k.later(w, firstCrash)
	k.events.Field(k.Context(t, "config-error"), w.pod, c.path(), v1.EventTypeWarning, "Failed", "Error: %v", err)
}

// pullImage pulls, unless the last pull failed a short time ago.
func (k *Kubelet) pullImage(t loop.Trigger, w *worker, c *container) {
	ref := c.spec.Image
	ctx := k.Context(t, "pull image=%s", ref)
	if left := c.pull.left(k.Loop.Now()); left > 0 {
		if shown := k.Loop.Now().Sub(c.pull.at); shown < nextSync {
			k.later(w, nextSync-shown)
			return
		}
		if c.reason != "ImagePullBackOff" {
			c.wait("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: %s", ref, c.pullMessage))
			k.events.Field(ctx, w.pod, c.path(), v1.EventTypeNormal, "BackOff", "Back-off pulling image %q", ref)
			k.events.Field(ctx, w.pod, c.path(), v1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		}
		k.later(w, left)
		return
	}
	k.events.Field(ctx, w.pod, c.path(), v1.EventTypeNormal, "Pulling", "Pulling image %q", ref)
	began := k.Loop.Now()
	k.run(w, func(ctx context.Context) func() {
		img, err := k.rt.PullImage(ctx, ref)
		return func() { k.pulled(w, c, img, err, began) }
	})
}

func (k *Kubelet) pulled(w *worker, c *container, img Image, err error, began time.Time) {
	if w.terminating {
		return
	}
	t := k.Loop.Current()
	t.Parent = w.parent
	now, ref := k.Loop.Now(), c.spec.Image
	took := now.Sub(began).Truncate(time.Millisecond)
	ctx := k.Context(t, "pulled image=%s ms=%d", ref, took.Milliseconds())
	if err == nil {
		c.image, c.imageReady, c.pull = img, true, backOff{}
		k.events.Field(ctx, w.pod, c.path(), v1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.", ref, took, took, img.Size)
		return
	}
	c.pull.fail(now, firstCrash, maxCrash)
	message := fmt.Sprintf("failed to pull and unpack image %q: %v", ref, err)
	var refused *PullError
	if errors.As(err, &refused) {
		message = refused.Error()
	}
	c.pullMessage = "ErrImagePull: " + message
	c.wait("ErrImagePull", message)
	k.events.Field(ctx, w.pod, c.path(), v1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", ref, message)
	k.events.Field(ctx, w.pod, c.path(), v1.EventTypeWarning, "Failed", "Error: ErrImagePull")
}

// nextSync is how long a failed pull is shown as such, before its back-off is: until upstream's kubelet would look at the pod again.
const nextSync = time.Second

// launched is what a launch call answered.
type launched struct {
	image   Image
	missing bool  // the image is not on the node
	inspect error // looking for the image failed
	id      string
	create  error
	start   error
	hook    error
	status  ContainerStatus
}

// launch looks for the image, creates the container, starts it and runs its postStart hook, in one call.
func (k *Kubelet) launch(w *worker, c *container, spec ContainerSpec) {
	pod, sandbox, ip := w.pod, w.sandboxID, w.ip
	known := c.imageReady
	spec.Image = c.image
	c.launching = true
	k.run(w, func(ctx context.Context) func() {
		l := k.launchCall(ctx, pod, c.spec, sandbox, ip, spec, known)
		return func() {
			c.launching = false
			k.launched(w, c, l, known)
		}
	})
}

func (k *Kubelet) launchCall(ctx context.Context, pod *v1.Pod, c *v1.Container, sandbox string, ip netip.Addr, spec ContainerSpec, known bool) (l launched) {
	if l.image = spec.Image; !known {
		img, present, err := k.rt.ImageStatus(ctx, c.Image)
		if l.image, l.missing, l.inspect = img, !present, err; err != nil || !present {
			return l
		}
	}
	spec.Image = l.image
	if l.create = mayRunAs(pod, c, spec); l.create != nil {
		return l
	}
	if l.id, l.create = k.rt.CreateContainer(ctx, sandbox, spec); l.create != nil {
		return l
	}
	if l.start = k.rt.StartContainer(ctx, l.id); l.start == nil && c.Lifecycle != nil && c.Lifecycle.PostStart != nil {
		l.hook = k.hook(ctx, pod, c, l.id, sandbox, ip, c.Lifecycle.PostStart)
	}
	s, err := k.rt.ContainerStatus(ctx, l.id)
	if err != nil {
		s = ContainerStatus{State: ContainerExitedState, ExitCode: 128, Reason: "StartError", Message: err.Error(), FinishedAt: k.Loop.Now()}
	}
	l.status = s
	return l
}

// launched takes the answer of a launch.
func (k *Kubelet) launched(w *worker, c *container, l launched, known bool) {
	t := k.Loop.Current()
	t.Parent = w.parent
	ctx := k.Context(t, "launch container=%s", c.spec.Name)
	tell := func(kind, reason, format string, args ...any) {
		k.events.Field(ctx, w.pod, c.path(), kind, reason, format, args...)
	}
	switch {
	case l.inspect != nil:
		c.wait("ImageInspectError", fmt.Sprintf("Failed to inspect image %q: %v", c.spec.Image, l.inspect))
		tell(v1.EventTypeWarning, "InspectFailed", "Failed to inspect image %q: %v", c.spec.Image, l.inspect)
		c.configWait = backOff{until: k.Loop.Now().Add(firstCrash)}
		return
	case l.missing && c.spec.ImagePullPolicy == v1.PullNever:
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.spec.Image)
		c.wait("ErrImageNeverPull", message)
		tell(v1.EventTypeWarning, "ErrImageNeverPull", "%s", message)
		tell(v1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
		c.configWait = backOff{until: k.Loop.Now().Add(firstCrash)}
		return
	case l.missing:
		c.imageMissing = true
		return
	}
	if !known {
		tell(v1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", c.spec.Image)
	}
	c.image, c.imageID = l.image, l.image.Digest
	if l.create != nil {
		reason := "CreateContainerError"
		var config configError
		if errors.As(l.create, &config) {
			reason = "CreateContainerConfigError"
		}
		c.wait(reason, l.create.Error())
		tell(v1.EventTypeWarning, "Failed", "Error: %v", l.create)
		c.configWait = backOff{until: k.Loop.Now().Add(firstCrash)}
		return
	}
	tell(v1.EventTypeNormal, "Created", "Container created")
	c.id, c.attempt, c.status = l.id, c.attempt+1, l.status
	if l.start != nil {
		k.startFailed(w, c, l)
		tell(v1.EventTypeWarning, "Failed", "Error: %v", l.start)
		return
	}
	tell(v1.EventTypeNormal, "Started", "Container started")
	c.wait("", "")
	c.state = running
	k.beginProbes(w, c)
	if l.status.State == ContainerExitedState {
		c.state = running
		k.observed(c, l.status)
		return
	}
	if l.hook != nil && !w.terminating {
		tell(v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
		k.stop(t, w, c, k.grace(w, c), "FailedPostStartHook")
	}
}

// startFailed: the container was created and its process could not be started; it counts as ended.
func (k *Kubelet) startFailed(w *worker, c *container, l launched) {
	s := l.status
	if s.State != ContainerExitedState {
		s = ContainerStatus{State: ContainerExitedState}
	}
	if s.ExitCode == 0 {
		s.ExitCode = 128
	}
	if s.Reason == "" || s.Reason == "Completed" || s.Reason == "Error" {
		s.Reason = "StartError"
	}
	if s.Message == "" {
		s.Message = l.start.Error()
	}
	if s.FinishedAt.IsZero() {
		s.FinishedAt = k.Loop.Now()
	}
	c.state, c.status = exited, s
	c.wait("RunContainerError", l.start.Error())
}
