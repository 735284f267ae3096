package kernel

import (
	"context"
	"io"
	"sync"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

func nothing() {}

// vfsFile is a regular file or directory: always ready.
type vfsFile struct{ *vfs.File }

func (f *vfsFile) Poll() Events        { return EventIn | EventOut }
func (f *vfsFile) Watch(func()) func() { return nothing }
func (f *vfsFile) Name() string        { return f.File.Path() }
func (f *vfsFile) Release()            { f.File.Close() }

func (f *vfsFile) Kind() Kind {
	if f.File.IsDir() {
		return KindDir
	}
	return KindFile
}

// NewFileFD is a descriptor of an open file. It takes the file over. Devices and FIFOs need Machine.OpenFD.
func NewFileFD(f *vfs.File) *FD { return NewFD(&vfsFile{File: f}) }

// sink is a description that host code takes writes from.
type sink struct {
	name  string
	write func(p []byte) (int, error)
	close func()
}

// NewSink is a descriptor for writing only: write gets what is written on the guest's own goroutine, so it must not block; it may answer
// a short count with an errno. close (may be nil) is called when the last reference is gone.
func NewSink(name string, write func(p []byte) (int, error), close func()) *FD {
	return NewFD(&sink{name, write, close})
}

func (s *sink) Read([]byte) (int, error)    { return 0, syscall.EBADF }
func (s *sink) Write(p []byte) (int, error) { return s.write(p) }
func (s *sink) Poll() Events                { return EventOut }
func (s *sink) Watch(func()) func()         { return nothing }
func (s *sink) Name() string                { return s.name }
func (s *sink) Kind() Kind                  { return KindPipe }
func (s *sink) Stat() vfs.Stat {
	return vfs.Stat{Dev: 12, Ino: 1, Mode: vfs.ModeFIFO | 0o200, Nlink: 1, Blksize: PipeBuf}
}
func (s *sink) Release() {
	if s.close != nil {
		s.close()
	}
}

// NewInput is a descriptor that reads what r gives: a pipe filled by a goroutine, which ends at r's end, when all readers are gone or
// when ctx is done (an r that blocks must then be closed by its owner). wait waits for it.
func NewInput(ctx context.Context, r io.Reader) (in *FD, wait func()) {
	in, w := NewPipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer w.Close()
		io.Copy(w.Writer(ctx), r) // the reader's end of it shows as end of file, the writer's as EPIPE: nobody else to tell
	})
	return in, wg.Wait
}

// NewOutput is a descriptor whose bytes go to w: a pipe emptied by a goroutine, which ends when all writers are gone, w fails or ctx
// is done. wait waits for that: close the FD and what it was duplicated to first.
func NewOutput(ctx context.Context, w io.Writer) (out *FD, wait func() error) {
	r, out := NewPipe()
	var wg sync.WaitGroup
	var err error
	wg.Go(func() {
		defer r.Close()
		_, err = io.Copy(w, r.Reader(ctx))
	})
	return out, func() error { wg.Wait(); return err }
}

// device is a character device that is always ready.
type device struct {
	name         string
	major, minor uint32
	read         func(p []byte) (int, error)
	write        func(p []byte) (int, error)
	file         *vfs.File // the node, for its Stat; may be nil
}

func (d *device) Read(p []byte) (int, error)  { return d.read(p) }
func (d *device) Write(p []byte) (int, error) { return d.write(p) }
func (d *device) Poll() Events                { return EventIn | EventOut }
func (d *device) Watch(func()) func()         { return nothing }
func (d *device) Kind() Kind                  { return KindChar }

func (d *device) Name() string {
	if d.file != nil {
		return d.file.Path()
	}
	return d.name
}

func (d *device) Stat() vfs.Stat {
	if d.file != nil {
		return d.file.Stat()
	}
	return vfs.Stat{Dev: 5, Ino: uint64(d.minor) + 1, Mode: vfs.ModeChar | 0o666, Nlink: 1, Rdev: vfs.MakeDev(d.major, d.minor), Blksize: vfs.BlockSize}
}

