package journal

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Compact replaces the lab's log so far by a snapshot: the records that snapshot gives to add, which alone must make the lab again as it was
// when Compact was called, or as it was at any moment since. Others go on appending meanwhile: what is appended after Compact was called is
// replayed after the snapshot, whether the snapshot already knows of it or not, so a reader must tell (by a revision of its own) what it has.
//
// The snapshot takes effect at once, when it is durable; with an error everything stays as it was. snapshot must not call Own, Read, Delete or
// Compact for this lab. Errors: those of Append, those of snapshot.
func (w *Writer) Compact(ctx context.Context, snapshot func(add func(kind Kind, payload []byte, blobs ...Digest) error) error) error {
	w.lab.files.Lock()
	defer w.lab.files.Unlock()
	err := w.compact(ctx, snapshot)
	if err != nil {
		if isFull(err) && !errors.Is(err, ErrFull) {
			err = &FullError{w.j.cfg.Dir, err}
		}
		return fmt.Errorf("compact lab %s: %w", w.lab.id, err)
	}
	return nil
}

func (w *Writer) compact(ctx context.Context, snapshot func(add func(Kind, []byte, ...Digest) error) error) error {
	first, err := w.rotate()
	if err != nil {
		return err
	}
	temp := w.j.path("temp", fmt.Sprintf("%s.%016x.snap", w.lab.id, first))
	f, err := w.j.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size, err := w.writeSnapshot(f, snapshot)
	if err == nil {
		err = w.j.drain(ctx, w.lab) // the syncer is at none of the files that the snapshot replaces then
	}
	if err != nil {
		return errors.Join(err, f.Close(), w.j.fs.Remove(temp))
	}
	if err := publish(w.j.fs, f, temp, filepath.Join(w.lab.dir, snapshotName(first))); err != nil {
		return err
	}
	w.j.mu.Lock()
	w.lab.snap, w.lab.tail = size, 0
	if w.lab.segment >= first {
		w.lab.tail = w.lab.size
	}
	w.j.mu.Unlock()
	return w.removeBefore(first)
}

// rotate has the next record begin a new file, whose number it returns.
func (w *Writer) rotate() (uint64, error) {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	l := w.lab
	if err := w.standingLocked(); err != nil {
		return 0, err
	}
	if err := w.j.refusalLocked(); err != nil && !errors.Is(err, ErrFull) {
		return 0, err // a smaller log is what a full disk needs
	}
	l.segment = 0
	return l.seq + 1, nil
}

// writeSnapshot writes the records and, as the last one, their number, without which the file is none.
func (w *Writer) writeSnapshot(f File, snapshot func(add func(Kind, []byte, ...Digest) error) error) (int64, error) {
	out := bufio.NewWriterSize(f, 256<<10)
	var size int64
	var buf []byte
	count := uint64(0)
	put := func(r Record) error {
		r.Epoch = w.epoch
		buf = appendRecord(buf[:0], w.lab.id, r)
		size += int64(len(buf))
		_, err := out.Write(buf)
		return err
	}
	err := snapshot(func(kind Kind, payload []byte, blobs ...Digest) error {
		if kind == 0 {
			return errors.New("kind 0 is the journal's")
		}
		if err := checkSize(payload, blobs); err != nil {
			return err
		}
		w.j.mu.Lock()
		err := w.j.referLocked(blobs)
		w.j.mu.Unlock()
		if err != nil {
			return err
		}
		count++
		return put(Record{Kind: kind, Payload: payload, Blobs: blobs})
	})
	if err != nil {
		return 0, err
	}
	if err := put(Record{Payload: binary.AppendUvarint(nil, count)}); err != nil {
		return 0, err
	}
	return size, out.Flush()
}

// removeBefore removes the files that the snapshot stands for. What a crash leaves of them is removed by the next owner.
func (w *Writer) removeBefore(first uint64) error {
	entries, err := w.j.fs.ReadDir(w.lab.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, ok := fileNumber(e.Name(), ".log")
		if !ok {
			n, ok = fileNumber(e.Name(), ".snap")
		}
		if ok && n < first {
			if err := w.j.fs.Remove(filepath.Join(w.lab.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Due reports whether the log has grown so much beyond the snapshot that Compact pays: more than 4 MiB and twice the snapshot.
func (w *Writer) Due() bool {
	w.j.mu.Lock()
	defer w.j.mu.Unlock()
	return w.lab.tail > max(4<<20, 2*w.lab.snap)
}

// snapshot replays a snapshot, after it was read through once to see that it is whole.
func (s *scan) snapshot(name string) error {
	f, err := s.fs.OpenFile(filepath.Join(s.lab.dir, name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.snap = info.Size()
	for _, replay := range []func(Record) error{nil, s.replay} {
		in := newScanner(io.NewSectionReader(f, 0, s.snap), s.lab.id)
		records, err := s.records(in, replay)
		if bad, ok := asFlaw(err); ok {
			s.damage(name, in.offset, s.snap, bad)
			return fmt.Errorf("%w: %s", ErrDamaged, s.report.Damage[0])
		}
		if err != nil {
			return err
		}
		s.report.Records = records
	}
	return nil
}

// records reads a snapshot's records up to the one that says how many there are.
func (s *scan) records(in *scanner, replay func(Record) error) (int, error) {
	for n := 0; ; n++ {
		r, err := in.next()
		if err == io.EOF {
			return 0, &flaw{CutOff, "the snapshot's last record is missing"}
		}
		if err != nil {
			return 0, err
		}
		if r.Seq != 0 {
			return 0, &flaw{Corrupt, "a record of the log in a snapshot"}
		}
		s.epoch = r.Epoch
		if r.Kind == 0 {
			if count, _ := binary.Uvarint(r.Payload); count != uint64(n) || in.offset != s.snap {
				return 0, &flaw{Corrupt, fmt.Sprintf("%d records of %d, up to byte %d of %d", n, count, in.offset, s.snap)}
			}
			return n, nil
		}
		if replay != nil {
			if err := replay(r); err != nil {
				return 0, fmt.Errorf("replay record %d of the snapshot: %w", n, err)
			}
		}
	}
}
