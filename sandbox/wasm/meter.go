package wasm

// meter rewrites one function body. The cost of straight-line code is charged where control enters it: at the function's entry and at the
// head of each loop. A unit is the
// head itself with some hundred simple instructions, of which a typical pass executes few; see weigh and Instance.setPace.
type meter struct {
	m       *module
	r       *reader // over the body
	lim     Limits
	out     []byte
	copied  int // everything before this position of the input is in out
	frames  []frame
	blocks  int    // so far in this pass
	locals  uint32 // of the original function, parameters included
	refill  uint32 // index of the fuel call
	fuel    uint32 // index of the fuel global
	used    bool   // the i64 scratch local is needed
	usedI32 bool   // the i32 one too
	calls   bool
	costs   []int // by loop in order of appearance; [0] is the function itself
}

// frame is an open block. A loop in the double form has one label more outside of it.
type frame struct {
	extra bool
	cost  int // index into costs of the loop (or function) whose code this is
}

const (
	unitWeight   = 512
	localWeight  = 16
	memoryWeight = 8
)

// writeCode meters every function.
func (m *module) writeCode(r *reader, lim Limits) []byte {
	n := r.count()
	if int(n) != len(m.funcTypes) {
		r.failf("%d bodies for %d functions", n, len(m.funcTypes))
		return nil
	}
	var helpers [][]byte
	if m.bulkHelpers() {
		helpers = m.bulkBodies()
	}
	b := appendU32(make([]byte, 0, len(r.b)+len(r.b)/16), n+uint32(len(helpers)))
	mt := &meter{m: m, lim: lim, refill: m.importedFuncs, fuel: m.globals}
	for i := range n {
		body := r.bytes(r.u32())
		if r.err != nil {
			return nil
		}
		if len(body) > lim.FunctionBody {
			r.failf("function %d has %d bytes, at most %d are allowed", i, len(body), lim.FunctionBody)
			return nil
		}
		code, err := mt.function(body, m.params[m.funcTypes[i]])
		if err != nil {
			r.failf("function %d: %w", i, err)
			return nil
		}
		b = append(appendU32(b, uint32(len(code))), code...)
	}
	for _, code := range helpers {
		b = append(appendU32(b, uint32(len(code))), code...)
	}
	return b
}

// function runs over the body twice: the first pass finds the costs, the second writes.
func (mt *meter) function(body []byte, params int) ([]byte, error) {
	mt.costs, mt.calls = append(mt.costs[:0], 0), false
	start, groups := mt.header(body, params)
	mt.costs[0] = localWeight * int(mt.locals) // they are cleared, and deepen the stack
	if mt.r.err != nil {
		return nil, mt.r.err
	}
	first := mt.r.pos < len(body) && body[mt.r.pos] == 0x03
	if mt.walk(false); mt.r.err != nil {
		return nil, mt.r.err
	}
	mt.out, mt.used, mt.usedI32 = mt.out[:0], false, false
	mt.r = &reader{b: body, pos: start}
	mt.copied = start
	if (mt.calls || mt.costs[0] > unitWeight) && !first {
		mt.charge(mt.cost(0))
		mt.callIfSpent()
	}
	if mt.walk(true); mt.r.err != nil {
		return nil, mt.r.err
	}
	mt.flush(mt.r.pos)
	return mt.assemble(body, start, groups), nil
}

// header reads the locals; groups is their number of groups.
func (mt *meter) header(body []byte, params int) (start int, groups uint32) {
	mt.r = &reader{b: body}
	groups = mt.r.count()
	total := uint64(params)
	for range groups {
		total += uint64(mt.r.u32())
		mt.r.byte()
	}
	if total > uint64(mt.lim.Locals) {
		mt.r.failf("%d locals, at most %d are allowed", total, mt.lim.Locals)
	}
	mt.locals = uint32(total)
	return mt.r.pos, groups
}

