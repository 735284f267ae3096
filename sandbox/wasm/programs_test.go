package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// goProgram is built as a guest: each argument names a piece of work.
const goProgram = `package main

import ("crypto/sha256"; "encoding/json"; "fmt"; "os"; "sort"; "strings")

func fib(n int) int { if n < 2 { return n }; return fib(n-1) + fib(n-2) }

func deep(n int, b [8]int) int { if n == 0 { return b[3] }; b[n%8] += n; return deep(n-1, b) + 1 }

func main() {
	switch os.Args[1] {
	case "hash":
		b := make([]byte, 1<<20)
		sum := sha256.Sum256(b)
		for range 12 { copy(b, sum[:]); sum = sha256.Sum256(b) }
		fmt.Printf("%x\n", sum)
	case "json":
		type item struct { Name string; Tags []string; Size float64; Meta map[string]int }
		var items []item
		for i := range 2000 { items = append(items, item{fmt.Sprint("n", i), []string{"a", "b"}, float64(i) / 3, map[string]int{"x": i}}) }
		n := 0
		for range 6 { b, _ := json.Marshal(items); n += len(b); items = nil; json.Unmarshal(b, &items) }
		fmt.Println(n, len(items))
	case "sort":
		v, x := make([]int, 600000), uint32(1)
		for i := range v { x ^= x << 13; x ^= x >> 17; x ^= x << 5; v[i] = int(x) }
		sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
		fmt.Println(v[0], v[len(v)/2])
	case "map":
		m, x := map[uint32]int{}, uint32(1)
		for range 1500000 { x ^= x << 13; x ^= x >> 17; x ^= x << 5; m[x&0xffff]++ }
		fmt.Println(len(m), m[77])
	case "calls":
		fmt.Println(fib(32))
	case "deep":
		fmt.Println(deep(20000, [8]int{}))
	case "grow":
		var keep [][]byte
		for i := range 40 { keep = append(keep, []byte(strings.Repeat("x", i<<14))) }
		fmt.Println(len(keep[39]))
	case "fault":
		defer func() { fmt.Println(recover()); os.Exit(7) }()
		var p *int
		*p = 1
	}
}
`

var buildGo = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "drydock-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	os.WriteFile(filepath.Join(dir, "main.go"), []byte(goProgram), 0o600)
	os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module probe\n\ngo 1.26.0\n"), 0o600)
	cmd := exec.Command("go", "build", "-o", "out.wasm", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "out.wasm"))
})

// subject is a program to compare metered and plain.
type subject struct {
	name, arg string
	module    []byte
}

func subjects(t testing.TB, goArgs ...string) []subject {
	t.Helper()
	var list []subject
	files, _ := filepath.Glob("testdata/c/*.wasm")
	if len(files) < 4 {
		t.Fatalf("%d C programs in testdata/c", len(files))
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, subject{"C " + strings.TrimSuffix(filepath.Base(f), ".wasm"), "", b})
	}
	b, err := buildGo()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range goArgs {
		list = append(list, subject{"Go " + a, a, b})
	}
	return list
}

// plain runs modules on wazero alone; fuel is always given. Each distinct module is compiled once.
type plain struct {
	r        wazero.Runtime
	compiled map[[32]byte]wazero.CompiledModule
	refills  int
}

func newPlain(t testing.TB) *plain {
	ctx := context.Background()
	p := &plain{r: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler()), compiled: map[[32]byte]wazero.CompiledModule{}}
	t.Cleanup(func() { p.r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, p.r)
	p.r.NewHostModuleBuilder(meterModule).NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module) {
		p.refills++
		m.ExportedGlobal(fuelExport).(api.MutableGlobal).Set(MaxSlice)
	}).Export("refill").Instantiate(ctx)
	return p
}

