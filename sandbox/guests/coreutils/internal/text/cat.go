// Package text has the utilities that read lines and write lines: cat, head, tail, wc, sort, uniq, cut, tr and their kin.
// They work on bytes where the GNU utilities in the C locale do; it knows nothing of processes and networks.
package text

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// maxLine is the longest line the line-oriented utilities accept.
const maxLine = 16 << 20

// lines calls f with each line without its end; last tells that the end was missing.
func lines(r io.Reader, delim byte, f func(line []byte, last bool) error) error {
	br := bufio.NewReaderSize(r, 32<<10)
	var long []byte
	for {
		part, err := br.ReadSlice(delim)
		if err == bufio.ErrBufferFull {
			if len(long)+len(part) > maxLine {
				return fmt.Errorf("line longer than %d bytes", maxLine)
			}
			long = append(long, part...)
			continue
		}
		line := part
		if len(long) > 0 {
			long = append(long, part...)
			line, long = long, nil
		}
		if err == io.EOF {
			if len(line) > 0 {
				return f(line, true)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(line[:len(line)-1], false); err != nil {
			return err
		}
	}
}

// Cat copies files to standard output, see cat(1).
func Cat(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "AbeEnstTuv", Help: "[OPTION]... [FILE]...",
		Long: []string{"show-all/A", "number-nonblank/b", "show-ends/E", "number/n", "squeeze-blank/s", "show-tabs/T", "show-nonprinting/v"}})
	if !ok {
		return st
	}
	var f catFlags
	for _, o := range opts {
		f.set(o.Key)
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		if err := isDirectory(r); err != nil {
			return err
		}
		if f == (catFlags{}) {
			return copyThrough(c, r)
		}
		return f.write(c, r)
	})
	return c.Status()
}

// copyThrough copies as data comes, so that a slow writer is followed live.
func copyThrough(c *applet.Cmd, r io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := c.Out.Write(buf[:n]); werr != nil {
				return werr
			}
			if werr := c.Out.Flush(); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func isDirectory(r io.Reader) error {
	if f, ok := r.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.IsDir() {
			return errIsDir
		}
	}
	return nil
}

type catFlags struct {
	number, nonblank, ends, squeeze, tabs, visible bool

	count int
	blank bool
	mid   bool // the last file did not end its line
}

func (f *catFlags) set(key string) {
	switch key {
	case "A":
		f.visible, f.ends, f.tabs = true, true, true
	case "b":
		f.nonblank = true
	case "e":
		f.visible, f.ends = true, true
	case "E":
		f.ends = true
	case "n":
		f.number = true
	case "s":
		f.squeeze = true
	case "t":
		f.visible, f.tabs = true, true
	case "T":
		f.tabs = true
	case "v":
		f.visible = true
	}
}

func (f *catFlags) write(c *applet.Cmd, r io.Reader) error {
	return lines(r, '\n', func(line []byte, last bool) error {
		empty := len(line) == 0 && !f.mid
		if f.squeeze && empty && f.blank {
			return nil
		}
		f.blank = empty
		if !f.mid && (f.nonblank && !empty || f.number && !f.nonblank) {
			f.count++
			fmt.Fprintf(c.Out, "%6d\t", f.count)
		}
		if f.visible || f.tabs {
			line = f.show(line)
		}
		c.Out.Write(line)
		f.mid = last
		if last {
			return nil
		}
		if f.ends {
			c.Out.WriteByte('$')
		}
		return c.Out.WriteByte('\n')
	})
}

// show writes control characters as ^X and bytes above 127 as M-x.
func (f *catFlags) show(line []byte) []byte {
	var b bytes.Buffer
	for _, ch := range line {
		if ch == '\t' {
			if f.tabs {
				b.WriteString("^I")
			} else {
				b.WriteByte(ch)
			}
			continue
		}
		if !f.visible {
			b.WriteByte(ch)
			continue
		}
		if ch >= 128 {
			b.WriteString("M-")
			ch -= 128
		}
		switch {
		case ch < 32:
			b.WriteByte('^')
			b.WriteByte(ch + 64)
		case ch == 127:
			b.WriteString("^?")
		default:
			b.WriteByte(ch)
		}
	}
	return b.Bytes()
}

// Tac writes lines in reverse order, see tac(1).
func Tac(c *applet.Cmd) int {
	_, names, st, ok := c.Parse(applet.Spec{Help: "[FILE]..."})
	if !ok {
		return st
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		for len(data) > 0 {
			i := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
			c.Out.Write(data[i:])
			data = data[:i]
		}
		return nil
	})
	return c.Status()
}

// Nl numbers lines, see nl(1); it knows the default style (non-empty lines) and -b a.
func Nl(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "b:s:w:v:i:", Help: "[OPTION]... [FILE]...",
		Long: []string{"body-numbering=/b", "number-separator=/s", "number-width=/w", "starting-line-number=/v", "line-increment=/i"}})
	if !ok {
		return st
	}
	style, sep, width, n, step := "t", "\t", 6, int64(1), int64(1)
	for _, o := range opts {
		v, isNumber := number(o.Arg)
		switch {
		case o.Key == "b":
			style = o.Arg
		case o.Key == "s":
			sep = o.Arg
		case !isNumber:
			return c.Usage(1, "invalid number: %s", applet.Quote(o.Arg))
		case o.Key == "w":
			width = int(v)
		case o.Key == "v":
			n = v
		case o.Key == "i":
			step = v
		}
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, last bool) error {
			if style == "a" || style == "t" && len(line) > 0 {
				fmt.Fprintf(c.Out, "%*d%s", width, n, sep)
				n += step
			} else {
				fmt.Fprintf(c.Out, "%*s", width+len(sep), "")
			}
			c.Out.Write(line)
			return c.Out.WriteByte('\n')
		})
	})
	return c.Status()
}

// Rev reverses the characters of each line, see rev(1).
func Rev(c *applet.Cmd) int {
	_, names, st, ok := c.Parse(applet.Spec{Help: "[FILE]..."})
	if !ok {
		return st
	}
	c.EachInput(names, func(name string, r io.Reader) error {
		return lines(r, '\n', func(line []byte, last bool) error {
			runes := []rune(string(line))
			for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
				runes[i], runes[j] = runes[j], runes[i]
			}
			c.Out.WriteString(string(runes))
			if !last {
				c.Out.WriteByte('\n')
			}
			return nil
		})
	})
	return c.Status()
}

// Tee copies standard input to files and standard output, see tee(1).
func Tee(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "aip", Long: []string{"append/a", "ignore-interrupts/i"}, Help: "[OPTION]... [FILE]..."})
	if !ok {
		return st
	}
	mode := os.O_TRUNC
	for _, o := range opts {
		if o.Key == "a" {
			mode = os.O_APPEND
		}
	}
	var files []*os.File
	for _, n := range names {
		f, err := os.OpenFile(n, os.O_WRONLY|os.O_CREATE|mode, 0o666)
		if err != nil {
			c.Fail("%s: %s", n, applet.Reason(err))
			continue
		}
		defer f.Close()
		files = append(files, f)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Stdin.Read(buf)
		c.Out.Write(buf[:n])
		c.Out.Flush()
		for _, f := range files {
			if _, werr := f.Write(buf[:n]); werr != nil {
				c.Fail("%s: %s", f.Name(), applet.Reason(werr))
			}
		}
		if err == io.EOF {
			return c.Status()
		}
		if err != nil {
			c.Fail("read error: %s", applet.Reason(err))
			return 1
		}
	}
}
