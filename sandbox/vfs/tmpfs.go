package vfs

import (
	"sync"
	"syscall"
)

// TmpfsOptions configures a Tmpfs. The zero value is an unlimited, world-readable one by the machine's clock.
type TmpfsOptions struct {
	Size    int64   // bytes of file data, rounded up to blocks; 0 = unlimited. Beyond: ENOSPC
	Inodes  int64   // files, directories, links; 0 = unlimited. Beyond: ENOSPC
	Charger Charger // asked for every block and inode; nil = nobody
	Clock   Clock
	Mode    uint32 // permissions of the root; 0 = 0755
	UID     uint32
	GID     uint32
	Type    string // shown in /proc/mounts; "" = "tmpfs"
	// Dirty, where not nil, has changes noted for Flush, and is told of the first one since the last Flush. It is called with the file
	// system's lock held: it may only plan a Flush.
	Dirty func()
}

// inodeCharge is what an inode with its name costs the Charger beside its data: about what it takes of the heap.
const inodeCharge = 256

// Tmpfs is a file system in memory (tmpfs(5)). One lock guards all of it.
type Tmpfs struct {
	opts TmpfsOptions // immutable
	root *memDir      // immutable

	mu      sync.RWMutex
	nextIno uint64  // guarded by mu
	inodes  int64   // guarded by mu
	blocks  int64   // guarded by mu; bytes of data, whole blocks
	charged int64   // guarded by mu
	closed  bool    // guarded by mu
	dirty   changes // guarded by mu; nil unless Options.Dirty is there and something changed
}

// NewTmpfs makes an empty one.
func NewTmpfs(o TmpfsOptions) *Tmpfs {
	if o.Mode == 0 {
		o.Mode = 0o755
	}
	if o.Type == "" {
		o.Type = "tmpfs"
	}
	fs := &Tmpfs{opts: o, inodes: 1, nextIno: 1}
	now := o.Clock.now()
	fs.root = &memDir{memNode: memNode{fs: fs, ino: 1, mode: ModeDir | o.Mode&ModePerm, uid: o.UID, gid: o.GID, nlink: 2, atim: now, mtim: now, ctim: now}}
	fs.root.self = fs.root
	return fs
}

// Root is the top directory.
func (fs *Tmpfs) Root() Node { return fs.root }

// Type is what the options say.
func (fs *Tmpfs) Type() string { return fs.opts.Type }

// Used is what is charged at present, in bytes: data in whole blocks and inodes.
func (fs *Tmpfs) Used() (bytes, inodes int64) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	return fs.charged, fs.inodes
}

// Statfs answers with the limits of the options.
func (fs *Tmpfs) Statfs() Statfs {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	s := Statfs{Type: MagicTmpfs, Bsize: BlockSize, Namelen: NameMax}
	if fs.opts.Size > 0 {
		s.Blocks = uint64(fs.opts.Size+BlockSize-1) / BlockSize
		s.Bfree = s.Blocks - min(s.Blocks, uint64(fs.blocks)/BlockSize)
	}
	if fs.opts.Inodes > 0 {
		s.Files = uint64(fs.opts.Inodes)
		s.Ffree = s.Files - min(s.Files, uint64(fs.inodes))
	}
	return s
}

// Close gives everything charged back; further growth is refused with EIO. What is open can still be read. Close twice is fine.
func (fs *Tmpfs) Close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !fs.closed {
		fs.closed, fs.dirty = true, nil
		fs.refundLocked(fs.charged)
		fs.charged = 0
	}
}

func (fs *Tmpfs) refundLocked(n int64) {
	if fs.opts.Charger != nil && n > 0 {
		_ = fs.opts.Charger.Charge(-n) // giving back never fails
	}
}

// chargeLocked takes (or with negative numbers gives back) bytes of data and inodes with extra bytes of names. ENOSPC, EDQUOT, EIO.
func (fs *Tmpfs) chargeLocked(data, inodes, extra int64) error {
	if fs.closed {
		if data > 0 || inodes > 0 {
			return syscall.EIO
		}
		return nil
	}
	if data > 0 && fs.opts.Size > 0 && fs.blocks+data > fs.opts.Size {
		return syscall.ENOSPC
	}
	if inodes > 0 && fs.opts.Inodes > 0 && fs.inodes+inodes > fs.opts.Inodes {
		return syscall.ENOSPC
	}
	sum := data + inodes*inodeCharge + extra
	if fs.opts.Charger != nil && sum != 0 {
		if err := fs.opts.Charger.Charge(sum); err != nil && sum > 0 {
			return err
		}
	}
	fs.blocks += data
	fs.inodes += inodes
	fs.charged += sum
	return nil
}

