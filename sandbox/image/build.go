package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// File is an entry of a layer to be built. One of Dir, Symlink, Hardlink or (none of them) a regular file with Data.
type File struct {
	Path     string // relative, "bin/ls"
	Mode     uint32 // permissions; 0 = 0644, directories 0755
	UID, GID int
	Data     []byte
	Dir      bool
	Symlink  string // target
	Hardlink string // another Path of the same layer
	Whiteout bool
}

// Recipe describes an image to be built. The same Recipe gives the same bytes.
type Recipe struct {
	Names    []string // under which it is offered
	Platform Platform // zero = Wasm
	Config   Config
	Created  time.Time // of the image and its files
	Layers   [][]File  // the lowest first
	Comment  string    // in the history
}

// Blob is a layer of a Built.
type Blob struct {
	Layer
	Data        []byte            // as transferred
	FileDigests map[string]string // path → "sha256:…" of WebAssembly modules
}

// Built is an assembled image.
type Built struct {
	Digest           string // of Manifest
	Manifest, Config []byte
	Layers           []Blob
}

// Archive makes an uncompressed layer: entries by path with parents before children, times fixed. Missing parents are added.
func Archive(files []File, when time.Time) ([]byte, error) {
	seen := map[string]bool{"": true, ".": true}
	var all []File
	for _, f := range files {
		f.Path = strings.Trim(path.Clean("/"+f.Path), "/")
		if f.Path == "" || seen[f.Path] {
			return nil, fmt.Errorf("layer entry %q is there twice", f.Path)
		}
		seen[f.Path] = true
		all = append(all, f)
	}
	for _, f := range files {
		for dir := path.Dir(strings.Trim(path.Clean("/"+f.Path), "/")); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, File{Path: dir, Dir: true})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	// A hard link must come after what it names.
	slices.SortStableFunc(all, func(a, b File) int {
		return boolInt(a.Hardlink != "") - boolInt(b.Hardlink != "")
	})
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range all {
		if err := writeEntry(w, f, when); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func writeEntry(w *tar.Writer, f File, when time.Time) error {
	h := &tar.Header{Name: f.Path, Mode: int64(f.Mode), Uid: f.UID, Gid: f.GID, ModTime: when.UTC(), Format: tar.FormatPAX, Typeflag: tar.TypeReg}
	switch {
	case f.Dir:
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		if h.Mode == 0 {
			h.Mode = 0o755
		}
	case f.Symlink != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Symlink, 0o777
	case f.Hardlink != "":
		h.Typeflag, h.Linkname = tar.TypeLink, strings.Trim(path.Clean("/"+f.Hardlink), "/")
	case f.Whiteout:
		h.Name = path.Join(path.Dir(f.Path), whiteoutPrefix+path.Base(f.Path))
	default:
		h.Size = int64(len(f.Data))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if h.Size == 0 {
		return nil
	}
	_, err := w.Write(f.Data)
	return err
}

// Packer turns an uncompressed layer into the blob to be transferred.
type Packer func(diffID string, plain []byte) (blob []byte, mediaType string, err error)

// Plain leaves layers as they are.
func Plain(_ string, plain []byte) ([]byte, string, error) {
	return plain, string(types.OCIUncompressedLayer), nil
}

// Zstd packs at its best; the same bytes give the same blob.
func Zstd(_ string, plain []byte) ([]byte, string, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, "", err
	}
	defer z.Close()
	return z.EncodeAll(plain, nil), string(types.OCILayerZStd), nil
}

// Assemble builds the image with layers packed by pack.
func (r Recipe) Assemble(pack Packer) (*Built, error) {
	platform := r.Platform
	if platform == (Platform{}) {
		platform = Wasm
	}
	b := &Built{}
	cf := v1.ConfigFile{Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant, Created: v1.Time{Time: r.Created.UTC()}, Config: r.Config.oci(),
		RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	for _, files := range r.Layers {
		l, err := layerBlob(files, r.Created, pack)
		if err != nil {
			return nil, err
		}
		b.Layers = append(b.Layers, l)
		diff, err := v1.NewHash(l.DiffID)
		if err != nil {
			return nil, err
		}
		d, err := descriptor(l.Data, types.MediaType(l.MediaType))
		if err != nil {
			return nil, err
		}
		cf.RootFS.DiffIDs = append(cf.RootFS.DiffIDs, diff)
		cf.History = append(cf.History, v1.History{Created: cf.Created, CreatedBy: "drydock catalogue", Comment: r.Comment})
		m.Layers = append(m.Layers, d)
	}
	var err error
	if b.Config, err = json.Marshal(cf); err != nil {
		return nil, err
	}
	if m.Config, err = descriptor(b.Config, types.OCIConfigJSON); err != nil {
		return nil, err
	}
	if b.Manifest, err = json.Marshal(m); err != nil {
		return nil, err
	}
	b.Digest = DigestOf(b.Manifest)
	return b, nil
}

func (c Config) oci() v1.Config {
	set := func(l []string) map[string]struct{} {
		if l == nil {
			return nil
		}
		m := map[string]struct{}{}
		for _, s := range l {
			m[s] = struct{}{}
		}
		return m
	}
	return v1.Config{Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, WorkingDir: c.WorkingDir, ExposedPorts: set(c.ExposedPorts),
		Volumes: set(c.Volumes), StopSignal: c.StopSignal, Labels: c.Labels}
}

func descriptor(b []byte, t types.MediaType) (v1.Descriptor, error) {
	h, err := v1.NewHash(DigestOf(b))
	return v1.Descriptor{MediaType: t, Size: int64(len(b)), Digest: h}, err
}

func layerBlob(files []File, when time.Time, pack Packer) (Blob, error) {
	plain, err := Archive(files, when)
	if err != nil {
		return Blob{}, err
	}
	l := Blob{Layer: Layer{DiffID: DigestOf(plain)}}
	for _, f := range files {
		if bytes.HasPrefix(f.Data, []byte("\x00asm")) {
			if l.FileDigests == nil {
				l.FileDigests = map[string]string{}
			}
			l.FileDigests[strings.Trim(path.Clean("/"+f.Path), "/")] = DigestOf(f.Data)
		}
	}
	if l.Data, l.MediaType, err = pack(l.DiffID, plain); err != nil {
		return Blob{}, err
	}
	l.Digest, l.Size = DigestOf(l.Data), int64(len(l.Data))
	return l, nil
}

// Add puts a built image for the life of the process and offers it in a scope under the names.
func (s *Store) Add(scope string, b *Built, names ...string) (*Image, error) {
	for _, l := range b.Layers {
		s.Content.Put(l.Data)
	}
	s.Content.Put(b.Config)
	s.Content.Put(b.Manifest)
	for _, n := range names {
		if err := s.Tag(scope, n, b.Digest); err != nil {
			return nil, err
		}
	}
	return s.Image(b.Digest)
}
