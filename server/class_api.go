package server

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/db"
)

func (s *Server) classRoutes(a *echo.Group) {
	a.POST("/classes", s.createClass)
	class := a.Group("/classes/:class", s.withRoom)
	class.GET("", s.getClass)
	class.POST("/join", s.joinClass)
	class.POST("/teacher", s.enterClass)
	teacher := class.Group("", s.asTeacher)
	teacher.GET("/qr.svg", s.classQR)
	teacher.POST("/close", s.closeClass)
	teacher.POST("/release", s.releaseSolution)
	teacher.GET("/live", s.classLive)
	teacher.GET("/members/:member/live", s.watchLive)
	teacher.GET("/members/:member/terminals/:machine/:number", s.watchTerminal)
}

// withRoom finds the open class that a request names.
func (s *Server) withRoom(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := strings.ToLower(c.Param("class"))
		s.classes.mu.Lock()
		r := s.classes.rooms[id]
		s.classes.mu.Unlock()
		if r != nil {
			c.Set("room", r)
			return next(c)
		}
		if was, err := s.cfg.DB.Class(c.Request().Context(), id); err == nil {
			return refuse(http.StatusGone, "class-closed", map[string]any{"name": was.Name})
		} else if !errors.Is(err, db.ErrNone) {
			return err
		}
		return refuse(http.StatusNotFound, "no-class", nil)
	}
}

func teacherCookie(id string) string { return "drydock-teacher-" + id }

// teaches tells whether a request comes from the class's teacher.
func (s *Server) teaches(c echo.Context, r *room) (bool, error) {
	cookie, err := c.Request().Cookie(teacherCookie(r.ID))
	if err != nil {
		return false, nil // there is none
	}
	return s.cfg.DB.Teaches(c.Request().Context(), r.ID, db.HashOf(cookie.Value))
}

// asTeacher lets the class's teacher pass, and takes a request slot. WebSockets take theirs when accepted.
func (s *Server) asTeacher(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Get("room").(*room)
		ok, err := s.teaches(c, r)
		if err != nil {
			return err
		}
		if !ok {
			return refuse(http.StatusForbidden, "not-teacher", nil)
		}
		c.Set("session", r.teacher)
		if !strings.EqualFold(c.Request().Header.Get("Upgrade"), "websocket") {
			leave, err := r.teacher.enter(false)
			if err != nil {
				return err
			}
			defer leave()
		}
		return next(c)
	}
}

// createClass opens a class for whoever asks; the answer holds the teacher's link, which is told this once.
func (s *Server) createClass(c echo.Context) error {
	var ask struct {
		Name string `json:"name"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	s.classes.mu.Lock()
	for _, r := range s.classes.rooms {
		if name, ok := label(ask.Name, maxClassName); ok && r.Name == name { // only who starts the server may take a class over by its name
			s.classes.mu.Unlock()
			return refuse(http.StatusConflict, "class-taken", map[string]any{"name": name})
		}
	}
	s.classes.mu.Unlock()
	links, err := s.OpenClass(c.Request().Context(), ask.Name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"id": links.ID, "teacher": links.Teacher})
}

// enterClass turns the secret of a teacher's link into a cookie, so that it can leave the address bar.
func (s *Server) enterClass(c echo.Context) error {
	var ask struct {
		Secret string `json:"secret"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	r := c.Get("room").(*room)
	ok, err := s.cfg.DB.Teaches(c.Request().Context(), r.ID, db.HashOf(ask.Secret))
	if err != nil {
		return err
	}
	if !ok {
		return refuse(http.StatusForbidden, "not-teacher", nil)
	}
	c.SetCookie(&http.Cookie{Name: teacherCookie(r.ID), Value: ask.Secret, Path: "/api/classes/" + r.ID, MaxAge: 30 * 24 * 3600, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: c.Request().TLS != nil})
	return c.NoContent(http.StatusNoContent)
}

type classAnswer struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Nickname string   `json:"nickname,omitempty"` // of who asks, when they have joined
	Teacher  bool     `json:"teacher"`
	Join     []string `json:"join,omitempty"` // for the teacher: the join link at each address of the portal, the likeliest first
}

func (s *Server) getClass(c echo.Context) error {
	r := c.Get("room").(*room)
	a := classAnswer{ID: r.ID, Name: r.Name}
	var err error
	if a.Teacher, err = s.teaches(c, r); err != nil {
		return err
	}
	if a.Teacher {
		a.Join = s.joinLinks(c, r)
	}
	user, err := s.sessions.find(c.Request())
	if err != nil {
		return err
	}
	if user != nil {
		s.classes.mu.Lock()
		for _, m := range r.members {
			if m.Session == user.id {
				a.Nickname = m.Name
			}
		}
		s.classes.mu.Unlock()
	}
	return c.JSON(http.StatusOK, a)
}

