package sim

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// consumption is what the process has used.
type consumption struct {
	wall  time.Duration
	cpu   time.Duration
	alloc uint64
}

var began = time.Now()

func usage() consumption {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return consumption{time.Since(began), cpuOf(unix.RUSAGE_SELF), m.TotalAlloc}
}

func (c consumption) since(b consumption) consumption {
	return consumption{c.wall - b.wall, c.cpu - b.cpu, c.alloc - b.alloc}
}

// cpuOf is the CPU time that the process or the thread has used.
func cpuOf(who int) time.Duration {
	var u unix.Rusage
	if unix.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// meter measures what components' writes cost, by verb and resource, in CPU time of the calling thread.
type meter struct {
	mu     sync.Mutex
	stages map[string]*stage
}

type stage struct {
	calls int
	cpu   time.Duration
}

func (m *meter) wrap(c store.Client) store.Client { return &metered{c, m} }

func (m *meter) count(name string) (done func()) {
	runtime.LockOSThread()
	from := cpuOf(unix.RUSAGE_THREAD)
	return func() {
		used := cpuOf(unix.RUSAGE_THREAD) - from
		runtime.UnlockOSThread()
		m.mu.Lock()
		defer m.mu.Unlock()
		s := m.stages[name]
		if s == nil {
			s = &stage{}
			m.stages[name] = s
		}
		s.calls++
		s.cpu += used
	}
}

// table renders the stages, dearest first, and what is left of the whole.
func (m *meter) table(all consumption, n int) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.stages))
	rest := all.cpu
	for name, s := range m.stages {
		names = append(names, name)
		rest -= s.cpu
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(m.stages[b].cpu, m.stages[a].cpu) })
	var b strings.Builder
	per := func(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
	var few stage
	for _, name := range names {
		s := m.stages[name]
		if s.cpu < all.cpu/25 { // a benchmark may log ten lines
			few.cpu += s.cpu
			continue
		}
		fmt.Fprintf(&b, "%8.1f µs  %-34s %6.2f calls of %.1f µs\n", per(s.cpu, n), name, float64(s.calls)/float64(n), per(s.cpu, s.calls))
	}
	fmt.Fprintf(&b, "%8.1f µs  other writes\n%8.1f µs  components, loop, background collection\n%8.1f µs  in all", per(few.cpu, n), per(rest, n), per(all.cpu, n))
	return b.String()
}

// metered is a client whose calls are measured.
type metered struct {
	store.Client
	m *meter
}

func (c *metered) Create(ctx context.Context, gr informer.GroupResource, ns string, obj k8sruntime.Object) (k8sruntime.Object, error) {
	defer c.m.count("create " + gr.Resource)()
	return c.Client.Create(ctx, gr, ns, obj)
}

func (c *metered) Update(ctx context.Context, gr informer.GroupResource, ns string, obj k8sruntime.Object) (k8sruntime.Object, error) {
	defer c.m.count("update " + gr.Resource)()
	return c.Client.Update(ctx, gr, ns, obj)
}

func (c *metered) UpdateStatus(ctx context.Context, gr informer.GroupResource, ns string, obj k8sruntime.Object) (k8sruntime.Object, error) {
	defer c.m.count("status of " + gr.Resource)()
	return c.Client.UpdateStatus(ctx, gr, ns, obj)
}

func (c *metered) Patch(ctx context.Context, gr informer.GroupResource, ns, name string, pt types.PatchType, data []byte, sub string) (k8sruntime.Object, error) {
	defer c.m.count("patch " + gr.Resource)()
	return c.Client.Patch(ctx, gr, ns, name, pt, data, sub)
}

func (c *metered) Delete(ctx context.Context, gr informer.GroupResource, ns, name string, opts *metav1.DeleteOptions) error {
	defer c.m.count("delete " + gr.Resource)()
	return c.Client.Delete(ctx, gr, ns, name, opts)
}

func (c *metered) Subresource(ctx context.Context, gr informer.GroupResource, ns, name, sub string, obj k8sruntime.Object) (k8sruntime.Object, error) {
	defer c.m.count(sub + " of " + gr.Resource)()
	return c.Client.Subresource(ctx, gr, ns, name, sub, obj)
}
