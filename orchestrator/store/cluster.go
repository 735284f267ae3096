package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DefaultLogBytes bounds a cluster's log unless Options says otherwise.
const DefaultLogBytes = 32 << 20

// recordOverhead is what one log record is charged beyond its object's bytes: the commit, its entry and its strings.
const recordOverhead = 512

// warm is the number of newest commits whose superseded states keep their decoded forms, because watchers are about to compare with them.
const warm = 256

const degree = 16

// ErrCompacted is returned when revisions are asked for that the bounded log no longer holds.
var ErrCompacted = errors.New("the log no longer holds this revision")

// Options are a cluster's settings. Zero values mean the defaults named here.
type Options struct {
	ID    string
	Clock Clock
	// LogBytes bounds the log (DefaultLogBytes).
	LogBytes int64
	// MaxObjects refuses creates beyond this many objects (no limit).
	MaxObjects int
	// MaxWatches refuses watches beyond this many (no limit).
	MaxWatches int
	// Verify computes a checksum of every decoded object and compares it at each read: for tests.
	Verify bool
	// Actor, where not nil, names the API user of a write whose cause names none.
	Actor func(context.Context) string
	// Rebase, where not nil, returns how an object that came from the template looks in this cluster: own uid, own times. Called at each read
	// of such an object with a copy that may be changed.
	Rebase func(copy any)
}

// Cluster is one cluster's objects and their history. All methods may be called from any goroutine.
type Cluster struct {
	opts  Options
	kinds *Kinds
	// base is the template's revision at the clone: entries up to it are the template's. Immutable.
	base int64

	mu        sync.RWMutex
	tree      *btree.BTreeG[*Entry] // protected by mu
	rev       int64                 // newest revision, protected by mu
	log       []*Commit             // log[head:] are the kept records, revisions without a gap; protected by mu
	head      int                   // protected by mu
	logBytes  int64                 // protected by mu
	compacted int64                 // newest revision whose record is gone; protected by mu
	watchers  map[*Kind][]*watcher  // protected by mu
	watches   int                   // protected by mu
	expiries  expiryHeap            // protected by mu
	beats     map[string]*beat      // by key; protected by mu
	observers []func(Commit)        // protected by mu
	pending   []Commit              // commits not yet given to the observers; protected by mu
	journal   Journal               // nil: none; protected by mu
	record    []byte                // the space of the last record given to the journal; protected by mu
	closed    bool                  // protected by mu

	deliver sync.Mutex   // serialises observers; taken without mu
	due     atomic.Int64 // unix nanoseconds of the first expiry, 0 when there is none
}

// NewTemplate returns an empty cluster of these kinds, at revision 1 as etcd begins: 0 stands for "any" in the API.
func NewTemplate(kinds *Kinds, o Options) *Cluster {
	return &Cluster{opts: o.withDefaults(), kinds: kinds, tree: btree.NewG(degree, entryLess), rev: 1, compacted: 1}
}

func (o Options) withDefaults() Options {
	if o.LogBytes == 0 {
		o.LogBytes = DefaultLogBytes
	}
	return o
}

func entryLess(a, b *Entry) bool { return a.key < b.key }

// Clone returns a copy-on-write copy with the newest state and an empty log: its history begins at the template's revision. It costs
// microseconds and a few hundred bytes, whatever the template holds.
func (c *Cluster) Clone(o Options) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &Cluster{opts: o.withDefaults(), kinds: c.kinds, tree: c.tree.Clone(), rev: c.rev, compacted: c.rev, base: c.rev, expiries: slices.Clone(c.expiries)}
	n.due.Store(c.due.Load())
	return n
}

// ID is the cluster's id.
func (c *Cluster) ID() string { return c.opts.ID }

// Clock is the cluster's clock.
func (c *Cluster) Clock() Clock { return c.opts.Clock }

// Kinds are the kinds of object that can be stored.
func (c *Cluster) Kinds() *Kinds { return c.kinds }

// Rev is the newest revision.
func (c *Cluster) Rev() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rev
}

// Usage is what a cluster holds.
type Usage struct {
	Objects  int
	Watches  int
	LogBytes int64 // as charged against Options.LogBytes
	Records  int
	// Compacted is the newest revision that can no longer be watched from.
	Compacted int64
}

// Usage returns what the cluster holds now.
func (c *Cluster) Usage() Usage {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Usage{Objects: c.tree.Len(), Watches: c.watches, LogBytes: c.logBytes, Records: len(c.log) - c.head, Compacted: c.compacted}
}

