package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/db"
)

const cookieName = "drydock"

// sessions remembers who is who. A session is a cookie with 192 random bits, made when its first lab is; whoever holds it holds its labs. The
// portal's tables have all of them; those that were here since the start are in memory, too.
type sessions struct {
	server *Server
	mu     sync.Mutex
	byID   map[db.Hash]*session // protected by mu; several browsers may have one
	closed bool                 // protected by mu
}

// session is one learner's labs, by lesson.
type session struct {
	server *Server
	id     db.Hash
	flight chan struct{} // a slot for each request under way
	socks  chan struct{} // a slot for each WebSocket

	mu      sync.Mutex
	desks   map[string]*desk // protected by mu
	made    []time.Time      // protected by mu: when the last labs were made
	seen    time.Time        // protected by mu: last request
	opening map[string]*sync.Mutex
}

func newSessions(s *Server) *sessions { return &sessions{server: s, byID: map[db.Hash]*session{}} }

func newSession(s *Server, id db.Hash) *session {
	limits := s.cfg.Limits
	return &session{server: s, id: id, flight: make(chan struct{}, limits.InFlight), socks: make(chan struct{}, limits.Sockets),
		desks: map[string]*desk{}, seen: time.Now(), opening: map[string]*sync.Mutex{}}
}

// find returns the request's session, nil without a valid cookie.
func (ss *sessions) find(r *http.Request) (*session, error) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil, nil
	}
	id := db.HashOf(cookie.Value)
	ss.mu.Lock()
	s := ss.byID[id]
	ss.mu.Unlock()
	if s != nil {
		return s, nil
	}
	row, err := ss.server.cfg.DB.Session(r.Context(), id)
	switch {
	case errors.Is(err, db.ErrNone):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return ss.load(r.Context(), row)
}

// load brings a session of the tables to memory, with its labs, all asleep.
func (ss *sessions) load(ctx context.Context, row db.Session) (*session, error) {
	learner := row.ID
	if row.Learner != nil {
		learner = *row.Learner
	}
	labs, err := ss.server.cfg.DB.LabsOf(ctx, learner)
	if err != nil {
		return nil, err
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, refuse(http.StatusServiceUnavailable, "closing", nil)
	}
	s := ss.byID[learner]
	if s == nil {
		if err := ss.roomLocked(); err != nil {
			return nil, err
		}
		s = newSession(ss.server, learner)
		for _, l := range labs {
			s.restore(l)
		}
		ss.byID[learner] = s
	}
	ss.byID[row.ID] = s
	return s, nil
}

// restore puts a lab on its desk: the latest of a lesson, behind it the one that its reset replaced. Nobody has the session yet.
func (s *session) restore(l db.Lab) {
	lesson := s.server.lessons[l.Lesson]
	if lesson == nil {
		return // of another version; it stays until it is too old
	}
	d := s.desks[l.Lesson]
	if d == nil {
		d = newDesk(s.server, s, lesson, lessons.Lang(l.Lang))
		d.now, d.left, d.began = place{lab: l.ID}, l.Created, l.Created
		s.desks[l.Lesson] = d
		return
	}
	left := s.server.cfg.UndoFor - time.Since(d.left)
	d.left = time.Now()
	if d.before != nil || left <= 0 {
		go d.discard(place{lab: l.ID}) // it is in the tables as long as that has not ended well
		return
	}
	d.before = &place{lab: l.ID}
	d.forget = time.AfterFunc(left, d.dropBefore)
}

// make starts a session and sets its cookie; of is the session whose labs it has, nil: its own.
func (ss *sessions) make(c echo.Context, of *db.Hash) (*session, error) {
	secret, err := ss.server.secret(24)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	row := db.Session{ID: db.HashOf(secret), Learner: of, Created: now, Seen: now}
	if err := ss.server.cfg.DB.AddSession(c.Request().Context(), row); err != nil {
		return nil, err
	}
	s, err := ss.load(c.Request().Context(), row)
	if err != nil {
		return nil, err
	}
	c.SetCookie(&http.Cookie{Name: cookieName, Value: secret, Path: "/", MaxAge: 30 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: c.Request().TLS != nil})
	return s, nil
}

// enter returns the request's session, and makes one for a browser that has none.
func (ss *sessions) enter(c echo.Context) (*session, error) {
	s, err := ss.find(c.Request())
	if err == nil && s == nil {
		s, err = ss.make(c, nil)
	}
	return s, err
}

