package files

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/columns"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// Du is du(1).
func Du(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "abcd:hHkLlmsxSB:0", Help: "[OPTION]... [FILE]...",
		Long: []string{"all/a", "apparent-size", "bytes/b", "total/c", "max-depth=/d", "human-readable/h", "dereference/L", "summarize/s", "one-file-system/x", "separate-dirs/S", "si", "exclude=", "block-size=/B"}})
	if !ok {
		return st
	}
	d := du{c: c, depth: -1, unit: 1024, seen: map[[2]uint64]bool{}}
	total := false
	for _, o := range opts {
		switch o.Key {
		case "a":
			d.all = true
		case "apparent-size":
			d.apparent = true
		case "b":
			d.apparent, d.unit = true, 1
		case "c":
			total = true
		case "d":
			if _, err := fmt.Sscan(o.Arg, &d.depth); err != nil {
				return c.Usage(1, "invalid maximum depth %s", applet.Quote(o.Arg))
			}
		case "h", "H":
			d.human = true
		case "k":
			d.unit = 1024
		case "m":
			d.unit = 1 << 20
		case "B":
			if n, ok := applet.Size(o.Arg); ok && n > 0 {
				d.unit = n
			} else if n, ok := applet.Size("1" + o.Arg); ok && n > 0 {
				d.unit = n
			} else {
				c.Fail("invalid --block-size argument %s", applet.Quote(o.Arg))
				return 1
			}
		case "L":
			d.follow = true
		case "s":
			d.depth = 0
		case "x":
			d.oneFS = true
		case "S":
			d.separate = true
		case "exclude":
			d.exclude = append(d.exclude, o.Arg)
		}
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	var sum int64
	for _, n := range names {
		sum += d.walk(n, 0, 0)
	}
	if total {
		d.print(sum, "total")
	}
	return c.Status()
}

type du struct {
	c                                             *applet.Cmd
	all, apparent, human, follow, oneFS, separate bool
	depth                                         int
	unit                                          int64
	seen                                          map[[2]uint64]bool
	exclude                                       []string
}

func (d *du) print(n int64, name string) {
	text := ""
	if d.human {
		text = Human(uint64(n), 1024)
	} else {
		text = fmt.Sprint((n + d.unit - 1) / d.unit)
	}
	fmt.Fprintf(d.c.Out, "%s\t%s\n", text, name)
}

func (d *du) walk(path string, depth int, dev uint64) int64 {
	for _, x := range d.exclude {
		if Glob(x, filepath.Base(path)) || Glob(x, path) {
			return 0
		}
	}
	st, err := sys.StatFile(path, d.follow)
	if err != nil {
		if depth == 0 {
			d.c.Fail("cannot access %s: %s", applet.Quote(path), applet.Reason(err))
		}
		return 0
	}
	key := [2]uint64{st.Dev, st.Ino}
	isDir := st.Mode&sys.S_IFMT == sys.S_IFDIR
	if (st.Nlink > 1 || isDir) && d.seen[key] || d.oneFS && depth > 0 && st.Dev != dev {
		return 0
	}
	d.seen[key] = true
	own := st.Blocks * 512
	if d.apparent {
		own = st.Size
	}
	sum := own
	if isDir && depth < maxDepth {
		list, err := os.ReadDir(path)
		if err != nil {
			d.c.Fail("cannot read directory %s: %s", applet.Quote(path), applet.Reason(err))
		}
		for _, e := range list {
			child := join(path, e.Name())
			n := d.walk(child, depth+1, st.Dev)
			if !d.separate || !e.IsDir() {
				sum += n
			}
		}
	}
	if (isDir || d.all || depth == 0) && (d.depth < 0 || depth <= d.depth) {
		d.print(sum, path)
	}
	return sum
}

type mount struct{ device, dir, kind, options string }

// mounts reads /proc/mounts.
func mounts() (list []mount) {
	f, err := os.Open("/proc/mounts")
	if err != nil {
		return nil
	}
	defer f.Close()
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		p := strings.Fields(sc.Text())
		if len(p) >= 4 {
			list = append(list, mount{plain.Replace(p[0]), plain.Replace(p[1]), p[2], p[3]})
		}
	}
	return list
}

// Mount lists what is mounted; it mounts nothing.
func Mount(c *applet.Cmd) int {
	_, names, st, ok := c.Parse(applet.Spec{Short: "lt:", Help: "  (lists mounted file systems)"})
	if !ok {
		return st
	}
	if len(names) > 0 {
		c.Fail("mounting is not offered here yet; without arguments mount lists what is mounted")
		return 1
	}
	for _, m := range mounts() {
		fmt.Fprintf(c.Out, "%s on %s type %s (%s)\n", m.device, m.dir, m.kind, m.options)
	}
	return 0
}

