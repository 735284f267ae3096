package vfs

import (
	"io"
	"syscall"
)

// Open is openat(2) with Linux' flags (the O_ constants). at nil means the working directory. mode is masked with the umask.
// Devices, FIFOs and sockets open without effect (File.Device); a magic link to something that is no file gives a File
// with Special set and nothing else usable.
func (v *View) Open(at *File, name string, flags int, mode uint32) (*File, error) {
	switch {
	case flags&O_PATH != 0:
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
	case flags&O_TMPFILE == O_TMPFILE:
		return nil, syscall.EOPNOTSUPP
	case flags&O_ACCMODE == O_ACCMODE:
		return nil, syscall.EINVAL
	}
	wm := walkFollow
	if flags&O_NOFOLLOW != 0 || flags&(O_CREAT|O_EXCL) == O_CREAT|O_EXCL {
		wm = 0
	}
	for try := 0; ; try++ {
		l, err := v.walk(at, name, wm)
		if err != nil {
			return nil, err
		}
		created := false
		if l.node == nil {
			if flags&O_CREAT == 0 {
				return nil, syscall.ENOENT
			}
			l.node, err = v.createFile(l, mode)
			if err == syscall.EEXIST && flags&O_EXCL == 0 {
				continue // somebody else made it between the look and the creation
			}
			if err != nil {
				return nil, err
			}
			created = true
		} else if flags&(O_CREAT|O_EXCL) == O_CREAT|O_EXCL {
			return nil, syscall.EEXIST
		}
		f, err := v.open(l, flags, created)
		if err == syscall.ENOENT && flags&O_CREAT != 0 && try < 64 {
			continue // removed between the look and the opening
		}
		return f, err
	}
}

func (v *View) createFile(l location, mode uint32) (Node, error) {
	if l.slash {
		return nil, syscall.EISDIR
	}
	return v.create(l, NewNode{Mode: ModeRegular | mode&ModePerm&^v.Umask})
}

// create makes a node at l for v's owner; a setgid directory hands on its group.
func (v *View) create(l location, n NewNode) (Node, error) {
	d, err := v.writableDir(l)
	if err != nil {
		return nil, err
	}
	n.UID, n.GID = v.Cred.UID, v.Cred.GID
	if st := d.Stat(); st.Mode&ModeSetgid != 0 {
		n.GID = st.GID
		if n.Mode&ModeType == ModeDir {
			n.Mode |= ModeSetgid
		}
	}
	return d.Create(l.name, n)
}

// writableDir is l's parent, checked for making or removing an entry in it.
func (v *View) writableDir(l location) (DirWriter, error) {
	d, ok := l.at.dir.(DirWriter)
	if !ok || l.at.mnt.has(MountReadOnly) {
		return nil, syscall.EROFS
	}
	if err := permitted(v.Cred, d.Stat(), AccessWrite|AccessExec); err != nil {
		return nil, err
	}
	return d, nil
}

