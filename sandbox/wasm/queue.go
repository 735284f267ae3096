package wasm

import (
	"errors"
	"sync"
)

// lane is a kind of load. Each compiles one module at a time, so that a program somebody waits for is not behind a big one that is prepared
// in the background, nor behind what strangers made.
type lane int

const (
	foreground lane = iota
	background
	stranger
	lanes
)

// maxWaiting bounds a lane's queue.
const maxWaiting = 256

// ErrBusy is a load that too many others are before.
var ErrBusy = errors.New("too many programs wait to be compiled")

// queue gives the turns in each lane, first come, first served.
type queue struct {
	mu      sync.Mutex
	busy    [lanes]bool            // protected by mu
	waiting [lanes][]chan struct{} // protected by mu
}

// enter waits for the turn; release gives it on.
func (q *queue) enter(l lane) (release func(), err error) {
	q.mu.Lock()
	if !q.busy[l] {
		q.busy[l] = true
		q.mu.Unlock()
		return func() { q.leave(l) }, nil
	}
	if len(q.waiting[l]) >= maxWaiting {
		q.mu.Unlock()
		return nil, ErrBusy
	}
	turn := make(chan struct{})
	q.waiting[l] = append(q.waiting[l], turn)
	q.mu.Unlock()
	<-turn
	return func() { q.leave(l) }, nil
}

func (q *queue) leave(l lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.waiting[l]
	if len(w) == 0 {
		q.busy[l] = false
		return
	}
	q.waiting[l] = w[1:]
	close(w[0])
}
