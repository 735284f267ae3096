package db

import (
	"context"
	"database/sql"
	"time"
)

// Class is one class. Several are open at once; no two open ones have the same name.
type Class struct {
	ID              string // stands in the join link
	Name            string
	Created, Closed time.Time // Closed is zero while it is open
}

// Member is one learner in a class.
type Member struct {
	Class        string
	Number       int // 1, 2, … in the order of joining
	Session      Hash
	Name         string
	Joined, Seen time.Time
}

// Release makes a task's solution visible before its time.
type Release struct {
	Member       int // 0: everybody in the class
	Lesson, Task string
}

// teacherLinks is how many links of one class open it at a time: a restart with the same class makes one more, and bookmarks keep working.
const teacherLinks = 16

// OpenClass opens a class, or finds the open one of the same name; secret is one more link of its teacher.
func (d *DB) OpenClass(ctx context.Context, c Class, secret Hash) (Class, error) {
	err := d.write(ctx, func(tx *sql.Tx) error {
		at := stamp(c.Created)
		found, err := scanClass(tx.QueryRowContext(ctx, classColumns+"WHERE name = ? AND closed = 0", c.Name).Scan)
		if kind(err) == ErrNone {
			_, err = tx.ExecContext(ctx, "INSERT INTO classes (id, name, created) VALUES (?, ?, ?)", c.ID, c.Name, at)
			found = Class{ID: c.ID, Name: c.Name, Created: unstamp(at)}
		}
		if err != nil {
			return err
		}
		c = found
		if _, err := tx.ExecContext(ctx, "INSERT INTO teachers (secret, class, created) VALUES (?, ?, ?)", secret[:], c.ID, at); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM teachers WHERE class = ? AND secret NOT IN
			(SELECT secret FROM teachers WHERE class = ? ORDER BY created DESC, secret LIMIT ?)`, c.ID, c.ID, teacherLinks)
		return err
	})
	return c, err
}

const classColumns = "SELECT id, name, created, closed FROM classes "

// Class finds a class, a closed one too; ErrNone if there is none.
func (d *DB) Class(ctx context.Context, id string) (Class, error) {
	return get(ctx, d, scanClass, classColumns+"WHERE id = ?", id)
}

// Classes are the open classes, the latest first.
func (d *DB) Classes(ctx context.Context) ([]Class, error) {
	return list(ctx, d, scanClass, classColumns+"WHERE closed = 0 ORDER BY created DESC, id")
}

func scanClass(scan func(...any) error) (c Class, err error) {
	var created, closed int64
	err = scan(&c.ID, &c.Name, &created, &closed)
	c.Created, c.Closed = unstamp(created), unstamp(closed)
	return c, err
}

// CloseClass closes a class; ErrNone if it is not open.
func (d *DB) CloseClass(ctx context.Context, id string, at time.Time) error {
	return d.one(ctx, "UPDATE classes SET closed = ? WHERE id = ? AND closed = 0", stamp(at), id)
}

// Teaches tells whether a secret is a link of the class's teacher.
func (d *DB) Teaches(ctx context.Context, class string, secret Hash) (bool, error) {
	return get(ctx, d, func(scan func(...any) error) (is bool, err error) { return is, scan(&is) },
		"SELECT EXISTS (SELECT 1 FROM teachers WHERE secret = ? AND class = ?)", secret[:], class)
}

// Join adds a member to an open class and gives it the next number. Who is in the class already stays as they are.
//
// # Errors
//   - ErrNone: there is no such open class
//   - ErrTaken: another member has the name
func (d *DB) Join(ctx context.Context, m Member) (Member, error) {
	err := d.write(ctx, func(tx *sql.Tx) error {
		var open bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM classes WHERE id = ? AND closed = 0)", m.Class).Scan(&open); err != nil {
			return err
		} else if !open {
			return ErrNone
		}
		was, err := scanMember(tx.QueryRowContext(ctx, memberColumns+"WHERE class = ? AND session = ?", m.Class, m.Session[:]).Scan)
		if kind(err) != ErrNone {
			m = was
			return err
		}
		m.Joined, m.Seen = unstamp(stamp(m.Joined)), unstamp(stamp(m.Joined))
		return tx.QueryRowContext(ctx, `INSERT INTO members (class, number, session, name, joined, seen)
			SELECT ?, 1 + coalesce(max(number), 0), ?, ?, ?, ? FROM members WHERE class = ? RETURNING number`,
			m.Class, m.Session[:], m.Name, stamp(m.Joined), stamp(m.Seen), m.Class).Scan(&m.Number)
	})
	return m, err
}

const memberColumns = "SELECT class, number, session, name, joined, seen FROM members "

// Members are a class's members by number.
func (d *DB) Members(ctx context.Context, class string) ([]Member, error) {
	return list(ctx, d, scanMember, memberColumns+"WHERE class = ? ORDER BY number", class)
}

// MemberOf is the membership of a session in an open class, the latest if there are several; ErrNone if there is none.
func (d *DB) MemberOf(ctx context.Context, session Hash) (Member, error) {
	return get(ctx, d, scanMember, memberColumns+`WHERE session = ? AND class IN (SELECT id FROM classes WHERE closed = 0)
		ORDER BY joined DESC, class LIMIT 1`, session[:])
}

func scanMember(scan func(...any) error) (m Member, err error) {
	var joined, seen int64
	err = scan(&m.Class, &m.Number, &m.Session, &m.Name, &joined, &seen)
	m.Joined, m.Seen = unstamp(joined), unstamp(seen)
	return m, err
}

// SeeMember notes when a member was seen; ErrNone if there is none.
func (d *DB) SeeMember(ctx context.Context, class string, number int, at time.Time) error {
	return d.one(ctx, "UPDATE members SET seen = ? WHERE class = ? AND number = ?", stamp(at), class, number)
}

// AddRelease releases a solution; again is fine.
func (d *DB) AddRelease(ctx context.Context, class string, r Release) error {
	_, err := d.exec(ctx, "INSERT INTO releases (class, member, lesson, task) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", class, r.Member, r.Lesson, r.Task)
	return err
}

// Releases are the released solutions of a class.
func (d *DB) Releases(ctx context.Context, class string) ([]Release, error) {
	return list(ctx, d, func(scan func(...any) error) (r Release, err error) { return r, scan(&r.Member, &r.Lesson, &r.Task) },
		"SELECT member, lesson, task FROM releases WHERE class = ? ORDER BY member, lesson, task", class)
}
