package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

const probeDir = "testdata/probe"

func newProbe(t *testing.T) *lab {
	t.Helper()
	return newLab(t, map[string][]byte{"probe": guestWasm(t, guest{name: "probe"}, probeDir)})
}

// nativeProbe builds the same program for the machine we are on.
func nativeProbe(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe")
	cmd := exec.Command("go", "build", "-o", file, ".")
	cmd.Dir = probeDir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// TestLikeLinux runs one unmodified program as a guest and on Linux: both must print the same and end the same.
func TestLikeLinux(t *testing.T) {
	l := newProbe(t)
	native := nativeProbe(t)
	for _, row := range []struct {
		name string
		args string // PROBE stands for the program, TMP for a directory
	}{
		{"child with input", "exec PROBE cat"},
		{"child that sleeps", "exec PROBE sleep 30ms"},
		{"child that fails", "exec PROBE exit 3"},
		{"child that panics", "exec PROBE deadlock"},
		{"exec", "goexec PROBE exit 9"},
		{"pipes", "pipes"},
		{"udp", "udp"},
		{"unix sockets", "unix TMP/socket"},
		{"nobody listens", "refused 127.0.0.1:1"},
		{"files", "files TMP/files"},
		{"exit code", "exit 7"},
		{"panic", "panic"},
		{"deadlock", "deadlock"},
		{"sleep", "sleep 1ms"},
		{"unknown", "nonsense"},
		{"usage", "-h"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tmp := t.TempDir()
			cmd := exec.Command(native, strings.Fields(strings.NewReplacer("PROBE", native, "TMP", tmp).Replace(row.args))...)
			cmd.Env = []string{"PATH=/bin", "HOME=/root", "USER=root", "PROBE=p"}
			var wantOut, wantErr strings.Builder
			cmd.Stdout, cmd.Stderr = &wantOut, &wantErr
			cmd.Run()
			l := &lab{t: t, host: l.host, machine: l.machine, view: l.view}
			out, errs, code := l.run(append([]string{"/bin/probe"}, strings.Fields(strings.NewReplacer("PROBE", "/bin/probe", "TMP", "/tmp").Replace(row.args))...)...)
			same := strings.NewReplacer(native, "/bin/probe", tmp, "/tmp")
			if diff := cmp.Diff(normal(same.Replace(wantOut.String())), normal(out)); diff != "" {
				t.Errorf("stdout (- Linux, + guest):\n%s", diff)
			}
			if diff := cmp.Diff(normal(same.Replace(wantErr.String())), normal(errs)); diff != "" {
				t.Errorf("stderr (- Linux, + guest):\n%s", diff)
			}
			if want := cmd.ProcessState.ExitCode(); code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}

var stack = regexp.MustCompile(`(?s)\n\ngoroutine .*`)

// normal leaves out stack traces, whose addresses and lines differ.
func normal(s string) string { return stack.ReplaceAllString(s, "\n\ngoroutine…\n") }

// TestStart: what belongs to a process is its own although it starts from an image, and what prepare did is there.
func TestStart(t *testing.T) {
	l := newProbe(t)
	random := map[string]bool{}
	for range 4 {
		out, errs, code := l.run("/bin/probe", "start", "a", "b")
		if code != 0 {
			t.Fatalf("code %d, %s", code, errs)
		}
		fixed, rest, _ := strings.Cut(out, "random ")
		want := "wasip1 prepared with 1 argument\n[/bin/probe start a b] [a b] p /root workstation /bin/probe /bin/probe <nil>\n"
		if diff := cmp.Diff(want, fixed); diff != "" {
			t.Fatal(diff)
		}
		random[rest] = true
	}
	if len(random) != 4 {
		t.Errorf("four processes drew %d different random numbers: %v", len(random), random)
	}
}

func TestSignals(t *testing.T) {
	l := newProbe(t)
	p := l.start("", false, "/bin/probe", "signal")
	p.out.wait(t, func(s string) bool { return strings.HasPrefix(s, "ready ") })
	want := p.out.String()
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCHLD, syscall.SIGTERM} {
		if err := p.Signal(kernel.Signal(sig)); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGINT {
			continue // ignored
		}
		want += fmt.Sprintf("got %v (%d)\n", sig, sig)
		p.out.wait(t, func(s string) bool { return s == want })
	}
	if code := p.code(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, row := range []struct {
		sig  syscall.Signal
		code int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, 137}, {syscall.SIGHUP, 129}} {
		p := l.start("", true, "/bin/probe", "cat")
		p.out.wait(t, func(s string) bool { return s != "" })
		if err := p.Signal(kernel.Signal(row.sig)); err != nil {
			t.Fatal(err)
		}
		if code := p.code(t); code != row.code {
			t.Errorf("%v without a handler: code %d, want %d", row.sig, code, row.code)
		}
		p.stdin.Close()
	}
}

// TestBrokenPipe: a program that writes to standard output which nobody reads ends as by SIGPIPE.
func TestBrokenPipe(t *testing.T) {
	l := newProbe(t)
	r, w := kernel.NewPipe()
	p, err := l.machine.Spawn(kernel.SpawnSpec{Path: "/bin/probe", Args: []string{"probe", "epipe"}, Files: []*kernel.FD{nil, w, nil}})
	w.Close()
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if ws := syscall.WaitStatus(p.Status()); !ws.Signaled() || ws.Signal() != syscall.SIGPIPE {
		t.Errorf("status %#x, want killed by SIGPIPE", p.Status())
	}
}

func TestHTTP(t *testing.T) {
	l := newProbe(t)
	server := l.start("", false, "/bin/probe", "serve", ":80")
	server.out.wait(t, func(s string) bool { return strings.Contains(s, "listening") })
	for _, row := range []struct {
		name, want string
		args       []string
	}{
		{"by address", "200 OK hello from ", []string{"http://10.0.0.1/hello"}},
		{"by name of /etc/hosts", "200 OK hello from ", []string{"http://web.example/hello"}},
		{"loopback", "200 OK hello from ", []string{"http://localhost/hello"}},
		{"body of 500 kB both ways", "200 OK 500000", []string{"http://10.0.0.1/echo", "0123456789"}},
		{"not there", "404 Not Found", []string{"http://10.0.0.1/none"}},
	} {
		if out, errs, code := l.run(append([]string{"/bin/probe", "get"}, row.args...)...); code != 0 || !strings.HasPrefix(out, row.want) {
			t.Errorf("%s: %q, %q, code %d; want %q", row.name, out, errs, code, row.want)
		}
	}
	slow := l.start("", false, "/bin/probe", "get", "http://10.0.0.1/slow")
	server.out.wait(t, func(s string) bool { return strings.Contains(s, "slow request began") })
	if err := server.Signal(kernel.Signal(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if code := server.code(t); code != 0 || !strings.HasSuffix(server.out.String(), "drained <nil>\n") {
		t.Errorf("server: %q, %q, code %d; want it to drain", server.out.String(), server.err.String(), code)
	}
	if code := slow.code(t); code != 0 || slow.out.String() != "200 OK slow\n" {
		t.Errorf("request under way: %q, %q", slow.out.String(), slow.err.String())
	}
	if out, errs, code := l.run("/bin/probe", "get", "http://10.0.0.1/hello"); code != 1 || !strings.Contains(errs, "connection refused") {
		t.Errorf("after the server has gone: %q, %q, code %d", out, errs, code)
	}
}

// TestLookup resolves names by UDP at the server of /etc/resolv.conf, with its search list.
func TestLookup(t *testing.T) {
	l := newProbe(t)
	l.write("/etc/resolv.conf", "nameserver 10.0.0.1\nsearch default.svc.cluster.local\noptions ndots:5 timeout:1 attempts:1\n")
	dns, err := l.machine.Net().ServeUDP(netip.MustParseAddrPort("10.0.0.1:53"), func(_ netip.AddrPort, query []byte) []byte {
		var p dnsmessage.Parser
		h, err := p.Start(query)
		if err != nil {
			return nil
		}
		q, err := p.Question()
		if err != nil {
			return nil
		}
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{q}}
		switch {
		case q.Name.String() != "web.default.svc.cluster.local.":
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5},
				Body: &dnsmessage.AResource{A: [4]byte{10, 96, 0, 7}}}}
		}
		answer, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return answer
	})
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	out, errs, code := l.run("/bin/probe", "lookup", "localhost", "web", "none")
	want := "localhost [127.0.0.1] <nil>\nweb [10.96.0.7] <nil>\nnone [] lookup none on 10.0.0.1:53: no such host\n"
	if diff := cmp.Diff(want, out); diff != "" || code != 0 {
		t.Errorf("code %d, %s\n%s", code, errs, diff)
	}
}

