package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	if config := os.Getenv(floodEnv); config != "" {
		flood(config)
	}
	os.Exit(m.Run())
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// testServer is one server for all tests of the package: that is how it is used.
func testServer(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		shared.server, shared.err = New(Config{Product: "test", Verify: os.Getenv("DRYDOCK_BENCH") == ""})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// testCluster is a new cluster that ends with the test.
func testCluster(t testing.TB, cfg ClusterConfig) *Cluster {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = "test"
	}
	c, err := testServer(t).NewCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// adminClient is client-go over the handler, without a connection.
func adminClient(t testing.TB, c *Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.RESTConfig("admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// outside is a TLS listener in front of clusters, which it tells apart by SNI: CLUSTER-ID.k8s.test.
type outside struct {
	url string
	ca  *CA
}

const domain = ".k8s.test"

func listen(t testing.TB, s *Server, ca *CA, clusters ...*Cluster) *outside {
	t.Helper()
	byName := map[string]*Cluster{}
	var names []string
	for _, c := range clusters {
		byName[c.ID()+domain] = c
		names = append(names, c.ID()+domain)
	}
	certPEM, keyPEM, err := ca.IssueServer(names, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if c := byName[req.TLS.ServerName]; c != nil {
			req = req.WithContext(WithCluster(req.Context(), c))
		}
		s.Handler().ServeHTTP(w, req)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that go while they shake hands
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return &outside{url: srv.URL, ca: ca}
}

func testCA(t testing.TB) *CA {
	t.Helper()
	ca, err := NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// kubeconfig writes a kubeconfig for a user of the cluster and returns its path.
func (o *outside) kubeconfig(t testing.TB, c *Cluster, user string, groups ...string) string {
	t.Helper()
	data, err := c.Kubeconfig(o.url, c.ID()+domain, user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (o *outside) restConfig(t testing.TB, c *Cluster, user string, groups ...string) *restclient.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig(t, c, user, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// kubectlVersion is what a real kubectl of our minor says; without it `kubectl version` fails.
const kubectlVersion = "-X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"

var kubectlOnce struct {
	sync.Once
	path string
	err  error
}

// kubectlPath is the installed kubectl, or one built at our minor from the guests' sources.
func kubectlPath(t testing.TB) string {
	t.Helper()
	kubectlOnce.Do(func() {
		if kubectlOnce.path, kubectlOnce.err = exec.LookPath("kubectl"); kubectlOnce.err == nil {
			return
		}
		kubectlOnce.path = filepath.Join(os.TempDir(), "drydock-test-kubectl")
		build := exec.Command("go", "build", "-ldflags", kubectlVersion, "-o", kubectlOnce.path, ".")
		build.Dir = filepath.Join("..", "..", "sandbox", "guests", "kubectl")
		out, err := build.CombinedOutput()
		if kubectlOnce.err = err; err != nil {
			kubectlOnce.err = &exec.Error{Name: "go build kubectl: " + string(out), Err: err}
		}
	})
	if kubectlOnce.err != nil {
		t.Fatal(kubectlOnce.err)
	}
	return kubectlOnce.path
}

// kubectl runs kubectl with a kubeconfig and returns both outputs.
func kubectl(t testing.TB, kubeconfig, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, kubectlPath(t), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+filepath.Dir(kubeconfig))
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
