package text

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

type counts struct{ lines, words, chars, bytes, longest int64 }

// Wc counts lines, words and bytes, see wc(1).
func Wc(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "clLmw", Help: "[OPTION]... [FILE]...",
		Long: []string{"bytes/c", "chars/m", "lines/l", "max-line-length/L", "words/w"}})
	if !ok {
		return st
	}
	show := map[string]bool{}
	for _, o := range opts {
		show[o.Key] = true
	}
	if len(show) == 0 {
		show["l"], show["w"], show["c"] = true, true, true
	}
	var total counts
	var rows []counts
	var labels []string
	stdin := len(names) == 0
	c.EachInput(names, func(name string, r io.Reader) error {
		if err := isDirectory(r); err != nil {
			rows, labels = append(rows, counts{}), append(labels, name)
			return err
		}
		n, err := count(r)
		total.lines += n.lines
		total.words += n.words
		total.chars += n.chars
		total.bytes += n.bytes
		total.longest = max(total.longest, n.longest)
		rows, labels = append(rows, n), append(labels, name)
		return err
	})
	if len(names) > 1 {
		rows, labels = append(rows, total), append(labels, "total")
	}
	width := wcWidth(names, len(show), total)
	for i, n := range rows {
		var f []string
		for _, k := range []struct {
			key string
			n   int64
		}{{"l", n.lines}, {"w", n.words}, {"m", n.chars}, {"c", n.bytes}, {"L", n.longest}} {
			if show[k.key] {
				f = append(f, fmt.Sprintf("%*d", width, k.n))
			}
		}
		line := strings.Join(f, " ")
		if !stdin {
			line += " " + labels[i]
		}
		fmt.Fprintln(c.Out, line)
	}
	return c.Status()
}

// wcWidth is the width of the columns: that of the sum of all sizes, or 7 when a size isn't known beforehand.
func wcWidth(names []string, columns int, total counts) int {
	if columns == 1 && len(names) <= 1 {
		return 1
	}
	least, sum := 1, int64(0)
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, n := range names {
		var fi os.FileInfo
		var err error
		if n == "-" {
			fi, err = os.Stdin.Stat()
		} else {
			fi, err = os.Stat(n)
		}
		switch {
		case err != nil:
		case fi.Mode().IsRegular():
			sum += fi.Size()
		default:
			least = 7
		}
	}
	return max(least, len(fmt.Sprint(sum)))
}

func count(r io.Reader) (n counts, err error) {
	buf := make([]byte, 32<<10)
	inWord := false
	var col int64
	for {
		k, err := r.Read(buf)
		b := buf[:k]
		n.bytes += int64(k)
		n.lines += int64(bytes.Count(b, []byte{'\n'}))
		for _, ch := range b {
			if utf8.RuneStart(ch) {
				n.chars++
			}
			space := ch == ' ' || ch >= '\t' && ch <= '\r'
			if space {
				inWord = false
			} else if !inWord {
				inWord = true
				n.words++
			}
			switch {
			case ch == '\n' || ch == '\r' || ch == '\f':
				n.longest, col = max(n.longest, col), 0
			case ch == '\t':
				col += 8 - col%8
			case ch >= 0x20 && ch < 0x7f || ch >= 0xC0:
				col++
			}
		}
		if err == io.EOF {
			n.longest = max(n.longest, col)
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// Uniq drops or reports repeated neighbouring lines, see uniq(1).
func Uniq(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "cdDf:is:uw:z", Help: "[OPTION]... [INPUT [OUTPUT]]",
		Long: []string{"count/c", "repeated/d", "all-repeated?/D", "skip-fields=/f", "ignore-case/i", "skip-chars=/s", "unique/u", "check-chars=/w", "zero-terminated/z"}})
	if !ok {
		return st
	}
	var showCount, repeated, all, unique, fold bool
	var fields, chars int64
	width, delim := int64(-1), byte('\n')
	for _, o := range opts {
		v, isNumber := number(o.Arg)
		switch o.Key {
		case "c":
			showCount = true
		case "d":
			repeated = true
		case "D":
			all = true
		case "i":
			fold = true
		case "u":
			unique = true
		case "z":
			delim = 0
		default:
			if !isNumber || v < 0 {
				c.Fail("%s: invalid number", o.Arg)
				return 1
			}
			switch o.Key {
			case "f":
				fields = v
			case "s":
				chars = v
			case "w":
				width = v
			}
		}
	}
	if len(names) > 2 {
		return c.Usage(1, "extra operand %s", applet.Quote(names[2]))
	}
	out := io.Writer(c.Out)
	if len(names) == 2 && names[1] != "-" {
		f, err := os.Create(names[1])
		if err != nil {
			c.Fail("%s: %s", names[1], applet.Reason(err))
			return 1
		}
		defer f.Close()
		out = f
		names = names[:1]
	}
	key := func(line []byte) string {
		for i := int64(0); i < fields; i++ {
			line = bytes.TrimLeft(line, " \t")
			j := bytes.IndexAny(line, " \t")
			if j < 0 {
				line = nil
				break
			}
			line = line[j:]
		}
		line = line[min(chars, int64(len(line))):]
		if width >= 0 {
			line = line[:min(width, int64(len(line)))]
		}
		if fold {
			line = bytes.ToLower(line)
		}
		return string(line)
	}
	var group [][]byte
	var groupKey string
	flush := func() {
		n := len(group)
		if n == 0 || unique && n > 1 || (repeated || all) && n == 1 {
			return
		}
		show := group[:1]
		if all {
			show = group
		}
		for _, l := range show {
			if showCount {
				fmt.Fprintf(out, "%7d ", n)
			}
			out.Write(append(l, delim))
		}
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		return lines(r, delim, func(line []byte, last bool) error {
			k := key(line)
			if len(group) > 0 && k == groupKey {
				if all {
					group = append(group, bytes.Clone(line))
				} else {
					group = append(group, nil)
				}
				return nil
			}
			flush()
			group, groupKey = append(group[:0:0], bytes.Clone(line)), k
			return nil
		})
	})
	flush()
	return c.Status()
}
