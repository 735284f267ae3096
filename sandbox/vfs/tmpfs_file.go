package vfs

import (
	"io"
	"sync/atomic"
	"syscall"
)

// chunkSize is the unit in which file data is kept: small files take a slice of their size, holes nothing.
const chunkSize = 64 << 10

// MaxFileSize bounds one file: EFBIG.
const MaxFileSize = 1 << 40

// memFile is a regular file: immutable bytes below (of an image layer, when an overlay copied the file up) and chunks
// written on top of them. A nil chunk shows what is below, zeros where there is nothing.
type memFile struct {
	memNode
	size   int64            // guarded by fs.mu
	chunks map[int64][]byte // guarded by fs.mu; each ≤ chunkSize long, bytes beyond its length read as what is below
	below  []byte           // guarded by fs.mu; cut when the file was truncated shorter
	origin Immutable        // guarded by fs.mu; whose bytes below are while the file is exactly that, else nil
	blocks int64            // guarded by fs.mu; charged bytes of chunks
	opens  int              // guarded by fs.mu
	reaped bool             // guarded by fs.mu
}

// Stat adds size and blocks.
func (f *memFile) Stat() Stat {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	return f.statLocked()
}

func (f *memFile) statLocked() Stat {
	st := f.memNode.statLocked()
	st.Size = f.size
	st.Blocks = f.blocks / 512
	if f.blocks == 0 && len(f.below) > 0 {
		st.Blocks = (int64(len(f.below)) + BlockSize - 1) / BlockSize * (BlockSize / 512)
	}
	return st
}

// Open gives a handle. ENOENT when the last name went and nobody has it open.
func (f *memFile) Open(flags int) (Handle, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.reaped {
		return nil, syscall.ENOENT
	}
	if flags&O_TRUNC != 0 {
		if err := f.truncateLocked(0); err != nil {
			return nil, err
		}
	}
	f.opens++
	return &memHandle{f: f}, nil
}

// reapLocked gives back what a file without names and openings was charged.
func (f *memFile) reapLocked() {
	if f.nlink > 0 || f.opens > 0 || f.reaped {
		return
	}
	f.reaped = true
	_ = f.fs.chargeLocked(-f.blocks, -1, 0)
	f.chunks, f.below, f.blocks = nil, nil, 0
}

