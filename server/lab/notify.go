package lab

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// notifier tells watchers that something changed. signal may be called under any lock and any number of times; watchers are called on a
// goroutine that lives only while there is somebody to tell, without a lock, once for all that happened meanwhile.
type notifier struct {
	mu       sync.Mutex
	watchers map[int]func() // protected by mu
	next     int            // protected by mu
	busy     bool           // protected by mu: a goroutine tells
	again    bool           // protected by mu: something happened since it began
	closed   bool           // protected by mu
}

func (n *notifier) signal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || len(n.watchers) == 0 {
		return
	}
	if n.busy {
		n.again = true
		return
	}
	n.busy = true
	go n.tell()
}

func (n *notifier) tell() {
	for {
		n.mu.Lock()
		n.again = false
		list := slices.Collect(maps.Values(n.watchers))
		n.mu.Unlock()
		for _, f := range list {
			f()
		}
		n.mu.Lock()
		if !n.again || n.closed {
			n.busy = false
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
	}
}

func (n *notifier) watch(f func()) (cancel func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchers == nil {
		n.watchers = map[int]func(){}
	}
	id := n.next
	n.next++
	n.watchers[id] = f
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, id)
	}
}

func (n *notifier) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.watchers = nil
}

// trafficPause is how long connections are gathered before the pages' counters move.
const trafficPause = 100 * time.Millisecond

// trafficNotifier wakes feeds some time after a connection, once for all that came meanwhile.
type trafficNotifier struct {
	notifier
	wait  sync.Mutex
	armed bool // protected by wait
}

func (t *trafficNotifier) connection() {
	t.wait.Lock()
	defer t.wait.Unlock()
	if t.armed {
		return
	}
	t.armed = true
	time.AfterFunc(trafficPause, func() {
		t.wait.Lock()
		t.armed = false
		t.wait.Unlock()
		t.signal()
	})
}
