package vfs

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestMounts(t *testing.T) {
	v := newTestView(t)
	must(t, v.MkdirAll("/etc", 0o755), v.MkdirAll("/data/sub", 0o755), v.MkdirAll("/vol", 0o755), v.WriteFile("/etc/hosts", []byte("image"), 0o644), v.WriteFile("/data/sub/f", []byte("f"), 0o644))
	vol := NewTmpfs(TmpfsOptions{})
	must(t, v.NS.Mount("/vol", vol, MountNoExec), v.WriteFile("/vol/hosts", []byte("pod"), 0o644),
		v.NS.Bind("/vol/hosts", "/etc/hosts", true), v.NS.Bind("/data/sub", "/vol", true))
	for name, want := range map[string]string{"/etc/hosts": "pod", "/vol/f": "f"} {
		if b, err := v.ReadFile(name, 100); string(b) != want || err != nil {
			t.Errorf("%s: %q %v, want %q", name, b, err, want)
		}
	}
	for _, row := range []struct {
		name string
		got  error
		want error
	}{
		{"write through a read-only file mount", v.WriteFile("/etc/hosts", nil, 0), syscall.EROFS},
		{"create in a read-only mount", v.WriteFile("/vol/new", nil, 0o644), syscall.EROFS},
		{"chmod in a read-only mount", v.Chmod(nil, "/vol/f", 0o600), syscall.EROFS},
		{"unlink a mount point", v.Unlink(nil, "/etc/hosts"), syscall.EBUSY},
		{"rename a mount point", v.Rename(nil, "/vol", nil, "/vol2", 0), syscall.EBUSY},
		{"rename across mounts", v.Rename(nil, "/data/sub/f", nil, "/vol/f2", 0), syscall.EXDEV},
		{"link across mounts of one file system", v.Link(nil, "/data/sub/f", nil, "/vol/f2", false), syscall.EXDEV},
		{"unmount what is none", v.NS.Unmount("/data"), syscall.EINVAL},
		{"unmount the root", v.NS.Unmount("/"), syscall.EBUSY},
		{"mount a directory on a file", v.NS.Bind("/data", "/etc/hosts", true), syscall.ENOTDIR},
		{"mount as somebody", v.NS.View(Cred{UID: 1}).Mount("x", "/data", vol, 0), syscall.EPERM},
	} {
		if row.got != row.want {
			t.Errorf("%s: %v, want %v", row.name, row.got, row.want)
		}
	}
	must(t, v.Remount("/data/../vol", 0), v.WriteFile("/vol/new", nil, 0o644), v.Remount("/vol", MountReadOnly))
	if err := v.Remount("/data", 0); err != syscall.EINVAL {
		t.Errorf("remount what is none: %v", err)
	}
	clone, move := v.NS.Clone()
	must(t, v.NS.Unmount("/vol"))
	if b, err := v.ReadFile("/vol/hosts", 9); string(b) != "pod" || err != nil {
		t.Errorf("under the removed mount: %q %v", b, err)
	}
	c := &View{NS: clone, Root: move(v.Root), Cwd: move(v.Cwd)}
	if b, err := c.ReadFile("/vol/f", 9); string(b) != "f" || err != nil {
		t.Errorf("the copy lost its mount: %q %v", b, err)
	}
	var lines []string
	for _, m := range clone.Mounts() {
		lines = append(lines, fmt.Sprintf("%d %d %s %s %s %s", m.ID, m.Parent, m.Root, m.Target, m.Options(), m.FSType))
	}
	want := `25 0 / / rw,noatime tmpfs
26 25 / /vol rw,noexec,noatime tmpfs
27 25 /hosts /etc/hosts ro,noexec,noatime tmpfs
28 26 /data/sub /vol ro,noatime tmpfs`
	if d := cmp.Diff(want, strings.Join(lines, "\n")); d != "" {
		t.Error(d)
	}
}

