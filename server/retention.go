package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/drydock-labs/drydock/server/db"
)

// discard deletes a lab that no desk has any more. What fails is tried again with the next collection.
func (s *Server) discard(id string) error {
	ctx := context.Background()
	if err := s.cfg.DB.DeleteLab(ctx, id, time.Now()); err != nil && !errors.Is(err, db.ErrNone) {
		return err
	}
	if err := s.cfg.Labs.DeleteLab(id); err != nil {
		return err
	}
	return s.cfg.DB.ForgetLab(ctx, id)
}

// collectEvery is how often labs are looked for that nobody has seen for Limits.KeepFor.
const collectEvery = time.Hour

// collect deletes labs that nobody has seen for long, those whose deletion was cut short, and images that no lab has any more.
func (s *Server) collect() {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	defer func() {
		if s.ctx.Err() == nil {
			s.collector.Reset(collectEvery)
		}
	}()
	gone, err := s.cfg.DB.DeletedLabs(s.ctx)
	labs, err2 := s.cfg.DB.Labs(s.ctx)
	if err := errors.Join(err, err2); err != nil {
		s.cfg.Log.Error("labs were not collected", "error", err)
		return
	}
	for _, l := range labs {
		if time.Since(l.Seen) > s.cfg.Limits.KeepFor && !s.sessions.has(l) {
			gone = append(gone, l)
		}
	}
	for _, l := range gone {
		if err := s.discard(l.ID); err != nil {
			s.cfg.Log.Error("a lab was not deleted", "lab", l.ID, "error", err)
		}
	}
	if _, err := s.cfg.Labs.Collect(); err != nil {
		s.cfg.Log.Error("images were not collected", "error", err)
	}
}

// has tells whether a lab is awake: then it was seen, whatever the tables say. One that sleeps is taken off its desk.
func (ss *sessions) has(l db.Lab) bool {
	ss.mu.Lock()
	s := ss.byID[l.Session]
	ss.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.desks[l.Lesson]
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now.lab != l.ID {
		return d.before != nil && d.before.lab == l.ID
	}
	if d.pages+d.held > 0 || d.now.bench != nil {
		return true
	}
	d.closed = true
	delete(s.desks, l.Lesson)
	return false
}

// returnRate bounds the tries of return codes for the whole installation: 50 bits last for longer than anybody guesses.
const returnRate = 20

func newGuesses() *rate.Limiter { return rate.NewLimiter(returnRate, 4*returnRate) }

// comeBack opens, in this browser, the labs of the learner that a return code is of.
func (s *Server) comeBack(c echo.Context) error {
	var ask struct {
		Code string `json:"code"`
	}
	if err := c.Bind(&ask); err != nil {
		return err
	}
	if !s.guesses.Allow() {
		return &problem{status: http.StatusTooManyRequests, Code: "busy", Params: map[string]any{"limit": returnRate}, after: time.Second}
	}
	lab, err := s.cfg.DB.LabByCode(c.Request().Context(), db.HashOf(plainCode(ask.Code)))
	if errors.Is(err, db.ErrNone) {
		return refuse(http.StatusNotFound, "no-code", nil)
	}
	if err != nil {
		return err
	}
	if _, err := s.sessions.make(c, &lab.Session); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"lesson": lab.Lesson})
}

// renewCode replaces a lab's return code: the one before opens nothing any more.
func (s *Server) renewCode(c echo.Context) error {
	d, b := c.Get("desk").(*desk), c.Get("bench").(*bench)
	code, err := s.newCode()
	if err != nil {
		return err
	}
	hash := db.HashOf(code)
	if err := s.cfg.DB.SetLabCode(c.Request().Context(), b.lab.ID(), &hash); err != nil {
		return err
	}
	b.setCode(code)
	return answerLab(c, d, false)
}
