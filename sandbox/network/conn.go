package network

import (
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// stream is a connection: the lock and the two ends.
type stream struct{ mu sync.Mutex }

// Conn is one end of a TCP connection or of a unix stream socket.
type Conn struct {
	stack         *Stack // immutable; nil for unix sockets
	local, remote netip.AddrPort
	unix          string // immutable: the name a unix socket was reached by
	link          *Link  // immutable; nil for unix sockets and loopback-less pairs
	charger       Charger
	peer          *Conn // immutable once connected

	*stream // the lock of both ends

	// All below are protected by stream.mu.
	in         buffer // what the peer wrote
	held       buffer // what we wrote while silent: it arrives if the path comes back
	charged    int64  // for in and held
	connecting bool   // no answer yet
	err        error  // pending: SO_ERROR
	dead       error  // what every further call answers: ECONNRESET, ETIMEDOUT…
	readShut   bool
	writeShut  bool // we sent FIN
	peerShut   bool // the peer sent FIN
	silent     bool // what we send vanishes
	lost       bool // closed with bytes that never arrived
	closed     bool
	stopTimer  func() bool

	w watchers
}

// newPair makes two connected ends.
func newPair(connecting bool) (a, b *Conn) {
	s := &stream{}
	bound := buffer{limit: streamBuffer}
	a = &Conn{stream: s, connecting: connecting, in: bound, held: bound}
	b = &Conn{stream: s, connecting: connecting, in: bound, held: bound}
	a.peer, b.peer = b, a
	return a, b
}

// NewPair makes a connected pair of unnamed stream sockets, as socketpair(2).
func NewPair(c Charger) (a, b *Conn) {
	a, b = newPair(false)
	a.charger, b.charger = c, c
	return a, b
}

// LocalAddr is the end's own address; RemoteAddr is the address it was connected to, before Service routing.
func (c *Conn) LocalAddr() netip.AddrPort  { return c.local }
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// UnixName is the key a unix socket was reached by, empty for TCP and pairs.
func (c *Conn) UnixName() string { return c.unix }

// Watch calls f after every change of readiness until cancel is called; f must only wake somebody.
func (c *Conn) Watch(f func()) (cancel func()) { return c.w.add(f) }

// Poll is the present readiness.
func (c *Conn) Poll() Events {
	c.mu.Lock()
	defer c.mu.Unlock()
	var e Events
	if c.err != nil || c.dead != nil {
		return In | Out | Err | Hup
	}
	if c.connecting {
		return 0
	}
	if c.in.len() > 0 || c.peerShut || c.readShut {
		e |= In
	}
	if c.peerShut {
		e |= RdHup
	}
	if c.writeShut || c.roomLocked() > 0 {
		e |= Out
	}
	if c.peerShut && c.writeShut {
		e |= Hup
	}
	return e
}

// roomLocked is what a write could deliver now.
func (c *Conn) roomLocked() int {
	switch {
	case c.silent:
		return c.held.room()
	case c.peer.closed:
		return 1 // a write answers with EPIPE or ECONNRESET
	}
	return c.peer.in.room()
}

// Err takes the pending error, as SO_ERROR does.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	c.err = nil
	return err
}

// Read moves bytes out of the receive buffer. 0, nil at the end of the stream.
//
// # Errors
//   - EAGAIN: nothing has come yet
//   - ENOTCONN: the connection is not established
//   - ECONNRESET, ETIMEDOUT: it has ended so
func (c *Conn) Read(p []byte) (int, error) { return c.read(p, false) }

// Peek is Read that leaves the bytes where they are (MSG_PEEK).
func (c *Conn) Peek(p []byte) (int, error) { return c.read(p, true) }

func (c *Conn) read(p []byte, peek bool) (int, error) {
	c.mu.Lock()
	full := c.in.room() == 0
	n := c.in.read(p, peek)
	c.settleLocked()
	switch {
	case n > 0 || len(p) == 0:
		peer := c.peer
		c.mu.Unlock()
		if full && !peek {
			peer.w.wake()
		}
		return n, nil
	case c.closed:
		c.mu.Unlock()
		return 0, syscall.EBADF
	case c.dead != nil:
		err := c.dead
		if c.err != nil {
			c.err = nil
		}
		c.mu.Unlock()
		return 0, err
	case c.connecting:
		c.mu.Unlock()
		return 0, syscall.ENOTCONN
	case c.peerShut || c.readShut:
		c.mu.Unlock()
		return 0, nil
	}
	c.mu.Unlock()
	return 0, syscall.EAGAIN
}

// Write delivers bytes to the peer, as many as it has room for.
//
// # Errors
//   - EAGAIN: no room
//   - EPIPE: we or the peer have closed
//   - ECONNRESET, ETIMEDOUT: the connection has ended so
//   - ENOBUFS: the peer's owner may not buffer more
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return 0, syscall.EBADF
	case c.dead != nil:
		err := c.dead
		if err == syscall.ECONNRESET && c.err == nil {
			err = syscall.EPIPE // the reset was told already
		}
		c.err = nil
		c.mu.Unlock()
		return 0, err
	case c.connecting:
		c.mu.Unlock()
		return 0, syscall.EAGAIN
	case c.writeShut:
		c.mu.Unlock()
		return 0, syscall.EPIPE
	case c.peer.closed && !c.silent:
		c.dead = syscall.ECONNRESET
		c.mu.Unlock()
		c.w.wake()
		return 0, syscall.EPIPE
	}
	n, err := c.deliverLocked(p)
	peer := c.peer
	c.mu.Unlock()
	if n > 0 {
		peer.w.wake()
	}
	return n, err
}

