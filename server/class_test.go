package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/drydock-labs/drydock/server/db"
)

// class opens a class and makes p's browser its teacher's.
func (p *portal) class(t *testing.T, name string) (path string) {
	t.Helper()
	res, body := p.ask(t, "POST", "/api/classes", fmt.Sprintf(`{"name":%q}`, name))
	var a struct{ ID, Teacher string }
	if err := json.Unmarshal([]byte(body), &a); err != nil || res.StatusCode != 200 {
		t.Fatalf("open the class: %s %s", res.Status, body)
	}
	_, secret, _ := strings.Cut(a.Teacher, "#")
	path = "/api/classes/" + a.ID
	if res, body := p.ask(t, "POST", path+"/teacher", fmt.Sprintf(`{"secret":%q}`, secret)); res.StatusCode != 204 {
		t.Fatalf("enter the class: %s %s", res.Status, body)
	}
	return path
}

// join joins in a browser of its own and returns the nickname that was given.
func (p *portal) join(t *testing.T, class, name string) (*portal, string) {
	t.Helper()
	q := p.browser()
	ask, _ := json.Marshal(map[string]string{"nickname": name})
	res, body := q.ask(t, "POST", class+"/join", string(ask))
	var a classAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || res.StatusCode != 200 {
		t.Fatalf("join as %q: %s %s", name, res.Status, body)
	}
	return q, a.Nickname
}

// tables reads the teacher's table until f likes it.
func tables(t *testing.T, k *websocket.Conn, what string, f func([]row) bool) []row {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var m classMessage
	for {
		_, p, err := k.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for %s: %v; last %+v", what, err, m.Members)
		}
		m = classMessage{}
		if err := json.Unmarshal(p, &m); err != nil {
			t.Fatal(err)
		}
		if f(m.Members) {
			return m.Members
		}
	}
}

func TestNicknames(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "3-2 반")
	for _, c := range []struct{ name, want string }{
		{"민준", "민준"}, {"민준", "민준 2"}, {"  민준 ", "민준 3"}, {"\u1106\u1175\u11ab\u110c\u116e\u11ab", "민준 4"}, // the same, decomposed
		{"<script>alert(1)</script>"[:24], "<script>alert(1)</script"}, {"=1+1", "=1+1"}, {"a  b", "a b"},
	} {
		if _, got := p.join(t, class, c.name); got != c.want {
			t.Errorf("%q joined as %q, want %q", c.name, got, c.want)
		}
	}
	for name, bad := range map[string]string{"empty": "", "spaces": " \t", "long": strings.Repeat("가", 25), "bell": "a\ab", "escape": "\x1b[31m",
		"right to left": "a\u202eb", "zero width": "a\u200bb", "bytes": strings.Repeat("a", 100_000)} {
		q := p.browser()
		ask, _ := json.Marshal(map[string]string{"nickname": bad})
		res, body := q.ask(t, "POST", class+"/join", string(ask))
		wantCode(t, res, body, 400, "nickname")
		if len(res.Cookies()) > 0 {
			t.Errorf("%s: a session was made for it", name)
		}
	}
	again := p.browser()
	_, _ = again.ask(t, "POST", class+"/join", `{"nickname":"first"}`)
	if _, body := again.ask(t, "POST", class+"/join", `{"nickname":"second"}`); !strings.Contains(body, `"nickname":"first"`) {
		t.Errorf("joining twice: %s", body)
	}
}

func TestClassTable(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "first")
	kim, _ := p.join(t, class, "kim")
	_, _ = p.join(t, class, "lee")
	k := p.dialPath(t, class+"/live")
	rows := tables(t, k, "both", func(r []row) bool { return len(r) == 2 })
	if rows[0].State != "none" || rows[0].Lesson != "" {
		t.Errorf("before a lab: %+v", rows[0])
	}
	kim.start(t)
	page := kim.dial(t, "/live")
	rows = tables(t, k, "kim's lab", func(r []row) bool { return r[0].State == "open" && len(r[0].Missing) > 0 })
	if r := rows[0]; r.Lesson != "deploy-by-plan" || r.Task == "" || r.Done != 0 || r.Tasks != 5 || r.Since.IsZero() {
		t.Errorf("at the first task: %+v", r)
	}
	since, first := rows[0].Since, rows[0].Task
	shell := kim.dial(t, "/terminals/workstation/1")
	until(t, shell, "$ ")
	typed(t, shell, "kubectl apply -f web.yaml\r")
	rows = tables(t, k, "the first tick", func(r []row) bool { return r[0].Done >= 1 })
	if !rows[0].Since.After(since) || rows[0].Task == first {
		t.Errorf("after the tick: %+v, before since %v at %s", rows[0], since, first)
	}
	if !slices.Contains(rows[0].Terminals, "workstation/1") {
		t.Errorf("terminals: %v", rows[0].Terminals)
	}
	page.CloseNow()
	tables(t, k, "kim leaving", func(r []row) bool { return r[0].State == "away" })
	if _, err := p.join(t, class, "park"); err != "park" {
		t.Error(err)
	}
	tables(t, k, "park", func(r []row) bool { return len(r) == 3 })
}

