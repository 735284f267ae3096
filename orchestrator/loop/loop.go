package loop

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Clock is the lab's clock.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f once d of lab time has passed, on a shared timer goroutine. f only wakes a loop. stop reports whether it
	// prevented the run.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Config describes a Loop.
type Config struct {
	Name  string // for reports
	Pool  *Pool
	Clock Clock
	// Execute runs f away from the loop, for work that blocks. nil starts a goroutine. A simulation runs f at once.
	Execute func(f func())
	// OnCrash is told when a step panicked. The loop has stopped by then; other clusters go on.
	OnCrash func(Crash)
	// OnError is told, in the loop, of each reconcile that failed and will be tried again after a back-off. nil: nobody is.
	OnError func(queue string, key any, err error)
}

// Crash reports the panic that stopped a loop.
type Crash struct {
	Loop  string
	Step  uint64
	What  string // the queue and key being reconciled, or "posted"
	Value any
	Stack []byte
}

func (c Crash) Error() string {
	return fmt.Sprintf("loop %s stopped at step %d (%s): %v", c.Loop, c.Step, c.What, c.Value)
}

// Trigger tells a reconcile why it runs.
type Trigger struct {
	Parent int64  // revision of the commit that asked for it; 0 when no commit did
	Tick   bool   // a timer asked for it (Parent is then the commit that armed the timer)
	Step   uint64 // number of this step
}

// Loop is the serial engine of one cluster. Methods are for any goroutine unless they say otherwise.
type Loop struct {
	cfg Config // immutable

	mu        sync.Mutex
	inbox     []func()      // protected by mu
	spare     []func()      // owned by the running step
	scheduled bool          // protected by mu: queued in the pool or running
	inflight  int           // protected by mu: work handed to Execute
	closed    bool          // protected by mu
	crash     *Crash        // protected by mu
	idle      chan struct{} // protected by mu: closed when the loop falls idle; nil when nobody waits
	timers    map[*Timer]struct{}

	ready []work  // owned by the running step: keys to reconcile, first in first out
	head  int     // owned by the running step
	now   Trigger // owned by the running step

	step  atomic.Uint64
	owed  atomic.Int64  // worker time not yet added to used
	used  time.Duration // protected by Pool.mu
	order uint64        // protected by Pool.mu
}

// work is one entry of the ready list; run reconciles the key it was made for.
type work interface {
	run(l *Loop)
	what() string
}

// New makes an idle loop.
func New(cfg Config) *Loop {
	if cfg.Execute == nil {
		cfg.Execute = func(f func()) { go f() }
	}
	return &Loop{cfg: cfg}
}

// Clock returns the clock that the loop's timers use.
func (l *Loop) Clock() Clock { return l.cfg.Clock }

// Now is the lab's time.
func (l *Loop) Now() time.Time { return l.cfg.Clock.Now() }

// Step is the number of the step that runs, or of the last one.
func (l *Loop) Step() uint64 { return l.step.Load() }

// Current is the trigger of the running step. Only for code that runs in the loop.
func (l *Loop) Current() Trigger { return l.now }

// Post has f run in the loop, as a step of its own, before any further reconcile. Dropped after Close.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.inbox = append(l.inbox, f)
	l.wakeLocked()
}

func (l *Loop) wakeLocked() {
	if !l.scheduled {
		l.scheduled = true
		l.cfg.Pool.submit(l)
	}
}

// Go runs f away from the loop and then, in the loop, the function that f returns (nil for none). Work that can block goes here.
func (l *Loop) Go(f func() (done func())) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.inflight++
	l.mu.Unlock()
	l.cfg.Execute(func() {
		done := f()
		l.mu.Lock()
		l.inflight--
		if done != nil && !l.closed {
			l.inbox = append(l.inbox, done)
			l.wakeLocked()
		}
		l.fallIdleLocked()
		l.mu.Unlock()
	})
}

// run does steps until there are none or the deadline has passed, and reports whether some are left.
func (l *Loop) run(deadline time.Time) (more bool) {
	l.used += time.Duration(l.owed.Swap(0))
	for n := 1; ; n++ {
		posts, ok := l.takePosts()
		if !ok {
			return false
		}
		for i, f := range posts {
			posts[i] = nil
			if !l.safely("posted", f) {
				return false
			}
		}
		if len(posts) > 0 {
			l.spare = posts[:0] // a post may have brought further posts; they go before any reconcile too
		} else if !l.reconcileNext() {
			return false
		}
		if n%16 == 0 && time.Now().After(deadline) {
			return true
		}
	}
}

