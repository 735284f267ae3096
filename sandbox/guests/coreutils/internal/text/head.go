package text

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

var errIsDir error = syscall.EISDIR

func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil
}

// countArg reads NUM with a sign and a size suffix.
func countArg(s string) (sign byte, n int64, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[0], s[1:]
	}
	n, ok = applet.Size(s)
	return sign, n, ok
}

// headers prints the "==> name <==" lines of head and tail.
type headers struct {
	on    bool
	first bool
}

func (h *headers) print(c *applet.Cmd, name string) {
	if !h.on {
		return
	}
	if h.first {
		c.Out.WriteByte('\n')
	}
	h.first = true
	if name == "-" {
		name = "standard input"
	}
	fmt.Fprintf(c.Out, "==> %s <==\n", name)
}

// Head writes the start of files, see head(1).
func Head(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "n:c:qvz", Digits: true, Help: "[OPTION]... [FILE]...",
		Long: []string{"lines=/n", "bytes=/c", "quiet/q", "silent/q", "verbose/v", "zero-terminated/z"}})
	if !ok {
		return st
	}
	n, bytesMode, drop, delim := int64(10), false, false, byte('\n')
	h := headers{on: len(names) > 1}
	for _, o := range opts {
		switch o.Key {
		case "n", "c", "NUM":
			sign, v, ok := countArg(o.Arg)
			if !ok {
				what := "lines"
				if o.Key == "c" {
					what = "bytes"
				}
				c.Fail("invalid number of %s: %s", what, applet.Quote(o.Arg))
				return 1
			}
			n, drop, bytesMode = v, sign == '-', o.Key == "c"
		case "q":
			h.on = false
		case "v":
			h.on = true
		case "z":
			delim = 0
		}
	}
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		r, err := c.Open(name)
		if err != nil {
			c.Fail("cannot open %s for reading: %s", applet.Quote(name), applet.Reason(err))
			continue
		}
		h.print(c, name)
		if err = isDirectory(r); err == nil {
			err = headOf(c, r, n, bytesMode, drop, delim)
		}
		if err != nil {
			c.Fail("error reading %s: %s", applet.Quote(name), applet.Reason(err))
		}
		r.Close()
	}
	return c.Status()
}

var errStop = errors.New("stop")

func headOf(c *applet.Cmd, r io.Reader, n int64, bytesMode, drop bool, delim byte) error {
	switch {
	case bytesMode && !drop:
		_, err := io.CopyN(c.Out, r, n)
		if err == io.EOF {
			err = nil
		}
		return err
	case drop:
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if bytesMode {
			c.Out.Write(data[:max(0, int64(len(data))-n)])
			return nil
		}
		c.Out.Write(data[:len(data)-len(lastLines(data, n, delim))])
		return nil
	case n == 0:
		return nil
	}
	err := lines(r, delim, func(line []byte, last bool) error {
		c.Out.Write(line)
		if !last {
			c.Out.WriteByte(delim)
		}
		if n--; n == 0 {
			return errStop
		}
		return nil
	})
	if err == errStop {
		err = nil
	}
	return err
}

// lastLines is the part of data with its last n lines.
func lastLines(data []byte, n int64, delim byte) []byte {
	if n == 0 {
		return nil
	}
	end := len(data)
	if end > 0 && data[end-1] == delim {
		end--
	}
	for ; n > 0; n-- {
		i := bytes.LastIndexByte(data[:end], delim)
		if i < 0 {
			return data
		}
		end = i
	}
	return data[end+1:]
}

type tailFlags struct {
	n         int64
	fromStart bool
	bytes     bool
	follow    bool
	retry     bool
	delim     byte
	pause     time.Duration
}

