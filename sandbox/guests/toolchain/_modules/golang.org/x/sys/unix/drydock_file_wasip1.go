package unix

// Files below a directory's descriptor, of Linux's modes, as programs that unpack archives ask for them.

import (
	"syscall"
	"unsafe"
)

const (
	AT_FDCWD            = -1
	AT_SYMLINK_NOFOLLOW = 0x100

	O_RDONLY    = syscall.O_RDONLY
	O_NONBLOCK  = syscall.O_NONBLOCK
	O_CLOEXEC   = syscall.O_CLOEXEC
	O_NOFOLLOW  = syscall.O_NOFOLLOW
	O_DIRECTORY = syscall.O_DIRECTORY

	S_IFMT   = 0o170000
	S_IFSOCK = syscall.S_IFSOCK
	S_IFLNK  = syscall.S_IFLNK
	S_IFREG  = syscall.S_IFREG
	S_IFBLK  = syscall.S_IFBLK
	S_IFDIR  = syscall.S_IFDIR
	S_IFCHR  = syscall.S_IFCHR
	S_IFIFO  = syscall.S_IFIFO
	S_ISUID  = 0o4000
	S_ISGID  = 0o2000
	S_ISVTX  = 0o1000

	UTIME_OMIT = 1<<30 - 2
)

// Timespec is a time in seconds and nanoseconds.
type Timespec = syscall.Timespec

// NsecToTimespec converts nanoseconds since 1970.
func NsecToTimespec(nsec int64) Timespec { return syscall.NsecToTimespec(nsec) }

//go:wasmimport drydock stat
//go:noescape
func hostStat(dirfd int32, path unsafe.Pointer, pathLen, follow int32, out unsafe.Pointer) uint32

//go:wasmimport drydock chmod
//go:noescape
func hostChmod(dirfd int32, path unsafe.Pointer, pathLen int32, mode uint32) uint32

//go:wasmimport drydock mknod
//go:noescape
func hostMknod(dirfd int32, path unsafe.Pointer, pathLen int32, mode uint32, dev int64) uint32

//go:wasmimport wasi_snapshot_preview1 path_filestat_set_times
//go:noescape
func hostSetTimes(dirfd, follow int32, path unsafe.Pointer, pathLen int32, atime, mtime uint64, which uint32) uint32

func hostPath(path string) (unsafe.Pointer, int32) {
	return unsafe.Pointer(unsafe.StringData(path)), int32(len(path))
}

// Openat is openat(2).
func Openat(dirfd int, path string, flags int, mode uint32) (int, error) {
	return syscall.Openat(dirfd, path, flags, mode)
}

// Fchmod is fchmod(2).
func Fchmod(fd int, mode uint32) error { return syscall.Fchmod(fd, mode) }

// Fchmodat is fchmodat(2): with AT_SYMLINK_NOFOLLOW EOPNOTSUPP for a link, whose permissions nobody looks at.
func Fchmodat(dirfd int, path string, mode uint32, flags int) error {
	p, n := hostPath(path)
	if flags&AT_SYMLINK_NOFOLLOW != 0 {
		var stat struct {
			dev, ino uint64
			mode     uint32
			rest     [76]byte
		}
		if err := hostError(hostStat(int32(dirfd), p, n, 0, unsafe.Pointer(&stat))); err != nil {
			return err
		}
		if stat.mode&S_IFMT == S_IFLNK {
			return syscall.ENOTSUP
		}
	}
	return hostError(hostChmod(int32(dirfd), p, n, mode))
}

// Mknod is mknod(2).
func Mknod(path string, mode uint32, dev int) error { return Mknodat(AT_FDCWD, path, mode, dev) }

// Mknodat is mknodat(2): a FIFO, or as root a device. EPERM, EEXIST.
func Mknodat(dirfd int, path string, mode uint32, dev int) error {
	p, n := hostPath(path)
	return hostError(hostMknod(int32(dirfd), p, n, mode, int64(dev)))
}

// UtimesNanoAt is utimensat(2): times are the last access and the last change; UTIME_OMIT keeps.
func UtimesNanoAt(dirfd int, path string, times []Timespec, flags int) error {
	if len(times) != 2 {
		return EINVAL
	}
	const atime, mtime = 1, 4
	var which uint32
	if times[0].Nsec != UTIME_OMIT {
		which |= atime
	}
	if times[1].Nsec != UTIME_OMIT {
		which |= mtime
	}
	follow := int32(1)
	if flags&AT_SYMLINK_NOFOLLOW != 0 {
		follow = 0
	}
	p, n := hostPath(path)
	return hostError(hostSetTimes(int32(dirfd), follow, p, n, uint64(syscall.TimespecToNsec(times[0])), uint64(syscall.TimespecToNsec(times[1])), which))
}
