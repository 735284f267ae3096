package registry

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// UploadsConfig configures Uploads.
type UploadsConfig struct {
	Max   int              // open at once; 0 = 32
	Idle  time.Duration    // after which an upload that gets no bytes is forgotten; 0 = 10 minutes
	Clock func() time.Time // nil = wall clock
	Rand  io.Reader        // of ids; nil = crypto/rand
}

// Uploads is the open uploads of one lab, shared by its registries.
type Uploads struct {
	cfg UploadsConfig // immutable

	mu   sync.Mutex
	open map[string]*session // guarded by mu; by id
}

// session is one upload. Its holder alone, between take and give, may write to it: a slow one keeps nobody else waiting.
type session struct {
	*image.Upload
	id, repo string

	busy bool      // guarded by Uploads.mu
	last time.Time // guarded by Uploads.mu; when bytes came
}

// NewUploads has none open.
func NewUploads(cfg UploadsConfig) *Uploads {
	if cfg.Max == 0 {
		cfg.Max = 32
	}
	if cfg.Idle == 0 {
		cfg.Idle = 10 * time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Uploads{cfg: cfg, open: map[string]*session{}}
}

// start opens an upload, taken by the caller.
func (u *Uploads) start(v *image.Scope, repo string, limit int64) (*session, error) {
	u.Expire()
	var id [16]byte
	if _, err := io.ReadFull(u.cfg.Rand, id[:]); err != nil {
		return nil, err
	}
	up, err := v.NewUpload(limit)
	if err != nil {
		return nil, err
	}
	s := &session{Upload: up, id: hex.EncodeToString(id[:]), repo: repo, busy: true, last: u.cfg.Clock()}
	u.mu.Lock()
	full := len(u.open) >= u.cfg.Max
	if !full {
		u.open[s.id] = s
	}
	u.mu.Unlock()
	if full {
		up.Cancel()
		return nil, errorf(codeTooMany, "%d uploads are open in this lab, no more are accepted: finish or cancel one", u.cfg.Max)
	}
	return s, nil
}

// take gives an upload of a repository to the caller alone.
func (u *Uploads) take(repo, id string) (*session, error) {
	u.Expire()
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.open[id]
	switch {
	case s == nil || s.repo != repo:
		return nil, errorf(codeUploadUnknown, "blob upload unknown to registry")
	case s.busy:
		return nil, errorf(codeUploadBusy, "another request is writing to this upload")
	}
	s.busy = true
	return s, nil
}

// give ends a take; the upload waits for more.
func (u *Uploads) give(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.busy, s.last = false, u.cfg.Clock()
}

// touch says that bytes came.
func (u *Uploads) touch(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.last = u.cfg.Clock()
}

// end forgets an upload, committed or not, and returns what is still charged for it. Also one that somebody else has taken.
func (u *Uploads) end(repo, id string) bool {
	u.mu.Lock()
	s := u.open[id]
	if s != nil && s.repo != repo {
		s = nil
	}
	if s != nil {
		delete(u.open, id)
	}
	u.mu.Unlock()
	if s != nil {
		s.Cancel()
	}
	return s != nil
}

// Expire cancels uploads that got no bytes for too long. Every use does it too: a timer is not needed, but may call it.
func (u *Uploads) Expire() { u.cancel(u.cfg.Clock().Add(-u.cfg.Idle)) }

// Close cancels all. Uploads can be opened again: the lab's server went, the lab did not.
func (u *Uploads) Close() { u.cancel(u.cfg.Clock().Add(time.Hour)) }

// cancel ends the uploads that got no bytes since.
func (u *Uploads) cancel(since time.Time) {
	var old []*session
	u.mu.Lock()
	for id, s := range u.open {
		if s.last.Before(since) {
			delete(u.open, id)
			old = append(old, s)
		}
	}
	u.mu.Unlock()
	for _, s := range old {
		s.Cancel()
	}
}

// Len is how many are open.
func (u *Uploads) Len() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.open)
}
