package awk

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// format1 formats one number.
func format1(format string, n float64) string { return sprintf(format, []value{num(n)}, "%.6g") }

// sprintf is printf(3) over awk's values. Missing arguments are empty.
func sprintf(format string, args []value, convfmt string) string {
	var b strings.Builder
	next := func() (v value) {
		if len(args) > 0 {
			v, args = args[0], args[1:]
		}
		return v
	}
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		start := i
		i++
		s := spec{prec: -1}
		for i < len(format) && strings.IndexByte("-+ #0'", format[i]) >= 0 {
			s.flags += format[i : i+1]
			i++
		}
		i = s.count(format, i, &s.width, next)
		if s.width < 0 {
			s.flags, s.width = s.flags+"-", -s.width
		}
		if i < len(format) && format[i] == '.' {
			s.prec = 0
			i = s.count(format, i+1, &s.prec, next)
		}
		for i < len(format) && strings.IndexByte("hlLqjzt", format[i]) >= 0 {
			i++
		}
		if i >= len(format) {
			b.WriteString(format[start:])
			break
		}
		if text, ok := s.convert(format[i], next, convfmt); ok {
			b.WriteString(text)
		} else {
			b.WriteString(format[start : i+1])
		}
	}
	return b.String()
}

// spec is what stands between '%' and the letter.
type spec struct {
	flags       string
	width, prec int
}

// maxWidth bounds widths and precisions.
const maxWidth = 1 << 20

func (s *spec) count(format string, i int, to *int, next func() value) int {
	if i < len(format) && format[i] == '*' {
		*to = int(min(max(next().num(), -maxWidth), maxWidth))
		return i + 1
	}
	for i < len(format) && isDigit(format[i]) {
		*to = min(*to*10+int(format[i]-'0'), maxWidth)
		i++
	}
	return i
}

func (s *spec) has(flag string) bool { return strings.Contains(s.flags, flag) }

func (s *spec) convert(verb byte, next func() value, convfmt string) (string, bool) {
	switch verb {
	case '%':
		return "%", true
	case 'c':
		v := next()
		if v.kind == isNum || v.kind == isBoth {
			return s.pad(string(rune(v.n))), true
		}
		if v.s == "" {
			return s.pad("\x00"), true
		}
		_, n := utf8.DecodeRuneInString(v.s)
		return s.pad(v.s[:n]), true
	case 's':
		t := next().str(convfmt)
		if s.prec >= 0 {
			t = runeSlice(t, 0, s.prec)
		}
		return s.pad(t), true
	case 'd', 'i':
		f := next().num()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return s.pad(numText(f, convfmt)), true
		}
		return s.integer(strconv.FormatFloat(math.Abs(math.Trunc(f)), 'f', 0, 64), f < 0 && math.Trunc(f) != 0, true), true
	case 'o', 'x', 'X', 'u':
		f := math.Trunc(next().num())
		u := uint64(int64(f))
		if f >= 1<<63 {
			u = uint64(f)
		}
		t := strconv.FormatUint(u, map[byte]int{'o': 8, 'x': 16, 'X': 16, 'u': 10}[verb])
		if verb == 'X' {
			t = strings.ToUpper(t)
		}
		if s.has("#") && u != 0 && verb != 'u' {
			t = map[byte]string{'o': "0", 'x': "0x", 'X': "0X"}[verb] + t
		}
		return s.integer(t, false, false), true
	case 'e', 'E', 'f', 'F', 'g', 'G':
		return s.float(verb, next().num(), convfmt), true
	}
	return "", false
}

func (s *spec) integer(digits string, negative, signed bool) string {
	if s.prec >= 0 {
		digits = strings.Repeat("0", max(0, s.prec-len(digits))) + digits
	}
	return s.sign(digits, negative, signed, s.prec < 0)
}

// sign puts the sign before and fills to the width, with zeros when allowed.
func (s *spec) sign(digits string, negative, signed, zeros bool) string {
	lead := ""
	switch {
	case negative:
		lead = "-"
	case signed && s.has("+"):
		lead = "+"
	case signed && s.has(" "):
		lead = " "
	}
	if zeros && s.has("0") && !s.has("-") {
		digits = strings.Repeat("0", max(0, s.width-len(lead)-len(digits))) + digits
	}
	return s.pad(lead + digits)
}

func (s *spec) float(verb byte, f float64, convfmt string) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return s.pad(numText(f, convfmt))
	}
	prec := s.prec
	if prec < 0 {
		prec = 6
	}
	if (verb == 'g' || verb == 'G') && prec == 0 {
		prec = 1
	}
	if verb == 'F' {
		verb = 'f'
	}
	return s.sign(strconv.FormatFloat(math.Abs(f), verb, prec, 64), math.Signbit(f), true, true)
}

func (s *spec) pad(t string) string {
	fill := s.width - utf8.RuneCountInString(t)
	switch {
	case fill <= 0:
		return t
	case s.has("-"):
		return t + strings.Repeat(" ", fill)
	}
	return strings.Repeat(" ", fill) + t
}

// runeSlice are the characters from..to of s.
func runeSlice(s string, from, to int) string {
	if from >= to {
		return ""
	}
	start, n := len(s), 0
	for i := range s {
		if n == from {
			start = i
		}
		if n == to {
			return s[start:i]
		}
		n++
	}
	return s[start:]
}
