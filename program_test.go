package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// patience bounds what these tests wait for, not what they expect: a machine that never ran the program compiles first.
const patience = 90 * time.Second

// TestMain lets the test binary stand for the program: run with DRYDOCK_TEST_MAIN it is drydock itself, so that what is tested is always
// what was just compiled.
func TestMain(m *testing.M) {
	if os.Getenv("DRYDOCK_TEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is the command that runs drydock with args.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "DRYDOCK_TEST_MAIN=1")
	return cmd
}

// transcript is a process's output, readable while it runs.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer // protected by mu
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

var address = regexp.MustCompile(`http://[^\s/]+:\d+`)

// portal is a running `drydock serve`.
type portal struct {
	url    string
	cmd    *exec.Cmd
	ended  chan error
	said   *transcript
	client *http.Client
}

// serve starts a portal on a free port of loopback and waits until it answers.
func serve(t testing.TB, data string) *portal {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &portal{cmd: program("serve", "--listen", "127.0.0.1:0", "--data", data), ended: make(chan error, 1), said: &transcript{}, client: &http.Client{Jar: jar, Timeout: patience}}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	for deadline := time.After(patience); p.url == ""; {
		select {
		case err := <-p.ended:
			t.Fatalf("drydock serve ended: %v\n%s", err, p.said)
		case <-deadline:
			t.Fatalf("drydock serve names no address:\n%s", p.said)
		case <-time.After(5 * time.Millisecond):
			p.url = address.FindString(p.said.String())
		}
	}
	return p
}

// stop interrupts the portal as Ctrl-C does; it must leave with 0.
func (p *portal) stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("after an interrupt: %v\n%s", err, p.said)
		}
	case <-time.After(patience):
		t.Fatalf("drydock serve does not end when interrupted\n%s", p.said)
	}
}

// do sends a request as the page does and wants 200.
func (p *portal) do(t testing.TB, method, path, body string) []byte {
	t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", p.url)
	res, err := p.client.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.said)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v\n%s\n%s", method, path, res.Status, err, b, p.said)
	}
	return b
}

// lab makes a lab and returns its kubeconfig.
func (p *portal) lab(t testing.TB) *rest.Config {
	t.Helper()
	p.do(t, http.MethodPost, "/api/labs", `{"lesson":"deploy-by-plan"}`)
	cfg, err := clientcmd.RESTConfigFromKubeConfig(p.do(t, http.MethodGet, "/api/labs/deploy-by-plan/kubeconfig", ""))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// readyNodes asks a cluster over TLS for its Ready nodes.
func readyNodes(t *testing.T, cfg *rest.Config) (ready []string) {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready = append(ready, n.Name)
			}
		}
	}
	return ready
}

// tryPortal walks the first minute over HTTP and TLS: the page, a lab, its cluster.
func tryPortal(t *testing.T, p *portal) {
	t.Helper()
	if page := p.do(t, http.MethodGet, "/", ""); !bytes.Contains(page, []byte("<html")) {
		t.Errorf("the page is %.200q", page)
	}
	if got := fmt.Sprint(readyNodes(t, p.lab(t))); got != "[control-plane node-1 node-2 node-3]" {
		t.Errorf("Ready nodes are %s", got)
	}
}

// TestServe starts twice on one data folder: the second start offers its labs under the same authority.
func TestServe(t *testing.T) {
	data := t.TempDir()
	first := serve(t, data)
	tryPortal(t, first)
	ca := first.lab(t).CAData
	first.stop(t)
	second := serve(t, data)
	tryPortal(t, second)
	if !bytes.Equal(ca, second.lab(t).CAData) || len(ca) == 0 {
		t.Error("the second start has another certificate authority")
	}
	second.stop(t)
}

// TestPortInUse: one sentence that names the address, and a failure.
func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cmd := program("serve", "--listen", taken.Addr().String(), "--data", t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Errorf("serve on a port in use: %v", err)
	}
	if said := strings.TrimSpace(stderr.String()); strings.Contains(said, "\n") || !strings.Contains(said, taken.Addr().String()) {
		t.Errorf("stderr is not one sentence with the address:\n%s", said)
	}
	if stdout.Len() > 0 {
		t.Errorf("stdout is %q", stdout.String())
	}
}

// BenchmarkServe measures the program from outside: milliseconds from its start to the first page, its resident set after that and with one
// lab (proc_pid_status(5), VmRSS).
func BenchmarkServe(b *testing.B) {
	for range b.N {
		began := time.Now()
		p := serve(b, b.TempDir())
		p.do(b, http.MethodGet, "/", "")
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms-to-page")
		p.do(b, http.MethodGet, "/api/lessons", "")
		b.ReportMetric(resident(b, p.cmd), "MB-at-start")
		p.lab(b)
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms-to-lab")
		b.ReportMetric(resident(b, p.cmd), "MB-with-lab")
		p.stop(b)
	}
}

// BenchmarkShell measures a lab without the portal: milliseconds from the program's start to the first answer of kubectl inside, to the next
// ones, and the resident set then. The compile cache is this machine's; run it twice to see it warm.
func BenchmarkShell(b *testing.B) {
	for range b.N {
		began := time.Now()
		cmd := program("lab")
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		said := &transcript{}
		cmd.Stdout, cmd.Stderr = said, said
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for i, unit := range []string{"ms-first-kubectl", "", "ms-kubectl"} {
			if i > 0 {
				began = time.Now()
			}
			fmt.Fprintf(in, "kubectl get pods; echo done-%d\n", i)
			for deadline := time.Now().Add(patience); !strings.Contains(said.String(), fmt.Sprintf("done-%d\n", i)); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					b.Fatalf("kubectl does not answer:\n%s", said)
				}
			}
			if unit != "" {
				b.ReportMetric(float64(time.Since(began).Microseconds())/1000, unit)
			}
		}
		b.ReportMetric(resident(b, cmd), "MB-with-kubectl")
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Fatalf("%v\n%s", err, said)
		}
	}
}

// resident is a process's resident set in megabytes; the benchmark is skipped where there is no /proc.
func resident(b *testing.B, cmd *exec.Cmd) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		b.Skip(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kb float64
	if _, err := fmt.Sscan(after, &kb); err != nil {
		b.Fatal(err)
	}
	return kb / 1000
}
