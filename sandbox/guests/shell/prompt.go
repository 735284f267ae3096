package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
)

// defaultPrompt is user@host:dir$ in colours, as Debian's.
const defaultPrompt = `\[\e[01;32m\]\u@\h\[\e[00m\]:\[\e[01;34m\]\w\[\e[00m\]\$ `

// prompt expands the backslash sequences of PS1 and PS2, see bash(1), "PROMPTING".
func (s *shell) prompt(ps string) string {
	var b strings.Builder
	for i := 0; i < len(ps); i++ {
		if ps[i] != '\\' || i+1 == len(ps) {
			b.WriteByte(ps[i])
			continue
		}
		i++
		switch ps[i] {
		case 'u':
			b.WriteString(userName())
		case 'h':
			h, _, _ := strings.Cut(hostname(), ".")
			b.WriteString(h)
		case 'H':
			b.WriteString(hostname())
		case 'w':
			b.WriteString(s.homeRelative())
		case 'W':
			d := s.homeRelative()
			if d != "/" && d != "~" {
				d = filepath.Base(d)
			}
			b.WriteString(d)
		case '$':
			if os.Geteuid() == 0 {
				b.WriteByte('#')
			} else {
				b.WriteByte('$')
			}
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'e':
			b.WriteByte(0x1b)
		case 'a':
			b.WriteByte(7)
		case 't':
			b.WriteString(time.Now().Format("15:04:05"))
		case 'A':
			b.WriteString(time.Now().Format("15:04"))
		case 'd':
			b.WriteString(time.Now().Format("Mon Jan 02"))
		case 's':
			b.WriteString(s.name)
		case 'v', 'V':
			b.WriteString(version)
		case 'j':
			s.mu.Lock()
			b.WriteString(strconv.Itoa(len(s.jobs)))
			s.mu.Unlock()
		case '?':
			b.WriteString(strconv.Itoa(s.status))
		case '\\':
			b.WriteByte('\\')
		case '[', ']':
		case '0', '1':
			end := min(i+3, len(ps))
			if n, err := strconv.ParseUint(ps[i:end], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i = end - 1
			}
		default:
			b.WriteByte('\\')
			b.WriteByte(ps[i])
		}
	}
	return b.String()
}

// expandPrompt expands variables in a prompt, as bash does with promptvars. A prompt that cannot be expanded stays as it is.
func (s *shell) expandPrompt(p string) string {
	if !strings.Contains(p, "$") {
		return p
	}
	w, err := s.parser.Document(strings.NewReader(p))
	if err != nil {
		return p
	}
	out, err := expand.Literal(&expand.Config{Env: expand.FuncEnviron(s.variable)}, w)
	if err != nil {
		return p
	}
	return out
}

func (s *shell) homeRelative() string {
	dir := s.runner.Dir
	home := s.variable("HOME")
	if home != "" && home != "/" {
		if dir == home {
			return "~"
		}
		if rest, ok := strings.CutPrefix(dir, home+"/"); ok {
			return "~/" + rest
		}
	}
	return dir
}

// variable is the value of a shell variable at the prompt.
func (s *shell) variable(name string) string {
	if v, ok := s.runner.Vars[name]; ok {
		return v.String()
	}
	return os.Getenv(name)
}

func userName() string {
	if n := os.Getenv("USER"); n != "" {
		return n
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	if os.Geteuid() == 0 {
		return "root"
	}
	return strconv.Itoa(os.Geteuid())
}
