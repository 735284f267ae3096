package vfs

import (
	"bytes"
	"errors"
	"testing"
)

// A file of several records is there whole or as it was before: names and sizes come with the last record.
func TestReplayCutOff(t *testing.T) {
	fs := NewTmpfs(TmpfsOptions{Clock: testClock(), Dirty: func() {}})
	v := NewNamespace(fs).View(Root)
	big := bytes.Repeat([]byte("0123456789abcdef"), 300<<10) // 4.8 MB
	if err := v.WriteFile("/old", []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	k := &keptTree{fs: fs}
	if err := fs.Flush(k.emit); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.WriteFile("/big", big, 0o644), v.Rename(nil, "/old", nil, "/new", 0)); err != nil {
		t.Fatal(err)
	}
	first := len(k.records)
	if err := fs.Flush(k.emit); err != nil {
		t.Fatal(err)
	}
	if n := len(k.records) - first; n < 4 {
		t.Fatalf("%d records for 4.8 MB", n)
	}
	for n := first; n <= len(k.records); n++ {
		r := NewTmpfsReplay()
		for _, p := range k.records[:n] {
			if err := r.Add(p); err != nil {
				t.Fatal(err)
			}
		}
		again := NewNamespace(r.Tmpfs(TmpfsOptions{})).View(Root)
		old, errOld := again.ReadFile("/old", 100)
		got, errNew := again.ReadFile("/big", 10<<20)
		whole := n == len(k.records)
		if whole != (errOld != nil) || whole != (errNew == nil) || whole && !bytes.Equal(got, big) || !whole && string(old) != "before" {
			t.Fatalf("after %d of %d records: /old %q %v, /big %d bytes %v", n, len(k.records), old, errOld, len(got), errNew)
		}
	}
}

func FuzzTmpfsReplay(f *testing.F) {
	fs := seedTmpfs(f)
	_ = fs.Snapshot(func(p []byte) error { f.Add(bytes.Clone(p)); return nil })
	f.Add([]byte{1, opNode, 1, 0xff, 0xff, 0xff, 0xff, 0xf})
	f.Add([]byte{1, opName, 1, 1, 'a', 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewTmpfsReplay()
		if err := r.Add(data); err != nil && !errors.Is(err, ErrReplay) {
			t.Fatal(err)
		}
		dump(t, NewNamespace(r.Tmpfs(TmpfsOptions{})).View(Root))
	})
}
