package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// Mode is a mode as chmod takes it: octal, or a list of symbolic changes.
type Mode struct {
	octal  bool
	bits   uint32
	digits int
	ops    []modeOp
}

type modeOp struct {
	who   uint32 // bits of u, g, o it touches; 0: all, under the umask
	op    byte
	bits  uint32 // rwx in the lowest three, repeated for all
	x     bool   // X
	suid  bool   // s
	svtx  bool   // t
	copyF byte   // u, g or o
}

// ParseMode reads 755, u+x, a=rX,g-w …
func ParseMode(s string) (m Mode, ok bool) {
	if n, err := strconv.ParseUint(s, 8, 32); err == nil && n <= 0o7777 {
		return Mode{octal: true, bits: uint32(n), digits: len(s)}, true
	}
	for _, clause := range strings.Split(s, ",") {
		who := uint32(0)
		i := 0
		for ; i < len(clause); i++ {
			w := map[byte]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}[clause[i]]
			if w == 0 {
				break
			}
			who |= w
		}
		if i == len(clause) {
			return m, false
		}
		for i < len(clause) {
			op := modeOp{who: who, op: clause[i]}
			if !strings.ContainsRune("+-=", rune(clause[i])) {
				return m, false
			}
			for i++; i < len(clause) && !strings.ContainsRune("+-=", rune(clause[i])); i++ {
				switch clause[i] {
				case 'r':
					op.bits |= 0o444
				case 'w':
					op.bits |= 0o222
				case 'x':
					op.bits |= 0o111
				case 'X':
					op.x = true
				case 's':
					op.suid = true
				case 't':
					op.svtx = true
				case 'u', 'g', 'o':
					op.copyF = clause[i]
				default:
					return m, false
				}
			}
			m.ops = append(m.ops, op)
		}
	}
	return m, true
}

// Apply changes a mode's permission bits. mask is the umask, for clauses that name nobody.
func (m Mode) Apply(mode uint32, isDir bool, mask uint32) uint32 {
	mode &= 0o7777
	if m.octal {
		if isDir && m.digits < 5 {
			return m.bits | mode&(sys.S_ISUID|sys.S_ISGID)
		}
		return m.bits
	}
	for _, op := range m.ops {
		bits := op.bits
		if op.x && (isDir || mode&0o111 != 0) {
			bits |= 0o111
		}
		switch op.copyF {
		case 'u':
			bits |= mode >> 6 & 7 * 0o111
		case 'g':
			bits |= mode >> 3 & 7 * 0o111
		case 'o':
			bits |= mode & 7 * 0o111
		}
		who := op.who
		if who == 0 {
			who = 0o7777
			bits &^= mask
		}
		if op.suid {
			bits |= sys.S_ISUID | sys.S_ISGID
		}
		if op.svtx {
			bits |= sys.S_ISVTX
			who |= sys.S_ISVTX
		}
		switch op.op {
		case '+':
			mode |= bits & who
		case '-':
			mode &^= bits & who
		case '=':
			clear := who & 0o777
			if !isDir {
				clear = who
			}
			mode = mode&^clear | bits&who
		}
	}
	return mode
}

