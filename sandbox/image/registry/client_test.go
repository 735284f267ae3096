package registry

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// recorder counts blobs that were uploaded and mounted.
type recorder struct {
	http.Handler
	mu               sync.Mutex
	uploads, mounted int // guarded by mu
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(s int) {
	w.status = s
	w.ResponseWriter.WriteHeader(s)
}

func (h *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sw := &statusWriter{w, 200}
	h.Handler.ServeHTTP(sw, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if sw.status == 201 && strings.Contains(r.URL.Path, "/uploads/") {
		if r.URL.Query().Get("mount") != "" {
			h.mounted++
		} else {
			h.uploads++
		}
	}
}

func (h *recorder) take() (uploads, mounted int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	uploads, mounted = h.uploads, h.mounted
	h.uploads, h.mounted = 0, 0
	return uploads, mounted
}

// TestClient pushes, copies and pulls with crane: layers that are there already are not sent again, those of another repository are mounted.
func TestClient(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another module")
	}
	dir := t.TempDir()
	buildTool(t, filepath.Join(dir, "crane"), "github.com/google/go-containerregistry/cmd/crane")
	layer := func(file, text string) string {
		b, err := image.Archive([]image.File{{Path: file, Data: []byte(text)}}, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, file+".tar")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	s := image.NewStore(image.NewContent(image.ContentConfig{BlobDir: t.TempDir()}))
	h := &recorder{Handler: New(Config{Store: s, Scope: "lab", Host: "registry.lab", Login: func(u, p string) bool { return u == "learner" && p == "issued" }})}
	srv := httptest.NewServer(h)
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	crane := func(args ...string) (string, error) {
		c := exec.Command(filepath.Join(dir, "crane"), args...)
		c.Env = append(os.Environ(), "DOCKER_CONFIG="+dir)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := crane("append", "--oci-empty-base", "-f", layer("one", "1"), "-t", addr+"/app:v1"); err == nil || !strings.Contains(out, "401") {
		t.Errorf("without login: %v %s", err, out)
	}
	h.take()
	for _, row := range []struct {
		name             string
		args             []string
		uploads, mounted int
		want             string
	}{
		{"login", []string{"auth", "login", addr, "-u", "learner", "-p", "issued"}, 0, 0, "logged in"},
		{"first", []string{"append", "--oci-empty-base", "-f", layer("one", "1"), "-f", layer("two", "2"), "-t", addr + "/app:v1"}, 3, 0, ""},
		{"one layer more", []string{"append", "-b", addr + "/app:v1", "-f", layer("three", "3"), "-t", addr + "/app:v2"}, 2, 0, "existing blob"},
		{"another repository", []string{"copy", addr + "/app:v2", addr + "/team/app:v2"}, 0, 4, "mounted blob"},
		{"valid", []string{"validate", "--remote", addr + "/team/app:v2"}, 0, 0, "PASS"},
		{"tags", []string{"ls", addr + "/app"}, 0, 0, "v1\nv2\n"},
		{"pull", []string{"pull", addr + "/team/app:v2", filepath.Join(dir, "image.tar")}, 0, 0, ""},
		{"delete", []string{"delete", addr + "/app:v1"}, 0, 0, ""},
		{"repositories", []string{"catalog", addr}, 0, 0, "app\nteam/app\n"},
	} {
		out, err := crane(row.args...)
		if uploads, mounted := h.take(); err != nil || uploads != row.uploads || mounted != row.mounted || !strings.Contains(out, row.want) {
			t.Errorf("%s: %v, %d uploads, %d mounted: %s", row.name, err, uploads, mounted, out)
		}
	}
}

// buildTool builds a command of the module in conformance/.
func buildTool(t *testing.T, to, path string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", to, path)
	build.Dir = "conformance"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", path, err, out)
	}
}
