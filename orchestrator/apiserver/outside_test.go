package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dialer "k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// TestCredentials: whoever presents what this cluster does not accept is told why.
func TestCredentials(t *testing.T) {
	ca, clock := testCA(t), newClock()
	a := testCluster(t, ClusterConfig{ID: "a", ServerCA: ca.CertPEM(), Clock: clock})
	b := testCluster(t, ClusterConfig{ID: "b", ServerCA: ca.CertPEM(), Clock: clock})
	out := listen(t, testServer(t), ca, a, b)
	ctx := context.Background()

	toA := out.restConfig(t, a, "admin", "system:masters")
	token := func(cfg *restclient.Config) string {
		client := kubernetes.NewForConfigOrDie(cfg)
		tr, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(600))}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if left := tr.Status.ExpirationTimestamp.Sub(clock.Now()); left < 9*time.Minute || left > 11*time.Minute {
			t.Errorf("the token says that it expires in %s", left)
		}
		return tr.Status.Token
	}
	tokenOfA := token(toA)
	bearer := func(server string, tok string) *restclient.Config {
		return &restclient.Config{Host: out.url, BearerToken: tok, TLSClientConfig: restclient.TLSClientConfig{ServerName: server + domain, CAData: ca.CertPEM()}}
	}
	crossed := restclient.CopyConfig(toA)
	crossed.ServerName = "b" + domain

	rows := []struct {
		name   string
		cfg    *restclient.Config
		after  time.Duration
		status int32
		reason string
	}{
		{name: "certificate", cfg: toA},
		{name: "certificate of another cluster", cfg: crossed, status: 401, reason: "not signed by this cluster's certificate authority"},
		{name: "token may not list pods", cfg: bearer("a", tokenOfA), status: 403, reason: `User "system:serviceaccount:default:default" cannot list resource "pods"`},
		{name: "token of another cluster", cfg: bearer("b", tokenOfA), status: 401, reason: "the bearer token is not accepted"},
		{name: "no token at all", cfg: bearer("a", "nonsense"), status: 401, reason: "was not issued by this cluster"},
		{name: "nobody", cfg: bearer("a", ""), status: 403, reason: `User "system:anonymous"`},
		{name: "no such cluster", cfg: bearer("c", ""), status: 404, reason: "no such cluster"},
		{name: "expired token", cfg: bearer("a", tokenOfA), after: time.Hour, status: 401, reason: "token has expired"},
		{name: "expired certificate", cfg: toA, after: 11 * 365 * 24 * time.Hour, status: 401, reason: "the client certificate is valid from"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			clock.Advance(r.after)
			if r.name == "no such cluster" {
				r.cfg.Insecure, r.cfg.CAData = true, nil
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

// TestClustersApart: what one cluster holds, another neither lists nor watches.
func TestClustersApart(t *testing.T) {
	a, b := testCluster(t, ClusterConfig{ID: "a"}), testCluster(t, ClusterConfig{ID: "b"})
	ca, cb := adminClient(t, a), adminClient(t, b)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	w, err := cb.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := ca.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := cb.CoreV1().ConfigMaps("default").Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("b sees a's object: %v", err)
	}
	if _, err := cb.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := <-w.ResultChan(); e.Object.(*v1.ConfigMap).Name != "b" {
		t.Errorf("b's watch saw %v", e.Object)
	}
	uid := func(c *kubernetes.Clientset) string {
		ns, err := c.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(ns.UID)
	}
	if uid(ca) == uid(cb) || uid(ca) != uid(ca) {
		t.Errorf("uids of kube-system: %s, %s", uid(ca), uid(cb))
	}
}

// TestSupportTable: every resource that discovery lists has a row, and every row is served.
func TestSupportTable(t *testing.T) {
	c := testCluster(t, ClusterConfig{})
	_, lists, err := adminClient(t, c).Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	served := map[schema.GroupResource]bool{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			name, _, _ := strings.Cut(r.Name, "/")
			served[schema.GroupResource{Group: gv.Group, Resource: name}] = true
		}
	}
	if len(served) < 50 {
		t.Fatalf("discovery lists %d resources only", len(served))
	}
	rows, table := SupportTable()
	for gr := range served {
		if _, ok := table[gr]; !ok {
			t.Errorf("the table has no row for %s: say whether something acts on it", gr)
		}
	}
	for _, gr := range rows {
		if !served[gr] {
			t.Errorf("the table has a row for %s, which is not served", gr)
		}
		if table[gr].Reason == "" {
			t.Errorf("%s: no reason", gr)
		}
	}
}

// TestWebSocketRefused: an upgrade to WebSocket is refused with a sentence; clients then use SPDY.
func TestWebSocketRefused(t *testing.T) {
	ca := testCA(t)
	c := oneNode(t, ClusterConfig{ID: "ws", ServerCA: ca.CertPEM()})
	client := adminClient(t, c)
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1.PodSpec{NodeName: "node-1", Containers: []v1.Container{{Name: "c", Image: "x"}}}}
	if _, err := client.CoreV1().Pods("default").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out := listen(t, testServer(t), ca, c)
	certPEM, keyPEM, err := c.IssueClientCert("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.CertPEM())
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: "ws" + domain}}}
	defer hc.CloseIdleConnections()
	for _, sub := range []string{"exec?command=ls&stdout=true", "attach?stdout=true", "portforward?ports=80"} {
		req, err := http.NewRequest("GET", out.url+"/api/v1/namespaces/default/pods/p/"+sub, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "v5.channel.k8s.io"} {
			req.Header.Set(k, v)
		}
		res, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "only over SPDY") {
			t.Errorf("%s: %d %s %v", sub, res.StatusCode, body, err)
		}
	}
}

