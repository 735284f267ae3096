package network

// buffer is a bounded byte queue that holds memory only while it holds bytes.
type buffer struct {
	data  []byte // unread bytes are data[off:]
	off   int
	limit int
}

func (b *buffer) len() int  { return len(b.data) - b.off }
func (b *buffer) room() int { return b.limit - b.len() }

// write takes as many bytes as there is room for.
func (b *buffer) write(p []byte) int {
	n := min(len(p), b.room())
	if b.off > 0 && len(b.data)+n > cap(b.data) {
		b.data = b.data[:copy(b.data, b.data[b.off:])]
		b.off = 0
	}
	b.data = append(b.data, p[:n]...)
	return n
}

// read moves bytes out; with peek they stay.
func (b *buffer) read(p []byte, peek bool) int {
	n := copy(p, b.data[b.off:])
	if peek {
		return n
	}
	b.off += n
	if b.off == len(b.data) {
		b.off = 0
		if cap(b.data) > 4<<10 {
			b.data = nil
		} else {
			b.data = b.data[:0]
		}
	}
	return n
}
