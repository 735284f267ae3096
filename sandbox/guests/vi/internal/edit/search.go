package edit

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// compile turns a pattern as vi writes it (vim's "magic") into a regular expression: ( ) | + ? { are themselves unless escaped.
func compile(pattern string, fold bool) (*regexp.Regexp, error) {
	var b strings.Builder
	if fold {
		b.WriteString("(?i)")
	}
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case c == '\\' && i+1 < len(pattern):
			i++
			switch d := pattern[i]; d {
			case '(', ')', '|', '+', '?', '{', '}':
				b.WriteByte(d)
			case '=':
				b.WriteByte('?')
			case '<', '>':
				b.WriteString(`\b`)
			case 'c':
				return compile(pattern[:i-1]+pattern[i+1:], true)
			case 's', 'S', 'd', 'D', 'w', 'W', 't', 'n':
				b.WriteString(`\` + string(d))
			default:
				_, n := utf8.DecodeRuneInString(pattern[i:])
				b.WriteString(regexp.QuoteMeta(pattern[i : i+n]))
				i += n - 1
			}
		case strings.IndexByte("()|+?{}", c) >= 0, c == '*' && i == 0:
			b.WriteString(`\` + string(c))
		case c == '^' && i > 0 && !strings.HasSuffix(pattern[:i], `\|`) && !strings.HasSuffix(pattern[:i], `\(`),
			c == '$' && i < len(pattern)-1 && !strings.HasPrefix(pattern[i+1:], `\|`) && !strings.HasPrefix(pattern[i+1:], `\)`):
			b.WriteString(`\` + string(c))
		case c == '[':
			n := bracket(pattern[i:])
			if n == 0 {
				b.WriteString(`\[`)
				continue
			}
			b.WriteString(strings.ReplaceAll(pattern[i:i+n], "[:", "[[:"[1:]))
			i += n - 1
		default:
			b.WriteByte(c)
		}
	}
	return regexp.Compile(b.String())
}

// bracket is the length of the bracket expression at the beginning of s, 0 if it does not end.
func bracket(s string) int {
	i := 1
	if i < len(s) && s[i] == '^' {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == ']':
			return i + 1
		}
	}
	return 0
}

// runSearch looks for what was typed after / or ?; nothing means the last pattern.
func (e *Editor) runSearch(pattern string) {
	end := "/"
	if e.direction < 0 {
		end = "?"
	}
	pattern = strings.TrimSuffix(pattern, end)
	if pattern != "" {
		e.pattern = pattern
	}
	e.lastDir = e.direction
	if p, ok := e.seek(e.lastDir, 1); ok {
		e.moveTo(p)
	}
}

// searchWord looks for the word under or after the cursor.
func (e *Editor) searchWord(c command) {
	line := e.current()
	from := e.cursor.col
	for from < len(line) && !isWord(line[from]) {
		from++
	}
	for from > 0 && from < len(line) && isWord(line[from-1]) {
		from--
	}
	to := from
	for to < len(line) && isWord(line[to]) {
		to++
	}
	if from == to {
		e.say("E348: No string under cursor")
		return
	}
	e.pattern, e.lastDir = string(line[from:to]), 1
	if c.key == '#' {
		e.lastDir = -1
		e.cursor.col = from
	}
	if line[from] < unicode.MaxASCII {
		e.pattern = `\<` + e.pattern + `\>`
	}
	if p, ok := e.seek(e.lastDir, c.times()); ok {
		e.moveTo(p)
	}
}

// seek finds the n-th match of the last pattern from the cursor, around the end of the text.
func (e *Editor) seek(dir, n int) (pos, bool) {
	if e.pattern == "" {
		e.say("E35: No previous regular expression")
		return e.cursor, false
	}
	re, err := compile(e.pattern, false)
	if err != nil {
		e.say("E486: Pattern not found: %s", e.pattern)
		return e.cursor, false
	}
	p := e.cursor
	wrapped := false
	for range n {
		next, around, ok := e.nextMatch(re, p, dir)
		if !ok {
			e.say("E486: Pattern not found: %s", e.pattern)
			return e.cursor, false
		}
		p, wrapped = next, wrapped || around
	}
	e.say("%c%s", map[bool]rune{true: '/', false: '?'}[dir > 0], e.pattern)
	if wrapped {
		e.say("%s", map[bool]string{true: "search hit BOTTOM, continuing at TOP", false: "search hit TOP, continuing at BOTTOM"}[dir > 0])
	}
	return p, true
}

func (e *Editor) nextMatch(re *regexp.Regexp, from pos, dir int) (p pos, wrapped, ok bool) {
	for k := 0; k <= len(e.lines); k++ {
		l := from.line + dir*k
		if l < 0 || l >= len(e.lines) {
			wrapped = true
			l = (l%len(e.lines) + len(e.lines)) % len(e.lines)
		}
		cols := matches(re, e.lines[l])
		if dir < 0 {
			for i := len(cols) - 1; i >= 0; i-- {
				if k > 0 || cols[i] < from.col {
					return pos{l, cols[i]}, wrapped, true
				}
			}
			continue
		}
		for _, c := range cols {
			if k > 0 || c > from.col {
				return pos{l, c}, wrapped, true
			}
		}
	}
	return pos{}, false, false
}

// matches are the columns where a line matches.
func matches(re *regexp.Regexp, line []rune) (cols []int) {
	text := string(line)
	for _, m := range re.FindAllStringIndex(text, -1) {
		cols = append(cols, utf8.RuneCountInString(text[:m[0]]))
	}
	return cols
}
