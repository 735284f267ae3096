package files

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

type remover struct {
	c                                       *applet.Cmd
	force, recursive, dirs, verbose, always bool
	answers                                 *bufio.Reader
}

// Remove is rm(1).
func Remove(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "dfiIrRv", Help: "[OPTION]... [FILE]...",
		Long: []string{"dir/d", "force/f", "interactive?", "recursive/r", "verbose/v", "one-file-system", "preserve-root?", "no-preserve-root"}})
	if !ok {
		return st
	}
	r := remover{c: c}
	preserveRoot := true
	for _, o := range opts {
		switch o.Key {
		case "d":
			r.dirs = true
		case "f":
			r.force, r.always = true, false
		case "i":
			r.always, r.force = true, false
		case "interactive":
			r.always = o.Arg == "" || o.Arg == "always"
		case "r", "R":
			r.recursive = true
		case "v":
			r.verbose = true
		case "no-preserve-root":
			preserveRoot = false
		}
	}
	if len(names) == 0 && !r.force {
		return c.Usage(1, "missing operand")
	}
	for _, n := range names {
		base := filepath.Base(n)
		switch {
		case base == "." || base == "..":
			c.Fail("refusing to remove '.' or '..' directory: skipping %s", applet.Quote(n))
		case filepath.Clean(n) == "/" && r.recursive && preserveRoot:
			c.Fail("it is dangerous to operate recursively on %s", applet.Quote(n))
			fmt.Fprintf(c.Stderr, "%s: use --no-preserve-root to override this failsafe\n", c.Name)
		default:
			r.remove(n)
		}
	}
	return c.Status()
}

func (r *remover) ask(format string, args ...any) bool {
	if r.answers == nil {
		r.answers = bufio.NewReader(r.c.Stdin)
	}
	return ask(r.c, r.answers, format, args...)
}

func (r *remover) remove(name string) bool {
	c := r.c
	st, err := sys.StatFile(name, false)
	if err != nil {
		if r.force && (err == syscall.ENOENT || err == syscall.ENOTDIR) {
			return true
		}
		c.Fail("cannot remove %s: %s", applet.Quote(name), applet.Reason(err))
		return false
	}
	isDir := st.Mode&sys.S_IFMT == sys.S_IFDIR
	if isDir && !r.recursive && !r.dirs {
		c.Fail("cannot remove %s: Is a directory", applet.Quote(name))
		return false
	}
	if isDir && r.recursive {
		if list, _ := os.ReadDir(name); len(list) > 0 {
			if r.always && !r.ask("descend into directory %s?", applet.Quote(name)) {
				return false
			}
			return r.children(name, list)
		}
	}
	if !r.confirmed(name, st) {
		return false
	}
	if isDir {
		err = syscall.Rmdir(name)
	} else {
		err = syscall.Unlink(name)
	}
	if err != nil {
		c.Fail("cannot remove %s: %s", applet.Quote(name), applet.Reason(err))
		return false
	}
	if r.verbose {
		what := "removed "
		if isDir {
			what = "removed directory "
		}
		fmt.Fprintf(c.Out, "%s%s\n", what, applet.Quote(name))
	}
	return true
}

func (r *remover) confirmed(name string, st sys.Stat) bool {
	kind := typeName(st)
	switch {
	case r.always:
		return r.ask("remove %s %s?", kind, applet.Quote(name))
	case r.force || st.Mode&sys.S_IFMT == sys.S_IFLNK:
		return true
	case sys.Access(name, sys.W_OK) != nil && sys.IsTerminal(0):
		return r.ask("remove write-protected %s %s?", kind, applet.Quote(name))
	}
	return true
}

func (r *remover) children(name string, list []os.DirEntry) bool {
	all := true
	for _, e := range list {
		all = r.remove(join(strings.TrimSuffix(name, "/"), e.Name())) && all
	}
	if !all {
		return false
	}
	if r.always && !r.ask("remove directory %s?", applet.Quote(name)) {
		return false
	}
	if err := syscall.Rmdir(name); err != nil {
		r.c.Fail("cannot remove %s: %s", applet.Quote(name), applet.Reason(err))
		return false
	}
	if r.verbose {
		fmt.Fprintf(r.c.Out, "removed directory %s\n", applet.Quote(name))
	}
	return true
}

// Mkdir is mkdir(1).
func Mkdir(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "m:pvZ", Long: []string{"mode=/m", "parents/p", "verbose/v"}, Help: "[OPTION]... DIRECTORY..."})
	if !ok {
		return st
	}
	parents, verbose, mode := false, false, ""
	for _, o := range opts {
		switch o.Key {
		case "m":
			mode = o.Arg
		case "p":
			parents = true
		case "v":
			verbose = true
		}
	}
	if len(names) == 0 {
		return c.Usage(1, "missing operand")
	}
	var perm uint32 = 0o777
	if mode != "" {
		m, ok := ParseMode(mode)
		if !ok {
			c.Fail("invalid mode %s", applet.Quote(mode))
			return 1
		}
		perm = m.Apply(0o777, true, 0)
	}
	for _, n := range names {
		made, err := makeDir(n, perm, parents)
		for _, d := range made {
			if verbose {
				fmt.Fprintf(c.Out, "%s: created directory %s\n", c.Name, applet.Quote(d))
			}
		}
		if err != nil {
			c.Fail("cannot create directory %s: %s", applet.Quote(n), applet.Reason(err))
			continue
		}
		if mode != "" && len(made) > 0 {
			sys.Chmod(n, perm)
		}
	}
	return c.Status()
}

