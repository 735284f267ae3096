package wasi

import (
	"crypto/rand"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// preview1 are the functions of wasi_snapshot_preview1 and the sockets.
func preview1() []entry {
	l := []entry{
		{name: "args_get", sig: "ii", f: argsGet, early: func(*call) error { return nil }},
		{name: "args_sizes_get", sig: "ii", f: argsSizes, early: noStrings},
		{name: "environ_get", sig: "ii", f: environGet, early: func(*call) error { return nil }},
		{name: "environ_sizes_get", sig: "ii", f: environSizes, early: noStrings},
		{name: "clock_res_get", sig: "ii", f: clockRes, early: clockRes},
		{name: "clock_time_get", sig: "ili", f: clockTime, early: earlyClock},
		{name: "poll_oneoff", sig: "iiii", f: pollOneoff, early: earlyPoll},
		{name: "proc_exit", sig: "i", f: procExit, early: procExit},
		{name: "proc_raise", sig: "i", f: procRaise, none: syscall.ENOSYS},
		{name: "random_get", sig: "ii", f: randomGet, early: randomGet},
		{name: "sched_yield", sig: "", f: func(c *call) error { return c.p.Yield() }, early: func(*call) error { return nil }},
	}
	l = append(l, fdCalls()...)
	l = append(l, pathCalls()...)
	return append(l, sockCalls()...)
}

func noStrings(c *call) error {
	if err := c.put32(0, 0); err != nil {
		return err
	}
	return c.put32(1, 0)
}

func argsGet(c *call) error      { return c.strings(c.p.Args()) }
func environGet(c *call) error   { return c.strings(c.p.Env()) }
func argsSizes(c *call) error    { return c.sizes(c.p.Args()) }
func environSizes(c *call) error { return c.sizes(c.p.Env()) }

func (c *call) sizes(l []string) error {
	n := 0
	for _, s := range l {
		n += len(s) + 1
	}
	if err := c.put32(0, uint32(len(l))); err != nil {
		return err
	}
	return c.put32(1, uint32(n))
}

// strings writes pointers at parameter 0 and NUL-ended strings at parameter 1.
func (c *call) strings(l []string) error {
	ptrs, err := c.bytes(c.u32(0), uint32(len(l))*4)
	if err != nil {
		return err
	}
	at := c.u32(1)
	for i, s := range l {
		b, err := c.bytes(at, uint32(len(s))+1)
		if err != nil {
			return err
		}
		b[copy(b, s)] = 0
		put32(ptrs[i*4:], at)
		at += uint32(len(b))
	}
	return nil
}

// Clocks of WASI.
const (
	clockRealtime  = 0
	clockMonotonic = 1
	clockProcess   = 2
	clockThread    = 3
)

func clockRes(c *call) error {
	if c.u32(0) > clockThread {
		return syscall.EINVAL
	}
	res := uint64(1)
	if c.u32(0) >= clockProcess {
		res = 1000
	}
	return c.put64(1, res)
}

// earlyClock is clock_time_get while an image is captured: the wall clock, and a monotonic clock that is before any that a process will read. A
// program keeps what it read there, and must not find itself in its past.
func earlyClock(c *call) error {
	switch c.u32(0) {
	case clockRealtime:
		return c.put64(2, uint64(time.Now().UnixNano()))
	case clockMonotonic:
		return c.put64(2, uint64(min(earlyTicks.Add(1)*int64(time.Microsecond), int64(time.Second)-1)))
	}
	return syscall.EINVAL
}

// earlyTicks counts readings of the monotonic clock while images are captured: loops that wait for it to move on end.
var earlyTicks atomic.Int64

// clockTime reads the lab's clock.
func clockTime(c *call) error {
	id := c.u32(0)
	switch id {
	case clockRealtime:
		return c.put64(2, uint64(c.p.Machine().Clock().Now().UnixNano()))
	case clockMonotonic:
		return c.put64(2, uint64(monotonic(c.p)))
	case clockProcess, clockThread:
		u := c.p.Usage()
		return c.put64(2, uint64(u.User+u.System))
	}
	return syscall.EINVAL
}

// monotonic is the lab time since the machine was started, from one second on: some programs take 0 for "no time".
func monotonic(p *kernel.Process) time.Duration {
	m := p.Machine()
	return m.Clock().Now().Sub(m.Boot()) + time.Second
}

func procExit(c *call) error {
	wasm.Exit(c.u32(0))
	return nil
}

func procRaise(c *call) error {
	s := linuxSignal(c.u32(0))
	if s == 0 || s > uint32(kernel.MaxSignal) {
		return syscall.EINVAL
	}
	return c.p.Kill(c.p.PID(nil), kernel.Signal(s))
}

func randomGet(c *call) error {
	b, err := c.arg(0)
	if err != nil {
		return err
	}
	r := rand.Reader
	if c.p != nil {
		r = c.p.Machine().Rand()
		c.p.Worked(len(b) * 8)
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return syscall.EIO
	}
	return nil
}
