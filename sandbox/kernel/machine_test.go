package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// program is Go code in a process, instead of a wasm module.
type program func(ctx context.Context, p *Process) error

func (f program) Run(ctx context.Context, g wasm.Guest) error { return f(ctx, FromContext(ctx)) }

func exit(code uint32) error { return &wasm.ExitError{Code: code} }

// lab is an account with a machine whose programs are Go code: a file's content names one.
type lab struct {
	*Machine
	t        testing.TB
	host     *Host
	acct     *Account
	clock    *manualClock
	mu       sync.Mutex
	programs map[string]program
}

func newLab(t testing.TB, l Limits) *lab {
	t.Helper()
	x := &lab{t: t, clock: newManualClock(), programs: map[string]program{}}
	x.host = NewHost(HostConfig{Slots: 1, Clock: x.clock, Exec: x.exec})
	x.acct = x.host.NewAccount(l)
	v := vfs.NewNamespace(vfs.NewTmpfs(vfs.TmpfsOptions{Clock: x.clock.Now})).View(vfs.Root)
	for _, d := range []string{"/bin", "/tmp", "/proc", "/dev", "/sys"} {
		if err := v.Mkdir(nil, d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	x.Machine = x.host.NewMachine(MachineConfig{Account: x.acct, Hostname: "box", Root: v, Clock: x.clock, Memory: 64 << 20})
	for dir, fs := range map[string]vfs.FS{"/proc": x.NewProc(x.PIDNS()), "/dev": x.NewDev(), "/sys": x.NewSys(x.Cgroup())} {
		if err := v.NS.Mount(dir, fs, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { x.acct.Close() })
	return x
}

func (l *lab) exec(_ context.Context, f *vfs.File) (Program, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.programs[string(b)]
	if !ok {
		return nil, syscall.ENOEXEC
	}
	return p, nil
}

// install puts a program at /bin/name.
func (l *lab) install(name string, p program) {
	l.t.Helper()
	l.mu.Lock()
	l.programs[name] = p
	l.mu.Unlock()
	if err := l.Root().WriteFile("/bin/"+name, []byte(name), 0o755); err != nil {
		l.t.Fatal(err)
	}
}

// spec starts /bin/name.
func spec(name string) SpawnSpec { return SpawnSpec{Path: "/bin/" + name, Args: []string{name}} }

func (l *lab) start(s SpawnSpec) *Process {
	l.t.Helper()
	p, err := l.Spawn(s)
	if err != nil {
		l.t.Fatalf("spawn %s: %v", s.Path, err)
	}
	return p
}

// do runs f as a process to its end.
func (l *lab) do(f program) WaitStatus {
	l.t.Helper()
	l.install("do", f)
	p := l.start(spec("do"))
	<-p.Done()
	return p.Status()
}

func pause(_ context.Context, p *Process) error {
	for {
		if err := p.Block(func() bool { return false }); err != nil {
			return err
		}
	}
}

// spinner uses CPU until it is killed.
func spinner(_ context.Context, p *Process) error {
	for {
		if _, err := p.Refill(slice); err != nil {
			return err
		}
	}
}

// manualClock is a lab clock that stands still until it is told to go on.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	seq    int
	timers map[int]timer
}

type timer struct {
	at time.Time
	f  func()
}

func newManualClock() *manualClock {
	return &manualClock{now: time.Unix(1_700_000_000, 0).UTC(), timers: map[int]timer{}}
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	id := c.seq
	c.timers[id] = timer{c.now.Add(d), f}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, ok := c.timers[id]
		delete(c.timers, id)
		return ok
	}
}

// advance goes on by d, running timers as they fall due.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for {
		ids := make([]int, 0, len(c.timers))
		for id, t := range c.timers {
			if !t.at.After(end) {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			break
		}
		sort.Slice(ids, func(i, j int) bool { return c.timers[ids[i]].at.Before(c.timers[ids[j]].at) })
		t := c.timers[ids[0]]
		delete(c.timers, ids[0])
		if t.at.After(c.now) {
			c.now = t.at
		}
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// pending is the number of timers.
func (c *manualClock) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// until waits for something another goroutine is about to do.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
	}
}

