package apiserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// managedMemo remembers what upstream's field manager answered. Which fields a write takes over depends on what has changed, hardly ever
// on the values: a thousand pods that begin to run differ in times and addresses, and get the same managedFields. The key is all that
// the answer depends on (who writes, what is managed so far, the shape of the difference); where that cannot be told with certainty,
// upstream is asked, as it is the first time.
type managedMemo struct {
	mu     sync.RWMutex
	young  map[string]*managedAnswer // protected by mu
	old    map[string]*managedAnswer // protected by mu; the generation before
	agreed atomic.Int64              // answers that upstream, where it was asked too, agreed with
}

// memoSize is how many answers a generation holds, memoKey how long a key may be.
const (
	memoSize = 256
	memoKey  = 8 << 10
)

// managedAnswer is the entries to write.
type managedAnswer struct {
	entries []metav1.ManagedFieldsEntry // without times; addresses are left open
	fresh   []bool                      // which of them get the present time; the others keep theirs
}

// manage does what the endpoint's field manager does for an update or, over an empty live object, for a create.
func (e *endpoint) manage(live, obj runtime.Object, manager string) runtime.Object {
	was, errLive := meta.Accessor(live)
	now, errNew := meta.Accessor(obj)
	if errLive != nil || errNew != nil {
		return e.scope.FieldManager.UpdateNoErrors(live, obj, manager)
	}
	d := differences.Get().(*difference)
	defer differences.Put(d)
	*d = difference{keys: e.listKeys, buf: d.buf[:0], opened: d.opened[:0]}
	if !e.describe(d, live, obj, was, now, manager) || len(d.buf) > memoKey {
		return e.scope.FieldManager.UpdateNoErrors(live, obj, manager)
	}
	before := was.GetManagedFields()
	if a := e.memo.find(d.buf); a != nil {
		entries := a.fill(d, before)
		if e.verify {
			e.memo.check(e.scope.FieldManager.UpdateNoErrors(live, obj.DeepCopyObject(), manager), entries, before)
		}
		now.SetManagedFields(entries)
		return obj
	}
	start := time.Now()
	obj = e.scope.FieldManager.UpdateNoErrors(live, obj, manager)
	if a := newAnswer(d, now.GetManagedFields(), before, start); a != nil {
		e.memo.keep(d.buf, a)
	}
	return obj
}

// describe writes the key; false means that upstream has to be asked.
func (e *endpoint) describe(d *difference, live, obj runtime.Object, was, now metav1.Object, manager string) bool {
	before, sent := was.GetManagedFields(), now.GetManagedFields()
	switch {
	case len(before) > 8: // upstream merges the oldest beyond ten
		return false
	case e.scope.Subresource == "" && len(before) == 0 && len(sent) > 0:
		return false
	case e.scope.Subresource == "" && len(sent) > 0 && !slices.EqualFunc(sent, before, sameManaged):
		return false // somebody edits them
	case was.GetUID() != "" && len(before) == 0:
		return false // not tracked
	}
	d.text(manager)
	for i := range before {
		m := &before[i]
		if m.APIVersion != e.scope.Kind.GroupVersion().String() || m.FieldsV1 == nil {
			return false
		}
		d.text(m.Manager)
		d.text(string(m.Operation))
		d.text(m.Subresource)
		if !d.managed(m.FieldsV1.Raw) {
			return false
		}
	}
	a, err := legacyscheme.Scheme.UnsafeConvertToVersion(live, e.scope.Kind.GroupVersion())
	if err != nil {
		return false
	}
	b, err := legacyscheme.Scheme.UnsafeConvertToVersion(obj, e.scope.Kind.GroupVersion())
	if err != nil {
		return false
	}
	d.pair(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), root)
	return !d.unsure
}

func sameManaged(a, b metav1.ManagedFieldsEntry) bool {
	if a.Time == nil || b.Time == nil || a.FieldsV1 == nil || b.FieldsV1 == nil {
		return false
	}
	return sameOwner(a, b) && a.Time.Unix() == b.Time.Unix() && bytes.Equal(a.FieldsV1.Raw, b.FieldsV1.Raw)
}

