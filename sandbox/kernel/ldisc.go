package kernel

import (
	"io"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Termios is the state of a terminal, laid out as Linux' struct termios.
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	Cc                         [19]uint8
}

// Bits and indices of Termios that mean something here (termios(3)). Others are kept and have no effect.
const (
	IGNCR = 0x80
	ICRNL = 0x100
	INLCR = 0x40
	IXON  = 0x400
	IUTF8 = 0x4000

	OPOST = 0x1
	ONLCR = 0x4
	OCRNL = 0x8

	ISIG    = 0x1
	ICANON  = 0x2
	ECHO    = 0x8
	ECHOE   = 0x10
	ECHOK   = 0x20
	ECHONL  = 0x40
	NOFLSH  = 0x80
	TOSTOP  = 0x100
	ECHOCTL = 0x200
	ECHOKE  = 0x800
	IEXTEN  = 0x8000

	VINTR    = 0
	VQUIT    = 1
	VERASE   = 2
	VKILL    = 3
	VEOF     = 4
	VTIME    = 5
	VMIN     = 6
	VSTART   = 8
	VSTOP    = 9
	VSUSP    = 10
	VEOL     = 11
	VREPRINT = 12
	VWERASE  = 14
	VLNEXT   = 15
	VEOL2    = 16
)

// DefaultTermios is what a fresh pty on Linux has, with IUTF8.
func DefaultTermios() Termios {
	return Termios{
		Iflag: ICRNL | IXON | IUTF8,
		Oflag: OPOST | ONLCR,
		Cflag: 0xbf, // 38400 baud, 8 bits, CREAD
		Lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
		Cc:    [19]uint8{3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0},
	}
}

// is reports whether c is the control character at index i; a character of 0 is switched off.
func (t *Termios) is(c byte, i int) bool { return c != 0 && t.Cc[i] == c }

// signalOf is the signal that typing c sends, 0 for none.
func (t *Termios) signalOf(c byte) Signal {
	switch {
	case t.Lflag&ISIG == 0:
	case t.is(c, VINTR):
		return SIGINT
	case t.is(c, VQUIT):
		return SIGQUIT
	case t.is(c, VSUSP):
		return SIGTSTP
	}
	return 0
}

// ldisc is the input side of a line discipline: what can be read, and the line being edited.
type ldisc struct {
	ready   []byte
	read0   uint64   // bytes ever read from ready
	ends    []uint64 // canonical mode: where lines end, counted like read0
	line    []byte   // being edited
	literal bool     // after VLNEXT
}

func (l *ldisc) flush() { *l = ldisc{read0: l.read0} }

// modeChanged keeps what was typed when canonical mode is switched.
func (l *ldisc) modeChanged(canonical bool) {
	l.ready = append(l.ready, l.line...)
	l.line, l.literal, l.ends = nil, false, nil
	if canonical && len(l.ready) > 0 {
		l.ends = []uint64{l.read0 + uint64(len(l.ready))}
	}
}

// complete ends the line being edited.
func (l *ldisc) complete() {
	l.ready = append(l.ready, l.line...)
	l.line = nil
	l.ends = append(l.ends, l.read0+uint64(len(l.ready)))
}

func (l *ldisc) available(canonical bool) int {
	if !canonical {
		return len(l.ready)
	}
	if len(l.ends) == 0 {
		return 0
	}
	return int(l.ends[0] - l.read0)
}

func (l *ldisc) pollable(t *Termios) bool {
	if t.Lflag&ICANON != 0 {
		return len(l.ends) > 0
	}
	want := 1
	if t.Cc[VTIME] == 0 && t.Cc[VMIN] > 0 {
		want = int(t.Cc[VMIN])
	}
	return len(l.ready) >= want
}

// read is one line at most in canonical mode, anything there is otherwise.
func (l *ldisc) read(p []byte, canonical bool) (int, error) {
	n := len(l.ready)
	if canonical {
		if len(l.ends) == 0 {
			return 0, syscall.EAGAIN
		}
		n = int(l.ends[0] - l.read0)
		if n == 0 {
			l.ends = l.ends[1:]
			return 0, io.EOF
		}
	} else if n == 0 {
		return 0, syscall.EAGAIN
	}
	n = copy(p, l.ready[:n])
	l.ready = l.ready[n:]
	l.read0 += uint64(n)
	if len(l.ready) == 0 {
		l.ready = nil
	}
	if canonical && l.ends[0] == l.read0 {
		l.ends = l.ends[1:]
	}
	return n, nil
}

// inputByte takes one typed byte through the line discipline and returns a signal to be sent. Preconditions: t.mu is held.
func (t *TTY) inputByte(c byte) Signal {
	tm, l := &t.termios, &t.in
	if l.literal {
		l.literal = false
		t.accept(c, false)
		return 0
	}
	if tm.Iflag&IXON != 0 {
		if tm.is(c, VSTOP) {
			t.stopped = true
			return 0
		}
		if tm.is(c, VSTART) {
			t.stopped = false
			return 0
		}
	}
	if s := tm.signalOf(c); s != 0 {
		t.stopped = false
		if tm.Lflag&NOFLSH == 0 {
			l.flush()
			t.out = nil
		}
		t.echo(c)
		return s
	}
	switch c {
	case '\r':
		if tm.Iflag&IGNCR != 0 {
			return 0
		}
		if tm.Iflag&ICRNL != 0 {
			c = '\n'
		}
	case '\n':
		if tm.Iflag&INLCR != 0 {
			c = '\r'
		}
	}
	if tm.Lflag&ICANON == 0 {
		l.ready = append(l.ready, c)
		t.echo(c)
		return 0
	}
	t.edit(c)
	return 0
}

