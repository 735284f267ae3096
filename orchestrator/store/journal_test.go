package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/clock"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// records is a journal in memory.
type records struct {
	list [][]byte
	full error // refuses every record
}

func (r *records) Append(record []byte) error {
	if r.full != nil {
		return r.full
	}
	r.list = append(r.list, bytes.Clone(record))
	return nil
}

// picture is all that must be the same after a replay, as text.
func picture(c *Cluster) string {
	var b strings.Builder
	c.mu.RLock()
	fmt.Fprintf(&b, "rev %d, base %d, log of %d bytes\n", c.rev, c.compacted, c.logBytes)
	c.mu.RUnlock()
	entry := func(what string, e *Entry) {
		if e != nil {
			fmt.Fprintf(&b, "%s %s rev %d created %d until %s %x\n", what, e.key, e.Rev, e.Created, e.expires.UTC(), e.Bytes())
		}
	}
	_, base := c.Base()
	for _, e := range base {
		entry("base", e)
	}
	history, err := c.History(c.Usage().Compacted)
	if err != nil {
		return err.Error()
	}
	for _, cm := range history {
		fmt.Fprintf(&b, "%d %s %s %s %s/%s %s %x %+v\n", cm.Rev, cm.Time.UTC(), cm.Op, cm.Resource, cm.Namespace, cm.Name, cm.Key, cm.Bytes, cm.Cause)
		if cm.Old != nil {
			entry("  was", c.rebased(cm.Old))
		}
		entry("  is", cm.New)
	}
	entries, _ := c.scanLocked("", "", c.rev)
	for _, e := range entries {
		entry("now", c.rebasedLocked(e))
	}
	return b.String()
}

// history makes n random writes with random causes, times to live and passing time.
func (b *bench) history(t *testing.T, r *rand.Rand, n int, after func()) {
	t.Helper()
	clock := b.cluster.opts.Clock.(interface{ Advance(time.Duration) })
	for i := range n {
		clock.Advance(time.Duration(r.IntN(1000)) * time.Millisecond)
		b.ctx = WithCause(b.ctx, Cause{Kind: CauseEvent, Actor: fmt.Sprint("user-", r.IntN(3)), Component: "c", Detail: strings.Repeat("d", r.IntN(30)), Parent: r.Int64N(b.cluster.Rev()), Step: r.Uint64()})
		name := fmt.Sprintf("p%d", r.IntN(12))
		if _, exists := b.cluster.Get(pods, "ns", name); !exists {
			if err := b.Create(b.ctx, key(name), newPod(name), nil, uint64(r.IntN(3)*r.IntN(20))); err != nil {
				t.Fatal(err)
			}
		} else if r.IntN(3) == 0 {
			b.remove(t, name)
		} else {
			b.label(t, name, fmt.Sprint(i))
		}
		after()
	}
}

// replay makes a cluster again from records.
func replay(t *testing.T, list [][]byte, o Options) *Replay {
	t.Helper()
	o.Verify, o.Clock = true, newClock()
	r := NewReplay(testKinds(), o)
	for _, rec := range list {
		if err := r.Add(rec); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestReplayIsEqual: for random histories of clones with their own identity and a short log, a crash after each record leaves exactly the
// cluster of that moment, one within a record is refused and leaves the one before it, and the replayed cluster goes on with the next revision.
func TestReplayIsEqual(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			b := journalled(t, rnd)
			j := b.cluster.journal.(*records)
			first := len(j.list)
			pictures := []string{picture(b.cluster)}
			seen := len(j.list)
			b.history(t, rnd, 80, func() {
				for ; seen < len(j.list); seen++ {
					pictures = append(pictures, "") // several commits at once: the ends of lives
				}
				pictures[len(pictures)-1] = picture(b.cluster)
			})
			o := Options{LogBytes: b.cluster.opts.LogBytes}
			r := replay(t, j.list[:first], o)
			for i := first; ; i++ {
				at := pictures[i-first]
				if got := picture(r.c); at != "" && got != at {
					t.Fatalf("after record %d of %d (-want +got):\n%s", i, len(j.list), cmp.Diff(at, got))
				}
				if i == len(j.list) {
					break
				}
				before := picture(r.c)
				for _, cut := range []int{0, 1, rnd.IntN(len(j.list[i])), len(j.list[i]) - 1} {
					if err := r.Add(j.list[i][:cut]); !errors.Is(err, ErrRecord) || picture(r.c) != before {
						t.Fatalf("record %d cut off after %d bytes: %v\n%s", i, cut, err, cmp.Diff(before, picture(r.c)))
					}
				}
				if err := r.Add(j.list[i]); err != nil {
					t.Fatal(err)
				}
			}
			endsAlike(t, b.cluster, r.c)
			continues(t, r, b.cluster.Rev())
		})
	}
}

