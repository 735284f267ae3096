package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// container is a container between create and rm; it has a life in the runtime while it runs.
type container struct {
	e       *Engine
	id      string
	image   *image.Image
	config  *api.Config     // with what the image says filled in; immutable
	host    *api.HostConfig // immutable but for Resources and RestartPolicy, which are guarded by mu
	created time.Time
	upper   *vfs.Tmpfs
	log     *runtime.Log
	mounts  []mount // immutable

	ops  sync.Mutex                // held while it is started, stopped, renamed or removed
	nets *network.NetworkingConfig // guarded by ops: what was asked for, while a network of it is missing

	name      string               // guarded by Engine.mu
	endpoints map[string]*endpoint // guarded by Engine.mu; by network; nil while one is missing
	dead      bool                 // guarded by Engine.mu: removed, or about to be
	keep      func()               // guarded by Engine.mu: has it kept; nil while it is made

	mu       sync.Mutex
	state    api.ContainerState // guarded by mu
	life     *life              // guarded by mu; nil unless it runs
	started  time.Time          // guarded by mu
	finished time.Time          // guarded by mu
	exitCode int                // guarded by mu
	oom      bool               // guarded by mu
	failed   string             // guarded by mu: why it did not start
	restarts int                // guarded by mu
	stopped  bool               // guarded by mu: by somebody, so that no policy starts it again
	timer    func() bool        // guarded by mu: takes a planned restart back
	health   *health            // guarded by mu; of the last life
	waiters  []*waiter          // guarded by mu
	joiners  []chan attachment  // guarded by mu: who attached before the start
	running  map[string]*exec   // guarded by mu
}

// life is one run of a container: a sandbox of the runtime and a container of the same id in it.
type life struct {
	sandbox string
	gone    chan struct{} // closed when everything of it is released
}

// attachment is what somebody who attached early gets at the start.
type attachment struct {
	to  *runtime.Attachment
	err error
}

// waiter is a call of wait. The channel has room for the one answer.
type waiter struct {
	when   api.WaitCondition
	answer chan api.WaitResponse
}

// namePattern is Docker's rule for names.
var namePattern = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

const maxName = 128

// create makes a container.
func (e *Engine) create(name string, req *api.CreateRequest) (*container, []string, error) {
	if req.Config == nil {
		return nil, nil, invalid("config cannot be empty in order to create a container")
	}
	if req.HostConfig == nil {
		req.HostConfig = &api.HostConfig{}
	}
	img, err := e.cfg.Images.Find(req.Image)
	if err != nil {
		return nil, nil, notFound("No such image: %s", withTag(req.Image))
	}
	c := &container{e: e, id: e.newID(), image: img, host: req.HostConfig, created: e.now(), state: api.StateCreated, running: map[string]*exec{}}
	if c.config, err = merge(req.Config, img.Config, c.id); err != nil {
		return nil, nil, err
	}
	if c.config.Healthcheck, err = e.healthConfig(c.config.Healthcheck, img); err != nil {
		return nil, nil, err
	}
	warnings, err := c.check()
	if err != nil {
		return nil, nil, err
	}
	if err := e.register(c, name); err != nil {
		return nil, nil, err
	}
	if err := e.furnish(c, req.NetworkingConfig); err != nil {
		e.forget(c)
		c.release()
		return nil, nil, err
	}
	e.event(events.ContainerEventType, events.ActionCreate, c.id, c.attributes())
	return c, warnings, nil
}

// furnish gives a container its files, volumes and places on networks.
func (e *Engine) furnish(c *container, nets *network.NetworkingConfig) (err error) {
	c.upper, c.log = e.files(c.id)
	if err := e.plug(c, nets); err != nil {
		return err
	}
	if c.mounts, err = e.makeMounts(c); err != nil {
		return err
	}
	e.adopt(c)
	return nil
}

// withTag is a name as Docker's errors write it.
func withTag(name string) string {
	if r, err := image.ParseRef(name); err == nil {
		return r.Familiar()
	}
	return name
}

