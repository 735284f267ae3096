package wasi

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

func sockCalls() []entry {
	return []entry{
		{name: "sock_open", sig: "iii", f: sockOpen, none: syscall.ENOSYS},
		{name: "sock_bind", sig: "iii", f: sockBind, none: syscall.EBADF},
		{name: "sock_listen", sig: "ii", f: func(c *call) error { return c.p.Listen(c.int(0), c.int(1)) }, none: syscall.EBADF},
		{name: "sock_accept", sig: "iii", f: sockAccept, none: syscall.EBADF},
		{name: "sock_connect", sig: "iii", f: sockConnect, none: syscall.EBADF},
		{name: "sock_recv", sig: "iiiiii", f: sockRecv, none: syscall.EBADF},
		{name: "sock_recv_from", sig: "iiiiiiii", f: sockRecvFrom, none: syscall.EBADF},
		{name: "sock_send", sig: "iiiii", f: sockSend, none: syscall.EBADF},
		{name: "sock_send_to", sig: "iiiiiii", f: sockSendTo, none: syscall.EBADF},
		{name: "sock_shutdown", sig: "ii", f: sockShutdown, none: syscall.EBADF},
		{name: "sock_getlocaladdr", sig: "iiii", f: sockLocal, none: syscall.EBADF},
		{name: "sock_getpeeraddr", sig: "iiii", f: sockPeer, none: syscall.EBADF},
		{name: "sock_getsockopt", sig: "iiiii", f: sockGetOpt, none: syscall.EBADF},
		{name: "sock_setsockopt", sig: "iiiii", f: sockSetOpt, none: syscall.EBADF},
	}
}

const maxUnixPath = 108

func sockOpen(c *call) error {
	if _, err := c.out(2, 4); err != nil {
		return err
	}
	if t := c.u32(1); t != 1 && t != 2 {
		return syscall.EINVAL
	}
	if af := c.u32(0); af > 3 {
		return syscall.EAFNOSUPPORT
	}
	n, err := c.p.NewSocket(kernel.Family(c.u32(0)), c.u32(1) == 1)
	if err != nil {
		return err
	}
	return c.put32(2, uint32(n))
}

// addrBuf is the buffer that the address argument in parameter i describes, and where its length stands.
func (c *call) addrBuf(i int) (buf, lenAt []byte, err error) {
	a, err := c.bytes(c.u32(i), 8)
	if err != nil {
		return nil, nil, err
	}
	if a == nil {
		return nil, nil, syscall.EFAULT
	}
	n := le32(a[4:])
	if n > 1024 {
		return nil, nil, syscall.EINVAL
	}
	b, err := c.bytes(le32(a), n)
	return b, a[4:], err
}

// addr reads the address in parameter i with the port in parameter i+1 for a socket of family f.
func (c *call) addr(i int, f kernel.Family) (kernel.SockAddr, error) {
	b, _, err := c.addrBuf(i)
	if err != nil {
		return kernel.SockAddr{}, err
	}
	if f == kernel.FamilyUnix {
		if len(b) > maxUnixPath {
			return kernel.SockAddr{}, syscall.ENAMETOOLONG
		}
		n := 0
		for n < len(b) && b[n] != 0 {
			n++
		}
		return kernel.SockAddr{Path: string(b[:n])}, nil
	}
	port := c.u32(i + 1)
	if port > 65535 {
		return kernel.SockAddr{}, syscall.EINVAL
	}
	var ip netip.Addr
	switch {
	case len(b) >= 16 && f == kernel.FamilyIPv6:
		ip = netip.AddrFrom16([16]byte(b[:16])).Unmap()
		if ip.Is4() && ip.IsUnspecified() {
			ip = netip.IPv6Unspecified()
		}
	case len(b) >= 4 && f == kernel.FamilyIPv4:
		ip = netip.AddrFrom4([4]byte(b[:4]))
	default:
		return kernel.SockAddr{}, syscall.EINVAL
	}
	return kernel.SockAddr{IP: netip.AddrPortFrom(ip, uint16(port))}, nil
}

// putAddr writes a into the address argument in parameter i and returns the port.
func (c *call) putAddr(i int, f kernel.Family, a kernel.SockAddr) (uint32, error) {
	b, lenAt, err := c.addrBuf(i)
	if err != nil {
		return 0, err
	}
	if f == kernel.FamilyUnix {
		if len(a.Path) > len(b) {
			return 0, syscall.EINVAL
		}
		put32(lenAt, uint32(copy(b, a.Path)))
		return 0, nil
	}
	raw := a.IP.Addr().AsSlice()
	if f == kernel.FamilyIPv6 {
		x := a.IP.Addr().As16()
		raw = x[:]
		if !a.IP.IsValid() {
			raw = make([]byte, 16)
		}
	} else if len(raw) != 4 {
		raw = make([]byte, 4) // the wildcard of a socket for both families
	}
	if len(raw) > len(b) {
		return 0, syscall.EINVAL
	}
	put32(lenAt, uint32(copy(b, raw)))
	return uint32(a.IP.Port()), nil
}

