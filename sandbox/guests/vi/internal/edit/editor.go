// Package edit is a modal editor in the manner of vi, as a machine without input or output: keys go in, a screen comes out, files are
// reached through an interface. Commands and messages follow vim's (its manual pages "motion", "change", "editing").
package edit

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
)

// Files is where texts are read and written. Read answers fs.ErrNotExist for a file that is not there.
type Files interface {
	Read(name string, limit int) ([]byte, error)
	Write(name string, data []byte) error
	Exists(name string) bool
}

type mode int

const (
	normal mode = iota
	inserting
	replacing
	colon  // an Ex command is typed
	search // a pattern is typed
)

// Editor is the whole state. One goroutine uses it.
type Editor struct {
	buffer
	files    Files
	name     string
	readOnly bool
	quit     bool

	cursor     pos
	want       int // display column that vertical movement returns to
	top        int // first line shown
	rows, cols int
	mode       mode
	keys       []Key // of a command that is not complete
	line       []rune
	direction  int // of the search that is typed
	message    string

	register   [][]rune
	linewise   bool
	pattern    string
	lastDir    int
	lastFind   command
	lastChange []Key // the keys of the last change, for "."
	recording  []Key
	replaying  bool
	once       bool // the command is none that "." repeats
	insertAt   pos
	insertWith int // how often the inserted text is to come
	inserted   []Key
	overtyped  [][]rune // in Replace mode: the line before, for Backspace
	number     bool
	indent     bool
	expand     bool
	shift      int // shiftwidth
	tab        int // columns of spaces that Tab inserts with expandtab
	suspend    bool
}

// New opens a file; "" is a text without a name.
func New(files Files, name string, rows, cols int) *Editor {
	e := &Editor{files: files, shift: tabStop, tab: tabStop}
	e.lines = [][]rune{nil}
	e.Resize(rows, cols)
	if name != "" {
		e.load(name)
	}
	return e
}

// ReadOnly makes :w ask for an exclamation mark.
func (e *Editor) ReadOnly() { e.readOnly = true }

// Resize tells the size of the screen.
func (e *Editor) Resize(rows, cols int) { e.rows, e.cols = max(rows, 2), max(cols, 2) }

// Done says that the editor has been left.
func (e *Editor) Done() bool { return e.quit }

// Suspended says, once, that the user wants the shell back for a while.
func (e *Editor) Suspended() bool {
	s := e.suspend
	e.suspend = false
	return s
}

// Press takes a key.
func (e *Editor) Press(k Key) {
	if !e.replaying {
		e.recording = append(e.recording, k)
	}
	switch e.mode {
	case inserting, replacing:
		e.pressInsert(k)
	case colon, search:
		e.pressLine(k)
	default:
		e.message = ""
		e.pressNormal(k)
	}
	if e.mode == normal && len(e.keys) == 0 {
		if !e.replaying {
			if e.changing && !e.once {
				e.lastChange = slices.Clone(e.recording)
			}
			e.recording, e.changing, e.once = e.recording[:0], false, false
		}
	}
	e.clamp()
}

// clamp keeps the cursor on the text: in normal mode on a character.
func (e *Editor) clamp() {
	e.cursor.line = min(max(e.cursor.line, 0), len(e.lines)-1)
	last := len(e.lines[e.cursor.line])
	if e.mode == normal && last > 0 {
		last--
	}
	e.cursor.col = min(max(e.cursor.col, 0), last)
}

func (e *Editor) current() []rune { return e.lines[e.cursor.line] }

// moveTo puts the cursor somewhere and remembers its column.
func (e *Editor) moveTo(p pos) {
	e.cursor = p
	e.clamp()
	e.want = column(e.current(), e.cursor.col)
}

func (e *Editor) say(format string, args ...any) { e.message = fmt.Sprintf(format, args...) }

func (e *Editor) load(name string) {
	e.name = name
	data, err := e.files.Read(name, maxFile)
	e.buffer = buffer{lines: [][]rune{nil}}
	e.cursor, e.top, e.want = pos{}, 0, 0
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.say("%q [New]", name)
		return
	case err != nil:
		e.name = ""
		e.say("%q %s", name, reason(err))
		return
	}
	lines, noEOL := decodeText(data)
	if len(lines) > 0 {
		e.lines = lines
	}
	e.say("%q %s%dL, %dB", name, map[bool]string{true: "[noeol] "}[noEOL], len(lines), len(data))
}

func isNotExist(err error) bool {
	return err != nil && strings.Contains(err.Error(), fs.ErrNotExist.Error())
}

// reason is an error of the file system without the name, which the message has.
func reason(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	return s
}

// save writes the lines [from, to) to a file.
func (e *Editor) save(name string, from, to int, force bool) bool {
	own := name == "" || name == e.name
	if name == "" {
		name = e.name
	}
	switch {
	case name == "":
		e.say("E32: No file name")
		return false
	case own && e.readOnly && !force:
		e.say("E45: 'readonly' option is set (add ! to override)")
		return false
	case !own && !force && e.files.Exists(name):
		e.say("E13: File exists (add ! to override)")
		return false
	}
	lines := e.lines[from:to]
	data := encode(lines)
	count := len(lines)
	if len(e.lines) == 1 && len(e.lines[0]) == 0 { // an empty text is an empty file
		data, count = nil, 0
	}
	created := map[bool]string{true: "", false: "[New] "}[e.files.Exists(name)]
	if err := e.files.Write(name, data); err != nil {
		e.say("%q E212: Can't open file for writing: %s", name, reason(err))
		return false
	}
	if e.name == "" {
		e.name, own = name, true
	}
	if own && from == 0 && to == len(e.lines) {
		e.saved = e.version
	}
	e.say("%q %s%dL, %dB written", name, created, count, len(data))
	return true
}

func isWord(r rune) bool  { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
func isBlank(r rune) bool { return r == ' ' || r == '\t' }