// joinLinks are the addresses under which learners can be expected to reach the class: where the teacher's page does, unless only their own
// machine knows that name.
func (s *Server) joinLinks(c echo.Context, r *room) []string {
	scheme := "http://"
	if c.Request().TLS != nil {
		scheme = "https://"
	}
	own := scheme + hostPort(c.Request().Host)
	var others []string
	if s.cfg.Addresses != nil {
		for _, a := range s.cfg.Addresses() {
			if a != own && !loopback(a) {
				others = append(others, a)
			}
		}
	}
	all := append([]string{own}, others...)
	if loopback(own) && len(others) > 0 {
		all = append(others, own)
	}
	for i := range all {
		all[i] += "/join/" + r.ID
	}
	return all
}

func loopback(address string) bool {
	_, host, _ := strings.Cut(address, "://")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func (s *Server) classQR(c echo.Context) error {
	links := s.joinLinks(c, c.Get("room").(*room))
	n, err := strconv.Atoi(c.QueryParam("link"))
	if err != nil || n < 0 || n >= len(links) {
		n = 0
	}
	svg, err := qrSVG(links[n])
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "image/svg+xml", svg)
}

func (s *Server) joinClass(c echo.Context) error {
	var ask struct {
		Nickname string `json:"nickname"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	r := c.Get("room").(*room)
	if _, ok := label(ask.Nickname, maxNickname); !ok { // before a session is made for it
		return refuse(http.StatusBadRequest, "nickname", map[string]any{"limit": maxNickname})
	}
	user, err := s.sessions.enter(c)
	if err != nil {
		return err
	}
	leave, err := user.enter(false)
	if err != nil {
		return err
	}
	defer leave()
	m, err := s.classes.join(c.Request().Context(), r, user.id, ask.Nickname)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, classAnswer{ID: r.ID, Name: r.Name, Nickname: m.Name})
}

func (s *Server) closeClass(c echo.Context) error {
	if err := s.classes.end(c.Request().Context(), c.Get("room").(*room)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) releaseSolution(c echo.Context) error {
	var ask struct {
		Member int    `json:"member"` // 0: everybody
		Lesson string `json:"lesson"`
		Task   string `json:"task"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	x := db.Release{Member: ask.Member, Lesson: ask.Lesson, Task: ask.Task}
	if err := s.classes.release(c.Request().Context(), c.Get("room").(*room), x); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// row is one learner in the teacher's table.
type row struct {
	Number    int            `json:"number"`
	Name      string         `json:"name"`
	State     string         `json:"state"` // none (no lab yet), open, away (no page looks at it), ended
	Lesson    string         `json:"lesson,omitempty"`
	Task      string         `json:"task,omitempty"` // "" with a lesson: all are done
	Done      int            `json:"done"`
	Tasks     int            `json:"tasks"`
	Since     time.Time      `json:"since"` // at this task
	Tries     int            `json:"tries"`
	Missing   []lessons.Said `json:"missing,omitempty"`
	Seen      time.Time      `json:"seen"`
	Terminals []string       `json:"terminals,omitempty"` // "machine/number"
	Released  bool           `json:"released,omitempty"`
}

type classMessage struct {
	Name    string    `json:"name"`
	Now     time.Time `json:"now"`
	Members []row     `json:"members"`
}

// table is the class as the teacher sees it, in the order of joining; the page sorts.
func (cs *classes) table(r *room) classMessage {
	out := classMessage{Name: r.Name, Now: time.Now(), Members: []row{}}
	cs.mu.Lock()
	members := append([]*classman(nil), r.members...)
	cs.mu.Unlock()
	for _, m := range members {
		x := row{Number: m.Number, Name: m.Name, State: "none", Seen: m.Seen}
		cs.mu.Lock()
		here := cs.bySession[m.Session] == m
		x.Since = m.since
		cs.mu.Unlock()
		if s := cs.server.sessions.byHash(m.Session); s != nil && here {
			at := stand(s)
			x.State, x.Lesson, x.Task, x.Done, x.Tasks, x.Tries, x.Missing, x.Seen = at.state, at.lesson, at.task, at.done, at.tasks, at.tries, at.missing, at.seen
			if at.desk != nil {
				if b := at.desk.current(); b != nil {
					x.Terminals = b.places()
				}
			}
		}
		cs.mu.Lock()
		x.Released = x.Task != "" && (r.releases[db.Release{Lesson: x.Lesson, Task: x.Task}] || r.releases[db.Release{Member: x.Number, Lesson: x.Lesson, Task: x.Task}])
		cs.mu.Unlock()
		out.Members = append(out.Members, x)
	}
	return out
}

// classPause is the least time between two tables for one page: forty learners who type make one change a moment and not forty.
const classPause = 100 * time.Millisecond

// classLive sends the table at first and after every change.
func (s *Server) classLive(c echo.Context) error {
	r := c.Get("room").(*room)
	return s.accept(c, 4<<10, func(ctx context.Context, k *socket) error {
		ctx = k.CloseRead(ctx)
		changed, cancel := s.classes.watch(r)
		defer cancel()
		for {
			s.classes.mu.Lock()
			closed := r.closed
			s.classes.mu.Unlock()
			if closed {
				return refuse(http.StatusGone, "class-closed", map[string]any{"name": r.Name})
			}
			if err := k.sendJSON(ctx, s.classes.table(r)); err != nil {
				return err
			}
			pause := time.NewTimer(classPause)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return ctx.Err()
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// watched finds the desk of the member that a request names.
func (s *Server) watched(c echo.Context) (*desk, error) {
	n, err := strconv.Atoi(c.Param("member"))
	if err != nil {
		return nil, refuse(http.StatusNotFound, "not-found", nil)
	}
	m := s.classes.member(c.Get("room").(*room), n)
	if m == nil {
		return nil, refuse(http.StatusNotFound, "not-found", nil)
	}
	s.classes.mu.Lock()
	here := s.classes.bySession[m.Session] == m
	s.classes.mu.Unlock()
	user := s.sessions.byHash(m.Session)
	if user == nil || !here {
		return nil, refuse(http.StatusNotFound, "no-lab", nil)
	}
	d := stand(user).desk
	if d == nil {
		return nil, refuse(http.StatusNotFound, "no-lab", nil)
	}
	return d, nil
}

// watchLive streams a learner's cluster and progress to the teacher. The socket takes nothing.
func (s *Server) watchLive(c echo.Context) error {
	return s.accept(c, 4<<10, func(ctx context.Context, k *socket) error {
		d, err := s.watched(c)
		if err != nil {
			return err
		}
		defer d.lookOn()()
		return s.liveDesk(k.CloseRead(ctx), k, d)
	})
}

// watchTerminal shows a terminal that the learner has open. What the teacher's page sends is read for acknowledgements alone: there is no way
// from here to the terminal's input or size.
func (s *Server) watchTerminal(c echo.Context) error {
	number, err := strconv.Atoi(c.Param("number"))
	if err != nil {
		return refuse(http.StatusNotFound, "not-found", nil)
	}
	return s.accept(c, 4<<10, func(ctx context.Context, k *socket) error {
		d, err := s.watched(c)
		if err != nil {
			return err
		}
		var t *terminal
		if b := d.current(); b != nil {
			t = b.existing(c.Param("machine"), number)
		}
		if t == nil {
			return refuse(http.StatusNotFound, "no-terminal", nil)
		}
		defer d.lookOn()()
		return t.show(ctx, k)
	})
}

// show paints a terminal for somebody who only looks.
func (t *terminal) show(ctx context.Context, k *socket) error {
	v, replay, running := t.view()
	defer t.leave(v)
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	reading.Go(func() {
		defer cancel()
		t.acked(ctx, k, v)
	})
	rows, cols := 0, 0
	size := func() error {
		r, c := t.dimensions()
		if r == rows && c == cols {
			return nil
		}
		rows, cols = r, c
		return k.sendJSON(ctx, toTerminal{Type: "size", Rows: r, Cols: c})
	}
	err := size()
	if err == nil {
		err = paint(ctx, k, replay, running)
	}
	for err == nil {
		p, reset, over, errNext := t.next(ctx, v)
		switch {
		case errNext != nil:
			if ctx.Err() == nil {
				k.goodbye(errNext) // before acked's Read is cancelled, which breaks the connection
			}
			return errNext
		case over:
			err := k.sendJSON(ctx, toTerminal{Type: "exit"})
			_ = k.Close(websocket.StatusNormalClosure, "")
			return err
		}
		if err = size(); err != nil {
			break
		}
		if reset {
			err = paint(ctx, k, p, "")
		} else {
			err = k.send(ctx, websocket.MessageBinary, p)
		}
	}
	return err
}

// acked reads what a page that only looks may say: what it has painted.
func (t *terminal) acked(ctx context.Context, k *socket, v *viewer) {
	for {
		kind, p, err := k.Read(ctx)
		if err != nil {
			return
		}
		var m fromTerminal
		if kind == websocket.MessageText && json.Unmarshal(p, &m) == nil && m.Type == "ack" {
			t.ack(v, m.N)
		}
	}
}
