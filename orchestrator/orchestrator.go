// Package orchestrator is a cluster's control plane and its nodes' agents: it wires controllers, scheduler, kubelets, Service routing
// and DNS to one event loop, fed by the commits of the cluster's store.
//
// It does not know the API server (it is given a reader, clients and the store), how containers run (kubelet.Runtime) or what a lab is.
//
// Lock order: store's delivery lock before ControlPlane.mu before loop.Loop's. ControlPlane.mu guards the commits that wait to be taken
// in; everything else runs in the loop.
package orchestrator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	v1 "k8s.io/api/core/v1"

	"github.com/drydock-labs/drydock/orchestrator/events"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Config describes a control plane.
type Config struct {
	Name   string // for reports
	Store  *store.Cluster
	Reader store.Reader
	// Client returns a client that writes as the user; system:authenticated is added by whoever makes it.
	Client func(userName string, groups ...string) store.Client
	Clock  loop.Clock
	// Rand decides where the choice is free (which endpoint a connection goes to); nil is crypto/rand.
	Rand io.Reader
	Pool *loop.Pool
	// Nodes are registered and switched on before Start returns.
	Nodes []NodeSpec
	// Version is Kubernetes' as nodes report it, Product Drydock's.
	Version, Product string
	// RootCA is the PEM bundle that pods trust the API server by.
	RootCA []byte
	// APIServers are where the Service kubernetes leads.
	APIServers []netip.AddrPort
	// ClusterDNS is the DNS server's address for pods; default 10.96.0.10. ClusterDomain is "cluster.local" by default.
	ClusterDNS    netip.Addr
	ClusterDomain string
	// PodCIDR is cut into a /24 for each node; default 10.244.0.0/16.
	PodCIDR netip.Prefix
	// Execute runs work that may block away from the loop; nil starts a goroutine, a simulation runs it at once.
	Execute func(func())
	// OnCrash is told when a component panicked; the control plane has stopped by then.
	OnCrash func(loop.Crash)
	// OnError is told of every reconcile that failed and will be tried again after a back-off; it must not block.
	OnError func(queue string, key any, err error)
}

// handler is a component that takes changes.
type handler = informer.Handler

// ControlPlane is the running control plane of one cluster.
type ControlPlane struct {
	cfg      Config
	loop     *loop.Loop
	index    *informer.Index
	recorder *events.Recorder
	parts    parts
	remove   func()
	dead     chan struct{}
	once     sync.Once

	handlers []handler                   // immutable after Start
	kubelets map[string]*kubelet.Kubelet // changed by the loop under mu
	cidrs    map[byte]string             // node names by the third byte of their pod network; the loop's

	addrs sync.Map // node addresses → node names, and pod networks → node names

	mu      sync.Mutex
	pending []store.Commit // protected by mu
	spare   []store.Commit // the loop's
}

// ErrStopped is returned when the control plane was closed or has crashed.
var ErrStopped = errors.New("the control plane has stopped")

