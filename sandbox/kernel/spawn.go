package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// Bounds of what a program is started with.
const (
	ArgMax      = 256 << 10 // bytes of arguments and environment: E2BIG
	maxArgs     = 16 << 10  // strings of either: E2BIG
	maxScripts  = 4         // interpreters that are scripts themselves: ELOOP
	scriptLine  = 255       // bytes of a #! line
	maxModule   = 64 << 20  // bytes of a program in a file that may change: it is read and hashed at each start
	hashCost    = 1         // fuel per byte of that
	commLen     = 15
	spawnFDsMax = 64
)

// SpawnSpec describes a process to be started. Fields left zero come from Parent, or without one from the machine.
type SpawnSpec struct {
	Path string // as View sees it; no search in PATH
	Args []string
	Env  []string
	Dir  string // working directory; "" = the View's

	View *vfs.View // copied
	Cred *vfs.Cred // nil = the View's

	// Files are the descriptors 0, 1, 2 and 4 on; nil = closed. Each is duplicated: the caller keeps its references. Index 3 is
	// ignored, for fd 3 is the root.
	Files []*FD

	PIDNS  *PIDNS
	UTS    *UTS
	Net    *network.Stack
	Cgroup *Cgroup

	TTY        *TTY // becomes the controlling terminal; implies Setsid
	Setsid     bool
	SetPgid    bool // join group Pgid (as Parent numbers them), 0 = a new one
	Pgid       int
	Foreground *TTY // make the child's group the foreground group of this terminal

	// Parent is who waits for it. nil: the kernel's init, which reaps it when it ends; host code looks at Done and Status.
	Parent *Process
	Limits map[int]Rlimit // by resource; others as Parent's or the defaults
}

// Spawn starts a program in a new process. Errors are bare errnos: ENOENT, ENOTDIR, EACCES, ENOEXEC (not a program for this machine, an ELF file
// among them), E2BIG, ELOOP, EAGAIN (limits of processes), ENOMEM (the pid namespace has ended), ESHUTDOWN (powered off).
func (m *Machine) Spawn(s SpawnSpec) (*Process, error) {
	return m.SpawnContext(context.Background(), s)
}

// SpawnContext is Spawn that can be given up while the program is compiled: EINTR.
func (m *Machine) SpawnContext(ctx context.Context, s SpawnSpec) (*Process, error) {
	v, err := m.childView(&s)
	if err != nil {
		return nil, err
	}
	img, err := m.host.load(ctx, v, s.Path, s.Args, s.Env, true)
	if err != nil {
		return nil, err
	}
	return m.launch(s, v, img)
}

func (m *Machine) launch(s SpawnSpec, v *vfs.View, img *image) (*Process, error) {
	p := m.newProcess(&s, v, img)
	if err := p.cgroup.enter(p); err != nil {
		return nil, err
	}
	for i, f := range s.Files {
		if f != nil && i != rootFD {
			f.Dup()
			p.fds.setLocked(i, slot{fd: f, keep: true})
		}
	}
	if root, err := v.Open(nil, "/", vfs.O_RDONLY|vfs.O_DIRECTORY, 0); err == nil {
		p.fds.setLocked(rootFD, slot{fd: NewFD(&vfsFile{File: root})})
	}
	if err := m.start(&s, p); err != nil {
		for _, f := range p.fds.takeAll(false) {
			f.Close()
		}
		p.cgroup.part(p)
		p.cgroup.leave()
		return nil, err
	}
	return p, nil
}

// childView is the View of a process to be.
func (m *Machine) childView(s *SpawnSpec) (*vfs.View, error) {
	var v vfs.View
	switch {
	case s.View != nil:
		v = *s.View
	case s.Parent != nil:
		v = *s.Parent.View()
	case m.cfg.Root != nil:
		v = *m.cfg.Root
	default:
		return nil, syscall.ENOENT
	}
	if s.Cred != nil {
		v.Cred = *s.Cred
	}
	if s.Dir != "" {
		if err := v.Chdir(nil, s.Dir); err != nil {
			return nil, err
		}
	}
	return &v, nil
}

