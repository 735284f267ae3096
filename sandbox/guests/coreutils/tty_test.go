package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal of 10 rows and 40 columns with a program on it.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	out    bytes.Buffer
}

func onTerminal(t *testing.T, dir, name string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 40})
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin, "TERM=xterm-256color", "LC_ALL=C.UTF-8"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	t.Cleanup(func() { master.Close() })
	return &terminal{t: t, master: master, cmd: cmd}
}

// until reads the screen's bytes until they hold text; "" reads to the end.
func (term *terminal) until(text string) string {
	term.t.Helper()
	guard := time.AfterFunc(20*time.Second, func() { term.cmd.Process.Kill() })
	defer guard.Stop()
	buf := make([]byte, 4096)
	for text == "" || !strings.Contains(term.out.String(), text) {
		n, err := term.master.Read(buf)
		term.out.Write(buf[:n])
		if err != nil { // the other side is closed
			if text != "" {
				term.t.Fatalf("ended before %q: %q", text, term.out.String())
			}
			break
		}
	}
	return strings.ReplaceAll(term.out.String(), "\r\n", "\n")
}

func (term *terminal) end() string {
	out := term.until("")
	if err := term.cmd.Wait(); err != nil {
		term.t.Errorf("%v", err)
	}
	return out
}

func TestListOnTerminal(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "with space"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Mkdir(filepath.Join(dir, "folder"), 0o755)
	// As recorded from GNU ls on a terminal of 40 columns.
	want := " alpha   charlie   echo     foxtrot\n bravo   delta     folder  'with space'\n"
	if got := onTerminal(t, dir, "ls").end(); got != want {
		t.Errorf("ls:\n%s\nwant\n%s", got, want)
	}
	if got := onTerminal(t, dir, "ls", "--color=auto", "-d", "folder", "alpha").end(); got != "alpha  \x1b[0m\x1b[01;34mfolder\x1b[0m\n" {
		t.Errorf("ls --color=auto: %q", got)
	}
}

func TestTopOnTerminal(t *testing.T) {
	term := onTerminal(t, t.TempDir(), "top", "-d", "60")
	first := term.until("COMMAND")
	if !strings.Contains(first, "\x1b[?1049h") || !strings.Contains(first, "load average") {
		t.Errorf("first screen %q", first)
	}
	term.out.Reset()
	if _, err := term.master.WriteString("M"); err != nil { // sorts by memory and paints again
		t.Fatal(err)
	}
	term.until("COMMAND")
	term.master.WriteString("q")
	if out := term.end(); !strings.Contains(out, "\x1b[?1049l") {
		t.Errorf("the screen was not given back: %q", out)
	}
}

func TestTerminalUtilities(t *testing.T) {
	if got := onTerminal(t, t.TempDir(), "stty", "size").end(); got != "10 40\n" {
		t.Errorf("stty size: %q", got)
	}
	if got := onTerminal(t, t.TempDir(), "tty").end(); !strings.HasPrefix(got, "/dev/pts/") {
		t.Errorf("tty: %q", got)
	}
	for line := range strings.Lines(onTerminal(t, t.TempDir(), "ps", "aux").end()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 40 {
			t.Errorf("ps wrote %d columns: %q", n, line)
		}
	}
}
