package store

import (
	"context"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"

	"github.com/drydock-labs/drydock/orchestrator/clock"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
	pods   = schema.GroupResource{Resource: "pods"}
	others = schema.GroupResource{Resource: "others"}
)

func init() {
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{example.AddToScheme, examplev1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
}

// testKinds has pods as upstream's storage suite names them, and a second kind.
func testKinds() *Kinds {
	ks := NewKinds()
	for _, gr := range []schema.GroupResource{pods, others} {
		ks.Add(Kind{Resource: gr, Prefix: "/" + gr.Resource + "/", Namespaced: true, Codec: codecs.LegacyCodec(examplev1.SchemeGroupVersion),
			New: func() runtime.Object { return &example.Pod{} },
			ToExternal: func(obj runtime.Object) (runtime.Object, error) {
				return scheme.ConvertToVersion(obj, examplev1.SchemeGroupVersion)
			}})
	}
	return ks
}

// bench is a cluster with the storage of its pods.
type bench struct {
	*Storage
	cluster *Cluster
	ctx     context.Context
}

// newClock is a clock that the test moves.
func newClock() *clock.Manual { return clock.NewManual(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)) }

func newBench(t testing.TB, o Options) *bench {
	t.Helper()
	if o.Clock == nil {
		o.Clock = newClock()
	}
	o.Verify = true
	c := NewTemplate(testKinds(), o)
	t.Cleanup(c.Close)
	k, _ := c.Kinds().Get(pods)
	return &bench{Storage: NewStorage(k), cluster: c, ctx: WithCluster(context.Background(), c)}
}

// in supplies the cluster where the suite makes contexts of its own.
func (b *bench) in(ctx context.Context) context.Context { return WithCluster(ctx, b.cluster) }

func (b *bench) Stats(ctx context.Context) (storage.Stats, error) { return b.Storage.Stats(b.in(ctx)) }
func (b *bench) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	return b.Storage.Create(b.in(ctx), key, obj, out, ttl)
}
func (b *bench) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions, validate storage.ValidateObjectFunc, cached runtime.Object, opts storage.DeleteOptions) error {
	return b.Storage.Delete(b.in(ctx), key, out, pre, validate, cached, opts)
}
func (b *bench) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	return b.Storage.Watch(b.in(ctx), key, opts)
}
func (b *bench) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	return b.Storage.Get(b.in(ctx), key, opts, out)
}
func (b *bench) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	return b.Storage.GetList(b.in(ctx), key, opts, list)
}
func (b *bench) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool, pre *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object) error {
	return b.Storage.GuaranteedUpdate(b.in(ctx), key, out, ignoreNotFound, pre, update, cached)
}
func (b *bench) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	return b.Storage.GetCurrentResourceVersion(b.in(ctx))
}

