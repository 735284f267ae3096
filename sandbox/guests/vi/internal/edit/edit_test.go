package edit

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/drydock-labs/drydock/sandbox/guests/sys/width"
)

// files are files in memory. A name that begins with /ro/ cannot be written.
type files map[string]string

func (f files) Read(name string, limit int) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (f files) Write(name string, data []byte) error {
	if strings.HasPrefix(name, "/ro/") {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	f[name] = string(data)
	return nil
}

func (f files) Exists(name string) bool { _, ok := f[name]; return ok }

// vt is the part of a terminal that Paint uses: text at a place, erase to the end of the line, cursor on and off.
type vt struct {
	cells    [][]string // "" is the second half of a wide character
	row, col int
}

func newVT(rows, cols int) *vt {
	v := &vt{}
	for range rows {
		v.cells = append(v.cells, strings.Split(strings.Repeat(" ", cols), ""))
	}
	return v
}

func (v *vt) write(t *testing.T, b []byte) {
	t.Helper()
	for s := string(b); s != ""; {
		if rest, ok := strings.CutPrefix(s, "\x1b["); ok {
			i := strings.IndexAny(rest, "HKlh")
			arg, final := rest[:i], rest[i]
			s = rest[i+1:]
			switch {
			case final == 'H':
				r, c, _ := strings.Cut(arg, ";")
				v.row, _ = strconv.Atoi(r)
				v.col, _ = strconv.Atoi(c)
				v.row, v.col = v.row-1, v.col-1
			case final == 'K':
				for i := v.col; i < len(v.cells[v.row]); i++ {
					v.cells[v.row][i] = " "
				}
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		s = s[n:]
		w := width.Of(r)
		if r < ' ' || v.col+w > len(v.cells[v.row]) {
			t.Fatalf("%q at %d,%d", r, v.row, v.col)
		}
		if w == 0 {
			v.cells[v.row][v.col-1] += string(r)
			continue
		}
		v.cells[v.row][v.col] = string(r)
		if w == 2 {
			v.cells[v.row][v.col+1] = ""
		}
		v.col += w
	}
}

func (v *vt) String() string {
	var l []string
	for _, r := range v.cells {
		l = append(l, strings.TrimRight(strings.Join(r, ""), " "))
	}
	return strings.Join(l, "\n")
}

// session is an editor at a terminal.
type session struct {
	t       *testing.T
	editor  *Editor
	files   files
	vt      *vt
	shown   *Screen
	decoder Decoder
}

func open(t *testing.T, text string, rows, cols int) *session {
	s := &session{t: t, files: files{}, vt: newVT(rows, cols)}
	if text != "-" {
		s.files["f"] = text
	}
	s.editor = New(s.files, "f", rows, cols)
	s.paint()
	return s
}

var names = strings.NewReplacer("<esc>", "\x1b", "<cr>", "\r", "<bs>", "\x7f", "<up>", "\x1b[A", "<down>", "\x1bOB", "<right>", "\x1b[C", "<left>", "\x1b[D",
	"<home>", "\x1b[H", "<end>", "\x1b[4~", "<del>", "\x1b[3~", "<c-c>", "\x03", "<c-r>", "\x12", "<c-w>", "\x17", "<c-u>", "\x15", "<c-f>", "\x06", "<c-b>", "\x02", "<c-d>", "\x04")

// typeKeys sends keys as a terminal does; an Escape that is pressed stands alone.
func (s *session) typeKeys(keys string) {
	s.t.Helper()
	for i, part := range strings.Split(keys, "<esc>") {
		if i > 0 {
			s.press(append(s.decoder.Feed([]byte("\x1b")), s.decoder.Flush()...))
		}
		s.press(s.decoder.Feed([]byte(names.Replace(part))))
	}
	if !s.editor.Done() {
		s.paint()
	}
}

func (s *session) press(keys []Key) {
	for _, k := range keys {
		s.editor.Press(k)
	}
}

func (s *session) paint() {
	s.t.Helper()
	screen := s.editor.Screen()
	s.vt.write(s.t, Paint(s.shown, screen))
	s.shown = &screen
	if got, want := s.vt.String(), strings.Join(screen.Rows, "\n"); got != want {
		s.t.Fatalf("the terminal shows\n%s\nwant\n%s", got, want)
	}
	if s.vt.row != screen.Row || s.vt.col != screen.Col {
		s.t.Fatalf("cursor at %d,%d, want %d,%d", s.vt.row, s.vt.col, screen.Row, screen.Col)
	}
}

// TestCommands types keys into a file and writes it. The results are vim's.
func TestCommands(t *testing.T) {
	for _, row := range []struct{ name, text, keys, want string }{
		{"insert", "abc\n", "iX", "Xabc\n"},
		{"insert before the cursor", "abc\n", "lliX", "abXc\n"},
		{"append", "abc\n", "aX", "aXbc\n"},
		{"append to the line", "abc\n", "AX<cr>Y", "abcX\nY\n"},
		{"insert at the first character", "  abc\n", "$IX", "  Xabc\n"},
		{"open below and above", "a\nb\n", "ox<esc>Oy", "a\ny\nx\nb\n"},
		{"insert with a count", "\n", "3iab<esc>", "ababab\n"},
		{"an empty file", "", "iab", "ab\n"},
		{"a new file", "-", "iapiVersion: v1<cr>kind: Pod", "apiVersion: v1\nkind: Pod\n"},
		{"Korean", "", "i안녕, 세계<esc>hx", "안녕, 계\n"},
		{"Hangul is moved over by syllables", "가나다라\n", "llx", "가나라\n"},
		{"backspace joins lines", "a\nb\n", "ji<bs>X", "aXb\n"},
		{"backspace in the line", "abc\n", "A<bs><bs>X", "aX\n"},
		{"delete key", "abc\n", "<del>", "bc\n"},
		{"erase a word and a line", "one two\nthree\n", "A<c-w>X<esc>jA<c-u>Y", "one X\nY\n"},
		{"arrows while inserting", "abc\ndef\n", "i<right>X<down>Y<end>Z<home>W", "aXbc\nWdeYfZ\n"},
		{"x with a count", "abcdef\n", "l3x", "aef\n"},
		{"X", "abc\n", "$X", "ac\n"},
		{"dd", "a\nb\nc\n", "jdd", "a\nc\n"},
		{"dd with a count", "a\nb\nc\nd\n", "j2dd", "a\nd\n"},
		{"d with a count on the motion", "a\nb\nc\nd\n", "d2d", "c\nd\n"},
		{"dj", "a\nb\nc\n", "dj", "c\n"},
		{"dG", "a\nb\nc\n", "jdG", "a\n"},
		{"dgg", "a\nb\nc\n", "jdgg", "c\n"},
		{"delete everything", "a\nb\n", "dG", ""},
		{"dw", "one two three\n", "wdw", "one three\n"},
		{"dw at the end of a line", "one two\nthree\n", "wdw", "one \nthree\n"},
		{"d2w", "one two three four\n", "d2w", "three four\n"},
		{"de", "one two\n", "de", " two\n"},
		{"db", "one two\n", "wdb", "two\n"},
		{"d$ and D", "one two\nthree four\n", "wd$jbD", "one \n\n"},
		{"d0", "one two\n", "wd0", "two\n"},
		{"dt and df", "a(b)c(d)e\n", "dt(f)df(", "(bd)e\n"},
		{"cw", "one two\n", "cwX", "X two\n"},
		{"cw on a word of one letter", "a b\n", "cwX", "X b\n"},
		{"c2w", "one two three\n", "c2wX", "X three\n"},
		{"cc", "one\ntwo\n", "ccX", "X\ntwo\n"},
		{"C", "one two\n", "wCX", "one X\n"},
		{"s and S", "abc\ndef\n", "sX<esc>jSY", "Xbc\nY\n"},
		{"r", "abc\n", "lrX", "aXc\n"},
		{"r with a count", "abcd\n", "3rX", "XXXd\n"},
		{"r with Enter", "a b\n", "lr<cr>", "a\nb\n"},
		{"R and backspace", "abcd\n", "RXY<bs>Z", "XZcd\n"},
		{"~", "aBc\n", "3~", "AbC\n"},
		{"J", "a\n  b\nc\n", "JJ", "a b c\n"},
		{"yy and p", "a\nb\n", "yyp", "a\na\nb\n"},
		{"yy and P", "a\nb\n", "jyyP", "a\nb\nb\n"},
		{"2yy and 2p", "a\nb\nc\n", "2yyG2p", "a\nb\nc\na\nb\na\nb\n"},
		{"yw and p", "one two\n", "yw$p", "one twoone \n"},
		{"x and p swap", "ab\n", "xp", "ba\n"},
		{"dd and p swap", "a\nb\n", "ddp", "b\na\n"},
		{"a deletion over lines is put back", "one two\nthree\n\nx\n", "wd}p", "one two\nthree\n\nx\n"},
		{"a deletion of whole lines by a motion", "a\nb\n\nc\n", "d}", "\nc\n"},
		{"u", "a\n", "xu", "a\n"},
		{"u undoes an insertion at once", "a\n", "ib<cr>c<esc>u", "a\n"},
		{"u many times", "abc\n", "xxxuu", "bc\n"},
		{"u with a count and Ctrl-R", "abc\n", "xxx3u<c-r>", "bc\n"},
		{"u after dd", "a\nb\nc\n", "jdduu", "a\nb\nc\n"},
		{".", "a b c\n", "xw.", "  c\n"},
		{". repeats an insertion", "a\nb\n", "AX<esc>j.", "aX\nbX\n"},
		{". with a count", "a\nb\nc\nd\n", "dd2.", "d\n"},
		{". after .", "a\nb\nc\nd\n", "dd..", "d\n"},
		{"3. does not repeat itself", "abcdefgh\n", "x3..", "h\n"},
		{"gg G and a line", "a\nb\nc\nd\n", "GxggxjxG:2<cr>", "\n\nc\n\n"},
		{"a number and G", "a\nb\nc\n", "2Gx", "a\n\nc\n"},
		{"w over lines and punctuation", "a.b c\nd\n", "wxwxwwx", "ab \n\n"},
		{"b and e", "one two three\n", "$bxbiX<esc>0eaY", "oneY Xtwo hree\n"},
		{"W B E", "a-b c-d\n", "WxBxEx", "- -d\n"},
		{"^ and $", "  abc\n", "$x^x", "  b\n"},
		{"; and ,", "a,b,c,d\n", "f,;x,x", "abc,d\n"},
		{"%", "f(a[1])\n", "%x", "f(a[1]\n"},
		{"} and {", "a\n\nb\nc\n\nd\n", "}}iX<esc>{{iY", "Ya\n\nb\nc\nX\nd\n"},
		{"/ n N", "foo\nbar\nfoo\nbaz foo\n", "/foo<cr>xnxNx", "oo\nbar\noo\nbaz oo\n"},
		{"? goes back", "foo\nbar\nfoo\n", "G?bar<cr>x", "foo\nar\nfoo\n"},
		{"a pattern in vi's way", "aab\na+b\n", "/a\\+b<cr>x/a+b<cr>x", "ab\n+b\n"},
		{"*", "foo foobar\nfoo\n", "*x", "foo foobar\noo\n"},
		{">> and <<", "a\n        b\n", ":set sw=2 et<cr>>>j<<", "  a\n      b\n"},
		{">j", "a\nb\n", ":set sw=2 et<cr>>j", "  a\n  b\n"},
		{"autoindent", "  a\n", ":set ai<cr>ob<cr>c", "  a\n  b\n  c\n"},
		{"a tab", "", "ia\tb", "a\tb\n"},
		{"a tab of spaces", "", ":set et sw=4<cr>ia\tb", "a       b\n"},
		{"a tab of two spaces", "", ":set et ts=2 sw=2<cr>ia\tb\tc", "a b c\n"},
		{":s", "a a\na\n", ":s/a/b/<cr>", "b a\na\n"},
		{":%s g", "a a\na\n", ":%s/a/b/g<cr>", "b b\nb\n"},
		{":s with groups", "key: value\n", ":s#\\(.*\\): \\(.*\\)#\\2: \\1 &#<cr>", "value: key key: value\n"},
		{":%s for an image", "image: nginx:1.28\n", ":%s/nginx:1\\.28/nginx:1.29/<cr>", "image: nginx:1.29\n"},
		{":s makes two lines", "a,b\n", ":s/,/\\r/<cr>", "a\nb\n"},
		{":d with a range", "a\nb\nc\nd\n", ":2,3d<cr>", "a\nd\n"},
		{":$d and :.,+1d", "a\nb\nc\nd\n", ":$d<cr>:1<cr>:.,+1d<cr>", "c\n"},
		{":r", "a\nb\n", ":w g<cr>:r g<cr>", "a\na\nb\nb\n"},
		{"the last line gets its end", "a\nb", "ix", "xa\nb\n"},
		{"bytes that are no text stay", "a\xff\xfeb\n", "x", "\xff\xfeb\n"},
		{"Ctrl-C leaves insertion", "a\n", "iX<c-c>x", "a\n"},
		{"Escape drops half a command", "a\nb\n", "d<esc>d<esc>x", "\nb\n"},
		{"cursor keys in normal mode", "ab\ncd\n", "<right><down>x<up>x", "b\nc\n"},
		{"the wanted column returns", "abcd\na\nabcd\n", "3ljjx", "abcd\na\nabc\n"},
		{"$ stays at the ends", "abcd\na\nabcd\n", "$jjx", "abcd\na\nabc\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if *vim != "" {
				checkVim(t, row.text, row.keys, row.want)
				return
			}
			s := open(t, row.text, 10, 40)
			s.typeKeys(row.keys)
			s.typeKeys("<esc>")
			s.typeKeys("<esc>:wq!<cr>")
			if !s.editor.Done() || s.files["f"] != row.want {
				t.Errorf("done %v, file %q, want %q; screen\n%s", s.editor.Done(), s.files["f"], row.want, s.vt)
			}
		})
	}
}

var vim = flag.String("vim", "", "instead of this editor, try a vim against the results that TestCommands wants")

// checkVim types the same keys into a real vim.
func checkVim(t *testing.T, text, keys, want string) {
	dir := t.TempDir()
	if text != "-" {
		os.WriteFile(dir+"/f", []byte(text), 0o644)
	}
	keys = strings.ReplaceAll(names.Replace(strings.ReplaceAll(keys, "<esc>", "\x1b\x1b")), "\x1bOB", "\x1b[B")
	os.WriteFile(dir+"/keys", []byte(keys+"\x1b\x1b:wq!\r"), 0o644)
	cmd := exec.Command("script", "-qec", *vim+" -u NONE -N -n -i NONE -c 'set bs=2 noesckeys enc=utf-8 fencs=utf-8,latin1' -s keys f", "/dev/null")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=xterm", "LANG=C.UTF-8")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(dir + "/f"); string(got) != want {
		t.Errorf("%q: vim makes %q, the table says %q", keys, got, want)
	}
}

