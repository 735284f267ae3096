package network

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manual is a clock that moves when told.
type manual struct {
	mu     sync.Mutex
	now    time.Time
	timers []*timer
}

type timer struct {
	at time.Time
	f  func()
}

func (m *manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *manual) AfterFunc(d time.Duration, f func()) func() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &timer{m.now.Add(d), f}
	m.timers = append(m.timers, t)
	return func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		i := slices.Index(m.timers, t)
		if i >= 0 {
			m.timers = slices.Delete(m.timers, i, i+1)
		}
		return i >= 0
	}
}

func (m *manual) advance(d time.Duration) {
	m.mu.Lock()
	m.now = m.now.Add(d)
	var due []func()
	m.timers = slices.DeleteFunc(m.timers, func(t *timer) bool {
		if t.at.After(m.now) {
			return false
		}
		due = append(due, t.f)
		return true
	})
	m.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// purse is a Charger with a limit.
type purse struct{ used, limit atomic.Int64 }

func (p *purse) Charge(delta int64) error {
	n := p.used.Add(delta)
	if l := p.limit.Load(); delta > 0 && l > 0 && n > l {
		p.used.Add(-delta)
		return syscall.ENOSPC
	}
	return nil
}

// pair is a fabric with two namespaces on one bridge.
type pair struct {
	f     *Fabric
	clock *manual
	a, b  *Stack
	drops []Drop
}

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
)

