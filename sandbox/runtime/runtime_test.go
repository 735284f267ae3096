package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	stdruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasm"
	"github.com/google/go-cmp/cmp"
)

// The programs of these tests are Go functions on real kernel processes: a file that begins with "\0asm" and a name runs the function of
// that name. How wasm runs is other packages' business; everything else is as it is.

type program func(p *kernel.Process) error

func (f program) Run(ctx context.Context, _ wasm.Guest) error { return f(kernel.FromContext(ctx)) }

func exit(code uint32) error { return &wasm.ExitError{Code: code} }

func say(p *kernel.Process, fd int, format string, a ...any) error {
	_, err := p.Write(fd, fmt.Appendf(nil, format, a...))
	return err
}

// catch has signals caught: before a program says that it is ready, since the first process loses those that it does not handle.
func catch(p *kernel.Process, sigs ...kernel.Signal) {
	for _, s := range sigs {
		p.SetAction(s, kernel.ModeCaught)
	}
}

// untilSignal waits for a caught signal.
func untilSignal(p *kernel.Process) kernel.Signal {
	p.SetInterrupting(true)
	for {
		if s := p.NextSignal(); s != 0 {
			return s
		}
		if err := p.Pause(); err == kernel.ErrKilled {
			return 0
		}
	}
}

var programs = map[string]program{
	"echo": func(p *kernel.Process) error { return say(p, 1, "%s\n", strings.Join(p.Args()[1:], " ")) },
	"env": func(p *kernel.Process) error {
		cwd, _ := p.View().Getcwd()
		c := p.Cred()
		say(p, 1, "%s\ncwd %s uid %d gid %d groups %v host %s pid %d\n", strings.Join(p.Env(), "\n"), cwd, c.UID, c.GID, c.Groups, p.UTS().Hostname(), p.PID(nil))
		return exit(0)
	},
	"both": func(p *kernel.Process) error { say(p, 1, "out\n"); say(p, 2, "err\n"); return exit(3) },
	"trap": func(p *kernel.Process) error {
		return &wasm.TrapError{Reason: "unreachable", Text: "wasm: unreachable executed", Signal: 4}
	},
	"sleep": func(p *kernel.Process) error { untilSignal(p); return kernel.ErrKilled },
	"serve": func(p *kernel.Process) error {
		catch(p, kernel.SIGTERM, kernel.SIGQUIT)
		say(p, 1, "ready\n")
		s := untilSignal(p)
		say(p, 1, "got %d\n", s)
		return exit(0)
	},
	"cat": func(p *kernel.Process) error {
		b := make([]byte, 4096)
		for {
			n, err := p.Read(0, b)
			if n > 0 {
				if _, err := p.Write(1, b[:n]); err != nil {
					return err
				}
			}
			if err == io.EOF {
				return exit(0)
			}
			if err != nil {
				return err
			}
		}
	},
	"show": func(p *kernel.Process) error {
		for _, name := range p.Args()[1:] {
			b, err := p.View().ReadFile(name, 1<<20)
			say(p, 1, "%s: %q %v\n", name, b, err)
		}
		return exit(0)
	},
	"write": func(p *kernel.Process) error {
		if err := p.View().WriteFile(p.Args()[1], []byte(p.Args()[2]), 0o644); err != nil {
			say(p, 2, "%v\n", err)
			return exit(1)
		}
		return exit(0)
	},
	"hog": func(p *kernel.Process) error {
		for p.Grow(1 << 20) {
		}
		if _, err := p.Refill(0); err != nil {
			return err
		}
		return &wasm.TrapError{Reason: "out of memory", Signal: 6}
	},
	"flood": func(p *kernel.Process) error {
		line := []byte(strings.Repeat("x", 99) + "\n")
		for range 5000 {
			if _, err := p.Write(1, line); err != nil {
				return err
			}
		}
		return exit(0)
	},
	"ask": func(p *kernel.Process) error {
		say(p, 1, "name? ")
		b := make([]byte, 100)
		n, err := p.Read(0, b)
		if err != nil {
			return err
		}
		say(p, 1, "hello %s", b[:n])
		return exit(0)
	},
}

// bench is one machine with a Runtime.
type bench struct {
	*Runtime
	t      testing.TB
	fabric *network.Fabric
	disk   *meter
	store  *image.Store

	mu     sync.Mutex
	events []Event
	news   *sync.Cond
}

