package sed

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/regex"
)

// maxSpace bounds pattern and hold space: a script such as :a;N;ba must end with an error, not with the memory.
const maxSpace = 64 << 20

type editor struct {
	c        *applet.Cmd
	commands []*command
	quiet    bool
	separate bool
	inPlace  bool
	suffix   string
	delim    byte

	files   []string // still to be read
	name    string
	in      *bufio.Reader
	closer  io.Closer
	out     *bufio.Writer
	temp    *os.File
	writers map[string]*bufio.Writer

	pattern, hold string
	missing       bool // the line had no end
	owed          bool // a line without end was written
	line          int64
	appended      []func()
	substituted   bool
	last          *regex.Regexp
	readers       map[string]*bufio.Reader
	exit          int
}

// Main is sed(1).
func Main(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "nEre:f:i::sz", Help: "[OPTION]... {script-only-if-no-other-script} [input-file]...",
		Long: []string{"quiet/n", "silent/n", "regexp-extended/E", "expression=/e", "file=/f", "in-place?/i", "separate/s", "null-data/z", "posix", "unbuffered", "debug", "sandbox", "follow-symlinks", "line-length="}})
	if !ok {
		return st
	}
	e := &editor{c: c, delim: '\n', writers: map[string]*bufio.Writer{}, readers: map[string]*bufio.Reader{}}
	p := &parser{}
	type source struct{ text, where string }
	var sources []source
	for _, o := range opts {
		switch o.Key {
		case "n":
			e.quiet = true
		case "E", "r":
			p.extended = true
		case "e":
			sources = append(sources, source{o.Arg, fmt.Sprintf("-e expression #%d", len(sources)+1)})
		case "f":
			r, err := c.Open(o.Arg)
			if err != nil {
				c.Fail("couldn't open file %s: %s", o.Arg, applet.Reason(err))
				return 1
			}
			data, _ := io.ReadAll(r)
			r.Close()
			text := strings.TrimSuffix(string(data), "\n")
			if strings.HasPrefix(text, "#n\n") {
				e.quiet = true
			}
			sources = append(sources, source{text, "file " + o.Arg})
		case "i":
			e.inPlace, e.separate, e.suffix = true, true, o.Arg
		case "s":
			e.separate = true
		case "z":
			e.delim = 0
		}
	}
	if len(sources) == 0 {
		if len(names) == 0 {
			fmt.Fprintf(c.Stderr, "Usage: %s [OPTION]... {script-only-if-no-other-script} [input-file]...\n", c.Name)
			return 1
		}
		sources, names = []source{{names[0], "-e expression #1"}}, names[1:]
	}
	joined := sources[:1]
	for _, s := range sources[1:] { // -e 'a\' -e text is one script
		if l := &joined[len(joined)-1]; strings.HasSuffix(l.text, "\\") {
			l.text += "\n" + s.text
		} else {
			joined = append(joined, s)
		}
	}
	for _, s := range joined {
		p.src, p.pos, p.where = s.text, 0, s.where
		if err := p.parse(); err != nil {
			c.Fail("%s", err.Error())
			return 1
		}
	}
	if err := p.finish(); err != nil {
		c.Fail("%s", err.Error())
		return 1
	}
	e.commands = p.commands
	if len(names) == 0 {
		names = []string{"-"}
	}
	e.files, e.out = names, c.Out
	return e.run()
}

func (e *editor) run() int {
	defer func() {
		for _, w := range e.writers {
			w.Flush()
		}
	}()
	for e.next() {
		switch again := e.cycle(); again {
		case cycleQuit:
			e.drain()
			e.finishFile()
			return max(e.exit, e.c.Status())
		}
	}
	e.finishFile()
	return e.c.Status()
}

// drain copies what is left of a file that is edited in place when the script quits.
func (e *editor) drain() {
	if e.temp != nil {
		e.in.WriteTo(e.out)
	}
}

// next reads the next line into pattern space; false at the end of all input.
func (e *editor) next() bool {
	text, missing, ok := e.read()
	if ok {
		e.pattern, e.missing = text, missing
		e.line++
	}
	return ok
}

