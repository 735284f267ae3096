package apiserver

import (
	"context"
	"net/http"

	"github.com/drydock-labs/drydock/orchestrator/store"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Client returns a client that writes under an identity through the server's own pipeline; its name in managedFields is that of upstream's
// component with this identity.
func (c *Cluster) Client(who user.Info) store.Client {
	return c.ClientAs(who, managerOf(who.GetName()))
}

// ClientAs is Client with a manager's name.
func (c *Cluster) ClientAs(who user.Info, manager string) store.Client {
	return &client{cluster: c, user: withAll(who), manager: manager, http: &httpClient{cluster: c, user: withAll(who), manager: manager}}
}

// client does what upstream's request handlers do between decoding a body and encoding the answer, and leaves out HTTP and serialisation.
// The exported suite (package clienttest) compares what both store. Patches go through the handler: they are the handlers' own business.
type client struct {
	cluster *Cluster
	user    *user.DefaultInfo
	manager string
	http    *httpClient
}

// call is one write on its way.
type call struct {
	*endpoint
	ctx     context.Context
	client  *client
	ns      string
	name    string
	verb    string
	admit   admission.Interface
	managed string
}

// begin authorises a write and prepares its context as the handler chain would.
func (cl *client) begin(ctx context.Context, verb string, gr schema.GroupResource, ns, name, sub string, obj runtime.Object) (*call, error) {
	versioned := obj
	if sub != "" && sub != "status" {
		versioned = nil
	}
	gv, err := cl.cluster.server.version(gr, versioned)
	if err != nil {
		return nil, err
	}
	e, err := cl.cluster.server.endpoint(gv.WithResource(gr.Resource), sub)
	if err != nil {
		return nil, err
	}
	if !e.namespaced {
		ns = ""
	}
	info := &request.RequestInfo{IsResourceRequest: true, Verb: verb, APIPrefix: "apis", APIGroup: gr.Group, APIVersion: gv.Version, Namespace: ns, Resource: gr.Resource, Subresource: sub, Name: name}
	if gr.Group == "" {
		info.APIPrefix = "api"
	}
	if gr.Resource == "namespaces" && gr.Group == "" {
		info.Namespace = name // as in the path /api/v1/namespaces/NAME
	}
	ctx = request.WithRequestInfo(request.WithUser(WithCluster(ctx, cl.cluster), cl.user), info)
	attrs := authorizer.AttributesRecord{User: cl.user, Verb: verb, Namespace: info.Namespace, APIGroup: gr.Group, APIVersion: gv.Version, Resource: gr.Resource, Subresource: sub, Name: name, ResourceRequest: true}
	decision, reason, err := cl.cluster.server.authorizer.Authorize(ctx, attrs)
	if decision != authorizer.DecisionAllow {
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		return nil, responsewriters.ForbiddenStatusError(attrs, reason)
	}
	if store.CauseFrom(ctx) == (store.Cause{}) {
		ctx = store.WithCause(ctx, store.Cause{Kind: store.CauseRequest, Component: cl.manager})
	}
	return &call{endpoint: e, ctx: ctx, client: cl, ns: ns, name: name, verb: verb,
		admit: clusterAdmission{}, managed: cl.manager}, nil // the handlers also check managedFields after it: no plugin here touches them
}

// finish turns a storage's answer into what the client gets.
func (c *call) finish(result runtime.Object, err error) (runtime.Object, error) {
	if err != nil {
		return nil, asStatus(err)
	}
	if st, ok := result.(*metav1.Status); ok && st.Status == metav1.StatusFailure {
		return nil, apierrors.FromObject(st)
	}
	return c.encode(result)
}

// asStatus makes every error the one that a client over HTTP gets.
func asStatus(err error) error {
	if _, ok := err.(*apierrors.StatusError); ok {
		return err
	}
	return &apierrors.StatusError{ErrStatus: *responsewriters.ErrorToAPIStatus(err)}
}

// Create implements store.Client.
func (cl *client) Create(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error) {
	c, err := cl.begin(ctx, "create", gr, ns, "", "", obj)
	if err != nil {
		return nil, err
	}
	return c.create(obj)
}

func (c *call) create(versioned runtime.Object) (runtime.Object, error) {
	obj, err := c.decode(versioned)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	ctx, name, ns := c.ctx, c.name, c.ns
	if name == "" {
		name, _ = nameOf(obj)
	}
	if c.scope.Resource.Resource == "namespaces" && c.scope.Resource.Group == "" {
		ns = name
	}
	ctx = request.WithNamespace(ctx, ns)
	if err := c.ownMetadata(obj, ns); err != nil {
		return nil, asStatus(err)
	}
	options := &metav1.CreateOptions{TypeMeta: metav1.TypeMeta{Kind: "CreateOptions", APIVersion: "meta.k8s.io/v1"}}
	attrs := admission.NewAttributesRecord(obj, nil, c.scope.Kind, ns, name, c.scope.Resource, c.scope.Subresource, admission.Create, options, false, c.client.user)
	dedupOwners(obj)
	live, err := c.scope.Creater.New(c.scope.Kind)
	if err != nil {
		return nil, asStatus(err)
	}
	obj = c.manage(live, obj, c.managed)
	if err := c.admit.(admission.MutationInterface).Admit(ctx, attrs, c.scope); err != nil {
		return nil, asStatus(err)
	}
	dedupOwners(obj)
	validate := rest.AdmissionToValidateObjectFunc(c.admit, attrs, c.scope)
	switch st := c.storage.(type) {
	case rest.NamedCreater:
		return c.created(st.Create(ctx, name, obj, validate, options))
	case rest.Creater:
		return c.created(st.Create(ctx, obj, validate, options))
	}
	return nil, apierrors.NewMethodNotSupported(c.scope.Resource.GroupResource(), "create")
}

// created finishes a create: a bare status gets the code that the handlers give it.
func (c *call) created(result runtime.Object, err error) (runtime.Object, error) {
	if st, ok := result.(*metav1.Status); ok && err == nil && st.Code == 0 {
		st.Code = http.StatusCreated
	}
	return c.finish(result, err)
}

// ownMetadata wipes what only the system may set and checks the namespace.
func (c *call) ownMetadata(obj runtime.Object, ns string) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil // no metadata, nothing to wipe
	}
	keep, ok := c.storage.(rest.SubresourceObjectMetaPreserver)
	if c.scope.Subresource == "" || !ok || !keep.PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() {
		rest.WipeObjectMetaSystemFields(m)
	}
	return rest.EnsureObjectNamespaceMatchesRequestNamespace(rest.ExpectedNamespaceForResource(ns, c.scope.Resource), m)
}

