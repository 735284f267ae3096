package text

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/regex"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

type grep struct {
	c                                             *applet.Cmd
	patterns                                      []*regex.Regexp
	syntax                                        regex.Syntax
	fold, invert, word, line                      bool
	count, list, listWithout, quiet, silent, only bool
	number, offset, null                          bool
	names                                         int // −1 never, 1 always, 0 by the number of files
	max                                           int64
	before, after                                 int64
	recursive, follow                             bool
	directories                                   string
	binary                                        byte // 0 say that it matches, 'a' as text, 'I' skip
	include, exclude, excludeDir                  []string
	color                                         bool
	label                                         string
	delim                                         byte
	matched                                       bool
	separator                                     bool // a group of context lines was printed
}

// Grep is grep(1), and egrep and fgrep by name.
func Grep(c *applet.Cmd) int {
	opts, names, _, ok := c.Parse(applet.Spec{Short: "A:aB:bcC:d:Ee:Ff:GHhIiLlm:noPqRrsUvwxyZz", Digits: true, Status: 2, Help: "[OPTION]... PATTERNS [FILE]...",
		Long: []string{"after-context=/A", "text/a", "before-context=/B", "byte-offset/b", "count/c", "context=/C", "color?", "colour?/color", "directories=/d", "extended-regexp/E",
			"regexp=/e", "fixed-strings/F", "file=/f", "basic-regexp/G", "with-filename/H", "no-filename/h", "ignore-case/i", "no-ignore-case", "files-without-match/L",
			"files-with-matches/l", "max-count=/m", "line-number/n", "only-matching/o", "perl-regexp/P", "quiet/q", "silent/q", "dereference-recursive/R", "recursive/r",
			"no-messages/s", "invert-match/v", "word-regexp/w", "line-regexp/x", "null/Z", "null-data/z", "include=", "exclude=", "exclude-dir=", "label=", "binary-files=", "line-buffered"}})
	if !ok {
		if c.Status() == 0 {
			return 0
		}
		return 2
	}
	g := grep{c: c, max: -1, before: 0, after: 0, delim: '\n', label: "(standard input)", directories: "read"}
	switch c.Name {
	case "egrep":
		g.syntax = regex.Extended
	case "fgrep":
		g.syntax = regex.Fixed
	}
	var sources []string
	hasPattern := false
	for _, o := range opts {
		switch o.Key {
		case "e":
			sources, hasPattern = append(sources, strings.Split(o.Arg, "\n")...), true
		case "f":
			r, err := c.Open(o.Arg)
			if err != nil {
				c.FailWith(2, "%s: %s", o.Arg, applet.Reason(err))
				return 2
			}
			data, _ := io.ReadAll(r)
			r.Close()
			hasPattern = true
			if len(data) > 0 {
				sources = append(sources, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")...)
			}
		default:
			if msg := g.option(o); msg != "" {
				c.FailWith(2, "%s", msg)
				return 2
			}
		}
	}
	if !hasPattern {
		if len(names) == 0 {
			fmt.Fprintf(c.Stderr, "Usage: %s [OPTION]... PATTERNS [FILE]...\nTry '%s --help' for more information.\n", c.Name, c.Name)
			return 2
		}
		sources, names = strings.Split(names[0], "\n"), names[1:]
	}
	for _, p := range sources {
		re, err := regex.Compile(p, g.syntax, g.fold)
		if err != nil {
			c.FailWith(2, "%s", err.Error())
			return 2
		}
		g.patterns = append(g.patterns, re)
	}
	if len(names) == 0 {
		if g.recursive {
			names = []string{"."}
			g.names = max(g.names, 0)
		} else {
			names = []string{"-"}
		}
	}
	if g.names == 0 && (len(names) > 1 || g.recursive) {
		g.names = 1
	}
	for _, n := range names {
		if n == "." && g.recursive && len(names) == 1 && !contains(c.Args, ".") {
			g.tree("", true, 0)
		} else {
			g.path(n, true, 0)
		}
		if g.quiet && g.matched {
			return 0
		}
	}
	switch {
	case c.Status() >= 2 && !(g.quiet && g.matched):
		return 2
	case g.matched:
		return 0
	}
	return 1
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s || l == s+"/" {
			return true
		}
	}
	return false
}

