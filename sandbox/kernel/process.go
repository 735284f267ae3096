package kernel

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// ErrKilled is what a process's own blocking calls and Refill return once it is to die: the ABI must unwind the guest with it.
var ErrKilled = errors.New("kernel: process killed")

// errExec unwinds a guest whose program is replaced.
var errExec = errors.New("kernel: program replaced")

// Bits of Process.attention: reasons to look up from work.
const (
	attKilled = 1 << iota
	attStopped
	attFrozen // its cgroup is
	attSignal // a caught signal is pending
)

// Process is a process: one goroutine that runs a program.
//
// Methods that act (Read, Block, Exec…) belong to that goroutine alone; those that look are for everybody.
type Process struct {
	m       *Machine
	ns      *PIDNS
	pid     *pidRef
	uts     *UTS
	net     *network.Stack
	cgroup  *Cgroup
	kernel  bool // the machine's own init, without a goroutine
	started time.Time
	fds     fdTable

	sched     entity        // guarded by the scheduler
	wake      chan struct{} // capacity 1
	killed    chan struct{} // closed when marked
	done      chan struct{} // closed when ended
	attention atomic.Uint32
	view      atomic.Pointer[vfs.View] // replaced, never changed
	comm      atomic.Pointer[string]
	info      atomic.Pointer[imageInfo]
	limits    atomic.Pointer[rlimits]
	nice      atomic.Int32
	mem       atomic.Int64 // private bytes charged
	memPeak   atomic.Int64
	user      atomic.Int64 // fuel
	system    atomic.Int64
	sleeping  atomic.Bool

	// Of the process's own goroutine.
	prog         Program
	instance     *wasm.Instance
	hasSlot      bool
	callFuel     int64 // of host calls, not yet accounted
	interrupting bool
	next         *image // exec

	// ABI is for whoever serves the guest ABI: it belongs to the process's goroutine.
	ABI any

	// Guarded by m.mu.
	parent             *Process
	children           map[*Process]struct{}
	group              *pgroup
	session            *session
	actions            [MaxSignal + 1]Mode
	pending            uint64
	fatal              Signal
	stopSig            Signal
	stopNews, contNews bool
	oom                bool
	exiting            bool // its program has ended
	ended              bool // a zombie, or gone
	status             uint32
	endedAt            time.Time
	watch              watchers
	childUser          int64
	childSystem        int64
}

// imageInfo is what a process was started with. Immutable.
type imageInfo struct {
	path string   // of the program, absolute
	args []string // argv
	env  []string
}

type image struct {
	prog Program
	info *imageInfo
}

type processKey struct{}

// FromContext is the process a host call is made by; nil while an engine captures an image.
func FromContext(ctx context.Context) *Process {
	p, _ := ctx.Value(processKey{}).(*Process)
	return p
}

// Machine is where it runs.
func (p *Process) Machine() *Machine { return p.m }

// PIDNS is its pid namespace.
func (p *Process) PIDNS() *PIDNS { return p.ns }

// UTS is its uts namespace.
func (p *Process) UTS() *UTS { return p.uts }

// Net is its network namespace; may be nil.
func (p *Process) Net() *network.Stack { return p.net }

// Cgroup is the cgroup it is in.
func (p *Process) Cgroup() *Cgroup { return p.cgroup }

// PID is its number in ns (nil: its own), 0 where it is not visible.
func (p *Process) PID(ns *PIDNS) int {
	if ns == nil {
		ns = p.ns
	}
	return p.pid.in(ns)
}

func (p *Process) rootPID() int { return p.pid.nrs[0] }

// PPID is its parent's number in p's namespace, 0 when that is outside.
func (p *Process) PPID() int {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.ppidLocked(p.ns)
}

func (p *Process) ppidLocked(ns *PIDNS) int {
	if p.parent == nil {
		return 0
	}
	return p.parent.pid.in(ns)
}

// isInit reports whether p is its namespace's pid 1.
func (p *Process) isInit() bool { return p.ns.init == p }

// View is how it sees files. Not to be changed.
func (p *Process) View() *vfs.View { return p.view.Load() }

// Cred is its identity.
func (p *Process) Cred() vfs.Cred { return p.view.Load().Cred }

// SetView replaces the View (chdir, umask, credentials, namespaces).
func (p *Process) SetView(v vfs.View) {
	v.Caller = p
	p.view.Store(&v)
}

// Args, Env and Path are what its program was started with; not to be changed.
func (p *Process) Args() []string { return p.info.Load().args }

// Env is its environment at the start.
func (p *Process) Env() []string { return p.info.Load().env }

// Path is the absolute path of its program.
func (p *Process) Path() string { return p.info.Load().path }

// Comm is the short name, at most 15 bytes.
func (p *Process) Comm() string { return *p.comm.Load() }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Status is the wait status as Linux encodes it (valid once Done): code<<8, or the signal.
func (p *Process) Status() WaitStatus {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return WaitStatus(p.status)
}

