package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"

	v1 "k8s.io/api/core/v1"

	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/sandbox/network"
)

// Addresses of a lab. Machines are on one network, pods in a /24 for each node, Services in 10.96.0.0/12.
const (
	apiPort       = 6443
	machineBridge = "lab0"
	podBridge     = "cni0"
)

var (
	machineNet = netip.MustParsePrefix("172.18.0.0/16")
	gateway    = netip.MustParseAddr("172.18.0.1")
	anywhere   = netip.MustParsePrefix("0.0.0.0/0")
	dnsAddr    = netip.MustParseAddr(apiserver.DNSServiceIP)
)

// machineIP is the address of machine i: 0 the control plane, then the workers; the workstation is at the end of the network.
func machineIP(i int) netip.Addr {
	n := 2 + i
	return netip.AddrFrom4([4]byte{172, 18, byte(n >> 8), byte(n)})
}

var workstationIP = netip.MustParseAddr("172.18.255.254")

// podNet is the part of the pod network that node i gets: the i-th /24, as the control plane gives them out.
func podNet(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)
}

// Connect implements network.Hook: connections to a Service's address go where kube-proxy's rules would send them.
func (l *Lab) Connect(_ *network.Stack, proto network.Proto, from, to netip.AddrPort) network.Verdict {
	if ok, why := l.reachesContainers(from.Addr(), to.Addr()); !ok {
		return network.Verdict{Drop: true, Reason: why}
	}
	cp := l.cp.Load()
	if cp == nil {
		return network.Verdict{}
	}
	p := v1.ProtocolTCP
	if proto == network.UDP {
		p = v1.ProtocolUDP
	}
	a := cp.Route(from.Addr(), p, to)
	if a.Service.Name == "" {
		return network.Verdict{}
	}
	l.traffic.soon()
	if a.Reject || a.Drop {
		return network.Verdict{Reject: a.Reject, Drop: a.Drop, Reason: a.Reason}
	}
	return network.Verdict{To: a.To}
}

// reachesContainers asks the Docker host about connections from and to its networks.
func (l *Lab) reachesContainers(from, to netip.Addr) (bool, string) {
	b, err := l.nodes[Workstation].current()
	if err != nil || b.docker == nil {
		return true, ""
	}
	return b.docker.Reaches(from, to)
}

// serveDNS listens at the cluster's DNS address. That is the lab's own code and not a pod: `drydock differences` says so.
func (l *Lab) serveDNS() error {
	l.inside = l.fabric.NewStack("kube-dns")
	if err := l.inside.AddLink("dns0", machineBridge, netip.PrefixFrom(dnsAddr, 32)); err != nil {
		return err
	}
	l.inside.AddRoute(anywhere, gateway, "dns0")
	_, err := l.inside.ServeDNS(netip.AddrPortFrom(dnsAddr, 53), func(_ netip.Addr, q []byte) []byte {
		cp := l.cp.Load()
		if cp == nil {
			return nil
		}
		return cp.ResolveDNS(q, true) // what does not fit in a datagram is cut by the network
	})
	return err
}

// serveAPI listens at the API server's port of the control-plane machine.
func (l *Lab) serveAPI(s *network.Stack, ip netip.Addr) error {
	_, err := s.Serve(netip.AddrPortFrom(ip, apiPort), l.host.limits.APISessions, func(c net.Conn) {
		held := &heldConn{Conn: c, done: make(chan struct{})}
		l.host.gate.ServeConnTo(l.cluster, held)
		<-held.done
	})
	if err != nil {
		return fmt.Errorf("API server in the lab: %w", err)
	}
	return nil
}

// heldConn tells when whoever serves it has closed it.
type heldConn struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

// Close implements net.Conn.
func (h *heldConn) Close() error {
	err := h.Conn.Close()
	h.once.Do(func() { close(h.done) })
	return err
}
