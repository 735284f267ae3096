package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// copying is a COPY or ADD.
type copying struct {
	instructions.SourcesAndDest
	verb, from   string
	chown, chmod string
	odd          bool // it has an option that only BuildKit knows
}

// source is something to be copied: the tree at name of a view, for ADD also an archive to be unpacked.
type source struct {
	v      *vfs.View
	ignore *patternmatcher.PatternMatcher
	name   string
	st     vfs.Stat
	opened func() (io.Reader, error) // of an archive, nil for others
}

// root is the stage's files under an empty upper layer, which the caller closes.
func (b *building) root(st *stage) (*vfs.View, *vfs.Tmpfs, error) {
	lowers, err := b.lowers(st)
	if err != nil {
		return nil, nil, err
	}
	upper := vfs.NewTmpfs(vfs.TmpfsOptions{Size: b.e.cfg.DiskSize, Charger: b.e.cfg.Disk, Inodes: maxEntries, Clock: b.e.cfg.Machine.Clock().Now, Type: "overlay"})
	v := vfs.NewNamespace(vfs.NewOverlay(lowers, upper)).View(vfs.Root)
	v.Umask = 0o022
	return v, upper, nil
}

func (b *building) lowers(st *stage) ([]vfs.FS, error) {
	if st.image == nil {
		return nil, nil
	}
	l, err := st.image.FS()
	if err != nil {
		return nil, failure(500, "%s", err)
	}
	return l, nil
}

// layer makes an upper layer content.
func (b *building) layer(st *stage, upper *vfs.Tmpfs) (*image.NewLayer, error) {
	lowers, err := b.lowers(st)
	if err != nil {
		return nil, err
	}
	n, err := b.e.cfg.Images.WriteLayer(func(w io.Writer) error { return writeLayer(upper, lowers, w) })
	if err != nil {
		return nil, failure(500, "write the layer: %s", err)
	}
	return n, nil
}

// copy runs a COPY or ADD. In the cache it is known by what it copies, not by when that was written.
func (b *building) copy(st *stage, c copying) error {
	switch {
	case c.odd || len(c.SourceContents) > 0:
		return failure(http.StatusNotImplemented, "%s with this option or a here-document requires BuildKit: %s", c.verb, needsBuildKit)
	case slices.ContainsFunc(c.SourcePaths, remote) && c.verb == "ADD":
		return failure(http.StatusNotImplemented, "ADD failed: nothing leaves a lab, so no URL can be fetched: put the file into the build context and COPY it")
	}
	sources, err := b.sources(c)
	if err != nil {
		return err
	}
	dest := c.DestPath
	if !path.IsAbs(dest) {
		dest = path.Join("/", st.config.Config.WorkingDir) + "/" + dest
	}
	if len(sources) > 1 && !strings.HasSuffix(dest, "/") {
		return invalid("When using %s with more than one source file, the destination must be a directory and end with a /", c.verb)
	}
	mode, err := chmodOf(c.chmod)
	if err != nil {
		return err
	}
	sum, err := digestOf(sources)
	if err != nil {
		return failure(500, "%s failed: %s", c.verb, err)
	}
	text := fmt.Sprintf("%s %s in %s ", c.verb, sum, dest)
	if c.chown != "" {
		text = fmt.Sprintf("%s --chown=%s %s in %s ", c.verb, c.chown, sum, dest)
	}
	return b.commit(st, text+c.chmod, nop(text), func() (*image.NewLayer, error) { return b.fill(st, c, sources, dest, mode) })
}

// fill copies the sources over the stage's files and makes a layer of them.
func (b *building) fill(st *stage, c copying, sources []source, dest string, mode *uint32) (*image.NewLayer, error) {
	v, upper, err := b.root(st)
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	owner, err := runtime.Owner(v, c.chown)
	if err != nil {
		return nil, invalid("%s failed: %s", c.verb, err)
	}
	for _, s := range sources {
		if err := s.copyTo(v, dest, func(h *tar.Header) {
			if s.opened == nil || c.chown != "" {
				h.Uid, h.Gid = int(owner.UID), int(owner.GID)
			}
			if mode != nil && h.Typeflag != tar.TypeSymlink {
				h.Mode = int64(*mode)
			}
		}); err != nil {
			return nil, failure(500, "%s failed: %s", c.verb, err)
		}
	}
	return b.layer(st, upper)
}

