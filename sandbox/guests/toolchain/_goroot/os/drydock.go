package os

import (
	"syscall"
	_ "unsafe" // for linkname
)

func init() { syscall.OnStart(drydockRefresh) }

// drydockImage keeps the streams of the image of memory, whose collection would close descriptors 0 to 2.
var drydockImage []*file

// drydockRefresh gives a process its own arguments and streams. The *File values stay, for others hold them.
func drydockRefresh() {
	Args = runtime_args()
	for fd, f := range []*File{Stdin, Stdout, Stderr} {
		if f == nil || f.pfd.Sysfd != fd {
			continue
		}
		drydockImage = append(drydockImage, f.file)
		*f = *NewFile(uintptr(fd), f.name)
	}
}

//go:linkname drydockExecutable syscall.drydockExecutable
func drydockExecutable() (string, error)

func executable() (string, error) { return drydockExecutable() }

// Pipe returns a connected pair of Files; reads from r return bytes written to w.
func Pipe() (r *File, w *File, err error) {
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		return nil, nil, NewSyscallError("pipe", err)
	}
	return newFile(p[0], "|0", kindPipe, false), newFile(p[1], "|1", kindPipe, false), nil
}

//go:linkname drydockPidfd syscall.drydockPidfd
func drydockPidfd(pid int) (int, bool)

// blockUntilWaitable waits, while other goroutines run, until the child has ended, by the descriptor that tells it.
func (p *Process) blockUntilWaitable() (bool, error) {
	pidfd, ok := drydockPidfd(p.Pid)
	if !ok {
		return false, nil
	}
	own, err := syscall.Dup(pidfd)
	if err != nil {
		return false, nil
	}
	f := newFile(own, "pidfd", kindPipe, false)
	defer f.Close()
	polled := false
	err = f.pfd.RawRead(func(uintptr) bool {
		defer func() { polled = true }()
		return polled
	})
	return err == nil, nil
}

// drydockFillMode sets permissions and the types that WASI doesn't know from the Linux mode.
func drydockFillMode(fs *fileStat) {
	mode := fs.sys.Mode
	fs.mode |= FileMode(mode & 0777)
	if mode&syscall.S_IFMT&0170000 == syscall.S_IFIFO {
		fs.mode |= ModeNamedPipe
	}
	if mode&syscall.S_ISUID != 0 {
		fs.mode |= ModeSetuid
	}
	if mode&syscall.S_ISGID != 0 {
		fs.mode |= ModeSetgid
	}
	if mode&syscall.S_ISVTX != 0 {
		fs.mode |= ModeSticky
	}
}
