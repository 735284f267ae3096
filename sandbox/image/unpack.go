package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Errors of unpacking; each comes with the name of the entry.
var (
	ErrTooLarge = errors.New("layer exceeds a limit")
	ErrEscape   = errors.New("path leaves the layer")
)

// Limits bound what a layer may hold. Zero values get defaults.
type Limits struct {
	LayerBytes int64 // uncompressed archive; 1 GiB
	Entries    int   // entries of the archive; 200,000
	NameBytes  int64 // sum of names and link targets; 32 MiB
}

func (l Limits) withDefaults() Limits {
	if l.LayerBytes == 0 {
		l.LayerBytes = 1 << 30
	}
	if l.Entries == 0 {
		l.Entries = 200_000
	}
	if l.NameBytes == 0 {
		l.NameBytes = 32 << 20
	}
	return l
}

// The marks of image-spec's layers, "Whiteouts".
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // of aufs: ignored
)

// Unpack parses an uncompressed layer archive (image-spec, "Image Layer Filesystem Changeset") into a tree whose files are
// slices of b. digests gives "sha256:…" of files by path where somebody trusted knows them, nil otherwise. Absolute names are taken as
// relative ones and "." as the root; a name with ".." or a hard link out of the layer is ErrEscape.
func Unpack(b []byte, limits Limits, digests map[string]string) (*vfs.Layer, error) {
	limits = limits.withDefaults()
	if int64(len(b)) > limits.LayerBytes {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrTooLarge)
	}
	u := unpacker{src: bytes.NewReader(b), b: b, digests: digests, out: vfs.NewLayerBuilder()}
	u.tar = tar.NewReader(u.src)
	var names int64
	for n := 0; ; n++ {
		h, err := u.tar.Next()
		if err == io.EOF {
			return u.out.Layer(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
		names += int64(len(h.Name) + len(h.Linkname))
		if n >= limits.Entries || names > limits.NameBytes {
			return nil, fmt.Errorf("entry %d: %w", n, ErrTooLarge)
		}
		if err := u.entry(h); err != nil {
			return nil, fmt.Errorf("entry %q: %w", clip(h.Name), err)
		}
	}
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

type unpacker struct {
	src     *bytes.Reader
	b       []byte
	tar     *tar.Reader
	digests map[string]string
	out     *vfs.LayerBuilder
}

// clean is a name as the layer's tree knows it; "" is the root.
func clean(name string) (string, error) {
	if strings.ContainsRune(name, 0) || len(name) >= vfs.PathMax {
		return "", fmt.Errorf("name of %d bytes or with NUL", len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", ErrEscape
		}
	}
	name = path.Clean("/" + name)[1:]
	return name, nil
}

func (u *unpacker) entry(h *tar.Header) error {
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	switch {
	case base == whiteoutOpaque:
		return u.out.Opaque(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	case strings.HasPrefix(base, whiteoutPrefix):
		if base = base[len(whiteoutPrefix):]; base == "" || base == "." || base == ".." {
			return ErrEscape
		}
		return u.out.Whiteout(path.Join(dir, base))
	}
	a := vfs.LayerAttr{Mode: uint32(h.Mode) & vfs.ModePerm, UID: uint32(h.Uid), GID: uint32(h.Gid), Mtim: h.ModTime.UnixNano()}
	if name == "" && h.Typeflag != tar.TypeDir {
		return ErrEscape
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.out.Dir(name, a)
	case tar.TypeReg:
		data, err := u.body(h)
		if err != nil {
			return err
		}
		return u.out.File(name, a, data, u.digests[name])
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) >= vfs.PathMax || strings.ContainsRune(h.Linkname, 0) {
			return fmt.Errorf("symbolic link to a text of %d bytes", len(h.Linkname))
		}
		return u.out.Symlink(name, a, h.Linkname)
	case tar.TypeLink:
		target, err := clean(h.Linkname)
		if err != nil || target == "" {
			return fmt.Errorf("hard link to %q: %w", clip(h.Linkname), ErrEscape)
		}
		if err := u.out.Link(name, target); err != nil {
			return fmt.Errorf("hard link to %q: %w", clip(h.Linkname), err)
		}
		return nil
	case tar.TypeFifo:
		return u.out.Node(name, a, vfs.ModeFIFO, 0)
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar:
		if h.Devmajor == 0 && h.Devminor == 0 {
			return u.out.Whiteout(name) // overlayfs' own form
		}
		return u.out.Node(name, a, vfs.ModeChar, vfs.MakeDev(uint32(h.Devmajor), uint32(h.Devminor)))
	case tar.TypeBlock:
		return u.out.Node(name, a, vfs.ModeBlock, vfs.MakeDev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	return fmt.Errorf("type %q of an archive entry is not supported", h.Typeflag)
}

// body is the slice of the archive that holds a file. Sparse files have none and are refused.
func (u *unpacker) body(h *tar.Header) ([]byte, error) {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return nil, errors.New("sparse files are not supported")
		}
	}
	at := int64(len(u.b)) - int64(u.src.Len())
	if h.Size < 0 || h.Size > int64(len(u.b))-at {
		return nil, io.ErrUnexpectedEOF
	}
	return u.b[at : at+h.Size : at+h.Size], nil
}
