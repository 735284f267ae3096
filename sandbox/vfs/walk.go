package vfs

import (
	"slices"
	"strings"
	"syscall"
)

// View is how one process sees files: Linux' fs_struct and the owner in one. It is copied by value when a process is spawned;
// one View is not to be changed (Chdir, Chroot, Umask) while others use it.
type View struct {
	NS    *Namespace
	Root  Path // `..` never leaves it
	Cwd   Path
	Cred  Cred
	Umask uint32
	// Caller is handed to links and files of dynamic file systems that answer each process differently (/proc/self).
	Caller any
}

type walkMode uint8

const (
	walkFollow walkMode = 1 << iota // follow a symbolic link at the end
	walkParent                      // the entry itself is wanted (unlink, rename): not even a trailing slash follows
)

// location is the end of a walk. node nil: the last name does not exist in at.
type location struct {
	at      Path   // directory in which name was looked up; for a result without a name, the directory itself
	name    string // "" when the walk ended with ".", ".." or "/"
	last    string // ".", ".." or "" when name is ""
	mnt     *Mount // of node, after mounts on the entry were crossed
	node    Node
	slash   bool // the path ended in a slash
	special any  // a magic link led to something that is no file
}

func (l location) path() Path {
	d, _ := l.node.(Dir)
	return Path{l.mnt, d}
}

// key is what a mount on this location covers.
func (l location) key() mountKey {
	if l.node == l.mnt.root {
		return mountKey{mnt: l.mnt}
	}
	if l.name != "" {
		return mountKey{l.at.mnt, l.at.dir, l.name}
	}
	d, name := l.node.(Dir).Up()
	return mountKey{l.mnt, d, name}
}

