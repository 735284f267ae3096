package http1

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadResponse(t *testing.T) {
	for _, c := range []struct{ name, method, wire, body, header string }{
		{"length", "GET", "HTTP/1.1 200 OK\r\nX-a: 1\r\nContent-Length: 5\r\n\r\nhelloXX", "hello", "1"},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\nXX", "abcde", ""},
		{"until the end", "GET", "HTTP/1.0 200 OK\nx-A:  2 \n\nrest", "rest", "2"},
		{"head", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "", ""},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ReadResponse(bufio.NewReader(strings.NewReader(c.wire)), c.method)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != c.body || r.Get("X-A") != c.header {
				t.Errorf("body %q, %v; header %q", body, err, r.Get("X-A"))
			}
		})
	}
}

func TestBadResponses(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	for _, c := range []struct {
		name, wire string
		want       error
	}{
		{"nothing", "", ErrEmpty},
		{"not http", "SSH-2.0-OpenSSH\r\n", ErrNotHTTP},
		{"no status", "HTTP/1.1 abc\r\n\r\n", ErrMalformed},
		{"no colon", "HTTP/1.1 200 OK\r\nnope\r\n\r\n", ErrMalformed},
		{"long line", "HTTP/1.1 200 OK\r\nA: " + long, ErrTooLarge},
		{"many lines", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+long[:50<<10]+"\r\n", 7), ErrTooLarge},
		{"cut in the head", "HTTP/1.1 200 OK\r\nA: b\r\n", io.ErrUnexpectedEOF},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ErrMalformed},
		{"short body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", io.ErrUnexpectedEOF},
		{"short chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", io.ErrUnexpectedEOF},
		{"bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ErrChunk},
		{"chunk without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", ErrChunk},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ReadResponse(bufio.NewReader(strings.NewReader(c.wire)), "GET")
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false)
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true)
	f.Fuzz(func(t *testing.T, wire string, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		r, err := ReadResponse(bufio.NewReader(strings.NewReader(wire)), method)
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		if n > int64(len(wire)) {
			t.Errorf("%d bytes of body out of %d", n, len(wire))
		}
		if len(r.Lines) == 0 || r.Status < 100 || r.Status > 999 {
			t.Errorf("%+v", r)
		}
	})
}
