// Package network is one lab's network in software: network namespaces (Stack) with addresses on links, TCP and UDP between them, unix
// sockets, and a hook that routes Services and enforces policy. Nothing leaves a Fabric and nothing enters it but through host code that
// holds one of its Stacks.
//
// Transport is a model of what programs can observe (connection states, errors, half-close, back-pressure, bounded buffers, silence of a
// machine without power), not of packets on a wire: a write is delivered to the peer's receive buffer at once. It knows nothing of
// processes or files: the kernel turns its sockets into descriptors.
//
// All socket calls are non-blocking and answer EAGAIN; Poll and Watch tell when to try again, so an idle socket holds no goroutine.
// DialContext and Listen wrap them for host code.
//
// Lock order: Fabric.mu → the locks of sockets (stream.mu, Listener.mu, UDPConn.mu), which are leaves. Watchers and hooks run under none.
package network

import (
	"io"
	"net/netip"
	"time"
)

// Proto is a transport protocol.
type Proto uint8

// The protocols.
const (
	TCP Proto = iota + 1
	UDP
)

func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "unknown"
}

// Clock is the lab's clock; timeouts of connections run on it.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f once d of lab time has passed; f must not block. stop reports whether it prevented the run.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Charger accounts bytes of socket buffers to whoever owns the sockets. A refused charge becomes ENOBUFS.
type Charger interface{ Charge(delta int64) error }

// Events is a set of readiness conditions, as in poll(2).
type Events uint8

// The conditions.
const (
	In    Events = 1 << iota // a read (or accept) would not block
	Out                      // a write would not block, or a connect has ended
	Hup                      // both directions are shut
	RdHup                    // the peer will send no more
	Err                      // an error is pending (SO_ERROR)
)

// Verdict is what a Hook says of a new connection or datagram.
type Verdict struct {
	To     netip.AddrPort // where it goes instead (destination NAT); the zero value leaves it
	Drop   bool           // it vanishes: the sender sees silence
	Reject bool           // it is refused: the sender sees ECONNREFUSED
	Reason string         // for people, kept with the drop
}

// Hook is asked about every new TCP connection and every UDP datagram before it is routed. It must not block and not call back into the Fabric.
type Hook interface {
	Connect(src *Stack, proto Proto, from, to netip.AddrPort) Verdict
}

// Drop is something that did not arrive.
type Drop struct {
	Time     time.Time
	Stack    string // the sender's
	Proto    Proto
	From, To netip.AddrPort
	Reason   string
}

// Config is what a Fabric needs. Rand gives ephemeral ports and must be set.
type Config struct {
	Clock Clock
	Rand  io.Reader
	// OnDrop is told of every drop; it must only note it down: it runs under the Fabric's lock. nil is fine.
	OnDrop func(Drop)
}

// Limits of a Fabric's sockets.
const (
	// streamBuffer bounds the bytes that wait for one reader of a stream (tcp_rmem's usual order of size).
	streamBuffer = 128 << 10
	// datagramBuffer bounds the bytes that wait in one UDP socket (net.core.rmem_default).
	datagramBuffer = 208 << 10
	// maxDatagram is the largest UDP payload over IPv4 (RFC 768, RFC 791).
	maxDatagram = 65507
	// maxBacklog is net.core.somaxconn.
	maxBacklog = 4096
	// maxSockets bounds listeners, UDP sockets and open connections of one Stack.
	maxSockets = 16 << 10
	// connectTimeout is how long Linux retries SYN with tcp_syn_retries = 6.
	connectTimeout = 127 * time.Second
	// silenceTimeout is how long Linux retransmits with tcp_retries2 = 15.
	silenceTimeout = 924 * time.Second

	ephemeralFirst, ephemeralLast = 32768, 60999 // net.ipv4.ip_local_port_range
)
