package line

import "unicode"

// buffer is the text being edited and the place of the cursor, in runes.
type buffer struct {
	text   []rune
	pos    int
	killed []rune // what Ctrl-Y brings back
}

func (b *buffer) set(s string) { b.text = []rune(s); b.pos = len(b.text) }

func (b *buffer) insert(s string) {
	add := []rune(s)
	text := make([]rune, 0, len(b.text)+len(add))
	text = append(append(append(text, b.text[:b.pos]...), add...), b.text[b.pos:]...)
	b.text, b.pos = text, b.pos+len(add)
}

// remove cuts text[from:to] and puts the cursor there.
func (b *buffer) remove(from, to int) {
	b.text = append(b.text[:from:from], b.text[to:]...)
	b.pos = from
}

// kill cuts text[from:to] and keeps it for yank.
func (b *buffer) kill(from, to int) {
	if from == to {
		return
	}
	b.killed = append([]rune{}, b.text[from:to]...)
	b.remove(from, to)
}

// before is the start of the character (with its combining marks) left of the cursor.
func (b *buffer) before() int {
	i := b.pos
	for i > 0 {
		i--
		if Width(b.text[i]) > 0 || b.text[i] == '\n' {
			break
		}
	}
	return i
}

// after is the end of the character right of the cursor.
func (b *buffer) after() int {
	i := b.pos
	if i < len(b.text) {
		i++
	}
	for i < len(b.text) && Width(b.text[i]) == 0 && b.text[i] != '\n' {
		i++
	}
	return i
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func (b *buffer) wordLeft() int {
	i := b.pos
	for i > 0 && !isWord(b.text[i-1]) {
		i--
	}
	for i > 0 && isWord(b.text[i-1]) {
		i--
	}
	return i
}

func (b *buffer) wordRight() int {
	i := b.pos
	for i < len(b.text) && !isWord(b.text[i]) {
		i++
	}
	for i < len(b.text) && isWord(b.text[i]) {
		i++
	}
	return i
}

// blankLeft is the start of the blank-separated word left of the cursor (Ctrl-W).
func (b *buffer) blankLeft() int {
	i := b.pos
	for i > 0 && unicode.IsSpace(b.text[i-1]) {
		i--
	}
	for i > 0 && !unicode.IsSpace(b.text[i-1]) {
		i--
	}
	return i
}

func (b *buffer) transpose() {
	if len(b.text) < 2 || b.pos == 0 {
		return
	}
	if b.pos == len(b.text) {
		b.pos--
	}
	b.text[b.pos-1], b.text[b.pos] = b.text[b.pos], b.text[b.pos-1]
	b.pos++
}
