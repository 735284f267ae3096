package kubelet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// Runtime runs the containers of one node. It has the shape of the Container Runtime Interface (k8s.io/cri-api), in Go values.
//
// The kubelet calls it away from its loop, so a method may block; no call is made while an earlier one for the same pod is running,
// except ExecSync, Exec, Attach, Dial, Logs and StopContainer. Ids are the runtime's. What happens by itself (a process that ends, an
// out-of-memory kill) is told through the function given to Notify.
//
// After a power cut (the machine lost its processes) a runtime forgets its sandboxes; StopPodSandbox and the Remove methods of an
// unknown id succeed.
type Runtime interface {
	// Notify gives the function that takes events. It is called once, before anything else, and never blocks.
	Notify(f func(Event))

	// RunPodSandbox makes the pod's namespaces and network. It answers when pods can reach its address.
	RunPodSandbox(ctx context.Context, spec SandboxSpec) (id string, err error)
	// StopPodSandbox ends every process in the sandbox and releases its address. Twice is fine.
	StopPodSandbox(ctx context.Context, id string) error
	// RemovePodSandbox forgets a stopped sandbox with its containers, their logs and upper layers.
	RemovePodSandbox(ctx context.Context, id string) error

	// CreateContainer prepares a container. Errors carry what is wrong with the image or the spec.
	CreateContainer(ctx context.Context, sandboxID string, spec ContainerSpec) (id string, err error)
	// StartContainer starts its first process. The error's text is containerd's where it has one ("exec format error").
	StartContainer(ctx context.Context, id string) error
	// StopContainer sends the stop signal and, when grace has passed, KILL; it answers when the container has ended.
	StopContainer(ctx context.Context, id string, grace time.Duration) error
	// RemoveContainer forgets an ended container with its log and upper layer.
	RemoveContainer(ctx context.Context, id string) error
	ContainerStatus(ctx context.Context, id string) (ContainerStatus, error)

	// PullImage fetches an image. progress may be nil. Errors are PullErrors where the registry explained itself.
	PullImage(ctx context.Context, ref string) (Image, error)
	// ImageStatus looks for an image on the node.
	ImageStatus(ctx context.Context, ref string) (img Image, present bool, err error)
	ListImages(ctx context.Context) ([]Image, error)

	// WriteVolume makes a pod's volume or replaces the content of one (atomically: a reader sees the old or the new files).
	WriteVolume(ctx context.Context, podUID string, spec VolumeSpec) error
	// RemoveVolumes removes the volumes of a pod.
	RemoveVolumes(ctx context.Context, podUID string) error

	// ExecSync runs a command for at most timeout (0: the context's) and returns the first 16 KiB of its output.
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error)
	Exec(ctx context.Context, id string, cmd []string, streams IO) (code int, err error)
	Attach(ctx context.Context, id string, streams IO) error
	// Dial connects to a TCP port inside the sandbox's network, from its node.
	Dial(ctx context.Context, sandboxID string, addr netip.Addr, port uint16) (net.Conn, error)
	// Logs copies a container's log to the writers (both may be the same). With Follow it answers when the container ends and all is copied.
	Logs(ctx context.Context, id string, opts LogOptions, stdout, stderr io.Writer) error
	Stats(ctx context.Context, id string) (ContainerStats, error)
}

// ErrDeadline is returned by ExecSync when the command did not end in time.
var ErrDeadline = errors.New("command timed out")

// Event tells of a change that nobody asked for.
type Event struct {
	Type        EventType
	SandboxID   string
	ContainerID string // empty for a sandbox's event
}

// EventType is the kind of an Event.
type EventType uint8

// The events.
const (
	// ContainerExited: the container's first process has ended; ContainerStatus tells how.
	ContainerExited EventType = iota + 1
	// ContainerOOM: a process of the container was killed for memory. ContainerExited follows if it was the first process.
	ContainerOOM
	// SandboxLost: the sandbox is gone with all its containers.
	SandboxLost
)

// SandboxSpec describes a pod's sandbox.
type SandboxSpec struct {
	Namespace, Name, UID string
	Attempt              uint32
	Hostname             string
	IP                   netip.Addr // invalid with HostNetwork
	HostNetwork          bool
	HostPID              bool
	ShareProcesses       bool
	DNS                  DNS
	// Hosts are additional lines of /etc/hosts.
	Hosts     []HostAlias
	HostPorts []HostPort
	Sysctls   map[string]string
}

