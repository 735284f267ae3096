package store

import (
	"container/heap"
	"strings"
	"time"
)

// expiry is an entry's end of life on the cluster's clock.
type expiry struct {
	at  time.Time
	key string
}

type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
func (h *expiryHeap) push(e expiry) { heap.Push(h, e) }

// nextExpiry is how long it is until the first object to end ends, if it is of the kind.
func (c *Cluster) nextExpiry(k *Kind) (time.Duration, bool) {
	if c.due.Load() == 0 {
		return 0, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.expiries) == 0 || !strings.HasPrefix(c.expiries[0].key, k.Prefix) {
		return 0, false
	}
	return c.expiries[0].at.Sub(c.now()), true
}

// expire deletes what has outlived its time to live. It is called before reads and writes, so that no cluster needs a goroutine or a timer
// for it: nobody can tell an object that is deleted when it is looked for from one deleted earlier, but for a watch, which sets a timer.
func (c *Cluster) expire() {
	if due := c.due.Load(); due == 0 || c.now().UnixNano() < due {
		return
	}
	c.mu.Lock()
	now := c.now()
	for len(c.expiries) > 0 && !c.expiries[0].at.After(now) {
		x := heap.Pop(&c.expiries).(expiry)
		e, ok := c.tree.Get(&Entry{key: x.key})
		if !ok || !e.expires.Equal(x.at) {
			continue // deleted or extended in between
		}
		cause := Cause{Kind: CauseTick, Component: "store", Detail: "time to live passed", Parent: e.Rev}
		if _, _, err := c.commitLocked(change{kind: e.kind, key: x.key, expect: e, last: c.viewLocked(e), cause: cause}); err != nil {
			c.expiries.push(x) // the journal takes nothing now: it ends when it does
			break
		}
	}
	if len(c.expiries) > 0 {
		c.due.Store(c.expiries[0].at.UnixNano())
	} else {
		c.due.Store(0)
	}
	observed := len(c.pending) > 0
	c.mu.Unlock()
	if observed {
		c.flush()
	}
}
