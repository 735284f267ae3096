package network

import (
	"maps"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// Link is an interface of a Stack. Its counters count what sockets delivered over it.
type Link struct {
	Name   string         // immutable: eth0
	Bridge string         // immutable: the bridge at its other end, "" for lo
	Addrs  []netip.Prefix // immutable
	Count  LinkCounters
}

// LinkCounters counts payload: bytes, and deliveries in each direction.
type LinkCounters struct{ RxBytes, TxBytes, RxPackets, TxPackets atomic.Int64 }

// Route is an entry of a Stack's table.
type Route struct {
	To   netip.Prefix
	Via  netip.Addr // invalid: on the link
	Link string
}

// Stack is a network namespace: links, routes, sockets.
type Stack struct {
	fabric *Fabric
	name   string // immutable

	// All below are protected by fabric.mu.
	links     []*Link
	routes    []Route
	charger   Charger
	listeners map[netip.AddrPort]*Listener
	udp       map[netip.AddrPort]*UDPConn
	streams   map[*Conn]struct{}
	drops     map[string]int64
	down      bool
	closed    bool
}

// Name is the name given to NewStack.
func (s *Stack) Name() string { return s.name }

// SetCharger says who pays for the socket buffers of connections made from now on.
func (s *Stack) SetCharger(c Charger) {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.charger = c
}

// AddLink attaches a veth to a bridge, with the addresses, each of which must be free in the Fabric (EADDRINUSE).
func (s *Stack) AddLink(name, bridge string, addrs ...netip.Prefix) error {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	if s.closed {
		return syscall.ENETDOWN
	}
	for _, a := range addrs {
		if owner := s.fabric.owners[a.Addr()]; owner != nil {
			return syscall.EADDRINUSE
		}
	}
	for _, a := range addrs {
		s.fabric.owners[a.Addr()] = s
		s.routes = append(s.routes, Route{To: a.Masked(), Link: name})
	}
	s.links = append(s.links, &Link{Name: name, Bridge: bridge, Addrs: addrs})
	return nil
}

// AddRoute adds a route by a gateway.
func (s *Stack) AddRoute(to netip.Prefix, via netip.Addr, link string) {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.routes = append(s.routes, Route{To: to.Masked(), Via: via, Link: link})
}

// Links lists the interfaces, lo first.
func (s *Stack) Links() []*Link {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	return append([]*Link(nil), s.links...)
}

// Routes lists the table.
func (s *Stack) Routes() []Route {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	return append([]Route(nil), s.routes...)
}

// Drops counts what this namespace sent and did not arrive, by reason.
func (s *Stack) Drops() map[string]int64 {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	return maps.Clone(s.drops)
}

// Addr is the first address that is not a loopback, invalid if there is none.
func (s *Stack) Addr() netip.Addr {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	return s.sourceLocked()
}

func (s *Stack) sourceLocked() netip.Addr {
	for _, l := range s.links[1:] {
		if len(l.Addrs) > 0 {
			return l.Addrs[0].Addr()
		}
	}
	return netip.Addr{}
}

// source is the address a connection to `to` comes from. Precondition: fabric.mu is held.
func (s *Stack) source(to netip.Addr) netip.Addr {
	if to.IsLoopback() {
		return to
	}
	if a := s.sourceLocked(); a.IsValid() {
		return a
	}
	return netip.IPv4Unspecified()
}

// reaches reports whether the table has a route. Precondition: fabric.mu is held.
func (s *Stack) reaches(to netip.Addr) bool {
	if s.fabric.owners[to] == s {
		return true
	}
	for _, r := range s.routes {
		if r.To.Contains(to) {
			return true
		}
	}
	return false
}

// owns reports whether a socket of this namespace may bind to the address. Precondition: fabric.mu is held.
func (s *Stack) owns(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || s.fabric.owners[a] == s
}

// link is the interface traffic with a peer goes over. Precondition: fabric.mu is held.
func (s *Stack) link(peer netip.Addr) *Link {
	if peer.IsLoopback() || len(s.links) == 1 {
		return s.links[0]
	}
	return s.links[1]
}

func (s *Stack) drop(proto Proto, from, to netip.AddrPort, reason string) {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.dropLocked(proto, from, to, reason)
}

// maxDropReasons bounds the table of reasons, which a hook may make up.
const maxDropReasons = 64

func (s *Stack) dropLocked(proto Proto, from, to netip.AddrPort, reason string) {
	if _, known := s.drops[reason]; known || len(s.drops) < maxDropReasons {
		s.drops[reason]++
	}
	if f := s.fabric; f.onDrop != nil {
		f.onDrop(Drop{Stack: s.name, Proto: proto, From: from, To: to, Reason: reason, Time: f.clock.Now()})
	}
}

// SetDown makes the namespace give no answer (true), as a machine without power or with its cable pulled: what peers send vanishes, and they
// learn of it only by their own timeouts. Its own sockets stay.
func (s *Stack) SetDown(down bool) {
	s.fabric.mu.Lock()
	s.down = down
	type change struct {
		c  *Conn
		on bool
	}
	changes := make([]change, 0, len(s.streams))
	for o := range s.fabric.stacks { // the other end knows of connections that this one has closed
		for c := range o.streams {
			if other := c.peer.stack; other != nil && other != o && (o == s || other == s) {
				changes = append(changes, change{c, o.down || other.down})
			}
		}
	}
	s.fabric.mu.Unlock()
	for _, ch := range changes {
		ch.c.silence(ch.on)
		ch.c.peer.silence(ch.on)
	}
}

// Close ends the namespace: its addresses are free, its sockets closed, its connections reset (unless it was down: then peers go on waiting).
// Twice is fine.
func (s *Stack) Close() error {
	f := s.fabric
	f.mu.Lock()
	if s.closed {
		f.mu.Unlock()
		return nil
	}
	s.closed = true
	silent := s.down
	for a, owner := range f.owners {
		if owner == s {
			delete(f.owners, a)
		}
	}
	delete(f.stacks, s)
	listeners, udp, streams := s.listeners, s.udp, s.streams
	s.listeners, s.udp, s.streams = map[netip.AddrPort]*Listener{}, map[netip.AddrPort]*UDPConn{}, map[*Conn]struct{}{}
	f.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, u := range udp {
		u.Close()
	}
	for c := range streams {
		c.abandon(silent)
	}
	return nil
}

// sockets counts what the namespace holds. Precondition: fabric.mu is held.
func (s *Stack) sockets() int { return len(s.listeners) + len(s.udp) + len(s.streams) }
