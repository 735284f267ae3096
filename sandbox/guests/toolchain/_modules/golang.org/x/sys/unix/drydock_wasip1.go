package unix

// What programs ask of this package for terminals and signals, over the import module "drydock"
// (sandbox/wasi/README.md of github.com/drydock-labs/drydock describes it). Bits and requests are Linux's.

import (
	"syscall"
	"unsafe"
)

// Termios is the state of a terminal.
type Termios struct {
	Iflag  uint32
	Oflag  uint32
	Cflag  uint32
	Lflag  uint32
	Line   uint8
	Cc     [19]uint8
	Ispeed uint32
	Ospeed uint32
}

// Winsize is the size of a terminal.
type Winsize struct{ Row, Col, Xpixel, Ypixel uint16 }

const (
	IGNBRK = 0x1
	BRKINT = 0x2
	IGNPAR = 0x4
	PARMRK = 0x8
	INPCK  = 0x10
	ISTRIP = 0x20
	INLCR  = 0x40
	IGNCR  = 0x80
	ICRNL  = 0x100
	IXON   = 0x400
	IXANY  = 0x800
	IXOFF  = 0x1000
	IUTF8  = 0x4000

	OPOST = 0x1
	ONLCR = 0x4
	OCRNL = 0x8

	CSIZE  = 0x30
	CS8    = 0x30
	CREAD  = 0x80
	PARENB = 0x100

	ISIG    = 0x1
	ICANON  = 0x2
	ECHO    = 0x8
	ECHOE   = 0x10
	ECHOK   = 0x20
	ECHONL  = 0x40
	NOFLSH  = 0x80
	TOSTOP  = 0x100
	ECHOCTL = 0x200
	ECHOKE  = 0x800
	IEXTEN  = 0x8000

	VINTR  = 0
	VQUIT  = 1
	VERASE = 2
	VKILL  = 3
	VEOF   = 4
	VTIME  = 5
	VMIN   = 6
	VSTART = 8
	VSTOP  = 9
	VSUSP  = 10

	TCGETS     = 0x5401
	TCSETS     = 0x5402
	TCSETSW    = 0x5403
	TCSETSF    = 0x5404
	TIOCGPGRP  = 0x540f
	TIOCSPGRP  = 0x5410
	TIOCGWINSZ = 0x5413
	TIOCSWINSZ = 0x5414
)

const (
	SIGHUP    = syscall.SIGHUP
	SIGINT    = syscall.SIGINT
	SIGQUIT   = syscall.SIGQUIT
	SIGILL    = syscall.SIGILL
	SIGTRAP   = syscall.SIGTRAP
	SIGABRT   = syscall.SIGABRT
	SIGBUS    = syscall.SIGBUS
	SIGFPE    = syscall.SIGFPE
	SIGKILL   = syscall.SIGKILL
	SIGUSR1   = syscall.SIGUSR1
	SIGSEGV   = syscall.SIGSEGV
	SIGUSR2   = syscall.SIGUSR2
	SIGPIPE   = syscall.SIGPIPE
	SIGALRM   = syscall.SIGALRM
	SIGTERM   = syscall.SIGTERM
	SIGSTKFLT = syscall.SIGSTKFLT
	SIGCHLD   = syscall.SIGCHLD
	SIGCONT   = syscall.SIGCONT
	SIGSTOP   = syscall.SIGSTOP
	SIGTSTP   = syscall.SIGTSTP
	SIGTTIN   = syscall.SIGTTIN
	SIGTTOU   = syscall.SIGTTOU
	SIGURG    = syscall.SIGURG
	SIGXCPU   = syscall.SIGXCPU
	SIGXFSZ   = syscall.SIGXFSZ
	SIGVTALRM = syscall.SIGVTARLM
	SIGPROF   = syscall.SIGPROF
	SIGWINCH  = syscall.SIGWINCH
	SIGPOLL   = syscall.SIGPOLL
	SIGPWR    = syscall.SIGPWR
	SIGSYS    = syscall.SIGSYS

	SIGIOT = SIGABRT
	SIGCLD = SIGCHLD
	SIGIO  = SIGPOLL
)

