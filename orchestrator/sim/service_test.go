package sim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/kubelet/null"
	"github.com/drydock-labs/drydock/orchestrator/proxy"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// client is an address outside every pod.
var client = netip.MustParseAddr("192.168.7.7")

func service(name string, change ...func(*v1.Service)) *v1.Service {
	s := &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: v1.ServiceSpec{Selector: map[string]string{"app": name}, Ports: []v1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	for _, c := range change {
		c(s)
	}
	return s
}

func (l *lab) service(name string) *v1.Service {
	l.t.Helper()
	return l.get(informer.Services, "default", name).(*v1.Service)
}

// route asks where a TCP connection to the address goes.
func (l *lab) route(src netip.Addr, ip string, port int32) proxy.Answer {
	return l.Route(src, v1.ProtocolTCP, netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port)))
}

// spread asks n times and counts the answers by pod; refusals are counted under their reason.
func (l *lab) spread(n int, src netip.Addr, ip string, port int32) map[string]int {
	out := map[string]int{}
	for range n {
		if a := l.route(src, ip, port); a.Reject || a.Drop {
			out[a.Reason]++
		} else {
			out[a.Pod]++
		}
	}
	return out
}

func keys(m map[string]int) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func names(pods []*v1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestClusterIP(t *testing.T) {
	l := newLab(t, Options{Workers: 2, Images: []string{"nginx:1.28"}})
	if a := l.route(client, "10.96.0.1", 443); a.To.String() != "172.18.0.2:6443" {
		t.Errorf("the Service kubernetes leads to %+v", a)
	}
	if a := l.route(client, "10.96.0.10", 53); a.Service.Name != "" {
		t.Errorf("the DNS server's address is routed: %+v", a)
	}
	l.create(informer.Services, service("web"))
	l.settle()
	ip := l.service("web").Spec.ClusterIP
	if a := l.route(client, ip, 80); !a.Reject || a.Reason != "service default/web has no ready endpoints" {
		t.Errorf("without pods: %+v", a)
	}
	l.create(informer.Deployments, deployment("web", 3, "nginx:1.28"))
	l.settle()
	got := l.spread(300, client, ip, 80)
	if diff := cmp.Diff(names(l.pods("default")), keys(got)); diff != "" {
		t.Error(diff)
	}
	for pod, n := range got {
		if n < 60 {
			t.Errorf("pod %s got %d of 300 connections", pod, n)
		}
	}
	if a := l.route(client, ip, 80); a.To.Port() != 8080 {
		t.Errorf("the target port is %d", a.To.Port())
	}
	if a := l.route(client, ip, 81); a.Service.Name != "" {
		t.Errorf("a port that the Service does not have: %+v", a)
	}
	counted := uint64(0)
	for _, c := range l.ServiceCounts() {
		if c.Service.Name == "web" {
			counted = c.Requests
		}
	}
	if counted != 301 {
		t.Errorf("%d requests counted, want 301", counted)
	}
}

func TestServiceWithoutTheRightLabelSelectsNobody(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 1, "nginx:1.28"))
	l.create(informer.Services, service("web", func(s *v1.Service) { s.Spec.Selector["app"] = "wev" }))
	l.settle()
	if a := l.route(client, l.service("web").Spec.ClusterIP, 80); !a.Reject {
		t.Errorf("%+v", a)
	}
	ep := l.get(informer.Endpoints, "default", "web").(*v1.Endpoints)
	if len(ep.Subsets) != 0 {
		t.Errorf("subsets %+v", ep.Subsets)
	}
	l.patch(informer.Services, "default", "web", `{"spec":{"selector":{"app":"web"}}}`)
	l.settle()
	if a := l.route(client, l.service("web").Spec.ClusterIP, 80); a.Reject || a.Pod == "" {
		t.Errorf("after the label was mended: %+v", a)
	}
}

func TestNamedPortsAndEndpoints(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 2, "nginx:1.28", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Ports = []v1.ContainerPort{{Name: "http", ContainerPort: 8081}, {Name: "metrics", ContainerPort: 9090}}
	}))
	l.create(informer.Services, service("web", func(s *v1.Service) {
		s.Spec.Ports = []v1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromString("http")}, {Name: "metrics", Port: 90, TargetPort: intstr.FromString("metrics")}}
	}))
	l.settle()
	ip := l.service("web").Spec.ClusterIP
	for port, want := range map[int32]uint16{80: 8081, 90: 9090} {
		if a := l.route(client, ip, port); a.To.Port() != want {
			t.Errorf("port %d leads to %s, want port %d", port, a.To, want)
		}
	}
	ep := l.get(informer.Endpoints, "default", "web").(*v1.Endpoints)
	if len(ep.Subsets) != 1 || len(ep.Subsets[0].Addresses) != 2 || len(ep.Subsets[0].Ports) != 2 {
		t.Errorf("subsets %+v", ep.Subsets)
	}
	slices := l.slices("web")
	if len(slices) != 1 || len(slices[0].Endpoints) != 2 || slices[0].Endpoints[0].NodeName == nil || *slices[0].Endpoints[0].NodeName != "node-1" {
		t.Errorf("slices %+v", slices)
	}
	l.delete(informer.Services, "default", "web")
	l.settle()
	l.absent(informer.Endpoints, "default", "web")
	if n := len(l.slices("web")); n != 0 {
		t.Errorf("%d slices are left", n)
	}
	if a := l.route(client, ip, 80); a.Service.Name != "" {
		t.Errorf("a deleted Service is routed: %+v", a)
	}
}

