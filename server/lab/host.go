// Package lab is one learner's lab: a workstation and a Kubernetes cluster whose nodes are machines of package sandbox, joined by adapters. It
// is the only place that knows both worlds. The portal, the command line and other people's tests use it; it knows nothing of HTTP frameworks.
//
// A Host is what all labs of the process share: the engine with its compiled programs, the images, the API server, the pool of workers. A Lab
// owns one Account of the kernel, one Fabric of the network, one cluster and one control plane.
//
// Lock order: node.power, Host.mu, Lab.mu, node.mu; none is held during a call into the cluster or the kernel but where a comment says so.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/catalogue"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/wasi"
	"github.com/drydock-labs/drydock/sandbox/wasm"
	"github.com/drydock-labs/drydock/server/api"
	"github.com/drydock-labs/drydock/server/journal"
)

// Domain is the domain of the names by which TLS clients reach a lab's API server: LAB.k8s.drydock.internal.
const Domain = ".k8s.drydock.internal"

// HostConfig configures a Host. The zero value is useful.
type HostConfig struct {
	// Version is Drydock's own.
	Version string
	// CacheDir keeps compiled programs and unpacked layers between runs; "" keeps them in memory.
	CacheDir string
	// CA signs the certificate that clients see; nil makes one.
	CA *apiserver.CA
	// Names are further names and addresses that clients call the API server by, beside 127.0.0.1, localhost and *.k8s.drydock.internal.
	Names []string
	// Journal keeps labs when the process ends; nil: they end with it. It is the caller's to close, after the host. ContentDir keeps the images
	// that labs push and load.
	Journal    *journal.Journal
	ContentDir string
	Limits     Limits
	Log        *slog.Logger
}

// Host is what the labs of a process share. Methods are for any goroutine.
type Host struct {
	cfg      HostConfig
	limits   Limits
	ca       *apiserver.CA
	server   *apiserver.Server
	gate     *apiserver.Gate
	pool     *loop.Pool
	engine   *wasm.Engine
	images   *image.Store
	kernel   *kernel.Host
	machines map[string]*image.Image // immutable
	programs *programs
	discover discovery
	ctx      context.Context // ends with Close
	stop     context.CancelFunc

	dropping sync.RWMutex // held while images are collected; shared while a lab gives up its own

	mu     sync.Mutex
	labs   map[string]*Lab // protected by mu; nil once closed
	making int             // protected by mu
	makers sync.WaitGroup  // calls of New; joined under mu while labs is not nil
}

// ShareProcessors prepares the process for hosts: Go is told of two processors more than there are, so that guests may have every one. Go
// cannot take its thread from a guest that computes, and meanwhile looks after no socket; the system's scheduler can, and gives what else
// becomes ready its turn at once. The second is the collector's: below four, it has none of its own, and whoever allocates waits for it.
// Call it once, before NewHost.
func ShareProcessors() { runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0)+2)) }

// NewHost starts a host: about a second of work, most of it the API server's.
func NewHost(ctx context.Context, cfg HostConfig) (_ *Host, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	h := &Host{cfg: cfg, limits: cfg.Limits.complete(), ca: cfg.CA, labs: map[string]*Lab{}, machines: map[string]*image.Image{}}
	h.ctx, h.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if err := h.startSandbox(ctx); err != nil {
		return nil, err
	}
	return h, h.startServer()
}

