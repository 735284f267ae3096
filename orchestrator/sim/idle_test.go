package sim

import (
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// An idle cluster has no goroutine, no timer and writes nothing, however long it idles; its heartbeats move all the same.
func TestIdleClusterIsStill(t *testing.T) {
	testServer(t)
	pool := loop.NewPool(2)
	defer pool.Close()
	before := goroutines()
	l := newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28"}, Pool: pool})
	l.create(informer.Deployments, deployment("web", 3, "nginx:1.28"))
	l.settle()
	l.advance(time.Minute)
	rev, lease := l.Cluster.Store().Rev(), l.get(informer.Leases, "kube-node-lease", "node-1")
	l.advance(30 * time.Minute) // less than the Events' life and the tokens' refresh
	if got := l.Cluster.Store().Rev(); got != rev {
		t.Errorf("%d revisions were written\n%s", got-rev, l.log())
	}
	if cmp.Equal(lease, l.get(informer.Leases, "kube-node-lease", "node-1")) {
		t.Error("the Lease was not renewed")
	}
	if n := goroutines() - before; n > 0 {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines more than before\n%s", n, buf[:runtime.Stack(buf, true)])
	}
	if n := l.Clock.Timers(); n > 3 {
		t.Errorf("%d timers are armed; only the 3 pods' tokens have something to wait for", n)
	}
	empty := newLab(t, Options{Workers: 3, Pool: pool})
	if n := empty.Clock.Timers(); n != 0 {
		t.Errorf("%d timers are armed in a cluster without pods", n)
	}
}

// goroutines counts them once those that are about to end have ended.
func goroutines() int {
	n := runtime.NumGoroutine()
	for range 100 {
		time.Sleep(time.Millisecond)
		if m := runtime.NumGoroutine(); m < n {
			n = m
		}
	}
	return n
}
