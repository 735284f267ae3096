package flag

import (
	"os"
	"syscall"
)

func init() {
	syscall.OnStart(func() {
		if CommandLine.name == "" && len(os.Args) > 0 {
			CommandLine.name = os.Args[0]
		}
	})
}
