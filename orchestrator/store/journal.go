package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Journal keeps a cluster's records where they outlive the process. The store says what is kept and when; where and how is the business of
// whoever fills this in.
type Journal interface {
	// Append queues one record behind those before it and returns at once; it is called with the cluster's lock held and must not call the
	// cluster. The record is valid during the call alone.
	//
	// An error refuses the write that the record stands for: nobody gets to see it, and the writer gets the error as it is, so one with an
	// APIStatus chooses the status of the answer. Records appended before stay as they are, and later ones may succeed.
	Append(record []byte) error
}

// The first byte of a record says what it is. A record whose layout has to change gets another letter; old letters stay readable.
const (
	recordSnapshot = 'S' // base revision and number of entries, which follow
	recordEntry    = 'E' // one object as it was at the snapshot's revision
	recordCommit   = 'C' // one revision
)

// Keep writes the cluster to the journal, as a snapshot of its base and the commits since, and from then on every commit before it becomes
// visible. An error of the journal leaves the cluster without one. A cluster that came out of a Replay has its journal from there.
func (c *Cluster) Keep(j Journal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.journal != nil {
		return fmt.Errorf("cluster %s has a journal already", c.opts.ID)
	}
	if err := c.snapshotLocked(0)(j.Append); err != nil {
		return err
	}
	c.journal = j
	return nil
}

// Snapshot gives add the records that make the cluster again: its state at revision from, or at the oldest revision that the log still
// reaches where that is newer, and the commits since. From 0 keeps all of the history, Rev() none of it. Commits made meanwhile are not in it
// but in the journal, and a Replay skips those that it has already: so nobody who writes waits for a snapshot. Records are valid during add.
func (c *Cluster) Snapshot(from int64, add func(record []byte) error) error {
	c.mu.RLock()
	write := c.snapshotLocked(from)
	c.mu.RUnlock()
	return write(add)
}

// snapshotLocked collects what a snapshot holds; the function it returns needs no lock, since entries and commits are never changed.
func (c *Cluster) snapshotLocked(from int64) func(add func([]byte) error) error {
	from = min(max(from, c.compacted), c.rev)
	entries, err := c.scanLocked("", "", from)
	commits := slices.Clone(c.since(from))
	return func(add func([]byte) error) error {
		if err != nil {
			return err
		}
		buf := binary.AppendUvarint([]byte{recordSnapshot}, uint64(from))
		if err := add(binary.AppendUvarint(buf, uint64(len(entries)))); err != nil {
			return err
		}
		for _, e := range entries {
			buf = appendEntry(buf[:0], c.rebasedLocked(e))
			if err := add(buf); err != nil {
				return err
			}
		}
		for _, cm := range commits {
			buf = appendCommit(buf[:0], cm)
			if err := add(buf); err != nil {
				return err
			}
		}
		return nil
	}
}

// journalLocked queues a commit that is about to happen.
func (c *Cluster) journalLocked(cm *Commit) error {
	if c.journal == nil {
		return nil
	}
	c.record = appendCommit(c.record[:0], cm)
	return c.journal.Append(c.record)
}

func appendEntry(b []byte, e *Entry) []byte {
	b = appendKey(append(b, recordEntry), e.kind, e.key)
	b = binary.AppendUvarint(b, uint64(e.Rev))
	b = binary.AppendUvarint(b, uint64(e.Created))
	b = appendTime(b, e.expires)
	return appendString(b, e.Bytes())
}

func appendCommit(b []byte, cm *Commit) []byte {
	b = appendKey(append(b, recordCommit), cm.kind(), cm.Key)
	b = binary.AppendUvarint(b, uint64(cm.Rev))
	b = append(appendTime(b, cm.Time), byte(cm.Op))
	var expires time.Time
	if cm.New != nil {
		expires = cm.New.expires
	}
	b = appendTime(b, expires)
	b = appendString(b, cm.Bytes)
	for _, s := range []string{string(cm.Cause.Kind), cm.Cause.Actor, cm.Cause.Component, cm.Cause.Detail} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(cm.Cause.Parent))
	return binary.AppendUvarint(b, cm.Cause.Step)
}

// appendKey writes the kind's prefix and the rest of the key.
func appendKey(b []byte, k *Kind, key string) []byte {
	return appendString(appendString(b, k.Prefix), key[len(k.Prefix):])
}

func appendString[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime writes nanoseconds since 1970, 0 for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

// errGone is what writers to a closed cluster get.
func (c *Cluster) errGone() *apierrors.StatusError {
	return apierrors.NewServiceUnavailable("the cluster " + c.opts.ID + " is gone")
}
