package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

//go:wasmimport drydock spawn
func hostSpawn(path unsafe.Pointer, pathLen int32, argv unsafe.Pointer, argvLen int32, env unsafe.Pointer, envLen int32, dir unsafe.Pointer, dirLen int32, fds unsafe.Pointer, nfds int32, attr, pidOut, pidfdOut unsafe.Pointer) uint32

//go:wasmimport drydock exec
func hostExec(path unsafe.Pointer, pathLen int32, argv unsafe.Pointer, argvLen int32, env unsafe.Pointer, envLen int32) uint32

//go:wasmimport drydock wait
func hostWait(pid, options int32, statusOut, pidOut, rusageOut unsafe.Pointer) uint32

//go:wasmimport drydock kill
func hostKill(pid, sig int32) uint32

//go:wasmimport drydock getpid
func hostGetpid() int32

//go:wasmimport drydock getppid
func hostGetppid() int32

//go:wasmimport drydock getpgid
func hostGetpgid(pid int32) int32

//go:wasmimport drydock setpgid
func hostSetpgid(pid, pgid int32) uint32

//go:wasmimport drydock sigaction
func hostSigaction(sig, mode int32) uint32

//go:wasmimport drydock signext
func hostSignext() int32

//go:wasmimport drydock sigintr
func hostSigintr(on int32) uint32

//go:wasmimport drydock pipe
func hostPipe(out unsafe.Pointer) uint32

//go:wasmimport drydock dup
func hostDup(fd, least int32, out unsafe.Pointer) uint32

//go:wasmimport drydock isatty
func hostIsatty(fd int32) int32

