package lessons

import "time"

// DockerHost is the read-only view of a Docker host. Containers are named by name or id; nothing is known of one that is not there.
type DockerHost interface {
	// Containers lists them, stopped ones included, the newest first.
	Containers() []Container
	Images() []Image
	// Written is what the container's own layer changes, as docker diff tells.
	Written(container string) []FileChange
	// Logged is the newest part of the container's log, oldest line first.
	Logged(container string) []LogLine
}

// Container is one container of a Docker host.
type Container struct {
	ID       string
	Name     string
	Image    string // as Docker shows it, with its tag: "nginx:latest"
	State    string // created, running, restarting, exited
	ExitCode int
	OOM      bool   // it ended because of its memory limit
	Failed   string // why it did not start
	Restarts int
	Ports    []PublishedPort // while it runs
	Created  time.Time
	Started  time.Time // zero: never
	Finished time.Time // zero: never
}

// PublishedPort is a port of the machine that leads to one of a container.
type PublishedPort struct{ Host, Container int }

// Image is one image of a Docker host.
type Image struct {
	ID      string
	Tags    []string // as Docker shows them
	Size    int64    // bytes
	Created time.Time
}

// FileChange is a path that differs from the image's.
type FileChange struct {
	Path string
	Kind string // A, C or D
	At   time.Time
}

// LogLine is a line that a container wrote.
type LogLine struct {
	Text   string
	Stderr bool
	At     time.Time
}

// docker is the variable of that name. It is read once for all expressions of an evaluation.
func (v *view) docker() any {
	if v.hosted == nil {
		v.hosted = dockerMap(v.world.Docker())
	}
	return v.hosted
}

func dockerMap(h DockerHost) map[string]any {
	containers, images := []map[string]any{}, []map[string]any{}
	if h != nil {
		for _, c := range h.Containers() {
			containers = append(containers, containerMap(c))
		}
		for _, i := range h.Images() {
			images = append(images, map[string]any{"id": i.ID, "tags": i.Tags, "size": i.Size, "created": i.Created})
		}
	}
	return map[string]any{"on": h != nil, "containers": containers, "images": images}
}

func containerMap(c Container) map[string]any {
	ports := []map[string]any{}
	for _, p := range c.Ports {
		ports = append(ports, map[string]any{"host": int64(p.Host), "container": int64(p.Container)})
	}
	m := map[string]any{"id": c.ID, "name": c.Name, "image": c.Image, "state": c.State, "exitCode": int64(c.ExitCode), "oom": c.OOM, "failed": c.Failed,
		"restarts": int64(c.Restarts), "ports": ports, "created": c.Created}
	if !c.Started.IsZero() {
		m["started"] = c.Started
	}
	if !c.Finished.IsZero() {
		m["finished"] = c.Finished
	}
	return m
}

func (v *view) written(container string) []map[string]any {
	list, ok := v.layers[container]
	if h := v.world.Docker(); !ok && h != nil {
		for _, f := range h.Written(container) {
			list = append(list, map[string]any{"path": f.Path, "kind": f.Kind, "at": f.At})
		}
		v.layers[container] = list
	}
	return list
}

func (v *view) logged(container string) []map[string]any {
	list, ok := v.logs[container]
	if h := v.world.Docker(); !ok && h != nil {
		for _, l := range h.Logged(container) {
			list = append(list, map[string]any{"text": l.Text, "stderr": l.Stderr, "at": l.At})
		}
		v.logs[container] = list
	}
	return list
}
