package apiserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

type userKey struct{}

// withUser returns a context whose requests come from an identity that is already established: in-process callers, and requests whose
// credentials the outermost filter verified.
func withUser(ctx context.Context, r *authenticator.Response) context.Context {
	return context.WithValue(ctx, userKey{}, r)
}

// requestAuthenticator answers upstream's chain with the identity that the outermost filter established. It is also what TokenReview asks,
// with a token of its own.
type requestAuthenticator struct{}

// AuthenticateRequest implements authenticator.Request.
func (requestAuthenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if r, ok := req.Context().Value(userKey{}).(*authenticator.Response); ok {
		return r, true, nil
	}
	// TokenReview makes a new request that carries only the token and the context's cluster.
	c, ok := ClusterFrom(req.Context())
	if !ok {
		return nil, false, errNoCluster
	}
	r, err := c.AuthenticateRequest(req)
	return r, r != nil, err
}

// AuthenticateRequest says who sends a request: by client certificate (in req.TLS), by bearer token, or nobody in particular
// (system:anonymous). Credentials that are wrong, expired or another cluster's are an error that says why.
func (c *Cluster) AuthenticateRequest(req *http.Request) (*authenticator.Response, error) {
	token, hasToken := bearer(req.Header.Get("Authorization"))
	var r *authenticator.Response
	var err error
	switch {
	case hasToken:
		r, err = c.authenticateToken(req.Context(), token)
	case req.TLS != nil && len(req.TLS.PeerCertificates) > 0:
		r, err = c.authenticateCert(req)
	default:
		r, _, err = anonymous.NewAuthenticator(nil).AuthenticateRequest(req)
	}
	if err != nil {
		return nil, err
	}
	return withAuthenticatedGroup(req, r)
}

func withAuthenticatedGroup(req *http.Request, r *authenticator.Response) (*authenticator.Response, error) {
	adder := group.NewAuthenticatedGroupAdder(authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return r, true, nil }))
	r, _, err := adder.AuthenticateRequest(req)
	return r, err
}

func bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// authenticateCert verifies a client certificate against the cluster's CA at the cluster's time.
func (c *Cluster) authenticateCert(req *http.Request) (*authenticator.Response, error) {
	ca, err := c.clientCA()
	if err != nil {
		return nil, err
	}
	opts := x509.VerifyOptions{Roots: ca.pool, CurrentTime: c.cfg.Clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	r, ok, err := x509request.New(opts, x509request.CommonNameUserConversion).AuthenticateRequest(req)
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		cert := req.TLS.PeerCertificates[0]
		return nil, fmt.Errorf("the client certificate is valid from %s to %s, and in this cluster it is %s",
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339), opts.CurrentTime.UTC().Format(time.RFC3339))
	case errors.As(err, &unknown):
		return nil, fmt.Errorf("the client certificate was not signed by this cluster's certificate authority")
	case err != nil:
		return nil, fmt.Errorf("the client certificate is not accepted: %w", err)
	case !ok:
		return nil, fmt.Errorf("the client certificate names no user")
	}
	return r, nil
}

func (c *Cluster) clientCA() (*CA, error) {
	return lazily(c, &c.ca, func() (*CA, error) {
		if kept := c.keptKey("ca"); kept != nil {
			return ParseCA(kept, kept)
		}
		ca, err := NewCA("drydock-"+c.cfg.ID, c.cfg.Clock.Now())
		if err != nil || c.cfg.Keys == nil {
			return ca, err
		}
		cert, key, err := ca.PEM()
		if err != nil {
			return nil, err
		}
		return ca, c.cfg.Keys.Put("ca", append(cert, key...))
	})
}

// ClientCAs is what a TLS listener may announce as acceptable authorities; verification happens in AuthenticateRequest.
func (c *Cluster) ClientCAs() (*x509.CertPool, error) {
	ca, err := c.clientCA()
	if err != nil {
		return nil, err
	}
	return ca.pool, nil
}

// ClientCA returns the authority that signs the cluster's client certificates.
func (c *Cluster) ClientCA() (*CA, error) { return c.clientCA() }

// IssueClientCert returns a client certificate and its key, as PEM, for a user and its groups.
func (c *Cluster) IssueClientCert(userName string, groups ...string) (cert, key []byte, err error) {
	ca, err := c.clientCA()
	if err != nil {
		return nil, nil, err
	}
	now := c.cfg.Clock.Now()
	return ca.IssueClient(userName, groups, now, now.Add(clientCertAge))
}

// Kubeconfig returns a kubeconfig for a user with a new client certificate. server is the URL of the API server; tlsServerName, if not empty,
// is what the server's certificate is for (it routes to the cluster by SNI).
func (c *Cluster) Kubeconfig(server, tlsServerName, userName string, groups ...string) ([]byte, error) {
	cert, key, err := c.IssueClientCert(userName, groups...)
	if err != nil {
		return nil, err
	}
	name := "drydock"
	if c.cfg.ID != "" {
		name = "drydock-" + c.cfg.ID
	}
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server, TLSServerName: tlsServerName, CertificateAuthorityData: c.cfg.ServerCA}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{userName: {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: userName}},
		CurrentContext: name,
	})
}

// actor names the user of a request, for the commit's cause.
func actor(ctx context.Context) string {
	if u, ok := apirequest.UserFrom(ctx); ok {
		return u.GetName()
	}
	return ""
}

// admin is the identity of the server's own writes.
var admin = &user.DefaultInfo{Name: "system:apiserver", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}

// keptKey is what Keys has of a name, nil without.
func (c *Cluster) keptKey(name string) []byte {
	if c.cfg.Keys == nil {
		return nil
	}
	return c.cfg.Keys.Get(name)
}
