package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Writer appends to a lab as its owner. All methods may be called from any goroutine.
type Writer struct {
	j     *Journal
	lab   *lab
	epoch uint64
}

// Report is what reading a lab found.
type Report struct {
	Records int
	Damage  []Damage
}

// Damage is a part of a lab's log that can't be replayed.
type Damage struct {
	Lab    string
	File   string // without its folder
	Offset int64  // where in the file it begins
	Bytes  int64
	Reason Reason
	Detail string
	// Aside is the file that the part was moved to; "" where reading alone left it.
	Aside string
}

func (d Damage) String() string {
	s := fmt.Sprintf("lab %s: %s from byte %d on, %d bytes: %s (%s)", d.Lab, d.File, d.Offset, d.Bytes, d.Reason, d.Detail)
	if d.Aside != "" {
		s += ", moved to " + d.Aside
	}
	return s
}

// Own makes the caller the lab's owner and replays the lab: first its newest snapshot, then what came after it. epoch 0 means the next one;
// another must be newer than all before, otherwise ErrFenced. From the start of the call appends of earlier owners are refused. A lab that
// has no files yet is new: nothing is replayed.
//
// What can't be replayed, because a crash cut it off or the disk changed it, is moved aside and in the report; what was acknowledged as
// durable is never among it unless the disk lost it. ErrDamaged and ErrVersion leave the files alone. An error of replay is returned as it is;
// the lab then has no owner.
func (j *Journal) Own(id string, epoch uint64, replay func(Record) error) (*Writer, Report, error) {
	l, err := j.hold(id)
	if err != nil {
		return nil, Report{}, fmt.Errorf("own lab %s: %w", id, err)
	}
	defer j.release(l)
	if err := j.fence(l, epoch); err != nil {
		return nil, Report{}, fmt.Errorf("own lab %s: %w", id, err)
	}
	s := &scan{fs: j.fs, lab: l, replay: replay}
	err = s.run()
	if err == nil && epoch != 0 && epoch <= s.epoch {
		err = fmt.Errorf("%w: epoch %d, has been %d", ErrFenced, epoch, s.epoch)
	}
	if err == nil {
		err = s.repair()
	}
	if err != nil {
		return nil, s.report, fmt.Errorf("own lab %s: %w", id, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	w := &Writer{j: j, lab: l, epoch: max(epoch, s.epoch+1)}
	l.owner, l.epoch, l.seq = w, w.epoch, s.seq
	l.segment, l.size, l.tail, l.snap = 0, 0, s.tail, s.snap
	if _, err := w.appendLocked(Record{}); err != nil {
		return nil, s.report, fmt.Errorf("own lab %s: %w", id, err)
	}
	return w, s.report, nil
}

// fence has earlier owners' appends refused and waits for those that were taken.
func (j *Journal) fence(l *lab, epoch uint64) error {
	j.mu.Lock()
	if epoch != 0 && epoch <= l.epoch {
		defer j.mu.Unlock()
		return fmt.Errorf("%w: epoch %d, has been %d", ErrFenced, epoch, l.epoch)
	}
	l.owner = nil
	j.mu.Unlock()
	return j.drain(context.Background(), l)
}

// Read replays a lab without owning it, as of what is durable when it begins. Damage is reported and left as it is. ErrNoLab when there is none.
func (j *Journal) Read(id string, replay func(Record) error) (Report, error) {
	l, err := j.hold(id)
	if err != nil {
		return Report{}, fmt.Errorf("read lab %s: %w", id, err)
	}
	defer j.release(l)
	if err := j.drain(context.Background(), l); err != nil {
		return Report{}, fmt.Errorf("read lab %s: %w", id, err)
	}
	if _, err := j.fs.Stat(l.dir); errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("read lab %s: %w", id, ErrNoLab)
	}
	s := &scan{fs: j.fs, lab: l, replay: replay}
	if err := s.run(); err != nil {
		return s.report, fmt.Errorf("read lab %s: %w", id, err)
	}
	return s.report, nil
}

// Epoch is the owner's epoch.
func (w *Writer) Epoch() uint64 { return w.epoch }

// Append queues a record behind the lab's others and returns at once, without input or output; the payload is copied. The record is on its
// way to the disk when Append returns and is synced within the window (Config.Window) and the time the disk takes: who answers a client before
// Ticket.Wait returned may lose that much to a power cut, but never a record and keep a later one. If only the process dies, what the syncer
// has written is kept, which is all but the last few hundred microseconds.
//
// Blobs must be here already (PutBlob). Kind 0 is the journal's own. Errors: ErrFenced, ErrFull, ErrBusy, ErrNoLab, ErrNoBlob, ErrTooLarge, ErrClosed,
// or that the disk failed. A refused record leaves no trace.
func (w *Writer) Append(kind Kind, payload []byte, blobs ...Digest) (Ticket, error) {
	if kind == 0 {
		return Ticket{}, fmt.Errorf("append to lab %s: kind 0 is the journal's", w.lab.id)
	}
	if err := checkSize(payload, blobs); err != nil {
		return Ticket{}, fmt.Errorf("append to lab %s: %w", w.lab.id, err)
	}
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	t, err := w.appendLocked(Record{Kind: kind, Payload: payload, Blobs: blobs})
	if err != nil {
		return Ticket{}, fmt.Errorf("append to lab %s: %w", w.lab.id, err)
	}
	return t, nil
}

func checkSize(payload []byte, blobs []Digest) error {
	if len(payload) > MaxPayload || len(blobs) > maxBlobs {
		return fmt.Errorf("%w: a record of %d bytes that refers to %d blobs", ErrTooLarge, len(payload), len(blobs))
	}
	return nil
}

// appendLocked queues a record under Journal.mu.
func (w *Writer) appendLocked(r Record) (Ticket, error) {
	j, l := w.j, w.lab
	if err := w.standingLocked(); err != nil {
		return Ticket{}, err
	}
	if err := j.refusalLocked(); err != nil && (r.Kind != 0 || !errors.Is(err, ErrFull)) {
		return Ticket{}, err // that somebody owns the lab can wait for room, so that it can be looked at
	}
	if j.queued+int64(len(r.Payload)+len(r.Blobs)*len(Digest{})+maxLab+headerSize+64) > j.cfg.QueueBytes {
		return Ticket{}, ErrBusy
	}
	if err := j.referLocked(r.Blobs); err != nil {
		return Ticket{}, err
	}
	l.seq++
	r.Seq, r.Epoch = l.seq, w.epoch
	if l.segment == 0 || l.size >= j.cfg.SegmentBytes {
		l.segment, l.size = r.Seq, 0
	}
	if len(l.queue) == 0 {
		j.dirty = append(j.dirty, l)
	}
	if n := len(l.queue); n == 0 || l.queue[n-1].segment != l.segment {
		l.queue = append(l.queue, chunk{lab: l, segment: l.segment, offset: l.size})
	}
	c := &l.queue[len(l.queue)-1]
	before := len(c.data)
	c.data = appendRecord(c.data, l.id, r)
	n := len(c.data) - before
	l.size += int64(n)
	l.tail += int64(n)
	return j.takeLocked(n), nil
}

// standingLocked is why this writer may not write any more.
func (w *Writer) standingLocked() error {
	switch {
	case w.lab.gone:
		return ErrNoLab
	case w.lab.owner != w:
		return fmt.Errorf("%w: epoch %d, is %d", ErrFenced, w.epoch, w.lab.epoch)
	}
	return nil
}

// Close gives the lab up: later appends are refused with ErrFenced. It waits for what was appended. Twice is fine.
func (w *Writer) Close(ctx context.Context) error {
	w.j.mu.Lock()
	mine := w.lab.owner == w
	if mine {
		w.lab.owner = nil
	}
	w.j.mu.Unlock()
	if !mine {
		return nil
	}
	err := w.j.drain(ctx, w.lab)
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	w.j.forgetLocked(w.lab)
	return err
}

// scan reads a lab's files.
type scan struct {
	fs     FS
	lab    *lab
	replay func(Record) error

	report  Report
	old     []string // files that the snapshot stands for
	epoch   uint64
	seq     uint64
	tail    int64
	snap    int64
	damaged bool // what follows can't be applied
}

func segmentName(first uint64) string  { return fmt.Sprintf("%016x.log", first) }
func snapshotName(first uint64) string { return fmt.Sprintf("%016x.snap", first) }

// fileNumber is the number in a file's name; ok is false for other files.
func fileNumber(name, ending string) (n uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, ending)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

// run replays the newest snapshot and the logs behind it.
func (s *scan) run() error {
	entries, err := s.fs.ReadDir(s.lab.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	first := uint64(1)
	for _, e := range entries {
		if n, ok := fileNumber(e.Name(), ".snap"); ok {
			first = max(first, n)
		}
	}
	var logs []string
	snapshot := ""
	for _, e := range entries { // in the order of their names, which is that of their numbers
		name := e.Name()
		if n, ok := fileNumber(name, ".snap"); ok && n == first {
			snapshot = name
		} else if m, isLog := fileNumber(name, ".log"); isLog && m >= first {
			logs = append(logs, name)
		} else if ok || isLog {
			s.old = append(s.old, name)
		}
	}
	s.seq = first - 1
	if snapshot != "" {
		if err := s.snapshot(snapshot); err != nil {
			return err
		}
	}
	for _, name := range logs {
		if err := s.segment(name); err != nil {
			return err
		}
	}
	return nil
}

// segment replays one file of the log up to what is wrong with it.
func (s *scan) segment(name string) error {
	f, err := s.fs.OpenFile(filepath.Join(s.lab.dir, name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	in := newScanner(f, s.lab.id)
	if s.damaged && info.Size() > 0 {
		s.damage(name, 0, info.Size(), &flaw{Behind, "follows what is missing"})
	}
	if s.damaged {
		return nil
	}
	for {
		at := in.offset
		r, err := in.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = s.apply(r)
		}
		if bad, ok := asFlaw(err); ok {
			s.damage(name, at, info.Size(), bad)
			return nil
		}
		if err != nil {
			return err
		}
		s.tail += in.offset - at
	}
}

// apply gives a record of the log to the replay, where it follows the one before.
func (s *scan) apply(r Record) error {
	if r.Seq != s.seq+1 {
		return &flaw{Gap, fmt.Sprintf("record %d follows record %d", r.Seq, s.seq)}
	}
	if r.Epoch < s.epoch {
		return &flaw{Corrupt, fmt.Sprintf("epoch %d follows epoch %d", r.Epoch, s.epoch)}
	}
	if r.Kind != 0 && s.replay != nil {
		if err := s.replay(r); err != nil {
			return fmt.Errorf("replay record %d: %w", r.Seq, err)
		}
	}
	if r.Kind != 0 {
		s.report.Records++
	}
	s.seq, s.epoch = r.Seq, r.Epoch
	return nil
}

func (s *scan) damage(name string, at, size int64, f *flaw) {
	s.damaged = true
	s.report.Damage = append(s.report.Damage, Damage{Lab: s.lab.id, File: name, Offset: at, Bytes: size - at, Reason: f.reason, Detail: f.detail})
}

// repair removes what the snapshot stands for and moves damage aside, so that the log can go on.
func (s *scan) repair() error {
	for _, name := range s.old {
		if err := s.fs.Remove(filepath.Join(s.lab.dir, name)); err != nil {
			return err
		}
	}
	for i := range s.report.Damage {
		if err := s.cut(&s.report.Damage[i]); err != nil {
			if isFull(err) {
				return &FullError{s.lab.dir, err}
			}
			return err
		}
	}
	if len(s.report.Damage) == 0 {
		return nil
	}
	return syncDir(s.fs, s.lab.dir)
}

// cut moves the end of a log to a file of its own and reports that file's name.
func (s *scan) cut(d *Damage) error {
	name := filepath.Join(s.lab.dir, d.File)
	aside := fmt.Sprintf("%s.cut-%d", name, d.Offset)
	for n := 1; ; n++ {
		if _, err := s.fs.Stat(aside); err != nil {
			break
		}
		aside = fmt.Sprintf("%s.cut-%d.%d", name, d.Offset, n)
	}
	d.Aside = aside
	if d.Offset == 0 {
		return s.fs.Rename(name, aside)
	}
	f, err := s.fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	to, err := s.fs.OpenFile(aside, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(f, d.Offset, d.Bytes))
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return errors.Join(err, s.fs.Remove(aside))
	}
	if err := f.Truncate(d.Offset); err != nil {
		return err
	}
	return f.Sync()
}
