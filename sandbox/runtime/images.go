package runtime

import (
	"context"
	"errors"
	"fmt"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// PullError is a pull that did not work, in containerd's words with the registry's explanation.
type PullError struct {
	Ref string // completed, or as it was asked for when it is no name
	// Explanation is what the registry said.
	Explanation string
	// Missing: the registry has no such image. Invalid: the name is none.
	Missing, Invalid bool
	Err              error
}

// Error is containerd's text.
func (e *PullError) Error() string {
	if e.Invalid {
		return e.Explanation
	}
	return fmt.Sprintf("failed to pull and unpack image %q: failed to resolve image: %s", e.Ref, e.Explanation)
}

// Unwrap is the cause.
func (e *PullError) Unwrap() error { return e.Err }

// PullImage fetches an image that the lab is offered, layer by layer; layers that are there are not fetched again. progress may be nil.
// Errors are *PullError or the context's.
func (r *Runtime) PullImage(ctx context.Context, ref string, progress func(image.Progress)) (image.Entry, error) {
	i, err := r.cfg.Images.Pull(ctx, ref, progress)
	if err != nil {
		return image.Entry{}, pullError(ctx, ref, err)
	}
	if e, err := r.cfg.Images.Entry(ref); err == nil {
		return e, nil
	}
	return image.Entry{Image: i}, nil // removed by somebody in the meantime
}

func pullError(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	e := &PullError{Ref: ref, Explanation: err.Error(), Err: err}
	if r, perr := image.ParseRef(ref); perr == nil {
		e.Ref = r.String()
	}
	var missing *image.NotFoundError
	var invalid *image.InvalidNameError
	e.Missing, e.Invalid = errors.As(err, &missing), errors.As(err, &invalid)
	return e
}

// ImageStatus looks for an image on the machine.
func (r *Runtime) ImageStatus(ref string) (image.Entry, bool) {
	e, err := r.cfg.Images.Entry(ref)
	return e, err == nil
}

// ListImages are the images on the machine.
func (r *Runtime) ListImages() []image.Entry { return r.cfg.Images.List() }

// RemoveImage removes a name or an image. One that is not there is removed. ErrState while a container is made of it.
func (r *Runtime) RemoveImage(_ context.Context, ref string) error {
	i, err := r.cfg.Images.Find(ref)
	if err != nil {
		return nil
	}
	for _, c := range r.of("") {
		if c.image == i {
			return fmt.Errorf("image %s is used by container %s: %w", ref, c.ID[:12], ErrState)
		}
	}
	return r.cfg.Images.Remove(ref)
}
