package system

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

func randomName(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

// maxArgs bounds a command line, in bytes.
const maxArgs = 128 << 10

type xargs struct {
	c                      *applet.Cmd
	command                []string
	perCall, perLines      int
	replace                string
	null, trace, skipEmpty bool
	delim                  int
	parallel               int
	in                     *bufio.Reader
	slots                  chan struct{}
	running                sync.WaitGroup
	mu                     sync.Mutex
	status                 int
	stop                   bool
}

// Xargs is xargs(1).
func Xargs(c *applet.Cmd) int {
	opts, args, st, ok := c.Parse(applet.Spec{Short: "0a:d:E:I:i::L:n:P:prs:tx", Stop: true, Help: "[OPTION]... COMMAND [INITIAL-ARGS]...",
		Long: []string{"null/0", "arg-file=/a", "delimiter=/d", "eof?/E", "replace?/i", "max-lines?/L", "max-args=/n", "max-procs=/P", "interactive/p", "no-run-if-empty/r", "max-chars=/s", "verbose/t", "exit/x"}})
	if !ok {
		return st
	}
	x := &xargs{c: c, command: args, delim: -1, parallel: 1}
	in := c.Stdin
	for _, o := range opts {
		n, err := strconv.Atoi(o.Arg)
		switch o.Key {
		case "0":
			x.delim = 0
		case "a":
			f, err := os.Open(o.Arg)
			if err != nil {
				c.Fail("Cannot open input file %s: %s", applet.Quote(o.Arg), applet.Reason(err))
				return 1
			}
			defer f.Close()
			in = f
		case "d":
			if s := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00").Replace(o.Arg); s != "" {
				x.delim = int(s[0])
			}
		case "I", "i":
			if x.replace = o.Arg; x.replace == "" {
				x.replace = "{}"
			}
		case "r":
			x.skipEmpty = true
		case "t":
			x.trace = true
		case "L", "n", "P", "s":
			if err != nil || n < 0 || n == 0 && o.Key != "P" {
				c.Fail("invalid number %q for -%s option", o.Arg, o.Key)
				return 1
			}
			switch o.Key {
			case "L":
				x.perLines = n
			case "n":
				x.perCall = n
			case "P":
				if x.parallel = n; n == 0 {
					x.parallel = 16
				}
			}
		}
	}
	if len(x.command) == 0 {
		x.command = []string{"echo"}
	}
	x.in = bufio.NewReader(in)
	x.slots = make(chan struct{}, x.parallel)
	if err := x.feed(); err != nil {
		c.Fail("%s", err.Error())
		x.raise(1)
	}
	x.running.Wait()
	return x.status
}

// feed reads items and starts a command whenever enough have come.
func (x *xargs) feed() error {
	var batch []string
	size, lines, ran := 0, 0, false
	flush := func() {
		if len(batch) > 0 || !ran && !x.skipEmpty && x.replace == "" {
			x.start(append(append([]string{}, x.command...), batch...))
			ran = true
		}
		batch, size, lines = nil, 0, 0
	}
	for !x.stopped() {
		item, endOfLine, ok, err := x.item()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if x.replace != "" {
			args := make([]string, len(x.command))
			for i, a := range x.command {
				args[i] = strings.ReplaceAll(a, x.replace, item)
			}
			x.start(args)
			ran = true
			continue
		}
		if size+len(item)+1 > maxArgs && len(batch) > 0 {
			flush()
		}
		batch, size = append(batch, item), size+len(item)+1
		if endOfLine {
			lines++
		}
		if x.perCall > 0 && len(batch) == x.perCall || x.perLines > 0 && lines == x.perLines {
			flush()
		}
	}
	if !x.stopped() && (len(batch) > 0 || !ran) {
		flush()
	}
	return nil
}

func (x *xargs) stopped() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stop
}

func (x *xargs) raise(code int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status = max(x.status, code)
	if code >= 124 {
		x.stop = true
	}
}

// item reads one argument: between delimiters, a line (-I), or a word with quotes and backslashes.
func (x *xargs) item() (item string, endOfLine, ok bool, err error) {
	if x.delim >= 0 {
		s, err := x.in.ReadString(byte(x.delim))
		if s == "" && err != nil {
			return "", false, false, nil
		}
		return strings.TrimSuffix(s, string(rune(x.delim))), true, true, nil
	}
	var b strings.Builder
	started := false
	for {
		ch, rerr := x.in.ReadByte()
		if rerr == io.EOF {
			return b.String(), true, started, nil
		}
		if rerr != nil {
			return "", false, false, rerr
		}
		switch {
		case ch == '\'' || ch == '"':
			started = true
			q, rerr := x.in.ReadString(ch)
			if rerr != nil || strings.Contains(q, "\n") {
				kind := "single"
				if ch == '"' {
					kind = "double"
				}
				return "", false, false, fmt.Errorf("unmatched %s quote; by default quotes are special to xargs unless you use the -0 option", kind)
			}
			b.WriteString(q[:len(q)-1])
		case ch == '\\':
			started = true
			if next, rerr := x.in.ReadByte(); rerr == nil {
				b.WriteByte(next)
			}
		case ch == '\n':
			if started {
				return b.String(), true, true, nil
			}
		case (ch == ' ' || ch == '\t') && (x.replace == "" || !started):
			if started {
				next, _ := x.in.Peek(1)
				return b.String(), len(next) > 0 && next[0] == '\n', true, nil
			}
		default:
			started = true
			b.WriteByte(ch)
		}
	}
}

