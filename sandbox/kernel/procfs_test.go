package kernel

import (
	"context"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// look reads a file as p sees it.
func look(t *testing.T, p *Process, name string) string {
	t.Helper()
	f, err := p.View().Open(nil, name, vfs.O_RDONLY, 0)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return string(b)
}

func TestProc(t *testing.T) {
	l := newLab(t, Limits{MemoryBytes: 32 * mib})
	c, _ := l.Cgroup().Child("pod", CgroupLimits{MemoryMax: 8 * mib, CPUWeight: 50})
	l.install("look", func(ctx context.Context, p *Process) error {
		if !p.Grow(3 * mib) {
			t.Error("no memory")
		}
		for _, x := range []struct{ file, want string }{
			{"/proc/self/stat", "2 (look) R 1 2 2 0 -1 "},
			{"/proc/self/status", "VmRSS:\t    3072 kB\n"},
			{"/proc/self/status", "PPid:\t1\n"},
			{"/proc/self/cgroup", "0::/pod\n"},
			{"/proc/self/mountinfo", " 0:"},
			{"/proc/1/comm", "init\n"},
			{"/proc/1/stat", "1 (init) S 0 1 1 0 -1 "},
			{"/proc/meminfo", "MemFree:           62464 kB\n"},
			{"/proc/sys/kernel/pid_max", "32768\n"},
			{"/proc/stat", "\nprocesses 1\n"},
			{"/sys/fs/cgroup/pod/memory.current", "3145728\n"},
			{"/sys/fs/cgroup/pod/memory.max", "8388608\n"},
			{"/sys/fs/cgroup/pod/cpu.max", "max 100000\n"},
			{"/sys/fs/cgroup/pod/cpu.weight", "50\n"},
			{"/sys/fs/cgroup/pod/cgroup.procs", "2\n"},
			{"/sys/fs/cgroup/pod/pids.current", "1\n"},
		} {
			if got := look(t, p, x.file); !strings.Contains(got, x.want) {
				t.Errorf("%s: %q lacks %q", x.file, got, x.want)
			}
		}
		if got, err := p.View().Readlink(nil, "/proc/self"); got != "2" || err != nil {
			t.Errorf("/proc/self: %q %v", got, err)
		}
		n, err := p.OpenFile(-1, "/proc/self/fd/1", vfs.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = p.Write(n, []byte("through /proc"))
		return err
	})
	r, w := NewPipe()
	s := spec("look")
	s.Cgroup, s.Files = c, []*FD{nil, w}
	p := l.start(s)
	w.Close()
	b, _ := io.ReadAll(r.Reader(context.Background()))
	if string(b) != "through /proc" {
		t.Errorf("wrote %q", b)
	}
	<-p.Done()
	if st := p.Status(); st != 0 {
		t.Errorf("status %#x", st)
	}
}

func TestProcOfAContainer(t *testing.T) {
	l := newLab(t, Limits{MemoryBytes: 32 * mib})
	l.install("pause", pause)
	l.start(spec("pause"))
	pods, _ := l.Cgroup().Child("kubepods", CgroupLimits{})
	c, _ := pods.Child("ctr", CgroupLimits{MemoryMax: 4 * mib})
	ns := NewPIDNamespace(l.PIDNS())
	v := *l.Root()
	v.Unshare()
	for _, m := range []struct {
		dir string
		fs  vfs.FS
	}{{"/proc", l.ProcFS(ns)}, {"/sys", l.SysFS()}, {"/dev/pts", l.PtsFS()}} {
		if err := v.NS.Mount(m.dir, m.fs, 0); err != nil {
			t.Fatal(err)
		}
	}
	l.install("look", func(_ context.Context, p *Process) error {
		for _, x := range []struct{ file, want string }{
			{"/proc/1/comm", "look\n"},
			{"/proc/1/stat", "1 (look) R 0 1 1 "},
			{"/proc/self/cgroup", "0::/\n"},
			{"/sys/fs/cgroup/memory.max", "4194304\n"},
			{"/sys/fs/cgroup/cgroup.procs", "1\n"},
		} {
			if got := look(t, p, x.file); !strings.HasPrefix(got, x.want) {
				t.Errorf("%s: %q, want %q", x.file, got, x.want)
			}
		}
		if _, err := p.View().Stat(nil, "/proc/2"); err != syscall.ENOENT {
			t.Errorf("a process outside: %v, want ENOENT", err)
		}
		if _, _, err := p.OpenPTY(); err != nil {
			return err
		}
		if _, err := p.View().Stat(nil, "/dev/pts/0"); err != nil {
			t.Errorf("its own terminal: %v", err)
		}
		return nil
	})
	s := spec("look")
	s.View, s.PIDNS, s.Cgroup = &v, ns, c
	p := l.start(s)
	<-p.Done()
	if st := p.Status(); st != 0 {
		t.Errorf("status %#x", st)
	}
}

func TestOthersMayNotLookInside(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	secret := spec("pause")
	secret.Env = []string{"TOKEN=x"}
	l.start(secret)
	l.install("look", func(_ context.Context, p *Process) error {
		if _, err := p.View().Open(nil, "/proc/2/environ", vfs.O_RDONLY, 0); err != syscall.EACCES {
			t.Errorf("environ of root's process: %v, want EACCES", err)
		}
		if _, err := p.View().Readlink(nil, "/proc/2/cwd"); err != syscall.EACCES {
			t.Errorf("its working directory: %v, want EACCES", err)
		}
		if err := p.Kill(2, SIGTERM); err != syscall.EPERM {
			t.Errorf("kill: %v, want EPERM", err)
		}
		return nil
	})
	s := spec("look")
	s.Cred = &vfs.Cred{UID: 1000, GID: 1000}
	<-l.start(s).Done()
}
