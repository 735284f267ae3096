// Command build assembles the catalogue: it takes the guest programs from sandbox/guests/dist, compiles the one ELF program, and writes an
// OCI image layout to sandbox/image/catalogue/dist. The same programs give the same bytes; when nothing changed it does nothing.
//
//	go run ./sandbox/image/catalogue/build [-partial]
//
// With -partial, images whose programs are missing are left out and named; without, a missing program is an error.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/catalogue"
)

func main() {
	partial := flag.Bool("partial", false, "leave out images whose programs are missing")
	flag.Parse()
	if err := run(*partial); err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

func run(partial bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	p, missing, err := load(root)
	if err != nil {
		return err
	}
	if len(missing) > 0 && !partial {
		return fmt.Errorf("guest programs are missing: %s; build them with 'go run ./sandbox/guests/toolchain all'", strings.Join(missing, ", "))
	}
	if p.elf, err = buildELF(root); err != nil {
		return err
	}
	dist := filepath.Join(root, "sandbox/image/catalogue/dist")
	return write(dist, p, missing)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, err := os.Stat(filepath.Join(root, "sandbox/image/catalogue")); err != nil {
		return "", errors.New("run it inside the drydock module")
	}
	return root, nil
}

// guests are the programs that recipes use.
var guests = []string{"coreutils", "shell", "vi", "httpd", "kubectl", "docker", "hog", "crash", "pause", "hello"}

func load(root string) (p programs, missing []string, err error) {
	p.wasm = map[string][]byte{}
	for _, g := range guests {
		b, err := os.ReadFile(filepath.Join(root, "sandbox/guests/dist", g+".wasm"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, g)
		case err != nil:
			return p, nil, err
		case !bytes.HasPrefix(b, []byte("\x00asm")):
			return p, nil, fmt.Errorf("sandbox/guests/dist/%s.wasm is no WebAssembly module", g)
		}
		p.wasm[g] = b
	}
	p.applets, err = applets(filepath.Join(root, "sandbox/guests/coreutils/table.go"))
	return p, missing, err
}

// applets reads the utilities' names from the table in coreutils' source: the first field of each row of the variable "table".
func applets(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if v.Names[0].Name != "table" || len(v.Values) != 1 {
				continue
			}
			ast.Inspect(v.Values[0], func(n ast.Node) bool {
				row, ok := n.(*ast.CompositeLit)
				if !ok || len(row.Elts) == 0 {
					return true
				}
				if lit, ok := row.Elts[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if name, err := strconv.Unquote(lit.Value); err == nil {
						names = append(names, name)
					}
					return false
				}
				return true
			})
		}
	}
	if len(names) < 10 {
		return nil, fmt.Errorf("%s: found %d utilities in the variable \"table\"", file, len(names))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// buildELF compiles hello-amd64 reproducibly.
func buildELF(root string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "hello-amd64")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "hello")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, "./sandbox/image/catalogue/hello-amd64")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build hello-amd64: %w\n%s", err, b)
	}
	return os.ReadFile(out)
}

// write makes the layout anew in a folder beside dist's blobs, keeping packed layers that are the same.
func write(dist string, p programs, missing []string) error {
	old := readIndex(dist)
	x := catalogue.Index{Layers: map[string]catalogue.IndexLayer{}}
	blobs := map[string][]byte{}
	pack := func(diffID string, plain []byte) ([]byte, string, error) {
		if l, ok := old.Layers[diffID]; ok {
			if b, err := os.ReadFile(blobPath(dist, l.Blob)); err == nil && image.DigestOf(b) == l.Blob {
				return b, l.MediaType, nil
			}
		}
		return image.Zstd(diffID, plain)
	}
	var left []string
	for _, r := range p.recipes() {
		if slices.ContainsFunc(r.needs, func(n string) bool { return slices.Contains(missing, n) }) {
			left = append(left, r.Names[0])
			continue
		}
		b, err := r.Assemble(pack)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Names[0], err)
		}
		x.Images = append(x.Images, catalogue.IndexImage{Scope: r.scope, Digest: b.Digest, Names: r.Names})
		blobs[b.Digest], blobs[image.DigestOf(b.Config)] = b.Manifest, b.Config
		for _, l := range b.Layers {
			x.Layers[l.DiffID] = catalogue.IndexLayer{Blob: l.Digest, MediaType: l.MediaType, Files: l.FileDigests}
			blobs[l.Digest] = l.Data
		}
	}
	if err := writeBlobs(dist, blobs); err != nil {
		return err
	}
	if err := writeLayout(dist, x, blobs); err != nil {
		return err
	}
	var size int
	for _, b := range blobs {
		size += len(b)
	}
	fmt.Printf("catalogue: %d images, %d layers, %.1f MB\n", len(x.Images), len(x.Layers), float64(size)/1e6)
	if len(left) > 0 {
		fmt.Printf("catalogue: left out (missing %s): %s\n", strings.Join(missing, ", "), strings.Join(left, ", "))
	}
	return nil
}

func blobPath(dist, digest string) string {
	return filepath.Join(dist, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func readIndex(dist string) (x catalogue.Index) {
	if b, err := os.ReadFile(filepath.Join(dist, "catalogue.json")); err != nil || json.Unmarshal(b, &x) != nil {
		return catalogue.Index{} // nothing to reuse
	}
	return x
}

// writeBlobs writes what is not there and removes what no image uses.
func writeBlobs(dist string, blobs map[string][]byte) error {
	if err := os.MkdirAll(filepath.Join(dist, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	for d, b := range blobs {
		if err := writeFile(blobPath(dist, d), b); err != nil {
			return err
		}
	}
	have, err := os.ReadDir(filepath.Join(dist, "blobs", "sha256"))
	if err != nil {
		return err
	}
	for _, e := range have {
		if _, ok := blobs["sha256:"+e.Name()]; !ok {
			if err := os.Remove(filepath.Join(dist, "blobs", "sha256", e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeFile leaves a file alone that holds the bytes already, so that builds that embed it stay cached.
func writeFile(name string, b []byte) error {
	if have, err := os.ReadFile(name); err == nil && sha256.Sum256(have) == sha256.Sum256(b) {
		return nil
	}
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// writeLayout writes oci-layout, index.json and our own catalogue.json. The last is what NewStore looks for, so it comes last.
func writeLayout(dist string, x catalogue.Index, blobs map[string][]byte) error {
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations"`
	}
	index := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{2, "application/vnd.oci.image.index.v1+json", nil}
	for _, i := range x.Images {
		for _, n := range i.Names {
			r, err := image.ParseRef(n)
			if err != nil {
				return err
			}
			index.Manifests = append(index.Manifests, descriptor{"application/vnd.oci.image.manifest.v1+json", i.Digest, len(blobs[i.Digest]),
				map[string]string{"org.opencontainers.image.ref.name": r.String()}})
		}
	}
	for _, f := range []struct {
		name string
		v    any
	}{{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}}, {"index.json", index}, {"catalogue.json", x}} {
		b, err := json.MarshalIndent(f.v, "", " ")
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dist, f.name), append(b, '\n')); err != nil {
			return err
		}
	}
	return nil
}
