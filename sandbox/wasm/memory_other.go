//go:build !linux

package wasm

// image is a memory's content. Without memfd each instance gets a copy.
type image struct {
	size int
	data []byte
}

func newImage(data []byte, size int) (*image, error) {
	return &image{size: size, data: append([]byte(nil), data...)}, nil
}

func (im *image) close() { im.data = nil }

// memory is the linear memory of one instance, on Go's heap.
type memory struct {
	b     []byte
	limit uint64
	first *image
}

func (m *memory) reserve(im *image, max uint64) error {
	m.first, m.limit = im, max
	return nil
}

func (m *memory) slice(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if m.b == nil && m.first != nil {
		m.b = make([]byte, max(size, uint64(m.first.size)))
		copy(m.b, m.first.data)
	}
	if size > uint64(len(m.b)) {
		m.b = append(m.b, make([]byte, size-uint64(len(m.b)))...)
	}
	return m.b[:size]
}

func (m *memory) free() { m.b = nil }
