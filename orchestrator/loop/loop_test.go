package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manual is a clock that moves only when told to.
type manual struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer
}

type manualTimer struct {
	at time.Time
	f  func()
}

func (m *manual) Now() time.Time { m.mu.Lock(); defer m.mu.Unlock(); return m.now }

func (m *manual) AfterFunc(d time.Duration, f func()) func() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &manualTimer{at: m.now.Add(d), f: f}
	m.timers = append(m.timers, t)
	return func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i := range m.timers {
			if m.timers[i] == t {
				m.timers = append(m.timers[:i], m.timers[i+1:]...)
				return true
			}
		}
		return false
	}
}

func (m *manual) advance(d time.Duration) {
	m.mu.Lock()
	m.now = m.now.Add(d)
	var due []*manualTimer
	rest := m.timers[:0]
	for _, t := range m.timers {
		if t.at.After(m.now) {
			rest = append(rest, t)
		} else {
			due = append(due, t)
		}
	}
	m.timers = rest
	m.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

func start(t *testing.T, change func(*Config)) (*Loop, *manual) {
	t.Helper()
	c := &manual{now: time.Unix(1000, 0)}
	p := NewPool(2)
	cfg := Config{Name: t.Name(), Pool: p, Clock: c}
	if change != nil {
		change(&cfg)
	}
	l := New(cfg)
	t.Cleanup(func() { l.Close(); p.Close() })
	return l, c
}

func idle(t *testing.T, l *Loop) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := l.WaitIdle(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestPostsRunBeforeReconciles(t *testing.T) {
	l, _ := start(t, nil)
	var got []string
	var q *Queue[string]
	q = NewQueue(l, "q", func(tr Trigger, k string) error {
		got = append(got, fmt.Sprintf("%s@%d", k, tr.Parent))
		if k == "a" {
			l.Post(func() { got = append(got, "post"); q.Add("b", 9) })
		}
		return nil
	}, nil)
	l.Post(func() { q.Add("a", 1); q.Add("b", 2); q.Add("a", 3) })
	idle(t, l)
	if diff := cmp.Diff([]string{"a@3", "post", "b@9"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBackOffIsOnTheLabClock(t *testing.T) {
	l, c := start(t, nil)
	runs, told := 0, 0
	q := NewQueue(l, "q", func(Trigger, string) error {
		if runs++; runs < 4 {
			return errors.New("no")
		}
		return nil
	}, func(string, error) { told++ })
	l.Post(func() { q.Add("k", 0) })
	for _, step := range []struct {
		wait time.Duration
		runs int
	}{{0, 1}, {4 * time.Millisecond, 1}, {time.Millisecond, 2}, {9 * time.Millisecond, 2}, {time.Millisecond, 3}, {20 * time.Millisecond, 4}, {time.Hour, 4}} {
		c.advance(step.wait)
		idle(t, l)
		if runs != step.runs {
			t.Fatalf("after a further %v: %d runs, want %d", step.wait, runs, step.runs)
		}
	}
	if told != 3 {
		t.Errorf("told of %d errors, want 3", told)
	}
}

func TestLostRaceIsRetriedAtOnceButNotForEver(t *testing.T) {
	l, _ := start(t, nil)
	runs := 0
	q := NewQueue(l, "q", func(Trigger, string) error { runs++; return Again{errors.New("conflict")} }, nil)
	l.Post(func() { q.Add("k", 0) })
	idle(t, l)
	if runs != atOnce+1 {
		t.Errorf("%d runs, want %d", runs, atOnce+1)
	}
}

func TestEarliestTimeStands(t *testing.T) {
	l, c := start(t, nil)
	runs := 0
	q := NewQueue(l, "q", func(tr Trigger, k string) error {
		if !tr.Tick || tr.Parent != 7 {
			t.Errorf("trigger %+v, want a tick of 7", tr)
		}
		runs++
		return nil
	}, nil)
	l.Post(func() {
		q.AddAfter("k", time.Minute, 5)
		q.AddAfter("k", time.Second, 7)
		q.AddAfter("k", time.Hour, 6)
		q.AddAfter("gone", time.Second, 7)
		q.Forget("gone")
	})
	idle(t, l)
	c.advance(time.Second)
	idle(t, l)
	c.advance(2 * time.Hour)
	idle(t, l)
	if runs != 1 {
		t.Errorf("%d runs, want 1", runs)
	}
}

func TestPanicStopsOneLoopWithAReport(t *testing.T) {
	var crash Crash
	l, _ := start(t, func(c *Config) { c.OnCrash = func(r Crash) { crash = r } })
	other := New(Config{Name: "other", Pool: l.cfg.Pool, Clock: l.cfg.Clock})
	q := NewQueue(l, "pods", func(Trigger, string) error { panic("boom") }, nil)
	l.Post(func() { q.Add("default/web", 0) })
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var got Crash
	if err := l.WaitIdle(ctx); !errors.As(err, &got) || got.What != "pods default/web" || got.Value != "boom" {
		t.Errorf("WaitIdle: %v", err)
	}
	if crash.Step != 2 {
		t.Errorf("crash at step %d, want 2", crash.Step)
	}
	ran := false
	l.Post(func() { t.Error("a stopped loop ran") })
	other.Post(func() { ran = true })
	idle(t, other)
	if !ran {
		t.Error("the other loop did not run")
	}
}

func TestGoPostsItsResult(t *testing.T) {
	l, _ := start(t, nil)
	release := make(chan struct{})
	got := 0
	l.Go(func() func() { <-release; return func() { got = 5 } })
	if l.idleNow() {
		t.Error("idle with work in flight")
	}
	close(release)
	idle(t, l)
	if got != 5 {
		t.Error("the result was not delivered")
	}
}

func (l *Loop) idleNow() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.idleLocked() }

// A loop with endless work must not keep another from a worker.
func TestPoolIsShared(t *testing.T) {
	c := &manual{now: time.Unix(0, 0)}
	p := NewPool(1)
	defer p.Close()
	busy := New(Config{Pool: p, Clock: c})
	quiet := New(Config{Pool: p, Clock: c})
	var stop atomic.Bool
	var q *Queue[int]
	q = NewQueue(busy, "spin", func(Trigger, int) error {
		if !stop.Load() {
			q.Add(0, 0)
		}
		return nil
	}, nil)
	busy.Post(func() { q.Add(0, 0) })
	for range 20 {
		ran := false
		quiet.Post(func() { ran = true })
		idle(t, quiet)
		if !ran {
			t.Fatal("not served")
		}
	}
	stop.Store(true)
	idle(t, busy)
}

func TestClosedLoopHoldsNoTimer(t *testing.T) {
	l, c := start(t, nil)
	l.After(time.Second, func() { t.Error("ran after Close") })
	tm := l.After(time.Second, func() { t.Error("ran after Stop") })
	tm.Stop()
	l.Close()
	if n := len(c.timers); n != 0 {
		t.Errorf("%d timers left in the clock", n)
	}
	c.advance(time.Minute)
}
