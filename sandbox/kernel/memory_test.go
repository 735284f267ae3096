package kernel

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// eater takes n bytes and keeps them; more takes over from then on.
func eater(n int64, more program) program {
	return func(ctx context.Context, p *Process) error {
		if !p.Grow(n) {
			return p.admit()
		}
		if more == nil {
			more = pause
		}
		return more(ctx, p)
	}
}

const mib = 1 << 20

func TestMemoryMax(t *testing.T) {
	l := newLab(t, Limits{})
	c, err := l.Cgroup().Child("pod", CgroupLimits{MemoryMax: 10 * mib})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	l.Cgroup().OnOOM(func(p *Process) { told = append(told, p.Comm()) })
	l.install("small", eater(2*mib, nil))
	l.install("big", eater(7*mib, func(ctx context.Context, p *Process) error {
		if p.Grow(2 * mib) {
			t.Error("grew beyond memory.max")
		}
		return p.admit()
	}))
	s := spec("small")
	s.Cgroup = c
	small := l.start(s)
	until(t, "memory", func() bool { return c.Stat().MemoryCurrent == 2*mib })
	s = spec("big")
	s.Cgroup = c
	big := l.start(s)
	<-big.Done()
	if got := big.Status().ExitCode(); got != 137 || !big.OOMKilled() {
		t.Errorf("exit code %d, OOM killed %v; want 137, true", got, big.OOMKilled())
	}
	if small.exited() {
		t.Error("the smaller one died too")
	}
	st := c.Stat()
	if st.MemoryCurrent != 2*mib || st.MemoryPeak != 9*mib || st.OOMKill != 1 || st.OOM != 1 {
		t.Errorf("%+v", st)
	}
	if got := strings.Join(told, " "); got != "big" {
		t.Errorf("OnOOM was told of %q", got)
	}
	if log := string(l.kmsg()); !strings.Contains(log, "oom-kill: constraint=/pod task_memcg=/pod task=big pid=3 anon-rss:7168kB") {
		t.Errorf("kernel log: %s", log)
	}
}

func TestOOMKillsTheLargestAndGoesOn(t *testing.T) {
	l := newLab(t, Limits{})
	c, _ := l.Cgroup().Child("pod", CgroupLimits{MemoryMax: 10 * mib})
	l.install("big", eater(8*mib, nil))
	l.install("small", eater(4*mib, func(context.Context, *Process) error { return exit(0) }))
	s := spec("big")
	s.Cgroup = c
	big := l.start(s)
	until(t, "memory", func() bool { return c.Stat().MemoryCurrent == 8*mib })
	s = spec("small")
	s.Cgroup = c
	small := l.start(s)
	<-small.Done()
	if !big.OOMKilled() || small.Status() != 0 {
		t.Errorf("big killed: %v; small's status %#x, want 0: it waited for the room", big.OOMKilled(), small.Status())
	}
}

func TestOOMGroup(t *testing.T) {
	l := newLab(t, Limits{})
	c, _ := l.Cgroup().Child("pod", CgroupLimits{MemoryMax: 10 * mib, OOMGroup: true})
	l.install("pause", pause)
	l.install("big", eater(20*mib, nil))
	s := spec("pause")
	s.Cgroup = c
	other := l.start(s)
	s = spec("big")
	s.Cgroup = c
	big := l.start(s)
	<-big.Done()
	<-other.Done()
	if !other.OOMKilled() || other.Status().ExitCode() != 137 {
		t.Errorf("the neighbour in the cgroup: %v, %d", other.OOMKilled(), other.Status().ExitCode())
	}
}

func TestAccountLimitKillsWhoIsFurthestOverItsRequest(t *testing.T) {
	l := newLab(t, Limits{MemoryBytes: 20 * mib})
	polite, _ := l.Cgroup().Child("polite", CgroupLimits{MemoryRequest: 12 * mib})
	greedy, _ := l.Cgroup().Child("greedy", CgroupLimits{MemoryRequest: 1 * mib})
	l.install("twelve", eater(12*mib, nil))
	l.install("six", eater(6*mib, nil))
	s := spec("twelve")
	s.Cgroup = polite
	a := l.start(s)
	s = spec("six")
	s.Cgroup = greedy
	b := l.start(s)
	until(t, "memory", func() bool { return l.acct.Usage().Memory == 18*mib })
	l.install("three", eater(3*mib, func(context.Context, *Process) error { return nil }))
	c := l.start(spec("three"))
	<-c.Done()
	<-b.Done()
	if !b.OOMKilled() || a.exited() || c.Status() != 0 {
		t.Errorf("greedy killed %v, polite gone %v, newcomer's status %#x", b.OOMKilled(), a.exited(), c.Status())
	}
}

func TestTmpfsIsCharged(t *testing.T) {
	l := newLab(t, Limits{})
	c, _ := l.Cgroup().Child("pod", CgroupLimits{MemoryMax: 64 << 10})
	fs := vfs.NewTmpfs(vfs.TmpfsOptions{Charger: c.Charger()})
	v := vfs.NewNamespace(fs).View(vfs.Root)
	if err := v.WriteFile("/small", make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.Stat().MemoryCurrent; got < 8192 || got > 16384 {
		t.Errorf("memory.current %d after a file of 8192", got)
	}
	if err := v.WriteFile("/big", make([]byte, 128<<10), 0o600); err != syscall.ENOSPC {
		t.Errorf("a file beyond memory.max: %v, want ENOSPC", err)
	}
}
