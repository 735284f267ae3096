package kernel

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

func TestPipeRules(t *testing.T) {
	t.Run("a full pipe takes no more", func(t *testing.T) {
		r, w := NewPipe()
		n, err := w.d.Write(make([]byte, PipeSize+1))
		if n != PipeSize || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
		if _, err := w.d.Write([]byte{1}); err != syscall.EAGAIN {
			t.Errorf("write to a full pipe: %v, want EAGAIN", err)
		}
		r.d.Read(make([]byte, PipeBuf-1))
		if _, err := w.d.Write(make([]byte, PipeBuf)); err != syscall.EAGAIN {
			t.Errorf("a write of PIPE_BUF was torn: %v, want EAGAIN", err)
		}
		if w.d.Poll()&EventOut != 0 {
			t.Error("it polls writable with less than PIPE_BUF of room")
		}
		r.d.Read(make([]byte, 1))
		if n, err := w.d.Write(make([]byte, PipeBuf)); n != PipeBuf || err != nil {
			t.Errorf("write of PIPE_BUF: %d, %v", n, err)
		}
	})
	t.Run("no writer is the end", func(t *testing.T) {
		r, w := NewPipe()
		w2 := w.Dup()
		w.d.Write([]byte("x"))
		w.Close()
		buf := make([]byte, 2)
		if n, err := r.d.Read(buf); n != 1 || err != nil {
			t.Errorf("read: %d, %v", n, err)
		}
		if _, err := r.d.Read(buf); err != syscall.EAGAIN {
			t.Errorf("read with a writer left: %v, want EAGAIN", err)
		}
		w2.Close()
		if _, err := r.d.Read(buf); err != io.EOF {
			t.Errorf("read without one: %v, want the end", err)
		}
		if w2.Close() != syscall.EBADF {
			t.Error("closing once too often is no error")
		}
	})
	t.Run("no reader is EPIPE", func(t *testing.T) {
		r, w := NewPipe()
		r.Close()
		if _, err := w.d.Write([]byte("x")); err != syscall.EPIPE {
			t.Errorf("write: %v, want EPIPE", err)
		}
		if w.d.Poll()&EventErr == 0 {
			t.Error("it does not poll an error")
		}
	})
	t.Run("the wrong end", func(t *testing.T) {
		r, w := NewPipe()
		if _, err := r.d.Write([]byte("x")); err != syscall.EBADF {
			t.Errorf("write to the read end: %v", err)
		}
		if _, err := w.d.Read(make([]byte, 1)); err != syscall.EBADF {
			t.Errorf("read from the write end: %v", err)
		}
	})
}

// TestPipeKeepsBytes passes random amounts through and compares.
func TestPipeKeepsBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(rng.Uint32())
	}
	sizes := make([]int, 1000)
	for i := range sizes {
		sizes[i] = rng.IntN(20000) + 1
	}
	r, w := NewPipe()
	ctx := context.Background()
	go func() {
		defer w.Close()
		for rest, i := want, 0; len(rest) > 0; i++ {
			n, err := w.Write(ctx, rest[:min(len(rest), sizes[i%len(sizes)])])
			if err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	}()
	var got []byte
	for i := 0; ; i += 7 {
		buf := make([]byte, sizes[i%len(sizes)])
		n, err := r.Read(ctx, buf)
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, %d were sent, or they differ", len(got), len(want))
	}
}

func TestPipeIsCharged(t *testing.T) {
	l := newLab(t, Limits{MemoryBytes: 5000})
	st := l.do(func(_ context.Context, p *Process) error {
		_, w, err := p.Pipe()
		if err != nil {
			return err
		}
		if _, err := p.Write(w, make([]byte, 100)); err != nil {
			t.Errorf("write: %v", err)
		}
		if got := l.acct.Usage().Memory; got != PipeBuf {
			t.Errorf("charged %d, want %d", got, PipeBuf)
		}
		if err := p.SetNonblock(w, true); err != nil {
			return err
		}
		if _, err := p.Write(w, make([]byte, 8000)); err != syscall.ENOMEM {
			t.Errorf("write beyond the account's memory: %v, want ENOMEM", err)
		}
		return nil
	})
	if st != 0 || l.acct.Usage().Memory != 0 {
		t.Errorf("status %#x, still charged %d", st, l.acct.Usage().Memory)
	}
}

func TestFIFO(t *testing.T) {
	l := newLab(t, Limits{})
	if err := l.Root().Mknod(nil, "/tmp/f", vfs.ModeFIFO|0o600, 0); err != nil {
		t.Fatal(err)
	}
	l.install("writer", func(_ context.Context, p *Process) error {
		n, err := p.OpenFile(-1, "/tmp/f", vfs.O_WRONLY, 0) // waits for the reader
		if err != nil {
			return err
		}
		_, err = p.Write(n, []byte("through"))
		return err
	})
	l.install("reader", func(_ context.Context, p *Process) error {
		if _, err := p.OpenFile(-1, "/tmp/f", vfs.O_WRONLY|vfs.O_NONBLOCK, 0); err != syscall.ENXIO {
			t.Errorf("open for writing without a reader: %v, want ENXIO", err)
		}
		n, err := p.OpenFile(-1, "/tmp/f", vfs.O_RDONLY, 0)
		if err != nil {
			return err
		}
		var got []byte
		buf := make([]byte, 3)
		for {
			k, err := p.Read(n, buf)
			got = append(got, buf[:k]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if string(got) != "through" {
			t.Errorf("read %q", got)
		}
		return nil
	})
	r := l.start(spec("reader"))
	until(t, "the reader waiting", r.sleeping.Load)
	w := l.start(spec("writer"))
	<-r.Done()
	<-w.Done()
	if a, b := r.Status(), w.Status(); a != 0 || b != 0 {
		t.Errorf("statuses %#x %#x", a, b)
	}
	if len(l.fifos) != 0 {
		t.Error("the FIFO's pipe was kept")
	}
}

func TestDevices(t *testing.T) {
	l := newLab(t, Limits{})
	st := l.do(func(_ context.Context, p *Process) error {
		open := func(name string) int {
			n, err := p.OpenFile(-1, name, vfs.O_RDWR, 0)
			if err != nil {
				t.Errorf("open %s: %v", name, err)
			}
			return n
		}
		buf := []byte{1, 2}
		if _, err := p.Read(open("/dev/null"), buf); err != io.EOF {
			t.Errorf("null: %v", err)
		}
		if n, err := p.Read(open("/dev/zero"), buf); n != 2 || err != nil || buf[0]|buf[1] != 0 {
			t.Errorf("zero: %d %v %v", n, err, buf)
		}
		if _, err := p.Write(open("/dev/full"), buf); err != syscall.ENOSPC {
			t.Errorf("full: %v", err)
		}
		if n, err := p.Read(open("/dev/urandom"), make([]byte, 1000)); n != 1000 || err != nil {
			t.Errorf("urandom: %d %v", n, err)
		}
		if _, err := p.OpenFile(-1, "/dev/tty", vfs.O_RDWR, 0); err != syscall.ENXIO {
			t.Errorf("tty without a terminal: %v, want ENXIO", err)
		}
		m := open("/dev/ptmx")
		s := open("/dev/pts/0")
		if _, err := p.Write(m, []byte("x\r")); err != nil {
			return err
		}
		if n, err := p.Read(s, buf); string(buf[:n]) != "x\n" || err != nil {
			t.Errorf("through the pty: %q %v", buf[:n], err)
		}
		return nil
	})
	if st != 0 {
		t.Errorf("status %#x", st)
	}
}
