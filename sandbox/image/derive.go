package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// Configuration is the bytes of an image's configuration (image-spec, "Image Configuration"), with what Config leaves out.
func (l *Local) Configuration(i *Image) ([]byte, error) { return l.store.Content.Read(i.ID) }

// NewLayer is a layer that no image has yet. Release it in any case.
type NewLayer struct {
	Layer
	l *Local
}

// WriteLayer makes content of the archive that write writes (image-spec, "Image Layer Filesystem Changeset"), packed as Docker packs layers. Its bytes are
// charged while they come. ErrTooLarge, the Charger's, write's.
func (l *Local) WriteLayer(write func(io.Writer) error) (*NewLayer, error) {
	limit := l.store.Content.cfg.Limits.LayerBytes
	u, err := l.store.Scope(l.scope).NewUpload(limit)
	if err != nil {
		return nil, err
	}
	defer u.Cancel() // the images that have it pay
	plain := sha256.New()
	z, err := gzip.NewWriterLevel(u, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := write(&bounded{io.MultiWriter(z, plain), limit}); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	n := &NewLayer{Layer{Digest: "sha256:" + hex.EncodeToString(u.w.sum.Sum(nil)), DiffID: "sha256:" + hex.EncodeToString(plain.Sum(nil)), Size: u.Size(), MediaType: string(types.OCILayer)}, l}
	return n, u.w.commit(n.Digest)
}

// Release lets go of the layer: it is the images' that have it.
func (n *NewLayer) Release() {
	s := n.l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(n.Digest)
}

// bounded refuses more than left bytes.
type bounded struct {
	w    io.Writer
	left int64
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, ErrTooLarge
	}
	return b.w.Write(p)
}

// Derive makes an image present, under names or none, of a configuration and layers, the lowest first, that the content has: those of images here, or new
// ones. Errors: *InvalidNameError, what is wrong with the configuration, the Charger's.
func (l *Local) Derive(config []byte, layers []Layer, names ...string) (*Image, error) {
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	var err error
	if m.Config, err = descriptor(config, types.OCIConfigJSON); err != nil {
		return nil, err
	}
	for _, layer := range layers {
		h, err := v1.NewHash(layer.Digest)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.MediaType(layer.MediaType), Size: layer.Size, Digest: h})
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return l.Put(&Built{Digest: DigestOf(manifest), Manifest: manifest, Config: config}, names...)
}
