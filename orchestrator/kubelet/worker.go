package kubelet

import (
	"context"
	"net/netip"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// worker is what the kubelet knows of one pod.
type worker struct {
	uid    types.UID
	pod    *v1.Pod // newest seen; shared, never changed
	parent int64   // revision of the last commit that asked for something
	seen   time.Time

	busy   bool // a call of which there may be only one at a time is under way
	cancel context.CancelFunc
	calls  int // calls under way, that one included

	gone         bool // the API server no longer has the pod
	terminating  bool // its containers are being stopped for good
	finished     bool // all its containers have ended for good
	initialized  bool // init containers have done their work
	initFailed   bool
	deadline     bool // activeDeadlineSeconds have passed
	released     bool // the sandbox is stopped, the volumes are removed
	shownEnd     bool // the last status is written
	sandboxID    string
	sandboxTries uint32
	sandboxLost  bool
	sandboxWait  backOff
	ip           netip.Addr
	started      metav1.Time // status.startTime

	volumesReady bool
	volumesStale bool
	volumesWait  backOff
	downward     bool      // some volume shows the pod's own labels or annotations
	tokensUntil  time.Time // when the first token must be renewed; zero: never

	containers map[string]*container

	view view // protected by Kubelet.mu
}

type containerState uint8

const (
	absent containerState = iota
	running
	exited
)

// container is what the kubelet knows of one container of a pod.
type container struct {
	spec    *v1.Container
	init    bool
	sidecar bool

	state     containerState
	id        string
	attempt   uint32 // of the runtime's container; the restart count once it runs
	restarts  int32
	status    ContainerStatus
	stale     bool // the runtime said that something changed
	stopping  bool
	changed   bool          // it has another image now: what runs or ran makes room for it
	grace     time.Duration // of the stop under way
	launching bool          // a call that starts it is under way
	lost      bool          // ended with its node: the exit code is unknown
	imageID   string

	previousID string // the container before this one, for logs
	last       *v1.ContainerStateTerminated

	reason, message string // why it waits
	image           Image
	imageReady      bool
	imageMissing    bool
	pull            backOff
	pullMessage     string // of the last failed pull
	crash           backOff
	crashTold       bool
	configWait      backOff

	probes  [3]*probe
	ready   bool
	healthy bool
	passed  bool // the startup probe has passed, or there is none
	killFor string
}

func newWorker(p *v1.Pod, now time.Time) *worker {
	w := &worker{uid: p.UID, pod: p, seen: now, containers: make(map[string]*container, len(p.Spec.Containers)+len(p.Spec.InitContainers))}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		w.containers[c.Name] = &container{spec: c, init: true, sidecar: podutil.IsRestartableInitContainer(c)}
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		w.containers[c.Name] = &container{spec: c}
	}
	if p.Status.StartTime != nil {
		w.started = *p.Status.StartTime
	}
	return w
}

// all lists the containers in the order of the pod's spec, init containers first.
func (w *worker) all() []*container {
	out := make([]*container, 0, len(w.containers))
	for i := range w.pod.Spec.InitContainers {
		out = append(out, w.containers[w.pod.Spec.InitContainers[i].Name])
	}
	return append(out, w.regular()...)
}

// regular lists the containers that are not init containers.
func (w *worker) regular() []*container {
	out := make([]*container, 0, len(w.pod.Spec.Containers))
	for i := range w.pod.Spec.Containers {
		out = append(out, w.containers[w.pod.Spec.Containers[i].Name])
	}
	return out
}

// restore takes over what the pod's status tells of the time before the node lost power: what ran then has ended.
func (w *worker) restore(p *v1.Pod, now time.Time) {
	if podutil.IsPodPhaseTerminal(p.Status.Phase) {
		w.finished, w.terminating, w.released = true, true, true
		for _, c := range w.containers {
			c.passed = true
		}
	}
	for _, list := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			s := &list[i]
			c := w.containers[s.Name]
			if c == nil {
				continue
			}
			c.restarts, c.imageID = s.RestartCount, s.ImageID
			c.last = s.LastTerminationState.Terminated
			ended := s.State.Terminated
			if r := s.State.Running; r != nil {
				ended = &v1.ContainerStateTerminated{ExitCode: 255, Reason: "Unknown", StartedAt: r.StartedAt, FinishedAt: metav1.NewTime(now), ContainerID: s.ContainerID}
				c.lost = true
			}
			if ended != nil {
				c.state, c.attempt = exited, uint32(s.RestartCount)
				c.status = ContainerStatus{State: ContainerExitedState, ExitCode: ended.ExitCode, Signal: ended.Signal, Reason: ended.Reason, Message: ended.Message, StartedAt: ended.StartedAt.Time, FinishedAt: ended.FinishedAt.Time}
			}
		}
	}
	if p.Status.PodIP != "" {
		w.sandboxTries = 1 // there was one: the next is a change
	}
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodInitialized && c.Status == v1.ConditionTrue {
			// A new sandbox runs the init containers again, as upstream does.
			w.initialized = len(p.Spec.InitContainers) == 0
		}
	}
}

// respec takes over the containers of a changed spec. Of a container that was made only the image can change.
func (w *worker) respec(p *v1.Pod) {
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			c := w.containers[list[i].Name]
			if c == nil {
				continue
			}
			was := c.spec.Image
			if c.spec = &list[i]; was == c.spec.Image {
				continue
			}
			c.changed = c.state != absent
			c.imageReady, c.imageMissing, c.pull, c.configWait = false, false, backOff{}, backOff{}
		}
	}
}

// forgiveConfig lets containers that wait for a ConfigMap or Secret be tried at once.
func (w *worker) forgiveConfig() {
	w.volumesWait = backOff{}
	for _, c := range w.containers {
		c.configWait = backOff{}
	}
}

// remember makes the end of a container its last termination: it will run again.
func (c *container) remember() {
	if c.state != exited {
		return
	}
	c.last = c.terminated()
	c.previousID, c.id = c.id, ""
	c.state = absent
}

func (w *worker) stopProbes() {
	for _, c := range w.containers {
		c.stopProbes()
	}
}

// backOff is a wait that doubles with each failure.
type backOff struct {
	delay time.Duration
	until time.Time
	at    time.Time // of the last failure
}

// The kubelet's back-offs: of crashing containers and failed pulls, and of volumes and sandboxes.
const (
	firstCrash  = 10 * time.Second
	maxCrash    = 5 * time.Minute
	firstVolume = 500 * time.Millisecond
	maxVolume   = 2*time.Minute + 2*time.Second
)

// fail counts a failure at the given time. Twice the longest wait without one begins anew.
func (b *backOff) fail(at time.Time, first, most time.Duration) {
	if b.delay == 0 || at.Sub(b.at) > 2*most {
		b.delay = first
	} else {
		b.delay = min(2*b.delay, most)
	}
	b.at, b.until = at, at.Add(b.delay)
}

// left is how long to wait yet.
func (b *backOff) left(now time.Time) time.Duration { return b.until.Sub(now) }
