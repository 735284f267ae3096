package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Local is the images that one machine has: names, and layers that later pulls need not fetch again. Bytes and trees are the Store's.
type Local struct {
	store *Store // immutable
	scope string // immutable

	mu     sync.Mutex
	names  map[string]string // guarded by mu; complete name → image digest
	images map[string]*Image // guarded by mu; by digest
	layers map[string]int    // guarded by mu; diff id → images that have it

	changed func() // nil: nobody is told
}

// NewLocal is empty; it pulls what scope is offered.
func (s *Store) NewLocal(scope string) *Local {
	return &Local{store: s, scope: scope, names: map[string]string{}, images: map[string]*Image{}, layers: map[string]int{}}
}

// OnChange has f told after each change of the names and images, with the machine's lock held: it may only plan something. Call it before
// others use l.
func (l *Local) OnChange(f func()) { l.changed = f }

func (l *Local) tellLocked() {
	if l.changed != nil {
		l.changed()
	}
}

// ErrNotPresent says that a machine does not have an image.
var ErrNotPresent = errors.New("no such image")

// LayerState is a stage of a layer's pull, in the words that `docker pull` prints.
type LayerState string

// The states.
const (
	LayerExists   LayerState = "Already exists"
	LayerPulling  LayerState = "Pulling fs layer"
	LayerComplete LayerState = "Pull complete"
)

// Progress tells of one layer. Done is bytes of Size.
type Progress struct {
	Digest     string
	State      LayerState
	Done, Size int64
}

// Pull makes an image present, layer by layer; layers that are present are not fetched again. progress may be nil.
// Errors: *InvalidNameError, *NotFoundError, the context's, or what is wrong with the content.
func (l *Local) Pull(ctx context.Context, name string, progress func(Progress)) (*Image, error) {
	r, err := ParseRef(name)
	if err != nil {
		return nil, err
	}
	digest, err := l.store.Resolve(r, l.scope)
	if err != nil {
		return nil, err
	}
	i, err := l.store.Image(digest)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	for _, layer := range i.Layers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l.mu.Lock()
		have := l.layers[layer.DiffID] > 0
		l.mu.Unlock()
		if have {
			progress(Progress{layer.Digest, LayerExists, layer.Size, layer.Size})
			continue
		}
		progress(Progress{layer.Digest, LayerPulling, 0, layer.Size})
		if _, err := i.content.Tree(layer); err != nil {
			return nil, err
		}
		progress(Progress{layer.Digest, LayerComplete, layer.Size, layer.Size})
	}
	if err := l.add(i, r); err != nil {
		return nil, err
	}
	return i, nil
}

// add makes an image present under names. The content's and the Charger's errors.
func (l *Local) add(i *Image, names ...Ref) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.tellLocked()
	if l.images[i.Digest] == nil {
		if err := l.store.holdImage(l.scope, i); err != nil {
			return err
		}
		l.images[i.Digest] = i
		for _, layer := range i.Layers {
			l.layers[layer.DiffID]++
		}
	}
	for _, r := range names {
		l.names[r.String()] = i.Digest
	}
	return nil
}

// Find looks an image up by name, manifest digest, image id, or an unambiguous beginning of the id's hex of at least 12 digits. ErrNotPresent.
func (l *Local) Find(name string) (*Image, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := l.findLocked(name); i != nil {
		return i, nil
	}
	return nil, fmt.Errorf("%s: %w", name, ErrNotPresent)
}

func (l *Local) findLocked(name string) *Image {
	hexes := strings.TrimPrefix(name, "sha256:")
	if len(hexes) >= 12 && strings.Trim(hexes, "0123456789abcdef") == "" {
		var found *Image
		for _, i := range l.images {
			if i.Digest == name || i.ID == name {
				return i
			}
			if strings.HasPrefix(strings.TrimPrefix(i.ID, "sha256:"), hexes) {
				if found != nil {
					return nil
				}
				found = i
			}
		}
		if found != nil {
			return found
		}
	}
	r, err := ParseRef(name)
	if err != nil {
		return nil
	}
	if i := l.images[l.names[r.String()]]; i != nil {
		return i
	}
	if r.Digest != "" {
		for n, d := range l.names {
			if d == r.Digest && strings.HasPrefix(n, r.Repository()) {
				return l.images[d]
			}
		}
	}
	return nil
}

// Entry is an image that a machine has, with its names.
type Entry struct {
	*Image
	Tags    []string // complete names with tag
	Digests []string // repository@digest
}

// List is all images, by digest.
func (l *Local) List() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var es []Entry
	for _, d := range sortedKeys(l.images) {
		es = append(es, l.entryLocked(l.images[d]))
	}
	return es
}

func (l *Local) entryLocked(i *Image) Entry {
	e := Entry{Image: i}
	for _, n := range sortedKeys(l.names) {
		if l.names[n] != i.Digest {
			continue
		}
		r, err := ParseRef(n)
		if err != nil {
			continue
		}
		if r.Tag != "" && r.Digest == "" {
			e.Tags = append(e.Tags, n)
		}
		if d := r.Repository() + "@" + i.Digest; !slices.Contains(e.Digests, d) {
			e.Digests = append(e.Digests, d)
		}
	}
	return e
}

// Entry is Find with the names.
func (l *Local) Entry(name string) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := l.findLocked(name); i != nil {
		return l.entryLocked(i), nil
	}
	return Entry{}, fmt.Errorf("%s: %w", name, ErrNotPresent)
}

// Remove removes a name, and with its last name, or when it was given by digest or id, the image. ErrNotPresent.
// Containers that run from it go on: they hold the trees.
func (l *Local) Remove(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.findLocked(name)
	if i == nil {
		return fmt.Errorf("%s: %w", name, ErrNotPresent)
	}
	defer l.tellLocked()
	if r, err := ParseRef(name); err == nil && l.names[r.String()] == i.Digest {
		delete(l.names, r.String())
	} else {
		for n, d := range l.names {
			if d == i.Digest {
				delete(l.names, n)
			}
		}
	}
	for _, d := range l.names {
		if d == i.Digest {
			return nil
		}
	}
	delete(l.images, i.Digest)
	l.store.releaseImage(l.scope, i)
	for _, layer := range i.Layers {
		if l.layers[layer.DiffID]--; l.layers[layer.DiffID] == 0 {
			delete(l.layers, layer.DiffID)
		}
	}
	return nil
}
