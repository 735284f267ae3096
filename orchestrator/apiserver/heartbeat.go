package apiserver

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/apis/coordination"
	"k8s.io/kubernetes/pkg/apis/core"
)

// beatLease is a Lease as its holder would have renewed it at the beat, with the time of the holder's managedFields entry.
func beatLease(obj runtime.Object, beat time.Time) runtime.Object {
	old := obj.(*coordination.Lease)
	if old.Spec.RenewTime != nil && !beat.After(old.Spec.RenewTime.Time) {
		return obj
	}
	l := *old
	t := metav1.NewMicroTime(beat)
	l.Spec.RenewTime = &t
	if i := latestManager(l.ManagedFields); i >= 0 {
		l.ManagedFields = slices.Clone(l.ManagedFields)
		at := metav1.NewTime(beat.Truncate(time.Second))
		l.ManagedFields[i].Time = &at
	}
	return &l
}

func latestManager(entries []metav1.ManagedFieldsEntry) int {
	latest := -1
	for i, e := range entries {
		if e.Time != nil && (latest < 0 || !e.Time.Before(entries[latest].Time)) {
			latest = i
		}
	}
	return latest
}

// beatNode is a Node whose kubelet reported its unchanged conditions at the beat.
func beatNode(obj runtime.Object, beat time.Time) runtime.Object {
	n := *obj.(*core.Node)
	n.Status.Conditions = slices.Clone(n.Status.Conditions)
	at := metav1.NewTime(beat.Truncate(time.Second))
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.LastHeartbeatTime.Before(&at) && !c.LastHeartbeatTime.IsZero() {
			c.LastHeartbeatTime = at
		}
	}
	return &n
}

// restampPod gives pod conditions that this process stamped (they alone have fractions of a second) the cluster's time.
func restampPod(obj runtime.Object, now time.Time) {
	p, ok := obj.(*core.Pod)
	if !ok {
		return
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if c.LastTransitionTime.Nanosecond() != 0 {
			c.LastTransitionTime = at
		}
		if c.LastProbeTime.Nanosecond() != 0 {
			c.LastProbeTime = at
		}
	}
}
