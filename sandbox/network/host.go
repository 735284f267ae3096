package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DialContext connects from host code. The address is an IP and a port; nothing resolves names here.
func (s *Stack) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil, net.UnknownNetworkError(network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.AddrError{Err: err.Error(), Addr: address}
	}
	c, err := s.DialTCP(netip.AddrPort{}, to)
	if err != nil {
		return nil, opError("dial", to, err)
	}
	ready := newSignal(c.Watch)
	defer ready.cancel()
	for c.Poll()&Out == 0 {
		if err := ready.wait(ctx.Done(), nil); err != nil {
			c.Close()
			return nil, opError("dial", to, ctx.Err())
		}
	}
	if err := c.Err(); err != nil {
		c.Close()
		return nil, opError("dial", to, err)
	}
	return NewNetConn(c), nil
}

func opError(op string, to netip.AddrPort, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = os.NewSyscallError("connect", errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// signal turns readiness callbacks into something to wait for.
type signal struct {
	c      chan struct{}
	cancel func()
}

func newSignal(watch func(func()) func()) *signal {
	s := &signal{c: make(chan struct{}, 1)}
	s.cancel = watch(s.set)
	return s
}

func (s *signal) set() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

var errCanceled = errors.New("network: wait canceled")

func (s *signal) wait(done <-chan struct{}, deadline <-chan time.Time) error {
	select {
	case <-s.c:
		return nil
	case <-done:
		return errCanceled
	case <-deadline:
		return os.ErrDeadlineExceeded
	}
}

// NetConn is a blocking net.Conn over a Conn. Deadlines are of the wall clock: host code waits in real time.
type NetConn struct {
	c      *Conn
	rd, wr direction
}

// direction serialises and bounds the waits of one direction.
type direction struct {
	mu    sync.Mutex // one reader, one writer
	ready *signal

	tmu      sync.Mutex
	deadline time.Time
	changed  chan struct{}
}

// NewNetConn wraps c. Both must not be used at once.
func NewNetConn(c *Conn) *NetConn {
	n := &NetConn{c: c}
	for _, d := range []*direction{&n.rd, &n.wr} {
		d.ready = newSignal(c.Watch)
		d.changed = make(chan struct{})
	}
	return n
}

// until calls try until it does not answer EAGAIN.
func (d *direction) until(try func() (int, error)) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		d.tmu.Lock()
		deadline, changed := d.deadline, d.changed
		d.tmu.Unlock()
		var timeout <-chan time.Time
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			t := time.NewTimer(left)
			defer t.Stop()
			timeout = t.C
		}
		n, err := try()
		if n > 0 || err != syscall.EAGAIN && err != syscall.ENOTCONN {
			return n, err
		}
		if err := d.ready.wait(changed, timeout); err == os.ErrDeadlineExceeded {
			return 0, err
		}
	}
}

func (d *direction) setDeadline(t time.Time) {
	d.tmu.Lock()
	defer d.tmu.Unlock()
	d.deadline = t
	close(d.changed)
	d.changed = make(chan struct{})
}

func (n *NetConn) fault(op string, err error) error {
	switch err {
	case nil, os.ErrDeadlineExceeded:
		return err
	case syscall.EBADF:
		return net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Source: n.LocalAddr(), Addr: n.RemoteAddr(), Err: err}
}

func (n *NetConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	k, err := n.rd.until(func() (int, error) { return n.c.Read(p) })
	if k == 0 && err == nil {
		return 0, io.EOF
	}
	return k, n.fault("read", err)
}

func (n *NetConn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		k, err := n.wr.until(func() (int, error) { return n.c.Write(p[done:]) })
		done += k
		if err != nil {
			return done, n.fault("write", err)
		}
	}
	return done, nil
}

// Close ends the connection.
func (n *NetConn) Close() error {
	err := n.c.Close()
	n.rd.ready.set()
	n.wr.ready.set()
	n.rd.ready.cancel()
	n.wr.ready.cancel()
	return err
}

// CloseWrite ends our direction; the peer reads the end of the stream.
func (n *NetConn) CloseWrite() error { return n.fault("close", n.c.CloseWrite()) }

func (n *NetConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(n.c.LocalAddr()) }
func (n *NetConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(n.c.RemoteAddr()) }

func (n *NetConn) SetDeadline(t time.Time) error {
	n.rd.setDeadline(t)
	n.wr.setDeadline(t)
	return nil
}
func (n *NetConn) SetReadDeadline(t time.Time) error  { n.rd.setDeadline(t); return nil }
func (n *NetConn) SetWriteDeadline(t time.Time) error { n.wr.setDeadline(t); return nil }

// Listen is a blocking net.Listener for host code.
func (s *Stack) Listen(addr netip.AddrPort) (net.Listener, error) {
	l, err := s.ListenTCP(addr, maxBacklog)
	if err != nil {
		return nil, opError("listen", addr, err)
	}
	return &netListener{l: l, ready: newSignal(l.Watch)}, nil
}

type netListener struct {
	l     *Listener
	ready *signal
}

