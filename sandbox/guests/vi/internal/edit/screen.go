package edit

import (
	"fmt"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/sys/width"
)

const tabStop = 8

// Screen is what is to be seen: rows of text without trailing blanks, and where the cursor stands, from 0.
type Screen struct {
	Rows     []string
	Row, Col int
}

// shown is how a character appears at a column, and how wide.
func shown(r rune, at int) (string, int) {
	switch {
	case r == '\t':
		n := tabStop - at%tabStop
		return strings.Repeat(" ", n), n
	case r < ' ':
		return "^" + string(r+'@'), 2
	case r == 0x7f:
		return "^?", 2
	case r >= strange && r < strange+256:
		return fmt.Sprintf("<%02x>", r-strange), 4
	case r >= 0x80 && r < 0xa0:
		return fmt.Sprintf("<%02x>", r), 4
	}
	return string(r), width.Of(r)
}

// column is the display column at which a character of a line begins.
func column(line []rune, col int) (at int) {
	for _, r := range line[:min(col, len(line))] {
		_, n := shown(r, at)
		at += n
	}
	return at
}

// columnAt is the character of a line that covers a display column, its last one at most.
func columnAt(line []rune, want int) int {
	at := 0
	for i, r := range line {
		_, n := shown(r, at)
		if at+n > want {
			return i
		}
		at += n
	}
	return max(len(line), 0)
}

// wrap breaks a line into rows of a width. For the character col, row and x are where it begins.
func wrap(line []rune, cols, col int) (rows []string, row, x int) {
	var b strings.Builder
	used, at := 0, 0
	for i, r := range line {
		s, n := shown(r, at)
		if used+n > cols && used > 0 {
			rows = append(rows, b.String())
			b.Reset()
			used = 0
		}
		if i == col {
			row, x = len(rows), used
			if r == '\t' { // as vi does, on its last column
				x += n - 1
			}
		}
		if n > cols {
			s, n = "", 0
		}
		b.WriteString(s)
		used, at = used+n, at+n
	}
	if col >= len(line) {
		if used == cols {
			rows = append(rows, b.String())
			b.Reset()
			used = 0
		}
		row, x = len(rows), used
	}
	return append(rows, b.String()), row, x
}

// margin is the width of line numbers.
func (e *Editor) margin() int {
	if !e.number {
		return 0
	}
	return max(len(fmt.Sprint(len(e.lines))), 3) + 1
}

// height is how many rows a line takes.
func (e *Editor) height(l int) int {
	col := -1
	if l == e.cursor.line {
		col = e.cursor.col
	}
	rows, _, _ := wrap(e.lines[l], max(e.cols-e.margin(), 1), col)
	return len(rows)
}

// bottom is the last line that is shown whole.
func (e *Editor) bottom() int {
	used := 0
	for l := e.top; l < len(e.lines); l++ {
		if used += e.height(l); used > e.rows-1 {
			return max(l-1, e.top)
		}
	}
	return len(e.lines) - 1
}

// scroll moves the view so that the cursor is seen.
func (e *Editor) scroll() {
	e.top = min(e.top, len(e.lines)-1)
	text := e.rows - 1
	if d := e.cursor.line - e.top; d < -text || d > 2*text { // far away: into the middle
		e.top = max(e.cursor.line-text/2, 0)
	}
	e.top = min(e.top, e.cursor.line)
	used := 0
	for l := e.top; l <= e.cursor.line; l++ {
		used += e.height(l)
	}
	for used > text && e.top < e.cursor.line {
		used -= e.height(e.top)
		e.top++
	}
}

// Screen draws.
func (e *Editor) Screen() Screen {
	e.scroll()
	s := Screen{}
	text := e.rows - 1
	margin := e.margin()
	cols := max(e.cols-margin, 1)
	for l := e.top; l < len(e.lines) && len(s.Rows) < text; l++ {
		col := -1
		if l == e.cursor.line {
			col = e.cursor.col
		}
		rows, row, x := wrap(e.lines[l], cols, col)
		skip := 0
		if len(s.Rows)+len(rows) > text {
			if l != e.cursor.line { // a line that does not fit is not begun
				for len(s.Rows) < text {
					s.Rows = append(s.Rows, "@")
				}
				break
			}
			skip = max(row-text+1, 0)
		}
		if l == e.cursor.line {
			s.Row, s.Col = len(s.Rows)+row-skip, margin+x
		}
		for i, r := range rows[skip:] {
			if margin > 0 {
				number := strings.Repeat(" ", margin)
				if i+skip == 0 {
					number = fmt.Sprintf("%*d ", margin-1, l+1)
				}
				r = number + r
			}
			if len(s.Rows) < text {
				s.Rows = append(s.Rows, strings.TrimRight(r, " "))
			}
		}
	}
	for len(s.Rows) < text {
		s.Rows = append(s.Rows, "~")
	}
	return e.drawStatus(s)
}

