package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/store"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	apiserverserviceaccount "k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/authentication"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"gopkg.in/go-jose/go-jose.v2/jwt"
)

// tokens issues and verifies the cluster's service account tokens with a key of its own.
type tokens struct {
	generator     serviceaccount.TokenGenerator
	authenticator authenticator.Token
}

func (c *Cluster) tokenIssuer() (*tokens, error) {
	return lazily(c, &c.tokens, func() (*tokens, error) {
		key, err := c.tokenKey()
		if err != nil {
			return nil, err
		}
		g, err := serviceaccount.JWTTokenGenerator(Audience, key)
		if err != nil {
			return nil, err
		}
		keys, err := serviceaccount.StaticPublicKeysGetter([]any{&key.PublicKey})
		if err != nil {
			return nil, err
		}
		return &tokens{generator: g, authenticator: serviceaccount.JWTTokenAuthenticator([]string{Audience}, keys, authenticator.Audiences{Audience},
			onClock(serviceaccount.NewValidator(tokenGetter{c}), c.cfg.Clock))}, nil
	})
}

// tokenKey is the key that was kept, or a new one.
func (c *Cluster) tokenKey() (*ecdsa.PrivateKey, error) {
	if block, _ := pem.Decode(c.keptKey("tokens")); block != nil {
		return x509.ParseECPrivateKey(block.Bytes)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil || c.cfg.Keys == nil {
		return key, err
	}
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return key, c.cfg.Keys.Put("tokens", text)
}

// contextIssuer is the issuer of the context's cluster.
type contextIssuer struct{}

// GenerateToken implements serviceaccount.TokenGenerator. Upstream computed the claims from the wall clock; they are moved to the cluster's.
func (contextIssuer) GenerateToken(ctx context.Context, claims *jwt.Claims, private any) (string, error) {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return "", errNoCluster
	}
	t, err := c.tokenIssuer()
	if err != nil {
		return "", err
	}
	shift := c.cfg.Clock.Now().Sub(time.Now())
	moved := *claims
	moved.IssuedAt, moved.NotBefore, moved.Expiry = shifted(claims.IssuedAt, shift), shifted(claims.NotBefore, shift), shifted(claims.Expiry, shift)
	return t.generator.GenerateToken(ctx, &moved, private)
}

// tokenREST is serviceaccounts/token. Upstream answers with the wall clock's time of expiry; it is moved to the cluster's, as the token's is.
type tokenREST struct{ *serviceaccountstore.TokenREST }

// Create implements rest.NamedCreater.
func (r *tokenREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, opts *metav1.CreateOptions) (runtime.Object, error) {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return nil, errNoCluster
	}
	out, err := r.TokenREST.Create(ctx, name, obj, validate, opts)
	if tr, ok := out.(*authentication.TokenRequest); ok && err == nil && !tr.Status.ExpirationTimestamp.IsZero() {
		tr.Status.ExpirationTimestamp.Time = tr.Status.ExpirationTimestamp.Add(c.cfg.Clock.Now().Sub(time.Now()))
	}
	return out, err
}

func shifted(d *jwt.NumericDate, by time.Duration) *jwt.NumericDate {
	if d == nil {
		return nil
	}
	return jwt.NewNumericDate(d.Time().Add(by))
}

func (c *Cluster) authenticateToken(ctx context.Context, token string) (*authenticator.Response, error) {
	t, err := c.tokenIssuer()
	if err != nil {
		return nil, err
	}
	r, ok, err := t.authenticator.AuthenticateToken(WithCluster(ctx, c), token)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the bearer token is not accepted: %w", err)
	case !ok:
		return nil, errors.New("the bearer token was not issued by this cluster")
	}
	return r, nil
}

// tokenGetter reads what tokens are bound to.
type tokenGetter struct{ cluster *Cluster }

func getBound[T any](c *Cluster, gr schema.GroupResource, ns, name string) (T, error) {
	obj, ok := c.store.Get(gr, ns, name)
	if !ok {
		var none T
		return none, apierrors.NewNotFound(gr, name)
	}
	return obj.(T), nil
}

// GetServiceAccount implements serviceaccount.ServiceAccountTokenGetter.
func (g tokenGetter) GetServiceAccount(_ context.Context, ns, name string) (*v1.ServiceAccount, error) {
	return getBound[*v1.ServiceAccount](g.cluster, v1.Resource("serviceaccounts"), ns, name)
}

// GetPod implements serviceaccount.ServiceAccountTokenGetter.
func (g tokenGetter) GetPod(_ context.Context, ns, name string) (*v1.Pod, error) {
	return getBound[*v1.Pod](g.cluster, v1.Resource("pods"), ns, name)
}

// GetSecret implements serviceaccount.ServiceAccountTokenGetter.
func (g tokenGetter) GetSecret(_ context.Context, ns, name string) (*v1.Secret, error) {
	return getBound[*v1.Secret](g.cluster, v1.Resource("secrets"), ns, name)
}

// GetNode implements serviceaccount.ServiceAccountTokenGetter.
func (g tokenGetter) GetNode(_ context.Context, name string) (*v1.Node, error) {
	return getBound[*v1.Node](g.cluster, v1.Resource("nodes"), "", name)
}

// GetValidatingWebhookConfiguration implements serviceaccount.ServiceAccountTokenGetter.
func (g tokenGetter) GetValidatingWebhookConfiguration(_ context.Context, name string) (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(admissionregistrationv1.Resource("validatingwebhookconfigurations"), name)
}

// GetMutatingWebhookConfiguration implements serviceaccount.ServiceAccountTokenGetter.
func (g tokenGetter) GetMutatingWebhookConfiguration(_ context.Context, name string) (*admissionregistrationv1.MutatingWebhookConfiguration, error) {
	return nil, apierrors.NewNotFound(admissionregistrationv1.Resource("mutatingwebhookconfigurations"), name)
}

// clockValidator lets upstream's validator, which reads the wall clock, judge a token's times on the cluster's clock.
type clockValidator[P any] struct {
	serviceaccount.Validator[P]
	clock store.Clock
}

func onClock[P any](v serviceaccount.Validator[P], clock store.Clock) serviceaccount.Validator[P] {
	return clockValidator[P]{v, clock}
}

// Validate implements serviceaccount.Validator.
func (v clockValidator[P]) Validate(ctx context.Context, token string, public *jwt.Claims, private *P) (*apiserverserviceaccount.ServiceAccountInfo, error) {
	shift := time.Until(v.clock.Now()) * -1
	moved := *public
	moved.IssuedAt, moved.NotBefore, moved.Expiry = shifted(public.IssuedAt, shift), shifted(public.NotBefore, shift), shifted(public.Expiry, shift)
	return v.Validator.Validate(ctx, token, &moved, private)
}
