package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// copier holds what cp and mv do alike.
type copier struct {
	c                                        *applet.Cmd
	recursive, force, interactive, noClobber bool
	verbose, update, link, symlink           bool
	keepMode, keepOwner, keepTimes           bool
	deref                                    byte // 0 follow when not recursive, 'L', 'P', 'H'
	parents                                  bool
	answers                                  *bufio.Reader
	made                                     map[[2]uint64]bool // directories this run created
}

// Copy is cp(1).
func Copy(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "adfHilLnPpRrst:TuvxZ", Help: "[OPTION]... SOURCE... DEST",
		Long: []string{"archive/a", "force/f", "interactive/i", "link/l", "dereference/L", "no-clobber/n", "no-dereference/P", "preserve?", "no-preserve=", "parents",
			"recursive/R", "symbolic-link/s", "target-directory=/t", "no-target-directory/T", "update/u", "verbose/v", "one-file-system/x", "reflink?", "sparse="}})
	if !ok {
		return st
	}
	cp := copier{c: c, made: map[[2]uint64]bool{}}
	target, noTarget := "", false
	for _, o := range opts {
		switch o.Key {
		case "a":
			cp.recursive, cp.deref, cp.keepMode, cp.keepOwner, cp.keepTimes = true, 'P', true, true, true
		case "d":
			cp.deref = 'P'
		case "f":
			cp.force = true
		case "i":
			cp.interactive, cp.noClobber = true, false
		case "l":
			cp.link = true
		case "H", "L", "P":
			cp.deref = o.Key[0]
		case "n":
			cp.noClobber, cp.interactive = true, false
		case "p":
			cp.keepMode, cp.keepOwner, cp.keepTimes = true, true, true
		case "preserve":
			cp.preserve(o.Arg)
		case "parents":
			cp.parents = true
		case "R", "r":
			cp.recursive = true
		case "s":
			cp.symlink = true
		case "t":
			target = o.Arg
		case "T":
			noTarget = true
		case "u":
			cp.update = true
		case "v":
			cp.verbose = true
		}
	}
	return cp.toTarget(names, target, noTarget, cp.copy)
}

func (cp *copier) preserve(list string) {
	if list == "" {
		list = "mode,ownership,timestamps"
	}
	for _, p := range strings.Split(list, ",") {
		switch p {
		case "mode":
			cp.keepMode = true
		case "ownership":
			cp.keepOwner = true
		case "timestamps":
			cp.keepTimes = true
		case "all":
			cp.keepMode, cp.keepOwner, cp.keepTimes = true, true, true
		}
	}
}

// toTarget works out source and destination pairs as cp, mv and ln do and calls do for each.
func (cp *copier) toTarget(names []string, target string, noTarget bool, do func(from, to string, top bool)) int {
	c := cp.c
	if target == "" {
		switch len(names) {
		case 0:
			return c.Usage(1, "missing file operand")
		case 1:
			return c.Usage(1, "missing destination file operand after %s", applet.Quote(names[0]))
		}
		last := names[len(names)-1]
		fi, err := os.Stat(last)
		isDir := err == nil && fi.IsDir()
		switch {
		case noTarget && len(names) > 2:
			return c.Usage(1, "extra operand %s", applet.Quote(names[2]))
		case !noTarget && isDir:
			target, names = last, names[:len(names)-1]
		case len(names) > 2:
			reason := "No such file or directory"
			if err == nil {
				reason = "Not a directory"
			}
			c.Fail("target %s: %s", applet.Quote(last), reason)
			return 1
		case !noTarget && strings.HasSuffix(last, "/") && !isDir && cp.regular(names[0]):
			c.Fail("cannot create regular file %s: Not a directory", applet.Quote(last))
			return 1
		default:
			do(names[0], last, true)
			return c.Status()
		}
	}
	for _, n := range names {
		to := filepath.Join(target, filepath.Base(n))
		if cp.parents {
			to = filepath.Join(target, n)
			os.MkdirAll(filepath.Dir(to), 0o777)
		}
		if filepath.Base(n) == ".." || filepath.Base(n) == "/" {
			to = target
		}
		if strings.HasSuffix(target, "/") {
			to = target + strings.TrimPrefix(to, filepath.Clean(target)+"/")
		} else if !filepath.IsAbs(to) && strings.HasPrefix(target, "./") {
			to = "./" + to
		} else if target == "." {
			to = "./" + to
		}
		do(n, to, true)
	}
	return c.Status()
}

func (cp *copier) regular(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && !fi.IsDir()
}

// ask asks a yes-no question on standard error.
func (cp *copier) ask(format string, args ...any) bool {
	if cp.answers == nil {
		cp.answers = bufio.NewReader(cp.c.Stdin)
	}
	return ask(cp.c, cp.answers, format, args...)
}

