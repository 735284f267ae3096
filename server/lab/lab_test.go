package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testHost is shared by the tests of the package: its programs are compiled once.
var testHost = sync.OnceValues(func() (*Host, error) {
	ShareProcessors()
	return NewHost(context.Background(), HostConfig{Version: "test", CacheDir: testCache()})
})

func testCache() string {
	if dir := os.Getenv("DRYDOCK_TEST_CACHE"); dir != "" {
		return dir
	}
	if base, err := os.UserCacheDir(); err == nil {
		return filepath.Join(base, "drydock")
	}
	return ""
}

func newTestLab(t testing.TB, o Options) *Lab {
	t.Helper()
	h, err := testHost()
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		if err := l.Err(); err != nil {
			t.Errorf("the lab crashed: %v", err)
		}
		if u := l.Usage(); u.Memory != 0 || u.Processes != 0 || l.disk.used.Load() != 0 {
			t.Errorf("left over: %+v, disk %d", u, l.disk.used.Load())
		}
	})
	return l
}

func (l *Lab) mustRun(t testing.TB, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out, code, err := l.Run(ctx, line)
	if err != nil || code != 0 {
		t.Fatalf("%s: exit %d, %v\n%s", line, code, err, out)
	}
	return string(out)
}

func TestFirstLab(t *testing.T) {
	l := newTestLab(t, Options{})
	nodes := l.mustRun(t, "kubectl get nodes")
	if strings.Count(nodes, " Ready ") != 4 {
		t.Errorf("nodes:\n%s", nodes)
	}
	t.Logf("\n%s", nodes)
	l.mustRun(t, "kubectl create deployment web --image=nginx:1.28 --replicas=3 && kubectl expose deployment web --port=80 && kubectl rollout status deployment web --timeout=60s")
	out := l.mustRun(t, "kubectl get pods -o wide; curl -s http://web.default.svc.cluster.local/ | head -5; kubectl get events; kubectl logs deploy/web | head")
	t.Logf("\n%s", out)
}
