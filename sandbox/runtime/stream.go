package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Size is the size of a terminal window, in characters.
type Size struct{ Rows, Cols uint16 }

// IO is the streams of Exec and Attach; nil ones are not wanted. With TTY all output goes to Stdout. Whoever gives Stdin must make its
// Read return once the call has: it may be read by a goroutine that outlives it.
type IO struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	Resize         <-chan Size
}

// attachQueue bounds what waits for a slow client; the program is made to wait beyond.
const attachQueue = 256 << 10

// fanout passes output to who is attached.
type fanout struct {
	mu      sync.Mutex
	clients map[*client]struct{} // guarded by mu
	watch   []*func()            // guarded by mu; of sinks' writers
	closed  bool                 // guarded by mu
}

// client is somebody attached.
type client struct {
	queue []record      // guarded by fanout.mu
	size  int           // guarded by fanout.mu
	news  chan struct{} // capacity 1
}

// writable reports whether all clients have room.
func (f *fanout) writable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.roomLocked()
}

func (f *fanout) roomLocked() bool {
	for c := range f.clients {
		if c.size >= attachQueue {
			return false
		}
	}
	return true
}

// offer gives p to all clients, or nobody when one has no room.
func (f *fanout) offer(s stream, p []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.roomLocked() {
		return false
	}
	if len(f.clients) == 0 {
		return true
	}
	data := append([]byte(nil), p...)
	for c := range f.clients {
		c.queue = append(c.queue, record{stream: s, data: data})
		c.size += len(data)
		c.wake()
	}
	return true
}

func (c *client) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

func (f *fanout) join() *client {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &client{news: make(chan struct{}, 1)}
	if f.clients == nil {
		f.clients = map[*client]struct{}{}
	}
	f.clients[c] = struct{}{}
	return c
}

func (f *fanout) leave(c *client) {
	f.mu.Lock()
	delete(f.clients, c)
	c.size = 0
	w := f.watch
	f.mu.Unlock()
	notify(w)
}

func notify(w []*func()) {
	for _, g := range w {
		(*g)()
	}
}

// take is what waits for c; end when nothing more will come.
func (f *fanout) take(c *client) (q []record, end bool) {
	f.mu.Lock()
	q, c.queue, c.size = c.queue, nil, 0
	end = f.closed
	w := f.watch
	f.mu.Unlock()
	notify(w)
	return q, end
}

func (f *fanout) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.clients {
		c.wake()
	}
}

func (f *fanout) addWatch(g func()) (cancel func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = append(f.watch[:len(f.watch):len(f.watch)], &g)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		var rest []*func()
		for _, x := range f.watch {
			if x != &g {
				rest = append(rest, x)
			}
		}
		f.watch = rest
	}
}

// sink is the standard output or error of a container: what is written is in the log at once, and with those attached.
type sink struct {
	c *Container
	s stream
}

func (k *sink) Read([]byte) (int, error) { return 0, syscall.EBADF }

func (k *sink) Write(p []byte) (int, error) {
	if !k.c.out.offer(k.s, p) {
		return 0, syscall.EAGAIN
	}
	k.c.log.write(k.s, k.c.r.now(), p)
	return len(p), nil
}

func (k *sink) Poll() kernel.Events {
	if k.c.out.writable() {
		return kernel.EventOut
	}
	return 0
}

func (k *sink) Watch(f func()) func() { return k.c.out.addWatch(f) }
func (k *sink) Stat() vfs.Stat {
	return vfs.Stat{Mode: vfs.ModeFIFO | 0o600, Nlink: 1, Blksize: vfs.BlockSize, Ino: uint64(k.s) + 1}
}
func (k *sink) Name() string      { return fmt.Sprintf("pipe:[%d]", k.s+1) }
func (k *sink) Kind() kernel.Kind { return kernel.KindPipe }
func (k *sink) Release()          {}

// Reopen is what opening /proc/self/fd/1 gives: the same log.
func (k *sink) Reopen() *kernel.FD { return kernel.NewFD(&sink{k.c, k.s}) }

