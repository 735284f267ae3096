package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/db"
)

// portal is a running portal with one browser.
type portal struct {
	*httptest.Server
	server *Server
	labs   *doubleLabs
	client *http.Client
}

func newPortal(t *testing.T, change ...func(*Config)) *portal {
	t.Helper()
	all, err := lessons.LoadAll(lessons.Content())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Labs: &doubleLabs{}, Lessons: all, Version: "test", Assets: fstest.MapFS{
		"index.html":      {Data: []byte("<!doctype html><title>page</title>" + strings.Repeat(" ", 600))},
		"assets/app-1.js": {Data: []byte("export {}")},
		"theme.js":        {Data: []byte("// theme")},
	}}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(nil)
	h.Config = s.HTTPServer()
	h.Start()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		h.Close()
		if err := s.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
	p := &portal{Server: h, server: s, client: h.Client()}
	p.labs, _ = cfg.Labs.(*doubleLabs)
	p.client.Jar, _ = cookiejar.New(nil) // never fails without options
	return p
}

// browser is another browser at the same portal.
func (p *portal) browser() *portal {
	q := *p
	q.client = &http.Client{Transport: p.client.Transport}
	q.client.Jar, _ = cookiejar.New(nil)
	return &q
}

// cookiesFor is a browser's cookies of one portal as those of another.
func cookiesFor(t *testing.T, from, to *portal) http.CookieJar {
	t.Helper()
	was, err := url.Parse(from.URL)
	now, errNow := url.Parse(to.URL)
	if err := errors.Join(err, errNow); err != nil {
		t.Fatal(err)
	}
	jar, _ := cookiejar.New(nil)
	jar.SetCookies(now, from.client.Jar.Cookies(was))
	return jar
}

func (p *portal) ask(t *testing.T, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, p.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" && strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	res, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(data)
}

const lesson = "/api/labs/deploy-by-plan"

func (p *portal) start(t *testing.T) labAnswer {
	t.Helper()
	res, body := p.ask(t, "POST", "/api/labs?lang=en", `{"lesson":"deploy-by-plan"}`)
	var a labAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || res.StatusCode != 200 {
		t.Fatalf("start: %s %s", res.Status, body)
	}
	return a
}

func wantCode(t *testing.T, res *http.Response, body string, status int, code string) {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != status || p.Code != code {
		t.Errorf("answer is %s %s, want %d %s", res.Status, body, status, code)
	}
}

func TestSession(t *testing.T) {
	p := newPortal(t)
	res, body := p.ask(t, "GET", lesson, "")
	wantCode(t, res, body, 404, "no-lab")
	if len(res.Cookies()) != 0 {
		t.Error("reading sets a cookie")
	}
	first := p.start(t)
	if !first.Made || len(first.Machines) != 5 || len(first.Progress.Tasks) != 5 {
		t.Errorf("lab is %+v", first)
	}
	if again := p.start(t); again.Made || again.ID != first.ID {
		t.Errorf("starting again gives %+v, want the same lab", again)
	}
	if other := p.browser().start(t); other.ID == first.ID {
		t.Error("two browsers share a lab")
	}
	stranger := p.browser()
	for _, path := range []string{lesson, lesson + "/kubeconfig", lesson + "/files/web.yaml", lesson + "/why/pods/default/a", lesson + "/solutions/declare"} {
		res, body := stranger.ask(t, "GET", path, "", "Cookie", "drydock=guess")
		wantCode(t, res, body, 404, "no-lab")
	}
	doomed := p.labs.labs[0]
	if res, _ := p.ask(t, "DELETE", lesson, ""); res.StatusCode != 204 {
		t.Errorf("delete: %s", res.Status)
	}
	if !doomed.isClosed() || slices.Contains(p.labs.labs, doomed) {
		t.Error("the deleted lab is open")
	}
	res, body = p.ask(t, "GET", lesson, "")
	wantCode(t, res, body, 404, "no-lab")
}

func TestCookie(t *testing.T) {
	p := newPortal(t)
	res, _ := p.ask(t, "POST", "/api/labs", `{"lesson":"deploy-by-plan"}`)
	c := res.Cookies()
	if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode || len(c[0].Value) < 32 || c[0].Path != "/" || c[0].Secure {
		t.Errorf("cookie is %+v", c)
	}
}

