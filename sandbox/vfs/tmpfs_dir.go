package vfs

import (
	"cmp"
	"slices"
	"syscall"
)

func sortEntries(l []DirEntry) {
	slices.SortFunc(l, func(a, b DirEntry) int {
		return cmp.Or(cmp.Compare(a.Ino, b.Ino), cmp.Compare(a.Name, b.Name))
	})
}

// Create makes a node.
func (d *memDir) Create(name string, n NewNode) (Node, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	c, err := d.createLocked(name, n)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *memDir) createLocked(name string, n NewNode) (memInode, error) {
	if d.dead {
		return nil, syscall.ENOENT
	}
	if _, ok := d.entries[name]; ok {
		return nil, syscall.EEXIST
	}
	if n.Mode&ModeType == ModeDir && d.depthLocked()+1 > MaxDepth {
		return nil, syscall.ENAMETOOLONG
	}
	fs := d.fs
	if err := fs.chargeLocked(0, 1, int64(len(name)+len(n.Target))); err != nil {
		return nil, err
	}
	fs.nextIno++
	now := fs.opts.Clock.now()
	base := memNode{fs: fs, ino: fs.nextIno, mode: n.Mode, nlink: 1, uid: n.UID, gid: n.GID, atim: now, mtim: now, ctim: now}
	var c memInode
	switch n.Mode & ModeType {
	case ModeDir:
		base.nlink = 2
		c = &memDir{memNode: base, parent: d, name: name}
	case ModeRegular:
		c = &memFile{memNode: base}
	case ModeSymlink:
		c = &memLink{memNode: base, target: n.Target}
	default:
		base.rdev = n.Rdev
		c = &base
	}
	c.base().self = c
	d.putLocked(name, c)
	return c, nil
}

// putLocked enters a node and marks the directory changed.
func (d *memDir) putLocked(name string, n memInode) {
	if d.entries == nil {
		d.entries = map[string]memInode{}
	}
	d.entries[name] = n
	if sub, ok := n.(*memDir); ok {
		d.subdirs++
		sub.parent, sub.name = d, name
	}
	d.fs.noteLocked(n)
	d.touchLocked(name)
}

// touchLocked notes that an entry is another.
func (d *memDir) touchLocked(name string) {
	d.mtim = d.fs.opts.Clock.now()
	d.ctim = d.mtim
	d.fs.noteLocked(d).name(name)
}

// dropLocked takes an entry out; a node without names and openings gives back what it was charged.
func (d *memDir) dropLocked(name string, n memInode) {
	d.takeLocked(name, n)
	b := n.base()
	b.ctim = d.mtim
	extra := int64(len(name))
	if dir, ok := n.(*memDir); ok {
		dir.dead = true
		dir.nlink = 0
		_ = d.fs.chargeLocked(0, -1, -extra)
		return
	}
	b.nlink--
	if l, ok := n.(*memLink); ok && b.nlink == 0 {
		extra += int64(len(l.target))
	}
	_ = d.fs.chargeLocked(0, 0, -extra)
	if f, ok := n.(*memFile); ok {
		f.reapLocked()
	} else if b.nlink == 0 {
		_ = d.fs.chargeLocked(0, -1, 0)
	}
}

// takeLocked takes an entry out and leaves the node alive.
func (d *memDir) takeLocked(name string, n memInode) {
	delete(d.entries, name)
	if _, ok := n.(*memDir); ok {
		d.subdirs--
	}
	d.touchLocked(name)
}

// Link makes another name.
func (d *memDir) Link(name string, n Node) error {
	m, ok := n.(memInode)
	if !ok || m.base().fs != d.fs {
		return syscall.EXDEV
	}
	if _, dir := n.(Dir); dir {
		return syscall.EPERM
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	b := m.base()
	switch {
	case d.dead:
		return syscall.ENOENT
	case d.entries[name] != nil:
		return syscall.EEXIST
	case b.nlink == 0:
		return syscall.ENOENT
	case b.nlink >= MaxLinks:
		return syscall.EMLINK
	}
	if err := d.fs.chargeLocked(0, 0, int64(len(name))); err != nil {
		return err
	}
	b.nlink++
	b.ctim = d.fs.opts.Clock.now()
	d.putLocked(name, m)
	return nil
}

// Remove is unlink and rmdir.
func (d *memDir) Remove(name string, dir bool, may func(Stat) error) error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n, ok := d.entries[name]
	if !ok {
		return syscall.ENOENT
	}
	if may != nil {
		if err := may(n.statLocked()); err != nil {
			return err
		}
	}
	sub, isDir := n.(*memDir)
	switch {
	case isDir && !dir:
		return syscall.EISDIR
	case !isDir && dir:
		return syscall.ENOTDIR
	case isDir && len(sub.entries) > 0:
		return syscall.ENOTEMPTY
	}
	d.dropLocked(name, n)
	return nil
}

// Rename moves an entry.
func (d *memDir) Rename(name string, to DirWriter, newName string, flags int, may func(Stat, *Stat) error) error {
	t, ok := to.(*memDir)
	if !ok || t.fs != d.fs {
		return syscall.EXDEV
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	return d.renameLocked(name, t, newName, flags, may)
}

func (d *memDir) renameLocked(name string, t *memDir, newName string, flags int, may func(Stat, *Stat) error) error {
	n, ok := d.entries[name]
	if !ok || t.dead {
		return syscall.ENOENT
	}
	old := t.entries[newName]
	if may != nil {
		var dst *Stat
		if old != nil {
			st := old.statLocked()
			dst = &st
		}
		if err := may(n.statLocked(), dst); err != nil {
			return err
		}
	}
	if old != nil && flags&RenameNoReplace != 0 {
		return syscall.EEXIST
	}
	if old == n {
		return nil // two names of one file: rename(2) does nothing
	}
	if err := movableLocked(d, n, old, t); err != nil {
		return err
	}
	if delta := int64(len(newName) - len(name)); delta != 0 {
		if err := d.fs.chargeLocked(0, 0, delta); err != nil {
			return err
		}
	}
	if old != nil {
		t.dropLocked(newName, old)
	}
	d.takeLocked(name, n)
	t.putLocked(newName, n)
	n.base().ctim = t.mtim
	d.fs.noteLocked(n)
	return nil
}

// movableLocked is rename(2)'s rules about kinds and subtrees: n goes from one directory into t, over old (nil: nothing).
func movableLocked(from *memDir, n, old memInode, t *memDir) error {
	sub, isDir := n.(*memDir)
	if isDir {
		for up := t; up != nil; up = up.parent {
			if up == sub {
				return syscall.EINVAL
			}
		}
		if t != sub.parent && t.depthLocked()+1+sub.heightLocked() > MaxDepth {
			return syscall.ENAMETOOLONG
		}
	}
	if old == nil {
		return nil
	}
	oldDir, overDir := old.(*memDir)
	for up := from; overDir && up != nil; up = up.parent {
		if up == oldDir {
			return syscall.ENOTEMPTY // n is somewhere in it
		}
	}
	switch {
	case isDir && !overDir:
		return syscall.ENOTDIR
	case !isDir && overDir:
		return syscall.EISDIR
	case overDir && len(oldDir.entries) > 0:
		return syscall.ENOTEMPTY
	}
	return nil
}
