package wasi_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

// tiny is (module (func (export "_start"))).
var tiny = []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x0a\x01\x06_start\x00\x00" + "\x0a\x04\x01\x02\x00\x0b")

// reading reads a byte from descriptor 0 into its one page of memory and ends:
//
//	(module (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
//	  (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\01\00\00\00")
//	  (func (export "_start") (drop (call 0 (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))))
var reading = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x0c\x02\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\x00\x00" +
	"\x02\x22\x01\x16wasi_snapshot_preview1\x07fd_read\x00\x00" +
	"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x01" +
	"\x0a\x0f\x01\x0d\x00\x41\x00\x41\x00\x41\x01\x41\x08\x10\x00\x1a\x0b" +
	"\x0b\x0e\x01\x00\x41\x00\x0b\x08\x10\x00\x00\x00\x01\x00\x00\x00")

func (l *lab) add(t testing.TB, name string, module []byte) {
	t.Helper()
	if err := l.view.WriteFile(name, module, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestHandAssembled(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	l.add(t, "/bin/tiny", tiny)
	l.add(t, "/bin/reading", reading)
	for _, name := range []string{"/bin/tiny", "/bin/reading"} {
		if got := l.runSpec(kernel.SpawnSpec{Path: name, Args: []string{name}}, "xyz"); got.code != 0 || got.err != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// BenchmarkSpawnWait starts a program that does nothing and waits for it, from the host.
func BenchmarkSpawnWait(b *testing.B) {
	l := newLab(b, newHost(0), kernel.Limits{})
	l.add(b, "/bin/tiny", tiny)
	s := kernel.SpawnSpec{Path: "/bin/tiny", Args: []string{"tiny"}}
	b.ReportAllocs()
	for b.Loop() {
		p, err := l.Spawn(s)
		if err != nil {
			b.Fatal(err)
		}
		<-p.Done()
	}
}

// BenchmarkPipe is the throughput of a pipe from a guest that writes 2 bytes a time to the host, and of one that copies.
func BenchmarkPipe(b *testing.B) {
	l := newLab(b, newHost(0), kernel.Limits{})
	ctx := context.Background()
	buf := make([]byte, 32<<10)
	b.Run("copy", func(b *testing.B) {
		p := l.pipe(kernel.SpawnSpec{}, "cat")
		go func() {
			chunk := make([]byte, 32<<10)
			for {
				if _, err := p.in.Write(ctx, chunk); err != nil {
					return
				}
			}
		}()
		b.SetBytes(32 << 10)
		for b.Loop() {
			for n := 0; n < len(buf); {
				k, err := p.out.Read(ctx, buf[n:])
				if err != nil {
					b.Fatal(err)
				}
				n += k
			}
		}
		p.Signal(kernel.SIGKILL)
		<-p.Done()
	})
	b.Run("2 bytes a time", func(b *testing.B) {
		p := l.pipe(kernel.SpawnSpec{}, "yes")
		b.SetBytes(2)
		left := 0
		for b.Loop() {
			if left < 2 {
				n, err := p.out.Read(ctx, buf)
				if err != nil {
					b.Fatal(err)
				}
				left = n
			}
			left -= 2
		}
		p.Signal(kernel.SIGKILL)
		<-p.Done()
	})
}

// BenchmarkIdleGuests reports heap and goroutines of a guest that waits for input: a hand-assembled one and a Go program.
func BenchmarkIdleGuests(b *testing.B) {
	for _, c := range []struct {
		name string
		args []string
	}{{"hand-assembled", []string{"/bin/reading"}}, {"Go", []string{guestPath, "block"}}} {
		b.Run(c.name, func(b *testing.B) {
			l := newLab(b, newHost(0), kernel.Limits{})
			l.add(b, "/bin/reading", reading)
			const n = 100
			measure := func() (heap uint64, goroutines int) {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapInuse + m.StackInuse, runtime.NumGoroutine()
			}
			for b.Loop() {
				r, w := kernel.NewPipe()
				spec := kernel.SpawnSpec{Path: c.args[0], Args: c.args, Files: []*kernel.FD{r, r, r}}
				first, err := l.Spawn(spec)
				if err != nil {
					b.Fatal(err)
				}
				idle(b, first)
				h0, g0 := measure()
				all := []*kernel.Process{first}
				for range n {
					p, err := l.Spawn(spec)
					if err != nil {
						b.Fatal(err)
					}
					all = append(all, p)
				}
				for _, p := range all {
					idle(b, p)
				}
				h1, g1 := measure()
				cpu := l.acct.Usage().CPU
				b.ReportMetric(float64(h1-h0)/n, "heap-B/guest")
				b.ReportMetric(float64(g1-g0)/n, "goroutines/guest")
				b.ReportMetric(float64(l.acct.Usage().Memory)/(n+1), "charged-B/guest")
				b.ReportMetric(float64(cpu.Microseconds())/(n+1), "CPU-µs/guest")
				w.Close()
				r.Close()
				for _, p := range all {
					p.Signal(kernel.SIGKILL)
					<-p.Done()
				}
			}
		})
	}
}

func idle(b *testing.B, p *kernel.Process) {
	for !p.Sleeping() {
		select {
		case <-p.Done():
			b.Fatalf("it ended with %#x", p.Status())
		case <-time.After(time.Millisecond):
		}
	}
}

// BenchmarkBystander is the time a short Go command of one lab takes while another lab spins with 12 processes on the only slot, beside the
// same without them, and the time from a keystroke to its echo by a guest.
func BenchmarkBystander(b *testing.B) {
	for _, c := range []struct {
		name     string
		spinners int
	}{{"quiet", 0}, {"12 spinners", 12}} {
		b.Run(c.name, func(b *testing.B) {
			h := newHost(1)
			noisy, quiet := newLab(b, h, kernel.Limits{}), newLab(b, h, kernel.Limits{})
			quiet.add(b, "/bin/tiny", tiny)
			for range c.spinners {
				noisy.pipe(kernel.SpawnSpec{}, "spin")
			}
			cat := quiet.pipe(kernel.SpawnSpec{}, "cat")
			ctx := context.Background()
			var echo, start []time.Duration
			buf := make([]byte, 1)
			for b.Loop() {
				t := time.Now()
				p, err := quiet.Spawn(kernel.SpawnSpec{Path: "/bin/tiny", Args: []string{"tiny"}})
				if err != nil {
					b.Fatal(err)
				}
				<-p.Done()
				start = append(start, time.Since(t))
				t = time.Now()
				cat.in.Write(ctx, []byte("k"))
				cat.out.Read(ctx, buf)
				echo = append(echo, time.Since(t))
			}
			report(b, "start", start)
			report(b, "echo", echo)
		})
	}
}

func report(b *testing.B, name string, l []time.Duration) {
	slices.Sort(l)
	b.ReportMetric(float64(l[len(l)/2].Microseconds()), name+"-p50-µs")
	b.ReportMetric(float64(l[len(l)*99/100].Microseconds()), name+"-p99-µs")
}

// BenchmarkKill is the time from SIGKILL to the end of a guest in a tight loop.
func BenchmarkKill(b *testing.B) {
	l := newLab(b, newHost(0), kernel.Limits{})
	var all []time.Duration
	for b.Loop() {
		p := l.pipe(kernel.SpawnSpec{}, "spin")
		for p.Usage().User == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		t := time.Now()
		p.Signal(kernel.SIGKILL)
		<-p.Done()
		all = append(all, time.Since(t))
		p.in.Close()
		p.out.Close()
	}
	report(b, "kill", all)
}
