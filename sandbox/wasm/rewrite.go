package wasm

import (
	"fmt"
	"slices"
)

// RewriterVersion changes with every change of what Rewrite emits; caches are keyed by it.
const RewriterVersion = "5"

// rewritten is a metered module.
type rewritten struct {
	Module  []byte
	Memory  []byte // reactors: the memory's content before anything ran, without trailing zeros
	Reactor bool   // exports _initialize, prepare and run
	Start   bool   // has a start function, exported as __drydock_start: it is called like an entry, when fuel can be given
	Globals int    // mutable globals, exported as __drydock_g0…

	HasMemory          bool
	MinPages, MaxPages uint32 // of 64 KiB
}

// rewrite adds fuel metering to a module (package comment) and, for a reactor, takes its data segments out into an image. What it returns
// must still be validated: it checks only what it would otherwise make valid.
func rewrite(b []byte, lim Limits) (*rewritten, error) {
	m, err := parse(b, lim)
	if err != nil {
		return nil, err
	}
	out := &rewritten{Start: m.present[secStart], Globals: len(m.mutable), Reactor: m.exportsFunc("_initialize") && m.exportsFunc("prepare") && m.exportsFunc("run")}
	mod := append(make([]byte, 0, len(b)+len(b)/16), b[:8]...)
	for _, step := range []struct {
		id int
		f  func(r *reader) []byte
	}{
		{secType, m.writeTypes}, {secImport, m.writeImports}, {secFunction, m.writeFunctions},
		{secTable, func(r *reader) []byte { return writeLimits(r, true, lim.TableEntries/max(m.tables, 1)) }},
		{secMemory, func(r *reader) []byte { return writeMemory(r, out, lim) }},
		{secGlobal, m.writeGlobals}, {secExport, m.writeExports}, {secElement, m.writeElements}, {secDataCount, nil},
		{secCode, func(r *reader) []byte { return m.writeCode(r, lim) }},
		{secData, func(r *reader) []byte { return m.writeData(r, out, lim) }},
	} {
		always := step.id <= secImport || step.id == secGlobal || step.id == secExport
		if !m.present[step.id] && !always {
			continue
		}
		body := m.sections[step.id]
		if step.f != nil {
			if !m.present[step.id] {
				body = []byte{0}
			}
			r := &reader{b: body}
			if body = step.f(r); r.err != nil {
				return nil, fmt.Errorf("section %d: %w", step.id, r.err)
			}
		}
		mod = appendSection(mod, byte(step.id), body)
	}
	out.Module = mod
	return out, nil
}

func (m *module) exportsFunc(name string) bool {
	e, ok := m.exports[name]
	return ok && e.kind == kindFunc
}

// writeTypes appends the types of the fuel call and of the bulk helpers.
func (m *module) writeTypes(r *reader) []byte {
	n := r.u32()
	return append(append(appendU32(nil, n+2), r.b[r.pos:]...), 0x60, 0, 0, 0x60, 3, typeI32, typeI32, typeI32, 0)
}

// writeFunctions appends the bulk helpers.
func (m *module) writeFunctions(r *reader) []byte {
	if !m.bulkHelpers() {
		return r.b
	}
	n := r.u32()
	b := append(appendU32(nil, n+2), r.b[r.pos:]...)
	return appendU32(appendU32(b, m.bulkType()), m.bulkType())
}

// writeImports appends the fuel call after all other imports.
func (m *module) writeImports(r *reader) []byte {
	n := r.u32()
	b := append(appendU32(nil, n+1), r.b[r.pos:]...)
	b = appendName(appendName(b, meterModule), "refill")
	return appendU32(append(b, kindFunc), uint32(len(m.params)))
}

// writeLimits copies table or memory types with their maximum bounded.
func writeLimits(r *reader, table bool, max uint32) []byte {
	n := r.count()
	b := appendU32(nil, n)
	for range n {
		if table {
			b = append(b, r.byte())
		}
		flag, least, most := r.byte(), r.u32(), max
		if flag > 1 {
			r.failf("limits of kind %d are not supported", flag)
		}
		if flag == 1 {
			most = min(most, r.u32())
		}
		if least > max {
			r.failf("asks for %d units at the start, at most %d are allowed", least, max)
		}
		b = appendU32(appendU32(append(b, 1), least), most)
	}
	return b
}

// writeMemory is writeLimits for the memory, whose size the starter must know.
func writeMemory(r *reader, out *rewritten, lim Limits) []byte {
	b := writeLimits(r, false, lim.MemoryPages)
	p := &reader{b: b}
	if p.u32() > 0 && r.err == nil {
		p.byte()
		out.HasMemory, out.MinPages, out.MaxPages = true, p.u32(), p.u32()
	}
	return b
}

