package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// shell is one running shell.
type shell struct {
	name        string // prefix of messages
	script      bool   // reading a script file: messages carry the line
	interactive bool
	runner      *interp.Runner
	parser      *syntax.Parser
	tty         int // descriptor of the controlling terminal, −1 without job control
	pgrp        int
	cooked      *sys.Termios // the terminal's state for programs

	signals chan os.Signal
	traps   traps
	history *history
	rewrite rewriter
	replace bool // the next program takes the shell's place

	mu      sync.Mutex
	procs   map[int]*proc      // protected by mu: every child not yet reported
	jobs    []*job             // protected by mu: background and stopped jobs
	used    sys.Rusage         // protected by mu: of children that ended
	current context.CancelFunc // protected by mu: ends the command line that runs; nil when none does
	context context.Context    // protected by mu
	struck  chan struct{}      // holds a value after an interrupt while nothing ran
	status  int                // $? of the last top-level command

	breathed time.Time
	started  time.Time
	warned   bool // of stopped jobs, at exit
}

func newShell(inv invocation, interactive bool) (*shell, error) {
	s := &shell{name: inv.name, interactive: interactive, tty: -1, context: context.Background(), procs: map[int]*proc{}, signals: make(chan os.Signal, 64), struck: make(chan struct{}, 1), started: time.Now()}
	s.parser = syntax.NewParser(syntax.Variant(syntax.LangBash))
	signal.Notify(s.signals, syscall.SIGCHLD)
	if interactive {
		s.takeControl()
	}
	go s.watchSignals()
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	opts := []interp.RunnerOption{
		interp.Env(expand.ListEnviron(s.environment(dir)...)),
		interp.Dir(dir),
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Interactive(interactive),
		interp.CallHandler(s.call),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return s.exec }),
		interp.OpenHandler(s.open),
		interp.AccessHandler(access),
	}
	params := append([]string{}, inv.options...)
	args := inv.args
	if len(args) > 0 && (inv.hasCommand || !inv.stdin) {
		s.rewrite.zero = args[0]
		args = args[1:]
	} else {
		s.rewrite.zero = inv.name
	}
	opts = append(opts, interp.Params(append(append(params, "--"), args...)...))
	r, err := interp.New(opts...)
	if err != nil {
		return nil, err
	}
	s.runner = r
	r.Reset()
	s.eval(zeroVar + "=" + quote(s.rewrite.zero))
	return s, nil
}

// environment is the inherited one with what a shell adds to it.
func (s *shell) environment(dir string) []string {
	env := os.Environ()
	set := func(name, value string) {
		for _, e := range env {
			if strings.HasPrefix(e, name+"=") {
				return
			}
		}
		env = append(env, name+"="+value)
	}
	set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	set("SHLVL", "1")
	set("HOSTNAME", hostname())
	set("BASH_VERSION", version+"-drydock")
	return env
}

func (s *shell) close() {
	if s.history != nil {
		s.history.save()
	}
}

// reason is an error's text as strerror(3) spells it, without operation and path.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	switch err {
	case fs.ErrNotExist:
		return "No such file or directory"
	case fs.ErrPermission:
		return "Permission denied"
	}
	text := err.Error()
	r, n := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[n:]
}

// errorf prints a message as bash does: with the script's line when there is one.
func (s *shell) errorf(hc *interp.HandlerContext, format string, args ...any) {
	w := io.Writer(os.Stderr)
	where := ""
	if hc != nil {
		w = hc.Stderr
		if !s.interactive && hc.Pos.IsValid() {
			where = fmt.Sprintf("line %d: ", hc.Pos.Line())
		}
	}
	fmt.Fprintf(w, "%s: %s%s\n", s.name, where, fmt.Sprintf(format, args...))
}

// open opens the file of a redirection. Its error prints as bash's does ("bash: x: Permission denied").
func (s *shell) open(ctx context.Context, path string, flags int, mode os.FileMode) (io.ReadWriteCloser, error) {
	hc := interp.HandlerCtx(ctx)
	full := path
	if !filepath.IsAbs(full) {
		full = filepath.Join(hc.Dir, full)
	}
	if mode == 0o644 {
		mode = 0o666
	}
	f, err := os.OpenFile(full, flags, mode)
	if err != nil {
		return nil, &os.PathError{Op: s.name + ":", Path: path, Err: errors.New(reason(err))}
	}
	return f, nil
}