func (l *lab) slices(svc string) (out []*discovery.EndpointSlice) {
	for _, o := range l.Cluster.Reader().List(informer.EndpointSlices, "default", labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: svc})) {
		out = append(out, o.(*discovery.EndpointSlice))
	}
	return out
}

func TestNodePortAndTrafficPolicies(t *testing.T) {
	l := newLab(t, Options{Workers: 2, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 1, "nginx:1.28"))
	l.create(informer.Services, service("web", func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeNodePort; s.Spec.Ports[0].NodePort = 30080 }))
	l.settle()
	p := l.pods("default")[0]
	address := map[string]string{"control-plane": "172.18.0.2", "node-1": "172.18.0.3", "node-2": "172.18.0.4"}
	for node, ip := range address {
		if a := l.route(client, ip, 30080); a.Pod != p.Name {
			t.Errorf("node port of %s: %+v", node, a)
		}
	}
	if a := l.route(client, p.Status.PodIP, 30080); a.Service.Name != "" {
		t.Errorf("a node port answers at a pod's address: %+v", a)
	}
	l.patch(informer.Services, "default", "web", `{"spec":{"externalTrafficPolicy":"Local","internalTrafficPolicy":"Local"}}`)
	l.settle()
	cluster := l.service("web").Spec.ClusterIP
	for node, ip := range address {
		if a := l.route(client, ip, 30080); (a.Pod == p.Name) != (node == p.Spec.NodeName) || (node != p.Spec.NodeName) != a.Drop {
			t.Errorf("external policy Local at %s: %+v", node, a)
		}
		if a := l.route(netip.MustParseAddr(ip), cluster, 80); (a.Pod == p.Name) != (node == p.Spec.NodeName) {
			t.Errorf("internal policy Local from %s: %+v", node, a)
		}
	}
}

func TestSessionAffinity(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 5, "nginx:1.28"))
	seconds := int32(60)
	l.create(informer.Services, service("web", func(s *v1.Service) {
		s.Spec.SessionAffinity = v1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &v1.SessionAffinityConfig{ClientIP: &v1.ClientIPConfig{TimeoutSeconds: &seconds}}
	}))
	l.settle()
	ip := l.service("web").Spec.ClusterIP
	if got := l.spread(50, client, ip, 80); len(got) != 1 {
		t.Errorf("one client met %v", got)
	}
	others := map[string]int{}
	for i := range byte(50) {
		others[l.route(netip.AddrFrom4([4]byte{10, 9, 9, i}), ip, 80).Pod]++
	}
	if len(others) < 4 {
		t.Errorf("fifty clients met %v", others)
	}
	first := l.route(client, ip, 80).Pod
	zero := int64(0)
	l.delete(informer.Pods, "default", first, func(o *metav1.DeleteOptions) { o.GracePeriodSeconds = &zero })
	l.settle()
	if a := l.route(client, ip, 80); a.Pod == first || a.Reject {
		t.Errorf("after its pod went: %+v", a)
	}
}

// slow takes the time that a server needs to drain: its StopContainer says what the Service's routes are when the stop signal comes.
type slow struct {
	*null.Runtime
	stopped func(sandbox kubelet.SandboxSpec)
	specs   map[string]kubelet.SandboxSpec // by container
	boxes   map[string]kubelet.SandboxSpec
}

func (s *slow) RunPodSandbox(ctx context.Context, spec kubelet.SandboxSpec) (string, error) {
	id, err := s.Runtime.RunPodSandbox(ctx, spec)
	s.boxes[id] = spec
	return id, err
}

func (s *slow) CreateContainer(ctx context.Context, sandbox string, spec kubelet.ContainerSpec) (string, error) {
	id, err := s.Runtime.CreateContainer(ctx, sandbox, spec)
	s.specs[id] = s.boxes[sandbox]
	return id, err
}

