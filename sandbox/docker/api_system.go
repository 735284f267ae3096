package docker

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"slices"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	apivolume "github.com/moby/moby/api/types/volume"

	"github.com/drydock-labs/drydock/sandbox/image"
)

func (e *Engine) ping(w http.ResponseWriter, _ *http.Request) error {
	h := w.Header()
	h.Set("Builder-Version", "1") // the classic builder
	h.Set("Swarm", "inactive")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte("OK"))
	return err
}

// platform is how this host calls itself where Docker has its own name.
const platform = "Drydock lab (WebAssembly)"

func (e *Engine) getVersion(w http.ResponseWriter, _ *http.Request) error {
	v := system.VersionResponse{Platform: system.PlatformInfo{Name: platform}, Version: e.cfg.Version, APIVersion: APIVersion, MinAPIVersion: MinAPIVersion,
		Os: "linux", Arch: image.Wasm.Architecture, KernelVersion: e.cfg.Machine.Config().Release,
		Components: []system.ComponentVersion{{Name: "Engine", Version: e.cfg.Version, Details: map[string]string{"ApiVersion": APIVersion, "MinAPIVersion": MinAPIVersion,
			"Os": "linux", "Arch": image.Wasm.Architecture, "KernelVersion": e.cfg.Machine.Config().Release, "GoVersion": runtime.Version()}}}}
	return answer(w, http.StatusOK, v)
}

func (e *Engine) getInfo(w http.ResponseWriter, _ *http.Request) error {
	m := e.cfg.Machine
	total, _ := m.Memory()
	i := system.Info{ID: "drydock", Driver: "overlay2", DriverStatus: [][2]string{{"Backing Filesystem", "memory"}}, MemoryLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, PidsLimit: true,
		IPv4Forwarding: true, SystemTime: stamp(e.now()), LoggingDriver: "json-file", CgroupDriver: "cgroupfs", CgroupVersion: "2", KernelVersion: m.Config().Release, OperatingSystem: platform,
		OSType: "linux", Architecture: image.Wasm.Architecture, NCPU: int(m.Config().CPUs), MemTotal: total, DockerRootDir: "/var/lib/docker", Name: m.Config().Hostname, ServerVersion: e.cfg.Version,
		Runtimes: map[string]system.RuntimeWithStatus{runtimeName: {Runtime: system.Runtime{Path: runtimeName}}}, DefaultRuntime: runtimeName, IndexServerAddress: "https://index.docker.io/v1/",
		Plugins:        system.PluginsInfo{Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: []string{"json-file"}},
		RegistryConfig: &registry.ServiceConfig{IndexConfigs: map[string]*registry.IndexInfo{}}, Images: len(e.cfg.Images.List()),
		Warnings: []string{"Programs here are WebAssembly (" + image.Wasm.String() + "): images for other platforms can be pulled but not run. See 'drydock differences'."}}
	for _, c := range e.all() {
		i.Containers++
		c.mu.Lock()
		if c.life != nil {
			i.ContainersRunning++
		} else {
			i.ContainersStopped++
		}
		c.mu.Unlock()
	}
	return answer(w, http.StatusOK, i)
}

func (n *bridge) inspect(e *Engine) network.Inspect {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := network.Inspect{Network: n.summaryLocked(), Containers: map[string]network.EndpointResource{}}
	for a, c := range n.taken {
		p := c.endpoints[n.name]
		if p == nil {
			continue
		}
		out.Containers[c.id] = network.EndpointResource{Name: c.name, EndpointID: p.id, MacAddress: mac(a), IPv4Address: prefixOf(a, n.subnet)}
	}
	return out
}

func (n *bridge) summaryLocked() network.Network {
	s := network.Network{Name: n.name, ID: n.id, Created: n.created, Scope: "local", Driver: n.driver, EnableIPv4: true, Internal: n.internal, Options: n.options, Labels: n.labels, IPAM: network.IPAM{Driver: "default"}}
	if n.subnet.IsValid() {
		s.IPAM.Config = []network.IPAMConfig{{Subnet: n.subnet, Gateway: n.gateway}}
	}
	if s.Options == nil {
		s.Options = map[string]string{}
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if n.name == network.NetworkBridge {
		s.Options = map[string]string{"com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.name": defaultBridge}
	}
	return s
}

func (e *Engine) listNetworks(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "name", "id", "driver", "label", "scope", "type")
	if err != nil {
		return err
	}
	out := []network.Summary{}
	e.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(e.networks)) {
		n := e.networks[name]
		custom := n.name != "bridge" && n.name != "host" && n.name != "none"
		if f.labels(n.labels) && f.any("name", func(v string) bool { return matchReference("*"+v+"*", n.name) }) && f.any("id", func(v string) bool { return len(v) <= len(n.id) && n.id[:len(v)] == v }) &&
			f.any("driver", func(v string) bool { return v == n.driver }) && f.any("scope", func(v string) bool { return v == "local" }) && f.any("type", func(v string) bool { return (v == "custom") == custom }) {
			out = append(out, network.Summary{Network: n.summaryLocked()})
		}
	}
	e.mu.Unlock()
	return answer(w, http.StatusOK, out)
}

