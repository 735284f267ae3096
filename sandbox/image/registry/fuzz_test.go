package registry

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// FuzzPath: no path or method makes the router panic, answer 5xx, leave the repository's grammar, or find what only the other lab has.
func FuzzPath(f *testing.F) {
	b := newBench(f)
	m, blob := b.pushImage(b.a, "team/app", "v1", "only a has this")
	for _, p := range []string{"/v2/", "/v2/_catalog?n=1&last=a", "/v2/team/app/tags/list", "/v2/team/app/manifests/v1", "/v2/library/nginx/manifests/" + m,
		"/v2/library/nginx/blobs/" + blob, "/v2/a/blobs/uploads/blobs/uploads/", "/v2/blobs/uploads/", "/v2/a/blobs/uploads/?mount=" + blob + "&from=team/app",
		"/v2/a/blobs/uploads/0123", "/v2/a/referrers/" + m, "/v2/../v2/a/tags/list", "/v2/a%2Fb/tags/list", "/v2//tags/list", "/v2/a/manifests/sha256:" + strings.Repeat("0", 63)} {
		for _, method := range []string{"GET", "POST", "DELETE", "TRACE"} {
			f.Add(method, p)
		}
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		u, err := url.Parse(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || method == "" {
			return
		}
		r := httptest.NewRequest("GET", "/", strings.NewReader(""))
		r.Method, r.URL = method, u
		w := httptest.NewRecorder()
		b.b.ServeHTTP(w, r)
		b.b.cfg.Uploads.Close()
		if w.Code >= 500 || w.Code == 0 {
			t.Fatalf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		if p := parsePath(u.Path); w.Code < 300 && p.kind != base && p.kind != catalog && !nameRE.MatchString(p.name) {
			t.Fatalf("%s %q: %d for the name %q", method, path, w.Code, p.name)
		}
		if strings.Contains(w.Body.String(), "only a has this") || w.Header().Get("Docker-Content-Digest") == m || w.Header().Get("Docker-Content-Digest") == blob {
			t.Fatalf("%s %q: another lab's content", method, path)
		}
	})
}

// FuzzManifest: whatever bytes are PUT, the answer is 201 or a 4xx with a code; what was accepted comes back byte for byte, and the charge
// of everything returns.
func FuzzManifest(f *testing.F) {
	config, layer := image.DigestOf([]byte("{}")), image.DigestOf([]byte("layer"))
	good := imageManifest(config, layer, 5, "")
	f.Add(mediaImage, good)
	f.Add("", good)
	f.Add(mediaIndex, `{"schemaVersion":2,"mediaType":"`+mediaIndex+`","manifests":[]}`)
	f.Add(mediaImage, imageManifest(config, layer, 5, `,"subject":{"mediaType":"x","digest":"`+layer+`","size":5},"annotations":{"a":"b"}`))
	f.Add(mediaImage, strings.ReplaceAll(good, "layers", "LAYERS"))
	f.Add(mediaImage, strings.Replace(good, `"size":2`, `"size":-2`, 1))
	f.Add("a/b; c", `{"schemaVersion":2,"layers":[null],"manifests":[{}],"config":null}`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		b := newBench(t)
		b.pushBlob(b.a, "x", "{}")
		b.pushBlob(b.a, "x", "layer")
		before := b.disk.Used()
		r := httptest.NewRequest("PUT", "/v2/x/manifests/v1", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		b.a.ServeHTTP(w, r)
		if w.Code != 201 {
			if w.Code < 400 || w.Code >= 500 || firstError(w).Code == "" || b.disk.Used() != before {
				t.Fatalf("%d %s, charged %d and before %d", w.Code, w.Body, b.disk.Used(), before)
			}
			return
		}
		digest := w.Header().Get("Docker-Content-Digest")
		if got := b.do(b.a, "GET", "/v2/x/manifests/v1", ""); got.Code != 200 || got.Body.String() != body || digest != image.DigestOf([]byte(body)) {
			t.Fatalf("came back: %d %q", got.Code, got.Body)
		}
		b.want(202, "", b.a, "DELETE", "/v2/x/manifests/"+digest, "")
		if b.disk.Used() != before {
			t.Fatalf("charged %d and before %d", b.disk.Used(), before)
		}
	})
}