// TestScreen compares what is seen.
func TestScreen(t *testing.T) {
	lines := ""
	for i := range 30 {
		lines += fmt.Sprintf("line %d\n", i+1)
	}
	for _, row := range []struct {
		name, text, keys string
		rows, cols       int
		want             string
		row, col         int
	}{
		{"a file", "a\nb\n", "", 5, 20, "a\nb\n~\n~\n\"f\" 2L, 4B", 0, 0},
		{"a new file", "-", "", 4, 20, "\n~\n~\n\"f\" [New]", 0, 0},
		{"no newline", "a", "", 3, 20, "a\n~\n\"f\" [noeol] 1L, 1B", 0, 0},
		{"insertion", "a\n", "Ab", 3, 20, "ab\n~\n-- INSERT --", 0, 2},
		{"replacing", "a\n", "R", 3, 20, "a\n~\n-- REPLACE --", 0, 0},
		{"Hangul takes two columns", "가나\n", "l", 3, 20, "가나\n~\n", 0, 2},
		{"Hangul is not cut at the edge", "a가나다\n", "$", 4, 6, "a가나\n다\n~\n", 1, 0},
		{"a long line wraps", "abcdefgh\nx\n", "j", 5, 5, "abcde\nfgh\nx\n~\n", 2, 0},
		{"a line that does not fit", "a\nbbbbbbbb\n", "", 3, 5, "a\n@\n\"f\"", 0, 0},
		{"typing at the edge goes on below", "", "iabcde", 4, 5, "abcde\n\n~\n-- I", 1, 0},
		{"a tab", "\tx\n", "l", 3, 20, "        x\n~\n", 0, 8},
		{"controls and bytes", "a\x01\x1b\xff\n", "", 3, 20, "a^A^[<ff>\n~\n\"f\" 1L, 5B", 0, 0},
		{"scrolling down", lines, "9j", 6, 20, "line 6\nline 7\nline 8\nline 9\nline 10\n", 4, 0},
		{"far away", lines, "20G", 6, 20, "line 18\nline 19\nline 20\nline 21\nline 22\n", 2, 0},
		{"the end", lines, "G", 6, 20, "line 28\nline 29\nline 30\n~\n~\n", 2, 0},
		{"a page", lines, "<c-f>", 6, 20, "line 4\nline 5\nline 6\nline 7\nline 8\n", 0, 0},
		{"numbers", "a\nb\n", ":set nu<cr>", 4, 20, "  1 a\n  2 b\n~\n", 0, 4},
		{"an Ex command being typed", "a\n", ":wq", 3, 20, "a\n~\n:wq", 2, 3},
		{"leaving a change", "a\n", "x:q<cr>", 3, 60, "\n~\nE37: No write since last change (add ! to override)", 0, 0},
		{"no such command", "a\n", ":frob<cr>", 3, 60, "a\n~\nE492: Not an editor command: frob", 0, 0},
		{"not found", "a\n", "/zz<cr>", 3, 60, "a\n~\nE486: Pattern not found: zz", 0, 0},
		{"around the end", "a\nb\n", "j/a<cr>", 3, 60, "a\nb\nsearch hit BOTTOM, continuing at TOP", 0, 0},
		{"written", "a\n", "x:w<cr>", 3, 60, "\n~\n\"f\" 0L, 0B written", 0, 0},
		{"not writable", "a\n", ":w /ro/x<cr>", 3, 70, "a\n~\n\"/ro/x\" E212: Can't open file for writing: permission denied", 0, 0},
		{"another file that exists", "a\n", ":w f2<cr>:w f2<cr>", 3, 60, "a\n~\nE13: File exists (add ! to override)", 0, 0},
		{"oldest change", "a\n", "u", 3, 60, "a\n~\nAlready at oldest change", 0, 0},
		{"undone", "a\nb\nc\n", "2ddu", 5, 60, "a\nb\nc\n~\n2 more lines", 0, 0},
		{"a name cannot send controls", "a\n", ":e f\u009bx<cr>", 3, 60, "\n~\n\"f\\u009bx\" [New]", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t, row.text, row.rows, row.cols)
			s.typeKeys(row.keys)
			if got := s.vt.String(); got != row.want || s.vt.row != row.row || s.vt.col != row.col {
				t.Errorf("cursor %d,%d want %d,%d; screen\n%s\nwant\n%s", s.vt.row, s.vt.col, row.row, row.col, got, row.want)
			}
		})
	}
}

