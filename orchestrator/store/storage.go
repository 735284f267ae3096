package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// Storage is the storage of one kind for every cluster; the context says which one is meant. It implements storage.Interface with the
// semantics of upstream's etcd3 store. Objects handed out by Get and GetList share their nested values with the store, as the objects of
// upstream's watch cache do; watch events and the inputs of GuaranteedUpdate are deep copies.
type Storage struct {
	kind *Kind
}

var _ storage.Interface = (*Storage)(nil)

// NewStorage returns the storage of a kind.
func NewStorage(k *Kind) *Storage { return &Storage{kind: k} }

func (s *Storage) prepare(ctx context.Context, key string, recursive bool) (*Cluster, string, error) {
	c, err := ClusterFrom(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", s.kind.Resource, err)
	}
	key, err = storage.PrepareKey(s.kind.Prefix, key, recursive)
	return c, key, err
}

// Versioner implements storage.Interface.
func (s *Storage) Versioner() storage.Versioner { return storage.APIObjectVersioner{} }

// Create implements storage.Interface.
func (s *Storage) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	c, key, err := s.prepare(ctx, key, false)
	if err != nil {
		return err
	}
	if version, err := s.Versioner().ObjectResourceVersion(obj); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	c.expire()
	s.kind.restamp(obj, nil, c.now())
	data, err := s.kind.encode(obj)
	if err != nil {
		return err
	}
	ch := change{kind: s.kind, key: key, bytes: data, cause: c.cause(ctx)}
	if ttl != 0 {
		ch.expires = c.now().Add(time.Duration(ttl) * time.Second)
	}
	e, _, err := c.commit(ch)
	if errors.Is(err, errConflict) {
		return storage.NewKeyExistsError(key, 0)
	}
	if err != nil {
		return err
	}
	return give(e, out)
}

// give sets out to the entry's object.
func give(e *Entry, out runtime.Object) error {
	if out == nil {
		return nil
	}
	v, err := conversion.EnforcePtr(out)
	if err != nil {
		return fmt.Errorf("unable to convert output object to pointer: %w", err)
	}
	in := reflect.ValueOf(e.Internal()).Elem()
	if in.Type() != v.Type() {
		return fmt.Errorf("%s holds a %s, not a %s", e.key, in.Type(), v.Type())
	}
	v.Set(in)
	return nil
}

// Delete implements storage.Interface.
func (s *Storage) Delete(ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validateDeletion storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions) error {
	c, key, err := s.prepare(ctx, key, false)
	if err != nil {
		return err
	}
	if _, err := conversion.EnforcePtr(out); err != nil {
		return fmt.Errorf("unable to convert output object to pointer: %w", err)
	}
	for {
		stored, shown, _ := c.lookup(s.kind, key)
		if stored == nil {
			return storage.NewKeyNotFoundError(key, 0)
		}
		if preconditions != nil {
			if err := preconditions.Check(key, shown.Internal()); err != nil {
				return err
			}
		}
		if validateDeletion != nil {
			if err := validateDeletion(ctx, shown.Internal()); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return storage.NewTimeoutError(key, "request did not complete within requested timeout")
		}
		_, rev, err := c.commit(change{kind: s.kind, key: key, expect: stored, last: shown, cause: c.cause(ctx)})
		if errors.Is(err, errConflict) {
			continue
		}
		if err != nil {
			return err
		}
		if err := give(shown, out); err != nil {
			return err
		}
		return s.Versioner().UpdateObject(out, uint64(rev))
	}
}

// Get implements storage.Interface.
func (s *Storage) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	c, key, err := s.prepare(ctx, key, false)
	if err != nil {
		return err
	}
	_, shown, rev := c.lookup(s.kind, key)
	if err := s.notOlderThan(opts.ResourceVersion, rev); err != nil {
		return err
	}
	if shown == nil {
		if opts.IgnoreNotFound {
			return runtime.SetZeroValue(out)
		}
		return storage.NewKeyNotFoundError(key, 0)
	}
	return give(shown, out)
}

