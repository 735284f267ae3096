package syscall

// Sockets under the names that WasmEdge gave them, in module wasi_snapshot_preview1.

import (
	"runtime"
	"structs"
	"unsafe"
)

const (
	SHUT_RD   = 0x1
	SHUT_WR   = 0x2
	SHUT_RDWR = SHUT_RD | SHUT_WR
)

// Numbers are Linux's; the calls below translate them to the host's.
const (
	AF_UNSPEC = 0
	AF_UNIX   = 1
	AF_INET   = 2
	AF_INET6  = 10

	SOCK_STREAM    = 1
	SOCK_DGRAM     = 2
	SOCK_RAW       = 3
	SOCK_SEQPACKET = 5
	SOCK_NONBLOCK  = 0x800
	SOCK_CLOEXEC   = 0x80000

	IPPROTO_IP   = 0
	IPPROTO_IPV4 = 4
	IPPROTO_TCP  = 6
	IPPROTO_UDP  = 17
	IPPROTO_IPV6 = 41

	SOMAXCONN = 128

	SOL_SOCKET    = 1
	SO_REUSEADDR  = 2
	SO_TYPE       = 3
	SO_ERROR      = 4
	SO_DONTROUTE  = 5
	SO_BROADCAST  = 6
	SO_SNDBUF     = 7
	SO_RCVBUF     = 8
	SO_KEEPALIVE  = 9
	SO_LINGER     = 13
	SO_ACCEPTCONN = 30

	TCP_NODELAY   = 1
	TCP_KEEPIDLE  = 4
	TCP_KEEPINTVL = 5
	TCP_KEEPCNT   = 6

	IPV6_V6ONLY = 26

	F_DUPFD_CLOEXEC = 1030
	SYS_FCNTL       = 500 // unsupported
)

type sdflags = uint32

// drydockAddr is an address argument: buf holds 4 or 16 bytes, or a path.
type drydockAddr struct {
	_      structs.HostLayout
	buf    uintptr32
	bufLen size
}