func (s *slow) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	s.stopped(s.specs[id])
	return s.Runtime.StopContainer(ctx, id, grace)
}

// A rolling update loses no request: before a pod's containers get the stop signal no new connection is led to it any more, and there
// is at any time somebody to be led to.
func TestRollingUpdateNeverRoutesToAStoppedPod(t *testing.T) {
	var l *lab
	stops, ip := 0, ""
	l = newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28", "nginx:1.29"}, Node: func(n *orchestrator.NodeSpec) {
		n.Runtime = &slow{Runtime: n.Runtime.(*null.Runtime), specs: map[string]kubelet.SandboxSpec{}, boxes: map[string]kubelet.SandboxSpec{}, stopped: func(s kubelet.SandboxSpec) {
			stops++
			if got := l.spread(40, client, ip, 80); got[s.Name] > 0 {
				t.Errorf("pod %s gets the stop signal and connections: %v", s.Name, got)
			}
		}}
	}})
	surge, down := intstr.FromInt32(1), intstr.FromInt32(0)
	l.create(informer.Deployments, deployment("web", 4, "nginx:1.28", func(d *appsv1.Deployment) {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &down}}
		d.Spec.Template.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}, InitialDelaySeconds: 3}
	}))
	l.create(informer.Services, service("web"))
	l.settle()
	l.advance(10 * time.Second)
	ip = l.service("web").Spec.ClusterIP
	refused := 0
	t.Cleanup(l.Cluster.Store().OnCommit(func(c store.Commit) {
		if c.Resource == informer.Pods && l.route(client, ip, 80).Reject {
			refused++
		}
	}))
	l.patch(informer.Deployments, "default", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.29"}]}}}}`)
	l.settle()
	l.advance(5 * time.Minute)
	if stops != 4 || refused != 0 {
		t.Errorf("%d pods were stopped, %d connections refused", stops, refused)
	}
	if got := l.spread(100, client, ip, 80); len(got) != 4 {
		t.Errorf("at the end %v", got)
	}
}

func TestTerminatingEndpointsServeWhenNobodyElseIsReady(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}, Execute: func(f func()) { go f() }, Runtime: fate(null.Fate{Stubborn: true})})
	l.create(informer.Services, service("web"))
	l.create(informer.Pods, pod("only", func(p *v1.Pod) { p.Labels = map[string]string{"app": "web"}; p.Spec.Containers[0].Image = "nginx:1.28" }))
	l.settle()
	ip := l.service("web").Spec.ClusterIP
	l.delete(informer.Pods, "default", "only")
	l.awaitStop("node-1")
	e := l.slices("web")[0].Endpoints[0].Conditions
	if *e.Ready || !*e.Serving || !*e.Terminating {
		t.Errorf("conditions ready=%v serving=%v terminating=%v", *e.Ready, *e.Serving, *e.Terminating)
	}
	if a := l.route(client, ip, 80); a.Pod != "only" {
		t.Errorf("%+v", a)
	}
}

// dig asks the cluster's DNS and renders what comes back: the code, then the records' types and data.
func (l *lab) dig(name string, qt dnsmessage.Type) string {
	l.t.Helper()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: qt, Class: dnsmessage.ClassINET}}}
	b, err := q.Pack()
	if err != nil {
		l.t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(l.ResolveDNS(b, true)); err != nil {
		l.t.Fatal(err)
	}
	out := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	for _, r := range m.Answers {
		out = append(out, record(r))
	}
	slices.Sort(out[1:])
	return strings.Join(out, " ")
}

func record(r dnsmessage.Resource) string {
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d:%s", b.Port, b.Target)
	case *dnsmessage.PTRResource:
		return b.PTR.String()
	case *dnsmessage.CNAMEResource:
		return b.CNAME.String()
	case *dnsmessage.TXTResource:
		return strings.Join(b.TXT, "")
	}
	return r.Header.Type.String()
}

