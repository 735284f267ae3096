package docker

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Shown is what the host has at one moment, in plain values that a picture is drawn from. Lists are in a fixed order: images by digest,
// containers by creation, the rest by name.
type Shown struct {
	Images     []ShownImage
	Containers []ShownContainer
	Networks   []ShownNetwork
	Volumes    []ShownVolume
	Work       []ShownWork
}

// ShownImage is an image with its layers, the lowest first.
type ShownImage struct {
	ID      string   `json:"id"` // of the configuration, "sha256:…"
	Tags    []string `json:"tags"`
	Created int64    `json:"created"` // Unix seconds
	Layers  []Layer  `json:"layers"`
}

// Layer is one layer of an image. Images that have a layer in common name the same id.
type Layer struct {
	ID   string `json:"id"`   // diff id
	Size int64  `json:"size"` // bytes as transferred
}

// ShownContainer is a container, running or not.
type ShownContainer struct {
	ID       string      `json:"id"`
	Name     string      `json:"name"`
	Image    string      `json:"image"`   // as it was asked for
	ImageID  string      `json:"imageId"` // the image that it was made of, which may be gone
	State    string      `json:"state"`   // created, running, paused, restarting, exited, dead
	Exit     int         `json:"exit"`
	OOM      bool        `json:"oom,omitempty"`
	Command  string      `json:"command"`
	Created  int64       `json:"created"` // Unix nanoseconds
	Restarts int         `json:"restarts,omitempty"`
	Ports    []ShownPort `json:"ports"`
	Networks []ShownNet  `json:"networks"`
	Volumes  []ShownUse  `json:"volumes"`
}

// ShownPort is a published port.
type ShownPort struct {
	Host      uint16 `json:"host"`
	Container uint16 `json:"container"`
}

// ShownNet is a container's place on a network; no address while it does not run.
type ShownNet struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
}

// ShownUse is a volume in a container.
type ShownUse struct {
	Name   string `json:"name"`
	Target string `json:"target"`
}

// ShownNetwork is a network.
type ShownNetwork struct {
	Name   string `json:"name"`
	Driver string `json:"driver"`
	Subnet string `json:"subnet,omitempty"`
}

// ShownVolume is a volume.
type ShownVolume struct {
	Name      string `json:"name"`
	Anonymous bool   `json:"anonymous,omitempty"`
}

// ShownWork is a pull or a build under way: Done of Steps, which are layers of a pull and instructions of a build. Steps is 0 while it is unknown.
type ShownWork struct {
	ID    int    `json:"id"`
	Kind  string `json:"kind"` // pull, build
	Name  string `json:"name"`
	Done  int    `json:"done"`
	Steps int    `json:"steps"`
}

// Use is what a running container takes, as its cgroup counts it.
type Use struct {
	CPU    int64 `json:"cpu"`    // nanoseconds since it started
	Memory int64 `json:"memory"` // bytes
	Limit  int64 `json:"limit"`  // bytes; 0 without one
}

// shows is what pictures of an Engine need beside its own state.
type shows struct {
	next int                // guarded by Engine.mu
	work map[int]*ShownWork // guarded by Engine.mu
}

// working shows a pull or a build until done is called.
func (e *Engine) working(kind, name string) (step func(done, steps int), done func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shows.work == nil {
		e.shows.work = map[int]*ShownWork{}
	}
	id := e.shows.next
	e.shows.next++
	e.shows.work[id] = &ShownWork{ID: id, Kind: kind, Name: name}
	e.changed.tell()
	return func(done, steps int) {
			e.mu.Lock()
			defer e.mu.Unlock()
			if w := e.shows.work[id]; w != nil && (w.Done != done || w.Steps != steps) {
				w.Done, w.Steps = done, steps
				e.changed.tell()
			}
		}, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			delete(e.shows.work, id)
			e.changed.tell()
		}
}

// Show tells what the host has.
func (e *Engine) Show() Shown {
	s := Shown{}
	for _, i := range e.cfg.Images.List() {
		m := ShownImage{ID: i.ID, Tags: familiar(i.Tags), Created: i.Created.Unix(), Layers: []Layer{}}
		for _, l := range i.Layers {
			m.Layers = append(m.Layers, Layer{ID: l.DiffID, Size: l.Size})
		}
		s.Images = append(s.Images, m)
	}
	for _, c := range e.all() {
		s.Containers = append(s.Containers, c.show())
	}
	slices.SortStableFunc(s.Containers, func(a, b ShownContainer) int { return int(min(1, max(-1, a.Created-b.Created))) })
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(e.networks)) {
		n := e.networks[name]
		v := ShownNetwork{Name: name, Driver: n.driver}
		if n.subnet.IsValid() {
			v.Subnet = n.subnet.String()
		}
		s.Networks = append(s.Networks, v)
	}
	for _, name := range slices.Sorted(maps.Keys(e.volumes)) {
		s.Volumes = append(s.Volumes, ShownVolume{Name: name, Anonymous: e.volumes[name].anonymous})
	}
	for _, id := range slices.Sorted(maps.Keys(e.shows.work)) {
		s.Work = append(s.Work, *e.shows.work[id])
	}
	return s
}

func (c *container) show() ShownContainer {
	s := ShownContainer{ID: c.id, Name: c.currentName(), Image: c.config.Image, ImageID: c.image.ID, Command: c.command(), Created: c.created.UnixNano(),
		Ports: []ShownPort{}, Networks: []ShownNet{}, Volumes: []ShownUse{}}
	for _, p := range c.ports() {
		v := ShownPort{Host: p.PublicPort, Container: p.PrivatePort}
		if v.Host != 0 && !slices.Contains(s.Ports, v) {
			s.Ports = append(s.Ports, v)
		}
	}
	for _, m := range c.mounts {
		if m.volume != nil {
			s.Volumes = append(s.Volumes, ShownUse{Name: m.volume.name, Target: m.point.Destination})
		}
	}
	c.e.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(c.endpoints)) {
		n := ShownNet{Name: name}
		if a := c.endpoints[name].addr; a.IsValid() {
			n.Address = a.String()
		}
		s.Networks = append(s.Networks, n)
	}
	c.e.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.State, s.Exit, s.OOM, s.Restarts = string(c.state), c.exitCode, c.oom, c.restarts
	return s
}

// Uses are the metered figures of the running containers, by id, and the lab's time at which they were read.
func (e *Engine) Uses() (map[string]Use, time.Time) {
	uses := map[string]Use{}
	for _, c := range e.all() {
		if !c.isRunning() {
			continue
		}
		if x, err := e.runtime.Stats(context.Background(), c.id); err == nil {
			uses[c.id] = Use{CPU: int64(x.CPU), Memory: x.Memory, Limit: x.MemoryLimit}
		}
	}
	return uses, e.now()
}
