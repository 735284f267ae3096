package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// service answers names below svc: SERVICE.NS, HOST.SERVICE.NS, _PORT._PROTO.SERVICE.NS.
func (s *Server) service(name string, q dnsmessage.Question, parts []string) answer {
	n := len(parts)
	switch {
	case n == 0:
		return answer{exists: true, inZone: true}
	case n == 1:
		return answer{exists: s.hasNamespace(parts[0]), inZone: true}
	case n > 4:
		return answer{inZone: true}
	}
	svc, ok := informer.Get[*v1.Service](s.reader, informer.Services, parts[n-1], parts[n-2])
	if !ok {
		return answer{inZone: true}
	}
	switch n {
	case 2:
		return s.whole(name, q, svc)
	case 3:
		if strings.HasPrefix(parts[0], "_") { // _PROTO alone names nothing but exists
			return answer{exists: len(s.ports(svc, "", strings.TrimPrefix(parts[0], "_"))) > 0, inZone: true}
		}
		return s.host(name, q, svc, parts[0])
	}
	if !strings.HasPrefix(parts[0], "_") || !strings.HasPrefix(parts[1], "_") {
		return answer{inZone: true}
	}
	return s.srv(name, q, svc, parts[0][1:], parts[1][1:])
}

func (s *Server) hasNamespace(ns string) bool {
	_, ok := s.reader.Get(informer.Namespaces, "", ns)
	return ok
}

func headless(svc *v1.Service) bool { return svc.Spec.ClusterIP == v1.ClusterIPNone }

// whole answers a Service's own name.
func (s *Server) whole(name string, q dnsmessage.Question, svc *v1.Service) answer {
	switch {
	case svc.Spec.Type == v1.ServiceTypeExternalName:
		return s.external(name, q, svc)
	case headless(svc):
		var addrs []netip.Addr
		for _, e := range s.endpoints(svc) {
			addrs = append(addrs, e.addr)
		}
		a := s.addresses(name, q, addrs)
		a.exists = len(addrs) > 0
		return a
	}
	var addrs []netip.Addr
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, ip)
		}
	}
	a := s.addresses(name, q, addrs)
	if q.Type == dnsmessage.TypeSRV || q.Type == dnsmessage.TypeALL {
		for _, p := range svc.Spec.Ports {
			s.addSRV(&a, name, uint16(p.Port), name, addrs)
		}
	}
	return a
}

func (s *Server) external(name string, q dnsmessage.Question, svc *v1.Service) answer {
	a := answer{exists: true, inZone: true}
	target := strings.ToLower(strings.TrimSuffix(svc.Spec.ExternalName, ".")) + "."
	n, err := dnsmessage.NewName(target)
	h, ok := s.header(name, dnsmessage.TypeCNAME)
	if err != nil || !ok {
		return a
	}
	a.records = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: n}}}
	s.mu.RLock()
	addrs := s.names[target]
	s.mu.RUnlock()
	a.records = append(a.records, s.addresses(target, q, addrs).records...)
	return a
}

// endpoint is a ready address behind a Service.
type endpoint struct {
	addr  netip.Addr
	host  string // its hostname, or its address with dashes
	ports []discovery.EndpointPort
}

// endpoints are the ready ones, in order of address.
func (s *Server) endpoints(svc *v1.Service) []endpoint {
	var out []endpoint
	sel := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: svc.Name})
	for _, o := range s.reader.List(informer.EndpointSlices, svc.Namespace, sel) {
		slice := o.(*discovery.EndpointSlice)
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, text := range e.Addresses {
				ip, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				host := strings.NewReplacer(".", "-", ":", "-").Replace(text)
				if e.Hostname != nil && *e.Hostname != "" {
					host = *e.Hostname
				}
				out = append(out, endpoint{ip, host, slice.Ports})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b endpoint) int { return a.addr.Compare(b.addr) })
	return out
}

// host answers HOST.SERVICE.NS: an endpoint by its hostname or dashed address.
func (s *Server) host(name string, q dnsmessage.Question, svc *v1.Service, host string) answer {
	var addrs []netip.Addr
	for _, e := range s.endpoints(svc) {
		if e.host == host {
			addrs = append(addrs, e.addr)
		}
	}
	a := s.addresses(name, q, addrs)
	a.exists = len(addrs) > 0
	return a
}