func sameOwner(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource
}

func (m *managedMemo) find(key []byte) *managedAnswer {
	m.mu.RLock()
	a, ok := m.young[string(key)]
	if !ok {
		a = m.old[string(key)]
	}
	m.mu.RUnlock()
	if a != nil && !ok {
		m.keep(key, a)
	}
	return a
}

func (m *managedMemo) keep(key []byte, a *managedAnswer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || len(m.young) >= memoSize {
		m.young, m.old = map[string]*managedAnswer{}, m.young
	}
	m.young[string(key)] = a
}

// check compares an answer with upstream's: a difference is a mistake in this file.
func (m *managedMemo) check(asked runtime.Object, entries, before []metav1.ManagedFieldsEntry) {
	acc, err := meta.Accessor(asked)
	if err != nil {
		return
	}
	want := acc.GetManagedFields()
	same := slices.EqualFunc(want, entries, func(a, b metav1.ManagedFieldsEntry) bool {
		return sameOwner(a, b) && bytes.Equal(a.FieldsV1.Raw, b.FieldsV1.Raw) && a.Time.Sub(b.Time.Time).Abs() < time.Minute
	})
	if !same {
		panic(fmt.Sprintf("managedFields differ from upstream's %v\nremembered %v\nbefore %v", want, entries, before))
	}
	m.agreed.Add(1)
}

// newAnswer takes an answer of upstream's for later; nil when it is not clear where its times come from.
func newAnswer(d *difference, entries, before []metav1.ManagedFieldsEntry, start time.Time) *managedAnswer {
	a := &managedAnswer{}
	for _, m := range entries {
		if m.Time == nil || m.FieldsV1 == nil || m.FieldsType != "FieldsV1" {
			return nil
		}
		i := slices.IndexFunc(before, func(o metav1.ManagedFieldsEntry) bool { return sameOwner(o, m) })
		kept := i >= 0 && before[i].Time != nil && before[i].Time.Equal(m.Time)
		if !kept && m.Time.Time.Before(start) {
			return nil
		}
		m.Time = nil
		raw, ok := d.open(m.FieldsV1.Raw)
		if !ok {
			return nil
		}
		m.FieldsV1 = &metav1.FieldsV1{Raw: raw}
		a.entries, a.fresh = append(a.entries, m), append(a.fresh, !kept)
	}
	return a
}

// fill makes the entries for one object, in upstream's order.
func (a *managedAnswer) fill(d *difference, before []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	out := slices.Clone(a.entries)
	var now *metav1.Time
	for i := range out {
		if a.fresh[i] {
			if now == nil {
				now = &metav1.Time{Time: time.Now().UTC()}
			}
			out[i].Time = now
		} else {
			out[i].Time = before[slices.IndexFunc(before, func(o metav1.ManagedFieldsEntry) bool { return sameOwner(o, out[i]) })].Time
		}
		out[i].FieldsV1 = &metav1.FieldsV1{Raw: d.closed(out[i].FieldsV1.Raw)}
	}
	slices.SortStableFunc(out, func(p, q metav1.ManagedFieldsEntry) int {
		for _, c := range []int{strings.Compare(string(p.Operation), string(q.Operation)), int(min(1, max(-1, p.Time.Unix()-q.Time.Unix()))), strings.Compare(p.Manager, q.Manager), strings.Compare(p.APIVersion, q.APIVersion)} {
			if c != 0 {
				return c
			}
		}
		return strings.Compare(p.Subresource, q.Subresource)
	})
	return out
}

// difference describes how two objects of a kind differ, as far as managedFields depend on it: which fields, map keys and list elements
// are on which side, and which leaves are equal. Values are part of it only where they are part of a path: the keys of list elements.
// Addresses that are such keys and alone in their list are left open, so that objects which differ in them have one description.
type difference struct {
	keys   map[string]bool // fields that key the elements of some list
	buf    []byte
	opened []string // the addresses left open, by first appearance
	unsure bool
}

