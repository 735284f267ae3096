package regex

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// translator rewrites a POSIX pattern in the syntax of Go's regexp.
type translator struct {
	src      string
	pos      int
	extended bool
	out      strings.Builder
	depth    int
	groups   int
	closed   []bool // by group number
	open     []int  // numbers of open groups
	backref  bool
	atom     bool // something stands before, that a repetition applies to
	atomAt   int  // where it begins in out
	starts   []int
}

func (t *translator) run() (string, error) {
	t.closed = []bool{true}
	for t.pos < len(t.src) {
		if err := t.step(); err != nil {
			return "", err
		}
	}
	if t.depth > 0 {
		return "", errParen
	}
	return t.out.String(), nil
}

// special says whether c has its special meaning here: in a basic pattern these characters need a backslash.
func (t *translator) step() error {
	c := t.src[t.pos]
	t.pos++
	switch c {
	case '\\':
		if t.pos == len(t.src) {
			return errTrailing
		}
		e := t.src[t.pos]
		t.pos++
		return t.escaped(e)
	case '[':
		return t.bracket()
	case '.':
		t.put(".")
	case '*':
		if !t.atom {
			if t.extended {
				return nil // GNU: a star at the start of an extended pattern matches nothing more
			}
			t.put(`\*`)
			return nil
		}
		t.repeat("*")
	case '^':
		if t.extended || t.atStart() {
			t.out.WriteString("^")
			t.atom = false
			return nil
		}
		t.put(`\^`)
	case '$':
		if t.extended || t.atEnd() {
			t.out.WriteString("$")
			t.atom = false
			return nil
		}
		t.put(`\$`)
	case '(', ')', '{', '|', '+', '?':
		if t.extended {
			return t.operator(c)
		}
		t.put(regexp.QuoteMeta(string(c)))
	default:
		t.pos--
		_, n := utf8.DecodeRuneInString(t.src[t.pos:])
		t.put(regexp.QuoteMeta(t.src[t.pos : t.pos+n]))
		t.pos += n
	}
	return nil
}

func (t *translator) put(s string) {
	t.atomAt = t.out.Len()
	t.out.WriteString(s)
	t.atom = true
}

func (t *translator) atStart() bool {
	before := t.src[:t.pos-1]
	return before == "" || strings.HasSuffix(before, `\(`) || strings.HasSuffix(before, `\|`) || strings.HasSuffix(before, "\n")
}

func (t *translator) atEnd() bool {
	rest := t.src[t.pos:]
	return rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`) || strings.HasPrefix(rest, "\n")
}

// repeat adds a repetition to the last atom. Go refuses a second one, so the atom is grouped first.
func (t *translator) repeat(op string) {
	s := t.out.String()
	t.out.Reset()
	t.out.WriteString(s[:t.atomAt] + "(?:" + s[t.atomAt:] + ")" + op)
}

func (t *translator) operator(c byte) error {
	switch c {
	case '(':
		t.groups++
		t.open = append(t.open, t.groups)
		t.closed = append(t.closed, false)
		t.starts = append(t.starts, t.out.Len())
		t.depth++
		t.out.WriteString("(")
		t.atom = false
	case ')':
		if t.depth == 0 {
			return errClose
		}
		t.depth--
		t.out.WriteString(")")
		t.closed[t.open[t.depth]] = true
		t.atomAt = t.starts[t.depth]
		t.open, t.starts = t.open[:t.depth], t.starts[:t.depth]
		t.atom = true
	case '|':
		t.out.WriteString("|")
		t.atom = false
	case '+', '?':
		if !t.atom {
			if t.extended {
				return nil
			}
			t.put(`\` + string(c))
			return nil
		}
		t.repeat(string(c))
	case '{':
		return t.interval()
	}
	return nil
}

func (t *translator) interval() error {
	end := `\}`
	if t.extended {
		end = "}"
	}
	body, rest, ok := strings.Cut(t.src[t.pos:], end)
	lo, hi, comma := strings.Cut(body, ",")
	valid := ok && (lo == "" || isNumber(lo)) && (hi == "" || isNumber(hi)) && (lo != "" || comma)
	if !valid {
		if t.extended {
			t.put(`\{`)
			return nil
		}
		if !ok {
			return errBrace
		}
		return errInterval
	}
	if !t.atom {
		return errRepeat
	}
	if lo == "" {
		lo = "0"
	}
	l, _ := strconv.Atoi(lo)
	h, _ := strconv.Atoi(hi)
	if hi != "" && h < l {
		return errInterval
	}
	if l > 1000 || h > 1000 {
		return errTooBig
	}
	t.pos = len(t.src) - len(rest)
	op := "{" + lo
	if comma {
		op += "," + hi
	}
	t.repeat(op + "}")
	return nil
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) < 6
}

func (t *translator) escaped(e byte) error {
	switch e {
	case '(', ')', '{', '|', '+', '?':
		if !t.extended {
			return t.operator(e)
		}
		t.put(`\` + string(e))
	case '}':
		t.put(`\}`)
	case 'w', 'W', 's', 'S':
		t.put(`\` + string(e))
	case 'b', 'B':
		t.out.WriteString(`\` + string(e))
		t.atom = false
	case '<', '>':
		t.out.WriteString(`\b`)
		t.atom = false
	case '`':
		t.out.WriteString(`\A`)
		t.atom = false
	case '\'':
		t.out.WriteString(`\z`)
		t.atom = false
	case 'n':
		t.put(`\n`)
	case 't':
		t.put(`\t`)
	case '1', '2', '3', '4', '5', '6', '7', '8', '9':
		n := int(e - '0')
		if n >= len(t.closed) || !t.closed[n] {
			return errBackref
		}
		t.backref = true
		t.put(fmt.Sprintf(`(?:\%d)`, n))
	default:
		t.pos--
		_, n := utf8.DecodeRuneInString(t.src[t.pos:])
		t.put(regexp.QuoteMeta(t.src[t.pos : t.pos+n]))
		t.pos += n
	}
	return nil
}

