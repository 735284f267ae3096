// Package quota keeps the used amounts in the status of ResourceQuotas: admission counts what is created, this counts again when
// something goes or a quota changes.
//
// Upstream's evaluators (pkg/quota/v1/evaluator/core) say what each object uses.
package quota

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quotav1 "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/tools/cache"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	evaluators "k8s.io/kubernetes/pkg/quota/v1/evaluator/core"
	"k8s.io/utils/clock"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:resourcequota-controller"

// Controller keeps the quotas of one cluster.
type Controller struct {
	*informer.Component
	kinds    *store.Kinds
	queue    *loop.Queue[informer.Key]
	quotas   map[string]int   // number of quotas by namespace
	registry quotav1.Registry // made for the first quota
}

// New makes the controller.
func New(c *informer.Component, kinds *store.Kinds) *Controller {
	q := &Controller{Component: c, kinds: kinds, quotas: map[string]int{}}
	q.queue = loop.NewQueue(c.Loop, "quota", q.reconcile, nil)
	return q
}

// Handle enqueues quotas whose used amounts may have changed.
func (q *Controller) Handle(c *informer.Change) {
	if c.Resource == informer.ResourceQuotas {
		old, new := informer.As[v1.ResourceQuota](c)
		if old == nil {
			q.quotas[c.Namespace]++
		}
		if new == nil {
			if q.quotas[c.Namespace]--; q.quotas[c.Namespace] == 0 {
				delete(q.quotas, c.Namespace)
			}
			return
		}
		if old == nil || !equality.Semantic.DeepEqual(old.Spec, new.Spec) {
			q.queue.Add(c.Key(), c.Rev)
		}
		return
	}
	if q.quotas[c.Namespace] == 0 || c.Namespace == "" {
		return
	}
	released := c.New == nil
	if old, new := informer.As[v1.Pod](c); old != nil && new != nil && !podutil.IsPodTerminal(old) && podutil.IsPodTerminal(new) {
		released = true
	}
	if old, new := informer.As[v1.Service](c); old != nil && new != nil && !equality.Semantic.DeepEqual(old.Spec, new.Spec) {
		released = true
	}
	if released {
		for _, rq := range informer.List[*v1.ResourceQuota](q.Reader, informer.ResourceQuotas, c.Namespace) {
			q.queue.Add(informer.KeyOf(rq.Namespace, rq.Name), c.Rev)
		}
	}
}

func (q *Controller) reconcile(t loop.Trigger, k informer.Key) error {
	rq, ok := informer.Get[*v1.ResourceQuota](q.Reader, informer.ResourceQuotas, k.Namespace, k.Name)
	if !ok {
		q.queue.Forget(k)
		return nil
	}
	if q.registry == nil {
		q.registry = generic.NewRegistry(q.evaluators())
	}
	used, err := quotav1.CalculateUsage(rq.Namespace, rq.Spec.Scopes, rq.Spec.Hard, q.registry, rq.Spec.ScopeSelector)
	if err != nil {
		return err
	}
	for name, amount := range rq.Status.Used { // what is not counted here stays as it was
		if _, hard := rq.Spec.Hard[name]; hard {
			if _, counted := used[name]; !counted {
				used[name] = amount
			}
		}
	}
	if quotav1.Equals(rq.Status.Hard, rq.Spec.Hard) && quotav1.Equals(rq.Status.Used, used) {
		return nil
	}
	next := rq.DeepCopy()
	next.Status = v1.ResourceQuotaStatus{Hard: rq.Spec.Hard.DeepCopy(), Used: used}
	_, err = q.Client.UpdateStatus(q.Context(t, "quota used recalculated"), informer.ResourceQuotas, rq.Namespace, next)
	return informer.Retry(err)
}

// evaluators are those of pods, Services and claims, and a count for every other namespaced resource.
func (q *Controller) evaluators() []quotav1.Evaluator {
	list := []quotav1.Evaluator{
		evaluators.NewPodEvaluator(q.lister, labClock{Loop: q.Loop}),
		evaluators.NewServiceEvaluator(q.lister),
		evaluators.NewPersistentVolumeClaimEvaluator(q.lister),
	}
	alias := map[schema.GroupResource]v1.ResourceName{
		informer.ConfigMaps: v1.ResourceConfigMaps, informer.ResourceQuotas: v1.ResourceQuotas,
		informer.ReplicationControllers: v1.ResourceReplicationControllers, informer.Secrets: v1.ResourceSecrets,
	}
	have := map[schema.GroupResource]bool{}
	for _, e := range list {
		have[e.GroupResource()] = true
	}
	for _, k := range q.kinds.All() {
		if k.Namespaced && !have[k.Resource] && k.Resource != informer.Events {
			list = append(list, generic.NewObjectCountEvaluator(k.Resource, q.count(k.Resource), alias[k.Resource]))
		}
	}
	return list
}

func (q *Controller) count(gr schema.GroupResource) generic.ListFuncByNamespace {
	return func(ns string) ([]runtime.Object, error) { return q.Reader.List(gr, ns, nil), nil }
}

// labClock tells the lab's time to upstream, which only asks for it.
type labClock struct {
	clock.RealClock
	*loop.Loop
}

func (c labClock) Now() time.Time                  { return c.Loop.Now() }
func (c labClock) Since(t time.Time) time.Duration { return c.Loop.Now().Sub(t) }
func (c labClock) After(d time.Duration) <-chan time.Time {
	return c.RealClock.After(d)
}

// lister reads one resource from the store.
func (q *Controller) lister(gvr schema.GroupVersionResource) (cache.GenericLister, error) {
	return lister{q.Reader, gvr.GroupResource(), ""}, nil
}

type lister struct {
	r  store.Reader
	gr schema.GroupResource
	ns string
}

func (l lister) List(sel labels.Selector) ([]runtime.Object, error) {
	return l.r.List(l.gr, l.ns, sel), nil
}

func (l lister) Get(name string) (runtime.Object, error) {
	o, ok := l.r.Get(l.gr, l.ns, name)
	if !ok {
		return nil, fmt.Errorf("%s %q not found", l.gr, name)
	}
	return o, nil
}

func (l lister) ByNamespace(ns string) cache.GenericNamespaceLister {
	return lister{l.r, l.gr, ns}
}
