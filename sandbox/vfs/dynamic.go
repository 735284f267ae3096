package vfs

import (
	"hash/fnv"
	"io"
	"slices"
	"sync"
	"syscall"
)

// Dynamic is a file system whose files are made when they are looked at: proc, sysfs, cgroupfs, and devices beside them.
// It is described by values of DynDir, DynFile, DynLink and DynNode; what they hold is asked for at each look.
type Dynamic struct {
	kind  string // immutable
	magic uint64 // immutable
	born  int64  // immutable
	clock Clock  // immutable
	root  *dynDir
}

// DynEntry is one of *DynDir, *DynFile, *DynLink, *DynNode.
type DynEntry interface{ dynamic() }

// DynOwner has the owner and permissions; Owner, when set, is asked instead of UID and GID.
type DynOwner struct {
	Perm     uint32 // 0 = 0555 for directories, 0444 for files
	UID, GID uint32
	Owner    func() (uid, gid uint32)
}

// DynDir is a directory: fixed entries, and with Lookup and Names some that come and go.
// A *DynDir in Static is one directory for good (things may be mounted on it and on its entries); one that Lookup made is a new one at each look.
type DynDir struct {
	DynOwner
	Static map[string]DynEntry
	Lookup func(caller any, name string) DynEntry // nil = ENOENT
	Names  func() []string                        // of what Lookup would find, in the order to be listed
	Mkdir  func(caller any, name string) error    // nil = EPERM
	Rmdir  func(caller any, name string) error    // nil = EPERM
}

// DynFile is a file of text. Read is called at each read from offset 0 and what it returned is then read on, so that a
// reader sees one state of things (seq_file in Linux). Write is called for each write(2) with all its bytes.
type DynFile struct {
	DynOwner
	Read  func(caller any) ([]byte, error)
	Write func(caller any, p []byte) error // nil = EACCES at open
}

// DynLink is a symbolic link; Follow makes it a magic one.
type DynLink struct {
	Read   func(caller any) (string, error)
	To     func(caller any) (Target, error) // nil = follow Read's text
	UID    uint32
	GID    uint32
	Target string // used when Read is nil
}

// DynNode is a device, FIFO or socket: Mode with type.
type DynNode struct {
	Mode     uint32
	UID, GID uint32
	Rdev     uint64
}

func (*DynDir) dynamic()  {}
func (*DynFile) dynamic() {}
func (*DynLink) dynamic() {}
func (*DynNode) dynamic() {}

// NewDynamic makes one; kind is the name in /proc/mounts, magic a Magic… constant. Times are when it was made.
func NewDynamic(kind string, magic uint64, clock Clock, root *DynDir) *Dynamic {
	fs := &Dynamic{kind: kind, magic: magic, clock: clock, born: clock.now()}
	fs.root = &dynDir{dynBase: dynBase{fs: fs, ino: 1}, spec: root}
	return fs
}

// Root is the top directory.
func (fs *Dynamic) Root() Node { return fs.root }

// Type is the kind.
func (fs *Dynamic) Type() string { return fs.kind }

// Statfs has no sizes.
func (fs *Dynamic) Statfs() Statfs {
	return Statfs{Type: fs.magic, Bsize: BlockSize, Namelen: NameMax, Unlimited: true}
}

type dynBase struct {
	fs  *Dynamic
	ino uint64
}

func (b dynBase) stat(mode uint32, o DynOwner) Stat {
	if o.Owner != nil {
		o.UID, o.GID = o.Owner()
	}
	return Stat{Ino: b.ino, Mode: mode, Nlink: 1, UID: o.UID, GID: o.GID, Blksize: 1024, Atim: b.fs.born, Mtim: b.fs.born, Ctim: b.fs.born}
}

// SetAttr is refused; times are ignored, as touch and tar set them on the way.
func (b dynBase) SetAttr(a Attr) error {
	if a.Set&^(AttrAtim|AttrMtim) == 0 {
		return nil
	}
	return syscall.EPERM
}

type dynDir struct {
	dynBase
	spec   *DynDir
	parent *dynDir
	name   string

	mu    sync.Mutex
	fixed map[string]Node // guarded by mu; nodes of spec.Static, made once
}

func (d *dynDir) Stat() Stat {
	perm := d.spec.Perm
	if perm == 0 {
		perm = 0o555
	}
	st := d.stat(ModeDir|perm, d.spec.DynOwner)
	st.Nlink = 2
	return st
}

func (d *dynDir) Up() (Dir, string) {
	if d.parent == nil {
		return nil, ""
	}
	return d.parent, d.name
}

// Lookup finds without a caller.
func (d *dynDir) Lookup(name string) (Node, error) { return d.LookupFor(nil, name) }

// LookupFor finds what caller sees under name.
func (d *dynDir) LookupFor(caller any, name string) (Node, error) {
	if e, ok := d.spec.Static[name]; ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		n, ok := d.fixed[name]
		if !ok {
			n = d.wrap(name, e)
			if d.fixed == nil {
				d.fixed = map[string]Node{}
			}
			d.fixed[name] = n
		}
		return n, nil
	}
	if d.spec.Lookup != nil {
		if e := d.spec.Lookup(caller, name); e != nil {
			return d.wrap(name, e), nil
		}
	}
	return nil, syscall.ENOENT
}

func (d *dynDir) inoOf(name string) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for i := range b {
		b[i] = byte(d.ino >> (8 * i))
	}
	h.Write(b[:])
	io.WriteString(h, name)
	return h.Sum64()>>16 | 1<<47 // small enough for every reader, never 0 or the root's
}

