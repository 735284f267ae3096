package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/interp"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

type jobKey struct{}

// proc is one child of the shell.
type proc struct {
	pid    int
	job    *job
	status sys.WaitStatus // protected by shell.mu
	ended  bool           // protected by shell.mu
	halted bool           // protected by shell.mu: stopped by a signal
}

// job is what was started by one command line: a process group under job control. All fields but text are protected by shell.mu.
type job struct {
	number     int // 0 while it is in the foreground and was never stopped
	pgid       int
	text       string
	procs      []*proc
	background bool
	changed    chan struct{} // closed and renewed when a process changes state
	reported   string        // state shown last
	saved      *sys.Termios  // terminal state when it was stopped
}

func (j *job) live() (n int) {
	for _, p := range j.procs {
		if !p.ended {
			n++
		}
	}
	return n
}

func (j *job) stopped() bool {
	halted := false
	for _, p := range j.procs {
		if !p.ended && !p.halted {
			return false
		}
		halted = halted || !p.ended && p.halted
	}
	return halted
}

func (j *job) last() *proc {
	if len(j.procs) == 0 {
		return nil
	}
	return j.procs[len(j.procs)-1]
}

// state is the word jobs prints.
func (j *job) state() string {
	p := j.last()
	switch {
	case j.stopped():
		return "Stopped"
	case j.live() > 0 || p == nil:
		return "Running"
	case p.status.Signaled():
		return signalText(p.status.Signal())
	case p.status.ExitStatus() != 0:
		return fmt.Sprintf("Exit %d", p.status.ExitStatus())
	}
	return "Done"
}

// signalText is what bash says of a child that a signal ended.
func signalText(sig syscall.Signal) string {
	switch sig {
	case 1:
		return "Hangup"
	case 2:
		return "Interrupt"
	case 3:
		return "Quit"
	case 4:
		return "Illegal instruction"
	case 6:
		return "Aborted"
	case 8:
		return "Floating point exception"
	case 9:
		return "Killed"
	case 11:
		return "Segmentation fault"
	case 13:
		return "Broken pipe"
	case 15:
		return "Terminated"
	}
	return fmt.Sprintf("Signal %d", int(sig))
}

// takeControl makes an interactive shell the leader of its terminal: an own process group in the foreground.
func (s *shell) takeControl() {
	if !sys.IsTerminal(0) {
		return
	}
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP)
	pgrp, err := sys.Getpgid(0)
	if err != nil {
		return
	}
	if pid := os.Getpid(); pgrp != pid {
		if sys.Setpgid(0, pid) == nil {
			pgrp = pid
		}
	}
	s.pgrp = pgrp
	if s.cooked, err = sys.Tcgetattr(0); err != nil {
		return
	}
	if s.giveTerminal(0, pgrp) == nil {
		s.tty = 0
	}
}

// giveTerminal puts a process group in the foreground. The shell may be in the background when it does,
// so SIGTTOU must be ignored; no child is started meanwhile that would inherit that.
func (s *shell) giveTerminal(tty, pgrp int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sys.IgnoreSignal(syscall.SIGTTOU, true)
	defer sys.IgnoreSignal(syscall.SIGTTOU, false)
	return sys.Tcsetpgrp(tty, pgrp)
}

// resetSignals undoes what a program that takes the shell's place must not inherit.
func (s *shell) resetSignals() { signal.Reset() }

// spawn starts a child with the descriptors fds and enters it into job j (nil: none, and no process group of its own).
func (s *shell) spawn(path string, args, env []string, dir string, fds []int, j *job) (*proc, error) {
	a := &sys.SpawnAttr{Dir: dir, Env: env, Files: fds}
	if a.Env == nil {
		a.Env = []string{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	control := s.tty >= 0 && j != nil
	if control {
		a.Setpgid = true
		if j.live() > 0 {
			a.Pgid = j.pgid
		}
		if !j.background {
			a.Foreground, a.TTY = true, s.tty
		}
	}
	pid, err := sys.Spawn(path, args, a)
	if err != nil && control && a.Pgid != 0 && err == syscall.EPERM { // the group has ended meanwhile
		a.Pgid = 0
		pid, err = sys.Spawn(path, args, a)
	}
	if err != nil {
		return nil, err
	}
	p := &proc{pid: pid, job: j}
	if j == nil {
		p.job = &job{changed: make(chan struct{})}
		p.job.procs = []*proc{p}
	} else {
		j.procs = append(j.procs, p)
		if control && a.Pgid == 0 {
			j.pgid = pid
		}
	}
	s.procs[pid] = p
	return p, nil
}

// reap takes the news of all children. It runs on every SIGCHLD.
func (s *shell) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		pid, ws, use, err := sys.Wait(-1, sys.WNOHANG|sys.WUNTRACED|sys.WCONTINUED)
		if err != nil || pid <= 0 {
			return
		}
		p := s.procs[pid]
		if p == nil {
			continue // an orphan that became ours
		}
		switch {
		case ws.Stopped():
			p.halted = true
		case ws.Continued():
			p.halted = false
		default:
			p.ended, p.halted = true, false
			delete(s.procs, pid)
			s.used.User += use.User
			s.used.System += use.System
		}
		p.status = ws
		close(p.job.changed)
		p.job.changed = make(chan struct{})
	}
}

