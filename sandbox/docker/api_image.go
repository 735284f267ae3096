package docker

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/events"
	api "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// imageNotFound is the daemon's answer to a name that the host does not have.
func imageNotFound(name string) error { return notFound("No such image: %s", withTag(name)) }

func (e *Engine) listImages(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "reference", "dangling", "label")
	if err != nil {
		return err
	}
	out := []api.Summary{}
	all := flag(r, "all")
	for _, i := range e.cfg.Images.List() {
		if !all && len(i.Tags) == 0 && e.builder.hasChildren(i.ID) { // a step of a build
			continue
		}
		if !f.labels(i.Config.Labels) || !f.any("dangling", func(v string) bool { return (v == "true" || v == "1") == (len(i.Tags) == 0) }) {
			continue
		}
		s := api.Summary{ID: i.ID, Created: i.Created.Unix(), Labels: i.Config.Labels, RepoDigests: familiar(i.Digests), RepoTags: familiar(i.Tags), SharedSize: -1, Size: i.Size, Containers: -1}
		if len(f["reference"]) > 0 {
			s.RepoTags = slices.DeleteFunc(s.RepoTags, func(t string) bool { return !f.any("reference", func(p string) bool { return matchReference(p, t) }) })
			if len(s.RepoTags) == 0 {
				continue
			}
			s.RepoDigests = slices.DeleteFunc(s.RepoDigests, func(d string) bool {
				repo, _, _ := strings.Cut(d, "@")
				return !slices.ContainsFunc(s.RepoTags, func(t string) bool { return strings.HasPrefix(t, repo+":") })
			})
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b api.Summary) int { return int(b.Created - a.Created) })
	return answer(w, http.StatusOK, out)
}

// familiar are names as Docker shows them.
func familiar(names []string) []string {
	l := []string{}
	for _, n := range names {
		if r, err := image.ParseRef(n); err == nil {
			n = r.Familiar()
		}
		l = append(l, n)
	}
	return l
}

// matchReference compares a name with a pattern of --filter reference: with or without a tag, * for what has no slash.
func matchReference(pattern, name string) bool {
	repo, _, _ := strings.Cut(name, ":")
	match := func(p, s string) bool {
		ps, ss := strings.Split(p, "/"), strings.Split(s, "/")
		if len(ps) != len(ss) {
			return false
		}
		for i := range ps {
			if !glob(ps[i], ss[i]) {
				return false
			}
		}
		return true
	}
	return match(pattern, name) || match(pattern, repo)
}

