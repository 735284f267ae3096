package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Copy makes the new lab id, in this journal or in another one, of what is durable of the lab from: a fork, a backup, what is restored from
// one. The lab may be written meanwhile. Its records become the copy's snapshot, its blobs are stored where the copy is; owners' epochs begin
// anew. Damage of the original is reported and not in the copy. With an error there is no copy. Errors: ErrNoLab, ErrExists,
// ErrCorrupt, and those of Own and Compact.
func (j *Journal) Copy(ctx context.Context, from string, to *Journal, id string) (report Report, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy lab %s to %s: %w", from, id, err)
		}
	}()
	if err := checkID(from); err != nil {
		return report, err
	}
	if _, err := to.Read(id, nil); err == nil {
		return report, ErrExists
	} else if !errors.Is(err, ErrNoLab) {
		return report, err
	}
	if from == id && to == j {
		return report, ErrNoLab
	}
	w, _, err := to.Own(id, 0, nil)
	if err != nil {
		return report, err
	}
	err = w.Compact(ctx, func(add func(Kind, []byte, ...Digest) error) error {
		report, err = j.Read(from, func(r Record) error {
			if err := j.copyBlobs(r.Blobs, to); err != nil {
				return err
			}
			return add(r.Kind, r.Payload, r.Blobs...)
		})
		return err
	})
	if err != nil {
		return report, errors.Join(err, to.Delete(id))
	}
	return report, w.Close(ctx)
}

// copyBlobs puts blobs where they are not yet, and makes the others young for a Sweep.
func (j *Journal) copyBlobs(blobs []Digest, to *Journal) error {
	for _, d := range blobs {
		if to.touch(to.blobName(d)) == nil {
			continue
		}
		if err := j.copyBlob(d, to); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) copyBlob(d Digest, to *Journal) error {
	f, size, err := j.Blob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	got, _, err := to.PutBlob(io.LimitReader(f, size), size)
	if err == nil && got != d {
		err = fmt.Errorf("%w: %s has the digest %s", ErrCorrupt, d, got)
	}
	return err
}
