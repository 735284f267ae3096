package line

import "github.com/drydock-labs/drydock/sandbox/guests/sys/width"

// Width is the number of columns a rune takes on a terminal.
func Width(r rune) int { return width.Of(r) }

// StringWidth is the sum of the widths of s, ignoring ESC [ … letter and ESC ] … BEL sequences and what stands between \x01 and \x02.
func StringWidth(s string) (n int) {
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		switch {
		case runes[i] == 0x1b && i+1 < len(runes) && runes[i+1] == '[':
			for i += 2; i < len(runes) && (runes[i] < 0x40 || runes[i] > 0x7e); i++ {
			}
		case runes[i] == 0x1b && i+1 < len(runes) && runes[i+1] == ']':
			for i += 2; i < len(runes) && runes[i] != 0x07 && runes[i] != 0x1b; i++ {
			}
			if i < len(runes) && runes[i] == 0x1b {
				i++
			}
		default:
			n += Width(runes[i])
		}
	}
	return n
}