func (g *grep) option(o applet.Opt) string {
	n, isNumber := number(o.Arg)
	switch o.Key {
	case "A", "B", "C", "NUM":
		if !isNumber || n < 0 {
			return o.Arg + ": invalid context length argument"
		}
		if o.Key != "B" {
			g.after = n
		}
		if o.Key != "A" {
			g.before = n
		}
	case "a":
		g.binary = 'a'
	case "I":
		g.binary = 'I'
	case "binary-files":
		g.binary = map[string]byte{"text": 'a', "without-match": 'I'}[o.Arg]
	case "b":
		g.offset = true
	case "c":
		g.count = true
	case "color":
		g.color = o.Arg == "always" || (o.Arg == "" || o.Arg == "auto") && sys.IsTerminal(1)
	case "d":
		g.directories = o.Arg
	case "E":
		g.syntax = regex.Extended
	case "F":
		g.syntax = regex.Fixed
	case "G":
		g.syntax = regex.Basic
	case "P":
		g.syntax = regex.Perl
	case "H":
		g.names = 1
	case "h":
		g.names = -1
	case "i", "y":
		g.fold = true
	case "no-ignore-case":
		g.fold = false
	case "L":
		g.listWithout = true
	case "l":
		g.list = true
	case "m":
		if !isNumber {
			return "invalid max count"
		}
		g.max = n
	case "n":
		g.number = true
	case "o":
		g.only = true
	case "q":
		g.quiet = true
	case "R":
		g.recursive, g.follow = true, true
	case "r":
		g.recursive = true
	case "s":
		g.silent = true
	case "v":
		g.invert = true
	case "w":
		g.word = true
	case "x":
		g.line = true
	case "Z":
		g.null = true
	case "z":
		g.delim = 0
	case "include":
		g.include = append(g.include, o.Arg)
	case "exclude":
		g.exclude = append(g.exclude, o.Arg)
	case "exclude-dir":
		g.excludeDir = append(g.excludeDir, o.Arg)
	case "label":
		g.label = o.Arg
	}
	return ""
}

