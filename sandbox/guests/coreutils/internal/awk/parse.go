package awk

import (
	"fmt"
	"math"
	"strings"
)

// expr and stmt are compiled code.
type (
	expr func(in *interp) value
	stmt func(in *interp) signal
)

// node is a parsed expression.
type node struct {
	eval  expr
	place func(in *interp) place // for what can be assigned to
	cell  func(in *interp) *cell // for a bare variable: it may be an array
	regex *string                // for a bare /pattern/
	list  []node                 // for (a, b)
}

// function is a function of the program's.
type function struct {
	name    string
	params  int
	body    stmt
	defined bool
}

// rule is pattern { action }. A nil body prints the record.
type rule struct {
	pattern, end expr // end closes a range
	body         stmt
	within       *bool
}

// program is a compiled program.
type program struct {
	begin, end []stmt
	rules      []rule
	globals    map[string]*cell
}

type parser struct {
	src    string
	toks   []token
	pos    int
	depth  int
	noGT   bool // '>' is a redirection here
	prog   *program
	funcs  map[string]*function
	used   map[*function]int // where a function was called first
	params map[string]int    // of the function being parsed
	inFunc bool
	loops  int
}

// maxDepth bounds the nesting of a program.
const maxDepth = 500

// parse compiles a program. Its error is a *syntaxError.
func parse(src string) (p *program, err error) {
	toks, err := lex(src)
	if err != nil {
		return nil, err
	}
	ps := &parser{src: src, toks: toks, prog: &program{globals: map[string]*cell{}}, funcs: map[string]*function{}, used: map[*function]int{}}
	defer func() {
		if e, ok := recover().(*syntaxError); ok {
			p, err = nil, e
		}
	}()
	for ps.skipEnds(); ps.tok().kind != tEnd; ps.skipEnds() {
		ps.item()
	}
	for f, at := range ps.used {
		if !f.defined {
			panic(&syntaxError{at, fmt.Sprintf("function `%s' not defined", f.name), true})
		}
	}
	return ps.prog, nil
}

func (p *parser) tok() token { return p.toks[p.pos] }

func (p *parser) peek(n int) token { return p.toks[min(p.pos+n, len(p.toks)-1)] }

func (p *parser) is(text string) bool {
	t := p.tok()
	return t.text == text && (t.kind == tOp || t.kind == tWord)
}

func (p *parser) take(text string) bool {
	if p.is(text) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) fail(format string, args ...any) {
	panic(&syntaxError{at: p.tok().at, text: fmt.Sprintf(format, args...)})
}

func (p *parser) want(text string) {
	if !p.take(text) {
		if p.tok().kind == tNewline || p.tok().kind == tEnd {
			p.fail("unexpected newline or end of string")
		}
		p.fail("syntax error")
	}
}

func (p *parser) skipNewlines() {
	for p.tok().kind == tNewline {
		p.pos++
	}
}

func (p *parser) skipEnds() {
	for p.tok().kind == tNewline || p.is(";") {
		p.pos++
	}
}

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail("program nested too deeply")
	}
}

// item is a rule or a function.
func (p *parser) item() {
	switch {
	case p.take("BEGIN"):
		p.prog.begin = append(p.prog.begin, p.block())
	case p.take("END"):
		p.prog.end = append(p.prog.end, p.block())
	case p.is("function"), p.is("func"):
		p.pos++
		p.function()
	default:
		r := rule{within: new(bool)}
		if !p.is("{") {
			r.pattern = p.expr().value()
			if p.take(",") {
				p.skipNewlines()
				r.end = p.expr().value()
			}
		}
		if p.is("{") {
			r.body = p.block()
		}
		p.prog.rules = append(p.prog.rules, r)
	}
	if t := p.tok(); t.kind != tNewline && t.kind != tEnd && !p.is(";") && p.toks[p.pos-1].text != "}" {
		p.fail("syntax error")
	}
}

