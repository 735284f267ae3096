package store

import (
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
)

// Kind is what the store must know of one resource. Kinds are registered once, while the API server is assembled, and shared by all clusters.
type Kind struct {
	Resource schema.GroupResource
	// Prefix is the key prefix, "/group/resource/" with a slash at both ends.
	Prefix string
	// Namespaced kinds have keys PREFIX namespace "/" name, others PREFIX name.
	Namespaced bool
	// Codec encodes to the storage version as protobuf and decodes to the internal version.
	Codec runtime.Codec
	// ToExternal converts an internal object to its storage version. The result may share memory with its argument.
	ToExternal func(runtime.Object) (runtime.Object, error)
	// New returns an empty internal object.
	New func() runtime.Object
	// Derive, where not nil, returns a copy of a stored internal object as it looks at a beat (see Cluster.Beat).
	Derive func(stored runtime.Object, beat time.Time) runtime.Object
}

// Entry is one state of one object, immutable. It holds the stored bytes; the decoded forms are made at first use and shared.
type Entry struct {
	// Rev is the revision that made this state.
	Rev int64
	// Created is the revision that created the object.
	Created int64

	kind    *Kind
	key     string
	bytes   []byte
	sum     uint64    // of the decoded object, in verify mode
	expires time.Time // zero: never

	internal atomic.Pointer[runtime.Object]
	external atomic.Pointer[runtime.Object]
}

// Key is the storage key.
func (e *Entry) Key() string { return e.key }

// Bytes is the object in its storage version as protobuf, without resourceVersion. Not to be changed.
func (e *Entry) Bytes() []byte { return e.bytes }

// Internal returns the object in upstream's internal version with its resourceVersion set. It is shared: never change it.
func (e *Entry) Internal() runtime.Object {
	if p := e.internal.Load(); p != nil {
		return *p
	}
	obj, err := e.decode()
	if err != nil {
		// The store itself encoded these bytes with the same codec: this is memory corruption or a bug, not input.
		panic(fmt.Sprintf("decode %s at revision %d: %v", e.key, e.Rev, err))
	}
	e.internal.CompareAndSwap(nil, &obj)
	return *e.internal.Load()
}

// External returns the object in its storage version, a k8s.io/api type such as *v1.Pod, with resourceVersion, kind and apiVersion set.
// It is shared: never change it.
func (e *Entry) External() runtime.Object {
	if p := e.external.Load(); p != nil {
		return *p
	}
	obj := e.kind.external(e.Internal())
	e.external.CompareAndSwap(nil, &obj)
	return *e.external.Load()
}

func (k *Kind) external(internal runtime.Object) runtime.Object {
	obj, err := k.ToExternal(internal)
	if err != nil {
		panic(fmt.Sprintf("convert %s to its storage version: %v", k.Resource, err))
	}
	return obj
}

func (e *Entry) decode() (runtime.Object, error) {
	obj, _, err := e.kind.Codec.Decode(e.bytes, nil, e.kind.New())
	if err != nil {
		return nil, err
	}
	if err := (storage.APIObjectVersioner{}).UpdateObject(obj, uint64(e.Rev)); err != nil {
		return nil, err
	}
	return obj, nil
}

// release drops the decoded forms of a superseded entry; the log then holds its bytes alone.
func (e *Entry) release() {
	e.external.Store(nil)
	e.internal.Store(nil)
}

// split returns the namespace and name of a key of this kind.
func (k *Kind) split(key string) (ns, name string) {
	rest := key[len(k.Prefix):]
	if !k.Namespaced {
		return "", rest
	}
	for i := range len(rest) {
		if rest[i] == '/' {
			return rest[:i], rest[i+1:]
		}
	}
	return "", rest
}

// Key returns the storage key of an object of this kind.
func (k *Kind) Key(ns, name string) string {
	if k.Namespaced {
		return k.Prefix + ns + "/" + name
	}
	return k.Prefix + name
}

