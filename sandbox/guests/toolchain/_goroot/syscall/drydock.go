package syscall

// Processes, identity, files with modes and owners, over the import module "drydock" (sandbox/wasi/README.md describes it).

import (
	"internal/bytealg"
	"sync"
	"unsafe"
)

//go:wasmimport drydock spawn
//go:noescape
func drydock_spawn(path *byte, pathLen size, argv *byte, argvLen size, env *byte, envLen size, dir *byte, dirLen size, fds *int32, nfds size, attr unsafe.Pointer, pid, pidfd *int32) Errno

//go:wasmimport drydock exec
//go:noescape
func drydock_exec(path *byte, pathLen size, argv *byte, argvLen size, env *byte, envLen size) Errno

//go:wasmimport drydock wait
//go:noescape
func drydock_wait(pid, options int32, status *uint32, got *int32, rusage unsafe.Pointer) Errno

//go:wasmimport drydock kill
func drydock_kill(pid, sig int32) Errno

//go:wasmimport drydock getpid
func drydock_getpid() int32

//go:wasmimport drydock getppid
func drydock_getppid() int32

//go:wasmimport drydock getids
//go:noescape
func drydock_getids(out unsafe.Pointer) Errno

//go:wasmimport drydock getgroups
//go:noescape
func drydock_getgroups(buf unsafe.Pointer, capacity int32, n *int32) Errno

//go:wasmimport drydock umask
func drydock_umask(mask uint32) uint32

//go:wasmimport drydock getcwd
//go:noescape
func drydock_getcwd(buf *byte, capacity size, n *size) Errno

//go:wasmimport drydock chdir
//go:noescape
func drydock_chdir(path *byte, pathLen size) Errno

//go:wasmimport drydock getrlimit
//go:noescape
func drydock_getrlimit(resource int32, out unsafe.Pointer) Errno

//go:wasmimport drydock setrlimit
//go:noescape
func drydock_setrlimit(resource int32, in unsafe.Pointer) Errno

//go:wasmimport drydock self_path
//go:noescape
func drydock_self_path(buf *byte, capacity size, n *size) Errno

//go:wasmimport drydock pipe
//go:noescape
func drydock_pipe(out *int32) Errno

//go:wasmimport drydock dup
//go:noescape
func drydock_dup(fd, least int32, out *int32) Errno

//go:wasmimport wasi_snapshot_preview1 fd_renumber
func fd_renumber(from, to int32) Errno

//go:wasmimport drydock fdpath
//go:noescape
func drydock_fdpath(fd int32, buf *byte, capacity size, n *size) Errno

//go:wasmimport drydock stat
//go:noescape
func drydock_stat(dirfd int32, path *byte, pathLen size, follow int32, out unsafe.Pointer) Errno

//go:wasmimport drydock fstat
//go:noescape
func drydock_fstat(fd int32, out unsafe.Pointer) Errno

//go:wasmimport drydock chmod
//go:noescape
func drydock_chmod(dirfd int32, path *byte, pathLen size, mode uint32) Errno

//go:wasmimport drydock fchmod
func drydock_fchmod(fd int32, mode uint32) Errno

//go:wasmimport drydock chown
//go:noescape
func drydock_chown(dirfd int32, path *byte, pathLen size, follow, uid, gid int32) Errno

//go:wasmimport drydock openat
//go:noescape
func drydock_openat(dirfd int32, path *byte, pathLen size, flags, mode uint32, fd *int32) Errno

//go:wasmimport drydock mkdirat
//go:noescape
func drydock_mkdirat(dirfd int32, path *byte, pathLen size, mode uint32) Errno

//go:wasmimport drydock access
//go:noescape
func drydock_access(dirfd int32, path *byte, pathLen size, mode uint32) Errno

//go:wasmimport drydock uname
//go:noescape
func drydock_uname(out unsafe.Pointer) Errno

// drydockCwd stands for the working directory where a descriptor of a directory is expected.
const drydockCwd = -1

func drydockRuntimeRefresh() // in package runtime

// drydockHooks are run at the start of each process, in order.
var drydockHooks []func()

// OnStart registers f to run at the start of each process that is copied from the program's image of memory,
// before main: for state that belongs to a process and was computed when a package was initialised.
func OnStart(f func()) { drydockHooks = append(drydockHooks, f) }

// drydockStart is called first in a process.
//
//go:linkname drydockStart
func drydockStart() {
	drydockRuntimeRefresh()
	drydockEnv()
	for fd := 0; fd <= 2; fd++ {
		SetNonblock(fd, true)
	}
	for _, f := range drydockHooks {
		f()
	}
}