func ask(c *applet.Cmd, r *bufio.Reader, format string, args ...any) bool {
	c.Out.Flush()
	fmt.Fprintf(c.Stderr, "%s: %s ", c.Name, fmt.Sprintf(format, args...))
	line, err := r.ReadString('\n')
	if err != nil && line == "" {
		return false
	}
	return strings.HasPrefix(line, "y") || strings.HasPrefix(line, "Y")
}

func sameFile(a, b sys.Stat) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

func (cp *copier) copy(from, to string, top bool) {
	c := cp.c
	follow := cp.deref == 'L' || cp.deref == 'H' && top || cp.deref == 0 && !cp.recursive
	src, err := sys.StatFile(from, follow)
	if err != nil {
		c.Fail("cannot stat %s: %s", applet.Quote(from), applet.Reason(err))
		return
	}
	kind := src.Mode & sys.S_IFMT
	if kind == sys.S_IFDIR && !cp.recursive {
		c.Fail("-r not specified; omitting directory %s", applet.Quote(from))
		return
	}
	dst, derr := sys.StatFile(to, kind != sys.S_IFLNK)
	exists := derr == nil
	if !exists {
		_, lerr := sys.StatFile(to, false)
		exists = lerr == nil && kind == sys.S_IFLNK
	}
	if derr == nil {
		switch {
		case sameFile(src, dst) && kind != sys.S_IFDIR:
			c.Fail("%s and %s are the same file", applet.Quote(from), applet.Quote(to))
			return
		case dst.Mode&sys.S_IFMT == sys.S_IFDIR && kind != sys.S_IFDIR:
			c.Fail("cannot overwrite directory %s with non-directory", applet.Quote(to))
			return
		case dst.Mode&sys.S_IFMT != sys.S_IFDIR && kind == sys.S_IFDIR:
			c.Fail("cannot overwrite non-directory %s with directory %s", applet.Quote(to), applet.Quote(from))
			return
		}
		if kind != sys.S_IFDIR && !cp.mayReplace(to, src, dst) {
			return
		}
	}
	if kind == sys.S_IFDIR {
		cp.directory(from, to, src, exists)
		return
	}
	if err := cp.content(from, to, src, exists); err != nil {
		return
	}
	if cp.verbose {
		fmt.Fprintf(c.Out, "%s -> %s\n", applet.Quote(from), applet.Quote(to))
	}
}

func (cp *copier) mayReplace(to string, src, dst sys.Stat) bool {
	switch {
	case cp.noClobber:
		return false
	case cp.update && !src.Mtime.After(dst.Mtime):
		return false
	case cp.interactive:
		return cp.ask("overwrite %s?", applet.Quote(to))
	}
	return true
}

// content copies everything that is no directory.
func (cp *copier) content(from, to string, src sys.Stat, exists bool) error {
	c := cp.c
	fail := func(format string, err error, args ...any) error {
		c.Fail("%s: %s", fmt.Sprintf(format, args...), applet.Reason(err))
		return err
	}
	switch {
	case cp.link:
		if err := os.Link(from, to); err != nil {
			return fail("cannot create hard link %s to %s", err, applet.Quote(to), applet.Quote(from))
		}
		return nil
	case cp.symlink:
		if err := os.Symlink(from, to); err != nil {
			return fail("cannot create symbolic link %s to %s", err, applet.Quote(to), applet.Quote(from))
		}
		return nil
	}
	switch src.Mode & sys.S_IFMT {
	case sys.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return fail("cannot read symbolic link %s", err, applet.Quote(from))
		}
		if exists {
			os.Remove(to)
		}
		if err := os.Symlink(target, to); err != nil {
			return fail("cannot create symbolic link %s", err, applet.Quote(to))
		}
		if cp.keepOwner {
			sys.Chown(to, int(src.UID), int(src.GID), false)
		}
		return nil
	case sys.S_IFIFO, sys.S_IFCHR, sys.S_IFBLK, sys.S_IFSOCK:
		if !cp.recursive {
			break
		}
		if err := sys.Mknod(to, src.Mode, src.Rdev); err != nil {
			return fail("cannot create special file %s", err, applet.Quote(to))
		}
		cp.attributes(to, src)
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return fail("cannot open %s for reading", err, applet.Quote(from))
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(src.Mode&0o777))
	if err != nil && cp.force && exists {
		if os.Remove(to) == nil {
			out, err = os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(src.Mode&0o777))
		}
	}
	if err != nil {
		return fail("cannot create regular file %s", err, applet.Quote(to))
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 64<<10)); err != nil {
		out.Close()
		return fail("error writing %s", err, applet.Quote(to))
	}
	if err := out.Close(); err != nil {
		return fail("error writing %s", err, applet.Quote(to))
	}
	cp.attributes(to, src)
	return nil
}

