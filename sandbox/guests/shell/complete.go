package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/shell/internal/line"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// word is one word left of the cursor: its value with quoting undone, and where it starts.
type word struct {
	text  string
	start int
	quote rune
}

// splitWords takes the simple command the cursor is in apart: the words of the text since the last separator.
// It is a lexer for completion only: unfinished quotes and commands are the usual case.
func splitWords(text []rune) (words []word) {
	var cur *word
	begin := func(i int) {
		if cur == nil {
			words = append(words, word{start: i})
			cur = &words[len(words)-1]
		}
	}
	var quote rune
	for i := 0; i < len(text); i++ {
		r := text[i]
		switch {
		case quote == '\'' && r == '\'' || quote == '"' && r == '"':
			quote = 0
			cur.quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			begin(i)
			quote = r
			cur.quote = r
		case r == '\\' && quote != '\'' && i+1 < len(text):
			begin(i)
			i++
			cur.text += string(text[i])
		case quote != 0:
			cur.text += string(r)
		case r == ' ' || r == '\t' || r == '\n':
			cur = nil
			if r == '\n' {
				words = nil
			}
		case strings.ContainsRune(";|&(){}", r):
			cur, words = nil, nil
		case r == '<' || r == '>':
			cur = nil
			words = append(words, word{text: string(r), start: i})
		default:
			begin(i)
			cur.text += string(r)
		}
	}
	if cur == nil {
		words = append(words, word{start: len(text)})
	}
	return words
}

// complete is what Tab asks.
func (s *shell) complete(text []rune, pos int) line.Completion {
	words := splitWords(text[:pos])
	for len(words) > 1 && isAssignment(words[0].text) {
		words = words[1:]
	}
	if len(words) > 1 && (words[0].text == "sudo" || words[0].text == "watch" || words[0].text == "time" || words[0].text == "exec") {
		words = words[1:]
	}
	last := words[len(words)-1]
	afterRedirect := len(words) > 1 && (words[len(words)-2].text == "<" || words[len(words)-2].text == ">")
	switch {
	case strings.HasPrefix(last.text, "$") && !strings.Contains(last.text, "/"):
		return s.completeVariables(last)
	case len(words) == 1 && !strings.Contains(last.text, "/"):
		return s.completeCommands(last)
	case afterRedirect || len(words) == 1:
		return s.completeFiles(last, len(words) == 1, false)
	}
	name := s.aliasOf(words[0].text)
	if len(name) > 0 && cobraStyle(filepath.Base(name[0])) {
		if c, ok := s.completeCobra(name, words[1:]); ok {
			return c
		}
	}
	return s.completeFiles(last, false, words[0].text == "cd" || words[0].text == "rmdir")
}

// cobraStyle names the programs that answer `NAME __complete WORD…` (github.com/spf13/cobra, bash_completionsV2.go).
func cobraStyle(name string) bool {
	switch name {
	case "kubectl", "helm", "docker", "kubeadm", "crictl":
		return true
	}
	return false
}

func isAssignment(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return false
	}
	for i, r := range name {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return true
}

// aliasOf is the command an alias stands for, in words.
func (s *shell) aliasOf(name string) []string {
	var out bytes.Buffer
	sub := s.runner.Subshell()
	file, err := s.parser.Parse(strings.NewReader("alias "+quote(name)), "")
	if err != nil || setOutput(sub, &out) != nil || sub.Run(context.Background(), file.Stmts[0]) != nil {
		return []string{name}
	}
	_, value, ok := strings.Cut(strings.TrimSpace(out.String()), "=")
	if !ok {
		return []string{name}
	}
	return strings.Fields(strings.Trim(value, `'"`))
}

func (s *shell) completeVariables(w word) line.Completion {
	c := line.Completion{Start: w.start}
	prefix := strings.TrimPrefix(w.text, "$")
	brace := strings.HasPrefix(prefix, "{")
	prefix = strings.TrimPrefix(prefix, "{")
	for name := range s.runner.Vars {
		if strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "__") {
			t := "$" + name
			if brace {
				t = "${" + name + "}"
			}
			c.Candidates = append(c.Candidates, line.Candidate{Text: t})
		}
	}
	sortCandidates(c.Candidates)
	return c
}

func (s *shell) completeCommands(w word) line.Completion {
	c := line.Completion{Start: w.start}
	names := s.commands(s.variable("PATH"))
	names = append(names, "case", "do", "done", "elif", "else", "fi", "for", "function", "if", "then", "until", "while")
	names = append(names, s.aliases()...)
	sort.Strings(names)
	for i, name := range names {
		if strings.HasPrefix(name, w.text) && (i == 0 || names[i-1] != name) {
			c.Candidates = append(c.Candidates, line.Candidate{Text: name})
		}
	}
	return c
}

