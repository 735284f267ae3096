package kernel

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Events are conditions of a description, as poll(2) reports them.
type Events uint8

// The events. Hup and Err are reported whether asked for or not.
const (
	EventIn  Events = 1 << iota // a read will not block
	EventOut                    // a write will not block
	EventHup                    // the other end is gone
	EventErr
)

// Kind is what a description is; its values order nothing.
type Kind uint8

// The kinds.
const (
	KindFile Kind = iota // regular file
	KindDir
	KindChar // terminal or other character device
	KindPipe
	KindStream // connected or listening stream socket
	KindDgram
	KindOther // pidfd and the like
)

// Description is an open file description: what descriptors refer to. Read and Write never block: EAGAIN says that they
// would. A Read at the end answers io.EOF. Poll and Watch let others wait.
type Description interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Poll() Events
	// Watch calls f at each change of readiness until cancel is called. f may be called with locks held: it must only wake somebody.
	// A description that is always ready never calls and returns a no-op.
	Watch(f func()) (cancel func())
	Stat() vfs.Stat
	// Name is what /proc/PID/fd shows: a path, "pipe:[7]", "socket:[8]".
	Name() string
	Kind() Kind
	// Release is called once, when the last reference is closed.
	Release()
}

// FD is a counted reference to a Description, shared by descriptors of any number of processes and by host code.
type FD struct {
	d    Description
	refs atomic.Int32
}

// NewFD wraps a description with one reference.
func NewFD(d Description) *FD {
	f := &FD{d: d}
	f.refs.Store(1)
	return f
}

// Dup adds a reference.
func (f *FD) Dup() *FD {
	f.refs.Add(1)
	return f
}

// Close drops a reference. EBADF when there was none.
func (f *FD) Close() error {
	switch n := f.refs.Add(-1); {
	case n > 0:
		return nil
	case n < 0:
		f.refs.Add(1)
		return syscall.EBADF
	}
	f.d.Release()
	return nil
}

// Description is what it refers to.
func (f *FD) Description() Description { return f.d }

// File is the open file behind it, nil for anything that vfs does not know.
func (f *FD) File() *vfs.File {
	if v, ok := f.d.(*vfsFile); ok {
		return v.File
	}
	return nil
}

// TTY is the terminal behind it (a slave end), nil otherwise.
func (f *FD) TTY() *TTY {
	if s, ok := f.d.(*ttySlave); ok {
		return s.t
	}
	return nil
}

// Read reads for host code: it blocks until there is something, the end (io.EOF) or ctx is done.
func (f *FD) Read(ctx context.Context, p []byte) (int, error) {
	for {
		n, err := f.d.Read(p)
		if err != syscall.EAGAIN {
			return n, err
		}
		if err := awaitHost(ctx, f.d, EventIn); err != nil {
			return 0, err
		}
	}
}

