package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/google/go-cmp/cmp"
)

// quota is a disk of a lab.
type quota struct {
	mu          sync.Mutex
	limit, used int64
}

func (q *quota) Charge(delta int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if delta > 0 && q.used+delta > q.limit {
		return syscall.ENOSPC
	}
	q.used += delta
	return nil
}

func (q *quota) Used() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}

// bench is two labs over one store whose catalogue has nginx.
type bench struct {
	t     testing.TB
	store *image.Store
	nginx *image.Built
	disk  *quota
	now   time.Time
	a, b  *Registry
	up    *Uploads
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, store: image.NewStore(image.NewContent(image.ContentConfig{})), disk: &quota{limit: 1 << 20}, now: time.Unix(1e9, 0)}
	var err error
	if b.nginx, err = nginxImage(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Add("", b.nginx, "nginx:1.28"); err != nil {
		t.Fatal(err)
	}
	b.up = NewUploads(UploadsConfig{Clock: func() time.Time { return b.now }})
	b.store.Configure("a", image.ScopeConfig{Charger: b.disk, Clock: func() time.Time { return b.now }})
	b.a = New(Config{Store: b.store, Scope: "a", Host: "docker.io", Uploads: b.up, MaxBlob: 64 << 10})
	b.b = New(Config{Store: b.store, Scope: "b", Host: "docker.io"})
	return b
}

// nginxImage is the catalogue's image, built once: packing is slow.
var nginxImage = sync.OnceValues(func() (*image.Built, error) {
	r := image.Recipe{Created: time.Unix(1e9, 0), Layers: [][]image.File{{{Path: "base", Data: []byte("shared")}}, {{Path: "text", Data: []byte("nginx")}}}}
	return r.Assemble(image.Zstd)
})

// do sends a request; headers are "Name: value".
func (b *bench) do(g http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Add(k, v)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// want sends a request and checks the status and, in an error, the first code.
func (b *bench) want(status int, code string, g http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	w := b.do(g, method, path, body, headers...)
	if got := firstError(w).Code; w.Code != status || got != code {
		b.t.Errorf("%s %s: %d %s %s, want %d %s", method, path, w.Code, got, firstError(w).Message, status, code)
	}
	return w
}

type bodyError struct {
	Code, Message string
	Detail        any
}

func firstError(w *httptest.ResponseRecorder) bodyError {
	var x struct{ Errors []bodyError }
	if json.Unmarshal(w.Body.Bytes(), &x) != nil || len(x.Errors) == 0 {
		return bodyError{}
	}
	return x.Errors[0]
}

func (b *bench) pushBlob(g http.Handler, repo, body string) string {
	b.t.Helper()
	d := image.DigestOf([]byte(body))
	b.want(201, "", g, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, body)
	return d
}

// pushImage pushes a manifest with one layer and tells its digest and the layer's.
func (b *bench) pushImage(g http.Handler, repo, tag, layer string) (manifest, blob string) {
	b.t.Helper()
	config, blob := b.pushBlob(g, repo, "{}"), b.pushBlob(g, repo, layer)
	body := imageManifest(config, blob, len(layer), "")
	b.want(201, "", g, "PUT", "/v2/"+repo+"/manifests/"+tag, body, "Content-Type: "+mediaImage)
	return image.DigestOf([]byte(body)), blob
}

const mediaImage = "application/vnd.oci.image.manifest.v1+json"

func imageManifest(config, layer string, size int, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},
		"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]%s}`, mediaImage, config, layer, size, more)
}

