package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Errors of a Scope.
var (
	ErrCatalogue = errors.New("it belongs to the catalogue, which no lab can change")
	ErrDropped   = errors.New("the lab ended")
	ErrTooMany   = errors.New("this lab's registries have too many names")
)

// maxLinks bounds the tags, blobs and manifests in a lab's repositories together: each listing sorts them under the store's lock.
const maxLinks = 20_000

// linkCharge is what a name (a tag, a blob or manifest in a repository) costs beside its bytes: about what it takes of the heap.
const linkCharge = 512

// scope is the names of one lab, or of the catalogue, and the content that they and the lab's machines hold. All of it is guarded by Store.mu.
type scope struct {
	cfg     ScopeConfig
	repos   map[string]*repository
	held    map[string]*holding // by digest
	links   int                 // tags, and blobs and manifests in repositories
	used    int64               // charged
	dropped bool
}

// holding is one digest's share in a scope: its bytes are charged once, however many names and machines have it.
type holding struct {
	n    int
	cost int64
}

// repository is what one repository has. Blobs are in it because they were uploaded or mounted, whether a manifest names them or not
// (distribution-spec, "Pushing Content").
type repository struct {
	tags      map[string]string
	manifests map[string]Manifest
	blobs     map[string]link
	unread    []string // manifests of Tag that were not yet followed to their blobs
}

type link struct {
	size int64
	at   time.Time
}

func (r *repository) empty() bool { return len(r.tags)+len(r.manifests)+len(r.blobs) == 0 }

// ScopeConfig configures a lab's scope.
type ScopeConfig struct {
	Charger vfs.Charger // pays for what the lab writes; nil = nobody
	Clock   vfs.Clock   // nil = wall clock
	// Changed is told that a repository of the lab's own is another, before the request that did it is answered: the place for a journal.
	// Nothing is locked. nil = nobody.
	Changed func(repo string)
}

// Scope is what one lab's registries read and write. Safe for concurrent use.
type Scope struct {
	store *Store
	id    string
}

// Configure says who pays for a scope. Do it before the scope is written to.
func (s *Store) Configure(id string, cfg ScopeConfig) *Scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopeLocked(id).cfg = cfg
	return &Scope{s, id}
}

// Scope is a lab's view; the scope comes to be with the first write.
func (s *Store) Scope(id string) *Scope { return &Scope{s, id} }

// Content is where the bytes are.
func (v *Scope) Content() *Content { return v.store.Content }

// ID is the scope's name.
func (v *Scope) ID() string { return v.id }

func (s *Store) scopeLocked(id string) *scope {
	sc := s.scopes[id]
	if sc == nil {
		sc = &scope{repos: map[string]*repository{}, held: map[string]*holding{}}
		s.scopes[id] = sc
	}
	return sc
}

// viewLocked is the scopes that a lab sees, its own first.
func (s *Store) viewLocked(id string) []*scope {
	var l []*scope
	if sc := s.scopes[id]; sc != nil {
		l = append(l, sc)
	}
	if sc := s.scopes[""]; sc != nil && id != "" {
		l = append(l, sc)
	}
	return l
}

func (sc *scope) repositoryLocked(name string) *repository {
	r := sc.repos[name]
	if r == nil {
		r = &repository{tags: map[string]string{}, manifests: map[string]Manifest{}, blobs: map[string]link{}}
		sc.repos[name] = r
	}
	return r
}

// changed tells the journal. Nothing may be locked.
func (v *Scope) changed(repo string) {
	v.store.mu.RLock()
	var tell func(string)
	if sc := v.store.scopes[v.id]; sc != nil {
		tell = sc.cfg.Changed
	}
	v.store.mu.RUnlock()
	if tell != nil {
		tell(repo)
	}
}

func (sc *scope) now() time.Time {
	if sc.cfg.Clock == nil {
		return time.Now()
	}
	return sc.cfg.Clock()
}

func (sc *scope) chargeLocked(delta int64) error {
	if delta != 0 && sc.cfg.Charger != nil {
		if err := sc.cfg.Charger.Charge(delta); err != nil && delta > 0 {
			return err
		}
	}
	sc.used += delta
	return nil
}

// roomLocked tells whether one name more may be.
func (sc *scope) roomLocked() error {
	if sc.links >= maxLinks {
		return fmt.Errorf("%d tags, blobs and manifests: %w", sc.links, ErrTooMany)
	}
	return nil
}

// unnameLocked gives back what a name cost.
func (sc *scope) unnameLocked() {
	sc.links--
	_ = sc.chargeLocked(-linkCharge) // giving back never fails
}

