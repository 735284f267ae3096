package image

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Store is content and the names under which registries offer it. Names live in scopes: "" is offered to every lab (the
// catalogue), others are a lab's own. A name in a lab's scope hides the same one of the catalogue.
type Store struct {
	Content *Content

	mu     sync.RWMutex
	scopes map[string]*scope // guarded by mu
	images map[string]*Image // guarded by mu; by digest asked for
}

// NewStore has no names.
func NewStore(c *Content) *Store {
	return &Store{Content: c, scopes: map[string]*scope{}, images: map[string]*Image{}}
}

// Tag offers a manifest that is in the content, with all that it names, under a name in a scope. The name must have a tag. It is for
// whoever assembles a lab; what a lab writes goes through its Scope.
func (s *Store) Tag(scope, name, digest string) error {
	r, err := ParseRef(name)
	if err != nil {
		return err
	}
	if r.Tag == "" {
		return fmt.Errorf("%s has no tag", name)
	}
	if scope != "" {
		return s.tagWhole(scope, r, digest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.scopeLocked(scope).repositoryLocked(r.Repository())
	repo.tags[r.Tag] = digest
	repo.unread = append(repo.unread, digest)
	return nil
}

// tagWhole links a manifest, what it names, and the tag.
func (s *Store) tagWhole(scope string, r Ref, digest string) error {
	found := map[string]Manifest{}
	s.reach(digest, found, 0)
	if len(found) == 0 {
		return fmt.Errorf("tag %s: manifest %s: %w", r, digest, ErrNoBlob)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, sc := s.Scope(scope), s.scopeLocked(scope)
	for _, d := range sortedKeys(found) {
		for _, b := range found[d].Blobs {
			if err := v.linkLocked(sc, r.Repository(), b.Digest, b.Size, 0); err != nil {
				return fmt.Errorf("tag %s: %w", r, err)
			}
		}
		if err := s.adoptLocked(sc, r.Repository(), found[d]); err != nil {
			return fmt.Errorf("tag %s: %w", r, err)
		}
	}
	return sc.tagLocked(r.Repository(), r.Tag, digest)
}

// Drop forgets a scope: a lab ended. Its content is released and its charge given back.
func (s *Store) Drop(scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scopes[scope]
	if sc == nil {
		return
	}
	delete(s.scopes, scope)
	sc.dropped = true
	for d := range sc.held {
		s.forgetLocked(d)
	}
	sc.held = nil
	_ = sc.chargeLocked(-sc.used) // giving back never fails
}

// Names lists what a scope is offered, complete with tags, in order.
func (s *Store) Names(scope string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var l []string
	for _, sc := range s.viewLocked(scope) {
		for name, repo := range sc.repos {
			for tag := range repo.tags {
				l = append(l, name+":"+tag)
			}
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

// Resolve finds the digest that a name stands for in a scope. The error is a *NotFoundError.
func (s *Store) Resolve(r Ref, scope string) (string, error) {
	if r.Digest != "" {
		s.Scope(scope).follow(r.Repository())
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	tags, known := map[string]string{}, false
	for _, sc := range s.viewLocked(scope) {
		repo := sc.repos[r.Repository()]
		if repo == nil {
			continue
		}
		known = true
		if _, ok := repo.manifests[r.Digest]; ok {
			return r.Digest, nil
		}
		for tag, d := range repo.tags {
			if _, ok := tags[tag]; !ok {
				tags[tag] = d
			}
		}
	}
	if !known {
		return "", &NotFoundError{Ref: r, Repositories: s.familiarLocked(scope)}
	}
	if r.Digest != "" {
		for _, d := range tags {
			if d == r.Digest {
				return d, nil
			}
		}
	} else if d, ok := tags[r.Tag]; ok {
		return d, nil
	}
	return "", &NotFoundError{Ref: r, Known: true, Tags: sortedKeys(tags)}
}

// familiarLocked is the short names of all repositories of a scope.
func (s *Store) familiarLocked(scope string) []string {
	var l []string
	for _, sc := range s.viewLocked(scope) {
		for repo := range sc.repos {
			l = append(l, familiarRepository(repo))
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

func familiarRepository(repo string) string {
	repo = strings.TrimPrefix(repo, "docker.io/")
	return strings.TrimPrefix(repo, "library/")
}

// NotFoundError is a registry's answer to a name that it does not have, with what a learner needs to go on.
type NotFoundError struct {
	Ref          Ref
	Repositories []string // those that exist, when the repository does not
	Known        bool     // the repository exists
	Tags         []string // its tags
}

// Error is one sentence with the names that would work.
func (e *NotFoundError) Error() string {
	name := familiarRepository(e.Ref.Repository())
	if e.Known {
		what := fmt.Sprintf("tag %q", e.Ref.Tag)
		if e.Ref.Digest != "" {
			what = "digest " + e.Ref.Digest
		}
		if len(e.Tags) == 0 {
			return fmt.Sprintf("%s: not found: this lab's catalogue has no %s of %s, which has no tag", e.Ref, what, name)
		}
		return fmt.Sprintf("%s: not found: this lab's catalogue has no %s of %s, it has %s", e.Ref, what, name, shorten(e.Tags))
	}
	hint := ""
	if near := nearest(name, e.Repositories); near != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	return fmt.Sprintf("%s: not found: %q is not in this lab's catalogue%s. It has %s; images here are built with the lab as WebAssembly, nothing is fetched from outside: see 'drydock differences'",
		e.Ref, name, hint, shorten(e.Repositories))
}

// shorten lists names; of very many the first.
func shorten(names []string) string {
	const most = 60
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// nearest is the name at most two edits away, "" when there is none.
func nearest(name string, names []string) string {
	best, found := 3, ""
	for _, n := range names {
		if d := distance(name, n, best); d < best {
			best, found = d, n
		}
	}
	return found
}

// distance is Levenshtein's, or limit when it is at least that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 128 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return min(row[len(b)], limit)
}

// Image is the image with a manifest's digest; of an index, the one for Wasm. Parsed once.
func (s *Store) Image(digest string) (*Image, error) {
	s.mu.RLock()
	i, ok := s.images[digest]
	s.mu.RUnlock()
	if ok {
		return i, nil
	}
	i, err := s.load(digest, 0)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, ok := s.images[digest]; ok {
		return other, nil
	}
	s.images[digest] = i
	return i, nil
}

func (s *Store) load(digest string, depth int) (*Image, error) {
	b, err := s.Content.Read(digest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	}
	if m.MediaType.IsIndex() && depth < 4 {
		return s.loadIndex(digest, b, depth)
	}
	if !m.MediaType.IsImage() {
		return nil, fmt.Errorf("manifest %s: media type %q is no image", digest, m.MediaType)
	}
	return s.loadImage(digest, m)
}

func (s *Store) loadIndex(digest string, b []byte, depth int) (*Image, error) {
	x, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", digest, err)
	}
	for _, d := range x.Manifests {
		if p := d.Platform; p != nil && p.OS == Wasm.OS && p.Architecture == Wasm.Architecture {
			return s.load(d.Digest.String(), depth+1)
		}
	}
	return nil, fmt.Errorf("no match for platform %s in manifest %s: not found", Wasm, digest)
}

func (s *Store) loadImage(digest string, m *v1.Manifest) (*Image, error) {
	id := m.Config.Digest.String()
	b, err := s.Content.Read(id)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", digest, err)
	}
	if err := checkDensity(b); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", id, err)
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", id, err)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) || len(m.Layers) > 128 {
		return nil, fmt.Errorf("image %s: %d layers and %d diff ids", digest, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for _, l := range m.Layers {
		if !l.MediaType.IsDistributable() { // nobody had to have it to push the manifest: it may be another lab's
			return nil, fmt.Errorf("image %s: layer %s of media type %q is not distributed by registries", digest, l.Digest, l.MediaType)
		}
	}
	i := &Image{Digest: digest, ID: id, Created: c.Created.Time, Size: int64(len(b)), content: s.Content}
	i.Config, i.Platform = parseConfig(c)
	for k, l := range m.Layers {
		i.Layers = append(i.Layers, Layer{Digest: l.Digest.String(), DiffID: c.RootFS.DiffIDs[k].String(), Size: l.Size, MediaType: string(l.MediaType)})
		i.Size += l.Size
	}
	return i, nil
}