func (s *Storage) notOlderThan(minimum string, current int64) error {
	if minimum == "" {
		return nil
	}
	m, err := s.Versioner().ParseResourceVersion(minimum)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if m > uint64(current) {
		return storage.NewTooLargeResourceVersionError(m, uint64(current), 0)
	}
	return nil
}

// GetList implements storage.Interface.
func (s *Storage) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	c, key, err := s.prepare(ctx, key, opts.Recursive)
	if err != nil {
		return err
	}
	listPtr, err := meta.GetItemsPtr(listObj)
	if err != nil {
		return err
	}
	v, err := conversion.EnforcePtr(listPtr)
	if err != nil || v.Kind() != reflect.Slice {
		return fmt.Errorf("need ptr to slice: %v", err)
	}
	at, from, err := storage.ValidateListOptions(key, s.Versioner(), opts)
	if err != nil {
		return err
	}
	entries, rev, err := s.read(c, key, from, at, opts)
	if err != nil {
		return err
	}
	if at == 0 {
		if err := s.notOlderThan(opts.ResourceVersion, rev); err != nil {
			return err
		}
	}
	last, more, err := selectItems(ctx, entries, opts.Predicate, v)
	if err != nil {
		return err
	}
	next, remaining, err := storage.PrepareContinueToken(last, key, rev, int64(len(entries)), more, opts)
	if err != nil {
		return err
	}
	if v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // clients tell null from an empty list
	}
	if err := s.Versioner().UpdateList(listObj, uint64(rev), next, remaining); err != nil {
		return err
	}
	opts.Predicate.SetShardInfoOnList(listObj)
	return nil
}

// read returns the entries a list is made from.
func (s *Storage) read(c *Cluster, key, from string, at int64, opts storage.ListOptions) ([]*Entry, int64, error) {
	if current := c.Rev(); at > current {
		return nil, 0, storage.NewTooLargeResourceVersionError(uint64(at), uint64(current), 0)
	}
	entries, rev, err := c.scan(s.kind, key, from, at)
	if errors.Is(err, ErrCompacted) {
		if from != "" {
			return nil, 0, continueExpired(from, key)
		}
		return nil, 0, apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	if !opts.Recursive && len(entries) > 0 && entries[0].key == key {
		entries = entries[:1] // the key names one object; others only begin with its name
	} else if !opts.Recursive {
		entries = nil
	}
	return entries, rev, err
}

// continueExpired is the 410 that lets a client go on with an inconsistent list.
func continueExpired(from, prefix string) error {
	token, err := storage.EncodeContinue(from, prefix, -1)
	if err != nil {
		return apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
			"You can start a new list without the continue parameter.")
	}
	e := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder " +
		"of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or " +
		"deleted between the time the first chunk was returned and now may show up in the list.")
	e.ErrStatus.ListMeta.Continue = token
	return e
}

// selectItems appends the objects that match to v until its limit; last is the key of the last entry looked at.
func selectItems(ctx context.Context, entries []*Entry, pred storage.SelectionPredicate, v reflect.Value) (last string, more bool, err error) {
	all := pred.Empty()
	if all {
		n := len(entries)
		if pred.Limit > 0 {
			n = min(n, int(pred.Limit))
		}
		v.Set(reflect.MakeSlice(v.Type(), 0, n))
	}
	for i, e := range entries {
		if pred.Limit > 0 && int64(v.Len()) >= pred.Limit {
			return last, true, nil
		}
		if i%256 == 255 && ctx.Err() != nil {
			return "", false, storage.NewTimeoutError(e.key, "request did not complete within requested timeout")
		}
		last = e.key
		obj := e.Internal()
		if matched, err := pred.Matches(obj); err == nil && matched {
			v.Set(reflect.Append(v, reflect.ValueOf(obj).Elem()))
		}
	}
	return last, false, nil
}

