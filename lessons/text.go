package lessons

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	gmtext "github.com/yuin/goldmark/text"
)

// markdownParser makes HTML without raw HTML: goldmark leaves it out unless told otherwise, and the loader reports it.
var markdownParser = goldmark.New(goldmark.WithExtensions(extension.Table))

var section = regexp.MustCompile(`^## +([a-z0-9-]+) *$`)

// markdown reads the lesson's text in one language. What stands before the first `## task-id` is the introduction; each task has a section.
// Fenced code marked `sh` becomes commands, one a line; other fenced code becomes listings.
func (l *loader) markdown(lang Lang) {
	name := string(lang) + ".md"
	data, ok := l.read(name, "each lesson is written in both languages")
	if !ok {
		return
	}
	file := path.Join(l.dir, name)
	lines := strings.SplitAfter(string(data), "\n")
	start, task, next := 0, (*Task)(nil), 0
	flush := func(end int) {
		blocks := l.blocks(file, start, strings.Join(lines[start:end], ""))
		if task == nil {
			l.lesson.Intro[lang] = blocks
			return
		}
		task.Text[lang] = blocks
		if len(blocks) == 0 {
			l.problems.add(file, start, "write what the learner does", "the section %q is empty", task.ID)
		}
	}
	fence := false
	for i, line := range lines {
		if strings.HasPrefix(line, "```") {
			fence = !fence
		}
		m := section.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if fence || m == nil {
			continue
		}
		flush(i)
		start, task = i+1, nil
		if next < len(l.lesson.Tasks) && l.lesson.Tasks[next].ID == m[1] {
			task = l.lesson.Tasks[next]
			next++
			continue
		}
		l.problems.add(file, i+1, "sections are the ids of the tasks, in the order of lesson.yaml", "the section %q is not the next task", m[1])
		return
	}
	flush(len(lines))
	if next < len(l.lesson.Tasks) {
		l.problems.add(file, 0, "add `## "+l.lesson.Tasks[next].ID+"`", "task %q of lesson.yaml has no section", l.lesson.Tasks[next].ID)
	}
}

// blocks renders Markdown into blocks; offset is the line before its first.
func (l *loader) blocks(file string, offset int, source string) []Block {
	src := []byte(source)
	doc := markdownParser.Parser().Parse(gmtext.NewReader(src))
	l.lintText(file, offset, src, doc)
	var out []Block
	var html bytes.Buffer
	flush := func() {
		if html.Len() > 0 {
			out = append(out, Block{HTML: html.String()})
			html.Reset()
		}
	}
	for n := doc.FirstChild(); n != nil; n = n.NextSibling() {
		code, ok := n.(*ast.FencedCodeBlock)
		if !ok {
			if err := markdownParser.Renderer().Render(&html, src, n); err != nil {
				l.problems.add(file, offset+1, "write plainer Markdown", "the text can't be rendered: %v", err)
			}
			continue
		}
		flush()
		body := string(code.Lines().Value(src))
		if language := string(code.Language(src)); language != "sh" {
			out = append(out, Block{Code: strings.TrimRight(body, "\n"), Language: language})
			continue
		}
		for line := range strings.Lines(body) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, Block{Command: line})
			}
		}
	}
	flush()
	return out
}

// forbidden are words that LESSONS.md's voice does without.
var forbidden = regexp.MustCompile(`(?i)\b(simply|just|obviously|of course)\b|쉽게|간단히|당연히`)

// lintText reports raw HTML, links that leave the portal, and words that belittle.
func (l *loader) lintText(file string, offset int, src []byte, doc ast.Node) {
	line := func(pos int) int { return offset + 1 + bytes.Count(src[:min(max(pos, 0), len(src))], []byte("\n")) }
	last := 0
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
			last = n.Lines().At(0).Start
		}
		switch v := n.(type) {
		case *ast.HTMLBlock, *ast.RawHTML:
			l.problems.add(file, line(last), "write Markdown", "raw HTML is not allowed")
		case *ast.Link:
			l.link(file, line(last), v.Destination)
		case *ast.AutoLink:
			l.link(file, line(last), v.URL(src))
		case *ast.Image:
			l.problems.add(file, line(last), "pictures come with a later version of the format", "images are not shown yet")
		case *ast.Text:
			last = v.Segment.Start
			if m := forbidden.Find(v.Segment.Value(src)); m != nil {
				l.problems.add(file, line(last), "say what happens instead", "the word %q tells learners how hard they may find it", m)
			}
		}
		return ast.WalkContinue, nil
	})
}

func (l *loader) link(file string, line int, to []byte) {
	if !bytes.HasPrefix(to, []byte("/")) || bytes.HasPrefix(to, []byte("//")) {
		l.problems.add(file, line, "labs run without network: link to a page of the portal, such as /differences", "the link %q leads outside", to)
	}
}

// InlineHTML renders one paragraph of Markdown (a hint) without its paragraph.
func InlineHTML(s string) string {
	var b bytes.Buffer
	if err := markdownParser.Convert([]byte(s), &b); err != nil {
		return fmt.Sprintf("<p>%s</p>", strings.ReplaceAll(strings.ReplaceAll(s, "&", "&amp;"), "<", "&lt;"))
	}
	return b.String()
}
