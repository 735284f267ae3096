package wasi

import (
	"io"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// File types of WASI.
const (
	ftUnknown   = 0
	ftBlock     = 1
	ftChar      = 2
	ftDir       = 3
	ftRegular   = 4
	ftDgram     = 5
	ftStream    = 6
	ftSymlink   = 7
	rightsAll   = 1<<30 - 1
	rightRead   = 1 << 1
	rightWrite  = 1 << 6
	rightAlloc  = 1 << 8
	rightList   = 1 << 14
	rightResize = 1 << 22
)

// fdflags of WASI.
const (
	fdAppend   = 1
	fdDsync    = 2
	fdNonblock = 4
	fdRsync    = 8
	fdSync     = 16
)

func fdCalls() []entry {
	return []entry{
		{name: "fd_advise", sig: "illi", f: fdAdvise, none: syscall.EBADF},
		{name: "fd_allocate", sig: "ill", f: fdAllocate, none: syscall.EBADF},
		{name: "fd_close", sig: "i", f: fdClose, none: syscall.EBADF},
		{name: "fd_datasync", sig: "i", f: fdSyncCall, none: syscall.EBADF},
		{name: "fd_fdstat_get", sig: "ii", f: fdstatGet, none: syscall.EBADF},
		{name: "fd_fdstat_set_flags", sig: "ii", f: fdstatSetFlags, none: syscall.EBADF},
		{name: "fd_fdstat_set_rights", sig: "ill", f: fdstatSetRights, none: syscall.EBADF},
		{name: "fd_filestat_get", sig: "ii", f: fdFilestat, none: syscall.EBADF},
		{name: "fd_filestat_set_size", sig: "il", f: fdSetSize, none: syscall.EBADF},
		{name: "fd_filestat_set_times", sig: "illi", f: fdSetTimes, none: syscall.EBADF},
		{name: "fd_pread", sig: "iiili", f: fdPread, none: syscall.EBADF},
		{name: "fd_prestat_get", sig: "ii", f: prestatGet, none: syscall.EBADF},
		{name: "fd_prestat_dir_name", sig: "iii", f: prestatName, none: syscall.EBADF},
		{name: "fd_pwrite", sig: "iiili", f: fdPwrite, none: syscall.EBADF},
		{name: "fd_read", sig: "iiii", f: fdRead, none: syscall.EBADF},
		{name: "fd_readdir", sig: "iiili", f: fdReaddir, none: syscall.EBADF},
		{name: "fd_renumber", sig: "ii", f: func(c *call) error { return c.p.Renumber(c.int(0), c.int(1)) }, none: syscall.EBADF},
		{name: "fd_seek", sig: "ilii", f: fdSeek, none: syscall.EBADF},
		{name: "fd_sync", sig: "i", f: fdSyncCall, none: syscall.EBADF},
		{name: "fd_tell", sig: "ii", f: fdTell, none: syscall.EBADF},
		{name: "fd_write", sig: "iiii", f: fdWrite, early: earlyWrite},
	}
}

// file is the open file of a descriptor; what is no file of vfs is ESPIPE (or what other says).
func (c *call) file(i int, other syscall.Errno) (*vfs.File, error) {
	fd, _, err := c.p.FD(c.int(i))
	if err != nil {
		return nil, err
	}
	f := fd.File()
	if f == nil {
		return nil, other
	}
	return f, nil
}

func fdAdvise(c *call) error {
	if c.u32(3) > 5 || c.i64(1) < 0 || c.i64(2) < 0 {
		return syscall.EINVAL
	}
	_, err := c.file(0, syscall.ESPIPE)
	return err
}

func fdAllocate(c *call) error {
	f, err := c.file(0, syscall.ESPIPE)
	if err != nil {
		return err
	}
	off, n := c.i64(1), c.i64(2)
	if off < 0 || n <= 0 {
		return syscall.EINVAL
	}
	if off > 1<<62-n {
		return syscall.EFBIG
	}
	if f.IsDir() {
		return syscall.ENODEV
	}
	if f.Stat().Size >= off+n {
		return nil
	}
	return c.truncate(f, off+n)
}

// truncate sets the size within RLIMIT_FSIZE.
func (c *call) truncate(f *vfs.File, size int64) error {
	if l, err := c.p.Rlimit(kernel.RLIMIT_FSIZE); err == nil && uint64(size) > l.Soft {
		c.p.Raise(kernel.SIGXFSZ)
		return syscall.EFBIG
	}
	return f.Truncate(size)
}

func fdClose(c *call) error { return c.p.CloseFD(c.int(0)) }

func fdSyncCall(c *call) error {
	f, err := c.file(0, syscall.EINVAL)
	if err != nil {
		return err
	}
	return f.Sync()
}

func fileType(fd *kernel.FD) byte {
	switch fd.Description().Kind() {
	case kernel.KindFile:
		return ftRegular
	case kernel.KindDir:
		return ftDir
	case kernel.KindChar:
		return ftChar
	case kernel.KindStream:
		return ftStream
	case kernel.KindDgram:
		return ftDgram
	}
	return ftUnknown
}

func fdstatGet(c *call) error {
	b, err := c.out(1, 24)
	if err != nil {
		return err
	}
	fd, nonblock, err := c.p.FD(c.int(0))
	if err != nil {
		return err
	}
	clear(b)
	b[0] = fileType(fd)
	var flags uint16
	rights := uint64(rightsAll)
	if nonblock {
		flags |= fdNonblock
	}
	if f := fd.File(); f != nil {
		fl := f.Flags()
		if fl&vfs.O_APPEND != 0 {
			flags |= fdAppend
		}
		if fl&vfs.O_DSYNC != 0 {
			flags |= fdDsync
		}
		switch fl & vfs.O_ACCMODE {
		case vfs.O_RDONLY:
			rights &^= rightWrite | rightAlloc | rightResize
		case vfs.O_WRONLY:
			rights &^= rightRead
		}
	}
	if b[0] == ftChar {
		rights &^= 1<<2 | 1<<5 // seek, tell: how wasi-libc's isatty knows a terminal
	}
	put16(b[2:], flags)
	put64(b[8:], rights)
	put64(b[16:], rightsAll)
	return nil
}

func fdstatSetFlags(c *call) error {
	fl := c.u32(1)
	if fl&^(fdAppend|fdDsync|fdNonblock|fdRsync|fdSync) != 0 {
		return syscall.EINVAL
	}
	fd, _, err := c.p.FD(c.int(0))
	if err != nil {
		return err
	}
	if f := fd.File(); f != nil {
		f.SetFlags(openFlags(fl &^ fdNonblock))
	}
	return c.p.SetNonblock(c.int(0), fl&fdNonblock != 0)
}

// fdstatSetRights accepts to give rights up, without effect: what a descriptor may do is its access mode's business here.
func fdstatSetRights(c *call) error {
	_, _, err := c.p.FD(c.int(0))
	return err
}

func openFlags(fdflags uint32) (fl int) {
	if fdflags&fdAppend != 0 {
		fl |= vfs.O_APPEND
	}
	if fdflags&(fdDsync|fdRsync|fdSync) != 0 {
		fl |= vfs.O_DSYNC
	}
	if fdflags&fdNonblock != 0 {
		fl |= vfs.O_NONBLOCK
	}
	return fl
}

func modeType(mode uint32) byte {
	switch mode & vfs.ModeType {
	case vfs.ModeRegular:
		return ftRegular
	case vfs.ModeDir:
		return ftDir
	case vfs.ModeChar:
		return ftChar
	case vfs.ModeBlock:
		return ftBlock
	case vfs.ModeSymlink:
		return ftSymlink
	case vfs.ModeSocket:
		return ftStream
	}
	return ftUnknown
}

func putFilestat(b []byte, st vfs.Stat) {
	clear(b[:64])
	put64(b, st.Dev)
	put64(b[8:], st.Ino)
	b[16] = modeType(st.Mode)
	put64(b[24:], uint64(st.Nlink))
	put64(b[32:], uint64(st.Size))
	put64(b[40:], uint64(st.Atim))
	put64(b[48:], uint64(st.Mtim))
	put64(b[56:], uint64(st.Ctim))
}

func fdFilestat(c *call) error {
	b, err := c.out(1, 64)
	if err != nil {
		return err
	}
	st, err := c.p.Fstat(c.int(0))
	if err != nil {
		return err
	}
	putFilestat(b, st)
	if fd, _, err := c.p.FD(c.int(0)); err == nil && b[16] == ftStream {
		b[16] = fileType(fd)
	}
	return nil
}

func fdSetSize(c *call) error {
	f, err := c.file(0, syscall.EINVAL)
	if err != nil {
		return err
	}
	if c.i64(1) < 0 {
		return syscall.EINVAL
	}
	return c.truncate(f, c.i64(1))
}

// times reads the two times and flags (atim, now, mtim, now) from parameter i on.
func (c *call) times(i int) (vfs.Times, error) {
	fl := c.u32(i + 2)
	if fl&^15 != 0 || fl&3 == 3 || fl&12 == 12 {
		return vfs.Times{}, syscall.EINVAL
	}
	pick := func(set, now uint32, t int64) int64 {
		switch {
		case fl&now != 0:
			return vfs.TimeNow
		case fl&set != 0:
			return t
		}
		return vfs.TimeOmit
	}
	return vfs.Times{Atim: pick(1, 2, c.i64(i)), Mtim: pick(4, 8, c.i64(i+1))}, nil
}

func fdSetTimes(c *call) error {
	t, err := c.times(1)
	if err != nil {
		return err
	}
	f, err := c.file(0, syscall.EINVAL)
	if err != nil {
		return err
	}
	return f.Utimes(c.p.Cred(), t)
}

// read fills the buffers of a list in turn by f: the first may wait, the others take what is there.
func (c *call) read(list, out int, f func(b []byte, first bool) (int, error)) error {
	if _, err := c.out(out, 4); err != nil {
		return err
	}
	b, single, err := c.one(list)
	if err != nil {
		return err
	}
	if single {
		n, err := f(b, true)
		if err != nil && !isEOF(err) {
			return err
		}
		return c.put32(out, uint32(n))
	}
	bufs, err := c.iovs(list)
	if err != nil {
		return err
	}
	total := 0
	for i, b := range bufs {
		n, err := f(b, i == 0)
		total += n
		if err != nil && !isEOF(err) && total == 0 {
			return err
		}
		if err == kernel.ErrKilled {
			return err
		}
		if err != nil || n < len(b) {
			break
		}
	}
	if len(bufs) == 0 {
		if _, err := f(nil, true); err != nil && !isEOF(err) && err != syscall.EAGAIN {
			return err
		}
	}
	return c.put32(out, uint32(total))
}

func fdRead(c *call) error {
	n := c.int(0)
	return c.read(1, 3, func(b []byte, first bool) (int, error) {
		if !first {
			fd, _, err := c.p.FD(n)
			if err != nil {
				return 0, err
			}
			if fd.Description().Poll()&kernel.EventIn == 0 {
				return 0, io.EOF
			}
		}
		if len(b) == 0 {
			_, _, err := c.p.FD(n)
			return 0, err
		}
		return c.p.Read(n, b)
	})
}

func fdPread(c *call) error {
	f, err := c.file(0, syscall.ESPIPE)
	if err != nil {
		return err
	}
	off := c.i64(3)
	return c.read(1, 4, func(b []byte, _ bool) (int, error) {
		n, err := f.ReadAt(b, off)
		c.p.Worked(n)
		off += int64(n)
		return n, err
	})
}

// write hands the bytes of a list to f at once: what is written to a pipe in one call stays together (pipe(7), PIPE_BUF).
func (c *call) write(list, out int, f func(b []byte) (int, error)) error {
	if _, err := c.out(out, 4); err != nil {
		return err
	}
	b, single, err := c.one(list)
	if err != nil {
		return err
	}
	if !single {
		bufs, err := c.iovs(list)
		if err != nil {
			return err
		}
		if len(bufs) == 1 {
			b = bufs[0]
		} else {
			c.gather = c.gather[:0]
			for _, x := range bufs {
				c.gather = append(c.gather, x[:min(len(x), maxWrite-len(c.gather))]...)
			}
			b = c.gather
		}
	}
	n, err := f(b)
	if cap(c.gather) > 64<<10 {
		c.gather = nil
	}
	if err != nil {
		return err
	}
	return c.put32(out, uint32(n))
}

func fdWrite(c *call) error {
	n := c.int(0)
	return c.write(1, 3, func(b []byte) (int, error) {
		if err := c.fileLimit(n, &b); err != nil {
			return 0, err
		}
		return c.p.Write(n, b)
	})
}

// fileLimit cuts a write to a regular file at RLIMIT_FSIZE. EFBIG and SIGXFSZ when nothing is left.
func (c *call) fileLimit(n int, b *[]byte) error {
	l, err := c.p.Rlimit(kernel.RLIMIT_FSIZE)
	if err != nil || l.Soft == kernel.RLIM_INFINITY {
		return nil
	}
	fd, _, err := c.p.FD(n)
	if err != nil {
		return err
	}
	f := fd.File()
	if f == nil || f.IsDir() {
		return nil
	}
	off := f.Stat().Size
	if f.Flags()&vfs.O_APPEND == 0 {
		if off, err = f.Seek(0, io.SeekCurrent); err != nil {
			return err
		}
	}
	room := int64(min(l.Soft, 1<<62)) - off
	if room <= 0 && len(*b) > 0 {
		c.p.Raise(kernel.SIGXFSZ)
		return syscall.EFBIG
	}
	if int64(len(*b)) > room {
		*b = (*b)[:room]
	}
	return nil
}

func fdPwrite(c *call) error {
	f, err := c.file(0, syscall.ESPIPE)
	if err != nil {
		return err
	}
	return c.write(1, 4, func(b []byte) (int, error) {
		c.p.Worked(len(b))
		n, err := f.WriteAt(b, c.i64(3))
		if n > 0 {
			err = nil
		}
		return n, err
	})
}

// earlyWrite takes what a program writes to its standard streams while its image is captured: to nowhere a person looks.
func earlyWrite(c *call) error {
	if n := c.int(0); n != 1 && n != 2 {
		return syscall.EBADF
	}
	bufs, err := c.iovs(1)
	if err != nil {
		return err
	}
	total := 0
	for _, b := range bufs {
		total += len(b)
	}
	return c.put32(3, uint32(total))
}

func prestatGet(c *call) error {
	if c.int(0) != 3 {
		return syscall.EBADF
	}
	b, err := c.out(1, 8)
	if err != nil {
		return err
	}
	if _, _, err := c.p.FD(3); err != nil {
		return err
	}
	clear(b)
	put32(b[4:], 1)
	return nil
}

func prestatName(c *call) error {
	if c.int(0) != 3 {
		return syscall.EBADF
	}
	if c.u32(2) < 1 {
		return syscall.ENAMETOOLONG
	}
	b, err := c.out(1, 1)
	if err != nil {
		return err
	}
	b[0] = '/'
	return nil
}

// fdReaddir fills a buffer with entries; a cut last one tells that there are more.
func fdReaddir(c *call) error {
	f, err := c.file(0, syscall.ENOTDIR)
	if err != nil {
		return err
	}
	buf, err := c.arg(1)
	if err != nil {
		return err
	}
	if _, err := c.out(4, 4); err != nil {
		return err
	}
	used := 0
	err = f.ReadDir(uint64(c.i64(3)), func(e vfs.DirEntry, next uint64) bool {
		var h [24]byte
		put64(h[:], next)
		put64(h[8:], e.Ino)
		put32(h[16:], uint32(len(e.Name)))
		h[20] = modeType(e.Type)
		used += copy(buf[used:], h[:])
		used += copy(buf[used:], e.Name)
		return used < len(buf)
	})
	if err != nil {
		return err
	}
	c.p.Worked(used * 4)
	return c.put32(4, uint32(used))
}

func fdSeek(c *call) error {
	if c.u32(2) > 2 {
		return syscall.EINVAL
	}
	f, err := c.file(0, syscall.ESPIPE)
	if err != nil {
		return err
	}
	if _, err := c.out(3, 8); err != nil {
		return err
	}
	off, err := f.Seek(c.i64(1), int(c.u32(2)))
	if err != nil {
		return err
	}
	return c.put64(3, uint64(off))
}

func fdTell(c *call) error {
	f, err := c.file(0, syscall.ESPIPE)
	if err != nil {
		return err
	}
	off, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return c.put64(1, uint64(off))
}
