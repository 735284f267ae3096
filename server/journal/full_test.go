package journal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// disk is the host's file system with a bound on what all files hold, and with syncs that can fail.
type disk struct {
	host
	mu     sync.Mutex
	free   int64 // protected by mu
	broken error // what Sync returns; protected by mu
}

type diskFile struct {
	File
	d *disk
}

func (d *disk) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	before, _ := os.Stat(name)
	f, err := d.host.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	if flag&os.O_TRUNC != 0 && before != nil {
		d.give(before.Size())
	}
	return diskFile{f, d}, nil
}

func (d *disk) Remove(name string) error {
	info, err := os.Stat(name)
	if err == nil {
		d.give(info.Size())
	}
	return d.host.Remove(name)
}

func (d *disk) give(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free += n
}

// take is how much of n bytes there is room for.
func (d *disk) take(n int64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n = max(n, 0); n <= d.free {
		d.free -= n
		return n, nil
	}
	n, d.free = d.free, 0
	return n, syscall.ENOSPC
}

func (f diskFile) grow(p []byte, end int64, write func([]byte) (int, error)) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	need := end - info.Size()
	room, full := f.d.take(need)
	if full != nil {
		p = p[:max(0, int64(len(p))-(need-room))]
	}
	n, err := write(p)
	if err == nil {
		err = full
	}
	return n, err
}

func (f diskFile) WriteAt(p []byte, at int64) (int, error) {
	return f.grow(p, at+int64(len(p)), func(p []byte) (int, error) { return f.File.WriteAt(p, at) })
}

func (f diskFile) Write(p []byte) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return f.grow(p, info.Size()+int64(len(p)), f.File.Write) // files are written from their end only
}

func (f diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.broken != nil {
		return f.d.broken
	}
	return f.File.Sync()
}

// fill appends until the disk is full and returns what was taken, with its tickets.
func fill(t *testing.T, w *Writer) (taken []string, tickets []Ticket) {
	t.Helper()
	for i := 0; ; i++ {
		p := strings.Repeat("f", 500+i%100)
		ticket, err := w.Append(1, []byte(p))
		if errors.Is(err, ErrBusy) {
			time.Sleep(time.Millisecond) // let the syncer have the processor
			continue
		}
		if err != nil {
			var full *FullError
			if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &full) || full.Dir != w.j.cfg.Dir {
				t.Fatal(err)
			}
			return taken, tickets
		}
		taken, tickets = append(taken, "1:"+p), append(tickets, ticket)
	}
}

// TestFullDisk: on a full disk writes end with an error, all that was taken is kept and becomes durable, reading and owning go on, and when there is
// room writing does.
func TestFullDisk(t *testing.T) {
	d := &disk{free: 3 << 20}
	cfg := Config{Dir: t.TempDir(), FS: d, QueueBytes: 256 << 10, SegmentBytes: 64 << 10, Window: time.Millisecond}
	j := open(t, cfg)
	w, _, _ := own(t, j, "a")
	taken, tickets := fill(t, w)
	for i, ticket := range tickets {
		if err := ticket.Wait(context.Background()); err != nil {
			t.Fatalf("record %d of %d, which was taken: %v", i, len(tickets), err)
		}
	}
	if err := j.Full(); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
	if _, _, err := j.PutBlob(strings.NewReader("x"), 1); !errors.Is(err, ErrFull) {
		t.Errorf("put blob: %v", err)
	}
	var got []string
	w2, report, err := j.Own("a", 0, func(r Record) error { got = append(got, text(r)); return nil })
	if err != nil || report.Damage != nil || !slices.Equal(taken, got) {
		t.Fatalf("%d of %d records, %+v, %v", len(got), len(taken), report, err)
	}
	d.give(2 << 20)
	ticket := again(t, w2, "after")
	if err := ticket.Wait(context.Background()); err != nil || j.Full() != nil {
		t.Fatalf("%v, %v", err, j.Full())
	}
	j.Close()
	_, got, report = own(t, open(t, cfg), "a")
	if d := cmp.Diff(append(taken, "1:after"), got); d != "" || report.Damage != nil {
		t.Errorf("%+v %s", report, d)
	}
}

