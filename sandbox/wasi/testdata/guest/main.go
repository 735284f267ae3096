// Command guest is what the tests of the guest ABI run: one program, many behaviours, chosen by the first argument.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sort"
	"strconv"
	"time"
)

var commands = map[string]func(args []string){
	"hello": func([]string) { fmt.Println("hello") },
	"args":  func(a []string) { fmt.Printf("%q\n", a) },
	"env": func([]string) {
		e := os.Environ()
		sort.Strings(e)
		fmt.Printf("%q\n", e)
	},
	"cat": func([]string) {
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			fail(err)
		}
	},
	"exit":  func(a []string) { os.Exit(number(a[0])) },
	"spin":  func([]string) { spin() },
	"block": func([]string) { io.ReadFull(os.Stdin, make([]byte, 1)) },
	"sleep": func(a []string) { time.Sleep(time.Duration(number(a[0])) * time.Millisecond) },
	"grow": func(a []string) {
		b := make([]byte, number(a[0])<<20)
		for i := range len(b) >> 12 {
			b[i<<12] = 1
		}
		fmt.Println("grown")
		runtime.KeepAlive(b)
		if len(a) > 1 {
			io.ReadFull(os.Stdin, make([]byte, 1))
		}
	},
	"trap": func([]string) { trap() },
	"yes": func([]string) {
		for {
			if _, err := os.Stdout.Write([]byte("y\n")); err != nil {
				os.Exit(3)
			}
		}
	},
	"files": files,
	"clock": func([]string) { fmt.Println(time.Now().UTC().Format(time.RFC3339)) },
	"spawn": spawnAll,
	"tree":  tree,
	"bomb":  bomb,
	"fds":   fds,
	"sig":   signals,
	"tty":   ttyCommands,
	"net":   netCommands,
	"pipes": pipes,
	"abi":   abi,
	"exec":  func(a []string) { fail(hostExecve(a[0], a, os.Environ())) },
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "guest: no such behaviour")
		os.Exit(2)
	}
	commands[os.Args[1]](os.Args[2:])
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		fail(err)
	}
	return n
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "guest:", err)
	os.Exit(1)
}

var sink int

func spin() {
	for i := 0; ; i++ {
		sink += i
	}
}

func trap() {
	hostAbort()
}

// files exercises the file system through package os.
func files([]string) {
	must := func(err error) {
		if err != nil {
			fail(err)
		}
	}
	must(os.MkdirAll("/tmp/d/e", 0o755))
	must(os.WriteFile("/tmp/d/f", []byte("content"), 0o644))
	must(os.Symlink("f", "/tmp/d/l"))
	b, err := os.ReadFile("/tmp/d/l")
	must(err)
	fmt.Println(string(b))
	must(os.Rename("/tmp/d/f", "/tmp/d/g"))
	_, err = os.Stat("/tmp/d/f")
	fmt.Println(os.IsNotExist(err))
	es, err := os.ReadDir("/tmp/d")
	must(err)
	for _, e := range es {
		fmt.Println(e.Name(), e.IsDir())
	}
	t := time.Unix(1000, 0)
	must(os.Chtimes("/tmp/d/g", t, t))
	fi, err := os.Stat("/tmp/d/g")
	must(err)
	fmt.Println(fi.Size(), fi.ModTime().Unix())
	f, err := os.OpenFile("/tmp/d/g", os.O_RDWR|os.O_APPEND, 0)
	must(err)
	_, err = f.WriteString("+more")
	must(err)
	_, err = f.Seek(3, io.SeekStart)
	must(err)
	rest, err := io.ReadAll(f)
	must(err)
	fmt.Println(string(rest))
	must(f.Truncate(2))
	must(f.Close())
	must(os.RemoveAll("/tmp/d"))
	_, err = os.Stat("/tmp/d")
	fmt.Println(os.IsNotExist(err))
}