var differences = sync.Pool{New: func() any { return &difference{buf: make([]byte, 0, 2048)} }}

// place is where in the object a value stands.
type place uint8

const (
	root place = iota
	inside
	element // anywhere in an element of a list
)

// What the description says of a value.
const (
	saysEqual byte = iota + 1
	saysBoth
	saysLeft
	saysRight
	saysNothing
	saysOpen
	saysEnd
)

func (d *difference) say(b byte) { d.buf = append(d.buf, b) }
func (d *difference) number(n int) {
	d.buf = binary.AppendVarint(d.buf, int64(n))
}
func (d *difference) text(s string) {
	d.number(len(s))
	d.buf = append(d.buf, s...)
}

// left leaves an address open.
func (d *difference) left(s string) {
	i := slices.Index(d.opened, s)
	if i < 0 {
		i = len(d.opened)
		d.opened = append(d.opened, s)
	}
	d.say(saysOpen)
	d.number(i)
}

// side tells on which sides a value is.
func (d *difference) side(a, b bool) (any bool) {
	switch {
	case a && b:
		d.say(saysBoth)
	case a:
		d.say(saysLeft)
	case b:
		d.say(saysRight)
	default:
		d.say(saysNothing)
	}
	return a || b
}

// pair describes one value; an invalid one is not there.
func (d *difference) pair(a, b reflect.Value, at place) {
	if d.unsure || !d.side(a.IsValid(), b.IsValid()) {
		return
	}
	v := a
	if !v.IsValid() {
		v = b
	}
	if a.IsValid() && b.IsValid() && equalValues(a, b) {
		d.buf[len(d.buf)-1] = saysEqual
		return
	}
	t := v.Type()
	if isMarshaler(t) {
		d.leaf(a, b)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		d.pair(deref(a), deref(b), at)
	case reflect.Struct:
		d.structs(a, b, t, at)
	case reflect.Map:
		d.maps(a, b, t, at)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			for _, l := range []reflect.Value{a, b} { // a leaf, and not equal
				d.buf = append(d.buf, boolByte(l.IsValid() && l.IsNil()))
			}
			return
		}
		d.lists(a, b, t)
	case reflect.Interface, reflect.Array, reflect.Func, reflect.Chan:
		d.unsure = true
	}
}

func deref(v reflect.Value) reflect.Value {
	if !v.IsValid() || v.IsNil() {
		return reflect.Value{}
	}
	return v.Elem()
}

