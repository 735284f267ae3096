package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// The methods of this file make a node a kubelet.Runtime: they translate between the kubelet's values and the runtime's.

var _ kubelet.Runtime = (*node)(nil)

func (n *node) runtime() (*runtime.Runtime, error) {
	b, err := n.current()
	if err != nil {
		return nil, err
	}
	return b.runtime, nil
}

// Notify implements kubelet.Runtime.
func (n *node) Notify(f func(kubelet.Event)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notify = f
}

// RunPodSandbox implements kubelet.Runtime.
func (n *node) RunPodSandbox(ctx context.Context, spec kubelet.SandboxSpec) (string, error) {
	r, err := n.runtime()
	if err != nil {
		return "", err
	}
	out := runtime.SandboxSpec{Namespace: spec.Namespace, Name: spec.Name, UID: spec.UID, Attempt: spec.Attempt, Hostname: spec.Hostname, IP: spec.IP,
		HostNetwork: spec.HostNetwork, HostPID: spec.HostPID, ShareProcesses: spec.ShareProcesses, DNS: runtime.DNS(spec.DNS), Sysctls: spec.Sysctls}
	for _, h := range spec.Hosts {
		out.Hosts = append(out.Hosts, runtime.HostAlias(h))
	}
	for _, p := range spec.HostPorts {
		out.HostPorts = append(out.HostPorts, runtime.HostPort{Protocol: p.Protocol, HostIP: p.HostIP, Host: p.Host, Container: p.Container})
	}
	return r.RunPodSandbox(ctx, out)
}

// StopPodSandbox implements kubelet.Runtime.
func (n *node) StopPodSandbox(ctx context.Context, id string) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	return r.StopPodSandbox(ctx, id)
}

// RemovePodSandbox implements kubelet.Runtime.
func (n *node) RemovePodSandbox(ctx context.Context, id string) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	for _, c := range r.ListContainers(id) {
		n.forget(c.ID)
	}
	return r.RemovePodSandbox(ctx, id)
}

// CreateContainer implements kubelet.Runtime.
func (n *node) CreateContainer(ctx context.Context, sandboxID string, spec kubelet.ContainerSpec) (string, error) {
	r, err := n.runtime()
	if err != nil {
		return "", err
	}
	res := spec.Resources
	out := runtime.ContainerSpec{Name: spec.Name, Attempt: spec.Attempt, Image: spec.Image.Ref, Command: spec.Command, Args: spec.Args, WorkingDir: spec.WorkingDir,
		User: runtime.User{UID: spec.User.UID, GID: spec.User.GID, Groups: spec.User.Groups}, TTY: spec.TTY, Stdin: spec.Stdin, StdinOnce: spec.StdinOnce,
		Resources: runtime.Resources{MemoryMax: res.MemoryMax, MemoryRequest: res.MemoryRequest, CPUQuota: res.CPUQuota, CPUPeriod: res.CPUPeriod,
			CPUWeight: res.CPUWeight, PidsMax: res.PidsMax},
		ReadOnlyRoot: spec.ReadOnlyRoot, TerminationLog: spec.TerminationLog, TerminationFallsBackToLog: spec.TerminationFallsBackToLog}
	for _, e := range spec.Env {
		out.Env = append(out.Env, e.Name+"="+e.Value)
	}
	for _, m := range spec.Mounts {
		out.Mounts = append(out.Mounts, runtime.Mount{Volume: m.Volume, SubPath: m.SubPath, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	id, err := r.CreateContainer(ctx, sandboxID, out)
	if err == nil {
		n.mu.Lock()
		n.started[id] = res
		n.mu.Unlock()
	}
	return id, err
}

func (n *node) forget(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.started, id)
}

// StartContainer implements kubelet.Runtime.
func (n *node) StartContainer(ctx context.Context, id string) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	return r.StartContainer(ctx, id)
}

// StopContainer implements kubelet.Runtime.
func (n *node) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	return r.StopContainer(ctx, id, grace)
}

// RemoveContainer implements kubelet.Runtime.
func (n *node) RemoveContainer(ctx context.Context, id string) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	n.forget(id)
	return r.RemoveContainer(ctx, id)
}

// ContainerStatus implements kubelet.Runtime.
func (n *node) ContainerStatus(ctx context.Context, id string) (kubelet.ContainerStatus, error) {
	r, err := n.runtime()
	if err != nil {
		return kubelet.ContainerStatus{}, err
	}
	st, err := r.ContainerStatus(ctx, id)
	if err != nil {
		return kubelet.ContainerStatus{}, err
	}
	states := map[runtime.State]kubelet.ContainerState{runtime.Created: kubelet.ContainerCreated, runtime.Running: kubelet.ContainerRunning, runtime.Exited: kubelet.ContainerExitedState}
	return kubelet.ContainerStatus{State: states[st.State], ExitCode: int32(st.ExitCode), Signal: int32(st.Signal), Reason: st.Reason, Message: st.Message,
		StartedAt: st.StartedAt, FinishedAt: st.FinishedAt}, nil
}

func kubeletImage(e image.Entry) kubelet.Image {
	out := kubelet.Image{Size: e.Size, User: e.Config.User, Ref: e.ID}
	if len(e.Tags) > 0 {
		out.Ref = e.Tags[0]
	}
	if len(e.Digests) > 0 {
		out.Digest = e.Digests[0]
	}
	return out
}

