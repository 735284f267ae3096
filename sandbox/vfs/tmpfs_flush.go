package vfs

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// changes is what Flush has to write, by inode.
type changes map[memInode]*change

// change is what is new of an inode since the last Flush, beside its attributes. Its methods take nil for a file system that notes nothing.
type change struct {
	cut    int64              // the shortest that a file was cut to, -1: it was not
	below  bool               // it got immutable bytes to show
	chunks map[int64]struct{} // that were written to
	names  map[string]struct{}
}

// noteLocked notes that an inode's attributes, at least, are others.
func (fs *Tmpfs) noteLocked(n memInode) *change {
	if fs.opts.Dirty == nil || fs.closed {
		return nil
	}
	c := fs.dirty[n]
	if c != nil {
		return c
	}
	if fs.dirty == nil {
		fs.dirty = changes{}
		fs.opts.Dirty()
	}
	c = &change{cut: -1}
	fs.dirty[n] = c
	return c
}

func (c *change) name(name string) {
	if c == nil {
		return
	}
	if c.names == nil {
		c.names = map[string]struct{}{}
	}
	c.names[name] = struct{}{}
}

func (c *change) wrote(chunk int64) {
	if c == nil {
		return
	}
	if c.chunks == nil {
		c.chunks = map[int64]struct{}{}
	}
	c.chunks[chunk] = struct{}{}
}

func (c *change) cutTo(size int64) {
	if c == nil {
		return
	}
	if c.cut < 0 || size < c.cut {
		c.cut = size
	}
	maps.DeleteFunc(c.chunks, func(i int64, _ struct{}) bool { return i*chunkSize >= size })
}

func (c *change) showed() {
	if c != nil {
		c.below = true
	}
}

// join adds an earlier change of the same inode.
func (c *change) join(o *change) {
	if o.cut >= 0 && (c.cut < 0 || o.cut < c.cut) {
		c.cut = o.cut
	}
	c.below = c.below || o.below
	for i := range o.chunks {
		c.wrote(i)
	}
	for n := range o.names {
		c.name(n)
	}
}

// The letters of what a record holds, each with the inode's number.
const (
	opCut   = 'T' // size: bytes from there on are zeros
	opBelow = 'B' // offset, bytes: a piece of the immutable bytes that it shows
	opChunk = 'C' // index, bytes: a chunk as it is
	opNode  = 'N' // mode, uid, gid, device, times, opaque, size or target
	opName  = 'E' // name, inode's number, 0: the name is gone
)

// recordBytes is about how long a record gets.
const recordBytes = 1 << 20

// Flush gives emit the changes since the last Flush, as records that a TmpfsReplay makes the file system of again: data in any number of
// records first, then names and attributes, which take effect together with the last one. The records are valid during emit. Writers go on
// meanwhile; what they do is the next Flush's. With an error of emit nothing is forgotten: the next Flush begins anew.
func (fs *Tmpfs) Flush(emit func(record []byte) error) error {
	fs.mu.Lock()
	set := fs.dirty
	fs.dirty = nil
	fs.mu.Unlock()
	if len(set) == 0 {
		return nil
	}
	err := fs.flush(set, emit)
	if err != nil {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		for n, c := range set {
			if now := fs.noteLocked(n); now != nil {
				now.join(c)
			}
		}
	}
	return err
}

// Snapshot gives emit all of the file system, as Flush gives changes. What is dirty stays so.
func (fs *Tmpfs) Snapshot(emit func(record []byte) error) error {
	set := changes{}
	fs.mu.RLock()
	dirs := []*memDir{fs.root}
	set[fs.root] = everythingLocked(fs.root)
	for len(dirs) > 0 {
		d := dirs[0]
		dirs = dirs[1:]
		for _, n := range d.entries {
			set[n] = everythingLocked(n)
			if sub, ok := n.(*memDir); ok {
				dirs = append(dirs, sub)
			}
		}
	}
	fs.mu.RUnlock()
	return fs.flush(set, emit)
}

func everythingLocked(n memInode) *change {
	c := &change{cut: -1}
	switch n := n.(type) {
	case *memDir:
		for name := range n.entries {
			c.name(name)
		}
	case *memFile:
		c.below = len(n.below) > 0
		for i := range n.chunks {
			c.wrote(i)
		}
	}
	return c
}

