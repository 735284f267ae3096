package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator/store"
	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/server/journal"
)

// The kinds of a lab's records in the journal. The payload of all but the cluster's begins with the part's name.
const (
	recordCluster  journal.Kind = iota + 1 // of orchestrator/store
	recordFiles                            // of a vfs.Tmpfs
	recordStream                           // bytes that follow those before
	recordDocument                         // a value that replaces the one before; empty: there is none any more
	recordDrop                             // the part and all whose names begin with its name and a slash are gone
)

const (
	// keepWindow is how long after a change it is written.
	keepWindow = 10 * time.Millisecond
	// keepRate is how many bytes of files and output a lab writes to the disk in a second on the average: who overwrites a file all the time is
	// written less often.
	keepRate = 16 << 20
	// keepAgain is when a write is tried again that the disk had no room for.
	keepAgain = time.Second
	// keepStream is how much of a stream is read back at most.
	keepStream = 16 << 20
)

// keeper is what of a lab outlives the power of its machines, and with a journal the process: file systems, logs, and values of others, by
// name. Changes are noted and written soon after; a timer is armed only while there are some.
//
// Lock order: keeper.work, then those of the parts, then keeper.mu. A part tells of a change with its own lock held.
type keeper struct {
	w     *journal.Writer // nil: nothing outlives the process
	fail  func(error)     // told that nothing more can be written
	first *replay         // what was kept before; its parts go to whoever asks

	work sync.Mutex // held while something is written

	mu      sync.Mutex
	parts   map[string]*part // protected by mu
	dirty   map[string]bool  // protected by mu
	dropped []string         // protected by mu
	timer   *time.Timer      // protected by mu
	armed   bool             // protected by mu
	next    time.Time        // protected by mu: not before
	full    error            // protected by mu: why nothing can be written now
	closed  bool             // protected by mu
	cluster *store.Cluster   // protected by mu
}

// part is something that is kept. flush gives what is new, snapshot everything.
type part struct {
	kind     journal.Kind
	flush    func(emit func([]byte) error) error
	snapshot func(emit func([]byte) error) error
	files    *vfs.Tmpfs   // nil but for recordFiles
	log      *runtime.Log // nil but for the logs among recordStream
}

func newKeeper(w *journal.Writer, first *replay, fail func(error)) *keeper {
	return &keeper{w: w, first: first, fail: fail, parts: map[string]*part{}, dirty: map[string]bool{}}
}

// add has a part kept in the place of what was kept under its name before.
func (k *keeper) add(name string, p *part) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.parts[name] = p
	k.first.taken(name)
}

// touch has a part written soon.
func (k *keeper) touch(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.w == nil {
		return
	}
	k.dirty[name] = true
	k.armLocked(keepWindow)
}

func (k *keeper) armLocked(d time.Duration) {
	if k.armed || k.closed {
		return
	}
	k.armed = true
	d = max(d, time.Until(k.next))
	if k.timer == nil {
		k.timer = time.AfterFunc(d, k.write)
		return
	}
	k.timer.Reset(d)
}

// find returns the part of a name, and what was kept of it. What a part is made with may take locks that are held when it is touched, so
// nobody makes one under mu.
func (k *keeper) find(name string) (p *part, files *vfs.TmpfsReplay, stream [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.parts[name], k.first.files[name], k.first.streams[name]
}

// Files returns the file system of a name: the one that is there, else what was kept of it, else an empty one.
func (k *keeper) Files(name string, o vfs.TmpfsOptions) *vfs.Tmpfs {
	p, before, _ := k.find(name)
	if p != nil && p.files != nil {
		return p.files
	}
	if k.w != nil {
		o.Dirty = func() { k.touch(name) }
	}
	var fs *vfs.Tmpfs
	if before != nil {
		fs = before.Tmpfs(o)
	} else {
		fs = vfs.NewTmpfs(o)
	}
	k.add(name, &part{kind: recordFiles, flush: fs.Flush, snapshot: fs.Snapshot, files: fs})
	return fs
}

// Log returns a container's log, as Files does a file system.
func (k *keeper) Log(name string, limit int64, disk vfs.Charger) *runtime.Log {
	p, _, before := k.find(name)
	if p != nil && p.log != nil {
		return p.log
	}
	l, err := runtime.NewLogFrom(limit, disk, before)
	if err != nil {
		k.Problem(fmt.Errorf("%s: %w", name, err))
	}
	l.OnChange(func() { k.touch(name) })
	k.add(name, &part{kind: recordStream, flush: l.Flush, snapshot: l.Snapshot, log: l})
	return l
}

// Stream has a stream of bytes kept; the function that it returns tells of a change.
func (k *keeper) Stream(name string, flush, snapshot func(emit func([]byte) error) error) (changed func()) {
	k.add(name, &part{kind: recordStream, flush: flush, snapshot: snapshot})
	return func() { k.touch(name) }
}

// Document has a value kept: what now returns, after each call of the function that is returned. now may be called at any time.
func (k *keeper) Document(name string, now func() []byte) (changed func()) {
	k.add(name, &part{kind: recordDocument, flush: nil, snapshot: func(emit func([]byte) error) error { return emit(now()) }})
	return func() { k.touch(name) }
}

// Documents are the values whose names begin with prefix, as they are now or were kept.
func (k *keeper) Documents(prefix string) map[string][]byte {
	out := map[string][]byte{}
	k.mu.Lock()
	for name, v := range k.first.documents {
		if strings.HasPrefix(name, prefix) {
			out[name] = v
		}
	}
	now := maps.Clone(k.parts)
	k.mu.Unlock()
	for name, p := range now {
		if p.kind == recordDocument && strings.HasPrefix(name, prefix) {
			_ = p.snapshot(func(v []byte) error { out[name] = slices.Clone(v); return nil }) // never fails
		}
	}
	return out
}

// Kept is what was kept of a stream.
func (k *keeper) Kept(name string) [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.first.streams[name]
}

// Problem notes what could not be brought back.
func (k *keeper) Problem(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.first.problem(err)
}

// Drop forgets a part and those below it; file systems and logs give back what they were charged.
func (k *keeper) Drop(name string) {
	var gone []*part
	defer func() { // a part has its own lock when it takes ours
		for _, p := range gone {
			p.release()
		}
	}()
	k.mu.Lock()
	defer k.mu.Unlock()
	for n, p := range k.parts {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(k.parts, n)
			delete(k.dirty, n)
			gone = append(gone, p)
		}
	}
	k.first.drop(name)
	if k.w != nil && !k.closed {
		k.dropped = append(k.dropped, name)
		k.armLocked(keepWindow)
	}
}

