// Package system has the utilities about the machine, its users and the environment: date, env, id, uname, sleep, timeout,
// xargs, test, expr and their kin.
package system

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/files"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// lookup finds a program along a PATH.
func lookup(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		fi, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		if fi.IsDir() {
			return "", syscall.EACCES
		}
		return name, sys.Access(name, sys.X_OK)
	}
	err := error(syscall.ENOENT)
	for _, d := range strings.Split(path, ":") {
		if d == "" {
			d = "."
		}
		p := d + "/" + name
		fi, serr := os.Stat(p)
		if serr != nil || fi.IsDir() {
			continue
		}
		if aerr := sys.Access(p, sys.X_OK); aerr != nil {
			err = aerr
			continue
		}
		return p, nil
	}
	return "", err
}

// become replaces this program by another. It returns 126 or 127 when that is not possible.
func become(c *applet.Cmd, args, env []string, path string) int {
	c.Out.Flush()
	p, err := lookup(args[0], path)
	if err == nil {
		err = sys.Exec(p, args, env)
	}
	c.Fail("%s: %s", applet.Quote(args[0]), applet.Reason(err))
	if errors.Is(err, syscall.ENOENT) {
		return 127
	}
	return 126
}

// Env is env(1).
func Env(c *applet.Cmd) int {
	opts, args, st, ok := c.Parse(applet.Spec{Short: "iu:0C:S:v", Stop: true, Status: 125, Help: "[OPTION]... [-] [NAME=VALUE]... [COMMAND [ARG]...]",
		Long: []string{"ignore-environment/i", "unset=/u", "null/0", "chdir=/C", "split-string=/S"}})
	if !ok {
		return st
	}
	env, end := os.Environ(), "\n"
	remove := func(name string) {
		kept := env[:0:0]
		for _, e := range env {
			if !strings.HasPrefix(e, name+"=") {
				kept = append(kept, e)
			}
		}
		env = kept
	}
	for _, o := range opts {
		switch o.Key {
		case "i":
			env = nil
		case "u":
			remove(o.Arg)
		case "0":
			end = "\x00"
		case "C":
			if err := os.Chdir(o.Arg); err != nil {
				c.Fail("cannot change directory to %s: %s", applet.Quote(o.Arg), applet.Reason(err))
				return 125
			}
		case "S":
			args = append(strings.Fields(o.Arg), args...)
		}
	}
	if len(args) > 0 && args[0] == "-" {
		env, args = nil, args[1:]
	}
	for len(args) > 0 {
		name, _, assigned := strings.Cut(args[0], "=")
		if !assigned || name == "" {
			break
		}
		remove(name)
		env = append(env, args[0])
		args = args[1:]
	}
	if len(args) == 0 {
		for _, e := range env {
			fmt.Fprint(c.Out, e, end)
		}
		return 0
	}
	path := os.Getenv("PATH")
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	return become(c, args, env, path)
}

// Printenv is printenv(1).
func Printenv(c *applet.Cmd) int {
	_, names, st, ok := c.Parse(applet.Spec{Short: "0", Long: []string{"null/0"}, Help: "[VARIABLE]...", Status: 2})
	if !ok {
		return st
	}
	if len(names) == 0 {
		for _, e := range os.Environ() {
			fmt.Fprintln(c.Out, e)
		}
	}
	for _, n := range names {
		v, ok := os.LookupEnv(n)
		if !ok {
			c.Set(1)
			continue
		}
		fmt.Fprintln(c.Out, v)
	}
	return c.Status()
}

