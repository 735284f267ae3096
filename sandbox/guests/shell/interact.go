package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/syntax"

	"github.com/drydock-labs/drydock/sandbox/guests/shell/internal/line"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// keyboard reads standard input byte by byte, one for each token in want, so that bytes behind a line are left
// to the program the line starts. The goroutine ends with the input.
func keyboard(in io.Reader) (bytes <-chan byte, want func()) {
	out, asked := make(chan byte), make(chan struct{}, 1)
	go func() {
		defer close(out)
		one := make([]byte, 1)
		for range asked {
			n, err := in.Read(one)
			if n == 0 || err != nil {
				return
			}
			out <- one[0]
		}
	}()
	return out, func() { asked <- struct{}{} }
}

// resizes tells of changes of the window's size.
func resizes() <-chan struct{} {
	got, out := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(got, syscall.SIGWINCH)
	go func() {
		for range got {
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// interact is the loop of an interactive shell.
func (s *shell) interact() int {
	home := s.variable("HOME")
	s.history = loadHistory(filepath.Join(home, ".bash_history"))
	s.eval("shopt -s expand_aliases")
	s.sourceFile("/etc/bash.bashrc")
	s.sourceFile(filepath.Join(home, ".bashrc"))
	if s.tty < 0 {
		return s.runReader(oneByte{os.Stdin}, "")
	}
	ed := &line.Editor{Out: os.Stderr, Width: columns, Resized: resizes(), Interrupted: s.struck, Complete: s.complete, Ready: "\x1b]133;B\a"}
	ed.In, ed.Want = keyboard(os.Stdin)
	for {
		s.reportJobs(os.Stderr)
		text, err := s.readCommand(ed)
		if errors.Is(err, line.ErrEOF) {
			if s.stoppedJobs() && !s.warned {
				s.warned = true
				fmt.Fprintln(os.Stderr, "There are stopped jobs.")
				continue
			}
			fmt.Fprintln(os.Stderr, "exit")
			break
		}
		if err != nil {
			s.status = 130
			s.setStatus(130)
			mark("D;130")
			s.runPendingTraps()
			continue
		}
		if s.runText(text) {
			break
		}
	}
	return s.finish()
}

func columns() int {
	w, err := sys.GetWinsize(0)
	if err != nil {
		return 80
	}
	return int(w.Cols)
}

// mark writes a shell-integration mark (OSC 133), by which a terminal knows prompts, commands and their results.
func mark(m string) { fmt.Fprintf(os.Stderr, "\x1b]133;%s\a", m) }

// readCommand reads lines until they are a whole command.
func (s *shell) readCommand(ed *line.Editor) (string, error) {
	raw := *s.cooked
	raw.Raw()
	raw.Oflag |= sys.OPOST | sys.ONLCR // output of background jobs
	sys.Tcsetattr(s.tty, sys.TCSADRAIN, &raw)
	defer sys.Tcsetattr(s.tty, sys.TCSADRAIN, s.cooked)
	ps1 := defaultPrompt
	if v, ok := s.runner.Vars["PS1"]; ok {
		ps1 = v.String()
	}
	ps2 := "> "
	if v, ok := s.runner.Vars["PS2"]; ok {
		ps2 = v.String()
	}
	mark("A")
	fmt.Fprintf(os.Stderr, "\x1b]0;%s\a", printable(s.prompt(`\u@\h: \w`)))
	text := ""
	for {
		ed.History = s.history.lines
		shown := ps1
		if text != "" {
			shown = ps2
		}
		l, err := ed.Read(s.expandPrompt(s.prompt(shown)))
		if errors.Is(err, line.ErrEOF) && text != "" {
			err = nil
			fmt.Fprintf(os.Stderr, "%s: syntax error: unexpected end of file\n", s.name)
			return "", nil
		}
		if err != nil {
			return "", err
		}
		expanded, changed, ok := s.history.expand(l)
		if !ok {
			fmt.Fprintf(os.Stderr, "%s: %s: event not found\n", s.name, expanded)
			return "", nil
		}
		if changed {
			fmt.Fprintln(os.Stderr, expanded)
		}
		text += expanded + "\n"
		_, perr := s.parser.Parse(strings.NewReader(text), "")
		if perr == nil || !syntax.IsIncomplete(perr) && !continued(text) {
			s.history.add(strings.TrimSuffix(text, "\n"))
			return text, nil
		}
	}
}

// continued reports whether text ends in a backslash that joins the next line.
func continued(text string) bool {
	text = strings.TrimSuffix(text, "\n")
	n := len(text) - len(strings.TrimRight(text, "\\"))
	return n%2 == 1
}

// printable drops control characters: what goes into a title must not end it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

// runText runs one command as typed and reports whether the shell ends.
func (s *shell) runText(text string) bool {
	file, err := s.parser.Parse(strings.NewReader(text), "")
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, syntaxText(err))
		s.status = 2
		s.setStatus(2)
		mark("D;2")
		return false
	}
	if len(file.Stmts) == 0 {
		return false
	}
	command := strings.TrimSpace(text)
	mark("C;cmdline_url=" + url.PathEscape(command))
	exit := false
	for i, stmt := range file.Stmts {
		shown := ""
		if len(file.Stmts) == 1 && i == 0 {
			shown = strings.TrimSuffix(command, "&")
		}
		if exit = s.runStmt(stmt, strings.TrimSpace(shown)); exit {
			break
		}
		if s.status == 130 || s.status == 148 {
			break // an interrupt ends the rest of the line
		}
	}
	if !strings.HasPrefix(command, "exit") {
		s.warned = false
	}
	mark(fmt.Sprintf("D;%d", s.status))
	return exit
}
