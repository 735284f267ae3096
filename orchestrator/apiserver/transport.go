package apiserver

import (
	"fmt"
	"io"
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	policyv1 "k8s.io/client-go/kubernetes/typed/policy/v1"
	schedulingv1 "k8s.io/client-go/kubernetes/typed/scheduling/v1"
	restclient "k8s.io/client-go/rest"
)

// transport is an http.RoundTripper that calls the server's handler: for client-go inside the process. The request's context names the
// cluster unless the transport is bound to one; the identity is the transport's.
type transport struct {
	server  *Server
	cluster *Cluster          // nil: the context's
	user    *user.DefaultInfo // nil: admin
}

// RoundTrip implements http.RoundTripper. The response's body is streamed, so that watches work.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if t.cluster != nil {
		ctx = WithCluster(ctx, t.cluster)
	}
	c, ok := ClusterFrom(ctx)
	if !ok {
		return nil, errNoCluster
	}
	who := user.Info(admin)
	if t.user != nil {
		who = t.user
	}
	ctx = withUser(ctx, &authenticator.Response{User: who, Audiences: authenticator.Audiences{Audience}})
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, w := io.Pipe()
	rec := &responseWriter{header: http.Header{}, body: w, ready: make(chan struct{})}
	go func() {
		// The server's own chain recovers from panics; http.ErrAbortHandler alone comes through, and means that the answer ends here.
		defer func() {
			var err error
			if p := recover(); p != nil {
				err = fmt.Errorf("%v", p)
			}
			rec.WriteHeader(http.StatusOK)
			w.CloseWithError(err)
		}()
		c.serve(rec, in)
	}()
	select {
	case <-rec.ready:
	case <-ctx.Done():
		body.CloseWithError(ctx.Err())
		return nil, ctx.Err()
	}
	return &http.Response{
		StatusCode: rec.status, Status: http.StatusText(rec.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: rec.sent, Body: body, ContentLength: -1, Request: req,
	}, nil
}

// responseWriter hands a response to a waiting RoundTrip.
type responseWriter struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	ready  chan struct{}
	status int         // set before ready is closed
	sent   http.Header // set before ready is closed
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// CloseNotify implements http.CloseNotifier, which upstream's wrappers demand of every writer that flushes; they look at the context.
func (w *responseWriter) CloseNotify() <-chan bool { return nil }

// Flush implements http.Flusher: the pipe has no buffer.
func (w *responseWriter) Flush() { w.WriteHeader(http.StatusOK) }

// RESTConfig returns a client-go configuration that reaches the cluster inside the process under an identity, over the HTTP handler but
// without a connection.
func (c *Cluster) RESTConfig(userName string, groups ...string) *restclient.Config {
	who := &user.DefaultInfo{Name: userName, Groups: append(groups, user.AllAuthenticated)}
	return &restclient.Config{Host: "https://in-process", Transport: &transport{server: c.server, cluster: c, user: who}, QPS: -1}
}

// boundClient is the client of upstream parts that call the API without the request's context: it is bound to a cluster, and makes its
// group clients when they are first asked for (a whole clientset is 29 KB). Groups that nobody asks for are nil.
type boundClient struct {
	kubernetes.Interface
	cluster *Cluster

	mu         sync.Mutex
	core       corev1.CoreV1Interface             // protected by mu
	policy     policyv1.PolicyV1Interface         // protected by mu
	scheduling schedulingv1.SchedulingV1Interface // protected by mu
}

func (b *boundClient) config() *restclient.Config {
	cfg := restclient.CopyConfig(b.cluster.server.loopback)
	cfg.Transport = &transport{server: b.cluster.server, cluster: b.cluster}
	return cfg
}

// CoreV1 implements kubernetes.Interface.
func (b *boundClient) CoreV1() corev1.CoreV1Interface {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.core == nil {
		b.core = corev1.NewForConfigOrDie(b.config())
	}
	return b.core
}

// PolicyV1 implements kubernetes.Interface.
func (b *boundClient) PolicyV1() policyv1.PolicyV1Interface {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.policy == nil {
		b.policy = policyv1.NewForConfigOrDie(b.config())
	}
	return b.policy
}

// SchedulingV1 implements kubernetes.Interface.
func (b *boundClient) SchedulingV1() schedulingv1.SchedulingV1Interface {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.scheduling == nil {
		b.scheduling = schedulingv1.NewForConfigOrDie(b.config())
	}
	return b.scheduling
}
