// Package registry serves the OCI distribution API (distribution-spec v1.1) over an image.Store: one handler is one registry host of
// one lab, "docker.io" or a private one. What it has is the catalogue's names, which nobody can change, and the lab's own; content that another
// lab pushed does not exist here, whichever way one asks.
//
// It knows nothing of networks, TLS or containers. Nothing is locked while a request's body comes in.
package registry

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// Config configures a registry.
type Config struct {
	Store *image.Store
	Scope string // the lab's id. Writes go there; "" = the catalogue itself, for tests
	Host  string // the first part of its images' names: "docker.io", "registry.k8s.io", "registry.lab:5000"

	// Login judges credentials; nil = everybody is let in. The registry neither keeps nor prints what it is given.
	Login func(user, password string) bool
	// Open lets those in who show no credentials; whoever shows some must show right ones.
	Open bool
	// Protected names repositories that nobody can write to; nil = none.
	Protected func(name string) bool
	// Realm names the lab where a client asks for a password; "" = "Drydock lab registry".
	Realm string

	Uploads *Uploads // shared with the lab's other registries; nil = its own
	MaxBlob int64    // bytes of one blob; 0 = 1 GiB
}

// Registry is an http.Handler.
type Registry struct {
	cfg   Config       // immutable
	scope *image.Scope // immutable
}

// New is a registry without state of its own beside open uploads: any number may serve the same names.
func New(cfg Config) *Registry {
	if cfg.Uploads == nil {
		cfg.Uploads = NewUploads(UploadsConfig{})
	}
	if cfg.MaxBlob == 0 {
		cfg.MaxBlob = 1 << 30
	}
	if cfg.Realm == "" {
		cfg.Realm = "Drydock lab registry"
	}
	return &Registry{cfg: cfg, scope: cfg.Store.Scope(cfg.Scope)}
}

// LoginRefused is what a registry says to credentials that the lab didn't issue.
const LoginRefused = "this registry takes only the credentials that this lab issued; never type a real account's password here"

// ServeHTTP answers by distribution-spec, "Endpoints".
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff") // what people push is never a page
	if !g.admit(w, r) {
		return
	}
	p := parsePath(r.URL.Path)
	if e := p.check(g.cfg.Host); e != nil {
		writeErrors(w, e)
		return
	}
	if err := g.serve(w, r, p); err != nil {
		writeErrors(w, errorsOf(err)...)
	}
}

// ErrUnauthorized is what Authorize says.
var ErrUnauthorized = errors.New("incorrect username or password: " + LoginRefused)

// Authorize judges credentials as every request is judged, for those who reach the store without HTTP. ErrUnauthorized.
func (g *Registry) Authorize(user, password string) error {
	if g.cfg.Login != nil && !g.cfg.Login(user, password) {
		return ErrUnauthorized
	}
	return nil
}

// Host is the first part of the names of the registry's images.
func (g *Registry) Host() string { return g.cfg.Host }

// Private tells whether the registry wants credentials for everything.
func (g *Registry) Private() bool { return g.cfg.Login != nil && !g.cfg.Open }

// ErrProtected is what Writable says, in the words of Docker Hub.
var ErrProtected = errors.New("denied: requested access to the resource is denied")

// Writable tells whether a repository may be pushed to and deleted from. ErrProtected.
func (g *Registry) Writable(name string) error {
	if g.cfg.Protected != nil && g.cfg.Protected(name) {
		return ErrProtected
	}
	return nil
}

// Hosts is several registries at one address, chosen by the request's host, with or without its port; the first for any other.
type Hosts []*Registry

