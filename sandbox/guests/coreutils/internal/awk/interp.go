package awk

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/regex"
)

// signal says how a statement ended.
type signal byte

const (
	goOn signal = iota
	doBreak
	doContinue
	doNext
	doNextFile
	doExit
	doReturn
)

// maxFields bounds the fields of a record.
const maxFields = 1 << 24

// maxCalls bounds the depth of calls.
const maxCalls = 10000

// interp is a running program.
type interp struct {
	c      *applet.Cmd
	prog   *program
	frame  []*cell
	calls  int
	result value
	at     int // line of the statement that runs
	status int

	line   string  // $0, when whole
	whole  bool    // line is good; otherwise it is put together from fields
	fields []value // $1…, when split
	split  bool    // fields are good
	fs     *cell   // and the other variables that we look at
	ofs    *cell
	ors    *cell
	rs     *cell
	nr     *cell
	fnr    *cell
	subsep *cell
	conv   *cell
	ofmt   *cell
	file   *cell
	rstart *cell
	rlen   *cell

	regexes map[string]*regex.Regexp
	random  *rand.Rand
	seed    float64

	main    *reader
	argv    *array
	next    int // index of the next operand
	anyFile bool
	readers map[string]*reader
	writers map[string]*writer
	stdin   *bufio.Reader
}

// place is something that can be assigned to, with its subscript or number worked out.
type place struct {
	kind  byte
	cell  *cell
	arr   *array
	key   string
	field int
}

const (
	aVariable = iota
	anElement
	aField
	aCount // NF
)

func (at place) get(in *interp) value {
	switch at.kind {
	case aVariable:
		return at.cell.v
	case anElement:
		return at.arr.get(at.key)
	case aField:
		return in.getField(at.field)
	}
	in.splitRecord()
	return num(float64(len(in.fields)))
}

func (at place) set(in *interp, v value) {
	switch at.kind {
	case aVariable:
		if at.cell.arr != nil {
			in.fatal("attempt to use array in a scalar context")
		}
		at.cell.v = v
	case anElement:
		at.arr.set(at.key, v)
	case aField:
		in.setField(at.field, v)
	default:
		in.setCount(v.num())
	}
}

// fatalError ends the program.
type fatalError struct {
	text   string
	status int
	inLine bool // the line of the program is told
}

// leaving carries next and exit out of a function.
type leaving signal

func (in *interp) fatal(format string, args ...any) {
	panic(fatalError{"fatal: " + fmt.Sprintf(format, args...), 2, true})
}

func (in *interp) convfmt() string { return in.conv.v.str("%.6g") }

// text is a value as a string.
func (in *interp) text(v value) string {
	if v.kind == isNum {
		return numText(v.n, in.convfmt())
	}
	return v.s
}

// key is a value as a subscript.
func (in *interp) key(v value) string { return in.text(v) }

func (in *interp) regex(pattern string) *regex.Regexp {
	if re, ok := in.regexes[pattern]; ok {
		return re
	}
	re, err := regex.Compile(strings.NewReplacer(`\y`, `\b`).Replace(pattern), regex.Extended, false)
	if err != nil {
		in.fatal("invalid regexp: %s: /%s/", err.Error(), pattern)
	}
	if len(in.regexes) > 500 {
		clear(in.regexes)
	}
	in.regexes[pattern] = re
	return re
}

func (in *interp) calculate(op string, a, b float64) float64 {
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		if b == 0 {
			panic(fatalError{"error: division by zero attempted", 1, true})
		}
		return a / b
	case "%":
		if b == 0 {
			panic(fatalError{"error: division by zero attempted in `%'", 1, true})
		}
		return math.Mod(a, b)
	}
	return math.Pow(a, b)
}

func (in *interp) invoke(f *function, frame []*cell) value {
	if in.calls++; in.calls > maxCalls {
		in.fatal("function calls nested too deeply")
	}
	old := in.frame
	in.frame, in.result = frame, value{}
	sig := f.body(in)
	in.frame = old
	in.calls--
	switch sig {
	case doNext, doNextFile, doExit:
		panic(leaving(sig))
	}
	v := in.result
	in.result = value{}
	return v
}

// run runs a statement of the top level.
func (in *interp) run(s stmt) (sig signal) {
	defer func() {
		if r := recover(); r != nil {
			l, ok := r.(leaving)
			if !ok {
				panic(r)
			}
			sig, in.frame, in.calls = signal(l), nil, 0
		}
	}()
	return s(in)
}

// record is $0.
func (in *interp) record() string {
	if !in.whole {
		var b strings.Builder
		for i, f := range in.fields {
			if i > 0 {
				b.WriteString(in.text(in.ofs.v))
			}
			b.WriteString(in.text(f))
		}
		in.line, in.whole = b.String(), true
	}
	return in.line
}

