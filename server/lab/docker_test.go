package lab

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
)

// newDockerClient is this machine with the lab's Docker host. It skips the test where no docker is installed.
func newDockerClient(t testing.TB, l *Lab) native {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("no docker on the PATH; the API is tested in any case")
	}
	engine, err := l.Docker()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "docker.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: engine}
	go srv.Serve(ln) // ends with Close
	t.Cleanup(func() { srv.Close() })
	return native{dir, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "DOCKER_HOST=unix://" + socket, "DOCKER_BUILDKIT=0", "LC_ALL=C"}}
}

func TestDockerNative(t *testing.T) {
	l := newTestLab(t, Options{})
	play(t, newDockerClient(t, l), "testdata/docker.txt")
}
