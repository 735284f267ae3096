package apiserver

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/apiserver/internal/generated"
	"github.com/drydock-labs/drydock/orchestrator/clock"
	"github.com/drydock-labs/drydock/orchestrator/store"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// ClusterConfig is one cluster's settings. Zero values mean the defaults named here.
type ClusterConfig struct {
	ID string
	// Clock is the lab's clock; default the wall clock.
	Clock store.Clock
	// Rand is the source of uids and of the suffixes of generated names; default crypto/rand. It is read under a lock.
	Rand io.Reader
	// CA signs and verifies the cluster's client certificates; default a new one.
	CA *CA
	// ServerCA is the PEM bundle that clients trust the API server's TLS certificate by: it goes into kubeconfigs. It may be empty.
	ServerCA []byte
	// Kubelet finds a node's kubelet, for logs, exec, attach and port-forward; default none.
	Kubelet func(node string) (Kubelet, bool)
	// ServiceCIDR is where ClusterIPs come from; default 10.96.0.0/12. It must hold 10.96.0.1 and 10.96.0.10, which the template's Services have.
	ServiceCIDR string
	// NodePortRange is "30000-32767" by default.
	NodePortRange string
	// LogBytes bounds the history that is kept (store.DefaultLogBytes).
	LogBytes int64
	// MaxObjects refuses creates beyond this many objects with 403, as a quota does (DefaultMaxObjects; negative: no limit).
	MaxObjects int
	// MaxWatches refuses watches beyond this many with 429 (DefaultMaxWatches; negative: no limit).
	MaxWatches int
	// MaxStreams refuses, from outside, watches, logs, exec, attach and port-forward together beyond this many with 429 (DefaultMaxStreams
	// beside the watches; negative: no limit).
	MaxStreams int
	// MaxInFlight refuses all other requests from outside beyond this many at a time with 429 (DefaultMaxInFlight; negative: no limit).
	MaxInFlight int
	// OnCrash is told when a request's handler panicked; the cluster is closed by then.
	OnCrash func(Crash)
	// Journal, where not nil, keeps the objects and their history, from before anyone writes to the cluster.
	Journal store.Journal
	// Restored, where not nil, is what an earlier cluster gave to its Journal: the new cluster goes on from there. It is of Server.Replay
	// with the same configuration.
	Restored *store.Replay
	// Keys, where not nil, keeps the private keys that the cluster makes when they are first needed.
	Keys Keys
}

// Keys keeps a cluster's private keys, PEM, by name.
type Keys interface {
	// Get returns a key that was put, nil when there is none.
	Get(name string) []byte
	Put(name string, pem []byte) error
}

// Cluster is one cluster behind the shared server. All methods may be called from any goroutine.
type Cluster struct {
	server *Server
	cfg    ClusterConfig
	store  *store.Cluster
	ids    ids
	cidr   net.IPNet
	ports  utilnet.PortRange

	inFlight   gauge
	streams    gauge
	bodies     gauge
	conns      gauge
	refusals   gauge
	arrivals   *rate.Limiter
	handshakes chan struct{} // holds a value while a connection's handshake works
	turns      turns
	closed     chan struct{}
	once       sync.Once
	crashed    atomic.Pointer[Crash]

	mu         sync.Mutex
	admission  *chain                 // built at the first write; protected by mu
	serviceAPI *servicestore.REST     // protected by mu
	eviction   *podstore.EvictionREST // protected by mu
	tokens     *tokens                // protected by mu
	clientset  *boundClient           // protected by mu
	ca         *CA                    // protected by mu
	addresses  reservations           // has its own lock
}

// Replay returns a replay of what a cluster of this configuration gave to its Journal.
func (s *Server) Replay(cfg ClusterConfig) *store.Replay {
	return store.NewReplay(s.kinds, s.storeOptions(cfg))
}

func (s *Server) storeOptions(cfg ClusterConfig) store.Options {
	return store.Options{ID: cfg.ID, Clock: cfg.Clock, LogBytes: cfg.LogBytes, MaxObjects: limit(cfg.MaxObjects, DefaultMaxObjects),
		MaxWatches: limit(cfg.MaxWatches, DefaultMaxWatches), Verify: s.cfg.Verify, Actor: actor}
}

// NewCluster returns a new cluster: a copy-on-write clone of the template, with its own uids and times; or one that was kept.
func (s *Server) NewCluster(cfg ClusterConfig) (*Cluster, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.Wall{}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.ServiceCIDR == "" {
		cfg.ServiceCIDR = "10.96.0.0/12"
	}
	if cfg.NodePortRange == "" {
		cfg.NodePortRange = "30000-32767"
	}
	c := &Cluster{server: s, cfg: cfg, ca: cfg.CA, closed: make(chan struct{}), turns: newTurns(), arrivals: rate.NewLimiter(connRate, connBurst), handshakes: make(chan struct{}, 1)}
	c.inFlight.max, c.bodies.max = int64(limit(cfg.MaxInFlight, DefaultMaxInFlight)), maxBodies
	c.conns.max, c.refusals.max = maxConns, maxRefusals
	if watches := limit(cfg.MaxWatches, DefaultMaxWatches); watches > 0 && cfg.MaxStreams >= 0 {
		c.streams.max = int64(watches + limit(cfg.MaxStreams, DefaultMaxStreams))
	}
	c.ids.r = cfg.Rand
	_, cidr, err := net.ParseCIDR(cfg.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: service addresses: %w", cfg.ID, err)
	}
	c.cidr = *cidr
	ports, err := utilnet.ParsePortRange(cfg.NodePortRange)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: node ports: %w", cfg.ID, err)
	}
	c.ports = *ports
	if c.store, err = s.newStore(c); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", cfg.ID, err)
	}
	return c, nil
}

