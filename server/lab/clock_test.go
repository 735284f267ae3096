package lab

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// record keeps what fired.
type record struct {
	mu sync.Mutex
	l  []string // protected by mu
}

func (r *record) on(name string) func() {
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.l = append(r.l, name)
	}
}

func (r *record) check(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.l, want) {
		t.Errorf("fired %q, want %q", r.l, want)
	}
}

// advance waits as a test does: the bubble's time jumps.
func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestClockFiresInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := NewClock(), &record{}
		defer c.close()
		c.AfterFunc(2*time.Second, r.on("b"))
		c.AfterFunc(time.Second, r.on("a"))
		stopped := c.AfterFunc(2*time.Second, r.on("never"))
		c.AfterFunc(2*time.Second, r.on("c"))
		c.AfterFunc(-time.Second, r.on("at once"))
		if !stopped() || stopped() {
			t.Error("stop tells the truth once")
		}
		advance(0)
		r.check(t, "at once")
		advance(time.Second)
		r.check(t, "at once", "a")
		advance(time.Second)
		r.check(t, "at once", "a", "b", "c")
		if n := c.Timers(); n != 0 {
			t.Errorf("%d timers are armed", n)
		}
	})
}

func TestClockStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := NewClock(), &record{}
		defer c.close()
		c.AfterFunc(time.Second, r.on("a"))
		c.Pause()
		c.Pause()
		at := c.Now()
		advance(time.Hour)
		if got := c.Now(); !got.Equal(at) {
			t.Errorf("the time went on by %v", got.Sub(at))
		}
		r.check(t)
		if d, paused := c.Offset(); d != -time.Hour || !paused {
			t.Errorf("offset %v, paused %v", d, paused)
		}
		c.Resume()
		c.Resume()
		advance(999 * time.Millisecond)
		r.check(t)
		advance(time.Millisecond)
		r.check(t, "a")
		if got := c.Now().Sub(at); got != time.Second {
			t.Errorf("%v have passed, want 1s", got)
		}
	})
}

func TestClockSteps(t *testing.T) {
	for _, paused := range []bool{false, true} {
		t.Run(fmt.Sprintf("paused %v", paused), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, r := NewClock(), &record{}
				defer c.close()
				if paused {
					c.Pause()
				}
				start := c.Now()
				var seen []time.Duration
				var again func()
				again = func() {
					seen = append(seen, c.Now().Sub(start))
					if len(seen) < 3 {
						c.AfterFunc(10*time.Second, again)
					}
				}
				c.AfterFunc(10*time.Second, again)
				c.AfterFunc(time.Hour, r.on("late"))
				limit := start.Add(time.Minute)
				for c.next(limit) {
				}
				if want := []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}; !slices.Equal(seen, want) {
					t.Errorf("fired at %v, want %v", seen, want)
				}
				if got := c.Now().Sub(start); got != time.Minute {
					t.Errorf("the clock shows %v, want 1m", got)
				}
				r.check(t)
				advance(59 * time.Minute)
				if paused {
					r.check(t)
					c.Resume()
					advance(59 * time.Minute)
				}
				r.check(t, "late")
			})
		})
	}
}

func TestClockCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := NewClock(), &record{}
		stop := c.AfterFunc(time.Second, r.on("a"))
		c.close()
		if stop() {
			t.Error("a closed clock has nothing to stop")
		}
		c.AfterFunc(time.Second, r.on("b"))
		advance(time.Minute)
		r.check(t)
	})
}