func (d *device) Release() {
	if d.file != nil {
		d.file.Close()
	}
}

func readEnd([]byte) (int, error)     { return 0, io.EOF }
func swallow(p []byte) (int, error)   { return len(p), nil }
func noSpace(p []byte) (int, error)   { return 0, syscall.ENOSPC }
func readZeros(p []byte) (int, error) { clear(p); return len(p), nil }
func readRandom(r io.Reader) func([]byte) (int, error) {
	return func(p []byte) (int, error) { return io.ReadFull(r, p) }
}

// NullFD is /dev/null.
func NullFD() *FD {
	return NewFD(&device{name: "/dev/null", major: 1, minor: 3, read: readEnd, write: swallow})
}

// openDevice is the description behind a device node: the memory devices of major 1, terminals of 5 and 136. ENXIO for others.
func (p *Process) openDevice(f *vfs.File, major, minor uint32) (Description, error) {
	d := &device{major: major, minor: minor, file: f}
	switch major {
	case 1:
		switch minor {
		case 3:
			d.read, d.write = readEnd, swallow
			return d, nil
		case 5:
			d.read, d.write = readZeros, swallow
			return d, nil
		case 7:
			d.read, d.write = readZeros, noSpace
			return d, nil
		case 8, 9:
			d.read, d.write = readRandom(p.m.rand), swallow
			return d, nil
		}
	case 5:
		switch minor {
		case 0, 1: // tty, and console: the terminal the process has
			p.m.mu.Lock()
			t := p.session.tty
			p.m.mu.Unlock()
			if t != nil {
				return p.m.openSlave(t, f)
			}
			if minor == 1 {
				d.read, d.write = readEnd, p.m.consoleWrite
				return d, nil
			}
		case 2:
			t, err := p.newPTY(24, 80)
			if err != nil {
				return nil, err
			}
			f.Close()
			return &ttyMaster{t}, nil
		}
	case ptsMajor:
		p.m.mu.Lock()
		t := p.m.ptys[int(minor)]
		seen := t != nil && t.visibleLocked(p)
		p.m.mu.Unlock()
		if seen {
			return p.m.openSlave(t, f)
		}
		return nil, syscall.EIO
	}
	return nil, syscall.ENXIO
}

func (m *Machine) openSlave(t *TTY, f *vfs.File) (Description, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return nil, syscall.EIO
	}
	f.Close()
	t.slaves++
	t.used = true
	return &ttySlave{t}, nil
}

// consoleWrite takes what is written to a machine's console, line by line as it comes.
func (m *Machine) consoleWrite(p []byte) (int, error) {
	m.Log(6, string(p[:min(len(p), logLine)]))
	return len(p), nil
}

// OpenFile opens for p with Linux' flags (vfs.O_…) and gives a descriptor. at is a descriptor of a directory, or −1 for the working directory.
func (p *Process) OpenFile(at int, name string, flags int, mode uint32) (int, error) {
	fd, err := p.openFD(at, name, flags, mode)
	if err != nil {
		return -1, err
	}
	n, err := p.install(slot{fd: fd, nonblock: flags&vfs.O_NONBLOCK != 0}, firstFD)
	if err != nil {
		fd.Close()
	}
	return n, err
}

