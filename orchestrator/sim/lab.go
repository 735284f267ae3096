// Package sim runs whole clusters over null runtimes on a clock that moves only when told to: with equal seeds and no writer from
// outside, two runs make equal histories, byte for byte. Tests and benchmarks of the orchestrator are built on it.
package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/clock"
	"github.com/drydock-labs/drydock/orchestrator/kubelet/null"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Epoch is when simulated clusters begin.
var Epoch = time.Date(2030, time.January, 2, 3, 4, 5, 0, time.UTC)

// Options describe a simulated cluster.
type Options struct {
	Name string
	// Seed decides every uid, generated name and free choice.
	Seed uint64
	// Workers is the number of nodes node-1… beside control-plane.
	Workers int
	// NoControlPlane leaves the node control-plane out.
	NoControlPlane bool
	// Runtime scripts the nodes' runtimes; its Clock is set here. The name of the node is given.
	Runtime func(node string) null.Config
	// Images are on every node from the beginning.
	Images []string
	// Node changes the spec of a node before it is added.
	Node func(*orchestrator.NodeSpec)
	// Pool is shared by clusters; nil makes one of a single worker.
	Pool *loop.Pool
	// Clock, where not nil, is used in the place of a simulated one (benchmarks use the wall clock).
	Clock loop.Clock
	// Client, where not nil, comes between every component and its client (benchmarks count calls).
	Client func(store.Client) store.Client
	// Cluster changes the API server's settings.
	Cluster func(*apiserver.ClusterConfig)
	// Execute runs calls of the runtime; nil runs them at once.
	Execute func(func())
	// OnError is told of reconciles that failed.
	OnError func(queue string, key any, err error)
}

// Lab is a simulated cluster.
type Lab struct {
	*orchestrator.ControlPlane
	Cluster  *apiserver.Cluster
	Clock    *clock.Manual // nil with a clock from outside
	Runtimes map[string]*null.Runtime
	Admin    store.Client
	// Base is the revision of the template: the history begins after it.
	Base int64
	pool *loop.Pool
}

// New makes a cluster on server and returns when its nodes are registered and nothing is left to do.
func New(server *apiserver.Server, o Options) (*Lab, error) {
	l := &Lab{Runtimes: map[string]*null.Runtime{}}
	at := o.Clock
	if at == nil {
		l.Clock = clock.NewManual(Epoch)
		at = l.Clock
	}
	if o.Name == "" {
		o.Name = "sim"
	}
	source := rand.NewChaCha8(seed(o.Seed))
	choices := rand.NewChaCha8(seed(o.Seed + 1))
	cfg := apiserver.ClusterConfig{ID: o.Name, Clock: at, Rand: source}
	if o.Cluster != nil {
		o.Cluster(&cfg)
	}
	var err error
	if l.Cluster, err = server.NewCluster(cfg); err != nil {
		return nil, err
	}
	l.Base = l.Cluster.Store().Rev()
	if o.Pool == nil {
		l.pool = loop.NewPool(1)
		o.Pool = l.pool
	}
	if o.Client == nil {
		o.Client = func(c store.Client) store.Client { return c }
	}
	if o.Execute == nil {
		o.Execute = func(f func()) { f() }
	}
	l.Admin = l.Cluster.Client(&user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}})
	l.ControlPlane, err = orchestrator.Start(orchestrator.Config{
		Name: o.Name, Store: l.Cluster.Store(), Reader: l.Cluster.Reader(), Clock: at, Rand: choices, Pool: o.Pool,
		Client: func(name string, groups ...string) store.Client {
			return o.Client(l.Cluster.Client(&user.DefaultInfo{Name: name, Groups: groups}))
		},
		Nodes: l.nodes(o, at), Version: "v1.37.2+drydock", Product: "sim", RootCA: []byte("-----BEGIN CERTIFICATE-----\nsim\n-----END CERTIFICATE-----\n"),
		APIServers: []netip.AddrPort{netip.MustParseAddrPort("172.18.0.2:6443")}, Execute: o.Execute, OnError: o.OnError,
	})
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, l.Settle()
}

func (l *Lab) nodes(o Options, at loop.Clock) []orchestrator.NodeSpec {
	var specs []orchestrator.NodeSpec
	add := func(n orchestrator.NodeSpec) {
		cfg := null.Config{}
		if o.Runtime != nil {
			cfg = o.Runtime(n.Name)
		}
		cfg.Clock = at
		rt := null.New(cfg)
		rt.Preload(o.Images...)
		l.Runtimes[n.Name], n.Runtime = rt, rt
		if o.Node != nil {
			o.Node(&n)
		}
		specs = append(specs, n)
	}
	if !o.NoControlPlane {
		add(orchestrator.ControlPlaneNode(orchestrator.NodeSpec{Name: "control-plane"}))
	}
	for i := range o.Workers {
		add(orchestrator.NodeSpec{Name: fmt.Sprintf("node-%d", i+1)})
	}
	return specs
}

func seed(s uint64) (b [32]byte) {
	for i := range 8 {
		b[i] = byte(s >> (8 * i))
	}
	return b
}

// Settle returns when nothing is left to do at the time the clock shows.
func (l *Lab) Settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		if err := l.WaitIdle(ctx); err != nil {
			return err
		}
		if l.Clock == nil {
			return nil
		}
		f, ok := l.Clock.Next(l.Clock.Now())
		if !ok {
			return nil
		}
		f()
	}
}

// Advance moves the clock on by d, from timer to timer, and lets the cluster settle at each.
func (l *Lab) Advance(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	limit := l.Clock.Now().Add(d)
	for {
		if err := l.WaitIdle(ctx); err != nil {
			return err
		}
		f, ok := l.Clock.Next(limit)
		if !ok {
			return l.WaitIdle(ctx)
		}
		f()
	}
}

// PowerOff takes a node's power with everything that runs on it.
func (l *Lab) PowerOff(node string) error {
	if err := l.ControlPlane.PowerOff(node); err != nil {
		return err
	}
	l.Runtimes[node].PowerOff()
	return nil
}

// Close ends the cluster.
func (l *Lab) Close() {
	if l.ControlPlane != nil {
		l.ControlPlane.Close()
	}
	if l.pool != nil {
		l.pool.Close()
	}
	if l.Cluster != nil {
		l.Cluster.Close()
	}
}