// TestLookingOn: a teacher sees what a learner's terminal shows and can't type into it; the learner's page says that somebody looks.
func TestLookingOn(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "first")
	kim, _ := p.join(t, class, "kim")
	kim.start(t)
	live := kim.dial(t, "/live")
	follow(t, live, "the class", func(m toPage) bool { return m.Class != nil && m.Class.Nickname == "kim" && !m.Class.Watched })
	shell := kim.dial(t, "/terminals/workstation/1?rows=31&cols=97")
	until(t, shell, "$ ")
	typed(t, shell, "echo from-kim\r")
	until(t, shell, "from-kim\r\n")

	watch := p.dialPath(t, class+"/members/1/terminals/workstation/1")
	until(t, watch, "from-kim\r\n")
	follow(t, live, "being watched", func(m toPage) bool { return m.Class != nil && m.Class.Watched })
	typed(t, watch, "echo from-teacher\r")
	if err := watch.Write(t.Context(), websocket.MessageText, []byte(`{"type":"close"}`)); err != nil {
		t.Fatal(err)
	}
	if err := watch.Write(t.Context(), websocket.MessageText, []byte(`{"type":"resize","rows":5,"cols":5}`)); err != nil {
		t.Fatal(err)
	}
	typed(t, shell, "echo still-kim\r")
	if seen := until(t, watch, "still-kim\r\n"); strings.Contains(seen, "from-teacher") {
		t.Errorf("the teacher typed: %q", seen)
	}
	d := p.server.sessionsDesk(t)
	if rows, cols := d.current().existing("workstation", 1).dimensions(); rows != 31 || cols != 97 {
		t.Errorf("the teacher changed the size to %dx%d", rows, cols)
	}
	cluster := p.dialPath(t, class+"/members/1/live")
	follow(t, cluster, "the cluster", func(m toPage) bool { return m.Snapshot })
	watch.CloseNow()
	cluster.CloseNow()
	follow(t, live, "being alone again", func(m toPage) bool { return m.Class != nil && !m.Class.Watched })

	for name, path := range map[string]string{"no such terminal": "/members/1/terminals/node-1/3", "no such learner": "/members/7/terminals/workstation/1"} {
		k := p.dialPath(t, class+path)
		if _, _, err := k.Read(t.Context()); websocket.CloseStatus(err) != 4404 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTeacherOnly: nothing of the teacher's is there for learners, strangers or another class's teacher.
func TestTeacherOnly(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "first")
	kim, _ := p.join(t, class, "kim")
	kim.start(t)
	other := p.browser()
	other.class(t, "other")
	for name, who := range map[string]*portal{"learner": kim, "stranger": p.browser(), "other teacher": other} {
		for _, ask := range [][2]string{{"GET", "/qr.svg"}, {"POST", "/close"}, {"POST", "/release"}, {"GET", "/live"}, {"GET", "/members/1/live"}, {"GET", "/members/1/terminals/workstation/1"}} {
			res, body := who.ask(t, ask[0], class+ask[1], "")
			if wantCode(t, res, body, 403, "not-teacher"); t.Failed() {
				t.Errorf("%s: %v", name, ask)
			}
		}
		if _, body := who.ask(t, "GET", class, ""); strings.Contains(body, `"join"`) || strings.Contains(body, `"teacher":true`) {
			t.Errorf("%s reads %s", name, body)
		}
	}
	res, body := other.ask(t, "POST", class+"/teacher", `{"secret":"guess"}`)
	wantCode(t, res, body, 403, "not-teacher")
	res, body = other.ask(t, "POST", "/api/classes", `{"name":"first"}`)
	wantCode(t, res, body, 409, "class-taken")
	res, body = kim.ask(t, "GET", "/api/classes/zzzzzzz", "")
	wantCode(t, res, body, 404, "no-class")
}

