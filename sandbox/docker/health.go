package docker

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// What a health check has when nobody says ("HEALTHCHECK" of the Dockerfile reference), and how much is kept of it.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
	healthLog           = 5    // results
	healthOutput        = 4096 // bytes of each
)

// health is the checks of one life of a container.
type health struct {
	c   *container
	l   *life
	cfg api.HealthConfig // complete

	state  api.Health  // guarded by container.mu
	cancel func() bool // guarded by container.mu: takes the next check back
}

// healthConfig puts the image's health check under the one asked for; nil for none.
func (e *Engine) healthConfig(asked *api.HealthConfig, i *image.Image) (*api.HealthConfig, error) {
	config, err := e.imageConfig(i)
	if err != nil {
		return nil, err
	}
	base := config.Config.Healthcheck
	switch {
	case base == nil:
		return asked, nil
	case asked == nil:
		return (*api.HealthConfig)(base), nil
	}
	out := *asked
	if len(out.Test) == 0 {
		out.Test = base.Test
	}
	for _, d := range []struct {
		to   *time.Duration
		from time.Duration
	}{{&out.Interval, base.Interval}, {&out.Timeout, base.Timeout}, {&out.StartPeriod, base.StartPeriod}, {&out.StartInterval, base.StartInterval}} {
		if *d.to == 0 {
			*d.to = d.from
		}
	}
	if out.Retries == 0 {
		out.Retries = base.Retries
	}
	return &out, nil
}

// checked tells whether a container has a health check.
func (c *container) checked() bool {
	h := c.config.Healthcheck
	return h != nil && len(h.Test) > 0 && h.Test[0] != "NONE"
}

// checkHealth refuses what is no health check.
func checkHealth(h *api.HealthConfig) error {
	switch {
	case h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" && len(h.Test) == 1:
		return nil
	case h.Test[0] == "CMD" && len(h.Test) > 1, h.Test[0] == "CMD-SHELL" && len(h.Test) == 2:
	default:
		return invalid("invalid health check: %q", h.Test)
	}
	for what, d := range map[string]time.Duration{"Interval": h.Interval, "Timeout": h.Timeout, "StartPeriod": h.StartPeriod, "StartInterval": h.StartInterval} {
		if d != 0 && d < time.Millisecond {
			return invalid("%s in Healthcheck cannot be less than 1ms", what)
		}
	}
	if h.Retries < 0 {
		return invalid("Retries in Healthcheck cannot be negative")
	}
	return nil
}

// watchHealth begins the checks of a life.
func (c *container) watchHealth(l *life) {
	if !c.checked() {
		return
	}
	h := &health{c: c, l: l, cfg: *c.config.Healthcheck, state: api.Health{Status: api.Starting}}
	for _, d := range []struct {
		to   *time.Duration
		from time.Duration
	}{{&h.cfg.Interval, healthInterval}, {&h.cfg.Timeout, healthTimeout}, {&h.cfg.StartInterval, healthStartInterval}} {
		if *d.to == 0 {
			*d.to = d.from
		}
	}
	if h.cfg.Retries == 0 {
		h.cfg.Retries = healthRetries
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health = h
	h.planLocked()
}

// planLocked plans the next check, sooner while the container starts.
func (h *health) planLocked() {
	wait := h.cfg.Interval
	if h.startingLocked() {
		wait = min(wait, h.cfg.StartInterval)
	}
	h.cancel = h.c.e.cfg.Machine.Clock().AfterFunc(wait, func() { h.c.e.spawn(h.probe) })
}

// startingLocked tells whether failures do not count yet.
func (h *health) startingLocked() bool {
	return h.state.Status == api.Starting && h.c.e.now().Sub(h.c.started) < h.cfg.StartPeriod
}

// probe runs the check once.
func (h *health) probe() {
	e := h.c.e
	if !h.current() {
		return
	}
	if h.c.isPaused() {
		h.next(nil)
		return
	}
	cmd := h.cfg.Test[1:]
	if h.cfg.Test[0] == "CMD-SHELL" {
		cmd = append(h.shell(), h.cfg.Test[1])
	}
	r := &api.HealthcheckResult{Start: e.now()}
	ctx, cancel := e.until(context.Background())
	defer cancel()
	out, errOut, code, err := e.runtime.ExecSync(ctx, h.c.id, cmd, h.cfg.Timeout)
	r.End, r.ExitCode, r.Output = e.now(), code, string(bytes.ToValidUTF8(append(out, errOut...), []byte("?")))
	switch {
	case errors.Is(err, runtime.ErrTimeout):
		r.ExitCode, r.Output = -1, "Health check exceeded timeout ("+h.cfg.Timeout.String()+")"
	case err != nil:
		r.ExitCode, r.Output = -1, err.Error()
	}
	r.Output = strings.ToValidUTF8(r.Output[:min(len(r.Output), healthOutput)], "")
	h.next(r)
}

func (h *health) shell() []string {
	if len(h.c.config.Shell) > 0 {
		return append([]string(nil), h.c.config.Shell...)
	}
	return []string{"/bin/sh", "-c"}
}

// current tells whether the life goes on.
func (h *health) current() bool {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	return h.c.life == h.l
}

// next notes a result, nil for a check that was left out, and plans the next check.
func (h *health) next(r *api.HealthcheckResult) {
	c := h.c
	c.mu.Lock()
	if c.life != h.l {
		c.mu.Unlock()
		return
	}
	before := h.state.Status
	if r != nil {
		h.noteLocked(r)
	}
	after := h.state.Status
	h.planLocked()
	c.mu.Unlock()
	if after != before {
		c.e.event(events.ContainerEventType, events.Action("health_status: "+string(after)), c.id, c.attributes())
	}
}

func (h *health) noteLocked(r *api.HealthcheckResult) {
	starting := h.startingLocked()
	if h.state.Log = append(h.state.Log, r); len(h.state.Log) > healthLog {
		h.state.Log = h.state.Log[len(h.state.Log)-healthLog:]
	}
	switch {
	case r.ExitCode == 0:
		h.state.FailingStreak, h.state.Status = 0, api.Healthy
	case !starting:
		if h.state.FailingStreak++; h.state.FailingStreak >= h.cfg.Retries {
			h.state.Status = api.Unhealthy
		}
	}
}

// endHealthLocked ends the checks: the container does not run any more.
func (c *container) endHealthLocked() {
	if c.health != nil && c.health.cancel != nil {
		c.health.cancel()
	}
}

// healthLocked is what inspect tells; nil for a container without a check, or that never ran.
func (c *container) healthLocked() *api.Health {
	if c.health == nil {
		return nil
	}
	s := c.health.state
	s.Log = append([]*api.HealthcheckResult(nil), s.Log...)
	return &s
}

// healthStatus is what the filter health compares.
func (c *container) healthStatus() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.health == nil || c.life == nil {
		return string(api.NoHealthcheck)
	}
	return string(c.health.state.Status)
}
