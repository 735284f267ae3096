package kubelet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Node describes a machine.
type Node struct {
	Name     string
	CPU      resource.Quantity
	Memory   resource.Quantity
	Pods     int64
	Labels   map[string]string
	Taints   []v1.Taint
	IP       netip.Addr
	PodCIDR  netip.Prefix
	Version  string // of Kubernetes, as "v1.37.2+drydock"
	Product  string // of Drydock, as "0.1.0"
	MachID   string // machine id, boot id's base
	OSImage  string
	Arch     string
	KernelID string
}

// Heartbeats are derived at read as long as a node is healthy: store.Cluster implements it.
type Heartbeats interface {
	Beat(gr informer.GroupResource, ns, name string, b store.Beat) error
	StopBeat(ctx context.Context, gr informer.GroupResource, ns, name string) error
}

// The kubelet's default periods: of the Lease's renewal, of the node status' report without change, and the Lease's duration.
const (
	leasePeriod   = 10 * time.Second
	statusPeriod  = 5 * time.Minute
	leaseDuration = 40
)

// PowerOn starts the kubelet: it registers the node or reports it ready again, renews its Lease, and cares for the pods bound to it.
func (k *Kubelet) PowerOn(t loop.Trigger) error {
	if k.on.Load() {
		return nil
	}
	k.on.Store(true)
	k.boot++
	k.ips = addresses{prefix: k.cfg.Node.PodCIDR}
	if err := k.register(t); err != nil {
		k.on.Store(false)
		return fmt.Errorf("register node %s: %w", k.cfg.Node.Name, err)
	}
	if err := k.lease(t); err != nil {
		k.on.Store(false)
		return fmt.Errorf("lease of node %s: %w", k.cfg.Node.Name, err)
	}
	for _, p := range k.Pods.OnNode(k.cfg.Node.Name) {
		w := k.adopt(p, t.Parent)
		w.restore(p, k.Loop.Now())
	}
	return nil
}

// PowerOff is the loss of power: the kubelet forgets everything and says nothing to anybody. The machine's processes are its
// owner's to end.
func (k *Kubelet) PowerOff(t loop.Trigger) {
	if !k.on.Load() {
		return
	}
	k.on.Store(false)
	k.boot++
	for _, w := range k.pods {
		if w.cancel != nil {
			w.cancel()
		}
		w.stopProbes()
		k.steps.Forget(w.uid)
		k.status.Forget(w.uid)
	}
	k.mu.Lock()
	k.pods = map[types.UID]*worker{}
	k.by = map[informer.Key]types.UID{}
	k.mu.Unlock()
	ctx := store.WithCause(context.Background(), store.Cause{Kind: store.CauseFault, Component: "node", Detail: "powered-off node=" + k.cfg.Node.Name, Parent: t.Parent, Step: t.Step})
	// The last heartbeats that were sent become real; an error means that the node's objects are gone.
	_ = k.cfg.Beats.StopBeat(ctx, informer.Leases, v1.NamespaceNodeLease, k.cfg.Node.Name)
	_ = k.cfg.Beats.StopBeat(ctx, informer.Nodes, "", k.cfg.Node.Name)
}

func (k *Kubelet) register(t loop.Trigger) error {
	ctx := k.Context(t, "registered node=%s", k.cfg.Node.Name)
	now := k.Loop.Now()
	old, exists := informer.Get[*v1.Node](k.Reader, informer.Nodes, "", k.cfg.Node.Name)
	if !exists {
		n := k.node()
		if _, err := k.Client.Create(ctx, informer.Nodes, "", n); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	} else {
		n := old.DeepCopy()
		n.Status = k.nodeStatus(n.Status)
		ctx = k.Context(t, "ready node=%s", k.cfg.Node.Name)
		n, err := updated[*v1.Node](k.Client.UpdateStatus(ctx, informer.Nodes, "", n))
		if err != nil {
			return err
		}
		if n.Status.NodeInfo.BootID != old.Status.NodeInfo.BootID {
			k.events.Warning(ctx, n, "Rebooted", "Node %s has been rebooted, boot id: %s", n.Name, n.Status.NodeInfo.BootID)
		}
		if !nodeReady(old) {
			k.events.Normal(ctx, n, "NodeReady", "Node %s status is now: NodeReady", n.Name)
		}
	}
	return k.cfg.Beats.Beat(informer.Nodes, "", k.cfg.Node.Name, store.Beat{Start: now, Period: statusPeriod})
}

