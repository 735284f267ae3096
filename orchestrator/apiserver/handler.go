package apiserver

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/drydock-labs/drydock/orchestrator/store"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Handler serves requests from outside whose context names a cluster (WithCluster). Before upstream's chain it limits the cluster's requests
// in flight and authenticates: whoever presents credentials that are not accepted is told why.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, ok := ClusterFrom(req.Context())
		if !ok {
			refuse(w, req, failure(http.StatusNotFound, metav1.StatusReasonNotFound, "there is no such cluster"))
			return
		}
		c.serveOutside(w, req)
	})
}

func (c *Cluster) serveOutside(w http.ResponseWriter, req *http.Request) {
	if !c.longRunning(req) {
		if n := c.inFlight.Add(1); c.cfg.MaxInFlight > 0 && n > int64(c.cfg.MaxInFlight) {
			c.inFlight.Add(-1)
			refuse(w, req, apierrors.NewTooManyRequests(fmt.Sprintf("more than %d requests to this cluster at a time", c.cfg.MaxInFlight), 1))
			return
		}
		defer c.inFlight.Add(-1)
	}
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

// failure is an error with a text of our own.
func failure(code int32, reason metav1.StatusReason, text string) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: text}}
}

// refuse answers with an error as the API server does, in the format that the client accepts.
func refuse(w http.ResponseWriter, req *http.Request, err *apierrors.StatusError) {
	if err.ErrStatus.Details != nil && err.ErrStatus.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(err.ErrStatus.Details.RetryAfterSeconds))
	}
	responsewriters.ErrorNegotiated(err, legacyscheme.Codecs, schema.GroupVersion{Version: "v1"}, w, req)
}
