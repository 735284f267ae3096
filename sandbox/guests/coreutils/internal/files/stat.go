package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// Stat is stat(1).
func Stat(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "Lfc:t", Long: []string{"dereference/L", "file-system/f", "format=/c", "printf=", "terse/t"}, Help: "[OPTION]... FILE..."})
	if !ok {
		return st
	}
	follow, fsys, format, newline := false, false, "", "\n"
	for _, o := range opts {
		switch o.Key {
		case "L":
			follow = true
		case "f":
			fsys = true
		case "c":
			format = o.Arg
		case "printf":
			format, newline = o.Arg, ""
		}
	}
	if len(names) == 0 {
		return c.Usage(1, "missing operand")
	}
	var ids Names
	for _, n := range names {
		if fsys {
			s, err := sys.GetStatfs(n)
			if err != nil {
				c.Fail("cannot read file system information for %s: %s", applet.Quote(n), applet.Reason(err))
				continue
			}
			fmt.Fprintf(c.Out, "  File: \"%s\"\n    ID: 0        Namelen: 255     Type: %s\nBlock size: %-10d Fundamental block size: %d\nBlocks: Total: %-10d Free: %-10d Available: %d\nInodes: Total: %-10d Free: %d\n",
				n, fsTypeName(s.Type), s.Bsize, s.Bsize, s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree)
			continue
		}
		s, err := sys.StatFile(n, follow)
		if err != nil {
			c.Fail("cannot statx %s: %s", applet.Quote(n), applet.Reason(err))
			continue
		}
		f := format
		if f == "" {
			f = "  File: %N\n  Size: %-10s\tBlocks: %-10b IO Block: %-6o %F\nDevice: %Hd,%Ld\tInode: %-11i Links: %h"
			if t := s.Mode & sys.S_IFMT; t == sys.S_IFCHR || t == sys.S_IFBLK {
				f = strings.Replace(f, "Links: %h", "Links: %-5h Device type: %t,%T", 1)
			}
			f += "\nAccess: (%04a/%A)  Uid: (%5u/%8U)   Gid: (%5g/%8G)\nAccess: %x\nModify: %y\nChange: %z\n Birth: %w"
		}
		c.Out.WriteString(formatStat(f, n, s, &ids, format != "" && newline == ""))
		c.Out.WriteString(newline)
	}
	return c.Status()
}

func fsTypeName(t uint64) string {
	switch t {
	case 0x01021994:
		return "tmpfs"
	case 0xEF53:
		return "ext2/ext3"
	case 0x794c7630:
		return "overlayfs"
	case 0x9fa0:
		return "proc"
	case 0x62656572:
		return "sysfs"
	case 0x63677270:
		return "cgroup2fs"
	}
	return fmt.Sprintf("UNKNOWN (0x%x)", t)
}

const longTime = "2006-01-02 15:04:05.000000000 -0700"

func formatStat(format, name string, s sys.Stat, ids *Names, escapes bool) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] == '\\' && escapes && i+1 < len(format) {
			i++
			if k := strings.IndexByte("abefnrtv\\\"", format[i]); k >= 0 {
				b.WriteByte("\a\b\x1b\f\n\r\t\v\\\""[k])
			}
			continue
		}
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		j := i + 1
		for j < len(format)-1 && strings.IndexByte("-0123456789.", format[j]) >= 0 {
			j++
		}
		flags := format[i+1 : j]
		modifier := byte(0)
		if (format[j] == 'H' || format[j] == 'L') && j+1 < len(format) && (format[j+1] == 'd' || format[j+1] == 'r') {
			modifier = format[j]
			j++
		}
		v := statDirective(format[j], modifier, name, s, ids)
		if n, isNumber := v.(int64); isNumber {
			verb := "d"
			if format[j] == 'a' {
				verb = "o"
			}
			fmt.Fprintf(&b, "%"+flags+verb, n)
		} else {
			fmt.Fprintf(&b, "%"+flags+"s", v)
		}
		i = j
	}
	return b.String()
}

