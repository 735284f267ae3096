package apiserver

import (
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	genericapi "k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// endpoint is what upstream's installer knows of one resource or subresource in one version: enough to write to its storage as the HTTP
// handlers do.
type endpoint struct {
	storage rest.Storage
	scope   *handlers.RequestScope
	// namespaced says whether requests for it have a namespace.
	namespaced bool
	goType     reflect.Type // of the versioned object
	listKeys   map[string]bool
	verify     bool // every answer of memo is compared with upstream's
	memo       managedMemo
}

type endpointKey struct {
	resource schema.GroupVersionResource
	sub      string
}

// endpoint returns the endpoint of a resource in a version, made when it is first used.
func (s *Server) endpoint(gvr schema.GroupVersionResource, sub string) (*endpoint, error) {
	key := endpointKey{gvr, sub}
	if e, ok := s.endpoints.Load(key); ok {
		return e.(*endpoint), nil
	}
	name := gvr.Resource
	if sub != "" {
		name += "/" + sub
	}
	storage, ok := s.storages[gvr.Group][gvr.Version][name]
	if !ok {
		return nil, fmt.Errorf("the server serves no %s in %s", name, gvr.GroupVersion())
	}
	e, err := s.newEndpoint(gvr, sub, storage)
	if err != nil {
		return nil, err
	}
	have, _ := s.endpoints.LoadOrStore(key, e)
	return have.(*endpoint), nil
}

func (s *Server) newEndpoint(gvr schema.GroupVersionResource, sub string, storage rest.Storage) (*endpoint, error) {
	scheme := legacyscheme.Scheme
	kind, err := genericapi.GetResourceKind(gvr.GroupVersion(), storage, scheme)
	if err != nil {
		return nil, err
	}
	scope := &handlers.RequestScope{
		Creater: scheme, Convertor: scheme, Defaulter: scheme, Typer: scheme, UnsafeConvertor: runtime.UnsafeObjectConvertor(scheme),
		Authorizer: s.authorizer, EquivalentResourceMapper: s.generic.EquivalentResourceRegistry,
		Resource: gvr, Subresource: sub, Kind: kind,
		HubGroupVersion:  schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal},
		MetaGroupVersion: metav1.SchemeGroupVersion,
	}
	e := &endpoint{storage: storage, scope: scope, verify: s.cfg.Verify}
	parent := s.storages[gvr.Group][gvr.Version][gvr.Resource]
	if scoper, ok := parent.(rest.Scoper); ok {
		e.namespaced = scoper.NamespaceScoped()
	}
	sample, err := scheme.New(kind)
	if err != nil {
		return nil, err
	}
	e.goType = reflect.TypeOf(sample).Elem()
	converter, err := s.typeConverter()
	if err != nil {
		return nil, err
	}
	e.listKeys = s.convert.listKeys
	scope.FieldManager, err = managedfields.NewDefaultFieldManager(converter, scope.UnsafeConvertor, scheme, scheme, kind, scope.HubGroupVersion, sub, resetFields(storage))
	return e, err
}

func resetFields(storage rest.Storage) map[fieldpath.APIVersion]fieldpath.Filter {
	if r, ok := storage.(rest.ResetFieldsFilterStrategy); ok {
		return r.GetResetFieldsFilter()
	}
	if r, ok := storage.(rest.ResetFieldsStrategy); ok {
		return fieldpath.NewExcludeFilterSetMap(r.GetResetFields())
	}
	return nil
}

// typeConverter is made once, from the schemas of everything that is served, as upstream's installer makes its own.
func (s *Server) typeConverter() (managedfields.TypeConverter, error) {
	s.convert.once.Do(func() {
		var names []string
		for group, versions := range s.storages {
			for version, resources := range versions {
				for _, storage := range resources {
					kind, err := genericapi.GetResourceKind(schema.GroupVersion{Group: group, Version: version}, storage, legacyscheme.Scheme)
					if err != nil {
						s.convert.err = err
						return
					}
					sample, err := legacyscheme.Scheme.New(kind)
					if err != nil {
						s.convert.err = err
						return
					}
					if name := util.GetCanonicalTypeName(sample); !slices.Contains(names, name) {
						names = append(names, name)
					}
				}
			}
		}
		slices.Sort(names)
		definitions, err := builder3.BuildOpenAPIDefinitionsForResources(s.openAPI, names...)
		if err != nil {
			s.convert.err = err
			return
		}
		s.convert.listKeys = listKeys(definitions)
		s.convert.converter, s.convert.err = managedfields.NewTypeConverter(definitions, false)
	})
	return s.convert.converter, s.convert.err
}

// listKeys are the fields that key the elements of some list of some kind.
func listKeys(definitions map[string]*spec.Schema) map[string]bool {
	keys := map[string]bool{}
	var visit func(s *spec.Schema)
	visit = func(s *spec.Schema) {
		if names, ok := s.Extensions.GetStringSlice("x-kubernetes-list-map-keys"); ok {
			for _, name := range names {
				keys[name] = true
			}
		}
		for _, p := range s.Properties {
			visit(&p)
		}
		if s.Items != nil && s.Items.Schema != nil {
			visit(s.Items.Schema)
		}
		if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
			visit(s.AdditionalProperties.Schema)
		}
	}
	for _, s := range definitions {
		visit(s)
	}
	return keys
}

// message is what generated k8s.io/api types implement for protobuf.
type message interface {
	runtime.Object
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// decode brings a caller's object into the form that a request's body would have been decoded to: a copy through the wire format, so that
// what it cannot carry (fractions of a second, empty maps) is dropped, with defaults, in the internal version.
func (e *endpoint) decode(obj runtime.Object) (runtime.Object, error) {
	m, ok := obj.(message)
	if !ok || reflect.TypeOf(obj).Elem() != e.goType {
		return nil, fmt.Errorf("%s takes a %s, not a %T", e.scope.Kind, e.goType, obj)
	}
	data, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	fresh := reflect.New(e.goType).Interface().(message)
	if err := fresh.Unmarshal(data); err != nil {
		return nil, err
	}
	fresh.GetObjectKind().SetGroupVersionKind(e.scope.Kind)
	legacyscheme.Scheme.Default(fresh)
	return legacyscheme.Scheme.UnsafeConvertToVersion(fresh, e.scope.HubGroupVersion)
}

// encode returns what a client would receive for a result, as the caller's own copy.
func (e *endpoint) encode(result runtime.Object) (runtime.Object, error) {
	if st, ok := result.(*metav1.Status); ok {
		return st, nil
	}
	out, err := legacyscheme.Scheme.UnsafeConvertToVersion(result, e.scope.Kind.GroupVersion())
	if err != nil {
		return nil, err
	}
	return out.DeepCopyObject(), nil
}

// dedupOwners drops owner references that are the same, as the handlers do.
func dedupOwners(obj runtime.Object) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	refs := m.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var kept []metav1.OwnerReference
	for _, r := range refs {
		if !slices.ContainsFunc(kept, func(k metav1.OwnerReference) bool { return reflect.DeepEqual(k, r) }) {
			kept = append(kept, r)
		}
	}
	if len(kept) < len(refs) {
		m.SetOwnerReferences(kept)
	}
}
