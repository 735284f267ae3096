package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/drydock-labs/drydock/server/api"
)

// typist is a person at a terminal.
type typist struct {
	t    testing.TB
	term api.Terminal
	lab  *Lab

	mu   sync.Mutex
	seen bytes.Buffer  // protected by mu: what the terminal showed and nobody asked for yet
	more chan struct{} // holds a value after there is more
	runs int
}

func newTypist(t testing.TB, l *Lab, machine string) *typist {
	t.Helper()
	term, err := l.Terminal(machine, 24, 80, "en")
	if err != nil {
		t.Fatal(err)
	}
	y := &typist{t: t, term: term, lab: l, more: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			p, err := term.Read(context.Background())
			if err != nil {
				return
			}
			y.show(p)
		}
	}()
	t.Cleanup(func() {
		term.Close()
		<-done
	})
	return y
}

func (y *typist) show(p []byte) {
	y.mu.Lock()
	y.seen.Write(p)
	if y.seen.Len() > 1<<20 { // a flood: its end is enough
		y.seen.Next(y.seen.Len() - 64<<10)
	}
	y.mu.Unlock()
	select {
	case y.more <- struct{}{}:
	default:
	}
}

func (y *typist) press(keys string) {
	y.t.Helper()
	if err := y.term.Write(context.Background(), []byte(keys)); err != nil {
		y.t.Fatal(err)
	}
}

// see waits until the terminal has shown text and returns what came up to it.
func (y *typist) see(text string) string {
	y.t.Helper()
	deadline := time.After(patience)
	for {
		y.mu.Lock()
		if at := bytes.Index(y.seen.Bytes(), []byte(text)); at >= 0 {
			out := string(y.seen.Next(at + len(text)))
			y.mu.Unlock()
			return out
		}
		y.mu.Unlock()
		select {
		case <-y.more:
		case <-deadline:
			y.t.Fatalf("the terminal does not show %q:\n%s", text, y.seen.String())
		}
	}
}

// prompted is what a terminal shows when the shell reads keys: what is typed before is the terminal's, and a Ctrl-C throws it away.
const prompted = "\x1b]133;B"

// run types a command line and waits for its end.
func (y *typist) run(line string) (output string, took time.Duration) {
	y.t.Helper()
	y.runs++
	began := time.Now()
	y.press(fmt.Sprintf("%s; echo end-$((%d+0))\r", line, y.runs))
	out := y.see(fmt.Sprintf("end-%d\r\n", y.runs))
	return out, time.Since(began)
}

// key presses one key and waits for its echo.
func (y *typist) key(c byte) time.Duration {
	y.t.Helper()
	y.mu.Lock()
	y.seen.Reset()
	y.mu.Unlock()
	began := time.Now()
	y.press(string(c))
	y.see(string(c))
	return time.Since(began)
}

// openGate lets clients from outside in, as `drydock lab` does.
func openGate(t testing.TB, h *Host) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.Gate().Serve(ln) // ends with the listener
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return "https://" + ln.Addr().String()
}

// outsideConfig is what a client outside makes of the lab's kubeconfig.
func (l *Lab) outsideConfig(t testing.TB, url string) *rest.Config {
	t.Helper()
	text, err := l.Kubeconfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS = -1
	return cfg
}

// dial makes an HTTP client with connections of its own.
func dial(cfg *rest.Config) (_ *http.Client, hangUp func(), err error) {
	c, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, nil, err
	}
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	return &http.Client{Transport: tr, Timeout: patience}, tr.CloseIdleConnections, nil
}

