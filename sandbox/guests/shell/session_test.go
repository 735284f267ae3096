package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Sessions are scripts that bash has run once: testdata/sessions.txt holds them, testdata/bash.txt what bash 5.2 printed (stdout and stderr as
// they came) and how it ended. A script that begins with "#ours: REASON" is recorded from our shell, which differs from bash there. The shell is
// built for Linux, which runs the same source over the same system calls as the guest.
var update = flag.Bool("update", false, "record testdata/bash.txt from this machine's bash")

// sessionTime ends a session that hangs.
const sessionTime = 30 * time.Second

type session struct{ name, body string }

// sessions splits a file at its "-- name --" lines.
func sessions(t testing.TB, file string) (list []session) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(name, " --\n") {
			list = append(list, session{name: strings.TrimSuffix(name, " --\n")})
			continue
		}
		if len(list) == 0 {
			t.Fatalf("%s: text before the first name", file)
		}
		list[len(list)-1].body += line
	}
	return list
}

func build(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "bash")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// try runs a script from a file called script in an empty folder and returns what there was to see.
func try(t *testing.T, shell, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "script", "one", "two words")
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C.UTF-8", "PWD=" + dir}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(out.String(), dir, "/DIR")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "⏎\n" // no newline at the end
	}
	return fmt.Sprintf("%s[exit %d]\n", text, cmd.ProcessState.ExitCode())
}

func TestSessions(t *testing.T) {
	scripts := sessions(t, "sessions.txt")
	if *update {
		var b strings.Builder
		ours := build(t)
		for _, s := range scripts {
			shell := "/bin/bash"
			if strings.HasPrefix(s.body, "#ours: ") {
				shell = ours
			}
			fmt.Fprintf(&b, "-- %s --\n%s", s.name, try(t, shell, s.body))
		}
		if err := os.WriteFile("testdata/bash.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	shell := build(t)
	want := map[string]string{}
	for _, s := range sessions(t, "bash.txt") {
		want[s.name] = s.body
	}
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			w, ok := want[s.name]
			if !ok {
				t.Fatal("not recorded; run with -update where bash is")
			}
			if got := try(t, shell, s.body); got != w {
				t.Errorf("script:\n%s\n--- ours\n%s--- bash\n%s", s.body, got, w)
			}
		})
	}
}
