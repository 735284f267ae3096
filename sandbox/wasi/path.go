package wasi

import (
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

func pathCalls() []entry {
	return []entry{
		{name: "path_create_directory", sig: "iii", f: pathMkdir, none: syscall.EBADF},
		{name: "path_filestat_get", sig: "iiiii", f: pathFilestat, none: syscall.EBADF},
		{name: "path_filestat_set_times", sig: "iiiilli", f: pathSetTimes, none: syscall.EBADF},
		{name: "path_link", sig: "iiiiiii", f: pathLink, none: syscall.EBADF},
		{name: "path_open", sig: "iiiiillii", f: pathOpen, none: syscall.EBADF},
		{name: "path_readlink", sig: "iiiiii", f: pathReadlink, none: syscall.EBADF},
		{name: "path_remove_directory", sig: "iii", f: pathRmdir, none: syscall.EBADF},
		{name: "path_rename", sig: "iiiiii", f: pathRename, none: syscall.EBADF},
		{name: "path_symlink", sig: "iiiii", f: pathSymlink, none: syscall.EBADF},
		{name: "path_unlink_file", sig: "iii", f: pathUnlink, none: syscall.EBADF},
	}
}

const lookupFollow = 1

// at is the directory of the descriptor in parameter dir and the path in parameters name and name+1.
func (c *call) at(dir, name int) (*vfs.File, string, error) {
	s, err := c.path(name)
	if err != nil {
		return nil, "", err
	}
	d, err := c.p.Dir(c.int(dir))
	return d, s, err
}

func pathMkdir(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Mkdir(d, name, 0o777)
}

func pathFilestat(c *call) error {
	d, name, err := c.at(0, 2)
	if err != nil {
		return err
	}
	b, err := c.out(4, 64)
	if err != nil {
		return err
	}
	st, err := c.lookup(d, name, c.u32(1)&lookupFollow != 0)
	if err != nil {
		return err
	}
	putFilestat(b, st)
	return nil
}

func (c *call) lookup(d *vfs.File, name string, follow bool) (vfs.Stat, error) {
	if follow {
		return c.p.View().Stat(d, name)
	}
	return c.p.View().Lstat(d, name)
}

func pathSetTimes(c *call) error {
	d, name, err := c.at(0, 2)
	if err != nil {
		return err
	}
	t, err := c.times(4)
	if err != nil {
		return err
	}
	return c.p.View().Utimes(d, name, t, c.u32(1)&lookupFollow != 0)
}

func pathLink(c *call) error {
	od, old, err := c.at(0, 2)
	if err != nil {
		return err
	}
	nd, name, err := c.at(4, 5)
	if err != nil {
		return err
	}
	return c.p.View().Link(od, old, nd, name, c.u32(1)&lookupFollow != 0)
}

// oflags of WASI.
const (
	oCreat     = 1
	oDirectory = 2
	oExcl      = 4
	oTrunc     = 8
)

// pathOpen opens by WASI's flags; the access mode is what the rights asked for amount to.
func pathOpen(c *call) error {
	name, err := c.path(2)
	if err != nil {
		return err
	}
	of, rights, ff := c.u32(4), uint64(c.i64(5)), c.u32(7)
	if of&^15 != 0 || ff&^31 != 0 {
		return syscall.EINVAL
	}
	if _, err := c.out(8, 4); err != nil {
		return err
	}
	flags := openFlags(ff)
	read, write := rights&(rightRead|rightList) != 0, rights&(rightWrite|rightAlloc|rightResize) != 0
	switch {
	case of&oDirectory != 0: // a directory has no bytes to write, whatever rights are asked for in bulk
	case read && write:
		flags |= vfs.O_RDWR
	case write:
		flags |= vfs.O_WRONLY
	}
	for _, f := range [...]struct {
		bit  uint32
		flag int
	}{{oCreat, vfs.O_CREAT}, {oDirectory, vfs.O_DIRECTORY}, {oExcl, vfs.O_EXCL}, {oTrunc, vfs.O_TRUNC}} {
		if of&f.bit != 0 {
			flags |= f.flag
		}
	}
	if c.u32(1)&lookupFollow == 0 {
		flags |= vfs.O_NOFOLLOW
	}
	return c.open(8, name, flags, 0o666)
}

// open installs a descriptor and stores it at the pointer in parameter out. The directory is that of parameter 0.
func (c *call) open(out int, name string, flags int, mode uint32) error {
	n, err := c.p.OpenFile(c.int(0), name, flags, mode)
	if err != nil {
		return err
	}
	return c.put32(out, uint32(n))
}

func pathReadlink(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	buf, err := c.arg(3)
	if err != nil {
		return err
	}
	if _, err := c.out(5, 4); err != nil {
		return err
	}
	s, err := c.p.View().Readlink(d, name)
	if err != nil {
		return err
	}
	return c.put32(5, uint32(copy(buf, s)))
}

func pathRmdir(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Rmdir(d, name)
}

func pathRename(c *call) error {
	od, old, err := c.at(0, 1)
	if err != nil {
		return err
	}
	nd, name, err := c.at(3, 4)
	if err != nil {
		return err
	}
	return c.p.View().Rename(od, old, nd, name, 0)
}

func pathSymlink(c *call) error {
	target, err := c.path(0)
	if err != nil {
		return err
	}
	d, name, err := c.at(2, 3)
	if err != nil {
		return err
	}
	return c.p.View().Symlink(target, d, name)
}

func pathUnlink(c *call) error {
	d, name, err := c.at(0, 1)
	if err != nil {
		return err
	}
	return c.p.View().Unlink(d, name)
}
