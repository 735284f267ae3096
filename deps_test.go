package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "github.com/drydock-labs/drydock"

// rule forbids packages under From to import anything under one of Not, except below Except.
type rule struct {
	from   string   // path below the module; "" is the root package alone
	not    []string // import path prefixes
	except []string // paths below the module that may, and their subpackages
	reason string
}

// rules are the boundaries between the parts. Direct imports are judged: what a part reaches through another part is that part's business.
var rules = []rule{
	{from: "sandbox", not: []string{"k8s.io/", "sigs.k8s.io/"},
		reason: "the machines run under a Docker host and in tests of other people without Kubernetes; a kubelet drives them like anybody else"},
	{from: "sandbox", not: []string{module + "/orchestrator", module + "/server", module + "/lessons", module + "/frontend"},
		reason: "imports go one way: the sandbox is the ground everything stands on"},
	{from: "orchestrator", not: []string{module + "/sandbox", module + "/server", module + "/lessons", module + "/frontend", "github.com/tetratelabs/wazero", "github.com/labstack/echo"},
		reason: "Kubernetes knows nothing of wasm or of HTTP frameworks: whatever it needs from outside it declares (kubelet.Runtime), so that it can be simulated without machines"},
	{from: "lessons", not: []string{module + "/sandbox", module + "/orchestrator", module + "/server", module + "/frontend"},
		reason: "a lesson sees a read-only World; a check that could reach the parts would test our code and not the learner's world"},
	{from: "frontend", not: []string{module + "/"},
		reason: "the page is files; it talks to the portal over HTTP like any client"},
	{from: "sandbox", not: []string{"github.com/tetratelabs/wazero"}, except: []string{"sandbox/wasm", "sandbox/kernel", "sandbox/wasi"},
		reason: "one engine behind one door: whoever else touched wazero could start a guest that nobody meters"},
	{from: "server", not: []string{"github.com/tetratelabs/wazero"},
		reason: "one engine behind one door: whoever else touched wazero could start a guest that nobody meters"},
	{from: "sandbox", not: []string{"github.com/google/go-containerregistry"}, except: []string{"sandbox/image"},
		reason: "images are unpacked in one place, with its limits and its fuzz tests"},
	{from: "server", not: []string{"github.com/google/go-containerregistry"},
		reason: "images are unpacked in one place, with its limits and its fuzz tests"},
	{from: "server", not: []string{module + "/sandbox", module + "/orchestrator"}, except: []string{"server/lab"},
		reason: "one place joins machines and clusters; the portal knows labs through server/api and could be served by another kind of them"},
	{from: "server/lab", not: []string{"github.com/labstack/echo"},
		reason: "a lab is also used by drydock lab and by other people's Go tests, which serve no pages"},
	{from: "sandbox/wasm", not: []string{module + "/"},
		reason: "the engine knows modules and memory; who owns a guest is the kernel's business"},
	{from: "sandbox/vfs", not: []string{module + "/"},
		reason: "files know nothing of the processes that open them, so that layers are shared between all labs"},
	{from: "sandbox/network", not: []string{module + "/"},
		reason: "packets know nothing of processes, so that host code and guests are equal ends of a connection"},
	{from: "sandbox/kernel", not: []string{module + "/sandbox/wasi", module + "/sandbox/image", module + "/sandbox/runtime"},
		reason: "the kernel is below its ABI and below containers: both are its clients"},
	{from: "sandbox/image", not: []string{module + "/sandbox/kernel", module + "/sandbox/wasm", module + "/sandbox/wasi", module + "/sandbox/runtime"},
		reason: "images are data"},
	{from: "sandbox/runtime", not: []string{module + "/sandbox/wasm", module + "/sandbox/wasi"},
		reason: "containers are made of kernel objects; how a program runs is the kernel's business"},
	{from: "orchestrator/store", not: []string{module + "/orchestrator/"},
		reason: "the store knows keys, bytes and revisions"},
	{from: "orchestrator/controllers", not: []string{module + "/orchestrator/apiserver", module + "/orchestrator/scheduler", module + "/orchestrator/kubelet"},
		reason: "components meet in the API, never by a call: that is what makes a cluster explainable"},
	{from: "orchestrator/scheduler", not: []string{module + "/orchestrator/apiserver", module + "/orchestrator/controllers", module + "/orchestrator/kubelet"},
		reason: "components meet in the API, never by a call: that is what makes a cluster explainable"},
	{from: "orchestrator/kubelet", not: []string{module + "/orchestrator/apiserver", module + "/orchestrator/controllers", module + "/orchestrator/scheduler"},
		reason: "components meet in the API, never by a call: that is what makes a cluster explainable"},
}

type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// TestBoundaries holds the import rules. Tests may reach further down (an orchestrator test runs the real API server), not across:
// only the packages' own imports are judged.
func TestBoundaries(t *testing.T) {
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, r := range rules {
			if !under(path, r.from) || slices.ContainsFunc(r.except, func(e string) bool { return under(path, e) }) {
				continue
			}
			for _, imp := range p.Imports {
				if i := slices.IndexFunc(r.not, func(n string) bool { return strings.HasPrefix(imp+"/", strings.TrimSuffix(n, "/")+"/") }); i >= 0 && !under(strings.TrimPrefix(imp, module+"/"), r.from) {
					t.Errorf("%s imports %s: %s must not import %s, because %s", p.ImportPath, imp, r.from, r.not[i], r.reason)
				}
			}
		}
	}
}

func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages only: the rules would judge nothing", len(pkgs))
	}
	return pkgs
}

// moved lists modules whose version differs from what the pinned k8s.io/kubernetes requires, each with its reason.
var moved = func() map[string]string {
	const together = "echo 4.16 and go-containerregistry 0.22 require x/net above Kubernetes'; the golang.org/x modules are released together and move together, to the newest release for its fixes"
	return map[string]string{
		"golang.org/x/crypto": together, "golang.org/x/mod": together, "golang.org/x/net": together, "golang.org/x/sync": together,
		"golang.org/x/sys": together, "golang.org/x/term": together, "golang.org/x/text": together, "golang.org/x/tools": together,
	}
}()

// TestKubernetesVersions compares our module versions with those Kubernetes was released with: upstream tested those together.
func TestKubernetesVersions(t *testing.T) {
	ours := requires(t, "go.mod")
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatalf("go list -m k8s.io/kubernetes: %v", err)
	}
	theirs := requires(t, strings.TrimSpace(string(dir))+"/go.mod")
	for path, want := range theirs {
		got, used := ours[path]
		if !used || strings.HasPrefix(path, "k8s.io/") && want == "v0.0.0" {
			continue
		}
		if got != want && moved[path] == "" {
			t.Errorf("%s is %s here and %s in Kubernetes' own go.mod: give the reason in moved, or pin it back", path, got, want)
		}
	}
	for path := range moved {
		if theirs[path] == "" || ours[path] == theirs[path] {
			t.Errorf("moved names %s, which has not moved", path)
		}
	}
}

func requires(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, r := range f.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}

// TestToolchainPinned: every module of the repository names one patch version of Go, so that guests and their digests are the same everywhere.
func TestToolchainPinned(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "*go.mod", "tools.mod").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	want := ""
	for _, name := range append([]string{"go.mod"}, strings.Fields(string(out))...) {
		if strings.Contains(name, "testdata/") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := modfile.Parse(name, data, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if f.Toolchain != nil {
			got = f.Toolchain.Name
		}
		if want == "" {
			want = got
		}
		if got != want || got == "none" {
			t.Errorf("%s: toolchain %s, want %s", name, got, want)
		}
	}
}