// again appends until it is not refused for a full disk any more.
func again(t *testing.T, w *Writer, payload string) Ticket {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		ticket, err := w.Append(1, []byte(payload))
		if err == nil {
			return ticket
		}
		if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	t.Fatal("still full")
	return Ticket{}
}

// TestFullToTheBrim: where even the reserve is not there (another program took the room), what was taken waits in memory and is written, in
// order, when there is room; nothing is half-done.
func TestFullToTheBrim(t *testing.T) {
	d := &disk{free: 2 << 20}
	cfg := Config{Dir: t.TempDir(), FS: d, QueueBytes: 256 << 10, SegmentBytes: 64 << 10, Window: time.Millisecond}
	j := open(t, cfg)
	w, _, _ := own(t, j, "a")
	write(t, w, "before")
	d.mu.Lock()
	d.free = 100
	d.mu.Unlock()
	if err := os.Remove(j.path("reserve")); err != nil {
		t.Fatal(err)
	}
	var tickets []Ticket
	want := []string{"1:before"}
	for range 5 {
		p := strings.Repeat("w", 90)
		ticket, err := w.Append(1, []byte(p))
		if err != nil {
			break // full already
		}
		tickets, want = append(tickets, ticket), append(want, "1:"+p)
	}
	if err := tickets[len(tickets)-1].Wait(context.Background()); !errors.Is(err, ErrFull) {
		t.Errorf("no room, and %v", err)
	}
	if _, err := w.Append(1, nil); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
	d.give(4 << 20)
	if err := again(t, w, "after").Wait(context.Background()); err != nil {
		t.Error(err)
	}
	j.Close()
	_, got, report := own(t, open(t, cfg), "a")
	if d := cmp.Diff(append(want, "1:after"), got); d != "" || report.Damage != nil {
		t.Errorf("%+v %s", report, d)
	}
}

// TestOpenOnFullDisk: labs can be looked at on a disk that has been full since before the start, and deleting makes room.
func TestOpenOnFullDisk(t *testing.T) {
	d := &disk{free: 4 << 20}
	cfg := Config{Dir: t.TempDir(), FS: d, QueueBytes: 256 << 10, Window: time.Millisecond}
	j := open(t, cfg)
	w, _, _ := own(t, j, "a")
	write(t, w, "x")
	j.Close()
	if err := os.Remove(j.path("reserve")); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.free = 0
	d.mu.Unlock()
	j = open(t, cfg)
	_, got, _ := own(t, j, "a")
	if d := cmp.Diff([]string{"1:x"}, got); d != "" || !errors.Is(j.Full(), ErrFull) {
		t.Errorf("%v %s", j.Full(), d)
	}
	if err := j.Delete("a"); err != nil {
		t.Error(err)
	}
}

// TestBrokenDisk: after a failed sync nothing is said to be durable and nothing is taken, until the folder is opened again; what had been durable is.
func TestBrokenDisk(t *testing.T) {
	d := &disk{free: 4 << 20}
	cfg := Config{Dir: t.TempDir(), FS: d, QueueBytes: 256 << 10, Window: time.Millisecond}
	j := open(t, cfg)
	w, _, _ := own(t, j, "a")
	write(t, w, "durable")
	d.mu.Lock()
	d.broken = syscall.EIO
	d.mu.Unlock()
	ticket, err := w.Append(1, []byte("lost?"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ticket.Wait(context.Background()); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	d.mu.Lock()
	d.broken = nil
	d.mu.Unlock()
	if _, err := w.Append(1, nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("append: %v", err)
	}
	if err := j.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	_, got, report := own(t, open(t, cfg), "a")
	if len(got) == 0 || got[0] != "1:durable" || report.Damage != nil {
		t.Errorf("%q %+v", got, report)
	}
}
