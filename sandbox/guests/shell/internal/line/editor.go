// Package line edits one line at a terminal in raw mode, with the keys of readline's emacs mode: history, reverse search,
// completion, bracketed paste, lines longer than the screen, characters of double width.
//
// It reads and writes bytes only: it does not set the terminal's mode and does not know what the line is for.
package line

import (
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// What Read returns instead of a line.
var (
	ErrInterrupted = errors.New("interrupted") // Ctrl-C
	ErrEOF         = io.EOF                    // Ctrl-D on an empty line, or the end of input
)

// Candidate is one way to complete: Text replaces the word, Note explains it in the list.
type Candidate struct {
	Text string
	Note string
}

// Completion is the answer to a completion request: the word that starts at Start (a rune index) may become any of Candidates.
type Completion struct {
	Start      int
	Candidates []Candidate
	NoSpace    bool // a single match is not followed by a blank
}

// Editor reads lines. In must return single bytes as they come; Resized may be nil.
type Editor struct {
	In          <-chan byte // closed at end of input
	Want        func()      // asks for one more byte of In; nil if they come by themselves
	Ready       string      // written once behind the prompt
	Out         io.Writer
	Width       func() int
	Resized     <-chan struct{}
	Interrupted <-chan struct{} // acts as Ctrl-C does in In
	History     []string
	Complete    func(text []rune, pos int) Completion

	keys  Decoder
	buf   buffer
	draw  painter
	at    int    // index in History while walking it; len(History) is the line itself
	saved string // the line itself, while walking
	tabs  int    // consecutive Tab presses
	undo  []snapshot
	asked bool // a byte has been asked for and has not come
}

type snapshot struct {
	text []rune
	pos  int
}

// Read edits one line behind prompt (which may hold colour sequences) and returns it without its end.
func (e *Editor) Read(prompt string) (string, error) {
	e.buf = buffer{killed: e.buf.killed}
	e.at, e.saved, e.undo = len(e.History), "", nil
	e.draw = painter{out: e.Out, prompt: prompt, width: e.columns()}
	e.draw.start()
	io.WriteString(e.Out, e.Ready+"\x1b[?2004h")
	defer io.WriteString(e.Out, "\x1b[?2004l")
	for {
		k, err := e.next()
		if err != nil {
			e.draw.finish(&e.buf)
			return string(e.buf.text), err
		}
		done, err := e.press(k)
		if done || err != nil {
			e.draw.finish(&e.buf)
			return string(e.buf.text), err
		}
	}
}

func (e *Editor) columns() int {
	if w := e.Width(); w > 4 {
		return w
	}
	return 80
}

// next waits for a key and repaints when the window's size changes meanwhile.
func (e *Editor) next() (Key, error) {
	for {
		if e.Want != nil && !e.asked {
			e.asked = true
			e.Want()
		}
		select {
		case b, ok := <-e.In:
			e.asked = false
			if !ok {
				return Key{}, ErrEOF
			}
			if k, ok := e.keys.Feed(b); ok {
				return k, nil
			}
		case <-e.Interrupted:
			e.keys = Decoder{}
			return Key{Name: Ctrl, Rune: 'c'}, nil
		case <-e.Resized:
			e.draw.width = e.columns()
			e.draw.repaint(&e.buf)
		}
	}
}

func (e *Editor) press(k Key) (done bool, err error) {
	if k.Name != Tab {
		e.tabs = 0
	}
	switch k.Name {
	case "":
		e.mark()
		atEnd := e.buf.pos == len(e.buf.text)
		e.buf.insert(string(k.Rune))
		if atEnd && e.draw.appended(&e.buf, k.Rune) {
			return false, nil
		}
	case Paste:
		e.mark()
		e.buf.insert(clean(k.Text))
	case Enter:
		return true, nil
	case Tab:
		e.tab()
		return false, nil
	case Ctrl:
		return e.control(k.Rune)
	case Alt:
		e.alt(k.Rune)
	default:
		e.move(k.Name)
	}
	e.draw.repaint(&e.buf)
	return false, nil
}

// clean makes pasted text what typing it would have made: a last line end is dropped (Enter is the user's), the typographic
// blanks of slides and chats become plain ones.
func clean(s string) string {
	s = strings.TrimRight(s, "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u00a0' || r == '\u202f' || r == '\u2007':
			return ' '
		case r == '\t':
			return ' '
		case r < 0x20 && r != '\n' || r == 0x7f:
			return -1
		}
		return r
	}, s)
}

func (e *Editor) mark() {
	e.undo = append(e.undo, snapshot{append([]rune{}, e.buf.text...), e.buf.pos})
	if len(e.undo) > 200 {
		e.undo = e.undo[1:]
	}
}

