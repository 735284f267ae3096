// Package podgc deletes pods that nobody else will: those bound to a node that is gone, and the oldest of too many ended ones.
//
// It follows upstream's pkg/controller/podgc.
package podgc

import (
	"encoding/json"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:pod-garbage-collector"

const (
	// quarantine is how long a node must have been gone.
	quarantine = 40 * time.Second
	// terminatedThreshold is how many ended pods are kept.
	terminatedThreshold = 12500
)

// Controller collects the pods of one cluster.
type Controller struct {
	*informer.Component
	queue *loop.Queue[string] // node names; "" for ended pods
	ended int
}

// New makes the controller.
func New(c *informer.Component) *Controller {
	g := &Controller{Component: c}
	g.queue = loop.NewQueue(c.Loop, "podgc", g.reconcile, nil)
	return g
}

// Handle notes nodes that go, pods bound to nodes that are not there, and counts ended pods.
func (g *Controller) Handle(c *informer.Change) {
	switch c.Resource {
	case informer.Nodes:
		if c.New == nil {
			g.queue.AddAfter(c.Name, quarantine, c.Rev)
		}
	case informer.Pods:
		old, new := informer.As[v1.Pod](c)
		if was, is := old != nil && podutil.IsPodTerminal(old), new != nil && podutil.IsPodTerminal(new); was != is {
			if is {
				g.ended++
			} else {
				g.ended--
			}
			if g.ended > terminatedThreshold {
				g.queue.Add("", c.Rev)
			}
		}
		if new != nil && new.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "") {
			if _, ok := g.Reader.Get(informer.Nodes, "", new.Spec.NodeName); !ok {
				g.queue.AddAfter(new.Spec.NodeName, quarantine, c.Rev)
			}
		}
	}
}

func (g *Controller) reconcile(t loop.Trigger, node string) error {
	if node == "" {
		return g.trim(t)
	}
	if _, ok := g.Reader.Get(informer.Nodes, "", node); ok {
		return nil
	}
	for _, p := range g.Pods.OnNode(node) {
		if err := g.orphan(t, p); err != nil {
			return err
		}
	}
	return nil
}

// orphan ends and deletes a pod whose node is gone.
func (g *Controller) orphan(t loop.Trigger, p *v1.Pod) error {
	ctx := g.Context(t, "orphaned pod=%s node=%s", p.Name, p.Spec.NodeName)
	if !podutil.IsPodTerminal(p) {
		cond := v1.PodCondition{
			Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: "DeletionByPodGC", Message: "PodGC: node no longer exists",
			LastTransitionTime: metav1.NewTime(g.Loop.Now().Truncate(time.Second)),
			ObservedGeneration: podutil.CalculatePodConditionObservedGeneration(&p.Status, p.Generation, v1.DisruptionTarget),
		}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": p.UID}, "status": map[string]any{"phase": v1.PodFailed, "conditions": []v1.PodCondition{cond}},
		})
		if err != nil {
			return err
		}
		if _, err := g.Client.Patch(ctx, informer.Pods, p.Namespace, p.Name, types.StrategicMergePatchType, patch, "status"); informer.Retry(err) != nil {
			return informer.Retry(err)
		}
	}
	now := int64(0)
	return informer.Retry(g.Client.Delete(ctx, informer.Pods, p.Namespace, p.Name, &metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(p.UID)),
	}))
}

// trim deletes the oldest ended pods beyond the threshold.
func (g *Controller) trim(t loop.Trigger) error {
	var ended []*v1.Pod
	for _, p := range informer.List[*v1.Pod](g.Reader, informer.Pods, "") {
		if podutil.IsPodTerminal(p) {
			ended = append(ended, p)
		}
	}
	if len(ended) <= terminatedThreshold {
		return nil
	}
	slices.SortStableFunc(ended, func(a, b *v1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	now := int64(0)
	for _, p := range ended[:len(ended)-terminatedThreshold] {
		ctx := g.Context(t, "ended-pods=%d limit=%d", len(ended), terminatedThreshold)
		if err := informer.Retry(g.Client.Delete(ctx, informer.Pods, p.Namespace, p.Name, &metav1.DeleteOptions{GracePeriodSeconds: &now})); err != nil {
			return err
		}
	}
	return nil
}
