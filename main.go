// Command drydock is a learning portal for containers and Kubernetes: `drydock serve` runs it, `drydock lab` makes a throw-away lab without it.
//
// This file is the composition root: it reads the command line, builds the parts and runs them. It decides nothing else.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/klog/v2"

	"github.com/drydock-labs/drydock/frontend"
	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/server"
	"github.com/drydock-labs/drydock/server/api"
	"github.com/drydock-labs/drydock/server/db"
	"github.com/drydock-labs/drydock/server/journal"
	"github.com/drydock-labs/drydock/server/lab"
)

// version is Drydock's own.
const version = "0.1.0"

//go:embed THIRD_PARTY_NOTICES
var notices string

// exitCode is an error that only says what to leave with: what there was to say has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	quiet()
	err := command().Execute()
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.Is(err, context.Canceled): // only an interrupt cancels; who typed it knows
		os.Exit(128 + int(syscall.SIGINT))
	default:
		fmt.Fprintln(os.Stderr, "drydock:", err)
		os.Exit(1)
	}
}

// quiet keeps the logs of the Kubernetes packages off the terminal: they report to the operator of one cluster and not to us.
func quiet() {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	_ = flags.Set("logtostderr", "false") // both flags exist
	_ = flags.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "drydock", Short: "A place to learn containers and Kubernetes", SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true}}
	root.AddCommand(serveCommand(), labCommand(), lessonCommand(), prewarmCommand(), differencesCommand(),
		&cobra.Command{Use: "licenses", Short: "Print the licences of everything that is shipped", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), notices)
			return err
		}},
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintf(c.OutOrStdout(), "drydock %s (Kubernetes %s, %s %s/%s)\n", version, apiserver.KubernetesVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		}})
	return root
}

// interrupted is a context that ends with the first Ctrl-C; the second one ends the process.
func interrupted() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func cacheDir() string {
	if d, err := os.UserCacheDir(); err == nil {
		return filepath.Join(d, "drydock")
	}
	return "" // no home: in memory
}

// dataDir is $XDG_DATA_HOME/drydock (XDG base directory specification).
func dataDir() string {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "drydock")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "drydock")
	}
	return ""
}

// authority reads the installation's certificate authority from the data folder, or makes it there.
func authority(data string) (*apiserver.CA, error) {
	certFile, keyFile := filepath.Join(data, "ca.crt"), filepath.Join(data, "ca.key")
	cert, err := os.ReadFile(certFile)
	if err == nil {
		var key []byte
		if key, err = os.ReadFile(keyFile); err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		ca, err := apiserver.ParseCA(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; remove it and %s to have a new one made (kubeconfigs handed out before stop working)", certFile, err, keyFile)
		}
		return ca, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	ca, err := apiserver.NewCA("drydock", time.Now())
	if err != nil {
		return nil, err
	}
	cert, key, err := ca.PEM()
	if err == nil {
		err = errors.Join(os.MkdirAll(data, 0o700), os.WriteFile(keyFile, key, 0o600), os.WriteFile(certFile, cert, 0o644))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return ca, nil
}

func serveCommand() *cobra.Command {
	var listen, data string
	var classes []string
	c := &cobra.Command{Use: "serve", Short: "Run the portal", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		ctx, stop := interrupted()
		defer stop()
		return servePortal(ctx, listen, data, classes, c.OutOrStdout())
	}}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address to listen on")
	c.Flags().StringVar(&data, "data", dataDir(), "folder for what must outlive the process: labs, images, the portal's tables and its certificate authority")
	c.Flags().StringArrayVar(&classes, "class", nil, "open a class of this name, or the open one again, and print its links; may be given several times")
	return c
}

func servePortal(ctx context.Context, listen, data string, classes []string, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("the address %s is in use: stop what listens there, or choose another with --listen", listen)
	}
	if err != nil {
		return err
	}
	defer l.Close()
	ca, err := authority(data)
	if err != nil {
		return err
	}
	tables, err := db.Open(db.Config{Dir: data})
	if err != nil {
		return err
	}
	defer tables.Close()
	kept, err := journal.Open(journal.Config{Dir: filepath.Join(data, "labs")})
	if err != nil {
		return err
	}
	defer kept.Close()
	host := startHost(ctx, lab.HostConfig{Version: version, CacheDir: cacheDir(), CA: ca, Journal: kept, ContentDir: filepath.Join(data, "images"), Log: log})
	defer host.close()
	all, err := lessons.LoadAll(lessons.Content())
	if err != nil {
		return err
	}
	assets, errAssets := frontend.Dist()
	portal, err := server.New(server.Config{Labs: host, Lessons: all, DB: tables, Assets: assets, ErrAssets: errAssets, Version: version, Log: log,
		Addresses: func() []string { return addresses(l.Addr()) }})
	if err != nil {
		return err
	}
	defer portal.Close()
	web := portal.HTTPServer()
	split := server.NewSplitter(l, host.serveTLS)
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(split) }()
	fmt.Fprintf(out, "Drydock %s is open at %s\nLabs are kept in %s; Ctrl-C puts them to sleep.\n", version, strings.Join(addresses(l.Addr()), " and "), data)
	if err := openClasses(ctx, portal, classes, addresses(l.Addr()), out); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err := <-failed:
		return err
	case err := <-host.failed:
		return err
	}
	portal.Close()
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := web.Shutdown(grace); err != nil {
		web.Close()
	}
	return nil
}

