package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/drydock-labs/drydock/sandbox/wasi"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

var update = flag.Bool("update", false, "record what the programs print that are built for this machine")

const dockerGolden = "testdata/docker.txtar"

// dockerLines are commands that need no daemon, or meet none.
var dockerLines = []string{
	"",
	"--help",
	"--version",
	"version",
	"version --format {{.Client.Version}}",
	"version --format {{.Client.DefaultAPIVersion}}",
	"help run",
	"run --help",
	"build --help",
	"cp --help",
	"exec --help",
	"image --help",
	"image build --help",
	"network create --help",
	"system df --help",
	"volume --help",
	"context create --help",
	"container",
	"rn",
	"run",
	"run --nonsense busybox",
	"run --memory 1x busybox",
	"run -p 99999:80 web",
	"run --rm busybox true",
	"ps",
	"ps --format {{.ID",
	"info",
	"stop web",
	"cp a b",
	"cp a: b:",
	"-H tcp://127.0.0.1:1 ps",
	"-H nonsense://x ps",
	"-H ssh://host ps",
	"--context nowhere ps",
	"context ls",
	"context show",
	"context inspect",
	"context create lab --docker host=tcp://127.0.0.1:1 --description lab",
	"context ls --format {{.Name}}={{.DockerEndpoint}}",
	"context use lab",
	"context show",
	"ps",
	"context use default",
	"context rm lab",
	"logout",
	"logout registry.example",
	"build -f nowhere .",
	"buildx ls",
	"bake",
	"swarm init",
	"completion bash",
	"completion zsh",
	"__complete ru",
	"__complete run --",
	"__complete network ",
	"__complete network create --driver ",
	"__complete --log-level ",
	"__complete stop ",
	"__complete kill --signal ",
	"__completeNoDesc image p",
}

// TestDocker compares the guest with the program of the same source built for the machine we are on: what it prints without a daemon.
// That other program's words are recorded, since building it takes a minute: `go test ./sandbox/guests/toolchain -run Docker -update`.
func TestDocker(t *testing.T) {
	if *update {
		recordDocker(t)
	}
	archive, err := txtar.ParseFile(dockerGolden)
	if err != nil {
		t.Fatal(err)
	}
	some, err := named([]string{"docker"})
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, map[string][]byte{"docker": guestWasm(t, some[0], "../docker")})
	if len(archive.Files) != len(dockerLines) {
		t.Fatalf("%d commands recorded, want %d: -update", len(archive.Files), len(dockerLines))
	}
	for i, line := range dockerLines {
		t.Run(line, func(t *testing.T) {
			l := &lab{t: t, host: l.host, machine: l.machine, view: l.view}
			out, errs, code := l.run(append([]string{"/bin/docker"}, words(line)...)...)
			if diff := cmp.Diff(string(archive.Files[i].Data), transcript(line, out, errs, code)); archive.Files[i].Name != name(line) || diff != "" {
				t.Errorf("%s (- native, + guest):\n%s", archive.Files[i].Name, diff)
			}
		})
	}
}

// words splits a command line at each space: no word of these holds one, and a line that ends in one ends in an empty word.
func words(line string) []string {
	if line == "" {
		return nil
	}
	return strings.Split(line, " ")
}

func name(line string) string { return strings.TrimSpace("docker " + line) }

// transcript is what a command printed and ended with. Completions are sorted: some come out of maps.
func transcript(line, out, errs string, code int) string {
	text := out
	if strings.HasPrefix(line, "__complete") {
		lines := slices.Collect(strings.Lines(out))
		slices.Sort(lines)
		text = strings.Join(lines, "")
	}
	if errs != "" {
		text += "[stderr]\n" + errs
	}
	return text + "[exit " + strconv.Itoa(code) + "]\n"
}

// recordDocker builds the same changed source for this machine and writes down what it prints.
func recordDocker(t *testing.T) {
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	some, err := named([]string{"docker"})
	if err != nil {
		t.Fatal(err)
	}
	flags, _, err := patchModules(cache, t.TempDir(), "../docker", some[0].special)
	if err != nil {
		t.Fatal(err)
	}
	native := filepath.Join(t.TempDir(), "docker")
	build := exec.Command("go", append(append([]string{"build"}, flags...), "-ldflags", dockerLDFlags, "-o", native, some[0].upstream)...)
	build.Dir = "../docker"
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home := t.TempDir()
	same := strings.NewReplacer(home, "/root", runtime.GOOS+"/"+runtime.GOARCH, "wasip1/wasm",
		`"Os":"`+runtime.GOOS, `"Os":"wasip1`, `"Arch":"`+runtime.GOARCH, `"Arch":"wasm`)
	archive := &txtar.Archive{}
	for _, line := range dockerLines {
		cmd := exec.Command(native, words(line)...)
		cmd.Dir, cmd.Env = home, []string{"PATH=/nowhere", "HOME=" + home, "USER=root"}
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Run()
		archive.Files = append(archive.Files, txtar.File{Name: name(line), Data: []byte(same.Replace(transcript(line, out.String(), errs.String(), cmd.ProcessState.ExitCode())))})
	}
	if err := os.WriteFile(dockerGolden, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkDockerCompile is what the program costs before its first start on a machine.
func BenchmarkDockerCompile(b *testing.B) {
	some, err := named([]string{"docker"})
	if err != nil {
		b.Fatal(err)
	}
	text := guestWasm(b, some[0], "../docker")
	for b.Loop() {
		engine, err := wasm.New(b.Context(), wasm.Config{})
		if err != nil {
			b.Fatal(err)
		}
		if err := wasi.Instantiate(b.Context(), engine.Runtime()); err != nil {
			b.Fatal(err)
		}
		before := cpu(b)
		if _, err := engine.Load(b.Context(), "docker", func() ([]byte, error) { return text, nil }, wasm.LoadOptions{Trusted: true}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((cpu(b) - before).Seconds(), "CPU-s")
		engine.Close(b.Context())
	}
	b.ReportMetric(float64(len(text))/1e6, "MB")
}

// cpu is what this process has computed.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDocker is what commands take from their start to their end, through the unix socket, and the most memory they are charged.
func BenchmarkDocker(b *testing.B) {
	l, _ := newDockerLab(b)
	for _, line := range []string{"--version", "version", "ps", "run --help", "__complete ru", "pull registry.lab/web:1.0"} {
		b.Run(line, func(b *testing.B) {
			l := &lab{t: b, host: l.host, machine: l.machine, view: l.view}
			before, n := cpu(b), 0
			for b.Loop() {
				p := l.start("", false, append([]string{"/bin/docker"}, words(line)...)...)
				if code := p.code(b); code != 0 {
					b.Fatalf("code %d, %s", code, p.err.String())
				}
				b.ReportMetric(float64(p.Usage().MaxRSS)/1e6, "charged-MB")
				n++
			}
			b.ReportMetric(float64((cpu(b)-before).Milliseconds())/float64(n), "CPU-ms")
		})
	}
}