// holdLocked keeps a blob for a scope, charging its size the first time, and extra (which may be negative: what was paid for it
// already) with it. ErrNoBlob, the Charger's; then nothing was charged.
func (s *Store) holdLocked(sc *scope, digest string, size, extra int64) error {
	if h := sc.held[digest]; h != nil {
		if err := sc.chargeLocked(extra); err != nil {
			return err
		}
		h.n++
		return nil
	}
	if s.Content.inSource(digest) {
		size = 0
	}
	if err := s.Content.hold(digest); err != nil {
		return err
	}
	if err := sc.chargeLocked(size + extra); err != nil {
		s.forgetLocked(digest)
		return err
	}
	sc.held[digest] = &holding{1, size}
	return nil
}

func (s *Store) releaseLocked(sc *scope, digest string) {
	h := sc.held[digest]
	if h == nil {
		return
	}
	if h.n--; h.n > 0 {
		return
	}
	delete(sc.held, digest)
	_ = sc.chargeLocked(-h.cost) // giving back never fails
	s.forgetLocked(digest)
}

// forgetLocked releases content and forgets the images that were parsed from it.
func (s *Store) forgetLocked(digest string) {
	if !s.Content.release(digest) {
		return
	}
	delete(s.images, digest)
	for d, i := range s.images { // of an index, the image's own digest is another
		if i.Digest == digest || i.ID == digest {
			delete(s.images, d)
		}
	}
}

// Used is the bytes that a lab is charged for.
func (v *Scope) Used() int64 {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	if sc := v.store.scopes[v.id]; sc != nil {
		return sc.used
	}
	return 0
}

