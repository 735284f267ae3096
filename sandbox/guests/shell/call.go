package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// call sees every simple command before it runs. It may answer with another one, which the interpreter runs in its place:
// that is how background jobs set a variable, traps run between commands and our builtins take the place of the library's.
func (s *shell) call(ctx context.Context, args []string) ([]string, error) {
	hc := interp.HandlerCtx(ctx)
	s.breathe()
	if text := s.traps.take(); text != "" {
		return []string{"eval", text + "\n" + quoteAll(args)}, nil
	}
	name := args[0]
	switch name {
	case bgSimple, bgCompound:
		pid, code := s.startBackground(&hc, args)
		if pid == 0 {
			return []string{"eval", fmt.Sprintf("(exit %d)", code)}, nil
		}
		return []string{"eval", fmt.Sprintf("%s=%d", bangVar, pid)}, nil
	case "cd":
		return s.checkCd(&hc, args), nil
	case "trap":
		return s.trap(&hc, args), nil
	case "return", "exit", "logout":
		return s.checkExit(&hc, args)
	}
	if _, ok := builtin(name); !ok && ours(name) && !s.isFunction(name) {
		return append([]string{ourPrefix + name}, args[1:]...), nil
	}
	return args, nil
}

// breathe lets signals in. A loop of builtins never waits, and a guest has one thread: without a moment of idleness
// neither Ctrl-C nor a trap would be seen.
func (s *shell) breathe() {
	if now := time.Now(); now.Sub(s.breathed) > 20*time.Millisecond {
		time.Sleep(time.Microsecond)
		s.breathed = now
	}
}

func (s *shell) isFunction(name string) bool { return s.runner.Funcs[name] != nil }

func (s *shell) internal(name string) bool {
	return s.isFunction(name) || interp.IsBuiltin(name)
}

// checkCd prints bash's messages; the interpreter's differ.
func (s *shell) checkCd(hc *interp.HandlerContext, args []string) []string {
	var dirs []string
	for _, a := range args[1:] {
		if a == "-L" || a == "-P" || a == "--" || a == "-e" {
			continue
		}
		dirs = append(dirs, a)
	}
	target := hc.Env.Get("HOME").String()
	switch {
	case len(dirs) > 1:
		s.errorf(hc, "cd: too many arguments")
		return []string{"false"}
	case len(dirs) == 1:
		target = dirs[0]
	case target == "":
		s.errorf(hc, "cd: HOME not set")
		return []string{"false"}
	}
	if target == "-" {
		if old := hc.Env.Get("OLDPWD"); !old.IsSet() {
			s.errorf(hc, "cd: OLDPWD not set")
			return []string{"false"}
		}
		return []string{"cd", "-"}
	}
	fi, err := os.Stat(absolute(hc.Dir, target))
	if err == nil && !fi.IsDir() {
		err = syscall.ENOTDIR
	}
	if err == nil {
		err = access(nil, absolute(hc.Dir, target), interp.AccessExec)
	}
	if err != nil {
		s.errorf(hc, "cd: %s: %s", target, reason(err))
		return []string{"false"}
	}
	return []string{"cd", target}
}

func (s *shell) checkExit(hc *interp.HandlerContext, args []string) ([]string, error) {
	if args[0] == "logout" {
		args[0] = "exit"
	}
	if args[0] == "exit" && s.interactive && s.stoppedJobs() && !s.warned {
		s.warned = true
		fmt.Fprintln(hc.Stderr, "There are stopped jobs.")
		return []string{"false"}, nil
	}
	if len(args) > 1 {
		n, err := strconv.ParseInt(strings.TrimSpace(args[1]), 10, 64)
		if err != nil {
			s.errorf(hc, "%s: %s: numeric argument required", args[0], args[1])
			n = 2
		}
		args = []string{args[0], strconv.Itoa(int(uint8(n)))}
	}
	return args, nil
}

func (s *shell) stoppedJobs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.jobs {
		if j.stopped() {
			return true
		}
	}
	return false
}

func quote(word string) string {
	q, err := syntax.Quote(word, syntax.LangBash)
	if err != nil {
		return "''"
	}
	return q
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// inherit puts what a background copy of this shell knows in front of its script: variables that are not exported,
// and functions. (A guest cannot fork.)
func (s *shell) inherit(hc *interp.HandlerContext, script string) string {
	var b strings.Builder
	seen := map[string]expand.Variable{}
	hc.Env.Each(func(name string, v expand.Variable) bool {
		seen[name] = v
		return true
	})
	for name, v := range seen {
		if !v.IsSet() || v.ReadOnly || v.Exported || strings.HasPrefix(name, "__drydock") && name != bangVar {
			continue
		}
		switch v.Kind {
		case expand.String:
			fmt.Fprintf(&b, "%s=%s\n", name, quote(v.Str))
		case expand.Indexed:
			fmt.Fprintf(&b, "%s=(%s)\n", name, quoteAll(v.List))
		case expand.Associative:
			fmt.Fprintf(&b, "declare -A %s=(", name)
			for k, e := range v.Map {
				fmt.Fprintf(&b, "[%s]=%s ", quote(k), quote(e))
			}
			b.WriteString(")\n")
		}
	}
	for name, body := range s.runner.Funcs {
		fmt.Fprintf(&b, "%s() ", name)
		syntax.NewPrinter().Print(&b, body)
		b.WriteString("\n")
	}
	b.WriteString(script)
	return b.String()
}
