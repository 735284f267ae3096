// Package wasi serves the guest ABI that README.md describes: wasi_snapshot_preview1, sockets beside it under WasmEdge's names, and
// the module drydock. It translates between a guest's memory and the calls of sandbox/kernel; it has no state but what a
// call needs, and decides nothing.
//
// Every pointer and length comes from a stranger: memory is reached only through (*call).bytes and its kin, which answer EFAULT
// outside of it, and every list has a bound. Views of memory live for one call: a guest has one thread, which is in that call,
// so its memory can neither grow nor go meanwhile.
package wasi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// Names of the host modules.
const (
	Preview1 = "wasi_snapshot_preview1"
	Drydock  = "drydock"
)

// Bounds of lists that guests hand over. EINVAL beyond, as IOV_MAX has it.
const (
	maxIovs  = 1024
	maxSubs  = 8192
	maxFDs   = 1024
	maxPath  = 4096
	maxWrite = 1 << 20 // bytes gathered for one write; a longer one is short
)

// Instantiate adds the host modules to a runtime: once, before any program is loaded.
func Instantiate(ctx context.Context, rt wazero.Runtime) error {
	for _, m := range []struct {
		name  string
		calls []entry
	}{{Preview1, preview1()}, {Drydock, drydock()}} {
		b := rt.NewHostModuleBuilder(m.name)
		for _, e := range m.calls {
			params, results := e.types()
			b.NewFunctionBuilder().WithGoModuleFunction(e.serve(), params, results).Export(e.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", m.name, err)
		}
	}
	return nil
}

// entry is one function. sig has a letter for each parameter: i for i32, l for i64. f's error becomes the errno that the function returns;
// a value function answers by itself. Outside of a process (while an image is captured) early is called, or, when it is nil, the answer is none.
type entry struct {
	name  string
	sig   string
	f     func(*call) error
	value func(*call) int32
	early func(*call) error
	none  syscall.Errno
}

func (e *entry) types() (params, results []api.ValueType) {
	for _, c := range e.sig {
		t := api.ValueTypeI32
		if c == 'l' {
			t = api.ValueTypeI64
		}
		params = append(params, t)
	}
	if e.name != "proc_exit" {
		results = []api.ValueType{api.ValueTypeI32}
	}
	return params, results
}

func (e *entry) serve() api.GoModuleFunc {
	f, value, early, none := e.f, e.value, e.early, e.none
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		p := kernel.FromContext(ctx)
		if p == nil {
			c := &call{ctx: ctx, mem: mod.Memory(), args: stack}
			switch {
			case early != nil:
				stack[0] = uint64(errno(early(c)))
			case value != nil:
				stack[0] = 0
			default:
				stack[0] = uint64(errno(none))
			}
			return
		}
		c, ok := p.ABI.(*call)
		if !ok {
			c = &call{p: p}
			p.ABI = c
		}
		c.ctx, c.mem, c.args = ctx, mod.Memory(), stack
		check(p.Enter(wasm.FromContext(ctx)))
		if value != nil {
			stack[0] = uint64(uint32(value(c)))
		} else {
			err := f(c)
			if err != nil {
				unwind(err)
			}
			stack[0] = uint64(errno(err))
		}
		check(p.Leave())
	}
}

// check unwinds the guest if it is to end.
func check(err error) {
	if err != nil {
		wasm.Stop(err)
	}
}

// unwind ends the guest by what is no errno: a kill, an exec, an exit.
func unwind(err error) {
	var e syscall.Errno
	if !errors.As(err, &e) && !isEOF(err) && !errors.Is(err, context.Canceled) {
		wasm.Stop(err)
	}
}

// call is one call of a guest: its parameters and memory.
type call struct {
	ctx  context.Context
	p    *kernel.Process // nil outside of a process
	mem  api.Memory
	args []uint64

	gather []byte // reused between calls
	subs   []subscription
}

func (c *call) u32(i int) uint32 { return uint32(c.args[i]) }
func (c *call) int(i int) int    { return int(int32(uint32(c.args[i]))) }
func (c *call) i64(i int) int64  { return int64(c.args[i]) }

