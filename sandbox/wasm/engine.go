package wasm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Config is what an Engine needs; zero values are useful.
type Config struct {
	// CacheDir keeps rewritten modules and machine code between runs of the process; empty keeps nothing.
	CacheDir string
	// CompileWorkers is how many functions of a foreground module are compiled at once; 0 means 2. Background modules take one.
	CompileWorkers int
	// MaxUntrusted bounds how many modules of strangers stay compiled while nobody runs them; 0 means 64.
	MaxUntrusted int
}

// Engine compiles and starts modules. One serves the whole process. Safe for concurrent use.
type Engine struct {
	cfg     Config
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	disc    disc
	queue   queue

	mu       sync.Mutex
	programs map[string]*loading // protected by mu, by digest
	idle     []string            // protected by mu: untrusted programs, least recently loaded first
}

// loading is a program or the wait for it.
type loading struct {
	done    chan struct{} // closed when prog or err is set
	prog    *Program
	err     error
	trusted bool
}

// ErrNoCompiler is a machine that wazero cannot compile for.
var ErrNoCompiler = errors.New("this processor or operating system is not supported: guests are compiled to machine code, which is possible on amd64 and arm64 under Linux and macOS (on Windows, inside WSL2)")

// New makes an engine. Close it.
func New(ctx context.Context, cfg Config) (e *Engine, err error) {
	defer func() {
		if r := recover(); r != nil { // wazero panics where its compiler is not supported
			e, err = nil, fmt.Errorf("%w (%v)", ErrNoCompiler, r)
		}
	}()
	if cfg.CompileWorkers == 0 {
		cfg.CompileWorkers = 2
	}
	if cfg.MaxUntrusted == 0 {
		cfg.MaxUntrusted = 64
	}
	e = &Engine{cfg: cfg, programs: map[string]*loading{}}
	rc := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
	if cfg.CacheDir != "" {
		e.disc = disc{dir: filepath.Join(cfg.CacheDir, "modules")}
		if e.cache, err = wazero.NewCompilationCacheWithDir(filepath.Join(cfg.CacheDir, "code")); err != nil {
			return nil, fmt.Errorf("compilation cache: %w", err)
		}
		rc = rc.WithCompilationCache(e.cache)
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	_, err = e.runtime.NewHostModuleBuilder(meterModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(refill), nil, nil).Export("refill").Instantiate(ctx)
	if err != nil {
		return nil, fmt.Errorf("meter module: %w", err)
	}
	return e, nil
}

// Runtime is the wazero runtime, for instantiating host modules, which must be done before the first Load.
func (e *Engine) Runtime() wazero.Runtime { return e.runtime }

// Close ends the engine; no guest may be running.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.programs {
		select {
		case <-l.done:
			if l.prog != nil {
				l.prog.closeImages()
			}
		default:
		}
	}
	e.programs = map[string]*loading{}
	err := e.runtime.Close(ctx)
	if e.cache != nil {
		err = errors.Join(err, e.cache.Close(ctx))
	}
	return err
}

// LoadOptions say how a module is to be loaded.
type LoadOptions struct {
	// Trusted modules came with Drydock: they may be big, and a reactor's initialised memory is kept as an image.
	Trusted bool
	// Background loads wait for foreground ones and compile on one worker.
	Background bool
	// Prepare gives the context for host calls that are made while the image is taken, when no process exists; nil leaves it plain.
	Prepare func(context.Context) context.Context
	// Progress is told how far it is; nil is fine. It must not block.
	Progress func(Progress)
}

// Phase is a step of loading.
type Phase string

// The phases, in order.
const (
	Queued       Phase = "queued"
	Rewriting    Phase = "rewriting" // left out when a program that came with Drydock was compiled on this machine before
	Compiling    Phase = "compiling"
	Initialising Phase = "initialising"
	Ready        Phase = "ready"
)

// Progress is where a load stands.
type Progress struct {
	Phase Phase
	Bytes int // of the module, 0 while unknown
}

// Loaded answers a program that is ready.
func (e *Engine) Loaded(digest string) (*Program, bool) {
	e.mu.Lock()
	l := e.programs[digest]
	e.mu.Unlock()
	if l == nil {
		return nil, false
	}
	select {
	case <-l.done:
		return l.prog, l.err == nil
	default:
		return nil, false
	}
}