// bindingTo binds a cluster role to a user.
func bindingTo(role, user string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role + "-" + user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}}
}

// TestStreams: exec and port-forward by SPDY alone, and by clients that try a WebSocket first and fall back.
func TestStreams(t *testing.T) {
	ca := testCA(t)
	c := oneNode(t, ClusterConfig{ID: "streams", ServerCA: ca.CertPEM()})
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1.PodSpec{NodeName: "node-1", Containers: []v1.Container{{Name: "c", Image: "x"}}}}
	pods := adminClient(t, c).CoreV1().Pods("default")
	created, err := pods.Create(context.Background(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Status.Phase = v1.PodRunning
	if _, err := pods.UpdateStatus(context.Background(), created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	out := listen(t, testServer(t), ca, c)
	cfg := out.restConfig(t, c, "admin", "system:masters")
	at := func(sub, query string) *url.URL {
		u, err := url.Parse(out.url + "/api/v1/namespaces/default/pods/p/" + sub + "?" + query)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	execURL := at("exec", "command=cat&stdin=true&stdout=true")
	spdyExec, err := remotecommand.NewSPDYExecutor(cfg, "POST", execURL)
	if err != nil {
		t.Fatal(err)
	}
	webSocketExec, err := remotecommand.NewWebSocketExecutor(cfg, "GET", execURL.String())
	if err != nil {
		t.Fatal(err)
	}
	fallback, err := remotecommand.NewFallbackExecutor(webSocketExec, spdyExec, httpstream.IsUpgradeFailure)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for name, e := range map[string]remotecommand.Executor{"SPDY": spdyExec, "fallback": fallback} {
		var got strings.Builder
		if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &got}); err != nil || got.String() != "hello" {
			t.Errorf("exec by %s: %q %v", name, &got, err)
		}
	}
	if err := webSocketExec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: io.Discard}); !httpstream.IsUpgradeFailure(err) {
		t.Errorf("exec by WebSocket alone: %v", err)
	}

	rt, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spdyDialer := spdy.NewDialer(upgrader, &http.Client{Transport: rt}, "POST", at("portforward", ""))
	webSocketDialer, err := portforward.NewSPDYOverWebsocketDialer(at("portforward", ""), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]dialer.Dialer{"SPDY": spdyDialer, "fallback": portforward.NewFallbackDialer(webSocketDialer, spdyDialer, httpstream.IsUpgradeFailure)} {
		if got := throughPort(t, d); got != "port 80 of p" {
			t.Errorf("port-forward by %s: %q", name, got)
		}
	}
}

// throughPort forwards a local port to the pod's port 80, asks there and returns the answer's body.
func throughPort(t *testing.T, d dialer.Dialer) string {
	t.Helper()
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddresses(d, []string{"127.0.0.1"}, []string{"0:80"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.ForwardPorts() }()
	defer func() { close(stop); <-ended }()
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
