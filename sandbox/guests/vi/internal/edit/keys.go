package edit

import (
	"strings"
	"unicode/utf8"
)

// Key is a key press: the character, the control code, or one of the negative values below.
type Key rune

// Keys that are no characters.
const (
	None Key = -1 - iota
	Up
	Down
	Left
	Right
	Home
	End
	PageUp
	PageDown
	Insert
	Delete
)

// Control codes.
const (
	esc       Key = 0x1b
	enter     Key = '\r'
	backspace Key = 0x7f
)

func ctrl(letter rune) Key { return Key(letter & 0x1f) }

// Decoder turns what a terminal in raw mode sends into keys. The zero value is ready.
type Decoder struct{ pending []byte }

// sequences are the escape sequences of xterm and the console, without ESC.
var sequences = map[string]Key{
	"[A": Up, "[B": Down, "[C": Right, "[D": Left, "OA": Up, "OB": Down, "OC": Right, "OD": Left,
	"[H": Home, "[F": End, "OH": Home, "OF": End, "[1~": Home, "[4~": End, "[7~": Home, "[8~": End,
	"[5~": PageUp, "[6~": PageDown, "[2~": Insert, "[3~": Delete,
}

// Feed takes bytes and returns the keys that they complete.
func (d *Decoder) Feed(b []byte) (keys []Key) {
	d.pending = append(d.pending, b...)
	for len(d.pending) > 0 {
		k, n := decode(d.pending)
		if n == 0 {
			break
		}
		d.pending = d.pending[n:]
		if k != None {
			keys = append(keys, k)
		}
	}
	return keys
}

// Waiting says that what has come may be the beginning of a key, or an Escape by itself.
func (d *Decoder) Waiting() bool { return len(d.pending) > 0 }

// Flush returns the keys of what has come, for no more does: Escape by itself.
func (d *Decoder) Flush() (keys []Key) {
	p := d.pending
	d.pending = nil
	if len(p) > 0 && p[0] == byte(esc) {
		return append([]Key{esc}, d.Feed(p[1:])...)
	}
	return nil // half a character
}

// decode reads one key; n is 0 when more is needed.
func decode(p []byte) (k Key, n int) {
	if p[0] != byte(esc) {
		if p[0] < utf8.RuneSelf {
			return Key(p[0]), 1
		}
		if !utf8.FullRune(p) {
			return None, 0
		}
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError {
			return None, n
		}
		return Key(r), n
	}
	if len(p) == 1 {
		return None, 0
	}
	switch p[1] {
	case 'O':
		if len(p) < 3 {
			return None, 0
		}
		return named(string(p[1:3])), 3
	case '[':
		for i := 2; i < len(p) && i < 16; i++ {
			if p[i] >= 0x40 && p[i] <= 0x7e {
				return named(string(p[1 : i+1])), i + 1
			}
		}
		if len(p) < 16 {
			return None, 0
		}
	}
	return esc, 1
}

// named is the key of a sequence; modifiers ("[1;5C") are left out.
func named(s string) Key {
	if head, tail, ok := strings.Cut(s, ";"); ok && len(tail) > 0 {
		s = strings.TrimSuffix(head, "1") + tail[len(tail)-1:]
	}
	if k, ok := sequences[s]; ok {
		return k
	}
	return None
}
