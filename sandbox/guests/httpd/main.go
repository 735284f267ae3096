// Command httpd is the web server in Drydock's nginx images: a substitute that reads nginx's configuration, answers as nginx does, and
// says what it is. internal/web has what it serves; this file has the command line and the signals.
//
// It is one process: there are no workers, and SIGTERM ends it as SIGQUIT does, after the requests under way, for an orchestrator sends
// either and means the same.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/guests/httpd/internal/web"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

const confFile = web.Prefix + "/nginx.conf"

// prepare runs before the image of initialised memory is taken. The heap may grow by two fifths of Go's usual least before it is collected
// (1.6 MB instead of 4): under load memory stays small, and the first collection, which writes to most pages of the image, is some
// hundred probes away (BenchmarkHTTPDIdle in the toolchain).
func prepare() { debug.SetGCPercent(40) }

type options struct {
	file, global, command, prefix, errorLog string
	version, build, test, dump, quiet, help bool
}

func main() { os.Exit(run(os.Args[1:])) }

// version is what the image says it stands for.
func version() string {
	if v := os.Getenv("NGINX_VERSION"); regexp.MustCompile(`^\d{1,3}\.\d{1,3}\.\d{1,3}$`).MatchString(v) {
		return v
	}
	return "1.28.0"
}

const usage = `Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]
             [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: /etc/nginx/)
  -e filename   : set error log file (default: /var/log/nginx/error.log)
  -c filename   : set configuration file (default: /etc/nginx/nginx.conf)
  -g directives : set global directives out of configuration file

`

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("nginx", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.file, "c", confFile, "")
	f.StringVar(&o.global, "g", "", "")
	f.StringVar(&o.command, "s", "", "")
	f.StringVar(&o.prefix, "p", "", "")
	f.StringVar(&o.errorLog, "e", "", "")
	for name, b := range map[string]*bool{"v": &o.version, "V": &o.build, "t": &o.test, "T": &o.dump, "q": &o.quiet, "h": &o.help, "?": &o.help} {
		f.BoolVar(b, name, false, "")
	}
	if err := f.Parse(args); err != nil && !errors.Is(err, flag.ErrHelp) {
		text := err.Error()
		if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
			text = fmt.Sprintf("invalid option: %q", name)
		}
		return o, errors.New(text)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("invalid option: %q", f.Arg(0))
	}
	switch o.command {
	case "", "stop", "quit", "reopen", "reload":
		return o, nil
	}
	return o, fmt.Errorf("invalid option: \"-s %s\"", o.command)
}

func run(args []string) int {
	o, err := parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nginx: %v\n", err)
		return 1
	}
	if o.version || o.build || o.help {
		fmt.Fprintf(os.Stderr, "nginx version: nginx/%s (drydock substitute)\n", version())
		switch {
		case o.help:
			fmt.Fprint(os.Stderr, usage)
		case o.build:
			fmt.Fprintf(os.Stderr, "built with %s for %s/%s\nA substitute for learning: compatible with nginx, not made by its authors.\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
		}
		return 0
	}
	cfg, err := web.Load(o.file, o.global, net.LookupHost)
	if cfg != nil && o.errorLog != "" {
		cfg.ErrorLog.File = o.errorLog
	}
	logs := &web.Logs{}
	if err != nil {
		return emerg(logs, web.Target{File: web.DefaultErrorLog, Level: web.Error}, o, err)
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(os.Stderr, "nginx: [warn] %s\n", w)
	}
	switch {
	case o.test || o.dump:
		return test(o, logs, cfg)
	case o.command != "":
		return send(o.command, logs, cfg)
	}
	return serve(o, logs, cfg)
}

// emerg says what keeps the server from starting, on standard error and in the error log.
func emerg(logs *web.Logs, t web.Target, o options, err error) int {
	if !o.test && !o.dump && o.command == "" && logs.Open([]string{t.File}) == nil {
		logs.Error(t, web.Emerg, err.Error())
	}
	fmt.Fprintf(os.Stderr, "nginx: [emerg] %v\n", err)
	if o.test || o.dump {
		fmt.Fprintf(os.Stderr, "nginx: configuration file %s test failed\n", o.file)
	}
	return 1
}