func TestVisibility(t *testing.T) {
	b := newBench(t)
	m, blob := b.pushImage(b.a, "team/app", "v1", "private layer")
	for _, row := range []struct {
		name         string
		status       int
		code         string
		method, path string
		body         string
	}{
		{"tag", 404, "NAME_UNKNOWN", "GET", "/v2/team/app/manifests/v1", ""},
		{"manifest by digest", 404, "NAME_UNKNOWN", "GET", "/v2/team/app/manifests/" + m, ""},
		{"blob", 404, "BLOB_UNKNOWN", "GET", "/v2/team/app/blobs/" + blob, ""},
		{"blob through a name of all", 404, "BLOB_UNKNOWN", "GET", "/v2/library/nginx/blobs/" + blob, ""},
		{"manifest through a name of all", 404, "MANIFEST_UNKNOWN", "GET", "/v2/library/nginx/manifests/" + m, ""},
		{"mount", 202, "", "POST", "/v2/mine/blobs/uploads/?mount=" + blob + "&from=team/app", ""},
		{"anonymous mount", 202, "", "POST", "/v2/mine/blobs/uploads/?mount=" + blob, ""},
		{"manifest that names it", 400, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/mine/manifests/v1", imageManifest(blob, blob, 13, "")},
		{"empty upload of its digest", 400, "DIGEST_INVALID", "POST", "/v2/mine/blobs/uploads/?digest=" + blob, ""},
		{"tags", 404, "NAME_UNKNOWN", "GET", "/v2/team/app/tags/list", ""},
		{"delete", 404, "BLOB_UNKNOWN", "DELETE", "/v2/team/app/blobs/" + blob, ""},
		{"delete of the manifest", 404, "MANIFEST_UNKNOWN", "DELETE", "/v2/team/app/manifests/" + m, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			(&bench{t: t}).want(row.status, row.code, b.b, row.method, row.path, row.body, "Content-Type: "+mediaImage)
		})
	}
	if got := b.do(b.b, "GET", "/v2/_catalog", "").Body.String(); got != `{"repositories":["library/nginx"]}` {
		t.Errorf("catalog of b: %s", got)
	}
	if got := b.do(b.a, "GET", "/v2/_catalog", "").Body.String(); got != `{"repositories":["library/nginx","team/app"]}` {
		t.Errorf("catalog of a: %s", got)
	}
	b.want(200, "", b.a, "GET", "/v2/team/app/manifests/v1", "")
}

func TestCatalogueIsReadOnly(t *testing.T) {
	b := newBench(t)
	w := b.want(200, "", b.a, "GET", "/v2/library/nginx/manifests/1.28", "")
	if d := cmp.Diff(string(b.nginx.Manifest), w.Body.String()); d != "" || w.Header().Get("Docker-Content-Digest") != b.nginx.Digest {
		t.Error(d, w.Header())
	}
	for _, l := range b.nginx.Layers {
		if w := b.want(200, "", b.a, "GET", "/v2/library/nginx/blobs/"+l.Digest, ""); !bytes.Equal(w.Body.Bytes(), l.Data) {
			t.Errorf("layer %s: %d bytes", l.Digest, w.Body.Len())
		}
	}
	b.want(403, "DENIED", b.a, "DELETE", "/v2/library/nginx/manifests/1.28", "")
	b.want(403, "DENIED", b.a, "DELETE", "/v2/library/nginx/manifests/"+b.nginx.Digest, "")
	b.want(403, "DENIED", b.a, "DELETE", "/v2/library/nginx/blobs/"+b.nginx.Layers[0].Digest, "")
	if b.disk.Used() != 0 {
		t.Errorf("reading cost %d bytes", b.disk.Used())
	}
	// A lab's own tag hides the catalogue's, for this lab only.
	m, _ := b.pushImage(b.a, "library/nginx", "1.28", "other")
	if got := b.do(b.a, "HEAD", "/v2/library/nginx/manifests/1.28", "").Header().Get("Docker-Content-Digest"); got != m {
		t.Errorf("a sees %s", got)
	}
	if got := b.do(b.b, "HEAD", "/v2/library/nginx/manifests/1.28", "").Header().Get("Docker-Content-Digest"); got != b.nginx.Digest {
		t.Errorf("b sees %s", got)
	}
	b.want(202, "", b.a, "DELETE", "/v2/library/nginx/manifests/1.28", "")
	if got := b.do(b.a, "HEAD", "/v2/library/nginx/manifests/1.28", "").Header().Get("Docker-Content-Digest"); got != b.nginx.Digest {
		t.Errorf("a sees %s after the deletion", got)
	}
}

