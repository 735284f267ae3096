// Package db keeps the portal's own tables: who has which lab, and which class. It knows SQL and nothing of labs, HTTP or lessons. What a lab
// holds is not here but in its journal.
//
// Bearer secrets (session ids, return codes, teachers' links) are kept as hashes: whoever reads the file can be nobody.
package db

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// File is the name of the database in the data folder.
const File = "portal.db"

// applicationID marks the file as ours (https://www.sqlite.org/fileformat2.html#application_id): "drdk".
const applicationID = 0x6472646b

// The kinds of failure that a caller tells apart.
var (
	// ErrNone: there is no such row.
	ErrNone = errors.New("not there")
	// ErrTaken: a row that must be the only one of its name is there already.
	ErrTaken = errors.New("taken")
	// ErrDamaged: the file is not a database, or a damaged one. Nothing has been changed in it.
	ErrDamaged = errors.New("damaged")
	// ErrNewer: a later version of the program has written the file. Nothing has been changed in it.
	ErrNewer = errors.New("written by a later version")
)

// Config says where the tables are.
type Config struct {
	// Dir is the folder of the file, made if it is missing; "" keeps the tables in memory.
	Dir string
}

// DB is the open database. All methods may be called from any goroutine.
type DB struct {
	writer *sql.DB // one connection: writes queue in the process and never meet SQLITE_BUSY
	reader *sql.DB // in memory the same as writer
}

// Open opens the database, makes it if there is none, and brings its tables to this version's.
//
// # Errors
//   - ErrDamaged: the file is not a readable database of ours
//   - ErrNewer: its schema is later than this program's
//   - *os.PathError: the folder cannot be made or written to
func Open(cfg Config) (*DB, error) {
	if cfg.Dir == "" {
		one, err := sql.Open("sqlite", dsn(":memory:", "foreign_keys(1)"))
		if err != nil {
			return nil, err
		}
		one.SetMaxOpenConns(1) // each connection to :memory: has a database of its own
		d := &DB{writer: one, reader: one}
		return d.ready("in memory")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(cfg.Dir, File)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would make it readable for everybody; its other files take this one's mode
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	path := (&url.URL{Path: file}).EscapedPath()
	d := &DB{}
	d.writer, err = sql.Open("sqlite", dsn(path, "busy_timeout(5000)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(1)"))
	if err != nil {
		return nil, err
	}
	d.writer.SetMaxOpenConns(1)
	d.reader, err = sql.Open("sqlite", dsn(path, "busy_timeout(5000)", "query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, d.writer.Close())
	}
	d.reader.SetMaxOpenConns(4)
	return d.ready(file)
}

// dsn is modernc.org/sqlite's connection string.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return "file:" + path + "?" + q.Encode()
}

func (d *DB) ready(name string) (*DB, error) {
	if err := d.migrate(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("portal's tables %s: %w", name, kind(err)), d.Close())
	}
	return d, nil
}

// Close closes the database. Twice is fine.
func (d *DB) Close() error {
	if d.reader == d.writer {
		return d.writer.Close()
	}
	return errors.Join(d.reader.Close(), d.writer.Close()) // the writer last: it folds the write-ahead log into the file
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate checks the file and runs the migrations it has not seen, each with its version in one transaction. The name of a migration begins
// with its version: 0001, 0002, …; what has been released is never edited.
func (d *DB) migrate(ctx context.Context) error {
	entries, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	var check string
	if err := d.writer.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&check); err != nil {
		return err
	}
	if check != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, check)
	}
	var version, app, tables int
	err = d.writer.QueryRowContext(ctx, `SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version, pragma_application_id`).
		Scan(&version, &app, &tables)
	if err != nil {
		return err
	}
	if app != applicationID && (tables > 0 || version > 0) {
		return fmt.Errorf("%w: a database of another program", ErrDamaged)
	}
	if version > len(entries) {
		return fmt.Errorf("%w: its schema is %d, this program knows %d; run the later program, or start with another data folder", ErrNewer, version, len(entries))
	}
	for i, e := range entries[version:] {
		text, err := migrations.ReadFile("migrations/" + e.Name())
		if err != nil {
			return err
		}
		text = fmt.Appendf(text, "\nPRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, version+i+1)
		if err := d.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, string(text))
			return err
		}); err != nil {
			return fmt.Errorf("migration %s: %w", e.Name(), err)
		}
	}
	return nil
}

// write runs f in the one transaction that writes; it is rolled back when f fails.
func (d *DB) write(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return kind(err)
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := f(tx); err != nil {
		return kind(err)
	}
	return kind(tx.Commit())
}

// exec is a write of one statement; it tells how many rows it changed.
func (d *DB) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	r, err := d.writer.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, kind(err)
	}
	return r.RowsAffected()
}

// one is exec for a row that must be there.
func (d *DB) one(ctx context.Context, statement string, args ...any) error {
	n, err := d.exec(ctx, statement, args...)
	if err == nil && n == 0 {
		return ErrNone
	}
	return err
}

// list reads all rows of a query.
func list[T any](ctx context.Context, d *DB, scan func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := d.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, kind(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows.Scan)
		if err != nil {
			return nil, kind(err)
		}
		all = append(all, v)
	}
	return all, kind(rows.Err())
}

// get reads the one row of a query.
func get[T any](ctx context.Context, d *DB, scan func(scan func(...any) error) (T, error), query string, args ...any) (T, error) {
	v, err := scan(d.reader.QueryRowContext(ctx, query, args...).Scan)
	return v, kind(err)
}

// kind adds the sentinel to an error of the driver.
func kind(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNone
	}
	var e *sqlite.Error
	if !errors.As(err, &e) || errors.Is(err, ErrDamaged) {
		return err
	}
	switch e.Code() & 0xff { // the rest refines it
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
	return err
}

// Hash is what is kept of a bearer secret. The secrets are random and long, so a plain digest can't be guessed backwards.
type Hash [sha256.Size]byte

// HashOf hashes a secret as its holder presents it.
func HashOf(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// Scan implements sql.Scanner.
func (h *Hash) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(h) {
		return fmt.Errorf("%w: a hash of %T", ErrDamaged, v)
	}
	copy(h[:], b)
	return nil
}

// stamp keeps a time to the millisecond; the zero time is 0.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func unstamp(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
