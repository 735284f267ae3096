package apiserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
)

// TestLimits: what goes beyond a cluster's limits gets a clear status.
func TestLimits(t *testing.T) {
	small := testCluster(t, ClusterConfig{ID: "tiny", MaxObjects: 10})
	ctx := context.Background()
	_, err := adminClient(t, small).CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded the limit of 10 objects") {
		t.Errorf("one object too many: %v", err)
	}
	c := testCluster(t, ClusterConfig{ID: "small", MaxWatches: 2})
	client := adminClient(t, c)
	for range 2 {
		w, err := client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
	}
	err = client.CoreV1().RESTClient().Get().Resource("pods").Param("watch", "true").MaxRetries(0).Do(ctx).Error()
	if !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "exceeded the limit of 2 watches") {
		t.Errorf("one watch too many: %v", err)
	}
}

// TestRequestsInFlight: bodies that do not end keep their requests in flight; the others get 429 with Retry-After.
func TestRequestsInFlight(t *testing.T) {
	ca := testCA(t)
	c := testCluster(t, ClusterConfig{ID: "small", ServerCA: ca.CertPEM(), MaxInFlight: 2})
	out := listen(t, testServer(t), ca, c)
	rt, err := restclient.TransportFor(out.restConfig(t, c, "admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var held []*io.PipeWriter
	refused := make(chan *http.Response, 8)
	for range 8 {
		body, w := io.Pipe()
		held = append(held, w)
		req, err := http.NewRequest("POST", out.url+"/api/v1/namespaces/default/configmaps", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		wg.Go(func() {
			if res, err := rt.RoundTrip(req); err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusTooManyRequests {
					refused <- res
				}
			}
		})
	}
	for range 6 {
		if res := <-refused; res.Header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	for _, w := range held {
		w.CloseWithError(io.ErrUnexpectedEOF)
	}
	wg.Wait()
	client := kubernetes.NewForConfigOrDie(out.restConfig(t, c, "admin", "system:masters"))
	if _, err := client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{}); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

// TestStreamsLimited: logs that are followed count, and when their clients go, so does everything that served them.
func TestStreamsLimited(t *testing.T) {
	ca := testCA(t)
	c := oneNode(t, ClusterConfig{ID: "logs", ServerCA: ca.CertPEM(), MaxWatches: 1, MaxStreams: 1})
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "endless"}, Spec: v1.PodSpec{NodeName: "node-1", Containers: []v1.Container{{Name: "c", Image: "x"}}}}
	if _, err := adminClient(t, c).CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out := listen(t, testServer(t), ca, c)
	client := kubernetes.NewForConfigOrDie(out.restConfig(t, c, "admin", "system:masters"))
	ctx, cancel := context.WithCancel(context.Background())
	w, err := client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	follow := func() *restclient.Request {
		return client.CoreV1().Pods("default").GetLogs("endless", &v1.PodLogOptions{Follow: true}).MaxRetries(0)
	}
	log, err := follow().Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if line, err := bufio.NewReader(log).ReadString('\n'); line != "begun\n" {
		t.Fatal(line, err)
	}
	if _, err := follow().Stream(ctx); !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "more than 2 watches, logs and streams") {
		t.Errorf("one stream too many: %v", err)
	}
	cancel()
	for deadline := time.Now().Add(10 * time.Second); c.streams.used.Load() > 0 || c.Store().Usage().Watches > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams and %d watches are left", c.streams.used.Load(), c.Store().Usage().Watches)
		}
	}
}

