// Command crash ends badly, for lessons about restarts: after a while it exits with a code or traps.
//
//	crash [--after DURATION] [--code N | --how exit|nil|range|divide|stack|panic] [--message TEXT]
//
// CRASH_AFTER, CRASH_CODE, CRASH_HOW and CRASH_MESSAGE set the same. The code is 1 unless said otherwise.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

type settings struct {
	after   time.Duration
	code    int
	how     string
	message string
}

func parse(args []string, getenv func(string) string) (settings, error) {
	s := settings{after: time.Second, code: 1, how: "exit", message: getenv("CRASH_MESSAGE")}
	if v := getenv("CRASH_AFTER"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			return s, fmt.Errorf("CRASH_AFTER=%s: not a duration such as 500ms or 10s", v)
		}
		s.after = d
	}
	if v := getenv("CRASH_CODE"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return s, fmt.Errorf("CRASH_CODE=%s: not a number", v)
		}
		s.code = n
	}
	if v := getenv("CRASH_HOW"); v != "" {
		s.how = v
	}
	f := flag.NewFlagSet("crash", flag.ContinueOnError)
	f.DurationVar(&s.after, "after", s.after, "how long to live")
	f.IntVar(&s.code, "code", s.code, "exit code, 0 to 255")
	f.StringVar(&s.how, "how", s.how, "exit, nil, range, divide, stack, panic")
	f.StringVar(&s.message, "message", s.message, "last words")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if s.code < 0 || s.code > 255 {
		return s, fmt.Errorf("--code %d: must be 0 to 255", s.code)
	}
	switch s.how {
	case "exit", "nil", "range", "divide", "stack", "panic":
		return s, nil
	}
	return s, fmt.Errorf("--how %s: must be exit, nil, range, divide, stack or panic", s.how)
}

func main() {
	s, err := parse(os.Args[1:], os.Getenv)
	if err == flag.ErrHelp {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(2)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Printf("crash: started, ending in %s\n", s.after)
	t := time.NewTimer(s.after)
	select {
	case <-t.C:
	case <-stop:
		fmt.Println("crash: asked to stop, leaving with 0")
		os.Exit(0)
	}
	if s.message != "" {
		fmt.Fprintln(os.Stderr, "crash:", s.message)
	}
	os.Exit(end(s))
}

// end does what was asked for. Only "exit" returns.
func end(s settings) int {
	zero := len(os.Args) - len(os.Args)
	switch s.how {
	case "nil":
		var p *settings
		if zero == 0 {
			p.after = 1
		}
	case "range":
		list := make([]int, 3)
		return list[3+zero]
	case "divide":
		return 1 / zero
	case "stack":
		return recurse(1)
	case "panic":
		panic("crash: as asked")
	}
	fmt.Printf("crash: leaving with %d\n", s.code)
	return s.code
}

func recurse(n int) int {
	if n < 0 {
		return 0
	}
	var block [64]int
	block[n%64] = n
	return recurse(n+1) + block[n%64]
}
