package text

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

type differ struct {
	c                                     *applet.Cmd
	unified                               int // lines of context; −1: normal format
	brief, same, recursive, newFile, text bool
	fold, blankLines, space, allSpace     bool
	labels                                []string
	color                                 bool
}

// Diff is diff(1): normal, unified and brief output, folders with -r.
func Diff(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "abBiL:NqrsuU:wZ", Status: 2, Digits: true, Help: "[OPTION]... FILES",
		Long: []string{"text/a", "ignore-space-change/b", "ignore-blank-lines/B", "ignore-case/i", "label=/L", "new-file/N", "brief/q", "recursive/r", "report-identical-files/s",
			"unified?/unified", "ignore-all-space/w", "color?", "strip-trailing-cr", "no-dereference", "normal"}})
	if !ok {
		if c.Status() == 0 {
			return 0
		}
		return st
	}
	d := &differ{c: c, unified: -1}
	for _, o := range opts {
		switch o.Key {
		case "a":
			d.text = true
		case "b":
			d.space = true
		case "B":
			d.blankLines = true
		case "i":
			d.fold = true
		case "L":
			d.labels = append(d.labels, o.Arg)
		case "N":
			d.newFile = true
		case "q":
			d.brief = true
		case "r":
			d.recursive = true
		case "s":
			d.same = true
		case "u":
			d.unified = max(d.unified, 3)
		case "U", "unified", "NUM":
			if o.Arg == "" {
				d.unified = max(d.unified, 3)
				continue
			}
			n, ok := number(o.Arg)
			if !ok || n < 0 {
				return c.Usage(2, "invalid context length %s", applet.Quote(o.Arg))
			}
			d.unified = int(n)
		case "w":
			d.allSpace = true
		case "color":
			d.color = o.Arg == "always" || (o.Arg == "" || o.Arg == "auto") && sys.IsTerminal(1)
		}
	}
	switch {
	case len(names) < 2:
		after := c.Name
		if len(names) == 1 {
			after = names[0]
		}
		return d.usage("missing operand after %s", after)
	case len(names) > 2:
		return d.usage("extra operand %s", names[2])
	}
	return max(d.pair(names[0], names[1], true, 0), c.Status())
}

// usage prints diff's form of a usage error, in which the hint has the program's name in front too.
func (d *differ) usage(format, arg string) int {
	d.c.FailWith(2, format, applet.Quote(arg))
	d.c.FailWith(2, "Try '%s --help' for more information.", d.c.Name)
	return 2
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}

func (d *differ) pair(a, b string, top bool, depth int) int {
	da, db := a != "-" && isDir(a), b != "-" && isDir(b)
	switch {
	case da && db:
		if top || d.recursive {
			return d.folders(a, b, depth)
		}
		fmt.Fprintf(d.c.Out, "Common subdirectories: %s and %s\n", a, b)
		return 0
	case da && top:
		a = strings.TrimSuffix(a, "/") + "/" + filepath.Base(b)
	case db && top:
		b = strings.TrimSuffix(b, "/") + "/" + filepath.Base(a)
	case da != db:
		kind := func(isDir bool) string {
			if isDir {
				return "directory"
			}
			return "regular file"
		}
		fmt.Fprintf(d.c.Out, "File %s is a %s while file %s is a %s\n", a, kind(da), b, kind(db))
		return 1
	}
	x, okX := d.read(a)
	y, okY := d.read(b)
	if !okX || !okY {
		return 2
	}
	return d.contents(a, b, x, y, top)
}

func (d *differ) read(name string) ([]byte, bool) {
	r, err := d.c.Open(name)
	if err == nil {
		defer r.Close()
		var data []byte
		if data, err = io.ReadAll(r); err == nil {
			return data, true
		}
	}
	if d.newFile && os.IsNotExist(err) {
		return nil, true
	}
	d.c.FailWith(2, "%s: %s", name, applet.Reason(err))
	return nil, false
}

func (d *differ) folders(a, b string, depth int) (status int) {
	if depth > 256 {
		return 0
	}
	all := map[string]int{}
	for i, dir := range []string{a, b} {
		list, err := os.ReadDir(dir)
		if err != nil {
			d.c.FailWith(2, "%s: %s", dir, applet.Reason(err))
			return 2
		}
		for _, e := range list {
			all[e.Name()] |= 1 << i
		}
	}
	names := make([]string, 0, len(all))
	for n := range all {
		names = append(names, n)
	}
	sort.Strings(names)
	sub := func(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }
	for _, n := range names {
		if all[n] != 3 && !d.newFile {
			where := a
			if all[n] == 2 {
				where = b
			}
			fmt.Fprintf(d.c.Out, "Only in %s: %s\n", strings.TrimSuffix(where, "/"), n)
			status = max(status, 1)
			continue
		}
		status = max(status, d.pair(sub(a, n), sub(b, n), false, depth+1))
	}
	return status
}

// splitLines cuts data into lines that keep their ends.
func splitLines(data []byte) []string {
	var out []string
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n') + 1
		if i == 0 {
			i = len(data)
		}
		out, data = append(out, string(data[:i])), data[i:]
	}
	return out
}

// key is what two lines are compared by.
func (d *differ) key(line string) string {
	if d.fold {
		line = strings.ToLower(line)
	}
	switch {
	case d.allSpace:
		return strings.Join(strings.Fields(line), "")
	case d.space:
		f := strings.Join(strings.Fields(line), " ")
		if line != strings.TrimLeft(line, " \t") {
			f = " " + f
		}
		return f
	}
	return line
}

