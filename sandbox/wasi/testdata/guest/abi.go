package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 fd_seek
func wSeek(fd int32, off int64, whence int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_pread
func wPread(fd int32, iovs unsafe.Pointer, n int32, off int64, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_readdir
func wReaddir(fd int32, buf unsafe.Pointer, n int32, cookie int64, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_renumber
func wRenumber(from, to int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_get
func wFdstat(fd int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_prestat_get
func wPrestat(fd int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_allocate
func wAllocate(fd int32, off, n int64) uint32

//go:wasmimport wasi_snapshot_preview1 fd_advise
func wAdvise(fd int32, off, n int64, advice int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_filestat_set_times
func wSetTimes(fd int32, a, m int64, flags int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_open
func wOpen(dir, look int32, path unsafe.Pointer, n int32, oflags int32, base, inh int64, fdflags int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 path_create_directory
func wMkdir(dir int32, path unsafe.Pointer, n int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_unlink_file
func wUnlink(dir int32, path unsafe.Pointer, n int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_remove_directory
func wRmdir(dir int32, path unsafe.Pointer, n int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_readlink
func wReadlink(dir int32, path unsafe.Pointer, n int32, buf unsafe.Pointer, cap int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 path_symlink
func wSymlink(target unsafe.Pointer, tn int32, dir int32, path unsafe.Pointer, n int32) uint32

//go:wasmimport wasi_snapshot_preview1 clock_time_get
func wClock(id int32, precision int64, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 random_get
func wRandom(buf unsafe.Pointer, n int32) uint32

//go:wasmimport wasi_snapshot_preview1 args_get
func wArgs(argv, buf unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_shutdown
func wShutdown(fd, how int32) uint32

//go:wasmimport drydock openat
func dOpenat(dir int32, path unsafe.Pointer, n int32, flags, mode uint32, out unsafe.Pointer) uint32

//go:wasmimport drydock getcwd
func dGetcwd(buf unsafe.Pointer, cap int32, out unsafe.Pointer) uint32

//go:wasmimport drydock chdir
func dChdir(path unsafe.Pointer, n int32) uint32

//go:wasmimport drydock setrlimit
func dSetrlimit(res int32, in unsafe.Pointer) uint32

//go:wasmimport drydock setids
func dSetids(uid, gid uint32) uint32

//go:wasmimport drydock sethostname
func dSethostname(p unsafe.Pointer, n int32) uint32

//go:wasmimport drydock reboot
func dReboot(cmd uint32) uint32

//go:wasmimport drydock setsid
func dSetsid(out unsafe.Pointer) uint32

//go:wasmimport drydock abi_version
func dVersion() int32

//go:wasmimport drydock log
func dLog(level int32, p unsafe.Pointer, n int32) uint32

// wild points outside of any memory a guest of this size has.
var wild = unsafe.Pointer(uintptr(0xfffff000))

func s(x string) (unsafe.Pointer, int32) {
	b := []byte(x)
	return ptr(append(b, 0)), int32(len(x))
}

// abi calls functions with what they must refuse and prints name and errno for each.
func abi([]string) {
	var fd int32
	var buf [512]byte
	out := unsafe.Pointer(&buf)
	say := func(name string, n uint32) {
		text := "ok"
		if n != 0 {
			text = syscall.Errno(n).Error()
		}
		fmt.Printf("%s: %s\n", name, text)
	}
	path := func(f func(p unsafe.Pointer, n int32) uint32, x string) uint32 {
		p, n := s(x)
		return f(p, n)
	}
	open := func(x string, oflags int32, rights int64) uint32 {
		return path(func(p unsafe.Pointer, n int32) uint32 {
			return wOpen(3, 1, p, n, oflags, rights, 0, 0, unsafe.Pointer(&fd))
		}, x)
	}
	const rd, wr = 2, 64
	say("version", uint32(dVersion()-1))
	say("read of a closed descriptor", hostRead(99, unsafe.Pointer(&iov{}), 1, out))
	say("read of descriptor -1", hostRead(-1, unsafe.Pointer(&iov{}), 1, out))
	say("read into the wild", hostRead(0, unsafe.Pointer(&iov{0xfffff000, 8192}), 1, out))
	say("read with its list in the wild", hostRead(0, wild, 1024, out))
	say("read with too long a list", hostRead(0, out, 1025, out))
	say("read with its count in the wild", hostRead(0, unsafe.Pointer(&iov{}), 1, wild))
	say("write of 4 GiB", hostWrite(1, unsafe.Pointer(&iov{0, 0xffffffff}), 1, out))
	say("seek on a pipe", wSeek(0, 0, 0, out))
	say("open nothing", open("", 0, rd))
	say("open the missing", open("/none", 0, rd))
	say("open with NUL", path(func(p unsafe.Pointer, n int32) uint32 { return wOpen(3, 1, p, n+1, 0, rd, 0, 0, unsafe.Pointer(&fd)) }, "a"))
	say("open with path in the wild", wOpen(3, 1, wild, 100, 0, rd, 0, 0, unsafe.Pointer(&fd)))
	say("open with too long a path", wOpen(3, 1, wild, 5000, 0, rd, 0, 0, unsafe.Pointer(&fd)))
	say("open with unknown flags", open("/tmp", 16, rd))
	say("open relative to a pipe", path(func(p unsafe.Pointer, n int32) uint32 { return wOpen(0, 1, p, n, 0, rd, 0, 0, unsafe.Pointer(&fd)) }, "x"))
	say("open a directory for writing", open("/tmp", 0, wr))
	say("create", open("/tmp/f", 1, rd|wr))
	f := fd
	say("create again exclusively", open("/tmp/f", 1|4, wr))
	say("a file as a directory", open("/tmp/f/x", 0, rd))
	say("seek before the start", wSeek(f, -1, 0, out))
	say("seek with a strange whence", wSeek(f, 0, 3, out))
	say("pread before the start", wPread(f, unsafe.Pointer(&iov{uint32(uintptr(out)), 8}), 1, -1, out))
	say("allocate nothing", wAllocate(f, 0, 0))
	say("allocate beyond reason", wAllocate(f, 1<<62, 1<<62))
	say("allocate", wAllocate(f, 0, 100))
	say("advise", wAdvise(f, 0, 0, 3))
	say("advise strangely", wAdvise(f, 0, 0, 9))
	say("set times twice", wSetTimes(f, 0, 0, 3))
	say("list a file", wReaddir(f, out, 100, 0, out))
	say("fdstat into the wild", wFdstat(f, wild))
	say("prestat of 3", wPrestat(3, out))
	say("prestat of 4", wPrestat(4, out))
	say("renumber onto a closed one", wRenumber(f, 77))
	say("renumber onto a huge one", wRenumber(f, 0x7ffffffe))
	say("close", hostClose(f))
	say("close again", hostClose(f))
	say("mkdir over a file", path(func(p unsafe.Pointer, n int32) uint32 { return wMkdir(3, p, n) }, "/tmp/f"))
	say("unlink a directory", path(func(p unsafe.Pointer, n int32) uint32 { return wUnlink(3, p, n) }, "/tmp"))
	say("rmdir a full directory", path(func(p unsafe.Pointer, n int32) uint32 { return wRmdir(3, p, n) }, "/tmp"))
	say("rmdir a file", path(func(p unsafe.Pointer, n int32) uint32 { return wRmdir(3, p, n) }, "/tmp/f"))
	say("readlink of a file", path(func(p unsafe.Pointer, n int32) uint32 { return wReadlink(3, p, n, out, 10, unsafe.Pointer(&fd)) }, "/tmp/f"))
	p, n := s("/tmp/loop")
	say("symlink", wSymlink(p, n, 3, p, n))
	say("open a loop", open("/tmp/loop", 0, rd))
	say("a strange clock", wClock(9, 0, out))
	say("clock into the wild", wClock(0, 0, wild))
	say("random into the wild", wRandom(wild, 8192))
	say("arguments into the wild", wArgs(wild, wild))
	say("poll nothing", hostPoll(out, out, 0, unsafe.Pointer(&fd)))
	say("poll too much", hostPoll(out, out, 1<<30, unsafe.Pointer(&fd)))
	var sub [48]byte
	sub[8] = 9
	say("poll for something strange", hostPoll(unsafe.Pointer(&sub), out, 1, unsafe.Pointer(&fd)))
	sub[8], sub[16] = 1, 99
	say("poll a closed descriptor", hostPoll(unsafe.Pointer(&sub), out, 1, unsafe.Pointer(&fd)))
	say("  its event", uint32(buf[8]))
	say("shutdown of a pipe", wShutdown(0, 1))
	say("socket of a strange family", hostSockOpen(9, 2, unsafe.Pointer(&fd)))
	say("socket of a strange type", hostSockOpen(1, 9, unsafe.Pointer(&fd)))
	say("socket", hostSockOpen(1, 2, unsafe.Pointer(&fd)))
	say("bind with the address in the wild", hostSockBind(fd, wild, 1))
	say("bind to a bad port", hostSockBind(fd, unsafe.Pointer(addressOf(buf[:4])), 70000))
	say("bind with half an address", hostSockBind(fd, unsafe.Pointer(addressOf(buf[:2])), 7))
	say("accept without listen", hostSockAccept(fd, 0, unsafe.Pointer(&fd)))
	say("shutdown unconnected", wShutdown(fd, 3))
	say("shutdown strangely", wShutdown(fd, 0))
	say("raise nothing", hostRaise(0))
	say("raise beyond", hostRaise(200))
	say("kill nobody", hostKill(9999, 0))
	say("kill with a bad signal", hostKill(hostGetpid(), 65))
	say("kill the smallest number", hostKill(-1<<31, 0))
	say("catch SIGKILL", hostSigaction(9, 2))
	say("a strange mode", hostSigaction(2, 3))
	say("wait without children", hostWait(-1, 0, nil, nil, nil))
	say("wait strangely", hostWait(-1, 64, nil, nil, nil))
	say("wait with the status in the wild", hostWait(-1, 0, wild, nil, nil))
	say("spawn with a list that isn't ended", hostSpawn(p, n, p, n, nil, 0, nil, 0, nil, 0, nil, unsafe.Pointer(&fd), nil))
	say("spawn with descriptors in the wild", hostSpawn(p, n, nil, 0, nil, 0, nil, 0, wild, 1000, nil, unsafe.Pointer(&fd), nil))
	say("spawn with too many descriptors", hostSpawn(p, n, nil, 0, nil, 0, nil, 0, out, 100000, nil, unsafe.Pointer(&fd), nil))
	say("spawn with too much", hostSpawn(p, n, wild, 1<<30, nil, 0, nil, 0, nil, 0, nil, unsafe.Pointer(&fd), nil))
	say("tcgetattr of a pipe", hostTcgetattr(0, out))
	say("chdir to a file", path(dChdir, "/tmp/f"))
	say("getcwd into too little", dGetcwd(out, 0, unsafe.Pointer(&fd)))
	say("openat of a FIFO's worth of flags", path(func(p unsafe.Pointer, n int32) uint32 { return dOpenat(-1, p, n, 3, 0, unsafe.Pointer(&fd)) }, "/tmp/f"))
	lim := [2]uint64{5, 4}
	say("a soft limit above the hard", dSetrlimit(7, unsafe.Pointer(&lim)))
	say("a strange limit", dSetrlimit(99, unsafe.Pointer(&lim)))
	say("setsid of a leader", dSetsid(nil))
	say("reboot strangely", dReboot(1))
	say("a long line to the log", dLog(6, out, 2000))
	say("become nobody", dSetids(65534, 65534))
	say("become root again", dSetids(0, 0))
	say("rename the machine", path(dSethostname, "mine"))
	say("create where only root may", open("/bin/x", 1, wr))
	say("reboot as nobody", dReboot(0x4321fedc))
	say("kill init", hostKill(1, 9))
}
