package wasi

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// flat is guest memory that is a slice; only what the package uses of api.Memory works.
type flat struct {
	api.Memory
	b []byte
}

func (m flat) Read(off, n uint32) ([]byte, bool) {
	if uint64(off)+uint64(n) > uint64(len(m.b)) {
		return nil, false
	}
	return m.b[off : off+n : off+n], true
}

func (m flat) WriteUint32Le(off, v uint32) bool {
	b, ok := m.Read(off, 4)
	if ok {
		put32(b, v)
	}
	return ok
}

func (m flat) WriteUint64Le(off uint32, v uint64) bool {
	b, ok := m.Read(off, 8)
	if ok {
		put64(b, v)
	}
	return ok
}

func FuzzPollSubscriptions(f *testing.F) {
	sub := make([]byte, 48)
	sub[8] = subClock
	f.Add(sub, uint32(0), uint32(96), uint32(1), uint32(200))
	f.Add(append(sub, sub...), uint32(0xfffffff0), uint32(0), uint32(math.MaxUint32), uint32(3))
	f.Fuzz(func(t *testing.T, mem []byte, in, out, n, events uint32) {
		c := &call{mem: flat{b: mem}, args: []uint64{uint64(in), uint64(out), uint64(n), uint64(events)}}
		before := len(mem)
		err := earlyPoll(c)
		if err == nil && (n == 0 || n > maxSubs) {
			t.Errorf("%d subscriptions were taken", n)
		}
		if len(mem) != before {
			t.Error("memory changed its size")
		}
		var s subscription
		for len(mem) >= 48 {
			if mem[8] == subClock && le16(mem[40:])&absTime == 0 {
				now := time.Unix(0, 0)
				if c.parse(mem, &s, now) == nil && s.err == 0 && s.deadline.Before(now) {
					t.Errorf("a timeout of %d lies in the past", le64(mem[24:]))
				}
			}
			mem = mem[48:]
		}
	})
}

func FuzzSpawnLists(f *testing.F) {
	f.Add("a\x00b\x00")
	f.Add("\x00\x00")
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := splitList(s)
		if err != nil {
			if s == "" || strings.HasSuffix(s, "\x00") {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		back := ""
		for _, x := range l {
			if strings.Contains(x, "\x00") {
				t.Errorf("%q holds a NUL", x)
			}
			back += x + "\x00"
		}
		if back != s {
			t.Errorf("%q became %q", s, l)
		}
	})
}

func FuzzIovs(f *testing.F) {
	f.Add([]byte("\x10\x00\x00\x00\x04\x00\x00\x00........"), uint32(0), uint32(1))
	f.Fuzz(func(t *testing.T, mem []byte, list, n uint32) {
		c := &call{mem: flat{b: mem}, args: []uint64{uint64(list), uint64(n)}}
		bufs, err := c.iovs(0)
		if err == nil && n > maxIovs {
			t.Errorf("a list of %d was taken", n)
		}
		total := 0
		for _, b := range bufs {
			total += len(b)
		}
		if total > math.MaxInt32 {
			t.Errorf("%d bytes in all", total)
		}
		c.one(0)
		c.addrBuf(0)
		c.list(0)
	})
}
