package docker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
	api "github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/registry"
)

// hubServer is Docker Hub's name in configurations and in the requests of docker login.
const hubServer = "https://index.docker.io/v1/"

// registry is that of the lab with a host name, nil for others.
func (e *Engine) registry(host string) *registry.Registry {
	at := slices.IndexFunc(e.cfg.Registries, func(g *registry.Registry) bool { return g.Host() == host })
	if at < 0 {
		return nil
	}
	return e.cfg.Registries[at]
}

// postAuth is docker login. What is typed is judged and forgotten.
func (e *Engine) postAuth(w http.ResponseWriter, r *http.Request) error {
	var a api.AuthConfig
	if err := decode(w, r, &a); err != nil {
		return err
	}
	host := serverHost(a.ServerAddress)
	g := e.registry(host)
	switch {
	case g == nil && e.registry("docker.io") != nil:
		return failure(http.StatusInternalServerError, "Get %q: dial tcp: lookup %s: no such host: %s", "https://"+host+"/v2/", host, registry.LoginRefused)
	case g == nil:
		return failure(http.StatusUnauthorized, "%s", registry.LoginRefused)
	}
	if err := g.Authorize(a.Username, a.Password); err != nil {
		return failure(http.StatusUnauthorized, "Get %q: unauthorized: %s", serverURL(host)+"/v2/", err)
	}
	return answer(w, http.StatusOK, api.AuthResponse{Status: "Login Succeeded"})
}

// serverHost is the host that docker login names, "docker.io" for Docker Hub's names.
func serverHost(server string) string {
	if server == "" || server == hubServer {
		return "docker.io"
	}
	_, rest, ok := strings.Cut(server, "://")
	if !ok {
		rest = server
	}
	host, _, _ := strings.Cut(rest, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		return "docker.io"
	}
	return host
}

// serverURL is the address behind a host name of images.
func serverURL(host string) string {
	if host == "docker.io" {
		return "https://registry-1.docker.io"
	}
	return "https://" + host
}

// authorize judges the credentials that came with a pull or push where the registry wants some. The texts are the daemon's.
func (e *Engine) authorize(r *http.Request, ref image.Ref) error {
	a, err := credentials(r.Header.Get("X-Registry-Auth"))
	if err != nil {
		return invalid("invalid X-Registry-Auth header: %s", err)
	}
	return e.admitted(ref, a)
}

// admitted is authorize for credentials that came otherwise.
func (e *Engine) admitted(ref image.Ref, a api.AuthConfig) error {
	g := e.registry(ref.Domain)
	if g == nil || !g.Private() {
		return nil
	}
	url := fmt.Sprintf("%s/v2/%s/manifests/%s", serverURL(ref.Domain), ref.Path, ref.Tag+ref.Digest)
	if a.Username == "" && a.Password == "" {
		return failure(http.StatusInternalServerError, "Head %q: no basic auth credentials (docker login %s; %s)", url, ref.Domain, registry.LoginRefused)
	}
	if err := g.Authorize(a.Username, a.Password); err != nil {
		return failure(http.StatusInternalServerError, "Head %q: unauthorized: %s", url, err)
	}
	return nil
}

// credentials reads X-Registry-Auth (Engine API, "Authentication"). Missing or empty is nobody.
func credentials(header string) (a api.AuthConfig, err error) {
	if header == "" {
		return a, nil
	}
	b, err := decodeHeader(header)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, errors.New("it is not JSON")
	}
	return a, nil
}

// decodeHeader reads base64 in the alphabet for URLs, padded or not.
func decodeHeader(header string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(header, "="))
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return b, nil
}

// pushImage is docker push: one tag, or all that a repository has here.
func (e *Engine) pushImage(w http.ResponseWriter, r *http.Request, name string) error {
	ref, err := image.ParseRef(name)
	if err != nil || ref.Digest != "" {
		return invalid("invalid reference format")
	}
	enc := &progressStream{w: w}
	enc.begin()
	enc.send(jsonstream.Message{Status: "The push refers to repository [" + ref.Repository() + "]"})
	tags := e.localTags(ref.Repository())
	if len(tags) == 0 {
		return enc.failed(notFound("An image does not exist locally with the tag: %s", familiarName(ref)))
	}
	if t := r.FormValue("tag"); t != "" {
		if !slices.Contains(tags, t) {
			return enc.failed(notFound("tag does not exist: %s:%s", familiarName(ref), t))
		}
		tags = []string{t}
	}
	for _, t := range tags {
		ref.Tag = t
		if err := e.pushTag(r, enc, ref); err != nil {
			return enc.failed(err)
		}
	}
	return nil
}

