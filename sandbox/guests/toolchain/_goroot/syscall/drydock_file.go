package syscall

// Files with Linux modes and owners, over the import module "drydock".

import "unsafe"

// Flags of Open that package os does not name.
const (
	O_NONBLOCK = 04000
	O_NOCTTY   = 0400
)

// preparePath leaves it to the kernel to resolve a path against the working directory and the process's root.
func preparePath(path string) (int32, *byte, size) {
	return drydockCwd, unsafe.StringData(path), size(len(path))
}

func openat(dirFd int32, pathPtr *byte, pathLen size, openmode int, perm uint32) (int, error) {
	var fd int32
	if errno := drydock_openat(dirFd, pathPtr, pathLen, uint32(openmode), perm, &fd); errno != 0 {
		return -1, errnoErr(errno)
	}
	return int(fd), nil
}

// drydockStat is the host's form of a file's state.
type drydockStat struct {
	dev, ino         uint64
	mode, nlink      uint32
	uid, gid         uint32
	rdev             uint64
	size             int64
	blksize, blocks  int64
	atim, mtim, ctim int64
	_                uint64
}

func (h *drydockStat) fill(st *Stat_t) {
	*st = Stat_t{Dev: h.dev, Ino: h.ino, Nlink: uint64(h.nlink), Size: uint64(h.size), Atime: uint64(h.atim), Mtime: uint64(h.mtim), Ctime: uint64(h.ctim),
		Mode: int(h.mode), Uid: h.uid, Gid: h.gid, Rdev: h.rdev, Blksize: h.blksize, Blocks: h.blocks}
	switch h.mode & 0170000 {
	case S_IFREG:
		st.Filetype = FILETYPE_REGULAR_FILE
	case S_IFDIR:
		st.Filetype = FILETYPE_DIRECTORY
	case S_IFLNK:
		st.Filetype = FILETYPE_SYMBOLIC_LINK
	case S_IFBLK:
		st.Filetype = FILETYPE_BLOCK_DEVICE
	case S_IFCHR:
		st.Filetype = FILETYPE_CHARACTER_DEVICE
	case S_IFSOCK:
		st.Filetype = FILETYPE_SOCKET_STREAM
	}
}

//go:linkname drydockFstatat
func drydockFstatat(dirfd int, path string, follow bool, st *Stat_t) error {
	var h drydockStat
	var f int32
	if follow {
		f = 1
	}
	if errno := drydock_stat(int32(dirfd), unsafe.StringData(path), size(len(path)), f, unsafe.Pointer(&h)); errno != 0 {
		return errnoErr(errno)
	}
	h.fill(st)
	return nil
}

func Stat(path string, st *Stat_t) error  { return drydockFstatat(drydockCwd, path, true, st) }
func Lstat(path string, st *Stat_t) error { return drydockFstatat(drydockCwd, path, false, st) }

func Fstat(fd int, st *Stat_t) error {
	var h drydockStat
	if errno := drydock_fstat(int32(fd), unsafe.Pointer(&h)); errno != 0 {
		return errnoErr(errno)
	}
	h.fill(st)
	return nil
}

//go:linkname drydockMkdirat
func drydockMkdirat(dirfd int, path string, mode uint32) error {
	return errnoErr(drydock_mkdirat(int32(dirfd), unsafe.StringData(path), size(len(path)), mode))
}

func Mkdir(path string, perm uint32) error { return drydockMkdirat(drydockCwd, path, perm) }

//go:linkname drydockChmodat
func drydockChmodat(dirfd int, path string, mode uint32) error {
	return errnoErr(drydock_chmod(int32(dirfd), unsafe.StringData(path), size(len(path)), mode))
}

func Chmod(path string, mode uint32) error { return drydockChmodat(drydockCwd, path, mode) }

func Fchmod(fd int, mode uint32) error { return errnoErr(drydock_fchmod(int32(fd), mode)) }

//go:linkname drydockChownat
func drydockChownat(dirfd int, path string, follow bool, uid, gid int) error {
	var f int32
	if follow {
		f = 1
	}
	return errnoErr(drydock_chown(int32(dirfd), unsafe.StringData(path), size(len(path)), f, int32(uid), int32(gid)))
}

func Chown(path string, uid, gid int) error {
	return drydockChownat(drydockCwd, path, true, uid, gid)
}

func Lchown(path string, uid, gid int) error {
	return drydockChownat(drydockCwd, path, false, uid, gid)
}

func Fchown(fd int, uid, gid int) error {
	path, err := drydockPath(fd)
	if err != nil {
		return err
	}
	return Chown(path, uid, gid)
}

func drydockPath(fd int) (string, error) {
	return drydockText(func(buf *byte, capacity size, n *size) Errno { return drydock_fdpath(int32(fd), buf, capacity, n) })
}

//go:linkname drydockAccess
func drydockAccess(path string, mode uint32) error {
	return errnoErr(drydock_access(drydockCwd, unsafe.StringData(path), size(len(path)), mode))
}

func Access(path string, mode uint32) error { return drydockAccess(path, mode) }

func Getwd() (string, error) { return drydockText(drydock_getcwd) }

func Chdir(path string) error {
	return errnoErr(drydock_chdir(unsafe.StringData(path), size(len(path))))
}

func Fchdir(fd int) error {
	path, err := drydockPath(fd)
	if err != nil {
		return err
	}
	return Chdir(path)
}

func Dup(fd int) (int, error) {
	var to int32
	if errno := drydock_dup(int32(fd), 0, &to); errno != 0 {
		return -1, errno
	}
	// As on Linux the copy blocks, or not, as the original does; in the host that belongs to each descriptor.
	if flags, err := fd_fdstat_get_flags(fd); err == nil && flags&FDFLAG_NONBLOCK != 0 {
		SetNonblock(int(to), true)
	}
	return int(to), nil
}

func Dup2(fd, newfd int) error {
	if fd == newfd {
		return nil
	}
	copied, err := Dup(fd)
	if err != nil {
		return err
	}
	if errno := fd_renumber(int32(copied), int32(newfd)); errno != 0 {
		Close(copied)
		return errno
	}
	return nil
}

func Pipe(fd []int) error {
	if len(fd) != 2 {
		return EINVAL
	}
	var p [2]int32
	if errno := drydock_pipe(&p[0]); errno != 0 {
		return errno
	}
	fd[0], fd[1] = int(p[0]), int(p[1])
	return nil
}

func Pipe2(fd []int, flags int) error {
	if err := Pipe(fd); err != nil {
		return err
	}
	if flags&O_NONBLOCK != 0 {
		SetNonblock(fd[0], true)
		SetNonblock(fd[1], true)
	}
	return nil
}
