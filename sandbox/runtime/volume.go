package runtime

import (
	"context"
	"fmt"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// VolumeSpec is a volume of a pod.
type VolumeSpec struct {
	Name      string
	SizeLimit int64 // bytes, 0 = none: beyond, writers get ENOSPC
	Memory    bool  // charged as the pod's memory, not as disk
	// Projected volumes are read-only to the pod and hold exactly Files, replaced atomically; others begin empty and belong to the pod.
	Projected bool
	Files     []VolumeFile
	GID       *int64 // owns the volume (fsGroup)
}

// VolumeFile is a file of a projected volume. Path is relative and clean.
type VolumeFile struct {
	Path string
	Mode uint32 // permissions
	Data []byte
}

type volumeKey struct{ pod, name string }

type volume struct {
	fs       *vfs.Tmpfs
	view     *vfs.View
	readOnly bool
}

// projectedLimit bounds a volume with content: ConfigMaps and Secrets hold at most 1 MiB each.
const projectedLimit = 32 << 20

// WriteVolume makes a volume of a pod or, for projected ones, replaces its content: readers see the old or the new files. A volume that is there
// and is not projected is left alone.
func (r *Runtime) WriteVolume(_ context.Context, podUID string, spec VolumeSpec) error {
	v, fresh, err := r.makeVolume(podUID, spec)
	if err != nil {
		return fmt.Errorf("volume %s: %w", spec.Name, err)
	}
	if fresh && spec.GID != nil {
		if err := v.own(uint32(*spec.GID)); err != nil {
			return fmt.Errorf("volume %s: %w", spec.Name, err)
		}
	}
	if !spec.Projected {
		return nil
	}
	files := map[string]vfs.ProjectedFile{}
	for _, f := range spec.Files {
		files[f.Path] = vfs.ProjectedFile{Data: f.Data, Mode: f.Mode}
	}
	if err := vfs.Project(v.view, "/", files, r.now()); err != nil {
		return fmt.Errorf("volume %s: %w", spec.Name, err)
	}
	return nil
}

func (r *Runtime) makeVolume(podUID string, spec VolumeSpec) (v *volume, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false, ErrClosed
	}
	key := volumeKey{podUID, spec.Name}
	if v, ok := r.volumes[key]; ok {
		return v, false, nil
	}
	o := vfs.TmpfsOptions{Size: spec.SizeLimit, Inodes: r.cfg.RootInodes, Charger: r.cfg.Disk, Clock: r.fsClock(), Mode: 0o777}
	if spec.Projected {
		o.Size, o.Mode = projectedLimit, 0o755
	}
	if spec.Memory {
		o.Charger = r.m.Cgroup().Charger()
		for _, s := range r.sandboxes {
			if s.spec.UID == podUID {
				o.Charger = s.cgroup.Charger()
			}
		}
	}
	fs := vfs.NewTmpfs(o)
	v = &volume{fs: fs, view: vfs.NewNamespace(fs).View(vfs.Root), readOnly: spec.Projected}
	r.volumes[key] = v
	return v, true, nil
}

// own gives the volume to a group, which new files inherit.
func (v *volume) own(gid uint32) error {
	if err := v.view.Chown(nil, "/", 0, gid, false); err != nil {
		return err
	}
	st, err := v.view.Stat(nil, "/")
	if err != nil {
		return err
	}
	v.view.Cred = vfs.Cred{GID: gid}
	return v.view.Chmod(nil, "/", st.Mode&vfs.ModePerm|vfs.ModeSetgid)
}

func (r *Runtime) volume(podUID, name string) (*volume, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.volumes[volumeKey{podUID, name}]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("volume %q: %w", name, ErrNotFound)
}

// RemoveVolumes removes all volumes of a pod. What is still open in them can be read, not written.
func (r *Runtime) RemoveVolumes(_ context.Context, podUID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, v := range r.volumes {
		if k.pod == podUID {
			v.fs.Close()
			delete(r.volumes, k)
		}
	}
	return nil
}

// VolumeFiles is a volume as host code sees it. ErrNotFound.
func (r *Runtime) VolumeFiles(podUID, name string) (*vfs.View, error) {
	v, err := r.volume(podUID, name)
	if err != nil {
		return nil, err
	}
	view := *v.view
	return &view, nil
}
