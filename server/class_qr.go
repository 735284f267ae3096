package server

import (
	"fmt"
	"image/color"
	"strings"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"
)

// quiet is the light margin that readers need around a code, in modules (ISO/IEC 18004, section 5.3.8).
const quiet = 4

// qrCode draws a text as a QR code; dark tells of each module, the margin included, whether it is dark.
func qrCode(text string) (side int, dark func(x, y int) bool, err error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return 0, nil, fmt.Errorf("draw the QR code: %w", err)
	}
	n := code.Bounds().Dx()
	return n + 2*quiet, func(x, y int) bool {
		x, y = x-quiet, y-quiet
		return x >= 0 && y >= 0 && x < n && y < n && isDark(code, x, y)
	}, nil
}

func isDark(code barcode.Barcode, x, y int) bool {
	return color.GrayModel.Convert(code.At(x, y)).(color.Gray).Y < 128
}

// qrSVG is a code as a picture of one path.
func qrSVG(text string) ([]byte, error) {
	side, dark, err := qrCode(text)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><rect width="%d" height="%d" fill="#fff"/><path d="`, side, side, side, side)
	for y := range side {
		for x := 0; x < side; x++ {
			from := x
			for x < side && dark(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from, y, x-from, x-from)
			}
		}
	}
	b.WriteString(`" fill="#000"/></svg>`)
	return []byte(b.String()), nil
}

// QRText draws a text as a QR code for a terminal, two rows of modules in one line of half blocks. Light modules are painted, so that it reads
// on a dark background; colour sets black and white whatever the terminal's own are.
func QRText(text string, colour bool) (string, error) {
	side, dark, err := qrCode(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for y := 0; y < side; y += 2 {
		if colour {
			b.WriteString("\x1b[40;97m")
		}
		for x := range side {
			switch top, bottom := dark(x, y), y+1 >= side || dark(x, y+1); {
			case !top && !bottom:
				b.WriteRune('█')
			case !top:
				b.WriteRune('▀')
			case !bottom:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		if colour {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
