package network

import "sync"

// watchers are the callbacks of one socket. They are called under no lock, on every change that may have changed its readiness.
type watchers struct {
	mu   sync.Mutex
	list map[int]func()
	next int
}

// add registers f until cancel is called. f must only wake somebody.
func (w *watchers) add(f func()) (cancel func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.list == nil {
		w.list = map[int]func(){}
	}
	id := w.next
	w.next++
	w.list[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.list, id)
	}
}

func (w *watchers) wake() {
	w.mu.Lock()
	var few [4]func()
	list := few[:0]
	for _, f := range w.list {
		list = append(list, f)
	}
	w.mu.Unlock()
	for _, f := range list {
		f()
	}
}
