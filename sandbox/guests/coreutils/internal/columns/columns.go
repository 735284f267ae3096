// Package columns lays text out for a terminal: display widths, names in columns, version order.
package columns

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// wide are the ranges that terminals draw two columns wide (Unicode East Asian Width W and F).
var wide = [...][2]rune{
	{0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0x33FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA000, 0xA4CF}, {0xA960, 0xA97F}, {0xAC00, 0xD7A3},
	{0xF900, 0xFAFF}, {0xFE30, 0xFE6F}, {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD},
}

// Rune is the number of columns of one rune.
func Rune(r rune) int {
	switch {
	case r < 0x20 || r == 0x7f:
		return 0
	case r < 0x300:
		return 1
	case r >= 0x1160 && r <= 0x11FF || r >= 0x200B && r <= 0x200F || unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	}
	for _, w := range wide {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

// Width is the number of columns of s without its ESC [ … m sequences.
func Width(s string) (n int) {
	for i := 0; ; {
		j := strings.Index(s[i:], "\x1b[")
		part := s[i:]
		if j >= 0 {
			part = s[i : i+j]
		}
		for _, r := range part {
			n += Rune(r)
		}
		if j < 0 {
			return n
		}
		k := strings.IndexByte(s[i+j:], 'm')
		if k < 0 {
			return n
		}
		i += j + k + 1
	}
}

// Print writes cells in as few rows as fit into width, down the columns or across them, as ls -C and ls -x do.
func Print(w io.Writer, cells []string, width int, across bool) {
	if len(cells) == 0 {
		return
	}
	sizes := make([]int, len(cells))
	for i, c := range cells {
		sizes[i] = Width(c)
	}
	for count := min(len(cells), max(1, width/3)); ; count-- {
		rows := (len(cells) + count - 1) / count
		widths, total := layout(sizes, rows, count, across)
		if total >= width && count > 1 {
			continue
		}
		for r := range rows {
			for c := range count {
				i := r + c*rows
				next := r + (c+1)*rows
				if across {
					i, next = r*count+c, r*count+c+1
				}
				if i >= len(cells) || across && c >= count {
					break
				}
				fmt.Fprint(w, cells[i])
				if next < len(cells) && c+1 < count {
					fmt.Fprint(w, strings.Repeat(" ", widths[c]-sizes[i]))
				}
			}
			fmt.Fprintln(w)
		}
		return
	}
}

func layout(sizes []int, rows, count int, across bool) (widths []int, total int) {
	widths = make([]int, count)
	for i, s := range sizes {
		c := i / rows
		if across {
			c = i % count
		}
		widths[c] = max(widths[c], s+2)
	}
	used := count
	if !across {
		used = (len(sizes) + rows - 1) / rows
	}
	for i, w := range widths[:used] {
		total += w
		if i == used-1 {
			total -= 2
		}
	}
	return widths, total
}
