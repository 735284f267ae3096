// Command probe is an ordinary Go program that uses what a guest's standard library has: the toolchain's tests run it on the kernel.
// It knows nothing of the guest ABI, and is built unmodified for Linux too.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// prepared tells whether the toolchain's hook was called.
var prepared = "not prepared"

func prepare() { prepared = fmt.Sprint("prepared with ", len(os.Args), " argument") }

var probes = map[string]func(args []string) error{
	"start": start, "exec": execute, "signal": signals, "serve": serve, "get": get, "unix": unixSocket, "udp": udp, "lookup": lookup,
	"files": files, "who": who, "terminal": terminal, "pipes": pipes, "exit": exit, "panic": crash, "deadlock": deadlock, "sleep": sleep,
	"cat": cat, "epipe": epipe, "refused": refused, "goexec": replace, "relay": relay,
}

func main() {
	flag.Parse()
	probe, ok := probes[flag.Arg(0)]
	if !ok {
		fmt.Fprintln(os.Stderr, "probe: unknown", flag.Args())
		os.Exit(64)
	}
	if err := probe(flag.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func start(args []string) error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	fmt.Println(runtime.GOOS, prepared)
	fmt.Println(os.Args, args, os.Getenv("PROBE"), wd, host, self, flag.CommandLine.Name(), err)
	m := map[int]bool{}
	for i := range 8 {
		m[i] = true
	}
	var order []int
	for i := range m {
		order = append(order, i)
	}
	fmt.Println("random", rand.Uint64(), order)
	return nil
}

// execute runs a command with input, and once more one that fails.
func execute(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader("from the parent\n")
	cmd.Env = append(os.Environ(), "PROBE=child")
	ticks := 0
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	done := make(chan struct{})
	var out []byte
	var err error
	go func() {
		out, err = cmd.CombinedOutput()
		close(done)
	}()
	for {
		select {
		case <-ticker.C:
			ticks++
			continue
		case <-done:
		}
		break
	}
	fmt.Printf("%s", out)
	fmt.Println("state:", cmd.ProcessState, "error:", err, "code:", cmd.ProcessState.ExitCode(), "pid is mine:", cmd.ProcessState.Pid() == os.Getpid())
	_, err = exec.LookPath("nosuchprogram")
	fmt.Println("look:", err, errors.Is(err, exec.ErrNotFound))
	_, err = exec.Command("/nosuchprogram").Output()
	fmt.Println("start:", err)
	if len(args) > 1 && args[1] == "sleep" && ticks < 2 {
		return fmt.Errorf("the parent stood still while its child ran: %d ticks", ticks)
	}
	return nil
}

func replace(args []string) error { return syscall.Exec(args[0], args, os.Environ()) }

// signals prints each signal that comes, and leaves on SIGTERM.
func signals(args []string) error {
	got := make(chan os.Signal, 4)
	signal.Notify(got, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGWINCH, syscall.SIGCHLD)
	signal.Ignore(syscall.SIGINT)
	fmt.Println("ready", os.Getpid())
	for sig := range got {
		fmt.Printf("got %v (%d)\n", sig, sig)
		if sig == syscall.SIGTERM {
			return nil
		}
	}
	return nil
}

// serve answers requests until SIGTERM, then finishes what is under way.
func serve(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from", os.Getpid(), r.RemoteAddr != "")
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("slow request began")
		time.Sleep(100 * time.Millisecond)
		fmt.Fprintln(w, "slow")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listening", l.Addr())
	srv := &http.Server{Handler: mux}
	drained := make(chan error)
	go func() {
		<-ctx.Done()
		drained <- srv.Shutdown(context.Background())
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Println("drained", <-drained)
	return nil
}

func get(args []string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	var resp *http.Response
	var err error
	if len(args) > 1 {
		resp, err = client.Post(args[0], "text/plain", strings.NewReader(strings.Repeat(args[1], 50000)))
	} else {
		resp, err = client.Get(args[0])
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if len(body) > 100 {
		fmt.Println(resp.Status, len(body))
		return err
	}
	fmt.Print(resp.Status, " ", string(body))
	return err
}

func refused(args []string) error {
	_, err := net.Dial("tcp", args[0])
	fmt.Println(err, errors.Is(err, syscall.ECONNREFUSED))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = l.Accept()
	var timeout net.Error
	fmt.Println("accept times out:", errors.As(err, &timeout) && timeout.Timeout())
	_, err = net.Listen("tcp", l.Addr().String())
	fmt.Println("in use:", errors.Is(err, syscall.EADDRINUSE))
	<-ctx.Done()
	return nil
}

func udp(args []string) error {
	a, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b, err := net.Dial("udp", a.LocalAddr().String())
	if err != nil {
		return err
	}
	fmt.Fprint(b, "ping")
	buf := make([]byte, 100)
	n, from, err := a.ReadFrom(buf)
	if err != nil {
		return err
	}
	if from.(*net.UDPAddr).Port != b.LocalAddr().(*net.UDPAddr).Port {
		return fmt.Errorf("from %v, but the sender is %v", from, b.LocalAddr())
	}
	fmt.Println(string(buf[:n]))
	if _, err := a.WriteTo([]byte("pong"), from); err != nil {
		return err
	}
	b.SetReadDeadline(time.Now().Add(time.Second))
	n, err = b.Read(buf)
	fmt.Println(string(buf[:n]), err)
	b.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	_, err = b.Read(buf)
	fmt.Println("deadline:", errors.Is(err, os.ErrDeadlineExceeded))
	return nil
}

func unixSocket(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		io.Copy(c, c)
		c.Close()
	}()
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	fmt.Fprint(c, "over unix")
	c.(*net.UnixConn).CloseWrite()
	b, err := io.ReadAll(c)
	fmt.Println(string(b), c.RemoteAddr(), err)
	l.Close()
	_, err = os.Stat(args[0])
	fmt.Println("removed:", errors.Is(err, fs.ErrNotExist))
	return nil
}

// relay gives what listens at the TCP address args[1] the path args[0]: each connection with its ends, one after the other.
func relay(args []string) error {
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listening")
	for {
		near, err := l.Accept()
		if err != nil {
			return err
		}
		far, err := net.Dial("tcp", args[1])
		if err != nil {
			return err
		}
		pass := func(to, from net.Conn) {
			io.Copy(to, from)
			to.(interface{ CloseWrite() error }).CloseWrite()
		}
		go pass(far, near)
		go pass(near, far)
	}
}

func lookup(args []string) error {
	for _, name := range args {
		addrs, err := net.LookupHost(name)
		fmt.Println(name, addrs, err)
	}
	return nil
}

func who(args []string) error {
	u, err := user.Current()
	if err != nil {
		return err
	}
	fmt.Println(u.Username, u.Uid, u.Gid, u.HomeDir, os.Getuid(), os.Geteuid(), os.Getpid() > 0, os.Getppid() >= 0)
	root, err := user.Lookup("root")
	if err != nil {
		return err
	}
	fmt.Println(root.HomeDir)
	return nil
}

func files(args []string) error {
	dir := args[0]
	old := syscall.Umask(0o027)
	fmt.Printf("umask %04o\n", old)
	if err := os.MkdirAll(dir+"/a/b", 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/a/f", []byte("text"), 0o666); err != nil {
		return err
	}
	show := func(name string) {
		fi, err := os.Lstat(dir + "/" + name)
		if err != nil {
			fmt.Println(err)
			return
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Println(name, fi.Mode(), fi.Size() > 0 || !fi.Mode().IsRegular(), st.Uid, st.Gid, st.Nlink > 0)
	}
	show("a/b")
	show("a/f")
	if err := os.Chmod(dir+"/a/f", 0o4711); err != nil {
		return err
	}
	if err := os.Chmod(dir+"/a/f", 0o711|os.ModeSetuid|os.ModeSticky); err != nil {
		return err
	}
	show("a/f")
	if err := os.Symlink("../a/f", dir+"/a/link"); err != nil {
		return err
	}
	show("a/link")
	if err := os.Chdir(dir + "/a/b"); err != nil {
		return err
	}
	b, err := os.ReadFile("../link")
	fmt.Println(string(b), err)
	if err := os.Chown("../f", 7, 8); err != nil {
		return err
	}
	show("a/f")
	if err := os.Rename("../f", "../g"); err != nil {
		return err
	}
	if _, err := os.ReadFile("../link"); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a link to nothing: %v", err)
	}
	_, err = os.Open("nothing")
	fmt.Println(err)
	f, err := os.Open(dir + "/a")
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	fmt.Println(len(names), err)
	if err := f.Chdir(); err != nil {
		return err
	}
	wd, err := os.Getwd()
	fmt.Println(strings.TrimPrefix(wd, dir), err)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	_, err = root.Stat("../outside")
	fmt.Println("escape:", err != nil)
	fi, err := root.Stat("a/g")
	if err != nil {
		return err
	}
	fmt.Println(fi.Mode())
	when := time.Unix(1000000000, 0)
	if err := os.Chtimes("g", when, when); err != nil {
		return err
	}
	fi, err = os.Stat("g")
	fmt.Println(fi.ModTime().UTC(), err)
	if err := os.RemoveAll(dir + "/a"); err != nil {
		return err
	}
	show("a")
	return nil
}

func terminal(args []string) error {
	fd := int(os.Stdin.Fd())
	w, h, err := term.GetSize(fd)
	fmt.Println(term.IsTerminal(fd), w, h, err)
	ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return err
	}
	fmt.Println(ws.Col, ws.Row)
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, syscall.SIGWINCH)
	old, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	fmt.Print("raw\r\n")
	b := make([]byte, 1)
	if _, err := os.Stdin.Read(b); err != nil {
		return err
	}
	fmt.Printf("key %q\r\n", b)
	<-winch
	w, h, err = term.GetSize(fd)
	fmt.Print("size ", w, " ", h, " ", err, "\r\n")
	if err := term.Restore(fd, old); err != nil {
		return err
	}
	fmt.Println("restored")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Printf("line %q %v\n", line, err)
	return nil
}

func pipes(args []string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	go func() {
		time.Sleep(time.Millisecond)
		fmt.Fprint(w, strings.Repeat("x", 200000))
		w.Close()
	}()
	n, err := io.Copy(io.Discard, r)
	fmt.Println(n, err)
	r, w, _ = os.Pipe()
	r.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err = r.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	r.Close()
	_, err = w.Write([]byte("x"))
	fmt.Println(err)
	return nil
}

func epipe(args []string) error {
	for {
		if _, err := fmt.Println("y"); err != nil {
			return err
		}
	}
}

func cat(args []string) error {
	fmt.Println("child", os.Getenv("PROBE"))
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

func exit(args []string) error {
	var code int
	fmt.Sscan(args[0], &code)
	os.Exit(code)
	return nil
}

func crash(args []string) error { panic("oh no") }

func deadlock(args []string) error {
	<-make(chan int)
	return nil
}

func sleep(args []string) error {
	d, err := time.ParseDuration(args[0])
	time.Sleep(d)
	fmt.Println("slept")
	return err
}
