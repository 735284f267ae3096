package vfs

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// Overlay is a union of read-only trees with a Tmpfs on top that takes all changes (Linux' overlayfs). What is in a higher
// tree hides files of the same name below; directories are merged. Changing something of a lower tree copies it up
// first: the name and attributes only, for bytes that are immutable stay shared until they are written over, and so does their digest.
// Removing something of a lower tree leaves a whiteout in the upper one: a character device 0:0.
//
// Other than Linux: readers that opened a file before it was copied up see later writes; directories of lower trees can be renamed
// (they are copied up whole); whiteouts cost nothing.
//
// The upper Tmpfs holds all state, so a new Overlay over the same trees continues where the old one was. Nobody else may write to it meanwhile.
type Overlay struct {
	upper *Tmpfs // immutable; nil = read-only
	lower []FS   // immutable
	root  *ovDir

	mu      sync.RWMutex
	nextIno uint64          // guarded by mu
	inos    map[Node]uint64 // guarded by mu; of underlying files with several names, so that these show one inode
}

// NewOverlay merges lowers, the top one first, under upper (nil: read-only).
func NewOverlay(lowers []FS, upper *Tmpfs) *Overlay {
	fs := &Overlay{upper: upper, lower: slices.Clone(lowers), nextIno: 1, inos: map[Node]uint64{}}
	fs.root = &ovDir{ovNode: ovNode{fs: fs, ino: 1}}
	fs.root.self = fs.root
	if upper != nil {
		fs.root.upper = upper.root
	}
	if upper == nil || !upper.root.opaque {
		for _, l := range lowers {
			d, ok := l.Root().(Dir)
			if !ok {
				continue
			}
			fs.root.lowers = append(fs.root.lowers, d)
			if isOpaque(d) {
				break
			}
		}
	}
	if len(fs.root.lowers) > 0 {
		fs.root.lower = fs.root.lowers[0]
	}
	return fs
}

// Root is the top directory.
func (fs *Overlay) Root() Node { return fs.root }

// Type is "overlay".
func (fs *Overlay) Type() string { return "overlay" }

// Upper is the layer of changes.
func (fs *Overlay) Upper() *Tmpfs { return fs.upper }

// Statfs is that of the upper layer.
func (fs *Overlay) Statfs() Statfs {
	var s Statfs
	switch {
	case fs.upper != nil:
		s = fs.upper.Statfs()
	case len(fs.lower) > 0:
		s = fs.lower[0].Statfs()
	}
	s.Type, s.ReadOnly = MagicOverlay, fs.upper == nil
	return s
}

// hider is a directory of a tree that was made to lie over others.
type hider interface {
	hides(name string) bool // a whiteout
	hidesAll() bool         // opaque
}

func isOpaque(d Dir) bool { h, ok := d.(hider); return ok && h.hidesAll() }

// Opaque tells whether f is a directory that hides all that lies below it in an overlay.
func (f *File) Opaque() bool { d, ok := f.node.(Dir); return ok && isOpaque(d) }

func (d *memDir) hides(name string) bool {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	return isWhiteout(d.entries[name])
}

func (d *memDir) hidesAll() bool {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	return d.opaque
}

// isWhiteout tells the character device 0:0.
func isWhiteout(n memInode) bool {
	b, ok := n.(*memNode)
	return ok && b.mode&ModeType == ModeChar && b.rdev == 0
}

// ovInode is a node of an Overlay.
type ovInode interface {
	Node
	ov() *ovNode
}

// ovNode is what all nodes have: one for each name (the names of a hard-linked file have a node each and share the underlying one).
type ovNode struct {
	fs   *Overlay // immutable
	ino  uint64   // immutable
	self ovInode  // immutable

	parent *ovDir   // guarded by fs.mu; nil for the root
	name   string   // guarded by fs.mu
	lower  Node     // guarded by fs.mu; nil when there is none or upper covers it
	upper  memInode // guarded by fs.mu; nil until copied up
	dead   bool     // guarded by fs.mu; the name was removed
}

func (n *ovNode) ov() *ovNode { return n }

// Stat is that of the underlying node with this one's number.
func (n *ovNode) Stat() Stat {
	n.fs.mu.RLock()
	defer n.fs.mu.RUnlock()
	return n.statLocked()
}

func (n *ovNode) statLocked() Stat {
	var st Stat
	if n.upper != nil {
		st = n.upper.Stat()
	} else {
		st = n.lower.Stat()
		if n.dead {
			st.Nlink--
		}
	}
	st.Ino = n.ino
	return st
}

// SetAttr copies up and changes.
func (n *ovNode) SetAttr(a Attr) error {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if err := n.fs.copyUpLocked(n.self); err != nil {
		return err
	}
	return n.upper.SetAttr(a)
}

