package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/server/api"
	"github.com/drydock-labs/drydock/server/journal"
)

// kept is what a lab begins with: nothing, or what the journal has of it.
type kept struct {
	writer    *journal.Writer // nil without a journal
	replay    *replay
	opened    bool // it was there before
	clock     *Clock
	described description
}

// description is what a lab keeps of itself.
type description struct {
	Nodes  int           `json:"nodes"`
	Lang   string        `json:"lang"`
	Born   time.Time     `json:"born"`
	Base   int64         `json:"base"`             // the cluster's revision before anything of this lab
	Offset time.Duration `json:"offset,omitempty"` // of the lab's clock to the wall clock
	Still  time.Time     `json:"still,omitzero"`   // where the lab's clock stands: it is paused, or the lab asleep
	Paused bool          `json:"paused,omitempty"`
	Login  string        `json:"login"` // the password that the lab issued for its private registry
}

const descriptionName = "lab"

// keepDescription has the lab keep what it is; the clock's jumps and pauses are told with the clock.
func (l *Lab) keepDescription() {
	changed := l.keeper.Document(descriptionName, func() []byte {
		a := description{Nodes: l.options.Nodes, Lang: l.lang, Born: l.born, Base: l.base, Login: l.regs.password}
		l.mu.Lock()
		asleep := l.asleep
		l.mu.Unlock()
		if a.Offset, a.Paused = l.clock.Offset(); a.Paused || asleep {
			a.Still = l.clock.Now()
		}
		return mustJSON(a)
	})
	l.clock.OnChange(changed)
	changed()
}

// mustJSON encodes values that can be encoded.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("lab: encode %T: %v", v, err)) // plain data
	}
	return b
}

// keepImages has the lab's repositories kept and puts back what was.
func (l *Lab) keepImages() error {
	scope := l.host.images.Scope(l.id)
	document := func(repo string) (changed func()) {
		return l.keeper.Document("repository/"+repo, func() []byte {
			st := scope.Export(repo)
			if len(st.Tags)+len(st.Manifests)+len(st.Blobs) == 0 {
				return nil
			}
			return mustJSON(st)
		})
	}
	l.host.images.Configure(l.id, image.ScopeConfig{Charger: &l.disk, Clock: l.clock.Now, Changed: func(repo string) { document(repo)() }})
	for name, v := range l.keeper.Documents("repository/") {
		repo := strings.TrimPrefix(name, "repository/")
		var st image.RepositoryState
		if err := json.Unmarshal(v, &st); err != nil {
			l.keeper.Problem(fmt.Errorf("%s: %w", name, err))
			continue
		}
		if err := scope.Import(repo, st); err != nil {
			l.keeper.Problem(err)
		}
		document(repo)
	}
	return nil
}

// keptLocal is the images that a machine has, kept by a name.
func (l *Lab) keptLocal(name string) *image.Local {
	local := l.host.images.NewLocal(l.id)
	if v := l.keeper.Documents(name)[name]; v != nil {
		var st image.LocalState
		err := json.Unmarshal(v, &st)
		if err == nil {
			err = local.Import(st)
		}
		if err != nil {
			l.keeper.Problem(fmt.Errorf("%s: %w", name, err))
		}
	}
	local.OnChange(l.keeper.Document(name, func() []byte { return mustJSON(local.Export()) }))
	return local
}

// keep writes what is left of a lab that ends and releases it.
func (l *Lab) keep() {
	l.keeper.touch(descriptionName)
	if err := l.keeper.close(true); err != nil && !errors.Is(err, journal.ErrFenced) && !errors.Is(err, journal.ErrNoLab) {
		l.host.cfg.Log.Error("the end of a lab was not kept", "lab", l.id, "error", err)
	}
	l.keeper.release()
}

// portal is where the portal's values are among the lab's.
const portal = "portal/"

// Keep implements api.Lab.
func (l *Lab) Keep(name string, now func() []byte) (changed func()) {
	return l.keeper.Document(portal+name, now)
}

// KeepStream implements api.Lab.
func (l *Lab) KeepStream(name string, flush, snapshot func(emit func([]byte) error) error) (changed func()) {
	return l.keeper.Stream(portal+name, flush, snapshot)
}

// Kept implements api.Lab.
func (l *Lab) Kept(name string) []byte {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	return l.keeper.first.documents[portal+name]
}

// KeptStream implements api.Lab.
func (l *Lab) KeptStream(name string) [][]byte { return l.keeper.Kept(portal + name) }