func remote(p string) bool {
	return strings.HasPrefix(p, "http://") || strings.HasPrefix(p, "https://") || strings.HasPrefix(p, "git@") || strings.HasPrefix(p, "git://") || strings.HasPrefix(p, "ssh://")
}

func chmodOf(text string) (*uint32, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 8, 12)
	if err != nil {
		return nil, invalid("invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777", text)
	}
	m := uint32(n)
	return &m, nil
}

// sources finds what is to be copied: in the context, a stage or an image. ".." stays at the top and links lead nowhere outside.
func (b *building) sources(c copying) ([]source, error) {
	v, ignore := b.files, b.ignore
	if c.from != "" {
		ignore = nil
		st := b.earlier(c.from)
		if n, err := strconv.Atoi(c.from); st == nil && err == nil && n >= 0 && n < len(b.stages)-1 {
			st = b.stages[n]
		}
		if st == b.stages[len(b.stages)-1] {
			return nil, invalid("invalid from flag value %s: refers to current build stage", c.from)
		}
		if st == nil {
			i, err := b.fetch(c.from)
			if err != nil {
				return nil, invalid("invalid from flag value %s: %s", c.from, err)
			}
			st = &stage{image: i}
		}
		lowers, err := b.lowers(st)
		if err != nil {
			return nil, err
		}
		v = vfs.NewNamespace(vfs.NewOverlay(lowers, nil)).View(vfs.Root)
	}
	var l []source
	for _, p := range c.SourcePaths {
		found, err := expand(v, ignore, p)
		if err != nil {
			return nil, invalid("%s failed: %s", c.verb, err)
		}
		l = append(l, found...)
	}
	if len(l) == 0 {
		return nil, invalid("%s failed: no source files were specified", c.verb)
	}
	if c.verb == "ADD" {
		for i := range l {
			if err := l[i].detect(); err != nil {
				return nil, invalid("ADD failed: %s", err)
			}
		}
	}
	return l, nil
}

// maxMatches bounds what a pattern stands for.
const maxMatches = 10_000

// expand is the files that a source names, by a pattern or exactly.
func expand(v *vfs.View, ignore *patternmatcher.PatternMatcher, pattern string) ([]source, error) {
	if len(pattern) >= vfs.PathMax {
		return nil, fmt.Errorf("a source of %d bytes", len(pattern))
	}
	clean := path.Clean("/" + pattern)
	if !strings.ContainsAny(clean, "*?[\\") {
		s, err := find(v, ignore, clean)
		if err != nil {
			return nil, fmt.Errorf("file not found in build context or excluded by .dockerignore: stat %s: file does not exist", strings.TrimPrefix(pattern, "/"))
		}
		return []source{s}, nil
	}
	at := []string{"/"}
	for _, part := range strings.Split(clean[1:], "/") {
		var next []string
		for _, dir := range at {
			names, err := list(v, dir)
			if err != nil {
				continue // no directory
			}
			for _, n := range names {
				ok, err := path.Match(part, n)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", pattern, err)
				}
				if ok {
					next = append(next, path.Join(dir, n))
				}
			}
		}
		if at = next; len(at) > maxMatches {
			return nil, fmt.Errorf("%s names more than %d files", pattern, maxMatches)
		}
	}
	var l []source
	for _, name := range at {
		if s, err := find(v, ignore, name); err == nil {
			l = append(l, s)
		}
	}
	return l, nil
}