// ServeHTTP is that of the chosen one.
func (h Hosts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bare := r.Host
	if host, _, err := net.SplitHostPort(bare); err == nil {
		bare = host
	}
	if strings.HasSuffix(bare, ".docker.io") { // registry-1, index: Docker's names for the same
		bare = "docker.io"
	}
	for _, g := range h {
		if g.cfg.Host == r.Host || g.cfg.Host == bare {
			g.ServeHTTP(w, r)
			return
		}
	}
	if len(h) > 0 {
		h[0].ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// admit asks for credentials where the registry wants them (distribution-spec, "Authentication"; RFC 7617).
func (g *Registry) admit(w http.ResponseWriter, r *http.Request) bool {
	if g.cfg.Login == nil || g.cfg.Open && r.Header.Get("Authorization") == "" {
		return true
	}
	e := errorf(codeUnauthorized, "authentication required")
	if r.Header.Get("Authorization") != "" {
		user, password, _ := r.BasicAuth()
		err := g.Authorize(user, password)
		if err == nil {
			return true
		}
		e = errorf(codeUnauthorized, "%v", err)
	}
	e.Detail = LoginRefused
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%s, charset=\"UTF-8\"", strconv.Quote(g.cfg.Realm)))
	writeErrors(w, e)
	return false
}

// serve runs the endpoint that a path and method name.
func (g *Registry) serve(w http.ResponseWriter, r *http.Request, p route) error {
	type serve = func(http.ResponseWriter, *http.Request, route) error
	methods := map[kind]map[string]serve{
		base:      {"GET": g.base},
		catalog:   {"GET": g.catalog},
		tags:      {"GET": g.tags},
		blob:      {"GET": g.blob, "DELETE": g.deleteBlob},
		uploads:   {"POST": g.startUpload},
		upload:    {"GET": g.uploadStatus, "PATCH": g.patchUpload, "PUT": g.finishUpload, "DELETE": g.cancelUpload},
		manifest:  {"GET": g.manifest, "PUT": g.putManifest, "DELETE": g.deleteManifest},
		referrers: {"GET": g.referrers},
	}[p.kind]
	if methods == nil {
		return errorf(codeNoRoute, "no such endpoint of the distribution API: %s", short(r.URL.Path))
	}
	method := r.Method
	if method == "HEAD" && p.kind != upload {
		method = "GET"
	}
	do := methods[method]
	if do == nil {
		var allow []string
		for m := range methods {
			allow = append(allow, m)
		}
		slices.Sort(allow)
		w.Header().Set("Allow", strings.Join(allow, ", "))
		return errorf(codeUnsupported, "%s is not supported here", short(r.Method))
	}
	if method != "GET" {
		if err := g.Writable(p.name); err != nil {
			return errorf(codeDenied, "%v", err)
		}
	}
	return do(w, r, p)
}

func (g *Registry) base(w http.ResponseWriter, _ *http.Request, _ route) error {
	return writeJSON(w, "application/json", struct{}{})
}

// pageSize is how many names are listed at once when the client names no number.
const pageSize = 1000

// page is the part of an ordered list after last, at most n entries, with a Link to the rest (distribution-spec, "Listing Tags").
func page(w http.ResponseWriter, r *http.Request, all []string) ([]string, error) {
	q := r.URL.Query()
	n := pageSize
	if q.Has("n") {
		var err error
		if n, err = strconv.Atoi(q.Get("n")); err != nil || n < 0 {
			return nil, errorf(codePagination, "invalid number of results requested: %q", short(q.Get("n")))
		}
		n = min(n, pageSize)
	}
	if last := q.Get("last"); last != "" {
		at, found := slices.BinarySearch(all, last)
		if found {
			at++
		}
		all = all[at:]
	}
	if n < len(all) {
		all = all[:n]
		if n > 0 {
			next(w, r, url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}})
		}
	}
	return append([]string{}, all...), nil
}

// next links to the page that follows (RFC 8288).
func next(w http.ResponseWriter, r *http.Request, q url.Values) {
	u := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
	w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, u.String()))
}

func (g *Registry) catalog(w http.ResponseWriter, r *http.Request, _ route) error {
	names, err := page(w, r, g.scope.Repositories(g.cfg.Host))
	if err != nil {
		return err
	}
	return writeJSON(w, "application/json", map[string]any{"repositories": names})
}

func (g *Registry) tags(w http.ResponseWriter, r *http.Request, p route) error {
	all, err := g.scope.Tags(p.refOf(g.cfg.Host))
	if err != nil {
		return err
	}
	names, err := page(w, r, all)
	if err != nil {
		return err
	}
	return writeJSON(w, "application/json", map[string]any{"name": p.name, "tags": names})
}

// repository is a route's name in the store.
func (g *Registry) repository(p route) string { return p.refOf(g.cfg.Host).Repository() }
