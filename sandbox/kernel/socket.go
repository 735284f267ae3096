package kernel

import (
	"io"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Family is an address family.
type Family uint8

// The families, numbered as the guest ABI has them.
const (
	FamilyIPv4 Family = 1
	FamilyIPv6 Family = 2
	FamilyUnix Family = 3
)

// SockAddr is an address: IP and port, or the path of a unix socket.
type SockAddr struct {
	IP   netip.AddrPort
	Path string
}

// SockOpts are options that are kept; those with an effect say so.
type SockOpts struct {
	ReuseAddr, KeepAlive, Broadcast, NoDelay, V6Only bool
	SndBuf, RcvBuf                                   int32
	Linger                                           bool
	LingerSec                                        int32         // with Linger and 0: close resets the connection
	RcvTimeout, SndTimeout                           time.Duration // blocking calls end with EAGAIN
}

// Socket is a socket as a description. What it is made of changes with bind, connect and listen.
type Socket struct {
	ino    uint64
	m      *Machine
	stack  *network.Stack
	family Family
	dgram  bool
	charge vfs.Charger

	mu        sync.Mutex
	opts      SockOpts          // guarded by mu
	bound     bool              // guarded by mu
	local     SockAddr          // guarded by mu
	remote    SockAddr          // guarded by mu
	conn      *network.Conn     // guarded by mu; set once
	listener  *network.Listener // guarded by mu; set once
	udp       *network.UDPConn  // guarded by mu; set once
	dialing   bool              // guarded by mu; the result of connect was not asked for yet
	unixNode  vfs.Node          // guarded by mu; of a bound unix socket
	unixClose func()            // guarded by mu
}

// unixListener is what a socket's inode stands for while somebody listens on it.
type unixListener struct{ key string }

// NewSocket is socket(2). EAFNOSUPPORT for families this machine has not, and unix datagrams.
func (p *Process) NewSocket(f Family, dgram bool) (int, error) {
	switch f {
	case FamilyIPv4, FamilyIPv6:
		if p.net == nil {
			return -1, syscall.EAFNOSUPPORT
		}
	case FamilyUnix:
		if p.m.cfg.Fabric == nil || dgram {
			return -1, syscall.EAFNOSUPPORT
		}
	default:
		return -1, syscall.EAFNOSUPPORT
	}
	return p.installSocket(p.socket(f, dgram))
}

func (p *Process) socket(f Family, dgram bool) *Socket {
	return &Socket{ino: anonIno.Add(1), m: p.m, stack: p.net, family: f, dgram: dgram, charge: p.cgroup.Charger(), opts: SockOpts{SndBuf: 212992, RcvBuf: 212992}}
}

func (p *Process) installSocket(s *Socket) (int, error) {
	fd := NewFD(s)
	n, err := p.Install(fd)
	if err != nil {
		fd.Close()
	}
	return n, err
}

// Socket is the socket behind a descriptor. EBADF, ENOTSOCK.
func (p *Process) Socket(n int) (s *Socket, nonblock bool, err error) {
	sl, err := p.fds.get(n)
	if err != nil {
		return nil, false, err
	}
	s, ok := sl.fd.d.(*Socket)
	if !ok {
		return nil, false, syscall.ENOTSOCK
	}
	return s, sl.nonblock, nil
}

// Family is its address family.
func (s *Socket) Family() Family { return s.family }

// Datagram reports whether it is a datagram socket.
func (s *Socket) Datagram() bool { return s.dgram }

// parts are what it is made of at present.
func (s *Socket) parts() (*network.Conn, *network.Listener, *network.UDPConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn, s.listener, s.udp
}

// Listening reports whether listen(2) was called.
func (s *Socket) Listening() bool { _, l, _ := s.parts(); return l != nil }

func (s *Socket) Read(b []byte) (int, error) {
	n, _, _, err := s.recv(b, false)
	return n, err
}

// recv takes what has come; whole is a datagram's full length.
func (s *Socket) recv(b []byte, peek bool) (n, whole int, from SockAddr, err error) {
	c, _, u := s.parts()
	switch {
	case u != nil:
		if peek {
			return 0, 0, from, syscall.EOPNOTSUPP
		}
		n, whole, from.IP, err = u.RecvFrom(b)
		return n, whole, from, err
	case c == nil:
		return 0, 0, from, syscall.ENOTCONN
	}
	if peek {
		n, err = c.Peek(b)
	} else {
		n, err = c.Read(b)
	}
	if n == 0 && err == nil && len(b) > 0 {
		err = io.EOF
	}
	return n, n, from, err
}

func (s *Socket) Write(b []byte) (int, error) {
	c, _, u := s.parts()
	switch {
	case u != nil:
		return u.SendTo(b, netip.AddrPort{})
	case s.dgram:
		return 0, syscall.EDESTADDRREQ
	case c == nil:
		return 0, syscall.ENOTCONN
	}
	return c.Write(b)
}

func (s *Socket) Poll() Events {
	c, l, u := s.parts()
	var n network.Events
	switch {
	case c != nil:
		n = c.Poll()
	case l != nil:
		n = l.Poll()
	case u != nil:
		n = u.Poll()
	case s.dgram:
		return EventOut
	default:
		return EventOut | EventHup // as Linux: a fresh stream socket is hung up
	}
	var ev Events
	for _, x := range [...]struct {
		n network.Events
		e Events
	}{{network.In, EventIn}, {network.Out, EventOut}, {network.Hup, EventHup}, {network.RdHup, EventIn}, {network.Err, EventErr}} {
		if n&x.n != 0 {
			ev |= x.e
		}
	}
	return ev
}

// Watch watches what the socket is made of now: a wait across connect or listen by another process looks again only at the next change.
func (s *Socket) Watch(f func()) func() {
	c, l, u := s.parts()
	switch {
	case c != nil:
		return c.Watch(f)
	case l != nil:
		return l.Watch(f)
	case u != nil:
		return u.Watch(f)
	}
	return nothing
}

func (s *Socket) Stat() vfs.Stat {
	return vfs.Stat{Dev: 8, Ino: s.ino, Mode: vfs.ModeSocket | 0o777, Nlink: 1, Blksize: vfs.BlockSize}
}

func (s *Socket) Name() string { return "socket:[" + strconv.FormatUint(s.ino, 10) + "]" }

func (s *Socket) Kind() Kind {
	if s.dgram {
		return KindDgram
	}
	return KindStream
}

// Release closes it; with linger 0 the peer sees a reset.
func (s *Socket) Release() {
	s.mu.Lock()
	c, l, u, unix := s.conn, s.listener, s.udp, s.unixClose
	reset := s.opts.Linger && s.opts.LingerSec == 0
	s.mu.Unlock()
	if unix != nil {
		unix()
	}
	if c != nil {
		if reset {
			c.Reset()
		}
		c.Close()
	}
	if l != nil {
		l.Close()
	}
	if u != nil {
		u.Close()
	}
}

// Opts calls f to look at the options or change them.
func (s *Socket) Opts(f func(*SockOpts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.opts)
}

// Err takes the pending error (SO_ERROR), nil for none.
func (s *Socket) Err() error {
	c, _, u := s.parts()
	switch {
	case c != nil:
		return c.Err()
	case u != nil:
		return u.Err()
	}
	return nil
}

// Bind is bind(2). EINVAL when bound already, EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL; TCP ports are taken at listen or connect.
func (p *Process) Bind(n int, a SockAddr) error {
	s, _, err := p.Socket(n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound || s.conn != nil || s.listener != nil {
		return syscall.EINVAL
	}
	if s.family == FamilyUnix {
		return p.bindUnixLocked(s, a.Path)
	}
	if !a.IP.Addr().IsValid() {
		return syscall.EAFNOSUPPORT
	}
	if s.dgram {
		if s.udp != nil {
			return syscall.EINVAL
		}
		if s.udp, err = s.stack.ListenUDP(a.IP); err != nil {
			return err
		}
	}
	s.bound, s.local = true, a
	return nil
}

func (p *Process) bindUnixLocked(s *Socket, path string) error {
	if path == "" {
		return syscall.EINVAL
	}
	v := p.View()
	if err := v.Mknod(nil, path, vfs.ModeSocket|0o777, 0); err != nil {
		if err == syscall.EEXIST {
			return syscall.EADDRINUSE
		}
		return err
	}
	f, err := v.Open(nil, path, vfs.O_PATH, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	s.bound, s.local, s.unixNode = true, SockAddr{Path: path}, f.Node()
	return nil
}

// Listen is listen(2). EDESTADDRREQ for an unbound unix socket, EOPNOTSUPP for datagrams.
func (p *Process) Listen(n, backlog int) error {
	s, _, err := p.Socket(n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	backlog = min(max(backlog, 1), 4096)
	switch {
	case s.dgram:
		return syscall.EOPNOTSUPP
	case s.conn != nil:
		return syscall.EINVAL
	case s.listener != nil:
		s.listener.SetBacklog(backlog)
		return nil
	case s.family == FamilyUnix:
		return p.listenUnixLocked(s, backlog)
	}
	a := s.local.IP
	if !s.bound {
		a = netip.AddrPortFrom(s.wildcard(), 0)
	}
	if s.listener, err = s.stack.ListenTCP(a, backlog); err == nil {
		s.local, s.bound = SockAddr{IP: s.listener.Addr()}, true
	}
	return err
}

func (s *Socket) wildcard() netip.Addr {
	if s.family == FamilyIPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// ListenUnix makes a unix socket in the machine's files that host code answers at, with the mode and owner given. The listener's owner closes it; the
// machine forgets the socket when it is off. EADDRINUSE when something of that name is there.
func (m *Machine) ListenUnix(path string, mode, uid, gid uint32) (*network.Listener, error) {
	v := *m.cfg.Root
	v.Cred, v.Umask = vfs.Root, 0
	if err := v.Mknod(nil, path, vfs.ModeSocket|mode, 0); err != nil {
		if err == syscall.EEXIST {
			return nil, syscall.EADDRINUSE
		}
		return nil, err
	}
	if err := v.Chown(nil, path, uid, gid, false); err != nil {
		return nil, err
	}
	f, err := v.Open(nil, path, vfs.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u := &unixListener{key: m.cfg.Hostname + ":" + path}
	l, err := m.cfg.Fabric.ListenUnix(u.key, unixBacklog)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.unix[f.Node()] = u
	m.mu.Unlock()
	return l, nil
}

// unixBacklog is how many connections wait for host code to take them.
const unixBacklog = 128

func (p *Process) listenUnixLocked(s *Socket, backlog int) error {
	if s.unixNode == nil {
		return syscall.EDESTADDRREQ
	}
	m := p.m
	u := &unixListener{key: m.cfg.Hostname + ":" + strconv.FormatUint(s.ino, 10)}
	l, err := m.cfg.Fabric.ListenUnix(u.key, backlog)
	if err != nil {
		return err
	}
	node := s.unixNode
	m.mu.Lock()
	m.unix[node] = u
	m.mu.Unlock()
	s.listener = l
	s.unixClose = func() {
		m.mu.Lock()
		if m.unix[node] == u {
			delete(m.unix, node)
		}
		m.mu.Unlock()
	}
	return nil
}

// Connect is connect(2): EINPROGRESS when non-blocking, else it waits for the result. EISCONN, EALREADY, ECONNREFUSED, ETIMEDOUT, ENETUNREACH…
func (p *Process) Connect(n int, a SockAddr) error {
	s, nonblock, err := p.Socket(n)
	if err != nil {
		return err
	}
	if s.dgram {
		return s.connectUDP(a)
	}
	if err := p.dial(s, a); err != nil {
		return err
	}
	if nonblock && s.family != FamilyUnix {
		return syscall.EINPROGRESS
	}
	if err := p.await(s, EventOut); err != nil {
		return err
	}
	s.mu.Lock()
	s.dialing = false
	s.mu.Unlock()
	return s.Err()
}

func (p *Process) dial(s *Socket, a SockAddr) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.listener != nil:
		return syscall.EINVAL
	case s.conn != nil && s.dialing && s.conn.Poll()&network.Out == 0:
		return syscall.EALREADY
	case s.conn != nil:
		return syscall.EISCONN
	case s.family == FamilyUnix:
		s.conn, err = p.dialUnix(s, a.Path)
	case !a.IP.Addr().IsValid():
		return syscall.EAFNOSUPPORT
	default:
		s.conn, err = s.stack.DialTCP(s.local.IP, a.IP)
	}
	if err != nil {
		s.conn = nil
		return err
	}
	s.remote, s.dialing = a, true
	return nil
}

func (p *Process) dialUnix(s *Socket, path string) (*network.Conn, error) {
	v := p.View()
	f, err := v.Open(nil, path, vfs.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := v.Access(nil, path, vfs.AccessWrite); err != nil {
		return nil, err
	}
	p.m.mu.Lock()
	u := p.m.unix[f.Node()]
	p.m.mu.Unlock()
	if u == nil {
		return nil, syscall.ECONNREFUSED
	}
	return p.m.cfg.Fabric.DialUnix(u.key, s.charge)
}

func (s *Socket) connectUDP(a SockAddr) error {
	if !a.IP.Addr().IsValid() {
		return syscall.EAFNOSUPPORT
	}
	if err := s.openUDP(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.udp.Connect(a.IP)
	s.remote = a
	return nil
}

// openUDP gives an unbound datagram socket a port.
func (s *Socket) openUDP() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.udp == nil {
		s.udp, err = s.stack.ListenUDP(netip.AddrPortFrom(s.wildcard(), 0))
	}
	return err
}

// Accept is accept(2); nonblock makes the new descriptor so.
func (p *Process) Accept(n int, nonblock bool) (int, error) {
	s, nb, err := p.Socket(n)
	if err != nil {
		return -1, err
	}
	_, l, _ := s.parts()
	if l == nil {
		return -1, syscall.EINVAL
	}
	for {
		c, err := l.Accept()
		if err == syscall.EAGAIN && !nb {
			if err := p.await(s, EventIn); err != nil {
				return -1, err
			}
			continue
		}
		if err != nil {
			return -1, err
		}
		t := p.socket(s.family, false)
		t.conn, t.local, t.bound = c, s.local, true
		fd, err := p.installSocket(t)
		if err == nil && nonblock {
			p.fds.setNonblock(fd, true)
		}
		return fd, err
	}
}

// Shutdown is shutdown(2).
func (p *Process) Shutdown(n int, read, write bool) error {
	s, _, err := p.Socket(n)
	if err != nil {
		return err
	}
	c, _, _ := s.parts()
	if c == nil || c.Poll()&network.Out == 0 && s.connecting() {
		return syscall.ENOTCONN
	}
	if read {
		if err := c.CloseRead(); err != nil {
			return err
		}
	}
	if write {
		return c.CloseWrite()
	}
	return nil
}

func (s *Socket) connecting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialing
}

// Received is what RecvFrom took.
type Received struct {
	N, Whole int
	From     SockAddr
	EOF      bool
}

// RecvFrom is recvfrom(2) with MSG_PEEK and MSG_WAITALL.
func (p *Process) RecvFrom(n int, b []byte, peek, all bool) (Received, error) {
	s, nonblock, err := p.Socket(n)
	if err != nil {
		return Received{}, err
	}
	if s.dgram {
		if err := s.openUDP(); err != nil {
			return Received{}, err
		}
	}
	p.Worked(len(b))
	deadline := s.deadline(p, func(o *SockOpts) time.Duration { return o.RcvTimeout })
	var r Received
	for {
		got, whole, from, err := s.recv(b[r.N:], peek)
		r.N, r.Whole, r.From = r.N+got, r.N+whole, from
		switch {
		case err == io.EOF:
			r.EOF = true
			return r, nil
		case err == nil && (!all || peek || s.dgram || r.N == len(b)):
			return r, nil
		case err != nil && err != syscall.EAGAIN:
			return r, err
		case err == syscall.EAGAIN && nonblock:
			if r.N > 0 {
				return r, nil
			}
			return r, err
		}
		if err = p.BlockUntil(deadline, func() bool { return s.Poll()&(EventIn|EventHup|EventErr) != 0 }, s); err != nil {
			if err == syscall.ETIMEDOUT {
				err = syscall.EAGAIN
			}
			if r.N > 0 && err != ErrKilled {
				return r, nil
			}
			return r, err
		}
	}
}

func (s *Socket) deadline(p *Process, of func(*SockOpts) time.Duration) (t time.Time) {
	s.Opts(func(o *SockOpts) {
		if d := of(o); d > 0 {
			t = p.m.clock.Now().Add(d)
		}
	})
	return t
}

// SendTo is sendto(2) of a datagram; for stream sockets (to is ignored) it is Write.
func (p *Process) SendTo(n int, b []byte, to SockAddr) (int, error) {
	s, _, err := p.Socket(n)
	if err != nil {
		return 0, err
	}
	if !s.dgram {
		return p.Write(n, b)
	}
	p.Worked(len(b))
	if err := s.openUDP(); err != nil {
		return 0, err
	}
	_, _, u := s.parts()
	return u.SendTo(b, to.IP)
}

// Local is getsockname(2).
func (s *Socket) Local() SockAddr {
	c, l, u := s.parts()
	switch {
	case s.family == FamilyUnix:
	case c != nil:
		return SockAddr{IP: c.LocalAddr()}
	case l != nil:
		return SockAddr{IP: l.Addr()}
	case u != nil:
		return SockAddr{IP: u.LocalAddr()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bound && s.family != FamilyUnix {
		return SockAddr{IP: netip.AddrPortFrom(s.wildcard(), 0)}
	}
	return s.local
}

// Remote is getpeername(2). ENOTCONN.
func (s *Socket) Remote() (SockAddr, error) {
	c, _, u := s.parts()
	switch {
	case c != nil && s.family == FamilyUnix:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.remote, nil
	case c != nil && c.RemoteAddr().IsValid():
		return SockAddr{IP: c.RemoteAddr()}, nil
	case u != nil && u.RemoteAddr().IsValid():
		return SockAddr{IP: u.RemoteAddr()}, nil
	}
	return SockAddr{}, syscall.ENOTCONN
}
