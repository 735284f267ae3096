package dns

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// objects is a store.Reader over a handful of objects.
type objects map[schema.GroupResource][]runtime.Object

func (o objects) List(gr schema.GroupResource, ns string, sel labels.Selector) (out []runtime.Object) {
	for _, obj := range o[gr] {
		m := obj.(metav1.Object)
		if (ns == "" || m.GetNamespace() == ns) && (sel == nil || sel.Matches(labels.Set(m.GetLabels()))) {
			out = append(out, obj)
		}
	}
	return out
}

func (o objects) Get(gr schema.GroupResource, ns, name string) (runtime.Object, bool) {
	for _, obj := range o.List(gr, ns, nil) {
		if obj.(metav1.Object).GetName() == name {
			return obj, true
		}
	}
	return nil, false
}

// crowd is a server for one headless Service with n endpoints, and one with an address.
func crowd(n int) *Server {
	port, name, tcp := int32(80), "http", v1.ProtocolTCP
	slice := &discovery.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "many-1", Namespace: "default", Labels: map[string]string{discovery.LabelServiceName: "many"}},
		Ports: []discovery.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}}}
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{Addresses: []string{netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}).String()}})
	}
	svc := func(name, ip string) runtime.Object {
		return &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
			Spec: v1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []v1.ServicePort{{Name: "http", Port: 80, Protocol: tcp}}}}
	}
	return New(objects{
		informer.Namespaces:     {&v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}},
		informer.Services:       {svc("many", v1.ClusterIPNone), svc("web", "10.96.7.7")},
		informer.EndpointSlices: {slice},
	}, "cluster.local")
}

func query(t testing.TB, name string, qt dnsmessage.Type, edns int) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: qt, Class: dnsmessage.ClassINET}}}
	if edns > 0 {
		m.Additionals = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: rootName, Type: dnsmessage.TypeOPT, Class: dnsmessage.Class(edns)}, Body: &dnsmessage.OPTResource{}}}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswersFitTheClient(t *testing.T) {
	s := crowd(300)
	for _, c := range []struct {
		name      string
		edns      int
		tcp       bool
		limit     int
		truncated bool
	}{
		{"plain UDP", 0, false, 512, true},
		{"EDNS", 1232, false, 1232, true},
		{"more than is given", 60000, false, 4096, true},
		{"less than may be asked for", 100, false, 512, true},
		{"TCP", 0, true, 65535, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.Resolve(query(t, "many.default.svc.cluster.local.", dnsmessage.TypeA, c.edns), c.tcp)
			var m dnsmessage.Message
			if err := m.Unpack(b); err != nil {
				t.Fatal(err)
			}
			if len(b) > c.limit || m.Truncated != c.truncated || len(m.Answers) == 0 || !c.truncated && len(m.Answers) != 300 {
				t.Errorf("%d bytes, truncated %v, %d answers", len(b), m.Truncated, len(m.Answers))
			}
			if opt := len(m.Additionals) == 1; opt != (c.edns > 0) {
				t.Errorf("additionals %v", m.Additionals)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	s := crowd(1)
	for _, c := range []struct {
		name          string
		rcode         dnsmessage.RCode
		authoritative bool
		soa           bool
	}{
		{"web.default.svc.cluster.local.", dnsmessage.RCodeSuccess, true, false},
		{"nobody.default.svc.cluster.local.", dnsmessage.RCodeNameError, true, true},
		{"example.com.", dnsmessage.RCodeNameError, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m dnsmessage.Message
			if err := m.Unpack(s.Resolve(query(t, c.name, dnsmessage.TypeA, 0), false)); err != nil {
				t.Fatal(err)
			}
			if m.ID != 4711 || !m.Response || !m.RecursionDesired || m.RCode != c.rcode || m.Authoritative != c.authoritative ||
				m.RecursionAvailable == c.authoritative || (len(m.Authorities) == 1) != c.soa {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestWhatIsNoQueryGetsNoAnswer(t *testing.T) {
	s := crowd(1)
	q := query(t, "web.default.svc.cluster.local.", dnsmessage.TypeA, 0)
	answer := s.Resolve(q, false)
	for name, b := range map[string][]byte{"nothing": nil, "a header cut short": q[:11], "an answer": answer} {
		if got := s.Resolve(b, false); got != nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
	var m dnsmessage.Message
	if err := m.Unpack(s.Resolve(q[:20], false)); err != nil || m.RCode != dnsmessage.RCodeFormatError {
		t.Errorf("a question cut short: %v %v", m.RCode, err)
	}
	other := append([]byte(nil), q...)
	other[2] |= 2 << 3 // STATUS
	if err := m.Unpack(s.Resolve(other, false)); err != nil || m.RCode != dnsmessage.RCodeNotImplemented {
		t.Errorf("another operation: %v %v", m.RCode, err)
	}
}

// FuzzResolve: whatever a guest sends, an answer is well formed, has the query's id, repeats its question and fits.
func FuzzResolve(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.many.default.svc.cluster.local.", "7.7.96.10.in-addr.arpa.", "1-2-3-4.default.pod.cluster.local.", ".", "cluster.local.", strings.Repeat("a.", 100)} {
		for _, qt := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeSRV, dnsmessage.TypePTR, dnsmessage.TypeALL} {
			f.Add(query(f, name, qt, 0), false)
			f.Add(query(f, name, qt, 1232), true)
		}
	}
	s := crowd(40)
	f.Fuzz(func(t *testing.T, q []byte, tcp bool) {
		b := s.Resolve(q, tcp)
		if b == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if m.ID != uint16(q[0])<<8|uint16(q[1]) || !m.Response || !tcp && len(b) > maxEDNS {
			t.Fatalf("%+v in %d bytes", m.Header, len(b))
		}
	})
}
