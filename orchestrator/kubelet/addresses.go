package kubelet

import "net/netip"

// addresses gives out a node's pod addresses, each again only after all others, as the host-local plugin does. The first address of
// the prefix is the network, the second the node's bridge, the last (of IPv4) the broadcast address.
type addresses struct {
	prefix netip.Prefix
	used   map[netip.Addr]bool
	last   netip.Addr
}

func (a *addresses) allocate() (netip.Addr, bool) {
	if a.used == nil {
		a.used = map[netip.Addr]bool{}
	}
	first := a.prefix.Addr().Next().Next()
	next := a.last
	for range 1 << min(a.prefix.Addr().BitLen()-a.prefix.Bits(), 16) {
		if next = next.Next(); !next.IsValid() || !a.prefix.Contains(next.Next()) {
			next = first
		}
		if !a.used[next] && a.prefix.Contains(next) {
			a.used[next], a.last = true, next
			return next, true
		}
	}
	return netip.Addr{}, false
}

func (a *addresses) release(ip netip.Addr) { delete(a.used, ip) }
