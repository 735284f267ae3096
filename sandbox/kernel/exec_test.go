package kernel

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

func TestExecKeepsWhatItShould(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("second", func(_ context.Context, p *Process) error {
		if got := p.FDs(); len(got) != 3 || got[0] != 1 || got[1] != rootFD || got[2] != 6 {
			t.Errorf("descriptors after exec: %v, want 1, 3 and 6", got)
		}
		if got := p.Action(SIGINT); got != ModeDefault {
			t.Errorf("a caught signal is %d after exec, want default", got)
		}
		if got := p.Action(SIGHUP); got != ModeIgnored {
			t.Errorf("an ignored signal is %d after exec", got)
		}
		if p.Comm() != "second" || p.Path() != "/bin/second" || p.mem.Load() != 0 {
			t.Errorf("%s %s %d", p.Comm(), p.Path(), p.mem.Load())
		}
		return exit(9)
	})
	l.install("first", func(ctx context.Context, p *Process) error {
		p.SetAction(SIGINT, ModeCaught)
		p.SetAction(SIGHUP, ModeIgnored)
		p.Grow(mib)
		p.Pipe()
		if n, err := p.DupFD(4, 0); n != 6 || err != nil {
			t.Errorf("dup: %d %v", n, err)
		}
		if err := p.Exec(ctx, "/bin/none", nil, nil); err != syscall.ENOENT {
			t.Errorf("exec of nothing: %v", err)
		}
		return p.Exec(ctx, "/bin/second", []string{"second"}, nil)
	})
	s := spec("first")
	_, w := NewPipe()
	s.Files = []*FD{nil, w}
	p := l.start(s)
	pid := p.PID(nil)
	<-p.Done()
	if p.Status().ExitCode() != 9 || p.PID(nil) != pid {
		t.Errorf("code %d", p.Status().ExitCode())
	}
}

func TestRlimits(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	st := l.do(func(ctx context.Context, p *Process) error {
		p.SetRlimit(RLIMIT_AS, Rlimit{Soft: mib, Hard: RLIM_INFINITY})
		if p.Grow(2 * mib) {
			t.Error("grew beyond RLIMIT_AS")
		}
		s := spec("pause")
		s.Cred = &vfs.Cred{UID: 5, GID: 5}
		s.Limits = map[int]Rlimit{RLIMIT_NPROC: {Soft: 2, Hard: 2}}
		for i := range 3 {
			if _, err := p.Spawn(ctx, s); i < 2 && err != nil || i == 2 && err != syscall.EAGAIN {
				t.Errorf("process %d of a user with RLIMIT_NPROC 2: %v", i+1, err)
			}
		}
		return nil
	})
	if st != 0 {
		t.Errorf("status %#x", st)
	}
}

// TestNodesOfAnOverlay opens a FIFO and a socket of an overlay twice: both openings must find the same thing behind the name.
func TestNodesOfAnOverlay(t *testing.T) {
	l := newLab(t, Limits{})
	v := vfs.NewNamespace(vfs.NewOverlay(nil, vfs.NewTmpfs(vfs.TmpfsOptions{}))).View(vfs.Root)
	if err := v.MkdirAll("/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	clock := newManualClock()
	fabric := network.NewFabric(network.Config{Clock: clock, Rand: strings.NewReader(strings.Repeat("random", 100))})
	m := l.host.NewMachine(MachineConfig{Account: l.acct, Root: v, Net: fabric.NewStack("box"), Fabric: fabric, Clock: clock})
	l.install("both", func(_ context.Context, p *Process) error {
		if err := p.View().Mknod(nil, "/fifo", vfs.ModeFIFO|0o600, 0); err != nil {
			return err
		}
		r, err := p.OpenFile(-1, "/fifo", vfs.O_RDONLY|vfs.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		w, err := p.OpenFile(-1, "/fifo", vfs.O_WRONLY|vfs.O_NONBLOCK, 0)
		if err != nil {
			t.Errorf("the writer does not find the reader: %v", err)
			return nil
		}
		p.Write(w, []byte("x"))
		if n, err := p.Read(r, make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("read: %d %v", n, err)
		}
		s, _ := p.NewSocket(FamilyUnix, false)
		if err := p.Bind(s, SockAddr{Path: "/sock"}); err != nil {
			return err
		}
		if err := p.Bind(s, SockAddr{Path: "/sock2"}); err != syscall.EINVAL {
			t.Errorf("second bind: %v, want EINVAL", err)
		}
		c, _ := p.NewSocket(FamilyUnix, false)
		if err := p.Connect(c, SockAddr{Path: "/sock"}); err != syscall.ECONNREFUSED {
			t.Errorf("connect before listen: %v, want ECONNREFUSED", err)
		}
		if err := p.Listen(s, 1); err != nil {
			return err
		}
		if err := p.Connect(c, SockAddr{Path: "/sock"}); err != nil {
			t.Errorf("connect: %v", err)
		}
		if _, err := p.Accept(s, false); err != nil {
			t.Errorf("accept: %v", err)
		}
		p.CloseFD(s)
		c2, _ := p.NewSocket(FamilyUnix, false)
		if err := p.Connect(c2, SockAddr{Path: "/sock"}); err != syscall.ECONNREFUSED {
			t.Errorf("connect after close: %v, want ECONNREFUSED", err)
		}
		return nil
	})
	if err := v.WriteFile("/bin/both", []byte("both"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := m.Spawn(spec("both"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if st := p.Status(); st != 0 {
		t.Errorf("status %#x", st)
	}
}
