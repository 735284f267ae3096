package lab

import (
	"context"
	"fmt"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/catalogue"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/wasm"
	"github.com/drydock-labs/drydock/server/api"
)

// programs is the catalogue's WebAssembly on its way to machine code.
type programs struct {
	engine *wasm.Engine
	images *image.Store
	all    []catalogue.Program
	known  map[string]bool // digests; immutable
	wg     sync.WaitGroup

	mu      sync.Mutex
	pending map[string]float64 // protected by mu: share done, by name, of what is being loaded
}

func newPrograms(e *wasm.Engine, s *image.Store) (*programs, error) {
	all, err := catalogue.Programs()
	if err != nil {
		return nil, err
	}
	p := &programs{engine: e, images: s, all: all, known: map[string]bool{}, pending: map[string]float64{}}
	for _, g := range all {
		p.known[g.Digest] = true
	}
	return p, nil
}

// trusted says which programs came with Drydock.
func (p *programs) trusted(digest string) bool { return p.known[digest] }

// first are what a prompt needs; everything else is compiled behind them.
var first = []string{"shell", "sh", "bash", "coreutils"}

// order puts what a prompt needs before the rest and the biggest, kubectl, last.
func (p *programs) order() []catalogue.Program {
	rank := func(g catalogue.Program) int {
		switch {
		case slices.Contains(first, g.Name):
			return 0
		case g.Name == "kubectl":
			return 2
		}
		return 1
	}
	l := slices.Clone(p.all)
	slices.SortStableFunc(l, func(a, b catalogue.Program) int { return rank(a) - rank(b) })
	return l
}

// shares are how far a program is at the beginning of each phase: steps, for the engine tells no more.
var shares = map[wasm.Phase]float64{wasm.Queued: 0, wasm.Rewriting: 0.1, wasm.Compiling: 0.2, wasm.Initialising: 0.9, wasm.Ready: 1}

// load compiles one program or finds it in the cache.
func (p *programs) load(ctx context.Context, g catalogue.Program, background bool) error {
	p.mu.Lock()
	p.pending[g.Name] = 0
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pending, g.Name)
		p.mu.Unlock()
	}()
	_, err := p.engine.Load(ctx, g.Digest, func() ([]byte, error) { return g.Read(p.images) }, wasm.LoadOptions{Trusted: true, Background: background,
		Progress: func(pr wasm.Progress) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if _, loading := p.pending[g.Name]; loading {
				p.pending[g.Name] = shares[pr.Phase]
			}
		}})
	if err != nil {
		return fmt.Errorf("%s: %w", g.Name, err)
	}
	return nil
}

func (p *programs) wait() { p.wg.Wait() }

func (p *programs) list() []api.Program {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l []api.Program
	for name, done := range p.pending {
		l = append(l, api.Program{Name: name, Done: done})
	}
	slices.SortFunc(l, func(a, b api.Program) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// Prewarm compiles every program of the catalogue and tells when each is ready; it goes on after one that fails.
func (h *Host) Prewarm(ctx context.Context, each func(name string, err error)) {
	for _, g := range h.programs.order() {
		if ctx.Err() != nil {
			return
		}
		err := h.programs.load(ctx, g, !slices.Contains(first, g.Name))
		if each != nil {
			each(g.Name, err)
		}
	}
}

// PrewarmBehind does the same without being waited for: a portal calls it when it starts, so that the page is there at once.
func (h *Host) PrewarmBehind() {
	h.programs.wg.Go(func() {
		h.Prewarm(h.ctx, func(name string, err error) {
			if err != nil && h.ctx.Err() == nil {
				h.cfg.Log.Error("a program cannot be compiled", "program", name, "error", err)
			}
		})
		debug.FreeOSMemory() // what loading took is not needed again soon
	})
}

// Programs lists what is being compiled on its first start on this machine.
func (h *Host) Programs() []api.Program { return h.programs.list() }

// compiling tells a person why a command they typed does not start yet.
func compiling(by *kernel.Process, file string, p wasm.Progress) {
	if p.Phase != wasm.Rewriting {
		return // it has been compiled before, or was told
	}
	name := path.Base(file)
	text := fmt.Sprintf("%s is being compiled for this machine; that happens once (Ctrl+C to give up)\r\n", name)
	if slices.ContainsFunc(by.Env(), func(e string) bool { return strings.HasPrefix(e, "LC_MESSAGES=ko") }) {
		text = fmt.Sprintf("%s: 이 컴퓨터에서 처음 쓰는 프로그램이라 준비하고 있어요. 한 번만 기다리면 돼요 (그만두려면 Ctrl+C)\r\n", name)
	}
	by.Notice(text)
}