// Start wires everything and returns when the nodes are registered.
func Start(cfg Config) (*ControlPlane, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	cp := &ControlPlane{cfg: cfg, index: informer.NewIndex(), recorder: events.NewRecorder(cfg.Clock), dead: make(chan struct{}),
		kubelets: map[string]*kubelet.Kubelet{}, cidrs: map[byte]string{}}
	cp.loop = loop.New(loop.Config{Name: cfg.Name, Pool: cfg.Pool, Clock: cfg.Clock, Execute: cfg.Execute, OnCrash: cp.crashed, OnError: cfg.OnError})
	cp.assemble()
	cp.remove = cfg.Store.OnCommit(cp.committed)
	err := cp.call(func(t loop.Trigger) error {
		cp.replay()
		if err := cp.serveKubernetes(t); err != nil {
			return err
		}
		for _, n := range cfg.Nodes {
			if err := cp.addNode(t, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		cp.Close()
		return nil, err
	}
	return cp, nil
}

func (c *Config) complete() error {
	switch {
	case c.Store == nil || c.Reader == nil || c.Client == nil:
		return errors.New("orchestrator: Store, Reader and Client are needed")
	case c.Clock == nil || c.Pool == nil:
		return errors.New("orchestrator: Clock and Pool are needed")
	}
	if !c.ClusterDNS.IsValid() {
		c.ClusterDNS = netip.AddrFrom4([4]byte{10, 96, 0, 10})
	}
	if c.ClusterDomain == "" {
		c.ClusterDomain = "cluster.local"
	}
	if !c.PodCIDR.IsValid() {
		c.PodCIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 0, 0}), 16)
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Version == "" {
		c.Version = "v0.0.0"
	}
	return nil
}

// Loop is the cluster's loop, for tests and reports.
func (cp *ControlPlane) Loop() *loop.Loop { return cp.loop }

// WaitIdle returns when nothing is to be done until a timer or somebody from outside asks for more.
func (cp *ControlPlane) WaitIdle(ctx context.Context) error { return cp.loop.WaitIdle(ctx) }

// Close stops everything. Twice is fine.
func (cp *ControlPlane) Close() {
	if cp.remove != nil {
		cp.remove()
	}
	cp.loop.Close()
	cp.once.Do(func() { close(cp.dead) })
}

func (cp *ControlPlane) crashed(c loop.Crash) {
	cp.once.Do(func() { close(cp.dead) })
	if cp.cfg.OnCrash != nil {
		cp.cfg.OnCrash(c)
	}
}

// call runs f in the loop and returns its error.
func (cp *ControlPlane) call(f func(loop.Trigger) error) error {
	done := make(chan error, 1)
	cp.loop.Post(func() { done <- f(cp.loop.Current()) })
	select {
	case err := <-done:
		return err
	case <-cp.dead:
		if c := cp.loop.Crashed(); c != nil {
			return fmt.Errorf("%w: %v", ErrStopped, c)
		}
		return ErrStopped
	}
}

// committed takes a commit, on the writer's goroutine.
func (cp *ControlPlane) committed(c store.Commit) {
	if c.Resource == informer.Events {
		return // nobody acts on them
	}
	cp.mu.Lock()
	cp.pending = append(cp.pending, c)
	first := len(cp.pending) == 1
	cp.mu.Unlock()
	if first {
		cp.loop.Post(cp.drain)
	}
}

// drain takes the waiting commits in.
func (cp *ControlPlane) drain() {
	cp.mu.Lock()
	commits := cp.pending
	cp.pending, cp.spare = cp.spare, nil
	cp.mu.Unlock()
	for i := range commits {
		c := informer.Change{Commit: commits[i]}
		if c.Commit.Old != nil {
			c.Old = c.Commit.Old.External()
		}
		if c.Commit.New != nil {
			c.New = c.Commit.New.External()
		}
		commits[i] = store.Commit{}
		cp.dispatch(&c)
	}
	if cap(commits) <= 256 {
		cp.spare = commits[:0]
	}
}

func (cp *ControlPlane) dispatch(c *informer.Change) {
	cp.index.Apply(c)
	for _, h := range cp.handlers {
		h.Handle(c)
	}
	switch c.Resource {
	case informer.Pods:
		// A pod that moves from no node to one, or ends, concerns that node's kubelet alone.
		if p, ok := c.Last().(*v1.Pod); ok && p.Spec.NodeName != "" {
			if k := cp.kubelets[p.Spec.NodeName]; k != nil {
				k.Handle(c)
			}
		}
	case informer.ConfigMaps, informer.Secrets:
		for _, name := range cp.nodeNames() {
			cp.kubelets[name].Handle(c)
		}
	}
}

// replay shows the components what is there already, as if it had just been made.
func (cp *ControlPlane) replay() {
	for _, gr := range cp.replayed() {
		for _, o := range cp.cfg.Reader.List(gr, "", nil) {
			ns, name := nameOf(o)
			cp.dispatch(&informer.Change{Commit: store.Commit{Resource: gr, Namespace: ns, Name: name, Op: store.Create}, New: o})
		}
	}
}