// inFS is the path inside the file system.
func (l location) inFS() string {
	var parts []string
	d, _ := l.node.(Dir)
	if d == nil && l.node != l.mnt.root {
		parts, d = append(parts, l.name), l.at.dir
	}
	for d != nil {
		up, name := d.Up()
		if up != nil {
			parts = append(parts, name)
		}
		d = up
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// permitted is the check of access(2) by bits of the mode.
func permitted(c Cred, st Stat, want uint32) error {
	if c.UID == 0 {
		if want&AccessExec != 0 && !st.IsDir() && st.Mode&0o111 == 0 {
			return syscall.EACCES
		}
		return nil
	}
	bits := st.Mode & 7
	switch {
	case c.UID == st.UID:
		bits = st.Mode >> 6 & 7
	case c.GID == st.GID || slices.Contains(c.Groups, st.GID):
		bits = st.Mode >> 3 & 7
	}
	if bits&want != want {
		return syscall.EACCES
	}
	return nil
}

func (v *View) start(at *File, name string) (Path, error) {
	if strings.HasPrefix(name, "/") {
		return v.Root, nil
	}
	if at == nil {
		return v.Cwd, nil
	}
	return at.Location()
}

// walk resolves name from at (nil: the working directory). A missing last component is no error: node is nil.
// ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG.
func (v *View) walk(at *File, name string, mode walkMode) (location, error) {
	if name == "" {
		return location{}, syscall.ENOENT
	}
	if len(name) >= PathMax {
		return location{}, syscall.ENAMETOOLONG
	}
	cur, err := v.start(at, name)
	if err != nil {
		return location{}, err
	}
	slash := strings.HasSuffix(name, "/")
	w := walker{v: v, cur: cur, rest: name, follow: mode&walkFollow != 0 || slash && mode&walkParent == 0}
	l, err := w.run()
	if err != nil {
		return location{}, err
	}
	l.slash = slash
	if slash && l.node != nil {
		if _, dir := l.node.(Dir); !dir && !(mode&walkParent != 0) {
			return location{}, syscall.ENOTDIR
		}
	}
	return l, nil
}

type walker struct {
	v      *View
	cur    Path
	rest   string
	follow bool
	links  int
}

func (w *walker) run() (location, error) {
	for {
		w.rest = strings.TrimLeft(w.rest, "/")
		if w.rest == "" {
			return location{at: w.cur, mnt: w.cur.mnt, node: w.cur.dir}, nil
		}
		name, rest, _ := strings.Cut(w.rest, "/")
		rest = strings.TrimLeft(rest, "/")
		w.rest = rest
		if err := permitted(w.v.Cred, w.cur.dir.Stat(), AccessExec); err != nil {
			return location{}, err
		}
		if name == "." || name == ".." {
			if name == ".." {
				up, err := w.v.NS.upWithin(w.cur, w.v.Root)
				if err != nil {
					return location{}, err
				}
				w.cur = up
			}
			if rest == "" {
				return location{at: w.cur, last: name, mnt: w.cur.mnt, node: w.cur.dir}, nil
			}
			continue
		}
		l, done, err := w.step(name, rest == "")
		if done || err != nil {
			return l, err
		}
	}
}

// step enters one named component. done: l is the result.
func (w *walker) step(name string, last bool) (l location, done bool, err error) {
	if len(name) > NameMax {
		return l, false, syscall.ENAMETOOLONG
	}
	l = location{at: w.cur, name: name, mnt: w.cur.mnt}
	if d, ok := w.cur.dir.(CallerDir); ok {
		l.node, err = d.LookupFor(w.v.Caller, name)
	} else {
		l.node, err = w.cur.dir.Lookup(name)
	}
	if err == syscall.ENOENT && last {
		l.node = nil
		return l, true, nil
	}
	if err != nil {
		return l, false, err
	}
	if m := w.v.NS.covered(mountKey{w.cur.mnt, w.cur.dir, name}); m != nil {
		l.mnt, l.node = m, m.root
	}
	switch n := l.node.(type) {
	case Symlink:
		if last && !w.follow {
			return l, true, nil
		}
		return w.link(l, n, last)
	case Dir:
		w.cur = Path{l.mnt, n}
		return l, last, nil
	}
	if !last {
		return l, false, syscall.ENOTDIR
	}
	return l, true, nil
}

// link goes on through a symbolic link.
func (w *walker) link(l location, n Symlink, last bool) (location, bool, error) {
	if w.links++; w.links > MaxSymlinks {
		return l, false, syscall.ELOOP
	}
	if m, ok := n.(MagicLink); ok {
		t, err := m.Follow(w.v.Caller)
		if err != nil {
			return l, false, err
		}
		if l, ok := t.location(); ok {
			if d, dir := l.node.(Dir); dir {
				w.cur = Path{l.mnt, d}
				return l, last, nil
			}
			if !last {
				return l, false, syscall.ENOTDIR
			}
			return l, true, nil
		}
		if t.Special != nil {
			if !last {
				return l, false, syscall.ENOTDIR
			}
			l.special = t.Special
			return l, true, nil
		}
	}
	target, err := n.Readlink(w.v.Caller)
	if err != nil {
		return l, false, err
	}
	if target == "" {
		return l, false, syscall.ENOENT
	}
	if len(target) >= PathMax {
		return l, false, syscall.ENAMETOOLONG
	}
	if target[0] == '/' {
		w.cur = w.v.Root
	}
	if w.rest != "" {
		target += "/" + w.rest
	}
	// A slash at the end of the target asks for a directory, as one at the end of the path does.
	if last && strings.HasSuffix(target, "/") {
		target += "."
	}
	w.rest = target
	return l, false, nil
}

// MagicLink is a symbolic link whose text is for reading only: following it leads straight to a thing (proc(5), "magic links").
type MagicLink interface {
	Symlink
	// Follow tells where. A zero Target falls back to Readlink's text.
	Follow(caller any) (Target, error)
}

// Target is where a magic link leads: one of a directory, an open file (opened anew by its inode), or something of the
// kernel's own (a pipe, a socket), which File.Special hands to whoever opens it.
type Target struct {
	Dir     Path
	File    *File
	Special any
}

func (t Target) location() (location, bool) {
	switch {
	case t.Dir.Valid():
		return location{at: t.Dir, mnt: t.Dir.mnt, node: t.Dir.dir}, true
	case t.File != nil && t.File.node != nil:
		f := t.File
		return location{at: f.at, name: f.name, mnt: f.mnt, node: f.node}, true
	}
	return location{}, false
}
