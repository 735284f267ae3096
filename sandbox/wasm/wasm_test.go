package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// account is a Guest with limits.
type account struct {
	limit  int64
	fuel   int64 // 0: unlimited
	used   atomic.Int64
	bytes  atomic.Int64
	killed atomic.Bool
}

var errKilled = errors.New("killed")
var errSpent = errors.New("out of fuel")

func (a *account) Refill(used int64) (int64, error) {
	total := a.used.Add(used)
	if a.killed.Load() {
		return 0, errKilled
	}
	if a.fuel > 0 && total > a.fuel {
		return 0, errSpent
	}
	runtime.Gosched()
	return MaxSlice, nil
}

func (a *account) Grow(delta int64) bool {
	if n := a.bytes.Add(delta); a.limit > 0 && n > a.limit {
		a.bytes.Add(-delta)
		return false
	}
	return true
}

func newEngine(t testing.TB, dir string) *Engine {
	t.Helper()
	e, err := New(context.Background(), Config{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(context.Background(), e.Runtime())
	t.Cleanup(func() { e.Close(context.Background()) })
	return e
}

// source makes a module of one function of type () → () exported as _start, with 1 page of memory growing to 1,000 and a table.
func source(locals []byte, code ...byte) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = appendSection(b, secType, []byte{1, 0x60, 0, 0})
	b = appendSection(b, secFunction, []byte{1, 0})
	b = appendSection(b, secTable, []byte{1, 0x70, 0, 1})
	b = appendSection(b, secMemory, appendU32([]byte{1, 1, 1}, 1000))
	b = appendSection(b, secExport, append(appendName(append(appendName([]byte{2}, "_start"), kindFunc, 0), "memory"), kindMemory, 0))
	body := append(append(locals, code...), 0x0b)
	return appendSection(b, secCode, append(appendU32([]byte{1}, uint32(len(body))), body...))
}

func load(t testing.TB, e *Engine, b []byte, o LoadOptions) *Program {
	t.Helper()
	p, err := e.Load(context.Background(), fmt.Sprintf("%x", sha256.Sum256(b)), func() ([]byte, error) { return b, nil }, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHostile(t *testing.T) {
	e := newEngine(t, "")
	none := []byte{0}
	for _, c := range []struct {
		name   string
		module []byte
		fuel   int64
		signal int
		err    error
	}{
		{"tight loop", source(none, 0x03, 0x40, 0x0c, 0, 0x0b), 3_000_000, 0, errSpent},
		{"nested loops", source(none, 0x03, 0x40, 0x03, 0x40, 0x0c, 1, 0x0b, 0x0b), 3_000_000, 0, errSpent},
		{"loop left by br_table", source(none, 0x02, 0x40, 0x03, 0x40, 0x41, 0, 0x0e, 1, 1, 0, 0x0b, 0x0b), 0, 0, nil},
		{"loop with a result", source(none, 0x03, 0x7f, 0x41, 7, 0x0b, 0x1a), 0, 0, nil},
		{"endless recursion", source(none, 0x10, 0), 0, 11, nil},
		{"exponential calls end by fuel", exponential(), 20_000_000, 0, errSpent},
		{"unreachable", source(none, 0x00), 0, 4, nil},
		{"division by zero", source(none, 0x41, 1, 0x41, 0, 0x6d, 0x1a), 0, 8, nil},
		{"out of bounds", source(none, 0x41, 0x7f, 0x28, 2, 0, 0x1a), 0, 11, nil},
		{"null in the table", source(none, 0x41, 0, 0x11, 0, 0), 0, 11, nil},
		{"bulk storm", source(none, 0x03, 0x40, 0x41, 0, 0x41, 1, 0x41, 0x80, 0x80, 0x04, 0xfc, 11, 0, 0x0c, 0, 0x0b), 5_000_000, 0, errSpent},
		{"growth is refused", source(none, 0x41, 0xe4, 0, 0x40, 0, 0x41, 0x7f, 0x46, 0x04, 0x40, 0x05, 0x00, 0x0b), 0, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &account{limit: 2 << 20, fuel: c.fuel}
			err := load(t, e, c.module, LoadOptions{}).Run(context.Background(), a)
			var trap *TrapError
			switch {
			case c.signal != 0:
				if !errors.As(err, &trap) || trap.Signal != c.signal {
					t.Errorf("ended with %v, want signal %d", err, c.signal)
				}
			case !errors.Is(err, c.err) || c.err == nil && err != nil:
				t.Errorf("ended with %v, want %v", err, c.err)
			}
			if n := a.bytes.Load(); n != 0 {
				t.Errorf("%d bytes are still charged", n)
			}
		})
	}
	if n := mappings.Load(); n != 0 {
		t.Errorf("%d mappings are left", n)
	}
}

// exponential is 40 functions, each calling the next twice.
func exponential() []byte {
	const n = 40
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = appendSection(b, secType, []byte{1, 0x60, 0, 0})
	b = appendSection(b, secFunction, append([]byte{n}, make([]byte, n)...))
	b = appendSection(b, secExport, append(appendName([]byte{1}, "_start"), kindFunc, 0))
	code := []byte{n}
	for i := range byte(n) {
		body := []byte{0, 0x10, i + 1, 0x10, i + 1, 0x0b}
		if i == n-1 {
			body = []byte{0, 0x0b}
		}
		code = append(append(code, byte(len(body))), body...)
	}
	return appendSection(b, secCode, code)
}

func TestRefused(t *testing.T) {
	none := []byte{0}
	for _, c := range []struct {
		name   string
		module []byte
	}{
		{"touches the fuel global", source(none, 0x42, 0, 0x24, 0)},
		{"reads a scratch local", source(none, 0x20, 0, 0x1a)},
		{"calls beyond its functions", source(none, 0x10, 1)},
		{"branches beyond its blocks", source(none, 0x0c, 9)},
		{"cut off", source(none, 0x00)[:50]},
		{"nested too deep", source(none, append(bytes.Repeat([]byte{0x02, 0x40}, 5000), bytes.Repeat([]byte{0x0b}, 5000)...)...)},
		{"too many locals", source(appendU32([]byte{1}, 1<<20), 0x7f)},
		{"tail call", source(none, 0x12, 0)},
		{"empty", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if re, err := rewrite(c.module, Untrusted); err == nil {
				t.Errorf("was accepted: %x", re.Module)
			}
		})
	}
}

// TestKillWhileSpinning: Go's collector and a kill get through while guests spin on every processor.
func TestKillWhileSpinning(t *testing.T) {
	e := newEngine(t, "")
	p := load(t, e, source([]byte{0}, 0x03, 0x40, 0x0c, 0, 0x0b), LoadOptions{})
	accounts := make([]*account, 8)
	var wg sync.WaitGroup
	for i := range accounts {
		accounts[i] = &account{}
		wg.Go(func() {
			if err := p.Run(context.Background(), accounts[i]); !errors.Is(err, errKilled) {
				t.Errorf("ended with %v", err)
			}
		})
	}
	for _, a := range accounts {
		for a.used.Load() == 0 {
			runtime.Gosched()
		}
	}
	runtime.GC()
	for _, a := range accounts {
		a.killed.Store(true)
	}
	wg.Wait()
}

func FuzzRewrite(f *testing.F) {
	f.Add(source([]byte{0}, 0x03, 0x40, 0x0c, 0, 0x0b))
	f.Add(exponential())
	files, _ := filepath.Glob("testdata/c/*.wasm")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	r := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter())
	f.Fuzz(func(t *testing.T, b []byte) {
		re, err := rewrite(b, Untrusted)
		if err != nil {
			return
		}
		if len(re.Module) > 64*len(b)+4096 {
			t.Errorf("%d bytes became %d", len(b), len(re.Module))
		}
		// What is valid stays so, and nothing becomes valid by being rewritten.
		if before, after := valid(r, b), valid(r, re.Module); before != nil && after == nil || before == nil && after != nil {
			t.Errorf("before: %v, after: %v", before, after)
		}
	})
}

func BenchmarkKill(b *testing.B) {
	e := newEngine(b, "")
	p := load(b, e, source([]byte{0}, 0x03, 0x40, 0x0c, 0, 0x0b), LoadOptions{})
	var worst time.Duration
	for range b.N {
		a := &account{}
		done := make(chan struct{})
		go func() { p.Run(context.Background(), a); close(done) }()
		for a.used.Load() == 0 {
			runtime.Gosched()
		}
		start := time.Now()
		a.killed.Store(true)
		<-done
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-worst(limit=10)")
}

// valid compiles for the interpreter, which decodes and validates.
func valid(r wazero.Runtime, b []byte) error {
	c, err := r.CompileModule(context.Background(), b)
	if err == nil {
		c.Close(context.Background())
	}
	return err
}