// OOMKilled reports whether it was killed for want of memory.
func (p *Process) OOMKilled() bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.oom
}

// WaitStatus is a status of wait(2).
type WaitStatus uint32

// ExitCode is the code a shell or container runtime shows: the exit code, or 128 + the signal.
func (s WaitStatus) ExitCode() int {
	if sig := s & 0x7f; sig != 0 {
		return 128 + int(sig)
	}
	return int(s>>8) & 0xff
}

// Signaled is the signal that ended it, 0 for none.
func (s WaitStatus) Signaled() Signal { return Signal(s & 0x7f) }

// Usage is what a process used.
type Usage struct {
	User, System    time.Duration
	Memory, MaxRSS  int64 // private bytes now and at most
	Started, Exited time.Time
}

// Usage reads the counters.
func (p *Process) Usage() Usage {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return Usage{User: fuelTime(p.user.Load()), System: fuelTime(p.system.Load()), Memory: p.mem.Load(), MaxRSS: p.memPeak.Load(), Started: p.started, Exited: p.endedAt}
}

// kick wakes the process's goroutine if it is parked, or lets its next park return at once.
func (p *Process) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// charge accounts what was used since the last time: guest fuel and host calls.
func (p *Process) charge(guest int64) int64 {
	calls := p.callFuel
	p.callFuel = 0
	p.user.Add(guest)
	p.system.Add(calls)
	return p.cgroup.useCPU(guest, calls)
}

// settle is the fuel the guest has spent since it was last asked.
func (p *Process) settle() int64 {
	if p.instance == nil {
		return 0
	}
	return max(p.instance.Settle(), 0)
}

// sleep gives the slot back and parks until somebody kicks.
func (p *Process) sleep() {
	p.dropSlot()
	p.sleeping.Store(true)
	<-p.wake
	p.sleeping.Store(false)
}

func (p *Process) dropSlot() {
	if !p.hasSlot {
		return
	}
	used, calls := p.settle(), p.callFuel
	p.charge(used)
	p.hasSlot = false
	p.m.load.add(p.m.clock.Now(), -1)
	p.m.host.sched.release(&p.sched, used+calls)
}

// admit waits until p may run: not stopped, within its quotas, with a slot. ErrKilled.
func (p *Process) admit() error {
	for {
		att := p.attention.Load()
		switch {
		case att&attKilled != 0:
			return ErrKilled
		case att&(attStopped|attFrozen) != 0:
			p.sleep()
			continue
		}
		if cancel, throttled := p.cgroup.throttledBy(p.kick); throttled {
			p.sleep()
			cancel()
			continue
		}
		if p.hasSlot {
			return nil
		}
		p.m.load.add(p.m.clock.Now(), 1)
		if !p.m.host.sched.acquire(&p.sched, p.killed) {
			p.m.load.add(p.m.clock.Now(), -1)
			return ErrKilled
		}
		p.hasSlot = true
	}
}

// Refill is the guest's fuel check (wasm.Guest).
func (p *Process) Refill(used int64) (int64, error) {
	may, err := p.reschedule(max(used, 0))
	return min(max(may, slice/10), slice), err
}

// reschedule charges what was used and lets others run. It returns the fuel of the next slice.
func (p *Process) reschedule(used int64) (int64, error) {
	calls := p.callFuel
	may := p.charge(used)
	if p.hasSlot && !p.m.host.sched.yield(&p.sched, used+calls, p.killed) {
		p.hasSlot = false
		p.m.load.add(p.m.clock.Now(), -1)
		return 0, ErrKilled
	}
	return may, p.admit()
}

// Enter begins a host call by the guest with the Instance i (may be nil): it is charged as CPU, and its slice may end here. ErrKilled.
func (p *Process) Enter(i *wasm.Instance) error {
	p.instance = i
	p.callFuel += callCost
	if p.attention.Load()&(attKilled|attStopped|attFrozen) != 0 {
		return p.admit()
	}
	if p.callFuel < slice {
		return nil
	}
	_, err := p.reschedule(p.settle())
	return err
}

// Leave ends a host call: what happened to p meanwhile takes effect before the guest goes on. ErrKilled.
func (p *Process) Leave() error {
	if p.attention.Load()&(attKilled|attStopped|attFrozen) != 0 {
		return p.admit()
	}
	return nil
}

// Yield is sched_yield(2).
func (p *Process) Yield() error {
	_, err := p.reschedule(p.settle())
	return err
}

// Worked charges the moving of n bytes by the host for the guest.
func (p *Process) Worked(n int) { p.callFuel += int64(n) * callCost / 4096 }

// Watchable is anything whose changes can be watched: a Description, a Process's end.
type Watchable interface {
	Watch(f func()) (cancel func())
}

// Watch calls f when p ends or (from the parent's view) changes state.
func (p *Process) Watch(f func()) func() { return watchUnder(&p.m.mu, &p.watch, f) }

