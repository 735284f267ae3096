package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// volatile is a file system in memory that knows what a power cut would leave: of a file what it held at its last Sync, of a folder the names at its
// last Sync, and of everything since then anything or nothing.
type volatile struct {
	mu   sync.Mutex
	root *node      // protected by mu, with all below it
	rnd  *rand.Rand // protected by mu
	dir  string     // for the lock's file
}

// node is a file, or a folder where names is not nil.
type node struct {
	data, safe       []byte
	names, safeNames map[string]*node
	modified         time.Time
}

func folder() *node { return &node{names: map[string]*node{}, safeNames: map[string]*node{}} }

// cut returns what the power cut leaves, while the file system itself goes on as though nothing had been.
func (v *volatile) cut() *volatile {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &volatile{root: v.left(v.root, map[*node]*node{}), rnd: v.rnd, dir: v.dir}
}

func (v *volatile) left(n *node, done map[*node]*node) *node {
	if c := done[n]; c != nil {
		return c // one file under an old name and a new one
	}
	c := &node{modified: n.modified}
	done[n] = c
	if n.names == nil {
		c.data = slices.Clone(n.safe)
		if more := len(n.data) - len(n.safe); more > 0 && v.rnd.IntN(3) > 0 {
			c.data = append(c.data, n.data[len(n.safe):len(n.safe)+v.rnd.IntN(more+1)]...)
		}
		for at := len(n.safe); at < len(c.data); at += 64 {
			if v.rnd.IntN(8) == 0 {
				clear(c.data[at:min(at+64, len(c.data))])
			}
		}
		c.safe = slices.Clone(c.data)
		return c
	}
	c.names, c.safeNames = map[string]*node{}, map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		if n.safeNames[name] != n.names[name] && v.rnd.IntN(2) == 0 {
			c.names[name] = v.left(n.names[name], done)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.safeNames)) {
		removed := n.names[name] != n.safeNames[name] && v.rnd.IntN(2) == 0
		if c.names[name] == nil && !removed {
			c.names[name] = v.left(n.safeNames[name], done)
		}
	}
	c.safeNames = maps.Clone(c.names)
	return c
}

// at returns the folder of a name, and what the name stands for.
func (v *volatile) at(name string) (parent, n *node, base string) {
	parent, base = v.root, "."
	n = v.root
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' }) {
		if n == nil || n.names == nil {
			return nil, nil, ""
		}
		parent, base = n, part
		n = n.names[part]
	}
	return parent, n, base
}

func (v *volatile) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	parent, n, base := v.at(name)
	switch {
	case parent == nil, n == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case n != nil && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case n == nil:
		n = &node{modified: time.Now()}
		parent.names[base] = n
	case flag&os.O_TRUNC != 0:
		n.data = nil
	}
	f := &memory{v: v, n: n}
	if base == "lock" {
		var err error
		if f.locked, err = os.CreateTemp(v.dir, "lock"); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (v *volatile) ReadDir(name string) ([]fs.DirEntry, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, n, _ := v.at(name)
	if n == nil {
		return nil, fs.ErrNotExist
	}
	var out []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(n.names)) {
		out = append(out, fs.FileInfoToDirEntry(n.names[base].info(base)))
	}
	return out, nil
}

func (v *volatile) Stat(name string) (fs.FileInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, n, base := v.at(name)
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return n.info(base), nil
}

func (v *volatile) MkdirAll(name string, _ fs.FileMode) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.root
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if n.names[part] == nil {
			n.names[part] = folder()
		}
		n = n.names[part]
	}
	return nil
}

func (v *volatile) Rename(from, to string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	parent, n, base := v.at(from)
	target, _, name := v.at(to)
	if n == nil || target == nil {
		return fs.ErrNotExist
	}
	delete(parent.names, base)
	target.names[name] = n
	return nil
}

func (v *volatile) Remove(name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	parent, n, base := v.at(name)
	if n == nil {
		return fs.ErrNotExist
	}
	delete(parent.names, base)
	return nil
}

func (v *volatile) RemoveAll(name string) error {
	if err := v.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (v *volatile) Chtimes(name string, _, modified time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, n, _ := v.at(name)
	if n == nil {
		return fs.ErrNotExist
	}
	n.modified = modified
	return nil
}

// memory is an open file.
type memory struct {
	v      *volatile
	n      *node
	pos    int64
	locked *os.File
}

func (f *memory) ReadAt(p []byte, at int64) (int, error) {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memory) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *memory) WriteAt(p []byte, at int64) (int, error) {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	if end := int(at) + len(p); end > len(f.n.data) {
		f.n.data = append(f.n.data, make([]byte, end-len(f.n.data))...)
	}
	return copy(f.n.data[at:], p), nil
}

func (f *memory) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memory) Sync() error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	f.n.safe = slices.Clone(f.n.data)
	if f.n.names != nil {
		f.n.safeNames = maps.Clone(f.n.names)
	}
	return nil
}

func (f *memory) Truncate(size int64) error {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	f.n.data = f.n.data[:size:size]
	return nil
}

func (f *memory) Stat() (fs.FileInfo, error) {
	f.v.mu.Lock()
	defer f.v.mu.Unlock()
	return f.n.info(""), nil
}

func (f *memory) Fd() uintptr { return f.locked.Fd() }

func (f *memory) Close() error {
	if f.locked == nil {
		return nil
	}
	return errors.Join(f.locked.Close(), os.Remove(f.locked.Name()))
}

