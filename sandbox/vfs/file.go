package vfs

import (
	"io"
	"sync"
	"sync/atomic"
	"syscall"
)

// File is an open file description (open(2)): shared offset and status flags. It is counted: Dup for another
// descriptor of the same description, Close once each.
type File struct {
	node  Node   // immutable
	mnt   *Mount // immutable
	at    Path   // immutable; the directory itself, or the directory the name was found in
	name  string // immutable; "" for directories
	ns    *Namespace
	h     Handle // immutable; nil for directories, devices, O_PATH
	other any    // immutable; what a magic link led to
	call  any    // immutable; the opener's View.Caller

	refs  atomic.Int32
	flags atomic.Int32

	mu      sync.Mutex
	off     int64      // guarded by mu
	listing []DirEntry // guarded by mu; snapshot that cookies index
}

// Dup takes another reference to the same description.
func (f *File) Dup() *File { f.refs.Add(1); return f }

// Close drops a reference; the last one closes. Closing too often is EBADF.
func (f *File) Close() error {
	switch n := f.refs.Add(-1); {
	case n > 0:
		return nil
	case n < 0:
		f.refs.Add(1)
		return syscall.EBADF
	}
	if f.h != nil {
		return f.h.Close()
	}
	return nil
}

// Flags are the access mode and status flags (F_GETFL).
func (f *File) Flags() int { return int(f.flags.Load()) }

// SetFlags changes O_APPEND, O_NONBLOCK and O_DSYNC (F_SETFL); other bits are ignored.
func (f *File) SetFlags(flags int) {
	const settable = O_APPEND | O_NONBLOCK | O_DSYNC
	for {
		old := f.flags.Load()
		if f.flags.CompareAndSwap(old, old&^settable|int32(flags)&settable) {
			return
		}
	}
}

func (f *File) readable() bool {
	fl := f.Flags()
	return fl&O_PATH == 0 && fl&O_ACCMODE != O_WRONLY
}

func (f *File) writable() bool {
	fl := f.Flags()
	return fl&O_PATH == 0 && fl&O_ACCMODE != O_RDONLY
}

// handle is the Handle for an operation that needs permission ok. EBADF, EISDIR, and EINVAL for nodes that have no bytes here.
func (f *File) handle(ok bool) (Handle, error) {
	switch {
	case !ok:
		if f.node != nil && f.Flags()&O_PATH == 0 {
			if _, dir := f.node.(Dir); dir {
				return nil, syscall.EISDIR
			}
		}
		return nil, syscall.EBADF
	case f.h != nil:
		return f.h, nil
	}
	if _, dir := f.node.(Dir); dir {
		return nil, syscall.EISDIR
	}
	return nil, syscall.EINVAL
}

// ReadAt is pread(2): io.EOF at the end.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	h, err := f.handle(f.readable())
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	return h.ReadAt(p, off)
}

// WriteAt is pwrite(2), which appends when O_APPEND is set, as Linux does.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	h, err := f.handle(f.writable())
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if f.Flags()&O_APPEND != 0 {
		n, _, err := h.Append(p)
		return n, err
	}
	return h.WriteAt(p, off)
}