func (p *parser) function() {
	t := p.tok()
	if t.kind != tName && t.kind != tCall {
		p.fail("syntax error")
	}
	p.pos++
	f := p.funcNamed(t)
	if f.defined {
		panic(&syntaxError{at: t.at, text: fmt.Sprintf("function name `%s' previously defined", f.name)})
	}
	f.defined = true
	p.want("(")
	p.params = map[string]int{}
	for !p.take(")") {
		if len(p.params) > 0 {
			p.want(",")
			p.skipNewlines()
		}
		if p.tok().kind != tName {
			p.fail("syntax error")
		}
		p.params[p.tok().text] = len(p.params)
		p.pos++
	}
	f.params, p.inFunc = len(p.params), true
	p.skipNewlines()
	f.body = p.block()
	p.params, p.inFunc = nil, false
}

func (p *parser) funcNamed(t token) *function {
	f := p.funcs[t.text]
	if f == nil {
		f = &function{name: t.text}
		p.funcs[t.text] = f
	}
	return f
}

func (p *parser) block() stmt {
	p.want("{")
	var list []stmt
	for p.skipEnds(); !p.take("}"); p.skipEnds() {
		if p.tok().kind == tEnd {
			p.fail("unexpected newline or end of string")
		}
		list = append(list, p.statement())
	}
	return sequence(list)
}

func sequence(list []stmt) stmt {
	return func(in *interp) signal {
		for _, s := range list {
			if sig := s(in); sig != goOn {
				return sig
			}
		}
		return goOn
	}
}

// body is what a condition or loop governs.
func (p *parser) body() stmt {
	p.skipNewlines()
	if p.take(";") {
		return sequence(nil)
	}
	return p.statement()
}

func (p *parser) condition() expr {
	p.want("(")
	e := p.expr().value()
	p.want(")")
	return e
}

func (p *parser) loopBody() stmt {
	p.loops++
	s := p.body()
	p.loops--
	return s
}

func (p *parser) statement() stmt {
	p.enter()
	defer func() { p.depth-- }()
	switch {
	case p.is("{"):
		return p.block()
	case p.take("if"):
		return p.ifStatement()
	case p.take("while"):
		cond := p.condition()
		if p.take(";") {
			return loop(nil, cond, nil, sequence(nil))
		}
		return loop(nil, cond, nil, p.loopBody())
	case p.take("do"):
		body := p.loopBody()
		p.skipEnds()
		p.want("while")
		cond := p.condition()
		p.terminate()
		return func(in *interp) signal {
			for {
				switch sig := body(in); sig {
				case goOn, doContinue:
				case doBreak:
					return goOn
				default:
					return sig
				}
				if !cond(in).true() {
					return goOn
				}
			}
		}
	case p.take("for"):
		return p.forStatement()
	}
	line := p.tok().line
	s := p.simple()
	p.terminate()
	return func(in *interp) signal { in.at = line; return s(in) }
}

// terminate wants the end of a simple statement.
func (p *parser) terminate() {
	if p.tok().kind == tNewline || p.is(";") {
		p.pos++
		return
	}
	if !p.is("}") && p.tok().kind != tEnd {
		p.fail("syntax error")
	}
}

func (p *parser) ifStatement() stmt {
	cond := p.condition()
	then := p.body()
	save := p.pos
	p.skipEnds()
	if !p.take("else") {
		p.pos = save
		return func(in *interp) signal {
			if cond(in).true() {
				return then(in)
			}
			return goOn
		}
	}
	other := p.body()
	return func(in *interp) signal {
		if cond(in).true() {
			return then(in)
		}
		return other(in)
	}
}

func loop(init stmt, cond expr, step, body stmt) stmt {
	return func(in *interp) signal {
		if init != nil {
			init(in)
		}
		for cond == nil || cond(in).true() {
			switch sig := body(in); sig {
			case goOn, doContinue:
			case doBreak:
				return goOn
			default:
				return sig
			}
			if step != nil {
				step(in)
			}
		}
		return goOn
	}
}