// nodeInfo is what Stat says.
type nodeInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (n *node) info(name string) nodeInfo {
	i := nodeInfo{name: name, size: int64(len(n.data)), modified: n.modified}
	if n.names != nil {
		i.mode = fs.ModeDir
	}
	return i
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) Mode() fs.FileMode  { return i.mode }
func (i nodeInfo) ModTime() time.Time { return i.modified }
func (i nodeInfo) IsDir() bool        { return i.mode.IsDir() }
func (i nodeInfo) Sys() any           { return nil }

// TestPowerCut cuts the power of a loaded journal at random instants, where whatever was not synced may be there, be zeros or be missing, names as
// well as contents: all that was durable is found, in order and with its blobs, a snapshot is whole, and the lab goes on from there.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			v := &volatile{root: folder(), rnd: rnd, dir: t.TempDir()}
			cuts, damage := 25, 0
			durable := map[string]int{"a": 0, "b": 0, "c": 0}
			for round := range cuts {
				var found int
				v, found = powered(t, v, round, time.Duration(rnd.Int64N(int64(20*time.Millisecond))), durable)
				damage += found
			}
			t.Logf("%d cuts: %d parts damaged, up to record %d", cuts, damage, slices.Max(slices.Collect(maps.Values(durable))))
			if damage == 0 {
				t.Error("no cut did any damage")
			}
		})
	}
}

// powered opens the journal, checks and loads its labs, cuts the power, and returns what that leaves and how much damage there was.
func powered(t *testing.T, v *volatile, round int, after time.Duration, durable map[string]int) (*volatile, int) {
	t.Helper()
	j := open(t, Config{Dir: "/data", FS: v, QueueBytes: 1 << 20, SegmentBytes: 4 << 10, Window: 100 * time.Microsecond})
	var mu sync.Mutex // of durable, while the labs are loaded
	var wait sync.WaitGroup
	stop := make(chan struct{})
	damage := 0
	for id, last := range maps.Clone(durable) {
		w, next, parts := recovered(t, v, j, id, round, last)
		damage += parts
		wait.Go(func() {
			for i := next; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				err := step(j, w, id, i, func(i int) {
					mu.Lock()
					durable[id] = i
					mu.Unlock()
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(after)
	mu.Lock()
	left, known := v.cut(), maps.Clone(durable)
	mu.Unlock()
	close(stop)
	wait.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	maps.Copy(durable, known)
	return left, damage
}

// recovered owns a lab after a cut and checks that it reaches the last durable record and that what doesn't follow is aside.
func recovered(t *testing.T, v *volatile, j *Journal, id string, round, last int) (w *Writer, next, damage int) {
	t.Helper()
	c := &counter{j: j}
	w, report, err := j.Own(id, 0, c.replay)
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	if c.last < last {
		t.Fatalf("round %d: lab %s ends at record %d, and %d was durable: %v", round, id, c.last, last, report.Damage)
	}
	for _, d := range report.Damage {
		if _, err := v.Stat(d.Aside); err != nil || filepath.Dir(d.Aside) != j.path("labs", id) {
			t.Errorf("round %d: %s: %v", round, d, err)
		}
	}
	return w, c.last + 1, len(report.Damage)
}

// FuzzLab: whatever is in a lab's files, owning it either refuses it and leaves it alone, or moves aside what can't be replayed: then a second
// owner finds the same records and no damage.
func FuzzLab(f *testing.F) {
	log := appendRecord(nil, "a", Record{Seq: 1, Epoch: 1})
	log = appendRecord(log, "a", Record{Seq: 2, Epoch: 1, Kind: 1, Payload: []byte("one")})
	snap := appendRecord(nil, "a", Record{Epoch: 1, Kind: 1, Payload: []byte("state")})
	snap = appendRecord(snap, "a", Record{Epoch: 1, Payload: []byte{1}})
	f.Add(log, appendRecord(nil, "a", Record{Seq: 3, Epoch: 2}), []byte{})
	f.Add(appendRecord(nil, "a", Record{Seq: 1, Epoch: 2}), []byte("not a record"), snap)
	f.Add(log[:len(log)-1], log, snap[:len(snap)-1])
	f.Add([]byte{}, make([]byte, 30), snap)
	f.Fuzz(func(t *testing.T, first, third, snapshot []byte) {
		v := &volatile{root: folder(), rnd: rand.New(rand.NewPCG(1, 1)), dir: t.TempDir()}
		put := func(name string, data []byte) {
			f, err := v.OpenFile(name, os.O_CREATE, 0)
			if err == nil {
				_, err = f.Write(data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := v.MkdirAll("/data/labs/a", 0); err != nil {
			t.Fatal(err)
		}
		put("/data/labs/a/"+segmentName(1), first)
		put("/data/labs/a/"+segmentName(3), third)
		if len(snapshot) > 0 {
			put("/data/labs/a/"+snapshotName(1), snapshot)
		}
		j := open(t, Config{Dir: "/data", FS: v, QueueBytes: 1 << 16, Window: time.Nanosecond})
		var records [2][]string
		for i := range records {
			_, report, err := j.Own("a", 0, func(r Record) error { records[i] = append(records[i], text(r)); return nil })
			if i == 0 && err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrVersion) {
					t.Fatal(err)
				}
				return
			}
			if err != nil || i == 1 && (len(report.Damage) > 0 || !slices.Equal(records[0], records[1])) {
				t.Fatalf("%v %v %q", err, report, records)
			}
		}
	})
}