// DNS is the content of /etc/resolv.conf.
type DNS struct{ Servers, Searches, Options []string }

// HostAlias is a line of /etc/hosts.
type HostAlias struct {
	IP    string
	Names []string
}

// HostPort asks for a port of the node to lead to a port of the pod.
type HostPort struct {
	Protocol           string // TCP or UDP
	HostIP             string
	Host, Container    uint16
	ContainerName, Key string
}

// ContainerSpec describes a container.
type ContainerSpec struct {
	Name    string
	Attempt uint32
	Image   Image // as PullImage or ImageStatus returned it
	// Command and Args are the pod's: empty means the image's, as in Kubernetes' table of entrypoint and cmd.
	Command, Args []string
	Env           []Env
	WorkingDir    string // empty: the image's
	User          User
	TTY           bool
	Stdin         bool
	StdinOnce     bool
	Mounts        []Mount
	Resources     Resources
	ReadOnlyRoot  bool
	// TerminationLog is the path in the container whose content becomes ContainerStatus.Message, at most 4 KiB.
	TerminationLog string
	// TerminationFallsBackToLog has the end of the log taken when the file is empty and the container failed.
	TerminationFallsBackToLog bool
}

// Env is one variable.
type Env struct{ Name, Value string }

// User says as whom the container runs; nil fields are the image's.
type User struct {
	UID, GID *int64
	Groups   []int64
}

// Resources are the limits of a container's cgroup; zero is none.
type Resources struct {
	MemoryMax     int64 // bytes
	MemoryRequest int64 // bytes: when memory runs out, who is furthest beyond it goes first
	CPUQuota      int64 // microseconds of CPU per CPUPeriod
	CPUPeriod     int64 // microseconds
	CPUWeight     uint64
	PidsMax       int64
	OOMScoreAdj   int64
}

// Mount puts a volume of the pod into a container.
type Mount struct {
	Volume   string // name of a volume written with WriteVolume
	SubPath  string
	Target   string
	ReadOnly bool
}

// VolumeSpec is a volume and, for those that have content of their own, its files.
type VolumeSpec struct {
	Name string
	// SizeLimit in bytes, 0 none.
	SizeLimit int64
	// Memory volumes are charged as memory, others as disk.
	Memory bool
	// Projected volumes are read-only to the pod and hold exactly Files; others begin empty and belong to the pod.
	Projected bool
	Files     []VolumeFile
	// GID, where not nil, owns the files (fsGroup).
	GID *int64
}

// VolumeFile is a file of a projected volume. Path is relative and clean. Its bytes come from Content.
type VolumeFile struct {
	Path string
	Mode uint32 // permission bits
	Data []byte
	// Load, where not nil, makes the bytes when they are wanted: a token is signed only for those who read it.
	Load func(ctx context.Context) ([]byte, error)
}

// Content returns the file's bytes.
func (f VolumeFile) Content(ctx context.Context) ([]byte, error) {
	if f.Load != nil {
		return f.Load(ctx)
	}
	return f.Data, nil
}

// Image is an image on the node.
type Image struct {
	Ref string // as asked for, normalised: docker.io/library/nginx:1.28
	// Digest is the reference with its digest, as in a container status' imageID.
	Digest string
	Size   int64
	// User is the image's user, "" for root.
	User string
}

// PullError is a pull that the registry refused. Explanation is what the registry said about it.
type PullError struct {
	Ref         string
	Explanation string
}

func (e *PullError) Error() string { return e.Explanation }

// ContainerState is the state of a container.
type ContainerState uint8

// The states.
const (
	ContainerCreated ContainerState = iota + 1
	ContainerRunning
	ContainerExitedState
)

// ContainerStatus is how a container is or how it ended.
type ContainerStatus struct {
	State      ContainerState
	ExitCode   int32
	Signal     int32
	Reason     string // Completed, Error, OOMKilled, ContainerCannotRun
	Message    string
	StartedAt  time.Time
	FinishedAt time.Time
}

// ContainerStats is a container's use.
type ContainerStats struct {
	CPU    time.Duration // since it began
	Memory int64         // bytes
	PIDs   int64
}

// IO is the streams of Exec and Attach; nil ones are not wanted.
type IO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	Resize         <-chan remotecommand.TerminalSize
}

// LogOptions select a part of a log.
type LogOptions struct {
	Follow     bool
	Tail       int64 // lines; negative: all
	Since      time.Time
	Timestamps bool
	Limit      int64 // bytes; 0: no limit
}