// bytes is n bytes of memory at ptr. EFAULT.
func (c *call) bytes(ptr, n uint32) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, ok := c.mem.Read(ptr, n)
	if !ok {
		return nil, syscall.EFAULT
	}
	return b, nil
}

// arg is the buffer that parameters i (pointer) and i+1 (length) describe.
func (c *call) arg(i int) ([]byte, error) { return c.bytes(c.u32(i), c.u32(i+1)) }

// str is a string of at most limit bytes in parameters i and i+1. ENAMETOOLONG, and EINVAL for one with a NUL.
func (c *call) str(i int, limit uint32) (string, error) {
	if c.u32(i+1) > limit {
		return "", syscall.ENAMETOOLONG
	}
	b, err := c.arg(i)
	if err != nil {
		return "", err
	}
	for _, x := range b {
		if x == 0 {
			return "", syscall.EINVAL
		}
	}
	return string(b), nil
}

// path is a path in parameters i and i+1.
func (c *call) path(i int) (string, error) {
	c.p.Worked(pathWork)
	return c.str(i, maxPath)
}

// pathWork is what the walk of a path is charged, in bytes moved: some microseconds.
const pathWork = 16 << 10

// fault is EFAULT unless ok.
func fault(ok bool) error {
	if !ok {
		return syscall.EFAULT
	}
	return nil
}

// put32 stores v at the pointer in parameter i.
func (c *call) put32(i int, v uint32) error { return fault(c.mem.WriteUint32Le(c.u32(i), v)) }

// put64 stores v at the pointer in parameter i.
func (c *call) put64(i int, v uint64) error { return fault(c.mem.WriteUint64Le(c.u32(i), v)) }

// out checks before anything happens that n bytes at the pointer in parameter i can be written.
func (c *call) out(i int, n uint32) ([]byte, error) {
	b, ok := c.mem.Read(c.u32(i), n)
	if !ok {
		return nil, syscall.EFAULT
	}
	return b, nil
}

// text answers a string into a buffer of parameters i and i+1, its length at the pointer in i+2. ERANGE when the buffer is short.
func (c *call) text(i int, s string) error {
	if err := c.put32(i+2, uint32(min(len(s), math.MaxInt32))); err != nil {
		return err
	}
	if int64(len(s)) > int64(c.u32(i+1)) {
		return syscall.ERANGE
	}
	b, err := c.bytes(c.u32(i), uint32(len(s)))
	if err != nil {
		return err
	}
	copy(b, s)
	return nil
}

// iovs are the buffers of a list: pointer in parameter i, number in i+1. EINVAL, EFAULT.
func (c *call) iovs(i int) ([][]byte, error) {
	n := c.u32(i + 1)
	if n > maxIovs {
		return nil, syscall.EINVAL
	}
	list, err := c.bytes(c.u32(i), n*8)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, 0, n)
	total := uint64(0)
	for ; len(list) > 0; list = list[8:] {
		b, err := c.bytes(le32(list), le32(list[4:]))
		if err != nil {
			return nil, err
		}
		if total += uint64(len(b)); total > math.MaxInt32 {
			return nil, syscall.EINVAL
		}
		if len(b) > 0 {
			out = append(out, b)
		}
	}
	return out, nil
}

// one is the single buffer of most lists without an allocation, ok false when there are several.
func (c *call) one(i int) (b []byte, ok bool, err error) {
	if c.u32(i+1) != 1 {
		return nil, false, nil
	}
	list, err := c.bytes(c.u32(i), 8)
	if err != nil {
		return nil, true, err
	}
	b, err = c.bytes(le32(list), le32(list[4:]))
	return b, true, err
}

func le16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }
func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
func le64(b []byte) uint64 { return uint64(le32(b)) | uint64(le32(b[4:]))<<32 }

func put16(b []byte, v uint16) { b[0], b[1] = byte(v), byte(v>>8) }
func put32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
func put64(b []byte, v uint64) { put32(b, uint32(v)); put32(b[4:], uint32(v>>32)) }
