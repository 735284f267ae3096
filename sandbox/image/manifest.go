package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Descriptor names content (image-spec, "OCI Content Descriptors").
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Manifest is what a registry must know of a manifest or index: its own descriptor and what it names.
type Manifest struct {
	Descriptor
	Subject string       // the digest that it refers to, "" = none
	Blobs   []Descriptor // configuration and layers that a registry must have; layers that are not distributed are left out
	Lists   []Descriptor // manifests of an index
}

// ManifestError says why bytes are no manifest.
type ManifestError struct{ Reason string }

// Error is the reason.
func (e *ManifestError) Error() string { return "manifest invalid: " + e.Reason }

// MissingError says that a manifest names content that its repository does not have.
type MissingError struct{ Missing []Descriptor }

// Error lists them.
func (e *MissingError) Error() string {
	var l []string
	for _, d := range e.Missing {
		l = append(l, d.Digest)
	}
	return "manifest names content that is not in the repository: " + shorten(l)
}

// MaxManifest is the length of the longest manifest that is accepted (distribution-spec, "Pushing Manifests").
const MaxManifest = maxMeta

// What a manifest or configuration may have of braces and commas, also within its texts.
const (
	maxObjects = 10_000
	maxValues  = 100_000
)

// document is the JSON of an image manifest or index.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *Descriptor     `json:"config"`
	Layers        []Descriptor    `json:"layers"`
	Manifests     []Descriptor    `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
	Subject       *Descriptor     `json:"subject"`
}

// checkDensity refuses short JSON that makes large memory: "{}," is 90 bytes of a descriptor. *ManifestError.
func checkDensity(b []byte) error {
	if objects, values := bytes.Count(b, []byte("{")), bytes.Count(b, []byte(",")); objects > maxObjects || values > maxValues {
		return invalid("about %d objects and %d values, at most %d and %d are accepted", objects, values, maxObjects, maxValues)
	}
	return nil
}

// ParseManifest reads an image manifest or index, OCI's or Docker's schema 2; its annotations are left out (Scope.Annotations). contentType
// "" = as the document says. *ManifestError.
func ParseManifest(b []byte, contentType string) (Manifest, error) {
	if len(b) > MaxManifest {
		return Manifest{}, invalid("%d bytes, at most %d are accepted", len(b), MaxManifest)
	}
	if err := checkDensity(b); err != nil {
		return Manifest{}, err
	}
	var doc document
	if err := json.Unmarshal(b, &doc); err != nil {
		return Manifest{}, invalid("%v", err)
	}
	if doc.MediaType == "" {
		doc.MediaType = contentType
	}
	if contentType != "" && contentType != doc.MediaType {
		return Manifest{}, invalid("Content-Type is %q and mediaType %q", clip(contentType), clip(doc.MediaType))
	}
	if err := doc.check(); err != nil {
		return Manifest{}, err
	}
	m := Manifest{Descriptor: Descriptor{MediaType: doc.MediaType, Size: int64(len(b)), ArtifactType: doc.ArtifactType}, Lists: doc.Manifests}
	if doc.Config != nil {
		m.Blobs = append(m.Blobs, *doc.Config)
		if m.ArtifactType == "" {
			m.ArtifactType = doc.Config.MediaType
		}
	}
	for _, l := range doc.Layers {
		if types.MediaType(l.MediaType).IsDistributable() {
			m.Blobs = append(m.Blobs, l)
		}
	}
	if doc.Subject != nil {
		m.Subject = doc.Subject.Digest
	}
	for _, l := range [][]Descriptor{m.Blobs, m.Lists} {
		for i := range l {
			l[i].Annotations = nil // only their digests matter, and the memory is not charged
		}
	}
	return m, nil
}

func invalid(format string, args ...any) error { return &ManifestError{fmt.Sprintf(format, args...)} }

// check says what is wrong with a document whose media type is known.
func (d *document) check() error {
	t := types.MediaType(d.MediaType)
	switch {
	case d.SchemaVersion != 2:
		return invalid("schemaVersion is %d, not 2", d.SchemaVersion)
	case !t.IsImage() && !t.IsIndex():
		return invalid("media type %q is no image manifest or index", clip(d.MediaType))
	// One document must not be an image to one reader and an index to another (CVE-2021-41190).
	case t.IsImage() && (d.Manifests != nil || d.Config == nil || d.FSLayers != nil):
		return invalid("an image manifest has config and layers, and no manifests or fsLayers")
	case t.IsIndex() && (d.Config != nil || d.Layers != nil || d.FSLayers != nil):
		return invalid("an index has manifests, and no config or layers")
	}
	named := slices.Concat(d.Layers, d.Manifests)
	for _, p := range []*Descriptor{d.Config, d.Subject} {
		if p != nil {
			named = append(named, *p)
		}
	}
	for _, n := range named {
		if !ValidDigest(n.Digest) || n.Size < 0 {
			return invalid("descriptor with digest %q and size %d", clip(n.Digest), n.Size)
		}
	}
	return nil
}

// follow reads the manifests that Tag put into a repository of the catalogue and links what they name: at the first question, because
// most processes are never asked for most of them.
func (v *Scope) follow(repo string) {
	v.store.mu.RLock()
	r := v.store.unreadLocked(repo)
	var todo []string
	if r != nil {
		todo = slices.Clone(r.unread)
	}
	v.store.mu.RUnlock()
	if len(todo) == 0 {
		return
	}
	found := map[string]Manifest{}
	for _, d := range todo {
		v.store.reach(d, found, 0)
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	for d, m := range found {
		r.manifests[d] = m
		for _, b := range m.Blobs {
			r.blobs[b.Digest] = link{size: b.Size}
		}
	}
	r.unread = slices.DeleteFunc(r.unread, func(d string) bool { return slices.Contains(todo, d) })
}

// unreadLocked is the catalogue's repository of a name, nil when it has none.
func (s *Store) unreadLocked(repo string) *repository {
	if sc := s.scopes[""]; sc != nil {
		return sc.repos[repo]
	}
	return nil
}

// reach collects a manifest and those that it lists. One that can't be read is not there: the name answers 404.
func (s *Store) reach(digest string, found map[string]Manifest, depth int) {
	if _, ok := found[digest]; ok || depth > 4 {
		return
	}
	b, err := s.Content.Read(digest)
	if err != nil {
		return
	}
	m, err := ParseManifest(b, "")
	if err != nil {
		return
	}
	m.Digest = digest
	found[digest] = m
	for _, l := range m.Lists {
		s.reach(l.Digest, found, depth+1)
	}
}

// Manifest finds a manifest by tag or digest. *NotFoundError.
func (v *Scope) Manifest(r Ref) (Manifest, error) {
	v.follow(r.Repository())
	digest, err := v.store.Resolve(r, v.id)
	if err != nil {
		return Manifest{}, err
	}
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	for _, sc := range v.store.viewLocked(v.id) {
		if repo := sc.repos[r.Repository()]; repo != nil {
			if m, ok := repo.manifests[digest]; ok {
				return m, nil
			}
		}
	}
	return Manifest{}, &NotFoundError{Ref: r, Known: true}
}

// PutManifest checks a manifest and makes it one of a repository, under the tags too. With digest "" it gets its sha256, otherwise the
// bytes must have it. *ManifestError, *MissingError, ErrDigest, the Charger's.
func (v *Scope) PutManifest(repo, digest, contentType string, b []byte, tags ...string) (Manifest, error) {
	if digest == "" {
		digest = DigestOf(b)
	} else if !matches(b, digest) {
		return Manifest{}, fmt.Errorf("manifest has not %s: %w", digest, ErrDigest)
	}
	m, err := ParseManifest(b, contentType)
	if err != nil {
		return Manifest{}, err
	}
	m.Digest = digest
	v.follow(repo)
	defer v.changed(repo)
	if err := v.store.Content.putHeld(digest, b); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	defer v.store.forgetLocked(digest) // putHeld's hold
	if missing := v.missingLocked(repo, m); len(missing) > 0 {
		return Manifest{}, &MissingError{missing}
	}
	sc := v.store.scopeLocked(v.id)
	if err := v.store.adoptLocked(sc, repo, m); err != nil {
		return Manifest{}, err
	}
	for _, t := range tags {
		if err := sc.tagLocked(repo, t, digest); err != nil {
			return Manifest{}, err
		}
	}
	return m, nil
}

func (v *Scope) missingLocked(repo string, m Manifest) (l []Descriptor) {
	for _, d := range m.Blobs {
		if size, ok := v.blobLocked(repo, d.Digest); !ok || size != d.Size {
			l = append(l, d)
		}
	}
	for _, d := range m.Lists {
		if !slices.ContainsFunc(v.store.viewLocked(v.id), func(sc *scope) bool {
			return sc.repos[repo] != nil && sc.repos[repo].manifests[d.Digest].Digest != ""
		}) {
			l = append(l, d)
		}
	}
	return l
}

// adoptLocked makes a manifest that the content has one of a repository.
func (s *Store) adoptLocked(sc *scope, repo string, m Manifest) error {
	r := sc.repos[repo]
	if r != nil {
		if _, ok := r.manifests[m.Digest]; ok {
			return nil
		}
	}
	if err := sc.roomLocked(); err != nil {
		return err
	}
	if err := s.holdLocked(sc, m.Digest, m.Size, linkCharge); err != nil {
		return err
	}
	sc.links++
	sc.repositoryLocked(repo).manifests[m.Digest] = m
	return nil
}

func (sc *scope) tagLocked(repo, tag, digest string) error {
	r := sc.repositoryLocked(repo)
	if _, ok := r.tags[tag]; !ok {
		if err := sc.roomLocked(); err != nil {
			return err
		}
		if err := sc.chargeLocked(linkCharge); err != nil {
			return err
		}
		sc.links++
	}
	r.tags[tag] = digest
	return nil
}

// DeleteTag removes a tag; the manifest stays. *NotFoundError, ErrCatalogue.
func (v *Scope) DeleteTag(r Ref) error {
	defer v.changed(r.Repository())
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	if sc := v.store.scopes[v.id]; sc != nil && sc.repos[r.Repository()] != nil {
		repo := sc.repos[r.Repository()]
		if _, ok := repo.tags[r.Tag]; ok {
			delete(repo.tags, r.Tag)
			sc.unnameLocked()
			if repo.empty() {
				delete(sc.repos, r.Repository())
			}
			return nil
		}
	}
	return v.notOurs(r)
}

// DeleteManifest removes a manifest and the tags that name it; blobs stay until they are deleted or collected. *NotFoundError, ErrCatalogue.
func (v *Scope) DeleteManifest(r Ref) error {
	v.follow(r.Repository())
	defer v.changed(r.Repository())
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	sc := v.store.scopes[v.id]
	if sc == nil || sc.repos[r.Repository()] == nil {
		return v.notOurs(r)
	}
	repo := sc.repos[r.Repository()]
	if _, ok := repo.manifests[r.Digest]; !ok {
		return v.notOurs(r)
	}
	for t, d := range repo.tags {
		if d == r.Digest {
			delete(repo.tags, t)
			sc.unnameLocked()
		}
	}
	delete(repo.manifests, r.Digest)
	v.store.releaseLocked(sc, r.Digest)
	sc.unnameLocked()
	if repo.empty() {
		delete(sc.repos, r.Repository())
	}
	return nil
}

// notOurs is the error for what can't be deleted: the catalogue's, or nobody's. The store is locked.
func (v *Scope) notOurs(r Ref) error {
	if sc := v.store.scopes[""]; sc != nil && v.id != "" && sc.repos[r.Repository()] != nil {
		repo := sc.repos[r.Repository()]
		_, tagged := repo.tags[r.Tag]
		_, listed := repo.manifests[r.Digest]
		if tagged || listed {
			return fmt.Errorf("%s: %w", r, ErrCatalogue)
		}
	}
	return &NotFoundError{Ref: r, Known: true}
}

// Annotations reads a manifest's annotations from the content: a repository does not keep them in memory. nil when it went.
func (v *Scope) Annotations(digest string) map[string]string {
	b, err := v.store.Content.Read(digest)
	if err != nil {
		return nil
	}
	var doc struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(b, &doc) != nil {
		return nil
	}
	return doc.Annotations
}

// Referrers lists the manifests of a repository whose subject is digest, by digest and without their annotations (distribution-spec, "Listing
// Referrers").
func (v *Scope) Referrers(repo, digest string) []Descriptor {
	v.follow(repo)
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	var l []Descriptor
	for _, sc := range v.store.viewLocked(v.id) {
		if r := sc.repos[repo]; r != nil {
			for _, m := range r.manifests {
				if m.Subject == digest {
					l = append(l, m.Descriptor)
				}
			}
		}
	}
	slices.SortFunc(l, func(a, b Descriptor) int { return strings.Compare(a.Digest, b.Digest) })
	return slices.CompactFunc(l, func(a, b Descriptor) bool { return a.Digest == b.Digest })
}

// IsNotFound tells a *NotFoundError.
func IsNotFound(err error) bool {
	var e *NotFoundError
	return errors.As(err, &e)
}
