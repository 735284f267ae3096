package store

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// stamped is how near to the wall clock a time must be to have been set by this process while it handled the request.
const stamped = time.Minute

// restamp puts the cluster's time where upstream put the wall clock's: the deletion time and the times of managedFields entries, and
// whatever the kind's own Restamp knows. before is the object's previous state, nil for a create.
func (k *Kind) restamp(obj, before runtime.Object, now time.Time) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	var was metav1.Object
	if before != nil {
		was, _ = meta.Accessor(before)
	}
	restampDeletion(m, was, now)
	restampManaged(m, was, now)
	if k.Restamp != nil {
		k.Restamp(obj, now)
	}
}

// restampDeletion: a first deletion is due a grace period from now; a changed grace period moves the time by the difference, never before now.
func restampDeletion(m, was metav1.Object, now time.Time) {
	if m.GetDeletionTimestamp() == nil || was == nil {
		return
	}
	old := was.GetDeletionTimestamp()
	grace, oldGrace := seconds(m.GetDeletionGracePeriodSeconds()), seconds(was.GetDeletionGracePeriodSeconds())
	due := now.Add(grace)
	switch {
	case old != nil && grace == oldGrace:
		due = old.Time
	case old != nil:
		if moved := old.Add(grace - oldGrace); moved.After(now) {
			due = moved
		} else {
			due = now
		}
	}
	t := metav1.NewTime(due.Truncate(time.Second))
	m.SetDeletionTimestamp(&t)
}

func seconds(s *int64) time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(*s) * time.Second
}

// restampManaged gives entries that were written by this request the cluster's time, and keeps upstream's order (by operation, time, manager).
func restampManaged(m, was metav1.Object, now time.Time) {
	entries := m.GetManagedFields()
	wall := time.Now()
	if d := wall.Sub(now); len(entries) == 0 || d > -time.Second && d < time.Second {
		return // the clocks agree
	}
	var old []metav1.ManagedFieldsEntry
	if was != nil {
		old = was.GetManagedFields()
	}
	t := metav1.NewTime(now.Truncate(time.Second))
	out := slices.Clone(entries)
	for i := range out {
		e := &out[i]
		if e.Time == nil || slices.ContainsFunc(old, func(o metav1.ManagedFieldsEntry) bool { return sameManager(o, *e) && o.Time.Equal(e.Time) }) {
			continue
		}
		if age := wall.Sub(e.Time.Time); age < stamped && age > -stamped {
			e.Time = &t
		}
	}
	slices.SortStableFunc(out, compareManaged)
	m.SetManagedFields(out)
}

func sameManager(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource
}

// compareManaged is the order in which upstream's field manager writes entries: applies first, then by time, then by name.
func compareManaged(a, b metav1.ManagedFieldsEntry) int {
	if a.Operation != b.Operation {
		if a.Operation == metav1.ManagedFieldsOperationApply {
			return -1
		}
		if b.Operation == metav1.ManagedFieldsOperationApply {
			return 1
		}
	}
	if a.Time != nil && b.Time != nil {
		if c := a.Time.Time.Compare(b.Time.Time); c != 0 {
			return c
		}
	}
	for _, p := range [][2]string{{a.Manager, b.Manager}, {a.APIVersion, b.APIVersion}, {a.Subresource, b.Subresource}} {
		if p[0] < p[1] {
			return -1
		}
		if p[0] > p[1] {
			return 1
		}
	}
	return 0
}
