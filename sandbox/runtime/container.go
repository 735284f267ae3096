package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Container is a container: a root file system, a cgroup, a pid namespace and at most one life.
type Container struct {
	ID    string
	spec  ContainerSpec
	r     *Runtime
	box   *Sandbox
	image *image.Image
	made  time.Time

	// Immutable once CreateContainer has returned.
	view   *vfs.View // of root, at /
	upper  *vfs.Tmpfs
	temp   []*vfs.Tmpfs // to be closed with the container
	last   *vfs.View    // of the termination log; may be nil
	dir    string       // working directory
	argv   []string
	env    []string
	cred   vfs.Cred
	cgroup *kernel.Cgroup
	pidns  *kernel.PIDNS
	log    *Log
	out    fanout
	begun  chan struct{} // closed when state is no longer Created
	ended  chan struct{} // closed when state is Exited

	mu       sync.Mutex
	state    State           // guarded by mu
	starting func()          // guarded by mu; gives the start up, nil when none is on
	started  chan struct{}   // guarded by mu; closed when the start is over
	paused   bool            // guarded by mu
	proc     *kernel.Process // guarded by mu; non-nil once started
	stdin    *kernel.FD      // guarded by mu; write end of the first process's standard input
	tty      *kernel.TTY     // guarded by mu
	oom      bool            // guarded by mu
	status   ContainerStatus // guarded by mu; what is known of the end
	removed  bool            // guarded by mu
}

// CreateContainer makes a container ready to start: its files are mounted, its limits set. Errors say what is wrong with the image or the spec.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, spec ContainerSpec) (string, error) {
	s, err := r.sandbox(sandboxID)
	if err != nil {
		return "", err
	}
	img, err := r.cfg.Images.Find(spec.Image)
	if err != nil {
		return "", fmt.Errorf("failed to resolve image: %w", err)
	}
	id := spec.ID
	if id == "" {
		if id, err = r.newID(); err != nil {
			return "", err
		}
	}
	c := &Container{ID: id, spec: spec, r: r, box: s, image: img, made: r.now(), state: Created, begun: make(chan struct{}), ended: make(chan struct{})}
	if err := c.setup(); err != nil {
		c.release()
		return "", fmt.Errorf("failed to create container %s: %w", spec.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.stopped || r.closed || r.containers[id] != nil {
		c.release()
		return "", fmt.Errorf("sandbox %q is stopped or has a container %s: %w", sandboxID, id, ErrState)
	}
	r.containers[id] = c
	return id, nil
}

func (c *Container) setup() error {
	limits, err := c.spec.Resources.cgroup()
	if err != nil {
		return err
	}
	if c.cgroup, err = c.box.cgroup.Child(c.ID, limits); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	c.cgroup.OnOOM(func(*kernel.Process) { c.r.exits.add(c.outOfMemory) })
	if c.box.spec.HostPID {
		c.pidns = c.r.m.PIDNS()
	} else {
		c.pidns = kernel.NewPIDNamespace(c.r.m.PIDNS())
	}
	limit := c.spec.LogLimit
	if limit <= 0 {
		limit = c.r.cfg.LogLimit
	}
	if c.log = c.spec.Log; c.log == nil {
		c.log = NewLog(limit, c.r.cfg.Disk)
	} else {
		c.log.reopen()
	}
	if err := c.rootfs(); err != nil {
		return err
	}
	return c.command()
}

// cgroup turns resources into limits.
func (x Resources) cgroup() (kernel.CgroupLimits, error) {
	if x.MemoryMax < 0 || x.CPUQuota < 0 || x.CPUPeriod < 0 || x.PidsMax < 0 || x.CPUWeight > 10000 {
		return kernel.CgroupLimits{}, errors.New("negative or excessive resources")
	}
	return kernel.CgroupLimits{MemoryMax: x.MemoryMax, MemoryRequest: x.MemoryRequest, OOMGroup: true,
		CPUMaxQuota: time.Duration(x.CPUQuota) * time.Microsecond, CPUPeriod: time.Duration(x.CPUPeriod) * time.Microsecond,
		CPUWeight: int64(x.CPUWeight), PidsMax: x.PidsMax}, nil
}

// command decides what is run, as whom and with which environment (Kubernetes: "Define a Command and Arguments for a Container").
func (c *Container) command() error {
	cfg, spec := c.image.Config, c.spec
	switch {
	case len(spec.Command) > 0:
		c.argv = append(slices.Clone(spec.Command), spec.Args...)
	case len(spec.Args) > 0:
		c.argv = append(slices.Clone(cfg.Entrypoint), spec.Args...)
	default:
		c.argv = append(slices.Clone(cfg.Entrypoint), cfg.Cmd...)
	}
	if len(c.argv) == 0 {
		return errors.New("no command specified")
	}
	user := cfg.User
	if spec.User.Name != "" {
		user = spec.User.Name
	}
	cred, home, err := identity(c.view, user, spec.User)
	if err != nil {
		return err
	}
	c.cred = cred
	usual := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + c.box.uts.Hostname(), "HOME=" + home}
	if spec.TTY {
		usual = append(usual, "TERM=xterm")
	}
	c.env = environment(usual, cfg.Env, spec.Env)
	return nil
}

