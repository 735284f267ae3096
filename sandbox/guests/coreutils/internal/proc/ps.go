package proc

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/columns"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// column is one column of ps: its title, least width, alignment and text.
type column struct {
	title string
	width int
	left  bool
	text  func(s *snapshot, p process) string
}

// snapshot is what one run of ps or top looks at.
type snapshot struct {
	machine
	ids   names
	now   time.Time
	depth map[int]int // of the tree, with f or --forest
}

func clock(t int64) string {
	s := t / ticks
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// bsdClock is minutes and seconds.
func bsdClock(t int64) string {
	s := t / ticks
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func elapsed(d time.Duration) string {
	s := int64(d.Seconds())
	switch {
	case s >= 86400:
		return fmt.Sprintf("%d-%02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
	case s >= 3600:
		return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// userText is a user's name, cut as ps does with long ones.
func userText(name string, width int) string {
	if len(name) > width {
		return name[:width-1] + "+"
	}
	return name
}

func (s *snapshot) startTime(p process) string {
	t := s.started(p)
	switch {
	case t.YearDay() == s.now.YearDay() && t.Year() == s.now.Year():
		return t.Format("15:04")
	case t.Year() == s.now.Year():
		return t.Format("Jan02")
	}
	return t.Format("2006")
}

// stateText is the STAT column: state, and < N s l + for priority, session leader, threads, foreground.
func stateText(p process) string {
	st := p.state
	switch {
	case p.nice < 0:
		st += "<"
	case p.nice > 0:
		st += "N"
	}
	if p.sid == p.pid {
		st += "s"
	}
	if p.threads > 1 {
		st += "l"
	}
	if p.tty != 0 && p.tpgid == p.pgrp {
		st += "+"
	}
	return st
}

func (s *snapshot) commandText(p process) string {
	if d := s.depth[p.pid]; d > 0 {
		return strings.Repeat("    ", d-1) + ` \_ ` + p.command()
	}
	return p.command()
}

func integerColumn(title string, width int, of func(p process) int) column {
	return column{title, width, false, func(_ *snapshot, p process) string { return strconv.Itoa(of(p)) }}
}

// columnOf finds a column by the names ps -o takes.
func columnOf(name string) (column, bool) {
	switch name {
	case "pid":
		return integerColumn("PID", pidWidth(), func(p process) int { return p.pid }), true
	case "ppid":
		return integerColumn("PPID", pidWidth(), func(p process) int { return p.ppid }), true
	case "pgid", "pgrp":
		return integerColumn("PGID", pidWidth(), func(p process) int { return p.pgrp }), true
	case "sid", "sess":
		return integerColumn("SID", pidWidth(), func(p process) int { return p.sid }), true
	case "uid", "euid":
		return integerColumn("UID", 5, func(p process) int { return int(p.uid) }), true
	case "gid", "egid":
		return integerColumn("GID", 5, func(p process) int { return int(p.gid) }), true
	case "ni", "nice":
		return integerColumn("NI", 3, func(p process) int { return p.nice }), true
	case "pri":
		return integerColumn("PRI", 3, func(p process) int { return 39 - p.priority }), true
	case "opri":
		return integerColumn("PRI", 3, func(p process) int { return 60 + p.priority }), true
	case "priority":
		return integerColumn("PRI", 3, func(p process) int { return p.priority }), true
	case "tpgid":
		return integerColumn("TPGID", 5, func(p process) int { return p.tpgid }), true
	case "f", "flag", "flags":
		return integerColumn("F", 1, func(p process) int { return p.flags >> 6 & 7 }), true
	case "sz":
		return integerColumn("SZ", 5, func(p process) int { return int(p.vsize) * 1024 / os.Getpagesize() }), true
	case "addr", "wchan": // nothing here has an address in the kernel
		return column{strings.ToUpper(name), map[string]int{"addr": 4, "wchan": 6}[name], true, func(*snapshot, process) string { return "-" }}, true
	case "nlwp", "thcount":
		return integerColumn("NLWP", 4, func(p process) int { return p.threads }), true
	case "rss", "rssize", "rsz":
		return integerColumn("RSS", 5, func(p process) int { return int(p.rss) }), true
	case "vsz", "vsize":
		return integerColumn("VSZ", 6, func(p process) int { return int(p.vsize) }), true
	case "user", "euser", "uname":
		return column{"USER", 8, true, func(s *snapshot, p process) string { return userText(s.ids.User(p.uid), 8) }}, true
	case "group", "egroup":
		return column{"GROUP", 8, true, func(s *snapshot, p process) string { return userText(s.ids.Group(p.gid), 8) }}, true
	case "tty", "tt", "tname":
		title := "TT"
		if name == "tname" {
			title = "TTY"
		}
		return column{title, 8, true, func(_ *snapshot, p process) string { return ttyName(p.tty) }}, true
	case "stat":
		return column{"STAT", 4, true, func(_ *snapshot, p process) string { return stateText(p) }}, true
	case "s", "state":
		return column{"S", 1, true, func(_ *snapshot, p process) string { return p.state }}, true
	case "time", "cputime":
		return column{"TIME", 8, false, func(_ *snapshot, p process) string { return clock(p.utime + p.stime) }}, true
	case "etime":
		return column{"ELAPSED", 11, false, func(s *snapshot, p process) string { return elapsed(s.now.Sub(s.started(p))) }}, true
	case "etimes":
		return column{"ELAPSED", 7, false, func(s *snapshot, p process) string { return strconv.Itoa(int(s.now.Sub(s.started(p)).Seconds())) }}, true
	case "start_time", "stime", "bsdstart":
		return column{"STIME", 5, true, (*snapshot).startTime}, true
	case "start":
		return column{"STARTED", 8, false, func(s *snapshot, p process) string { return s.started(p).Format("15:04:05") }}, true
	case "lstart":
		return column{"STARTED", 24, false, func(s *snapshot, p process) string { return s.started(p).Format("Mon Jan _2 15:04:05 2006") }}, true
	case "%cpu", "pcpu":
		return column{"%CPU", 4, false, func(s *snapshot, p process) string { return fmt.Sprintf("%.1f", s.share(p)) }}, true
	case "c":
		return column{"C", 2, false, func(s *snapshot, p process) string { return strconv.Itoa(int(s.share(p))) }}, true
	case "%mem", "pmem":
		return column{"%MEM", 4, false, func(s *snapshot, p process) string { return fmt.Sprintf("%.1f", s.memoryShare(p)) }}, true
	case "comm", "ucmd", "ucomm":
		return column{"COMMAND", 15, true, func(_ *snapshot, p process) string { return p.comm }}, true
	case "cmd":
		return column{"CMD", 27, true, (*snapshot).commandText}, true
	case "args", "command":
		return column{"COMMAND", 27, true, (*snapshot).commandText}, true
	}
	return column{}, false
}

func named(c column, title string, width int) column {
	c.title, c.width = title, width
	return c
}

func columnList(namesList ...string) (list []column) {
	for _, n := range namesList {
		c, _ := columnOf(n)
		list = append(list, c)
	}
	return list
}

type psOptions struct {
	columns                []column
	every, others, withTTY bool // -e; a: other users' with a terminal; x
	bsd, full, long, user  bool
	job                    bool
	pids, ppids            []int
	commands, users, ttys  []string
	sort                   string
	noHeader, forest, wide bool
	deselect               bool
	untitled               int // columns with an empty title; when all are, there is no header
}

// psUsage follows every usage error, see procps' help_exit.
const psUsage = `
Usage:
 ps [options]

 Try 'ps --help <simple|list|output|threads|misc|all>'
  or 'ps --help <s|l|o|t|m|a>'
 for additional help text.

For more details see ps(1).
`

// Ps is ps(1): -ef, aux, -o, -p, -C, -u, --sort, --forest.
func Ps(c *applet.Cmd) int {
	o := &psOptions{}
	if msg := o.parse(c.Args); msg != "" {
		fmt.Fprintf(c.Stderr, "%s\n%s", msg, psUsage)
		return 1
	}
	s := &snapshot{machine: readMachine(), now: time.Now()}
	list := o.choose(s, all())
	o.order(s, list)
	if o.forest {
		list = tree(s, list)
	}
	cols := o.columns
	if len(cols) == 0 {
		cols = o.layout()
	}
	width := 0
	if sys.IsTerminal(1) && !o.wide {
		if w, err := sys.GetWinsize(1); err == nil {
			width = int(w.Cols)
		}
	}
	printColumns(c, s, cols, list, width, o.noHeader || o.untitled > 0 && o.untitled == len(cols))
	if len(list) == 0 && (len(o.pids) > 0 || len(o.commands) > 0 || len(o.users) > 0) {
		return 1
	}
	return c.Status()
}

var bsdTime = column{"TIME", 6, false, func(_ *snapshot, p process) string { return bsdClock(p.utime + p.stime) }}

func (o *psOptions) layout() []column {
	switch {
	case o.user:
		cols := columnList("user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "bsdstart", "time", "command")
		cols[8] = named(cols[8], "START", 5)
		cols[9] = bsdTime
		return cols
	case o.long && o.bsd:
		cols := columnList("f", "uid", "pid", "ppid", "priority", "ni", "vsz", "rss", "wchan", "stat", "tname", "time", "command")
		cols[11] = bsdTime
		return cols
	case o.long:
		return columnList("f", "s", "uid", "pid", "ppid", "c", "opri", "ni", "addr", "sz", "wchan", "tname", "time", "cmd")
	case o.job && o.bsd:
		cols := columnList("ppid", "pid", "pgid", "sid", "tname", "tpgid", "stat", "uid", "time", "command")
		cols[8] = bsdTime
		return cols
	case o.job && o.full:
		cols := columnList("user", "pid", "ppid", "pgid", "sid", "c", "stime", "tname", "time", "cmd")
		cols[0] = named(cols[0], "UID", 8)
		return cols
	case o.job:
		cols := columnList("pid", "pgid", "sid", "tname", "time", "comm")
		cols[5] = named(cols[5], "CMD", 15)
		return cols
	case o.full:
		cols := columnList("user", "pid", "ppid", "c", "stime", "tname", "time", "cmd")
		cols[0] = named(cols[0], "UID", 8)
		return cols
	case o.bsd:
		cols := columnList("pid", "tname", "stat", "time", "command")
		cols[3] = bsdTime
		return cols
	}
	cols := columnList("pid", "tname", "time", "comm")
	cols[3] = named(cols[3], "CMD", 15)
	return cols
}

// parse understands UNIX options (-ef), BSD ones without a dash (aux) and long ones.
func (o *psOptions) parse(args []string) string {
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		value := func(rest string) (string, bool) {
			if rest != "" {
				return rest, true
			}
			if len(args) == 0 {
				return "", false
			}
			v := args[0]
			args = args[1:]
			return v, true
		}
		if strings.HasPrefix(a, "--") {
			name, v, has := strings.Cut(a[2:], "=")
			switch name {
			case "sort", "pid", "ppid", "format", "user":
				if !has {
					var ok bool
					if v, ok = value(""); !ok {
						return "option '--" + name + "' requires an argument"
					}
				}
			}
			switch name {
			case "sort":
				o.sort = v
			case "pid":
				if msg := o.addPids(v); msg != "" {
					return msg
				}
			case "ppid":
				o.ppids = append(o.ppids, numbers(v)...)
			case "user":
				o.users = append(o.users, splitList(v)...)
			case "format":
				if msg := o.addColumns(v); msg != "" {
					return msg
				}
			case "forest":
				o.forest = true
			case "no-headers", "no-heading", "noheader":
				o.noHeader = true
			case "headers", "cols", "columns", "width":
			default:
				return "unknown gnu long option"
			}
			continue
		}
		unix := strings.HasPrefix(a, "-")
		letters := strings.TrimPrefix(a, "-")
		if !unix {
			if n := numbers(a); len(n) > 0 && a[0] >= '0' && a[0] <= '9' {
				o.pids = append(o.pids, n...)
				continue
			}
			o.bsd = true
		}
		for i := 0; i < len(letters); i++ {
			rest := letters[i+1:]
			takes := strings.IndexByte("opCGgstTUu", letters[i]) >= 0 && unix || strings.IndexByte("opkO", letters[i]) >= 0 && !unix || letters[i] == 'p'
			if unix && letters[i] == 'T' {
				takes = false
			}
			if takes {
				v, ok := value(rest)
				if !ok {
					return "error: list of process IDs must follow -" + letters[i:i+1]
				}
				if msg := o.withValue(letters[i], v, unix); msg != "" {
					return msg
				}
				break
			}
			if msg := o.flag(letters[i], unix); msg != "" {
				return msg
			}
		}
	}
	return ""
}

func (o *psOptions) withValue(letter byte, v string, unix bool) string {
	switch letter {
	case 'o', 'O':
		return o.addColumns(v)
	case 'p':
		return o.addPids(v)
	case 'C':
		o.commands = append(o.commands, splitList(v)...)
	case 'k':
		o.sort = v
	case 't':
		o.ttys = append(o.ttys, splitList(v)...)
	case 'u', 'U':
		o.users = append(o.users, splitList(v)...)
	}
	return ""
}

func (o *psOptions) flag(letter byte, unix bool) string {
	switch {
	case letter == 'e' && unix, letter == 'A' && unix:
		o.every = true
	case letter == 'e':
	case letter == 'a' && !unix:
		o.others = true
	case letter == 'x' && !unix:
		o.withTTY = true
	case letter == 'u' && !unix:
		o.user = true
	case letter == 'f' && !unix, letter == 'H' && unix:
		o.forest = true
	case letter == 'f', letter == 'F':
		o.full = true
	case letter == 'l':
		o.long = true
	case letter == 'j':
		o.job = true
	case letter == 'y':
	case letter == 'w':
		o.wide = true
	case letter == 'a' && unix, letter == 'd' && unix:
		o.others = true
	case letter == 'h' && !unix:
		o.noHeader = true
	case letter == 'L' || letter == 'T' || letter == 'M' || letter == 'm' || letter == 'r' || letter == 'g' || letter == 'c' || letter == 'n' || letter == 'N':
		o.deselect = letter == 'N'
	default:
		return fmt.Sprintf("error: unsupported option -- '%c'", letter)
	}
	return ""
}

func splitList(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
}

func numbers(v string) (out []int) {
	for _, s := range splitList(v) {
		if n, err := strconv.Atoi(s); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// addPids adds a list of pids; the −1 behind them keeps a selection of none from selecting all.
func (o *psOptions) addPids(v string) string {
	for _, s := range splitList(v) {
		if n, err := strconv.Atoi(s); err != nil || n < 1 {
			return "error: process ID list syntax error"
		}
	}
	o.pids = append(o.pids, append(numbers(v), -1)...)
	return ""
}

// addColumns reads NAME[=TITLE],…
func (o *psOptions) addColumns(v string) string {
	for _, item := range splitList(v) {
		name, title, has := strings.Cut(item, "=")
		c, ok := columnOf(name)
		if !ok {
			return fmt.Sprintf("error: unknown user-defined format specifier \"%s\"", name)
		}
		if has {
			c.title, c.width = title, max(len(title), c.width)
			if title == "" {
				o.untitled++
			}
		}
		o.columns = append(o.columns, c)
	}
	return ""
}

func (o *psOptions) choose(s *snapshot, list []process) (out []process) {
	self, _ := read(os.Getpid())
	for _, p := range list {
		if o.wants(s, p, self) {
			out = append(out, p)
		}
	}
	return out
}

func (o *psOptions) wants(s *snapshot, p, self process) bool {
	listed := len(o.pids) > 0 || len(o.ppids) > 0 || len(o.commands) > 0 || len(o.users) > 0 || len(o.ttys) > 0
	if listed && !o.every {
		for _, n := range o.pids {
			if n == p.pid {
				return true
			}
		}
		for _, n := range o.ppids {
			if n == p.ppid {
				return true
			}
		}
		for _, n := range o.commands {
			if n == p.comm {
				return true
			}
		}
		for _, n := range o.users {
			if n == s.ids.User(p.uid) || n == strconv.Itoa(int(p.uid)) {
				return true
			}
		}
		for _, n := range o.ttys {
			if strings.TrimPrefix(n, "/dev/") == ttyName(p.tty) {
				return true
			}
		}
		return false
	}
	switch {
	case o.every, o.others && o.withTTY:
		return true
	case o.others:
		return p.tty != 0 && (o.bsd || p.sid != p.pid)
	case o.withTTY:
		return p.uid == self.uid
	case o.bsd:
		return p.uid == self.uid && p.tty != 0
	}
	return p.tty == self.tty && p.uid == self.uid
}

func (o *psOptions) order(s *snapshot, list []process) {
	keys := splitList(o.sort)
	if len(keys) == 0 {
		return
	}
	sort.SliceStable(list, func(i, j int) bool {
		for _, k := range keys {
			down := strings.HasPrefix(k, "-")
			d := compareBy(s, strings.TrimLeft(k, "+-"), list[i], list[j])
			if down {
				d = -d
			}
			if d != 0 {
				return d < 0
			}
		}
		return false
	})
}

func compareBy(s *snapshot, key string, a, b process) int {
	value := func(p process) (float64, string) {
		switch key {
		case "rss", "%mem", "pmem":
			return float64(p.rss), ""
		case "vsz":
			return float64(p.vsize), ""
		case "%cpu", "pcpu":
			return s.share(p), ""
		case "time", "cputime":
			return float64(p.utime + p.stime), ""
		case "pid":
			return float64(p.pid), ""
		case "ppid":
			return float64(p.ppid), ""
		case "start", "start_time", "etime", "lstart":
			return float64(p.start), ""
		case "user":
			return 0, s.ids.User(p.uid)
		}
		return 0, p.comm
	}
	x, xs := value(a)
	y, ys := value(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return strings.Compare(xs, ys)
}

// tree orders processes under their parents and notes their depth.
func tree(s *snapshot, list []process) (out []process) {
	s.depth = map[int]int{}
	present := map[int]bool{}
	for _, p := range list {
		present[p.pid] = true
	}
	var add func(parent, depth int)
	add = func(parent, depth int) {
		for _, p := range list {
			if p.ppid == parent && p.pid != parent {
				s.depth[p.pid] = depth
				out = append(out, p)
				if depth < 64 {
					add(p.pid, depth+1)
				}
			}
		}
	}
	for _, p := range list {
		if !present[p.ppid] {
			s.depth[p.pid] = 0
			out = append(out, p)
			add(p.pid, 1)
		}
	}
	return out
}

func printColumns(c *applet.Cmd, s *snapshot, cols []column, list []process, width int, noHeader bool) {
	row := func(text func(k column) string) {
		var b strings.Builder
		for i, k := range cols {
			t := text(k)
			pad := strings.Repeat(" ", max(0, k.width-columns.Width(t)))
			if i > 0 {
				b.WriteByte(' ')
			}
			switch {
			case !k.left:
				b.WriteString(pad + t)
			case i == len(cols)-1:
				b.WriteString(t)
			default:
				b.WriteString(t + pad)
			}
		}
		line := b.String()
		if width > 0 {
			line = fit(line, width)
		}
		fmt.Fprintln(c.Out, line)
	}
	if !noHeader {
		row(func(k column) string { return k.title })
	}
	for _, p := range list {
		row(func(k column) string { return k.text(s, p) })
	}
}

// fit cuts a line at a number of columns.
func fit(s string, width int) string {
	n := 0
	for i, r := range s {
		if n += columns.Rune(r); n > width {
			return s[:i]
		}
	}
	return s
}
