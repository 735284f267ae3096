package apiserver

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	admissionregistrationrest "k8s.io/kubernetes/pkg/registry/admissionregistration/rest"
	apiserverinternalrest "k8s.io/kubernetes/pkg/registry/apiserverinternal/rest"
	appsrest "k8s.io/kubernetes/pkg/registry/apps/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	autoscalingrest "k8s.io/kubernetes/pkg/registry/autoscaling/rest"
	batchrest "k8s.io/kubernetes/pkg/registry/batch/rest"
	certificatesrest "k8s.io/kubernetes/pkg/registry/certificates/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	discoveryrest "k8s.io/kubernetes/pkg/registry/discovery/rest"
	eventsrest "k8s.io/kubernetes/pkg/registry/events/rest"
	flowcontrolrest "k8s.io/kubernetes/pkg/registry/flowcontrol/rest"
	lifecyclerest "k8s.io/kubernetes/pkg/registry/lifecycle/rest"
	networkingrest "k8s.io/kubernetes/pkg/registry/networking/rest"
	noderest "k8s.io/kubernetes/pkg/registry/node/rest"
	policyrest "k8s.io/kubernetes/pkg/registry/policy/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	resourcerest "k8s.io/kubernetes/pkg/registry/resource/rest"
	schedulingrest "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	storagerest "k8s.io/kubernetes/pkg/registry/storage/rest"
	svmrest "k8s.io/kubernetes/pkg/registry/storagemigration/rest"
)

// providers are upstream's, in upstream's order, which discovery keeps.
func (s *Server) providers() []controlplaneapiserver.RESTStorageProvider {
	list := []controlplaneapiserver.RESTStorageProvider{
		&coreProvider{server: s},
		apiserverinternalrest.StorageProvider{},
		authenticationrest.RESTStorageProvider{Authenticator: requestAuthenticator{}},
		authorizationrest.RESTStorageProvider{Authorizer: s.authorizer, RuleResolver: s.ruleResolver},
		autoscalingrest.RESTStorageProvider{},
		batchrest.RESTStorageProvider{},
		certificatesrest.RESTStorageProvider{Authorizer: s.authorizer},
		coordinationrest.RESTStorageProvider{},
		discoveryrest.StorageProvider{},
		lifecyclerest.RESTStorageProvider{},
		networkingrest.RESTStorageProvider{},
		noderest.RESTStorageProvider{},
		policyrest.RESTStorageProvider{},
		rbacrest.RESTStorageProvider{Authorizer: s.authorizer},
		schedulingrest.RESTStorageProvider{},
		storagerest.RESTStorageProvider{},
		svmrest.RESTStorageProvider{},
		flowcontrolrest.RESTStorageProvider{},
		appsrest.StorageProvider{},
		admissionregistrationrest.RESTStorageProvider{Authorizer: s.authorizer, DiscoveryClient: s.loopbackSet.Discovery()},
		eventsrest.RESTStorageProvider{TTL: s.cfg.EventTTL},
		resourcerest.RESTStorageProvider{NamespaceClient: s.loopbackSet.CoreV1().Namespaces(), Authorizer: s.authorizer},
	}
	for i, p := range list {
		list[i] = provider{p, s}
	}
	return list
}

// provider wraps one of upstream's: it keeps the storages, lets the cluster name and stamp new objects, and hides post-start hooks, which
// would write to a cluster that no context names.
type provider struct {
	upstream controlplaneapiserver.RESTStorageProvider
	server   *Server
}

func (p provider) GroupName() string { return p.upstream.GroupName() }

func (p provider) NewRESTStorage(src serverstorage.APIResourceConfigSource, opts generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	info, err := p.upstream.NewRESTStorage(src, opts)
	if err != nil {
		return info, err
	}
	seen := map[*genericregistry.Store]bool{}
	for version, resources := range info.VersionedResourcesStorageMap {
		for name, storage := range resources {
			if st := genericStore(storage); st != nil && !seen[st] {
				seen[st] = true
				st.BeginCreate = stampFirst(st.BeginCreate)
			}
			if _, ok := storage.(rest.StandardStorage); ok && genericStore(storage) == nil {
				return info, fmt.Errorf("storage of %s/%s %s has no generic store to stamp new objects in", p.GroupName(), version, name)
			}
		}
	}
	p.server.storages[p.GroupName()] = info.VersionedResourcesStorageMap
	return info, nil
}

// genericStore finds the generic store inside one of upstream's storages: most embed it, namespaces keep it in an unexported field, RBAC's
// embed another storage.
func genericStore(s rest.Storage) *genericregistry.Store {
	return storeIn(reflect.ValueOf(s))
}

func storeIn(v reflect.Value) *genericregistry.Store {
	want := reflect.TypeFor[*genericregistry.Store]()
	if v.Type() == want {
		return (*genericregistry.Store)(v.UnsafePointer())
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Type() == want && !f.IsNil() {
			return (*genericregistry.Store)(f.UnsafePointer())
		}
		if v.Type().Field(i).Anonymous && f.Kind() == reflect.Interface && !f.IsNil() {
			if st := storeIn(f.Elem()); st != nil {
				return st
			}
		}
	}
	return nil
}

// stampFirst gives new objects the cluster's uid, time and generated name before anything else looks at them.
func stampFirst(next genericregistry.BeginCreateFunc) genericregistry.BeginCreateFunc {
	return func(ctx context.Context, obj runtime.Object, opts *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		c, ok := ClusterFrom(ctx)
		if !ok {
			return nil, errNoCluster
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		c.stamp(m)
		if next != nil {
			return next(ctx, obj, opts)
		}
		return func(context.Context, bool) {}, nil
	}
}
