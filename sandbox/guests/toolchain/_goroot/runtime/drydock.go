package runtime

// Signals and a fresh start from an image of memory, over the import module "drydock".

import (
	"internal/runtime/atomic"
	"unsafe"
)

// drydockSignalFD is the descriptor that polls readable while a caught signal is pending.
const drydockSignalFD = 0x7fffffff

// Linux signal numbers that the runtime itself treats.
const (
	drydockSIGHUP  = 1
	drydockSIGINT  = 2
	drydockSIGPIPE = 13
)

// Modes of the host's sigaction.
const (
	drydockSigDefault = iota
	drydockSigIgnore
	drydockSigCatch
)

//go:wasmimport drydock sigaction
func drydock_sigaction(sig, mode uint32) errno

//go:wasmimport drydock sigmode
func drydock_sigmode(sig uint32) uint32

//go:wasmimport drydock signext
func drydock_signext() uint32

//go:wasmimport drydock getpid
func drydock_getpid() int32

//go:wasmimport drydock kill
func drydock_kill(pid, sig int32) errno

func sigenable(sig uint32) { drydock_sigaction(sig, drydockSigCatch) }

func sigignore(sig uint32) { drydock_sigaction(sig, drydockSigIgnore) }

// sigdisable returns sig to its default action. A broken pipe stays caught: whether it ends the program depends on the descriptor.
func sigdisable(sig uint32) {
	if sig == drydockSIGPIPE {
		sigenable(sig)
		return
	}
	drydock_sigaction(sig, drydockSigDefault)
}

// drydockSigpipe ends the program the way SIGPIPE does; package os calls it for descriptors 1 and 2.
func drydockSigpipe() {
	drydock_sigaction(drydockSIGPIPE, drydockSigDefault)
	drydock_kill(drydock_getpid(), drydockSIGPIPE)
	// The kernel ends the program at the next call at the latest.
	exit(128 + drydockSIGPIPE)
}

var (
	drydockReceiver guintptr // the goroutine parked in signal_recv; touched by the scheduler alone
	drydockWoken    bool     // a signal was queued since it parked
)

// drydockSignalWait parks signal_recv. It counts as one who waits for the network poller, for the poller is what hears signals.
func drydockSignalWait() {
	netpollGenericInit()
	gopark(drydockSignalPark, nil, waitReasonIOWait, traceBlockGeneric, 1)
}

func drydockSignalPark(gp *g, _ unsafe.Pointer) bool {
	drydockReceiver.set(gp)
	netpollAdjustWaiters(1)
	return true
}

// drydockSignalWake is sigsend's call to the receiver. The poller pushes it to the run list.
//
//go:nosplit
func drydockSignalWake() { drydockWoken = true }

// drydockDrain moves the pending signals from the host to the queue of signal_recv.
func drydockDrain() {
	for sig := drydock_signext(); sig != 0; sig = drydock_signext() {
		sigsend(sig)
	}
}

// drydockRunReceiver adds the receiver to toRun if a signal woke it, and returns the change in the number of waiters.
func drydockRunReceiver(toRun *gList) int32 {
	if !drydockWoken || drydockReceiver == 0 {
		return 0
	}
	drydockWoken = false
	toRun.push(drydockReceiver.ptr())
	drydockReceiver = 0
	return -1
}

// drydockRefresh makes the runtime of a program that was copied from an image this process's own:
// arguments, environment, random state, and what the kernel knows of its signal handlers.
//
//go:linkname drydockRefresh syscall.drydockRuntimeRefresh
func drydockRefresh() {
	goenvs()
	var seed [32]byte
	if readRandom(seed[:]) != len(seed) {
		throw("drydock: no randomness")
	}
	lock(&globalRand.lock)
	globalRand.state.Init(seed)
	unlock(&globalRand.lock)
	mrandinit(getg().m)

	sigenable(drydockSIGPIPE)
	for _, s := range [...]uint32{drydockSIGHUP, drydockSIGINT} {
		if drydock_sigmode(s) == drydockSigIgnore {
			sigInitIgnored(s)
		}
	}
	for s := uint32(1); s < _NSIG; s++ {
		if atomic.Load(&sig.wanted[s/32])&(1<<(s&31)) != 0 {
			sigenable(s)
		}
	}
}
