package main

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/catalogue"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/google/go-cmp/cmp"
)

func fakePrograms(t *testing.T) programs {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	p := programs{wasm: map[string][]byte{}, elf: []byte("\x7fELF")}
	for _, g := range guests {
		p.wasm[g] = []byte("\x00asm" + g)
	}
	if p.applets, err = applets(root + "/sandbox/guests/coreutils/table.go"); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCatalogue(t *testing.T) {
	p, dist := fakePrograms(t), t.TempDir()
	if err := write(dist, p, nil); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(dist + "/catalogue.json")
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := write(other, p, nil); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(other + "/catalogue.json")
	if d := cmp.Diff(string(first), string(second)); d != "" || err != nil {
		t.Errorf("two builds differ: %v %s", err, d)
	}
	checkPrograms(t, first)
	s, err := catalogue.Open(os.DirFS(dist), catalogue.Config{})
	if err != nil {
		t.Fatal(err)
	}
	node := s.NewLocal("")
	for _, name := range []string{"nginx", "nginx:1.28", "nginx:1.29", "nginx:alpine", "busybox", "busybox:1.37", "alpine", "alpine:3.22", "curlimages/curl", "curlimages/curl:8.17.0", "hello-world",
		"hello-world:linux", "registry.k8s.io/pause:3.10", "drydock/hog", "drydock/crash", "drydock/hello-amd64"} {
		i, err := node.Pull(context.Background(), name, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := (image.Platform{OS: "linux", Architecture: "amd64"}); name == "drydock/hello-amd64" && i.Platform != want || name != "drydock/hello-amd64" && i.Platform != image.Wasm {
			t.Errorf("%s: %v", name, i.Platform)
		}
	}
	checkFiles(t, node, "nginx:1.28", map[string]string{"/usr/sbin/nginx": "\x00asmhttpd", "/bin/ls": "\x00asmcoreutils", "/bin/bash": "\x00asmshell", "/usr/bin/curl": "\x00asmcoreutils", "/usr/bin/env": "\x00asmcoreutils"})
	checkFiles(t, node, "drydock/hello-amd64", map[string]string{"/hello": "\x7fELF"})
	if a, b := nginxPage("1.28"), nginxPage("1.29"); a == b {
		t.Error("the two versions show the same page")
	}
	for _, name := range []string{catalogue.Workstation, catalogue.Node} {
		if _, err := node.Pull(context.Background(), name, nil); err == nil {
			t.Errorf("%s is offered to labs", name)
		}
		i, err := catalogue.Machine(s, name)
		if err != nil {
			t.Fatal(err)
		}
		v := view(t, i)
		if b, err := v.ReadFile("/usr/local/bin/kubectl", 100); string(b) != "\x00asmkubectl" || err != nil {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
}

// checkPrograms: every guest's digest is known, and nothing else's.
func checkPrograms(t *testing.T, index []byte) {
	t.Helper()
	for _, g := range guests {
		if !bytes.Contains(index, []byte(image.DigestOf([]byte("\x00asm"+g)))) {
			t.Errorf("the digest of %s is not in the index", g)
		}
	}
	if bytes.Contains(index, []byte(".sh")) {
		t.Error("a script is listed as a program")
	}
}

func view(t *testing.T, i *image.Image) *vfs.View {
	lowers, err := i.FS()
	if err != nil {
		t.Fatal(err)
	}
	return vfs.NewNamespace(vfs.NewOverlay(lowers, vfs.NewTmpfs(vfs.TmpfsOptions{}))).View(vfs.Root)
}

func checkFiles(t *testing.T, node *image.Local, name string, want map[string]string) {
	t.Helper()
	i, err := node.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	v := view(t, i)
	for path, body := range want {
		f, err := v.Open(nil, path, vfs.O_RDONLY, 0)
		if err != nil {
			t.Errorf("%s in %s: %v", path, name, err)
			continue
		}
		b, digest, ok := f.Content()
		if string(b) != body || digest != image.DigestOf(b) || !ok || f.Stat().Mode&0o111 == 0 {
			t.Errorf("%s in %s: %q %s %o", path, name, b, digest, f.Stat().Mode)
		}
	}
}

// TestRebuildKeepsLayers: a layer that did not change is not packed again, and what no image uses is removed.
func TestRebuildKeepsLayers(t *testing.T) {
	p, dist := fakePrograms(t), t.TempDir()
	if err := write(dist, p, nil); err != nil {
		t.Fatal(err)
	}
	names := func() (l []string) {
		es, err := os.ReadDir(dist + "/blobs/sha256")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			l = append(l, e.Name())
		}
		return l
	}
	before := names()
	p.wasm["hog"] = []byte("\x00asmhog2")
	if err := write(dist, p, []string{"kubectl"}); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, n := range names() {
		if slices.Contains(before, n) {
			kept++
		}
	}
	if after := len(names()); kept != after-3 || after >= len(before) { // hog's layer, configuration and manifest are new; kubectl's images are gone
		t.Errorf("%d blobs, %d now, %d of them kept", len(before), after, kept)
	}
}

func TestEmptyCatalogueSaysSo(t *testing.T) {
	if _, err := catalogue.Open(os.DirFS(t.TempDir()), catalogue.Config{}); err != catalogue.ErrEmpty {
		t.Error(err)
	}
}
