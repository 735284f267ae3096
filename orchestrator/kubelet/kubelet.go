package kubelet

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/events"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// Config describes a kubelet.
type Config struct {
	Node      Node
	Component *informer.Component // writes as system:node:NAME
	Events    *events.Recorder
	Runtime   Runtime
	Beats     Heartbeats
	// ClusterDNS is the DNS server of pods, ClusterDomain their domain ("cluster.local" when empty).
	ClusterDNS    netip.Addr
	ClusterDomain string
}

// Kubelet is the agent of one node. Handle, PowerOn and PowerOff are for the cluster's loop; the streaming calls for any goroutine.
type Kubelet struct {
	cfg Config // immutable
	*informer.Component
	events *events.Source
	rt     Runtime

	steps  *loop.Queue[types.UID]
	status *loop.Queue[types.UID]
	on     atomic.Bool
	boot   int // counts power-ons: answers from before the last one are dropped
	ips    addresses

	pods map[types.UID]*worker // changed by the loop under mu

	mu sync.Mutex // guards what the streaming calls look up: the maps and the ids in workers
	by map[informer.Key]types.UID
}

// New makes the kubelet of a node that is switched off.
func New(cfg Config) *Kubelet {
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = "cluster.local"
	}
	k := &Kubelet{cfg: cfg, Component: cfg.Component, rt: cfg.Runtime, pods: map[types.UID]*worker{}, by: map[informer.Key]types.UID{}}
	k.events = cfg.Events.For(cfg.Component, "kubelet", cfg.Node.Name)
	k.steps = loop.NewQueue(cfg.Component.Loop, "kubelet "+cfg.Node.Name, k.step, nil)
	k.status = loop.NewQueue(cfg.Component.Loop, "status "+cfg.Node.Name, k.writeStatus, nil)
	k.rt.Notify(k.notified)
	return k
}

// Name is the node's name.
func (k *Kubelet) Name() string { return k.cfg.Node.Name }

// On tells whether the node has power.
func (k *Kubelet) On() bool { return k.on.Load() }

// Handle takes the changes of the node's pods and of what they mount.
func (k *Kubelet) Handle(c *informer.Change) {
	if !k.on.Load() {
		return
	}
	switch c.Resource {
	case informer.Pods:
		k.handlePod(c)
	case informer.ConfigMaps, informer.Secrets:
		k.handleSource(c)
	}
}

func (k *Kubelet) handlePod(c *informer.Change) {
	old, new := informer.As[v1.Pod](c)
	if new == nil {
		if w := k.pods[old.UID]; w != nil {
			w.gone = true
			k.touch(w, c.Rev)
		}
		return
	}
	if new.Spec.NodeName != k.cfg.Node.Name {
		return
	}
	w := k.pods[new.UID]
	if w == nil {
		k.adopt(new, c.Rev)
		return
	}
	changed := w.pod.Generation != new.Generation || w.pod.DeletionTimestamp == nil && new.DeletionTimestamp != nil ||
		!equality.Semantic.DeepEqual(w.pod.DeletionGracePeriodSeconds, new.DeletionGracePeriodSeconds) ||
		!equality.Semantic.DeepEqual(w.pod.Annotations, new.Annotations) || !equality.Semantic.DeepEqual(w.pod.Labels, new.Labels)
	// Whoever opens a readiness gate writes a condition only.
	changed = changed || len(new.Spec.ReadinessGates) > 0 && gates(w.pod) != gates(new)
	evicted := podutil.IsPodTerminal(new) && !w.finished
	if w.pod.Generation != new.Generation {
		w.respec(new)
	}
	w.pod = new
	if changed || evicted {
		w.volumesStale = w.volumesStale || w.downward
		k.touch(w, c.Rev)
	}
}

// adopt begins to care for a pod.
func (k *Kubelet) adopt(p *v1.Pod, rev int64) *worker {
	w := newWorker(p, k.Loop.Now())
	k.mu.Lock()
	k.pods[p.UID] = w
	k.by[informer.KeyOf(p.Namespace, p.Name)] = p.UID
	k.mu.Unlock()
	k.touch(w, rev)
	return w
}

// forget ends the care for a pod.
func (k *Kubelet) forget(w *worker) {
	w.stopProbes()
	k.steps.Forget(w.uid)
	k.status.Forget(w.uid)
	if w.ip.IsValid() {
		k.ips.release(w.ip)
	}
	key := informer.KeyOf(w.pod.Namespace, w.pod.Name)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pods, w.uid)
	if k.by[key] == w.uid {
		delete(k.by, key)
	}
}

// touch has the pod looked at, because of the commit rev (0: of what was known before).
func (k *Kubelet) touch(w *worker, rev int64) {
	if rev > 0 {
		w.parent = rev
	}
	k.steps.Add(w.uid, w.parent)
}

// later has the pod looked at after d.
func (k *Kubelet) later(w *worker, d time.Duration) {
	k.steps.AddAfter(w.uid, max(d, time.Millisecond), w.parent)
}

// handleSource has pods that mount a changed ConfigMap or Secret, or wait for one, looked at.
func (k *Kubelet) handleSource(c *informer.Change) {
	for _, p := range k.Pods.OnNode(k.cfg.Node.Name) {
		w := k.pods[p.UID]
		if w == nil || p.Namespace != c.Namespace {
			continue
		}
		uses := false
		visit := func(name string) bool {
			uses = uses || name == c.Name
			return !uses
		}
		if c.Resource == informer.ConfigMaps {
			podutil.VisitPodConfigmapNames(p, visit)
		} else {
			podutil.VisitPodSecretNames(p, visit)
		}
		if uses {
			w.volumesStale = true
			w.forgiveConfig()
			k.touch(w, c.Rev)
		}
	}
}

// notified takes the runtime's events, on any goroutine.
func (k *Kubelet) notified(e Event) {
	k.Loop.Post(func() {
		if !k.on.Load() {
			return
		}
		for _, p := range k.Pods.OnNode(k.cfg.Node.Name) {
			if w := k.pods[p.UID]; w != nil && w.sandboxID == e.SandboxID && e.SandboxID != "" {
				k.event(w, e)
				return
			}
		}
	})
}

func (k *Kubelet) event(w *worker, e Event) {
	switch e.Type {
	case SandboxLost:
		w.sandboxLost = true
	case ContainerOOM, ContainerExited:
		for _, c := range w.all() {
			if c.launching || c.id == e.ContainerID && c.state == running {
				c.stale = true
			}
		}
	}
	k.touch(w, 0)
}

// run does something that may block away from the loop, as the pod's one call under way, and then done in the loop. Answers that
// come after the node lost power are dropped.
func (k *Kubelet) run(w *worker, call func(ctx context.Context) (done func())) {
	ctx, cancel := context.WithCancel(context.Background())
	w.busy, w.cancel = true, cancel
	k.async(w, func() func() {
		done := call(ctx)
		return func() {
			cancel()
			w.busy, w.cancel = false, nil
			done()
		}
	})
}

// async is run without the claim to be the only call.
func (k *Kubelet) async(w *worker, call func() (done func())) {
	boot := k.boot
	w.calls++
	k.Loop.Go(func() func() {
		done := call()
		return func() {
			if boot != k.boot || k.pods[w.uid] != w {
				return
			}
			w.calls--
			done()
			k.touch(w, 0)
		}
	})
}

// timeout is a context that ends after d of the lab's time.
func (k *Kubelet) timeout(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(parent)
	}
	ctx, cancel := context.WithCancelCause(parent)
	stop := k.Loop.Clock().AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}