// Tail writes the end of files and follows them, see tail(1).
func Tail(c *applet.Cmd) int {
	if len(c.Args) > 0 && len(c.Args[0]) > 1 && c.Args[0][0] == '+' && c.Args[0][1] >= '0' && c.Args[0][1] <= '9' {
		c.Args = append([]string{"-n", c.Args[0]}, c.Args[1:]...)
	}
	opts, names, st, ok := c.Parse(applet.Spec{Short: "n:c:fFqvs:z", Digits: true, Help: "[OPTION]... [FILE]...",
		Long: []string{"lines=/n", "bytes=/c", "follow?/f", "quiet/q", "silent/q", "verbose/v", "sleep-interval=/s", "retry", "pid=", "zero-terminated/z"}})
	if !ok {
		return st
	}
	f := tailFlags{n: 10, delim: '\n', pause: time.Second}
	h := headers{on: len(names) > 1}
	for _, o := range opts {
		switch o.Key {
		case "n", "c", "NUM":
			sign, v, ok := countArg(o.Arg)
			if !ok {
				what := "lines"
				if o.Key == "c" {
					what = "bytes"
				}
				c.Fail("invalid number of %s: %s", what, applet.Quote(o.Arg))
				return 1
			}
			f.n, f.fromStart, f.bytes = v, sign == '+', o.Key == "c"
		case "f":
			f.follow = true
			f.retry = f.retry || o.Arg == "name"
		case "F":
			f.follow, f.retry = true, true
		case "retry":
			f.retry = true
		case "q":
			h.on = false
		case "v":
			h.on = true
		case "s":
			s, err := strconv.ParseFloat(o.Arg, 64)
			if err != nil || s < 0 {
				c.Fail("invalid number of seconds: %s", applet.Quote(o.Arg))
				return 1
			}
			f.pause = max(time.Duration(s*float64(time.Second)), 10*time.Millisecond)
		case "z":
			f.delim = 0
		}
	}
	if len(names) == 0 {
		names = []string{"-"}
	}
	var followed []*followedFile
	for _, name := range names {
		r, err := c.Open(name)
		if err != nil {
			c.Fail("cannot open %s for reading: %s", applet.Quote(name), applet.Reason(err))
			if f.retry {
				followed = append(followed, &followedFile{name: name})
			}
			continue
		}
		h.print(c, name)
		if err = isDirectory(r); err == nil {
			err = f.print(c, r)
		}
		if err != nil {
			c.Fail("error reading %s: %s", applet.Quote(name), applet.Reason(err))
		}
		if file, ok := r.(*os.File); ok && f.follow && err == nil {
			followed = append(followed, &followedFile{name: name, f: file})
			continue
		}
		r.Close()
	}
	if f.follow && len(followed) > 0 {
		f.followAll(c, followed, &h)
	}
	return c.Status()
}

func (f *tailFlags) print(c *applet.Cmd, r io.Reader) error {
	if f.fromStart {
		return f.skip(c, r)
	}
	if file, ok := r.(*os.File); ok {
		if fi, err := file.Stat(); err == nil && fi.Mode().IsRegular() && fi.Size() > 1<<20 {
			file.Seek(f.backwards(file, fi.Size()), io.SeekStart)
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if f.bytes {
		data = data[max(0, int64(len(data))-f.n):]
	} else {
		data = lastLines(data, f.n, f.delim)
	}
	c.Out.Write(data)
	return c.Out.Flush()
}

// backwards finds an offset in a large file behind which there are at least f.n lines (or bytes).
func (f *tailFlags) backwards(file *os.File, size int64) int64 {
	if f.bytes {
		return max(0, size-f.n)
	}
	buf := make([]byte, 64<<10)
	left := f.n + 1
	for pos := size; pos > 0; {
		from := max(0, pos-int64(len(buf)))
		part := buf[:pos-from]
		if _, err := file.ReadAt(part, from); err != nil {
			return 0
		}
		left -= int64(bytes.Count(part, []byte{f.delim}))
		if left < 0 {
			return from
		}
		pos = from
	}
	return 0
}

func (f *tailFlags) skip(c *applet.Cmd, r io.Reader) error {
	skip := max(0, f.n-1)
	br := bufio.NewReaderSize(r, 32<<10)
	if f.bytes {
		if _, err := io.CopyN(io.Discard, br, skip); err == io.EOF {
			return nil
		}
	}
	for ; !f.bytes && skip > 0; skip-- {
		for {
			_, err := br.ReadSlice(f.delim)
			if err == io.EOF {
				return nil
			}
			if err != bufio.ErrBufferFull {
				break
			}
		}
	}
	_, err := br.WriteTo(c.Out)
	return err
}

type followedFile struct {
	name string
	f    *os.File
}

// followAll prints what is appended to the files until the process is ended.
func (f *tailFlags) followAll(c *applet.Cmd, files []*followedFile, h *headers) {
	last := files[len(files)-1]
	buf := make([]byte, 32<<10)
	for {
		for _, ff := range files {
			f.reopen(c, ff)
			for ff.f != nil {
				n, err := ff.f.Read(buf)
				if n > 0 {
					if ff != last {
						h.print(c, ff.name)
						last = ff
					}
					c.Out.Write(buf[:n])
				}
				if err != nil || n == 0 {
					break
				}
			}
		}
		c.Out.Flush()
		time.Sleep(f.pause)
	}
}

// reopen notices that a followed file was cut short or, with -F, replaced.
func (f *tailFlags) reopen(c *applet.Cmd, ff *followedFile) {
	if ff.f != nil {
		fi, err := ff.f.Stat()
		pos, serr := ff.f.Seek(0, io.SeekCurrent)
		if err == nil && serr == nil && fi.Mode().IsRegular() && fi.Size() < pos {
			fmt.Fprintf(c.Stderr, "%s: %s: file truncated\n", c.Name, ff.name)
			ff.f.Seek(0, io.SeekStart)
		}
		if !f.retry || err != nil {
			return
		}
		now, err := os.Stat(ff.name)
		if err != nil || os.SameFile(fi, now) {
			return
		}
		ff.f.Close()
		ff.f = nil
	}
	file, err := os.Open(ff.name)
	if err != nil {
		return
	}
	fmt.Fprintf(c.Stderr, "%s: %s has appeared;  following new file\n", c.Name, applet.Quote(ff.name))
	ff.f = file
}
