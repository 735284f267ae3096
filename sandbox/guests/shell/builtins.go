package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/interp"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// ourPrefix marks builtins served here instead of by the interpreter.
const ourPrefix = "__drydock_builtin_"

type builtinFunc func(s *shell, hc *interp.HandlerContext, args []string) int

func ours(name string) bool {
	_, ok := builtin(ourPrefix + name)
	return ok
}

func builtin(name string) (builtinFunc, bool) {
	name, ok := strings.CutPrefix(name, ourPrefix)
	if !ok {
		return nil, false
	}
	switch name {
	case "jobs":
		return (*shell).doJobs, true
	case "fg":
		return (*shell).doFg, true
	case "bg":
		return (*shell).doBg, true
	case "wait":
		return (*shell).doWait, true
	case "kill":
		return (*shell).doKill, true
	case "disown":
		return (*shell).doDisown, true
	case "history":
		return (*shell).doHistory, true
	case "help":
		return (*shell).doHelp, true
	case "umask":
		return (*shell).doUmask, true
	case "ulimit":
		return (*shell).doUlimit, true
	case "times":
		return (*shell).doTimes, true
	case "hash", "bind", "complete", "compopt", "enable":
		return (*shell).doNothing, true
	}
	return nil, false
}

// doNothing accepts what start-up files say about features that are always as they are here.
func (s *shell) doNothing(hc *interp.HandlerContext, args []string) int { return 0 }

func (s *shell) doJobs(hc *interp.HandlerContext, args []string) int {
	pids := len(args) > 1 && args[1] == "-l"
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := []*job{}
	for _, j := range s.jobs {
		if len(args) > 1 && args[1] == "-p" {
			fmt.Fprintln(hc.Stdout, j.procs[0].pid)
		} else {
			fmt.Fprintln(hc.Stdout, s.describe(j, pids))
		}
		j.reported = j.state()
		if j.live() > 0 || !s.interactive {
			kept = append(kept, j)
		}
	}
	s.jobs = kept
	return 0
}

func (s *shell) doFg(hc *interp.HandlerContext, args []string) int {
	if s.tty < 0 {
		s.errorf(hc, "fg: no job control")
		return 1
	}
	return s.resume(hc, "fg", strings.Join(args[1:], " "), true)
}

func (s *shell) doBg(hc *interp.HandlerContext, args []string) int {
	if s.tty < 0 {
		s.errorf(hc, "bg: no job control")
		return 1
	}
	if len(args) == 1 {
		args = append(args, "")
	}
	code := 0
	for _, a := range args[1:] {
		code = s.resume(hc, "bg", a, false)
	}
	return code
}

// doWait waits for jobs; a trapped signal ends it with 128+n, and the trap runs.
func (s *shell) doWait(hc *interp.HandlerContext, args []string) int {
	specs := args[1:]
	anyOne := len(specs) > 0 && specs[0] == "-n"
	if anyOne {
		specs = specs[1:]
	}
	var list []*proc
	s.mu.Lock()
	if len(specs) == 0 {
		for _, j := range s.jobs {
			list = append(list, j.procs...)
		}
	}
	s.mu.Unlock()
	code := 0
	for _, spec := range specs {
		s.mu.Lock()
		j := s.findJob(spec)
		s.mu.Unlock()
		if j == nil {
			if _, err := strconv.Atoi(spec); err == nil {
				s.errorf(hc, "wait: pid %s is not a child of this shell", spec)
			} else {
				s.errorf(hc, "wait: %s: no such job", spec)
			}
			code = 127
			continue
		}
		list = append(list, j.last())
	}
	if anyOne {
		return s.awaitAny(list)
	}
	for _, p := range list {
		c, trapped := s.await(p)
		if trapped {
			return c
		}
		if len(specs) > 0 {
			code = c
			s.forget(p.job)
		}
	}
	if len(specs) == 0 {
		s.mu.Lock()
		s.jobs = nil
		s.mu.Unlock()
	}
	return code
}

func (s *shell) forget(done *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, j := range s.jobs {
		if j == done && j.live() == 0 {
			s.jobs = append(s.jobs[:i:i], s.jobs[i+1:]...)
			return
		}
	}
}

// await waits for the end of p; trapped says that a signal with a trap came first.
func (s *shell) await(p *proc) (code int, trapped bool) {
	for {
		s.mu.Lock()
		ended, changed, ws := p.ended, p.job.changed, p.status
		s.mu.Unlock()
		if ended {
			return ws.ShellCode(), false
		}
		s.traps.mu.Lock()
		if n := len(s.traps.pending); n > 0 {
			sig := s.traps.pending[n-1]
			s.traps.mu.Unlock()
			return 128 + int(sig), true
		}
		arrived := s.traps.arrived
		s.traps.mu.Unlock()
		select {
		case <-changed:
		case <-arrived:
		case <-s.interrupted():
			return 130, true
		}
	}
}

