package docker

import (
	"archive/tar"
	"cmp"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	apimount "github.com/moby/moby/api/types/mount"

	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// volume is a named or anonymous volume of the driver local.
type volume struct {
	name      string
	anonymous bool
	labels    map[string]string
	options   map[string]string
	created   time.Time
	fs        *vfs.Tmpfs
	users     map[string]bool // guarded by Engine.mu; ids of the containers that have it
}

// mount is something in a container's file system that is not its own.
type mount struct {
	point  api.MountPoint
	spec   runtime.Mount
	volume *volume    // nil unless it is one
	temp   *vfs.Tmpfs // a --tmpfs, closed with the container
}

// volumeRoot is where the daemon says that it keeps volumes.
const volumeRoot = "/var/lib/docker/volumes/"

func (v *volume) mountpoint() string { return volumeRoot + v.name + "/_data" }

// createVolume makes a volume, or returns the one of the name. "" makes an anonymous one.
func (e *Engine) createVolume(name, driver string, options, labels map[string]string) (*volume, error) {
	if driver != "" && driver != "local" {
		return nil, notFound("error looking up volume plugin %s: plugin %q not found", driver, driver)
	}
	if len(options) > 0 {
		return nil, unsupported("options of the volume driver local")
	}
	if name != "" && (!namePattern.MatchString(name) || strings.HasPrefix(name, "/") || len(name) > maxName) {
		return nil, invalid("create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name, name)
	}
	v := &volume{name: name, anonymous: name == "", labels: labels, options: options, created: e.now(), users: map[string]bool{}}
	if v.anonymous {
		v.name = e.newID()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.volumes[v.name]; old != nil {
		return old, nil
	}
	if e.closed || len(e.volumes) >= e.cfg.Volumes {
		return nil, failure(507, "this host has %d volumes, the most a lab may have: remove some (docker volume prune)", e.cfg.Volumes)
	}
	e.keepVolume(v)
	e.volumes[v.name] = v
	e.eventLocked(events.VolumeEventType, events.ActionCreate, v.name, map[string]string{"driver": "local"})
	return v, nil
}

func (e *Engine) volume(name string) (*volume, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if v := e.volumes[name]; v != nil {
		return v, nil
	}
	return nil, notFound("get %s: no such volume", name)
}

func (e *Engine) removeVolume(v *volume) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(v.users) > 0 {
		return conflict("remove %s: volume is in use - [%s]", v.name, strings.Join(slices.Sorted(maps.Keys(v.users)), ", "))
	}
	if e.volumes[v.name] != v {
		return notFound("get %s: no such volume", v.name)
	}
	delete(e.volumes, v.name)
	e.cfg.Keeper.Drop(keptVolumes + v.name)
	e.eventLocked(events.VolumeEventType, events.ActionDestroy, v.name, map[string]string{"driver": "local"})
	return nil
}

// wish is a mount that is asked for, in the form of --mount.
type wish struct {
	apimount.Mount
	mode string // of -v
	bind bool   // made by -v: a missing directory is made
}

// makeMounts makes what a container's options and its image's VOLUMEs ask for.
func (e *Engine) makeMounts(c *container) (_ []mount, err error) {
	wishes, err := c.wishes()
	if err != nil {
		return nil, err
	}
	var l []mount
	defer func() {
		if err != nil {
			c.mounts = l
			e.dropMounts(c, true)
		}
	}()
	for _, w := range wishes {
		m, err := e.makeMount(c, w)
		if err != nil {
			return nil, err
		}
		l = append(l, m)
	}
	return l, nil
}

// wishes are the mounts in order; a target is named once.
func (c *container) wishes() ([]wish, error) {
	var l []wish
	seen := map[string]bool{}
	add := func(w wish) error {
		if !path.IsAbs(w.Target) || path.Clean(w.Target) == "/" {
			return invalid("invalid mount path: '%s' mount path must be absolute and not '/'", w.Target)
		}
		w.Target = path.Clean(w.Target)
		if seen[w.Target] {
			return invalid("Duplicate mount point: %s", w.Target)
		}
		seen[w.Target] = true
		l = append(l, w)
		return nil
	}
	for _, b := range c.host.Binds {
		w, err := parseBind(b)
		if err != nil {
			return nil, err
		}
		if err := add(w); err != nil {
			return nil, err
		}
	}
	for _, m := range c.host.Mounts {
		if err := add(wish{Mount: m}); err != nil {
			return nil, err
		}
	}
	for target := range c.host.Tmpfs {
		if err := add(wish{Mount: apimount.Mount{Type: apimount.TypeTmpfs, Target: target}}); err != nil {
			return nil, err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(c.config.Volumes)) {
		if !seen[path.Clean(target)] {
			if err := add(wish{Mount: apimount.Mount{Type: apimount.TypeVolume, Target: target}}); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// parseBind reads SOURCE:TARGET[:OPTIONS] (docker run -v).
func parseBind(b string) (wish, error) {
	f := strings.Split(b, ":")
	if len(f) < 2 || len(f) > 3 || f[0] == "" || f[1] == "" {
		return wish{}, invalid("invalid volume specification: '%s'", b)
	}
	w := wish{Mount: apimount.Mount{Type: apimount.TypeVolume, Source: f[0], Target: f[1]}, bind: true}
	if path.IsAbs(f[0]) {
		w.Type = apimount.TypeBind
	}
	if len(f) == 3 {
		w.mode = f[2]
		for _, o := range strings.Split(f[2], ",") {
			switch o {
			case "ro":
				w.ReadOnly = true
			case "rw", "z", "Z", "cached", "delegated", "consistent", "rprivate", "private", "rslave", "rshared":
			case "nocopy":
				w.VolumeOptions = &apimount.VolumeOptions{NoCopy: true}
			default:
				return wish{}, invalid("invalid mode: %s", f[2])
			}
		}
	}
	return w, nil
}

func (e *Engine) makeMount(c *container, w wish) (mount, error) {
	m := mount{point: api.MountPoint{Type: w.Type, Destination: w.Target, Mode: w.mode, RW: !w.ReadOnly}, spec: runtime.Mount{Target: w.Target, ReadOnly: w.ReadOnly}}
	switch w.Type {
	case apimount.TypeTmpfs:
		size := int64(0)
		if w.TmpfsOptions != nil {
			size = w.TmpfsOptions.SizeBytes
		}
		m.temp = vfs.NewTmpfs(vfs.TmpfsOptions{Size: size, Charger: e.cfg.Disk, Inodes: 65536, Mode: 0o1777, Clock: e.cfg.Machine.Clock().Now, Type: "tmpfs"})
		m.spec.FS = m.temp
	case apimount.TypeBind:
		if err := e.bindSource(w); err != nil {
			return m, err
		}
		m.point.Source, m.point.Propagation, m.spec.HostPath = path.Clean(w.Source), "rprivate", path.Clean(w.Source)
	case apimount.TypeVolume:
		v, err := e.createVolume(w.Source, "", nil, nil)
		if err != nil {
			return m, err
		}
		e.mu.Lock()
		v.users[c.id] = true
		e.mu.Unlock()
		m.volume, m.spec.FS = v, v.fs
		m.point.Name, m.point.Source, m.point.Driver = v.name, v.mountpoint(), "local"
		if w.VolumeOptions != nil {
			m.spec.SubPath = w.VolumeOptions.Subpath
		}
		if w.VolumeOptions == nil || !w.VolumeOptions.NoCopy {
			return m, c.fillVolume(v, w.Target)
		}
	default:
		return m, invalid("invalid mount config: mount type unknown: %q", w.Type)
	}
	return m, nil
}

// bindSource looks for a directory or file of the machine; -v makes a directory that is missing.
func (e *Engine) bindSource(w wish) error {
	root := e.cfg.Machine.Root()
	if !path.IsAbs(w.Source) {
		return invalid("invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", w.Source)
	}
	_, err := root.Stat(nil, w.Source)
	switch {
	case err == syscall.ENOENT && (w.bind || w.BindOptions != nil && w.BindOptions.CreateMountpoint):
		if err := root.MkdirAll(w.Source, 0o755); err != nil {
			return failure(500, "error while creating mount source path '%s': mkdir %s: %s", w.Source, w.Source, err)
		}
		return nil
	case err != nil:
		return invalid("invalid mount config for type \"bind\": bind source path does not exist: %s", w.Source)
	}
	return nil
}

// fillVolume copies what the image has at the mount point into a volume that is empty ("Populate a volume using a container").
func (c *container) fillVolume(v *volume, target string) error {
	if _, inodes := v.fs.Used(); inodes > 1 {
		return nil
	}
	from, err := c.files()
	if err != nil {
		return err
	}
	st, err := from.Stat(nil, target)
	if err != nil || !st.IsDir() {
		return nil
	}
	to := vfs.NewNamespace(v.fs).View(vfs.Root)
	r, w := io.Pipe()
	var packing sync.WaitGroup
	packing.Go(func() { w.CloseWithError(pack(from, target, "", w)) })
	defer packing.Wait()
	defer r.Close()
	if err := unpack(to, "/", tar.NewReader(r)); err != nil {
		return failure(500, "copy the image's %s into the volume %s: %s", target, v.name, err)
	}
	return cmp.Or(to.Chmod(nil, "/", st.Mode&0o7777), to.Chown(nil, "/", st.UID, st.GID, true))
}

// dropMounts gives up what makeMounts made; anonymous volumes go too if that is wanted.
func (e *Engine) dropMounts(c *container, volumes bool) {
	for _, m := range c.mounts {
		if m.temp != nil {
			m.temp.Close()
		}
		if m.volume == nil {
			continue
		}
		e.mu.Lock()
		delete(m.volume.users, c.id)
		e.mu.Unlock()
		if volumes && m.volume.anonymous {
			_ = e.removeVolume(m.volume) // in use elsewhere: it stays
		}
	}
}

// files is the container's file system as root sees it: with mounts while it runs, else its layers alone.
func (c *container) files() (*vfs.View, error) {
	c.mu.Lock()
	runs := c.life != nil
	c.mu.Unlock()
	if runs {
		if v, err := c.e.runtime.Files(c.id); err == nil {
			return v, nil
		}
	}
	lowers, err := c.image.FS()
	if err != nil {
		return nil, failure(500, "%s", err)
	}
	v := vfs.NewNamespace(vfs.NewOverlay(lowers, c.upper)).View(vfs.Root)
	for _, m := range c.mounts {
		if m.volume == nil {
			continue
		}
		if err := v.MkdirAll(m.spec.Target, 0o755); err != nil {
			continue
		}
		if err := v.Mount(m.volume.name, m.spec.Target, m.volume.fs, 0); err != nil {
			return nil, failure(500, "%s", err)
		}
	}
	return v, nil
}

// pruneVolumes removes the volumes that no container has: the anonymous ones, or all.
func (e *Engine) pruneVolumes(all bool, f filters) (names []string, freed int64) {
	e.mu.Lock()
	var l []*volume
	for _, v := range e.volumes {
		if len(v.users) == 0 && (all || v.anonymous) && f.pruned(v.created, time.Time{}, v.labels) {
			l = append(l, v)
		}
	}
	e.mu.Unlock()
	for _, v := range l {
		size, _ := v.fs.Used()
		if e.removeVolume(v) == nil {
			names, freed = append(names, v.name), freed+size
		}
	}
	slices.Sort(names)
	return names, freed
}
