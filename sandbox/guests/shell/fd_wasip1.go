package main

import (
	"os"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// descriptor is f's descriptor for a child. Unlike File.Fd it leaves the file nonblocking for the shell: a read that blocked
// in the kernel would stop every goroutine of this guest. (The kernel keeps the flag per descriptor.)
func descriptor(f *os.File) int {
	fd := -1
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(d uintptr) { fd = int(d) })
	}
	return fd
}

// replace makes descriptor to a copy of fd.
func replace(fd, to int) error {
	syscall.Close(to)
	got, err := sys.Dup(fd, to)
	if err == nil && got != to {
		err = syscall.EBADF
	}
	return err
}