func TestPermissions(t *testing.T) {
	root := newTestView(t)
	root.Umask = 0
	must(t, root.Mkdir(nil, "/tmp", 0o1777), root.Mkdir(nil, "/home", 0o755), root.Mkdir(nil, "/home/ann", 0o700), root.Chown(nil, "/home/ann", 1, 1, true),
		root.Mkdir(nil, "/shared", 0o2775), root.Chown(nil, "/shared", 0, 50, true), root.Chmod(nil, "/shared", 0o2775), root.WriteFile("/f", []byte("x"), 0o640), root.Chown(nil, "/f", 0, 50, true))
	ann := root.NS.View(Cred{UID: 1, GID: 1, Groups: []uint32{50}})
	bob := root.NS.View(Cred{UID: 2, GID: 2})
	must(t, ann.WriteFile("/home/ann/diary", []byte("x"), 0o666), ann.WriteFile("/tmp/ann", nil, 0o666), ann.Mkdir(nil, "/shared/d", 0o777))
	open := func(v *View, name string, flags int) error {
		f, err := v.Open(nil, name, flags, 0)
		if err == nil {
			f.Close()
		}
		return err
	}
	for _, row := range []struct {
		name string
		got  error
		want error
	}{
		{"search a private directory", open(bob, "/home/ann/diary", O_RDONLY), syscall.EACCES},
		{"own file", open(ann, "/home/ann/diary", O_RDWR), nil},
		{"group may read", open(ann, "/f", O_RDONLY), nil},
		{"group may not write", open(ann, "/f", O_WRONLY), syscall.EACCES},
		{"truncate needs write", open(ann, "/f", O_RDONLY|O_TRUNC), syscall.EACCES},
		{"others may not read", open(bob, "/f", O_RDONLY), syscall.EACCES},
		{"create without write permission", open(bob, "/home/x", O_CREAT|O_WRONLY), syscall.EACCES},
		{"remove another's file in a sticky directory", bob.Unlink(nil, "/tmp/ann"), syscall.EPERM},
		{"rename another's file in a sticky directory", bob.Rename(nil, "/tmp/ann", nil, "/tmp/bob", 0), syscall.EPERM},
		{"chmod another's file", bob.Chmod(nil, "/tmp/ann", 0o777), syscall.EPERM},
		{"give a file away", ann.Chown(nil, "/tmp/ann", 2, ^uint32(0), true), syscall.EPERM},
		{"give a file to one's group", ann.Chown(nil, "/tmp/ann", ^uint32(0), 50, true), nil},
		{"a group one is not in", ann.Chown(nil, "/tmp/ann", ^uint32(0), 2, true), syscall.EPERM},
		{"touch without write permission", bob.Utimes(nil, "/tmp/ann", Times{TimeNow, TimeNow}, true), syscall.EACCES},
		{"execute without any x bit as root", root.Access(nil, "/f", AccessExec), syscall.EACCES},
		{"device as somebody", bob.Mknod(nil, "/tmp/dev", ModeChar|0o666, MakeDev(1, 3)), syscall.EPERM},
		{"fifo as somebody", bob.Mknod(nil, "/tmp/fifo", ModeFIFO|0o666, 0), nil},
		{"the owner removes", ann.Unlink(nil, "/tmp/ann"), nil},
	} {
		if row.got != row.want {
			t.Errorf("%s: %v, want %v", row.name, row.got, row.want)
		}
	}
	st, err := ann.Stat(nil, "/home/ann/diary")
	if err != nil || st.Mode != ModeRegular|0o644 {
		t.Errorf("umask: %o %v", st.Mode, err)
	}
	if st, err = ann.Stat(nil, "/shared/d"); err != nil || st.Mode != ModeDir|ModeSetgid|0o755 || st.GID != 50 || st.UID != 1 {
		t.Errorf("setgid directory: %o %d:%d %v", st.Mode, st.UID, st.GID, err)
	}
	f, err := bob.Open(nil, "/tmp/fifo", O_RDWR, 0)
	must(t, err)
	if kind, _, _, ok := f.Device(); kind != ModeFIFO || !ok {
		t.Errorf("fifo: %o %v", kind, ok)
	}
}

type quota struct {
	mu         sync.Mutex
	used, free int64
}

func (q *quota) Charge(d int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d > 0 && q.used+d > q.free {
		return syscall.EDQUOT
	}
	q.used += d
	return nil
}