// outsider returns a call of `kubectl get pods` from outside, on a connection of its own.
func (l *Lab) outsider(t testing.TB, url string) func() time.Duration {
	cfg := l.outsideConfig(t, url)
	return func() time.Duration {
		began := time.Now()
		c, hangUp, err := dial(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer hangUp()
		req, err := http.NewRequest(http.MethodGet, url+"/api/v1/namespaces/default/pods?limit=500", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s %v\n%s", res.Status, err, body)
		}
		return time.Since(began)
	}
}

// storm sends n requests at once, over eight connections as far as a client can, and counts the answers by status. A 429 that does not say when to
// come back is an error.
func storm(cfg *rest.Config, n int) (answers map[int]int, err error) {
	const clients = 8
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers = map[int]int{}
	for range clients {
		c, hangUp, err := dial(cfg)
		if err != nil {
			return nil, err
		}
		defer hangUp()
		for range n / clients {
			wg.Go(func() {
				status, e := askPods(c, cfg.Host)
				mu.Lock()
				defer mu.Unlock()
				answers[status]++
				err = errors.Join(err, e)
			})
		}
	}
	wg.Wait()
	return answers, err
}

// askPods lists all pods and looks at the form of the answer.
func askPods(c *http.Client, url string) (status int, err error) {
	res, err := c.Get(url + "/api/v1/pods")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var st metav1.Status
	if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
		return 0, fmt.Errorf("%s: %w", res.Status, err)
	}
	if res.StatusCode == http.StatusTooManyRequests && (res.Header.Get("Retry-After") == "" || st.Reason != metav1.StatusReasonTooManyRequests || st.Message == "") {
		return 0, fmt.Errorf("429 with Retry-After %q and %+v", res.Header.Get("Retry-After"), st)
	}
	return res.StatusCode, nil
}

// stormEnv makes the test binary a client that storms a lab until it is killed: its value is the path of a kubeconfig.
const stormEnv = "DRYDOCK_TEST_STORM"

func TestMain(m *testing.M) {
	if path := os.Getenv(stormEnv); path != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", path)
		for ; err == nil; _, _ = storm(cfg, 2000) { // a storm that is refused is a storm
		}
		panic(err)
	}
	os.Exit(m.Run())
}

// stormFromOutside has another process send requests, 2,000 at once, until stop is called. It has only the CPU time that nobody else wants: whoever
// storms brings a machine of their own.
func (l *Lab) stormFromOutside(t testing.TB, url string) (stop func()) {
	t.Helper()
	text, err := l.Kubeconfig(url)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chrt", "--idle", "0", os.Args[0])
	cmd.Env = append(os.Environ(), stormEnv+"="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
}

// forkBomb writes a program that starts itself twice.
const forkBomb = `printf '#!/bin/sh\n./bomb.sh &\n./bomb.sh &\nwait\n' > bomb.sh; chmod +x bomb.sh`

// waitUntil waits for what happens without anybody's further doing.
func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%s\n%s", what, buf[:goruntime.Stack(buf, true)])
		}
	}
}

// TestAbuse: what one lab does to itself ends as Linux or Kubernetes would end it, is no other lab's business, and leaves nothing behind.
func TestAbuse(t *testing.T) {
	if _, err := testHost(); err != nil {
		t.Fatal(err)
	}
	before := goruntime.NumGoroutine()
	t.Cleanup(func() { // after the labs' own cleanups
		waitUntil(t, fmt.Sprintf("goroutines are left: %d, at the start %d", goruntime.NumGoroutine(), before), func() bool { return goruntime.NumGoroutine() <= before })
	})
	loud, quiet := newTestLab(t, Options{}), newTestLab(t, Options{})
	quiet.mustRun(t, "kubectl create configmap mine")
	loud.mustRun(t, "kubectl get pods")
	pods, ctx := loud.clientset(t).CoreV1().Pods("default"), context.Background()
	base := loud.Usage()
	for _, row := range []struct {
		name string
		try  func(*testing.T, *Lab)
	}{
		{"loop at the prompt", loopAtPrompt}, {"loop in a pod", loopInPod}, {"fork bomb", forks}, {"memory of a container", fillContainer},
		{"memory of the lab", fillLab}, {"memory of a shell", fillShell}, {"flood of a log", floodLog}, {"flood of a terminal", floodTerminal}, {"files", manyFiles}, {"disk", fillDisk}, {"requests", stormOfRequests},
	} {
		t.Run(row.name, func(t *testing.T) { row.try(t, loud) })
		if out := quiet.mustRun(t, "kubectl get pods,configmaps -o name"); out != "configmap/kube-root-ca.crt\nconfigmap/mine\n" {
			t.Errorf("after %s, the other lab: %s", row.name, out)
		}
		if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, fmt.Sprintf("%s left something: before %+v, now %+v", row.name, base, loud.Usage()), func() bool {
			u := loud.Usage()
			return u.Processes == base.Processes && u.Memory <= base.Memory+1<<20
		})
	}
}