// Write writes all of p for host code: it blocks until that is done, the reader is gone (EPIPE) or ctx is done.
func (f *FD) Write(ctx context.Context, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := f.d.Write(p[done:])
		done += n
		if err == syscall.EAGAIN {
			err = awaitHost(ctx, f.d, EventOut)
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// awaitHost waits until d shows one of want, or an end.
func awaitHost(ctx context.Context, d Description, want Events) error {
	wake := make(chan struct{}, 1)
	cancel := d.Watch(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer cancel()
	for d.Poll()&(want|EventHup|EventErr) == 0 {
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// Reader is f as an io.Reader that stops with ctx.
func (f *FD) Reader(ctx context.Context) io.Reader { return &hostReader{ctx, f} }

// Writer is f as an io.Writer that stops with ctx.
func (f *FD) Writer(ctx context.Context) io.Writer { return &hostWriter{ctx, f} }

type hostReader struct {
	ctx context.Context
	f   *FD
}

func (r *hostReader) Read(p []byte) (int, error) { return r.f.Read(r.ctx, p) }

type hostWriter struct {
	ctx context.Context
	f   *FD
}

func (w *hostWriter) Write(p []byte) (int, error) { return w.f.Write(w.ctx, p) }

// watchers is a set of functions to be called at changes. Its owner's lock guards it.
type watchers struct{ list []*watch }

type watch struct{ f func() }

func (w *watchers) addLocked(f func()) *watch {
	x := &watch{f}
	w.list = append(w.list, x)
	return x
}

func (w *watchers) removeLocked(x *watch) {
	for i, y := range w.list {
		if x == y {
			last := len(w.list) - 1
			w.list[i] = w.list[last]
			w.list[last] = nil
			w.list = w.list[:last]
			return
		}
	}
}

func (w *watchers) notifyLocked() {
	for _, x := range w.list {
		x.f()
	}
}

// watchLocked adds f to w under mu and gives the cancel of it.
func watchUnder(mu sync.Locker, w *watchers, f func()) func() {
	mu.Lock()
	x := w.addLocked(f)
	mu.Unlock()
	return func() {
		mu.Lock()
		w.removeLocked(x)
		mu.Unlock()
	}
}

// slot is one descriptor of a process.
type slot struct {
	fd       *FD
	nonblock bool // FDFLAGS_NONBLOCK: of the descriptor, not of the description
	keep     bool // survives exec: standard streams and what dup made
}

// fdTable is the descriptors of a process. Its owner's goroutine alone changes it, others look (procfs): mu.
type fdTable struct {
	mu    sync.Mutex
	slots []slot // guarded by mu
	open  int    // guarded by mu
	next  int    // guarded by mu; no free slot below it from 4 on
}

const (
	rootFD  = 3 // the preopened root
	firstFD = 4 // the first that a guest's open gives
)

// get is EBADF for what is not open.
func (t *fdTable) get(n int) (slot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < 0 || n >= len(t.slots) || t.slots[n].fd == nil {
		return slot{}, syscall.EBADF
	}
	return t.slots[n], nil
}

// install puts s at the lowest free descriptor from least on. EMFILE at limit.
func (t *fdTable) install(s slot, least, limit int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := max(least, firstFD)
	if least < firstFD {
		for i := max(least, 0); i < rootFD; i++ {
			if least > 0 && i < len(t.slots) && t.slots[i].fd == nil {
				n = i
				break
			}
		}
	}
	if n >= firstFD && n < t.next {
		n = t.next
	}
	for n < len(t.slots) && t.slots[n].fd != nil {
		n++
	}
	if n >= limit {
		return -1, syscall.EMFILE
	}
	if least <= firstFD && n >= firstFD {
		t.next = n + 1
	}
	t.setLocked(n, s)
	return n, nil
}

func (t *fdTable) setLocked(n int, s slot) {
	for n >= len(t.slots) {
		t.slots = append(t.slots, slot{})
	}
	t.slots[n] = s
	t.open++
}

// take removes a descriptor and gives what it held to the caller, who closes it.
func (t *fdTable) take(n int) (*FD, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < 0 || n >= len(t.slots) || t.slots[n].fd == nil {
		return nil, syscall.EBADF
	}
	fd := t.slots[n].fd
	t.slots[n] = slot{}
	t.open--
	if n >= firstFD && n < t.next {
		t.next = n
	}
	for len(t.slots) > 0 && t.slots[len(t.slots)-1].fd == nil {
		t.slots = t.slots[:len(t.slots)-1]
	}
	return fd, nil
}

// takeAll empties the table, or (exec) takes what does not survive.
func (t *fdTable) takeAll(exec bool) []*FD {
	t.mu.Lock()
	defer t.mu.Unlock()
	var l []*FD
	for i, s := range t.slots {
		if s.fd == nil || exec && (i <= rootFD || s.keep) {
			continue
		}
		l = append(l, s.fd)
		t.slots[i] = slot{}
		t.open--
	}
	t.next = firstFD
	if !exec {
		t.slots = nil
	}
	return l
}

// renumber is dup2 without the duplicate: to becomes what from was, from is closed. The replaced one is returned for closing.
func (t *fdTable) renumber(from, to int) (*FD, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from < 0 || to < 0 || from >= len(t.slots) || to >= len(t.slots) || t.slots[from].fd == nil || t.slots[to].fd == nil {
		return nil, syscall.EBADF
	}
	if from == to {
		return nil, nil
	}
	old := t.slots[to].fd
	t.slots[to] = t.slots[from]
	t.slots[to].keep = true
	t.slots[from] = slot{}
	t.open--
	if from >= firstFD && from < t.next {
		t.next = from
	}
	return old, nil
}

func (t *fdTable) setNonblock(n int, on bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n < 0 || n >= len(t.slots) || t.slots[n].fd == nil {
		return syscall.EBADF
	}
	t.slots[n].nonblock = on
	return nil
}

// list is the open descriptors in order.
func (t *fdTable) list() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := make([]int, 0, t.open)
	for i, s := range t.slots {
		if s.fd != nil {
			l = append(l, i)
		}
	}
	return l
}
