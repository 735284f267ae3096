package network

import (
	"errors"
	"net/netip"
	"sync"
	"syscall"
)

type datagram struct {
	from netip.AddrPort
	data []byte
}

// UDPConn is a UDP socket.
type UDPConn struct {
	stack   *Stack
	local   netip.AddrPort
	charger Charger
	answer  func(from netip.AddrPort, data []byte) []byte // immutable: host service, see ServeUDP

	mu     sync.Mutex
	remote netip.AddrPort                    // protected by mu: set by Connect
	queue  []datagram                        // protected by mu
	bytes  int                               // protected by mu: of queue
	nat    map[netip.AddrPort]netip.AddrPort // protected by mu: who really answers → whom we asked (connection tracking)
	err    error                             // protected by mu: ICMP errors of a connected socket
	closed bool                              // protected by mu

	w watchers
}

// maxTracked bounds the translations that one socket remembers.
const maxTracked = 256

// ListenUDP binds a UDP socket; port 0 takes a free one. Errors as ListenTCP.
func (s *Stack) ListenUDP(addr netip.AddrPort) (*UDPConn, error) { return s.listenUDP(addr, nil) }

// ServeUDP binds host code to an address: answer is called with each datagram, on the sender's goroutine, and what it returns (nil for
// nothing) is sent back. It must not block.
func (s *Stack) ServeUDP(addr netip.AddrPort, answer func(from netip.AddrPort, data []byte) []byte) (*UDPConn, error) {
	return s.listenUDP(addr, answer)
}

func (s *Stack) listenUDP(addr netip.AddrPort, answer func(netip.AddrPort, []byte) []byte) (*UDPConn, error) {
	addr = plain(addr)
	f := s.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := s.mayBind(addr.Addr()); err != nil {
		return nil, err
	}
	if addr.Port() == 0 {
		p, err := f.ephemeral(func(p uint16) bool { return s.bound(netip.AddrPortFrom(addr.Addr(), p)) })
		if err != nil {
			return nil, err
		}
		addr = netip.AddrPortFrom(addr.Addr(), p)
	} else if s.bound(addr) {
		return nil, syscall.EADDRINUSE
	}
	u := &UDPConn{stack: s, local: addr, charger: s.charger, answer: answer}
	s.udp[addr] = u
	return u, nil
}

// bound reports whether a UDP socket overlaps with the address. Precondition: fabric.mu is held.
func (s *Stack) bound(addr netip.AddrPort) bool {
	if !addr.Addr().IsUnspecified() {
		return s.udp[addr] != nil || s.udp[netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())] != nil
	}
	for a := range s.udp {
		if a.Port() == addr.Port() {
			return true
		}
	}
	return false
}

// LocalAddr is the bound address.
func (u *UDPConn) LocalAddr() netip.AddrPort { return u.local }

// RemoteAddr is the address given to Connect, invalid before.
func (u *UDPConn) RemoteAddr() netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.remote
}

// Connect sets where Send without an address goes, and from whom alone datagrams are taken.
func (u *UDPConn) Connect(to netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remote = plain(to)
}

// Watch calls f after every change of readiness until cancel is called.
func (u *UDPConn) Watch(f func()) (cancel func()) { return u.w.add(f) }

// Poll is the present readiness; sending never waits.
func (u *UDPConn) Poll() Events {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := Out
	if len(u.queue) > 0 {
		e |= In
	}
	if u.err != nil {
		e |= In | Err
	}
	return e
}

// Err takes the pending error, as SO_ERROR does.
func (u *UDPConn) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	err := u.err
	u.err = nil
	return err
}

// SendTo sends one datagram; an invalid `to` means the connected address. What cannot be delivered vanishes, but a connected socket learns
// of a closed port with its next call (ICMP port unreachable, RFC 1122 4.1.3.3).
//
// # Errors
//   - EDESTADDRREQ, EMSGSIZE, ENETUNREACH, EHOSTUNREACH, EBADF
//   - ECONNREFUSED: told by an earlier datagram
func (u *UDPConn) SendTo(p []byte, to netip.AddrPort) (int, error) {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return 0, syscall.EBADF
	}
	if err := u.err; err != nil {
		u.err = nil
		u.mu.Unlock()
		return 0, err
	}
	if !to.IsValid() {
		to = u.remote
	}
	u.mu.Unlock()
	switch {
	case !to.IsValid():
		return 0, syscall.EDESTADDRREQ
	case len(p) > maxDatagram:
		return 0, syscall.EMSGSIZE
	}
	asked := plain(to)
	from := u.sourceFor(asked)
	target, real, err := u.stack.fabric.route(u.stack, UDP, from, asked)
	switch {
	case errors.Is(err, errSilent):
		return len(p), nil
	case err == syscall.ECONNREFUSED:
		u.refused(asked)
		return len(p), nil
	case err != nil:
		return 0, err
	}
	if real != asked {
		u.track(real, asked)
	}
	u.deliver(target, p, from, real, asked)
	return len(p), nil
}