// loopAtPrompt: Ctrl-C ends a loop that asks the kernel for nothing.
func loopAtPrompt(t *testing.T, l *Lab) {
	y := newTypist(t, l, Workstation)
	for range 10 {
		y.see(prompted)
		y.press("while :; do :; done\r")
		y.see("done")
		y.press("\x03")
		if out, _ := y.run("kubectl get nodes"); !strings.Contains(out, "control-plane") {
			t.Errorf("after Ctrl-C:\n%s", out)
		}
	}
}

// abusive is a manifest of pods that run once.
func abusive(name, image, args, limits string) string {
	return fmt.Sprintf("cat > %[1]s.yaml <<'E'\n{apiVersion: v1, kind: Pod, metadata: {name: %[1]s}, spec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: c, image: %[2]s, args: %[3]s, resources: {limits: {%[4]s}}}]}}\nE\nkubectl create -f %[1]s.yaml\n",
		name, image, args, limits)
}

// loopInPod: a spinning container is held to its limit, answers exec, and can be deleted.
func loopInPod(t *testing.T, l *Lab) {
	l.mustRun(t, abusive("spin", "busybox", `[sh, -c, "while :; do :; done"]`, "cpu: 100m")+"kubectl wait --for=condition=Ready pod/spin --timeout=60s")
	waitUntil(t, "the container is never throttled", func() bool {
		u, ok := l.World().Usage("default", "spin", "c")
		return ok && u.Throttled > 0
	})
	if out := l.mustRun(t, "kubectl exec spin -- cat /sys/fs/cgroup/cpu.max"); out != "10000 100000\n" {
		t.Errorf("cpu.max %s", out)
	}
	l.mustRun(t, "kubectl delete pod spin --timeout=60s")
}

// forks: the lab's processes run out, and nothing else does.
func forks(t *testing.T, l *Lab) {
	out := l.mustRun(t, forkBomb+`; timeout 3 ./bomb.sh 2>&1 | sort -u; test $(ps -e | wc -l) -gt 0; rm bomb.sh`)
	if !strings.Contains(out, "fork: retry: Resource temporarily unavailable") {
		t.Errorf("the bomb said:\n%s", out)
	}
}

func fillContainer(t *testing.T, l *Lab) {
	l.mustRun(t, abusive("fat", "drydock/hog", `["--every=1ms"]`, "memory: 32Mi")+"kubectl wait --for=jsonpath={.status.phase}=Failed pod/fat --timeout=60s")
	if out := l.mustRun(t, "kubectl get pod fat; kubectl get pod fat -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}'"); !strings.Contains(out, "OOMKilled") || !strings.HasSuffix(out, "137") {
		t.Errorf("%s", out)
	}
}

// fillLab: containers without limits end at their lab's; those that are within their requests stay.
func fillLab(t *testing.T, l *Lab) {
	l.mustRun(t, "kubectl run modest --image=busybox -- sleep 1000 && kubectl wait --for=condition=Ready pod/modest --timeout=60s")
	l.mustRun(t, abusive("boundless", "drydock/hog", `["--every=1ms"]`, "")+"kubectl wait --for=jsonpath={.status.phase}=Failed pod/boundless --timeout=60s")
	out := l.mustRun(t, "kubectl get pods --no-headers")
	if !strings.Contains(out, "OOMKilled") || !regexp.MustCompile(`modest +1/1 +Running`).MatchString(out) {
		t.Errorf("%s", out)
	}
}

