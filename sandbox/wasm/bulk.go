package wasm

// A move or fill of many megabytes takes long, and neither a kill nor Go's collector gets in between. So those of more than a chunk go through
// helper functions, appended to the module, that work chunk by chunk and look at the fuel after each.

const (
	bulkChunk = 64 << 10
	bulkUnits = bulkChunk >> bulkShift // of one chunk
	bulkShift = 6                      // a unit is 64 bytes
)

const (
	opCopy = 10 // memory.copy and memory.fill, behind 0xfc
	opFill = 11
)

// bulkHelpers reports whether helpers are appended: two functions behind all others.
func (m *module) bulkHelpers() bool {
	return m.present[secFunction] && m.present[secCode] && m.memories > 0
}

// bulkType is the index of (i32, i32, i32) → (), behind the fuel call's type.
func (m *module) bulkType() uint32 { return uint32(len(m.params)) + 1 }

// bulkFunc is the index of a helper.
func (m *module) bulkFunc(op uint32) uint32 {
	return m.importedFuncs + 1 + uint32(len(m.funcTypes)) + op - opCopy
}

// large emits the instruction at hand, with the number of bytes on top of the stack: small ones as they are, large ones by the helper.
func (mt *meter) large(op uint32, instruction []byte) {
	mt.used, mt.usedI32 = true, true
	mt.out = appendU32(append(mt.out, 0x22), mt.locals+1)
	mt.out = appendU32(append(mt.out, 0x20), mt.locals+1)
	mt.out = append(appendS64(append(mt.out, 0x41), bulkChunk), 0x4b, 0x04) // gt_u if
	mt.out = appendS64(mt.out, int64(mt.m.bulkType()))
	mt.out = appendU32(append(mt.out, 0x10), mt.m.bulkFunc(op))
	mt.out = append(mt.out, 0x05)
	mt.bulk()
	mt.out = append(append(mt.out, instruction...), 0x0b)
}

// asm writes a helper's body; its locals are 0 destination, 1 source or value, 2 bytes left, 3 this chunk.
type asm struct{ b []byte }

func (a *asm) op(b ...byte) *asm    { a.b = append(a.b, b...); return a }
func (a *asm) get(l byte) *asm      { return a.op(0x20, l) }
func (a *asm) set(l byte) *asm      { return a.op(0x21, l) }
func (a *asm) i32(v int64) *asm     { a.b = appendS64(append(a.b, 0x41), v); return a }
func (a *asm) move(l, op byte) *asm { return a.get(l).get(3).op(op).set(l) } // l = l op chunk
func (a *asm) beyond(l byte) *asm {
	return a.get(l).op(0xad).get(2).op(0xad, 0x7c, 0x3f, 0, 0xad, 0x42, 16, 0x86, 0x56)
}
func (a *asm) instruction(op byte) *asm {
	if op == opCopy {
		return a.op(0xfc, op, 0, 0)
	}
	return a.op(0xfc, op, 0)
}

// loop emits a loop over the chunks.
func (a *asm) loop(m *module, step func()) {
	a.op(0x03, 0x40)
	a.op(0x23)
	a.b = appendU32(a.b, m.globals)
	a.b = append(appendS64(append(a.b, 0x42), bulkUnits), 0x7d, 0x24)
	a.b = appendU32(a.b, m.globals)
	a.op(0x23)
	a.b = appendU32(a.b, m.globals)
	a.op(0x42, 0, 0x53, 0x04, 0x40, 0x10)
	a.b = append(appendU32(a.b, m.importedFuncs), 0x0b)
	a.get(2).i32(bulkChunk).get(2).i32(bulkChunk).op(0x49, 0x1b).set(3) // min
	step()
	a.get(2).op(0x0d, 0, 0x0b)
}

// bulkBodies are the code entries of the two helpers. What reaches beyond the memory is left to the instruction, which then traps having
// written nothing.
func (m *module) bulkBodies() [][]byte {
	var bodies [][]byte
	for _, op := range []byte{opCopy, opFill} {
		a := &asm{b: []byte{1, 1, typeI32}}
		a.beyond(0)
		if op == opCopy {
			a.beyond(1).op(0x72)
		}
		a.op(0x04, 0x40).get(0).get(1).get(2).instruction(op).op(0x0f, 0x0b)
		up := func() {
			a.get(0).get(1).get(3).instruction(op).move(0, 0x6a).move(2, 0x6b)
			if op == opCopy {
				a.move(1, 0x6a)
			}
		}
		if op == opFill {
			a.loop(m, up)
		} else {
			a.get(0).get(1).op(0x4d, 0x04, 0x40) // upwards when the destination is below the source
			a.loop(m, up)
			a.op(0x05)
			a.loop(m, func() {
				a.move(2, 0x6b).get(0).get(2).op(0x6a).get(1).get(2).op(0x6a).get(3).instruction(op)
			})
			a.op(0x0b)
		}
		bodies = append(bodies, a.op(0x0b).b)
	}
	return bodies
}
