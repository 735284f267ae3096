package edit

import (
	"slices"
	"unicode"
)

func (e *Editor) pressNormal(k Key) {
	e.keys = append(e.keys, k)
	c, p := parse(e.keys)
	switch p {
	case incomplete:
		return
	case invalid:
		if len(e.keys) == 1 && k == ctrl('c') {
			e.say("Type  :q!  and press <Enter> to abandon all changes and exit vi")
		}
		e.keys = nil
		return
	}
	e.keys = nil
	if c.op != 0 {
		e.operate(c)
		return
	}
	if s, ok, known := e.motion(c); known {
		if ok {
			e.follow(c, s)
		}
		return
	}
	e.execute(c)
}

// follow moves the cursor along a motion.
func (e *Editor) follow(c command, s span) {
	e.cursor = s.to
	e.clamp()
	switch c.key {
	case 'j', 'k', Up, Down, ctrl('n'), ctrl('p'), ctrl('j'): // the wanted column stays
	case '$', End:
		e.want = toEnd
	default:
		e.want = column(e.current(), e.cursor.col)
	}
}

// operate applies d, c, y, < or > to a motion or to whole lines.
func (e *Editor) operate(c command) {
	if c.key == c.op {
		last := min(e.cursor.line+c.times()-1, len(e.lines)-1)
		e.applyLines(c.op, e.cursor.line, last, e.cursor.line)
		return
	}
	if c.op == 'c' && (c.key == 'w' || c.key == 'W') && e.cursor.col < len(e.current()) && !isBlank(e.current()[e.cursor.col]) {
		e.applySpan('c', span{to: e.wordEnd(c), inclusive: true})
		return
	}
	s, ok, known := e.motion(c)
	if !ok || !known {
		return
	}
	if s.lines || c.op == '<' || c.op == '>' {
		e.applyLines(c.op, min(e.cursor.line, s.to.line), max(e.cursor.line, s.to.line), s.to.line)
		return
	}
	if (c.key == 'w' || c.key == 'W') && s.to.line > e.cursor.line && s.to.col <= firstNonBlank(e.lines[s.to.line]) {
		s.to = pos{s.to.line - 1, len(e.lines[s.to.line-1])} // the last word of a line ends with it
	}
	e.applySpan(c.op, s)
}

// wordEnd is where cw ends: it is ce, but the end of a word counts when the cursor stands on it already.
func (e *Editor) wordEnd(c command) pos {
	key := c.key + 'e' - 'w'
	p, line := e.cursor, e.current()
	n := c.times()
	if p.col+1 == len(line) || class(line[p.col], key < 'a') != class(line[p.col+1], key < 'a') {
		n--
	}
	for range n {
		p = e.word(p, key)
	}
	return p
}

// applySpan applies an operator to characters.
func (e *Editor) applySpan(op Key, s span) {
	from, to := e.cursor, s.to
	if to.before(from) {
		from, to = to, from
	}
	switch {
	case s.inclusive:
		to.col = min(to.col+1, len(e.lines[to.line]))
	case to.col == 0 && to.line > from.line && from.col <= leading(e.lines[from.line]): // vim's "exclusive-linewise"
		e.applyLines(op, from.line, to.line-1, from.line)
		return
	case to.col == 0 && to.line > from.line:
		to = pos{to.line - 1, len(e.lines[to.line-1])}
	}
	if from == to && op != 'c' {
		return
	}
	if from != to {
		e.register, e.linewise = e.text(from, to), false
	}
	e.cursor = from
	if op == 'y' {
		e.moveTo(from)
		return
	}
	e.change(from)
	e.replace(from, to, nil)
	if op == 'c' {
		e.insertMode(inserting, 1)
		return
	}
	e.moveTo(from)
}

