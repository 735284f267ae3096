// Package http1 is the client's side of HTTP/1.1 (RFC 9112) with header lines as they came over the wire, in their order and case:
// what curl -i and -v show, and what net/http does not keep. It is also a tenth of net/http's size in the program.
//
// It knows neither addresses nor connections.
package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits on what a server may send before the body, in bytes (curl's limits).
const (
	maxLine   = 100 << 10
	maxHeader = 300 << 10
)

// Errors of ReadResponse and of a body.
var (
	ErrEmpty     = errors.New("empty reply from server")
	ErrNotHTTP   = errors.New("received HTTP/0.9 when not allowed")
	ErrTooLarge  = errors.New("too large response headers")
	ErrMalformed = errors.New("malformed response")
	ErrChunk     = errors.New("malformed encoding found in chunked-encoding")
)

// Response is the answer to a request.
type Response struct {
	Proto   string   // "HTTP/1.1"
	Status  int      // 200
	Lines   []string // status line and header lines without line ends
	Bytes   int64    // that the lines took, with the empty one at the end
	Length  int64    // of the body in bytes; −1 when only its end tells
	Chunked bool
	Body    io.Reader // a short body gives io.ErrUnexpectedEOF
}

// Get is the value of the last header of that name, "" when there is none.
func (r *Response) Get(name string) (value string) {
	for _, l := range r.Lines[1:] {
		if n, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(n, name) {
			value = strings.TrimSpace(v)
		}
	}
	return value
}

// ReadResponse reads one response, an interim one (1xx) included. The body of an answer to HEAD is empty.
// Errors: ErrEmpty when the connection ended before the first byte, ErrNotHTTP, ErrTooLarge, ErrMalformed, and those of br.
func ReadResponse(br *bufio.Reader, method string) (*Response, error) {
	r := &Response{Length: -1}
	for {
		line, err := readLine(br)
		if err != nil {
			if err == io.EOF && r.Bytes == 0 && line == "" {
				err = ErrEmpty
			} else if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if r.Bytes += int64(len(line)); r.Bytes > maxHeader {
			return nil, ErrTooLarge
		}
		line = strings.TrimRight(line, "\r\n")
		if len(r.Lines) == 0 {
			if err := r.statusLine(line); err != nil {
				return nil, err
			}
		} else if line == "" {
			return r, r.frame(br, method)
		} else if !strings.Contains(line, ":") {
			return nil, ErrMalformed
		}
		r.Lines = append(r.Lines, line)
	}
}

func readLine(br *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		part, err := br.ReadSlice('\n')
		b.Write(part)
		if err != bufio.ErrBufferFull {
			return b.String(), err
		}
		if b.Len() > maxLine {
			return "", ErrTooLarge
		}
	}
}

func (r *Response) statusLine(line string) error {
	proto, rest, _ := strings.Cut(line, " ")
	if proto != "HTTP/1.1" && proto != "HTTP/1.0" {
		return ErrNotHTTP
	}
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || n < 100 {
		return ErrMalformed
	}
	r.Proto, r.Status = proto, n
	return nil
}

// frame finds out where the body ends (RFC 9112 section 6.3).
func (r *Response) frame(br *bufio.Reader, method string) error {
	length := r.Get("Content-Length")
	switch {
	case method == "HEAD", r.Status < 200, r.Status == 204, r.Status == 304:
		r.Body, r.Length = strings.NewReader(""), 0
	case strings.EqualFold(r.Get("Transfer-Encoding"), "chunked"):
		r.Body, r.Chunked = &chunks{br: br}, true
	case length != "":
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: Invalid Content-Length: value", ErrMalformed)
		}
		r.Body, r.Length = &exactly{br, n}, n
	default:
		r.Body = br
	}
	return nil
}

// exactly gives n bytes and then io.EOF, or io.ErrUnexpectedEOF when there are fewer.
type exactly struct {
	r io.Reader
	n int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	if err == io.EOF && e.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Left is the number of bytes still to come.
func (e *exactly) Left() int64 { return e.n }

// Left is how many bytes of a body with a known length are missing.
func (r *Response) Left() int64 {
	if e, ok := r.Body.(*exactly); ok {
		return e.Left()
	}
	return 0
}

// chunks decodes the chunked transfer coding (RFC 9112 section 7.1).
type chunks struct {
	br      *bufio.Reader
	left    int64
	started bool
	err     error
}

func (c *chunks) Read(p []byte) (int, error) {
	for c.left == 0 && c.err == nil {
		c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.br.Read(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	return n, nil
}

// next reads the head of a chunk, or what follows the last one.
func (c *chunks) next() error {
	if c.started {
		if end, err := readLine(c.br); err != nil || strings.TrimRight(end, "\r\n") != "" {
			return orShort(err, ErrChunk)
		}
	}
	c.started = true
	line, err := readLine(c.br)
	if err != nil {
		return orShort(err, ErrChunk)
	}
	size, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ";")
	n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
	if err != nil {
		return ErrChunk
	}
	if c.left = int64(n); n > 0 {
		return nil
	}
	for total := 0; ; { // trailers
		line, err := readLine(c.br)
		if err != nil {
			return orShort(err, ErrChunk)
		}
		if strings.TrimRight(line, "\r\n") == "" {
			return io.EOF
		}
		if total += len(line); total > maxHeader {
			return ErrTooLarge
		}
	}
}

func orShort(err, otherwise error) error {
	switch err {
	case nil:
		return otherwise
	case io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
