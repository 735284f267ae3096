package sys

import (
	"os/signal"
	"strconv"
	"syscall"
)

func itoa(n int) string { return strconv.Itoa(n) }

func ignore(sig syscall.Signal, on bool) {
	if on {
		signal.Ignore(sig)
	} else {
		signal.Reset(sig)
	}
}
