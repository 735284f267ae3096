package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/server/api"
)

// Names of the machines that every lab has. Workers are node-1, node-2, …
const (
	Workstation  = "workstation"
	ControlPlane = "control-plane"
)

// Learner is the user that a lab's kubeconfig is of; it is in AdminGroup, as the kubernetes-admin of a cluster made by kubeadm.
const (
	Learner    = "learner"
	AdminGroup = user.SystemPrivilegedGroup
)

// Lab is one learner's lab. It implements api.Lab. Methods may be called from any goroutine, after Close too.
type Lab struct {
	host    *Host
	id      string
	lang    string
	clock   *Clock
	rand    io.Reader
	account *kernel.Account
	fabric  *network.Fabric
	disk    disk
	keeper  *keeper
	options Options   // immutable
	born    time.Time // immutable
	asleep  bool      // protected by mu: it was closed, and its clock stops
	cluster *apiserver.Cluster
	cp      atomic.Pointer[orchestrator.ControlPlane]
	base    int64          // the cluster's revision before anything of this lab
	inside  *network.Stack // the addresses of the lab itself: the DNS server's
	regs    registries
	order   []string         // machine names, workstation first; immutable
	nodes   map[string]*node // by name, the workstation among them; immutable
	changes notifier         // of the cluster
	hosted  notifier         // of the Docker host
	traffic gathered         // of connections to Services
	docked  gathered         // of the Docker host
	made    chan struct{}    // closed when newLab is through
	done    chan struct{}    // closed when the lab has ended
	ended   chan struct{}    // closed when everything is released
	once    sync.Once
	greeted atomic.Bool  // the first terminal has said what programs here are
	runs    atomic.Int64 // commands that Run has started

	mu     sync.Mutex
	report error // protected by mu: why the lab ended by itself
}

// newLab makes a lab, or one that was kept; what it cannot finish it takes back.
func newLab(ctx context.Context, h *Host, id string, o Options, k *kept) (_ *Lab, err error) {
	l := &Lab{host: h, id: id, lang: o.Lang, clock: k.clock, rand: source(o.Seed), options: o, born: k.described.Born, base: k.described.Base, nodes: map[string]*node{},
		made: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{})}
	l.keeper = newKeeper(k.writer, k.replay, func(err error) { l.crash(fmt.Errorf("what happens in the lab can no longer be kept: %w", err)) })
	l.disk.limit, l.disk.full = h.limits.Disk, l.keeper.Full
	defer func() {
		close(l.made)
		if err != nil {
			l.Close()
		}
	}()
	l.account = h.kernel.NewAccount(kernel.Limits{MemoryBytes: h.limits.Memory, CPUs: h.limits.CPUs, Processes: h.limits.Processes})
	l.fabric = network.NewFabric(network.Config{Clock: l.clock, Rand: l.rand})
	l.fabric.SetHook(l)
	if err := l.keepImages(); err != nil {
		return nil, err
	}
	if err := l.makeCluster(k); err != nil {
		return nil, err
	}
	if err := l.regs.issue(l.rand, k.described.Login); err != nil {
		return nil, err
	}
	l.keepDescription()
	if err := l.makeMachines(o.Nodes); err != nil {
		return nil, err
	}
	return l, l.startControlPlane(ctx)
}

// clusterConfig is what the lab's cluster is made with, and replayed.
func (h *Host) clusterConfig(id string, c *Clock) apiserver.ClusterConfig {
	lim := h.limits
	return apiserver.ClusterConfig{ID: id, Clock: c, ServerCA: h.ca.CertPEM(), LogBytes: lim.History, MaxObjects: lim.Objects, MaxWatches: lim.Watches,
		MaxStreams: lim.Streams, MaxInFlight: lim.InFlight}
}

func (l *Lab) makeCluster(k *kept) (err error) {
	cfg := l.host.clusterConfig(l.id, l.clock)
	cfg.Rand, cfg.Keys = l.rand, l.keeper
	cfg.OnCrash = func(c apiserver.Crash) { l.crash(errors.New(c.String())) }
	cfg.Kubelet = func(name string) (apiserver.Kubelet, bool) {
		cp := l.cp.Load()
		if cp == nil {
			return nil, false
		}
		kubelet, ok := cp.Kubelet(name)
		return kubelet, ok // a nil pointer is never given as ok
	}
	if k.writer != nil {
		cfg.Journal = clusterJournal{l.keeper}
	}
	if k.opened {
		cfg.Restored = k.replay.cluster
	}
	if l.cluster, err = l.host.server.NewCluster(cfg); err != nil {
		return err
	}
	l.keeper.mu.Lock()
	l.keeper.cluster = l.cluster.Store()
	l.keeper.mu.Unlock()
	if !k.opened {
		l.base = l.cluster.Store().Rev()
	}
	l.cluster.Store().OnCommit(func(store.Commit) { l.changes.signal() })
	return nil
}

