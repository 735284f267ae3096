// Package store keeps the objects of many clusters: for each a persistent tree of immutable entries and a bounded log of every change with
// its cause. It implements the API server's storage.Interface on top of that, so that one API server serves every cluster: the request's
// context names the cluster (WithCluster), and a context that names none is an error.
//
// It knows keys, bytes, revisions and causes. It does not know users, admission, HTTP, controllers or wall clocks.
//
// README.md explains the model.
//
// Lock order: Cluster.deliver before Cluster.mu. The observers given to OnCommit run under deliver alone and must only enqueue.
package store

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Clock is the lab's clock: wall clock plus an offset, or paused, stepped and jumped.
type Clock interface {
	// Now is the current lab time.
	Now() time.Time
	// AfterFunc runs f once d of lab time has passed, on a shared timer goroutine; f must only enqueue or wake. stop reports whether it
	// prevented the run.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// CauseKind says what sort of thing led to a commit.
type CauseKind string

// The kinds of causes.
const (
	// CauseRequest is a request from outside the control plane: a person, kubectl, a pod's client.
	CauseRequest CauseKind = "request"
	// CauseEvent is a component that acted on an earlier commit, named by Parent.
	CauseEvent CauseKind = "event"
	// CauseTick is time that passed: a heartbeat, a timeout, an event's time to live.
	CauseTick CauseKind = "tick"
	// CauseFault is something done to the machines on purpose: a node powered off, a process killed.
	CauseFault CauseKind = "fault"
	// CauseBoot is the cluster's own bring-up.
	CauseBoot CauseKind = "boot"
)

// Cause says why a commit happened. The zero value is "unknown".
type Cause struct {
	Kind CauseKind
	// Actor is the API user that wrote, such as "system:serviceaccount:kube-system:replicaset-controller".
	Actor string
	// Component is the part that acted, such as "replicaset-controller" or "kubectl/v1.37.2" (an HTTP client's user agent up to the first space).
	Component string
	// Detail is free text for people, such as "POST /api/v1/namespaces/default/pods".
	Detail string
	// Parent is the revision that led to this one, 0 when none did.
	Parent int64
	// Step is the number of the loop's step in which the component acted, 0 outside a loop.
	Step uint64
}

type causeKey struct{}

// WithCause returns a context whose writes are recorded with the cause.
func WithCause(ctx context.Context, c Cause) context.Context {
	return context.WithValue(ctx, causeKey{}, c)
}

// CauseFrom returns the cause of a context, the zero Cause when it has none.
func CauseFrom(ctx context.Context) Cause {
	c, _ := ctx.Value(causeKey{}).(Cause)
	return c
}

// Op is what a commit did to its key.
type Op uint8

// The operations.
const (
	Create Op = iota + 1
	Update
	Delete
)

func (o Op) String() string {
	switch o {
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	}
	return "unknown"
}

// Commit is one revision: one key that was created, updated or deleted. It is shared and never changed.
type Commit struct {
	Rev      int64
	Time     time.Time // on the cluster's clock
	Key      string
	Resource schema.GroupResource
	// Namespace is empty for cluster-scoped resources.
	Namespace, Name string
	Op              Op
	// Bytes is the object in upstream's storage version as protobuf, without resourceVersion; for Delete it is the last state.
	Bytes []byte
	Cause Cause
	// Old is nil for Create, New is nil for Delete.
	Old, New *Entry
}

// Reader reads a cluster's newest state. What it returns is shared by everybody and must not be changed.
type Reader interface {
	// Get returns the object in its external (k8s.io/api) storage version, such as *v1.Pod. ns is "" for cluster-scoped resources.
	Get(gr schema.GroupResource, ns, name string) (runtime.Object, bool)
	// List returns the objects in key order (namespace, then name). ns "" means all namespaces, a nil selector selects everything.
	List(gr schema.GroupResource, ns string, sel labels.Selector) []runtime.Object
}

// Client writes to a cluster under one identity through the API server's whole pipeline (defaulting, conversion, authorisation, admission,
// managedFields) without HTTP. Objects are external (k8s.io/api) ones; those passed in are not changed, those returned belong to the caller.
// Errors are *errors.StatusError as a client over HTTP gets them. ns is "" for cluster-scoped resources. The cause comes from the context
// (WithCause); Actor is filled in when it is empty.
type Client interface {
	Create(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error)
	Update(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error)
	UpdateStatus(ctx context.Context, gr schema.GroupResource, ns string, obj runtime.Object) (runtime.Object, error)
	// Patch applies a JSON, merge, strategic merge or apply patch. subresource is "" for the object itself.
	Patch(ctx context.Context, gr schema.GroupResource, ns, name string, pt types.PatchType, data []byte, subresource string) (runtime.Object, error)
	// Delete deletes with the given options; nil means the resource's defaults.
	Delete(ctx context.Context, gr schema.GroupResource, ns, name string, opts *metav1.DeleteOptions) error
	// Subresource creates (binding, eviction, token) or updates (scale, resize, finalize, ephemeralcontainers) a subresource. obj is the
	// subresource's object, such as *v1.Binding, *policyv1.Eviction, *authenticationv1.TokenRequest or *autoscalingv1.Scale.
	Subresource(ctx context.Context, gr schema.GroupResource, ns, name, sub string, obj runtime.Object) (runtime.Object, error)
}
