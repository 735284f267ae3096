package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/store"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/dryrun"
	api "k8s.io/kubernetes/pkg/apis/core"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
	componentstatus "k8s.io/kubernetes/pkg/registry/core/componentstatus"
	endpointsstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	limitrangestore "k8s.io/kubernetes/pkg/registry/core/limitrange/storage"
	nodestore "k8s.io/kubernetes/pkg/registry/core/node/storage"
	pvstore "k8s.io/kubernetes/pkg/registry/core/persistentvolume/storage"
	pvcstore "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	podtemplatestore "k8s.io/kubernetes/pkg/registry/core/podtemplate/storage"
	controllerstore "k8s.io/kubernetes/pkg/registry/core/replicationcontroller/storage"
	corerest "k8s.io/kubernetes/pkg/registry/core/rest"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
)

// Audience is what tokens for the API server are issued to; it is also the issuer's name.
const Audience = "https://kubernetes.default.svc.cluster.local"

// maxTokenAge bounds requested tokens, as a real cluster's default does not but a lab's should: a year.
const maxTokenAge = 365 * 24 * time.Hour

// coreProvider is the core group: upstream's generic part, and what corerest.New would add if it did not start informers and repair loops
// for one cluster.
type coreProvider struct {
	server *Server
}

func (p *coreProvider) GroupName() string { return "" }

func (p *coreProvider) NewRESTStorage(src serverstorage.APIResourceConfigSource, opts generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	info, err := (&corerest.GenericConfig{EventTTL: p.server.cfg.EventTTL}).NewRESTStorage(src, opts)
	if err != nil {
		return info, err
	}
	storage := info.VersionedResourcesStorageMap["v1"]
	for _, add := range []func(map[string]rest.Storage, generic.RESTOptionsGetter) error{
		p.addPodsAndNodes, p.addServices, p.addServiceAccounts, p.addVolumes, p.addOthers,
	} {
		if err := add(storage, opts); err != nil {
			return info, err
		}
	}
	return info, nil
}

func (p *coreProvider) addPodsAndNodes(storage map[string]rest.Storage, opts generic.RESTOptionsGetter) error {
	nodes, err := nodestore.NewStorage(opts, kubeletclient.KubeletClientConfig{Port: 10250}, http.DefaultTransport)
	if err != nil {
		return err
	}
	storage["nodes"], storage["nodes/status"] = nodes.Node, nodes.Status
	storage["nodes/proxy"] = &refusedProxy{kind: "nodes/proxy", new: func() runtime.Object { return &api.NodeProxyOptions{} }}

	pods, err := podstore.NewStorage(opts, kubeletConnections{}, nil, nil, p.server.authorizer)
	if err != nil {
		return err
	}
	storage["pods"], storage["pods/status"] = pods.Pod, pods.Status
	storage["pods/binding"], storage["bindings"] = pods.Binding, pods.LegacyBinding
	storage["pods/eviction"] = &evictions{EvictionREST: pods.Eviction, server: p.server}
	storage["pods/ephemeralcontainers"], storage["pods/resize"] = pods.EphemeralContainers, pods.Resize
	storage["pods/log"] = pods.Log
	storage["pods/exec"] = &execREST{ExecREST: pods.Exec}
	storage["pods/attach"] = &attachREST{AttachREST: pods.Attach}
	storage["pods/portforward"] = &portForwardREST{PortForwardREST: pods.PortForward}
	storage["pods/proxy"] = &refusedProxy{kind: "pods/proxy", new: func() runtime.Object { return &api.PodProxyOptions{} }}
	return nil
}

