package awk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// reader gives the records of a file or a command.
type reader struct {
	br    *bufio.Reader
	close func() int
	rest  string // read but not yet given, when RS is an expression
	eof   bool
}

// writer is where print's > >> and | go.
type writer struct {
	w     *bufio.Writer
	close func() int
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code
		}
		return 256
	}
	if err != nil {
		return -1
	}
	return 0
}

// record reads up to the record separator rs. io.EOF when there is nothing more.
func (r *reader) record(in *interp, rs string) (string, error) {
	switch {
	case rs == "":
		return r.paragraph()
	case len(rs) == 1:
		s, err := r.br.ReadString(rs[0])
		if err == io.EOF && s != "" {
			err = nil
		}
		return strings.TrimSuffix(s, rs), err
	}
	re := in.regex(rs)
	buf := make([]byte, 16<<10)
	for {
		if m := re.Find([]byte(r.rest)); m != nil && m[1] > m[0] && (m[1] < len(r.rest) || r.eof) {
			s := r.rest[:m[0]]
			r.rest = r.rest[m[1]:]
			return s, nil
		}
		if r.eof {
			s := r.rest
			if s == "" {
				return "", io.EOF
			}
			r.rest = ""
			return s, nil
		}
		n, err := r.br.Read(buf)
		r.rest += string(buf[:n])
		if err != nil {
			r.eof = true
		}
	}
}

// paragraph reads lines up to empty ones.
func (r *reader) paragraph() (string, error) {
	var b strings.Builder
	for {
		s, err := r.br.ReadString('\n')
		text := strings.TrimSuffix(s, "\n")
		switch {
		case text != "":
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(text)
		case err == nil && b.Len() > 0:
			return b.String(), nil
		}
		if err != nil {
			if b.Len() > 0 {
				err = nil
			}
			return b.String(), err
		}
	}
}

// nextMain reads the next record of the main input, going through the operands.
func (in *interp) nextMain() (string, bool) {
	for {
		if in.main == nil && !in.openNext() {
			return "", false
		}
		s, err := in.main.record(in, in.text(in.rs.v))
		if err == nil {
			in.nr.v = num(in.nr.v.num() + 1)
			in.fnr.v = num(in.fnr.v.num() + 1)
			return s, true
		}
		in.main.close()
		in.main = nil
	}
}

func (in *interp) nextRecord() bool {
	s, ok := in.nextMain()
	if ok {
		in.setRecord(s)
	}
	return ok
}

// openNext opens the next operand that is a file; assignments among them are carried out.
func (in *interp) openNext() bool {
	argc := int(in.prog.globals["ARGC"].v.num())
	for in.next < argc {
		name := in.text(in.argv.get(numText(float64(in.next), "")))
		in.next++
		if name == "" || in.assign(name) {
			continue
		}
		in.anyFile = true
		if in.open(name) {
			return true
		}
	}
	if in.anyFile {
		return false
	}
	in.anyFile = true
	return in.open("-")
}

func (in *interp) open(name string) bool {
	in.fnr.v = num(0)
	in.file.v = str(name)
	if name == "-" || name == "/dev/stdin" {
		if name == "-" {
			in.file.v = str("")
		}
		in.main = &reader{br: in.stdin, close: func() int { return 0 }}
		return true
	}
	f, err := os.Open(name)
	if err == nil {
		if fi, serr := f.Stat(); serr == nil && fi.IsDir() {
			in.warn("command line argument `%s' is a directory: skipped", name)
			f.Close()
			return false
		}
		in.main = &reader{br: bufio.NewReaderSize(f, 64<<10), close: func() int { f.Close(); return 0 }}
		return true
	}
	panic(fatalError{text: fmt.Sprintf("fatal: cannot open file `%s' for reading: %s", name, applet.Reason(err)), status: 2})
}

func (in *interp) warn(format string, args ...any) {
	in.c.FailWith(0, "warning: "+format, args...)
}

