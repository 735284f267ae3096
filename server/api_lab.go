package server

import (
	"context"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
)

// makeTime bounds making a lab and bringing it to a task's start.
const makeTime = 90 * time.Second

// langOf is the language that a request asks for.
func langOf(c echo.Context) lessons.Lang {
	if c.QueryParam("lang") == string(lessons.English) {
		return lessons.English
	}
	return lessons.Korean
}

// withDesk finds the session and its desk, and takes a request slot. WebSockets take theirs when accepted.
func (s *Server) withDesk(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.lessons[c.Param("lesson")] == nil {
			return refuse(http.StatusNotFound, "not-found", nil)
		}
		user, err := s.sessions.find(c.Request())
		if err != nil {
			return err
		}
		if user == nil {
			return refuse(http.StatusNotFound, "no-lab", nil)
		}
		d, b, leave, err := user.look(c.Request().Context(), c.Param("lesson"))
		if err != nil {
			return err
		}
		defer leave()
		c.Set("session", user)
		c.Set("desk", d)
		c.Set("bench", b)
		if !strings.EqualFold(c.Request().Header.Get("Upgrade"), "websocket") {
			leave, err := user.enter(false)
			if err != nil {
				return err
			}
			defer leave()
		}
		return next(c)
	}
}

type labAnswer struct {
	ID       string           `json:"id"`
	Lesson   string           `json:"lesson"`
	Machines []string         `json:"machines"`
	Progress lessons.Progress `json:"progress"`
	Undo     bool             `json:"undo"`
	Made     bool             `json:"made"`
	// Code opens the lab in another browser.
	Code string `json:"code"`
}

func answerLab(c echo.Context, d *desk, made bool) error {
	b, err := d.awake(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, labAnswer{ID: b.lab.ID(), Lesson: d.lesson.ID, Machines: b.lab.Machines(), Progress: b.run.Progress(), Undo: d.undoable(), Made: made, Code: b.returnCode()})
}

func (s *Server) createLab(c echo.Context) error {
	var ask struct {
		Lesson string `json:"lesson"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	l := s.lessons[ask.Lesson]
	if l == nil {
		return refuse(http.StatusNotFound, "no-lesson", map[string]any{"lesson": ask.Lesson})
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
	ctx, cancel := context.WithTimeout(c.Request().Context(), makeTime)
	defer cancel()
	d, made, err := user.open(ctx, l, langOf(c))
	if err != nil {
		return err
	}
	defer d.hold(&d.held)()
	return answerLab(c, d, made)
}

// listLabs names the lessons that the session has a lab of, asleep or awake, without waking one.
func (s *Server) listLabs(c echo.Context) error {
	user, err := s.sessions.find(c.Request())
	if err != nil {
		return err
	}
	list := []string{}
	if user != nil {
		user.mu.Lock()
		list = slices.AppendSeq(list, maps.Keys(user.desks))
		user.mu.Unlock()
		slices.Sort(list)
	}
	return c.JSON(http.StatusOK, list)
}

func (s *Server) getLab(c echo.Context) error { return answerLab(c, c.Get("desk").(*desk), false) }

func (s *Server) deleteLab(c echo.Context) error {
	if err := c.Get("session").(*session).drop(c.Param("lesson")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (s *Server) resetLab(c echo.Context) error {
	var ask struct {
		To string `json:"to"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	if ask.To != "task" && ask.To != "lab" {
		return refuse(http.StatusBadRequest, "request", nil)
	}
	if err := c.Get("session").(*session).mayMake(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), makeTime)
	defer cancel()
	d := c.Get("desk").(*desk)
	if err := d.reset(ctx, ask.To == "task"); err != nil {
		return err
	}
	return answerLab(c, d, true)
}

func (s *Server) undoReset(c echo.Context) error {
	d := c.Get("desk").(*desk)
	if !d.undo() {
		return refuse(http.StatusConflict, "undo-over", nil)
	}
	return answerLab(c, d, false)
}

