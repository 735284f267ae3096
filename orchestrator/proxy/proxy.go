// Package proxy answers where a connection to a Service goes, as kube-proxy's rules would decide it, and counts the answers.
//
// A Table is fed with the changes of Services and EndpointSlices and asked by the lab's network for each new connection. It moves no
// packet and knows no network: an answer is a pure function of the table, the client's address and the source of randomness.
//
// Lock: Table.mu, a leaf. Handle is for the cluster's loop, everything else for any goroutine.
package proxy

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Config describes a Table.
type Config struct {
	Reader store.Reader
	Now    func() time.Time
	Rand   io.Reader
	// NodeOf names the node that an address belongs to, "" when none: for traffic policies "Local".
	NodeOf func(netip.Addr) string
	// IsNode tells whether an address is a node's, so that its node ports answer.
	IsNode func(netip.Addr) bool
	// HostServed tells Service addresses at which the lab itself listens (DNS): they are left to the network.
	HostServed func(netip.Addr) bool
}

// Table holds the routes of one cluster.
type Table struct {
	cfg Config

	mu       sync.RWMutex
	services map[informer.Key]*service
	byAddr   map[address]*port
	byNode   map[nodePort]*port
	watchers []func()
}

type address struct {
	proto v1.Protocol
	at    netip.AddrPort
}

type nodePort struct {
	proto v1.Protocol
	port  uint16
}

type service struct {
	key      informer.Key
	ports    []*port
	affinity time.Duration // 0: none
	internal bool          // internalTrafficPolicy Local
	external bool          // externalTrafficPolicy Local
	served   bool          // it has a selector or slices: an address without endpoints is refused, not left to the network
}

type port struct {
	svc       *service
	name      string
	addrs     []address
	node      nodePort
	endpoints []endpoint
	sticky    map[netip.Addr]stuck
	requests  uint64
	refused   uint64
}

type endpoint struct {
	to       netip.AddrPort
	pod      string
	node     string
	ready    bool
	serving  bool // and terminating: used when nothing is ready
	requests *uint64
}

type stuck struct {
	to    netip.AddrPort
	until time.Time
}

// New makes an empty table.
func New(cfg Config) *Table {
	return &Table{cfg: cfg, services: map[informer.Key]*service{}, byAddr: map[address]*port{}, byNode: map[nodePort]*port{}}
}

// Handle takes changes of Services and EndpointSlices.
func (t *Table) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.Services:
		t.update(c.Key())
	case informer.EndpointSlices:
		if s, ok := c.Last().(*discovery.EndpointSlice); ok && s.Labels[discovery.LabelServiceName] != "" {
			t.update(informer.KeyOf(s.Namespace, s.Labels[discovery.LabelServiceName]))
		}
	}
}

// OnChange has f called, in the loop, after every change of a route; f must only enqueue.
func (t *Table) OnChange(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers = append(t.watchers, f)
}

// update builds a Service's routes anew, keeping counts and affinities.
func (t *Table) update(k informer.Key) {
	svc, ok := informer.Get[*v1.Service](t.cfg.Reader, informer.Services, k.Namespace, k.Name)
	var next *service
	if ok && svc.Spec.Type != v1.ServiceTypeExternalName {
		next = t.build(svc)
	}
	t.mu.Lock()
	old := t.services[k]
	if old != nil {
		for _, p := range old.ports {
			for _, a := range p.addrs {
				delete(t.byAddr, a)
			}
			delete(t.byNode, p.node)
		}
		delete(t.services, k)
	}
	if next != nil {
		t.services[k] = next
		for _, p := range next.ports {
			p.inherit(old)
			for _, a := range p.addrs {
				t.byAddr[a] = p
			}
			if p.node.port != 0 {
				t.byNode[p.node] = p
			}
		}
	}
	watchers := t.watchers
	t.mu.Unlock()
	for _, f := range watchers {
		f()
	}
}