func TestQuota(t *testing.T) {
	q := &quota{free: 100 << 10}
	fs := NewTmpfs(TmpfsOptions{Size: 64 << 10, Inodes: 10, Charger: q})
	v := NewNamespace(fs).View(Root)
	f, err := v.Open(nil, "/big", O_CREAT|O_WRONLY, 0o644)
	must(t, err)
	n, err := f.Write(make([]byte, 100<<10))
	if n != 64<<10 || err != syscall.ENOSPC {
		t.Errorf("beyond the size: %d %v", n, err)
	}
	if s, err := v.Statfs(nil, "/"); err != nil || s.Blocks != 16 || s.Bfree != 0 {
		t.Errorf("full: %+v %v", s, err)
	}
	must(t, v.Unlink(nil, "/big"))
	if q.used < 64<<10 {
		t.Errorf("an unlinked open file gave its bytes back: %d", q.used)
	}
	must(t, f.Close())
	if q.used != 0 {
		t.Errorf("%d left", q.used)
	}
	for i := 0; ; i++ {
		if err := v.Mkdir(nil, fmt.Sprint(i), 0o755); err != nil {
			if err != syscall.ENOSPC || i != 9 {
				t.Errorf("inode %d: %v", i, err)
			}
			break
		}
	}
	q.free = q.used
	if err := v.WriteFile("/0/f", []byte("x"), 0o644); err != syscall.ENOSPC {
		t.Errorf("no inode left: %v", err)
	}
	must(t, v.Rmdir(nil, "/1"))
	q.free = q.used
	if err := v.WriteFile("/0/f", []byte("x"), 0o644); err != syscall.EDQUOT {
		t.Errorf("the lab's quota: %v", err)
	}
	fs.Close()
	if q.used != 0 {
		t.Errorf("%d left after Close", q.used)
	}
}

func TestDigestUntilWritten(t *testing.T) {
	b := NewLayerBuilder()
	must(t, b.File("bin/prog", LayerAttr{Mode: 0o755}, []byte("\x00asm"), "sha256:abc"))
	up := NewTmpfs(TmpfsOptions{})
	v := NewNamespace(NewOverlay([]FS{b.Layer()}, up)).View(Root)
	digest := func() string {
		f, err := v.Open(nil, "/bin/prog", O_RDONLY, 0)
		must(t, err)
		defer f.Close()
		return f.Digest()
	}
	if d := digest(); d != "sha256:abc" {
		t.Errorf("from the layer: %q", d)
	}
	must(t, v.Chmod(nil, "/bin/prog", 0o700))
	if bytes, _ := up.Used(); digest() != "sha256:abc" || bytes > 2000 {
		t.Errorf("after chmod: %q, %d bytes", digest(), bytes)
	}
	held, err := v.Open(nil, "/bin/prog", O_RDONLY, 0)
	must(t, err)
	f, err := v.Open(nil, "/bin/prog", O_WRONLY|O_APPEND, 0)
	must(t, err)
	_, err = f.Write([]byte("!"))
	must(t, err, f.Close())
	if d := digest(); d != "" || held.Digest() != "" {
		t.Errorf("after a write: %q", d)
	}
	if got := readAll(held); !strings.HasPrefix(got, `"\x00asm!"`) {
		t.Errorf("a reader from before: %s", got)
	}
	must(t, held.Close())
}

func TestProject(t *testing.T) {
	v := newTestView(t)
	must(t, v.Mkdir(nil, "/vol", 0o755))
	one := map[string]ProjectedFile{"a": {[]byte("1"), 0o644}, "sub/b": {[]byte("2"), 0o600}}
	must(t, Project(v, "/vol", one, testClock()()))
	before, err := v.Readlink(nil, "/vol/..data")
	must(t, err)
	must(t, Project(v, "/vol", one, testClock()()))
	if after, _ := v.Readlink(nil, "/vol/..data"); after != before {
		t.Errorf("same content was written again: %s → %s", before, after)
	}
	must(t, Project(v, "/vol", map[string]ProjectedFile{"a": {[]byte("3"), 0o644}, "c": {nil, 0o644}}, testClock()()))
	want := `/vol 40755
/vol/..2023_11_14_22_13_21.000000000_1 40755
/vol/..2023_11_14_22_13_21.000000000_1/a 100644 links 1 inode 0 "3" <nil>
/vol/..2023_11_14_22_13_21.000000000_1/c 100644 links 1 inode 1 "" <nil>
/vol/..data 120777 → ..2023_11_14_22_13_21.000000000_1 <nil>
/vol/a 120777 → ..data/a <nil>
/vol/c 120777 → ..data/c <nil>`
	if d := cmp.Diff(want, dump(t, v)); d != "" {
		t.Error(d)
	}
	err = Project(v, "/vol", map[string]ProjectedFile{"../x": {}, "/y": {}, "ok": {}}, testClock()())
	if err == nil || !strings.Contains(err.Error(), `"../x" "/y"`) {
		t.Errorf("bad names: %v", err)
	}
}

