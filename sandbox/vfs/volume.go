package vfs

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ProjectedFile is a file of a configuration volume. Mode is its permissions.
type ProjectedFile struct {
	Data []byte
	Mode uint32
}

// dataLink is the link that readers go through; it is replaced in one rename, so that nobody sees old and new files mixed.
const dataLink = "..data"

// Project makes a volume show exactly files (slash-separated relative names), as Kubernetes does for configMaps, secrets and
// projected volumes: each name is a link through ..data into a directory made for this content, and ..data is replaced
// atomically. Nothing is touched when the content is the same. Names must not be absolute, contain ".." or begin with "..": an error lists them all.
// v sees the volume's file system at dir; its owner will own the files. now names the directory.
func Project(v *View, dir string, files map[string]ProjectedFile, now time.Time) error {
	if err := checkProjected(files); err != nil {
		return err
	}
	old, err := v.Readlink(nil, dir+"/"+dataLink)
	if err != nil && err != syscall.ENOENT {
		return fmt.Errorf("read %s: %w", dataLink, err)
	}
	if old != "" && sameProjection(v, dir+"/"+old, files) {
		return nil
	}
	fresh := nextVersion(v, dir, now)
	if err := writeProjected(v, dir, fresh, files); err != nil {
		_ = v.RemoveAll(dir + "/" + fresh)
		return err
	}
	tmp := dir + "/..data_tmp"
	_ = v.Unlink(nil, tmp)
	if err := v.Symlink(fresh, nil, tmp); err != nil {
		return fmt.Errorf("link %s: %w", fresh, err)
	}
	if err := v.Rename(nil, tmp, nil, dir+"/"+dataLink, 0); err != nil {
		return fmt.Errorf("replace %s: %w", dataLink, err)
	}
	if err := linkProjected(v, dir, files); err != nil {
		return err
	}
	if old != "" {
		return v.RemoveAll(dir + "/" + old)
	}
	return nil
}

func checkProjected(files map[string]ProjectedFile) error {
	var bad []string
	for name := range files {
		clean := path.Clean(name)
		if name == "" || clean != name || path.IsAbs(name) || strings.HasPrefix(name, "..") || len(name) >= PathMax {
			bad = append(bad, name)
		}
	}
	if bad == nil {
		return nil
	}
	slices.Sort(bad)
	return fmt.Errorf("names not allowed in a volume: %q", bad)
}

// nextVersion is an unused directory name that tells the time.
func nextVersion(v *View, dir string, now time.Time) string {
	stamp := now.UTC().Format("..2006_01_02_15_04_05.000000000")
	name := stamp
	for i := 1; ; i++ {
		if _, err := v.Lstat(nil, dir+"/"+name); err != nil {
			return name
		}
		name = fmt.Sprintf("%s_%d", stamp, i)
	}
}

func writeProjected(v *View, dir, fresh string, files map[string]ProjectedFile) error {
	base := dir + "/" + fresh
	if err := v.Mkdir(nil, base, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", fresh, err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if i := strings.LastIndexByte(name, '/'); i > 0 {
			if err := v.MkdirAll(base+"/"+name[:i], 0o755); err != nil {
				return fmt.Errorf("make %s: %w", name[:i], err)
			}
		}
		f := files[name]
		if err := v.WriteFile(base+"/"+name, f.Data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := v.Chmod(nil, base+"/"+name, f.Mode); err != nil {
			return fmt.Errorf("chmod %s: %w", name, err)
		}
	}
	return nil
}

// linkProjected makes the visible links to the first component of each name and removes those of names that are gone.
func linkProjected(v *View, dir string, files map[string]ProjectedFile) error {
	want := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		want[first] = true
	}
	have, err := v.names(dir)
	if err != nil {
		return err
	}
	for _, name := range have {
		if strings.HasPrefix(name, "..") {
			continue
		}
		if !want[name] {
			if err := v.RemoveAll(dir + "/" + name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
		delete(want, name)
	}
	fresh := slices.Sorted(maps.Keys(want))
	for _, name := range fresh {
		if err := v.Symlink(dataLink+"/"+name, nil, dir+"/"+name); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

// names lists a directory without "." and "..".
func (v *View) names(dir string) ([]string, error) {
	f, err := v.Open(nil, dir, O_RDONLY|O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var l []string
	err = f.ReadDir(0, func(e DirEntry, _ uint64) bool {
		if e.Name != "." && e.Name != ".." {
			l = append(l, e.Name)
		}
		return true
	})
	return l, err
}

// sameProjection reports whether base holds exactly files.
func sameProjection(v *View, base string, files map[string]ProjectedFile) bool {
	n := 0
	var walk func(dir string) bool
	walk = func(dir string) bool {
		names, err := v.names(base + dir)
		if err != nil {
			return false
		}
		for _, name := range names {
			st, err := v.Lstat(nil, base+dir+"/"+name)
			if err != nil {
				return false
			}
			if st.IsDir() {
				if !walk(dir + "/" + name) {
					return false
				}
				continue
			}
			want, ok := files[strings.TrimPrefix(dir+"/"+name, "/")]
			data, err := v.ReadFile(base+dir+"/"+name, int64(len(want.Data)))
			if !ok || err != nil || st.Mode&ModePerm != want.Mode&ModePerm || !bytes.Equal(data, want.Data) {
				return false
			}
			n++
		}
		return true
	}
	return walk("") && n == len(files)
}
