package web

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server accepts connections and answers requests. Lock order: mu alone.
type Server struct {
	Version string // "1.28.0"
	Logs    *Logs

	config   atomic.Pointer[Config]
	sequence atomic.Uint64 // of connections
	draining atomic.Bool
	running  sync.WaitGroup // accept loops and connections

	mu        sync.Mutex
	listeners map[Address]net.Listener // protected by mu
	conns     map[*conn]struct{}       // protected by mu
}

// Apply makes c current: opens its logs and addresses, closes what it does not name. On error everything stays as it was.
func (s *Server) Apply(c *Config) error {
	if err := s.Logs.Open(c.Files); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[Address]net.Listener{}
	var added []Address
	for _, a := range c.Listen {
		if l := s.listeners[a]; l != nil {
			next[a] = l
			continue
		}
		l, err := net.Listen(a.Network, a.Host)
		if errors.Is(err, syscall.EADDRINUSE) && next[a.twin()] != nil { // a wildcard takes both families on some systems
			continue
		}
		if errors.Is(err, syscall.EAFNOSUPPORT) && len(c.Listen) > 1 { // the network has no IPv6
			s.Logs.Error(c.ErrorLog, Warn, fmt.Sprintf("socket() %s failed (%s), ignored", a.Host, ErrnoText(err)))
			continue
		}
		if err != nil {
			for _, a := range added {
				next[a].Close()
			}
			return fmt.Errorf("bind() to %s failed (%s)", a.Host, ErrnoText(err))
		}
		next[a] = l
		added = append(added, a)
	}
	for a, l := range s.listeners {
		if next[a] == nil {
			l.Close()
		}
	}
	s.listeners = next
	s.config.Store(c)
	for _, a := range added {
		s.running.Go(func() { s.accept(a, next[a]) })
	}
	return nil
}

// Current is the configuration in force.
func (s *Server) Current() *Config { return s.config.Load() }

func (s *Server) accept(at Address, l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EINVAL) {
				return
			}
			if ne, ok := err.(net.Error); ok && ne.Timeout() { // Drain has accepted all that had come
				l.Close()
				return
			}
			s.Logs.Error(s.Current().ErrorLog, Error, fmt.Sprintf("accept() failed (%s)", ErrnoText(err)))
			time.Sleep(50 * time.Millisecond) // out of descriptors: let some connection end
			continue
		}
		c := &conn{server: s, net: nc, at: at, id: s.sequence.Add(1)}
		s.mu.Lock()
		if s.conns == nil {
			s.conns = map[*conn]struct{}{}
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.running.Go(c.serve)
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// backlogGrace is how long a draining server goes on accepting: who was connecting when it was told must not be refused.
const backlogGrace = 20 * time.Millisecond

// firstGrace is how long a draining server waits for the first request of a connection that has sent none.
const firstGrace = time.Second

// Drain stops accepting, lets requests under way finish, closes connections between requests, and returns when all have ended.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.mu.Lock()
	for _, l := range s.listeners {
		if d, ok := l.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(backlogGrace)) != nil {
			l.Close()
		}
	}
	for c := range s.conns {
		c.hurry()
	}
	s.mu.Unlock()
	s.running.Wait()
}