// Repositories lists the names that a registry host has for the lab, without the host, in order.
func (v *Scope) Repositories(host string) []string {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	var l []string
	for _, sc := range v.store.viewLocked(v.id) {
		for name := range sc.repos {
			if path, ok := strings.CutPrefix(name, host+"/"); ok {
				l = append(l, path)
			}
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

// Tags lists a repository's tags in order. *NotFoundError.
func (v *Scope) Tags(r Ref) ([]string, error) {
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	tags, known := map[string]string{}, false
	for _, sc := range v.store.viewLocked(v.id) {
		if repo := sc.repos[r.Repository()]; repo != nil {
			known = true
			for tag, d := range repo.tags {
				tags[tag] = d
			}
		}
	}
	if !known {
		return nil, &NotFoundError{Ref: r, Repositories: v.store.familiarLocked(v.id)}
	}
	return sortedKeys(tags), nil
}

// Blob is the size of a blob (or manifest) that a repository has for the lab. ErrNoBlob, also for what others have.
func (v *Scope) Blob(repo, digest string) (int64, error) {
	v.follow(repo)
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	if size, ok := v.blobLocked(repo, digest); ok {
		return size, nil
	}
	return 0, fmt.Errorf("%s: %w", digest, ErrNoBlob)
}

func (v *Scope) blobLocked(repo, digest string) (int64, bool) {
	for _, sc := range v.store.viewLocked(v.id) {
		r := sc.repos[repo]
		if r == nil {
			continue
		}
		if l, ok := r.blobs[digest]; ok {
			return l.size, true
		}
		if m, ok := r.manifests[digest]; ok {
			return m.Size, true
		}
	}
	return 0, false
}

// Mount makes a blob of another repository of the lab's view one of repo (distribution-spec, "Mounting a blob from another
// repository"). from "" = any repository. It tells whether there was one.
func (v *Scope) Mount(repo, digest, from string) (bool, error) {
	for _, name := range v.names(from) {
		size, err := v.Blob(name, digest)
		if err != nil {
			continue
		}
		return true, v.link(repo, digest, size)
	}
	return false, nil
}

func (v *Scope) names(from string) []string {
	if from != "" {
		return []string{from}
	}
	v.store.mu.RLock()
	defer v.store.mu.RUnlock()
	var l []string
	for _, sc := range v.store.viewLocked(v.id) {
		l = append(l, sortedKeys(sc.repos)...)
	}
	return l
}

// link puts a blob that the content has into a repository.
func (v *Scope) link(repo, digest string, size int64) error {
	defer v.changed(repo)
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	return v.linkLocked(v.store.scopeLocked(v.id), repo, digest, size, 0)
}

// linkLocked is link with paid already charged for the bytes; whatever comes, it is so no more.
func (v *Scope) linkLocked(sc *scope, repo, digest string, size, paid int64) error {
	if r := sc.repos[repo]; r != nil {
		if old, ok := r.blobs[digest]; ok {
			old.at = sc.now()
			r.blobs[digest] = old
			return sc.chargeLocked(-paid)
		}
	}
	err := sc.roomLocked()
	if err == nil {
		err = v.store.holdLocked(sc, digest, size, linkCharge-paid)
	}
	if err != nil {
		_ = sc.chargeLocked(-paid)
		return err
	}
	sc.links++
	sc.repositoryLocked(repo).blobs[digest] = link{size, sc.now()}
	return nil
}

// DeleteBlob takes a blob out of a repository. ErrNoBlob, ErrCatalogue.
func (v *Scope) DeleteBlob(repo, digest string) error {
	v.follow(repo)
	defer v.changed(repo)
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	if sc := v.store.scopes[v.id]; sc != nil && sc.repos[repo] != nil {
		if _, ok := sc.repos[repo].blobs[digest]; ok {
			v.unlinkLocked(sc, repo, digest)
			return nil
		}
	}
	if _, ok := v.blobLocked(repo, digest); ok {
		return fmt.Errorf("blob %s of %s: %w", digest, repo, ErrCatalogue)
	}
	return fmt.Errorf("%s: %w", digest, ErrNoBlob)
}

func (v *Scope) unlinkLocked(sc *scope, repo, digest string) {
	r := sc.repos[repo]
	delete(r.blobs, digest)
	v.store.releaseLocked(sc, digest)
	sc.unnameLocked()
	if r.empty() {
		delete(sc.repos, repo)
	}
}

// Collect deletes blobs that no manifest of their repository names and that came at least age ago (`registry garbage-collect`),
// and tells how many bytes the lab was given back.
func (v *Scope) Collect(age time.Duration) int64 {
	var changed []string
	defer func() {
		for _, repo := range changed {
			v.changed(repo)
		}
	}()
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	sc := v.store.scopes[v.id]
	if sc == nil {
		return 0
	}
	before := sc.used
	for name, r := range sc.repos {
		named := map[string]bool{}
		for _, m := range r.manifests {
			for _, d := range m.Blobs {
				named[d.Digest] = true
			}
		}
		for d, l := range r.blobs {
			if !named[d] && sc.now().Sub(l.at) >= age {
				v.unlinkLocked(sc, name, d)
				changed = append(changed, name)
			}
		}
	}
	changed = slices.Compact(changed)
	return before - sc.used
}

// Upload is a blob on its way into a lab. One goroutine writes at a time.
type Upload struct {
	v   *Scope
	w   *writer
	max int64

	paid int64 // guarded by Store.mu
	in   *scope
}

// NewUpload opens an upload of at most limit bytes.
func (v *Scope) NewUpload(limit int64) (*Upload, error) {
	w, err := v.store.Content.newWriter()
	if err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	return &Upload{v: v, w: w, max: limit, in: v.store.scopeLocked(v.id)}, nil
}

// Write appends and charges. ErrTooLarge, the Charger's errno, os.ErrClosed after Cancel.
func (u *Upload) Write(p []byte) (int, error) {
	if u.Size()+int64(len(p)) > u.max {
		return 0, fmt.Errorf("more than %d bytes: %w", u.max, ErrTooLarge)
	}
	if err := u.charge(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := u.w.Write(p)
	if n < len(p) {
		_ = u.charge(int64(n - len(p))) // giving back never fails
	}
	return n, err
}

func (u *Upload) charge(delta int64) error {
	u.v.store.mu.Lock()
	defer u.v.store.mu.Unlock()
	if u.in.dropped {
		return ErrDropped
	}
	if err := u.in.chargeLocked(delta); err != nil {
		return err
	}
	u.paid += delta
	return nil
}

// Size is the bytes so far.
func (u *Upload) Size() int64 {
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	return u.w.size
}

// Cancel discards the upload and returns its charge. Twice is fine; also while another goroutine writes.
func (u *Upload) Cancel() {
	u.w.close()
	u.v.store.mu.Lock()
	defer u.v.store.mu.Unlock()
	if !u.in.dropped {
		_ = u.in.chargeLocked(-u.paid)
	}
	u.paid = 0
}

// Commit makes the upload a blob of a repository if its bytes have the digest; otherwise nothing is kept. ErrDigest, ErrTooLarge, the Charger's.
func (u *Upload) Commit(repo, digest string) error {
	if err := u.w.commit(digest); err != nil {
		u.Cancel()
		return err
	}
	defer u.v.changed(repo)
	s := u.v.store
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.forgetLocked(digest) // the commit's own hold
	paid := u.paid
	u.paid = 0
	if u.in.dropped {
		return ErrDropped
	}
	return u.v.linkLocked(u.in, repo, digest, u.Size(), paid)
}
