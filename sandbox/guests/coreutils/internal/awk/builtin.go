package awk

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/files"
)

// builtinSpec is a built-in function: how many arguments it takes and what it does with them.
type builtinSpec struct {
	least, most int
	run         func(in *interp, args []argument) value
}

// argument is an argument of a built-in function, evaluated when asked.
type argument struct{ node }

func (a argument) get(in *interp) value   { return a.value()(in) }
func (a argument) text(in *interp) string { return in.text(a.get(in)) }
func (a argument) num(in *interp) float64 { return a.get(in).num() }

// pattern is the argument as a regular expression's text.
func (a argument) pattern(in *interp) string {
	if a.regex != nil {
		return *a.regex
	}
	return in.text(a.eval(in))
}

var builtins map[string]builtinSpec

func init() { // the table's functions reach the parser, which reads the table
	math1 := func(f func(float64) float64) builtinSpec {
		return builtinSpec{1, 1, func(in *interp, a []argument) value { return num(f(a[0].num(in))) }}
	}
	text1 := func(f func(string) string) builtinSpec {
		return builtinSpec{1, 1, func(in *interp, a []argument) value { return str(f(a[0].text(in))) }}
	}
	builtins = map[string]builtinSpec{
		"sin": math1(math.Sin), "cos": math1(math.Cos), "exp": math1(math.Exp), "log": math1(math.Log), "sqrt": math1(math.Sqrt), "int": math1(math.Trunc),
		"atan2":   {2, 2, func(in *interp, a []argument) value { y := a[0].num(in); return num(math.Atan2(y, a[1].num(in))) }},
		"tolower": text1(strings.ToLower), "toupper": text1(strings.ToUpper),
		"length": {0, 1, length}, "index": {2, 2, index}, "substr": {2, 3, substr}, "split": {2, 3, splitInto}, "match": {2, 3, match},
		"sub": {2, 3, func(in *interp, a []argument) value { return in.substitute(a, false) }}, "gsub": {2, 3, func(in *interp, a []argument) value { return in.substitute(a, true) }}, "gensub": {3, 4, gensub},
		"sprintf":  {1, 1 << 20, func(in *interp, a []argument) value { return str(in.sprintf(values(nodes(a)))) }},
		"rand":     {0, 0, func(in *interp, _ []argument) value { return num(in.random.Float64()) }},
		"srand":    {0, 1, srand},
		"system":   {1, 1, system},
		"close":    {1, 2, func(in *interp, a []argument) value { return num(float64(in.closeNamed(a[0].text(in)))) }},
		"fflush":   {0, 1, func(in *interp, _ []argument) value { in.flush(); return num(0) }},
		"systime":  {0, 0, func(*interp, []argument) value { return num(float64(time.Now().Unix())) }},
		"strftime": {0, 3, strftime},
	}
}

func nodes(args []argument) (out []node) {
	for _, a := range args {
		out = append(out, a.node)
	}
	return out
}

// builtin parses a call; length alone needs no parentheses.
func (p *parser) builtin(t token) node {
	spec := builtins[t.text]
	var args []argument
	if p.take("(") {
		for _, n := range p.exprList(")") {
			args = append(args, argument{n})
		}
	} else if t.text != "length" {
		p.fail("syntax error")
	}
	if len(args) < spec.least || len(args) > spec.most {
		panic(&syntaxError{at: t.at, text: "wrong number of arguments for " + t.text})
	}
	return node{eval: func(in *interp) value { return spec.run(in, args) }}
}

func length(in *interp, a []argument) value {
	if len(a) == 0 {
		return num(float64(utf8.RuneCountInString(in.record())))
	}
	if a[0].cell != nil {
		if c := a[0].cell(in); c.arr != nil {
			return num(float64(len(c.arr.at)))
		}
	}
	return num(float64(utf8.RuneCountInString(a[0].text(in))))
}

func index(in *interp, a []argument) value {
	s := a[0].text(in)
	i := strings.Index(s, a[1].text(in))
	if i < 0 {
		return num(0)
	}
	return num(float64(utf8.RuneCountInString(s[:i]) + 1))
}

// substr rounds its numbers and cuts them at the ends, as POSIX asks.
func substr(in *interp, a []argument) value {
	s := a[0].text(in)
	from := math.RoundToEven(a[1].num(in))
	to := math.Inf(1)
	if len(a) > 2 {
		to = from + math.RoundToEven(a[2].num(in))
	}
	n := float64(utf8.RuneCountInString(s))
	from, to = max(from, 1), min(to, n+1)
	if !(from < to) {
		return str("")
	}
	return str(runeSlice(s, int(from)-1, int(to)-1))
}

func splitInto(in *interp, a []argument) value {
	if a[1].cell == nil {
		in.fatal("split: second argument is not an array")
	}
	s := a[0].text(in)
	fs := in.text(in.fs.v)
	isRegex := false
	if len(a) > 2 {
		fs, isRegex = a[2].pattern(in), a[2].regex != nil
	}
	arr := a[1].cell(in).array()
	arr.clear()
	n := 0
	each := func(f string) {
		n++
		arr.set(numText(float64(n), ""), input(f))
	}
	if isRegex && s != "" && fs != "" {
		in.cutRegex(s, in.regex(fs), each)
	} else {
		in.cut(s, fs, false, each)
	}
	return num(float64(n))
}

