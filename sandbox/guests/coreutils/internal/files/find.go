package files

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// found is one file that find looks at.
type found struct {
	path  string
	start string
	name  string
	depth int
	stat  sys.Stat
	prune bool
}

// test is a node of find's expression.
type test func(f *finder, e *found) bool

type finder struct {
	c           *applet.Cmd
	args        []string
	follow      byte // 'P', 'L', 'H'
	min, max    int
	depthFirst  bool
	xdev        bool
	acts        bool // an action other than -prune stands in the expression
	now         time.Time
	names       Names
	batches     []*batch
	quit        bool
	answers     *bufio.Reader
	warnedOrder bool
}

type batch struct {
	command []string
	dir     bool
	files   []string
	size    int
}

// maxArgs bounds the command lines that -exec … + and xargs build, in bytes.
const maxArgs = 128 << 10

type findError string

func (e findError) Error() string { return string(e) }

// Find is find(1).
func Find(c *applet.Cmd) int {
	f := &finder{c: c, follow: 'P', min: 0, max: 1 << 30, now: time.Now()}
	args := c.Args
	for len(args) > 0 && (args[0] == "-P" || args[0] == "-L" || args[0] == "-H") {
		f.follow = args[0][1]
		args = args[1:]
	}
	var starts []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "(" && args[0] != "!" && args[0] != ")" && args[0] != "," {
		starts = append(starts, args[0])
		args = args[1:]
	}
	if len(starts) == 0 {
		starts = []string{"."}
	}
	f.args = args
	expr, err := f.parse()
	if err != nil {
		c.Fail("%s", err.Error())
		return 1
	}
	if !f.acts {
		inner := expr
		expr = func(f *finder, e *found) bool {
			if inner == nil || inner(f, e) {
				fmt.Fprintln(c.Out, e.path)
			}
			return true
		}
	}
	for _, s := range starts {
		f.walk(expr, &found{path: s, start: s, name: filepath.Base(s)}, 0)
		if f.quit {
			break
		}
	}
	for _, b := range f.batches {
		f.flush(b)
	}
	return c.Status()
}

func (f *finder) walk(expr test, e *found, dev uint64) {
	st, err := sys.StatFile(e.path, f.follow == 'L' || f.follow == 'H' && e.depth == 0)
	if err != nil && f.follow != 'P' {
		st, err = sys.StatFile(e.path, false)
	}
	if err != nil {
		f.c.Fail("%s: %s", applet.Quote(e.path), applet.Reason(err))
		return
	}
	e.stat = st
	isDir := st.Mode&sys.S_IFMT == sys.S_IFDIR
	visit := func() {
		if e.depth >= f.min && !f.quit {
			expr(f, e)
		}
	}
	if !f.depthFirst {
		visit()
	}
	if isDir && e.depth < f.max && !e.prune && !f.quit && (!f.xdev || e.depth == 0 || st.Dev == dev) && e.depth < maxDepth {
		list, err := os.ReadDir(e.path)
		if err != nil {
			f.c.Fail("%s: %s", applet.Quote(e.path), applet.Reason(err))
		}
		for _, d := range list {
			f.walk(expr, &found{path: join(e.path, d.Name()), start: e.start, name: d.Name(), depth: e.depth + 1}, st.Dev)
			if f.quit {
				return
			}
		}
	}
	if f.depthFirst {
		visit()
	}
}

// parse reads the whole expression: lists of or of and of not.
func (f *finder) parse() (t test, err error) {
	if len(f.args) == 0 {
		return nil, nil
	}
	t, err = f.list()
	if err == nil && len(f.args) > 0 {
		if f.args[0] == ")" {
			return nil, findError("invalid expression; you have used a binary operator or ')' with nothing before it.")
		}
		return nil, findError("unexpected argument " + applet.Quote(f.args[0]))
	}
	return t, err
}

func (f *finder) peek() string {
	if len(f.args) > 0 {
		return f.args[0]
	}
	return ""
}

