package awk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/regex"
)

// maxProgram bounds the text of a program, in bytes.
const maxProgram = 1 << 20

// Main is awk(1).
func Main(c *applet.Cmd) (code int) {
	opts, args, st, ok := c.Parse(applet.Spec{Short: "F:f:v:e:", Stop: true, Status: 2, Long: []string{"field-separator=/F", "file=/f", "assign=/v", "source=/e"}, Help: "[-F fs] [-v var=value] [-f progfile | 'prog'] [file ...]"})
	if !ok {
		return st
	}
	var src []string
	origin := "cmd. line"
	for _, o := range opts {
		switch o.Key {
		case "f":
			text, err := readProgram(c, o.Arg)
			if err != nil {
				c.FailWith(2, "fatal: cannot open source file `%s' for reading: %s", o.Arg, applet.Reason(err))
				return 2
			}
			src, origin = append(src, text), o.Arg
		case "e":
			src = append(src, o.Arg)
		}
	}
	if len(src) == 0 {
		if len(args) == 0 {
			c.FailWith(2, "no program text")
			return c.Usage(2, "usage: %s [-F fs] [-v var=value] [-f progfile | 'prog'] [file ...]", c.Name)
		}
		src, args = args[:1], args[1:]
	}
	text := strings.Join(src, "\n")
	prog, err := parse(text)
	if err != nil {
		var e *syntaxError
		errors.As(err, &e)
		if e.undefined {
			c.FailWith(2, "%s: fatal: %s", origin, e.text)
			return 2
		}
		explain(c, text, origin, e)
		return 1
	}
	in := newInterp(c, prog, args)
	if !in.options(opts) {
		return 2
	}
	defer func() {
		r := recover()
		if f, ok := r.(fatalError); ok {
			if code = f.status; f.inLine {
				f.text = fmt.Sprintf("%s:%d: %s", origin, in.at, f.text)
			}
			c.FailWith(code, "%s", f.text)
		} else if r != nil {
			panic(r)
		}
		in.closeAll()
	}()
	in.program()
	return in.status
}

func readProgram(c *applet.Cmd, name string) (string, error) {
	r, err := c.Open(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxProgram))
	return string(data), err
}

// explain shows the line with the error and where in it.
func explain(c *applet.Cmd, src, origin string, e *syntaxError) {
	at := min(e.at, len(src))
	line := strings.Count(src[:at], "\n") + 1
	start := strings.LastIndexByte(src[:at], '\n') + 1
	text, _, _ := strings.Cut(src[start:], "\n")
	c.FailWith(1, "%s:%d: %s", origin, line, text)
	c.FailWith(1, "%s:%d: %s^ %s", origin, line, strings.Repeat(" ", len([]rune(src[start:at]))), e.text)
}

// newInterp sets the variables to what they are at the start.
func newInterp(c *applet.Cmd, prog *program, args []string) *interp {
	in := &interp{c: c, prog: prog, whole: true, split: true, next: 1, regexes: map[string]*regex.Regexp{}, readers: map[string]*reader{}, writers: map[string]*writer{},
		stdin: bufio.NewReaderSize(c.Stdin, 64<<10), random: rand.New(rand.NewPCG(0, 0))}
	special := func(name string, v value) *cell {
		cl := prog.globals[name]
		if cl == nil {
			cl = &cell{}
			prog.globals[name] = cl
		}
		cl.v = v
		return cl
	}
	in.fs, in.ofs, in.ors, in.rs = special("FS", str(" ")), special("OFS", str(" ")), special("ORS", str("\n")), special("RS", str("\n"))
	in.nr, in.fnr = special("NR", num(0)), special("FNR", num(0))
	in.subsep, in.conv, in.ofmt = special("SUBSEP", str("\x1c")), special("CONVFMT", str("%.6g")), special("OFMT", str("%.6g"))
	in.file, in.rstart, in.rlen = special("FILENAME", value{}), special("RSTART", num(0)), special("RLENGTH", num(-1))
	special("ARGC", num(float64(len(args)+1)))
	in.argv = special("ARGV", value{}).array()
	in.argv.set("0", str(c.Name))
	for i, a := range args {
		in.argv.set(strconv.Itoa(i+1), input(a))
	}
	environ := special("ENVIRON", value{}).array()
	for _, e := range os.Environ() {
		name, v, _ := strings.Cut(e, "=")
		environ.set(name, input(v))
	}
	return in
}

func (in *interp) options(opts []applet.Opt) bool {
	for _, o := range opts {
		switch o.Key {
		case "F":
			fs := unescape(o.Arg)
			if fs == "t" {
				fs = "\t"
			}
			in.fs.v = str(fs)
		case "v":
			if !in.assign(o.Arg) {
				in.c.FailWith(2, "fatal: `%s' argument to `-v' not in `var=value' form", o.Arg)
				return false
			}
		}
	}
	return true
}
