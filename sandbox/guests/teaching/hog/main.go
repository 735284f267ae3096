// Command hog eats memory, or CPU time, step by step, for lessons about requests, limits and the OOM killer.
//
//	hog [--mib N] [--step MIB] [--every DURATION] [--hold DURATION] [--cpu N]
//
// It allocates step MiB at a time, writes to each page (memory that is never touched costs nothing), and says what it has.
// HOG_MIB, HOG_STEP, HOG_EVERY, HOG_HOLD and HOG_CPU set the same. Without --mib it goes on until it is stopped.
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
	mib, step   int
	every, hold time.Duration
	cpu         int
}

func parse(args []string, getenv func(string) string) (settings, error) {
	s := settings{step: 8, every: time.Second, hold: -1}
	number := func(name string, p *int) error {
		if v := getenv(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return fmt.Errorf("%s=%s: not a number of 0 or more", name, v)
			}
			*p = n
		}
		return nil
	}
	length := func(name string, p *time.Duration) error {
		if v := getenv(name); v != "" {
			d, err := time.ParseDuration(v)
			if err != nil || d < 0 {
				return fmt.Errorf("%s=%s: not a duration such as 500ms or 10s", name, v)
			}
			*p = d
		}
		return nil
	}
	for _, err := range []error{number("HOG_MIB", &s.mib), number("HOG_STEP", &s.step), number("HOG_CPU", &s.cpu), length("HOG_EVERY", &s.every), length("HOG_HOLD", &s.hold)} {
		if err != nil {
			return s, err
		}
	}
	f := flag.NewFlagSet("hog", flag.ContinueOnError)
	f.IntVar(&s.mib, "mib", s.mib, "MiB to take in all; 0: without end")
	f.IntVar(&s.step, "step", s.step, "MiB to take at a time")
	f.DurationVar(&s.every, "every", s.every, "time between two steps")
	f.DurationVar(&s.hold, "hold", s.hold, "how long to keep it before leaving; negative: until stopped")
	f.IntVar(&s.cpu, "cpu", s.cpu, "loops that use a CPU each, instead of memory")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("%s: unexpected argument", f.Arg(0))
	}
	if s.step < 1 {
		return s, fmt.Errorf("--step %d: must be 1 or more", s.step)
	}
	return s, nil
}

func main() {
	s, err := parse(os.Args[1:], os.Getenv)
	if err == flag.ErrHelp {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hog:", err)
		os.Exit(2)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if s.cpu > 0 {
		os.Exit(spin(s.cpu, stop))
	}
	os.Exit(grow(s, stop))
}

const page = 4096

// grow takes memory step by step and returns the exit code.
func grow(s settings, stop <-chan os.Signal) int {
	var kept [][]byte
	have := 0
	for s.mib == 0 || have < s.mib {
		n := s.step
		if s.mib > 0 {
			n = min(n, s.mib-have)
		}
		block := make([]byte, n<<20)
		for i := 0; i < len(block); i += page {
			block[i] = byte(i/page) | 1
		}
		kept = append(kept, block)
		have += n
		fmt.Printf("hog: holding %d MiB\n", have)
		if !wait(s.every, stop) {
			return stopped(kept)
		}
	}
	if s.hold < 0 {
		fmt.Printf("hog: keeping %d MiB until stopped\n", have)
		<-stop
		return stopped(kept)
	}
	if !wait(s.hold, stop) {
		return stopped(kept)
	}
	fmt.Printf("hog: done with %d MiB\n", total(kept))
	return 0
}

func total(kept [][]byte) (mib int) {
	for _, b := range kept {
		mib += len(b) >> 20
	}
	return mib
}

func stopped(kept [][]byte) int {
	fmt.Printf("hog: stopped, giving back %d MiB\n", total(kept))
	return 0
}

func wait(d time.Duration, stop <-chan os.Signal) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}

// spin keeps n loops busy and tells every second how many rounds they made: the figure falls when the CPU is throttled.
func spin(n int, stop <-chan os.Signal) int {
	fmt.Printf("hog: spinning with %d loops\n", n)
	rounds := make([]uint64, n)
	x := uint64(88172645463325252)
	next := time.Now().Add(time.Second)
	var before uint64
	for {
		for i := range rounds {
			for range 20000 {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
			}
			rounds[i] += 20000
		}
		select {
		case <-stop:
			fmt.Println("hog: stopped")
			return int(x & 0) // x is used, so that the loop stays
		default:
		}
		now := time.Now()
		if now.Before(next) {
			continue
		}
		var sum uint64
		for _, r := range rounds {
			sum += r
		}
		fmt.Printf("hog: %d million rounds in the last second\n", (sum-before)/1e6)
		before, next = sum, now.Add(time.Second)
		time.Sleep(time.Microsecond) // lets signals in
	}
}
