package scheduler

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// maxClasses bounds the kept answers: beyond it they are all dropped.
const maxClasses = 64

// class is the plugins' answers for pods with one signature.
type class struct {
	state     fwk.CycleState
	answers   map[string]*answer
	skipF     sets.Set[string] // plugins whose Filter has nothing to say
	skipS     sets.Set[string] // plugins whose Score has nothing to say
	only      sets.Set[string] // nodes that PreFilter named; nil: all
	rejected  *fwk.Status      // PreFilter refused everywhere
	preScored bool
}

// answer is what the plugins said of one node, valid while its generation stands.
type answer struct {
	gen    uint64
	status *fwk.Status // nil: it fits
	scores []int64     // by plugin, before normalising; nil until scored
}

// choice is the node for a pod and why.
type choice struct {
	node     string
	reason   string
	feasible int
}

// failure is why no node took a pod.
type failure struct {
	fit   *framework.FitError
	class *class
	pod   *v1.Pod
	post  string // what preemption found
}

func (f *failure) message() string {
	f.fit.Diagnosis.PostFilterMsg = f.post
	return f.fit.Error()
}

// pick chooses the node for pod.
func (p *profile) pick(ctx context.Context, pod *v1.Pod) (choice, *failure) {
	c := p.classOf(ctx, pod)
	if c.rejected != nil {
		return choice{}, p.fail(pod, c)
	}
	var feasible []*nodeState
	for _, st := range p.nodes.list {
		if st.info.Node() != nil && p.answer(ctx, c, pod, st).status == nil {
			feasible = append(feasible, st)
		}
	}
	switch len(feasible) {
	case 0:
		return choice{}, p.fail(pod, c)
	case 1:
		return choice{node: feasible[0].name, reason: "only-node-that-fits", feasible: 1}, nil
	}
	return p.best(ctx, c, pod, feasible), nil
}

// classOf finds the kept answers for pod, or begins new ones by running PreFilter.
func (p *profile) classOf(ctx context.Context, pod *v1.Pod) *class {
	sig := p.signature(ctx, pod)
	if c, ok := p.classes[sig]; ok && sig != "" {
		return c
	}
	c := &class{state: framework.NewCycleState(), answers: map[string]*answer{}, skipF: sets.New[string](), skipS: sets.New[string]()}
	infos := p.nodes.infos()
	for _, pl := range p.plugins {
		if pl.preFilter == nil {
			continue
		}
		res, st := pl.preFilter.PreFilter(ctx, c.state, pod, infos)
		if st.IsSkip() {
			c.skipF.Insert(pl.name)
		} else if !st.IsSuccess() {
			c.rejected = st
			break
		}
		if !res.AllNodes() {
			if c.only == nil {
				c.only = res.NodeNames
			} else {
				c.only = c.only.Intersection(res.NodeNames)
			}
		}
	}
	// A refusal by PreFilter depends on the whole cluster: it is not kept.
	if sig != "" && c.rejected == nil {
		if len(p.classes) >= maxClasses {
			p.forget()
		}
		p.classes[sig] = c
	}
	return c
}

// answer asks the filters about one node unless their answer still stands.
func (p *profile) answer(ctx context.Context, c *class, pod *v1.Pod, st *nodeState) *answer {
	if a, ok := c.answers[st.name]; ok && a.gen == st.gen {
		return a
	}
	a := &answer{gen: st.gen, status: p.filter(ctx, c, c.state, pod, st.info)}
	c.answers[st.name] = a
	return a
}

func (p *profile) filter(ctx context.Context, c *class, state fwk.CycleState, pod *v1.Pod, info fwk.NodeInfo) *fwk.Status {
	if c.only != nil && !c.only.Has(info.Node().Name) {
		return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "node(s) didn't satisfy plugin(s) [NodeAffinity]")
	}
	for _, pl := range p.plugins {
		if pl.filter == nil || c.skipF.Has(pl.name) {
			continue
		}
		if st := pl.filter.Filter(ctx, state, pod, info); !st.IsSuccess() {
			return st.WithPlugin(pl.name)
		}
	}
	return nil
}

