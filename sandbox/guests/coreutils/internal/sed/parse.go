// Package sed is sed(1): POSIX's stream editor with the GNU additions in everyday use
// (-i, -E, -s, -z, 0,/re/, first~step, addr,+N, addr,~N, I and M flags, \U \L \u \l \E, e excluded).
//
// Scripts are parsed to a list of commands (parse.go) that run.go executes. It does not run other programs.
package sed

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/regex"
)

type addressKind byte

const (
	noAddress addressKind = iota
	lineAddress
	lastAddress
	regexAddress
	zeroAddress // 0 in 0,/re/
	stepAddress
	plusAddress  // ,+N
	multiAddress // ,~N
)

type address struct {
	kind     addressKind
	n, step  int64
	re       *regex.Regexp // nil: the last one used
	usesLast bool
}

type command struct {
	a1, a2 address
	not    bool
	name   byte
	text   string // of a, i, c; label of b, t, T; file of r, w; characters of y
	jump   int    // target of b, t, T and of { when it does not apply
	n      int64  // of q, Q, l

	re      *regex.Regexp
	last    bool // s//…/
	replace []piece
	global  bool
	print   int
	nth     int
	to      string // file of s///w
	from    map[rune]rune

	active bool  // inside the range
	end    int64 // line at which a range by number ends
}

// piece is a part of a replacement: text, or a group, or a change of case.
type piece struct {
	text  string
	group int // −1: text
	fold  byte
}

type parser struct {
	src      string
	pos      int
	extended bool
	commands []*command
	labels   map[string]int
	blocks   []int
	where    string // "-e expression #1" or the file's name and line
}

type syntaxError struct{ msg string }

func (e syntaxError) Error() string { return e.msg }

func (p *parser) fail(format string, args ...any) {
	panic(syntaxError{fmt.Sprintf("%s, char %d: %s", p.where, p.pos, fmt.Sprintf(format, args...))})
}

func (p *parser) peek() byte {
	if p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) skipBlanks(newlines bool) {
	for p.pos < len(p.src) && (p.src[p.pos] == ' ' || p.src[p.pos] == '\t' || newlines && (p.src[p.pos] == '\n' || p.src[p.pos] == ';')) {
		p.pos++
	}
}

// parse adds the commands of a script.
func (p *parser) parse() (err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case syntaxError:
			err = e
		default:
			panic(e)
		}
	}()
	for {
		p.skipBlanks(true)
		if p.pos >= len(p.src) {
			return nil
		}
		p.command()
	}
}

// finish checks blocks and resolves labels.
func (p *parser) finish() error {
	if len(p.blocks) > 0 {
		return syntaxError{"-e expression #1, char 0: unmatched `{'"}
	}
	for _, c := range p.commands {
		if c.name == 'b' || c.name == 't' || c.name == 'T' {
			c.jump = len(p.commands)
			if c.text != "" {
				at, ok := p.labels[c.text]
				if !ok {
					return syntaxError{fmt.Sprintf("can't find label for jump to `%s'", c.text)}
				}
				c.jump = at
			}
		}
	}
	return nil
}

func (p *parser) command() {
	c := &command{}
	c.a1 = p.address(false)
	if c.a1.kind != noAddress {
		p.skipBlanks(false)
		if p.peek() == ',' {
			p.pos++
			p.skipBlanks(false)
			if c.a2 = p.address(true); c.a2.kind == noAddress {
				p.fail("unexpected `,'")
			}
		}
		if c.a1.kind == zeroAddress && c.a2.kind != regexAddress {
			p.fail("invalid usage of line address 0")
		}
	}
	p.skipBlanks(false)
	for p.peek() == '!' {
		c.not = true
		p.pos++
		p.skipBlanks(false)
	}
	if p.pos >= len(p.src) || p.peek() == '\n' {
		p.fail("missing command")
	}
	c.name = p.src[p.pos]
	p.pos++
	p.body(c)
	p.commands = append(p.commands, c)
}

