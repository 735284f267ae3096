package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/google/go-cmp/cmp"
)

var when = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func recipe(names ...string) Recipe {
	return Recipe{
		Names: names, Created: when, Config: Config{Entrypoint: []string{"/bin/prog"}, Env: []string{"A=b"}, ExposedPorts: []string{"80/tcp"}, StopSignal: "SIGQUIT"},
		Layers: [][]File{
			{{Path: "bin/prog", Mode: 0o755, Data: []byte("\x00asm....")}, {Path: "bin/also", Hardlink: "bin/prog"}, {Path: "etc/base", Data: []byte("base")}, {Path: "gone", Data: []byte("x")}},
			{{Path: "etc/top", Data: []byte("top")}, {Path: "gone", Whiteout: true}, {Path: "link", Symlink: "etc/top"}},
		},
	}
}

func build(t testing.TB, r Recipe, pack Packer) *Built {
	t.Helper()
	b, err := r.Assemble(pack)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPullAndRun(t *testing.T) {
	for _, row := range []struct{ name, cache string }{{"on the heap", ""}, {"mapped", t.TempDir()}} {
		t.Run(row.name, func(t *testing.T) {
			for range 2 { // the second time from the cache
				c := NewContent(ContentConfig{CacheDir: row.cache})
				s := NewStore(c)
				if _, err := s.Add("", build(t, recipe(), Zstd), "nginx:1.28", "nginx"); err != nil {
					t.Fatal(err)
				}
				i, err := s.NewLocal("lab").Pull(context.Background(), "nginx", nil)
				if err != nil {
					t.Fatal(err)
				}
				checkTree(t, i)
				c.Close()
			}
		})
	}
}

func checkTree(t *testing.T, i *Image) {
	t.Helper()
	if d := cmp.Diff(recipe().Config, i.Config); d != "" || i.Platform != Wasm {
		t.Error(d, i.Platform)
	}
	lowers, err := i.FS()
	if err != nil {
		t.Fatal(err)
	}
	v := vfs.NewNamespace(vfs.NewOverlay(lowers, vfs.NewTmpfs(vfs.TmpfsOptions{}))).View(vfs.Root)
	for name, want := range map[string]string{"/bin/also": "\x00asm....", "/etc/base": "base", "/link": "top"} {
		if b, err := v.ReadFile(name, 100); string(b) != want || err != nil {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
	if _, err := v.Stat(nil, "/gone"); err != syscall.ENOENT {
		t.Errorf("whiteout: %v", err)
	}
	f, err := v.Open(nil, "/bin/prog", vfs.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if f.Digest() != DigestOf([]byte("\x00asm....")) || f.Stat().Nlink != 2 {
		t.Errorf("digest %s, links %d", f.Digest(), f.Stat().Nlink)
	}
}

func TestReproducible(t *testing.T) {
	a, b := build(t, recipe(), Zstd), build(t, recipe(), Zstd)
	if a.Digest != b.Digest || !bytes.Equal(a.Layers[0].Data, b.Layers[0].Data) {
		t.Error("two builds differ")
	}
}

func TestLayersAreFetchedOnce(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	two := recipe()
	two.Layers = [][]File{two.Layers[0], {{Path: "etc/other", Data: []byte("o")}}}
	for name, r := range map[string]Recipe{"one": recipe(), "two": two} {
		if _, err := s.Add("", build(t, r, Zstd), name); err != nil {
			t.Fatal(err)
		}
	}
	node := s.NewLocal("")
	pull := func(name string) (states []LayerState) {
		if _, err := node.Pull(context.Background(), name, func(p Progress) { states = append(states, p.State) }); err != nil {
			t.Fatal(err)
		}
		return states
	}
	if d := cmp.Diff([]LayerState{LayerPulling, LayerComplete, LayerPulling, LayerComplete}, pull("one")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]LayerState{LayerExists, LayerPulling, LayerComplete}, pull("two")); d != "" {
		t.Error(d)
	}
	for _, n := range []string{"one", "docker.io/library/two:latest"} {
		if err := node.Remove(n); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]LayerState{LayerPulling, LayerComplete, LayerPulling, LayerComplete}, pull("two")); d != "" {
		t.Error(d)
	}
	if len(node.List()) != 1 {
		t.Errorf("%d images", len(node.List()))
	}
}

func TestNames(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	i, err := s.Add("", build(t, recipe(), Plain), "nginx:1.28", "registry.k8s.io/pause:3.10", "curlimages/curl:latest", "busybox")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add("lab-a", build(t, recipe(), Plain), "mine:1"); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, want string }{
		{"nginx:1.28", ""}, {"docker.io/nginx:1.28", ""}, {"index.docker.io/library/nginx:1.28", ""}, {"nginx@" + i.Digest, ""},
		{"nginx", `docker.io/library/nginx:latest: not found: this lab's catalogue has no tag "latest" of nginx, it has 1.28`},
		{"nginxx:1", `docker.io/library/nginxx:1: not found: "nginxx" is not in this lab's catalogue (did you mean "nginx"?). It has busybox, curlimages/curl, nginx, registry.k8s.io/pause; images here are built with the lab as WebAssembly, nothing is fetched from outside: see 'drydock differences'`},
		{"mine:1", `docker.io/library/mine:1: not found: "mine" is not in this lab's catalogue. It has busybox, curlimages/curl, nginx, registry.k8s.io/pause; images here are built with the lab as WebAssembly, nothing is fetched from outside: see 'drydock differences'`},
		{"UPPER", `couldn't parse image name "UPPER": invalid reference format: repository name (library/UPPER) must be lowercase`},
		{"a b", `couldn't parse image name "a b": invalid reference format`},
	} {
		_, err := s.NewLocal("lab-b").Pull(context.Background(), row.name, nil)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if d := cmp.Diff(row.want, got); d != "" {
			t.Errorf("%s: %s", row.name, d)
		}
	}
	a := s.NewLocal("lab-a")
	if _, err := a.Pull(context.Background(), "mine:1", nil); err != nil {
		t.Errorf("a lab's own name: %v", err)
	}
	for _, name := range []string{"mine:1", i.Digest, i.ID, i.ID[7:19]} {
		if got, err := a.Find(name); err != nil || got != i {
			t.Errorf("find %s: %v", name, err)
		}
	}
	if _, err := a.Find("nginx:1.28"); !errors.Is(err, ErrNotPresent) {
		t.Errorf("a name that was not pulled: %v", err)
	}
}

func TestCorruptContent(t *testing.T) {
	b := build(t, recipe(), Zstd)
	for _, row := range []struct {
		name  string
		spoil func(*Built)
		want  error
	}{
		{"layer that is another", func(b *Built) {
			other := recipe()
			other.Layers[0][0].Data = []byte("evil")
			b.Layers[0].Data = build(t, other, Zstd).Layers[0].Data
		}, ErrDigest},
		{"no layer", func(b *Built) { b.Layers[0].Data = nil }, ErrNoBlob},
	} {
		c := NewContent(ContentConfig{CacheDir: t.TempDir()})
		bad := *b
		bad.Layers = append([]Blob(nil), b.Layers...)
		row.spoil(&bad)
		if bad.Layers[0].Data != nil {
			c.blobs[b.Layers[0].Digest] = &blob{data: bad.Layers[0].Data}
		}
		_, err := c.Tree(b.Layers[0].Layer)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(c.cfg.CacheDir, "*")); len(left) > 0 {
			t.Errorf("%s: %v left in the cache", row.name, left)
		}
	}
}

