package db

import (
	"context"
	"time"
)

// Session is one browser.
type Session struct {
	ID            Hash  // of the cookie
	Learner       *Hash // the session whose labs it has; nil: its own
	Created, Seen time.Time
}

// Lab is one learner's lab of a lesson.
type Lab struct {
	ID      string
	Session Hash
	Lesson  string
	Lang    string
	// Code is the hash of the return code that opens the lab in another browser; nil: there is none.
	Code          *Hash
	Created, Seen time.Time
	Deleted       time.Time // zero: it is there
}

// AddSession remembers a session.
//
// # Errors
//   - ErrTaken: its id is there already
func (d *DB) AddSession(ctx context.Context, s Session) error {
	_, err := d.exec(ctx, "INSERT INTO sessions (id, learner, created, seen) VALUES (?, ?, ?, ?)", s.ID[:], optional(s.Learner), stamp(s.Created), stamp(s.Seen))
	return err
}

// Session finds a session; ErrNone if there is none.
func (d *DB) Session(ctx context.Context, id Hash) (Session, error) {
	return get(ctx, d, scanSession, sessionColumns+"WHERE id = ?", id[:])
}

// Sessions are all sessions, the one seen last first.
func (d *DB) Sessions(ctx context.Context) ([]Session, error) {
	return list(ctx, d, scanSession, sessionColumns+"ORDER BY seen DESC, id")
}

const sessionColumns = "SELECT id, learner, created, seen FROM sessions "

func scanSession(scan func(...any) error) (s Session, err error) {
	var created, seen int64
	var learner []byte
	err = scan(&s.ID, &learner, &created, &seen)
	s.Created, s.Seen = unstamp(created), unstamp(seen)
	if err == nil && learner != nil {
		s.Learner = new(Hash)
		err = s.Learner.Scan(learner)
	}
	return s, err
}

// SeeSession notes when a session was seen; ErrNone if there is none.
func (d *DB) SeeSession(ctx context.Context, id Hash, at time.Time) error {
	return d.one(ctx, "UPDATE sessions SET seen = ? WHERE id = ?", stamp(at), id[:])
}

// RemoveSession forgets a session and its labs; ErrNone if there is none.
func (d *DB) RemoveSession(ctx context.Context, id Hash) error {
	return d.one(ctx, "DELETE FROM sessions WHERE id = ?", id[:])
}

// AddLab remembers a lab.
//
// # Errors
//   - ErrTaken: its id or its return code is there already
func (d *DB) AddLab(ctx context.Context, l Lab) error {
	_, err := d.exec(ctx, "INSERT INTO labs (id, session, lesson, lang, code, created, seen, deleted) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		l.ID, l.Session[:], l.Lesson, l.Lang, optional(l.Code), stamp(l.Created), stamp(l.Seen), stamp(l.Deleted))
	return err
}

const labColumns = "SELECT id, session, lesson, lang, code, created, seen, deleted FROM labs "

// Lab finds a lab, a deleted one too; ErrNone if there is none.
func (d *DB) Lab(ctx context.Context, id string) (Lab, error) {
	return get(ctx, d, scanLab, labColumns+"WHERE id = ?", id)
}

// LabByCode finds the lab that a return code opens; ErrNone if it opens none, or a deleted one.
func (d *DB) LabByCode(ctx context.Context, code Hash) (Lab, error) {
	return get(ctx, d, scanLab, labColumns+"WHERE code = ? AND deleted = 0", code[:])
}

// Labs are the labs that are there, of all sessions, the one seen last first.
func (d *DB) Labs(ctx context.Context) ([]Lab, error) {
	return list(ctx, d, scanLab, labColumns+"WHERE deleted = 0 ORDER BY seen DESC, id")
}

// LabsOf are the labs of a session that are there, the latest made first.
func (d *DB) LabsOf(ctx context.Context, session Hash) ([]Lab, error) {
	return list(ctx, d, scanLab, labColumns+"WHERE session = ? AND deleted = 0 ORDER BY created DESC, id", session[:])
}

func scanLab(scan func(...any) error) (l Lab, err error) {
	var created, seen, deleted int64
	var code []byte
	err = scan(&l.ID, &l.Session, &l.Lesson, &l.Lang, &code, &created, &seen, &deleted)
	l.Created, l.Seen, l.Deleted = unstamp(created), unstamp(seen), unstamp(deleted)
	if err == nil && code != nil {
		l.Code = new(Hash)
		err = l.Code.Scan(code)
	}
	return l, err
}

// SetLabCode replaces a lab's return code; nil revokes it.
//
// # Errors
//   - ErrNone: there is no such lab
//   - ErrTaken: another lab has the code
func (d *DB) SetLabCode(ctx context.Context, id string, code *Hash) error {
	return d.one(ctx, "UPDATE labs SET code = ? WHERE id = ?", optional(code), id)
}

// SeeLab notes when a lab was seen; ErrNone if there is none.
func (d *DB) SeeLab(ctx context.Context, id string, at time.Time) error {
	return d.one(ctx, "UPDATE labs SET seen = ? WHERE id = ?", stamp(at), id)
}

// DeleteLab marks a lab deleted: its return code opens nothing any more, and ForgetLab removes the row when its content is gone.
func (d *DB) DeleteLab(ctx context.Context, id string, at time.Time) error {
	return d.one(ctx, "UPDATE labs SET deleted = ?, code = NULL WHERE id = ?", stamp(at), id)
}

// DeletedLabs are the labs that are marked deleted and not forgotten yet.
func (d *DB) DeletedLabs(ctx context.Context) ([]Lab, error) {
	return list(ctx, d, scanLab, labColumns+"WHERE deleted <> 0 ORDER BY id")
}

// ForgetLab removes a lab's row; one that is not there is fine.
func (d *DB) ForgetLab(ctx context.Context, id string) error {
	_, err := d.exec(ctx, "DELETE FROM labs WHERE id = ?", id)
	return err
}

func optional(h *Hash) any {
	if h == nil {
		return nil
	}
	return h[:]
}
