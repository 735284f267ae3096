package kernel

import (
	"cmp"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// MachineConfig configures a Machine.
type MachineConfig struct {
	Account  *Account
	Hostname string
	Root     *vfs.View       // what processes see that are given no View; nil only where all are given one
	Net      *network.Stack  // may be nil: no sockets
	Fabric   *network.Fabric // for unix sockets; may be nil: none
	Clock    Clock           // nil = the wall clock
	Rand     io.Reader       // nil = crypto/rand
	Release  string          // uname -r; "" = "6.12.0-drydock"
	Version  string          // uname -v; "" = "#1 SMP Drydock"
	Arch     string          // uname -m; "" = "wasm"
	Memory   int64           // what /proc/meminfo calls MemTotal; 0 = the account's limit
	CPUs     int             // processors shown; 0 = 1
}

// Machine is one booted computer.
type Machine struct {
	cfg    MachineConfig
	host   *Host
	acct   *Account
	clock  Clock
	rand   io.Reader
	boot   time.Time
	pids   *PIDNS
	uts    *UTS
	cgroup *Cgroup
	load   loadAverage
	forks  atomic.Int64

	mu       sync.Mutex       // the process tree, signals, groups, sessions, terminals' owners
	init     *Process         // immutable; the kernel's own pid 1, which reaps what nobody else does
	ptys     map[int]*TTY     // guarded by mu
	live     int              // guarded by mu; processes with a goroutine
	down     bool             // guarded by mu
	done     chan struct{}    // closed when down and nothing lives
	isDone   bool             // guarded by mu
	onReboot func(cmd uint32) // guarded by mu
	fifos    map[vfs.Node]*fifo
	unix     map[vfs.Node]*unixListener

	logMu sync.Mutex
	log   []LogLine // guarded by logMu
	logN  int       // guarded by logMu; bytes in log
}

// UTS is a uts namespace: the host name.
type UTS struct {
	ino  uint64
	name atomic.Pointer[string]
}

// NewUTS makes one.
func NewUTS(hostname string) *UTS {
	u := &UTS{ino: newNSIno()}
	u.name.Store(&hostname)
	return u
}

// Hostname is the name.
func (u *UTS) Hostname() string { return *u.name.Load() }

// SetHostname changes it.
func (u *UTS) SetHostname(name string) { u.name.Store(&name) }

// NewMachine boots one. It takes no goroutine until something is spawned. A machine of a closed account is born powered off.
func (h *Host) NewMachine(cfg MachineConfig) *Machine {
	if cfg.Clock == nil {
		cfg.Clock = wallClock{}
	}
	cfg.Release = cmp.Or(cfg.Release, "6.12.0-drydock")
	cfg.Version = cmp.Or(cfg.Version, "#1 SMP Drydock")
	cfg.Arch = cmp.Or(cfg.Arch, "wasm")
	cfg.CPUs = cmp.Or(cfg.CPUs, 1)
	m := &Machine{cfg: cfg, host: h, acct: cfg.Account, clock: cfg.Clock, rand: newRand(cfg.Rand), boot: cfg.Clock.Now(),
		ptys: map[int]*TTY{}, done: make(chan struct{}), fifos: map[vfs.Node]*fifo{}, unix: map[vfs.Node]*unixListener{}}
	m.uts = NewUTS(cfg.Hostname)
	m.cgroup = newCgroup(m, nil, "", CgroupLimits{})
	m.pids = &PIDNS{m: m, ino: newNSIno(), byNr: map[int]*pidRef{}, next: 1}
	m.init = newInit(m)
	a := m.acct
	a.mu.Lock()
	m.down = a.closed
	if !a.closed {
		a.machines[m] = true
	}
	a.mu.Unlock()
	if m.down {
		m.isDone = true
		close(m.done)
	}
	return m
}

// newInit makes the process table's first entry: the kernel's own init. It runs no program and needs no goroutine.
func newInit(m *Machine) *Process {
	p := &Process{m: m, ns: m.pids, uts: m.uts, net: m.cfg.Net, cgroup: m.cgroup, kernel: true, started: m.boot, children: map[*Process]struct{}{}}
	p.comm.Store(ptr("init"))
	p.info.Store(&imageInfo{})
	v := m.cfg.Root
	if v == nil {
		v = &vfs.View{}
	}
	p.view.Store(v)
	p.pid = m.pids.allocLocked(p)
	m.pids.init = p
	p.joinLocked(p.pid, newSessionLocked(p.pid, p))
	return p
}

func ptr[T any](v T) *T { return &v }

// Account is who pays for it.
func (m *Machine) Account() *Account { return m.acct }

// PIDNS is the outermost pid namespace.
func (m *Machine) PIDNS() *PIDNS { return m.pids }

// UTS is the outermost uts namespace.
func (m *Machine) UTS() *UTS { return m.uts }

// Cgroup is the root of the cgroup tree.
func (m *Machine) Cgroup() *Cgroup { return m.cgroup }

// Net is the machine's own network stack.
func (m *Machine) Net() *network.Stack { return m.cfg.Net }

// Root is the View processes get that are given none.
func (m *Machine) Root() *vfs.View { return m.cfg.Root }

// Clock is the lab's clock.
func (m *Machine) Clock() Clock { return m.clock }

// Rand is the machine's source of randomness, safe for concurrent use.
func (m *Machine) Rand() io.Reader { return m.rand }

// Boot is when the machine was started.
func (m *Machine) Boot() time.Time { return m.boot }

// Config is what it was made of, with defaults filled in.
func (m *Machine) Config() MachineConfig { return m.cfg }

// Processes are all processes but the kernel's init, by pid.
func (m *Machine) Processes() []*Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := make([]*Process, 0, len(m.pids.byNr))
	for _, r := range m.pids.byNr {
		if r.proc != nil && !r.proc.kernel {
			l = append(l, r.proc)
		}
	}
	slices.SortFunc(l, func(a, b *Process) int { return cmp.Compare(a.pid.nrs[0], b.pid.nrs[0]) })
	return l
}