// streams gives a container's first process its descriptors. in is the end to write its standard input to.
func (c *Container) streams(s *kernel.SpawnSpec) (in *kernel.FD, tty *kernel.TTY) {
	if c.spec.TTY {
		tty = kernel.NewTTY(24, 80)
		s.TTY = tty
		for range 3 {
			s.Files = append(s.Files, tty.FD())
		}
		return nil, tty
	}
	stdin := kernel.NullFD()
	if c.spec.Stdin {
		stdin, in = kernel.NewPipe()
	}
	s.Files = []*kernel.FD{stdin, kernel.NewFD(&sink{c, stdout}), kernel.NewFD(&sink{c, stderr})}
	return in, nil
}

// pumpTTY moves a terminal's output into the log and to who is attached until all its slave ends are closed, and then notes the end of the
// first process. A client that does not take its output makes the program wait, but not the end of the container: what comes
// after that is left out for it.
func (c *Container) pumpTTY(t *kernel.TTY, p *kernel.Process) {
	m := t.Master()
	buf := make([]byte, 4096)
	room := make(chan struct{}, 1)
	cancel := c.out.addWatch(func() {
		select {
		case room <- struct{}{}:
		default:
		}
	})
	for {
		n, err := m.Read(context.Background(), buf)
		for n > 0 && !c.out.offer(stdout, buf[:n]) {
			select {
			case <-room: // a client that leaves makes room, too
				continue
			case <-p.Done():
			}
			break
		}
		c.log.write(stdout, c.r.now(), buf[:n])
		if err != nil {
			break
		}
	}
	cancel()
	m.Close()
	<-p.Done()
	c.exited()
}

// Attachment is somebody who gets a container's output, from the moment it was made.
type Attachment struct {
	c  *Container
	me *client
}

// Join begins an attachment to a container that was created or runs, so that nothing of what it prints is missed. Run must follow. ErrState when
// it has ended.
func (r *Runtime) Join(id string) (*Attachment, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == Exited {
		return nil, fmt.Errorf("container is in %v state: %w", c.state, ErrState)
	}
	return &Attachment{c, c.out.join()}, nil
}

// Leave gives the attachment up instead of Run.
func (a *Attachment) Leave() { a.c.out.leave(a.me) }

// Run connects streams to the container's first process, once it is there. It returns when the container has ended (or the client's writer fails,
// or ctx is done).
func (a *Attachment) Run(ctx context.Context, s IO) error {
	c := a.c
	defer c.out.leave(a.me)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.Stdin != nil || s.Resize != nil {
		go a.connect(ctx, s)
	}
	return c.show(ctx, a.me, s)
}

// connect waits for the process and then serves its standard input and its window.
func (a *Attachment) connect(ctx context.Context, s IO) {
	c := a.c
	select {
	case <-c.begun:
	case <-ctx.Done():
		return
	}
	c.mu.Lock()
	stdin, tty := c.stdin, c.tty
	if stdin != nil && s.Stdin != nil {
		stdin.Dup()
	}
	c.mu.Unlock()
	if tty != nil && s.Resize != nil {
		go resize(ctx, tty.Master(), s.Resize)
	}
	if s.Stdin != nil && (stdin != nil || tty != nil) {
		c.feed(ctx, s.Stdin, stdin, tty)
	}
}

// Attach connects streams to a running container's first process from now on, as Attachment.Run does. ErrState when it does not run.
func (r *Runtime) Attach(ctx context.Context, id string, s IO) error {
	if st, err := r.ContainerStatus(ctx, id); err == nil && st.State != Running {
		return fmt.Errorf("container is in %v state: %w", st.State, ErrState)
	}
	a, err := r.Join(id)
	if err != nil {
		return err
	}
	return a.Run(ctx, s)
}

// Resize sets the window of a container's terminal; without one nothing happens. ErrState unless it runs.
func (r *Runtime) Resize(id string, z Size) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	state, tty := c.state, c.tty
	c.mu.Unlock()
	if state != Running {
		return fmt.Errorf("container is in %v state: %w", state, ErrState)
	}
	if tty != nil {
		tty.Master().Resize(z.Rows, z.Cols)
	}
	return nil
}

