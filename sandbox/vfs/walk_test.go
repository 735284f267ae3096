package vfs

import (
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"
)

// model is path resolution once more, over canonical path strings instead of nodes.
type model struct {
	kind map[string]string // canonical path → "dir", "file" or "→target"
	root string
}

func (m model) resolve(cwd, name string, follow bool) (string, error) {
	if name == "" {
		return "", syscall.ENOENT
	}
	links := 0
	cur, err := m.walk(cwd, name, follow || strings.HasSuffix(name, "/"), &links)
	if err == nil && strings.HasSuffix(name, "/") && m.kind[cur] != "dir" {
		err = syscall.ENOTDIR
	}
	return cur, err
}

func (m model) walk(cur, name string, follow bool, links *int) (string, error) {
	if strings.HasPrefix(name, "/") {
		cur = m.root
	}
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		if p != "" {
			parts = append(parts, p)
		}
	}
	for i, p := range parts {
		if m.kind[cur] != "dir" {
			return "", syscall.ENOTDIR
		}
		switch p {
		case ".":
			continue
		case "..":
			if cur != m.root {
				cur = path.Dir(cur)
			}
			continue
		}
		next := path.Join(cur, p)
		kind, ok := m.kind[next]
		if !ok {
			return "", syscall.ENOENT
		}
		target, isLink := strings.CutPrefix(kind, "→")
		last := i == len(parts)-1
		if !isLink || last && !follow {
			cur = next
			continue
		}
		if *links++; *links > MaxSymlinks {
			return "", syscall.ELOOP
		}
		var err error
		if cur, err = m.walk(cur, target, true, links); err != nil {
			return "", err
		}
		if last && strings.HasSuffix(target, "/") && m.kind[cur] != "dir" {
			return "", syscall.ENOTDIR
		}
	}
	return cur, nil
}

func (m model) build(t testing.TB) *View {
	v := newTestView(t)
	for _, pass := range []string{"dir", "file", "→"} {
		for depth := 1; depth < 8; depth++ {
			for p, kind := range m.kind {
				if strings.Count(p, "/") != depth || p == "/" || !strings.HasPrefix(kind, pass) {
					continue
				}
				var err error
				switch {
				case kind == "dir":
					err = v.MkdirAll(p, 0o755)
				case kind == "file":
					err = v.WriteFile(p, nil, 0o644)
				default:
					err = v.Symlink(strings.TrimPrefix(kind, "→"), nil, p)
				}
				if err != nil {
					t.Fatal(p, kind, err)
				}
			}
		}
	}
	if err := v.Chroot(m.root); err != nil {
		t.Fatal(err)
	}
	return v
}

// check compares one resolution with the model's.
func (m model) check(t testing.TB, v *View, name string, follow bool) {
	want, wantErr := m.resolve(m.root, name, follow)
	flags := O_PATH
	if !follow {
		flags |= O_NOFOLLOW
	}
	f, err := v.Open(nil, name, flags, 0)
	if err != nil || wantErr != nil {
		if err != wantErr {
			t.Fatalf("%q follow %v in %v: got %v, want %v %v", name, follow, m.kind, err, want, wantErr)
		}
		return
	}
	defer f.Close()
	if got := f.Path(); got != want {
		t.Fatalf("%q follow %v in %v: got %s, want %s", name, follow, m.kind, got, want)
	}
}

func TestResolution(t *testing.T) {
	m := model{root: "/jail", kind: map[string]string{
		"/": "dir", "/secret": "file", "/jail": "dir", "/jail/a": "dir", "/jail/a/b": "dir", "/jail/a/b/f": "file", "/jail/secret": "file",
		"/jail/up": "→..", "/jail/upup": "→../../../..", "/jail/abs": "→/a/b", "/jail/rel": "→a/b", "/jail/dangling": "→nowhere/x",
		"/jail/self": "→self", "/jail/ping": "→pong", "/jail/pong": "→ping", "/jail/a/root": "→/", "/jail/a/out": "→../../secret",
		"/jail/a/b/slash": "→f/", "/jail/tofile": "→a/b/f", "/jail/a/b/dot": "→.", "/jail/deep": "→rel/../b/./f",
	}}
	v := m.build(t)
	names := []string{".", "..", "a", "b", "f", "up", "upup", "abs", "rel", "dangling", "self", "ping", "root", "out", "slash", "tofile", "dot", "deep", "secret", "missing", "a/b", ""}
	for _, x := range names {
		for _, y := range names {
			for _, z := range names {
				for _, name := range []string{x, x + "/" + y, "/" + x + "/" + y, x + "/" + y + "/" + z, x + "/", x + "/" + y + "/"} {
					m.check(t, v, name, true)
					m.check(t, v, name, false)
				}
			}
		}
	}
}

