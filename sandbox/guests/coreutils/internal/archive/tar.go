package archive

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/files"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// tarrer is one run of tar.
type tarrer struct {
	c        *applet.Cmd
	mode     byte // c, x or t
	archive  string
	gzip     bool
	verbose  int
	stdout   bool // -O
	keep     bool
	follow   bool
	absolute bool // -P
	owners   bool
	touch    bool // -m
	strip    int
	exclude  []string
	names    files.Names
	warned   map[string]bool
	links    map[[2]uint64]string // first name of files with several, by device and inode
	dirTimes []dirTime
	skip     sys.Stat // the archive itself
}

type dirTime struct {
	name string
	at   time.Time
}

const tarUsage = "Try '%s --help' or '%s --usage' for more information.\n"

// Tar is tar(1): -c, -x and -t with -z, also in the old style without a dash.
func Tar(c *applet.Cmd) int {
	t := &tarrer{c: c, archive: "-", warned: map[string]bool{}, links: map[[2]uint64]string{}, owners: os.Geteuid() == 0}
	oldStyle(c)
	opts, names, st, ok := c.Parse(applet.Spec{Short: "Acxtruf:zvC:OkhPpmT:X:jJa", Status: 64, Help: "[OPTION...] [FILE]...",
		Long: []string{"create/c", "extract/x", "get/x", "list/t", "file=/f", "gzip/z", "gunzip/z", "verbose/v", "directory=/C", "to-stdout/O", "keep-old-files/k", "dereference/h", "absolute-names/P", "preserve-permissions/p",
			"touch/m", "files-from=/T", "exclude-from=/X", "exclude=", "strip-components=", "no-same-owner", "same-owner", "no-same-permissions", "auto-compress/a", "numeric-owner", "overwrite", "wildcards", "totals", "owner=", "group=", "bzip2/j", "xz/J"}})
	if !ok {
		return st
	}
	members, code := t.options(opts, names)
	if code != 0 {
		return code
	}
	if code := t.chosen(len(members)); code != 0 {
		return code
	}
	var err error
	switch t.mode {
	case 'c':
		err = t.create(members)
	default:
		err = t.read(members)
	}
	if err != nil {
		c.FailWith(2, "%s", err.Error())
		if !errors.Is(err, errDelayed) {
			c.FailWith(2, "Error is not recoverable: exiting now")
		}
		return 2
	}
	if c.Status() != 0 {
		c.FailWith(2, "Exiting with failure status due to previous errors")
	}
	return c.Status()
}

var errDelayed = errors.New("Exiting with failure status due to previous errors")

// oldStyle turns "xzf FILE" into "-x -z -f FILE".
func oldStyle(c *applet.Cmd) {
	if len(c.Args) == 0 || strings.HasPrefix(c.Args[0], "-") {
		return
	}
	rest := c.Args[1:]
	var out []string
	for _, letter := range c.Args[0] {
		out = append(out, "-"+string(letter))
		if strings.ContainsRune("fCTX", letter) && len(rest) > 0 {
			out, rest = append(out, rest[0]), rest[1:]
		}
	}
	c.Args = append(out, rest...)
}

func (t *tarrer) options(opts []applet.Opt, names []string) (members []string, code int) {
	for _, o := range opts {
		switch o.Key {
		case "c", "x", "t":
			if t.mode != 0 && t.mode != o.Key[0] {
				t.c.FailWith(2, "You may not specify more than one '-Acdtrux', '--delete' or  '--test-label' option")
				fmt.Fprintf(t.c.Stderr, tarUsage, t.c.Name, t.c.Name)
				return nil, 2
			}
			t.mode = o.Key[0]
		case "A", "r", "u":
			t.c.FailWith(2, "appending to an archive is not supported here")
			return nil, 2
		case "j", "J":
			t.c.FailWith(2, "only gzip compression (-z) is supported here")
			return nil, 2
		case "f":
			t.archive = o.Arg
		case "z":
			t.gzip = true
		case "a":
			t.gzip = t.gzip || strings.HasSuffix(t.archive, "gz")
		case "v":
			t.verbose++
		case "C":
			t.archive = t.absoluteArchive()
			if err := os.Chdir(o.Arg); err != nil {
				t.c.FailWith(2, "%s: Cannot open: %s", o.Arg, applet.Reason(err))
				t.c.FailWith(2, "Error is not recoverable: exiting now")
				return nil, 2
			}
		case "O":
			t.stdout = true
		case "k":
			t.keep = true
		case "h":
			t.follow = true
		case "P":
			t.absolute = true
		case "m":
			t.touch = true
		case "T", "X":
			data, err := t.c.Open(o.Arg)
			if err != nil {
				t.c.FailWith(2, "%s: Cannot open: %s", o.Arg, applet.Reason(err))
				return nil, 2
			}
			for sc := bufio.NewScanner(data); sc.Scan(); {
				if o.Key == "X" {
					t.exclude = append(t.exclude, sc.Text())
				} else {
					members = append(members, sc.Text())
				}
			}
			data.Close()
		case "exclude":
			t.exclude = append(t.exclude, o.Arg)
		case "strip-components":
			n, err := strconv.Atoi(o.Arg)
			if err != nil || n < 0 {
				t.c.FailWith(2, "Invalid number of elements: '%s'", o.Arg)
				return nil, 2
			}
			t.strip = n
		case "no-same-owner":
			t.owners = false
		}
	}
	return append(members, names...), 0
}