func statDirective(d, modifier byte, name string, s sys.Stat, ids *Names) any {
	switch d {
	case 'a':
		return int64(s.Mode & 0o7777)
	case 'A':
		return ModeString(s.Mode)
	case 'b':
		return s.Blocks
	case 'B':
		return int64(512)
	case 'd':
		switch modifier {
		case 'H':
			return int64(sys.Major(s.Dev))
		case 'L':
			return int64(sys.Minor(s.Dev))
		}
		return int64(s.Dev)
	case 'f':
		return fmt.Sprintf("%x", s.Mode)
	case 'F':
		return typeName(s)
	case 'g':
		return int64(s.GID)
	case 'G':
		return ids.Group(s.GID)
	case 'h':
		return int64(s.Nlink)
	case 'i':
		return int64(s.Ino)
	case 'n':
		return name
	case 'N':
		if s.Mode&sys.S_IFMT == sys.S_IFLNK {
			l, _ := os.Readlink(name)
			return applet.Quote(name) + " -> " + applet.Quote(l)
		}
		return applet.Quote(name)
	case 'o':
		return s.Blksize
	case 's':
		return s.Size
	case 't':
		return fmt.Sprintf("%x", sys.Major(s.Rdev))
	case 'T':
		return fmt.Sprintf("%x", sys.Minor(s.Rdev))
	case 'u':
		return int64(s.UID)
	case 'U':
		return ids.User(s.UID)
	case 'w':
		return "-"
	case 'W':
		return int64(0)
	case 'x':
		return s.Atime.Format(longTime)
	case 'X':
		return s.Atime.Unix()
	case 'y':
		return s.Mtime.Format(longTime)
	case 'Y':
		return s.Mtime.Unix()
	case 'z':
		return s.Ctime.Format(longTime)
	case 'Z':
		return s.Ctime.Unix()
	case '%':
		return "%"
	}
	return "?"
}

// Touch is touch(1).
func Touch(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "acd:fmr:t:", Long: []string{"no-create/c", "date=/d", "reference=/r", "time="}, Help: "[OPTION]... FILE..."})
	if !ok {
		return st
	}
	atime, mtime, create := true, true, true
	now := time.Now()
	at, mt := now, now
	for _, o := range opts {
		switch o.Key {
		case "a":
			mtime = false
		case "m":
			atime = false
		case "c":
			create = false
		case "d":
			t, err := ParseDate(o.Arg, now)
			if err != nil {
				c.Fail("invalid date format %s", applet.Quote(o.Arg))
				return 1
			}
			at, mt = t, t
		case "r":
			s, err := sys.StatFile(o.Arg, true)
			if err != nil {
				c.Fail("failed to get attributes of %s: %s", applet.Quote(o.Arg), applet.Reason(err))
				return 1
			}
			at, mt = s.Atime, s.Mtime
		case "t":
			t, ok := stamp(o.Arg, now)
			if !ok {
				c.Fail("invalid date format %s", applet.Quote(o.Arg))
				return 1
			}
			at, mt = t, t
		}
	}
	if len(names) == 0 {
		return c.Usage(1, "missing file operand")
	}
	for _, n := range names {
		s, err := sys.StatFile(n, true)
		if err != nil {
			if !create {
				continue
			}
			f, err := os.OpenFile(n, os.O_WRONLY|os.O_CREATE, 0o666)
			if err != nil {
				c.Fail("cannot touch %s: %s", applet.Quote(n), applet.Reason(err))
				continue
			}
			f.Close()
			s.Atime, s.Mtime = now, now
		}
		a, m := s.Atime, s.Mtime
		if atime {
			a = at
		}
		if mtime {
			m = mt
		}
		if err := os.Chtimes(n, a, m); err != nil {
			c.Fail("setting times of %s: %s", applet.Quote(n), applet.Reason(err))
		}
	}
	return c.Status()
}

// stamp reads [[CC]YY]MMDDhhmm[.ss].
func stamp(s string, now time.Time) (time.Time, bool) {
	main, sec, hasSec := strings.Cut(s, ".")
	switch len(main) {
	case 8:
		main = strconv.Itoa(now.Year()) + main
	case 10:
		century := "20"
		if main >= "69" {
			century = "19"
		}
		main = century + main
	}
	if !hasSec {
		sec = "00"
	}
	t, err := time.ParseInLocation("20060102150405", main+sec, now.Location())
	return t, err == nil
}

