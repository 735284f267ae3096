package text

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// Seq prints numbers, see seq(1).
func Seq(c *applet.Cmd) int {
	args := []string{}
	for i, a := range c.Args { // negative numbers are no options
		if len(a) > 1 && a[0] == '-' && (a[1] >= '0' && a[1] <= '9' || a[1] == '.') {
			args = append(append(args, "--"), c.Args[i:]...)
			break
		}
		if len(a) > 0 && a[0] >= '0' && a[0] <= '9' && (i == 0 || c.Args[i-1] != "-s" && c.Args[i-1] != "-f") {
			args = append(args, c.Args[i:]...)
			break
		}
		args = append(args, a)
	}
	c.Args = args
	opts, nums, st, ok := c.Parse(applet.Spec{Short: "f:s:w", Stop: true, Long: []string{"format=/f", "separator=/s", "equal-width/w"}, Help: "[OPTION]... [FIRST [INCREMENT]] LAST"})
	if !ok {
		return st
	}
	sep, format, equal := "\n", "", false
	for _, o := range opts {
		switch o.Key {
		case "f":
			format = o.Arg
		case "s":
			sep = o.Arg
		case "w":
			equal = true
		}
	}
	switch {
	case len(nums) == 0:
		return c.Usage(1, "missing operand")
	case len(nums) > 3:
		return c.Usage(1, "extra operand %s", applet.Quote(nums[3]))
	}
	values := []float64{1, 1, 0}
	places := 0
	parse := func(i int, s string) bool {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			c.Usage(1, "invalid floating point argument: %s", applet.Quote(s))
			return false
		}
		if _, frac, ok := strings.Cut(s, "."); ok && i < 2 {
			places = max(places, len(frac))
		}
		values[i] = v
		return true
	}
	order := [][]int{{2}, {0, 2}, {0, 1, 2}}[len(nums)-1]
	for k, i := range order {
		if !parse(i, nums[k]) {
			return 1
		}
	}
	first, step, last := values[0], values[1], values[2]
	if step == 0 {
		return c.Usage(1, "invalid Zero increment value: %s", applet.Quote(nums[1]))
	}
	text := func(v float64) string { return strconv.FormatFloat(v, 'f', places, 64) }
	width := 0
	if equal {
		width = max(len(text(first)), len(text(last)))
	}
	printed := false
	for i := 0; ; i++ {
		v := first + float64(i)*step
		if step > 0 && v > last+1e-12*step || step < 0 && v < last+1e-12*step {
			break
		}
		if printed {
			c.Out.WriteString(sep)
		}
		printed = true
		switch {
		case format != "":
			out, _, _ := Format(format, []string{text(v)}, c)
			c.Out.WriteString(out)
		case equal && v < 0:
			fmt.Fprintf(c.Out, "-%s", strings.Repeat("0", max(0, width-len(text(v))))+text(-v))
		case equal:
			fmt.Fprint(c.Out, strings.Repeat("0", max(0, width-len(text(v))))+text(v))
		default:
			c.Out.WriteString(text(v))
		}
	}
	if printed {
		c.Out.WriteByte('\n')
	}
	return c.Status()
}

// Echo is echo(1) with -n, -e and -E.
func Echo(c *applet.Cmd) int {
	args := c.Args
	newline, escapes := true, false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		for _, f := range args[0][1:] {
			switch f {
			case 'n':
				newline = false
			case 'e':
				escapes = true
			case 'E':
				escapes = false
			}
		}
		args = args[1:]
	}
	s := strings.Join(args, " ")
	if escapes {
		var stop bool
		if s, stop = unescape(s, true); stop {
			newline = false
		}
	}
	c.Out.WriteString(s)
	if newline {
		c.Out.WriteByte('\n')
	}
	return 0
}

