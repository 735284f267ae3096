package applet

import (
	"fmt"
	"os"
	"strings"
)

// Opt is one option as it stood on the command line: Key is the short letter, or the long name of an option without one.
type Opt struct {
	Key string
	Arg string
}

// Spec describes a utility's options.
//   - Short holds letters; ':' after a letter means that it takes an argument, "::" an optional one attached to it.
//   - Long holds entries "name", "name=", "name?" (no, required, optional argument), with "/x" at the end when it stands for letter x.
//   - Help is the text after "Usage: name ".
//   - Status is the exit status of a usage error (1 when zero).
//   - Stop ends option parsing at the first operand (env, timeout, xargs).
//   - Digits gives -NUM as option "NUM" (head, tail, fold).
type Spec struct {
	Short  string
	Long   []string
	Help   string
	Status int
	Stop   bool
	Digits bool
}

// Version is what --version prints; set by the linker.
var Version = "0.1"

// Parse splits c.Args into options and operands. When ok is false the program ends with status: after --help,
// --version or a usage error, whose text has been printed.
func (c *Cmd) Parse(s Spec) (opts []Opt, operands []string, status int, ok bool) {
	if s.Status == 0 {
		s.Status = 1
	}
	stop := s.Stop || os.Getenv("POSIXLY_CORRECT") != ""
	args := c.Args
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		switch {
		case a == "--":
			return opts, append(operands, args...), 0, true
		case strings.HasPrefix(a, "--"):
			o, rest, st, fine := c.long(s, a[2:], args)
			if !fine {
				return nil, nil, st, false
			}
			opts, args = append(opts, o), rest
		case len(a) > 1 && a[0] == '-':
			os, rest, st, fine := c.short(s, a[1:], args)
			if !fine {
				return nil, nil, st, false
			}
			opts, args = append(opts, os...), rest
		case stop:
			return opts, append(append(operands, a), args...), 0, true
		default:
			operands = append(operands, a)
		}
	}
	return opts, operands, 0, true
}

func (c *Cmd) long(s Spec, a string, args []string) (Opt, []string, int, bool) {
	name, val, has := strings.Cut(a, "=")
	var found []string
	for _, l := range s.Long {
		base, _, _ := strings.Cut(l, "/")
		base = strings.TrimRight(base, "=?")
		if base == name {
			found = []string{l}
			break
		}
		if strings.HasPrefix(base, name) {
			found = append(found, l)
		}
	}
	switch {
	case name == "help":
		fmt.Fprintf(c.Out, "Usage: %s %s\n", c.Name, s.Help)
		return Opt{}, nil, 0, false
	case name == "version":
		fmt.Fprintf(c.Out, "%s (Drydock) %s\nA WebAssembly substitute for learning: compatible with, not made by, the GNU project.\n", c.Name, Version)
		return Opt{}, nil, 0, false
	case len(found) == 0:
		return Opt{}, nil, c.Usage(s.Status, "unrecognized option '--%s'", name), false
	case len(found) > 1:
		return Opt{}, nil, c.Usage(s.Status, "option '--%s' is ambiguous", name), false
	}
	base, letter, _ := strings.Cut(found[0], "/")
	full := strings.TrimRight(base, "=?")
	switch {
	case strings.HasSuffix(base, "=") && !has:
		if len(args) == 0 {
			return Opt{}, nil, c.Usage(s.Status, "option '--%s' requires an argument", full), false
		}
		val, args = args[0], args[1:]
	case !strings.HasSuffix(base, "=") && !strings.HasSuffix(base, "?") && has:
		return Opt{}, nil, c.Usage(s.Status, "option '--%s' doesn't allow an argument", full), false
	}
	if letter == "" {
		letter = full
	}
	return Opt{letter, val}, args, 0, true
}

func (c *Cmd) short(s Spec, a string, args []string) (opts []Opt, rest []string, status int, ok bool) {
	for a != "" {
		if s.Digits && a[0] >= '0' && a[0] <= '9' {
			n := 0
			for n < len(a) && a[n] >= '0' && a[n] <= '9' {
				n++
			}
			opts, a = append(opts, Opt{"NUM", a[:n]}), a[n:]
			continue
		}
		letter := a[:1]
		a = a[1:]
		i := strings.Index(s.Short, letter)
		if i < 0 || letter == ":" {
			return nil, nil, c.Usage(s.Status, "invalid option -- '%s'", letter), false
		}
		spec := s.Short[i+1:]
		switch {
		case strings.HasPrefix(spec, "::"):
			opts, a = append(opts, Opt{letter, a}), ""
		case strings.HasPrefix(spec, ":") && a != "":
			opts, a = append(opts, Opt{letter, a}), ""
		case strings.HasPrefix(spec, ":"):
			if len(args) == 0 {
				return nil, nil, c.Usage(s.Status, "option requires an argument -- '%s'", letter), false
			}
			opts, args = append(opts, Opt{letter, args[0]}), args[1:]
		default:
			opts = append(opts, Opt{letter, ""})
		}
	}
	return opts, args, 0, true
}

// Size reads a number with the suffixes of the GNU utilities (b 512, kB 1000, K 1024, MB, M, G, T…).
func Size(s string) (int64, bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	if i == 0 {
		return 0, false
	}
	var n int64
	for _, d := range s[:i] {
		if n > (1<<62)/10 {
			return 0, false
		}
		n = n*10 + int64(d-'0')
	}
	unit := s[i:]
	if unit == "" {
		return n, true
	}
	if unit == "b" {
		return n * 512, true
	}
	p := strings.IndexByte("KMGTPE", strings.ToUpper(unit)[0])
	if p < 0 {
		return 0, false
	}
	base := int64(1024)
	switch unit[1:] {
	case "B":
		base = 1000
	case "", "iB":
	default:
		return 0, false
	}
	for ; p >= 0; p-- {
		if n > (1<<62)/base {
			return 0, false
		}
		n *= base
	}
	return n, true
}
