package edit

import (
	"errors"
	"slices"
	"unicode/utf8"
)

// maxFile is the largest file that is edited, in bytes.
const maxFile = 16 << 20

var errTooLarge = errors.New("file too large")

// pos is a place in the text: a line and a character of it, both from 0.
type pos struct{ line, col int }

func (p pos) before(q pos) bool { return p.line < q.line || p.line == q.line && p.col < q.col }

// buffer is the text with its history. Lines are never changed in place; the list of them is copied before its first change after a
// snapshot, so that a snapshot costs nothing until then.
type buffer struct {
	lines   [][]rune
	version int // of the text; equal versions are equal texts
	saved   int // version that is in the file

	latest     int // greatest version so far
	shared     bool
	changing   bool // a change is under way: no new snapshot
	undo, redo []snapshot
}

type snapshot struct {
	lines   [][]rune
	cursor  pos
	version int
}

// maxUndo bounds the history.
const maxUndo = 500

// strange is where bytes that are no UTF-8 are kept: byte b is rune strange+b, which no text has.
const strange = 0xDC00

// decodeText parts a file into lines.
func decodeText(data []byte) (lines [][]rune, noEOL bool) {
	for len(data) > 0 {
		i := slices.Index(data, '\n')
		line := data
		if i >= 0 {
			line, data = data[:i], data[i+1:]
		} else {
			data, noEOL = nil, true
		}
		runes := make([]rune, 0, len(line))
		for len(line) > 0 {
			r, n := utf8.DecodeRune(line)
			if r == utf8.RuneError && n == 1 {
				r = strange + rune(line[0])
			}
			runes = append(runes, r)
			line = line[n:]
		}
		lines = append(lines, runes)
	}
	return lines, noEOL
}

// encode is the file that the lines make; as vim does, it ends its last line.
func encode(lines [][]rune) (b []byte) {
	for _, l := range lines {
		for _, r := range l {
			if r >= strange && r < strange+256 {
				b = append(b, byte(r-strange))
			} else {
				b = utf8.AppendRune(b, r)
			}
		}
		b = append(b, '\n')
	}
	return b
}

// change notes that the text is about to change: the first time in a command, a snapshot is taken.
func (b *buffer) change(cursor pos) {
	if !b.changing {
		b.undo = append(b.undo, snapshot{b.lines, cursor, b.version})
		if len(b.undo) > maxUndo {
			b.undo = b.undo[1:]
		}
		b.redo, b.changing, b.shared = nil, true, true
	}
	if b.shared {
		b.lines, b.shared = slices.Clone(b.lines), false
	}
	b.latest++
	b.version = b.latest
}

// back restores the latest snapshot of one history and puts the present into the other.
func (b *buffer) back(from, to *[]snapshot, cursor pos) (pos, bool) {
	if len(*from) == 0 {
		return cursor, false
	}
	s := (*from)[len(*from)-1]
	*from = (*from)[:len(*from)-1]
	*to = append(*to, snapshot{b.lines, s.cursor, b.version})
	b.lines, b.version, b.shared = s.lines, s.version, true
	return s.cursor, true
}

func (b *buffer) modified() bool { return b.version != b.saved }

// text is what stands between two places, the second not included, as lines.
func (b *buffer) text(from, to pos) [][]rune {
	if from.line == to.line {
		return [][]rune{slices.Clone(b.lines[from.line][from.col:to.col])}
	}
	l := [][]rune{slices.Clone(b.lines[from.line][from.col:])}
	l = append(l, b.lines[from.line+1:to.line]...)
	return append(l, slices.Clone(b.lines[to.line][:to.col]))
}

// replace puts lines in the place of what stands between two places, and returns where they end. The caller has called change.
func (b *buffer) replace(from, to pos, with [][]rune) pos {
	head, tail := b.lines[from.line][:from.col], b.lines[to.line][to.col:]
	if len(with) == 0 {
		with = [][]rune{nil}
	}
	put := slices.Clone(with)
	last := len(put) - 1
	end := pos{from.line + last, len(put[last])}
	if last == 0 {
		end.col += from.col
	}
	put[0] = slices.Concat(head, put[0])
	put[last] = slices.Concat(put[last], tail)
	b.lines = slices.Replace(b.lines, from.line, to.line+1, put...)
	return end
}

// removeLines takes out lines [from, to). There is always one line left.
func (b *buffer) removeLines(from, to int) {
	b.lines = slices.Delete(b.lines, from, to)
	if len(b.lines) == 0 {
		b.lines = [][]rune{nil}
	}
}