// Date is date(1). Setting the clock is the lab's affair.
func Date(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "d:f:I::r:Rs:u", Help: "[OPTION]... [+FORMAT]",
		Long: []string{"date=/d", "iso-8601?/I", "reference=/r", "rfc-email/R", "rfc-2822/R", "rfc-3339=", "set=/s", "utc/u", "universal/u"}})
	if !ok {
		return st
	}
	t, format := time.Now(), "%a %b %e %H:%M:%S %Z %Y"
	when, hasDate := "", false
	for _, o := range opts {
		switch o.Key {
		case "d":
			when, hasDate = o.Arg, true
		case "u":
			t = t.UTC()
		case "r":
			s, err := sys.StatFile(o.Arg, true)
			if err != nil {
				c.Fail("%s: %s", o.Arg, applet.Reason(err))
				return 1
			}
			t = s.Mtime.In(t.Location())
		case "R":
			format = "%a, %d %b %Y %H:%M:%S %z"
		case "I":
			forms := map[string]string{"": "%Y-%m-%d", "date": "%Y-%m-%d", "hours": "%Y-%m-%dT%H%:z", "minutes": "%Y-%m-%dT%H:%M%:z", "seconds": "%Y-%m-%dT%H:%M:%S%:z", "ns": "%Y-%m-%dT%H:%M:%S,%N%:z"}
			f, ok := forms[o.Arg]
			if !ok {
				return c.Usage(1, "invalid argument %s for '--iso-8601'", applet.Quote(o.Arg))
			}
			format = f
		case "rfc-3339":
			forms := map[string]string{"date": "%Y-%m-%d", "seconds": "%Y-%m-%d %H:%M:%S%:z", "ns": "%Y-%m-%d %H:%M:%S.%N%:z"}
			f, ok := forms[o.Arg]
			if !ok {
				return c.Usage(1, "invalid argument %s for '--rfc-3339'", applet.Quote(o.Arg))
			}
			format = f
		case "s":
			c.Fail("cannot set date: Operation not permitted")
			return 1
		}
	}
	if hasDate {
		d, err := files.ParseDate(when, t)
		if err != nil {
			c.Fail("invalid date %s", applet.Quote(when))
			return 1
		}
		t = d
	}
	for i, n := range names {
		if i > 0 {
			return c.Usage(1, "extra operand %s", applet.Quote(n))
		}
		if !strings.HasPrefix(n, "+") {
			c.Fail("invalid date %s", applet.Quote(n))
			return 1
		}
		format = n[1:]
	}
	fmt.Fprintln(c.Out, files.FormatTime(format, t))
	return 0
}

// Duration reads NUMBER[smhd].
func Duration(s string) (time.Duration, bool) {
	unit := time.Second
	num := s
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 's':
			num = s[:n-1]
		case 'm':
			unit, num = time.Minute, s[:n-1]
		case 'h':
			unit, num = time.Hour, s[:n-1]
		case 'd':
			unit, num = 24*time.Hour, s[:n-1]
		}
	}
	if strings.EqualFold(num, "infinity") || strings.EqualFold(num, "inf") {
		return 1<<63 - 1, true
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || f < 0 || f != f {
		return 0, false
	}
	if v := f * float64(unit); v < 9e18 {
		return time.Duration(v), true
	}
	return 1<<63 - 1, true
}

// Sleep is sleep(1).
func Sleep(c *applet.Cmd) int {
	_, args, st, ok := c.Parse(applet.Spec{Help: "NUMBER[SUFFIX]..."})
	if !ok {
		return st
	}
	if len(args) == 0 {
		return c.Usage(1, "missing operand")
	}
	var total time.Duration
	for _, a := range args {
		d, ok := Duration(a)
		if !ok {
			return c.Usage(1, "invalid time interval %s", applet.Quote(a))
		}
		if total += d; total < 0 {
			total = 1<<63 - 1
		}
	}
	c.Out.Flush()
	time.Sleep(total)
	return 0
}

// SignalNumber reads a signal's name or number.
func SignalNumber(s string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), n >= 0 && n < 65
	}
	s = strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for i, n := range signalNames {
		if n == s {
			return syscall.Signal(i), true
		}
	}
	return 0, false
}

