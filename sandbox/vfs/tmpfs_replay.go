package vfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// TmpfsReplay makes a Tmpfs again from the records of its Flushes and Snapshots, in their order.
type TmpfsReplay struct {
	nodes   map[uint64]*replayed
	pending []func() // names and attributes of a Flush whose last record is missing
}

// replayed is an inode on its way back.
type replayed struct {
	base    memNode // without fs and self
	size    int64
	target  string
	opaque  bool
	below   []byte
	chunks  map[int64][]byte
	entries map[string]uint64
}

// NewTmpfsReplay begins with an empty file system.
func NewTmpfsReplay() *TmpfsReplay { return &TmpfsReplay{nodes: map[uint64]*replayed{}} }

// ErrReplay is wrapped by what Add says of something that is no record of a Tmpfs.
var ErrReplay = errors.New("not a record of a file system")

// Add applies one record. ErrReplay; what was read of the record before stays.
func (r *TmpfsReplay) Add(record []byte) error {
	d := &fields{rest: record}
	last := d.bytes(1)
	for len(d.rest) > 0 && !d.short {
		if err := r.op(d); err != nil {
			return err
		}
	}
	if d.short {
		return fmt.Errorf("%w: it ends too early", ErrReplay)
	}
	if last[0] == 1 {
		for _, f := range r.pending {
			f()
		}
		r.pending = nil
	}
	return nil
}

func (r *TmpfsReplay) node(ino uint64) *replayed {
	n := r.nodes[ino]
	if n == nil {
		n = &replayed{base: memNode{ino: ino, mode: ModeRegular}}
		r.nodes[ino] = n
	}
	return n
}

func (r *TmpfsReplay) op(d *fields) error {
	letter, ino := d.bytes(1), d.number()
	if d.short {
		return nil
	}
	n := r.node(ino)
	switch letter[0] {
	case opCut:
		n.cut(int64(min(d.number(), MaxFileSize)))
	case opBelow:
		if off, p := d.number(), d.string(); off == uint64(len(n.below)) {
			n.below = append(n.below, p...)
		} // else: it was cut, and shown again from the beginning by a later Flush
	case opChunk:
		i, p := d.number(), d.string()
		if len(p) > chunkSize || i > MaxFileSize/chunkSize {
			return fmt.Errorf("%w: chunk %d of %d bytes", ErrReplay, i, len(p))
		}
		if n.chunks == nil {
			n.chunks = map[int64][]byte{}
		}
		n.chunks[int64(i)] = []byte(p)
	case opNode:
		r.attributes(n, d)
	case opName:
		name, child := d.string(), d.number()
		r.pending = append(r.pending, func() {
			if n.entries == nil {
				n.entries = map[string]uint64{}
			}
			if n.entries[name] = child; child == 0 {
				delete(n.entries, name)
			}
		})
	default:
		return fmt.Errorf("%w: %q", ErrReplay, letter)
	}
	return nil
}

func (n *replayed) cut(size int64) {
	if int64(len(n.below)) > size {
		n.below = n.below[:size]
	}
	for i, c := range n.chunks {
		switch start := i * chunkSize; {
		case start >= size:
			delete(n.chunks, i)
		case start+int64(len(c)) > size:
			n.chunks[i] = c[:size-start]
		}
	}
}

func (r *TmpfsReplay) attributes(n *replayed, d *fields) {
	now := *n
	b := &now.base
	b.mode, b.uid, b.gid, b.rdev = uint32(d.number()), uint32(d.number()), uint32(d.number()), d.number()
	b.atim, b.mtim, b.ctim = d.varint(), d.varint(), d.varint()
	switch b.mode & ModeType {
	case ModeDir:
		now.opaque = d.number() != 0
	case ModeRegular:
		now.size = int64(min(d.number(), MaxFileSize))
	case ModeSymlink:
		now.target = d.string()
	}
	r.pending = append(r.pending, func() { n.base, n.size, n.target, n.opaque = now.base, now.size, now.target, now.opaque })
}

