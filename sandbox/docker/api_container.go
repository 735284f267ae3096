package docker

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// stamp is a time as inspect writes it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00Z"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (e *Engine) named(r *http.Request) (*container, error) { return e.find(r.PathValue("id")) }

func (e *Engine) postCreate(w http.ResponseWriter, r *http.Request) error {
	var req api.CreateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if p := r.FormValue("platform"); p != "" && p != image.Wasm.String() {
		return notFound("image with reference %s was found but its platform (%s) does not match the specified platform (%s)", req.Image, image.Wasm, p)
	}
	c, warnings, err := e.create(r.FormValue("name"), &req)
	if err != nil {
		return err
	}
	if warnings == nil {
		warnings = []string{}
	}
	return answer(w, http.StatusCreated, api.CreateResponse{ID: c.id, Warnings: warnings})
}

func (e *Engine) postStart(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return c.start(r.Context()) })
}

// changed answers 204, or 304 when nothing had to be done.
func (c *container) changed(w http.ResponseWriter, f func() (bool, error)) error {
	did, err := f()
	switch {
	case err != nil:
		return err
	case did:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusNotModified)
	}
	return nil
}

// toStop reads which container is to be stopped and how long that may take.
func (e *Engine) toStop(r *http.Request) (c *container, grace *int, err error) {
	if c, err = e.named(r); err == nil {
		grace, err = number(r, "t")
	}
	return c, grace, err
}

func (e *Engine) postStop(w http.ResponseWriter, r *http.Request) error {
	c, grace, err := e.toStop(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return c.stop(r.Context(), r.FormValue("signal"), grace) })
}

func (e *Engine) postRestart(w http.ResponseWriter, r *http.Request) error {
	c, grace, err := e.toStop(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return true, c.restart(r.Context(), r.FormValue("signal"), grace) })
}

func (e *Engine) postKill(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return true, c.kill(r.Context(), r.FormValue("signal")) })
}

func (e *Engine) postRename(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return true, c.rename(r.FormValue("name")) })
}

func (e *Engine) deleteContainer(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	if flag(r, "link") {
		return unsupported("links")
	}
	return c.changed(w, func() (bool, error) { return true, c.remove(flag(r, "force"), flag(r, "v")) })
}

func (e *Engine) postWait(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	when := api.WaitCondition(cmp.Or(r.FormValue("condition"), string(api.WaitConditionNotRunning)))
	switch when {
	case api.WaitConditionNotRunning, api.WaitConditionNextExit, api.WaitConditionRemoved:
	default:
		return invalid("invalid condition: %q", when)
	}
	ch, cancel := c.wait(when)
	defer cancel()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w) // the client starts the container once it knows that somebody waits
	select {
	case res := <-ch:
		return json.NewEncoder(w).Encode(res)
	case <-r.Context().Done():
		return r.Context().Err()
	case <-e.ctx.Done():
		return nil
	}
}

func (e *Engine) pruneContainers(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "until", "label", "label!")
	if err != nil {
		return err
	}
	until, err := f.until(e.now())
	if err != nil {
		return err
	}
	rep := api.PruneReport{ContainersDeleted: []string{}}
	for _, c := range e.all() {
		if c.isRunning() || !f.pruned(c.created, until, c.config.Labels) {
			continue
		}
		size, _ := c.upper.Used()
		if c.remove(false, false) == nil {
			rep.ContainersDeleted = append(rep.ContainersDeleted, c.id)
			rep.SpaceReclaimed += uint64(size)
		}
	}
	return answer(w, http.StatusOK, rep)
}

func (e *Engine) listContainers(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "id", "name", "label", "exited", "status", "ancestor", "volume", "network", "publish", "health")
	if err != nil {
		return err
	}
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	everything := flag(r, "all") || limit != nil && *limit > 0 || len(f["status"]) > 0 || len(f["exited"]) > 0
	out := []api.Summary{}
	for _, c := range e.all() {
		s, running := c.summary(flag(r, "size"))
		if !running && !everything || !c.passes(f, s) {
			continue
		}
		out = append(out, s)
		if limit != nil && *limit > 0 && len(out) == *limit {
			break
		}
	}
	return answer(w, http.StatusOK, out)
}