// awaitAny waits until one of list has ended.
func (s *shell) awaitAny(list []*proc) int {
	if len(list) == 0 {
		return 127
	}
	first := make(chan int, len(list))
	for _, p := range list {
		go func() {
			code, trapped := s.await(p)
			if !trapped {
				s.forget(p.job)
			}
			first <- code
		}()
	}
	return <-first
}

func (s *shell) doKill(hc *interp.HandlerContext, args []string) int {
	args = args[1:]
	sig := syscall.SIGTERM
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "--" {
		name := args[0][1:]
		args = args[1:]
		switch {
		case name == "l" || name == "L":
			return s.listSignals(hc, args)
		case (name == "s" || name == "n") && len(args) > 0:
			name, args = args[0], args[1:]
		}
		n, ok := signalNumber(name)
		if !ok {
			s.errorf(hc, "kill: %s: invalid signal specification", name)
			return 1
		}
		sig = n
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(hc.Stderr, "kill: usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]")
		return 2
	}
	code := 0
	for _, a := range args {
		code = max(code, s.killOne(hc, a, sig))
	}
	return code
}

// listSignals is kill -l: the table, or for each number (or exit status) the name and for each name the number.
func (s *shell) listSignals(hc *interp.HandlerContext, args []string) int {
	if len(args) == 0 {
		for i := 1; i < len(signalNames); i++ {
			fmt.Fprintf(hc.Stdout, "%2d) SIG%-10s", i, signalNames[i])
			if i%5 == 0 || i == len(signalNames)-1 {
				fmt.Fprintln(hc.Stdout)
			}
		}
		return 0
	}
	code := 0
	for _, a := range args {
		n, err := strconv.Atoi(a)
		if n > 128 {
			n -= 128
		}
		sig, ok := signalNumber(a)
		switch {
		case err == nil && n >= 0 && n < len(signalNames):
			fmt.Fprintln(hc.Stdout, signalNames[n])
		case err != nil && ok:
			fmt.Fprintln(hc.Stdout, int(sig))
		default:
			s.errorf(hc, "kill: %s: invalid signal specification", a)
			code = 1
		}
	}
	return code
}

func (s *shell) killOne(hc *interp.HandlerContext, target string, sig syscall.Signal) int {
	pid, err := strconv.Atoi(target)
	if err != nil {
		s.mu.Lock()
		j := s.findJob(target)
		s.mu.Unlock()
		if !strings.HasPrefix(target, "%") {
			s.errorf(hc, "kill: %s: arguments must be process or job IDs", target)
			return 1
		}
		if j == nil {
			s.errorf(hc, "kill: %s: no such job", target)
			return 1
		}
		pid = j.procs[0].pid
		if s.tty >= 0 {
			pid = -j.pgid
		}
		if j.stopped() && (sig == syscall.SIGTERM || sig == syscall.SIGHUP) {
			defer sys.Kill(pid, syscall.SIGCONT)
		}
	}
	if pid == os.Getpid() && s.traps.raise(sig) {
		return 0 // the trap runs before the next command, as when the signal had come
	}
	if err := sys.Kill(pid, sig); err != nil {
		s.errorf(hc, "kill: (%s) - %s", target, reason(err))
		return 1
	}
	return 0
}

