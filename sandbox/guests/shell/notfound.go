package main

import (
	"os"
	"path/filepath"
	"sort"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"

	"github.com/drydock-labs/drydock/sandbox/guests/shell/internal/hangul"
)

// korean reports whether messages of the lab are to be in Korean, by LC_ALL, LC_MESSAGES and LANG as in locale(7).
func korean(env expand.Environ) bool {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env.Get(name).String(); v != "" {
			return strings.HasPrefix(v, "ko")
		}
	}
	return false
}

// notFound explains a command that isn't there. A word typed with the keyboard on Korean is read back; a near miss is named.
func (s *shell) notFound(hc *interp.HandlerContext, name string) {
	ko := korean(hc.Env)
	if hangul.Has(name) {
		keys := hangul.Keys(name)
		guess := keys
		if !s.isCommand(hc, keys) {
			guess = s.nearest(hc, keys)
		}
		switch {
		case ko && guess != "":
			s.errorf(hc, "%s: command not found. 한/영 키를 확인하세요. %s%s 입력하려고 했나요?", name, guess, hangul.Object(guess))
		case ko:
			s.errorf(hc, "%s: command not found. 한/영 키를 확인하세요.", name)
		case guess != "":
			s.errorf(hc, "%s: command not found. Check your Korean/English key. Did you mean %s?", name, guess)
		default:
			s.errorf(hc, "%s: command not found. Check your Korean/English key.", name)
		}
		return
	}
	guess := ""
	if s.interactive {
		guess = s.nearest(hc, name)
	}
	switch {
	case guess == "":
		s.errorf(hc, "%s: command not found", name)
	case ko:
		s.errorf(hc, "%s: command not found. %s%s 입력하려고 했나요?", name, guess, hangul.Object(guess))
	default:
		s.errorf(hc, "%s: command not found. Did you mean %s?", name, guess)
	}
}

func (s *shell) isCommand(hc *interp.HandlerContext, name string) bool {
	if s.internal(name) {
		return true
	}
	_, _, ok := s.lookPath(hc.Dir, hc.Env.Get("PATH").String(), name)
	return ok
}

// nearest is the one command closest to name, or "" when none is near or several are equally near without a reason to prefer one.
func (s *shell) nearest(hc *interp.HandlerContext, name string) string {
	limit := 1
	if len(name) >= 5 {
		limit = 2
	}
	if len(name) < 3 {
		return ""
	}
	best, bestDistance := "", limit+1
	for _, c := range s.commands(hc.Env.Get("PATH").String()) {
		d := distance(name, c, bestDistance)
		if d < bestDistance || d == bestDistance && d <= limit && preferred(c) && !preferred(best) {
			best, bestDistance = c, d
		}
	}
	return best
}

// preferred names what lessons are about: of two near misses these are meant.
func preferred(name string) bool {
	switch name {
	case "kubectl", "docker", "curl", "helm", "nginx", "vi":
		return true
	}
	return false
}

// distance is the number of letters inserted, deleted, changed or swapped with a neighbour between a and b, at most limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}

// commands are all programs along a PATH and the builtins, sorted, each once.
func (s *shell) commands(pathList string) []string {
	seen := map[string]bool{}
	for _, b := range builtinNames {
		seen[b] = true
	}
	for name := range s.runner.Funcs {
		seen[name] = true
	}
	for _, d := range strings.Split(pathList, ":") {
		if !filepath.IsAbs(d) {
			continue
		}
		entries, err := os.ReadDir(d)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !e.IsDir() {
				seen[e.Name()] = true
			}
		}
	}
	list := make([]string, 0, len(seen))
	for name := range seen {
		if !strings.HasPrefix(name, "__") {
			list = append(list, name)
		}
	}
	sort.Strings(list)
	return list
}

// builtinNames are what completion and suggestions know of the shell itself.
var builtinNames = [...]string{"alias", "bg", "cd", "command", "declare", "dirs", "echo", "eval", "exec", "exit", "export", "false", "fg", "getopts", "hash", "help",
	"history", "jobs", "kill", "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read", "readonly", "return", "set", "shift", "shopt", "source",
	"test", "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "wait"}