func (f *finder) list() (test, error) {
	left, err := f.or()
	for err == nil && f.peek() == "," {
		f.args = f.args[1:]
		l := left
		var right test
		if right, err = f.or(); err == nil {
			left = func(f *finder, e *found) bool { l(f, e); return right(f, e) }
		}
	}
	return left, err
}

func (f *finder) or() (test, error) {
	left, err := f.and()
	for err == nil && (f.peek() == "-o" || f.peek() == "-or") {
		op := f.peek()
		f.args = f.args[1:]
		if len(f.args) == 0 {
			return nil, findError("expected an expression after " + applet.Quote(op))
		}
		l := left
		var right test
		if right, err = f.and(); err == nil {
			left = func(f *finder, e *found) bool { return l(f, e) || right(f, e) }
		}
	}
	return left, err
}

func (f *finder) and() (test, error) {
	left, err := f.not()
	for err == nil && len(f.args) > 0 {
		switch f.peek() {
		case "-o", "-or", ")", ",":
			return left, nil
		case "-a", "-and":
			op := f.peek()
			f.args = f.args[1:]
			if len(f.args) == 0 {
				return nil, findError("expected an expression after " + applet.Quote(op))
			}
		}
		l := left
		var right test
		if right, err = f.not(); err == nil {
			left = func(f *finder, e *found) bool { return l(f, e) && right(f, e) }
		}
	}
	return left, err
}

func (f *finder) not() (test, error) {
	switch f.peek() {
	case "!", "-not":
		f.args = f.args[1:]
		t, err := f.not()
		if err != nil {
			return nil, err
		}
		return func(f *finder, e *found) bool { return !t(f, e) }, nil
	case "(":
		f.args = f.args[1:]
		t, err := f.list()
		if err == nil && f.peek() != ")" {
			return nil, findError("invalid expression; I was expecting to find a ')' somewhere but did not see one.")
		}
		if err == nil {
			f.args = f.args[1:]
		}
		return t, err
	case "":
		return nil, findError("invalid expression; expected to find an expression after an operator")
	}
	return f.primary()
}

// argument takes the argument of a primary.
func (f *finder) argument(name string) (string, error) {
	if len(f.args) == 0 {
		return "", findError("missing argument to `" + name + "'")
	}
	a := f.args[0]
	f.args = f.args[1:]
	return a, nil
}

func (f *finder) primary() (test, error) {
	name := f.args[0]
	f.args = f.args[1:]
	if t, ok := f.action(name); ok {
		return t()
	}
	switch name {
	case "-true":
		return func(*finder, *found) bool { return true }, nil
	case "-false":
		return func(*finder, *found) bool { return false }, nil
	case "-depth", "-d":
		f.depthFirst = true
		return func(*finder, *found) bool { return true }, nil
	case "-xdev", "-mount":
		f.xdev = true
		return func(*finder, *found) bool { return true }, nil
	case "-daystart", "-follow", "-noleaf", "-warn", "-nowarn":
		if name == "-follow" {
			f.follow = 'L'
		}
		return func(*finder, *found) bool { return true }, nil
	case "-empty":
		return func(f *finder, e *found) bool {
			switch e.stat.Mode & sys.S_IFMT {
			case sys.S_IFREG:
				return e.stat.Size == 0
			case sys.S_IFDIR:
				list, err := os.ReadDir(e.path)
				return err == nil && len(list) == 0
			}
			return false
		}, nil
	case "-readable", "-writable", "-executable":
		mode := map[string]uint32{"-readable": sys.R_OK, "-writable": sys.W_OK, "-executable": sys.X_OK}[name]
		return func(f *finder, e *found) bool { return sys.Access(e.path, mode) == nil }, nil
	case "-nouser", "-nogroup":
		return func(f *finder, e *found) bool {
			if name == "-nouser" {
				return f.names.User(e.stat.UID) == strconv.Itoa(int(e.stat.UID))
			}
			return f.names.Group(e.stat.GID) == strconv.Itoa(int(e.stat.GID))
		}, nil
	}
	return f.comparison(name)
}

