package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/common"

	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// maxJSON bounds a request's JSON body; there may be as many at a time as connections.
const maxJSON = 256 << 10

// handler answers a request to an engine; an error becomes Docker's JSON unless something was written.
type handler func(e *Engine, w http.ResponseWriter, r *http.Request) error

// engineKey finds the engine in a request's context.
type engineKey struct{}

// routes is the API, without its version prefix: one table for all engines, which are many and mostly idle.
var routes = sync.OnceValue(func() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		"GET /_ping": (*Engine).ping, "HEAD /_ping": (*Engine).ping, "GET /version": (*Engine).getVersion, "GET /info": (*Engine).getInfo, "GET /events": (*Engine).getEvents, "POST /auth": (*Engine).postAuth,
		"GET /system/df": (*Engine).getUsage,

		"GET /containers/json": (*Engine).listContainers, "POST /containers/create": (*Engine).postCreate, "POST /containers/prune": (*Engine).pruneContainers,
		"GET /containers/{id}/json": (*Engine).inspectContainer, "POST /containers/{id}/start": (*Engine).postStart, "POST /containers/{id}/stop": (*Engine).postStop,
		"POST /containers/{id}/restart": (*Engine).postRestart, "POST /containers/{id}/kill": (*Engine).postKill, "POST /containers/{id}/rename": (*Engine).postRename,
		"POST /containers/{id}/wait": (*Engine).postWait, "DELETE /containers/{id}": (*Engine).deleteContainer, "GET /containers/{id}/logs": (*Engine).getLogs,
		"POST /containers/{id}/attach": (*Engine).postAttach, "POST /containers/{id}/resize": (*Engine).postResize, "GET /containers/{id}/stats": (*Engine).getStats,
		"GET /containers/{id}/top": (*Engine).getTop, "GET /containers/{id}/changes": (*Engine).getChanges, "POST /containers/{id}/update": (*Engine).postUpdate,
		"GET /containers/{id}/archive": (*Engine).getArchive, "HEAD /containers/{id}/archive": (*Engine).headArchive, "PUT /containers/{id}/archive": (*Engine).putArchive,
		"GET /containers/{id}/export": (*Engine).getExport, "POST /containers/{id}/exec": (*Engine).postExec,

		"POST /exec/{id}/start": (*Engine).startExec, "POST /exec/{id}/resize": (*Engine).resizeExec, "GET /exec/{id}/json": (*Engine).inspectExec,

		"GET /images/json": (*Engine).listImages, "POST /images/create": (*Engine).postPull, "DELETE /images/{name...}": (*Engine).deleteImage, "GET /images/{rest...}": (*Engine).getImage,
		"POST /images/{rest...}": (*Engine).postImage,

		"POST /build": (*Engine).postBuild, "POST /commit": (*Engine).postCommit, "POST /containers/{id}/pause": (*Engine).postPause, "POST /containers/{id}/unpause": (*Engine).postUnpause, "POST /build/prune": (*Engine).pruneBuilds,

		"GET /distribution/{rest...}": (*Engine).inspectDistribution,

		"GET /networks": (*Engine).listNetworks, "GET /networks/{id}": (*Engine).inspectNetwork, "POST /networks/create": (*Engine).postNetwork, "DELETE /networks/{id}": (*Engine).deleteNetwork,
		"POST /networks/{id}/connect": (*Engine).postConnect, "POST /networks/{id}/disconnect": (*Engine).postDisconnect, "POST /networks/prune": (*Engine).pruneNetworks,

		"GET /volumes": (*Engine).listVolumes, "POST /volumes/create": (*Engine).postVolume, "GET /volumes/{name}": (*Engine).inspectVolume, "DELETE /volumes/{name}": (*Engine).deleteVolume,
		"POST /volumes/prune": (*Engine).pruneVolumesHTTP,
	} {
		mux.Handle(pattern, h)
	}
	for pattern, what := range map[string]string{

		"POST /session": "BuildKit, whose builds would need a session: build with DOCKER_BUILDKIT=0, as Docker's classic builder does,", "GET /swarm": "swarm mode", "POST /swarm/init": "swarm mode", "GET /nodes": "swarm mode", "GET /services": "swarm mode",
		"GET /plugins": "plugins", "GET /containers/{id}/attach/ws": "attaching over WebSocket",
	} {
		mux.Handle(pattern, handler(func(*Engine, http.ResponseWriter, *http.Request) error { return unsupported(what) }))
	}
	mux.Handle("/", handler(func(*Engine, http.ResponseWriter, *http.Request) error { return notFound("page not found") }))
	return mux
})

