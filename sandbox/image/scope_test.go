package image

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// quota is a disk of a lab.
type quota struct{ limit, used int64 }

func (q *quota) Charge(delta int64) error {
	if delta > 0 && q.used+delta > q.limit {
		return syscall.ENOSPC
	}
	q.used += delta
	return nil
}

// putBlob uploads a blob into a lab's repository.
func putBlob(t testing.TB, v *Scope, repo string, b []byte) string {
	t.Helper()
	u, err := v.NewUpload(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(repo, DigestOf(b)); err != nil {
		t.Fatal(err)
	}
	return DigestOf(b)
}

// putImage uploads an image as a client would.
func putImage(t testing.TB, v *Scope, name string, b *Built) {
	t.Helper()
	r, err := ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range b.Layers {
		putBlob(t, v, r.Repository(), l.Data)
	}
	putBlob(t, v, r.Repository(), b.Config)
	if _, err := v.PutManifest(r.Repository(), "", "", b.Manifest, r.Tag); err != nil {
		t.Fatal(err)
	}
}

// TestForeignDiffID: a configuration that names the diff id of another lab's layer beside a blob of one's own gives nobody that layer,
// whoever unpacked it first and wherever it is cached.
func TestForeignDiffID(t *testing.T) {
	for name, cache := range map[string]string{"on the heap": "", "mapped": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			s := NewStore(NewContent(ContentConfig{CacheDir: cache}))
			defer s.Content.Close()
			secret := build(t, recipe(), Zstd)
			putImage(t, s.Scope("a"), "secret:1", secret)
			if _, err := s.NewLocal("a").Pull(context.Background(), "secret:1", nil); err != nil {
				t.Fatal(err)
			}
			r := recipe()
			r.Layers = [][]File{{{Path: "mine", Data: []byte("mine")}}, {{Path: "also", Data: []byte("mine")}}}
			mine := build(t, r, Zstd)
			config := mine.Config
			for k := range mine.Layers {
				config = []byte(strings.ReplaceAll(string(config), mine.Layers[k].DiffID, secret.Layers[k].DiffID))
			}
			forged := *mine
			forged.Manifest = []byte(strings.ReplaceAll(string(mine.Manifest), DigestOf(mine.Config), DigestOf(config)))
			forged.Config = config
			putImage(t, s.Scope("b"), "forged:1", &forged)
			if i, err := s.NewLocal("b").Pull(context.Background(), "forged:1", nil); !errors.Is(err, ErrDigest) {
				t.Errorf("pulled %v, %v", i, err)
			}
		})
	}
}

// TestForeignLayerIsNotRead: a manifest needs not have the layers that registries don't distribute, and so can't be run with them.
func TestForeignLayerIsNotRead(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	secret := build(t, recipe(), Plain)
	putImage(t, s.Scope("a"), "secret:1", secret)
	v := s.Scope("b")
	putBlob(t, v, "docker.io/library/x", secret.Config)
	m := strings.ReplaceAll(string(secret.Manifest), "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar")
	if _, err := v.PutManifest("docker.io/library/x", "", "", []byte(m), "1"); err != nil {
		t.Fatal(err)
	}
	if i, err := s.NewLocal("b").Pull(context.Background(), "x:1", nil); err == nil || !strings.Contains(err.Error(), "not distributed") {
		t.Errorf("pulled %v, %v", i, err)
	}
}

