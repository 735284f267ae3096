package web

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hopByHop are headers of a connection and not of a request (RFC 9110, section 7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

// maxRetryBody is the largest body that is kept to send it to the next server when one cannot be reached.
const maxProxyBody = 1 << 20

// doProxy passes the request to the upstream's servers, one after another until one can be reached.
func (q *request) doProxy(p *proxyPass) int {
	body, err := io.ReadAll(io.LimitReader(q, maxProxyBody+1))
	if limit := q.scope.maxBody; limit == 0 || limit > maxProxyBody {
		limit = maxProxyBody
		if int64(len(body)) > limit {
			return q.tooLarge()
		}
	} else if int64(len(body)) > limit {
		return q.tooLarge()
	}
	if err != nil {
		q.broken, q.status = true, http.StatusBadRequest
		return 0
	}
	var last error
	for _, peer := range p.upstream.turn() {
		q.upstream = peer
		c, err := net.DialTimeout("tcp", peer, time.Minute)
		if err == nil {
			defer c.Close()
			return q.exchange(c, p, body)
		}
		last = err
		q.logError(Error, fmt.Sprintf("connect() failed (%s) while connecting to upstream", ErrnoText(err)))
	}
	return gateway(last)
}

func (q *request) tooLarge() int {
	q.close = true
	return http.StatusRequestEntityTooLarge
}

func gateway(err error) int {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// exchange sends the request and the answer.
func (q *request) exchange(c net.Conn, p *proxyPass, body []byte) int {
	c.SetDeadline(time.Now().Add(q.scope.proxyTimeout))
	if _, err := c.Write(append(q.proxyHead(p, len(body)), body...)); err != nil {
		q.logError(Error, fmt.Sprintf("writev() failed (%s) while sending request to upstream", ErrnoText(err)))
		return gateway(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(&meteredReader{net: c, left: -1, timeout: q.scope.proxyTimeout}), q.http)
	for err == nil && r.StatusCode < 200 && r.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New("unexpected informational answer")
	}
	if err != nil {
		what := "upstream prematurely closed connection while reading response header from upstream"
		if errors.Is(err, os.ErrDeadlineExceeded) {
			what = "upstream timed out (110: Connection timed out) while reading response header from upstream"
		} else if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			what = "upstream sent invalid header while reading response header from upstream"
		}
		q.logError(Error, what)
		return gateway(err)
	}
	defer r.Body.Close()
	q.upstreamStatus = strconv.Itoa(r.StatusCode)
	_, q.reason, _ = strings.Cut(r.Status, " ")
	if _, ok := q.scope.errorPages[r.StatusCode]; ok && q.inError {
		return r.StatusCode
	}
	for k, v := range r.Header {
		if !slices.Contains(hopByHop, k) && k != "Date" && k != "Server" && !strings.HasPrefix(k, "X-Accel-") {
			q.header[k] = v
		}
	}
	if to := q.header.Get("Location"); to != "" {
		q.header.Set("Location", q.proxyRedirect(p, to))
	}
	if etag, ok := q.header["Etag"]; ok {
		delete(q.header, "Etag")
		q.header["ETag"] = etag
	}
	if q.begin(r.StatusCode, r.ContentLength) {
		if n, err := q.copy(r.Body); err != nil || r.ContentLength >= 0 && n != r.ContentLength {
			q.broken = true
			return 0
		}
		q.end()
	}
	return 0
}

// proxyHead is the head of the request as the upstream gets it.
func (q *request) proxyHead(p *proxyPass, length int) []byte {
	target := q.http.RequestURI
	if p.hasURI {
		target = (&textURL{p.uri + strings.TrimPrefix(q.uri, q.location.path)}).String()
		if q.args != "" {
			target += "?" + q.args
		}
	} else if q.redirects > 0 || !strings.HasPrefix(target, "/") {
		target = (&textURL{q.uri}).String()
		if q.args != "" {
			target += "?" + q.args
		}
	}
	b := fmt.Appendf(nil, "%s %s HTTP/%s\r\n", q.http.Method, target, q.scope.proxyVersion)
	h := http.Header{"Host": {p.host}, "Connection": {"close"}}
	for k, v := range q.http.Header {
		if !slices.Contains(hopByHop, k) && k != "Content-Length" {
			h[k] = v
		}
	}
	for _, set := range q.scope.proxyHeaders {
		h.Set(set.name, set.value.expand(q))
		if h.Get(set.name) == "" {
			h.Del(set.name)
		}
	}
	if q.scope.proxyVersion == "1.1" {
		h.Set("Connection", "close") // one connection for one request
	}
	if length > 0 || q.http.ContentLength == 0 && q.http.Method == http.MethodPost {
		h.Set("Content-Length", strconv.Itoa(length))
	}
	keys := []string{}
	for k := range h {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(hostFirst(a), hostFirst(b)) })
	for _, k := range keys {
		for _, v := range h[k] {
			b = fmt.Appendf(b, "%s: %s\r\n", k, oneLine.Replace(v))
		}
	}
	return append(b, "\r\n"...)
}

func hostFirst(key string) string {
	if key == "Host" {
		return ""
	}
	return key
}

// proxyRedirect turns an address of the upstream into the one under which it is reached here.
func (q *request) proxyRedirect(p *proxyPass, to string) string {
	from := "http://" + p.host
	if !p.hasURI {
		if rest, ok := strings.CutPrefix(to, from+"/"); ok && q.location.re == nil {
			return q.absolute("/" + rest)
		}
		return to
	}
	if rest, ok := strings.CutPrefix(to, from+p.uri); ok {
		return q.absolute(q.location.path + rest)
	}
	return to
}
