package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "record testdata/golden from the GNU and procps programs of this machine")

var bin string // a folder with a link for each utility

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "coreutils")
	if err != nil {
		panic(err)
	}
	program := filepath.Join(dir, "coreutils")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	bin = filepath.Join(dir, "bin")
	os.Mkdir(bin, 0o755)
	for _, name := range append(Names(), "coreutils") {
		if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
			panic(err)
		}
	}
	if err := os.Symlink("/bin/sh", filepath.Join(bin, "sh")); err != nil { // the cases' own language, no utility
		panic(err)
	}
	site = newServers(dir)
	code := m.Run()
	site.close()
	os.RemoveAll(dir)
	os.Exit(code)
}

// section is one "-- name --" part of a file of cases or results.
type section struct{ name, body string }

// sections splits a file. A case is a shell script; its first line may be "#ours: reason" when the result is recorded from
// our program because it differs on purpose.
func sections(t *testing.T, path string) (list []section) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(name, " --\n") {
			list = append(list, section{name: strings.TrimSuffix(name, " --\n")})
			continue
		}
		if len(list) > 0 {
			list[len(list)-1].body += line
		}
	}
	return list
}

// runCase runs a script in a fresh folder with the programs of path, and writes down all that can be seen of it.
func runCase(t *testing.T, path, script string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + path, "HOME=" + dir, "LC_ALL=C.UTF-8", "TZ=UTC", "USER=learner"}
	cmd.Env = append(cmd.Env, site.env()...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var b strings.Builder
	show := func(label string, s string) {
		s = strings.NewReplacer(dir, "$DIR", site.plain.Listener.Addr().String(), "$HOST", site.tls.Listener.Addr().String(), "$TLS", site.dead, "$DEAD", site.dns.LocalAddr().String(), "$DNS", site.silent.Addr().String(), "$SILENT", "‘", "'", "’", "'").Replace(s) // quotes are plain ones in every locale here
		if s == "" {
			return
		}
		if label != "" {
			fmt.Fprintf(&b, "[%s]\n", label)
		}
		b.WriteString(s)
		if !strings.HasSuffix(s, "\n") {
			b.WriteString("[no newline]\n")
		}
	}
	show("", stdout.String())
	show("stderr", stderr.String())
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		fmt.Fprintf(&b, "[exit %d]\n", code)
	}
	return b.String()
}

// TestAgainstGNU runs every case and compares output, messages and exit status with what the GNU utility gave when it was recorded.
func TestAgainstGNU(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		base := filepath.Base(file)
		golden := filepath.Join("testdata/golden", base)
		if *update {
			record(t, file, golden)
		}
		want := map[string]string{}
		for _, s := range sections(t, golden) {
			want[s.name] = s.body
		}
		for _, c := range sections(t, file) {
			t.Run(strings.TrimSuffix(base, ".txt")+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				w, ok := want[c.name]
				if !ok {
					t.Fatalf("no recorded result; run go test -update")
				}
				if diff := cmp.Diff(w, runCase(t, bin, c.body)); diff != "" {
					t.Errorf("(-recorded +ours)\n%s\n%s", c.body, diff)
				}
			})
		}
	}
}

func record(t *testing.T, file, golden string) {
	var b strings.Builder
	for _, c := range sections(t, file) {
		path := "/usr/bin:/bin:/usr/sbin:/sbin"
		if strings.HasPrefix(c.body, "#ours:") {
			path = bin
		}
		fmt.Fprintf(&b, "-- %s --\n%s", c.name, runCase(t, path, c.body))
	}
	if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