// merge puts the image's configuration under the request's, as the daemon does (image spec, "Converting to OCI Runtime Configuration").
func merge(req *api.Config, img image.Config, id string) (*api.Config, error) {
	c := *req
	c.User = cmp.Or(c.User, img.User)
	c.WorkingDir = cmp.Or(c.WorkingDir, img.WorkingDir)
	c.StopSignal = cmp.Or(c.StopSignal, img.StopSignal)
	c.Hostname = cmp.Or(c.Hostname, id[:12])
	c.Env = mergeEnv(img.Env, req.Env)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(img.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(img.Entrypoint)
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" { // --entrypoint ""
		c.Entrypoint = nil
	}
	if len(c.Entrypoint)+len(c.Cmd) == 0 {
		return nil, invalid("no command specified")
	}
	labels := maps.Clone(img.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, req.Labels)
	c.Labels = labels
	ports := network.PortSet{}
	maps.Copy(ports, req.ExposedPorts)
	for _, p := range img.ExposedPorts {
		if port, err := network.ParsePort(p); err == nil {
			ports[port] = struct{}{}
		}
	}
	c.ExposedPorts = ports
	volumes := maps.Clone(req.Volumes)
	for _, v := range img.Volumes {
		if volumes == nil {
			volumes = map[string]struct{}{}
		}
		volumes[v] = struct{}{}
	}
	c.Volumes = volumes
	return &c, nil
}

// mergeEnv has the request's variables win; a name without a value there removes it.
func mergeEnv(img, req []string) []string {
	env := slices.Clone(img)
	for _, e := range req {
		name, _, has := strings.Cut(e, "=")
		env = slices.DeleteFunc(env, func(o string) bool { return o == name || strings.HasPrefix(o, name+"=") })
		if has {
			env = append(env, e)
		}
	}
	return env
}

// check refuses what this host cannot do, all of it in one error.
func (c *container) check() (warnings []string, err error) {
	h := c.host
	var not []string
	for what, wanted := range map[string]bool{
		"--privileged": h.Privileged, "--device": len(h.Devices) > 0, "--gpus and device requests": len(h.DeviceRequests) > 0, "--volumes-from": len(h.VolumesFrom) > 0,
		"--ipc=" + string(h.IpcMode): h.IpcMode.IsHost() || h.IpcMode.IsContainer(), "--pid=" + string(h.PidMode): h.PidMode != "" && !h.PidMode.IsHost(),
		"--network=" + string(h.NetworkMode): h.NetworkMode.IsContainer(), "--link": len(h.Links) > 0, "--cgroup-parent": h.CgroupParent != "", "--userns=" + string(h.UsernsMode): h.UsernsMode != "" && !h.UsernsMode.IsHost(),
		"--sysctl":               len(h.Sysctls) > 0,
		"--runtime=" + h.Runtime: h.Runtime != "" && h.Runtime != runtimeName,
	} {
		if wanted {
			not = append(not, what)
		}
	}
	if len(not) > 0 {
		slices.Sort(not)
		return nil, unsupported(strings.Join(not, ", "))
	}
	if err := checkHealth(c.config.Healthcheck); err != nil {
		return nil, err
	}
	if h.Memory != 0 && h.Memory < 6<<20 {
		return nil, invalid("Minimum memory limit allowed is 6MB")
	}
	if h.NanoCPUs < 0 || h.NanoCPUs > 0 && h.CPUQuota > 0 {
		return nil, invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")
	}
	if p := h.RestartPolicy; p.MaximumRetryCount != 0 && p.Name != api.RestartPolicyOnFailure {
		return nil, invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
	}
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return nil, invalid("can't create 'AutoRemove' container with restart policy")
	}
	if len(h.CapAdd)+len(h.SecurityOpt) > 0 {
		warnings = append(warnings, "Drydock's programs are WebAssembly: capabilities and security options change nothing here.")
	}
	return warnings, nil
}

// runtimeName is the OCI runtime that `docker info` names.
const runtimeName = "drydock"