func (p *plain) run(t testing.TB, module []byte, arg string) (string, time.Duration) {
	t.Helper()
	ctx, key := context.Background(), sha256.Sum256(module)
	c := p.compiled[key]
	if c == nil {
		var err error
		if c, err = p.r.CompileModule(ctx, module); err != nil {
			t.Fatal(err)
		}
		p.compiled[key] = c
	}
	var out bytes.Buffer
	start := time.Now()
	m, err := p.r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithArgs("prog", arg).WithStdout(&out).WithStderr(&out))
	took := time.Since(start)
	if m != nil {
		m.Close(ctx)
	}
	text, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	return out.String() + text, took
}

// TestBehaveAlike compares what programs print and how they end, metered and plain.
func TestBehaveAlike(t *testing.T) {
	p := newPlain(t)
	for _, s := range subjects(t, "hash", "json", "sort", "map", "calls", "deep", "grow", "fault") {
		t.Run(s.name, func(t *testing.T) {
			re, err := rewrite(s.module, Trusted)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := p.run(t, s.module, s.arg)
			p.refills = 0
			got, _ := p.run(t, re.Module, s.arg)
			if got != want || p.refills == 0 {
				t.Errorf("metered: %q with %d refills, plain: %q", got, p.refills, want)
			}
		})
	}
}

// TestCache starts a program cold, from the cache, and from a cache that was damaged.
func TestCache(t *testing.T) {
	b, err := os.ReadFile("testdata/c/matmul.wasm")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	opened := 0
	for _, c := range []struct {
		name   string
		opened int
		before func()
	}{
		{"cold", 1, func() {}},
		{"warm", 1, func() {}},
		{"damaged", 2, func() {
			files, _ := filepath.Glob(filepath.Join(dir, "modules", "*"))
			for _, f := range files {
				b, _ := os.ReadFile(f)
				b[len(b)/2] ^= 1
				os.WriteFile(f, b, 0o600)
			}
			if len(files) != 1 {
				t.Errorf("%d files in the cache", len(files))
			}
		}},
	} {
		c.before()
		e := newEngine(t, dir)
		p, err := e.Load(context.Background(), "sha256:x", func() ([]byte, error) { opened++; return b, nil }, LoadOptions{Trusted: true})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		a := &account{}
		if err := p.Run(context.Background(), a); err != nil && !errors.As(err, new(*ExitError)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if opened != c.opened || a.used.Load() == 0 || a.bytes.Load() != 0 {
			t.Errorf("%s: opened %d times, burnt %d, %d bytes still charged", c.name, opened, a.used.Load(), a.bytes.Load())
		}
		e.Close(context.Background())
	}
}

// BenchmarkMetering prints what metering costs per program: time metered over time plain, best of several runs. Target: geometric mean ≤ 1.12.
func BenchmarkMetering(b *testing.B) {
	p := newPlain(b)
	sums := map[string][]float64{}
	for _, s := range subjects(b, "hash", "json", "sort", "map", "calls") {
		re, err := rewrite(s.module, Trusted)
		if err != nil {
			b.Fatal(err)
		}
		best := [2]time.Duration{math.MaxInt64, math.MaxInt64}
		for range 7 {
			for i, m := range [][]byte{s.module, re.Module} {
				_, took := p.run(b, m, s.arg)
				best[i] = min(best[i], took)
			}
		}
		p.refills = 0
		p.run(b, re.Module, s.arg)
		ratio := float64(best[1]) / float64(best[0])
		b.Logf("%-10s plain %8.1f ms  metered %8.1f ms  ratio %.3f  fuel/s %.0fM", s.name, best[0].Seconds()*1e3, best[1].Seconds()*1e3, ratio,
			float64(p.refills)*MaxSlice/best[1].Seconds()/1e6)
		lang, _, _ := strings.Cut(s.name, " ")
		for _, k := range []string{lang, "all"} {
			sums[k] = append(sums[k], math.Log(ratio))
		}
	}
	for b.Loop() {
		// the figures are the result
	}
	for _, k := range []string{"C", "Go", "all"} {
		mean := 0.0
		for _, v := range sums[k] {
			mean += v / float64(len(sums[k]))
		}
		b.ReportMetric(math.Exp(mean), "geomean-"+k)
	}
	b.ReportMetric(1.12, "target")
}
