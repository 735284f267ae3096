package lab

import (
	"context"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/proxy"
	"github.com/drydock-labs/drydock/orchestrator/store"
	"github.com/drydock-labs/drydock/server/api"
)

// feed implements api.Feed over the cluster's log.
type feed struct {
	lab    *Lab
	from   int64 // the last batch's revision; 0: a snapshot is due
	told   map[string]api.Requests
	docker dockerFeed
	wake   chan struct{}
	cancel []func()
}

// Feed implements api.Lab.
func (l *Lab) Feed(from int64) api.Feed {
	f := &feed{lab: l, from: from, told: map[string]api.Requests{}, wake: make(chan struct{}, 1)}
	set := func() {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	f.docker.due.Store(true)
	f.cancel = []func(){l.changes.watch(set), l.traffic.watch(set), l.docked.watch(func() { f.docker.due.Store(true); set() })}
	return f
}

// Close implements api.Feed.
func (f *feed) Close() {
	for _, c := range f.cancel {
		c()
	}
	f.docker.stop()
}

// Next implements api.Feed.
func (f *feed) Next(ctx context.Context) (api.Batch, error) {
	for {
		select {
		case <-f.lab.done: // the cluster reads as empty from here on
			return api.Batch{}, io.EOF
		default:
		}
		b := f.take()
		if b.Snapshot || len(b.Changes) > 0 || len(b.Requests) > 0 || len(b.Docker) > 0 || len(b.Uses) > 0 {
			return b, nil
		}
		select {
		case <-f.wake:
		case <-f.docker.meter():
			f.docker.metered()
		case <-ctx.Done():
			return api.Batch{}, ctx.Err()
		case <-f.lab.done:
			return api.Batch{}, io.EOF
		}
	}
}

func (f *feed) take() api.Batch {
	s := f.lab.cluster.Store()
	b := api.Batch{Rev: s.Rev(), Requests: f.requests()}
	f.docker.take(f.lab, &b)
	if f.from == 0 || f.from > b.Rev {
		return f.snapshot(b)
	}
	commits, err := s.History(f.from)
	if err != nil {
		return f.snapshot(b)
	}
	for _, c := range commits {
		if unshown[c.Resource] {
			continue
		}
		b.Changes = append(b.Changes, change(c))
	}
	if n := len(commits); n > 0 {
		b.Rev = commits[n-1].Rev
	}
	f.from = b.Rev
	return b
}

// shown are the resources that a snapshot holds whole; of others it holds what was created in this lab.
var shown = []schema.GroupResource{informer.Namespaces, informer.Nodes, informer.Pods, informer.Services, informer.EndpointSlices, informer.Deployments, informer.ReplicaSets, informer.Events}

// unshown change without anything that a person would look at.
var unshown = map[schema.GroupResource]bool{informer.Leases: true}

func (f *feed) snapshot(b api.Batch) api.Batch {
	b.Snapshot = true
	s := f.lab.cluster.Store()
	for _, k := range s.Kinds().All() {
		if unshown[k.Resource] {
			continue
		}
		whole := slices.Contains(shown, k.Resource)
		for _, e := range s.Entries(k.Resource, "") {
			if whole || e.Created > f.lab.base {
				b.Changes = append(b.Changes, f.entry(k, e))
			}
		}
	}
	f.from = b.Rev
	return b
}

func (f *feed) entry(k *store.Kind, e *store.Entry) lessons.Change {
	c := lessons.Change{Rev: e.Rev, Op: lessons.Create, Resource: k.Resource.Resource, Object: func() map[string]any { return asJSON(e) }, Old: func() map[string]any { return nil }}
	c.Namespace, c.Name = k.Split(e.Key())
	return c
}

// requests are the counters of Services that moved since the last batch.
func (f *feed) requests() map[string]api.Requests {
	cp := f.lab.cp.Load()
	if cp == nil {
		return nil
	}
	now := sum(cp.ServiceCounts())
	moved := map[string]api.Requests{}
	for name, r := range now {
		if old := f.told[name]; old.Total != r.Total || old.Failed != r.Failed {
			moved[name] = r
		}
	}
	f.told = now
	return moved
}

// sum adds up the ports of each Service.
func sum(counts []proxy.Count) map[string]api.Requests {
	out := map[string]api.Requests{}
	for _, c := range counts {
		name := c.Service.Namespace + "/" + c.Service.Name
		r, ok := out[name]
		if !ok {
			r.ByPod = map[string]int64{}
		}
		r.Total += int64(c.Requests)
		r.Failed += int64(c.Refused)
		for _, e := range c.Endpoints {
			if e.Pod != "" {
				r.ByPod[e.Pod] += int64(e.Requests)
			}
		}
		out[name] = r
	}
	return out
}
