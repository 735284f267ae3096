package wasm

import (
	"fmt"
	"strings"
)

// Section ids of the binary format.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// sectionOrder is the order in which sections must come; the data count stands before the code.
var sectionOrder = [...]int{secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6, secExport: 7, secStart: 8,
	secElement: 9, secDataCount: 10, secCode: 11, secData: 12}

const (
	kindFunc = iota
	kindTable
	kindMemory
	kindGlobal
)

const (
	typeI64 = 0x7e
	typeI32 = 0x7f
)

// Limits bound what a module may ask of the compiler.
type Limits struct {
	ModuleBytes  int
	Functions    int
	FunctionBody int    // bytes of one function
	Nesting      int    // of blocks
	Locals       int    // of one function
	Values       int    // blocks of one function × its locals: what its data flow graph may hold
	TableEntries uint32 // of all tables
	MemoryPages  uint32 // pages of 64 KiB
	Image        bool   // keep the initial memory of a reactor apart
}

// Untrusted are the limits of modules that a learner may have made: a compile that takes about a second at most.
var Untrusted = Limits{ModuleBytes: 16 << 20, Functions: 60_000, FunctionBody: 256 << 10, Nesting: 5_000, Locals: 10_000, Values: 1 << 20, TableEntries: 100_000, MemoryPages: 16 << 10}

// Trusted are the limits of programs that came with Drydock.
var Trusted = Limits{ModuleBytes: 256 << 20, Functions: 500_000, FunctionBody: 8 << 20, Nesting: 10_000, Locals: 50_000, Values: 64 << 20, TableEntries: 1_000_000, MemoryPages: 16 << 10, Image: true}

// module is what the rewriter needs to know of a module.
type module struct {
	sections [secDataCount + 1][]byte
	present  [secDataCount + 1]bool

	params        []int // number of parameters by type index; -1 for what is no plain function type
	results       []int
	importedFuncs uint32
	funcTypes     []uint32 // of defined functions
	globals       uint32   // imported and defined
	mutable       []uint32 // indices of mutable number globals
	imports       uint32
	memories      uint32
	tables        uint32
	exports       map[string]export
}

type export struct {
	kind  byte
	index uint32
}

// IsWasm reports whether a file begins as a core module of version 1.
func IsWasm(head []byte) bool {
	return len(head) >= 8 && string(head[:8]) == "\x00asm\x01\x00\x00\x00"
}

// ReservedPrefix begins the names that the rewriter adds to a module's exports.
const ReservedPrefix = "__drydock_"

// meterModule is the module name of the fuel call; no guest may import from it.
const meterModule = "drydock_meter"

func parse(b []byte, lim Limits) (*module, error) {
	if !IsWasm(b) {
		return nil, fmt.Errorf("not a WebAssembly module")
	}
	if len(b) > lim.ModuleBytes {
		return nil, fmt.Errorf("module has %d bytes, at most %d are allowed", len(b), lim.ModuleBytes)
	}
	m := &module{exports: map[string]export{}}
	r := &reader{b: b, pos: 8}
	last := 0
	for !r.done() {
		id := r.byte()
		body := r.bytes(r.u32())
		if r.err != nil {
			break
		}
		if id == secCustom {
			continue // names and debug information: nothing of it runs
		}
		if int(id) >= len(m.sections) || sectionOrder[id] <= last {
			r.failf("section %d is unknown or out of order", id)
			break
		}
		last = sectionOrder[id]
		m.sections[id], m.present[id] = body, true
	}
	if r.err != nil {
		return nil, r.err
	}
	for _, step := range []struct {
		name string
		id   int
		f    func(*reader)
	}{
		{"type", secType, m.parseTypes}, {"import", secImport, m.parseImports},
		{"function", secFunction, func(r *reader) { m.parseFunctions(r, lim) }},
		{"table", secTable, func(r *reader) { m.tables = r.count() }},
		{"memory", secMemory, func(r *reader) { m.memories += r.count() }},
		{"global", secGlobal, m.parseGlobals}, {"export", secExport, m.parseExports},
	} {
		if !m.present[step.id] {
			continue
		}
		r := &reader{b: m.sections[step.id]}
		if step.f(r); r.err != nil {
			return nil, fmt.Errorf("%s section: %w", step.name, r.err)
		}
	}
	return m, nil
}

