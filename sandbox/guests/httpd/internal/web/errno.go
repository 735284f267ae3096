package web

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrnoText words an error of the system as nginx does: Linux' number and text.
func ErrnoText(err error) string {
	for _, e := range errnos {
		if errors.Is(err, e.errno) {
			return fmt.Sprintf("%d: %s", e.number, e.text)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "110: Connection timed out"
	}
	return "5: " + err.Error()
}

func openText(name string, err error) string {
	return fmt.Sprintf("open() %q failed (%s)", name, ErrnoText(err))
}

var errnos = []struct {
	errno  syscall.Errno
	number int
	text   string
}{
	{syscall.EPERM, 1, "Operation not permitted"},
	{syscall.ENOENT, 2, "No such file or directory"},
	{syscall.ESRCH, 3, "No such process"},
	{syscall.EACCES, 13, "Permission denied"},
	{syscall.ENOTDIR, 20, "Not a directory"},
	{syscall.EISDIR, 21, "Is a directory"},
	{syscall.EMFILE, 24, "Too many open files"},
	{syscall.ENOSPC, 28, "No space left on device"},
	{syscall.EROFS, 30, "Read-only file system"},
	{syscall.EPIPE, 32, "Broken pipe"},
	{syscall.ENAMETOOLONG, 36, "File name too long"},
	{syscall.ELOOP, 40, "Too many levels of symbolic links"},
	{syscall.EAFNOSUPPORT, 97, "Address family not supported by protocol"},
	{syscall.EADDRINUSE, 98, "Address already in use"},
	{syscall.EADDRNOTAVAIL, 99, "Cannot assign requested address"},
	{syscall.ENETUNREACH, 101, "Network is unreachable"},
	{syscall.ECONNRESET, 104, "Connection reset by peer"},
	{syscall.ETIMEDOUT, 110, "Connection timed out"},
	{syscall.ECONNREFUSED, 111, "Connection refused"},
	{syscall.EHOSTUNREACH, 113, "No route to host"},
}