//go:wasmimport drydock tcgetattr
func hostTcgetattr(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock tcsetattr
func hostTcsetattr(fd, action int32, in unsafe.Pointer) uint32

//go:wasmimport drydock tcsetpgrp
func hostTcsetpgrp(fd, pgid int32) uint32

//go:wasmimport drydock winsize
func hostWinsize(fd int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_read
func hostRead(fd int32, iovs unsafe.Pointer, n int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_write
func hostWrite(fd int32, iovs unsafe.Pointer, n int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 fd_fdstat_set_flags
func hostSetFlags(fd, flags int32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_close
func hostClose(fd int32) uint32

//go:wasmimport wasi_snapshot_preview1 proc_raise
func hostRaise(sig int32) uint32

//go:wasmimport wasi_snapshot_preview1 poll_oneoff
func hostPoll(in, out unsafe.Pointer, n int32, events unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_open
func hostSockOpen(af, typ int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_bind
func hostSockBind(fd int32, addr unsafe.Pointer, port int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_listen
func hostSockListen(fd, backlog int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_accept
func hostSockAccept(fd, flags int32, out unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_connect
func hostSockConnect(fd int32, addr unsafe.Pointer, port int32) uint32

// hostAbort ends the guest with a trap: memory far outside is read.
func hostAbort() {
	p := unsafe.Pointer(uintptr(0xfffffff0))
	fmt.Println(*(*byte)(p))
}

type iov struct{ ptr, n uint32 }

func list(l []string) []byte {
	if len(l) == 0 {
		return nil
	}
	return []byte(strings.Join(l, "\x00") + "\x00")
}

func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func err(n uint32) error {
	if n == 0 {
		return nil
	}
	return syscall.Errno(n)
}

type attr struct {
	flags    uint32
	pgid     int32
	uid, gid uint32
	tty      int32
	pad      uint32
}

func spawn(a *attr, fds []int32, path string, args ...string) (pid int32, pidfd int32, e error) {
	if fds == nil {
		fds = []int32{0, 1, 2}
	}
	p, av, ev := []byte(path), list(args), list(os.Environ())
	n := hostSpawn(ptr(p), int32(len(p)), ptr(av), int32(len(av)), ptr(ev), int32(len(ev)), nil, 0, unsafe.Pointer(&fds[0]), int32(len(fds)), unsafe.Pointer(a), unsafe.Pointer(&pid), unsafe.Pointer(&pidfd))
	runtime.KeepAlive(p)
	return pid, pidfd, err(n)
}

func wait(pid, options int32) (got int32, status uint32, e error) {
	n := hostWait(pid, options, unsafe.Pointer(&status), unsafe.Pointer(&got), nil)
	return got, status, err(n)
}

func hostExecve(path string, args, env []string) error {
	p, av, ev := []byte(path), list(args), list(env)
	return err(hostExec(ptr(p), int32(len(p)), ptr(av), int32(len(av)), ptr(ev), int32(len(ev))))
}

// read blocks: the standard library has set its streams non-blocking.
func read(fd int32, b []byte) (int, error) {
	hostSetFlags(fd, 0)
	v := iov{uint32(uintptr(ptr(b))), uint32(len(b))}
	var n uint32
	e := hostRead(fd, unsafe.Pointer(&v), 1, unsafe.Pointer(&n))
	return int(n), err(e)
}

func write(fd int32, b []byte) (int, error) {
	v := iov{uint32(uintptr(ptr(b))), uint32(len(b))}
	var n uint32
	e := hostWrite(fd, unsafe.Pointer(&v), 1, unsafe.Pointer(&n))
	return int(n), err(e)
}

// spawnAll runs its arguments as a program, waits and tells the status.
func spawnAll(a []string) {
	pid, pidfd, e := spawn(nil, nil, a[0], a...)
	if e != nil {
		fmt.Println("spawn:", e)
		return
	}
	if !pollRead(pidfd) {
		fmt.Println("the pidfd is not readable")
	}
	got, status, e := wait(-1, 0)
	fmt.Println(got == pid, status, e)
	_, _, e = wait(-1, 0)
	fmt.Println(e == syscall.ECHILD)
}

// pollRead waits until fd is readable.
func pollRead(fd int32) bool {
	var sub [48]byte
	var ev [32]byte
	var n uint32
	sub[0], sub[8] = 7, 1
	*(*int32)(unsafe.Pointer(&sub[16])) = fd
	return hostPoll(unsafe.Pointer(&sub), unsafe.Pointer(&ev), 1, unsafe.Pointer(&n)) == 0 && n == 1 && ev[0] == 7
}

// tree makes a child that makes a child, and leaves the grandchild behind.
func tree(a []string) {
	switch a[0] {
	case "top":
		self := os.Args[0]
		if _, _, e := spawn(nil, nil, self, self, "tree", "middle"); e != nil {
			fail(e)
		}
		_, status, e := wait(-1, 0)
		fmt.Println("middle", status, e)
		_, status, e = wait(-1, 0)
		fmt.Println("orphan", status, e)
	case "middle":
		self := os.Args[0]
		if _, _, e := spawn(nil, nil, self, self, "tree", "leaf"); e != nil {
			fail(e)
		}
		os.Exit(4)
	case "leaf":
		for hostGetppid() != 1 {
			runtime.Gosched()
		}
		os.Exit(5)
	}
}

// bomb spawns itself until it can't.
func bomb([]string) {
	self := os.Args[0]
	for {
		if _, _, e := spawn(nil, nil, self, self, "bomb"); e != nil {
			fmt.Println(e == syscall.EAGAIN)
			io.ReadFull(os.Stdin, make([]byte, 1))
			return
		}
	}
}

// fds opens pipes until there are no descriptors.
func fds([]string) {
	n := 0
	for {
		var p [2]int32
		if e := hostPipe(unsafe.Pointer(&p)); e != 0 {
			fmt.Println(n, syscall.Errno(e) == syscall.EMFILE)
			return
		}
		n++
	}
}

// pipes passes bytes through a chain of itself.
func pipes(a []string) {
	n := number(a[0])
	self := os.Args[0]
	in := int32(0)
	for range n {
		var p [2]int32
		if e := hostPipe(unsafe.Pointer(&p)); e != 0 {
			fail(syscall.Errno(e))
		}
		if _, _, e := spawn(nil, []int32{in, p[1], 2}, self, self, "cat"); e != nil {
			fail(e)
		}
		hostClose(p[1])
		if in != 0 {
			hostClose(in)
		}
		in = p[0]
	}
	total := 0
	buf := make([]byte, 8192)
	for {
		n, e := read(in, buf)
		if e != nil {
			fail(e)
		}
		if n == 0 {
			break
		}
		total += n
	}
	for range n {
		if _, status, e := wait(-1, 0); e != nil || status != 0 {
			fail(fmt.Errorf("child ended with %d, %v", status, e))
		}
	}
	fmt.Println(total)
}
