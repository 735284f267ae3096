package wasm

import "sync"

// queue lets one load at a time compile, foreground ones first.
type queue struct {
	mu      sync.Mutex
	busy    bool
	waiting [2][]chan struct{} // foreground, background
}

// enter waits for the turn; release gives it on.
func (q *queue) enter(background bool) (release func()) {
	class := 0
	if background {
		class = 1
	}
	q.mu.Lock()
	if !q.busy {
		q.busy = true
		q.mu.Unlock()
		return q.leave
	}
	turn := make(chan struct{})
	q.waiting[class] = append(q.waiting[class], turn)
	q.mu.Unlock()
	<-turn
	return q.leave
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for class := range q.waiting {
		if w := q.waiting[class]; len(w) > 0 {
			q.waiting[class] = w[1:]
			close(w[0])
			return
		}
	}
	q.busy = false
}