func TestNotFoundExplains(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]bodyError{
		"/v2/library/ngin/manifests/latest": {"NAME_UNKNOWN", `docker.io/library/ngin:latest: not found: "ngin" is not in this lab's catalogue (did you mean "nginx"?). It has nginx; images here are built with the lab as WebAssembly, nothing is fetched from outside: see 'drydock differences'`,
			map[string]any{"name": "library/ngin", "reference": "latest"}},
		"/v2/library/nginx/manifests/1.0": {"MANIFEST_UNKNOWN", `docker.io/library/nginx:1.0: not found: this lab's catalogue has no tag "1.0" of nginx, it has 1.28`,
			map[string]any{"name": "library/nginx", "reference": "1.0"}},
	} {
		w := b.do(b.a, "GET", path, "")
		if d := cmp.Diff(want, firstError(w)); d != "" || w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, d)
		}
	}
}

func TestLogin(t *testing.T) {
	b := newBench(t)
	seen := 0
	g := New(Config{Store: b.store, Scope: "a", Host: "registry.lab", Realm: `lab "quiet-harbour"`, Login: func(u, p string) bool {
		seen++
		return u == "learner" && p == "issued"
	}})
	ask := func(user, password string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/v2/", nil)
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w
	}
	w := ask("", "")
	if got := w.Header().Get("WWW-Authenticate"); w.Code != 401 || got != `Basic realm="lab \"quiet-harbour\"", charset="UTF-8"` || seen != 0 {
		t.Errorf("anonymous: %d %s", w.Code, got)
	}
	w = ask("me@example.com", "hunter2")
	if w.Code != 401 || firstError(w).Detail != LoginRefused || strings.Contains(w.Body.String(), "hunter2") || strings.Contains(w.Body.String(), "example") {
		t.Errorf("a real account: %d %s", w.Code, w.Body)
	}
	if w = ask("learner", "issued"); w.Code != 200 {
		t.Errorf("issued: %d %s", w.Code, w.Body)
	}
	b.want(401, "UNAUTHORIZED", g, "GET", "/v2/x/manifests/y", "", "Authorization: Bearer abc")
}

func TestDigestWrongKeepsNothing(t *testing.T) {
	b := newBench(t)
	wrong := image.DigestOf([]byte("something else"))
	b.want(400, "DIGEST_INVALID", b.a, "POST", "/v2/x/blobs/uploads/?digest="+wrong, "body")
	loc := b.want(202, "", b.a, "POST", "/v2/x/blobs/uploads/", "").Header().Get("Location")
	b.want(202, "", b.a, "PATCH", loc, "body")
	b.want(400, "DIGEST_INVALID", b.a, "PUT", loc, "") // no digest: may be tried again
	b.want(400, "DIGEST_INVALID", b.a, "PUT", loc+"?digest="+wrong, "")
	b.want(404, "BLOB_UPLOAD_UNKNOWN", b.a, "PUT", loc+"?digest="+image.DigestOf([]byte("body")), "")
	b.want(400, "DIGEST_INVALID", b.a, "PUT", "/v2/x/manifests/"+wrong, "{}")
	b.want(404, "NAME_UNKNOWN", b.a, "GET", "/v2/x/tags/list", "")
	if b.disk.Used() != 0 || b.up.Len() != 0 {
		t.Errorf("%d bytes charged, %d uploads open", b.disk.Used(), b.up.Len())
	}
}

func TestChunks(t *testing.T) {
	b := newBench(t)
	loc := b.want(202, "", b.a, "POST", "/v2/x/blobs/uploads/", "").Header().Get("Location")
	b.want(202, "", b.a, "PATCH", loc, "0123", "Content-Range: 0-3")
	if w := b.want(416, "BLOB_UPLOAD_INVALID", b.a, "PATCH", loc, "89", "Content-Range: 8-9"); w.Header().Get("Range") != "0-3" {
		t.Errorf("after a gap: %v", w.Header())
	}
	b.want(416, "BLOB_UPLOAD_INVALID", b.a, "PATCH", loc, "0", "Content-Range: 9-1")
	b.want(400, "SIZE_INVALID", b.a, "PATCH", loc, "456", "Content-Range: 4-5")
	b.want(404, "BLOB_UPLOAD_UNKNOWN", b.a, "GET", strings.Replace(loc, "/x/", "/y/", 1), "")
	if w := b.want(204, "", b.a, "GET", loc, ""); w.Header().Get("Range") != "0-3" {
		t.Errorf("status: %v", w.Header())
	}
	b.want(201, "", b.a, "PUT", loc+"?digest="+image.DigestOf([]byte("012345")), "45", "Content-Range: 4-5")
	if w := b.want(206, "", b.a, "GET", "/v2/x/blobs/"+image.DigestOf([]byte("012345")), "", "Range: bytes=1-3"); w.Body.String() != "123" {
		t.Errorf("range: %s", w.Body)
	}
}