func (e *editor) read() (text string, missing, ok bool) {
	for {
		if e.in == nil && !e.openNext() {
			return "", false, false
		}
		line, err := e.in.ReadString(e.delim)
		if err != nil && err != io.EOF {
			e.c.Fail("couldn't read %s: %s", e.name, applet.Reason(err))
			e.exit = 2
		}
		if line != "" {
			if strings.HasSuffix(line, string(e.delim)) {
				return line[:len(line)-1], false, true
			}
			return line, true, true
		}
		e.finishFile()
	}
}

func (e *editor) openNext() bool {
	for len(e.files) > 0 {
		name := e.files[0]
		e.files = e.files[1:]
		r, err := e.c.Open(name)
		if err != nil {
			e.c.FailWith(2, "can't read %s: %s", name, applet.Reason(err))
			continue
		}
		if f, isFile := r.(*os.File); isFile {
			if fi, err := f.Stat(); err == nil && fi.IsDir() {
				if e.inPlace {
					e.c.FailWith(4, "couldn't edit %s: not a regular file", name)
				} else {
					e.c.FailWith(2, "couldn't read %s: Is a directory", name)
					e.c.Set(2)
				}
				f.Close()
				continue
			}
			if e.inPlace && !e.openTemp(f) {
				f.Close()
				continue
			}
		}
		e.in, e.closer, e.name = bufio.NewReaderSize(r, 32<<10), r, name
		if e.separate {
			e.line = 0
		}
		return true
	}
	return false
}

func (e *editor) openTemp(f *os.File) bool {
	temp, err := os.CreateTemp(filepath.Dir(f.Name()), "sed")
	if err != nil {
		e.c.FailWith(4, "couldn't open temporary file %s: %s", filepath.Join(filepath.Dir(f.Name()), "sedXXXXXX"), applet.Reason(err))
		return false
	}
	e.temp, e.out = temp, bufio.NewWriter(temp)
	return true
}

// finishFile closes the current input and, edited in place, puts the result where it was.
func (e *editor) finishFile() {
	if e.closer == nil {
		return
	}
	if e.temp != nil {
		e.owed = false
	}
	name := e.name
	if e.temp != nil {
		e.out.Flush()
		fi, err := os.Stat(name)
		if err == nil {
			os.Chmod(e.temp.Name(), fi.Mode().Perm())
		}
		e.temp.Close()
		if e.suffix != "" {
			backup := name + e.suffix
			if strings.Contains(e.suffix, "*") {
				backup = filepath.Join(filepath.Dir(name), strings.ReplaceAll(e.suffix, "*", filepath.Base(name)))
			}
			os.Rename(name, backup)
		}
		if err := os.Rename(e.temp.Name(), name); err != nil {
			e.c.FailWith(4, "cannot rename %s: %s", e.temp.Name(), applet.Reason(err))
		}
		e.temp, e.out = nil, e.c.Out
	}
	e.closer.Close()
	e.in, e.closer = nil, nil
}

// isLast reports whether the current line is the last one ($).
func (e *editor) isLast() bool {
	for {
		if e.in != nil {
			if _, err := e.in.Peek(1); err == nil {
				return false
			}
			if e.separate {
				return true
			}
		}
		if len(e.files) == 0 {
			return true
		}
		if e.inPlace {
			return true
		}
		if e.closer != nil {
			e.closer.Close()
			e.in, e.closer = nil, nil
		}
		if !e.openNext() {
			return true
		}
	}
}

func (e *editor) write(s string, missing bool) {
	e.put(s)
	if missing {
		e.owed = true
	} else {
		e.out.WriteByte(e.delim)
	}
}

// put writes text, behind the line end that the last line of a file lacked.
func (e *editor) put(s string) {
	if e.owed {
		e.owed = false
		e.out.WriteByte(e.delim)
	}
	e.out.WriteString(s)
}

func (e *editor) writer(name string) io.Writer {
	switch name {
	case "/dev/stdout":
		return e.out
	case "/dev/stderr":
		return e.c.Stderr
	}
	if w, ok := e.writers[name]; ok {
		return w
	}
	f, err := os.Create(name)
	if err != nil {
		e.c.FailWith(4, "couldn't open file %s: %s", name, applet.Reason(err))
		w := bufio.NewWriter(io.Discard)
		e.writers[name] = w
		return w
	}
	w := bufio.NewWriter(f)
	e.writers[name] = w
	return w
}