//go:wasmimport wasi_snapshot_preview1 sock_open
//go:noescape
func sock_open(family, sotype int32, fd *int32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_bind
//go:noescape
func sock_bind(fd int32, addr unsafe.Pointer, port int32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_listen
func sock_listen(fd, backlog int32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_accept
//go:noescape
func sock_accept(fd int32, flags fdflags, newfd *int32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_connect
//go:noescape
func sock_connect(fd int32, addr unsafe.Pointer, port int32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_recv_from
//go:noescape
func sock_recv_from(fd int32, iovs *iovec, n size, addr unsafe.Pointer, flags uint32, port *uint32, nread *size, roflags *uint32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_send_to
//go:noescape
func sock_send_to(fd int32, iovs *iovec, n size, addr unsafe.Pointer, port int32, flags uint32, nwritten *size) Errno

//go:wasmimport wasi_snapshot_preview1 sock_getlocaladdr
//go:noescape
func sock_getlocaladdr(fd int32, addr unsafe.Pointer, family, port *uint32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_getpeeraddr
//go:noescape
func sock_getpeeraddr(fd int32, addr unsafe.Pointer, family, port *uint32) Errno

//go:wasmimport wasi_snapshot_preview1 sock_getsockopt
//go:noescape
func sock_getsockopt(fd, level, name int32, val unsafe.Pointer, n *size) Errno

//go:wasmimport wasi_snapshot_preview1 sock_setsockopt
//go:noescape
func sock_setsockopt(fd, level, name int32, val unsafe.Pointer, n size) Errno

//go:wasmimport wasi_snapshot_preview1 sock_shutdown
func sock_shutdown(fd int32, flags sdflags) Errno

type Sockaddr any

type SockaddrInet4 struct {
	Port int
	Addr [4]byte
}

type SockaddrInet6 struct {
	Port   int
	ZoneId uint32
	Addr   [16]byte
}

type SockaddrUnix struct {
	Name string
}

// drydockFamilies are the host's numbers of families.
const (
	drydockInet4 = 1
	drydockInet6 = 2
	drydockUnix  = 3
)

const drydockUnixPath = 108

// drydockSockaddr is room for any address of the host.
type drydockSockaddr struct {
	addr drydockAddr
	port uint32
	buf  [drydockUnixPath]byte
}

func (h *drydockSockaddr) room() unsafe.Pointer {
	h.addr.buf, h.addr.bufLen = uintptr32(uintptr(unsafe.Pointer(&h.buf))), size(len(h.buf))
	return unsafe.Pointer(&h.addr)
}

// set fills h from sa; a nil result is EAFNOSUPPORT or EINVAL.
func (h *drydockSockaddr) set(sa Sockaddr) (unsafe.Pointer, error) {
	p := h.room()
	switch sa := sa.(type) {
	case *SockaddrInet4:
		h.addr.bufLen, h.port = size(copy(h.buf[:], sa.Addr[:])), uint32(sa.Port)
	case *SockaddrInet6:
		h.addr.bufLen, h.port = size(copy(h.buf[:], sa.Addr[:])), uint32(sa.Port)
	case *SockaddrUnix:
		if len(sa.Name) > len(h.buf) {
			return nil, EINVAL
		}
		h.addr.bufLen = size(copy(h.buf[:], sa.Name))
	default:
		return nil, EAFNOSUPPORT
	}
	return p, nil
}

func (h *drydockSockaddr) get(family uint32) Sockaddr {
	switch family {
	case drydockInet4:
		sa := &SockaddrInet4{Port: int(h.port)}
		copy(sa.Addr[:], h.buf[:4])
		return sa
	case drydockInet6:
		sa := &SockaddrInet6{Port: int(h.port)}
		copy(sa.Addr[:], h.buf[:16])
		return sa
	case drydockUnix:
		return &SockaddrUnix{Name: string(h.buf[:min(int(h.addr.bufLen), len(h.buf))])}
	}
	return nil
}

func Socket(family, sotype, proto int) (fd int, err error) {
	var af, typ int32
	switch family {
	case AF_INET:
		af = drydockInet4
	case AF_INET6:
		af = drydockInet6
	case AF_UNIX:
		af = drydockUnix
	default:
		return -1, EAFNOSUPPORT
	}
	switch sotype &^ (SOCK_NONBLOCK | SOCK_CLOEXEC) {
	case SOCK_DGRAM:
		typ = 1
	case SOCK_STREAM:
		typ = 2
	default:
		return -1, EPROTONOSUPPORT
	}
	var s int32
	if errno := sock_open(af, typ, &s); errno != 0 {
		return -1, errno
	}
	if sotype&SOCK_NONBLOCK != 0 {
		if err := SetNonblock(int(s), true); err != nil {
			Close(int(s))
			return -1, err
		}
	}
	return int(s), nil
}

func Bind(fd int, sa Sockaddr) error {
	var h drydockSockaddr
	p, err := h.set(sa)
	if err != nil {
		return err
	}
	err = errnoErr(sock_bind(int32(fd), p, int32(h.port)))
	runtime.KeepAlive(&h)
	return err
}

func Listen(fd int, backlog int) error { return errnoErr(sock_listen(int32(fd), int32(backlog))) }

func Accept(fd int) (int, Sockaddr, error) {
	var newfd int32
	if errno := sock_accept(int32(fd), 0, &newfd); errno != 0 {
		return -1, nil, errnoErr(errno)
	}
	sa, err := Getpeername(int(newfd))
	if err != nil && err != ENOTCONN { // a peer that has left already is still a connection
		Close(int(newfd))
		return -1, nil, err
	}
	return int(newfd), sa, nil
}

func Connect(fd int, sa Sockaddr) error {
	var h drydockSockaddr
	p, err := h.set(sa)
	if err != nil {
		return err
	}
	err = errnoErr(sock_connect(int32(fd), p, int32(h.port)))
	runtime.KeepAlive(&h)
	return err
}

func Getsockname(fd int) (Sockaddr, error) {
	var h drydockSockaddr
	var family uint32
	if errno := sock_getlocaladdr(int32(fd), h.room(), &family, &h.port); errno != 0 {
		return nil, errno
	}
	return h.get(family), nil
}

func Getpeername(fd int) (Sockaddr, error) {
	var h drydockSockaddr
	var family uint32
	if errno := sock_getpeeraddr(int32(fd), h.room(), &family, &h.port); errno != 0 {
		return nil, errno
	}
	return h.get(family), nil
}

// drydockRecv receives into p and leaves the peer's address in h.
func drydockRecv(fd int, p []byte, flags int, h *drydockSockaddr) (int, error) {
	var n size
	var roflags uint32
	errno := sock_recv_from(int32(fd), makeIOVec(p), 1, h.room(), uint32(flags), &h.port, &n, &roflags)
	runtime.KeepAlive(p)
	return int(n), errnoErr(errno)
}

func drydockSend(fd int, p []byte, flags int, to Sockaddr) (int, error) {
	var h drydockSockaddr
	addr, err := h.set(to)
	if err != nil {
		return 0, err
	}
	var n size
	errno := sock_send_to(int32(fd), makeIOVec(p), 1, addr, int32(h.port), uint32(flags), &n)
	runtime.KeepAlive(p)
	runtime.KeepAlive(&h)
	return int(n), errnoErr(errno)
}

func Recvfrom(fd int, p []byte, flags int) (n int, from Sockaddr, err error) {
	var h drydockSockaddr
	if n, err = drydockRecv(fd, p, flags, &h); err != nil {
		return n, nil, err
	}
	switch h.addr.bufLen {
	case 4:
		from = h.get(drydockInet4)
	case 16:
		from = h.get(drydockInet6)
	}
	return n, from, nil
}

func recvfromInet4(fd int, p []byte, flags int, from *SockaddrInet4) (int, error) {
	var h drydockSockaddr
	n, err := drydockRecv(fd, p, flags, &h)
	if err == nil {
		from.Port = int(h.port)
		copy(from.Addr[:], h.buf[:4])
	}
	return n, err
}

func recvfromInet6(fd int, p []byte, flags int, from *SockaddrInet6) (int, error) {
	var h drydockSockaddr
	n, err := drydockRecv(fd, p, flags, &h)
	if err != nil {
		return n, err
	}
	from.Port = int(h.port)
	if h.addr.bufLen == 4 {
		from.Addr = [16]byte{10: 0xff, 11: 0xff}
		copy(from.Addr[12:], h.buf[:4])
		return n, nil
	}
	copy(from.Addr[:], h.buf[:16])
	return n, nil
}

func Sendto(fd int, p []byte, flags int, to Sockaddr) error {
	_, err := drydockSend(fd, p, flags, to)
	return err
}

func sendtoInet4(fd int, p []byte, flags int, to *SockaddrInet4) error {
	_, err := drydockSend(fd, p, flags, to)
	return err
}

func sendtoInet6(fd int, p []byte, flags int, to *SockaddrInet6) error {
	_, err := drydockSend(fd, p, flags, to)
	return err
}

// Recvmsg receives without ancillary data: descriptors can't be passed between guests.
func Recvmsg(fd int, p, oob []byte, flags int) (n, oobn, recvflags int, from Sockaddr, err error) {
	n, from, err = Recvfrom(fd, p, flags)
	return n, 0, 0, from, err
}

func recvmsgInet4(fd int, p, oob []byte, flags int, from *SockaddrInet4) (n, oobn int, recvflags int, err error) {
	n, err = recvfromInet4(fd, p, flags, from)
	return n, 0, 0, err
}

func recvmsgInet6(fd int, p, oob []byte, flags int, from *SockaddrInet6) (n, oobn int, recvflags int, err error) {
	n, err = recvfromInet6(fd, p, flags, from)
	return n, 0, 0, err
}

// SendmsgN sends; ancillary data is refused with EOPNOTSUPP.
func SendmsgN(fd int, p, oob []byte, to Sockaddr, flags int) (n int, err error) {
	if len(oob) > 0 {
		return 0, EOPNOTSUPP
	}
	if to == nil {
		return Write(fd, p)
	}
	return drydockSend(fd, p, flags, to)
}

func sendmsgNInet4(fd int, p, oob []byte, to *SockaddrInet4, flags int) (n int, err error) {
	return SendmsgN(fd, p, oob, to, flags)
}

func sendmsgNInet6(fd int, p, oob []byte, to *SockaddrInet6, flags int) (n int, err error) {
	return SendmsgN(fd, p, oob, to, flags)
}

func Sendmsg(fd int, p, oob []byte, to Sockaddr, flags int) error {
	_, err := SendmsgN(fd, p, oob, to, flags)
	return err
}

// drydockOption translates a socket option to the host's numbers.
func drydockOption(level, name int) (int32, int32, error) {
	if level != SOL_SOCKET {
		if level == IPPROTO_TCP || level == IPPROTO_IPV6 {
			return int32(level), int32(name), nil
		}
		return 0, 0, ENOPROTOOPT
	}
	switch name {
	case SO_REUSEADDR:
		return 0, 0, nil
	case SO_TYPE:
		return 0, 1, nil
	case SO_ERROR:
		return 0, 2, nil
	case SO_DONTROUTE:
		return 0, 3, nil
	case SO_BROADCAST:
		return 0, 4, nil
	case SO_SNDBUF:
		return 0, 5, nil
	case SO_RCVBUF:
		return 0, 6, nil
	case SO_KEEPALIVE:
		return 0, 7, nil
	case SO_LINGER:
		return 0, 9, nil
	case SO_ACCEPTCONN:
		return 0, 13, nil
	}
	return 0, 0, ENOPROTOOPT
}

func GetsockoptInt(fd, level, opt int) (value int, err error) {
	l, name, err := drydockOption(level, opt)
	if err != nil {
		return 0, err
	}
	var v int32
	n := size(4)
	if errno := sock_getsockopt(int32(fd), l, name, unsafe.Pointer(&v), &n); errno != 0 {
		return 0, errno
	}
	if level == SOL_SOCKET && opt == SO_TYPE { // the host's types are swapped
		switch v {
		case 1:
			v = SOCK_DGRAM
		case 2:
			v = SOCK_STREAM
		}
	}
	return int(v), nil
}

func SetsockoptInt(fd, level, opt int, value int) error {
	l, name, err := drydockOption(level, opt)
	if err != nil {
		return err
	}
	v := int32(value)
	return errnoErr(sock_setsockopt(int32(fd), l, name, unsafe.Pointer(&v), 4))
}

// Linger says how long Close waits for data to be sent.
type Linger struct {
	Onoff  int32
	Linger int32
}

func SetsockoptLinger(fd, level, opt int, l *Linger) error {
	host, name, err := drydockOption(level, opt)
	if err != nil {
		return err
	}
	return errnoErr(sock_setsockopt(int32(fd), host, name, unsafe.Pointer(l), 8))
}

func SetsockoptByte(fd, level, opt int, value byte) error { return ENOPROTOOPT }

func SetsockoptInet4Addr(fd, level, opt int, value [4]byte) error { return ENOPROTOOPT }

func Shutdown(fd int, how int) error {
	return errnoErr(sock_shutdown(int32(fd), sdflags(how)))
}
