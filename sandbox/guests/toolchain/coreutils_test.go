package main

import (
	"strconv"
	"strings"
	"testing"
)

// TestCoreutilsOnTheKernel runs utilities as guests, for what depends on the kernel: files, processes, sockets.
// Their texts and options are compared with GNU's in the utilities' own tests.
func TestCoreutilsOnTheKernel(t *testing.T) {
	wasm := guestWasm(t, guest{name: "coreutils"}, "../coreutils")
	l := newLab(t, map[string][]byte{"coreutils": wasm})
	if err := l.view.MkdirAll("/proc", 0o555); err != nil {
		t.Fatal(err)
	}
	if err := l.view.Mount("proc", "/proc", l.machine.NewProc(l.machine.PIDNS()), 0); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, stdin, args string
		want              string // a part of the output
		code              int
	}{
		{"echo", "", "echo hello", "hello\n", 0},
		{"ls", "", "ls -la /etc", "passwd", 0},
		{"cat from standard input", "one\ntwo\n", "cat -n", "     2\ttwo\n", 0},
		{"sort", "b\na\n", "sort", "a\nb\n", 0},
		{"missing file", "", "cat /nope", "cat: /nope: No such file or directory", 1},
		{"sed", "hello\n", "sed s/l/L/g", "heLLo\n", 0},
		{"grep", "hello\n", "grep -c hello", "1\n", 0},
		{"mkdir", "", "mkdir -p /tmp/a/b", "", 0},
		{"touch", "", "touch -d @1000000000 /tmp/a/f", "", 0},
		{"chmod", "", "chmod 640 /tmp/a/f", "", 0},
		{"stat", "", "stat -c %a:%Y:%F /tmp/a/f", "640:1000000000:regular empty file", 0},
		{"find", "", "find /tmp/a -type d", "/tmp/a\n/tmp/a/b\n", 0},
		{"tar", "", "tar czf /tmp/t.tgz -C /tmp a", "", 0},
		{"tar list", "", "tar tzf /tmp/t.tgz", "a/f\n", 0},
		{"ln", "", "ln -s f /tmp/a/l", "", 0},
		{"readlink", "", "readlink -f /tmp/a/l", "/tmp/a/f\n", 0},
		{"rm", "", "rm -r /tmp/a", "", 0},
		{"env execs", "", "env -i A=b /bin/coreutils env", "A=b\n", 0},
		{"xargs spawns", "a b\n", "xargs -n1 /bin/coreutils echo x", "x a\nx b\n", 0},
		{"timeout kills", "", "timeout 0.05 /bin/coreutils sleep 60", "", 124},
		{"uname", "", "uname -n", "workstation\n", 0},
		{"hostname", "", "hostname", "workstation\n", 0},
		{"id", "", "id", "uid=0(root)", 0},
		{"date", "", "date -u -d @0 +%F", "1970-01-01\n", 0},
		{"ps aux", "", "ps aux", "coreutils ps aux\n", 0},
		{"ps of one", "", "ps -o pid,comm,args -C nope", "COMMAND", 1},
		{"top", "", "top -b -n 1", "coreutils\n", 0},
		{"free", "", "free", "Mem:", 0},
		{"uptime", "", "uptime", "load average", 0},
		{"df", "", "df /tmp", "Mounted on", 0},
		{"kill nobody", "", "kill 9999", "No such process", 1},
		{"curl without a server", "", "curl -sS http://127.0.0.1:1/", "curl: (7) Failed to connect to 127.0.0.1 port 1", 7},
		{"curl without a name", "", "curl -sS http://nope.invalid/", "curl: (6) Could not resolve host: nope.invalid", 6},
		{"nc", "", "nc -z 127.0.0.1 1", "", 1},
		{"awk", "a 1\nb 2\n", "awk {s+=$2}END{print(s)}", "3\n", 0},
		{"gzip", "hello\n", "gzip -c", "\x1f\x8b", 0},
		{"diff", "x\n", "diff - /etc/hosts", "< x\n", 1},
		{"sha256sum", "hello\n", "sha256sum", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := &lab{t: t, host: l.host, machine: l.machine, view: l.view}
			p := l.start(row.stdin, false, append([]string{"/bin/coreutils"}, strings.Fields(row.args)...)...)
			code := p.code(t)
			if out := p.out.String() + p.err.String(); !strings.Contains(out, row.want) || code != row.code {
				t.Errorf("%s: code %d, output %q, want %d and %q", row.args, code, out, row.code, row.want)
			}
		})
	}
}

// TestTailFollows sees lines that are appended while tail -f runs, and a signal that ends it.
func TestTailFollows(t *testing.T) {
	l := newLab(t, map[string][]byte{"coreutils": guestWasm(t, guest{name: "coreutils"}, "../coreutils")})
	l.write("/tmp/log", "one\n")
	p := l.start("", true, "/bin/coreutils", "tail", "-f", "/tmp/log")
	p.out.wait(t, func(s string) bool { return s == "one\n" })
	l.write("/tmp/log", "one\ntwo\n")
	p.out.wait(t, func(s string) bool { return strings.HasSuffix(s, "two\n") })
	if _, errs, code := l.run("/bin/coreutils", "kill", strconv.Itoa(p.PID(l.machine.PIDNS()))); code != 0 {
		t.Fatal(errs)
	}
	if code := p.code(t); code != 143 {
		t.Errorf("code %d", code)
	}
}

// TestCurlAndNetcat lets two guests talk: nc answers what curl asks.
func TestCurlAndNetcat(t *testing.T) {
	l := newLab(t, map[string][]byte{"coreutils": guestWasm(t, guest{name: "coreutils"}, "../coreutils")})
	server := l.start("HTTP/1.1 200 OK\r\nX-From: guest\r\nContent-Length: 3\r\n\r\nhi\n", true, "/bin/coreutils", "nc", "-v", "-l", "8080")
	server.err.wait(t, func(s string) bool { return strings.Contains(s, "Listening") })
	out, errs, code := l.run("/bin/coreutils", "curl", "-si", "-m", "5", "-H", "X-To: guest", "http://web.example:8080/path")
	if code != 0 || out != "HTTP/1.1 200 OK\r\nX-From: guest\r\nContent-Length: 3\r\n\r\nhi\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	server.code(t)
	if got := server.out.String(); got != "GET /path HTTP/1.1\r\nHost: web.example:8080\r\nUser-Agent: curl/8.17.0\r\nAccept: */*\r\nX-To: guest\r\n\r\n" {
		t.Errorf("%q", got)
	}
}