// ports are a Service's ports with the name ("" any) and protocol.
func (s *Server) ports(svc *v1.Service, name, proto string) []v1.ServicePort {
	var out []v1.ServicePort
	for _, p := range svc.Spec.Ports {
		if strings.EqualFold(string(p.Protocol), proto) && (name == "" || p.Name == name) {
			out = append(out, p)
		}
	}
	return out
}

// srv answers _PORT._PROTO.SERVICE.NS.
func (s *Server) srv(name string, q dnsmessage.Question, svc *v1.Service, port, proto string) answer {
	a := answer{inZone: true}
	whole := fmt.Sprintf("%s.%s.svc.%s", svc.Name, svc.Namespace, s.domain)
	want := q.Type == dnsmessage.TypeSRV || q.Type == dnsmessage.TypeALL
	if !headless(svc) {
		for _, p := range s.ports(svc, port, proto) {
			a.exists = true
			var addrs []netip.Addr
			if ip, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil {
				addrs = append(addrs, ip)
			}
			if want {
				s.addSRV(&a, name, uint16(p.Port), whole, addrs)
			}
		}
		return a
	}
	for _, e := range s.endpoints(svc) {
		for _, p := range e.ports {
			if p.Port == nil || p.Name == nil || *p.Name != port || p.Protocol == nil || !strings.EqualFold(string(*p.Protocol), proto) {
				continue
			}
			a.exists = true
			if want {
				s.addSRV(&a, name, uint16(*p.Port), e.host+"."+whole, []netip.Addr{e.addr})
			}
		}
	}
	return a
}

func (s *Server) addSRV(a *answer, name string, port uint16, target string, addrs []netip.Addr) {
	h, ok := s.header(name, dnsmessage.TypeSRV)
	n, err := dnsmessage.NewName(target)
	if !ok || err != nil {
		return
	}
	a.records = append(a.records, dnsmessage.Resource{Header: h, Body: &dnsmessage.SRVResource{Priority: 0, Weight: 100, Port: port, Target: n}})
	for _, ip := range addrs {
		if r, ok := s.addressRecord(target, ip); ok {
			a.extra = append(a.extra, r)
		}
	}
}

// pod answers A-B-C-D.NS.pod with the address in the name, as CoreDNS' "pods insecure".
func (s *Server) pod(name string, q dnsmessage.Question, parts []string) answer {
	switch {
	case len(parts) == 0:
		return answer{exists: true, inZone: true}
	case !s.hasNamespace(parts[len(parts)-1]) || len(parts) > 2:
		return answer{inZone: true}
	case len(parts) == 1:
		return answer{exists: true, inZone: true}
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(parts[0], "-", "."))
	if err != nil {
		return answer{inZone: true}
	}
	return s.addresses(name, q, []netip.Addr{ip})
}

// reverse answers D.C.B.A.in-addr.arpa: a Service's address with its name, else the address of an endpoint with its name below each of
// its Services.
func (s *Server) reverse(name string, q dnsmessage.Question) answer {
	parts := strings.Split(strings.TrimSuffix(name, ".in-addr.arpa."), ".")
	slices.Reverse(parts)
	ip, err := netip.ParseAddr(strings.Join(parts, "."))
	if err != nil {
		return answer{}
	}
	a := answer{}
	for _, target := range s.namesOf(ip) {
		a.exists, a.inZone = true, true
		h, ok := s.header(name, dnsmessage.TypePTR)
		n, err := dnsmessage.NewName(target)
		if ok && err == nil && (q.Type == dnsmessage.TypePTR || q.Type == dnsmessage.TypeALL) {
			a.records = append(a.records, dnsmessage.Resource{Header: h, Body: &dnsmessage.PTRResource{PTR: n}})
		}
	}
	return a
}

func (s *Server) namesOf(ip netip.Addr) (names []string) {
	services := informer.List[*v1.Service](s.reader, informer.Services, "")
	whole := func(svc *v1.Service) string { return fmt.Sprintf("%s.%s.svc.%s", svc.Name, svc.Namespace, s.domain) }
	for _, svc := range services {
		if slices.Contains(svc.Spec.ClusterIPs, ip.String()) {
			return []string{whole(svc)}
		}
	}
	for _, svc := range services {
		for _, e := range s.endpoints(svc) {
			if e.addr == ip {
				names = append(names, e.host+"."+whole(svc))
			}
		}
	}
	return names
}
