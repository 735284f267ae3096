package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/store"
	"github.com/drydock-labs/drydock/sandbox/kernel"
)

// profile writes a CPU profile of what follows to the file that DRYDOCK_PROFILE names.
func profile(b *testing.B) {
	name := os.Getenv("DRYDOCK_PROFILE")
	if name == "" {
		return
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		pprof.StopCPUProfile()
		f.Close()
	})
}

// times are durations that percentiles are taken of.
type times []time.Duration

// percentile is the nearest-rank one.
func (t times) percentile(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func (t times) report(b *testing.B, prefix string) {
	b.ReportMetric(float64(t.percentile(50).Microseconds())/1000, prefix+"p50-ms")
	b.ReportMetric(float64(t.percentile(99).Microseconds())/1000, prefix+"p99-ms")
}

// BenchmarkLab makes a lab of four nodes, to all of them Ready, and ends it.
func BenchmarkLab(b *testing.B) {
	newTestLab(b, Options{}) // what the host makes once
	h, _ := testHost()
	profile(b)
	var made, ended times
	for b.Loop() {
		began := time.Now()
		l, err := h.New(context.Background(), Options{})
		if err != nil {
			b.Fatal(err)
		}
		ready := time.Now()
		l.Close()
		made, ended = append(made, ready.Sub(began)), append(ended, time.Since(ready))
	}
	made.report(b, "create-")
	ended.report(b, "close-")
}

// held is what a program holds when its garbage is gone.
func held() (heap int64, goroutines int) {
	for range 3 {
		goruntime.GC()
	}
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc), goruntime.NumGoroutine()
}

// BenchmarkLabIdle measures what a lab of four Ready nodes holds while nobody uses it. DRYDOCK_PROFILE names a file for a heap profile.
func BenchmarkLabIdle(b *testing.B) {
	const labs = 50
	newTestLab(b, Options{})
	for range b.N {
		heap, goroutines := held()
		var list []*Lab
		for range labs {
			list = append(list, newTestLab(b, Options{}))
		}
		heap2, goroutines2 := held()
		b.ReportMetric(float64(heap2-heap)/labs/1024, "KiB/lab")
		b.ReportMetric(float64(goroutines2-goroutines)/labs, "goroutines/lab")
		if name := os.Getenv("DRYDOCK_PROFILE"); name != "" {
			f, err := os.Create(name)
			if err != nil {
				b.Fatal(err)
			}
			_ = pprof.WriteHeapProfile(f)
			f.Close()
		}
		for _, l := range list {
			l.Close()
		}
	}
}

// privateDirty is how many bytes of the process are its own and written to (proc_pid_smaps_rollup(5)), its garbage given back: Go's heap, and
// guests' pages.
func privateDirty(b *testing.B) (bytes int64) {
	b.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Private_Dirty:"); ok {
			if _, err := fmt.Sscan(rest, &bytes); err != nil {
				b.Fatal(err)
			}
		}
	}
	return bytes << 10
}

// roomy lifts the limits that are for learners.
func roomy(l *Lab) *Lab {
	l.account.SetLimits(kernel.Limits{MemoryBytes: 2 << 30, CPUs: 16, Processes: 4096})
	return l
}

// watchPods calls f for each pod that becomes Ready, until the benchmark ends.
func watchPods(b *testing.B, l *Lab, f func(p *v1.Pod)) {
	b.Cleanup(l.cluster.Store().OnCommit(func(c store.Commit) {
		if c.Resource != informer.Pods || c.New == nil {
			return
		}
		if p := c.New.External().(*v1.Pod); p.Status.Phase == v1.PodRunning {
			f(p)
		}
	}))
}

func pod(name, image string, command ...string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PodSpec{TerminationGracePeriodSeconds: new(int64(0)),
		Containers: []v1.Container{{Name: "c", Image: image, Command: command}}}}
}