// absoluteArchive keeps the archive's name good across a change of directory; -f may stand behind -C and then is not affected.
func (t *tarrer) absoluteArchive() string {
	if t.archive == "-" {
		return t.archive
	}
	if abs, err := filepath.Abs(t.archive); err == nil {
		return abs
	}
	return t.archive
}

func (t *tarrer) chosen(members int) int {
	switch {
	case t.mode == 0:
		t.c.FailWith(2, "You must specify one of the '-Acdtrux', '--delete' or '--test-label' options")
	case t.mode == 'c' && members == 0:
		t.c.FailWith(2, "Cowardly refusing to create an empty archive")
	default:
		return 0
	}
	fmt.Fprintf(t.c.Stderr, tarUsage, t.c.Name, t.c.Name)
	return 2
}

// excluded says whether a name, or a folder that it is in, matches a pattern of --exclude as a whole or from a '/' on.
func (t *tarrer) excluded(name string) bool {
	if i := strings.LastIndexByte(name, '/'); i > 0 && t.excluded(name[:i]) {
		return true
	}
	for _, p := range t.exclude {
		p = strings.TrimSuffix(p, "/")
		for rest := name; ; {
			if files.Glob(p, rest) {
				return true
			}
			i := strings.IndexByte(rest, '/')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
		}
	}
	return false
}

// stripLead takes what would lead out of the current directory from the front of a name, and says so once.
func (t *tarrer) stripLead(name, what string) string {
	if t.absolute {
		return name
	}
	cut := 0
	for i := 0; i < len(name); {
		j := strings.IndexByte(name[i:], '/')
		part := name[i:]
		if j >= 0 {
			part = name[i : i+j]
		}
		if part == ".." || part == "" && i == 0 {
			cut = i + len(part) + 1
		}
		if j < 0 {
			break
		}
		i += j + 1
	}
	cut = min(cut, len(name))
	for cut < len(name) && name[cut] == '/' {
		cut++
	}
	if lead := name[:cut]; lead != "" && !t.warned[lead+what] {
		t.warned[lead+what] = true
		t.c.Out.Flush()
		fmt.Fprintf(t.c.Stderr, "%s: Removing leading `%s' from %s\n", t.c.Name, lead, what)
	}
	if name = name[cut:]; name == "" {
		name = "."
	}
	return name
}

// create writes an archive of the members.
func (t *tarrer) create(members []string) error {
	out := io.Writer(t.c.Out)
	if t.archive != "-" {
		f, err := os.Create(t.archive)
		if err != nil {
			return fmt.Errorf("%s: Cannot open: %s", t.archive, applet.Reason(err))
		}
		defer f.Close()
		t.skip, _ = sys.StatFile(t.archive, true)
		out = f
	} else if sys.IsTerminal(1) {
		return errors.New("Refusing to write archive contents to terminal (missing -f option?)")
	}
	b := bufio.NewWriterSize(out, 64<<10)
	out = b
	var z *gzip.Writer
	if t.gzip {
		z = gzip.NewWriter(b)
		out = z
	}
	w := tar.NewWriter(out)
	for _, m := range members {
		t.add(w, m)
	}
	err := w.Close()
	if z != nil && err == nil {
		err = z.Close()
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("%s: Cannot write: %s", t.archive, applet.Reason(err))
	}
	return nil
}

