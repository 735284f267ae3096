package text

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

type span struct{ from, to int }

type spans []span

func (s spans) has(n int) bool {
	for _, r := range s {
		if n >= r.from && n <= r.to {
			return true
		}
	}
	return false
}

// parseSpans reads a list such as 1,3-5,7-.
func parseSpans(list, what string) (s spans, msg string) {
	for _, part := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		from, to, isRange := strings.Cut(part, "-")
		lo, hi := 1, math.MaxInt
		var err error
		if from != "" {
			if lo, err = strconv.Atoi(from); err != nil || lo < 0 {
				return nil, fmt.Sprintf("invalid %s %s", what, applet.Quote(part))
			}
		}
		switch {
		case !isRange:
			hi = lo
		case to != "":
			if hi, err = strconv.Atoi(to); err != nil {
				return nil, fmt.Sprintf("invalid %s %s", what, applet.Quote(part))
			}
		case from == "":
			return nil, "invalid range with no endpoint: -"
		}
		if lo == 0 {
			if what == "field value" {
				return nil, "fields are numbered from 1"
			}
			return nil, "byte/character positions are numbered from 1"
		}
		if hi < lo {
			return nil, "invalid decreasing range"
		}
		s = append(s, span{lo, hi})
	}
	if len(s) == 0 {
		return nil, "fields are numbered from 1"
	}
	return s, ""
}

// Cut prints parts of lines, see cut(1).
func Cut(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "b:c:d:f:nsz", Help: "OPTION... [FILE]...",
		Long: []string{"bytes=/b", "characters=/c", "delimiter=/d", "fields=/f", "complement", "only-delimited/s", "output-delimiter=", "zero-terminated/z"}})
	if !ok {
		return st
	}
	mode, list, delim, outDelim, end := "", "", "\t", "", byte('\n')
	hasOut, only, complement, hasDelim := false, false, false, false
	for _, o := range opts {
		switch o.Key {
		case "b", "c", "f":
			if mode != "" {
				return c.Usage(1, "only one list may be specified")
			}
			mode, list = o.Key, o.Arg
		case "d":
			if len([]rune(o.Arg)) > 1 {
				return c.Usage(1, "the delimiter must be a single character")
			}
			delim, hasDelim = o.Arg, true
			if delim == "" {
				delim = "\x00"
			}
		case "s":
			only = true
		case "complement":
			complement = true
		case "output-delimiter":
			outDelim, hasOut = o.Arg, true
		case "z":
			end = 0
		}
	}
	what := "byte/character position"
	if mode == "f" {
		what = "field value"
	}
	switch {
	case mode == "":
		return c.Usage(1, "you must specify a list of bytes, characters, or fields")
	case mode != "f" && hasDelim:
		return c.Usage(1, "an input delimiter may be specified only when operating on fields")
	case mode != "f" && only:
		return c.Usage(1, "suppressing non-delimited lines makes sense\n\tonly when operating on fields")
	}
	want, msg := parseSpans(list, what)
	if msg != "" {
		return c.Usage(1, "%s", msg)
	}
	if !hasOut && mode == "f" {
		outDelim = delim
	}
	picked := func(n int) bool { return want.has(n) != complement }
	c.EachInput(names, func(name string, r io.Reader) error {
		if err := isDirectory(r); err != nil {
			return err
		}
		return lines(r, end, func(line []byte, last bool) error {
			if mode == "f" {
				if !bytes.Contains(line, []byte(delim)) {
					if !only {
						c.Out.Write(line)
						c.Out.WriteByte(end)
					}
					return nil
				}
				first := true
				for i, f := range bytes.Split(line, []byte(delim)) {
					if picked(i + 1) {
						if !first {
							c.Out.WriteString(outDelim)
						}
						first = false
						c.Out.Write(f)
					}
				}
				return c.Out.WriteByte(end)
			}
			pieces := make([][]byte, 0, len(line))
			if mode == "c" {
				for _, r := range string(line) {
					pieces = append(pieces, []byte(string(r)))
				}
			} else {
				for i := range line {
					pieces = append(pieces, line[i:i+1])
				}
			}
			before := -1
			for i, p := range pieces {
				if !picked(i + 1) {
					continue
				}
				if hasOut && before >= 0 && before != i-1 {
					c.Out.WriteString(outDelim)
				}
				before = i
				c.Out.Write(p)
			}
			return c.Out.WriteByte(end)
		})
	})
	return c.Status()
}