func (s *Server) kubeconfig(c echo.Context) error {
	server := "https://" + hostPort(c.Request().Host)
	if s.cfg.KubeURL != nil {
		server = s.cfg.KubeURL(c.Request())
	}
	data, err := c.Get("bench").(*bench).lab.Kubeconfig(server)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Content-Disposition", `attachment; filename="drydock-kubeconfig.yaml"`)
	return c.Blob(http.StatusOK, "application/yaml", data)
}

// hostPort is the request's host as far as it is one; a header that is not answers localhost.
func hostPort(host string) string {
	u, err := url.Parse("https://" + host)
	if err != nil || u.Host != host || strings.ContainsAny(host, "/@ ") {
		return "localhost"
	}
	if _, _, err := net.SplitHostPort(host); err != nil && strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "[") {
		return "localhost"
	}
	return host
}

func filePath(c echo.Context) (string, error) {
	p := c.Param("*")
	if u, err := url.PathUnescape(p); err == nil {
		p = u
	}
	if !fs.ValidPath(p) || p == "." {
		return "", refuse(http.StatusBadRequest, "file-path", map[string]any{"path": p})
	}
	return p, nil
}

func (s *Server) readFile(c echo.Context) error {
	p, err := filePath(c)
	if err != nil {
		return err
	}
	data, err := c.Get("bench").(*bench).lab.ReadFile(p)
	if err != nil {
		return refuse(http.StatusNotFound, "file", map[string]any{"path": p, "reason": err.Error()})
	}
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", data)
}

func (s *Server) writeFile(c echo.Context) error {
	p, err := filePath(c)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	b := c.Get("bench").(*bench)
	if err := b.lab.WriteFile(p, data, 0o644); err != nil {
		return refuse(http.StatusConflict, "file", map[string]any{"path": p, "reason": err.Error()})
	}
	b.run.Touch()
	return c.NoContent(http.StatusNoContent)
}

type appliedAnswer struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Result    string   `json:"result,omitempty"`
	Error     string   `json:"error,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

func (s *Server) apply(c echo.Context) error {
	data, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), 30*time.Second)
	defer cancel()
	results, err := c.Get("bench").(*bench).lab.Apply(ctx, data)
	if err != nil {
		if asProblem(err).status != http.StatusInternalServerError {
			return err
		}
		return refuse(http.StatusUnprocessableEntity, "manifest", map[string]any{"reason": err.Error()})
	}
	answer := make([]appliedAnswer, len(results))
	for i, r := range results {
		answer[i] = appliedAnswer{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name, Result: r.Result, Error: r.Err, Warnings: r.Warnings}
	}
	return c.JSON(http.StatusOK, answer)
}

func (s *Server) why(c echo.Context) error {
	ns := c.Param("namespace")
	if ns == "-" {
		ns = ""
	}
	links := lessons.Why(c.Get("bench").(*bench).lab.World(), c.Param("resource"), ns, c.Param("name"))
	if links == nil {
		return refuse(http.StatusNotFound, "no-cause", nil)
	}
	return c.JSON(http.StatusOK, links)
}

// solutionAfter is how many commands a learner tries before the solution is shown.
const solutionAfter = 2

// solution shows a task's commands once it is done, current and tried, or released by the class's teacher. They stay on the server until then.
func (s *Server) solution(c echo.Context) error {
	d := c.Get("desk").(*desk)
	p := c.Get("bench").(*bench).run.Progress()
	for i, t := range d.lesson.Tasks {
		if t.ID != c.Param("task") {
			continue
		}
		if (i > p.Current || i == p.Current && p.Tasks[i].Tries < solutionAfter) && !s.classes.released(d, t.ID) {
			return refuse(http.StatusForbidden, "solution-later", map[string]any{"tries": solutionAfter})
		}
		lines := make([]string, len(t.Solution))
		for j, line := range t.Solution {
			lines[j] = strings.TrimPrefix(line, "! ")
		}
		return c.JSON(http.StatusOK, lines)
	}
	return refuse(http.StatusNotFound, "not-found", nil)
}
