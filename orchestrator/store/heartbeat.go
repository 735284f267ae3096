package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Beat says that an object's heartbeat moves by itself: at Start and every Period after it, as long as its owner is healthy.
type Beat struct {
	Start  time.Time
	Period time.Duration
}

type beat struct {
	Beat
	kind *Kind
	// written is the last beat that is a revision; later ones are derived at read.
	written time.Time
}

// lastDue is the newest beat at or before now.
func (b *beat) lastDue(now time.Time) time.Time {
	if !now.After(b.Start) {
		return b.Start
	}
	return b.Start.Add(now.Sub(b.Start) / b.Period * b.Period)
}

// Beat starts an object's heartbeat: from now on its times are derived at each read from the cluster's clock (Kind.Derive), without a
// revision, but for every beat that is due while somebody watches the kind. The object must exist.
func (c *Cluster) Beat(gr schema.GroupResource, ns, name string, b Beat) error {
	k, ok := c.kinds.Get(gr)
	if !ok || k.Derive == nil {
		return fmt.Errorf("%s have no heartbeat", gr)
	}
	if b.Period <= 0 {
		return fmt.Errorf("heartbeat of %s %s: period %s", gr, name, b.Period)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := k.Key(ns, name)
	if _, ok := c.tree.Get(&Entry{key: key}); !ok {
		return fmt.Errorf("heartbeat of %s %s: there is no such object", gr, name)
	}
	if c.beats == nil {
		c.beats = map[string]*beat{}
	}
	c.beats[key] = &beat{Beat: b, kind: k, written: b.Start}
	for _, w := range c.watchers[k] {
		w.signal() // it has to set its timer
	}
	return nil
}

// StopBeat ends an object's heartbeat and writes the last due beat, so that times do not jump back.
func (c *Cluster) StopBeat(ctx context.Context, gr schema.GroupResource, ns, name string) error {
	k, ok := c.kinds.Get(gr)
	if !ok {
		return fmt.Errorf("%s are not stored here", gr)
	}
	key := k.Key(ns, name)
	err := c.writeBeat(key, CauseFrom(ctx))
	c.mu.Lock()
	delete(c.beats, key)
	c.mu.Unlock()
	return err
}

// writeBeat makes the last due beat of a key a revision.
func (c *Cluster) writeBeat(key string, cause Cause) error {
	for {
		c.mu.RLock()
		b := c.beats[key]
		stored, ok := c.tree.Get(&Entry{key: key})
		var shown *Entry
		var due time.Time
		if ok && b != nil {
			due = b.lastDue(c.now())
			shown = c.viewLocked(stored)
		}
		c.mu.RUnlock()
		if shown == nil || !due.After(b.written) {
			return nil
		}
		_, _, err := c.commit(change{kind: b.kind, key: key, expect: stored, bytes: shown.Bytes(), cause: cause})
		if errors.Is(err, errConflict) {
			continue
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		if b.written.Before(due) {
			b.written = due
		}
		c.mu.Unlock()
		return nil
	}
}

// writeBeats makes the due beats of a kind revisions: called by its watches.
func (c *Cluster) writeBeats(k *Kind) {
	c.mu.RLock()
	now := c.now()
	var keys []string
	for key, b := range c.beats {
		if b.kind == k && b.lastDue(now).After(b.written) {
			keys = append(keys, key)
		}
	}
	c.mu.RUnlock()
	for _, key := range keys {
		// An error means that the cluster is going away: the watch finds that out itself.
		_ = c.writeBeat(key, Cause{Kind: CauseTick, Component: "kubelet", Detail: "heartbeat"})
	}
}

// nextBeat is how long it is until the next beat of a kind.
func (c *Cluster) nextBeat(k *Kind) (time.Duration, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	now := c.now()
	var next time.Duration
	found := false
	for _, b := range c.beats {
		if b.kind != k {
			continue
		}
		if d := b.lastDue(now).Add(b.Period).Sub(now); !found || d < next {
			next, found = d, true
		}
	}
	return next, found
}
