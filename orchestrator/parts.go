package orchestrator

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/drydock-labs/drydock/orchestrator/controllers/clusterrole"
	"github.com/drydock-labs/drydock/orchestrator/controllers/deployment"
	"github.com/drydock-labs/drydock/orchestrator/controllers/endpoint"
	"github.com/drydock-labs/drydock/orchestrator/controllers/garbage"
	"github.com/drydock-labs/drydock/orchestrator/controllers/namespace"
	"github.com/drydock-labs/drydock/orchestrator/controllers/nodelifecycle"
	"github.com/drydock-labs/drydock/orchestrator/controllers/podgc"
	"github.com/drydock-labs/drydock/orchestrator/controllers/quota"
	"github.com/drydock-labs/drydock/orchestrator/controllers/replicaset"
	"github.com/drydock-labs/drydock/orchestrator/controllers/rootca"
	"github.com/drydock-labs/drydock/orchestrator/controllers/serviceaccount"
	"github.com/drydock-labs/drydock/orchestrator/dns"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/proxy"
	"github.com/drydock-labs/drydock/orchestrator/scheduler"
)

// parts are the components that the control plane itself speaks to.
type parts struct {
	nodes *nodelifecycle.Controller
	proxy *proxy.Table
	dns   *dns.Server
}

// component makes the identity of a part. Service accounts of kube-system are in the groups that authentication would give them.
func (cp *ControlPlane) component(name, user string, groups ...string) *informer.Component {
	return &informer.Component{Name: name, Loop: cp.loop, Reader: cp.cfg.Reader, Pods: cp.index, Client: cp.cfg.Client(user, groups...)}
}

func (cp *ControlPlane) controller(name, user string) *informer.Component {
	return cp.component(name, user, "system:serviceaccounts", "system:serviceaccounts:kube-system")
}

// assemble makes the components, in the order in which they are shown changes.
func (cp *ControlPlane) assemble() {
	cp.parts.nodes = nodelifecycle.New(cp.controller("node-controller", nodelifecycle.Identity), cp.recorder, cp.powered)
	cp.parts.proxy = proxy.New(proxy.Config{Reader: cp.cfg.Reader, Now: cp.cfg.Clock.Now, Rand: cp.cfg.Rand, NodeOf: cp.nodeOf, IsNode: cp.isNode,
		HostServed: func(ip netip.Addr) bool { return ip == cp.cfg.ClusterDNS }})
	cp.parts.dns = dns.New(cp.cfg.Reader, cp.cfg.ClusterDomain)
	kinds := cp.cfg.Store.Kinds()
	cp.handlers = []handler{
		cp.parts.nodes,
		cp.parts.proxy,
		scheduler.New(cp.component("default-scheduler", scheduler.Identity), cp.recorder),
		replicaset.New(cp.controller("replicaset-controller", replicaset.Identity), cp.recorder),
		deployment.New(cp.controller("deployment-controller", deployment.Identity), cp.recorder),
		endpoint.New(cp.controller("endpointslice-controller", endpoint.Identity), cp.controller("endpoint-controller", endpoint.EndpointsIdentity)),
		garbage.New(cp.controller("garbage-collector", garbage.Identity)),
		namespace.New(cp.controller("namespace-controller", namespace.Identity), kinds),
		quota.New(cp.controller("resourcequota-controller", quota.Identity), kinds),
		clusterrole.New(cp.controller("clusterrole-aggregation-controller", clusterrole.Identity)),
		podgc.New(cp.controller("pod-garbage-collector", podgc.Identity)),
		serviceaccount.New(cp.controller("service-account-controller", serviceaccount.Identity)),
		rootca.New(cp.controller("root-ca-certificate-publisher", rootca.Identity), cp.cfg.RootCA),
	}
}

// replayed are the resources that components must have seen before they act.
func (cp *ControlPlane) replayed() []informer.GroupResource {
	return []informer.GroupResource{
		informer.Namespaces, informer.Nodes, informer.Pods, informer.ReplicaSets, informer.Deployments,
		informer.EndpointSlices, informer.Services, informer.Leases, informer.ResourceQuotas,
	}
}

func nameOf(o runtime.Object) (ns, name string) {
	m, err := meta.Accessor(o)
	if err != nil {
		return "", ""
	}
	return m.GetNamespace(), m.GetName()
}
