package docker

import (
	"net/http"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

func (e *Engine) postPause(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return true, c.pause() })
}

func (e *Engine) postUnpause(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	return c.changed(w, func() (bool, error) { return true, c.unpause() })
}

func (c *container) isPaused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == api.StatePaused
}

// pause freezes the container's cgroup.
func (c *container) pause() error {
	c.mu.Lock()
	state, runs := c.state, c.life != nil
	c.mu.Unlock()
	switch {
	case state == api.StatePaused:
		return conflict("container %s is already paused", c.id)
	case !runs || c.e.runtime.Pause(c.id, true) != nil:
		return conflict("container %s is not running", c.id)
	}
	c.setPaused(true)
	c.e.event(events.ContainerEventType, events.ActionPause, c.id, c.attributes())
	return nil
}

func (c *container) unpause() error {
	if !c.isPaused() || c.e.runtime.Pause(c.id, false) != nil {
		return conflict("container %s is not paused", c.id)
	}
	c.setPaused(false)
	c.e.event(events.ContainerEventType, events.ActionUnPause, c.id, c.attributes())
	return nil
}

// setPaused notes it, unless the container has ended meanwhile.
func (c *container) setPaused(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case on && c.state == api.StateRunning:
		c.state = api.StatePaused
	case !on && c.state == api.StatePaused:
		c.state = api.StateRunning
	}
}
