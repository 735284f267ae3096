package sim

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// wall is the wall clock.
type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// BenchmarkPods creates pods through Deployments on 100 nodes with the null runtime and reports pods per second from the first
// Deployment to the last Ready pod: Events, admission, managedFields included. DRYDOCK_BENCH=1 leaves out the store's checksums.
// DRYDOCK_PROFILE names a file for a CPU profile.
func BenchmarkPods(b *testing.B) {
	const nodes, deployments, replicas = 100, 30, 100
	for range b.N {
		l := newLab(b, Options{Name: "bench", Workers: nodes, Images: []string{"nginx:1.28"}, Clock: wall{}, Pool: loop.NewPool(0), Cluster: func(c *apiserver.ClusterConfig) {
			c.LogBytes = 256 << 20
		}})
		if f := os.Getenv("DRYDOCK_PROFILE"); f != "" {
			out, err := os.Create(f)
			if err != nil {
				b.Fatal(err)
			}
			if err := pprof.StartCPUProfile(out); err != nil {
				b.Fatal(err)
			}
			defer func() { pprof.StopCPUProfile(); out.Close() }()
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rev := l.Cluster.Store().Rev()
		start, cpu := time.Now(), processCPU()
		for i := range deployments {
			l.create(informer.Deployments, deployment(fmt.Sprintf("web-%d", i), replicas, "nginx:1.28", func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("10m"), v1.ResourceMemory: resource.MustParse("1Mi")}
			}))
		}
		l.settle()
		took, used := time.Since(start), processCPU()-cpu
		runtime.ReadMemStats(&after)
		n := ready(l.pods("default"))
		if n != deployments*replicas {
			b.Fatalf("%d pods ready", n)
		}
		b.ReportMetric(float64(n)/took.Seconds(), "pods/s")
		b.ReportMetric(float64(used.Microseconds())/float64(n), "cpu-µs/pod")
		b.ReportMetric(float64(l.Cluster.Store().Rev()-rev)/float64(n), "revisions/pod")
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(n)/1024, "alloc-KB/pod")
		l.Close()
	}
}

// BenchmarkCreateCluster is a new cluster to four Ready nodes.
func BenchmarkCreateCluster(b *testing.B) {
	server := testServer(b)
	pool := loop.NewPool(0)
	defer pool.Close()
	for i := range b.N {
		l, err := New(server, Options{Name: fmt.Sprint("c", i), Workers: 3, Clock: wall{}, Pool: pool})
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range informer.List[*v1.Node](l.Cluster.Reader(), informer.Nodes, "") {
			if len(n.Spec.Taints) > 0 && n.Name != "control-plane" {
				b.Fatalf("node %s is not ready", n.Name)
			}
		}
		l.Close()
	}
}

// BenchmarkIdleLab measures what an idle cluster with four Ready nodes holds.
func BenchmarkIdleLab(b *testing.B) {
	server := testServer(b)
	pool := loop.NewPool(0)
	defer pool.Close()
	const labs = 50
	var kept []*Lab
	if l, err := New(server, Options{Workers: 3, Clock: wall{}, Pool: pool}); err == nil { // what is shared is made
		l.Close()
	}
	for range b.N {
		heap, routines := settled()
		for i := range labs {
			l, err := New(server, Options{Name: fmt.Sprint("idle", i), Workers: 3, Clock: wall{}, Pool: pool})
			if err != nil {
				b.Fatal(err)
			}
			kept = append(kept, l)
		}
		heap2, routines2 := settled()
		b.ReportMetric(float64(heap2-heap)/labs/1024, "KiB/lab")
		b.ReportMetric(float64(routines2-routines)/labs, "goroutines/lab")
		for _, l := range kept {
			l.Close()
		}
		kept = nil
	}
}

func settled() (heap int64, goroutines int) {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), runtime.NumGoroutine()
}