func anyMatch(globs []string, name string) bool {
	for _, p := range globs {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

func (g *grep) fail(name string, err error) {
	if !g.silent {
		g.c.FailWith(2, "%s: %s", name, applet.Reason(err))
	}
	g.c.Set(2)
}

func (g *grep) path(name string, top bool, depth int) {
	if name != "-" {
		fi, err := os.Lstat(name)
		if err == nil && fi.Mode()&os.ModeSymlink != 0 && (top || g.follow) {
			fi, err = os.Stat(name)
		}
		if err != nil {
			g.fail(name, err)
			return
		}
		switch {
		case fi.IsDir() && g.recursive:
			if !top && anyMatch(g.excludeDir, path.Base(name)) {
				return
			}
			g.tree(name, top, depth)
			return
		case fi.IsDir():
			if g.directories != "skip" {
				fmt.Fprintf(g.c.Stderr, "%s: %s: Is a directory\n", g.c.Name, name)
				g.c.Set(2)
			}
			return
		case !top && !fi.Mode().IsRegular():
			return
		case len(g.include) > 0 && !anyMatch(g.include, path.Base(name)) && g.recursive:
			return
		case anyMatch(g.exclude, path.Base(name)):
			return
		}
	}
	r, err := g.c.Open(name)
	if err != nil {
		g.fail(name, err)
		return
	}
	defer r.Close()
	if name == "-" {
		name = g.label
	}
	if err := g.file(name, r); err != nil {
		g.fail(name, err)
	}
}

func (g *grep) tree(dir string, top bool, depth int) {
	show := dir
	if dir == "" {
		show = "."
	}
	list, err := os.ReadDir(show)
	if err != nil {
		g.fail(show, err)
		return
	}
	if depth > 256 {
		return
	}
	for _, e := range list {
		name := e.Name()
		if dir != "" {
			name = strings.TrimSuffix(dir, "/") + "/" + name
		}
		g.path(name, false, depth+1)
		if g.quiet && g.matched {
			return
		}
	}
}

// find is the matches in a line after -w and -x.
func (g *grep) find(line []byte, all bool) (out [][]int) {
	n := 1
	if all {
		n = -1
	}
	for _, re := range g.patterns {
		if g.line {
			for _, m := range re.All(line, -1) {
				if m[0] == 0 && m[1] == len(line) {
					return [][]int{{0, len(line)}}
				}
			}
			if len(line) == 0 && re.Match(line) {
				return [][]int{{0, 0}}
			}
			continue
		}
		if !g.word {
			out = append(out, re.All(line, n)...)
		} else {
			out = append(out, wordMatches(re, line, all)...)
		}
		if len(out) > 0 && !all {
			return out
		}
	}
	if len(g.patterns) > 1 {
		out = merge(out)
	}
	return out
}

// wordMatches keeps matches that are whole words.
func wordMatches(re *regex.Regexp, line []byte, all bool) (out [][]int) {
	for from := 0; from <= len(line); {
		m := re.Find(line[from:])
		if m == nil {
			return out
		}
		a, b := from+m[0], from+m[1]
		if b > a && !wordBefore(line, a) && !wordAfter(line, b) {
			out = append(out, []int{a, b})
			if !all {
				return out
			}
			from = b
			continue
		}
		if re.Anchored() {
			return out
		}
		_, size := utf8.DecodeRune(line[a:])
		from = a + max(size, 1)
	}
	return out
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func wordBefore(line []byte, at int) bool {
	r, n := utf8.DecodeLastRune(line[:at])
	return n > 0 && isWordRune(r)
}

func wordAfter(line []byte, at int) bool {
	r, n := utf8.DecodeRune(line[at:])
	return n > 0 && isWordRune(r)
}

// merge orders the matches of several patterns and drops those that overlap an earlier one.
func merge(list [][]int) (out [][]int) {
	for len(list) > 0 {
		best := 0
		for i, m := range list {
			if m[0] < list[best][0] || m[0] == list[best][0] && m[1] > list[best][1] {
				best = i
			}
		}
		m := list[best]
		list = append(list[:best:best], list[best+1:]...)
		if len(out) == 0 || m[0] >= out[len(out)-1][1] {
			out = append(out, m)
		}
	}
	return out
}

type contextLine struct {
	number, offset int64
	text           []byte
}

// file searches one input.
func (g *grep) file(name string, r io.Reader) error {
	var hits, number, offset, pending int64
	var before []contextLine
	last := int64(-1)
	binary := false
	quick := g.quiet || g.list || g.listWithout
	err := lines(r, g.delim, func(line []byte, _ bool) error {
		number++
		at := offset
		offset += int64(len(line)) + 1
		if !binary && g.delim != 0 && bytes.IndexByte(line, 0) >= 0 {
			binary = g.binary != 'a'
			if binary && g.binary == 'I' {
				hits = 0
				return errStop
			}
		}
		if g.max >= 0 && hits >= g.max {
			if pending == 0 || quick || g.count {
				return errStop
			}
			pending--
			g.print(name, '-', contextLine{number, at, line}, nil)
			return nil
		}
		matches := g.find(line, g.only || g.color)
		if (len(matches) > 0) == g.invert {
			switch {
			case quick || g.count || binary || g.only:
			case pending > 0:
				pending--
				g.print(name, '-', contextLine{number, at, line}, nil)
				last = number
			case g.before > 0:
				before = append(before, contextLine{number, at, bytes.Clone(line)})
				if int64(len(before)) > g.before {
					before = before[1:]
				}
			}
			return nil
		}
		hits++
		g.matched = true
		switch {
		case quick:
			return errStop
		case g.count:
			return nil
		case binary:
			return errStop
		case g.only:
			if !g.invert {
				g.printMatches(name, contextLine{number, at, line}, matches)
			}
			return nil
		}
		if (g.before > 0 || g.after > 0) && g.separator && (last < 0 || number-int64(len(before)) > last+1) {
			fmt.Fprintln(g.c.Out, g.paint("36", "--"))
		}
		for _, b := range before {
			g.print(name, '-', b, nil)
		}
		before = before[:0]
		g.print(name, ':', contextLine{number, at, line}, matches)
		g.separator, last, pending = true, number, g.after
		return nil
	})
	if err == errStop {
		err = nil
	}
	switch {
	case g.quiet:
	case g.list && hits > 0, g.listWithout && hits == 0:
		end := "\n"
		if g.null {
			end = "\x00"
		}
		fmt.Fprint(g.c.Out, g.paint("35", name), end)
	case g.list || g.listWithout:
	case g.count:
		g.prefix(name, ':')
		fmt.Fprintln(g.c.Out, hits)
	case binary && hits > 0:
		g.c.Out.Flush()
		fmt.Fprintf(g.c.Stderr, "%s: %s: binary file matches\n", g.c.Name, name)
	}
	return err
}

func (g *grep) paint(code, s string) string {
	if !g.color {
		return s
	}
	return "\x1b[" + code + "m\x1b[K" + s + "\x1b[m\x1b[K"
}

func (g *grep) prefix(name string, sep byte) {
	if g.names != 1 {
		return
	}
	g.c.Out.WriteString(g.paint("35", name))
	if g.null {
		g.c.Out.WriteByte(0)
		return
	}
	g.c.Out.WriteString(g.paint("36", string(sep)))
}

func (g *grep) head(name string, sep byte, l contextLine, shift int) {
	g.prefix(name, sep)
	if g.number {
		g.c.Out.WriteString(g.paint("32", strconv.FormatInt(l.number, 10)) + g.paint("36", string(sep)))
	}
	if g.offset {
		g.c.Out.WriteString(g.paint("32", strconv.FormatInt(l.offset+int64(shift), 10)) + g.paint("36", string(sep)))
	}
}

func (g *grep) print(name string, sep byte, l contextLine, matches [][]int) {
	g.head(name, sep, l, 0)
	at := 0
	if g.color && !g.invert {
		for _, m := range matches {
			if m[1] > m[0] && m[0] >= at {
				g.c.Out.Write(l.text[at:m[0]])
				g.c.Out.WriteString(g.paint("01;31", string(l.text[m[0]:m[1]])))
				at = m[1]
			}
		}
	}
	g.c.Out.Write(l.text[at:])
	g.c.Out.WriteByte(g.delim)
}

func (g *grep) printMatches(name string, l contextLine, matches [][]int) {
	for _, m := range matches {
		if m[1] == m[0] {
			continue
		}
		g.head(name, ':', l, m[0])
		g.c.Out.WriteString(g.paint("01;31", string(l.text[m[0]:m[1]])))
		g.c.Out.WriteByte(g.delim)
	}
}
