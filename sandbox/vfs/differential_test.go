package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A differential test: one sequence of operations on a Tmpfs and on overlays that begin with the same tree in their lower
// layers must give the same results and leave the same tree. The operations come from a byte string, so that the fuzzer can steer them.

func testClock() Clock {
	now := time.Unix(1_700_000_000, 0)
	return func() time.Time { now = now.Add(time.Second); return now }
}

// seedEntries is the tree that all of them begin with.
var seedEntries = []struct{ path, kind, body string }{
	{"d0", "dir", ""}, {"d0/f0", "file", "zero"}, {"d0/f1", "file", "one"}, {"d0/d1", "dir", ""}, {"d0/d1/f0", "file", "deep"},
	{"d1", "dir", ""}, {"f0", "file", "top"}, {"l0", "link", "d0"}, {"d1/l0", "link", "../d0/f1"}, {"l1", "link", "l1"},
}

func seedTmpfs(t testing.TB) *Tmpfs {
	fs := NewTmpfs(TmpfsOptions{Clock: testClock(), Dirty: func() {}})
	v := NewNamespace(fs).View(Root)
	v.Umask = 0
	for _, e := range seedEntries {
		var err error
		switch e.kind {
		case "dir":
			err = v.Mkdir(nil, e.path, 0o755)
		case "file":
			err = v.WriteFile(e.path, []byte(e.body), 0o644)
		case "link":
			err = v.Symlink(e.body, nil, e.path)
		}
		if err != nil {
			t.Fatal(e, err)
		}
	}
	return fs
}

func seedLayer(t testing.TB, keep func(i int) bool, extra func(*LayerBuilder)) *Layer {
	b := NewLayerBuilder()
	for i, e := range seedEntries {
		if !keep(i) && e.kind != "dir" {
			continue
		}
		a := LayerAttr{Mode: 0o644}
		var err error
		switch e.kind {
		case "dir":
			a.Mode = 0o755
			err = b.Dir(e.path, a)
		case "file":
			err = b.File(e.path, a, []byte(e.body), "sha256:"+e.body)
		case "link":
			err = b.Symlink(e.path, a, e.body)
		}
		if err != nil {
			t.Fatal(e, err)
		}
	}
	if extra != nil {
		extra(b)
	}
	return b.Layer()
}

// subjects are the file systems that must behave alike.
func subjects(t testing.TB) map[string]FS {
	all := func(int) bool { return true }
	upper := func() *Tmpfs { return NewTmpfs(TmpfsOptions{Clock: testClock(), Dirty: func() {}}) }
	bottom := seedLayer(t, func(i int) bool { return i%2 == 0 }, func(b *LayerBuilder) {
		b.File("d1/gone", LayerAttr{Mode: 0o600}, []byte("x"), "")
		b.File("old", LayerAttr{Mode: 0o600}, []byte("x"), "")
		b.File("d0/d1/under", LayerAttr{Mode: 0o600}, []byte("x"), "")
	})
	top := seedLayer(t, func(i int) bool { return i%2 == 1 || i == 4 }, func(b *LayerBuilder) {
		b.Whiteout("d1/gone")
		b.Whiteout("old")
		b.Opaque("d0/d1")
	})
	full := seedTmpfs(t)
	return map[string]FS{
		"tmpfs":             seedTmpfs(t),
		"overlay one layer": NewOverlay([]FS{seedLayer(t, all, nil)}, upper()),
		"overlay two":       NewOverlay([]FS{top, bottom}, upper()),
		"overlay of tmpfs":  NewOverlay([]FS{full}, upper()),
		"overlay all upper": NewOverlay(nil, seedTmpfs(t)),
	}
}

type program struct {
	data  []byte
	files map[*View][]*File
}

func (p *program) next(n int) int {
	if len(p.data) == 0 {
		return 0
	}
	b := int(p.data[0])
	p.data = p.data[1:]
	return b % n
}

func (p *program) path() string {
	names := []string{"d0", "d1", "f0", "f1", "l0", "l1", ".", "..", "n0", "n1"}
	n := 1 + p.next(3)
	parts := make([]string, n)
	for i := range parts {
		parts[i] = names[p.next(len(names))]
	}
	s := strings.Join(parts, "/")
	switch p.next(8) {
	case 0:
		s = "/" + s
	case 1:
		s += "/"
	}
	return s
}