// deliverLocked gives bytes to the peer or, while silent, keeps them.
func (c *Conn) deliverLocked(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	dst, to := c.peer, &c.peer.in
	if c.silent {
		dst, to = c, &c.held
		c.armSilenceLocked()
	}
	n := min(len(p), to.room())
	if n == 0 {
		return 0, syscall.EAGAIN
	}
	if dst.charger != nil {
		if err := dst.charger.Charge(int64(n)); err != nil {
			return 0, syscall.ENOBUFS
		}
		dst.charged += int64(n)
	}
	to.write(p[:n])
	if c.link != nil {
		c.link.Count.TxBytes.Add(int64(n))
		c.link.Count.TxPackets.Add(1)
	}
	if !c.silent {
		c.peer.countLocked(n)
	}
	return n, nil
}

func (c *Conn) countLocked(n int) {
	if c.link != nil {
		c.link.Count.RxBytes.Add(int64(n))
		c.link.Count.RxPackets.Add(1)
	}
}

// resumeLocked delivers what was held back, and the end of the stream if we ended it meanwhile.
func (c *Conn) resumeLocked() {
	peer := c.peer
	if c.lost && peer.dead == nil {
		peer.dead, peer.err = syscall.ECONNRESET, syscall.ECONNRESET
	} else if peer.closed || peer.dead != nil {
		if c.held.len() > 0 && c.dead == nil {
			c.dead, c.err = syscall.ECONNRESET, syscall.ECONNRESET
		}
	} else if n := c.held.len(); n > 0 && (peer.charger == nil || peer.charger.Charge(int64(n)) == nil) {
		if peer.charger != nil {
			peer.charged += int64(n)
		}
		peer.in.data = append(peer.in.data, c.held.data[c.held.off:]...)
		peer.countLocked(n)
	}
	c.held.data, c.held.off = nil, 0
	c.settleLocked()
	if c.writeShut || c.closed {
		peer.peerShut = true
	}
}

// settleLocked pays back what is no longer buffered.
func (c *Conn) settleLocked() {
	if c.charger == nil {
		return
	}
	if back := c.charged - int64(c.in.len()+c.held.len()); back > 0 {
		c.charged -= back
		c.charger.Charge(-back)
	}
}

// CloseWrite sends FIN: the peer reads the end of the stream after what was written.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	if c.connecting || c.dead != nil {
		c.mu.Unlock()
		return syscall.ENOTCONN
	}
	c.writeShut = true
	if !c.silent {
		c.peer.peerShut = true
	}
	peer := c.peer
	c.mu.Unlock()
	peer.w.wake()
	c.w.wake()
	return nil
}

// CloseRead discards what comes from now on: reads answer the end of the stream.
func (c *Conn) CloseRead() error {
	c.mu.Lock()
	if c.connecting || c.dead != nil {
		c.mu.Unlock()
		return syscall.ENOTCONN
	}
	c.readShut = true
	c.mu.Unlock()
	c.w.wake()
	return nil
}

// Close ends our side. Bytes that we have not read make it a reset for the peer, as on Linux. Twice is fine.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	unread := c.in.len() > 0
	c.in.data, c.in.off = nil, 0
	c.lost = c.held.len() > 0
	c.held.data, c.held.off = nil, 0
	c.settleLocked()
	c.stopLocked()
	peer := c.peer
	if !c.silent && !peer.closed && !peer.connecting {
		peer.peerShut = true
		if unread && peer.dead == nil {
			peer.dead, peer.err = syscall.ECONNRESET, syscall.ECONNRESET
		}
	}
	c.mu.Unlock()
	c.forget()
	peer.w.wake()
	c.w.wake()
	return nil
}

// Reset ends the connection at once for both sides (SO_LINGER 0).
func (c *Conn) Reset() {
	c.fail(syscall.ECONNRESET)
	c.peer.fail(syscall.ECONNRESET)
}

// fail ends our side with an error.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.dead != nil || c.closed {
		c.mu.Unlock()
		return
	}
	c.dead, c.err, c.connecting = err, err, false
	c.held.data, c.held.off = nil, 0
	c.settleLocked()
	c.stopLocked()
	c.mu.Unlock()
	c.forget()
	c.w.wake()
}

// abandon ends a connection whose namespace is gone.
func (c *Conn) abandon(silent bool) {
	if !silent {
		c.peer.fail(syscall.ECONNRESET)
	} else {
		c.peer.silence(true)
	}
	c.fail(syscall.ENETDOWN)
}

// silence says whether what we send vanishes on its way.
func (c *Conn) silence(on bool) {
	c.mu.Lock()
	if c.silent == on || c.dead != nil || c.connecting {
		c.mu.Unlock()
		return
	}
	c.silent = on
	switch {
	case !on:
		c.stopLocked()
		c.resumeLocked()
	case !c.closed && c.peer.in.len() > 0:
		c.armSilenceLocked() // not acknowledged yet
	}
	c.mu.Unlock()
	c.w.wake()
	c.peer.w.wake()
}

func (c *Conn) armSilenceLocked() {
	if c.stopTimer == nil && c.stack != nil {
		c.timerLocked(silenceTimeout)
	}
}

func (c *Conn) timerLocked(d time.Duration) {
	c.stopTimer = c.stack.fabric.clock.AfterFunc(d, func() { c.fail(syscall.ETIMEDOUT) })
}

func (c *Conn) stopLocked() {
	if c.stopTimer != nil {
		c.stopTimer()
		c.stopTimer = nil
	}
}

// forget takes the end out of its namespace's table.
func (c *Conn) forget() {
	if c.stack == nil {
		return
	}
	c.stack.fabric.mu.Lock()
	defer c.stack.fabric.mu.Unlock()
	delete(c.stack.streams, c)
}
