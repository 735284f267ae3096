// Package apiserver serves the Kubernetes API of many clusters with one upstream API server: upstream's registries, strategies, validation,
// admission, printers, OpenAPI and discovery over the storage of package store. The request's context names the cluster; what upstream makes
// once for one cluster (admission, allocators, eviction, token issuers) is made per cluster when it is first needed.
//
// It knows neither wasm nor machines: pods' logs and streams go to a Kubelet that the cluster's configuration looks up. It listens on no
// port: Handler serves requests whose context names a cluster (WithCluster), and the caller decides how it is found (SNI, path, socket).
//
// Lock order: none of the locks here is held while another is taken; store.Cluster's are below all of them.
package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/store"

	_ "github.com/drydock-labs/drydock/orchestrator/apiserver/internal/generated" // before upstream's strategies

	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/version"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	basecompatibility "k8s.io/component-base/compatibility"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
)

// KubernetesVersion is the version of the upstream code that serves here.
const KubernetesVersion = "v1.37.2"

// Config configures a Server. The zero value works.
type Config struct {
	// Version is what `kubectl version` says; default KubernetesVersion + "+drydock".
	Version string
	// Product is the program's own version, used in warnings ("drydock 0.2 does not act on Job yet"); default "dev".
	Product string
	// EventTTL is how long Events live, in lab time; default one hour.
	EventTTL time.Duration
	// RequestTimeout ends requests that are neither watches nor streams; default one minute, of wall time.
	RequestTimeout time.Duration
	// SlowClient is how long a client may take to send a request's body, or not read its answer; default 30 s, of wall time.
	SlowClient time.Duration
	// Verify makes every store check that shared objects are not changed: for tests.
	Verify bool
}

// Server is the one API server of the process.
type Server struct {
	cfg     Config
	kinds   *store.Kinds
	options *restOptions
	generic *genericapiserver.GenericAPIServer
	// storages are upstream's REST storages by group, version and resource: for writes without HTTP.
	storages map[string]map[string]map[string]rest.Storage

	handler      http.Handler // upstream's whole chain
	requestInfo  apirequest.RequestInfoResolver
	longRunning  apirequest.LongRunningRequestCheck
	authorizer   authorizer.Authorizer
	ruleResolver authorizer.RuleResolver
	loopback     *restclient.Config
	loopbackSet  *kubernetes.Clientset
	template     *store.Cluster
	transport    *transport

	openAPI   *openapicommon.OpenAPIV3Config
	endpoints sync.Map // endpointKey to *endpoint
	convert   struct {
		once      sync.Once
		converter managedfields.TypeConverter
		listKeys  map[string]bool
		err       error
	}
}

// effectiveVersion is upstream's, with our answer to /version.
type effectiveVersion struct {
	basecompatibility.EffectiveVersion
	info apimachineryversion.Info
}

func (v effectiveVersion) Info() *apimachineryversion.Info { return &v.info }

func newEffectiveVersion(gitVersion string) (effectiveVersion, error) {
	v, err := version.ParseGeneric(KubernetesVersion)
	if err != nil {
		return effectiveVersion{}, err
	}
	ev := effectiveVersion{EffectiveVersion: basecompatibility.NewEffectiveVersion(v, false, v.OffsetMinor(-3), v.OffsetMinor(-4))}
	ev.info = *ev.EffectiveVersion.Info()
	ev.info.Major, ev.info.Minor = fmt.Sprint(v.Major()), fmt.Sprint(v.Minor())
	ev.info.GitVersion, ev.info.GitTreeState, ev.info.GitCommit = gitVersion, "clean", ""
	return ev, nil
}

