// Package null is a kubelet.Runtime without processes, for simulations and benchmarks: it keeps the books of sandboxes and containers
// exactly, and a script says what becomes of each container and which images exist. It says clearly that it runs nothing when a
// program's output is asked for.
//
// It does not know Kubernetes. Runtime.mu is the only lock; it is not held while events are told.
package null

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/kubelet"
)

// Clock is the lab's clock.
type Clock interface {
	Now() time.Time
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Fate is what becomes of a container that is started.
type Fate struct {
	// After is how long it runs; 0 means until it is stopped.
	After time.Duration
	Code  int32
	OOM   bool
	// StartError, where not nil, is what starting it answers.
	StartError error
	// Stubborn containers end at KILL only, after the whole grace.
	Stubborn bool
}

// Config scripts a runtime. Zero values: every image exists, every container runs until it is stopped, probes succeed.
type Config struct {
	Clock Clock
	// Pull says whether an image can be pulled; nil pulls everything at once.
	Pull func(ref string) error
	// Fate says what becomes of a container; nil lets it run.
	Fate func(sandbox kubelet.SandboxSpec, c kubelet.ContainerSpec) Fate
	// Exec answers ExecSync; nil answers 0 without output.
	Exec func(container kubelet.ContainerSpec, cmd []string) (stdout string, code int, err error)
	// Dial answers Dial; nil refuses the connection.
	Dial func(sandbox kubelet.SandboxSpec, port uint16) (net.Conn, error)
}

// Runtime implements kubelet.Runtime.
type Runtime struct {
	cfg Config

	mu         sync.Mutex
	notify     func(kubelet.Event)
	seq        int
	sandboxes  map[string]kubelet.SandboxSpec
	containers map[string]*container
	images     map[string]bool
	volumes    map[string]map[string]kubelet.VolumeSpec
	stopping   int // calls of StopContainer that wait for their grace
}

type container struct {
	sandbox string
	spec    kubelet.ContainerSpec
	fate    Fate
	status  kubelet.ContainerStatus
	stop    func() bool
}

// New makes a runtime without sandboxes and images.
func New(cfg Config) *Runtime {
	return &Runtime{cfg: cfg, notify: func(kubelet.Event) {}}
}

var _ kubelet.Runtime = (*Runtime)(nil)

// ErrNothingRuns answers calls that need a program.
var ErrNothingRuns = errors.New("this node simulates its containers: no program runs in them")

// Notify implements kubelet.Runtime.
func (r *Runtime) Notify(f func(kubelet.Event)) { r.notify = f }

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

// RunPodSandbox implements kubelet.Runtime.
func (r *Runtime) RunPodSandbox(_ context.Context, spec kubelet.SandboxSpec) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	id := fmt.Sprintf("sandbox-%d", r.seq)
	put(&r.sandboxes, id, spec)
	return id, nil
}

// StopPodSandbox implements kubelet.Runtime.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.sandbox == id {
			r.endLocked(c, kubelet.ContainerStatus{ExitCode: 137, Reason: "Error"})
		}
	}
	return nil
}

// RemovePodSandbox implements kubelet.Runtime.
func (r *Runtime) RemovePodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, id)
	for cid, c := range r.containers {
		if c.sandbox == id {
			delete(r.containers, cid)
		}
	}
	return nil
}

// CreateContainer implements kubelet.Runtime.
func (r *Runtime) CreateContainer(_ context.Context, sandbox string, spec kubelet.ContainerSpec) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[sandbox]
	if !ok {
		return "", fmt.Errorf("sandbox %q does not exist", sandbox)
	}
	var fate Fate
	if r.cfg.Fate != nil {
		fate = r.cfg.Fate(s, spec)
	}
	r.seq++
	id := fmt.Sprintf("container-%d", r.seq)
	put(&r.containers, id, &container{sandbox: sandbox, spec: spec, fate: fate, status: kubelet.ContainerStatus{State: kubelet.ContainerCreated}})
	return id, nil
}

