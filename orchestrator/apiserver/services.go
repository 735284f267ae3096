package apiserver

import (
	"context"
	"math/big"
	"net"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
	netutils "k8s.io/utils/net"
)

// newServices makes upstream's Service storage with a cluster's allocators; without a cluster it has allocators that refuse, because only
// its hooks are replaced.
func newServices(opts generic.RESTOptionsGetter, c *Cluster, pods *genericregistry.Store) (*servicestore.REST, *servicestore.StatusREST, any, error) {
	ips, ports := &addressAllocator{cluster: c}, &portAllocator{cluster: c}
	r, status, proxy, err := servicestore.NewREST(opts, api.IPv4Protocol, map[api.IPFamily]ipallocator.Interface{api.IPv4Protocol: ips}, ports, endpointSlices{c}, pods, nil)
	return r, status, proxy, err
}

// reservations are addresses and ports that a write in progress has taken. What finished writes have taken is read from the Services, so
// nothing can leak or go out of step, and a failed or dry write leaves nothing behind but its release.
type reservations struct {
	mu    sync.Mutex
	ips   map[string]bool // protected by mu
	ports map[int]bool    // protected by mu
}

// settle returns a finish function that also forgets what the Service reserved: it is stored now, or was released.
func (r *reservations) settle(finish genericregistry.FinishFunc, svc *api.Service) genericregistry.FinishFunc {
	return func(ctx context.Context, success bool) {
		finish(ctx, success)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, ip := range svc.Spec.ClusterIPs {
			delete(r.ips, ip)
		}
		for _, p := range svc.Spec.Ports {
			delete(r.ports, int(p.NodePort))
		}
		delete(r.ports, int(svc.Spec.HealthCheckNodePort))
	}
}

// addressAllocator allocates ClusterIPs of one cluster.
type addressAllocator struct {
	cluster *Cluster
	dry     bool
}

var _ ipallocator.Interface = (*addressAllocator)(nil)

// used returns the ClusterIPs of all Services.
func (a *addressAllocator) used() map[string]bool {
	used := map[string]bool{}
	for _, o := range a.cluster.store.List(v1.Resource("services"), "", nil) {
		for _, ip := range o.(*v1.Service).Spec.ClusterIPs {
			used[ip] = true
		}
	}
	return used
}

// Allocate implements ipallocator.Interface.
func (a *addressAllocator) Allocate(ip net.IP) error {
	if !a.cluster.cidr.Contains(ip) {
		return &ipallocator.ErrNotInRange{IP: ip, ValidRange: a.cluster.cidr.String()}
	}
	r := &a.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ips[ip.String()] || a.used()[ip.String()] {
		return ipallocator.ErrAllocated
	}
	a.reserve(r, ip)
	return nil
}

func (a *addressAllocator) reserve(r *reservations, ip net.IP) {
	if a.dry {
		return
	}
	if r.ips == nil {
		r.ips = map[string]bool{}
	}
	r.ips[ip.String()] = true
}

// AllocateNext implements ipallocator.Interface: a random free address of the upper part of the range, as upstream prefers (KEP-3070), then
// of the lower.
func (a *addressAllocator) AllocateNext() (net.IP, error) {
	r := &a.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	used := a.used()
	size := int(min(netutils.RangeSize(&a.cluster.cidr), 1<<20)) - 2 // without the network's and the broadcast address
	static := min(max(16, size/16), 256)
	if size <= 16 {
		static = 0
	}
	for _, part := range [][2]int{{static, size}, {0, static}} {
		n := part[1] - part[0]
		if n <= 0 {
			continue
		}
		start := a.cluster.ids.intn(n)
		for i := range n {
			ip := addressAt(&a.cluster.cidr, 1+part[0]+(start+i)%n)
			if !r.ips[ip.String()] && !used[ip.String()] {
				a.reserve(r, ip)
				return ip, nil
			}
		}
	}
	return nil, ipallocator.ErrFull
}

func addressAt(cidr *net.IPNet, index int) net.IP {
	return netutils.AddIPOffset(big.NewInt(0).SetBytes(cidr.IP.To16()), index)
}

// Release implements ipallocator.Interface. Upstream releases what a failed write reserved, and what a finished one replaced; the latter is
// not reserved any more.
func (a *addressAllocator) Release(ip net.IP) error {
	if a.dry {
		return nil
	}
	r := &a.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ips, ip.String())
	return nil
}

// ForEach implements ipallocator.Interface.
func (a *addressAllocator) ForEach(f func(net.IP)) {
	for ip := range a.used() {
		f(netutils.ParseIPSloppy(ip))
	}
}

// CIDR implements ipallocator.Interface.
func (a *addressAllocator) CIDR() net.IPNet { return a.cluster.cidr }

// IPFamily implements ipallocator.Interface.
func (a *addressAllocator) IPFamily() api.IPFamily { return api.IPv4Protocol }

// Has implements ipallocator.Interface.
func (a *addressAllocator) Has(ip net.IP) bool {
	r := &a.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ips[ip.String()] || a.used()[ip.String()]
}

// Destroy implements ipallocator.Interface.
func (a *addressAllocator) Destroy() {}

// EnableMetrics implements ipallocator.Interface.
func (a *addressAllocator) EnableMetrics() {}

// DryRun implements ipallocator.Interface.
func (a *addressAllocator) DryRun() ipallocator.Interface {
	return &addressAllocator{cluster: a.cluster, dry: true}
}

// portAllocator allocates node ports of one cluster.
type portAllocator struct{ cluster *Cluster }

var _ portallocator.Interface = (*portAllocator)(nil)

func (p *portAllocator) used() map[int]bool {
	used := map[int]bool{}
	for _, o := range p.cluster.store.List(v1.Resource("services"), "", nil) {
		spec := &o.(*v1.Service).Spec
		for _, sp := range spec.Ports {
			used[int(sp.NodePort)] = true
		}
		used[int(spec.HealthCheckNodePort)] = true
	}
	return used
}

// Allocate implements portallocator.Interface.
func (p *portAllocator) Allocate(port int) error {
	if !p.cluster.ports.Contains(port) {
		return &portallocator.ErrNotInRange{ValidPorts: p.cluster.ports.String()}
	}
	r := &p.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ports[port] || p.used()[port] {
		return portallocator.ErrAllocated
	}
	p.reserve(r, port)
	return nil
}

func (p *portAllocator) reserve(r *reservations, port int) {
	if r.ports == nil {
		r.ports = map[int]bool{}
	}
	r.ports[port] = true
}

// AllocateNext implements portallocator.Interface: a random free port.
func (p *portAllocator) AllocateNext() (int, error) {
	r := &p.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	used := p.used()
	n := p.cluster.ports.Size
	start := p.cluster.ids.intn(n)
	for i := range n {
		port := p.cluster.ports.Base + (start+i)%n
		if !r.ports[port] && !used[port] {
			p.reserve(r, port)
			return port, nil
		}
	}
	return 0, portallocator.ErrFull
}

// Release implements portallocator.Interface.
func (p *portAllocator) Release(port int) error {
	r := &p.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ports, port)
	return nil
}

// ForEach implements portallocator.Interface.
func (p *portAllocator) ForEach(f func(int)) {
	for port := range p.used() {
		f(port)
	}
}

// Has implements portallocator.Interface.
func (p *portAllocator) Has(port int) bool {
	r := &p.cluster.addresses
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ports[port] || p.used()[port]
}

// Destroy implements portallocator.Interface.
func (p *portAllocator) Destroy() {}

// EnableMetrics implements portallocator.Interface.
func (p *portAllocator) EnableMetrics() {}
