package runtime

import (
	"encoding/binary"
	"errors"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// OnChange has f told of the first change since the last Flush. It is called with the log's lock held and may only plan a Flush. Call it before
// the log is written to.
func (l *Log) OnChange(f func()) { l.changed = f }

func (l *Log) noteLocked() {
	if l.changed != nil && !l.noted {
		l.noted = true
		l.changed()
	}
}

// Flush gives emit what was logged since the last Flush, in pieces of whole records that NewLogFrom takes. What was dropped meanwhile is not
// among it, nor are unfinished lines. The pieces are valid during emit, which is called with the log's lock held. With an error of emit the
// next Flush begins there.
func (l *Log) Flush(emit func([]byte) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted = false
	if l.saved.seg < l.first {
		l.saved = cursor{seg: l.first}
	}
	for i, s := range l.segs[l.saved.seg-l.first:] {
		from := 0
		if i == 0 {
			from = l.saved.off
		}
		if from < len(s) {
			if err := emit(s[from:]); err != nil {
				return err
			}
		}
	}
	l.saved = l.endLocked()
	return nil
}

// Snapshot gives emit everything up to the last Flush.
func (l *Log) Snapshot(emit func([]byte) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.segs {
		switch n := l.first + int64(i); {
		case n > l.saved.seg:
			return nil
		case n == l.saved.seg:
			s = s[:l.saved.off]
		}
		if len(s) > 0 {
			if err := emit(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// endLocked is the place behind the last record.
func (l *Log) endLocked() cursor {
	if len(l.segs) == 0 {
		return cursor{seg: l.first}
	}
	last := len(l.segs) - 1
	return cursor{l.first + int64(last), len(l.segs[last])}
}

// ErrLogPiece says that something is no piece of a log.
var ErrLogPiece = errors.New("not a piece of a container's log")

// NewLogFrom is NewLog with what Flush and Snapshot gave, oldest first. ErrLogPiece: then what was read before is in the log.
func NewLogFrom(limit int64, disk vfs.Charger, pieces [][]byte) (*Log, error) {
	l := NewLog(limit, disk)
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.saved = l.endLocked() }()
	for _, p := range pieces {
		for len(p) > 0 {
			if len(p) < logHeader {
				return l, ErrLogPiece
			}
			n := int64(binary.LittleEndian.Uint32(p[9:])) + logHeader
			if n > int64(len(p)) || n > 2*logLine {
				return l, ErrLogPiece
			}
			l.packLocked(p[:n])
			p = p[n:]
		}
	}
	return l, nil
}