// localTags are the tags that the host has of a repository.
func (e *Engine) localTags(repository string) (tags []string) {
	for _, i := range e.cfg.Images.List() {
		for _, t := range i.Tags {
			if rest, ok := strings.CutPrefix(t, repository+":"); ok {
				tags = append(tags, rest)
			}
		}
	}
	slices.Sort(tags)
	return tags
}

func (e *Engine) pushTag(r *http.Request, enc *progressStream, ref image.Ref) error {
	g := e.registry(ref.Domain)
	if g == nil {
		return failure(500, "Get %q: dial tcp: lookup %s: no such host: nothing leaves a lab; its registries are %s", "https://"+ref.Domain+"/v2/", ref.Domain, e.registryNames())
	}
	if err := e.authorize(r, ref); err != nil {
		return err
	}
	if err := g.Writable(ref.Path); err != nil {
		return failure(403, "%s", err)
	}
	d, err := e.cfg.Images.Push(r.Context(), ref.String(), func(p image.Progress) { enc.send(jsonstream.Message{ID: short(p.Digest), Status: string(p.State)}) })
	if err != nil {
		return failure(500, "%s", err)
	}
	enc.send(jsonstream.Message{Status: fmt.Sprintf("%s: digest: %s size: %d", ref.Tag, d.Digest, d.Size)})
	aux, err := json.Marshal(pushed{ref.Tag, d.Digest, d.Size})
	if err != nil {
		return err
	}
	enc.send(jsonstream.Message{Aux: (*json.RawMessage)(&aux)})
	e.event(events.ImageEventType, events.ActionPush, ref.Familiar(), map[string]string{"name": ref.Familiar()})
	return nil
}

// pushed is the last message of a pushed tag, which the client reads.
type pushed struct {
	Tag, Digest string
	Size        int64
}

func (e *Engine) registryNames() string {
	var l []string
	for _, g := range e.cfg.Registries {
		l = append(l, g.Host())
	}
	return strings.Join(l, " and ")
}

// maxSearch is how many repositories a search tells at most, as Docker Hub's.
const maxSearch = 100

// searchImages is docker search over the names of the lab's docker.io.
func (e *Engine) searchImages(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "is-official", "is-automated", "stars")
	if err != nil {
		return err
	}
	limit := 25
	if n, err := number(r, "limit"); err != nil {
		return err
	} else if n != nil && *n != 0 {
		limit = *n
	}
	if limit < 1 || limit > maxSearch {
		return invalid("limit %d is outside the range of [1, %d]", limit, maxSearch)
	}
	term := strings.TrimPrefix(r.FormValue("term"), "docker.io/")
	if term == "" {
		return invalid("a term to search for is missing")
	}
	out := []api.SearchResult{}
	scope := e.cfg.Images.Scope()
	for _, name := range scope.Repositories("docker.io") {
		short, official := strings.CutPrefix(name, "library/")
		if len(out) == limit || !strings.Contains(short, strings.ToLower(term)) && !strings.Contains(scope.Description("docker.io/"+name), strings.ToLower(term)) ||
			!f.any("is-official", func(v string) bool { return v == strconv.FormatBool(official) }) || !f.any("is-automated", func(v string) bool { return v == "false" }) ||
			!f.any("stars", func(v string) bool { return v == "0" }) { // nobody counts stars here
			continue
		}
		out = append(out, api.SearchResult{Name: short, IsOfficial: official, Description: scope.Description("docker.io/" + name)})
	}
	return answer(w, http.StatusOK, out)
}

// inspectDistribution asks a registry about a name without pulling it ("Get image information from the registry").
func (e *Engine) inspectDistribution(w http.ResponseWriter, r *http.Request) error {
	name, ok := strings.CutSuffix(r.PathValue("rest"), "/json")
	if !ok {
		return notFound("page not found")
	}
	ref, err := image.ParseRef(name)
	if err != nil {
		return invalid("invalid reference format")
	}
	if err := e.authorize(r, ref); err != nil {
		return err
	}
	m, platforms, err := e.cfg.Images.Scope().Inspect(ref)
	if err != nil {
		return pullFailure(err)
	}
	out := api.DistributionInspect{Descriptor: ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(m.Digest), Size: m.Size}}
	for _, p := range platforms {
		out.Platforms = append(out.Platforms, ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	}
	return answer(w, http.StatusOK, out)
}
