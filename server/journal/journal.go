// Package journal keeps labs on disk: for each an append-only log of records with checksums, and content-addressed blobs that records refer
// to. It knows labs' ids, owners' epochs and bytes. It does not know Kubernetes, Docker, or what a record means.
//
// README.md explains the files and what survives what.
//
// Lock order: lab.files before Journal.mu. Append takes mu alone, does no input or output but to see whether blobs are there, and may be called
// with others' locks held.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The kinds of errors.
var (
	// ErrLocked: another process has the data folder open.
	ErrLocked = errors.New("the data folder is in use by another process")
	// ErrFull: the disk is full. Nothing more is taken until there is room again; what was taken before stays. It comes in a *FullError.
	ErrFull = errors.New("the disk of the data folder is full")
	// ErrBusy: the disk is slower than the writers, and Config.QueueBytes wait for it already.
	ErrBusy = errors.New("too much waits to be written")
	// ErrFenced: the lab has a newer owner.
	ErrFenced = errors.New("the lab has a newer owner")
	// ErrNoLab: the lab was deleted, or never was.
	ErrNoLab = errors.New("no such lab")
	// ErrNoBlob: a record refers to a blob that is not here.
	ErrNoBlob = errors.New("no such blob")
	// ErrCorrupt: a blob's content is not what was put.
	ErrCorrupt = errors.New("the blob is corrupt")
	// ErrExists: there is a lab of that id already.
	ErrExists = errors.New("the lab is there already")
	// ErrTooLarge: a record or a blob is larger than it may be.
	ErrTooLarge = errors.New("too large")
	// ErrDamaged: a lab's snapshot can't be read, so there is nothing that its log could follow. Nothing was changed.
	ErrDamaged = errors.New("the lab's snapshot is damaged")
	// ErrVersion: the files are of a newer version of the program. Nothing was changed.
	ErrVersion = errors.New("written by a newer version")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("the journal is closed")
)

// FullError is ErrFull with the system's reason.
type FullError struct {
	Dir   string
	Cause error
}

func (e *FullError) Error() string { return fmt.Sprintf("%v: %s: %v", ErrFull, e.Dir, e.Cause) }

// Unwrap lets errors.Is find ErrFull and the system's error.
func (e *FullError) Unwrap() []error { return []error{ErrFull, e.Cause} }

// Config is an installation's settings. Zero values mean the defaults named here.
type Config struct {
	// Dir is the folder; it is made when it isn't there, in a folder that can be read.
	Dir string
	// FS is the host's.
	FS FS
	// Window is how long after a record was queued its file is synced (5 ms): what DESIGN calls 10 ms is this and the disk's own time.
	Window time.Duration
	// QueueBytes bounds what was taken and is not durable yet (32 MiB). As much is set aside on the disk, so that it finds room even when
	// the disk runs full.
	QueueBytes int64
	// SegmentBytes is when a log goes on in a new file (8 MiB).
	SegmentBytes int64
}

// Journal is one installation's. All methods may be called from any goroutine. It has a goroutine only while something is queued.
type Journal struct {
	cfg  Config
	fs   FS
	lock File
	wake chan struct{} // holds a value when the syncer should look
	idle sync.WaitGroup

	mu       sync.Mutex
	labs     map[string]*lab // those that were touched since Open; protected by mu
	dirty    []*lab          // with something queued; protected by mu
	group    *group          // of the records being queued; protected by mu
	wanted   bool            // the group is waited for though nothing may be queued; protected by mu
	queued   int64           // bytes taken and not durable; protected by mu
	running  bool            // the syncer is; protected by mu
	closed   bool            // protected by mu
	full     *FullError      // protected by mu
	retried  time.Time       // last attempt to leave full; protected by mu
	broken   error           // a failure that only a new Open can mend; protected by mu
	parked   batch           // taken, and there was no room for it even in the reserve; protected by mu
	sweeping map[Digest]bool // referred to since a sweep began, nil outside one; protected by mu
	sweep    sync.Mutex      // one Sweep at a time
}

// lab is what is known of a lab.
type lab struct {
	id    string
	dir   string
	files sync.Mutex // serialises what reads, cuts, replaces and deletes the lab's files; the syncer writes to the newest ones beside it

	users   int     // calls that hold or wait for files; protected by Journal.mu
	owner   *Writer // who may append, nil: nobody; protected by Journal.mu
	epoch   uint64  // of the newest owner, 0: not known; protected by Journal.mu
	seq     uint64  // of the newest record; protected by Journal.mu
	segment uint64  // first seq of the file that is written; protected by Journal.mu
	size    int64   // of that file, with what is queued; protected by Journal.mu
	queue   []chunk // protected by Journal.mu
	taken   int     // chunks that the syncer has or that are parked; protected by Journal.mu
	gone    bool    // deleted; protected by Journal.mu
	tail    int64   // bytes of records behind the snapshot; protected by Journal.mu
	snap    int64   // bytes of the snapshot; protected by Journal.mu
}

// hold returns a lab with its files locked, until release.
func (j *Journal) hold(id string) (*lab, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	j.mu.Lock()
	l := j.labs[id]
	if l == nil {
		l = &lab{id: id, dir: j.path("labs", id)}
		j.labs[id] = l
	}
	l.users++
	j.mu.Unlock()
	l.files.Lock()
	j.mu.Lock()
	gone := l.gone
	j.mu.Unlock()
	if gone {
		j.release(l)
		return nil, ErrNoLab
	}
	return l, nil
}

// release ends hold, and forgets a lab that nobody needs.
func (j *Journal) release(l *lab) {
	l.files.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	l.users--
	j.forgetLocked(l)
}

