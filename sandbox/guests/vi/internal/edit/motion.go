package edit

import (
	"math"
	"slices"
)

// command is a complete normal-mode command.
type command struct {
	count int // 0 is none given
	op    Key // d, c, y, <, >, or 0
	key   Key // what is done, or the motion that the operator takes; the operator itself for whole lines
	after Key // what follows g, z, Z
	arg   Key // what follows f, t, F, T, r
}

func (c command) times() int { return max(c.count, 1) }

type progress int

const (
	incomplete progress = iota
	complete
	invalid
)

const maxCount = 99999

// parse reads a command from the keys pressed so far.
func parse(keys []Key) (c command, p progress) {
	i := 0
	next := func() (Key, bool) {
		if i == len(keys) {
			return 0, false
		}
		i++
		return keys[i-1], true
	}
	number := func() int {
		n := 0
		for i < len(keys) && (keys[i] >= '1' && keys[i] <= '9' || n > 0 && keys[i] == '0') {
			n = min(n*10+int(keys[i]-'0'), maxCount)
			i++
		}
		return n
	}
	c.count = number()
	k, ok := next()
	if !ok {
		return c, incomplete
	}
	if k == '"' { // one register is enough for everybody
		if _, ok = next(); !ok {
			return c, incomplete
		}
		if k, ok = next(); !ok {
			return c, incomplete
		}
	}
	if slices.Contains([]Key{'d', 'c', 'y', '<', '>'}, k) {
		c.op = k
		if n := number(); n > 0 {
			c.count = min(max(c.count, 1)*n, maxCount)
		}
		if k, ok = next(); !ok {
			return c, incomplete
		}
	}
	c.key = k
	switch k {
	case 'g', 'z', 'Z':
		if c.after, ok = next(); !ok {
			return c, incomplete
		}
	case 'f', 't', 'F', 'T', 'r':
		if c.arg, ok = next(); !ok {
			return c, incomplete
		}
	case esc, ctrl('c'):
		return c, invalid
	}
	return c, complete
}

// span is where a motion leads and how an operator takes it.
type span struct {
	to        pos
	lines     bool // whole lines
	inclusive bool // the character at the end too
}

// motion finds where a command moves to. known says that it is a motion at all.
func (e *Editor) motion(c command) (s span, ok, known bool) {
	cur, line := e.cursor, e.current()
	last := len(e.lines) - 1
	vertical := func(n int) (span, bool, bool) {
		if n == cur.line {
			return span{to: cur, lines: true}, false, true
		}
		n = min(max(n, 0), last)
		return span{to: pos{n, columnAt(e.lines[n], e.want)}, lines: true}, true, true
	}
	to := func(col int, inclusive bool) (span, bool, bool) {
		return span{to: pos{cur.line, col}, inclusive: inclusive}, true, true
	}
	switch c.key {
	case 'h', Left, backspace, ctrl('h'):
		return span{to: pos{cur.line, max(cur.col-c.times(), 0)}}, cur.col > 0, true
	case 'l', Right, ' ':
		return span{to: pos{cur.line, min(cur.col+c.times(), len(line))}}, cur.col < len(line), true
	case 'j', Down, ctrl('n'), ctrl('j'):
		if cur.line == last {
			return span{}, false, true
		}
		return vertical(cur.line + c.times())
	case 'k', Up, ctrl('p'):
		if cur.line == 0 {
			return span{}, false, true
		}
		return vertical(cur.line - c.times())
	case enter, '+', '-':
		n := cur.line + c.times()
		if c.key == '-' {
			n = cur.line - c.times()
		}
		if n < 0 || n > last {
			return span{}, false, true
		}
		return span{to: pos{n, firstNonBlank(e.lines[n])}, lines: true}, true, true
	case '0', Home:
		return to(0, false)
	case '^':
		return to(firstNonBlank(line), false)
	case '$', End:
		n := min(cur.line+c.times()-1, last)
		return span{to: pos{n, max(len(e.lines[n])-1, 0)}, inclusive: len(e.lines[n]) > 0}, true, true
	case 'G':
		return e.lineMotion(c, last)
	case 'g':
		if c.after == 'g' {
			return e.lineMotion(c, 0)
		}
	case 'H', 'L', 'M':
		bottom := e.bottom()
		n := map[Key]int{'H': e.top + c.times() - 1, 'L': bottom - c.times() + 1, 'M': (e.top + bottom) / 2}[c.key]
		n = min(max(n, e.top), bottom)
		return span{to: pos{n, firstNonBlank(e.lines[n])}, lines: true}, true, true
	case 'w', 'W', 'b', 'B', 'e', 'E':
		p := cur
		for range c.times() {
			p = e.word(p, c.key)
		}
		return span{to: p, inclusive: c.key == 'e' || c.key == 'E'}, p != cur || c.op != 0, true
	case 'f', 't', 'F', 'T':
		e.lastFind = c
		return e.find(c, false)
	case ';', ',':
		f := e.lastFind
		f.count = c.count
		if c.key == ',' && f.key != 0 {
			f.key ^= 'a' ^ 'A'
		}
		return e.find(f, true)
	case '{', '}':
		return span{to: e.paragraph(c)}, true, true
	case '%':
		p, ok := e.matching()
		return span{to: p, inclusive: true}, ok, true
	case 'n', 'N':
		dir := e.lastDir
		if c.key == 'N' {
			dir = -dir
		}
		p, ok := e.seek(dir, c.times())
		return span{to: p}, ok, true
	}
	return span{}, false, false
}

