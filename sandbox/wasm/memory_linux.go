package wasm

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxMappings is how many memory mappings guests may take together. At vm.max_map_count (65,530 by default) Go's own heap could not grow and
// the process would die, so we stay well below.
const maxMappings = 28_000

var mappings atomic.Int64

// image is a memory's content, shared copy-on-write by all instances.
type image struct {
	size int // bytes, whole wasm pages
	file *os.File
}

// newImage keeps data, padded with zeros to size.
func newImage(data []byte, size int) (*image, error) {
	fd, err := unix.MemfdCreate("drydock-image", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "drydock-image")
	if err := writeSparse(f, data, size); err != nil {
		f.Close()
		return nil, err
	}
	return &image{size: size, file: f}, nil
}

// writeSparse writes the pages that are not zero, so that untouched ones cost nothing.
func writeSparse(f *os.File, data []byte, size int) error {
	if err := f.Truncate(int64(size)); err != nil {
		return err
	}
	const page = 4096
	for off := 0; off < len(data); off += page {
		p := data[off:min(off+page, len(data))]
		if len(trimZeros(p)) == 0 {
			continue
		}
		if _, err := f.WriteAt(p, int64(off)); err != nil {
			return err
		}
	}
	return nil
}

func (im *image) close() { im.file.Close() }

// memory is the linear memory of one instance: a reservation of address space of which wazero sees the grown part. Pages get real when touched.
type memory struct {
	base unsafe.Pointer
	b    []byte // the whole reservation
	maps int64
}

// reserve maps max bytes, the first im.size of them the image.
func (m *memory) reserve(im *image, max uint64) error {
	m.maps = 1
	if im != nil {
		m.maps = 2
	}
	if mappings.Add(m.maps) > maxMappings {
		mappings.Add(-m.maps)
		return fmt.Errorf("too many guests: %d memory mappings are in use", maxMappings)
	}
	base, err := unix.MmapPtr(-1, 0, nil, uintptr(max), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		mappings.Add(-m.maps)
		return fmt.Errorf("reserve memory: %w", err)
	}
	if im != nil && im.size > 0 {
		_, err = unix.MmapPtr(int(im.file.Fd()), 0, base, uintptr(im.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
		if err != nil {
			unix.MunmapPtr(base, uintptr(max))
			mappings.Add(-m.maps)
			return fmt.Errorf("map image: %w", err)
		}
	}
	m.base, m.b = base, unsafe.Slice((*byte)(base), max)
	return nil
}

// slice is the memory's first size bytes.
func (m *memory) slice(size uint64) []byte {
	if size > uint64(len(m.b)) {
		return nil
	}
	return m.b[:size]
}

// free gives everything back. Twice is fine.
func (m *memory) free() {
	if m.base == nil {
		return
	}
	unix.MunmapPtr(m.base, uintptr(len(m.b)))
	mappings.Add(-m.maps)
	m.base, m.b = nil, nil
}
