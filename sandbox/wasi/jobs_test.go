package wasi_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

func TestSignals(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	for _, c := range []struct {
		name string
		args []string
		sig  kernel.Signal
		code int
		out  string
	}{
		{"a caught signal is polled and taken once", []string{"sig", "catch", "15"}, kernel.SIGTERM, 0, "ready\ngot 15 0\n"},
		{"a caught signal interrupts who asked for it", []string{"sig", "eintr", "10"}, kernel.SIGUSR1, 0, "ready\ntrue\n"},
		{"an ignored signal changes nothing", []string{"sig", "ignore", "15"}, kernel.SIGTERM, 0, "ready\nalive\n"},
		{"SIGKILL asks nobody", []string{"sig", "ignore", "15"}, kernel.SIGKILL, 137, "ready\n"},
		{"SIGCHLD's default is nothing", []string{"sig", "ignore", "15"}, kernel.SIGCHLD, 0, "ready\nalive\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := l.pipe(kernel.SpawnSpec{}, c.args...)
			p.expect("ready\n")
			p.Signal(c.sig)
			if !strings.HasSuffix(c.out, "alive\n") { // that one goes on until its input ends
				p.expect(c.out)
			}
			if code, out := p.end(); code != c.code || out != c.out {
				t.Errorf("code %d, output %q; want %d, %q", code, out, c.code, c.out)
			}
		})
	}
}

func TestReaping(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	got := l.runSpec(kernel.SpawnSpec{Path: guestPath, Args: []string{guestPath, "tree", "top"}, PIDNS: kernel.NewPIDNamespace(l.PIDNS())}, "")
	if want := "middle 1024 <nil>\norphan 1280 <nil>\n"; got.out != want || got.code != 0 {
		t.Errorf("%+v, want %q", got, want)
	}
	if n := len(l.Processes()); n != 0 {
		t.Errorf("%d processes left", n)
	}
}

// terminal is a guest on a terminal that the test sits at.
type terminal struct {
	*kernel.Process
	t      *testing.T
	m      *kernel.Master
	screen strings.Builder
}

func (l *lab) terminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	tty := kernel.NewTTY(24, 80)
	fd := tty.FD()
	p, err := l.Spawn(kernel.SpawnSpec{Path: guestPath, Args: append([]string{guestPath}, args...), TTY: tty, Files: []*kernel.FD{fd, fd, fd}})
	fd.Close()
	if err != nil {
		t.Fatal(err)
	}
	return &terminal{Process: p, t: t, m: tty.Master()}
}

func (x *terminal) keys(s string) {
	x.t.Helper()
	if _, err := x.m.Write(context.Background(), []byte(s)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) expect(text string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	buf := make([]byte, 4096)
	for !strings.Contains(x.screen.String(), text) {
		n, err := x.m.Read(ctx, buf)
		x.screen.Write(buf[:n])
		if err != nil && !strings.Contains(x.screen.String(), text) {
			x.t.Fatalf("waiting for %q: %v; the screen shows %q", text, err, x.screen.String())
		}
	}
}

// end reads to the end of the program.
func (x *terminal) end() (int, string) {
	x.t.Helper()
	b, err := io.ReadAll(reader{x.m})
	if err != nil {
		x.t.Fatal(err)
	}
	x.screen.Write(b)
	<-x.Done()
	return x.Status().ExitCode(), x.screen.String()
}

type reader struct{ m *kernel.Master }

func (r reader) Read(p []byte) (int, error) { return r.m.Read(context.Background(), p) }

func TestTerminal(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	t.Run("lines, Hangul, end of file", func(t *testing.T) {
		x := l.terminal(t, "tty", "lines")
		x.expect("ready 1\r\n")
		x.keys("한글\x7f\x7fab\r")
		x.expect("[ab]\r\n")
		x.keys("\x04")
		if code, screen := x.end(); code != 0 || !strings.HasSuffix(screen, "[ab]\r\nend\r\n") {
			t.Errorf("code %d, screen %q", code, screen)
		}
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		x := l.terminal(t, "tty", "lines")
		x.expect("ready 1\r\n")
		x.keys("abc\x03")
		if code, screen := x.end(); code != 130 || !strings.HasSuffix(screen, "^C") {
			t.Errorf("code %d, screen %q", code, screen)
		}
	})
	t.Run("Ctrl-backslash reaches a tight loop", func(t *testing.T) {
		x := l.terminal(t, "spin")
		x.keys("\x1c")
		if code, _ := x.end(); code != 131 {
			t.Errorf("code %d, want 131", code)
		}
	})
	t.Run("a new size", func(t *testing.T) {
		x := l.terminal(t, "tty", "size")
		x.expect("ready\r\n")
		x.m.Resize(50, 132)
		if _, screen := x.end(); !strings.HasSuffix(screen, "signal 28\r\n50 132\r\n") {
			t.Errorf("screen %q", screen)
		}
	})
	t.Run("raw", func(t *testing.T) {
		x := l.terminal(t, "tty", "raw")
		x.expect("ready\r\n")
		x.keys("\x03\rq")
		if code, screen := x.end(); code != 0 || !strings.HasSuffix(screen, "03\r\n0d\r\n") {
			t.Errorf("code %d, screen %q", code, screen)
		}
	})
	t.Run("a background reader stops until it is in front", func(t *testing.T) {
		x := l.terminal(t, "tty", "background")
		x.expect("front <nil>\r\n")
		x.keys("typed\r")
		if _, screen := x.end(); !strings.Contains(screen, "stopped by 21 <nil>\r\n") || !strings.Contains(screen, "read \"typed\\n\" <nil>\r\n") || !strings.HasSuffix(screen, "child 0 <nil> <nil>\r\n") {
			t.Errorf("screen %q", screen)
		}
	})
	t.Run("hang-up", func(t *testing.T) {
		x := l.terminal(t, "tty", "lines")
		x.expect("ready 1\r\n")
		x.m.Close()
		<-x.Done()
		if got := x.Status().ExitCode(); got != 129 {
			t.Errorf("code %d, want 129", got)
		}
	})
}

func TestSocketsBetweenGuests(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	s := l.pipe(kernel.SpawnSpec{}, "net", "serve", "80")
	s.expect("ready\n")
	if got := l.run("", "net", "dial", "80"); got.out != "pong\n" || got.code != 0 {
		t.Errorf("%+v", got)
	}
	if code, out := s.end(); code != 0 {
		t.Errorf("the server left with %d: %s", code, out)
	}
}
