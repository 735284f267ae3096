package registry

import (
	"regexp"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// kind is what a path of the distribution API names.
type kind int

const (
	none kind = iota
	base
	catalog
	tags
	manifest
	blob
	uploads
	upload
	referrers
)

// route is a path of the distribution API taken apart.
type route struct {
	kind kind
	name string // repository; not checked
	ref  string // tag, digest or upload id; not checked
}

// The grammar of names (distribution-spec, "Pulling manifests").
var (
	nameRE = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRE  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// maxName is the longest name with its host that clients take.
const maxName = 255

// parsePath takes a path apart from its end, because a repository may itself be called "a/blobs/uploads".
func parsePath(path string) route {
	rest, ok := strings.CutPrefix(path, "/v2")
	switch {
	case !ok:
		return route{}
	case rest == "" || rest == "/":
		return route{kind: base}
	case rest == "/_catalog":
		return route{kind: catalog}
	case rest[0] != '/':
		return route{}
	}
	p := strings.Split(rest[1:], "/")
	n := len(p)
	name := func(words int) string { return strings.Join(p[:n-words], "/") }
	switch {
	case n >= 4 && p[n-3] == "blobs" && p[n-2] == "uploads" && p[n-1] == "":
		return route{uploads, name(3), ""}
	case n >= 4 && p[n-3] == "blobs" && p[n-2] == "uploads":
		return route{upload, name(3), p[n-1]}
	case n >= 3 && p[n-2] == "blobs" && p[n-1] == "uploads":
		return route{uploads, name(2), ""}
	case n >= 3 && p[n-2] == "tags" && p[n-1] == "list":
		return route{tags, name(2), ""}
	case n >= 3 && p[n-2] == "manifests":
		return route{manifest, name(2), p[n-1]}
	case n >= 3 && p[n-2] == "blobs":
		return route{blob, name(2), p[n-1]}
	case n >= 3 && p[n-2] == "referrers":
		return route{referrers, name(2), p[n-1]}
	}
	return route{}
}

// check says what is wrong with a route's names for a registry of that host.
func (r route) check(host string) *apiError {
	if r.kind == base || r.kind == catalog {
		return nil
	}
	if len(host)+1+len(r.name) > maxName || !nameRE.MatchString(r.name) {
		return errorf(codeNameInvalid, "invalid repository name %q", short(r.name))
	}
	switch r.kind {
	case blob, referrers:
		if !image.ValidDigest(r.ref) {
			return errorf(codeDigestInvalid, "invalid digest %q: sha256 and sha512 are known", short(r.ref))
		}
	case manifest:
		if strings.Contains(r.ref, ":") && !image.ValidDigest(r.ref) {
			return errorf(codeDigestInvalid, "invalid digest %q: sha256 and sha512 are known", short(r.ref))
		}
		if !strings.Contains(r.ref, ":") && !tagRE.MatchString(r.ref) {
			return errorf(codeManifestInvalid, "invalid tag %q", short(r.ref))
		}
	}
	return nil
}

// refOf is the route as a name of the store.
func (r route) refOf(host string) image.Ref {
	ref := image.Ref{Domain: host, Path: r.name}
	if strings.Contains(r.ref, ":") {
		ref.Digest = r.ref
	} else if r.kind == manifest {
		ref.Tag = r.ref
	}
	return ref
}

func short(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
