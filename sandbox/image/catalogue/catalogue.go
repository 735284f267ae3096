// Package catalogue is the images that every lab is offered and the root file systems of its machines, embedded in the program.
// dist/ is an OCI image layout (image-spec, "Image Layout") that ./build assembles from the guest programs; it is not committed.
//
// All images are substitutes for learning: compatible with those whose names they carry, not made by the same people; labels and
// /etc/os-release say so.
//
// Whoever makes labs calls NewStore once for the process; each node of a lab pulls from it by an image.Local of its own
// (store.NewLocal(SCOPE).Pull). A machine boots from Machine(store, Workstation) or Machine(store, Node): an image whose layers are the
// lower ones of the machine's root, with shell, utilities, vi, kubectl, /etc/passwd (root, and learner with uid 1000) and /etc/os-release;
// /etc/hostname, /etc/hosts, /etc/resolv.conf and kubeconfigs are the lab's to write. Programs lists all modules, to trust and to compile ahead.
//
// To build it: `go run ./sandbox/guests/toolchain all && go run ./sandbox/image/catalogue/build`.
package catalogue

import (
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

//go:embed all:dist
var dist embed.FS

// ErrEmpty says that the program was built without its images.
var ErrEmpty = errors.New("this build holds no images: run 'go tool -modfile=tools.mod task guests', which builds the guest programs and assembles them, and build again")

// MachineScope is where the machines' root file systems are offered: to whoever boots machines, not to labs.
const MachineScope = "machines"

// The machines' root file systems, as names in MachineScope.
const (
	Workstation = "drydock.internal/machine/workstation:latest"
	Node        = "drydock.internal/machine/node:latest"
)

// Index is dist/index.json: what is offered where.
type Index struct {
	Images []IndexImage
	Layers map[string]IndexLayer // by diff id
}

// IndexImage is one image of the catalogue.
type IndexImage struct {
	Scope, Digest string
	Names         []string
}

// IndexLayer is one layer of the catalogue. Files is path → "sha256:…" of its programs.
type IndexLayer struct {
	Blob, MediaType string
	Files           map[string]string `json:",omitempty"`
}

// Config configures NewStore.
type Config struct {
	CacheDir string // see image.ContentConfig
	BlobDir  string // see image.ContentConfig
	Keep     bool   // see image.ContentConfig
	Limits   image.Limits
}

// NewStore is a store that offers the catalogue. ErrEmpty when the program was built without.
func NewStore(cfg Config) (*image.Store, error) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	return Open(sub, cfg)
}

// Open is NewStore over another layout than the embedded one.
func Open(files fs.FS, cfg Config) (*image.Store, error) {
	b, err := fs.ReadFile(files, "catalogue.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrEmpty
	}
	if err != nil {
		return nil, err
	}
	src := &source{files: files}
	if err := json.Unmarshal(b, &src.index); err != nil {
		return nil, fmt.Errorf("catalogue.json: %w", err)
	}
	s := image.NewStore(image.NewContent(image.ContentConfig{CacheDir: cfg.CacheDir, BlobDir: cfg.BlobDir, Keep: cfg.Keep, Limits: cfg.Limits, Sources: []image.Source{src}}))
	for _, i := range src.index.Images {
		for _, n := range i.Names {
			if err := s.Tag(i.Scope, n, i.Digest); err != nil {
				return nil, fmt.Errorf("catalogue.json: %w", err)
			}
		}
	}
	return s, nil
}

// Machine is the image of a machine's root file system: Workstation or Node.
func Machine(s *image.Store, name string) (*image.Image, error) {
	r, err := image.ParseRef(name)
	if err != nil {
		return nil, err
	}
	d, err := s.Resolve(r, MachineScope)
	if err != nil {
		return nil, err
	}
	return s.Image(d)
}

// Program is a WebAssembly module of the catalogue.
type Program struct {
	Name   string // last part of its path in the image: "coreutils"
	Digest string // "sha256:…"
	path   string
	layer  image.Layer
}

// Programs are all modules of the embedded catalogue, each once, by name: what a machine may trust and what can be compiled ahead.
func Programs() ([]Program, error) {
	b, err := dist.ReadFile("dist/catalogue.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrEmpty
	}
	if err != nil {
		return nil, err
	}
	var x Index
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, fmt.Errorf("catalogue.json: %w", err)
	}
	return x.programs(), nil
}

func (x Index) programs() []Program {
	var l []Program
	seen := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(x.Layers)) {
		for _, p := range slices.Sorted(maps.Keys(x.Layers[id].Files)) {
			d := x.Layers[id].Files[p]
			if seen[d] {
				continue
			}
			seen[d] = true
			l = append(l, Program{path.Base(p), d, p, image.Layer{Digest: x.Layers[id].Blob, DiffID: id, MediaType: x.Layers[id].MediaType}})
		}
	}
	slices.SortFunc(l, func(a, b Program) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Digest, b.Digest))
	})
	return l
}

// Read is the module's bytes, shared: never write to them.
func (p Program) Read(s *image.Store) ([]byte, error) {
	t, err := s.Content.Tree(p.layer)
	if err != nil {
		return nil, err
	}
	f, err := vfs.NewNamespace(t).View(vfs.Root).Open(nil, p.path, vfs.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	defer f.Close()
	b, d, ok := f.Content()
	if !ok || d != p.Digest {
		return nil, fmt.Errorf("%s: %w", p.path, image.ErrDigest)
	}
	return b, nil
}

// source reads blobs of the layout.
type source struct {
	files fs.FS
	index Index
}

// Open opens blobs/sha256/HEX.
func (s *source) Open(digest string) (io.ReadCloser, error) {
	hexes, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || hexes == "" || strings.Trim(hexes, "0123456789abcdef") != "" {
		return nil, image.ErrNoBlob
	}
	f, err := s.files.Open("blobs/sha256/" + hexes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, image.ErrNoBlob
	}
	return f, err
}

// FileDigests is what the build computed.
func (s *source) FileDigests(diffID string) map[string]string { return s.index.Layers[diffID].Files }