// writeGlobals appends the fuel.
func (m *module) writeGlobals(r *reader) []byte {
	n := r.count()
	b := appendU32(nil, n+1)
	for range n {
		b = append(b, r.byte(), r.byte())
		m.skipExpr(r, &b)
	}
	return append(b, typeI64, 1, 0x42, 0, 0x0b)
}

func (m *module) writeExports(r *reader) []byte {
	n := r.count()
	extra := 1 + uint32(len(m.mutable))
	if m.present[secStart] {
		extra++
	}
	b := appendU32(nil, n+extra)
	for range n {
		b = appendName(b, r.name())
		kind, index := r.byte(), r.u32()
		if kind == kindFunc {
			index = m.shift(r, index)
		}
		if kind == kindGlobal && index >= m.globals {
			r.failf("unknown global %d", index)
		}
		b = appendU32(append(b, kind), index)
	}
	b = appendU32(append(appendName(b, fuelExport), kindGlobal), m.globals)
	for i, g := range m.mutable {
		b = appendU32(append(appendName(b, globalExport(i)), kindGlobal), g)
	}
	if m.present[secStart] {
		s := &reader{b: m.sections[secStart]}
		b = appendU32(append(appendName(b, startExport), kindFunc), m.shift(s, s.u32()))
		if s.err != nil {
			r.fail(s.err)
		}
	}
	return b
}

const (
	fuelExport  = ReservedPrefix + "fuel"
	startExport = ReservedPrefix + "start"
)

func globalExport(i int) string { return fmt.Sprintf("%sg%d", ReservedPrefix, i) }

// writeElements shifts the function indices of element segments (spec 5.5.12: eight forms).
func (m *module) writeElements(r *reader) []byte {
	n := r.count()
	b := appendU32(nil, n)
	for range n {
		flag := r.u32()
		if flag > 7 {
			r.failf("element segment of kind %d", flag)
			return nil
		}
		b = appendU32(b, flag)
		if flag&1 == 0 { // active
			if flag&2 != 0 {
				b = appendU32(b, r.u32())
			}
			m.skipExpr(r, &b)
		}
		if flag&3 != 0 {
			b = append(b, r.byte()) // element kind or reference type
		}
		k := r.count()
		b = appendU32(b, k)
		for range k {
			if flag&4 != 0 {
				m.skipExpr(r, &b)
			} else {
				b = appendU32(b, m.shift(r, r.u32()))
			}
			if r.err != nil {
				return nil
			}
		}
	}
	return b
}

// writeData copies data segments. Of a reactor, active ones are applied to the image and go: an instance of a Go program keeps 24 bytes for each
// of 100,000. Where instructions name segments (only with a data count), they become empty passive ones, so that indices stay.
func (m *module) writeData(r *reader, out *rewritten, lim Limits) []byte {
	var b []byte
	left := uint32(0)
	for range r.count() {
		flag := r.u32()
		if flag > 2 {
			r.failf("data segment of kind %d", flag)
			return nil
		}
		start := r.pos
		if flag == 2 {
			r.u32()
		}
		offset, constant := uint32(0), false
		if flag != 1 {
			offset, constant = m.offset(r)
		}
		head := r.b[start:r.pos]
		data := r.bytes(r.u32())
		if r.err != nil {
			return nil
		}
		if out.Reactor && lim.Image && flag != 1 && constant {
			end := uint64(offset) + uint64(len(data))
			if end > uint64(out.MinPages)<<16 {
				r.failf("data segment ends at %d, beyond the memory", end)
				return nil
			}
			if grow := int(end) - len(out.Memory); grow > 0 {
				out.Memory = append(out.Memory, make([]byte, grow)...)
			}
			copy(out.Memory[offset:], data)
			if m.present[secDataCount] {
				b = append(b, 1, 0)
				left++
			}
			continue
		}
		left++
		b = append(appendU32(b, flag), head...)
		b = append(appendU32(b, uint32(len(data))), data...)
	}
	out.Memory = trimZeros(out.Memory)
	return append(appendU32(nil, left), b...)
}

// offset reads a segment's offset expression; constant reports whether it is a plain i32.const.
func (m *module) offset(r *reader) (v uint32, constant bool) {
	if r.pos < len(r.b) && r.b[r.pos] == 0x41 {
		p := *r
		p.pos++
		v = uint32(p.s33())
		if p.err == nil && p.byte() == 0x0b {
			*r = p
			return v, true
		}
	}
	m.skipExpr(r, nil)
	return 0, false
}

func trimZeros(b []byte) []byte {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return slices.Clip(b[:n])
}