func TestWho(t *testing.T) {
	l := newProbe(t)
	out, errs, code := l.run("/bin/probe", "who")
	if want := "root 0 0 /root 0 0 true true\n/root\n"; out != want || code != 0 {
		t.Errorf("%q, %q, code %d; want %q", out, errs, code, want)
	}
}

func TestTerminal(t *testing.T) {
	l := newProbe(t)
	tty := kernel.NewTTY(24, 80)
	master := tty.Master()
	fd := tty.FD()
	p, err := l.machine.Spawn(kernel.SpawnSpec{Path: "/bin/probe", Args: []string{"probe", "terminal"}, TTY: tty, Setsid: true, Files: []*kernel.FD{fd, fd, fd}})
	fd.Close()
	if err != nil {
		t.Fatal(err)
	}
	var screen lockedBuffer
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := master.Read(t.Context(), buf)
			screen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	expect := func(text string) {
		t.Helper()
		screen.wait(t, func(s string) bool { return strings.Contains(s, text) })
	}
	send := func(text string) {
		t.Helper()
		if _, err := master.Write(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	expect("true 80 24 <nil>\r\n80 24\r\nraw\r\n")
	send("\x03") // in raw mode a key like others
	expect("key \"\\x03\"\r\n")
	master.Resize(50, 132)
	expect("size 132 50 <nil>\r\nrestored\r\n") // only now is Return the end of a line
	send("abx\x7fc\r")
	expect("line \"abc\\n\" <nil>\r\n")
	<-p.Done()
	if p.Status() != 0 {
		t.Errorf("status %#x, screen %q", p.Status(), screen.String())
	}
	master.Close()
}
