package docker

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

func newTree() *vfs.View {
	fs := vfs.NewTmpfs(vfs.TmpfsOptions{Size: 1 << 20, Inodes: 256, Clock: func() time.Time { return time.Unix(1, 0) }})
	v := vfs.NewNamespace(fs).View(vfs.Root)
	return v
}

// archive makes a tar archive of headers; a regular file's content is its name.
func archive(t testing.TB, hs ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestArchive: what is packed is unpacked alike.
func TestArchive(t *testing.T) {
	when := time.Unix(1_700_000_000, 5).UTC()
	in := archive(t, tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o1777, Uid: 7, ModTime: when, Format: tar.FormatPAX}, tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o4711, Gid: 3, ModTime: when, Format: tar.FormatPAX},
		tar.Header{Typeflag: tar.TypeLink, Name: "d/g", Linkname: "d/f"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "d/l", Linkname: "../../etc/passwd"}, tar.Header{Typeflag: tar.TypeFifo, Name: "p"})
	v := newTree()
	if err := unpack(v, "/", tar.NewReader(bytes.NewReader(in))); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := pack(v, "/", "", &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	r := tar.NewReader(&out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		got = append(got, strings.Join([]string{string(h.Typeflag), h.Name, h.FileInfo().Mode().String(), h.Linkname, string(b)}, " "))
		if h.Name == "d/f" && (!h.ModTime.Equal(when) || h.Gid != 3) {
			t.Errorf("d/f: time %v, group %d", h.ModTime, h.Gid)
		}
	}
	want := []string{"5 d/ dtrwxrwxrwx  ", "0 d/f urwx--x--x  d/f", "1 d/g urwx--x--x d/f ", "2 d/l Lrwxrwxrwx ../../etc/passwd ", "6 p prwxr-xr-x  "}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestUnpackStaysInside: no name and no link leads out of the directory that is unpacked into.
func TestUnpackStaysInside(t *testing.T) {
	for _, row := range []struct {
		name string
		hs   []tar.Header
		want string // of the error
	}{
		{"dots", []tar.Header{{Typeflag: tar.TypeReg, Name: "../out"}}, "../out: the name leads out of the directory"},
		{"dots inside", []tar.Header{{Typeflag: tar.TypeReg, Name: "a/../../out"}}, "a/../../out: the name leads out of the directory"},
		{"absolute", []tar.Header{{Typeflag: tar.TypeReg, Name: "/out"}}, ""},
		{"through a link", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/"}, {Typeflag: tar.TypeReg, Name: "l/out"}}, ""},
		{"through a link with dots", []tar.Header{{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../../.."}, {Typeflag: tar.TypeReg, Name: "l/out"}}, ""},
		{"hard link to outside", []tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "/secret"}}, "h: no such file or directory"},
		{"hard link with dots", []tar.Header{{Typeflag: tar.TypeLink, Name: "h", Linkname: "../secret"}}, "h: no such file or directory"},
		{"device", []tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, `null: entries of type '3' are not supported`},
		{"file over a directory", []tar.Header{{Typeflag: tar.TypeDir, Name: "d"}, {Typeflag: tar.TypeReg, Name: "d"}}, "d: file exists"},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := newTree()
			if err := v.MkdirAll("/in", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := v.WriteFile("/secret", []byte("s"), 0o600); err != nil {
				t.Fatal(err)
			}
			text := ""
			if err := unpack(v, "/in", tar.NewReader(bytes.NewReader(archive(t, row.hs...)))); err != nil {
				text = err.Error()
			}
			if text != row.want {
				t.Errorf("error %q, want %q", text, row.want)
			}
			outside(t, v)
		})
	}
}

// outside fails when anything but /in and /secret is at the top.
func outside(t testing.TB, v *vfs.View) {
	t.Helper()
	names, err := list(v, "/")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"in", "secret"}, names); d != "" {
		t.Errorf("something was written outside: %s", d)
	}
	if b, err := v.ReadFile("/secret", 10); err != nil || string(b) != "s" {
		t.Errorf("the file outside is %q, %v", b, err)
	}
}

// FuzzUnpack: whatever is sent as an archive, nothing outside the directory changes.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeDir, Name: "d"}, tar.Header{Typeflag: tar.TypeReg, Name: "d/f"}, tar.Header{Typeflag: tar.TypeLink, Name: "g", Linkname: "d/f"}))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/"}, tar.Header{Typeflag: tar.TypeReg, Name: "l/secret"}))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeReg, Name: "../secret"}))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := newTree()
		if v.MkdirAll("/in", 0o755) != nil || v.WriteFile("/secret", []byte("s"), 0o600) != nil {
			t.Fatal("the tree")
		}
		_ = unpack(v, "/in", tar.NewReader(bytes.NewReader(b))) // an error is fine
		outside(t, v)
	})
}

func TestDetachKeys(t *testing.T) {
	for in, want := range map[string]string{"": "\x10\x11", "ctrl-p,ctrl-q": "\x10\x11", "a": "a", "ctrl-@,x": "\x00x", "ctrl-[": "\x1b"} {
		if got, err := detachKeys(in); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"ctrl-", "ab", "ctrl-!,a", ","} {
		if _, err := detachKeys(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
}

// TestDetacher: the keys end what is typed, a part of them does not.
func TestDetacher(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "a\x10b": "a\x10b", "a\x10\x10\x11b": "a\x10", "a\x10\x11b": "a"} {
		stopped := false
		d := &detacher{r: strings.NewReader(in), keys: []byte{16, 17}, stop: func() { stopped = true }}
		var got bytes.Buffer
		_, err := io.Copy(&got, d)
		if got.String() != want || stopped != (err == errDetached) || stopped != strings.Contains(in, "\x10\x11") {
			t.Errorf("%q: %q, %v, stopped %v", in, got.String(), err, stopped)
		}
	}
}

func TestVersions(t *testing.T) {
	for v, want := range map[string]string{"1.44": "", "1.50": "", APIVersion: "", "1.43": "client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
		"1.99": "client version 1.99 is too new. Maximum supported API version is " + APIVersion, "1.x": `invalid API version: "1.x"`} {
		got := ""
		if err := checkVersion(v); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q", v, got)
		}
	}
}