// applyLines applies an operator to lines; cursor is where the motion ended.
func (e *Editor) applyLines(op Key, from, to, cursor int) {
	n := to - from + 1
	if op == '<' || op == '>' {
		e.change(e.cursor)
		for i := from; i <= to; i++ {
			e.lines[i] = e.shifted(e.lines[i], op == '>')
		}
		e.moveTo(pos{from, firstNonBlank(e.lines[from])})
		if n > 2 {
			e.say("%d lines %ced 1 time", n, op)
		}
		return
	}
	e.register, e.linewise = slices.Clone(e.lines[from:to+1]), true
	switch op {
	case 'y':
		if n > 2 {
			e.say("%d lines yanked", n)
		}
		e.cursor.line = min(from, cursor)
	case 'c':
		e.change(e.cursor)
		indent := []rune(nil)
		if e.indent {
			indent = e.lines[from][:leading(e.lines[from])]
		}
		e.lines = slices.Replace(e.lines, from, to+1, slices.Clone(indent))
		e.cursor = pos{from, len(indent)}
		e.insertMode(inserting, 1)
	case 'd':
		e.change(e.cursor)
		e.removeLines(from, to+1)
		at := min(from, len(e.lines)-1)
		e.moveTo(pos{at, firstNonBlank(e.lines[at])})
		if n > 2 {
			e.say("%d fewer lines", n)
		}
	}
}

func leading(line []rune) int {
	n := 0
	for n < len(line) && isBlank(line[n]) {
		n++
	}
	return n
}

// shifted is a line moved by one shiftwidth. An empty line stays.
func (e *Editor) shifted(line []rune, right bool) []rune {
	n := leading(line)
	if len(line) == 0 {
		return line
	}
	width := column(line, n)
	if right {
		width += e.shift
	} else {
		width = max(width-e.shift, 0)
	}
	return append(e.blanks(width), line[n:]...)
}

// blanks is white space of a width, in tabs and spaces or in spaces alone.
func (e *Editor) blanks(width int) []rune {
	var l []rune
	for ; !e.expand && width >= tabStop; width -= tabStop {
		l = append(l, '\t')
	}
	for range width {
		l = append(l, ' ')
	}
	return l
}

// execute does what is neither an operator nor a motion.
func (e *Editor) execute(c command) {
	line := e.current()
	e.once = e.once || slices.Contains([]Key{'u', ctrl('r'), '.', ':'}, c.key)
	switch c.key {
	case 'i', Insert, 'a', 'I', 'A', 'o', 'O', 'R', 's', 'S', 'C':
		e.startInsert(c)
	case 'x', Delete:
		e.applySpan('d', span{to: pos{e.cursor.line, min(e.cursor.col+c.times(), len(line))}})
	case 'X':
		e.applySpan('d', span{to: pos{e.cursor.line, max(e.cursor.col-c.times(), 0)}})
	case 'D':
		e.applySpan('d', span{to: pos{e.cursor.line, len(line)}})
	case 'Y':
		e.operate(command{count: c.count, op: 'y', key: 'y'})
	case 'p', 'P':
		e.put(c)
	case 'r':
		e.replaceChars(c)
	case '~':
		e.swapCase(c.times())
	case 'J':
		e.join(max(c.times()-1, 1))
	case 'u', ctrl('r'):
		e.undoRedo(c)
	case '.':
		e.repeat(c)
	case '/', '?', ':':
		e.startLine(c)
	case '*', '#':
		e.searchWord(c)
	case 'Z':
		switch c.after {
		case 'Z':
			e.ex("x")
		case 'Q':
			e.ex("q!")
		}
	case 'z':
		e.scrollTo(c.after)
	case ctrl('f'), PageDown, ctrl('b'), PageUp, ctrl('d'), ctrl('u'), ctrl('e'), ctrl('y'):
		e.page(c)
	case ctrl('g'):
		e.say("%q %s%d lines --%d%%--", e.name, map[bool]string{true: "[Modified] "}[e.modified()], len(e.lines), (e.cursor.line+1)*100/len(e.lines))
	case ctrl('z'):
		e.suspend = true
	}
}

// maxPut bounds what p with a count inserts, in characters.
const maxPut = maxFile / 4

