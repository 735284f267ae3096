package sys

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Flags of Open beyond those of package os, in the platform's numbers.
const (
	O_DIRECTORY = 0o200000
	O_NOFOLLOW  = 0o400000
	O_NONBLOCK  = 0o4000
	O_NOCTTY    = 0o400
)

const cwd = -1 // a dirfd that stands for the working directory

func check(errno uint32) error {
	if errno == 0 {
		return nil
	}
	return syscall.Errno(errno)
}

func str(s string) (unsafe.Pointer, int32) {
	return unsafe.Pointer(unsafe.StringData(s)), int32(len(s))
}

// list packs strings as the ABI takes them: each ended by NUL.
func list(ss []string) (string, error) {
	var b strings.Builder
	for _, s := range ss {
		if strings.IndexByte(s, 0) >= 0 {
			return "", syscall.EINVAL
		}
		b.WriteString(s)
		b.WriteByte(0)
	}
	return b.String(), nil
}

// text calls a function that fills a buffer, with a larger one until it fits.
func text(fill func(buf unsafe.Pointer, capacity int32, lenOut unsafe.Pointer) uint32) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		var n int32
		switch err := check(fill(unsafe.Pointer(&buf[0]), int32(size), unsafe.Pointer(&n))); {
		case err == syscall.ERANGE && size < 1<<20:
		case err != nil:
			return "", err
		default:
			return string(buf[:n]), nil
		}
	}
}

// Spawn starts the program at path (no search in PATH) with argv and returns its pid. a may be nil.
// ENOENT, EACCES, ENOEXEC (the file is not a program for this machine), EAGAIN (limit of processes), ENOMEM.
func Spawn(path string, argv []string, a *SpawnAttr) (pid int, err error) {
	if a == nil {
		a = &SpawnAttr{}
	}
	args, err := list(argv)
	if err != nil {
		return 0, err
	}
	env, err := list(a.env())
	if err != nil {
		return 0, err
	}
	attr := struct {
		flags    uint32
		pgid     int32
		uid, gid uint32
		ttyfd    int32
		_        uint32
	}{pgid: int32(a.Pgid), ttyfd: int32(a.TTY)}
	flag := func(on bool, bit uint32) {
		if on {
			attr.flags |= bit
		}
	}
	flag((a.Setpgid || a.Foreground) && !a.Setctty, 1)
	flag(a.Setsid, 2)
	flag(a.Foreground, 4)
	flag(a.Credential != nil, 8)
	flag(a.Setctty, 16)
	if a.Credential != nil {
		attr.uid, attr.gid = a.Credential.UID, a.Credential.GID
	}
	fds := make([]int32, 0, 4)
	for _, fd := range a.files() {
		fds = append(fds, int32(fd))
	}
	pp, pn := str(path)
	ap, an := str(args)
	ep, en := str(env)
	dp, dn := str(a.Dir)
	var child int32
	err = check(hostSpawn(pp, pn, ap, an, ep, en, dp, dn, unsafe.Pointer(unsafe.SliceData(fds)), int32(len(fds)), unsafe.Pointer(&attr), unsafe.Pointer(&child), nil))
	return int(child), err
}

// Exec replaces the calling program; it returns only on error.
func Exec(path string, argv, env []string) error {
	args, err := list(argv)
	if err != nil {
		return err
	}
	environ, err := list(env)
	if err != nil {
		return err
	}
	pp, pn := str(path)
	ap, an := str(args)
	ep, en := str(environ)
	return check(hostExec(pp, pn, ap, an, ep, en))
}

// children tells every waiting goroutine that some child has changed its state.
var children struct {
	once    sync.Once
	mu      sync.Mutex
	changed chan struct{} // closed and replaced on SIGCHLD; protected by mu
}

func childChange() <-chan struct{} {
	children.once.Do(func() {
		children.changed = make(chan struct{})
		sigs := make(chan os.Signal, 1)
		signal.Notify(sigs, syscall.SIGCHLD)
		go func() {
			for range sigs {
				children.mu.Lock()
				close(children.changed)
				children.changed = make(chan struct{})
				children.mu.Unlock()
			}
		}()
	})
	children.mu.Lock()
	defer children.mu.Unlock()
	return children.changed
}

// Wait waits for a change of a child as waitpid(2) does: pid −1 any, 0 the own group, < −1 group −pid.
// Other goroutines run meanwhile. With WNOHANG and nothing to tell the pid is 0. ECHILD.
func Wait(pid, options int) (int, WaitStatus, Rusage, error) {
	for {
		var changed <-chan struct{}
		if options&WNOHANG == 0 {
			changed = childChange() // before looking, so that no change falls between look and wait
		}
		var status uint32
		var got int32
		var ru [3]uint64
		err := check(hostWait(int32(pid), int32(options|WNOHANG), unsafe.Pointer(&status), unsafe.Pointer(&got), unsafe.Pointer(&ru)))
		if err != nil || got != 0 || options&WNOHANG != 0 {
			return int(got), WaitStatus(status), Rusage{time.Duration(ru[0]) * time.Microsecond, time.Duration(ru[1]) * time.Microsecond, int64(ru[2])}, err
		}
		<-changed
	}
}

