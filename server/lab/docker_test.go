package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"
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
	return native{dir, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "DOCKER_HOST=unix://" + socket, "DOCKER_BUILDKIT=0", "PASSWORD=" + l.regs.password, "LC_ALL=C"}}
}

func TestDockerNative(t *testing.T) {
	l := newTestLab(t, Options{})
	play(t, newDockerClient(t, l), "testdata/docker.txt")
}

func TestDockerGuest(t *testing.T) {
	play(t, guest{newTestLab(t, Options{})}, "testdata/docker-guest.txt")
}

// engine is a client of the Engine API without a docker command.
type engine struct {
	t    testing.TB
	l    *Lab
	addr string
}

func newEngine(t testing.TB, l *Lab) engine {
	t.Helper()
	h, err := l.Docker()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return engine{t, l, srv.Listener.Addr().String()}
}

// do sends a request with a body of JSON, nil for none, and gives status and body.
func (e engine) do(method, path string, body any) (int, string) {
	e.t.Helper()
	var r io.Reader
	if body != nil {
		if s, ok := body.(string); ok {
			r = strings.NewReader(s)
		} else {
			b, err := json.Marshal(body)
			if err != nil {
				e.t.Fatal(err)
			}
			r = bytes.NewReader(b)
		}
	}
	req, err := http.NewRequest(method, "http://"+e.addr+path, r)
	if err != nil {
		e.t.Fatal(err)
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
	return res.StatusCode, strings.TrimSpace(string(b))
}

// want is do with an expectation: the status, and a part of the body.
func (e engine) want(method, path string, body any, status int, part string) string {
	e.t.Helper()
	got, text := e.do(method, path, body)
	if got != status || !strings.Contains(text, part) {
		e.t.Errorf("%s %s: %d %s\nwant %d with %s", method, path, got, text, status, part)
	}
	return text
}

// create makes a container and gives its id.
func (e engine) create(query string, config map[string]any) string {
	e.t.Helper()
	var res struct{ ID string }
	if err := json.Unmarshal([]byte(e.want("POST", "/v1.50/containers/create"+query, config, 201, `"Id"`)), &res); err != nil {
		e.t.Fatal(err)
	}
	return res.ID
}

// TestDockerAPI is a container's life, and the daemon's answers to what cannot be, without a docker command.
func TestDockerAPI(t *testing.T) {
	e := newEngine(t, newTestLab(t, Options{}))
	e.want("GET", "/_ping", nil, 200, "OK")
	e.want("POST", "/containers/create", map[string]any{"Image": "busybox"}, 404, `"No such image: busybox:latest"`)
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "Downloaded newer image for busybox:latest")
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "Image is up to date for busybox:latest")
	e.want("POST", "/images/create?fromImage=Bad..Name", nil, 400, "invalid reference format")
	id := e.create("?name=one", map[string]any{"Image": "busybox", "Cmd": []string{"sh", "-c", "echo out; echo err >&2; read x; echo $x; exit 7"}, "OpenStdin": true, "StdinOnce": true})
	e.want("POST", "/containers/create?name=one", map[string]any{"Image": "busybox"}, 409, `already in use by container`)
	e.want("GET", "/containers/json", nil, 200, "[]")
	e.want("GET", "/containers/json?all=1", nil, 200, `"State":"created"`)

	conn := e.hijack("/containers/one/attach?stream=1&stdin=1&stdout=1&stderr=1")
	wait := make(chan string, 1)
	go func() {
		_, text := e.do("POST", "/containers/one/wait?condition=next-exit", nil)
		wait <- text
	}()
	e.want("POST", "/containers/one/start", nil, 204, "")
	e.want("POST", "/containers/one/start", nil, 304, "")
	e.want("DELETE", "/containers/one", nil, 409, `cannot remove container \"one\": container is running`)
	if _, err := io.WriteString(conn, "typed\n"); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, conn); err != nil || out.String() != "out\ntyped\n" || errOut.String() != "err\n" {
		t.Errorf("attached: %q, %q, %v", out.String(), errOut.String(), err)
	}
	if got := <-wait; got != `{"StatusCode":7}` {
		t.Errorf("wait: %s", got)
	}
	e.want("GET", "/containers/"+id[:12]+"/json", nil, 200, `"ExitCode":7`)
	e.want("GET", "/containers/one/logs?stdout=1", nil, 200, "typed")
	e.want("GET", "/containers/one/logs", nil, 400, "you must choose at least one stream")
	e.want("POST", "/containers/one/kill", nil, 409, "is not running")
	e.want("DELETE", "/containers/one", nil, 204, "")
	e.want("GET", "/containers/one/json", nil, 404, `"No such container: one"`)
}

