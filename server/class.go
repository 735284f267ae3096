package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/db"
)

// Class ids stand in join links that people read off a screen: no letter or digit that is taken for another.
const (
	classAlphabet = "abcdefghjkmnpqrstuvwxyz23456789"
	classIDLength = 7
	maxNickname   = 24 // characters
	maxClassName  = 60
)

var classID = regexp.MustCompile(`^[a-hjkmnp-z2-9]{7}$`)

// classes are the open classes. Membership is kept in the tables; where a learner stands is read from their desk.
type classes struct {
	server *Server

	mu        sync.Mutex
	rooms     map[string]*room      // protected by mu, by class id
	bySession map[db.Hash]*classman // protected by mu: the class that a session joined last
}

// room is one open class.
type room struct {
	db.Class
	// teacher holds the slots of the teacher's requests and sockets; it has no labs.
	teacher *session

	// The fields below are protected by classes.mu.
	members  []*classman // by number
	releases map[db.Release]bool
	watchers map[int]chan struct{} // of one place: there is something new
	next     int
	closed   bool
}

// classman is a member with where they stand.
type classman struct {
	room *room
	db.Member

	// The fields below are protected by classes.mu.
	lesson, task string
	since        time.Time // at that task
}

func newClasses(s *Server) (*classes, error) {
	cs := &classes{server: s, rooms: map[string]*room{}, bySession: map[db.Hash]*classman{}}
	list, err := s.cfg.DB.Classes(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("read the classes: %w", err)
	}
	for _, c := range list {
		r := newRoom(s, c)
		members, errMembers := s.cfg.DB.Members(s.ctx, c.ID)
		releases, errReleases := s.cfg.DB.Releases(s.ctx, c.ID)
		if err := errors.Join(errMembers, errReleases); err != nil {
			return nil, fmt.Errorf("read the class %s: %w", c.ID, err)
		}
		for _, m := range members {
			cs.admit(r, m)
		}
		for _, x := range releases {
			r.releases[x] = true
		}
		cs.rooms[c.ID] = r
	}
	return cs, nil
}

func newRoom(s *Server, c db.Class) *room {
	return &room{Class: c, teacher: newSession(s, db.Hash{}), releases: map[db.Release]bool{}, watchers: map[int]chan struct{}{}}
}

// admit puts a member into a room. Preconditions: cs.mu is held, or cs is not shared yet.
func (cs *classes) admit(r *room, m db.Member) *classman {
	for _, was := range r.members {
		if was.Number == m.Number {
			return was
		}
	}
	c := &classman{room: r, Member: m, since: m.Joined}
	r.members = append(r.members, c)
	if was := cs.bySession[m.Session]; was == nil || was.Joined.Before(m.Joined) || was.room.closed {
		cs.bySession[m.Session] = c
	}
	return c
}

// ClassLinks are a class's two addresses, as paths of the portal. Whoever has the teacher's is the teacher.
type ClassLinks struct {
	ID, Name, Join, Teacher string
}

// OpenClass opens a class, or finds the open one of the same name; each call makes one more teacher's link.
//
// # Errors
//   - *Refusal "class-name": the name is empty, too long or has control characters
//   - *Refusal "classes-full": no more classes can be open at a time
func (s *Server) OpenClass(ctx context.Context, name string) (ClassLinks, error) {
	name, ok := label(name, maxClassName)
	if !ok {
		return ClassLinks{}, &Refusal{Code: "class-name", Params: map[string]any{"limit": maxClassName}}
	}
	id, err := s.classCode()
	if err != nil {
		return ClassLinks{}, err
	}
	raw := make([]byte, 24)
	if _, err := io.ReadFull(s.cfg.Rand, raw); err != nil {
		return ClassLinks{}, fmt.Errorf("teacher's link: %w", err)
	}
	secret := base64.RawURLEncoding.EncodeToString(raw)
	cs := s.classes
	cs.mu.Lock()
	defer cs.mu.Unlock()
	known := slices.ContainsFunc(slices.Collect(maps.Values(cs.rooms)), func(r *room) bool { return r.Name == name })
	if !known && len(cs.rooms) >= s.cfg.Limits.Classes {
		return ClassLinks{}, &Refusal{Code: "classes-full", Params: map[string]any{"limit": s.cfg.Limits.Classes}, RetryAfter: time.Hour}
	}
	c, err := s.cfg.DB.OpenClass(ctx, db.Class{ID: id, Name: name, Created: time.Now()}, db.HashOf(secret))
	if err != nil {
		return ClassLinks{}, fmt.Errorf("open the class: %w", err)
	}
	if cs.rooms[c.ID] == nil {
		cs.rooms[c.ID] = newRoom(s, c)
	}
	return ClassLinks{ID: c.ID, Name: c.Name, Join: "/join/" + c.ID, Teacher: "/class/" + c.ID + "#" + secret}, nil
}

