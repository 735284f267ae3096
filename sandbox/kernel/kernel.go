// Package kernel is a small operating system kernel for WebAssembly guests: processes with namespaces, signals, job control, pipes,
// terminals, cgroups and a CPU scheduler, on top of the file system of sandbox/vfs, the network of sandbox/network and the engine of sandbox/wasm.
//
// A Host is the process-wide part: the engine and the CPU slots. An Account is who pays: one lab. A Machine is one booted
// computer with its clock, root namespaces and cgroup tree. A Process is one goroutine that runs a program and, in host calls, does
// what the program asks; all blocking is one park on the process's wake channel, which signals, kills, timers and
// descriptors' watchers poke. A parked process holds a goroutine, no thread and no CPU slot.
//
// It does not know the guest ABI (sandbox/wasi translates), images or containers (sandbox/runtime), or Kubernetes.
//
// Errors that a guest may see are bare syscall.Errno values; io.EOF is the end of a stream. A process being killed shows as ErrKilled in
// its own calls and nowhere else.
//
// Lock order: Machine.mu → TTY.mu, pipe.mu, Socket.mu → Account.mu → Cgroup.mu → fdTable.mu, scheduler.mu, bandwidth.mu. Watch callbacks and
// Process.kick take no lock, so they may be called under any.
package kernel

import (
	"context"
	"crypto/rand"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// Clock is a lab's clock.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f once d of lab time has passed, on a shared timer goroutine; f must only enqueue or wake. stop reports whether it prevented the run.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// wallClock is the clock of those who have none.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }
func (wallClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// Program is something a process can run: a *wasm.Program, or Go code in tests.
type Program interface {
	// Run runs until the guest ends; errors are those of wasm.Program.Run. ctx carries the Process (FromContext).
	Run(ctx context.Context, g wasm.Guest) error
}

// HostConfig configures a Host.
type HostConfig struct {
	Engine *wasm.Engine
	Slots  int   // guests that run at once; 0 = max(1, GOMAXPROCS−2)
	Clock  Clock // for accounts' CPU limits; nil = the wall clock
	// Trusted says which programs came with Drydock, by digest ("sha256:…"); nil = none. See wasm.LoadOptions.
	Trusted func(digest string) bool
	// Compiling is told how far a program has come that by waits for in spawn or exec; it may write to by's terminal with Notice. It must
	// not block. nil = nobody.
	Compiling func(by *Process, path string, p wasm.Progress)
	// Exec makes the program of a file (its wasm header was not looked at yet); nil = Engine.Load by the digest of its content. ENOEXEC.
	Exec func(ctx context.Context, f *vfs.File) (Program, error)
}

// Host is what all accounts of this Go process share.
type Host struct {
	cfg   HostConfig
	sched scheduler
}

// NewHost makes a Host.
func NewHost(cfg HostConfig) *Host {
	if cfg.Slots <= 0 {
		cfg.Slots = max(1, runtime.GOMAXPROCS(0)-2)
	}
	if cfg.Clock == nil {
		cfg.Clock = wallClock{}
	}
	h := &Host{cfg: cfg}
	h.sched.free = cfg.Slots
	return h
}

// Slots is the number of guests that run at once.
func (h *Host) Slots() int { return h.cfg.Slots }

// Limits bound an Account. Zero means no limit.
type Limits struct {
	MemoryBytes int64   // guests' private memory, tmpfs and buffers
	CPUs        float64 // CPU seconds per second
	Processes   int64   // over all machines
}

// Account is who is charged: a lab. Its machines share its limits.
type Account struct {
	host  *Host
	sched entity
	bw    bandwidth
	cpu   atomic.Int64 // fuel

	mu       sync.Mutex
	limits   Limits            // guarded by mu
	memory   int64             // guarded by mu
	peak     int64             // guarded by mu
	procs    int64             // guarded by mu; not yet reaped
	machines map[*Machine]bool // guarded by mu
	closed   bool              // guarded by mu
	running  sync.WaitGroup    // processes' goroutines
}

// NewAccount opens one.
func (h *Host) NewAccount(l Limits) *Account {
	a := &Account{host: h, machines: map[*Machine]bool{}}
	a.sched.init(&h.sched.root, weightUnit, accountCredit)
	a.bw.clock = h.cfg.Clock
	a.SetLimits(l)
	return a
}

// SetLimits replaces the limits; what is beyond a lowered one is not taken away.
func (a *Account) SetLimits(l Limits) {
	a.mu.Lock()
	a.limits = l
	a.mu.Unlock()
	whole := math.Ceil(l.CPUs)
	a.host.sched.setSlots(&a.sched, int(whole))
	quota := time.Duration(l.CPUs * float64(100*time.Millisecond))
	if l.CPUs == whole || l.CPUs >= float64(a.host.cfg.Slots) {
		quota = 0 // it can't use more anyway
	}
	a.bw.set(quota, 100*time.Millisecond)
}

// AccountUsage is what an account uses.
type AccountUsage struct {
	Memory, MemoryPeak int64
	Processes          int64
	CPU                time.Duration
}

// Usage reads it.
func (a *Account) Usage() AccountUsage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AccountUsage{Memory: a.memory, MemoryPeak: a.peak, Processes: a.procs, CPU: fuelTime(a.cpu.Load())}
}

// Limits are those in force.
func (a *Account) Limits() Limits {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limits
}

// Close powers all machines off and waits until no goroutine of theirs is left. Closing twice is fine.
func (a *Account) Close() error {
	a.mu.Lock()
	a.closed = true
	l := make([]*Machine, 0, len(a.machines))
	for m := range a.machines {
		l = append(l, m)
	}
	a.mu.Unlock()
	for _, m := range l {
		m.PowerOff()
	}
	a.running.Wait()
	a.bw.close()
	return nil
}

type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return io.ReadFull(l.r, p)
}

func newRand(r io.Reader) io.Reader {
	if r == nil {
		return rand.Reader
	}
	return &lockedReader{r: r}
}
