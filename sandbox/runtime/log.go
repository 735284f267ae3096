package runtime

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// stream is where a piece of output went.
type stream uint8

const (
	stdout stream = iota
	stderr
)

const (
	logLine    = 16 << 10 // bytes of a line before it is broken, as CRI's log format does
	logSegment = 64 << 10
	logHeader  = 13 // time 8, flags 1, length 4
	flagStderr = 1
	flagMore   = 2 // the line goes on in a later record
)

// Log is a container's log, of one life or of several: whole lines (or pieces of long ones) with the time at which they ended, oldest dropped first beyond the
// limit. Records are packed into segments, which are what is charged and dropped.
type Log struct {
	limit int64
	disk  vfs.Charger

	mu      sync.Mutex
	segs    [][]byte  // guarded by mu
	first   int64     // guarded by mu; number of segs[0]
	size    int64     // guarded by mu; bytes in segs
	charged int64     // guarded by mu
	open    [2][]byte // guarded by mu; unfinished lines of each stream
	closed  bool      // guarded by mu; nothing will be written any more
	news    chan struct{}
	changed func() // nil: nobody keeps it
	heard   func() // guarded by mu; nil: nobody listens
	noted   bool   // guarded by mu; changed was told
	saved   cursor // guarded by mu; what was flushed
}

// NewLog makes an empty log of at most limit bytes, which disk is charged for (nil = nobody).
func NewLog(limit int64, disk vfs.Charger) *Log { return &Log{limit: limit, disk: disk} }

// write takes output of a stream.
func (l *Log) write(s stream, now time.Time, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		room := logLine - len(l.open[s])
		switch {
		case i >= 0 && i < room:
			l.recordLocked(s, now, p[:i+1])
			p = p[i+1:]
		case len(p) >= room:
			l.recordLocked(s, now, p[:room])
			p = p[room:]
		default:
			l.open[s] = append(l.open[s], p...)
			p = nil
		}
	}
	l.wakeLocked()
}

// recordLocked ends a line or a piece of one with tail.
func (l *Log) recordLocked(s stream, now time.Time, tail []byte) {
	n := len(l.open[s]) + len(tail)
	var h [logHeader]byte
	binary.LittleEndian.PutUint64(h[:], uint64(now.UnixNano()))
	if s == stderr {
		h[8] |= flagStderr
	}
	if len(tail) == 0 || tail[len(tail)-1] != '\n' {
		h[8] |= flagMore
	}
	binary.LittleEndian.PutUint32(h[9:], uint32(n))
	l.packLocked(h[:], l.open[s], tail)
	l.open[s] = nil
	l.noteLocked()
	if l.heard != nil {
		l.heard()
	}
}

// packLocked appends a record, given in parts, and drops the oldest ones beyond the limit.
func (l *Log) packLocked(parts ...[]byte) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if k := len(l.segs); k == 0 || len(l.segs[k-1])+n > logSegment {
		l.segs = append(l.segs, nil)
	}
	last := &l.segs[len(l.segs)-1]
	for _, p := range parts {
		*last = append(*last, p...)
	}
	l.size += int64(n)
	for len(l.segs) > 1 && (l.size > l.limit || !l.payLocked()) {
		l.size -= int64(len(l.segs[0]))
		l.segs[0] = nil
		l.segs = l.segs[1:]
		l.first++
	}
}

// payLocked keeps the charge in step with the size, in steps of a segment. A disk that is full makes the oldest go.
func (l *Log) payLocked() bool {
	want := (l.size + logSegment - 1) / logSegment * logSegment
	if l.disk == nil || want == l.charged {
		return true
	}
	if err := l.disk.Charge(want - l.charged); err != nil && want > l.charged {
		return false
	}
	l.charged = want
	return true
}

func (l *Log) wakeLocked() {
	if l.news != nil {
		close(l.news)
		l.news = nil
	}
}

// close ends the log: unfinished lines become records and followers get the end.
func (l *Log) close(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for s := range l.open {
		if len(l.open[s]) > 0 {
			l.recordLocked(stream(s), now, nil)
		}
	}
	l.closed = true
	l.wakeLocked()
}

// Release forgets everything and gives back the charge.
func (l *Log) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.segs, l.size = true, nil, 0
	l.payLocked()
	l.wakeLocked()
}

// record is one entry; data is a copy or a slice of a segment, not to be changed.
type record struct {
	when   time.Time
	stream stream
	more   bool
	data   []byte
}

// cursor is a place in the log.
type cursor struct {
	seg int64
	off int
}

