package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// bookmarkPeriod is how often a watch that allows bookmarks gets one, in lab time.
const bookmarkPeriod = time.Minute

// watcher follows the log from a revision. It keeps no queue: it reads the log at its own pace, and when the bounded log has dropped a record
// it still had to deliver, the watch ends with 410 and the client lists again.
type watcher struct {
	c         *Cluster
	kind      *Kind
	key       string // of one object, or a prefix that ends in a slash
	recursive bool
	pred      storage.SelectionPredicate
	progress  bool

	ctx         context.Context
	cancel      context.CancelFunc
	wake        chan struct{}
	result      chan watch.Event
	bookmarkDue atomic.Bool

	initial []*Entry // to send first
	ended   bool     // the initial events are to be followed by their bookmark

	pos    int64 // everything up to this revision is delivered; protected by c.mu
	lagged bool  // protected by c.mu

	bookmarkTimer, beatTimer, expiryTimer timer
}

// timer is a one-shot timer that the watcher's goroutine sets again after it fired.
type timer struct {
	set  atomic.Bool
	stop func() bool // used by the watcher's goroutine alone
}

// Watch implements storage.Interface.
func (s *Storage) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	c, key, err := s.prepare(ctx, key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	rv, err := s.Versioner().ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	w := &watcher{c: c, kind: s.kind, key: key, recursive: opts.Recursive, pred: opts.Predicate,
		progress: opts.Predicate.AllowWatchBookmarks || opts.ProgressNotify,
		wake:     make(chan struct{}, 1), result: make(chan watch.Event, 16)}
	w.ctx, w.cancel = context.WithCancel(ctx)
	c.expire()
	initial := rv == 0
	if opts.SendInitialEvents != nil {
		initial = *opts.SendInitialEvents
		w.ended = initial && opts.Predicate.AllowWatchBookmarks
	}
	if err := c.subscribe(w, int64(rv), initial); err != nil {
		w.cancel()
		return nil, err
	}
	go w.run()
	return w, nil
}

// subscribe registers w at revision rv, or at the newest one after collecting the initial state.
func (c *Cluster) subscribe(w *watcher, rv int64, initial bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return c.errGone()
	case c.opts.MaxWatches > 0 && c.watches >= c.opts.MaxWatches:
		return apierrors.NewTooManyRequests(fmt.Sprintf("exceeded the limit of %d watches in this cluster", c.opts.MaxWatches), 1)
	case initial && rv > c.rev:
		return storage.NewTooLargeResourceVersionError(uint64(rv), uint64(c.rev), 1)
	case initial:
		entries, err := c.scanLocked(w.key, "", c.rev)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if w.covers(e.key) {
				w.initial = append(w.initial, c.viewLocked(e))
			}
		}
		w.pos = c.rev
	case rv == 0:
		w.pos = c.rev
	default:
		w.pos, w.lagged = rv, rv < c.compacted
	}
	if c.watchers == nil {
		c.watchers = map[*Kind][]*watcher{}
	}
	c.watchers[w.kind] = append(c.watchers[w.kind], w)
	c.watches++
	w.signal() // there may be something to read from rv on
	return nil
}

func (c *Cluster) unsubscribe(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.watchers[w.kind], w); i >= 0 {
		c.watchers[w.kind] = slices.Delete(c.watchers[w.kind], i, i+1)
		c.watches--
	}
}

func (w *watcher) covers(key string) bool {
	return key == w.key || w.recursive && strings.HasPrefix(key, w.key)
}

// signal wakes the watcher's goroutine; it never blocks.
func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.result }

// run delivers until the watch is stopped, its context ends or it is lost.
func (w *watcher) run() {
	defer close(w.result)
	defer w.cancel()
	defer w.c.unsubscribe(w)
	defer w.bookmarkTimer.cancel()
	defer w.beatTimer.cancel()
	defer w.expiryTimer.cancel()
	for _, e := range w.initial {
		if obj := w.matching(e, e.Rev); obj != nil && !w.send(watch.Added, obj) {
			return
		}
	}
	w.initial = nil
	if w.ended && !w.sendBookmark(true) {
		return
	}
	for {
		w.setTimers()
		select {
		case <-w.ctx.Done():
			return
		case <-w.wake:
		}
		if !w.drain() {
			return
		}
	}
}