// step runs the next operation on all views and gives each one's outcome.
func (p *program) step(views map[string]*View) (op string, out map[string]string) {
	out = map[string]string{}
	kind, a, b := p.next(14), p.path(), p.path()
	arg := p.next(250)
	op = fmt.Sprintf("op %d %q %q %d", kind, a, b, arg)
	for name, v := range views {
		out[name] = p.run(v, kind, a, b, arg)
	}
	return op, out
}

func (p *program) run(v *View, kind int, a, b string, arg int) string {
	var err error
	switch kind {
	case 0:
		err = v.Mkdir(nil, a, 0o755)
	case 1:
		err = v.Unlink(nil, a)
	case 2:
		err = v.Rmdir(nil, a)
	case 3:
		err = v.Rename(nil, a, nil, b, arg%2)
	case 4:
		err = v.Link(nil, a, nil, b, arg%2 == 0)
	case 5:
		err = v.Symlink(b, nil, a)
	case 6:
		err = v.WriteFile(a, []byte(strings.Repeat(string(rune('a'+arg%26)), arg)), 0o640)
	case 7:
		var f *File
		if f, err = v.Open(nil, a, O_RDWR|O_APPEND, 0); err == nil {
			_, err = fmt.Fprintf(f, "<%d>", arg)
			p.files[v] = append(p.files[v], f)
		}
	case 8:
		err = v.Truncate(a, int64(arg))
	case 9:
		err = v.Chmod(nil, a, uint32(arg)<<1)
	case 10:
		err = v.Chdir(nil, a)
	case 11:
		var f *File
		if f, err = v.Open(nil, a, []int{O_RDONLY, O_CREAT | O_EXCL | O_WRONLY, O_RDONLY | O_NOFOLLOW, O_DIRECTORY}[arg%4], 0o600); err == nil {
			p.files[v] = append(p.files[v], f)
		}
	case 12:
		if fs := p.files[v]; len(fs) > 0 {
			return readAll(fs[arg%len(fs)])
		}
	case 13:
		if fs := p.files[v]; len(fs) > 0 {
			_, err = fs[arg%len(fs)].WriteAt([]byte("late"), int64(arg))
		}
	}
	if err != nil {
		return err.(syscall.Errno).Error()
	}
	cwd, err := v.Getcwd()
	return fmt.Sprint("ok in ", cwd, err)
}

func readAll(f *File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	st := f.Stat()
	mode := st.Mode
	if st.IsDir() {
		return fmt.Sprintf("dir %o %v", mode, err)
	}
	return fmt.Sprintf("%q %o %v size %d links %d", b, mode, err, st.Size, st.Nlink)
}

// dump is the whole tree as text.
func dump(t testing.TB, v *View) string {
	var lines []string
	root := *v
	root.Cwd = v.Root
	inos := map[uint64]int{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := root.names(dir)
		if err != nil {
			t.Fatal(dir, err)
		}
		sort.Strings(names)
		for _, n := range names {
			p := strings.TrimSuffix(dir, "/") + "/" + n
			st, err := root.Lstat(nil, p)
			if err != nil {
				t.Fatal(p, err)
			}
			line := fmt.Sprintf("%s %o", p, st.Mode)
			switch {
			case st.IsDir():
				lines = append(lines, line)
				walk(p)
				continue
			case st.IsRegular():
				b, err := root.ReadFile(p, 1<<20)
				if _, ok := inos[st.Ino]; !ok {
					inos[st.Ino] = len(inos)
				}
				line += fmt.Sprintf(" links %d inode %d %q %v", st.Nlink, inos[st.Ino], b, err)
			case st.IsSymlink():
				l, err := root.Readlink(nil, p)
				line += fmt.Sprintf(" → %s %v", l, err)
			}
			lines = append(lines, line)
		}
	}
	walk("/")
	return strings.Join(lines, "\n")
}

