package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/server/api"
)

// The learner's account on the workstation. On nodes one is root, as on machines that one administers.
const (
	learnerUID  = 1000
	learnerHome = "/home/learner"
)

var learnerCred = vfs.Cred{UID: learnerUID, GID: learnerUID}

// login is a process of whoever sits at a machine, not started yet.
func (n *node) login(lang string, more ...string) (kernel.SpawnSpec, *boot, error) {
	if err := n.unlock(); err != nil {
		return kernel.SpawnSpec{}, nil, err
	}
	b, err := n.current()
	if err != nil {
		return kernel.SpawnSpec{}, nil, &api.Refusal{Code: "machine-off", Params: map[string]any{"machine": n.name}}
	}
	cred, home, user := vfs.Root, "/root", "root"
	if n.isWorkstation() {
		cred, home, user = learnerCred, learnerHome, Learner
	}
	messages := "C.UTF-8"
	if lang == "ko" {
		messages = "ko_KR.UTF-8"
	}
	env := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "USER=" + user, "LOGNAME=" + user, "SHELL=/bin/bash",
		"LANG=C.UTF-8", "LC_MESSAGES=" + messages}, more...)
	return kernel.SpawnSpec{Path: "/bin/bash", Env: env, Dir: home, Cred: &cred}, b, nil
}

// Terminal implements api.Lab.
func (l *Lab) Terminal(machine string, rows, cols int, lang string) (api.Terminal, error) {
	n, ok := l.nodes[machine]
	if !ok {
		return nil, fmt.Errorf("there is no machine %q", machine)
	}
	if lang == "" {
		lang = l.lang
	}
	spec, b, err := n.login(lang, "TERM=xterm-256color", "COLORTERM=truecolor")
	if err != nil {
		return nil, err
	}
	tty := kernel.NewTTY(size(rows), size(cols))
	fd := tty.FD()
	defer fd.Close()
	spec.Args, spec.TTY, spec.Files = []string{"-bash"}, tty, []*kernel.FD{fd, fd, fd}
	if n.isWorkstation() && l.greeted.CompareAndSwap(false, true) {
		fd.Write(l.host.ctx, []byte(greeting(lang)))
	}
	t := &terminal{lab: l, tty: tty, starting: make(chan struct{})}
	ctx, cancel := context.WithCancel(l.host.ctx)
	t.cancel = cancel
	held := fd.Dup() // until the shell has its own: a terminal without any would be at its end
	go func() {
		defer close(t.starting)
		defer held.Close()
		p, err := b.machine.SpawnContext(ctx, spec)
		if err != nil {
			held.Write(ctx, []byte("bash: "+err.Error()+"\r\n"))
			return
		}
		t.mu.Lock()
		t.shell = p
		t.mu.Unlock()
		if ctx.Err() != nil { // closed meanwhile: the hang-up came before there was anybody to hear it
			_ = p.Signal(kernel.SIGKILL) // it may have ended
		}
	}()
	return t, nil
}

func size(n int) uint16 { return uint16(min(max(n, 1), 1000)) }

// greeting is what the first terminal of a lab says once.
func greeting(lang string) string {
	if lang == "ko" {
		return "이 랩의 프로그램은 모두 WebAssembly예요. 실제와 다른 점은 \x1b[1mdrydock differences\x1b[m 로 볼 수 있어요.\n"
	}
	return "Programs in this lab are WebAssembly. What differs from the real thing: \x1b[1mdrydock differences\x1b[m\n"
}

// terminal implements api.Terminal. Its shell starts behind it: on a machine's first start its program may still have to be compiled.
type terminal struct {
	lab      *Lab
	tty      *kernel.TTY
	cancel   context.CancelFunc
	starting chan struct{}

	mu    sync.Mutex
	shell *kernel.Process // protected by mu
}

// Read implements api.Terminal.
func (t *terminal) Read(ctx context.Context) ([]byte, error) {
	b := make([]byte, 32<<10)
	n, err := t.tty.Master().Read(ctx, b)
	if n > 0 {
		return b[:n:n], nil
	}
	if err == nil {
		err = io.EOF
	}
	return nil, err
}

// Write implements api.Terminal.
func (t *terminal) Write(ctx context.Context, p []byte) error {
	_, err := t.tty.Master().Write(ctx, p)
	return err
}

// Resize implements api.Terminal.
func (t *terminal) Resize(rows, cols int) error {
	t.tty.Master().Resize(size(rows), size(cols))
	return nil
}

// Foreground implements api.Terminal.
func (t *terminal) Foreground() string {
	t.mu.Lock()
	shell := t.shell
	t.mu.Unlock()
	p := t.tty.ForegroundProcess()
	if p == nil || p == shell {
		return ""
	}
	return p.Comm()
}