var signalNames = [...]string{"EXIT", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
	"STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "POLL", "PWR", "SYS"}

// Timeout is timeout(1).
func Timeout(c *applet.Cmd) int {
	opts, args, st, ok := c.Parse(applet.Spec{Short: "k:s:v", Stop: true, Status: 125, Long: []string{"kill-after=/k", "signal=/s", "foreground", "preserve-status", "verbose/v"}, Help: "[OPTION] DURATION COMMAND [ARG]..."})
	if !ok {
		return st
	}
	sig, killAfter, preserve := syscall.SIGTERM, time.Duration(0), false
	for _, o := range opts {
		switch o.Key {
		case "k":
			d, ok := Duration(o.Arg)
			if !ok {
				return c.Usage(125, "invalid time interval %s", applet.Quote(o.Arg))
			}
			killAfter = d
		case "s":
			s, ok := SignalNumber(o.Arg)
			if !ok {
				return c.Usage(125, "%s: invalid signal", applet.Quote(o.Arg))
			}
			sig = s
		case "preserve-status":
			preserve = true
		}
	}
	if len(args) < 2 {
		fmt.Fprintf(c.Stderr, "Try '%s --help' for more information.\n", c.Name)
		return 125
	}
	limit, ok := Duration(args[0])
	if !ok {
		return c.Usage(125, "invalid time interval %s", applet.Quote(args[0]))
	}
	p, err := lookup(args[1], os.Getenv("PATH"))
	if err != nil {
		c.Fail("failed to run command %s: %s", applet.Quote(args[1]), applet.Reason(err))
		if errors.Is(err, syscall.ENOENT) {
			return 127
		}
		return 126
	}
	cmd := exec.Command(p, args[2:]...)
	cmd.Args[0] = args[1]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		c.Fail("failed to run command %s: %s", applet.Quote(args[1]), applet.Reason(err))
		return 126
	}
	return awaitLimit(cmd, limit, killAfter, sig, preserve)
}

func awaitLimit(cmd *exec.Cmd, limit, killAfter time.Duration, sig syscall.Signal, preserve bool) int {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	passed := make(chan os.Signal, 4)
	signal.Notify(passed, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	var expired, kill <-chan time.Time
	if limit > 0 {
		expired = time.After(limit)
	}
	timedOut := false
	for {
		select {
		case <-done:
			ws := cmd.ProcessState
			code := ws.ExitCode()
			if s, ok := ws.Sys().(syscall.WaitStatus); ok && s.Signaled() {
				code = 128 + int(s.Signal())
				if timedOut && s.Signal() == syscall.SIGKILL { // as the child ended, so that the caller sees it
					sys.Kill(os.Getpid(), syscall.SIGKILL)
				}
			}
			if timedOut && !preserve {
				return 124
			}
			return code
		case s := <-passed:
			cmd.Process.Signal(s)
		case <-expired:
			timedOut = true
			sys.Kill(cmd.Process.Pid, sig)
			sys.Kill(cmd.Process.Pid, syscall.SIGCONT)
			if killAfter > 0 {
				kill = time.After(killAfter)
			}
		case <-kill:
			sys.Kill(cmd.Process.Pid, syscall.SIGKILL)
		}
	}
}

// Nohup is nohup(1).
func Nohup(c *applet.Cmd) int {
	_, args, st, ok := c.Parse(applet.Spec{Stop: true, Status: 125, Help: "COMMAND [ARG]..."})
	if !ok {
		return st
	}
	if len(args) == 0 {
		return c.Usage(125, "missing operand")
	}
	sys.IgnoreSignal(syscall.SIGHUP, true)
	return become(c, args, os.Environ(), os.Getenv("PATH"))
}

// Nice is nice(1).
func Nice(c *applet.Cmd) int {
	opts, args, st, ok := c.Parse(applet.Spec{Short: "n:", Stop: true, Status: 125, Digits: true, Long: []string{"adjustment=/n"}, Help: "[OPTION] [COMMAND [ARG]...]"})
	if !ok {
		return st
	}
	by := 10
	for _, o := range opts {
		n, err := strconv.Atoi(o.Arg)
		if err != nil {
			c.Fail("invalid adjustment %s", applet.Quote(o.Arg))
			return 125
		}
		by = n
	}
	if len(args) == 0 {
		n, err := sys.Nice(0, 0)
		if err != nil {
			c.Fail("cannot get niceness: %s", applet.Reason(err))
			return 125
		}
		fmt.Fprintln(c.Out, n)
		return 0
	}
	if _, err := sys.Nice(0, by); err != nil {
		c.Fail("cannot set niceness: %s", applet.Reason(err))
	}
	return become(c, args, os.Environ(), os.Getenv("PATH"))
}

// Uname is uname(1).
func Uname(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "amnprsvio", Help: "[OPTION]...",
		Long: []string{"all/a", "kernel-name/s", "nodename/n", "kernel-release/r", "kernel-version/v", "machine/m", "processor/p", "hardware-platform/i", "operating-system/o"}})
	if !ok {
		return st
	}
	if len(names) > 0 {
		return c.Usage(1, "extra operand %s", applet.Quote(names[0]))
	}
	u, err := sys.Uname()
	if err != nil {
		c.Fail("cannot get system name: %s", applet.Reason(err))
		return 1
	}
	want := map[string]bool{}
	for _, o := range opts {
		want[o.Key] = true
	}
	if len(want) == 0 {
		want["s"] = true
	}
	var out []string
	for _, f := range []struct{ key, value string }{{"s", u.Sysname}, {"n", u.Nodename}, {"r", u.Release}, {"v", u.Version}, {"m", u.Machine}, {"p", "unknown"}, {"i", "unknown"}, {"o", "GNU/Linux"}} {
		if want[f.key] || want["a"] && f.value != "unknown" {
			out = append(out, f.value)
		}
	}
	fmt.Fprintln(c.Out, strings.Join(out, " "))
	return 0
}

