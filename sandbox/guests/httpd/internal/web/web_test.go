package web

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "record what the nginx in PATH answers")

// site is a folder with testdata's files and configuration, its ports chosen.
type site struct {
	dir, conf, addr string
	backend         net.Listener
}

func newSite(t testing.TB, confName string) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	os.Chmod(s.dir, 0o755)
	os.Chmod(filepath.Dir(s.dir), 0o755)
	if err := os.CopyFS(s.dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	os.MkdirAll(s.dir+"/html/empty", 0o755)
	then := time.Date(2025, 5, 1, 12, 0, 0, 0, time.UTC)
	filepath.Walk(s.dir, func(p string, _ os.FileInfo, _ error) error { return os.Chtimes(p, then, then) })
	var err error
	if s.backend, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.backend.Close() })
	go http.Serve(s.backend, http.HandlerFunc(backend))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	l.Close()
	text, err := os.ReadFile("testdata/" + confName)
	if err != nil {
		t.Fatal(err)
	}
	s.conf = s.dir + "/nginx.conf"
	if err := os.WriteFile(s.conf, []byte(s.fill(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) fill(text string) string {
	_, port, _ := net.SplitHostPort(s.addr)
	_, back, _ := net.SplitHostPort(s.backend.Addr().String())
	return strings.NewReplacer("DIR", s.dir, "PORT", port, "BACKEND", back).Replace(text)
}

var (
	dates    = regexp.MustCompile(`(?m)^Date: .*\r$`)
	product  = regexp.MustCompile(`nginx/[0-9.]+`)
	long     = regexp.MustCompile(`x{100,}`)
	boundary = regexp.MustCompile(`boundary=(\S+)`)
	logHead  = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: (\*\d+ )?`)
)

// normal replaces what differs between two runs.
func (s *site) normal(text string) string {
	text = dates.ReplaceAllString(text, "Date: DATE\r")
	text = product.ReplaceAllString(text, "nginx/VERSION")
	if m := boundary.FindStringSubmatch(text); m != nil {
		text = strings.ReplaceAll(text, m[1], "BOUNDARY")
	}
	text = long.ReplaceAllString(text, "xxx…")
	text = logHead.ReplaceAllString(text, "$1 ")
	_, port, _ := net.SplitHostPort(s.addr)
	_, back, _ := net.SplitHostPort(s.backend.Addr().String())
	return strings.NewReplacer(s.dir, "DIR", ":"+port, ":PORT", ":"+back, ":BACKEND", "\r", "").Replace(text)
}

// backend answers with what it was asked.
func backend(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header()["Date"] = nil
	switch {
	case strings.HasSuffix(r.URL.Path, "/redirect"):
		w.Header().Set("Location", "http://"+r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()+"/plain/next")
		w.WriteHeader(302)
	case strings.HasSuffix(r.URL.Path, "/big"):
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", "100000")
		w.Write(bytes.Repeat([]byte("0123456789"), 10000))
	default:
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Backend", "b")
		text := fmt.Sprintf("%s %s %s host=%s real=%s body=%q\n", r.Method, r.RequestURI, r.Proto, r.Host, r.Header.Get("X-Real-Ip"), body)
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(w, text)
	}
}

// start runs our server on the site.
func (s *site) start(t testing.TB) *Server {
	t.Helper()
	cfg, err := Load(s.conf, "", net.LookupHost)
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{Version: "1.28.0", Logs: &Logs{}}
	if err := server.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Drain)
	return server
}

// startReal runs the nginx in PATH on the site.
func (s *site) startReal(t *testing.T) {
	t.Helper()
	cmd := exec.Command("nginx", "-c", s.conf, "-e", s.dir+"/error.log", "-g", "user root;")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	for range 1000 {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("nginx does not listen")
}

// exchange sends raw bytes and returns all that comes back until the server closes.
func (s *site) exchange(t *testing.T, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("%q: %v after %q", raw, err, b)
	}
	return string(b)
}

// TestLikeNginx sends the requests of testdata/requests.txt and compares answers and logs, byte for byte but for dates and ports,
// with testdata/answers.txt, which nginx gave (go test -update, with an nginx in PATH).
func TestLikeNginx(t *testing.T) {
	s := newSite(t, "site.conf")
	if *update {
		s.startReal(t)
	} else {
		s.start(t)
	}
	requests, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(string(requests)), "\n\n") {
		raw := strings.NewReplacer("\n", "\r\n", "<CRLF>", "\r\n", "<0>", "\x00", "<BIG>", strings.Repeat("x", 40000)).Replace(block)
		if !strings.Contains(block, "<BODY>") {
			raw += "\r\nConnection: close\r\n\r\n"
		}
		raw = strings.ReplaceAll(raw, "<BODY>\r\n", "Connection: close\r\n\r\n")
		fmt.Fprintf(&out, "==> %s\n%s\n", strings.ReplaceAll(block, "\n", "\n    "), s.normal(s.exchange(t, raw)))
	}
	for _, name := range []string{"access.log", "error.log"} {
		b, err := os.ReadFile(s.dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "==> %s\n", name)
		sc := bufio.NewScanner(bytes.NewReader(b))
		for sc.Scan() {
			if line := s.normal(sc.Text()); !strings.Contains(line, "[notice]") {
				out.WriteString(line + "\n")
			}
		}
	}
	compare(t, "testdata/answers.txt", out.String())
}

// compare reports each block that differs.
func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, have := strings.Split(string(b), "==> "), strings.Split(got, "==> ")
	if len(want) != len(have) {
		t.Fatalf("%d answers, want %d", len(have), len(want))
	}
	for i := range want {
		if want[i] != have[i] {
			head, _, _ := strings.Cut(want[i], "HTTP/1.1 ")
			t.Errorf("%s(- nginx, + ours)\n%s", head, cmp.Diff(want[i], have[i]))
		}
	}
}
