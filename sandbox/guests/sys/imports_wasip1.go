package sys

import "unsafe"

// The import module "drydock", version 1. sandbox/wasi/README.md describes each function.

//go:wasmimport drydock spawn
func hostSpawn(path unsafe.Pointer, pathLen int32, argv unsafe.Pointer, argvLen int32, env unsafe.Pointer, envLen int32, dir unsafe.Pointer, dirLen int32, fds unsafe.Pointer, nfds int32, attr, pidOut, pidfdOut unsafe.Pointer) uint32

//go:wasmimport drydock exec
func hostExec(path unsafe.Pointer, pathLen int32, argv unsafe.Pointer, argvLen int32, env unsafe.Pointer, envLen int32) uint32

//go:wasmimport drydock wait
func hostWait(pid, options int32, statusOut, pidOut, rusageOut unsafe.Pointer) uint32

//go:wasmimport drydock kill
func hostKill(pid, sig int32) uint32

//go:wasmimport drydock getpgid
func hostGetpgid(pid int32) int32

//go:wasmimport drydock setpgid
func hostSetpgid(pid, pgid int32) uint32

//go:wasmimport drydock getsid
func hostGetsid(pid int32) int32

//go:wasmimport drydock setsid
func hostSetsid(sidOut unsafe.Pointer) uint32

//go:wasmimport drydock setids
func hostSetids(uid, gid uint32) uint32

//go:wasmimport drydock umask
func hostUmask(mask uint32) uint32

//go:wasmimport drydock nice
func hostNice(pid, inc int32, out unsafe.Pointer) uint32

//go:wasmimport drydock getrlimit
func hostGetrlimit(res int32, out unsafe.Pointer) uint32

//go:wasmimport drydock setrlimit
func hostSetrlimit(res int32, in unsafe.Pointer) uint32

//go:wasmimport drydock self_path
func hostSelfPath(buf unsafe.Pointer, capacity int32, lenOut unsafe.Pointer) uint32

//go:wasmimport drydock pipe
func hostPipe(out unsafe.Pointer) uint32

//go:wasmimport drydock dup
func hostDup(fd, least int32, fdOut unsafe.Pointer) uint32

//go:wasmimport drydock isatty
func hostIsatty(fd int32) int32

//go:wasmimport drydock fdpath
func hostFdpath(fd int32, buf unsafe.Pointer, capacity int32, lenOut unsafe.Pointer) uint32

//go:wasmimport drydock tcgetattr
func hostTcgetattr(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock tcsetattr
func hostTcsetattr(fd, action int32, in unsafe.Pointer) uint32

//go:wasmimport drydock winsize
func hostWinsize(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock setwinsize
func hostSetwinsize(fd int32, in unsafe.Pointer) uint32

//go:wasmimport drydock tcgetpgrp
func hostTcgetpgrp(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock tcsetpgrp
func hostTcsetpgrp(fd, pgid int32) uint32

//go:wasmimport drydock openpty
func hostOpenpty(masterOut, slaveOut unsafe.Pointer) uint32

//go:wasmimport drydock stat
func hostStat(dirfd int32, path unsafe.Pointer, pathLen, follow int32, out unsafe.Pointer) uint32

//go:wasmimport drydock fstat
func hostFstat(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock chmod
func hostChmod(dirfd int32, path unsafe.Pointer, pathLen int32, mode uint32) uint32

//go:wasmimport drydock chown
func hostChown(dirfd int32, path unsafe.Pointer, pathLen, follow int32, uid, gid int32) uint32

//go:wasmimport drydock mknod
func hostMknod(dirfd int32, path unsafe.Pointer, pathLen int32, mode uint32, dev int64) uint32

//go:wasmimport drydock openat
func hostOpenat(dirfd int32, path unsafe.Pointer, pathLen int32, flags, mode uint32, fdOut unsafe.Pointer) uint32

//go:wasmimport drydock mkdirat
func hostMkdirat(dirfd int32, path unsafe.Pointer, pathLen int32, mode uint32) uint32

//go:wasmimport drydock statfs
func hostStatfs(path unsafe.Pointer, pathLen int32, out unsafe.Pointer) uint32

//go:wasmimport drydock access
func hostAccess(dirfd int32, path unsafe.Pointer, pathLen int32, mode uint32) uint32

//go:wasmimport drydock sync
func hostSync() uint32

//go:wasmimport drydock uname
func hostUname(out unsafe.Pointer) uint32

//go:wasmimport drydock sethostname
func hostSethostname(name unsafe.Pointer, nameLen int32) uint32

//go:wasmimport drydock reboot
func hostReboot(cmd uint32) uint32

//go:wasmimport drydock sysinfo
func hostSysinfo(out unsafe.Pointer) uint32

//go:wasmimport drydock log
func hostLog(level int32, line unsafe.Pointer, lineLen int32) uint32
