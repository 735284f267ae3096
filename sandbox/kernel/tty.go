package kernel

import (
	"context"
	"io"
	"strconv"
	"sync"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Bounds of a terminal's queues. Beyond them writers wait.
const (
	ttyInput  = 64 << 10
	ttyOutput = 64 << 10
	ttyEcho   = 4 << 10 // what echo may take beyond ttyOutput before it is dropped
	ttyLine   = 4095    // bytes of a line in canonical mode (N_TTY)
)

// Winsize is the size of a terminal: TIOCGWINSZ.
type Winsize struct{ Rows, Cols, XPixel, YPixel uint16 }

// TTY is a terminal: a pair of queues with a line discipline between (termios(3)). Its slave ends are FDs of processes, its
// master end is either host code's (Master) or a descriptor of a process (a pty).
type TTY struct {
	ino uint64

	mu      sync.Mutex
	termios Termios // guarded by mu
	size    Winsize // guarded by mu
	in      ldisc   // guarded by mu
	out     []byte  // guarded by mu
	stopped bool    // guarded by mu; by VSTOP
	hung    bool    // guarded by mu; the master end is closed
	slaves  int     // guarded by mu; open slave ends
	used    bool    // guarded by mu; a slave end was open once
	watch   watchers
	host    *Machine // guarded by mu; whose process has it as controlling terminal, or made it
	index   int      // guarded by mu; N of /dev/pts/N, −1 before it has one

	session *session // guarded by host.mu
	fg      *pgroup  // guarded by host.mu; foreground process group
	ns      *PIDNS   // guarded by host.mu; of the process that made it or took it as controlling terminal
	uid     uint32   // guarded by host.mu; its owner
}

// NewTTY makes a terminal. The caller holds the master end.
func NewTTY(rows, cols uint16) *TTY {
	return &TTY{ino: anonIno.Add(1), termios: DefaultTermios(), size: Winsize{Rows: rows, Cols: cols}, index: -1}
}

// FD opens a slave end: a process's standard streams are references (Dup) of one.
func (t *TTY) FD() *FD {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slaves++
	t.used = true
	return NewFD(&ttySlave{t})
}

// Master is the host's end of t.
func (t *TTY) Master() *Master { return &Master{t} }

// Master is the end of a terminal where the person sits.
type Master struct{ t *TTY }

// Read gives what the terminal shows: it blocks until there is something, ctx is done, or (io.EOF) all slave ends were closed and all was read.
func (m *Master) Read(ctx context.Context, p []byte) (int, error) {
	d := &ttyMaster{t: m.t}
	for {
		n, err := m.t.readOutput(p)
		if err != syscall.EAGAIN {
			return n, err
		}
		if err := awaitHost(ctx, d, EventIn); err != nil {
			return 0, err
		}
	}
}

// Write types p. It blocks while the reader is slow; signal characters pass even then. EIO after Close.
func (m *Master) Write(ctx context.Context, p []byte) (int, error) {
	d := &ttyMaster{t: m.t}
	done := 0
	for done < len(p) {
		n, err := m.t.input(p[done:])
		done += n
		if err == syscall.EAGAIN {
			err = awaitHost(ctx, d, EventOut)
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Resize sets the size; the foreground group gets SIGWINCH when it changed.
func (m *Master) Resize(rows, cols uint16) { m.t.SetSize(Winsize{Rows: rows, Cols: cols}) }

// Close hangs up: readers get the end, writers EIO, the session SIGHUP. Closing twice is fine.
func (m *Master) Close() error { m.t.hangup(); return nil }

// Size is the window size.
func (t *TTY) Size() Winsize {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size
}

// SetSize sets it and tells the foreground group.
func (t *TTY) SetSize(w Winsize) {
	t.mu.Lock()
	changed := t.size != w
	t.size = w
	t.mu.Unlock()
	if changed {
		t.signal(SIGWINCH)
	}
}

// Termios is the current state.
func (t *TTY) Termios() Termios {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.termios
}

// SetTermios changes the state. flush throws waiting input away (TCSAFLUSH).
//
// A Ctrl-C that waits when ISIG is switched on takes effect then; Linux keeps it as a byte. A shell that edits lines without ISIG hears keys in
// the order in which they were typed, and the Ctrl-C right behind Enter still reaches the command.
func (t *TTY) SetTermios(n Termios, flush bool) {
	t.mu.Lock()
	if flush {
		t.in.flush()
	}
	was := t.termios.Lflag
	t.termios = n
	var late Signal
	if was&ISIG == 0 {
		late = t.lateSignal()
	}
	if was&ICANON != n.Lflag&ICANON {
		t.in.modeChanged(n.Lflag&ICANON != 0)
	}
	if n.Iflag&IXON == 0 {
		t.stopped = false
	}
	t.watch.notifyLocked()
	t.mu.Unlock()
	if late != 0 {
		t.signal(late)
	}
}

// lateSignal is the last signal character in what waits, which is dropped up to it. 0: none.
func (t *TTY) lateSignal() Signal {
	l := &t.in
	for i := len(l.ready) - 1; i >= 0; i-- {
		if s := t.termios.signalOf(l.ready[i]); s != 0 {
			t.echo(l.ready[i])
			l.read0 += uint64(i + 1)
			l.ready = l.ready[i+1:]
			return s
		}
	}
	return 0
}

// drained reports whether the master has read all output (tcdrain).
func (t *TTY) drained() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.out) == 0 || t.hung
}

func (t *TTY) hangup() {
	t.mu.Lock()
	if t.hung {
		t.mu.Unlock()
		return
	}
	t.hung = true
	t.in.flush()
	t.out = nil
	t.watch.notifyLocked()
	m := t.host
	t.mu.Unlock()
	if m != nil {
		m.ttyHangup(t)
	}
}

// signal sends sig to the foreground group.
func (t *TTY) signal(sig Signal) {
	t.mu.Lock()
	m := t.host
	t.mu.Unlock()
	if m != nil {
		m.signalForeground(t, sig)
	}
}

// input takes typed bytes as far as there is room: EAGAIN when there is none, EIO after hang-up.
func (t *TTY) input(p []byte) (int, error) {
	var sigs []Signal
	t.mu.Lock()
	if t.hung {
		t.mu.Unlock()
		return 0, syscall.EIO
	}
	n := 0
	for n < len(p) {
		c := p[n]
		if len(t.in.ready) >= ttyInput && !t.flushes(c) {
			// A full queue must not swallow the Ctrl-C behind it.
			i := n
			for i < len(p) && !t.flushes(p[i]) {
				i++
			}
			if i == len(p) {
				break
			}
			n = i
			continue
		}
		if s := t.inputByte(c); s != 0 {
			sigs = append(sigs, s)
		}
		n++
	}
	if n > 0 {
		t.watch.notifyLocked()
	}
	t.mu.Unlock()
	for _, s := range sigs {
		t.signal(s)
	}
	if n == 0 && len(p) > 0 {
		return 0, syscall.EAGAIN
	}
	return n, nil
}

// flushes reports whether c is a character that sends a signal and empties the queues.
func (t *TTY) flushes(c byte) bool {
	return t.termios.Lflag&ISIG != 0 && t.termios.Lflag&NOFLSH == 0 && t.termios.signalOf(c) != 0
}

// readInput is a slave's read. EAGAIN; io.EOF for Ctrl-D and after hang-up.
func (t *TTY) readInput(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return 0, io.EOF
	}
	full := len(t.in.ready) >= ttyInput
	n, err := t.in.read(p, t.termios.Lflag&ICANON != 0)
	if full && n > 0 {
		t.watch.notifyLocked()
	}
	return n, err
}

// waiting is the number of bytes a read would find.
func (t *TTY) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in.available(t.termios.Lflag&ICANON != 0)
}