func (p *part) release() {
	if p.files != nil {
		p.files.Close()
	}
	if p.log != nil {
		p.log.Release()
	}
}

// write writes what is dirty, and replaces the log by a snapshot where that pays.
func (k *keeper) write() {
	k.work.Lock()
	defer k.work.Unlock()
	n, err := k.flush()
	if err == nil && k.w.Due() {
		err = k.compact()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed, k.full = false, nil
	k.next = time.Now().Add(time.Duration(n) * time.Second / keepRate)
	switch {
	case err == nil:
	case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrBusy):
		k.full, k.next = err, time.Now().Add(keepAgain)
	default:
		k.closed = true
		k.fail(err)
		return
	}
	if len(k.dirty)+len(k.dropped) > 0 {
		k.armLocked(keepWindow)
	}
}

// flush appends what is new: first what was dropped, then bytes, then the values that speak of them. What fails stays dirty.
func (k *keeper) flush() (bytes int64, err error) {
	k.mu.Lock()
	dropped := k.dropped
	k.dropped = nil
	names := slices.Collect(maps.Keys(k.dirty))
	parts := maps.Clone(k.parts)
	k.dirty = map[string]bool{}
	k.mu.Unlock()
	emit := func(kind journal.Kind, name string) func([]byte) error {
		return func(body []byte) error {
			bytes += int64(len(body))
			_, err := k.w.Append(kind, payload(name, body))
			return err
		}
	}
	for i, name := range dropped {
		if err := emit(recordDrop, name)(nil); err != nil {
			k.mu.Lock()
			k.dropped = append(dropped[i:], k.dropped...)
			k.mu.Unlock()
			k.again(names)
			return bytes, err
		}
	}
	order := func(name string) int { return int(parts[name].kind) }
	names = slices.DeleteFunc(names, func(n string) bool { return parts[n] == nil })
	slices.SortFunc(names, func(a, b string) int {
		if c := order(a) - order(b); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		p := parts[name]
		flush := p.flush
		if flush == nil {
			flush = p.snapshot
		}
		if err := flush(emit(p.kind, name)); err != nil {
			k.again(names[i:])
			return bytes, err
		}
	}
	return bytes, nil
}

// again notes parts as dirty that could not be written.
func (k *keeper) again(names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range names {
		if k.parts[n] != nil {
			k.dirty[n] = true
		}
	}
}

// payload is a record's payload.
func payload(name string, body []byte) []byte {
	b := make([]byte, 0, len(name)+len(body)+binary.MaxVarintLen32)
	return append(append(binary.AppendUvarint(b, uint64(len(name))), name...), body...)
}

// compact replaces the lab's log by a snapshot of everything.
func (k *keeper) compact() error {
	k.mu.Lock()
	parts, cluster := maps.Clone(k.parts), k.cluster
	left := k.first.rest(parts)
	k.mu.Unlock()
	return k.w.Compact(context.Background(), func(add func(journal.Kind, []byte, ...journal.Digest) error) error {
		if cluster != nil {
			if err := cluster.Snapshot(0, func(r []byte) error { return add(recordCluster, r) }); err != nil {
				return err
			}
		}
		if err := left(add); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(parts)) {
			p := parts[name]
			if err := p.snapshot(func(b []byte) error { return add(p.kind, payload(name, b)) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// Full is why what is written now may not outlive the process, nil while it does.
func (k *keeper) Full() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.full
}

// close writes what is left and, with a snapshot where asked, ends. Nothing is released.
func (k *keeper) close(compact bool) error {
	if k.w == nil {
		return nil
	}
	k.work.Lock()
	defer k.work.Unlock()
	k.mu.Lock()
	over := k.closed
	k.closed = true
	if k.timer != nil {
		k.timer.Stop()
	}
	k.mu.Unlock()
	if over {
		return k.w.Close(context.Background())
	}
	_, err := k.flush()
	if err == nil && compact {
		err = k.compact()
	}
	return errors.Join(err, k.w.Close(context.Background()))
}

// release gives back what everything was charged.
func (k *keeper) release() {
	k.mu.Lock()
	parts := k.parts
	k.parts = map[string]*part{}
	k.mu.Unlock()
	for _, p := range parts {
		p.release()
	}
}

// clusterJournal is the keeper as a store.Journal.
type clusterJournal struct{ k *keeper }

// Append implements store.Journal.
func (c clusterJournal) Append(record []byte) error {
	_, err := c.k.w.Append(recordCluster, record)
	if err == nil {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: "InsufficientStorage",
		Message: fmt.Sprintf("the change was not made, because it could not be kept: %v", err)}}
}

// Get implements apiserver.Keys.
func (k *keeper) Get(name string) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.first.documents["key/"+name]
}

// Put implements apiserver.Keys.
func (k *keeper) Put(name string, pem []byte) error {
	k.Document("key/"+name, func() []byte { return pem })()
	return nil
}
