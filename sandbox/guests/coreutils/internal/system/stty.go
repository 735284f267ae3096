package system

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// modes are the settings stty knows by name: where the bit stands, and which.
var modes = [...]struct {
	name  string
	field byte // i, o, l
	bit   uint32
}{
	{"brkint", 'i', sys.BRKINT}, {"icrnl", 'i', sys.ICRNL}, {"igncr", 'i', sys.IGNCR}, {"inlcr", 'i', sys.INLCR}, {"istrip", 'i', sys.ISTRIP},
	{"ixon", 'i', sys.IXON}, {"iutf8", 'i', sys.IUTF8}, {"opost", 'o', sys.OPOST}, {"onlcr", 'o', sys.ONLCR}, {"isig", 'l', sys.ISIG},
	{"icanon", 'l', sys.ICANON}, {"iexten", 'l', sys.IEXTEN}, {"echo", 'l', sys.ECHO}, {"echoe", 'l', sys.ECHOE}, {"echok", 'l', sys.ECHOK},
	{"echonl", 'l', sys.ECHONL}, {"noflsh", 'l', sys.NOFLSH}, {"tostop", 'l', sys.TOSTOP}, {"echoctl", 'l', sys.ECHOCTL}, {"echoke", 'l', sys.ECHOKE},
}

var controls = [...]struct {
	name string
	at   int
}{{"intr", sys.VINTR}, {"quit", sys.VQUIT}, {"erase", sys.VERASE}, {"kill", sys.VKILL}, {"eof", sys.VEOF}, {"start", sys.VSTART}, {"stop", sys.VSTOP}, {"susp", sys.VSUSP}}

func field(t *sys.Termios, f byte) *uint32 {
	switch f {
	case 'i':
		return &t.Iflag
	case 'o':
		return &t.Oflag
	}
	return &t.Lflag
}

// Stty shows and changes the settings of the terminal on standard input, see stty(1).
func Stty(c *applet.Cmd) int {
	args := c.Args
	t, err := sys.Tcgetattr(0)
	if err != nil {
		c.Fail("'standard input': %s", applet.Reason(err))
		return 1
	}
	if len(args) == 0 || args[0] == "-a" || args[0] == "--all" {
		showSettings(c, t, len(args) > 0)
		return 0
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		next := func() string {
			if i+1 < len(args) {
				i++
				return args[i]
			}
			return ""
		}
		switch a {
		case "size":
			w, err := sys.GetWinsize(0)
			if err != nil {
				c.Fail("%s", applet.Reason(err))
				return 1
			}
			fmt.Fprintln(c.Out, w.Rows, w.Cols)
			continue
		case "-g", "--save":
			fmt.Fprintf(c.Out, "%x:%x:%x:%x:%x\n", t.Iflag, t.Oflag, t.Cflag, t.Lflag, t.Cc[:])
			continue
		case "rows", "cols", "columns":
			n, err := strconv.ParseUint(next(), 10, 16)
			w, werr := sys.GetWinsize(0)
			if err != nil || werr != nil {
				c.Fail("invalid integer argument: %s", applet.Quote(args[min(i, len(args)-1)]))
				return 1
			}
			if a == "rows" {
				w.Rows = uint16(n)
			} else {
				w.Cols = uint16(n)
			}
			sys.SetWinsize(0, w)
			continue
		case "sane":
			t.Iflag |= sys.BRKINT | sys.ICRNL | sys.IXON | sys.IUTF8
			t.Oflag |= sys.OPOST | sys.ONLCR
			t.Lflag |= sys.ISIG | sys.ICANON | sys.ECHO | sys.ECHOE | sys.ECHOK | sys.IEXTEN | sys.ECHOCTL | sys.ECHOKE
			continue
		case "raw":
			t.Raw()
			continue
		case "-raw", "cooked":
			t.Iflag |= sys.BRKINT | sys.ICRNL | sys.IXON
			t.Oflag |= sys.OPOST
			t.Lflag |= sys.ISIG | sys.ICANON
			continue
		case "cbreak":
			t.Lflag &^= sys.ICANON
			continue
		}
		if restored(t, a) || setting(t, a) {
			continue
		}
		if ok := control(t, a, next); !ok {
			return c.Usage(1, "invalid argument %s", applet.Quote(a))
		}
	}
	if err := sys.Tcsetattr(0, sys.TCSADRAIN, t); err != nil {
		c.Fail("'standard input': %s", applet.Reason(err))
		return 1
	}
	return 0
}

// restored takes what stty -g printed.
func restored(t *sys.Termios, s string) bool {
	p := strings.Split(s, ":")
	if len(p) != 5 || len(p[4]) != 2*len(t.Cc) {
		return false
	}
	for i, f := range []*uint32{&t.Iflag, &t.Oflag, &t.Cflag, &t.Lflag} {
		n, err := strconv.ParseUint(p[i], 16, 32)
		if err != nil {
			return false
		}
		*f = uint32(n)
	}
	for i := range t.Cc {
		n, err := strconv.ParseUint(p[4][2*i:2*i+2], 16, 8)
		if err != nil {
			return false
		}
		t.Cc[i] = uint8(n)
	}
	return true
}

func setting(t *sys.Termios, a string) bool {
	name, off := strings.CutPrefix(a, "-")
	for _, m := range modes {
		if m.name != name {
			continue
		}
		if off {
			*field(t, m.field) &^= m.bit
		} else {
			*field(t, m.field) |= m.bit
		}
		return true
	}
	return false
}

func control(t *sys.Termios, name string, next func() string) bool {
	for _, k := range controls {
		if k.name != name {
			continue
		}
		switch v := next(); {
		case v == "undef" || v == "^-":
			t.Cc[k.at] = 0
		case len(v) == 2 && v[0] == '^':
			t.Cc[k.at] = v[1] & 0x1f
			if v[1] == '?' {
				t.Cc[k.at] = 0x7f
			}
		case len(v) == 1:
			t.Cc[k.at] = v[0]
		default:
			return false
		}
		return true
	}
	return false
}

func showSettings(c *applet.Cmd, t *sys.Termios, all bool) {
	fmt.Fprint(c.Out, "speed 38400 baud;")
	if w, err := sys.GetWinsize(0); err == nil && all {
		fmt.Fprintf(c.Out, " rows %d; columns %d;", w.Rows, w.Cols)
	}
	fmt.Fprintf(c.Out, " line = %d;\n", t.Line)
	if all {
		for _, k := range controls {
			v := "<undef>"
			switch ch := t.Cc[k.at]; {
			case ch == 0x7f:
				v = "^?"
			case ch > 0 && ch < 0x20:
				v = "^" + string(rune(ch|0x40))
			case ch != 0:
				v = string(rune(ch))
			}
			fmt.Fprintf(c.Out, "%s = %s; ", k.name, v)
		}
		fmt.Fprintln(c.Out)
	}
	var words []string
	for _, m := range modes {
		on := *field(t, m.field)&m.bit != 0
		switch {
		case on && all:
			words = append(words, m.name)
		case !on && (all || m.name != "inlcr" && m.name != "igncr" && m.name != "istrip" && m.name != "echonl" && m.name != "noflsh" && m.name != "tostop"):
			words = append(words, "-"+m.name)
		}
	}
	fmt.Fprintln(c.Out, strings.Join(words, " "))
}
