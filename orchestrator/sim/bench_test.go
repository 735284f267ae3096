package sim

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/clock"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// BenchmarkPods creates pods through Deployments on 100 nodes with the null runtime and reports pods per second from the first
// Deployment to the last Ready pod: Events, admission, managedFields included. It logs where the CPU time went.
// DRYDOCK_BENCH=1 leaves out the store's checksums. DRYDOCK_PROFILE names a file for a CPU profile.
func BenchmarkPods(b *testing.B) {
	const nodes, deployments, replicas = 100, 30, 100
	for range b.N {
		m := &meter{stages: map[string]*stage{}}
		l := newLab(b, Options{Name: "bench", Workers: nodes, Images: []string{"nginx:1.28"}, Clock: clock.Wall{}, Pool: loop.NewPool(0), Client: m.wrap, Cluster: func(c *apiserver.ClusterConfig) {
			c.LogBytes = 256 << 20
		}})
		clear(m.stages)
		stop := profile(b)
		rev := l.Cluster.Store().Rev()
		before := usage()
		for i := range deployments {
			l.create(informer.Deployments, deployment(fmt.Sprintf("web-%d", i), replicas, "nginx:1.28", func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse("10m"), v1.ResourceMemory: resource.MustParse("1Mi")}
			}))
		}
		l.settle()
		used := usage().since(before)
		stop()
		n := ready(l.pods("default"))
		if n != deployments*replicas {
			b.Fatalf("%d pods ready", n)
		}
		pods := float64(n)
		b.ReportMetric(pods/used.wall.Seconds(), "pods/s")
		b.ReportMetric(pods/used.cpu.Seconds(), "pods/cpu-s")
		b.ReportMetric(float64(used.cpu.Microseconds())/pods, "cpu-µs/pod")
		b.ReportMetric(float64(l.Cluster.Store().Rev()-rev)/pods, "revisions/pod")
		b.ReportMetric(float64(used.alloc)/pods/1024, "alloc-KB/pod")
		b.Logf("%.0f pods/s (target 1000 on 2 cores); CPU per pod:\n%s", pods/used.wall.Seconds(), m.table(used, n))
		l.Close()
	}
}

// BenchmarkPodStart is one pod, from its create to Running, on a cluster of four nodes with the image present.
func BenchmarkPodStart(b *testing.B) {
	l := newLab(b, Options{Workers: 3, Images: []string{"busybox:1.37"}, Clock: clock.Wall{}, Pool: loop.NewPool(0), Execute: func(f func()) { go f() },
		Node: func(n *orchestrator.NodeSpec) { n.Pods = 1 << 20 }, Cluster: func(c *apiserver.ClusterConfig) { c.MaxObjects = 1 << 20 }})
	running := make(chan struct{}, 1)
	b.Cleanup(l.Cluster.Store().OnCommit(func(c store.Commit) {
		if c.Resource == informer.Pods && c.New != nil && c.New.External().(*v1.Pod).Status.Phase == v1.PodRunning {
			select {
			case running <- struct{}{}:
			default:
			}
		}
	}))
	zero := int64(0)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprint("p", i)
		start := time.Now()
		l.create(informer.Pods, pod(name))
		<-running
		took = append(took, time.Since(start))
		b.StopTimer()
		l.delete(informer.Pods, "default", name, func(o *metav1.DeleteOptions) { o.GracePeriodSeconds = &zero })
		l.settle()
		select {
		case <-running:
		default:
		}
		b.StartTimer()
	}
	slices.Sort(took)
	p50 := took[len(took)/2]
	b.ReportMetric(float64(p50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.Logf("create to Running p50 %v (target 5ms with real guests)", p50)
}

// profile starts the CPU profile that was asked for.
func profile(b *testing.B) (stop func()) {
	f := os.Getenv("DRYDOCK_PROFILE")
	if f == "" {
		return func() {}
	}
	out, err := os.Create(f)
	if err != nil {
		b.Fatal(err)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		b.Fatal(err)
	}
	return func() { pprof.StopCPUProfile(); out.Close() }
}

// BenchmarkCreateCluster is a new cluster to four Ready nodes.
func BenchmarkCreateCluster(b *testing.B) {
	server := testServer(b)
	pool := loop.NewPool(0)
	defer pool.Close()
	b.ResetTimer()
	for i := range b.N {
		l, err := New(server, Options{Name: fmt.Sprint("c", i), Workers: 3, Clock: clock.Wall{}, Pool: pool})
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
	b.Logf("%v to four Ready nodes (target 5ms)", (b.Elapsed() / time.Duration(b.N)).Round(10*time.Microsecond))
}

// BenchmarkIdleLab measures what an idle cluster with four Ready nodes holds.
func BenchmarkIdleLab(b *testing.B) {
	server := testServer(b)
	pool := loop.NewPool(0)
	defer pool.Close()
	const labs = 50
	var kept []*Lab
	if l, err := New(server, Options{Workers: 3, Clock: clock.Wall{}, Pool: pool}); err == nil { // what is shared is made
		l.Close()
	}
	for range b.N {
		heap, routines := settled()
		for i := range labs {
			l, err := New(server, Options{Name: fmt.Sprint("idle", i), Workers: 3, Clock: clock.Wall{}, Pool: pool})
			if err != nil {
				b.Fatal(err)
			}
			kept = append(kept, l)
		}
		heap2, routines2 := settled()
		b.ReportMetric(float64(heap2-heap)/labs/1024, "KiB/lab")
		b.ReportMetric(float64(routines2-routines)/labs, "goroutines/lab")
		b.Logf("%d KiB (target 256), %d goroutines (target 0) in each idle lab of four Ready nodes", (heap2-heap)/labs/1024, (routines2-routines)/labs)
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
