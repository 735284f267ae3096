package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasi"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// lab is a machine of the real kernel with guests in its file system.
type lab struct {
	t       testing.TB
	host    *kernel.Host
	machine *kernel.Machine
	view    *vfs.View
	env     []string // more than environment
}

// environment is what every program of the tests has.
var environment = []string{"PATH=/bin", "HOME=/root", "USER=root", "PROBE=p"}

var shared struct {
	once   sync.Once
	engine *wasm.Engine
	err    error
	mu     sync.Mutex
	wasm   map[string][]byte // by name, protected by mu
}

// guestWasm builds the main package in dir, or finds it built, and returns its module.
func guestWasm(t testing.TB, g guest, dir string) []byte {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if b, ok := shared.wasm[dir]; ok {
		return b
	}
	out := filepath.Join(os.TempDir(), "drydock-toolchain-test", g.name+".wasm")
	if err := buildOne(g, dir, out); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if shared.wasm == nil {
		shared.wasm = map[string][]byte{}
	}
	shared.wasm[dir] = b
	return b
}

func newLab(t testing.TB, programs map[string][]byte) *lab {
	t.Helper()
	ctx := context.Background()
	shared.once.Do(func() {
		cache, err := cacheDir()
		if err != nil {
			shared.err = err
			return
		}
		if shared.engine, shared.err = wasm.New(ctx, wasm.Config{CacheDir: filepath.Join(cache, "test-code")}); shared.err == nil {
			shared.err = wasi.Instantiate(ctx, shared.engine.Runtime())
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	digests := map[string]string{} // by path: the files stay as they are
	for name, text := range programs {
		digests["/bin/"+name] = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	}
	host := kernel.NewHost(kernel.HostConfig{Engine: shared.engine, Exec: func(ctx context.Context, f *vfs.File) (kernel.Program, error) {
		text, ok := programs[filepath.Base(f.Path())]
		if !ok {
			return nil, syscall.ENOEXEC
		}
		digest, ok := digests[f.Path()]
		if !ok {
			return nil, syscall.ENOEXEC
		}
		return shared.engine.Load(ctx, digest, func() ([]byte, error) { return text, nil }, wasm.LoadOptions{Trusted: true})
	}})
	fabric := network.NewFabric(network.Config{Rand: rand.Reader})
	stack := fabric.NewStack("machine")
	if err := stack.AddLink("eth0", "lab", netip.MustParsePrefix("10.0.0.1/24")); err != nil {
		t.Fatal(err)
	}
	view := vfs.NewNamespace(vfs.NewTmpfs(vfs.TmpfsOptions{})).View(vfs.Root)
	account := host.NewAccount(kernel.Limits{MemoryBytes: 1 << 30, CPUs: 2, Processes: 64})
	m := host.NewMachine(kernel.MachineConfig{Account: account, Hostname: "workstation", Root: view, Net: stack, Fabric: fabric, Rand: rand.Reader})
	l := &lab{t: t, host: host, machine: m, view: view}
	for _, dir := range []string{"/bin", "/tmp", "/etc", "/root", "/dev"} {
		if err := view.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nlearner:x:1000:1000::/home/learner:/bin/sh\n")
	l.write("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 workstation web.example\n")
	l.write("/etc/resolv.conf", "nameserver 10.0.0.1\noptions timeout:1 attempts:1\n")
	if err := view.Mknod(nil, "/dev/null", 0o20666, 0x103); err != nil {
		t.Fatal(err)
	}
	for name, text := range programs {
		if err := view.WriteFile("/bin/"+name, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, line := range m.LogLines() {
			t.Logf("kernel log: %s", line.Text)
		}
		m.PowerOff()
		<-m.Done()
		account.Close()
	})
	return l
}

func (l *lab) write(path, text string) {
	l.t.Helper()
	if err := l.view.WriteFile(path, []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// process is a running guest with its output collected.
type process struct {
	*kernel.Process
	out, err lockedBuffer
	stdin    *kernel.FD
	copied   sync.WaitGroup
}

type lockedBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// wait blocks until the output satisfies done.
func (b *lockedBuffer) wait(t testing.TB, done func(string) bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		b.mu.Lock()
		if done(b.b.String()) {
			b.mu.Unlock()
			return
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("output so far: %q", b.String())
		}
	}
}

// start runs a program with stdin (closed when it is all read, or with hold left open).
func (l *lab) start(stdin string, hold bool, argv ...string) *process {
	l.t.Helper()
	ctx := context.Background()
	p := &process{}
	inR, inW := kernel.NewPipe()
	outR, outW := kernel.NewPipe()
	errR, errW := kernel.NewPipe()
	proc, err := l.machine.Spawn(kernel.SpawnSpec{Path: argv[0], Args: argv, Dir: "/root", Env: append(l.env, environment...),
		Files: []*kernel.FD{inR, outW, errW}})
	inR.Close()
	outW.Close()
	errW.Close()
	if err != nil {
		l.t.Fatalf("%v: %v", argv, err)
	}
	p.Process = proc
	p.stdin = inW
	p.copied.Add(2)
	go func() { defer p.copied.Done(); io.Copy(&p.out, outR.Reader(ctx)); outR.Close() }()
	go func() { defer p.copied.Done(); io.Copy(&p.err, errR.Reader(ctx)); errR.Close() }()
	if stdin != "" {
		if _, err := inW.Write(ctx, []byte(stdin)); err != nil {
			l.t.Error(err)
		}
	}
	if !hold {
		inW.Close()
	}
	return p
}

// code waits for the end and returns the exit code as a shell shows it.
func (p *process) code(t testing.TB) int {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(30 * time.Second):
		t.Fatalf("did not end; stdout %q, stderr %q", p.out.String(), p.err.String())
	}
	p.copied.Wait()
	ws := syscall.WaitStatus(p.Status())
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// run starts a program, waits and returns its output and code.
func (l *lab) run(argv ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	p := l.start("", false, argv...)
	code = p.code(l.t)
	return p.out.String(), p.err.String(), code
}
