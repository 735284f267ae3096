package docker

import (
	"archive/tar"
	"io"
	"path"
	"slices"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// mountPoints are what the runtime makes in every container to mount on; Docker has them in a layer of their own, which no image gets.
var mountPoints = []string{"/dev", "/proc", "/sys", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"}

// writeLayer writes an upper layer as an archive over lowers (image-spec, "Creating"): what is gone as whiteouts.
func writeLayer(upper *vfs.Tmpfs, lowers []vfs.FS, w io.Writer) error {
	v := vfs.NewNamespace(upper).View(vfs.Root)
	below := vfs.NewNamespace(vfs.NewOverlay(lowers, nil)).View(vfs.Root)
	p := &packer{v: v, w: tar.NewWriter(w), links: map[uint64]string{}}
	if err := p.layer("/", below); err != nil {
		return err
	}
	return p.w.Close()
}

// layer writes what is in a directory.
func (p *packer) layer(dir string, below *vfs.View) error {
	names, err := list(p.v, dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		name := path.Join(dir, n)
		st, err := p.v.Lstat(nil, name)
		if err != nil {
			return err
		}
		_, missing := below.Lstat(nil, name)
		switch {
		case slices.Contains(mountPoints, name) && (st.IsDir() || st.Size == 0), name == "/etc" && missing != nil && p.onlyMountPoints(name):
			continue
		case st.Mode&vfs.ModeType == vfs.ModeChar && st.Rdev == 0:
			if err := p.whiteout(path.Join(dir, ".wh."+n)); err != nil {
				return err
			}
			continue
		}
		if err := p.entry(name, name[1:], st); err != nil {
			return err
		}
		if !st.IsDir() {
			continue
		}
		if p.opaque(name) {
			if err := p.whiteout(name + "/.wh..wh..opq"); err != nil {
				return err
			}
		}
		if err := p.layer(name, below); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) onlyMountPoints(dir string) bool {
	names, err := list(p.v, dir)
	return err == nil && !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(mountPoints, path.Join(dir, n)) })
}

func (p *packer) opaque(dir string) bool {
	f, err := p.v.Open(nil, dir, vfs.O_PATH, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Opaque()
}

func (p *packer) whiteout(name string) error {
	return p.w.WriteHeader(&tar.Header{Name: name[1:], Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX})
}
