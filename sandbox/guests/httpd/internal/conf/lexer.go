package conf

import (
	"errors"
	"fmt"
)

type kind int

const (
	endOfFile kind = iota
	word
	semicolon
	opening
	closing
)

type token struct {
	kind kind
	text string
}

type lexer struct {
	text []byte
	pos  int
	line int
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// skip passes white space and comments.
func (l *lexer) skip() {
	comment := false
	for ; l.pos < len(l.text); l.pos++ {
		c := l.text[l.pos]
		switch {
		case c == '\n':
			l.line++
			comment = false
		case c == '#':
			comment = true
		case !comment && !space(c):
			return
		}
	}
}

func (l *lexer) next() (token, error) {
	l.skip()
	if l.pos == len(l.text) {
		return token{kind: endOfFile}, nil
	}
	switch c := l.text[l.pos]; c {
	case ';', '{', '}':
		l.pos++
		return token{map[byte]kind{';': semicolon, '{': opening, '}': closing}[c], string(c)}, nil
	case '"', '\'':
		l.pos++
		return l.quoted(c)
	}
	return l.plain()
}

func (l *lexer) quoted(quote byte) (token, error) {
	var b []byte
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		switch {
		case c == '\\':
			b = l.escaped(b)
			continue
		case c == quote:
			l.pos++
			if l.pos < len(l.text) {
				if n := l.text[l.pos]; !space(n) && n != ';' && n != '{' && n != ')' {
					return token{}, fmt.Errorf("unexpected \"%c\"", n)
				}
			}
			return token{word, string(b)}, nil
		case c == '\n':
			l.line++
		}
		b = append(b, c)
		l.pos++
	}
	return token{}, errors.New(`unexpected end of file, expecting ";" or "}"`)
}

func (l *lexer) plain() (token, error) {
	var b []byte
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		switch {
		case c == '\\':
			b = l.escaped(b)
			continue
		case c == '$' && l.pos+1 < len(l.text) && l.text[l.pos+1] == '{': // a variable's brace opens no block
			b = append(b, '$', '{')
			for l.pos += 2; l.pos < len(l.text) && !space(l.text[l.pos]) && l.text[l.pos] != ';'; l.pos++ {
				b = append(b, l.text[l.pos])
				if l.text[l.pos] == '}' {
					l.pos++
					break
				}
			}
			continue
		case space(c) || c == ';' || c == '{':
			return token{word, string(b)}, nil
		}
		b = append(b, c)
		l.pos++
	}
	return token{word, string(b)}, nil
}

// escaped takes a backslash and what it escapes. Before anything but quotes, itself and t, r, n it stays: regular expressions need it.
func (l *lexer) escaped(b []byte) []byte {
	l.pos++
	if l.pos == len(l.text) {
		return append(b, '\\')
	}
	c := l.text[l.pos]
	l.pos++
	switch c {
	case '"', '\'', '\\':
		return append(b, c)
	case 't':
		return append(b, '\t')
	case 'r':
		return append(b, '\r')
	case 'n':
		return append(b, '\n')
	}
	if c == '\n' {
		l.line++
	}
	return append(b, '\\', c)
}
