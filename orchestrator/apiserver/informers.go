package apiserver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	resourceinformers "k8s.io/client-go/informers/resource"
	schedulinginformers "k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// informerFactory gives upstream's admission plugins listers that read a cluster's store. Nothing is cached and nothing runs: the store is
// always in step with itself.
type informerFactory struct {
	informers.SharedInformerFactory // only the groups below are asked for
	cluster                         *Cluster
}

// Core implements informers.SharedInformerFactory.
func (f informerFactory) Core() coreinformers.Interface { return coreinformers.New(f, "", nil) }

// Scheduling implements informers.SharedInformerFactory.
func (f informerFactory) Scheduling() schedulinginformers.Interface {
	return schedulinginformers.New(f, "", nil)
}

// Resource implements informers.SharedInformerFactory.
func (f informerFactory) Resource() resourceinformers.Interface {
	return resourceinformers.New(f, "", nil)
}

// Start implements informers.SharedInformerFactory.
func (f informerFactory) Start(<-chan struct{}) {}

// InformerFor implements informers.SharedInformerFactory.
func (f informerFactory) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	gvks, _, err := legacyscheme.Scheme.ObjectKinds(obj)
	if err != nil {
		panic(fmt.Sprintf("informer for %T: %v", obj, err)) // a type that is not Kubernetes': a mistake in this package
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvks[0])
	return &storeInformer{index: &storeIndexer{cluster: f.cluster, resource: plural.GroupResource()}}
}

// storeInformer is an informer that is always in sync. Handlers are never called: those that matter here only fill caches from a first list.
type storeInformer struct {
	cache.SharedIndexInformer
	index *storeIndexer
}

func (i *storeInformer) HasSynced() bool                        { return true }
func (i *storeInformer) HasSyncedChecker() cache.DoneChecker    { return synced{} }
func (i *storeInformer) GetIndexer() cache.Indexer              { return i.index }
func (i *storeInformer) GetStore() cache.Store                  { return i.index }
func (i *storeInformer) Run(<-chan struct{})                    {}
func (i *storeInformer) RunWithContext(context.Context)         {}
func (i *storeInformer) AddIndexers(x cache.Indexers) error     { return i.index.AddIndexers(x) }
func (i *storeInformer) SetTransform(cache.TransformFunc) error { return nil }
func (i *storeInformer) IsStopped() bool                        { return false }
func (i *storeInformer) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return synced{}, nil
}
func (i *storeInformer) AddEventHandlerWithResyncPeriod(cache.ResourceEventHandler, time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return synced{}, nil
}
func (i *storeInformer) AddEventHandlerWithOptions(cache.ResourceEventHandler, cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return synced{}, nil
}
func (i *storeInformer) RemoveEventHandler(cache.ResourceEventHandlerRegistration) error { return nil }

type synced struct{}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (synced) HasSynced() bool                     { return true }
func (synced) HasSyncedChecker() cache.DoneChecker { return synced{} }
func (synced) Name() string                        { return "store" }
func (synced) Done() <-chan struct{}               { return closedChannel }

// storeIndexer reads one resource of a cluster.
type storeIndexer struct {
	cache.Indexer // the writing methods are never called
	cluster       *Cluster
	resource      schema.GroupResource

	mu       sync.Mutex
	indexers cache.Indexers // protected by mu
}

// List implements cache.Store.
func (s *storeIndexer) List() []any { return s.list("") }

func (s *storeIndexer) list(ns string) []any {
	objs := s.cluster.store.List(s.resource, ns, nil)
	out := make([]any, len(objs))
	for i, o := range objs {
		out[i] = o
	}
	return out
}

// ListKeys implements cache.Store.
func (s *storeIndexer) ListKeys() []string {
	var keys []string
	for _, o := range s.List() {
		if k, err := cache.MetaNamespaceKeyFunc(o); err == nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// Get implements cache.Store.
func (s *storeIndexer) Get(obj any) (any, bool, error) {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return nil, false, err
	}
	return s.GetByKey(key)
}

// GetByKey implements cache.Store.
func (s *storeIndexer) GetByKey(key string) (any, bool, error) {
	ns, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil, false, err
	}
	obj, ok := s.cluster.store.Get(s.resource, ns, name)
	return obj, ok, nil
}

// Index implements cache.Indexer.
func (s *storeIndexer) Index(name string, obj any) ([]any, error) {
	if name == cache.NamespaceIndex {
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		return s.list(m.GetNamespace()), nil
	}
	f, err := s.indexer(name)
	if err != nil {
		return nil, err
	}
	values, err := f(obj)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, v := range values {
		found, err := s.ByIndex(name, v)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// ByIndex implements cache.Indexer.
func (s *storeIndexer) ByIndex(name, value string) ([]any, error) {
	if name == cache.NamespaceIndex {
		return s.Index(name, &metav1.ObjectMeta{Namespace: value})
	}
	f, err := s.indexer(name)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, o := range s.List() {
		values, err := f(o)
		if err != nil {
			return nil, err
		}
		if slices.Contains(values, value) {
			out = append(out, o)
		}
	}
	return out, nil
}

func (s *storeIndexer) indexer(name string) (cache.IndexFunc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.indexers[name]
	if !ok {
		return nil, fmt.Errorf("%s have no index %q", s.resource, name)
	}
	return f, nil
}

// GetIndexers implements cache.Indexer.
func (s *storeIndexer) GetIndexers() cache.Indexers { return cache.Indexers{} }

// AddIndexers implements cache.Indexer.
func (s *storeIndexer) AddIndexers(x cache.Indexers) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.indexers == nil {
		s.indexers = cache.Indexers{}
	}
	for name, f := range x {
		s.indexers[name] = f
	}
	return nil
}