// assign carries out NAME=VALUE.
func (in *interp) assign(s string) bool {
	name, v, ok := strings.Cut(s, "=")
	if !ok || name == "" || !isLetter(name[0]) {
		return false
	}
	for i := range len(name) {
		if !isLetter(name[i]) && !isDigit(name[i]) {
			return false
		}
	}
	c := in.prog.globals[name]
	if c == nil {
		c = &cell{}
		in.prog.globals[name] = c
	}
	c.v = input(unescape(v))
	return true
}

func (in *interp) getlineMain(to func(in *interp) place) value {
	s, ok := in.nextMain()
	if !ok {
		return num(0)
	}
	if to == nil {
		in.setRecord(s)
	} else {
		to(in).set(in, input(s))
	}
	return num(1)
}

// getline reads a record from r into a variable or $0. r is nil when it could not be opened.
func (in *interp) getline(to func(in *interp) place, r *reader) value {
	if r == nil {
		return num(-1)
	}
	s, err := r.record(in, in.text(in.rs.v))
	switch {
	case err == io.EOF:
		return num(0)
	case err != nil:
		return num(-1)
	case to == nil:
		in.setRecord(s)
	default:
		to(in).set(in, input(s))
	}
	return num(1)
}

func (in *interp) fileReader(name string) *reader {
	if r, ok := in.readers[name]; ok {
		return r
	}
	r := &reader{br: in.stdin, close: func() int { return 0 }}
	if name != "-" && name != "/dev/stdin" {
		f, err := os.Open(name)
		if err != nil {
			return nil
		}
		r = &reader{br: bufio.NewReader(f), close: func() int { f.Close(); return 0 }}
	}
	in.readers[name] = r
	return r
}

func (in *interp) commandReader(command string) *reader {
	if r, ok := in.readers[command]; ok {
		return r
	}
	in.flush()
	cmd := shell(command)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil
	}
	r := &reader{br: bufio.NewReader(out), close: func() int { out.Close(); return exitCode(cmd.Wait()) }}
	in.readers[command] = r
	return r
}

// write prints to standard output.
func (in *interp) write(text string) {
	if _, err := in.c.Out.WriteString(text); err != nil {
		in.fatal("print to \"standard output\" failed: %s", applet.Reason(err))
	}
}

func (in *interp) writeTo(mode, name, text string) {
	w, ok := in.writers[name]
	if !ok {
		w = in.openWriter(mode, name)
		in.writers[name] = w
	}
	w.w.WriteString(text)
	if name == "/dev/stderr" {
		w.w.Flush()
	}
}

func (in *interp) openWriter(mode, name string) *writer {
	if mode == "|" {
		in.flush()
		cmd := shell(name)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		pipe, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			in.fatal("can't open pipe `%s' for output: %s", name, applet.Reason(err))
		}
		return &writer{bufio.NewWriter(pipe), func() int { pipe.Close(); return exitCode(cmd.Wait()) }}
	}
	none := func() int { return 0 }
	switch name {
	case "/dev/stdout", "-":
		return &writer{in.c.Out, none}
	case "/dev/stderr":
		return &writer{bufio.NewWriter(in.c.Stderr), none}
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if mode == ">>" {
		flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	f, err := os.OpenFile(name, flags, 0o666)
	if err != nil {
		in.fatal("cannot redirect to `%s': %s", name, applet.Reason(err))
	}
	return &writer{bufio.NewWriter(f), func() int { f.Close(); return 0 }}
}

func (in *interp) flush() {
	in.c.Out.Flush()
	for _, w := range in.writers {
		w.w.Flush()
	}
}

// closeNamed is close(): the status of what was closed, or −1.
func (in *interp) closeNamed(name string) int {
	code := -1
	if w, ok := in.writers[name]; ok {
		w.w.Flush()
		code = w.close()
		delete(in.writers, name)
	}
	if r, ok := in.readers[name]; ok {
		code = r.close()
		delete(in.readers, name)
	}
	return code
}

func (in *interp) closeAll() {
	in.flush()
	for name := range in.writers {
		in.closeNamed(name)
	}
	for name := range in.readers {
		in.closeNamed(name)
	}
}