// Kill sends a signal as kill(2) does: pid 0 the own group, −1 all, < −1 group −pid. Signal 0 probes. ESRCH, EPERM.
func Kill(pid int, sig syscall.Signal) error { return check(hostKill(int32(pid), int32(sig))) }

func idOrErrno(n int32) (int, error) {
	if n < 0 {
		return 0, syscall.Errno(-n)
	}
	return int(n), nil
}

// Getpgid is the process group of pid; 0 is the caller.
func Getpgid(pid int) (int, error) { return idOrErrno(hostGetpgid(int32(pid))) }

// Setpgid moves pid (0: the caller) into group pgid (0: a new one).
func Setpgid(pid, pgid int) error { return check(hostSetpgid(int32(pid), int32(pgid))) }

// Getsid is the session of pid; 0 is the caller.
func Getsid(pid int) (int, error) { return idOrErrno(hostGetsid(int32(pid))) }

// Setsid starts a new session.
func Setsid() (int, error) {
	var sid int32
	err := check(hostSetsid(unsafe.Pointer(&sid)))
	return int(sid), err
}

// Setids changes user and group for good. Root only: EPERM.
func Setids(uid, gid uint32) error { return check(hostSetids(uid, gid)) }

// Umask sets the mask of new files' permissions and returns the old one.
func Umask(mask int) int { return int(hostUmask(uint32(mask))) }

// Nice adds inc to the niceness of pid (0: the caller) and returns the new one.
func Nice(pid, inc int) (int, error) {
	var nice int32
	err := check(hostNice(int32(pid), int32(inc), unsafe.Pointer(&nice)))
	return int(nice), err
}

// Getrlimit reads a limit of the calling process.
func Getrlimit(resource int) (Rlimit, error) {
	var l Rlimit
	err := check(hostGetrlimit(int32(resource), unsafe.Pointer(&l)))
	return l, err
}

// Setrlimit sets a limit of the calling process. EPERM when the hard limit would rise.
func Setrlimit(resource int, l Rlimit) error {
	return check(hostSetrlimit(int32(resource), unsafe.Pointer(&l)))
}

// IgnoreSignal makes the calling process and the children it starts from now on ignore sig, or (off) take the default action.
// For terminal signals (SIGTTOU) that a shell must not be stopped by; use os/signal for the rest.
func IgnoreSignal(sig syscall.Signal, on bool) error {
	ignore(sig, on)
	return nil
}

// SelfPath is the absolute path of the running program.
func SelfPath() (string, error) { return text(hostSelfPath) }

// Pipe makes a pipe of descriptors that block.
func Pipe() (r, w int, err error) {
	var p [2]int32
	err = check(hostPipe(unsafe.Pointer(&p)))
	return int(p[0]), int(p[1]), err
}

// Dup duplicates fd onto the lowest free descriptor not below least.
func Dup(fd, least int) (int, error) {
	var to int32
	err := check(hostDup(int32(fd), int32(least), unsafe.Pointer(&to)))
	return int(to), err
}

// FDPath is the path by which fd was opened.
func FDPath(fd int) (string, error) {
	return text(func(buf unsafe.Pointer, capacity int32, lenOut unsafe.Pointer) uint32 {
		return hostFdpath(int32(fd), buf, capacity, lenOut)
	})
}

// IsTerminal reports whether fd is a terminal.
func IsTerminal(fd int) bool { return hostIsatty(int32(fd)) == 1 }

// Tcgetattr reads the state of terminal fd. ENOTTY.
func Tcgetattr(fd int) (*Termios, error) {
	t := new(Termios)
	if err := check(hostTcgetattr(int32(fd), unsafe.Pointer(t))); err != nil {
		return nil, err
	}
	return t, nil
}

// Tcsetattr sets the state of terminal fd. ENOTTY.
func Tcsetattr(fd, action int, t *Termios) error {
	return check(hostTcsetattr(int32(fd), int32(action), unsafe.Pointer(t)))
}

// GetWinsize reads the size of terminal fd. ENOTTY.
func GetWinsize(fd int) (Winsize, error) {
	var w Winsize
	err := check(hostWinsize(int32(fd), unsafe.Pointer(&w)))
	return w, err
}

// SetWinsize sets the size of terminal fd; a change sends SIGWINCH to its foreground group.
func SetWinsize(fd int, w Winsize) error {
	return check(hostSetwinsize(int32(fd), unsafe.Pointer(&w)))
}

// Tcgetpgrp is the foreground process group of terminal fd.
func Tcgetpgrp(fd int) (int, error) {
	var pgid int32
	err := check(hostTcgetpgrp(int32(fd), unsafe.Pointer(&pgid)))
	return int(pgid), err
}

