package loop

import (
	"container/heap"
	"runtime"
	"sync"
	"time"
)

// quantum is how long one loop may hold a worker while others wait.
const quantum = 2 * time.Millisecond

// Pool is a set of workers shared by the loops of many clusters. The loop that has used the least worker time goes first; a loop
// that slept is not owed the time it did not ask for.
type Pool struct {
	max int // immutable

	mu      sync.Mutex
	ready   loopHeap      // protected by mu
	running int           // protected by mu
	floor   time.Duration // protected by mu; the least use among the loops being served
	seq     uint64        // protected by mu
	closed  bool          // protected by mu
	wg      sync.WaitGroup
}

// NewPool makes a pool of at most workers goroutines; 0 means one per processor that Go may use.
func NewPool(workers int) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Pool{max: workers}
}

// Close lets running steps finish, drops what waits and returns when the last worker has ended. Twice is fine.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.ready = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// submit queues l, whose scheduled flag the caller has just set.
func (p *Pool) submit(l *Loop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if l.used < p.floor {
		l.used = p.floor
	}
	p.seq++
	l.order = p.seq
	heap.Push(&p.ready, l)
	if p.running < p.max {
		p.running++
		p.wg.Add(1)
		go p.work()
	}
}

// work serves loops until none waits.
func (p *Pool) work() {
	defer p.wg.Done()
	p.mu.Lock()
	for len(p.ready) > 0 && !p.closed {
		l := heap.Pop(&p.ready).(*Loop)
		p.floor = max(p.floor, l.used)
		p.mu.Unlock()

		start := time.Now()
		more := l.run(start.Add(quantum))
		spent := time.Since(start)

		p.mu.Lock()
		// The loop may already be waiting in the heap again when it had no more work and was woken since: then its place
		// is corrected at its next turn, which is close enough for sharing.
		if more {
			l.used += spent
			p.seq++
			l.order = p.seq
			if !p.closed {
				heap.Push(&p.ready, l)
			}
		} else {
			l.owed.Add(int64(spent))
		}
	}
	p.running--
	p.mu.Unlock()
}

// loopHeap orders loops by the worker time they have used, then by arrival.
type loopHeap []*Loop

func (h loopHeap) Len() int { return len(h) }
func (h loopHeap) Less(i, j int) bool {
	if h[i].used != h[j].used {
		return h[i].used < h[j].used
	}
	return h[i].order < h[j].order
}
func (h loopHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *loopHeap) Push(x any)   { *h = append(*h, x.(*Loop)) }
func (h *loopHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
