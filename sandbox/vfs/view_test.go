package vfs

import (
	"io"
	"syscall"
	"testing"
)

func newTestView(t testing.TB) *View {
	t.Helper()
	return NewNamespace(NewTmpfs(TmpfsOptions{Mode: 0o755})).View(Root)
}

func TestWriteReadBack(t *testing.T) {
	v := newTestView(t)
	if err := v.MkdirAll("/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := v.WriteFile("/a/b/f", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := v.Symlink("../b/f", nil, "/a/b/l"); err != nil {
		t.Fatal(err)
	}
	f, err := v.Open(nil, "a/b/../b/l", O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Unlink(nil, "/a/b/f"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(" world")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if string(b[:n]) != "hello world" || err != io.EOF {
		t.Fatalf("got %q, %v", b[:n], err)
	}
	if got := f.Path(); got != "/a/b/f (deleted)" {
		t.Errorf("Path %q", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Stat(nil, "/a/b/l"); err != syscall.ENOENT {
		t.Errorf("dangling link: %v", err)
	}
	if err := v.RemoveAll("/a"); err != nil {
		t.Fatal(err)
	}
	if used, inodes := v.NS.root.fs.(*Tmpfs).Used(); used != 0 || inodes != 1 {
		t.Errorf("left over: %d bytes, %d inodes", used, inodes)
	}
}