// bracket translates a bracket expression; pos is behind its '['.
func (t *translator) bracket() error {
	var b strings.Builder
	b.WriteString("[")
	s := t.src
	if t.pos < len(s) && s[t.pos] == '^' {
		b.WriteString("^")
		t.pos++
	}
	first := true
	for {
		if t.pos >= len(s) {
			return errBracket
		}
		if s[t.pos] == ']' && !first {
			t.pos++
			break
		}
		first = false
		if strings.HasPrefix(s[t.pos:], "[:") {
			name, _, ok := strings.Cut(s[t.pos+2:], ":]")
			if !ok {
				return errBracket
			}
			if !knownClass(name) {
				return errClass
			}
			b.WriteString(classOf(name))
			t.pos += len(name) + 4
			continue
		}
		lo, err := t.element()
		if err != nil {
			return err
		}
		if t.pos+1 < len(s) && s[t.pos] == '-' && s[t.pos+1] != ']' {
			t.pos++
			hi, err := t.element()
			if err != nil {
				return err
			}
			if hi < lo {
				return errRange
			}
			fmt.Fprintf(&b, `\x{%x}-\x{%x}`, lo, hi)
			continue
		}
		fmt.Fprintf(&b, `\x{%x}`, lo)
	}
	b.WriteString("]")
	t.put(b.String())
	return nil
}

// element reads one character of a bracket expression, also as [.x.] or [=x=].
func (t *translator) element() (rune, error) {
	s := t.src[t.pos:]
	if len(s) > 4 && s[0] == '[' && (s[1] == '.' || s[1] == '=') {
		body, _, ok := strings.Cut(s[2:], string(s[1])+"]")
		if !ok || utf8.RuneCountInString(body) != 1 {
			return 0, errBracket
		}
		t.pos += len(body) + 4
		r, _ := utf8.DecodeRuneInString(body)
		return r, nil
	}
	r, n := utf8.DecodeRuneInString(s)
	t.pos += n
	return r, nil
}

func knownClass(name string) bool {
	switch name {
	case "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit":
		return true
	}
	return false
}

// classOf is a character class with the letters of all scripts, as in a UTF-8 locale.
func classOf(name string) string {
	switch name {
	case "alpha":
		return `\pL`
	case "alnum":
		return `\pL\pN`
	case "lower":
		return `\p{Ll}`
	case "upper":
		return `\p{Lu}`
	case "print":
		return `[:print:]\x{a0}-\x{10ffff}`
	case "graph":
		return `[:graph:]\x{a1}-\x{10ffff}`
	}
	return "[:" + name + ":]"
}