type meter struct {
	mu          sync.Mutex
	used, limit int64
}

func (m *meter) Charge(d int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d > 0 && m.used+d > m.limit {
		return syscall.ENOSPC
	}
	m.used += d
	return nil
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is lab time that moves when a test says so.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*timer]bool
}

type timer struct {
	at time.Time
	f  func()
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{c.now.Add(d), f}
	c.timers[t] = true
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := c.timers[t]
		delete(c.timers, t)
		return was
	}
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []*timer
	for t := range c.timers {
		if !t.at.After(c.now) {
			due = append(due, t)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

func newBench(t testing.TB) *bench {
	t.Helper()
	ck := &clock{now: epoch, timers: map[*timer]bool{}}
	seed := rand.NewChaCha8(sha256.Sum256([]byte(t.Name())))
	host := kernel.NewHost(kernel.HostConfig{Clock: ck, Exec: func(_ context.Context, f *vfs.File) (kernel.Program, error) {
		b := make([]byte, 64)
		n, _ := f.ReadAt(b, 0)
		name, ok := bytes.CutPrefix(b[:n], []byte("\x00asm"))
		if !ok {
			return nil, syscall.ENOEXEC
		}
		return programs[string(name)], nil
	}})
	acct := host.NewAccount(kernel.Limits{MemoryBytes: 256 << 20, Processes: 256})
	b := &bench{t: t, disk: &meter{limit: 64 << 20}}
	b.news = sync.NewCond(&b.mu)
	b.fabric = network.NewFabric(network.Config{Clock: ck, Rand: seed})
	stack := b.fabric.NewStack("node-1")
	if err := stack.AddLink("eth0", "br0", netip.MustParsePrefix("10.0.0.1/8")); err != nil {
		t.Fatal(err)
	}
	root := vfs.NewNamespace(vfs.NewTmpfs(vfs.TmpfsOptions{})).View(vfs.Root)
	machine := host.NewMachine(kernel.MachineConfig{Account: acct, Hostname: "node-1", Root: root, Net: stack, Clock: ck, Rand: seed})
	b.store = image.NewStore(image.NewContent(image.ContentConfig{}))
	addImages(t, b.store)
	r, err := New(Config{Machine: machine, Images: b.store.NewLocal("lab"), Fabric: b.fabric, Disk: b.disk, Events: b.event, LogLimit: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	b.Runtime = r
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		machine.PowerOff()
		if err := acct.Close(); err != nil {
			t.Error(err)
		}
		if u := acct.Usage(); u.Memory != 0 || u.Processes != 0 {
			t.Errorf("left over: %+v", u)
		}
		if b.disk.used != 0 {
			t.Errorf("%d bytes of disk left charged", b.disk.used)
		}
	})
	return b
}

func addImages(t testing.TB, s *image.Store) {
	files := []image.File{
		{Path: "etc/passwd", Data: []byte("root:x:0:0::/root:/bin/sh\nann:x:7:8::/home/ann:/bin/sh\n")},
		{Path: "etc/group", Data: []byte("root:x:0:\nann:x:8:\nstaff:x:50:bob,ann\n")},
		{Path: "bin/plain", Data: []byte("no program"), Mode: 0o644}, {Path: "bin/script", Data: []byte("#!/bin/echo -n\n"), Mode: 0o755},
		{Path: "bin/text", Data: []byte("text"), Mode: 0o755}, {Path: "tmp", Dir: true, Mode: 0o1777},
	}
	for name := range programs {
		files = append(files, image.File{Path: "bin/" + name, Mode: 0o755, Data: []byte("\x00asm" + name)})
	}
	elf := []image.File{{Path: "hello", Mode: 0o755, Data: []byte("\x7fELF...")}}
	for name, r := range map[string]image.Recipe{
		"test": {Created: epoch, Config: image.Config{Entrypoint: []string{"echo"}, Cmd: []string{"from", "image"}, Env: []string{"A=image", "B=image"}, StopSignal: "SIGQUIT"}, Layers: [][]image.File{files}},
		"elf":  {Created: epoch, Platform: image.Platform{OS: "linux", Architecture: "amd64"}, Config: image.Config{Cmd: []string{"/hello"}}, Layers: [][]image.File{elf}},
		"user": {Created: epoch, Config: image.Config{Cmd: []string{"env"}, User: "ann", WorkingDir: "/work/dir"}, Layers: [][]image.File{files}},
	} {
		b, err := r.Assemble(image.Plain)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add("", b, name); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) event(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	b.news.Broadcast()
}

// await blocks until the event has come.
func (b *bench) await(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for _, x := range b.events {
			if x == e {
				return
			}
		}
		b.news.Wait()
	}
}

var ctx = context.Background()

func (b *bench) ok(errs ...error) {
	b.t.Helper()
	for _, err := range errs {
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) sandbox(spec SandboxSpec) string {
	b.t.Helper()
	if spec.Name == "" {
		spec.Name = "pod"
	}
	id, err := b.RunPodSandbox(ctx, spec)
	b.ok(err)
	return id
}

func (b *bench) create(box string, spec ContainerSpec) string {
	b.t.Helper()
	if spec.Image == "" {
		spec.Image = "test"
	}
	_, err := b.PullImage(ctx, spec.Image, nil)
	b.ok(err)
	id, err := b.CreateContainer(ctx, box, spec)
	b.ok(err)
	return id
}

// run runs a container to its end.
func (b *bench) run(spec ContainerSpec) (ContainerStatus, string) {
	b.t.Helper()
	box := b.sandbox(SandboxSpec{UID: "uid"})
	id := b.create(box, spec)
	b.ok(b.StartContainer(ctx, id))
	b.await(Event{EventExited, box, id})
	st, err := b.ContainerStatus(ctx, id)
	b.ok(err)
	return st, b.logs(id)
}

func (b *bench) logs(id string) string {
	b.t.Helper()
	var out bytes.Buffer
	b.ok(b.Logs(ctx, id, LogOptions{Tail: -1}, &out, &out))
	return out.String()
}

func TestRunToEnd(t *testing.T) {
	for _, row := range []struct {
		name   string
		spec   ContainerSpec
		code   int
		reason string
		log    string
	}{
		{"the image's command", ContainerSpec{}, 0, "Completed", "from image\n"},
		{"args replace the image's cmd", ContainerSpec{Args: []string{"a", "b"}}, 0, "Completed", "a b\n"},
		{"command drops the image's cmd", ContainerSpec{Command: []string{"echo", "x"}}, 0, "Completed", "x\n"},
		{"both streams and a code", ContainerSpec{Command: []string{"both"}}, 3, "Error", "out\nerr\n"},
		{"a trap", ContainerSpec{Command: []string{"/bin/trap"}}, 132, "Error", "wasm: unreachable executed\n"},
		{"a script", ContainerSpec{Command: []string{"script", "y"}}, 0, "Completed", "-n /bin/script y\n"},
		{"memory beyond the limit", ContainerSpec{Command: []string{"hog"}, Resources: Resources{MemoryMax: 8 << 20}}, 137, "OOMKilled", ""},
		{"no stdin", ContainerSpec{Command: []string{"cat"}}, 0, "Completed", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			st, log := newBench(t).run(row.spec)
			if st.ExitCode != row.code || st.Reason != row.reason || st.State != Exited || log != row.log {
				t.Errorf("%d %s %v %q, want %d %s %q", st.ExitCode, st.Reason, st.State, log, row.code, row.reason, row.log)
			}
		})
	}
}

func TestCannotStart(t *testing.T) {
	for _, row := range []struct {
		name, image string
		command     []string
		want, log   string
	}{
		{"an ELF file", "elf", nil, "exec /hello: exec format error", "exec /hello: exec format error\ndrydock: the image is for linux/amd64; the machines of a lab run wasi/wasm\n"},
		{"a text file", "test", []string{"text"}, "exec /bin/text: exec format error", ""},
		{"not in PATH", "test", []string{"nothing"}, `exec: "nothing": executable file not found in $PATH`, ""},
		{"no such path", "test", []string{"/no/thing"}, `exec: "/no/thing": stat /no/thing: no such file or directory`, ""},
		{"not executable", "test", []string{"/bin/plain"}, `exec: "/bin/plain": permission denied`, ""},
		{"a directory", "test", []string{"/bin"}, `exec: "/bin": is a directory`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t)
			id := b.create(b.sandbox(SandboxSpec{}), ContainerSpec{Image: row.image, Command: row.command})
			err := b.StartContainer(ctx, id)
			if err == nil || err.Error() != startPrefix+row.want+": unknown" {
				t.Errorf("got %v", err)
			}
			st, serr := b.ContainerStatus(ctx, id)
			b.ok(serr)
			if st.State != Exited || st.ExitCode != 128 || st.Reason != ReasonStart || st.Message != err.Error() {
				t.Errorf("%+v", st)
			}
			if want := row.log; want != "" && b.logs(id) != want {
				t.Errorf("log %q", b.logs(id))
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	five := int64(5)
	for _, row := range []struct {
		name string
		spec ContainerSpec
		want string
	}{
		{"defaults", ContainerSpec{Command: []string{"env"}, Env: []string{"B=spec", "C=spec"}},
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOSTNAME=pod\nHOME=/root\nA=image\nB=spec\nC=spec\ncwd / uid 0 gid 0 groups [] host pod pid 1\n"},
		{"the image's user and directory", ContainerSpec{Image: "user"},
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOSTNAME=pod\nHOME=/home/ann\ncwd /work/dir uid 7 gid 8 groups [50] host pod pid 1\n"},
		{"numbers", ContainerSpec{Image: "user", User: User{UID: &five, GID: &five, Groups: []int64{9}}, WorkingDir: "/tmp"},
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOSTNAME=pod\nHOME=/\ncwd /tmp uid 5 gid 5 groups [9] host pod pid 1\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, log := newBench(t).run(row.spec)
			if d := cmp.Diff(row.want, log); d != "" {
				t.Error(d)
			}
		})
	}
	b := newBench(t)
	_, err := b.PullImage(ctx, "user", nil)
	b.ok(err)
	_, err = b.CreateContainer(ctx, b.sandbox(SandboxSpec{}), ContainerSpec{Image: "user", User: User{Name: "zoe"}})
	if err == nil || !strings.Contains(err.Error(), "unable to find user zoe: no matching entries in passwd file") {
		t.Errorf("unknown user: %v", err)
	}
}

func TestStop(t *testing.T) {
	for _, row := range []struct {
		name, command, signal string
		grace, pass           time.Duration
		code                  int
		log                   string
	}{
		{"the image's signal", "serve", "", time.Minute, 0, 0, "ready\ngot 3\n"},
		{"the spec's signal", "serve", "TERM", time.Minute, 0, 0, "ready\ngot 15\n"},
		{"pid 1 that handles nothing is killed after the grace", "sleep", "", 30 * time.Second, 30 * time.Second, 137, ""},
		{"no grace", "sleep", "", 0, 0, 137, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t)
			box := b.sandbox(SandboxSpec{})
			id := b.create(box, ContainerSpec{Command: []string{row.command}, StopSignal: row.signal})
			b.ok(b.StartContainer(ctx, id))
			if row.command == "serve" {
				b.awaitLog(id, "ready\n")
			}
			done := make(chan error)
			go func() { done <- b.StopContainer(ctx, id, row.grace) }()
			if row.pass > 0 {
				ck := b.m.Clock().(*clock)
				for armed := false; !armed; {
					ck.mu.Lock()
					for tm := range ck.timers {
						armed = armed || tm.at.Equal(epoch.Add(row.grace))
					}
					ck.mu.Unlock()
				}
				ck.advance(row.pass)
			}
			b.ok(<-done)
			st, err := b.ContainerStatus(ctx, id)
			b.ok(err)
			if st.ExitCode != row.code || b.logs(id) != row.log || !st.FinishedAt.Equal(epoch.Add(row.pass)) {
				t.Errorf("%+v %q", st, b.logs(id))
			}
			b.ok(b.StopContainer(ctx, id, 0), b.RemoveContainer(ctx, id), b.RemoveContainer(ctx, id))
			if _, err := b.ContainerStatus(ctx, id); !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		})
	}
}

// awaitLog follows the log until it holds text.
func (b *bench) awaitLog(id, text string) {
	b.t.Helper()
	c, cancel := context.WithCancel(ctx)
	defer cancel()
	var seen bytes.Buffer
	err := b.Logs(c, id, LogOptions{Follow: true, Tail: -1}, writerFunc(func(p []byte) (int, error) {
		seen.Write(p)
		if strings.Contains(seen.String(), text) {
			return 0, io.ErrShortWrite
		}
		return len(p), nil
	}), nil)
	if !errors.Is(err, io.ErrShortWrite) {
		b.t.Fatalf("log ended with %q: %v", seen.String(), err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestMountsAndVolumes(t *testing.T) {
	b := newBench(t)
	b.ok(b.m.Root().MkdirAll("/srv", 0o755), b.m.Root().WriteFile("/srv/f", []byte("host"), 0o644))
	b.ok(b.WriteVolume(ctx, "uid", VolumeSpec{Name: "cfg", Projected: true, Files: []VolumeFile{{"key", 0o644, []byte("one")}}}))
	gid := int64(50)
	b.ok(b.WriteVolume(ctx, "uid", VolumeSpec{Name: "tmp", SizeLimit: 8192, GID: &gid}))
	mounts := []Mount{{Volume: "cfg", Target: "/etc/cfg"}, {Volume: "cfg", SubPath: "key", Target: "/etc/one"}, {Volume: "tmp", Target: "/data"}, {Volume: "tmp", SubPath: "sub", Target: "/data2"},
		{HostPath: "/srv", Target: "/host", ReadOnly: true}}
	st, log := b.run(ContainerSpec{Command: []string{"show", "/etc/cfg/key", "/etc/one", "/host/f", "/etc/hostname", "/etc/resolv.conf"}, Mounts: mounts, ReadOnlyRoot: true})
	want := "/etc/cfg/key: \"one\" <nil>\n/etc/one: \"one\" <nil>\n/host/f: \"host\" <nil>\n/etc/hostname: \"pod\\n\" <nil>\n/etc/resolv.conf: \"\" <nil>\n"
	if d := cmp.Diff(want, log); d != "" || st.ExitCode != 0 {
		t.Error(d)
	}
	b.ok(b.WriteVolume(ctx, "uid", VolumeSpec{Name: "cfg", Projected: true, Files: []VolumeFile{{"key", 0o644, []byte("two")}}}))
	for _, row := range []struct {
		name   string
		target string
		root   bool
		want   string
	}{
		{"read-only root", "/new", true, "read-only file system\n"},
		{"projected volume", "/etc/cfg/new", false, "read-only file system\n"},
		{"read-only host path", "/host/new", false, "read-only file system\n"},
		{"own volume", "/data/new", true, ""},
		{"sub path of it", "/data2/new", true, ""},
		{"beyond the size", "/data/big", true, "no space left on device\n"},
	} {
		text := "x"
		if row.want == "no space left on device\n" {
			text = strings.Repeat("x", 8192)
		}
		_, log := b.run(ContainerSpec{Command: []string{"write", row.target, text}, Mounts: mounts, ReadOnlyRoot: row.root})
		if log != row.want {
			t.Errorf("%s: %q, want %q", row.name, log, row.want)
		}
	}
	v, err := b.VolumeFiles("uid", "tmp")
	b.ok(err)
	if s, err := v.Stat(nil, "/sub/new"); err != nil || s.GID != 50 {
		t.Errorf("fsGroup: %+v %v", s, err)
	}
	_, log = b.run(ContainerSpec{Command: []string{"show", "/etc/cfg/key"}, Mounts: mounts})
	if log != "/etc/cfg/key: \"two\" <nil>\n" {
		t.Errorf("after the update: %q", log)
	}
	_, err = b.CreateContainer(ctx, b.sandbox(SandboxSpec{UID: "uid"}), ContainerSpec{Image: "test", Mounts: []Mount{{Volume: "tmp", SubPath: "../x", Target: "/x"}}})
	if err == nil || !strings.Contains(err.Error(), "must not contain '..'") {
		t.Error(err)
	}
	b.ok(b.RemoveVolumes(ctx, "uid"))
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	box := b.sandbox(SandboxSpec{})
	id := b.create(box, ContainerSpec{Command: []string{"both"}})
	b.ok(b.StartContainer(ctx, id))
	b.await(Event{EventExited, box, id})
	for _, row := range []struct {
		name string
		o    LogOptions
		want string
	}{
		{"all", LogOptions{Tail: -1}, "out\nerr\n"},
		{"tail", LogOptions{Tail: 1}, "err\n"},
		{"none", LogOptions{Tail: 0}, ""},
		{"limit", LogOptions{Tail: -1, Limit: 5}, "out\ne"},
		{"since later", LogOptions{Tail: -1, Since: epoch.Add(time.Second)}, ""},
		{"timestamps", LogOptions{Tail: 1, Timestamps: true}, "2026-01-01T00:00:00.000000000Z err\n"},
		{"follow what has ended", LogOptions{Tail: -1, Follow: true}, "out\nerr\n"},
	} {
		var out bytes.Buffer
		b.ok(b.Logs(ctx, id, row.o, &out, &out))
		if out.String() != row.want {
			t.Errorf("%s: %q, want %q", row.name, out.String(), row.want)
		}
	}
	var only bytes.Buffer
	b.ok(b.Logs(ctx, id, LogOptions{Tail: -1}, nil, &only))
	if only.String() != "err\n" {
		t.Errorf("stderr alone: %q", only.String())
	}
}

func TestLogIsBounded(t *testing.T) {
	b := newBench(t)
	st, log := b.run(ContainerSpec{Command: []string{"flood"}})
	if st.ExitCode != 0 || len(log) > 256<<10 || len(log) < 128<<10 || len(log)%100 != 0 {
		t.Errorf("exit %d, %d bytes of log kept of 500,000", st.ExitCode, len(log))
	}
	b.disk.limit = b.disk.used + 128<<10 // a full disk makes the log shorter and stops nobody
	st, log = b.run(ContainerSpec{Command: []string{"flood"}})
	if st.ExitCode != 0 || len(log) > 192<<10 || len(log) < 20<<10 {
		t.Errorf("on a full disk: exit %d, %d bytes kept", st.ExitCode, len(log))
	}
}

func TestExec(t *testing.T) {
	b := newBench(t)
	box := b.sandbox(SandboxSpec{})
	id := b.create(box, ContainerSpec{Command: []string{"sleep"}})
	if _, _, _, err := b.ExecSync(ctx, id, []string{"echo"}, 0); !errors.Is(err, ErrState) {
		t.Errorf("before the start: %v", err)
	}
	b.ok(b.StartContainer(ctx, id))
	out, errOut, code, err := b.ExecSync(ctx, id, []string{"both"}, time.Second)
	if string(out) != "out\n" || string(errOut) != "err\n" || code != 3 || err != nil {
		t.Errorf("%q %q %d %v", out, errOut, code, err)
	}
	var got bytes.Buffer
	code, err = b.Exec(ctx, id, []string{"cat"}, IO{Stdin: strings.NewReader(strings.Repeat("0123456789", 20000)), Stdout: &got})
	if got.Len() != 200000 || code != 0 || err != nil {
		t.Errorf("cat: %d bytes, %d %v", got.Len(), code, err)
	}
	out, _, _, err = b.ExecSync(ctx, id, []string{"flood"}, 0)
	if len(out) != 16<<10 || err != nil {
		t.Errorf("flood: %d %v", len(out), err)
	}
	_, _, _, err = b.ExecSync(ctx, id, []string{"nothing"}, 0)
	if want := fmt.Sprintf(`failed to exec in container: failed to start exec %q: OCI runtime exec failed: exec failed: unable to start container process: exec: "nothing": executable file not found in $PATH: unknown`, id[:12]); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	done := make(chan error)
	go func() {
		_, _, _, err := b.ExecSync(ctx, id, []string{"sleep"}, 5*time.Second)
		done <- err
	}()
	for len(b.m.Processes()) < 2 {
	}
	b.m.Clock().(*clock).advance(5 * time.Second)
	if err := <-done; !errors.Is(err, ErrTimeout) {
		t.Errorf("timeout: %v", err)
	}
	pr, pw := io.Pipe()
	go pw.Write([]byte("ann\n"))
	var screen bytes.Buffer
	code, err = b.Exec(ctx, id, []string{"ask"}, IO{Stdin: pr, Stdout: &screen, TTY: true})
	if code != 0 || err != nil || !strings.Contains(screen.String(), "name? ") || !strings.HasSuffix(screen.String(), "hello ann\r\n") {
		t.Errorf("tty: %d %v %q", code, err, screen.String())
	}
	pw.Close()
	if n := len(b.m.Processes()); n != 1 {
		t.Errorf("%d processes left", n)
	}
}

func TestAttach(t *testing.T) {
	for _, tty := range []bool{false, true} {
		b := newBench(t)
		box := b.sandbox(SandboxSpec{})
		id := b.create(box, ContainerSpec{Command: []string{"ask"}, Stdin: true, StdinOnce: true, TTY: tty})
		b.ok(b.StartContainer(ctx, id))
		pr, pw := io.Pipe()
		var screen bytes.Buffer
		done := make(chan error)
		go func() { done <- b.Attach(ctx, id, IO{Stdin: pr, Stdout: &screen, TTY: tty}) }()
		if _, err := pw.Write([]byte("ann\n")); err != nil {
			t.Fatal(err)
		}
		b.ok(<-done)
		pw.Close()
		b.await(Event{EventExited, box, id})
		if want := "hello ann"; !strings.Contains(screen.String(), want) || !strings.Contains(b.logs(id), want) {
			t.Errorf("tty %v: %q, log %q", tty, screen.String(), b.logs(id))
		}
		if err := b.Attach(ctx, id, IO{}); !errors.Is(err, ErrState) {
			t.Error(err)
		}
	}
}

func TestSandboxes(t *testing.T) {
	b := newBench(t)
	ip := netip.MustParseAddr("10.244.1.7")
	box := b.sandbox(SandboxSpec{Name: "web", Namespace: "default", IP: ip, DNS: DNS{Servers: []string{"10.96.0.10"}, Searches: []string{"a", "b"}, Options: []string{"ndots:5"}}, Hosts: []HostAlias{{"1.2.3.4", []string{"x", "y"}}}})
	if _, err := b.RunPodSandbox(ctx, SandboxSpec{Name: "other", IP: ip}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address twice: %v", err)
	}
	if _, err := b.RunPodSandbox(ctx, SandboxSpec{Name: "x", ShareProcesses: true, Sysctls: map[string]string{"kernel.x": "1"}}); err == nil || strings.Count(err.Error(), "not supported") != 2 {
		t.Errorf("what is not supported: %v", err)
	}
	id := b.create(box, ContainerSpec{Command: []string{"show", "/etc/resolv.conf", "/etc/hosts"}})
	b.ok(b.StartContainer(ctx, id))
	b.await(Event{EventExited, box, id})
	log := b.logs(id)
	for _, want := range []string{`search a b\nnameserver 10.96.0.10\noptions ndots:5\n`, `10.244.1.7\tweb\n`, `1.2.3.4\tx\ty\n`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	s, err := b.Runtime.sandbox(box)
	b.ok(err)
	l, err := s.net.Listen(netip.MustParseAddrPort("0.0.0.0:80"))
	b.ok(err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) { io.WriteString(c, "hi"); c.Close() }(c)
		}
	}()
	for _, addr := range []netip.Addr{ip, {}} {
		c, err := b.Dial(ctx, box, addr, 80)
		b.ok(err)
		if got, err := io.ReadAll(c); string(got) != "hi" || err != nil {
			t.Errorf("dial %v: %q %v", addr, got, err)
		}
		c.Close()
	}
	running := b.create(box, ContainerSpec{Command: []string{"sleep"}})
	b.ok(b.StartContainer(ctx, running), b.StopPodSandbox(ctx, box), b.StopPodSandbox(ctx, box))
	if st, err := b.ContainerStatus(ctx, running); err != nil || st.State != Exited || st.ExitCode != 137 {
		t.Errorf("%+v %v", st, err)
	}
	if _, err := b.CreateContainer(ctx, box, ContainerSpec{Image: "test"}); !errors.Is(err, ErrState) {
		t.Errorf("create in a stopped sandbox: %v", err)
	}
	b.sandbox(SandboxSpec{Name: "other", IP: ip}) // the address is free again
	b.ok(b.RemovePodSandbox(ctx, box), b.RemovePodSandbox(ctx, box))
	if len(b.ListContainers("")) != 0 || len(b.ListSandboxes()) != 1 {
		t.Errorf("%v %v", b.ListContainers(""), b.ListSandboxes())
	}
	l.Close()
}

func TestTerminationMessage(t *testing.T) {
	b := newBench(t)
	st, _ := b.run(ContainerSpec{Command: []string{"write", "/dev/termination-log", "last words"}, TerminationLog: "/dev/termination-log"})
	if st.Message != "last words" {
		t.Errorf("%q", st.Message)
	}
	st, _ = b.run(ContainerSpec{Command: []string{"both"}, TerminationLog: "/dev/termination-log", TerminationFallsBackToLog: true})
	if st.Message != "out\nerr\n" {
		t.Errorf("%q", st.Message)
	}
}

func TestImages(t *testing.T) {
	b := newBench(t)
	_, err := b.PullImage(ctx, "tesst:1", nil)
	var pull *PullError
	if !errors.As(err, &pull) || !pull.Missing || !strings.HasPrefix(err.Error(), `failed to pull and unpack image "docker.io/library/tesst:1": failed to resolve image: docker.io/library/tesst:1: not found: "tesst" is not in this lab's catalogue (did you mean "test"?)`) {
		t.Errorf("%v", err)
	}
	if _, err := b.PullImage(ctx, "Bad Name", nil); !errors.As(err, &pull) || !pull.Invalid {
		t.Errorf("%v", err)
	}
	e, err := b.PullImage(ctx, "test", nil)
	if err != nil || cmp.Diff([]string{"docker.io/library/test:latest"}, e.Tags) != "" {
		t.Errorf("%v %v", e.Tags, err)
	}
	id := b.create(b.sandbox(SandboxSpec{}), ContainerSpec{})
	if err := b.RemoveImage(ctx, "test"); !errors.Is(err, ErrState) {
		t.Errorf("an image in use: %v", err)
	}
	b.ok(b.RemoveContainer(ctx, id), b.RemoveImage(ctx, "test"), b.RemoveImage(ctx, "test"))
	if _, ok := b.ImageStatus("test"); ok {
		t.Error("still there")
	}
	if _, err := b.CreateContainer(ctx, b.sandbox(SandboxSpec{}), ContainerSpec{Image: "test"}); !errors.Is(err, image.ErrNotPresent) {
		t.Error(err)
	}
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			box := b.sandbox(SandboxSpec{Name: fmt.Sprint("pod-", i), IP: netip.AddrFrom4([4]byte{10, 244, 1, byte(i + 1)})})
			for k, cmd := range []string{"serve", "flood", "sleep"} {
				id := b.create(box, ContainerSpec{Name: fmt.Sprint(k), Command: []string{cmd}})
				b.ok(b.StartContainer(ctx, id))
				b.ExecSync(ctx, id, []string{"echo", "x"}, 0)
				go b.Logs(ctx, id, LogOptions{Follow: true, Tail: -1}, io.Discard, io.Discard)
				b.ListContainers("")
				if cmd == "flood" {
					b.await(Event{EventExited, box, id})
				}
			}
			b.ok(b.RemovePodSandbox(ctx, box))
		})
	}
	wg.Wait()
}

func BenchmarkContainer(b *testing.B) {
	x := newBench(b)
	_, err := x.PullImage(ctx, "test", nil)
	x.ok(err)
	for b.Loop() {
		box := x.sandbox(SandboxSpec{Name: "p", IP: netip.MustParseAddr("10.244.1.7")})
		id := x.create(box, ContainerSpec{})
		x.ok(x.StartContainer(ctx, id))
		x.await(Event{EventExited, box, id})
		x.ok(x.RemovePodSandbox(ctx, box))
		x.mu.Lock()
		x.events = nil
		x.mu.Unlock()
	}
}

// BenchmarkIdle is what a sandbox with one container costs the heap while nothing runs in it.
func BenchmarkIdle(b *testing.B) {
	x := newBench(b)
	_, err := x.PullImage(ctx, "test", nil)
	x.ok(err)
	const n = 200
	for b.Loop() {
		var before, after stdruntime.MemStats
		stdruntime.GC()
		stdruntime.ReadMemStats(&before)
		var boxes []string
		for range n {
			boxes = append(boxes, x.sandbox(SandboxSpec{Name: "p"}))
			x.create(boxes[len(boxes)-1], ContainerSpec{})
		}
		stdruntime.GC()
		stdruntime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heapB/pod")
		for _, id := range boxes {
			x.ok(x.RemovePodSandbox(ctx, id))
		}
	}
}