// Arch prints the machine's kind, see arch(1).
func Arch(c *applet.Cmd) int {
	u, err := sys.Uname()
	if err != nil {
		c.Fail("%s", applet.Reason(err))
		return 1
	}
	fmt.Fprintln(c.Out, u.Machine)
	return 0
}

// Hostname is hostname(1).
func Hostname(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "fsdiIF:", Long: []string{"fqdn/f", "long/f", "short/s", "domain/d", "ip-address/i", "all-ip-addresses/I", "file=/F"}, Help: "[OPTION] [NAME]"})
	if !ok {
		return st
	}
	set := ""
	if len(names) > 0 {
		set = names[0]
	}
	mode := ""
	for _, o := range opts {
		mode = o.Key
		if o.Key == "F" {
			data, err := os.ReadFile(o.Arg)
			if err != nil {
				c.Fail("%s: %s", o.Arg, applet.Reason(err))
				return 1
			}
			set = strings.TrimSpace(string(data))
		}
	}
	if set != "" {
		if err := sys.Sethostname(set); err != nil {
			c.Fail("you don't have permission to set the host name: %s", applet.Reason(err))
			return 1
		}
		return 0
	}
	h, err := os.Hostname()
	if err != nil {
		c.Fail("%s", applet.Reason(err))
		return 1
	}
	switch mode {
	case "s":
		h, _, _ = strings.Cut(h, ".")
	case "d":
		_, h, _ = strings.Cut(h, ".")
	case "i", "I":
		h = addresses(h, mode == "I")
	}
	fmt.Fprintln(c.Out, h)
	return 0
}

// addresses finds this machine's addresses in /etc/hosts; all lists every one of them.
func addresses(host string, all bool) string {
	data, _ := os.ReadFile("/etc/hosts")
	var list []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		for i, name := range f {
			if i > 0 && (name == host) && !strings.HasPrefix(f[0], "127.") {
				list = append(list, f[0])
				break
			}
		}
	}
	if all {
		return strings.Join(list, " ") + " "
	}
	return strings.Join(list, " ")
}

