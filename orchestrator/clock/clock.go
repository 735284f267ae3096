// Package clock is what clocks are made of: timers in the order in which they fire, a clock that stands still until it is moved, and the wall
// clock. It knows nothing of clusters; loop.Clock and store.Clock say what a clock is.
package clock

import (
	"container/heap"
	"sync"
	"time"
)

// Timer is a function to be run at a time.
type Timer struct {
	At  time.Time
	F   func()
	seq uint64
	pos int // in the heap; −1 when it has been taken or removed
}

// Timers are ordered by time, those of equal time in the order in which they were added. The zero value is empty. The owner's lock guards them.
type Timers struct {
	heap timerHeap
	seq  uint64
}

// Add arms f for a time.
func (t *Timers) Add(at time.Time, f func()) *Timer {
	t.seq++
	timer := &Timer{At: at, F: f, seq: t.seq}
	heap.Push(&t.heap, timer)
	return timer
}

// Remove disarms a timer; false when it had been taken or removed.
func (t *Timers) Remove(timer *Timer) bool {
	if timer.pos < 0 {
		return false
	}
	heap.Remove(&t.heap, timer.pos)
	return true
}

// First is the timer that fires next, nil when there is none.
func (t *Timers) First() *Timer {
	if len(t.heap) == 0 {
		return nil
	}
	return t.heap[0]
}

// Take removes the first timer if it is due at or before limit, and returns it; nil otherwise.
func (t *Timers) Take(limit time.Time) *Timer {
	if first := t.First(); first == nil || first.At.After(limit) {
		return nil
	}
	return heap.Pop(&t.heap).(*Timer)
}

// Len is how many timers are armed.
func (t *Timers) Len() int { return len(t.heap) }

// Clear removes all timers.
func (t *Timers) Clear() {
	for _, timer := range t.heap {
		timer.pos = -1
	}
	t.heap = nil
}

type timerHeap []*Timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if !h[i].At.Equal(h[j].At) {
		return h[i].At.Before(h[j].At)
	}
	return h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.pos = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = -1
	return t
}

// Manual is a clock that stands still until it is moved. Safe for concurrent use; functions are called without its lock.
type Manual struct {
	mu     sync.Mutex
	now    time.Time // protected by mu
	timers Timers    // protected by mu
}

// NewManual makes a clock that shows t.
func NewManual(t time.Time) *Manual { return &Manual{now: t} }

// Now is the time it shows.
func (c *Manual) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc has f run when the clock has been moved by d. stop reports whether it prevented the run.
func (c *Manual) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.timers.Add(c.now.Add(d), f)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.timers.Remove(t)
	}
}

// Next moves to the first timer due at or before limit and takes it out; ok is false when there is none, and the clock shows limit.
func (c *Manual) Next(limit time.Time) (f func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	to := limit
	t := c.timers.Take(limit)
	if t != nil {
		to = t.At
	}
	if c.now.Before(to) {
		c.now = to
	}
	if t == nil {
		return nil, false
	}
	return t.F, true
}

// Advance moves the clock on by d, from timer to timer, and runs each.
func (c *Manual) Advance(d time.Duration) {
	limit := c.Now().Add(d)
	for f, ok := c.Next(limit); ok; f, ok = c.Next(limit) {
		f()
	}
}

// Timers is how many timers are armed.
func (c *Manual) Timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timers.Len()
}

// Wall is the wall clock.
type Wall struct{}

// Now is the time.
func (Wall) Now() time.Time { return time.Now() }

// AfterFunc is time.AfterFunc.
func (Wall) AfterFunc(d time.Duration, f func()) (stop func() bool) { return time.AfterFunc(d, f).Stop }
