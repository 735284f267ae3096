package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

const httpdConf = `error_log /dev/stderr notice;
pid /tmp/nginx.pid;
events {}
http {
    access_log /dev/stdout;
    include /etc/nginx/conf.d/*.conf;
}
`

func newHTTPD(t testing.TB) *lab {
	t.Helper()
	l := newLab(t, map[string][]byte{"nginx": guestWasm(t, guest{name: "httpd"}, "../httpd")})
	for _, dir := range []string{"/etc/nginx/conf.d", "/usr/share/nginx/html"} {
		if err := l.view.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.write("/etc/nginx/nginx.conf", httpdConf)
	l.write("/etc/nginx/conf.d/default.conf", "server { listen 80; listen [::]:80; location / { root /usr/share/nginx/html; } location /slow { proxy_pass http://127.0.0.1:9000; } }\n")
	l.write("/usr/share/nginx/html/index.html", "<h1>hello</h1>\n")
	return l
}

// serveHTTPD starts the server as an image does and waits until it listens.
func (l *lab) serveHTTPD() *process {
	l.t.Helper()
	p := l.start("", false, "/bin/nginx", "-g", "daemon off;")
	p.err.wait(l.t, func(s string) bool { return strings.Contains(s, "built with") })
	return p
}

// dial connects from the host to a port of the machine.
func (l *lab) dial(port uint16) net.Conn {
	l.t.Helper()
	c, err := l.machine.Net().DialContext(context.Background(), "tcp", fmt.Sprintf("10.0.0.1:%d", port))
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func request(t testing.TB, c net.Conn, r *bufio.Reader, path string) (int, string) {
	t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: web\r\n\r\n", path)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestHTTPD runs the web server in the kernel: requests, logs, another configuration, the end.
func TestHTTPD(t *testing.T) {
	l := newHTTPD(t)
	if _, errs, code := l.run("/bin/nginx", "-v"); code != 0 || errs != "nginx version: nginx/1.28.0 (drydock substitute)\n" {
		t.Errorf("-v: %q, code %d", errs, code)
	}
	if _, errs, code := l.run("/bin/nginx", "-t"); code != 0 || !strings.Contains(errs, "syntax is ok") || !strings.Contains(errs, "test is successful") {
		t.Errorf("-t: %q, code %d", errs, code)
	}
	p := l.serveHTTPD()
	c := l.dial(80)
	defer c.Close()
	r := bufio.NewReader(c)
	if status, body := request(t, c, r, "/"); status != 200 || body != "<h1>hello</h1>\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := request(t, c, r, "/none"); status != 404 {
		t.Errorf("status %d, want 404", status)
	}
	p.out.wait(t, func(s string) bool { return strings.Contains(s, `"GET /none HTTP/1.1" 404 `) })
	p.err.wait(t, func(s string) bool {
		return strings.Contains(s, `open() "/usr/share/nginx/html/none" failed (2: No such file or directory), client: 10.0.0.1`)
	})

	l.write("/etc/nginx/conf.d/default.conf", "server {\n  listen 80;\n  wrong on;\n}\n")
	if _, errs, code := l.run("/bin/nginx", "-t"); code != 1 || errs != "nginx: [emerg] unknown directive \"wrong\" in /etc/nginx/conf.d/default.conf:3\nnginx: configuration file /etc/nginx/nginx.conf test failed\n" {
		t.Errorf("-t: %q, code %d", errs, code)
	}
	l.write("/etc/nginx/conf.d/default.conf", "server { listen 80; listen 81; return 200 \"new\\n\"; }\n")
	if _, errs, code := l.run("/bin/nginx", "-s", "reload"); code != 0 {
		t.Errorf("reload: %q, code %d", errs, code)
	}
	p.err.wait(t, func(s string) bool { return strings.Contains(s, "reconfigured") })
	d := l.dial(81)
	if _, body := request(t, d, bufio.NewReader(d), "/"); body != "new\n" {
		t.Errorf("after the reload: %q", body)
	}
	d.Close()
	if _, errs, code := l.run("/bin/nginx", "-g", "daemon off;"); code != 1 || !strings.Contains(errs, "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)") {
		t.Errorf("a second server: %q, code %d", errs, code)
	}
	if _, errs, code := l.run("/bin/nginx", "-s", "quit"); code != 0 {
		t.Errorf("quit: %q, code %d", errs, code)
	}
	if code := p.code(t); code != 0 || !strings.HasSuffix(p.err.String(), ": exit\n") {
		t.Errorf("code %d, %q", code, p.err.String())
	}
	if _, errs, code := l.run("/bin/nginx", "-s", "quit"); code != 1 || !strings.Contains(errs, `open() "/tmp/nginx.pid" failed (2: No such file or directory)`) {
		t.Errorf("quit without a server: %q, code %d", errs, code)
	}
}

// TestHTTPDDrains: on SIGTERM and on SIGQUIT a request under way is answered, a connection between requests is closed, none is taken.
func TestHTTPDDrains(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT} {
		l := newHTTPD(t)
		arrived, release := make(chan bool), make(chan bool)
		back, err := l.machine.Net().Listen(netip.MustParseAddrPort("127.0.0.1:9000"))
		if err != nil {
			t.Fatal(err)
		}
		go http.Serve(back, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			arrived <- true
			<-release
			io.WriteString(w, "done")
		}))
		p := l.serveHTTPD()
		idle := l.dial(80)
		idleReader := bufio.NewReader(idle)
		request(t, idle, idleReader, "/")
		slow := l.dial(80)
		fmt.Fprintf(slow, "GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
		<-arrived
		if err := p.Signal(kernel.Signal(sig)); err != nil {
			t.Fatal(err)
		}
		idle.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := idleReader.ReadByte(); err != io.EOF {
			t.Errorf("%v: the idle connection: %v, want EOF", sig, err)
		}
		p.err.wait(t, func(s string) bool { return strings.Contains(s, "gracefully shutting down") })
		release <- true
		resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); string(b) != "done" || !resp.Close {
			t.Errorf("%v: the request under way got %q, close %v", sig, b, resp.Close)
		}
		if code := p.code(t); code != 0 {
			t.Errorf("%v: code %d, want 0", sig, code)
		}
		back.Close()
	}
}