type ovLink struct{ ovNode }

// Readlink is the target.
func (l *ovLink) Readlink(caller any) (string, error) {
	l.fs.mu.RLock()
	n := Node(l.upper)
	if l.upper == nil {
		n = l.lower
	}
	l.fs.mu.RUnlock()
	return n.(Symlink).Readlink(caller)
}

type ovDir struct {
	ovNode
	lowers   []Dir              // guarded by fs.mu; merged below upper, top first
	children map[string]ovInode // guarded by fs.mu; those that were looked at
}

// Stat has a link count of 1, as overlayfs says of merged directories: "not counted".
func (d *ovDir) Stat() Stat {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	return d.dirStatLocked()
}

func (d *ovDir) dirStatLocked() Stat {
	st := d.statLocked()
	st.Nlink = 1
	if d.dead {
		st.Nlink = 0
	}
	return st
}

// Up is the parent.
func (d *ovDir) Up() (Dir, string) {
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	if d.parent == nil {
		return nil, ""
	}
	return d.parent, d.name
}

// Lookup finds an entry.
func (d *ovDir) Lookup(name string) (Node, error) {
	d.fs.mu.RLock()
	n, ok := d.children[name]
	d.fs.mu.RUnlock()
	if ok {
		return n, nil
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	n, err := d.lookupLocked(name)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (d *ovDir) lookupLocked(name string) (ovInode, error) {
	if n, ok := d.children[name]; ok {
		return n, nil
	}
	if d.dead {
		return nil, syscall.ENOENT
	}
	var up memInode
	if u, ok := d.upper.(*memDir); ok {
		if n, err := u.Lookup(name); err == nil {
			up = n.(memInode)
		}
	}
	if isWhiteout(up) {
		return nil, syscall.ENOENT
	}
	var low Node
	var lows []Dir
	if updir, isDir := up.(*memDir); up == nil || isDir && !updir.hidesAll() {
		var err error
		if low, lows, err = d.lowerLocked(name, up != nil); err != nil {
			return nil, err
		}
	}
	if up == nil && low == nil {
		return nil, syscall.ENOENT
	}
	return d.addLocked(name, low, lows, up), nil
}

// lowerLocked finds name in the lower trees: a single node, or the directories that are to be merged. dirs: directories only.
func (d *ovDir) lowerLocked(name string, dirs bool) (low Node, lows []Dir, err error) {
	for _, l := range d.lowers {
		h, _ := l.(hider)
		n, err := l.Lookup(name)
		if err != nil && err != syscall.ENOENT {
			return nil, nil, err
		}
		if m, ok := n.(memInode); ok && isWhiteout(m) {
			break
		}
		if n != nil && err == nil {
			sub, isDir := n.(Dir)
			if !isDir {
				if len(lows) == 0 && !dirs {
					low = n
				}
				break
			}
			lows = append(lows, sub)
			if isOpaque(sub) {
				break
			}
		}
		if h != nil && h.hides(name) {
			break
		}
	}
	if len(lows) > 0 {
		low = lows[0]
	}
	return low, lows, nil
}

// addLocked makes the node for an entry and remembers it.
func (d *ovDir) addLocked(name string, low Node, lows []Dir, up memInode) ovInode {
	fs := d.fs
	n := ovNode{fs: fs, parent: d, name: name, lower: low, upper: up, ino: fs.inoLocked(low, up)}
	var kind uint32
	if up != nil {
		kind = up.Stat().Mode
	} else {
		kind = low.Stat().Mode
	}
	var c ovInode
	switch kind & ModeType {
	case ModeDir:
		c = &ovDir{ovNode: n, lowers: lows}
	case ModeRegular:
		c = &ovFile{ovNode: n}
	case ModeSymlink:
		c = &ovLink{n}
	default:
		c = &n
	}
	c.ov().self = c
	if d.children == nil {
		d.children = map[string]ovInode{}
	}
	d.children[name] = c
	return c
}

// inoLocked is a number for a new node: that of its siblings when the underlying file has several names.
func (fs *Overlay) inoLocked(low Node, up memInode) uint64 {
	key := low
	if up != nil {
		key = up
	}
	if ino, ok := fs.inos[key]; ok {
		return ino
	}
	fs.nextIno++
	if st := key.Stat(); !st.IsDir() && st.Nlink > 1 {
		fs.inos[key] = fs.nextIno
	}
	return fs.nextIno
}

// List merges the entries, by name.
func (d *ovDir) List() ([]DirEntry, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	names, err := d.namesLocked()
	if err != nil {
		return nil, err
	}
	l := make([]DirEntry, 0, len(names))
	for _, name := range names {
		n, err := d.lookupLocked(name)
		if err != nil {
			return nil, err
		}
		l = append(l, DirEntry{name, n.ov().ino, n.ov().statLocked().Mode & ModeType})
	}
	return l, nil
}

// namesLocked is the visible names in order.
func (d *ovDir) namesLocked() ([]string, error) {
	if d.dead {
		return nil, nil
	}
	seen := map[string]bool{} // name → visible
	if u, ok := d.upper.(*memDir); ok {
		u.fs.mu.RLock()
		for name, n := range u.entries {
			seen[name] = !isWhiteout(n)
		}
		u.fs.mu.RUnlock()
	}
	for _, l := range d.lowers {
		es, err := l.List()
		if err != nil {
			return nil, err
		}
		var hidden []string
		for _, e := range es {
			if _, ok := seen[e.Name]; !ok {
				m, _ := l.(*memDir)
				seen[e.Name] = m == nil || !m.hides(e.Name)
			}
		}
		if ld, ok := l.(*layerDir); ok {
			for name := range ld.whiteouts {
				hidden = append(hidden, name)
			}
		}
		for _, name := range hidden {
			if _, ok := seen[name]; !ok {
				seen[name] = false
			}
		}
	}
	names := make([]string, 0, len(seen))
	for name, visible := range seen {
		if visible {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// ovFile is a regular file. While it is open, one handle of the underlying file serves all openings: the lower one until it is copied up.
type ovFile struct {
	ovNode
	opens int    // guarded by fs.mu
	upH   Handle // guarded by fs.mu; non-nil while opens > 0 and upper is there
	lowH  Handle // guarded by fs.mu; non-nil while opens > 0 and it was opened from below
}

// Open gives a handle and copies up for writing.
func (f *ovFile) Open(flags int) (Handle, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if flags&O_ACCMODE != O_RDONLY || flags&O_TRUNC != 0 {
		if err := f.fs.copyUpLocked(f); err != nil {
			return nil, err
		}
	}
	if flags&O_TRUNC != 0 {
		h, err := f.upper.(*memFile).Open(O_TRUNC)
		if err != nil {
			return nil, err
		}
		h.Close()
	}
	if err := f.holdLocked(); err != nil {
		return nil, err
	}
	f.opens++
	return &ovHandle{f: f}, nil
}

// holdLocked opens the underlying file if nobody has.
func (f *ovFile) holdLocked() (err error) {
	switch {
	case f.upH != nil:
	case f.upper != nil:
		f.upH, err = f.upper.(*memFile).Open(O_RDWR)
	case f.lowH == nil:
		f.lowH, err = f.lower.(Regular).Open(O_RDONLY)
	}
	return err
}

type ovHandle struct {
	f      *ovFile
	closed atomic.Bool
}

// under is the handle that serves now. It stays open as long as h.
func (h *ovHandle) under(write bool) (Handle, error) {
	h.f.fs.mu.RLock()
	defer h.f.fs.mu.RUnlock()
	switch {
	case h.closed.Load() || write && h.f.upH == nil:
		return nil, syscall.EBADF
	case h.f.upH != nil:
		return h.f.upH, nil
	}
	return h.f.lowH, nil
}

func (h *ovHandle) ReadAt(p []byte, off int64) (int, error) {
	u, err := h.under(false)
	if err != nil {
		return 0, err
	}
	return u.ReadAt(p, off)
}

func (h *ovHandle) WriteAt(p []byte, off int64) (int, error) {
	u, err := h.under(true)
	if err != nil {
		return 0, err
	}
	return u.WriteAt(p, off)
}

func (h *ovHandle) Append(p []byte) (int, int64, error) {
	u, err := h.under(true)
	if err != nil {
		return 0, 0, err
	}
	return u.Append(p)
}

func (h *ovHandle) Truncate(size int64) error {
	u, err := h.under(true)
	if err != nil {
		return err
	}
	return u.Truncate(size)
}

// Content passes the immutable bytes through.
func (h *ovHandle) Content() ([]byte, string, bool) {
	u, err := h.under(false)
	if err != nil {
		return nil, "", false
	}
	if im, ok := u.(Immutable); ok {
		return im.Content()
	}
	return nil, "", false
}

func (h *ovHandle) shared() ([]byte, Immutable) {
	if u, err := h.under(false); err == nil {
		if sh, ok := u.(sharer); ok {
			return sh.shared()
		}
	}
	return nil, nil
}

func (h *ovHandle) Close() error {
	if h.closed.Swap(true) {
		return syscall.EBADF
	}
	f := h.f
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.opens--; f.opens > 0 {
		return nil
	}
	for _, u := range []*Handle{&f.upH, &f.lowH} {
		if *u != nil {
			(*u).Close()
			*u = nil
		}
	}
	return nil
}