// Tcsetpgrp makes pgid the foreground process group of terminal fd.
func Tcsetpgrp(fd, pgid int) error { return check(hostTcsetpgrp(int32(fd), int32(pgid))) }

// OpenPTY makes a pseudo-terminal.
func OpenPTY() (master, slave int, err error) {
	var m, s int32
	err = check(hostOpenpty(unsafe.Pointer(&m), unsafe.Pointer(&s)))
	return int(m), int(s), err
}

func decodeStat(b *[96]byte) Stat {
	u32 := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
	u64 := func(off int) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
	at := func(off int) time.Time { return time.Unix(0, int64(u64(off))) }
	return Stat{Dev: u64(0), Ino: u64(8), Mode: u32(16), Nlink: u32(20), UID: u32(24), GID: u32(28), Rdev: u64(32),
		Size: int64(u64(40)), Blksize: int64(u64(48)), Blocks: int64(u64(56)), Atime: at(64), Mtime: at(72), Ctime: at(80)}
}

// StatFile describes the file at path; with follow false a last symbolic link itself.
func StatFile(path string, follow bool) (Stat, error) {
	var b [96]byte
	p, n := str(path)
	if err := check(hostStat(cwd, p, n, flag(follow), unsafe.Pointer(&b))); err != nil {
		return Stat{}, err
	}
	return decodeStat(&b), nil
}

// Fstat describes the open file fd.
func Fstat(fd int) (Stat, error) {
	var b [96]byte
	if err := check(hostFstat(int32(fd), unsafe.Pointer(&b))); err != nil {
		return Stat{}, err
	}
	return decodeStat(&b), nil
}

// Open opens path with flags (os.O_* and the O_* of this package) and, when it creates, the permissions mode less the umask.
func Open(path string, flags int, mode uint32) (fd int, err error) {
	p, n := str(path)
	var got int32
	err = check(hostOpenat(cwd, p, n, uint32(flags), mode, unsafe.Pointer(&got)))
	return int(got), err
}

// Chmod sets the permissions of path, links followed. EPERM.
func Chmod(path string, mode uint32) error {
	p, n := str(path)
	return check(hostChmod(cwd, p, n, mode))
}

func flag(on bool) int32 {
	if on {
		return 1
	}
	return 0
}

// Chown sets the owner of path; −1 keeps. EPERM.
func Chown(path string, uid, gid int, follow bool) error {
	p, n := str(path)
	return check(hostChown(cwd, p, n, flag(follow), int32(uid), int32(gid)))
}

// Mkdir makes a directory with the permissions mode less the umask.
func Mkdir(path string, mode uint32) error {
	p, n := str(path)
	return check(hostMkdirat(cwd, p, n, mode))
}

// Mknod makes a FIFO, or as root a device node, by mode's type. EPERM.
func Mknod(path string, mode uint32, dev uint64) error {
	p, n := str(path)
	return check(hostMknod(cwd, p, n, mode, int64(dev)))
}

// GetStatfs describes the file system path is on.
func GetStatfs(path string) (Statfs, error) {
	var s Statfs
	p, n := str(path)
	err := check(hostStatfs(p, n, unsafe.Pointer(&s)))
	return s, err
}

// Access checks whether the caller may use path in the way of mode (R_OK, W_OK, X_OK or'ed, or F_OK).
func Access(path string, mode uint32) error {
	p, n := str(path)
	return check(hostAccess(cwd, p, n, mode))
}

// Sync writes all file systems out.
func Sync() { hostSync() }

// Uname tells what machine this is.
func Uname() (Utsname, error) {
	var b [6 * 65]byte
	if err := check(hostUname(unsafe.Pointer(&b))); err != nil {
		return Utsname{}, err
	}
	s := func(i int) string {
		field, _, _ := bytes.Cut(b[i*65:(i+1)*65], []byte{0})
		return string(field)
	}
	return Utsname{s(0), s(1), s(2), s(3), s(4), s(5)}, nil
}

// Sethostname names the machine. Root only: EPERM.
func Sethostname(name string) error {
	p, n := str(name)
	return check(hostSethostname(p, n))
}

// Reboot powers the machine off or restarts it. Root only: EPERM.
func Reboot(cmd uint32) error { return check(hostReboot(cmd)) }

// GetSysinfo tells the state of the machine.
func GetSysinfo() (Sysinfo, error) {
	var b [7]uint64
	if err := check(hostSysinfo(unsafe.Pointer(&b))); err != nil {
		return Sysinfo{}, err
	}
	si := Sysinfo{Uptime: time.Duration(b[0]) * time.Second, TotalBytes: b[1], FreeBytes: b[2], Processes: b[3]}
	for i := range si.Load {
		si.Load[i] = float64(b[4+i]) / 65536
	}
	return si, nil
}

// Log writes a line to the kernel's log. Level as in syslog(3).
func Log(level int, line string) error {
	p, n := str(line)
	return check(hostLog(int32(level), p, n))
}
