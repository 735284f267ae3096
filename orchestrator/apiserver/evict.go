package apiserver

import (
	"context"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
)

// evictions is pods/eviction. Upstream's storage asks for disruption budgets without the request's context, so each cluster has its own
// with a client that is bound to it.
type evictions struct {
	*podstore.EvictionREST
	server *Server
}

var _ rest.NamedCreater = (*evictions)(nil)

// Create implements rest.NamedCreater.
func (e *evictions) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return nil, errNoCluster
	}
	own, err := c.evictions()
	if err != nil {
		return nil, err
	}
	return own.Create(ctx, name, obj, validate, opts)
}

// refusedProxy is a proxy subresource that is in discovery, as everywhere, but leads nowhere yet.
type refusedProxy struct {
	kind string
	new  func() runtime.Object
}

var _ rest.Connecter = (*refusedProxy)(nil)

// New implements rest.Storage.
func (r *refusedProxy) New() runtime.Object { return r.new() }

// Destroy implements rest.Storage.
func (r *refusedProxy) Destroy() {}

// ConnectMethods implements rest.Connecter.
func (r *refusedProxy) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
}

// NewConnectOptions implements rest.Connecter.
func (r *refusedProxy) NewConnectOptions() (runtime.Object, bool, string) {
	return r.new(), true, "path"
}

// Connect implements rest.Connecter.
func (r *refusedProxy) Connect(context.Context, string, runtime.Object, rest.Responder) (http.Handler, error) {
	return nil, failure(http.StatusNotImplemented, metav1.StatusReasonServiceUnavailable,
		r.kind+": a lab's API server does not proxy HTTP to pods, Services and nodes; use `kubectl port-forward`")
}
