// Command toolchain builds the guest programs: ordinary Go programs, compiled to WebAssembly reactors for the drydock kernel.
//
//	go run ./sandbox/guests/toolchain all            build every guest of the table below into sandbox/guests/dist
//	go run ./sandbox/guests/toolchain build NAME…    build some
//	go run ./sandbox/guests/toolchain package DIR OUT.wasm   build the main package in DIR
//	go run ./sandbox/guests/toolchain list           print names and folders
//	go run ./sandbox/guests/toolchain sums           print the digests of the files that are edited, for sums.txt
//
// Go's standard library for GOOS=wasip1 lacks processes, signals, pipes, sockets, owners and modes. The guests' kernel has them, under
// the names that sandbox/wasi/README.md lists, and so the standard library (and some modules) are compiled with small changes: the
// edits of edits.go and modules.go on files whose digest is known, and new files in _goroot and _modules. With them ordinary programs
// that use os/exec, os/signal, net/http or golang.org/x/term build unmodified.
//
// A guest's main package needs nothing but func main. If it has a func prepare(), that is called before the image of initialised
// memory is taken from which all its processes start. A process has its own arguments, environment, streams and random state;
// package-level state that was computed from those when the image was made is the image's: recompute it in main, or in a function
// given to syscall.OnStart.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// guest is one program: its folder is below sandbox/guests.
type guest struct {
	name, dir string
	upstream  string // the main package, when it is another module's: the folder's module requires that
	special   *special
}

// special is what is built differently for one guest alone.
type special struct {
	ldflags string
	goroot  []source
	files   map[string][]byte // new files of the standard library
	patches []patch
}

var guests = []guest{
	{name: "shell", dir: "shell"},
	{name: "coreutils", dir: "coreutils"},
	{name: "vi", dir: "vi"},
	{name: "httpd", dir: "httpd"},
	{name: "hog", dir: "teaching/hog"},
	{name: "crash", dir: "teaching/crash"},
	{name: "pause", dir: "teaching/pause"},
	{name: "hello", dir: "teaching/hello"},
	{name: "kubectl", dir: "kubectl", special: &special{
		ldflags: kubectlLDFlags, goroot: kubectlGoroot, patches: kubectlPatches,
		files: map[string][]byte{"text/template/drydock.go": methodSwitch(templateMethods)},
	}},
	{name: "docker", dir: "docker", upstream: "github.com/docker/cli/cmd/docker", special: &special{
		ldflags: dockerLDFlags, patches: dockerPatches,
	}},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "toolchain:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: toolchain all | build NAME… | package DIR OUT.wasm | list | sums")
	}
	root, err := guestsDir()
	if err != nil {
		return err
	}
	switch command, args := args[0], args[1:]; command {
	case "all":
		return buildAll(root, guests)
	case "build":
		some, err := named(args)
		if err != nil {
			return err
		}
		return buildAll(root, some)
	case "package":
		if len(args) != 2 {
			return fmt.Errorf("usage: toolchain package DIR OUT.wasm")
		}
		return buildOne(guest{name: filepath.Base(args[1])}, args[0], args[1])
	case "list":
		for _, g := range guests {
			fmt.Printf("%-10s %s\n", g.name, filepath.Join(root, g.dir))
		}
		return nil
	case "sums":
		return printSums(os.Stdout, root)
	default:
		return fmt.Errorf("unknown command %q", command)
	}
}

func named(names []string) (some []guest, err error) {
	for _, n := range names {
		found := false
		for _, g := range guests {
			if g.name == n {
				some, found = append(some, g), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no guest named %q; see toolchain list", n)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("usage: toolchain build NAME…")
	}
	return some, nil
}

// guestsDir finds sandbox/guests from the working directory upwards.
func guestsDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if candidate := filepath.Join(d, "sandbox", "guests"); isDir(filepath.Join(candidate, "toolchain")) {
			return candidate, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no sandbox/guests/toolchain in %s or above: run it from the repository", dir)
		}
	}
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func buildAll(root string, some []guest) error {
	var failed []string
	for _, g := range some {
		out := filepath.Join(root, "dist", g.name+".wasm")
		if err := buildOne(g, filepath.Join(root, g.dir), out); err != nil {
			fmt.Fprintf(os.Stderr, "toolchain: %s: %v\n", g.name, err)
			failed = append(failed, g.name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not built: %s", strings.Join(failed, ", "))
	}
	return nil
}

// goVersion is the Go release this command was compiled with, which is the one that go run in the repository chooses by go.mod.
func goVersion() string { return runtime.Version() }
