// Package sys is what the guest programs need from the kernel beyond Go's standard library: process groups and job control,
// terminals, files with Linux modes and owners, machine-wide calls.
//
// It has two implementations with one API: for GOOS=wasip1 over the import module "drydock" (sandbox/wasi/README.md is its text),
// and for GOOS=linux over the real system calls, so that a guest can be developed and tested as an ordinary Linux program.
//
// What os, os/exec, os/signal, os/user, net and golang.org/x/term offer works unchanged in guests and is not repeated here.
// Errors are syscall.Errno values of the platform: compare with the names (syscall.ENOENT), never with numbers.
// Signals are Linux numbers on both sides.
package sys

import (
	"os"
	"syscall"
	"time"
)

// SpawnAttr says how a child differs from its parent. The zero value starts it in the caller's group, directory and identity,
// with the caller's descriptors 0–2.
type SpawnAttr struct {
	Dir   string   // working directory; "" is the caller's
	Env   []string // KEY=value; nil is the caller's
	Files []int    // the child's descriptor i is the caller's Files[i]; −1 is closed; nil is 0, 1, 2

	Setpgid    bool // put the child in process group Pgid (0: a new one with its own pid)
	Pgid       int
	Setsid     bool // start a new session
	Foreground bool // make the child's group the foreground group of terminal TTY; implies Setpgid. Guests: the caller's again when it has ended
	Setctty    bool // make TTY the controlling terminal; needs Setsid, and TTY among Files
	TTY        int  // the caller's descriptor of the terminal
	Credential *Credential
}

// Credential is the identity of a child. Only root may set it.
type Credential struct{ UID, GID uint32 }

// Options of Wait, as in waitpid(2).
const (
	WNOHANG    = 1
	WUNTRACED  = 2
	WCONTINUED = 8
)

// WaitStatus is the status of a child as Linux encodes it.
type WaitStatus uint32

// Exited reports whether the child ended by exit.
func (w WaitStatus) Exited() bool { return w&0x7f == 0 }

// ExitStatus is the code given to exit, or −1.
func (w WaitStatus) ExitStatus() int {
	if !w.Exited() {
		return -1
	}
	return int(w>>8) & 0xff
}

// Signaled reports whether a signal ended the child.
func (w WaitStatus) Signaled() bool { return w&0x7f != 0 && w&0x7f != 0x7f && w != 0xffff }

// Signal is the signal that ended the child, or 0.
func (w WaitStatus) Signal() syscall.Signal {
	if !w.Signaled() {
		return 0
	}
	return syscall.Signal(w & 0x7f)
}

// CoreDump reports whether a trap ended the child (the kernel keeps no core file).
func (w WaitStatus) CoreDump() bool { return w.Signaled() && w&0x80 != 0 }

// Stopped reports whether the child is stopped; only Wait with WUNTRACED says so.
func (w WaitStatus) Stopped() bool { return w&0xff == 0x7f }

// StopSignal is the signal that stopped the child, or 0.
func (w WaitStatus) StopSignal() syscall.Signal {
	if !w.Stopped() {
		return 0
	}
	return syscall.Signal(w>>8) & 0x7f
}

// Continued reports whether the child was continued; only Wait with WCONTINUED says so.
func (w WaitStatus) Continued() bool { return w == 0xffff }

// ShellCode is the code a shell shows in $?: the exit status, or 128 + the signal that ended or stopped the child.
func (w WaitStatus) ShellCode() int {
	switch {
	case w.Signaled():
		return 128 + int(w.Signal())
	case w.Stopped():
		return 128 + int(w.StopSignal())
	case w.Continued():
		return 0
	}
	return w.ExitStatus()
}

// Rusage is what a child used.
type Rusage struct {
	User, System time.Duration
	MaxBytes     int64 // most private memory it had
}

// Termios is the state of a terminal, with Linux bits. Its layout is the kernel's: 36 bytes.
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	Cc                         [19]uint8
}

// Bits and indices of Termios, see termios(3).
const (
	BRKINT = 0x2
	IGNCR  = 0x80
	ICRNL  = 0x100
	INLCR  = 0x40
	INPCK  = 0x10
	ISTRIP = 0x20
	IXON   = 0x400
	IUTF8  = 0x4000

	OPOST = 0x1
	ONLCR = 0x4

	CS8    = 0x30
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
)

