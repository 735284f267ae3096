package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
)

func key(name string) string { return "/pods/ns/" + name }

func newPod(name string) *example.Pod {
	return &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

func (b *bench) create(t testing.TB, name string) {
	t.Helper()
	if err := b.Create(b.ctx, key(name), newPod(name), nil, 0); err != nil {
		t.Fatal(err)
	}
}

// label sets the label v of a pod.
func (b *bench) label(t testing.TB, name, value string) {
	t.Helper()
	err := b.GuaranteedUpdate(b.ctx, key(name), &example.Pod{}, false, nil, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
		obj.(*example.Pod).Labels = map[string]string{"v": value}
		return obj, nil
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) remove(t testing.TB, name string) {
	t.Helper()
	if err := b.Delete(b.ctx, key(name), &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// state is name to label of entries.
func state(entries []*Entry) map[string]string {
	out := map[string]string{}
	for _, e := range entries {
		p := e.Internal().(*example.Pod)
		out[p.Name] = p.Labels["v"]
	}
	return out
}

// TestModel makes random writes to a cluster with a short log and compares it, after each, with maps: the newest state, every past state that
// is still kept, and what replaying the history over the base gives.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, seed))
			b := newBench(t, Options{LogBytes: 30 * (recordOverhead + 60)})
			past := map[int64]map[string]string{1: {}}
			now := map[string]string{}
			for i := range 300 {
				name := fmt.Sprintf("p%d", r.IntN(12))
				_, exists := now[name]
				switch {
				case !exists:
					b.create(t, name)
					now[name] = ""
				case r.IntN(3) == 0:
					b.remove(t, name)
					delete(now, name)
				default:
					now[name] = fmt.Sprint(i)
					b.label(t, name, now[name])
				}
				past[b.cluster.Rev()] = maps.Clone(now)
				if i%7 == 0 || i > 290 {
					b.compare(t, past)
				}
			}
			if u := b.cluster.Usage(); u.Compacted == 1 || u.Records > 31 || u.LogBytes > 30*(recordOverhead+60) {
				t.Errorf("the log was to be bounded: %+v", u)
			}
		})
	}
}

func (b *bench) compare(t *testing.T, past map[int64]map[string]string) {
	t.Helper()
	c := b.cluster
	compacted := c.Usage().Compacted
	for rev := max(1, compacted-1); rev <= c.Rev(); rev++ {
		entries, _, err := c.scan(b.kind, "/pods/", "", rev)
		if rev < compacted {
			if !errors.Is(err, ErrCompacted) {
				t.Fatalf("revision %d is gone: %v", rev, err)
			}
			continue
		}
		if d := cmp.Diff(past[rev], state(entries)); err != nil || d != "" {
			t.Fatalf("revision %d of %d: %v (-want +got):\n%s", rev, c.Rev(), err, d)
		}
	}
	base, entries := c.Base()
	replayed := state(entries)
	history, err := c.History(base)
	if err != nil {
		t.Fatal(err)
	}
	for i, cm := range history {
		if cm.Rev != base+int64(i)+1 {
			t.Fatalf("the history has revision %d after %d", cm.Rev, base+int64(i))
		}
		if cm.Op == Delete {
			delete(replayed, cm.Name)
			continue
		}
		replayed[cm.Name] = state([]*Entry{cm.New})[cm.Name]
	}
	if d := cmp.Diff(past[c.Rev()], replayed); d != "" {
		t.Fatalf("the history over the base (-want +got):\n%s", d)
	}
	if _, err := c.History(base - 1); !errors.Is(err, ErrCompacted) {
		t.Fatalf("history from before the base: %v", err)
	}
}

