package apiserver

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/drydock-labs/drydock/orchestrator/store"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
)

// HTTPClient returns a client that writes through client-go and the whole HTTP handler, without a connection: what a client from outside
// does. manager is the name in managedFields.
func (c *Cluster) HTTPClient(who user.Info, manager string) store.Client {
	return &httpClient{cluster: c, user: withAll(who), manager: manager}
}

// withAll adds the group that authentication would.
func withAll(who user.Info) *user.DefaultInfo {
	u := &user.DefaultInfo{Name: who.GetName(), UID: who.GetUID(), Groups: append([]string(nil), who.GetGroups()...), Extra: who.GetExtra()}
	for _, g := range u.Groups {
		if g == user.AllAuthenticated {
			return u
		}
	}
	u.Groups = append(u.Groups, user.AllAuthenticated)
	return u
}

// managerOf is the manager's name that upstream's components have in managedFields.
func managerOf(userName string) string {
	switch {
	case strings.HasPrefix(userName, "system:node:"):
		return "kubelet"
	case strings.HasPrefix(userName, "system:serviceaccount:kube-system:"):
		return "kube-controller-manager"
	case strings.HasPrefix(userName, "system:serviceaccount:"):
		return userName
	case strings.HasPrefix(userName, "system:"):
		return strings.TrimPrefix(userName, "system:")
	}
	return userName
}

type httpClient struct {
	cluster *Cluster
	user    *user.DefaultInfo
	manager string

	mu      sync.Mutex
	clients map[schema.GroupVersion]*restclient.RESTClient // protected by mu
}

func (h *httpClient) client(gv schema.GroupVersion) (*restclient.RESTClient, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.clients[gv]; c != nil {
		return c, nil
	}
	cfg := &restclient.Config{Host: "https://in-process", APIPath: "/apis", QPS: -1, UserAgent: h.manager + "/drydock",
		Transport: &transport{server: h.cluster.server, cluster: h.cluster, user: h.user}}
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.GroupVersion, cfg.NegotiatedSerializer = &gv, clientscheme.Codecs.WithoutConversion()
	cfg.ContentType, cfg.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	c, err := restclient.RESTClientFor(cfg)
	if err != nil {
		return nil, err
	}
	if h.clients == nil {
		h.clients = map[schema.GroupVersion]*restclient.RESTClient{}
	}
	h.clients[gv] = c
	return c, nil
}

// version is the version in which an object of a resource is sent: the object's own, or the resource's preferred one.
func (s *Server) version(gr schema.GroupResource, obj runtime.Object) (schema.GroupVersion, error) {
	if obj != nil {
		gvks, _, err := clientscheme.Scheme.ObjectKinds(obj)
		if err != nil {
			return schema.GroupVersion{}, err
		}
		if gvks[0].Group == gr.Group {
			return gvks[0].GroupVersion(), nil
		}
	}
	for _, gv := range clientscheme.Scheme.PrioritizedVersionsForGroup(gr.Group) {
		if _, ok := s.storages[gr.Group][gv.Version][gr.Resource]; ok {
			return gv, nil
		}
	}
	return schema.GroupVersion{}, fmt.Errorf("the server serves no resource %s", gr)
}

func (h *httpClient) request(gr schema.GroupResource, obj runtime.Object, verb string) (*restclient.Request, error) {
	gv, err := h.cluster.server.version(gr, obj)
	if err != nil {
		return nil, err
	}
	c, err := h.client(gv)
	if err != nil {
		return nil, err
	}
	// Retrying a 429 would hide what a caller has to decide, such as an eviction that a budget stops.
	return c.Verb(verb).Resource(gr.Resource).MaxRetries(0), nil
}

func (h *httpClient) send(ctx context.Context, verb string, gr schema.GroupResource, ns, name, sub string, obj runtime.Object) (runtime.Object, error) {
	versioned := obj
	if sub != "" && sub != "status" {
		versioned = nil // a subresource's object may be of another group than its resource
	}
	req, err := h.request(gr, versioned, verb)
	if err != nil {
		return nil, err
	}
	req = req.NamespaceIfScoped(ns, ns != "").Body(obj)
	if name != "" {
		req = req.Name(name)
	}
	if sub != "" {
		req = req.SubResource(sub)
	}
	return req.Do(ctx).Get()
}

func nameOf(obj runtime.Object) (string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return "", err
	}
	return m.GetName(), nil
}

// Create implements store.Client.
func (h *httpClient) Create(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error) {
	return h.send(ctx, "POST", gr, ns, "", "", obj)
}

// Update implements store.Client.
func (h *httpClient) Update(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error) {
	name, err := nameOf(obj)
	if err != nil {
		return nil, err
	}
	return h.send(ctx, "PUT", gr, ns, name, "", obj)
}

// UpdateStatus implements store.Client.
func (h *httpClient) UpdateStatus(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error) {
	name, err := nameOf(obj)
	if err != nil {
		return nil, err
	}
	return h.send(ctx, "PUT", gr, ns, name, "status", obj)
}

// Patch implements store.Client. An apply patch is forced and has the client's manager.
func (h *httpClient) Patch(ctx context.Context, gr schema.GroupResource, ns, name string, pt types.PatchType, data []byte, sub string) (runtime.Object, error) {
	req, err := h.request(gr, nil, "PATCH")
	if err != nil {
		return nil, err
	}
	req = req.NamespaceIfScoped(ns, ns != "").Name(name).SetHeader("Content-Type", string(pt)).Body(data)
	if sub != "" {
		req = req.SubResource(sub)
	}
	if pt == types.ApplyPatchType {
		req = req.Param("fieldManager", h.manager).Param("force", "true")
	}
	return req.Do(ctx).Get()
}

// Delete implements store.Client.
func (h *httpClient) Delete(ctx context.Context, gr schema.GroupResource, ns, name string, opts *metav1.DeleteOptions) error {
	req, err := h.request(gr, nil, "DELETE")
	if err != nil {
		return err
	}
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	return req.NamespaceIfScoped(ns, ns != "").Name(name).Body(opts).Do(ctx).Error()
}

// updated are subresources that are written with PUT; the others are created.
var updated = map[string]bool{"status": true, "scale": true, "resize": true, "finalize": true, "ephemeralcontainers": true, "approval": true}

// Subresource implements store.Client.
func (h *httpClient) Subresource(ctx context.Context, gr schema.GroupResource, ns, name, sub string, obj runtime.Object) (runtime.Object, error) {
	verb := "POST"
	if updated[sub] {
		verb = "PUT"
	}
	return h.send(ctx, verb, gr, ns, name, sub, obj)
}
