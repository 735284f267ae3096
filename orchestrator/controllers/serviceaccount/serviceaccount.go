// Package serviceaccount gives each namespace its service account "default".
package serviceaccount

import (
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:service-account-controller"

const name = "default"

// Controller makes the default service accounts of one cluster.
type Controller struct {
	*informer.Component
	queue *loop.Queue[string]
}

// New makes the controller.
func New(c *informer.Component) *Controller {
	s := &Controller{Component: c}
	s.queue = loop.NewQueue(c.Loop, "serviceaccount", s.reconcile, nil)
	return s
}

// Handle enqueues new namespaces and those that lost their account.
func (s *Controller) Handle(c *informer.Change) {
	switch {
	case c.Resource == informer.Namespaces && c.New != nil:
		s.queue.Add(c.Name, c.Rev)
	case c.Resource == informer.ServiceAccounts && c.New == nil && c.Name == name:
		s.queue.Add(c.Namespace, c.Rev)
	}
}

func (s *Controller) reconcile(t loop.Trigger, ns string) error {
	obj, ok := informer.Get[*v1.Namespace](s.Reader, informer.Namespaces, "", ns)
	if !ok || obj.Status.Phase != v1.NamespaceActive {
		return nil
	}
	if _, ok := s.Reader.Get(informer.ServiceAccounts, ns, name); ok {
		return nil
	}
	sa := &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}}
	_, err := s.Client.Create(s.Context(t, "default-account namespace=%s", ns), informer.ServiceAccounts, ns, sa)
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause) {
		return nil
	}
	return informer.Retry(err)
}