func (t *tarrer) add(w *tar.Writer, name string) {
	if t.excluded(name) {
		return
	}
	st, err := sys.StatFile(name, t.follow)
	if err != nil {
		t.c.FailWith(2, "%s: Cannot stat: %s", name, applet.Reason(err))
		return
	}
	if st.Dev == t.skip.Dev && st.Ino == t.skip.Ino && t.skip.Ino != 0 {
		t.c.Out.Flush()
		fmt.Fprintf(t.c.Stderr, "%s: %s: file is the archive; not dumped\n", t.c.Name, name)
		return
	}
	h, ok := t.header(name, st)
	if !ok {
		return
	}
	var f *os.File
	if h.Typeflag == tar.TypeReg {
		if f, err = os.Open(name); err != nil {
			t.c.FailWith(2, "%s: Cannot open: %s", name, applet.Reason(err))
			return
		}
		defer f.Close()
	}
	if t.verbose > 0 {
		t.show(h, t.c.Out, t.archive == "-")
	}
	if err := w.WriteHeader(h); err != nil {
		t.c.FailWith(2, "%s: Cannot write: %s", name, applet.Reason(err))
		return
	}
	if f != nil {
		n, _ := io.CopyN(w, f, h.Size)
		if n < h.Size { // it shrank while we read: the archive must stay whole
			t.c.Fail("%s: File shrank by %d bytes; padding with zeros", name, h.Size-n)
			io.CopyN(w, zeros{}, h.Size-n)
		}
	}
	if h.Typeflag == tar.TypeDir {
		list, err := os.ReadDir(name)
		if err != nil {
			t.c.FailWith(2, "%s: Cannot open: %s", name, applet.Reason(err))
		}
		for _, e := range list {
			t.add(w, strings.TrimSuffix(name, "/")+"/"+e.Name())
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (t *tarrer) header(name string, st sys.Stat) (*tar.Header, bool) {
	h := &tar.Header{Name: t.stripLead(name, "member names"), Mode: int64(st.Mode & 0o7777), Uid: int(st.UID), Gid: int(st.GID), Uname: t.names.User(st.UID), Gname: t.names.Group(st.GID),
		ModTime: st.Mtime.Truncate(time.Second), Format: tar.FormatGNU}
	switch st.Mode & sys.S_IFMT {
	case sys.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(h.Name, "/")+"/"
	case sys.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, _ = os.Readlink(name)
	case sys.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		id := [2]uint64{st.Dev, st.Ino}
		if first, seen := t.links[id]; seen && st.Nlink > 1 {
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, first
		} else if st.Nlink > 1 {
			t.links[id] = h.Name
		}
	case sys.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case sys.S_IFCHR, sys.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&sys.S_IFMT == sys.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(sys.Major(st.Rdev)), int64(sys.Minor(st.Rdev))
	default:
		fmt.Fprintf(t.c.Stderr, "%s: %s: socket ignored\n", t.c.Name, name)
		return nil, false
	}
	return h, true
}

// show prints a member's name, or with -vv or -tv the long form. When the archive is standard output that goes to standard error.
func (t *tarrer) show(h *tar.Header, w io.Writer, elsewhere bool) {
	if elsewhere {
		w = t.c.Stderr
	}
	if t.mode == 't' && t.verbose == 0 || t.mode != 't' && t.verbose == 1 {
		fmt.Fprintln(w, h.Name)
		return
	}
	kind := map[byte]uint32{tar.TypeDir: sys.S_IFDIR, tar.TypeSymlink: sys.S_IFLNK, tar.TypeFifo: sys.S_IFIFO, tar.TypeChar: sys.S_IFCHR, tar.TypeBlock: sys.S_IFBLK}[h.Typeflag]
	if kind == 0 {
		kind = sys.S_IFREG
	}
	mode := files.ModeString(kind | uint32(h.Mode&0o7777))
	tail := ""
	switch h.Typeflag {
	case tar.TypeSymlink:
		tail = " -> " + h.Linkname
	case tar.TypeLink:
		mode, tail = "h"+mode[1:], " link to "+h.Linkname
	}
	owner := h.Uname + "/" + h.Gname
	if h.Uname == "" {
		owner = fmt.Sprintf("%d/%d", h.Uid, h.Gid)
	}
	size := strconv.FormatInt(h.Size, 10)
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		size = fmt.Sprintf("%d,%d", h.Devmajor, h.Devminor)
	}
	fmt.Fprintf(w, "%s %s %*s %s %s%s\n", mode, owner, max(1, 18-len(owner)), size, h.ModTime.Local().Format("2006-01-02 15:04"), h.Name, tail)
}

// read lists or extracts the members, all when none are named.
func (t *tarrer) read(members []string) error {
	in := t.c.Stdin
	if t.archive != "-" {
		f, err := os.Open(t.archive)
		if err != nil {
			return fmt.Errorf("%s: Cannot open: %s", t.archive, applet.Reason(err))
		}
		defer f.Close()
		in = f
	}
	br := bufio.NewReaderSize(in, 64<<10)
	if magic, _ := br.Peek(2); t.gzip || string(magic) == "\x1f\x8b" && t.archive != "-" {
		z, err := gzip.NewReader(br)
		if err != nil {
			fmt.Fprintf(t.c.Stderr, "\ngzip: stdin: %s\n", packedText(err))
			return errors.New("Child returned status 1")
		}
		br = bufio.NewReader(z)
	}
	found := map[string]bool{}
	r := tar.NewReader(br)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.c.FailWith(2, "This does not look like a tar archive")
			return errDelayed
		}
		if m, ok := wanted(members, h.Name); len(members) > 0 && !ok {
			continue
		} else {
			found[m] = true
		}
		if t.excluded(strings.TrimSuffix(h.Name, "/")) {
			continue
		}
		if err := t.member(r, h); err != nil {
			t.c.FailWith(2, "%s", err.Error())
		}
	}
	for i := len(t.dirTimes) - 1; i >= 0; i-- {
		os.Chtimes(t.dirTimes[i].name, t.dirTimes[i].at, t.dirTimes[i].at)
	}
	for _, m := range members {
		if !found[m] {
			t.c.FailWith(2, "%s: Not found in archive", m)
		}
	}
	return nil
}

