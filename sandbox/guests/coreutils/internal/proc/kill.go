package proc

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/system"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// takeSignal takes -9, -KILL, -s KILL from the front of args.
func takeSignal(args []string) (sig syscall.Signal, rest []string, bad string) {
	sig = syscall.SIGTERM
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") || args[0] == "-" || args[0] == "--" {
		return sig, args, ""
	}
	name := args[0][1:]
	rest = args[1:]
	switch {
	case name == "s" || name == "-signal":
		if len(rest) == 0 {
			return sig, rest, name
		}
		name, rest = rest[0], rest[1:]
	case strings.HasPrefix(name, "-signal="):
		name = name[8:]
	case strings.HasPrefix(name, "s") && len(name) > 1 && name[1] >= 'A' && name[1] <= 'Z':
		name = name[1:]
	}
	n, ok := system.SignalNumber(name)
	if !ok {
		return sig, args, name
	}
	return n, rest, ""
}

// Kill is kill(1).
func Kill(c *applet.Cmd) int {
	args := c.Args
	if len(args) > 0 && (args[0] == "-l" || args[0] == "-L" || args[0] == "--list") {
		if len(args) > 1 {
			n, ok := system.SignalNumber(args[1])
			if !ok {
				c.Fail("unknown signal name %s", args[1])
				return 1
			}
			if _, err := strconv.Atoi(args[1]); err == nil {
				fmt.Fprintln(c.Out, system.SignalName(n&0x7f))
			} else {
				fmt.Fprintln(c.Out, int(n))
			}
			return 0
		}
		for i := syscall.Signal(1); i < 32; i++ {
			sep := " "
			if i%16 == 15 || i == 31 {
				sep = "\n"
			}
			fmt.Fprint(c.Out, system.SignalName(i), sep)
		}
		return 0
	}
	sig, args, bad := takeSignal(args)
	if bad != "" {
		c.Fail("unknown signal %s", bad)
		return 1
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintf(c.Stderr, "Usage: %s [-s SIGNAL | -SIGNAL] PID...\n       %s -l [SIGNAL]\n", c.Name, c.Name)
		return 1
	}
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		if err != nil {
			c.Fail("failed to parse argument: '%s'", a)
			return 1
		}
		if err := sys.Kill(pid, sig); err != nil {
			c.Fail("(%d): %s", pid, applet.Reason(err))
		}
	}
	return c.Status()
}

// Pgrep is pgrep(1), pkill(1), pidof(1) and killall(1).
func Pgrep(c *applet.Cmd) int {
	kills := c.Name == "pkill" || c.Name == "killall"
	sig := syscall.SIGTERM
	if kills && len(c.Args) > 0 {
		if s, rest, bad := takeSignal(c.Args); bad == "" {
			sig, c.Args = s, rest
		}
	}
	opts, patterns, st, ok := c.Parse(applet.Spec{Short: "aflnoqsu:vwxP:c", Status: 2, Long: []string{"full/f", "exact/x", "list-name/l", "list-full/a", "newest/n", "oldest/o", "count/c"}, Help: "[options] PATTERN"})
	if !ok {
		return st
	}
	has := map[string]string{}
	set := map[string]bool{}
	for _, o := range opts {
		has[o.Key], set[o.Key] = o.Arg, true
	}
	if len(patterns) == 0 && !set["u"] && !set["P"] {
		c.FailWith(2, "no matching criteria specified")
		fmt.Fprintf(c.Stderr, "Try `%s --help' for more information.\n", c.Name)
		return 2
	}
	exact := set["x"] || c.Name == "killall" || c.Name == "pidof"
	var res []*regexp.Regexp
	for _, n := range patterns {
		re, err := regexp.Compile(n)
		if err != nil {
			c.FailWith(2, "%s: invalid pattern", n)
			return 2
		}
		res = append(res, re)
	}
	var owners names
	var found []process
	for _, p := range all() {
		if p.pid == os.Getpid() || p.pid == os.Getppid() && c.Name != "pidof" && set["f"] {
			continue
		}
		if set["u"] && owners.User(p.uid) != has["u"] || set["P"] && strconv.Itoa(p.ppid) != has["P"] {
			continue
		}
		text := p.comm
		if set["f"] {
			text = p.command()
		}
		match := len(patterns) == 0
		for i, n := range patterns {
			if exact && (text == n || len(p.args) > 0 && baseName(p.args[0]) == n) || !exact && res[i].MatchString(text) {
				match = true
			}
		}
		if match != set["v"] {
			found = append(found, p)
		}
	}
	if len(found) > 1 {
		if set["n"] {
			found = found[len(found)-1:]
		}
		if set["o"] {
			found = found[:1]
		}
	}
	return report(c, found, kills, sig, set)
}

func baseName(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

func report(c *applet.Cmd, found []process, kills bool, sig syscall.Signal, set map[string]bool) int {
	if len(found) == 0 {
		if c.Name == "killall" {
			c.Fail("no process found")
		}
		if set["c"] {
			fmt.Fprintln(c.Out, 0)
		}
		return 1
	}
	if set["c"] {
		fmt.Fprintln(c.Out, len(found))
		return 0
	}
	var pids []string
	for i := range found {
		p := &found[i]
		switch {
		case kills:
			if err := sys.Kill(p.pid, sig); err != nil {
				c.Fail("killing pid %d failed: %s", p.pid, applet.Reason(err))
			}
		case c.Name == "pidof":
			pids = append([]string{strconv.Itoa(p.pid)}, pids...)
		case set["a"]:
			fmt.Fprintln(c.Out, p.pid, p.command())
		case set["l"]:
			fmt.Fprintln(c.Out, p.pid, p.comm)
		default:
			fmt.Fprintln(c.Out, p.pid)
		}
	}
	if len(pids) > 0 {
		fmt.Fprintln(c.Out, strings.Join(pids, " "))
	}
	return c.Status()
}
