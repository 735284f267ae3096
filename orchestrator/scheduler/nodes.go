package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// snapshot is the scheduler's picture of the nodes with the pods on them. It is upstream's SharedLister for the plugins.
type snapshot struct {
	fwk.SharedLister // pod groups and storage: asked for by no plugin in use

	list   []*nodeState // by name
	byName map[string]*nodeState
	pods   map[types.UID]placed
	// affine counts placed pods that have inter-pod (anti-)affinity: while there are any, answers depend on other nodes.
	affine int
}

// nodeState is one node; gone ones stay while pods are bound to them.
type nodeState struct {
	name string
	info *framework.NodeInfo
	gen  uint64 // grows with every change
	// perController counts pods by their controller, for ties.
	perController map[types.UID]int
}

type placed struct {
	pod  *v1.Pod
	node *nodeState
}

var logger = klog.Background()

func newSnapshot() *snapshot {
	return &snapshot{byName: map[string]*nodeState{}, pods: map[types.UID]placed{}}
}

func (s *snapshot) len() int {
	n := 0
	for _, st := range s.list {
		if st.info.Node() != nil {
			n++
		}
	}
	return n
}

func (s *snapshot) state(name string) *nodeState {
	if st, ok := s.byName[name]; ok {
		return st
	}
	st := &nodeState{name: name, info: framework.NewNodeInfo(), perController: map[types.UID]int{}}
	s.byName[name] = st
	i, _ := slices.BinarySearchFunc(s.list, name, func(st *nodeState, n string) int { return strings.Compare(st.name, n) })
	s.list = slices.Insert(s.list, i, st)
	return st
}

func (s *snapshot) forget(st *nodeState) {
	if st.info.Node() == nil && len(st.info.Pods) == 0 {
		delete(s.byName, st.name)
		s.list = slices.DeleteFunc(s.list, func(o *nodeState) bool { return o == st })
	}
}

// setNode takes a node's change and reports whether a waiting pod may fit now.
func (s *snapshot) setNode(old, new *v1.Node) (helps bool) {
	if new == nil {
		st := s.state(old.Name)
		st.info.RemoveNode()
		st.gen++
		s.forget(st)
		return false
	}
	if old != nil && equality.Semantic.DeepEqual(old.Status.Allocatable, new.Status.Allocatable) &&
		equality.Semantic.DeepEqual(old.Labels, new.Labels) && equality.Semantic.DeepEqual(old.Spec, new.Spec) {
		return false // a heartbeat or a condition: what matters of those are the taints
	}
	st := s.state(new.Name)
	st.info.SetNode(new)
	st.gen++
	return true
}

// setPod takes a bound pod and reports whether it took less room than before.
func (s *snapshot) setPod(p *v1.Pod) (freed bool) {
	if old, ok := s.pods[p.UID]; ok {
		if old.node.name == p.Spec.NodeName && old.pod.Generation == p.Generation &&
			(old.pod.DeletionTimestamp == nil) == (p.DeletionTimestamp == nil) && equality.Semantic.DeepEqual(old.pod.Labels, p.Labels) {
			return false
		}
		freed = old.pod.Generation != p.Generation
		s.removePod(p.UID)
	}
	st := s.state(p.Spec.NodeName)
	st.info.AddPod(p)
	st.gen++
	s.pods[p.UID] = placed{pod: p, node: st}
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		st.perController[ref.UID]++
	}
	if hasAffinity(p) {
		s.affine++
	}
	return freed
}

func (s *snapshot) removePod(uid types.UID) {
	old, ok := s.pods[uid]
	if !ok {
		return
	}
	delete(s.pods, uid)
	st := old.node
	_ = st.info.RemovePod(logger, old.pod) // it is there: pods says so
	st.gen++
	if ref := metav1.GetControllerOfNoCopy(old.pod); ref != nil {
		if st.perController[ref.UID]--; st.perController[ref.UID] == 0 {
			delete(st.perController, ref.UID)
		}
	}
	if hasAffinity(old.pod) {
		s.affine--
	}
	s.forget(st)
}

func hasAffinity(p *v1.Pod) bool {
	a := p.Spec.Affinity
	return a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil)
}

// infos lists the nodes that exist.
func (s *snapshot) infos() []fwk.NodeInfo {
	out := make([]fwk.NodeInfo, 0, len(s.list))
	for _, st := range s.list {
		if st.info.Node() != nil {
			out = append(out, st.info)
		}
	}
	return out
}

// NodeInfos implements upstream's SharedLister.
func (s *snapshot) NodeInfos() fwk.NodeInfoLister { return lister{s} }

type lister struct{ s *snapshot }

func (l lister) List() ([]fwk.NodeInfo, error) { return l.s.infos(), nil }

func (l lister) having(f func(*framework.NodeInfo) bool) ([]fwk.NodeInfo, error) {
	var out []fwk.NodeInfo
	for _, st := range l.s.list {
		if st.info.Node() != nil && f(st.info) {
			out = append(out, st.info)
		}
	}
	return out, nil
}

func (l lister) HavePodsWithAffinityList() ([]fwk.NodeInfo, error) {
	return l.having(func(n *framework.NodeInfo) bool { return len(n.GetPodsWithAffinity()) > 0 })
}

func (l lister) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	return l.having(func(n *framework.NodeInfo) bool { return len(n.GetPodsWithRequiredAntiAffinity()) > 0 })
}

func (l lister) HavePodsWithRequiredNonHostScopedAntiAffinityList() ([]fwk.NodeInfo, error) {
	return l.having(func(n *framework.NodeInfo) bool { return len(n.GetPodsWithRequiredNonHostScopedAntiAffinity()) > 0 })
}

var errNoNode = errors.New("the scheduler does not know the node")

func (l lister) Get(name string) (fwk.NodeInfo, error) {
	if st, ok := l.s.byName[name]; ok && st.info.Node() != nil {
		return st.info, nil
	}
	return nil, fmt.Errorf("%w %q", errNoNode, name)
}