func (v *View) open(l location, flags int, created bool) (*File, error) {
	f := &File{node: l.node, mnt: l.mnt, at: l.at, name: l.name, ns: v.NS, call: v.Caller, other: l.special}
	f.refs.Store(1)
	f.flags.Store(int32(flags &^ (O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_CLOEXEC)))
	if l.special != nil {
		return f, nil
	}
	d, isDir := l.node.(Dir)
	if isDir {
		f.at, f.name = Path{l.mnt, d}, ""
	}
	write := flags&O_ACCMODE != O_RDONLY || flags&O_TRUNC != 0
	switch {
	case flags&O_DIRECTORY != 0 && !isDir:
		return nil, syscall.ENOTDIR
	case flags&O_PATH != 0:
		return f, nil
	case isDir && (write || flags&O_CREAT != 0):
		return nil, syscall.EISDIR
	}
	if _, link := l.node.(Symlink); link {
		return nil, syscall.ELOOP
	}
	if !created {
		if err := permitted(v.Cred, l.node.Stat(), wanted(flags)); err != nil {
			return nil, err
		}
	}
	r, regular := l.node.(Regular)
	if !regular {
		if !isDir && l.mnt.has(MountNoDev) && l.node.Stat().Mode&ModeType != ModeFIFO {
			return nil, syscall.EACCES
		}
		return f, nil
	}
	if write && l.mnt.has(MountReadOnly) {
		return nil, syscall.EROFS
	}
	var err error
	if o, ok := r.(CallerFile); ok {
		f.h, err = o.OpenFor(v.Caller, flags)
	} else {
		f.h, err = r.Open(flags)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func wanted(flags int) uint32 {
	var want uint32
	switch flags & O_ACCMODE {
	case O_RDONLY:
		want = AccessRead
	case O_WRONLY:
		want = AccessWrite
	case O_RDWR:
		want = AccessRead | AccessWrite
	}
	if flags&O_TRUNC != 0 {
		want |= AccessWrite
	}
	return want
}

// find is walk for what must exist.
func (v *View) find(at *File, name string, mode walkMode) (location, error) {
	l, err := v.walk(at, name, mode)
	if err == nil && l.node == nil {
		err = syscall.ENOENT
	}
	return l, err
}

// Stat is stat(2): symbolic links are followed.
func (v *View) Stat(at *File, name string) (Stat, error) { return v.stat(at, name, walkFollow) }

// Lstat is lstat(2): the link itself.
func (v *View) Lstat(at *File, name string) (Stat, error) { return v.stat(at, name, 0) }

func (v *View) stat(at *File, name string, mode walkMode) (Stat, error) {
	l, err := v.find(at, name, mode)
	if err != nil {
		return Stat{}, err
	}
	return v.NS.stat(l.mnt, l.node), nil
}

// Access is access(2) by v's owner: want is a union of AccessRead, AccessWrite, AccessExec, or 0 for existence.
func (v *View) Access(at *File, name string, want uint32) error {
	l, err := v.find(at, name, walkFollow)
	if err != nil {
		return err
	}
	st := l.node.Stat()
	if want&AccessWrite != 0 && l.mnt.has(MountReadOnly) {
		switch st.Mode & ModeType {
		case ModeRegular, ModeDir, ModeSymlink:
			return syscall.EROFS
		}
	}
	return permitted(v.Cred, st, want)
}

// Readlink is readlink(2): EINVAL for anything but a symbolic link.
func (v *View) Readlink(at *File, name string) (string, error) {
	l, err := v.find(at, name, 0)
	if err != nil {
		return "", err
	}
	s, ok := l.node.(Symlink)
	if !ok {
		return "", syscall.EINVAL
	}
	return s.Readlink(v.Caller)
}

// absent is walk for a name that must not exist yet.
func (v *View) absent(at *File, name string) (location, error) {
	l, err := v.walk(at, name, walkParent)
	if err == nil && l.node != nil {
		err = syscall.EEXIST
	}
	return l, err
}

// Mkdir is mkdir(2).
func (v *View) Mkdir(at *File, name string, mode uint32) error {
	l, err := v.absent(at, name)
	if err != nil {
		return err
	}
	_, err = v.create(l, NewNode{Mode: ModeDir | mode&(0o777|ModeSticky)&^v.Umask})
	return err
}

// Mknod is mknod(2): FIFOs, sockets and regular files for everybody, devices for root. EPERM, EINVAL.
func (v *View) Mknod(at *File, name string, mode uint32, dev uint64) error {
	switch mode & ModeType {
	case 0:
		mode |= ModeRegular
	case ModeRegular, ModeFIFO, ModeSocket:
	case ModeChar, ModeBlock:
		if v.Cred.UID != 0 {
			return syscall.EPERM
		}
	case ModeDir:
		return syscall.EPERM
	default:
		return syscall.EINVAL
	}
	l, err := v.absent(at, name)
	if err != nil {
		return err
	}
	if l.slash {
		return syscall.ENOENT
	}
	_, err = v.create(l, NewNode{Mode: mode&ModeType | mode&ModePerm&^v.Umask, Rdev: dev})
	return err
}

// Symlink is symlinkat(2): a link named name whose text is target. ENOENT for an empty target, ENAMETOOLONG.
func (v *View) Symlink(target string, at *File, name string) error {
	if target == "" {
		return syscall.ENOENT
	}
	if len(target) >= PathMax {
		return syscall.ENAMETOOLONG
	}
	l, err := v.absent(at, name)
	if err != nil {
		return err
	}
	if l.slash {
		return syscall.ENOENT
	}
	_, err = v.create(l, NewNode{Mode: ModeSymlink | 0o777, Target: target})
	return err
}

// Link is linkat(2). follow: link what a symbolic link at old points to (AT_SYMLINK_FOLLOW). EPERM for directories, EXDEV across mounts.
func (v *View) Link(oldAt *File, old string, newAt *File, name string, follow bool) error {
	var mode walkMode
	if follow {
		mode = walkFollow
	}
	src, err := v.find(oldAt, old, mode)
	if err != nil {
		return err
	}
	l, err := v.absent(newAt, name)
	if err != nil {
		return err
	}
	if l.slash {
		return syscall.ENOENT
	}
	if _, dir := src.node.(Dir); dir {
		return syscall.EPERM
	}
	if src.special != nil || src.mnt != l.at.mnt {
		return syscall.EXDEV
	}
	d, err := v.writableDir(l)
	if err != nil {
		return err
	}
	return d.Link(l.name, src.node)
}

// Unlink is unlink(2): EISDIR for directories.
func (v *View) Unlink(at *File, name string) error { return v.remove(at, name, false) }

// Rmdir is rmdir(2): ENOTDIR, ENOTEMPTY, EBUSY for mount points and roots, EINVAL for a last ".".
func (v *View) Rmdir(at *File, name string) error { return v.remove(at, name, true) }

func (v *View) remove(at *File, name string, dir bool) error {
	l, err := v.find(at, name, walkParent)
	if err != nil {
		return err
	}
	if l.name == "" {
		switch {
		case !dir:
			return syscall.EISDIR
		case l.last == ".":
			return syscall.EINVAL
		case l.last == "..":
			return syscall.ENOTEMPTY
		}
		return syscall.EBUSY
	}
	if v.NS.busy(l.at, l.name) {
		return syscall.EBUSY
	}
	d, err := v.writableDir(l)
	if err != nil {
		return err
	}
	if _, isDir := l.node.(Dir); l.slash && !isDir {
		return syscall.ENOTDIR
	}
	parent := d.Stat()
	return d.Remove(l.name, dir, func(victim Stat) error { return v.sticky(parent, victim) })
}

// sticky is the rule of a directory like /tmp: only owners (of the entry or of the directory) remove and rename. EPERM.
func (v *View) sticky(dir, victim Stat) error {
	if dir.Mode&ModeSticky == 0 || v.Cred.UID == 0 || v.Cred.UID == victim.UID || v.Cred.UID == dir.UID {
		return nil
	}
	return syscall.EPERM
}

// Rename is renameat2(2) with flags 0 or RenameNoReplace. EXDEV across mounts, EBUSY for mount points and names like ".", EINVAL
// into its own subtree.
func (v *View) Rename(oldAt *File, old string, newAt *File, name string, flags int) error {
	if flags&^RenameNoReplace != 0 {
		return syscall.EINVAL
	}
	src, err := v.find(oldAt, old, walkParent)
	if err != nil {
		return err
	}
	dst, err := v.walk(newAt, name, walkParent)
	if err != nil {
		return err
	}
	if src.name == "" || dst.name == "" {
		return syscall.EBUSY
	}
	if src.at.mnt != dst.at.mnt {
		return syscall.EXDEV
	}
	if v.NS.busy(src.at, src.name) || v.NS.busy(dst.at, dst.name) {
		return syscall.EBUSY
	}
	from, err := v.writableDir(src)
	if err != nil {
		return err
	}
	to, err := v.writableDir(dst)
	if err != nil {
		return err
	}
	if _, dir := src.node.(Dir); !dir && (src.slash || dst.slash) {
		return syscall.ENOTDIR
	}
	fromSt, toSt := from.Stat(), to.Stat()
	return from.Rename(src.name, to, dst.name, flags, func(s Stat, d *Stat) error {
		if err := v.sticky(fromSt, s); err != nil {
			return err
		}
		if d != nil {
			return v.sticky(toSt, *d)
		}
		return nil
	})
}

// Chmod is chmod(2): EPERM unless owner or root.
func (v *View) Chmod(at *File, name string, mode uint32) error {
	l, err := v.find(at, name, walkFollow)
	if err != nil {
		return err
	}
	return chmod(v.Cred, l.mnt, l.node, mode)
}

func chmod(c Cred, m *Mount, n Node, mode uint32) error {
	if m.has(MountReadOnly) {
		return syscall.EROFS
	}
	st := n.Stat()
	if c.UID != 0 && c.UID != st.UID {
		return syscall.EPERM
	}
	if _, link := n.(Symlink); link {
		return syscall.EOPNOTSUPP
	}
	return n.SetAttr(Attr{Set: AttrMode, Mode: mode & ModePerm})
}

// Chown is chown(2), with follow false lchown(2). A uid or gid of 0xffffffff keeps. EPERM: only root gives files away;
// owners may change the group to one of theirs. Setuid and setgid bits of others than root's changes are cleared.
func (v *View) Chown(at *File, name string, uid, gid uint32, follow bool) error {
	var mode walkMode
	if follow {
		mode = walkFollow
	}
	l, err := v.find(at, name, mode)
	if err != nil {
		return err
	}
	return chown(v.Cred, l.mnt, l.node, uid, gid)
}

func chown(c Cred, m *Mount, n Node, uid, gid uint32) error {
	if m.has(MountReadOnly) {
		return syscall.EROFS
	}
	const keep = ^uint32(0)
	st := n.Stat()
	if c.UID != 0 {
		group := gid == keep || gid == st.GID || gid == c.GID
		for _, g := range c.Groups {
			group = group || g == gid
		}
		if c.UID != st.UID || uid != keep && uid != st.UID || !group {
			return syscall.EPERM
		}
	}
	a := Attr{UID: uid, GID: gid}
	if uid != keep {
		a.Set |= AttrUID
	}
	if gid != keep {
		a.Set |= AttrGID
	}
	if a.Set != 0 && st.IsRegular() && st.Mode&(ModeSetuid|ModeSetgid) != 0 {
		a.Set |= AttrMode
		a.Mode = st.Mode & ModePerm &^ ModeSetuid
		if st.Mode&0o010 != 0 {
			a.Mode &^= ModeSetgid
		}
	}
	return n.SetAttr(a)
}

// Times says what utimensat(2) sets: a time in nanoseconds since 1970, TimeNow or TimeOmit.
type Times struct{ Atim, Mtim int64 }

// The special values of Times.
const (
	TimeNow  = -1 << 63
	TimeOmit = -1<<63 + 1
)

// Utimes is utimensat(2), with follow false on a symbolic link itself. EPERM unless owner, EACCES for "now" without write permission.
func (v *View) Utimes(at *File, name string, t Times, follow bool) error {
	var mode walkMode
	if follow {
		mode = walkFollow
	}
	l, err := v.find(at, name, mode)
	if err != nil {
		return err
	}
	return utimes(v.Cred, l.mnt, l.node, t)
}

func utimes(c Cred, m *Mount, n Node, t Times) error {
	if m.has(MountReadOnly) {
		return syscall.EROFS
	}
	st := n.Stat()
	if c.UID != 0 && c.UID != st.UID {
		if t.Atim != TimeNow || t.Mtim != TimeNow {
			return syscall.EPERM
		}
		if err := permitted(c, st, AccessWrite); err != nil {
			return err
		}
	}
	var a Attr
	if t.Atim != TimeOmit {
		a.Set |= AttrAtim
		a.Atim = t.Atim
	}
	if t.Mtim != TimeOmit {
		a.Set |= AttrMtim
		a.Mtim = t.Mtim
	}
	if a.Set == 0 {
		return nil
	}
	return n.SetAttr(a)
}

// Truncate is truncate(2).
func (v *View) Truncate(name string, size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	f, err := v.Open(nil, name, O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}

// Chdir is chdir(2).
func (v *View) Chdir(at *File, name string) error {
	l, err := v.find(at, name, walkFollow)
	if err != nil {
		return err
	}
	d, ok := l.node.(Dir)
	if !ok {
		return syscall.ENOTDIR
	}
	if err := permitted(v.Cred, d.Stat(), AccessExec); err != nil {
		return err
	}
	v.Cwd = l.path()
	return nil
}

// Chroot is chroot(2) and a chdir to it, so that nothing is left outside. EPERM unless root.
func (v *View) Chroot(name string) error {
	if v.Cred.UID != 0 {
		return syscall.EPERM
	}
	if err := v.Chdir(nil, name); err != nil {
		return err
	}
	v.Root = v.Cwd
	return nil
}

// Getcwd is getcwd(2): ENOENT when the working directory was removed or is not below the root, ENAMETOOLONG.
func (v *View) Getcwd() (string, error) {
	p, ok := v.NS.pathname(v.Cwd, v.Root)
	if !ok {
		return "", syscall.ENOENT
	}
	if len(p) >= PathMax {
		return "", syscall.ENAMETOOLONG
	}
	return p, nil
}

// Statfs is statfs(2).
func (v *View) Statfs(at *File, name string) (Statfs, error) {
	l, err := v.find(at, name, walkFollow)
	if err != nil {
		return Statfs{}, err
	}
	s := l.mnt.fs.Statfs()
	s.ReadOnly = s.ReadOnly || l.mnt.has(MountReadOnly)
	return s, nil
}

// Unshare gives v a copy of its mount namespace (unshare(2) with CLONE_NEWNS).
func (v *View) Unshare() {
	ns, move := v.NS.Clone()
	v.NS, v.Root, v.Cwd = ns, move(v.Root), move(v.Cwd)
}

// ReadFile is the whole of a regular file, at most limit bytes (EFBIG beyond), for host code. It never blocks: FIFOs and devices are EINVAL.
func (v *View) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := v.Open(nil, name, O_RDONLY|O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = syscall.EFBIG
	}
	return b, err
}

// WriteFile creates or truncates a regular file and writes data, for host code.
func (v *View) WriteFile(name string, data []byte, mode uint32) error {
	f, err := v.Open(nil, name, O_WRONLY|O_CREAT|O_TRUNC|O_NONBLOCK, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(data)
	return err
}

// MkdirAll makes name and what is missing above it.
func (v *View) MkdirAll(name string, mode uint32) error {
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if err := v.Mkdir(nil, name[:i], mode); err != nil && err != syscall.EEXIST {
			return err
		}
	}
	st, err := v.Stat(nil, name)
	if err == nil && !st.IsDir() {
		err = syscall.ENOTDIR
	}
	return err
}

// RemoveAll removes name and everything below it, never through a symbolic link; a missing name is no error.
func (v *View) RemoveAll(name string) error {
	err := v.Unlink(nil, name)
	if err == nil || err == syscall.ENOENT {
		return nil
	}
	if err != syscall.EISDIR {
		return err
	}
	f, err := v.Open(nil, name, O_RDONLY|O_DIRECTORY|O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	var names []string
	err = f.ReadDir(0, func(e DirEntry, _ uint64) bool {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e.Name)
		}
		return true
	})
	f.Close()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := v.RemoveAll(name + "/" + n); err != nil {
			return err
		}
	}
	return v.Rmdir(nil, name)
}
