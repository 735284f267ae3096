package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// An archive of images, as `docker save` writes: an OCI image layout (image-spec, "Image Layout") that also has the manifest.json which
// older clients read.
const (
	archiveIndex  = "index.json"
	archiveLegacy = "manifest.json"
	archiveLayout = "oci-layout"
	nameAnnot     = "io.containerd.image.name" // Docker's and containerd's for the complete name
)

// legacyImage is an entry of manifest.json.
type legacyImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// Save writes images as an archive, each under the name it was asked for by, or under none if that is a digest or id. ErrNotPresent.
func (l *Local) Save(ctx context.Context, w io.Writer, names ...string) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	var legacy []legacyImage
	blobs := map[string]bool{}
	for _, n := range names {
		i, err := l.Find(n)
		if err != nil {
			return err
		}
		b, err := l.store.Content.Read(i.Digest)
		if err != nil {
			return fmt.Errorf("save %s: %w", n, err)
		}
		m, err := ParseManifest(b, "")
		if err != nil {
			return fmt.Errorf("save %s: %w", n, err)
		}
		d, err := descriptor(b, types.MediaType(m.MediaType))
		if err != nil {
			return fmt.Errorf("save %s: %w", n, err)
		}
		old := legacyImage{Config: blobPath(i.ID)}
		if r, err := ParseRef(n); err == nil && r.Tag != "" && l.named(r) == i.Digest {
			d.Annotations = map[string]string{nameAnnot: r.String(), "org.opencontainers.image.ref.name": r.Tag}
			old.RepoTags = []string{r.Familiar()}
		}
		for _, layer := range i.Layers {
			old.Layers = append(old.Layers, blobPath(layer.Digest))
		}
		for _, b := range i.Parts() {
			blobs[b] = true
		}
		index.Manifests, legacy = append(index.Manifests, d), append(legacy, old)
	}
	return l.writeArchive(ctx, tar.NewWriter(w), sortedKeys(blobs), map[string]any{archiveIndex: index, archiveLegacy: legacy, archiveLayout: map[string]string{"imageLayoutVersion": "1.0.0"}})
}

func (l *Local) named(r Ref) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[r.String()]
}

func (l *Local) writeArchive(ctx context.Context, t *tar.Writer, blobs []string, documents map[string]any) error {
	for _, d := range blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.writeBlob(t, d); err != nil {
			return fmt.Errorf("save %s: %w", d, err)
		}
	}
	for _, name := range sortedKeys(documents) {
		b, err := json.Marshal(documents[name])
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := t.Write(b); err != nil {
			return err
		}
	}
	return t.Close()
}

func (l *Local) writeBlob(t *tar.Writer, digest string) error {
	size, err := l.store.Content.size(digest)
	if err != nil {
		return err
	}
	r, err := l.store.Content.Open(digest)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := t.WriteHeader(&tar.Header{Name: blobPath(digest), Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(t, r)
	return err
}

// Loaded is an image of an archive with the complete names that it came under.
type Loaded struct {
	*Image
	Names []string
}

// maxArchive is how many entries an archive of images may have.
const maxArchive = 4096

// ErrArchive says that a file is no archive of images.
var ErrArchive = errors.New("invalid archive of images")

// Load makes the images of an archive present: of `docker save`, new or old, or an OCI layout. Its bytes are charged while they come.
// Errors: ErrArchive, ErrTooLarge, what is wrong with the content, the Charger's.
func (l *Local) Load(ctx context.Context, r io.Reader) ([]Loaded, error) {
	a := &archive{l: l, files: map[string]stored{}, links: map[string]string{}}
	defer a.release()
	if err := a.read(ctx, tar.NewReader(r)); err != nil {
		return nil, err
	}
	var legacy []legacyImage
	if _, ok := a.files[archiveLegacy]; ok {
		if err := a.document(archiveLegacy, &legacy); err != nil {
			return nil, err
		}
	}
	var all []candidate
	var err error
	if _, ok := a.files[archiveIndex]; ok {
		all, err = a.layout()
	} else {
		all, err = a.legacy(legacy)
	}
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: it has neither %s nor %s with an image", ErrArchive, archiveIndex, archiveLegacy)
	}
	a.refund()
	var out []Loaded
	for _, c := range all {
		i, err := a.image(c.digest)
		if err != nil {
			return out, err
		}
		if at := slices.IndexFunc(legacy, func(o legacyImage) bool { return o.Config == blobPath(i.ID) }); at >= 0 && len(c.names) == 0 {
			c.names = legacy[at].RepoTags
		}
		if err := l.name(i, c.names...); err != nil {
			return out, err
		}
		out = append(out, Loaded{i, c.names})
	}
	return out, nil
}

// candidate is a manifest of an archive.
type candidate struct {
	digest string
	names  []string
}

// stored is a file of an archive: held content.
type stored struct {
	digest string
	size   int64
	head   []byte // its beginning
}

// archive is one that is being loaded.
type archive struct {
	l       *Local
	files   map[string]stored
	links   map[string]string // symbolic links of old archives, whose layers name each other
	uploads []*Upload
	held    []string
}

// release lets go of what nobody took.
func (a *archive) release() {
	a.refund()
	s := a.l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range a.held {
		s.forgetLocked(d)
	}
}

// refund gives back what the uploads paid: the images pay from now on.
func (a *archive) refund() {
	for _, u := range a.uploads {
		u.Cancel()
	}
}

// read stores the files.
func (a *archive) read(ctx context.Context, t *tar.Reader) error {
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if n >= maxArchive {
			return fmt.Errorf("archive of more than %d entries: %w", maxArchive, ErrTooLarge)
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			if a.files[name], err = a.store(t); err != nil {
				return fmt.Errorf("load %q: %w", clip(name), err)
			}
		case tar.TypeSymlink:
			a.links[name] = path.Join("/"+path.Dir(name), h.Linkname)[1:]
		}
	}
}

