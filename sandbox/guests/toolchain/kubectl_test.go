package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKubectl compares the guest with a kubectl built from the same source for the machine we are on: what it prints without a server.
// Help and usage go through templates, from which the guest's linker dropped all methods but those listed in templateMethods.
func TestKubectl(t *testing.T) {
	some, err := named([]string{"kubectl"})
	if err != nil {
		t.Fatal(err)
	}
	const dir = "../kubectl"
	l := newLab(t, map[string][]byte{"kubectl": guestWasm(t, some[0], dir)})
	native := filepath.Join(t.TempDir(), "kubectl")
	build := exec.Command("go", "build", "-ldflags", kubectlLDFlags, "-o", native, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	home := t.TempDir()
	for _, line := range []string{
		"version --client",
		"version --client -o yaml",
		"",
		"--help",
		"options",
		"get --help",
		"apply --help",
		"create deployment --help",
		"rollout undo --help",
		"logs --help",
		"exec --help",
		"port-forward --help",
		"config view",
		"explain --help",
		"auth can-i --help",
		"set image --help",
		"aply -f web.yaml",
		"apply web.yaml",
		"get -o wrong",
		"completion bash",
		"__complete rollout ",
		"__complete get -o ",
		"create deployment web --image=nginx --replicas=3 --dry-run=client -o yaml",
		"create configmap c --from-literal=a=b --dry-run=client -o json",
		"create configmap c --from-literal=a=b --dry-run=client -o go-template={{.data.a}}",
		"create configmap c --from-literal=a=b --dry-run=client -o jsonpath={.data}",
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Split(line, " ")
			if line == "" {
				args = nil
			}
			cmd := exec.Command(native, args...)
			cmd.Env = []string{"PATH=/bin", "HOME=" + home, "USER=root"}
			var wantOut, wantErr strings.Builder
			cmd.Stdout, cmd.Stderr = &wantOut, &wantErr
			cmd.Run()
			l := &lab{t: t, host: l.host, machine: l.machine, view: l.view}
			out, errs, code := l.run(append([]string{"/bin/kubectl"}, args...)...)
			same := strings.NewReplacer(home, "/root", runtime.GOOS+"/"+runtime.GOARCH, "wasip1/wasm")
			if diff := cmp.Diff(same.Replace(wantOut.String()), out); diff != "" {
				t.Errorf("stdout (- native, + guest):\n%s", diff)
			}
			if diff := cmp.Diff(same.Replace(wantErr.String()), errs); diff != "" {
				t.Errorf("stderr (- native, + guest):\n%s", diff)
			}
			if want := cmd.ProcessState.ExitCode(); code != want {
				t.Errorf("exit code %d, want %d", code, want)
			}
		})
	}
}