// New assembles the server and its template cluster. It takes about half a second.
func New(cfg Config) (*Server, error) {
	if cfg.Version == "" {
		cfg.Version = KubernetesVersion + "+drydock"
	}
	if cfg.Product == "" {
		cfg.Product = "dev"
	}
	if cfg.EventTTL == 0 {
		cfg.EventTTL = time.Hour
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = time.Minute
	}
	if cfg.SlowClient == 0 {
		cfg.SlowClient = 30 * time.Second
	}
	ev, err := newEffectiveVersion(cfg.Version)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, kinds: store.NewKinds(), storages: map[string]map[string]map[string]rest.Storage{}}
	if s.options, err = newRESTOptions(s.kinds, ev); err != nil {
		return nil, err
	}
	s.transport = &transport{server: s}
	s.loopback = &restclient.Config{Host: "https://in-process", Transport: s.transport, QPS: -1}
	s.loopback.ContentType = "application/vnd.kubernetes.protobuf"
	if s.loopbackSet, err = kubernetes.NewForConfig(s.loopback); err != nil {
		return nil, err
	}
	if s.authorizer, s.ruleResolver, err = newAuthorizer(); err != nil {
		return nil, err
	}
	if err := s.install(ev); err != nil {
		return nil, err
	}
	if err := s.buildTemplate(); err != nil {
		return nil, fmt.Errorf("template cluster: %w", err)
	}
	return s, nil
}

func (s *Server) genericConfig(ev basecompatibility.EffectiveVersion) *genericapiserver.Config {
	c := genericapiserver.NewConfig(legacyscheme.Codecs)
	c.EffectiveVersion = ev
	c.FeatureGate = utilfeature.DefaultFeatureGate
	c.ExternalAddress = "kubernetes.default.svc:443"
	c.LoopbackClientConfig = s.loopback
	c.RESTOptionsGetter = s.options
	c.RequestTimeout = s.cfg.RequestTimeout
	c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight = 0, 0 // each cluster has its own limit, before everything else
	c.FlowControl = nil
	c.StorageObjectCountTracker = nil
	c.DisabledPostStartHooks.Insert("max-in-flight-filter") // hooks are not run, and /readyz would wait for them
	c.EnableProfiling, c.EnableMetrics = false, false       // both are the process's, not a cluster's
	c.Authentication.Authenticator = requestAuthenticator{}
	c.Authorization.Authorizer = s.authorizer
	c.RuleResolver = s.ruleResolver
	c.AdmissionControl = clusterAdmission{}
	c.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	c.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(stopOnPanic(api), c)
	}
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(legacyscheme.Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	c.OpenAPIConfig.Info.Title = "Kubernetes"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	c.OpenAPIV3Config.Info.Title = "Kubernetes"
	return c
}

func (s *Server) install(ev basecompatibility.EffectiveVersion) error {
	c := s.genericConfig(ev)
	completed := c.Complete(nil)
	generic, err := completed.New("drydock", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return err
	}
	s.openAPI = c.OpenAPIV3Config
	s.generic, s.requestInfo, s.longRunning = generic, c.RequestInfoResolver, c.LongRunningFunc
	cp := &controlplaneapiserver.Server{
		GenericAPIServer:        generic,
		APIResourceConfigSource: controlplane.DefaultAPIResourceConfigSource(),
		RESTOptionsGetter:       s.options,
	}
	if err := cp.InstallAPIs(s.providers()...); err != nil {
		return err
	}
	generic.Handler.NonGoRestfulMux.HandleFunc("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", noCustomResources)
	generic.PrepareRun()
	s.handler = generic.Handler
	return nil
}

// noCustomResources answers kubectl, which asks for the custom resources before it says that it knows no such kind: there are none.
// Their group is not served, so it is not in discovery either.
func noCustomResources(w http.ResponseWriter, req *http.Request) {
	c, ok := ClusterFrom(req.Context())
	if !ok || req.Method != http.MethodGet {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"CustomResourceDefinitionList","apiVersion":"apiextensions.k8s.io/v1","metadata":{"resourceVersion":"%d"},"items":[]}`, c.store.Rev())
}

type clusterKey struct{}

// WithCluster returns a context whose requests are served from the cluster.
func WithCluster(ctx context.Context, c *Cluster) context.Context {
	return store.WithCluster(context.WithValue(ctx, clusterKey{}, c), c.store)
}

// ClusterFrom returns the context's cluster.
func ClusterFrom(ctx context.Context) (*Cluster, bool) {
	c, ok := ctx.Value(clusterKey{}).(*Cluster)
	return c, ok && c != nil
}
