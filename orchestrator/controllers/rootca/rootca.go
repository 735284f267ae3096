// Package rootca puts the certificate that the API server is trusted by into each namespace, as the ConfigMap kube-root-ca.crt that
// pods mount beside their tokens.
package rootca

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Identity is the user the controller writes as.
const Identity = "system:serviceaccount:kube-system:root-ca-cert-publisher"

// Name is the ConfigMap's name.
const Name = "kube-root-ca.crt"

const description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
	"No other usage is guaranteed across distributions of Kubernetes clusters."

// Controller publishes the certificate in one cluster.
type Controller struct {
	*informer.Component
	queue *loop.Queue[string]
	pem   string
}

// New makes the controller; pem is the bundle.
func New(c *informer.Component, pem []byte) *Controller {
	r := &Controller{Component: c, pem: string(pem)}
	r.queue = loop.NewQueue(c.Loop, "rootca", r.reconcile, nil)
	return r
}

// Handle enqueues new namespaces and those whose ConfigMap changed.
func (r *Controller) Handle(c *informer.Change) {
	switch {
	case c.Resource == informer.Namespaces && c.New != nil:
		r.queue.Add(c.Name, c.Rev)
	case c.Resource == informer.ConfigMaps && c.Name == Name:
		r.queue.Add(c.Namespace, c.Rev)
	}
}

func (r *Controller) reconcile(t loop.Trigger, ns string) error {
	obj, ok := informer.Get[*v1.Namespace](r.Reader, informer.Namespaces, "", ns)
	if !ok || obj.Status.Phase != v1.NamespaceActive {
		return nil
	}
	data := map[string]string{"ca.crt": r.pem}
	ctx := r.Context(t, "root-ca namespace=%s", ns)
	old, ok := informer.Get[*v1.ConfigMap](r.Reader, informer.ConfigMaps, ns, Name)
	if !ok {
		cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: ns, Annotations: map[string]string{"kubernetes.io/description": description}}, Data: data}
		_, err := r.Client.Create(ctx, informer.ConfigMaps, ns, cm)
		if apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause) {
			return nil
		}
		return informer.Retry(err)
	}
	if equality.Semantic.DeepEqual(old.Data, data) {
		return nil
	}
	next := old.DeepCopy()
	next.Data = data
	_, err := r.Client.Update(ctx, informer.ConfigMaps, ns, next)
	return informer.Retry(err)
}
