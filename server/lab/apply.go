package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/drydock-labs/drydock/server/api"
)

// manager is who owns applied fields: kubectl, so that the editor and the terminal continue each other's work.
const manager = "kubectl"

// Bounds of what is applied at once.
const (
	manifestBytes = 1 << 20
	manifestDocs  = 200
)

// discovery is which resource a kind is, read once: all clusters serve the same. What failed is read again by the next who asks.
type discovery struct {
	mu     sync.Mutex      // held while it is read from a cluster
	mapper meta.RESTMapper // protected by mu
}

func (d *discovery) get(l *Lab) (meta.RESTMapper, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mapper != nil {
		return d.mapper, nil
	}
	client, err := clientdiscovery.NewDiscoveryClientForConfig(l.cluster.RESTConfig(Learner, AdminGroup))
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(client)
	if err != nil {
		return nil, err
	}
	d.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	return d.mapper, nil
}

// Apply implements api.Lab: server-side apply under kubectl's name, each document for itself.
func (l *Lab) Apply(ctx context.Context, manifests []byte) ([]api.Applied, error) {
	docs, err := split(manifests)
	if err != nil {
		return nil, err
	}
	mapper, err := l.host.discover.get(l)
	if err != nil {
		return nil, err
	}
	out := make([]api.Applied, 0, len(docs))
	for _, d := range docs {
		out = append(out, l.applyOne(ctx, mapper, d))
	}
	return out, ctx.Err()
}

// split parses a YAML stream (or JSON) into objects; documents that hold nothing are left out.
func split(manifests []byte) ([]*unstructured.Unstructured, error) {
	if len(manifests) > manifestBytes {
		return nil, fmt.Errorf("the manifests have %d bytes; at most %d are applied at once", len(manifests), manifestBytes)
	}
	var docs []*unstructured.Unstructured
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096)
	for {
		var m map[string]any
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(docs)+1, err)
		}
		if len(m) == 0 {
			continue
		}
		if docs = append(docs, &unstructured.Unstructured{Object: m}); len(docs) > manifestDocs {
			return nil, fmt.Errorf("more than %d documents", manifestDocs)
		}
	}
	if len(docs) == 0 {
		return nil, errors.New("no objects passed to apply")
	}
	return docs, nil
}

func (l *Lab) applyOne(ctx context.Context, mapper meta.RESTMapper, u *unstructured.Unstructured) api.Applied {
	a := api.Applied{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
	result, err := l.patch(ctx, mapper, u, &a)
	if err != nil {
		a.Err = err.Error()
		return a
	}
	a.Result = result
	return a
}

// patch applies one object and tells whether it was created, configured or left unchanged.
func (l *Lab) patch(ctx context.Context, mapper meta.RESTMapper, u *unstructured.Unstructured, a *api.Applied) (string, error) {
	gvk := u.GroupVersionKind()
	switch {
	case gvk.Kind == "":
		return "", errors.New("kind not set")
	case gvk.Version == "":
		return "", errors.New("apiVersion not set")
	case u.GetName() == "":
		return "", errors.New("metadata.name not set")
	}
	m, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return "", fmt.Errorf("%w\nensure CRDs are installed first", err)
	}
	cfg := l.cluster.RESTConfig(Learner, AdminGroup)
	cfg.UserAgent = "editor"
	cfg.WarningHandler = warnings{a}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	target := dynamic.ResourceInterface(client.Resource(m.Resource))
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		if a.Namespace == "" {
			a.Namespace = metav1.NamespaceDefault
		}
		target = client.Resource(m.Resource).Namespace(a.Namespace)
	}
	before, err := target.Get(ctx, a.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	exists := err == nil
	if exists {
		if err := adopt(ctx, target, before); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(u)
	if err != nil {
		return "", err
	}
	after, err := target.Patch(ctx, a.Name, types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: manager, FieldValidation: metav1.FieldValidationStrict})
	switch {
	case err != nil:
		return "", err
	case !exists:
		return "created", nil
	case after.GetResourceVersion() == before.GetResourceVersion():
		return "unchanged", nil
	}
	return "configured", nil
}

// adopt turns the ownership that a client-side apply left into that of server-side apply, as kubectl does, so that the two don't conflict.
func adopt(ctx context.Context, target dynamic.ResourceInterface, live *unstructured.Unstructured) error {
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New("kubectl-client-side-apply"), manager)
	if err != nil || patch == nil {
		return err
	}
	after, err := target.Patch(ctx, live.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{})
	if err == nil {
		live.SetResourceVersion(after.GetResourceVersion())
	}
	return err
}

// warnings collects what the API server warns of.
type warnings struct{ to *api.Applied }

// HandleWarningHeader implements rest.WarningHandler.
func (w warnings) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 && strings.TrimSpace(text) != "" {
		w.to.Warnings = append(w.to.Warnings, text)
	}
}