// BenchmarkHTTPDIdle is what a server that has answered some probes holds of its image's pages, and what it is charged beyond them.
func BenchmarkHTTPDIdle(b *testing.B) {
	l := newHTTPD(b)
	const n = 20
	start := func(i int) *process {
		l.write("/etc/nginx/conf.d/default.conf", fmt.Sprintf("server { listen %d; location / { root /usr/share/nginx/html; } }\n", 8000+i))
		l.write("/etc/nginx/nginx.conf", strings.ReplaceAll(httpdConf, "nginx.pid", fmt.Sprint(i)))
		p := l.serveHTTPD()
		c := l.dial(uint16(8000 + i))
		defer c.Close()
		r := bufio.NewReader(c)
		for range 50 { // as probes do
			request(b, c, r, "/")
		}
		return p
	}
	start(0)
	for b.Loop() {
		before := dirty(b)
		var all []*process
		for i := range n {
			all = append(all, start(i+1))
		}
		after := dirty(b)
		b.ReportMetric(float64(after-before)/n/1024, "dirty-KiB")
		b.ReportMetric(float64(all[0].Usage().Memory)/1024, "charged-KiB")
		for _, p := range all {
			p.Signal(kernel.Signal(syscall.SIGTERM))
			p.code(b)
		}
	}
}

// dirty is what the images' mappings hold of their own in this process, in bytes: pages that guests have written to.
func dirty(b *testing.B) (bytes int64) {
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		b.Skip(err)
	}
	ours := false
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case strings.Contains(f[0], "-"):
			ours = strings.Contains(line, "memfd:drydock-image")
		case ours && f[0] == "Private_Dirty:":
			n, _ := strconv.ParseInt(f[1], 10, 64)
			bytes += n << 10
		}
	}
	return bytes
}
