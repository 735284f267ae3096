package kernel

import (
	"context"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// typed types s and gives what a program reads (until it would wait) and what the screen shows.
func typed(t *testing.T, tty *TTY, s string) (read, screen string) {
	t.Helper()
	if n, err := tty.input([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("input: %d, %v", n, err)
	}
	var b strings.Builder
	buf := make([]byte, 64)
	for {
		n, err := tty.readInput(buf)
		b.Write(buf[:n])
		switch err {
		case nil:
			b.WriteByte('|') // where a read ended
			continue
		case io.EOF:
			b.WriteString("<eof>")
			continue
		}
		break
	}
	out := make([]byte, 1<<17)
	n, _ := tty.readOutput(out)
	return b.String(), string(out[:n])
}

func TestLineDiscipline(t *testing.T) {
	raw := func(m *Termios) { m.Lflag &^= ICANON | ECHO | ISIG | IEXTEN; m.Iflag &^= ICRNL | IXON }
	for _, c := range []struct {
		name   string
		set    func(*Termios)
		typed  string
		read   string
		screen string
	}{
		{"a line", nil, "ls -l\r", "ls -l\n|", "ls -l\r\n"},
		{"an unfinished line waits", nil, "abc", "", "abc"},
		{"two lines are two reads", nil, "a\rb\r", "a\n|b\n|", "a\r\nb\r\n"},
		{"erase", nil, "abx\x7fc\r", "abc\n|", "abx\b \bc\r\n"},
		{"erase at the start does nothing", nil, "\x7f\x7fa\r", "a\n|", "a\r\n"},
		{"erase of a Hangul syllable takes its bytes and two columns", nil, "가나\x7f\r", "가\n|", "가나\b \b\b \b\r\n"},
		{"erase of a decomposed syllable's last jamo takes no column", nil, "\u1100\u1161\x7f\r", "\u1100\n|", "\u1100\u1161\r\n"},
		{"erase of a control character takes two columns", nil, "a\x16\x01\x7f\r", "a\n|", "a^\b^A\b \b\b \b\r\n"},
		{"kill", nil, "rm -rf\x15ok\r", "ok\n|", "rm -rf" + strings.Repeat("\b \b", 6) + "ok\r\n"},
		{"word erase", nil, "cp one two\x17x\r", "cp one x\n|", "cp one two" + strings.Repeat("\b \b", 3) + "x\r\n"},
		{"word erase takes blanks first", nil, "a bc  \x17d\r", "a d\n|", "a bc  " + strings.Repeat("\b \b", 4) + "d\r\n"},
		{"end of file", nil, "\x04", "<eof>", ""},
		{"Ctrl-D after text gives the text", nil, "abc\x04", "abc|", "abc"},
		{"Ctrl-D twice", nil, "abc\x04\x04", "abc|<eof>", "abc"},
		{"literal next", nil, "\x16\x03\r", "\x03\n|", "^\b^C\r\n"},
		{"reprint", nil, "ab\x12c\r", "abc\n|", "ab^R\r\nabc\r\n"},
		{"control characters show as ^X", nil, "\x01\r", "\x01\n|", "^A\r\n"},
		{"tab echoes as it is", nil, "a\tb\r", "a\tb\n|", "a\tb\r\n"},
		{"Ctrl-C throws the line away", nil, "abc\x03d\r", "d\n|", "^Cd\r\n"},
		{"no echo", func(m *Termios) { m.Lflag &^= ECHO }, "secret\r", "secret\n|", ""},
		{"no echo but newline", func(m *Termios) { m.Lflag = m.Lflag&^ECHO | ECHONL }, "secret\r", "secret\n|", "\r\n"},
		{"carriage return ignored", func(m *Termios) { m.Iflag |= IGNCR }, "a\rb\n", "ab\n|", "ab\r\n"},
		{"no output processing", func(m *Termios) { m.Oflag &^= OPOST }, "a\r", "a\n|", "a\n"},
		{"raw", raw, "\x03\r\x7f가", "\x03\r\x7f가|", ""},
		{"stop and start are not read", nil, "a\x13b\x11c\r", "abc\n|", "abc\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tty := NewTTY(24, 80)
			m := tty.Termios()
			if c.set != nil {
				c.set(&m)
				tty.SetTermios(m, false)
			}
			read, screen := typed(t, tty, c.typed)
			if read != c.read {
				t.Errorf("read %q, want %q", read, c.read)
			}
			if screen != c.screen {
				t.Errorf("screen %q, want %q", screen, c.screen)
			}
		})
	}
}

func TestTTYModeChangeKeepsInput(t *testing.T) {
	tty := NewTTY(24, 80)
	typed(t, tty, "par")
	m := tty.Termios()
	m.Lflag &^= ICANON
	tty.SetTermios(m, false)
	if read, _ := typed(t, tty, "t"); read != "part|" {
		t.Errorf("read %q in raw mode, want what was typed before too", read)
	}
	typed(t, tty, "")
	tty.input([]byte("xy"))
	m.Lflag |= ICANON
	tty.SetTermios(m, false)
	if read, _ := typed(t, tty, ""); read != "xy|" {
		t.Errorf("read %q in canonical mode, want xy", read)
	}
	tty.input([]byte("gone\r"))
	tty.SetTermios(m, true)
	if read, _ := typed(t, tty, ""); read != "" {
		t.Errorf("read %q after a flush", read)
	}
}

func TestTTYBackPressure(t *testing.T) {
	tty := NewTTY(24, 80)
	fd := tty.FD()
	defer fd.Close()
	chunk := strings.Repeat("x", 4096)
	total := 0
	for {
		n, err := fd.d.Write([]byte(chunk))
		total += n
		if err == syscall.EAGAIN {
			break
		}
		if err != nil || total > 2*ttyOutput {
			t.Fatalf("write after %d: %v", total, err)
		}
	}
	if total != ttyOutput {
		t.Errorf("%d bytes of output fit, want %d", total, ttyOutput)
	}
	if fd.d.Poll()&EventOut != 0 {
		t.Error("a full terminal polls writable")
	}
	m := tty.Master()
	ctx := context.Background()
	if n, err := m.Read(ctx, make([]byte, 1<<17)); n != total || err != nil {
		t.Errorf("the master read %d, %v", n, err)
	}
	if fd.d.Poll()&EventOut == 0 {
		t.Error("an empty terminal does not poll writable")
	}

	t.Run("input nobody reads", func(t *testing.T) {
		raw := tty.Termios()
		raw.Lflag &^= ICANON | ECHO
		tty.SetTermios(raw, false)
		total := 0
		for {
			n, err := tty.input([]byte(chunk))
			total += n
			if err == syscall.EAGAIN {
				break
			}
			if total > 2*ttyInput {
				t.Fatal("input has no bound")
			}
		}
		tctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := m.Write(tctx, []byte("y")); err != context.DeadlineExceeded {
			t.Errorf("typing into a full terminal: %v", err)
		}
		if n, err := m.Write(ctx, []byte("y\x03z")); n != 3 || err != nil {
			t.Errorf("Ctrl-C behind a full queue: %d, %v", n, err)
		}
		buf := make([]byte, 16)
		if n, _ := fd.d.Read(buf); string(buf[:n]) != "z" {
			t.Errorf("read %q after Ctrl-C, want z", buf[:n])
		}
	})
}

func TestTTYFlowControl(t *testing.T) {
	tty := NewTTY(24, 80)
	fd := tty.FD()
	defer fd.Close()
	tty.input([]byte("\x13"))
	if _, err := fd.d.Write([]byte("x")); err != syscall.EAGAIN {
		t.Errorf("write while stopped: %v, want EAGAIN", err)
	}
	tty.input([]byte("\x11"))
	if n, err := fd.d.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("write after start: %d, %v", n, err)
	}
}