// nextLocked is the record at c, with c moved behind it; ok is false at the end.
func (l *Log) nextLocked(c *cursor) (record, bool) {
	if c.seg < l.first {
		*c = cursor{seg: l.first} // what came next was dropped
	}
	for c.seg-l.first < int64(len(l.segs)) {
		s := l.segs[c.seg-l.first]
		if c.off >= len(s) {
			if c.seg-l.first == int64(len(l.segs))-1 {
				return record{}, false
			}
			*c = cursor{seg: c.seg + 1}
			continue
		}
		h := s[c.off:]
		n := int(binary.LittleEndian.Uint32(h[9:]))
		r := record{when: time.Unix(0, int64(binary.LittleEndian.Uint64(h))).UTC(), more: h[8]&flagMore != 0, data: h[logHeader : logHeader+n : logHeader+n]}
		if h[8]&flagStderr != 0 {
			r.stream = stderr
		}
		c.off += logHeader + n
		return r, true
	}
	return record{}, false
}

// LogOptions select a part of a log.
type LogOptions struct {
	Follow     bool
	Tail       int64 // lines from the end; negative = all
	Since      time.Time
	Until      time.Time // zero = to the end
	Timestamps bool      // RFC 3339 with nanoseconds before each line
	Limit      int64     // bytes; 0 = no limit
}

// timestamp is CRI's: RFC 3339 with nine digits.
const timestamp = "2006-01-02T15:04:05.000000000Z07:00"

// startLocked finds where to begin.
func (l *Log) startLocked(o LogOptions) cursor {
	c := cursor{seg: l.first}
	if o.Tail < 0 && o.Since.IsZero() {
		return c
	}
	lines := []cursor{} // where lines begin
	begin := true
	for {
		at := c
		r, ok := l.nextLocked(&c)
		if !ok {
			break
		}
		if begin && !r.when.Before(o.Since) {
			lines = append(lines, at)
		}
		begin = !r.more
	}
	if o.Tail >= 0 && int64(len(lines)) > o.Tail {
		lines = lines[int64(len(lines))-o.Tail:]
	}
	if len(lines) == 0 {
		return c
	}
	return lines[0]
}

// reopen lets a log that has ended go on.
func (l *Log) reopen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
}

// Copy writes the selected part to out and errOut, which may be the same or nil, until its end or, with Follow, the end of the container's life.
// A writer's error ends it.
func (l *Log) Copy(ctx context.Context, o LogOptions, out, errOut io.Writer) error {
	l.mu.Lock()
	c := l.startLocked(o)
	l.mu.Unlock()
	left := o.Limit
	fresh := [2]bool{true, true} // the stream is at the beginning of a line
	for {
		batch, end, news := l.batch(&c, o.Follow)
		for _, r := range batch {
			if !o.Until.IsZero() && r.when.After(o.Until) {
				return nil
			}
			var line []byte
			if o.Timestamps && fresh[r.stream] {
				line = append(r.when.AppendFormat(line, timestamp), ' ')
			}
			line = append(line, r.data...)
			fresh[r.stream] = !r.more
			if o.Limit > 0 && int64(len(line)) > left {
				line = line[:left]
			}
			w := out
			if r.stream == stderr {
				w = errOut
			}
			if w != nil {
				if _, err := w.Write(line); err != nil {
					return err
				}
			}
			if left -= int64(len(line)); o.Limit > 0 && left <= 0 {
				return nil
			}
		}
		if end {
			return nil
		}
		if news == nil {
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// batch is what is there from c on, at most some hundred records. end: nothing will follow. news is closed at the next change when there is nothing.
func (l *Log) batch(c *cursor, follow bool) (rs []record, end bool, news <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(rs) < 256 {
		r, ok := l.nextLocked(c)
		if !ok {
			break
		}
		rs = append(rs, r)
	}
	if len(rs) == 256 {
		return rs, false, nil
	}
	if l.closed || !follow {
		return rs, true, nil
	}
	if l.news == nil {
		l.news = make(chan struct{})
	}
	return rs, false, l.news
}

// tail is the last bytes of the log, at most limit, in whole lines where possible (for a termination message).
func (l *Log) tail(limit, lines int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.startLocked(LogOptions{Tail: int64(lines)})
	var b []byte
	for {
		r, ok := l.nextLocked(&c)
		if !ok {
			break
		}
		b = append(b, r.data...)
	}
	if len(b) > limit {
		b = b[len(b)-limit:]
	}
	return string(slices.Clone(b))
}
