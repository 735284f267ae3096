package image

import (
	"context"
	"fmt"
)

// The states of a layer's push, in the words that `docker push` prints.
const (
	LayerPushed     LayerState = "Pushed"
	LayerInRegistry LayerState = "Layer already exists"
)

// Push publishes an image that the machine has under one of its names: registry and machine share the content, so that only names are
// written. progress may be nil. It tells the manifest's digest and size. Errors: *InvalidNameError, ErrNotPresent, the Charger's.
func (l *Local) Push(ctx context.Context, name string, progress func(Progress)) (Descriptor, error) {
	r, err := ParseRef(name)
	if err != nil {
		return Descriptor{}, err
	}
	i, err := l.Find(name)
	if err != nil {
		return Descriptor{}, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	v := l.store.Scope(l.scope)
	for _, layer := range i.Layers {
		if err := ctx.Err(); err != nil {
			return Descriptor{}, err
		}
		state := LayerInRegistry
		if _, err := v.Blob(r.Repository(), layer.Digest); err != nil {
			state = LayerPushed
			if err := v.link(r.Repository(), layer.Digest, layer.Size); err != nil {
				return Descriptor{}, fmt.Errorf("push %s: %w", r, err)
			}
		}
		progress(Progress{layer.Digest, state, layer.Size, layer.Size})
	}
	b, err := l.store.Content.Read(i.Digest)
	if err != nil {
		return Descriptor{}, fmt.Errorf("push %s: %w", r, err)
	}
	config, err := l.store.Content.size(i.ID)
	if err != nil {
		return Descriptor{}, fmt.Errorf("push %s: %w", r, err)
	}
	if err := v.link(r.Repository(), i.ID, config); err != nil {
		return Descriptor{}, fmt.Errorf("push %s: %w", r, err)
	}
	m, err := v.PutManifest(r.Repository(), i.Digest, "", b, r.Tag)
	if err != nil {
		return Descriptor{}, fmt.Errorf("push %s: %w", r, err)
	}
	return m.Descriptor, nil
}

// Put makes an image that was built or loaded present under names, or under none. Layers without Data must be in the content.
// Errors: *InvalidNameError, what is wrong with the content, the Charger's.
func (l *Local) Put(b *Built, names ...string) (*Image, error) {
	blobs := map[string][]byte{DigestOf(b.Config): b.Config, b.Digest: b.Manifest}
	for _, layer := range b.Layers {
		if layer.Data != nil {
			blobs[layer.Digest] = layer.Data
		}
	}
	var held []string
	defer func() {
		l.store.mu.Lock()
		defer l.store.mu.Unlock()
		for _, d := range held {
			l.store.forgetLocked(d)
		}
	}()
	for d, data := range blobs {
		if err := l.store.Content.putHeld(d, data); err != nil {
			return nil, err
		}
		held = append(held, d)
	}
	i, err := l.store.Image(b.Digest)
	if err != nil {
		return nil, err
	}
	if err := l.name(i, names...); err != nil {
		return nil, err
	}
	return i, nil
}

// Tag gives an image another name (docker-tag). ErrNotPresent, *InvalidNameError.
func (l *Local) Tag(name, as string) error {
	i, err := l.Find(name)
	if err != nil {
		return err
	}
	return l.name(i, as)
}

func (l *Local) name(i *Image, names ...string) error {
	refs := make([]Ref, len(names))
	for k, n := range names {
		r, err := ParseRef(n)
		if err != nil {
			return err
		}
		refs[k] = r
	}
	return l.add(i, refs...)
}

// Close forgets all images and releases their content: the machine is gone. Twice is fine.
func (l *Local) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.images {
		l.store.releaseImage(l.scope, i)
	}
	l.names, l.images, l.layers = map[string]string{}, map[string]*Image{}, map[string]int{}
}

// holdImage keeps an image's content for a scope. ErrNoBlob when it went meanwhile, the Charger's.
func (s *Store) holdImage(scope string, i *Image) error {
	sizes := map[string]int64{}
	for _, d := range i.Parts() {
		size, err := s.Content.size(d)
		if err != nil {
			return fmt.Errorf("image %s: %w", i.Digest, err)
		}
		sizes[d] = size
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := s.scopeLocked(scope)
	for k, d := range i.Parts() {
		if err := s.holdLocked(sc, d, sizes[d], 0); err != nil {
			for _, done := range i.Parts()[:k] {
				s.releaseLocked(sc, done)
			}
			return fmt.Errorf("image %s: %w", i.Digest, err)
		}
	}
	return nil
}

func (s *Store) releaseImage(scope string, i *Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sc := s.scopes[scope]; sc != nil {
		for _, d := range i.Parts() {
			s.releaseLocked(sc, d)
		}
	}
}

// digests is all content of an image.
func (i *Image) Parts() []string {
	l := []string{i.Digest, i.ID}
	for _, layer := range i.Layers {
		l = append(l, layer.Digest)
	}
	return l
}
