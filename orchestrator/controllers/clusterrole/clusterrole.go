// Package clusterrole fills ClusterRoles that aggregate others: their rules are those of the roles they select.
package clusterrole

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:clusterrole-aggregation-controller"

// Controller aggregates the cluster roles of one cluster.
type Controller struct {
	*informer.Component
	queue *loop.Queue[string]
}

// New makes the controller.
func New(c *informer.Component) *Controller {
	r := &Controller{Component: c}
	r.queue = loop.NewQueue(c.Loop, "clusterrole", r.reconcile, nil)
	return r
}

// Handle enqueues every aggregating role when any role changes: a role's old and new labels may both matter.
func (r *Controller) Handle(c *informer.Change) {
	if c.Resource != informer.ClusterRoles {
		return
	}
	for _, role := range informer.List[*rbacv1.ClusterRole](r.Reader, informer.ClusterRoles, "") {
		if role.AggregationRule != nil {
			r.queue.Add(role.Name, c.Rev)
		}
	}
}

func (r *Controller) reconcile(t loop.Trigger, name string) error {
	role, ok := informer.Get[*rbacv1.ClusterRole](r.Reader, informer.ClusterRoles, "", name)
	if !ok || role.AggregationRule == nil {
		return nil
	}
	rules := []rbacv1.PolicyRule{}
	all := informer.List[*rbacv1.ClusterRole](r.Reader, informer.ClusterRoles, "")
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return strings.Compare(a.Name, b.Name) })
	for i := range role.AggregationRule.ClusterRoleSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil // validation lets none through
		}
		for _, other := range all {
			if other.Name == name || !sel.Matches(labels.Set(other.Labels)) {
				continue
			}
			for j := range other.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, other.Rules[j]) }) {
					rules = append(rules, other.Rules[j])
				}
			}
		}
	}
	if equality.Semantic.DeepEqual(role.Rules, rules) || len(role.Rules) == 0 && len(rules) == 0 {
		return nil
	}
	next := role.DeepCopy()
	next.Rules = rules
	_, err := r.Client.Update(r.Context(t, "aggregated role=%s rules=%d", name, len(rules)), informer.ClusterRoles, "", next)
	return informer.Retry(err)
}
