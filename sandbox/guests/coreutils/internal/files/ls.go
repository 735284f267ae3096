package files

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/columns"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

type entry struct {
	name  string // as printed
	path  string
	stat  sys.Stat
	err   error
	link  string // target of a symbolic link
	links *sys.Stat
}

type lister struct {
	c                                    *applet.Cmd
	all, almost, dirsThemselves, recurse bool
	long, inode, blocks, human, si       bool
	numeric, noGroup, noOwner            bool
	reverse, follow, followArgs          bool
	classify                             byte // 0, 'F' or 'p'
	sort                                 byte // n name, t time, S size, U none, X extension, v version
	time                                 byte // m, a, c
	format                               byte // 1 one per line, C columns, x across, m commas
	quote, double                        bool // shell quotes where needed; double quotes always
	color                                bool
	timeStyle                            string // format of date(1), or as GNU has it
	width                                int
	dirsFirst                            bool
	align                                bool
	now                                  time.Time
	names                                Names
	printed                              bool
	coloured                             bool // the first coloured name resets the terminal
	major, minor                         int  // widths of device numbers
}

const isoTime = "%Y-%m-%d %H:%M:%S.%N %z"

// List is ls(1).
func List(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "aAbBcCdfFghHiIklLmnNopqQrRsStTuUvw:xXZ1G", Status: 2, Help: "[OPTION]... [FILE]...",
		Long: []string{"all/a", "almost-all/A", "color?", "directory/d", "classify?/F", "file-type", "full-time", "group-directories-first", "human-readable/h",
			"inode/i", "dereference/L", "dereference-command-line/H", "numeric-uid-gid/n", "no-group/G", "reverse/r", "recursive/R", "size/s", "sort=", "time=",
			"time-style=", "width=/w", "si", "format=", "author", "literal/N", "quote-name/Q", "indicator-style=", "hide-control-chars/q", "show-control-chars"}})
	if !ok {
		return st
	}
	l := lister{c: c, sort: 'n', time: 'm', format: '1', width: 80, now: time.Now()}
	if sys.IsTerminal(1) {
		l.format, l.quote = 'C', true
		if w, err := sys.GetWinsize(1); err == nil && w.Cols > 0 {
			l.width = int(w.Cols)
		}
	}
	for _, o := range opts {
		if msg := l.option(o); msg != "" {
			return c.Usage(2, "%s", msg)
		}
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	l.run(names)
	return c.Status()
}

func (l *lister) option(o applet.Opt) string {
	switch o.Key {
	case "a":
		l.all, l.almost = true, true
	case "A":
		l.almost, l.all = true, false
	case "c":
		l.time = 'c'
	case "u":
		l.time = 'a'
	case "C", "x", "m", "1":
		l.format, l.long = o.Key[0], l.long && o.Key == "1"
	case "d":
		l.dirsThemselves = true
	case "f":
		l.all, l.almost, l.sort = true, true, 'U'
	case "F":
		l.classify = 'F'
	case "p", "file-type":
		l.classify = 'p'
	case "g":
		l.long, l.noOwner = true, true
	case "o", "G":
		l.noGroup = true
		l.long = l.long || o.Key == "o"
	case "h":
		l.human = true
	case "si":
		l.human, l.si = true, true
	case "H":
		l.followArgs = true
	case "L":
		l.follow = true
	case "i":
		l.inode = true
	case "l":
		l.long = true
	case "n":
		l.long, l.numeric = true, true
	case "N":
		l.quote, l.double = false, false
	case "Q":
		l.double = true
	case "r":
		l.reverse = true
	case "R":
		l.recurse = true
	case "s":
		l.blocks = true
	case "S", "t", "U", "v", "X":
		l.sort = o.Key[0]
	case "full-time":
		l.long, l.timeStyle = true, isoTime
	case "group-directories-first":
		l.dirsFirst = true
	case "color":
		switch o.Arg {
		case "", "always", "yes", "force":
			l.color = true
		case "auto", "tty", "if-tty":
			l.color = sys.IsTerminal(1)
		case "never", "no", "none":
			l.color = false
		default:
			return fmt.Sprintf("invalid argument %s for '--color'", applet.Quote(o.Arg))
		}
	case "sort":
		kinds := map[string]byte{"none": 'U', "size": 'S', "time": 't', "version": 'v', "extension": 'X', "name": 'n'}
		if l.sort = kinds[o.Arg]; l.sort == 0 {
			return fmt.Sprintf("invalid argument %s for '--sort'", applet.Quote(o.Arg))
		}
	case "time":
		kinds := map[string]byte{"atime": 'a', "access": 'a', "use": 'a', "ctime": 'c', "status": 'c', "mtime": 'm', "modification": 'm'}
		if l.time = kinds[o.Arg]; l.time == 0 {
			return fmt.Sprintf("invalid argument %s for '--time'", applet.Quote(o.Arg))
		}
	case "time-style":
		style, fixed := strings.CutPrefix(o.Arg, "+")
		form, known := map[string]string{"full-iso": isoTime, "long-iso": "%Y-%m-%d %H:%M", "iso": "%m-%d %H:%M", "locale": ""}[o.Arg]
		if l.timeStyle = form; fixed {
			l.timeStyle = style
		} else if !known {
			return fmt.Sprintf("invalid argument %s for 'time style'", applet.Quote(o.Arg))
		}
	case "w":
		n := 0
		if _, err := fmt.Sscan(o.Arg, &n); err != nil || n < 0 {
			return fmt.Sprintf("invalid line width: %s", applet.Quote(o.Arg))
		}
		l.width = n
	}
	return ""
}