// waitForeground waits until p ends or its job is stopped, and returns the code for $?.
func (s *shell) waitForeground(p *proc) int {
	for {
		s.mu.Lock()
		changed, ended, halted, ws := p.job.changed, p.ended, p.halted, p.status
		last := ended && p.job.live() == 0
		s.mu.Unlock()
		switch {
		case ended:
			if last && s.tty >= 0 {
				s.giveTerminal(s.tty, s.pgrp)
			}
			if ws.Signaled() {
				s.tellSignal(p, ws)
			}
			return ws.ShellCode()
		case halted && s.tty >= 0:
			s.interrupt()
			return ws.ShellCode()
		}
		<-changed
	}
}

// tellSignal prints what ended a foreground child, and lets an interrupt end the whole command line.
func (s *shell) tellSignal(p *proc, ws sys.WaitStatus) {
	switch sig := ws.Signal(); {
	case sig == syscall.SIGINT:
		if s.interactive {
			s.interrupt()
		} else {
			s.current()
		}
	case sig == syscall.SIGPIPE:
	case p.job.last() == p:
		core := ""
		if ws.CoreDump() {
			core = " (core dumped)"
		}
		if s.interactive {
			fmt.Fprintf(os.Stderr, "%s%s\n", signalText(sig), core)
		} else {
			fmt.Fprintf(os.Stderr, "%s: %d %s%s\n", s.name, p.pid, signalText(sig), core)
		}
	}
}

// interrupt ends the command line that runs, or else the one that is edited or about to run.
func (s *shell) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current()
		return
	}
	select {
	case s.struck <- struct{}{}:
	default:
	}
}

// afterJob puts the terminal back in order when a command line is through, and keeps a stopped job for fg and bg.
func (s *shell) afterJob(j *job) {
	if s.tty < 0 {
		return
	}
	s.mu.Lock()
	stopped := j.stopped()
	interrupted := false
	for _, p := range j.procs {
		interrupted = interrupted || p.ended && p.status.Signaled() && p.status.Signal() == syscall.SIGINT
	}
	s.mu.Unlock()
	if len(j.procs) > 0 {
		s.giveTerminal(s.tty, s.pgrp)
	}
	if stopped {
		j.saved, _ = sys.Tcgetattr(s.tty)
		s.mu.Lock()
		s.keep(j)
		j.reported = "Stopped"
		line := s.describe(j, false)
		s.mu.Unlock()
		fmt.Fprintf(os.Stderr, "\n%s\n", line)
	} else if interrupted {
		fmt.Fprintln(os.Stderr)
	}
	if stopped || interrupted {
		sys.Tcsetattr(s.tty, sys.TCSADRAIN, s.cooked)
	} else if now, err := sys.Tcgetattr(s.tty); err == nil && len(j.procs) > 0 {
		s.cooked = now // what stty set stays
	}
}

// keep gives a job the next number. The caller holds mu.
func (s *shell) keep(j *job) {
	if j.number != 0 {
		return
	}
	for _, o := range s.jobs {
		j.number = max(j.number, o.number)
	}
	j.number++
	s.jobs = append(s.jobs, j)
}

// describe is a line of jobs. The caller holds mu.
func (s *shell) describe(j *job, pids bool) string {
	mark := " "
	if n := len(s.jobs); n > 0 && s.jobs[n-1] == j {
		mark = "+"
	} else if n > 1 && s.jobs[n-2] == j {
		mark = "-"
	}
	pid := ""
	if pids && len(j.procs) > 0 {
		pid = fmt.Sprintf("%d ", j.procs[0].pid)
	}
	amp := ""
	if j.state() == "Running" {
		amp = " &"
	}
	return fmt.Sprintf("[%d]%s  %s%-24s%s%s", j.number, mark, pid, j.state(), j.text, amp)
}

