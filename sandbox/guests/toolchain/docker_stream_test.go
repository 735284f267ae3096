package main

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

// engine answers the calls of the Engine API that move streams, as far as the client's half is tested: one container that answers each
// piece of its input in capitals, on a terminal quoted, and ends with 3 at the end of its input or with 143 by SIGTERM.
type engine struct {
	mu      sync.Mutex
	calls   lockedBuffer // what was asked, one line each
	tty     bool         // protected by mu
	input   bool         // protected by mu
	ended   chan struct{}
	code    int // set before ended is closed
	end     sync.Once
	files   []byte         // what GET archive answers: a tar
	stat    string         // what is said of it
	put     bytes.Buffer   // what was put: a tar; protected by mu
	context bytes.Buffer   // of a build, a tar; protected by mu
	going   sync.WaitGroup // handlers of streams
}

const engineAddr = "10.0.0.1:2375"

func newEngine(t testing.TB, l *lab) *engine {
	e := &engine{ended: make(chan struct{})}
	listener, err := l.machine.Net().Listen(netip.MustParseAddrPort(engineAddr))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e.routes()}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return e
}

func (e *engine) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.55")
		w.Header().Set("Ostype", "linux")
		io.WriteString(w, "OK")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"Version":"29","ApiVersion":"1.55"}`)
	})
	mux.HandleFunc("GET /containers/json", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "[]") })
	mux.HandleFunc("POST /containers/create", e.create)
	mux.HandleFunc("POST /containers/c1/attach", e.attach)
	mux.HandleFunc("POST /containers/c1/start", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /containers/c1/wait", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-e.ended:
			fmt.Fprintf(w, `{"StatusCode":%d}`, e.code)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /containers/c1/resize", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(&e.calls, "resize %s x %s\n", r.FormValue("h"), r.FormValue("w"))
	})
	mux.HandleFunc("POST /containers/c1/kill", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(&e.calls, "kill %s\n", r.FormValue("signal"))
		if r.FormValue("signal") == "TERM" {
			e.exit(128 + int(syscall.SIGTERM))
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/containers/{id}/archive", e.archive)
	mux.HandleFunc("POST /auth", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(&e.calls, "auth %s\n", read(r.Body))
		io.WriteString(w, `{"Status":"Login Succeeded"}`)
	})
	mux.HandleFunc("POST /build", e.build)
	mux.HandleFunc("POST /images/create", func(w http.ResponseWriter, r *http.Request) {
		auth, _ := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Auth"))
		fmt.Fprintf(&e.calls, "pull %s:%s as %s\n", r.FormValue("fromImage"), r.FormValue("tag"), auth)
		io.WriteString(w, `{"status":"Pulling from web","id":"1.0"}`+"\n"+`{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}`+"\n"+`{"status":"Pull complete","id":"abc"}`+"\n")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v1.55/"); ok {
			r.URL.Path = "/" + rest
		}
		mux.ServeHTTP(w, r)
	})
}

func read(r io.Reader) string { b, _ := io.ReadAll(r); return string(b) }

func (e *engine) exit(code int) {
	e.end.Do(func() {
		e.code = code
		close(e.ended)
	})
}

func (e *engine) create(w http.ResponseWriter, r *http.Request) {
	var config struct{ Tty, OpenStdin bool }
	if err := json.NewDecoder(r.Body).Decode(&config); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.tty, e.input = config.Tty, config.OpenStdin
	e.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, `{"Id":"c1","Warnings":[]}`)
}

// attach speaks the raw stream of terminals and the multiplexed one of the rest (Engine API, ContainerAttach).
func (e *engine) attach(w http.ResponseWriter, r *http.Request) {
	e.going.Add(1)
	defer e.going.Done()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	e.mu.Lock()
	tty, input := e.tty, e.input
	e.mu.Unlock()
	if !input {
		<-e.ended
		return
	}
	if e.converse(conn, tty) == io.EOF && !tty {
		frame(conn, 2, "end of input\n")
		e.exit(3)
	}
	io.WriteString(&e.calls, "input ended\n")
}

func (e *engine) converse(conn net.Conn, tty bool) error {
	buf := make([]byte, 1024)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if tty {
			fmt.Fprintf(conn, "<%q>", buf[:n])
		} else {
			frame(conn, 1, strings.ToUpper(string(buf[:n])))
		}
	}
}

// frame writes a piece of standard output (1) or standard error (2).
func frame(w io.Writer, stream byte, text string) {
	head := [8]byte{0: stream}
	binary.BigEndian.PutUint32(head[4:], uint32(len(text)))
	w.Write(append(head[:], text...))
}

func (e *engine) archive(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(&e.calls, "%s %s\n", r.Method, r.FormValue("path"))
	if r.Method == http.MethodPut {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.put.Reset()
		e.put.ReadFrom(r.Body)
		return
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString([]byte(e.stat)))
	if r.Method == http.MethodGet {
		w.Write(e.files)
	}
}

func (e *engine) build(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.context.Reset()
	e.context.ReadFrom(r.Body)
	fmt.Fprintf(&e.calls, "build %s version %q\n", r.FormValue("t"), r.FormValue("version"))
	io.WriteString(w, `{"stream":"Step 1/1 : FROM busybox\n"}`+"\n"+`{"errorDetail":{"code":7,"message":"no"},"error":"no"}`+"\n")
}

func newDockerLab(t testing.TB) (*lab, *engine) {
	t.Helper()
	some, err := named([]string{"docker"})
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, map[string][]byte{"docker": guestWasm(t, some[0], "../docker"), "probe": guestWasm(t, guest{name: "probe"}, probeDir),
		"sh": guestWasm(t, guest{name: "shell"}, "../shell")})
	e := newEngine(t, l)
	if err := l.view.MkdirAll("/var/run", 0o755); err != nil {
		t.Fatal(err)
	}
	relay := l.start("", false, "/bin/probe", "relay", "/var/run/docker.sock", engineAddr)
	relay.out.wait(t, func(s string) bool { return strings.Contains(s, "listening") })
	return l, e
}

// TestDockerRun: input, output and errors of an attached container through the unix socket, and its exit code. The answer to a piece
// comes while the input is open, and the end of the input reaches the container while its output stays open.
func TestDockerRun(t *testing.T) {
	l, _ := newDockerLab(t)
	p := l.start("one\n", true, "/bin/docker", "run", "-i", "--rm", "busybox", "cat")
	p.out.wait(t, func(s string) bool { return s == "ONE\n" })
	if _, err := p.stdin.Write(t.Context(), []byte("two\n")); err != nil {
		t.Fatal(err)
	}
	p.out.wait(t, func(s string) bool { return s == "ONE\nTWO\n" })
	p.stdin.Close()
	if code := p.code(t); code != 3 || p.err.String() != "end of input\n" {
		t.Errorf("code %d, stderr %q", code, p.err.String())
	}
}

// TestDockerSignal: a signal to the client is one to the container.
func TestDockerSignal(t *testing.T) {
	l, e := newDockerLab(t)
	p := l.start("one\n", true, "/bin/docker", "-H", "tcp://"+engineAddr, "run", "-i", "busybox", "cat")
	p.out.wait(t, func(s string) bool { return s == "ONE\n" })
	if err := p.Signal(kernel.Signal(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	e.calls.wait(t, func(s string) bool { return strings.Contains(s, "kill ") })
	p.stdin.Close()
	if code := p.code(t); code != 143 || e.calls.String() != "kill TERM\n" && e.calls.String() != "kill TERM\ninput ended\n" {
		t.Errorf("code %d, calls %q", code, e.calls.String())
	}
}

// TestDockerTerminal: at a shell's terminal all keys go to the container, whose size follows the window's; Ctrl-P Ctrl-Q leaves it running
// and the terminal as it was. Tab completes the client's words.
func TestDockerTerminal(t *testing.T) {
	l, e := newDockerLab(t)
	y := l.at(t, 24, 80, "/bin/sh")
	at := y.sees(0, "# ")
	y.send("docker ru\t")
	at = y.sees(at, "docker run ")
	y.send("-it busybox sh\r")
	e.calls.wait(t, func(s string) bool { return strings.Contains(s, "resize 24 x 80\n") })
	for _, keys := range []string{"a", "\x03", "\x1b[A", "가\r", "\x04", "\x1a", "\x10x"} {
		y.send(keys)
		at = y.sees(at, fmt.Sprintf("<%q>", keys))
	}
	y.master.Resize(30, 100)
	e.calls.wait(t, func(s string) bool { return strings.Contains(s, "resize 30 x 100\n") })
	y.send("\x10\x11")
	e.calls.wait(t, func(s string) bool { return strings.Contains(s, "input ended\n") })
	y.send("echo code $?, $((40+2))\r")
	at = y.sees(at, "echo code") // the terminal echoes again
	y.sees(at, "code 0, 42\r\n")
	select {
	case <-e.ended:
		t.Error("the container ended")
	default:
	}
}

// TestDockerNoTerminal: -t without a terminal is refused as Docker does.
func TestDockerNoTerminal(t *testing.T) {
	l, _ := newDockerLab(t)
	if _, errs, code := l.run("/bin/docker", "run", "-it", "busybox"); code != 1 || errs != "cannot attach stdin to a TTY-enabled container because stdin is not a terminal\n" {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}

// TestDockerCopy copies files, a link, modes and times out of a container and into one, and archives through pipes.
func TestDockerCopy(t *testing.T) {
	l, e := newDockerLab(t)
	e.files = archiveOf(t, tar.Header{Name: "d/", Mode: 0o750, Typeflag: tar.TypeDir}, tar.Header{Name: "d/f", Mode: 0o640, Size: 5},
		tar.Header{Name: "d/sub/", Mode: 0o755, Typeflag: tar.TypeDir}, tar.Header{Name: "d/sub/l", Linkname: "../f", Typeflag: tar.TypeSymlink})
	e.stat = `{"name":"d","size":0,"mode":2147484136,"mtime":"2026-01-02T03:04:05Z","linkTarget":""}`
	if out, errs, code := l.run("/bin/docker", "cp", "-q", "c1:/d", "/root/out"); code != 0 {
		t.Fatalf("code %d, %q %q", code, out, errs)
	}
	for _, f := range []struct {
		path string
		mode uint32
	}{{"/root/out", 0o40750}, {"/root/out/f", 0o100640}, {"/root/out/sub/l", 0o100640}} {
		st, err := l.view.Stat(nil, f.path)
		if err != nil || uint32(st.Mode) != f.mode {
			t.Errorf("%s: mode %o, want %o, %v", f.path, st.Mode, f.mode, err)
		}
	}
	if text, err := l.view.ReadFile("/root/out/sub/l", 100); string(text) != "d/f\n\n" || err != nil {
		t.Errorf("through the link: %q, %v", text, err)
	}
	out, _, code := l.run("/bin/docker", "cp", "c1:/d", "-")
	if diff := cmp.Diff(string(e.files), out); diff != "" || code != 0 {
		t.Errorf("code %d, archive:\n%s", code, diff)
	}

	p := l.start(string(e.files), false, "/bin/docker", "cp", "-", "c1:/tmp")
	if code := p.code(t); code != 0 || e.put.String() != string(e.files) {
		t.Errorf("code %d, %q, put %d bytes of %d", code, p.err.String(), e.put.Len(), len(e.files))
	}
	if out, errs, code := l.run("/bin/docker", "cp", "-q", "/root/out", "c1:/d"); code != 0 {
		t.Fatalf("code %d, %q %q", code, out, errs)
	}
	want := map[string]string{"out/": "-rwxr-x---", "out/f": "-rw-r-----", "out/sub/": "-rwxr-xr-x", "out/sub/l": "Lrwxrwxrwx ../f"}
	if diff := cmp.Diff(want, listing(t, &e.put)); diff != "" {
		t.Errorf("put:\n%s", diff)
	}
}

// archiveOf makes a tar; a file's text is its name, padded with newlines to its size.
func archiveOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			io.WriteString(w, (h.Name + strings.Repeat("\n", int(h.Size)))[:h.Size])
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// listing is the names in a tar with their permissions, and where links lead.
func listing(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	list := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		mode := h.FileInfo().Mode()
		if h.Typeflag == tar.TypeDir {
			mode = mode.Perm()
		}
		list[h.Name] = strings.TrimSpace(mode.String() + " " + h.Linkname)
	}
}

// TestDockerLogin: the password from a pipe goes to the daemon and into the learner's own file, and later pulls carry it.
func TestDockerLogin(t *testing.T) {
	l, e := newDockerLab(t)
	p := l.start("secret\n", false, "/bin/docker", "login", "-u", "learner", "--password-stdin", "registry.lab")
	if code := p.code(t); code != 0 || !strings.Contains(p.out.String(), "Login Succeeded") {
		t.Fatalf("code %d, %q %q", code, p.out.String(), p.err.String())
	}
	config, err := l.view.ReadFile("/root/.docker/config.json", 1<<16)
	if want := base64.StdEncoding.EncodeToString([]byte("learner:secret")); err != nil || !strings.Contains(string(config), `"auth": "`+want+`"`) {
		t.Errorf("config.json %q, %v", config, err)
	}
	if st, err := l.view.Stat(nil, "/root/.docker/config.json"); err != nil || st.Mode&0o777 != 0o600 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
	out, errs, code := l.run("/bin/docker", "pull", "registry.lab/web:1.0")
	if want := "1.0: Pulling from web\nabc: Pull complete\nregistry.lab/web:1.0\n"; code != 0 || out != want {
		t.Errorf("pull: code %d, %q %q", code, out, errs)
	}
	if calls := e.calls.String(); !strings.Contains(calls, `pull registry.lab/web:1.0 as {"username":"learner","password":"secret","serveraddress":"registry.lab"}`) {
		t.Errorf("calls: %s", calls)
	}
}

// TestDockerBuild sends a context to the classic builder without a word about BuildKit; a wish for that is answered by the client.
func TestDockerBuild(t *testing.T) {
	l, e := newDockerLab(t)
	for path, text := range map[string]string{"Dockerfile": "FROM busybox\n", ".dockerignore": "secret*\n", "page.html": "hello\n", "secret.txt": "no\n"} {
		l.write("/root/"+path, text)
	}
	out, errs, code := l.run("/bin/docker", "build", "-t", "web", ".")
	if code != 7 || !strings.Contains(out, "Step 1/1 : FROM busybox\n") || errs != "no\n" {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	if diff := cmp.Diff([]string{".dockerignore", "Dockerfile", "page.html"}, slices.Sorted(maps.Keys(listing(t, &e.context)))); diff != "" {
		t.Errorf("context:\n%s", diff)
	}
	if calls := e.calls.String(); calls != "build web version \"1\"\n" {
		t.Errorf("calls %q", calls)
	}
	for _, row := range []struct{ env, want string }{{"1", "unset DOCKER_BUILDKIT to use it"}, {"no", "expects boolean value"}} {
		l.env = []string{"DOCKER_BUILDKIT=" + row.env}
		out, errs, code := l.run("/bin/docker", "build", ".")
		if code != 1 || !strings.Contains(errs, row.want) {
			t.Errorf("DOCKER_BUILDKIT=%s: code %d, %q %q", row.env, code, out, errs)
		}
	}
}