// assemble puts the scratch locals behind the others.
func (mt *meter) assemble(body []byte, start int, groups uint32) []byte {
	r := &reader{b: body}
	r.u32()
	decls := body[r.pos:start]
	extra := uint32(0)
	if mt.used {
		extra++
	}
	if mt.usedI32 {
		extra++
	}
	code := make([]byte, 0, len(mt.out)+len(decls)+16)
	code = append(appendU32(code, groups+extra), decls...)
	if mt.used {
		code = append(code, 1, typeI64)
	}
	if mt.usedI32 {
		code = append(code, 1, typeI32)
	}
	return append(code, mt.out...)
}

func (mt *meter) cost(i int) int64 { return min(int64(1+mt.costs[i]/unitWeight), MinSlice-1) }

func (mt *meter) flush(to int) {
	mt.out = append(mt.out, mt.r.b[mt.copied:to]...)
	mt.copied = to
}

// charge emits: fuel -= n, and leaves the new fuel in the scratch local.
func (mt *meter) charge(n int64) {
	mt.used = true
	mt.out = appendU32(append(mt.out, 0x23), mt.fuel)
	mt.out = appendS64(append(mt.out, 0x42), n)
	mt.out = append(mt.out, 0x7d)
	mt.out = appendU32(append(mt.out, 0x22), mt.locals)
	mt.out = appendU32(append(mt.out, 0x24), mt.fuel)
}

// spent emits: is the scratch local negative?
func (mt *meter) spent() {
	mt.out = appendU32(append(mt.out, 0x20), mt.locals)
	mt.out = append(mt.out, 0x42, 0, 0x53)
}

func (mt *meter) callIfSpent() {
	mt.spent()
	mt.out = append(mt.out, 0x04, 0x40)
	mt.out = appendU32(append(mt.out, 0x10), mt.refill)
	mt.out = append(mt.out, 0x0b)
}

// loop emits a loop's head in place of the original's. Without parameters it is the double form: an outer loop calls the host when the fuel
// is spent, so that the call does not merge into the hot inner one.
func (mt *meter) loop(blockType []byte, cost int, params bool) {
	if params {
		mt.out = append(append(mt.out, 0x03), blockType...)
		mt.charge(mt.cost(cost))
		mt.callIfSpent()
		return
	}
	mt.out = append(append(mt.out, 0x03), blockType...)
	mt.out = appendU32(append(mt.out, 0x23), mt.fuel)
	mt.out = append(mt.out, 0x42, 0, 0x53, 0x04, 0x40)
	mt.out = appendU32(append(mt.out, 0x10), mt.refill)
	mt.out = append(mt.out, 0x0b)
	mt.out = append(append(mt.out, 0x03), blockType...)
	mt.charge(mt.cost(cost))
	mt.spent()
	mt.out = append(mt.out, 0x0d, 1)
}

// bulk emits, before an instruction whose operand on top is a number of bytes or entries: fuel -= n/64.
func (mt *meter) bulk() {
	mt.used, mt.usedI32 = true, true
	mt.out = appendU32(append(mt.out, 0x22), mt.locals+1)
	mt.out = appendU32(append(mt.out, 0x23), mt.fuel)
	mt.out = appendU32(append(mt.out, 0x20), mt.locals+1)
	mt.out = append(mt.out, 0xad, 0x42, bulkShift, 0x88, 0x7d)
	mt.out = appendU32(append(mt.out, 0x22), mt.locals)
	mt.out = appendU32(append(mt.out, 0x24), mt.fuel)
	mt.callIfSpent()
}

// depth is a branch's label index in the rewritten body.
func (mt *meter) depth(d uint32) uint32 {
	if d >= uint32(len(mt.frames)) {
		mt.r.failf("branch to unknown label %d", d)
		return 0
	}
	extra := uint32(0)
	for _, f := range mt.frames[len(mt.frames)-int(d):] {
		if f.extra {
			extra++
		}
	}
	return d + extra
}
