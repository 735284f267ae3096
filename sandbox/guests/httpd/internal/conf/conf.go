// Package conf reads configuration files in the syntax of nginx: words, quotes, blocks, comments, include.
// It knows no directive but include; errors carry nginx's own texts.
package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits on what is read: a configuration comes from whoever made the image or the ConfigMap.
const (
	maxFile       = 1 << 20 // bytes of one file
	maxDirectives = 20000   // in all files
	maxDepth      = 50      // of blocks and of includes
)

// Directive is one directive: its words and, if it has one, its block.
type Directive struct {
	Name  string
	Args  []string
	Block []*Directive // nil unless IsBlock
	// IsBlock says that the directive ended with a block and not with a semicolon.
	IsBlock bool
	File    string
	Line    int // where the directive ends, which is where nginx reports it
}

// Errorf is an error at the directive.
func (d *Directive) Errorf(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), d.File, d.Line}
}

// Error is what is wrong in a file. Line is 0 where there is none, as on the command line.
type Error struct {
	Text, File string
	Line       int
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text + " in " + e.File
	}
	return fmt.Sprintf("%s in %s:%d", e.Text, e.File, e.Line)
}

// Load reads a file and what it includes, and tells which files that were. Relative names are relative to the file's folder.
// openText words an error of the system as the caller wishes.
func Load(file string, openText func(name string, err error) string) (ds []*Directive, files []string, err error) {
	l := &loader{base: filepath.Dir(file), openText: openText}
	text, err := l.read(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s", openText(file, err))
	}
	ds, err = l.parse(file, text)
	return ds, l.files, err
}

// ParseLine reads directives given on the command line.
func ParseLine(text string, openText func(string, error) string) ([]*Directive, error) {
	l := &loader{base: "/etc/nginx", openText: openText}
	ds, err := l.parse("command line", []byte(text))
	if e, ok := err.(*Error); ok && e.File == "command line" {
		e.Line = 0
	}
	for _, d := range ds {
		d.Line = 0
	}
	return ds, err
}

type loader struct {
	base     string
	openText func(string, error) string
	files    []string // that were read, each once
	count    int
	depth    int
}

func (l *loader) read(file string) ([]byte, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	if !slices.Contains(l.files, file) {
		l.files = append(l.files, file)
	}
	return os.ReadFile(file)
}

func (l *loader) parse(file string, text []byte) ([]*Directive, error) {
	p := &parser{lexer: lexer{text: text, line: 1}, loader: l, file: file}
	return p.block(0)
}

// include replaces the directive by those of the files it names.
func (l *loader) include(d *Directive) ([]*Directive, error) {
	if len(d.Args) != 1 || d.IsBlock {
		return nil, d.Errorf(`invalid number of arguments in "include" directive`)
	}
	if l.depth++; l.depth > maxDepth {
		return nil, d.Errorf("too many nested includes")
	}
	defer func() { l.depth-- }()
	name := d.Args[0]
	if !filepath.IsAbs(name) {
		name = filepath.Join(l.base, name)
	}
	files := []string{name}
	if strings.ContainsAny(name, "*?[") {
		var err error
		if files, err = filepath.Glob(name); err != nil {
			return nil, d.Errorf("%s", l.openText(name, err))
		}
	}
	var all []*Directive
	for _, f := range files {
		text, err := l.read(f)
		if err != nil {
			return nil, d.Errorf("%s", l.openText(f, err))
		}
		ds, err := l.parse(f, text)
		if err != nil {
			return nil, err
		}
		all = append(all, ds...)
	}
	return all, nil
}

type parser struct {
	lexer
	*loader
	file string
}

func (p *parser) errorf(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), p.file, p.line}
}

// block reads directives up to the block's end, or at depth 0 the file's.
func (p *parser) block(depth int) ([]*Directive, error) {
	if depth > maxDepth {
		return nil, p.errorf("too many nested blocks")
	}
	list := []*Directive{}
	for {
		d, end, err := p.directive(depth)
		if err != nil || end {
			return list, err
		}
		if p.count++; p.count > maxDirectives {
			return nil, p.errorf("too many directives")
		}
		if d.Name != "include" {
			list = append(list, d)
			continue
		}
		more, err := p.include(d)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
}

// directive reads one directive with its block; end says that there is none because the block or the file ended.
func (p *parser) directive(depth int) (d *Directive, end bool, err error) {
	var words []string
	for {
		tok, err := p.next()
		if err != nil {
			return nil, false, p.errorf("%v", err)
		}
		switch tok.kind {
		case word:
			words = append(words, tok.text)
			continue
		case endOfFile:
			if len(words) > 0 || depth > 0 {
				return nil, false, p.errorf(`unexpected end of file, expecting %s`, map[bool]string{true: `";" or "}"`, false: `"}"`}[len(words) > 0])
			}
			return nil, true, nil
		case closing:
			if len(words) > 0 || depth == 0 {
				return nil, false, p.errorf(`unexpected "}"`)
			}
			return nil, true, nil
		}
		if len(words) == 0 {
			return nil, false, p.errorf("unexpected %q", tok.text)
		}
		d = &Directive{Name: words[0], Args: words[1:], File: p.file, Line: p.line}
		if tok.kind == opening {
			d.IsBlock = true
			d.Block, err = p.block(depth + 1)
		}
		return d, false, err
	}
}