func (d *differ) contents(a, b string, x, y []byte, top bool) int {
	if bytes.Equal(x, y) {
		if d.same {
			fmt.Fprintf(d.c.Out, "Files %s and %s are identical\n", a, b)
		}
		return 0
	}
	binary := bytes.IndexByte(x[:min(len(x), 8192)], 0) >= 0 || bytes.IndexByte(y[:min(len(y), 8192)], 0) >= 0
	if binary && !d.text && !d.brief {
		fmt.Fprintf(d.c.Out, "Binary files %s and %s differ\n", a, b)
		return 2 - 1
	}
	la, lb := splitLines(x), splitLines(y)
	ka, kb := make([]string, len(la)), make([]string, len(lb))
	for i, l := range la {
		ka[i] = d.key(l)
	}
	for i, l := range lb {
		kb[i] = d.key(l)
	}
	edits := compare(ka, kb)
	if d.blankLines {
		edits = d.dropBlank(edits, la, lb)
	}
	if len(edits) == 0 {
		return 0
	}
	if d.brief {
		fmt.Fprintf(d.c.Out, "Files %s and %s differ\n", a, b)
		return 1
	}
	if !top {
		fmt.Fprintln(d.c.Out, strings.Join(append(append([]string{"diff"}, d.flags()...), a, b), " "))
	}
	if d.unified >= 0 {
		d.printUnified(a, b, la, lb, edits)
	} else {
		d.printNormal(la, lb, edits)
	}
	return 1
}

// flags are the options repeated above each file of a recursive comparison.
func (d *differ) flags() (out []string) {
	for _, a := range d.c.Args {
		if len(a) > 1 && a[0] == '-' {
			out = append(out, a)
		}
	}
	return out
}

func (d *differ) dropBlank(edits []edit, la, lb []string) (out []edit) {
	blank := func(lines []string) bool {
		for _, l := range lines {
			if strings.TrimSpace(l) != "" {
				return false
			}
		}
		return true
	}
	for _, e := range edits {
		if !blank(la[e.a0:e.a1]) || !blank(lb[e.b0:e.b1]) {
			out = append(out, e)
		}
	}
	return out
}

func (d *differ) paint(code, s string) string {
	if !d.color || code == "" {
		return s
	}
	body := strings.TrimSuffix(s, "\n")
	return "\x1b[" + code + "m" + body + "\x1b[0m" + s[len(body):]
}

func (d *differ) line(mark, code, text string) {
	d.c.Out.WriteString(d.paint(code, mark+text))
	if !strings.HasSuffix(text, "\n") {
		d.c.Out.WriteString("\n\\ No newline at end of file\n")
	}
}

func (d *differ) printNormal(la, lb []string, edits []edit) {
	span := func(from, to int) string {
		if to-from <= 1 {
			return fmt.Sprint(to)
		}
		return fmt.Sprintf("%d,%d", from+1, to)
	}
	for _, e := range edits {
		switch {
		case e.a0 == e.a1:
			d.c.Out.WriteString(d.paint("36", fmt.Sprintf("%da%s\n", e.a0, span(e.b0, e.b1))))
		case e.b0 == e.b1:
			d.c.Out.WriteString(d.paint("36", fmt.Sprintf("%sd%d\n", span(e.a0, e.a1), e.b0)))
		default:
			d.c.Out.WriteString(d.paint("36", fmt.Sprintf("%sc%s\n", span(e.a0, e.a1), span(e.b0, e.b1))))
		}
		for _, l := range la[e.a0:e.a1] {
			d.line("< ", "31", l)
		}
		if e.a0 < e.a1 && e.b0 < e.b1 {
			d.c.Out.WriteString("---\n")
		}
		for _, l := range lb[e.b0:e.b1] {
			d.line("> ", "32", l)
		}
	}
}

func (d *differ) header(i int, name string) string {
	if i < len(d.labels) {
		return d.labels[i]
	}
	st, err := sys.StatFile(name, true)
	if err != nil {
		return name + "\t1970-01-01 00:00:00.000000000 +0000"
	}
	return name + "\t" + st.Mtime.Format("2006-01-02 15:04:05.000000000 -0700")
}

func (d *differ) printUnified(a, b string, la, lb []string, edits []edit) {
	d.c.Out.WriteString(d.paint("1", "--- "+d.header(0, a)+"\n"))
	d.c.Out.WriteString(d.paint("1", "+++ "+d.header(1, b)+"\n"))
	n := d.unified
	for len(edits) > 0 {
		k := 1
		for k < len(edits) && edits[k].a0-edits[k-1].a1 <= 2*n {
			k++
		}
		group := edits[:k]
		edits = edits[k:]
		a0, a1 := max(0, group[0].a0-n), min(len(la), group[k-1].a1+n)
		b0, b1 := max(0, group[0].b0-n), min(len(lb), group[k-1].b1+n)
		d.c.Out.WriteString(d.paint("36", fmt.Sprintf("@@ -%s +%s @@\n", unifiedSpan(a0, a1), unifiedSpan(b0, b1))))
		at := a0
		for _, e := range group {
			for _, l := range la[at:e.a0] {
				d.line(" ", "", l)
			}
			for _, l := range la[e.a0:e.a1] {
				d.line("-", "31", l)
			}
			for _, l := range lb[e.b0:e.b1] {
				d.line("+", "32", l)
			}
			at = e.a1
		}
		for _, l := range la[at:a1] {
			d.line(" ", "", l)
		}
	}
}

func unifiedSpan(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("%d,0", from)
	case 1:
		return fmt.Sprint(to)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
