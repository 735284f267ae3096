package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// GateConfig configures a Gate.
type GateConfig struct {
	// CA signs the gate's certificate: the installation's own authority, whose CertPEM is the clusters' ServerCA.
	CA *CA
	// Names are the DNS names and IP addresses that clients may call the gate by, such as "*.k8s.drydock.internal" and "127.0.0.1".
	// Those of a pod's view (kubernetes.default.svc, 10.96.0.1) are added.
	Names []string
	// Find returns the cluster that a client means by the server name it sent (SNI); it is called for each request.
	Find func(serverName string) (*Cluster, bool)
}

// Gate takes TLS connections from outside to the clusters behind a Server. It needs no port of its own: whoever listens hands it
// connections. Client certificates are asked for, and verified against the cluster that a request is for.
type Gate struct {
	find   func(string) (*Cluster, bool)
	tls    *tls.Config
	busy   *tls.Config // for connections that are only told that there are too many
	http   http.Server
	accept chan net.Conn
	served chan struct{}
	closed chan struct{}
	once   sync.Once
}

// insideNames are how pods call the API server.
var insideNames = []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", KubernetesServiceIP}

// How long clients may take: to shake hands and send a request's header, and between two requests.
const (
	headerTimeout = 15 * time.Second
	idleTimeout   = 3 * time.Minute
	headerBytes   = 64 << 10
)

// gateCertAge is how long the gate's certificate is valid, on the wall clock; a new one is made at each start.
const gateCertAge = 10 * 365 * 24 * time.Hour

// NewGate returns a gate with a new certificate. Close ends its connections.
func (s *Server) NewGate(cfg GateConfig) (*Gate, error) {
	if cfg.CA == nil || cfg.Find == nil {
		return nil, errors.New("apiserver: a gate needs CA and Find")
	}
	now := time.Now()
	certPEM, keyPEM, err := cfg.CA.IssueServer(append(append([]string(nil), cfg.Names...), insideNames...), now, now.Add(gateCertAge))
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	g := &Gate{find: cfg.Find, accept: make(chan net.Conn), served: make(chan struct{}), closed: make(chan struct{})}
	g.tls = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	g.tls.GetConfigForClient = g.admit
	g.busy = g.tls.Clone()
	g.busy.NextProtos = []string{"http/1.1"} // the refusal closes the connection, which HTTP/2's handlers cannot
	g.http = http.Server{
		Handler: g.handler(s.Handler()), TLSConfig: g.tls, ConnContext: connCluster,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
		ErrorLog: log.New(io.Discard, "", 0), // strangers' broken handshakes are not ours to report
	}
	go func() {
		defer close(g.served)
		_ = g.http.ServeTLS(gateListener{g}, "", "") // always ErrServerClosed or the listener's net.ErrClosed
	}()
	return g, nil
}

func (g *Gate) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, ok := ClusterFrom(req.Context()); !ok && req.TLS != nil {
			if c, ok := g.find(req.TLS.ServerName); ok {
				req = req.WithContext(WithCluster(req.Context(), c))
			}
		}
		if conn, ok := req.Context().Value(gateConnKey{}).(*gateConn); ok && conn.refused.Load() {
			w.Header().Set("Connection", "close")
			refuseLater(w, req, apierrors.NewTooManyRequests(fmt.Sprintf("more than %d connections to this cluster at a time", maxConns), 1))
			return
		}
		next.ServeHTTP(w, req)
	})
}

// ServeConn serves a connection, before its TLS handshake, on behalf of the cluster that its server name says. It returns at once.
func (g *Gate) ServeConn(conn net.Conn) { g.serve(conn) }

// ServeConnTo serves a connection, before its TLS handshake, to one cluster whatever name the client calls it by: for connections that come
// from inside a lab. It returns at once.
func (g *Gate) ServeConnTo(c *Cluster, conn net.Conn) { g.serve(&insideConn{conn, c}) }

