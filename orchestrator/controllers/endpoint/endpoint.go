// Package endpoint tells which pods stand behind each Service: as EndpointSlices, which Service routing and DNS follow, and as the
// older Endpoints objects.
//
// It follows upstream's k8s.io/endpointslice and pkg/controller/endpoint and uses their exported rules; their own reconcilers write
// through a clientset and in random order. Slices keep their endpoints while they can, so that few of them change.
package endpoint

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/endpointslice"
	sliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user that writes EndpointSlices, EndpointsIdentity the one that writes Endpoints.
const (
	Identity          = "system:serviceaccount:kube-system:endpointslice-controller"
	EndpointsIdentity = "system:serviceaccount:kube-system:endpoint-controller"
)

const (
	sliceManager = "endpointslice-controller.k8s.io"
	// maxPerSlice is upstream's default --max-endpoints-per-slice.
	maxPerSlice = 100
)

var logger = klog.Background()

// Controller keeps both kinds of one cluster.
type Controller struct {
	*informer.Component                     // writes slices
	endpoints           *informer.Component // writes Endpoints
	queue               *loop.Queue[informer.Key]
}

// New makes the controller over the two identities.
func New(slices, endpoints *informer.Component) *Controller {
	e := &Controller{Component: slices, endpoints: endpoints}
	e.queue = loop.NewQueue(slices.Loop, "endpoints", e.reconcile, nil)
	return e
}

// Handle enqueues the Services that a change concerns.
func (e *Controller) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.Services:
		e.queue.Add(c.Key(), c.Rev)
	case informer.Pods:
		old, new := informer.As[v1.Pod](c)
		if old == nil || new == nil || differs(old, new) {
			e.enqueueSelecting(old, new, c)
		}
	case informer.EndpointSlices:
		// Somebody else changed or removed what is ours.
		if s, ok := c.Last().(*discovery.EndpointSlice); ok && s.Labels[discovery.LabelManagedBy] == sliceManager && c.Cause.Component != e.Name {
			e.queue.Add(informer.KeyOf(s.Namespace, s.Labels[discovery.LabelServiceName]), c.Rev)
		}
	case informer.Endpoints:
		if c.New == nil && c.Cause.Component != e.endpoints.Name {
			e.queue.Add(c.Key(), c.Rev)
		}
	}
}

// differs tells whether a pod's update can show in its endpoint.
func differs(a, b *v1.Pod) bool {
	return a.Status.PodIP != b.Status.PodIP || sliceutil.IsPodReady(a) != sliceutil.IsPodReady(b) ||
		(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) || a.Spec.NodeName != b.Spec.NodeName ||
		(a.Status.Phase == v1.PodFailed || a.Status.Phase == v1.PodSucceeded) != (b.Status.Phase == v1.PodFailed || b.Status.Phase == v1.PodSucceeded) ||
		!equality.Semantic.DeepEqual(a.Labels, b.Labels)
}

func (e *Controller) enqueueSelecting(old, new *v1.Pod, c *informer.Change) {
	for _, s := range informer.List[*v1.Service](e.Reader, informer.Services, c.Namespace) {
		if len(s.Spec.Selector) == 0 || s.Spec.Type == v1.ServiceTypeExternalName {
			continue
		}
		sel := labels.SelectorFromSet(s.Spec.Selector)
		if old != nil && sel.Matches(labels.Set(old.Labels)) || new != nil && sel.Matches(labels.Set(new.Labels)) {
			e.queue.Add(informer.KeyOf(s.Namespace, s.Name), c.Rev)
		}
	}
}

func (e *Controller) reconcile(t loop.Trigger, k informer.Key) error {
	svc, ok := informer.Get[*v1.Service](e.Reader, informer.Services, k.Namespace, k.Name)
	if !ok {
		return e.removed(t, k)
	}
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == v1.ServiceTypeExternalName || svc.DeletionTimestamp != nil {
		return nil // whoever made it keeps its endpoints
	}
	var pods []*v1.Pod
	for _, o := range e.Reader.List(informer.Pods, k.Namespace, labels.SelectorFromSet(svc.Spec.Selector)) {
		pods = append(pods, o.(*v1.Pod))
	}
	if err := e.syncSlices(t, svc, pods); err != nil {
		return informer.Retry(err)
	}
	return informer.Retry(e.syncEndpoints(t, svc, pods))
}

// removed deletes the Endpoints of a Service that is gone. Its slices are owned by it and collected.
func (e *Controller) removed(t loop.Trigger, k informer.Key) error {
	e.queue.Forget(k)
	if old, ok := informer.Get[*v1.Endpoints](e.Reader, informer.Endpoints, k.Namespace, k.Name); !ok || old.Labels[managedBy] == "" {
		return nil
	}
	return informer.Retry(e.endpoints.Client.Delete(e.endpoints.Context(t, "service-gone"), informer.Endpoints, k.Namespace, k.Name, nil))
}

