package vfs

import (
	"io"
	"syscall"
)

// copyUpLocked gives n an upper node with the same attributes, and its parents too. EROFS, ENOSPC, EDQUOT.
func (fs *Overlay) copyUpLocked(i ovInode) error {
	if fs.upper == nil {
		return syscall.EROFS
	}
	n := i.ov()
	if n.upper != nil {
		return nil
	}
	if n.dead {
		return fs.copyOrphanLocked(i)
	}
	var chain []ovInode
	for m := n; m.upper == nil; m = m.parent.ov() {
		chain = append(chain, m.self)
	}
	for k := len(chain) - 1; k >= 0; k-- {
		c := chain[k]
		up, err := copyInto(c.ov().parent.upper.(*memDir), c.ov().name, c.ov().lower)
		if err != nil {
			return err
		}
		if err := fs.coveredLocked(c, up); err != nil {
			return err
		}
	}
	return nil
}

// coveredLocked notes that c has an upper node now; readers that have it open go on there.
func (fs *Overlay) coveredLocked(c ovInode, up memInode) error {
	c.ov().upper = up
	if f, ok := c.(*ovFile); ok && f.opens > 0 {
		return f.holdLocked()
	}
	return nil
}

// copyOrphanLocked is copying up what has no name any more but is still open.
func (fs *Overlay) copyOrphanLocked(i ovInode) error {
	f, ok := i.(*ovFile)
	if !ok || f.opens == 0 {
		return syscall.ENOENT
	}
	up, err := copyInto(fs.upper.root, "", f.lower)
	if err != nil {
		return err
	}
	return fs.coveredLocked(f, up)
}