func (e *Editor) lineMotion(c command, otherwise int) (span, bool, bool) {
	n := otherwise
	if c.count > 0 {
		n = min(c.count-1, len(e.lines)-1)
	}
	return span{to: pos{n, firstNonBlank(e.lines[n])}, lines: true}, true, true
}

func firstNonBlank(line []rune) int {
	for i, r := range line {
		if !isBlank(r) {
			return i
		}
	}
	return max(len(line)-1, 0)
}

// class is what words are made of: blanks 0, punctuation 1, letters 2, Hangul and other letters alike; for W, B and E only blanks differ.
func class(r rune, big bool) int {
	switch {
	case isBlank(r):
		return 0
	case big || isWord(r):
		return 2
	}
	return 1
}

// word moves by one word: forward to its beginning, back to its beginning, or to its end. An empty line is a word.
func (e *Editor) word(p pos, key Key) pos {
	big := key < 'a'
	at := func(p pos) int {
		if p.col >= len(e.lines[p.line]) {
			return 0
		}
		return class(e.lines[p.line][p.col], big)
	}
	switch key {
	case 'w', 'W':
		for c := at(p); c != 0 && at(p) == c; p.col++ {
		}
		for at(p) == 0 {
			if p.col < len(e.lines[p.line]) {
				p.col++
				continue
			}
			if p.line == len(e.lines)-1 {
				return pos{p.line, len(e.lines[p.line])}
			}
			if p = (pos{p.line + 1, 0}); len(e.lines[p.line]) == 0 {
				return p
			}
		}
		return p
	case 'b', 'B':
		for {
			if p.col == 0 {
				if p.line == 0 {
					return p
				}
				if p = (pos{p.line - 1, len(e.lines[p.line-1])}); p.col == 0 {
					return p
				}
			}
			if p.col--; at(p) != 0 {
				break
			}
		}
		for p.col > 0 && at(pos{p.line, p.col - 1}) == at(p) {
			p.col--
		}
		return p
	}
	for first := true; first || at(p) == 0; first = false {
		if p.col++; p.col >= len(e.lines[p.line]) {
			if p.line == len(e.lines)-1 {
				return pos{p.line, max(len(e.lines[p.line])-1, 0)}
			}
			p = pos{p.line + 1, -1}
			if len(e.lines[p.line]) > 0 {
				p.col = 0
			} else {
				p.col = 0
				continue
			}
		}
	}
	for p.col+1 < len(e.lines[p.line]) && at(pos{p.line, p.col + 1}) == at(p) {
		p.col++
	}
	return p
}

// find looks for a character in the line. Again after t, the neighbour that it stands before already does not count.
func (e *Editor) find(c command, again bool) (span, bool, bool) {
	line, col := e.current(), e.cursor.col
	forward := c.key == 'f' || c.key == 't'
	step := map[bool]int{true: 1, false: -1}[forward]
	i := col
	if next := i + step; again && (c.key == 't' || c.key == 'T') && c.count <= 1 && next >= 0 && next < len(line) && Key(line[next]) == c.arg {
		i = next
	}
	for n := c.times(); n > 0; n-- {
		for i += step; i >= 0 && i < len(line) && Key(line[i]) != c.arg; i += step {
		}
		if i < 0 || i >= len(line) {
			return span{}, false, true
		}
	}
	if c.key == 't' || c.key == 'T' {
		i -= step
	}
	return span{to: pos{e.cursor.line, i}, inclusive: forward}, true, true
}

// paragraph finds the next or the last empty line.
func (e *Editor) paragraph(c command) pos {
	step := map[Key]int{'}': 1, '{': -1}[c.key]
	n := e.cursor.line
	for range c.times() {
		for n += step; n > 0 && n < len(e.lines)-1 && len(e.lines[n]) > 0; n += step {
		}
	}
	n = min(max(n, 0), len(e.lines)-1)
	if c.key == '}' && len(e.lines[n]) > 0 {
		return pos{n, len(e.lines[n])}
	}
	return pos{n, 0}
}

// matching finds the bracket that belongs to the first one at or after the cursor.
func (e *Editor) matching() (pos, bool) {
	const brackets = "()[]{}"
	p := e.cursor
	line := e.current()
	which := -1
	for ; p.col < len(line); p.col++ {
		if which = slices.Index([]rune(brackets), line[p.col]); which >= 0 {
			break
		}
	}
	if which < 0 {
		return p, false
	}
	same, other := rune(brackets[which]), rune(brackets[which^1])
	step := 1 - 2*(which&1)
	depth := 0
	for p.line >= 0 && p.line < len(e.lines) {
		line := e.lines[p.line]
		for ; p.col >= 0 && p.col < len(line); p.col += step {
			switch line[p.col] {
			case same:
				depth++
			case other:
				if depth--; depth == 0 {
					return p, true
				}
			}
		}
		if p.line += step; p.line >= 0 && p.line < len(e.lines) {
			p.col = map[bool]int{true: 0, false: len(e.lines[p.line]) - 1}[step > 0]
		}
	}
	return p, false
}

// toEnd is the wanted column of one who went to the end of a line.
const toEnd = math.MaxInt