func newTwo(t testing.TB) *pair {
	t.Helper()
	p := &pair{clock: &manual{now: time.Unix(1000, 0)}}
	p.f = NewFabric(Config{Clock: p.clock, Rand: rand.NewChaCha8([32]byte{1}), OnDrop: func(d Drop) { p.drops = append(p.drops, d) }})
	p.a, p.b = p.f.NewStack("a"), p.f.NewStack("b")
	for s, a := range map[*Stack]netip.Addr{p.a: addrA, p.b: addrB} {
		if err := s.AddLink("eth0", "br0", netip.PrefixFrom(a, 24)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// connect makes an established connection from a to b.
func (p *pair) connect(t testing.TB, port uint16) (client, server *Conn, l *Listener) {
	t.Helper()
	l, err := p.b.ListenTCP(netip.AddrPortFrom(netip.Addr{}, port), 8)
	if err != nil {
		t.Fatal(err)
	}
	client, err = p.a.DialTCP(netip.AddrPort{}, netip.AddrPortFrom(addrB, l.Addr().Port()))
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server, l
}

func TestConnectErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		to    string
		setup func(*pair)
		now   error // of DialTCP
		later error // of Err, after the timeout
	}{
		{"nobody listens", "10.0.0.2:80", nil, nil, syscall.ECONNREFUSED},
		{"nobody has the address", "10.0.0.9:80", nil, syscall.EHOSTUNREACH, nil},
		{"no route", "192.0.2.1:80", nil, syscall.ENETUNREACH, nil},
		{"without power", "10.0.0.2:80", func(p *pair) { p.b.SetDown(true) }, nil, syscall.ETIMEDOUT},
		{"policy drops", "10.0.0.2:80", func(p *pair) { p.f.SetHook(hook{Drop: true, Reason: "policy"}) }, nil, syscall.ETIMEDOUT},
		{"service without endpoints", "10.0.0.2:80", func(p *pair) { p.f.SetHook(hook{Reject: true, Reason: "no endpoints"}) }, nil, syscall.ECONNREFUSED},
		{"own namespace is gone", "10.0.0.2:80", func(p *pair) { p.a.Close() }, syscall.ENETDOWN, nil},
		{"port 0", "10.0.0.2:0", nil, syscall.ECONNREFUSED, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTwo(t)
			if c.setup != nil {
				c.setup(p)
			}
			conn, err := p.a.DialTCP(netip.AddrPort{}, netip.MustParseAddrPort(c.to))
			if err != c.now {
				t.Fatalf("answers %v, want %v", err, c.now)
			}
			if err != nil {
				return
			}
			if c.later == syscall.ETIMEDOUT {
				if conn.Poll() != 0 {
					t.Errorf("polls %b before the timeout", conn.Poll())
				}
				p.clock.advance(connectTimeout)
			}
			if conn.Poll()&(Out|Err) != Out|Err {
				t.Errorf("polls %b", conn.Poll())
			}
			if err := conn.Err(); err != c.later {
				t.Errorf("SO_ERROR %v, want %v", err, c.later)
			}
			if len(p.drops) != 1 || p.drops[0].Reason == "" {
				t.Errorf("drops: %+v", p.drops)
			}
			conn.Close()
			if n := len(p.a.streams); n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

type hook Verdict

func (h hook) Connect(*Stack, Proto, netip.AddrPort, netip.AddrPort) Verdict { return Verdict(h) }

func TestStream(t *testing.T) {
	p := newTwo(t)
	money := &purse{}
	p.a.SetCharger(money)
	p.b.SetCharger(money)
	c, s, _ := p.connect(t, 80)
	woken := 0
	cancel := s.Watch(func() { woken++ })
	sent := 0
	for {
		n, err := c.Write(make([]byte, 50_000))
		sent += n
		if err == syscall.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if sent != streamBuffer || money.used.Load() != streamBuffer || c.Poll()&Out != 0 || woken == 0 {
		t.Errorf("sent %d, charged %d, polls %b, woken %d", sent, money.used.Load(), c.Poll(), woken)
	}
	room := 0
	c.Watch(func() { room++ })
	buf := make([]byte, 1<<20)
	if n, err := s.Read(buf); n != streamBuffer || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if room == 0 || c.Poll()&Out == 0 || money.used.Load() != 0 {
		t.Errorf("writer woken %d times, polls %b, charged %d", room, c.Poll(), money.used.Load())
	}
	cancel()
	woken = 0
	c.Write([]byte("x"))
	if woken != 0 {
		t.Error("woken after cancel")
	}
	// half-close: the other direction goes on
	c.CloseWrite()
	if n, err := s.Read(buf); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if n, err := s.Read(buf); n != 0 || err != nil {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if _, err := c.Write([]byte("y")); err != syscall.EPIPE {
		t.Errorf("write after CloseWrite: %v", err)
	}
	s.Write([]byte("answer"))
	if n, _ := c.Read(buf); string(buf[:n]) != "answer" {
		t.Errorf("read %q", buf[:n])
	}
	s.Close()
	c.Close()
	if money.used.Load() != 0 || len(p.a.streams)+len(p.b.streams) != 0 || len(p.clock.timers) != 0 {
		t.Errorf("left: %d bytes, %d+%d connections, %d timers", money.used.Load(), len(p.a.streams), len(p.b.streams), len(p.clock.timers))
	}
	if tx := p.a.Links()[1].Count.TxBytes.Load(); tx != streamBuffer+1 {
		t.Errorf("eth0 counts %d bytes sent", tx)
	}
}

func TestEndings(t *testing.T) {
	buf := make([]byte, 100)
	for _, c := range []struct {
		name string
		end  func(p *pair, c, s *Conn, l *Listener)
		read error // of the client, nil for the end of the stream
	}{
		{"peer closes", func(_ *pair, _, s *Conn, _ *Listener) { s.Close() }, nil},
		{"peer closes with unread bytes", func(_ *pair, c, s *Conn, _ *Listener) { c.Write([]byte("x")); s.Close() }, syscall.ECONNRESET},
		{"reset", func(_ *pair, _, s *Conn, _ *Listener) { s.Reset() }, syscall.ECONNRESET},
		{"namespace ends", func(p *pair, _, _ *Conn, _ *Listener) { p.b.Close() }, syscall.ECONNRESET},
		{"listener closes, the connection stays", func(_ *pair, _, _ *Conn, l *Listener) { l.Close() }, syscall.EAGAIN},
		{"power is cut", func(p *pair, _, _ *Conn, _ *Listener) { p.b.SetDown(true); p.b.Close() }, syscall.EAGAIN},
		{"power is cut, then a write and a long time", func(p *pair, c, _ *Conn, _ *Listener) {
			p.b.SetDown(true)
			p.b.Close()
			c.Write([]byte("x"))
			p.clock.advance(silenceTimeout)
		}, syscall.ETIMEDOUT},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTwo(t)
			cl, sv, l := p.connect(t, 80)
			c.end(p, cl, sv, l)
			if n, err := cl.Read(buf); n != 0 || err != c.read {
				t.Errorf("reads %d, %v, want %v", n, err, c.read)
			}
			cl.Close()
			sv.Close()
			if len(p.clock.timers) != 0 {
				t.Errorf("%d timers are left", len(p.clock.timers))
			}
		})
	}
}

// TestCable pulls a cable and puts it back: what was written meanwhile arrives then, in both directions, and so does the end of the stream.
func TestCable(t *testing.T) {
	p := newTwo(t)
	money := &purse{}
	p.a.SetCharger(money)
	p.b.SetCharger(money)
	c, s, _ := p.connect(t, 80)
	buf := make([]byte, 100)
	p.b.SetDown(true)
	c.Write([]byte("to b"))
	s.Write([]byte("to a"))
	s.CloseWrite()
	for _, e := range []*Conn{c, s} {
		if _, err := e.Read(buf); err != syscall.EAGAIN {
			t.Errorf("reads while the cable is out: %v", err)
		}
	}
	woken := 0
	c.Watch(func() { woken++ })
	p.b.SetDown(false)
	if n, err := s.Read(buf); string(buf[:n]) != "to b" || err != nil {
		t.Errorf("b reads %q, %v", buf[:n], err)
	}
	if n, err := c.Read(buf); string(buf[:n]) != "to a" || err != nil || woken == 0 {
		t.Errorf("a reads %q, %v, woken %d times", buf[:n], err, woken)
	}
	if n, err := c.Read(buf); n != 0 || err != nil {
		t.Errorf("a reads at the end: %d, %v", n, err)
	}
	p.a.SetDown(true)
	c.Write([]byte("lost"))
	c.Close()
	p.a.SetDown(false)
	if _, err := s.Read(buf); err != syscall.ECONNRESET {
		t.Errorf("b reads after a closed with bytes that never came: %v", err)
	}
	s.Close()
	if money.used.Load() != 0 || len(p.clock.timers) != 0 {
		t.Errorf("left: %d bytes, %d timers", money.used.Load(), len(p.clock.timers))
	}
}

func TestBacklog(t *testing.T) {
	p := newTwo(t)
	l, _ := p.b.ListenTCP(netip.AddrPortFrom(addrB, 80), 2)
	var conns []*Conn
	for range 4 {
		c, err := p.a.DialTCP(netip.AddrPort{}, netip.AddrPortFrom(addrB, 80))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	got := func() (ready []bool) {
		for _, c := range conns {
			ready = append(ready, c.Poll()&Out != 0)
		}
		return ready
	}
	if d := cmp.Diff([]bool{true, true, false, false}, got()); d != "" {
		t.Error("connected beyond the backlog", d)
	}
	l.Accept()
	if d := cmp.Diff([]bool{true, true, true, false}, got()); d != "" {
		t.Error("after one accept", d)
	}
	p.clock.advance(connectTimeout)
	if err := conns[3].Err(); err != syscall.ETIMEDOUT {
		t.Errorf("the fourth ends with %v", err)
	}
	l.Close()
	if err := conns[1].Err(); err != syscall.ECONNRESET {
		t.Errorf("one that waited for accept ends with %v", err)
	}
	if _, err := l.Accept(); err != syscall.EINVAL {
		t.Errorf("accept after close: %v", err)
	}
}

func TestBind(t *testing.T) {
	p := newTwo(t)
	at := netip.MustParseAddrPort
	if _, err := p.b.ListenTCP(at("0.0.0.0:80"), 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr string
		err  error
	}{
		{"10.0.0.2:80", syscall.EADDRINUSE}, {"[::]:80", syscall.EADDRINUSE}, {"10.0.0.1:81", syscall.EADDRNOTAVAIL},
		{"127.0.0.1:81", nil}, {"10.0.0.2:0", nil},
	} {
		if _, err := p.b.ListenTCP(at(c.addr), 1); err != c.err {
			t.Errorf("%s: %v, want %v", c.addr, err, c.err)
		}
	}
	if err := p.a.AddLink("eth1", "br0", netip.PrefixFrom(addrB, 24)); err != syscall.EADDRINUSE {
		t.Errorf("an address taken twice: %v", err)
	}
	p.b.Close()
	p.b.Close()
	if err := p.a.AddLink("eth1", "br0", netip.PrefixFrom(addrB, 24)); err != nil {
		t.Errorf("an address that was given back: %v", err)
	}
}

func TestServiceRouting(t *testing.T) {
	p := newTwo(t)
	vip := netip.MustParseAddrPort("10.96.0.10:80")
	p.a.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), addrB, "eth0")
	p.f.SetHook(hook{To: netip.AddrPortFrom(addrB, 8080)})
	l, _ := p.b.ListenTCP(netip.AddrPortFrom(addrB, 8080), 1)
	c, err := p.a.DialTCP(netip.AddrPort{}, vip)
	if err != nil || c.Poll()&Out == 0 || c.RemoteAddr() != vip {
		t.Fatalf("%v, peer %v", err, c.RemoteAddr())
	}
	s, err := l.Accept()
	if err != nil || s.RemoteAddr() != c.LocalAddr() || s.LocalAddr() != l.Addr() {
		t.Errorf("%v: server sees %v at %v", err, s.RemoteAddr(), s.LocalAddr())
	}
	u, _ := p.b.ListenUDP(netip.AddrPortFrom(addrB, 8080))
	v, _ := p.a.ListenUDP(netip.AddrPort{})
	v.Connect(vip)
	v.SendTo([]byte("q"), netip.AddrPort{})
	buf := make([]byte, 10)
	_, _, from, err := u.RecvFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	p.f.SetHook(nil)
	u.SendTo([]byte("answer"), from)
	n, whole, from, err := v.RecvFrom(buf[:3])
	if err != nil || string(buf[:n]) != "ans" || whole != 6 || from != vip {
		t.Errorf("answer %q of %d from %v, %v", buf[:n], whole, from, err)
	}
}

func TestUDP(t *testing.T) {
	p := newTwo(t)
	money := &purse{}
	p.b.SetCharger(money)
	u, err := p.b.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 53))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := p.a.ListenUDP(netip.AddrPort{})
	to := netip.AddrPortFrom(addrB, 53)
	if _, err := c.SendTo(make([]byte, maxDatagram+1), to); err != syscall.EMSGSIZE {
		t.Errorf("too long: %v", err)
	}
	for range 10 {
		c.SendTo(make([]byte, 60_000), to)
	}
	if got := money.used.Load(); got > datagramBuffer || got < datagramBuffer/2 {
		t.Errorf("%d bytes are buffered", got)
	}
	if p.a.Drops()["the receiver's buffer is full"] == 0 {
		t.Errorf("drops: %v", p.a.Drops())
	}
	u.Close()
	if money.used.Load() != 0 {
		t.Errorf("%d bytes are charged after close", money.used.Load())
	}
	c.Connect(to)
	if _, err := c.SendTo([]byte("x"), netip.AddrPort{}); err != nil {
		t.Errorf("first to a closed port: %v", err)
	}
	if _, err := c.SendTo([]byte("x"), netip.AddrPort{}); err != syscall.ECONNREFUSED {
		t.Errorf("second to a closed port: %v", err)
	}
}

func TestUnix(t *testing.T) {
	p := newTwo(t)
	if _, err := p.f.DialUnix("sock", nil); err != syscall.ECONNREFUSED {
		t.Errorf("nobody listens: %v", err)
	}
	l, err := p.f.ListenUnix("sock", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.f.ListenUnix("sock", 1); err != syscall.EADDRINUSE {
		t.Errorf("taken: %v", err)
	}
	c, err := p.f.DialUnix("sock", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.f.DialUnix("sock", nil); err != syscall.EAGAIN {
		t.Errorf("queue full: %v", err)
	}
	s, _ := l.Accept()
	c.Write([]byte("hello"))
	buf := make([]byte, 10)
	if n, _ := s.Read(buf); string(buf[:n]) != "hello" {
		t.Errorf("read %q", buf[:n])
	}
	l.Close()
	if _, err := p.f.ListenUnix("sock", 1); err != nil {
		t.Errorf("after close: %v", err)
	}
}

// TestBufferRefused: a peer whose owner may not buffer more is told of, and nothing leaks.
func TestBufferRefused(t *testing.T) {
	p := newTwo(t)
	money := &purse{}
	money.limit.Store(1000)
	p.b.SetCharger(money)
	c, s, _ := p.connect(t, 80)
	if n, err := c.Write(make([]byte, 5000)); n != 0 || err != syscall.ENOBUFS {
		t.Errorf("wrote %d, %v", n, err)
	}
	if n, err := c.Write(make([]byte, 900)); n != 900 || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	s.Close()
	if money.used.Load() != 0 {
		t.Errorf("%d bytes are charged", money.used.Load())
	}
}

// TestHTTP runs net/http over the fabric: thousands of requests with and without keep-alive, bodies checked.
func TestHTTP(t *testing.T) {
	p := newTwo(t)
	before := runtime.NumGoroutine()
	l, err := p.b.Listen(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, _ := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	for _, keep := range []bool{true, false} {
		client := &http.Client{Transport: &http.Transport{DialContext: p.a.DialContext, DisableKeepAlives: !keep}}
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte(w)}, 1000+w*60_000)
				want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body))
				for range 250 {
					r, err := client.Post("http://10.0.0.2/", "", bytes.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(r.Body)
					r.Body.Close()
					if err != nil || string(got) != want {
						t.Errorf("got %q, %v", got, err)
						return
					}
				}
			})
		}
		wg.Wait()
		client.CloseIdleConnections()
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Error(err)
	}
	for runtime.NumGoroutine() > before { // they are on their way out
		runtime.Gosched()
	}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if n := len(p.a.streams) + len(p.b.streams); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestDialContext(t *testing.T) {
	p := newTwo(t)
	p.b.SetDown(true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := p.a.DialContext(ctx, "tcp", "10.0.0.2:80")
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	p.b.SetDown(false)
	if _, err := p.a.DialContext(context.Background(), "tcp", "10.0.0.2:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}
	c, s, _ := p.connect(t, 81)
	nc := NewNetConn(c)
	nc.SetReadDeadline(time.Now().Add(-time.Second))
	var ne net.Error
	if _, err := nc.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("past deadline: %v", err)
	}
	nc.SetReadDeadline(time.Time{})
	s.Write([]byte("x"))
	if n, err := nc.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	go func() {
		_, err := nc.Read(make([]byte, 1))
		done <- err
	}()
	nc.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed under a read: %v", err)
	}
}