func (s *Server) classCode() (string, error) {
	b := make([]byte, classIDLength)
	for i := range b {
		n, err := rand.Int(s.cfg.Rand, big.NewInt(int64(len(classAlphabet))))
		if err != nil {
			return "", fmt.Errorf("class id: %w", err)
		}
		b[i] = classAlphabet[n.Int64()]
	}
	return string(b), nil
}

// label is a name that a person gave, in one form and without spaces around it; false when it is empty, longer than limit characters, or has
// characters that are not seen or that turn the text around them.
func label(name string, limit int) (string, bool) {
	if len(name) > limit*16 {
		return "", false
	}
	name = strings.Join(strings.Fields(norm.NFC.String(strings.ToValidUTF8(name, "\ufffd"))), " ")
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) || r == '\ufffd'
	})
	return name, name != "" && len([]rune(name)) <= limit && !bad
}

// join puts a session into a class under a nickname; a second one of the same name gets a number.
func (cs *classes) join(ctx context.Context, r *room, session db.Hash, nickname string) (*classman, error) {
	nickname, ok := label(nickname, maxNickname)
	if !ok {
		return nil, refuse(http.StatusBadRequest, "nickname", map[string]any{"limit": maxNickname})
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(r.members) >= cs.server.cfg.Limits.Members {
		return nil, &Refusal{Code: "class-full", Params: map[string]any{"limit": cs.server.cfg.Limits.Members}, RetryAfter: time.Minute}
	}
	for n, name := 1, nickname; ; {
		now := time.Now()
		m, err := cs.server.cfg.DB.Join(ctx, db.Member{Class: r.ID, Session: session, Name: name, Joined: now})
		if err == nil {
			if now.Sub(m.Joined) < time.Millisecond { // the tables are no finer; which labs are older is
				m.Joined = now
			}
			c := cs.admit(r, m)
			r.signal()
			return c, nil
		}
		if errors.Is(err, db.ErrNone) {
			return nil, refuse(http.StatusGone, "class-closed", nil)
		}
		if !errors.Is(err, db.ErrTaken) {
			return nil, fmt.Errorf("join the class: %w", err)
		}
		for taken := true; taken; { // names are compared here, so that forty of one name take forty look-ups and not forty writes
			n++
			name = fmt.Sprintf("%s %d", nickname, n)
			taken = slices.ContainsFunc(r.members, func(m *classman) bool { return m.Name == name })
		}
	}
}

// signal tells the teacher's pages that there is something new. Preconditions: classes.mu is held.
func (r *room) signal() {
	for _, w := range r.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// watch returns a channel that gets a value after changes, until cancel.
func (cs *classes) watch(r *room) (changed <-chan struct{}, cancel func()) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	w := make(chan struct{}, 1)
	id := r.next
	r.next++
	r.watchers[id] = w
	return w, func() {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		delete(r.watchers, id)
	}
}

// moved notes that something about a learner's desk changed.
func (cs *classes) moved(d *desk) {
	cs.mu.Lock()
	c := cs.bySession[d.owner.id]
	cs.mu.Unlock()
	if c == nil {
		return
	}
	at := stand(d.owner)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if at.lesson != c.lesson || at.task != c.task {
		c.lesson, c.task, c.since = at.lesson, at.task, time.Now()
	}
	c.room.signal()
}

// standing is where a session is.
type standing struct {
	desk         *desk
	lesson, task string // "" without a lab; task is "" when all are done
	done, tasks  int
	missing      []lessons.Said
	tries        int
	state        string // none, open, away, ended
	seen         time.Time
}

// stand looks at the desk that a session was at last.
func stand(s *session) standing {
	s.mu.Lock()
	desks := slices.Collect(maps.Values(s.desks))
	out := standing{state: "none", seen: s.seen}
	s.mu.Unlock()
	type place struct {
		d     *desk
		pages int
		left  time.Time
	}
	var places []place
	for _, d := range desks {
		d.mu.Lock()
		if !d.closed && d.now.lab != "" {
			places = append(places, place{d, d.pages, d.left})
		}
		d.mu.Unlock()
	}
	if len(places) == 0 {
		return out
	}
	at := slices.MaxFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(min(a.pages, 1), min(b.pages, 1)), a.left.Compare(b.left), strings.Compare(a.d.lesson.ID, b.d.lesson.ID))
	})
	out.desk, out.lesson = at.d, at.d.lesson.ID
	b := at.d.current()
	if b == nil { // asleep
		out.state, out.seen = "away", at.left
		return out
	}
	p := b.run.Progress()
	out.done, out.tasks = p.Current, len(p.Tasks)
	if p.Current < len(p.Tasks) {
		t := p.Tasks[p.Current]
		out.task, out.tries, out.missing = t.ID, t.Tries, t.Missing
	}
	out.state = "away"
	select {
	case <-b.lab.Done():
		out.state = "ended"
	default:
		if at.pages > 0 {
			out.state, out.seen = "open", time.Now()
		} else if at.left.After(out.seen) {
			out.seen = at.left
		}
	}
	return out
}

