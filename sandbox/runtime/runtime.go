// Package runtime runs the containers of one machine: pod sandboxes with shared namespaces, containers over image layers, their logs, and
// programs executed in them. It has the shape of Kubernetes' Container Runtime Interface in plain Go values, and is built of the
// kernel's processes, vfs' overlays, image's layers and network's stacks.
//
// It knows nothing of Kubernetes, of Docker's API, nor how a program runs (wasm). It belongs to one boot of a machine: after a power cut
// the machine is a new one and gets a new Runtime; images (image.Local) are what a disk keeps.
//
// An idle container costs no goroutine but its processes': their output is written into the log by the writer itself, and their end is
// noticed by a callback. A container with a terminal has one that moves its output.
//
// Lock order: Runtime.mu → Container.mu → Log.mu. The kernel, vfs and network are called with none of them held but Container.mu.
package runtime

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Kinds of errors.
var (
	ErrNotFound = errors.New("not found")
	ErrState    = errors.New("not possible in this state")
	ErrTimeout  = errors.New("command timed out")
	ErrClosed   = errors.New("the machine is off")
)

// Config configures a Runtime. Machine, Images and Fabric are required.
type Config struct {
	Machine *kernel.Machine
	Images  *image.Local
	Fabric  *network.Fabric
	// Disk is charged for upper layers, logs and volumes that are not memory; nil = nobody.
	Disk vfs.Charger
	// DiskSize is the size of the disk in bytes: what df shows and no single upper layer exceeds; 0 = unlimited.
	DiskSize int64
	// Gateway is the default route of pods and Bridge what their links hang on; both only shown. PodBits is the prefix length of a pod's address, 24.
	Gateway netip.Addr
	Bridge  string
	PodBits int
	// Cgroup is the name of the cgroup that all are in; "kubepods".
	Cgroup string
	// LogLimit bounds each container's log in bytes; the oldest lines go. 10 MiB.
	LogLimit int64
	// RootInodes bounds files of each container's upper layer; 65,536.
	RootInodes int64
	// Events is told of what happens by itself. It must not block and may call back. nil = nobody.
	Events func(Event)
}

// EventType is the kind of an Event.
type EventType uint8

// The events.
const (
	EventStarted     EventType = iota + 1
	EventExited                // the container's first process has ended
	EventOOM                   // a process of it was killed for memory; EventExited follows if that ends the container
	EventSandboxLost           // the sandbox is gone with all its containers: the machine lost its power
)

// Event is something that happened.
type Event struct {
	Type                   EventType
	SandboxID, ContainerID string
}

// Runtime is the containers of one machine.
type Runtime struct {
	cfg    Config
	m      *kernel.Machine
	exits  exitQueue
	cgroup lazyCgroup
	sys    vfs.FS // immutable; each process sees its own cgroup in it
	pts    vfs.FS // immutable

	mu         sync.Mutex
	sandboxes  map[string]*Sandbox   // guarded by mu
	containers map[string]*Container // guarded by mu
	volumes    map[volumeKey]*volume // guarded by mu
	closed     bool                  // guarded by mu
}

// New makes an empty Runtime for a machine that is running.
func New(cfg Config) (*Runtime, error) {
	if cfg.Machine == nil || cfg.Images == nil || cfg.Fabric == nil {
		return nil, errors.New("runtime: Machine, Images and Fabric are required")
	}
	if cfg.LogLimit <= 0 {
		cfg.LogLimit = 10 << 20
	}
	if cfg.RootInodes <= 0 {
		cfg.RootInodes = 65536
	}
	if cfg.PodBits <= 0 {
		cfg.PodBits = 24
	}
	if cfg.Cgroup == "" {
		cfg.Cgroup = "kubepods"
	}
	if cfg.Bridge == "" {
		cfg.Bridge = "cni0"
	}
	if cfg.Events == nil {
		cfg.Events = func(Event) {}
	}
	r := &Runtime{cfg: cfg, m: cfg.Machine, sys: cfg.Machine.SysFS(), pts: cfg.Machine.PtsFS(), sandboxes: map[string]*Sandbox{}, containers: map[string]*Container{}, volumes: map[volumeKey]*volume{}}
	return r, nil
}

// Close kills all containers, waits for them and releases everything that is charged, addresses and volumes too. Closing twice is fine.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	var boxes []*Sandbox
	for _, s := range r.sandboxes {
		boxes = append(boxes, s)
	}
	r.mu.Unlock()
	for _, s := range boxes {
		s.stop()
		s.remove()
		r.cfg.Events(Event{Type: EventSandboxLost, SandboxID: s.ID})
	}
	r.exits.wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, v := range r.volumes {
		v.fs.Close()
		delete(r.volumes, k)
	}
	return nil
}

// newID is 64 hex digits from the machine's randomness, as container ids are.
func (r *Runtime) newID() (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(r.m.Rand(), b[:]); err != nil {
		return "", fmt.Errorf("runtime: no randomness: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

func (r *Runtime) now() time.Time { return r.m.Clock().Now() }

// fsClock is the machine's clock for file systems.
func (r *Runtime) fsClock() vfs.Clock { return r.m.Clock().Now }

// lazyCgroup is the cgroup that all pods are in, made with the first.
type lazyCgroup struct {
	mu sync.Mutex
	c  *kernel.Cgroup
}

func (l *lazyCgroup) get(m *kernel.Machine, name string) (*kernel.Cgroup, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		return l.c, nil
	}
	c, err := m.Cgroup().Child(name, kernel.CgroupLimits{})
	if err == syscall.EEXIST {
		for _, d := range m.Cgroup().Children() {
			if d.Name() == name {
				c, err = d, nil
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", name, err)
	}
	l.c = c
	return c, nil
}

// exitQueue runs what is to be done about ended processes. The kernel's callbacks must not block, so they only enqueue; a goroutine is
// there while there is work.
type exitQueue struct {
	mu      sync.Mutex
	jobs    []func() // guarded by mu
	running bool     // guarded by mu
	idle    *sync.Cond
	pumps   sync.WaitGroup // terminals' goroutines
}

func (q *exitQueue) add(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.jobs = append(q.jobs, f)
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *exitQueue) run() {
	for {
		q.mu.Lock()
		if len(q.jobs) == 0 {
			q.running = false
			if q.idle != nil {
				q.idle.Broadcast()
			}
			q.mu.Unlock()
			return
		}
		f := q.jobs[0]
		q.jobs = q.jobs[1:]
		q.mu.Unlock()
		f()
	}
}

// wait returns when nothing is left to do.
func (q *exitQueue) wait() {
	q.pumps.Wait()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.idle == nil {
		q.idle = sync.NewCond(&q.mu)
	}
	for q.running {
		q.idle.Wait()
	}
}