func (in *interp) setRecord(s string) { in.line, in.whole, in.split = s, true, false }

func (in *interp) splitRecord() {
	if in.split {
		return
	}
	in.fields, in.split = in.fields[:0], true
	in.cut(in.line, in.text(in.fs.v), in.rs.v.str("") == "", func(s string) { in.fields = append(in.fields, input(s)) })
}

// cut splits s at the separators that fs describes. A newline separates too when paragraphs are records.
func (in *interp) cut(s, fs string, paragraphs bool, each func(string)) {
	switch {
	case s == "":
	case fs == " ":
		for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' }) {
			each(f)
		}
	case fs == "":
		for _, r := range s {
			each(string(r))
		}
	case len(fs) == 1 && fs != "\\" && !paragraphs:
		for {
			f, rest, found := strings.Cut(s, fs)
			each(f)
			if !found {
				return
			}
			s = rest
		}
	default:
		if paragraphs {
			if len(fs) == 1 {
				fs = "[" + strings.ReplaceAll(fs, `\`, `\\`) + "]"
			}
			fs = "(" + fs + ")|\n"
		}
		if fs == `\` {
			fs = `\\`
		}
		in.cutRegex(s, in.regex(fs), each)
	}
}

func (in *interp) cutRegex(s string, re *regex.Regexp, each func(string)) {
	at := 0
	for _, m := range re.All([]byte(s), -1) {
		if m[0] == m[1] {
			continue // nothing separates nothing
		}
		each(s[at:m[0]])
		at = m[1]
	}
	each(s[at:])
}

func (in *interp) getField(i int) value {
	if i == 0 {
		return input(in.record())
	}
	in.splitRecord()
	if i <= len(in.fields) {
		return in.fields[i-1]
	}
	return value{}
}

func (in *interp) setField(i int, v value) {
	if i == 0 {
		in.setRecord(in.text(v))
		return
	}
	in.splitRecord()
	for len(in.fields) < i {
		in.fields = append(in.fields, value{})
	}
	if v.kind == isNum {
		v = value{isBoth, v.n, in.text(v)}
	}
	in.fields[i-1], in.whole = v, false
}

func (in *interp) setCount(n float64) {
	if n < 0 || n > maxFields {
		in.fatal("NF set to negative value")
	}
	in.splitRecord()
	for len(in.fields) < int(n) {
		in.fields = append(in.fields, value{})
	}
	in.fields, in.whole = in.fields[:int(n)], false
}

func (in *interp) sprintf(args []expr) string {
	list := make([]value, len(args))
	for i, a := range args {
		list[i] = a(in)
	}
	return sprintf(in.text(list[0]), list[1:], in.convfmt())
}

// printText is what print writes: numbers by OFMT.
func (in *interp) printText(args []expr) string {
	ors := in.text(in.ors.v)
	if len(args) == 0 {
		return in.record() + ors
	}
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteString(in.text(in.ofs.v))
		}
		b.WriteString(a(in).str(in.ofmt.v.str("%.6g")))
	}
	b.WriteString(ors)
	return b.String()
}

// program runs BEGIN, the rules for every record, and END.
func (in *interp) program() {
	for _, s := range in.prog.begin {
		if in.run(s) == doExit {
			in.finish()
			return
		}
	}
	if len(in.prog.rules) > 0 || len(in.prog.end) > 0 {
		for in.nextRecord() {
			if sig := in.rules(); sig == doExit {
				break
			} else if sig == doNextFile {
				in.main = nil
			}
		}
	}
	in.finish()
}

func (in *interp) finish() {
	for _, s := range in.prog.end {
		if in.run(s) == doExit {
			return
		}
	}
}

func (in *interp) rules() signal {
	for i := range in.prog.rules {
		r := &in.prog.rules[i]
		sig := in.run(func(in *interp) signal {
			if !in.selected(r) {
				return goOn
			}
			if r.body == nil {
				in.write(in.record() + in.text(in.ors.v))
				return goOn
			}
			return r.body(in)
		})
		switch sig {
		case doNext:
			return goOn
		case doExit, doNextFile:
			return sig
		}
	}
	return goOn
}

func (in *interp) selected(r *rule) bool {
	switch {
	case r.pattern == nil:
		return true
	case r.end == nil:
		return r.pattern(in).true()
	}
	if !*r.within && !r.pattern(in).true() {
		return false
	}
	*r.within = !r.end(in).true()
	return true
}

// shell is the command that sh runs for system() and pipes.
func shell(command string) *exec.Cmd { return exec.Command("sh", "-c", command) }
