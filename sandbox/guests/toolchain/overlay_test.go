package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGorootEdits applies every edit to the installed Go: a release with other files must be noticed here, not in a guest.
func TestGorootEdits(t *testing.T) {
	gorootDir, err := goCommand(".", "env", "GOROOT")
	if err != nil {
		t.Fatal(err)
	}
	o := &overlay{dir: t.TempDir(), replace: map[string]string{}}
	if err := o.addGoroot(gorootDir, &special{goroot: kubectlGoroot}); err != nil {
		t.Fatal(err)
	}
	if len(o.replace) < len(goroot)+len(kubectlGoroot) {
		t.Errorf("%d replacements for %d changed files", len(o.replace), len(goroot)+len(kubectlGoroot))
	}
	for path, file := range o.replace {
		if _, err := os.Stat(file); file != "" && err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestApply(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("one two two"), 0o644); err != nil {
		t.Fatal(err)
	}
	known := map[string]string{"go1 a.go": digestOf([]byte("one two two"))}
	for _, row := range []struct {
		name    string
		release string
		source  source
		want    string
		err     string
	}{
		{name: "once", release: "go1", source: source{path: "a.go", edits: []edit{{old: "one", new: "1"}}}, want: "1 two two"},
		{name: "n times", release: "go1", source: source{path: "a.go", edits: []edit{{old: "two", new: "2", n: 2}}}, want: "one 2 2"},
		{name: "from a sibling", release: "go1", source: source{path: "b.go", from: "a.go"}, want: "one two two"},
		{name: "more often than thought", release: "go1", source: source{path: "a.go", edits: []edit{{old: "two", new: "2"}}}, err: "expects 1 times, found 2"},
		{name: "text is gone", release: "go1", source: source{path: "a.go", edits: []edit{{old: "three", new: "3"}}}, err: "expects 1 times, found 0"},
		{name: "another release", release: "go2", source: source{path: "a.go"}, err: "a.go of go2 is not the file the edits were written for"},
		{name: "no such file", release: "go1", source: source{path: "c.go"}, err: "has no c.go to edit"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.source.apply(dir, row.release, known)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Fatalf("error %v, want one with %q", err, row.err)
				}
				return
			}
			if err != nil || string(got) != row.want {
				t.Errorf("apply = %q, %v; want %q", got, err, row.want)
			}
		})
	}
}

func TestWithoutImports(t *testing.T) {
	const text = `package x

import (
	appsv1 "k8s.io/api/apps/v1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
)

type Interface interface {
	AppsV1() appsv1.Client
	AppsV1beta1() appsv1beta1.Client
}

type set struct {
	a *appsv1.Client
	b *appsv1beta1.Client
}

// AppsV1 is kept.
func (s *set) AppsV1() appsv1.Client {
	return s.a
}

// AppsV1beta1 is dropped with
// its comment.
func (s *set) AppsV1beta1() appsv1beta1.Client {
	return s.b
}

func New() (*set, error) {
	s.b, err = appsv1beta1.New()
	if err != nil {
		return nil, err
	}
	s.a, err = appsv1.New()
	if err != nil {
		return nil, err
	}
	return s, nil
}
`
	const want = `package x

import (
	appsv1 "k8s.io/api/apps/v1"
)

type Interface interface {
	AppsV1() appsv1.Client
}

type set struct {
	a *appsv1.Client
}

// AppsV1 is kept.
func (s *set) AppsV1() appsv1.Client {
	return s.a
}


func New() (*set, error) {
	s.a, err = appsv1.New()
	if err != nil {
		return nil, err
	}
	return s, nil
}
`
	got, err := withoutImports(unstable("k8s.io/api/"))([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if _, err := withoutImports(unstable("k8s.io/api/"))(got); err == nil {
		t.Error("nothing to leave out is no error")
	}
}

func TestEntryFile(t *testing.T) {
	for _, row := range []struct{ name, text, want, err string }{
		{"plain", "package main\n\nfunc main() {}\n", "func drydockPrepare() {}", ""},
		{"with prepare", "package main\n\nfunc main() {}\n\nfunc prepare() {}\n", "func drydockPrepare() { prepare() }", ""},
		{"method of that name", "package main\n\ntype t int\n\nfunc (t) prepare() {}\n\nfunc main() {}\n", "func drydockPrepare() {}", ""},
		{"library", "package other\n", "", "is package other, not main"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(row.text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := entryFile(dir)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Fatalf("error %v, want one with %q", err, row.err)
				}
				return
			}
			if err != nil || !strings.Contains(string(got), row.want) {
				t.Errorf("entryFile = %s, %v; want %q in it", got, err, row.want)
			}
		})
	}
}

// TestInputDigest: a build is repeated when, and only when, something changed that it depends on.
func TestInputDigest(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("lib/go.mod", "module lib\n")
	write("lib/lib.go", "package lib\n")
	write("prog/go.mod", "module prog\n\nreplace lib => ../lib\n")
	write("prog/main.go", "package main\n")
	write("prog/nested/go.mod", "module nested\n")
	digest := func() string {
		t.Helper()
		d, err := inputDigest(guest{}, filepath.Join(root, "prog"), filepath.Join(root, "prog"))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	last := digest()
	for _, row := range []struct {
		name, file, text string
		changes          bool
	}{
		{"same again", "prog/main.go", "package main\n", false},
		{"source", "prog/main.go", "package main\n\nfunc main() {}\n", true},
		{"embedded data", "prog/data/x.txt", "x", true},
		{"replaced module", "lib/lib.go", "package lib\n\nconst X = 1\n", true},
		{"test", "prog/main_test.go", "package main\n", false},
		{"module nested in it", "prog/nested/x.go", "package nested\n", false},
	} {
		write(row.file, row.text)
		if now := digest(); (now != last) != row.changes {
			t.Errorf("%s: changed %t, want %t", row.name, now != last, row.changes)
		} else {
			last = now
		}
	}
	if other, err := inputDigest(guest{special: &special{ldflags: "-X a=b"}}, filepath.Join(root, "prog"), filepath.Join(root, "prog")); err != nil || other == last {
		t.Errorf("other flags make the same digest (%v)", err)
	}
}
