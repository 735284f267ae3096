package wasm

// walk goes over a body's instructions up to its end; with write it emits the metered ones, without it adds up their weight.
func (mt *meter) walk(write bool) {
	r := mt.r
	loops := 0
	mt.frames = append(mt.frames[:0], frame{})
	mt.blocks = 0
	for len(mt.frames) > 0 {
		if r.err != nil {
			return
		}
		at := r.pos
		op := r.byte()
		top := &mt.frames[len(mt.frames)-1]
		if !write {
			mt.costs[top.cost] += weigh(op)
		}
		switch op {
		case 0x02, 0x04: // block, if
			mt.blockType()
			mt.push(frame{cost: top.cost})
		case 0x03: // loop
			loops++
			bt := r.pos
			params := mt.blockType()
			mt.push(frame{extra: !params, cost: loops})
			if !write {
				mt.costs = append(mt.costs, 0)
				continue
			}
			mt.flush(at)
			mt.loop(r.b[bt:r.pos], loops, params)
			mt.copied = r.pos
		case 0x0b: // end
			if write && top.extra {
				mt.flush(r.pos)
				mt.out = append(mt.out, 0x0b)
			}
			mt.frames = mt.frames[:len(mt.frames)-1]
		case 0x0c, 0x0d: // br, br_if
			mt.branch(write)
		case 0x0e: // br_table
			n := r.count()
			if !write {
				mt.costs[top.cost] += int(n) / 4
			} else {
				mt.flush(at)
				mt.out = appendU32(append(mt.out, op), n)
			}
			for range n + 1 {
				d := mt.depth(r.u32())
				if r.err != nil {
					return
				}
				if write {
					mt.out = appendU32(mt.out, d)
				}
			}
			if write {
				mt.copied = r.pos
			}
		case 0x10, 0xd2: // call, ref.func
			mt.calls = true
			mt.function1(write)
		case 0x11: // call_indirect
			mt.calls = true
			mt.typeIndex(r.u32())
			r.u32()
		case 0x12, 0x13, 0x14, 0x15:
			r.failf("tail calls are not supported")
		case 0x20, 0x21, 0x22: // local.get, local.set, local.tee
			if l := r.u32(); l >= mt.locals {
				r.failf("unknown local %d", l)
			}
		case 0x23, 0x24: // global.get, global.set
			if g := r.u32(); g >= mt.m.globals {
				r.failf("unknown global %d", g)
			}
		case 0xfc:
			mt.prefixFC(at, write)
		case 0xfd:
			mt.prefixFD(top.cost, write)
		default:
			skipImmediate(r, op)
		}
	}
	if r.err == nil && !r.done() {
		r.failf("code after the end of the body")
	}
}

func (mt *meter) push(f frame) {
	if len(mt.frames) >= mt.lim.Nesting {
		mt.r.failf("blocks nested deeper than %d", mt.lim.Nesting)
		return
	}
	if mt.blocks++; mt.blocks*int(mt.locals+1) > mt.lim.Values {
		mt.r.failf("%d blocks over %d locals", mt.blocks, mt.locals)
		return
	}
	mt.frames = append(mt.frames, f)
}

// weigh is what an instruction counts in the cost of its stretch of code: memory accesses may miss the cache, divisions take long.
func weigh(op byte) int {
	switch {
	case op >= 0x28 && op <= 0x3e, op == 0x11, op == 0x25, op == 0x26:
		return memoryWeight
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82, op == 0x95, op == 0xa3, op == 0x91, op == 0x9f:
		return memoryWeight
	case op == 0x40: // memory.grow calls the host
		return 4 * unitWeight
	}
	return 1
}

// blockType reads a block's type; params reports whether it takes operands.
func (mt *meter) blockType() (params bool) {
	t := mt.r.s33()
	if t < 0 {
		return false
	}
	mt.typeIndex(uint32(t))
	return mt.r.err == nil && mt.m.params[t] > 0
}

func (mt *meter) typeIndex(t uint32) {
	if uint64(t) >= uint64(len(mt.m.params)) {
		mt.r.failf("unknown type %d", t)
	}
}

// branch rewrites the label of the branch whose opcode was just read.
func (mt *meter) branch(write bool) {
	at := mt.r.pos
	old := mt.r.u32()
	d := mt.depth(old)
	if write && d != old && mt.r.err == nil {
		mt.flush(at)
		mt.out = appendU32(mt.out, d)
		mt.copied = mt.r.pos
	}
}

// function1 rewrites the function index of the instruction whose opcode was just read.
func (mt *meter) function1(write bool) {
	at := mt.r.pos
	old := mt.r.u32()
	f := mt.m.shift(mt.r, old)
	if write && f != old && mt.r.err == nil {
		mt.flush(at)
		mt.out = appendU32(mt.out, f)
		mt.copied = mt.r.pos
	}
}

// skipImmediate passes over the operands of instructions that need no change (spec 5.4).
func skipImmediate(r *reader, op byte) {
	switch {
	case op == 0x00, op == 0x01, op == 0x05, op == 0x0f, op == 0x1a, op == 0x1b, op == 0xd1, op >= 0x45 && op <= 0xc4:
	case op == 0x1c:
		r.bytes(r.count())
	case op == 0x25, op == 0x26:
		r.u32()
	case op >= 0x28 && op <= 0x3e:
		r.u32()
		r.u32()
	case op == 0x3f, op == 0x40, op == 0xd0:
		r.byte()
	case op == 0x41:
		r.skipLEB(5)
	case op == 0x42:
		r.skipLEB(10)
	case op == 0x43:
		r.bytes(4)
	case op == 0x44:
		r.bytes(8)
	default:
		r.failf("opcode %#x is not supported", op)
	}
}

// fcOperands is how many indices follow each bulk memory or table instruction.
var fcOperands = [18]int{8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}

// prefixFC handles saturating conversions, bulk memory and table instructions.
func (mt *meter) prefixFC(at int, write bool) {
	r := mt.r
	sub := r.u32()
	switch {
	case sub <= 7:
		return
	case sub > 17:
		r.failf("opcode 0xfc %d is not supported", sub)
		return
	}
	for range fcOperands[sub] {
		r.u32()
	}
	if !write || sub == 9 || sub == 13 || sub == 16 || r.err != nil {
		return
	}
	end := r.pos
	mt.flush(at)
	if (sub == opCopy || sub == opFill) && mt.m.bulkHelpers() {
		mt.large(sub, r.b[at:end])
		mt.copied = end
		return
	}
	mt.bulk()
	mt.flush(end)
}

// prefixFD handles vector instructions: nothing but their operands' sizes and weight matter.
func (mt *meter) prefixFD(cost int, write bool) {
	r := mt.r
	sub := r.u32()
	memory := sub <= 11 || sub >= 84 && sub <= 93
	switch {
	case memory:
		r.u32()
		r.u32()
		if sub >= 84 && sub <= 91 {
			r.byte()
		}
		if !write {
			mt.costs[cost] += memoryWeight
		}
	case sub == 12, sub == 13:
		r.bytes(16)
	case sub >= 21 && sub <= 34:
		r.byte()
	case sub > 255:
		r.failf("opcode 0xfd %d is not supported", sub)
	}
}
