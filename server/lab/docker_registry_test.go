package lab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// registryAuth is the header by which a client of the Engine API shows credentials.
func registryAuth(t testing.TB, user, password string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"username": user, "password": password})
	if err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(b)
}

// send is a request with the header X-Registry-Auth.
func (e engine) send(method, path, auth string) (int, string) {
	e.t.Helper()
	req, err := http.NewRequest(method, "http://"+e.addr+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("X-Registry-Auth", auth)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestDockerRegistry: what the Docker host pushed is pulled by the cluster's nodes, seen by clients inside and on this machine who know the lab's
// credentials, and by nobody else.
func TestDockerRegistry(t *testing.T) {
	l := newTestLab(t, Options{})
	e := newEngine(t, l)
	_, user, password := l.Registry()
	mine := registryAuth(t, user, password)
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "busybox")
	e.want("POST", "/images/busybox/tag?repo=registry.lab/team/tools&tag=1", nil, 201, "")
	for _, row := range []struct {
		auth string
		want string
	}{
		{"", "no basic auth credentials"},
		{registryAuth(t, "learner", "guess"), "takes only the credentials that this lab issued"},
		{"%%%", "it is not base64"},
		{mine, `"Digest":"sha256:`},
	} {
		if _, body := e.send("POST", "/images/registry.lab/team/tools/push?tag=1", row.auth); !strings.Contains(body, row.want) || strings.Contains(body, "guess") {
			t.Errorf("push with %q: %s", row.auth, body)
		}
	}
	if status, body := e.send("GET", "/distribution/registry.lab/team/tools:1/json", mine); status != 200 || !strings.Contains(body, `"os":"wasi"`) {
		t.Errorf("distribution inspect: %d %s", status, body)
	}

	login := fmt.Sprintf("$(awk '/^username/{u=$2} /^password/{print u \":\" $2}' %s)", "~/registry.txt")
	for _, row := range [][2]string{
		{"curl -s http://registry.lab/v2/_catalog", "takes only the credentials"},
		{"curl -s -u " + login + " http://registry.lab/v2/team/tools/tags/list", `{"name":"team/tools","tags":["1"]}`},
		{"curl -s http://docker.io/v2/library/busybox/tags/list", `"latest"`},
		{"curl -s -o /dev/null -w '%{http_code}' -X POST http://registry-1.docker.io/v2/library/busybox/blobs/uploads/", "403"},
		{"kubectl run tools --image=registry.lab/team/tools:1 --restart=Never --attach -q -- echo from the registry", "from the registry"},
		{"docker run --rm busybox wget -qO- http://docker.io/v2/", "{}"},
	} {
		if out, _, err := l.terminal(t, row[0]); err != nil || !strings.Contains(out, row[1]) {
			t.Errorf("%s: %q %v\nwant %s", row[0], out, err, row[1])
		}
	}
	if out, _, _ := newTestLab(t, Options{}).terminal(t, "docker pull registry.lab/team/tools:1; kubectl get nodes"); strings.Contains(out, "Downloaded") {
		t.Errorf("another lab: %s", out)
	}

	h, _, _ := l.Registry()
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, row := range []struct {
		user, password string
		status         int
	}{{"", "", 401}, {"learner", "guess", 401}, {user, password, 200}} {
		req, err := http.NewRequest("GET", srv.URL+"/v2/team/tools/manifests/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.user != "" {
			req.SetBasicAuth(row.user, row.password)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != row.status {
			t.Errorf("from this machine as %q: %d, want %d", row.user, res.StatusCode, row.status)
		}
	}
}

// terminal runs a command as somebody at a terminal of the lab would.
func (l *Lab) terminal(t testing.TB, command string) (string, int, error) {
	t.Helper()
	if err := l.nodes[Workstation].unlock(); err != nil {
		t.Fatal(err)
	}
	out, code, err := l.Run(t.Context(), command)
	return string(out), code, err
}