func TestLimits(t *testing.T) {
	b := newBench(t)
	b.want(413, "SIZE_INVALID", b.a, "POST", "/v2/x/blobs/uploads/?digest="+image.DigestOf(nil), strings.Repeat("x", 65<<10))
	b.want(413, "SIZE_INVALID", b.a, "PUT", "/v2/x/manifests/v1", strings.Repeat(" ", image.MaxManifest+1))
	for range 32 {
		b.want(202, "", b.a, "POST", "/v2/x/blobs/uploads/", "")
	}
	b.want(429, "TOOMANYREQUESTS", b.a, "POST", "/v2/x/blobs/uploads/", "")
	b.now = b.now.Add(11 * time.Minute)
	loc := b.want(202, "", b.a, "POST", "/v2/x/blobs/uploads/", "").Header().Get("Location")
	if b.up.Len() != 1 {
		t.Errorf("%d uploads after the others waited too long", b.up.Len())
	}
	b.want(202, "", b.a, "PATCH", loc, "some")
	b.want(204, "", b.a, "DELETE", loc, "")
	b.want(404, "BLOB_UPLOAD_UNKNOWN", b.a, "DELETE", loc, "")
	if b.disk.Used() != 0 {
		t.Errorf("%d bytes charged", b.disk.Used())
	}
	b.disk.limit = 10_000
	big := strings.Repeat("y", 20_000)
	if e := firstError(b.want(403, "DENIED", b.a, "POST", "/v2/x/blobs/uploads/?digest="+image.DigestOf([]byte(big)), big)); !strings.Contains(e.Message, "disk is full") {
		t.Error(e.Message)
	}
	if b.disk.Used() != 0 || b.up.Len() != 0 {
		t.Errorf("%d bytes charged, %d uploads open after the disk was full", b.disk.Used(), b.up.Len())
	}
}

// TestChargedOnce: the same bytes in many repositories cost once and a small sum for each name, and all comes back.
func TestChargedOnce(t *testing.T) {
	b := newBench(t)
	layer := strings.Repeat("z", 50_000)
	_, blob := b.pushImage(b.a, "one", "v1", layer)
	one := b.disk.Used()
	m, _ := b.pushImage(b.a, "two", "v1", layer)
	if more := b.disk.Used() - one; more <= 0 || more > 5_000 || one < 50_000 {
		t.Errorf("first %d, second %d", one, more)
	}
	b.want(201, "", b.a, "POST", "/v2/three/blobs/uploads/?mount="+blob+"&from=one", "")
	for _, repo := range []string{"one", "two"} {
		b.want(202, "", b.a, "DELETE", "/v2/"+repo+"/manifests/"+m, "")
		b.want(404, "MANIFEST_UNKNOWN", b.a, "GET", "/v2/"+repo+"/manifests/v1", "")
		b.want(202, "", b.a, "DELETE", "/v2/"+repo+"/blobs/"+blob, "")
	}
	b.want(200, "", b.a, "HEAD", "/v2/three/blobs/"+blob, "")
	if freed := b.store.Scope("a").Collect(0); freed < 50_000 || b.disk.Used() != 0 {
		t.Errorf("collected %d, charged %d", freed, b.disk.Used())
	}
	b.want(404, "NAME_UNKNOWN", b.a, "GET", "/v2/three/tags/list", "")
}

// TestSlowUpload: while a body trickles in, everybody else is served, and the upload itself answers that it is busy.
func TestSlowUpload(t *testing.T) {
	b := newBench(t)
	loc := b.want(202, "", b.a, "POST", "/v2/x/blobs/uploads/", "").Header().Get("Location")
	pr, pw := io.Pipe()
	done := make(chan int)
	go func() {
		w := httptest.NewRecorder()
		b.a.ServeHTTP(w, httptest.NewRequest("PATCH", loc, pr))
		done <- w.Code
	}()
	if _, err := io.WriteString(pw, "first"); err != nil {
		t.Fatal(err)
	}
	b.want(409, "BLOB_UPLOAD_INVALID", b.a, "PATCH", loc, "intruder")
	b.pushImage(b.a, "x", "v1", "another")
	b.pushImage(b.b, "x", "v1", "another")
	pw.Close()
	if code := <-done; code != 202 {
		t.Errorf("the slow one: %d", code)
	}
	b.want(201, "", b.a, "PUT", loc+"?digest="+image.DigestOf([]byte("first")), "")
}