func (h *Host) startSandbox(ctx context.Context) (err error) {
	dirs := struct{ code, layers string }{}
	if h.cfg.CacheDir != "" {
		dirs.code, dirs.layers = filepath.Join(h.cfg.CacheDir, "code"), filepath.Join(h.cfg.CacheDir, "layers")
	}
	if h.images, err = catalogue.NewStore(catalogue.Config{CacheDir: dirs.layers, BlobDir: h.cfg.ContentDir, Keep: h.cfg.Journal != nil}); err != nil {
		return err
	}
	if err := h.images.Content.Recover(); err != nil {
		return err
	}
	for _, name := range []string{catalogue.Workstation, catalogue.Node} {
		if h.machines[name], err = catalogue.Machine(h.images, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if h.engine, err = wasm.New(ctx, wasm.Config{CacheDir: dirs.code}); err != nil {
		return err
	}
	if err = wasi.Instantiate(ctx, h.engine.Runtime()); err != nil {
		return err
	}
	if h.programs, err = newPrograms(h.engine, h.images); err != nil {
		return err
	}
	h.kernel = kernel.NewHost(kernel.HostConfig{Engine: h.engine, Trusted: h.programs.trusted, Compiling: compiling})
	return nil
}

func (h *Host) startServer() (err error) {
	h.pool = loop.NewPool(0)
	if h.ca == nil {
		if h.ca, err = apiserver.NewCA("drydock", time.Now()); err != nil {
			return err
		}
	}
	if h.server, err = apiserver.New(apiserver.Config{Product: h.cfg.Version}); err != nil {
		return err
	}
	names := append([]string{"*" + Domain, "127.0.0.1", "::1", "localhost", "control-plane"}, h.cfg.Names...)
	h.gate, err = h.server.NewGate(apiserver.GateConfig{CA: h.ca, Names: names, Find: func(name string) (*apiserver.Cluster, bool) {
		id, ok := strings.CutSuffix(name, Domain)
		if !ok {
			return nil, false
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		l := h.labs[id]
		if l == nil {
			return nil, false
		}
		return l.cluster, true
	}})
	return err
}

// Gate takes TLS connections of Kubernetes clients from outside.
func (h *Host) Gate() *apiserver.Gate { return h.gate }

// Options are what a new lab is to be.
type Options struct {
	Nodes int    // workers beside control-plane; 0 means 3, negative none
	Seed  uint64 // decides uids, generated names and free choices; 0: the system's randomness
	Lang  string // "ko" or "en"
}

// NewLab makes a lab for the portal.
func (h *Host) NewLab(ctx context.Context, o api.LabOptions) (api.Lab, error) {
	l, err := h.New(ctx, Options{Nodes: o.Nodes, Seed: o.Seed, Lang: o.Lang})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// New makes a lab and returns when its nodes are Ready.
//
// # Errors
//   - *api.Refusal "labs-full", "lab-nodes"
func (h *Host) New(ctx context.Context, o Options) (*Lab, error) {
	switch {
	case o.Nodes == 0:
		o.Nodes = 3
	case o.Nodes < 0:
		o.Nodes = 0
	}
	if o.Nodes+1 > h.limits.Nodes {
		return nil, &api.Refusal{Code: "lab-nodes", Params: map[string]any{"limit": h.limits.Nodes}}
	}
	id, err := newID()
	if err != nil {
		return nil, err
	}
	return h.make(ctx, id, func(ctx context.Context) (*Lab, error) {
		k, err := h.fresh(id, o)
		if err != nil {
			return nil, err
		}
		return newLab(ctx, h, id, o, k)
	})
}

// make gives a lab that f makes its place among the labs.
func (h *Host) make(ctx context.Context, id string, f func(context.Context) (*Lab, error)) (*Lab, error) {
	if err := h.reserve(); err != nil {
		return nil, err
	}
	defer h.makers.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	l, err := f(ctx)
	if err = h.enter(l, err); err != nil {
		if l != nil {
			l.Close()
		}
		return nil, err
	}
	return l, nil
}

// enter gives a lab that has been made its place, unless it or the host has ended meanwhile; err is how the making went.
func (h *Host) enter(l *Lab, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.making--
	if h.labs == nil {
		return errClosed
	}
	if err != nil {
		return err
	}
	select {
	case <-l.done: // only a crash ends a lab that nobody has yet
		return l.Err()
	default:
	}
	h.labs[l.id] = l
	return nil
}

var errClosed = errors.New("the host has been closed")

// reserve takes a place for a lab that is being made.
func (h *Host) reserve() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.labs == nil {
		return errClosed
	}
	if len(h.labs)+h.making >= h.limits.Labs {
		return &api.Refusal{Code: "labs-full", Params: map[string]any{"limit": h.limits.Labs}, RetryAfter: 30 * time.Second}
	}
	h.making++
	h.makers.Add(1)
	return nil
}

func (h *Host) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.labs, id)
}

// Close ends all labs and everything shared. Twice is fine.
func (h *Host) Close() error {
	h.stop()
	h.mu.Lock()
	labs := h.labs
	h.labs = nil
	h.mu.Unlock()
	if h.gate != nil {
		h.gate.Close()
	}
	h.makers.Wait()
	var wg sync.WaitGroup
	for _, l := range labs {
		wg.Go(func() { l.Close() })
	}
	wg.Wait()
	if h.programs != nil {
		h.programs.wait()
	}
	if labs == nil {
		return nil
	}
	if h.pool != nil {
		h.pool.Close()
	}
	if h.engine != nil && h.engine.Loading() {
		return nil // a compilation reads the mapped images to its end; all that is left goes with the process
	}
	var err error
	if h.engine != nil {
		err = h.engine.Close(context.Background())
	}
	if h.images != nil {
		h.images.Content.Close()
	}
	return err
}

// newID is 128 random bits as a DNS label: whoever knows it can reach the lab's API server (which still asks for credentials).
func newID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)), nil
}

// source is randomness that any goroutine may read: the system's, or what a seed gives.
func source(seed uint64) io.Reader {
	if seed == 0 {
		return rand.Reader
	}
	var b [32]byte
	for i := range 8 {
		b[i] = byte(seed >> (8 * i))
	}
	return &lockedReader{r: mathrand.NewChaCha8(b)}
}

type lockedReader struct {
	mu sync.Mutex
	r  io.Reader // protected by mu
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