// best scores the nodes that fit and takes the best; of equals the one with the fewest pods of the same controller, then of any, then
// the first by name.
func (p *profile) best(ctx context.Context, c *class, pod *v1.Pod, feasible []*nodeState) choice {
	p.preScore(ctx, c, pod, feasible)
	totals := make([]int64, len(feasible))
	scores := make(fwk.NodeScoreList, len(feasible))
	for k, pl := range p.plugins {
		if pl.score == nil || c.skipS.Has(pl.name) {
			continue
		}
		any := false
		for i, st := range feasible {
			scores[i] = fwk.NodeScore{Name: st.name, Score: p.scoreOf(ctx, c, pod, st, k)}
			any = any || scores[i].Score != 0
		}
		if ext := pl.score.ScoreExtensions(); ext != nil {
			if st := ext.NormalizeScore(ctx, c.state, pod, scores); !st.IsSuccess() {
				continue
			}
		} else if !any {
			continue
		}
		for i := range scores {
			totals[i] += scores[i].Score * pl.weight
		}
	}
	var controller types.UID
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		controller = ref.UID
	}
	win, reason := 0, "highest-score"
	for i := 1; i < len(feasible); i++ {
		a, b := feasible[i], feasible[win]
		switch {
		case totals[i] != totals[win]:
			if totals[i] > totals[win] {
				win, reason = i, "highest-score"
			}
		case a.perController[controller] != b.perController[controller]:
			reason = "spread"
			if a.perController[controller] < b.perController[controller] {
				win = i
			}
		case len(a.info.Pods) != len(b.info.Pods):
			reason = "fewest-pods"
			if len(a.info.Pods) < len(b.info.Pods) {
				win = i
			}
		}
	}
	return choice{node: feasible[win].name, reason: fmt.Sprintf("%s score=%d", reason, totals[win]), feasible: len(feasible)}
}

// preScore prepares scoring. Plugins that compare nodes with each other (and so depend on the whole list) sign no pod, so a class
// that is kept may keep this too.
func (p *profile) preScore(ctx context.Context, c *class, pod *v1.Pod, feasible []*nodeState) {
	if c.preScored {
		return
	}
	c.preScored = true
	infos := make([]fwk.NodeInfo, len(feasible))
	for i, st := range feasible {
		infos[i] = st.info
	}
	for _, pl := range p.plugins {
		if pl.preScore == nil {
			continue
		}
		if st := pl.preScore.PreScore(ctx, c.state, pod, infos); !st.IsSuccess() {
			c.skipS.Insert(pl.name)
		}
	}
}

func (p *profile) scoreOf(ctx context.Context, c *class, pod *v1.Pod, st *nodeState, k int) int64 {
	a := c.answers[st.name]
	if a.scores == nil {
		a.scores = make([]int64, len(p.plugins))
		for i, pl := range p.plugins {
			if pl.score == nil || c.skipS.Has(pl.name) {
				continue
			}
			if score, status := pl.score.Score(ctx, c.state, pod, st.info); status.IsSuccess() {
				a.scores[i] = score
			}
		}
	}
	return a.scores[k]
}

// fail gathers why each node refused, in upstream's form.
func (p *profile) fail(pod *v1.Pod, c *class) *failure {
	d := framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	if c.rejected != nil {
		d.PreFilterMsg = c.rejected.Message()
		d.NodeToStatus.SetAbsentNodesStatus(c.rejected)
	} else {
		for _, st := range p.nodes.list {
			if a := c.answers[st.name]; a != nil && st.info.Node() != nil && a.status != nil {
				d.NodeToStatus.Set(st.name, a.status)
			}
		}
	}
	return &failure{fit: &framework.FitError{Pod: pod, NumAllNodes: p.nodes.len(), Diagnosis: d}, class: c, pod: pod}
}
