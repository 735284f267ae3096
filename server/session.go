package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/db"
)

const cookieName = "drydock"

// sessions remembers who is who. A session is a cookie with 192 random bits, made when its first lab is; whoever holds it holds its labs.
type sessions struct {
	server *Server
	mu     sync.Mutex
	byID   map[db.Hash]*session // protected by mu: by the hash of the cookie
	closed bool                 // protected by mu
}

// session is one browser's labs, by lesson.
type session struct {
	server *Server
	id     db.Hash       // of the cookie; immutable
	flight chan struct{} // a slot for each request under way
	socks  chan struct{} // a slot for each WebSocket

	mu      sync.Mutex
	desks   map[string]*desk // protected by mu
	made    []time.Time      // protected by mu: when the last labs were made
	seen    time.Time        // protected by mu: last request
	opening map[string]*sync.Mutex
}

func newSessions(s *Server) *sessions { return &sessions{server: s, byID: map[db.Hash]*session{}} }

// find returns the request's session, nil without a valid cookie.
func (ss *sessions) find(r *http.Request) *session {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byID[db.HashOf(cookie.Value)]
}

// make starts a session and sets its cookie. The oldest session without a lab makes room.
func (ss *sessions) make(c echo.Context) (*session, error) {
	raw := make([]byte, 24)
	if _, err := io.ReadFull(ss.server.cfg.Rand, raw); err != nil {
		return nil, fmt.Errorf("session id: %w", err)
	}
	id := base64.RawURLEncoding.EncodeToString(raw)
	limits := ss.server.cfg.Limits
	n := newSession(ss.server, db.HashOf(id))
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, refuse(http.StatusServiceUnavailable, "closing", nil)
	}
	if len(ss.byID) >= limits.Sessions && !ss.evict() {
		return nil, &problem{status: http.StatusServiceUnavailable, Code: "labs-full", after: time.Minute}
	}
	ss.byID[n.id] = n
	c.SetCookie(&http.Cookie{Name: cookieName, Value: id, Path: "/", MaxAge: 30 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: c.Request().TLS != nil})
	return n, nil
}

func newSession(s *Server, id db.Hash) *session {
	limits := s.cfg.Limits
	return &session{server: s, id: id, flight: make(chan struct{}, limits.InFlight), socks: make(chan struct{}, limits.Sockets),
		desks: map[string]*desk{}, seen: time.Now(), opening: map[string]*sync.Mutex{}}
}

func (ss *sessions) evict() bool {
	var oldest *session
	var since time.Time
	for _, s := range ss.byID {
		s.mu.Lock()
		if len(s.desks) == 0 && (oldest == nil || s.seen.Before(since)) {
			oldest, since = s, s.seen
		}
		s.mu.Unlock()
	}
	if oldest != nil {
		delete(ss.byID, oldest.id)
	}
	return oldest != nil
}

// enter takes a request slot of the session.
func (s *session) enter(socket bool) (leave func(), err error) {
	slots, limit := s.flight, s.server.cfg.Limits.InFlight
	if socket {
		slots, limit = s.socks, s.server.cfg.Limits.Sockets
	}
	select {
	case slots <- struct{}{}:
		s.mu.Lock()
		s.seen = time.Now()
		s.mu.Unlock()
		return func() { <-slots }, nil
	default:
		return nil, &problem{status: http.StatusTooManyRequests, Code: "busy", Params: map[string]any{"limit": limit}, after: time.Second}
	}
}

// mayMake counts a lab made or reset against the session's rate.
func (s *session) mayMake() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, limit := time.Now(), s.server.cfg.Limits.LabsPerMinute
	for len(s.made) > 0 && now.Sub(s.made[0]) > time.Minute {
		s.made = s.made[1:]
	}
	if len(s.made) >= limit {
		return &problem{status: http.StatusTooManyRequests, Code: "too-many-labs", Params: map[string]any{"limit": limit}, after: time.Minute - now.Sub(s.made[0])}
	}
	s.made = append(s.made, now)
	return nil
}

// desk returns the session's desk for a lesson, nil if there is none; a desk whose lab has ended is cleared away.
func (s *session) desk(lesson string) *desk {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.desks[lesson]
	if d == nil {
		return nil
	}
	select {
	case <-d.current().lab.Done():
		delete(s.desks, lesson)
		go d.close() // waits for its sockets, which may wait for this request's answer
		return nil
	default:
		return d
	}
}

// open returns the desk for a lesson and makes it with a new lab if there is none. Two requests at once get the same.
func (s *session) open(ctx context.Context, l *lessons.Lesson, lang lessons.Lang) (d *desk, made bool, err error) {
	s.mu.Lock()
	one := s.opening[l.ID]
	if one == nil {
		one = &sync.Mutex{}
		s.opening[l.ID] = one
	}
	s.mu.Unlock()
	one.Lock()
	defer one.Unlock()
	if d := s.desk(l.ID); d != nil {
		return d, false, nil
	}
	if err := s.mayMake(); err != nil {
		return nil, false, err
	}
	d = newDesk(s.server, s, l, lang)
	if err := d.start(ctx, nil, nil); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	s.desks[l.ID] = d
	s.mu.Unlock()
	d.tell()
	return d, true, nil
}

// drop forgets and closes the desk for a lesson.
func (s *session) drop(lesson string) error {
	s.mu.Lock()
	d := s.desks[lesson]
	delete(s.desks, lesson)
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	err := d.close()
	d.tell()
	return err
}

// forget takes a desk off the session's list.
func (s *session) forget(d *desk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desks[d.lesson.ID] == d {
		delete(s.desks, d.lesson.ID)
	}
}

// newLab makes a lab, giving up the lab that has been without a page the longest when the installation is full.
func (ss *sessions) newLab(ctx context.Context, o LabOptions) (Lab, error) {
	lab, err := ss.server.cfg.Labs.NewLab(ctx, o)
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != "labs-full" {
		return lab, err
	}
	s, lesson := ss.idlest()
	if s == nil {
		return nil, err
	}
	if err := s.drop(lesson); err != nil {
		return nil, fmt.Errorf("give up an idle lab: %w", err)
	}
	return ss.server.cfg.Labs.NewLab(ctx, o)
}

func (ss *sessions) idlest() (of *session, lesson string) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	longest := ss.server.cfg.Limits.IdleAfter
	for _, s := range ss.byID {
		s.mu.Lock()
		for id, d := range s.desks {
			if idle := d.idle(); idle > longest {
				longest, of, lesson = idle, s, id
			}
		}
		s.mu.Unlock()
	}
	return of, lesson
}

func (ss *sessions) closeAll() error {
	ss.mu.Lock()
	ss.closed = true
	var desks []*desk
	for _, s := range ss.byID {
		s.mu.Lock()
		for _, d := range s.desks {
			desks = append(desks, d)
		}
		s.desks = map[string]*desk{}
		s.mu.Unlock()
	}
	ss.byID = map[db.Hash]*session{}
	ss.mu.Unlock()
	var errs []error
	for _, d := range desks {
		errs = append(errs, d.close())
	}
	return errors.Join(errs...)
}