func (c *call) socket() (*kernel.Socket, error) {
	s, _, err := c.p.Socket(c.int(0))
	return s, err
}

func sockBind(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	a, err := c.addr(1, s.Family())
	if err != nil {
		return err
	}
	return c.p.Bind(c.int(0), a)
}

func sockConnect(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	a, err := c.addr(1, s.Family())
	if err != nil {
		return err
	}
	return c.p.Connect(c.int(0), a)
}

func sockAccept(c *call) error {
	if _, err := c.out(2, 4); err != nil {
		return err
	}
	n, err := c.p.Accept(c.int(0), c.u32(1)&fdNonblock != 0)
	if err != nil {
		return err
	}
	return c.put32(2, uint32(n))
}

// riflags and roflags of WASI.
const (
	recvPeek      = 1
	recvWaitall   = 2
	recvTruncated = 1
)

// receive reads into the list of parameters 1 and 2. A datagram is gathered and then spread over several buffers.
func (c *call) receive(flags uint32) (kernel.Received, error) {
	if flags&^(recvPeek|recvWaitall) != 0 {
		return kernel.Received{}, syscall.EINVAL
	}
	bufs, err := c.iovs(1)
	if err != nil {
		return kernel.Received{}, err
	}
	var b []byte
	switch total := size(bufs); {
	case len(bufs) == 1:
		b = bufs[0]
	case len(bufs) > 1:
		b = make([]byte, min(total, maxWrite))
	}
	r, err := c.p.RecvFrom(c.int(0), b, flags&recvPeek != 0, flags&recvWaitall != 0)
	if len(bufs) > 1 {
		rest := b[:r.N]
		for _, x := range bufs {
			rest = rest[copy(x, rest):]
		}
	}
	return r, err
}

