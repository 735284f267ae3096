package informer

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// Component is one part of the control plane as the rest of the cluster sees it: who it is, how it writes, what it reads.
type Component struct {
	Name   string // as in the cause of its commits, such as "replicaset-controller"
	Loop   *loop.Loop
	Reader store.Reader
	Pods   *Index
	Client store.Client
}

// Context is the context for a write made because of t. detail says what moved the component: a reason code with parameters, such
// as "replicas wanted=3 had=2".
func (c *Component) Context(t loop.Trigger, detail string, args ...any) context.Context {
	kind := store.CauseEvent
	switch {
	case t.Tick:
		kind = store.CauseTick
	case t.Parent == 0:
		kind = store.CauseBoot
	}
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	return store.WithCause(context.Background(), store.Cause{Kind: kind, Component: c.Name, Detail: detail, Parent: t.Parent, Step: t.Step})
}

// Retry sorts the error of a write: nil and (where missing is fine) "not found" are done with, a lost race is tried again at once,
// anything else backs off.
func Retry(err error) error {
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return loop.Again{Err: err}
	}
	return err
}
