package system

import (
	"fmt"
	"math/big"
	"os"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/regex"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// tester evaluates the expression of test(1) by POSIX's rules on the number of arguments, and beyond four by precedence.
type tester struct {
	c    *applet.Cmd
	args []string
}

type testError string

// Test is test(1) and, called "[", needs a "]" at the end.
func Test(c *applet.Cmd) (code int) {
	args := c.Args
	if c.Name == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			c.FailWith(2, "missing ']'")
			return 2
		}
		args = args[:len(args)-1]
	}
	defer func() {
		if e, ok := recover().(testError); ok {
			c.FailWith(2, "%s", string(e))
			code = 2
		}
	}()
	t := &tester{c, args}
	if len(args) == 0 || !t.whole() {
		return 1
	}
	return 0
}

func (t *tester) whole() bool {
	a := t.args
	switch len(a) {
	case 1:
		return a[0] != ""
	case 2:
		if a[0] == "!" {
			return a[1] == ""
		}
		if !isUnary(a[0]) {
			panic(testError("missing argument after " + applet.Quote(a[1])))
		}
		return t.unary(a[0], a[1])
	case 3:
		if isBinary(a[1]) {
			return t.binary(a[0], a[1], a[2])
		}
		if a[0] == "!" {
			return !(&tester{t.c, a[1:]}).whole()
		}
		if a[0] == "(" && a[2] == ")" {
			return a[1] != ""
		}
		if a[1] != "-a" && a[1] != "-o" {
			panic(testError(applet.Quote(a[1]) + ": binary operator expected"))
		}
	case 4:
		if a[0] == "!" {
			return !(&tester{t.c, a[1:]}).whole()
		}
	}
	v := t.or()
	if len(t.args) > 0 {
		panic(testError("extra argument " + applet.Quote(t.args[0])))
	}
	return v
}

func (t *tester) or() bool {
	v := t.and()
	for len(t.args) > 0 && t.args[0] == "-o" {
		t.args = t.args[1:]
		v = t.and() || v
	}
	return v
}

func (t *tester) and() bool {
	v := t.primary()
	for len(t.args) > 0 && t.args[0] == "-a" {
		t.args = t.args[1:]
		v = t.primary() && v
	}
	return v
}

func (t *tester) primary() bool {
	if len(t.args) == 0 {
		panic(testError("argument expected"))
	}
	a := t.args
	switch {
	case a[0] == "!":
		t.args = a[1:]
		return !t.primary()
	case len(a) > 2 && isBinary(a[1]):
		t.args = a[3:]
		return t.binary(a[0], a[1], a[2])
	case a[0] == "(":
		t.args = a[1:]
		v := t.or()
		if len(t.args) == 0 || t.args[0] != ")" {
			panic(testError("')' expected"))
		}
		t.args = t.args[1:]
		return v
	case len(a) > 1 && isUnary(a[0]):
		t.args = a[2:]
		return t.unary(a[0], a[1])
	}
	t.args = a[1:]
	return a[0] != ""
}

func isUnary(op string) bool {
	return len(op) == 2 && op[0] == '-' && strings.IndexByte("bcdefgGhkLnNOprsStuwxz", op[1]) >= 0
}

func isBinary(op string) bool {
	switch op {
	case "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef":
		return true
	}
	return false
}

func (t *tester) unary(op, arg string) bool {
	switch op {
	case "-n":
		return arg != ""
	case "-z":
		return arg == ""
	case "-t":
		return sys.IsTerminal(int(t.integer(arg)))
	case "-r":
		return sys.Access(arg, sys.R_OK) == nil
	case "-w":
		return sys.Access(arg, sys.W_OK) == nil
	case "-x":
		return sys.Access(arg, sys.X_OK) == nil
	}
	st, err := sys.StatFile(arg, op != "-h" && op != "-L")
	if err != nil {
		return false
	}
	kind := st.Mode & sys.S_IFMT
	switch op {
	case "-b":
		return kind == sys.S_IFBLK
	case "-c":
		return kind == sys.S_IFCHR
	case "-d":
		return kind == sys.S_IFDIR
	case "-f":
		return kind == sys.S_IFREG
	case "-g":
		return st.Mode&sys.S_ISGID != 0
	case "-G":
		return st.GID == uint32(os.Getegid())
	case "-h", "-L":
		return kind == sys.S_IFLNK
	case "-k":
		return st.Mode&sys.S_ISVTX != 0
	case "-N":
		return st.Mtime.After(st.Atime)
	case "-O":
		return st.UID == uint32(os.Geteuid())
	case "-p":
		return kind == sys.S_IFIFO
	case "-s":
		return st.Size > 0
	case "-S":
		return kind == sys.S_IFSOCK
	case "-u":
		return st.Mode&sys.S_ISUID != 0
	}
	return true // -e
}

func (t *tester) integer(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		panic(testError("invalid integer " + applet.Quote(s)))
	}
	return n
}

func (t *tester) binary(a, op, b string) bool {
	switch op {
	case "=", "==":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case ">":
		return a > b
	case "-nt", "-ot", "-ef":
		x, errX := sys.StatFile(a, true)
		y, errY := sys.StatFile(b, true)
		switch {
		case op == "-ef":
			return errX == nil && errY == nil && x.Dev == y.Dev && x.Ino == y.Ino
		case op == "-nt":
			return errX == nil && (errY != nil || x.Mtime.After(y.Mtime))
		}
		return errY == nil && (errX != nil || y.Mtime.After(x.Mtime))
	}
	x, y := t.integer(a), t.integer(b)
	switch op {
	case "-eq":
		return x == y
	case "-ne":
		return x != y
	case "-lt":
		return x < y
	case "-le":
		return x <= y
	case "-gt":
		return x > y
	}
	return x >= y
}

