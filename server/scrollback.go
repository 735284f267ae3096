package server

import "bytes"

// scrollback keeps the last bytes that a terminal wrote, so that a page that comes back can paint them. What it drops it drops by whole lines,
// and remembers the modes that the dropped part had switched on: a program on the alternate screen stays there.
// It is not safe for concurrent use.
type scrollback struct {
	limit   int
	start   int64 // position of data[0] in everything ever written
	data    []byte
	dropped modes
}

// end is the position after the last byte.
func (s *scrollback) end() int64 { return s.start + int64(len(s.data)) }

func (s *scrollback) write(p []byte) {
	s.data = append(s.data, p...)
	if len(s.data) <= s.limit {
		return
	}
	cut := len(s.data) - s.limit*3/4 // a quarter at a time, so that dropping costs little
	if nl := bytes.IndexByte(s.data[cut:], '\n'); nl >= 0 && nl < s.limit/4 {
		cut += nl + 1
	}
	s.dropped.feed(s.data[:cut])
	s.start += int64(cut)
	s.data = append(s.data[:0:0], s.data[cut:]...)
}

// from returns a copy of what was written from position at on; false if that is dropped already.
func (s *scrollback) from(at int64, most int) ([]byte, bool) {
	if at < s.start || at > s.end() {
		return nil, false
	}
	p := s.data[at-s.start:]
	return bytes.Clone(p[:min(len(p), most)]), true
}

// modes are the private modes (DECSET, "ESC [ ? n h") that are on.
type modes struct {
	on    map[string]bool
	order []string
	state byte // 0 text, 1 after ESC, 2 in CSI
	param []byte
}

func (m *modes) feed(p []byte) {
	for _, b := range p {
		switch {
		case b == 0x1b:
			m.state = 1
		case m.state == 1:
			m.state, m.param = 0, m.param[:0]
			if b == '[' {
				m.state = 2
			}
		case m.state == 2 && b >= 0x20 && b < 0x40:
			if len(m.param) < 32 {
				m.param = append(m.param, b)
			}
		case m.state == 2:
			m.state = 0
			if len(m.param) > 1 && m.param[0] == '?' && (b == 'h' || b == 'l') {
				m.set(m.param[1:], b == 'h')
			}
		}
	}
}

func (m *modes) set(params []byte, on bool) {
	if m.on == nil {
		m.on = map[string]bool{}
	}
	for _, n := range bytes.Split(params, []byte{';'}) {
		name := string(n)
		if _, known := m.on[name]; !known {
			if len(m.order) >= 64 {
				continue
			}
			m.order = append(m.order, name)
		}
		m.on[name] = on
	}
}

// sequence switches on what is on.
func (m *modes) sequence() []byte {
	var out []byte
	for _, name := range m.order {
		if m.on[name] {
			out = append(append(append(out, "\x1b[?"...), name...), 'h')
		}
	}
	return out
}

// plain undoes what a program that died with its terminal left switched on, and begins a line.
func (m *modes) plain() []byte {
	var out []byte
	for _, name := range m.order {
		if m.on[name] && name != "7" && name != "25" { // wrapping and the cursor are on for a shell
			out = append(append(append(out, "\x1b[?"...), name...), 'l')
		}
	}
	return append(out, "\x1b[?25h\x1b[0m\r\n"...)
}