// writeOutput is a slave's write.
func (t *TTY) writeOutput(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return 0, syscall.EIO
	}
	if len(p) == 0 {
		return 0, nil
	}
	if t.stopped || len(t.out) >= ttyOutput {
		return 0, syscall.EAGAIN
	}
	was, n := len(t.out), 0
	for n < len(p) && len(t.out) < ttyOutput {
		t.put(p[n])
		n++
	}
	if was == 0 && len(t.out) > 0 {
		t.watch.notifyLocked()
	}
	return n, nil
}

// readOutput is the master's read.
func (t *TTY) readOutput(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.out) == 0 {
		if t.hung || t.used && t.slaves == 0 {
			return 0, io.EOF
		}
		return 0, syscall.EAGAIN
	}
	full := len(t.out) >= ttyOutput
	n := copy(p, t.out)
	t.out = t.out[n:]
	if len(t.out) == 0 {
		t.out = nil
	}
	if full || t.out == nil {
		t.watch.notifyLocked()
	}
	return n, nil
}

// ttySlave is an open slave end.
type ttySlave struct{ t *TTY }

func (s *ttySlave) Read(p []byte) (int, error)  { return s.t.readInput(p) }
func (s *ttySlave) Write(p []byte) (int, error) { return s.t.writeOutput(p) }

