package kernel

import (
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Sizes of pipes as Linux has them (pipe(7)).
const (
	PipeSize = 64 << 10
	PipeBuf  = 4096 // writes up to this size are atomic
)

var anonIno atomic.Uint64 // numbers in "pipe:[n]", as sockfs and pipefs give them

// pipe is a bounded byte queue with counted ends. The buffer is there only while there is something in it.
type pipe struct {
	ino    uint64     // immutable
	charge *memCharge // immutable; who pays for the buffer, may be nil

	mu       sync.Mutex
	buf      []byte // guarded by mu; ring
	start, n int    // guarded by mu
	readers  int    // guarded by mu
	writers  int    // guarded by mu
	hadWrite bool   // guarded by mu; a writer was there once: no writer now is the end
	rgen     uint64 // guarded by mu; openings for reading so far (FIFO)
	wgen     uint64 // guarded by mu; openings for writing so far (FIFO)
	watch    watchers
}

func newPipe(c *memCharge) *pipe { return &pipe{ino: anonIno.Add(1), charge: c} }

// NewPipe makes a pipe of 64 KiB: what is written to w is read from r. Host code uses the ends' Read and Write with a
// context; either end may be given to a process. Nobody is charged for its buffer.
func NewPipe() (r, w *FD) { return newPipe(nil).ends() }

func (p *pipe) ends() (r, w *FD) {
	p.readers, p.writers, p.hadWrite = 1, 1, true
	return NewFD(&pipeEnd{p: p, in: true}), NewFD(&pipeEnd{p: p, out: true})
}

// pipeEnd is one opening of a pipe; a FIFO may be opened for both.
type pipeEnd struct {
	p       *pipe
	in, out bool

	// FIFOs
	path string
	node *vfs.File
	fifo *fifo
	m    *Machine
}

func (e *pipeEnd) Read(b []byte) (int, error) {
	if !e.in {
		return 0, syscall.EBADF
	}
	return e.p.read(b)
}

func (e *pipeEnd) Write(b []byte) (int, error) {
	if !e.out {
		return 0, syscall.EBADF
	}
	return e.p.write(b)
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == 0 {
		if p.writers == 0 && p.hadWrite {
			return 0, io.EOF
		}
		if len(b) == 0 {
			return 0, nil
		}
		return 0, syscall.EAGAIN
	}
	full := PipeSize-p.n < PipeBuf
	n := 0
	for n < len(b) && p.n > 0 {
		c := copy(b[n:], p.buf[p.start:min(p.start+p.n, len(p.buf))])
		n += c
		p.n -= c
		p.start += c
		if p.start == len(p.buf) {
			p.start = 0
		}
	}
	if p.n == 0 {
		p.resizeLocked(0)
	}
	if full {
		p.watch.notifyLocked()
	}
	return n, nil
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers == 0 {
		return 0, syscall.EPIPE
	}
	if len(b) == 0 {
		return 0, nil
	}
	room := PipeSize - p.n
	if len(b) <= PipeBuf && room < len(b) || room == 0 {
		return 0, syscall.EAGAIN
	}
	if len(b) > room {
		b = b[:room]
	}
	if p.n+len(b) > len(p.buf) {
		if err := p.resizeLocked(p.n + len(b)); err != nil {
			return 0, err
		}
	}
	was := p.n
	for n := 0; n < len(b); {
		end := p.start + p.n
		if end >= len(p.buf) {
			end -= len(p.buf)
		}
		stop := len(p.buf)
		if end < p.start {
			stop = p.start
		}
		c := copy(p.buf[end:stop], b[n:])
		n += c
		p.n += c
	}
	if was == 0 {
		p.watch.notifyLocked()
	}
	return len(b), nil
}

var (
	smallBufs = sync.Pool{New: func() any { return new([PipeBuf]byte) }}
	largeBufs = sync.Pool{New: func() any { return new([PipeSize]byte) }}
)

// resizeLocked makes room for want bytes, in one of two sizes: 0 gives the buffer back, so that an idle pipe has none.
func (p *pipe) resizeLocked(want int) error {
	size := 0
	switch {
	case want > PipeBuf:
		size = PipeSize
	case want > 0:
		size = PipeBuf
	}
	old := p.buf
	if err := p.charge.add(int64(size - len(old))); err != nil {
		return err
	}
	switch size {
	case 0:
		p.buf = nil
	case PipeBuf:
		p.buf = smallBufs.Get().(*[PipeBuf]byte)[:]
	case PipeSize:
		p.buf = largeBufs.Get().(*[PipeSize]byte)[:]
	}
	if size > 0 {
		k := copy(p.buf, old[p.start:min(p.start+p.n, len(old))])
		if k < p.n {
			copy(p.buf[k:], old[:p.n-k])
		}
	}
	p.start = 0
	switch len(old) {
	case PipeBuf:
		smallBufs.Put((*[PipeBuf]byte)(old))
	case PipeSize:
		largeBufs.Put((*[PipeSize]byte)(old))
	}
	return nil
}

func (e *pipeEnd) Poll() Events {
	p := e.p
	p.mu.Lock()
	defer p.mu.Unlock()
	var ev Events
	if e.in {
		if p.n > 0 {
			ev |= EventIn
		}
		if p.writers == 0 && p.hadWrite {
			ev |= EventHup
		}
	}
	if e.out {
		if PipeSize-p.n >= PipeBuf {
			ev |= EventOut
		}
		if p.readers == 0 {
			ev |= EventErr
		}
	}
	return ev
}

func (e *pipeEnd) Watch(f func()) func() { return watchUnder(&e.p.mu, &e.p.watch, f) }

func (e *pipeEnd) Stat() vfs.Stat {
	if e.node != nil {
		return e.node.Stat()
	}
	return vfs.Stat{Dev: 12, Ino: e.p.ino, Mode: vfs.ModeFIFO | 0o600, Nlink: 1, Blksize: PipeBuf}
}

func (e *pipeEnd) Name() string {
	if e.node != nil {
		return e.path
	}
	return "pipe:[" + strconv.FormatUint(e.p.ino, 10) + "]"
}

func (e *pipeEnd) Kind() Kind { return KindPipe }

func (e *pipeEnd) Release() {
	p := e.p
	p.mu.Lock()
	if e.in {
		p.readers--
	}
	if e.out {
		p.writers--
	}
	if p.readers == 0 { // nobody will read what is left
		p.n = 0
		p.resizeLocked(0)
	}
	p.watch.notifyLocked()
	p.mu.Unlock()
	if e.node != nil {
		e.m.dropFIFO(e.node.Node(), e.fifo)
		e.node.Close()
	}
}

// Buffered is the number of bytes waiting (FIONREAD).
func (e *pipeEnd) Buffered() int {
	e.p.mu.Lock()
	defer e.p.mu.Unlock()
	return e.p.n
}