func (g *Gate) serve(conn net.Conn) {
	select {
	case g.accept <- &gateConn{Conn: conn}:
	case <-g.closed:
		conn.Close()
	}
}

// gateConn is a connection that is counted against its cluster until it is closed.
type gateConn struct {
	net.Conn
	counted atomic.Pointer[gauge]   // nil before it is counted
	refused atomic.Bool             // its requests are answered with 429
	turn    atomic.Pointer[Cluster] // whose turn to shake hands it holds, nil for none: until our answer, the costly half
}

// Write implements net.Conn.
func (c *gateConn) Write(b []byte) (int, error) {
	c.giveTurn()
	return c.Conn.Write(b)
}

func (c *gateConn) giveTurn() {
	if cluster := c.turn.Swap(nil); cluster != nil {
		<-cluster.handshakes
	}
}

// Close implements net.Conn.
func (c *gateConn) Close() error {
	c.giveTurn()
	if g := c.counted.Swap(nil); g != nil {
		g.sub(1)
	}
	return c.Conn.Close()
}

// admit counts a connection when its client has said which cluster it means. One too many is taken for the time of an answer, which tells the
// client to come back; when too many wait for theirs, the handshake ends. A cluster's handshakes wait for each other, and for their time when
// there are many.
func (g *Gate) admit(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conn, ok := hello.Conn.(*gateConn)
	if !ok {
		return nil, nil
	}
	cluster, ok := g.find(hello.ServerName)
	if in, inside := conn.Conn.(*insideConn); inside {
		cluster, ok = in.cluster, true
	}
	if !ok {
		return nil, nil // a request will be told that there is no such cluster
	}
	if err := cluster.arrivals.Wait(hello.Context()); err != nil {
		return nil, err
	}
	if err := enter(hello.Context(), cluster.handshakes); err != nil {
		return nil, err
	}
	conn.turn.Store(cluster)
	switch {
	case cluster.conns.add(1):
		conn.counted.Store(&cluster.conns)
		return nil, nil
	case cluster.refusals.add(1):
		conn.counted.Store(&cluster.refusals)
		conn.refused.Store(true)
		return g.busy, nil
	}
	return nil, fmt.Errorf("more than %d connections to the cluster %s wait to be refused", cluster.refusals.max, cluster.cfg.ID)
}

// Serve serves every connection of a listener until the listener or the gate is closed: for `drydock lab`, which has a port for the API
// server alone. It always returns an error, net.ErrClosed after Close.
func (g *Gate) Serve(l net.Listener) error {
	stop := context.AfterFunc(closedContext(g.closed), func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		g.serve(conn)
	}
}

// closedContext is a context that ends when c is closed.
func closedContext(c <-chan struct{}) context.Context { return channelContext{context.Background(), c} }

type channelContext struct {
	context.Context
	done <-chan struct{}
}

func (c channelContext) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c channelContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// Close ends all connections. Twice is fine.
func (g *Gate) Close() {
	g.once.Do(func() {
		close(g.closed)
		g.http.Close()
		<-g.served
	})
}

// insideConn is a connection whose cluster is known before anything is said on it.
type insideConn struct {
	net.Conn
	cluster *Cluster
}

// gateConnKey finds a request's connection in its context.
type gateConnKey struct{}

func connCluster(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	g, ok := conn.(*gateConn)
	if !ok {
		return ctx
	}
	ctx = context.WithValue(ctx, gateConnKey{}, g)
	if in, ok := g.Conn.(*insideConn); ok {
		return WithCluster(ctx, in.cluster)
	}
	return ctx
}

// gateListener hands the gate's connections to net/http.
type gateListener struct{ gate *Gate }

func (l gateListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.gate.accept:
		return c, nil
	case <-l.gate.closed:
		return nil, net.ErrClosed
	}
}
func (l gateListener) Close() error   { return nil }
func (l gateListener) Addr() net.Addr { return &net.TCPAddr{} }
