package loop

import (
	"fmt"
	"time"
)

// Back-off after errors, as in client-go's default typed controller rate limiter's per-item part.
const (
	baseDelay = 5 * time.Millisecond
	maxDelay  = 1000 * time.Second
	// atOnce is how often a key that lost a race (Again) is retried without waiting before it backs off like any other error.
	atOnce = 8
)

// Again marks an error after which the key is reconciled again at once: a write met a newer revision, which the loop will have
// seen by then.
type Again struct{ Err error }

func (a Again) Error() string { return a.Err.Error() }
func (a Again) Unwrap() error { return a.Err }

// Queue holds the keys of one component. All methods are for code that runs in the loop.
type Queue[K comparable] struct {
	loop      *Loop
	name      string
	reconcile func(Trigger, K) error
	onError   func(K, error)

	pending  map[K]*item[K]
	failures map[K]int
	delayed  map[K]*delay
}

type item[K comparable] struct {
	q      *Queue[K]
	key    K
	parent int64
	tick   bool
}

type delay struct {
	at    time.Time
	timer *Timer
}

// NewQueue adds a queue to l. reconcile brings the world for key to what is wanted and may be called again at any time; an error
// has it called again after a back-off and is told to onError (which may be nil).
func NewQueue[K comparable](l *Loop, name string, reconcile func(Trigger, K) error, onError func(K, error)) *Queue[K] {
	return &Queue[K]{
		loop: l, name: name, reconcile: reconcile, onError: onError,
		pending: map[K]*item[K]{}, failures: map[K]int{}, delayed: map[K]*delay{},
	}
}

// Add asks for key to be reconciled because of the commit with revision parent (0: none). A key that waits already keeps its place
// and takes the newer parent.
func (q *Queue[K]) Add(key K, parent int64) { q.add(key, parent, false) }

func (q *Queue[K]) add(key K, parent int64, tick bool) {
	if it, ok := q.pending[key]; ok {
		if parent > it.parent {
			it.parent, it.tick = parent, tick
		}
		return
	}
	it := &item[K]{q: q, key: key, parent: parent, tick: tick}
	q.pending[key] = it
	q.loop.ready = append(q.loop.ready, it)
}

// AddAfter asks for key to be reconciled once d of lab time has passed. Of several such requests the earliest stands.
func (q *Queue[K]) AddAfter(key K, d time.Duration, parent int64) {
	if d <= 0 {
		q.add(key, parent, true)
		return
	}
	at := q.loop.Now().Add(d)
	if old, ok := q.delayed[key]; ok {
		if !at.Before(old.at) {
			return
		}
		old.timer.Stop()
	}
	w := &delay{at: at}
	q.delayed[key] = w
	w.timer = q.loop.After(d, func() {
		if q.delayed[key] == w {
			delete(q.delayed, key)
		}
		q.add(key, parent, true)
	})
}

// Forget clears the key's back-off and its timer.
func (q *Queue[K]) Forget(key K) {
	delete(q.failures, key)
	if w, ok := q.delayed[key]; ok {
		w.timer.Stop()
		delete(q.delayed, key)
	}
}

// Len is the number of keys that wait to be reconciled, without those that wait for a time.
func (q *Queue[K]) Len() int { return len(q.pending) }

func (it *item[K]) what() string { return fmt.Sprintf("%s %v", it.q.name, it.key) }

func (it *item[K]) run(l *Loop) {
	q := it.q
	delete(q.pending, it.key)
	l.now.Parent, l.now.Tick = it.parent, it.tick
	err := q.reconcile(l.now, it.key)
	if err == nil {
		delete(q.failures, it.key)
		return
	}
	n := q.failures[it.key]
	q.failures[it.key] = n + 1
	if _, again := err.(Again); again && n < atOnce {
		q.add(it.key, it.parent, it.tick)
		return
	}
	if q.onError != nil {
		q.onError(it.key, err)
	}
	if l.cfg.OnError != nil {
		l.cfg.OnError(q.name, it.key, err)
	}
	q.AddAfter(it.key, backOff(n), it.parent)
}

// backOff is the wait after n failures before this one.
func backOff(n int) time.Duration {
	if n > 18 {
		return maxDelay
	}
	return min(baseDelay<<n, maxDelay)
}

// Has tells whether key waits to be reconciled (not whether it waits for a time).
func (q *Queue[K]) Has(key K) bool {
	_, ok := q.pending[key]
	return ok
}
