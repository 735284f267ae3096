package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// own is everything that decides what comes out: this command's source, the new files, the digests.
//
//go:embed *.go sums.txt all:_goroot all:_modules
var own embed.FS

// overlay collects replacements for the go command's -overlay.
type overlay struct {
	dir     string // where generated files go
	replace map[string]string
}

// write adds a file at path with the given content.
func (o *overlay) write(path string, content []byte) error {
	digest := sha256.Sum256([]byte(path))
	file := filepath.Join(o.dir, hex.EncodeToString(digest[:6])+"_"+filepath.Base(path))
	if old, err := os.ReadFile(file); err != nil || !bytes.Equal(old, content) {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
	}
	o.replace[path] = file
	return nil
}

// save writes the list and returns its name.
func (o *overlay) save(name string) (string, error) {
	data, err := json.MarshalIndent(map[string]any{"Replace": o.replace}, "", "\t")
	if err != nil {
		return "", err
	}
	file := filepath.Join(o.dir, name)
	return file, os.WriteFile(file, data, 0o644)
}

// addGoroot adds the changed standard library that is in gorootDir.
func (o *overlay) addGoroot(gorootDir string, only *special) error {
	src := filepath.Join(gorootDir, "src")
	changed := goroot
	if only != nil {
		changed = slices.Concat(goroot, only.goroot)
		for path, content := range only.files {
			if err := o.write(filepath.Join(src, filepath.FromSlash(path)), content); err != nil {
				return err
			}
		}
	}
	known, err := knownSums()
	if err != nil {
		return err
	}
	for _, s := range changed {
		if s.drop {
			if _, err := os.Stat(filepath.Join(src, s.path)); err != nil {
				return fmt.Errorf("%s of %s: %w", s.path, goVersion(), err)
			}
			o.replace[filepath.Join(src, s.path)] = ""
			continue
		}
		content, err := s.apply(src, goVersion(), known)
		if err != nil {
			return err
		}
		if err := o.write(filepath.Join(src, s.path), content); err != nil {
			return err
		}
	}
	return eachFile("_goroot", func(path string, content []byte) error {
		return o.write(filepath.Join(src, filepath.FromSlash(path)), content)
	})
}

// eachFile calls f for the embedded files below dir with paths relative to it.
func eachFile(dir string, f func(path string, content []byte) error) error {
	return fs.WalkDir(own, dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := own.ReadFile(path)
		if err != nil {
			return err
		}
		return f(strings.TrimPrefix(path, dir+"/"), content)
	})
}

// apply returns the changed text of s, whose original is below dir. release names the Go release or the module's version.
func (s source) apply(dir, release string, known map[string]string) ([]byte, error) {
	from := s.path
	if s.from != "" {
		from = s.from
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(from)))
	if err != nil {
		return nil, fmt.Errorf("%s %s has no %s to edit: %w", release, s.path, from, err)
	}
	if got, want := digestOf(text), known[release+" "+from]; got != want {
		return nil, fmt.Errorf("%s of %s is not the file the edits were written for (sha256 %s, sums.txt has %q): look at what changed in it, mend the edits, then `toolchain sums`", from, release, got, want)
	}
	for _, e := range s.edits {
		n := max(e.n, 1)
		if got := strings.Count(string(text), e.old); got != n {
			return nil, fmt.Errorf("%s of %s: edit expects %d times, found %d times: %q", from, release, n, got, e.old)
		}
		text = []byte(strings.ReplaceAll(string(text), e.old, e.new))
	}
	if s.transform != nil {
		if text, err = s.transform(text); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", from, release, err)
		}
	}
	return text, nil
}

func digestOf(b []byte) string {
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// knownSums reads sums.txt: lines of digest, release (go1.26.8 or module@version) and path.
func knownSums() (map[string]string, error) {
	data, err := own.ReadFile("sums.txt")
	if err != nil {
		return nil, err
	}
	known := map[string]string{}
	for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
		if digest, file, ok := strings.Cut(sc.Text(), " "); ok {
			known[file] = digest
		}
	}
	return known, nil
}

// printSums prints what sums.txt should hold for the installed Go and the versions of modules that the guests require.
func printSums(w io.Writer, root string) error {
	lines := map[string]bool{}
	print := func(dir, release string, sources []source) error {
		for _, s := range sources {
			from := s.path
			if s.from != "" {
				from = s.from
			}
			text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(from)))
			if err != nil {
				return err
			}
			if line := digestOf(text) + " " + release + " " + from; !s.drop && !lines[line] {
				lines[line] = true
				fmt.Fprintln(w, line)
			}
		}
		return nil
	}
	gorootDir, err := goCommand(root, "env", "GOROOT")
	if err != nil {
		return err
	}
	if err := print(filepath.Join(gorootDir, "src"), goVersion(), slices.Concat(goroot, kubectlGoroot)); err != nil {
		return err
	}
	for _, g := range append(guests, guest{dir: "toolchain/testdata/probe"}) {
		module, err := moduleRoot(filepath.Join(root, g.dir))
		if err != nil {
			continue // a guest that isn't here needs no digests
		}
		found, err := patchedModules(module, g.special)
		if err != nil {
			return err
		}
		for _, m := range found {
			if err := print(m.Dir, m.Path+"@"+m.Version, m.patch.sources); err != nil {
				return err
			}
		}
	}
	return nil
}