// Df is df(1).
func Df(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "ahHikmlPTt:x:B:", Help: "[OPTION]... [FILE]...",
		Long: []string{"all/a", "human-readable/h", "si/H", "inodes/i", "portability/P", "print-type/T", "type=/t", "exclude-type=/x", "local/l", "total", "block-size=/B"}})
	if !ok {
		return st
	}
	all, base, inodes, kinds, posix, only, without, unit := false, 0.0, false, false, false, "", "", uint64(1024)
	for _, o := range opts {
		switch o.Key {
		case "a":
			all = true
		case "h":
			base = 1024
		case "H":
			base = 1000
		case "i":
			inodes = true
		case "m":
			unit = 1 << 20
		case "P":
			posix = true
		case "T":
			kinds = true
		case "t":
			only = o.Arg
		case "x":
			without = o.Arg
		case "B":
			if n, ok := applet.Size(o.Arg); ok && n > 0 {
				unit = uint64(n)
			} else if n, ok := applet.Size("1" + o.Arg); ok && n > 0 {
				unit = uint64(n)
			}
		}
	}
	table := mounts()
	var wanted []mount
	if len(names) > 0 {
		for _, n := range names {
			if _, err := sys.StatFile(n, true); err != nil {
				c.Fail("%s: %s", n, applet.Reason(err))
				continue
			}
			wanted = append(wanted, mountOf(table, n))
		}
		if len(wanted) == 0 {
			return 1
		}
	} else {
		at := map[string]int{}
		for _, m := range table {
			at[m.dir]++
			wanted = append(wanted, m)
		}
	}
	size := func(n, bsize uint64) string {
		if base != 0 {
			return Human(n*bsize, base)
		}
		return fmt.Sprint((n*bsize + unit - 1) / unit)
	}
	title := "1K-blocks"
	switch {
	case inodes:
		title = "Inodes"
	case base != 0:
		title = "Size"
	case posix:
		title = "1024-blocks"
	case unit == 1<<20:
		title = "1M-blocks"
	}
	avail, use := "Available", "Use%"
	switch {
	case inodes:
		avail, use = "IFree", "IUse%"
	case base != 0:
		avail = "Avail"
	case posix:
		use = "Capacity"
	}
	used := "Used"
	if inodes {
		used = "IUsed"
	}
	rows := [][]string{{"Filesystem", "Type", title, used, avail, use, "Mounted on"}}
	seen := map[string]bool{}
	for _, m := range wanted {
		s, err := sys.GetStatfs(m.dir)
		if err != nil || !all && len(names) == 0 && (s.Blocks == 0 || seen[m.device+"\x00"+m.kind] && m.kind != "tmpfs") || only != "" && m.kind != only || without == m.kind {
			continue
		}
		seen[m.device+"\x00"+m.kind] = true
		if inodes {
			n := s.Files - s.Ffree
			rows = append(rows, []string{m.device, m.kind, fmt.Sprint(s.Files), fmt.Sprint(n), fmt.Sprint(s.Ffree), percent(n, s.Files), m.dir})
			continue
		}
		n := s.Blocks - s.Bfree
		rows = append(rows, []string{m.device, m.kind, size(s.Blocks, s.Bsize), size(n, s.Bsize), size(s.Bavail, s.Bsize), percent(n, n+s.Bavail), m.dir})
	}
	printTable(c, rows, kinds)
	return c.Status()
}

func percent(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (part*100+whole-1)/whole)
}

func mountOf(table []mount, path string) (best mount) {
	p, err := canonical(path, 'm')
	if err != nil {
		return mount{}
	}
	for _, m := range table {
		if (p == m.dir || strings.HasPrefix(p, strings.TrimSuffix(m.dir, "/")+"/")) && len(m.dir) >= len(best.dir) {
			best = m
		}
	}
	return best
}

func printTable(c *applet.Cmd, rows [][]string, kinds bool) {
	widths := []int{14, 4, 5, 5, 5, 4, 0}
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], columns.Width(cell))
		}
	}
	for _, r := range rows {
		for i, cell := range r {
			pad := strings.Repeat(" ", max(0, widths[i]-columns.Width(cell)))
			switch {
			case i == 1 && !kinds:
				continue
			case i <= 1:
				fmt.Fprint(c.Out, cell, pad, " ")
			case i == len(r)-1:
				fmt.Fprintln(c.Out, cell)
			default:
				fmt.Fprint(c.Out, pad, cell, " ")
			}
		}
	}
}