// Read is read(2) at the shared offset: io.EOF at the end.
func (f *File) Read(p []byte) (int, error) {
	h, err := f.handle(f.readable())
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := h.ReadAt(p, f.off)
	f.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Write is write(2) at the shared offset, or at the end with O_APPEND.
func (f *File) Write(p []byte) (int, error) {
	h, err := f.handle(f.writable())
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Flags()&O_APPEND != 0 {
		n, off, err := h.Append(p)
		f.off = off + int64(n)
		return n, err
	}
	n, err := h.WriteAt(p, f.off)
	f.off += int64(n)
	return n, err
}

// Seek is lseek(2) with io.SeekStart, SeekCurrent, SeekEnd. EINVAL for a negative result, ESPIPE for FIFOs and devices.
// On a directory the offset is the cookie that ReadDirNext continues with.
func (f *File) Seek(off int64, whence int) (int64, error) {
	if f.Flags()&O_PATH != 0 {
		return 0, syscall.EBADF
	}
	_, dir := f.node.(Dir)
	if f.h == nil && !dir {
		return 0, syscall.ESPIPE
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		if off > 0 && f.off > (1<<63-1)-off {
			return 0, syscall.EOVERFLOW
		}
		off += f.off
	case io.SeekEnd:
		size := f.node.Stat().Size
		if off > 0 && size > (1<<63-1)-off {
			return 0, syscall.EOVERFLOW
		}
		off += size
	default:
		return 0, syscall.EINVAL
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	f.off = off
	return off, nil
}

// ReadDir calls fn with each entry from cookie on ("." and ".." first) until fn returns false; next is the cookie
// that continues after the entry. Cookie 0 begins anew with a fresh snapshot; later cookies index the snapshot, so an
// entry present all the while is shown exactly once whatever is created or removed meanwhile. ENOTDIR, EBADF.
func (f *File) ReadDir(cookie uint64, fn func(e DirEntry, next uint64) bool) error {
	d, ok := f.node.(Dir)
	switch {
	case f.Flags()&O_PATH != 0:
		return syscall.EBADF
	case !ok:
		return syscall.ENOTDIR
	}
	f.mu.Lock()
	if cookie == 0 || f.listing == nil {
		l, err := f.list(d)
		if err != nil {
			f.mu.Unlock()
			return err
		}
		f.listing = l
	}
	l := f.listing
	f.mu.Unlock()
	for i := cookie; i < uint64(len(l)); i++ {
		if !fn(l[i], i+1) {
			break
		}
	}
	return nil
}

func (f *File) list(d Dir) ([]DirEntry, error) {
	es, err := d.List()
	if err != nil {
		return nil, err
	}
	up := f.ns.up(f.at)
	l := make([]DirEntry, 0, len(es)+2)
	l = append(l, DirEntry{".", d.Stat().Ino, ModeDir}, DirEntry{"..", up.dir.Stat().Ino, ModeDir})
	return append(l, es...), nil
}

// Stat is fstat(2).
func (f *File) Stat() Stat { return f.ns.stat(f.mnt, f.node) }

// Truncate is ftruncate(2). EINVAL unless open for writing.
func (f *File) Truncate(size int64) error {
	if size < 0 || !f.writable() || f.h == nil {
		return syscall.EINVAL
	}
	return f.h.Truncate(size)
}

// Sync is fsync(2): memory has nothing to wait for. EINVAL for what is no file or directory.
func (f *File) Sync() error {
	if _, dir := f.node.(Dir); f.Flags()&O_PATH != 0 || f.h == nil && !dir {
		return syscall.EINVAL
	}
	return nil
}

// Chmod is fchmod(2) by c.
func (f *File) Chmod(c Cred, mode uint32) error {
	if f.Flags()&O_PATH != 0 {
		return syscall.EBADF
	}
	return chmod(c, f.mnt, f.node, mode)
}

// Chown is fchown(2) by c; −1 (as uint32) keeps.
func (f *File) Chown(c Cred, uid, gid uint32) error {
	if f.Flags()&O_PATH != 0 {
		return syscall.EBADF
	}
	return chown(c, f.mnt, f.node, uid, gid)
}

// Utimes is futimens(2) by c.
func (f *File) Utimes(c Cred, t Times) error { return utimes(c, f.mnt, f.node, t) }

// IsDir reports whether it is a directory.
func (f *File) IsDir() bool { _, ok := f.node.(Dir); return ok }

// Path is the absolute path of what was opened, from the root of its mount namespace, as /proc/PID/fd shows it;
// " (deleted)" is appended when it has no name any more.
func (f *File) Path() string {
	if f.name == "" {
		p, ok := f.ns.pathname(f.at, Path{})
		if !ok {
			p += " (deleted)"
		}
		return p
	}
	p, ok := f.ns.pathname(f.at, Path{})
	if p == "/" {
		p = ""
	}
	p += "/" + f.name
	if !ok || f.node.Stat().Nlink == 0 {
		p += " (deleted)"
	}
	return p
}

// Location is the Path of an open directory (for chdir and for *at calls). ENOTDIR.
func (f *File) Location() (Path, error) {
	if _, ok := f.node.(Dir); !ok {
		return Path{}, syscall.ENOTDIR
	}
	return f.at, nil
}

// Node is the inode, for identity (locks, page caches): compare with ==.
func (f *File) Node() Node { return f.node }

// MountFlags are the flags of the mount it was found on (MountNoExec matters to who executes it).
func (f *File) MountFlags() MountFlags { return MountFlags(f.mnt.flags.Load()) }

// Device tells that this is a FIFO, socket or device node, of which vfs knows the name only: kind is its ModeType.
// Whoever opened it puts its own description in the place of the File and closes this one.
func (f *File) Device() (kind, major, minor uint32, ok bool) {
	if f.h != nil || f.node == nil {
		return 0, 0, 0, false
	}
	st := f.node.Stat()
	switch kind = st.Mode & ModeType; kind {
	case ModeFIFO, ModeSocket, ModeChar, ModeBlock:
		return kind, Major(st.Rdev), Minor(st.Rdev), true
	}
	return 0, 0, 0, false
}

// Special is the value that a magic link (a MagicLink's Follow: /proc/PID/fd/N) led to, nil for ordinary files.
func (f *File) Special() any { return f.other }

// Content is the whole of an immutable file and its digest ("sha256:…"), shared and not to be written; ok is false for
// files that may change: those are read like any other.
func (f *File) Content() (data []byte, digest string, ok bool) {
	if im, is := f.h.(Immutable); is {
		return im.Content()
	}
	return nil, "", false
}

// Digest is Content's digest, "" when the file may change.
func (f *File) Digest() string { _, d, _ := f.Content(); return d }