func (s *ttySlave) Poll() Events {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return EventIn | EventOut | EventHup
	}
	var ev Events
	if t.in.pollable(&t.termios) {
		ev |= EventIn
	}
	if !t.stopped && len(t.out) < ttyOutput {
		ev |= EventOut
	}
	return ev
}

func (s *ttySlave) Watch(f func()) func() { return watchUnder(&s.t.mu, &s.t.watch, f) }

func (s *ttySlave) Stat() vfs.Stat {
	return vfs.Stat{Dev: 22, Ino: s.t.ino, Mode: vfs.ModeChar | 0o620, Nlink: 1, GID: 5, Rdev: s.t.device(), Blksize: 1024}
}

func (s *ttySlave) Name() string { return s.t.Name() }
func (s *ttySlave) Kind() Kind   { return KindChar }

func (s *ttySlave) Release() {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slaves--
	if t.slaves == 0 {
		t.watch.notifyLocked()
	}
}

const ptsMajor = 136

func (t *TTY) device() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return vfs.MakeDev(ptsMajor, uint32(max(t.index, 0)))
}

// Name is the path of the slave end, "/dev/pts/N".
func (t *TTY) Name() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return "/dev/pts/" + strconv.Itoa(max(t.index, 0))
}

// ttyMaster is a master end as a description: a process's, or the host's for waiting.
type ttyMaster struct{ t *TTY }

func (m *ttyMaster) Read(p []byte) (int, error)  { return m.t.readOutput(p) }
func (m *ttyMaster) Write(p []byte) (int, error) { return m.t.input(p) }

func (m *ttyMaster) Poll() Events {
	t := m.t
	t.mu.Lock()
	defer t.mu.Unlock()
	var ev Events
	if len(t.out) > 0 {
		ev |= EventIn
	}
	if t.hung || t.used && t.slaves == 0 {
		ev |= EventHup
	}
	if len(t.in.ready) < ttyInput {
		ev |= EventOut
	}
	return ev
}

func (m *ttyMaster) Watch(f func()) func() { return watchUnder(&m.t.mu, &m.t.watch, f) }

func (m *ttyMaster) Stat() vfs.Stat {
	return vfs.Stat{Dev: 22, Ino: 2, Mode: vfs.ModeChar | 0o666, Nlink: 1, Rdev: vfs.MakeDev(5, 2), Blksize: 1024}
}

func (m *ttyMaster) Name() string { return "/dev/pts/ptmx" }
func (m *ttyMaster) Kind() Kind   { return KindChar }
func (m *ttyMaster) Release()     { m.t.hangup() }