func (p *port) inherit(old *service) {
	counts := map[netip.AddrPort]*uint64{}
	if old != nil {
		for _, was := range old.ports {
			if was.name != p.name {
				continue
			}
			p.requests, p.refused, p.sticky = was.requests, was.refused, was.sticky
			for i := range was.endpoints {
				counts[was.endpoints[i].to] = was.endpoints[i].requests
			}
		}
	}
	for i := range p.endpoints {
		if n := counts[p.endpoints[i].to]; n != nil {
			p.endpoints[i].requests = n
		} else {
			p.endpoints[i].requests = new(uint64)
		}
	}
}

func (t *Table) build(svc *v1.Service) *service {
	s := &service{key: informer.KeyOf(svc.Namespace, svc.Name), served: len(svc.Spec.Selector) > 0}
	if svc.Spec.SessionAffinity == v1.ServiceAffinityClientIP {
		s.affinity = 3 * time.Hour
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			s.affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	if p := svc.Spec.InternalTrafficPolicy; p != nil {
		s.internal = *p == v1.ServiceInternalTrafficPolicyLocal
	}
	s.external = svc.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal
	slices := t.slices(svc)
	s.served = s.served || len(slices) > 0
	addrs := append(append([]string{}, svc.Spec.ClusterIPs...), svc.Spec.ExternalIPs...)
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		addrs = append(addrs, ing.IP)
	}
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		p := &port{svc: s, name: sp.Name, node: nodePort{sp.Protocol, uint16(sp.NodePort)}}
		for _, text := range addrs {
			if ip, err := netip.ParseAddr(text); err == nil {
				p.addrs = append(p.addrs, address{sp.Protocol, netip.AddrPortFrom(ip, uint16(sp.Port))})
			}
		}
		p.endpoints = endpointsOf(sp, slices)
		s.ports = append(s.ports, p)
	}
	return s
}

func (t *Table) slices(svc *v1.Service) []*discovery.EndpointSlice {
	var out []*discovery.EndpointSlice
	for _, o := range t.cfg.Reader.List(informer.EndpointSlices, svc.Namespace, labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: svc.Name})) {
		out = append(out, o.(*discovery.EndpointSlice))
	}
	return out
}

func endpointsOf(sp *v1.ServicePort, list []*discovery.EndpointSlice) []endpoint {
	var out []endpoint
	for _, s := range list {
		if s.AddressType == discovery.AddressTypeFQDN {
			continue
		}
		for _, ep := range s.Ports {
			if ep.Port == nil || deref(ep.Name) != sp.Name {
				continue
			}
			for i := range s.Endpoints {
				out = append(out, oneEndpoint(&s.Endpoints[i], uint16(*ep.Port))...)
			}
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.to.Compare(b.to) })
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.to == b.to })
}

func oneEndpoint(e *discovery.Endpoint, port uint16) []endpoint {
	if len(e.Addresses) == 0 {
		return nil
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return nil
	}
	out := endpoint{to: netip.AddrPortFrom(ip, port), ready: e.Conditions.Ready == nil || *e.Conditions.Ready, node: deref(e.NodeName)}
	out.serving = e.Conditions.Serving != nil && *e.Conditions.Serving && e.Conditions.Terminating != nil && *e.Conditions.Terminating
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		out.pod = e.TargetRef.Name
	}
	return []endpoint{out}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Answer says what becomes of a connection.
type Answer struct {
	// Service is the Service that the address belongs to; without a name the address is no Service's and the network decides.
	Service informer.Key
	Port    string
	// To is where the connection goes, unless it is refused.
	To  netip.AddrPort
	Pod string // the endpoint's pod, "" when it is none
	// Reject: the client is told that the port is unreachable; Drop: it is told nothing.
	Reject, Drop bool
	Reason       string
}