// Tmpfs ends the replay: the file system as of the last whole Flush. What it takes is charged as far as the Charger lets it; nothing is
// left out for that. Inodes without a name are forgotten.
func (r *TmpfsReplay) Tmpfs(o TmpfsOptions) *Tmpfs {
	dirty := o.Dirty
	o.Dirty = nil
	fs := NewTmpfs(o)
	build := &rebuilding{r: r, fs: fs, made: map[uint64]memInode{1: fs.root}}
	if top := r.nodes[1]; top != nil && top.base.mode&ModeType == ModeDir {
		build.attributes(&fs.root.memNode, top)
		fs.root.opaque = top.opaque
		for dirs := []*memDir{fs.root}; len(dirs) > 0; dirs = dirs[1:] {
			dirs = append(dirs, build.fill(dirs[0])...)
		}
	}
	fs.inodes, fs.blocks = int64(len(build.made))-build.whiteouts, build.blocks
	if sum := fs.blocks + (fs.inodes-1)*inodeCharge + build.names; o.Charger == nil || o.Charger.Charge(sum) == nil {
		fs.charged = sum
	}
	fs.opts.Dirty = dirty
	return fs
}

// rebuilding makes inodes of what was replayed.
type rebuilding struct {
	r             *TmpfsReplay
	fs            *Tmpfs
	made          map[uint64]memInode
	blocks, names int64
	whiteouts     int64 // which are not charged
}

// attributes takes over what is kept of any inode but its number of names, which counts itself.
func (b *rebuilding) attributes(n *memNode, from *replayed) {
	self, links := n.self, n.nlink
	*n = from.base
	n.fs, n.self, n.nlink = b.fs, self, links
	b.fs.nextIno = max(b.fs.nextIno, n.ino)
}

// fill enters a directory's names and returns its new directories.
func (b *rebuilding) fill(d *memDir) (dirs []*memDir) {
	from := b.r.nodes[d.ino]
	for _, name := range slices.Sorted(maps.Keys(from.entries)) {
		ino := from.entries[name]
		n := b.made[ino]
		if _, twice := n.(*memDir); twice || b.r.nodes[ino] == nil {
			continue
		}
		if n == nil {
			n = b.inode(b.r.nodes[ino])
		}
		if d.entries == nil {
			d.entries = map[string]memInode{}
		}
		d.entries[name] = n
		if isWhiteout(n) {
			b.whiteouts++
			n.base().nlink = 1
			continue
		}
		b.names += int64(len(name))
		if sub, ok := n.(*memDir); ok {
			sub.parent, sub.name = d, name
			d.subdirs++
			dirs = append(dirs, sub)
			continue
		}
		n.base().nlink++
	}
	return dirs
}

func (b *rebuilding) inode(from *replayed) memInode {
	var n memInode
	switch from.base.mode & ModeType {
	case ModeDir:
		n = &memDir{memNode: memNode{nlink: 2}, opaque: from.opaque}
	case ModeSymlink:
		n = &memLink{target: from.target}
		b.names += int64(len(from.target))
	case ModeRegular:
		f := &memFile{size: from.size, chunks: from.chunks, below: from.below}
		for _, c := range f.chunks {
			f.blocks += blocksOf(len(c))
		}
		b.blocks += f.blocks
		n = f
	default:
		n = &memNode{}
	}
	n.base().self = n
	b.attributes(n.base(), from)
	b.made[from.base.ino] = n
	return n
}

// fields reads a record.
type fields struct {
	rest  []byte
	short bool
}

func (d *fields) number() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.short, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *fields) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.short, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *fields) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return make([]byte, min(n, 1))
	}
	p := d.rest[:n]
	d.rest = d.rest[n:]
	return p
}

func (d *fields) string() string { return string(d.bytes(d.number())) }
