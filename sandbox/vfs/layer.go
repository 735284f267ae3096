package vfs

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Layer is an immutable tree whose files' bytes are slices of somebody's blob: one layer of an image, parsed once and mounted by
// any number of labs. It remembers whiteouts and opaque directories (OCI image layer specification, "Whiteouts") for an
// Overlay; looked at by itself it doesn't show them.
type Layer struct {
	root *layerDir
	size int64 // bytes of all files
	n    int   // nodes
}

// Root is the top directory.
func (l *Layer) Root() Node { return l.root }

// Type is "erofs", the read-only file system in Linux that such layers are.
func (l *Layer) Type() string { return "erofs" }

// Size is the sum of the files' bytes and the number of nodes.
func (l *Layer) Size() (bytes int64, nodes int) { return l.size, l.n }

// Statfs is a full file system of the layer's size.
func (l *Layer) Statfs() Statfs {
	return Statfs{Type: MagicLayer, Bsize: BlockSize, Blocks: uint64(l.size+BlockSize-1) / BlockSize, Files: uint64(l.n), Namelen: NameMax, ReadOnly: true}
}

// layerNode and all below it is immutable once the Layer is built.
type layerNode struct {
	ino      uint64
	mode     uint32
	nlink    uint32
	uid, gid uint32
	rdev     uint64
	mtim     int64
}

func (n *layerNode) Stat() Stat {
	return Stat{Ino: n.ino, Mode: n.mode, Nlink: n.nlink, UID: n.uid, GID: n.gid, Rdev: n.rdev, Blksize: BlockSize, Atim: n.mtim, Mtim: n.mtim, Ctim: n.mtim}
}

func (n *layerNode) SetAttr(Attr) error { return syscall.EROFS }

func (n *layerNode) node() *layerNode { return n }

type layerInode interface {
	Node
	node() *layerNode
}

type layerFile struct {
	layerNode
	data   []byte
	once   sync.Once // computes digest when nobody gave it
	digest string    // after once
}

func (f *layerFile) Stat() Stat {
	st := f.layerNode.Stat()
	st.Size = int64(len(f.data))
	st.Blocks = blocksOf(len(f.data)) / 512
	return st
}

func (f *layerFile) Open(flags int) (Handle, error) {
	if flags&O_ACCMODE != O_RDONLY || flags&O_TRUNC != 0 {
		return nil, syscall.EROFS
	}
	return layerHandle{f}, nil
}

func (f *layerFile) Content() ([]byte, string, bool) {
	f.once.Do(func() {
		if f.digest == "" {
			sum := sha256.Sum256(f.data)
			f.digest = "sha256:" + hex.EncodeToString(sum[:])
		}
	})
	return f.data, f.digest, true
}

type layerHandle struct{ f *layerFile }

func (h layerHandle) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h layerHandle) WriteAt([]byte, int64) (int, error)        { return 0, syscall.EBADF }
func (h layerHandle) Append([]byte) (int, int64, error)         { return 0, 0, syscall.EBADF }
func (h layerHandle) Truncate(int64) error                      { return syscall.EINVAL }
func (h layerHandle) Close() error                              { return nil }
func (h layerHandle) Content() (data []byte, d string, ok bool) { return h.f.Content() }
func (h layerHandle) shared() ([]byte, Immutable)               { return h.f.data, h.f }

type layerLink struct {
	layerNode
	target string
}

func (l *layerLink) Stat() Stat {
	st := l.layerNode.Stat()
	st.Size = int64(len(l.target))
	return st
}

func (l *layerLink) Readlink(any) (string, error) { return l.target, nil }

type layerDir struct {
	layerNode
	parent    *layerDir
	name      string
	entries   map[string]layerInode
	whiteouts map[string]bool
	opaque    bool
}

func (d *layerDir) Lookup(name string) (Node, error) {
	if n, ok := d.entries[name]; ok {
		return n, nil
	}
	return nil, syscall.ENOENT
}

