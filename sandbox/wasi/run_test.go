package wasi_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

func TestPrograms(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	for _, c := range []struct {
		name  string
		input string
		args  []string
		want  result
	}{
		{"prints", "", []string{"hello"}, result{out: "hello\n"}},
		{"sees its arguments", "", []string{"args", "a b", "", "c"}, result{out: `["a b" "" "c"]` + "\n"}},
		{"copies input to output", "some\ntext", []string{"cat"}, result{out: "some\ntext"}},
		{"exits with a code", "", []string{"exit", "42"}, result{code: 42}},
		{"writes to standard error", "", []string{"nonsense"}, result{code: 2, err: "guest: no such behaviour\n"}},
		{"works with files", "", []string{"files"}, result{out: "content\ntrue\ne true\ng false\nl false\n7 1000\ntent+more\ntrue\n"}},
		{"sleeps", "", []string{"sleep", "5"}, result{}},
		{"spawns and waits", "", []string{"spawn", guestPath, "exit", "3"}, result{out: "true 768 <nil>\ntrue\n"}},
		{"gets ENOENT", "", []string{"spawn", "/bin/none"}, result{out: "spawn: No such file or directory\n"}},
		{"gets EACCES for a directory", "", []string{"spawn", "/tmp"}, result{out: "spawn: Permission denied\n"}},
		{"replaces itself", "", []string{"exec", guestPath, "hello"}, result{out: "hello\n"}},
		{"runs out of descriptors", "", []string{"fds"}, result{out: "510 true\n"}},
		{"stops and continues a child", "", []string{"sig", "stop"}, result{out: "19 127 <nil>\ntrue <nil>\n15 <nil>\n"}},
		{"dies of SIGPIPE", "", []string{"sig", "sigpipe", "0"}, result{code: 141}},
		{"ignores SIGPIPE", "", []string{"sig", "sigpipe", "1"}, result{out: "true\n"}},
		{"raises", "", []string{"sig", "raise", "15"}, result{code: 143}},
		{"survives a storm of signals", "", []string{"sig", "storm"}, result{out: "15 <nil>\n"}},
		{"pipes through ten processes", strings.Repeat("0123456789abcdef", 20000), []string{"pipes", "10"}, result{out: "320000\n"}},
		{"is refused", "", []string{"net", "dial", "9"}, result{out: "true\n"}},
		{"talks over a unix socket", "", []string{"net", "unix"}, result{out: "\"hi\" <nil>\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, l.run(c.input, c.args...), cmp.AllowUnexported(result{})); d != "" {
				t.Errorf("guest %q (-want +got):\n%s", c.args, d)
			}
		})
	}
}

func TestKill(t *testing.T) {
	l := newLab(t, newHost(1), kernel.Limits{})
	for _, c := range []struct {
		name string
		args []string
		sig  kernel.Signal
		code int
	}{
		{"a tight loop", []string{"spin"}, kernel.SIGKILL, 137},
		{"a tight loop by SIGTERM", []string{"spin"}, kernel.SIGTERM, 143},
		{"a blocked read", []string{"block"}, kernel.SIGINT, 130},
		{"a long sleep", []string{"sleep", "3600000"}, kernel.SIGKILL, 137},
		{"a writer nobody reads", []string{"yes"}, kernel.SIGHUP, 129},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := l.pipe(kernel.SpawnSpec{}, c.args...)
			time.Sleep(5 * time.Millisecond) // lets it get somewhere; any moment is right
			p.Signal(c.sig)
			<-p.Done()
			if got := p.Status().ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
		})
	}
}

func TestExecFormat(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	write := func(name, data string) {
		if err := l.view.WriteFile(name, []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("/bin/elf", "\x7fELF\x02\x01\x01")
	write("/bin/text", "echo no header\n")
	write("/bin/broken", "\x00asm\x01\x00\x00\x00\xff\xff")
	write("/bin/script", "#! "+guestPath+"  args  x y \necho\n")
	write("/bin/loop", "#!/bin/loop\n")
	write("/bin/lost", "#!/bin/nowhere\n")
	for _, c := range []struct {
		name string
		path string
		want error
	}{
		{"an ELF file", "/bin/elf", syscall.ENOEXEC},
		{"text", "/bin/text", syscall.ENOEXEC},
		{"a broken module", "/bin/broken", syscall.ENOEXEC},
		{"its own interpreter", "/bin/loop", syscall.ELOOP},
		{"a missing interpreter", "/bin/lost", syscall.ENOENT},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := l.Spawn(kernel.SpawnSpec{Path: c.path, Args: []string{c.path}}); err != c.want {
				t.Errorf("Spawn: %v, want %v", err, c.want)
			}
		})
	}
	got := l.runSpec(kernel.SpawnSpec{Path: "/bin/script", Args: []string{"script", "one"}}, "")
	if want := "guest: no such behaviour\n"; got.err != want { // one argument, as Linux has it: "args  x y"
		t.Errorf("script: %+v", got)
	}
	write("/bin/script", "#!"+guestPath+" args\n")
	got = l.runSpec(kernel.SpawnSpec{Path: "/bin/script", Args: []string{"script", "one"}}, "")
	if want := `["/bin/script" "one"]` + "\n"; got.out != want {
		t.Errorf("script: %+v, want %q", got, want)
	}
}