// named is the image with the name it was asked for, completed.
func named(e image.Entry, ref string) kubelet.Image {
	out := kubeletImage(e)
	if r, err := image.ParseRef(ref); err == nil {
		out.Ref = r.String()
	}
	return out
}

// PullImage implements kubelet.Runtime.
func (n *node) PullImage(ctx context.Context, ref string) (kubelet.Image, error) {
	r, err := n.runtime()
	if err != nil {
		return kubelet.Image{}, err
	}
	e, err := r.PullImage(ctx, ref, nil)
	var refused *runtime.PullError
	if errors.As(err, &refused) {
		return kubelet.Image{}, &kubelet.PullError{Ref: refused.Ref, Explanation: refused.Error()}
	}
	if err != nil {
		return kubelet.Image{}, err
	}
	return named(e, ref), nil
}

// ImageStatus implements kubelet.Runtime.
func (n *node) ImageStatus(_ context.Context, ref string) (kubelet.Image, bool, error) {
	r, err := n.runtime()
	if err != nil {
		return kubelet.Image{}, false, err
	}
	e, ok := r.ImageStatus(ref)
	if !ok {
		return kubelet.Image{}, false, nil
	}
	return named(e, ref), true, nil
}

// ListImages implements kubelet.Runtime.
func (n *node) ListImages(context.Context) ([]kubelet.Image, error) {
	r, err := n.runtime()
	if err != nil {
		return nil, err
	}
	var out []kubelet.Image
	for _, e := range r.ListImages() {
		out = append(out, kubeletImage(e))
	}
	return out, nil
}

// WriteVolume implements kubelet.Runtime.
func (n *node) WriteVolume(ctx context.Context, podUID string, spec kubelet.VolumeSpec) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	out := runtime.VolumeSpec{Name: spec.Name, SizeLimit: spec.SizeLimit, Memory: spec.Memory, Projected: spec.Projected, GID: spec.GID}
	for _, f := range spec.Files {
		data, err := f.Content(ctx)
		if err != nil {
			return err
		}
		out.Files = append(out.Files, runtime.VolumeFile{Path: f.Path, Mode: f.Mode, Data: data})
	}
	return r.WriteVolume(ctx, podUID, out)
}

// RemoveVolumes implements kubelet.Runtime.
func (n *node) RemoveVolumes(ctx context.Context, podUID string) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	return r.RemoveVolumes(ctx, podUID)
}

// ExecSync implements kubelet.Runtime.
func (n *node) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error) {
	r, err := n.runtime()
	if err != nil {
		return nil, nil, 0, err
	}
	stdout, stderr, code, err = r.ExecSync(ctx, id, cmd, timeout)
	if errors.Is(err, runtime.ErrTimeout) {
		err = kubelet.ErrDeadline
	}
	return stdout, stderr, code, err
}

// Exec implements kubelet.Runtime.
func (n *node) Exec(ctx context.Context, id string, cmd []string, s kubelet.IO) (int, error) {
	r, err := n.runtime()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return r.Exec(ctx, id, cmd, streams(ctx, s))
}

// Attach implements kubelet.Runtime.
func (n *node) Attach(ctx context.Context, id string, s kubelet.IO) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return r.Attach(ctx, id, streams(ctx, s))
}

func streams(ctx context.Context, s kubelet.IO) runtime.IO {
	out := runtime.IO{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, TTY: s.TTY}
	if s.Resize != nil {
		sizes := make(chan runtime.Size)
		out.Resize = sizes
		go passSizes(ctx, s.Resize, sizes)
	}
	return out
}

// passSizes ends with ctx, which ends with the call.
func passSizes(ctx context.Context, from <-chan remotecommand.TerminalSize, to chan<- runtime.Size) {
	defer close(to)
	for {
		select {
		case s, ok := <-from:
			if !ok {
				return
			}
			select {
			case to <- runtime.Size{Rows: s.Height, Cols: s.Width}:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// Dial implements kubelet.Runtime.
func (n *node) Dial(ctx context.Context, sandboxID string, addr netip.Addr, port uint16) (net.Conn, error) {
	r, err := n.runtime()
	if err != nil {
		return nil, err
	}
	if addr.IsLoopback() {
		addr = netip.Addr{} // the runtime's way to say: from inside the pod
	}
	return r.Dial(ctx, sandboxID, addr, port)
}

// Logs implements kubelet.Runtime.
func (n *node) Logs(ctx context.Context, id string, o kubelet.LogOptions, stdout, stderr io.Writer) error {
	r, err := n.runtime()
	if err != nil {
		return err
	}
	return r.Logs(ctx, id, runtime.LogOptions{Follow: o.Follow, Tail: o.Tail, Since: o.Since, Timestamps: o.Timestamps, Limit: o.Limit}, stdout, stderr)
}

// Stats implements kubelet.Runtime.
func (n *node) Stats(ctx context.Context, id string) (kubelet.ContainerStats, error) {
	r, err := n.runtime()
	if err != nil {
		return kubelet.ContainerStats{}, err
	}
	s, err := r.Stats(ctx, id)
	return kubelet.ContainerStats{CPU: s.CPU, Memory: s.Memory, PIDs: s.PIDs}, err
}
