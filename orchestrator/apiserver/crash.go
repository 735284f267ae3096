package apiserver

import (
	"fmt"
	"net/http"
	"runtime/debug"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// Crash reports a panic while a cluster's request was handled.
type Crash struct {
	Cluster string
	// Request is the method and path of the request, Value what was panicked with.
	Request string
	Value   any
	Stack   []byte
}

func (c Crash) String() string {
	return fmt.Sprintf("cluster %s: %s panicked: %v\n%s", c.Cluster, c.Request, c.Value, c.Stack)
}

func init() {
	// Upstream's goroutines recover, log and then panic again, so that one process is one cluster's. Here it is many clusters'.
	utilruntime.ReallyCrash = false
}

// stopOnPanic closes the cluster of a request whose handler panics: what it left half done cannot be trusted. The other clusters go on.
// Upstream's chain around it answers the request with 500.
func stopOnPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if c, ok := ClusterFrom(req.Context()); ok && p != http.ErrAbortHandler {
				c.crash(Crash{Cluster: c.cfg.ID, Request: req.Method + " " + req.URL.Path, Value: p, Stack: debug.Stack()})
			}
			panic(p)
		}()
		next.ServeHTTP(w, req)
	})
}

// crash closes the cluster and reports the first panic.
func (c *Cluster) crash(report Crash) {
	if !c.crashed.CompareAndSwap(nil, &report) {
		return
	}
	c.Close()
	if c.cfg.OnCrash != nil {
		c.cfg.OnCrash(report)
	}
}
