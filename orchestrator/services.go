package orchestrator

import (
	"context"
	"net/netip"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/proxy"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Route says where a new connection goes whose destination may be a Service. An answer without a Service leaves it to the network.
func (cp *ControlPlane) Route(src netip.Addr, proto v1.Protocol, to netip.AddrPort) proxy.Answer {
	return cp.parts.proxy.Route(src, proto, to)
}

// ServiceCounts tells how often each Service and endpoint was chosen.
func (cp *ControlPlane) ServiceCounts() []proxy.Count { return cp.parts.proxy.Counts() }

// OnEndpointsChange has f called after every change of a route; f must only enqueue.
func (cp *ControlPlane) OnEndpointsChange(f func()) { cp.parts.proxy.OnChange(f) }

// ResolveDNS answers a DNS query of a pod or node; nil when the bytes are no query. tcp lifts the limit on the answer's size.
func (cp *ControlPlane) ResolveDNS(query []byte, tcp bool) []byte {
	return cp.parts.dns.Resolve(query, tcp)
}

// RegisterName has a name outside the cluster's domain resolve to addrs, such as a node's or a registry's; without addrs it is forgotten.
func (cp *ControlPlane) RegisterName(name string, addrs ...netip.Addr) {
	cp.parts.dns.Register(name, addrs...)
}

// nodeOf names the node that an address is of: its own or that of a pod on it.
func (cp *ControlPlane) nodeOf(ip netip.Addr) string {
	if name, ok := cp.addrs.Load(ip); ok {
		return name.(string)
	}
	if ip.Is4() {
		if part, err := ip.Prefix(24); err == nil {
			if name, ok := cp.addrs.Load(part); ok {
				return name.(string)
			}
		}
	}
	return ""
}

func (cp *ControlPlane) isNode(ip netip.Addr) bool {
	_, ok := cp.addrs.Load(ip)
	return ok
}

// serveKubernetes writes where the Service kubernetes leads, as an API server does for itself.
func (cp *ControlPlane) serveKubernetes(t loop.Trigger) error {
	if len(cp.cfg.APIServers) == 0 {
		return nil
	}
	client := cp.cfg.Client("system:apiserver", "system:masters")
	ctx := store.WithCause(context.Background(), store.Cause{Kind: store.CauseBoot, Component: "kube-apiserver", Detail: "endpoints service=kubernetes", Step: t.Step})
	name, port, proto, ready := "https", int32(cp.cfg.APIServers[0].Port()), v1.ProtocolTCP, true
	subset := v1.EndpointSubset{Ports: []v1.EndpointPort{{Name: name, Port: port, Protocol: proto}}}
	slice := &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kubernetes", Namespace: metav1.NamespaceDefault, Labels: map[string]string{discovery.LabelServiceName: "kubernetes"}},
		AddressType: discovery.AddressTypeIPv4, Ports: []discovery.EndpointPort{{Name: &name, Port: &port, Protocol: &proto}},
	}
	for _, at := range cp.cfg.APIServers {
		subset.Addresses = append(subset.Addresses, v1.EndpointAddress{IP: at.Addr().String()})
		slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{Addresses: []string{at.Addr().String()}, Conditions: discovery.EndpointConditions{Ready: &ready}})
	}
	ep := &v1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Namespace: metav1.NamespaceDefault, Labels: map[string]string{discovery.LabelSkipMirror: "true"}},
		Subsets:    []v1.EndpointSubset{subset},
	}
	if _, err := client.Create(ctx, informer.Endpoints, metav1.NamespaceDefault, ep); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if _, err := client.Create(ctx, informer.EndpointSlices, metav1.NamespaceDefault, slice); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}
