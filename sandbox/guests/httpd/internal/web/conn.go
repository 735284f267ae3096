package web

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Limits on what a client may send before it is answered.
const (
	maxHead       = 32 << 10 // bytes of the request line and the headers
	headTimeout   = 60 * time.Second
	bodyTimeout   = 60 * time.Second // between two reads
	sendTimeout   = 60 * time.Second // between two writes
	maxDiscard    = 256 << 10        // of a body that nobody wants
	bufferSize    = 4 << 10
	maxKeptAlive  = 1000 // requests of a connection
	maxLineInLogs = 2048
)

// conn is a connection. Its goroutine alone uses it, but for the fields below mu.
type conn struct {
	server   *Server
	net      net.Conn
	at       Address
	id       uint64
	requests int
	in       meteredReader
	br       *bufio.Reader
	bw       *bufio.Writer

	mu      sync.Mutex
	waiting bool // for the first byte of a request
	used    bool // has sent a request
}

var errTooLarge = errors.New("request header too large")

// meteredReader reads from the connection: at most left bytes, each read within a time.
type meteredReader struct {
	net     net.Conn
	left    int64 // −1 is no limit
	timeout time.Duration
	taken   int64 // bytes read so far
}

func (r *meteredReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errTooLarge
	}
	if r.left > 0 && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	if r.timeout > 0 {
		r.net.SetReadDeadline(time.Now().Add(r.timeout))
	}
	n, err := r.net.Read(p)
	if r.left > 0 {
		r.left -= int64(n)
	}
	r.taken += int64(n)
	return n, err
}

// deadlineWriter gives each write its time.
type deadlineWriter struct{ net.Conn }

func (w deadlineWriter) Write(p []byte) (int, error) {
	w.SetWriteDeadline(time.Now().Add(sendTimeout))
	return w.Conn.Write(p)
}

var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, bufferSize) }}
)

func (c *conn) serve() {
	defer c.server.forget(c)
	defer c.net.Close()
	c.in.net = c.net
	c.br, c.bw = readers.Get().(*bufio.Reader), writers.Get().(*bufio.Writer)
	c.br.Reset(&c.in)
	c.bw.Reset(deadlineWriter{c.net})
	defer func() {
		c.br.Reset(nil)
		c.bw.Reset(nil)
		readers.Put(c.br)
		writers.Put(c.bw)
	}()
	keepalive := headTimeout
	for c.await(keepalive) {
		q := c.read()
		q.answer()
		q.logAccess()
		if q.broken || !q.finishBody() || c.bw.Flush() != nil || q.close {
			c.linger()
			return
		}
		keepalive = q.scope.keepalive
	}
}

// await waits for the first byte of the next request.
func (c *conn) await(limit time.Duration) bool {
	if c.br.Buffered() > 0 {
		return true
	}
	c.mu.Lock()
	c.waiting = true
	if c.server.draining.Load() {
		limit = min(limit, firstGrace)
		if c.used {
			limit = 0
		}
	}
	c.net.SetReadDeadline(time.Now().Add(limit))
	c.mu.Unlock()
	c.in.left, c.in.timeout = maxHead, 0
	_, err := c.br.Peek(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.used = false, true
	return err == nil
}

// hurry shortens the wait of a connection that has nothing to do, when the server drains.
func (c *conn) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.waiting && c.used:
		c.net.SetReadDeadline(time.Now())
	case c.waiting:
		c.net.SetReadDeadline(time.Now().Add(firstGrace))
	}
}

// linger lets the client read the answer although it is still sending: closing at once would reset the connection.
func (c *conn) linger() {
	c.bw.Flush()
	t, ok := c.net.(interface{ CloseWrite() error })
	if !ok || t.CloseWrite() != nil {
		return
	}
	c.net.SetReadDeadline(time.Now().Add(time.Second))
	c.in.left, c.in.timeout = maxDiscard, 0
	io.Copy(io.Discard, &c.in)
}

// read reads a request's head. When that is no request, the answer's status is set.
func (c *conn) read() *request {
	cfg := c.server.Current()
	q := &request{conn: c, config: cfg, start: time.Now(), header: http.Header{}, began: c.in.taken - int64(c.br.Buffered())}
	c.requests++
	c.in.left = maxHead - int64(c.br.Buffered())
	c.net.SetReadDeadline(q.start.Add(headTimeout))
	start, _ := c.br.Peek(c.br.Buffered())
	line, _, whole := bytes.Cut(start, []byte("\n"))
	q.line = strings.TrimSuffix(string(line[:min(len(line), maxLineInLogs)]), "\r")
	r, err := http.ReadRequest(c.br)
	c.in.left, c.in.timeout = -1, bodyTimeout
	host := ""
	if err == nil {
		q.line = r.Method + " " + r.RequestURI + " " + r.Proto
		q.http = r
		host = r.Host
	} else {
		q.http = &http.Request{Method: "GET", Header: http.Header{}, Body: http.NoBody, ProtoMajor: 1, ProtoMinor: 1}
		q.close = true
	}
	if name, _, e := net.SplitHostPort(host); e == nil {
		host = name
	}
	q.server = cfg.serverFor(c.at, strings.ToLower(strings.TrimSuffix(host, ".")))
	if q.server == nil { // the address went away with a reload
		q.server = &server{scope: rootScope(), names: []string{""}}
	}
	q.scope = &q.server.scope
	q.refusal = q.refuse(err, whole)
	return q
}

// refuse is the status for a request that cannot be answered, 0 if it can.
func (q *request) refuse(err error, wholeLine bool) int {
	r := q.http
	switch {
	case errors.Is(err, errTooLarge) && !wholeLine:
		return http.StatusRequestURITooLong
	case errors.Is(err, errTooLarge):
		return statusHeaderTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		q.broken = true
		return http.StatusRequestTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		q.broken = true
		return http.StatusBadRequest
	case err != nil:
		return http.StatusBadRequest
	case r.ProtoMajor != 1:
		q.close = true
		return http.StatusHTTPVersionNotSupported
	case r.ProtoMinor > 0 && r.Host == "":
		q.close = true
		return http.StatusBadRequest
	}
	var ok bool
	if q.uri, q.args, ok = splitURI(r.RequestURI); !ok && !(r.Method == http.MethodOptions && r.RequestURI == "*") {
		q.close = true
		return http.StatusBadRequest
	}
	q.close = r.Close || q.conn.requests >= maxKeptAlive || q.scope.keepalive == 0
	return 0
}

// finishBody passes over what the client sent and nobody read. False ends the connection.
func (q *request) finishBody() bool {
	if q.http.Body == http.NoBody || q.close {
		return true
	}
	if q.http.Header.Get("Expect") != "" && !q.continued {
		return false // it may or may not send its body
	}
	n, err := io.CopyN(io.Discard, q.http.Body, maxDiscard+1)
	return err == io.EOF && n <= maxDiscard
}
