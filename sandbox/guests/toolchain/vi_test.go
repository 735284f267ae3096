package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

// typist runs a program at a terminal of the kernel.
type typist struct {
	*testing.T
	*kernel.Process
	master *kernel.Master
	screen lockedBuffer
}

func (l *lab) at(t *testing.T, rows, cols uint16, argv ...string) *typist {
	t.Helper()
	tty := kernel.NewTTY(rows, cols)
	fd := tty.FD()
	p, err := l.machine.Spawn(kernel.SpawnSpec{Path: argv[0], Args: argv, Dir: "/root", Env: append(l.env, environment...), TTY: tty, Setsid: true, Files: []*kernel.FD{fd, fd, fd}})
	fd.Close()
	if err != nil {
		t.Fatal(err)
	}
	y := &typist{T: t, Process: p, master: tty.Master()}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := y.master.Read(t.Context(), buf)
			y.screen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { y.master.Close() })
	return y
}

func (y *typist) send(text string) {
	y.Helper()
	if _, err := y.master.Write(y.Context(), []byte(text)); err != nil {
		y.Fatal(err)
	}
}

// sees waits until the program has written text since the call before.
func (y *typist) sees(from int, text string) int {
	y.Helper()
	y.screen.wait(y.T, func(s string) bool { return strings.Contains(s[from:], text) })
	return from + strings.Index(y.screen.String()[from:], text) + len(text)
}

// TestVi edits a file in the kernel: keys through the line discipline, Escape alone and as a sequence, another window size, the file.
func TestVi(t *testing.T) {
	l := newLab(t, map[string][]byte{"vi": guestWasm(t, guest{name: "vi"}, "../vi")})
	l.write("/root/web.yaml", "replicas: 1\nimage: nginx:1.28\n")
	y := l.at(t, 10, 40, "/bin/vi", "web.yaml")
	at := y.sees(0, `"web.yaml" 2L, 30B`)
	y.send("A0\x1b") // the Escape stands alone: nothing follows it until the editor has drawn
	at = y.sees(at, "replicas: 10")
	at = y.sees(at, "\x1b[1;12H")
	y.send("\x1b[B:%s/28/29/\r")
	at = y.sees(at, "image: nginx:1.29")
	y.send("o이름: 가\x1b")
	at = y.sees(at, "이름: 가")
	y.master.Resize(5, 20)
	at = y.sees(at, "\x1b[2J")
	y.send("\x03")
	at = y.sees(at, "Type  :q!")
	y.send("ZZ")
	<-y.Done()
	if text, err := l.view.ReadFile("/root/web.yaml", 1000); string(text) != "replicas: 10\nimage: nginx:1.29\n이름: 가\n" || err != nil || y.Status() != 0 {
		t.Errorf("file %q, %v, status %#x", text, err, y.Status())
	}
	y.sees(at, "\x1b[?1049l")
}

// TestViGivesTheTerminalBack: killed by SIGTERM it leaves the terminal as it was, and the file.
func TestViGivesTheTerminalBack(t *testing.T) {
	l := newLab(t, map[string][]byte{"vi": guestWasm(t, guest{name: "vi"}, "../vi")})
	l.write("/root/f", "a\n")
	y := l.at(t, 10, 40, "/bin/vi", "f")
	at := y.sees(0, `"f" 1L, 2B`)
	y.send("x")
	y.sees(at, "\x1b[1;1H")
	if err := y.Signal(kernel.Signal(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	<-y.Done()
	y.sees(at, "\x1b[?1049l")
	if ws := syscall.WaitStatus(y.Status()); !ws.Exited() || ws.ExitStatus() != 1 {
		t.Errorf("status %#x", y.Status())
	}
	if text, _ := l.view.ReadFile("/root/f", 10); string(text) != "a\n" {
		t.Errorf("file %q", text)
	}
	if _, errs, code := l.run("/bin/vi", "f"); code != 1 || errs != "vi: standard input is not a terminal\n" {
		t.Errorf("without a terminal: %q, code %d", errs, code)
	}
}
