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

// gatherTime is how long what comes in crowds is gathered before the pages move.
const gatherTime = 100 * time.Millisecond

// gathered wakes feeds some time after something happened, once for all that came meanwhile.
type gathered struct {
	notifier
	wait  sync.Mutex
	armed bool // protected by wait
}

// soon may be called under any lock.
func (t *gathered) soon() {
	t.wait.Lock()
	defer t.wait.Unlock()
	if t.armed {
		return
	}
	t.armed = true
	time.AfterFunc(gatherTime, func() {
		t.wait.Lock()
		t.armed = false
		t.wait.Unlock()
		t.signal()
	})
}