// TestDockerBadInput: every refusal is Docker's JSON with a status, and nothing is left behind.
func TestDockerBadInput(t *testing.T) {
	l := newTestLab(t, Options{})
	e := newEngine(t, l)
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "busybox")
	idle := l.disk.used.Load()
	for _, row := range []struct {
		method, path string
		body         any
		status       int
		part         string
	}{
		{"GET", "/v1.10/info", nil, 400, "client version 1.10 is too old"},
		{"GET", "/v1.99/info", nil, 400, "client version 1.99 is too new"},
		{"GET", "/nothing", nil, 404, `{"message":"page not found"}`},
		{"POST", "/session", nil, 501, "DOCKER_BUILDKIT=0"},
		{"POST", "/containers/create", "{", 400, "invalid JSON"},
		{"POST", "/containers/create", "", 400, "config cannot be empty"},
		{"POST", "/containers/create", strings.Repeat(" ", 5<<20), 413, "larger than"},
		{"POST", "/containers/create?name=-x", map[string]any{"Image": "busybox"}, 400, "Invalid container name (-x)"},
		{"POST", "/containers/create?name=%3Cscript%3E", map[string]any{"Image": "busybox"}, 400, "Invalid container name"},
		{"POST", "/containers/create", map[string]any{"Image": "busybox", "HostConfig": map[string]any{"Memory": 1024}}, 400, "Minimum memory limit allowed is 6MB"},
		{"POST", "/containers/create", map[string]any{"Image": "busybox", "HostConfig": map[string]any{"Privileged": true}}, 501, "does not support --privileged"},
		{"POST", "/containers/create", map[string]any{"Image": "busybox", "HostConfig": map[string]any{"Binds": []string{"a:b:c:d"}}}, 400, "invalid volume specification"},
		{"POST", "/containers/create", map[string]any{"Image": "busybox", "HostConfig": map[string]any{"Binds": []string{"../x:/y"}}}, 400, "invalid characters for a local volume name"},
		{"POST", "/containers/create", map[string]any{"Image": "busybox", "HostConfig": map[string]any{"Binds": []string{"v:/y", "w:/y"}}}, 400, "Duplicate mount point: /y"},
		{"POST", "/containers/create", map[string]any{"Image": "busybox", "HostConfig": map[string]any{"Mounts": []map[string]any{{"Type": "bind", "Source": "/no/such", "Target": "/y"}}}}, 400, "bind source path does not exist: /no/such"},
		{"GET", "/containers/json?filters=x", nil, 400, "invalid filter"},
		{"GET", `/containers/json?filters={"nosuch":["x"]}`, nil, 400, "invalid filter 'nosuch'"},
		{"POST", `/containers/prune?filters={"until":["x"]}`, nil, 400, "invalid time"},
		{"POST", `/volumes/prune?filters={"until":["24h"]}`, nil, 400, "invalid filter 'until'"},
		{"POST", "/networks/create", map[string]any{"Name": "a", "Driver": "overlay"}, 404, `plugin \"overlay\" not found`},
		{"POST", "/networks/create", map[string]any{"Name": "a", "IPAM": map[string]any{"Config": []map[string]any{{"Subnet": "172.17.0.0/16"}}}}, 409, "Pool overlaps"},
		{"POST", "/networks/create", map[string]any{"Name": "a", "IPAM": map[string]any{"Config": []map[string]any{{"Subnet": "172.18.0.0/16"}}}}, 409, "Pool overlaps"},
		{"DELETE", "/networks/bridge", nil, 403, "pre-defined network"},
		{"DELETE", "/volumes/nosuch", nil, 404, "no such volume"},
		{"DELETE", "/images/nosuch", nil, 404, "No such image: nosuch:latest"},
		{"POST", "/exec/nosuch/start", map[string]any{}, 404, "No such exec instance"},
	} {
		e.want(row.method, row.path, row.body, row.status, row.part)
	}
	e.want("GET", "/containers/json?all=1", nil, 200, "[]")
	e.want("GET", "/volumes", nil, 200, `"Volumes":[]`)
	if used := l.disk.used.Load(); used != idle {
		t.Errorf("refused requests left %d bytes", used-idle)
	}
}