func (p *Process) openFD(at int, name string, flags int, mode uint32) (*FD, error) {
	dir, err := p.Dir(at)
	if err != nil {
		return nil, err
	}
	f, err := p.View().Open(dir, name, flags, mode)
	if err != nil {
		return nil, err
	}
	if fd, ok := f.Special().(*FD); ok { // /proc/PID/fd/N
		f.Close()
		return p.reopen(fd, flags)
	}
	kind, major, minor, special := f.Device()
	if !special || flags&vfs.O_PATH != 0 {
		return NewFD(&vfsFile{File: f}), nil
	}
	var d Description
	switch kind {
	case vfs.ModeFIFO:
		d, err = p.openFIFO(f, flags)
	case vfs.ModeChar:
		d, err = p.openDevice(f, major, minor)
	default:
		err = syscall.ENXIO
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if s, ok := d.(*ttySlave); ok && flags&vfs.O_NOCTTY == 0 {
		p.m.mu.Lock()
		if p.session.leader == p && p.session.tty == nil && s.t.session == nil {
			p.takeTTYLocked(s.t)
		}
		p.m.mu.Unlock()
	}
	return NewFD(d), nil
}

// reopen is what opening /proc/PID/fd/N does for things without a path: a pipe gives a new end, a terminal a new slave end, others ENXIO.
func (p *Process) reopen(fd *FD, flags int) (*FD, error) {
	switch d := fd.d.(type) {
	case *pipeEnd:
		acc := flags & vfs.O_ACCMODE
		e := &pipeEnd{p: d.p, in: acc != vfs.O_WRONLY, out: acc != vfs.O_RDONLY}
		d.p.mu.Lock()
		defer d.p.mu.Unlock()
		if e.in {
			d.p.readers++
		}
		if e.out {
			d.p.writers++
		}
		return NewFD(e), nil
	case *ttySlave:
		return d.t.FD(), nil
	case *sink:
		return fd.Dup(), nil
	case *device:
		return NewFD(&device{name: d.name, major: d.major, minor: d.minor, read: d.read, write: d.write}), nil
	}
	return nil, syscall.ENXIO
}

// Dir is the open directory of a descriptor, nil (the working directory) for −1. EBADF, ENOTDIR.
func (p *Process) Dir(at int) (*vfs.File, error) {
	if at < 0 {
		return nil, nil
	}
	s, err := p.fds.get(at)
	if err != nil {
		return nil, err
	}
	if f := s.fd.File(); f != nil {
		return f, nil
	}
	return nil, syscall.ENOTDIR
}

// fifo is the pipe behind a FIFO's inode while somebody has it open.
type fifo struct {
	*pipe
	opens int // guarded by Machine.mu
}

// openFIFO is fifo(7): a reader waits for a writer and the other way round; with O_NONBLOCK a reader doesn't wait and a writer without
// readers gets ENXIO. f is taken over on success.
func (p *Process) openFIFO(f *vfs.File, flags int) (Description, error) {
	m := p.m
	m.mu.Lock()
	ff := m.fifos[f.Node()]
	if ff == nil {
		ff = &fifo{pipe: newPipe(&memCharge{p.cgroup})}
		m.fifos[f.Node()] = ff
	}
	ff.opens++
	m.mu.Unlock()
	acc := flags & vfs.O_ACCMODE
	e := &pipeEnd{p: ff.pipe, in: acc != vfs.O_WRONLY, out: acc != vfs.O_RDONLY, path: f.Path(), node: f, fifo: ff, m: m}
	pp := ff.pipe
	pp.mu.Lock()
	if e.out && !e.in && flags&vfs.O_NONBLOCK != 0 && pp.readers == 0 {
		pp.mu.Unlock()
		m.dropFIFO(f.Node(), ff)
		return nil, syscall.ENXIO
	}
	if e.in {
		pp.readers++
		pp.rgen++
	}
	if e.out {
		pp.writers++
		pp.wgen++
		pp.hadWrite = true
	}
	rgen, wgen := pp.rgen, pp.wgen
	met := pp.readers > 0 && pp.writers > 0
	pp.watch.notifyLocked()
	pp.mu.Unlock()
	if met || flags&vfs.O_NONBLOCK != 0 {
		return e, nil
	}
	err := p.Block(func() bool {
		pp.mu.Lock()
		defer pp.mu.Unlock()
		return e.in && pp.wgen != wgen || e.out && pp.rgen != rgen
	}, e)
	if err != nil {
		e.node = nil // f stays the caller's
		e.Release()
		m.dropFIFO(f.Node(), ff)
		return nil, err
	}
	return e, nil
}

func (m *Machine) dropFIFO(n vfs.Node, ff *fifo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ff.opens--; ff.opens == 0 {
		delete(m.fifos, n)
	}
}