// Update implements store.Client.
func (cl *client) Update(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error) {
	return cl.update(ctx, gr, ns, "", "", obj)
}

// UpdateStatus implements store.Client.
func (cl *client) UpdateStatus(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error) {
	return cl.update(ctx, gr, ns, "", "status", obj)
}

func (cl *client) update(ctx context.Context, gr schema.GroupResource, ns, name, sub string, versioned runtime.Object) (runtime.Object, error) {
	own, err := nameOf(versioned)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if name == "" {
		name = own
	}
	c, err := cl.begin(ctx, "update", gr, ns, name, sub, versioned)
	if err != nil {
		return nil, err
	}
	updater, ok := c.storage.(rest.Updater)
	if !ok {
		return nil, apierrors.NewMethodNotSupported(gr, "update")
	}
	obj, err := c.decode(versioned)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if m, err := meta.Accessor(obj); err == nil {
		if err := rest.EnsureObjectNamespaceMatchesRequestNamespace(rest.ExpectedNamespaceForResource(c.ns, c.scope.Resource), m); err != nil {
			return nil, asStatus(err)
		}
		if m.GetName() != name {
			return nil, apierrors.NewBadRequest("the name of the object (" + m.GetName() + ") does not match the name on the URL (" + name + ")")
		}
	}
	dedupOwners(obj)
	return c.putTo(updater, obj)
}

