package network

import (
	"net/netip"
	"sync"
	"syscall"
)

// Listener is a socket that takes connections: TCP or unix stream.
type Listener struct {
	stack *Stack // immutable; nil for unix sockets
	addr  netip.AddrPort
	unix  string
	owner *Fabric

	mu      sync.Mutex
	backlog int     // protected by mu
	queue   []*Conn // protected by mu: established, waiting for Accept
	late    []*Conn // protected by mu: beyond the backlog, still connecting (their SYN is repeated until there is room)
	closed  bool    // protected by mu

	w watchers
}

// Addr is the bound address.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Watch calls f after every change of readiness until cancel is called.
func (l *Listener) Watch(f func()) (cancel func()) { return l.w.add(f) }

// Poll is In when Accept would answer.
func (l *Listener) Poll() Events {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return In | Hup
	}
	if len(l.queue) > 0 {
		return In
	}
	return 0
}

// ListenTCP binds and listens. Port 0 takes a free one. The wildcard address takes IPv4 and IPv6.
//
// # Errors
//   - EADDRINUSE: the port is taken for that address
//   - EADDRNOTAVAIL: the address is not one of this namespace
//   - EMFILE: too many sockets
func (s *Stack) ListenTCP(addr netip.AddrPort, backlog int) (*Listener, error) {
	addr = plain(addr)
	f := s.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := s.mayBind(addr.Addr()); err != nil {
		return nil, err
	}
	if addr.Port() == 0 {
		p, err := f.ephemeral(func(p uint16) bool { return s.listens(netip.AddrPortFrom(addr.Addr(), p)) })
		if err != nil {
			return nil, err
		}
		addr = netip.AddrPortFrom(addr.Addr(), p)
	} else if s.listens(addr) {
		return nil, syscall.EADDRINUSE
	}
	l := &Listener{stack: s, owner: f, addr: addr, backlog: clampBacklog(backlog)}
	s.listeners[addr] = l
	return l, nil
}

// mayBind checks what every bind needs. Precondition: fabric.mu is held.
func (s *Stack) mayBind(a netip.Addr) error {
	switch {
	case s.closed:
		return syscall.ENETDOWN
	case !s.owns(a):
		return syscall.EADDRNOTAVAIL
	case s.sockets() >= maxSockets:
		return syscall.EMFILE
	}
	return nil
}

// listens reports whether a listener overlaps with the address. Precondition: fabric.mu is held.
func (s *Stack) listens(addr netip.AddrPort) bool {
	if !addr.Addr().IsUnspecified() {
		return s.listeners[addr] != nil || s.listeners[netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())] != nil
	}
	for a := range s.listeners {
		if a.Port() == addr.Port() {
			return true
		}
	}
	return false
}

// listener finds who takes connections to the address. Precondition: fabric.mu is held.
func (s *Stack) listener(to netip.AddrPort) *Listener {
	if l := s.listeners[to]; l != nil {
		return l
	}
	return s.listeners[netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())]
}

// Listeners lists what listens, for ss(8) and the like.
func (s *Stack) Listeners() []netip.AddrPort {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	list := make([]netip.AddrPort, 0, len(s.listeners))
	for a := range s.listeners {
		list = append(list, a)
	}
	return list
}

func clampBacklog(n int) int { return min(max(n, 1), maxBacklog) }

// SetBacklog changes the queue's bound, as a second listen(2) does.
func (l *Listener) SetBacklog(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.backlog = clampBacklog(n)
}

// ListenUnix makes a unix stream listener under a key that the caller chooses (an inode, an abstract name). EADDRINUSE if the key is taken.
func (f *Fabric) ListenUnix(key string, backlog int) (*Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unix[key] != nil {
		return nil, syscall.EADDRINUSE
	}
	if len(f.unix) >= maxSockets {
		return nil, syscall.EMFILE
	}
	l := &Listener{owner: f, unix: key, backlog: clampBacklog(backlog)}
	f.unix[key] = l
	return l, nil
}

// DialUnix connects to a unix stream listener: ECONNREFUSED if nobody listens under the key, EAGAIN if its queue is full.
func (f *Fabric) DialUnix(key string, c Charger) (*Conn, error) {
	f.mu.Lock()
	l := f.unix[key]
	f.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	client, server := NewPair(c)
	client.unix, server.unix = key, key
	return client, l.offer(server, false)
}

// offer queues an incoming connection. With wait it is kept beyond the backlog, still connecting.
func (l *Listener) offer(server *Conn, wait bool) error {
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return syscall.ECONNREFUSED
	case len(l.queue) < l.backlog:
		l.queue = append(l.queue, server)
		l.mu.Unlock()
		server.establish()
		l.w.wake()
		return nil
	case wait && len(l.late) < maxBacklog:
		l.late = append(l.late, server)
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	if wait {
		return errSilent
	}
	return syscall.EAGAIN
}

// Accept takes the oldest waiting connection; EAGAIN if none waits.
func (l *Listener) Accept() (*Conn, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, syscall.EINVAL
	}
	if len(l.queue) == 0 {
		l.mu.Unlock()
		return nil, syscall.EAGAIN
	}
	c := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	var next *Conn
	for len(l.late) > 0 && next == nil {
		next, l.late = l.late[0], l.late[1:]
		if next.over() {
			next = nil
			continue
		}
		l.queue = append(l.queue, next)
	}
	l.mu.Unlock()
	if next != nil {
		next.establish()
		l.w.wake()
	}
	return c, nil
}

// over reports whether the client gave up while it waited.
func (c *Conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.closed || c.peer.dead != nil
}

// establish ends the handshake for both ends.
func (c *Conn) establish() {
	c.mu.Lock()
	if c.peer.dead == nil {
		c.connecting, c.peer.connecting = false, false
		c.peer.stopLocked()
	}
	c.mu.Unlock()
	c.peer.w.wake()
}

// Close stops listening and resets what waits. Twice is fine.
func (l *Listener) Close() error {
	l.owner.mu.Lock()
	if l.stack != nil && l.stack.listeners[l.addr] == l {
		delete(l.stack.listeners, l.addr)
	}
	if l.unix != "" && l.owner.unix[l.unix] == l {
		delete(l.owner.unix, l.unix)
	}
	l.owner.mu.Unlock()
	l.mu.Lock()
	waiting := append(l.queue, l.late...)
	l.queue, l.late, l.closed = nil, nil, true
	l.mu.Unlock()
	for _, c := range waiting {
		c.peer.fail(syscall.ECONNRESET)
		c.Close()
	}
	l.w.wake()
	return nil
}