// copyInto makes a copy of low named name in d, or without a name for "". The directory's own times stay.
func copyInto(d *memDir, name string, low Node) (memInode, error) {
	st := low.Stat()
	n := NewNode{Mode: st.Mode, UID: st.UID, GID: st.GID, Rdev: st.Rdev}
	if l, ok := low.(Symlink); ok {
		t, err := l.Readlink(nil)
		if err != nil {
			return nil, err
		}
		n.Target = t
	}
	var src Handle
	if r, ok := low.(Regular); ok {
		var err error
		if src, err = r.Open(O_RDONLY); err != nil {
			return nil, err
		}
		defer src.Close()
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	mtim, ctim := d.mtim, d.ctim
	tmp := name
	if name == "" {
		tmp = "\x00orphan" // no path has a NUL
	}
	c, err := d.createLocked(tmp, n)
	if err != nil {
		return nil, err
	}
	if src != nil {
		err = c.(*memFile).fillLocked(src, st.Size)
	}
	if name == "" || err != nil {
		if f, ok := c.(*memFile); ok && err == nil {
			f.opens++ // until the caller holds it
			d.dropLocked(tmp, c)
			f.opens--
		} else {
			d.dropLocked(tmp, c)
		}
	}
	d.mtim, d.ctim = mtim, ctim
	if err != nil {
		return nil, err
	}
	b := c.base()
	b.atim, b.mtim, b.ctim = st.Atim, st.Mtim, st.Ctim
	d.fs.noteLocked(c)
	return c, nil
}

// fillLocked takes over the bytes of an immutable file, or copies those of another.
func (f *memFile) fillLocked(src Handle, size int64) error {
	if sh, ok := src.(sharer); ok {
		if data, origin := sh.shared(); origin != nil {
			f.shareLocked(data, origin)
			return nil
		}
	}
	buf := make([]byte, min(chunkSize, max(size, 1)))
	for off := int64(0); ; {
		n, err := src.ReadAt(buf, off)
		if n > 0 {
			if _, werr := f.writeLocked(buf[:n], off); werr != nil {
				return werr
			}
			off += int64(n)
		}
		if err == io.EOF || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// hiddenLocked reports whether the lower trees have name in d, so that its removal needs a whiteout.
func (d *ovDir) hiddenLocked(name string) (bool, error) {
	low, _, err := d.lowerLocked(name, false)
	return low != nil, err
}

// createOverLocked is createLocked where a whiteout counts as nothing.
func (d *memDir) createOverLocked(name string, n NewNode) (memInode, error) {
	old := d.entries[name]
	if !isWhiteout(old) {
		return d.createLocked(name, n)
	}
	delete(d.entries, name)
	c, err := d.createLocked(name, n)
	if err != nil {
		d.entries[name] = old
	}
	return c, err
}

// whiteoutLocked hides name. It is not charged: there are no more of them than files in images.
func (d *memDir) whiteoutLocked(name string) {
	fs := d.fs
	fs.nextIno++
	now := fs.opts.Clock.now()
	if d.entries == nil {
		d.entries = map[string]memInode{}
	}
	n := &memNode{fs: fs, ino: fs.nextIno, mode: ModeChar, nlink: 1, atim: now, mtim: now, ctim: now}
	n.self = n
	d.entries[name] = n
	fs.noteLocked(n)
	fs.noteLocked(d).name(name)
}

// purgeLocked removes an upper entry: a whiteout, a file, or a directory in which only whiteouts are left.
func (d *memDir) purgeLocked(name string) {
	n := d.entries[name]
	switch {
	case n == nil:
	case isWhiteout(n):
		delete(d.entries, name)
		d.fs.noteLocked(d).name(name)
	default:
		if sub, ok := n.(*memDir); ok {
			clear(sub.entries)
		}
		d.dropLocked(name, n)
	}
}

// Create makes a node in the upper tree.
func (d *ovDir) Create(name string, n NewNode) (Node, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.dead {
		return nil, syscall.ENOENT
	}
	if _, err := d.lookupLocked(name); err != syscall.ENOENT {
		if err == nil {
			err = syscall.EEXIST
		}
		return nil, err
	}
	if n.Mode&ModeType == ModeChar && n.Rdev == 0 {
		return nil, syscall.EPERM // would be a whiteout
	}
	hidden, err := d.hiddenLocked(name)
	if err != nil {
		return nil, err
	}
	if err := d.fs.copyUpLocked(d); err != nil {
		return nil, err
	}
	up := d.upper.(*memDir)
	up.fs.mu.Lock()
	c, err := up.createOverLocked(name, n)
	if sub, ok := c.(*memDir); ok && hidden && err == nil {
		sub.opaque = true // noted: it is new
	}
	up.fs.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return d.addLocked(name, nil, nil, c), nil
}

// Link makes another name in the upper tree.
func (d *ovDir) Link(name string, node Node) error {
	src, ok := node.(ovInode)
	if !ok || src.ov().fs != d.fs {
		return syscall.EXDEV
	}
	if _, dir := node.(Dir); dir {
		return syscall.EPERM
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n := src.ov()
	if d.dead || n.dead && n.upper == nil {
		return syscall.ENOENT
	}
	if _, err := d.lookupLocked(name); err != syscall.ENOENT {
		if err == nil {
			err = syscall.EEXIST
		}
		return err
	}
	if err := d.fs.copyUpLocked(d); err != nil {
		return err
	}
	if err := d.fs.copyUpLocked(src); err != nil {
		return err
	}
	up := d.upper.(*memDir)
	up.fs.mu.Lock()
	old := up.entries[name]
	if isWhiteout(old) {
		delete(up.entries, name)
	}
	up.fs.mu.Unlock()
	if err := up.Link(name, n.upper); err != nil {
		if isWhiteout(old) {
			up.fs.mu.Lock()
			up.entries[name] = old
			up.fs.mu.Unlock()
		}
		return err
	}
	d.fs.inos[n.upper] = n.ino
	d.addLocked(name, nil, nil, n.upper)
	return nil
}

// Remove is unlink and rmdir.
func (d *ovDir) Remove(name string, dir bool, may func(Stat) error) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n, err := d.lookupLocked(name)
	if err != nil {
		return err
	}
	if may != nil {
		if err := may(n.ov().statLocked()); err != nil {
			return err
		}
	}
	if d.fs.upper == nil {
		return syscall.EROFS
	}
	sub, isDir := n.(*ovDir)
	switch {
	case isDir && !dir:
		return syscall.EISDIR
	case !isDir && dir:
		return syscall.ENOTDIR
	case isDir:
		if err := sub.emptyLocked(); err != nil {
			return err
		}
	}
	hidden, err := d.hiddenLocked(name)
	if err != nil {
		return err
	}
	if err := d.fs.copyUpLocked(d); err != nil {
		return err
	}
	d.removeLocked(name, n, hidden)
	return nil
}

// emptyLocked is nil when nothing is visible inside.
func (d *ovDir) emptyLocked() error {
	names, err := d.namesLocked()
	if err == nil && len(names) > 0 {
		err = syscall.ENOTEMPTY
	}
	return err
}

// removeLocked takes the entry away, with a whiteout if something below would show. d has an upper directory.
func (d *ovDir) removeLocked(name string, n ovInode, hidden bool) {
	up := d.upper.(*memDir)
	up.fs.mu.Lock()
	up.purgeLocked(name)
	if hidden {
		up.whiteoutLocked(name)
	}
	up.touchLocked(name)
	up.fs.mu.Unlock()
	delete(d.children, name)
	o := n.ov()
	o.dead = true
	if o.upper != nil && o.upper.Stat().Nlink == 0 {
		delete(d.fs.inos, o.upper)
	}
}

// Rename moves an entry. A directory with parts in lower trees is copied up whole first.
func (d *ovDir) Rename(name string, to DirWriter, newName string, flags int, may func(Stat, *Stat) error) error {
	t, ok := to.(*ovDir)
	if !ok || t.fs != d.fs {
		return syscall.EXDEV
	}
	fs := d.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := d.lookupLocked(name)
	if err != nil {
		return err
	}
	if t.dead {
		return syscall.ENOENT
	}
	old, err := t.lookupLocked(newName)
	if err != nil && err != syscall.ENOENT {
		return err
	}
	if done, err := ovMovableLocked(n, old, t, flags, may); done || err != nil {
		return err
	}
	hidden, err := d.hiddenLocked(name)
	if err != nil {
		return err
	}
	if err := fs.copyTreeLocked(n); err != nil {
		return err
	}
	if err := fs.copyUpLocked(t); err != nil {
		return err
	}
	if err := fs.moveUpperLocked(d, name, t, newName, hidden); err != nil {
		return err
	}
	delete(d.children, name)
	if old != nil {
		old.ov().dead = true
		if u := old.ov().upper; u != nil && u.Stat().Nlink == 0 {
			delete(fs.inos, u)
		}
	}
	if t.children == nil {
		t.children = map[string]ovInode{}
	}
	t.children[newName] = n
	n.ov().parent, n.ov().name = t, newName
	return nil
}

// ovMovableLocked is rename(2)'s rules. done: there is nothing to do.
func ovMovableLocked(n, old ovInode, t *ovDir, flags int, may func(Stat, *Stat) error) (done bool, err error) {
	if may != nil {
		var dst *Stat
		if old != nil {
			st := old.ov().statLocked()
			dst = &st
		}
		if err := may(n.ov().statLocked(), dst); err != nil {
			return false, err
		}
	}
	if t.fs.upper == nil {
		return false, syscall.EROFS
	}
	sub, isDir := n.(*ovDir)
	if old != nil && flags&RenameNoReplace != 0 {
		return false, syscall.EEXIST
	}
	if isDir {
		for up := t; up != nil; up = up.parent {
			if up == sub {
				return false, syscall.EINVAL
			}
		}
	}
	if old == nil {
		return false, nil
	}
	if n == old || n.ov().upper != nil && n.ov().upper == old.ov().upper {
		return true, nil
	}
	over, overDir := old.(*ovDir)
	for up := n.ov().parent; overDir && up != nil; up = up.parent {
		if up == over {
			return false, syscall.ENOTEMPTY // n is somewhere in it
		}
	}
	switch {
	case isDir && !overDir:
		return false, syscall.ENOTDIR
	case !isDir && overDir:
		return false, syscall.EISDIR
	case overDir:
		return false, over.emptyLocked()
	}
	return false, nil
}

// moveUpperLocked renames in the upper tree: both directories and the node are there. A refusal leaves everything as it was.
func (fs *Overlay) moveUpperLocked(d *ovDir, name string, t *ovDir, newName string, hidden bool) error {
	from, to := d.upper.(*memDir), t.upper.(*memDir)
	fs.upper.mu.Lock()
	defer fs.upper.mu.Unlock()
	n, old := from.entries[name], to.entries[newName]
	var kept map[string]memInode
	over, overDir := old.(*memDir)
	if overDir { // what is left in it are whiteouts
		kept, over.entries = over.entries, nil
	}
	white := isWhiteout(old)
	if white {
		delete(to.entries, newName)
	}
	if err := from.renameLocked(name, to, newName, 0, nil); err != nil {
		if overDir {
			over.entries = kept
		}
		if white {
			to.entries[newName] = old
		}
		return err
	}
	if sub, ok := n.(*memDir); ok {
		sub.opaque = true
	}
	if hidden {
		from.whiteoutLocked(name)
	}
	return nil
}

// copyTreeLocked copies n up, and for a directory everything visible in it, so that nothing below shows through at another place.
func (fs *Overlay) copyTreeLocked(n ovInode) error {
	if err := fs.copyUpLocked(n); err != nil {
		return err
	}
	top, ok := n.(*ovDir)
	if !ok {
		return nil
	}
	dirs := []*ovDir{top}
	for i := 0; i < len(dirs); i++ {
		d := dirs[i]
		if len(d.lowers) == 0 {
			continue // made here: its entries are all in the upper tree
		}
		names, err := d.namesLocked()
		if err != nil {
			return err
		}
		for _, name := range names {
			c, err := d.lookupLocked(name)
			if err != nil {
				return err
			}
			if err := fs.copyUpLocked(c); err != nil {
				return err
			}
			if sub, ok := c.(*ovDir); ok {
				dirs = append(dirs, sub)
			}
		}
	}
	fs.upper.mu.Lock()
	defer fs.upper.mu.Unlock()
	for _, d := range dirs {
		if d.lowers == nil {
			continue
		}
		d.lowers, d.lower = nil, nil
		up := d.upper.(*memDir)
		up.opaque = true
		up.fs.noteLocked(up)
		for name, c := range up.entries { // nothing below is left to hide
			if isWhiteout(c) {
				delete(up.entries, name)
				up.fs.noteLocked(up).name(name)
			}
		}
	}
	return nil
}