// group is the endpoints that share one list of ports.
type group struct {
	ports     []discovery.EndpointPort
	endpoints map[string]discovery.Endpoint // by the pod's uid
	order     []string
}

// groups sorts the pods of a Service by the ports they offer.
func (e *Controller) groups(svc *v1.Service, pods []*v1.Pod) ([]*group, map[sliceutil.PortMapKey]*group) {
	byPorts := map[sliceutil.PortMapKey]*group{}
	var list []*group
	for _, p := range pods {
		if !sliceutil.ShouldPodBeInEndpoints(p, true) || p.Status.PodIP == "" {
			continue
		}
		ports := portsOf(svc, p)
		key := sliceutil.NewPortMapKey(ports)
		g := byPorts[key]
		if g == nil {
			g = &group{ports: ports, endpoints: map[string]discovery.Endpoint{}}
			byPorts[key] = g
			list = append(list, g)
		}
		g.endpoints[string(p.UID)] = e.endpoint(svc, p)
		g.order = append(g.order, string(p.UID))
	}
	return list, byPorts
}

func portsOf(svc *v1.Service, p *v1.Pod) []discovery.EndpointPort {
	ports := []discovery.EndpointPort{}
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		n, err := endpointslice.FindPort(p, sp)
		if err != nil {
			continue // the pod has no port of that name
		}
		number, name, proto := int32(n), sp.Name, sp.Protocol
		ports = append(ports, discovery.EndpointPort{Name: &name, Port: &number, Protocol: &proto, AppProtocol: sp.AppProtocol})
	}
	return ports
}

// endpoint follows KEP-1672: a terminating pod is never ready, but may serve.
func (e *Controller) endpoint(svc *v1.Service, p *v1.Pod) discovery.Endpoint {
	serving, terminating := sliceutil.IsPodReady(p), p.DeletionTimestamp != nil
	ready := svc.Spec.PublishNotReadyAddresses || serving && !terminating
	node := p.Spec.NodeName
	ep := discovery.Endpoint{
		Addresses:  []string{p.Status.PodIP},
		Conditions: discovery.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &v1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		NodeName:   &node,
	}
	if n, ok := informer.Get[*v1.Node](e.Reader, informer.Nodes, "", node); ok && n.Labels[v1.LabelTopologyZone] != "" {
		zone := n.Labels[v1.LabelTopologyZone]
		ep.Zone = &zone
	}
	if sliceutil.ShouldSetHostname(p, svc) {
		host := p.Spec.Hostname
		ep.Hostname = &host
	}
	return ep
}

func sliceLabels(svc *v1.Service) map[string]string {
	out := map[string]string{}
	for k, v := range svc.Labels {
		if k != v1.IsHeadlessService && k != discovery.LabelServiceName && k != discovery.LabelManagedBy {
			out[k] = v
		}
	}
	if svc.Spec.ClusterIP == v1.ClusterIPNone {
		out[v1.IsHeadlessService] = ""
	}
	out[discovery.LabelServiceName], out[discovery.LabelManagedBy] = svc.Name, sliceManager
	return out
}

// syncSlices keeps endpoints in the slice they are in, fills free places in order, and makes and deletes slices as needed.
func (e *Controller) syncSlices(t loop.Trigger, svc *v1.Service, pods []*v1.Pod) error {
	list, byPorts := e.groups(svc, pods)
	existing := e.slicesOf(svc)
	byGroup := map[*group][]*discovery.EndpointSlice{}
	var spare []*discovery.EndpointSlice
	for _, s := range existing {
		if g := byPorts[sliceutil.NewPortMapKey(s.Ports)]; g != nil && s.AddressType == discovery.AddressTypeIPv4 {
			byGroup[g] = append(byGroup[g], s)
		} else {
			spare = append(spare, s)
		}
	}
	kept := 0
	for _, g := range list {
		n, err := e.syncGroup(t, svc, g, byGroup[g], &spare)
		if err != nil {
			return err
		}
		kept += n
	}
	if kept == 0 { // a Service without endpoints keeps one slice that says so
		empty := &group{}
		if len(spare) == 0 {
			return e.createSlice(t, svc, empty, nil)
		}
		keep := spare[0]
		spare = spare[1:]
		if err := e.updateSlice(t, svc, keep, nil, nil); err != nil {
			return err
		}
	}
	for _, s := range spare {
		if err := informer.Retry(e.Client.Delete(e.Context(t, "endpoints service=%s ready=0", svc.Name), informer.EndpointSlices, s.Namespace, s.Name, nil)); err != nil {
			return err
		}
	}
	return nil
}

