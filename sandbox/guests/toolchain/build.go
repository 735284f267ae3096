package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// buildOne builds the main package in dir to the file out, unless out was made from the same inputs.
func buildOne(g guest, dir, out string) error {
	module, err := moduleRoot(dir)
	if err != nil {
		return err
	}
	inputs, err := inputDigest(g, module, dir)
	if err != nil {
		return err
	}
	stamp := filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".inputs")
	if old, err := os.ReadFile(stamp); err == nil && string(old) == inputs {
		if _, err := os.Stat(out); err == nil {
			return nil
		}
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	stored := filepath.Join(cache, "wasm", inputs+".wasm")
	if _, err := os.Stat(stored); err != nil {
		began := time.Now()
		if err := compile(g, cache, module, dir, stored); err != nil {
			return err
		}
		fi, err := os.Stat(stored)
		if err != nil {
			return err
		}
		fmt.Printf("built %s: %.1f MB in %.1f s\n", g.name, float64(fi.Size())/1e6, time.Since(began).Seconds())
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := copyFile(stored, out); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(inputs), 0o644)
}

// moduleRoot is the folder of the go.mod that the package in dir belongs to.
func moduleRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if !isDir(dir) {
		return "", fmt.Errorf("no folder %s", dir)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above", dir)
		}
	}
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "drydock", "guests")
	for _, sub := range []string{"wasm", "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

var localReplace = regexp.MustCompile(`(?m)=>\s*(\.\.?/\S+)\s*$`)

// inputDigest names what a build depends on: the sources of the module and of those in neighbouring folders that it requires,
// this command with its edits, and the Go release. go.sum names the rest.
func inputDigest(g guest, module, dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, goVersion(), buildFlags(g), g.special != nil)
	if err := eachFile(".", func(path string, content []byte) error {
		if !strings.HasSuffix(path, "_test.go") {
			fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(content))
		}
		return nil
	}); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(module, must(filepath.Abs(dir)))
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, "package", filepath.ToSlash(rel))
	seen := map[string]bool{}
	var add func(root string) error
	add = func(root string) error {
		if seen[root] {
			return nil
		}
		seen[root] = true
		fmt.Fprintln(h, "module", filepath.Base(root))
		if err := hashTree(h, root); err != nil {
			return err
		}
		mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
		if err != nil {
			return err
		}
		for _, m := range localReplace.FindAllSubmatch(mod, -1) {
			if err := add(filepath.Join(root, filepath.FromSlash(string(m[1])))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(module); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

func must(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// hashTree adds the files of a module, its tests and modules nested in it apart.
func hashTree(h interface{ Write([]byte) (int, error) }, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); path != root && (err == nil || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, "_test.go") || !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %x\n", filepath.ToSlash(strings.TrimPrefix(path, root)), sha256.Sum256(content))
		return nil
	})
}

// buildFlags are the same for all guests but for linking, so that they share compiled packages.
func buildFlags(g guest) []string {
	ldflags := "-s -w -buildid="
	if g.special != nil {
		ldflags += " " + g.special.ldflags
	}
	return []string{"-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=" + ldflags}
}

// compile builds the package in dir into the file out.
func compile(g guest, cache, module, dir, out string) error {
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if version, err := goCommand(module, "env", "GOVERSION"); err != nil {
		return err
	} else if version != goVersion() {
		return fmt.Errorf("%s is built with %s and the toolchain with %s: their go.mod must name the same toolchain", module, version, goVersion())
	}
	gorootDir, err := goCommand(module, "env", "GOROOT")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	o := &overlay{dir: work, replace: map[string]string{}}
	if err := o.addGoroot(gorootDir, g.special); err != nil {
		return err
	}
	flags, copies, err := patchModules(cache, work, module, g.special)
	if err != nil {
		return err
	}
	target, source, err := g.mainPackage(dir, copies)
	if err != nil {
		return err
	}
	entry, err := entryFile(source)
	if err != nil {
		return err
	}
	if err := o.write(filepath.Join(source, "drydock_entry.go"), entry); err != nil {
		return err
	}
	list, err := o.save("overlay.json")
	if err != nil {
		return err
	}
	args := slices.Concat([]string{"build", "-overlay", list}, flags, buildFlags(g), []string{"-o", out + ".new", target})
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = guestEnv()
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, bytes.TrimSpace(output))
	}
	return os.Rename(out+".new", out)
}

// mainPackage is what the go command in dir calls g's main package, and where its source is: in dir, or in a changed copy of a module.
func (g guest) mainPackage(dir string, copies map[string]string) (name, source string, err error) {
	if g.upstream == "" {
		source, err = filepath.Abs(dir)
		return ".", source, err
	}
	for module, copied := range copies {
		if rest, ok := strings.CutPrefix(g.upstream, module+"/"); ok {
			return g.upstream, filepath.Join(copied, filepath.FromSlash(rest)), nil
		}
	}
	return "", "", fmt.Errorf("%s is in no module that is changed for guests", g.upstream)
}

func guestEnv() []string {
	return append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOWASM=", "GOEXPERIMENT=")
}

// goCommand runs go for the machine we are on and returns what it printed.
func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

const entryText = `package main

import (
	"os"
	_ "unsafe" // for linkname
)

//go:linkname drydockStart syscall.drydockStart
func drydockStart()

//go:wasmexport prepare
func drydockPrepare() {%s}

//go:wasmexport run
func drydockRun() {
	drydockStart()
	main()
	os.Exit(0)
}
`

// entryFile is the part of package main that turns a program into a reactor: what the kernel calls instead of _start.
func entryFile(dir string) ([]byte, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	body := ""
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if f.Name.Name != "main" {
			return nil, fmt.Errorf("%s is package %s, not main", file, f.Name.Name)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "prepare" {
				body = " prepare() "
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no Go files in %s", dir)
	}
	return fmt.Appendf(nil, entryText, body), nil
}

// lock waits for the right to build: two builds at once would need twice the memory.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