func runProgram(t testing.TB, data []byte) {
	p := &program{data: data, files: map[*View][]*File{}}
	views := map[string]*View{}
	fss := subjects(t)
	for name, fs := range fss {
		views[name] = NewNamespace(fs).View(Root)
	}
	var log []string
	kept := map[string]*keptTree{}
	for name, fs := range fss {
		kept[name] = &keptTree{fs: upperOf(fs)}
	}
	for i := 0; len(p.data) > 0 && i < 200; i++ {
		op, out := p.step(views)
		for _, k := range kept {
			k.step(t, i)
		}
		log = append(log, op+" → "+out["tmpfs"])
		for name, got := range out {
			if got != out["tmpfs"] {
				t.Fatalf("%s differs from tmpfs:\n%s\nwant %s\n got %s", name, strings.Join(log, "\n"), out["tmpfs"], got)
			}
		}
	}
	want := dump(t, views["tmpfs"])
	for name, v := range views {
		if d := cmp.Diff(want, dump(t, v)); d != "" {
			t.Fatalf("tree of %s differs from tmpfs':\n%s\n%s", name, strings.Join(log, "\n"), d)
		}
		if o, ok := fss[name].(*Overlay); ok { // all state is in the upper tree
			again := NewNamespace(NewOverlay(o.lower, o.upper)).View(Root)
			if d := cmp.Diff(want, dump(t, again)); d != "" && !strings.Contains(d, "inode") {
				t.Fatalf("tree of %s differs when mounted again:\n%s\n%s", name, strings.Join(log, "\n"), d)
			}
		}
		again := fss[name]
		back := kept[name].again(t)
		if o, ok := again.(*Overlay); ok {
			again = NewOverlay(o.lower, back)
		} else {
			again = back
		}
		if d := cmp.Diff(want, dump(t, NewNamespace(again).View(Root))); d != "" && !strings.Contains(d, "inode") {
			t.Fatalf("tree of %s differs when it was kept and replayed:\n%s\n%s", name, strings.Join(log, "\n"), d)
		}
		checkCharges(t, name+" replayed", NewNamespace(again).View(Root), again)
		for _, f := range p.files[v] {
			if err := f.Close(); err != nil {
				t.Fatal(name, err)
			}
		}
		checkCharges(t, name, v, fss[name])
	}
}

func upperOf(fs FS) *Tmpfs {
	if o, ok := fs.(*Overlay); ok {
		return o.upper
	}
	return fs.(*Tmpfs)
}

// keptTree is the records of a Tmpfs: of Flushes, and of a Snapshot in between.
type keptTree struct {
	fs      *Tmpfs
	records [][]byte
}

func (k *keptTree) emit(p []byte) error {
	k.records = append(k.records, bytes.Clone(p))
	return nil
}

func (k *keptTree) step(t testing.TB, i int) {
	refuse := errors.New("the disk is full")
	switch {
	case i%50 == 49:
		k.records = nil
		if err := k.fs.Snapshot(k.emit); err != nil {
			t.Fatal(err)
		}
	case i%7 == 6:
		if err := k.fs.Flush(func([]byte) error { return refuse }); err != nil && !errors.Is(err, refuse) {
			t.Fatal(err)
		}
	case i%5 == 4:
		if err := k.fs.Flush(k.emit); err != nil {
			t.Fatal(err)
		}
	}
}

// again is what the records make.
func (k *keptTree) again(t testing.TB) *Tmpfs {
	if err := k.fs.Flush(k.emit); err != nil {
		t.Fatal(err)
	}
	r := NewTmpfsReplay()
	for _, p := range k.records {
		if err := r.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return r.Tmpfs(TmpfsOptions{Clock: testClock(), Dirty: func() {}})
}

// checkCharges removes everything and looks for what is still charged.
func checkCharges(t testing.TB, name string, v *View, fs FS) {
	v.Cwd = v.Root
	names, err := v.names("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if err := v.RemoveAll("/" + n); err != nil {
			t.Fatal(name, n, err)
		}
	}
	up := upperOf(fs)
	if bytes, inodes := up.Used(); bytes != 0 || inodes != 1 || up.blocks != 0 {
		t.Fatalf("%s: %d bytes, %d blocks, %d inodes charged for an empty tree", name, bytes, up.blocks, inodes)
	}
}

func FuzzFileSystemsAgree(f *testing.F) {
	f.Add([]byte("rename a directory of the lower tree"))
	f.Add([]byte{3, 0, 0, 9, 0, 8, 9, 0, 0, 1, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) { runProgram(t, data) })
}

func TestFileSystemsAgree(t *testing.T) {
	seed := uint64(1)
	for range 400 {
		data := make([]byte, 1500)
		for i := range data {
			seed ^= seed << 13
			seed ^= seed >> 7
			seed ^= seed << 17
			data[i] = byte(seed >> 32)
		}
		runProgram(t, data)
	}
}