func (u *UDPConn) sourceFor(to netip.AddrPort) netip.AddrPort {
	if !u.local.Addr().IsUnspecified() {
		return u.local
	}
	u.stack.fabric.mu.Lock()
	defer u.stack.fabric.mu.Unlock()
	return netip.AddrPortFrom(u.stack.source(to.Addr()), u.local.Port())
}

func (u *UDPConn) deliver(target *Stack, p []byte, from, real, asked netip.AddrPort) {
	f := u.stack.fabric
	f.mu.Lock()
	dst := target.udp[real]
	if dst == nil {
		dst = target.udp[netip.AddrPortFrom(netip.IPv4Unspecified(), real.Port())]
	}
	if dst == nil {
		u.stack.dropLocked(UDP, from, real, "nobody listens on the port")
	}
	out, in := u.stack.link(asked.Addr()), target.link(from.Addr())
	f.mu.Unlock()
	if dst == nil {
		u.refused(asked)
		return
	}
	out.Count.TxBytes.Add(int64(len(p)))
	out.Count.TxPackets.Add(1)
	in.Count.RxBytes.Add(int64(len(p)))
	in.Count.RxPackets.Add(1)
	if dst.answer != nil {
		if reply := dst.answer(from, p); reply != nil {
			u.receive(asked, reply)
		}
		return
	}
	if !dst.receive(from, p) {
		u.stack.drop(UDP, from, real, "the receiver's buffer is full")
	}
}

func (u *UDPConn) track(real, asked netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.nat == nil || len(u.nat) >= maxTracked {
		u.nat = map[netip.AddrPort]netip.AddrPort{}
	}
	u.nat[real] = asked
}

// refused notes an ICMP port unreachable.
func (u *UDPConn) refused(to netip.AddrPort) {
	u.mu.Lock()
	if u.remote != to {
		u.mu.Unlock()
		return
	}
	u.err = syscall.ECONNREFUSED
	u.mu.Unlock()
	u.w.wake()
}

// receive queues a datagram; false if it was dropped.
func (u *UDPConn) receive(from netip.AddrPort, p []byte) bool {
	u.mu.Lock()
	if asked, ok := u.nat[from]; ok {
		from = asked
	}
	if u.closed || u.remote.IsValid() && u.remote != from || u.bytes+len(p) > datagramBuffer || len(u.queue) >= 1024 {
		u.mu.Unlock()
		return false
	}
	if u.charger != nil && u.charger.Charge(int64(len(p))) != nil {
		u.mu.Unlock()
		return false
	}
	u.queue = append(u.queue, datagram{from, append([]byte(nil), p...)})
	u.bytes += len(p)
	u.mu.Unlock()
	u.w.wake()
	return true
}

// RecvFrom takes the oldest datagram; what does not fit in p is lost (whole is its full length). EAGAIN if there is none.
func (u *UDPConn) RecvFrom(p []byte) (n, whole int, from netip.AddrPort, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.closed:
		return 0, 0, from, syscall.EBADF
	case u.err != nil:
		err, u.err = u.err, nil
		return 0, 0, from, err
	case len(u.queue) == 0:
		return 0, 0, from, syscall.EAGAIN
	}
	d := u.queue[0]
	u.queue[0] = datagram{}
	u.queue = u.queue[1:]
	u.payLocked(len(d.data))
	return copy(p, d.data), len(d.data), d.from, nil
}

func (u *UDPConn) payLocked(n int) {
	u.bytes -= n
	if u.charger != nil && n > 0 {
		u.charger.Charge(int64(-n))
	}
}

// Close frees the port. Twice is fine.
func (u *UDPConn) Close() error {
	f := u.stack.fabric
	f.mu.Lock()
	if u.stack.udp[u.local] == u {
		delete(u.stack.udp, u.local)
	}
	f.mu.Unlock()
	u.mu.Lock()
	if !u.closed {
		u.closed = true
		u.queue = nil
		u.payLocked(u.bytes)
	}
	u.mu.Unlock()
	u.w.wake()
	return nil
}