// Id is id(1).
func Id(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "aGgnruz", Long: []string{"group/g", "groups/G", "name/n", "real/r", "user/u", "zero/z"}, Help: "[OPTION]... [USER]"})
	if !ok {
		return st
	}
	want := map[string]bool{}
	for _, o := range opts {
		want[o.Key] = true
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	groups, _ := os.Getgroups()
	var ids files.Names
	if len(names) > 0 {
		u, g, ok := userByName(names[0])
		if !ok {
			c.Fail("%s: no such user", applet.Quote(names[0]))
			return 1
		}
		uid, gid, groups = u, g, groupsOf(names[0])
	}
	list := []uint32{gid}
	for _, g := range groups {
		if uint32(g) != gid {
			list = append(list, uint32(g))
		}
	}
	switch {
	case want["u"] && want["n"]:
		fmt.Fprintln(c.Out, ids.User(uid))
	case want["u"]:
		fmt.Fprintln(c.Out, uid)
	case want["g"] && want["n"]:
		fmt.Fprintln(c.Out, ids.Group(gid))
	case want["g"]:
		fmt.Fprintln(c.Out, gid)
	case want["G"]:
		var out []string
		for _, g := range list {
			if want["n"] {
				out = append(out, ids.Group(g))
			} else {
				out = append(out, fmt.Sprint(g))
			}
		}
		fmt.Fprintln(c.Out, strings.Join(out, " "))
	default:
		var out []string
		for _, g := range list {
			out = append(out, fmt.Sprintf("%d%s", g, paren(ids.Group(g), g)))
		}
		fmt.Fprintf(c.Out, "uid=%d%s gid=%d%s groups=%s\n", uid, paren(ids.User(uid), uid), gid, paren(ids.Group(gid), gid), strings.Join(out, ","))
	}
	return 0
}

func paren(name string, id uint32) string {
	if name == fmt.Sprint(id) {
		return ""
	}
	return "(" + name + ")"
}

func userByName(name string) (uid, gid uint32, ok bool) {
	data, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, ":")
		if len(f) > 3 && (f[0] == name || f[2] == name) {
			u, _ := strconv.ParseUint(f[2], 10, 32)
			g, _ := strconv.ParseUint(f[3], 10, 32)
			return uint32(u), uint32(g), true
		}
	}
	return 0, 0, false
}

func groupsOf(name string) (ids []int) {
	data, _ := os.ReadFile("/etc/group")
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		for _, m := range strings.Split(f[3], ",") {
			if m == name {
				g, _ := strconv.Atoi(f[2])
				ids = append(ids, g)
			}
		}
	}
	sort.Ints(ids)
	return ids
}

// Whoami is whoami(1).
func Whoami(c *applet.Cmd) int {
	if _, _, st, ok := c.Parse(applet.Spec{Help: "[OPTION]..."}); !ok {
		return st
	}
	var ids files.Names
	fmt.Fprintln(c.Out, ids.User(uint32(os.Geteuid())))
	return 0
}

// Groups is groups(1).
func Groups(c *applet.Cmd) int {
	for _, name := range c.Args {
		fmt.Fprint(c.Out, name, " : ")
	}
	c.Args = append([]string{"-Gn"}, c.Args...)
	return Id(c)
}

// Which is which(1) as Debian has it.
func Which(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "as", Help: "[-as] args"})
	if !ok {
		return st
	}
	all, silent := false, false
	for _, o := range opts {
		all = all || o.Key == "a"
		silent = silent || o.Key == "s"
	}
	status := 0
	if len(names) == 0 {
		status = 1
	}
	for _, n := range names {
		found := false
		for _, d := range strings.Split(os.Getenv("PATH"), ":") {
			p, err := lookup(n, d)
			if strings.Contains(n, "/") {
				p, err = lookup(n, "")
			}
			if err != nil {
				continue
			}
			found = true
			if !silent {
				fmt.Fprintln(c.Out, p)
			}
			if !all || strings.Contains(n, "/") {
				break
			}
		}
		if !found {
			status = 1
		}
	}
	return status
}

// True and False are true(1) and false(1).
func True(*applet.Cmd) int  { return 0 }
func False(*applet.Cmd) int { return 1 }

