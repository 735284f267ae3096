package lab

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// contextOf is an archive of headers; a regular file has the text of the same place.
func contextOf(t testing.TB, dockerfile string, hs ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, text string) {
		h.Mode = 0o644
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)[:h.Size]); err != nil {
			t.Fatal(err)
		}
	}
	put(tar.Header{Name: "Dockerfile", Typeflag: tar.TypeReg}, dockerfile)
	for _, h := range hs {
		put(h, "text of "+h.Name)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDockerBuildAbuse: contexts and Dockerfiles that want out, or too much, are refused or kept inside, and leave nothing.
func TestDockerBuildAbuse(t *testing.T) {
	l := newTestLab(t, Options{})
	e := newEngine(t, l)
	e.want("POST", "/images/create?fromImage=busybox&tag=latest", nil, 200, "busybox")
	idle := l.disk.used.Load()
	link := tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}
	up := tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../../etc"}
	for _, row := range []struct {
		name, query, body string
		status            int
		part              string
	}{
		{"BuildKit", "?version=2", "", 501, "DOCKER_BUILDKIT=0"},
		{"url", "?remote=https://example.com/x.git", "", 501, "nothing leaves a lab"},
		{"no archive", "", "no archive", 400, "Error processing tar file"},
		{"no Dockerfile", "?dockerfile=other", contextOf(t, "FROM busybox"), 400, "Cannot locate specified Dockerfile: other"},
		{"Dockerfile above", "?dockerfile=../../etc/passwd", contextOf(t, "FROM busybox"), 400, "Cannot locate specified Dockerfile"},
		{"empty Dockerfile", "", contextOf(t, ""), 400, "cannot be empty"},
		{"large Dockerfile", "", contextOf(t, "FROM busybox\n#"+strings.Repeat("x", 300<<10)), 413, "more than"},
		{"many steps", "", contextOf(t, "FROM busybox\n"+strings.Repeat("ENV a=b\n", 2000)), 400, "more than 1000"},
		{"name with ..", "", contextOf(t, "FROM busybox", tar.Header{Name: "../x", Typeflag: tar.TypeReg}), 400, "leads out"},
		{"device", "", contextOf(t, "FROM busybox", tar.Header{Name: "x", Typeflag: tar.TypeChar, Devmajor: 1}), 400, "not supported"},
		{"bad tag", "?t=UPPER%20", contextOf(t, "FROM busybox"), 400, "invalid reference format"},
		{"bad arguments", "?buildargs=x", contextOf(t, "FROM busybox"), 400, "invalid buildargs"},
		{"file behind a link", "", contextOf(t, "FROM scratch\nCOPY link /x", link), 200, "file not found in build context"},
		{"folder behind a link", "", contextOf(t, "FROM scratch\nCOPY up/passwd /x", up), 200, "file not found in build context"},
		{"source above", "", contextOf(t, "FROM scratch\nCOPY ../../../etc/passwd /x"), 200, "file not found in build context"},
		{"another lab's image", "", contextOf(t, "FROM registry.lab/secret"), 200, "no basic auth credentials"},
		{"a step that fails", "", contextOf(t, "FROM busybox\nRUN echo x >/x && exit 9"), 200, "non-zero code"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e.t = t
			e.want("POST", "/build"+row.query, row.body, row.status, row.part)
		})
	}
	e.t = t
	e.want("POST", "/containers/prune", nil, 200, "SpaceReclaimed")
	e.want("POST", `/images/prune?filters={"dangling":["true"]}`, nil, 200, "SpaceReclaimed")
	if used := l.disk.used.Load(); used != idle {
		t.Errorf("refused builds left %d bytes", used-idle)
	}
}

// TestDockerBuildLinks: what a link of the base image names is written inside the image, never beside it.
func TestDockerBuildLinks(t *testing.T) {
	l := newTestLab(t, Options{})
	e := newEngine(t, l)
	e.want("POST", "/build?t=linked", contextOf(t, "FROM busybox\nRUN ln -s /../../../tmp/inside /out && mkdir /tmp/inside\nCOPY a /out/\nRUN rm /bin/wget && rm -r /tmp/inside && mkdir /tmp/inside && echo new >/tmp/inside/b",
		tar.Header{Name: "a", Typeflag: tar.TypeReg}), 200, "Successfully tagged linked:latest")
	out, _, err := l.terminal(t, "docker run --rm linked sh -c 'ls /tmp/inside; ls /bin/wget; ls -d /tmp/..' 2>&1; docker image inspect -f '{{len .RootFS.Layers}}' linked busybox; ls /tmp/inside")
	if err != nil || !strings.HasPrefix(out, "b\nls: ") || strings.Count(out, "/bin/wget") != 1 || strings.Contains(out, "\na\n") {
		t.Errorf("%q %v", out, err)
	}
	var with, without int
	if _, err := fmt.Sscanf(out[strings.Index(out, "/tmp/..\n")+8:], "%d\n%d", &with, &without); err != nil || with != without+3 {
		t.Errorf("%q: %d layers over %d: %v", out, with, without, err)
	}
}
