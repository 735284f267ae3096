package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxHistory is how many lines are kept, as HISTSIZE is by default.
const maxHistory = 1000

// history is the list of lines typed, kept in ~/.bash_history. Each line is appended at once: a lab may end at any time.
type history struct {
	path  string
	lines []string
}

func loadHistory(path string) *history {
	h := &history{path: path}
	data, err := os.ReadFile(path)
	if err != nil {
		return h
	}
	for l := range strings.Lines(string(data)) {
		if l = strings.TrimRight(l, "\n"); l != "" {
			h.lines = append(h.lines, l)
		}
	}
	if n := len(h.lines); n > maxHistory {
		h.lines = h.lines[n-maxHistory:]
	}
	return h
}

// add notes a line; repeated ones and those that start with a blank are left out (HISTCONTROL=ignoreboth).
func (h *history) add(line string) {
	if strings.TrimSpace(line) == "" || line[0] == ' ' {
		return
	}
	if n := len(h.lines); n > 0 && h.lines[n-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
	if strings.Contains(line, "\n") || h.path == "" {
		return
	}
	if f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
		f.WriteString(line + "\n")
		f.Close()
	}
}

// save shortens the file when it has grown far past the limit.
func (h *history) save() {
	if fi, err := os.Stat(h.path); err != nil || fi.Size() < 256<<10 {
		return
	}
	tmp := filepath.Join(filepath.Dir(h.path), ".bash_history.new")
	if os.WriteFile(tmp, []byte(strings.Join(h.lines, "\n")+"\n"), 0o600) == nil {
		os.Rename(tmp, h.path)
	}
}

// expand replaces !!, !N, !-N, !PREFIX and !$ outside of single quotes. ok is false when the event isn't there.
func (h *history) expand(line string) (out string, changed, ok bool) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && !quoted && i+1 < len(line):
			b.WriteString(line[i : i+2])
			i++
			continue
		case c == '\'':
			quoted = !quoted
		case c == '!' && !quoted && i+1 < len(line):
			text, n, found := h.event(line[i+1:])
			if n == 0 {
				break
			}
			if !found {
				return line[i : i+1+n], true, false
			}
			b.WriteString(text)
			i += n
			changed = true
			continue
		}
		b.WriteByte(c)
	}
	return b.String(), changed, true
}

// event resolves what stands after '!' and says how many bytes it took (0: no event).
func (h *history) event(s string) (text string, n int, found bool) {
	last := len(h.lines)
	switch {
	case s[0] == '!':
		if last == 0 {
			return "", 1, false
		}
		return h.lines[last-1], 1, true
	case s[0] == '$':
		if last == 0 {
			return "", 1, false
		}
		f := strings.Fields(h.lines[last-1])
		return f[len(f)-1], 1, true
	case s[0] == '-' || s[0] >= '0' && s[0] <= '9':
		n = 1
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		i, err := strconv.Atoi(s[:n])
		if err != nil {
			return "", 0, false
		}
		if i < 0 {
			i += last + 1
		}
		if i < 1 || i > last {
			return "", n, false
		}
		return h.lines[i-1], n, true
	case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
		for n < len(s) && !strings.ContainsRune(" \t;|&<>\n\"'", rune(s[n])) {
			n++
		}
		for i := last - 1; i >= 0; i-- {
			if strings.HasPrefix(h.lines[i], s[:n]) {
				return h.lines[i], n, true
			}
		}
		return "", n, false
	}
	return "", 0, false
}
