package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// mediaIndex is the media type of a list of referrers.
const mediaIndex = "application/vnd.oci.image.index.v1+json"

func writeJSON(w http.ResponseWriter, mediaType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b) // the client went
	return nil
}

// manifest answers GET and HEAD by tag or digest (distribution-spec, "Pulling manifests").
func (g *Registry) manifest(w http.ResponseWriter, r *http.Request, p route) error {
	m, err := g.scope.Manifest(p.refOf(g.cfg.Host))
	if err != nil {
		return err
	}
	if !accepts(r.Header.Values("Accept"), m.MediaType) {
		return errorf(codeManifestUnknown, "%s is of type %s, which the Accept header does not name", short(p.ref), m.MediaType)
	}
	b, err := g.scope.Content().Read(m.Digest)
	if errors.Is(err, image.ErrNoBlob) { // deleted since
		return &image.NotFoundError{Ref: p.refOf(g.cfg.Host), Known: true}
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", m.MediaType)
	h.Set("Docker-Content-Digest", m.Digest)
	h.Set("Etag", `"`+m.Digest+`"`)
	if m.Subject != "" {
		h.Set("OCI-Subject", m.Subject)
	}
	r.Header.Del("Range") // a manifest comes whole
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	return nil
}

// accepts tells whether a client takes a media type; one that says nothing takes all (RFC 9110 section 12.5.1).
func accepts(headers []string, mediaType string) bool {
	said := false
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		t, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		said = true
		if (t == mediaType || t == "*/*" || t == "application/*") && !slices.Contains([]string{"0", "0.0", "0.00", "0.000"}, params["q"]) {
			return true
		}
	}
	return !said
}

// putManifest answers PUT by tag or digest (distribution-spec, "Pushing Manifests"). By digest, each tag=NAME of the query is set too.
func (g *Registry) putManifest(w http.ResponseWriter, r *http.Request, p route) error {
	b, err := io.ReadAll(g.patient(w, http.MaxBytesReader(w, r.Body, image.MaxManifest)))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return errorf(codeTooLarge, "manifest is larger than %d bytes", large.Limit)
	}
	if err != nil {
		return errorf(codeManifestInvalid, "the body ended early: %v", err)
	}
	tags := r.URL.Query()["tag"]
	ref := p.refOf(g.cfg.Host)
	if ref.Digest == "" {
		tags = []string{p.ref}
	}
	for _, t := range tags {
		if len(tags) > 100 || !tagRE.MatchString(t) {
			return errorf(codeManifestInvalid, "invalid tag %q, or more than 100", short(t))
		}
	}
	contentType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if contentType == "application/json" || contentType == "application/octet-stream" {
		contentType = "" // of a client that says nothing
	}
	m, err := g.scope.PutManifest(ref.Repository(), ref.Digest, contentType, b, tags...)
	if err != nil {
		return err
	}
	h := w.Header()
	if ref.Digest != "" {
		for _, t := range tags {
			h.Add("OCI-Tag", t)
		}
	}
	if m.Subject != "" {
		h.Set("OCI-Subject", m.Subject)
	}
	h.Set("Location", "/v2/"+p.name+"/manifests/"+m.Digest)
	h.Set("Docker-Content-Digest", m.Digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteManifest answers DELETE: a tag by name, a manifest with all its tags by digest (distribution-spec, "Deleting Manifests", "Deleting tags").
func (g *Registry) deleteManifest(w http.ResponseWriter, _ *http.Request, p route) error {
	ref := p.refOf(g.cfg.Host)
	remove := g.scope.DeleteTag
	if ref.Digest != "" {
		remove = g.scope.DeleteManifest
	}
	if err := remove(ref); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// referrers answers with an index of the manifests whose subject is a digest; nobody needs to have the subject
// (distribution-spec, "Listing Referrers"). A page is no longer than a manifest may be.
func (g *Registry) referrers(w http.ResponseWriter, r *http.Request, p route) error {
	artifactType, last := r.URL.Query().Get("artifactType"), r.URL.Query().Get("last")
	if artifactType != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	found := []image.Descriptor{}
	size := 0
	for _, d := range g.scope.Referrers(g.repository(p), p.ref) {
		if d.Digest <= last || artifactType != "" && d.ArtifactType != artifactType {
			continue
		}
		d.Annotations = g.scope.Annotations(d.Digest)
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		if size += len(b) + 1; len(found) > 0 && size > image.MaxManifest-1024 {
			next(w, r, artifactQuery(artifactType, found[len(found)-1].Digest))
			break
		}
		found = append(found, d)
	}
	return writeJSON(w, mediaIndex, struct {
		SchemaVersion int                `json:"schemaVersion"`
		MediaType     string             `json:"mediaType"`
		Manifests     []image.Descriptor `json:"manifests"`
	}{2, mediaIndex, found})
}