// drain delivers what the log holds beyond the watcher's position; false ends the watch.
func (w *watcher) drain() bool {
	w.c.expire()
	if w.kind.Derive != nil {
		w.c.writeBeats(w.kind)
	}
	for {
		records, err := w.next()
		if err != nil {
			w.send(watch.Error, &err.ErrStatus)
			return false
		}
		if len(records) == 0 {
			break
		}
		for _, cm := range records {
			if w.covers(cm.Key) && !w.deliver(cm) {
				return false
			}
		}
		w.advance(records[len(records)-1].Rev)
	}
	if w.progress && w.bookmarkDue.Swap(false) {
		return w.sendBookmark(false)
	}
	return true
}

// batch is how many records are read under one lock.
const batch = 128

// next returns records after the watcher's position.
func (w *watcher) next() ([]*Commit, *apierrors.StatusError) {
	c := w.c
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil, c.errGone()
	}
	if w.lagged {
		return nil, apierrors.NewResourceExpired("The resourceVersion for the provided watch is too old.")
	}
	records := c.since(max(w.pos, c.compacted))
	return slices.Clone(records[:min(len(records), batch)]), nil
}

func (w *watcher) advance(rev int64) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.pos = max(w.pos, rev)
}

// deliver sends the event a commit is to this watch's selector: an object that begins to match is added, one that ceases to is deleted.
func (w *watcher) deliver(cm *Commit) bool {
	var now, before runtime.Object
	if cm.New != nil {
		now = w.matching(cm.New, cm.Rev)
	}
	if cm.Old != nil && (now == nil || !w.pred.Empty()) {
		before = w.matching(w.c.rebased(cm.Old), cm.Rev)
	}
	switch {
	case now != nil && cm.Op == Create:
		return w.send(watch.Added, now)
	case now != nil && before == nil && !w.pred.Empty():
		return w.send(watch.Added, now)
	case now != nil:
		return w.send(watch.Modified, now)
	case before != nil:
		return w.send(watch.Deleted, before)
	}
	return true
}

// matching returns a copy of the entry's object with the revision, nil when the watch does not select it.
func (w *watcher) matching(e *Entry, rev int64) runtime.Object {
	obj := e.Internal()
	if matched, err := w.pred.Matches(obj); err != nil || !matched {
		return nil
	}
	obj = obj.DeepCopyObject()
	if err := (storage.APIObjectVersioner{}).UpdateObject(obj, uint64(rev)); err != nil {
		return nil
	}
	return obj
}

func (w *watcher) send(t watch.EventType, obj runtime.Object) bool {
	select {
	case w.result <- watch.Event{Type: t, Object: obj}:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// sendBookmark tells the client up to which revision it has seen everything; initial marks the end of the initial events.
func (w *watcher) sendBookmark(initial bool) bool {
	w.c.mu.RLock()
	rev := w.pos
	w.c.mu.RUnlock()
	obj := w.kind.New()
	if err := (storage.APIObjectVersioner{}).UpdateObject(obj, uint64(rev)); err != nil {
		return true
	}
	if initial {
		if err := storage.AnnotateInitialEventsEndBookmark(obj); err != nil {
			return true
		}
	}
	return w.send(watch.Bookmark, obj)
}

// setTimers sees to it that the watcher is woken for its next bookmark, for the next heartbeat of its kind and for its next end of life.
func (w *watcher) setTimers() {
	clock := w.c.opts.Clock
	if clock == nil {
		return
	}
	if w.progress && !w.bookmarkTimer.set.Swap(true) {
		w.bookmarkTimer.stop = clock.AfterFunc(bookmarkPeriod, func() {
			w.bookmarkDue.Store(true)
			w.bookmarkTimer.set.Store(false)
			w.signal()
		})
	}
	if w.kind.Derive != nil && !w.beatTimer.set.Load() {
		if next, ok := w.c.nextBeat(w.kind); ok {
			w.beatTimer.set.Store(true)
			w.beatTimer.stop = clock.AfterFunc(next, func() {
				w.beatTimer.set.Store(false)
				w.signal()
			})
		}
	}
	if !w.expiryTimer.set.Load() {
		if next, ok := w.c.nextExpiry(w.kind); ok {
			w.expiryTimer.set.Store(true)
			w.expiryTimer.stop = clock.AfterFunc(next, func() {
				w.expiryTimer.set.Store(false)
				w.signal()
			})
		}
	}
}

func (t *timer) cancel() {
	if t.stop != nil {
		t.stop()
	}
}

func (c *Cluster) rebased(e *Entry) *Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rebasedLocked(e)
}