func (l *lister) run(names []string) {
	var files, dirs []*entry
	for _, name := range names {
		e := &entry{name: name, path: name}
		st, err := sys.StatFile(name, l.follow || l.followArgs || !l.long && l.classify != 'F' && !l.dirsThemselves)
		if err != nil && !l.follow {
			st, err = sys.StatFile(name, false)
		}
		if err != nil {
			l.c.FailWith(2, "cannot access %s: %s", applet.Quote(name), applet.Reason(err))
			continue
		}
		e.stat = st
		if st.Mode&sys.S_IFMT == sys.S_IFDIR && !l.dirsThemselves {
			dirs = append(dirs, e)
		} else {
			l.target(e)
			files = append(files, e)
		}
	}
	l.order(files)
	l.order(dirs)
	if len(files) > 0 {
		l.print(files)
		l.printed = true
	}
	for _, d := range dirs {
		l.directory(d.path, len(names) > 1 || l.recurse, 0)
	}
}

func (l *lister) target(e *entry) {
	if e.stat.Mode&sys.S_IFMT != sys.S_IFLNK || !l.long && !l.color && l.classify == 0 {
		return
	}
	e.link, _ = os.Readlink(e.path)
	if st, err := sys.StatFile(e.path, true); err == nil {
		e.links = &st
	}
}

// maxDepth bounds recursion.
const maxDepth = 256

func (l *lister) directory(path string, title bool, depth int) {
	list, err := os.ReadDir(path)
	if err != nil {
		status := 1
		if depth == 0 {
			status = 2
		}
		l.c.FailWith(status, "cannot open directory %s: %s", applet.Quote(path), applet.Reason(err))
		return
	}
	if title {
		if l.printed {
			l.c.Out.WriteByte('\n')
		}
		fmt.Fprintf(l.c.Out, "%s:\n", path)
	}
	l.printed = true
	var entries []*entry
	add := func(name string) {
		e := &entry{name: name, path: join(path, name)}
		if e.stat, err = sys.StatFile(e.path, l.follow); err != nil && l.follow {
			e.stat, err = sys.StatFile(e.path, false)
		}
		if err != nil {
			if err == syscall.ENOENT {
				return // removed meanwhile
			}
			l.c.FailWith(1, "cannot access %s: %s", applet.Quote(e.path), applet.Reason(err))
			e.err = err
		}
		l.target(e)
		entries = append(entries, e)
	}
	if l.all {
		add(".")
		add("..")
	}
	for _, d := range list {
		if l.almost || !strings.HasPrefix(d.Name(), ".") {
			add(d.Name())
		}
	}
	l.order(entries)
	if l.long || l.blocks {
		var total int64
		for _, e := range entries {
			total += e.stat.Blocks
		}
		fmt.Fprintf(l.c.Out, "total %s\n", l.size(total*512, total/2))
	}
	l.print(entries)
	if !l.recurse || depth > maxDepth {
		return
	}
	for _, e := range entries {
		if e.stat.Mode&sys.S_IFMT == sys.S_IFDIR && e.name != "." && e.name != ".." {
			l.directory(e.path, true, depth+1)
		}
	}
}

// join joins as ls prints: "./x" keeps its dot.
func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}

func (l *lister) when(st sys.Stat) time.Time {
	switch l.time {
	case 'a':
		return st.Atime
	case 'c':
		return st.Ctime
	}
	return st.Mtime
}