func (l *Lab) startControlPlane(ctx context.Context) error {
	var specs []orchestrator.NodeSpec
	for _, name := range l.order[1:] {
		n := l.nodes[name]
		spec := orchestrator.NodeSpec{Name: name, IP: n.ip, KernelVersion: kernelRelease, Runtime: n}
		if name == ControlPlane {
			spec = orchestrator.ControlPlaneNode(spec)
		}
		specs = append(specs, spec)
	}
	cp, err := orchestrator.Start(orchestrator.Config{
		Name: l.id, Store: l.cluster.Store(), Reader: l.cluster.Reader(), Clock: l.clock, Rand: l.rand, Pool: l.host.pool, Nodes: specs,
		Client: func(name string, groups ...string) store.Client {
			return l.cluster.Client(&user.DefaultInfo{Name: name, Groups: groups})
		},
		Version: apiserver.KubernetesVersion + "+drydock", Product: l.host.cfg.Version, RootCA: l.host.ca.CertPEM(),
		APIServers: []netip.AddrPort{netip.AddrPortFrom(l.nodes[ControlPlane].ip, apiPort)},
		OnCrash:    func(c loop.Crash) { l.crash(c) },
		OnError: func(queue string, key any, err error) {
			l.host.cfg.Log.Debug("a reconcile failed and is tried again", "lab", l.id, "queue", queue, "key", fmt.Sprint(key), "error", err)
		},
	})
	if err != nil {
		return err
	}
	l.cp.Store(cp)
	for _, name := range l.order {
		cp.RegisterName(name, l.nodes[name].ip)
	}
	l.nameRegistries(cp)
	return cp.WaitIdle(ctx)
}

// crash ends the lab because one of its parts panicked: the process and other labs go on.
func (l *Lab) crash(report error) {
	l.mu.Lock()
	if l.report == nil {
		l.report = report
	}
	l.mu.Unlock()
	l.host.cfg.Log.Error("a lab was stopped by a fault in one of its parts", "lab", l.id, "report", report)
	go func() {
		<-l.made
		l.Close()
	}()
}

// Err is why the lab ended by itself; nil while it runs or when it was closed.
func (l *Lab) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.report
}

// ID is the lab's unguessable name.
func (l *Lab) ID() string { return l.id }

// Clock is the lab's clock.
func (l *Lab) Clock() *Clock { return l.clock }

// Machines implements api.Lab.
func (l *Lab) Machines() []string { return append([]string(nil), l.order...) }

// Programs implements api.Lab.
func (l *Lab) Programs() []api.Program { return l.host.Programs() }

// World implements api.Lab.
func (l *Lab) World() lessons.World { return world{l} }

// Done implements api.Lab.
func (l *Lab) Done() <-chan struct{} { return l.done }

// Kubeconfig implements api.Lab: a file for clients outside, with a client certificate of its own.
func (l *Lab) Kubeconfig(serverURL string) ([]byte, error) {
	return l.cluster.Kubeconfig(serverURL, l.id+Domain, Learner, AdminGroup)
}

// Usage is what the lab takes.
func (l *Lab) Usage() kernel.AccountUsage { return l.account.Usage() }

// WaitIdle returns when the cluster has nothing to do until a timer or somebody from outside asks for more.
func (l *Lab) WaitIdle(ctx context.Context) error { return l.cp.Load().WaitIdle(ctx) }

// settleTime is how long, in wall time, a step of the clock waits for a part that itself waits for the clock (a container's grace).
const settleTime = 100 * time.Millisecond

// Step moves the lab's time on by d, from timer to timer, and lets the cluster settle at each.
func (l *Lab) Step(ctx context.Context, d time.Duration) error {
	limit := l.clock.Now().Add(d)
	for {
		if err := l.settle(ctx); err != nil {
			return err
		}
		if !l.clock.next(limit) {
			return l.settle(ctx)
		}
	}
}

// Jump moves the lab's time to the next timer, if one is due within d, and tells how far that was.
func (l *Lab) Jump(ctx context.Context, d time.Duration) (time.Duration, error) {
	if err := l.settle(ctx); err != nil {
		return 0, err
	}
	now := l.clock.Now()
	at, ok := l.clock.first()
	if !ok || at.After(now.Add(d)) {
		return 0, nil
	}
	l.clock.next(at)
	return max(0, at.Sub(now)), l.settle(ctx)
}

func (l *Lab) settle(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := l.WaitIdle(short); err != nil && ctx.Err() == nil && short.Err() == nil {
		return err
	}
	return ctx.Err()
}

// Close ends the lab: processes are killed, everything is released. What a journal keeps of it can be opened again (Host.Open). Twice is fine; every call waits for the end.
func (l *Lab) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.mu.Lock()
		l.asleep = true
		l.mu.Unlock()
		l.release()
		close(l.ended)
	})
	<-l.ended
	return nil
}

func (l *Lab) release() {
	if l.cp.Load() != nil {
		l.cp.Load().Close()
	}
	for _, n := range l.nodes {
		n.switchOff()
	}
	if l.account != nil {
		l.account.Close()
	}
	for _, n := range l.nodes {
		n.closeLast()
	}
	l.keep()
	l.host.dropping.RLock()
	for _, n := range l.nodes {
		n.images.Close()
	}
	l.host.images.Drop(l.id)
	l.host.dropping.RUnlock()
	l.regs.close()
	if l.inside != nil {
		l.inside.Close()
	}
	if l.cluster != nil {
		l.cluster.Close()
	}
	l.clock.close()
	l.changes.close()
	l.hosted.close()
	l.traffic.close()
	l.docked.close()
	l.host.forget(l.id)
}

// disk charges what a lab's machines keep in files. It is a vfs.Charger.
type disk struct {
	used  atomic.Int64
	limit int64
	full  func() error // why what is written cannot be kept, nil while it can
}

// Charge implements vfs.Charger.
func (d *disk) Charge(delta int64) error {
	if n := d.used.Add(delta); delta > 0 && (n > d.limit || d.full() != nil) {
		d.used.Add(-delta)
		return syscall.ENOSPC
	}
	return nil
}