// TestExpiredWhileSlow: an upload that stalls is cancelled under its writer, which is told so at its next byte.
func TestExpiredWhileSlow(t *testing.T) {
	b := newBench(t)
	loc := b.want(202, "", b.a, "POST", "/v2/x/blobs/uploads/", "").Header().Get("Location")
	pr, pw := io.Pipe()
	done := make(chan string)
	go func() {
		w := httptest.NewRecorder()
		b.a.ServeHTTP(w, httptest.NewRequest("PATCH", loc, pr))
		done <- firstError(w).Code
	}()
	if _, err := io.WriteString(pw, "first"); err != nil {
		t.Fatal(err)
	}
	b.up.Close()
	go func() { _, _ = io.WriteString(pw, "second"); pw.Close() }()
	if code := <-done; code != "BLOB_UPLOAD_UNKNOWN" {
		t.Errorf("the stalled one: %s", code)
	}
	if b.disk.Used() != 0 {
		t.Errorf("%d bytes charged", b.disk.Used())
	}
}

func TestPages(t *testing.T) {
	b := newBench(t)
	m, _ := b.pushImage(b.a, "x", "a", "l")
	body := b.do(b.a, "GET", "/v2/x/manifests/"+m, "").Body.String()
	for _, tag := range []string{"b", "c", "d"} {
		b.want(201, "", b.a, "PUT", "/v2/x/manifests/"+tag, body, "Content-Type: "+mediaImage)
	}
	for _, row := range []struct{ query, body, link string }{
		{"", `{"name":"x","tags":["a","b","c","d"]}`, ""},
		{"?n=2", `{"name":"x","tags":["a","b"]}`, `</v2/x/tags/list?last=b&n=2>; rel="next"`},
		{"?n=2&last=b", `{"name":"x","tags":["c","d"]}`, ""},
		{"?last=bb", `{"name":"x","tags":["c","d"]}`, ""},
		{"?n=0", `{"name":"x","tags":[]}`, ""},
	} {
		w := b.want(200, "", b.a, "GET", "/v2/x/tags/list"+row.query, "")
		if w.Body.String() != row.body || w.Header().Get("Link") != row.link {
			t.Errorf("%s: %s %s", row.query, w.Body, w.Header().Get("Link"))
		}
	}
	b.want(400, "PAGINATION_NUMBER_INVALID", b.a, "GET", "/v2/x/tags/list?n=-1", "")
}

func TestReferrers(t *testing.T) {
	b := newBench(t)
	m, blob := b.pushImage(b.a, "x", "v1", "layer")
	for i, kind := range []string{"application/sbom", "application/signature"} {
		body := imageManifest(image.DigestOf([]byte("{}")), blob, 5, fmt.Sprintf(`,"artifactType":%q,"annotations":{"n":"%d"},"subject":{"mediaType":%q,"digest":%q,"size":1}`, kind, i, mediaImage, m))
		w := b.want(201, "", b.a, "PUT", "/v2/x/manifests/"+image.DigestOf([]byte(body)), body, "Content-Type: "+mediaImage)
		if w.Header().Get("OCI-Subject") != m {
			t.Errorf("OCI-Subject %q", w.Header().Get("OCI-Subject"))
		}
	}
	list := func(g http.Handler, query string) (kinds []string, filters string) {
		w := b.want(200, "", g, "GET", "/v2/x/referrers/"+m+query, "")
		var x struct{ Manifests []image.Descriptor }
		if err := json.Unmarshal(w.Body.Bytes(), &x); err != nil {
			t.Fatal(err)
		}
		for _, d := range x.Manifests {
			kinds = append(kinds, d.ArtifactType+d.Annotations["n"])
		}
		return kinds, w.Header().Get("OCI-Filters-Applied")
	}
	if got, _ := list(b.a, ""); len(got) != 2 {
		t.Errorf("all: %v", got)
	}
	if got, filters := list(b.a, "?artifactType=application/signature"); len(got) != 1 || got[0] != "application/signature1" || filters != "artifactType" {
		t.Errorf("filtered: %v %s", got, filters)
	}
	if got, _ := list(b.b, ""); len(got) != 0 {
		t.Errorf("another lab's: %v", got)
	}
}