func (l *lister) order(list []*entry) {
	byName := func(a, b *entry) int { return cmp.Compare(a.name, b.name) }
	f := byName
	kind := l.sort
	if kind == 'n' && l.time != 'm' && !l.long {
		kind = 't'
	}
	switch kind {
	case 't':
		f = func(a, b *entry) int {
			if d := l.when(b.stat).Compare(l.when(a.stat)); d != 0 {
				return d
			}
			return byName(a, b)
		}
	case 'S':
		f = func(a, b *entry) int {
			if d := cmp.Compare(b.stat.Size, a.stat.Size); d != 0 {
				return d
			}
			return byName(a, b)
		}
	case 'X':
		f = func(a, b *entry) int {
			if d := cmp.Compare(filepath.Ext(a.name), filepath.Ext(b.name)); d != 0 {
				return d
			}
			return byName(a, b)
		}
	case 'v':
		f = func(a, b *entry) int { return columns.CompareVersions(a.name, b.name) }
	case 'U':
		return
	}
	slices.SortStableFunc(list, func(a, b *entry) int {
		if l.dirsFirst {
			ad, bd := a.stat.Mode&sys.S_IFMT == sys.S_IFDIR, b.stat.Mode&sys.S_IFMT == sys.S_IFDIR
			if ad != bd {
				if ad {
					return -1
				}
				return 1
			}
		}
		d := f(a, b)
		if l.reverse {
			d = -d
		}
		return d
	})
}

func (l *lister) size(bytes, plain int64) string {
	switch {
	case l.si:
		return Human(uint64(bytes), 1000)
	case l.human:
		return Human(uint64(bytes), 1024)
	}
	return fmt.Sprint(plain)
}

func (l *lister) print(list []*entry) {
	l.align = false // in columns, a name with quotes makes the others move by one
	for _, e := range list {
		l.align = l.align || l.quote && !l.double && (l.long || l.format == 'C' || l.format == 'x') && l.quoted(e.name) != e.name
	}
	if l.long {
		l.printLong(list)
		return
	}
	cells := make([]string, len(list))
	inodeWidth, blockWidth := 0, 0
	for _, e := range list {
		inodeWidth = max(inodeWidth, len(fmt.Sprint(e.stat.Ino)))
		blockWidth = max(blockWidth, len(l.size(e.stat.Blocks*512, e.stat.Blocks/2)))
	}
	if l.format == '1' || l.format == 'm' {
		if l.format == 'm' {
			inodeWidth, blockWidth = 0, 0
		}
	}
	for i, e := range list {
		if l.inode {
			cells[i] += fmt.Sprintf("%*d ", inodeWidth, e.stat.Ino)
		}
		if l.blocks {
			cells[i] += fmt.Sprintf("%*s ", blockWidth, l.size(e.stat.Blocks*512, e.stat.Blocks/2))
		}
		cells[i] += l.label(e)
	}
	switch l.format {
	case 'C', 'x':
		columns.Print(l.c.Out, cells, l.width, l.format == 'x')
	case 'm':
		printCommas(l.c.Out, cells, l.width)
	default:
		for _, c := range cells {
			fmt.Fprintln(l.c.Out, c)
		}
	}
}

func printCommas(w io.Writer, cells []string, width int) {
	col := 0
	for i, c := range cells {
		n := columns.Width(c)
		if i > 0 {
			if col+n+2 >= width {
				fmt.Fprint(w, ",\n")
				col = 0
			} else {
				fmt.Fprint(w, ", ")
				col += 2
			}
		}
		fmt.Fprint(w, c)
		col += n
	}
	if len(cells) > 0 {
		fmt.Fprintln(w)
	}
}

// label is the name with quotes, colour and type mark.
func (l *lister) label(e *entry) string {
	name := l.quoted(e.name)
	if l.color {
		if code := colourOf(e.stat, e.name); code != "" {
			name = "\x1b[" + code + "m" + name + "\x1b[0m"
			if !l.coloured {
				name, l.coloured = "\x1b[0m"+name, true
			}
		}
	}
	if l.align && l.quoted(e.name) == e.name {
		name = " " + name
	}
	return name + l.mark(e.stat, l.long)
}

func (l *lister) mark(st sys.Stat, long bool) string {
	switch t := st.Mode & sys.S_IFMT; {
	case l.classify == 0:
	case t == sys.S_IFDIR:
		return "/"
	case t == sys.S_IFLNK && !long:
		return "@"
	case t == sys.S_IFIFO:
		return "|"
	case t == sys.S_IFSOCK:
		return "="
	case t == sys.S_IFREG && st.Mode&0o111 != 0 && l.classify == 'F':
		return "*"
	}
	return ""
}