// find is one file or directory, behind its links.
func find(v *vfs.View, ignore *patternmatcher.PatternMatcher, name string) (source, error) {
	for range 40 {
		if ignored(ignore, name) {
			return source{}, syscall.ENOENT
		}
		st, err := v.Lstat(nil, name)
		if err != nil {
			return source{}, err
		}
		if !st.IsSymlink() {
			return source{v: v, ignore: ignore, name: name, st: st}, nil
		}
		to, err := v.Readlink(nil, name)
		if err != nil {
			return source{}, err
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = path.Clean("/" + to)
	}
	return source{}, syscall.ELOOP
}

func ignored(m *patternmatcher.PatternMatcher, name string) bool {
	if m == nil || name == "/" {
		return false
	}
	out, err := m.MatchesOrParentMatches(name[1:])
	return err == nil && out
}

// write writes the tree as an archive under base ("" = what is in the directory), as edit has each entry.
func (s source) write(w io.Writer, base string, edit func(*tar.Header)) error {
	p := &packer{v: s.v, w: tar.NewWriter(w), links: map[uint64]string{}, edit: edit, skip: func(name string, dir bool) bool {
		return ignored(s.ignore, name) && !(dir && s.ignore.Exclusions()) // something below may be let in again
	}}
	if err := p.tree(s.name, base); err != nil {
		return err
	}
	return p.w.Close()
}

// digestOf names sources by their content, as the history of Docker's builder does.
func digestOf(sources []source) (string, error) {
	all := sha256.New()
	kind := "multi"
	for _, s := range sources {
		h := sha256.New()
		base := path.Base(s.name)
		if kind = "file"; s.st.IsDir() {
			kind, base = "dir", ""
		}
		if err := s.write(h, base, func(h *tar.Header) { h.ModTime, h.Uid, h.Gid = time.Time{}, 0, 0 }); err != nil {
			return "", err
		}
		all.Write(h.Sum(nil))
	}
	if len(sources) > 1 {
		kind = "multi"
	}
	return kind + ":" + hex.EncodeToString(all.Sum(nil)), nil
}

// copyTo copies a source to a destination: a directory's content into it; a file under its own name if that ends with a slash or is a directory.
func (s source) copyTo(v *vfs.View, dest string, edit func(*tar.Header)) error {
	dir, base := path.Clean(dest), ""
	if !s.st.IsDir() && s.opened == nil {
		base = path.Base(s.name)
		if st, err := v.Stat(nil, dir); !strings.HasSuffix(dest, "/") && (err != nil || !st.IsDir()) {
			dir, base = path.Split(dir)
			dir = path.Clean(dir)
		}
	}
	if err := v.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mkdir %s: %w", dir, err)
	}
	if s.opened != nil {
		r, err := s.opened()
		if err != nil {
			return err
		}
		return unpackAs(v, dir, tar.NewReader(r), edit)
	}
	r, w := io.Pipe()
	var packing sync.WaitGroup
	packing.Go(func() { w.CloseWithError(s.write(w, base, nil)) })
	defer packing.Wait()
	defer r.Close()
	return unpackAs(v, dir, tar.NewReader(r), edit)
}

// detect finds out whether a file is an archive that ADD unpacks: tar, as it is or packed by gzip, bzip2 or zstd.
func (s *source) detect() error {
	if s.st.Mode&vfs.ModeType != vfs.ModeRegular {
		return nil
	}
	open := func() (io.Reader, error) {
		f, err := s.v.Open(nil, s.name, vfs.O_RDONLY, 0)
		if err != nil {
			return nil, err
		}
		return unpacked(io.NewSectionReader(f, 0, s.st.Size))
	}
	head := make([]byte, 6)
	if f, err := s.v.Open(nil, s.name, vfs.O_RDONLY, 0); err == nil {
		_, _ = f.ReadAt(head, 0) // a shorter file is no archive
		f.Close()
	}
	if bytes.Equal(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}) {
		return fmt.Errorf("%s is packed by xz, which drydock does not unpack: pack it by gzip", s.name[1:])
	}
	r, err := open()
	if err != nil {
		return nil // it only looked like one
	}
	if _, err := tar.NewReader(r).Next(); err == nil {
		s.opened = open
	}
	return nil
}

// unpacked reads through what packed an archive.
func unpacked(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	head, _ := in.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(in), nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return in, nil
}