// of is what a learner's page knows of the class; nil outside of one.
func (cs *classes) of(d *desk) *inClass {
	d.mu.Lock()
	watched := d.watched > 0
	d.mu.Unlock()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.bySession[d.owner.id]
	if c == nil {
		return nil
	}
	out := &inClass{Name: c.room.Name, Nickname: c.Name, Watched: watched, Closed: c.room.closed}
	for x := range c.room.releases {
		if x.Lesson == d.lesson.ID && (x.Member == 0 || x.Member == c.Number) {
			out.Released = append(out.Released, x.Task)
		}
	}
	slices.Sort(out.Released)
	return out
}

type inClass struct {
	Name     string   `json:"name"`
	Nickname string   `json:"nickname"`
	Watched  bool     `json:"watched,omitempty"` // a teacher looks on
	Closed   bool     `json:"closed,omitempty"`
	Released []string `json:"released,omitempty"` // tasks of this lesson
}

func (cs *classes) released(d *desk, task string) bool {
	c := cs.of(d)
	return c != nil && !c.Closed && slices.Contains(c.Released, task)
}

// release shows a solution to one learner, or with member 0 to all, and tells their pages.
func (cs *classes) release(ctx context.Context, r *room, x db.Release) error {
	l := cs.server.lessons[x.Lesson]
	if l == nil || !slices.ContainsFunc(l.Tasks, func(t *lessons.Task) bool { return t.ID == x.Task }) {
		return refuse(http.StatusNotFound, "not-found", nil)
	}
	if x.Member != 0 && cs.member(r, x.Member) == nil {
		return refuse(http.StatusNotFound, "not-found", nil)
	}
	if err := cs.server.cfg.DB.AddRelease(ctx, r.ID, x); err != nil {
		return fmt.Errorf("release the solution: %w", err)
	}
	cs.mu.Lock()
	r.releases[x] = true
	cs.mu.Unlock()
	for _, d := range cs.desks(r, x.Member) {
		d.tell()
	}
	return nil
}

func (cs *classes) member(r *room, number int) *classman {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	i := slices.IndexFunc(r.members, func(m *classman) bool { return m.Number == number })
	if i < 0 {
		return nil
	}
	return r.members[i]
}

// desks are the open desks of a class's members, or of one. A desk that was there before its owner joined is theirs alone.
func (cs *classes) desks(r *room, number int) (out []*desk) {
	cs.mu.Lock()
	var members []*classman
	for _, m := range r.members {
		if (number == 0 || m.Number == number) && cs.bySession[m.Session] == m {
			members = append(members, m)
		}
	}
	cs.mu.Unlock()
	for _, m := range members {
		if s := cs.server.sessions.byHash(m.Session); s != nil {
			s.mu.Lock()
			out = append(out, slices.Collect(maps.Values(s.desks))...)
			s.mu.Unlock()
		}
	}
	return out
}

// end closes a class: its learners are told, and the labs that they opened in it end.
func (cs *classes) end(ctx context.Context, r *room) error {
	if err := cs.server.cfg.DB.CloseClass(ctx, r.ID, time.Now()); err != nil && !errors.Is(err, db.ErrNone) {
		return fmt.Errorf("close the class: %w", err)
	}
	open := cs.desks(r, 0)
	joined := map[db.Hash]time.Time{}
	cs.mu.Lock()
	r.closed = true
	delete(cs.rooms, r.ID)
	for _, m := range r.members {
		joined[m.Session] = m.Joined
	}
	r.signal()
	cs.mu.Unlock()
	var errs []error
	for _, d := range open {
		if d.began.Before(joined[d.owner.id]) {
			d.tell()
			continue
		}
		errs = append(errs, d.end(&problem{status: http.StatusGone, Code: "class-closed"}))
	}
	cs.mu.Lock()
	for _, m := range r.members {
		if cs.bySession[m.Session] == m {
			delete(cs.bySession, m.Session)
		}
	}
	cs.mu.Unlock()
	return errors.Join(errs...)
}

// left keeps when a member was last seen.
func (cs *classes) left(d *desk) {
	cs.mu.Lock()
	c := cs.bySession[d.owner.id]
	cs.mu.Unlock()
	if c == nil {
		return
	}
	if err := cs.server.cfg.DB.SeeMember(cs.server.ctx, c.room.ID, c.Number, time.Now()); err != nil && cs.server.ctx.Err() == nil {
		cs.server.cfg.Log.Warn("note when a learner was seen", slog.Any("error", err))
	}
}

// byHash finds a session by its id's hash; nil if it is not remembered.
func (ss *sessions) byHash(id db.Hash) *session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.byID[id]
}