func TestManifestChecks(t *testing.T) {
	b := newBench(t)
	_, blob := b.pushImage(b.a, "x", "v1", "layer")
	config := image.DigestOf([]byte("{}"))
	for _, row := range []struct{ name, contentType, body, code string }{
		{"no JSON", mediaImage, "hello", "MANIFEST_INVALID"},
		{"schema 1", mediaImage, `{"schemaVersion":1}`, "MANIFEST_INVALID"},
		{"type of another kind", "text/html", imageManifest(config, blob, 5, ""), "MANIFEST_INVALID"},
		{"two types", "application/vnd.oci.image.index.v1+json", imageManifest(config, blob, 5, ""), "MANIFEST_INVALID"},
		{"image and index at once", mediaImage, imageManifest(config, blob, 5, `,"manifests":[]`), "MANIFEST_INVALID"},
		{"digest that is none", mediaImage, imageManifest(config, "sha256:abc", 5, ""), "MANIFEST_INVALID"},
		{"many small objects", mediaImage, imageManifest(config, blob, 5, `,"x":[`+strings.Repeat("{},", 10_001)+`{}]`), "MANIFEST_INVALID"},
		{"wrong size", mediaImage, imageManifest(config, blob, 6, ""), "MANIFEST_BLOB_UNKNOWN"},
		{"index of a blob", "application/vnd.oci.image.index.v1+json",
			fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":5}]}`, mediaImage, blob), "MANIFEST_BLOB_UNKNOWN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			(&bench{t: t}).want(400, row.code, b.a, "PUT", "/v2/x/manifests/v2", row.body, "Content-Type: "+row.contentType)
		})
	}
	b.want(404, "MANIFEST_UNKNOWN", b.a, "GET", "/v2/x/manifests/v2", "")
	for _, row := range []struct {
		accept string
		status int
		code   string
	}{
		{mediaImage, 200, ""}, {"*/*", 200, ""}, {"text/html, " + mediaImage + ";q=0.5", 200, ""},
		{"application/vnd.docker.distribution.manifest.v2+json", 404, "MANIFEST_UNKNOWN"}, {mediaImage + ";q=0", 404, "MANIFEST_UNKNOWN"},
	} {
		b.want(row.status, row.code, b.a, "GET", "/v2/x/manifests/v1", "", "Accept: "+row.accept)
	}
}

func TestHosts(t *testing.T) {
	b := newBench(t)
	if _, err := b.store.Add("", b.nginx, "registry.k8s.io/pause:3.10"); err != nil {
		t.Fatal(err)
	}
	h := Hosts{b.a, New(Config{Store: b.store, Scope: "a", Host: "registry.k8s.io", Uploads: b.up}), New(Config{Store: b.store, Scope: "a", Host: "registry.lab:5000", Uploads: b.up})}
	for host, want := range map[string]string{"docker.io": "library/nginx", "registry-1.docker.io:443": "library/nginx", "127.0.0.1:4321": "library/nginx",
		"registry.k8s.io": "pause", "registry.k8s.io:443": "pause", "registry.lab:5000": ""} {
		r := httptest.NewRequest("GET", "/v2/_catalog", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var x struct{ Repositories []string }
		if err := json.Unmarshal(w.Body.Bytes(), &x); err != nil || strings.Join(x.Repositories, " ") != want {
			t.Errorf("%s: %s, %v", host, w.Body, err)
		}
	}
	// Uploads are counted over all hosts of the lab, and belong to the host that opened them.
	loc := b.want(202, "", h[1], "POST", "/v2/x/blobs/uploads/", "").Header().Get("Location")
	b.want(404, "BLOB_UPLOAD_UNKNOWN", h[2], "PUT", loc, "")
	if b.up.Len() != 1 {
		t.Errorf("%d uploads", b.up.Len())
	}
}