// Route decides about a new connection from src to the address to.
func (t *Table) Route(src netip.Addr, proto v1.Protocol, to netip.AddrPort) Answer {
	if t.cfg.HostServed != nil && t.cfg.HostServed(to.Addr()) {
		return Answer{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.byAddr[address{proto, to}]
	local, where := false, src
	if ok {
		local = p.svc.internal
	} else if p, ok = t.byNode[nodePort{proto, to.Port()}]; ok && to.Port() != 0 && t.cfg.IsNode != nil && t.cfg.IsNode(to.Addr()) {
		local, where = p.svc.external, to.Addr() // Local means the node that was asked
	} else {
		return Answer{}
	}
	a := Answer{Service: p.svc.key, Port: p.name}
	usable := t.usable(p, local, where)
	if len(usable) == 0 {
		if !p.svc.served && len(p.endpoints) == 0 {
			return Answer{} // served by the lab itself at this address
		}
		p.refused++
		if local && len(t.usable(p, false, where)) > 0 {
			a.Drop, a.Reason = true, fmt.Sprintf("service %s has no ready endpoint on this node and its traffic policy is Local", p.svc.key)
			return a
		}
		a.Reject, a.Reason = true, fmt.Sprintf("service %s has no ready endpoints", p.svc.key)
		return a
	}
	e := t.choose(p, usable, src)
	p.requests++
	*e.requests++
	a.To, a.Pod = e.to, e.pod
	return a
}

// usable are the ready endpoints, or those that terminate and still serve when none is ready.
func (t *Table) usable(p *port, local bool, where netip.Addr) []*endpoint {
	node := ""
	if local && t.cfg.NodeOf != nil {
		node = t.cfg.NodeOf(where)
	}
	pick := func(ok func(*endpoint) bool) (out []*endpoint) {
		for i := range p.endpoints {
			if e := &p.endpoints[i]; ok(e) && (!local || e.node == node) {
				out = append(out, e)
			}
		}
		return out
	}
	if ready := pick(func(e *endpoint) bool { return e.ready }); len(ready) > 0 {
		return ready
	}
	return pick(func(e *endpoint) bool { return e.serving })
}

// maxSticky bounds the remembered clients of a port: beyond it the ones that have run out go, or else all.
const maxSticky = 4096

func (t *Table) choose(p *port, usable []*endpoint, src netip.Addr) *endpoint {
	now := t.cfg.Now()
	if p.svc.affinity > 0 {
		if s, ok := p.sticky[src]; ok && now.Before(s.until) {
			for _, e := range usable {
				if e.to == s.to {
					p.sticky[src] = stuck{e.to, now.Add(p.svc.affinity)}
					return e
				}
			}
		}
	}
	e := usable[t.intn(len(usable))]
	if p.svc.affinity > 0 {
		if p.sticky == nil {
			p.sticky = map[netip.Addr]stuck{}
		}
		if len(p.sticky) >= maxSticky {
			for a, s := range p.sticky {
				if !now.Before(s.until) {
					delete(p.sticky, a)
				}
			}
			if len(p.sticky) >= maxSticky {
				clear(p.sticky)
			}
		}
		p.sticky[src] = stuck{e.to, now.Add(p.svc.affinity)}
	}
	return e
}

func (t *Table) intn(n int) int {
	if n == 1 {
		return 0
	}
	var b [8]byte
	if _, err := io.ReadFull(t.cfg.Rand, b[:]); err != nil {
		return 0 // the source is crypto/rand or a seeded generator: neither ends
	}
	return int(binary.LittleEndian.Uint64(b[:]) % uint64(n))
}

// Count is how often a port of a Service was asked for.
type Count struct {
	Service   informer.Key
	Port      string
	Requests  uint64
	Refused   uint64
	Endpoints []EndpointCount
}

// EndpointCount is an endpoint's share.
type EndpointCount struct {
	To       netip.AddrPort
	Pod      string
	Ready    bool
	Requests uint64
}

// Counts lists what was asked of every Service's ports, in order of name.
func (t *Table) Counts() []Count {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Count
	for _, s := range t.services {
		for _, p := range s.ports {
			c := Count{Service: s.key, Port: p.name, Requests: p.requests, Refused: p.refused}
			for _, e := range p.endpoints {
				c.Endpoints = append(c.Endpoints, EndpointCount{e.to, e.pod, e.ready, *e.requests})
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Count) int {
		switch x, y := a.Service.String()+" "+a.Port, b.Service.String()+" "+b.Port; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return out
}
