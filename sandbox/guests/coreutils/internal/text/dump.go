package text

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// Sum is md5sum, sha1sum, sha256sum and sha512sum.
func Sum(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "bctw", Long: []string{"binary/b", "check/c", "text/t", "warn/w", "quiet", "status", "tag", "ignore-missing", "strict"}, Help: "[OPTION]... [FILE]..."})
	if !ok {
		return st
	}
	fresh := map[string]func() hash.Hash{"md5sum": md5.New, "sha1sum": sha1.New, "sha256sum": sha256.New, "sha512sum": sha512.New}[c.Name]
	if fresh == nil {
		fresh = sha256.New
	}
	check, quiet, silent, mark := false, false, false, " "
	for _, o := range opts {
		switch o.Key {
		case "c":
			check = true
		case "b":
			mark = "*"
		case "quiet":
			quiet = true
		case "status":
			silent = true
		}
	}
	digest := func(r io.Reader) (string, error) {
		h := fresh()
		_, err := io.Copy(h, r)
		return hex.EncodeToString(h.Sum(nil)), err
	}
	if !check {
		c.EachInput(names, func(name string, r io.Reader) error {
			d, err := digest(r)
			if err == nil {
				fmt.Fprintf(c.Out, "%s %s%s\n", d, mark, name)
			}
			return err
		})
		return c.Status()
	}
	bad, unread := 0, 0
	c.EachInput(names, func(name string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, _ bool) error {
			want, file, ok := strings.Cut(string(line), " ")
			if !ok || len(file) < 2 {
				return nil
			}
			file = file[1:]
			f, err := os.Open(file)
			if err != nil {
				c.Fail("%s: %s", file, applet.Reason(err))
				if !silent {
					fmt.Fprintf(c.Out, "%s: FAILED open or read\n", file)
				}
				unread++
				return nil
			}
			defer f.Close()
			have, err := digest(f)
			switch {
			case err != nil || !strings.EqualFold(have, want):
				bad++
				if !silent {
					fmt.Fprintf(c.Out, "%s: FAILED\n", file)
				}
			case !quiet && !silent:
				fmt.Fprintf(c.Out, "%s: OK\n", file)
			}
			return nil
		})
	})
	plural := func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	}
	if unread > 0 && !silent {
		c.Fail("WARNING: %d listed %s could not be read", unread, plural(unread, "file", "files"))
	}
	if bad > 0 {
		if !silent {
			c.Fail("WARNING: %d computed %s did NOT match", bad, plural(bad, "checksum", "checksums"))
		}
		c.Set(1)
	}
	return c.Status()
}

// Base64 is base64(1).
func Base64(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "diw:", Long: []string{"decode/d", "ignore-garbage/i", "wrap=/w"}, Help: "[OPTION]... [FILE]"})
	if !ok {
		return st
	}
	decode, ignore, wrap := false, false, int64(76)
	for _, o := range opts {
		switch o.Key {
		case "d":
			decode = true
		case "i":
			ignore = true
		case "w":
			n, ok := number(o.Arg)
			if !ok || n < 0 {
				c.Fail("invalid wrap size: %s", applet.Quote(o.Arg))
				return 1
			}
			wrap = n
		}
	}
	if len(names) > 1 {
		return c.Usage(1, "extra operand %s", applet.Quote(names[1]))
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if decode {
			out, fine := decode64(data, ignore)
			c.Out.Write(out)
			if !fine {
				c.Fail("invalid input")
			}
			return nil
		}
		s := base64.StdEncoding.EncodeToString(data)
		for wrap > 0 && int64(len(s)) > wrap {
			fmt.Fprintln(c.Out, s[:wrap])
			s = s[wrap:]
		}
		if wrap > 0 && s != "" {
			s += "\n"
		}
		c.Out.WriteString(s)
		return nil
	})
	return c.Status()
}