// compact is a revision of its own, as etcd's is.
func (b *bench) compact(ctx context.Context, t *testing.T, rv string) {
	b.increase(ctx, t)
	n, err := strconv.ParseInt(rv, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	b.cluster.Compact(n)
}

// increase makes a revision of another kind.
func (b *bench) increase(_ context.Context, t *testing.T) int64 {
	k, _ := b.cluster.Kinds().Get(others)
	if err := NewStorage(k).Create(b.ctx, "/others/ns/r"+strconv.FormatInt(b.cluster.Rev(), 10), &example.Pod{}, nil, 0); err != nil {
		t.Fatal(err)
	}
	return b.cluster.Rev()
}

// stored checks that what is kept has no resourceVersion of its own.
func (b *bench) stored(_ context.Context, t *testing.T, key string) {
	e, ok := b.cluster.tree.Get(&Entry{key: key})
	if !ok {
		t.Fatalf("nothing is stored at %s", key)
	}
	obj, err := runtime.Decode(b.kind.Codec, e.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if rv := obj.(*example.Pod).ResourceVersion; rv != "" {
		t.Errorf("the stored object has resourceVersion %s", rv)
	}
}

// TestUpstream runs the suite that upstream's etcd3 store and watch cache must pass, but for what concerns
// values that cannot be decrypted and the signal to API priority and fairness, which are not here.
func TestUpstream(t *testing.T) {
	plain := func(f func(context.Context, *testing.T, storage.Interface)) func(*testing.T, *bench) {
		return func(t *testing.T, b *bench) { f(b.ctx, t, b) }
	}
	anyCalls := func(*testing.T, uint64, uint64) {}
	rows := map[string]func(*testing.T, *bench){
		"Create":                              func(t *testing.T, b *bench) { storagetesting.RunTestCreate(b.ctx, t, b, b.stored) },
		"CreateWithTTL":                       func(t *testing.T, b *bench) { storagetesting.RunTestCreateWithTTL(b.ctx, t, realTime(b)) },
		"CreateWithKeyExist":                  plain(storagetesting.RunTestCreateWithKeyExist),
		"Get":                                 plain(storagetesting.RunTestGet),
		"UnconditionalDelete":                 plain(storagetesting.RunTestUnconditionalDelete),
		"ConditionalDelete":                   plain(storagetesting.RunTestConditionalDelete),
		"DeleteWithSuggestion":                plain(storagetesting.RunTestDeleteWithSuggestion),
		"DeleteWithSuggestionAndConflict":     plain(storagetesting.RunTestDeleteWithSuggestionAndConflict),
		"DeleteWithConflict":                  plain(storagetesting.RunTestDeleteWithConflict),
		"DeleteWithSuggestionOfDeletedObject": plain(storagetesting.RunTestDeleteWithSuggestionOfDeletedObject),
		"ValidateDeletionWithSuggestion":      plain(storagetesting.RunTestValidateDeletionWithSuggestion),
		"ValidateDeletionOnlySuggestion":      plain(storagetesting.RunTestValidateDeletionWithOnlySuggestionValid),
		"PreconditionalDelete":                plain(storagetesting.RunTestPreconditionalDeleteWithSuggestion),
		"PreconditionalDeleteOnlySuggestion":  plain(storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass),
		"List":                                func(t *testing.T, b *bench) { storagetesting.RunTestList(b.ctx, t, b, b.compact, false, nil) },
		"ConsistentList": func(t *testing.T, b *bench) {
			storagetesting.RunTestConsistentList(b.ctx, t, b, b.increase, false, true, false)
		},
		"GetListNonRecursive":        func(t *testing.T, b *bench) { storagetesting.RunTestGetListNonRecursive(b.ctx, t, b.increase, b) },
		"GetListRecursivePrefix":     plain(storagetesting.RunTestGetListRecursivePrefix),
		"ListContinuation":           func(t *testing.T, b *bench) { storagetesting.RunTestListContinuation(b.ctx, t, b, anyCalls) },
		"ListPaginationRareObject":   func(t *testing.T, b *bench) { storagetesting.RunTestListPaginationRareObject(b.ctx, t, b, anyCalls) },
		"ListContinuationWithFilter": func(t *testing.T, b *bench) { storagetesting.RunTestListContinuationWithFilter(b.ctx, t, b, anyCalls) },
		"ListInconsistentContinuation": func(t *testing.T, b *bench) {
			storagetesting.RunTestListInconsistentContinuation(b.ctx, t, b, b.compact)
		},
		"GuaranteedUpdateWithTTL":         func(t *testing.T, b *bench) { storagetesting.RunTestGuaranteedUpdateWithTTL(b.ctx, t, realTime(b)) },
		"GuaranteedUpdateWithConflict":    plain(storagetesting.RunTestGuaranteedUpdateWithConflict),
		"GuaranteedUpdateSuggestionConfl": plain(storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict),
		"Stats": func(t *testing.T, b *bench) {
			storagetesting.RunTestStats(b.ctx, t, b, b.kind.Codec, identity.NewEncryptCheckTransformer(), true)
		},
		"ListPaging":                        plain(storagetesting.RunTestListPaging),
		"NamespaceScopedList":               plain(storagetesting.RunTestNamespaceScopedList),
		"KeySchema":                         plain(storagetesting.RunTestKeySchema),
		"Watch":                             plain(storagetesting.RunTestWatch),
		"ClusterScopedWatch":                plain(storagetesting.RunTestClusterScopedWatch),
		"NamespaceScopedWatch":              plain(storagetesting.RunTestNamespaceScopedWatch),
		"DeleteTriggerWatch":                plain(storagetesting.RunTestDeleteTriggerWatch),
		"WatchFromZero":                     func(t *testing.T, b *bench) { storagetesting.RunTestWatchFromZero(b.ctx, t, b, b.compact) },
		"WatchFromNonZero":                  plain(storagetesting.RunTestWatchFromNonZero),
		"DelayedWatchDelivery":              plain(storagetesting.RunTestDelayedWatchDelivery),
		"WatchContextCancel":                plain(storagetesting.RunTestWatchContextCancel),
		"WatcherTimeout":                    plain(storagetesting.RunTestWatcherTimeout),
		"WatchDeleteEventObjectHasLatestRV": plain(storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV),
		"SendInitialEventsCompatibility":    plain(storagetesting.RunSendInitialEventsBackwardCompatibility),
		"WatchSemantics":                    plain(storagetesting.RunWatchSemantics),
		"WatchSemanticInitialEvents":        plain(storagetesting.RunWatchSemanticInitialEventsExtended),
		"WatchListMatchSingle":              plain(storagetesting.RunWatchListMatchSingle),
	}
	for name, run := range rows {
		t.Run(name, func(t *testing.T) { run(t, newBench(t, Options{})) })
	}
}

// realTime lets a cluster's time to live pass by itself, for tests that wait for it.
func realTime(b *bench) storage.Interface {
	b.cluster.opts.Clock = clock.Wall{}
	return b
}
