// Package sim runs whole clusters over null runtimes on a clock that moves only when told to: with equal seeds and no writer from
// outside, two runs make equal histories, byte for byte. Tests and benchmarks of the orchestrator are built on it.
package sim

import (
	"container/heap"
	"sync"
	"time"
)

// Clock is a lab's clock that stands still until it is advanced.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers timerHeap
	seq    uint64
}

// NewClock makes a clock that shows t.
func NewClock(t time.Time) *Clock { return &Clock{now: t} }

type timer struct {
	at  time.Time
	seq uint64
	pos int
	f   func()
}

// Now is the time it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc has f run when the clock has been advanced by d.
func (c *Clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	t := &timer{at: c.now.Add(d), seq: c.seq, f: f}
	heap.Push(&c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if t.pos < 0 {
			return false
		}
		heap.Remove(&c.timers, t.pos)
		return true
	}
}

// next moves to the first timer due at or before limit and takes it out; ok is false when there is none, and the clock shows limit.
func (c *Clock) next(limit time.Time) (f func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 || c.timers[0].at.After(limit) {
		if c.now.Before(limit) {
			c.now = limit
		}
		return nil, false
	}
	t := heap.Pop(&c.timers).(*timer)
	if c.now.Before(t.at) {
		c.now = t.at
	}
	return t.f, true
}

// Timers is how many timers are armed.
func (c *Clock) Timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.pos = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = -1
	return t
}