func TestTTYHangup(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("sh", pause)
	tty := NewTTY(24, 80)
	s := spec("sh")
	s.TTY, s.Files = tty, []*FD{tty.FD()}
	p := l.start(s)
	s.Files[0].Close()
	tty.Master().Close()
	<-p.Done()
	if got := p.Status().Signaled(); got != SIGHUP {
		t.Errorf("died of %d, want SIGHUP", got)
	}
	if _, err := tty.Master().Write(context.Background(), []byte("x")); err != syscall.EIO {
		t.Errorf("typing after the hang-up: %v, want EIO", err)
	}
}

func TestTTYMasterSeesTheEnd(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("hi", func(_ context.Context, p *Process) error {
		_, err := p.Write(1, []byte("hi\n"))
		return err
	})
	tty := NewTTY(24, 80)
	fd := tty.FD()
	s := spec("hi")
	s.TTY, s.Files = tty, []*FD{fd, fd, fd}
	l.start(s)
	fd.Close()
	var b []byte
	buf := make([]byte, 64)
	for {
		n, err := tty.Master().Read(context.Background(), buf)
		b = append(b, buf[:n]...)
		if err != nil {
			if err != io.EOF {
				t.Errorf("read: %v, want the end", err)
			}
			break
		}
	}
	if string(b) != "hi\r\n" {
		t.Errorf("shown %q", b)
	}
}

// startAt starts a program as the leader of a session at a terminal.
func (l *lab) startAt(tty *TTY, name string) *Process {
	s := spec(name)
	s.TTY, s.Files = tty, []*FD{tty.FD()}
	return l.start(s)
}