type tarEntry struct {
	h    tar.Header
	body string
}

func makeTar(t testing.TB, es ...tarEntry) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range es {
		h := e.h
		h.Size = int64(len(e.body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpack(t *testing.T) {
	file := func(name, body string) tarEntry {
		return tarEntry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
	}
	link := func(kind byte, name, to string) tarEntry {
		return tarEntry{tar.Header{Name: name, Linkname: to, Typeflag: kind}, ""}
	}
	for _, row := range []struct {
		name    string
		entries []tarEntry
		limits  Limits
		want    error
		files   string
	}{
		{"absolute and dotted names", []tarEntry{file("/a/./b", "1"), file("./c//d", "2")}, Limits{}, nil, "a/b=1 c/d=2"},
		{"a later entry replaces", []tarEntry{file("a", "1"), file("a", "2")}, Limits{}, nil, "a=2"},
		{"a directory replaces a file", []tarEntry{file("a", "1"), {tar.Header{Name: "a/", Typeflag: tar.TypeDir, Mode: 0o700}, ""}, file("a/b", "2")}, Limits{}, nil, "a/b=2"},
		{"hard link", []tarEntry{file("a", "1"), link(tar.TypeLink, "b", "/a")}, Limits{}, nil, "a=1 b=1"},
		{"hard link to what comes later", []tarEntry{link(tar.TypeLink, "b", "a"), file("a", "1")}, Limits{}, syscall.ENOENT, ""},
		{"hard link out", []tarEntry{link(tar.TypeLink, "b", "../../etc/passwd")}, Limits{}, ErrEscape, ""},
		{"hard link through a symbolic link", []tarEntry{link(tar.TypeSymlink, "l", "/etc"), link(tar.TypeLink, "b", "l/passwd")}, Limits{}, syscall.ENOTDIR, ""},
		{"name out", []tarEntry{file("a/../../b", "1")}, Limits{}, ErrEscape, ""},
		{"file through a symbolic link", []tarEntry{link(tar.TypeSymlink, "l", "/etc"), file("l/passwd", "x")}, Limits{}, syscall.ENOTDIR, ""},
		{"symbolic link out is a text", []tarEntry{link(tar.TypeSymlink, "l", "../../../etc")}, Limits{}, nil, ""},
		{"root as a file", []tarEntry{file(".", "x")}, Limits{}, ErrEscape, ""},
		{"whiteout of the parent", []tarEntry{file("a/.wh...", "")}, Limits{}, ErrEscape, ""},
		{"too many entries", []tarEntry{file("a", ""), file("b", ""), file("c", "")}, Limits{Entries: 2}, ErrTooLarge, ""},
		{"names too long together", []tarEntry{file(strings.Repeat("a", 90), "")}, Limits{NameBytes: 50}, ErrTooLarge, ""},
		{"archive too large", []tarEntry{file("a", "")}, Limits{LayerBytes: 100}, ErrTooLarge, ""},
		{"name of 256", []tarEntry{file(strings.Repeat("n", 256), "")}, Limits{}, syscall.ENAMETOOLONG, ""},
	} {
		l, err := Unpack(makeTar(t, row.entries...), row.limits, nil)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
		if err != nil {
			continue
		}
		var got []string
		l.Files(func(path string, data []byte) { got = append(got, path+"="+string(data)) })
		if s := strings.Join(got, " "); s != row.files {
			t.Errorf("%s: %q, want %q", row.name, s, row.files)
		}
	}
}

// FuzzUnpack: no archive makes Unpack panic, read outside, or see other bytes in a file than the standard reader.
func FuzzUnpack(f *testing.F) {
	f.Add(makeTar(f, tarEntry{tar.Header{Name: "a/b", Typeflag: tar.TypeReg}, "hello"}, tarEntry{tar.Header{Name: "l", Linkname: "a/b", Typeflag: tar.TypeLink}, ""}))
	f.Add(makeTar(f, tarEntry{tar.Header{Name: "d/.wh..wh..opq", Typeflag: tar.TypeReg}, ""}, tarEntry{tar.Header{Name: strings.Repeat("long/", 40) + "x", Typeflag: tar.TypeReg}, "body"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Unpack(b, Limits{Entries: 1000}, nil)
		if err != nil {
			return
		}
		want := map[string][]byte{}
		r := tar.NewReader(bytes.NewReader(b))
		for {
			h, err := r.Next()
			if err != nil {
				break
			}
			body, err := io.ReadAll(r)
			if err != nil {
				break
			}
			if name, err := clean(h.Name); err == nil && h.Typeflag == tar.TypeReg {
				want[name] = body
			}
		}
		l.Files(func(path string, data []byte) {
			if w, ok := want[path]; ok && !bytes.Equal(w, data) {
				// A hard link may have replaced the file since: then its bytes are another file's.
				for _, w := range want {
					if bytes.Equal(w, data) {
						return
					}
				}
				t.Fatalf("%q: %q, want %q", path, data, w)
			}
		})
		vfs.NewNamespace(vfs.NewOverlay([]vfs.FS{l}, vfs.NewTmpfs(vfs.TmpfsOptions{}))).View(vfs.Root).RemoveAll("/x")
	})
}

func BenchmarkUnpack(b *testing.B) {
	var files []File
	for i := range 400 {
		files = append(files, File{Path: fmt.Sprintf("usr/share/d%d/f%d", i%20, i), Data: make([]byte, 4096)})
	}
	a, err := Archive(files, when)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(a)))
	for b.Loop() {
		if _, err := Unpack(a, Limits{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