func (d *layerDir) List() ([]DirEntry, error) {
	l := make([]DirEntry, 0, len(d.entries))
	for name, n := range d.entries {
		l = append(l, DirEntry{name, n.node().ino, n.node().mode & ModeType})
	}
	sortEntries(l)
	return l, nil
}

func (d *layerDir) Up() (Dir, string) {
	if d.parent == nil {
		return nil, ""
	}
	return d.parent, d.name
}

func (d *layerDir) hides(name string) bool { return d.whiteouts[name] }
func (d *layerDir) hidesAll() bool         { return d.opaque }

// LayerAttr is what an archive says of an entry. Mtim is nanoseconds since 1970.
type LayerAttr struct {
	Mode     uint32 // permissions
	UID, GID uint32
	Mtim     int64
}

// LayerBuilder makes a Layer. Paths are relative, slash-separated, without "." and ".." ("" is the root): the caller
// cleans them. Missing parents are made as root's with 0755. An entry of the same name replaces an earlier one, as when an archive is
// unpacked; a directory over a directory changes its attributes only.
type LayerBuilder struct {
	l       *Layer
	nextIno uint64
}

// NewLayerBuilder starts with an empty root.
func NewLayerBuilder() *LayerBuilder {
	b := &LayerBuilder{l: &Layer{}}
	b.l.root = &layerDir{}
	b.init(&b.l.root.layerNode, ModeDir, LayerAttr{Mode: 0o755})
	b.l.root.nlink = 2
	return b
}

func (b *LayerBuilder) init(n *layerNode, kind uint32, a LayerAttr) {
	b.nextIno++
	*n = layerNode{ino: b.nextIno, mode: kind | a.Mode&ModePerm, nlink: 1, uid: a.UID, gid: a.GID, mtim: a.Mtim}
}

// Layer ends building.
func (b *LayerBuilder) Layer() *Layer {
	b.l.n = int(b.nextIno)
	return b.l
}

// place is the directory for path's last name. ENOTDIR when a parent is a file of this layer, ENAMETOOLONG.
func (b *LayerBuilder) place(path string) (*layerDir, string, error) {
	d := b.l.root
	for depth := 0; ; depth++ {
		name, rest, more := strings.Cut(path, "/")
		switch {
		case name == "" || name == "." || name == "..":
			return nil, "", syscall.EINVAL
		case len(name) > NameMax || depth > MaxDepth:
			return nil, "", syscall.ENAMETOOLONG
		}
		if !more {
			return d, name, nil
		}
		sub, ok := d.entries[name].(*layerDir)
		if !ok {
			if d.entries[name] != nil {
				return nil, "", syscall.ENOTDIR
			}
			sub = &layerDir{}
			b.init(&sub.layerNode, ModeDir, LayerAttr{Mode: 0o755})
			b.put(d, name, sub)
		}
		d, path = sub, rest
	}
}

func (b *LayerBuilder) put(d *layerDir, name string, n layerInode) {
	if old, ok := d.entries[name]; ok {
		old.node().nlink--
		if f, ok := old.(*layerFile); ok && f.nlink == 0 {
			b.l.size -= int64(len(f.data))
		}
		if _, ok := old.(*layerDir); ok {
			d.nlink--
		}
	}
	if d.entries == nil {
		d.entries = map[string]layerInode{}
	}
	d.entries[name] = n
	if sub, ok := n.(*layerDir); ok {
		sub.parent, sub.name, sub.nlink = d, name, 2
		d.nlink++
	}
}

// Dir adds a directory or changes one's attributes.
func (b *LayerBuilder) Dir(path string, a LayerAttr) error {
	d := b.l.root
	if path != "" {
		up, name, err := b.place(path)
		if err != nil {
			return err
		}
		var ok bool
		if d, ok = up.entries[name].(*layerDir); !ok {
			d = &layerDir{}
			b.init(&d.layerNode, ModeDir, a)
			b.put(up, name, d)
			return nil
		}
	}
	d.mode, d.uid, d.gid, d.mtim = ModeDir|a.Mode&ModePerm, a.UID, a.GID, a.Mtim
	return nil
}

