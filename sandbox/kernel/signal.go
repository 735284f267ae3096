package kernel

import "syscall"

// Signal is a signal by its Linux number (signal(7)), on every host.
type Signal uint8

// The signals that mean something to the kernel.
const (
	SIGHUP    Signal = 1
	SIGINT    Signal = 2
	SIGQUIT   Signal = 3
	SIGILL    Signal = 4
	SIGTRAP   Signal = 5
	SIGABRT   Signal = 6
	SIGBUS    Signal = 7
	SIGFPE    Signal = 8
	SIGKILL   Signal = 9
	SIGUSR1   Signal = 10
	SIGSEGV   Signal = 11
	SIGUSR2   Signal = 12
	SIGPIPE   Signal = 13
	SIGALRM   Signal = 14
	SIGTERM   Signal = 15
	SIGCHLD   Signal = 17
	SIGCONT   Signal = 18
	SIGSTOP   Signal = 19
	SIGTSTP   Signal = 20
	SIGTTIN   Signal = 21
	SIGTTOU   Signal = 22
	SIGURG    Signal = 23
	SIGXFSZ   Signal = 25
	SIGWINCH  Signal = 28
	SIGSYS    Signal = 31
	MaxSignal Signal = 64
)

// Mode is what a process does about a signal.
type Mode uint8

// The modes, numbered as the guest ABI has them.
const (
	ModeDefault Mode = iota
	ModeIgnored
	ModeCaught
)

func (s Signal) bit() uint64 { return 1 << (s - 1) }

const stopSignals = 1<<(SIGSTOP-1) | 1<<(SIGTSTP-1) | 1<<(SIGTTIN-1) | 1<<(SIGTTOU-1)

func (s Signal) stops() bool { return s.bit()&stopSignals != 0 }

// ignoredByDefault are the signals without a default effect (SIGCONT's is its own).
func (s Signal) ignoredByDefault() bool {
	return s == SIGCHLD || s == SIGURG || s == SIGWINCH || s == SIGCONT
}

// sendLocked delivers s to p. from is the sender (nil: the kernel or the host), which matters to an init: it cannot be hurt from
// inside its namespace by a signal it has no handler for. Preconditions: m.mu is held.
func (m *Machine) sendLocked(p *Process, s Signal, from *Process) {
	if p.ended || p.kernel || s == 0 {
		return
	}
	mode := p.actions[s]
	if p.isInit() && mode == ModeDefault {
		inside := from != nil && from.ns == p.ns
		if inside || s != SIGKILL && s != SIGSTOP {
			return
		}
	}
	switch {
	case s.stops():
		p.pending &^= SIGCONT.bit()
	case s == SIGCONT:
		p.pending &^= stopSignals
		m.resumeLocked(p)
	case s == SIGKILL:
		p.killLocked(SIGKILL)
		return
	}
	switch {
	case s == SIGSTOP:
		m.stopLocked(p, s)
	case mode == ModeIgnored:
	case mode == ModeCaught:
		p.pending |= s.bit()
		p.attention.Or(attSignal)
		p.kick()
	case s.stops():
		if !p.group.orphanedLocked() {
			m.stopLocked(p, s)
		}
	case s.ignoredByDefault():
	case p.stopSig != 0:
		p.pending |= s.bit() // takes effect when it is continued
	default:
		p.killLocked(s)
	}
}

// killLocked makes p end with the status of signal s as soon as its goroutine looks.
func (p *Process) killLocked(s Signal) {
	if p.attention.Load()&attKilled != 0 {
		return
	}
	p.fatal = s
	p.attention.Or(attKilled)
	close(p.killed)
	p.kick()
}

func (m *Machine) stopLocked(p *Process, s Signal) {
	if p.stopSig != 0 || p.attention.Load()&attKilled != 0 {
		return
	}
	p.stopSig = s
	p.stopNews, p.contNews = true, false
	p.attention.Or(attStopped)
	p.kick()
	m.childNewsLocked(p)
}

func (m *Machine) resumeLocked(p *Process) {
	if p.stopSig == 0 {
		return
	}
	p.stopSig = 0
	p.stopNews, p.contNews = false, true
	p.attention.And(^uint32(attStopped))
	p.kick()
	m.childNewsLocked(p)
	for s := Signal(1); s <= MaxSignal; s++ {
		if p.pending&s.bit() != 0 && p.actions[s] == ModeDefault {
			p.pending &^= s.bit()
			m.sendLocked(p, s, p)
		}
	}
}