func (r *Runtime) container(id string) (*Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[id]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("container %q: %w", id, ErrNotFound)
}

// startPrefix is what containerd puts before runc's words; people search for it.
const startPrefix = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "

// StartContainer starts the first process. When it cannot be started the container is Exited with code 128, the error's text is
// containerd's, and the log has the reason, too.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.state != Created || c.starting != nil {
		state := c.state
		c.mu.Unlock()
		return fmt.Errorf("container %s is %v: %w", id, state, ErrState)
	}
	ctx, c.starting = context.WithCancel(ctx)
	c.started = make(chan struct{})
	c.mu.Unlock()
	err = c.start(ctx)
	c.mu.Lock()
	c.starting()
	c.starting = nil
	close(c.started)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	r.cfg.Events(Event{Type: EventStarted, SandboxID: c.box.ID, ContainerID: c.ID})
	return nil
}

func (c *Container) start(ctx context.Context) error {
	path, err := lookPath(c.asUser(), c.argv[0], c.dir, c.env)
	if err != nil {
		return c.failed(err)
	}
	s := c.process(path, c.argv, c.env)
	in, tty := c.streams(&s)
	p, err := c.r.m.SpawnContext(ctx, s)
	for _, f := range s.Files {
		if f != nil {
			f.Close()
		}
	}
	if err != nil {
		if in != nil {
			in.Close()
		}
		if tty != nil {
			tty.Master().Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.failed(startError(path, err, c.image.Platform))
	}
	c.mu.Lock()
	c.state, c.proc, c.stdin, c.tty = Running, p, in, tty
	close(c.begun)
	c.status.StartedAt = c.r.now()
	c.mu.Unlock()
	if tty != nil {
		c.r.exits.pumps.Go(func() { c.pumpTTY(tty, p) })
	} else {
		c.whenEnded(p, c.exited)
	}
	return nil
}

// whenEnded has f run, away from the kernel's locks, once p has ended.
func (c *Container) whenEnded(p *kernel.Process, f func()) {
	var once sync.Once
	check := func() {
		select {
		case <-p.Done():
			once.Do(func() { c.r.exits.add(f) })
		default:
		}
	}
	p.Watch(check)
	check() // it may have ended before it was watched
}

// process is a SpawnSpec for a program in the container.
func (c *Container) process(path string, argv, env []string) kernel.SpawnSpec {
	v := *c.view
	v.Cred = c.cred
	return kernel.SpawnSpec{Path: path, Args: argv, Env: env, Dir: c.dir, View: &v, PIDNS: c.pidns, UTS: c.box.uts, Net: c.box.net, Cgroup: c.cgroup, Setsid: true}
}

func (c *Container) asUser() *vfs.View {
	v := *c.view
	v.Cred = c.cred
	return &v
}

// startError is what containerd says of a program that does not start.
func startError(path string, err error, p image.Platform) error {
	if err == syscall.ENOEXEC && p != image.Wasm {
		return &formatError{path, p}
	}
	if err == syscall.ENOEXEC {
		return fmt.Errorf("exec %s: exec format error", path)
	}
	return fmt.Errorf("exec %s: %w", path, err)
}

// formatError is ENOEXEC with the reason known.
type formatError struct {
	path     string
	platform image.Platform
}

// Error is runc's text alone, so that it is found where people look for it.
func (e *formatError) Error() string { return "exec " + e.path + ": exec format error" }

// failed ends a container that did not start.
func (c *Container) failed(err error) error {
	now := c.r.now()
	c.log.write(stderr, now, []byte(err.Error()+"\n"))
	var format *formatError
	if errors.As(err, &format) {
		c.log.write(stderr, now, fmt.Appendf(nil, "drydock: the image is for %s; the machines of a lab run %s\n", format.platform, image.Wasm))
	}
	err = errors.New(startPrefix + err.Error() + ": unknown")
	c.mu.Lock()
	c.status.ExitCode, c.status.Reason, c.status.Message = 128, ReasonStart, err.Error()
	c.finishLocked(now)
	c.mu.Unlock()
	return err
}

// finishLocked makes it Exited.
func (c *Container) finishLocked(now time.Time) {
	if c.state == Created {
		close(c.begun)
	}
	c.state = Exited
	c.status.FinishedAt = now
	c.log.close(now)
	c.out.close()
	close(c.ended)
}

// outOfMemory notes an OOM kill.
func (c *Container) outOfMemory() {
	c.mu.Lock()
	c.oom = true
	c.mu.Unlock()
	c.r.cfg.Events(Event{Type: EventOOM, SandboxID: c.box.ID, ContainerID: c.ID})
}

// exited notes the end of the first process.
func (c *Container) exited() {
	c.mu.Lock()
	p := c.proc
	c.mu.Unlock()
	if c.box.spec.HostPID {
		c.cgroup.Kill() // otherwise the pid namespace did it
	}
	message := c.lastWords()
	st := p.Status()
	c.mu.Lock()
	if c.stdin != nil {
		c.stdin.Close()
		c.stdin = nil
	}
	c.status.ExitCode, c.status.Signal = st.ExitCode(), int(st.Signaled())
	switch {
	case c.oom && c.status.ExitCode != 0 || p.OOMKilled():
		c.status.Reason = ReasonOOMKilled
	case c.status.ExitCode == 0:
		c.status.Reason = ReasonCompleted
	default:
		c.status.Reason = ReasonError
	}
	if message == "" && c.spec.TerminationFallsBackToLog && c.status.ExitCode != 0 {
		message = c.log.tail(2048, 80)
	}
	c.status.Message = message
	c.finishLocked(p.Usage().Exited)
	c.mu.Unlock()
	c.r.cfg.Events(Event{Type: EventExited, SandboxID: c.box.ID, ContainerID: c.ID})
}

// kill ends the container's processes at once, and a start that is on.
func (c *Container) kill() {
	c.mu.Lock()
	if c.starting != nil {
		c.starting()
		over := c.started
		c.mu.Unlock()
		<-over
		c.mu.Lock()
	}
	p, running := c.proc, c.state == Running
	c.mu.Unlock()
	if running {
		p.Signal(kernel.SIGKILL)
	}
}

// awaitEnd waits until a container that was started has ended.
func (c *Container) awaitEnd() {
	c.mu.Lock()
	wait := c.state == Running
	c.mu.Unlock()
	if wait {
		<-c.ended
	}
}

// StopContainer sends the stop signal and, when grace of lab time has passed, KILL; it returns when the container has ended or ctx is done
// (the KILL still comes). A container that does not run is stopped.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	sig, err := parseSignal(c.spec.StopSignal, c.image.Config.StopSignal)
	if err != nil {
		return err
	}
	c.mu.Lock()
	p, running := c.proc, c.state == Running
	c.mu.Unlock()
	if !running {
		return nil
	}
	if grace <= 0 {
		c.kill()
	} else {
		p.Signal(sig)
		stop := r.m.Clock().AfterFunc(grace, func() { r.exits.add(c.kill) })
		defer func() {
			select {
			case <-c.ended:
				stop()
			default:
			}
		}()
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signals by name without SIG, as signal(7) numbers them.
var signals = map[string]kernel.Signal{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	"STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31,
}

// parseSignal is the first of names that is not empty as a signal; SIGTERM when all are.
func parseSignal(names ...string) (kernel.Signal, error) {
	for _, n := range names {
		if n == "" {
			continue
		}
		if k, err := strconv.Atoi(n); err == nil && k > 0 && k <= int(kernel.MaxSignal) {
			return kernel.Signal(k), nil
		}
		if s, ok := signals[strings.TrimPrefix(strings.ToUpper(n), "SIG")]; ok {
			return s, nil
		}
		return 0, fmt.Errorf("invalid signal: %s", n)
	}
	return kernel.SIGTERM, nil
}

// ValidSignal tells whether a text names a signal.
func ValidSignal(name string) bool { _, err := parseSignal(name); return name != "" && err == nil }

// Signal sends a signal to the first process (`docker kill`). ErrState unless it runs.
func (r *Runtime) Signal(id, name string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	p, running := c.proc, c.state == Running
	c.mu.Unlock()
	if !running {
		return fmt.Errorf("container %s is not running: %w", id, ErrState)
	}
	return p.Signal(sig)
}

// Pause has a container's processes stand still, or go on. ErrState unless it runs and does not already.
func (r *Runtime) Pause(id string, on bool) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != Running || c.paused == on {
		return fmt.Errorf("container %s: %w", id, ErrState)
	}
	c.paused = on
	c.cgroup.Freeze(on)
	return nil
}

// SetResources changes the limits of a container, also while it runs.
func (r *Runtime) SetResources(id string, x Resources) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	limits, err := x.cgroup()
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.spec.Resources = x
	c.mu.Unlock()
	c.cgroup.SetLimits(limits)
	return nil
}

