package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/drydock-labs/drydock/orchestrator/controllers/nodelifecycle"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Architecture is what nodes report and label themselves with, and what images are chosen by.
const Architecture = "wasm"

// OSImage is what nodes report as their operating system.
const OSImage = "Drydock lab (WebAssembly)"

// NodeSpec describes a node. Zero values are a lab's: 2 CPU, 256 MiB, 110 pods.
type NodeSpec struct {
	Name   string
	CPU    resource.Quantity
	Memory resource.Quantity
	Pods   int64
	Labels map[string]string
	Taints []v1.Taint
	// IP is the node's address; default 172.18.0.0/16's next after .1.
	IP netip.Addr
	// KernelVersion is what uname says on the node; default "6.12.0-drydock".
	KernelVersion string
	Runtime       kubelet.Runtime
}

// ControlPlaneNode gives a spec the label and the taint of a control-plane node.
func ControlPlaneNode(n NodeSpec) NodeSpec {
	labels := map[string]string{"node-role.kubernetes.io/control-plane": "", "node.kubernetes.io/exclude-from-external-load-balancers": ""}
	for k, v := range n.Labels {
		labels[k] = v
	}
	n.Labels = labels
	n.Taints = append(slices.Clone(n.Taints), v1.Taint{Key: "node-role.kubernetes.io/control-plane", Effect: v1.TaintEffectNoSchedule})
	return n
}

// Kubelet returns the agent of a node that has power.
func (cp *ControlPlane) Kubelet(node string) (*kubelet.Kubelet, bool) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	k, ok := cp.kubelets[node]
	return k, ok && k.On()
}

func (cp *ControlPlane) powered(node string) bool {
	k := cp.kubelets[node]
	return k != nil && k.On()
}

func (cp *ControlPlane) nodeNames() []string {
	names := make([]string, 0, len(cp.kubelets))
	for name := range cp.kubelets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// AddNode registers a node and switches it on.
func (cp *ControlPlane) AddNode(n NodeSpec) error {
	return cp.call(func(t loop.Trigger) error { return cp.addNode(t, n) })
}

func (cp *ControlPlane) addNode(t loop.Trigger, n NodeSpec) error {
	if n.Name == "" || n.Runtime == nil {
		return fmt.Errorf("node %q: a name and a runtime are needed", n.Name)
	}
	if _, ok := cp.kubelets[n.Name]; ok {
		return fmt.Errorf("node %q exists", n.Name)
	}
	node, err := cp.complete(n)
	if err != nil {
		return err
	}
	k := kubelet.New(kubelet.Config{
		Node: node, Component: cp.component("kubelet", "system:node:"+n.Name, "system:nodes"), Events: cp.recorder, Runtime: n.Runtime,
		Beats: cp.cfg.Store, ClusterDNS: cp.cfg.ClusterDNS, ClusterDomain: cp.cfg.ClusterDomain,
	})
	cp.mu.Lock()
	cp.kubelets[n.Name] = k
	cp.mu.Unlock()
	cp.addrs.Store(node.IP, n.Name)
	cp.addrs.Store(node.PodCIDR, n.Name)
	if err := k.PowerOn(t); err != nil {
		cp.drop(n.Name)
		return err
	}
	return nil
}

func (cp *ControlPlane) drop(name string) {
	cp.mu.Lock()
	delete(cp.kubelets, name)
	cp.mu.Unlock()
	cp.addrs.Range(func(k, v any) bool {
		if v == name {
			cp.addrs.Delete(k)
		}
		return true
	})
	for i, n := range cp.cidrs {
		if n == name {
			delete(cp.cidrs, i)
		}
	}
}

// complete fills in what a spec leaves open and gives the node its part of the pod network: that which a node of the name already has,
// or the first free one.
func (cp *ControlPlane) complete(n NodeSpec) (kubelet.Node, error) {
	part, err := cp.partFor(n.Name)
	if err != nil {
		return kubelet.Node{}, err
	}
	base := cp.cfg.PodCIDR.Addr().As4()
	base[2] = part
	node := kubelet.Node{
		Name: n.Name, CPU: n.CPU, Memory: n.Memory, Pods: n.Pods, Labels: n.Labels, Taints: n.Taints, IP: n.IP,
		PodCIDR: netip.PrefixFrom(netip.AddrFrom4(base), 24), Version: cp.cfg.Version, Product: cp.cfg.Product,
		OSImage: OSImage, Arch: Architecture, KernelID: n.KernelVersion,
	}
	if node.CPU.IsZero() {
		node.CPU = resource.MustParse("2")
	}
	if node.Memory.IsZero() {
		node.Memory = resource.MustParse("256Mi")
	}
	if node.Pods == 0 {
		node.Pods = 110
	}
	if !node.IP.IsValid() {
		node.IP = netip.AddrFrom4([4]byte{172, 18, 0, 2 + part})
		if part > 253 {
			node.IP = netip.AddrFrom4([4]byte{172, 18, 1, part - 253})
		}
	}
	if node.KernelID == "" {
		node.KernelID = "6.12.0-drydock"
	}
	sum := sha256.Sum256([]byte(cp.cfg.Store.ID() + "/" + n.Name))
	node.MachID = hex.EncodeToString(sum[:16])
	return node, nil
}

func (cp *ControlPlane) partFor(name string) (byte, error) {
	if old, ok := informer.Get[*v1.Node](cp.cfg.Reader, informer.Nodes, "", name); ok {
		if p, err := netip.ParsePrefix(old.Spec.PodCIDR); err == nil && p.Addr().Is4() && cp.cfg.PodCIDR.Contains(p.Addr()) {
			part := p.Addr().As4()[2]
			cp.cidrs[part] = name
			return part, nil
		}
	}
	for i := 0; i < 256; i++ {
		if _, used := cp.cidrs[byte(i)]; !used {
			cp.cidrs[byte(i)] = name
			return byte(i), nil
		}
	}
	return 0, fmt.Errorf("node %q: no part of the pod network %s is left", name, cp.cfg.PodCIDR)
}

// RemoveNode switches a node off and deletes its object.
func (cp *ControlPlane) RemoveNode(name string) error {
	return cp.call(func(t loop.Trigger) error {
		k, ok := cp.kubelets[name]
		if !ok {
			return fmt.Errorf("there is no node %q", name)
		}
		k.PowerOff(t)
		cp.drop(name)
		ctx := store.WithCause(context.Background(), store.Cause{Kind: store.CauseFault, Component: "node", Detail: "removed node=" + name, Step: t.Step})
		return informer.Retry(cp.controller("node", nodelifecycle.Identity).Client.Delete(ctx, informer.Nodes, "", name, nil))
	})
}

// PowerOff takes a node's power: its agent falls silent and the cluster finds out only as a real one would. Ending the machine's
// processes is its owner's part.
func (cp *ControlPlane) PowerOff(name string) error {
	return cp.call(func(t loop.Trigger) error {
		k, ok := cp.kubelets[name]
		if !ok {
			return fmt.Errorf("there is no node %q", name)
		}
		k.PowerOff(t)
		cp.parts.nodes.Suspect(name, cp.cfg.Store.Rev())
		return nil
	})
}

// PowerOn gives a node its power back: its agent starts and takes up the pods bound to it.
func (cp *ControlPlane) PowerOn(name string) error {
	return cp.call(func(t loop.Trigger) error {
		k, ok := cp.kubelets[name]
		if !ok {
			return fmt.Errorf("there is no node %q", name)
		}
		return k.PowerOn(t)
	})
}