// drawStatus adds the last row.
func (e *Editor) drawStatus(s Screen) Screen {
	switch e.mode {
	case colon, search:
		prefix := ":"
		if e.mode == search {
			prefix = map[bool]string{true: "/", false: "?"}[e.direction > 0]
		}
		line := tail(prefix+string(e.line), e.cols-1)
		s.Row, s.Col = e.rows-1, cells(line)
		s.Rows = append(s.Rows, strings.TrimRight(line, " "))
		return s
	case inserting:
		s.Rows = append(s.Rows, head("-- INSERT --", e.cols-1))
		return s
	case replacing:
		s.Rows = append(s.Rows, head("-- REPLACE --", e.cols-1))
		return s
	}
	s.Rows = append(s.Rows, strings.TrimRight(head(printable(e.message), e.cols-1), " "))
	return s
}

// printable shows what a name or a pattern may hold: no byte of it reaches the terminal as a control.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		s, _ := shown(r, 0)
		if r == '\t' {
			s = " "
		}
		b.WriteString(s)
	}
	return b.String()
}

func cells(text string) (n int) {
	for _, r := range text {
		n += width.Of(r)
	}
	return n
}

// head is as much of the beginning of a text as fits.
func head(text string, cols int) string {
	n := 0
	for i, r := range text {
		if n += width.Of(r); n > cols {
			return text[:i]
		}
	}
	return text
}

// tail is as much of the end of a text as fits.
func tail(text string, cols int) string {
	r := []rune(text)
	for len(r) > 0 && cells(string(r)) > cols {
		r = r[1:]
	}
	return string(r)
}

// page moves by screens and halves of them.
func (e *Editor) page(c command) {
	text := e.rows - 1
	n := map[Key]int{ctrl('f'): text - 2, PageDown: text - 2, ctrl('b'): 2 - text, PageUp: 2 - text, ctrl('d'): text / 2, ctrl('u'): -text / 2, ctrl('e'): 1, ctrl('y'): -1}[c.key]
	if text <= 2 && n == 0 {
		n = 1
	}
	last := len(e.lines) - 1
	e.top = min(max(e.top+n*c.times(), 0), last)
	line := e.cursor.line
	switch c.key {
	case ctrl('e'), ctrl('y'):
	case ctrl('d'), ctrl('u'):
		line += n * c.times()
	default:
		line = e.top
		if n < 0 {
			line = e.top + text - 1
		}
	}
	line = min(max(line, e.top), min(e.top+text-1, last))
	e.cursor = pos{line, columnAt(e.lines[line], e.want)}
	e.clamp()
}

// scrollTo is z: the cursor's line goes to the top, the middle or the bottom.
func (e *Editor) scrollTo(where Key) {
	text := e.rows - 1
	switch where {
	case enter, 't':
		e.top = e.cursor.line
	case 'z', '.':
		e.top = max(e.cursor.line-text/2, 0)
	case 'b', '-':
		e.top = max(e.cursor.line-text+1, 0)
	}
}

// Paint is the bytes that turn a screen into another. Rows that stay are not sent.
func Paint(old *Screen, s Screen) []byte {
	var b []byte
	for i, r := range s.Rows {
		if old != nil && i < len(old.Rows) && old.Rows[i] == r {
			continue
		}
		b = fmt.Appendf(b, "\x1b[%d;1H%s\x1b[K", i+1, r)
	}
	if len(b) > 0 {
		b = append([]byte("\x1b[?25l"), b...)
		b = append(b, "\x1b[?25h"...)
	}
	return fmt.Appendf(b, "\x1b[%d;%dH", s.Row+1, s.Col+1)
}