// openClasses opens classes and prints each one's links, the join link also as a QR code.
func openClasses(ctx context.Context, portal *server.Server, names, at []string, out io.Writer) error {
	for _, name := range names {
		class, err := portal.OpenClass(ctx, name)
		if err != nil {
			return fmt.Errorf("--class %q: %w", name, err)
		}
		best := at[len(at)-1] // an address of the network, where there is one
		code, err := server.QRText(best+class.Join, out == io.Writer(os.Stdout) && term.IsTerminal(int(os.Stdout.Fd())))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\nClass %q\n", class.Name)
		for _, a := range at {
			fmt.Fprintf(out, "  learners:                   %s%s\n", a, class.Join)
		}
		fmt.Fprintf(out, "  teacher (secret, keep it):  %s%s\n%s", at[0], class.Teacher, code)
		if len(at) == 1 && strings.Contains(at[0], "//127.") {
			fmt.Fprintln(out, "  Only this machine reaches that address: start with --listen 0.0.0.0:8080 for a class.")
		}
	}
	return nil
}

// addresses are the URLs to open: a wildcard address is reached at each of the machine's own.
func addresses(a net.Addr) []string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return []string{"http://" + a.String()}
	}
	port := fmt.Sprint(tcp.Port)
	urls := []string{"http://" + net.JoinHostPort("127.0.0.1", port)}
	own, _ := net.InterfaceAddrs() // without them loopback is still right
	for _, o := range own {
		if n, ok := o.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			urls = append(urls, "http://"+net.JoinHostPort(n.IP.String(), port))
		}
	}
	return urls
}

// hosting is a lab.Host that starts behind the page: the page is there at once, the first lab waits.
type hosting struct {
	ready  chan struct{} // closed when host or err is set
	host   *lab.Host
	err    error
	failed chan error
}

func startHost(ctx context.Context, cfg lab.HostConfig) *hosting {
	lab.ShareProcessors()
	h := &hosting{ready: make(chan struct{}), failed: make(chan error, 1)}
	go func() {
		defer close(h.ready)
		if h.host, h.err = lab.NewHost(context.WithoutCancel(ctx), cfg); h.err != nil {
			h.failed <- h.err
			return
		}
		h.host.PrewarmBehind()
	}()
	return h
}

// NewLab implements server.Labs.
func (h *hosting) NewLab(ctx context.Context, o api.LabOptions) (api.Lab, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.host.NewLab(ctx, o)
}

// OpenLab implements server.Labs.
func (h *hosting) OpenLab(ctx context.Context, id string) (api.Lab, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.host.OpenLab(ctx, id)
}

// DeleteLab implements server.Labs.
func (h *hosting) DeleteLab(id string) error {
	if err := h.wait(context.Background()); err != nil {
		return err
	}
	return h.host.DeleteLab(id)
}

// Collect implements server.Labs.
func (h *hosting) Collect() (int64, error) {
	if err := h.wait(context.Background()); err != nil {
		return 0, err
	}
	return h.host.Collect()
}

