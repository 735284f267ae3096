package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// signals is about signals and job control.
func signals(a []string) {
	switch a[0] {
	case "catch": // says ready, waits for a signal by polling the reserved descriptor, names it
		hostSigaction(int32(number(a[1])), 2)
		fmt.Println("ready")
		for {
			if !pollRead(0x7fffffff) {
				fail(fmt.Errorf("poll failed"))
			}
			if s := hostSignext(); s != 0 {
				fmt.Println("got", s, hostSignext())
				return
			}
		}
	case "eintr": // a read that a signal interrupts
		hostSigaction(int32(number(a[1])), 2)
		hostSigintr(1)
		fmt.Println("ready")
		_, e := read(0, make([]byte, 1))
		fmt.Println(e == syscall.EINTR)
	case "ignore":
		hostSigaction(int32(number(a[1])), 1)
		fmt.Println("ready")
		read(0, make([]byte, 1))
		fmt.Println("alive")
	case "raise":
		hostRaise(int32(number(a[1])))
		fmt.Println("alive")
	case "stop": // stops a child, sees it, continues it, kills it
		self := os.Args[0]
		pid, _, e := spawn(&attr{flags: 1}, nil, self, self, "spin")
		if e != nil {
			fail(e)
		}
		hostKill(pid, 19)
		_, status, e := wait(pid, 2)
		fmt.Println(status>>8, status&0xff, e)
		hostKill(pid, 18)
		_, status, e = wait(pid, 8)
		fmt.Println(status == 0xffff, e)
		hostKill(-pid, 15)
		_, status, e = wait(pid, 0)
		fmt.Println(status, e)
	case "sigpipe":
		var p [2]int32
		hostPipe(unsafe.Pointer(&p))
		hostClose(p[0])
		hostSigaction(13, int32(number(a[1])))
		_, e := write(p[1], []byte("x"))
		fmt.Println(e == syscall.EPIPE)
	case "storm": // signals a child that catches all of them, thousands of times
		self := os.Args[0]
		var ready [2]int32
		hostPipe(unsafe.Pointer(&ready))
		pid, _, e := spawn(nil, []int32{0, ready[1], 2}, self, self, "sig", "sink")
		if e != nil {
			fail(e)
		}
		read(ready[0], make([]byte, 1))
		for i := range 20000 {
			hostKill(pid, int32(34+i%30))
		}
		hostKill(pid, 15)
		_, status, e := wait(pid, 0)
		fmt.Println(status, e)
	case "sink":
		for s := int32(34); s <= 64; s++ {
			hostSigaction(s, 2)
		}
		write(1, []byte("r"))
		for {
			pollRead(0x7fffffff)
			for hostSignext() != 0 {
			}
		}
	}
}

// ttyCommands is about terminals.
func ttyCommands(a []string) {
	switch a[0] {
	case "lines": // echoes lines in brackets until the end
		fmt.Println("ready", hostIsatty(0))
		s := bufio.NewScanner(os.Stdin)
		for s.Scan() {
			fmt.Printf("[%s]\n", s.Text())
		}
		fmt.Println("end")
	case "size":
		hostSigaction(28, 2)
		fmt.Println("ready")
		pollRead(0x7fffffff)
		fmt.Println("signal", hostSignext())
		var w [4]uint16
		hostWinsize(0, unsafe.Pointer(&w))
		fmt.Println(w[0], w[1])
	case "raw":
		var t [36]byte
		hostTcgetattr(0, unsafe.Pointer(&t))
		t[12] &^= 0x8 | 0x2 | 0x1 // ECHO, ICANON, ISIG
		t[0+1] &^= 0x1            // ICRNL
		hostTcsetattr(0, 0, unsafe.Pointer(&t))
		fmt.Print("ready\n")
		b := make([]byte, 1)
		for {
			if n, e := read(0, b); e != nil || n == 0 || b[0] == 'q' {
				return
			}
			fmt.Printf("%02x\n", b[0])
		}
	case "background": // a child in a group of its own reads the terminal, stops, is brought to the front
		self := os.Args[0]
		pid, _, e := spawn(&attr{flags: 1}, nil, self, self, "tty", "read")
		if e != nil {
			fail(e)
		}
		_, status, e := wait(pid, 2)
		fmt.Println("stopped by", status>>8, e)
		hostSigaction(22, 1)
		fmt.Println("front", err(hostTcsetpgrp(0, pid)))
		hostKill(-pid, 18)
		_, status, e = wait(pid, 0)
		fmt.Println("child", status, e, err(hostTcsetpgrp(0, hostGetpgid(0))))
	case "read":
		b := make([]byte, 64)
		n, e := read(0, b)
		fmt.Printf("read %q %v\n", b[:n], e)
	}
}

// address is an address argument: a pointer and a length.
type address struct{ ptr, n uint32 }

func addressOf(b []byte) *address { return &address{uint32(uintptr(ptr(b))), uint32(len(b))} }

// netCommands is about sockets, all blocking.
func netCommands(a []string) {
	var fd int32
	check := func(what string, n uint32) {
		if n != 0 {
			fail(fmt.Errorf("%s: %v", what, syscall.Errno(n)))
		}
	}
	switch a[0] {
	case "serve": // takes one connection, echoes until the end
		check("open", hostSockOpen(1, 2, unsafe.Pointer(&fd)))
		any4 := []byte{0, 0, 0, 0}
		check("bind", hostSockBind(fd, unsafe.Pointer(addressOf(any4)), int32(number(a[1]))))
		check("listen", hostSockListen(fd, 16))
		fmt.Println("ready")
		var c int32
		check("accept", hostSockAccept(fd, 0, unsafe.Pointer(&c)))
		b := make([]byte, 4096)
		for {
			n, e := read(c, b)
			if e != nil {
				fail(e)
			}
			if n == 0 {
				return
			}
			if _, e := write(c, b[:n]); e != nil {
				fail(e)
			}
		}
	case "dial":
		check("open", hostSockOpen(1, 2, unsafe.Pointer(&fd)))
		to := []byte{127, 0, 0, 1}
		if n := hostSockConnect(fd, unsafe.Pointer(addressOf(to)), int32(number(a[1]))); n != 0 {
			fmt.Println(syscall.Errno(n) == syscall.ECONNREFUSED)
			return
		}
		for range 100 {
			if _, e := write(fd, []byte("ping")); e != nil {
				fail(e)
			}
			b := make([]byte, 4)
			if n, e := read(fd, b); e != nil || string(b[:n]) != "ping" {
				fail(fmt.Errorf("%q %v", b[:n], e))
			}
		}
		fmt.Println("pong")
	case "unix":
		check("open", hostSockOpen(3, 2, unsafe.Pointer(&fd)))
		path := []byte("/tmp/s")
		check("bind", hostSockBind(fd, unsafe.Pointer(addressOf(path)), 0))
		check("listen", hostSockListen(fd, 1))
		var c, s int32
		check("open", hostSockOpen(3, 2, unsafe.Pointer(&c)))
		check("connect", hostSockConnect(c, unsafe.Pointer(addressOf(path)), 0))
		check("accept", hostSockAccept(fd, 0, unsafe.Pointer(&s)))
		write(c, []byte("hi"))
		b := make([]byte, 8)
		n, e := read(s, b)
		fmt.Printf("%q %v\n", b[:n], e)
	}
}