// maxParams bounds parameters and results of a function: the limit that the specification's JavaScript embedding has.
const maxParams = 1000

func (m *module) parseTypes(r *reader) {
	n := r.count()
	for range n {
		if r.byte() != 0x60 {
			r.failf("not a function type")
			return
		}
		p := r.count()
		r.bytes(p)
		q := r.count()
		r.bytes(q)
		if p > maxParams || q > maxParams {
			r.failf("a function type has %d parameters and %d results, at most %d are allowed", p, q, maxParams)
			return
		}
		m.params, m.results = append(m.params, int(p)), append(m.results, int(q))
	}
}

func (m *module) parseImports(r *reader) {
	m.imports = r.count()
	for range m.imports {
		mod := r.name()
		r.name()
		if mod == meterModule {
			r.failf("imports from %q, which is reserved", mod)
		}
		switch kind := r.byte(); kind {
		case kindFunc:
			r.u32()
			m.importedFuncs++
		case kindGlobal:
			r.byte()
			r.byte()
			m.globals++
		default:
			r.failf("imports of kind %d are not provided", kind)
		}
		if r.err != nil {
			return
		}
	}
}

func (m *module) parseFunctions(r *reader, lim Limits) {
	n := r.count()
	if int(n) > lim.Functions {
		r.failf("%d functions, at most %d are allowed", n, lim.Functions)
		return
	}
	for range n {
		t := r.u32()
		if int(t) >= len(m.params) {
			r.failf("unknown type %d", t)
			return
		}
		m.funcTypes = append(m.funcTypes, t)
	}
}

func (m *module) parseGlobals(r *reader) {
	n := r.count()
	for range n {
		t, mut := r.byte(), r.byte()
		m.skipExpr(r, nil)
		if mut == 1 && t >= 0x7c && t <= typeI32 {
			m.mutable = append(m.mutable, m.globals)
		}
		m.globals++
		if r.err != nil {
			return
		}
	}
}

func (m *module) parseExports(r *reader) {
	n := r.count()
	for range n {
		name := r.name()
		e := export{r.byte(), r.u32()}
		if strings.HasPrefix(name, ReservedPrefix) {
			r.failf("exports %q, whose beginning is reserved", name)
			return
		}
		m.exports[name] = e
	}
}

// skipExpr passes over a constant expression (spec 3.3.10). With out it is copied there with function indices shifted.
func (m *module) skipExpr(r *reader, out *[]byte) {
	start := r.pos
	emit := func() {
		if out != nil && r.err == nil {
			*out = append(*out, r.b[start:r.pos]...)
		}
		start = r.pos
	}
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b:
			emit()
			return
		case 0x41:
			r.skipLEB(5)
		case 0x42:
			r.skipLEB(10)
		case 0x43:
			r.bytes(4)
		case 0x44:
			r.bytes(8)
		case 0x23:
			if g := r.u32(); g >= m.globals {
				r.failf("unknown global %d", g)
			}
		case 0xd0:
			r.byte()
		case 0xd2:
			r.pos--
			emit()
			r.pos++
			f := m.shift(r, r.u32())
			if out != nil {
				*out = appendU32(append(*out, 0xd2), f)
			}
			start = r.pos
		case 0xfd:
			if r.u32() != 12 {
				r.failf("not a constant")
			}
			r.bytes(16)
		default:
			r.failf("opcode %#x in a constant expression", op)
		}
	}
}

// shift is a function's index in the rewritten module, where one import more stands before the defined functions.
func (m *module) shift(r *reader, f uint32) uint32 {
	if f >= m.importedFuncs+uint32(len(m.funcTypes)) {
		r.failf("unknown function %d", f)
		return 0
	}
	if f >= m.importedFuncs {
		return f + 1
	}
	return f
}
