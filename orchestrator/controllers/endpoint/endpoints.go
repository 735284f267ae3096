package endpoint

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice"
	sliceutil "k8s.io/endpointslice/util"
	endpointsv1 "k8s.io/kubernetes/pkg/api/v1/endpoints"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// managedBy marks the Endpoints objects that are this controller's.
const (
	managedBy = "endpoints.kubernetes.io/managed-by"
	manager   = "endpoint-controller"
	// maxCapacity is how many addresses an Endpoints object may hold; beyond it is truncated.
	maxCapacity = 1000
)

// syncEndpoints writes a Service's Endpoints object.
func (e *Controller) syncEndpoints(t loop.Trigger, svc *v1.Service, pods []*v1.Pod) error {
	subsets, ready := subsets(svc, pods)
	want := map[string]string{}
	for k, v := range svc.Labels {
		want[k] = v
	}
	if svc.Spec.ClusterIP == v1.ClusterIPNone {
		want[v1.IsHeadlessService] = ""
	}
	want[managedBy] = manager
	ctx := e.endpoints.Context(t, "endpoints service=%s ready=%d", svc.Name, ready)
	old, ok := informer.Get[*v1.Endpoints](e.Reader, informer.Endpoints, svc.Namespace, svc.Name)
	if !ok {
		obj := &v1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: svc.Name, Namespace: svc.Namespace, Labels: want}, Subsets: subsets}
		_, err := e.endpoints.Client.Create(ctx, informer.Endpoints, svc.Namespace, obj)
		if apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause) {
			return nil
		}
		return err
	}
	if equality.Semantic.DeepEqual(old.Subsets, subsets) && equality.Semantic.DeepEqual(old.Labels, want) {
		return nil
	}
	next := old.DeepCopy()
	next.Labels, next.Subsets = want, subsets
	_, err := e.endpoints.Client.Update(ctx, informer.Endpoints, svc.Namespace, next)
	return err
}

// subsets are the pods' addresses by ports, packed by upstream's rules.
func subsets(svc *v1.Service, pods []*v1.Pod) (out []v1.EndpointSubset, ready int) {
	count := 0
	for _, p := range pods {
		if !sliceutil.ShouldPodBeInEndpoints(p, svc.Spec.PublishNotReadyAddresses) || p.Status.PodIP == "" || count == maxCapacity {
			continue
		}
		count++
		node := p.Spec.NodeName
		addr := v1.EndpointAddress{IP: p.Status.PodIP, NodeName: &node, TargetRef: &v1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}}
		if sliceutil.ShouldSetHostname(p, svc) {
			addr.Hostname = p.Spec.Hostname
		}
		isReady := svc.Spec.PublishNotReadyAddresses || podutil.IsPodReady(p)
		if isReady {
			ready++
		}
		add := func(ports []v1.EndpointPort) {
			if isReady {
				out = append(out, v1.EndpointSubset{Addresses: []v1.EndpointAddress{addr}, Ports: ports})
			} else {
				out = append(out, v1.EndpointSubset{NotReadyAddresses: []v1.EndpointAddress{addr}, Ports: ports})
			}
		}
		if len(svc.Spec.Ports) == 0 && svc.Spec.ClusterIP == v1.ClusterIPNone {
			add(nil)
		}
		for i := range svc.Spec.Ports {
			sp := &svc.Spec.Ports[i]
			if n, err := endpointslice.FindPort(p, sp); err == nil {
				add([]v1.EndpointPort{{Name: sp.Name, Port: int32(n), Protocol: sp.Protocol, AppProtocol: sp.AppProtocol}})
			}
		}
	}
	return endpointsv1.RepackSubsets(out), ready
}
