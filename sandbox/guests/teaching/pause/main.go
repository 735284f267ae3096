// Command pause does nothing: it holds a pod's namespaces, adopts orphans and takes their exit, and leaves on SIGTERM or SIGINT.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-v" {
		fmt.Println("pause (Drydock)")
		return
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	reap()
	for sig := range signals {
		if sig != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

func reap() {
	for {
		if pid, _, _, err := sys.Wait(-1, sys.WNOHANG); pid <= 0 || err != nil {
			return
		}
	}
}
