package runtime

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasi"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// The tests of this file run WebAssembly: an ordinary Go program for wasip1, and a module that traps.

// wasmTrap is (module (memory (export "memory") 1) (func (export "_start") unreachable)).
const wasmTrap = "0061736d010000000104016000000302010005030100010713" + "02066d656d6f72790200065f737461727400000a05010300000b"

const wasmProgram = `package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	switch os.Args[1] {
	case "show":
		b, err := os.ReadFile(os.Args[2])
		fmt.Printf("%s%v %s\n", b, err, os.Getenv("HOSTNAME"))
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "spin":
		for {
		}
	case "hog":
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
			_ = keep
		}
	case "wait":
		io.Copy(io.Discard, os.Stdin)
	case "fail":
		fmt.Fprintln(os.Stderr, "bad")
		os.Exit(7)
	}
}
`

type wall struct{}

func (wall) Now() time.Time                                  { return time.Now() }
func (wall) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// buildWasm compiles the Go program once.
var buildWasm = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "runtime")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(wasmProgram), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-o", "guest.wasm", "main.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOWORK=off", "GO111MODULE=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, &exec.Error{Name: string(out), Err: err}
	}
	return os.ReadFile(filepath.Join(dir, "guest.wasm"))
})

var startEngine = sync.OnceValues(func() (*wasm.Engine, error) {
	e, err := wasm.New(ctx, wasm.Config{})
	if err != nil {
		return nil, err
	}
	return e, wasi.Instantiate(ctx, e.Runtime())
})

func newWasmBench(t testing.TB) *bench {
	t.Helper()
	guest, err := buildWasm()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := startEngine()
	if err != nil {
		t.Fatal(err)
	}
	trap, err := hex.DecodeString(wasmTrap)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, disk: &meter{limit: 64 << 20}}
	b.news = sync.NewCond(&b.mu)
	b.fabric = network.NewFabric(network.Config{Clock: wall{}, Rand: rand.Reader})
	host := kernel.NewHost(kernel.HostConfig{Engine: engine})
	acct := host.NewAccount(kernel.Limits{MemoryBytes: 256 << 20, Processes: 256})
	root := vfs.NewNamespace(vfs.NewTmpfs(vfs.TmpfsOptions{})).View(vfs.Root)
	m := host.NewMachine(kernel.MachineConfig{Account: acct, Hostname: "node-1", Root: root, Net: b.fabric.NewStack("node-1"), Fabric: b.fabric})
	b.store = image.NewStore(image.NewContent(image.ContentConfig{}))
	built, err := image.Recipe{Created: epoch, Config: image.Config{Entrypoint: []string{"/bin/guest"}},
		Layers: [][]image.File{{{Path: "bin/guest", Mode: 0o755, Data: guest}, {Path: "bin/trap", Mode: 0o755, Data: trap}}}}.Assemble(image.Plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Add("", built, "test"); err != nil {
		t.Fatal(err)
	}
	b.Runtime, err = New(Config{Machine: m, Images: b.store.NewLocal(""), Fabric: b.fabric, Disk: b.disk, Events: b.event})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		acct.Close()
		if u := acct.Usage(); u.Memory != 0 || u.Processes != 0 || b.disk.used != 0 {
			t.Errorf("left over: %+v, disk %d", u, b.disk.used)
		}
	})
	return b
}

func TestWasm(t *testing.T) {
	b := newWasmBench(t)
	for _, row := range []struct {
		name   string
		spec   ContainerSpec
		code   int
		reason string
		log    string
	}{
		{"reads a file", ContainerSpec{Args: []string{"show", "/etc/hostname"}}, 0, "Completed", "pod\n<nil> pod\n"},
		{"fails", ContainerSpec{Args: []string{"fail"}}, 7, "Error", "bad\n"},
		{"traps", ContainerSpec{Command: []string{"/bin/trap"}}, 132, "Error", "unreachable"},
		{"takes too much memory", ContainerSpec{Args: []string{"hog"}, Resources: Resources{MemoryMax: 24 << 20}}, 137, "OOMKilled", ""},
	} {
		st, log := b.run(row.spec)
		if st.ExitCode != row.code || st.Reason != row.reason || !strings.Contains(log, row.log) {
			t.Errorf("%s: %d %s %q %s", row.name, st.ExitCode, st.Reason, log, st.Message)
		}
	}
}

func TestWasmExecAndKill(t *testing.T) {
	b := newWasmBench(t)
	box := b.sandbox(SandboxSpec{})
	id := b.create(box, ContainerSpec{Args: []string{"spin"}})
	b.ok(b.StartContainer(ctx, id))
	var out bytes.Buffer
	code, err := b.Exec(ctx, id, []string{"/bin/guest", "cat"}, IO{Stdin: strings.NewReader("typed"), Stdout: &out})
	if code != 0 || err != nil || out.String() != "typed" {
		t.Errorf("exec beside a spinning program: %d %v %q", code, err, out.String())
	}
	st, err := b.Stats(ctx, id)
	if err != nil || st.PIDs != 1 || st.Memory == 0 {
		t.Errorf("%+v %v", st, err)
	}
	b.ok(b.StopContainer(ctx, id, 0))
	if s, err := b.ContainerStatus(ctx, id); err != nil || s.ExitCode != 137 || s.Reason != "Error" {
		t.Errorf("%+v %v", s, err)
	}
}

// BenchmarkSecondStart is create and start of a container whose program has been compiled and whose image is there, until its program waits.
func BenchmarkSecondStart(b *testing.B) {
	x := newWasmBench(b)
	_, err := x.PullImage(context.Background(), "test", nil)
	x.ok(err)
	box := x.sandbox(SandboxSpec{Name: "p", IP: netip.MustParseAddr("10.244.1.7")})
	warm := x.create(box, ContainerSpec{Args: []string{"fail"}})
	x.ok(x.StartContainer(ctx, warm))
	x.await(Event{EventExited, box, warm})
	for b.Loop() {
		id := x.create(box, ContainerSpec{Args: []string{"fail"}})
		x.ok(x.StartContainer(ctx, id))
		x.await(Event{EventExited, box, id})
		b.StopTimer()
		x.ok(x.RemoveContainer(ctx, id))
		x.mu.Lock()
		x.events = nil
		x.mu.Unlock()
		b.StartTimer()
	}
}
