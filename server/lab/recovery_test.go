package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// webManifest is a Deployment web, with %d pods, and its Service.
const webManifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: nginx
        image: nginx:1.28
        ports: [{containerPort: 80}]
        resources: {requests: {memory: 16Mi}, limits: {memory: 48Mi}}
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 2}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.7.7, selector: {app: web}, ports: [{port: 80}]}
`

// startWeb applies webManifest and waits until it serves.
func startWeb(t testing.TB, l *Lab, replicas int) {
	t.Helper()
	applied, err := l.Apply(context.Background(), fmt.Appendf(nil, webManifest, replicas))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range applied {
		if a.Err != "" {
			t.Fatal(a.Err)
		}
	}
	l.awaitPods(t, "app=web", replicas)
}

// webPod is a running pod as the tests look at it.
type webPod struct {
	name, node string
	container  string // the id of its only one
	restarts   int
}

// pods are those of a selector that run, are ready and not on their way out.
func (l *Lab) pods(t testing.TB, selector string) (out []webPod) {
	t.Helper()
	for _, o := range l.World().Objects("pods", "default") {
		p := object(o)
		key, value, _ := strings.Cut(selector, "=")
		if p.text("metadata", "labels", key) != value || p.text("metadata", "deletionTimestamp") != "" {
			continue
		}
		ready := false
		for _, c := range p.list("status", "conditions") {
			ready = ready || c.text("type") == "Ready" && c.text("status") == "True"
		}
		if !ready {
			continue
		}
		w := webPod{name: p.text("metadata", "name"), node: p.text("spec", "nodeName")}
		for _, c := range p.list("status", "containerStatuses") {
			n, _ := c["restartCount"].(int64)
			w.restarts += int(n)
			w.container = strings.TrimPrefix(c.text("containerID"), "drydock://")
		}
		out = append(out, w)
	}
	return out
}

// awaitPods waits until exactly n pods of a selector are ready.
func (l *Lab) awaitPods(t testing.TB, selector string, n int) (pods []webPod) {
	t.Helper()
	eventually(t, func() error {
		if pods = l.pods(t, selector); len(pods) != n {
			return fmt.Errorf("%d of %d pods %s are ready: %v", len(pods), n, selector, pods)
		}
		return nil
	})
	return pods
}

// object is an API object as JSON.
type object map[string]any

func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (o object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func (o object) list(path ...string) (out []object) {
	l, _ := o.at(path...).([]any)
	for _, v := range l {
		if m, ok := v.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// load asks a URL from the workstation until it is stopped.
type load struct {
	sent, failed atomic.Int64
	mu           sync.Mutex
	first        error          // protected by mu: what failed first
	servers      map[string]int // protected by mu: answers by Server header
}

// startLoad has workers ask every few milliseconds, which leaves the lab's CPU time to do its work; every other one keeps its connection.
// stop waits for the last answers.
func startLoad(t testing.TB, l *Lab, url string, workers int) (_ *load, stop func()) {
	t.Helper()
	b, err := l.nodes[Workstation].current()
	if err != nil {
		t.Fatal(err)
	}
	ld := &load{servers: map[string]int{}}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range workers {
		tr := &http.Transport{DisableKeepAlives: i%2 == 0, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return b.stack.DialContext(ctx, network, addr)
		}}
		c := &http.Client{Transport: tr, Timeout: 30 * time.Second}
		wg.Go(func() {
			defer tr.CloseIdleConnections()
			for {
				select {
				case <-done:
					return
				case <-time.After(4 * time.Millisecond):
				}
				ld.count(ask(c, url))
			}
		})
	}
	var once sync.Once
	stop = func() { once.Do(func() { close(done); wg.Wait() }) }
	t.Cleanup(stop)
	return ld, stop
}

func ask(c *http.Client, url string) (server string, err error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	return resp.Header.Get("Server"), nil
}

func (ld *load) count(server string, err error) {
	ld.sent.Add(1)
	ld.mu.Lock()
	defer ld.mu.Unlock()
	if err != nil {
		ld.failed.Add(1)
		if ld.first == nil {
			ld.first = err
		}
		return
	}
	ld.servers[server]++
}

func TestRollingUpdateUnderLoad(t *testing.T) {
	l := newTestLab(t, Options{})
	startWeb(t, l, 3)
	ld, stop := startLoad(t, l, "http://10.96.7.7/", 4)
	l.mustRun(t, `set -e
