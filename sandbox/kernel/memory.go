package kernel

import (
	"fmt"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// memCharge pays for buffers that belong to no process. A nil one pays nothing.
type memCharge struct{ c *Cgroup }

func (m *memCharge) add(delta int64) error {
	if m == nil || delta == 0 {
		return nil
	}
	if _, ok := m.c.tryCharge(delta); !ok {
		return syscall.ENOMEM
	}
	return nil
}

// Charge is vfs.Charger and network's: a tmpfs or a socket's buffers.
func (m *memCharge) Charge(delta int64) error {
	if m.add(delta) != nil {
		return syscall.ENOSPC
	}
	return nil
}

// Charger charges what it is told to c's memory: for tmpfs mounts and sockets. Beyond memory.max it answers ENOSPC and kills nobody.
func (c *Cgroup) Charger() vfs.Charger { return &memCharge{c} }

// shortage says what has no room: a cgroup, or (nil) the account.
type shortage struct{ cgroup *Cgroup }

// tryCharge adds delta to c and all above it, or nothing.
func (c *Cgroup) tryCharge(delta int64) (shortage, bool) {
	a := c.acct
	a.mu.Lock()
	defer a.mu.Unlock()
	if delta > 0 {
		for g := c; g != nil; g = g.parent {
			if l := g.Limits().MemoryMax; l > 0 && g.memory.Load()+delta > l {
				g.maxEvents.Add(1)
				return shortage{g}, false
			}
		}
		if l := a.limits.MemoryBytes; l > 0 && a.memory+delta > l {
			return shortage{}, false
		}
	}
	for g := c; g != nil; g = g.parent {
		n := g.memory.Add(delta)
		if n > g.peak.Load() {
			g.peak.Store(n)
		}
	}
	a.memory += delta
	a.peak = max(a.peak, a.memory)
	return shortage{}, true
}

// Grow charges delta bytes of linear memory to p (wasm.Guest). When there is no room the OOM killer looks for a victim: if it is another
// process, p waits for its end.
func (p *Process) Grow(delta int64) bool {
	if l := (*p.limits.Load())[RLIMIT_AS]; delta > 0 && uint64(p.mem.Load()+delta) > l.Soft {
		return false // RLIMIT_AS: memory.grow answers −1, nobody is killed
	}
	for {
		short, ok := p.cgroup.tryCharge(delta)
		if ok {
			n := p.mem.Add(delta)
			if n > p.memPeak.Load() {
				p.memPeak.Store(n)
			}
			return true
		}
		victim := p.m.outOfMemory(short, p)
		if victim == nil || victim == p {
			return false
		}
		err := p.Block(func() bool { return victim.exited() }, victim)
		if err != nil && err != syscall.EINTR {
			return false
		}
	}
}

// outOfMemory kills for s: in a cgroup the process with most memory, for the account the one of the cgroup that is furthest over its request.
func (m *Machine) outOfMemory(s shortage, by *Process) *Process {
	var victim *Process
	if s.cgroup != nil {
		victim = s.cgroup.largest(by)
		for g := s.cgroup; g != nil; g = g.parent {
			g.oomEvents.Add(1)
		}
	} else {
		victim = m.acct.furthestOver(by)
	}
	if victim == nil {
		return nil
	}
	victim.oomKill(s)
	return victim
}

// largest is the process in c or below with most private memory, by itself on a tie; one that is dying already is as good as any.
func (c *Cgroup) largest(by *Process) *Process {
	var best *Process
	c.each(func(p *Process) {
		if best == nil || p.mem.Load() > best.mem.Load() || p.mem.Load() == best.mem.Load() && p == by {
			best = p
		}
	})
	return best
}

func (c *Cgroup) each(f func(*Process)) {
	for _, p := range c.Processes() {
		f(p)
	}
	for _, d := range c.Children() {
		d.each(f)
	}
}

// furthestOver is the largest process of the cgroup with most memory beyond its request.
func (a *Account) furthestOver(by *Process) *Process {
	a.mu.Lock()
	roots := make([]*Cgroup, 0, len(a.machines))
	for m := range a.machines {
		roots = append(roots, m.cgroup)
	}
	a.mu.Unlock()
	var best *Process
	var most int64
	var visit func(*Cgroup)
	visit = func(c *Cgroup) {
		own := int64(0)
		for _, p := range c.Processes() {
			own += p.mem.Load()
		}
		if own > 0 {
			over := own - c.Limits().MemoryRequest
			if p := c.largestHere(by); p != nil && (best == nil || over > most) {
				best, most = p, over
			}
		}
		for _, d := range c.Children() {
			visit(d)
		}
	}
	for _, r := range roots {
		visit(r)
	}
	if best == nil {
		best = by
	}
	return best
}

func (c *Cgroup) largestHere(by *Process) *Process {
	var best *Process
	for _, p := range c.Processes() {
		if best == nil || p.mem.Load() > best.mem.Load() || p.mem.Load() == best.mem.Load() && p == by {
			best = p
		}
	}
	return best
}

// oomKill marks the process (or with memory.oom.group its cgroup) killed and tells.
func (p *Process) oomKill(s shortage) {
	if p.attention.Load()&attKilled != 0 {
		return
	}
	victims := []*Process{p}
	if p.cgroup.Limits().OOMGroup {
		victims = p.cgroup.Processes()
	}
	why := "account"
	if s.cgroup != nil {
		why = s.cgroup.Path()
	}
	for _, v := range victims {
		v.m.mu.Lock()
		fresh := !v.ended && v.attention.Load()&attKilled == 0
		if fresh {
			v.oom = true
			v.killLocked(SIGKILL)
		}
		v.m.mu.Unlock()
		if !fresh {
			continue
		}
		v.m.Log(3, fmt.Sprintf("oom-kill: constraint=%s task_memcg=%s task=%s pid=%d anon-rss:%dkB", why, v.cgroup.Path(), v.Comm(), v.rootPID(), v.mem.Load()>>10))
		for g := v.cgroup; g != nil; g = g.parent {
			g.oomKills.Add(1)
			g.mu.Lock()
			fs := g.onOOM[:len(g.onOOM):len(g.onOOM)]
			g.mu.Unlock()
			for _, f := range fs {
				f(v)
			}
		}
	}
}
