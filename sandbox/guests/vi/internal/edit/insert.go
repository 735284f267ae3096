package edit

import "slices"

// startInsert is what leads to insert and Replace mode.
func (e *Editor) startInsert(c command) {
	l := e.cursor.line
	line := e.current()
	m := inserting
	switch c.key {
	case 'a':
		e.cursor.col = min(e.cursor.col+1, len(line))
	case 'I':
		e.cursor.col = leading(line)
	case 'A':
		e.cursor.col = len(line)
	case 'o', 'O':
		e.change(e.cursor)
		var indent []rune
		if e.indent {
			indent = slices.Clone(line[:leading(line)])
		}
		if c.key == 'o' {
			l++
		}
		e.lines = slices.Insert(e.lines, l, indent)
		e.cursor = pos{l, len(indent)}
	case 's':
		if len(line) > 0 {
			e.applySpan('c', span{to: pos{l, min(e.cursor.col+c.times(), len(line))}})
		}
		c.count = 1
	case 'S':
		e.operate(command{count: c.count, op: 'c', key: 'c'})
		return
	case 'C':
		e.applySpan('c', span{to: pos{l, len(line)}})
		return
	case 'R':
		m = replacing
	}
	e.insertMode(m, c.times())
}

func (e *Editor) insertMode(m mode, times int) {
	e.mode, e.insertWith, e.inserted = m, times, nil
	e.insertAt = e.cursor
	e.overtyped = [][]rune{slices.Clone(e.current())}
}

// maxRepeated bounds what a count on an insertion makes, in keys.
const maxRepeated = 1 << 14

func (e *Editor) pressInsert(k Key) {
	switch k {
	case esc, ctrl('c'):
		e.leaveInsert()
		return
	case Up, Down, Left, Right, Home, End, PageUp, PageDown:
		e.insertWith = 1
		e.insertMove(k)
		return
	}
	e.inserted = append(e.inserted, k)
	e.typeKey(k)
}

func (e *Editor) leaveInsert() {
	keys := e.inserted
	if n := (e.insertWith - 1) * len(keys); n > 0 && n <= maxRepeated {
		for range e.insertWith - 1 {
			for _, k := range keys {
				e.typeKey(k)
			}
		}
	}
	e.mode = normal
	e.moveTo(pos{e.cursor.line, e.cursor.col - 1})
}

func (e *Editor) insertMove(k Key) {
	switch k {
	case Right:
		e.cursor.col++
		e.clamp()
		e.want = column(e.current(), e.cursor.col)
		return
	case End:
		e.cursor.col = len(e.current())
		e.want = toEnd
		return
	case PageUp, PageDown:
		e.page(command{key: k})
		return
	}
	if s, ok, _ := e.motion(command{key: k}); ok {
		e.follow(command{key: k}, s)
	}
}

func (e *Editor) typeKey(k Key) {
	switch k {
	case enter, ctrl('j'):
		e.change(e.cursor)
		var indent []rune
		if e.indent {
			indent = e.current()[:min(leading(e.current()), e.cursor.col)]
		}
		e.cursor = e.replace(e.cursor, e.cursor, [][]rune{nil, slices.Clone(indent)})
	case backspace, ctrl('h'):
		e.erase(1)
	case ctrl('w'):
		p := e.word(e.cursor, 'b')
		if p.line == e.cursor.line {
			e.erase(e.cursor.col - p.col)
		} else {
			e.erase(max(e.cursor.col, 1))
		}
	case ctrl('u'):
		e.erase(e.cursor.col)
	case Delete:
		if e.cursor.col < len(e.current()) {
			e.change(e.cursor)
			e.replace(e.cursor, pos{e.cursor.line, e.cursor.col + 1}, nil)
		}
	case '\t':
		e.insertRunes([]rune{'\t'})
	case ctrl('t'), ctrl('d'):
		e.change(e.cursor)
		before := len(e.current())
		e.lines[e.cursor.line] = e.shifted(e.current(), k == ctrl('t'))
		e.cursor.col = max(e.cursor.col+len(e.current())-before, 0)
	default:
		if k >= ' ' {
			e.insertRunes([]rune{rune(k)})
		}
	}
	e.clamp()
	e.want = column(e.current(), e.cursor.col)
}

func (e *Editor) insertRunes(r []rune) {
	if r[0] == '\t' && e.expand {
		at := column(e.current(), e.cursor.col)
		r = slices.Repeat([]rune{' '}, e.tab-at%e.tab)
	}
	e.change(e.cursor)
	to := e.cursor
	if e.mode == replacing && to.col < len(e.current()) {
		to.col++
	}
	e.cursor = e.replace(e.cursor, to, [][]rune{r})
}

// erase takes n characters before the cursor; at the beginning of a line, the line break. In Replace mode what stood there comes back.
func (e *Editor) erase(n int) {
	if e.mode == replacing {
		if e.cursor.col == 0 || e.cursor.line != e.insertAt.line || e.cursor.col <= e.insertAt.col {
			return
		}
		e.change(e.cursor)
		at := e.cursor.col - 1
		old := e.overtyped[0]
		var back [][]rune
		if at < len(old) {
			back = [][]rune{{old[at]}}
		}
		e.replace(pos{e.cursor.line, at}, e.cursor, back)
		e.cursor.col = at
		return
	}
	from := pos{e.cursor.line, e.cursor.col - n}
	if e.cursor.col == 0 {
		if e.cursor.line == 0 {
			return
		}
		from = pos{e.cursor.line - 1, len(e.lines[e.cursor.line-1])}
	}
	if from == e.cursor {
		return
	}
	e.change(e.cursor)
	e.replace(from, e.cursor, nil)
	e.cursor = from
}
