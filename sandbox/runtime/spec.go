package runtime

import (
	"net/netip"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// SandboxSpec describes a pod's sandbox: what its containers share.
type SandboxSpec struct {
	Namespace, Name, UID string
	Attempt              uint32
	Hostname             string     // "" = Name
	IP                   netip.Addr // invalid with HostNetwork, or for a pod without network
	HostNetwork, HostPID bool
	ShareProcesses       bool // not supported: an error
	DNS                  DNS
	EtcHosts             string      // the text of /etc/hosts; "" = as the kubelet writes it, with Hosts added
	Hosts                []HostAlias // added to /etc/hosts
	HostPorts            []HostPort
	Sysctls              map[string]string // only the names that do nothing here are accepted; see checkSysctls
	Labels               map[string]string
}

// DNS is what /etc/resolv.conf says. With HostNetwork and no servers the machine's own file is used.
type DNS struct{ Servers, Searches, Options []string }

// HostAlias is a line of /etc/hosts.
type HostAlias struct {
	IP    string
	Names []string
}

// HostPort leads a TCP port of the machine to a port of the pod.
type HostPort struct {
	Protocol        string // "TCP"
	HostIP          string // "" = all of the machine's addresses
	Host, Container uint16
}

// ContainerSpec describes a container.
type ContainerSpec struct {
	ID      string // 64 hex digits; "" = a new one
	Name    string
	Attempt uint32
	Image   string // a name, digest or id that the machine has
	// Command replaces the image's entrypoint and drops its command; Args replaces its command.
	Command, Args             []string
	Env                       []string // NAME=value; later ones win
	WorkingDir                string   // "" = the image's
	User                      User
	TTY, Stdin, StdinOnce     bool
	Mounts                    []Mount
	Resources                 Resources
	ReadOnlyRoot              bool
	TerminationLog            string // path in the container whose text becomes Status.Message, at most 4 KiB
	TerminationFallsBackToLog bool   // when that is empty and the container failed, the end of the log
	LogLimit                  int64  // bytes; 0 = Config.LogLimit
	StopSignal                string // "" = the image's
	// Upper and Log are what outlives the container, for an engine that starts it again as a new one; nil makes them end with it.
	Upper               *vfs.Tmpfs
	Log                 *Log
	Labels, Annotations map[string]string
}

// User says as whom a container runs; nil fields are the image's choice.
type User struct {
	Name     string // or "uid", "name:group", "uid:gid"; used when UID is nil
	UID, GID *int64
	Groups   []int64 // supplementary, beside those that /etc/group gives
}

// Resources are the limits of a container's cgroup; zero is none.
type Resources struct {
	MemoryMax     int64 // bytes
	MemoryRequest int64 // bytes: who is furthest beyond goes first when the lab is full
	CPUQuota      int64 // µs of CPU per CPUPeriod
	CPUPeriod     int64 // µs; 0 = 100,000
	CPUWeight     uint64
	PidsMax       int64
}

// Mount puts something into a container. One of Volume, FS and HostPath.
type Mount struct {
	Volume   string // of the pod, written with WriteVolume
	FS       vfs.FS // any file system
	HostPath string // of the machine
	SubPath  string // inside Volume or FS; made as a directory when it is missing
	Target   string
	ReadOnly bool
}

// State of a container.
type State uint8

// The states.
const (
	Created State = iota + 1
	Running
	Exited
)

// String is the word that `docker ps` shows.
func (s State) String() string {
	switch s {
	case Created:
		return "created"
	case Running:
		return "running"
	case Exited:
		return "exited"
	}
	return "unknown"
}

// Reasons of ContainerStatus.
const (
	ReasonCompleted = "Completed"
	ReasonError     = "Error"
	ReasonOOMKilled = "OOMKilled"
	ReasonStart     = "StartError" // the first process could not be started; Message says why
)

// ContainerStatus is how a container is or how it ended.
type ContainerStatus struct {
	ID, SandboxID, Name string
	Attempt             uint32
	Image               string // as it was asked for
	ImageDigest         string
	State               State
	PID                 int // of the first process on the machine, 0 unless Running
	ExitCode            int // 128+n when signal n ended it
	Signal              int
	Reason              string
	Message             string
	CreatedAt           time.Time
	StartedAt           time.Time
	FinishedAt          time.Time
	Labels, Annotations map[string]string
}

// SandboxStatus is a pod's sandbox.
type SandboxStatus struct {
	ID        string
	Spec      SandboxSpec
	Ready     bool // not stopped
	IP        netip.Addr
	CreatedAt time.Time
}

// Stats is what a container uses, metered.
type Stats struct {
	CPU         time.Duration // since it was made
	Memory      int64         // memory.current
	MemoryPeak  int64
	PIDs        int64
	Throttled   time.Duration
	DiskBytes   int64 // of the upper layer
	DiskInodes  int64
	OOMKills    int64
	MemoryLimit int64
}
