package unix

import (
	"syscall"
	_ "unsafe" // for linkname
)

//go:linkname drydockFstatat syscall.drydockFstatat
func drydockFstatat(dirfd int, path string, follow bool, st *syscall.Stat_t) error

//go:linkname drydockMkdirat syscall.drydockMkdirat
func drydockMkdirat(dirfd int, path string, mode uint32) error

//go:linkname drydockChmodat syscall.drydockChmodat
func drydockChmodat(dirfd int, path string, mode uint32) error

//go:linkname drydockChownat syscall.drydockChownat
func drydockChownat(dirfd int, path string, follow bool, uid, gid int) error

//go:linkname drydockAccess syscall.drydockAccess
func drydockAccess(path string, mode uint32) error

func Fstatat(dirfd int, path string, stat *syscall.Stat_t, flags int) error {
	return drydockFstatat(dirfd, path, flags&AT_SYMLINK_NOFOLLOW == 0, stat)
}

func Mkdirat(dirfd int, path string, mode uint32) error { return drydockMkdirat(dirfd, path, mode) }

func Fchmodat(dirfd int, path string, mode uint32, flags int) error {
	return drydockChmodat(dirfd, path, mode)
}

func Fchownat(dirfd int, path string, uid, gid int, flags int) error {
	return drydockChownat(dirfd, path, flags&AT_SYMLINK_NOFOLLOW == 0, uid, gid)
}

func Eaccess(path string, mode uint32) error { return drydockAccess(path, mode) }

func Fcntl(fd int, cmd int, arg int) (int, error) {
	switch cmd {
	case syscall.F_GETFL:
		flags, err := fd_fdstat_get_flags(fd)
		return int(flags), err
	case syscall.F_DUPFD_CLOEXEC, syscall.F_DUPFD:
		return syscall.Dup(fd)
	}
	return 0, syscall.ENOSYS
}
