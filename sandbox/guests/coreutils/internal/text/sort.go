package text

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/columns"
)

// ordering is how one key compares.
type ordering struct {
	numeric, general, human, month, version, random bool
	reverse, fold, dictionary, printable            bool
	blankStart, blankEnd                            bool
}

func (o *ordering) set(letter byte) bool {
	switch letter {
	case 'n':
		o.numeric = true
	case 'g':
		o.general = true
	case 'h':
		o.human = true
	case 'M':
		o.month = true
	case 'V':
		o.version = true
	case 'R':
		o.random = true
	case 'r':
		o.reverse = true
	case 'f':
		o.fold = true
	case 'd':
		o.dictionary = true
	case 'i':
		o.printable = true
	case 'b':
		o.blankStart, o.blankEnd = true, true
	default:
		return false
	}
	return true
}

func (o ordering) plain() bool { return o == ordering{} }

// sortKey is one -k: fields and characters count from 1; endField 0 is the end of the line.
type sortKey struct {
	field, char       int
	endField, endChar int
	ordering
}

type sorter struct {
	keys      []sortKey
	global    ordering
	separator int // −1: fields start at blanks
	stable    bool
	unique    bool
	seed      maphash.Seed
}

// Sort sorts lines, see sort(1). Text compares by bytes, as in the C locale.
func Sort(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "bdfghiMnRrVk:mo:st:T:S:ucCz", Status: 2, Help: "[OPTION]... [FILE]...",
		Long: []string{"ignore-leading-blanks/b", "dictionary-order/d", "ignore-case/f", "general-numeric-sort/g", "human-numeric-sort/h", "ignore-nonprinting/i",
			"month-sort/M", "numeric-sort/n", "random-sort/R", "reverse/r", "version-sort/V", "key=/k", "merge/m", "output=/o", "stable/s", "field-separator=/t",
			"temporary-directory=/T", "buffer-size=/S", "unique/u", "check?/c", "zero-terminated/z", "parallel=/T", "sort="}})
	if !ok {
		return st
	}
	s := sorter{separator: -1, seed: maphash.MakeSeed()}
	output, delim, check := "", byte('\n'), ""
	for _, o := range opts {
		switch o.Key {
		case "k":
			k, msg := parseKey(o.Arg)
			if msg != "" {
				c.FailWith(2, "%s", msg)
				return 2
			}
			s.keys = append(s.keys, k)
		case "o":
			output = o.Arg
		case "s":
			s.stable = true
		case "u":
			s.unique = true
		case "t":
			switch {
			case o.Arg == `\0`:
				s.separator = 0
			case len(o.Arg) == 0:
				c.FailWith(2, "empty tab")
				return 2
			case len(o.Arg) > 1:
				c.FailWith(2, "multi-character tab %s", applet.Quote(o.Arg))
				return 2
			default:
				s.separator = int(o.Arg[0])
			}
		case "z":
			delim = 0
		case "c", "C":
			check = o.Key
		case "sort":
			letters := map[string]byte{"general-numeric": 'g', "human-numeric": 'h', "month": 'M', "numeric": 'n', "random": 'R', "version": 'V'}
			if !s.global.set(letters[o.Arg]) {
				return c.Usage(2, "invalid argument %s for '--sort'", applet.Quote(o.Arg))
			}
		case "m", "T", "S":
		default:
			s.global.set(o.Key[0])
		}
	}
	for i := range s.keys {
		if s.keys[i].plain() {
			s.keys[i].ordering = s.global
		}
	}
	data, ok := readLines(c, names, delim)
	if !ok {
		return 2
	}
	if check != "" {
		return s.check(c, data, names, check == "C")
	}
	slices.SortStableFunc(data, s.compare)
	if s.unique {
		data = slices.CompactFunc(data, func(a, b []byte) bool { return s.byKeys(a, b) == 0 })
	}
	out := io.Writer(c.Out)
	if output != "" {
		f, err := os.Create(output)
		if err != nil {
			c.FailWith(2, "open failed: %s: %s", output, applet.Reason(err))
			return 2
		}
		defer f.Close()
		out = f
	}
	var b bytes.Buffer
	for _, l := range data {
		b.Write(l)
		b.WriteByte(delim)
		if b.Len() > 32<<10 {
			out.Write(b.Bytes())
			b.Reset()
		}
	}
	out.Write(b.Bytes())
	return c.Status()
}

// readLines reads all lines of all inputs; sort stops at the first file it cannot read.
func readLines(c *applet.Cmd, names []string, delim byte) (all [][]byte, ok bool) {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		r, err := c.Open(name)
		if err != nil {
			c.FailWith(2, "cannot read: %s: %s", name, applet.Reason(err))
			return nil, false
		}
		if err = isDirectory(r); err == nil {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				for len(data) > 0 {
					line, rest, found := bytes.Cut(data, []byte{delim})
					all, data = append(all, line), rest
					if !found {
						break
					}
				}
			}
		}
		r.Close()
		if err != nil {
			c.FailWith(2, "read failed: %s: %s", name, applet.Reason(err))
			return nil, false
		}
	}
	return all, true
}

func (s *sorter) check(c *applet.Cmd, data [][]byte, names []string, quiet bool) int {
	name := "-"
	if len(names) > 0 {
		name = names[0]
	}
	for i := 1; i < len(data); i++ {
		d := s.compare(data[i-1], data[i])
		if d > 0 || d == 0 && s.unique {
			if !quiet {
				c.Fail("%s:%d: disorder: %s", name, i+1, data[i])
			}
			return 1
		}
	}
	return 0
}