func (e *Editor) control(r rune) (done bool, err error) {
	b := &e.buf
	switch r {
	case 'c':
		b.pos = len(b.text)
		e.draw.repaint(b)
		io.WriteString(e.Out, "^C")
		return true, ErrInterrupted
	case 'd':
		if len(b.text) == 0 {
			return true, ErrEOF
		}
		e.mark()
		b.remove(b.pos, b.after())
	case 'a':
		e.move(Home)
	case 'e':
		e.move(End)
	case 'b':
		e.move(Left)
	case 'f':
		e.move(Right)
	case 'p':
		e.move(Up)
	case 'n':
		e.move(Down)
	case 'k':
		e.mark()
		b.kill(b.pos, len(b.text))
	case 'u':
		e.mark()
		b.kill(0, b.pos)
	case 'w':
		e.mark()
		b.kill(b.blankLeft(), b.pos)
	case 'y':
		e.mark()
		b.insert(string(b.killed))
	case 't':
		e.mark()
		b.transpose()
	case 'l':
		io.WriteString(e.Out, "\x1b[H\x1b[2J")
		e.draw.row = 0
		e.draw.start()
	case '_':
		if n := len(e.undo); n > 0 {
			b.text, b.pos = e.undo[n-1].text, e.undo[n-1].pos
			e.undo = e.undo[:n-1]
		}
	case 'r':
		return e.search()
	case 'g':
	}
	e.draw.repaint(b)
	return false, nil
}

func (e *Editor) alt(r rune) {
	b := &e.buf
	switch r {
	case 'b', 'B':
		b.pos = b.wordLeft()
	case 'f', 'F':
		b.pos = b.wordRight()
	case 'd', 'D':
		e.mark()
		b.kill(b.pos, b.wordRight())
	case 0x7f:
		e.mark()
		b.kill(b.wordLeft(), b.pos)
	case '.':
		if n := len(e.History); n > 0 {
			if f := strings.Fields(e.History[n-1]); len(f) > 0 {
				e.mark()
				b.insert(f[len(f)-1])
			}
		}
	}
}

func (e *Editor) move(n Name) {
	b := &e.buf
	switch n {
	case Backspace:
		e.mark()
		b.remove(b.before(), b.pos)
	case Delete:
		e.mark()
		b.remove(b.pos, b.after())
	case Left:
		b.pos = b.before()
	case Right:
		b.pos = b.after()
	case WordLeft:
		b.pos = b.wordLeft()
	case WordRight:
		b.pos = b.wordRight()
	case Home:
		b.pos = 0
	case End:
		b.pos = len(b.text)
	case Up:
		e.walk(e.at - 1)
	case Down:
		e.walk(e.at + 1)
	}
}

// walk shows an older or newer line of the history.
func (e *Editor) walk(to int) {
	if to < 0 || to > len(e.History) {
		return
	}
	if e.at == len(e.History) {
		e.saved = string(e.buf.text)
	}
	e.at = to
	if to == len(e.History) {
		e.buf.set(e.saved)
	} else {
		e.buf.set(e.History[to])
	}
}

// search is Ctrl-R: it finds older lines that hold what is typed.
func (e *Editor) search() (done bool, err error) {
	query, from, failed := "", len(e.History), false
	before := string(e.buf.text)
	prompt := e.draw.prompt
	restore := func() { e.draw.setPrompt(prompt) }
	find := func(start int) {
		for i := min(start, len(e.History)-1); i >= 0; i-- {
			if p := strings.Index(e.History[i], query); p >= 0 && query != "" {
				from, failed = i, false
				e.buf.set(e.History[i])
				e.buf.pos = utf8.RuneCountInString(e.History[i][:p])
				return
			}
		}
		failed = query != ""
	}
	for {
		label := "(reverse-i-search)`"
		if failed {
			label = "(failed reverse-i-search)`"
		}
		e.draw.setPrompt(label + query + "': ")
		e.draw.repaint(&e.buf)
		k, err := e.next()
		if err != nil {
			return true, err
		}
		switch {
		case k.Name == "":
			query += string(k.Rune)
			find(from)
		case k.Name == Paste:
			query += strings.ReplaceAll(clean(k.Text), "\n", " ")
			find(from)
		case k.Name == Backspace:
			if query != "" {
				_, size := utf8.DecodeLastRuneInString(query)
				query = query[:len(query)-size]
				from = len(e.History)
				find(from)
			}
		case k.Name == Ctrl && k.Rune == 'r':
			find(from - 1)
		case k.Name == Ctrl && (k.Rune == 'g' || k.Rune == 'c'):
			e.buf.set(before)
			restore()
			if k.Rune == 'c' {
				return e.control('c')
			}
			e.draw.repaint(&e.buf)
			return false, nil
		default:
			restore()
			e.draw.repaint(&e.buf)
			if k.Name == None {
				return false, nil
			}
			return e.press(k)
		}
	}
}
