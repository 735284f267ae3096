package network

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// serve answers A records: long.test with as many as need TCP, others with one.
func serve(_ netip.Addr, q []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(q)
	if err != nil {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true})
	b.EnableCompression()
	b.StartQuestions()
	b.Question(question)
	b.StartAnswers()
	n := 1
	if strings.HasPrefix(question.Name.String(), "long.") {
		n = 200
	}
	if question.Type == dnsmessage.TypeA {
		for i := range n {
			b.AResource(dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET}, dnsmessage.AResource{A: [4]byte{10, 1, 0, byte(i)}})
		}
	}
	m, _ := b.Finish()
	return m
}

// packetConn is a connected UDP socket for Go's resolver, which tells datagrams by net.PacketConn.
type packetConn struct {
	*NetConn
	u     *UDPConn
	ready *signal
}

func (c packetConn) Read(p []byte) (int, error) {
	for {
		n, _, _, err := c.u.RecvFrom(p)
		if err == nil {
			return n, nil
		}
		c.ready.wait(nil, nil)
	}
}
func (c packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, nil, err
}
func (c packetConn) Write(p []byte) (int, error)                     { return c.u.SendTo(p, netip.AddrPort{}) }
func (c packetConn) WriteTo(p []byte, _ net.Addr) (n int, err error) { return c.Write(p) }
func (c packetConn) Close() error                                    { return c.u.Close() }

// TestDNS asks with Go's resolver: short answers over UDP, long ones cut there and asked again over TCP.
func TestDNS(t *testing.T) {
	p := newTwo(t)
	at := netip.AddrPortFrom(addrB, 53)
	srv, err := p.b.ServeDNS(at, serve)
	if err != nil {
		t.Fatal(err)
	}
	dials := map[string]int{}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		dials[network]++
		if network != "udp" {
			return p.a.DialContext(ctx, network, at.String())
		}
		u, err := p.a.ListenUDP(netip.AddrPort{})
		if err != nil {
			return nil, err
		}
		u.Connect(at)
		c, _ := NewPair(nil)
		return packetConn{NewNetConn(c), u, newSignal(u.Watch)}, nil
	}}
	for _, c := range []struct {
		name string
		n    int
		tcp  int
	}{{"short.test.", 1, 0}, {"long.test.", 200, 1}} {
		dials["tcp"] = 0
		ips, err := r.LookupNetIP(context.Background(), "ip4", c.name)
		if err != nil || len(ips) != c.n || dials["tcp"] != c.tcp {
			t.Errorf("%s: %d addresses, %v, %v", c.name, len(ips), err, dials)
		}
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.b.ServeDNS(at, serve); err != nil {
		t.Errorf("the port is still taken: %v", err)
	}
}

// FuzzDNS throws bytes at the front over UDP and TCP: every reply must fit a datagram, parse, and carry the query's id.
func FuzzDNS(f *testing.F) {
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("long.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, _ := q.Pack()
	f.Add(b)
	f.Add(b[:14])
	f.Add(append(make([]byte, 12), 0xff, 0xff))
	f.Add(append(b, make([]byte, 5000)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newTwo(t)
		at := netip.AddrPortFrom(addrB, 53)
		long := func(_ netip.Addr, q []byte) []byte {
			return append(append([]byte(nil), q[:2]...), make([]byte, 2000)...)
		}
		for _, answer := range []func(netip.Addr, []byte) []byte{serve, long} {
			srv, err := p.b.ServeDNS(at, answer)
			if err != nil {
				t.Fatal(err)
			}
			u, _ := p.a.ListenUDP(netip.AddrPort{})
			u.Connect(at)
			u.SendTo(b, netip.AddrPort{})
			buf := make([]byte, maxDatagram)
			if n, _, _, err := u.RecvFrom(buf); err == nil {
				checkReply(t, b, buf[:n])
			}
			u.Close()
			c, err := p.a.DialContext(context.Background(), "tcp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
			c.(*NetConn).CloseWrite()
			io.Copy(io.Discard, c)
			c.Close()
			srv.Close()
		}
	})
}

func checkReply(t *testing.T, q, reply []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil || len(reply) > maxUDPReply || h.ID != binary.BigEndian.Uint16(q) {
		t.Fatalf("reply of %d bytes to %x: %v, id %d", len(reply), q, err, h.ID)
	}
	if h.Truncated {
		if err := p.SkipAllQuestions(); err != nil {
			t.Fatalf("cut reply %x to %x: %v", reply, q, err)
		}
	}
}