func (s *shell) doDisown(hc *interp.HandlerContext, args []string) int {
	spec := strings.Join(args[1:], " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.findJob(strings.TrimPrefix(spec, "-h "))
	for i, o := range s.jobs {
		if o == j {
			s.jobs = append(s.jobs[:i:i], s.jobs[i+1:]...)
			return 0
		}
	}
	s.errorf(hc, "disown: %s: no such job", spec)
	return 1
}

func (s *shell) doHistory(hc *interp.HandlerContext, args []string) int {
	if s.history == nil {
		return 0
	}
	if len(args) > 1 && args[1] == "-c" {
		s.history.lines = nil
		return 0
	}
	from := 0
	if len(args) > 1 {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 0 {
			s.errorf(hc, "history: %s: numeric argument required", args[1])
			return 1
		}
		from = max(0, len(s.history.lines)-n)
	}
	for i := from; i < len(s.history.lines); i++ {
		fmt.Fprintf(hc.Stdout, "%5d  %s\n", i+1, s.history.lines[i])
	}
	return 0
}

func (s *shell) doUmask(hc *interp.HandlerContext, args []string) int {
	if len(args) == 1 || args[1] == "-S" {
		old := sys.Umask(0)
		sys.Umask(old)
		if len(args) == 1 {
			fmt.Fprintf(hc.Stdout, "%04o\n", old)
			return 0
		}
		part := func(shift int) string {
			out := ""
			for i, c := range "rwx" {
				if old>>shift&(4>>i) == 0 {
					out += string(c)
				}
			}
			return out
		}
		fmt.Fprintf(hc.Stdout, "u=%s,g=%s,o=%s\n", part(6), part(3), part(0))
		return 0
	}
	n, err := strconv.ParseUint(args[1], 8, 32)
	if err != nil || n > 0o777 {
		s.errorf(hc, "umask: %s: octal number out of range", args[1])
		return 1
	}
	sys.Umask(int(n))
	return 0
}

// limits are what ulimit shows: those resources the kernel keeps.
var limits = [...]struct {
	letter   byte
	name     string
	unit     string
	resource int
	scale    uint64
}{
	{'c', "core file size", "(blocks, -c)", sys.RLIMIT_CORE, 512},
	{'f', "file size", "(blocks, -f)", sys.RLIMIT_FSIZE, 1024},
	{'n', "open files", "(-n)", sys.RLIMIT_NOFILE, 1},
	{'u', "max user processes", "(-u)", sys.RLIMIT_NPROC, 1},
	{'v', "virtual memory", "(kbytes, -v)", sys.RLIMIT_AS, 1024},
}

func (s *shell) doUlimit(hc *interp.HandlerContext, args []string) int {
	hard, letter, value := false, byte('f'), ""
	for _, a := range args[1:] {
		if !strings.HasPrefix(a, "-") {
			value = a
			continue
		}
		for _, c := range []byte(a[1:]) {
			switch c {
			case 'H':
				hard = true
			case 'S':
			default:
				letter = c
			}
		}
	}
	for _, l := range limits {
		if letter != 'a' && letter != l.letter {
			continue
		}
		rl, err := sys.Getrlimit(l.resource)
		if err != nil {
			s.errorf(hc, "ulimit: %s: cannot get limit: %s", l.name, reason(err))
			return 1
		}
		if value != "" && letter != 'a' {
			return s.setLimit(hc, l.name, l.resource, l.scale, rl, value)
		}
		n := rl.Soft
		if hard {
			n = rl.Hard
		}
		text := "unlimited"
		if n != sys.RLIM_INFINITY {
			text = strconv.FormatUint(n/l.scale, 10)
		}
		if letter == 'a' {
			fmt.Fprintf(hc.Stdout, "%-26s%13s %s\n", l.name, l.unit, text)
			continue
		}
		fmt.Fprintln(hc.Stdout, text)
		return 0
	}
	if letter != 'a' {
		s.errorf(hc, "ulimit: -%c: this kernel has no such limit", letter)
		return 1
	}
	return 0
}

func (s *shell) setLimit(hc *interp.HandlerContext, name string, resource int, scale uint64, rl sys.Rlimit, value string) int {
	n := sys.RLIM_INFINITY
	if value != "unlimited" {
		v, err := strconv.ParseUint(value, 10, 53)
		if err != nil {
			s.errorf(hc, "ulimit: %s: invalid number", value)
			return 1
		}
		n = v * scale
	}
	rl.Soft = n
	rl.Hard = min(rl.Hard, n)
	if err := sys.Setrlimit(resource, rl); err != nil {
		s.errorf(hc, "ulimit: %s: cannot modify limit: %s", name, reason(err))
		return 1
	}
	return 0
}

// doTimes prints the CPU time of the shell and of its children that have ended.
func (s *shell) doTimes(hc *interp.HandlerContext, args []string) int {
	s.mu.Lock()
	children := s.used
	s.mu.Unlock()
	user, system := ownTimes()
	text := func(d time.Duration) string {
		return fmt.Sprintf("%dm%.3fs", int(d.Minutes()), (d % time.Minute).Seconds())
	}
	fmt.Fprintf(hc.Stdout, "%s %s\n%s %s\n", text(user), text(system), text(children.User), text(children.System))
	return 0
}

// ownTimes reads the shell's CPU time from /proc/self/stat (proc(5): fields 14 and 15, in hundredths of a second).
func ownTimes() (user, system time.Duration) {
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, 0
	}
	u, _ := strconv.ParseInt(fields[11], 10, 64)
	k, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(u) * 10 * time.Millisecond, time.Duration(k) * 10 * time.Millisecond
}

func (s *shell) doHelp(hc *interp.HandlerContext, args []string) int {
	fmt.Fprint(hc.Stdout, helpText)
	return 0
}

const helpText = `Drydock's shell: the language of bash by mvdan.cc/sh, over real processes.

  Moving and looking    cd DIR   pwd   ls -l   cat FILE   less FILE   history
  Jobs                  COMMAND &   jobs   fg   bg   kill %1   Ctrl-Z stops, Ctrl-C ends
  Variables             NAME=value   export NAME   echo "$NAME"   unset NAME
  Shortcuts             alias k=kubectl   type NAME   source FILE   set -e
  Keys                  Tab completes   Ctrl-R searches the history   Ctrl-A/E start/end   Ctrl-U clears   Ctrl-L clears the screen

Builtins: . : [ alias bg break cd command continue declare dirs disown echo eval exec exit export false fg getopts hash help
history jobs kill let local logout mapfile popd printf pushd pwd read readonly return set shift shopt source test times trap true
type ulimit umask unalias unset wait

What differs from a Linux machine: drydock differences
`