// journalled is a clone of a template with objects, which keeps a journal and a short log.
func journalled(t *testing.T, rnd *rand.Rand) *bench {
	t.Helper()
	b := newBench(t, Options{ID: "template"})
	b.history(t, rnd, 10, func() {})
	o := Options{ID: "lab", LogBytes: 30 * (recordOverhead + 60), Clock: newClock(), Verify: true, Rebase: func(o any) {
		o.(*example.Pod).UID = "own of " + o.(*example.Pod).UID
	}}
	b.cluster = b.cluster.Clone(o)
	b.ctx = WithCluster(context.Background(), b.cluster)
	if err := b.cluster.Keep(&records{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// endsAlike lets an hour pass for both clusters: the same objects outlive it, and not all do.
func endsAlike(t *testing.T, want, got *Cluster) {
	t.Helper()
	before, later := len(want.Entries(pods, "")), clock.NewManual(want.now().Add(time.Hour))
	want.opts.Clock, got.opts.Clock = later, later
	w, g := state(want.Entries(pods, "")), state(got.Entries(pods, ""))
	if d := cmp.Diff(w, g); d != "" || len(w) == before {
		t.Errorf("%d of %d objects an hour later (-want +got):\n%s", len(w), before, d)
	}
}

// continues checks that the replayed cluster's next commit has the next revision and goes to its journal.
func continues(t *testing.T, r *Replay, rev int64) {
	t.Helper()
	var later records
	c, err := r.Cluster(&later)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := c.Kinds().Get(pods)
	if err := NewStorage(k).Create(WithCluster(context.Background(), c), key("next"), newPod("next"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if c.Rev() != rev+1 || len(later.list) != 1 || later.list[0][0] != recordCommit {
		t.Errorf("revision %d after %d, %d records", c.Rev(), rev, len(later.list))
	}
}

// TestSnapshot: a snapshot that is taken while others write, followed by the commits from before it began, makes the same cluster again;
// one from the newest revision holds no history.
func TestSnapshot(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	b := journalled(t, rnd)
	j := b.cluster.journal.(*records)
	b.history(t, rnd, 40, func() {})
	tail := len(j.list)
	b.history(t, rnd, 10, func() {})
	var snap records
	err := b.cluster.Snapshot(0, func(rec []byte) error {
		if len(snap.list) == 3 {
			b.history(t, rnd, 10, func() {})
		}
		return snap.Append(rec)
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{LogBytes: b.cluster.opts.LogBytes}
	r := replay(t, append(snap.list, j.list[tail:]...), o)
	if d := cmp.Diff(picture(b.cluster), picture(r.c)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	snap.list = nil
	if err := b.cluster.Snapshot(b.cluster.Rev(), snap.Append); err != nil {
		t.Fatal(err)
	}
	r = replay(t, snap.list, o)
	if got, want := state(r.c.Entries(pods, "")), state(b.cluster.Entries(pods, "")); !cmp.Equal(got, want) || r.c.Usage().Records != 0 || r.c.Rev() != b.cluster.Rev() {
		t.Errorf("(-want +got):\n%s\n%+v", cmp.Diff(want, got), r.c.Usage())
	}
}

// TestJournalRefuses: a write that the journal doesn't take is not seen by anybody, its revision is given to the next one, and a time to live
// that could not end then ends later.
func TestJournalRefuses(t *testing.T) {
	clock := newClock()
	b := newBench(t, Options{Clock: clock})
	j := &records{}
	if err := b.cluster.Keep(j); err != nil {
		t.Fatal(err)
	}
	if err := b.cluster.Keep(j); err == nil {
		t.Error("a second journal was taken")
	}
	b.create(t, "a")
	if err := b.Create(b.ctx, key("short"), newPod("short"), nil, 10); err != nil {
		t.Fatal(err)
	}
	var seen []Commit
	b.cluster.OnCommit(func(c Commit) { seen = append(seen, c) })
	before, kept := picture(b.cluster), len(j.list)
	full := errors.New("no space left on device")
	j.full = full
	update := storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		obj.(*example.Pod).Labels = map[string]string{"v": "1"}
		return obj, nil
	})
	for what, err := range map[string]error{
		"create": b.Create(b.ctx, key("b"), newPod("b"), nil, 0),
		"update": b.GuaranteedUpdate(b.ctx, key("a"), &example.Pod{}, false, nil, update, nil),
		"delete": b.Delete(b.ctx, key("a"), &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}),
	} {
		if err != full {
			t.Errorf("%s: %v", what, err)
		}
	}
	clock.Advance(time.Minute)
	b.cluster.Entries(pods, "")
	if d := cmp.Diff(before, picture(b.cluster)); d != "" || len(seen) != 0 || len(j.list) != kept {
		t.Errorf("something happened: %v, %d records\n%s", seen, len(j.list), d)
	}
	j.full = nil
	b.create(t, "b")
	if d := cmp.Diff(map[string]string{"a": "", "b": ""}, state(b.cluster.Entries(pods, ""))); d != "" {
		t.Error(d)
	}
	if len(seen) != 2 || seen[0].Rev != 4 || seen[0].Name != "short" || seen[1].Name != "b" {
		t.Errorf("%+v", seen)
	}
}

// TestReplayRefuses: records that can't follow are refused with a reason, and a snapshot that is not whole is no cluster.
func TestReplayRefuses(t *testing.T) {
	b := newBench(t, Options{})
	b.create(t, "a")
	b.create(t, "b")
	j := &records{}
	if err := b.cluster.Keep(j); err != nil {
		t.Fatal(err)
	}
	var base records // S E E: the state without its history
	if err := b.cluster.Snapshot(b.cluster.Rev(), base.Append); err != nil {
		t.Fatal(err)
	}
	b.label(t, "a", "1")
	b.remove(t, "b")
	l := append(base.list, j.list[len(j.list)-2:]...) // and the update of a, the delete of b
	rows := map[string]struct {
		before [][]byte
		record []byte
		reason string
	}{
		"nothing":             {nil, nil, "ends too early"},
		"unknown letter":      {l[:1], []byte("Zzz"), "'Z'"},
		"entry first":         {nil, l[1], "belongs to no snapshot"},
		"commit first":        {nil, l[3], "before the end of a snapshot"},
		"gap":                 {l[:len(l)-2], l[len(l)-1], "gap"},
		"more than its end":   {l[:len(l)-1], append(bytes.Clone(l[len(l)-1]), 0), "1 bytes follow"},
		"kind we do not have": {l[:len(l)-1], bytes.Replace(l[len(l)-1], []byte("/pods/"), []byte("/pids/"), 1), "/pids/"},
		"key without a name":  {l[:len(l)-1], bytes.Replace(l[len(l)-1], []byte("ns/b"), []byte("ns/\x00")[:4], 1), "which exists: false"},
		"delete of nothing":   {l[:len(l)-1], bytes.Replace(l[len(l)-1], []byte("ns/b"), []byte("ns/c"), 1), "which exists: false"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			err := replay(t, row.before, Options{}).Add(row.record)
			if !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), row.reason) {
				t.Errorf("%v", err)
			}
		})
	}
	for i := range base.list {
		if _, err := replay(t, l[:i], Options{}).Cluster(nil); !errors.Is(err, ErrNoSnapshot) {
			t.Errorf("%d of the snapshot's %d records: %v", i, len(base.list), err)
		}
	}
}

// TestUpstreamWatchAfterReplay: a replayed cluster is one like others for upstream's suite.
func TestUpstreamWatchAfterReplay(t *testing.T) {
	b := newBench(t, Options{})
	j := &records{}
	if err := b.cluster.Keep(j); err != nil {
		t.Fatal(err)
	}
	c, err := replay(t, j.list, Options{}).Cluster(j)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	again := &bench{Storage: b.Storage, cluster: c, ctx: WithCluster(context.Background(), c)}
	again.kind, _ = c.Kinds().Get(pods)
	storagetesting.RunTestWatch(again.ctx, t, again)
}

// FuzzReplay: no bytes make a replay panic, and what it takes can be written and read again to the same.
func FuzzReplay(f *testing.F) {
	b := newBench(f, Options{})
	b.create(f, "a")
	j := &records{}
	if err := b.cluster.Keep(j); err != nil {
		f.Fatal(err)
	}
	base := records{list: j.list}
	if err := b.cluster.Snapshot(b.cluster.Rev(), base.Append); err != nil {
		f.Fatal(err)
	}
	b.remove(f, "a")
	for _, r := range append(base.list, j.list...) {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		for n := range len(j.list) + 1 {
			r := NewReplay(testKinds(), Options{Clock: newClock()})
			for _, rec := range j.list[:n] {
				if err := r.Add(rec); err != nil {
					t.Fatal(err)
				}
			}
			before := picture(r.c)
			if err := r.Add(record); err != nil {
				if after := picture(r.c); after != before {
					t.Fatalf("a refused record did something:\n%s", cmp.Diff(before, after))
				}
				continue
			}
			c, err := r.Cluster(nil)
			if err != nil {
				continue
			}
			var again records
			if err := c.Snapshot(0, again.Append); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(picture(c), picture(replay(t, again.list, Options{}).c)); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// BenchmarkRecord: what a commit of 1.4 kB pays for its record, beside what the journal itself takes.
func BenchmarkRecord(b *testing.B) {
	k, _ := testKinds().Get(pods)
	cm := &Commit{Rev: 1 << 20, Time: time.Now(), Key: key("a"), Op: Update, Bytes: make([]byte, 1400), New: &Entry{kind: k},
		Cause: Cause{Kind: CauseEvent, Actor: "system:serviceaccount:kube-system:replicaset-controller", Component: "replicaset-controller", Parent: 1 << 20, Step: 1 << 20}}
	var buf []byte
	for b.Loop() {
		buf = appendCommit(buf[:0], cm)
	}
	b.SetBytes(int64(len(buf)))
}
