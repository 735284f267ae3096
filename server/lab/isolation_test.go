package lab

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestCredentialsOfAnotherLab: whoever comes with what this lab did not give out is told why it is not enough.
func TestCredentialsOfAnotherLab(t *testing.T) {
	a, b := newTestLab(t, Options{Nodes: -1}), newTestLab(t, Options{Nodes: -1})
	url := openGate(t, a.host)
	token := func(l *Lab) string {
		return strings.TrimSpace(l.mustRun(t, "kubectl create token default --duration=10m"))
	}
	tokenOfA, toA := token(a), a.outsideConfig(t, url)
	anonymous := func(l *Lab, token string) *rest.Config {
		return &rest.Config{Host: url, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{ServerName: l.id + Domain, CAData: toA.CAData}}
	}
	to := func(cfg *rest.Config, name string) *rest.Config {
		cfg = rest.CopyConfig(cfg)
		cfg.ServerName = name + Domain
		return cfg
	}
	unsure := to(toA, "nobody")
	rows := []struct {
		name   string
		cfg    *rest.Config
		after  time.Duration // of a's time
		status int32
		reason string
	}{
		{name: "own certificate", cfg: toA},
		{name: "certificate of another lab", cfg: to(toA, b.id), status: 401, reason: "not signed by this cluster's certificate authority"},
		{name: "name of no lab", cfg: unsure, status: 404, reason: "no such cluster"},
		{name: "own token", cfg: anonymous(a, tokenOfA), status: 403, reason: `User "system:serviceaccount:default:default" cannot list resource "pods"`},
		{name: "token of another lab", cfg: anonymous(b, tokenOfA), status: 401, reason: "the bearer token is not accepted"},
		{name: "no credentials", cfg: anonymous(a, ""), status: 403, reason: `User "system:anonymous" cannot list resource "pods"`},
		{name: "expired token", cfg: anonymous(a, tokenOfA), after: time.Hour, status: 401, reason: "token has expired"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if r.after > 0 {
				if err := a.Step(ctx, r.after); err != nil {
					t.Fatal(err)
				}
			}
			_, err := kubernetes.NewForConfigOrDie(r.cfg).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
			var got int32
			if st, ok := err.(apierrors.APIStatus); ok {
				got = st.Status().Code
			} else if err != nil {
				t.Fatal(err)
			}
			if got != r.status || r.reason != "" && !strings.Contains(err.Error(), r.reason) {
				t.Errorf("got %d %v, want %d with %q", got, err, r.status, r.reason)
			}
		})
	}
}

// TestAPIFromInside: inside a lab every name and address of an API server is the lab's own, whatever one knows of another.
func TestAPIFromInside(t *testing.T) {
	a, b := newTestLab(t, Options{Nodes: -1}), newTestLab(t, Options{Nodes: -1})
	b.mustRun(t, "kubectl create configmap treasure")
	stolen, err := b.ReadFile(".kube/config")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.WriteFile("stolen", stolen, 0o600); err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(b.mustRun(t, "kubectl create token default"))
	for _, r := range []struct{ name, line, want string }{
		{"kubeconfig of another lab", "kubectl --kubeconfig=stolen get configmaps", "error: You must be logged in to the server"},
		{"token of another lab", "kubectl --kubeconfig=/dev/null --server=https://kubernetes.default.svc --insecure-skip-tls-verify --token=" + token + " get configmaps", "error: You must be logged in to the server"},
		{"server name of another lab", "kubectl --tls-server-name=" + b.id + Domain + " get configmap treasure", `configmaps "treasure" not found`},
		{"name of another lab", "curl -sS -m 5 https://" + b.id + Domain + "/", "Could not resolve host"},
	} {
		t.Run(r.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			out, code, err := a.Run(ctx, r.line)
			if err != nil || code == 0 || !strings.Contains(string(out), r.want) {
				t.Errorf("exit %d, %v, want %q:\n%s", code, err, r.want, out)
			}
		})
	}
}