// passes tells whether a container is one that the filters let through.
func (c *container) passes(f filters, s api.Summary) bool {
	c.mu.Lock()
	code := c.exitCode
	c.mu.Unlock()
	name := strings.TrimPrefix(s.Names[0], "/")
	return f.labels(s.Labels) &&
		f.any("id", func(v string) bool { return strings.HasPrefix(s.ID, v) }) &&
		f.any("name", func(v string) bool { return strings.Contains(name, strings.Trim(v, "^/$")) }) &&
		f.any("status", func(v string) bool { return v == string(s.State) }) &&
		f.any("exited", func(v string) bool { return v == strconv.Itoa(code) && s.State == api.StateExited }) &&
		f.any("ancestor", func(v string) bool {
			return v == s.Image || v == s.ImageID || withTag(v) == withTag(s.Image) || strings.HasPrefix(strings.TrimPrefix(s.ImageID, "sha256:"), v)
		}) &&
		f.any("volume", func(v string) bool {
			return slices.ContainsFunc(s.Mounts, func(m api.MountPoint) bool { return m.Name == v || m.Destination == v })
		}) &&
		f.any("network", func(v string) bool { _, ok := s.NetworkSettings.Networks[v]; return ok }) &&
		f.any("publish", func(v string) bool {
			return slices.ContainsFunc(s.Ports, func(p api.PortSummary) bool { return v == strconv.Itoa(int(p.PublicPort)) })
		}) &&
		f.any("health", func(v string) bool { return v == c.healthStatus() })
}

// summary is a line of docker ps.
func (c *container) summary(size bool) (s api.Summary, running bool) {
	s = api.Summary{ID: c.id, Names: []string{"/" + c.currentName()}, Image: c.config.Image, ImageID: c.image.ID, Command: c.command(), Created: c.created.Unix(),
		Ports: c.ports(), Labels: c.config.Labels, NetworkSettings: &api.NetworkSettingsSummary{Networks: c.settings()}, Mounts: c.points()}
	s.HostConfig.NetworkMode = string(c.host.NetworkMode)
	if size {
		s.SizeRw, _ = c.upper.Used()
		s.SizeRootFs = s.SizeRw + c.image.Size
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.State, s.Status = c.state, c.statusLocked()
	return s, c.life != nil || c.state == api.StateRestarting
}

// statusLocked is docker ps's STATUS.
func (c *container) statusLocked() string {
	ago := func(t time.Time) string { return units.HumanDuration(c.e.now().Sub(t)) }
	switch c.state {
	case api.StateRunning:
		up := "Up " + ago(c.started)
		switch h := c.healthLocked(); {
		case h == nil:
		case h.Status == api.Starting:
			up += " (health: starting)"
		default:
			up += " (" + string(h.Status) + ")"
		}
		return up
	case api.StatePaused:
		return "Up " + ago(c.started) + " (Paused)"
	case api.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", c.exitCode, ago(c.finished))
	case api.StateExited:
		return fmt.Sprintf("Exited (%d) %s ago", c.exitCode, ago(c.finished))
	}
	return "Created"
}

func (c *container) points() []api.MountPoint {
	l := []api.MountPoint{}
	for _, m := range c.mounts {
		l = append(l, m.point)
	}
	return l
}

func (e *Engine) inspectContainer(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, c.inspect(flag(r, "size")))
}