func (p *parser) body(c *command) {
	switch c.name {
	case '{':
		p.blocks = append(p.blocks, len(p.commands))
		return
	case '}':
		if len(p.blocks) == 0 {
			p.fail("unexpected `}'")
		}
		if c.a1.kind != noAddress {
			p.fail("} doesn't want any addresses")
		}
		open := p.blocks[len(p.blocks)-1]
		p.blocks = p.blocks[:len(p.blocks)-1]
		p.commands[open].jump = len(p.commands)
		p.end()
	case '#':
		for p.pos < len(p.src) && p.src[p.pos] != '\n' {
			p.pos++
		}
	case ':':
		if c.a1.kind != noAddress {
			p.fail(": doesn't want any addresses")
		}
		p.skipBlanks(false)
		if c.text = p.word(false); c.text == "" {
			p.fail("\":\" lacks a label")
		}
		if p.labels == nil {
			p.labels = map[string]int{}
		}
		p.labels[c.text] = len(p.commands)
	case 'b', 't', 'T':
		p.skipBlanks(false)
		c.text = p.word(true)
		p.end()
	case 'a', 'i', 'c':
		p.text(c)
	case 'r', 'R', 'w', 'W':
		p.skipBlanks(false)
		if c.text = p.restOfLine(); c.text == "" {
			p.fail("missing filename in r/R/w/W commands")
		}
	case 's':
		p.substitute(c)
	case 'y':
		p.transliterate(c)
	case 'q', 'Q', 'l', 'L':
		p.skipBlanks(false)
		c.n = -1
		if d := p.digits(); d != "" {
			c.n, _ = strconv.ParseInt(d, 10, 64)
		}
		p.end()
	case '=', 'd', 'D', 'g', 'G', 'h', 'H', 'n', 'N', 'p', 'P', 'x', 'z', 'F':
		p.end()
	case 'e':
		p.fail("the e command is not offered here: sed does not run other programs")
	default:
		p.fail("unknown command: `%c'", c.name)
	}
}

// end checks that nothing follows a command.
func (p *parser) end() {
	p.skipBlanks(false)
	switch p.peek() {
	case ';', '\n':
		p.pos++
	case 0, '}', '#':
	default:
		p.pos++
		p.fail("extra characters after command")
	}
}

func (p *parser) digits() string {
	start := p.pos
	for p.peek() >= '0' && p.peek() <= '9' {
		p.pos++
	}
	return p.src[start:p.pos]
}

func (p *parser) word(semicolon bool) string {
	start := p.pos
	for p.pos < len(p.src) && !strings.ContainsRune("\n; \t", rune(p.src[p.pos])) && !(semicolon && p.src[p.pos] == '}') {
		p.pos++
	}
	return strings.TrimRight(p.src[start:p.pos], " \t")
}

func (p *parser) restOfLine() string {
	line, _, _ := strings.Cut(p.src[p.pos:], "\n")
	p.pos = min(len(p.src), p.pos+len(line)+1)
	return line
}

func (p *parser) address(second bool) address {
	switch c := p.peek(); {
	case c >= '0' && c <= '9':
		n, _ := strconv.ParseInt(p.digits(), 10, 64)
		if !second && p.peek() == '~' {
			p.pos++
			step, _ := strconv.ParseInt(p.digits(), 10, 64)
			return address{kind: stepAddress, n: n, step: step}
		}
		if n == 0 {
			if second {
				return address{kind: lineAddress}
			}
			return address{kind: zeroAddress}
		}
		return address{kind: lineAddress, n: n}
	case c == '$':
		p.pos++
		return address{kind: lastAddress}
	case second && (c == '+' || c == '~'):
		p.pos++
		n, _ := strconv.ParseInt(p.digits(), 10, 64)
		if c == '~' {
			return address{kind: multiAddress, n: n}
		}
		return address{kind: plusAddress, n: n}
	case c == '/' || c == '\\':
		p.pos++
		if c == '\\' {
			c = p.peek()
			p.pos++
		}
		pattern, ok := p.delimited(c, true)
		if !ok {
			p.fail("unterminated address regex")
		}
		fold := false
		for p.peek() == 'I' || p.peek() == 'M' {
			fold = fold || p.peek() == 'I'
			p.pos++
		}
		a := address{kind: regexAddress, usesLast: pattern == ""}
		if pattern != "" {
			a.re = p.compile(pattern, fold)
		}
		return a
	}
	return address{}
}

func (p *parser) compile(pattern string, fold bool) *regex.Regexp {
	syntax := regex.Basic
	if p.extended {
		syntax = regex.Extended
	}
	re, err := regex.Compile(pattern, syntax, fold)
	if err != nil {
		p.fail("%s", err.Error())
	}
	return re
}

// delimited reads up to an unescaped delimiter and takes it. In patterns the delimiter loses its backslash, and
// brackets protect it.
func (p *parser) delimited(delim byte, pattern bool) (string, bool) {
	var b strings.Builder
	bracket := false
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == '\\' && p.pos < len(p.src):
			n := p.src[p.pos]
			p.pos++
			switch {
			case n == delim && !bracket:
				b.WriteByte(n)
			case n == '\n' || n == 'n' && pattern && !bracket:
				if n == '\n' && !pattern {
					b.WriteString("\\\n")
				} else {
					b.WriteByte('\n')
				}
			case bracket && n == 'n':
				b.WriteByte('\n')
			case bracket && n == ']':
				b.WriteString(`\]`)
				bracket = false
			default:
				b.WriteByte('\\')
				b.WriteByte(n)
			}
			continue
		case c == delim && !bracket:
			return b.String(), true
		case c == '\n' && pattern:
			return "", false
		case pattern && c == '[' && !bracket:
			bracket = true
			b.WriteByte(c)
			if p.peek() == '^' {
				b.WriteByte('^')
				p.pos++
			}
			if p.peek() == ']' {
				b.WriteByte(']')
				p.pos++
			}
			continue
		case bracket && c == '[' && (p.peek() == ':' || p.peek() == '.' || p.peek() == '='):
			closing := string(p.peek()) + "]"
			if i := strings.Index(p.src[p.pos+1:], closing); i >= 0 {
				b.WriteString(p.src[p.pos-1 : p.pos+1+i+2])
				p.pos += 1 + i + 2
				continue
			}
		case bracket && c == ']':
			bracket = false
		}
		b.WriteByte(c)
	}
	return "", false
}