func nodeReady(n *v1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c v1.NodeCondition) bool { return c.Type == v1.NodeReady && c.Status == v1.ConditionTrue })
}

func updated[P any](obj any, err error) (P, error) {
	p, _ := obj.(P)
	return p, err
}

// node is the object that a kubelet registers.
func (k *Kubelet) node() *v1.Node {
	n := k.cfg.Node
	labels := map[string]string{
		v1.LabelHostname: n.Name, v1.LabelOSStable: "linux", v1.LabelArchStable: n.Arch,
		"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": n.Arch,
	}
	for name, value := range n.Labels {
		labels[name] = value
	}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: labels},
		Spec:       v1.NodeSpec{PodCIDR: n.PodCIDR.String(), PodCIDRs: []string{n.PodCIDR.String()}, Taints: n.Taints, ProviderID: "drydock://" + n.Name},
		Status:     k.nodeStatus(v1.NodeStatus{}),
	}
}

func (k *Kubelet) nodeStatus(old v1.NodeStatus) v1.NodeStatus {
	n := k.cfg.Node
	capacity := v1.ResourceList{
		v1.ResourceCPU: n.CPU, v1.ResourceMemory: n.Memory, v1.ResourcePods: *resource.NewQuantity(n.Pods, resource.DecimalSI),
	}
	return v1.NodeStatus{
		Capacity: capacity, Allocatable: capacity.DeepCopy(), Conditions: k.conditions(old.Conditions),
		Addresses:       []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: n.IP.String()}, {Type: v1.NodeHostName, Address: n.Name}},
		DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: 10250}},
		NodeInfo: v1.NodeSystemInfo{
			MachineID: n.MachID, SystemUUID: n.MachID, BootID: fmt.Sprintf("%s-%d", n.MachID, k.boot), KernelVersion: n.KernelID, OSImage: n.OSImage,
			ContainerRuntimeVersion: "drydock://" + n.Product, KubeletVersion: n.Version, OperatingSystem: "linux", Architecture: n.Arch,
		},
	}
}

func (k *Kubelet) conditions(old []v1.NodeCondition) []v1.NodeCondition {
	now := metav1.NewTime(k.Loop.Now().Truncate(time.Second))
	conds := []v1.NodeCondition{
		{Type: v1.NodeMemoryPressure, Status: v1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: v1.NodeDiskPressure, Status: v1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: v1.NodePIDPressure, Status: v1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		{Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
	}
	for i := range conds {
		conds[i].LastHeartbeatTime, conds[i].LastTransitionTime = now, now
		for _, o := range old {
			if o.Type == conds[i].Type && o.Status == conds[i].Status {
				conds[i].LastTransitionTime = o.LastTransitionTime
			}
		}
	}
	return conds
}

// lease makes or renews the node's Lease and has it renewed from then on.
func (k *Kubelet) lease(t loop.Trigger) error {
	name := k.cfg.Node.Name
	node, ok := informer.Get[*v1.Node](k.Reader, informer.Nodes, "", name)
	if !ok {
		return apierrors.NewNotFound(informer.Nodes, name)
	}
	now := k.Loop.Now()
	renewed := metav1.NewMicroTime(now)
	ctx := k.Context(t, "lease node=%s", name)
	if old, ok := informer.Get[*coordv1.Lease](k.Reader, informer.Leases, v1.NamespaceNodeLease, name); ok {
		l := old.DeepCopy()
		l.Spec.RenewTime = &renewed
		if _, err := k.Client.Update(ctx, informer.Leases, l.Namespace, l); err != nil {
			return err
		}
	} else {
		seconds := int32(leaseDuration)
		l := &coordv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: v1.NamespaceNodeLease, OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Node", Name: name, UID: node.UID},
			}},
			Spec: coordv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
		}
		if _, err := k.Client.Create(ctx, informer.Leases, l.Namespace, l); err != nil {
			return err
		}
	}
	return k.cfg.Beats.Beat(informer.Leases, v1.NamespaceNodeLease, name, store.Beat{Start: now, Period: leasePeriod})
}