// glob matches * against any characters.
func glob(p, s string) bool {
	head, rest, star := strings.Cut(p, "*")
	if !star {
		return p == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	for s = s[len(head):]; ; s = s[1:] {
		if glob(rest, s) {
			return true
		}
		if s == "" {
			return false
		}
	}
}

// postPull is docker pull: a stream of JSON messages. What goes wrong after the first is one of them.
func (e *Engine) postPull(w http.ResponseWriter, r *http.Request) error {
	name, tag := r.FormValue("fromImage"), r.FormValue("tag")
	if name == "" {
		return unsupported("docker import")
	}
	if p := r.FormValue("platform"); p != "" && p != image.Wasm.String() && p != "linux/amd64" {
		return notFound("no matching manifest for %s in the manifest list entries", p)
	}
	switch {
	case strings.HasPrefix(tag, "sha256:"):
		name += "@" + tag
	case tag != "":
		name += ":" + tag
	}
	ref, err := image.ParseRef(name)
	if err != nil {
		return invalid("invalid reference format")
	}
	if err := e.authorize(r, ref); err != nil {
		return err
	}
	before, _ := e.cfg.Images.Find(name)
	enc := &progressStream{w: w}
	step, done := e.working("pull", ref.Familiar())
	defer done()
	layers := 0
	i, err := e.cfg.Images.Pull(r.Context(), name, func(p image.Progress) {
		if p.State != image.LayerPulling {
			layers++
			step(layers, 0)
		}
		enc.start(ref)
		m := jsonstream.Message{ID: short(p.Digest), Status: string(p.State)}
		enc.send(m)
	})
	if err != nil {
		return enc.failed(pullFailure(err))
	}
	enc.start(ref)
	enc.send(jsonstream.Message{Status: "Digest: " + i.Digest})
	state := "Downloaded newer image for "
	if before == i {
		state = "Image is up to date for "
	}
	enc.send(jsonstream.Message{Status: "Status: " + state + ref.Familiar()})
	e.event(events.ImageEventType, events.ActionPull, ref.Familiar(), map[string]string{"name": ref.Familiar()})
	return nil
}

// pullFailure is the registry's explanation under Docker's usual words.
func pullFailure(err error) error {
	var missing *image.NotFoundError
	if errors.As(err, &missing) {
		if missing.Known {
			return notFound("manifest for %s not found: manifest unknown: %s", missing.Ref.Familiar(), missing)
		}
		return notFound("pull access denied for %s, repository does not exist or may require 'docker login': denied: %s", familiarName(missing.Ref), missing)
	}
	return failure(500, "%s", err)
}

// familiarName is a repository as Docker shows it.
func familiarName(r image.Ref) string {
	r.Tag, r.Digest = "", ""
	return r.Familiar()
}

// progressStream is an answer of JSON messages, which begins with the first.
type progressStream struct {
	w     http.ResponseWriter
	begun bool
}

// start announces the pull of a name.
func (p *progressStream) start(ref image.Ref) {
	if p.begun {
		return
	}
	p.begin()
	p.send(jsonstream.Message{ID: ref.Tag, Status: "Pulling from " + ref.Path})
}

func (p *progressStream) begin() {
	p.w.Header().Set("Content-Type", "application/json")
	p.w.WriteHeader(http.StatusOK)
	p.begun = true
}

func (p *progressStream) send(m jsonstream.Message) {
	_ = json.NewEncoder(p.w).Encode(m) // a client that has gone ends the request's context
	flush(p.w)
}

// failed ends the stream with an error, or is the error when there was none yet.
func (p *progressStream) failed(err error) error {
	if !p.begun {
		return err
	}
	p.send(jsonstream.Message{Error: &jsonstream.Error{Message: err.Error()}})
	return nil
}

// getImage serves GET /images/NAME/{json,history,get} and /images/search, where the name may have slashes.
func (e *Engine) getImage(w http.ResponseWriter, r *http.Request) error {
	rest := r.PathValue("rest")
	switch rest {
	case "search":
		return e.searchImages(w, r)
	case "get":
		return e.saveImages(w, r, r.URL.Query()["names"]...)
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return notFound("page not found")
	}
	name, what := rest[:i], rest[i+1:]
	switch what {
	case "json":
		return e.inspectImage(w, name)
	case "history":
		return e.imageHistory(w, name)
	case "get":
		return e.saveImages(w, r, name)
	}
	return notFound("page not found")
}

// saveImages streams images with their names as an archive that docker load takes.
func (e *Engine) saveImages(w http.ResponseWriter, r *http.Request, names ...string) error {
	for _, n := range names {
		if _, err := e.cfg.Images.Find(n); err != nil {
			return imageNotFound(n)
		}
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if err := e.cfg.Images.Save(r.Context(), w, names...); err != nil {
		return failure(500, "%s", err)
	}
	return nil
}

// loadImages is docker load.
func (e *Engine) loadImages(w http.ResponseWriter, r *http.Request) error {
	loaded, err := e.cfg.Images.Load(r.Context(), r.Body)
	if err != nil {
		return invalid("%s", err)
	}
	p := &progressStream{w: w}
	p.begin()
	for _, l := range loaded {
		e.event(events.ImageEventType, events.ActionLoad, l.Image.ID, map[string]string{"name": l.Image.ID})
		for _, n := range l.Names {
			p.send(jsonstream.Message{Stream: "Loaded image: " + withTag(n) + "\n"})
		}
		if len(l.Names) == 0 {
			p.send(jsonstream.Message{Stream: "Loaded image ID: " + l.Image.ID + "\n"})
		}
	}
	return nil
}

func (e *Engine) postImage(w http.ResponseWriter, r *http.Request) error {
	rest := r.PathValue("rest")
	switch {
	case rest == "load":
		return e.loadImages(w, r)
	case rest == "prune":
		return e.pruneImages(w, r)
	case strings.HasSuffix(rest, "/tag"):
		return e.tagImage(w, strings.TrimSuffix(rest, "/tag"), r.FormValue("repo"), r.FormValue("tag"))
	case strings.HasSuffix(rest, "/push"):
		return e.pushImage(w, r, strings.TrimSuffix(rest, "/push"))
	}
	return notFound("page not found")
}

// tagImage gives an image one more name.
func (e *Engine) tagImage(w http.ResponseWriter, name, repo, tag string) error {
	i, err := e.cfg.Images.Find(name)
	if err != nil {
		return imageNotFound(name)
	}
	if tag != "" {
		repo += ":" + tag
	}
	ref, err := image.ParseRef(repo)
	if err != nil || ref.Digest != "" {
		return invalid("invalid reference format")
	}
	if err := e.cfg.Images.Tag(name, repo); err != nil {
		return failure(500, "%s", err)
	}
	e.event(events.ImageEventType, events.ActionTag, i.ID, map[string]string{"name": ref.Familiar()})
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (e *Engine) inspectImage(w http.ResponseWriter, name string) error {
	i, err := e.cfg.Images.Entry(name)
	if err != nil {
		return imageNotFound(name)
	}
	c, err := e.imageConfig(i.Image)
	if err != nil {
		return err
	}
	out := api.InspectResponse{ID: i.ID, RepoTags: familiar(i.Tags), RepoDigests: familiar(i.Digests), Created: stamp(i.Created), Author: c.Author, Config: &c.Config,
		Architecture: i.Platform.Architecture, Variant: i.Platform.Variant, Os: i.Platform.OS, Size: i.Size, RootFS: api.RootFS{Type: "layers"}}
	for _, l := range i.Layers {
		out.RootFS.Layers = append(out.RootFS.Layers, l.DiffID)
	}
	return answer(w, http.StatusOK, out)
}

// imageHistory tells how an image came to be, the last step first. Those of images that were built elsewhere have no ids.
func (e *Engine) imageHistory(w http.ResponseWriter, name string) error {
	i, err := e.cfg.Images.Entry(name)
	if err != nil {
		return imageNotFound(name)
	}
	c, err := e.imageConfig(i.Image)
	if err != nil {
		return err
	}
	out, layer, id := []api.HistoryResponseItem{}, len(i.Layers)-1, i.ID
	for n, h := range slices.Backward(c.History) {
		item := api.HistoryResponseItem{ID: cmp.Or(id, "<missing>"), Created: i.Created.Unix(), CreatedBy: h.CreatedBy, Comment: h.Comment, Tags: []string{}}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && layer >= 0 {
			item.Size = i.Layers[layer].Size
			layer--
		}
		if n == len(c.History)-1 {
			item.Tags = familiar(i.Tags)
		}
		out = append(out, item)
		id = e.builder.parentOf(id)
	}
	return answer(w, http.StatusOK, out)
}

func (e *Engine) deleteImage(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	i, err := e.cfg.Images.Entry(name)
	if err != nil {
		return imageNotFound(name)
	}
	byName := slices.Contains(familiar(i.Tags), withTag(name))
	last := !byName || len(i.Tags) == 1
	if last {
		for _, c := range e.all() {
			if c.image == i.Image && (c.isRunning() || !flag(r, "force")) {
				return conflict("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", name, short(c.id), short(i.ID))
			}
		}
	}
	out := []api.DeleteResponse{}
	gone := []string{name}
	if !byName {
		gone = i.Tags
	}
	if !byName && len(i.Tags) > 1 && !flag(r, "force") {
		return conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short(i.ID))
	}
	if err := e.cfg.Images.Remove(name); err != nil {
		return failure(500, "%s", err)
	}
	for _, t := range gone {
		out = append(out, api.DeleteResponse{Untagged: withTag(t)})
		e.event(events.ImageEventType, events.ActionUnTag, i.ID, map[string]string{"name": withTag(t)})
	}
	if _, err := e.cfg.Images.Find(i.ID); err != nil {
		out = append(out, e.deleted(i.ID, flag(r, "noprune"))...)
	}
	return answer(w, http.StatusOK, out)
}

// deleted tells of an image that is gone, and takes the steps that it was built on, unless keep is set or somebody needs them.
func (e *Engine) deleted(id string, keep bool) (out []api.DeleteResponse) {
	for id != "" {
		out = append(out, api.DeleteResponse{Deleted: id})
		e.event(events.ImageEventType, events.ActionDelete, id, map[string]string{"name": id})
		parent := e.builder.parentOf(id)
		e.builder.forget(id)
		i, err := e.cfg.Images.Entry(parent)
		if keep || err != nil || len(i.Tags) > 0 || len(i.Digests) > 0 || e.builder.hasChildren(parent) || e.usesImage(i.Image) || e.cfg.Images.Remove(parent) != nil {
			return out
		}
		id = parent
	}
	return out
}

// usesImage tells whether a container was made of an image.
func (e *Engine) usesImage(i *image.Image) bool {
	return slices.ContainsFunc(e.all(), func(c *container) bool { return c.image == i })
}