// text reads the argument of a, i and c: on the same line (GNU) or behind a backslash and newline.
func (p *parser) text(c *command) {
	p.skipBlanks(false)
	if p.peek() == '\\' {
		p.pos++
		start := p.pos
		p.skipBlanks(false)
		if p.peek() == '\n' {
			p.pos++
		} else {
			p.pos = start
		}
	}
	var b strings.Builder
	for p.pos < len(p.src) {
		ch := p.src[p.pos]
		p.pos++
		if ch == '\\' && p.pos < len(p.src) {
			b.WriteByte(p.src[p.pos])
			p.pos++
			continue
		}
		if ch == '\n' {
			break
		}
		b.WriteByte(ch)
	}
	if b.Len() == 0 && p.pos >= len(p.src) {
		p.fail("expected \\ after `a', `c' or `i'")
	}
	c.text = b.String() + "\n"
}

func (p *parser) substitute(c *command) {
	delim := p.peek()
	p.pos++
	if delim == 0 || delim == '\n' || delim == '\\' {
		p.fail("unterminated `s' command")
	}
	pattern, ok := p.delimited(delim, true)
	if !ok {
		p.fail("unterminated `s' command")
	}
	replacement, ok := p.delimited(delim, false)
	if !ok {
		p.fail("unterminated `s' command")
	}
	fold := false
flags:
	for {
		switch f := p.peek(); {
		case f == 'g':
			c.global = true
		case f == 'p':
			c.print++
		case f == 'i' || f == 'I':
			fold = true
		case f == 'm' || f == 'M':
			pattern = "(?m)" + pattern
		case f >= '1' && f <= '9':
			if c.nth > 0 {
				p.fail("multiple number options to `s' command")
			}
			n, _ := strconv.Atoi(p.digits())
			c.nth = n
			continue
		case f == '0':
			p.fail("number option to `s' command may not be zero")
		case f == 'w':
			p.pos++
			p.skipBlanks(false)
			c.to = p.restOfLine()
			break flags
		case f == 0 || f == ';' || f == '\n' || f == '}' || f == '#' || f == ' ' || f == '\t':
			p.end()
			break flags
		default:
			p.pos++
			p.fail("unknown option to `s'")
		}
		p.pos++
	}
	multi := strings.HasPrefix(pattern, "(?m)")
	pattern = strings.TrimPrefix(pattern, "(?m)")
	if multi {
		p.fail("the M flag is not offered here")
	}
	groups := 9
	if pattern == "" {
		c.last = true
	} else {
		c.re = p.compile(pattern, fold)
		groups = c.re.Groups()
	}
	c.replace = p.replacement(replacement, groups)
}

func (p *parser) replacement(s string, groups int) (out []piece) {
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			out = append(out, piece{text: text.String(), group: -1})
			text.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '&':
			flush()
			out = append(out, piece{group: 0})
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch ch := s[i]; {
			case ch >= '0' && ch <= '9':
				n := int(ch - '0')
				if n > groups {
					p.fail("invalid reference \\%d on `s' command's RHS", n)
				}
				flush()
				out = append(out, piece{group: n})
			case ch == 'U' || ch == 'L' || ch == 'u' || ch == 'l' || ch == 'E':
				flush()
				out = append(out, piece{group: -1, fold: ch})
			case ch == 'n':
				text.WriteByte('\n')
			case ch == 't':
				text.WriteByte('\t')
			case ch == 'r':
				text.WriteByte('\r')
			default:
				text.WriteByte(ch)
			}
		default:
			text.WriteByte(s[i])
		}
	}
	flush()
	return out
}

func (p *parser) transliterate(c *command) {
	delim := p.peek()
	p.pos++
	from, ok1 := p.delimited(delim, false)
	to, ok2 := p.delimited(delim, false)
	if !ok1 || !ok2 {
		p.fail("unterminated `y' command")
	}
	plain := strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", "\\\n", "\n")
	f, t := []rune(plain.Replace(from)), []rune(plain.Replace(to))
	if len(f) != len(t) {
		p.fail("strings for `y' command are different lengths")
	}
	c.from = map[rune]rune{}
	for i := range f {
		if _, seen := c.from[f[i]]; !seen {
			c.from[f[i]] = t[i]
		}
	}
	p.end()
}