// comparison parses the primaries that take one argument.
func (f *finder) comparison(name string) (test, error) {
	switch name {
	case "-name", "-iname", "-path", "-ipath", "-wholename", "-lname", "-regex", "-iregex", "-type", "-xtype", "-size", "-perm", "-user", "-group", "-uid", "-gid", "-links", "-inum",
		"-mtime", "-atime", "-ctime", "-mmin", "-amin", "-cmin", "-newer", "-newermt", "-samefile", "-maxdepth", "-mindepth":
	default:
		if strings.HasPrefix(name, "-") {
			return nil, findError("unknown predicate `" + name + "'")
		}
		return nil, findError("paths must precede expression: `" + name + "'")
	}
	arg, err := f.argument(name)
	if err != nil {
		return nil, err
	}
	switch name {
	case "-maxdepth", "-mindepth":
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return nil, findError(fmt.Sprintf("Expected a positive decimal integer argument to %s, but got %s", name, applet.Quote(arg)))
		}
		if name == "-maxdepth" {
			f.max = n
		} else {
			f.min = n
		}
		return func(*finder, *found) bool { return true }, nil
	case "-name", "-iname":
		return globTest(arg, name == "-iname", func(e *found) string { return e.name }), nil
	case "-path", "-ipath", "-wholename":
		return globTest(arg, name == "-ipath", func(e *found) string { return e.path }), nil
	case "-lname":
		return globTest(arg, false, func(e *found) string { l, _ := os.Readlink(e.path); return l }), nil
	case "-regex", "-iregex":
		pattern := "^(?:" + arg + ")$"
		if name == "-iregex" {
			pattern = "(?i)" + pattern
		}
		re, err := regexp.Compile(strings.NewReplacer(`\(`, "(", `\)`, ")", `\|`, "|").Replace(pattern))
		if err != nil {
			return nil, findError("failed to compile regular expression " + applet.Quote(arg))
		}
		return func(_ *finder, e *found) bool { return re.MatchString(e.path) }, nil
	case "-type", "-xtype":
		return typeTest(arg, name == "-xtype")
	case "-size":
		return sizeTest(arg)
	case "-perm":
		return permTest(arg)
	case "-user", "-uid", "-group", "-gid":
		return ownerTest(name, arg)
	case "-links", "-inum":
		return numberTest(name, arg, func(f *finder, e *found) int64 {
			if name == "-links" {
				return int64(e.stat.Nlink)
			}
			return int64(e.stat.Ino)
		})
	case "-newer", "-newermt", "-samefile":
		return referenceTest(name, arg)
	}
	unit := 24 * time.Hour
	if strings.HasSuffix(name, "min") {
		unit = time.Minute
	}
	return numberTest(name, arg, func(f *finder, e *found) int64 {
		t := e.stat.Mtime
		switch name[1] {
		case 'a':
			t = e.stat.Atime
		case 'c':
			t = e.stat.Ctime
		}
		age := f.now.Sub(t)
		if unit == time.Minute {
			return int64((age + unit - 1) / unit) // minutes are rounded up
		}
		return int64(age / unit)
	})
}

