package kernel

import (
	"syscall"
)

const maxPTYs = 4096

// newPTY makes a terminal with a number for p.
func (p *Process) newPTY(rows, cols uint16) (*TTY, error) {
	t := NewTTY(rows, cols)
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return t, p.registerLocked(t)
}

// registerLocked gives t the lowest free number of p's machine; it is p's then. ENOSPC.
func (p *Process) registerLocked(t *TTY) error {
	m := p.m
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.index >= 0 {
		if t.host != m {
			return syscall.EPERM
		}
		return nil
	}
	n := 0
	for m.ptys[n] != nil {
		n++
	}
	if n >= maxPTYs {
		return syscall.ENOSPC
	}
	m.ptys[n] = t
	t.index, t.host = n, m
	t.ns, t.uid = p.ns, p.Cred().UID
	return nil
}

// OpenPTY makes a pair of descriptors: the master and the slave end of a new terminal.
func (p *Process) OpenPTY() (master, slave int, err error) {
	t, err := p.newPTY(24, 80)
	if err != nil {
		return -1, -1, err
	}
	mfd, sfd := NewFD(&ttyMaster{t}), t.FD()
	if master, err = p.install(slot{fd: mfd}, firstFD); err != nil {
		sfd.Close()
		mfd.Close()
		return -1, -1, err
	}
	if slave, err = p.install(slot{fd: sfd}, firstFD); err != nil {
		p.CloseFD(master)
		sfd.Close()
		return -1, -1, err
	}
	return master, slave, nil
}

// takeTTYLocked makes t the controlling terminal of p's session (TIOCSCTTY). EPERM.
func (p *Process) takeTTYLocked(t *TTY) error {
	if p.session.leader != p || p.session.tty != nil && p.session.tty != t || t.session != nil && t.session != p.session {
		return syscall.EPERM
	}
	if err := p.registerLocked(t); err != nil {
		return err
	}
	p.session.tty, t.session, t.fg = t, p.session, p.group
	return nil
}

// leaveTTYLocked is what the end of a session's leader does: its terminal hangs up.
func (p *Process) leaveTTYLocked() {
	s := p.session
	if s == nil || s.leader != p || s.tty == nil {
		return
	}
	t := s.tty
	if t.fg != nil {
		t.fg.signalLocked(p.m, SIGHUP, nil)
		t.fg.signalLocked(p.m, SIGCONT, nil)
	}
	s.tty, t.session, t.fg = nil, nil, nil
}

// ttyHangup is called when the master end was closed.
func (m *Machine) ttyHangup(t *TTY) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.mu.Lock()
	delete(m.ptys, t.index)
	t.mu.Unlock()
	s := t.session
	if s == nil {
		return
	}
	if s.leader != nil {
		m.sendLocked(s.leader, SIGHUP, nil)
		m.sendLocked(s.leader, SIGCONT, nil)
	}
	if t.fg != nil && (s.leader == nil || t.fg != s.leader.group) {
		t.fg.signalLocked(m, SIGHUP, nil)
		t.fg.signalLocked(m, SIGCONT, nil)
	}
	s.tty, t.session, t.fg = nil, nil, nil
}

func (m *Machine) signalForeground(t *TTY, s Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.fg != nil {
		t.fg.signalLocked(m, s, nil)
	}
}

// ForegroundProcess is the oldest process of t's foreground group: what the person at it is looking at. nil when there is none.
func (t *TTY) ForegroundProcess() *Process {
	t.mu.Lock()
	m := t.host
	t.mu.Unlock()
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.fg == nil {
		return nil
	}
	if p := t.fg.ref.proc; p != nil && !p.ended {
		return p
	}
	var best *Process
	for p := range t.fg.members {
		if !p.ended && (best == nil || p.rootPID() < best.rootPID()) {
			best = p
		}
	}
	return best
}

// mayUse is the check of job control before p reads from (or changes, or with TOSTOP writes to) its controlling terminal from the
// background: it sends sig to p's group, after which p stops at its next park. again: the call is to be tried anew. EIO when the signal is ignored
// or nobody would continue the group.
func (p *Process) mayUse(t *TTY, sig Signal) (again bool, err error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.session.tty != t || t.fg == p.group || t.fg == nil {
		return false, nil
	}
	if p.actions[sig] == ModeIgnored {
		if sig == SIGTTOU {
			return false, nil
		}
		return false, syscall.EIO
	}
	if p.group.orphanedLocked() {
		return false, syscall.EIO
	}
	p.group.signalLocked(p.m, sig, nil)
	if p.actions[sig] == ModeCaught {
		return false, syscall.EINTR
	}
	return true, nil
}