// drydockEnv takes over the environment of the process; of a key that is there twice the first counts.
func drydockEnv() {
	copyenv() // or it would do its work later on top of ours
	envLock.Lock()
	defer envLock.Unlock()
	envs = runtime_envs()
	env = make(map[string]int, len(envs))
	for i, s := range envs {
		eq := bytealg.IndexByteString(s, '=')
		if eq < 0 {
			continue
		}
		if _, ok := env[s[:eq]]; ok {
			envs[i] = ""
			continue
		}
		env[s[:eq]] = i
	}
}

// drydockList packs strings as the host takes them: each ended by NUL.
func drydockList(ss []string) ([]byte, error) {
	n := 1
	for _, s := range ss {
		n += len(s) + 1
	}
	b := make([]byte, 0, n)
	for _, s := range ss {
		if bytealg.IndexByteString(s, 0) >= 0 {
			return nil, EINVAL
		}
		b = append(append(b, s...), 0)
	}
	return b, nil
}

// drydockText calls a function that fills a buffer, with a larger one until it fits.
func drydockText(fill func(buf *byte, capacity size, n *size) Errno) (string, error) {
	for capacity := 256; ; capacity *= 4 {
		buf := make([]byte, capacity)
		var n size
		switch errno := fill(&buf[0], size(capacity), &n); {
		case errno == ERANGE && capacity < 1<<20:
		case errno != 0:
			return "", errno
		default:
			return string(buf[:n]), nil
		}
	}
}

// Credential holds user and group of a process to be started.
type Credential struct {
	Uid         uint32
	Gid         uint32
	Groups      []uint32
	NoSetGroups bool
}

// drydockChildren holds the descriptors that tell that a child has ended, by pid.
var drydockChildren struct {
	sync.Mutex
	pidfd map[int]int
}

// drydockPidfd is the descriptor that polls readable when child pid has ended; package os waits on it.
//
//go:linkname drydockPidfd
func drydockPidfd(pid int) (int, bool) {
	drydockChildren.Lock()
	defer drydockChildren.Unlock()
	fd, ok := drydockChildren.pidfd[pid]
	return fd, ok
}

func drydockReaped(pid int) {
	drydockChildren.Lock()
	defer drydockChildren.Unlock()
	if fd, ok := drydockChildren.pidfd[pid]; ok {
		delete(drydockChildren.pidfd, pid)
		Close(fd)
	}
}

// StartProcess starts argv0 with the arguments argv. The handle is unused: the kernel knows the child by its pid.
func StartProcess(argv0 string, argv []string, attr *ProcAttr) (pid int, handle uintptr, err error) {
	pid, err = ForkExec(argv0, argv, attr)
	return pid, 0, err
}

// ForkExec starts argv0 with the arguments argv and returns the child's pid.
func ForkExec(argv0 string, argv []string, attr *ProcAttr) (pid int, err error) {
	if attr == nil {
		attr = &ProcAttr{}
	}
	args, err := drydockList(argv)
	if err != nil {
		return 0, err
	}
	environ, err := drydockList(attr.Env)
	if err != nil {
		return 0, err
	}
	fds := make([]int32, 0, 8)
	for _, fd := range attr.Files {
		fds = append(fds, int32(fd))
	}
	host, err := attr.Sys.drydock(fds)
	if err != nil {
		return 0, err
	}
	var child, pidfd int32
	errno := drydock_spawn(unsafe.StringData(argv0), size(len(argv0)), unsafe.SliceData(args), size(len(args)), unsafe.SliceData(environ), size(len(environ)),
		unsafe.StringData(attr.Dir), size(len(attr.Dir)), unsafe.SliceData(fds), size(len(fds)), unsafe.Pointer(&host), &child, &pidfd)
	if errno != 0 {
		return 0, errno
	}
	drydockChildren.Lock()
	defer drydockChildren.Unlock()
	if drydockChildren.pidfd == nil {
		drydockChildren.pidfd = map[int]int{}
	}
	drydockChildren.pidfd[int(child)] = int(pidfd)
	return int(child), nil
}

// drydockAttr is the host's form of SysProcAttr.
type drydockAttr struct {
	flags    uint32
	pgid     int32
	uid, gid uint32
	ttyfd    int32
	_        uint32
}

func (s *SysProcAttr) drydock(fds []int32) (a drydockAttr, err error) {
	if s == nil {
		return a, nil
	}
	if s.Chroot != "" {
		return a, ENOSYS
	}
	a.pgid = int32(s.Pgid)
	if s.Setpgid || s.Foreground {
		a.flags |= 1
	}
	if s.Setsid {
		a.flags |= 2
	}
	if s.Foreground {
		a.flags |= 4
		a.ttyfd = int32(s.Ctty)
	}
	if s.Credential != nil {
		a.flags |= 8
		a.uid, a.gid = s.Credential.Uid, s.Credential.Gid
	}
	if s.Setctty {
		if s.Ctty < 0 || s.Ctty >= len(fds) {
			return a, EINVAL
		}
		a.flags |= 16
		a.ttyfd = fds[s.Ctty]
	}
	return a, nil
}