func TestDNS(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	named := func(s *v1.Service) {
		s.Spec.Ports = []v1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}
	}
	l.create(informer.Services, service("web", named, func(s *v1.Service) { s.Spec.ClusterIP = "10.96.7.7" }))
	l.create(informer.Services, service("db", named, func(s *v1.Service) { s.Spec.ClusterIP = v1.ClusterIPNone }))
	l.create(informer.Services, service("empty", func(s *v1.Service) { s.Spec.ClusterIP = v1.ClusterIPNone }))
	l.create(informer.Services, service("away", func(s *v1.Service) {
		s.Spec = v1.ServiceSpec{Type: v1.ServiceTypeExternalName, ExternalName: "registry.drydock.example"}
	}))
	for i, name := range []string{"db-0", "db-1"} {
		l.create(informer.Pods, pod(name, func(p *v1.Pod) {
			p.Labels = map[string]string{"app": "db"}
			p.Spec.Containers[0].Image = "nginx:1.28"
			if i == 0 {
				p.Spec.Hostname, p.Spec.Subdomain = "db-0", "db"
			}
		}))
	}
	l.RegisterName("registry.drydock.example", netip.MustParseAddr("172.18.0.200"))
	l.settle()
	a, b := l.pod("db-0").Status.PodIP, l.pod("db-1").Status.PodIP
	dashed, arpa := strings.ReplaceAll(b, ".", "-"), func(ip string) string {
		p := strings.Split(ip, ".")
		slices.Reverse(p)
		return strings.Join(p, ".") + ".in-addr.arpa."
	}
	for _, c := range []struct {
		name, ask string
		qt        dnsmessage.Type
		want      string
	}{
		{"cluster ip", "web.default.svc.cluster.local.", dnsmessage.TypeA, "Success 10.96.7.7"},
		{"case does not matter", "WEB.Default.svc.CLUSTER.local.", dnsmessage.TypeA, "Success 10.96.7.7"},
		{"no AAAA, but the name exists", "web.default.svc.cluster.local.", dnsmessage.TypeAAAA, "Success"},
		{"another namespace", "web.kube-system.svc.cluster.local.", dnsmessage.TypeA, "NameError"},
		{"a namespace that is not", "web.nowhere.svc.cluster.local.", dnsmessage.TypeA, "NameError"},
		{"search list's wrong turns", "web.default.svc.cluster.local.default.svc.cluster.local.", dnsmessage.TypeA, "NameError"},
		{"headless", "db.default.svc.cluster.local.", dnsmessage.TypeA, "Success " + min(a, b) + " " + max(a, b)},
		{"headless by hostname", "db-0.db.default.svc.cluster.local.", dnsmessage.TypeA, "Success " + a},
		{"headless by address", dashed + ".db.default.svc.cluster.local.", dnsmessage.TypeA, "Success " + b},
		{"headless without pods", "empty.default.svc.cluster.local.", dnsmessage.TypeA, "NameError"},
		{"external name", "away.default.svc.cluster.local.", dnsmessage.TypeA, "Success 172.18.0.200 registry.drydock.example."},
		{"SRV", "_http._tcp.web.default.svc.cluster.local.", dnsmessage.TypeSRV, "Success 80:web.default.svc.cluster.local."},
		{"SRV of a port that is not", "_grpc._tcp.web.default.svc.cluster.local.", dnsmessage.TypeSRV, "NameError"},
		{"SRV of a headless one", "_http._tcp.db.default.svc.cluster.local.", dnsmessage.TypeSRV, "Success 8080:" + dashed + ".db.default.svc.cluster.local. 8080:db-0.db.default.svc.cluster.local."},
		{"pod", dashed + ".default.pod.cluster.local.", dnsmessage.TypeA, "Success " + b},
		{"PTR of a Service", "7.7.96.10.in-addr.arpa.", dnsmessage.TypePTR, "Success web.default.svc.cluster.local."},
		{"PTR of an endpoint", arpa(a), dnsmessage.TypePTR, "Success db-0.db.default.svc.cluster.local."},
		{"PTR of an endpoint without a hostname", arpa(b), dnsmessage.TypePTR, "Success " + dashed + ".db.default.svc.cluster.local."},
		{"PTR of nobody", "9.9.9.9.in-addr.arpa.", dnsmessage.TypePTR, "NameError"},
		{"registered", "registry.drydock.example.", dnsmessage.TypeA, "Success 172.18.0.200"},
		{"outside", "example.com.", dnsmessage.TypeA, "NameError"},
		{"version", "dns-version.cluster.local.", dnsmessage.TypeTXT, "Success 1.1.0"},
		{"API server", "kubernetes.default.svc.cluster.local.", dnsmessage.TypeA, "Success 10.96.0.1"},
		{"DNS itself", "kube-dns.kube-system.svc.cluster.local.", dnsmessage.TypeA, "Success 10.96.0.10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, l.dig(c.ask, c.qt)); diff != "" {
				t.Error(diff)
			}
		})
	}
	spec := l.sandbox("db-1")
	want := kubelet.DNS{Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}, Options: []string{"ndots:5"}}
	if diff := cmp.Diff(want, spec.DNS); diff != "" {
		t.Error(diff)
	}
}

// sandbox returns how the sandbox of a pod on node-1 was asked for.
func (l *lab) sandbox(pod string) kubelet.SandboxSpec {
	l.t.Helper()
	spec, ok := l.Runtimes["node-1"].Sandbox("default", pod)
	if !ok {
		l.t.Fatalf("pod %s has no sandbox", pod)
	}
	return spec
}