// put inserts the register after (p) or before (P) the cursor.
func (e *Editor) put(c command) {
	size := len(e.register)
	for _, l := range e.register {
		size += len(l)
	}
	if size == 0 {
		return
	}
	if size*c.times() > maxPut {
		e.say("E342: Out of memory!")
		return
	}
	e.change(e.cursor)
	var what [][]rune
	if e.linewise {
		for range c.times() {
			what = append(what, e.register...)
		}
		at := e.cursor.line
		if c.key == 'p' {
			at++
		}
		e.lines = slices.Insert(e.lines, at, what...)
		e.moveTo(pos{at, firstNonBlank(e.lines[at])})
		if len(what) > 2 {
			e.say("%d more lines", len(what))
		}
		return
	}
	at := e.cursor
	if c.key == 'p' && len(e.current()) > 0 {
		at.col++
	}
	end := at
	for range c.times() {
		end = e.replace(end, end, e.register)
	}
	if len(e.register) > 1 {
		e.moveTo(at)
		return
	}
	e.moveTo(pos{end.line, end.col - 1})
}

// replaceChars is r: as many characters as counted become one other.
func (e *Editor) replaceChars(c command) {
	line := e.current()
	if c.arg == esc || c.arg == ctrl('c') || c.arg < 0 || e.cursor.col+c.times() > len(line) {
		return
	}
	e.change(e.cursor)
	to := pos{e.cursor.line, e.cursor.col + c.times()}
	if c.arg == enter {
		e.replace(e.cursor, to, [][]rune{nil, nil})
		e.moveTo(pos{e.cursor.line + 1, 0})
		return
	}
	e.replace(e.cursor, to, [][]rune{slices.Repeat([]rune{rune(c.arg)}, c.times())})
	e.moveTo(pos{to.line, to.col - 1})
}

func (e *Editor) swapCase(n int) {
	line := e.current()
	to := min(e.cursor.col+n, len(line))
	if len(line) == 0 {
		return
	}
	e.change(e.cursor)
	line = slices.Clone(line)
	for i := e.cursor.col; i < to; i++ {
		if unicode.IsUpper(line[i]) {
			line[i] = unicode.ToLower(line[i])
		} else {
			line[i] = unicode.ToUpper(line[i])
		}
	}
	e.lines[e.cursor.line] = line
	e.moveTo(pos{e.cursor.line, to})
}

// join appends the next n lines to the cursor's, with a space between.
func (e *Editor) join(n int) {
	for range n {
		l := e.cursor.line
		if l == len(e.lines)-1 {
			return
		}
		e.change(e.cursor)
		head, tail := e.lines[l], e.lines[l+1][leading(e.lines[l+1]):]
		at := len(head)
		glue := []rune(" ")
		if len(head) == 0 || len(tail) == 0 || isBlank(head[at-1]) || tail[0] == ')' {
			glue = nil
		}
		e.lines[l] = slices.Concat(head, glue, tail)
		e.removeLines(l+1, l+2)
		e.moveTo(pos{l, at})
	}
}

func (e *Editor) undoRedo(c command) {
	from, to, none := &e.undo, &e.redo, "Already at oldest change"
	if c.key != 'u' {
		from, to, none = &e.redo, &e.undo, "Already at newest change"
	}
	before := len(e.lines)
	for range c.times() {
		p, ok := e.back(from, to, e.cursor)
		if !ok {
			e.say("%s", none)
			return
		}
		e.moveTo(p)
	}
	switch n := len(e.lines) - before; {
	case n == 1:
		e.say("1 more line")
	case n > 1:
		e.say("%d more lines", n)
	case n == -1:
		e.say("1 line less")
	case n < -1:
		e.say("%d fewer lines", -n)
	default:
		e.say("1 change")
	}
}

// repeat does the last change again, with another count if one is given.
func (e *Editor) repeat(c command) {
	keys := e.lastChange
	if len(keys) == 0 || e.replaying {
		return
	}
	if c.count > 0 {
		i := 0
		for i < len(keys) && keys[i] >= '0' && keys[i] <= '9' {
			i++
		}
		var digits []Key
		for n := c.count; n > 0; n /= 10 {
			digits = append([]Key{Key('0' + n%10)}, digits...)
		}
		keys = append(digits, keys[i:]...)
		e.lastChange = keys
	}
	e.replaying = true
	for _, k := range keys {
		e.Press(k)
	}
	e.replaying = false
}