// Actions of Tcsetattr: at once, after the output has drained, and after that with pending input thrown away.
const (
	TCSANOW   = 0
	TCSADRAIN = 1
	TCSAFLUSH = 2
)

// Raw makes t what cfmakeraw(3) makes of it, with reads that return from one byte on.
func (t *Termios) Raw() {
	t.Iflag &^= 0x1 | BRKINT | 0x8 | ISTRIP | INLCR | IGNCR | ICRNL | IXON
	t.Oflag &^= OPOST
	t.Lflag &^= ECHO | ECHONL | ICANON | ISIG | IEXTEN
	t.Cflag = t.Cflag&^(CS8|PARENB) | CS8
	t.Cc[VMIN], t.Cc[VTIME] = 1, 0
}

// MakeRaw puts the terminal fd into raw mode and returns its state from before, for Tcsetattr.
func MakeRaw(fd int) (*Termios, error) {
	old, err := Tcgetattr(fd)
	if err != nil {
		return nil, err
	}
	raw := *old
	raw.Raw()
	return old, Tcsetattr(fd, TCSANOW, &raw)
}

// Winsize is the size of a terminal.
type Winsize struct{ Rows, Cols, XPixel, YPixel uint16 }

// Stat describes a file. Mode holds type and permissions as Linux has them (S_IFMT and below).
type Stat struct {
	Dev, Ino            uint64
	Mode, Nlink         uint32
	UID, GID            uint32
	Rdev                uint64
	Size, Blksize       int64
	Blocks              int64 // of 512 bytes
	Atime, Mtime, Ctime time.Time
}

// File types in Stat.Mode and Mknod.
const (
	S_IFMT   = 0o170000
	S_IFIFO  = 0o010000
	S_IFCHR  = 0o020000
	S_IFDIR  = 0o040000
	S_IFBLK  = 0o060000
	S_IFREG  = 0o100000
	S_IFLNK  = 0o120000
	S_IFSOCK = 0o140000
	S_ISUID  = 0o4000
	S_ISGID  = 0o2000
	S_ISVTX  = 0o1000
)

// Major and Minor are the halves of a device number; Mkdev joins them.
func Major(dev uint64) uint32 { return uint32(dev>>8)&0xfff | uint32(dev>>32)&^0xfff }

// Minor is the lower half of a device number.
func Minor(dev uint64) uint32 { return uint32(dev)&0xff | uint32(dev>>12)&^0xff }

// Mkdev joins a device number as Linux does.
func Mkdev(major, minor uint32) uint64 {
	return uint64(major&0xfff)<<8 | uint64(major&^0xfff)<<32 | uint64(minor&0xff) | uint64(minor&^0xff)<<12
}

// Statfs describes a file system. Blocks are of Bsize bytes.
type Statfs struct{ Type, Bsize, Blocks, Bfree, Bavail, Files, Ffree uint64 }

// Utsname is what uname(2) tells.
type Utsname struct{ Sysname, Nodename, Release, Version, Machine, Domainname string }

// Sysinfo is the state of the machine.
type Sysinfo struct {
	Uptime     time.Duration
	TotalBytes uint64
	FreeBytes  uint64
	Processes  uint64
	Load       [3]float64 // over 1, 5 and 15 minutes
}

// Rlimit is a pair of limits; RLIM_INFINITY is none.
type Rlimit struct{ Soft, Hard uint64 }

// Resources of Getrlimit and Setrlimit.
const (
	RLIMIT_FSIZE  = 1
	RLIMIT_CORE   = 4
	RLIMIT_NPROC  = 6
	RLIMIT_NOFILE = 7
	RLIMIT_AS     = 9
	RLIM_INFINITY = ^uint64(0)
)

// Commands of Reboot.
const (
	RebootPowerOff = 0x4321fedc
	RebootRestart  = 0x01234567
)

// Modes of Access.
const (
	F_OK = 0
	X_OK = 1
	W_OK = 2
	R_OK = 4
)

func (a *SpawnAttr) env() []string {
	if a.Env != nil {
		return a.Env
	}
	return os.Environ()
}

func (a *SpawnAttr) files() []int {
	if a.Files != nil {
		return a.Files
	}
	return []int{0, 1, 2}
}
