package wasi_test

import (
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

func TestForkBomb(t *testing.T) {
	h := newHost(0)
	l := newLab(t, h, kernel.Limits{Processes: 24})
	c, err := l.Cgroup().Child("pod", kernel.CgroupLimits{PidsMax: 16})
	if err != nil {
		t.Fatal(err)
	}
	p := l.pipe(kernel.SpawnSpec{Cgroup: c, PIDNS: kernel.NewPIDNamespace(l.PIDNS())}, "bomb")
	p.expect("true\n")
	if got := c.Stat().PidsEvents; got == 0 {
		t.Error("pids.max was never reached")
	}
	// Beside it the lab still works, and another lab too.
	if got := l.run("", "hello"); got.out != "hello\n" {
		t.Errorf("in the lab: %+v", got)
	}
	if got := newLab(t, h, kernel.Limits{}).run("", "hello"); got.out != "hello\n" {
		t.Errorf("in another: %+v", got)
	}
	p.Signal(kernel.SIGKILL)
	<-p.Done()
	if err := c.Close(); err != nil {
		t.Errorf("the cgroup after the end of its namespace: %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{MemoryBytes: 256 << 20})
	c, err := l.Cgroup().Child("pod", kernel.CgroupLimits{MemoryMax: 48 << 20, OOMGroup: true})
	if err != nil {
		t.Fatal(err)
	}
	p := l.pipe(kernel.SpawnSpec{Cgroup: c}, "grow", "100")
	if code, out := p.end(); code != 137 || strings.Contains(out, "grown") || !p.OOMKilled() {
		t.Errorf("code %d, OOM killed %v, output %q", code, p.OOMKilled(), out)
	}
	p = l.pipe(kernel.SpawnSpec{Cgroup: c}, "grow", "16", "hold")
	p.expect("grown\n")
	if got := c.Stat().MemoryCurrent; got < 16<<20 || got > 40<<20 {
		t.Errorf("memory.current %d while 16 MiB are held", got)
	}
	p.end()
	if got := c.Stat().MemoryCurrent; got != 0 {
		t.Errorf("memory.current %d after the end", got)
	}
}

// TestBystander runs commands of one lab while another spins with many processes on the only slot. How little they wait is counted in
// the kernel's tests (TestWakingPassesSpinners) and measured by BenchmarkBystander.
func TestBystander(t *testing.T) {
	h := newHost(1)
	noisy, quiet := newLab(t, h, kernel.Limits{}), newLab(t, h, kernel.Limits{})
	var spinners []*piped
	for range 12 {
		spinners = append(spinners, noisy.pipe(kernel.SpawnSpec{}, "spin"))
	}
	for _, s := range spinners {
		for s.Usage().User == 0 {
			runtime.Gosched()
		}
	}
	for range 10 {
		if got := quiet.run("", "hello"); got.out != "hello\n" {
			t.Fatalf("%+v", got)
		}
	}
	if noisy.acct.Usage().CPU == 0 || quiet.acct.Usage().CPU == 0 {
		t.Error("CPU time is not counted")
	}
}

func TestSpinnersShareTheCPU(t *testing.T) {
	h := newHost(1)
	l := newLab(t, h, kernel.Limits{})
	heavy, _ := l.Cgroup().Child("heavy", kernel.CgroupLimits{CPUWeight: 300})
	light, _ := l.Cgroup().Child("light", kernel.CgroupLimits{CPUWeight: 100})
	a := l.pipe(kernel.SpawnSpec{Cgroup: heavy}, "spin")
	b := l.pipe(kernel.SpawnSpec{Cgroup: light}, "spin")
	for light.Stat().UsageUsec() < 250_000 || heavy.Stat().UsageUsec() < 250_000 { // past what the later one was owed
		time.Sleep(time.Millisecond)
	}
	h0, l0 := heavy.Stat().UsageUsec(), light.Stat().UsageUsec()
	for light.Stat().UsageUsec()-l0 < 100_000 {
		time.Sleep(time.Millisecond)
	}
	dh, dl := heavy.Stat().UsageUsec()-h0, light.Stat().UsageUsec()-l0
	if dh < 2*dl || dh > 4*dl {
		t.Errorf("weights 300 and 100 used %d and %d µs", dh, dl)
	}
	a.Signal(kernel.SIGKILL)
	b.Signal(kernel.SIGKILL)
	<-a.Done()
	<-b.Done()
}

func TestFloodIsBounded(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{MemoryBytes: 64 << 20})
	p := l.pipe(kernel.SpawnSpec{}, "yes")
	p.expect("y\ny\n")
	p.out.Close() // nobody reads any more
	<-p.Done()
	if got := p.Status().ExitCode(); got != 141 {
		t.Errorf("code %d, want 141: SIGPIPE", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if got := l.run("x", "cat"); got.out != "x" || got.code != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
	wg.Wait()
	if n := len(l.Processes()); n != 0 {
		t.Errorf("%d processes left", n)
	}
}

func TestClosingALabLeavesNoGoroutine(t *testing.T) {
	h := newHost(0)
	newLab(t, h, kernel.Limits{}).run("", "hello")
	before := runtime.NumGoroutine()
	l := newLab(t, h, kernel.Limits{})
	for _, args := range [][]string{{"block"}, {"spin"}, {"yes"}, {"sleep", "100000"}, {"sig", "catch", "15"}, {"net", "serve", "80"}} {
		for range 3 {
			l.pipe(kernel.SpawnSpec{}, args...)
		}
	}
	l.acct.Close()
	if u := l.acct.Usage(); u.Memory != 0 || u.Processes != 0 {
		t.Errorf("left: %d bytes, %d processes", u.Memory, u.Processes)
	}
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond) // a goroutine that has said it is done may not be gone yet
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

func TestProcShowsAGuest(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{MemoryBytes: 64 << 20})
	p := l.pipe(kernel.SpawnSpec{Env: []string{"A=b"}}, "sig", "catch", "15")
	p.expect("ready\n")
	read := func(name string) string {
		t.Helper()
		f, err := l.view.Open(nil, name, 0, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return string(b)
	}
	for _, c := range []struct{ file, want string }{
		{"/proc/2/cmdline", guestPath + "\x00sig\x00catch\x0015\x00"},
		{"/proc/2/comm", "guest\n"},
		{"/proc/2/environ", "A=b\x00"},
		{"/proc/2/cgroup", "0::/\n"},
		{"/proc/2/stat", "2 (guest) S 1 2 2 0 -1 "},
		{"/proc/2/status", "Name:\tguest\n"},
		{"/proc/2/status", "SigCgt:\t0000000000004000\n"},
		{"/proc/2/limits", "Max open files            1024                 4096                 files"},
		{"/proc/2/mounts", "proc /proc proc rw"},
		{"/proc/sys/kernel/hostname", "box\n"},
		{"/proc/meminfo", "MemTotal:          65536 kB\n"},
		{"/proc/filesystems", "nodev\tproc\n"},
	} {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // it is on its way to sleep
			got := read(c.file)
			if strings.Contains(got, c.want) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: %q lacks %q", c.file, got, c.want)
				break
			}
		}
	}
	for name, want := range map[string]string{"/proc/2/exe": guestPath, "/proc/2/cwd": "/", "/proc/2/fd/3": "/"} {
		if got, err := l.view.Readlink(nil, name); got != want || err != nil {
			t.Errorf("%s: %q %v, want %q", name, got, err, want)
		}
	}
	p.Signal(kernel.SIGTERM)
	p.end()
}