func (f *memFile) readLocked(p []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	n := len(p)
	if int64(n) > f.size-off {
		n = int(f.size - off)
	}
	for done := 0; done < n; {
		at := off + int64(done)
		i, in := at/chunkSize, int(at%chunkSize)
		piece := p[done:min(n, done+chunkSize-in)]
		c := f.chunks[i]
		copied := 0
		if in < len(c) {
			copied = copy(piece, c[in:])
		}
		f.readBelow(piece[copied:], at+int64(copied))
		done += len(piece)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readBelow fills p with what no chunk covers.
func (f *memFile) readBelow(p []byte, off int64) {
	n := 0
	if off < int64(len(f.below)) {
		n = copy(p, f.below[off:])
	}
	clear(p[n:])
}

func blocksOf(n int) int64 { return (int64(n) + BlockSize - 1) / BlockSize * BlockSize }

// chunkLocked is chunk i, at least need bytes long, charged. A new length is filled from below.
func (f *memFile) chunkLocked(i int64, need int) ([]byte, error) {
	c := f.chunks[i]
	if len(c) >= need {
		return c, nil
	}
	delta := blocksOf(need) - blocksOf(len(c))
	if delta > 0 {
		if err := f.fs.chargeLocked(delta, 0, 0); err != nil {
			return nil, err
		}
		f.blocks += delta
	}
	had := len(c)
	if need > cap(c) {
		grown := make([]byte, had, min(chunkSize, max(need, 2*cap(c))))
		copy(grown, c)
		c = grown
	}
	c = c[:need]
	f.readBelow(c[had:], i*chunkSize+int64(had))
	if f.chunks == nil {
		f.chunks = map[int64][]byte{}
	}
	f.chunks[i] = c
	return c, nil
}

func (f *memFile) writeLocked(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if off > MaxFileSize-int64(len(p)) {
		return 0, syscall.EFBIG
	}
	f.origin = nil
	done := 0
	var err error
	for done < len(p) {
		at := off + int64(done)
		i, in := at/chunkSize, int(at%chunkSize)
		piece := p[done:min(len(p), done+chunkSize-in)]
		var c []byte
		if c, err = f.chunkLocked(i, in+len(piece)); err != nil {
			break
		}
		copy(c[in:], piece)
		done += len(piece)
		f.fs.noteLocked(f).wrote(i)
	}
	if done == 0 {
		return 0, err
	}
	f.size = max(f.size, off+int64(done))
	f.mtim = f.fs.opts.Clock.now()
	f.ctim = f.mtim
	return done, err
}

func (f *memFile) truncateLocked(size int64) error {
	if size > MaxFileSize {
		return syscall.EFBIG
	}
	if size < f.size {
		f.cutLocked(size)
		f.fs.noteLocked(f).cutTo(size)
	} else {
		f.fs.noteLocked(f)
	}
	if size != f.size {
		f.origin = nil
	}
	f.size = size
	f.mtim = f.fs.opts.Clock.now()
	f.ctim = f.mtim
	return nil
}

// cutLocked forgets the bytes from size on, so that a later growth shows zeros.
func (f *memFile) cutLocked(size int64) {
	if int64(len(f.below)) > size {
		f.below = f.below[:size]
	}
	var freed int64
	for i, c := range f.chunks {
		switch start := i * chunkSize; {
		case start >= size:
			freed += blocksOf(len(c))
			delete(f.chunks, i)
		case start+int64(len(c)) > size:
			keep := int(size - start)
			freed += blocksOf(len(c)) - blocksOf(keep)
			clear(c[keep:])
			f.chunks[i] = c[:keep]
		}
	}
	if freed > 0 {
		_ = f.fs.chargeLocked(-freed, 0, 0)
		f.blocks -= freed
	}
}

// memHandle is one opening of a memFile.
type memHandle struct {
	f      *memFile
	closed atomic.Bool
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	h.f.fs.mu.RLock()
	defer h.f.fs.mu.RUnlock()
	return h.f.readLocked(p, off)
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	return h.f.writeLocked(p, off)
}

func (h *memHandle) Append(p []byte) (int, int64, error) {
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	off := h.f.size
	n, err := h.f.writeLocked(p, off)
	return n, off, err
}

func (h *memHandle) Truncate(size int64) error {
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	return h.f.truncateLocked(size)
}

func (h *memHandle) Close() error {
	if h.closed.Swap(true) {
		return syscall.EBADF
	}
	h.f.fs.mu.Lock()
	defer h.f.fs.mu.Unlock()
	h.f.opens--
	h.f.reapLocked()
	return nil
}

// Content is the file's bytes while it is exactly an immutable one.
func (h *memHandle) Content() ([]byte, string, bool) {
	if _, origin := h.shared(); origin != nil {
		return origin.Content()
	}
	return nil, "", false
}

// sharer is a Handle of a file whose bytes others may refer to for good.
type sharer interface {
	shared() (data []byte, origin Immutable)
}

func (h *memHandle) shared() ([]byte, Immutable) {
	h.f.fs.mu.RLock()
	defer h.f.fs.mu.RUnlock()
	return h.f.below, h.f.origin
}

// CreateShared enters a regular file that shows the bytes of an open immutable File until it is written to, as an overlay does when it copies up.
// The bytes are not charged, only what is written over them. EINVAL when src may change, EXDEV, EEXIST.
func (fs *Tmpfs) CreateShared(dir Dir, name string, n NewNode, src *File) (Node, error) {
	d, ok := dir.(*memDir)
	if !ok || d.fs != fs {
		return nil, syscall.EXDEV
	}
	sh, ok := src.h.(sharer)
	if !ok {
		return nil, syscall.EINVAL
	}
	data, origin := sh.shared()
	if origin == nil {
		return nil, syscall.EINVAL
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n.Mode = ModeRegular | n.Mode&ModePerm
	c, err := d.createLocked(name, n)
	if err != nil {
		return nil, err
	}
	f := c.(*memFile)
	f.shareLocked(data, origin)
	return f, nil
}

// shareLocked has a new file show the bytes of an immutable one.
func (f *memFile) shareLocked(data []byte, origin Immutable) {
	f.below, f.size, f.origin = data, int64(len(data)), origin
	f.fs.noteLocked(f).showed()
}
