package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKubectl(t *testing.T) {
	t.Run("installed", func(t *testing.T) {
		play(t, newNative(t, newTestLab(t, Options{})), "testdata/kubectl.txt")
	})
	t.Run("in the lab", func(t *testing.T) {
		play(t, guest{newTestLab(t, Options{})}, "testdata/kubectl.txt")
	})
}

func TestFailures(t *testing.T) {
	t.Run("installed", func(t *testing.T) {
		play(t, newNative(t, newTestLab(t, Options{})), "testdata/failures.txt")
	})
	t.Run("in the lab", func(t *testing.T) {
		play(t, guest{newTestLab(t, Options{})}, "testdata/failures.txt")
	})
}

// screen is what a terminal or a command has shown so far.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer // protected by mu
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// String is the text without what colours it and moves the cursor.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return escapes.ReplaceAllString(s.b.String(), "")
}

// escapes are ECMA-48's control sequences and operating system commands.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]|\x1b\\][^\a]*\a")

// await waits until re matches and gives its submatches.
func (s *screen) await(t testing.TB, re string) []string {
	t.Helper()
	compiled := regexp.MustCompile(re)
	var m []string
	eventually(t, func() error {
		if m = compiled.FindStringSubmatch(s.String()); m == nil {
			return fmt.Errorf("%s does not appear in:\n%s", re, s)
		}
		return nil
	})
	return m
}

// eventually asks until there is no error, for at most a minute.
func eventually(t testing.TB, ask func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// openPTY makes a terminal of this machine.
func openPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 90})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// oneWeb starts webManifest with one pod, which it names.
func oneWeb(t testing.TB, l *Lab) (pod string) {
	t.Helper()
	startWeb(t, l, 1)
	return "pod/" + l.pods(t, "app=web")[0].name
}

func TestExecTerminal(t *testing.T) {
	l := newTestLab(t, Options{Nodes: 1})
	pod := oneWeb(t, l)
	t.Run("installed", func(t *testing.T) {
		c := newNative(t, l)
		master, slave := openPTY(t)
		defer master.Close()
		cmd := c.command("kubectl", "exec", "-it", pod, "--", "sh")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		var s screen
		go io.Copy(&s, master) // ends with the terminal
		converse(t, &s, master, func(rows, cols uint16) error {
			return errors.Join(unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}), cmd.Process.Signal(syscall.SIGWINCH))
		})
		var failed *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &failed) || failed.ExitCode() != 5 {
			t.Errorf("%v, want exit status 5\n%s", err, &s)
		}
	})
	t.Run("in the lab", func(t *testing.T) {
		term, err := l.Terminal(Workstation, 30, 90, "en")
		if err != nil {
			t.Fatal(err)
		}
		defer term.Close()
		var s screen
		typist := newKeys(t, term, &s)
		s.await(t, `\$ \s*$`)
		fmt.Fprintf(typist, "kubectl exec -it %s -- sh\r", pod)
		converse(t, &s, typist, func(rows, cols uint16) error { return term.Resize(int(rows), int(cols)) })
		s.await(t, `(?s)exit code 5.*\$ \s*$`) // what is typed before would be kubectl's
		fmt.Fprint(typist, "echo left with $?\r")
		s.await(t, `left with 5`)
	})
}

// keys types into a lab's terminal.
type keys struct {
	t    testing.TB
	term interface {
		Write(ctx context.Context, p []byte) error
	}
}

// newKeys has s show what the terminal shows.
func newKeys(t testing.TB, term interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, p []byte) error
}, s *screen) keys {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, err := term.Read(ctx)
			s.Write(b)
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return keys{t, term}
}

func (k keys) Write(p []byte) (int, error) { return len(p), k.term.Write(context.Background(), p) }

// converse works in a shell of a container, behind kubectl exec -it in a terminal of 30 rows and 90 columns, and leaves it with 5.
func converse(t testing.TB, s *screen, in io.Writer, resize func(rows, cols uint16) error) {
	t.Helper()
	say := func(text string) { fmt.Fprint(in, text) }
	s.await(t, `# \s*$`)
	say("echo $((6*7)); tty; stty size\r")
	s.await(t, `\n42\r\n/dev/pts/0\r\n30 90\r\n`)
	if err := resize(20, 70); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // the size goes another way than the keys
		n := len(s.String())
		say("stty size; echo do''ne\r")
		s.await(t, fmt.Sprintf(`(?s)\A.{%d}.*done\r\n`, n))
		if !strings.Contains(s.String()[n:], "\n20 70\r") {
			return errors.New("the window's new size does not arrive")
		}
		return nil
	})
	say("sh -c 'echo star''ted; sleep 1000'\r")
	s.await(t, `started\s*\n`)
	say("\x03")
	say("echo int''errupted with $?\r")
	s.await(t, `interrupted with 130`)
	say("exit 5\r")
}

func TestPortForward(t *testing.T) {
	l := newTestLab(t, Options{Nodes: 1})
	pod := oneWeb(t, l)
	t.Run("installed", func(t *testing.T) {
		c := newNative(t, l)
		var s, log screen
		stop := start(t, &s, c.command("kubectl", "port-forward", "service/web", ":80", "--address=127.0.0.1"))
		follow := start(t, &log, c.command("kubectl", "logs", "-f", pod))
		port := s.await(t, `Forwarding from 127.0.0.1:(\d+) -> 80`)[1]
		resp, err := http.Get("http://127.0.0.1:" + port + "/from-outside")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusNotFound || !bytes.Contains(body, []byte("nginx/1.28.0")) {
			t.Errorf("%v %s\n%s", err, resp.Status, body)
		}
		s.await(t, "Handling connection for "+port)
		log.await(t, `127\.0\.0\.1 - - \[.*\] "GET /from-outside HTTP/1\.1" 404 \d+ "-" "Go-http-client/1\.1" "-"\n`)
		stop()
		follow()
	})
	t.Run("in the lab", func(t *testing.T) {
		out := l.mustRun(t, `kubectl port-forward service/web 18080:80 >forward.log & pid=$!
until grep -q Forwarding forward.log; do sleep 0.1; done
curl -sS http://localhost:18080/ | grep title
kill $pid; cat forward.log`)
		if want := pattern("<title>Welcome to nginx!</title>\nForwarding from 127.0.0.1:18080 -> 80\n…\nHandling connection for 18080\n"); !want.MatchString(out) {
			t.Errorf("got:\n%s", out)
		}
	})
}

// start starts a command whose output s takes; stop ends it.
func start(t testing.TB, s *screen, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	cmd.Stdout, cmd.Stderr = s, s
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(os.Interrupt) // it may have ended
			_ = cmd.Wait()                       // with the signal's code
		})
	}
	t.Cleanup(stop)
	return stop
}