// reconcileNext takes the first ready key and reconciles it.
func (l *Loop) reconcileNext() (ok bool) {
	w := l.ready[l.head]
	l.ready[l.head] = nil
	l.head++
	if l.head == len(l.ready) {
		l.ready, l.head = l.ready[:0], 0
	}
	return l.safely("", func() { w.run(l) }, w)
}

// takePosts returns the posted functions, or none when a key is ready; ok is false when there is nothing at all and the loop has
// gone idle.
func (l *Loop) takePosts() (posts []func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.scheduled = false
		l.fallIdleLocked()
		return nil, false
	}
	if len(l.inbox) > 0 {
		posts = l.inbox
		l.inbox, l.spare = l.spare, nil
		return posts, true
	}
	if l.head < len(l.ready) {
		return nil, true
	}
	l.scheduled = false
	if cap(l.ready) > 256 { // a burst is over: give its memory back
		l.ready, l.head = nil, 0
	}
	if cap(l.inbox)+cap(l.spare) > 512 {
		l.inbox, l.spare = nil, nil
	}
	l.fallIdleLocked()
	return nil, false
}

// safely runs one step; a panic stops the loop with a report.
func (l *Loop) safely(what string, f func(), w ...work) (ok bool) {
	l.now = Trigger{Step: l.step.Add(1)}
	defer func() {
		if v := recover(); v != nil {
			if len(w) > 0 {
				what = w[0].what()
			}
			l.stop(&Crash{Loop: l.cfg.Name, Step: l.now.Step, What: what, Value: v, Stack: debug.Stack()})
			ok = false
		}
	}()
	f()
	return true
}

func (l *Loop) stop(c *Crash) {
	l.mu.Lock()
	l.crash = c
	l.closeLocked()
	l.mu.Unlock()
	if l.cfg.OnCrash != nil {
		l.cfg.OnCrash(*c)
	}
	l.mu.Lock()
	l.scheduled = false
	l.fallIdleLocked()
	l.mu.Unlock()
}

// Close stops the loop after the running step and releases its timers. Work handed to Execute goes on but its result is dropped.
func (l *Loop) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeLocked()
	l.fallIdleLocked()
}

func (l *Loop) closeLocked() {
	l.closed = true
	l.inbox = nil
	for t := range l.timers {
		t.stop()
	}
	l.timers = nil
}

// Crashed returns the report of the panic that stopped the loop, or nil.
func (l *Loop) Crashed() *Crash {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crash
}

func (l *Loop) idleLocked() bool { return !l.scheduled && l.inflight == 0 }

func (l *Loop) fallIdleLocked() {
	if l.idle != nil && l.idleLocked() {
		close(l.idle)
		l.idle = nil
	}
}

// WaitIdle returns when the loop has no work: nothing posted, nothing to reconcile, nothing handed to Execute. Timers may be armed.
// It returns the crash that stopped the loop, or the context's error.
func (l *Loop) WaitIdle(ctx context.Context) error {
	l.mu.Lock()
	if !l.idleLocked() {
		if l.idle == nil {
			l.idle = make(chan struct{})
		}
		idle := l.idle
		l.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	if l.crash != nil {
		return *l.crash
	}
	return nil
}

// Timer is a function to be run in the loop at a later lab time.
type Timer struct {
	loop *Loop
	stop func() bool
}

// After has f run in the loop once d of lab time has passed.
func (l *Loop) After(d time.Duration, f func()) *Timer {
	t := &Timer{loop: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return t
	}
	if l.timers == nil {
		l.timers = make(map[*Timer]struct{})
	}
	l.timers[t] = struct{}{}
	t.stop = l.cfg.Clock.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, armed := l.timers[t]; !armed {
			return // stopped after the clock had taken it out
		}
		delete(l.timers, t)
		if !l.closed {
			l.inbox = append(l.inbox, f)
			l.wakeLocked()
		}
	})
	return t
}

// Stop disarms t. When it returns f has been posted or never will be.
func (t *Timer) Stop() {
	if t == nil || t.loop == nil {
		return
	}
	l := t.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, armed := l.timers[t]; armed {
		delete(l.timers, t)
		t.stop()
	}
}
