package web

import (
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// contentType is the type of a name by its extension.
func (q *request) contentType(name string) string {
	ext := strings.TrimPrefix(path.Ext(path.Base(name)), ".")
	t := q.scope.types[strings.ToLower(ext)]
	if t == "" {
		t = q.scope.defaultType
	}
	if q.scope.charset != "" && (strings.HasPrefix(t, "text/") || t == "application/javascript" || t == "application/json") {
		t += "; charset=" + q.scope.charset
	}
	return t
}

// fileAt is the file for a path of the server.
func (q *request) fileAt(uri string) string {
	s := q.scope
	if s.alias == nil {
		return strings.TrimSuffix(s.root.expand(q), "/") + uri
	}
	to := s.alias.expand(q)
	if l := q.location; l != nil && l.re == nil {
		return to + strings.TrimPrefix(uri, l.path)
	}
	return to
}

func (q *request) filename() string { return q.fileAt(q.uri) }

// tryFiles looks for the first name that is there. (nil, 0) means to serve it.
func (q *request) tryFiles() (*redirect, int) {
	names := q.scope.tryFiles
	for _, t := range names[:len(names)-1] {
		uri := t.expand(q)
		name, wantDir := strings.CutSuffix(q.fileAt(uri), "/")
		fi, err := os.Stat(name + map[bool]string{true: "/"}[wantDir && name == ""])
		if err == nil && fi.IsDir() == wantDir {
			q.uri = path.Clean("/"+uri) + map[bool]string{true: "/"}[wantDir && path.Clean("/"+uri) != "/"]
			return nil, 0
		}
	}
	last := names[len(names)-1].expand(q)
	if code, ok := strings.CutPrefix(last, "="); ok {
		n, _ := strconv.Atoi(code)
		return nil, n
	}
	if strings.HasPrefix(last, "@") {
		named := q.server.named[last]
		if named == nil {
			q.logError(Error, fmt.Sprintf("could not find named location %q", last))
			return nil, http.StatusInternalServerError
		}
		return &redirect{named: named}, 0
	}
	uri, args, _ := strings.Cut(last, "?")
	return &redirect{uri: uri, args: args}, 0
}

// serveFile answers from the file at the request's path.
func (q *request) serveFile() (*redirect, int) {
	m := q.http.Method
	if m != http.MethodGet && m != http.MethodHead && m != http.MethodPost {
		return nil, http.StatusMethodNotAllowed
	}
	if strings.HasSuffix(q.uri, "/") {
		return q.serveIndex()
	}
	name := q.filename()
	f, err := os.Open(name)
	if err != nil {
		return nil, q.openFailed(name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, q.openFailed(name, err)
	case fi.IsDir():
		return nil, q.movedTo(q.uri + "/")
	case !fi.Mode().IsRegular():
		q.logError(Error, fmt.Sprintf("%q is not a regular file", name))
		return nil, http.StatusNotFound
	case m == http.MethodPost:
		return nil, http.StatusMethodNotAllowed
	}
	return nil, q.sendFile(f, fi)
}

func (q *request) openFailed(name string, err error) int {
	status, level := http.StatusInternalServerError, 2
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		status, level = http.StatusNotFound, Error
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.ELOOP):
		status, level = http.StatusForbidden, Error
	}
	q.logError(level, openText(name, err))
	return status
}

// serveIndex goes on to the first index file that is there, or lists the directory.
func (q *request) serveIndex() (*redirect, int) {
	for _, t := range q.scope.index {
		name := t.expand(q)
		if strings.HasPrefix(name, "/") { // a path of the server
			return &redirect{uri: name, args: q.args}, 0
		}
		if fi, err := os.Stat(q.fileAt(q.uri + name)); err == nil && !fi.IsDir() {
			return &redirect{uri: q.uri + name, args: q.args}, 0
		} else if errors.Is(err, syscall.EACCES) {
			return nil, q.openFailed(q.fileAt(q.uri+name), err)
		}
	}
	dir := q.filename()
	list, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, syscall.EACCES) && !q.scope.autoindex {
			err = nil
		} else {
			if q.scope.autoindex || len(q.scope.index) == 0 {
				return nil, q.openFailed(dir, err)
			}
			return nil, q.openFailed(q.fileAt(q.uri+q.scope.index[len(q.scope.index)-1].expand(q)), err)
		}
	}
	if !q.scope.autoindex {
		q.logError(Error, fmt.Sprintf("directory index of %q is forbidden", dir))
		return nil, http.StatusForbidden
	}
	page := q.listing(list)
	q.header.Set("Content-Type", "text/html")
	if q.begin(http.StatusOK, -1) {
		q.write([]byte(page))
		q.end()
	}
	return nil, 0
}

