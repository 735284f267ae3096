package lab

import (
	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/sandbox/docker"
)

// dockerHost is the workstation's Docker host as lessons see it.
type dockerHost struct{ engine *docker.Engine }

// Docker implements lessons.World.
func (w world) Docker() lessons.DockerHost {
	b, err := w.nodes[Workstation].current()
	if err != nil || b.docker == nil {
		return nil
	}
	return dockerHost{b.docker}
}

// Containers implements lessons.DockerHost.
func (h dockerHost) Containers() []lessons.Container {
	var out []lessons.Container
	for _, c := range h.engine.Containers() {
		l := lessons.Container{ID: c.ID, Name: c.Name, Image: c.Image, State: string(c.State), ExitCode: c.ExitCode, OOM: c.OOM, Failed: c.Failed, Restarts: c.Restarts,
			Created: c.Created, Started: c.Started, Finished: c.Finished}
		for _, p := range c.Ports {
			l.Ports = append(l.Ports, lessons.PublishedPort{Host: int(p.Host), Container: int(p.Container)})
		}
		out = append(out, l)
	}
	return out
}

// Images implements lessons.DockerHost.
func (h dockerHost) Images() []lessons.Image {
	var out []lessons.Image
	for _, i := range h.engine.Images() {
		out = append(out, lessons.Image{ID: i.ID, Tags: i.Tags, Size: i.Size, Created: i.Created})
	}
	return out
}

// Written implements lessons.DockerHost.
func (h dockerHost) Written(container string) []lessons.FileChange {
	list, err := h.engine.Written(container)
	if err != nil {
		return nil
	}
	var out []lessons.FileChange
	for _, f := range list {
		out = append(out, lessons.FileChange(f))
	}
	return out
}

// Logged implements lessons.DockerHost.
func (h dockerHost) Logged(container string) []lessons.LogLine {
	list, err := h.engine.Logged(container)
	if err != nil {
		return nil
	}
	var out []lessons.LogLine
	for _, l := range list {
		out = append(out, lessons.LogLine{Text: l.Text, Stderr: l.Stderr, At: l.At})
	}
	return out
}
