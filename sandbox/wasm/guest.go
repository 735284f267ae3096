package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
)

// Guest is what a running module needs from whoever runs it.
type Guest interface {
	// Refill is called on the guest's goroutine when its fuel is spent. used is what it burnt since the last call; the answer is the next slice,
	// after waiting for admission. A non-nil error ends the guest with it.
	Refill(used int64) (next int64, err error)
	// Grow asks to charge delta more bytes of private linear memory; negative when they are released. false makes memory.grow answer −1. A
	// Guest that was killed over it is ended at its next instructions.
	Grow(delta int64) bool
}

const (
	// MinSlice is the least a guest gets at a time: no single stretch of code costs more, so that every slice gets it on.
	MinSlice = 2_000
	// MaxSlice bounds a slice of fuel: about half a millisecond of a tight loop.
	MaxSlice = 250_000
	// FuelPerSecond is what one CPU burns in a second of Go programs at their usual work (the shell, ls, kubectl): one CPU second of the lab's
	// clock is this much fuel. A tight loop burns 550 million.
	FuelPerSecond = 350_000_000

	// Fuel is no time: code that misses the cache at each step takes a hundred times longer for a unit. So a guest begins with short slices, which
	// grow while they are quick and shrink when one took longer than slow.
	firstSlice = MinSlice
	quick      = 500 * time.Microsecond
	slow       = 2 * time.Millisecond
)

// ExitError is a guest that called proc_exit.
type ExitError struct{ Code uint32 }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// Exit ends the calling guest from within a host function.
func Exit(code uint32) { panic(sys.NewExitError(code)) }

// Stop ends the calling guest from within a host function; Run returns err.
func Stop(err error) { panic(&stopError{err}) }

type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// TrapError is a guest that did what the machine forbids. Signal is the Linux signal number that the same fault has there.
type TrapError struct {
	Reason string // "unreachable", "out of bounds memory access", …
	Text   string // the reason and where
	Signal int
}

func (e *TrapError) Error() string { return e.Text }

// Linux signal numbers.
const (
	sigILL  = 4
	sigBUS  = 7
	sigFPE  = 8
	sigSEGV = 11
)

// trapSignals maps wazero's reasons to the signals a Linux program would die of.
var trapSignals = []struct {
	reason string
	signal int
}{
	{"stack overflow", sigSEGV}, {"out of bounds memory access", sigSEGV}, {"invalid table access", sigSEGV},
	{"integer divide by zero", sigFPE}, {"integer overflow", sigFPE}, {"invalid conversion to integer", sigFPE},
	{"indirect call type mismatch", sigILL}, {"unreachable", sigILL}, {"unaligned atomic", sigBUS},
}

// ended turns what a call returned into Run's error.
func ended(err error) error {
	if err == nil {
		return nil
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return &ExitError{exit.ExitCode()}
	}
	var stop *stopError
	if errors.As(err, &stop) {
		return stop.err
	}
	text, _, _ := strings.Cut(err.Error(), "\nGo runtime stack trace")
	for _, t := range trapSignals {
		if strings.HasPrefix(strings.TrimPrefix(text, "wasm error: "), t.reason) {
			return &TrapError{Reason: t.reason, Text: text, Signal: t.signal}
		}
	}
	return fmt.Errorf("host call failed: %w", err)
}

// Instance is one run of a Program; host functions find it by FromContext.
type Instance struct {
	program *Program
	guest   Guest
	fuel    api.MutableGlobal
	slice   int64
	pace    int64     // the longest slice it may have now
	since   time.Time // when the slice began
	waited  bool      // the guest settled in this slice: it was about to wait
	image   int64     // bytes of the image it began with
	grown   int64     // bytes of memory, image included
	memory  memory
	private atomic.Int64

	stack        *[]byte // of the call under way
	stackCharged int64
}

type instanceKey struct{}

// FromContext is the Instance that a host function runs for, nil outside.
func FromContext(ctx context.Context) *Instance {
	i, _ := ctx.Value(instanceKey{}).(*Instance)
	return i
}

// ImageBytes is the size of the image that the instance began with.
func (i *Instance) ImageBytes() int64 { return i.image }

// GrownBytes is the linear memory beyond the image. Safe from any goroutine.
func (i *Instance) GrownBytes() int64 { return i.private.Load() }

// Settle reports the fuel burnt since the last call to Refill or Settle and counts it as told: host calls that are about to block use it to
// account exactly. It must run on the guest's goroutine.
func (i *Instance) Settle() (used int64) {
	left := int64(i.fuel.Get())
	used = i.slice - left
	i.slice, i.waited = left, true
	return used
}

func refill(ctx context.Context, _ api.Module, _ []uint64) {
	i := FromContext(ctx)
	i.setPace(time.Since(i.since))
	used := i.Settle()
	i.checkStack()
	next, err := i.guest.Refill(used)
	if err != nil {
		Stop(err)
	}
	i.slice = min(max(next, MinSlice), i.pace)
	i.fuel.Set(uint64(i.slice))
	i.since, i.waited = time.Now(), false
}

// setPace bounds the next slice by how long the last one took, if the guest did not wait for something in it.
func (i *Instance) setPace(took time.Duration) {
	switch {
	case i.pace == 0:
		i.pace = firstSlice
	case i.waited:
	case took > slow:
		i.pace = MinSlice
	case took < quick:
		i.pace = min(i.pace*2, MaxSlice)
	}
}

// grow charges the memory's new size; it runs inside memory.grow.
func (i *Instance) grow(size int64) bool {
	delta := size - i.grown
	if delta <= 0 {
		return true
	}
	if !i.guest.Grow(delta) {
		return false
	}
	i.grown = size
	i.private.Store(i.grown - i.image)
	i.hurry()
	return true
}

// hurry makes the next check call Refill: the guest may have been killed meanwhile. What was burnt stays owed.
func (i *Instance) hurry() {
	if i.fuel == nil {
		return
	}
	used := i.slice - int64(i.fuel.Get())
	i.slice = used - 1
	i.fuel.Set(^uint64(0)) // −1
}
