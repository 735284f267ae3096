package lab

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drydock-labs/drydock/server/journal"
)

// keptHost is a host whose labs outlive it, in a folder; close ends it as a shutdown does.
func keptHost(t testing.TB, dir string) (h *Host, close func()) {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	h, err = NewHost(context.Background(), HostConfig{CacheDir: testCache(), Journal: j, ContentDir: filepath.Join(dir, "content"), Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	over := false
	close = func() {
		if over {
			return
		}
		over = true
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(close)
	return h, close
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// A lab that was closed, or whose process ended, is there again: objects and their uids, files, containers with their files and logs, images,
// volumes, networks; processes are as after a power cut.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	h, end := keptHost(t, dir)
	l, err := h.New(context.Background(), Options{Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	id := l.ID()
	sh := func(line, want string) {
		t.Helper()
		out, code, err := l.Run(context.Background(), line)
		if err != nil || code != 0 || !strings.Contains(string(out), want) {
			t.Fatalf("%s: %q, exit %d, %v; want %q", line, out, code, err, want)
		}
	}
	sh("echo hello > notes.txt && chmod 600 notes.txt && ln -s notes.txt link", "")
	sh("kubectl create deployment web --image=nginx --replicas=2 && kubectl rollout status deployment/web", "successfully rolled out")
	sh("kubectl get deployment web -o jsonpath={.metadata.uid}", "-")
	uid, _, _ := l.Run(context.Background(), "kubectl get deployment web -o jsonpath={.metadata.uid}")
	sh("docker network create front && docker volume create data", "data")
	sh("docker run -d --name web -p 8080:80 --restart unless-stopped --network front -v data:/data nginx", "")
	sh("docker exec web sh -c 'echo changed > /usr/share/nginx/html/index.html; echo kept > /data/file; rm /etc/os-release'", "")
	sh("docker run --name once busybox echo said", "said")
	sh("docker run -d --name idle busybox sleep 1000", "")
	sh("docker tag busybox mine:1 && docker commit once made:1", "sha256:")
	for round := range 2 {
		if round == 0 {
			if err := l.Close(); err != nil { // sleep
				t.Fatal(err)
			}
		} else {
			end()
			h, end = keptHost(t, dir)
		}
		if freed, err := h.Collect(); err != nil || freed != 0 {
			t.Fatalf("%d bytes of a lab that sleeps were collected: %v", freed, err)
		}
		if l, err = h.Open(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		sh("docker run --rm made:1 echo from the image", "from the image")
		sh("cat link && stat -c %a notes.txt", "hello\n600")
		sh("kubectl get deployment web -o jsonpath={.metadata.uid}", string(uid))
		sh("kubectl rollout status deployment/web --timeout=20s && kubectl create configmap round"+string(rune('0'+round))+" --from-literal=a=b", "created")
		sh("docker logs once", "said")
		sh("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' idle", "exited 255")
		sh("docker inspect -f '{{.State.ExitCode}}' once", "0")
		sh("for i in 1 2 3 4 5 6 7 8 9 10; do curl -s localhost:8080 && break; sleep 0.2; done", "changed")
		sh("docker exec web cat /data/file", "kept")
		sh("docker exec web sh -c 'test ! -e /etc/os-release && echo gone'", "gone")
		sh("docker images mine", "mine")
		sh("docker network ls", "front")
		sh("docker volume ls", "data")
	}
	if err := h.Delete(id); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Open(context.Background(), id); err == nil {
		t.Fatal("a deleted lab was opened")
	}
	freed, err := h.Collect()
	left, errLeft := os.ReadDir(filepath.Join(dir, "content"))
	if err := errors.Join(err, errLeft); err != nil || freed == 0 || len(left) > 0 {
		t.Errorf("%d bytes collected, %d files left of a deleted lab's images: %v", freed, len(left), err)
	}
}