// reportJobs prints the background jobs that ended since the last prompt and forgets them.
func (s *shell) reportJobs(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := []*job{}
	for _, j := range s.jobs {
		if j.live() > 0 {
			if st := j.state(); st == "Stopped" && j.reported != st {
				j.reported = st
				fmt.Fprintln(w, s.describe(j, false))
			}
			kept = append(kept, j)
			continue
		}
		if s.interactive {
			fmt.Fprintln(w, s.describe(j, false))
		}
	}
	s.jobs = kept
}

// startBackground serves the rewritten `X &`.
func (s *shell) startBackground(hc *interp.HandlerContext, args []string) (pid int, code int) {
	number, err := strconv.Atoi(args[1])
	if err != nil || number >= len(s.rewrite.texts) {
		return 0, 127
	}
	text, rest := s.rewrite.texts[number], args[2:]
	j := &job{text: text, background: true, changed: make(chan struct{})}
	inner := *hc
	if s.tty < 0 && hc.Stdin == io.Reader(os.Stdin) {
		null, err := os.Open(os.DevNull)
		if err == nil {
			defer null.Close()
			inner.Stdin = null
		}
	}
	var path string
	if args[0] == bgSimple && !s.internal(rest[0]) {
		var ok bool
		if path, code, ok = s.find(hc, rest[0]); !ok {
			return 0, code
		}
	} else {
		if path, err = sys.SelfPath(); err != nil {
			s.errorf(hc, "%s", reason(err))
			return 0, 126
		}
		script := text
		if args[0] == bgSimple {
			script = quoteAll(rest)
			rest = nil
		}
		rest = append([]string{s.rewrite.zero, "-c", s.inherit(hc, script), s.rewrite.zero}, rest...)
	}
	p, _, err := s.start(&inner, path, rest, j)
	if err != nil {
		return 0, s.startError(hc, rest[0], path, err)
	}
	s.mu.Lock()
	s.keep(j)
	s.mu.Unlock()
	if s.interactive {
		fmt.Fprintf(os.Stderr, "[%d] %d\n", j.number, p.pid)
	}
	return p.pid, 0
}

// findJob resolves %1, %+, %-, %name, a pid, or "" (the current job). The caller holds mu.
func (s *shell) findJob(spec string) *job {
	n := len(s.jobs)
	switch {
	case spec == "" || spec == "%" || spec == "%+" || spec == "%%":
		if n > 0 {
			return s.jobs[n-1]
		}
	case spec == "%-":
		if n > 1 {
			return s.jobs[n-2]
		}
	case strings.HasPrefix(spec, "%"):
		number, err := strconv.Atoi(spec[1:])
		for _, j := range s.jobs {
			if err == nil && j.number == number || err != nil && strings.HasPrefix(j.text, spec[1:]) {
				return j
			}
		}
	default:
		pid, err := strconv.Atoi(spec)
		for _, j := range s.jobs {
			for _, p := range j.procs {
				if err == nil && p.pid == pid {
					return j
				}
			}
		}
	}
	return nil
}

// resume continues a stopped job, in the foreground or the background.
func (s *shell) resume(hc *interp.HandlerContext, name, spec string, foreground bool) int {
	s.mu.Lock()
	j := s.findJob(spec)
	if j == nil {
		s.mu.Unlock()
		if spec == "" {
			spec = "current"
		}
		s.errorf(hc, "%s: %s: no such job", name, spec)
		return 1
	}
	pgid, saved := j.pgid, j.saved
	j.background = !foreground
	j.reported = ""
	for _, p := range j.procs {
		p.halted = false
	}
	if !foreground {
		fmt.Fprintf(hc.Stdout, "[%d]+ %s &\n", j.number, j.text)
		s.mu.Unlock()
		sys.Kill(-pgid, syscall.SIGCONT)
		return 0
	}
	for i, o := range s.jobs {
		if o == j {
			s.jobs = append(s.jobs[:i:i], s.jobs[i+1:]...)
			break
		}
	}
	j.number = 0
	s.mu.Unlock()
	fmt.Fprintln(hc.Stdout, j.text)
	if s.tty >= 0 {
		s.giveTerminal(s.tty, pgid)
		if saved != nil {
			sys.Tcsetattr(s.tty, sys.TCSADRAIN, saved)
		}
	}
	sys.Kill(-pgid, syscall.SIGCONT)
	code := 0
	for _, p := range j.procs {
		code = s.waitForeground(p)
	}
	s.afterJob(j)
	return code
}