func (p *parser) forStatement() stmt {
	p.want("(")
	if p.tok().kind == tName && p.peek(1).text == "in" && p.peek(2).kind == tName && p.peek(3).text == ")" {
		at := p.variable(p.tok().text)
		arr := p.variable(p.peek(2).text).cell
		p.pos += 4
		body := p.loopBody()
		return func(in *interp) signal {
			a := arr(in).array()
			for _, k := range a.list() {
				if !a.has(k) {
					continue
				}
				at.place(in).set(in, str(k))
				switch sig := body(in); sig {
				case goOn, doContinue:
				case doBreak:
					return goOn
				default:
					return sig
				}
			}
			return goOn
		}
	}
	var init, step stmt
	var cond expr
	if !p.is(";") {
		init = p.simple()
	}
	p.want(";")
	p.skipNewlines()
	if !p.is(";") {
		cond = p.expr().value()
	}
	p.want(";")
	p.skipNewlines()
	if !p.is(")") {
		step = p.simple()
	}
	p.want(")")
	return loop(init, cond, step, p.loopBody())
}

// simple is a statement without a body of its own.
func (p *parser) simple() stmt {
	switch {
	case p.is("print"), p.is("printf"):
		return p.print()
	case p.take("break"), p.take("continue"):
		sig := doBreak
		if p.toks[p.pos-1].text == "continue" {
			sig = doContinue
		}
		if p.loops == 0 {
			p.fail("`%s' is not allowed outside a loop", p.toks[p.pos-1].text)
		}
		return func(*interp) signal { return sig }
	case p.take("next"):
		return func(*interp) signal { return doNext }
	case p.take("nextfile"):
		return func(*interp) signal { return doNextFile }
	case p.take("exit"):
		return p.leave(func(in *interp, v value) signal { in.status = int(int64(v.num())) & 0xff; return doExit }, doExit)
	case p.take("return"):
		if !p.inFunc {
			p.fail("`return' used outside function context")
		}
		return p.leave(func(in *interp, v value) signal { in.result = v; return doReturn }, doReturn)
	case p.take("delete"):
		return p.delete()
	}
	e := p.expr().value()
	return func(in *interp) signal { e(in); return goOn }
}

func (p *parser) leave(with func(in *interp, v value) signal, bare signal) stmt {
	if t := p.tok(); t.kind == tNewline || t.kind == tEnd || p.is(";") || p.is("}") {
		return func(*interp) signal { return bare }
	}
	e := p.expr().value()
	return func(in *interp) signal { return with(in, e(in)) }
}

func (p *parser) delete() stmt {
	if p.tok().kind != tName {
		p.fail("syntax error")
	}
	arr := p.variable(p.tok().text).cell
	p.pos++
	if !p.take("[") {
		return func(in *interp) signal { arr(in).array().clear(); return goOn }
	}
	key := p.subscript()
	return func(in *interp) signal { arr(in).array().remove(key(in)); return goOn }
}

// subscript is what stands in brackets; several values are joined by SUBSEP.
func (p *parser) subscript() func(in *interp) string {
	list := p.exprList("]")
	if len(list) == 0 {
		p.fail("syntax error")
	}
	return joined(list)
}

func joined(list []node) func(in *interp) string {
	first := list[0].value()
	if len(list) == 1 {
		return func(in *interp) string { return in.key(first(in)) }
	}
	rest := values(list[1:])
	return func(in *interp) string {
		s := in.key(first(in))
		for _, e := range rest {
			s += in.subsep.v.str("%.6g") + in.key(e(in))
		}
		return s
	}
}

func values(list []node) (out []expr) {
	for _, n := range list {
		out = append(out, n.value())
	}
	return out
}

// exprList reads expressions up to the closing token, and that.
func (p *parser) exprList(closing string) (list []node) {
	old := p.noGT
	p.noGT = false
	defer func() { p.noGT = old }()
	p.skipNewlines()
	for !p.take(closing) {
		if len(list) > 0 {
			p.want(",")
			p.skipNewlines()
		}
		list = append(list, p.expr())
		p.skipNewlines()
	}
	return list
}

func (p *parser) print() stmt {
	formatted := p.tok().text == "printf"
	p.pos++
	list := p.printList()
	args := values(list)
	if formatted && len(args) == 0 {
		p.fail("syntax error")
	}
	var dest expr
	mode := ""
	if p.is(">") || p.is(">>") || p.is("|") {
		mode = p.tok().text
		p.pos++
		p.noGT = true
		dest = p.concat().value()
		p.noGT = false
	}
	return func(in *interp) signal {
		text := ""
		if formatted {
			text = in.sprintf(args)
		} else {
			text = in.printText(args)
		}
		if dest == nil {
			in.write(text)
		} else {
			in.writeTo(mode, in.text(dest(in)), text)
		}
		return goOn
	}
}

