package main

import (
	"os"
	"syscall"
)

// descriptor is f's descriptor for a child. The child expects one that blocks, and here the flag is shared with it.
func descriptor(f *os.File) int { return int(f.Fd()) }

// replace makes descriptor to a copy of fd that survives exec.
func replace(fd, to int) error { return syscall.Dup3(fd, to, 0) }