// applies reports whether a command's addresses select the current line.
func (e *editor) applies(c *command) bool {
	if c.a1.kind == noAddress {
		return true
	}
	if c.a2.kind == noAddress {
		return e.matches(c.a1)
	}
	if c.active {
		switch c.a2.kind {
		case lineAddress, plusAddress, multiAddress:
			if e.line >= c.end {
				c.active = false
			}
			return e.line <= c.end
		default:
			if e.matches(c.a2) {
				c.active = false
			}
			return true
		}
	}
	start := c.a1.kind == zeroAddress && e.line == 1 || c.a1.kind != zeroAddress && e.matches(c.a1)
	if !start {
		return false
	}
	if c.a1.kind == zeroAddress && e.matches(c.a2) {
		c.a1 = address{kind: lineAddress, n: -1} // ended at once, never again
		return true
	}
	if c.a1.kind == zeroAddress {
		c.a1 = address{kind: lineAddress, n: -1}
	}
	switch c.a2.kind {
	case lineAddress:
		c.end = c.a2.n
	case plusAddress:
		c.end = e.line + c.a2.n
	case multiAddress:
		c.end = e.line
		if c.a2.n > 0 {
			c.end = (e.line + c.a2.n - 1) / c.a2.n * c.a2.n
		}
	case lastAddress:
		c.active = !e.isLast()
		return true
	default:
		c.active = true
		return true
	}
	c.active = c.end > e.line
	return true
}

func (e *editor) matches(a address) bool {
	switch a.kind {
	case lineAddress:
		return e.line == a.n
	case lastAddress:
		return e.isLast()
	case stepAddress:
		if a.step <= 0 {
			return e.line == a.n
		}
		return e.line >= a.n && (e.line-a.n)%a.step == 0
	case regexAddress:
		re := a.re
		if a.usesLast {
			re = e.last
		}
		if re == nil {
			e.c.FailWith(1, "no previous regular expression")
			return false
		}
		e.last = re
		return re.Match([]byte(e.pattern))
	}
	return false
}

func (e *editor) substitute(c *command) {
	re := c.re
	if c.last {
		re = e.last
	}
	if re == nil {
		e.c.FailWith(1, "no previous regular expression")
		return
	}
	e.last = re
	src := []byte(e.pattern)
	n := 1
	if c.global {
		n = -1
	} else if c.nth > 0 {
		n = c.nth
	}
	all := re.All(src, n)
	first := max(c.nth, 1)
	if len(all) < first {
		return
	}
	var b strings.Builder
	at := 0
	for _, m := range all[first-1:] {
		b.Write(src[at:m[0]])
		expand(&b, src, m, c.replace)
		at = m[1]
	}
	b.Write(src[at:])
	e.pattern, e.substituted = b.String(), true
	for range c.print {
		e.write(e.pattern, e.missing)
	}
	if c.to != "" {
		fmt.Fprintf(e.writer(c.to), "%s\n", e.pattern)
	}
}

// expand writes a replacement, with the changes of case of \U \L \u \l \E.
func expand(b *strings.Builder, src []byte, m []int, pieces []piece) {
	var mode, once byte
	for _, p := range pieces {
		switch p.fold {
		case 'U', 'L':
			mode = p.fold
			continue
		case 'E':
			mode = 0
			continue
		case 'u', 'l':
			once = p.fold
			continue
		}
		text := p.text
		if p.group >= 0 {
			text = ""
			if 2*p.group+1 < len(m) && m[2*p.group] >= 0 {
				text = string(src[m[2*p.group]:m[2*p.group+1]])
			}
		}
		switch mode {
		case 'U':
			text = strings.ToUpper(text)
		case 'L':
			text = strings.ToLower(text)
		}
		if once != 0 && text != "" {
			r, n := utf8.DecodeRuneInString(text)
			if once == 'u' {
				r = unicode.ToUpper(r)
			} else {
				r = unicode.ToLower(r)
			}
			text, once = string(r)+text[n:], 0
		}
		b.WriteString(text)
	}
}