// ServeHTTP serves the API with or without a version in its path ("API versioning" of the Engine API).
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", "Drydock/"+e.cfg.Version+" (linux)")
	h.Set("Api-Version", APIVersion)
	h.Set("Ostype", "linux")
	h.Set("Docker-Experimental", "false")
	if v, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/"); ok && strings.HasPrefix(r.URL.Path, "/v1.") {
		if err := checkVersion(v); err != nil {
			fail(w, err)
			return
		}
		u := *r.URL
		u.Path, u.RawPath = "/"+rest, ""
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	routes().ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), engineKey{}, e)))
}

// checkVersion refuses clients that are too new or too old, in the daemon's words.
func checkVersion(v string) error {
	minor := func(s string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(s, "1."))
		if err != nil {
			return -1
		}
		return n
	}
	switch n := minor(v); {
	case n < 0:
		return invalid("invalid API version: %q", v)
	case n < minor(MinAPIVersion):
		return invalid("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, MinAPIVersion)
	case n > minor(APIVersion):
		return invalid("client version %s is too new. Maximum supported API version is %s", v, APIVersion)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tracked := &tracker{ResponseWriter: w}
	if err := h(r.Context().Value(engineKey{}).(*Engine), tracked, r); err != nil && !tracked.written {
		fail(w, err)
	}
}

// tracker notes whether an answer has begun.
type tracker struct {
	http.ResponseWriter
	written bool
}

// Unwrap serves http.ResponseController.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (t *tracker) WriteHeader(status int) { t.written = true; t.ResponseWriter.WriteHeader(status) }

func (t *tracker) Write(b []byte) (int, error) { t.written = true; return t.ResponseWriter.Write(b) }

// fail answers with Docker's error body.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var known *apiError
	var start *startError
	switch {
	case errors.As(err, &known):
		status = known.status
	case errors.As(err, &start):
		status = http.StatusBadRequest
	case errors.Is(err, runtime.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, runtime.ErrState):
		status = http.StatusConflict
	}
	answer(w, status, common.ErrorResponse{Message: err.Error()})
}

// answer writes a JSON body.
func answer(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(v)
}

// decode reads a JSON body; an empty one leaves v as it is. Errors are Docker's.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return failure(http.StatusRequestEntityTooLarge, "the request's body is larger than %d bytes", maxJSON)
	case err != nil:
		return invalid("read the request's body: %s", err)
	case len(body) == 0:
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return invalid("invalid JSON: %s", err)
	}
	return nil
}

// flag reads a boolean of the query as the daemon does.
func flag(r *http.Request, name string) bool {
	switch strings.ToLower(strings.TrimSpace(r.FormValue(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// number reads a number of the query; nil when it is not there.
func number(r *http.Request, name string) (*int, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, invalid("invalid %s: %q is no number", name, s)
	}
	return &n, nil
}

// filters is the filters parameter: names with accepted values.
type filters map[string]map[string]bool

// readFilters reads the parameter and refuses names that are not among known.
func readFilters(r *http.Request, known ...string) (filters, error) {
	text := r.FormValue("filters")
	f := filters{}
	if text == "" {
		return f, nil
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		old := map[string][]string{} // the form of clients before API 1.22
		if json.Unmarshal([]byte(text), &old) != nil {
			return nil, invalid("invalid filter: %s", err)
		}
		for k, vs := range old {
			f[k] = map[string]bool{}
			for _, v := range vs {
				f[k][v] = true
			}
		}
	}
	for name := range f {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			return nil, invalid("invalid filter '%s'", name)
		}
	}
	return f, nil
}

// any reports whether no value is asked for, or one that ok takes.
func (f filters) any(name string, ok func(string) bool) bool {
	if len(f[name]) == 0 {
		return true
	}
	for v := range f[name] {
		if ok(v) {
			return true
		}
	}
	return false
}

// labels reports whether all labels that are asked for are there.
func (f filters) labels(have map[string]string) bool {
	for want := range f["label"] {
		k, v, exact := strings.Cut(want, "=")
		if got, ok := have[k]; !ok || exact && got != v {
			return false
		}
	}
	return true
}

// flush sends what was written, for streams.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// short is an id as people read it.
func short(id string) string { return fmt.Sprintf("%.12s", strings.TrimPrefix(id, "sha256:")) }