// wanted finds the operand that a member falls under.
func wanted(members []string, name string) (string, bool) {
	name = strings.TrimSuffix(name, "/")
	for _, m := range members {
		w := strings.TrimSuffix(m, "/")
		if name == w || strings.HasPrefix(name, w+"/") || strings.ContainsAny(w, "*?[") && files.Glob(w, name) {
			return m, true
		}
	}
	return "", false
}

func (t *tarrer) member(r io.Reader, h *tar.Header) error {
	if t.mode == 't' {
		t.show(h, t.c.Out, false)
		return nil
	}
	name := h.Name
	if name = t.stripped(name); name == "" {
		return nil
	}
	if h.Typeflag == tar.TypeLink {
		h.Linkname = t.stripped(h.Linkname)
	}
	if t.verbose > 0 {
		shown := *h
		if shown.Name = name; h.Typeflag == tar.TypeDir {
			shown.Name = strings.TrimSuffix(name, "/") + "/"
		}
		t.show(&shown, t.c.Out, t.stdout)
	}
	if t.stdout {
		if h.Typeflag == tar.TypeReg {
			io.Copy(t.c.Out, r)
		}
		return nil
	}
	name = strings.TrimSuffix(t.stripLead(name, "member names"), "/")
	if err := t.extract(r, h, name); err != nil {
		return fmt.Errorf("%s: %s", name, err.Error())
	}
	return nil
}

// stripped is a name without its first --strip-components parts, "" when nothing is left.
func (t *tarrer) stripped(name string) string {
	parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
	if t.strip == 0 {
		return name
	}
	return strings.Join(parts[min(t.strip, len(parts)):], "/")
}

func (t *tarrer) extract(r io.Reader, h *tar.Header, name string) (err error) {
	if dir := path.Dir(name); dir != "." {
		os.MkdirAll(dir, 0o777)
	}
	perm := fs.FileMode(h.Mode & 0o777)
	if old, exists := os.Lstat(name); exists == nil && h.Typeflag != tar.TypeDir {
		if to, err := os.Lstat(h.Linkname); h.Typeflag == tar.TypeLink && err == nil && os.SameFile(old, to) {
			return nil
		}
		if t.keep {
			return errors.New("Cannot open: File exists")
		}
		os.Remove(name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err = os.Mkdir(name, perm|0o700); errors.Is(err, fs.ErrExist) && isDir(name) {
			err = nil
		}
	case tar.TypeReg:
		err = writeFile(r, name, perm)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, name)
	case tar.TypeLink:
		err = os.Link(t.stripLead(h.Linkname, "hard link targets"), name)
	case tar.TypeFifo:
		err = sys.Mknod(name, sys.S_IFIFO|uint32(perm), 0)
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(sys.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = sys.S_IFBLK
		}
		err = sys.Mknod(name, kind|uint32(perm), sys.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	default:
		return nil
	}
	if err != nil {
		verb := map[byte]string{tar.TypeDir: "mkdir", tar.TypeSymlink: "create symlink to '" + h.Linkname + "'", tar.TypeLink: "hard link to '" + h.Linkname + "'", tar.TypeReg: "open"}[h.Typeflag]
		return fmt.Errorf("Cannot %s: %s", verb, applet.Reason(err))
	}
	t.attributes(h, name)
	return nil
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}

func writeFile(r io.Reader, name string, perm fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// attributes sets owner, mode and time as far as this user may.
func (t *tarrer) attributes(h *tar.Header, name string) {
	if t.owners {
		os.Lchown(name, h.Uid, h.Gid)
	}
	if h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
		return
	}
	mode := uint32(h.Mode & 0o7777)
	if os.Geteuid() != 0 {
		mask := sys.Umask(0)
		sys.Umask(mask)
		mode &^= uint32(mask)
	}
	syscall.Chmod(name, mode)
	if t.touch {
		return
	}
	if h.Typeflag == tar.TypeDir {
		t.dirTimes = append(t.dirTimes, dirTime{name, h.ModTime})
		return
	}
	os.Chtimes(name, h.ModTime, h.ModTime)
}