// Exec replaces the calling program; it returns only on error.
func Exec(argv0 string, argv []string, envv []string) error {
	args, err := drydockList(argv)
	if err != nil {
		return err
	}
	environ, err := drydockList(envv)
	if err != nil {
		return err
	}
	return errnoErr(drydock_exec(unsafe.StringData(argv0), size(len(argv0)), unsafe.SliceData(args), size(len(args)), unsafe.SliceData(environ), size(len(environ))))
}

// Options of Wait4.
const (
	WNOHANG    = 1
	WUNTRACED  = 2
	WCONTINUED = 8
)

// Wait4 waits for a change of a child. Without WNOHANG it stops all goroutines meanwhile: os.Process.Wait does not.
func Wait4(pid int, wstatus *WaitStatus, options int, rusage *Rusage) (wpid int, err error) {
	var status uint32
	var got int32
	var used [3]uint64
	if errno := drydock_wait(int32(pid), int32(options), &status, &got, unsafe.Pointer(&used)); errno != 0 {
		return -1, errno
	}
	if wstatus != nil {
		*wstatus = WaitStatus(status)
	}
	if rusage != nil {
		rusage.Utime = NsecToTimeval(int64(used[0]) * 1000)
		rusage.Stime = NsecToTimeval(int64(used[1]) * 1000)
		rusage.Maxrss = int64(used[2] >> 10)
	}
	if ws := WaitStatus(status); got > 0 && (ws.Exited() || ws.Signaled()) {
		drydockReaped(int(got))
	}
	return int(got), nil
}

func (w WaitStatus) Exited() bool { return w&0x7f == 0 }

func (w WaitStatus) ExitStatus() int {
	if !w.Exited() {
		return -1
	}
	return int(w>>8) & 0xff
}

func (w WaitStatus) Signaled() bool { return w&0x7f != 0 && w&0x7f != 0x7f && w != 0xffff }

func (w WaitStatus) Signal() Signal {
	if !w.Signaled() {
		return SIGNONE
	}
	return Signal(w & 0x7f)
}

func (w WaitStatus) CoreDump() bool { return w.Signaled() && w&0x80 != 0 }

func (w WaitStatus) Stopped() bool { return w&0xff == 0x7f }

func (w WaitStatus) StopSignal() Signal {
	if !w.Stopped() {
		return SIGNONE
	}
	return Signal(w>>8) & 0x7f
}

func (w WaitStatus) Continued() bool { return w == 0xffff }

func (w WaitStatus) TrapCause() int { return -1 }

func Kill(pid int, signum Signal) error {
	return errnoErr(drydock_kill(int32(pid), int32(signum)))
}

func drydockIDs() (ids [4]uint32) {
	drydock_getids(unsafe.Pointer(&ids))
	return ids
}

func Getuid() int  { return int(drydockIDs()[0]) }
func Geteuid() int { return int(drydockIDs()[1]) }
func Getgid() int  { return int(drydockIDs()[2]) }
func Getegid() int { return int(drydockIDs()[3]) }
func Getpid() int  { return int(drydock_getpid()) }
func Getppid() int { return int(drydock_getppid()) }

func Getgroups() ([]int, error) {
	var buf [64]uint32
	var n int32
	if errno := drydock_getgroups(unsafe.Pointer(&buf), int32(len(buf)), &n); errno != 0 {
		return nil, errno
	}
	groups := make([]int, n)
	for i := range groups {
		groups[i] = int(buf[i])
	}
	return groups, nil
}

func Umask(mask int) int { return int(drydock_umask(uint32(mask))) }

func Getrlimit(which int, lim *Rlimit) error {
	return errnoErr(drydock_getrlimit(int32(which), unsafe.Pointer(lim)))
}

func Setrlimit(which int, lim *Rlimit) error {
	return errnoErr(drydock_setrlimit(int32(which), unsafe.Pointer(lim)))
}

// Utsname holds what uname(2) tells, each field ended by NUL.
type Utsname struct {
	Sysname, Nodename, Release, Version, Machine, Domainname [65]int8
}

func Uname(buf *Utsname) error { return errnoErr(drydock_uname(unsafe.Pointer(buf))) }

func Sysctl(key string) (string, error) {
	var field func(*Utsname) *[65]int8
	switch key {
	case "kern.hostname":
		field = func(u *Utsname) *[65]int8 { return &u.Nodename }
	case "kern.osrelease":
		field = func(u *Utsname) *[65]int8 { return &u.Release }
	default:
		return "", ENOENT
	}
	var u Utsname
	if err := Uname(&u); err != nil {
		return "", err
	}
	var b []byte
	for _, c := range field(&u) {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b), nil
}

//go:linkname drydockExecutable
func drydockExecutable() (string, error) { return drydockText(drydock_self_path) }