func fillShell(t *testing.T, l *Lab) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, code, err := l.Run(ctx, `x=0123456789abcdef; while :; do x=$x$x; done`); err != nil || code != 137 {
		t.Errorf("exit %d, %v\n%s", code, err, out)
	}
}

// floodLog: of what a container says the end stays.
func floodLog(t *testing.T, l *Lab) {
	l.mustRun(t, abusive("flood", "busybox", `[sh, -c, "seq 1600000; echo that was it"]`, "")+"kubectl wait --for=jsonpath={.status.phase}=Succeeded pod/flood --timeout=120s")
	var size, lines int
	out := l.mustRun(t, "kubectl logs flood | wc -lc; kubectl logs flood --tail=2")
	if _, err := fmt.Sscan(out, &lines, &size); err != nil || int64(size) > l.host.limits.LogBytes || lines < 1000 || !strings.HasSuffix(out, "\n1600000\nthat was it\n") {
		t.Errorf("%v\n%s", err, out)
	}
}

// floodTerminal: whoever writes more than is read waits, and hears Ctrl-C.
func floodTerminal(t *testing.T, l *Lab) {
	y := newTypist(t, l, Workstation)
	for range 10 {
		y.see(prompted)
		y.press("while :; do seq 100000; done\r")
		y.see("\n99999\r\n") // about when one ends and the next begins
		y.press("\x03")
		if out, _ := y.run("echo still $((6*7))"); !strings.Contains(out, "still 42\r\n") {
			t.Errorf("%s", out)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, code, err := l.Run(ctx, "seq 300000"); len(out) != outputLimit || code != 0 || err != nil {
		t.Errorf("%d bytes, exit %d, %v", len(out), code, err)
	}
}

// manyFiles are within the limits; they are charged though they are empty.
func manyFiles(t *testing.T, l *Lab) {
	before := l.disk.used.Load()
	if out := l.mustRun(t, "mkdir d && cd d && seq 10000 | xargs touch && ls | wc -l"); out != "10000\n" {
		t.Errorf("%s files", out)
	}
	if used := l.disk.used.Load() - before; used < 10_000 {
		t.Errorf("10,000 files are charged as %d bytes", used)
	}
	l.mustRun(t, "rm -r d")
	if used := l.disk.used.Load() - before; used > 64<<10 {
		t.Errorf("%d bytes stay charged", used)
	}
}

func fillDisk(t *testing.T, l *Lab) {
	before := l.disk.used.Load()
	out := l.mustRun(t, "head -c 2000000000 /dev/zero > big; echo exit $?; echo x > small; rm big; echo y > small; cat small")
	if !strings.Contains(out, "No space left on device") || !strings.Contains(out, "exit 1\n") || !strings.HasSuffix(out, "y\n") {
		t.Errorf("%s", out)
	}
	if used := l.disk.used.Load() - before; used > 64<<10 {
		t.Errorf("%d bytes stay charged", used)
	}
}

// stormOfRequests: what is beyond the limit is refused with the time to come back, and nothing is lost without an answer.
func stormOfRequests(t *testing.T, l *Lab) {
	const n = 2000
	answers, err := storm(l.outsideConfig(t, openGate(t, l.host)), n)
	if err != nil {
		t.Error(err)
	}
	if answers[http.StatusOK] == 0 || answers[http.StatusTooManyRequests] == 0 || answers[http.StatusOK]+answers[http.StatusTooManyRequests] != n {
		t.Errorf("answers %v", answers)
	}
	t.Logf("answers %v", answers)
	if out := l.mustRun(t, "kubectl get nodes --no-headers | wc -l"); out != "4\n" {
		t.Errorf("after the storm: %s", out)
	}
}
