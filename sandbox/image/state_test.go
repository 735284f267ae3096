package image

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRestart: what a lab pushed and pulled is there in the next process, at the same charge; what is nobody's is swept.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	disk := &quota{limit: 1 << 20}
	journal := map[string][]byte{}
	open := func() (*Store, *Scope) {
		s := NewStore(NewContent(ContentConfig{BlobDir: dir}))
		if err := s.Content.Recover(); err != nil {
			t.Fatal(err)
		}
		v := s.Scope("lab")
		s.Configure("lab", ScopeConfig{Charger: disk, Changed: func(repo string) {
			b, err := json.Marshal(v.Export(repo))
			if err != nil {
				t.Error(err)
			}
			journal[repo] = b
		}})
		return s, v
	}
	s, v := open()
	putImage(t, v, "app:1", build(t, recipe(), Zstd))
	gone := recipe()
	gone.Layers = gone.Layers[:1]
	putImage(t, v, "gone:1", build(t, gone, Plain))
	node := s.NewLocal("lab")
	if _, err := node.Pull(context.Background(), "app:1", nil); err != nil {
		t.Fatal(err)
	}
	r, err := ParseRef("gone@" + build(t, gone, Plain).Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.DeleteManifest(r); err != nil {
		t.Fatal(err)
	}
	v.Collect(0)
	if _, err := v.NewUpload(100); err != nil { // and the process dies
		t.Fatal(err)
	}
	charged, images := disk.used, node.Export()
	putStrayFile(t, dir)

	disk.used = 0
	s, v = open()
	restore(t, v, journal)
	node = s.NewLocal("lab")
	if err := node.Import(images); err != nil {
		t.Fatal(err)
	}
	if freed := s.Content.Sweep(nil); freed != 5 || disk.used != charged {
		t.Errorf("swept %d bytes, charged %d and before %d", freed, disk.used, charged)
	}
	i, err := node.Find("app:1")
	if err != nil {
		t.Fatal(err)
	}
	checkTree(t, i)
	if d := cmp.Diff([]string{"docker.io/library/app:1"}, s.Names("lab")); d != "" {
		t.Error(d)
	}
	s.Drop("lab")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 || disk.used != 0 {
		t.Errorf("%v left, %d bytes charged; %v", left, disk.used, err)
	}
}

func restore(t *testing.T, v *Scope, journal map[string][]byte) {
	t.Helper()
	for repo, b := range journal {
		var st RepositoryState
		if err := json.Unmarshal(b, &st); err != nil {
			t.Fatal(err)
		}
		if err := v.Import(repo, st); err != nil {
			t.Fatal(err)
		}
	}
}

func putStrayFile(t *testing.T, dir string) {
	t.Helper()
	name := strings.Replace(DigestOf([]byte("stray")), ":", "-", 1)
	if err := os.WriteFile(filepath.Join(dir, name), []byte("stray"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreReportsLoss: content that is lost is named, and the rest is there.
func TestRestoreReportsLoss(t *testing.T) {
	dir := t.TempDir()
	b := build(t, recipe(), Zstd)
	s := NewStore(NewContent(ContentConfig{BlobDir: dir}))
	putImage(t, s.Scope("lab"), "app:1", b)
	st := s.Scope("lab").Export("docker.io/library/app")
	if err := os.Remove(filepath.Join(dir, strings.Replace(b.Layers[0].Digest, ":", "-", 1))); err != nil {
		t.Fatal(err)
	}
	s = NewStore(NewContent(ContentConfig{BlobDir: dir}))
	if err := s.Content.Recover(); err != nil {
		t.Fatal(err)
	}
	v := s.Scope("lab")
	if err := v.Import("docker.io/library/app", st); !errors.Is(err, ErrNoBlob) || !strings.Contains(err.Error(), b.Layers[0].Digest) {
		t.Errorf("%v", err)
	}
	if _, err := v.Blob("docker.io/library/app", b.Layers[1].Digest); err != nil {
		t.Error(err)
	}
}