func makeDir(name string, perm uint32, parents bool) (made []string, err error) {
	if !parents {
		if err := sys.Mkdir(name, perm); err != nil {
			return nil, err
		}
		return []string{name}, nil
	}
	clean := filepath.Clean(name)
	for i := 1; i <= len(clean); i++ {
		if i < len(clean) && clean[i] != '/' {
			continue
		}
		part := clean[:i]
		mode := uint32(0o777)
		if i == len(clean) {
			mode = perm
		}
		switch err := sys.Mkdir(part, mode); {
		case err == nil:
			made = append(made, part)
		case errors.Is(err, syscall.EEXIST):
			if fi, serr := os.Stat(part); serr == nil && !fi.IsDir() {
				if i < len(clean) {
					return made, syscall.ENOTDIR
				}
				return made, syscall.EEXIST
			}
		default:
			if fi, serr := os.Stat(part); serr == nil && fi.IsDir() {
				continue
			}
			return made, err
		}
	}
	return made, nil
}

// Rmdir is rmdir(1).
func Rmdir(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "pv", Long: []string{"parents/p", "verbose/v", "ignore-fail-on-non-empty"}, Help: "[OPTION]... DIRECTORY..."})
	if !ok {
		return st
	}
	parents, verbose, ignore := false, false, false
	for _, o := range opts {
		switch o.Key {
		case "p":
			parents = true
		case "v":
			verbose = true
		default:
			ignore = true
		}
	}
	if len(names) == 0 {
		return c.Usage(1, "missing operand")
	}
	for _, n := range names {
		for {
			if verbose {
				fmt.Fprintf(c.Out, "%s: removing directory, %s\n", c.Name, applet.Quote(n))
			}
			if err := syscall.Rmdir(n); err != nil {
				if !(ignore && errors.Is(err, syscall.ENOTEMPTY)) {
					c.Fail("failed to remove %s: %s", applet.Quote(n), applet.Reason(err))
				}
				break
			}
			n = filepath.Dir(strings.TrimSuffix(n, "/"))
			if !parents || n == "." || n == "/" {
				break
			}
		}
	}
	return c.Status()
}

// Link is ln(1).
func Link(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "fiLnPrst:Tv", Help: "[OPTION]... TARGET... LINK_NAME",
		Long: []string{"force/f", "interactive/i", "no-dereference/n", "relative/r", "symbolic/s", "target-directory=/t", "no-target-directory/T", "verbose/v"}})
	if !ok {
		return st
	}
	cp := copier{c: c}
	symbolic, relative, noDeref, target := false, false, false, ""
	for _, o := range opts {
		switch o.Key {
		case "f":
			cp.force = true
		case "i":
			cp.interactive = true
		case "n", "T":
			noDeref = true
		case "r":
			relative = true
		case "s":
			symbolic = true
		case "t":
			target = o.Arg
		case "v":
			cp.verbose = true
		}
	}
	if len(names) == 1 && target == "" {
		target = "."
	}
	if noDeref && len(names) == 2 {
		if st, err := sys.StatFile(names[1], false); err == nil && st.Mode&sys.S_IFMT == sys.S_IFDIR {
			noDeref = false // a directory itself, not a link to one
		}
	}
	return cp.toTarget(names, target, noDeref, func(from, to string, _ bool) { cp.makeLink(from, to, symbolic, relative) })
}

func (cp *copier) makeLink(from, to string, symbolic, relative bool) {
	c := cp.c
	kind := "hard link"
	if symbolic {
		kind = "symbolic link"
	}
	if !symbolic {
		st, err := sys.StatFile(from, false)
		if err != nil {
			c.Fail("failed to access %s: %s", applet.Quote(from), applet.Reason(err))
			return
		}
		if st.Mode&sys.S_IFMT == sys.S_IFDIR {
			c.Fail("%s: hard link not allowed for directory", from)
			return
		}
	}
	if _, err := sys.StatFile(to, false); err == nil {
		if cp.interactive && !cp.ask("replace %s?", applet.Quote(to)) {
			return
		}
		if cp.force || cp.interactive {
			if err := os.Remove(to); err != nil {
				c.Fail("cannot remove %s: %s", applet.Quote(to), applet.Reason(err))
				return
			}
		}
	}
	source := from
	if symbolic && relative {
		a, _ := filepath.Abs(filepath.Dir(to))
		b, _ := filepath.Abs(from)
		if rel, err := filepath.Rel(a, b); err == nil {
			source = rel
		}
	}
	var err error
	arrow := "=>"
	if symbolic {
		arrow = "->"
		err = os.Symlink(source, to)
	} else {
		err = os.Link(from, to)
	}
	if err != nil {
		if symbolic {
			c.Fail("failed to create %s %s: %s", kind, applet.Quote(to), applet.Reason(err))
		} else {
			c.Fail("failed to create %s %s => %s: %s", kind, applet.Quote(to), applet.Quote(from), applet.Reason(err))
		}
		return
	}
	if cp.verbose {
		fmt.Fprintf(c.Out, "%s %s %s\n", applet.Quote(to), arrow, applet.Quote(source))
	}
}