// secret is random bytes as text.
func (s *Server) secret(bytes int) (string, error) {
	raw := make([]byte, bytes)
	if _, err := io.ReadFull(s.cfg.Rand, raw); err != nil {
		return "", fmt.Errorf("random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// codeLetters are Crockford's base 32: no letters that look like digits. codeLength of them are 50 bits.
const (
	codeLetters = "0123456789abcdefghjkmnpqrstvwxyz"
	codeLength  = 10
)

// newCode makes a return code.
func (s *Server) newCode() (string, error) {
	raw := make([]byte, codeLength)
	if _, err := io.ReadFull(s.cfg.Rand, raw); err != nil {
		return "", fmt.Errorf("return code: %w", err)
	}
	for i, b := range raw {
		raw[i] = codeLetters[b%32]
	}
	return string(raw), nil
}

// plainCode is a return code as it was made of one as it was typed.
func plainCode(typed string) string {
	return strings.NewReplacer("-", "", " ", "", "o", "0", "i", "1", "l", "1").Replace(strings.ToLower(typed))
}

// roomLocked has the oldest session without a lab make room for another one in memory.
func (ss *sessions) roomLocked() error {
	if len(ss.byID) >= ss.server.cfg.Limits.Sessions && !ss.evict() {
		return &problem{status: http.StatusServiceUnavailable, Code: "labs-full", after: time.Minute}
	}
	return nil
}

func (ss *sessions) evict() bool {
	var oldest *session
	for _, s := range ss.byID {
		s.mu.Lock()
		if len(s.desks) == 0 && (oldest == nil || s.seen.Before(oldest.seen)) {
			oldest = s
		}
		s.mu.Unlock()
	}
	for id, s := range ss.byID {
		if oldest != nil && s == oldest {
			delete(ss.byID, id)
		}
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

// desk returns the session's desk for a lesson, nil if there is none.
func (s *session) desk(lesson string) *desk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desks[lesson]
}

// look returns the desk for a lesson with its lab awake, which it stays until leave is called. A desk whose lab is gone for good is cleared away.
//
// # Errors
//   - "no-lab": there is none
//   - a limit's, when the lab sleeps and there is no room to wake it
func (s *session) look(ctx context.Context, lesson string) (d *desk, b *bench, leave func(), err error) {
	d = s.desk(lesson)
	if d == nil {
		return nil, nil, nil, refuse(http.StatusNotFound, "no-lab", nil)
	}
	leave = d.hold(&d.held)
	if b, err = d.awake(ctx); err == nil {
		return d, b, leave, nil
	}
	leave()
	if asProblem(err).Code != "lab-gone" {
		return nil, nil, nil, err
	}
	s.forget(d)
	if err := d.finish(true); err != nil {
		s.server.cfg.Log.Error("what was left of a lab was not cleared away", "error", err)
	}
	return nil, nil, nil, refuse(http.StatusNotFound, "no-lab", nil)
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
	if d, _, leave, err := s.look(ctx, l.ID); err == nil {
		leave()
		return d, false, nil
	} else if asProblem(err).Code != "no-lab" {
		return nil, false, err
	}
	if err := s.mayMake(); err != nil {
		return nil, false, err
	}
	d = newDesk(s.server, s, l, lang)
	d.moving.Lock()
	err = d.start(ctx, nil, nil)
	d.moving.Unlock()
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	s.desks[l.ID] = d
	s.mu.Unlock()
	d.tell()
	return d, true, nil
}

// drop forgets the desk for a lesson and deletes its lab.
func (s *session) drop(lesson string) error {
	s.mu.Lock()
	d := s.desks[lesson]
	delete(s.desks, lesson)
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	err := d.finish(true)
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

// room makes or wakes a lab; when the installation is full, the lab that has been without a page the longest goes to sleep first.
func (ss *sessions) room(ctx context.Context, f func() (Lab, error)) (Lab, error) {
	lab, err := f()
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != "labs-full" {
		return lab, err
	}
	d := ss.idlest()
	if d == nil {
		return nil, err
	}
	if err := d.sleep(); err != nil {
		return nil, fmt.Errorf("put an idle lab to sleep: %w", err)
	}
	return f()
}

func (ss *sessions) idlest() (of *desk) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	longest := ss.server.cfg.Limits.YieldAfter
	for _, s := range ss.byID {
		s.mu.Lock()
		for _, d := range s.desks {
			if idle := d.idle(); idle > longest {
				longest, of = idle, d
			}
		}
		s.mu.Unlock()
	}
	return of
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
	errs := make([]error, len(desks))
	var wg sync.WaitGroup
	for i, d := range desks {
		wg.Go(func() { errs[i] = d.finish(false) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