// printList reads print's arguments, which may be in parentheses as a whole.
func (p *parser) printList() []node {
	if p.atPrintEnd() {
		return nil
	}
	if save := p.pos; p.take("(") {
		list := p.exprList(")")
		if p.atPrintEnd() {
			return list
		}
		p.pos = save
	}
	p.noGT = true
	defer func() { p.noGT = false }()
	list := []node{p.expr()}
	for p.take(",") {
		p.skipNewlines()
		list = append(list, p.expr())
	}
	return list
}

func (p *parser) atPrintEnd() bool {
	t := p.tok()
	return t.kind == tNewline || t.kind == tEnd || p.is(";") || p.is("}") || p.is(">") || p.is(">>") || p.is("|")
}

// value is the node's value: a bare pattern is matched with the record.
func (n node) value() expr {
	if n.regex != nil {
		re := *n.regex
		return func(in *interp) value { return truth(in.regex(re).Match([]byte(in.record()))) }
	}
	return n.eval
}

func (p *parser) expr() node {
	p.enter()
	defer func() { p.depth-- }()
	c := p.or()
	if !p.take("?") {
		return c
	}
	p.skipNewlines()
	yes := p.expr().value()
	p.skipNewlines()
	p.want(":")
	p.skipNewlines()
	no, cond := p.expr().value(), c.value()
	return node{eval: func(in *interp) value {
		if cond(in).true() {
			return yes(in)
		}
		return no(in)
	}}
}

func (p *parser) or() node {
	left := p.and()
	for p.take("||") {
		p.skipNewlines()
		a, b := left.value(), p.and().value()
		left = node{eval: func(in *interp) value { return truth(a(in).true() || b(in).true()) }}
	}
	return left
}

func (p *parser) and() node {
	left := p.in()
	for p.take("&&") {
		p.skipNewlines()
		a, b := left.value(), p.in().value()
		left = node{eval: func(in *interp) value { return truth(a(in).true() && b(in).true()) }}
	}
	return left
}

func (p *parser) in() node {
	left := p.match()
	for p.take("in") {
		if p.tok().kind != tName {
			p.fail("syntax error")
		}
		arr := p.variable(p.tok().text).cell
		p.pos++
		keys := left.list
		if keys == nil {
			keys = []node{left}
		}
		key := joined(keys)
		left = node{eval: func(in *interp) value { k := key(in); return truth(arr(in).array().has(k)) }}
	}
	if left.list != nil {
		p.fail("syntax error")
	}
	return left
}

func (p *parser) match() node {
	left := p.comparison()
	for p.is("~") || p.is("!~") {
		want := p.tok().text == "~"
		p.pos++
		a, re := left.value(), p.pattern(p.comparison())
		left = node{eval: func(in *interp) value { s := in.text(a(in)); return truth(in.regex(re(in)).Match([]byte(s)) == want) }}
	}
	return left
}

// pattern is the text of a regular expression: a /literal/, or the value of any other expression.
func (p *parser) pattern(n node) func(in *interp) string {
	if n.regex != nil {
		re := *n.regex
		return func(*interp) string { return re }
	}
	e := n.value()
	return func(in *interp) string { return in.text(e(in)) }
}

func (p *parser) comparison() node {
	left := p.concat()
	for p.is("|") && p.peek(1).text == "getline" {
		p.pos += 2
		cmd, to := left.value(), p.getlineTarget()
		left = node{eval: func(in *interp) value { return in.getline(to, in.commandReader(in.text(cmd(in)))) }}
	}
	op := p.tok().text
	if p.tok().kind != tOp || p.noGT && op == ">" {
		return left
	}
	var holds func(d int) bool
	switch op {
	case "<":
		holds = func(d int) bool { return d < 0 }
	case "<=":
		holds = func(d int) bool { return d <= 0 }
	case "==":
		holds = func(d int) bool { return d == 0 }
	case "!=":
		holds = func(d int) bool { return d != 0 }
	case ">":
		holds = func(d int) bool { return d > 0 }
	case ">=":
		holds = func(d int) bool { return d >= 0 }
	default:
		return left
	}
	p.pos++
	a, b := left.value(), p.concat().value()
	return node{eval: func(in *interp) value { x := a(in); return truth(holds(compare(x, b(in), in.convfmt()))) }}
}