// TestCompactedReads: what the bounded log dropped is 410 for exact lists, continues and watches.
func TestCompactedReads(t *testing.T) {
	b := newBench(t, Options{LogBytes: 4 * (recordOverhead + 200)})
	for _, n := range []string{"a", "b", "c"} {
		b.create(t, n)
	}
	var page example.PodList
	opts := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
	opts.Predicate.Limit = 1
	if err := b.GetList(b.ctx, "/pods/", opts, &page); err != nil || page.Continue == "" {
		t.Fatal(err, page.Continue)
	}
	old := b.cluster.Rev()
	stuck, err := b.Watch(b.ctx, "/pods/", storage.ListOptions{ResourceVersion: fmt.Sprint(old), Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Stop()
	for i := range 40 {
		b.label(t, "a", fmt.Sprint(i))
	}
	expired := func(what string, err error) {
		t.Helper()
		if !apierrors.IsResourceExpired(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	expired("exact list", b.GetList(b.ctx, "/pods/", storage.ListOptions{ResourceVersion: fmt.Sprint(old), ResourceVersionMatch: metav1.ResourceVersionMatchExact, Recursive: true, Predicate: storage.Everything}, &page))
	opts.Predicate.Continue = page.Continue
	err = b.GetList(b.ctx, "/pods/", opts, &example.PodList{})
	expired("continue", err)
	next := err.(*apierrors.StatusError).ErrStatus.Continue
	opts.Predicate.Continue = next
	if err := b.GetList(b.ctx, "/pods/", opts, &page); err != nil || next == "" {
		t.Errorf("going on with the token of the 410: %v", err)
	}
	late, err := b.Watch(b.ctx, "/pods/", storage.ListOptions{ResourceVersion: fmt.Sprint(old), Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	for what, w := range map[string]watch.Interface{"late watch": late, "watch that was not read": stuck} {
		var last watch.Event
		for e := range w.ResultChan() {
			last = e
		}
		if last.Type != watch.Error {
			t.Fatalf("%s ended with %v", what, last)
		}
		expired(what, apierrors.FromObject(last.Object))
	}
}

// TestClone: a clone shares the template's objects until either is written, has its own history, and shows them with its own identity.
func TestClone(t *testing.T) {
	b := newBench(t, Options{ID: "template"})
	b.create(t, "a")
	b.create(t, "b")
	c := b.cluster.Clone(Options{ID: "clone", Clock: newClock(), Verify: true, Rebase: func(o any) { o.(*example.Pod).UID = "own" }})
	clone := &bench{Storage: b.Storage, cluster: c, ctx: WithCluster(context.Background(), c)}
	base := c.Rev()
	clone.label(t, "a", "1")
	clone.remove(t, "b")
	b.label(t, "b", "2")
	if d := cmp.Diff(map[string]string{"a": "1"}, state(c.Entries(pods, ""))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"a": "", "b": "2"}, state(b.cluster.Entries(pods, ""))); d != "" {
		t.Error(d)
	}
	history, err := c.History(base)
	if err != nil || len(history) != 2 {
		t.Fatal(history, err)
	}
	for _, cm := range history {
		if cm.Old.Rev > base {
			t.Errorf("%s: the old state is not the template's", cm.Key)
		}
	}
	for _, e := range c.Entries(pods, "") {
		if uid := e.Internal().(*example.Pod).UID; uid != "own" {
			t.Errorf("%s has uid %q in the clone", e.Key(), uid)
		}
	}
	if err := b.Storage.Get(context.Background(), key("a"), storage.GetOptions{}, &example.Pod{}); !errors.Is(err, ErrNoCluster) {
		t.Errorf("without a cluster: %v", err)
	}
}

// TestTimeToLive: objects end on the cluster's clock, with a commit that says why, and watches see it.
func TestTimeToLive(t *testing.T) {
	clock := newClock()
	b := newBench(t, Options{Clock: clock})
	if err := b.Create(b.ctx, key("event"), newPod("event"), nil, 3600); err != nil {
		t.Fatal(err)
	}
	w, err := b.Watch(b.ctx, "/pods/", storage.ListOptions{ResourceVersion: fmt.Sprint(b.cluster.Rev()), Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	waitFor(t, func() bool { return clock.Timers() == 1 })
	clock.Advance(time.Hour - time.Second)
	if _, ok := b.cluster.Get(pods, "ns", "event"); !ok {
		t.Fatal("ended too early")
	}
	clock.Advance(time.Second)
	if e := <-w.ResultChan(); e.Type != watch.Deleted || e.Object.(*example.Pod).Name != "event" {
		t.Fatalf("an hour passed: %v", e)
	}
	history, err := b.cluster.History(1)
	if err != nil {
		t.Fatal(err)
	}
	if last := history[len(history)-1]; last.Op != Delete || last.Cause.Kind != CauseTick || last.Cause.Detail == "" {
		t.Errorf("%+v", last)
	}
}

// TestBookmarks: a watch that allows bookmarks gets one each minute of the cluster's clock, with the revision up to which it has seen all.
func TestBookmarks(t *testing.T) {
	clock := newClock()
	b := newBench(t, Options{Clock: clock})
	w, err := b.Watch(b.ctx, "/pods/", storage.ListOptions{Recursive: true, Predicate: storage.SelectionPredicate{Label: labels.Everything(), Field: fields.Everything(), GetAttrs: storage.DefaultNamespaceScopedAttr, AllowWatchBookmarks: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range 3 {
		waitFor(t, func() bool { return clock.Timers() == 1 })
		b.increase(nil, t)
		clock.Advance(time.Minute)
		if e := <-w.ResultChan(); e.Type != watch.Bookmark || e.Object.(*example.Pod).ResourceVersion != fmt.Sprint(i+2) {
			t.Fatalf("minute %d: %v", i, e)
		}
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// TestCauses: a commit records the context's cause and the writing user.
func TestCauses(t *testing.T) {
	b := newBench(t, Options{Actor: func(context.Context) string { return "alice" }})
	var seen []Commit
	remove := b.cluster.OnCommit(func(c Commit) { seen = append(seen, c) })
	want := Cause{Kind: CauseRequest, Component: "kubectl/v1", Detail: "POST", Parent: 7, Step: 9}
	if err := b.Create(WithCause(b.ctx, want), key("a"), newPod("a"), nil, 0); err != nil {
		t.Fatal(err)
	}
	remove()
	b.create(t, "b")
	want.Actor = "alice"
	if len(seen) != 1 || seen[0].Cause != want || seen[0].Op != Create || seen[0].Namespace != "ns" || seen[0].Name != "a" {
		t.Errorf("observed %+v", seen)
	}
}

// TestLimitsAndClose: too many objects are 403, too many watches 429, and a closed cluster is 503.
func TestLimitsAndClose(t *testing.T) {
	b := newBench(t, Options{MaxObjects: 1, MaxWatches: 1})
	b.create(t, "a")
	if err := b.Create(b.ctx, key("b"), newPod("b"), nil, 0); !apierrors.IsForbidden(err) {
		t.Errorf("too many objects: %v", err)
	}
	b.label(t, "a", "still")
	b.remove(t, "a")
	b.create(t, "b")
	opts := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
	w, err := b.Watch(b.ctx, "/pods/", opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Watch(b.ctx, "/pods/", opts); !apierrors.IsTooManyRequests(err) {
		t.Errorf("too many watches: %v", err)
	}
	w.Stop()
	for range w.ResultChan() {
	}
	w2, err := b.Watch(b.ctx, "/pods/", opts)
	if err != nil {
		t.Fatalf("after the first watch ended: %v", err)
	}
	b.cluster.Close()
	b.cluster.Close()
	for range w2.ResultChan() {
	}
	if err := b.Create(b.ctx, key("c"), newPod("c"), nil, 0); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("write after Close: %v", err)
	}
	if n := len(b.cluster.Entries(pods, "")); n != 0 {
		t.Errorf("%d objects after Close", n)
	}
}

// TestSharedObjectsAreWatched: whoever changes a shared object is found out at the next read.
func TestSharedObjectsAreWatched(t *testing.T) {
	b := newBench(t, Options{})
	b.create(t, "a")
	e := b.cluster.Entries(pods, "ns")[0]
	e.Internal().(*example.Pod).Labels = map[string]string{"v": "changed in place"}
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "changed in place") {
			t.Errorf("recovered %v", p)
		}
	}()
	e.Internal()
}

// TestRestamp: times that upstream takes from the wall clock become the cluster's.
func TestRestamp(t *testing.T) {
	clock := newClock()
	now := clock.Now().Truncate(time.Second)
	wall := metav1.Now()
	before, after := newPod("a"), newPod("a")
	earlier := metav1.NewTime(now.Add(-time.Hour))
	before.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "old", Operation: metav1.ManagedFieldsOperationUpdate, Time: &earlier}}
	after.ManagedFields = append(slices.Clone(before.ManagedFields), metav1.ManagedFieldsEntry{Manager: "new", Operation: metav1.ManagedFieldsOperationUpdate, Time: &wall})
	grace := int64(30)
	after.DeletionTimestamp, after.DeletionGracePeriodSeconds = &wall, &grace
	k, _ := testKinds().Get(pods)
	k.restamp(after, before, now)
	if got := after.DeletionTimestamp.Time; !got.Equal(now.Add(30 * time.Second)) {
		t.Errorf("deletion at %s", got)
	}
	if got := after.ManagedFields; !got[0].Time.Equal(&earlier) || !got[1].Time.Time.Equal(now) {
		t.Errorf("managed at %s and %s", got[0].Time, got[1].Time)
	}
	shorter := after.DeepCopy()
	ten := int64(10)
	shorter.DeletionGracePeriodSeconds = &ten
	k.restamp(shorter, after, now.Add(5*time.Second))
	if got := shorter.DeletionTimestamp.Time; !got.Equal(now.Add(10 * time.Second)) {
		t.Errorf("a shorter grace period ends at %s", got)
	}
}
