package sys

import (
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Flags of Open beyond those of package os, in the platform's numbers.
const (
	O_DIRECTORY = unix.O_DIRECTORY
	O_NOFOLLOW  = unix.O_NOFOLLOW
	O_NONBLOCK  = unix.O_NONBLOCK
	O_NOCTTY    = unix.O_NOCTTY
)

// Spawn starts the program at path (no search in PATH) with argv and returns its pid. a may be nil.
// ENOENT, EACCES, ENOEXEC (the file is not a program for this machine), EAGAIN (limit of processes), ENOMEM.
func Spawn(path string, argv []string, a *SpawnAttr) (pid int, err error) {
	if a == nil {
		a = &SpawnAttr{}
	}
	attr := &syscall.ProcAttr{Dir: a.Dir, Env: a.env(), Sys: &syscall.SysProcAttr{
		Setpgid: a.Setpgid || a.Foreground, Pgid: a.Pgid, Setsid: a.Setsid, Setctty: a.Setctty, Foreground: a.Foreground,
	}}
	for _, fd := range a.files() {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	if a.Foreground {
		attr.Sys.Ctty = a.TTY
	}
	if a.Setctty {
		if attr.Sys.Ctty = slices.Index(a.files(), a.TTY); attr.Sys.Ctty < 0 {
			return 0, syscall.EINVAL
		}
		attr.Sys.Setpgid = false
	}
	if a.Credential != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: a.Credential.UID, Gid: a.Credential.GID}
	}
	return syscall.ForkExec(path, argv, attr)
}

// Exec replaces the calling program; it returns only on error.
func Exec(path string, argv, env []string) error { return syscall.Exec(path, argv, env) }

// Wait waits for a change of a child as waitpid(2) does: pid −1 any, 0 the own group, < −1 group −pid.
// Other goroutines run meanwhile. With WNOHANG and nothing to tell the pid is 0. ECHILD.
func Wait(pid, options int) (int, WaitStatus, Rusage, error) {
	for {
		var ws syscall.WaitStatus
		var ru syscall.Rusage
		got, err := syscall.Wait4(pid, &ws, options, &ru)
		if err == syscall.EINTR {
			continue
		}
		return got, WaitStatus(ws), Rusage{time.Duration(ru.Utime.Nano()), time.Duration(ru.Stime.Nano()), ru.Maxrss << 10}, err
	}
}

// Kill sends a signal as kill(2) does: pid 0 the own group, −1 all, < −1 group −pid. Signal 0 probes. ESRCH, EPERM.
func Kill(pid int, sig syscall.Signal) error { return syscall.Kill(pid, sig) }

// Getpgid is the process group of pid; 0 is the caller.
func Getpgid(pid int) (int, error) { return unix.Getpgid(pid) }

// Setpgid moves pid (0: the caller) into group pgid (0: a new one).
func Setpgid(pid, pgid int) error { return unix.Setpgid(pid, pgid) }

// Getsid is the session of pid; 0 is the caller.
func Getsid(pid int) (int, error) { return unix.Getsid(pid) }

// Setsid starts a new session.
func Setsid() (int, error) { return unix.Setsid() }

// Setids changes user and group for good. Root only: EPERM.
func Setids(uid, gid uint32) error {
	if err := syscall.Setgroups([]int{int(gid)}); err != nil {
		return err
	}
	if err := syscall.Setgid(int(gid)); err != nil {
		return err
	}
	return syscall.Setuid(int(uid))
}

// Umask sets the mask of new files' permissions and returns the old one.
func Umask(mask int) int { return unix.Umask(mask) }

// Nice adds inc to the niceness of pid (0: the caller) and returns the new one.
func Nice(pid, inc int) (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		return 0, err
	}
	nice := min(max(20-raw+inc, -20), 19)
	if inc == 0 {
		return nice, nil
	}
	return nice, unix.Setpriority(unix.PRIO_PROCESS, pid, nice)
}

// Getrlimit reads a limit of the calling process.
func Getrlimit(resource int) (Rlimit, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(resource, &l)
	return Rlimit{l.Cur, l.Max}, err
}

// Setrlimit sets a limit of the calling process. EPERM when the hard limit would rise.
func Setrlimit(resource int, l Rlimit) error {
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard})
}

// IgnoreSignal makes the calling process and the children it starts from now on ignore sig, or (off) take the default action.
// For terminal signals (SIGTTOU) that a shell must not be stopped by; use os/signal for the rest.
func IgnoreSignal(sig syscall.Signal, on bool) error {
	ignore(sig, on)
	return nil
}

// SelfPath is the absolute path of the running program.
func SelfPath() (string, error) { return os.Executable() }

// Pipe makes a pipe of descriptors that block.
func Pipe() (r, w int, err error) {
	var p [2]int
	err = unix.Pipe2(p[:], unix.O_CLOEXEC)
	return p[0], p[1], err
}

// Dup duplicates fd onto the lowest free descriptor not below least.
func Dup(fd, least int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, least)
}

// FDPath is the path by which fd was opened.
func FDPath(fd int) (string, error) { return os.Readlink("/proc/self/fd/" + itoa(fd)) }

// IsTerminal reports whether fd is a terminal.
func IsTerminal(fd int) bool {
	_, err := Tcgetattr(fd)
	return err == nil
}

// Tcgetattr reads the state of terminal fd. ENOTTY.
func Tcgetattr(fd int) (*Termios, error) {
	k, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	return &Termios{k.Iflag, k.Oflag, k.Cflag, k.Lflag, k.Line, k.Cc}, nil
}

