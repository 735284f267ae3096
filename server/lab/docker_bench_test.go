package lab

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// BenchmarkDockerRun is `docker run --rm busybox true`: as the API's four calls, as the docker of this machine, and typed at the terminal.
func BenchmarkDockerRun(b *testing.B) {
	l := newTestLab(b, Options{})
	e := newEngine(b, l)
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "busybox")
	api := func() {
		id := e.create("", map[string]any{"Image": "busybox", "Cmd": []string{"true"}})
		e.want("POST", "/containers/"+id+"/start", nil, 204, "")
		e.want("POST", "/containers/"+id+"/wait", nil, 200, `"StatusCode":0`)
		e.want("DELETE", "/containers/"+id, nil, 204, "")
	}
	b.Run("api", func(b *testing.B) { measure(b, api) })
	b.Run("native", func(b *testing.B) {
		if _, err := exec.LookPath("docker"); err != nil {
			b.Skip("no docker on the PATH")
		}
		c := newDockerClient(b, l)
		measure(b, func() {
			if out, code := c.sh(b, "docker run --rm busybox true"); code != 0 {
				b.Fatal(out)
			}
		})
	})
	b.Run("typed", func(b *testing.B) {
		y := newTypist(b, l, Workstation)
		y.run("docker run --rm busybox true")
		measure(b, func() { y.run("docker run --rm busybox true") })
	})
}

// measure reports how long f takes.
func measure(b *testing.B, f func()) {
	f()
	var took times
	for b.Loop() {
		began := time.Now()
		f()
		took = append(took, time.Since(began))
	}
	took.report(b, "")
}

// BenchmarkDockerContainers starts 500 containers one after the other and prints how long that takes and what each holds.
func BenchmarkDockerContainers(b *testing.B) {
	const n = 500
	h, err := testHost()
	if err != nil {
		b.Fatal(err)
	}
	normal := h.limits
	defer func() { h.limits = normal }()
	h.limits.Memory, h.limits.Processes, h.limits.CPUs, h.limits.Containers = 4<<30, 2*n, 2, n
	for range b.N {
		l := newTestLab(b, Options{})
		e := newEngine(b, l)
		e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "busybox")
		heap, goroutines := held()
		dirty := privateDirty(b)
		began := time.Now()
		for i := range n {
			id := e.create(fmt.Sprintf("?name=c%d", i), map[string]any{"Image": "busybox", "Cmd": []string{"sleep", "1000"}})
			e.want("POST", "/containers/"+id+"/start", nil, 204, "")
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-500")
		heap2, goroutines2 := held()
		b.ReportMetric(float64(privateDirty(b)-dirty)/n/1e6, "private-MB/container")
		b.ReportMetric(float64(heap2-heap)/n/1024, "heap-KiB/container")
		b.ReportMetric(float64(goroutines2-goroutines)/n, "goroutines/container")
		l.Close()
	}
}
