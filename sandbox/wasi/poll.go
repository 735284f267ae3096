package wasi

import (
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

// signalFD is the reserved descriptor that is readable while a caught signal waits.
const signalFD = 0x7fffffff

const (
	subClock = 0
	subRead  = 1
	subWrite = 2

	eventHangup = 1
	absTime     = 1
)

// subscription is one of poll_oneoff's. The list is kept between calls, so it must not keep descriptors alive: d is cleared after each.
type subscription struct {
	userdata uint64
	kind     byte
	fd       uint32
	d        kernel.Description
	err      syscall.Errno
	deadline time.Time
}

// parse reads the 48 bytes of a subscription. EINVAL for one that makes no sense as a whole (an unknown kind).
func (c *call) parse(b []byte, s *subscription, now time.Time) error {
	*s = subscription{userdata: le64(b), kind: b[8]}
	switch s.kind {
	case subClock:
		id, timeout, flags := le32(b[16:]), le64(b[24:]), le16(b[40:])
		if id > clockMonotonic || flags&^absTime != 0 {
			s.err = syscall.EINVAL
			return nil
		}
		d := time.Duration(min(timeout, 1<<62))
		switch {
		case flags&absTime == 0:
		case id == clockMonotonic:
			d -= monotonic(c.p)
		default:
			d -= time.Duration(now.UnixNano())
		}
		s.deadline = now.Add(min(max(d, 0), 1<<60))
	case subRead, subWrite:
		s.fd = le32(b[16:])
		if s.fd == signalFD {
			if s.kind == subWrite {
				s.err = syscall.EINVAL
			}
			return nil
		}
		fd, _, err := c.p.FD(int(int32(s.fd)))
		if err != nil {
			s.err = syscall.EBADF
			return nil
		}
		s.d = fd.Description()
	default:
		return syscall.EINVAL
	}
	return nil
}

// ready reports whether the subscription has an event now.
func (s *subscription) ready(p *kernel.Process, now time.Time) bool {
	switch {
	case s.err != 0:
		return true
	case s.kind == subClock:
		return !now.Before(s.deadline)
	case s.fd == signalFD:
		return p.SignalPending()
	case s.kind == subRead:
		return s.d.Poll()&(kernel.EventIn|kernel.EventHup|kernel.EventErr) != 0
	}
	return s.d.Poll()&(kernel.EventOut|kernel.EventHup|kernel.EventErr) != 0
}

// event writes the 32 bytes of an event.
func (s *subscription) event(b []byte) {
	clear(b[:32])
	put64(b, s.userdata)
	put16(b[8:], uint16(errno(orNil(s.err))))
	b[10] = s.kind
	if s.d == nil || s.err != 0 {
		return
	}
	n := uint64(1)
	if x, ok := s.d.(interface{ Buffered() int }); ok && s.kind == subRead {
		n = uint64(x.Buffered())
	}
	put64(b[16:], n)
	if s.d.Poll()&kernel.EventHup != 0 {
		put16(b[24:], eventHangup)
	}
}

func orNil(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// pollOneoff waits for the first of the subscriptions.
func pollOneoff(c *call) error {
	n := c.u32(2)
	if n == 0 || n > maxSubs {
		return syscall.EINVAL
	}
	in, err := c.bytes(c.u32(0), n*48)
	if err != nil {
		return err
	}
	out, err := c.bytes(c.u32(1), n*32)
	if err != nil {
		return err
	}
	if _, err := c.out(3, 4); err != nil {
		return err
	}
	defer c.forget()
	deadline, on, err := c.subscribe(in, int(n))
	if err != nil {
		return err
	}
	clock := c.p.Machine().Clock()
	err = c.p.BlockUntil(deadline, func() bool {
		now := clock.Now()
		for i := range c.subs {
			if c.subs[i].ready(c.p, now) {
				return true
			}
		}
		return false
	}, on...)
	if err != nil && err != syscall.ETIMEDOUT {
		return err
	}
	now, events := clock.Now(), uint32(0)
	for i := range c.subs {
		if s := &c.subs[i]; s.ready(c.p, now) {
			s.event(out[events*32:])
			events++
		}
	}
	return c.put32(3, events)
}

// subscribe fills c.subs and gives the earliest deadline and what to watch.
func (c *call) subscribe(in []byte, n int) (deadline time.Time, on []kernel.Watchable, err error) {
	now := c.p.Machine().Clock().Now()
	if cap(c.subs) < n {
		c.subs = make([]subscription, n)
	}
	c.subs = c.subs[:n]
	for i := range c.subs {
		s := &c.subs[i]
		if err := c.parse(in[i*48:], s, now); err != nil {
			return deadline, nil, err
		}
		switch {
		case s.kind == subClock && s.err == 0:
			if deadline.IsZero() || s.deadline.Before(deadline) {
				deadline = s.deadline
			}
		case s.d != nil:
			on = append(on, s.d)
		}
	}
	return deadline, on, nil
}

// forget lets go of the descriptions of the last poll.
func (c *call) forget() {
	clear(c.subs)
	if cap(c.subs) > 64 {
		c.subs = nil
	}
}

// earlyPoll is poll_oneoff while an image is captured: a clock is taken as over at once, for nobody may wait there.
func earlyPoll(c *call) error {
	n := c.u32(2)
	if n == 0 || n > maxSubs {
		return syscall.EINVAL
	}
	in, err := c.bytes(c.u32(0), n*48)
	if err != nil {
		return err
	}
	out, err := c.bytes(c.u32(1), n*32)
	if err != nil {
		return err
	}
	events := uint32(0)
	for i := range int(n) {
		s := subscription{userdata: le64(in[i*48:]), kind: in[i*48+8]}
		if s.kind != subClock {
			s.err = syscall.EBADF
		}
		s.event(out[i*32:])
		events++
	}
	return c.put32(3, events)
}
