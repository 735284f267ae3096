package main

import (
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"mvdan.cc/sh/v3/interp"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// signalNames are Linux's, in order.
var signalNames = [...]string{"EXIT", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
	"STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}

// signalNumber reads TERM, SIGTERM, term or 15.
func signalNumber(name string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return syscall.Signal(n), n >= 0 && n < 65
	}
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for i, s := range signalNames {
		if s == name {
			return syscall.Signal(i), true
		}
	}
	return 0, false
}

// traps are the commands that signals run between two commands of a script.
type traps struct {
	mu      sync.Mutex
	text    map[syscall.Signal]string // "" ignores
	pending []syscall.Signal
	arrived chan struct{} // one token per arrival, for wait
}

// raise notes a signal. It reports false when no trap is set for it.
func (t *traps) raise(sig syscall.Signal) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.text[sig] == "" {
		return false
	}
	t.pending = append(t.pending, sig)
	select {
	case t.arrived <- struct{}{}:
	default:
	}
	return true
}

// take returns the commands of all pending traps, joined, or "". Status is kept around them.
func (t *traps) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) == 0 {
		return ""
	}
	var b strings.Builder
	for _, sig := range t.pending {
		b.WriteString(t.text[sig] + "\n")
	}
	t.pending = nil
	return strings.TrimSuffix(b.String(), "\n")
}

// trap serves the builtin for signals and leaves EXIT and ERR to the interpreter.
func (s *shell) trap(hc *interp.HandlerContext, args []string) []string {
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	s.traps.mu.Lock()
	defer s.traps.mu.Unlock()
	if len(rest) == 0 || rest[0] == "-p" {
		sigs := []int{}
		for sig := range s.traps.text {
			sigs = append(sigs, int(sig))
		}
		sort.Ints(sigs)
		for _, sig := range sigs {
			fmt.Fprintf(hc.Stdout, "trap -- %s SIG%s\n", quoteSingle(s.traps.text[syscall.Signal(sig)]), signalNames[sig])
		}
		return []string{"trap"}
	}
	if rest[0] == "-l" {
		for i := 1; i < len(signalNames); i++ {
			fmt.Fprintf(hc.Stdout, "%2d) SIG%s\n", i, signalNames[i])
		}
		return []string{"true"}
	}
	action, names := rest[0], rest[1:]
	if len(rest) == 1 {
		action, names = "-", rest
	}
	left := []string{"trap", action}
	for _, name := range names {
		sig, ok := signalNumber(name)
		switch {
		case strings.EqualFold(name, "ERR") || ok && sig == 0:
			if sig == 0 && ok {
				name = "EXIT"
			}
			left = append(left, strings.ToUpper(name))
		case !ok || int(sig) >= len(signalNames):
			s.errorf(hc, "trap: %s: invalid signal specification", name)
			return []string{"false"}
		default:
			s.setTrap(sig, action)
		}
	}
	if len(left) == 2 {
		return []string{"true"}
	}
	return left
}

// setTrap registers action with the kernel. The caller holds traps.mu.
func (s *shell) setTrap(sig syscall.Signal, action string) {
	if s.traps.text == nil {
		s.traps.text = map[syscall.Signal]string{}
		s.traps.arrived = make(chan struct{}, 1)
	}
	switch action {
	case "-":
		delete(s.traps.text, sig)
		if !s.interactive && sig != syscall.SIGCHLD {
			signal.Reset(sig)
		}
	case "":
		s.traps.text[sig] = ""
		sys.IgnoreSignal(sig, true)
	default:
		s.traps.text[sig] = action
		signal.Notify(s.signals, sig)
	}
}

func quoteSingle(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// watchSignals is the one place where signals arrive. It ends with the process.
func (s *shell) watchSignals() {
	for got := range s.signals {
		sig, _ := got.(syscall.Signal)
		if sig == syscall.SIGCHLD {
			s.reap()
		}
		trapped := s.traps.raise(sig)
		if !s.interactive {
			continue
		}
		switch {
		case sig == syscall.SIGINT && !(trapped && s.running()):
			s.interrupt()
		case trapped:
		case sig == syscall.SIGHUP:
			s.hangUp()
		}
	}
}

// hangUp passes the loss of the terminal on to all jobs and ends the shell.
func (s *shell) hangUp() {
	s.mu.Lock()
	for _, j := range s.jobs {
		if j.pgid != 0 && j.live() > 0 {
			sys.Kill(-j.pgid, syscall.SIGHUP)
			sys.Kill(-j.pgid, syscall.SIGCONT)
		}
	}
	s.mu.Unlock()
	s.close()
	os.Exit(129)
}

// runPendingTraps runs traps between two top-level commands.
func (s *shell) runPendingTraps() {
	if s.runner.Exited() {
		return
	}
	if text := s.traps.take(); text != "" {
		code := s.status
		s.eval(text)
		if !s.runner.Exited() {
			s.status = code
		}
	}
}