func (p *coreProvider) addServices(storage map[string]rest.Storage, opts generic.RESTOptionsGetter) error {
	pods := genericStore(storage["pods"])
	services, status, _, err := newServices(opts, nil, pods)
	if err != nil {
		return err
	}
	// Upstream's allocators have no context, so each cluster has its own; the store's hooks, which have one, choose.
	services.Store.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		c, own, err := ownServices(ctx, opts, pods)
		if err != nil {
			return nil, err
		}
		finish, err := own.Store.BeginCreate(ctx, obj, o)
		if err != nil || dryrun.IsDryRun(o.DryRun) {
			return finish, err
		}
		return c.addresses.settle(finish, obj.(*api.Service)), nil
	}
	services.Store.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		c, own, err := ownServices(ctx, opts, pods)
		if err != nil {
			return nil, err
		}
		finish, err := own.Store.BeginUpdate(ctx, obj, old, o)
		if err != nil || dryrun.IsDryRun(o.DryRun) {
			return finish, err
		}
		return c.addresses.settle(finish, obj.(*api.Service)), nil
	}
	services.Store.AfterDelete = nil // nothing to release: what a Service holds is read from the Services themselves
	if st := genericStore(status); st != nil {
		st.AfterDelete = nil
	}
	storage["services"], storage["services/status"] = services, status
	storage["services/proxy"] = &refusedProxy{kind: "services/proxy", new: func() runtime.Object { return &api.ServiceProxyOptions{} }}
	return nil
}

func ownServices(ctx context.Context, opts generic.RESTOptionsGetter, pods *genericregistry.Store) (*Cluster, *servicestore.REST, error) {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return nil, nil, errNoCluster
	}
	own, err := c.services(opts, pods)
	return c, own, err
}

func (p *coreProvider) addServiceAccounts(storage map[string]rest.Storage, opts generic.RESTOptionsGetter) error {
	pods, nodes, secrets := genericStore(storage["pods"]), genericStore(storage["nodes"]), storage["secrets"].(rest.Getter)
	hooks := p.server.loopbackSet.AdmissionregistrationV1()
	accounts, err := serviceaccountstore.NewREST(opts, contextIssuer{}, authenticator.Audiences{Audience}, p.server.authorizer, maxTokenAge, pods, secrets, nodes,
		hooks.ValidatingWebhookConfigurations(), hooks.MutatingWebhookConfigurations(), false, 0)
	if err != nil {
		return err
	}
	storage["serviceaccounts"], storage["serviceaccounts/token"] = accounts, &tokenREST{accounts.Token}
	return nil
}

func (p *coreProvider) addVolumes(storage map[string]rest.Storage, opts generic.RESTOptionsGetter) error {
	pv, pvStatus, err := pvstore.NewREST(opts)
	if err != nil {
		return err
	}
	pvc, pvcStatus, err := pvcstore.NewREST(opts)
	if err != nil {
		return err
	}
	storage["persistentvolumes"], storage["persistentvolumes/status"] = pv, pvStatus
	storage["persistentvolumeclaims"], storage["persistentvolumeclaims/status"] = pvc, pvcStatus
	return nil
}

func (p *coreProvider) addOthers(storage map[string]rest.Storage, opts generic.RESTOptionsGetter) error {
	var err error
	if storage["podtemplates"], err = podtemplatestore.NewREST(opts); err != nil {
		return err
	}
	if storage["limitranges"], err = limitrangestore.NewREST(opts); err != nil {
		return err
	}
	if storage["endpoints"], err = endpointsstore.NewREST(opts); err != nil {
		return err
	}
	rc, err := controllerstore.NewStorage(opts)
	if err != nil {
		return err
	}
	storage["replicationcontrollers"], storage["replicationcontrollers/status"], storage["replicationcontrollers/scale"] = rc.Controller, rc.Status, rc.Scale
	storage["componentstatuses"] = componentstatus.NewStorage(func() map[string]componentstatus.Server { return nil })
	return nil
}

// endpointSlices reads a Service's slices, for upstream's Service redirects.
type endpointSlices struct{ cluster *Cluster }

func (e endpointSlices) GetEndpointSlices(namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	sel := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})
	var out []*discoveryv1.EndpointSlice
	for _, o := range e.cluster.store.List(schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}, namespace, sel) {
		out = append(out, o.(*discoveryv1.EndpointSlice))
	}
	return out, nil
}

var errNoCluster = fmt.Errorf("apiserver: %w", store.ErrNoCluster)