// TestFlood: of 2,000 requests at once each is either done or answered with 429 and told when to come again.
func TestFlood(t *testing.T) {
	ca := testCA(t)
	c := testCluster(t, ClusterConfig{ID: "flood", ServerCA: ca.CertPEM()})
	out := listen(t, testServer(t), ca, c)
	cfg := out.restConfig(t, c, "admin", "system:masters")
	cfg.QPS = -1
	client := kubernetes.NewForConfigOrDie(cfg).CoreV1().RESTClient()
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 2000 {
		wg.Go(func() {
			cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d", i)}}
			err := client.Post().Namespace("default").Resource("configmaps").Body(cm).MaxRetries(0).Do(context.Background()).Error()
			_, later := apierrors.SuggestsClientDelay(err)
			switch {
			case err == nil:
				done.Add(1)
			case !apierrors.IsTooManyRequests(err) || !later:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := int64(c.Store().Count(v1.Resource("configmaps"))); n != done.Load() || n == 0 {
		t.Errorf("%d objects, %d requests succeeded", n, done.Load())
	}
}

// TestSlowClients: a body that does not arrive is answered with 408 and a sentence, over HTTP/1.1 and HTTP/2.
func TestSlowClients(t *testing.T) {
	s, err := New(Config{SlowClient: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.NewCluster(ClusterConfig{ID: "slow"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ca := testCA(t)
	out := listen(t, s, ca, c)
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "slow" + domain, NextProtos: []string{proto}}, ForceAttemptHTTP2: proto == "h2"}
			defer tr.CloseIdleConnections()
			body, w := io.Pipe()
			defer w.Close()
			req, err := http.NewRequest("POST", out.url+"/api/v1/namespaces/default/configmaps", body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			answer, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(answer), "the body did not arrive within 50ms") {
				t.Errorf("%s %s", res.Status, answer)
			}
		})
	}
}

// TestOversizedBody: with and without its length announced.
func TestOversizedBody(t *testing.T) {
	c := testCluster(t, ClusterConfig{ID: "big"})
	ca := testCA(t)
	out := listen(t, testServer(t), ca, c)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "big" + domain}}
	defer tr.CloseIdleConnections()
	for name, body := range map[string]io.Reader{
		"announced": strings.NewReader(strings.Repeat("x", maxBody+1)),
		"chunked":   io.MultiReader(strings.NewReader(strings.Repeat("x", maxBody)), strings.NewReader("x")),
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest("POST", out.url+"/api/v1/namespaces/default/configmaps", body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			answer, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(answer), "limit is 3145728") {
				t.Errorf("%s %s", res.Status, answer)
			}
		})
	}
	if n := c.bodies.used.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are still charged", n)
	}
}

// TestMalformed: what no client of ours sends gets upstream's own answers.
func TestMalformed(t *testing.T) {
	ca := testCA(t)
	c := testCluster(t, ClusterConfig{ID: "bad", ServerCA: ca.CertPEM()})
	out := listen(t, testServer(t), ca, c)
	rt, err := restclient.TransportFor(out.restConfig(t, c, "admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name, method, path, contentType, body string
		status                                int
		text                                  string
	}{
		{"not JSON", "POST", "/api/v1/namespaces/default/pods", "application/json", "{", 400, "unexpected end of JSON input"},
		{"not protobuf", "POST", "/api/v1/namespaces/default/pods", "application/vnd.kubernetes.protobuf", "k8s\x00\xff\xff", 400, "BadRequest"},
		{"another kind", "POST", "/api/v1/namespaces/default/pods", "application/json", `{"kind":"Service","apiVersion":"v1"}`, 400, `cannot be handled as a Pod`},
		{"media type", "POST", "/api/v1/namespaces/default/pods", "text/html", "<p>", 415, "UnsupportedMediaType"},
		{"patch", "PATCH", "/api/v1/namespaces/default", "application/json-patch+json", "[{}]", 422, "Invalid"},
		{"path", "GET", "/apis/none/v1/things", "", "", 404, `"paths"`},
		{"method", "PATCH", "/api/v1/nodes", "application/json", "{}", 405, "MethodNotAllowed"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			req, err := http.NewRequest(r.method, out.url+r.path, strings.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", r.contentType)
			res, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			answer, _ := io.ReadAll(res.Body)
			if res.StatusCode != r.status || !strings.Contains(string(answer), r.text) {
				t.Errorf("%s %s", res.Status, answer)
			}
		})
	}
}

// explode panics in the admission of a ConfigMap that asks for it.
type explode struct{ admission.Interface }

func (explode) Handles(admission.Operation) bool { return true }

func (explode) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetName() == "bomb" {
		panic("boom")
	}
	return nil
}

