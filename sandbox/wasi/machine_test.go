package wasi_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasi"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// guestPath is where the test guest stands in every machine.
const guestPath = "/bin/guest"

var (
	engine *wasm.Engine
	guest  []byte
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wasi")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = "testdata/guest"
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the test guest: %v\n%s", err, b)
		return 1
	}
	if guest, err = os.ReadFile(out); err != nil {
		panic(err)
	}
	ctx := context.Background()
	if engine, err = wasm.New(ctx, wasm.Config{}); err != nil {
		panic(err)
	}
	defer engine.Close(ctx)
	if err := wasi.Instantiate(ctx, engine.Runtime()); err != nil {
		panic(err)
	}
	return m.Run()
}

// lab is one account with one machine.
type lab struct {
	*kernel.Machine
	t    testing.TB
	host *kernel.Host
	acct *kernel.Account
	view *vfs.View
}

func newHost(slots int) *kernel.Host {
	return kernel.NewHost(kernel.HostConfig{Engine: engine, Slots: slots})
}

func newLab(t testing.TB, h *kernel.Host, l kernel.Limits) *lab {
	t.Helper()
	root := vfs.NewTmpfs(vfs.TmpfsOptions{})
	v := vfs.NewNamespace(root).View(vfs.Root)
	for _, d := range []string{"/bin", "/tmp", "/proc", "/dev", "/etc"} {
		if err := v.Mkdir(nil, d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.WriteFile(guestPath, guest, 0o755); err != nil {
		t.Fatal(err)
	}
	a := h.NewAccount(l)
	clock := wall{}
	fabric := network.NewFabric(network.Config{Clock: clock, Rand: rnd{}})
	m := h.NewMachine(kernel.MachineConfig{Account: a, Hostname: "box", Root: v, Net: fabric.NewStack("box"), Fabric: fabric, Clock: clock})
	for dir, fs := range map[string]vfs.FS{"/proc": m.NewProc(m.PIDNS()), "/dev": m.NewDev()} {
		if err := v.NS.Mount(dir, fs, 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { a.Close() })
	return &lab{m, t, h, a, v}
}

type wall struct{}

func (wall) Now() time.Time { return time.Now() }
func (wall) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

type rnd struct{}

func (rnd) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i*7 + 1)
	}
	return len(p), nil
}

// result is what a program left.
type result struct {
	code int
	out  string
	err  string
}

// run runs the guest with args and input to its end.
func (l *lab) run(input string, args ...string) result {
	l.t.Helper()
	return l.runSpec(kernel.SpawnSpec{Path: guestPath, Args: append([]string{guestPath}, args...)}, input)
}

func (l *lab) runSpec(s kernel.SpawnSpec, input string) result {
	l.t.Helper()
	p, wait := l.startSpec(s, input)
	if p == nil {
		return result{}
	}
	return wait()
}

func (l *lab) startSpec(s kernel.SpawnSpec, input string) (*kernel.Process, func() result) {
	l.t.Helper()
	ctx := context.Background()
	in, doneIn := kernel.NewInput(ctx, strings.NewReader(input))
	var out, errs lockedBuffer
	o, waitOut := kernel.NewOutput(ctx, &out)
	e, waitErr := kernel.NewOutput(ctx, &errs)
	s.Files = []*kernel.FD{in, o, e}
	p, err := l.Spawn(s)
	in.Close()
	o.Close()
	e.Close()
	if err != nil {
		l.t.Fatalf("spawn: %v", err)
	}
	return p, func() result {
		<-p.Done()
		waitOut()
		waitErr()
		doneIn()
		return result{p.Status().ExitCode(), out.String(), errs.String()}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// piped is a running guest whose streams the test holds.
type piped struct {
	*kernel.Process
	t   testing.TB
	in  *kernel.FD
	out *kernel.FD
	got strings.Builder
}

// pipe starts the guest with pipes.
func (l *lab) pipe(s kernel.SpawnSpec, args ...string) *piped {
	l.t.Helper()
	ir, iw := kernel.NewPipe()
	or, ow := kernel.NewPipe()
	s.Path, s.Args, s.Files = guestPath, append([]string{guestPath}, args...), []*kernel.FD{ir, ow, ow}
	p, err := l.Spawn(s)
	ir.Close()
	ow.Close()
	if err != nil {
		l.t.Fatalf("spawn: %v", err)
	}
	return &piped{Process: p, t: l.t, in: iw, out: or}
}

// expect reads output until it holds text.
func (p *piped) expect(text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	buf := make([]byte, 4096)
	for !strings.Contains(p.got.String(), text) {
		n, err := p.out.Read(ctx, buf)
		p.got.Write(buf[:n])
		if err != nil {
			p.t.Fatalf("waiting for %q: %v; got %q", text, err, p.got.String())
		}
	}
}

// end closes the input, reads the rest and gives the exit code and all output.
func (p *piped) end() (int, string) {
	p.t.Helper()
	p.in.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	b, err := io.ReadAll(p.out.Reader(ctx))
	if err != nil {
		p.t.Fatalf("reading output: %v; got %q%q", err, p.got.String(), b)
	}
	p.got.Write(b)
	p.out.Close()
	<-p.Done()
	return p.Status().ExitCode(), p.got.String()
}
