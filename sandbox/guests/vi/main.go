// Command vi is a small vi: the editor that every machine has. internal/edit is the editor; this file joins it to a terminal and to files.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
	"github.com/drydock-labs/drydock/sandbox/guests/vi/internal/edit"
)

func main() { os.Exit(run(os.Args[1:])) }

const usage = `usage: vi [-R] [+N | +/PATTERN | -c COMMAND] [FILE]
A small vi for Drydock labs. Insert with i, leave insertion with Esc, write and leave with :wq, leave without writing with :q!
`

type options struct {
	file     string
	commands []string // Ex commands to begin with
	search   string
	readOnly bool
}

func parse(args []string) (o options, err error) {
	rest := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case !rest && a == "--":
			rest = true
		case !rest && a == "-R":
			o.readOnly = true
		case !rest && a == "-c" && i+1 < len(args):
			i++
			o.commands = append(o.commands, args[i])
		case !rest && strings.HasPrefix(a, "+/"):
			o.search = a[2:]
		case !rest && a == "+":
			o.commands = append(o.commands, "$")
		case !rest && strings.HasPrefix(a, "+"):
			o.commands = append(o.commands, a[1:])
		case !rest && strings.HasPrefix(a, "-") && a != "-":
			return o, fmt.Errorf("unknown option %q", a)
		case o.file != "":
			return o, errors.New("this vi edits one file at a time")
		default:
			o.file = a
		}
	}
	return o, nil
}

func run(args []string) int {
	if len(args) == 1 && (args[0] == "--version" || args[0] == "--help" || args[0] == "-h") {
		fmt.Print("vi (Drydock)\n" + usage)
		return 0
	}
	o, err := parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vi: %v\n%s", err, usage)
		return 1
	}
	size, err := sys.GetWinsize(0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vi: standard input is not a terminal")
		return 1
	}
	e := edit.New(disk{}, o.file, int(size.Rows), int(size.Cols))
	if o.readOnly {
		e.ReadOnly()
	}
	for _, c := range o.commands {
		press(e, ":"+c+"\r")
	}
	if o.search != "" {
		press(e, "/"+o.search+"\r")
	}
	t := &terminal{editor: e}
	return t.run()
}

func press(e *edit.Editor, text string) {
	for _, r := range text {
		e.Press(edit.Key(r))
	}
}

// disk is the machine's files.
type disk struct{}

func (disk) Read(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.IsDir() {
		return nil, errors.New("is a directory")
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("larger than %d MiB", limit>>20)
	}
	return b, err
}

// Write keeps the file that is there: its owner, its mode, its links.
func (disk) Write(name string, data []byte) error { return os.WriteFile(name, data, 0o666) }

func (disk) Exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// terminal joins the editor to descriptors 0 and 1.
type terminal struct {
	editor *edit.Editor
	old    *sys.Termios
	shown  *edit.Screen
}

// escapeWait is how long an Escape may be the beginning of a sequence that the terminal sends.
const escapeWait = 40 * time.Millisecond

func (t *terminal) run() int {
	if err := t.open(); err != nil {
		fmt.Fprintf(os.Stderr, "vi: %v\n", err)
		return 1
	}
	defer t.close()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGCONT)
	input := make(chan []byte)
	go read(input)
	var decoder edit.Decoder
	for {
		t.paint()
		var alone <-chan time.Time
		if decoder.Waiting() {
			alone = time.After(escapeWait)
		}
		var keys []edit.Key
		select {
		case b, ok := <-input:
			if !ok {
				return 1
			}
			keys = decoder.Feed(b)
		case <-alone:
			keys = decoder.Flush()
		case sig := <-signals:
			if sig == syscall.SIGTERM || sig == syscall.SIGHUP {
				return 1
			}
			t.resize()
		}
		for _, k := range keys {
			t.editor.Press(k)
			if t.editor.Done() {
				return 0
			}
			if t.editor.Suspended() {
				t.suspend()
			}
		}
	}
}

func read(to chan<- []byte) {
	defer close(to)
	for {
		b := make([]byte, 4096)
		n, err := os.Stdin.Read(b)
		if n > 0 {
			to <- b[:n]
		}
		if err != nil {
			return
		}
	}
}

// open takes the terminal over: raw mode, the alternate screen.
func (t *terminal) open() (err error) {
	if t.old, err = sys.MakeRaw(0); err != nil {
		return err
	}
	os.Stdout.WriteString("\x1b[?1049h\x1b[2J")
	t.shown = nil
	return nil
}

func (t *terminal) close() {
	os.Stdout.WriteString("\x1b[?1049l")
	sys.Tcsetattr(0, sys.TCSADRAIN, t.old)
}

// suspend gives the shell back until it continues this program.
func (t *terminal) suspend() {
	t.close()
	sys.Kill(0, syscall.SIGSTOP) // not SIGTSTP: Go would have to take its handler away and back
	t.open()
	t.resize()
}

func (t *terminal) resize() {
	size, err := sys.GetWinsize(0)
	if err != nil {
		return
	}
	t.editor.Resize(int(size.Rows), int(size.Cols))
	t.shown = nil
	os.Stdout.WriteString("\x1b[2J")
}

func (t *terminal) paint() {
	s := t.editor.Screen()
	os.Stdout.Write(edit.Paint(t.shown, s))
	t.shown = &s
}
