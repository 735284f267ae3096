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

	"golang.org/x/net/dns/dnsmessage"
)

// site is what the cases of curl, wget and nc talk to.
var site *servers

type servers struct {
	plain, tls *httptest.Server
	dead       string       // an address at which nobody listens
	silent     net.Listener // accepts and says nothing
	ca         string       // file with the certificate of tls
	flaky      atomic.Int32
	dns        net.PacketConn
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
	if s.dns, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	go s.answer()
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
	s.dns.Close()
}

func (s *servers) env() []string {
	_, port, _ := net.SplitHostPort(s.plain.Listener.Addr().String())
	return []string{"URL=" + s.plain.URL, "HOST=127.0.0.1", "PORT=" + port, "TLS=" + s.tls.URL, "DEAD=" + s.dead, "SILENT=" + s.silent.Addr().String(), "CA=" + s.ca, "DNS=" + s.dns.LocalAddr().String()}
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

// answer serves DNS until the socket is closed: web.test has addresses of both families, v4.test one, mail.test the other kinds.
func (s *servers) answer() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.dns.ReadFrom(buf)
		if err != nil {
			return
		}
		var q dnsmessage.Message
		if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
			continue
		}
		a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true}, Questions: q.Questions}
		a.Answers, a.RCode = records(q.Questions[0])
		packet, err := a.Pack()
		if err == nil {
			s.dns.WriteTo(packet, from)
		}
	}
}

func records(q dnsmessage.Question) (list []dnsmessage.Resource, code dnsmessage.RCode) {
	add := func(b dnsmessage.ResourceBody) {
		list = append(list, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}, Body: b})
	}
	name := dnsmessage.MustNewName
	switch q.Name.String() + " " + strings.TrimPrefix(q.Type.String(), "Type") {
	case "web.test. A":
		add(&dnsmessage.AResource{A: [4]byte{10, 96, 0, 7}})
		add(&dnsmessage.AResource{A: [4]byte{10, 96, 0, 8}})
	case "web.test. AAAA":
		add(&dnsmessage.AAAAResource{AAAA: [16]byte{0xfd, 15: 7}})
	case "v4.test. A":
		add(&dnsmessage.AResource{A: [4]byte{10, 96, 0, 9}})
	case "v4.test. AAAA", "mail.test. A", "mail.test. AAAA", "web.test. MX":
	case "mail.test. MX":
		add(&dnsmessage.MXResource{Pref: 10, MX: name("mx.test.")})
	case "mail.test. TXT":
		add(&dnsmessage.TXTResource{TXT: []string{"v=1"}})
	case "mail.test. SRV":
		add(&dnsmessage.SRVResource{Priority: 1, Weight: 2, Port: 80, Target: name("web.test.")})
	case "mail.test. NS":
		add(&dnsmessage.NSResource{NS: name("ns.test.")})
	case "alias.test. A", "alias.test. CNAME":
		add(&dnsmessage.CNAMEResource{CNAME: name("v4.test.")})
	case "7.0.96.10.in-addr.arpa. PTR":
		add(&dnsmessage.PTRResource{PTR: name("web.test.")})
	case "refused.test. A", "refused.test. AAAA":
		return nil, dnsmessage.RCodeRefused
	default:
		return nil, dnsmessage.RCodeNameError
	}
	return list, dnsmessage.RCodeSuccess
}