func TestExitStatus(t *testing.T) {
	l := newLab(t, Limits{})
	for _, c := range []struct {
		name string
		f    program
		want WaitStatus
		code int
	}{
		{"returns", func(context.Context, *Process) error { return nil }, 0, 0},
		{"exits", func(context.Context, *Process) error { return exit(7) }, 7 << 8, 7},
		{"exits with more than a byte", func(context.Context, *Process) error { return exit(0x1ff) }, 0xff << 8, 255},
		{"traps", func(context.Context, *Process) error {
			return &wasm.TrapError{Reason: "unreachable", Text: "unreachable", Signal: 4}
		}, 4, 132},
		{"raises SIGABRT", func(_ context.Context, p *Process) error { p.Raise(SIGABRT); return p.Leave() }, 6, 134},
		{"fails in the host", func(context.Context, *Process) error { return errors.New("no") }, 9, 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := l.do(c.f)
			if got != c.want || got.ExitCode() != c.code {
				t.Errorf("status %#x, code %d; want %#x, %d", got, got.ExitCode(), c.want, c.code)
			}
		})
	}
}

func TestTrapTextGoesToStandardError(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("trap", func(context.Context, *Process) error {
		return &wasm.TrapError{Reason: "out of bounds memory access", Text: "wasm error: out of bounds memory access", Signal: 11}
	})
	r, w := NewPipe()
	s := spec("trap")
	s.Files = []*FD{nil, nil, w}
	p := l.start(s)
	w.Close()
	b, err := io.ReadAll(r.Reader(context.Background()))
	if want := "wasm error: out of bounds memory access\n"; string(b) != want || err != nil {
		t.Errorf("standard error %q, %v; want %q", b, err, want)
	}
	<-p.Done()
	if got := p.Status().ExitCode(); got != 139 {
		t.Errorf("exit code %d, want 139", got)
	}
}

func TestPIDNamespace(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	ns := NewPIDNamespace(l.PIDNS())
	s := spec("pause")
	s.PIDNS = ns
	first := l.start(s)
	second := l.start(s)
	if got := [3]int{first.PID(nil), second.PID(nil), second.PPID()}; got != [3]int{1, 2, 0} {
		t.Errorf("pid of init, of its neighbour, parent of that: %v, want [1 2 0]", got)
	}
	if got := first.PID(l.PIDNS()); got != 2 {
		t.Errorf("init's pid outside is %d, want 2", got)
	}

	t.Run("init shrugs off SIGTERM", func(t *testing.T) {
		first.Signal(SIGTERM)
		if err := second.Kill(1, SIGKILL); err != nil {
			t.Errorf("kill(1, SIGKILL) from inside: %v", err)
		}
		if first.attention.Load()&attKilled != 0 {
			t.Error("init is dying of a signal it has no handler for")
		}
	})
	t.Run("outer processes cannot be named", func(t *testing.T) {
		outer := l.start(spec("pause"))
		if err := second.Kill(outer.PID(nil), SIGTERM); err != syscall.ESRCH {
			t.Errorf("kill: %v, want ESRCH", err)
		}
	})
	t.Run("its end ends all", func(t *testing.T) {
		first.Signal(SIGKILL)
		<-first.Done()
		select {
		case <-second.Done():
		default:
			t.Error("init was done before the others")
		}
		if got := second.Status().Signaled(); got != SIGKILL {
			t.Errorf("the other process died of %d, want 9", got)
		}
		if _, err := l.Spawn(s); err != syscall.ENOMEM {
			t.Errorf("spawn into a dead namespace: %v, want ENOMEM", err)
		}
	})
}