func match(in *interp, a []argument) value {
	s := a[0].text(in)
	m := in.regex(a[1].pattern(in)).Find([]byte(s))
	var groups *array
	if len(a) > 2 && a[2].cell != nil {
		groups = a[2].cell(in).array()
		groups.clear()
	}
	if m == nil {
		in.rstart.v, in.rlen.v = num(0), num(-1)
		return num(0)
	}
	at := func(from, to int) (start, length float64) {
		return float64(utf8.RuneCountInString(s[:from]) + 1), float64(utf8.RuneCountInString(s[from:to]))
	}
	start, length := at(m[0], m[1])
	in.rstart.v, in.rlen.v = num(start), num(length)
	if groups != nil {
		sep := in.text(in.subsep.v)
		for g := 0; 2*g < len(m); g++ {
			if m[2*g] < 0 {
				continue
			}
			key := numText(float64(g), "")
			gs, gl := at(m[2*g], m[2*g+1])
			groups.set(key, input(s[m[2*g]:m[2*g+1]]))
			groups.set(key+sep+"start", num(gs))
			groups.set(key+sep+"length", num(gl))
		}
	}
	return num(start)
}

// replace puts with in place of the matches of re: of all (which is 0) or of one.
func replace(s string, re [][]int, which int, with func(m []int) string) (string, int) {
	var b strings.Builder
	at, n := 0, 0
	for i, m := range re {
		if which > 0 && i+1 != which {
			continue
		}
		b.WriteString(s[at:m[0]])
		b.WriteString(with(m))
		at = m[1]
		n++
	}
	b.WriteString(s[at:])
	return b.String(), n
}

// substitute is sub and gsub: & in the replacement is what was matched, \& is an ampersand.
func (in *interp) substitute(a []argument, all bool) value {
	pattern := a[0].pattern(in)
	with := a[1].text(in)
	target := place{kind: aField}
	s := ""
	if len(a) > 2 {
		if a[2].place != nil {
			target = a[2].place(in)
			s = in.text(target.get(in))
		} else {
			s = a[2].text(in)
		}
	} else {
		s = in.record()
	}
	limit := 1
	if all {
		limit = -1
	}
	out, n := replace(s, in.regex(pattern).All([]byte(s), limit), 0, func(m []int) string { return expandAmpersand(with, s[m[0]:m[1]]) })
	if n > 0 && (len(a) < 3 || a[2].place != nil) {
		target.set(in, str(out))
	}
	return num(float64(n))
}

func expandAmpersand(with, matched string) string {
	if strings.IndexByte(with, '&') < 0 && strings.IndexByte(with, '\\') < 0 {
		return with
	}
	var b strings.Builder
	for i := 0; i < len(with); i++ {
		switch {
		case with[i] == '\\' && i+1 < len(with) && (with[i+1] == '&' || with[i+1] == '\\'):
			i++
			b.WriteByte(with[i])
		case with[i] == '&':
			b.WriteString(matched)
		default:
			b.WriteByte(with[i])
		}
	}
	return b.String()
}

// gensub returns the result and knows groups: \1, \0 and &.
func gensub(in *interp, a []argument) value {
	s := in.record()
	if len(a) > 3 {
		s = a[3].text(in)
	}
	which := 1
	if how := a[2].text(in); how != "" && (how[0] == 'g' || how[0] == 'G') {
		which = 0
	} else if n := int(a[2].num(in)); n > 0 {
		which = n
	}
	with := a[1].text(in)
	out, _ := replace(s, in.regex(a[0].pattern(in)).All([]byte(s), -1), which, func(m []int) string {
		var b strings.Builder
		for i := 0; i < len(with); i++ {
			g := -1
			switch {
			case with[i] == '&':
				g = 0
			case with[i] == '\\' && i+1 < len(with):
				i++
				if g = int(with[i]) - '0'; g < 0 || g > 9 {
					g = -1
				}
			}
			switch {
			case g < 0:
				b.WriteByte(with[i])
			case 2*g+1 < len(m) && m[2*g] >= 0:
				b.WriteString(s[m[2*g]:m[2*g+1]])
			}
		}
		return b.String()
	})
	return str(out)
}

func srand(in *interp, a []argument) value {
	old := in.seed
	if len(a) > 0 {
		in.seed = a[0].num(in)
	} else {
		in.seed = float64(time.Now().Unix())
	}
	in.random = rand.New(rand.NewPCG(math.Float64bits(in.seed), 0))
	return num(old)
}

func system(in *interp, a []argument) value {
	command := a[0].text(in)
	in.flush()
	cmd := shell(command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return num(float64(exitCode(cmd.Run())))
}

func strftime(in *interp, a []argument) value {
	format, at := "%a %b %e %H:%M:%S %Z %Y", time.Now()
	if len(a) > 0 {
		format = a[0].text(in)
	}
	if len(a) > 1 {
		at = time.Unix(int64(a[1].num(in)), 0)
	}
	if len(a) > 2 && a[2].get(in).true() {
		at = at.UTC()
	}
	return str(files.FormatTime(format, at))
}