kubectl set image deployment/web nginx=nginx:1.29
kubectl rollout status deployment/web --timeout=90s
kubectl scale deployment/web --replicas=2
kubectl rollout undo deployment/web
kubectl rollout status deployment/web --timeout=90s`)
	stop()
	if n := ld.failed.Load(); n != 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", n, ld.sent.Load(), ld.first)
	}
	if ld.servers["nginx/1.28.0"] == 0 || ld.servers["nginx/1.29.3"] == 0 {
		t.Errorf("answers came from %v, want both versions", ld.servers)
	}
	t.Logf("%d requests, %d failed; answers from %v", ld.sent.Load(), ld.failed.Load(), ld.servers)
}

func TestRecovery(t *testing.T) {
	l := newTestLab(t, Options{})
	startWeb(t, l, 3)
	t.Run("a deleted pod", func(t *testing.T) {
		victim := l.pods(t, "app=web")[0].name
		l.mustRun(t, "kubectl delete pod "+victim)
		for _, p := range l.awaitPods(t, "app=web", 3) {
			if p.name == victim {
				t.Errorf("%s is still there", victim)
			}
		}
	})
	t.Run("a process that ends", func(t *testing.T) {
		victim := l.pods(t, "app=web")[0]
		l.mustRun(t, "kubectl exec "+victim.name+" -- kill 1")
		l.awaitRestart(t, victim.name, "Completed", 0)
	})
	t.Run("a killed process", func(t *testing.T) {
		victim := l.pods(t, "app=web")[1]
		kill := fmt.Sprintf(`p=$(grep -l %s /proc/[0-9]*/cgroup); p=${p#/proc/}; kill -9 ${p%%%%/*}`, victim.container)
		out, code, err := l.RunOn(context.Background(), victim.node, kill)
		if err != nil || code != 0 {
			t.Fatalf("exit %d, %v\n%s", code, err, out)
		}
		l.awaitRestart(t, victim.name, "Error", 137)
	})
}

// awaitRestart waits until a pod's container runs for the second time and looks at how the first ended.
func (l *Lab) awaitRestart(t testing.TB, name, reason string, exit int64) {
	t.Helper()
	eventually(t, func() error {
		for _, o := range l.World().Objects("pods", "default") {
			if p := object(o); p.text("metadata", "name") == name {
				st := p.list("status", "containerStatuses")[0]
				code, _ := st.at("lastState", "terminated", "exitCode").(int64)
				if st["ready"] != true || st.text("lastState", "terminated", "reason") != reason || code != exit || st["restartCount"] != int64(1) {
					return fmt.Errorf("%s: %v", name, st)
				}
				return nil
			}
		}
		return fmt.Errorf("no pod %s", name)
	})
}

// nodeState is a node's Ready condition and its taints.
func (l *Lab) nodeState(name string) (ready string, taints []string) {
	for _, o := range l.World().Objects("nodes", "") {
		n := object(o)
		if n.text("metadata", "name") != name {
			continue
		}
		for _, c := range n.list("status", "conditions") {
			if c.text("type") == "Ready" {
				ready = c.text("status")
			}
		}
		for _, t := range n.list("spec", "taints") {
			taints = append(taints, t.text("key")+":"+t.text("effect"))
		}
	}
	return ready, taints
}

func (l *Lab) mustStep(t testing.TB, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := l.Step(ctx, d); err != nil {
		t.Fatal(err)
	}
}