func (l *Lab) clientset(t testing.TB) *kubernetes.Clientset {
	t.Helper()
	cfg := l.cluster.RESTConfig(Learner, AdminGroup)
	cfg.QPS, cfg.Burst = -1, -1
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// BenchmarkLabPod is one pod of a real guest, from its create to Running, on four nodes that have the image.
func BenchmarkLabPod(b *testing.B) {
	l := roomy(newTestLab(b, Options{}))
	pods, ctx := l.clientset(b).CoreV1().Pods("default"), context.Background()
	var mu sync.Mutex
	awaited, running := "", make(chan struct{}, 1)
	watchPods(b, l, func(p *v1.Pod) {
		mu.Lock()
		defer mu.Unlock()
		if p.Name == awaited {
			awaited = ""
			running <- struct{}{}
		}
	})
	one := func(i int) time.Duration {
		p := pod(fmt.Sprintf("p-%d", i), "nginx:1.28")
		mu.Lock()
		awaited = p.Name
		mu.Unlock()
		began := time.Now()
		if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		select {
		case <-running:
		case <-time.After(patience):
			b.Fatalf("%s is not Running:\n%s", p.Name, l.mustRun(b, "kubectl get pods -A -o wide; kubectl describe pods"))
		}
		took := time.Since(began)
		if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil {
			b.Fatal(err)
		}
		if err := l.WaitIdle(ctx); err != nil {
			b.Fatal(err)
		}
		return took
	}
	for i := range 10 { // every node has pulled the image
		one(-1 - i)
	}
	profile(b)
	var took times
	n := 0
	for b.Loop() {
		n++
		took = append(took, one(n))
	}
	took.report(b, "")
}

// BenchmarkLabPods is how many pods of real guests per second a lab brings up, from the create of a Deployment to the last Running.
func BenchmarkLabPods(b *testing.B) {
	const replicas = 200
	for range b.N {
		l := roomy(newTestLab(b, Options{}))
		l.mustRun(b, "kubectl create deployment warm --image=nginx:1.28 --replicas=6 && kubectl rollout status deployment warm --timeout=60s")
		if err := l.WaitIdle(context.Background()); err != nil {
			b.Fatal(err)
		}
		heap, goroutines := held()
		dirty := privateDirty(b)
		var mu sync.Mutex
		names, all := map[string]bool{}, make(chan struct{})
		watchPods(b, l, func(p *v1.Pod) {
			mu.Lock()
			defer mu.Unlock()
			if strings.HasPrefix(p.Name, "web-") && !names[p.Name] {
				if names[p.Name] = true; len(names) == replicas {
					close(all)
				}
			}
		})
		profile(b)
		began := time.Now()
		l.mustRun(b, fmt.Sprintf("kubectl create deployment web --image=nginx:1.28 --replicas=%d", replicas))
		<-all
		took := time.Since(began)
		b.ReportMetric(replicas/took.Seconds(), "pods/s")
		heap2, goroutines2 := held()
		b.ReportMetric(float64(privateDirty(b)-dirty)/replicas/1e6, "private-MB/pod")
		b.ReportMetric(float64(heap2-heap)/replicas/1024, "heap-KiB/pod")
		b.ReportMetric(float64(goroutines2-goroutines)/replicas, "goroutines/pod")
		l.Close()
	}
}

// BenchmarkLabKubectl is `kubectl get pods` as it is typed at the lab's terminal, from Enter to what follows it, over TLS.
func BenchmarkLabKubectl(b *testing.B) {
	l := newTestLab(b, Options{})
	y := newTypist(b, l, Workstation)
	for range 3 {
		y.run("kubectl get pods")
	}
	profile(b)
	var took times
	for b.Loop() {
		_, d := y.run("kubectl get pods")
		took = append(took, d)
	}
	took.report(b, "")
}

// BenchmarkLabEcho is a key at the prompt, from the press to its echo by the shell.
func BenchmarkLabEcho(b *testing.B) {
	l := newTestLab(b, Options{})
	y := newTypist(b, l, Workstation)
	y.see(prompted) // until then the terminal itself echoes
	var took times
	for b.Loop() {
		took = append(took, y.key('x'))
		if len(took)%40 == 0 {
			y.run("\x15true") // Ctrl-U
			y.see(prompted)
		}
	}
	took.report(b, "")
}

// nativeKubectl returns a call of `kubectl get pods` by the machine's own kubectl.
func (l *Lab) nativeKubectl(b *testing.B, url string) func() time.Duration {
	b.Helper()
	text, err := l.Kubeconfig(url)
	if err != nil {
		b.Fatal(err)
	}
	home := b.TempDir()
	config := filepath.Join(home, "config")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return func() time.Duration {
		began := time.Now()
		cmd := exec.Command("kubectl", "get", "pods")
		cmd.Env = append(os.Environ(), "HOME="+home, "KUBECONFIG="+config)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return time.Since(began)
	}
}

// What a lab is abused with, until it is stopped.
const (
	spinning = "while :; do :; done"
	forking  = forkBomb + "; while :; do ./bomb.sh; done"
	touching = "while :; do seq 10000 | xargs touch; rm -rf *; done"
)

// BenchmarkLabCharge is how much CPU a lab really takes for each second that it is charged, by what it does.
func BenchmarkLabCharge(b *testing.B) {
	for _, row := range []struct{ name, script string }{
		{"spin", spinning},
		{"starts", "while :; do /bin/true; done"},
		{"forks", forking},
		{"pipe", "while :; do seq 100000 | sort | tail -1; done"},
		{"files", touching},
		{"stat", "seq 1000 | xargs touch; while :; do ls -l; done"},
		{"kubectl", "while :; do kubectl get pods; done"},
	} {
		b.Run(row.name, func(b *testing.B) {
			l := newTestLab(b, Options{})
			l.mustRun(b, "kubectl get pods; seq 10 | sort | tail -1 | xargs touch; ls")
			for range b.N {
				real, charged := cpuTime(b), l.Usage().CPU
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				l.Run(ctx, row.script)
				cancel()
				b.ReportMetric((cpuTime(b)-real).Seconds()/(l.Usage().CPU-charged).Seconds(), "CPU-s/charged-s")
			}
		})
	}
}

// cpuTime is what the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLabNeighbour is what `kubectl get pods` takes in one lab while another is quiet, and while that other one is abused: as the kubectl
// of this machine, as the request alone (on a TLS connection of its own, as kubectl makes it), and typed at the terminal.
func BenchmarkLabNeighbour(b *testing.B) {
	h, err := testHost()
	if err != nil {
		b.Fatal(err)
	}
	loud, quiet := newTestLab(b, Options{}), newTestLab(b, Options{})
	url := openGate(b, h)
	y := newTypist(b, quiet, Workstation)
	y.run("kubectl get pods")
	request, native := quiet.outsider(b, url), quiet.nativeKubectl(b, url)
	for _, row := range []struct{ name, abuse string }{
		{"nothing", ""},
		{"spin", spinning},
		{"forks", forking},
		{"memory", "kubectl create deployment hog --image=drydock/hog --replicas=8; kubectl set env deployment hog HOG_EVERY=1ms; sleep 1000"},
		{"stdout", "kubectl run yes --image=busybox -- sh -c 'while :; do seq 10000; done'; sleep 1000"},
		{"files", touching},
		{"requests", ""},
	} {
		b.Run(row.name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			if row.abuse != "" {
				wg.Go(func() { loud.Run(ctx, row.abuse) })
			}
			if row.name == "requests" {
				defer loud.stormFromOutside(b, url)()
			}
			time.Sleep(500 * time.Millisecond) // the abuse is under way
			var requests, natives, typed times
			for b.Loop() {
				for range 40 { // as many as a 99th percentile that is not the worst of a few takes
					for range 10 {
						requests = append(requests, request())
					}
					_, d := y.run("kubectl get pods")
					natives, typed = append(natives, native()), append(typed, d)
				}
			}
			requests.report(b, "request-")
			natives.report(b, "native-")
			typed.report(b, "typed-")
		})
	}
}
