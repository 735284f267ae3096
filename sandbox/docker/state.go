package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	apimount "github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Keeper is where a Docker host keeps what outlives the machine's power: /var/lib/docker. Names have slashes; what is below a name goes with it.
type Keeper interface {
	// Files and Log return what there is of the name, an empty one where there is nothing.
	Files(name string, o vfs.TmpfsOptions) *vfs.Tmpfs
	Log(name string, limit int64, disk vfs.Charger) *runtime.Log
	// Document has a value kept, after each call of the function that is returned; that one may be called with any lock held, now is called
	// with none.
	Document(name string, now func() []byte) (changed func())
	// Documents are the values whose names begin with prefix.
	Documents(prefix string) map[string][]byte
	// Drop forgets a name and those below it.
	Drop(name string)
	// Problem is told what could not be brought back.
	Problem(err error)
}

// Names in the Keeper.
const (
	keptContainers = "docker/container/"
	keptNetworks   = "docker/network/"
	keptVolumes    = "docker/volume/"
)

// containerState is what is kept of a container beside its files and its log.
type containerState struct {
	ID        string                    `json:"id"`
	Name      string                    `json:"name"`
	Image     string                    `json:"image"` // manifest digest
	Config    *api.Config               `json:"config"`
	Host      *api.HostConfig           `json:"host"`
	Created   time.Time                 `json:"created"`
	Nets      *network.NetworkingConfig `json:"nets,omitempty"`
	Endpoints map[string]endpointState  `json:"endpoints,omitempty"` // by network; nil while one is missing
	Volumes   map[string]string         `json:"volumes,omitempty"`   // mount point → volume
	State     api.ContainerState        `json:"state"`
	Started   time.Time                 `json:"started,omitzero"`
	Finished  time.Time                 `json:"finished,omitzero"`
	ExitCode  int                       `json:"exitCode,omitempty"`
	OOM       bool                      `json:"oom,omitempty"`
	Failed    string                    `json:"failed,omitempty"`
	Restarts  int                       `json:"restarts,omitempty"`
	Stopped   bool                      `json:"stopped,omitempty"`
}

type endpointState struct {
	ID      string     `json:"id"`
	Wanted  netip.Addr `json:"wanted,omitzero"`
	Aliases []string   `json:"aliases,omitempty"`
}

type networkState struct {
	Name     string            `json:"name"`
	ID       string            `json:"id"`
	Driver   string            `json:"driver"`
	Link     string            `json:"link,omitempty"`
	Subnet   netip.Prefix      `json:"subnet,omitzero"`
	Gateway  netip.Addr        `json:"gateway,omitzero"`
	Internal bool              `json:"internal,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Options  map[string]string `json:"options,omitempty"`
	Created  time.Time         `json:"created"`
}

type volumeState struct {
	Name      string            `json:"name"`
	Anonymous bool              `json:"anonymous,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Options   map[string]string `json:"options,omitempty"`
	Created   time.Time         `json:"created"`
}

// encode is for plain data.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("docker: encode %T: %v", v, err))
	}
	return b
}

// document is the container as it is now, nothing once it is removed.
func (c *container) document() []byte {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	if c.dead {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := containerState{ID: c.id, Name: c.name, Image: c.image.Digest, Config: c.config, Host: c.host, Created: c.created, Nets: c.nets, State: c.state, Started: c.started,
		Finished: c.finished, ExitCode: c.exitCode, OOM: c.oom, Failed: c.failed, Restarts: c.restarts, Stopped: c.stopped}
	for _, m := range c.mounts {
		if m.volume != nil {
			if s.Volumes == nil {
				s.Volumes = map[string]string{}
			}
			s.Volumes[m.spec.Target] = m.volume.name
		}
	}
	if c.endpoints != nil {
		s.Endpoints = map[string]endpointState{}
	}
	for name, p := range c.endpoints {
		s.Endpoints[name] = endpointState{p.id, p.wanted, p.aliases}
	}
	return encode(s)
}

func (c *container) keptAs() string { return keptContainers + c.id }

// files are a container's upper layer and its log.
func (e *Engine) files(id string) (*vfs.Tmpfs, *runtime.Log) {
	k := e.cfg.Keeper
	log := k.Log(keptContainers+id+"/log", e.cfg.LogLimit, e.cfg.Disk)
	log.OnRecord(e.written.tell)
	return k.Files(keptContainers+id+"/upper", e.runtime.UpperOptions()), log
}

// adopt has a container kept from now on.
func (e *Engine) adopt(c *container) {
	keep := e.cfg.Keeper.Document(c.keptAs(), c.document)
	e.mu.Lock()
	c.keep = keep
	e.mu.Unlock()
	keep()
}

// keep has a container kept as it is now.
func (e *Engine) keep(c *container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.keep != nil {
		c.keep()
	}
}

// keepLocked has a container kept that an event tells of.
func (e *Engine) keepLocked(t events.Type, id string) {
	if c := e.containers[id]; t == events.ContainerEventType && c != nil && c.keep != nil {
		c.keep()
	}
}

func (e *Engine) keepNetwork(n *bridge) {
	e.cfg.Keeper.Document(keptNetworks+n.name, func() []byte {
		return encode(networkState{n.name, n.id, n.driver, n.link, n.subnet, n.gateway, n.internal, n.labels, n.options, n.created})
	})()
}

func (e *Engine) keepVolume(v *volume) {
	v.fs = e.cfg.Keeper.Files(keptVolumes+v.name+"/data", vfs.TmpfsOptions{Size: e.cfg.DiskSize, Charger: e.cfg.Disk, Inodes: 65536, Clock: e.cfg.Machine.Clock().Now, Type: "ext4"})
	e.cfg.Keeper.Document(keptVolumes+v.name, func() []byte { return encode(volumeState{v.name, v.anonymous, v.labels, v.options, v.created}) })()
}

// restore brings back what an earlier boot kept, as the daemon does at its start, and starts what its restart policy has started then.
// Nobody uses the engine yet.
func (e *Engine) restore() {
	each(e, keptNetworks, e.restoreNetwork)
	each(e, keptVolumes, func(s volumeState) error {
		v := &volume{name: s.Name, anonymous: s.Anonymous, labels: s.Labels, options: s.Options, created: s.Created, users: map[string]bool{}}
		e.volumes[v.name] = v
		e.keepVolume(v)
		return nil
	})
	var again []*container
	each(e, keptContainers, func(s containerState) error {
		c, revive, err := e.restoreContainer(s)
		if revive {
			again = append(again, c)
		}
		return err
	})
	for _, c := range again {
		e.spawn(c.revive)
	}
}

// each reads the values below a prefix in order; the host goes on without what fails.
func each[T any](e *Engine, prefix string, f func(T) error) {
	kept := e.cfg.Keeper.Documents(prefix)
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		var v T
		err := json.Unmarshal(kept[name], &v)
		if err == nil {
			err = f(v)
		}
		if err != nil {
			e.cfg.Keeper.Problem(fmt.Errorf("%s: %w", name, err))
			e.cfg.Keeper.Drop(name)
		}
	}
}