// register gives a container its name. A conflict's text is Docker's.
func (e *Engine) register(c *container, name string) error {
	if name != "" && (!namePattern.MatchString(name) || len(name) > maxName) {
		return invalid("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	name = strings.TrimPrefix(name, "/")
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return failure(503, "the machine is off")
	}
	if len(e.containers) >= e.cfg.Containers {
		return failure(507, "this host has %d containers, the most a lab may have: remove some (docker container prune)", e.cfg.Containers)
	}
	if name == "" {
		name = e.freeNameLocked()
	}
	if o := e.names[name]; o != nil {
		return nameConflict(name, o.id)
	}
	c.name = name
	e.names[name], e.containers[c.id] = c, c
	return nil
}

func nameConflict(name, id string) error {
	return conflict("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, id)
}

// forget makes a container unknown.
func (e *Engine) forget(c *container) {
	e.unplug(c)
	e.mu.Lock()
	defer e.mu.Unlock()
	c.dead = true
	delete(e.containers, c.id)
	if e.names[c.name] == c {
		delete(e.names, c.name)
	}
	for id, x := range e.execs {
		if x.c == c {
			delete(e.execs, id)
		}
	}
}

// release gives back what a container that is forgotten held on the disk.
func (c *container) release() { c.e.cfg.Keeper.Drop(c.keptAs()) }

// find looks a container up by id, name or an unambiguous prefix of its id.
func (e *Engine) find(ref string) (*container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containers[ref]; c != nil {
		return c, nil
	}
	if c := e.names[strings.TrimPrefix(ref, "/")]; c != nil {
		return c, nil
	}
	var found *container
	for id, c := range e.containers {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, invalid("multiple IDs found with provided prefix: %s", ref)
		}
		found = c
	}
	if found == nil {
		return nil, notFound("No such container: %s", ref)
	}
	return found, nil
}

// all are the containers, the newest first, as docker ps lists them.
func (e *Engine) all() []*container {
	e.mu.Lock()
	l := slices.Collect(maps.Values(e.containers))
	e.mu.Unlock()
	slices.SortFunc(l, func(a, b *container) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id)) })
	return l
}

func (c *container) currentName() string {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	return c.name
}

// attributes are what events tell of a container.
func (c *container) attributes() map[string]string {
	a := maps.Clone(c.config.Labels)
	a["image"], a["name"] = c.config.Image, c.currentName()
	return a
}

// isRunning tells whether a first process is there.
func (c *container) isRunning() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life != nil
}

// start starts a container that does not run; started is false when it did already.
func (c *container) start(ctx context.Context) (started bool, err error) {
	c.ops.Lock()
	defer c.ops.Unlock()
	if c.isRunning() {
		return false, nil
	}
	c.mu.Lock()
	c.stopped, c.restarts = false, 0
	c.cancelRestartLocked()
	c.mu.Unlock()
	return true, c.launch(ctx)
}

// launch begins a life. Precondition: ops is held and there is none.
func (c *container) launch(ctx context.Context) error {
	e := c.e
	if c.isDead() {
		return notFound("No such container: %s", c.id)
	}
	l, err := e.enter(c)
	if err != nil {
		c.unstarted(err)
		return err
	}
	spec := c.spec()
	if _, err := e.runtime.CreateContainer(ctx, l.sandbox, spec); err != nil {
		e.leave(c, l)
		err = failure(500, "%s", err)
		c.unstarted(err)
		return err
	}
	c.mu.Lock()
	c.life, c.state, c.started, c.failed, c.oom = l, api.StateRunning, e.now(), "", false
	joiners := c.joiners
	c.joiners = nil
	c.mu.Unlock()
	for _, j := range joiners {
		a, err := e.runtime.Join(c.id)
		j <- attachment{a, err}
	}
	if err := e.runtime.StartContainer(ctx, c.id); err != nil {
		c.mu.Lock()
		c.life = nil
		c.mu.Unlock()
		e.leave(c, l)
		err := startFailure(err)
		c.unstarted(err)
		return err
	}
	c.watchHealth(l)
	e.event(events.ContainerEventType, events.ActionStart, c.id, c.attributes())
	return nil
}

func (c *container) isDead() bool {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	return c.dead
}

// unstarted notes that a start did not work. Who waits for the next exit goes on waiting: there was none.
func (c *container) unstarted(err error) {
	code := 128
	var failed *startError
	if errors.As(err, &failed) {
		code = failed.code
	}
	c.mu.Lock()
	c.state, c.failed, c.exitCode, c.finished = api.StateCreated, err.Error(), code, c.e.now()
	if failed != nil {
		c.state = api.StateExited
	}
	joiners := c.joiners
	c.joiners = nil
	remove := c.host.AutoRemove
	c.mu.Unlock()
	c.e.keep(c)
	c.e.changed.tell()
	for _, j := range joiners {
		j <- attachment{err: err}
	}
	if remove {
		c.e.spawn(func() { _ = c.remove(true, true) })
	}
}

// startError is a first process that could not be started, with the exit code that a shell would give.
type startError struct {
	code int
	text string
}

// Error implements error.
func (e *startError) Error() string { return e.text }

// startFailure turns the runtime's words into the daemon's, which the client reads to choose between 125, 126 and 127.
func startFailure(err error) error {
	text := err.Error()
	_, cause, ok := strings.Cut(text, "unable to start container process: ")
	if !ok {
		return failure(500, "%s", text)
	}
	code := 128
	switch {
	case strings.Contains(cause, "executable file not found"), strings.Contains(cause, "no such file or directory"):
		code = 127
	case strings.Contains(cause, "permission denied"), strings.Contains(cause, "is a directory"), strings.Contains(cause, "exec format error"):
		code = 126
	}
	return &startError{code, "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: " + cause}
}