// TestDockerApart: neither of two labs sees the other's containers, volumes, networks or addresses.
func TestDockerApart(t *testing.T) {
	a, b := newEngine(t, newTestLab(t, Options{})), newEngine(t, newTestLab(t, Options{}))
	for _, e := range []engine{a, b} {
		e.want("POST", "/images/create?fromImage=nginx&tag=1.28", nil, 200, "nginx:1.28")
	}
	id := a.create("?name=web", map[string]any{"Image": "nginx:1.28", "HostConfig": map[string]any{"Binds": []string{"html:/usr/share/nginx/html"}}})
	a.want("POST", "/networks/create", map[string]any{"Name": "mine"}, 201, "Id")
	a.want("POST", "/containers/web/start", nil, 204, "")
	for _, ref := range []string{"web", id} {
		b.want("GET", "/containers/"+ref+"/json", nil, 404, "No such container")
	}
	b.want("GET", "/volumes/html", nil, 404, "no such volume")
	b.want("GET", "/networks/mine", nil, 404, "not found")
	if out, code, err := b.l.Run(t.Context(), "curl -sS -m 2 172.17.0.2"); err != nil || code == 0 {
		t.Errorf("the other lab's container answers: %s %v", out, err)
	}
	if out, code, err := a.l.Run(t.Context(), "curl -sS --retry 20 --retry-connrefused 172.17.0.2 | head -1"); err != nil || code != 0 || !strings.Contains(string(out), "<!DOCTYPE html>") {
		t.Errorf("its own container: %s %d %v", out, code, err)
	}
	if out, code, _ := a.l.Run(t.Context(), "kubectl run probe --image=busybox --restart=Never --attach -q -- wget -T 2 -qO- 172.17.0.2"); code == 0 {
		t.Errorf("a pod reaches a container on Docker's bridge: %s", out)
	}
}

// TestDockerReboot: a power cut takes the containers' processes and the daemon, the next boot has both again.
func TestDockerReboot(t *testing.T) {
	l := newTestLab(t, Options{})
	before := newEngine(t, l)
	before.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "busybox")
	before.create("?name=one", map[string]any{"Image": "busybox", "Cmd": []string{"sleep", "1000"}})
	before.want("POST", "/containers/one/start", nil, 204, "")
	if err := l.PowerOff(Workstation); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Docker(); err == nil {
		t.Error("the Docker host of a machine that is off answers")
	}
	if err := l.PowerOn(Workstation); err != nil {
		t.Fatal(err)
	}
	if out, code, err := l.Run(t.Context(), "docker images -q | wc -l; docker run --rm busybox echo again"); err != nil || code != 0 || string(out) != "1\nagain\n" {
		t.Errorf("%q %d %v", out, code, err)
	}
}

// hijack begins a raw stream.
func (e engine) hijack(path string) net.Conn {
	e.t.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n", path)
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		e.t.Fatalf("%v %+v", err, res)
	}
	return &buffered{c, r}
}

// buffered is a connection of which a part has been read ahead.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }
