package lessons

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

//go:embed content
var content embed.FS

// Content holds the lessons that ship with Drydock, a folder each.
func Content() fs.FS {
	sub, err := fs.Sub(content, "content")
	if err != nil {
		panic(err) // the name is a constant
	}
	return sub
}

// LoadAll loads every lesson below fsys, in the order of the folders' names.
func LoadAll(fsys fs.FS) ([]*Lesson, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read lessons: %w", err)
	}
	var all []*Lesson
	var problems Problems
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		l, err := Load(fsys, path.Clean(e.Name()))
		if more, ok := err.(Problems); ok {
			problems = append(problems, more...)
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b *Lesson) int { // folders come by name
		return cmp.Or(cmp.Compare(min(1, b.Place), min(1, a.Place)), cmp.Compare(a.Place, b.Place))
	})
	return all, problems.sorted()
}