// Paste joins lines of files, see paste(1).
func Paste(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "d:sz", Long: []string{"delimiters=/d", "serial/s", "zero-terminated/z"}, Help: "[OPTION]... [FILE]..."})
	if !ok {
		return st
	}
	delims, serial := []rune{'\t'}, false
	for _, o := range opts {
		switch o.Key {
		case "d":
			delims = []rune(strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\0`, "\x00").Replace(o.Arg))
		case "s":
			serial = true
		}
	}
	var columns [][][]byte
	longest := 0
	c.EachInput(names, func(name string, r io.Reader) error {
		var col [][]byte
		err := lines(r, '\n', func(line []byte, last bool) error {
			col = append(col, bytes.Clone(line))
			return nil
		})
		columns = append(columns, col)
		longest = max(longest, len(col))
		return err
	})
	put := func(i int) {
		if len(delims) > 0 && delims[i%len(delims)] != 0 {
			c.Out.WriteRune(delims[i%len(delims)])
		}
	}
	if serial {
		for _, col := range columns {
			for i, l := range col {
				if i > 0 {
					put(i - 1)
				}
				c.Out.Write(l)
			}
			c.Out.WriteByte('\n')
		}
		return c.Status()
	}
	for row := range longest {
		for i, col := range columns {
			if i > 0 {
				put(i - 1)
			}
			if row < len(col) {
				c.Out.Write(col[row])
			}
		}
		c.Out.WriteByte('\n')
	}
	return c.Status()
}

// Fold wraps lines, see fold(1).
func Fold(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "bsw:", Digits: true, Long: []string{"bytes/b", "spaces/s", "width=/w"}, Help: "[OPTION]... [FILE]..."})
	if !ok {
		return st
	}
	width, spaces := int64(80), false
	for _, o := range opts {
		switch o.Key {
		case "s":
			spaces = true
		case "w", "NUM":
			n, ok := number(o.Arg)
			if !ok || n < 1 {
				c.Fail("invalid number of columns: %s", applet.Quote(o.Arg))
				return 1
			}
			width = n
		}
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, last bool) error {
			for int64(len(line)) > width {
				cut := int(width)
				if spaces {
					if i := bytes.LastIndexAny(line[:cut], " \t"); i > 0 {
						cut = i + 1
					}
				}
				c.Out.Write(line[:cut])
				c.Out.WriteByte('\n')
				line = line[cut:]
			}
			c.Out.Write(line)
			if !last {
				c.Out.WriteByte('\n')
			}
			return nil
		})
	})
	return c.Status()
}

// Comm compares two sorted files line by line, see comm(1).
func Comm(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "123z", Long: []string{"output-delimiter=", "check-order", "nocheck-order", "total"}, Help: "[OPTION]... FILE1 FILE2"})
	if !ok {
		return st
	}
	if len(names) < 2 {
		if len(names) == 0 {
			return c.Usage(1, "missing operand")
		}
		return c.Usage(1, "missing operand after %s", applet.Quote(names[0]))
	}
	hide, delim := map[string]bool{}, "\t"
	for _, o := range opts {
		if o.Key == "output-delimiter" {
			delim = o.Arg
		}
		hide[o.Key] = true
	}
	var files [2][][]byte
	for i := range files {
		r, err := c.Open(names[i])
		if err != nil {
			c.Fail("%s: %s", names[i], applet.Reason(err))
			return 1
		}
		lines(r, '\n', func(line []byte, last bool) error {
			files[i] = append(files[i], bytes.Clone(line))
			return nil
		})
		r.Close()
	}
	put := func(column string, indent int, line []byte) {
		if hide[column] {
			return
		}
		for i := range indent {
			if !hide[fmt.Sprint(i+1)] {
				c.Out.WriteString(delim)
			}
		}
		c.Out.Write(line)
		c.Out.WriteByte('\n')
	}
	a, b := files[0], files[1]
	for len(a) > 0 || len(b) > 0 {
		d := 0
		switch {
		case len(b) == 0:
			d = -1
		case len(a) == 0:
			d = 1
		default:
			d = bytes.Compare(a[0], b[0])
		}
		switch {
		case d < 0:
			put("1", 0, a[0])
			a = a[1:]
		case d > 0:
			put("2", 1, b[0])
			b = b[1:]
		default:
			put("3", 2, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return c.Status()
}