// decode64 decodes as far as the text is valid. ignore skips characters that aren't of the alphabet.
func decode64(data []byte, ignore bool) (out []byte, ok bool) {
	var group []byte
	for i, ch := range data {
		switch {
		case ch == '\n' || ch == '\r' && ignore:
			continue
		case ch == '=':
			rest := bytes.Trim(data[i:], "=\n")
			pad := bytes.Count(data[i:], []byte("="))
			last, err := base64.RawStdEncoding.DecodeString(string(group))
			return append(out, last...), err == nil && len(rest) == 0 && len(group)+pad == 4
		case ch >= 'A' && ch <= 'Z', ch >= 'a' && ch <= 'z', ch >= '0' && ch <= '9', ch == '+', ch == '/':
			if group = append(group, ch); len(group) == 4 {
				out, _ = base64.RawStdEncoding.AppendDecode(out, group)
				group = group[:0]
			}
		case !ignore:
			last, _ := base64.RawStdEncoding.AppendDecode(nil, group)
			return append(out, last...), false
		}
	}
	last, _ := base64.RawStdEncoding.AppendDecode(nil, group)
	return append(out, last...), len(group) == 0
}

// Cmp is cmp(1).
func Cmp(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "bln:s", Status: 2, Long: []string{"quiet/s", "silent/s", "verbose/l", "bytes=/n"}, Help: "[OPTION]... FILE1 [FILE2]"})
	if !ok {
		return st
	}
	silent, verbose := false, false
	for _, o := range opts {
		silent = silent || o.Key == "s"
		verbose = verbose || o.Key == "l"
	}
	if len(names) == 0 {
		return c.Usage(2, "missing operand after %s", applet.Quote(c.Name))
	}
	if len(names) == 1 {
		names = append(names, "-")
	}
	var in [2]*bufio.Reader
	for i := range in {
		r, err := c.Open(names[i])
		if err != nil {
			if !silent {
				c.FailWith(2, "%s: %s", names[i], applet.Reason(err))
			}
			return 2
		}
		defer r.Close()
		in[i] = bufio.NewReader(r)
	}
	line, differ, ended := 1, false, false // ended: the last byte was a newline
	for at := 1; ; at++ {
		x, errX := in[0].ReadByte()
		y, errY := in[1].ReadByte()
		switch {
		case errX != nil && errY != nil:
			if differ {
				return 1
			}
			return 0
		case errX != nil || errY != nil:
			short := names[0]
			if errY != nil {
				short = names[1]
			}
			if !silent {
				where := fmt.Sprintf("after byte %d, in line %d", at-1, line)
				if ended {
					where = fmt.Sprintf("after byte %d, line %d", at-1, line-1)
				}
				if at == 1 {
					where = "which is empty"
				} else if verbose {
					where = fmt.Sprintf("after byte %d", at-1)
				}
				c.Out.Flush()
				fmt.Fprintf(c.Stderr, "%s: EOF on %s %s\n", c.Name, short, where)
			}
			return 1
		case x != y && verbose:
			fmt.Fprintf(c.Out, "%d %3o %3o\n", at, x, y)
			differ = true
		case x != y:
			if !silent {
				fmt.Fprintf(c.Out, "%s %s differ: byte %d, line %d\n", names[0], names[1], at, line)
			}
			return 1
		}
		if ended = x == '\n'; ended {
			line++
		}
	}
}