// TestFiles: what leaves, what stays, what is asked.
func TestFiles(t *testing.T) {
	for _, row := range []struct {
		name, keys string
		done       bool
		f, g       string
	}{
		{"q", ":q<cr>", true, "a\n", ""},
		{"q with a change", "x:q<cr>", false, "a\n", ""},
		{"q!", "x:q!<cr>", true, "a\n", ""},
		{"wq", "ib<esc>:wq<cr>", true, "ba\n", ""},
		{"x", "ib<esc>:x<cr>", true, "ba\n", ""},
		{"ZZ", "ib<esc>ZZ", true, "ba\n", ""},
		{"ZQ", "ib<esc>ZQ", true, "a\n", ""},
		{"w to another file", "ib<esc>:w g<cr>:q<cr>", false, "a\n", "ba\n"},
		{"e! takes the change back", "ib<esc>:e!<cr>:wq<cr>", true, "a\n", ""},
		{"e another", ":e g<cr>iz<esc>:wq<cr>", true, "a\n", "z\n"},
		{"e asks", "x:e g<cr>:wq<cr>", true, "", ""},
		{"undone is unchanged", "xu:q<cr>", true, "a\n", ""},
		{"read-only", ":set ro<cr>ib<esc>:wq<cr>", false, "a\n", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t, "a\n", 5, 60)
			s.typeKeys(row.keys)
			if s.editor.Done() != row.done || s.files["f"] != row.f || s.files["g"] != row.g {
				t.Errorf("done %v, f %q, g %q; want %v, %q, %q", s.editor.Done(), s.files["f"], s.files["g"], row.done, row.f, row.g)
			}
		})
	}
}

