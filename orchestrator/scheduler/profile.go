package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core"
	corev1informers "k8s.io/client-go/informers/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/util/workqueue"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodename"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeports"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/tainttoleration"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// profile is upstream's plugins, in the order of the default profile, and the answers kept for them.
type profile struct {
	nodes   *snapshot
	plugins []plugin
	classes map[string]*class
}

// plugin is one upstream plugin at its extension points; nil where it does not take part.
type plugin struct {
	name      string
	preFilter fwk.PreFilterPlugin
	filter    fwk.FilterPlugin
	preScore  fwk.PreScorePlugin
	score     fwk.ScorePlugin
	sign      fwk.SignPlugin
	weight    int64
}

// entry names a constructor, its arguments and its weight in the default profile (0: it does not score).
type entry struct {
	make   func(context.Context, runtime.Object, fwk.Handle, feature.Features) (fwk.Plugin, error)
	args   runtime.Object
	weight int64
}

func resources() []config.ResourceSpec {
	return []config.ResourceSpec{{Name: string(v1.ResourceCPU), Weight: 1}, {Name: string(v1.ResourceMemory), Weight: 1}}
}

func entries() []entry {
	return []entry{
		{nodeunschedulable.New, nil, 0},
		{nodename.New, nil, 0},
		{tainttoleration.New, nil, 3},
		{nodeaffinity.New, &config.NodeAffinityArgs{}, 2},
		{nodeports.New, nil, 0},
		{noderesources.NewFit, &config.NodeResourcesFitArgs{ScoringStrategy: &config.ScoringStrategy{Type: config.LeastAllocated, Resources: resources()}}, 1},
		{podtopologyspread.New, &config.PodTopologySpreadArgs{DefaultingType: config.ListDefaulting}, 2},
		{interpodaffinity.New, &config.InterPodAffinityArgs{HardPodAffinityWeight: 1}, 2},
		{noderesources.NewBalancedAllocation, &config.NodeResourcesBalancedAllocationArgs{Resources: resources()}, 1},
	}
}

func newProfile(nodes *snapshot, r store.Reader) *profile {
	p := &profile{nodes: nodes, classes: map[string]*class{}}
	fts := feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)
	// Plugins in use answer from the pod and the node alone; those gates would have them ask for device managers.
	fts.EnableDRAExtendedResource, fts.EnableDRANodeAllocatableResources, fts.EnableDynamicResourceAllocation = false, false, false
	h := &handle{nodes: nodes, reader: r}
	for _, e := range entries() {
		made, err := e.make(context.Background(), e.args, h, fts)
		if err != nil {
			panic(fmt.Sprintf("scheduler plugin: %v", err)) // the arguments above are constants
		}
		pl := plugin{name: made.Name(), weight: e.weight}
		pl.preFilter, _ = made.(fwk.PreFilterPlugin)
		pl.filter, _ = made.(fwk.FilterPlugin)
		pl.sign, _ = made.(fwk.SignPlugin)
		if e.weight > 0 {
			pl.preScore, _ = made.(fwk.PreScorePlugin)
			pl.score, _ = made.(fwk.ScorePlugin)
		}
		p.plugins = append(p.plugins, pl)
	}
	return p
}

// forget drops the kept answers.
func (p *profile) forget() { clear(p.classes) }

// signature names the class of pods that all plugins treat like this one; "" when there is none.
func (p *profile) signature(ctx context.Context, pod *v1.Pod) string {
	if p.nodes.affine > 0 {
		return "" // answers depend on pods elsewhere
	}
	parts := map[string]any{}
	for _, pl := range p.plugins {
		if pl.sign == nil {
			return ""
		}
		fragments, st := pl.sign.SignPod(ctx, pod)
		if !st.IsSuccess() {
			return ""
		}
		for _, f := range fragments {
			if f.Key == fwk.LabelsSignerName {
				continue // labels matter to pods with affinity alone, and there are none
			}
			parts[f.Key] = f.Value
		}
	}
	sig, err := json.Marshal(parts) // maps in key order
	if err != nil {
		return ""
	}
	return string(sig)
}

// handle gives the plugins what they ask for; what it does not name is asked for by no plugin in use.
type handle struct {
	fwk.Handle
	nodes  *snapshot
	reader store.Reader
}

func (h *handle) SnapshotSharedLister() fwk.SharedLister { return h.nodes }
func (h *handle) SharedDRAManager() fwk.SharedDRAManager { return nil }
func (h *handle) Parallelizer() fwk.Parallelizer         { return serial{} }
func (h *handle) SharedInformerFactory() informers.SharedInformerFactory {
	return factory{reader: h.reader}
}

// serial does the plugins' work piece by piece, in order: the loop is one goroutine.
type serial struct{}

func (serial) Until(ctx context.Context, pieces int, do workqueue.DoWorkPieceFunc, _ string) {
	for i := 0; i < pieces && ctx.Err() == nil; i++ {
		do(i)
	}
}

// factory answers Core().V1().Namespaces().Lister() from the store.
type factory struct {
	informers.SharedInformerFactory
	reader store.Reader
}

func (f factory) Core() coreinformers.Interface { return core{reader: f.reader} }

type core struct {
	coreinformers.Interface
	reader store.Reader
}

func (c core) V1() corev1informers.Interface { return coreV1{reader: c.reader} }

type coreV1 struct {
	corev1informers.Interface
	reader store.Reader
}

func (c coreV1) Namespaces() corev1informers.TypedNamespaceInformer {
	return namespaceInformer{reader: c.reader}
}

type namespaceInformer struct {
	corev1informers.TypedNamespaceInformer
	reader store.Reader
}

func (n namespaceInformer) Lister() corev1listers.NamespaceLister {
	return namespaceLister{reader: n.reader}
}

type namespaceLister struct {
	corev1listers.NamespaceLister
	reader store.Reader
}

func (n namespaceLister) List(sel labels.Selector) ([]*v1.Namespace, error) {
	var out []*v1.Namespace
	for _, o := range n.reader.List(informer.Namespaces, "", sel) {
		out = append(out, o.(*v1.Namespace))
	}
	return out, nil
}

func (n namespaceLister) Get(name string) (*v1.Namespace, error) {
	ns, ok := informer.Get[*v1.Namespace](n.reader, informer.Namespaces, "", name)
	if !ok {
		return nil, fmt.Errorf("namespace %q not found", name)
	}
	return ns, nil
}
