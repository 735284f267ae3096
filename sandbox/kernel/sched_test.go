package kernel

import (
	"context"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// simulated is a scheduler with leaves that always want to run, driven by hand: no goroutines, no time.
type simulated struct {
	scheduler
	got map[*entity]int64
}

func newSimulated() *simulated { return &simulated{got: map[*entity]int64{}} }

func (s *simulated) node(parent *entity, weight, credit int64) *entity {
	e := &entity{grant: make(chan struct{}, 1)}
	if parent == nil {
		parent = &s.root
	}
	e.init(parent, weight, credit)
	return e
}

func (s *simulated) wake(e *entity) { s.activateLocked(e); s.enqueueLocked(e) }

// run gives the one slot n times, each for a slice.
func (s *simulated) run(n int) {
	for range n {
		e := s.pickLocked()
		s.waitLocked(e, -1)
		s.got[e] += slice
		s.chargeLocked(e, slice)
		s.enqueueLocked(e)
	}
}

func near(a, b, percent int64) bool { return a*100 >= b*(100-percent) && a*100 <= b*(100+percent) }

func TestSharesByWeight(t *testing.T) {
	s := newSimulated()
	a, b := s.node(nil, 100, accountCredit), s.node(nil, 100, accountCredit)
	heavy, light := s.node(a, 300, 0), s.node(a, 100, 0)
	h, l := s.node(heavy, 100, 0), s.node(light, 100, 0)
	var many []*entity
	for range 10 {
		e := s.node(b, 100, 0)
		many = append(many, e)
		s.wake(e)
	}
	s.wake(h)
	s.wake(l)
	s.run(10_000)
	sum := int64(0)
	for _, e := range many {
		sum += s.got[e]
		if !near(s.got[e], 500*slice, 2) {
			t.Errorf("one of ten equals got %d slices, want 500", s.got[e]/slice)
		}
	}
	if mine := s.got[h] + s.got[l]; !near(mine, sum, 1) {
		t.Errorf("accounts got %d and %d slices, want halves: processes must not buy time", mine/slice, sum/slice)
	}
	if !near(s.got[h], 3*s.got[l], 2) {
		t.Errorf("weights 300 and 100 got %d and %d slices", s.got[h]/slice, s.got[l]/slice)
	}
}

// TestSlots: an account that may use one processor leaves the others to the rest, whatever its processes are.
func TestSlots(t *testing.T) {
	s := newSimulated()
	s.free = 2
	a, b := s.node(nil, 100, accountCredit), s.node(nil, 100, accountCredit)
	one, two, other := s.node(a, 100, groupCredit), s.node(a, 100, groupCredit), s.node(b, 100, groupCredit)
	s.setSlots(a, 1)
	granted := func(e *entity) bool { return len(e.grant) == 1 }
	for _, e := range []*entity{one, two} {
		s.wake(e)
		s.grantLocked()
	}
	if !granted(one) || granted(two) || s.free != 1 {
		t.Errorf("granted %v and %v, %d slots are free", granted(one), granted(two), s.free)
	}
	s.wake(other)
	s.grantLocked()
	if !granted(other) {
		t.Error("the other account does not run")
	}
	<-one.grant
	s.release(one, slice)
	if !granted(two) {
		t.Error("the account's next does not run")
	}
	s.wake(one)
	s.setSlots(a, 2)
	if s.free != 0 || granted(one) {
		t.Errorf("%d slots are free, a third runs", s.free)
	}
	<-other.grant
	s.release(other, slice)
	if !granted(one) {
		t.Error("the account does not use its second processor")
	}
}

func TestBurstCredit(t *testing.T) {
	s := newSimulated()
	a, b := s.node(nil, 100, accountCredit), s.node(nil, 100, accountCredit)
	spin, idle := s.node(a, 100, groupCredit), s.node(b, 100, groupCredit)
	s.wake(spin)
	s.run(100_000)
	s.wake(idle)
	got := 0
	for s.pickLocked() == idle {
		s.run(1)
		got++
	}
	if want := int64(accountCredit); !near(int64(got)*slice, want, 1) {
		t.Errorf("an idle account ran for %d fuel before it shared, want its credit: %d", int64(got)*slice, want)
	}
	before := s.got[idle]
	s.run(1000)
	if !near(s.got[idle]-before, 500*slice, 2) {
		t.Errorf("after its burst it got %d of 1000 slices, want half", (s.got[idle]-before)/slice)
	}
}

func TestBandwidth(t *testing.T) {
	clock := newManualClock()
	b := &bandwidth{clock: clock}
	b.set(20*time.Millisecond, 100*time.Millisecond)
	quota := int64(20 * wasm.FuelPerSecond / 1000)
	if left, limited := b.charge(quota / 2); !limited || left != quota/2 {
		t.Fatalf("half used: %d left, limited %v", left, limited)
	}
	b.charge(quota)
	woken := 0
	cancel, throttled := b.throttledWatch(func() { woken++ })
	if !throttled {
		t.Fatal("not throttled beyond the quota")
	}
	clock.advance(99 * time.Millisecond)
	if woken != 0 {
		t.Fatal("woken within the period")
	}
	clock.advance(time.Millisecond)
	if woken != 1 {
		t.Fatalf("woken %d times at the end of the period", woken)
	}
	cancel()
	if left, _ := b.charge(0); left != quota/2 {
		t.Errorf("%d left in the next period, want the quota less what was overdrawn: %d", left, quota/2)
	}
	if b.periods != 2 || b.throttled != 1 || b.throttle != 100*time.Millisecond {
		t.Errorf("nr_periods %d, nr_throttled %d, throttled %v; want 2, 1, 100ms", b.periods, b.throttled, b.throttle)
	}
	b.set(0, 0)
	if _, limited := b.charge(1 << 40); limited {
		t.Error("limited without a quota")
	}
}

func TestCPUMaxStopsAGuest(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("spin", spinner)
	c, err := l.Cgroup().Child("pod", CgroupLimits{CPUMaxQuota: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := spec("spin")
	s.Cgroup = c
	p := l.start(s)
	for i := range int64(5) {
		until(t, "throttling", func() bool { return c.Stat().Throttled == i+1 })
		if got, most := c.Stat().UsageUsec(), (i+1)*10_000+1000; got > most {
			t.Fatalf("used %d µs in %d periods of 10 ms quota", got, i+1)
		}
		l.clock.advance(100 * time.Millisecond)
	}
	until(t, "throttling", func() bool { return c.Stat().Throttled == 6 })
	if st := c.Stat(); st.Periods != 6 || st.ThrottleUsec != 500_000 {
		t.Errorf("nr_periods %d, throttled_usec %d; want 6, 500000", st.Periods, st.ThrottleUsec)
	}
	p.Signal(SIGKILL)
	<-p.Done()
}

func TestBlockedGuestsGiveTheirSlotBack(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("pause", pause)
	for range 10 {
		p := l.start(spec("pause"))
		until(t, "sleep", p.sleeping.Load)
	}
	if st := l.do(func(_ context.Context, _ *Process) error { return nil }); st != 0 {
		t.Errorf("status %#x", st)
	}
	if _, running := l.LoadAverage(); running != 0 {
		t.Errorf("%d count as running", running)
	}
}

// TestWakingPassesSpinners counts how many slices others get between the moment a guest can go on and its own next slot, with many
// spinners of another account on the only slot: none, only the slice that is under way is waited for.
func TestWakingPassesSpinners(t *testing.T) {
	l := newLab(t, Limits{})
	l.install("spin", spinner)
	for range 12 {
		l.start(spec("spin"))
	}
	other := l.host.NewAccount(Limits{})
	defer other.Close()
	m := l.host.NewMachine(MachineConfig{Account: other, Hostname: "other", Root: l.Root(), Clock: l.clock})
	l.install("quiet", func(_ context.Context, p *Process) error {
		for range 200 {
			p.sleep()
			if err := p.admit(); err != nil {
				return err
			}
		}
		return nil
	})
	p, err := m.Spawn(spec("quiet"))
	if err != nil {
		t.Fatal(err)
	}
	for !p.exited() {
		p.kick()
	}
	l.host.sched.mu.Lock()
	defer l.host.sched.mu.Unlock()
	if p.sched.passed > 0 {
		t.Errorf("a guest that woke saw %d slots go to others", p.sched.passed)
	}
	if l.host.sched.grants < 200 {
		t.Errorf("%d slots were given in all: nothing was contended", l.host.sched.grants)
	}
}
