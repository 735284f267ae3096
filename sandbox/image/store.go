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
	names  map[string]map[string]map[string]string // guarded by mu; scope → repository → tag → digest of a manifest or index
	images map[string]*Image                       // guarded by mu; by digest asked for
}

// NewStore has no names.
func NewStore(c *Content) *Store {
	return &Store{Content: c, names: map[string]map[string]map[string]string{}, images: map[string]*Image{}}
}

// Tag offers a manifest under a name in a scope. The name must have a tag.
func (s *Store) Tag(scope, name, digest string) error {
	r, err := ParseRef(name)
	if err != nil {
		return err
	}
	if r.Tag == "" {
		return fmt.Errorf("%s has no tag", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	repos := s.names[scope]
	if repos == nil {
		repos = map[string]map[string]string{}
		s.names[scope] = repos
	}
	if repos[r.Repository()] == nil {
		repos[r.Repository()] = map[string]string{}
	}
	repos[r.Repository()][r.Tag] = digest
	return nil
}

// Drop forgets all names of a scope: a lab ended.
func (s *Store) Drop(scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, scope)
}

// Names lists what a scope is offered, complete with tags, in order.
func (s *Store) Names(scope string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var l []string
	for _, sc := range scopes(scope) {
		for repo, tags := range s.names[sc] {
			for tag := range tags {
				l = append(l, repo+":"+tag)
			}
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

func scopes(scope string) []string {
	if scope == "" {
		return []string{""}
	}
	return []string{scope, ""}
}

// Resolve finds the digest that a name stands for in a scope. The error is a *NotFoundError.
func (s *Store) Resolve(r Ref, scope string) (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tags := map[string]string{}
	for _, sc := range scopes(scope) {
		for tag, d := range s.names[sc][r.Repository()] {
			if _, ok := tags[tag]; !ok {
				tags[tag] = d
			}
		}
	}
	if len(tags) == 0 {
		return "", &NotFoundError{Ref: r, Repositories: s.familiarLocked(scope)}
	}
	if r.Digest != "" {
		for _, d := range tags {
			if d == r.Digest {
				return d, nil
			}
		}
		return "", &NotFoundError{Ref: r, Tags: sortedKeys(tags)}
	}
	if d, ok := tags[r.Tag]; ok {
		return d, nil
	}
	return "", &NotFoundError{Ref: r, Tags: sortedKeys(tags)}
}

// familiarLocked is the short names of all repositories of a scope.
func (s *Store) familiarLocked(scope string) []string {
	var l []string
	for _, sc := range scopes(scope) {
		for repo := range s.names[sc] {
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
	Tags         []string // those that exist, when the repository does
}

// Error is one sentence with the names that would work.
func (e *NotFoundError) Error() string {
	name := familiarRepository(e.Ref.Repository())
	if len(e.Tags) > 0 {
		what := fmt.Sprintf("tag %q", e.Ref.Tag)
		if e.Ref.Digest != "" {
			what = "digest " + e.Ref.Digest
		}
		return fmt.Sprintf("%s: not found: this lab's catalogue has no %s of %s, it has %s", e.Ref, what, name, strings.Join(e.Tags, ", "))
	}
	hint := ""
	if near := nearest(name, e.Repositories); near != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	return fmt.Sprintf("%s: not found: %q is not in this lab's catalogue%s. It has %s; images here are built with the lab as WebAssembly, nothing is fetched from outside: see 'drydock differences'",
		e.Ref, name, hint, strings.Join(e.Repositories, ", "))
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
	c, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", id, err)
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) || len(m.Layers) > 128 {
		return nil, fmt.Errorf("image %s: %d layers and %d diff ids", digest, len(m.Layers), len(c.RootFS.DiffIDs))
	}
	i := &Image{Digest: digest, ID: id, Created: c.Created.Time, Size: int64(len(b)), content: s.Content}
	i.Config, i.Platform = parseConfig(c)
	for k, l := range m.Layers {
		i.Layers = append(i.Layers, Layer{Digest: l.Digest.String(), DiffID: c.RootFS.DiffIDs[k].String(), Size: l.Size, MediaType: string(l.MediaType)})
		i.Size += l.Size
	}
	return i, nil
}