func (p *parser) concat() node {
	left := p.additive()
	for {
		switch t := p.tok(); t.kind {
		case tNumber, tString, tRegex, tName, tCall, tBuiltin:
		case tOp:
			if t.text != "$" && t.text != "!" && t.text != "(" && t.text != "++" && t.text != "--" {
				return left
			}
		default:
			return left
		}
		a, b := left.value(), p.additive().value()
		left = node{eval: func(in *interp) value { x := in.text(a(in)); return str(x + in.text(b(in))) }}
	}
}

func (p *parser) additive() node {
	left := p.term()
	for p.is("+") || p.is("-") {
		op := p.tok().text
		p.pos++
		left = arithmetic(op, left, p.term())
	}
	return left
}

func (p *parser) term() node {
	left := p.unary()
	for p.is("*") || p.is("/") || p.is("%") {
		op := p.tok().text
		p.pos++
		left = arithmetic(op, left, p.unary())
	}
	return left
}

func arithmetic(op string, l, r node) node {
	a, b := l.value(), r.value()
	return node{eval: func(in *interp) value { x := a(in).num(); return num(in.calculate(op, x, b(in).num())) }}
}

func (p *parser) unary() node {
	p.enter()
	defer func() { p.depth-- }()
	switch {
	case p.take("!"):
		e := p.unary().value()
		return node{eval: func(in *interp) value { return truth(!e(in).true()) }}
	case p.take("-"):
		e := p.unary().value()
		return node{eval: func(in *interp) value { return num(-e(in).num()) }}
	case p.take("+"):
		e := p.unary().value()
		return node{eval: func(in *interp) value { return num(e(in).num()) }}
	}
	left := p.postfix()
	if p.take("^") {
		return arithmetic("^", left, p.unary()) // right-associative, and −x is allowed on the right
	}
	return left
}

var assignments = map[string]string{"=": "", "+=": "+", "-=": "-", "*=": "*", "/=": "/", "%=": "%", "^=": "^"}

// postfix is a primary with ++ or -- behind it, or an assignment.
func (p *parser) postfix() node {
	n := p.primary()
	if n.place == nil {
		return n
	}
	if p.is("++") || p.is("--") {
		step := 1.0
		if p.tok().text == "--" {
			step = -1
		}
		p.pos++
		return node{eval: func(in *interp) value {
			at := n.place(in)
			old := at.get(in).num()
			at.set(in, num(old+step))
			return num(old)
		}}
	}
	op, ok := assignments[p.tok().text]
	if !ok || p.tok().kind != tOp {
		return n
	}
	p.pos++
	p.skipNewlines()
	right := p.expr().value()
	if op == "" {
		return node{eval: func(in *interp) value {
			v := right(in)
			n.place(in).set(in, v)
			return v
		}}
	}
	return node{eval: func(in *interp) value {
		r := right(in).num()
		at := n.place(in)
		v := num(in.calculate(op, at.get(in).num(), r))
		at.set(in, v)
		return v
	}}
}

func (p *parser) primary() node {
	t := p.tok()
	switch t.kind {
	case tNumber:
		p.pos++
		v := num(t.num)
		return node{eval: func(*interp) value { return v }}
	case tString:
		p.pos++
		v := str(t.text)
		return node{eval: func(*interp) value { return v }}
	case tRegex:
		p.pos++
		return node{regex: &t.text}
	case tName:
		p.pos++
		return p.named(t.text)
	case tCall:
		p.pos++
		return p.call(t)
	case tBuiltin:
		p.pos++
		return p.builtin(t)
	}
	switch {
	case p.take("("):
		list := p.exprList(")")
		switch {
		case len(list) == 0:
			p.fail("syntax error")
		case len(list) > 1:
			return node{list: list, eval: func(*interp) value { return value{} }}
		}
		return node{eval: list[0].value()}
	case p.take("$"):
		return fieldNode(p.fieldNumber())
	case p.is("++"), p.is("--"):
		return p.prefixStep()
	case p.take("getline"):
		to := p.getlineTarget()
		if !p.take("<") {
			return node{eval: func(in *interp) value { return in.getlineMain(to) }}
		}
		file := p.primary().value()
		return node{eval: func(in *interp) value { return in.getline(to, in.fileReader(in.text(file(in)))) }}
	}
	if t.kind == tNewline || t.kind == tEnd {
		p.fail("unexpected newline or end of string")
	}
	p.fail("syntax error")
	return node{}
}