func (cp *copier) attributes(to string, src sys.Stat) {
	if cp.keepOwner {
		sys.Chown(to, int(src.UID), int(src.GID), true)
	}
	if cp.keepMode {
		sys.Chmod(to, src.Mode&0o7777)
	}
	if cp.keepTimes {
		os.Chtimes(to, src.Atime, src.Mtime)
	}
}

func (cp *copier) directory(from, to string, src sys.Stat, exists bool) {
	c := cp.c
	if rel, err := filepath.Rel(from, to); err == nil && rel != "." && !strings.HasPrefix(rel, "..") {
		c.Fail("cannot copy a directory, %s, into itself, %s", applet.Quote(from), applet.Quote(to))
		return
	}
	if !exists {
		if err := sys.Mkdir(to, src.Mode&0o777|0o700); err != nil {
			c.Fail("cannot create directory %s: %s", applet.Quote(to), applet.Reason(err))
			return
		}
		if cp.verbose {
			fmt.Fprintf(c.Out, "%s -> %s\n", applet.Quote(from), applet.Quote(to))
		}
	}
	if st, err := sys.StatFile(to, true); err == nil {
		cp.made[[2]uint64{st.Dev, st.Ino}] = true
	}
	list, err := os.ReadDir(from)
	if err != nil {
		c.Fail("cannot access %s: %s", applet.Quote(from), applet.Reason(err))
	}
	for _, e := range list {
		if st, err := sys.StatFile(join(from, e.Name()), false); err == nil && cp.made[[2]uint64{st.Dev, st.Ino}] && st.Mode&sys.S_IFMT == sys.S_IFDIR {
			continue
		}
		cp.copy(join(from, e.Name()), join(to, e.Name()), false)
	}
	if !exists {
		if mode := src.Mode & 0o777; mode|0o700 != mode && !cp.keepMode {
			sys.Chmod(to, mode&^uint32(umask()))
		}
		cp.attributes(to, src)
	}
}

func umask() int {
	m := sys.Umask(0)
	sys.Umask(m)
	return m
}

// Move is mv(1): rename, and where that is not possible (another file system) copy and remove.
func Move(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "fint:Tuv", Help: "[OPTION]... SOURCE... DEST",
		Long: []string{"force/f", "interactive/i", "no-clobber/n", "target-directory=/t", "no-target-directory/T", "update/u", "verbose/v"}})
	if !ok {
		return st
	}
	cp := copier{c: c, recursive: true, deref: 'P', keepMode: true, keepOwner: true, keepTimes: true, made: map[[2]uint64]bool{}}
	target, noTarget := "", false
	for _, o := range opts {
		switch o.Key {
		case "f":
			cp.interactive, cp.noClobber = false, false
		case "i":
			cp.interactive, cp.noClobber = true, false
		case "n":
			cp.interactive, cp.noClobber = false, true
		case "t":
			target = o.Arg
		case "T":
			noTarget = true
		case "u":
			cp.update = true
		case "v":
			cp.verbose = true
		}
	}
	return cp.toTarget(names, target, noTarget, cp.move)
}

func (cp *copier) move(from, to string, _ bool) {
	c := cp.c
	src, err := sys.StatFile(from, false)
	if err != nil {
		c.Fail("cannot stat %s: %s", applet.Quote(from), applet.Reason(err))
		return
	}
	if dst, err := sys.StatFile(to, false); err == nil {
		srcDir, dstDir := src.Mode&sys.S_IFMT == sys.S_IFDIR, dst.Mode&sys.S_IFMT == sys.S_IFDIR
		switch {
		case sameFile(src, dst):
			c.Fail("%s and %s are the same file", applet.Quote(from), applet.Quote(to))
			return
		case dstDir && !srcDir:
			c.Fail("cannot overwrite directory %s with non-directory", applet.Quote(to))
			return
		case srcDir && !dstDir:
			c.Fail("cannot overwrite non-directory %s with directory %s", applet.Quote(to), applet.Quote(from))
			return
		case !cp.mayReplace(to, src, dst):
			return
		}
	}
	switch err := os.Rename(from, to); {
	case err == nil:
		if cp.verbose {
			fmt.Fprintf(c.Out, "renamed %s -> %s\n", applet.Quote(from), applet.Quote(to))
		}
	case errors.Is(err, syscall.EINVAL):
		c.Fail("cannot move %s to a subdirectory of itself, %s", applet.Quote(from), applet.Quote(to))
	case errors.Is(err, syscall.EXDEV):
		before := c.Status()
		cp.copy(from, to, true)
		if c.Status() == before {
			if err := os.RemoveAll(from); err != nil {
				c.Fail("cannot remove %s: %s", applet.Quote(from), applet.Reason(err))
			}
		}
	default:
		c.Fail("cannot move %s to %s: %s", applet.Quote(from), applet.Quote(to), applet.Reason(err))
	}
}