func (s *Server) newStore(c *Cluster) (*store.Cluster, error) {
	if c.cfg.Restored != nil {
		return c.cfg.Restored.Cluster(c.cfg.Journal)
	}
	o := s.storeOptions(c.cfg)
	kept := store.NewTemplate(s.kinds, o)
	if s.template != nil {
		o.Rebase = rebase(c.ids.seed(), c.cfg.Clock.Now())
		kept = s.template.Clone(o)
	}
	if c.cfg.Journal == nil {
		return kept, nil
	}
	return kept, kept.Keep(c.cfg.Journal)
}

// rebase returns how the template's objects look in a cluster that was born then: their uids are derived from the cluster's seed, so that
// they are the cluster's own and the same at each read.
func rebase(seed [16]byte, born time.Time) func(any) {
	at := metav1.NewTime(born.Truncate(time.Second))
	return func(obj any) {
		m, ok := obj.(metav1.Object)
		if !ok {
			return
		}
		m.SetUID(types.UID(uuid.NewSHA1(seed, []byte(m.GetUID())).String()))
		m.SetCreationTimestamp(at)
		entries := slices.Clone(m.GetManagedFields())
		for i := range entries {
			entries[i].Time = &at
		}
		m.SetManagedFields(entries)
	}
}

// ID is the cluster's id.
func (c *Cluster) ID() string { return c.cfg.ID }

// Store is the cluster's storage: history, commits, heartbeats.
func (c *Cluster) Store() *store.Cluster { return c.store }

// Reader reads the newest state.
func (c *Cluster) Reader() store.Reader { return c.store }

// Clock is the cluster's clock.
func (c *Cluster) Clock() store.Clock { return c.cfg.Clock }

// Close ends the cluster's watches, admission goroutines and storage. Later requests fail.
func (c *Cluster) Close() {
	c.once.Do(func() {
		close(c.closed)
		c.store.Close()
	})
}

// stamp gives a new object the cluster's uid, creation time and generated name.
func (c *Cluster) stamp(m metav1.Object) {
	m.SetUID(c.ids.uid())
	m.SetCreationTimestamp(metav1.NewTime(c.cfg.Clock.Now().Truncate(time.Second)))
	if g := m.GetGenerateName(); g != "" && m.GetName() == generated.Base(g)+generated.Sentinel {
		m.SetName(generated.Base(g) + c.ids.suffix())
	}
}

// lazily makes a per-cluster part once.
func lazily[T any](c *Cluster, part **T, make func() (*T, error)) (*T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *part == nil {
		p, err := make()
		if err != nil {
			return nil, err
		}
		*part = p
	}
	return *part, nil
}

func (c *Cluster) services(opts generic.RESTOptionsGetter, pods *genericregistry.Store) (*servicestore.REST, error) {
	return lazily(c, &c.serviceAPI, func() (*servicestore.REST, error) {
		r, _, _, err := newServices(opts, c, pods)
		return r, err
	})
}

func (c *Cluster) evictions() (*podstore.EvictionREST, error) {
	client := c.client()
	return lazily(c, &c.eviction, func() (*podstore.EvictionREST, error) {
		pods, err := podstore.NewStorage(c.server.options, kubeletConnections{}, nil, client.PolicyV1(), c.server.authorizer)
		if err != nil {
			return nil, err
		}
		return pods.Eviction, nil
	})
}

func (c *Cluster) chain() (*chain, error) {
	client := c.client()
	return lazily(c, &c.admission, func() (*chain, error) { return newChain(c, client) })
}

func (c *Cluster) client() *boundClient {
	b, _ := lazily(c, &c.clientset, func() (*boundClient, error) { return &boundClient{cluster: c}, nil })
	return b
}

// ids makes uids and name suffixes from the cluster's random source.
type ids struct {
	mu sync.Mutex
	r  io.Reader // protected by mu
}

func (i *ids) read(b []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, err := io.ReadFull(i.r, b); err != nil {
		panic(fmt.Sprintf("the cluster's random source ended: %v", err))
	}
}

func (i *ids) seed() (s [16]byte) {
	i.read(s[:])
	return s
}

func (i *ids) uid() types.UID {
	var b [16]byte
	i.read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4, variant 1
	return types.UID(uuid.UUID(b).String())
}

// alphabet is that of k8s.io/apimachinery/pkg/util/rand: no vowels, no characters that look alike.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

func (i *ids) suffix() string {
	var b [8]byte
	i.read(b[:])
	n := binary.LittleEndian.Uint64(b[:])
	out := make([]byte, 5)
	for j := range out {
		out[j] = alphabet[n%uint64(len(alphabet))]
		n /= uint64(len(alphabet))
	}
	return string(out)
}

func (i *ids) intn(n int) int {
	var b [8]byte
	i.read(b[:])
	return int(binary.LittleEndian.Uint64(b[:]) % uint64(n))
}

// authenticators and issuers are in authn.go and tokens.go.
var (
	_ admission.Interface           = clusterAdmission{}
	_ authenticator.Request         = requestAuthenticator{}
	_ serviceaccount.TokenGenerator = contextIssuer{}
)
