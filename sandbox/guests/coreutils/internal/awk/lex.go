package awk

import (
	"fmt"
	"strings"
)

// kind is the kind of a token. Operators, keywords and built-in functions are told by their text.
type kind byte

const (
	tEnd kind = iota
	tNewline
	tNumber
	tString
	tRegex
	tName
	tCall    // a name with '(' right behind it
	tBuiltin // a built-in function's name
	tWord    // a keyword
	tOp
)

type token struct {
	kind kind
	text string
	num  float64
	at   int // offset in the source
	line int
}

// syntaxError says where a program is wrong.
type syntaxError struct {
	at        int
	text      string
	undefined bool // a function is missing, nothing is misspelled
}

func (e *syntaxError) Error() string { return e.text }

var keywords = map[string]bool{"BEGIN": true, "END": true, "function": true, "func": true, "if": true, "else": true, "while": true, "for": true, "do": true, "break": true, "continue": true, "next": true, "nextfile": true,
	"exit": true, "return": true, "delete": true, "in": true, "getline": true, "print": true, "printf": true}

var operators = []string{"**=", "**", "&&", "||", "==", "!=", "<=", ">=", "++", "--", "+=", "-=", "*=", "/=", "%=", "^=", "!~", ">>",
	"{", "}", "(", ")", "[", "]", ";", ",", "+", "-", "*", "/", "%", "^", "!", ">", "<", "|", "?", ":", "~", "$", "="}

// lex splits a program into tokens. A '/' begins a regular expression where no operand stands before it.
func lex(src string) (out []token, err error) {
	line, counted := 1, 0
	for i := 0; ; {
		for i < len(src) {
			switch {
			case src[i] == ' ' || src[i] == '\t' || src[i] == '\r':
				i++
			case src[i] == '\\' && strings.HasPrefix(src[i+1:], "\n"):
				i += 2
			case src[i] == '\\' && strings.HasPrefix(src[i+1:], "\r\n"):
				i += 3
			case src[i] == '#':
				for i < len(src) && src[i] != '\n' {
					i++
				}
			default:
				goto found
			}
		}
	found:
		if i >= len(src) {
			return append(out, token{kind: tNewline, at: i}, token{kind: tEnd, at: i}), nil
		}
		t, end, err := next(src, i, operandBefore(out))
		if err != nil {
			return nil, err
		}
		line += strings.Count(src[counted:i], "\n")
		t.line, counted = line, i
		out, i = append(out, t), end
	}
}

func operandBefore(out []token) bool {
	if len(out) == 0 {
		return false
	}
	switch last := out[len(out)-1]; last.kind {
	case tNumber, tString, tRegex, tName:
		return true
	case tBuiltin:
		return last.text == "length"
	case tOp:
		return last.text == ")" || last.text == "]" || last.text == "$" || last.text == "++" || last.text == "--"
	}
	return false
}

func next(src string, i int, operand bool) (token, int, error) {
	c := src[i]
	switch {
	case c == '\n':
		return token{kind: tNewline, text: "\n", at: i}, i + 1, nil
	case c == '"':
		return quoted(src, i)
	case c == '/' && !operand:
		return regexToken(src, i)
	case isDigit(c) || c == '.' && i+1 < len(src) && isDigit(src[i+1]):
		n, used := number(src[i:])
		return token{kind: tNumber, num: n, text: src[i : i+used], at: i}, i + used, nil
	case isLetter(c):
		end := i
		for end < len(src) && (isLetter(src[end]) || isDigit(src[end])) {
			end++
		}
		t := token{kind: tName, text: src[i:end], at: i}
		switch {
		case keywords[t.text]:
			t.kind = tWord
		case builtins[t.text].run != nil:
			t.kind = tBuiltin
		case end < len(src) && src[end] == '(':
			t.kind = tCall
		}
		return t, end, nil
	}
	for _, op := range operators {
		if strings.HasPrefix(src[i:], op) {
			t := token{kind: tOp, text: strings.Replace(op, "**", "^", 1), at: i}
			return t, i + len(op), nil
		}
	}
	return token{}, 0, &syntaxError{at: i, text: fmt.Sprintf("invalid char '%c' in expression", c)}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func quoted(src string, i int) (token, int, error) {
	for end := i + 1; end < len(src); end++ {
		switch src[end] {
		case '\\':
			end++
		case '\n':
			return token{}, 0, &syntaxError{at: i, text: "unterminated string"}
		case '"':
			return token{kind: tString, text: unescape(src[i+1 : end]), at: i}, end + 1, nil
		}
	}
	return token{}, 0, &syntaxError{at: i, text: "unterminated string"}
}

// unescape interprets the escapes of a string. An unknown one keeps its backslash, so that "\." is the pattern it looks like.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; {
		case strings.IndexByte("abfnrtv", c) >= 0:
			b.WriteByte("\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)])
		case c == '\\' || c == '"' || c == '/':
			b.WriteByte(c)
		case c == '\n':
		case c >= '0' && c <= '7':
			v := 0
			for k := 0; k < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; k++ {
				v = v*8 + int(s[i]-'0')
				i++
			}
			i--
			b.WriteByte(byte(v))
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

func regexToken(src string, i int) (token, int, error) {
	var b strings.Builder
	bracket := false
	for end := i + 1; end < len(src) && src[end] != '\n'; end++ {
		switch c := src[end]; {
		case c == '\\' && end+1 < len(src):
			end++
			if k := strings.IndexByte("nrtfv", src[end]); k >= 0 {
				b.WriteByte("\n\r\t\f\v"[k])
			} else if src[end] == '/' || src[end] == '"' {
				b.WriteByte(src[end])
			} else {
				b.WriteString(src[end-1 : end+1])
			}
		case c == '/' && !bracket:
			return token{kind: tRegex, text: b.String(), at: i}, end + 1, nil
		default:
			if c == '[' && !bracket {
				bracket = true
				b.WriteByte(c)
				for _, lead := range "^]" { // a ']' in front is a member
					if end+1 < len(src) && src[end+1] == byte(lead) {
						end++
						b.WriteByte(byte(lead))
					}
				}
				continue
			}
			if c == ']' {
				bracket = false
			}
			b.WriteByte(c)
		}
	}
	return token{}, 0, &syntaxError{at: i, text: "unterminated regexp"}
}
