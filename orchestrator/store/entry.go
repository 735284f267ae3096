package store

import (
	"fmt"
	"hash/crc64"
	"reflect"
	"strings"
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
	// Restamp, where not nil, puts the cluster's time into those of the kind's own fields that upstream sets from the wall clock.
	Restamp func(obj runtime.Object, now time.Time)
}

// Entry is one state of one object, immutable. It holds the stored bytes; the decoded forms are made at first use and shared.
type Entry struct {
	// Rev is the revision that made this state.
	Rev int64
	// Created is the revision that created the object.
	Created int64

	kind    *Kind
	key     string
	bytes   []byte    // nil in a derived state
	expires time.Time // zero: never
	derived bool      // made at read (heartbeats, a template's identity): never in the tree
	verify  bool

	internal atomic.Pointer[runtime.Object]
	external atomic.Pointer[runtime.Object]
	sum      atomic.Uint64 // of the decoded object, in verify mode
}

// Key is the storage key.
func (e *Entry) Key() string { return e.key }

// Bytes is the object in its storage version as protobuf, without resourceVersion. Not to be changed.
func (e *Entry) Bytes() []byte {
	if e.derived {
		data, err := e.kind.encode(e.Internal())
		if err != nil {
			panic(fmt.Sprintf("encode %s at revision %d: %v", e.key, e.Rev, err))
		}
		return data
	}
	return e.bytes
}

// Internal returns the object in upstream's internal version with its resourceVersion set. It is shared: never change it.
func (e *Entry) Internal() runtime.Object {
	if p := e.internal.Load(); p != nil {
		if e.verify {
			e.check(*p)
		}
		return *p
	}
	obj, err := e.decode()
	if err != nil {
		// The store itself encoded these bytes with the same codec: this is memory corruption or a bug, not input.
		panic(fmt.Sprintf("decode %s at revision %d: %v", e.key, e.Rev, err))
	}
	if e.verify {
		e.sum.CompareAndSwap(0, e.checksum(obj))
	}
	e.internal.Store(&obj)
	return obj
}

// External returns the object in its storage version, a k8s.io/api type such as *v1.Pod, with resourceVersion, kind and apiVersion set.
// It is shared: never change it.
func (e *Entry) External() runtime.Object {
	if p := e.external.Load(); p != nil {
		return *p
	}
	obj := e.kind.external(e.Internal())
	e.external.Store(&obj)
	return obj
}

// encode returns the stored form of an internal object, without its resourceVersion. The object is not changed.
func (k *Kind) encode(obj runtime.Object) ([]byte, error) {
	plain := shallowCopy(obj)
	if err := (storage.APIObjectVersioner{}).PrepareObjectForStorage(plain); err != nil {
		return nil, err
	}
	return runtime.Encode(k.Codec, plain)
}

// shallowCopy copies the top struct alone: enough to set metadata's own fields, not those behind pointers.
func shallowCopy(obj runtime.Object) runtime.Object {
	v := reflect.ValueOf(obj).Elem()
	c := reflect.New(v.Type())
	c.Elem().Set(v)
	return c.Interface().(runtime.Object)
}

// checksum is over the encoded form, because decoding adds defaults that the stored bytes may not have.
func (e *Entry) checksum(obj runtime.Object) uint64 {
	data, err := e.kind.encode(obj)
	if err != nil {
		panic(fmt.Sprintf("encode %s at revision %d: %v", e.key, e.Rev, err))
	}
	return max(1, crc64.Checksum(data, crcTable))
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// check panics when somebody changed a shared object.
func (e *Entry) check(obj runtime.Object) {
	if sum := e.sum.Load(); sum != 0 && e.checksum(obj) != sum {
		panic(fmt.Sprintf("the stored object %s at revision %d was changed in place", e.key, e.Rev))
	}
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

// release drops the decoded forms of a superseded entry; the log then holds its bytes alone. A derived state has nothing else.
func (e *Entry) release() {
	if e.derived {
		return
	}
	e.external.Store(nil)
	e.internal.Store(nil)
}

// Split returns the namespace and name of a key of this kind.
func (k *Kind) Split(key string) (ns, name string) {
	rest := strings.TrimPrefix(key, k.Prefix)
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

// within is the key prefix of the objects in a namespace; ns "" means all.
func (k *Kind) within(ns string) string {
	if ns != "" && k.Namespaced {
		return k.Prefix + ns + "/"
	}
	return k.Prefix
}
