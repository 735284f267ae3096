package sed

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

type cycleEnd int

const (
	cycleNext cycleEnd = iota
	cycleQuit
)

// cycle runs the script on the line in pattern space.
func (e *editor) cycle() cycleEnd {
	e.substituted = false
	restart := true
	for restart {
		restart = false
		for pc := 0; pc < len(e.commands); pc++ {
			c := e.commands[pc]
			if e.applies(c) == c.not {
				if c.name == '{' {
					pc = c.jump
				}
				continue
			}
			switch c.name {
			case 'b':
				pc = c.jump - 1
			case 't':
				if e.substituted {
					e.substituted = false
					pc = c.jump - 1
				}
			case 'T':
				if !e.substituted {
					pc = c.jump - 1
				}
				e.substituted = false
			case 'd':
				return e.end(false)
			case 'D':
				_, rest, more := strings.Cut(e.pattern, "\n")
				if !more {
					return e.end(false)
				}
				e.pattern = rest
				e.flushAppended()
				restart = true
			case 'c':
				if c.a2.kind == noAddress || !c.active || c.not {
					e.put(c.text)
				}
				return e.end(false)
			case 'n':
				if e.isLast() {
					return e.lastLine()
				}
				if !e.quiet {
					e.write(e.pattern, e.missing)
				}
				e.flushAppended()
				e.next()
			case 'N':
				if e.isLast() {
					return e.lastLine()
				}
				e.flushAppended()
				before := e.pattern
				e.next()
				if !e.grow(&e.pattern, before+"\n"+e.pattern) {
					return cycleQuit
				}
			case 'q':
				e.exit = int(max(c.n, 0))
				e.end(!e.quiet)
				return cycleQuit
			case 'Q':
				e.exit = int(max(c.n, 0))
				return cycleQuit
			default:
				if !e.simple(c) {
					return cycleQuit
				}
			}
			if restart {
				break
			}
		}
	}
	return e.end(!e.quiet)
}

// lastLine is n or N without a next line: GNU prints pattern space and ends.
func (e *editor) lastLine() cycleEnd {
	e.end(!e.quiet)
	return cycleQuit
}

func (e *editor) end(print bool) cycleEnd {
	if print {
		e.write(e.pattern, e.missing)
	}
	e.flushAppended()
	return cycleNext
}

func (e *editor) flushAppended() {
	for _, f := range e.appended {
		f()
	}
	e.appended = e.appended[:0]
}

func (e *editor) grow(space *string, s string) bool {
	if len(s) > maxSpace {
		e.c.FailWith(4, "more than %d MiB in pattern or hold space", maxSpace>>20)
		e.exit = 4
		return false
	}
	*space = s
	return true
}

// simple runs the commands that do not change the flow; false ends the program.
func (e *editor) simple(c *command) bool {
	switch c.name {
	case 's':
		e.substitute(c)
		return len(e.pattern) <= maxSpace
	case 'y':
		e.pattern = strings.Map(func(r rune) rune {
			if to, ok := c.from[r]; ok {
				return to
			}
			return r
		}, e.pattern)
	case 'a':
		e.appended = append(e.appended, func() { e.put(c.text) })
	case 'i':
		e.put(c.text)
	case 'p':
		e.write(e.pattern, e.missing)
	case 'P':
		first, _, _ := strings.Cut(e.pattern, "\n")
		e.write(first, false)
	case '=':
		e.put(fmt.Sprintf("%d\n", e.line))
	case 'F':
		e.put(e.name + "\n")
	case 'l':
		e.list(c.n)
	case 'g':
		e.pattern = e.hold
	case 'G':
		return e.grow(&e.pattern, e.pattern+"\n"+e.hold)
	case 'h':
		e.hold = e.pattern
	case 'H':
		return e.grow(&e.hold, e.hold+"\n"+e.pattern)
	case 'x':
		e.pattern, e.hold = e.hold, e.pattern
	case 'z':
		e.pattern = ""
	case 'r':
		name := c.text
		e.appended = append(e.appended, func() {
			if data, err := os.ReadFile(name); err == nil {
				e.put(string(data))
			}
		})
	case 'R':
		e.readLine(c.text)
	case 'w':
		fmt.Fprintf(e.writer(c.text), "%s\n", e.pattern)
	case 'W':
		first, _, _ := strings.Cut(e.pattern, "\n")
		fmt.Fprintf(e.writer(c.text), "%s\n", first)
	}
	return true
}

func (e *editor) readLine(name string) {
	r, ok := e.readers[name]
	if !ok {
		f, err := os.Open(name)
		if err != nil {
			return
		}
		r = bufio.NewReader(f)
		e.readers[name] = r
	}
	if line, _ := r.ReadString('\n'); line != "" {
		line = strings.TrimSuffix(line, "\n")
		e.appended = append(e.appended, func() { e.write(line, false) })
	}
}

// list prints pattern space unambiguously, folded at n columns (l).
func (e *editor) list(n int64) {
	width := 70
	if n >= 0 {
		width = int(n)
	}
	col := 0
	put := func(s string) {
		if width > 1 && col+len(s) > width-1 {
			e.put("\\\n")
			col = 0
		}
		e.put(s)
		col += len(s)
	}
	for i := 0; i < len(e.pattern); {
		ch := e.pattern[i]
		r, size := utf8.DecodeRuneInString(e.pattern[i:])
		if k := strings.IndexByte("\a\b\f\n\r\t\v\\", ch); k >= 0 {
			put(`\` + string("abfnrtv\\"[k]))
			i++
			continue
		}
		if r != utf8.RuneError && size == 1 && ch >= 0x20 && ch < 0x7f {
			put(string(ch))
			i++
			continue
		}
		for ; size > 0; size-- {
			put(fmt.Sprintf("\\%03o", e.pattern[i]))
			i++
		}
	}
	e.put("$\n")
}