func (e *Engine) inspectNetwork(w http.ResponseWriter, r *http.Request) error {
	n, err := e.network(r.PathValue("id"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, n.inspect(e))
}

func (e *Engine) postNetwork(w http.ResponseWriter, r *http.Request) error {
	var req network.CreateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	n, err := e.createNetwork(req)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, network.CreateResponse{ID: n.id})
}

func (e *Engine) deleteNetwork(w http.ResponseWriter, r *http.Request) error {
	n, err := e.network(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := e.removeNetwork(n); err != nil {
		return err
	}
	e.event(events.NetworkEventType, events.ActionDestroy, n.id, map[string]string{"name": n.name, "type": n.driver})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Engine) pruneNetworks(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "until", "label", "label!")
	if err != nil {
		return err
	}
	until, err := f.until(e.now())
	if err != nil {
		return err
	}
	rep := network.PruneReport{NetworksDeleted: []string{}}
	e.mu.Lock()
	used := map[string]bool{}
	for _, c := range e.containers {
		for name := range c.endpoints {
			used[name] = true
		}
	}
	all := slices.Collect(maps.Values(e.networks))
	e.mu.Unlock()
	for _, n := range all {
		if !used[n.name] && f.pruned(n.created, until, n.labels) && e.removeNetwork(n) == nil {
			rep.NetworksDeleted = append(rep.NetworksDeleted, n.name)
		}
	}
	slices.Sort(rep.NetworksDeleted)
	return answer(w, http.StatusOK, rep)
}

func (v *volume) api() apivolume.Volume {
	labels := v.labels
	if v.anonymous {
		labels = map[string]string{"com.docker.volume.anonymous": ""}
	}
	return apivolume.Volume{Name: v.name, Driver: "local", Mountpoint: v.mountpoint(), CreatedAt: v.created.UTC().Format("2006-01-02T15:04:05Z07:00"), Labels: labels, Options: v.options, Scope: "local"}
}

func (e *Engine) listVolumes(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "name", "dangling", "driver", "label")
	if err != nil {
		return err
	}
	out := apivolume.ListResponse{Volumes: []apivolume.Volume{}}
	e.mu.Lock()
	for _, v := range e.volumes {
		if f.labels(v.labels) && f.any("name", func(s string) bool { return matchReference("*"+s+"*", v.name) }) && f.any("driver", func(s string) bool { return s == "local" }) &&
			f.any("dangling", func(s string) bool { return (s == "true" || s == "1") == (len(v.users) == 0) }) {
			out.Volumes = append(out.Volumes, v.api())
		}
	}
	e.mu.Unlock()
	slices.SortFunc(out.Volumes, func(a, b apivolume.Volume) int { return cmp.Compare(a.Name, b.Name) })
	return answer(w, http.StatusOK, out)
}

func (e *Engine) inspectVolume(w http.ResponseWriter, r *http.Request) error {
	v, err := e.volume(r.PathValue("name"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, v.api())
}

func (e *Engine) postVolume(w http.ResponseWriter, r *http.Request) error {
	var req apivolume.CreateRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	v, err := e.createVolume(req.Name, req.Driver, req.DriverOpts, req.Labels)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, v.api())
}

func (e *Engine) deleteVolume(w http.ResponseWriter, r *http.Request) error {
	v, err := e.volume(r.PathValue("name"))
	if err != nil {
		if flag(r, "force") {
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return err
	}
	if err := e.removeVolume(v); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Engine) pruneVolumesHTTP(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "all", "label", "label!")
	if err != nil {
		return err
	}
	all := len(f["all"]) > 0 && f.any("all", func(v string) bool { return v == "true" || v == "1" })
	names, freed := e.pruneVolumes(all, f)
	return answer(w, http.StatusOK, apivolume.PruneReport{VolumesDeleted: names, SpaceReclaimed: uint64(freed)})
}