func TestRelease(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "first")
	kim, _ := p.join(t, class, "kim")
	lee, _ := p.join(t, class, "lee")
	a := kim.start(t)
	lee.start(t)
	first, second := a.Progress.Tasks[0].ID, a.Progress.Tasks[1].ID
	live := kim.dial(t, "/live")
	res, body := kim.ask(t, "GET", lesson+"/solutions/"+first, "")
	wantCode(t, res, body, 403, "solution-later")
	release := func(member int, task string) (*http.Response, string) {
		return p.ask(t, "POST", class+"/release", fmt.Sprintf(`{"member":%d,"lesson":"deploy-by-plan","task":%q}`, member, task))
	}
	if res, body := release(1, first); res.StatusCode != 204 {
		t.Fatalf("%s %s", res.Status, body)
	}
	follow(t, live, "the release", func(m toPage) bool { return m.Class != nil && slices.Equal(m.Class.Released, []string{first}) })
	if res, body := kim.ask(t, "GET", lesson+"/solutions/"+first, ""); res.StatusCode != 200 || body == "[]" {
		t.Errorf("released: %s %s", res.Status, body)
	}
	res, body = lee.ask(t, "GET", lesson+"/solutions/"+first, "")
	wantCode(t, res, body, 403, "solution-later")
	if res, body := release(0, second); res.StatusCode != 204 {
		t.Fatalf("%s %s", res.Status, body)
	}
	for _, q := range []*portal{kim, lee} {
		if res, body := q.ask(t, "GET", lesson+"/solutions/"+second, ""); res.StatusCode != 200 {
			t.Errorf("released to all: %s %s", res.Status, body)
		}
	}
	res, body = release(0, "no-such-task")
	wantCode(t, res, body, 404, "not-found")
	res, body = release(9, first)
	wantCode(t, res, body, 404, "not-found")
}

func TestCloseClass(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "first")
	before := p.browser()
	before.start(t) // a lab of their own, from before the class
	if res, body := before.ask(t, "POST", class+"/join", `{"nickname":"early"}`); res.StatusCode != 200 {
		t.Fatal(body)
	}
	kim, _ := p.join(t, class, "kim")
	kim.start(t)
	live, shell := kim.dial(t, "/live"), kim.dial(t, "/terminals/workstation/1")
	until(t, shell, "$ ")
	follow(t, live, "the cluster", func(m toPage) bool { return m.Snapshot })
	table := p.dialPath(t, class+"/live")
	tables(t, table, "both", func(r []row) bool { return len(r) == 2 })
	if res, body := p.ask(t, "POST", class+"/close", ""); res.StatusCode != 204 {
		t.Fatalf("%s %s", res.Status, body)
	}
	for name, k := range map[string]*websocket.Conn{"live": live, "terminal": shell, "table": table} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var err error
		for err == nil {
			_, _, err = k.Read(ctx)
		}
		cancel()
		var closed websocket.CloseError
		if closed, _ = asClose(err); closed.Code != 4410 || !strings.HasPrefix(closed.Reason, "class-closed") {
			t.Errorf("%s ended with %v", name, err)
		}
	}
	res, body := kim.ask(t, "GET", lesson, "")
	wantCode(t, res, body, 404, "no-lab")
	if res, body := before.ask(t, "GET", lesson, ""); res.StatusCode != 200 {
		t.Errorf("the lab from before the class: %s %s", res.Status, body)
	}
	res, body = kim.ask(t, "POST", class+"/join", `{"nickname":"x"}`)
	wantCode(t, res, body, 410, "class-closed")
	if a := kim.start(t); !a.Made {
		t.Error("after the class, a lab of one's own is another")
	}
}

func asClose(err error) (websocket.CloseError, bool) {
	for err != nil {
		if c, ok := err.(websocket.CloseError); ok {
			return c, true
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			break
		}
		err = u.Unwrap()
	}
	return websocket.CloseError{}, false
}