func (d *dynDir) wrap(name string, e DynEntry) Node {
	b := dynBase{fs: d.fs, ino: d.inoOf(name)}
	switch e := e.(type) {
	case *DynDir:
		return &dynDir{dynBase: b, spec: e, parent: d, name: name}
	case *DynFile:
		return &dynFile{b, e}
	case *DynLink:
		if e.To != nil {
			return &dynMagic{dynLink{b, e}}
		}
		return &dynLink{b, e}
	case *DynNode:
		return &dynNode{b, e}
	}
	panic("vfs: not a DynEntry")
}

func typeOf(e DynEntry) uint32 {
	switch e := e.(type) {
	case *DynDir:
		return ModeDir
	case *DynLink:
		return ModeSymlink
	case *DynNode:
		return e.Mode & ModeType
	}
	return ModeRegular
}

// List is the fixed entries by name and then Names.
func (d *dynDir) List() ([]DirEntry, error) {
	names := make([]string, 0, len(d.spec.Static))
	for n := range d.spec.Static {
		names = append(names, n)
	}
	slices.Sort(names)
	l := make([]DirEntry, 0, len(names))
	for _, n := range names {
		l = append(l, DirEntry{n, d.inoOf(n), typeOf(d.spec.Static[n])})
	}
	if d.spec.Names != nil && d.spec.Lookup != nil {
		for _, n := range d.spec.Names() {
			if e := d.spec.Lookup(nil, n); e != nil {
				l = append(l, DirEntry{n, d.inoOf(n), typeOf(e)})
			}
		}
	}
	return l, nil
}

// Create makes directories where the spec can.
func (d *dynDir) Create(name string, n NewNode) (Node, error) {
	if n.Mode&ModeType != ModeDir || d.spec.Mkdir == nil {
		return nil, syscall.EPERM
	}
	if err := d.spec.Mkdir(nil, name); err != nil {
		return nil, err
	}
	return d.Lookup(name)
}

// Link is refused.
func (d *dynDir) Link(string, Node) error { return syscall.EPERM }

// Remove removes directories where the spec can.
func (d *dynDir) Remove(name string, dir bool, may func(Stat) error) error {
	n, err := d.Lookup(name)
	if err != nil {
		return err
	}
	if err := may(n.Stat()); err != nil {
		return err
	}
	_, isDir := n.(Dir)
	switch {
	case isDir && !dir:
		return syscall.EISDIR
	case !isDir && dir:
		return syscall.ENOTDIR
	case !isDir || d.spec.Rmdir == nil:
		return syscall.EPERM
	}
	return d.spec.Rmdir(nil, name)
}

// Rename is refused.
func (d *dynDir) Rename(string, DirWriter, string, int, func(Stat, *Stat) error) error {
	return syscall.EPERM
}

type dynFile struct {
	dynBase
	spec *DynFile
}

func (f *dynFile) Stat() Stat {
	perm := f.spec.Perm
	if perm == 0 {
		perm = 0o444
		if f.spec.Write != nil {
			perm = 0o644
		}
	}
	return f.stat(ModeRegular|perm, f.spec.DynOwner)
}

func (f *dynFile) Open(flags int) (Handle, error) { return f.OpenFor(nil, flags) }

// OpenFor opens for caller.
func (f *dynFile) OpenFor(caller any, flags int) (Handle, error) {
	write := flags&O_ACCMODE != O_RDONLY || flags&O_TRUNC != 0
	if write && f.spec.Write == nil {
		return nil, syscall.EACCES
	}
	return &dynHandle{f: f, caller: caller}, nil
}

type dynHandle struct {
	f      *dynFile
	caller any

	mu   sync.Mutex
	text []byte // guarded by mu
	made bool   // guarded by mu
}

func (h *dynHandle) ReadAt(p []byte, off int64) (int, error) {
	if h.f.spec.Read == nil {
		return 0, syscall.EINVAL
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if off == 0 || !h.made {
		t, err := h.f.spec.Read(h.caller)
		if err != nil {
			return 0, err
		}
		h.text, h.made = t, true
	}
	if off >= int64(len(h.text)) {
		return 0, io.EOF
	}
	n := copy(p, h.text[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *dynHandle) WriteAt(p []byte, _ int64) (int, error) {
	if h.f.spec.Write == nil {
		return 0, syscall.EBADF
	}
	if err := h.f.spec.Write(h.caller, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (h *dynHandle) Append(p []byte) (int, int64, error) {
	n, err := h.WriteAt(p, 0)
	return n, 0, err
}

func (h *dynHandle) Truncate(int64) error { return nil }
func (h *dynHandle) Close() error         { return nil }

type dynLink struct {
	dynBase
	spec *DynLink
}

func (l *dynLink) Stat() Stat {
	st := l.stat(ModeSymlink|0o777, DynOwner{UID: l.spec.UID, GID: l.spec.GID})
	st.Size = int64(len(l.spec.Target))
	return st
}

func (l *dynLink) Readlink(caller any) (string, error) {
	if l.spec.Read == nil {
		return l.spec.Target, nil
	}
	return l.spec.Read(caller)
}

type dynMagic struct{ dynLink }

func (l *dynMagic) Follow(caller any) (Target, error) { return l.spec.To(caller) }

type dynNode struct {
	dynBase
	spec *DynNode
}

func (n *dynNode) Stat() Stat {
	st := n.stat(n.spec.Mode, DynOwner{UID: n.spec.UID, GID: n.spec.GID})
	st.Rdev = n.spec.Rdev
	return st
}

// CallerFile is a Regular whose contents depend on who opens it.
type CallerFile interface {
	Regular
	OpenFor(caller any, flags int) (Handle, error)
}

// CallerDir is a Dir whose entries depend on who looks.
type CallerDir interface {
	Dir
	LookupFor(caller any, name string) (Node, error)
}
