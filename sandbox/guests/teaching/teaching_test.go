package teaching

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "teaching")
	if err != nil {
		panic(err)
	}
	bin = dir
	if out, err := exec.Command("go", "build", "-o", dir+"/", "./...").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func run(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, args[0]), args[1:]...)
	cmd.Env = env
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func TestCommands(t *testing.T) {
	for _, test := range []struct {
		name   string
		env    []string
		args   []string
		stdout string
		stderr string
		code   int
	}{
		{name: "hog takes what it is told in steps", args: []string{"hog", "--mib", "5", "--step", "2", "--every", "0s", "--hold", "0s"},
			stdout: "hog: holding 2 MiB\nhog: holding 4 MiB\nhog: holding 5 MiB\nhog: done with 5 MiB\n"},
		{name: "hog reads its environment", env: []string{"HOG_MIB=1", "HOG_EVERY=0s", "HOG_HOLD=0s"}, args: []string{"hog"}, stdout: "hog: holding 1 MiB\nhog: done with 1 MiB\n"},
		{name: "hog refuses a bad setting", env: []string{"HOG_MIB=much"}, args: []string{"hog"}, stderr: "hog: HOG_MIB=much: not a number of 0 or more\n", code: 2},
		{name: "hog refuses a bad step", args: []string{"hog", "--step", "0"}, stderr: "hog: --step 0: must be 1 or more\n", code: 2},
		{name: "crash exits with its code", args: []string{"crash", "--after", "0s", "--code", "42", "--message", "no disk"},
			stdout: "crash: started, ending in 0s\ncrash: leaving with 42\n", stderr: "crash: no disk\n", code: 42},
		{name: "crash refuses what it does not know", env: []string{"CRASH_HOW=burn"}, args: []string{"crash"}, stderr: "crash: --how burn: must be exit, nil, range, divide, stack or panic\n", code: 2},
		{name: "hello speaks Korean", env: []string{"LANG=ko_KR.UTF-8"}, args: []string{"hello"}, stdout: "종료 코드 0"},
		{name: "hello speaks English", args: []string{"hello"}, stdout: "Hello from a container"},
		{name: "pause tells its name", args: []string{"pause", "-v"}, stdout: "pause (Drydock)\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o, e, code := run(t, test.env, test.args...)
			if !strings.Contains(o, test.stdout) || test.stderr != e || code != test.code {
				t.Errorf("stdout %q, stderr %q, code %d\nwant   %q, %q, %d", o, e, code, test.stdout, test.stderr, test.code)
			}
		})
	}
}

func TestCrashTraps(t *testing.T) {
	for how, text := range map[string]string{"nil": "nil pointer", "range": "index out of range [3]", "divide": "divide by zero", "panic": "as asked"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			_, e, code := run(t, nil, "crash", "--after", "0s", "--how", how)
			if code != 2 || !strings.Contains(e, text) {
				t.Errorf("code %d, stderr %q; want 2 with %q", code, e, text)
			}
		})
	}
}

func TestStopOnSIGTERM(t *testing.T) {
	for _, args := range [][]string{{"hog", "--mib", "1"}, {"hog", "--cpu", "1"}, {"crash", "--after", "1h"}, {"pause"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(filepath.Join(bin, args[0]), args[1:]...)
			if args[0] == "pause" { // with an orphan to take over
				cmd = exec.Command("/bin/sh", "-c", "sleep 0.05 & exec "+filepath.Join(bin, "pause"))
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if args[0] != "pause" {
				out.Read(make([]byte, 1)) // it has started; handlers stand before the first line
			} else {
				waitForReap(t, cmd.Process.Pid)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			go func() { // drain
				for buf := make([]byte, 512); ; {
					if _, err := out.Read(buf); err != nil {
						return
					}
				}
			}()
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// waitForReap returns when pause has taken the exit of its orphan, and so stands ready.
func waitForReap(t *testing.T, pid int) {
	for range 10000 {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if string(name) == "pause\n" && len(bytes.TrimSpace(data)) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the orphan stays")
}