// childNewsLocked tells p's parent that p changed state.
func (m *Machine) childNewsLocked(p *Process) {
	if q := p.parent; q != nil && !q.kernel {
		m.sendLocked(q, SIGCHLD, p)
		q.kick()
	}
}

// Signal sends s as the host does: with the rights of root in the outermost namespace. ESRCH when p has ended, EINVAL.
func (p *Process) Signal(s Signal) error {
	if s > MaxSignal {
		return syscall.EINVAL
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.ended {
		return syscall.ESRCH
	}
	p.m.sendLocked(p, s, nil)
	return nil
}

// Kill is kill(2): s to what pid names in p's namespace. 0 probes. EINVAL, ESRCH, EPERM.
func (p *Process) Kill(pid int, s Signal) error {
	if s > MaxSignal {
		return syscall.EINVAL
	}
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	var to []*Process
	switch {
	case pid > 0:
		ref := p.ns.byNr[pid]
		if ref == nil || ref.proc == nil {
			return syscall.ESRCH
		}
		to = append(to, ref.proc)
	case pid == 0:
		to = p.group.listLocked()
	case pid == -1:
		for _, ref := range p.ns.byNr {
			if q := ref.proc; q != nil && q != p && q != p.ns.init && !q.kernel {
				to = append(to, q)
			}
		}
	default:
		ref := p.ns.byNr[-pid]
		if pid == -1<<31 || ref == nil || ref.group == nil {
			return syscall.ESRCH
		}
		to = ref.group.listLocked()
	}
	if len(to) == 0 {
		return syscall.ESRCH
	}
	sent := 0
	for _, q := range to {
		if p.mayLocked(q, s) {
			sent++
			m.sendLocked(q, s, p)
		}
	}
	if sent == 0 {
		return syscall.EPERM
	}
	return nil
}

// mayLocked is the permission of kill(2): root, the same user, or SIGCONT within the session.
func (p *Process) mayLocked(q *Process, s Signal) bool {
	c, d := p.Cred(), q.Cred()
	return c.UID == 0 || c.UID == d.UID || s == SIGCONT && p.session == q.session
}

// Raise sends s to the process itself (SIGPIPE on a broken pipe).
func (p *Process) Raise(s Signal) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.isInit() && p.actions[s] == ModeDefault {
		return // a namespace's init shrugs it off and sees the error
	}
	p.m.sendLocked(p, s, p)
}

// SetAction says what happens about s from now on. A pending signal that becomes ignored is dropped. EINVAL for SIGKILL and SIGSTOP.
func (p *Process) SetAction(s Signal, mode Mode) error {
	if s == 0 || s > MaxSignal || mode > ModeCaught {
		return syscall.EINVAL
	}
	if s == SIGKILL || s == SIGSTOP {
		if mode == ModeDefault {
			return nil
		}
		return syscall.EINVAL
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.actions[s] = mode
	if mode != ModeCaught {
		p.pending &^= s.bit()
	}
	p.noteSignalsLocked()
	return nil
}

// Action is what happens about s.
func (p *Process) Action(s Signal) Mode {
	if s == 0 || s > MaxSignal {
		return ModeDefault
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.actions[s]
}

// NextSignal takes the lowest pending caught signal, 0 for none.
func (p *Process) NextSignal() Signal {
	if p.attention.Load()&attSignal == 0 {
		return 0
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	for s := Signal(1); s <= MaxSignal; s++ {
		if p.pending&s.bit() != 0 && p.actions[s] == ModeCaught {
			p.pending &^= s.bit()
			p.noteSignalsLocked()
			return s
		}
	}
	p.noteSignalsLocked()
	return 0
}

func (p *Process) noteSignalsLocked() {
	if p.pending != 0 {
		p.attention.Or(attSignal)
	} else {
		p.attention.And(^uint32(attSignal))
	}
}

// SignalPending reports whether a caught signal waits.
func (p *Process) SignalPending() bool { return p.attention.Load()&attSignal != 0 }

// SetInterrupting says whether caught signals end blocking calls with EINTR.
func (p *Process) SetInterrupting(on bool) { p.interrupting = on }
