package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Ticket stands for a record that was taken.
type Ticket struct{ g *group }

// Wait returns once the record is durable: nil; or once it is clear that it is not yet, or the context ends: an error. Who gets ErrFull need
// not append the record again: it is written when there is room.
func (t Ticket) Wait(ctx context.Context) error {
	select {
	case <-t.g.done:
		return t.g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// group are the records that become durable together.
type group struct {
	done chan struct{}
	err  error // set before done is closed
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// batch is what the syncer has taken and not made durable yet.
type batch struct {
	chunks  []chunk
	written int // of chunks
	groups  []*group
	bytes   int64
	since   time.Time // when the first of it was taken
	files   map[string]File
	dirs    map[string]bool // to be synced, because names in them are new
}

// takeLocked accounts for n bytes of the lab in the current group and sees to it that the syncer looks.
func (j *Journal) takeLocked(n int) Ticket {
	j.queued += int64(n)
	t := Ticket{j.group}
	j.startLocked()
	return t
}

// flushLocked returns a ticket for everything that was taken so far.
func (j *Journal) flushLocked() Ticket {
	j.wanted = true
	t := Ticket{j.group}
	j.startLocked()
	return t
}

func (j *Journal) startLocked() {
	if j.running {
		select {
		case j.wake <- struct{}{}:
		default:
		}
		return
	}
	j.running = true
	j.idle.Add(1)
	go j.run()
}

// run writes at once what is queued, syncs it a window later, and ends when there is nothing left.
func (j *Journal) run() {
	defer j.idle.Done()
	var b batch
	defer b.close()
	for {
		rush, more := j.take(&b)
		if !more {
			return
		}
		err := j.write(&b)
		if err == nil {
			if left := j.cfg.Window - time.Since(b.since); left > 0 && !rush {
				timer := time.NewTimer(left)
				select {
				case <-j.wake:
				case <-timer.C:
				}
				timer.Stop()
				continue
			}
			err = b.sync(j.fs)
		}
		if err == nil {
			j.settle(&b)
		} else if !j.retry(&b, err) {
			return
		}
	}
}

// take moves what is queued into the batch. more is false when there is nothing to do: the syncer has ended then. rush says that somebody
// waits for everything.
func (j *Journal) take(b *batch) (rush, more bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		b.groups = append(b.groups, j.group)
		b.finish(j.broken)
		j.group, j.wanted, j.running = newGroup(), false, false
		return false, false
	}
	if len(b.groups) == 0 {
		*b = batch{chunks: j.parked.chunks, bytes: j.parked.bytes, since: time.Now()}
		j.parked = batch{}
	}
	if len(j.dirty) > 0 || j.wanted || len(b.chunks) > 0 && len(b.groups) == 0 {
		rush = j.wanted
		b.groups = append(b.groups, j.group)
		j.group, j.wanted = newGroup(), false
	}
	for _, l := range j.dirty {
		for _, c := range l.queue {
			b.bytes += int64(len(c.data))
		}
		l.taken += len(l.queue)
		b.chunks = append(b.chunks, l.queue...)
		l.queue = nil
	}
	j.dirty = nil
	if len(b.groups) == 0 {
		j.running = false
		return false, false
	}
	return rush, true
}

// write writes the chunks that were not written yet, each at its place.
func (j *Journal) write(b *batch) error {
	for ; b.written < len(b.chunks); b.written++ {
		c := b.chunks[b.written]
		j.mu.Lock()
		gone := c.lab.gone
		j.mu.Unlock()
		if gone {
			continue
		}
		f, err := b.open(j.fs, c)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(c.data, c.offset); err != nil {
			return err
		}
	}
	return nil
}

// open returns the chunk's file, made where it is new.
func (b *batch) open(fsys FS, c chunk) (File, error) {
	name := filepath.Join(c.lab.dir, segmentName(c.segment))
	if f := b.files[name]; f != nil {
		return f, nil
	}
	if b.files == nil {
		b.files, b.dirs = map[string]File{}, map[string]bool{}
	}
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := fsys.MkdirAll(c.lab.dir, 0o700); err != nil {
			return nil, err
		}
		f, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		b.dirs[filepath.Dir(c.lab.dir)] = true
	}
	if err != nil {
		return nil, err
	}
	if c.offset == 0 {
		b.dirs[c.lab.dir] = true
	}
	b.files[name] = f
	return f, nil
}

// syncers is how many files are synced at a time: a file system makes one transaction of syncs that come together.
const syncers = 16

// sync makes what was written durable.
func (b *batch) sync(fsys FS) error {
	var jobs []func() error
	for _, f := range b.files {
		jobs = append(jobs, f.Sync)
	}
	for dir := range b.dirs {
		jobs = append(jobs, func() error {
			err := syncDir(fsys, dir)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a lab that was deleted in between
			}
			return err
		})
	}
	if len(jobs) == 1 {
		return jobs[0]()
	}
	errs := make([]error, len(jobs))
	var wait sync.WaitGroup
	slots := make(chan struct{}, syncers)
	for i, job := range jobs {
		slots <- struct{}{}
		wait.Go(func() {
			errs[i] = job()
			<-slots
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (b *batch) close() {
	for _, f := range b.files {
		f.Close() // what it held is synced, or will be written again
	}
	b.files, b.dirs = nil, nil
}

func (b *batch) finish(err error) {
	for _, g := range b.groups {
		g.err = err
		close(g.done)
	}
	b.close()
	*b = batch{}
}

// settle tells everybody that the batch is durable, and takes writes again where there is room for a reserve.
func (j *Journal) settle(b *batch) {
	j.mu.Lock()
	j.queued -= b.bytes
	for _, c := range b.chunks {
		c.lab.taken--
		j.forgetLocked(c.lab)
	}
	full := j.full != nil
	j.mu.Unlock()
	b.finish(nil)
	if !full {
		return
	}
	if err := j.reserve(); err == nil {
		j.mu.Lock()
		j.full = nil
		j.mu.Unlock()
	}
}

// retry decides after a failure whether the batch is to be written again: on a full disk, once the reserve is given up. Otherwise it is parked
// until somebody wants to write (full) or for good (the disk fails), and the syncer has ended.
func (j *Journal) retry(b *batch, err error) bool {
	b.close()
	b.written = 0
	if isFull(err) {
		j.mu.Lock()
		if j.full == nil {
			j.full = &FullError{j.cfg.Dir, err}
		}
		j.retried = time.Now()
		j.mu.Unlock()
		if j.fs.Remove(j.path("reserve")) == nil {
			return true
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if isFull(err) {
		err = j.full
		j.parked = batch{chunks: b.chunks, bytes: b.bytes}
	} else {
		err = fmt.Errorf("journal %s: %w", j.cfg.Dir, err)
		j.broken = err
	}
	b.finish(err)
	rest := batch{groups: []*group{j.group}}
	rest.finish(err)
	j.group, j.wanted, j.running = newGroup(), false, false
	return false
}

// retryEvery is how often, at most, refused writers have the syncer look whether the disk has room again.
const retryEvery = 100 * time.Millisecond

// refusalLocked is why nothing can be appended now. On a full disk it has the syncer look whether that is still so.
func (j *Journal) refusalLocked() error {
	switch {
	case j.closed:
		return ErrClosed
	case j.broken != nil:
		return j.broken
	case j.full != nil:
		if time.Since(j.retried) > retryEvery {
			j.retried = time.Now()
			j.flushLocked()
		}
		return j.full
	}
	return nil
}

// fillRandom writes n bytes that no file system stores in less room.
func fillRandom(f File, n int64) error {
	r := rand.NewChaCha8([32]byte{})
	buf := make([]byte, 256<<10)
	for n > 0 {
		part := buf[:min(n, int64(len(buf)))]
		if _, err := r.Read(part); err != nil {
			return err
		}
		if _, err := f.Write(part); err != nil {
			return err
		}
		n -= int64(len(part))
	}
	return nil
}
