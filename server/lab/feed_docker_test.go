package lab

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/docker"
	"github.com/drydock-labs/drydock/server/api"
)

// TestFeedDocker: a feed tells what the Docker host has, then what changes, reads the meters of what runs, and forgets what is gone.
func TestFeedDocker(t *testing.T) {
	l := newTestLab(t, Options{})
	e := newEngine(t, l)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	f := l.Feed(0)
	defer f.Close()
	have := map[string]any{}
	var uses map[string]api.Use
	rests := false
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			b, err := f.Next(ctx)
			if err != nil {
				t.Fatalf("waiting for %s: %v; there is %v", what, err, have)
			}
			for _, c := range b.Docker {
				if c.Object == nil {
					delete(have, c.Kind+"/"+c.ID)
				} else {
					have[c.Kind+"/"+c.ID] = c.Object
				}
			}
			if b.Uses != nil {
				rests = maps.Equal(uses, b.Uses)
				uses = b.Uses
			}
		}
	}
	until("the networks", func() bool { return have["network/bridge"] != nil })
	if n := have["network/bridge"].(docker.ShownNetwork); n.Subnet != "172.17.0.0/16" {
		t.Errorf("the bridge is shown as %+v", n)
	}
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "Downloaded")
	e.want("POST", "/images/create?fromImage=nginx&tag=latest", nil, 200, "Downloaded")
	id := e.create("?name=one", map[string]any{"Image": "busybox", "Cmd": []string{"sh", "-c", "read x; exit 3"}, "OpenStdin": true,
		"HostConfig": map[string]any{"Binds": []string{"data:/data"}}})
	state := func(want string) func() bool {
		return func() bool {
			c, ok := have["container/"+id].(docker.ShownContainer)
			return ok && c.State == want
		}
	}
	until("a container", state("created"))
	shared := map[string]int{}
	for _, v := range have {
		if i, ok := v.(docker.ShownImage); ok {
			for _, layer := range i.Layers {
				shared[layer.ID]++
			}
		}
	}
	most := 0
	for _, n := range shared {
		most = max(most, n)
	}
	if most != 2 {
		t.Errorf("busybox and nginx share no layer: %v", shared)
	}
	e.want("POST", "/containers/one/start", nil, 204, "")
	until("its start", state("running"))
	c := have["container/"+id].(docker.ShownContainer)
	if len(c.Networks) != 1 || c.Networks[0].Address == "" || len(c.Volumes) != 1 || c.Volumes[0].Name != "data" || have["volume/data"] == nil {
		t.Errorf("it is shown as %+v", c)
	}
	until("its meters", func() bool { return uses[id].CPU > 0 && uses[id].Memory > 0 })
	until("its rest", func() bool { return rests }) // it waits for input
	e.want("POST", "/containers/one/kill", nil, 204, "")
	until("its end", state("exited"))
	if c := have["container/"+id].(docker.ShownContainer); c.Exit != 137 || c.Networks[0].Address != "" {
		t.Errorf("killed, it is shown as %+v", c)
	}
	e.want("DELETE", "/containers/one", nil, 204, "")
	until("its removal", func() bool { return have["container/"+id] == nil })
	for k := range have {
		if k[:4] == "work" {
			t.Errorf("%s is still shown", k)
		}
	}
}