// unescape interprets backslash sequences; \c ends the output. zero says that octal numbers start with \0 (echo).
func unescape(s string, zero bool) (out string, stop bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch ch := s[i]; ch {
		case 'a', 'b', 'f', 'n', 'r', 't', 'v', '\\':
			b.WriteByte("\a\b\f\n\r\t\v\\"[strings.IndexByte("abfnrtv\\", ch)])
		case '"':
			if zero {
				b.WriteByte('\\')
			}
			b.WriteByte('"')
		case 'e':
			b.WriteByte(0x1b)
		case 'c':
			return b.String(), true
		case 'x':
			n, v := number16(s[i+1:], 2)
			if n == 0 {
				b.WriteString(`\x`)
				continue
			}
			b.WriteByte(byte(v))
			i += n
		case 'u', 'U':
			digits := 4
			if ch == 'U' {
				digits = 8
			}
			n, v := number16(s[i+1:], digits)
			if n == 0 {
				b.WriteString(`\` + string(ch))
				continue
			}
			b.WriteRune(rune(v))
			i += n
		case '0', '1', '2', '3', '4', '5', '6', '7':
			from := i
			if zero && ch == '0' {
				from++
			}
			end, v := from, 0
			for end < len(s) && end < from+3 && s[end] >= '0' && s[end] <= '7' {
				v = v*8 + int(s[end]-'0')
				end++
			}
			b.WriteByte(byte(v))
			i = end - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(ch)
		}
	}
	return b.String(), false
}

func number16(s string, most int) (n, v int) {
	for n < len(s) && n < most {
		d := strings.IndexByte("0123456789abcdef", s[n]|0x20)
		if s[n] >= '0' && s[n] <= '9' {
			d = int(s[n] - '0')
		}
		if d < 0 {
			break
		}
		v = v*16 + d
		n++
	}
	return n, v
}

// Printf is printf(1).
func Printf(c *applet.Cmd) int {
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return c.Usage(1, "missing operand")
	}
	format, args := args[0], args[1:]
	for {
		out, used, stop := Format(format, args, c)
		c.Out.WriteString(out)
		if args = args[used:]; stop || used == 0 || len(args) == 0 {
			return c.Status()
		}
	}
}

// Format formats args once by a printf format and says how many it used, and whether \c ended the output.
func Format(format string, args []string, c *applet.Cmd) (out string, used int, stop bool) {
	var b strings.Builder
	next := func() string {
		if used < len(args) {
			used++
			return args[used-1]
		}
		return ""
	}
	for i := 0; i < len(format); i++ {
		switch {
		case format[i] == '\\':
			end := i + 1
			for end < len(format) && format[end] != '\\' && format[end] != '%' {
				end++
			}
			if end < len(format) && end == i+1 && format[end] == '\\' {
				end++
			}
			text, done := unescape(format[i:end], false)
			b.WriteString(text)
			if done {
				return b.String(), used, true
			}
			i = end - 1
		case format[i] == '%' && i+1 < len(format) && format[i+1] == '%':
			b.WriteByte('%')
			i++
		case format[i] == '%':
			end := i + 1
			for end < len(format) && strings.IndexByte("-+ #0123456789.*", format[end]) >= 0 {
				end++
			}
			for end < len(format) && strings.IndexByte("hlLjzt", format[end]) >= 0 {
				end++
			}
			if end == len(format) {
				c.Fail("%s: invalid conversion specification", format[i:])
				return b.String(), used, true
			}
			flags := strings.TrimRight(format[i+1:end], "hlLjzt")
			for strings.Contains(flags, "*") {
				w := next()
				if _, err := strconv.Atoi(w); err != nil {
					w = "0"
				}
				flags = strings.Replace(flags, "*", w, 1)
			}
			text, done, ok := convert(c, flags, format[end], next)
			if !ok {
				c.Fail("%s: invalid conversion specification", format[i:end+1])
				return b.String(), used, true
			}
			b.WriteString(text)
			if done {
				return b.String(), used, true
			}
			i = end
		default:
			b.WriteByte(format[i])
		}
	}
	return b.String(), used, false
}

func convert(c *applet.Cmd, flags string, verb byte, next func() string) (text string, stop, ok bool) {
	switch verb {
	case 'd', 'i':
		return fmt.Sprintf("%"+flags+"d", integer(c, next())), false, true
	case 'u':
		return fmt.Sprintf("%"+flags+"d", uint64(integer(c, next()))), false, true
	case 'o', 'x', 'X':
		return fmt.Sprintf("%"+flags+string(verb), uint64(integer(c, next()))), false, true
	case 'f', 'F', 'e', 'E', 'g', 'G':
		s := next()
		v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil {
			v = float64(integer(c, s))
		}
		if verb == 'g' || verb == 'G' {
			return formatG(flags, verb, v), false, true
		}
		return fmt.Sprintf("%"+flags+string(verb), v), false, true
	case 'c':
		s := next()
		if len(s) > 1 {
			s = s[:1]
		}
		return fmt.Sprintf("%"+flags+"s", s), false, true
	case 's':
		return padBytes(flags, next()), false, true
	case 'b':
		s, done := unescape(next(), true)
		return padBytes(flags, s), done, true
	case 'q':
		s := next()
		if s == "" || strings.ContainsAny(s, " \t\n'\"\\$&|;<>()*?[]!`~#{}") {
			s = applet.Quote(s)
		}
		return s, false, true
	}
	return "", false, false
}

// padBytes formats a string; C counts bytes where Go counts runes.
func padBytes(flags, s string) string {
	width, precision, has := strings.Cut(strings.TrimLeft(flags, "-+ #0"), ".")
	if has {
		n, _ := strconv.Atoi(precision)
		s = s[:min(len(s), n)]
	}
	n, _ := strconv.Atoi(width)
	pad := strings.Repeat(" ", max(0, n-len(s)))
	if strings.HasPrefix(strings.TrimLeft(flags, "+ #0"), "-") || strings.HasPrefix(flags, "-") {
		return s + pad
	}
	return pad + s
}

// formatG is C's %g: six significant digits, no trailing zeros.
func formatG(flags string, verb byte, v float64) string {
	if !strings.Contains(flags, ".") {
		flags += ".6"
	}
	s := fmt.Sprintf("%"+flags+string(verb), v)
	return s
}

// integer reads a number as printf does: decimal, 0x, 0 octal, or the code of a character behind a quote.
func integer(c *applet.Cmd, s string) int64 {
	if s == "" {
		return 0
	}
	if s[0] == '\'' || s[0] == '"' {
		for _, r := range s[1:] {
			return int64(r)
		}
		return 0
	}
	t := strings.TrimSpace(s)
	n, err := strconv.ParseInt(t, 0, 64)
	if err == nil {
		return n
	}
	if u, uerr := strconv.ParseUint(t, 0, 64); uerr == nil {
		return int64(u)
	}
	end := 0
	for end < len(t) && (t[end] >= '0' && t[end] <= '9' || end == 0 && (t[end] == '-' || t[end] == '+')) {
		end++
	}
	n, err = strconv.ParseInt(t[:end], 10, 64)
	if err != nil || end == 0 {
		c.Fail("%s: expected a numeric value", applet.Quote(s))
		return 0
	}
	c.Fail("%s: value not completely converted", applet.Quote(s))
	return n
}