func (x *xargs) start(args []string) {
	if x.trace {
		fmt.Fprintln(x.c.Stderr, strings.Join(args, " "))
	}
	x.c.Out.Flush()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	x.slots <- struct{}{}
	if err := cmd.Start(); err != nil {
		<-x.slots
		code := 126
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			code = 127
			err = syscall.ENOENT
		}
		x.c.Fail("%s: %s", args[0], applet.Reason(err))
		x.raise(code)
		return
	}
	finish := func() {
		cmd.Wait()
		<-x.slots
		code := cmd.ProcessState.ExitCode()
		ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case ok && ws.Signaled():
			x.c.Fail("%s: terminated by signal %d", args[0], int(ws.Signal()))
			x.raise(125)
		case code == 255:
			x.c.Fail("%s: exited with status 255; aborting", args[0])
			x.raise(124)
		case code != 0:
			x.raise(123)
		}
	}
	if x.parallel == 1 {
		finish()
		return
	}
	x.running.Go(finish)
}

// Clear is clear(1).
func Clear(c *applet.Cmd) int {
	c.Out.WriteString("\x1b[H\x1b[2J\x1b[3J")
	return 0
}

// Reset puts a terminal in order again, see reset(1).
func Reset(c *applet.Cmd) int {
	if t, err := sys.Tcgetattr(0); err == nil {
		t.Iflag |= sys.BRKINT | sys.ICRNL | sys.IXON | sys.IUTF8
		t.Oflag |= sys.OPOST | sys.ONLCR
		t.Lflag |= sys.ISIG | sys.ICANON | sys.ECHO | sys.ECHOE | sys.ECHOK | sys.IEXTEN | sys.ECHOCTL | sys.ECHOKE
		sys.Tcsetattr(0, sys.TCSADRAIN, t)
	}
	c.Out.WriteString("\x1bc\x1b[!p\x1b[?1049l\x1b[H\x1b[2J")
	return 0
}

// Tty is tty(1).
func Tty(c *applet.Cmd) int {
	opts, _, st, ok := c.Parse(applet.Spec{Short: "s", Long: []string{"silent/s", "quiet/s"}, Status: 2, Help: "[OPTION]..."})
	if !ok {
		return st
	}
	if !sys.IsTerminal(0) {
		if len(opts) == 0 {
			fmt.Fprintln(c.Out, "not a tty")
		}
		return 1
	}
	name, err := sys.FDPath(0)
	if err != nil {
		name = "/dev/tty"
	}
	if len(opts) == 0 {
		fmt.Fprintln(c.Out, name)
	}
	return 0
}

// Power is poweroff, reboot and halt: they end the machine.
func Power(c *applet.Cmd) int {
	_, _, st, ok := c.Parse(applet.Spec{Short: "fpnwd", Long: []string{"force/f", "poweroff/p"}, Help: ""})
	if !ok {
		return st
	}
	cmd := uint32(sys.RebootPowerOff)
	if c.Name == "reboot" {
		cmd = sys.RebootRestart
	}
	if err := sys.Reboot(cmd); err != nil {
		c.Fail("%s", applet.Reason(err))
		return 1
	}
	return 0
}

// Dmesg prints the kernel log from /dev/kmsg, see dmesg(1).
func Dmesg(c *applet.Cmd) int {
	_, _, st, ok := c.Parse(applet.Spec{Short: "THwc", Help: "[OPTION]..."})
	if !ok {
		return st
	}
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|sys.O_NONBLOCK, 0)
	if err != nil {
		c.Fail("read kernel buffer failed: %s", applet.Reason(err))
		return 1
	}
	defer f.Close()
	buf := make([]byte, 8192)
	for {
		n, err := f.Read(buf)
		if n == 0 || err != nil {
			if errors.Is(err, syscall.EPIPE) {
				continue
			}
			return 0
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.HasPrefix(line, " ") {
				continue // a continuation with properties
			}
			head, text, ok := strings.Cut(line, ";")
			f := strings.Split(head, ",")
			if !ok || len(f) < 3 {
				c.Out.WriteString(line)
				continue
			}
			us, _ := strconv.ParseInt(f[2], 10, 64)
			fmt.Fprintf(c.Out, "[%5d.%06d] %s", us/1e6, us%1e6, text)
		}
	}
}
