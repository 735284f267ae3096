package apiserver

import (
	"fmt"
	"math/rand/v2"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// few draws from a small set, so that the same differences come again with other values.
type few struct{ *rand.Rand }

func (r few) one(of ...string) string { return of[r.IntN(len(of))] }
func (r few) yes() bool               { return r.IntN(2) == 0 }

func (r few) address() string { return fmt.Sprintf("10.244.%d.%d", r.IntN(4), r.IntN(250)) }

// change makes some of the changes that people and components make to pods.
func (r few) change(p *v1.Pod) {
	for range 1 + r.IntN(2) {
		switch r.IntN(12) {
		case 0:
			metav1.SetMetaDataLabel(&p.ObjectMeta, r.one("app", "tier"), r.one("a", "b", "c"))
		case 1:
			delete(p.Labels, "app")
		case 2:
			metav1.SetMetaDataAnnotation(&p.ObjectMeta, r.one("x", "y"), fmt.Sprint(r.Uint32()))
		case 3:
			p.Finalizers = []string{r.one("a/b", "a/c")}
		case 4:
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: types.UID(r.one("1", "2"))}}
		case 5:
			r.containers(p)
		case 6:
			p.Spec.Tolerations = append(p.Spec.Tolerations, v1.Toleration{Key: r.one("k", "l"), Operator: v1.TolerationOpExists})
		case 7:
			p.Status.Phase = v1.PodPhase(r.one("Pending", "Running"))
			p.Status.PodIP = r.address()
			p.Status.PodIPs = []v1.PodIP{{IP: p.Status.PodIP}}
			if r.IntN(4) == 0 {
				p.Status.PodIPs = append(p.Status.PodIPs, v1.PodIP{IP: r.address()})
			}
		case 8:
			p.Status.HostIP, p.Status.HostIPs = "172.18.0.3", []v1.HostIP{{IP: r.one("172.18.0.3", "172.18.0.4")}}
		case 9:
			r.conditions(&p.Status)
		case 10:
			now := metav1.Unix(r.Int64N(1<<30), 0)
			p.Status.StartTime = &now
			p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: r.one("web", "side"), RestartCount: r.Int32N(3), State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: now}}}}
		case 11:
			p.Status.PodIPs, p.Status.Conditions = nil, nil
		}
	}
}

func (r few) containers(p *v1.Pod) {
	p.Spec.Containers = nil
	for _, name := range []string{"web", "side"}[:1+r.IntN(2)] {
		c := v1.Container{Name: name, Image: r.one("i:1", "i:2")}
		for _, port := range []int32{80, 90}[:r.IntN(3)] {
			c.Ports = append(c.Ports, v1.ContainerPort{ContainerPort: port, Protocol: v1.Protocol(r.one("TCP", "UDP"))})
		}
		if r.yes() {
			c.Env = []v1.EnvVar{{Name: r.one("A", "B"), Value: fmt.Sprint(r.IntN(100))}}
			c.Resources.Limits = v1.ResourceList{v1.ResourceName(r.one("cpu", "memory")): *resource.NewQuantity(r.Int64N(9)+1, resource.DecimalSI)}
		}
		if r.yes() {
			c.ReadinessProbe = &v1.Probe{PeriodSeconds: r.Int32N(3), ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.Parse(r.one("80", "http"))}}}
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	if p.Spec.Volumes = nil; r.yes() {
		p.Spec.Volumes = []v1.Volume{{Name: r.one("v", "w"), VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
	}
}

func (r few) conditions(s *v1.PodStatus) {
	s.Conditions = nil
	for _, i := range r.Perm(3) {
		if r.IntN(4) > 0 {
			s.Conditions = append(s.Conditions, v1.PodCondition{Type: v1.PodConditionType([]string{"Ready", "Initialized", "PodScheduled"}[i]), Status: v1.ConditionStatus(r.one("True", "False")), LastTransitionTime: metav1.Unix(r.Int64N(1<<30), 0)})
		}
	}
}

// What is remembered is what upstream would say: thousands of creates and changes of small objects, where every answer that is
// remembered is compared (endpoint.verify).
func TestManagedFieldsAreUpstreams(t *testing.T) {
	s := testServer(t)
	endpointOf := func(group, version, resource, sub string) *endpoint {
		e, err := s.endpoint(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}, sub)
		if err != nil {
			t.Fatal(err)
		}
		return &endpoint{storage: e.storage, scope: e.scope, goType: e.goType, listKeys: e.listKeys, verify: true}
	}
	pods, status := endpointOf("", "v1", "pods", ""), endpointOf("", "v1", "pods", "status")
	r := few{rand.New(rand.NewPCG(1, 2))}
	for i := range 500 {
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}}
		few{rand.New(rand.NewPCG(uint64(i%3), 0))}.containers(p)
		live, err := pods.scope.Creater.New(pods.scope.Kind)
		if err != nil {
			t.Fatal(err)
		}
		live = r.write(t, pods, live, p, "kubectl")
		for range 3 {
			out, err := pods.encode(live)
			if err != nil {
				t.Fatal(err)
			}
			next := out.(*v1.Pod)
			next.UID = "u"
			r.change(next)
			e := pods
			if r.yes() {
				e = status
			}
			live = r.write(t, e, live, next, r.one("kubectl", "kubelet"))
		}
	}
	if n, m := pods.memo.agreed.Load(), status.memo.agreed.Load(); n < 100 || m < 100 {
		t.Errorf("only %d and %d answers were remembered", n, m)
	}
	t.Logf("%d answers of 2,000 were remembered", pods.memo.agreed.Load()+status.memo.agreed.Load())
	events := endpointOf("", "v1", "events", "")
	for i := range 50 {
		live, err := events.scope.Creater.New(events.scope.Kind)
		if err != nil {
			t.Fatal(err)
		}
		r.write(t, events, live, &v1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("e", i), Namespace: "default"},
			InvolvedObject: v1.ObjectReference{Kind: "Pod", Name: fmt.Sprint(i), FieldPath: r.one("", "spec")}, Reason: r.one("A", "B"), Count: 1, Type: "Normal"}, "kubelet")
	}
	if n := events.memo.agreed.Load(); n < 40 {
		t.Errorf("only %d of 50 Events were remembered", n)
	}
}

// write brings obj over live as the client does, and returns the internal object.
func (r few) write(t *testing.T, e *endpoint, live runtime.Object, obj runtime.Object, manager string) runtime.Object {
	t.Helper()
	next, err := e.decode(obj)
	if err != nil {
		t.Fatal(err)
	}
	out := e.manage(live, next, manager)
	if _, err := meta.Accessor(out); err != nil {
		t.Fatal(err)
	}
	// What is stored comes back through the wire: times lose their fractions.
	versioned, err := e.encode(out)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := e.decode(versioned)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}
