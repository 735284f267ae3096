package lessons

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Limits on what a lesson may hold; files above them are reported, not read.
const (
	maxFile   = 1 << 20
	maxTasks  = 12
	maxChecks = 12
)

// Load reads the lesson in folder dir of fsys: lesson.yaml, ko.md, en.md and the files under assets/ that it names.
//
// # Errors
//   - Problems: everything that is wrong, each with file, line and remedy.
func Load(fsys fs.FS, dir string) (*Lesson, error) {
	var problems Problems
	l := &loader{fsys: fsys, dir: dir, problems: &problems, lesson: &Lesson{Nodes: 3, Views: []string{"cluster"}, Messages: map[string]Text{}, Intro: map[Lang][]Block{}}}
	l.reader = reader{file: path.Join(dir, "lesson.yaml"), problems: &problems}
	data, ok := l.read("lesson.yaml", "a lesson is a folder with lesson.yaml, ko.md and en.md")
	if !ok {
		return nil, problems.sorted()
	}
	var doc yaml.Node
	if err := decode(data, &doc); err != nil {
		line, what := yamlError(err)
		problems.add(l.reader.file, line, "mend the YAML: indentation with spaces, texts with : or # in quotes", "%s", what)
		return nil, problems.sorted()
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		problems.add(l.reader.file, 1, "start with `id:`", "the file is empty")
		return nil, problems.sorted()
	}
	l.lessonYAML(doc.Content[0])
	for _, lang := range Langs {
		l.markdown(lang)
	}
	if err := problems.sorted(); err != nil {
		return nil, err
	}
	return l.lesson, nil
}

// decode parses YAML; aliases are refused, since a small file with nested aliases unfolds without bound.
func decode(data []byte, doc *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	if err := yaml.Unmarshal(data, doc); err != nil {
		return err
	}
	return refuseAliases(doc, 0)
}

