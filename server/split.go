package server

import (
	"io"
	"net"
	"sync"
	"time"
)

// Bounds of connections of which nobody knows yet what they are.
const (
	firstByteTime = 10 * time.Second
	undecided     = 1024
)

// tlsHandshake is the first byte of a TLS connection (RFC 8446, section 5.1: ContentType handshake); no HTTP request begins with it.
const tlsHandshake = 22

// Splitter is a net.Listener of the connections that do not begin with a TLS handshake; those that do go to somebody else. One port serves the
// page over plain HTTP and Kubernetes clients over TLS.
type Splitter struct {
	net.Listener
	tls    func(net.Conn)
	plain  chan net.Conn
	places chan struct{}
	once   sync.Once
	closed chan struct{}
	err    error // set before closed is
}

// NewSplitter begins to accept from l. tls may block.
func NewSplitter(l net.Listener, tls func(net.Conn)) *Splitter {
	s := &Splitter{Listener: l, tls: tls, plain: make(chan net.Conn), places: make(chan struct{}, undecided), closed: make(chan struct{})}
	go s.accept()
	return s
}

func (s *Splitter) accept() {
	for {
		s.places <- struct{}{}
		c, err := s.Listener.Accept()
		if err != nil {
			<-s.places
			if te, ok := err.(interface{ Temporary() bool }); ok && te.Temporary() { // out of descriptors, or the peer left in the queue
				select {
				case <-time.After(50 * time.Millisecond):
					continue
				case <-s.closed:
				}
			}
			s.end(err)
			return
		}
		go s.look(c)
	}
}

// look reads the first byte and passes the connection on.
func (s *Splitter) look(c net.Conn) {
	first := make([]byte, 1)
	_ = c.SetReadDeadline(time.Now().Add(firstByteTime)) // a connection that cannot have one fails to read as well
	_, err := io.ReadFull(c, first)
	<-s.places
	if err != nil {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	begun := &begunConn{Conn: c, first: first}
	if first[0] == tlsHandshake {
		s.tls(begun)
		return
	}
	select {
	case s.plain <- begun:
	case <-s.closed:
		c.Close()
	}
}

func (s *Splitter) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.closed)
	})
}

// Accept implements net.Listener.
func (s *Splitter) Accept() (net.Conn, error) {
	select {
	case c := <-s.plain:
		return c, nil
	case <-s.closed:
		return nil, s.err
	}
}

// Close implements net.Listener.
func (s *Splitter) Close() error {
	s.end(net.ErrClosed)
	return s.Listener.Close()
}

// begunConn is a connection whose first byte has been read.
type begunConn struct {
	net.Conn
	mu    sync.Mutex
	first []byte // protected by mu
}

// Read implements net.Conn.
func (b *begunConn) Read(p []byte) (int, error) {
	b.mu.Lock()
	if len(b.first) > 0 && len(p) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		b.mu.Unlock()
		return n, nil
	}
	b.mu.Unlock()
	return b.Conn.Read(p)
}
