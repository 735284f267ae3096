package server

import (
	"bytes"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// marks reads the shell's marks out of a terminal's output: OSC 133 with A (prompt), B (input), C;cmdline_url=LINE (running, the line
// percent-encoded as kitty's shell integration has it) and D;STATUS (ended). It keeps at most maxMark bytes of state, whatever arrives. It is not safe for concurrent use.
type marks struct {
	state byte // 0 text, 1 after ESC, 2 in OSC, 3 in OSC after ESC
	buf   []byte
	// Running is the command line that has the terminal, "" while the shell waits for one.
	running string
}

const maxMark = 4096

// feed reads output and calls ended for each command that ended.
func (m *marks) feed(p []byte, ended func(line string, status int)) {
	for _, b := range p {
		switch m.state {
		case 0:
			if b == 0x1b {
				m.state = 1
			}
		case 1:
			m.state = 0
			if b == ']' {
				m.state, m.buf = 2, m.buf[:0]
			} else if b == 0x1b {
				m.state = 1
			}
		case 2:
			switch {
			case b == 0x07:
				m.state = 0
				m.take(ended)
			case b == 0x1b:
				m.state = 3
			case len(m.buf) < maxMark:
				m.buf = append(m.buf, b)
			}
		case 3:
			m.state = 0
			if b == '\\' {
				m.take(ended)
			}
		}
	}
}

func (m *marks) take(ended func(string, int)) {
	body, ok := bytes.CutPrefix(m.buf, []byte("133;"))
	if !ok || len(body) == 0 {
		return
	}
	rest := ""
	if len(body) > 2 && body[1] == ';' {
		rest = string(body[2:])
	}
	switch body[0] {
	case 'C':
		m.running = commandLine(rest)
	case 'D':
		status, err := strconv.Atoi(rest)
		if line := m.running; line != "" && err == nil {
			ended(line, status)
		}
		m.running = ""
	case 'A':
		m.running = ""
	}
}

// commandLine is the command line among a C mark's options, without control characters; empty if there is none.
func commandLine(options string) string {
	for option := range strings.SplitSeq(options, ";") {
		encoded, ok := strings.CutPrefix(option, "cmdline_url=")
		if !ok {
			continue
		}
		line, err := url.PathUnescape(encoded)
		if err != nil {
			return ""
		}
		return strings.Map(func(r rune) rune {
			if unicode.IsControl(r) && r != '\n' {
				return -1
			}
			return r
		}, strings.ToValidUTF8(line, "\uFFFD"))
	}
	return ""
}