func size(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

func sockRecv(c *call) error {
	if _, err := c.out(4, 4); err != nil {
		return err
	}
	ro, err := c.out(5, 2)
	if err != nil {
		return err
	}
	r, err := c.receive(c.u32(3))
	if err != nil {
		return err
	}
	put16(ro, truncated(r))
	return c.put32(4, uint32(r.N))
}

func truncated(r kernel.Received) uint16 {
	if r.Whole > r.N {
		return recvTruncated
	}
	return 0
}

func sockRecvFrom(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	if _, err := c.out(6, 4); err != nil {
		return err
	}
	ro, err := c.out(7, 2)
	if err != nil {
		return err
	}
	r, err := c.receive(c.u32(4))
	if err != nil {
		return err
	}
	if !s.Datagram() {
		if a, err := s.Remote(); err == nil {
			r.From = a
		}
	}
	port, err := c.putAddr(3, s.Family(), r.From)
	if err != nil {
		return err
	}
	if err := c.put32(5, port); err != nil {
		return err
	}
	put16(ro, truncated(r))
	return c.put32(6, uint32(r.N))
}

func sockSend(c *call) error {
	if c.u32(3) != 0 {
		return syscall.EINVAL
	}
	if _, err := c.socket(); err != nil {
		return err
	}
	return c.write(1, 4, func(b []byte) (int, error) { return c.p.SendTo(c.int(0), b, kernel.SockAddr{}) })
}

func sockSendTo(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	var to kernel.SockAddr
	if s.Datagram() && c.u32(3) != 0 {
		if to, err = c.addr(3, s.Family()); err != nil {
			return err
		}
	}
	return c.write(1, 6, func(b []byte) (int, error) { return c.p.SendTo(c.int(0), b, to) })
}

func sockShutdown(c *call) error {
	how := c.u32(1)
	if how == 0 || how > 3 {
		return syscall.EINVAL
	}
	return c.p.Shutdown(c.int(0), how&1 != 0, how&2 != 0)
}

func sockLocal(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	return c.name(s, s.Local())
}

func sockPeer(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	a, err := s.Remote()
	if err != nil {
		return err
	}
	return c.name(s, a)
}

func (c *call) name(s *kernel.Socket, a kernel.SockAddr) error {
	port, err := c.putAddr(1, s.Family(), a)
	if err != nil {
		return err
	}
	if err := c.put32(2, uint32(s.Family())); err != nil {
		return err
	}
	return c.put32(3, port)
}

// Socket options of README.md.
const (
	levelSocket = 0
	levelTCP    = 6
	levelIPv6   = 41

	soReuseaddr  = 0
	soType       = 1
	soError      = 2
	soDontroute  = 3
	soBroadcast  = 4
	soSndbuf     = 5
	soRcvbuf     = 6
	soKeepalive  = 7
	soOobinline  = 8
	soLinger     = 9
	soRcvlowat   = 10
	soRcvtimeo   = 11
	soSndtimeo   = 12
	soAcceptconn = 13

	tcpNodelay   = 1
	tcpKeepidle  = 4
	tcpKeepintvl = 5
	tcpKeepcnt   = 6
	ipv6Only     = 26
)

func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func sockGetOpt(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	lenAt, err := c.out(4, 4)
	if err != nil {
		return err
	}
	n := le32(lenAt)
	if n < 4 {
		return syscall.EINVAL
	}
	out, err := c.bytes(c.u32(3), min(n, 8))
	if err != nil {
		return err
	}
	v, more, err := option(s, c.u32(1), c.u32(2))
	if err != nil {
		return err
	}
	put32(out, uint32(v))
	used := uint32(4)
	if len(out) >= 8 && c.u32(1) == levelSocket && (c.u32(2) == soLinger || c.u32(2) == soRcvtimeo || c.u32(2) == soSndtimeo) {
		put32(out[4:], uint32(more))
		used = 8
	}
	put32(lenAt, used)
	return nil
}

// option reads one. more is the second value of linger (seconds) and of timeouts (microseconds).
func option(s *kernel.Socket, level, name uint32) (v, more int32, err error) {
	s.Opts(func(o *kernel.SockOpts) {
		switch level<<8 | name {
		case levelSocket<<8 | soReuseaddr:
			v = flag(o.ReuseAddr)
		case levelSocket<<8 | soBroadcast:
			v = flag(o.Broadcast)
		case levelSocket<<8 | soSndbuf:
			v = o.SndBuf
		case levelSocket<<8 | soRcvbuf:
			v = o.RcvBuf
		case levelSocket<<8 | soKeepalive:
			v = flag(o.KeepAlive)
		case levelSocket<<8 | soLinger:
			v, more = flag(o.Linger), o.LingerSec
		case levelSocket<<8 | soRcvlowat:
			v = 1
		case levelSocket<<8 | soRcvtimeo:
			v, more = split(o.RcvTimeout)
		case levelSocket<<8 | soSndtimeo:
			v, more = split(o.SndTimeout)
		case levelSocket<<8 | soDontroute, levelSocket<<8 | soOobinline:
		case levelTCP<<8 | tcpNodelay:
			v = flag(o.NoDelay)
		case levelTCP<<8 | tcpKeepidle:
			v = 7200
		case levelTCP<<8 | tcpKeepintvl:
			v = 75
		case levelTCP<<8 | tcpKeepcnt:
			v = 9
		case levelIPv6<<8 | ipv6Only:
			v = flag(o.V6Only)
		case levelSocket<<8 | soType, levelSocket<<8 | soError, levelSocket<<8 | soAcceptconn:
			err = errOutside
		default:
			err = syscall.ENOPROTOOPT
		}
	})
	if err == errOutside { // what is no stored option, asked without the socket's lock
		err = nil
		switch name {
		case soType:
			v = 2
			if s.Datagram() {
				v = 1
			}
		case soError:
			v = int32(errno(s.Err()))
		case soAcceptconn:
			v = flag(s.Listening())
		}
	}
	return v, more, err
}

// errOutside marks options that are not kept.
var errOutside = errors.New("not a stored option")

func split(d time.Duration) (sec, usec int32) {
	return int32(d / time.Second), int32(d % time.Second / time.Microsecond)
}

func sockSetOpt(c *call) error {
	s, err := c.socket()
	if err != nil {
		return err
	}
	n := c.u32(4)
	if n < 4 || n > 64 {
		return syscall.EINVAL
	}
	b, err := c.bytes(c.u32(3), n)
	if err != nil {
		return err
	}
	v, more := int32(le32(b)), int32(0)
	if len(b) >= 8 {
		more = int32(le32(b[4:]))
	}
	s.Opts(func(o *kernel.SockOpts) { err = setOption(o, c.u32(1), c.u32(2), v, more) })
	return err
}

func setOption(o *kernel.SockOpts, level, name uint32, v, more int32) error {
	switch level<<8 | name {
	case levelSocket<<8 | soReuseaddr:
		o.ReuseAddr = v != 0
	case levelSocket<<8 | soBroadcast:
		o.Broadcast = v != 0
	case levelSocket<<8 | soSndbuf:
		o.SndBuf = v
	case levelSocket<<8 | soRcvbuf:
		o.RcvBuf = v
	case levelSocket<<8 | soKeepalive:
		o.KeepAlive = v != 0
	case levelSocket<<8 | soLinger:
		o.Linger, o.LingerSec = v != 0, more
	case levelSocket<<8 | soRcvtimeo, levelSocket<<8 | soSndtimeo:
		if v < 0 || more < 0 || more >= 1_000_000 {
			return syscall.EDOM
		}
		d := time.Duration(v)*time.Second + time.Duration(more)*time.Microsecond
		if name == soRcvtimeo {
			o.RcvTimeout = d
		} else {
			o.SndTimeout = d
		}
	case levelSocket<<8 | soDontroute, levelSocket<<8 | soOobinline, levelSocket<<8 | soRcvlowat,
		levelTCP<<8 | tcpKeepidle, levelTCP<<8 | tcpKeepintvl, levelTCP<<8 | tcpKeepcnt:
	case levelTCP<<8 | tcpNodelay:
		o.NoDelay = v != 0
	case levelIPv6<<8 | ipv6Only:
		o.V6Only = v != 0
	default:
		return syscall.ENOPROTOOPT
	}
	return nil
}