func (m *Machine) newProcess(s *SpawnSpec, v *vfs.View, img *image) *Process {
	q := s.Parent
	if q == nil {
		q = m.init
	}
	p := &Process{m: m, ns: q.ns, uts: q.uts, net: q.net, cgroup: q.cgroup, started: m.clock.Now(), prog: img.prog, parent: q,
		wake: make(chan struct{}, 1), killed: make(chan struct{}), done: make(chan struct{})}
	if s.PIDNS != nil {
		p.ns = s.PIDNS
	}
	if s.UTS != nil {
		p.uts = s.UTS
	}
	if s.Net != nil {
		p.net = s.Net
	}
	if s.Cgroup != nil {
		p.cgroup = s.Cgroup
	}
	limits := defaultLimits
	if s.Parent != nil {
		limits = *s.Parent.limits.Load()
		p.nice.Store(s.Parent.nice.Load())
	}
	if s.Limits != nil {
		n := make(rlimits, len(limits))
		for k, l := range limits {
			n[k] = l
		}
		for k, l := range s.Limits {
			n[k] = l
		}
		limits = n
	}
	p.limits.Store(&limits)
	p.info.Store(img.info)
	p.setComm(img.info.path)
	v.Caller = p
	p.view.Store(v)
	p.sched.init(&p.cgroup.sched, niceWeight(int(p.nice.Load())), groupCredit)
	p.sched.grant = make(chan struct{}, 1)
	return p
}

func (p *Process) setComm(exe string) {
	c := path.Base(exe)
	if a := p.info.Load().args; len(a) > 0 && a[0] != "" {
		// A multi-call program is known by the name it was called by.
		c = path.Base(strings.TrimPrefix(a[0], "-"))
	}
	p.comm.Store(ptr(strings.Clone(c[:min(len(c), commLen)])))
}

// start puts p into the process table and lets it run.
func (m *Machine) start(s *SpawnSpec, p *Process) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return syscall.ESHUTDOWN
	}
	if p.ns.dead || p.parent.ended {
		return syscall.ENOMEM
	}
	if len(m.pids.byNr) >= pidMax/2 || p.overNPROCLocked() {
		return syscall.EAGAIN
	}
	q := p.parent
	p.pid = p.ns.allocLocked(p)
	if p.ns.init == nil {
		p.ns.init = p
	}
	if !q.kernel {
		for i, mode := range q.actions {
			if mode == ModeIgnored {
				p.actions[i] = ModeIgnored
			}
		}
	}
	if err := p.placeLocked(s); err != nil {
		p.unplaceLocked()
		return err
	}
	if q.children == nil {
		q.children = map[*Process]struct{}{}
	}
	q.children[p] = struct{}{}
	m.live++
	m.forks.Add(1)
	m.acct.running.Add(1)
	go p.main()
	return nil
}

// overNPROCLocked is RLIMIT_NPROC: processes of one user on the machine; root is exempt.
func (p *Process) overNPROCLocked() bool {
	l, uid := (*p.limits.Load())[RLIMIT_NPROC], p.Cred().UID
	if uid == 0 || l.Soft == RLIM_INFINITY {
		return false
	}
	n := uint64(0)
	for _, r := range p.m.pids.byNr {
		if r.proc != nil && r.proc.Cred().UID == uid {
			n++
		}
	}
	return n >= l.Soft
}

// placeLocked gives p its session, group and terminal.
func (p *Process) placeLocked(s *SpawnSpec) error {
	q := p.parent
	switch {
	case s.Setsid || s.TTY != nil || q.kernel:
		p.joinLocked(p.pid, newSessionLocked(p.pid, p))
	default:
		p.joinLocked(q.group.ref, q.session)
		if s.SetPgid {
			if err := p.setPgidLocked(s.Pgid, q); err != nil {
				return err
			}
		}
	}
	if s.TTY != nil {
		if err := p.takeTTYLocked(s.TTY); err != nil {
			return err
		}
	}
	if t := s.Foreground; t != nil && s.TTY == nil {
		if t.session != p.session {
			return syscall.ENOTTY
		}
		t.fg = p.group
		if p.group != q.group {
			p.group.giver = q.group
		}
	}
	return nil
}

// unplaceLocked takes back what start did.
func (p *Process) unplaceLocked() {
	if g := p.group; g != nil {
		p.leaveLocked(g)
	}
	p.forgetLocked()
	if p.ns.init == p {
		p.ns.init = nil
	}
}