// Close implements api.Terminal.
func (t *terminal) Close() error {
	err := t.tty.Master().Close()
	t.cancel()
	<-t.starting
	return err
}

// outputLimit bounds what Run keeps of a command's output.
const outputLimit = 1 << 20

// Run implements api.Lab.
func (l *Lab) Run(ctx context.Context, line string) (output []byte, exit int, err error) {
	return l.RunOn(ctx, Workstation, line)
}

// RunOn runs a command line in a login shell on a machine, as its user, and waits for its end. The output is stdout and stderr as they came, at
// most 1 MiB; what is beyond is dropped. When ctx is done the shell and its children are killed.
func (l *Lab) RunOn(ctx context.Context, machine, line string) (output []byte, exit int, err error) {
	n, ok := l.nodes[machine]
	if !ok {
		return nil, 0, fmt.Errorf("there is no machine %q", machine)
	}
	spec, b, err := n.login(l.lang)
	if err != nil {
		return nil, 0, err
	}
	kept := &capped{}
	sink := kernel.NewSink("pipe", kept.write, nil)
	defer sink.Close()
	null := kernel.NullFD()
	defer null.Close()
	group, err := b.machine.Cgroup().Child(fmt.Sprintf("run-%d", l.runs.Add(1)), kernel.CgroupLimits{})
	if err != nil {
		return nil, 0, err
	}
	defer group.Close()
	spec.Args, spec.Files, spec.Setsid, spec.Cgroup = []string{"bash", "-lc", line}, []*kernel.FD{null, sink, sink}, true, group
	p, err := b.machine.SpawnContext(ctx, spec)
	if err != nil {
		return nil, 0, fmt.Errorf("bash: %w", err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		group.Kill()
		<-p.Done()
		return kept.bytes(), p.Status().ExitCode(), ctx.Err()
	}
	return kept.bytes(), p.Status().ExitCode(), nil
}

// capped keeps the first outputLimit bytes.
type capped struct {
	mu sync.Mutex
	b  bytes.Buffer // protected by mu
}

func (c *capped) write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.Write(p[:min(len(p), outputLimit-c.b.Len())])
	return len(p), nil
}

func (c *capped) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.b.Bytes())
}

// fileLimit bounds the files that ReadFile reads.
const fileLimit = 1 << 20

// learnerView is the workstation's files as the learner sees them.
func (l *Lab) learnerView() (*vfs.View, error) {
	n := l.nodes[Workstation]
	if err := n.unlock(); err != nil {
		return nil, err
	}
	b, err := n.current()
	if err != nil {
		return nil, &api.Refusal{Code: "machine-off", Params: map[string]any{"machine": n.name}}
	}
	return b.root.NS.View(learnerCred), nil
}

func atHome(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(learnerHome, name)
}

// ReadFile implements api.Lab and lessons.World.
func (l *Lab) ReadFile(name string) ([]byte, error) {
	v, err := l.learnerView()
	if err != nil {
		return nil, err
	}
	data, err := v.ReadFile(atHome(name), fileLimit)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return data, nil
}

// WriteFile implements api.Lab. Directories on the way are made.
func (l *Lab) WriteFile(name string, data []byte, mode uint32) error {
	v, err := l.learnerView()
	if err != nil {
		return err
	}
	full := atHome(name)
	if err := v.MkdirAll(path.Dir(full), 0o755); err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	if err := v.WriteFile(full, data, mode); err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	return nil
}

// Shell runs the learner's shell on the workstation with streams in the place of a terminal and waits for its end.
func (l *Lab) Shell(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (exit int, err error) {
	spec, b, err := l.nodes[Workstation].login(l.lang)
	if err != nil {
		return 0, err
	}
	in, _ := kernel.NewInput(ctx, stdin) // its goroutine ends with the process's end of the pipe, or waits in a read of stdin
	out, outDone := kernel.NewOutput(ctx, stdout)
	errOut, errDone := kernel.NewOutput(ctx, stderr)
	spec.Args, spec.Files, spec.Setsid = []string{"-bash"}, []*kernel.FD{in, out, errOut}, true
	p, err := b.machine.SpawnContext(ctx, spec)
	for _, fd := range spec.Files {
		fd.Close()
	}
	if err != nil {
		return 0, fmt.Errorf("bash: %w", err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		_ = p.Signal(kernel.SIGKILL) // it may have ended
		<-p.Done()
		return 0, ctx.Err()
	}
	if err := errors.Join(outDone(), errDone()); err != nil {
		return 0, err
	}
	return p.Status().ExitCode(), nil
}

// ExitCode waits for the shell's end and is its exit code.
func (t *terminal) ExitCode() int {
	<-t.starting
	t.mu.Lock()
	p := t.shell
	t.mu.Unlock()
	if p == nil {
		return 127
	}
	<-p.Done()
	return p.Status().ExitCode()
}