const (
	EINTR  = syscall.EINTR
	EAGAIN = syscall.EAGAIN
	EBADF  = syscall.EBADF
	EINVAL = syscall.EINVAL
	ENOSYS = syscall.ENOSYS
	ENOTTY = syscall.ENOTTY
	EPERM  = syscall.EPERM
)

//go:wasmimport drydock tcgetattr
//go:noescape
func hostTcgetattr(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock tcsetattr
//go:noescape
func hostTcsetattr(fd, action int32, in unsafe.Pointer) uint32

//go:wasmimport drydock winsize
//go:noescape
func hostWinsize(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock setwinsize
//go:noescape
func hostSetwinsize(fd int32, in unsafe.Pointer) uint32

//go:wasmimport drydock tcgetpgrp
//go:noescape
func hostTcgetpgrp(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock tcsetpgrp
func hostTcsetpgrp(fd, pgid int32) uint32

func hostError(errno uint32) error {
	if errno == 0 {
		return nil
	}
	return syscall.Errno(errno)
}

// IoctlGetTermios reads a terminal's state; req is TCGETS.
func IoctlGetTermios(fd int, req uint) (*Termios, error) {
	if req != TCGETS {
		return nil, ENOTTY
	}
	t := new(Termios)
	if err := hostError(hostTcgetattr(int32(fd), unsafe.Pointer(t))); err != nil {
		return nil, err
	}
	return t, nil
}

// IoctlSetTermios sets a terminal's state; req is TCSETS, TCSETSW or TCSETSF.
func IoctlSetTermios(fd int, req uint, value *Termios) error {
	if req < TCSETS || req > TCSETSF {
		return ENOTTY
	}
	return hostError(hostTcsetattr(int32(fd), int32(req-TCSETS), unsafe.Pointer(value)))
}

// IoctlGetWinsize reads a terminal's size; req is TIOCGWINSZ.
func IoctlGetWinsize(fd int, req uint) (*Winsize, error) {
	w := new(Winsize) // also with an error, as Linux's version: callers look at it first
	if req != TIOCGWINSZ {
		return w, ENOTTY
	}
	return w, hostError(hostWinsize(int32(fd), unsafe.Pointer(w)))
}

// IoctlSetWinsize sets a terminal's size; req is TIOCSWINSZ.
func IoctlSetWinsize(fd int, req uint, value *Winsize) error {
	if req != TIOCSWINSZ {
		return ENOTTY
	}
	return hostError(hostSetwinsize(int32(fd), unsafe.Pointer(value)))
}

// IoctlGetInt reads a number; req is TIOCGPGRP.
func IoctlGetInt(fd int, req uint) (int, error) {
	if req != TIOCGPGRP {
		return 0, ENOTTY
	}
	var pgid int32
	err := hostError(hostTcgetpgrp(int32(fd), unsafe.Pointer(&pgid)))
	return int(pgid), err
}

// IoctlSetPointerInt sets a number; req is TIOCSPGRP.
func IoctlSetPointerInt(fd int, req uint, value int) error {
	if req != TIOCSPGRP {
		return ENOTTY
	}
	return hostError(hostTcsetpgrp(int32(fd), int32(value)))
}

// Umask sets the mask of new files' permissions and returns the old one.
func Umask(mask int) int { return syscall.Umask(mask) }

// Kill sends a signal.
func Kill(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }

// Access checks whether the caller may use path in the way of mode.
func Access(path string, mode uint32) error { return syscall.Access(path, mode) }

// Exec replaces the calling program.
func Exec(argv0 string, argv []string, envv []string) error { return syscall.Exec(argv0, argv, envv) }

// Read reads from fd.
func Read(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

// Write writes to fd.
func Write(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }

// Close closes fd.
func Close(fd int) error { return syscall.Close(fd) }

// Getpid, Getppid and Getuid tell who the caller is.
func Getpid() int { return syscall.Getpid() }

// Getppid is the parent of the caller.
func Getppid() int { return syscall.Getppid() }

// Getuid and Getgid are the user and the group of the caller.
func Getuid() int { return syscall.Getuid() }
func Getgid() int { return syscall.Getgid() }