func TestLabEnds(t *testing.T) {
	p := newPortal(t)
	first := p.start(t)
	p.labs.labs[0].Close()
	if again := p.start(t); again.ID != first.ID || again.Code != first.Code || again.Made {
		t.Errorf("the lab that had ended is %+v, was %+v", again, first)
	}
	p.labs.labs[0].Close()
	if err := p.labs.DeleteLab(first.ID); err != nil {
		t.Fatal(err)
	}
	res, body := p.ask(t, "GET", lesson, "")
	wantCode(t, res, body, 404, "no-lab")
	if again := p.start(t); again.ID == first.ID || !again.Made {
		t.Errorf("the lab that is gone is given again: %+v", again)
	}
}

// A portal that starts again has the sessions, their labs, how far the lesson was and what the terminals showed; a return code opens them in
// another browser, until it is renewed.
func TestReturn(t *testing.T) {
	tables, err := db.Open(db.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	labs := &doubleLabs{}
	p := newPortal(t, func(c *Config) { c.DB, c.Labs = tables, labs })
	first := p.start(t)
	k := p.dial(t, "/terminals/workstation/1")
	until(t, k, "$ ")
	typed(t, k, "echo from-before\r")
	until(t, k, "from-before\r\n")
	if err := p.server.Close(); err != nil {
		t.Fatal(err)
	}
	again := newPortal(t, func(c *Config) { c.DB, c.Labs = tables, labs })
	again.client.Jar = cookiesFor(t, p, again)
	if res, body := again.ask(t, "GET", "/api/labs", ""); res.StatusCode != 200 || strings.TrimSpace(body) != `["deploy-by-plan"]` || again.server.sessionsDesk(t).current() != nil {
		t.Errorf("the labs: %s %s", res.Status, body)
	}
	if lab := again.start(t); lab.ID != first.ID || lab.Code != first.Code || lab.Made {
		t.Errorf("the lab is %+v, was %+v", lab, first)
	}
	until(t, again.dial(t, "/terminals/workstation/1"), "from-before")

	other := again.browser()
	res, body := other.ask(t, "POST", "/api/return", `{"code":"0123456789"}`)
	wantCode(t, res, body, 404, "no-code")
	typedCode := strings.ToUpper(first.Code[:5]) + "-" + first.Code[5:]
	if res, body = other.ask(t, "POST", "/api/return", `{"code":"`+typedCode+`"}`); res.StatusCode != 200 || !strings.Contains(body, `"deploy-by-plan"`) {
		t.Fatalf("return: %s %s", res.Status, body)
	}
	if lab := other.start(t); lab.ID != first.ID {
		t.Errorf("the code opens %s, not %s", lab.ID, first.ID)
	}
	if res, body = other.ask(t, "POST", lesson+"/code", ""); res.StatusCode != 200 {
		t.Fatalf("renew: %s %s", res.Status, body)
	}
	res, body = again.browser().ask(t, "POST", "/api/return", `{"code":"`+first.Code+`"}`)
	wantCode(t, res, body, 404, "no-code")
}

// Labs that nobody has seen for long are deleted, and those whose deletion was cut short.
func TestRetention(t *testing.T) {
	p := newPortal(t, func(c *Config) { c.Limits.KeepFor, c.Limits.IdleAfter = time.Nanosecond, time.Nanosecond })
	lab := p.start(t)
	for p.server.sessionsDesk(t).current() != nil { // asleep after a nanosecond without a page
		runtime.Gosched()
	}
	p.server.collect()
	if len(p.labs.labs) != 0 {
		t.Error("the lab is there")
	}
	if _, err := p.server.cfg.DB.Lab(t.Context(), lab.ID); !errors.Is(err, db.ErrNone) {
		t.Errorf("its row: %v", err)
	}
	res, body := p.ask(t, "GET", lesson, "")
	wantCode(t, res, body, 404, "no-lab")
}

func TestLimits(t *testing.T) {
	t.Run("labs full", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Labs = &doubleLabs{most: 1} })
		p.start(t)
		res, body := p.browser().ask(t, "POST", "/api/labs", `{"lesson":"deploy-by-plan"}`)
		wantCode(t, res, body, 503, "labs-full")
		if res.Header.Get("Retry-After") != "30" {
			t.Errorf("Retry-After is %q", res.Header.Get("Retry-After"))
		}
	})
	t.Run("an abandoned lab makes room", func(t *testing.T) {
		p := newPortal(t, func(c *Config) {
			c.Labs = &doubleLabs{most: 1}
			c.Limits.YieldAfter = time.Nanosecond
		})
		first := p.start(t)
		if second := p.browser().start(t); second.ID == first.ID {
			t.Error("the same lab")
		}
		if res, body := p.ask(t, "GET", lesson, ""); res.StatusCode != 200 || !strings.Contains(body, first.ID) {
			t.Errorf("the first lab does not wake: %s %s", res.Status, body)
		}
	})
	t.Run("labs a minute", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Limits.LabsPerMinute = 2 })
		p.start(t)
		if res, body := p.ask(t, "POST", lesson+"/reset", `{"to":"lab"}`); res.StatusCode != 200 {
			t.Fatalf("reset: %s %s", res.Status, body)
		}
		res, body := p.ask(t, "POST", lesson+"/reset", `{"to":"lab"}`)
		wantCode(t, res, body, 429, "too-many-labs")
		if res.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
	t.Run("requests at once", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Limits.InFlight = 1 })
		p.start(t)
		// a request whose body does not end holds the slot
		r, w := io.Pipe()
		defer w.Close()
		req, _ := http.NewRequest("PUT", p.URL+lesson+"/files/a", r)
		go func() {
			if res, err := p.client.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for {
			res, body := p.ask(t, "GET", lesson, "")
			if res.StatusCode == 200 {
				continue // the other has not arrived
			}
			wantCode(t, res, body, 429, "busy")
			return
		}
	})
	t.Run("sockets at once", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Limits.Sockets = 1 })
		p.start(t)
		_ = p.dial(t, "/live")
		k := p.dial(t, "/live")
		_, _, err := k.Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 4429 || closed.Reason != `busy {"limit":1}` {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("body", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Limits.Body = 100 })
		p.start(t)
		res, body := p.ask(t, "PUT", lesson+"/files/a", strings.Repeat("x", 101))
		wantCode(t, res, body, 413, "too-large")
		r, _ := http.NewRequest("POST", p.URL+lesson+"/apply", io.MultiReader(strings.NewReader(strings.Repeat("x", 101)))) // of unknown length
		res, err := p.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		data, _ := io.ReadAll(res.Body)
		wantCode(t, res, string(data), 413, "too-large")
	})
	t.Run("slow body", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Limits.BodyTime = 20 * time.Millisecond })
		p.start(t)
		conn, err := net.Dial("tcp", p.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/labs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusBadRequest {
			t.Errorf("status is %s", res.Status)
		}
	})
}