// aliases are the names of all aliases.
func (s *shell) aliases() (names []string) {
	var out bytes.Buffer
	sub := s.runner.Subshell()
	file, err := s.parser.Parse(strings.NewReader("alias"), "")
	if err != nil || setOutput(sub, &out) != nil {
		return nil
	}
	sub.Run(context.Background(), file.Stmts[0])
	for l := range strings.Lines(out.String()) {
		name, _, ok := strings.Cut(strings.TrimPrefix(l, "alias "), "=")
		if ok {
			names = append(names, name)
		}
	}
	return names
}

func (s *shell) completeFiles(w word, programs, dirs bool) line.Completion {
	c := line.Completion{Start: w.start}
	dir, base := filepath.Split(w.text)
	look := dir
	if rest, ok := strings.CutPrefix(look, "~/"); ok && w.quote == 0 {
		look = filepath.Join(s.variable("HOME"), rest)
	}
	entries, err := os.ReadDir(absolute(s.runner.Dir, look))
	if err != nil {
		return c
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, base) || base == "" && strings.HasPrefix(name, ".") {
			continue
		}
		full := absolute(s.runner.Dir, filepath.Join(look, name))
		isDir := e.IsDir()
		if e.Type()&os.ModeSymlink != 0 {
			if fi, err := os.Stat(full); err == nil {
				isDir = fi.IsDir()
			}
		}
		if dirs && !isDir || programs && !isDir && sys.Access(full, sys.X_OK) != nil {
			continue
		}
		text := quotePath(dir+name, w.quote)
		if isDir {
			text += "/"
		} else if w.quote != 0 {
			text += string(w.quote)
		}
		c.Candidates = append(c.Candidates, line.Candidate{Text: text})
	}
	return c
}

// quotePath writes a path as it may stand on the command line.
func quotePath(path string, quote rune) string {
	if quote != 0 {
		return string(quote) + path
	}
	var b strings.Builder
	for i, r := range path {
		if strings.ContainsRune(" \t\\'\"`$&|;<>()*?[]{}!#", r) || r == '~' && i > 0 {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func sortCandidates(list []line.Candidate) {
	sort.Slice(list, func(i, j int) bool { return list[i].Text < list[j].Text })
}

// Directives of cobra's completion protocol (ShellCompDirective).
const (
	cobraError      = 1
	cobraNoSpace    = 2
	cobraNoFiles    = 4
	cobraFilterExt  = 8
	cobraFilterDirs = 16
)

// completeCobra asks the program itself for completions. ok is false when file names are wanted instead.
func (s *shell) completeCobra(command []string, words []word) (c line.Completion, ok bool) {
	args := append([]string{}, command...)
	args = append(args[:1:1], append([]string{"__complete"}, args[1:]...)...)
	for _, w := range words {
		args = append(args, w.text)
	}
	out := s.capture(args)
	i := bytes.LastIndex(out, []byte("\n:"))
	if i < 0 {
		return c, false
	}
	directive := 0
	for _, d := range bytes.TrimSpace(out[i+2:]) {
		if d < '0' || d > '9' {
			break
		}
		directive = directive*10 + int(d-'0')
	}
	if directive&(cobraError|cobraFilterExt|cobraFilterDirs) != 0 {
		return c, false
	}
	last := words[len(words)-1]
	c.Start, c.NoSpace = last.start, directive&cobraNoSpace != 0
	for l := range strings.Lines(string(out[:i])) {
		text, note, _ := strings.Cut(strings.TrimRight(l, "\n"), "\t")
		if text != "" && strings.HasPrefix(text, last.text) && !strings.HasPrefix(text, "_activeHelp_ ") {
			c.Candidates = append(c.Candidates, line.Candidate{Text: text, Note: note})
		}
	}
	return c, len(c.Candidates) > 0 || directive&cobraNoFiles != 0
}

// completionTime is how long a program may take to answer Tab.
const completionTime = 5 * time.Second

// capture runs a program and returns at most 1 MiB of its output. It does not get the terminal.
func (s *shell) capture(args []string) []byte {
	path, _, ok := s.lookPath(s.runner.Dir, s.variable("PATH"), args[0])
	if !ok {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		r.Close()
		w.Close()
		return nil
	}
	p, err := s.spawn(path, args, s.exported(), s.runner.Dir, []int{descriptor(null), descriptor(w), descriptor(null)}, nil)
	w.Close()
	null.Close()
	if err != nil {
		r.Close()
		return nil
	}
	limit := time.AfterFunc(completionTime, func() { sys.Kill(p.pid, 9) })
	out, _ := io.ReadAll(io.LimitReader(r, 1<<20))
	r.Close()
	s.await(p)
	limit.Stop()
	return out
}
