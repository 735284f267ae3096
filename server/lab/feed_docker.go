package lab

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/drydock-labs/drydock/sandbox/docker"
	"github.com/drydock-labs/drydock/server/api"
)

// dockerFeed is a feed's part about the Docker host: it compares what there is with what it told.
type dockerFeed struct {
	due     atomic.Bool // something changed since the last batch
	told    map[[2]string]any
	uses    map[string]api.Use
	moved   bool // uses differed from the reading before
	running bool
	timer   *time.Timer // runs out when the meters are due; nil while nobody waits for that
	read    bool        // they are due
}

// useEvery is how often a page that looks on reads the meters of running containers. They count all the time and tell nobody.
const useEvery = time.Second

// meter is ready when the meters are due.
func (d *dockerFeed) meter() <-chan time.Time {
	if !d.running {
		return nil
	}
	if d.timer == nil {
		d.timer = time.NewTimer(useEvery)
	}
	return d.timer.C
}

// metered is called when it was.
func (d *dockerFeed) metered() { d.timer, d.read = nil, true }

func (d *dockerFeed) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// take adds what is new to a batch. Nobody else calls it meanwhile.
func (d *dockerFeed) take(l *Lab, b *api.Batch) {
	e := l.engine()
	if d.due.Swap(false) {
		now := map[[2]string]any{}
		d.running = false
		var order [][2]string
		if e != nil {
			s := e.Show()
			order = collect(s, now)
			d.running = slices.ContainsFunc(s.Containers, func(c docker.ShownContainer) bool { return c.State == "running" })
		}
		for _, k := range order {
			if !reflect.DeepEqual(d.told[k], now[k]) {
				b.Docker = append(b.Docker, api.DockerChange{Kind: k[0], ID: k[1], Object: now[k]})
			}
		}
		for k := range d.told {
			if now[k] == nil {
				b.Docker = append(b.Docker, api.DockerChange{Kind: k[0], ID: k[1]})
			}
		}
		d.told = now
	}
	if !d.running || e == nil {
		d.stop()
		d.uses = nil
		return
	}
	if d.read || d.uses == nil {
		d.read = false
		d.readMeters(e, b)
	}
}

func (d *dockerFeed) readMeters(e *docker.Engine, b *api.Batch) {
	uses, at := e.Uses()
	now := map[string]api.Use{}
	for id, u := range uses {
		now[id] = api.Use{CPU: u.CPU, Memory: u.Memory, Limit: u.Limit}
	}
	moved := !maps.Equal(d.uses, now)
	if moved || d.moved { // the second reading of meters that stand still tells that they do
		b.Uses, b.UsesAt = now, at
	}
	d.uses, d.moved = now, moved
}

// collect puts all that is shown into now, by kind and id, and tells its order.
func collect(s docker.Shown, now map[[2]string]any) (order [][2]string) {
	add := func(kind, id string, v any) {
		k := [2]string{kind, id}
		now[k] = v
		order = append(order, k)
	}
	for _, v := range s.Images {
		add("image", v.ID, v)
	}
	for _, v := range s.Networks {
		add("network", v.Name, v)
	}
	for _, v := range s.Volumes {
		add("volume", v.Name, v)
	}
	for _, v := range s.Containers {
		add("container", v.ID, v)
	}
	for _, v := range s.Work {
		add("work", strconv.Itoa(v.ID), v)
	}
	return order
}

// engine is the Docker host while it is on; nil otherwise.
func (l *Lab) engine() *docker.Engine {
	b, err := l.nodes[Workstation].current()
	if err != nil {
		return nil
	}
	return b.docker
}