// spec is what the runtime is asked to run.
func (c *container) spec() runtime.ContainerSpec {
	c.mu.Lock()
	res := resources(c.host.Resources)
	c.mu.Unlock()
	s := runtime.ContainerSpec{ID: c.id, Name: c.currentName(), Image: c.image.ID, Command: slices.Concat(c.config.Entrypoint, c.config.Cmd), Env: c.config.Env,
		WorkingDir: c.config.WorkingDir, User: runtime.User{Name: c.config.User}, TTY: c.config.Tty, Stdin: c.config.OpenStdin, StdinOnce: c.config.StdinOnce,
		Resources: res, ReadOnlyRoot: c.host.ReadonlyRootfs, StopSignal: c.config.StopSignal, Labels: c.config.Labels, Upper: c.upper, Log: c.log}
	for _, g := range c.host.GroupAdd {
		if n, err := strconv.ParseInt(g, 10, 64); err == nil {
			s.User.Groups = append(s.User.Groups, n)
		}
	}
	for _, m := range c.mounts {
		s.Mounts = append(s.Mounts, m.spec)
	}
	return s
}

// resources are the limits of the cgroup.
func resources(r api.Resources) runtime.Resources {
	out := runtime.Resources{MemoryMax: r.Memory, MemoryRequest: r.MemoryReservation, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod}
	if r.NanoCPUs > 0 {
		out.CPUPeriod, out.CPUQuota = 100_000, r.NanoCPUs/10_000
	}
	if r.CPUShares > 0 { // runc's conversion of 2…262144 to 1…10000
		out.CPUWeight = uint64(1 + (min(max(r.CPUShares, 2), 262144)-2)*9999/262142)
	}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		out.PidsMax = *r.PidsLimit
	}
	return out
}

// exited is told by the runtime: the first process has ended. It holds no ops: whoever stops the container holds it and waits for this.
func (e *Engine) exited(c *container) {
	st, err := e.runtime.ContainerStatus(context.Background(), c.id)
	c.mu.Lock()
	l := c.life
	if err != nil || l == nil || st.Reason == runtime.ReasonStart {
		c.mu.Unlock()
		return
	}
	c.exitCode, c.oom, c.finished = st.ExitCode, st.Reason == runtime.ReasonOOMKilled, st.FinishedAt
	c.mu.Unlock()
	e.leave(c, l)
	c.mu.Lock()
	c.life, c.state = nil, api.StateExited
	c.endHealthLocked()
	again, wait := c.againLocked()
	if again {
		c.state = api.StateRestarting
		c.timer = c.e.cfg.Machine.Clock().AfterFunc(wait, func() { e.spawn(c.restartByPolicy) })
	}
	c.answerLocked(api.WaitResponse{StatusCode: int64(c.exitCode)}, api.WaitConditionNotRunning, api.WaitConditionNextExit)
	remove := c.host.AutoRemove && !again
	code := c.exitCode
	c.mu.Unlock()
	close(l.gone)
	a := c.attributes()
	a["exitCode"] = strconv.Itoa(code)
	e.event(events.ContainerEventType, events.ActionDie, c.id, a)
	if remove {
		e.spawn(func() { _ = c.remove(true, true) })
	}
}

// answerLocked answers those who wait for one of the conditions.
func (c *container) answerLocked(r api.WaitResponse, when ...api.WaitCondition) {
	c.waiters = slices.DeleteFunc(c.waiters, func(w *waiter) bool {
		if !slices.Contains(when, w.when) {
			return false
		}
		w.answer <- r
		return true
	})
}

// spawn runs f on a goroutine that Close waits for.
func (e *Engine) spawn(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.tasks.Go(f)
	}
}

// Restart delays, as the daemon's restart manager has them: doubled each time up to the most, from the beginning after a life of ten seconds.
const (
	restartDelay    = 100 * time.Millisecond
	maxRestartDelay = time.Minute
	goodLife        = 10 * time.Second
)