func FuzzResolution(f *testing.F) {
	f.Add([]byte{1, 2, 3, 40, 50, 60, 7, 8, 9}, "l0/../f1/")
	f.Add([]byte{9, 9, 9, 9, 30, 31, 32}, "/l1/../l0//.")
	f.Fuzz(func(t *testing.T, shape []byte, name string) {
		if len(shape) > 60 || len(name) > 200 || strings.ContainsRune(name, 0) {
			return
		}
		m := model{root: "/", kind: map[string]string{"/": "dir"}}
		dirs := []string{"/"}
		parts := []string{"..", ".", "n0", "n1", "n2", "n3", ""}
		for i := 0; i+2 < len(shape) && len(m.kind) < 20; i += 3 {
			p := path.Join(dirs[int(shape[i])%len(dirs)], fmt.Sprintf("n%d", shape[i+1]%4))
			if m.kind[p] != "" {
				continue
			}
			switch c := shape[i+2]; c % 4 {
			case 0, 1:
				if strings.Count(p, "/") > 5 {
					continue
				}
				m.kind[p] = "dir"
				dirs = append(dirs, p)
			case 2:
				m.kind[p] = "file"
			case 3:
				target := parts[int(c)/4%len(parts)] + "/" + parts[int(c)/32%len(parts)]
				m.kind[p] = "→" + target
			}
		}
		v := m.build(t)
		for _, n := range []string{name, "n0/" + name, "n1/n2/../" + name} {
			if n == "" {
				continue
			}
			for c := range strings.SplitSeq(n, "/") {
				if len(c) > NameMax {
					return
				}
			}
			m.check(t, v, n, true)
			m.check(t, v, n, false)
		}
	})
}

func TestTooLong(t *testing.T) {
	v := newTestView(t)
	if err := v.Mkdir(nil, strings.Repeat("n", 255), 0o755); err != nil {
		t.Error(err)
	}
	if err := v.Mkdir(nil, strings.Repeat("n", 256), 0o755); err != syscall.ENAMETOOLONG {
		t.Errorf("name of 256: %v", err)
	}
	if _, err := v.Stat(nil, strings.Repeat("/", 4096)); err != syscall.ENAMETOOLONG {
		t.Errorf("path of 4096: %v", err)
	}
	for i := 0; ; i++ {
		if err := v.Mkdir(nil, "d", 0o755); err != nil {
			if err != syscall.ENAMETOOLONG || i != MaxDepth {
				t.Errorf("depth %d: %v", i, err)
			}
			break
		}
		if err := v.Chdir(nil, "d"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Getcwd(); err != nil {
		t.Errorf("getcwd at depth %d: %v", MaxDepth, err)
	}
}

// TestBindContainment moves a directory out of the part of a file system that is mounted: its `..` must not lead into the rest.
func TestBindContainment(t *testing.T) {
	fs := NewTmpfs(TmpfsOptions{})
	host := NewNamespace(fs).View(Root)
	for _, d := range []string{"/part/in", "/other"} {
		if err := host.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	guestRoot := NewTmpfs(TmpfsOptions{})
	ns := NewNamespace(guestRoot)
	v := ns.View(Root)
	if err := v.Mkdir(nil, "/mnt", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := host.Open(nil, "/part", O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.BindFile(f, "/mnt", false); err != nil {
		t.Fatal(err)
	}
	if err := v.Chdir(nil, "/mnt/in"); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Getcwd(); got != "/mnt/in" || err != nil {
		t.Fatal(got, err)
	}
	if err := v.Chdir(nil, "../.."); err != nil || v.Cwd != v.Root {
		t.Fatal("two up of /mnt/in is not /:", err)
	}
	if err := v.Chdir(nil, "/mnt/in"); err != nil {
		t.Fatal(err)
	}
	if err := host.Rename(nil, "/part/in", nil, "/other/in", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Stat(nil, ".."); err != syscall.ENOENT {
		t.Errorf("`..` out of the mounted part: %v", err)
	}
	if p, err := v.Getcwd(); err != syscall.ENOENT {
		t.Errorf("getcwd out of the mounted part: %q %v", p, err)
	}
}
