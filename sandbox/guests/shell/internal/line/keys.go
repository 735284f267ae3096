package line

import (
	"strings"
	"unicode/utf8"
)

// Key is one key press. Printable input has Rune set and Name empty.
type Key struct {
	Rune rune
	Name Name
	Text string // of a paste
}

// Name tells keys apart that are no character.
type Name string

// Names of keys.
const (
	Ctrl      Name = "ctrl" // Rune holds the letter, lower case
	Alt       Name = "alt"  // Rune holds what was pressed with it
	Enter     Name = "enter"
	Tab       Name = "tab"
	BackTab   Name = "backtab"
	Backspace Name = "backspace"
	Delete    Name = "delete"
	Up        Name = "up"
	Down      Name = "down"
	Left      Name = "left"
	Right     Name = "right"
	WordLeft  Name = "wordleft"
	WordRight Name = "wordright"
	Home      Name = "home"
	End       Name = "end"
	Paste     Name = "paste"
	None      Name = "none" // a sequence without meaning here
)

const pasteEnd = "\x1b[201~"

// maxPaste bounds one paste; what exceeds it is dropped.
const maxPaste = 1 << 20

// Decoder turns the bytes of a terminal in raw mode into keys.
// The zero value is ready. It keeps an unfinished sequence until the rest arrives.
type Decoder struct {
	pending []byte
	paste   []byte
	inPaste bool
}

// Feed takes one byte and returns the key it completed, if any.
func (d *Decoder) Feed(b byte) (Key, bool) {
	if d.inPaste {
		return d.feedPaste(b)
	}
	d.pending = append(d.pending, b)
	p := d.pending
	if p[0] == 0x1b {
		return d.escape()
	}
	if p[0] >= utf8.RuneSelf {
		if !utf8.FullRune(p) && len(p) < utf8.UTFMax {
			return Key{}, false
		}
		r, size := utf8.DecodeRune(p)
		d.pending = append(d.pending[:0], p[size:]...)
		if r == utf8.RuneError {
			d.pending = d.pending[:0]
			return Key{Name: None}, true
		}
		return Key{Rune: r}, true
	}
	d.pending = d.pending[:0]
	return control(b), true
}

func control(b byte) Key {
	switch {
	case b == '\r' || b == '\n':
		return Key{Name: Enter}
	case b == '\t':
		return Key{Name: Tab}
	case b == 0x7f || b == 0x08:
		return Key{Name: Backspace}
	case b < 0x20:
		return Key{Name: Ctrl, Rune: rune(b) | 0x60}
	}
	return Key{Rune: rune(b)}
}

func (d *Decoder) feedPaste(b byte) (Key, bool) {
	d.paste = append(d.paste, b)
	if b != '~' || !strings.HasSuffix(string(d.paste[max(0, len(d.paste)-len(pasteEnd)):]), pasteEnd) {
		if len(d.paste) > maxPaste+len(pasteEnd) {
			d.paste = append(d.paste[:maxPaste-1], d.paste[len(d.paste)-len(pasteEnd):]...)
		}
		return Key{}, false
	}
	text := string(d.paste[:len(d.paste)-len(pasteEnd)])
	d.inPaste, d.paste = false, nil
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	return Key{Name: Paste, Text: strings.ToValidUTF8(text, "")}, true
}

// escape decodes ESC sequences as xterm sends them (ECMA-48 CSI, SS3) and ESC + key as Alt.
func (d *Decoder) escape() (Key, bool) {
	p := d.pending
	if len(p) == 1 {
		return Key{}, false
	}
	done := func(k Key) (Key, bool) {
		d.pending = d.pending[:0]
		return k, true
	}
	switch p[1] {
	case '[', 'O':
		if len(p) == 2 {
			return Key{}, false
		}
		last := p[len(p)-1]
		if p[1] == '[' && last < 0x40 && len(p) < 16 {
			return Key{}, false
		}
		if string(p) == "\x1b[200~" {
			d.inPaste = true
			d.pending = d.pending[:0]
			return Key{}, false
		}
		return done(sequence(string(p[2:])))
	case 0x1b:
		d.pending = d.pending[:1]
		return Key{}, false
	}
	if p[1] == 0x7f || p[1] == 0x08 {
		return done(Key{Name: Alt, Rune: 0x7f})
	}
	if p[1] >= utf8.RuneSelf {
		return done(Key{Name: None})
	}
	return done(Key{Name: Alt, Rune: rune(p[1])})
}

func sequence(s string) Key {
	switch s {
	case "A":
		return Key{Name: Up}
	case "B":
		return Key{Name: Down}
	case "C":
		return Key{Name: Right}
	case "D":
		return Key{Name: Left}
	case "H", "1~", "7~":
		return Key{Name: Home}
	case "F", "4~", "8~":
		return Key{Name: End}
	case "3~":
		return Key{Name: Delete}
	case "Z":
		return Key{Name: BackTab}
	case "1;5C", "1;3C", "5C":
		return Key{Name: WordRight}
	case "1;5D", "1;3D", "5D":
		return Key{Name: WordLeft}
	}
	return Key{Name: None}
}
