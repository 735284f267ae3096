// Package applet is what every utility of the multi-call program stands on: the streams of one run,
// option parsing by the conventions of getopt_long(3), and error texts in the form the GNU utilities print.
//
// It knows no utility. Nothing here is shared between two runs, so a test may run applets side by side.
package applet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Main runs one utility and returns its exit status.
type Main func(c *Cmd) int

// Cmd is one run of a utility.
type Cmd struct {
	Name   string        // as it was called: prefix of every message
	Args   []string      // operands and options, without the name
	Stdin  io.Reader     // reading flushes Out first, so that filters work line by line in a pipe
	Out    *bufio.Writer // flushed by Run
	Stderr io.Writer
	status int
}

// Run calls main on the process's own streams and returns the exit status.
// A reader that went away ends the program as SIGPIPE would (141) without a message.
func Run(name string, args []string, main Main) int {
	out := bufio.NewWriterSize(pipeEnds{os.Stdout}, 16<<10)
	c := &Cmd{Name: name, Args: args, Out: out, Stderr: os.Stderr}
	c.Stdin = &flushingReader{out, os.Stdin}
	code := main(c)
	if err := out.Flush(); err != nil && code == 0 {
		c.Fail("write error: %s", Reason(err))
		code = 1
	}
	return code
}

// pipeEnds ends the process when its reader is gone.
type pipeEnds struct{ f *os.File }

func (w pipeEnds) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		os.Exit(128 + 13)
	}
	return n, err
}

type flushingReader struct {
	out *bufio.Writer
	in  *os.File
}

func (r *flushingReader) Read(p []byte) (int, error) {
	if r.out.Buffered() > 0 {
		r.out.Flush()
	}
	return r.in.Read(p)
}

// Fail prints "name: message" and remembers status 1.
func (c *Cmd) Fail(format string, args ...any) { c.FailWith(1, format, args...) }

// FailWith prints "name: message" and remembers status if it is higher than the one before.
func (c *Cmd) FailWith(status int, format string, args ...any) {
	c.Out.Flush()
	fmt.Fprintf(c.Stderr, "%s: %s\n", c.Name, fmt.Sprintf(format, args...))
	c.Set(status)
}

// Set raises the status that Status returns.
func (c *Cmd) Set(status int) { c.status = max(c.status, status) }

// Status is the highest status remembered so far.
func (c *Cmd) Status() int { return c.status }

// Usage prints a message and the hint at --help, and returns status.
func (c *Cmd) Usage(status int, format string, args ...any) int {
	c.FailWith(status, format, args...)
	fmt.Fprintf(c.Stderr, "Try '%s --help' for more information.\n", c.Name)
	return status
}

// Reason is the text of an error without operation and path, spelled as strerror(3) does.
func Reason(err error) string {
	var pe *fs.PathError
	var le *os.LinkError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	case errors.As(err, &se):
		err = se.Err
	}
	switch err {
	case fs.ErrNotExist:
		return "No such file or directory"
	case fs.ErrExist:
		return "File exists"
	case fs.ErrPermission:
		return "Permission denied"
	}
	s := err.Error()
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// Quote puts a name between single quotes, as GNU does in messages.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Open opens a file for reading; "-" is standard input.
func (c *Cmd) Open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.Stdin), nil
	}
	return os.Open(name)
}

// EachInput calls f with every operand opened (standard input when there is none). Files that cannot be opened
// or are directories get a message and status 1; an error of f gets one too.
func (c *Cmd) EachInput(names []string, f func(name string, r io.Reader) error) {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		r, err := c.Open(name)
		if err != nil {
			c.Fail("%s: %s", name, Reason(err))
			continue
		}
		if err := f(name, r); err != nil {
			c.Fail("%s: %s", name, Reason(err))
		}
		r.Close()
	}
}