// Tcsetattr sets the state of terminal fd. ENOTTY.
func Tcsetattr(fd, action int, t *Termios) error {
	if action < TCSANOW || action > TCSAFLUSH {
		return syscall.EINVAL
	}
	return unix.IoctlSetTermios(fd, uint(unix.TCSETS+action),
		&unix.Termios{Iflag: t.Iflag, Oflag: t.Oflag, Cflag: t.Cflag, Lflag: t.Lflag, Line: t.Line, Cc: t.Cc})
}

// GetWinsize reads the size of terminal fd. ENOTTY.
func GetWinsize(fd int) (Winsize, error) {
	w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return Winsize{}, err
	}
	return Winsize{w.Row, w.Col, w.Xpixel, w.Ypixel}, nil
}

// SetWinsize sets the size of terminal fd; a change sends SIGWINCH to its foreground group.
func SetWinsize(fd int, w Winsize) error {
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Cols, Xpixel: w.XPixel, Ypixel: w.YPixel})
}

// Tcgetpgrp is the foreground process group of terminal fd.
func Tcgetpgrp(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.TIOCGPGRP) }

// Tcsetpgrp makes pgid the foreground process group of terminal fd.
func Tcsetpgrp(fd, pgid int) error { return unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, pgid) }

// OpenPTY makes a pseudo-terminal.
func OpenPTY() (master, slave int, err error) {
	master, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err == nil {
		if err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err == nil {
			slave, err = unix.Open("/dev/pts/"+itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		unix.Close(master)
		return -1, -1, err
	}
	return master, slave, nil
}

func fromKernel(k *unix.Stat_t) Stat {
	at := func(ts unix.Timespec) time.Time { return time.Unix(ts.Unix()) }
	return Stat{Dev: uint64(k.Dev), Ino: k.Ino, Mode: k.Mode, Nlink: uint32(k.Nlink), UID: k.Uid, GID: k.Gid, Rdev: uint64(k.Rdev),
		Size: k.Size, Blksize: int64(k.Blksize), Blocks: k.Blocks, Atime: at(k.Atim), Mtime: at(k.Mtim), Ctime: at(k.Ctim)}
}

// StatFile describes the file at path; with follow false a last symbolic link itself.
func StatFile(path string, follow bool) (Stat, error) {
	var k unix.Stat_t
	var err error
	if follow {
		err = unix.Stat(path, &k)
	} else {
		err = unix.Lstat(path, &k)
	}
	return fromKernel(&k), err
}

// Fstat describes the open file fd.
func Fstat(fd int) (Stat, error) {
	var k unix.Stat_t
	err := unix.Fstat(fd, &k)
	return fromKernel(&k), err
}

// Open opens path with flags (os.O_* and the O_* of this package) and, when it creates, the permissions mode less the umask.
func Open(path string, flags int, mode uint32) (fd int, err error) {
	return unix.Open(path, flags|unix.O_CLOEXEC, mode)
}

// Chmod sets the permissions of path, links followed. EPERM.
func Chmod(path string, mode uint32) error { return unix.Chmod(path, mode) }

// Chown sets the owner of path; −1 keeps. EPERM.
func Chown(path string, uid, gid int, follow bool) error {
	if follow {
		return unix.Chown(path, uid, gid)
	}
	return unix.Lchown(path, uid, gid)
}

// Mkdir makes a directory with the permissions mode less the umask.
func Mkdir(path string, mode uint32) error { return unix.Mkdir(path, mode) }

// Mknod makes a FIFO, or as root a device node, by mode's type. EPERM.
func Mknod(path string, mode uint32, dev uint64) error { return unix.Mknod(path, mode, int(dev)) }

// GetStatfs describes the file system path is on.
func GetStatfs(path string) (Statfs, error) {
	var k unix.Statfs_t
	err := unix.Statfs(path, &k)
	return Statfs{uint64(k.Type), uint64(k.Bsize), k.Blocks, k.Bfree, k.Bavail, k.Files, k.Ffree}, err
}

// Access checks whether the caller may use path in the way of mode (R_OK, W_OK, X_OK or'ed, or F_OK).
func Access(path string, mode uint32) error { return unix.Access(path, mode) }

// Sync writes all file systems out.
func Sync() { unix.Sync() }

// Uname tells what machine this is.
func Uname() (Utsname, error) {
	var k unix.Utsname
	err := unix.Uname(&k)
	s := unix.ByteSliceToString
	return Utsname{s(k.Sysname[:]), s(k.Nodename[:]), s(k.Release[:]), s(k.Version[:]), s(k.Machine[:]), s(k.Domainname[:])}, err
}

// Sethostname names the machine. Root only: EPERM.
func Sethostname(name string) error { return unix.Sethostname([]byte(name)) }

// Reboot powers the machine off or restarts it. Root only: EPERM. It refuses to act on the machine a developer tests on: ENOSYS.
func Reboot(cmd uint32) error { return syscall.ENOSYS }

// GetSysinfo tells the state of the machine.
func GetSysinfo() (Sysinfo, error) {
	var k unix.Sysinfo_t
	err := unix.Sysinfo(&k)
	si := Sysinfo{Uptime: time.Duration(k.Uptime) * time.Second, TotalBytes: uint64(k.Totalram) * uint64(k.Unit), FreeBytes: uint64(k.Freeram) * uint64(k.Unit), Processes: uint64(k.Procs)}
	for i, l := range k.Loads {
		si.Load[i] = float64(l) / 65536
	}
	return si, err
}

// Log writes a line to the kernel's log. Level as in syslog(3).
func Log(level int, line string) error {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("<" + itoa(level) + ">" + line + "\n")
	return err
}
