package main

import (
	"compress/gzip"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// site is what the cases of curl, wget and nc talk to.
var site *servers

type servers struct {
	plain, tls *httptest.Server
	dead       string       // an address at which nobody listens
	silent     net.Listener // accepts and says nothing
	ca         string       // file with the certificate of tls
	flaky      atomic.Int32
}

func newServers(dir string) *servers {
	s := &servers{ca: filepath.Join(dir, "ca.pem")}
	s.plain, s.tls = httptest.NewServer(s), httptest.NewUnstartedServer(s)
	s.tls.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that don't trust us hang up
	s.tls.StartTLS()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s.dead = closed.Addr().String()
	closed.Close()
	if s.silent, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.tls.Certificate().Raw})
	if err := os.WriteFile(s.ca, cert, 0o644); err != nil {
		panic(err)
	}
	return s
}

func (s *servers) close() {
	s.plain.CloseClientConnections()
	s.plain.Close()
	s.tls.Close()
	s.silent.Close()
}

func (s *servers) env() []string {
	_, port, _ := net.SplitHostPort(s.plain.Listener.Addr().String())
	return []string{"URL=" + s.plain.URL, "HOST=127.0.0.1", "PORT=" + port, "TLS=" + s.tls.URL, "DEAD=" + s.dead, "SILENT=" + s.silent.Addr().String(), "CA=" + s.ca}
}

// ServeHTTP answers by path; nothing depends on the time or on the order of requests but /flaky.
func (s *servers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Date"] = nil
	h.Set("Content-Type", "text/plain")
	path, arg, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch path {
	case "", "hello":
		h.Set("X-Drydock", "yes")
		io.WriteString(w, "hello\n")
	case "echo":
		s.echo(w, r)
	case "status":
		code := 0
		fmt.Sscan(arg, &code)
		w.WriteHeader(code)
		fmt.Fprintln(w, "status", code)
	case "redirect":
		h.Set("Location", "/"+arg)
		w.WriteHeader(http.StatusFound)
		io.WriteString(w, "moved\n")
	case "see-other":
		http.Redirect(w, r, "/echo", http.StatusSeeOther)
	case "keep-method":
		http.Redirect(w, r, "/echo", http.StatusPermanentRedirect)
	case "loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case "chunked":
		for i := range 3 {
			fmt.Fprintln(w, "part", i)
			w.(http.Flusher).Flush()
		}
	case "slow":
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "begin\n")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	case "short":
		h.Set("Content-Length", "100")
		io.WriteString(w, "only this\n")
	case "gone":
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			c.Close()
		}
	case "gzip":
		h.Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, "packed\n")
		z.Close()
	case "flaky":
		if s.flaky.Add(1)%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, "flaky\n")
	case "cookie":
		h.Set("Set-Cookie", "a=b; Path=/")
		http.Redirect(w, r, "/echo", http.StatusFound)
	case "etag":
		h.Set("Content-Length", "4")
		io.WriteString(w, "etag")
	default:
		http.NotFound(w, r)
	}
}

// echo writes the request down, its headers sorted.
func (s *servers) echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, r.Method, r.URL.RequestURI(), r.Proto)
	var lines []string
	for name, values := range r.Header {
		for _, v := range values {
			lines = append(lines, name+": "+v)
		}
	}
	slices.Sort(lines)
	if r.Host != s.plain.Listener.Addr().String() {
		lines = append(lines, "Host: "+r.Host)
	}
	fmt.Fprintln(w, strings.Join(lines, "\n"))
	if body, _ := io.ReadAll(r.Body); len(body) > 0 {
		fmt.Fprintf(w, "%q\n", body)
	}
}
