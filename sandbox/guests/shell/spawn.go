package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// exec runs what is neither function nor builtin of the interpreter: our own builtins, then programs.
func (s *shell) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	if b, ok := builtin(args[0]); ok {
		return status(b(s, &hc, args))
	}
	if args[0] == execSelf {
		return status(s.execInto(&hc, args[1:]))
	}
	path, code, ok := s.find(&hc, args[0])
	if !ok {
		return status(code)
	}
	if s.replace {
		s.replace = false
		return status(s.execPath(&hc, path, args))
	}
	j, _ := ctx.Value(jobKey{}).(*job)
	p, wait, err := s.start(&hc, path, args, j)
	if err != nil {
		return status(s.startError(&hc, args[0], path, err))
	}
	code = s.waitForeground(p)
	wait()
	return status(code)
}

func status(code int) error {
	if code == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(code))
}

// find looks a program up and prints why it cannot be run. Codes are bash's: 127 not found, 126 not executable.
func (s *shell) find(hc *interp.HandlerContext, name string) (path string, code int, ok bool) {
	path, code, ok = s.lookPath(hc.Dir, hc.Env.Get("PATH").String(), name)
	switch {
	case ok:
		return path, 0, true
	case code == 126 && isDir(hc.Dir, path):
		s.errorf(hc, "%s: Is a directory", name)
	case code == 126:
		s.errorf(hc, "%s: Permission denied", name)
	case strings.Contains(name, "/"):
		s.errorf(hc, "%s: No such file or directory", name)
	default:
		s.notFound(hc, name)
	}
	return "", code, false
}

func isDir(dir, path string) bool {
	fi, err := os.Stat(absolute(dir, path))
	return err == nil && fi.IsDir()
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// lookPath finds name along pathList. A name with a slash is taken as it is.
func (s *shell) lookPath(dir, pathList, name string) (path string, code int, ok bool) {
	if strings.Contains(name, "/") {
		fi, err := os.Stat(absolute(dir, name))
		if err != nil {
			if errors.Is(err, os.ErrPermission) {
				return name, 126, false
			}
			return "", 127, false
		}
		if fi.IsDir() || sys.Access(absolute(dir, name), sys.X_OK) != nil {
			return name, 126, false
		}
		return absolute(dir, name), 0, true
	}
	code = 127
	for _, d := range strings.Split(pathList, ":") {
		if d == "" {
			d = "."
		}
		full := absolute(dir, filepath.Join(d, name))
		fi, err := os.Stat(full)
		if err != nil || fi.IsDir() {
			continue
		}
		if sys.Access(full, sys.X_OK) == nil {
			return full, 0, true
		}
		path, code = full, 126
	}
	return path, code, false
}

// startError explains a program that was found and could not be started.
func (s *shell) startError(hc *interp.HandlerContext, name, path string, err error) int {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		s.errorf(hc, "%s: cannot execute binary file: Exec format error", name)
		return 126
	case errors.Is(err, syscall.EAGAIN):
		s.errorf(hc, "fork: retry: Resource temporarily unavailable")
		return 254
	case errors.Is(err, syscall.ENOMEM):
		s.errorf(hc, "fork: Cannot allocate memory")
		return 254
	case errors.Is(err, syscall.ENOENT):
		if in := interpreterOf(path); in != "" {
			s.errorf(hc, "%s: %s: bad interpreter: No such file or directory", name, in)
			return 126
		}
		s.errorf(hc, "%s: No such file or directory", name)
		return 127
	}
	s.errorf(hc, "%s: %s", name, reason(err))
	return 126
}

func head(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	buf := make([]byte, 128)
	n, _ := io.ReadFull(f, buf)
	return buf[:n]
}