// feed types what a client sends. The end of it closes standard input if the container wanted one client only.
func (c *Container) feed(ctx context.Context, from io.Reader, stdin *kernel.FD, tty *kernel.TTY) {
	if tty != nil {
		copyTo(ctx, from, tty.Master().Write)
		return
	}
	defer stdin.Close()
	if err := copyTo(ctx, from, stdin.Write); err != io.EOF || !c.spec.StdinOnce {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stdin != nil {
		c.stdin.Close()
		c.stdin = nil
	}
}

// copyTo passes everything that is read to write. io.EOF when the reader ended.
func copyTo(ctx context.Context, from io.Reader, write func(context.Context, []byte) (int, error)) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := write(ctx, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

func resize(ctx context.Context, m *kernel.Master, sizes <-chan Size) {
	for {
		select {
		case z, ok := <-sizes:
			if !ok {
				return
			}
			m.Resize(z.Rows, z.Cols)
		case <-ctx.Done():
			return
		}
	}
}

// show writes a client's queue to its streams.
func (c *Container) show(ctx context.Context, me *client, s IO) error {
	for {
		q, end := c.out.take(me)
		for _, x := range q {
			w := s.Stdout
			if x.stream == stderr {
				w = s.Stderr
			}
			if w == nil {
				continue
			}
			if _, err := w.Write(x.data); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
		select {
		case <-me.news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ExecSpec is a program to run in a container.
type ExecSpec struct {
	Cmd  []string
	Env  []string // NAME=value, beside the container's
	Dir  string   // "" = the container's working directory
	User string   // "" = as whom the container runs; else as User.Name
}

// Exec runs a program in a container and returns its exit code when it has ended and its output is written. When ctx is done the program is
// killed. ErrState unless the container runs; a program that cannot be started is an error in runc's words.
func (r *Runtime) Exec(ctx context.Context, id string, cmd []string, s IO) (int, error) {
	return r.ExecAs(ctx, id, ExecSpec{Cmd: cmd}, s)
}

// ExecAs is Exec with a choice of environment, directory and user.
func (r *Runtime) ExecAs(ctx context.Context, id string, x ExecSpec, s IO) (int, error) {
	c, err := r.container(id)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	switch {
	case state != Running:
		return 0, fmt.Errorf("container not running (%s): %w", id, ErrState)
	case len(x.Cmd) == 0:
		return 0, errors.New("no command given")
	}
	spec, err := c.program(x, s.TTY)
	if err != nil {
		return 0, execError(id, err)
	}
	if s.TTY {
		return c.execTTY(ctx, spec, s)
	}
	return c.execPipes(ctx, spec, s)
}

// program is what ExecSpec asks for.
func (c *Container) program(x ExecSpec, tty bool) (kernel.SpawnSpec, error) {
	env := environment(c.env, x.Env)
	if tty {
		env = environment([]string{"TERM=xterm"}, env)
	}
	v := *c.view
	v.Cred = c.cred
	if x.User != "" {
		cred, home, err := identity(c.view, x.User, User{Name: x.User})
		if err != nil {
			return kernel.SpawnSpec{}, err
		}
		v.Cred = cred
		env = environment(env, []string{"HOME=" + home})
	}
	dir := cmp.Or(x.Dir, c.dir)
	path, err := lookPath(&v, x.Cmd[0], dir, env)
	if err != nil {
		return kernel.SpawnSpec{}, err
	}
	spec := c.process(path, x.Cmd, env)
	spec.View, spec.Dir = &v, dir
	return spec, nil
}

func execError(id string, err error) error {
	return fmt.Errorf("failed to exec in container: failed to start exec %q: OCI runtime exec failed: exec failed: unable to start container process: %w: unknown", id[:12], err)
}

func (c *Container) execTTY(ctx context.Context, spec kernel.SpawnSpec, s IO) (int, error) {
	tty := kernel.NewTTY(24, 80)
	m := tty.Master()
	defer m.Close() // what it left in the background gets SIGHUP
	if s.Resize != nil {
		select { // the first size comes before the program, if it is there
		case z := <-s.Resize:
			m.Resize(z.Rows, z.Cols)
		default:
		}
	}
	fd := tty.FD()
	spec.TTY, spec.Files = tty, []*kernel.FD{fd, fd, fd}
	p, err := c.r.m.SpawnContext(ctx, spec)
	fd.Close()
	if err != nil {
		return 0, execError(c.ID, startError(spec.Path, err, c.image.Platform))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.Stdin != nil {
		go copyTo(ctx, s.Stdin, m.Write)
	}
	if s.Resize != nil {
		go resize(ctx, m, s.Resize)
	}
	shown := make(chan struct{})
	drain, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		defer close(shown)
		moveOutput(drain, s.Stdout, m.Read)
	}()
	code, err := awaitExec(ctx, p)
	stop()
	<-shown
	return code, err
}

func (c *Container) execPipes(ctx context.Context, spec kernel.SpawnSpec, s IO) (int, error) {
	inR, inW := kernel.NullFD(), (*kernel.FD)(nil)
	if s.Stdin != nil {
		inR, inW = kernel.NewPipe()
	}
	outR, outW := kernel.NewPipe()
	errR, errW := kernel.NewPipe()
	spec.Files = []*kernel.FD{inR, outW, errW}
	p, err := c.r.m.SpawnContext(ctx, spec)
	for _, f := range spec.Files {
		f.Close()
	}
	defer outR.Close()
	defer errR.Close()
	if err != nil {
		if inW != nil {
			inW.Close()
		}
		return 0, execError(c.ID, startError(spec.Path, err, c.image.Platform))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if inW != nil {
		go func() {
			defer inW.Close()
			copyTo(ctx, s.Stdin, inW.Write)
		}()
	}
	drain, stop := context.WithCancel(context.Background())
	defer stop()
	var copies sync.WaitGroup
	copies.Go(func() { moveOutput(drain, s.Stdout, outR.Read) })
	copies.Go(func() { moveOutput(drain, s.Stderr, errR.Read) })
	code, err := awaitExec(ctx, p)
	stop() // what is left in the pipes is still moved; who holds them open in the background is not waited for
	copies.Wait()
	return code, err
}

// moveOutput copies what read gives to w until its end, or until ctx is done and nothing waits any more. A writer that fails is not written
// to any more, but the program's output is still taken.
func moveOutput(ctx context.Context, w io.Writer, read func(context.Context, []byte) (int, error)) {
	buf := make([]byte, 32<<10)
	for late := false; ; {
		n, err := read(ctx, buf)
		if w != nil && n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				w = nil
			}
		}
		switch {
		case n > 0:
		case err == nil:
		case ctx.Err() == nil || late:
			return
		default:
			late = true // it was interrupted; what was written before is still to be looked for
		}
	}
}

// awaitExec waits for p and kills it when ctx is done.
func awaitExec(ctx context.Context, p *kernel.Process) (int, error) {
	select {
	case <-p.Done():
		return p.Status().ExitCode(), nil
	case <-ctx.Done():
		p.Signal(kernel.SIGKILL)
		<-p.Done()
		return 137, ctx.Err()
	}
}

// execOutput bounds what ExecSync returns of each stream, as the kubelet's probes do.
const execOutput = 16 << 10

// limited keeps the first bytes written to it.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	if room := execOutput - len(l.b); room > 0 {
		l.b = append(l.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// ExecSync runs a program and returns the first 16 KiB of its output. ErrTimeout when it did not end within timeout of lab time (0 = no
// limit): it is killed then.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, code int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if timeout > 0 {
		stop := r.m.Clock().AfterFunc(timeout, func() { cancel(ErrTimeout) })
		defer stop()
	}
	var out, errOut limited
	code, err = r.Exec(ctx, id, cmd, IO{Stdout: &out, Stderr: &errOut})
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrTimeout) {
		err = fmt.Errorf("command %q timed out after %v: %w", cmd, timeout, ErrTimeout)
	}
	return out.b, errOut.b, code, err
}
