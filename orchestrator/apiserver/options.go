package apiserver

import (
	"fmt"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/store"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	serveroptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	"k8s.io/kubernetes/pkg/kubeapiserver"
)

// restOptions gives upstream's registries our storage. Storage versions, codecs and which resources share storage are upstream's choice.
type restOptions struct {
	kinds   *store.Kinds
	factory *serverstorage.DefaultStorageFactory
}

func newRESTOptions(kinds *store.Kinds, ev basecompatibility.EffectiveVersion) (*restOptions, error) {
	cfg := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(ev)
	cfg.APIResourceConfig = controlplane.DefaultAPIResourceConfigSource()
	etcd := serveroptions.NewEtcdOptions(storagebackend.NewDefaultConfig("/", nil))
	etcd.DefaultStorageMediaType = runtime.ContentTypeProtobuf
	f, err := cfg.Complete(etcd).New()
	if err != nil {
		return nil, err
	}
	return &restOptions{kinds: kinds, factory: f}, nil
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (o *restOptions) GetRESTOptions(gr schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	cfg, err := o.factory.NewConfig(gr, example)
	if err != nil {
		return generic.RESTOptions{}, fmt.Errorf("storage of %s: %w", gr, err)
	}
	chosen := cfg.GroupResource
	if chosen.Group == "" && chosen.Resource == "" {
		chosen = gr
	}
	if gr.Group == "events.k8s.io" {
		chosen = schema.GroupResource{Resource: "events"} // both groups' events are the same objects
	}
	return generic.RESTOptions{
		StorageConfig:           cfg,
		Decorator:               o.decorate,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: 1,
		ResourcePrefix:          prefix(chosen),
	}, nil
}

func prefix(gr schema.GroupResource) string {
	if gr.Group == "" {
		return "/core/" + gr.Resource
	}
	return "/" + gr.Group + "/" + gr.Resource
}

// decorate implements generic.StorageDecorator: it makes the storage of one resource.
func (o *restOptions) decorate(cfg *storagebackend.ConfigForResource, prefix string, keyFunc func(runtime.Object) (string, error),
	newFunc, _ func() runtime.Object, _ storage.AttrFunc, _ storage.IndexerFuncs, _ *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	versioner := cfg.EncodeVersioner
	namespaced, err := isNamespaced(prefix, keyFunc, newFunc)
	if err != nil {
		return nil, nil, err
	}
	k := o.kinds.Add(store.Kind{
		Resource:   cfg.GroupResource,
		Prefix:     prefix + "/",
		Namespaced: namespaced,
		Codec:      cfg.Codec,
		New:        newFunc,
		ToExternal: func(obj runtime.Object) (runtime.Object, error) {
			return legacyscheme.Scheme.UnsafeConvertToVersion(obj, versioner)
		},
		Derive:  derivers[cfg.GroupResource],
		Restamp: restampers[cfg.GroupResource],
	})
	return store.NewStorage(k), func() {}, nil
}

// isNamespaced finds out from the key of an object whether its resource is namespaced.
func isNamespaced(prefix string, keyFunc func(runtime.Object) (string, error), newFunc func() runtime.Object) (bool, error) {
	obj := newFunc()
	m, err := meta.Accessor(obj)
	if err != nil {
		return false, err
	}
	m.SetNamespace("ns")
	m.SetName("name")
	key, err := keyFunc(obj)
	return key == prefix+"/ns/name", err
}

// derivers say how an object looks at a later beat of its heartbeat.
var derivers = map[schema.GroupResource]func(runtime.Object, time.Time) runtime.Object{
	{Group: "coordination.k8s.io", Resource: "leases"}: beatLease,
	{Resource: "nodes"}: beatNode,
}

// restampers put the cluster's time into fields that upstream sets from the wall clock.
var restampers = map[schema.GroupResource]func(runtime.Object, time.Time){
	{Resource: "pods"}: restampPod,
}
