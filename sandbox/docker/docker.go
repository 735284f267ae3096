// Package docker is a Docker host: the Docker Engine API (HTTP) over the containers of one machine. Containers are those of sandbox/runtime, one
// sandbox each; what a stopped container keeps (options, log, upper layer) is kept here, its address is given back.
//
// It knows nothing of Kubernetes, nor how a program runs or where the API's connections come from. API types are moby's own.
//
// It belongs to one boot of a machine, as the Runtime does; what outlives it is the Keeper's (state.go).
//
// Lock order: container.ops → Engine.mu → container.mu. The runtime is called with none of them held but container.ops.
package docker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/registry"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// The versions of the API that are spoken: from what Docker Engine 29 still takes to that of moby's types in go.mod.
const (
	MinAPIVersion = "1.44"
	APIVersion    = "1.55"
)

// Config configures an Engine. Machine, Images, Fabric and Keeper are required.
type Config struct {
	Machine *kernel.Machine
	Images  *image.Local
	Fabric  *network.Fabric
	// Disk is charged for upper layers, logs and volumes; DiskSize is its size in bytes.
	Disk     vfs.Charger
	DiskSize int64
	LogLimit int64 // bytes of each container's log; 0 = 10 MiB
	// Containers and Volumes bound how many there may be, stopped ones included; 0 = 500 and 200.
	Containers, Volumes int
	Version             string // of the product, told as the server's
	// Keeper keeps what outlives this boot of the machine.
	Keeper Keeper
	// Registries are those of the lab: whom they let in, and what may be pushed to them. What they offer is Images' scope.
	Registries []*registry.Registry
}

// Engine is a machine's Docker host. Its methods may be called from any goroutine.
type Engine struct {
	cfg     Config
	runtime *runtime.Runtime
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	once    sync.Once

	mu         sync.Mutex
	closed     bool                  // guarded by mu
	off        bool                  // guarded by mu; the machine has lost its power
	containers map[string]*container // guarded by mu; by id
	names      map[string]*container // guarded by mu
	networks   map[string]*bridge    // guarded by mu; by name
	volumes    map[string]*volume    // guarded by mu
	execs      map[string]*exec      // guarded by mu
	past       []events.Message      // guarded by mu; the last ones
	listeners  map[*listener]struct{}
	builder    builder
	changed    watchers // of what happens
	written    watchers // of the logs
	shows      shows
}

// New makes a Docker host with what its Keeper has.
func New(cfg Config) (_ *Engine, err error) {
	if cfg.Machine == nil || cfg.Images == nil || cfg.Fabric == nil || cfg.Keeper == nil {
		return nil, errors.New("docker: Machine, Images, Fabric and Keeper are required")
	}
	if cfg.Containers <= 0 {
		cfg.Containers = 500
	}
	if cfg.Volumes <= 0 {
		cfg.Volumes = 200
	}
	if cfg.LogLimit <= 0 {
		cfg.LogLimit = 10 << 20
	}
	e := &Engine{cfg: cfg, containers: map[string]*container{}, names: map[string]*container{}, networks: map[string]*bridge{},
		volumes: map[string]*volume{}, execs: map[string]*exec{}, listeners: map[*listener]struct{}{}}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.runtime, err = runtime.New(runtime.Config{Machine: cfg.Machine, Images: cfg.Images, Fabric: cfg.Fabric, Disk: cfg.Disk, DiskSize: cfg.DiskSize,
		Gateway: defaultSubnet.Addr().Next(), Bridge: defaultBridge, PodBits: defaultSubnet.Bits(), LogLimit: cfg.LogLimit, Cgroup: "docker", Events: e.runtimeEvent})
	if err != nil {
		return nil, err
	}
	if err := e.defaultNetworks(); err != nil {
		return nil, err
	}
	e.restore()
	return e, nil
}

// Close ends all containers; what the Keeper has of them stays. Twice is fine.
func (e *Engine) Close() error {
	e.once.Do(func() {
		e.stop()
		e.mu.Lock()
		e.closed = true
		e.mu.Unlock()
		e.runtime.Close()
		e.tasks.Wait()
	})
	return nil
}

// PowerCut is told before the machine's processes die with its power: a daemon would not see them end.
func (e *Engine) PowerCut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.off, e.closed = true, true
}

// runtimeEvent hears of what happens by itself.
func (e *Engine) runtimeEvent(ev runtime.Event) {
	e.mu.Lock()
	c, off := e.containers[ev.ContainerID], e.off
	e.mu.Unlock()
	if c == nil || off {
		return
	}
	switch ev.Type {
	case runtime.EventExited:
		e.exited(c)
	case runtime.EventOOM:
		e.event(events.ContainerEventType, events.ActionOOM, c.id, c.attributes())
	}
}

// newID is 64 hex digits of the machine's randomness, as Docker's ids are.
func (e *Engine) newID() string {
	var b [32]byte
	if _, err := io.ReadFull(e.cfg.Machine.Rand(), b[:]); err != nil {
		panic(fmt.Sprintf("docker: no randomness: %v", err)) // the machine's source has no end
	}
	return hex.EncodeToString(b[:])
}

func (e *Engine) now() time.Time { return e.cfg.Machine.Clock().Now() }

// apiError is a failure with the HTTP status of Docker's API and the text that its client prints.
type apiError struct {
	status int
	text   string
}

// Error implements error.
func (e *apiError) Error() string { return e.text }

func failure(status int, format string, args ...any) error {
	return &apiError{status, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return failure(http.StatusNotFound, format, args...)
}
func conflict(format string, args ...any) error {
	return failure(http.StatusConflict, format, args...)
}
func invalid(format string, args ...any) error {
	return failure(http.StatusBadRequest, format, args...)
}

// unsupported is the answer to what this host cannot do yet.
func unsupported(what string) error {
	return failure(http.StatusNotImplemented, "drydock does not support %s yet", what)
}

// prefixOf is the address with its network's length.
func prefixOf(a netip.Addr, n netip.Prefix) netip.Prefix { return netip.PrefixFrom(a, n.Bits()) }