// GuaranteedUpdate implements storage.Interface. What tryUpdate returns is compared with the stored bytes: the same bytes are no revision.
func (s *Storage) GuaranteedUpdate(ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, _ runtime.Object) error {
	c, key, err := s.prepare(ctx, key, false)
	if err != nil {
		return err
	}
	if _, err := conversion.EnforcePtr(destination); err != nil {
		return fmt.Errorf("unable to convert output object to pointer: %w", err)
	}
	for {
		stored, shown, _ := c.lookup(s.kind, key)
		if stored == nil && !ignoreNotFound {
			return storage.NewKeyNotFoundError(key, 0)
		}
		e, err := s.update(ctx, c, key, stored, shown, preconditions, tryUpdate)
		if errors.Is(err, errConflict) {
			if ctx.Err() != nil {
				return storage.NewTimeoutError(key, "request did not complete within requested timeout")
			}
			continue
		}
		if err != nil {
			return err
		}
		return give(e, destination)
	}
}

// update computes and commits one try; stored and shown are nil where there is no object yet.
func (s *Storage) update(ctx context.Context, c *Cluster, key string, stored, shown *Entry, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc) (*Entry, error) {
	var existing, before runtime.Object
	response := storage.ResponseMeta{}
	if shown == nil {
		existing = s.kind.New()
	} else {
		before = shown.Internal()
		existing = before.DeepCopyObject()
		response.ResourceVersion = uint64(shown.Rev)
		if !shown.expires.IsZero() {
			response.TTL = int64(shown.expires.Sub(c.now()) / time.Second)
		}
	}
	if err := preconditions.Check(key, existing); err != nil {
		return nil, err
	}
	updated, ttl, err := tryUpdate(existing, response)
	if err != nil {
		return nil, err
	}
	if err := s.Versioner().PrepareObjectForStorage(updated); err != nil {
		return nil, fmt.Errorf("PrepareObjectForStorage failed: %w", err)
	}
	s.kind.restamp(updated, before, c.now())
	data, err := s.kind.encode(updated)
	if err != nil {
		return nil, err
	}
	if shown != nil && bytes.Equal(data, shown.Bytes()) {
		return shown, nil
	}
	ch := change{kind: s.kind, key: key, expect: stored, bytes: data, cause: c.cause(ctx)}
	if shown != nil {
		ch.expires = shown.expires
	}
	if ttl != nil {
		ch.expires = time.Time{}
		if *ttl != 0 {
			ch.expires = c.now().Add(time.Duration(*ttl) * time.Second)
		}
	}
	e, _, err := c.commit(ch)
	return e, err
}

// Stats implements storage.Interface.
func (s *Storage) Stats(ctx context.Context) (storage.Stats, error) {
	c, key, err := s.prepare(ctx, s.kind.Prefix, true)
	if err != nil {
		return storage.Stats{}, err
	}
	entries, _, err := c.scan(s.kind, key, "", 0)
	if err != nil {
		return storage.Stats{}, err
	}
	st := storage.Stats{ObjectCount: int64(len(entries))}
	for _, e := range entries {
		st.EstimatedAverageObjectSizeBytes += int64(len(e.bytes))
	}
	if len(entries) > 0 {
		st.EstimatedAverageObjectSizeBytes /= int64(len(entries))
	}
	return st, nil
}

// ReadinessCheck implements storage.Interface: memory is always ready.
func (s *Storage) ReadinessCheck() error { return nil }

// RequestWatchProgress implements storage.Interface: the kind's watches that asked for progress get a bookmark.
func (s *Storage) RequestWatchProgress(ctx context.Context) error {
	c, err := ClusterFrom(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watchers[s.kind] {
		w.bookmarkDue.Store(true)
		w.signal()
	}
	return nil
}

// GetCurrentResourceVersion implements storage.Interface.
func (s *Storage) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	c, err := ClusterFrom(ctx)
	if err != nil {
		return 0, err
	}
	return uint64(c.Rev()), nil
}

// EnableResourceSizeEstimation implements storage.Interface: Stats knows the sizes anyway.
func (s *Storage) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface: there is no such number for all clusters, so none is told.
func (s *Storage) CompactRevision() int64 { return 0 }

// cause returns the context's cause with its actor filled in.
func (c *Cluster) cause(ctx context.Context) Cause {
	cause := CauseFrom(ctx)
	if cause.Actor == "" && c.opts.Actor != nil {
		cause.Actor = c.opts.Actor(ctx)
	}
	return cause
}