func TestResize(t *testing.T) {
	s := open(t, "abcdefgh\n", 4, 20)
	s.editor.Resize(3, 5)
	s.vt, s.shown = newVT(3, 5), nil
	s.paint()
	if want := "abcde\nfgh\n\"f\""; s.vt.String() != want {
		t.Errorf("%q, want %q", s.vt.String(), want)
	}
}

func TestDecoder(t *testing.T) {
	var d Decoder
	var got []Key
	for _, b := range []byte("a\x1b[A\x1b[1;5C\xea\xb0\x80\x1b[3~") { // one byte at a time
		got = append(got, d.Feed([]byte{b})...)
	}
	if want := []Key{'a', Up, Right, '가', Delete}; fmt.Sprint(got) != fmt.Sprint(want) || d.Waiting() {
		t.Errorf("%v, want %v", got, want)
	}
	if got := d.Feed([]byte{0x1b}); len(got) != 0 || !d.Waiting() {
		t.Errorf("an Escape alone: %v", got)
	}
	if got := d.Flush(); fmt.Sprint(got) != fmt.Sprint([]Key{esc}) {
		t.Errorf("flushed: %v", got)
	}
}

// FuzzKeys: whatever is typed into whatever text, the cursor stays on the text and the screen has its size.
func FuzzKeys(f *testing.F) {
	f.Add("one two\nthree\n", "dwjp:%s/o/0/g\rG.uu")
	f.Add("가나\n\tx\n", "A다\x1bhx~J>>%{}")
	f.Add("", "3oab\x1b5.ddP/x\r*#")
	f.Add("(a[b]{c})\n", "%d%:1,$d\rR\x7fxy\x1b")
	f.Fuzz(func(t *testing.T, text, keys string) {
		if len(text) > 2000 || len(keys) > 200 {
			return
		}
		e := New(files{"f": text}, "f", 6, 12)
		var d Decoder
		for _, k := range append(d.Feed([]byte(keys)), d.Flush()...) {
			e.Press(k)
			s := e.Screen()
			if len(s.Rows) != 6 || s.Row < 0 || s.Row > 5 || s.Col < 0 {
				t.Fatalf("%d rows, cursor %d,%d", len(s.Rows), s.Row, s.Col)
			}
			if e.cursor.line >= len(e.lines) || e.cursor.col > len(e.lines[e.cursor.line]) {
				t.Fatalf("cursor %v beyond the text", e.cursor)
			}
			if e.Done() || len(e.lines) > 5000 {
				return
			}
		}
	})
}
