// Command coreutils is the lab's everyday utilities in one program: it does what the name it is called by says
// (a link named ls lists files), or what its first argument says.
//
// The utilities are in internal/, by kind; this file knows their names only.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	main, ok := find(strings.TrimSuffix(name, ".wasm"))
	if !ok {
		if len(args) == 0 || args[0] == "--help" {
			fmt.Println("Usage: coreutils UTILITY [ARG...]\nUtilities:", strings.Join(Names(), " "))
			os.Exit(0)
		}
		if args[0] == "--list" {
			fmt.Println(strings.Join(Names(), "\n"))
			os.Exit(0)
		}
		name, args = args[0], args[1:]
		if main, ok = find(name); !ok {
			fmt.Fprintf(os.Stderr, "coreutils: %s: applet not found\n", name)
			os.Exit(127)
		}
	}
	os.Exit(applet.Run(name, args, main))
}