// Chmod is chmod(1).
func Chmod(c *applet.Cmd) int {
	args := []string{}
	for i, a := range c.Args { // -x, -w+r: a mode, not options
		if len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "rwxXst,+-=ugoa") == "" && a != "--" {
			args = append(args, "--")
			args = append(args, c.Args[i:]...)
			break
		}
		args = append(args, a)
	}
	c.Args = args
	opts, names, st, ok := c.Parse(applet.Spec{Short: "cfRv", Long: []string{"changes/c", "silent/f", "quiet/f", "recursive/R", "verbose/v", "reference="}, Help: "[OPTION]... MODE[,MODE]... FILE..."})
	if !ok {
		return st
	}
	var recursive, verbose, changes, quiet bool
	var m Mode
	for _, o := range opts {
		switch o.Key {
		case "R":
			recursive = true
		case "v":
			verbose = true
		case "c":
			changes = true
		case "f":
			quiet = true
		case "reference":
			st, err := sys.StatFile(o.Arg, true)
			if err != nil {
				c.Fail("failed to get attributes of %s: %s", applet.Quote(o.Arg), applet.Reason(err))
				return 1
			}
			m = Mode{octal: true, bits: st.Mode & 0o7777, digits: 5}
			names = append([]string{""}, names...)
		}
	}
	switch len(names) {
	case 0:
		return c.Usage(1, "missing operand")
	case 1:
		return c.Usage(1, "missing operand after %s", applet.Quote(names[0]))
	}
	if m.digits == 0 {
		if m, ok = ParseMode(names[0]); !ok {
			return c.Usage(1, "invalid mode: %s", applet.Quote(names[0]))
		}
	}
	mask := uint32(umask())
	change := func(path string, top bool) bool {
		st, err := sys.StatFile(path, top)
		if err != nil {
			if !quiet {
				c.Fail("cannot access %s: %s", applet.Quote(path), applet.Reason(err))
			}
			c.Set(1)
			return false
		}
		if st.Mode&sys.S_IFMT == sys.S_IFLNK {
			return false
		}
		isDir := st.Mode&sys.S_IFMT == sys.S_IFDIR
		now := m.Apply(st.Mode, isDir, mask)
		if err := sys.Chmod(path, now); err != nil {
			if !quiet {
				c.Fail("changing permissions of %s: %s", applet.Quote(path), applet.Reason(err))
			}
			c.Set(1)
			return isDir
		}
		old := st.Mode & 0o7777
		switch {
		case old != now && (verbose || changes):
			fmt.Fprintf(c.Out, "mode of %s changed from %04o (%s) to %04o (%s)\n", applet.Quote(path), old, ModeString(st.Mode)[1:], now, ModeString(now)[1:])
		case verbose:
			fmt.Fprintf(c.Out, "mode of %s retained as %04o (%s)\n", applet.Quote(path), old, ModeString(st.Mode)[1:])
		}
		return isDir
	}
	for _, n := range names[1:] {
		walkChange(c, n, recursive, change)
	}
	return c.Status()
}

// walkChange calls change for a file and, when recursive, for all below it.
func walkChange(c *applet.Cmd, path string, recursive bool, change func(path string, top bool) bool) {
	var visit func(p string, top bool, depth int)
	visit = func(p string, top bool, depth int) {
		if !change(p, top) || !recursive || depth > maxDepth {
			return
		}
		list, err := os.ReadDir(p)
		if err != nil {
			c.Fail("cannot read directory %s: %s", applet.Quote(p), applet.Reason(err))
			return
		}
		for _, e := range list {
			visit(filepath.Join(p, e.Name()), false, depth+1)
		}
	}
	visit(path, true, 0)
}

// Chown is chown(1) and, called by that name, chgrp(1).
func Chown(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "cfhRvLHP", Long: []string{"no-dereference/h", "recursive/R", "verbose/v", "changes/c", "silent/f", "quiet/f"}, Help: "[OPTION]... [OWNER][:[GROUP]] FILE..."})
	if !ok {
		return st
	}
	recursive, follow := false, true
	for _, o := range opts {
		switch o.Key {
		case "R":
			recursive = true
		case "h":
			follow = false
		}
	}
	switch len(names) {
	case 0:
		return c.Usage(1, "missing operand")
	case 1:
		return c.Usage(1, "missing operand after %s", applet.Quote(names[0]))
	}
	owner, group, hasGroup := strings.Cut(names[0], ":")
	if c.Name == "chgrp" {
		owner, group, hasGroup = "", names[0], true
	} else if !hasGroup {
		if o, g, dot := strings.Cut(names[0], "."); dot {
			owner, group, hasGroup = o, g, true
		}
	}
	uid, gid := -1, -1
	if owner != "" {
		id, ok := lookup("/etc/passwd", owner)
		if !ok {
			c.Fail("invalid user: %s", applet.Quote(names[0]))
			return 1
		}
		uid = int(id)
	}
	if group != "" {
		id, ok := lookup("/etc/group", group)
		if !ok {
			c.Fail("invalid group: %s", applet.Quote(names[0]))
			return 1
		}
		gid = int(id)
	}
	what := "ownership"
	if c.Name == "chgrp" {
		what = "group"
	}
	for _, n := range names[1:] {
		walkChange(c, n, recursive, func(path string, top bool) bool {
			st, err := sys.StatFile(path, follow && top)
			if err != nil {
				c.Fail("cannot access %s: %s", applet.Quote(path), applet.Reason(err))
				return false
			}
			if err := sys.Chown(path, uid, gid, follow && top); err != nil {
				c.Fail("changing %s of %s: %s", what, applet.Quote(path), applet.Reason(err))
			}
			return st.Mode&sys.S_IFMT == sys.S_IFDIR
		})
	}
	return c.Status()
}