// OnCommit calls f for every later commit, in commit order, one at a time, after the commit became visible and before the write returns.
// f may read the cluster; it must not write to it and must only enqueue. The returned function removes f.
func (c *Cluster) OnCommit(f func(Commit)) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &f
	call := func(cm Commit) {
		if g := p; *g != nil {
			(*g)(cm)
		}
	}
	c.observers = append(slices.Clip(c.observers), call)
	return func() {
		c.deliver.Lock()
		defer c.deliver.Unlock()
		*p = nil
	}
}

// History returns the commits with revisions above from, oldest first. ErrCompacted when the log no longer reaches back that far.
func (c *Cluster) History(from int64) ([]Commit, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if from < c.compacted {
		return nil, fmt.Errorf("history from revision %d: %w: it begins at %d", from, ErrCompacted, c.compacted)
	}
	records := c.since(from)
	out := make([]Commit, len(records))
	for i, r := range records {
		out[i] = *r
	}
	return out, nil
}

// Base returns every entry as of the oldest revision the log can still rebuild (the state History(rev) applies to), in key order, with
// this cluster's identity.
func (c *Cluster) Base() (rev int64, entries []*Entry) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	entries, _ = c.scanLocked("", "", c.compacted)
	for i, e := range entries {
		entries[i] = c.rebasedLocked(e)
	}
	return c.compacted, entries
}

// Compact drops the log's records up to rev.
func (c *Cluster) Compact(rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.head < len(c.log) && c.log[c.head].Rev <= min(rev, c.rev) {
		c.dropOldestLocked()
	}
}

// Close ends all watches and drops the objects. Reads then find nothing and writes fail.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	for _, ws := range c.watchers {
		for _, w := range ws {
			w.signal()
		}
	}
	c.tree = btree.NewG(degree, entryLess)
	c.log, c.head, c.logBytes, c.compacted = nil, 0, 0, c.rev
	c.expiries, c.beats = nil, nil
	c.due.Store(0)
}

// change is one write to commit.
type change struct {
	kind *Kind
	key  string
	// expect is the entry the write was computed from, nil for a create.
	expect *Entry
	// bytes is the new state, nil for a delete.
	bytes   []byte
	expires time.Time
	// last, for a delete, is the state the object is deleted in.
	last  *Entry
	cause Cause
}

var errConflict = errors.New("the object changed in between")

// commit applies a change if its key is still as expected, records it and tells watchers and observers. It returns the new entry, for a
// delete the last one.
func (c *Cluster) commit(ch change) (*Entry, int64, error) {
	c.mu.Lock()
	e, rev, err := c.commitLocked(ch)
	observed := len(c.pending) > 0
	c.mu.Unlock()
	if observed {
		c.flush()
	}
	return e, rev, err
}

func (c *Cluster) commitLocked(ch change) (*Entry, int64, error) {
	if c.closed {
		return nil, 0, c.errGone()
	}
	cur, _ := c.tree.Get(&Entry{key: ch.key})
	if cur != ch.expect {
		return cur, 0, errConflict
	}
	if cur == nil && c.opts.MaxObjects > 0 && c.tree.Len() >= c.opts.MaxObjects {
		_, name := ch.kind.Split(ch.key)
		return nil, 0, apierrors.NewForbidden(ch.kind.Resource, name, fmt.Errorf("exceeded the limit of %d objects in this cluster", c.opts.MaxObjects))
	}
	cm := &Commit{Rev: c.rev + 1, Time: c.now(), Key: ch.key, Resource: ch.kind.Resource, Cause: ch.cause, Old: cur, Op: Update}
	cm.Namespace, cm.Name = ch.kind.Split(ch.key)
	shown := ch.last
	if ch.bytes == nil {
		cm.Op, cm.Old, cm.Bytes = Delete, ch.last, ch.last.Bytes()
	} else {
		shown = &Entry{Rev: cm.Rev, Created: cm.Rev, kind: ch.kind, key: ch.key, bytes: ch.bytes, expires: ch.expires, verify: c.opts.Verify}
		if cur == nil {
			cm.Op = Create
		} else {
			shown.Created = cur.Created
		}
		cm.Bytes, cm.New = ch.bytes, shown
	}
	if err := c.journalLocked(cm); err != nil {
		return nil, 0, err
	}
	c.applyLocked(cm)
	return shown, c.rev, nil
}

// applyLocked makes a commit the newest revision.
func (c *Cluster) applyLocked(cm *Commit) {
	c.rev = cm.Rev
	if cm.Op == Delete {
		c.tree.Delete(cm.Old)
		delete(c.beats, cm.Key)
	} else {
		c.tree.ReplaceOrInsert(cm.New)
		c.expiresLocked(cm.New)
	}
	c.recordLocked(cm.kind(), cm)
}

// expiresLocked has an entry end when its time to live has passed.
func (c *Cluster) expiresLocked(e *Entry) {
	if e.expires.IsZero() {
		return
	}
	c.expiries.push(expiry{at: e.expires, key: e.key})
	c.due.Store(c.expiries[0].at.UnixNano())
}