// Glob matches a shell pattern in which '*' also matches '/'.
func Glob(pattern, name string) bool {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '[':
			end := strings.IndexByte(pattern[min(i+2, len(pattern)):], ']')
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			set := pattern[i+1 : i+2+end]
			if strings.HasPrefix(set, "!") {
				set = "^" + set[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(set, `\`, `\\`) + "]")
			i += end + 2
		case '\\':
			if i+1 < len(pattern) {
				i++
				b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			}
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	re, err := regexp.Compile(b.String() + `\z`)
	return err == nil && re.MatchString(name)
}

func globTest(pattern string, fold bool, of func(*found) string) test {
	simple := !strings.Contains(pattern, "/") && !fold
	if fold {
		pattern = strings.ToLower(pattern)
	}
	return func(_ *finder, e *found) bool {
		name := of(e)
		if fold {
			name = strings.ToLower(name)
		}
		if simple && !strings.Contains(name, "/") {
			ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), name)
			return ok && err == nil
		}
		return Glob(pattern, name)
	}
}

func typeTest(arg string, other bool) (test, error) {
	kinds := map[string]uint32{"f": sys.S_IFREG, "d": sys.S_IFDIR, "l": sys.S_IFLNK, "p": sys.S_IFIFO, "s": sys.S_IFSOCK, "c": sys.S_IFCHR, "b": sys.S_IFBLK}
	var want []uint32
	for _, k := range strings.Split(arg, ",") {
		w, ok := kinds[k]
		if !ok {
			return nil, findError("Unknown argument to -type: " + arg)
		}
		want = append(want, w)
	}
	return func(_ *finder, e *found) bool {
		st := e.stat
		if other {
			if s, err := sys.StatFile(e.path, true); err == nil {
				st = s
			}
		}
		for _, w := range want {
			if st.Mode&sys.S_IFMT == w {
				return true
			}
		}
		return false
	}, nil
}

// signed splits +N, -N and N.
func signed(arg string) (sign byte, rest string) {
	if arg != "" && (arg[0] == '+' || arg[0] == '-') {
		return arg[0], arg[1:]
	}
	return 0, arg
}

func compareSigned(sign byte, have, want int64) bool {
	switch sign {
	case '+':
		return have > want
	case '-':
		return have < want
	}
	return have == want
}

func sizeTest(arg string) (test, error) {
	sign, rest := signed(arg)
	unit := int64(512)
	if n := len(rest); n > 0 {
		if u := strings.IndexByte("bcwkMG", rest[n-1]); u >= 0 {
			unit = []int64{512, 1, 2, 1 << 10, 1 << 20, 1 << 30}[u]
			rest = rest[:n-1]
		}
	}
	want, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, findError("invalid -size type `" + arg + "'")
	}
	return func(_ *finder, e *found) bool {
		return compareSigned(sign, (e.stat.Size+unit-1)/unit, want)
	}, nil
}

func permTest(arg string) (test, error) {
	how, rest := byte(0), arg
	if arg != "" && (arg[0] == '-' || arg[0] == '/') {
		how, rest = arg[0], arg[1:]
	}
	m, ok := ParseMode(rest)
	if !ok {
		return nil, findError("invalid mode " + applet.Quote(arg))
	}
	want := m.Apply(0, false, 0)
	return func(_ *finder, e *found) bool {
		have := e.stat.Mode & 0o7777
		switch how {
		case '-':
			return have&want == want
		case '/':
			return want == 0 || have&want != 0
		}
		return have == want
	}, nil
}

func ownerTest(name, arg string) (test, error) {
	file := "/etc/passwd"
	if name == "-group" || name == "-gid" {
		file = "/etc/group"
	}
	id, ok := lookup(file, arg)
	if !ok {
		return nil, findError(fmt.Sprintf("%s is not the name of a known %s", applet.Quote(arg), strings.TrimLeft(name, "-")))
	}
	return func(_ *finder, e *found) bool {
		if file == "/etc/group" {
			return e.stat.GID == id
		}
		return e.stat.UID == id
	}, nil
}

func numberTest(name, arg string, of func(f *finder, e *found) int64) (test, error) {
	sign, rest := signed(arg)
	want, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, findError(fmt.Sprintf("invalid argument `%s' to `%s'", arg, name))
	}
	return func(f *finder, e *found) bool { return compareSigned(sign, of(f, e), want) }, nil
}

func referenceTest(name, arg string) (test, error) {
	if name == "-newermt" {
		t, err := ParseDate(arg, time.Now())
		if err != nil {
			return nil, findError("I cannot figure out how to interpret " + applet.Quote(arg) + " as a date or time")
		}
		return func(_ *finder, e *found) bool { return e.stat.Mtime.After(t) }, nil
	}
	ref, err := sys.StatFile(arg, true)
	if err != nil {
		return nil, findError(fmt.Sprintf("%s: %s", applet.Quote(arg), applet.Reason(err)))
	}
	if name == "-samefile" {
		return func(_ *finder, e *found) bool { return sameFile(e.stat, ref) }, nil
	}
	return func(_ *finder, e *found) bool { return e.stat.Mtime.After(ref.Mtime) }, nil
}

// action parses primaries with an effect.
func (f *finder) action(name string) (func() (test, error), bool) {
	simple := func(t test) (func() (test, error), bool) {
		return func() (test, error) { return t, nil }, true
	}
	switch name {
	case "-print":
		f.acts = true
		return simple(func(f *finder, e *found) bool { fmt.Fprintln(f.c.Out, e.path); return true })
	case "-print0":
		f.acts = true
		return simple(func(f *finder, e *found) bool { fmt.Fprintf(f.c.Out, "%s\x00", e.path); return true })
	case "-ls":
		f.acts = true
		return simple((*finder).listOne)
	case "-prune":
		return simple(func(f *finder, e *found) bool { e.prune = true; return true })
	case "-quit":
		f.acts = true
		return simple(func(f *finder, e *found) bool { f.quit = true; return true })
	case "-delete":
		f.acts, f.depthFirst = true, true
		return simple(func(f *finder, e *found) bool {
			if e.path == "." {
				return true
			}
			if err := os.Remove(e.path); err != nil {
				f.c.Fail("cannot delete %s: %s", applet.Quote(e.path), applet.Reason(err))
				return false
			}
			return true
		})
	case "-printf":
		f.acts = true
		return func() (test, error) {
			format, err := f.argument(name)
			return func(f *finder, e *found) bool { f.c.Out.WriteString(f.format(format, e)); return true }, err
		}, true
	case "-exec", "-execdir", "-ok", "-okdir":
		f.acts = true
		return func() (test, error) { return f.parseExec(name) }, true
	}
	return nil, false
}

func (f *finder) listOne(e *found) bool {
	l := lister{c: f.c, now: f.now, long: true, inode: true, blocks: true}
	en := &entry{name: e.path, path: e.path, stat: e.stat}
	l.target(en)
	l.printLong([]*entry{en})
	return true
}

func (f *finder) parseExec(name string) (test, error) {
	var words []string
	for {
		if len(f.args) == 0 {
			return nil, findError("missing argument to `" + name + "'")
		}
		w := f.args[0]
		f.args = f.args[1:]
		if w == ";" {
			break
		}
		if w == "+" && len(words) > 0 && words[len(words)-1] == "{}" {
			b := &batch{command: words[:len(words)-1], dir: strings.HasSuffix(name, "dir")}
			f.batches = append(f.batches, b)
			return func(f *finder, e *found) bool {
				if b.size+len(e.path) > maxArgs {
					f.flush(b)
				}
				b.files, b.size = append(b.files, e.path), b.size+len(e.path)+1
				return true
			}, nil
		}
		words = append(words, w)
	}
	if len(words) == 0 {
		return nil, findError("missing argument to `" + name + "'")
	}
	return func(f *finder, e *found) bool {
		args := make([]string, len(words))
		file, dir := e.path, ""
		if strings.HasSuffix(name, "dir") {
			file, dir = "./"+e.name, filepath.Dir(e.path)
		}
		for i, w := range words {
			args[i] = strings.ReplaceAll(w, "{}", file)
		}
		if strings.HasPrefix(name, "-ok") {
			if f.answers == nil {
				f.answers = bufio.NewReader(f.c.Stdin)
			}
			f.c.Out.Flush()
			fmt.Fprintf(f.c.Stderr, "< %s ... %s > ? ", args[0], e.path)
			line, _ := f.answers.ReadString('\n')
			if !strings.HasPrefix(line, "y") {
				return false
			}
		}
		return f.run(args, dir) == 0
	}, nil
}

func (f *finder) flush(b *batch) {
	if len(b.files) == 0 {
		return
	}
	args := append(append([]string{}, b.command...), b.files...)
	b.files, b.size = nil, 0
	if f.run(args, "") != 0 {
		f.c.Set(1)
	}
}

func (f *finder) run(args []string, dir string) int {
	f.c.Out.Flush()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(1, exit.ExitCode())
	case errors.Is(err, exec.ErrNotFound):
		f.c.Fail("%s: No such file or directory", applet.Quote(args[0]))
	default:
		f.c.Fail("%s: %s", applet.Quote(args[0]), applet.Reason(err))
	}
	return 127
}
