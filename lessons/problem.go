package lessons

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong in a lesson's files.
type Problem struct {
	File   string // as given to Load, with the folder
	Line   int    // from 1; 0 if the file as a whole is meant
	What   string
	Remedy string
}

func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s: %s (%s)", where, p.What, p.Remedy)
}

// Problems is all that is wrong in a lesson; Load reports them together, by file and line.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems keeps the report of a hostile or hopeless file readable.
const maxProblems = 100

func (ps *Problems) add(file string, line int, remedy, format string, args ...any) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, Problem{File: file, Line: line, What: fmt.Sprintf(format, args...), Remedy: remedy})
	}
}

func (ps Problems) sorted() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return ps
}