func (j *Journal) forgetLocked(l *lab) {
	if l.users == 0 && j.labs[l.id] == l && (l.gone || l.owner == nil && l.quietLocked()) {
		delete(j.labs, l.id)
	}
}

// quietLocked: everything of the lab is in its files.
func (l *lab) quietLocked() bool { return l.taken == 0 && len(l.queue) == 0 }

// drain waits until what was appended to a lab is in its files and durable, and the syncer not at them. Others' records are not waited for.
func (j *Journal) drain(ctx context.Context, l *lab) error {
	j.mu.Lock()
	quiet := l.quietLocked() && !j.closed
	j.mu.Unlock()
	if quiet {
		return nil
	}
	return j.Sync(ctx)
}

// chunk is a run of records of one file that are not durable yet.
type chunk struct {
	lab     *lab
	segment uint64
	offset  int64
	data    []byte
}

// Open opens the installation's folder, which no other process may have open. It looks at no lab's files: labs are read when they are owned,
// so it takes the same time for one and for a thousand. On a full disk it opens too; writes are then refused until there is room.
func Open(cfg Config) (*Journal, error) {
	if cfg.FS == nil {
		cfg.FS = host{}
	}
	if cfg.Window == 0 {
		cfg.Window = 5 * time.Millisecond
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 32 << 20
	}
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = 8 << 20
	}
	j := &Journal{cfg: cfg, fs: cfg.FS, wake: make(chan struct{}, 1), labs: map[string]*lab{}, group: newGroup()}
	for _, dir := range []string{"labs", "blobs", "temp"} {
		if err := j.fs.MkdirAll(j.path(dir), 0o700); err != nil && !isFull(err) {
			return nil, fmt.Errorf("open journal: %w", err)
		}
	}
	var err error
	if j.lock, err = lock(j.fs, j.path("lock")); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", cfg.Dir, err)
	}
	if err := errors.Join(syncDir(j.fs, filepath.Dir(cfg.Dir)), syncDir(j.fs, cfg.Dir), j.tidy()); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), j.lock.Close())
	}
	return j, nil
}

// tidy removes what a crash left unfinished and sees to the reserve.
func (j *Journal) tidy() error {
	left, err := j.fs.ReadDir(j.path("temp"))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := j.fs.RemoveAll(j.path("temp", e.Name())); err != nil {
			return err
		}
	}
	err = j.reserve()
	if isFull(err) {
		j.full = &FullError{j.cfg.Dir, err}
		return nil
	}
	return err
}

func (j *Journal) path(parts ...string) string {
	return filepath.Join(append([]string{j.cfg.Dir}, parts...)...)
}

// Lab is a lab that is on disk.
type Lab struct {
	ID string
	// Touched is when its newest file was last written.
	Touched time.Time
	Bytes   int64
}

// Labs returns the labs on disk, by id.
func (j *Journal) Labs() ([]Lab, error) {
	dirs, err := j.fs.ReadDir(j.path("labs"))
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var out []Lab
	for _, d := range dirs {
		files, err := j.fs.ReadDir(j.path("labs", d.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted in between
		}
		if err != nil {
			return nil, fmt.Errorf("list labs: %w", err)
		}
		l := Lab{ID: d.Name()}
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				l.Bytes += info.Size()
				if info.ModTime().After(l.Touched) {
					l.Touched = info.ModTime()
				}
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// Full returns why nothing can be written now, nil when it can.
func (j *Journal) Full() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full == nil {
		return nil
	}
	return j.full
}

// Sync waits until everything that was queued before is durable.
func (j *Journal) Sync(ctx context.Context) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	t := j.flushLocked()
	j.mu.Unlock()
	return t.Wait(ctx)
}

// Close makes durable what is queued, and ends. Twice is fine. An error says that some of what was taken could not be written.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		j.idle.Wait()
		return nil
	}
	j.closed = true
	t := j.flushLocked()
	j.mu.Unlock()
	err := t.Wait(context.Background())
	j.idle.Wait()
	return errors.Join(err, j.lock.Close())
}

// Delete removes a lab: its owner is fenced, its files are gone when it returns. Its blobs go with the next Sweep. ErrNoLab when there is none.
func (j *Journal) Delete(id string) error {
	l, err := j.hold(id)
	if err != nil {
		return fmt.Errorf("delete lab %s: %w", id, err)
	}
	defer j.release(l)
	j.mu.Lock()
	l.gone = !j.closed
	j.mu.Unlock()
	if err := j.drain(context.Background(), l); err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("delete lab %s: %w", id, err)
	}
	away := j.path("temp", fmt.Sprintf("%s.%d", id, time.Now().UnixNano()))
	if err := j.fs.Rename(l.dir, away); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete lab %s: %w", id, ErrNoLab)
	} else if err != nil {
		return fmt.Errorf("delete lab %s: %w", id, err)
	}
	return errors.Join(syncDir(j.fs, j.path("labs")), j.fs.RemoveAll(away))
}

// checkID: an id is a folder's name.
func checkID(id string) error {
	if id == "" || len(id) > maxLab {
		return fmt.Errorf("the lab id %q: has to have 1 to %d characters", id, maxLab)
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("the lab id %q: only a-z, 0-9 and - can be in it", id)
		}
	}
	return nil
}

// reserve sets aside as much of the disk as can be queued, so that what was taken finds room on a disk that runs full.
func (j *Journal) reserve() error {
	name := j.path("reserve")
	want := j.cfg.QueueBytes + 1<<20
	if info, err := j.fs.Stat(name); err == nil && info.Size() == want {
		return nil
	}
	temp := j.path("temp", "reserve")
	f, err := j.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := fillRandom(f, want); err != nil {
		return errors.Join(err, f.Close(), j.fs.Remove(temp))
	}
	return publish(j.fs, f, temp, name)
}
