package apiserver

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/store"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Handler serves requests from outside whose context names a cluster (WithCluster). Before upstream's chain it limits what the cluster's
// clients may do at a time, and authenticates: whoever presents credentials that are not accepted is told why.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, ok := ClusterFrom(req.Context())
		switch {
		case !ok:
			refuse(w, req, failure(http.StatusNotFound, metav1.StatusReasonNotFound, "there is no such cluster"))
		case c.isClosed():
			refuse(w, req, c.goneError())
		case c.longRunning(req):
			c.serveStream(w, req)
		default:
			c.serveRequest(w, req)
		}
	})
}

// serveStream serves a watch, a log or a stream to a container. Watches are limited where they are kept, in the store.
func (c *Cluster) serveStream(w http.ResponseWriter, req *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // an earlier request on this connection may have left one
	if !c.streams.add(1) {
		refuseLater(w, req, apierrors.NewTooManyRequests(fmt.Sprintf("more than %d watches, logs and streams of this cluster at a time", c.streams.max), 1))
		return
	}
	defer c.streams.sub(1)
	c.authenticated(w, req)
}

// serveRequest serves a request that ends by itself.
func (c *Cluster) serveRequest(w http.ResponseWriter, req *http.Request) {
	if !c.inFlight.add(1) {
		refuseLater(w, req, apierrors.NewTooManyRequests(fmt.Sprintf("more than %d requests to this cluster at a time", c.inFlight.max), 1))
		return
	}
	defer c.inFlight.sub(1)
	body := bodies{gauge: &c.bodies, slow: c.server.cfg.SlowClient}
	defer body.release()
	if err := body.read(w, req); err != nil {
		refuse(w, req, err)
		return
	}
	turn, err := c.turns.take(req.Context())
	if err != nil {
		return // the client has gone
	}
	tw := &turnWriter{ResponseWriter: w, ctx: req.Context(), turns: c.turns, turn: turn, deadline: http.NewResponseController(w), slow: c.server.cfg.SlowClient}
	defer tw.done()
	c.authenticated(tw, req)
}

func (c *Cluster) authenticated(w http.ResponseWriter, req *http.Request) {
	who, err := c.AuthenticateRequest(req)
	if err != nil {
		refuse(w, req, apierrors.NewUnauthorized("Unauthorized: "+err.Error()))
		return
	}
	req.Header.Del("Authorization")
	c.serve(w, req.WithContext(withUser(req.Context(), who)))
}

func (c *Cluster) longRunning(req *http.Request) bool {
	info, err := c.server.requestInfo.NewRequestInfo(req)
	return err == nil && c.server.longRunning(req, info)
}

// serve runs upstream's chain for a request whose identity is established.
func (c *Cluster) serve(w http.ResponseWriter, req *http.Request) {
	ctx := WithCluster(req.Context(), c)
	if store.CauseFrom(ctx) == (store.Cause{}) {
		component, _, _ := strings.Cut(req.UserAgent(), " ")
		ctx = store.WithCause(ctx, store.Cause{Kind: store.CauseRequest, Component: component, Detail: req.Method + " " + req.URL.Path})
	}
	c.server.handler.ServeHTTP(w, req.WithContext(ctx))
}

func (c *Cluster) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// goneError answers requests to a closed cluster.
func (c *Cluster) goneError() *apierrors.StatusError {
	if report := c.crashed.Load(); report != nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("the cluster %s has stopped: %s panicked: %v", c.cfg.ID, report.Request, report.Value))
	}
	return apierrors.NewServiceUnavailable("the cluster " + c.cfg.ID + " is gone")
}

// failure is an error with a text of our own.
func failure(code int32, reason metav1.StatusReason, text string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: text}}
}

// refuseLater refuses after a while, each request after another, so that a flood does not come back as one.
func refuseLater(w http.ResponseWriter, req *http.Request, err *apierrors.StatusError) {
	select {
	case <-time.After(refusalDelay/4 + rand.N(refusalDelay*3/4)):
		refuse(w, req, err)
	case <-req.Context().Done():
	}
}

// refuse answers with an error as the API server does, in the format that the client accepts.
func refuse(w http.ResponseWriter, req *http.Request, err *apierrors.StatusError) {
	if err.ErrStatus.Details != nil && err.ErrStatus.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(err.ErrStatus.Details.RetryAfterSeconds))
	}
	responsewriters.ErrorNegotiated(err, legacyscheme.Codecs, schema.GroupVersion{Version: "v1"}, w, req)
}
