package lessons

import (
	"sync"
	"time"
)

// World is the read-only view of one lab that checks are evaluated over. The lab's adapter implements it; nothing here can change the lab.
// All methods may be called from any goroutine. Returned values are shared and must not be modified.
type World interface {
	// Rev is the cluster's newest revision.
	Rev() int64
	// Objects lists the objects of a resource, in key order, each as the API serves it in JSON (maps, slices, string, bool, int64, float64).
	// The resource is the plural name as kubectl accepts it: "pods", "deployments", or with its group, "events.events.k8s.io".
	// An empty namespace means all. An unknown resource answers nil.
	Objects(resource, namespace string) []map[string]any
	// History lists the commits after revision `after`, oldest first; an empty resource means all. Revisions that the log no longer holds are left out.
	History(after int64, resource string) []Change
	// ReadFile reads a file on the workstation with the learner's rights; a relative path starts in the learner's home directory.
	// Files above 1 MiB answer an error.
	ReadFile(path string) ([]byte, error)
	// Usage reports what a running container uses, as its cgroup counts it; false if it does not run.
	Usage(namespace, pod, container string) (Usage, bool)
	// Docker is the workstation's Docker host; nil while the workstation is off.
	Docker() DockerHost
	// OnChange calls f after every commit, and after every other change that World shows, until cancel is called. f is called under no lock
	// that World takes, must return at once and may be called from any goroutine.
	OnChange(f func()) (cancel func())
	// Now is the lab's time.
	Now() time.Time
}

// Op says what a commit did to an object.
type Op string

// The three things a commit can do.
const (
	Create Op = "create"
	Update Op = "update"
	Delete Op = "delete"
)

// Change is one commit of the cluster's log.
type Change struct {
	Rev       int64
	Time      time.Time // lab time
	Op        Op
	Resource  string // plural, as in World.Objects: "pods", "replicasets"
	Namespace string
	Name      string
	// Object is the state after the commit as the API serves it (for a Delete the last state there was), Old the state before (nil for a Create).
	// They convert when called, and may be called often.
	Object func() map[string]any
	Old    func() map[string]any
	Cause  Cause
}

// Cause is what led to a commit, as the cluster recorded it.
type Cause struct {
	Kind      string // request, event, tick, fault, boot
	Actor     string // the user who wrote: "learner", "system:serviceaccount:kube-system:replicaset-controller", "system:node:node-1"
	Component string // the part of the cluster that wrote, empty for a person: "replicaset-controller", "default-scheduler", "kubelet"
	Detail    string // free text of the component
	Parent    int64  // the revision that led to this one, 0 if none
}

// Usage is what a container's cgroup counts.
type Usage struct {
	MemoryBytes    int64         // memory.current
	MemoryMax      int64         // memory.max, 0 without limit
	OOMKills       int64         // memory.events oom_kill
	CPU            time.Duration // cpu.stat usage_usec
	Throttled      time.Duration // cpu.stat throttled_usec
	CPUMaxFraction float64       // cpu.max quota/period, 0 without limit
}

// Command is a command line that ended in one of the lab's terminals.
type Command struct {
	Machine string // "workstation", "node-1"
	Line    string // as typed
	Exit    int    // exit status as $? shows it
	At      time.Time
}

// Commands remembers the last command lines of a lab. It belongs to whoever carries the terminals' bytes, since the shell marks commands in its
// output (OSC 133); a lab without terminals has none. Safe for concurrent use.
type Commands struct {
	mu    sync.Mutex
	list  []Command // protected by mu, newest last, at most commandsKept
	total int64     // protected by mu, ever added
	watch map[int]func()
	next  int
}

// commandsKept bounds what is remembered: checks speak about what the learner did last.
const commandsKept = 64

// Add appends a command and tells the watchers.
func (c *Commands) Add(cmd Command) {
	c.mu.Lock()
	c.list = append(c.list, cmd)
	if len(c.list) > commandsKept {
		c.list = append(c.list[:0:0], c.list[len(c.list)-commandsKept:]...)
	}
	c.total++
	watchers := make([]func(), 0, len(c.watch))
	for _, f := range c.watch {
		watchers = append(watchers, f)
	}
	c.mu.Unlock()
	for _, f := range watchers {
		f()
	}
}

// Last returns the remembered commands, oldest first, and how many there ever were.
func (c *Commands) Last() ([]Command, int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Command(nil), c.list...), c.total
}

// OnAdd calls f after each Add until cancel is called; f must return at once.
func (c *Commands) OnAdd(f func()) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch == nil {
		c.watch = map[int]func(){}
	}
	id := c.next
	c.next++
	c.watch[id] = f
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watch, id)
	}
}