// awaitForeground does mayUse until it is allowed.
func (p *Process) awaitForeground(t *TTY, sig Signal) error {
	for {
		again, err := p.mayUse(t, sig)
		if !again {
			return err
		}
		if err := p.admit(); err != nil {
			return err
		}
	}
}

// ttyOf is the terminal of a descriptor, slave or master end. ENOTTY.
func (p *Process) ttyOf(fd int) (*TTY, error) {
	s, err := p.fds.get(fd)
	if err != nil {
		return nil, err
	}
	switch d := s.fd.d.(type) {
	case *ttySlave:
		return d.t, nil
	case *ttyMaster:
		return d.t, nil
	}
	return nil, syscall.ENOTTY
}

// Termios is tcgetattr(3).
func (p *Process) Termios(fd int) (Termios, error) {
	t, err := p.ttyOf(fd)
	if err != nil {
		return Termios{}, err
	}
	return t.Termios(), nil
}

// Actions of SetTermios.
const (
	TCSANOW   = 0
	TCSADRAIN = 1
	TCSAFLUSH = 2
)

// SetTermios is tcsetattr(3). ENOTTY, EINVAL, EINTR while draining.
func (p *Process) SetTermios(fd, action int, n Termios) error {
	t, err := p.ttyOf(fd)
	if err != nil {
		return err
	}
	if action < TCSANOW || action > TCSAFLUSH {
		return syscall.EINVAL
	}
	if err := p.awaitForeground(t, SIGTTOU); err != nil {
		return err
	}
	if action != TCSANOW {
		if err := p.Block(t.drained, &ttySlave{t}); err != nil {
			return err
		}
	}
	t.SetTermios(n, action == TCSAFLUSH)
	return nil
}

// Winsize is TIOCGWINSZ.
func (p *Process) Winsize(fd int) (Winsize, error) {
	t, err := p.ttyOf(fd)
	if err != nil {
		return Winsize{}, err
	}
	return t.Size(), nil
}

// SetWinsize is TIOCSWINSZ.
func (p *Process) SetWinsize(fd int, w Winsize) error {
	t, err := p.ttyOf(fd)
	if err != nil {
		return err
	}
	t.SetSize(w)
	return nil
}

// ForegroundGroup is tcgetpgrp(3). ENOTTY unless fd is p's controlling terminal.
func (p *Process) ForegroundGroup(fd int) (int, error) {
	t, err := p.ttyOf(fd)
	if err != nil {
		return 0, err
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.session.tty != t {
		return 0, syscall.ENOTTY
	}
	if t.fg == nil {
		return 1<<31 - 1, nil // as Linux: no such group
	}
	return t.fg.ref.in(p.ns), nil
}

// SetForegroundGroup is tcsetpgrp(3). ENOTTY, EPERM (a group of another session), ESRCH.
func (p *Process) SetForegroundGroup(fd, pgid int) error {
	t, err := p.ttyOf(fd)
	if err != nil {
		return err
	}
	p.m.mu.Lock()
	mine := p.session.tty == t
	p.m.mu.Unlock()
	if !mine {
		return syscall.ENOTTY
	}
	if err := p.awaitForeground(t, SIGTTOU); err != nil {
		return err
	}
	if pgid <= 0 {
		return syscall.EINVAL
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	r := p.ns.byNr[pgid]
	if r == nil || r.group == nil {
		return syscall.ESRCH
	}
	if r.group.session != p.session {
		return syscall.EPERM
	}
	t.fg = r.group
	return nil
}

// Notice shows text on p's controlling terminal, as far as it takes it now: for the kernel's owner to tell why a program waits. It does
// nothing for a process without one.
func (p *Process) Notice(text string) {
	p.m.mu.Lock()
	t := (*TTY)(nil)
	if p.session != nil {
		t = p.session.tty
	}
	p.m.mu.Unlock()
	if t != nil {
		t.writeOutput([]byte(text))
	}
}
