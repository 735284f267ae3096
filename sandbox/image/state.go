package image

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RepositoryState is what a journal keeps of a lab's repository; the bytes are the content's.
type RepositoryState struct {
	Tags      map[string]string    `json:"tags,omitempty"`      // tag → digest
	Manifests map[string]string    `json:"manifests,omitempty"` // digest → media type
	Blobs     map[string]time.Time `json:"blobs,omitempty"`     // digest → when it came
}

// Export is a repository of the lab's own as it is now; nothing in it means that the lab has none of that name. ScopeConfig.Changed
// says when.
func (v *Scope) Export(repo string) RepositoryState {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	var st RepositoryState
	sc := v.store.scopes[v.id]
	if sc == nil || sc.repos[repo] == nil {
		return st
	}
	r := sc.repos[repo]
	st.Tags, st.Manifests, st.Blobs = maps.Clone(r.tags), map[string]string{}, map[string]time.Time{}
	for d, m := range r.manifests {
		st.Manifests[d] = m.MediaType
	}
	for d, l := range r.blobs {
		st.Blobs[d] = l.at
	}
	return st
}

// Import puts back what Export gave, after Content.Recover. What can't be (content that is lost, no room) is left out, and the error
// names all of it.
func (v *Scope) Import(repo string, st RepositoryState) error {
	var errs []error
	fail := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %s: %w", repo, what, err))
		}
	}
	for _, d := range sortedKeys(st.Blobs) {
		size, err := v.store.Content.size(d)
		if err == nil {
			err = v.importBlob(repo, d, link{size, st.Blobs[d]})
		}
		fail("blob "+d, err)
	}
	for _, d := range sortedKeys(st.Manifests) {
		b, err := v.store.Content.Read(d)
		if err == nil {
			var m Manifest
			if m, err = ParseManifest(b, st.Manifests[d]); err == nil {
				m.Digest = d
				err = v.importManifest(repo, m)
			}
		}
		fail("manifest "+d, err)
	}
	for _, t := range sortedKeys(st.Tags) {
		fail("tag "+t, v.importTag(repo, t, st.Tags[t]))
	}
	return errors.Join(errs...)
}

func (v *Scope) importBlob(repo, digest string, l link) error {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	sc := v.store.scopeLocked(v.id)
	if err := v.linkLocked(sc, repo, digest, l.size, 0); err != nil {
		return err
	}
	sc.repos[repo].blobs[digest] = l
	return nil
}

func (v *Scope) importManifest(repo string, m Manifest) error {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	return v.store.adoptLocked(v.store.scopeLocked(v.id), repo, m)
}

func (v *Scope) importTag(repo, tag, digest string) error {
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	if r := v.store.scopeLocked(v.id).repos[repo]; r == nil || r.manifests[digest].Digest == "" {
		return fmt.Errorf("manifest %s: %w", digest, ErrNoBlob)
	}
	return v.store.scopeLocked(v.id).tagLocked(repo, tag, digest)
}

// LocalState is what a journal keeps of a machine's images.
type LocalState struct {
	Images []string          `json:"images,omitempty"` // manifest digests, also of images without a name
	Names  map[string]string `json:"names,omitempty"`  // complete name → manifest digest
}

// Export is the images as they are now.
func (l *Local) Export() LocalState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LocalState{sortedKeys(l.images), maps.Clone(l.names)}
}

// Import puts back what Export gave, after Content.Recover. What can't be is left out, and the error names all of it.
func (l *Local) Import(st LocalState) error {
	names := map[string][]Ref{}
	var errs []error
	for _, n := range sortedKeys(st.Names) {
		r, err := ParseRef(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		names[st.Names[n]] = append(names[st.Names[n]], r)
	}
	for _, d := range st.Images {
		i, err := l.store.Image(d)
		if err == nil {
			err = l.add(i, names[d]...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restore image %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

// Recover finds the blobs that an earlier process left in BlobDir and removes its unfinished uploads. Call it before anything is
// imported or uploaded, and Sweep after all was imported.
func (c *Content) Recover() error {
	if c.cfg.BlobDir == "" {
		return nil
	}
	files, err := os.ReadDir(c.cfg.BlobDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range files {
		name := filepath.Join(c.cfg.BlobDir, f.Name())
		if strings.HasPrefix(f.Name(), uploadPrefix) {
			if err := os.Remove(name); err != nil {
				return err
			}
			continue
		}
		digest := strings.Replace(f.Name(), "-", ":", 1)
		info, err := f.Info()
		if err != nil {
			return err
		}
		if ValidDigest(digest) && info.Mode().IsRegular() && c.blobs[digest] == nil {
			c.blobs[digest] = &blob{size: info.Size(), file: name}
		}
	}
	return nil
}

// Sweep deletes the blobs that nobody holds and for which used, where not nil, is false, and tells how many bytes they had.
func (c *Content) Sweep(used func(digest string) bool) (freed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d, b := range c.blobs {
		if b.holds > 0 || b.put || used != nil && used(d) {
			continue
		}
		delete(c.blobs, d)
		freed += b.size
		if b.file != "" {
			_ = os.Remove(b.file) // a left-over is found again at the next start
		}
	}
	return freed
}