// Process finds one by its pid in ns.
func (ns *PIDNS) Process(pid int) (*Process, bool) {
	ns.m.mu.Lock()
	defer ns.m.mu.Unlock()
	if r := ns.byNr[pid]; r != nil && r.proc != nil {
		return r.proc, true
	}
	return nil, false
}

// PowerOff kills everything at once, as a cut of power does; nothing can be spawned any more. Done tells when all is gone.
func (m *Machine) PowerOff() {
	m.mu.Lock()
	m.down = true
	for _, r := range m.pids.byNr {
		if p := r.proc; p != nil && !p.kernel && !p.ended {
			p.killLocked(SIGKILL)
		}
	}
	m.checkDoneLocked()
	m.mu.Unlock()
	a := m.acct
	a.mu.Lock()
	delete(a.machines, m)
	a.mu.Unlock()
}

func (m *Machine) checkDoneLocked() {
	if m.down && m.live == 0 && !m.isDone {
		m.isDone = true
		close(m.done)
	}
}

// Done is closed when the machine is powered off and its last process has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// OnReboot has f called when root asks for power-off (RebootPowerOff) or restart (RebootRestart) in the outermost pid namespace.
// f must not block: whoever owns the machine calls PowerOff.
func (m *Machine) OnReboot(f func(cmd uint32)) {
	m.mu.Lock()
	m.onReboot = f
	m.mu.Unlock()
}

// Commands of reboot(2).
const (
	RebootPowerOff = 0x4321fedc
	RebootRestart  = 0x01234567
)

// Reboot is reboot(2) by p. EPERM unless root of the outermost namespaces, EINVAL.
func (p *Process) Reboot(cmd uint32) error {
	if p.Cred().UID != 0 || p.ns != p.m.pids {
		return syscall.EPERM
	}
	if cmd != RebootPowerOff && cmd != RebootRestart {
		return syscall.EINVAL
	}
	p.m.mu.Lock()
	f := p.m.onReboot
	p.m.mu.Unlock()
	if f == nil {
		return syscall.ENOSYS
	}
	f(cmd)
	return nil
}

// LogLine is a line of the kernel log.
type LogLine struct {
	Level int // 0 emergency to 7 debug
	Time  time.Duration
	Text  string
}

const (
	logBytes = 64 << 10
	logLine  = 1024
)

// Log appends to the kernel log (dmesg); the oldest lines go when it is full. Control characters become '?'.
func (m *Machine) Log(level int, text string) {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), logLine)], "?"))
	l := LogLine{Level: min(max(level, 0), 7), Time: m.clock.Now().Sub(m.boot), Text: text}
	m.logMu.Lock()
	defer m.logMu.Unlock()
	m.log = append(m.log, l)
	m.logN += len(text) + 64
	for m.logN > logBytes {
		m.logN -= len(m.log[0].Text) + 64
		m.log = m.log[1:]
	}
}

// LogLines is the kernel log.
func (m *Machine) LogLines() []LogLine {
	m.logMu.Lock()
	defer m.logMu.Unlock()
	return slices.Clone(m.log)
}

// loadAverage is the mean number of runnable processes over 1, 5 and 15 minutes, brought up to date at each change of that number.
type loadAverage struct {
	mu   sync.Mutex
	last time.Time
	n    int // runnable since last
	avg  [3]float64
}

func (l *loadAverage) add(now time.Time, delta int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := now.Sub(l.last); d > 0 && !l.last.IsZero() {
		for i, minutes := range []float64{1, 5, 15} {
			k := math.Exp(-d.Minutes() / minutes)
			l.avg[i] = l.avg[i]*k + float64(l.n)*(1-k)
		}
	}
	l.last = now
	l.n += delta
}

// LoadAverage is the mean number of runnable processes over the last 1, 5 and 15 minutes, and how many there are now.
func (m *Machine) LoadAverage() (avg [3]float64, running int) {
	m.load.add(m.clock.Now(), 0)
	m.load.mu.Lock()
	defer m.load.mu.Unlock()
	return m.load.avg, m.load.n
}

// Memory is what the machine has and what of it is free: MachineConfig.Memory or the account's limit less what is charged.
func (m *Machine) Memory() (total, free int64) {
	used := m.cgroup.memory.Load()
	total = m.cfg.Memory
	if total == 0 {
		total = m.acct.Limits().MemoryBytes
	}
	return total, max(total-used, 0)
}
