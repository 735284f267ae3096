package text

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// expandSet writes out a set of tr: ranges, escapes, classes, [x*n]. fill is the length that [x*] extends to.
func expandSet(s string, fill int) (out []byte, msg string) {
	star := -1
	var starByte byte
	for i := 0; i < len(s); {
		if s[i] == '[' {
			if n, ok := classLength(s[i:]); ok {
				class := s[i+2 : i+n-2]
				if s[i+1] == '=' {
					out = append(out, class...)
				} else {
					members, known := classMembers(class)
					if !known {
						return nil, fmt.Sprintf("invalid character class %s", applet.Quote(class))
					}
					out = append(out, members...)
				}
				i += n
				continue
			}
			if j := strings.IndexByte(s[i:], ']'); j > 2 && s[i+2] == '*' {
				count := s[i+3 : i+j]
				n, err := strconv.ParseInt(count, 0, 32)
				if count == "" {
					star, starByte = len(out), s[i+1]
					i += j + 1
					continue
				}
				if err == nil {
					out = append(out, strings.Repeat(s[i+1:i+2], int(min(n, 1<<16)))...)
					i += j + 1
					continue
				}
			}
		}
		ch, n := escape(s[i:])
		i += n
		if i+1 < len(s) && s[i] == '-' {
			hi, n := escape(s[i+1:])
			if hi < ch {
				return nil, fmt.Sprintf("range-endpoints of '%c-%c' are in reverse collating sequence order", ch, hi)
			}
			for c := int(ch); c <= int(hi); c++ {
				out = append(out, byte(c))
			}
			i += 1 + n
			continue
		}
		out = append(out, ch)
	}
	if star >= 0 && fill > len(out) {
		mid := strings.Repeat(string([]byte{starByte}), fill-len(out))
		out = append(append(append([]byte{}, out[:star]...), mid...), out[star:]...)
	}
	return out, ""
}

func classLength(s string) (int, bool) {
	for _, kind := range []string{":", "="} {
		if strings.HasPrefix(s, "["+kind) {
			if j := strings.Index(s[2:], kind+"]"); j >= 1 {
				return j + 4, true
			}
		}
	}
	return 0, false
}

func classMembers(name string) (out []byte, known bool) {
	in := func(c byte) bool { return false }
	between := func(c, lo, hi byte) bool { return c >= lo && c <= hi }
	switch name {
	case "alnum":
		in = func(c byte) bool { return between(c, '0', '9') || between(c, 'a', 'z') || between(c, 'A', 'Z') }
	case "alpha":
		in = func(c byte) bool { return between(c, 'a', 'z') || between(c, 'A', 'Z') }
	case "blank":
		in = func(c byte) bool { return c == ' ' || c == '\t' }
	case "cntrl":
		in = func(c byte) bool { return c < 0x20 || c == 0x7f }
	case "digit":
		in = func(c byte) bool { return between(c, '0', '9') }
	case "graph":
		in = func(c byte) bool { return between(c, 0x21, 0x7e) }
	case "lower":
		in = func(c byte) bool { return between(c, 'a', 'z') }
	case "print":
		in = func(c byte) bool { return between(c, 0x20, 0x7e) }
	case "punct":
		in = func(c byte) bool {
			return between(c, 0x21, 0x7e) && !between(c, '0', '9') && !between(c, 'a', 'z') && !between(c, 'A', 'Z')
		}
	case "space":
		in = func(c byte) bool { return c == ' ' || between(c, '\t', '\r') }
	case "upper":
		in = func(c byte) bool { return between(c, 'A', 'Z') }
	case "xdigit":
		in = func(c byte) bool { return between(c, '0', '9') || between(c, 'a', 'f') || between(c, 'A', 'F') }
	default:
		return nil, false
	}
	for c := range 256 {
		if in(byte(c)) {
			out = append(out, byte(c))
		}
	}
	return out, true
}

