package wasi

import (
	"context"
	"errors"
	"io"
	"syscall"
)

// errnos maps the host's errno values to WASI's numbers (wasi_snapshot_preview1, "errno"). By name: the host's numbers differ between systems.
var errnos = numbers([]numbered{
	{syscall.E2BIG, 1}, {syscall.EACCES, 2}, {syscall.EADDRINUSE, 3}, {syscall.EADDRNOTAVAIL, 4}, {syscall.EAFNOSUPPORT, 5}, {syscall.EAGAIN, 6},
	{syscall.EALREADY, 7}, {syscall.EBADF, 8}, {syscall.EBUSY, 10}, {syscall.ECANCELED, 11}, {syscall.ECHILD, 12},
	{syscall.ECONNABORTED, 13}, {syscall.ECONNREFUSED, 14}, {syscall.ECONNRESET, 15}, {syscall.EDEADLK, 16}, {syscall.EDESTADDRREQ, 17},
	{syscall.EDOM, 18}, {syscall.EDQUOT, 19}, {syscall.EEXIST, 20}, {syscall.EFAULT, 21}, {syscall.EFBIG, 22}, {syscall.EHOSTUNREACH, 23},
	{syscall.EILSEQ, 25}, {syscall.EINPROGRESS, 26}, {syscall.EINTR, 27}, {syscall.EINVAL, 28}, {syscall.EIO, 29},
	{syscall.EISCONN, 30}, {syscall.EISDIR, 31}, {syscall.ELOOP, 32}, {syscall.EMFILE, 33}, {syscall.EMLINK, 34}, {syscall.EMSGSIZE, 35},
	{syscall.ENAMETOOLONG, 37}, {syscall.ENETDOWN, 38}, {syscall.ENETRESET, 39}, {syscall.ENETUNREACH, 40}, {syscall.ENFILE, 41},
	{syscall.ENOBUFS, 42}, {syscall.ENODEV, 43}, {syscall.ENOENT, 44}, {syscall.ENOEXEC, 45}, {syscall.ENOLCK, 46}, {syscall.ENOMEM, 48},
	{syscall.ENOPROTOOPT, 50}, {syscall.ENOSPC, 51}, {syscall.ENOSYS, 52}, {syscall.ENOTCONN, 53}, {syscall.ENOTDIR, 54},
	{syscall.ENOTEMPTY, 55}, {syscall.ENOTSOCK, 57}, {syscall.ENOTSUP, 58}, {syscall.EOPNOTSUPP, 58}, {syscall.ENOTTY, 59}, {syscall.ENXIO, 60},
	{syscall.EOVERFLOW, 61}, {syscall.EPERM, 63}, {syscall.EPIPE, 64}, {syscall.EPROTO, 65}, {syscall.EPROTONOSUPPORT, 66},
	{syscall.EPROTOTYPE, 67}, {syscall.ERANGE, 68}, {syscall.EROFS, 69}, {syscall.ESPIPE, 70}, {syscall.ESRCH, 71}, {syscall.ESTALE, 72},
	{syscall.ETIMEDOUT, 73}, {syscall.ETXTBSY, 74}, {syscall.EXDEV, 75}, {syscall.ESHUTDOWN, 48},
})

type numbered struct {
	e syscall.Errno
	n uint32
}

// numbers makes the map; some names are one number on some hosts.
func numbers(l []numbered) map[syscall.Errno]uint32 {
	m := make(map[syscall.Errno]uint32, len(l))
	for _, x := range l {
		m[x.e] = x.n
	}
	return m
}

// errno is the number a guest sees. The end of a stream is success with 0 bytes; what is no errno is EIO.
func errno(err error) uint32 {
	if err == nil || isEOF(err) {
		return 0
	}
	var e syscall.Errno
	if errors.As(err, &e) {
		if e == 0 {
			return 0
		}
		if n, ok := errnos[e]; ok {
			return n
		}
	}
	if errors.Is(err, context.Canceled) {
		return errnos[syscall.EINTR]
	}
	return errnos[syscall.EIO]
}

func isEOF(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// linuxSignal translates WASI's signal numbers, which lack SIGSTKFLT (16), to Linux'.
func linuxSignal(s uint32) uint32 {
	if s >= 16 {
		return s + 1
	}
	return s
}
