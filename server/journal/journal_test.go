package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// small is a configuration whose files are small, so that many of them come together.
func small(dir string) Config {
	return Config{Dir: dir, QueueBytes: 1 << 20, SegmentBytes: 1000, Window: time.Millisecond}
}

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// own makes the test the lab's owner and returns what was replayed, as text.
func own(t testing.TB, j *Journal, id string) (*Writer, []string, Report) {
	t.Helper()
	var got []string
	w, report, err := j.Own(id, 0, func(r Record) error {
		got = append(got, text(r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, got, report
}

func text(r Record) string { return fmt.Sprintf("%d:%s", r.Kind, r.Payload) }

// write appends records and waits for them.
func write(t testing.TB, w *Writer, payloads ...string) {
	t.Helper()
	var last Ticket
	for _, p := range payloads {
		var err error
		if last, err = w.Append(1, []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func numbers(from, to int) (payloads, texts []string) {
	for i := from; i < to; i++ {
		p := fmt.Sprintf("%d %s", i, strings.Repeat("x", i%50))
		payloads, texts = append(payloads, p), append(texts, "1:"+p)
	}
	return payloads, texts
}

func files(t testing.TB, j *Journal, id string) []string {
	t.Helper()
	entries, err := os.ReadDir(j.path("labs", id))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestRoundTrip: what was appended over several files, owners and openings is replayed in order, lab by lab.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 4 {
		j := open(t, small(dir))
		w, got, report := own(t, j, "a")
		if d := cmp.Diff(want, got); d != "" || report.Records != len(want) || report.Damage != nil {
			t.Fatalf("opening %d: %+v (-want +got):\n%s", i, report, d)
		}
		if w.Epoch() != uint64(i+1) {
			t.Errorf("opening %d: epoch %d", i, w.Epoch())
		}
		payloads, texts := numbers(i*50, i*50+50)
		want = append(want, texts...)
		other, seen, _ := own(t, j, "b")
		if len(seen) != i {
			t.Errorf("the other lab has %q", seen)
		}
		write(t, other, "other")
		write(t, w, payloads...)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(files(t, j, "a")); n < 3*(i+1) {
			t.Errorf("only %d files", n)
		}
		if _, err := w.Append(1, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("append after Close: %v", err)
		}
	}
}

// TestOneProcess: a folder is open once.
func TestOneProcess(t *testing.T) {
	cfg := small(t.TempDir())
	j := open(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	j.Close()
	open(t, cfg)
}

// TestIdle: nothing runs while nothing is queued.
func TestIdle(t *testing.T) {
	j := open(t, small(t.TempDir()))
	w, _, _ := own(t, j, "a")
	write(t, w, "x")
	j.idle.Wait() // ends only when the syncer does
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.running || j.queued != 0 {
		t.Errorf("running %t, %d bytes queued", j.running, j.queued)
	}
}

// TestFencing: a newer owner ends the older one, an older or equal epoch owns nothing, also over a restart and a compaction.
func TestFencing(t *testing.T) {
	dir := t.TempDir()
	j := open(t, small(dir))
	first, _, _ := own(t, j, "a")
	write(t, first, "one")
	second, _, err := j.Own("a", 7, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Append(1, []byte("late")); !errors.Is(err, ErrFenced) {
		t.Errorf("the older owner's append: %v", err)
	}
	if err := first.Compact(t.Context(), nil); !errors.Is(err, ErrFenced) {
		t.Errorf("the older owner's compaction: %v", err)
	}
	for _, epoch := range []uint64{1, 7} {
		if _, _, err := j.Own("a", epoch, nil); !errors.Is(err, ErrFenced) {
			t.Errorf("epoch %d: %v", epoch, err)
		}
	}
	write(t, second, "two") // the claims that failed did not fence it
	if err := second.Compact(t.Context(), func(add func(Kind, []byte, ...Digest) error) error { return add(1, []byte("all")) }); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, second, "three")
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Append(1, nil); !errors.Is(err, ErrFenced) {
		t.Errorf("append after the lab was given up: %v", err)
	}
	j.Close()
	j = open(t, small(dir))
	if _, _, err := j.Own("a", 7, nil); !errors.Is(err, ErrFenced) {
		t.Errorf("epoch 7 after a restart: %v", err)
	}
	third, got, _ := own(t, j, "a")
	if d := cmp.Diff([]string{"1:all", "1:three"}, got); d != "" || third.Epoch() != 8 {
		t.Errorf("epoch %d\n%s", third.Epoch(), d)
	}
}

// TestCompact: a snapshot replaces what was before, appends made meanwhile follow it, and one that fails changes nothing.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	j := open(t, small(dir))
	w, _, _ := own(t, j, "a")
	payloads, texts := numbers(0, 50)
	write(t, w, payloads...)
	broken := errors.New("no snapshot today")
	if err := w.Compact(t.Context(), func(add func(Kind, []byte, ...Digest) error) error {
		return errors.Join(add(1, []byte("half")), broken)
	}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	compact := func() {
		err := w.Compact(t.Context(), func(add func(Kind, []byte, ...Digest) error) error {
			write(t, w, "meanwhile")
			return errors.Join(add(2, []byte("state")), add(3, nil))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Read("a", nil); err != nil {
		t.Fatal(err)
	}
	var read []string
	report, err := j.Read("a", func(r Record) error { read = append(read, text(r)); return nil })
	if d := cmp.Diff(texts, read); err != nil || d != "" || report.Records != 50 {
		t.Fatalf("%v %+v\n%s", err, report, d)
	}
	compact()
	compact()
	write(t, w, "after")
	j.Close()
	if left, err := os.ReadDir(filepath.Join(dir, "temp")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	j = open(t, small(dir))
	w, got, _ := own(t, j, "a")
	if d := cmp.Diff([]string{"2:state", "3:", "1:meanwhile", "1:after"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if names := files(t, j, "a"); len(names) > 4 {
		t.Errorf("files %v", names)
	}
	if w.Due() {
		t.Error("a compaction is due for nothing")
	}
	write(t, w, strings.Repeat("x", 900<<10))
	for range 5 {
		write(t, w, strings.Repeat("x", 900<<10))
	}
	if !w.Due() {
		t.Error("no compaction is due after 5 MB")
	}
}

// TestSnapshotCrash: between a snapshot and the removal of what it stands for the next owner finishes the work; without its last record a
// snapshot is none, and a lab whose snapshot is damaged is refused and left alone.
func TestSnapshotCrash(t *testing.T) {
	dir := t.TempDir()
	j := open(t, small(dir))
	w, _, _ := own(t, j, "a")
	payloads, _ := numbers(0, 50)
	write(t, w, payloads...)
	before := map[string][]byte{}
	for _, name := range files(t, j, "a") {
		data, err := os.ReadFile(j.path("labs", "a", name))
		if err != nil {
			t.Fatal(err)
		}
		before[name] = data
	}
	if err := w.Compact(t.Context(), func(add func(Kind, []byte, ...Digest) error) error { return add(2, []byte("state")) }); err != nil {
		t.Fatal(err)
	}
	for name, data := range before { // as though the removal had not happened
		if err := os.WriteFile(j.path("labs", "a", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, got, report := own(t, j, "a")
	if d := cmp.Diff([]string{"2:state"}, got); d != "" || report.Damage != nil {
		t.Errorf("%+v\n%s", report, d)
	}
	j.Close()
	names := files(t, j, "a")
	snap := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".snap") })
	if len(names) != 1 && len(names) != 2 || snap < 0 {
		t.Fatalf("files %v", names)
	}
	file := j.path("labs", "a", names[snap])
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range data {
		if err := os.WriteFile(file, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, small(dir))
		called := false
		_, report, err := j.Own("a", 0, func(Record) error { called = true; return nil })
		if !errors.Is(err, ErrDamaged) || called || len(report.Damage) != 1 {
			t.Fatalf("cut off at %d: %v, replayed %t, %+v", cut, err, called, report)
		}
		if now := files(t, j, "a"); !slices.Equal(now, names) {
			t.Fatalf("files %v, were %v", now, names)
		}
		j.Close()
	}
}

// TestDelete: a deleted lab's owner is fenced, its files and at last its blobs are gone.
func TestDelete(t *testing.T) {
	j := open(t, small(t.TempDir()))
	w, _, _ := own(t, j, "a")
	d, n, err := j.PutBlob(strings.NewReader("layer"), 100)
	if err != nil || n != 5 {
		t.Fatal(n, err)
	}
	if _, err := w.Append(1, []byte("x"), d); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := j.Sweep(time.Now().Add(time.Hour)); err != nil || removed != 0 {
		t.Errorf("a blob in use: %d removed, %v", removed, err)
	}
	if err := j.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Append(1, nil); !errors.Is(err, ErrNoLab) {
		t.Errorf("append: %v", err)
	}
	if _, err := j.Read("a", nil); !errors.Is(err, ErrNoLab) {
		t.Errorf("read: %v", err)
	}
	if err := j.Delete("a"); !errors.Is(err, ErrNoLab) {
		t.Errorf("delete: %v", err)
	}
	if labs, err := j.Labs(); err != nil || len(labs) != 0 {
		t.Errorf("%v %v", labs, err)
	}
	if removed, _, err := j.Sweep(time.Now().Add(-time.Hour)); err != nil || removed != 0 {
		t.Errorf("a young blob: %d removed, %v", removed, err)
	}
	if removed, size, err := j.Sweep(time.Now().Add(time.Hour)); err != nil || removed != 1 || size != 5 {
		t.Errorf("%d removed, %d bytes, %v", removed, size, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.labs) != 0 {
		t.Errorf("%d labs are remembered", len(j.labs))
	}
}

// TestBlobs: content is stored once, read back, checked, and needed before a record may refer to it.
func TestBlobs(t *testing.T) {
	j := open(t, small(t.TempDir()))
	d, _, err := j.PutBlob(strings.NewReader("hello"), 5)
	if err != nil || d.String() != "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Fatal(d, err)
	}
	if again, _, err := j.PutBlob(strings.NewReader("hello"), 5); err != nil || again != d {
		t.Errorf("again: %s %v", again, err)
	}
	f, size, err := j.Blob(d)
	if err != nil || size != 5 {
		t.Fatal(size, err)
	}
	defer f.Close()
	if data, err := io.ReadAll(f); err != nil || string(data) != "hello" {
		t.Errorf("%q %v", data, err)
	}
	if err := j.CheckBlob(d); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(j.blobName(d), []byte("hullo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := j.CheckBlob(d); err == nil || !errors.Is(err, ErrCorrupt) {
		t.Errorf("changed content: %v", err)
	}
	if _, _, err := j.PutBlob(strings.NewReader("hello!"), 5); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	cut := errors.New("the connection ended")
	if _, _, err := j.PutBlob(io.MultiReader(strings.NewReader("hel"), errReader{cut}), 5); !errors.Is(err, cut) {
		t.Errorf("upload cut off: %v", err)
	}
	if left, err := os.ReadDir(j.path("temp")); err != nil || len(left) != 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	if _, _, err := j.Blob(Digest{1}); !errors.Is(err, ErrNoBlob) {
		t.Errorf("blob that is not here: %v", err)
	}
	w, _, _ := own(t, j, "a")
	if _, err := w.Append(1, nil, Digest{1}); !errors.Is(err, ErrNoBlob) {
		t.Errorf("reference to a blob that is not here: %v", err)
	}
}

type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// TestRefusals: what can't be a record or a lab is refused.
func TestRefusals(t *testing.T) {
	j := open(t, small(t.TempDir()))
	for _, id := range []string{"", "..", "a/b", "A", strings.Repeat("a", 65), "a\x00"} {
		if _, _, err := j.Own(id, 0, nil); err == nil {
			t.Errorf("a lab of the id %q", id)
		}
	}
	w, _, _ := own(t, j, "a")
	if _, err := w.Append(0, nil); err == nil {
		t.Error("kind 0 was taken")
	}
	if _, err := w.Append(1, make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large record: %v", err)
	}
	if _, err := w.Append(1, make([]byte, 2<<20)); !errors.Is(err, ErrBusy) {
		t.Errorf("more than may be queued: %v", err)
	}
	if _, err := j.Read("nowhere", nil); !errors.Is(err, ErrNoLab) {
		t.Errorf("%v", err)
	}
	broken := errors.New("the reader can't follow")
	write(t, w, "x")
	if _, _, err := j.Own("a", 0, func(Record) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestMany: many writers of many labs, each record waited for by some; the order within a lab is that of its appends.
func TestMany(t *testing.T) {
	j := open(t, small(t.TempDir()))
	var wait sync.WaitGroup
	for l := range 20 {
		w, _, _ := own(t, j, fmt.Sprint("lab-", l))
		wait.Go(func() {
			for i := range 100 {
				ticket, err := w.Append(1, fmt.Append(nil, i))
				if err != nil {
					t.Error(err)
					return
				}
				if i%10 == l%10 {
					if err := ticket.Wait(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if i == 50 {
					if err := w.Compact(t.Context(), func(add func(Kind, []byte, ...Digest) error) error { return add(2, []byte("state")) }); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wait.Wait()
	for l := range 20 {
		var want []string
		for i := 51; i < 100; i++ {
			want = append(want, fmt.Sprint("1:", i))
		}
		_, got, _ := own(t, j, fmt.Sprint("lab-", l))
		if d := cmp.Diff(append([]string{"2:state"}, want...), got); d != "" {
			t.Fatalf("lab %d (-want +got):\n%s", l, d)
		}
	}
}

// TestDamage: a log of one file that is cut off at, or changed in, any byte is replayed up to there; the rest is reported and moved aside, and
// the lab goes on.
func TestDamage(t *testing.T) {
	cfg := Config{QueueBytes: 1 << 16, Window: time.Millisecond, Dir: t.TempDir()}
	j := open(t, cfg)
	w, _, _ := own(t, j, "a")
	payloads, texts := numbers(0, 4)
	write(t, w, payloads...)
	name := files(t, j, "a")[0]
	file := j.path("labs", "a", name)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int64{} // of the records, ownership first
	for in := newScanner(bytes.NewReader(whole), "a"); ; ends = append(ends, in.offset) {
		if _, err := in.next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, at int, data []byte) {
		t.Helper()
		if err := errors.Join(j.Sync(t.Context()), os.RemoveAll(j.path("labs", "a"))); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Mkdir(j.path("labs", "a"), 0o700), os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		good := 0
		for good < len(ends) && ends[good] <= int64(at) {
			good++
		}
		start := int64(0)
		if good > 0 {
			start = ends[good-1]
		}
		_, got, report := own(t, j, "a")
		if d := cmp.Diff(texts[:max(0, good-1)], append([]string{}, got...)); d != "" {
			t.Fatalf("%s at byte %d (-want +got):\n%s", what, at, d)
		}
		if start == int64(len(data)) {
			if len(report.Damage) != 0 {
				t.Fatalf("%s at byte %d, between records: %+v", what, at, report)
			}
			return
		}
		if len(report.Damage) != 1 {
			t.Fatalf("%s at byte %d: %+v", what, at, report)
		}
		damage := report.Damage[0]
		aside, err := os.ReadFile(damage.Aside)
		if err != nil || !bytes.Equal(aside, data[start:]) || damage.Offset != start || damage.File != name || damage.Lab != "a" || damage.Reason == "" {
			t.Fatalf("%s at byte %d: %s, %d bytes aside, %v", what, at, damage, len(aside), err)
		}
		if _, again, report := own(t, j, "a"); len(again) != len(got) || len(report.Damage) != 0 {
			t.Fatalf("%s at byte %d: read again %q, %+v", what, at, again, report)
		}
	}
	for at := range whole {
		check("cut off", at, whole[:at])
		changed := bytes.Clone(whole)
		changed[at] ^= 0x41
		check("changed", at, changed)
	}
	check("zeros", len(whole), append(bytes.Clone(whole), make([]byte, 100)...))
}

// TestLostFile: when a file of the log is lost, what is behind it is moved aside and said to be.
func TestLostFile(t *testing.T) {
	j := open(t, small(t.TempDir()))
	w, _, _ := own(t, j, "a")
	payloads, texts := numbers(0, 100)
	write(t, w, payloads...)
	names := files(t, j, "a")
	if len(names) < 5 {
		t.Fatal(names)
	}
	if err := os.Remove(j.path("labs", "a", names[2])); err != nil {
		t.Fatal(err)
	}
	_, got, report := own(t, j, "a")
	if len(got) == 0 || !slices.Equal(got, texts[:len(got)]) {
		t.Errorf("%q", got)
	}
	if len(report.Damage) != len(names)-3 || report.Damage[0].Reason != Gap || report.Damage[1].Reason != Behind {
		t.Errorf("%v", report.Damage)
	}
	w, got, report = own(t, j, "a")
	if report.Damage != nil {
		t.Errorf("%v", report.Damage)
	}
	write(t, w, "on")
	if _, again, _ := own(t, j, "a"); !slices.Equal(again, append(got, "1:on")) {
		t.Errorf("%q", again)
	}
}

// TestNewerVersion: a log of a newer format is refused and left as it is.
func TestNewerVersion(t *testing.T) {
	j := open(t, small(t.TempDir()))
	w, _, _ := own(t, j, "a")
	write(t, w, "x")
	name := j.path("labs", "a", files(t, j, "a")[0])
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	newer := appendRecord(nil, "a", Record{Seq: 3, Epoch: 1, Kind: 1})
	newer[headerSize] = Format + 1
	sum := checksum(newer[:4], newer[headerSize:])
	newer[4], newer[5], newer[6], newer[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	data = append(data, newer...)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Own("a", 0, nil); !errors.Is(err, ErrVersion) {
		t.Errorf("%v", err)
	}
	if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, data) {
		t.Errorf("the file was changed: %v", err)
	}
}

// FuzzRecords: no bytes make the reader panic or take memory for what isn't there; what it reads is written to the same bytes again.
func FuzzRecords(f *testing.F) {
	one := appendRecord(nil, "lab", Record{Seq: 1, Epoch: 1})
	two := appendRecord(one, "lab", Record{Seq: 2, Epoch: 1, Kind: 3, Payload: []byte("payload"), Blobs: []Digest{{1}, {2}}})
	f.Add(one)
	f.Add(two)
	f.Add(two[:len(two)-3])
	f.Add(append(two, make([]byte, 20)...))
	f.Add(appendRecord(nil, "other", Record{Seq: 1}))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := newScanner(bytes.NewReader(data), "lab")
		var again []byte
		for {
			r, err := in.next()
			if err != nil {
				if _, ok := asFlaw(err); !ok && err != io.EOF && !errors.Is(err, ErrVersion) {
					t.Fatal(err)
				}
				break
			}
			again = appendRecord(again, "lab", r)
		}
		if cap(in.buf) > 64<<10+4*len(data) {
			t.Errorf("%d bytes of memory for %d", cap(in.buf), len(data))
		}
		// Varints may be longer than they need to be: then the bytes differ and what they say doesn't.
		back := newScanner(bytes.NewReader(again), "lab")
		in = newScanner(bytes.NewReader(data), "lab")
		for {
			a, errA := in.next()
			b, errB := back.next()
			if errA != nil {
				if errB != io.EOF {
					t.Fatalf("%v, and %v", errA, errB)
				}
				break
			}
			if d := cmp.Diff(a, b); d != "" || errB != nil {
				t.Fatalf("%v\n%s", errB, d)
			}
		}
	})
}

// TestCopy: a lab that is being written is copied within the journal and to another one, with its blobs; what can't be copied leaves nothing.
func TestCopy(t *testing.T) {
	j, backup := open(t, small(t.TempDir())), open(t, small(t.TempDir()))
	w, _, _ := own(t, j, "a")
	payloads, texts := numbers(0, 60)
	write(t, w, payloads...)
	d, _, err := j.PutBlob(strings.NewReader("layer"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Append(4, []byte("image"), d); err != nil {
		t.Fatal(err)
	}
	for _, to := range []*Journal{j, backup} {
		report, err := j.Copy(t.Context(), "a", to, "copy")
		if err != nil || report.Records != 61 {
			t.Fatalf("%+v %v", report, err)
		}
		if _, err := j.Copy(t.Context(), "a", to, "copy"); !errors.Is(err, ErrExists) {
			t.Errorf("a second time: %v", err)
		}
		if _, err := j.Copy(t.Context(), "nowhere", to, "other"); !errors.Is(err, ErrNoLab) {
			t.Errorf("of nothing: %v", err)
		}
		if _, err := to.Read("other", nil); !errors.Is(err, ErrNoLab) {
			t.Errorf("a failed copy: %v", err)
		}
	}
	if _, err := j.Copy(t.Context(), "a", j, "a"); !errors.Is(err, ErrExists) {
		t.Errorf("onto itself: %v", err)
	}
	write(t, w, "later") // the original still has its owner
	if err := backup.CheckBlob(d); err != nil {
		t.Error(err)
	}
	copied, got, report := own(t, backup, "copy")
	if diff := cmp.Diff(append(texts, "4:image"), got); diff != "" || report.Damage != nil {
		t.Errorf("%+v\n%s", report, diff)
	}
	write(t, copied, "on")
	if err := os.WriteFile(j.blobName(d), []byte("rotten"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := open(t, small(t.TempDir()))
	if _, err := j.Copy(t.Context(), "a", third, "copy"); err == nil || !errors.Is(err, ErrCorrupt) {
		t.Errorf("with a blob that has changed: %v", err)
	}
}