func equalValues(a, b reflect.Value) bool {
	if a.Kind() == reflect.Struct && a.CanAddr() && b.CanAddr() {
		a, b = a.Addr(), b.Addr()
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// leaf describes values that marshal themselves, by what they marshal to.
func (d *difference) leaf(a, b reflect.Value) {
	var text [2][]byte
	for i, v := range []reflect.Value{a, b} {
		if !v.IsValid() {
			continue
		}
		var err error
		if text[i], err = json.Marshal(v.Interface()); err != nil || len(text[i]) > 0 && (text[i][0] == '{' || text[i][0] == '[') {
			d.unsure = true
			return
		}
		d.buf = append(d.buf, boolByte(string(text[i]) == "null"))
	}
	if a.IsValid() && b.IsValid() {
		d.buf = append(d.buf, boolByte(bytes.Equal(text[0], text[1])))
	}
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (d *difference) structs(a, b reflect.Value, t reflect.Type, at place) {
	inner := at
	if at == root {
		inner = inside
	}
	for i, f := range fieldsOf(t) {
		if at == root && f.name == "metadata" {
			d.metadata(field(a, f), field(b, f))
			continue
		}
		if f.typeMeta {
			continue
		}
		x, y := present(a, f), present(b, f)
		if !x.IsValid() && !y.IsValid() {
			continue
		}
		d.number(i)
		d.pair(x, y, inner)
	}
	d.say(saysEnd)
}

// stripped are the fields of an object's metadata that are never managed.
var stripped = map[string]bool{"name": true, "namespace": true, "creationTimestamp": true, "selfLink": true, "uid": true, "generation": true, "managedFields": true, "resourceVersion": true}

func (d *difference) metadata(a, b reflect.Value) {
	v := a
	if !v.IsValid() {
		v = b
	}
	for i, f := range fieldsOf(v.Type()) {
		if stripped[f.name] {
			continue
		}
		x, y := present(a, f), present(b, f)
		if x.IsValid() || y.IsValid() {
			d.number(i)
			d.pair(x, y, inside)
		}
	}
	d.say(saysEnd)
}

func (d *difference) maps(a, b reflect.Value, t reflect.Type, at place) {
	if t.Key().Kind() != reflect.String {
		d.unsure = true
		return
	}
	var names []string
	for _, m := range []reflect.Value{a, b} {
		if !m.IsValid() {
			continue
		}
		d.buf = append(d.buf, boolByte(m.IsNil()))
		for _, k := range m.MapKeys() {
			names = append(names, k.String())
		}
	}
	slices.Sort(names)
	get := func(m reflect.Value, k string) reflect.Value {
		if !m.IsValid() || m.IsNil() {
			return reflect.Value{}
		}
		return m.MapIndex(reflect.ValueOf(k).Convert(t.Key()))
	}
	for _, k := range slices.Compact(names) {
		d.text(k)
		d.pair(get(a, k), get(b, k), at)
	}
	d.say(saysEnd)
}

// lists describes lists that differ: the keys of all elements of both sides, then for each element on the right how it differs from the
// first one on the left with the same keys.
func (d *difference) lists(a, b reflect.Value, t reflect.Type) {
	alone := length(a) <= 1 && length(b) <= 1
	var left, right []string
	for side, l := range []reflect.Value{a, b} {
		if !l.IsValid() {
			continue
		}
		d.buf = append(d.buf, boolByte(l.IsNil()))
		d.number(l.Len())
		for i := range l.Len() {
			from := len(d.buf)
			d.elementKeys(l.Index(i), alone)
			if key := string(d.buf[from:]); side == 0 {
				left = append(left, key)
			} else {
				right = append(right, key)
			}
		}
	}
	if isScalar(t.Elem()) {
		return // their values are their keys
	}
	for i, key := range right {
		j := slices.Index(left, key)
		d.number(j)
		if j < 0 {
			d.pair(reflect.Value{}, b.Index(i), element)
			continue
		}
		left[j] = "\x00" // taken; no key is a lone zero
		d.pair(a.Index(j), b.Index(i), element)
	}
	for i, key := range left {
		if key != "\x00" {
			d.pair(a.Index(i), reflect.Value{}, element)
		}
	}
}

func length(v reflect.Value) int {
	if !v.IsValid() {
		return 0
	}
	return v.Len()
}

func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface, reflect.Array:
		return false
	}
	return true
}

// elementKeys writes the values that may key an element. All fields count that key the elements of any list at all.
func (d *difference) elementKeys(v reflect.Value, alone bool) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if isScalar(v.Type()) {
		d.text(fmt.Sprint(v.Interface()))
		return
	}
	if v.Kind() != reflect.Struct {
		d.unsure = true
		return
	}
	if isMarshaler(v.Type()) {
		d.unsure = true
		return
	}
	for i, f := range fieldsOf(v.Type()) {
		if !d.keys[f.name] {
			continue
		}
		x := present(v, f)
		for x.IsValid() && x.Kind() == reflect.Pointer {
			x = deref(x)
		}
		if !x.IsValid() {
			continue
		}
		d.number(i)
		if f.name == "ip" && alone && x.Kind() == reflect.String {
			d.left(x.String())
			continue
		}
		text, err := json.Marshal(x.Interface())
		if err != nil {
			d.unsure = true
			return
		}
		d.text(string(text))
	}
	d.say(saysEnd)
}

