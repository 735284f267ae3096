// Package nodelifecycle watches over nodes: it marks those whose kubelet fell silent, keeps the taints that follow from a node's
// conditions, and evicts pods that do not tolerate them for longer.
//
// It follows upstream's pkg/controller/nodelifecycle and tainteviction. A healthy node costs nothing: its Lease is renewed without
// revisions, and a timer is armed only for a node whose renewals have ended.
package nodelifecycle

import (
	"slices"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/events"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:node-controller"

// GracePeriod is how long a kubelet may be silent before its node is marked.
const GracePeriod = 40 * time.Second

// Controller watches over the nodes of one cluster.
type Controller struct {
	*informer.Component
	events *events.Source
	nodes  *loop.Queue[string]
	pods   *loop.Queue[informer.Key]
	marked map[informer.Key]time.Time // since when pods wait for their toleration to end
	alive  func(node string) bool
}

// New makes the controller. alive tells whether a node's Lease is being renewed; it decides only whether a timer is needed.
func New(c *informer.Component, rec *events.Recorder, alive func(node string) bool) *Controller {
	n := &Controller{Component: c, events: rec.For(c, "node-controller", ""), alive: alive, marked: map[informer.Key]time.Time{}}
	n.nodes = loop.NewQueue(c.Loop, "nodelifecycle", n.reconcile, nil)
	n.pods = loop.NewQueue(c.Loop, "tainteviction", n.evict, nil)
	return n
}

// Handle enqueues changed nodes, and pods whose eviction may have to be considered.
func (n *Controller) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.Nodes:
		old, new := informer.As[v1.Node](c)
		if new == nil {
			n.nodes.Forget(old.Name)
			return
		}
		n.nodes.Add(new.Name, c.Rev)
		if old != nil && !equality.Semantic.DeepEqual(old.Spec.Taints, new.Spec.Taints) {
			for _, p := range n.Pods.OnNode(new.Name) {
				n.pods.Add(informer.KeyOf(p.Namespace, p.Name), c.Rev)
			}
		}
	case informer.Pods:
		old, new := informer.As[v1.Pod](c)
		if new == nil {
			n.forget(c.Key())
			return
		}
		bound := new.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "")
		if bound || old != nil && old.Generation != new.Generation {
			if node, ok := n.node(new.Spec.NodeName); ok && hasNoExecute(node) {
				n.pods.Add(c.Key(), c.Rev)
			}
		}
	}
}

// Suspect has a node looked at: its heartbeats have ended or begun again.
func (n *Controller) Suspect(node string, rev int64) { n.nodes.Add(node, rev) }

func (n *Controller) node(name string) (*v1.Node, bool) {
	return informer.Get[*v1.Node](n.Reader, informer.Nodes, "", name)
}

// heartbeat is when the node's kubelet was last heard of.
func (n *Controller) heartbeat(node *v1.Node) time.Time {
	last := node.CreationTimestamp.Time
	if c := readyCondition(node); c != nil && c.Status != v1.ConditionUnknown && c.LastHeartbeatTime.After(last) {
		last = c.LastHeartbeatTime.Time
	}
	if l, ok := informer.Get[*coordv1.Lease](n.Reader, informer.Leases, v1.NamespaceNodeLease, node.Name); ok && l.Spec.RenewTime != nil && l.Spec.RenewTime.After(last) {
		last = l.Spec.RenewTime.Time
	}
	return last
}