// Od is od(1) with the formats o, d, u, x, c and a; Hexdump is hexdump -C and its default form.
func Od(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "A:bcdij:lN:ost:vx", Long: []string{"address-radix=/A", "skip-bytes=/j", "read-bytes=/N", "format=/t", "output-duplicates/v"}, Help: "[OPTION]... [FILE]..."})
	if !ok {
		return st
	}
	radix, format, skip, limit, all := "o", "o2", int64(0), int64(-1), false
	for _, o := range opts {
		switch o.Key {
		case "A":
			radix = o.Arg
		case "b":
			format = "o1"
		case "c":
			format = "c"
		case "d":
			format = "u2"
		case "o":
			format = "o2"
		case "x":
			format = "x2"
		case "t":
			format = o.Arg
		case "v":
			all = true
		case "j", "N":
			n, ok := applet.Size(o.Arg)
			if !ok {
				c.Fail("invalid -%s argument %s", o.Key, applet.Quote(o.Arg))
				return 1
			}
			if o.Key == "j" {
				skip = n
			} else {
				limit = n
			}
		}
	}
	data, ok := gather(c, names, skip, limit)
	if !ok {
		return 1
	}
	kind, size := format[0], 1
	switch {
	case len(format) > 1 && format[1] >= '1' && format[1] <= '8':
		size = int(format[1] - '0')
	case len(format) > 1 && format[1] == 'S':
		size = 2
	case kind != 'c' && kind != 'a':
		size = 4
	}
	if strings.IndexByte("oduxca", kind) < 0 || size == 3 || size > 8 {
		c.Fail("invalid type string %s", applet.Quote(format))
		return 1
	}
	address := func(n int64) string {
		switch radix {
		case "n":
			return ""
		case "d":
			return fmt.Sprintf("%07d", n)
		case "x":
			return fmt.Sprintf("%06x", n)
		}
		return fmt.Sprintf("%07o", n)
	}
	var last []byte
	starred := false
	for at := 0; at < len(data); at += 16 {
		row := data[at:min(at+16, len(data))]
		if !all && at > 0 && bytes.Equal(row, last) && len(row) == 16 {
			if !starred {
				fmt.Fprintln(c.Out, "*")
			}
			starred = true
			continue
		}
		starred, last = false, row
		fmt.Fprintln(c.Out, address(skip+int64(at))+cells(row, kind, size))
	}
	if a := address(skip + int64(len(data))); a != "" {
		fmt.Fprintln(c.Out, a)
	}
	return c.Status()
}

func gather(c *applet.Cmd, names []string, skip, limit int64) ([]byte, bool) {
	var all bytes.Buffer
	c.EachInput(names, func(name string, r io.Reader) error {
		_, err := all.ReadFrom(io.LimitReader(r, 256<<20))
		return err
	})
	data := all.Bytes()
	if skip > int64(len(data)) {
		c.Fail("cannot skip past end of combined input")
		return nil, false
	}
	data = data[skip:]
	if limit >= 0 {
		data = data[:min(limit, int64(len(data)))]
	}
	return data, true
}

func cells(row []byte, kind byte, size int) string {
	var b strings.Builder
	for i := 0; i < len(row); i += size {
		var v uint64
		for j := min(size, len(row)-i) - 1; j >= 0; j-- {
			v = v<<8 | uint64(row[i+j])
		}
		switch kind {
		case 'x':
			fmt.Fprintf(&b, " %0*x", 2*size, v)
		case 'o':
			fmt.Fprintf(&b, " %0*o", map[int]int{1: 3, 2: 6, 4: 11, 8: 22}[size], v)
		case 'u':
			fmt.Fprintf(&b, " %*d", map[int]int{1: 3, 2: 5, 4: 10, 8: 20}[size], v)
		case 'd':
			s := int64(v<<(64-8*size)) >> (64 - 8*size)
			fmt.Fprintf(&b, " %*d", map[int]int{1: 4, 2: 6, 4: 11, 8: 20}[size], s)
		default:
			fmt.Fprintf(&b, " %3s", charName(row[i], kind))
		}
	}
	return b.String()
}