// Yes is yes(1).
func Yes(c *applet.Cmd) int {
	line := "y\n"
	if len(c.Args) > 0 {
		line = strings.Join(c.Args, " ") + "\n"
	}
	for {
		if _, err := io.WriteString(c.Out, line); err != nil {
			return 1
		}
	}
}

// Pwd is pwd(1).
func Pwd(c *applet.Cmd) int {
	opts, _, st, ok := c.Parse(applet.Spec{Short: "LP", Long: []string{"logical/L", "physical/P"}, Help: "[OPTION]..."})
	if !ok {
		return st
	}
	logical := false
	for _, o := range opts {
		logical = o.Key == "L"
	}
	if logical {
		if p := os.Getenv("PWD"); strings.HasPrefix(p, "/") {
			a, err1 := os.Stat(p)
			b, err2 := os.Stat(".")
			if err1 == nil && err2 == nil && os.SameFile(a, b) {
				fmt.Fprintln(c.Out, p)
				return 0
			}
		}
	}
	saved := os.Getenv("PWD")
	os.Unsetenv("PWD")
	d, err := os.Getwd()
	os.Setenv("PWD", saved)
	if err != nil {
		c.Fail("%s", applet.Reason(err))
		return 1
	}
	fmt.Fprintln(c.Out, d)
	return 0
}

// Nproc is nproc(1).
func Nproc(c *applet.Cmd) int {
	if _, _, st, ok := c.Parse(applet.Spec{Long: []string{"all", "ignore="}, Help: "[OPTION]..."}); !ok {
		return st
	}
	n := 0
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	fmt.Fprintln(c.Out, max(1, n))
	return 0
}

// Sync is sync(1).
func Sync(c *applet.Cmd) int {
	sys.Sync()
	return 0
}

// Mktemp is mktemp(1).
func Mktemp(c *applet.Cmd) int {
	opts, names, st, ok := c.Parse(applet.Spec{Short: "dp:qtu", Long: []string{"directory/d", "tmpdir?/p", "quiet/q", "dry-run/u", "suffix="}, Help: "[OPTION]... [TEMPLATE]"})
	if !ok {
		return st
	}
	dir, makeDir, dry, suffix := "", false, false, ""
	inTmp := len(names) == 0
	for _, o := range opts {
		switch o.Key {
		case "d":
			makeDir = true
		case "p":
			dir, inTmp = o.Arg, true
		case "t":
			inTmp = true
		case "u":
			dry = true
		case "suffix":
			suffix = o.Arg
		}
	}
	template := "tmp.XXXXXXXXXX"
	if len(names) > 0 {
		template = names[0]
	}
	x := strings.TrimRight(template, "X")
	if len(template)-len(x) < 3 {
		c.Fail("too few X's in template %s", applet.Quote(template))
		return 1
	}
	if inTmp {
		if dir == "" {
			dir = os.TempDir()
		}
		x = strings.TrimSuffix(dir, "/") + "/" + x
	}
	kind := "file"
	if makeDir {
		kind = "directory"
	}
	for range 100 {
		name := x + randomName(len(template)-len(strings.TrimRight(template, "X"))) + suffix
		var err error
		switch {
		case dry:
			_, err = os.Lstat(name)
			if err == nil {
				continue
			}
			err = nil
		case makeDir:
			err = os.Mkdir(name, 0o700)
		default:
			var f *os.File
			if f, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
				f.Close()
			}
		}
		if err == nil {
			fmt.Fprintln(c.Out, name)
			return 0
		}
		if !errors.Is(err, os.ErrExist) {
			c.Fail("failed to create %s via template %s: %s", kind, applet.Quote(x+template[len(strings.TrimRight(template, "X")):]), applet.Reason(err))
			return 1
		}
	}
	c.Fail("no free name for %s", applet.Quote(template))
	return 1
}

// SignalName is a signal's name without SIG, or its number.
func SignalName(s syscall.Signal) string {
	if s >= 0 && int(s) < len(signalNames) {
		return signalNames[s]
	}
	return strconv.Itoa(int(s))
}
