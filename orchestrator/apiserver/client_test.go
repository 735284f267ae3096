package apiserver

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/apiserver/clienttest"
	"github.com/drydock-labs/drydock/orchestrator/store"

	"k8s.io/apiserver/pkg/authentication/user"
)

// handClock is a clock that the test moves.
type handClock struct {
	mu     sync.Mutex
	now    time.Time // protected by mu
	timers []*handTimer
}

type handTimer struct {
	at      time.Time
	f       func()
	stopped bool
}

func newHandClock() *handClock {
	return &handClock{now: time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &handTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := !t.stopped
		t.stopped = true
		return was
	}
}

// Advance moves the clock and runs what became due.
func (c *handClock) Advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []func()
	for _, t := range c.timers {
		if !t.stopped && !t.at.After(c.now) {
			t.stopped = true
			due = append(due, t.f)
		}
	}
	c.mu.Unlock()
	for _, f := range due {
		f()
	}
}

// seeded is a deterministic source of random bytes.
func seeded(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n}) }

// TestClientStoresWhatHTTPStores plays the suite's scenario through client-go over the handler and through the in-process client.
func TestClientStoresWhatHTTPStores(t *testing.T) {
	subject := func(client func(*Cluster, user.Info, string) store.Client) clienttest.Subject {
		c := testCluster(t, ClusterConfig{ID: "compare", Clock: newHandClock(), Rand: seeded(1)})
		return clienttest.Subject{Store: c.Store(), Client: func(name string, groups ...string) store.Client {
			return client(c, &user.DefaultInfo{Name: name, Groups: groups}, managerOf(name))
		}}
	}
	clienttest.Run(t, subject((*Cluster).HTTPClient), subject((*Cluster).ClientAs))
}