// StartContainer implements kubelet.Runtime.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return fmt.Errorf("container %q does not exist", id)
	}
	if c.fate.StartError != nil {
		c.status = kubelet.ContainerStatus{State: kubelet.ContainerExitedState, ExitCode: 128, Reason: "StartError", Message: c.fate.StartError.Error(), FinishedAt: r.cfg.Clock.Now()}
		return c.fate.StartError
	}
	c.status = kubelet.ContainerStatus{State: kubelet.ContainerRunning, StartedAt: r.cfg.Clock.Now()}
	if c.fate.After > 0 {
		c.stop = r.cfg.Clock.AfterFunc(c.fate.After, func() { r.Exit(id, c.fate.Code, c.fate.OOM) })
	}
	return nil
}

// Exit ends a running container by itself, as a process would.
func (r *Runtime) Exit(id string, code int32, oom bool) {
	r.mu.Lock()
	c, ok := r.containers[id]
	if !ok || c.status.State != kubelet.ContainerRunning {
		r.mu.Unlock()
		return
	}
	s := kubelet.ContainerStatus{ExitCode: code, Reason: "Completed"}
	if code != 0 {
		s.Reason = "Error"
	}
	if oom {
		s.ExitCode, s.Reason = 137, "OOMKilled"
	}
	r.endLocked(c, s)
	sandbox := c.sandbox
	r.mu.Unlock()
	if oom {
		r.notify(kubelet.Event{Type: kubelet.ContainerOOM, SandboxID: sandbox, ContainerID: id})
	}
	r.notify(kubelet.Event{Type: kubelet.ContainerExited, SandboxID: sandbox, ContainerID: id})
}

func (r *Runtime) endLocked(c *container, s kubelet.ContainerStatus) {
	if c.status.State != kubelet.ContainerRunning {
		return
	}
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	s.State, s.StartedAt, s.FinishedAt = kubelet.ContainerExitedState, c.status.StartedAt, r.cfg.Clock.Now()
	c.status = s
}

// StopContainer implements kubelet.Runtime. A stubborn container is said to have ended when its grace is over on the lab's clock.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	r.mu.Lock()
	c, ok := r.containers[id]
	if !ok {
		r.mu.Unlock()
		return nil
	}
	if !c.fate.Stubborn || grace <= 0 {
		// A well-behaved program handles TERM and ends with 0; KILL makes it 137.
		s := kubelet.ContainerStatus{Reason: "Completed"}
		if grace <= 0 {
			s = kubelet.ContainerStatus{ExitCode: 137, Signal: 9, Reason: "Error"}
		}
		r.endLocked(c, s)
		r.mu.Unlock()
		return nil
	}
	ended := make(chan struct{})
	stop := r.cfg.Clock.AfterFunc(grace, func() { close(ended) })
	r.stopping++
	r.mu.Unlock()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		stop()
		err = context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopping--
	if err == nil {
		r.endLocked(c, kubelet.ContainerStatus{ExitCode: 137, Signal: 9, Reason: "Error"})
	}
	return err
}

// Stopping is how many stubborn containers are being stopped: their grace runs on the lab's clock.
func (r *Runtime) Stopping() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopping
}

// RemoveContainer implements kubelet.Runtime.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	return nil
}

// ContainerStatus implements kubelet.Runtime.
func (r *Runtime) ContainerStatus(_ context.Context, id string) (kubelet.ContainerStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return kubelet.ContainerStatus{}, fmt.Errorf("container %q does not exist", id)
	}
	return c.status, nil
}

// Find returns the ids of the running containers of a pod, by container name.
func (r *Runtime) Find(namespace, pod string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]string{}
	for id, c := range r.containers {
		if s := r.sandboxes[c.sandbox]; s.Namespace == namespace && s.Name == pod && c.status.State == kubelet.ContainerRunning {
			out[c.spec.Name] = id
		}
	}
	return out
}

// Spec returns how a container was asked for.
func (r *Runtime) Spec(id string) kubelet.ContainerSpec {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.spec
	}
	return kubelet.ContainerSpec{}
}