func (s *sorter) compare(a, b []byte) int {
	if d := s.byKeys(a, b); d != 0 || s.unique || s.stable {
		return d
	}
	d := bytes.Compare(a, b)
	if s.global.reverse {
		d = -d
	}
	return d
}

func (s *sorter) byKeys(a, b []byte) int {
	if len(s.keys) == 0 {
		return s.one(s.global, a, b)
	}
	for _, k := range s.keys {
		if d := s.one(k.ordering, s.part(k, a), s.part(k, b)); d != 0 {
			return d
		}
	}
	return 0
}

func (s *sorter) one(o ordering, a, b []byte) int {
	if o.blankStart || o.numeric || o.general || o.human || o.month {
		a, b = bytes.TrimLeft(a, " \t\n"), bytes.TrimLeft(b, " \t\n")
	}
	var d int
	switch {
	case o.numeric:
		d = compareNumbers(a, b)
	case o.general:
		d = compareGeneral(a, b)
	case o.human:
		d = compareHuman(a, b)
	case o.month:
		d = cmp.Compare(monthOf(a), monthOf(b))
	case o.version:
		d = columns.CompareVersions(string(a), string(b))
	case o.random:
		d = cmp.Compare(maphash.Bytes(s.seed, a), maphash.Bytes(s.seed, b))
	default:
		d = bytes.Compare(o.filter(a), o.filter(b))
	}
	if o.reverse {
		return -d
	}
	return d
}

func (o ordering) filter(b []byte) []byte {
	if !o.fold && !o.dictionary && !o.printable {
		return b
	}
	out := make([]byte, 0, len(b))
	for _, ch := range b {
		if o.dictionary && !(ch == ' ' || ch == '\t' || ch >= '0' && ch <= '9' || ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z') {
			continue
		}
		if o.printable && (ch < 0x20 || ch >= 0x7f) {
			continue
		}
		if o.fold && ch >= 'a' && ch <= 'z' {
			ch -= 32
		}
		out = append(out, ch)
	}
	return out
}

// parseKey reads F[.C][OPTS][,F[.C][OPTS]].
func parseKey(spec string) (k sortKey, msg string) {
	start, end, hasEnd := strings.Cut(spec, ",")
	bad := func(why, part string) string {
		return fmt.Sprintf("%s: invalid field specification %s", why, applet.Quote(part))
	}
	var rest string
	k.field, k.char, rest = fieldPos(start)
	if k.field < 0 {
		return k, fmt.Sprintf("invalid number at field start: invalid count at start of %s", applet.Quote(spec))
	}
	if k.field == 0 {
		return k, bad("field number is zero", spec)
	}
	if strings.Contains(start, ".") && k.char == 0 {
		return k, bad("character offset is zero", spec)
	}
	if k.char == 0 {
		k.char = 1
	}
	for _, l := range []byte(rest) {
		if l == 'b' {
			k.blankStart = true
		} else if !k.set(l) {
			return k, bad("stray character in field spec", spec)
		}
	}
	if !hasEnd {
		return k, ""
	}
	k.endField, k.endChar, rest = fieldPos(end)
	if k.endField < 0 {
		return k, fmt.Sprintf("invalid number after ',': invalid count at start of %s", applet.Quote(end))
	}
	if k.endField == 0 {
		return k, bad("field number is zero", spec)
	}
	for _, l := range []byte(rest) {
		if l == 'b' {
			k.blankEnd = true
		} else if !k.set(l) {
			return k, bad("stray character in field spec", spec)
		}
	}
	return k, ""
}

func fieldPos(s string) (field, char int, rest string) {
	digits := func(s string) (int, string) {
		i := 0
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		n, err := strconv.Atoi(s[:i])
		if err != nil {
			return -1, s[i:]
		}
		return n, s[i:]
	}
	field, rest = digits(s)
	if strings.HasPrefix(rest, ".") {
		char, rest = digits(rest[1:])
	}
	return field, max(char, 0), rest
}

// part cuts the bytes of a key out of a line.
func (s *sorter) part(k sortKey, line []byte) []byte {
	from := s.fieldStart(line, k.field)
	if k.blankStart {
		from += len(line[from:]) - len(bytes.TrimLeft(line[from:], " \t"))
	}
	from = min(len(line), from+k.char-1)
	if k.endField == 0 {
		return line[from:]
	}
	var to int
	if k.endChar == 0 {
		to = s.fieldEnd(line, k.endField)
	} else {
		to = s.fieldStart(line, k.endField)
		if k.blankEnd {
			to += len(line[to:]) - len(bytes.TrimLeft(line[to:], " \t"))
		}
		to = min(len(line), to+k.endChar)
	}
	if to < from {
		return nil
	}
	return line[from:to]
}

func (s *sorter) fieldStart(line []byte, field int) int {
	pos := 0
	for i := 1; i < field; i++ {
		pos = s.skipField(line, pos)
		if s.separator >= 0 && pos < len(line) {
			pos++
		}
	}
	return pos
}

func (s *sorter) fieldEnd(line []byte, field int) int {
	return s.skipField(line, s.fieldStart(line, field))
}

// skipField is the end of the field at pos. Without a separator the blanks before a field belong to it.
func (s *sorter) skipField(line []byte, pos int) int {
	if s.separator >= 0 {
		if i := bytes.IndexByte(line[pos:], byte(s.separator)); i >= 0 {
			return pos + i
		}
		return len(line)
	}
	for pos < len(line) && (line[pos] == ' ' || line[pos] == '\t') {
		pos++
	}
	for pos < len(line) && line[pos] != ' ' && line[pos] != '\t' {
		pos++
	}
	return pos
}