// quoted puts names with unusual characters in quotes on a terminal, as GNU's "shell-escape" style.
func (l *lister) quoted(name string) string {
	if l.double {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(name) + `"`
	}
	if !l.quote {
		return name
	}
	plain := name != ""
	for i, r := range name {
		if r <= ' ' || strings.ContainsRune("'\"\\$&|;<>()*?[]!`", r) || i == 0 && (r == '~' || r == '#') {
			plain = false
		}
	}
	switch {
	case plain:
		return name
	case strings.Contains(name, "'") && !strings.ContainsAny(name, "\"\\$`!"):
		return `"` + name + `"`
	}
	return applet.Quote(name)
}

func colourOf(st sys.Stat, name string) string {
	switch st.Mode & sys.S_IFMT {
	case sys.S_IFDIR:
		switch {
		case st.Mode&sys.S_ISVTX != 0 && st.Mode&0o002 != 0:
			return "30;42"
		case st.Mode&0o002 != 0:
			return "34;42"
		}
		return "01;34"
	case sys.S_IFLNK:
		return "01;36"
	case sys.S_IFIFO:
		return "40;33"
	case sys.S_IFSOCK:
		return "01;35"
	case sys.S_IFBLK, sys.S_IFCHR:
		return "01;33"
	}
	switch {
	case st.Mode&sys.S_ISUID != 0:
		return "37;41"
	case st.Mode&0o111 != 0:
		return "01;32"
	}
	switch filepath.Ext(name) {
	case ".tar", ".tgz", ".gz", ".zip", ".xz", ".zst", ".bz2":
		return "01;31"
	}
	return ""
}

func (l *lister) printLong(list []*entry) {
	rows := make([][]string, len(list))
	left := []bool{}
	l.major, l.minor = 0, 0
	for _, e := range list {
		if t := e.stat.Mode & sys.S_IFMT; t == sys.S_IFCHR || t == sys.S_IFBLK {
			l.major = max(l.major, len(fmt.Sprint(sys.Major(e.stat.Rdev))))
			l.minor = max(l.minor, len(fmt.Sprint(sys.Minor(e.stat.Rdev))))
		}
	}
	for i, e := range list {
		rows[i], left = l.row(e)
	}
	widths := make([]int, 16)
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], columns.Width(cell))
		}
	}
	for i, e := range list {
		for j, cell := range rows[i] {
			pad := strings.Repeat(" ", widths[j]-columns.Width(cell))
			if left[j] {
				fmt.Fprint(l.c.Out, cell, pad, " ")
			} else {
				fmt.Fprint(l.c.Out, pad, cell, " ")
			}
		}
		fmt.Fprint(l.c.Out, l.label(e))
		if e.link != "" {
			fmt.Fprint(l.c.Out, " -> ", l.quoted(e.link))
			if e.links != nil {
				fmt.Fprint(l.c.Out, l.mark(*e.links, false))
			}
		}
		fmt.Fprintln(l.c.Out)
	}
}

// row is a line of ls -l up to the name, and which of its cells are left-aligned.
func (l *lister) row(e *entry) (cells []string, left []bool) {
	add := func(s string, leftAligned bool) { cells, left = append(cells, s), append(left, leftAligned) }
	st := e.stat
	if l.inode {
		add(fmt.Sprint(st.Ino), false)
	}
	if l.blocks {
		add(l.size(st.Blocks*512, st.Blocks/2), false)
	}
	if e.err != nil {
		for _, s := range []string{"??????????", "?", "?", "?", "?", "           ?"} {
			add(s, false)
		}
		return cells, left
	}
	add(ModeString(st.Mode), true)
	add(fmt.Sprint(st.Nlink), false)
	if !l.noOwner {
		if l.numeric {
			add(fmt.Sprint(st.UID), true)
		} else {
			add(l.names.User(st.UID), true)
		}
	}
	if !l.noGroup {
		if l.numeric {
			add(fmt.Sprint(st.GID), true)
		} else {
			add(l.names.Group(st.GID), true)
		}
	}
	if t := st.Mode & sys.S_IFMT; t == sys.S_IFCHR || t == sys.S_IFBLK {
		add(fmt.Sprintf("%*d, %*d", l.major, sys.Major(st.Rdev), l.minor, sys.Minor(st.Rdev)), false)
	} else {
		add(l.size(st.Size, st.Size), false)
	}
	t := l.when(st)
	switch {
	case l.timeStyle != "":
		add(FormatTime(l.timeStyle, t), true)
	case t.After(l.now.Add(-halfYear)) && !t.After(l.now):
		add(t.Format("Jan _2 15:04"), true)
	default:
		add(t.Format("Jan _2  2006"), true)
	}
	return cells, left
}

// halfYear is the age from which ls shows the year instead of the time.
const halfYear = 31556952 / 2 * time.Second
