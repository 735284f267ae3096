package line

import (
	"fmt"
	"io"
	"strings"
)

// maxListed is the number of candidates listed without being asked twice.
const maxListed = 100

// tab completes as far as all candidates agree; a second Tab lists them.
func (e *Editor) tab() {
	if e.Complete == nil {
		return
	}
	e.tabs++
	b := &e.buf
	c := e.Complete(b.text, b.pos)
	if len(c.Candidates) == 0 || c.Start < 0 || c.Start > b.pos {
		io.WriteString(e.Out, "\a")
		e.draw.repaint(b)
		return
	}
	word := string(b.text[c.Start:b.pos])
	prefix := common(c.Candidates)
	switch {
	case len(c.Candidates) == 1:
		e.mark()
		text := c.Candidates[0].Text
		if !c.NoSpace && !strings.HasSuffix(text, "/") && !strings.HasSuffix(text, "=") {
			text += " "
		}
		b.remove(c.Start, b.pos)
		b.insert(text)
		e.tabs = 0
	case prefix != word && strings.HasPrefix(prefix, word):
		e.mark()
		b.remove(c.Start, b.pos)
		b.insert(prefix)
		e.tabs = 0
	case e.tabs > 1:
		e.list(c.Candidates)
		return
	default:
		io.WriteString(e.Out, "\a")
	}
	e.draw.repaint(b)
}

func common(list []Candidate) string {
	prefix := list[0].Text
	for _, c := range list[1:] {
		for !strings.HasPrefix(c.Text, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return strings.ToValidUTF8(prefix, "")
}

// list shows all candidates below the line and paints the line again beneath them.
func (e *Editor) list(all []Candidate) {
	end := buffer{text: e.buf.text, pos: len(e.buf.text)}
	e.draw.repaint(&end)
	var o strings.Builder
	o.WriteString("\n")
	shown := all[:min(len(all), maxListed)]
	noted := false
	widest := 0
	for _, c := range shown {
		noted = noted || c.Note != ""
		widest = max(widest, StringWidth(label(c)))
	}
	width := e.columns()
	perRow := max(1, width/(widest+2))
	if noted {
		perRow = 1
	}
	rows := (len(shown) + perRow - 1) / perRow
	for r := range rows {
		for i := r; i < len(shown); i += rows {
			l := label(shown[i])
			o.WriteString(l)
			pad := strings.Repeat(" ", widest+2-StringWidth(l))
			if noted {
				o.WriteString(pad + cut(shown[i].Note, width-widest-3))
			} else if i+rows < len(shown) {
				o.WriteString(pad)
			}
		}
		o.WriteString("\n")
	}
	if n := len(all) - len(shown); n > 0 {
		fmt.Fprintf(&o, "… %d more\n", n)
	}
	io.WriteString(e.Out, strings.ReplaceAll(o.String(), "\n", "\r\n"))
	e.draw.start()
	e.draw.repaint(&e.buf)
}

// label is what the list shows of a candidate: the last part of a path.
func label(c Candidate) string {
	t := strings.TrimSuffix(c.Text, "/")
	if i := strings.LastIndexByte(t, '/'); i >= 0 && i+1 < len(t) {
		return c.Text[i+1:]
	}
	return c.Text
}

func cut(s string, width int) string {
	n := 0
	for i, r := range s {
		if n += Width(r); n > width {
			return s[:i]
		}
	}
	return s
}
