package kernel

import (
	"io"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// install puts s at the lowest free descriptor from least on. EMFILE.
func (p *Process) install(s slot, least int) (int, error) {
	limit := (*p.limits.Load())[RLIMIT_NOFILE].Soft
	return p.fds.install(s, least, int(min(limit, 1<<20)))
}

// Install gives p a descriptor for fd, whose reference it takes over on success.
func (p *Process) Install(fd *FD) (int, error) { return p.install(slot{fd: fd}, firstFD) }

// FD is what a descriptor refers to, without another reference, and whether it is non-blocking. EBADF.
func (p *Process) FD(n int) (fd *FD, nonblock bool, err error) {
	s, err := p.fds.get(n)
	return s.fd, s.nonblock, err
}

// FDs are the open descriptors.
func (p *Process) FDs() []int { return p.fds.list() }

// CloseFD is close(2).
func (p *Process) CloseFD(n int) error {
	fd, err := p.fds.take(n)
	if err != nil {
		return err
	}
	fd.Close()
	return nil
}

// Renumber moves descriptor from onto to, which must be open (fd_renumber).
func (p *Process) Renumber(from, to int) error {
	old, err := p.fds.renumber(from, to)
	if old != nil {
		old.Close()
	}
	return err
}

// DupFD is F_DUPFD. EINVAL, EMFILE.
func (p *Process) DupFD(n, least int) (int, error) {
	s, err := p.fds.get(n)
	if err != nil {
		return -1, err
	}
	if least < 0 {
		return -1, syscall.EINVAL
	}
	fd := s.fd.Dup()
	i, err := p.install(slot{fd: fd, keep: true}, least)
	if err != nil {
		fd.Close()
	}
	return i, err
}

// SetNonblock sets FDFLAGS_NONBLOCK of a descriptor.
func (p *Process) SetNonblock(n int, on bool) error { return p.fds.setNonblock(n, on) }

// Pipe is pipe(2), charged to p's cgroup.
func (p *Process) Pipe() (r, w int, err error) {
	rf, wf := newPipe(&memCharge{p.cgroup}).ends()
	if r, err = p.Install(rf); err != nil {
		rf.Close()
		wf.Close()
		return -1, -1, err
	}
	if w, err = p.Install(wf); err != nil {
		p.CloseFD(r)
		wf.Close()
		return -1, -1, err
	}
	return r, w, nil
}

// Read is readv(2) of one buffer: it waits unless the descriptor is non-blocking. io.EOF at the end, which is 0 bytes for a guest.
func (p *Process) Read(n int, b []byte) (int, error) {
	s, err := p.fds.get(n)
	if err != nil {
		return 0, err
	}
	p.Worked(len(b))
	if d, ok := s.fd.d.(*ttySlave); ok {
		return p.readTTY(d, s.nonblock, b)
	}
	for {
		got, err := s.fd.d.Read(b)
		if err != syscall.EAGAIN || s.nonblock {
			return got, err
		}
		if err := p.await(s.fd.d, EventIn); err != nil {
			return 0, err
		}
	}
}

// await parks until d shows one of want, or an end.
func (p *Process) await(d Description, want Events) error {
	return p.Block(func() bool { return d.Poll()&(want|EventHup|EventErr) != 0 }, d)
}

// readTTY reads a terminal with job control, VMIN and VTIME.
func (p *Process) readTTY(d *ttySlave, nonblock bool, b []byte) (int, error) {
	t := d.t
	for {
		if err := p.awaitForeground(t, SIGTTIN); err != nil {
			return 0, err
		}
		tm := t.Termios()
		least, wait := 1, time.Duration(0)
		if tm.Lflag&ICANON == 0 {
			least, wait = int(tm.Cc[VMIN]), time.Duration(tm.Cc[VTIME])*100*time.Millisecond
		}
		if t.waiting() < min(least, len(b)) && !nonblock && least > 1 {
			if err := p.awaitBytes(d, min(least, len(b)), wait); err != nil {
				return 0, err
			}
		}
		n, err := d.Read(b)
		switch {
		case err != syscall.EAGAIN:
			return n, err
		case nonblock:
			return 0, err
		case least == 0 && wait == 0:
			return 0, io.EOF // VMIN 0, VTIME 0: what there is, nothing
		case least == 0:
			err = p.BlockUntil(p.m.clock.Now().Add(wait), func() bool { return d.Poll()&(EventIn|EventHup) != 0 }, d)
			if err == syscall.ETIMEDOUT {
				return 0, io.EOF
			}
		default:
			err = p.Block(func() bool { return d.ready() || p.background(t) }, d)
		}
		if err != nil {
			return 0, err
		}
	}
}

// ready reports whether a read would get something, whatever VMIN says.
func (s *ttySlave) ready() bool {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.hung {
		return true
	}
	if s.t.termios.Lflag&ICANON != 0 {
		return len(s.t.in.ends) > 0
	}
	return len(s.t.in.ready) > 0
}

// background reports whether p lost the foreground of its terminal while it waited.
func (p *Process) background(t *TTY) bool {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.session.tty == t && t.fg != nil && t.fg != p.group
}

// awaitBytes waits for least bytes in raw mode, or (with VTIME) until nothing came for gap after the first.
func (p *Process) awaitBytes(d *ttySlave, least int, gap time.Duration) error {
	have := 0
	for {
		var deadline time.Time
		if gap > 0 && have > 0 {
			deadline = p.m.clock.Now().Add(gap)
		}
		err := p.BlockUntil(deadline, func() bool { n := d.t.waiting(); return n >= least || n != have || d.Poll()&EventHup != 0 }, d)
		if err == syscall.ETIMEDOUT {
			return nil
		}
		if err != nil {
			return err
		}
		if have = d.t.waiting(); have >= least || d.Poll()&EventHup != 0 {
			return nil
		}
	}
}

// Write is write(2): it waits until all is written unless the descriptor is non-blocking. A broken pipe or connection sends SIGPIPE first.
func (p *Process) Write(n int, b []byte) (int, error) {
	s, err := p.fds.get(n)
	if err != nil {
		return 0, err
	}
	p.Worked(len(b))
	if d, ok := s.fd.d.(*ttySlave); ok && d.t.Termios().Lflag&TOSTOP != 0 {
		if err := p.awaitForeground(d.t, SIGTTOU); err != nil {
			return 0, err
		}
	}
	done := 0
	for {
		w, err := s.fd.d.Write(b[done:])
		done += w
		switch {
		case err == syscall.EAGAIN && s.nonblock:
			if done > 0 {
				return done, nil
			}
			return 0, err
		case err == syscall.EAGAIN, err == nil && done < len(b) && w > 0 && !s.nonblock:
			if err := p.await(s.fd.d, EventOut); err != nil {
				if done > 0 && err == syscall.EINTR {
					return done, nil
				}
				return done, err
			}
			continue
		case err == syscall.EPIPE:
			p.Raise(SIGPIPE)
		}
		if done > 0 {
			return done, nil
		}
		return 0, err
	}
}

// FDPath is the path (or "pipe:[n]") of a descriptor.
func (p *Process) FDPath(n int) (string, error) {
	s, err := p.fds.get(n)
	if err != nil {
		return "", err
	}
	return s.fd.d.Name(), nil
}

// Fstat is fstat(2).
func (p *Process) Fstat(n int) (vfs.Stat, error) {
	s, err := p.fds.get(n)
	if err != nil {
		return vfs.Stat{}, err
	}
	return s.fd.d.Stat(), nil
}