func (n *netListener) Accept() (net.Conn, error) {
	for {
		c, err := n.l.Accept()
		switch err {
		case nil:
			return NewNetConn(c), nil
		case syscall.EAGAIN:
			n.ready.wait(nil, nil)
		default:
			return nil, net.ErrClosed
		}
	}
}

func (n *netListener) Close() error   { err := n.l.Close(); n.ready.set(); return err }
func (n *netListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(n.l.Addr()) }

// Serve calls handle for each connection to addr on a goroutine of its own, which lives only as long as the connection: an idle service
// holds none. At most limit connections are served at once; further ones wait in the backlog.
func (s *Stack) Serve(addr netip.AddrPort, limit int, handle func(net.Conn)) (io.Closer, error) {
	l, err := s.ListenTCP(addr, maxBacklog)
	if err != nil {
		return nil, opError("listen", addr, err)
	}
	return ServeListener(l, limit, handle), nil
}

// ServeListener is Serve for a listener that is there.
func ServeListener(l *Listener, limit int, handle func(net.Conn)) io.Closer {
	v := &service{l: l, handle: handle, limit: limit}
	l.Watch(v.pump)
	return v
}

type service struct {
	l      *Listener
	handle func(net.Conn)
	limit  int

	mu     sync.Mutex
	active map[net.Conn]struct{} // protected by mu
	closed bool                  // protected by mu
	wg     sync.WaitGroup
}

// pump starts handlers for what waits.
func (v *service) pump() {
	for {
		v.mu.Lock()
		if v.closed || len(v.active) >= v.limit {
			v.mu.Unlock()
			return
		}
		c, err := v.l.Accept()
		if err != nil {
			v.mu.Unlock()
			return
		}
		if v.active == nil {
			v.active = map[net.Conn]struct{}{}
		}
		conn := NewNetConn(c)
		v.active[conn] = struct{}{}
		v.wg.Add(1)
		v.mu.Unlock()
		go v.serve(conn)
	}
}

func (v *service) serve(conn net.Conn) {
	defer v.wg.Done()
	v.handle(conn)
	conn.Close()
	v.mu.Lock()
	delete(v.active, conn)
	v.mu.Unlock()
	v.pump()
}

// Close stops the service, ends its connections and waits for their handlers.
func (v *service) Close() error {
	v.mu.Lock()
	v.closed = true
	for c := range v.active {
		c.Close()
	}
	v.mu.Unlock()
	err := v.l.Close()
	v.wg.Wait()
	return err
}

// ServeDNS answers DNS messages at addr over UDP and TCP (RFC 1035 4.2): answer gets one query and returns one reply, nil for none, and must
// not block. Queries above 4 KiB are ignored; a UDP reply above 1,232 bytes is cut to its header with TC set, so that the client asks by TCP.
func (s *Stack) ServeDNS(addr netip.AddrPort, answer func(from netip.Addr, query []byte) []byte) (io.Closer, error) {
	u, err := s.ServeUDP(addr, func(from netip.AddrPort, q []byte) []byte {
		if len(q) > maxQuery || len(q) < dnsHeader {
			return nil
		}
		return truncateDNS(q, answer(from.Addr(), q))
	})
	if err != nil {
		return nil, opError("listen", addr, err)
	}
	t, err := s.Serve(addr, 64, func(c net.Conn) { serveDNSStream(c, answer) })
	if err != nil {
		u.Close()
		return nil, err
	}
	return closers{u, t}, nil
}

type closers []io.Closer

func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

const (
	dnsHeader   = 12
	maxQuery    = 4 << 10
	maxUDPReply = 1232
)

// truncateDNS keeps header and question of a reply that is too long for a datagram.
func truncateDNS(query, reply []byte) []byte {
	if len(reply) <= maxUDPReply {
		return reply
	}
	cut := append([]byte(nil), query...)
	copy(cut[:4], reply[:4])
	cut[2] |= 0x82          // response, truncated
	clear(cut[6:dnsHeader]) // no answers
	return cut[:questionEnd(cut)]
}

// questionEnd is where the first question ends, which is the only one that is kept; the header's end if there is none or it is malformed.
func questionEnd(m []byte) int {
	if m[4]|m[5] != 0 {
		for i := dnsHeader; i < len(m) && m[i] < 64; i += int(m[i]) + 1 {
			if m[i] == 0 && i+5 <= len(m) && i-dnsHeader < 255 {
				m[4], m[5] = 0, 1
				return i + 5
			} else if m[i] == 0 {
				break
			}
		}
	}
	m[4], m[5] = 0, 0
	return dnsHeader
}

func serveDNSStream(c net.Conn, answer func(netip.Addr, []byte) []byte) {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	var size [2]byte
	for {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		n := int(size[0])<<8 | int(size[1])
		if n < dnsHeader || n > maxQuery {
			return
		}
		q := make([]byte, n)
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		reply := answer(from, q)
		if reply == nil || len(reply) > 1<<16-1 {
			return
		}
		if _, err := c.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...)); err != nil {
			return
		}
	}
}
