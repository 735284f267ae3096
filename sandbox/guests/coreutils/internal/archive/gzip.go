// Package archive has the utilities that pack files: gzip and tar.
package archive

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// gzipper is one run of gzip.
type gzipper struct {
	c         *applet.Cmd
	unpack    bool
	stdout    bool
	keep      bool
	force     bool
	list      bool
	test      bool
	quiet     bool
	verbose   bool
	recursive bool
	noName    bool
	level     int
	suffix    string
	listed    bool
}

// Gzip is gzip(1); called gunzip it unpacks, called zcat it unpacks to standard output.
func Gzip(c *applet.Cmd) int {
	g := &gzipper{c: c, level: gzip.DefaultCompression, suffix: ".gz", unpack: c.Name == "gunzip" || c.Name == "zcat", stdout: c.Name == "zcat"}
	c.Name = "gzip" // the others are scripts that call it
	opts, names, st, ok := c.Parse(applet.Spec{Short: "cdfhklLnNqrS:tvV", Digits: true, Help: "[OPTION]... [FILE]...",
		Long: []string{"stdout/c", "to-stdout/c", "decompress/d", "uncompress/d", "force/f", "keep/k", "list/l", "no-name/n", "name/N", "quiet/q", "recursive/r", "suffix=/S", "test/t", "verbose/v", "fast", "best"}})
	if !ok {
		return st
	}
	for _, o := range opts {
		switch o.Key {
		case "c":
			g.stdout = true
		case "d":
			g.unpack = true
		case "f":
			g.force = true
		case "k":
			g.keep = true
		case "l":
			g.list, g.unpack = true, true
		case "n":
			g.noName = true
		case "q":
			g.quiet = true
		case "r":
			g.recursive = true
		case "S":
			g.suffix = o.Arg
		case "t":
			g.test, g.unpack = true, true
		case "v":
			g.verbose = true
		case "NUM":
			if g.level = int(o.Arg[len(o.Arg)-1] - '0'); g.level == 0 {
				g.level = 1
			}
		case "fast":
			g.level = 1
		case "best":
			g.level = 9
		}
	}
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, n := range names {
		if n == "-" {
			g.streams()
		} else {
			g.file(n)
		}
	}
	return c.Status()
}

// streams packs or unpacks standard input to standard output.
func (g *gzipper) streams() {
	if !g.unpack {
		if sys.IsTerminal(1) && !g.force {
			g.c.Fail("compressed data not written to a terminal. Use -f to force compression.\nFor help, type: %s -h", g.c.Name)
			return
		}
		if err := g.pack(g.c.Out, g.c.Stdin, nil); err != nil {
			g.c.Fail("stdin: %s", applet.Reason(err))
		}
		return
	}
	out := io.Writer(g.c.Out)
	if g.test {
		out = io.Discard
	}
	if err := unpackAll(out, g.c.Stdin); err != nil {
		g.complain("stdin", err)
	}
}

// complain prints an error of packed data; gzip puts an empty line before it.
func (g *gzipper) complain(name string, err error) {
	g.c.Out.Flush()
	fmt.Fprintln(g.c.Stderr)
	g.c.Fail("%s: %s", name, packedText(err))
}

func packedText(err error) string {
	switch {
	case errors.Is(err, gzip.ErrHeader):
		return "not in gzip format"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "unexpected end of file"
	case errors.Is(err, gzip.ErrChecksum):
		return "invalid compressed data--crc error"
	case strings.HasPrefix(err.Error(), "flate:"):
		return "invalid compressed data--format violated"
	}
	return applet.Reason(err)
}

func (g *gzipper) pack(w io.Writer, r io.Reader, fi fs.FileInfo) error {
	z, err := gzip.NewWriterLevel(w, g.level)
	if err != nil {
		return err
	}
	if z.OS = 3; fi != nil && !g.noName {
		z.Name, z.ModTime = fi.Name(), fi.ModTime()
	}
	if _, err := io.Copy(z, r); err != nil {
		return err
	}
	return z.Close()
}

// unpackAll writes out every member of a gzip stream.
func unpackAll(w io.Writer, r io.Reader) error {
	br := bufio.NewReader(r)
	if magic, _ := br.Peek(2); len(magic) > 0 && string(magic) != "\x1f\x8b" {
		return gzip.ErrHeader
	}
	z, err := gzip.NewReader(br)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, z)
	return err
}