// TestPanic: a panic in a handler stops its cluster with a report; the others and the process go on.
func TestPanic(t *testing.T) {
	reports := make(chan Crash, 1)
	a := testCluster(t, ClusterConfig{ID: "a", OnCrash: func(c Crash) { reports <- c }})
	b := testCluster(t, ClusterConfig{ID: "b"})
	ch, err := a.chain()
	if err != nil {
		t.Fatal(err)
	}
	ch.plugins = append(ch.plugins, explode{})
	ca := testCA(t)
	a.cfg.ServerCA = ca.CertPEM()
	out := listen(t, testServer(t), ca, a, b)
	client := kubernetes.NewForConfigOrDie(out.restConfig(t, a, "admin", "system:masters"))
	ctx := context.Background()
	_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bomb"}}, metav1.CreateOptions{})
	if !apierrors.IsInternalError(err) {
		t.Errorf("the request that panicked: %v", err)
	}
	report := <-reports
	if report.Cluster != "a" || !strings.Contains(fmt.Sprint(report.Value), "boom") || !strings.Contains(report.String(), "POST /api/v1/namespaces/default/configmaps") || !strings.Contains(report.String(), "explode.Validate") {
		t.Errorf("report: %s", report)
	}
	if _, err = client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "has stopped: POST /api/v1/namespaces/default/configmaps panicked: boom") {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := adminClient(t, b).CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("another cluster: %v", err)
	}
}

// askVersion asks for the server's version once, over a connection of its own.
func askVersion(t testing.TB, cfg *restclient.Config) (*http.Response, error) {
	t.Helper()
	rt, err := restclient.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, cfg.Host+"/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := rt.RoundTrip(req)
	if err == nil {
		res.Body.Close()
	}
	return res, err
}

// TestGate: connections by server name, from inside a lab, and after Close.
func TestGate(t *testing.T) {
	ca := testCA(t)
	c := testCluster(t, ClusterConfig{ID: "lab", ServerCA: ca.CertPEM()})
	g, err := testServer(t).NewGate(GateConfig{CA: ca, Names: []string{"*.k8s.test", "127.0.0.1"}, Find: func(name string) (*Cluster, bool) { return c, name == "lab"+domain }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	out := &outside{url: "https://" + l.Addr().String(), ca: ca}
	cfg := out.restConfig(t, c, "admin", "system:masters")
	if v, err := kubernetes.NewForConfigOrDie(cfg).Discovery().ServerVersion(); err != nil || v.GitVersion != "v1.37.2+drydock" {
		t.Errorf("by server name: %v %v", v, err)
	}
	other := restclient.CopyConfig(cfg)
	other.ServerName = "other" + domain
	if _, err := kubernetes.NewForConfigOrDie(other).CoreV1().Pods("").List(context.Background(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "there is no such cluster") {
		t.Errorf("a name of no cluster: %v", err)
	}

	pod := restclient.CopyConfig(cfg)
	pod.Host, pod.ServerName = "https://kubernetes.default.svc", ""
	pod.Dial = func(context.Context, string, string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		g.ServeConnTo(c, theirs)
		return mine, nil
	}
	if _, err := kubernetes.NewForConfigOrDie(pod).CoreV1().Pods("").List(context.Background(), metav1.ListOptions{}); err != nil {
		t.Errorf("from inside: %v", err)
	}
	if n := c.conns.used.Load(); n == 0 {
		t.Error("connections are not counted")
	}
	c.conns.max = 1
	refused := restclient.CopyConfig(cfg)
	refused.Dial = (&net.Dialer{}).DialContext // a connection of its own
	if res, err := askVersion(t, refused); err != nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || !res.Close {
		t.Errorf("one connection too many: %v, %+v", err, res)
	}
	for c.refusals.max = 1; !c.refusals.add(1); { // until the refused connection has gone
		runtime.Gosched()
	}
	if res, err := askVersion(t, refused); err == nil {
		t.Errorf("one refusal too many: %+v", res)
	}
	c.refusals.sub(1)
	g.Close()
	g.Close()
	if taken, refused := c.conns.used.Load(), c.refusals.used.Load(); taken != 0 || refused != 0 {
		t.Errorf("%d and %d refused connections are still counted", taken, refused)
	}
	if err := <-served; err == nil {
		t.Error("Serve returned nil")
	}
	if _, err := kubernetes.NewForConfigOrDie(cfg).Discovery().ServerVersion(); err == nil {
		t.Error("served after Close")
	}
}
