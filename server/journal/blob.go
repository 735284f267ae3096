package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// PutBlob stores what r gives, up to limit bytes, under its digest, and returns once it is durable. The same content is stored once for all labs.
// A blob that no record refers to is removed by a later Sweep, but not by one whose bound is before the call. Errors: ErrFull, ErrTooLarge, ErrClosed, those
// of r. With an error nothing is left behind.
func (j *Journal) PutBlob(r io.Reader, limit int64) (Digest, int64, error) {
	j.mu.Lock()
	err := j.refusalLocked()
	j.mu.Unlock()
	if err != nil {
		return Digest{}, 0, fmt.Errorf("put blob: %w", err)
	}
	d, n, err := j.putBlob(r, limit)
	if err != nil {
		if isFull(err) {
			err = &FullError{j.cfg.Dir, err}
		}
		return Digest{}, 0, fmt.Errorf("put blob: %w", err)
	}
	return d, n, nil
}

func (j *Journal) putBlob(r io.Reader, limit int64) (d Digest, n int64, err error) {
	temp := j.path("temp", fmt.Sprintf("blob-%016x%016x", rand.Uint64(), rand.Uint64()))
	f, err := j.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return d, 0, err
	}
	sum := sha256.New()
	n, err = io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	if err != nil {
		return d, 0, errors.Join(err, f.Close(), j.fs.Remove(temp))
	}
	sum.Sum(d[:0])
	name := j.blobName(d)
	if j.touch(name) == nil {
		return d, n, errors.Join(f.Close(), j.fs.Remove(temp))
	}
	if err := j.fs.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return d, 0, errors.Join(err, f.Close(), j.fs.Remove(temp))
	}
	if err := publish(j.fs, f, temp, name); err != nil {
		return d, 0, err
	}
	return d, n, syncDir(j.fs, j.path("blobs"))
}

// touch makes a blob young for a Sweep, if it is there.
func (j *Journal) touch(name string) error {
	j.mu.Lock() // a Sweep removes under it
	defer j.mu.Unlock()
	now := time.Now()
	return j.fs.Chtimes(name, now, now)
}

// Blob opens a blob and returns its size. ErrNoBlob when it isn't here. Its bytes are as they are on the disk: CheckBlob compares them.
func (j *Journal) Blob(d Digest) (File, int64, error) {
	f, err := j.fs.OpenFile(j.blobName(d), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %s", ErrNoBlob, d)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// CheckBlob reads a blob and compares its digest: ErrCorrupt when it is another, ErrNoBlob when the blob isn't here.
func (j *Journal) CheckBlob(d Digest) error {
	f, _, err := j.Blob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := Digest(sum.Sum(nil)); got != d {
		return fmt.Errorf("%w: %s has the digest %s", ErrCorrupt, d, got)
	}
	return nil
}

func (j *Journal) blobName(d Digest) string {
	name := hex.EncodeToString(d[:])
	return j.path("blobs", name[:2], name)
}

// referLocked sees that the blobs are here and keeps them from a Sweep that is under way.
func (j *Journal) referLocked(blobs []Digest) error {
	for _, d := range blobs {
		if _, err := j.fs.Stat(j.blobName(d)); err != nil {
			return fmt.Errorf("%w: %s", ErrNoBlob, d)
		}
		if j.sweeping != nil {
			j.sweeping[d] = true
		}
	}
	return nil
}

// Sweep removes the blobs that no lab's records refer to and that were put before the given time. It reads all labs. A lab with damage that is
// not moved aside yet stops it: nothing is removed that a damaged record might have referred to.
func (j *Journal) Sweep(before time.Time) (removed int, bytes int64, err error) {
	j.sweep.Lock()
	defer j.sweep.Unlock()
	j.mu.Lock()
	j.sweeping = map[Digest]bool{}
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		j.sweeping = nil
		j.mu.Unlock()
	}()
	used, err := j.referred()
	if err != nil {
		return 0, 0, fmt.Errorf("sweep: %w", err)
	}
	dirs, err := j.fs.ReadDir(j.path("blobs"))
	if err != nil {
		return 0, 0, fmt.Errorf("sweep: %w", err)
	}
	for _, dir := range dirs {
		files, err := j.fs.ReadDir(j.path("blobs", dir.Name()))
		if err != nil {
			return removed, bytes, fmt.Errorf("sweep: %w", err)
		}
		for _, f := range files {
			raw, err := hex.DecodeString(f.Name())
			if err != nil || len(raw) != len(Digest{}) || used[Digest(raw)] {
				continue
			}
			n, err := j.removeBlob(Digest(raw), before)
			if err != nil {
				return removed, bytes, fmt.Errorf("sweep: %w", err)
			}
			if n >= 0 {
				removed, bytes = removed+1, bytes+n
			}
		}
	}
	return removed, bytes, nil
}

// referred are the blobs that records of any lab refer to.
func (j *Journal) referred() (map[Digest]bool, error) {
	labs, err := j.Labs()
	if err != nil {
		return nil, err
	}
	used := map[Digest]bool{}
	for _, l := range labs {
		report, err := j.Read(l.ID, func(r Record) error {
			for _, d := range r.Blobs {
				used[d] = true
			}
			return nil
		})
		if errors.Is(err, ErrNoLab) {
			continue // deleted in between
		}
		if err != nil {
			return nil, err
		}
		if len(report.Damage) > 0 {
			return nil, errors.New(report.Damage[0].String())
		}
	}
	return used, nil
}

// removeBlob removes a blob that is old enough and was not referred to meanwhile. -1 when it stays.
func (j *Journal) removeBlob(d Digest, before time.Time) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	name := j.blobName(d)
	info, err := j.fs.Stat(name)
	if err != nil {
		return -1, err
	}
	if j.sweeping[d] || !info.ModTime().Before(before) {
		return -1, nil
	}
	return info.Size(), j.fs.Remove(name)
}