// escape reads one character of a set.
func escape(s string) (ch byte, n int) {
	if s[0] != '\\' || len(s) == 1 {
		return s[0], 1
	}
	if i := strings.IndexByte("abfnrtv\\", s[1]); i >= 0 {
		return "\a\b\f\n\r\t\v\\"[i], 2
	}
	n = 1
	v := 0
	for n < len(s) && n < 4 && s[n] >= '0' && s[n] <= '7' {
		v = v*8 + int(s[n]-'0')
		n++
	}
	if n > 1 {
		return byte(v), n
	}
	return s[1], 2
}

// Tr translates, squeezes and deletes bytes, see tr(1).
func Tr(c *applet.Cmd) int {
	opts, sets, st, ok := c.Parse(applet.Spec{Short: "cCdst", Stop: true, Long: []string{"complement/c", "delete/d", "squeeze-repeats/s", "truncate-set1/t"}, Help: "[OPTION]... SET1 [SET2]"})
	if !ok {
		return st
	}
	var complement, del, squeeze, truncate bool
	for _, o := range opts {
		switch o.Key {
		case "c", "C":
			complement = true
		case "d":
			del = true
		case "s":
			squeeze = true
		case "t":
			truncate = true
		}
	}
	switch {
	case len(sets) == 0:
		return c.Usage(1, "missing operand")
	case len(sets) == 1 && !del && !squeeze:
		c.Fail("missing operand after %s", applet.Quote(sets[0]))
		fmt.Fprintf(c.Stderr, "Two strings must be given when translating.\nTry '%s --help' for more information.\n", c.Name)
		return 1
	case len(sets) == 2 && del && !squeeze:
		c.Fail("extra operand %s", applet.Quote(sets[1]))
		fmt.Fprintf(c.Stderr, "Only one string may be given when deleting without squeezing repeats.\nTry '%s --help' for more information.\n", c.Name)
		return 1
	case len(sets) > 2:
		return c.Usage(1, "extra operand %s", applet.Quote(sets[2]))
	}
	set1, msg := expandSet(sets[0], 0)
	if msg != "" {
		c.Fail("%s", msg)
		return 1
	}
	if complement {
		set1 = complementOf(set1)
	}
	var set2 []byte
	if len(sets) == 2 {
		if set2, msg = expandSet(sets[1], len(set1)); msg != "" {
			c.Fail("%s", msg)
			return 1
		}
		if len(set2) == 0 && !del {
			c.Fail("when not truncating set1, string2 must be non-empty")
			return 1
		}
	}
	var t translation
	t.build(set1, set2, del, squeeze, truncate)
	if err := t.run(c); err != nil {
		c.Fail("read error: %s", applet.Reason(err))
	}
	return c.Status()
}

func complementOf(set []byte) []byte {
	var has [256]bool
	for _, b := range set {
		has[b] = true
	}
	out := make([]byte, 0, 256)
	for c := range 256 {
		if !has[c] {
			out = append(out, byte(c))
		}
	}
	return out
}

type translation struct {
	to      [256]byte
	drop    [256]bool
	squeeze [256]bool
}

func (t *translation) build(set1, set2 []byte, del, squeeze, truncate bool) {
	for c := range 256 {
		t.to[c] = byte(c)
	}
	squeezed := set2
	switch {
	case del:
		for _, b := range set1 {
			t.drop[b] = true
		}
	case len(set2) > 0:
		for i, b := range set1 {
			switch {
			case i < len(set2):
				t.to[b] = set2[i]
			case !truncate:
				t.to[b] = set2[len(set2)-1]
			}
		}
	default:
		squeezed = set1
	}
	if squeeze {
		for _, b := range squeezed {
			t.squeeze[b] = true
		}
	}
}

func (t *translation) run(c *applet.Cmd) error {
	buf := make([]byte, 32<<10)
	last := -1
	for {
		n, err := c.Stdin.Read(buf)
		for _, b := range buf[:n] {
			if t.drop[b] {
				continue
			}
			b = t.to[b]
			if t.squeeze[b] && last == int(b) {
				continue
			}
			last = int(b)
			c.Out.WriteByte(b)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
