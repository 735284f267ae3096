package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// floodEnv makes the test binary a client that floods a cluster: its value is the path of a kubeconfig.
const floodEnv = "DRYDOCK_TEST_FLOOD"

// flood keeps 2,000 requests under way until it is killed.
func flood(kubeconfig string) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		panic(err)
	}
	cfg.QPS = -1
	var wg sync.WaitGroup
	for range 20 {
		// A connection each hundred: HTTP/2 would queue them in the client.
		c, err := tlsClient(cfg.CAData, cfg.CertData, cfg.KeyData, cfg.ServerName)
		if err != nil {
			panic(err)
		}
		for range 100 {
			wg.Go(func() {
				for {
					res, err := c.Get(cfg.Host + "/api/v1/namespaces/default/configmaps")
					if err != nil {
						continue
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		}
	}
	wg.Wait()
}

func tlsClient(ca, cert, key []byte, name string) (*http.Client, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: name}}}, nil
}

// BenchmarkNeighbour is a list in one cluster while another is quiet, and while another process keeps 2,000 lists of 500 objects under way there.
func BenchmarkNeighbour(b *testing.B) {
	ca := testCA(b)
	mine, other := testCluster(b, ClusterConfig{ID: "mine", ServerCA: ca.CertPEM()}), testCluster(b, ClusterConfig{ID: "other", ServerCA: ca.CertPEM()})
	out := listen(b, testServer(b), ca, mine, other)
	ctx := context.Background()
	for range 500 {
		if _, err := adminClient(b, other).CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	cfg := out.restConfig(b, mine, "admin", "system:masters")
	cfg.QPS = -1
	client := kubernetes.NewForConfigOrDie(cfg)
	measure := func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			if _, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
			time.Sleep(5 * time.Millisecond) // a person's pace
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	}
	b.Run("quiet", measure)
	cmd := exec.Command("nice", "-n", "19", os.Args[0])
	cmd.Env = append(os.Environ(), floodEnv+"="+out.kubeconfig(b, other, "admin", "system:masters"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); other.inFlight.used.Load() < 50; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("the flood did not come")
		}
	}
	b.Run("flood", measure)
}