func (p *parser) prefixStep() node {
	step := 1.0
	if p.tok().text == "--" {
		step = -1
	}
	p.pos++
	n := p.primary()
	if n.place == nil {
		p.fail("syntax error")
	}
	return node{eval: func(in *interp) value {
		at := n.place(in)
		v := num(at.get(in).num() + step)
		at.set(in, v)
		return v
	}}
}

// fieldNumber is what stands behind '$': $NF-1 is ($NF)-1, $i++ is ($i)++.
func (p *parser) fieldNumber() expr {
	p.enter()
	defer func() { p.depth-- }()
	if p.is("-") || p.is("+") || p.is("!") {
		return p.unary().value()
	}
	return p.primary().value()
}

func fieldNode(index expr) node {
	at := func(in *interp) place {
		i := index(in).num()
		if i < 0 || i > maxFields || math.IsNaN(i) {
			in.fatal("attempt to access field %d", int64(i))
		}
		return place{kind: aField, field: int(i)}
	}
	return node{place: at, eval: func(in *interp) value { return at(in).get(in) }}
}

// getlineTarget is the variable behind getline; nil when there is none.
func (p *parser) getlineTarget() func(in *interp) place {
	if p.tok().kind != tName && !p.is("$") {
		return nil
	}
	return p.primary().place
}

// variable is a name as a scalar or a whole array.
func (p *parser) variable(name string) node {
	var at func(in *interp) *cell
	if i, ok := p.params[name]; ok {
		at = func(in *interp) *cell { return in.frame[i] }
	} else {
		c := p.prog.globals[name]
		if c == nil {
			c = &cell{}
			p.prog.globals[name] = c
		}
		at = func(*interp) *cell { return c }
	}
	if name == "NF" {
		at := func(*interp) place { return place{kind: aCount} }
		return node{place: at, eval: func(in *interp) value { return at(in).get(in) }}
	}
	return node{cell: at, place: func(in *interp) place { return place{kind: aVariable, cell: at(in)} },
		eval: func(in *interp) value {
			c := at(in)
			if c.arr != nil {
				in.fatal("attempt to use array `%s' in a scalar context", name)
			}
			return c.v
		}}
}

func (p *parser) named(name string) node {
	n := p.variable(name)
	if !p.take("[") {
		return n
	}
	if n.cell == nil {
		p.fail("syntax error")
	}
	key := p.subscript()
	at := func(in *interp) place { k := key(in); return place{kind: anElement, arr: n.cell(in).array(), key: k} }
	return node{place: at, eval: func(in *interp) value { return at(in).get(in) }}
}

func (p *parser) call(t token) node {
	f := p.funcNamed(t)
	if _, seen := p.used[f]; !seen {
		p.used[f] = t.at
	}
	p.want("(")
	args := p.exprList(")")
	evals := values(args)
	name := strings.Clone(t.text)
	return node{eval: func(in *interp) value {
		if len(args) > f.params {
			in.fatal("function `%s' called with more arguments than declared", name)
		}
		frame := make([]*cell, f.params)
		for i := range frame {
			switch {
			case i >= len(args):
				frame[i] = &cell{}
			case args[i].cell != nil:
				c := args[i].cell(in)
				switch {
				case c.arr != nil:
					frame[i] = c
				case c.v.kind == unset:
					frame[i] = &cell{from: c}
				default:
					frame[i] = &cell{v: c.v}
				}
			default:
				frame[i] = &cell{v: evals[i](in)}
			}
		}
		return in.invoke(f, frame)
	}}
}