// edit is canonical mode.
func (t *TTY) edit(c byte) {
	tm, l := &t.termios, &t.in
	ext := tm.Lflag&IEXTEN != 0
	switch {
	case tm.is(c, VERASE):
		t.erase(1)
	case ext && tm.is(c, VWERASE):
		t.eraseWord()
	case tm.is(c, VKILL):
		if tm.Lflag&ECHOKE != 0 {
			t.erase(utf8.RuneCount(l.line))
		} else {
			l.line = nil
			t.echo(c)
			if tm.Lflag&ECHOK != 0 && tm.Lflag&ECHO != 0 {
				t.echoText("\n")
			}
		}
	case ext && tm.is(c, VLNEXT):
		l.literal = true
		if tm.Lflag&ECHO != 0 && tm.Lflag&ECHOCTL != 0 {
			t.echoText("^\b")
		}
	case ext && tm.is(c, VREPRINT):
		t.echo(c)
		t.echoText("\n")
		for _, b := range l.line {
			t.echo(b)
		}
	case tm.is(c, VEOF):
		l.complete()
	default:
		t.accept(c, c == '\n' || tm.is(c, VEOL) || tm.is(c, VEOL2))
	}
}

// accept puts c into the line (or the queue) and shows it; end completes the line.
func (t *TTY) accept(c byte, end bool) {
	l := &t.in
	if t.termios.Lflag&ICANON == 0 {
		l.ready = append(l.ready, c)
		t.echo(c)
		return
	}
	if len(l.line) >= ttyLine && !end {
		t.echoText("\a")
		return
	}
	l.line = append(l.line, c)
	if c == '\n' && t.termios.Lflag&(ECHO|ECHONL) != 0 {
		t.echoText("\n")
	} else {
		t.echo(c)
	}
	if end {
		l.complete()
	}
}

// erase removes the last n characters of the line, on the screen too. The cost is one look at the line whatever n is.
func (t *TTY) erase(n int) {
	l := &t.in
	before, keep, chars := t.lineWidth(), len(l.line), 0
	for ; chars < n && keep > 0; chars++ {
		size := 1
		if t.termios.Iflag&IUTF8 != 0 {
			_, size = utf8.DecodeLastRune(l.line[:keep])
		}
		keep -= size
	}
	l.line = l.line[:keep]
	if t.termios.Lflag&ECHO == 0 {
		return
	}
	if t.termios.Lflag&ECHOE == 0 {
		for ; chars > 0; chars-- {
			t.echo(t.termios.Cc[VERASE])
		}
		return
	}
	for w := before - t.lineWidth(); w > 0; w-- {
		t.echoText("\b \b")
	}
}

// eraseWord removes blanks at the end of the line and the word before them.
func (t *TTY) eraseWord() {
	word, n := false, 0
	for b := t.in.line; len(b) > 0; n++ {
		r, size := utf8.DecodeLastRune(b)
		isWord := r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
		if word && !isWord {
			break
		}
		word = word || isWord
		b = b[:len(b)-size]
	}
	t.erase(n)
}

// lineWidth is the columns the edited line takes on the screen.
func (t *TTY) lineWidth() int {
	w := 0
	for b := t.in.line; len(b) > 0; {
		r, n := utf8.DecodeRune(b)
		if t.termios.Iflag&IUTF8 == 0 || r == utf8.RuneError && n == 1 {
			r, n = rune(b[0]), 1
		}
		b = b[n:]
		switch {
		case r == '\t':
			w = w&^7 + 8 // as if the line began at a tab stop: what is on screen before it is not ours
		case r < 0x20 || r == 0x7f:
			if t.termios.Lflag&ECHOCTL != 0 {
				w += 2
			}
		case r >= 0x80 && r < 0xa0:
		default:
			w += runeWidth(r)
		}
	}
	return w
}

// echo shows a typed byte.
func (t *TTY) echo(c byte) {
	if t.termios.Lflag&ECHO == 0 {
		return
	}
	if t.termios.Lflag&ECHOCTL != 0 && (c < 0x20 && c != '\t' && c != '\n' || c == 0x7f) {
		t.echoText(string([]byte{'^', c ^ 0x40}))
		return
	}
	t.echoByte(c)
}

func (t *TTY) echoText(s string) {
	for i := range len(s) {
		t.echoByte(s[i])
	}
}

func (t *TTY) echoByte(c byte) {
	if len(t.out) < ttyOutput+ttyEcho {
		t.put(c)
	}
}

// put is output processing of one byte. Preconditions: t.mu is held.
func (t *TTY) put(c byte) {
	if t.termios.Oflag&OPOST != 0 {
		switch {
		case c == '\n' && t.termios.Oflag&ONLCR != 0:
			t.out = append(t.out, '\r')
		case c == '\r' && t.termios.Oflag&OCRNL != 0:
			c = '\n'
		}
	}
	t.out = append(t.out, c)
}

// wide are the ranges of characters that take two columns (Unicode UAX #11, W and F), Hangul among them.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x231a, 0x231b, 1}, {0x2329, 0x232a, 1}, {0x23e9, 0x23ec, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1},
		{0xa960, 0xa97c, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff01, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

// runeWidth is the columns r takes: 0, 1 or 2.
func runeWidth(r rune) int {
	switch {
	case r >= 0x1160 && r <= 0x11ff, unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}