func TestOrphansGoToInit(t *testing.T) {
	l := newLab(t, Limits{})
	release := make(chan struct{})
	l.install("leaf", func(_ context.Context, p *Process) error { p.dropSlot(); <-release; return exit(5) })
	l.install("middle", func(ctx context.Context, p *Process) error {
		if _, err := p.Spawn(ctx, spec("leaf")); err != nil {
			return err
		}
		return exit(4)
	})
	type seen struct {
		pid    int
		status WaitStatus
	}
	var got []seen
	l.install("init", func(ctx context.Context, p *Process) error {
		if _, err := p.Spawn(ctx, spec("middle")); err != nil {
			return err
		}
		for {
			w, err := p.Wait(-1, 0)
			if err == syscall.ECHILD {
				return nil
			}
			if err != nil {
				return err
			}
			if got = append(got, seen{w.PID, w.Status}); len(got) == 1 {
				close(release)
			}
		}
	})
	s := spec("init")
	s.PIDNS = NewPIDNamespace(l.PIDNS())
	<-l.start(s).Done()
	if want := "[{2 1024} {3 1280}]"; fmt.Sprint(got) != want {
		t.Errorf("init waited for %v, want %s", got, want)
	}
}

func TestSessionsAndGroups(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	l.install("shell", func(ctx context.Context, p *Process) error {
		job := spec("pause")
		job.SetPgid = true
		a, err := p.Spawn(ctx, job)
		if err != nil {
			return err
		}
		job.Pgid = a.PID(nil)
		b, err := p.Spawn(ctx, job)
		if err != nil {
			return err
		}
		if g, _ := p.Pgid(b.PID(nil)); g != a.PID(nil) {
			t.Errorf("the second of a job is in group %d, want %d", g, a.PID(nil))
		}
		if sid, _ := p.Sid(b.PID(nil)); sid != p.PID(nil) {
			t.Errorf("the job is in session %d, want %d", sid, p.PID(nil))
		}
		if _, err := p.SetSid(); err != syscall.EPERM {
			t.Errorf("setsid of a leader: %v, want EPERM", err)
		}
		if err := p.SetPgid(0, a.PID(nil)); err != syscall.EPERM {
			t.Errorf("setpgid of a session leader: %v, want EPERM", err)
		}
		if err := p.Kill(-a.PID(nil), SIGTERM); err != nil {
			t.Errorf("kill of the group: %v", err)
		}
		for range 2 {
			if w, err := p.Wait(-a.PID(nil), 0); err != nil || w.Status != 15 {
				t.Errorf("wait for the group: %v %v", w, err)
			}
		}
		if err := p.Kill(-a.PID(nil), SIGTERM); err != syscall.ESRCH {
			t.Errorf("kill of the group that was: %v, want ESRCH", err)
		}
		return nil
	})
	p := l.start(spec("shell"))
	<-p.Done()
	if s := p.Status(); s != 0 {
		t.Errorf("status %#x", s)
	}
}

func TestStoppedProcessKeepsSIGTERM(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	p := l.start(spec("pause"))
	p.Signal(SIGSTOP)
	p.Signal(SIGTERM)
	if p.attention.Load()&attKilled != 0 {
		t.Error("SIGTERM took effect while stopped")
	}
	p.Signal(SIGCONT)
	<-p.Done()
	if got := p.Status().Signaled(); got != SIGTERM {
		t.Errorf("died of %d, want 15", got)
	}
}

func TestOrphanedStoppedGroupIsHungUp(t *testing.T) {
	l := newLab(t, Limits{})
	var child *Process
	stopped := make(chan struct{})
	l.install("child", func(ctx context.Context, p *Process) error {
		p.Raise(SIGSTOP)
		close(stopped)
		return pause(ctx, p)
	})
	l.install("parent", func(ctx context.Context, p *Process) (err error) {
		s := spec("child")
		s.SetPgid = true
		child, err = p.Spawn(ctx, s)
		p.dropSlot() // Go code that waits outside of the kernel must make room itself
		<-stopped
		return err
	})
	<-l.start(spec("parent")).Done()
	<-child.Done()
	if got := child.Status().Signaled(); got != SIGHUP {
		t.Errorf("the orphaned job died of %d, want SIGHUP", got)
	}
}

