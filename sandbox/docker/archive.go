package docker

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// pack writes what is at name as a tar archive (pax), under base instead of its own name ("" = what is in the directory).
func pack(v *vfs.View, name, base string, w io.Writer) error {
	p := packer{v: v, w: tar.NewWriter(w), links: map[uint64]string{}}
	if err := p.tree(name, base); err != nil {
		return err
	}
	return p.w.Close()
}

type packer struct {
	v     *vfs.View
	w     *tar.Writer
	links map[uint64]string // names of files with several, by inode

	edit func(*tar.Header)                // may change an entry; nil = no change
	skip func(name string, dir bool) bool // leaves an entry, with what is in it, out; nil = none
}

func (p *packer) tree(name, as string) error {
	st, err := p.v.Lstat(nil, name)
	if err != nil {
		return err
	}
	if p.skip != nil && p.skip(name, st.IsDir()) {
		return nil
	}
	if as != "" {
		if err := p.entry(name, as, st); err != nil {
			return err
		}
	}
	if !st.IsDir() {
		return nil
	}
	names, err := list(p.v, name)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := p.tree(path.Join(name, n), path.Join(as, n)); err != nil {
			return err
		}
	}
	return nil
}

// list are the names in a directory, sorted.
func list(v *vfs.View, name string) ([]string, error) {
	d, err := v.Open(nil, name, vfs.O_RDONLY|vfs.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var l []string
	err = d.ReadDir(0, func(e vfs.DirEntry, _ uint64) bool {
		if e.Name != "." && e.Name != ".." {
			l = append(l, e.Name)
		}
		return true
	})
	slices.Sort(l)
	return l, err
}

func (p *packer) entry(name, as string, st vfs.Stat) error {
	h := &tar.Header{Name: as, Mode: int64(st.Mode & 0o7777), Uid: int(st.UID), Gid: int(st.GID), ModTime: time.Unix(0, st.Mtim), Format: tar.FormatPAX}
	if p.edit != nil {
		p.edit(h)
	}
	switch st.Mode & vfs.ModeType {
	case vfs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, as+"/"
	case vfs.ModeSymlink:
		target, err := p.v.Readlink(nil, name)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case vfs.ModeRegular:
		if first, ok := p.links[st.Ino]; ok && st.Nlink > 1 {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.w.WriteHeader(h)
		}
		p.links[st.Ino] = as
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		return p.file(name, h)
	case vfs.ModeFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil // sockets and devices mean nothing elsewhere
	}
	return p.w.WriteHeader(h)
}

func (p *packer) file(name string, h *tar.Header) error {
	f, err := p.v.Open(nil, name, vfs.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.w, io.LimitReader(io.NewSectionReader(f, 0, h.Size), h.Size))
	if err == nil && n < h.Size { // it became shorter meanwhile
		_, err = io.CopyN(p.w, zeros{}, h.Size-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// maxEntries bounds the files of an archive that is unpacked.
const maxEntries = 100_000

// unpack makes what is in an archive below dir. Names stay inside: ".." is refused, and links on the way lead nowhere outside v. Errors name the entry.
func unpack(v *vfs.View, dir string, r *tar.Reader) error { return unpackAs(v, dir, r, nil) }

// unpackAs is unpack with entries that edit may change; nil = as they are.
func unpackAs(v *vfs.View, dir string, r *tar.Reader, edit func(*tar.Header)) error {
	inside := *v // links are followed inside dir alone
	if dir != "/" {
		if err := inside.Chroot(dir); err != nil {
			return err
		}
	}
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("invalid tar archive: %w", err)
		}
		if n >= maxEntries {
			return fmt.Errorf("the archive has more than %d entries", maxEntries)
		}
		if edit != nil {
			edit(h)
		}
		if err := unpackEntry(&inside, h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

var errEscape = errors.New("the name leads out of the directory")

func unpackEntry(v *vfs.View, h *tar.Header, r io.Reader) error {
	if slices.Contains(strings.Split(h.Name, "/"), "..") {
		return errEscape
	}
	name := path.Clean("/" + h.Name)
	mode := uint32(h.Mode & 0o7777)
	if name != "/" {
		if err := v.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := v.MkdirAll(name, 0o755); err != nil {
			return err
		}
		if name == "/" {
			return nil
		}
	case tar.TypeSymlink:
		if err := replace(v, name); err != nil {
			return err
		}
		if err := v.Symlink(h.Linkname, nil, name); err != nil {
			return err
		}
		return v.Chown(nil, name, uint32(h.Uid), uint32(h.Gid), false)
	case tar.TypeLink:
		if err := replace(v, name); err != nil {
			return err
		}
		return v.Link(nil, path.Clean("/"+h.Linkname), nil, name, false)
	case tar.TypeFifo:
		if err := replace(v, name); err != nil {
			return err
		}
		if err := v.Mknod(nil, name, vfs.ModeFIFO|mode, 0); err != nil {
			return err
		}
	case tar.TypeReg:
		if err := unpackFile(v, name, h.Size, r); err != nil {
			return err
		}
	default:
		return fmt.Errorf("entries of type %q are not supported", h.Typeflag)
	}
	if err := v.Chown(nil, name, uint32(h.Uid), uint32(h.Gid), false); err != nil {
		return err
	}
	if err := v.Chmod(nil, name, mode); err != nil {
		return err
	}
	at := h.ModTime.UnixNano()
	return v.Utimes(nil, name, vfs.Times{Atim: at, Mtim: at}, false)
}

// replace removes a file that is in the way.
func replace(v *vfs.View, name string) error {
	st, err := v.Lstat(nil, name)
	switch {
	case err == syscall.ENOENT:
		return nil
	case err != nil:
		return err
	case st.IsDir():
		return syscall.EEXIST
	}
	return v.Unlink(nil, name)
}

func unpackFile(v *vfs.View, name string, size int64, r io.Reader) error {
	if err := replace(v, name); err != nil {
		return err
	}
	f, err := v.Open(nil, name, vfs.O_CREAT|vfs.O_EXCL|vfs.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(f, r, size)
	return err
}