// TestClassKept: a server that starts again with the same folder and the same class has the same class, members and releases.
func TestClassKept(t *testing.T) {
	dir := t.TempDir()
	run := func(f func(p *portal, links ClassLinks)) {
		tables, err := db.Open(db.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer tables.Close()
		p := newPortal(t, func(c *Config) { c.DB = tables })
		links, err := p.server.OpenClass(t.Context(), "3-2 반")
		if err != nil {
			t.Fatal(err)
		}
		f(p, links)
		if err := p.server.Close(); err != nil {
			t.Error(err)
		}
	}
	var first ClassLinks
	run(func(p *portal, l ClassLinks) {
		first = l
		p.join(t, "/api/classes/"+l.ID, "kim")
	})
	run(func(p *portal, l ClassLinks) {
		if l.ID != first.ID || l.Teacher == first.Teacher {
			t.Errorf("opened again: %+v, before %+v", l, first)
		}
		for _, link := range []string{first.Teacher, l.Teacher} { // the old one keeps working
			_, secret, _ := strings.Cut(link, "#")
			if res, body := p.ask(t, "POST", "/api/classes/"+l.ID+"/teacher", fmt.Sprintf(`{"secret":%q}`, secret)); res.StatusCode != 204 {
				t.Errorf("teacher's link: %s %s", res.Status, body)
			}
		}
		k := p.dialPath(t, "/api/classes/"+l.ID+"/live")
		tables(t, k, "kim", func(r []row) bool { return len(r) == 1 && r[0].Name == "kim" && r[0].State == "none" })
	})
}

func TestJoinLinks(t *testing.T) {
	at := []string{"http://127.0.0.1:8080", "http://192.168.0.12:8080", "http://10.0.0.3:8080"}
	p := newPortal(t, func(c *Config) { c.Addresses = func() []string { return at } })
	class := p.class(t, "first")
	id := strings.TrimPrefix(class, "/api/classes/")
	u, _ := url.Parse(p.URL + class)
	cookie := p.client.Jar.Cookies(u)[0].String() // the jar keeps it for one host
	for host, want := range map[string][]string{
		"127.0.0.1:8080":    {"http://192.168.0.12:8080", "http://10.0.0.3:8080", "http://127.0.0.1:8080"},
		"localhost:8080":    {"http://192.168.0.12:8080", "http://10.0.0.3:8080", "http://localhost:8080"},
		"192.168.0.12:8080": {"http://192.168.0.12:8080", "http://10.0.0.3:8080"},
		"class.school:80":   {"http://class.school:80", "http://192.168.0.12:8080", "http://10.0.0.3:8080"},
	} {
		_, body := p.browser().ask(t, "GET", class, "", "Host", host, "Cookie", cookie)
		var a classAnswer
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i] += "/join/" + id
		}
		if d := cmp.Diff(want, a.Join); d != "" {
			t.Errorf("at %s (-want +got):\n%s", host, d)
		}
	}
}

// TestQR: the code in the page and the one in the terminal have the same modules, with the three finder patterns and a light margin.
func TestQR(t *testing.T) {
	const text = "http://192.168.0.12:8080/join/abcdefg"
	side, dark, err := qrCode(text)
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := QRText(text, false)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	for y := range side {
		for x := range side {
			r := []rune(lines[y/2])[x]
			light := r == '█' || y%2 == 0 && r == '▀' || y%2 == 1 && r == '▄'
			if light == dark(x, y) {
				t.Fatalf("the terminal's module %d,%d differs", x, y)
			}
			if margin := x < quiet || y < quiet || x >= side-quiet || y >= side-quiet; margin && dark(x, y) {
				t.Fatalf("the margin is dark at %d,%d", x, y)
			}
		}
	}
	for _, corner := range [][2]int{{quiet, quiet}, {side - quiet - 7, quiet}, {quiet, side - quiet - 7}} {
		for y := range 7 {
			for x := range 7 {
				ring := max(max(x-3, 3-x), max(y-3, 3-y))
				if dark(corner[0]+x, corner[1]+y) != (ring != 2) {
					t.Fatalf("no finder pattern at %v", corner)
				}
			}
		}
	}
	svg, err := qrSVG(text)
	if err != nil || !strings.HasPrefix(string(svg), "<svg ") || strings.Count(string(svg), "M") < 100 {
		t.Errorf("svg: %.200s %v", svg, err)
	}
}

// TestForty: forty browsers behind one address join and have a lab each.
func TestForty(t *testing.T) {
	p := newPortal(t)
	class := p.class(t, "forty")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			q, name := p.join(t, class, "kim")
			if a := q.start(t); !a.Made || name == "" {
				t.Errorf("learner %d: %+v", i, a)
			}
		})
	}
	wg.Wait()
	names := map[string]bool{}
	for _, r := range p.server.classes.table(p.server.classes.rooms[strings.TrimPrefix(class, "/api/classes/")]).Members {
		names[r.Name] = true
	}
	if len(names) != 40 || !names["kim 40"] {
		t.Errorf("%d names: %v", len(names), names)
	}
}
