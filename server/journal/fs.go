package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// FS is the file system that the journal is on. Names are whole paths. The zero Config uses the host's; tests use one that runs full.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	MkdirAll(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	Chtimes(name string, atime, mtime time.Time) error
}

// File is what the journal does with an open file or, for Sync, with an open folder.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	Fd() uintptr
}

// host is the host's file system.
type host struct{}

func (host) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not a File that holds a nil pointer
	}
	return f, nil
}
func (host) ReadDir(name string) ([]fs.DirEntry, error)        { return os.ReadDir(name) }
func (host) Stat(name string) (fs.FileInfo, error)             { return os.Stat(name) }
func (host) MkdirAll(name string, perm fs.FileMode) error      { return os.MkdirAll(name, perm) }
func (host) Rename(from, to string) error                      { return os.Rename(from, to) }
func (host) Remove(name string) error                          { return os.Remove(name) }
func (host) RemoveAll(name string) error                       { return os.RemoveAll(name) }
func (host) Chtimes(name string, atime, mtime time.Time) error { return os.Chtimes(name, atime, mtime) }

// syncDir makes names that were created, renamed or removed in a folder durable, see fsync(2).
func syncDir(fsys FS, dir string) error {
	d, err := fsys.OpenFile(dir, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// publish makes a written temporary file durable under its name. The file is closed in any case, and removed when it fails.
func publish(fsys FS, f File, temp, name string) error {
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(temp))
	}
	return syncDir(fsys, filepath.Dir(name))
}

// isFull reports whether an error says that there is no room: on the disk or in the quota.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// lock takes the installation's lock: ErrLocked where another process, or another Journal of this one, has it.
func lock(fsys FS, name string) (File, error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, err
	}
	return f, nil
}
