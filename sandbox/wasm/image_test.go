package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// reactorProgram prepares a table once and looks something up in each run.
const reactorProgram = `package main

import "fmt"

var table = map[int]string{}
var runs int

//go:wasmimport probe tell
func tell(v int32)

//go:wasmexport prepare
func prepare() {
	for i := range 50000 { table[i] = fmt.Sprint(i) }
	tell(-1)
}

//go:wasmexport run
func run() {
	runs++
	tell(int32(len(table) + runs))
}

func main() {}
`

// TestImage starts a reactor many times at once: each sees what prepare made and nothing of the others, and pays for little memory.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "main.go"), []byte(reactorProgram), 0o600)
	os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module probe\n\ngo 1.26.0\n"), 0o600)
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", "out.wasm", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "out.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var mu sync.Mutex
	var told []int32
	e := newEngine(t, "")
	_, err = e.Runtime().NewHostModuleBuilder("probe").NewFunctionBuilder().WithFunc(func(v int32) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, v)
	}).Export("tell").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var phases []Phase
	o := LoadOptions{Trusted: true, Progress: func(p Progress) { phases = append(phases, p.Phase) }}
	p := load(t, e, b, o)
	if got := fmt.Sprint(phases); got != "[queued rewriting compiling initialising ready]" {
		t.Errorf("phases %s", got)
	}
	before := mappings.Load()
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			a := &account{limit: 16 << 20}
			start := time.Now()
			err := p.Run(ctx, a)
			if err != nil && !(errors.As(err, new(*ExitError)) && err.(*ExitError).Code == 0) {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			if n := a.bytes.Load(); n != 0 {
				t.Errorf("%d bytes are still charged", n)
			}
		})
	}
	wg.Wait()
	if told[0] != -1 || len(told) != 41 {
		t.Errorf("told %v", told)
	}
	for _, v := range told[1:] {
		if v != 50001 {
			t.Errorf("a run saw %d, want 50001", v)
		}
	}
	if n := mappings.Load(); n != before {
		t.Errorf("%d mappings, %d before", n, before)
	}
}

// TestStartFunction: a start function is metered like an entry.
func TestStartFunction(t *testing.T) {
	b := source([]byte{0}, 0x03, 0x40, 0x0c, 0, 0x0b)
	at := bytes.Index(b, []byte{secCode})
	for i := 8; i < len(b); { // before the code section
		if b[i] == secCode {
			at = i
			break
		}
		n, k := binary.Uvarint(b[i+1:])
		i += 1 + k + int(n)
	}
	b = append(append(append([]byte(nil), b[:at]...), secStart, 1, 0), b[at:]...)
	a := &account{fuel: 1_000_000}
	if err := load(t, newEngine(t, ""), b, LoadOptions{}).Run(context.Background(), a); !errors.Is(err, errSpent) {
		t.Errorf("ended with %v", err)
	}
}

// TestStack: endless recursion ends below the bound, and what the stack took is charged to the guest.
func TestStack(t *testing.T) {
	e := newEngine(t, "")
	p := load(t, e, source([]byte{0}, 0x10, 0), LoadOptions{})
	peak := int64(0)
	a := &account{}
	g := peaked{a, &peak}
	var trap *TrapError
	if err := p.Run(context.Background(), g); !errors.As(err, &trap) || trap.Signal != sigSEGV {
		t.Errorf("ended with %v", err)
	}
	if peak < maxStack/4 || peak > 6*maxStack {
		t.Errorf("at most %d bytes were charged", peak)
	}
	small := &account{limit: 1 << 20}
	if err := p.Run(context.Background(), small); !errors.As(err, &trap) {
		t.Errorf("with 1 MiB: %v", err)
	}
	if a.bytes.Load() != 0 || small.bytes.Load() != 0 {
		t.Errorf("%d and %d bytes are still charged", a.bytes.Load(), small.bytes.Load())
	}
}

type peaked struct {
	*account
	peak *int64
}

func (p peaked) Grow(delta int64) bool {
	ok := p.account.Grow(delta)
	*p.peak = max(*p.peak, p.bytes.Load())
	return ok
}

// TestStackField holds the name of wazero's field against the pinned version.
func TestStackField(t *testing.T) {
	e := newEngine(t, "")
	ctx := context.Background()
	m, err := e.Runtime().Instantiate(ctx, source([]byte{0}))
	if err != nil {
		t.Fatal(err)
	}
	if s := stackOf(m.ExportedFunction("_start")); s == nil || len(*s) < 1024 {
		t.Error("wazero's stack is not where it was: without it deep recursion is not bounded")
	}
	if stackOf(api.Function(nil)) != nil {
		t.Error("a stack of nothing")
	}
}

// TestEviction: strangers' modules make room for each other, and a program that was unloaded says so.
func TestEviction(t *testing.T) {
	ctx := context.Background()
	e, err := New(ctx, Config{MaxUntrusted: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(ctx)
	var first *Program
	for i := range byte(5) {
		p := load(t, e, source([]byte{0}, 0x41, i, 0x1a), LoadOptions{})
		if first == nil {
			first = p
		}
	}
	if err := first.Run(ctx, &account{}); err != ErrRetired {
		t.Errorf("an unloaded program: %v", err)
	}
	if n := len(e.programs); n > 3 {
		t.Errorf("%d programs are kept", n)
	}
}

// BenchmarkKillWorst kills guests that do the worst: walk memory so that each step misses the cache, and move 64 MiB again and again.
func BenchmarkKillWorst(b *testing.B) {
	walk := []byte{0x03, 0x40} // local0 = (local0*1664525+1013904223); load(local0 & 0x1ffffc0) × 8, as one chain
	for range 64 {
		walk = append(walk, 0x20, 0, 0x41, 0xc0, 0xff, 0xff, 0x0f, 0x71, 0x28, 2, 0, 0x20, 0, 0x6a)
		walk = append(appendS64(append(walk, 0x41), 1664525), 0x6c)
		walk = append(append(appendS64(append(walk, 0x41), 1013904223), 0x6a), 0x21, 0)
	}
	walk = append(walk, 0x0c, 0, 0x0b)
	grow := append(appendS64([]byte{0x41}, 999), 0x40, 0, 0x1a)
	move := append([]byte{0x03, 0x40, 0x41, 0, 0x41, 1}, append(appendS64([]byte{0x41}, 64000000), 0xfc, 10, 0, 0, 0x0c, 0, 0x0b)...)
	for _, c := range []struct {
		name string
		code []byte
	}{{"cache misses", walk}, {"moves of 64 MB", move}} {
		b.Run(c.name, func(b *testing.B) {
			e := newEngine(b, "")
			p := load(b, e, source([]byte{1, 1, typeI32}, append(append([]byte(nil), grow...), c.code...)...), LoadOptions{})
			var worst time.Duration
			for b.Loop() {
				a := &account{}
				done := make(chan struct{})
				go func() {
					if err := p.Run(context.Background(), a); err != errKilled {
						b.Error(err)
						a.used.Store(1 << 40)
					}
					close(done)
				}()
				for a.used.Load() < 50_000 {
					runtime.Gosched()
				}
				start := time.Now()
				a.killed.Store(true)
				<-done
				worst = max(worst, time.Since(start))
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst(limit=10)")
		})
	}
}