func refuseAliases(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode {
		return fmt.Errorf("yaml: line %d: aliases (*name) are not used in lessons", n.Line)
	}
	if depth > 40 {
		return fmt.Errorf("yaml: line %d: nested too deeply", n.Line)
	}
	for _, c := range n.Content {
		if err := refuseAliases(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?`)

func yamlError(err error) (line int, what string) {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, _ = strconv.Atoi(m[1])
	return line, strings.TrimPrefix(err.Error(), m[0])
}

type loader struct {
	reader
	fsys     fs.FS
	dir      string
	problems *Problems
	lesson   *Lesson
	places   map[string]int // line of each task in lesson.yaml
}

// read reads a file of the lesson and reports one that is missing, too large or not UTF-8.
func (l *loader) read(name, remedy string) ([]byte, bool) {
	full := path.Join(l.dir, name)
	info, err := fs.Stat(l.fsys, full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.problems.add(full, 0, remedy, "the file is missing")
		return nil, false
	case err != nil:
		l.problems.add(full, 0, "see that it can be read", "%v", err)
		return nil, false
	case info.IsDir() || info.Size() > maxFile:
		l.problems.add(full, 0, "files are at most 1 MiB", "the file is too large or a folder")
		return nil, false
	}
	data, err := fs.ReadFile(l.fsys, full)
	if err != nil {
		l.problems.add(full, 0, "see that it can be read", "%v", err)
		return nil, false
	}
	if !utf8.Valid(data) {
		l.problems.add(full, 0, "save it as UTF-8", "the file is not UTF-8")
		return nil, false
	}
	return data, true
}

func (l *loader) lessonYAML(n *yaml.Node) {
	out := l.lesson
	l.places = map[string]int{}
	l.fields(n, "the lesson", map[string]func(*yaml.Node){
		"id!": func(n *yaml.Node) {
			out.ID = l.id(n, "the id")
			if base := path.Base(l.dir); l.dir != "." && out.ID != base {
				l.fail(n, "name both alike", "the id is %q, the folder %q", out.ID, base)
			}
		},
		"title!":      func(n *yaml.Node) { out.Title = l.text(n, "the title") },
		"summary!":    func(n *yaml.Node) { out.Summary = l.text(n, "the summary") },
		"difficulty!": func(n *yaml.Node) { out.Difficulty = l.oneOf(n, "the difficulty", "easy", "medium", "hard") },
		"minutes!":    func(n *yaml.Node) { out.Minutes = l.number(n, "minutes", 1, 120) },
		"place":       func(n *yaml.Node) { out.Place = l.number(n, "the place", 1, 999) },
		"lab": func(n *yaml.Node) {
			l.fields(n, "lab", map[string]func(*yaml.Node){"nodes": func(n *yaml.Node) { out.Nodes = l.number(n, "nodes", 1, 50) }})
		},
		"views": func(n *yaml.Node) {
			out.Views = nil
			l.each(n, "views", func(n *yaml.Node) { out.Views = append(out.Views, l.oneOf(n, "a view", "cluster", "docker")) })
		},
		"files": func(n *yaml.Node) { l.each(n, "files", l.file) },
		"what!": func(n *yaml.Node) { l.each(n, "what", l.what) },
		"wrong": func(n *yaml.Node) {
			l.each(n, "wrong", func(n *yaml.Node) { out.Wrong = append(out.Wrong, l.remark(n, "wrong", true)) })
		},
		"tasks!": func(n *yaml.Node) {
			l.each(n, "tasks", l.task)
			if len(n.Content) == 0 || len(n.Content) > maxTasks {
				l.fail(n, fmt.Sprintf("a lesson has 1 to %d tasks", maxTasks), "there are %d tasks", len(n.Content))
			}
		},
	})
}

func (l *loader) file(n *yaml.Node) {
	f := File{Mode: 0o644}
	from := ""
	l.fields(n, "a file", map[string]func(*yaml.Node){
		"path!": func(n *yaml.Node) {
			f.Path = l.str(n, "the path")
			if !fs.ValidPath(f.Path) {
				l.fail(n, "write a path below the home directory, without .. or a leading /", "the path is %q", f.Path)
			}
		},
		"from!": func(n *yaml.Node) {
			from = l.str(n, "from")
			if !fs.ValidPath(from) || !strings.HasPrefix(from, "assets/") {
				l.fail(n, "name a file under assets/", "from is %q", from)
				from = ""
			}
		},
		"mode": func(n *yaml.Node) {
			mode, err := strconv.ParseUint(strings.TrimPrefix(n.Value, "0o"), 8, 12)
			if err != nil {
				l.fail(n, "write it as 0644", "the mode is %q", n.Value)
			}
			f.Mode = uint32(mode)
		},
	})
	if from != "" {
		f.Data, _ = l.read(from, "lesson.yaml names it under files")
	}
	l.lesson.Files = append(l.lesson.Files, f)
}

func (l *loader) what(n *yaml.Node) {
	var w What
	l.fields(n, "an entry of what", map[string]func(*yaml.Node){
		"kind!":   func(n *yaml.Node) { w.Kind = WhatKind(l.oneOf(n, "kind", "real", "own", "model", "record")) },
		"name!":   func(n *yaml.Node) { w.Name = l.text(n, "the name") },
		"instead": func(n *yaml.Node) { w.Instead = l.text(n, "instead") },
	})
	if w.Kind != Real && w.Kind != "" && w.Instead == (Text{}) {
		l.fail(n, "add `instead:` with a sentence that begins \"On a real system\"", "%s entry %q does not say how a real system has it", w.Kind, w.Name.En)
	}
	l.lesson.What = append(l.lesson.What, w)
}

func (l *loader) task(n *yaml.Node) {
	t := &Task{Text: map[Lang][]Block{}}
	// the id comes first, whatever the order in the file: codes need it
	l.fields(n, "a task", map[string]func(*yaml.Node){
		"id!":     func(n *yaml.Node) { t.ID = l.id(n, "a task's id") },
		"title!":  func(n *yaml.Node) { t.Title = l.text(n, "a task's title") },
		"checks!": func(*yaml.Node) {},
		"hints": func(n *yaml.Node) {
			l.each(n, "hints", func(n *yaml.Node) { t.Hints = append(t.Hints, l.text(n, "a hint")) })
		},
		"solution!": func(n *yaml.Node) {
			l.each(n, "solution", func(n *yaml.Node) { t.Solution = append(t.Solution, l.str(n, "a command")) })
		},
		"explain": func(n *yaml.Node) { t.explain = l.expression(n, "explain", wantObject) },
	})
	if slices.ContainsFunc(l.lesson.Tasks, func(o *Task) bool { return o.ID == t.ID }) {
		l.fail(n, "give each its own id", "two tasks are called %q", t.ID)
	}
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == "checks" {
			l.each(n.Content[i+1], "checks", func(n *yaml.Node) { l.check(t, n) })
			if k := len(n.Content[i+1].Content); k == 0 || k > maxChecks {
				l.fail(n.Content[i+1], fmt.Sprintf("a task has 1 to %d checks", maxChecks), "task %q has %d", t.ID, k)
			}
			break
		}
	}
	l.places[t.ID] = n.Line
	l.lesson.Tasks = append(l.lesson.Tasks, t)
}

func (l *loader) check(t *Task, n *yaml.Node) {
	c := &Check{}
	l.fields(n, "a check", map[string]func(*yaml.Node){
		"id!":   func(n *yaml.Node) { c.ID = l.id(n, "a check's id") },
		"must!": func(n *yaml.Node) { c.must = l.expression(n, "must", wantBool) },
		"else!": func(n *yaml.Node) {
			l.each(n, "else", func(n *yaml.Node) { c.Else = append(c.Else, l.remark(n, t.ID, false)) })
			if k := len(c.Else); k == 0 || c.Else[k-1].when != nil {
				l.fail(n, "end the list with a remark without `when:`", "else leaves cases without a sentence")
			}
		},
	})
	t.Checks = append(t.Checks, c)
}

func (l *loader) remark(n *yaml.Node, prefix string, conditional bool) *Remark {
	m := &Remark{}
	var text Text
	fields := map[string]func(*yaml.Node){
		"code!": func(n *yaml.Node) { m.Code = prefix + "/" + l.id(n, "a code") },
		"ko!":   func(n *yaml.Node) { text.Ko = strings.TrimSpace(l.str(n, "the Korean sentence")) },
		"en!":   func(n *yaml.Node) { text.En = strings.TrimSpace(l.str(n, "the English sentence")) },
		"with": func(n *yaml.Node) {
			m.with = map[string]*expression{}
			of := map[string]func(*yaml.Node){}
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				name := n.Content[i].Value
				of[name] = func(n *yaml.Node) { m.with[name] = l.expression(n, "with."+name, wantAny) }
			}
			l.fields(n, "with", of)
		},
	}
	when := func(n *yaml.Node) { m.when = l.expression(n, "when", wantBool) }
	if fields["when"] = when; conditional {
		delete(fields, "when")
		fields["when!"] = when
	}
	l.fields(n, "a remark", fields)
	if _, twice := l.lesson.Messages[m.Code]; twice {
		l.fail(n, "give each remark of a task its own code", "the code %q is used twice", m.Code)
	}
	l.placeholders(n, text, m.with)
	l.lesson.Messages[m.Code] = text
	return m
}

var placeholder = regexp.MustCompile(`\{([a-z][A-Za-z0-9]*)\}`)

// placeholders sees that both languages use exactly the parameters there are.
func (l *loader) placeholders(n *yaml.Node, text Text, with map[string]*expression) {
	for _, lang := range Langs {
		used := map[string]bool{}
		for _, m := range placeholder.FindAllStringSubmatch(text.In(lang), -1) {
			used[m[1]] = true
			if with[m[1]] == nil {
				l.fail(n, "add it under `with:`", "the %s sentence uses {%s}, which is not given", lang, m[1])
			}
		}
		for name := range with {
			if !used[name] {
				l.fail(n, "use it in both languages or remove it", "the %s sentence does not use {%s}", lang, name)
			}
		}
	}
}