func TestForegroundSignals(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("job", pause)
	tty := NewTTY(24, 80)
	var job *Process
	started := make(chan struct{})
	l.install("sh", func(ctx context.Context, p *Process) (err error) {
		for _, s := range []Signal{SIGINT, SIGQUIT, SIGTSTP, SIGTTOU, SIGTTIN} {
			p.SetAction(s, ModeIgnored)
		}
		s := spec("job")
		s.SetPgid, s.Foreground = true, tty
		if job, err = p.Spawn(ctx, s); err != nil {
			return err
		}
		job.SetAction(SIGINT, ModeDefault) // ignored signals are inherited: a shell resets them
		job.SetAction(SIGTSTP, ModeDefault)
		close(started)
		w, err := p.Wait(-1, WUNTRACED)
		if err != nil || w.Status != WaitStatus(SIGTSTP)<<8|0x7f {
			t.Errorf("Ctrl-Z: %#x, %v", w.Status, err)
		}
		p.Kill(-job.PID(nil), SIGCONT)
		if w, err = p.Wait(-1, 0); err != nil || w.Status != WaitStatus(SIGINT) {
			t.Errorf("Ctrl-C: %#x, %v", w.Status, err)
		}
		return nil
	})
	sh := l.startAt(tty, "sh")
	<-started
	if got := tty.ForegroundProcess(); got != job {
		t.Errorf("the foreground process is %v, want the job", got)
	}
	m := tty.Master()
	m.Write(context.Background(), []byte{26})
	until(t, "the job going on", func() bool {
		l.Machine.mu.Lock()
		defer l.Machine.mu.Unlock()
		return job.contNews
	})
	m.Write(context.Background(), []byte{3})
	<-sh.Done()
	if st := sh.Status(); st != 0 {
		t.Errorf("the shell's status is %#x", st)
	}
}

// TestLateSignal: what was typed in raw mode up to a Ctrl-C is gone when signals are switched on.
func TestLateSignal(t *testing.T) {
	l := newLab(t, Limits{})
	tty := NewTTY(24, 80)
	cooked := tty.Termios()
	raw := cooked
	raw.Lflag &^= ICANON | ECHO | ISIG
	left := make([]byte, 10)
	l.install("sh", func(ctx context.Context, p *Process) error {
		tty.SetTermios(raw, false)
		tty.input([]byte("ab\x03cd\r"))
		tty.SetTermios(cooked, false)
		n, err := tty.readInput(left)
		left = left[:n]
		if err != nil {
			return err
		}
		return p.Block(func() bool { return false })
	})
	sh := l.startAt(tty, "sh")
	<-sh.Done()
	if st := sh.Status(); st != WaitStatus(SIGINT) {
		t.Errorf("status %#x", st)
	}
	if string(left) != "cd\n" {
		t.Errorf("left %q", left)
	}
}

// TestForegroundComesBack: a Ctrl-C between two commands of a loop is the shell's, before it has taken the terminal back.
func TestForegroundComesBack(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("job", pause)
	tty := NewTTY(24, 80)
	started, typed := make(chan *Process), make(chan struct{})
	l.install("sh", func(ctx context.Context, p *Process) error {
		s := spec("job")
		s.SetPgid, s.Foreground = true, tty
		job, err := p.Spawn(ctx, s)
		if err != nil {
			return err
		}
		started <- job
		<-typed // nobody has waited for the job
		return p.Block(func() bool { return false })
	})
	sh := l.startAt(tty, "sh")
	job := <-started
	job.Signal(SIGTERM)
	<-job.Done()
	if got := tty.ForegroundProcess(); got != sh {
		t.Errorf("the foreground process is %v, want the shell", got)
	}
	tty.Master().Write(context.Background(), []byte{3})
	close(typed)
	<-sh.Done()
	if st := sh.Status(); st != WaitStatus(SIGINT) {
		t.Errorf("the shell's status is %#x", st)
	}
}

func FuzzTTY(f *testing.F) {
	f.Add([]byte("ls\r\x7f\x15\x17가\x7f\x16\x03\x04\x12\x13\x11\x03\x1a"), uint32(0xffff))
	f.Add([]byte("\xea\xb0\x7f\xff\x7f\t\t\x7f"), uint32(ICANON|ECHO|ECHOE|ECHOCTL|IEXTEN))
	f.Fuzz(func(t *testing.T, in []byte, lflag uint32) {
		tty := NewTTY(24, 80)
		m := tty.Termios()
		m.Lflag = lflag
		tty.SetTermios(m, false)
		for len(in) > 0 {
			n, err := tty.input(in[:min(len(in), 100)])
			if err != nil && err != syscall.EAGAIN {
				t.Fatal(err)
			}
			if err == syscall.EAGAIN {
				break
			}
			in = in[n:]
			if len(tty.out) > ttyOutput+ttyEcho+8 || len(tty.in.ready) > ttyInput+ttyLine+1 || len(tty.in.line) > ttyLine+1 {
				t.Fatalf("a queue is beyond its bound: %d %d %d", len(tty.out), len(tty.in.ready), len(tty.in.line))
			}
			tty.SetTermios(m, false)
			m.Lflag ^= ICANON
		}
		buf := make([]byte, 7)
		for range 100_000 {
			if _, err := tty.readInput(buf); err == syscall.EAGAIN {
				return
			}
		}
		t.Fatal("input has no end")
	})
}