// memNode is what all inodes have. Fields are guarded by fs.mu but fs, self and ino, which are immutable.
type memNode struct {
	fs               *Tmpfs
	self             memInode // the inode that this is part of; immutable
	ino              uint64
	mode             uint32
	nlink            uint32
	uid, gid         uint32
	rdev             uint64
	atim, mtim, ctim int64
}

func (n *memNode) statLocked() Stat {
	return Stat{Ino: n.ino, Mode: n.mode, Nlink: n.nlink, UID: n.uid, GID: n.gid, Rdev: n.rdev, Blksize: BlockSize, Atim: n.atim, Mtim: n.mtim, Ctim: n.ctim}
}

// Stat answers for devices, FIFOs and sockets; files, directories and links add their size.
func (n *memNode) Stat() Stat {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	return n.statLocked()
}

// SetAttr changes attributes and the change time.
func (n *memNode) SetAttr(a Attr) error {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.setAttrLocked(a)
	return nil
}

func (n *memNode) setAttrLocked(a Attr) {
	now := n.fs.opts.Clock.now()
	if a.Set&AttrMode != 0 {
		n.mode = n.mode&ModeType | a.Mode&ModePerm
	}
	if a.Set&AttrUID != 0 {
		n.uid = a.UID
	}
	if a.Set&AttrGID != 0 {
		n.gid = a.GID
	}
	if a.Set&AttrAtim != 0 {
		if n.atim = a.Atim; a.Atim == TimeNow {
			n.atim = now
		}
	}
	if a.Set&AttrMtim != 0 {
		if n.mtim = a.Mtim; a.Mtim == TimeNow {
			n.mtim = now
		}
	}
	n.ctim = now
	if a.Set != AttrAtim { // when somebody read a file is not worth a write
		n.fs.noteLocked(n.self)
	}
}

// node is implemented by every inode of a Tmpfs.
type memInode interface {
	Node
	base() *memNode
	statLocked() Stat
}

func (n *memNode) base() *memNode { return n }

// memLink is a symbolic link.
type memLink struct {
	memNode
	target string // immutable
}

// Stat adds the length of the target.
func (l *memLink) Stat() Stat {
	l.fs.mu.RLock()
	defer l.fs.mu.RUnlock()
	return l.statLocked()
}

func (l *memLink) statLocked() Stat {
	st := l.memNode.statLocked()
	st.Size = int64(len(l.target))
	return st
}

// Readlink is the target.
func (l *memLink) Readlink(any) (string, error) { return l.target, nil }

// memDir is a directory.
type memDir struct {
	memNode
	parent  *memDir             // guarded by fs.mu; nil for the root
	name    string              // guarded by fs.mu; in parent
	entries map[string]memInode // guarded by fs.mu
	subdirs uint32              // guarded by fs.mu
	dead    bool                // guarded by fs.mu; removed
	opaque  bool                // guarded by fs.mu; an overlay looks for nothing below it
}

// Stat adds the size.
func (d *memDir) Stat() Stat {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	return d.statLocked()
}

func (d *memDir) statLocked() Stat {
	st := d.memNode.statLocked()
	st.Size = 40 + 20*int64(len(d.entries)) // as Linux' tmpfs counts
	if !d.dead {
		st.Nlink = 2 + d.subdirs
	}
	return st
}

// Lookup finds an entry.
func (d *memDir) Lookup(name string) (Node, error) {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	if n, ok := d.entries[name]; ok {
		return n, nil
	}
	return nil, syscall.ENOENT
}

// List is all entries, in the order of their inode numbers (creation).
func (d *memDir) List() ([]DirEntry, error) {
	d.fs.mu.RLock()
	l := make([]DirEntry, 0, len(d.entries))
	for name, n := range d.entries {
		b := n.base()
		l = append(l, DirEntry{name, b.ino, b.mode & ModeType})
	}
	d.fs.mu.RUnlock()
	sortEntries(l)
	return l, nil
}

// Up is the parent.
func (d *memDir) Up() (Dir, string) {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	if d.parent == nil {
		return nil, ""
	}
	return d.parent, d.name
}

// depthLocked is the number of directories above d.
func (d *memDir) depthLocked() int {
	n := 0
	for d = d.parent; d != nil; d = d.parent {
		n++
	}
	return n
}

// heightLocked is the number of directories on the longest way down from d.
func (d *memDir) heightLocked() int {
	level, height := []*memDir{d}, 0
	for {
		var next []*memDir
		for _, d := range level {
			if d.subdirs == 0 {
				continue
			}
			for _, n := range d.entries {
				if sub, ok := n.(*memDir); ok {
					next = append(next, sub)
				}
			}
		}
		if len(next) == 0 {
			return height
		}
		level = next
		height++
	}
}
