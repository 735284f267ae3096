// Package deployment rolls Deployments out: it makes a ReplicaSet for each template and moves replicas from the old ones to the new.
//
// It follows upstream's pkg/controller/deployment and uses its exported rules for proportions, bounds, annotations and revisions.
// Times in conditions are the cluster's.
package deployment

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/controller/deployment/util"

	"github.com/drydock-labs/drydock/orchestrator/events"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:deployment-controller"

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Controller reconciles the Deployments of one cluster.
type Controller struct {
	*informer.Component
	events *events.Source
	queue  *loop.Queue[informer.Key]
}

// New makes the controller.
func New(c *informer.Component, rec *events.Recorder) *Controller {
	d := &Controller{Component: c, events: rec.For(c, "deployment-controller", "")}
	d.queue = loop.NewQueue(c.Loop, "deployment", d.reconcile, nil)
	return d
}

// Handle enqueues the Deployments that a change may concern.
func (d *Controller) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.Deployments:
		d.queue.Add(c.Key(), c.Rev)
	case informer.ReplicaSets:
		old, new := informer.As[appsv1.ReplicaSet](c)
		for _, rs := range []*appsv1.ReplicaSet{old, new} {
			if rs == nil {
				continue
			}
			if ref := metav1.GetControllerOfNoCopy(rs); ref == nil {
				d.enqueueMatching(rs, c.Rev)
			} else if ref.Kind == kind.Kind {
				d.queue.Add(informer.KeyOf(rs.Namespace, ref.Name), c.Rev)
			}
		}
	case informer.Pods:
		// Recreate waits for the last old pod to be gone, which no ReplicaSet's status tells.
		if old, new := informer.As[v1.Pod](c); old != nil && (new == nil || old.Status.Phase != new.Status.Phase) {
			d.enqueueRecreate(old, c.Rev)
		}
	}
}

func (d *Controller) enqueueMatching(rs *appsv1.ReplicaSet, rev int64) {
	for _, dep := range informer.List[*appsv1.Deployment](d.Reader, informer.Deployments, rs.Namespace) {
		if sel, err := metav1.LabelSelectorAsSelector(dep.Spec.Selector); err == nil && !sel.Empty() && sel.Matches(labels.Set(rs.Labels)) {
			d.queue.Add(informer.KeyOf(dep.Namespace, dep.Name), rev)
		}
	}
}

func (d *Controller) enqueueRecreate(p *v1.Pod, rev int64) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return
	}
	rs, ok := informer.Get[*appsv1.ReplicaSet](d.Reader, informer.ReplicaSets, p.Namespace, ref.Name)
	if !ok {
		return
	}
	owner := metav1.GetControllerOfNoCopy(rs)
	if owner == nil || owner.Kind != kind.Kind {
		return
	}
	dep, ok := informer.Get[*appsv1.Deployment](d.Reader, informer.Deployments, p.Namespace, owner.Name)
	if ok && dep.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		d.queue.Add(informer.KeyOf(dep.Namespace, dep.Name), rev)
	}
}

// pass is one reconcile of one Deployment.
type pass struct {
	*Controller
	t   loop.Trigger
	d   *appsv1.Deployment // a copy, free to change
	rss []*appsv1.ReplicaSet
	old []*appsv1.ReplicaSet // all but the one of the current template
	new *appsv1.ReplicaSet   // nil before it exists
}

