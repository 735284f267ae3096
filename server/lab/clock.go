package lab

import (
	"sync"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/clock"
)

// Clock is a lab's clock: wall clock + offset, or standing still. The cluster, its guests and the network all run on it.
//
// Timers fire in order of their time, those of equal time in order of arming, one after another on one goroutine that lives only while there is
// something to fire. Functions are called without the clock's lock and must only enqueue or wake.
type Clock struct {
	mu      sync.Mutex
	base    time.Time     // wall time at start, with its monotonic reading; immutable
	offset  time.Duration // protected by mu: lab time − wall time
	still   time.Time     // protected by mu: the time shown while paused
	paused  bool          // protected by mu
	timers  clock.Timers  // protected by mu
	wake    *time.Timer   // protected by mu: armed for the first timer while the clock runs
	firing  bool          // protected by mu: a goroutine fires what is due
	closed  bool          // protected by mu
	changed func()        // protected by mu: told when it was moved, paused or resumed
}

// NewClock makes a clock that shows the wall clock's time.
func NewClock() *Clock { return &Clock{base: time.Now()} }

// OnChange has f told whenever the clock is moved, paused or resumed, with the clock's lock held: it may only plan something.
func (c *Clock) OnChange(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = f
}

func (c *Clock) tellLocked() {
	if c.changed != nil {
		c.changed()
	}
}

// restore sets a clock that nobody uses yet: to offset from the wall clock or, where still is there, to go on from then, or stand there.
func (c *Clock) restore(offset time.Duration, still time.Time, paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = offset
	if !still.IsZero() {
		c.offset = still.Sub(c.base.Round(0))
	}
	c.still, c.paused = still, paused
}

func (c *Clock) nowLocked() time.Time {
	if c.paused {
		return c.still
	}
	return c.base.Round(0).Add(time.Since(c.base) + c.offset)
}

// Now is the lab's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked()
}

// Offset is how far lab time is ahead of the wall clock, and whether it stands still.
func (c *Clock) Offset() (d time.Duration, paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked().Sub(time.Now().Round(0)), c.paused
}

// AfterFunc runs f once d of lab time has passed. stop reports whether it prevented the run.
func (c *Clock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return func() bool { return false }
	}
	t := c.timers.Add(c.nowLocked().Add(d), f)
	if c.timers.First() == t {
		c.armLocked()
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.timers.Remove(t)
	}
}

// armLocked has fire called when the first timer is due.
func (c *Clock) armLocked() {
	first := c.timers.First()
	if c.closed || c.paused || c.firing || first == nil {
		return
	}
	d := max(0, first.At.Sub(c.nowLocked()))
	if c.wake == nil {
		c.wake = time.AfterFunc(d, c.fire)
		return
	}
	c.wake.Reset(d)
}

// fire runs what is due.
func (c *Clock) fire() {
	c.mu.Lock()
	if c.firing {
		c.mu.Unlock()
		return
	}
	c.firing = true
	for !c.closed && !c.paused {
		t := c.timers.Take(c.nowLocked())
		if t == nil {
			break
		}
		c.mu.Unlock()
		t.F()
		c.mu.Lock()
	}
	c.firing = false
	c.armLocked()
	c.mu.Unlock()
}

// Pause has the clock stand still. Twice is fine.
func (c *Clock) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.paused {
		c.still, c.paused = c.nowLocked(), true
		c.tellLocked()
	}
}

// Resume has a clock that stands still go on from the time it shows. Twice is fine.
func (c *Clock) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.offset = c.still.Sub(c.base.Round(0)) - time.Since(c.base)
		c.paused = false
		c.armLocked()
		c.tellLocked()
	}
}

// next moves to the first timer due at or before limit and runs it; false when there is none, and the clock shows at least limit.
func (c *Clock) next(limit time.Time) bool {
	c.mu.Lock()
	t := c.timers.Take(limit)
	if t == nil {
		c.moveLocked(limit)
		c.mu.Unlock()
		return false
	}
	c.moveLocked(t.At)
	c.mu.Unlock()
	t.F()
	return true
}

// moveLocked sets the clock forward to t.
func (c *Clock) moveLocked(t time.Time) {
	now := c.nowLocked()
	if !now.Before(t) {
		return
	}
	c.tellLocked()
	if c.paused {
		c.still = t
		return
	}
	c.offset += t.Sub(now)
	c.armLocked()
}

// first is when the next timer is due.
func (c *Clock) first() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.timers.First()
	if first == nil {
		return time.Time{}, false
	}
	return first.At, true
}

// Timers is how many timers are armed.
func (c *Clock) Timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timers.Len()
}

// close drops all timers.
func (c *Clock) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.wake != nil {
		c.wake.Stop()
	}
	c.timers.Clear()
}