// RemoveContainer forgets a container with its log and upper layer. ErrState while it runs; an unknown one is removed.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	busy := c.state == Running || c.starting != nil
	c.mu.Unlock()
	if busy {
		return fmt.Errorf("container %s is running: %w", id, ErrState)
	}
	r.forget(c)
	return nil
}

func (r *Runtime) forget(c *Container) {
	r.mu.Lock()
	delete(r.containers, c.ID)
	r.mu.Unlock()
	c.release()
}

// release gives back everything that is charged. Twice is fine.
func (c *Container) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed {
		return
	}
	c.removed = true
	if c.state == Created {
		c.state = Exited
		close(c.begun)
		c.out.close()
		close(c.ended)
	}
	if c.log != nil && c.spec.Log == nil {
		c.log.Release()
	}
	own := c.temp
	if c.spec.Upper == nil {
		own = append(own, c.upper)
	}
	for _, t := range own {
		if t != nil {
			t.Close()
		}
	}
	if c.cgroup != nil {
		if err := c.cgroup.Close(); err != nil && err != syscall.ENOENT {
			c.r.m.Log(4, fmt.Sprintf("cgroup of container %s: %v", c.ID[:12], err))
		}
	}
}

// ContainerStatus tells of one container. ErrNotFound.
func (r *Runtime) ContainerStatus(_ context.Context, id string) (ContainerStatus, error) {
	c, err := r.container(id)
	if err != nil {
		return ContainerStatus{}, err
	}
	return c.current(), nil
}