// putTo is the second half of an update: the transformers that the handlers use run inside the storage, over the newest state.
func (c *call) putTo(updater rest.Updater, obj runtime.Object) (runtime.Object, error) {
	ns := c.ns
	if c.scope.Resource.Resource == "namespaces" && c.scope.Resource.Group == "" {
		ns = c.name
	}
	ctx := request.WithNamespace(c.ctx, ns)
	options := &metav1.UpdateOptions{TypeMeta: metav1.TypeMeta{Kind: "UpdateOptions", APIVersion: "meta.k8s.io/v1"}}
	createOptions := &metav1.CreateOptions{TypeMeta: metav1.TypeMeta{Kind: "CreateOptions", APIVersion: "meta.k8s.io/v1"}}
	record := func(newObj, oldObj runtime.Object, op admission.Operation, o runtime.Object) admission.Attributes {
		return admission.NewAttributesRecord(newObj, oldObj, c.scope.Kind, ns, c.name, c.scope.Resource, c.scope.Subresource, op, o, false, c.client.user)
	}
	transform := func(ctx context.Context, newObj, oldObj runtime.Object) (runtime.Object, error) {
		newObj = c.manage(oldObj, newObj, c.managed)
		attrs := record(newObj, oldObj, admission.Update, options)
		if m, err := meta.Accessor(oldObj); err != nil {
			return nil, err
		} else if m.GetUID() == "" {
			attrs = record(newObj, nil, admission.Create, createOptions)
		}
		if err := c.admit.(admission.MutationInterface).Admit(ctx, attrs, c.scope); err != nil {
			return nil, err
		}
		dedupOwners(newObj)
		return newObj, nil
	}
	mayCreate := c.authorised("create", rest.AdmissionToValidateObjectFunc(c.admit, record(nil, nil, admission.Create, createOptions), c.scope))
	result, _, err := updater.Update(ctx, c.name, rest.DefaultUpdatedObjectInfo(obj, transform), mayCreate,
		rest.AdmissionToValidateObjectUpdateFunc(c.admit, record(nil, nil, admission.Update, options), c.scope), false, options)
	return c.finish(result, err)
}

// authorised validates a create that an update turned into, if the user may create.
func (c *call) authorised(verb string, validate rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		attrs := authorizer.AttributesRecord{User: c.client.user, Verb: verb, Namespace: c.ns, APIGroup: c.scope.Resource.Group, APIVersion: c.scope.Resource.Version,
			Resource: c.scope.Resource.Resource, Subresource: c.scope.Subresource, Name: c.name, ResourceRequest: true}
		decision, reason, err := c.client.cluster.server.authorizer.Authorize(ctx, attrs)
		if decision == authorizer.DecisionAllow {
			return validate(ctx, obj)
		}
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		return responsewriters.ForbiddenStatusError(attrs, reason)
	}
}

// Patch implements store.Client.
func (cl *client) Patch(ctx context.Context, gr schema.GroupResource, ns, name string, pt types.PatchType, data []byte, sub string) (runtime.Object, error) {
	return cl.http.Patch(ctx, gr, ns, name, pt, data, sub)
}

// Delete implements store.Client.
func (cl *client) Delete(ctx context.Context, gr schema.GroupResource, ns, name string, opts *metav1.DeleteOptions) error {
	c, err := cl.begin(ctx, "delete", gr, ns, name, "", nil)
	if err != nil {
		return err
	}
	deleter, ok := c.storage.(rest.GracefulDeleter)
	if !ok {
		return apierrors.NewMethodNotSupported(gr, "delete")
	}
	options := &metav1.DeleteOptions{}
	if opts != nil {
		options = opts.DeepCopy()
	}
	if errs := metav1validation.ValidateDeleteOptions(options); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	options.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("DeleteOptions"))
	if gr.Resource == "namespaces" && gr.Group == "" {
		c.ns = name
	}
	ctx = request.WithNamespace(c.ctx, c.ns)
	attrs := admission.NewAttributesRecord(nil, nil, c.scope.Kind, c.ns, name, c.scope.Resource, "", admission.Delete, options, false, cl.user)
	if _, _, err = deleter.Delete(ctx, name, rest.AdmissionToValidateObjectDeleteFunc(clusterAdmission{}, attrs, c.scope), options); err != nil {
		return asStatus(err)
	}
	return nil
}

// Subresource implements store.Client.
func (cl *client) Subresource(ctx context.Context, gr schema.GroupResource, ns, name, sub string, obj runtime.Object) (runtime.Object, error) {
	if updated[sub] {
		return cl.update(ctx, gr, ns, name, sub, obj)
	}
	c, err := cl.begin(ctx, "create", gr, ns, name, sub, obj)
	if err != nil {
		return nil, err
	}
	return c.create(obj)
}