func (e *Engine) restoreNetwork(s networkState) error {
	if n := e.networks[s.Name]; n != nil { // bridge, host, none
		n.id, n.created = s.ID, s.Created
		e.keepNetwork(n)
		return nil
	}
	n := &bridge{name: s.Name, id: s.ID, driver: s.Driver, link: s.Link, subnet: s.Subnet, gateway: s.Gateway, internal: s.Internal, labels: s.Labels, options: s.Options,
		created: s.Created, taken: map[netip.Addr]*container{}}
	if n.link == "" || !n.subnet.IsValid() || !n.gateway.IsValid() {
		return fmt.Errorf("a network without a subnet")
	}
	if err := e.cfg.Machine.Net().AddLink(n.link, n.link, prefixOf(n.gateway, n.subnet)); err != nil {
		return err
	}
	e.networks[n.name] = n
	e.keepNetwork(n)
	return nil
}

// lostExit is the exit code of a container whose end nobody saw, as the daemon gives it.
const lostExit = 255

func (e *Engine) restoreContainer(s containerState) (c *container, revive bool, err error) {
	if s.Config == nil || s.Host == nil || s.ID == "" {
		return nil, false, fmt.Errorf("a container without a configuration")
	}
	c = &container{e: e, id: s.ID, name: s.Name, config: s.Config, host: s.Host, created: s.Created, nets: s.Nets, state: s.State, started: s.Started, finished: s.Finished,
		exitCode: s.ExitCode, oom: s.OOM, failed: s.Failed, restarts: s.Restarts, stopped: s.Stopped, running: map[string]*exec{}}
	if c.image, err = e.cfg.Images.Find(s.Image); err != nil {
		return nil, false, err
	}
	if s.Endpoints != nil {
		c.endpoints = map[string]*endpoint{}
	}
	for name, p := range s.Endpoints {
		n := e.networks[name]
		if n == nil {
			return nil, false, fmt.Errorf("network %s is missing", name)
		}
		c.endpoints[name] = &endpoint{bridge: n, id: p.ID, wanted: p.Wanted, aliases: p.Aliases}
	}
	lost := s.State != api.StateCreated && s.State != api.StateExited
	if lost && s.Host.AutoRemove {
		e.cfg.Keeper.Drop(c.keptAs())
		return nil, false, nil
	}
	if lost {
		c.state, c.exitCode, c.finished = api.StateExited, lostExit, e.now()
	}
	c.upper, c.log = e.files(c.id)
	if err := e.restoreMounts(c, s.Volumes); err != nil {
		return nil, false, err
	}
	e.containers[c.id], e.names[c.name] = c, c
	e.adopt(c)
	return c, c.revives(), nil
}

// restoreMounts makes a container's mounts again, over the volumes that it had.
func (e *Engine) restoreMounts(c *container, volumes map[string]string) error {
	wishes, err := c.wishes()
	if err != nil {
		return err
	}
	for _, w := range wishes {
		if w.Type == apimount.TypeVolume {
			o := apimount.VolumeOptions{}
			if w.VolumeOptions != nil {
				o = *w.VolumeOptions
			}
			o.NoCopy = true // it was done when the container was made
			w.Source, w.VolumeOptions = volumes[w.Target], &o
			if e.volumes[w.Source] == nil {
				return fmt.Errorf("the volume of %s is missing", w.Target)
			}
		}
		m, err := e.makeMount(c, w)
		if err != nil {
			return err
		}
		c.mounts = append(c.mounts, m)
	}
	return nil
}

// revives tells whether the restart policy starts the container with the daemon (docs.docker.com, "Start containers automatically").
func (c *container) revives() bool {
	p := c.host.RestartPolicy
	return c.state == api.StateExited && (p.IsAlways() || p.IsUnlessStopped() && !c.stopped ||
		p.IsOnFailure() && !c.stopped && c.exitCode != 0 && (p.MaximumRetryCount == 0 || c.restarts < p.MaximumRetryCount))
}

func (c *container) revive() {
	c.ops.Lock()
	defer c.ops.Unlock()
	if !c.isRunning() {
		c.mu.Lock()
		c.stopped = false
		c.mu.Unlock()
		_ = c.launch(c.e.ctx) // noted in the container's state
	}
}