func access(_ context.Context, path string, mode interp.AccessMode) error {
	return sys.Access(path, uint32(mode))
}

// runCommand runs the text of -c.
func (s *shell) runCommand(text string) int {
	file, err := s.parser.Parse(strings.NewReader(text), "")
	if err == nil {
		s.replace = lastIsSimple(file)
	}
	return s.runReader(strings.NewReader(text), "-c")
}

// runReader runs a script as it is read, so that commands before a syntax error have their effect.
func (s *shell) runReader(r io.Reader, name string) int {
	for stmt, err := range s.parser.StmtsSeq(r) {
		if err != nil {
			s.status = 2
			if name == "-c" {
				name = ""
				fmt.Fprintf(os.Stderr, "%s: -c: ", s.name)
			} else {
				fmt.Fprintf(os.Stderr, "%s: ", s.name)
			}
			fmt.Fprintln(os.Stderr, syntaxText(err))
			break
		}
		if s.runStmt(stmt, "") {
			break
		}
	}
	return s.finish()
}

// finish runs what is left at the end of a shell: pending traps and the EXIT trap.
func (s *shell) finish() int {
	s.runPendingTraps()
	if !s.runner.Exited() {
		code := s.status
		file, _ := s.parser.Parse(strings.NewReader(fmt.Sprintf("exit %d", code)), "")
		s.runner.Run(context.Background(), file.Stmts[0])
	}
	return s.status
}

func syntaxText(err error) string {
	var pe syntax.ParseError
	if errors.As(err, &pe) {
		return fmt.Sprintf("line %d: syntax error: %s", pe.Pos.Line(), pe.Text)
	}
	return err.Error()
}

// runStmt runs one complete command and reports whether the shell must end. text is what jobs shows; "" takes it from the tree.
func (s *shell) runStmt(stmt *syntax.Stmt, text string) (exit bool) {
	s.runPendingTraps()
	if s.runner.Exited() {
		return true
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if text == "" && s.interactive {
		text = printNode(stmt)
	}
	j := &job{text: text, changed: make(chan struct{})}
	defer s.runs(ctx, cancel)()
	stmt = s.rewrite.stmt(stmt)
	err := s.runner.Run(context.WithValue(ctx, jobKey{}, j), stmt)
	exited := s.runner.Exited()
	s.afterJob(j)
	var status interp.ExitStatus
	switch {
	case err == nil:
		s.status = 0
	case ctx.Err() != nil:
		s.status = 130
		if j.stopped() {
			s.status = 148
		}
		exited = !s.interactive
		s.setStatus(s.status)
	case errors.As(err, &status):
		s.status = int(status)
	default:
		s.errorf(nil, "%v", err)
		s.status = 1
	}
	return exited
}

// runs makes cancel what an interrupt calls until done is called. An interrupt that came before is called for at once.
func (s *shell) runs(ctx context.Context, cancel context.CancelFunc) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outer, outerContext := s.current, s.context
	s.current, s.context = cancel, ctx
	select {
	case <-s.struck:
		cancel()
	default:
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current, s.context = outer, outerContext
	}
}

// running reports whether a command line runs.
func (s *shell) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil
}

// setStatus makes $? be code.
func (s *shell) setStatus(code int) {
	file, err := s.parser.Parse(strings.NewReader(fmt.Sprintf("(exit %d)", code)), "")
	if err == nil {
		s.runner.Run(context.Background(), file.Stmts[0])
	}
}

// eval runs text in the shell itself, as source does.
func (s *shell) eval(text string) {
	file, err := s.parser.Parse(strings.NewReader(text), "")
	if err != nil {
		s.errorf(nil, "%s", syntaxText(err))
		return
	}
	for _, stmt := range file.Stmts {
		if s.runStmt(stmt, "") {
			return
		}
	}
}

// sourceFile reads a start-up file; a missing one is no error.
func (s *shell) sourceFile(path string) {
	if data, err := os.ReadFile(path); err == nil {
		s.eval(string(data))
	}
}

// interrupted is closed when the command line that runs is given up; never while none runs, as when a program is asked for completions.
func (s *shell) interrupted() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.context.Done()
}

func hostname() string {
	if h, err := os.Hostname(); err == nil {
		return h
	}
	return "localhost"
}