// againLocked decides whether the restart policy starts the container again, and when.
func (c *container) againLocked() (bool, time.Duration) {
	p := c.host.RestartPolicy
	switch {
	case c.stopped:
		return false, 0
	case p.IsAlways(), p.IsUnlessStopped():
	case p.IsOnFailure() && c.exitCode != 0 && (p.MaximumRetryCount == 0 || c.restarts < p.MaximumRetryCount):
	default:
		return false, 0
	}
	n := c.restarts
	if c.finished.Sub(c.started) >= goodLife {
		n = 0
	}
	c.restarts++
	return true, min(restartDelay<<min(n, 10), maxRestartDelay)
}

func (c *container) restartByPolicy() {
	c.ops.Lock()
	defer c.ops.Unlock()
	c.mu.Lock()
	due := c.timer != nil && !c.stopped && c.life == nil
	c.timer = nil
	c.mu.Unlock()
	if due {
		_ = c.launch(context.Background()) // noted in the container's state
	}
}

// cancelRestartLocked takes a planned restart back.
func (c *container) cancelRestartLocked() {
	if c.timer != nil {
		c.timer()
		c.timer = nil
		c.state = api.StateExited
	}
}

// stop ends a container: its stop signal, after grace KILL. stopped is false when it did not run.
func (c *container) stop(ctx context.Context, signal string, grace *int) (stopped bool, err error) {
	c.ops.Lock()
	defer c.ops.Unlock()
	return c.stopHeld(ctx, signal, grace)
}

func (c *container) stopHeld(ctx context.Context, signal string, grace *int) (bool, error) {
	c.mu.Lock()
	c.stopped = true
	c.cancelRestartLocked()
	l := c.life
	c.mu.Unlock()
	if l == nil {
		return false, nil
	}
	seconds := 10
	if c.config.StopTimeout != nil {
		seconds = *c.config.StopTimeout
	}
	if grace != nil {
		seconds = *grace
	}
	_ = c.unpause() // as the daemon does: a signal would wait otherwise
	wait := time.Duration(seconds) * time.Second
	if seconds < 0 {
		wait = 100 * 365 * 24 * time.Hour // no KILL, however long it takes
	}
	if signal != "" {
		if err := c.e.runtime.Signal(c.id, signal); err != nil && !errors.Is(err, runtime.ErrState) {
			return false, invalid("%s", err)
		}
	}
	if err := c.e.runtime.StopContainer(ctx, c.id, wait); err != nil {
		return false, failure(500, "cannot stop container: %s: %s", c.id, err)
	}
	select {
	case <-l.gone:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	c.e.event(events.ContainerEventType, events.ActionStop, c.id, c.attributes())
	return true, nil
}

// kill sends a signal to the first process.
func (c *container) kill(ctx context.Context, signal string) error {
	c.mu.Lock()
	l := c.life
	c.mu.Unlock()
	if l == nil {
		return conflict("cannot kill container: %s: container %s is not running", c.currentName(), c.id)
	}
	fatal := signal == "" || signal == "9" || strings.TrimPrefix(strings.ToUpper(signal), "SIG") == "KILL"
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	if err := c.e.runtime.Signal(c.id, cmp.Or(signal, "KILL")); errors.Is(err, runtime.ErrState) || errors.Is(err, runtime.ErrNotFound) {
		return conflict("cannot kill container: %s: container %s is not running", c.currentName(), c.id)
	} else if err != nil && !errors.Is(err, syscall.ESRCH) {
		return invalid("%s", err)
	}
	_ = c.unpause()
	a := c.attributes()
	a["signal"] = cmp.Or(signal, "9")
	c.e.event(events.ContainerEventType, events.ActionKill, c.id, a)
	if fatal {
		select {
		case <-l.gone:
		case <-ctx.Done():
		}
	}
	return nil
}

// restart stops and starts.
func (c *container) restart(ctx context.Context, signal string, grace *int) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if _, err := c.stopHeld(ctx, signal, grace); err != nil {
		return err
	}
	c.mu.Lock()
	c.stopped, c.restarts = false, 0
	c.mu.Unlock()
	if err := c.launch(ctx); err != nil {
		return err
	}
	c.e.event(events.ContainerEventType, events.ActionRestart, c.id, c.attributes())
	return nil
}

