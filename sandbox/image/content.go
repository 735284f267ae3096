package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Errors of the content store.
var (
	ErrNoBlob = errors.New("blob unknown")
	ErrDigest = errors.New("content does not match its digest")
)

// Source is a place that blobs come from beside those that were put: the embedded catalogue.
type Source interface {
	// Open opens a blob. ErrNoBlob.
	Open(digest string) (io.ReadCloser, error)
	// FileDigests is path → "sha256:…" for files of the layer with this diff id, nil if not known. The source is trusted with it:
	// it decides which compiled program a file runs.
	FileDigests(diffID string) map[string]string
}

// ContentConfig configures a Content.
type ContentConfig struct {
	// CacheDir holds uncompressed layers as files that are mapped; "" = they are kept on the heap.
	CacheDir string
	// BlobDir holds what is written by a Writer, one file a blob; "" = on the heap.
	BlobDir string
	// Keep leaves blobs that nobody holds any more to Sweep: who is not there at the moment may have them.
	Keep    bool
	Sources []Source
	Limits  Limits
}

// Content is blobs by digest and the trees of layers, for all labs of the process.
type Content struct {
	cfg ContentConfig // immutable

	mu    sync.Mutex
	blobs map[string]*blob  // guarded by mu
	trees map[treeKey]*tree // guarded by mu
	maps  [][]byte          // guarded by mu; what Close unmaps
}

// treeKey is a blob with what it unpacks to. A stranger's configuration may name any diff id beside any blob: a tree is given only
// to the pair that was seen to match, or naming another lab's diff id would be enough to read its layer.
type treeKey struct{ digest, diffID string }

// tree is a layer that is being made or was made.
type tree struct {
	once  sync.Once
	layer *vfs.Layer
	err   error
}

// NewContent makes an empty store above the sources.
func NewContent(cfg ContentConfig) *Content {
	cfg.Limits = cfg.Limits.withDefaults()
	return &Content{cfg: cfg, blobs: map[string]*blob{}, trees: map[treeKey]*tree{}}
}

// DigestOf is "sha256:…" of b.
func DigestOf(b []byte) string {
	s := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(s[:])
}

// maxMeta bounds manifests and configurations.
const maxMeta = 4 << 20

// Read is a whole small blob (manifest or configuration), checked against its digest.
func (c *Content) Read(digest string) ([]byte, error) {
	r, err := c.Open(digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxMeta+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", digest, err)
	case len(b) > maxMeta:
		return nil, fmt.Errorf("%s: larger than %d bytes", digest, maxMeta)
	case !matches(b, digest):
		return nil, fmt.Errorf("%s: %w", digest, ErrDigest)
	}
	return b, nil
}

// Tree is the unpacked layer. It is made at the first call and shared from then on; a failure is tried again at the next.
func (c *Content) Tree(l Layer) (*vfs.Layer, error) {
	key := treeKey{l.Digest, l.DiffID}
	c.mu.Lock()
	t, ok := c.trees[key]
	if !ok {
		t = &tree{}
		c.trees[key] = t
	}
	c.mu.Unlock()
	t.once.Do(func() { t.layer, t.err = c.unpack(l) })
	if t.err != nil {
		c.mu.Lock()
		if c.trees[key] == t {
			delete(c.trees, key)
		}
		c.mu.Unlock()
		return nil, fmt.Errorf("layer %s: %w", l.Digest, t.err)
	}
	return t.layer, nil
}

func (c *Content) unpack(l Layer) (*vfs.Layer, error) {
	tar, err := c.archive(l)
	if err != nil {
		return nil, err
	}
	var digests map[string]string
	for _, s := range c.cfg.Sources {
		if digests = s.FileDigests(l.DiffID); digests != nil {
			break
		}
	}
	return Unpack(tar, c.cfg.Limits, digests)
}

// archive is the uncompressed layer: mapped from the cache directory, or on the heap.
func (c *Content) archive(l Layer) ([]byte, error) {
	if !strings.HasPrefix(l.DiffID, "sha256:") || !ValidDigest(l.DiffID) {
		return nil, fmt.Errorf("diff id %q is no sha256", l.DiffID)
	}
	if !ValidDigest(l.Digest) {
		return nil, fmt.Errorf("digest %q: %w", l.Digest, ErrDigest)
	}
	if c.cfg.CacheDir == "" {
		var buf bytes.Buffer
		if err := c.decompress(l, &buf); err != nil {
			return nil, err
		}
		return buf.Bytes(), nil
	}
	name := c.cacheFile(treeKey{l.Digest, l.DiffID})
	if b, err := c.mapFile(name); err == nil {
		return b, nil
	}
	if err := c.fill(name, l); err != nil {
		return nil, err
	}
	return c.mapFile(name)
}

// cacheFile names both digests, so that the file proves that they belong together.
func (c *Content) cacheFile(k treeKey) string {
	return filepath.Join(c.cfg.CacheDir, strings.ReplaceAll(k.diffID+"-of-"+k.digest, ":", "-")+".tar")
}

// fill writes the cache file under another name first, so that a whole one or none is there.
func (c *Content) fill(name string, l Layer) error {
	if err := os.MkdirAll(c.cfg.CacheDir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.cfg.CacheDir, "unpack-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = c.decompress(l, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// decompress writes the archive and checks it against the diff id.
func (c *Content) decompress(l Layer, w io.Writer) error {
	r, err := c.Open(l.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	plain, done, err := decompressor(l.MediaType, r)
	if err != nil {
		return err
	}
	defer done()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(plain, c.cfg.Limits.LayerBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("decompress: %w", err)
	case n > c.cfg.Limits.LayerBytes:
		return fmt.Errorf("more than %d bytes uncompressed: %w", c.cfg.Limits.LayerBytes, ErrTooLarge)
	case "sha256:"+hex.EncodeToString(h.Sum(nil)) != l.DiffID:
		return fmt.Errorf("uncompressed: %w", ErrDigest)
	}
	return nil
}

func decompressor(mediaType string, r io.Reader) (io.Reader, func(), error) {
	switch {
	case strings.HasSuffix(mediaType, "+zstd"), strings.HasSuffix(mediaType, ".zstd"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case strings.HasSuffix(mediaType, "gzip"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case strings.HasSuffix(mediaType, "tar"):
		return r, func() {}, nil
	}
	return nil, nil, fmt.Errorf("media type %q of a layer is not supported", mediaType)
}

// mapFile maps a cache file for reading.
func (c *Content) mapFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() == 0 || st.Size() > c.cfg.Limits.LayerBytes {
		return nil, fmt.Errorf("%s: %d bytes", name, st.Size())
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	c.mu.Lock()
	c.maps = append(c.maps, b)
	c.mu.Unlock()
	return b, nil
}

// Close unmaps everything. Nobody may use a layer any more. Close twice is fine.
func (c *Content) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.maps {
		_ = syscall.Munmap(m) // it was mapped by us
	}
	c.maps, c.trees = nil, map[treeKey]*tree{}
}