func (e *Controller) slicesOf(svc *v1.Service) []*discovery.EndpointSlice {
	sel := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: svc.Name, discovery.LabelManagedBy: sliceManager})
	var out []*discovery.EndpointSlice
	for _, o := range e.Reader.List(informer.EndpointSlices, svc.Namespace, sel) {
		s := o.(*discovery.EndpointSlice)
		if ref := metav1.GetControllerOfNoCopy(s); s.DeletionTimestamp == nil && ref != nil && ref.UID == svc.UID {
			out = append(out, s)
		}
	}
	return out
}

// syncGroup writes the slices of one group and returns how many it has. Emptied ones go to spare; spare ones are used before new.
func (e *Controller) syncGroup(t loop.Trigger, svc *v1.Service, g *group, have []*discovery.EndpointSlice, spare *[]*discovery.EndpointSlice) (kept int, err error) {
	content := make([][]discovery.Endpoint, len(have))
	placed := map[string]bool{}
	for i, s := range have {
		for _, ep := range s.Endpoints {
			uid := targetUID(&ep)
			if now, ok := g.endpoints[uid]; ok && !placed[uid] {
				placed[uid] = true
				content[i] = append(content[i], now)
			}
		}
	}
	var rest []discovery.Endpoint
	for _, uid := range g.order {
		if !placed[uid] {
			rest = append(rest, g.endpoints[uid])
		}
	}
	for i, s := range have {
		n := min(len(rest), maxPerSlice-len(content[i]))
		content[i], rest = append(content[i], rest[:n]...), rest[n:]
		if len(content[i]) == 0 {
			*spare = append(*spare, s)
			continue
		}
		kept++
		if err := e.updateSlice(t, svc, s, g.ports, content[i]); err != nil {
			return kept, err
		}
	}
	for len(rest) > 0 {
		n := min(len(rest), maxPerSlice)
		if len(*spare) > 0 {
			s := (*spare)[0]
			*spare = (*spare)[1:]
			err = e.updateSlice(t, svc, s, g.ports, rest[:n])
		} else {
			err = e.createSlice(t, svc, g, rest[:n])
		}
		if err != nil {
			return kept, err
		}
		rest = rest[n:]
		kept++
	}
	return kept, nil
}

func targetUID(ep *discovery.Endpoint) string {
	if ep.TargetRef == nil {
		return ""
	}
	return string(ep.TargetRef.UID)
}

// detail counts the endpoints for the cause.
func detail(svc *v1.Service, eps []discovery.Endpoint) (string, string, int, int) {
	ready := 0
	for i := range eps {
		if r := eps[i].Conditions.Ready; r != nil && *r {
			ready++
		}
	}
	return "endpoints service=%s ready=%d of=%d", svc.Name, ready, len(eps)
}

func (e *Controller) createSlice(t loop.Trigger, svc *v1.Service, g *group, eps []discovery.Endpoint) error {
	s := &discovery.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: slicePrefix(svc.Name), Namespace: svc.Namespace, Labels: sliceLabels(svc),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, v1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: discovery.AddressTypeIPv4, Ports: g.ports, Endpoints: eps,
	}
	format, name, ready, of := detail(svc, eps)
	_, err := e.Client.Create(e.Context(t, format, name, ready, of), informer.EndpointSlices, svc.Namespace, s)
	if apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

// slicePrefix is upstream's: the Service's name and a dash, cut so that a suffix fits.
func slicePrefix(name string) string {
	const most = 63 - 5
	if len(name)+1 > most {
		return strings.TrimRight(name[:most], "-.")
	}
	return name + "-"
}

func (e *Controller) updateSlice(t loop.Trigger, svc *v1.Service, s *discovery.EndpointSlice, ports []discovery.EndpointPort, eps []discovery.Endpoint) error {
	want := sliceLabels(svc)
	samePorts := equality.Semantic.DeepEqual(s.Ports, ports) || len(s.Ports) == 0 && len(ports) == 0
	if samePorts && equality.Semantic.DeepEqual(s.Labels, want) && slices.EqualFunc(s.Endpoints, eps, func(a, b discovery.Endpoint) bool {
		return equality.Semantic.DeepEqual(a, b)
	}) {
		return nil
	}
	next := s.DeepCopy()
	next.Labels, next.Ports, next.Endpoints = want, ports, eps
	format, name, ready, of := detail(svc, eps)
	_, err := e.Client.Update(e.Context(t, format, name, ready, of), informer.EndpointSlices, s.Namespace, next)
	return err
}
