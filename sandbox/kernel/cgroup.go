package kernel

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// CgroupLimits are the limits of a cgroup, with cgroup v2's meanings. Zero means no limit (for CPUWeight: 100).
type CgroupLimits struct {
	MemoryMax     int64         // bytes; beyond: OOM kill
	MemoryRequest int64         // bytes it is entitled to: who is furthest beyond goes first when the account is full
	OOMGroup      bool          // memory.oom.group: an OOM kill takes all processes of the cgroup
	CPUMaxQuota   time.Duration // CPU time per CPUPeriod
	CPUPeriod     time.Duration // 0 = 100 ms
	CPUWeight     int64         // 1 to 10000
	PidsMax       int64
}

// Cgroup is a control group (cgroups(7), version 2). The tree hangs below a machine's root cgroup, whose parent in memory and CPU is the Account.
type Cgroup struct {
	acct   *Account // immutable
	m      *Machine // immutable
	parent *Cgroup  // immutable; nil for a machine's root
	name   string   // immutable
	sched  entity   // guarded by the scheduler
	bw     bandwidth

	user, system atomic.Int64 // fuel
	memory       atomic.Int64 // changed with acct.mu held
	peak         atomic.Int64
	pids         atomic.Int64 // changed with acct.mu held
	oomEvents    atomic.Int64
	oomKills     atomic.Int64
	maxEvents    atomic.Int64 // memory.events max
	pidsEvents   atomic.Int64

	mu       sync.Mutex
	limits   CgroupLimits       // guarded by mu
	children map[string]*Cgroup // guarded by mu
	procs    map[*Process]bool  // guarded by mu
	onOOM    []func(*Process)   // guarded by mu
	closed   bool               // guarded by mu
	frozen   bool               // guarded by mu
}

func newCgroup(m *Machine, parent *Cgroup, name string, l CgroupLimits) *Cgroup {
	c := &Cgroup{acct: m.acct, m: m, parent: parent, name: name, children: map[string]*Cgroup{}, procs: map[*Process]bool{}}
	c.bw.clock = m.clock
	above := &m.acct.sched
	if parent != nil {
		above = &parent.sched
	}
	c.sched.init(above, weightUnit, groupCredit)
	c.SetLimits(l)
	return c
}

// Child makes a cgroup below c. EEXIST; ENOENT when c is closed.
func (c *Cgroup) Child(name string, l CgroupLimits) (*Cgroup, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, syscall.ENOENT
	}
	if c.children[name] != nil {
		return nil, syscall.EEXIST
	}
	d := newCgroup(c.m, c, name, l)
	c.children[name] = d
	return d, nil
}

// Close removes an empty cgroup: EBUSY with processes or children in it. What it is still charged with (files of a tmpfs) stays charged to
// its parents until it is released. Closing twice is fine.
func (c *Cgroup) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	if len(c.procs) > 0 || len(c.children) > 0 {
		c.mu.Unlock()
		return syscall.EBUSY
	}
	c.closed = true
	c.mu.Unlock()
	c.bw.close()
	if p := c.parent; p != nil {
		p.mu.Lock()
		delete(p.children, c.name)
		p.mu.Unlock()
	}
	return nil
}

// SetLimits replaces the limits.
func (c *Cgroup) SetLimits(l CgroupLimits) {
	c.mu.Lock()
	c.limits = l
	c.mu.Unlock()
	w := l.CPUWeight
	if w == 0 {
		w = weightUnit
	}
	c.acct.host.sched.setWeight(&c.sched, min(max(w, 1), 10000))
	c.bw.set(l.CPUMaxQuota, l.CPUPeriod)
}

// Freeze has the processes of c and below run no further, or run on (cgroup-v2, "cgroup.freeze"). One that waits in the kernel stands at its return. They
// can be killed meanwhile.
func (c *Cgroup) Freeze(on bool) {
	c.mu.Lock()
	c.frozen = on
	for p := range c.procs {
		if on {
			p.attention.Or(attFrozen)
			continue
		}
		p.attention.And(^uint32(attFrozen))
		p.kick()
	}
	c.mu.Unlock()
	for _, d := range c.Children() {
		d.Freeze(on)
	}
}

// Limits are those in force.
func (c *Cgroup) Limits() CgroupLimits {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits
}

// Name is the last part of Path.
func (c *Cgroup) Name() string { return c.name }

// Path is where it is below /sys/fs/cgroup, "/" for a machine's root.
func (c *Cgroup) Path() string {
	if c.parent == nil {
		return "/"
	}
	if c.parent.parent == nil {
		return "/" + c.name
	}
	return c.parent.Path() + "/" + c.name
}

// OnOOM has f called at each process that is killed for want of memory in c or below, after it was marked. f must not block.
func (c *Cgroup) OnOOM(f func(*Process)) {
	c.mu.Lock()
	c.onOOM = append(c.onOOM, f)
	c.mu.Unlock()
}

