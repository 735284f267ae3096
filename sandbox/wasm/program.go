package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Program is a compiled module, shared by all its runs.
type Program struct {
	engine   *Engine
	digest   string
	compiled wazero.CompiledModule
	reactor  bool
	start    bool   // has a start function
	initial  *image // reactors: before anything ran
	ready    *image // trusted reactors: after prepare
	globals  []uint64
	memory   memorySize
	runs     atomic.Int64 // under way
}

// memorySize is the linear memory a module declares, in bytes.
type memorySize struct {
	has      bool
	min, max int64
}

// Digest is the digest it was loaded by.
func (p *Program) Digest() string { return p.digest }

// Run starts the program and blocks until it ends. ctx is handed to host functions.
//
// The error is nil when the program returned, *ExitError after proc_exit, *TrapError after a trap, or what the Guest or a host function ended
// it with.
func (p *Program) Run(ctx context.Context, g Guest) error {
	if p.runs.Add(1) <= 0 {
		return ErrRetired
	}
	defer p.runs.Add(-1)
	i := &Instance{program: p, guest: g}
	if p.ready != nil {
		return p.resume(ctx, i)
	}
	mod, ctx, err := p.instantiate(ctx, i, p.initial)
	if err != nil {
		return err
	}
	defer i.end(ctx, mod)
	if p.reactor {
		return i.call(ctx, mod, p.entries("_initialize", "prepare", "run")...)
	}
	return i.call(ctx, mod, p.entries("_start")...)
}

// entries are the functions to call for a start from nothing.
func (p *Program) entries(names ...string) []string {
	if p.start {
		return append([]string{startExport}, names...)
	}
	return names
}

// resume continues from the image of initialised memory.
func (p *Program) resume(ctx context.Context, i *Instance) error {
	mod, ctx, err := p.instantiate(ctx, i, p.ready)
	if err != nil {
		return err
	}
	defer i.end(ctx, mod)
	for n, v := range p.globals {
		mod.ExportedGlobal(globalExport(n)).(api.MutableGlobal).Set(v)
	}
	return i.call(ctx, mod, "run")
}

// ErrNoEntry is a module that exports neither _start nor a reactor's entries.
var ErrNoEntry = errors.New("the module has no entry point: it exports neither _start nor _initialize, prepare and run")

func (i *Instance) call(ctx context.Context, mod api.Module, entries ...string) error {
	for _, name := range entries {
		f := mod.ExportedFunction(name)
		if f == nil {
			return ErrNoEntry
		}
		if len(f.Definition().ParamTypes()) != 0 {
			return fmt.Errorf("entry %s takes parameters", name)
		}
		if i.stack = stackOf(f); i.stack == nil {
			return fmt.Errorf("entry %s is no function of the module", name)
		}
		_, err := f.Call(ctx)
		if err := ended(err); err != nil {
			return err
		}
	}
	return nil
}

// instantiate makes the module's instance over a memory that begins as im.
func (p *Program) instantiate(ctx context.Context, i *Instance, im *image) (api.Module, context.Context, error) {
	ctx = context.WithValue(ctx, instanceKey{}, i)
	if err := i.allocate(im); err != nil {
		return nil, ctx, err
	}
	mod, err := p.engine.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, (*allocator)(i)), p.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		i.release()
		if err := ended(err); !isHostFailure(err) {
			return nil, ctx, err // a segment does not fit
		}
		return nil, ctx, fmt.Errorf("instantiate: %w", err)
	}
	i.fuel = mod.ExportedGlobal(fuelExport).(api.MutableGlobal)
	i.slice = int64(i.fuel.Get())
	if mem := mod.Memory(); im != nil && mem != nil && int(mem.Size()) < im.size {
		if _, ok := mem.Grow(uint32((im.size - int(mem.Size())) >> 16)); !ok {
			i.end(ctx, mod)
			return nil, ctx, fmt.Errorf("grow memory to its image of %d bytes", im.size)
		}
	}
	return mod, ctx, nil
}

// allocate reserves the memory and charges what the module begins with beyond its image.
func (i *Instance) allocate(im *image) error {
	p := i.program
	if !p.memory.has {
		return nil
	}
	if im != nil {
		i.image = int64(im.size)
		i.grown = i.image
	}
	if !i.grow(p.memory.min) {
		return ErrNoMemory
	}
	if err := i.memory.reserve(im, uint64(p.memory.max)); err != nil {
		i.release()
		return err
	}
	return nil
}

// release gives back the memory and its charge.
func (i *Instance) release() {
	i.memory.free()
	if charged := i.grown - i.image + i.stackCharged; charged > 0 {
		i.grown, i.stackCharged = i.image, 0
		i.guest.Grow(-charged)
	}
	i.private.Store(0)
}

func isHostFailure(err error) bool {
	var exit *ExitError
	var trap *TrapError
	return !errors.As(err, &exit) && !errors.As(err, &trap)
}

// end closes the instance.
func (i *Instance) end(ctx context.Context, mod api.Module) {
	mod.Close(ctx)
	i.release()
}

// allocator gives wazero the instance's memory, which is reserved and charged for its beginning already.
type allocator Instance

func (a *allocator) Allocate(_, _ uint64) experimental.LinearMemory { return a }

func (a *allocator) Reallocate(size uint64) []byte {
	i := (*Instance)(a)
	if !i.grow(int64(size)) {
		return nil
	}
	return i.memory.slice(size)
}

// Free is called by wazero when the module closes; release frees, so that nobody unmaps twice.
func (a *allocator) Free() {}

// ErrNoMemory is a guest whose owner may not have the memory it begins with.
var ErrNoMemory = errors.New("cannot allocate memory")