func test(o options, logs *web.Logs, cfg *web.Config) int {
	if !o.quiet {
		fmt.Fprintf(os.Stderr, "nginx: the configuration file %s syntax is ok\n", o.file)
	}
	if err := logs.Open(cfg.Files); err != nil {
		return emerg(logs, cfg.ErrorLog, o, err)
	}
	if !o.quiet {
		fmt.Fprintf(os.Stderr, "nginx: configuration file %s test is successful\n", o.file)
	}
	if o.dump {
		for _, f := range cfg.Sources {
			text, err := os.ReadFile(f)
			if err != nil {
				return emerg(logs, cfg.ErrorLog, o, err)
			}
			fmt.Printf("# configuration file %s:\n%s\n", f, text)
		}
	}
	return 0
}

// send signals the server whose pid is in its file.
func send(command string, logs *web.Logs, cfg *web.Config) int {
	text, err := os.ReadFile(cfg.PID)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nginx: [error] open() %q failed (%s)\n", cfg.PID, web.ErrnoText(err))
		return 1
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		fmt.Fprintf(os.Stderr, "nginx: [error] invalid PID number %q in %q\n", bytes.TrimSpace(text), cfg.PID)
		return 1
	}
	if logs.Open(cfg.Files) == nil {
		logs.Error(cfg.ErrorLog, web.Notice, "signal process started")
	}
	sig := map[string]syscall.Signal{"stop": syscall.SIGTERM, "quit": syscall.SIGQUIT, "reload": syscall.SIGHUP, "reopen": syscall.SIGUSR1}[command]
	if err := sys.Kill(pid, sig); err != nil {
		fmt.Fprintf(os.Stderr, "nginx: [alert] kill(%d, %d) failed (%s)\n", pid, sig, web.ErrnoText(err))
		return 1
	}
	return 0
}

// serve runs the server until it is told to end.
func serve(o options, logs *web.Logs, cfg *web.Config) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGCHLD)
	server := &web.Server{Version: version(), Logs: logs}
	if err := server.Apply(cfg); err != nil {
		return emerg(logs, cfg.ErrorLog, o, err)
	}
	if cfg.Daemon {
		server.Drain()
		return daemonise(o)
	}
	if err := os.WriteFile(cfg.PID, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return emerg(logs, cfg.ErrorLog, o, fmt.Errorf("open() %q failed (%s)", cfg.PID, web.ErrnoText(err)))
	}
	defer os.Remove(cfg.PID)
	say := func(level int, format string, args ...any) {
		logs.Error(server.Current().ErrorLog, level, fmt.Sprintf(format, args...))
	}
	say(web.Notice, "nginx/%s (drydock substitute)", server.Version)
	say(web.Notice, "built with %s for %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for sig := range signals {
		switch sig {
		case syscall.SIGHUP:
			say(web.Notice, "signal 1 (SIGHUP) received, reconfiguring")
			if err := reload(o, server); err != nil {
				say(web.Emerg, "%v", err)
			} else {
				say(web.Notice, "reconfigured")
			}
		case syscall.SIGUSR1:
			say(web.Notice, "signal 10 (SIGUSR1) received, reopening logs")
			if err := logs.Reopen(); err != nil {
				say(web.Emerg, "%v", err)
			}
		case syscall.SIGCHLD:
			reap()
		default:
			name := map[os.Signal]string{syscall.SIGTERM: "15 (SIGTERM)", syscall.SIGINT: "2 (SIGINT)", syscall.SIGQUIT: "3 (SIGQUIT)"}[sig]
			say(web.Notice, "signal %s received, shutting down", name)
			say(web.Notice, "gracefully shutting down")
			server.Drain()
			say(web.Notice, "exit")
			return 0
		}
	}
	return 0
}

func reload(o options, server *web.Server) error {
	cfg, err := web.Load(o.file, o.global, net.LookupHost)
	if err != nil {
		return err
	}
	return server.Apply(cfg)
}

// reap takes the exits of orphans, which come to whoever is process 1 of a container.
func reap() {
	for {
		if pid, _, _, err := sys.Wait(-1, sys.WNOHANG); pid <= 0 || err != nil {
			return
		}
	}
}

// daemonise starts the server in the background, in a session of its own.
func daemonise(o options) int {
	self, err := os.Executable()
	if err == nil {
		var null *os.File
		if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			fd := int(null.Fd())
			_, err = sys.Spawn(self, []string{"nginx", "-c", o.file, "-g", strings.TrimSpace(o.global + " daemon off;")}, &sys.SpawnAttr{Setsid: true, Dir: "/", Files: []int{fd, fd, fd}})
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "nginx: [emerg] fork() failed (%s)\n", web.ErrnoText(err))
		return 1
	}
	return 0
}