func readyCondition(node *v1.Node) *v1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == v1.NodeReady {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

func (n *Controller) reconcile(t loop.Trigger, name string) error {
	node, ok := n.node(name)
	if !ok {
		n.nodes.Forget(name)
		return nil
	}
	if !n.alive(name) {
		silent := n.Loop.Now().Sub(n.heartbeat(node))
		if silent < GracePeriod {
			n.nodes.AddAfter(name, GracePeriod-silent, t.Parent)
		} else if changed, err := n.markUnknown(t, node, silent); err != nil || changed {
			return informer.Retry(err) // the commit brings the node back here, for the taints
		}
	}
	return informer.Retry(n.taint(t, node))
}

// markUnknown says of each condition that nothing is known, and of the node's pods that they are not ready.
func (n *Controller) markUnknown(t loop.Trigger, node *v1.Node, silent time.Duration) (changed bool, err error) {
	next := node.DeepCopy()
	now := metav1.NewTime(n.Loop.Now().Truncate(time.Second))
	for i := range next.Status.Conditions {
		c := &next.Status.Conditions[i]
		if c.Status == v1.ConditionUnknown {
			continue
		}
		switch c.Type {
		case v1.NodeReady, v1.NodeMemoryPressure, v1.NodeDiskPressure, v1.NodePIDPressure:
			c.Status, c.Reason, c.Message = v1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = now
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	ctx := n.Context(t, "node-silent node=%s seconds=%d", node.Name, int(silent.Seconds()))
	if _, err := n.Client.UpdateStatus(ctx, informer.Nodes, "", next); err != nil {
		return true, err
	}
	n.events.Normal(ctx, node, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	for _, p := range n.Pods.OnNode(node.Name) {
		if err := n.markPod(t, p); err != nil {
			return true, err
		}
	}
	return true, nil
}

func (n *Controller) markPod(t loop.Trigger, p *v1.Pod) error {
	if podutil.IsPodTerminal(p) || !podutil.IsPodReady(p) {
		return nil
	}
	next := p.DeepCopy()
	_, c := podutil.GetPodCondition(&next.Status, v1.PodReady)
	c.Status, c.LastTransitionTime = v1.ConditionFalse, metav1.NewTime(n.Loop.Now().Truncate(time.Second))
	ctx := n.Context(t, "node-silent pod=%s", p.Name)
	if _, err := n.Client.UpdateStatus(ctx, informer.Pods, p.Namespace, next); err != nil {
		return informer.Retry(err)
	}
	n.events.Warning(ctx, p, "NodeNotReady", "Node is not ready")
	return nil
}

// conditionTaints are the NoSchedule taints that a node's conditions ask for, in upstream's order of keys.
var conditionTaints = []struct {
	condition v1.NodeConditionType
	status    v1.ConditionStatus
	key       string
}{
	{v1.NodeReady, v1.ConditionFalse, v1.TaintNodeNotReady},
	{v1.NodeReady, v1.ConditionUnknown, v1.TaintNodeUnreachable},
	{v1.NodeMemoryPressure, v1.ConditionTrue, v1.TaintNodeMemoryPressure},
	{v1.NodeDiskPressure, v1.ConditionTrue, v1.TaintNodeDiskPressure},
	{v1.NodeNetworkUnavailable, v1.ConditionTrue, v1.TaintNodeNetworkUnavailable},
	{v1.NodePIDPressure, v1.ConditionTrue, v1.TaintNodePIDPressure},
}

// taint brings the node's taints to what its conditions and spec.unschedulable ask for.
func (n *Controller) taint(t loop.Trigger, node *v1.Node) error {
	wanted := map[v1.Taint]bool{} // by key and effect
	mine := func(key string, effect v1.TaintEffect, want bool) {
		k := v1.Taint{Key: key, Effect: effect}
		wanted[k] = wanted[k] || want
	}
	mine(v1.TaintNodeUnschedulable, v1.TaintEffectNoSchedule, node.Spec.Unschedulable)
	for _, ct := range conditionTaints {
		is := false
		for _, c := range node.Status.Conditions {
			is = is || c.Type == ct.condition && c.Status == ct.status
		}
		mine(ct.key, v1.TaintEffectNoSchedule, is)
		if ct.condition == v1.NodeReady {
			mine(ct.key, v1.TaintEffectNoExecute, is)
		}
	}
	var taints []v1.Taint
	for _, have := range node.Spec.Taints {
		k := v1.Taint{Key: have.Key, Effect: have.Effect}
		if want, owned := wanted[k]; owned && !want {
			continue
		}
		delete(wanted, k)
		taints = append(taints, have)
	}
	var add []v1.Taint
	for k, want := range wanted {
		if want {
			now := metav1.NewTime(n.Loop.Now().Truncate(time.Second))
			add = append(add, v1.Taint{Key: k.Key, Effect: k.Effect, TimeAdded: &now})
		}
	}
	slices.SortFunc(add, func(a, b v1.Taint) int {
		return -2*compare(string(a.Effect), string(b.Effect)) + compare(a.Key, b.Key) // NoSchedule before NoExecute
	})
	if len(add) == 0 && len(taints) == len(node.Spec.Taints) {
		return nil
	}
	next := node.DeepCopy()
	next.Spec.Taints = append(taints, add...)
	_, err := n.Client.Update(n.Context(t, "taints node=%s had=%d has=%d", node.Name, len(node.Spec.Taints), len(next.Spec.Taints)), informer.Nodes, "", next)
	return err
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