func (c *container) inspect(size bool) api.InspectResponse {
	args := slices.Concat(c.config.Entrypoint, c.config.Cmd)
	dir := "/var/lib/docker/containers/" + c.id
	out := api.InspectResponse{ID: c.id, Created: stamp(c.created), Path: args[0], Args: args[1:], Image: c.image.ID, ResolvConfPath: dir + "/resolv.conf",
		HostnamePath: dir + "/hostname", HostsPath: dir + "/hosts", LogPath: dir + "/" + c.id + "-json.log", Name: "/" + c.currentName(), Driver: "overlay2", Platform: "linux",
		HostConfig: c.host, Mounts: c.points(), Config: c.config, NetworkSettings: &api.NetworkSettings{Ports: c.portMap(), Networks: c.settings()}}
	if size {
		rw, _ := c.upper.Used()
		all := rw + c.image.Size
		out.SizeRw, out.SizeRootFs = &rw, &all
	}
	live, _ := c.e.runtime.ContainerStatus(context.Background(), c.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	st := &api.State{Status: c.state, Running: c.life != nil, Paused: c.state == api.StatePaused, Restarting: c.state == api.StateRestarting, OOMKilled: c.oom, ExitCode: c.exitCode, Error: c.failed,
		StartedAt: stamp(c.started), FinishedAt: stamp(c.finished), Health: c.healthLocked()}
	if c.life != nil {
		out.NetworkSettings.SandboxID, out.NetworkSettings.SandboxKey = c.life.sandbox, "/var/run/docker/netns/"+c.life.sandbox[:12]
		st.Pid = live.PID
		for id := range c.running {
			out.ExecIDs = append(out.ExecIDs, id)
		}
		slices.Sort(out.ExecIDs)
	}
	out.State, out.RestartCount = st, c.restarts
	host := *c.host
	out.HostConfig = &host
	return out
}

func (e *Engine) postUpdate(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	var req api.UpdateConfig
	if err := decode(w, r, &req); err != nil {
		return err
	}
	switch {
	case req.Memory != 0 && req.Memory < 6<<20:
		return invalid("Minimum memory limit allowed is 6MB")
	case req.NanoCPUs < 0 || req.NanoCPUs > 0 && req.CPUQuota > 0:
		return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range []struct{ from, to *int64 }{{&req.Memory, &c.host.Memory}, {&req.NanoCPUs, &c.host.NanoCPUs}, {&req.CPUQuota, &c.host.CPUQuota}, {&req.CPUPeriod, &c.host.CPUPeriod},
		{&req.CPUShares, &c.host.CPUShares}, {&req.MemoryReservation, &c.host.MemoryReservation}} {
		if *x.from != 0 {
			*x.to = *x.from
		}
	}
	if req.PidsLimit != nil {
		c.host.PidsLimit = req.PidsLimit
	}
	if req.RestartPolicy.Name != "" {
		c.host.RestartPolicy = req.RestartPolicy
	}
	if c.life != nil {
		if err := e.runtime.SetResources(c.id, resources(c.host.Resources)); err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return invalid("%s", err)
		}
	}
	return answer(w, http.StatusOK, api.UpdateResponse{})
}

func (e *Engine) getChanges(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	l, err := c.changes()
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, l)
}