func TestOrigin(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	for _, test := range []struct {
		name, method, path string
		header             []string
		status             int
	}{
		{"another site's form", "POST", "/api/labs", []string{"Origin", "http://evil.example"}, 403},
		{"a sandboxed frame", "POST", "/api/labs", []string{"Origin", "null"}, 403},
		{"another site by metadata", "DELETE", lesson, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"another port", "PUT", lesson + "/files/a", []string{"Origin", "http://127.0.0.1:1"}, 403},
		{"another site's socket", "GET", lesson + "/live", []string{"Origin", "http://evil.example", "Upgrade", "websocket", "Connection", "Upgrade"}, 403},
		{"a socket without origin", "GET", lesson + "/terminals/workstation/1", []string{"Upgrade", "websocket", "Connection", "Upgrade"}, 403},
		{"its own", "PUT", lesson + "/files/a", []string{"Origin", p.URL, "Sec-Fetch-Site", "same-origin"}, 204},
		{"a client without origin", "PUT", lesson + "/files/a", nil, 204},
		{"a link from elsewhere", "GET", "/", []string{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, body := p.ask(t, test.method, test.path, "x", test.header...)
			if res.StatusCode != test.status {
				t.Errorf("status is %s, want %d: %s", res.Status, test.status, body)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	p := newPortal(t)
	for _, path := range []string{"/", "/lessons/deploy-by-plan", "/nothing", "/api/info", "/api/nothing", "/assets/app-1.js"} {
		res, _ := p.ask(t, "GET", path, "")
		h := res.Header
		if !strings.Contains(h.Get("Content-Security-Policy"), "script-src 'self';") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") == "" {
			t.Errorf("%s: headers are %v", path, h)
		}
	}
	if strings.Contains(contentPolicy, "unsafe-eval") || strings.Contains(contentPolicy, "script-src 'self' 'unsafe-inline'") || strings.Contains(contentPolicy, "http:") {
		t.Error("the policy lets scripts in")
	}
}

func TestPages(t *testing.T) {
	p := newPortal(t)
	for _, test := range []struct {
		path   string
		status int
		body   string
		cache  string
	}{
		{"/", 200, "<title>page</title>", "no-cache"},
		{"/lessons/deploy-by-plan", 200, "<title>page</title>", "no-cache"},
		{"/differences", 200, "<title>page</title>", "no-cache"},
		{"/lessons/nothing", 404, "There is nothing at this address.", "no-store"},
		{"/index.html.bak", 404, "이 주소에는 아무것도 없어요.", "no-store"},
		{"/assets/app-1.js", 200, "export {}", "public, max-age=31536000, immutable"},
		{"/assets/../../etc/passwd", 404, "", ""},
		{"/theme.js", 200, "// theme", "no-cache"},
		{"/healthz", 200, "ok\n", ""},
		{"/api/nothing", 404, `{"code":"not-found"}`, "no-store"},
	} {
		t.Run(test.path, func(t *testing.T) {
			res, body := p.ask(t, "GET", test.path, "")
			if res.StatusCode != test.status || !strings.Contains(body, test.body) || res.Header.Get("Cache-Control") != test.cache && test.cache != "" {
				t.Errorf("%s %q %s", res.Status, res.Header.Get("Cache-Control"), body)
			}
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		res, _ := p.ask(t, "GET", "/", "")
		if again, _ := p.ask(t, "GET", "/", "", "If-None-Match", res.Header.Get("ETag")); again.StatusCode != 304 {
			t.Errorf("status is %s", again.Status)
		}
	})
	t.Run("compressed", func(t *testing.T) {
		res, body := p.ask(t, "GET", "/", "", "Accept-Encoding", "gzip")
		if res.Header.Get("Content-Encoding") != "gzip" || len(body) > 200 {
			t.Errorf("%v, %d bytes", res.Header, len(body))
		}
	})
	t.Run("not built", func(t *testing.T) {
		p := newPortal(t, func(c *Config) { c.Assets, c.ErrAssets = nil, errors.New("the page is not built: run it") })
		res, body := p.ask(t, "GET", "/", "")
		if res.StatusCode != 503 || body != "the page is not built: run it\n" {
			t.Errorf("%s %s", res.Status, body)
		}
	})
}

func TestLessonAnswer(t *testing.T) {
	p := newPortal(t)
	for lang, title := range map[string]string{"ko": "계획대로 배포하기", "en": "Deploy to plan"} {
		_, body := p.ask(t, "GET", "/api/lessons/deploy-by-plan?lang="+lang, "")
		var a lessonAnswer
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		if a.Title != title || len(a.List) != 5 || len(a.Messages) < 10 || strings.Contains(body, "sed -i") {
			t.Errorf("%s: %s, %d tasks, %d messages, or the solution is in it", lang, a.Title, len(a.List), len(a.Messages))
		}
	}
	res, body := p.ask(t, "GET", "/api/lessons/nothing", "")
	wantCode(t, res, body, 404, "no-lesson")
}

func TestFiles(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	if res, body := p.ask(t, "GET", lesson+"/files/web.yaml", ""); res.StatusCode != 200 || !strings.Contains(body, "replicas: 3") || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s %s", res.Status, body)
	}
	if res, _ := p.ask(t, "PUT", lesson+"/files/dir/b.yaml", "b"); res.StatusCode != 204 {
		t.Errorf("put: %s", res.Status)
	}
	if _, body := p.ask(t, "GET", lesson+"/files/dir/b.yaml", ""); body != "b" {
		t.Errorf("got %q", body)
	}
	res, body := p.ask(t, "GET", lesson+"/files/%2e%2e/etc/passwd", "")
	wantCode(t, res, body, 400, "file-path")
	res, body = p.ask(t, "GET", lesson+"/files/none", "")
	wantCode(t, res, body, 404, "file")
}

func TestKubeconfig(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	for host, want := range map[string]string{
		"192.168.0.12:8080": "server: https://192.168.0.12:8080", "[::1]:8080": "server: https://[::1]:8080", "evil/@x": "server: https://localhost",
	} {
		if host == "evil/@x" {
			if got := hostPort(host); got != "localhost" {
				t.Errorf("hostPort(%q) is %q", host, got)
			}
			continue
		}
		own, err := url.Parse(p.URL)
		if err != nil {
			t.Fatal(err)
		}
		res, body := p.ask(t, "GET", lesson+"/kubeconfig", "", "Host", host, "Cookie", p.client.Jar.Cookies(own)[0].String())
		if !strings.Contains(body, want) || !strings.Contains(res.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %v %s", host, res.Header, body)
		}
	}
}

func TestApply(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	_, web := p.ask(t, "GET", lesson+"/files/web.yaml", "")
	res, body := p.ask(t, "POST", lesson+"/apply", web)
	var got []appliedAnswer
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%s %s", res.Status, body)
	}
	want := []appliedAnswer{{Kind: "Deployment", Namespace: "default", Name: "web", Result: "created"}, {Kind: "Service", Namespace: "default", Name: "web", Result: "created"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	res, body = p.ask(t, "POST", lesson+"/apply", "a: [")
	wantCode(t, res, body, 422, "manifest")
}

// dial opens a socket of the lab, with the browser's cookie and the portal's own origin.
func (p *portal) dial(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	return p.dialPath(t, lesson+path)
}

func (p *portal) dialPath(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	h := http.Header{"Origin": {p.URL}}
	k, _, err := websocket.Dial(t.Context(), p.URL+path, &websocket.DialOptions{HTTPClient: p.client, HTTPHeader: h})
	if err != nil {
		t.Fatal(err)
	}
	k.SetReadLimit(16 << 20)
	t.Cleanup(func() { k.CloseNow() })
	return k
}

// until reads a terminal's socket until what it painted holds s.
func until(t *testing.T, k *websocket.Conn, s string) (painted string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var all bytes.Buffer
	for !strings.Contains(all.String(), s) {
		kind, p, err := k.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for %q: %v, painted %q", s, err, all.String())
		}
		if kind == websocket.MessageBinary {
			all.Write(p)
			ack, _ := json.Marshal(fromTerminal{Type: "ack", N: int64(len(p))})
			_ = k.Write(ctx, websocket.MessageText, ack)
		} else if strings.Contains(string(p), s) {
			return all.String()
		}
	}
	return all.String()
}

func typed(t *testing.T, k *websocket.Conn, s string) {
	t.Helper()
	if err := k.Write(t.Context(), websocket.MessageBinary, []byte(s)); err != nil {
		t.Fatal(err)
	}
}

func TestTerminal(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	k := p.dial(t, "/terminals/workstation/1?rows=30&cols=100&lang=en")
	until(t, k, "$ ")
	typed(t, k, "echo one\r")
	until(t, k, "\aone\r\n")

	// another page, and one that comes back, paint what there was
	again := p.dial(t, "/terminals/workstation/1")
	got := until(t, again, "\aone\r\n")
	if !strings.Contains(got, "echo one") {
		t.Errorf("replay is %q", got)
	}
	typed(t, again, "echo two\r")
	until(t, again, "\atwo\r\n")
	until(t, k, "\atwo\r\n")

	k.CloseNow()
	typed(t, again, "exit\r")
	until(t, again, `"type":"exit"`)
	fresh := p.dial(t, "/terminals/workstation/1")
	if got := until(t, fresh, "$ "); strings.Contains(got, "two") {
		t.Errorf("a new shell paints the old one's: %q", got)
	}
}

// TestTerminalClosed: a tab that is closed hangs its shell up and gives its place back.
func TestTerminalClosed(t *testing.T) {
	p := newPortal(t, func(c *Config) { c.Limits.Terminals = 2 })
	p.start(t)
	until(t, p.dial(t, "/terminals/workstation/1"), "$ ")
	second := p.dial(t, "/terminals/workstation/2")
	until(t, second, "$ ")
	_, _, err := p.dial(t, "/terminals/node-1/1").Read(t.Context())
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Reason != `lab-terminals {"limit":2}` {
		t.Fatalf("a third of two: %v", err)
	}
	if err := second.Write(t.Context(), websocket.MessageText, []byte(`{"type":"close"}`)); err != nil {
		t.Fatal(err)
	}
	until(t, second, `"type":"exit"`)
	until(t, p.dial(t, "/terminals/node-1/1"), "$ ")
}

// TestPrograms: a page hears how far first compilations are, also of a program that is called later, until they are done.
func TestPrograms(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	live := p.dial(t, "/live")
	follow(t, live, "hello", func(m toPage) bool { return m.Type == "hello" })
	k := p.dial(t, "/terminals/workstation/1")
	until(t, k, "$ ")
	typed(t, k, "vi web.yaml\r")
	follow(t, live, "vi under way", func(m toPage) bool { return m.Type == "programs" && len(m.Programs) == 1 && m.Programs[0].Name == "vi" })
	follow(t, live, "vi ready", func(m toPage) bool { return m.Type == "programs" && len(m.Programs) == 0 })
}

func TestTerminalRefusals(t *testing.T) {
	p := newPortal(t, func(c *Config) { c.Limits.Terminals = 2 })
	p.start(t)
	node := p.dial(t, "/terminals/node-1/1")
	until(t, node, "$ ")
	typed(t, node, "poweroff\r")
	until(t, node, `"type":"exit"`)
	for path, reason := range map[string]string{"/terminals/node-1/1": `machine-off {"machine":"node-1"}`} {
		_, _, err := p.dial(t, path).Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Reason != reason || closed.Code < 4000 {
			t.Errorf("%s: %v, want %s", path, err, reason)
		}
	}
	for _, path := range []string{"/terminals/workstation/3", "/terminals/workstation/x"} {
		res, body := p.ask(t, "GET", lesson+path, "")
		wantCode(t, res, body, 404, "not-found")
	}
}

// TestFlood: a program that floods its terminal does not get ahead of a page that does not paint, and the page gets all once it does.
func TestFlood(t *testing.T) {
	p := newPortal(t)
	p.start(t)
	k := p.dial(t, "/terminals/workstation/1")
	until(t, k, "$ ")
	typed(t, k, "flood\r")
	b := p.server.sessionsDesk(t).current()
	term := b.terminals["workstation/1"]
	// without an ack the terminal stops reading the guest a window and a chunk later
	total := int64(0)
	for total < window {
		_, m, err := k.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		total += int64(len(m))
	}
	term.mu.Lock()
	ahead := term.back.end()
	term.mu.Unlock()
	if ahead > window+3*chunkBytes {
		t.Errorf("%d bytes were read from the guest while the page painted none", ahead)
	}
	ack, _ := json.Marshal(fromTerminal{Type: "ack", N: total})
	if err := k.Write(t.Context(), websocket.MessageText, ack); err != nil {
		t.Fatal(err)
	}
	until(t, k, "\x1b]133;D;0")
}

// sessionsDesk is the only desk there is.
func (s *Server) sessionsDesk(t *testing.T) *desk {
	t.Helper()
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	for _, one := range s.sessions.byID {
		for _, d := range one.desks {
			return d
		}
	}
	t.Fatal("no desk")
	return nil
}

// follow reads the live socket until a message satisfies f.
func follow(t *testing.T, k *websocket.Conn, what string, f func(toPage) bool) toPage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		_, p, err := k.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		var m toPage
		if err := json.Unmarshal(p, &m); err != nil {
			t.Fatal(err)
		}
		if f(m) {
			return m
		}
	}
}

func current(n int) func(toPage) bool {
	return func(m toPage) bool { return m.Progress != nil && m.Progress.Current == n }
}

func TestLive(t *testing.T) {
	p := newPortal(t)
	a := p.start(t)
	live := p.dial(t, "/live")
	hello := follow(t, live, "hello", func(m toPage) bool { return m.Type == "hello" })
	if hello.Lab != a.ID || hello.Progress == nil || hello.Progress.Current != 0 {
		t.Errorf("hello is %+v", hello)
	}
	snapshot := follow(t, live, "the snapshot", func(m toPage) bool { return m.Snapshot })
	if len(snapshot.Changes) != 5 {
		t.Errorf("snapshot holds %d objects, want 4 nodes and a Service", len(snapshot.Changes))
	}
	k := p.dial(t, "/terminals/workstation/1")
	until(t, k, "$ ")
	typed(t, k, "kubectl apply web.yaml\r")
	follow(t, live, "the remark", func(m toPage) bool {
		return m.Progress != nil && len(m.Progress.Tasks[0].Missing) > 0 && m.Progress.Tasks[0].Missing[0].Code == "wrong/no-flag"
	})
	typed(t, k, "kubectl apply -f web.yaml\r")
	tick := follow(t, live, "the tick", current(1))
	codes := []string{}
	for _, l := range tick.Progress.Tasks[0].Why {
		codes = append(codes, l.Code)
	}
	if d := cmp.Diff([]string{"you-created", "created", "replicaset-short", "scheduled", "started", "ready"}, codes); d != "" {
		t.Errorf("why (-want +got):\n%s", d)
	}
	res, body := p.ask(t, "GET", lesson+"/solutions/replace", "")
	wantCode(t, res, body, 403, "solution-later")
	if _, body := p.ask(t, "GET", lesson+"/solutions/declare", ""); !strings.Contains(body, "kubectl apply -f web.yaml") {
		t.Errorf("solution of a done task is %s", body)
	}
	typed(t, k, "kubectl get pods\r")
	typed(t, k, "echo hm\r")
	follow(t, live, "two tries", func(m toPage) bool { return m.Progress != nil && m.Progress.Tasks[1].Tries == 2 })
	if _, body := p.ask(t, "GET", lesson+"/solutions/replace", ""); !strings.Contains(body, "kubectl delete") {
		t.Errorf("solution after two tries is %s", body)
	}

	// another page sees the same at once
	other := p.dial(t, "/live")
	if m := follow(t, other, "hello", func(m toPage) bool { return m.Type == "hello" }); m.Progress.Current != 1 {
		t.Errorf("another page begins at %d", m.Progress.Current)
	}
	p.labs.labs[0].Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		_, _, err := live.Read(ctx)
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			if closed.Code != 4410 {
				t.Errorf("a lab that ended closes with %v", closed)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReset(t *testing.T) {
	p := newPortal(t)
	first := p.start(t)
	live := p.dial(t, "/live")
	k := p.dial(t, "/terminals/workstation/1")
	until(t, k, "$ ")
	typed(t, k, "kubectl apply -f web.yaml\r")
	follow(t, live, "the tick", current(1))

	res, body := p.ask(t, "POST", lesson+"/reset", `{"to":"task"}`)
	var a labAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || res.StatusCode != 200 {
		t.Fatalf("reset: %s %s", res.Status, body)
	}
	if a.ID == first.ID || a.Progress.Current != 1 || len(a.Progress.Tasks[0].Why) == 0 || !a.Undo {
		t.Errorf("after the reset: %+v, want another lab with the tick and its story", a)
	}
	hello := follow(t, live, "the new lab", func(m toPage) bool { return m.Type == "hello" })
	if hello.Lab != a.ID {
		t.Errorf("the page hears of lab %s, want %s", hello.Lab, a.ID)
	}
	follow(t, live, "its pods", func(m toPage) bool {
		n := 0
		for _, c := range m.Changes {
			if c.Resource == "pods" {
				n++
			}
		}
		return m.Snapshot && n == 3
	})
	if res, body := p.ask(t, "POST", lesson+"/undo", ""); res.StatusCode != 200 || !strings.Contains(body, first.ID) {
		t.Errorf("undo: %s %s", res.Status, body)
	}
	back := p.dial(t, "/terminals/workstation/1")
	until(t, back, "kubectl apply -f web.yaml")
	res, body = p.ask(t, "POST", lesson+"/undo", "")
	wantCode(t, res, body, 409, "undo-over")

	if _, body := p.ask(t, "POST", lesson+"/reset", `{"to":"lab"}`); !strings.Contains(body, `"current":0`) {
		t.Errorf("the whole lab: %s", body)
	}
	res, body = p.ask(t, "POST", lesson+"/reset", `{"to":"moon"}`)
	wantCode(t, res, body, 400, "request")
}

func TestUndoEnds(t *testing.T) {
	p := newPortal(t, func(c *Config) { c.UndoFor = time.Millisecond })
	p.start(t)
	live := p.dial(t, "/live")
	first := p.labs.labs[0]
	p.ask(t, "POST", lesson+"/reset", `{"to":"lab"}`)
	select {
	case <-first.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the lab that can't come back is open")
	}
	second := p.server.sessionsDesk(t).current().lab.ID()
	follow(t, live, "the new lab", func(m toPage) bool { return m.Type == "hello" && m.Lab == second })
	follow(t, live, "the end of the undo", func(m toPage) bool { return m.Type == "progress" && !m.Undo })
}

func TestPanic(t *testing.T) {
	p := newPortal(t)
	p.server.echo.GET("/api/panic", func(echo.Context) error { panic("boom") })
	res, body := p.ask(t, "GET", "/api/panic", "")
	wantCode(t, res, body, 500, "internal")
	if strings.Contains(body, "boom") {
		t.Error("the panic's text goes out")
	}
}