// Load answers the program with this digest, compiling it if need be: once, however many ask. open gives the module's bytes when the cache
// has none. ctx bounds the wait, not the work, which goes on for the others.
func (e *Engine) Load(ctx context.Context, digest string, open func() ([]byte, error), o LoadOptions) (*Program, error) {
	e.mu.Lock()
	l := e.programs[digest]
	if l == nil {
		l = &loading{done: make(chan struct{}), trusted: o.Trusted}
		e.programs[digest] = l
		if !o.Trusted {
			e.evictLocked(digest)
		}
		go e.load(digest, open, o, l)
	}
	e.mu.Unlock()
	select {
	case <-l.done:
		return l.prog, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Loading reports whether modules are being compiled, which nothing stops: their bytes must stay and the engine must not be closed.
func (e *Engine) Loading() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.programs {
		select {
		case <-l.done:
		default:
			return true
		}
	}
	return false
}

// load does the work and tells the waiters. A failure is forgotten: the next Load tries again.
func (e *Engine) load(digest string, open func() ([]byte, error), o LoadOptions, l *loading) {
	defer close(l.done)
	l.prog, l.err = e.build(digest, open, o)
	if l.err != nil {
		e.mu.Lock()
		delete(e.programs, digest)
		e.mu.Unlock()
	}
}

// evictLocked makes room for one more untrusted program by closing idle ones.
func (e *Engine) evictLocked(digest string) {
	e.idle = append(e.idle, digest)
	for n := 0; len(e.idle) > e.cfg.MaxUntrusted && n < len(e.idle); n++ {
		old := e.idle[0]
		e.idle = e.idle[1:]
		l := e.programs[old]
		if l == nil {
			continue
		}
		select {
		case <-l.done:
			if l.prog == nil {
				continue
			}
			if l.prog.retire() {
				delete(e.programs, old)
				continue
			}
		default:
		}
		e.idle = append(e.idle, old) // in use
	}
}

func (e *Engine) build(digest string, open func() ([]byte, error), o LoadOptions) (*Program, error) {
	tell := o.Progress
	if tell == nil {
		tell = func(Progress) {}
	}
	tell(Progress{Phase: Queued})
	class, workers := foreground, e.cfg.CompileWorkers
	switch {
	case !o.Trusted:
		class, workers = stranger, 1
	case o.Background:
		class, workers = background, 1
	}
	release, err := e.queue.enter(class)
	if err != nil {
		return nil, err
	}
	defer release()
	re, key, err := e.rewritten(digest, open, o, tell)
	if err != nil {
		return nil, err
	}
	tell(Progress{Compiling, len(re.Module)})
	ctx := experimental.WithCompilationWorkers(context.Background(), workers)
	compiled, err := e.compile(ctx, re.Module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if key != "" {
		e.disc.store(key, re) // only now: what is on the disc has been compiled, and that is kept, too
	}
	p := &Program{engine: e, digest: digest, compiled: compiled, reactor: re.Reactor, start: re.Start,
		memory: memorySize{re.HasMemory, int64(re.MinPages) << 16, int64(re.MaxPages) << 16}}
	if re.Reactor && o.Trusted {
		tell(Progress{Initialising, len(re.Module)})
		if err := p.prepare(ctx, o, re); err != nil {
			p.discard(ctx)
			return nil, err
		}
	}
	tell(Progress{Ready, len(re.Module)})
	return p, nil
}

// compile makes machine code. A fault of the compiler over a stranger's module (which compiles on this goroutine alone) refuses the module.
func (e *Engine) compile(ctx context.Context, b []byte) (c wazero.CompiledModule, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler failed: %v", r)
		}
	}()
	return e.runtime.CompileModule(ctx, b)
}

// prepare makes the images of a reactor.
func (p *Program) prepare(ctx context.Context, o LoadOptions, re *rewritten) (err error) {
	if p.initial, err = newImage(re.Memory, int(p.memory.min)); err != nil {
		return err
	}
	return p.capture(ctx, o, re.Globals)
}

// discard frees what the program holds; nobody runs it.
func (p *Program) discard(ctx context.Context) {
	p.closeImages()
	p.compiled.Close(ctx)
}

// ErrInvalid is a file that is no valid module, or one beyond the limits.
var ErrInvalid = errors.New("invalid module")

// rewritten answers the module with its metering. key is what to keep it under when it was not on the disc; strangers' would fill it.
func (e *Engine) rewritten(digest string, open func() ([]byte, error), o LoadOptions, tell func(Progress)) (re *rewritten, key string, err error) {
	lim := Untrusted
	if o.Trusted {
		lim, key = Trusted, "t-"+digest
		if re, ok := e.disc.load(key); ok {
			return re, "", nil
		}
	}
	b, err := open()
	if err != nil {
		return nil, "", err
	}
	tell(Progress{Rewriting, len(b)})
	if re, err = rewrite(b, lim); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return re, key, nil
}

// capture initialises a reactor and keeps its memory and globals.
func (p *Program) capture(ctx context.Context, o LoadOptions, globals int) error {
	if o.Prepare != nil {
		ctx = o.Prepare(ctx)
	}
	i := &Instance{program: p, guest: free{until: time.Now().Add(captureTime)}}
	mod, ctx, err := p.instantiate(ctx, i, p.initial)
	if err != nil {
		return err
	}
	defer i.end(ctx, mod)
	if err := i.call(ctx, mod, p.entries("_initialize", "prepare")...); err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	size := mod.Memory().Size()
	data, _ := mod.Memory().Read(0, size)
	if p.ready, err = newImage(data, int(size)); err != nil {
		return err
	}
	for n := range globals {
		p.globals = append(p.globals, mod.ExportedGlobal(globalExport(n)).Get())
	}
	p.initial.close()
	p.initial = nil
	return nil
}

// captureTime bounds the initialisation of a program that came with Drydock; one that takes longer is broken.
const captureTime = 2 * time.Minute

// free is the Guest while an image is taken: nobody's, unlimited but for time.
type free struct{ until time.Time }

func (f free) Refill(int64) (int64, error) {
	if time.Now().After(f.until) {
		return 0, errors.New("initialisation does not end")
	}
	return MaxSlice, nil
}

func (free) Grow(int64) bool { return true }

func (p *Program) closeImages() {
	for _, im := range []*image{p.initial, p.ready} {
		if im != nil {
			im.close()
		}
	}
}

// retire closes the program if nobody runs it; runs are refused from then on.
func (p *Program) retire() bool {
	if !p.runs.CompareAndSwap(0, retired) {
		return false
	}
	p.discard(context.Background())
	return true
}

// retired in Program.runs is far below any number of runs.
const retired = -1 << 40

// ErrRetired is a program that was closed to make room; load it again.
var ErrRetired = errors.New("program was unloaded")