// CgroupStat is what the files of a cgroup tell.
type CgroupStat struct {
	MemoryCurrent, MemoryPeak        int64
	OOM, OOMKill, MemoryMaxEvents    int64
	UserUsec, SystemUsec             int64
	Periods, Throttled, ThrottleUsec int64
	Pids, PidsEvents                 int64
}

// UsageUsec is user and system time.
func (s CgroupStat) UsageUsec() int64 { return s.UserUsec + s.SystemUsec }

// Stat reads the counters.
func (c *Cgroup) Stat() CgroupStat {
	s := CgroupStat{
		MemoryCurrent: c.memory.Load(), MemoryPeak: c.peak.Load(),
		OOM: c.oomEvents.Load(), OOMKill: c.oomKills.Load(), MemoryMaxEvents: c.maxEvents.Load(),
		UserUsec: fuelUsec(c.user.Load()), SystemUsec: fuelUsec(c.system.Load()),
		Pids: c.pids.Load(), PidsEvents: c.pidsEvents.Load(),
	}
	c.bw.mu.Lock()
	s.Periods, s.Throttled, s.ThrottleUsec = c.bw.periods, c.bw.throttled, c.bw.throttle.Microseconds()
	if !c.bw.since.IsZero() {
		s.ThrottleUsec += c.bw.clock.Now().Sub(c.bw.since).Microseconds()
	}
	c.bw.mu.Unlock()
	return s
}

func fuelUsec(f int64) int64 { return f / (wasm.FuelPerSecond / 1_000_000) }

// fuelTime is fuel as CPU time.
func fuelTime(f int64) time.Duration {
	return time.Duration(fuelUsec(f)) * time.Microsecond
}

// Processes are those directly in c, by pid.
func (c *Cgroup) Processes() []*Process {
	c.mu.Lock()
	l := make([]*Process, 0, len(c.procs))
	for p := range c.procs {
		l = append(l, p)
	}
	c.mu.Unlock()
	slices.SortFunc(l, func(a, b *Process) int { return cmp.Compare(a.rootPID(), b.rootPID()) })
	return l
}

// Children are the cgroups directly below c, by name.
func (c *Cgroup) Children() []*Cgroup {
	c.mu.Lock()
	l := make([]*Cgroup, 0, len(c.children))
	for _, d := range c.children {
		l = append(l, d)
	}
	c.mu.Unlock()
	slices.SortFunc(l, func(a, b *Cgroup) int { return cmp.Compare(a.name, b.name) })
	return l
}

// Kill sends SIGKILL to everything in c and below (cgroup.kill).
func (c *Cgroup) Kill() {
	for _, p := range c.Processes() {
		p.Signal(SIGKILL)
	}
	for _, d := range c.Children() {
		d.Kill()
	}
}

// enter counts a new process. EAGAIN at pids.max here, above or of the account; ENOENT when closed.
func (c *Cgroup) enter(p *Process) error {
	a := c.acct
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return syscall.ENOENT
	}
	if l := a.limits.Processes; l > 0 && a.procs >= l {
		return syscall.EAGAIN
	}
	for g := c; g != nil; g = g.parent {
		if l := g.Limits().PidsMax; l > 0 && g.pids.Load() >= l {
			g.pidsEvents.Add(1)
			return syscall.EAGAIN
		}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return syscall.ENOENT
	}
	c.procs[p] = true
	if c.frozen {
		p.attention.Or(attFrozen)
	}
	c.mu.Unlock()
	for g := c; g != nil; g = g.parent {
		g.pids.Add(1)
	}
	a.procs++
	return nil
}

// leave stops counting a process that has been reaped.
func (c *Cgroup) leave() {
	a := c.acct
	a.mu.Lock()
	defer a.mu.Unlock()
	for g := c; g != nil; g = g.parent {
		g.pids.Add(-1)
	}
	a.procs--
}

// part takes an ended process off the list, so that the cgroup can be closed while its parent hasn't waited yet.
func (c *Cgroup) part(p *Process) {
	c.mu.Lock()
	delete(c.procs, p)
	c.mu.Unlock()
}

// useCPU counts fuel up the tree and returns how much may be used before cpu.max is reached; 0 = throttled now.
func (c *Cgroup) useCPU(user, system int64) int64 {
	may := int64(slice)
	for g := c; g != nil; g = g.parent {
		g.user.Add(user)
		g.system.Add(system)
		if left, limited := g.bw.charge(user + system); limited {
			may = min(may, left)
		}
	}
	c.acct.cpu.Add(user + system)
	if left, limited := c.acct.bw.charge(user + system); limited {
		may = min(may, left)
	}
	return max(may, 0)
}

// throttledBy arranges for wake when the first exhausted quota on the way up may have more; false when there is none.
func (c *Cgroup) throttledBy(wake func()) (cancel func(), throttled bool) {
	for g := c; g != nil; g = g.parent {
		if cancel, yes := g.bw.throttledWatch(wake); yes {
			return cancel, true
		}
	}
	return c.acct.bw.throttledWatch(wake)
}