// Sandbox returns how the sandbox of a pod was asked for.
func (r *Runtime) Sandbox(namespace, pod string) (kubelet.SandboxSpec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sandboxes {
		if s.Namespace == namespace && s.Name == pod {
			return s, true
		}
	}
	return kubelet.SandboxSpec{}, false
}

// Counts says how many sandboxes, containers and pods with volumes there are.
func (r *Runtime) Counts() (sandboxes, containers, volumes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sandboxes), len(r.containers), len(r.volumes)
}

// PowerOff loses everything but the images, as a machine without power does.
func (r *Runtime) PowerOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.stop != nil {
			c.stop()
		}
	}
	r.sandboxes, r.containers, r.volumes = nil, nil, nil
}

// Preload puts images on the node.
func (r *Runtime) Preload(refs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ref := range refs {
		put(&r.images, ref, true)
	}
}

func image(ref string) kubelet.Image {
	return kubelet.Image{Ref: ref, Digest: strings.SplitN(ref, ":", 2)[0] + "@sha256:0000000000000000000000000000000000000000000000000000000000000000", Size: 1 << 20}
}

// PullImage implements kubelet.Runtime.
func (r *Runtime) PullImage(_ context.Context, ref string) (kubelet.Image, error) {
	if r.cfg.Pull != nil {
		if err := r.cfg.Pull(ref); err != nil {
			return kubelet.Image{}, err
		}
	}
	r.Preload(ref)
	return image(ref), nil
}

// ImageStatus implements kubelet.Runtime.
func (r *Runtime) ImageStatus(_ context.Context, ref string) (kubelet.Image, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return image(ref), r.images[ref], nil
}

// ListImages implements kubelet.Runtime.
func (r *Runtime) ListImages(context.Context) ([]kubelet.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []kubelet.Image
	for ref := range r.images {
		out = append(out, image(ref))
	}
	return out, nil
}

// WriteVolume implements kubelet.Runtime. It keeps what was asked for and reads no file's content.
func (r *Runtime) WriteVolume(_ context.Context, podUID string, spec kubelet.VolumeSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.volumes[podUID] == nil {
		put(&r.volumes, podUID, map[string]kubelet.VolumeSpec{})
	}
	r.volumes[podUID][spec.Name] = spec
	return nil
}

// Volume returns a pod's volume as it was last written.
func (r *Runtime) Volume(podUID, name string) (kubelet.VolumeSpec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.volumes[podUID][name]
	return v, ok
}

// RemoveVolumes implements kubelet.Runtime.
func (r *Runtime) RemoveVolumes(_ context.Context, podUID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.volumes, podUID)
	return nil
}

// ExecSync implements kubelet.Runtime.
func (r *Runtime) ExecSync(_ context.Context, id string, cmd []string, _ time.Duration) (stdout, stderr []byte, code int, err error) {
	if r.cfg.Exec == nil {
		return nil, nil, 0, nil
	}
	out, code, err := r.cfg.Exec(r.Spec(id), cmd)
	return []byte(out), nil, code, err
}

// Exec implements kubelet.Runtime.
func (r *Runtime) Exec(context.Context, string, []string, kubelet.IO) (int, error) {
	return 0, ErrNothingRuns
}

// Attach implements kubelet.Runtime.
func (r *Runtime) Attach(context.Context, string, kubelet.IO) error { return ErrNothingRuns }

// Dial implements kubelet.Runtime.
func (r *Runtime) Dial(_ context.Context, sandbox string, _ netip.Addr, port uint16) (net.Conn, error) {
	if r.cfg.Dial == nil {
		return nil, errors.New("connect: connection refused")
	}
	r.mu.Lock()
	spec := r.sandboxes[sandbox]
	r.mu.Unlock()
	return r.cfg.Dial(spec, port)
}

// Logs implements kubelet.Runtime: nothing was written.
func (r *Runtime) Logs(context.Context, string, kubelet.LogOptions, io.Writer, io.Writer) error {
	return nil
}

// Stats implements kubelet.Runtime.
func (r *Runtime) Stats(context.Context, string) (kubelet.ContainerStats, error) {
	return kubelet.ContainerStats{}, nil
}