// forgetLocked frees p's numbers.
func (p *Process) forgetLocked() {
	p.pid.proc = nil
	p.pid.dropLocked()
	for n := p.ns; n != nil; n = n.parent {
		n.count--
		if n.empty != nil && n.count == 1 {
			close(n.empty)
			n.empty = nil
		}
	}
}

// Exec replaces p's program and unwinds the guest: it returns only on error. Descriptors but the standard streams and what dup made are
// closed; caught signals become default.
func (p *Process) Exec(ctx context.Context, file string, args, env []string) error {
	img, err := p.image(ctx, p.View(), file, args, env)
	if err != nil {
		return err
	}
	p.next = img
	return errExec
}

// become is the second half of Exec, after the old guest is gone.
func (p *Process) become(img *image) {
	for _, f := range p.fds.takeAll(true) {
		f.Close()
	}
	p.prog, p.next, p.instance, p.interrupting = img.prog, nil, nil, false
	p.info.Store(img.info)
	p.setComm(img.info.path)
	p.uncharge()
	p.m.mu.Lock()
	for i, mode := range p.actions {
		if mode == ModeCaught {
			p.actions[i] = ModeDefault
		}
	}
	p.pending = 0
	p.noteSignalsLocked()
	p.m.mu.Unlock()
}

// image is Host.load for a guest: while a program is compiled the CPU slot is free, and a kill or an interrupting signal gives up.
func (p *Process) image(ctx context.Context, v *vfs.View, file string, args, env []string) (*image, error) {
	img, err := p.m.host.load(ctx, v, file, args, env, false)
	if err != errNotCompiled {
		return img, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var finished atomic.Bool
	done := make(chan struct{})
	go func() { // ends before this function does
		defer close(done)
		img, err = p.m.host.load(ctx, v, file, args, env, true)
		finished.Store(true)
		p.kick()
	}()
	blocked := p.Block(func() bool { return finished.Load() || p.interrupted() })
	stopped := !finished.Load()
	cancel()
	<-done
	switch {
	case blocked != nil:
		return nil, blocked
	case stopped && err != nil:
		return nil, syscall.EINTR
	}
	return img, err
}

// interrupted reports whether a caught signal is pending that a person sends to stop a wait.
func (p *Process) interrupted() bool {
	if !p.SignalPending() {
		return false
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.pending&(SIGINT.bit()|SIGQUIT.bit()|SIGTERM.bit()|SIGHUP.bit()) != 0
}

// errNotCompiled says that a program must be compiled first.
var errNotCompiled = errors.New("kernel: program is not compiled yet")

// load finds a program, through #! lines. Compilation is waited for when compile is set, else errNotCompiled says that it is needed.
func (h *Host) load(ctx context.Context, v *vfs.View, file string, args, env []string, compile bool) (*image, error) {
	if err := checkArgs(args, env); err != nil {
		return nil, err
	}
	for depth := 0; ; depth++ {
		f, err := openProgram(v, file)
		if err != nil {
			return nil, err
		}
		var head [scriptLine + 1]byte
		n, err := f.ReadAt(head[:], 0)
		if err != nil && err != io.EOF {
			f.Close()
			return nil, err
		}
		if !bytes.HasPrefix(head[:n], []byte("#!")) {
			prog, err := h.program(ctx, f, head[:n], compile)
			exe := f.Path()
			f.Close()
			if err != nil {
				return nil, err
			}
			return &image{prog, &imageInfo{path: exe, args: args, env: env}}, nil
		}
		f.Close()
		if depth == maxScripts {
			return nil, syscall.ELOOP
		}
		interpreter, arg, ok := parseScript(head[:n])
		if !ok {
			return nil, syscall.ENOEXEC
		}
		next := []string{interpreter}
		if arg != "" {
			next = append(next, arg)
		}
		next = append(next, file)
		if len(args) > 1 {
			next = append(next, args[1:]...)
		}
		args, file = next, interpreter
	}
}

func checkArgs(args, env []string) error {
	if len(args) > maxArgs || len(env) > maxArgs {
		return syscall.E2BIG
	}
	n := 0
	for _, l := range [2][]string{args, env} {
		for _, s := range l {
			if strings.IndexByte(s, 0) >= 0 {
				return syscall.EINVAL
			}
			n += len(s) + 1
		}
	}
	if n > ArgMax {
		return syscall.E2BIG
	}
	return nil
}

// openProgram opens what v may execute. EACCES.
func openProgram(v *vfs.View, file string) (*vfs.File, error) {
	st, err := v.Stat(nil, file)
	if err != nil {
		return nil, err
	}
	if !st.IsRegular() {
		return nil, syscall.EACCES
	}
	if err := v.Access(nil, file, vfs.AccessExec); err != nil {
		return nil, err
	}
	root := *v // execution needs no permission to read
	root.Cred = vfs.Root
	f, err := root.Open(nil, file, vfs.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if f.MountFlags()&vfs.MountNoExec != 0 {
		f.Close()
		return nil, syscall.EACCES
	}
	return f, nil
}

// parseScript takes a #! line apart as Linux does: one interpreter and at most one argument, which may hold blanks.
func parseScript(head []byte) (interpreter, arg string, ok bool) {
	line, _, found := bytes.Cut(head[2:], []byte("\n"))
	if !found && len(head) > scriptLine {
		return "", "", false // cut off: the interpreter's name might be too
	}
	s := strings.Trim(string(line), " \t\r")
	if s == "" || strings.IndexByte(s, 0) >= 0 {
		return "", "", false
	}
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimLeft(s[i:], " \t"), true
	}
	return s, "", true
}

// program has f compiled. head are its first bytes.
func (h *Host) program(ctx context.Context, f *vfs.File, head []byte, compile bool) (Program, error) {
	if h.cfg.Exec != nil {
		return h.cfg.Exec(ctx, f)
	}
	if !wasm.IsWasm(head) || h.cfg.Engine == nil {
		return nil, syscall.ENOEXEC
	}
	data, digest, ok := f.Content()
	if !ok {
		if f.Stat().Size > maxModule {
			return nil, syscall.ENOEXEC
		}
		var err error
		if data, err = io.ReadAll(io.NewSectionReader(f, 0, maxModule)); err != nil {
			return nil, syscall.EIO
		}
		if p := FromContext(ctx); p != nil && !compile { // the first look, on the guest's own goroutine
			p.callFuel += int64(len(data)) * hashCost
		}
		sum := sha256.Sum256(data)
		digest = "sha256:" + hex.EncodeToString(sum[:])
	}
	if _, ok := h.cfg.Engine.Loaded(digest); !ok && !compile {
		return nil, errNotCompiled
	}
	trusted := h.cfg.Trusted != nil && h.cfg.Trusted(digest)
	p, err := h.cfg.Engine.Load(ctx, digest, func() ([]byte, error) { return data, nil }, wasm.LoadOptions{Trusted: trusted, Progress: h.progress(ctx, f)})
	switch {
	case err == nil:
		return p, nil
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		return nil, syscall.EINTR
	}
	if p := FromContext(ctx); p != nil {
		p.m.Log(4, "exec "+f.Path()+": "+err.Error())
	}
	return nil, syscall.ENOEXEC
}

type progressKey struct{}

// WithProgress has f told how far the compilation of a program has come that a Spawn with this context waits for.
func WithProgress(ctx context.Context, f func(wasm.Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, f)
}

// progress is who is told of a compilation: the context's function, or the host's hook with the process that waits.
func (h *Host) progress(ctx context.Context, f *vfs.File) func(wasm.Progress) {
	if g, ok := ctx.Value(progressKey{}).(func(wasm.Progress)); ok {
		return g
	}
	p := FromContext(ctx)
	if p == nil || h.cfg.Compiling == nil {
		return nil
	}
	name := f.Path()
	return func(pr wasm.Progress) { h.cfg.Compiling(p, name, pr) }
}

// Spawn starts a child of p: Machine.Spawn by the guest itself. EINTR when a signal interrupts while the program is compiled.
func (p *Process) Spawn(ctx context.Context, s SpawnSpec) (*Process, error) {
	s.Parent = p
	v, err := p.m.childView(&s)
	if err != nil {
		return nil, err
	}
	img, err := p.image(ctx, v, s.Path, s.Args, s.Env)
	if err != nil {
		return nil, err
	}
	return p.m.launch(s, v, img)
}
