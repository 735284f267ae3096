package nodelifecycle

import (
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	helper "k8s.io/kubernetes/pkg/apis/core/v1/helper"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

func hasNoExecute(node *v1.Node) bool { return len(noExecute(node)) > 0 }

func noExecute(node *v1.Node) []v1.Taint {
	var out []v1.Taint
	for _, t := range node.Spec.Taints {
		if t.Effect == v1.TaintEffectNoExecute {
			out = append(out, t)
		}
	}
	return out
}

func (n *Controller) forget(k informer.Key) {
	n.pods.Forget(k)
	delete(n.marked, k)
}

// evict deletes a pod that does not tolerate its node's NoExecute taints, when the time that it tolerates them is over.
func (n *Controller) evict(t loop.Trigger, k informer.Key) error {
	p, ok := informer.Get[*v1.Pod](n.Reader, informer.Pods, k.Namespace, k.Name)
	if !ok || p.Spec.NodeName == "" || p.DeletionTimestamp != nil {
		n.forget(k)
		return nil
	}
	node, ok := n.node(p.Spec.NodeName)
	if !ok {
		n.forget(k)
		return nil
	}
	taints := noExecute(node)
	tolerated, used := helper.GetMatchingTolerations(klog.Background(), taints, p.Spec.Tolerations)
	wait, forEver := tolerationTime(used)
	if len(taints) == 0 || tolerated && forEver {
		if _, waits := n.marked[k]; waits {
			n.events.Normal(n.Context(t, "eviction-cancelled"), p, "TaintManagerEviction", "Cancelling deletion of Pod %s", k)
		}
		n.forget(k)
		return nil
	}
	if tolerated {
		since, waits := n.marked[k]
		if !waits {
			since = n.Loop.Now()
		}
		if left := since.Add(wait).Sub(n.Loop.Now()); left > 0 {
			n.marked[k] = since
			n.pods.AddAfter(k, left, t.Parent)
			return nil
		}
	}
	return informer.Retry(n.delete(t, p, taints))
}

// tolerationTime is the shortest time of the tolerations that were used.
func tolerationTime(used []v1.Toleration) (d time.Duration, forEver bool) {
	shortest := int64(-1)
	for _, tol := range used {
		if s := tol.TolerationSeconds; s != nil && (shortest < 0 || max(0, *s) < shortest) {
			shortest = max(0, *s)
		}
	}
	return time.Duration(max(0, shortest)) * time.Second, shortest < 0
}

func (n *Controller) delete(t loop.Trigger, p *v1.Pod, taints []v1.Taint) error {
	k := informer.KeyOf(p.Namespace, p.Name)
	ctx := n.Context(t, "evicted pod=%s node=%s taint=%s", p.Name, p.Spec.NodeName, taints[0].Key)
	n.events.Normal(ctx, p, "TaintManagerEviction", "Marking for deletion Pod %s", k)
	next := p.DeepCopy()
	cond := v1.PodCondition{
		Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message:            "Taint manager: deleting due to NoExecute taint",
		LastTransitionTime: metav1.NewTime(n.Loop.Now().Truncate(time.Second)),
		ObservedGeneration: podutil.CalculatePodConditionObservedGeneration(&p.Status, p.Generation, v1.DisruptionTarget),
	}
	if i, _ := podutil.GetPodCondition(&next.Status, v1.DisruptionTarget); i < 0 {
		next.Status.Conditions = append(next.Status.Conditions, cond)
		if _, err := n.Client.UpdateStatus(ctx, informer.Pods, p.Namespace, next); err != nil {
			return err
		}
	}
	err := n.Client.Delete(ctx, informer.Pods, p.Namespace, p.Name, &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
	if err == nil || apierrors.IsNotFound(err) {
		n.forget(k)
	}
	return err
}