// remove forgets a container; with force one that runs is killed, with volumes its anonymous ones go, too.
func (c *container) remove(force, volumes bool) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if c.isDead() {
		return notFound("No such container: %s", c.id)
	}
	c.mu.Lock()
	state, l := c.state, c.life
	if l != nil && !force {
		c.mu.Unlock()
		return conflict("cannot remove container %q: container is %s: stop the container before removing or force remove", c.currentName(), state)
	}
	c.stopped = true
	c.cancelRestartLocked()
	c.mu.Unlock()
	if l != nil {
		zero := 0
		if _, err := c.stopHeld(context.Background(), "", &zero); err != nil {
			return err
		}
	}
	a := c.attributes()
	c.e.forget(c)
	c.e.dropMounts(c, volumes)
	c.release()
	c.mu.Lock()
	c.answerLocked(api.WaitResponse{StatusCode: int64(c.exitCode)}, api.WaitConditionRemoved, api.WaitConditionNotRunning, api.WaitConditionNextExit)
	joiners := c.joiners
	c.joiners = nil
	c.mu.Unlock()
	for _, j := range joiners {
		j <- attachment{err: notFound("No such container: %s", c.id)}
	}
	c.e.event(events.ContainerEventType, events.ActionDestroy, c.id, a)
	return nil
}

// rename gives a container another name.
func (c *container) rename(name string) error {
	if !namePattern.MatchString(name) || len(name) > maxName {
		return invalid("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	name = strings.TrimPrefix(name, "/")
	c.e.mu.Lock()
	old := c.name
	switch o := c.e.names[name]; {
	case o == c:
		c.e.mu.Unlock()
		return invalid("Renaming a container with the same name as its current name")
	case o != nil:
		c.e.mu.Unlock()
		return nameConflict(name, o.id)
	}
	delete(c.e.names, old)
	c.name, c.e.names[name] = name, c
	c.e.mu.Unlock()
	a := c.attributes()
	a["oldName"] = "/" + old
	c.e.event(events.ContainerEventType, events.ActionRename, c.id, a)
	return nil
}

// wait returns a channel that gets the answer once the condition is met.
func (c *container) wait(when api.WaitCondition) (<-chan api.WaitResponse, func()) {
	w := &waiter{when: when, answer: make(chan api.WaitResponse, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if when == api.WaitConditionNotRunning && c.life == nil && c.state != api.StateRestarting {
		w.answer <- api.WaitResponse{StatusCode: int64(c.exitCode)}
		return w.answer, func() {}
	}
	c.waiters = append(c.waiters, w)
	return w.answer, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiters = slices.DeleteFunc(c.waiters, func(x *waiter) bool { return x == w })
	}
}

// joiner is a place among those who attach. One goroutine uses it.
type joiner struct {
	c    *container
	ch   chan attachment // gets one attachment, unless the place was given up before
	done bool            // it was taken
}

// enlist takes a place: from now on nothing is missed of what a container prints that runs or is started later.
func (c *container) enlist() *joiner {
	j := &joiner{c: c, ch: make(chan attachment, 1)}
	c.mu.Lock()
	if c.life == nil {
		c.joiners = append(c.joiners, j.ch)
		c.mu.Unlock()
		return j
	}
	c.mu.Unlock()
	a, err := c.e.runtime.Join(c.id)
	j.ch <- attachment{a, err}
	return j
}

// wait is the attachment, once the container runs. io.EOF when ctx is done before, or why it did not start.
func (j *joiner) wait(ctx context.Context) (*runtime.Attachment, error) {
	select {
	case a := <-j.ch:
		j.done = true
		return a.to, a.err
	case <-ctx.Done():
		return nil, io.EOF
	}
}

// leave gives the place up, and an attachment that nobody waited for.
func (j *joiner) leave() {
	if j.done {
		return
	}
	j.done = true
	j.c.mu.Lock()
	at := slices.Index(j.c.joiners, j.ch)
	if at >= 0 {
		j.c.joiners = slices.Delete(j.c.joiners, at, at+1)
	}
	j.c.mu.Unlock()
	if at >= 0 {
		return
	}
	if a := <-j.ch; a.to != nil { // it is there, or whoever took it from the list is about to send it
		a.to.Leave()
	}
}

// command is what docker ps shows under COMMAND.
func (c *container) command() string {
	return strings.Join(slices.Concat(c.config.Entrypoint, c.config.Cmd), " ")
}

// hostsFile is the text of /etc/hosts, as the daemon writes it.
func (c *container) hostsFile(own []*endpoint) string {
	b := strings.Builder{}
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, x := range c.host.ExtraHosts {
		if name, ip, ok := strings.Cut(x, ":"); ok {
			if ip == "host-gateway" {
				ip = defaultSubnet.Addr().Next().String()
			}
			fmt.Fprintf(&b, "%s\t%s\n", ip, name)
		}
	}
	for _, n := range own {
		fmt.Fprintf(&b, "%s\t%s\n", n.addr, c.config.Hostname)
	}
	return b.String()
}
