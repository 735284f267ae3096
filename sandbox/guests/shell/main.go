// Command shell is the lab's sh and bash: the language of mvdan.cc/sh run over real processes, with job control,
// line editing, history and completion when it stands at a terminal.
//
// The language itself (parsing, expansion, most builtins) is the library's. What is here: starting programs and waiting for them,
// process groups and the terminal, traps, background jobs as processes of their own, the messages bash prints, and
// the marks (OSC 133) by which the page follows what runs. It does not know Drydock's page nor its cluster.
//
// Lock order: shell.mu is a leaf; nothing is called with it held but system calls.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// version is what BASH_VERSION and --version show; set by the linker.
var version = "0.1"

func main() { os.Exit(run(os.Args)) }

// invocation is the command line of the shell, see bash(1), "Options" and "Arguments".
type invocation struct {
	name        string
	command     string
	hasCommand  bool
	interactive bool
	login       bool
	stdin       bool
	options     []string // -e -u -x -o NAME … for the interpreter
	args        []string
}

func parseArgs(argv []string) (invocation, error) {
	inv := invocation{name: strings.TrimPrefix(filepath.Base(argv[0]), "-"), login: strings.HasPrefix(argv[0], "-")}
	args := argv[1:]
	for len(args) > 0 {
		a := args[0]
		if a == "--" || a == "-" {
			args = args[1:]
			break
		}
		if len(a) < 2 || (a[0] != '-' && a[0] != '+') {
			break
		}
		args = args[1:]
		if strings.HasPrefix(a, "--") {
			switch a {
			case "--login":
				inv.login = true
			case "--norc", "--noprofile", "--posix", "--noediting":
			case "--version":
				fmt.Printf("%s, version %s (Drydock, mvdan.cc/sh)\nA WebAssembly substitute for learning: compatible with, not made by, the GNU project.\n", inv.name, version)
				os.Exit(0)
			case "--help":
				fmt.Printf("Usage: %s [-c COMMAND | SCRIPT] [-eilsuvx] [-o OPTION] [ARG…]\n", inv.name)
				os.Exit(0)
			default:
				return inv, fmt.Errorf("%s: invalid option", a)
			}
			continue
		}
		for _, letter := range a[1:] {
			switch letter {
			case 'c':
				inv.hasCommand = true
			case 'i':
				inv.interactive = true
			case 'l':
				inv.login = true
			case 's':
				inv.stdin = true
			case 'o':
				if len(args) == 0 {
					return inv, errors.New("-o: option requires an argument")
				}
				inv.options = append(inv.options, a[:1]+"o", args[0])
				args = args[1:]
			case 'a', 'e', 'f', 'n', 'u', 'x':
				inv.options = append(inv.options, a[:1]+string(letter))
			case 'b', 'h', 'm', 'v', 'B', 'H', 'P', 'p':
			default:
				return inv, fmt.Errorf("-%c: invalid option", letter)
			}
		}
	}
	if inv.hasCommand {
		if len(args) == 0 {
			return inv, errors.New("-c: option requires an argument")
		}
		inv.command, args = args[0], args[1:]
	}
	inv.args = args
	return inv, nil
}

func run(argv []string) int {
	inv, err := parseArgs(argv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", inv.name, err)
		return 2
	}
	fromStdin := !inv.hasCommand && (inv.stdin || len(inv.args) == 0)
	interactive := inv.interactive || fromStdin && sys.IsTerminal(0) && sys.IsTerminal(2)
	s, err := newShell(inv, interactive)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", inv.name, err)
		return 2
	}
	defer s.close()
	if inv.login {
		s.sourceFile("/etc/profile")
	}
	switch {
	case inv.hasCommand:
		return s.runCommand(inv.command)
	case interactive:
		return s.interact()
	case fromStdin:
		return s.runReader(oneByte{os.Stdin}, "")
	}
	return s.runFile(inv.args[0])
}

// oneByte reads a script from standard input byte by byte, so that the commands in it may read what follows them.
type oneByte struct{ f *os.File }

func (o oneByte) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return o.f.Read(p[:1])
}

func (s *shell) runFile(name string) int {
	path := name
	if !strings.Contains(name, "/") {
		if _, err := os.Stat(name); err != nil {
			if p, _, ok := s.lookPath(s.runner.Dir, os.Getenv("PATH"), name); ok {
				path = p
			}
		}
	}
	f, err := os.Open(path)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s: %s\n", s.name, name, reason(err))
		if errors.Is(err, os.ErrPermission) {
			return 126
		}
		return 127
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.IsDir() {
		fmt.Fprintf(os.Stderr, "%s: %s: Is a directory\n", s.name, name)
		return 126
	}
	head := make([]byte, 80)
	n, _ := io.ReadFull(f, head)
	if isBinary(head[:n]) {
		fmt.Fprintf(os.Stderr, "%s: %s: cannot execute binary file\n", name, name)
		return 126
	}
	f.Seek(0, io.SeekStart)
	s.name, s.script = name, true
	return s.runReader(f, name)
}