// TestChurn dials, writes, closes and cuts power at random from many goroutines; for the race detector, and nothing may be left.
func TestChurn(t *testing.T) {
	p := newTwo(t)
	p.f.onDrop = nil
	money := &purse{}
	p.a.SetCharger(money)
	p.b.SetCharger(money)
	l, _ := p.b.ListenTCP(netip.AddrPortFrom(addrB, 80), 16)
	var accepted sync.WaitGroup
	l.Watch(func() {
		if c, err := l.Accept(); err == nil {
			accepted.Go(func() { c.Write([]byte("hi")); c.Read(make([]byte, 3)); c.Close() })
		}
	})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for range 300 {
				c, err := p.a.DialTCP(netip.AddrPort{}, netip.AddrPortFrom(addrB, 80))
				if err != nil {
					continue
				}
				c.Write([]byte("hello"))
				switch r.IntN(4) {
				case 0:
					c.Reset()
				case 1:
					c.CloseWrite()
				case 2:
					p.b.SetDown(r.IntN(2) == 0)
				}
				c.Read(make([]byte, 10))
				c.Poll()
				c.Close()
			}
		})
	}
	wg.Wait()
	l.Close()
	accepted.Wait()
	p.b.SetDown(false)
	p.a.Close()
	p.b.Close()
	if n := money.used.Load(); n != 0 || len(p.clock.timers) != 0 || len(p.a.streams)+len(p.b.streams) != 0 {
		t.Errorf("left: %d bytes, %d timers, %d connections", n, len(p.clock.timers), len(p.a.streams)+len(p.b.streams))
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	p := newTwo(b)
	c, s, _ := p.connect(b, 80)
	x, y := NewNetConn(c), NewNetConn(s)
	go io.Copy(y, y)
	buf := make([]byte, 64)
	for b.Loop() {
		x.Write(buf)
		if _, err := io.ReadFull(x, buf); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
}

func BenchmarkThroughput(b *testing.B) {
	p := newTwo(b)
	c, s, _ := p.connect(b, 80)
	x, y := NewNetConn(c), NewNetConn(s)
	done := make(chan struct{})
	go func() { io.Copy(io.Discard, y); close(done) }()
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
	<-done
}

func BenchmarkConnect(b *testing.B) {
	p := newTwo(b)
	l, _ := p.b.ListenTCP(netip.AddrPortFrom(addrB, 80), 16)
	for i := range 1000 { // others are open
		_ = i
		if _, err := p.a.DialTCP(netip.AddrPort{}, netip.AddrPortFrom(addrB, 80)); err != nil {
			b.Fatal(err)
		}
		l.Accept()
	}
	for b.Loop() {
		c, err := p.a.DialTCP(netip.AddrPort{}, netip.AddrPortFrom(addrB, 80))
		if err != nil {
			b.Fatal(err)
		}
		s, _ := l.Accept()
		c.Close()
		s.Close()
	}
}