func (g *gzipper) file(name string) {
	fi, err := os.Stat(name)
	if err != nil && g.unpack && !strings.HasSuffix(name, g.suffix) {
		if with, again := os.Stat(name + g.suffix); again == nil {
			name, fi, err = name+g.suffix, with, nil
		} else {
			name += g.suffix
		}
	}
	switch {
	case err != nil:
		g.c.Fail("%s: %s", name, applet.Reason(err))
		return
	case fi.IsDir() && g.recursive:
		list, err := os.ReadDir(name)
		if err != nil {
			g.c.Fail("%s: %s", name, applet.Reason(err))
		}
		for _, e := range list {
			g.file(filepath.Join(name, e.Name()))
		}
		return
	case fi.IsDir():
		g.c.FailWith(2, "%s is a directory -- ignored", name)
		return
	}
	target, ok := g.target(name)
	if !ok {
		return
	}
	in, err := os.Open(name)
	if err != nil {
		g.c.Fail("%s: %s", name, applet.Reason(err))
		return
	}
	defer in.Close()
	switch {
	case g.list:
		g.show(name, target, in, fi)
	case g.test:
		if err := unpackAll(io.Discard, in); err != nil {
			g.complain(name, err)
		} else if g.verbose {
			fmt.Fprintf(g.c.Stderr, "%s:\t OK\n", name)
		}
	case g.stdout:
		if err := g.transform(g.c.Out, in, fi); err != nil {
			g.complain(name, err)
		}
	default:
		g.replace(name, target, in, fi)
	}
}

// target is the name of what comes out; ok is false when the file is to be left alone.
func (g *gzipper) target(name string) (string, bool) {
	if !g.unpack {
		if strings.HasSuffix(name, g.suffix) && !g.force && !g.stdout {
			if !g.quiet {
				g.c.FailWith(0, "%s already has %s suffix -- unchanged", name, g.suffix)
			}
			return "", false
		}
		return name + g.suffix, true
	}
	for _, s := range []struct{ from, to string }{{g.suffix, ""}, {".tgz", ".tar"}, {".taz", ".tar"}, {".z", ""}, {".Z", ""}} {
		if base, ok := strings.CutSuffix(name, s.from); ok && base != "" {
			return base + s.to, true
		}
	}
	if g.stdout || g.list || g.test {
		return name, true
	}
	if !g.quiet {
		g.c.FailWith(2, "%s: unknown suffix -- ignored", name)
	}
	return "", false
}

func (g *gzipper) transform(w io.Writer, in io.Reader, fi fs.FileInfo) error {
	if g.unpack {
		return unpackAll(w, in)
	}
	return g.pack(w, in, fi)
}

// replace writes the result beside the file and removes the file.
func (g *gzipper) replace(name, target string, in *os.File, fi fs.FileInfo) {
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if g.force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(target, mode, fi.Mode().Perm())
	if errors.Is(err, fs.ErrExist) {
		g.c.FailWith(2, "%s already exists;\tnot overwritten", target)
		return
	}
	if err == nil {
		err = g.transform(out, in, fi)
		if closed := out.Close(); err == nil && closed != nil {
			err = closed
		}
		if err != nil {
			os.Remove(target)
			g.complain(name, err)
			return
		}
		os.Chmod(target, fi.Mode().Perm())
		os.Chtimes(target, fi.ModTime(), fi.ModTime())
	}
	if err != nil {
		g.c.Fail("%s: %s", target, applet.Reason(err))
		return
	}
	if g.verbose {
		after, err := os.Stat(target)
		if err == nil {
			packed, plain := after.Size(), fi.Size()
			if g.unpack {
				packed, plain = plain, packed
			}
			verb := "replaced with"
			if g.keep {
				verb = "created"
			}
			fmt.Fprintf(g.c.Stderr, "%s:\t%5.1f%% -- %s %s\n", name, ratio(packed-gzipHeader, plain), verb, target)
		}
	}
	if !g.keep {
		os.Remove(name)
	}
}

// gzipHeader are the bytes of header and trailer that ratios leave out.
const gzipHeader = 18

func ratio(packed, plain int64) float64 {
	if plain == 0 {
		return 0
	}
	return 100 - float64(packed)*100/float64(plain)
}

// show prints a row of -l.
func (g *gzipper) show(name, target string, in io.Reader, fi fs.FileInfo) {
	z, err := gzip.NewReader(bufio.NewReader(in))
	var size int64
	crc := crc32.NewIEEE()
	if err == nil {
		size, err = io.Copy(crc, z)
	}
	if err != nil {
		g.complain(name, err)
		return
	}
	if !g.listed {
		g.listed = true
		if g.verbose {
			fmt.Fprint(g.c.Out, "method  crc     date  time  ")
		}
		fmt.Fprintln(g.c.Out, "         compressed        uncompressed  ratio uncompressed_name")
	}
	if g.verbose {
		fmt.Fprintf(g.c.Out, "defla %08x %s ", crc.Sum32(), fi.ModTime().Format("Jan _2 15:04"))
	}
	fmt.Fprintf(g.c.Out, "%19d %19d %5.1f%% %s\n", fi.Size(), size, ratio(fi.Size()-gzipHeader-int64(len(z.Name))-1, size), target)
}
