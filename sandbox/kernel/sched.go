package kernel

import (
	"sync"
	"time"

	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// Fuel amounts of the scheduler. A slice is what a guest may use before it is asked to make room: it bounds how long a
// neighbour, a signal and Go's collector wait.
const (
	slice         = wasm.MaxSlice
	accountCredit = wasm.FuelPerSecond / 4  // burst of a lab that was idle: a command or two
	groupCredit   = wasm.FuelPerSecond / 10 // of a cgroup or process that was idle
	weightUnit    = 100                     // cpu.weight's default

	defaultPeriod = 100 * time.Millisecond

	// callCost is what a host call is charged beside the bytes it moves, in fuel: about what a short one takes.
	callCost = wasm.FuelPerSecond / 1_000_000
	// startCost is what the start of a program is charged: the host's work for memory, tables and image.
	startCost = 2000 * callCost
)

// scheduler gives the CPU slots to guests. Accounts, cgroups and processes form a tree; at each level a slot goes to the child
// with the least weighted use (virtual time), and one that was idle is placed at most its credit behind the others.
//
// The caller is always the guest's own goroutine; nothing runs by itself.
type scheduler struct {
	mu   sync.Mutex
	free int    // guarded by mu
	root entity // guarded by mu
	seq  uint64 // guarded by mu

	grants uint64 // guarded by mu; slots given so far
}

// entity is a node of the scheduler's tree. All fields but parent and credit are guarded by scheduler.mu.
type entity struct {
	parent  *entity
	credit  int64
	weight  int64
	vrt     int64     // virtual time among siblings
	floor   int64     // the least virtual time of active children, never falling
	slots   int       // the most that may run at once; 0 = no limit
	active  int       // descendants (or the process itself) that run or wait for a slot
	waiting int       // of these, who wait
	kids    []*entity // the active ones
	since   uint64    // leaves: order of waiting
	grant   chan struct{}
	mark    uint64 // leaves: scheduler.grants when it began to wait
	passed  uint64 // leaves: the most slots others were given while it waited
}

func (e *entity) init(parent *entity, weight, credit int64) {
	e.parent, e.weight, e.credit = parent, weight, credit
}

// activateLocked counts a runnable leaf, placing whatever was idle on the way up.
func (s *scheduler) activateLocked(leaf *entity) {
	for e := leaf; e.parent != nil; e = e.parent {
		e.active++
		if e.active == 1 {
			e.vrt = max(e.vrt, e.parent.floor-e.credit)
			e.parent.kids = append(e.parent.kids, e)
		}
	}
}

func (s *scheduler) deactivateLocked(leaf *entity) {
	for e := leaf; e.parent != nil; e = e.parent {
		e.active--
		if e.active > 0 {
			continue
		}
		k := e.parent.kids
		for i, x := range k {
			if x == e {
				k[i] = k[len(k)-1]
				k[len(k)-1] = nil
				e.parent.kids = k[:len(k)-1]
				break
			}
		}
	}
}

// chargeLocked adds used fuel to leaf and all above it.
func (s *scheduler) chargeLocked(leaf *entity, used int64) {
	for e := leaf; e.parent != nil; e = e.parent {
		e.vrt += max(used*weightUnit/max(e.weight, 1), 1)
		least := e.vrt
		for _, k := range e.parent.kids {
			least = min(least, k.vrt)
		}
		e.parent.floor = max(e.parent.floor, least)
	}
}

func (s *scheduler) waitLocked(leaf *entity, delta int) {
	for e := leaf; e != nil; e = e.parent {
		e.waiting += delta
	}
}

// pickLocked is the leaf that gets the next slot, nil when nobody waits who may have it.
func (s *scheduler) pickLocked() *entity {
	e := &s.root
	if e.waiting == 0 {
		return nil
	}
	for len(e.kids) > 0 {
		var best *entity
		for _, k := range e.kids {
			if k.mayRunLocked() && (best == nil || k.vrt < best.vrt || k.vrt == best.vrt && k.since < best.since) {
				best = k
			}
		}
		if e = best; e == nil {
			return nil
		}
	}
	return e
}

func (e *entity) mayRunLocked() bool {
	return e.waiting > 0 && (e.slots == 0 || e.active-e.waiting < e.slots)
}

// setSlots bounds how many of e's run at once.
func (s *scheduler) setSlots(e *entity, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.slots = n
	s.grantLocked()
}

func (s *scheduler) grantLocked() {
	for s.free > 0 {
		e := s.pickLocked()
		if e == nil {
			return
		}
		s.free--
		e.passed = max(e.passed, s.grants-e.mark)
		s.grants++
		s.waitLocked(e, -1)
		e.grant <- struct{}{} // has room: a leaf waits for one grant at a time
	}
}

func (s *scheduler) enqueueLocked(e *entity) {
	s.seq++
	e.since, e.mark = s.seq, s.grants
	s.waitLocked(e, 1)
}

// acquire waits for a slot; false when quit was closed first. Preconditions: e is a leaf without one.
func (s *scheduler) acquire(e *entity, quit <-chan struct{}) bool {
	s.mu.Lock()
	s.activateLocked(e)
	s.enqueueLocked(e)
	s.grantLocked()
	s.mu.Unlock()
	return s.await(e, quit)
}

func (s *scheduler) await(e *entity, quit <-chan struct{}) bool {
	select {
	case <-e.grant:
		return true
	default:
	}
	select {
	case <-e.grant:
		return true
	case <-quit:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-e.grant: // came at the same moment
		s.free++
	default:
		s.waitLocked(e, -1)
	}
	s.deactivateLocked(e)
	s.grantLocked()
	return false
}

// release gives the slot of e back, having used fuel.
func (s *scheduler) release(e *entity, used int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chargeLocked(e, used)
	s.deactivateLocked(e)
	s.free++
	s.grantLocked()
}

// yield charges used fuel to e and lets somebody else have its slot if that one is more entitled; false when quit was closed while waiting
// for it to come back, and then e has none.
func (s *scheduler) yield(e *entity, used int64, quit <-chan struct{}) bool {
	s.mu.Lock()
	s.chargeLocked(e, used)
	if s.root.waiting == 0 {
		s.mu.Unlock()
		return true
	}
	s.enqueueLocked(e)
	s.free++
	s.grantLocked()
	s.mu.Unlock()
	return s.await(e, quit)
}

// setWeight changes e's share.
func (s *scheduler) setWeight(e *entity, w int64) {
	s.mu.Lock()
	e.weight = w
	s.mu.Unlock()
}

// bandwidth is cpu.max of a cgroup: quota fuel in each period of lab time.
type bandwidth struct {
	clock Clock

	mu        sync.Mutex
	quota     int64         // guarded by mu; fuel, 0 = no limit
	period    time.Duration // guarded by mu
	left      int64         // guarded by mu
	end       time.Time     // guarded by mu; of the period
	since     time.Time     // guarded by mu; throttled since, zero when not
	waiters   watchers      // guarded by mu
	stop      func() bool   // guarded by mu; cancels the timer
	periods   int64         // guarded by mu
	throttled int64         // guarded by mu
	throttle  time.Duration // guarded by mu
}

func (b *bandwidth) set(quota time.Duration, period time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if period <= 0 {
		period = defaultPeriod
	}
	b.quota, b.period = int64(quota)*(wasm.FuelPerSecond/1_000_000)/1000, period
	b.left, b.end = b.quota, time.Time{}
	b.wakeLocked(b.clock.Now())
}

// turnLocked begins a new period when the last one is over.
func (b *bandwidth) turnLocked(now time.Time) {
	if now.Before(b.end) && !b.end.After(now.Add(b.period)) { // a clock that was set back must not stretch a period
		return
	}
	b.periods++
	b.left = min(b.left, 0) + b.quota // what was overdrawn is paid back
	if b.left <= 0 {
		b.left = min(b.left, 0)
	}
	b.end = now.Add(b.period)
}

// charge takes used fuel and tells how much of the quota is left now; unlimited is a negative quota's answer ok=false.
func (b *bandwidth) charge(used int64) (left int64, limited bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quota == 0 {
		return 0, false
	}
	b.turnLocked(b.clock.Now())
	b.left -= used
	return b.left, true
}

// throttled reports whether the quota is spent; then wake is called when there may be more, until cancel.
func (b *bandwidth) throttledWatch(wake func()) (cancel func(), throttled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quota == 0 {
		return nil, false
	}
	now := b.clock.Now()
	b.turnLocked(now)
	if b.left > 0 {
		b.wakeLocked(now)
		return nil, false
	}
	if b.since.IsZero() {
		b.since = now
		b.throttled++
		b.stop = b.clock.AfterFunc(b.end.Sub(now), b.timer)
	}
	w := b.waiters.addLocked(wake)
	return func() {
		b.mu.Lock()
		b.waiters.removeLocked(w)
		b.mu.Unlock()
	}, true
}

func (b *bandwidth) timer() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	b.turnLocked(now)
	if b.left <= 0 { // overdrawn by more than a period's quota, or the clock was set
		b.stop = b.clock.AfterFunc(max(b.end.Sub(now), time.Microsecond), b.timer)
		return
	}
	b.wakeLocked(now)
}

func (b *bandwidth) wakeLocked(now time.Time) {
	if b.since.IsZero() {
		return
	}
	b.throttle += now.Sub(b.since)
	b.since = time.Time{}
	b.waiters.notifyLocked()
}

// close cancels the timer.
func (b *bandwidth) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil {
		b.stop()
	}
	b.quota = 0
	b.wakeLocked(b.clock.Now())
}
