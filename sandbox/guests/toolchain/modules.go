package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// patch is what is changed in one module for guests. Its new files are in _modules below the module's path.
type patch struct {
	module  string
	sources []source
}

var patches = []patch{
	{module: "golang.org/x/sys", sources: []source{{path: "unix/dev_wasip1.go", from: "unix/dev_linux.go"}}},
	{module: "golang.org/x/term", sources: []source{
		{path: "term_unsupported.go", edits: []edit{tag(
			"!aix && !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !zos && !windows && !solaris && !plan9",
			"!aix && !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !zos && !windows && !solaris && !plan9 && !wasip1")}},
	}},
}

// found is a module that a guest requires and that has a patch.
type found struct {
	Path, Version, Dir string
	patch              patch
}

// patchedModules lists those modules required by the module in dir that have patches.
func patchedModules(dir string, only *special) (list []found, err error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	wanted := patches
	if only != nil {
		wanted = slices.Concat(patches, only.patches)
	}
	for _, p := range wanted {
		if !strings.Contains(string(mod), "\t"+p.module+" v") && !strings.Contains(string(mod), "require "+p.module+" v") {
			continue // go.mod names every module that takes part in a build
		}
		out, err := goCommand(dir, "mod", "download", "-json", p.module)
		if err != nil {
			return nil, err
		}
		m := found{patch: p}
		if err := json.Unmarshal([]byte(out), &m); err != nil {
			return nil, fmt.Errorf("go mod download -json %s: %w", p.module, err)
		}
		list = append(list, m)
	}
	return list, nil
}

// patchModules makes changed copies of modules and returns their folders and the flags that make the go command use them.
// The go command takes overlays for the standard library but not for its module cache: hence copies, and a go.mod that points to them.
func patchModules(cache, work, module string, only *special) (flags []string, copies map[string]string, err error) {
	list, err := patchedModules(module, only)
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(module, file), filepath.Join(work, file)); err != nil {
			return nil, nil, err
		}
	}
	copies = map[string]string{}
	modfile := filepath.Join(work, "go.mod")
	for _, m := range list {
		dir, err := m.copy(cache)
		if err != nil {
			return nil, nil, err
		}
		copies[m.Path] = dir
		if out, err := exec.Command("go", "mod", "edit", "-replace", m.Path+"="+dir, modfile).CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("go mod edit: %w\n%s", err, out)
		}
	}
	return []string{"-modfile", modfile}, copies, nil
}

// copy makes the changed copy of m, unless it is there, and returns its folder, whose name tells the patch.
func (m found) copy(cache string) (string, error) {
	key := strings.ReplaceAll(m.Path, "/", "_") + "@" + m.Version + "-" + patchDigest(m.Path)[:12]
	dir := filepath.Join(cache, "modules", key)
	if isDir(dir) {
		return dir, nil
	}
	temp := dir + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(temp, strings.TrimPrefix(path, m.Dir))
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return copyFile(path, to)
	})
	if err != nil {
		return "", err
	}
	if mod := filepath.Join(temp, "go.mod"); !exists(mod) { // the go command wants one in a folder, not in its cache
		if err := os.WriteFile(mod, []byte("module "+m.Path+"\n"), 0o644); err != nil {
			return "", err
		}
	}
	known, err := knownSums()
	if err != nil {
		return "", err
	}
	for _, s := range m.patch.sources {
		to := filepath.Join(temp, filepath.FromSlash(s.path))
		if s.drop {
			if err := os.Remove(to); err != nil {
				return "", err
			}
			continue
		}
		text, err := s.apply(m.Dir, m.Path+"@"+m.Version, known)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return "", err
		}
	}
	err = eachFile("_modules", func(path string, content []byte) error {
		rest, ok := strings.CutPrefix(path, m.Path+"/")
		if !ok {
			return nil
		}
		to := filepath.Join(temp, filepath.FromSlash(rest))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o644)
	})
	if err != nil {
		return "", err
	}
	return dir, os.Rename(temp, dir)
}

// patchDigest names the state of a module's patch: the source of the patches and the module's new files.
func patchDigest(module string) string {
	var all strings.Builder
	eachFile(".", func(path string, content []byte) error {
		if slices.Contains([]string{"modules.go", "kubectl.go", "docker.go"}, path) || strings.HasPrefix(path, "_modules/"+module+"/") {
			fmt.Fprintf(&all, "%s %s\n", path, digestOf(content))
		}
		return nil
	})
	return digestOf([]byte(all.String()))
}
