package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// split starts a Splitter on a port of its own; what begins with a TLS handshake goes to the channel.
func split(t *testing.T) (*Splitter, chan net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secret := make(chan net.Conn, 4)
	s := NewSplitter(l, func(c net.Conn) { secret <- c })
	t.Cleanup(func() { s.Close() })
	return s, secret
}

// TestSplitter: on one port, a browser gets the page over plain HTTP and a Kubernetes client its TLS, neither missing a byte.
func TestSplitter(t *testing.T) {
	s, secret := split(t)
	page := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page "+r.URL.Path) })}
	go page.Serve(s)
	defer page.Close()

	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	go func() {
		c := tls.Server(<-secret, certificate.TLS.Clone())
		defer c.Close()
		io.WriteString(c, "kubernetes")
	}()

	res, err := http.Get("http://" + s.Addr().String() + "/home")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "page /home" {
		t.Errorf("over HTTP: %q", b)
	}
	c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, _ := io.ReadAll(c); string(b) != "kubernetes" {
		t.Errorf("over TLS: %q", b)
	}
}

// TestSplitterSilent: a connection that says nothing keeps nobody waiting, and closing ends those who accept.
func TestSplitterSilent(t *testing.T) {
	s, _ := split(t)
	silent, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	talks, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer talks.Close()
	if _, err := io.WriteString(talks, "GET"); err != nil {
		t.Fatal(err)
	}
	c, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 3)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "GET" {
		t.Errorf("the first bytes are %q, %v", b, err)
	}
	c.Close()

	ended := make(chan error)
	go func() {
		_, err := s.Accept()
		ended <- err
	}()
	s.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ends with %v", err)
	}
	if err := s.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}
