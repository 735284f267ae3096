package wasm

import (
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

// Machine code runs on a stack that wazero keeps on Go's heap, beside the guest's linear memory, and doubles up to 84 MB. Nobody would be charged
// for it, so we look at its size whenever the fuel is spent: deep recursion burns fuel in proportion to its frames.
const (
	// freeStack is what costs nothing: every guest has it.
	freeStack = 64 << 10
	// maxStack ends a guest with a stack overflow, as RLIMIT_STACK does (8 MiB on Linux; frames of machine code are larger here).
	maxStack = 16 << 20
)

// stackOf finds the stack of the function that is about to be called. wazero does not export it, so it is read by its field's name, which a
// test holds against the pinned version; nil when it is not there.
func stackOf(f api.Function) *[]byte {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	s := v.Elem().FieldByName("stack")
	if !s.IsValid() || s.Type() != reflect.TypeFor[[]byte]() {
		return nil
	}
	return (*[]byte)(unsafe.Pointer(s.UnsafeAddr()))
}

// checkStack charges what the stack has grown and ends a guest whose stack is too deep.
func (i *Instance) checkStack() {
	if i.stack == nil {
		return
	}
	size := int64(len(*i.stack))
	if size > maxStack {
		Stop(&TrapError{Reason: "stack overflow", Text: "wasm error: stack overflow", Signal: sigSEGV})
	}
	if delta := size - freeStack - i.stackCharged; delta > 0 {
		if !i.guest.Grow(delta) {
			Stop(&TrapError{Reason: "stack overflow", Text: "wasm error: stack overflow: no memory for the stack", Signal: sigSEGV})
		}
		i.stackCharged += delta
	}
}