func (d *Controller) reconcile(t loop.Trigger, k informer.Key) error {
	shared, ok := informer.Get[*appsv1.Deployment](d.Reader, informer.Deployments, k.Namespace, k.Name)
	if !ok {
		d.queue.Forget(k)
		return nil
	}
	if equality.Semantic.DeepEqual(shared.Spec.Selector, &metav1.LabelSelector{}) {
		d.events.Warning(d.Context(t, ""), shared, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		return nil
	}
	p := &pass{Controller: d, t: t, d: shared.DeepCopy()}
	if err := p.claim(); err != nil {
		return informer.Retry(err)
	}
	return informer.Retry(p.run())
}

func (p *pass) run() error {
	p.split()
	switch {
	case p.d.DeletionTimestamp != nil:
		return p.syncStatus()
	case p.d.Spec.Paused:
		return p.paused()
	}
	if err := p.markResumed(); err != nil {
		return err
	}
	switch {
	case p.scaling():
		return p.paused() // scale first, at the present templates
	case p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		return p.recreate()
	}
	return p.rolling()
}

// claim lists the ReplicaSets that are the Deployment's, after taking those of its selector that have no controller.
func (p *pass) claim() error {
	sel, err := metav1.LabelSelectorAsSelector(p.d.Spec.Selector)
	if err != nil {
		return nil
	}
	for _, rs := range informer.List[*appsv1.ReplicaSet](p.Reader, informer.ReplicaSets, p.d.Namespace) {
		ref := metav1.GetControllerOfNoCopy(rs)
		switch {
		case ref != nil && ref.UID == p.d.UID:
			p.rss = append(p.rss, rs)
		case ref == nil && sel.Matches(labels.Set(rs.Labels)) && rs.DeletionTimestamp == nil && p.d.DeletionTimestamp == nil:
			patch := fmt.Sprintf(`{"metadata":{"uid":%q,"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}]}}`, rs.UID, p.d.Name, p.d.UID)
			obj, err := p.Client.Patch(p.Context(p.t, "adopted replicaset=%s", rs.Name), informer.ReplicaSets, rs.Namespace, rs.Name, types.StrategicMergePatchType, []byte(patch), "")
			if err != nil {
				return err
			}
			p.rss = append(p.rss, obj.(*appsv1.ReplicaSet))
		}
	}
	return nil
}

// split tells the ReplicaSet of the current template from the others.
func (p *pass) split() {
	p.new = util.FindNewReplicaSet(p.d, p.rss)
	p.old = nil
	for _, rs := range p.rss {
		if p.new == nil || rs.UID != p.new.UID {
			p.old = append(p.old, rs)
		}
	}
}

func (p *pass) all() []*appsv1.ReplicaSet {
	all := append([]*appsv1.ReplicaSet(nil), p.old...)
	if p.new != nil {
		all = append(all, p.new)
	}
	return all
}

// scaling tells whether the Deployment's replicas changed since its ReplicaSets were last sized.
func (p *pass) scaling() bool {
	for _, rs := range p.rss {
		if *rs.Spec.Replicas == 0 {
			continue
		}
		if desired, ok := util.GetDesiredReplicasAnnotation(logger, rs); ok && desired != *p.d.Spec.Replicas {
			return true
		}
	}
	return false
}

// paused scales without rolling anything out.
func (p *pass) paused() error {
	if p.new != nil {
		if err := p.refreshNew(); err != nil {
			return err
		}
	}
	if err := p.scaleProportionally(); err != nil {
		return err
	}
	if p.d.Spec.Paused {
		if err := p.markPaused(); err != nil {
			return err
		}
	}
	return p.syncStatus()
}

// recreate removes every old pod before the first new one.
func (p *pass) recreate() error {
	scaled := false
	for _, rs := range p.old {
		if *rs.Spec.Replicas == 0 {
			continue
		}
		if err := p.scaleTo(rs, 0); err != nil {
			return err
		}
		scaled = true
	}
	if scaled {
		return p.syncRollout()
	}
	for _, rs := range p.old {
		for _, pod := range p.Pods.ControlledBy(rs.UID) {
			if pod.Status.Phase != v1.PodFailed && pod.Status.Phase != v1.PodSucceeded {
				return p.syncRollout()
			}
		}
	}
	if err := p.ensureNew(); err != nil {
		return err
	}
	if err := p.scaleTo(p.new, *p.d.Spec.Replicas); err != nil {
		return err
	}
	return p.finish()
}

// rolling moves replicas within the bounds of maxSurge and maxUnavailable.
func (p *pass) rolling() error {
	if err := p.ensureNew(); err != nil {
		return err
	}
	if scaled, err := p.growNew(); err != nil || scaled {
		return p.syncRolloutUnless(err)
	}
	if scaled, err := p.shrinkOld(); err != nil || scaled {
		return p.syncRolloutUnless(err)
	}
	return p.finish()
}

func (p *pass) syncRolloutUnless(err error) error {
	if err != nil {
		return err
	}
	return p.syncRollout()
}

func (p *pass) finish() error {
	if util.DeploymentComplete(p.d, &p.d.Status) {
		if err := p.trimHistory(); err != nil {
			return err
		}
	}
	return p.syncRollout()
}
