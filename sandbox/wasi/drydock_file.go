package wasi

import (
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

func descriptorCalls() []entry {
	return []entry{
		{name: "pipe", sig: "i", f: func(c *call) error { return c.pair(0, 4, c.p.Pipe) }, none: syscall.ENOSYS},
		{name: "dup", sig: "iii", f: dup, none: syscall.ENOSYS},
		{name: "isatty", sig: "i", value: isatty},
		{name: "fdpath", sig: "iiii", f: fdpath, none: syscall.ENOSYS},
		{name: "tcgetattr", sig: "ii", f: tcgetattr, none: syscall.ENOSYS},
		{name: "tcsetattr", sig: "iii", f: tcsetattr, none: syscall.ENOSYS},
		{name: "winsize", sig: "ii", f: winsize, none: syscall.ENOSYS},
		{name: "setwinsize", sig: "ii", f: setwinsize, none: syscall.ENOSYS},
		{name: "tcgetpgrp", sig: "ii", f: tcgetpgrp, none: syscall.ENOSYS},
		{name: "tcsetpgrp", sig: "ii", f: func(c *call) error { return c.p.SetForegroundGroup(c.int(0), c.int(1)) }, none: syscall.ENOSYS},
		{name: "openpty", sig: "ii", f: openpty, none: syscall.ENOSYS},
	}
}

// pair stores two new descriptors at the pointer in parameter i, the second gap bytes behind.
func (c *call) pair(i int, gap uint32, make func() (int, int, error)) error {
	b, err := c.out(i, gap+4)
	if err != nil {
		return err
	}
	x, y, err := make()
	if err != nil {
		return err
	}
	put32(b, uint32(x))
	put32(b[gap:], uint32(y))
	return nil
}

func openpty(c *call) error {
	for i := range 2 {
		if _, err := c.out(i, 4); err != nil {
			return err
		}
	}
	m, s, err := c.p.OpenPTY()
	if err != nil {
		return err
	}
	c.put32(0, uint32(m))
	return c.put32(1, uint32(s))
}

func dup(c *call) error {
	if _, err := c.out(2, 4); err != nil {
		return err
	}
	n, err := c.p.DupFD(c.int(0), c.int(1))
	if err != nil {
		return err
	}
	return c.put32(2, uint32(n))
}

func isatty(c *call) int32 {
	if _, err := c.p.Termios(c.int(0)); err != nil {
		return 0
	}
	return 1
}

func fdpath(c *call) error {
	s, err := c.p.FDPath(c.int(0))
	if err != nil {
		return err
	}
	return c.text(1, s)
}

const termiosSize = 36

func tcgetattr(c *call) error {
	b, err := c.out(1, termiosSize)
	if err != nil {
		return err
	}
	t, err := c.p.Termios(c.int(0))
	if err != nil {
		return err
	}
	for i, v := range [...]uint32{t.Iflag, t.Oflag, t.Cflag, t.Lflag} {
		put32(b[i*4:], v)
	}
	b[16] = t.Line
	copy(b[17:], t.Cc[:])
	return nil
}

func tcsetattr(c *call) error {
	b, err := c.out(2, termiosSize)
	if err != nil {
		return err
	}
	t := kernel.Termios{Iflag: le32(b), Oflag: le32(b[4:]), Cflag: le32(b[8:]), Lflag: le32(b[12:]), Line: b[16], Cc: [19]uint8(b[17:36])}
	return c.p.SetTermios(c.int(0), c.int(1), t)
}

func winsize(c *call) error {
	b, err := c.out(1, 8)
	if err != nil {
		return err
	}
	w, err := c.p.Winsize(c.int(0))
	if err != nil {
		return err
	}
	for i, v := range [...]uint16{w.Rows, w.Cols, w.XPixel, w.YPixel} {
		put16(b[i*2:], v)
	}
	return nil
}

func setwinsize(c *call) error {
	b, err := c.out(1, 8)
	if err != nil {
		return err
	}
	return c.p.SetWinsize(c.int(0), kernel.Winsize{Rows: le16(b), Cols: le16(b[2:]), XPixel: le16(b[4:]), YPixel: le16(b[6:])})
}

func tcgetpgrp(c *call) error {
	if _, err := c.out(1, 4); err != nil {
		return err
	}
	n, err := c.p.ForegroundGroup(c.int(0))
	if err != nil {
		return err
	}
	return c.put32(1, uint32(n))
}

func fileCalls() []entry {
	return []entry{
		{name: "stat", sig: "iiiii", f: statCall, none: syscall.ENOSYS},
		{name: "fstat", sig: "ii", f: fstatCall, none: syscall.ENOSYS},
		{name: "chmod", sig: "iiii", f: chmod, none: syscall.ENOSYS},
		{name: "fchmod", sig: "ii", f: fchmod, none: syscall.ENOSYS},
		{name: "chown", sig: "iiiiii", f: chown, none: syscall.ENOSYS},
		{name: "mknod", sig: "iiiil", f: mknod, none: syscall.ENOSYS},
		{name: "openat", sig: "iiiiii", f: openat, none: syscall.ENOSYS},
		{name: "mkdirat", sig: "iiii", f: mkdirat, none: syscall.ENOSYS},
		{name: "statfs", sig: "iii", f: statfs, none: syscall.ENOSYS},
		{name: "access", sig: "iiii", f: access, none: syscall.ENOSYS},
		{name: "sync", f: func(*call) error { return nil }, none: syscall.ENOSYS},
	}
}

const statSize = 96

func putStat(b []byte, st vfs.Stat) {
	clear(b[:statSize])
	put64(b, st.Dev)
	put64(b[8:], st.Ino)
	put32(b[16:], st.Mode)
	put32(b[20:], st.Nlink)
	put32(b[24:], st.UID)
	put32(b[28:], st.GID)
	put64(b[32:], st.Rdev)
	put64(b[40:], uint64(st.Size))
	put64(b[48:], uint64(st.Blksize))
	put64(b[56:], uint64(st.Blocks))
	put64(b[64:], uint64(st.Atim))
	put64(b[72:], uint64(st.Mtim))
	put64(b[80:], uint64(st.Ctim))
}

func statCall(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	b, err := c.out(4, statSize)
	if err != nil {
		return err
	}
	st, err := c.lookup(d, name, c.u32(3) != 0)
	if err != nil {
		return err
	}
	putStat(b, st)
	return nil
}

func fstatCall(c *call) error {
	b, err := c.out(1, statSize)
	if err != nil {
		return err
	}
	st, err := c.p.Fstat(c.int(0))
	if err != nil {
		return err
	}
	putStat(b, st)
	return nil
}

func chmod(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Chmod(d, name, c.u32(3))
}

func fchmod(c *call) error {
	f, err := c.file(0, syscall.EINVAL)
	if err != nil {
		return err
	}
	return f.Chmod(c.p.Cred(), c.u32(1))
}

func chown(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Chown(d, name, c.u32(4), c.u32(5), c.u32(3) != 0)
}

func mknod(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Mknod(d, name, c.u32(3), uint64(c.i64(4)))
}

func openat(c *call) error {
	name, err := c.path(1)
	if err != nil {
		return err
	}
	if _, err := c.out(5, 4); err != nil {
		return err
	}
	return c.open(5, name, c.int(3), c.u32(4))
}

func mkdirat(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Mkdir(d, name, c.u32(3))
}

func statfs(c *call) error {
	name, err := c.path(0)
	if err != nil {
		return err
	}
	b, err := c.out(2, 56)
	if err != nil {
		return err
	}
	s, err := c.p.View().Statfs(nil, name)
	if err != nil {
		return err
	}
	for i, v := range [...]uint64{s.Type, s.Bsize, s.Blocks, s.Bfree, s.Bfree, s.Files, s.Ffree} {
		put64(b[i*8:], v)
	}
	return nil
}

func access(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	if c.u32(3) > 7 {
		return syscall.EINVAL
	}
	return c.p.View().Access(d, name, c.u32(3))
}