// TestNetworksApart: labs have the same addresses and no way between them, nor to the machine that they run on.
func TestNetworksApart(t *testing.T) {
	a, b := newTestLab(t, Options{Nodes: 1}), newTestLab(t, Options{Nodes: 1})
	answer := func(ln net.Listener, text string) {
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = srv.Serve(ln) // ends with Close
		}()
		t.Cleanup(func() {
			srv.Close()
			<-done
		})
	}
	node, err := b.nodes["node-1"].current()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := node.stack.Listen(netip.AddrPortFrom(machineIP(1), 8080))
	if err != nil {
		t.Fatal(err)
	}
	answer(ln, "b\n")
	outer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer(outer, "host\n")
	_, port, _ := net.SplitHostPort(outer.Addr().String())

	b.mustRun(t, "kubectl create deployment web --image=nginx:1.28 && kubectl expose deployment web --port=80 && kubectl rollout status deployment web --timeout=60s")
	podIP := b.mustRun(t, "kubectl get pods -o jsonpath='{.items[0].status.podIP}'")
	serviceIP := b.mustRun(t, "kubectl get service web -o jsonpath='{.spec.clusterIP}'")
	get := func(l *Lab, target string) (string, int) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		out, code, err := l.Run(ctx, "curl -sS -m 3 http://"+target)
		if err != nil {
			t.Fatal(err)
		}
		return string(out), code
	}
	for _, r := range []struct{ name, target string }{{"machine", "node-1:8080"}, {"pod", podIP}, {"service", serviceIP}, {"service by name", "web.default.svc.cluster.local"}} {
		t.Run(r.name, func(t *testing.T) {
			if out, code := get(b, r.target); code != 0 {
				t.Errorf("its own lab does not reach %s: %s", r.target, out)
			}
			if out, code := get(a, r.target); code == 0 {
				t.Errorf("another lab reaches %s: %s", r.target, out)
			}
		})
	}
	t.Run("host", func(t *testing.T) {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range addrs {
			if p, err := netip.ParsePrefix(addr.String()); err == nil && p.Addr().Is4() {
				if out, code := get(a, net.JoinHostPort(p.Addr().String(), port)); code == 0 {
					t.Errorf("a guest reaches the host's %s: %s", p.Addr(), out)
				}
			}
		}
	})
	t.Run("socket files", func(t *testing.T) {
		sock, err := b.fabric.ListenUnix("/run/x.sock", 1)
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close()
		if _, err := a.fabric.DialUnix("/run/x.sock", nil); err == nil {
			t.Error("another lab reaches the socket")
		}
	})
}

// TestFilesAndProcessesApart: what a lab writes over a shared image, and what runs in it, is seen by nobody else; the host's files are not there.
func TestFilesAndProcessesApart(t *testing.T) {
	a, b := newTestLab(t, Options{Nodes: 1}), newTestLab(t, Options{Nodes: 1})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	on := func(l *Lab, machine, line string) string {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		out, _, err := l.RunOn(ctx, machine, line)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	release := on(a, "node-1", "cat /etc/os-release")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	asleep := make(chan struct{})
	go func() {
		defer close(asleep)
		b.RunOn(ctx, "node-1", "sleep 4711; true")
	}()
	defer func() { stop(); <-asleep }()
	waitUntil(t, "b's sleep does not start", func() bool { return strings.Contains(on(b, "node-1", "ps -ef"), "sleep 4711") })
	on(b, "node-1", "echo mine > /etc/os-release; echo mine > /root/note; echo mine > /tmp/note")

	for _, r := range []struct{ name, machine, line, want string }{
		{"file of the image", "node-1", "cat /etc/os-release", release},
		{"new file", "node-1", "cat /root/note /tmp/note", "cat: /root/note: No such file or directory\ncat: /tmp/note: No such file or directory\n"},
		{"file of the host", Workstation, "cat " + secret, "cat: " + secret + ": No such file or directory\n"},
		{"file of the host, the long way", Workstation, "cat ../../../.." + secret + " /proc/self/root" + secret, "cat: ../../../.." + secret + ": No such file or directory\ncat: /proc/self/root" + secret + ": No such file or directory\n"},
		{"processes", "node-1", "ps -ef | grep -c '[s]leep 4711'", "0\n"},
	} {
		t.Run(r.name, func(t *testing.T) {
			if out := on(a, r.machine, r.line); out != r.want {
				t.Errorf("got %q, want %q", out, r.want)
			}
		})
	}
	if len(a.id) < 26 || a.id == b.id {
		t.Errorf("ids %q and %q can be guessed", a.id, b.id)
	}
}