// expression evaluates expr(1) by recursive descent.
type expression struct {
	args []string
	last string // the word taken last
}

type exprError string

// Expr is expr(1).
func Expr(c *applet.Cmd) (code int) {
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return c.Usage(2, "missing operand")
	}
	defer func() {
		if e, ok := recover().(exprError); ok {
			c.FailWith(2, "%s", string(e))
			code = 2
		}
	}()
	e := &expression{args: args}
	v := e.or()
	if len(e.args) > 0 {
		panic(exprError("syntax error: unexpected argument " + applet.Quote(e.args[0])))
	}
	fmt.Fprintln(c.Out, v)
	if v == "" || isZero(v) {
		return 1
	}
	return 0
}

func isZero(s string) bool {
	n, ok := new(big.Int).SetString(s, 10)
	return ok && n.Sign() == 0
}

func (e *expression) next(ops ...string) string {
	if len(e.args) > 0 {
		for _, op := range ops {
			if e.args[0] == op {
				e.args, e.last = e.args[1:], op
				return op
			}
		}
	}
	return ""
}

func (e *expression) or() string {
	v := e.and()
	for e.next("|") != "" {
		r := e.and()
		if v == "" || isZero(v) {
			if v = r; v == "" {
				v = "0"
			}
		}
	}
	return v
}

func (e *expression) and() string {
	v := e.compare()
	for e.next("&") != "" {
		r := e.compare()
		if v == "" || isZero(v) || r == "" || isZero(r) {
			v = "0"
		}
	}
	return v
}

func (e *expression) compare() string {
	v := e.sum()
	for {
		op := e.next("<", "<=", "=", "==", "!=", ">=", ">")
		if op == "" {
			return v
		}
		r := e.sum()
		d := strings.Compare(v, r)
		x, ok1 := new(big.Int).SetString(v, 10)
		y, ok2 := new(big.Int).SetString(r, 10)
		if ok1 && ok2 {
			d = x.Cmp(y)
		}
		yes := map[string]bool{"<": d < 0, "<=": d <= 0, "=": d == 0, "==": d == 0, "!=": d != 0, ">=": d >= 0, ">": d > 0}[op]
		v = "0"
		if yes {
			v = "1"
		}
	}
}

func number(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		panic(exprError("non-integer argument"))
	}
	return n
}

func (e *expression) sum() string {
	v := e.product()
	for {
		switch op := e.next("+", "-"); op {
		case "":
			return v
		case "+":
			v = new(big.Int).Add(number(v), number(e.product())).String()
		default:
			v = new(big.Int).Sub(number(v), number(e.product())).String()
		}
	}
}

func (e *expression) product() string {
	v := e.match()
	for {
		op := e.next("*", "/", "%")
		if op == "" {
			return v
		}
		x, y := number(v), number(e.match())
		if op != "*" && y.Sign() == 0 {
			panic(exprError("division by zero"))
		}
		z := new(big.Int)
		switch op {
		case "*":
			z.Mul(x, y)
		case "/":
			z.Quo(x, y)
		default:
			z.Rem(x, y)
		}
		v = z.String()
	}
}

func (e *expression) match() string {
	v := e.primary()
	for e.next(":") != "" {
		v = matchStart(v, e.primary())
	}
	return v
}

// matchStart is STRING : REGEX: the first group, or the number of characters matched.
func matchStart(s, pattern string) string {
	re, err := regex.Compile("^"+strings.TrimPrefix(pattern, "^"), regex.Basic, false)
	if err != nil {
		panic(exprError(err.Error()))
	}
	m := re.Find([]byte(s))
	switch {
	case re.Groups() > 0 && (m == nil || m[2] < 0):
		return ""
	case re.Groups() > 0:
		return s[m[2]:m[3]]
	case m == nil:
		return "0"
	}
	return strconv.Itoa(len([]rune(s[:m[1]])))
}

func (e *expression) primary() string {
	if len(e.args) == 0 {
		panic(exprError("syntax error: missing argument after " + applet.Quote(e.last)))
	}
	w := e.args[0]
	e.args, e.last = e.args[1:], w
	switch {
	case w == "(":
		v := e.or()
		if e.next(")") == "" {
			panic(exprError("syntax error: expecting ')' after " + applet.Quote(v)))
		}
		return v
	case w == "length" && len(e.args) > 0:
		return strconv.Itoa(len([]rune(e.primary())))
	case w == "substr" && len(e.args) > 2:
		s := []rune(e.primary())
		pos, n := number(e.primary()).Int64(), number(e.primary()).Int64()
		if pos < 1 || n < 1 || pos > int64(len(s)) {
			return ""
		}
		return string(s[pos-1 : min(int64(len(s)), pos-1+n)])
	case w == "index" && len(e.args) > 1:
		s, chars := e.primary(), e.primary()
		return strconv.Itoa(len([]rune(s[:max(0, strings.IndexAny(s, chars))])) + btoi(strings.ContainsAny(s, chars)))
	case w == "match" && len(e.args) > 1:
		return matchStart(e.primary(), e.primary())
	case w == "+" && len(e.args) > 0:
		w = e.args[0]
		e.args = e.args[1:]
	}
	return w
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
