package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// saved is the recipe's image as docker save writes it.
func saved(t testing.TB) []byte {
	t.Helper()
	s := NewStore(NewContent(ContentConfig{}))
	l := s.NewLocal("a")
	if _, err := l.Put(build(t, recipe(), Zstd), "app:1", "registry.lab/app:2"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := l.Save(context.Background(), &b, "app:1", "registry.lab/app:2"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// legacyArchive is the recipe's image as docker save wrote it before version 25: layers uncompressed, one by a link.
func legacyArchive(t testing.TB) []byte {
	t.Helper()
	b := build(t, recipe(), Plain)
	m, err := json.Marshal([]legacyImage{{Config: "c.json", RepoTags: []string{"app:1"}, Layers: []string{"l0/layer.tar", "l1/layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, body []byte) tarEntry {
		return tarEntry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, string(body)}
	}
	return makeTar(t, file("c.json", b.Config), file("l0/layer.tar", b.Layers[0].Data), file("x/layer.tar", b.Layers[1].Data),
		tarEntry{tar.Header{Name: "l1/layer.tar", Linkname: "../x/layer.tar", Typeflag: tar.TypeSymlink}, ""}, file("manifest.json", m))
}

func TestSaveAndLoad(t *testing.T) {
	for _, row := range []struct {
		name    string
		archive []byte
		names   []string
	}{
		{"new", saved(t), []string{"docker.io/library/app:1", "registry.lab/app:2"}},
		{"old", legacyArchive(t), []string{"docker.io/library/app:1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := NewStore(NewContent(ContentConfig{BlobDir: t.TempDir()}))
			disk := &quota{limit: 1 << 20}
			s.Configure("b", ScopeConfig{Charger: disk})
			l := s.NewLocal("b")
			if _, err := l.Load(context.Background(), bytes.NewReader(row.archive)); err != nil {
				t.Fatal(err)
			}
			e := l.List()
			if len(e) != 1 {
				t.Fatalf("%d images", len(e))
			}
			if d := cmp.Diff(row.names, e[0].Tags); d != "" {
				t.Error(d)
			}
			checkTree(t, e[0].Image)
			if disk.used == 0 {
				t.Error("nothing is charged")
			}
			l.Close()
			if disk.used != 0 || len(s.Content.blobs) != 0 {
				t.Errorf("%d bytes charged and %d blobs after the end", disk.used, len(s.Content.blobs))
			}
		})
	}
}

// TestLoadRefuses what is no archive, too large, or another lab's; nothing of it stays.
func TestLoadRefuses(t *testing.T) {
	secret := build(t, recipe(), Zstd)
	index := func(d string) string {
		return `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + d + `","size":1}]}`
	}
	file := func(name, body string) tarEntry {
		return tarEntry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
	}
	for _, row := range []struct {
		name    string
		archive []byte
		want    error
	}{
		{"no archive", []byte(strings.Repeat("hello", 200)), ErrArchive},
		{"empty", makeTar(t), ErrArchive},
		{"no images", makeTar(t, file("index.json", `{"manifests":[]}`)), ErrArchive},
		{"another lab's manifest", makeTar(t, file("index.json", index(secret.Digest))), ErrArchive},
		{"another lab's layers", makeTar(t, file("index.json", index(secret.Digest)), file(blobPath(secret.Digest), string(secret.Manifest))), ErrArchive},
		{"a disk's worth", makeTar(t, file("big", strings.Repeat("x", 200_000)), file("index.json", index(secret.Digest))), syscall.ENOSPC},
		{"cut off", saved(t)[:2000], ErrArchive},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := NewStore(NewContent(ContentConfig{}))
			putImage(t, s.Scope("a"), "secret:1", secret)
			before := len(s.Content.blobs)
			disk := &quota{limit: 100_000}
			s.Configure("b", ScopeConfig{Charger: disk})
			l := s.NewLocal("b")
			if _, err := l.Load(context.Background(), bytes.NewReader(row.archive)); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
			if len(l.List()) != 0 || disk.used != 0 || len(s.Content.blobs) != before {
				t.Errorf("%d images, %d bytes charged, %d blobs and before %d", len(l.List()), disk.used, len(s.Content.blobs), before)
			}
		})
	}
}

// FuzzLoad: no archive makes Load panic, or leaves content or charge when the machine is gone.
func FuzzLoad(f *testing.F) {
	f.Add(saved(f))
	f.Add(legacyArchive(f))
	f.Add(makeTar(f, tarEntry{tar.Header{Name: "manifest.json", Typeflag: tar.TypeReg}, `[{"Config":"manifest.json","Layers":["manifest.json"]}]`}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewStore(NewContent(ContentConfig{}))
		disk := &quota{limit: 1 << 20}
		s.Configure("lab", ScopeConfig{Charger: disk})
		l := s.NewLocal("lab")
		images, err := l.Load(context.Background(), bytes.NewReader(b))
		if err == nil && len(images) == 0 {
			t.Error("loaded nothing without an error")
		}
		l.Close()
		if disk.used != 0 || len(s.Content.blobs) != 0 {
			t.Errorf("%d bytes charged, %d blobs left", disk.used, len(s.Content.blobs))
		}
	})
}