// changes compares the upper layer with the image (docker diff).
func (c *container) changes() ([]api.FilesystemChange, error) {
	lowers, err := c.image.FS()
	if err != nil {
		return nil, failure(500, "%s", err)
	}
	upper := vfs.NewNamespace(c.upper).View(vfs.Root)
	image := vfs.NewNamespace(vfs.NewOverlay(lowers, vfs.NewTmpfs(vfs.TmpfsOptions{}))).View(vfs.Root)
	l := []api.FilesystemChange{}
	var walk func(dir string) error
	walk = func(dir string) error {
		names, err := list(upper, dir)
		if err != nil {
			return err
		}
		for _, n := range names {
			p := path.Join(dir, n)
			st, err := upper.Lstat(nil, p)
			if err != nil {
				return err
			}
			old, below := image.Lstat(nil, p)
			switch {
			case st.Mode&vfs.ModeType == vfs.ModeChar && st.Rdev == 0: // a whiteout
				l = append(l, api.FilesystemChange{Kind: api.ChangeDelete, Path: p})
				continue
			case below != nil:
				l = append(l, api.FilesystemChange{Kind: api.ChangeAdd, Path: p})
			case !st.IsDir() || !old.IsDir() || st.Mode != old.Mode || hasEntries(upper, p):
				l = append(l, api.FilesystemChange{Kind: api.ChangeModify, Path: p})
			}
			if st.IsDir() {
				if err := walk(p); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk("/"); err != nil {
		return nil, failure(500, "%s", err)
	}
	return l, nil
}

// hasEntries tells whether something lies in a directory: in one of the upper layer, it counts as changed then.
func hasEntries(upper *vfs.View, dir string) bool {
	names, err := list(upper, dir)
	return err == nil && len(names) > 0
}

// archivePath finds what docker cp names in a container.
func (e *Engine) archivePath(r *http.Request) (*vfs.View, string, error) {
	c, err := e.named(r)
	if err != nil {
		return nil, "", err
	}
	name := r.FormValue("path")
	if name == "" {
		return nil, "", invalid("missing required parameter: path")
	}
	v, err := c.files()
	return v, path.Clean("/" + name), err
}

// statHeader is what docker cp asks first.
func statHeader(w http.ResponseWriter, v *vfs.View, c, name string) (vfs.Stat, error) {
	st, err := v.Lstat(nil, name)
	if err != nil {
		return st, notFound("Could not find the file %s in container %s", name, c)
	}
	p := api.PathStat{Name: path.Base(name), Size: st.Size, Mode: goMode(st.Mode), Mtime: time.Unix(0, st.Mtim)}
	if st.IsSymlink() {
		p.LinkTarget, _ = v.Readlink(nil, name)
		if !path.IsAbs(p.LinkTarget) {
			p.LinkTarget = path.Join(path.Dir(name), p.LinkTarget)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return st, err
	}
	w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(b))
	return st, nil
}

// goMode is a mode as Go's io/fs writes it.
func goMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	switch m & vfs.ModeType {
	case vfs.ModeDir:
		out |= fs.ModeDir
	case vfs.ModeSymlink:
		out |= fs.ModeSymlink
	case vfs.ModeFIFO:
		out |= fs.ModeNamedPipe
	}
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			out |= flag
		}
	}
	return out
}

func (e *Engine) headArchive(w http.ResponseWriter, r *http.Request) error {
	v, name, err := e.archivePath(r)
	if err != nil {
		return err
	}
	_, err = statHeader(w, v, r.PathValue("id"), name)
	return err
}

func (e *Engine) getArchive(w http.ResponseWriter, r *http.Request) error {
	v, name, err := e.archivePath(r)
	if err != nil {
		return err
	}
	if _, err := statHeader(w, v, r.PathValue("id"), name); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	return pack(v, name, path.Base(name), w)
}

func (e *Engine) getExport(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	lowers, err := c.image.FS()
	if err != nil {
		return failure(500, "%s", err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	return pack(vfs.NewNamespace(vfs.NewOverlay(lowers, c.upper)).View(vfs.Root), "/", "", w)
}

func (e *Engine) putArchive(w http.ResponseWriter, r *http.Request) error {
	v, name, err := e.archivePath(r)
	if err != nil {
		return err
	}
	st, err := v.Stat(nil, name)
	switch {
	case err != nil:
		return notFound("Could not find the file %s in container %s", name, r.PathValue("id"))
	case !st.IsDir():
		return invalid("extraction point is not a directory")
	}
	if err := unpack(v, name, tar.NewReader(r.Body)); err != nil {
		return invalid("%s", err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (e *Engine) postConnect(w http.ResponseWriter, r *http.Request) error {
	var req network.ConnectRequest
	n, c, err := e.networkAndContainer(w, r, &req, func() string { return req.Container })
	if err != nil {
		return err
	}
	return e.connect(n, c, req.EndpointConfig)
}

func (e *Engine) postDisconnect(w http.ResponseWriter, r *http.Request) error {
	var req network.DisconnectRequest
	n, c, err := e.networkAndContainer(w, r, &req, func() string { return req.Container })
	if err != nil {
		return err
	}
	return e.disconnect(n, c)
}

func (e *Engine) networkAndContainer(w http.ResponseWriter, r *http.Request, req any, container func() string) (*bridge, *container, error) {
	if err := decode(w, r, req); err != nil {
		return nil, nil, err
	}
	n, err := e.network(r.PathValue("id"))
	if err != nil {
		return nil, nil, err
	}
	c, err := e.find(container())
	return n, c, err
}
