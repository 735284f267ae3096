// Package awk is awk(1): POSIX's language with the additions of gawk that scripts rely on (regular expressions as RS, gensub, match with
// an array, strftime, systime, tolower, nextfile, fflush, length of an array).
//
// A program is lexed, parsed and compiled to Go closures, and those run for every record.
package awk

import (
	"math"
	"strconv"
	"strings"
)

// value is a number, a string, or a string from input that looks like a number.
type value struct {
	kind byte // unset, isNum, isStr, isBoth
	n    float64
	s    string
}

const (
	unset  = 0
	isNum  = 1
	isStr  = 2
	isBoth = 3 // from input: compares as a number, prints as it came
)

func num(n float64) value { return value{kind: isNum, n: n} }

func str(s string) value { return value{kind: isStr, s: s} }

func truth(b bool) value {
	if b {
		return num(1)
	}
	return num(0)
}

// input is a value from outside: a number too if all of it looks like one.
func input(s string) value {
	t := strings.Trim(s, " \t\n\r\f\v")
	if t != "" && (isDigit(t[0]) || strings.IndexByte("+-.", t[0]) >= 0) {
		if n, used := number(t); used == len(t) {
			return value{isBoth, n, s}
		}
	}
	return str(s)
}

// number reads the longest decimal number at the start of s.
func number(s string) (n float64, used int) {
	i := 0
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	start := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	digits := i - start
	if i < len(s) && s[i] == '.' {
		i++
		for i < len(s) && isDigit(s[i]) {
			i++
			digits++
		}
	}
	if digits == 0 {
		return 0, 0
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if j < len(s) && isDigit(s[j]) {
			for i = j; i < len(s) && isDigit(s[i]); i++ {
			}
		}
	}
	n, _ = strconv.ParseFloat(s[:i], 64) // out of range gives ±Inf, as strtod does
	return n, i
}

func (v value) num() float64 {
	if v.kind == isStr {
		n, _ := number(strings.TrimLeft(v.s, " \t\n\r\f\v"))
		return n
	}
	return v.n
}

func (v value) str(convfmt string) string {
	if v.kind == isNum {
		return numText(v.n, convfmt)
	}
	return v.s
}

func (v value) true() bool {
	switch v.kind {
	case isStr:
		return v.s != ""
	case unset:
		return false
	}
	return v.n != 0
}

// numText is a number as a string: integers plainly, others by CONVFMT or OFMT.
func numText(n float64, format string) string {
	switch {
	case math.IsNaN(n):
		if math.Signbit(n) {
			return "-nan"
		}
		return "+nan"
	case math.IsInf(n, 1):
		return "+inf"
	case math.IsInf(n, -1):
		return "-inf"
	case n == math.Trunc(n) && math.Abs(n) < 1e16:
		return strconv.FormatInt(int64(n), 10)
	case n == math.Trunc(n):
		return strconv.FormatFloat(n, 'f', 0, 64)
	case format == "%.6g":
		return strconv.FormatFloat(n, 'g', 6, 64)
	}
	return format1(format, n)
}

// compare orders two values: as numbers when both are or look like numbers, else as strings.
func compare(a, b value, convfmt string) int {
	if a.kind != isStr && b.kind != isStr {
		switch {
		case a.n < b.n:
			return -1
		case a.n > b.n:
			return 1
		}
		return 0
	}
	return strings.Compare(a.str(convfmt), b.str(convfmt))
}

// array is an associative array that is walked in the order of insertion.
type array struct {
	at   map[string]int
	keys []string
	vals []value
	gone int // deleted entries still in keys
}

func (a *array) get(k string) value {
	if i, ok := a.at[k]; ok {
		return a.vals[i]
	}
	a.set(k, value{}) // looking creates
	return value{}
}

func (a *array) has(k string) bool { _, ok := a.at[k]; return ok }

func (a *array) set(k string, v value) {
	if i, ok := a.at[k]; ok {
		a.vals[i] = v
		return
	}
	if a.at == nil {
		a.at = map[string]int{}
	}
	a.at[k] = len(a.keys)
	a.keys, a.vals = append(a.keys, k), append(a.vals, v)
}

func (a *array) remove(k string) {
	i, ok := a.at[k]
	if !ok {
		return
	}
	delete(a.at, k)
	a.vals[i] = value{}
	if a.gone++; a.gone > 32 && a.gone > len(a.keys)/2 {
		a.compact()
	}
}

func (a *array) compact() {
	keys, vals := make([]string, 0, len(a.at)), make([]value, 0, len(a.at))
	for i, k := range a.keys {
		if at, ok := a.at[k]; ok && at == i {
			a.at[k] = len(keys)
			keys, vals = append(keys, k), append(vals, a.vals[i])
		}
	}
	a.keys, a.vals, a.gone = keys, vals, 0
}

// list are the keys as they stand now.
func (a *array) list() []string {
	a.compact()
	return append([]string(nil), a.keys...)
}

func (a *array) clear() { *a = array{} }

// cell is a variable: a scalar or an array, by its first use. A parameter that was given an unused variable shares the array
// it may become with it.
type cell struct {
	v    value
	arr  *array
	from *cell
}

func (c *cell) array() *array {
	if c.arr == nil {
		if c.from != nil {
			c.arr = c.from.array()
		} else {
			c.arr = &array{}
		}
	}
	return c.arr
}