// Block parks until ready reports true, looking again whenever one of on changes or a signal arrives. EINTR when a caught signal is pending and
// the process wants to be interrupted; ErrKilled. The CPU slot is free meanwhile.
func (p *Process) Block(ready func() bool, on ...Watchable) error {
	return p.BlockUntil(time.Time{}, ready, on...)
}

// BlockUntil is Block with a deadline on the machine's clock (zero: none): ETIMEDOUT.
func (p *Process) BlockUntil(deadline time.Time, ready func() bool, on ...Watchable) error {
	var few [4]func()
	cancels := few[:0]
	for _, w := range on {
		cancels = append(cancels, w.Watch(p.kick))
	}
	defer func() {
		for _, c := range cancels {
			c()
		}
	}()
	clock := p.m.clock
	for {
		att := p.attention.Load()
		switch {
		case att&attKilled != 0:
			return ErrKilled
		case ready():
			return p.admit()
		case att&attSignal != 0 && p.interrupting:
			if err := p.admit(); err != nil {
				return err
			}
			return syscall.EINTR
		}
		if deadline.IsZero() {
			p.sleep()
			continue
		}
		left := deadline.Sub(clock.Now())
		if left <= 0 {
			if err := p.admit(); err != nil {
				return err
			}
			return syscall.ETIMEDOUT
		}
		stop := clock.AfterFunc(left, p.kick)
		p.sleep()
		stop()
	}
}

// Pause parks until a signal arrives or the process is killed; EINTR always, as pause(2).
func (p *Process) Pause() error {
	return p.Block(p.SignalPending)
}

// rlimits of a process (getrlimit(2)), by resource number. Immutable.
type rlimits map[int]Rlimit

// Rlimit is a pair of limits.
type Rlimit struct{ Soft, Hard uint64 }

// Resources that mean something (others are refused with EINVAL).
const (
	RLIMIT_FSIZE  = 1
	RLIMIT_STACK  = 3
	RLIMIT_CORE   = 4
	RLIMIT_NPROC  = 6
	RLIMIT_NOFILE = 7
	RLIMIT_AS     = 9

	RLIM_INFINITY = ^uint64(0)
)

var defaultLimits = rlimits{
	RLIMIT_FSIZE:  {RLIM_INFINITY, RLIM_INFINITY},
	RLIMIT_CORE:   {0, 0},
	RLIMIT_NPROC:  {RLIM_INFINITY, RLIM_INFINITY},
	RLIMIT_NOFILE: {1024, 4096},
	RLIMIT_AS:     {RLIM_INFINITY, RLIM_INFINITY},
}

// Rlimit is getrlimit(2).
func (p *Process) Rlimit(resource int) (Rlimit, error) {
	l, ok := (*p.limits.Load())[resource]
	if !ok {
		return Rlimit{}, syscall.EINVAL
	}
	return l, nil
}

// SetRlimit is setrlimit(2). EPERM when the hard limit would rise and the caller isn't root; nobody gets beyond the defaults of NOFILE.
func (p *Process) SetRlimit(resource int, l Rlimit) error {
	old, err := p.Rlimit(resource)
	if err != nil {
		return err
	}
	if l.Soft > l.Hard {
		return syscall.EINVAL
	}
	if l.Hard > old.Hard && (p.Cred().UID != 0 || resource == RLIMIT_NOFILE || resource == RLIMIT_CORE) {
		return syscall.EPERM
	}
	n := make(rlimits, len(*p.limits.Load()))
	for k, v := range *p.limits.Load() {
		n[k] = v
	}
	n[resource] = l
	p.limits.Store(&n)
	return nil
}

// Nice is nice(2) upon pid: adds inc to its niceness and returns the new one. ESRCH, EPERM, EACCES (lowering without root).
func (p *Process) Nice(pid int, inc int) (int, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	q, err := p.targetLocked(pid)
	if err != nil {
		return 0, err
	}
	now := int(q.nice.Load())
	if inc == 0 {
		return now, nil
	}
	if c := p.Cred(); c.UID != 0 {
		if c.UID != q.Cred().UID {
			return 0, syscall.EPERM
		}
		if inc < 0 {
			return 0, syscall.EACCES
		}
	}
	now = min(max(now+min(max(inc, -40), 40), -20), 19)
	q.nice.Store(int32(now))
	p.m.host.sched.setWeight(&q.sched, niceWeight(now))
	return now, nil
}

// niceWeight is a fifth more or less for each step, 100 at 0 (sched-nice-design).
func niceWeight(nice int) int64 {
	w := int64(weightUnit) << 10
	for ; nice > 0; nice-- {
		w = w * 4 / 5
	}
	for ; nice < 0; nice++ {
		w = w * 5 / 4
	}
	return max(w>>10, 1)
}

// Sleeping reports whether p is parked: it waits for something, or is stopped.
func (p *Process) Sleeping() bool { return p.sleeping.Load() }