func (fs *Tmpfs) flush(set changes, emit func([]byte) error) error {
	out := &flushing{fs: fs, emit: emit}
	nodes := slices.SortedFunc(maps.Keys(set), func(a, b memInode) int { return cmp.Compare(a.base().ino, b.base().ino) })
	for _, n := range nodes {
		if f, ok := n.(*memFile); ok {
			out.data(f, set[n])
		}
	}
	out.tree(nodes, set)
	return out.send(true)
}

// flushing writes the records of one Flush.
type flushing struct {
	fs   *Tmpfs
	emit func([]byte) error
	buf  []byte
	err  error
}

// send emits what was written; the first byte says whether it is the last record.
func (w *flushing) send(last bool) error {
	if w.err != nil {
		return w.err
	}
	if len(w.buf) == 0 {
		w.buf = append(w.buf, 0)
	}
	if last {
		w.buf[0] = 1
	}
	w.err = w.emit(w.buf)
	w.buf = w.buf[:0]
	return w.err
}

func (w *flushing) op(letter byte, ino uint64) {
	if len(w.buf) > recordBytes {
		_ = w.send(false) // kept in err
	}
	if len(w.buf) == 0 {
		w.buf = append(w.buf, 0)
	}
	w.buf = binary.AppendUvarint(append(w.buf, letter), ino)
}

func (w *flushing) number(n uint64) { w.buf = binary.AppendUvarint(w.buf, n) }
func (w *flushing) bytes(p []byte)  { w.buf = append(binary.AppendUvarint(w.buf, uint64(len(p))), p...) }
func (w *flushing) string(s string) {
	w.buf = append(binary.AppendUvarint(w.buf, uint64(len(s))), s...)
}

// data writes what is new in a file, and holds the lock for a chunk at a time.
func (w *flushing) data(f *memFile, c *change) {
	mu := &w.fs.mu
	if c.cut >= 0 {
		w.op(opCut, f.ino)
		w.number(uint64(c.cut))
	}
	for off := 0; c.below && w.err == nil; off += chunkSize {
		mu.RLock()
		below := f.below
		mu.RUnlock()
		if off >= len(below) {
			break
		}
		w.op(opBelow, f.ino)
		w.number(uint64(off))
		w.bytes(below[off:min(len(below), off+chunkSize)]) // immutable
	}
	for _, i := range slices.Sorted(maps.Keys(c.chunks)) {
		if w.err != nil {
			return
		}
		mu.RLock()
		if p, ok := f.chunks[i]; ok {
			w.op(opChunk, f.ino)
			w.number(uint64(i))
			w.bytes(p)
		}
		mu.RUnlock()
	}
}

// tree writes attributes and names as they are at one moment. An inode that got its name since the set was taken is written with it.
func (w *flushing) tree(nodes []memInode, set changes) {
	w.fs.mu.RLock()
	defer w.fs.mu.RUnlock()
	for _, n := range nodes {
		w.nodeLocked(n)
	}
	for _, n := range nodes {
		d, ok := n.(*memDir)
		if !ok {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(set[n].names)) {
			child, ino := d.entries[name], uint64(0)
			if child != nil {
				ino = child.base().ino
				if _, later := w.fs.dirty[child]; later && set[child] == nil {
					w.nodeLocked(child)
				}
			}
			w.op(opName, d.ino)
			w.string(name)
			w.number(ino)
		}
	}
}

func (w *flushing) nodeLocked(n memInode) {
	b := n.base()
	w.op(opNode, b.ino)
	for _, v := range []uint64{uint64(b.mode), uint64(b.uid), uint64(b.gid), b.rdev} {
		w.number(v)
	}
	for _, v := range []int64{b.atim, b.mtim, b.ctim} {
		w.buf = binary.AppendVarint(w.buf, v)
	}
	switch n := n.(type) {
	case *memDir:
		if n.opaque {
			w.number(1)
		} else {
			w.number(0)
		}
	case *memFile:
		w.number(uint64(n.size))
	case *memLink:
		w.string(n.target)
	}
}