// store makes one file held content.
func (a *archive) store(r io.Reader) (stored, error) {
	u, err := a.l.store.Scope(a.l.scope).NewUpload(a.l.store.Content.cfg.Limits.LayerBytes)
	if err != nil {
		return stored{}, err
	}
	a.uploads = append(a.uploads, u)
	var head bytes.Buffer
	if _, err := io.CopyN(&head, r, 8); err != nil && err != io.EOF {
		return stored{}, err
	}
	f := stored{head: head.Bytes()}
	if f.size, err = io.CopyBuffer(struct{ io.Writer }{u}, io.MultiReader(bytes.NewReader(f.head), struct{ io.Reader }{r}), make([]byte, 64<<10)); err != nil {
		return stored{}, err
	}
	f.digest = "sha256:" + hex.EncodeToString(u.w.sum.Sum(nil))
	if err := u.w.commit(f.digest); err != nil {
		return stored{}, err
	}
	a.held = append(a.held, f.digest)
	return f, nil
}

// find is a file, through one link.
func (a *archive) find(name string) (stored, error) {
	name = path.Clean("/" + name)[1:]
	if to, ok := a.links[name]; ok {
		name = to
	}
	f, ok := a.files[name]
	if !ok {
		return f, fmt.Errorf("%w: %q is missing", ErrArchive, clip(name))
	}
	return f, nil
}

func (a *archive) document(name string, into any) error {
	f, err := a.find(name)
	if err != nil {
		return err
	}
	b, err := a.l.store.Content.Read(f.digest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrArchive, clip(name), err)
	}
	return nil
}

// layout is the manifests of index.json.
func (a *archive) layout() ([]candidate, error) {
	var index struct{ Manifests []Descriptor }
	if err := a.document(archiveIndex, &index); err != nil {
		return nil, err
	}
	var l []candidate
	for _, d := range index.Manifests {
		c := candidate{digest: d.Digest}
		if n := d.Annotations[nameAnnot]; n != "" {
			c.names = []string{n}
		}
		l = append(l, c)
	}
	return l, nil
}

// image reads an image, all of which must have come with the archive: naming another lab's content in a manifest must not give it.
func (a *archive) image(digest string) (*Image, error) {
	if !slices.Contains(a.held, digest) {
		return nil, fmt.Errorf("%w: manifest %q is missing", ErrArchive, clip(digest))
	}
	i, err := a.l.store.Image(digest)
	if err != nil {
		return nil, err
	}
	for _, d := range i.Parts() {
		if !slices.Contains(a.held, d) {
			return nil, fmt.Errorf("%w: image %s: blob %s is missing", ErrArchive, digest, d)
		}
	}
	return i, nil
}

// legacy makes manifests for the images of manifest.json.
func (a *archive) legacy(images []legacyImage) ([]candidate, error) {
	var l []candidate
	for _, o := range images {
		config, err := a.find(o.Config)
		if err != nil {
			return nil, err
		}
		m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
		if m.Config, err = config.descriptor(types.OCIConfigJSON); err != nil {
			return nil, err
		}
		for _, name := range o.Layers {
			f, err := a.find(name)
			if err != nil {
				return nil, err
			}
			d, err := f.descriptor(f.layerType())
			if err != nil {
				return nil, err
			}
			m.Layers = append(m.Layers, d)
		}
		b, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		f, err := a.store(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		l = append(l, candidate{f.digest, o.RepoTags})
	}
	return l, nil
}

func (f stored) descriptor(t types.MediaType) (v1.Descriptor, error) {
	h, err := v1.NewHash(f.digest)
	return v1.Descriptor{MediaType: t, Size: f.size, Digest: h}, err
}

// layerType tells a layer's packing by its first bytes (RFC 1952, RFC 8878).
func (f stored) layerType() types.MediaType {
	switch {
	case bytes.HasPrefix(f.head, []byte{0x1f, 0x8b}):
		return types.OCILayer
	case bytes.HasPrefix(f.head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return types.OCILayerZStd
	}
	return types.OCIUncompressedLayer
}