func (c *Container) current() ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.ID, s.SandboxID, s.Name, s.Attempt = c.ID, c.box.ID, c.spec.Name, c.spec.Attempt
	s.Image, s.ImageDigest, s.State, s.CreatedAt = c.spec.Image, c.image.Digest, c.state, c.made
	s.Labels, s.Annotations = maps.Clone(c.spec.Labels), maps.Clone(c.spec.Annotations)
	if c.state == Running {
		s.PID = c.proc.PID(c.r.m.PIDNS())
	}
	return s
}

// ListContainers are those of a sandbox ("" = all), the oldest first.
func (r *Runtime) ListContainers(sandboxID string) []ContainerStatus {
	var l []ContainerStatus
	for _, c := range r.of(sandboxID) {
		l = append(l, c.current())
	}
	slices.SortStableFunc(l, func(a, b ContainerStatus) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return l
}

// Logs copies a part of a container's log to the writers, which may be the same; nil ones are left out. With Follow it returns when the
// container has ended and all is copied.
func (r *Runtime) Logs(ctx context.Context, id string, o LogOptions, stdout, stderr io.Writer) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	return c.log.Copy(ctx, o, stdout, stderr)
}

// Stats are a container's figures, all metered.
func (r *Runtime) Stats(_ context.Context, id string) (Stats, error) {
	c, err := r.container(id)
	if err != nil {
		return Stats{}, err
	}
	c.mu.Lock()
	limit := c.spec.Resources.MemoryMax
	c.mu.Unlock()
	g := c.cgroup.Stat()
	s := Stats{CPU: time.Duration(g.UsageUsec()) * time.Microsecond, Memory: g.MemoryCurrent, MemoryPeak: g.MemoryPeak, PIDs: g.Pids,
		Throttled: time.Duration(g.ThrottleUsec) * time.Microsecond, OOMKills: g.OOMKill, MemoryLimit: limit}
	s.DiskBytes, s.DiskInodes = c.upper.Used()
	return s, nil
}

// Files is a container's file system as its user root sees it, for host code (copying files in and out).
func (r *Runtime) Files(id string) (*vfs.View, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	v := *c.view
	return &v, nil
}