func charName(ch, kind byte) string {
	if kind == 'a' {
		names := [...]string{"nul", "soh", "stx", "etx", "eot", "enq", "ack", "bel", "bs", "ht", "nl", "vt", "ff", "cr", "so", "si", "dle", "dc1", "dc2", "dc3", "dc4", "nak", "syn", "etb", "can", "em", "sub", "esc", "fs", "gs", "rs", "us", "sp"}
		ch &= 0x7f
		switch {
		case int(ch) < len(names):
			return names[ch]
		case ch == 0x7f:
			return "del"
		}
		return string(rune(ch))
	}
	if i := strings.IndexByte("\x00\a\b\f\n\r\t\v", ch); i >= 0 {
		return `\` + string("0abfnrtv"[i])
	}
	if ch >= 0x20 && ch < 0x7f {
		return string(rune(ch))
	}
	return fmt.Sprintf("%03o", ch)
}

// Hexdump is hexdump(1): canonical with -C, else two-byte hexadecimal words. As xxd it prints xxd's layout.
func Hexdump(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "Cn:s:vxl:pg:", Help: "[OPTION]... [FILE]..."})
	if !ok {
		return st
	}
	canonical, skip, limit, all, plain := c.Name == "hd", int64(0), int64(-1), false, false
	for _, o := range opts {
		n, isSize := applet.Size(o.Arg)
		switch o.Key {
		case "C":
			canonical = true
		case "v":
			all = true
		case "p":
			plain = true
		case "n", "l", "s":
			if !isSize {
				c.Fail("invalid number %s", applet.Quote(o.Arg))
				return 1
			}
			if o.Key == "s" {
				skip = n
			} else {
				limit = n
			}
		}
	}
	data, ok := gather(c, names, skip, limit)
	if !ok {
		return 1
	}
	if c.Name == "xxd" {
		xxd(c, data, skip, plain)
		return c.Status()
	}
	var last []byte
	starred := false
	for at := 0; at < len(data); at += 16 {
		row := data[at:min(at+16, len(data))]
		if !all && at > 0 && bytes.Equal(row, last) && len(row) == 16 {
			if !starred {
				fmt.Fprintln(c.Out, "*")
			}
			starred = true
			continue
		}
		starred, last = false, row
		if canonical {
			fmt.Fprintf(c.Out, "%08x  %s  |%s|\n", skip+int64(at), canonicalCells(row), printable(row))
			continue
		}
		fmt.Fprintf(c.Out, "%07x%-40s\n", skip+int64(at), strings.ToLower(cells(row, 'x', 2)))
	}
	if len(data) > 0 {
		if canonical {
			fmt.Fprintf(c.Out, "%08x\n", skip+int64(len(data)))
		} else {
			fmt.Fprintf(c.Out, "%07x\n", skip+int64(len(data)))
		}
	}
	return c.Status()
}

func canonicalCells(row []byte) string {
	var b strings.Builder
	for i := range 16 {
		if i == 8 {
			b.WriteByte(' ')
		}
		if i < len(row) {
			fmt.Fprintf(&b, "%02x", row[i])
		} else {
			b.WriteString("  ")
		}
		if i < 15 {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func printable(row []byte) []byte {
	text := make([]byte, len(row))
	for i, ch := range row {
		if text[i] = ch; ch < 0x20 || ch > 0x7e {
			text[i] = '.'
		}
	}
	return text
}

func xxd(c *applet.Cmd, data []byte, skip int64, plain bool) {
	for at := 0; at < len(data); at += 16 {
		row := data[at:min(at+16, len(data))]
		if plain {
			fmt.Fprintf(c.Out, "%x", row)
			if (at/16)%2 == 1 || at+16 >= len(data) {
				c.Out.WriteByte('\n')
			}
			continue
		}
		var b strings.Builder
		for i := range 16 {
			if i < len(row) {
				fmt.Fprintf(&b, "%02x", row[i])
			} else {
				b.WriteString("  ")
			}
			if i%2 == 1 {
				b.WriteByte(' ')
			}
		}
		fmt.Fprintf(c.Out, "%08x: %s %s\n", skip+int64(at), b.String(), printable(row))
	}
}
