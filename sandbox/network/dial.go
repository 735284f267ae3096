package network

import (
	"errors"
	"net/netip"
	"syscall"
)

// DialTCP begins a connection; `local` may be zero or have port 0. The Conn polls Out when the attempt has ended, and Err tells how.
//
// # Errors (at once)
//   - ENETUNREACH, EHOSTUNREACH: no route, nobody there
//   - EADDRNOTAVAIL, EADDRINUSE: local cannot be had
//   - EMFILE: too many sockets
//
// # Errors (by Err)
//   - ECONNREFUSED: nobody listens, or a Service without endpoints
//   - ETIMEDOUT: no answer in 127 s of lab time
func (s *Stack) DialTCP(local, remote netip.AddrPort) (*Conn, error) {
	f := s.fabric
	asked := plain(remote)
	if asked.Addr().IsUnspecified() {
		asked = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), asked.Port())
	}
	if asked.Port() == 0 {
		return nil, syscall.ECONNREFUSED
	}
	client, server := newPair(true)
	if err := s.bindClient(client, local, asked); err != nil {
		return nil, err
	}
	target, to, err := f.route(s, TCP, client.local, asked)
	switch {
	case errors.Is(err, errSilent):
		client.awaitTimeout()
		return client, nil
	case err == syscall.ECONNREFUSED:
		client.fail(err)
		return client, nil
	case err != nil:
		client.Close()
		return nil, err
	}
	f.mu.Lock()
	l := target.listener(to)
	if l == nil {
		s.dropLocked(TCP, client.local, to, "nobody listens on the port")
	} else if target.sockets() < maxSockets {
		server.stack, server.local, server.remote = target, to, client.local
		server.link, server.charger = target.link(client.local.Addr()), target.charger
		target.streams[server] = struct{}{}
	}
	f.mu.Unlock()
	switch {
	case l == nil:
		client.fail(syscall.ECONNREFUSED)
	case server.stack == nil: // the target has no room for another socket: its SYN queue overflows
		client.awaitTimeout()
	default:
		client.offered(l.offer(server, true), server)
	}
	return client, nil
}

func (c *Conn) offered(err error, server *Conn) {
	if err == nil {
		c.mu.Lock()
		waiting := c.connecting && c.dead == nil
		c.mu.Unlock()
		if waiting {
			c.awaitTimeout()
		}
		return
	}
	server.forget()
	if errors.Is(err, errSilent) {
		c.awaitTimeout()
		return
	}
	c.fail(err)
}

// awaitTimeout lets the attempt end by time.
func (c *Conn) awaitTimeout() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connecting && c.dead == nil && !c.closed && c.stopTimer == nil {
		c.timerLocked(connectTimeout)
	}
}

// bindClient gives the client end its namespace and local address.
func (s *Stack) bindClient(c *Conn, local, remote netip.AddrPort) error {
	f := s.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	local = plain(local)
	if err := s.mayBind(local.Addr()); err != nil {
		return err
	}
	addr := local.Addr()
	if addr.IsUnspecified() {
		addr = s.source(remote.Addr())
	}
	port := local.Port()
	if port == 0 {
		p, err := f.ephemeral(func(p uint16) bool { return s.portTaken(p, remote) })
		if err != nil {
			return err
		}
		port = p
	} else if s.portTaken(port, remote) {
		return syscall.EADDRINUSE
	}
	c.stack, c.local, c.remote = s, netip.AddrPortFrom(addr, port), remote
	c.link, c.charger = s.link(remote.Addr()), s.charger
	s.streams[c] = struct{}{}
	return nil
}

// portTaken reports whether a connection to the same remote already comes from the port. Precondition: fabric.mu is held.
func (s *Stack) portTaken(port uint16, remote netip.AddrPort) bool {
	for c := range s.streams {
		if c.local.Port() == port && c.remote == remote {
			return true
		}
	}
	return false
}
