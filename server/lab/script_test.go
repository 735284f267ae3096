package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience bounds one command of a script, not what is expected of it: a machine that never ran kubectl compiles it first.
const patience = 3 * time.Minute

// client is a place from which a person works with a lab.
type client interface {
	write(t testing.TB, name, text string)
	// sh runs a command line in a shell and gives what it printed, stdout and stderr together.
	sh(t testing.TB, line string) (output string, exit int)
}

// guest is the lab's workstation: kubectl is the guest.
type guest struct{ *Lab }

func (c guest) write(t testing.TB, name, text string) {
	t.Helper()
	if err := c.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c guest) sh(t testing.TB, line string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, exit, err := c.Run(ctx, line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out), exit
}

// native is this machine with a kubeconfig of the lab: kubectl is the installed one.
type native struct {
	dir string
	env []string
}

// newNative has the lab's API server listen on loopback. It skips the test where no kubectl is installed.
func newNative(t testing.TB, l *Lab) native {
	t.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("no kubectl on the PATH; the lab's own is tested in any case")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go l.host.Gate().Serve(ln) // ends with the listener
	config, err := l.Kubeconfig("https://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := native{dir, append(os.Environ(), "HOME="+dir, "KUBECONFIG="+filepath.Join(dir, "config"), "LC_ALL=C")}
	c.write(t, "config", string(config))
	return c
}

func (c native) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c native) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd
}

func (c native) sh(t testing.TB, line string) (string, int) {
	t.Helper()
	out, err := c.command("sh", "-c", line).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%s: %v", line, err)
	}
	if failed != nil {
		return string(out), failed.ExitCode()
	}
	return string(out), 0
}

// step is a command line and what it should print.
type step struct {
	at         int // line number
	line, want string
}

// readScript parses a file of commands and, after lines "-- NAME --", the files they need. testdata/kubectl.txt tells the format.
func readScript(t testing.TB, name string) (steps []step, files map[string]string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	file := ""
	for i, line := range strings.SplitAfter(string(text), "\n") {
		if n, ok := strings.CutPrefix(line, "-- "); ok {
			file = strings.TrimSuffix(strings.TrimSpace(n), " --")
			continue
		}
		switch {
		case file != "":
			files[file] += line
		case strings.HasPrefix(line, "> "):
			steps = append(steps, step{at: i + 1, line: strings.TrimSpace(line[2:])})
		case len(steps) > 0:
			steps[len(steps)-1].want += line
		}
	}
	return steps, files
}

// play runs a script and compares.
func play(t *testing.T, c client, name string) {
	t.Helper()
	steps, files := readScript(t, name)
	for n, text := range files {
		c.write(t, n, text)
	}
	for _, s := range steps {
		out, exit := c.sh(t, s.line)
		if exit != 0 {
			out += fmt.Sprintf("[exit %d]\n", exit)
		}
		if !pattern(s.want).MatchString(strings.TrimRight(out, "\n") + "\n") {
			t.Errorf("%s:%d: %s\nwant:\n%s\ngot:\n%s", name, s.at, s.line, s.want, out)
		}
	}
}

var spaces = regexp.MustCompile(`(\\?[ \t])+`)

// pattern is a script's expectation as a regular expression.
func pattern(want string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for line := range strings.Lines(strings.TrimRight(want, "\n") + "\n") {
		line = strings.TrimSuffix(line, "\n")
		if line == "…" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		quoted := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
		b.WriteString(spaces.ReplaceAllString(quoted, `[ \t]+`) + `[ \t]*\n`)
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}
