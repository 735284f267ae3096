// Package events writes Kubernetes Events as upstream's components do: the same texts are given by the callers, and client-go's own
// correlator decides what is counted up, aggregated or dropped as spam.
//
// It does not know who emits. A Recorder belongs to one cluster and is used from its loop only.
package events

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// Clock tells the lab's time.
type Clock interface{ Now() time.Time }

// Recorder correlates the events of one cluster.
type Recorder struct {
	clock      Clock
	correlator *record.EventCorrelator // made at the first event: an idle cluster has none
	last       int64                   // nanoseconds in the last event's name: names are unique even while the clock stands still
}

// NewRecorder makes a recorder.
func NewRecorder(clock Clock) *Recorder { return &Recorder{clock: clock} }

type passive struct{ Clock }

func (p passive) Since(t time.Time) time.Duration { return p.Now().Sub(t) }

// Source is one emitter, such as the kubelet of a node.
type Source struct {
	recorder  *Recorder
	component *informer.Component
	source    v1.EventSource
}

// For returns the emitter for a component. name is the event's source component ("kubelet", "default-scheduler"), host the node or "".
func (r *Recorder) For(c *informer.Component, name, host string) *Source {
	return &Source{recorder: r, component: c, source: v1.EventSource{Component: name, Host: host}}
}

// Normal emits an event of type Normal about obj. ctx carries the cause.
func (s *Source) Normal(ctx context.Context, obj runtime.Object, reason, format string, args ...any) {
	s.emit(ctx, obj, "", v1.EventTypeNormal, reason, fmt.Sprintf(format, args...))
}

// Warning emits an event of type Warning about obj.
func (s *Source) Warning(ctx context.Context, obj runtime.Object, reason, format string, args ...any) {
	s.emit(ctx, obj, "", v1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}

// Field emits an event about a part of obj, such as "spec.containers{web}".
func (s *Source) Field(ctx context.Context, obj runtime.Object, path, eventType, reason, format string, args ...any) {
	s.emit(ctx, obj, path, eventType, reason, fmt.Sprintf(format, args...))
}

func (s *Source) emit(ctx context.Context, obj runtime.Object, path, eventType, reason, message string) {
	ref, err := reference.GetReference(scheme.Scheme, obj)
	if err != nil {
		return // an object without a kind cannot be referred to; only a programming error makes one
	}
	ref.FieldPath = path
	r := s.recorder
	if r.correlator == nil {
		r.correlator = record.NewEventCorrelatorWithOptions(record.CorrelatorOptions{Clock: passive{r.clock}})
	}
	res, err := r.correlator.EventCorrelate(s.event(ref, eventType, reason, message))
	if err != nil || res.Skip {
		return
	}
	if written, err := s.write(ctx, res); err == nil {
		r.correlator.UpdateState(written)
	}
}

func (s *Source) event(ref *v1.ObjectReference, eventType, reason, message string) *v1.Event {
	now := s.recorder.clock.Now()
	s.recorder.last = max(now.UnixNano(), s.recorder.last+1)
	ns := ref.Namespace
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	return &v1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("%s.%x", ref.Name, s.recorder.last), Namespace: ns},
		InvolvedObject: *ref, Reason: reason, Message: message, Type: eventType,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now), Count: 1,
		Source: s.source, ReportingController: s.source.Component, ReportingInstance: s.source.Host,
	}
}

// write stores the correlated event. A refusal (the namespace is going away, a limit is reached) drops it, as upstream does.
func (s *Source) write(ctx context.Context, res *record.EventCorrelateResult) (*v1.Event, error) {
	e := res.Event
	if len(res.Patch) > 0 && e.Count > 1 {
		// Upstream sends res.Patch; it says no more than these three fields.
		if old, ok := informer.Get[*v1.Event](s.component.Reader, informer.Events, e.Namespace, e.Name); ok {
			next := old.DeepCopy()
			next.Count, next.LastTimestamp, next.Message = e.Count, e.LastTimestamp, e.Message
			obj, err := s.component.Client.Update(ctx, informer.Events, e.Namespace, next)
			if err == nil {
				return obj.(*v1.Event), nil
			}
			if !errors.IsNotFound(err) {
				return nil, err
			}
		}
	}
	e.ResourceVersion = ""
	obj, err := s.component.Client.Create(ctx, informer.Events, e.Namespace, e)
	if err != nil {
		return nil, err
	}
	return obj.(*v1.Event), nil
}