// wait returns when the host is there.
func (h *hosting) wait(ctx context.Context) error {
	select {
	case <-h.ready:
		return h.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hosting) serveTLS(c net.Conn) {
	<-h.ready
	if h.err != nil {
		c.Close()
		return
	}
	h.host.Gate().ServeConn(c)
}

func (h *hosting) close() {
	<-h.ready
	if h.err == nil {
		h.host.Close()
	}
}

// newHost is a host without a portal: its certificate authority lives as long as it does.
func newHost(ctx context.Context) (*lab.Host, error) {
	lab.ShareProcessors()
	return lab.NewHost(ctx, lab.HostConfig{Version: version, CacheDir: cacheDir()})
}

func labCommand() *cobra.Command {
	var o lab.Options
	var asJSON bool
	c := &cobra.Command{Use: "lab [flags] [-- COMMAND ARG...]", Short: "Make a throw-away lab: for a command, a shell inside it, or until interrupted (--json)",
		Example: "  drydock lab -- kubectl get nodes\n  drydock lab --nodes 1 --json", RunE: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() > 0 || c.ArgsLenAtDash() < 0 && len(args) > 0 {
				return errors.New("a command goes after --: drydock lab -- kubectl get nodes")
			}
			switch {
			case o.Nodes < 0:
				return errors.New("--nodes: a lab cannot have fewer than 0 workers")
			case o.Nodes == 0:
				o.Nodes = -1 // lab.Options: none
			}
			return runLab(o, asJSON, args)
		}}
	c.Flags().IntVar(&o.Nodes, "nodes", 3, "workers beside control-plane")
	c.Flags().Uint64Var(&o.Seed, "seed", 0, "seed for uids, generated names and free choices (0: random)")
	c.Flags().BoolVar(&asJSON, "json", false, "print the lab's kubeconfig and nodes as one line of JSON and keep the lab until interrupted")
	return c
}

func runLab(o lab.Options, asJSON bool, args []string) (err error) {
	ctx, stop := interrupted()
	defer stop()
	o.Lang = language()
	host, err := newHost(ctx)
	if err != nil {
		return err
	}
	defer host.Close()
	l, err := host.New(ctx, o)
	if err != nil {
		return err
	}
	defer l.Close()
	if len(args) == 0 && !asJSON {
		return shell(ctx, l)
	}
	ends, remove, err := publish(host, l)
	if err != nil {
		return err
	}
	defer remove()
	if asJSON {
		line, err := json.Marshal(struct {
			Kubeconfig string   `json:"kubeconfig"`
			DockerHost string   `json:"dockerHost"`
			Registry   string   `json:"registry"`
			User       string   `json:"registryUser"`
			Password   string   `json:"registryPassword"`
			Nodes      []string `json:"nodes"`
		}{ends.kubeconfig, ends.docker, ends.registry, ends.user, ends.password, l.Machines()[1:]})
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	if len(args) == 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Done():
			return l.Err()
		}
	}
	stop() // Ctrl-C is the command's from here on
	return run(args, "KUBECONFIG="+ends.kubeconfig, "DOCKER_HOST="+ends.docker, "DOCKER_BUILDKIT=0")
}

// ends are where clients on this machine find a lab.
type ends struct {
	kubeconfig string // a file
	docker     string // unix:///…
	registry   string // host:port, plain HTTP, of the lab's private registry
	user       string // that it takes
	password   string
}

// publish gives a lab's API and registry ports and its Docker host a socket on this machine; remove takes them back.
func publish(host *lab.Host, l *lab.Lab) (e ends, remove func(), err error) {
	dir, err := os.MkdirTemp("", "drydock-lab-")
	if err != nil {
		return e, nil, err
	}
	var open []io.Closer
	remove = func() {
		for _, c := range open {
			c.Close()
		}
		os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return e, nil, err
	}
	open = append(open, api)
	go host.Gate().Serve(api) // ends with the gate
	text, err := l.Kubeconfig("https://" + api.Addr().String())
	if err != nil {
		return e, nil, err
	}
	e.kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(e.kubeconfig, text, 0o600); err != nil {
		return e, nil, err
	}
	engine, err := l.Docker()
	if err != nil {
		return e, nil, err
	}
	socket := filepath.Join(dir, "docker.sock") // the folder is this user's alone
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return e, nil, err
	}
	srv := &http.Server{Handler: engine, ReadHeaderTimeout: 15 * time.Second}
	open = append(open, srv)
	go srv.Serve(ln) // ends with srv.Close
	e.docker = "unix://" + socket
	pushes, err := net.Listen("tcp", "127.0.0.1:0") // Docker's clients take plain HTTP from loopback
	if err != nil {
		return e, nil, err
	}
	images, user, password := l.Registry()
	store := &http.Server{Handler: images, ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 3 * time.Minute}
	open = append(open, store)
	go store.Serve(pushes) // ends with store.Close
	e.registry, e.user, e.password = pushes.Addr().String(), user, password
	return e, remove, nil
}

// run runs a command on this machine and leaves with its exit code, or as a shell does when it cannot be started.
func run(args []string, env ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "drydock:", err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return exitCode(127)
		}
		return exitCode(126)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGTERM { // the terminal has told the command of the others
				_ = cmd.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			return left(err)
		}
	}
}