// TestPowerCut follows a node without power through the times that a cluster gives it.
func TestPowerCut(t *testing.T) {
	l := newTestLab(t, Options{})
	startWeb(t, l, 3)
	lost := l.pods(t, "app=web")[0]
	if err := l.PowerOff(lost.node); err != nil {
		t.Fatal(err)
	}
	if ready, _ := l.nodeState(lost.node); ready != "True" {
		t.Errorf("Ready is %s at once", ready)
	}
	l.mustStep(t, 60*time.Second) // 50 s without a lease, the monitor's period on top
	ready, taints := l.nodeState(lost.node)
	if want := "node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute"; ready != "Unknown" || strings.Join(taints, " ") != want {
		t.Errorf("Ready %s, taints %v, want Unknown and %s", ready, taints, want)
	}
	if out := l.mustRun(t, "kubectl get nodes "+lost.node+" --no-headers"); !strings.Contains(out, " NotReady ") {
		t.Error(out)
	}
	ld, stop := startLoad(t, l, "http://10.96.7.7/", 2) // the Service leads to the others only
	eventually(t, func() error {
		if ld.sent.Load() < 50 {
			return errors.New("the Service does not answer")
		}
		return nil
	})
	stop()
	if ld.failed.Load() != 0 {
		t.Errorf("%d of %d requests failed: %v", ld.failed.Load(), ld.sent.Load(), ld.first)
	}
	if out, code, err := l.Run(context.Background(), "kubectl logs "+lost.name); err != nil || code != 1 || !strings.Contains(string(out), "Error from server") {
		t.Errorf("logs of a pod without power: exit %d, %v\n%s", code, err, out)
	}
	l.mustStep(t, 301*time.Second)
	for _, p := range l.awaitPods(t, "app=web", 3) {
		if p.node == lost.node {
			t.Errorf("%s is ready on %s", p.name, p.node)
		}
	}
	if out := l.mustRun(t, "kubectl get pod "+lost.name+" --no-headers"); !strings.Contains(out, " Terminating ") {
		t.Error(out)
	}
	l.mustRun(t, "kubectl get events | grep -E 'NodeNotReady|TaintManagerEviction'")
	if err := l.PowerOn(lost.node); err != nil {
		t.Fatal(err)
	}
	l.awaitNode(t, lost.node, "True")
	l.mustRun(t, "kubectl wait --for=delete pod/"+lost.name+" --timeout=60s")
}

func (l *Lab) awaitNode(t testing.TB, name, want string) {
	t.Helper()
	eventually(t, func() error {
		if ready, taints := l.nodeState(name); ready != want || want == "True" && len(taints) > 0 {
			return fmt.Errorf("%s: Ready is %s, taints %v", name, ready, taints)
		}
		return nil
	})
}

// TestPoweroff shuts a node down from its own terminal, and has another start again.
func TestPoweroff(t *testing.T) {
	l := newTestLab(t, Options{Nodes: 2})
	term, err := l.Terminal("node-1", 24, 80, "en")
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	var s screen
	typist := newKeys(t, term, &s)
	s.await(t, `# \s*$`)
	fmt.Fprint(typist, "poweroff\r")
	eventually(t, func() error {
		if _, err := l.nodes["node-1"].current(); err == nil {
			return fmt.Errorf("node-1 is on:\n%s", &s)
		}
		return nil
	})
	if _, err := l.Terminal("node-1", 24, 80, "en"); err == nil {
		t.Error("a terminal opens on a machine that is off")
	}
	l.mustStep(t, 60*time.Second)
	l.awaitNode(t, "node-1", "Unknown")
	if err := l.PowerOn("node-1"); err != nil {
		t.Fatal(err)
	}
	l.awaitNode(t, "node-1", "True")
	before, err := l.nodes["node-2"].current()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.RunOn(context.Background(), "node-2", "reboot"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if b, err := l.nodes["node-2"].current(); err != nil || b == before {
			return errors.New("node-2 has not started again")
		}
		return nil
	})
	l.awaitNode(t, "node-2", "True")
	if out, code, err := l.Run(context.Background(), "poweroff"); err != nil || code == 0 {
		t.Errorf("whoever is not root shuts the workstation down: %d, %v, %s", code, err, out)
	}
}

// TestJump goes from timer to timer of a lab whose time stands still, past the end of a program that sleeps for five minutes.
func TestJump(t *testing.T) {
	l := newTestLab(t, Options{Nodes: 1})
	l.mustRun(t, "kubectl run nap --image=busybox --restart=Never -- sleep 300 && kubectl wait --for=condition=Ready pod/nap --timeout=60s")
	l.clock.Pause()
	defer l.clock.Resume()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	phase := func() string { return object(l.World().Objects("pods", "default")[0]).text("status", "phase") }
	began := l.clock.Now()
	for jumped := time.Duration(0); jumped < 301*time.Second; {
		if got := phase(); jumped < 200*time.Second && got != "Running" {
			t.Fatalf("after %v the pod is %s", jumped, got)
		}
		d, err := l.Jump(ctx, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if jumped += d; l.clock.Now().Sub(began) != jumped {
			t.Fatalf("the clock moved by %v, the jumps are %v", l.clock.Now().Sub(began), jumped)
		}
	}
	eventually(t, func() error { // the program ends in its own time
		if got := phase(); got != "Succeeded" {
			return errors.New("the pod is " + got)
		}
		return nil
	})
	if d, err := l.Jump(ctx, 0); d != 0 || err != nil {
		t.Errorf("a jump within no time: %v, %v", d, err)
	}
}