func TestDynamic(t *testing.T) {
	var cgroups []string
	proc := NewDynamic("proc", MagicProc, nil, &DynDir{
		Static: map[string]DynEntry{
			"self": &DynLink{Read: func(caller any) (string, error) { return fmt.Sprint(caller), nil }},
			"who":  &DynFile{Read: func(caller any) ([]byte, error) { return []byte(fmt.Sprint("I am ", caller)), nil }},
			"null": &DynNode{Mode: ModeChar | 0o666, Rdev: MakeDev(1, 3)},
			"set": &DynFile{Read: func(any) ([]byte, error) { return []byte(strings.Join(cgroups, ",")), nil },
				Write: func(_ any, p []byte) error { cgroups = append(cgroups, string(p)); return nil }},
			"pipe": &DynLink{Target: "pipe:[7]", To: func(any) (Target, error) { return Target{Special: "a pipe"}, nil }},
		},
		Lookup: func(_ any, name string) DynEntry {
			if name != "1" && name != "42" {
				return nil
			}
			return &DynDir{Static: map[string]DynEntry{"comm": &DynFile{Read: func(any) ([]byte, error) { return []byte("p" + name), nil }}}}
		},
		Names: func() []string { return []string{"1", "42"} },
		Mkdir: func(_ any, name string) error { return syscall.EEXIST },
	})
	v := newTestView(t)
	must(t, v.Mkdir(nil, "/proc", 0o555), v.NS.Mount("/proc", proc, MountNoExec))
	v.Caller = 42
	for name, want := range map[string]string{"/proc/self/comm": "p42", "/proc/1/comm": "p1", "/proc/who": "I am 42", "/proc/42/../1/comm": "p1"} {
		if b, err := v.ReadFile(name, 100); string(b) != want || err != nil {
			t.Errorf("%s: %q %v, want %q", name, b, err, want)
		}
	}
	must(t, v.Chdir(nil, "/proc/self"))
	if p, err := v.Getcwd(); p != "/proc/42" || err != nil {
		t.Error(p, err)
	}
	must(t, v.WriteFile("/proc/set", []byte("x"), 0))
	if b, _ := v.ReadFile("/proc/set", 9); string(b) != "x" {
		t.Errorf("set: %q", b)
	}
	f, err := v.Open(nil, "/proc/pipe", O_RDONLY, 0)
	must(t, err)
	if f.Special() != "a pipe" {
		t.Errorf("special: %v", f.Special())
	}
	if err := v.Mkdir(nil, "/proc/new", 0o755); err != syscall.EEXIST {
		t.Error(err)
	}
	if err := v.WriteFile("/proc/new", nil, 0o755); err != syscall.EPERM {
		t.Error(err)
	}
	names, err := v.names("/proc")
	if d := cmp.Diff([]string{"null", "pipe", "self", "set", "who", "1", "42"}, names); d != "" || err != nil {
		t.Error(d, err)
	}
}

// TestConcurrent is for the race detector: many processes in one overlay.
func TestConcurrent(t *testing.T) {
	up := NewTmpfs(TmpfsOptions{})
	ns := NewNamespace(NewOverlay([]FS{seedLayer(t, func(int) bool { return true }, nil)}, up))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			p := &program{files: map[*View][]*File{}}
			v := ns.View(Root)
			seed := uint32(g + 1)
			for range 300 {
				p.data = p.data[:0]
				for range 12 {
					seed = seed*1664525 + 1013904223
					p.data = append(p.data, byte(seed>>16))
				}
				p.step(map[string]*View{"": v})
				v.names(".")
			}
			for _, f := range p.files[v] {
				f.Close()
			}
		})
	}
	wg.Wait()
	v := ns.View(Root)
	names, err := v.names("/")
	must(t, err)
	for _, n := range names {
		must(t, v.RemoveAll("/"+n))
	}
	if bytes, inodes := up.Used(); bytes != 0 || inodes != 1 {
		t.Errorf("%d bytes, %d inodes left", bytes, inodes)
	}
}

func BenchmarkOpenInOverlay(b *testing.B) {
	v := NewNamespace(NewOverlay([]FS{seedLayer(b, func(int) bool { return true }, nil)}, NewTmpfs(TmpfsOptions{}))).View(Root)
	for b.Loop() {
		f, err := v.Open(nil, "/d0/d1/f0", O_RDONLY, 0)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkWriteFile(b *testing.B) {
	v := newTestView(b)
	data := make([]byte, 4096)
	for b.Loop() {
		if err := v.WriteFile("/f", data, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewOverlay(b *testing.B) {
	l := seedLayer(b, func(int) bool { return true }, nil)
	for b.Loop() {
		NewNamespace(NewOverlay([]FS{l}, NewTmpfs(TmpfsOptions{})))
	}
}