// File adds a regular file over data, which is shared and never written to. digest is "sha256:…" of it if the caller knows;
// "" has it computed when somebody asks. It decides which compiled program runs, so it must never be a stranger's word.
func (b *LayerBuilder) File(path string, a LayerAttr, data []byte, digest string) error {
	f := &layerFile{data: data, digest: digest}
	b.l.size += int64(len(data))
	return b.add(path, &f.layerNode, f, ModeRegular, a)
}

// Symlink adds a symbolic link.
func (b *LayerBuilder) Symlink(path string, a LayerAttr, target string) error {
	l := &layerLink{target: target}
	a.Mode = 0o777
	return b.add(path, &l.layerNode, l, ModeSymlink, a)
}

// Node adds a device, FIFO or socket: kind is its ModeType.
func (b *LayerBuilder) Node(path string, a LayerAttr, kind uint32, rdev uint64) error {
	n := &layerNode{}
	err := b.add(path, n, n, kind, a)
	n.rdev = rdev
	return err
}

func (b *LayerBuilder) add(path string, n *layerNode, i layerInode, kind uint32, a LayerAttr) error {
	d, name, err := b.place(path)
	if err != nil {
		return err
	}
	b.init(n, kind, a)
	b.put(d, name, i)
	return nil
}

// Link adds another name for what is at old in this layer. ENOENT, EPERM for directories.
func (b *LayerBuilder) Link(path, old string) error {
	n, err := b.find(old)
	if err != nil {
		return err
	}
	if _, dir := n.(*layerDir); dir {
		return syscall.EPERM
	}
	d, name, err := b.place(path)
	if err != nil {
		return err
	}
	if d.entries[name] == n {
		return nil
	}
	n.node().nlink++
	b.put(d, name, n)
	return nil
}

func (b *LayerBuilder) find(path string) (layerInode, error) {
	var n layerInode = b.l.root
	for name := range strings.SplitSeq(path, "/") {
		d, ok := n.(*layerDir)
		if !ok {
			return nil, syscall.ENOTDIR
		}
		if n, ok = d.entries[name]; !ok {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// Whiteout hides name of the layers below.
func (b *LayerBuilder) Whiteout(path string) error {
	d, name, err := b.place(path)
	if err != nil {
		return err
	}
	if d.whiteouts == nil {
		d.whiteouts = map[string]bool{}
	}
	d.whiteouts[name] = true
	return nil
}

// Opaque hides everything that the layers below have in a directory, which is made if it is missing.
func (b *LayerBuilder) Opaque(path string) error {
	if path == "" {
		b.l.root.opaque = true
		return nil
	}
	up, name, err := b.place(path)
	if err != nil {
		return err
	}
	d, ok := up.entries[name].(*layerDir)
	if !ok {
		if up.entries[name] != nil {
			return syscall.ENOTDIR
		}
		d = &layerDir{}
		b.init(&d.layerNode, ModeDir, LayerAttr{Mode: 0o755})
		b.put(up, name, d)
	}
	d.opaque = true
	return nil
}

// Files calls fn with every regular file of the layer, directory by directory, by name.
func (l *Layer) Files(fn func(path string, data []byte)) {
	type item struct {
		path string
		d    *layerDir
	}
	for todo := []item{{"", l.root}}; len(todo) > 0; {
		it := todo[0]
		todo = todo[1:]
		names := make([]string, 0, len(it.d.entries))
		for n := range it.d.entries {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, name := range names {
			switch n := it.d.entries[name].(type) {
			case *layerDir:
				todo = append(todo, item{it.path + name + "/", n})
			case *layerFile:
				fn(it.path+name, n.data)
			}
		}
	}
}
