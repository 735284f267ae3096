package line

import (
	"fmt"
	"io"
	"strings"
)

// painter keeps the picture of the line on the screen. Rows are counted from the prompt's first.
type painter struct {
	out    io.Writer
	prompt string
	width  int
	row    int // where the terminal's cursor is
	col    int // column behind the last rune painted, while the cursor is at the end; −1 unknown
}

func (p *painter) setPrompt(s string) { p.prompt = s }

// start paints the prompt on a fresh row.
func (p *painter) start() {
	p.row = 0
	fmt.Fprint(p.out, "\r", p.prompt)
	r, c := p.place(nil)
	p.row, p.col = r, c
	if c == 0 && r > 0 {
		io.WriteString(p.out, " \r") // leave the pending wrap
	}
}

// place is where the cursor stands behind prompt and text.
func (p *painter) place(text []rune) (row, col int) {
	lines := strings.Split(visible(p.prompt), "\n")
	for i, l := range lines {
		if i > 0 {
			row, col = row+1, 0
		}
		row, col = p.advance(row, col, []rune(l))
	}
	return p.advance(row, col, text)
}

func (p *painter) advance(row, col int, text []rune) (int, int) {
	for _, r := range text {
		if r == '\n' {
			row, col = row+1, 0
			continue
		}
		w := Width(r)
		if col+w > p.width {
			row, col = row+1, 0
		}
		col += w
		if col >= p.width {
			row, col = row+1, 0
		}
	}
	return row, col
}

// visible is a prompt without its escape sequences.
func visible(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		if runes[i] != 0x1b || i+1 >= len(runes) {
			b.WriteRune(runes[i])
			continue
		}
		i++
		switch runes[i] {
		case '[':
			for i++; i < len(runes) && (runes[i] < 0x40 || runes[i] > 0x7e); i++ {
			}
		case ']':
			for i++; i < len(runes) && runes[i] != 0x07 && runes[i] != 0x1b; i++ {
			}
			if i < len(runes) && runes[i] == 0x1b {
				i++
			}
		}
	}
	return b.String()
}

// appended paints one rune typed at the end without repainting the line; false when it is not that simple.
func (p *painter) appended(b *buffer, r rune) bool {
	w := Width(r)
	if w == 0 || p.col < 0 || p.col+w >= p.width {
		return false
	}
	p.col += w
	io.WriteString(p.out, string(r))
	return true
}

// repaint draws prompt and text again and puts the cursor where the buffer has it.
func (p *painter) repaint(b *buffer) {
	var o strings.Builder
	if p.row > 0 {
		fmt.Fprintf(&o, "\x1b[%dA", p.row)
	}
	o.WriteString("\r\x1b[J")
	o.WriteString(strings.ReplaceAll(p.prompt, "\n", "\r\n"))
	o.WriteString(strings.ReplaceAll(string(b.text), "\n", "\r\n"))
	endRow, endCol := p.place(b.text)
	if endCol == 0 && endRow > 0 && (len(b.text) == 0 || b.text[len(b.text)-1] != '\n') {
		o.WriteString(" \r")
	}
	row, col := p.place(b.text[:b.pos])
	if endRow > row {
		fmt.Fprintf(&o, "\x1b[%dA", endRow-row)
	}
	o.WriteString("\r")
	if col > 0 {
		fmt.Fprintf(&o, "\x1b[%dC", col)
	}
	io.WriteString(p.out, o.String())
	p.row, p.col = row, col
	if b.pos != len(b.text) {
		p.col = -1
	}
}

// finish puts the cursor behind the text and ends the row.
func (p *painter) finish(b *buffer) {
	endRow, endCol := p.place(b.text)
	var o strings.Builder
	if down := endRow - p.row; down > 0 {
		fmt.Fprintf(&o, "\x1b[%dB", down)
	}
	o.WriteString("\r")
	if endCol > 0 {
		o.WriteString("\n")
	} else if endRow == 0 {
		o.WriteString("\n")
	}
	io.WriteString(p.out, strings.ReplaceAll(o.String(), "\n", "\r\n"))
}