// TestHolders: content stays while a repository or a machine has it, is charged once, and goes with the last of them.
func TestHolders(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(NewContent(ContentConfig{BlobDir: dir}))
	disk := &quota{limit: 1 << 20}
	v := s.Configure("lab", ScopeConfig{Charger: disk})
	b := build(t, recipe(), Zstd)
	putImage(t, v, "app:1", b)
	pushed := disk.used
	node := s.NewLocal("lab")
	if _, err := node.Pull(context.Background(), "app:1", nil); err != nil {
		t.Fatal(err)
	}
	if disk.used != pushed {
		t.Errorf("the pull of what the lab has cost %d bytes", disk.used-pushed)
	}
	r, err := ParseRef("app@" + b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.DeleteManifest(r); err != nil {
		t.Fatal(err)
	}
	v.Collect(0)
	if _, err := node.Find("app:1"); err != nil || disk.used == 0 || disk.used >= pushed {
		t.Errorf("the node's image: %v, %d bytes are charged", err, disk.used)
	}
	if _, err := s.NewLocal("lab").Pull(context.Background(), "app:1", nil); !IsNotFound(err) {
		t.Errorf("pull after the deletion: %v", err)
	}
	if err := node.Remove("app:1"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 || disk.used != 0 {
		t.Errorf("%v left, %d bytes charged; %v", left, disk.used, err)
	}
	if _, err := s.Image(b.Digest); !errors.Is(err, ErrNoBlob) {
		t.Errorf("the image is still known: %v", err)
	}
}

// TestCollectSpares what is young or named.
func TestCollectSpares(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	now := when
	v := s.Configure("lab", ScopeConfig{Clock: func() time.Time { return now }})
	b := build(t, recipe(), Zstd)
	putImage(t, v, "app:1", b)
	stray := putBlob(t, v, "docker.io/library/app", []byte("stray"))
	if freed := v.Collect(time.Hour); freed != 0 {
		t.Errorf("%d bytes of young content collected", freed)
	}
	now = now.Add(time.Hour)
	if freed := v.Collect(time.Hour); freed != linkCharge+5 {
		t.Errorf("%d bytes collected", freed)
	}
	if _, err := v.Blob("docker.io/library/app", stray); !errors.Is(err, ErrNoBlob) {
		t.Errorf("the stray blob: %v", err)
	}
	if _, err := v.Blob("docker.io/library/app", b.Layers[0].Digest); err != nil {
		t.Errorf("a layer: %v", err)
	}
}

// TestPushFromMachine: what a machine built is published under its name without a copy, layers that the registry has are said to be there,
// and another machine of the lab, and no other lab's, pulls it.
func TestPushFromMachine(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	disk := &quota{limit: 1 << 20}
	s.Configure("lab", ScopeConfig{Charger: disk})
	host := s.NewLocal("lab")
	b := build(t, recipe(), Zstd)
	if _, err := host.Put(b, "registry.lab/app:1"); err != nil {
		t.Fatal(err)
	}
	if err := host.Tag("registry.lab/app:1", "registry.lab/app:2"); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		state LayerState
	}{{"registry.lab/app:1", LayerPushed}, {"registry.lab/app:2", LayerInRegistry}} {
		var states []LayerState
		d, err := host.Push(context.Background(), row.name, func(p Progress) { states = append(states, p.State) })
		if diff := cmp.Diff([]LayerState{row.state, row.state}, states); err != nil || diff != "" || d.Digest != b.Digest || d.Size != int64(len(b.Manifest)) {
			t.Errorf("%s: %v %v %s", row.name, d, err, diff)
		}
	}
	if _, err := s.NewLocal("lab").Pull(context.Background(), "registry.lab/app:2", nil); err != nil {
		t.Error(err)
	}
	if _, err := s.NewLocal("other").Pull(context.Background(), "registry.lab/app:2", nil); !IsNotFound(err) {
		t.Errorf("another lab: %v", err)
	}
	s.Drop("lab")
	if disk.used != 0 {
		t.Errorf("%d bytes charged after the end", disk.used)
	}
	host.Close()
}

// TestDiskFull: a refused charge leaves nothing behind.
func TestDiskFull(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	disk := &quota{}
	v := s.Configure("lab", ScopeConfig{Charger: disk})
	b := build(t, recipe(), Zstd)
	refused := 0
	for ; disk.limit < 1<<16; disk.limit += 64 {
		if _, err := s.NewLocal("lab").Put(b, "app:1"); err == nil {
			break
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if refused++; disk.used != 0 || v.Used() != 0 || len(s.Content.blobs) != 0 {
			t.Fatalf("limit %d: %d bytes charged, %d blobs", disk.limit, disk.used, len(s.Content.blobs))
		}
	}
	if refused == 0 || disk.used == 0 {
		t.Errorf("%d refused, %d charged", refused, disk.used)
	}
}

// TestTooManyNames: a lab's names are bounded, and deleting one makes room.
func TestTooManyNames(t *testing.T) {
	s := NewStore(NewContent(ContentConfig{}))
	v := s.Scope("lab")
	b := build(t, recipe(), Zstd)
	putImage(t, v, "app:t0", b)
	s.scopes["lab"].links = maxLinks - 1
	r, err := ParseRef("app:t1")
	if err != nil {
		t.Fatal(err)
	}
	put := func(tag string) error {
		_, err := v.PutManifest(r.Repository(), "", "", b.Manifest, tag)
		return err
	}
	if err := put("t1"); err != nil {
		t.Error(err)
	}
	if err := put("t2"); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if err := put("t1"); err != nil {
		t.Errorf("a tag that is there: %v", err)
	}
	if err := v.DeleteTag(r); err != nil {
		t.Fatal(err)
	}
	if err := put("t2"); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}
