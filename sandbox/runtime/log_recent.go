package runtime

import "time"

// Line is a line of a log, or a piece of a long one.
type Line struct {
	At     time.Time // when it ended
	Stderr bool
	Text   string // without its newline
}

// OnRecord has f told of each line. It is called with the log's lock held and must return at once.
func (l *Log) OnRecord(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = f
}

// Recent is the newest part of the log, oldest first: at least its last 64 KiB, at most twice that.
func (l *Log) Recent() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := cursor{seg: max(l.first, l.first+int64(len(l.segs))-2)}
	var out []Line
	for {
		r, ok := l.nextLocked(&c)
		if !ok {
			return out
		}
		text := string(r.data)
		if n := len(text); n > 0 && text[n-1] == '\n' {
			text = text[:n-1]
		}
		out = append(out, Line{At: r.when, Stderr: r.stream == stderr, Text: text})
	}
}