// Basename is basename(1).
func Basename(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "as:z", Stop: true, Long: []string{"multiple/a", "suffix=/s", "zero/z"}, Help: "NAME [SUFFIX]"})
	if !ok {
		return st
	}
	multiple, suffix, end := false, "", "\n"
	for _, o := range opts {
		switch o.Key {
		case "a":
			multiple = true
		case "s":
			multiple, suffix = true, o.Arg
		case "z":
			end = "\x00"
		}
	}
	switch {
	case len(names) == 0:
		return c.Usage(1, "missing operand")
	case !multiple && len(names) > 2:
		return c.Usage(1, "extra operand %s", applet.Quote(names[2]))
	case !multiple && len(names) == 2:
		suffix, names = names[1], names[:1]
	}
	for _, n := range names {
		b := ""
		if n != "" {
			b = filepath.Base(n)
		}
		if b != suffix {
			b = strings.TrimSuffix(b, suffix)
		}
		fmt.Fprint(c.Out, b, end)
	}
	return 0
}

// Dirname is dirname(1).
func Dirname(c *applet.Cmd) int {
	_, names, st, ok := c.Parse(applet.Spec{Short: "z", Long: []string{"zero/z"}, Help: "[OPTION] NAME..."})
	if !ok {
		return st
	}
	if len(names) == 0 {
		return c.Usage(1, "missing operand")
	}
	for _, n := range names {
		t := strings.TrimRight(n, "/")
		i := strings.LastIndexByte(t, '/')
		switch {
		case t == "" && n != "":
			t = "/"
		case i < 0:
			t = "."
		default:
			if t = strings.TrimRight(t[:i], "/"); t == "" {
				t = "/"
			}
		}
		fmt.Fprintln(c.Out, t)
	}
	return 0
}

// Readlink is readlink(1).
func Readlink(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "femnqsvz", Long: []string{"canonicalize/f", "canonicalize-existing/e", "canonicalize-missing/m", "no-newline/n", "quiet/q", "silent/s", "verbose/v", "zero/z"}, Help: "[OPTION]... FILE..."})
	if !ok {
		return st
	}
	mode, newline, verbose := byte(0), "\n", false
	for _, o := range opts {
		switch o.Key {
		case "f", "e", "m":
			mode = o.Key[0]
		case "n":
			newline = ""
		case "v":
			verbose = true
		case "z":
			newline = "\x00"
		}
	}
	if len(names) == 0 {
		return c.Usage(1, "missing operand")
	}
	for _, n := range names {
		var p string
		var err error
		if mode == 0 {
			p, err = os.Readlink(n)
		} else {
			p, err = canonical(n, mode)
		}
		if err != nil {
			c.Set(1)
			if verbose {
				c.Fail("%s: %s", n, applet.Reason(err))
			}
			continue
		}
		fmt.Fprint(c.Out, p, newline)
	}
	return c.Status()
}

// canonical resolves all links; 'f' lets the last part be missing, 'm' all of them, 'e' none.
func canonical(name string, mode byte) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	p, err := filepath.EvalSymlinks(abs)
	if err == nil || mode == 'e' {
		return p, err
	}
	if link, lerr := os.Readlink(abs); lerr == nil {
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(abs), link)
		}
		if link != abs {
			return canonical(link, mode)
		}
	}
	if filepath.Dir(abs) == abs {
		return abs, nil
	}
	dirMode := byte('e')
	if mode == 'm' {
		dirMode = 'm'
	}
	d, err := canonical(filepath.Dir(abs), dirMode)
	if err != nil {
		return "", err
	}
	return filepath.Join(d, filepath.Base(abs)), nil
}

// Realpath is realpath(1).
func Realpath(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "emqsz", Long: []string{"canonicalize-existing/e", "canonicalize-missing/m", "quiet/q", "no-symlinks/s", "relative-to="}, Help: "[OPTION]... FILE..."})
	if !ok {
		return st
	}
	mode, quiet, relativeTo := byte('f'), false, ""
	for _, o := range opts {
		switch o.Key {
		case "e", "m", "s":
			mode = o.Key[0]
		case "q":
			quiet = true
		case "relative-to":
			relativeTo = o.Arg
		}
	}
	if len(names) == 0 {
		return c.Usage(1, "missing operand")
	}
	for _, n := range names {
		var p string
		var err error
		if mode == 's' {
			p, err = filepath.Abs(n)
		} else {
			p, err = canonical(n, mode)
		}
		if err != nil {
			c.Set(1)
			if !quiet {
				c.Fail("%s: %s", n, applet.Reason(err))
			}
			continue
		}
		if relativeTo != "" {
			base, _ := canonical(relativeTo, 'm')
			if rel, err := filepath.Rel(base, p); err == nil {
				p = rel
			}
		}
		fmt.Fprintln(c.Out, p)
	}
	return c.Status()
}