// structField is what JSON makes of a field of a struct.
type structField struct {
	index     []int
	name      string
	omitEmpty bool
	omitZero  bool
	typeMeta  bool
}

var fieldCache sync.Map // reflect.Type to []structField

// fieldsOf lists a struct's fields as JSON has them, those of embedded structs in their place.
func fieldsOf(t reflect.Type) []structField {
	if f, ok := fieldCache.Load(t); ok {
		return f.([]structField)
	}
	var out []structField
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct {
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				in.typeMeta = in.typeMeta || f.Type == reflect.TypeFor[metav1.TypeMeta]()
				out = append(out, in)
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		out = append(out, structField{index: []int{i}, name: name, omitEmpty: strings.Contains(opts, "omitempty"), omitZero: strings.Contains(opts, "omitzero")})
	}
	fieldCache.Store(t, out)
	return out
}

func field(v reflect.Value, f structField) reflect.Value {
	if !v.IsValid() {
		return v
	}
	return v.FieldByIndex(f.index)
}

// present is the field's value, invalid where JSON leaves it out.
func present(v reflect.Value, f structField) reflect.Value {
	v = field(v, f)
	if !v.IsValid() || f.omitZero && v.IsZero() {
		return reflect.Value{}
	}
	if f.omitEmpty {
		switch v.Kind() {
		case reflect.Map, reflect.Slice, reflect.String:
			if v.Len() == 0 {
				return reflect.Value{}
			}
		case reflect.Struct:
		default:
			if v.IsZero() {
				return reflect.Value{}
			}
		}
	}
	return v
}

var marshalers sync.Map // reflect.Type to bool

// isMarshaler tells whether values of a type marshal themselves.
func isMarshaler(t reflect.Type) bool {
	if m, ok := marshalers.Load(t); ok {
		return m.(bool)
	}
	marshaler := reflect.TypeFor[json.Marshaler]()
	is := t.Kind() != reflect.Pointer && (t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler))
	marshalers.Store(t, is)
	return is
}

// addressKey is how an address keys a list element in an entry's JSON.
var addressKey = []byte(`k:{\"ip\":\"`)

// eachAddress calls f with the parts of raw between address keys and with the addresses; false where two of them may be in one list, the
// order of which their values decide.
func eachAddress(raw []byte, f func(text []byte, address string)) bool {
	for {
		i := bytes.Index(raw, addressKey)
		if i < 0 {
			f(raw, "")
			return true
		}
		start := i + len(addressKey)
		n := bytes.IndexByte(raw[start:], '\\')
		before := raw[:max(0, i-1)] // without the quote
		if n <= 0 || !bytes.HasSuffix(before, []byte(`{`)) && !bytes.HasSuffix(before, []byte(`{".":{},`)) {
			return false
		}
		f(raw[:start], string(raw[start:start+n]))
		raw = raw[start+n:]
	}
}

// managed writes an entry's fields with their addresses left open.
func (d *difference) managed(raw []byte) bool {
	return eachAddress(raw, func(text []byte, address string) {
		d.number(len(text))
		d.buf = append(d.buf, text...)
		if address != "" {
			d.left(address)
		}
	})
}

// open replaces the addresses in an entry's fields by their numbers; false when one is not among those left open.
func (d *difference) open(raw []byte) (out []byte, ok bool) {
	ok = true
	clean := eachAddress(raw, func(text []byte, address string) {
		out = append(out, text...)
		if address == "" {
			return
		}
		i := slices.Index(d.opened, address)
		ok = ok && i >= 0
		out = append(out, saysOpen, byte(i))
	})
	return out, ok && clean && len(d.opened) < 256
}

// closed puts the addresses of this object in the place of the numbers.
func (d *difference) closed(raw []byte) []byte {
	if bytes.IndexByte(raw, saysOpen) < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw)+32)
	for i := 0; i < len(raw); i++ {
		if raw[i] == saysOpen {
			i++
			out = append(out, d.opened[raw[i]]...)
			continue
		}
		out = append(out, raw[i])
	}
	return out
}