// OpenLab wakes a lab for the portal.
func (h *Host) OpenLab(ctx context.Context, id string) (api.Lab, error) {
	l, err := h.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// DeleteLab deletes a lab for the portal.
func (h *Host) DeleteLab(id string) error { return h.Delete(id) }

// fresh is what a new lab begins with.
func (h *Host) fresh(id string, o Options) (*kept, error) {
	k := &kept{clock: NewClock(), replay: newReplay(nil), described: description{Born: time.Now()}}
	if h.cfg.Journal == nil {
		return k, nil
	}
	var err error
	k.writer, _, err = h.cfg.Journal.Own(id, 0, nil)
	return k, unkept(err)
}

// unkept is a journal's error as the portal tells it.
func unkept(err error) error {
	switch {
	case errors.Is(err, journal.ErrFull):
		return &api.Refusal{Code: "disk-full", RetryAfter: 30 * time.Second}
	case errors.Is(err, journal.ErrNoLab):
		return &api.Refusal{Code: "lab-gone"}
	}
	return err
}

// stored reads what the journal has of a lab. What could not be read back is in the host's log and left out.
func (h *Host) stored(id string) (*kept, error) {
	k := &kept{clock: NewClock(), opened: true}
	k.replay = newReplay(h.server.Replay(h.clusterConfig(id, k.clock)))
	w, report, err := h.cfg.Journal.Own(id, 0, k.replay.add)
	if err != nil {
		return nil, unkept(err)
	}
	k.writer = w
	if err := k.replay.report(report.Damage); err != nil {
		h.cfg.Log.Error("a part of a lab could not be read back", "lab", id, "error", err)
	}
	v, ok := k.replay.documents[descriptionName]
	if !ok { // it ended before it was made
		return nil, errors.Join(&api.Refusal{Code: "lab-gone"}, w.Close(context.Background()))
	}
	if err := json.Unmarshal(v, &k.described); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", id, err), w.Close(context.Background()))
	}
	k.clock.restore(k.described.Offset, k.described.Still, k.described.Paused)
	return k, nil
}

// Open wakes a lab that was closed, or that an earlier process had.
//
// # Errors
//   - *api.Refusal "labs-full", "lab-gone"
func (h *Host) Open(ctx context.Context, id string) (*Lab, error) {
	if h.cfg.Journal == nil {
		return nil, &api.Refusal{Code: "lab-gone"}
	}
	return h.make(ctx, id, func(ctx context.Context) (*Lab, error) {
		if _, err := h.cfg.Journal.Read(id, nil); err != nil { // Own would make it
			return nil, unkept(err)
		}
		k, err := h.stored(id)
		if err != nil {
			return nil, err
		}
		return newLab(ctx, h, id, Options{Nodes: k.described.Nodes, Lang: k.described.Lang}, k)
	})
}

// Delete ends a lab and forgets it.
func (h *Host) Delete(id string) error {
	h.mu.Lock()
	l := h.labs[id]
	h.mu.Unlock()
	if h.cfg.Journal == nil {
		if l == nil {
			return nil
		}
		return l.Close()
	}
	err := h.cfg.Journal.Delete(id)
	if l != nil {
		err = errors.Join(err, l.Close())
	}
	if errors.Is(err, journal.ErrNoLab) {
		return nil
	}
	return err
}

// Collect removes what labs have pushed, loaded or built and no lab has any more, awake or asleep, and tells how many bytes that were. A lab that
// cannot be read stops it: nothing is removed that it may have.
func (h *Host) Collect() (freed int64, err error) {
	if h.cfg.Journal == nil {
		return 0, nil
	}
	h.dropping.Lock()
	defer h.dropping.Unlock()
	labs, err := h.cfg.Journal.Labs()
	if err != nil {
		return 0, err
	}
	used := map[string]bool{}
	for _, l := range labs {
		h.mu.Lock()
		awake := h.labs[l.ID] != nil
		h.mu.Unlock()
		if awake {
			continue // it holds what it has
		}
		if err := h.imagesOf(l.ID, used); err != nil && !errors.Is(err, journal.ErrNoLab) {
			return 0, fmt.Errorf("collect images: %w", err)
		}
	}
	return h.images.Content.Sweep(func(digest string) bool { return used[digest] }), nil
}

// imagesOf adds the digests that a lab in the journal has.
func (h *Host) imagesOf(id string, used map[string]bool) error {
	r := newReplay(nil)
	report, err := h.cfg.Journal.Read(id, func(rec journal.Record) error {
		if rec.Kind == recordDocument || rec.Kind == recordDrop {
			return r.add(rec)
		}
		return nil
	})
	if err = errors.Join(err, r.report(report.Damage)); err != nil {
		return err
	}
	for name, v := range r.documents {
		var repository image.RepositoryState
		var local image.LocalState
		switch {
		case strings.HasPrefix(name, "repository/"):
			err = json.Unmarshal(v, &repository)
		case strings.HasPrefix(name, "images/"):
			err = json.Unmarshal(v, &local)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for d := range repository.Manifests {
			used[d] = true
		}
		for d := range repository.Blobs {
			used[d] = true
		}
		for _, d := range local.Images {
			if i, err := h.images.Image(d); err == nil {
				for _, part := range i.Parts() {
					used[part] = true
				}
			}
		}
	}
	return nil
}
