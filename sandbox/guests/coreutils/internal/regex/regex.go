// Package regex compiles POSIX basic and extended regular expressions with GNU's additions (regex(7), grep(1)).
//
// Patterns are translated to Go's regexp, matched leftmost-longest in linear time. Only patterns with back-references,
// which no such engine can do, go to a backtracking one.
package regex

import (
	"errors"
	"regexp"
	"strings"

	"github.com/dlclark/regexp2"
)

// Syntax is the dialect of a pattern.
type Syntax int

// The dialects of grep -G, -E, -F and -P.
const (
	Basic Syntax = iota
	Extended
	Fixed
	Perl
)

// Regexp is a compiled pattern. Offsets are bytes.
type Regexp struct {
	re       *regexp.Regexp
	back     *regexp2.Regexp
	anchored bool // the pattern holds ^
	groups   int
}

// Errors, spelled as GNU regcomp does.
var (
	errBracket  = errors.New("Unmatched [, [^, [:, [., or [=")
	errParen    = errors.New(`Unmatched ( or \(`)
	errClose    = errors.New(`Unmatched ) or \)`)
	errBrace    = errors.New(`Unmatched \{`)
	errInterval = errors.New("Invalid content of \\{\\}")
	errBackref  = errors.New("Invalid back reference")
	errTrailing = errors.New("Trailing backslash")
	errRange    = errors.New("Invalid range end")
	errClass    = errors.New("Invalid character class name")
	errRepeat   = errors.New("Invalid preceding regular expression")
	errTooBig   = errors.New("Regular expression too big")
)

// Compile compiles a pattern.
func Compile(pattern string, syntax Syntax, ignoreCase bool) (*Regexp, error) {
	out, back, groups := "", false, 0
	anchored := strings.Contains(pattern, "^")
	switch syntax {
	case Fixed:
		out, anchored = regexp.QuoteMeta(pattern), false
	case Perl:
		out = pattern
	default:
		t := translator{src: pattern, extended: syntax == Extended}
		var err error
		if out, err = t.run(); err != nil {
			return nil, err
		}
		back, groups = t.backref, t.groups
	}
	flags := "(?s)"
	if ignoreCase {
		flags = "(?si)"
	}
	if !back {
		re, err := regexp.Compile(flags + out)
		if err == nil {
			if syntax != Perl {
				re.Longest()
			}
			return &Regexp{re: re, anchored: anchored, groups: re.NumSubexp()}, nil
		}
		if syntax != Perl {
			return nil, errTooBig
		}
	}
	opt := regexp2.RegexOptions(regexp2.Singleline)
	if ignoreCase {
		opt |= regexp2.IgnoreCase
	}
	re, err := regexp2.Compile(out, opt)
	if err != nil {
		return nil, errors.New("invalid pattern")
	}
	if groups == 0 {
		groups = len(re.GetGroupNumbers()) - 1
	}
	return &Regexp{back: re, anchored: anchored, groups: groups}, nil
}

// Groups is the number of parenthesised groups.
func (r *Regexp) Groups() int { return r.groups }

// Match reports whether the pattern occurs in b.
func (r *Regexp) Match(b []byte) bool {
	if r.re != nil {
		return r.re.Match(b)
	}
	return len(r.all(b, 1)) > 0
}

// Find is the first match as offsets of the match and its groups, −1 for groups without part; nil if there is none.
func (r *Regexp) Find(b []byte) []int {
	if r.re != nil {
		return r.re.FindSubmatchIndex(b)
	}
	if m := r.all(b, 1); len(m) > 0 {
		return m[0]
	}
	return nil
}

// All are all matches that do not overlap, in order; n bounds their number (−1: none).
func (r *Regexp) All(b []byte, n int) [][]int {
	if r.re != nil {
		return r.re.FindAllSubmatchIndex(b, n)
	}
	return r.all(b, n)
}

// Anchored reports whether the pattern may depend on the start of the text, so that it must not be tried behind it.
func (r *Regexp) Anchored() bool { return r.anchored }

// all matches with the backtracking engine, which counts in runes.
func (r *Regexp) all(b []byte, n int) (out [][]int) {
	runes := []rune(string(b))
	offset := make([]int, len(runes)+1)
	for i, at := 0, 0; i < len(runes); i++ {
		offset[i] = at
		at += len(string(runes[i]))
		offset[i+1] = at
	}
	m, err := r.back.FindRunesMatch(runes)
	lastEnd := -1
	for ; m != nil && err == nil && n != 0; m, err = r.back.FindNextMatch(m) {
		if m.Length == 0 && m.Index == lastEnd {
			continue
		}
		lastEnd = m.Index + m.Length
		loc := []int{}
		for _, g := range m.Groups() {
			if len(g.Captures) == 0 {
				loc = append(loc, -1, -1)
			} else {
				loc = append(loc, offset[g.Index], offset[g.Index+g.Length])
			}
		}
		out = append(out, loc)
		n--
	}
	return out
}