// listing is the page that autoindex makes: directories first, names cut at 50 characters, times in UTC.
func (q *request) listing(list []fs.DirEntry) string {
	title := "Index of " + html.EscapeString(q.uri)
	var b strings.Builder
	b.WriteString("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<h1>" + title + "</h1><hr><pre><a href=\"../\">../</a>\r\n")
	slices.SortFunc(list, func(x, y fs.DirEntry) int {
		if x.IsDir() != y.IsDir() {
			return map[bool]int{true: -1, false: 1}[x.IsDir()]
		}
		return strings.Compare(x.Name(), y.Name())
	})
	for _, e := range list {
		fi, err := os.Stat(path.Join(q.filename(), e.Name()))
		if err != nil || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name, size := e.Name(), strconv.FormatInt(fi.Size(), 10)
		if fi.IsDir() {
			name, size = name+"/", "-"
		}
		shown := []rune(name)
		if len(shown) > 50 {
			shown = append(shown[:47], []rune("..>")...)
		}
		fmt.Fprintf(&b, "<a href=\"%s\">%s</a>%s %s %19s\r\n", (&textURL{name}).String(), html.EscapeString(string(shown)),
			strings.Repeat(" ", 50-len(shown)), fi.ModTime().UTC().Format("02-Jan-2006 15:04"), size)
	}
	b.WriteString("</pre><hr></body>\r\n</html>\r\n")
	return b.String()
}

// sendFile answers with a file or with the ranges of it that are asked for. Conditions and ranges are those of RFC 9110, with one
// exception that nginx makes: If-Modified-Since must name the very time.
func (q *request) sendFile(f *os.File, fi fs.FileInfo) int {
	modified := fi.ModTime().UTC().Truncate(time.Second)
	q.header.Set("Content-Type", q.contentType(f.Name()))
	if q.inError {
		if q.override == 0 || q.override == http.StatusOK {
			q.header.Set("Last-Modified", modified.Format(http.TimeFormat))
			q.header.Set("Accept-Ranges", "bytes")
		}
		q.header["ETag"] = []string{etag(modified, fi.Size())}
		if q.begin(http.StatusOK, fi.Size()) {
			q.copy(f)
		}
		return 0
	}
	q.header["ETag"] = []string{etag(modified, fi.Size())}
	r := *q.http
	if since := r.Header.Get("If-Modified-Since"); since != "" && since != modified.Format(http.TimeFormat) {
		r.Header = r.Header.Clone()
		r.Header.Del("If-Modified-Since")
	}
	w := &fileWriter{request: q, modified: modified}
	q.header.Set("Etag", q.header["ETag"][0]) // where package http looks for it
	http.ServeContent(w, &r, "", modified, f)
	if w.failed != 0 {
		return w.failed
	}
	return 0
}

func etag(modified time.Time, size int64) string {
	return fmt.Sprintf("\"%x-%x\"", modified.Unix(), size)
}

// fileWriter is the ResponseWriter that package http fills. Failures are left to the caller, for they have pages.
type fileWriter struct {
	*request
	modified time.Time
	failed   int
	began    bool
	body     bool
}

func (w *fileWriter) Header() http.Header { return w.header }

func (w *fileWriter) WriteHeader(status int) {
	if w.began || w.failed != 0 {
		return
	}
	delete(w.header, "Etag")
	if status >= 400 {
		delete(w.header, "X-Content-Type-Options")
		w.failed = status
		return
	}
	w.began = true
	length, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	if status != http.StatusOK {
		delete(w.header, "Accept-Ranges")
		w.header.Set("Last-Modified", w.modified.Format(http.TimeFormat))
	}
	w.body = w.begin(status, length)
}

func (w *fileWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.failed != 0 || !w.body {
		return len(p), nil
	}
	return len(p), w.write(p)
}

// ReadFrom spares io.Copy a buffer of its own.
func (w *fileWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	if w.failed != 0 || !w.body {
		return 0, nil
	}
	return w.copy(r)
}

var blocks = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// copy sends what r holds.
func (q *request) copy(r io.Reader) (sent int64, err error) {
	b := blocks.Get().(*[]byte)
	defer blocks.Put(b)
	for {
		n, err := r.Read(*b)
		if n > 0 {
			if err := q.write((*b)[:n]); err != nil {
				return sent, err
			}
			sent += int64(n)
		}
		if err == io.EOF {
			return sent, nil
		}
		if err != nil {
			q.broken = true
			return sent, err
		}
	}
}