func TestLimits(t *testing.T) {
	t.Run("pids.max", func(t *testing.T) {
		l := newLab(t, Limits{})
		l.install("pause", pause)
		c, err := l.Cgroup().Child("pod", CgroupLimits{PidsMax: 2})
		if err != nil {
			t.Fatal(err)
		}
		s := spec("pause")
		s.Cgroup = c
		a := l.start(s)
		l.start(s)
		if _, err := l.Spawn(s); err != syscall.EAGAIN {
			t.Errorf("third process: %v, want EAGAIN", err)
		}
		if st := c.Stat(); st.Pids != 2 || st.PidsEvents != 1 {
			t.Errorf("pids.current %d, events %d; want 2, 1", st.Pids, st.PidsEvents)
		}
		if err := c.Close(); err != syscall.EBUSY {
			t.Errorf("close of a cgroup in use: %v, want EBUSY", err)
		}
		a.Signal(SIGKILL)
		<-a.Done()
		until(t, "the end of one process", func() bool { return c.Stat().Pids == 1 })
		l.start(s)
		c.Kill()
		until(t, "an empty cgroup", func() bool { return c.Close() == nil })
	})
	t.Run("processes of the account", func(t *testing.T) {
		l := newLab(t, Limits{Processes: 1})
		l.install("pause", pause)
		l.start(spec("pause"))
		if _, err := l.Spawn(spec("pause")); err != syscall.EAGAIN {
			t.Errorf("second process: %v, want EAGAIN", err)
		}
	})
	t.Run("arguments", func(t *testing.T) {
		l := newLab(t, Limits{})
		l.install("pause", pause)
		s := spec("pause")
		s.Args = []string{strings.Repeat("x", ArgMax)}
		if _, err := l.Spawn(s); err != syscall.E2BIG {
			t.Errorf("too many bytes: %v, want E2BIG", err)
		}
		s.Args = []string{"a\x00b"}
		if _, err := l.Spawn(s); err != syscall.EINVAL {
			t.Errorf("NUL in an argument: %v, want EINVAL", err)
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		l := newLab(t, Limits{})
		st := l.do(func(_ context.Context, p *Process) error {
			if err := p.SetRlimit(RLIMIT_NOFILE, Rlimit{Soft: 6, Hard: 6}); err != nil {
				return err
			}
			if r, w, err := p.Pipe(); r != 4 || w != 5 || err != nil {
				t.Errorf("pipe: %d %d %v", r, w, err)
			}
			if _, err := p.OpenFile(-1, "/bin", vfs.O_RDONLY, 0); err != syscall.EMFILE {
				t.Errorf("open beyond the limit: %v, want EMFILE", err)
			}
			if err := p.SetRlimit(RLIMIT_NOFILE, Rlimit{Soft: 7, Hard: 7}); err != syscall.EPERM {
				t.Errorf("raising NOFILE: %v, want EPERM", err)
			}
			return p.CloseFD(4)
		})
		if st != 0 {
			t.Errorf("status %#x", st)
		}
	})
}

func TestAccountCloseLeavesNothing(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	l.install("spin", spinner)
	l.install("hold", func(ctx context.Context, p *Process) error {
		if !p.Grow(1 << 20) {
			t.Error("no memory")
		}
		if _, _, err := p.Pipe(); err != nil {
			return err
		}
		return pause(ctx, p)
	})
	var all []*Process
	for range 20 {
		for _, n := range []string{"pause", "spin", "hold"} {
			all = append(all, l.start(spec(n)))
		}
	}
	l.acct.Close()
	for _, p := range all {
		select {
		case <-p.Done():
		default:
			t.Fatal("a process outlived its account")
		}
	}
	if u := l.acct.Usage(); u.Memory != 0 || u.Processes != 0 {
		t.Errorf("left: %d bytes, %d processes", u.Memory, u.Processes)
	}
	<-l.Machine.Done()
	if l.host.sched.free != l.host.Slots() {
		t.Errorf("%d of %d slots free", l.host.sched.free, l.host.Slots())
	}
	if n := l.clock.pending(); n != 0 {
		t.Errorf("%d timers left", n)
	}
	if _, err := l.Spawn(spec("pause")); err == nil {
		t.Error("spawn on a closed account succeeded")
	}
	l.acct.Close()
}