// left turns how a command ended into an exit code as a shell shows it.
func left(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitCode(128 + int(ws.Signal()))
	}
	return exitCode(exit.ExitCode())
}

// shell is a shell inside the lab on our own terminal, or fed from stdin when that is none.
func shell(ctx context.Context, l *lab.Lab) error {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		code, err := l.Shell(ctx, os.Stdin, os.Stdout, os.Stderr)
		if err == nil && code != 0 {
			err = exitCode(code)
		}
		return err
	}
	cols, rows, err := term.GetSize(in)
	if err != nil {
		return err
	}
	t, err := l.Terminal(lab.Workstation, rows, cols, language())
	if err != nil {
		return err
	}
	defer t.Close()
	old, err := term.MakeRaw(in)
	if err != nil {
		return err
	}
	defer term.Restore(in, old)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	go func() {
		for range resized {
			if cols, rows, err := term.GetSize(in); err == nil {
				_ = t.Resize(rows, cols) // it has ended otherwise
			}
		}
	}()
	go typed(ctx, t)
	for {
		p, err := t.Read(ctx)
		if len(p) > 0 {
			os.Stdout.Write(p)
		}
		if err != nil {
			break
		}
	}
	if ctx.Err() != nil { // told to end: the shell ends with the lab
		return ctx.Err()
	}
	if code := t.(interface{ ExitCode() int }).ExitCode(); code != 0 {
		return exitCode(code)
	}
	return nil
}

// typed passes on what is typed until the terminal has ended.
func typed(ctx context.Context, t api.Terminal) {
	b := make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(b)
		if n > 0 && t.Write(ctx, b[:n]) != nil || err != nil {
			return
		}
	}
}

// language is "ko" or "en", by LC_ALL, LC_MESSAGES and LANG (locale(7)).
func language() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "ko") {
				return "ko"
			}
			break
		}
	}
	return "en"
}

func lessonCommand() *cobra.Command {
	c := &cobra.Command{Use: "lesson", Short: "Work on lessons"}
	var limit time.Duration
	test := &cobra.Command{Use: "test DIR...", Short: "Type each lesson's solution into a fresh lab and see every task tick", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, dirs []string) error {
			ctx, stop := interrupted()
			defer stop()
			var all []*lessons.Lesson
			for _, dir := range dirs {
				full, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				l, err := lessons.Load(os.DirFS(filepath.Dir(full)), filepath.Base(full))
				if err != nil {
					return err
				}
				all = append(all, l)
			}
			host, err := newHost(ctx)
			if err != nil {
				return err
			}
			defer host.Close()
			for _, l := range all {
				if err := tryLesson(ctx, host, l, limit, c.OutOrStdout()); err != nil {
					return fmt.Errorf("lesson %s: %w", l.ID, err)
				}
			}
			return nil
		}}
	test.Flags().DurationVar(&limit, "timeout", 10*time.Minute, "time for one lesson; a machine that never ran a program compiles it first")
	c.AddCommand(test)
	return c
}

func tryLesson(ctx context.Context, host *lab.Host, l *lessons.Lesson, limit time.Duration, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	made, err := host.New(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer made.Close()
	tried, err := lessons.Test(ctx, l, made)
	for _, t := range tried {
		fmt.Fprintf(out, "%s/%s: ticked after %s\n", l.ID, t.Task, t.Took.Round(time.Millisecond))
	}
	return err
}

func prewarmCommand() *cobra.Command {
	return &cobra.Command{Use: "prewarm", Short: "Compile every program of the labs for this machine, ahead of the first lesson", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		ctx, stop := interrupted()
		defer stop()
		host, err := newHost(ctx)
		if err != nil {
			return err
		}
		defer host.Close()
		var failed error
		began := time.Now()
		host.Prewarm(ctx, func(name string, err error) {
			fmt.Fprintf(c.OutOrStdout(), "%-12s %s\n", name, time.Since(began).Round(time.Millisecond))
			failed = errors.Join(failed, err)
			began = time.Now()
		})
		return errors.Join(failed, ctx.Err())
	}}
}

func differencesCommand() *cobra.Command {
	var lang string
	c := &cobra.Command{Use: "differences", Short: "Print what in a lab is real, what is a model and what is missing", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		if lang != "ko" && lang != "en" {
			return fmt.Errorf("--lang %s: ko or en", lang)
		}
		_, err := io.WriteString(c.OutOrStdout(), lessons.Differences(lessons.Lang(lang), version))
		return err
	}}
	c.Flags().StringVar(&lang, "lang", language(), "ko or en")
	return c
}