func (c *Cluster) recordLocked(k *Kind, cm *Commit) {
	c.log = append(c.log, cm)
	c.logBytes += cost(cm)
	if i := len(c.log) - 1 - warm; i >= c.head && c.log[i].Old != nil && c.log[i].Old.Rev > c.base {
		c.log[i].Old.release()
	}
	for c.logBytes > c.opts.LogBytes && len(c.log)-c.head > 1 {
		c.dropOldestLocked()
	}
	if len(c.observers) > 0 {
		c.pending = append(c.pending, *cm)
	}
	for _, w := range c.watchers[k] {
		if w.covers(cm.Key) {
			w.signal()
		}
	}
}

// kind is the kind of the commit's object.
func (cm *Commit) kind() *Kind {
	if cm.New != nil {
		return cm.New.kind
	}
	return cm.Old.kind
}

func cost(cm *Commit) int64 { return int64(len(cm.Bytes) + recordOverhead) }

// dropOldestLocked forgets the oldest record. Watches that still had to deliver it are lost and will say so.
func (c *Cluster) dropOldestLocked() {
	cm := c.log[c.head]
	for _, w := range c.watchers[cm.kind()] {
		if w.pos < cm.Rev && w.covers(cm.Key) {
			w.lagged = true
			w.signal()
		}
	}
	c.log[c.head] = nil
	c.head++
	c.compacted = cm.Rev
	c.logBytes -= cost(cm)
	if c.head > 64 && c.head*2 > len(c.log) {
		c.log = slices.Clone(c.log[c.head:])
		c.head = 0
	}
}

// flush gives the pending commits to the observers in order. When it returns, every commit made before the call has been given to them.
func (c *Cluster) flush() {
	c.deliver.Lock()
	defer c.deliver.Unlock()
	c.mu.Lock()
	pending, observers := c.pending, c.observers
	c.pending = nil
	c.mu.Unlock()
	for _, cm := range pending {
		for _, f := range observers {
			f(cm)
		}
	}
}

// since returns the kept records with revisions above from; the slice is valid while mu is held.
func (c *Cluster) since(from int64) []*Commit {
	records := c.log[c.head:]
	if len(records) == 0 {
		return nil
	}
	i := max(0, from-records[0].Rev+1)
	if i >= int64(len(records)) {
		return nil
	}
	return records[i:]
}

func (c *Cluster) now() time.Time {
	if c.opts.Clock == nil {
		return time.Now()
	}
	return c.opts.Clock.Now()
}

// Kinds is the table of what can be stored. It is filled while the API server is assembled and read-only afterwards.
type Kinds struct {
	mu       sync.RWMutex
	byGR     map[schema.GroupResource]*Kind
	byPrefix map[string]*Kind
}

// NewKinds returns an empty table.
func NewKinds() *Kinds {
	return &Kinds{byGR: map[schema.GroupResource]*Kind{}, byPrefix: map[string]*Kind{}}
}

// Add registers k and returns the kind for its prefix. Resources that share storage (events of two groups) share the first one's kind.
func (ks *Kinds) Add(k Kind) *Kind {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if have := ks.byPrefix[k.Prefix]; have != nil {
		ks.byGR[k.Resource] = have
		return have
	}
	ks.byPrefix[k.Prefix], ks.byGR[k.Resource] = &k, &k
	return &k
}

// Get returns the kind of a resource.
func (ks *Kinds) Get(gr schema.GroupResource) (*Kind, bool) {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	k, ok := ks.byGR[gr]
	return k, ok
}

// prefix returns the kind that is stored below a prefix.
func (ks *Kinds) prefix(p string) (*Kind, bool) {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	k, ok := ks.byPrefix[p]
	return k, ok
}

// All returns every kind, ordered by prefix.
func (ks *Kinds) All() []*Kind {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	out := make([]*Kind, 0, len(ks.byPrefix))
	for _, k := range ks.byPrefix {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *Kind) int { return strings.Compare(a.Prefix, b.Prefix) })
	return out
}

type clusterKey struct{}

// WithCluster returns a context for requests to the cluster.
func WithCluster(ctx context.Context, c *Cluster) context.Context {
	return context.WithValue(ctx, clusterKey{}, c)
}

// ErrNoCluster says that somebody lost the request's context.
var ErrNoCluster = errors.New("the context names no cluster")

// ClusterFrom returns the context's cluster or ErrNoCluster.
func ClusterFrom(ctx context.Context) (*Cluster, error) {
	if c, ok := ctx.Value(clusterKey{}).(*Cluster); ok && c != nil {
		return c, nil
	}
	return nil, ErrNoCluster
}
