package image

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// blob is bytes of a Content, in memory or in a file. It goes when nobody holds it and it was not Put.
type blob struct {
	size  int64
	data  []byte
	file  string // "" = data
	put   bool   // kept for the life of the process
	holds int
}

// newHash is the hash of a digest's algorithm and the digest's hex; nil when it is none of the two that image-spec registers.
func newHash(digest string) (hash.Hash, string) {
	alg, hexes, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch alg {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, ""
	}
	if len(hexes) != 2*h.Size() || strings.Trim(hexes, "0123456789abcdef") != "" {
		return nil, ""
	}
	return h, hexes
}

// ValidDigest tells whether a text is a digest that content can have: sha256 or sha512 with lower case hex (image-spec, "Digests").
func ValidDigest(digest string) bool {
	h, _ := newHash(digest)
	return h != nil
}

func matches(b []byte, digest string) bool {
	h, hexes := newHash(digest)
	if h == nil {
		return false
	}
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil)) == hexes
}

// Put keeps a blob for the life of the process and tells its digest. b must not change any more.
func (c *Content) Put(b []byte) string {
	d := DigestOf(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blobs[d] == nil {
		c.blobs[d] = &blob{size: int64(len(b)), data: b}
	}
	c.blobs[d].put = true
	return d
}

// putHeld writes a blob and holds it once. ErrDigest.
func (c *Content) putHeld(digest string, b []byte) error {
	w, err := c.newWriter()
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		w.close()
		return err
	}
	return w.commit(digest)
}

// keepInMemory keeps a blob that matches its digest and holds it once.
func (c *Content) keepInMemory(digest string, b []byte) {
	if c.inSource(digest) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blobs[digest] == nil {
		c.blobs[digest] = &blob{size: int64(len(b)), data: b}
	}
	c.blobs[digest].holds++
}

// hold keeps a blob until as many releases. ErrNoBlob. What a source has needs no holding.
func (c *Content) hold(digest string) error {
	c.mu.Lock()
	b := c.blobs[digest]
	if b != nil {
		b.holds++
	}
	c.mu.Unlock()
	if b == nil && !c.inSource(digest) {
		return fmt.Errorf("%s: %w", digest, ErrNoBlob)
	}
	return nil
}

// release undoes a hold; the last one forgets the tree and deletes the bytes, which are left to Sweep where the
// configuration says so. Whoever has the tree mounted keeps it.
func (c *Content) release(digest string) (gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.blobs[digest]
	if b == nil {
		return false
	}
	if b.holds--; b.holds > 0 || b.put {
		return false
	}
	if !c.cfg.Keep {
		delete(c.blobs, digest)
		if b.file != "" {
			_ = os.Remove(b.file) // nobody knows the name any more; a left-over is only space
		}
	}
	for k := range c.trees {
		if k.digest == digest {
			delete(c.trees, k)
			if c.cfg.CacheDir != "" {
				_ = os.Remove(c.cacheFile(k))
			}
		}
	}
	return true
}

// inSource tells whether a source has a blob: it costs nobody anything.
func (c *Content) inSource(digest string) bool {
	for _, s := range c.cfg.Sources {
		if r, err := s.Open(digest); err == nil {
			r.Close()
			return true
		}
	}
	return false
}

// Open opens a blob. ErrNoBlob.
func (c *Content) Open(digest string) (io.ReadCloser, error) {
	c.mu.Lock()
	b := c.blobs[digest]
	c.mu.Unlock()
	if b != nil && b.file != "" {
		f, err := os.Open(b.file)
		if errors.Is(err, os.ErrNotExist) { // released since
			err = ErrNoBlob
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", digest, err)
		}
		return f, nil
	}
	if b != nil {
		return inMemory{bytes.NewReader(b.data)}, nil
	}
	for _, s := range c.cfg.Sources {
		if r, err := s.Open(digest); err == nil || !errors.Is(err, ErrNoBlob) {
			return r, err
		}
	}
	return nil, fmt.Errorf("%s: %w", digest, ErrNoBlob)
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// OpenSeeker is Open for random access. A source that only streams is read to its end first.
func (c *Content) OpenSeeker(digest string) (io.ReadSeekCloser, error) {
	r, err := c.Open(digest)
	if err != nil {
		return nil, err
	}
	if s, ok := r.(io.ReadSeekCloser); ok {
		return s, nil
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, c.cfg.Limits.LayerBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", digest, err)
	}
	return inMemory{bytes.NewReader(b)}, nil
}

// size is a blob's length. ErrNoBlob.
func (c *Content) size(digest string) (int64, error) {
	r, err := c.OpenSeeker(digest)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return r.Seek(0, io.SeekEnd)
}

// uploadPrefix begins the names of files that are no blobs yet.
const uploadPrefix = "upload-"

// writer takes a blob whose digest is known at the end.
type writer struct {
	c *Content

	mu     sync.Mutex
	file   *os.File     // guarded by mu; nil = buf
	buf    bytes.Buffer // guarded by mu
	sum    hash.Hash    // guarded by mu; sha256
	size   int64        // guarded by mu
	closed bool         // guarded by mu
}

func (c *Content) newWriter() (*writer, error) {
	w := &writer{c: c, sum: sha256.New()}
	if c.cfg.BlobDir == "" {
		return w, nil
	}
	if err := os.MkdirAll(c.cfg.BlobDir, 0o700); err != nil {
		return nil, err
	}
	var err error
	w.file, err = os.CreateTemp(c.cfg.BlobDir, uploadPrefix+"*")
	return w, err
}

// Write appends. os.ErrClosed after close.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, os.ErrClosed
	}
	n, err := len(p), error(nil)
	if w.file != nil {
		n, err = w.file.Write(p)
	} else {
		w.buf.Write(p)
	}
	w.sum.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// close discards what was not committed. Twice is fine.
func (w *writer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	if w.file != nil {
		_ = w.file.Close()
		_ = os.Remove(w.file.Name()) // it was never anybody's
	}
	w.buf = bytes.Buffer{}
}

// commit makes the bytes a blob of the content, held once. ErrDigest; the writer is closed in any case.
func (w *writer) commit(digest string) error {
	defer w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return os.ErrClosed
	}
	if err := w.verifyLocked(digest); err != nil {
		return err
	}
	if w.file == nil {
		w.c.keepInMemory(digest, w.buf.Bytes())
		return nil
	}
	if w.c.inSource(digest) {
		return nil
	}
	if err := w.file.Sync(); err != nil { // a name whose bytes are lost would be found by Recover
		return err
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if b := w.c.blobs[digest]; b != nil {
		b.holds++
		return nil
	}
	name := filepath.Join(w.c.cfg.BlobDir, strings.ReplaceAll(digest, ":", "-"))
	if err := os.Rename(w.file.Name(), name); err != nil {
		return err
	}
	w.closed = true
	w.c.blobs[digest] = &blob{size: w.size, file: name, holds: 1}
	return w.file.Close()
}

func (w *writer) verifyLocked(digest string) error {
	h, hexes := newHash(digest)
	if h == nil {
		return fmt.Errorf("%q: %w", clip(digest), ErrDigest)
	}
	switch {
	case strings.HasPrefix(digest, "sha256:"):
		h = w.sum
	case w.file == nil:
		h.Write(w.buf.Bytes())
	default:
		if _, err := io.Copy(h, io.NewSectionReader(w.file, 0, w.size)); err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != hexes {
		return fmt.Errorf("%d bytes have %s, not %s: %w", w.size, got, hexes, ErrDigest)
	}
	return nil
}
