package network

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Fabric is one lab's network.
type Fabric struct {
	clock  Clock
	rand   io.Reader
	onDrop func(Drop)

	mu     sync.Mutex
	hook   Hook                  // protected by mu
	owners map[netip.Addr]*Stack // protected by mu: which namespace answers to an address
	unix   map[string]*Listener  // protected by mu
	stacks map[*Stack]struct{}   // protected by mu
}

// NewFabric makes an empty network.
func NewFabric(cfg Config) *Fabric {
	return &Fabric{clock: cfg.Clock, rand: cfg.Rand, onDrop: cfg.OnDrop,
		owners: map[netip.Addr]*Stack{}, unix: map[string]*Listener{}, stacks: map[*Stack]struct{}{}}
}

// SetHook sets who is asked about new connections; nil asks nobody.
func (f *Fabric) SetHook(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// NewStack makes a network namespace with a loopback link and nothing else.
func (f *Fabric) NewStack(name string) *Stack {
	s := &Stack{fabric: f, name: name, drops: map[string]int64{},
		listeners: map[netip.AddrPort]*Listener{}, udp: map[netip.AddrPort]*UDPConn{}, streams: map[*Conn]struct{}{}}
	s.links = []*Link{{Name: "lo", Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stacks[s] = struct{}{}
	return s
}

// Stacks lists the namespaces by name.
func (f *Fabric) Stacks() []*Stack {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*Stack, 0, len(f.stacks))
	for s := range f.stacks {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *Stack) int { return strings.Compare(a.name, b.name) })
	return list
}

// errSilent is the answer of route for a destination that gives no answer at all.
var errSilent = errors.New("network: no answer")

// route finds the namespace for a destination after the hook has spoken. Precondition: f.mu is not held.
//
// # Errors
//   - errSilent: packets vanish (policy, a machine without power)
//   - ECONNREFUSED: rejected by the hook
//   - ENETUNREACH: the sender has no route
//   - EHOSTUNREACH: nobody has the address
func (f *Fabric) route(s *Stack, proto Proto, from, to netip.AddrPort) (*Stack, netip.AddrPort, error) {
	if to.Addr().IsLoopback() {
		return s, to, nil
	}
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		v := hook.Connect(s, proto, from, to)
		switch {
		case v.Drop:
			s.drop(proto, from, to, v.Reason)
			return nil, to, errSilent
		case v.Reject:
			s.drop(proto, from, to, v.Reason)
			return nil, to, syscall.ECONNREFUSED
		case v.To.IsValid():
			to = v.To
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.closed {
		return nil, to, syscall.ENETDOWN
	}
	if !s.reaches(to.Addr()) {
		s.dropLocked(proto, from, to, "no route to host")
		return nil, to, syscall.ENETUNREACH
	}
	owner := f.owners[to.Addr()]
	switch {
	case owner == nil:
		s.dropLocked(proto, from, to, "nobody has the address")
		return nil, to, syscall.EHOSTUNREACH
	case owner.down || s.down:
		s.dropLocked(proto, from, to, "the machine gives no answer")
		return nil, to, errSilent
	}
	return owner, to, nil
}

// ephemeral picks a free local port. Precondition: f.mu is held; taken reports ports in use.
func (f *Fabric) ephemeral(taken func(port uint16) bool) (uint16, error) {
	const span = ephemeralLast - ephemeralFirst + 1
	var b [4]byte
	if _, err := io.ReadFull(f.rand, b[:]); err != nil {
		return 0, syscall.EADDRNOTAVAIL
	}
	start := binary.LittleEndian.Uint32(b[:]) % span
	for i := range uint32(span) {
		if p := uint16(ephemeralFirst + (start+i)%span); !taken(p) {
			return p, nil
		}
	}
	return 0, syscall.EADDRNOTAVAIL
}

// plain maps IPv4-in-IPv6 to IPv4 and the IPv6 wildcard to the IPv4 one: sockets are dual-stack.
func plain(a netip.AddrPort) netip.AddrPort {
	addr := a.Addr().Unmap().WithZone("")
	if !addr.IsValid() || addr == netip.IPv6Unspecified() {
		addr = netip.IPv4Unspecified()
	}
	return netip.AddrPortFrom(addr, a.Port())
}