// interpreterOf is the program a "#!" line names.
func interpreterOf(path string) string {
	line, _, _ := bytes.Cut(head(path), []byte("\n"))
	if !bytes.HasPrefix(line, []byte("#!")) {
		return ""
	}
	fields := strings.Fields(string(line[2:]))
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// isBinary is bash's test for files it does not try as a script: a NUL before the first newline.
func isBinary(start []byte) bool {
	line, _, _ := bytes.Cut(start, []byte("\n"))
	return bytes.IndexByte(line, 0) >= 0
}

// environ is the exported part of the variables.
func environ(env expand.Environ) []string {
	vars := map[string]string{}
	order := []string{}
	env.Each(func(name string, v expand.Variable) bool {
		if _, seen := vars[name]; !seen {
			order = append(order, name)
		}
		delete(vars, name)
		if v.IsSet() && v.Exported && v.Kind == expand.String {
			vars[name] = v.Str
		}
		return true
	})
	var list []string
	for _, name := range order {
		if v, ok := vars[name]; ok {
			list = append(list, name+"="+v)
			delete(vars, name)
		}
	}
	return list
}

// streams are a child's descriptors 0–2 and what must be done after they are handed over and after its end.
type streams struct {
	fds     []int
	started []io.Closer // the child's ends
	copies  sync.WaitGroup
}

// streamsOf turns the interpreter's streams into descriptors. Writers that are no files (command substitution)
// get a pipe with a copier.
func streamsOf(hc *interp.HandlerContext) (*streams, error) {
	st := &streams{fds: []int{-1, -1, -1}}
	if f, ok := hc.Stdin.(*os.File); ok && f != nil {
		st.fds[0] = descriptor(f)
	}
	for i, w := range []io.Writer{hc.Stdout, hc.Stderr} {
		switch w := w.(type) {
		case nil:
		case *os.File:
			st.fds[i+1] = descriptor(w)
		default:
			if i == 1 && same(hc.Stdout, w) {
				st.fds[2] = st.fds[1]
				continue
			}
			r, pw, err := os.Pipe()
			if err != nil {
				st.handedOver()
				return nil, err
			}
			st.started = append(st.started, pw)
			st.fds[i+1] = descriptor(pw)
			st.copies.Go(func() {
				io.Copy(w, r)
				r.Close()
			})
		}
	}
	return st, nil
}

func same(a, b io.Writer) bool {
	defer func() { recover() }() // uncomparable writers are different ones
	return a == b
}

func (st *streams) handedOver() {
	for _, c := range st.started {
		c.Close()
	}
}

// start starts a program in job j: in j's process group and, under job control, in the foreground. The function it returns
// waits until the child's output has been taken over; call it after the child's end.
func (s *shell) start(hc *interp.HandlerContext, path string, args []string, j *job) (*proc, func(), error) {
	st, err := streamsOf(hc)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.spawn(path, args, environ(hc.Env), hc.Dir, st.fds, j)
	if errors.Is(err, syscall.ENOEXEC) && !isBinary(head(path)) {
		self, serr := sys.SelfPath()
		if serr == nil { // a script without "#!"
			p, err = s.spawn(self, append([]string{"sh", path}, args[1:]...), environ(hc.Env), hc.Dir, st.fds, j)
		}
	}
	st.handedOver()
	if err != nil {
		return nil, nil, err
	}
	return p, st.copies.Wait, nil
}

// execInto serves `exec PROGRAM`: it returns only when that failed, and then the shell ends, as bash's does.
func (s *shell) execInto(hc *interp.HandlerContext, args []string) int {
	path, code, ok := s.find(hc, args[0])
	if ok {
		code = s.execPath(hc, path, args)
	}
	if !s.interactive {
		os.Exit(code)
	}
	return code
}

func (s *shell) execPath(hc *interp.HandlerContext, path string, args []string) int {
	st, err := streamsOf(hc)
	if err != nil || len(st.started) > 0 {
		s.errorf(hc, "exec: %s: cannot replace a shell whose output is captured", args[0])
		return 126
	}
	if err := rearrange(st.fds); err != nil {
		s.errorf(hc, "exec: %s: %s", args[0], reason(err))
		return 126
	}
	if hc.Dir != "" {
		os.Chdir(hc.Dir)
	}
	s.resetSignals()
	err = sys.Exec(path, args, environ(hc.Env))
	if errors.Is(err, syscall.ENOEXEC) && !isBinary(head(path)) {
		if self, serr := sys.SelfPath(); serr == nil {
			err = sys.Exec(self, append([]string{"sh", path}, args[1:]...), environ(hc.Env))
		}
	}
	return s.startError(hc, args[0], path, err)
}

// rearrange makes fds[i] descriptor i.
func rearrange(fds []int) error {
	for i, fd := range fds { // first out of the way of what is closed below
		if fd != i && fd >= 0 && fd < 3 {
			n, err := sys.Dup(fd, 10)
			if err != nil {
				return err
			}
			fds[i] = n
		}
	}
	for i, fd := range fds {
		if fd == i {
			continue
		}
		if fd < 0 {
			syscall.Close(i)
			continue
		}
		if err := replace(fd, i); err != nil {
			return err
		}
	}
	return nil
}

// exported is the environment of a program started at the prompt.
func (s *shell) exported() []string {
	vars := map[string]string{}
	for _, e := range os.Environ() {
		if name, value, ok := strings.Cut(e, "="); ok {
			vars[name] = value
		}
	}
	for name, v := range s.runner.Vars {
		delete(vars, name)
		if v.IsSet() && v.Exported && v.Kind == expand.String {
			vars[name] = v.Str
		}
	}
	list := make([]string, 0, len(vars))
	for name, value := range vars {
		list = append(list, name+"="+value)
	}
	return list
}

// setOutput sends what a copy of the interpreter prints to w.
func setOutput(r *interp.Runner, w io.Writer) error {
	return interp.StdIO(nil, w, io.Discard)(r)
}
