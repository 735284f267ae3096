package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// blob answers GET and HEAD of a blob, with ranges (distribution-spec, "Pulling blobs"; RFC 9110 section 14).
func (g *Registry) blob(w http.ResponseWriter, r *http.Request, p route) error {
	if _, err := g.scope.Blob(g.repository(p), p.ref); err != nil {
		return err
	}
	b, err := g.scope.Content().OpenSeeker(p.ref)
	if err != nil {
		return err
	}
	defer b.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", p.ref)
	h.Set("Etag", `"`+p.ref+`"`)
	http.ServeContent(w, r, "", time.Time{}, b)
	return nil
}

func (g *Registry) deleteBlob(w http.ResponseWriter, _ *http.Request, p route) error {
	if err := g.scope.DeleteBlob(g.repository(p), p.ref); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// startUpload answers POST: a mount, a whole blob, or a new upload (distribution-spec, "Pushing blobs").
func (g *Registry) startUpload(w http.ResponseWriter, r *http.Request, p route) error {
	q := r.URL.Query()
	for _, d := range []string{q.Get("mount"), q.Get("digest")} {
		if e := (route{blob, p.name, d}).check(g.cfg.Host); d != "" && e != nil {
			return e
		}
	}
	if d := q.Get("mount"); d != "" {
		from := q.Get("from")
		if from != "" {
			from = g.cfg.Host + "/" + from
		}
		ok, err := g.scope.Mount(g.repository(p), d, from)
		if err != nil {
			return err
		}
		if ok {
			g.created(w, p, d)
			return nil
		}
	}
	s, err := g.cfg.Uploads.start(g.scope, g.repository(p), g.cfg.MaxBlob)
	if err != nil {
		return err
	}
	if q.Get("mount") == "" && q.Get("digest") != "" {
		return g.finish(w, r, p, s, q.Get("digest"))
	}
	defer g.cfg.Uploads.give(s)
	g.progress(w, p, s)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// created says where a blob is.
func (g *Registry) created(w http.ResponseWriter, p route, digest string) {
	w.Header().Set("Location", "/v2/"+p.name+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// progress says where an upload goes on and how far it is.
func (g *Registry) progress(w http.ResponseWriter, p route, s *session) {
	h := w.Header()
	h.Set("Location", "/v2/"+p.name+"/blobs/uploads/"+s.id)
	h.Set("Range", fmt.Sprintf("0-%d", max(0, s.Size()-1)))
	h.Set("Docker-Upload-Uuid", s.id)
}

func (g *Registry) uploadStatus(w http.ResponseWriter, _ *http.Request, p route) error {
	s, err := g.cfg.Uploads.take(g.repository(p), p.ref)
	if err != nil {
		return err
	}
	defer g.cfg.Uploads.give(s)
	g.progress(w, p, s)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Registry) cancelUpload(w http.ResponseWriter, _ *http.Request, p route) error {
	if !g.cfg.Uploads.end(g.repository(p), p.ref) {
		return errorf(codeUploadUnknown, "blob upload unknown to registry")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Registry) patchUpload(w http.ResponseWriter, r *http.Request, p route) error {
	s, err := g.cfg.Uploads.take(g.repository(p), p.ref)
	if err != nil {
		return err
	}
	defer g.cfg.Uploads.give(s)
	if err := g.receive(w, r, p, s); err != nil {
		return err
	}
	g.progress(w, p, s)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (g *Registry) finishUpload(w http.ResponseWriter, r *http.Request, p route) error {
	s, err := g.cfg.Uploads.take(g.repository(p), p.ref)
	if err != nil {
		return err
	}
	return g.finish(w, r, p, s, r.URL.Query().Get("digest"))
}

// finish takes the last bytes of a taken upload and makes it a blob. A wrong digest ends the upload; a chunk out of order doesn't, nor does
// a digest that is none.
func (g *Registry) finish(w http.ResponseWriter, r *http.Request, p route, s *session, digest string) error {
	if e := (route{blob, p.name, digest}).check(g.cfg.Host); e != nil {
		g.cfg.Uploads.give(s)
		return e
	}
	if err := g.receive(w, r, p, s); err != nil {
		g.cfg.Uploads.give(s)
		if p.kind == uploads { // nobody was told its id
			g.cfg.Uploads.end(s.repo, s.id)
		}
		return err
	}
	defer g.cfg.Uploads.end(s.repo, s.id)
	if err := s.Commit(s.repo, digest); err != nil {
		return err
	}
	g.created(w, p, digest)
	return nil
}

// receive appends a request's body to a taken upload. With a Content-Range it must begin where the upload ends.
func (g *Registry) receive(w http.ResponseWriter, r *http.Request, p route, s *session) error {
	var body io.Reader = r.Body
	if text := r.Header.Get("Content-Range"); text != "" {
		first, last, err := contentRange(text)
		if err != nil {
			return err
		}
		if first != s.Size() {
			g.progress(w, p, s)
			return errorf(codeRange, "chunk begins at %d, the upload has %d bytes", first, s.Size())
		}
		if r.ContentLength >= 0 && r.ContentLength != last-first+1 {
			return errorf(codeSizeInvalid, "Content-Range %q is not Content-Length %d", short(text), r.ContentLength)
		}
		body = io.LimitReader(body, last-first+1)
	}
	if left := g.cfg.MaxBlob - s.Size(); r.ContentLength > left {
		return errorf(codeTooLarge, "blob is larger than %d bytes", g.cfg.MaxBlob)
	}
	_, err := io.CopyBuffer(receiver{s, g.cfg.Uploads}, g.patient(w, body), make([]byte, 64<<10))
	var refused *receiveError
	if errors.As(err, &refused) {
		return refused.err
	}
	if err != nil { // the client went in the middle: what came stays, and it may ask how much that was
		return errorf(codeUploadInvalid, "the body ended early: %v", err)
	}
	return nil
}

// patient reads a body whose every piece must come within idle, so that nobody holds a connection by sending nothing.
type patient struct {
	io.Reader
	conn *http.ResponseController
	idle time.Duration
}

func (g *Registry) patient(w http.ResponseWriter, body io.Reader) io.Reader {
	return patient{body, http.NewResponseController(w), g.cfg.Uploads.cfg.Idle}
}

// Read is the body's.
func (p patient) Read(b []byte) (int, error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(p.idle)) // of a real connection, by its clock; what has none can't be held
	n, err := p.Reader.Read(b)
	if err != nil {
		_ = p.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// receiver writes to an upload, saying that it goes on.
type receiver struct {
	s *session
	u *Uploads
}

// receiveError tells an upload's errors from those of the connection.
type receiveError struct{ err error }

// Error is the upload's.
func (e *receiveError) Error() string { return e.err.Error() }

// Write appends.
func (w receiver) Write(p []byte) (int, error) {
	n, err := w.s.Upload.Write(p)
	w.u.touch(w.s)
	if err != nil {
		err = &receiveError{err}
	}
	return n, err
}

// contentRange reads "first-last", as the distribution specification has it, or RFC 9110's "bytes first-last/…".
func contentRange(text string) (first, last int64, err error) {
	bare, _, _ := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	a, b, ok := strings.Cut(bare, "-")
	f, err1 := strconv.ParseUint(a, 10, 62)
	l, err2 := strconv.ParseUint(b, 10, 62)
	if !ok || err1 != nil || err2 != nil || f > l {
		return 0, 0, errorf(codeRange, "Content-Range %q is not FIRST-LAST", short(text))
	}
	return int64(f), int64(l), nil
}

// artifactQuery keeps a filter in the link to the next page.
func artifactQuery(artifactType, last string) url.Values {
	q := url.Values{"last": {last}}
	if artifactType != "" {
		q.Set("artifactType", artifactType)
	}
	return q
}
