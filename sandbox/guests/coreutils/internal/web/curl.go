package web

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/http1"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// curl is one run.
type curl struct {
	*options
	c     *applet.Cmd
	tls   *tls.Config
	jar   []string // cookies of this run, NAME=VALUE
	links int      // connections opened so far
}

// transfer is the fetching of one URL with its redirects, and what -w can tell of it.
type transfer struct {
	*curl
	ctx       context.Context
	start     time.Time
	at        address
	first     address // before redirects; credentials are for its host alone
	method    string
	body      []byte
	hasBody   bool
	resp      *http1.Response
	link      *link
	redirects int
	next      string // where a redirect that was not followed points
	headBytes int64
	downBytes int64
	upBytes   int64
	ready     time.Duration // to the first byte of the answer
	total     time.Duration
	meter     bool
	noted     bool // -v's "bytes data" line for this body
	output    string
	fault     *fault
	opened    int
}

// Curl is curl(1) for http and https.
func Curl(c *applet.Cmd) int {
	o, err := parseOptions(c)
	if err != nil {
		c.FailWith(2, "%s", err.Error())
		var f *fault
		if errors.As(err, &f) && f.code == 2 {
			fmt.Fprintln(c.Stderr, "curl: try 'curl --help' or 'curl --manual' for more information")
		}
		return codeOf(err)
	}
	switch {
	case o.set["version"]:
		fmt.Fprintf(c.Out, "curl %s (wasm32-drydock) Drydock/%s\nRelease-Date: a WebAssembly substitute for learning: compatible with, not made by, the curl project\nProtocols: http https\nFeatures: HTTPS-proxy IPv6 Largefile SSL UnixSockets\n", curlVersion, applet.Version)
		return 0
	case o.set["help"]:
		fmt.Fprint(c.Out, curlHelp)
		return 0
	case len(o.urls) == 0:
		c.FailWith(2, "(2) no URL specified")
		fmt.Fprintln(c.Stderr, "curl: try 'curl --help' or 'curl --manual' for more information")
		return 2
	}
	u := &curl{options: o, c: c}
	if err := u.prepareTLS(); err != nil {
		u.say(err)
		return codeOf(err)
	}
	code, n := 0, 0
	for _, one := range o.urls {
		list := []string{one}
		if !o.set["globoff"] && !strings.Contains(one, "[::") {
			list = expand(one)
		}
		for _, address := range list {
			code = u.fetch(address, n)
			n++
			if code != 0 && o.set["fail-early"] {
				return code
			}
		}
	}
	return code
}

func codeOf(err error) int {
	var f *fault
	if errors.As(err, &f) {
		return f.code
	}
	return 1
}

// say prints an error unless -s without -S.
func (u *curl) say(err error) {
	if !u.set["silent"] || u.set["show-error"] {
		u.c.FailWith(codeOf(err), "(%d) %s", codeOf(err), err.Error())
	}
}

func (u *curl) warn(format string, args ...any) {
	if !u.set["silent"] {
		u.c.Out.Flush()
		fmt.Fprintf(u.c.Stderr, "Warning: "+format+"\n", args...)
	}
}

func (u *curl) prepareTLS() error {
	u.tls = &tls.Config{InsecureSkipVerify: u.set["insecure"]}
	needed := false
	for _, s := range u.urls {
		needed = needed || strings.HasPrefix(strings.ToLower(s), "https:")
	}
	if !needed && !u.set["location"] {
		return nil
	}
	pool, err := authorities(u.value["cacert"])
	if err != nil {
		return err
	}
	u.tls.RootCAs = pool
	if u.set["tlsv1.3"] {
		u.tls.MinVersion = tls.VersionTLS13
	}
	if cert := u.value["cert"]; cert != "" {
		key := u.value["key"]
		if key == "" {
			key = cert
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return faultf(58, "could not load PEM client certificate from %s, %s", cert, reason(err))
		}
		u.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// fetch transfers the i-th URL, again after transient errors with --retry, and returns curl's exit code.
func (u *curl) fetch(target string, i int) int {
	wait := time.Second
	for try := 0; ; try++ {
		t := &transfer{curl: u, start: time.Now()}
		t.run(target, i)
		again := t.transient()
		if again != "" && try < u.retries {
			pause := wait
			if u.delay > 0 {
				pause = u.delay
			} else if t.resp != nil {
				if s, err := strconv.Atoi(t.resp.Get("Retry-After")); err == nil && s > 0 {
					pause = time.Duration(s) * time.Second
				}
			}
			u.warn("Problem: %s. Will retry in %s. %s left.", again, plural(pause.Seconds(), "second"), plural(float64(u.retries-try), "retr"))
			time.Sleep(pause)
			wait = min(wait*2, 10*time.Minute)
			continue
		}
		code := 0
		if t.fault != nil {
			code = t.fault.code
			u.say(t.fault)
		}
		t.writeOut()
		return code
	}
}

func plural(n float64, unit string) string {
	s := strconv.FormatFloat(n, 'f', -1, 64) + " " + unit
	switch {
	case unit == "retr" && n == 1:
		return s + "y"
	case unit == "retr":
		return s + "ies"
	case n != 1:
		return s + "s"
	}
	return s
}

// transient names the reason for which --retry tries again, or "".
func (t *transfer) transient() string {
	code := 0
	if t.fault != nil {
		code = t.fault.code
	}
	status := 0
	if t.resp != nil && t.total > 0 {
		status = t.resp.Status
	}
	switch {
	case code == 28:
		return "timeout"
	case code == 6:
		return "timeout" // curl counts a name that does not resolve so
	case code == 7 && (t.set["retry-connrefused"] || t.set["retry-all-errors"]):
		return "connection refused"
	case code == 0 || code == 22:
		switch status {
		case 408, 429, 500, 502, 503, 504:
			return "HTTP error"
		}
	}
	if code != 0 && t.set["retry-all-errors"] {
		return "(retrying all errors)"
	}
	return ""
}

// run does the whole transfer and leaves its outcome in t.
func (t *transfer) run(target string, i int) {
	ctx := context.Background()
	if t.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.maxTime)
		defer cancel()
	}
	t.ctx = ctx
	err := t.prepare(target, i)
	if err == nil {
		err = t.follow()
	}
	t.total = time.Since(t.start)
	if t.meter {
		t.meterEnd()
	}
	if err != nil && !errors.As(err, &t.fault) {
		t.fault = t.name(err)
	}
	if t.fault != nil && t.set["verbose"] {
		text, _, _ := strings.Cut(t.fault.text, "\n")
		t.note("%s", text)
		t.note("closing connection #%d", max(t.links-1, 0))
	}
}

// name turns an error of the connection into curl's.
func (t *transfer) name(err error) *fault {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) || t.ctx.Err() != nil:
		ms := time.Since(t.start).Milliseconds()
		if t.resp != nil && t.resp.Length > 0 {
			return faultf(28, "Operation timed out after %d milliseconds with %d out of %d bytes received", ms, t.downBytes, t.resp.Length)
		}
		return faultf(28, "Operation timed out after %d milliseconds with %d bytes received", ms, t.downBytes)
	case errors.Is(err, http1.ErrEmpty):
		return faultf(52, "Empty reply from server")
	case errors.Is(err, http1.ErrNotHTTP):
		return faultf(1, "Received HTTP/0.9 when not allowed")
	case errors.Is(err, http1.ErrTooLarge):
		return faultf(100, "Too large response headers")
	case errors.Is(err, http1.ErrMalformed):
		return faultf(8, "Invalid response: %s", strings.TrimPrefix(err.Error(), "malformed response: "))
	case errors.Is(err, http1.ErrChunk):
		return faultf(56, "%s", err.Error())
	case errors.Is(err, io.ErrUnexpectedEOF) && t.resp != nil && t.resp.Chunked:
		return faultf(18, "transfer closed with outstanding read data remaining")
	case errors.Is(err, io.ErrUnexpectedEOF) && t.resp != nil:
		return faultf(18, "end of response with %d bytes missing", t.resp.Left())
	case errors.Is(err, syscall.EPIPE):
		return faultf(55, "Send failure: Broken pipe")
	}
	return faultf(56, "Recv failure: %s", reason(err))
}

// prepare reads the URL and settles method and body.
func (t *transfer) prepare(target string, i int) (err error) {
	if t.at, err = parseAddress(target); err != nil {
		return err
	}
	t.first = t.at
	if t.output, err = t.outputName(i, t.at); err != nil {
		return err
	}
	t.meter = !t.set["silent"] && !t.set["no-progress-meter"] && !t.set["verbose"] && (t.output != "" || !sys.IsTerminal(1))
	extra := t.value["url-query"]
	t.method = "GET"
	switch {
	case t.set["head"]:
		t.method = "HEAD"
	case t.set["get"] && t.hasData:
		extra = strings.Trim(extra+"&"+string(t.data), "&")
	case t.hasData:
		t.method, t.body, t.hasBody = "POST", t.data, true
	case len(t.form) > 0:
		t.method, t.hasBody = "POST", true
	case t.set["upload-file"]:
		t.method, t.hasBody = "PUT", true
		if t.body, err = readData(t.c, t.value["upload-file"]); err != nil {
			return err
		}
		if strings.HasSuffix(t.at.target, "/") && t.value["upload-file"] != "-" {
			t.at.target += encodeTarget(filepath.Base(t.value["upload-file"]))
		}
	}
	if extra != "" {
		sep := "?"
		if strings.Contains(t.at.target, "?") {
			sep = "&"
		}
		t.at.target += sep + extra
	}
	if x := t.value["request"]; x != "" {
		t.method = x
	}
	return nil
}

// follow makes requests until one isn't redirected any more.
func (t *transfer) follow() error {
	for {
		if err := t.exchange(); err != nil {
			return err
		}
		where := t.resp.Get("Location")
		if where == "" || t.resp.Status/100 != 3 || t.resp.Status == 304 {
			return nil
		}
		base, _ := url.Parse(t.at.String())
		to, err := url.Parse(where)
		if err != nil || base == nil {
			return nil
		}
		t.next = base.ResolveReference(to).String()
		if !t.set["location"] && !t.set["location-trusted"] {
			return nil
		}
		if t.redirects >= t.maxRedirs && t.maxRedirs >= 0 {
			return faultf(47, "Maximum (%d) redirects followed", t.maxRedirs)
		}
		t.note("Issue another request to this URL: '%s'", t.next)
		if t.at, err = parseAddress(t.next); err != nil {
			return err
		}
		t.redirects, t.next = t.redirects+1, ""
		if s := t.resp.Status; (s == 301 || s == 302) && t.method == "POST" || s == 303 && t.method != "HEAD" {
			t.hasBody, t.body = false, nil
			if t.value["request"] == "" {
				t.method = "GET"
			}
		}
	}
}

func (t *transfer) note(format string, args ...any) {
	if t.set["verbose"] {
		t.c.Out.Flush()
		fmt.Fprintf(t.c.Stderr, "* "+format+"\n", args...)
	}
}

// exchange sends one request and delivers the answer.
func (t *transfer) exchange() (err error) {
	d := &dialer{start: t.start, connectTimeout: t.connect, resolve: t.resolve, network: "tcp", unixSocket: t.value["unix-socket"], tls: t.tls, note: t.note}
	if t.set["ipv4"] {
		d.network = "tcp4"
	} else if t.set["ipv6"] {
		d.network = "tcp6"
	}
	if t.link, err = d.open(t.ctx, t.at); err != nil {
		return err
	}
	defer t.link.Close()
	t.links++
	t.opened++
	stop := context.AfterFunc(t.ctx, func() { t.link.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	head, body, err := t.request()
	if err != nil {
		return err
	}
	if t.set["verbose"] {
		for _, l := range strings.Split(strings.TrimSuffix(head, "\r\n"), "\r\n") {
			fmt.Fprintln(t.c.Stderr, ">", l)
		}
	}
	n, err := t.link.Write(append([]byte(head), body...))
	t.upBytes = max(0, int64(n-len(head)))
	if err != nil && n < len(head) {
		return err
	}
	t.note("Request completely sent off")
	return t.receive()
}

// receive reads the answer, interim ones before it too.
func (t *transfer) receive() (err error) {
	br := bufio.NewReaderSize(t.link, 16<<10)
	for {
		if t.resp, err = http1.ReadResponse(br, t.method); err != nil {
			return err
		}
		if t.ready == 0 {
			t.ready = time.Since(t.start)
		}
		t.headBytes += t.resp.Bytes
		if t.set["verbose"] {
			for _, l := range t.resp.Lines {
				fmt.Fprintln(t.c.Stderr, "<", l)
			}
			fmt.Fprintln(t.c.Stderr, "< ")
		}
		if t.resp.Status >= 200 || t.resp.Status == 101 {
			break
		}
	}
	t.keepCookies()
	redirected := t.resp.Status/100 == 3 && t.resp.Get("Location") != "" && (t.set["location"] || t.set["location-trusted"]) && t.redirects < t.maxRedirs
	if err := t.deliver(redirected); err != nil {
		return err
	}
	if t.resp.Status >= 400 && (t.set["fail"] || t.set["fail-with-body"]) {
		return faultf(22, "The requested URL returned error: %d", t.resp.Status)
	}
	t.note("Connection #%d to host %s left intact", t.links-1, net.JoinHostPort(t.at.host, t.at.port))
	return nil
}

// sink opens the place for headers and body; the file is created even when the body is empty.
func (t *transfer) sink() (w io.Writer, done func(), err error) {
	if t.output == "" {
		return t.c.Out, func() { t.c.Out.Flush() }, nil
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if t.redirects > 0 && t.set["include"] {
		mode = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	f, err := os.OpenFile(t.output, mode, 0o666)
	if err != nil {
		t.warn("Failed to open the file %s: %s", t.output, applet.Reason(err))
		return nil, nil, faultf(23, "client returned ERROR on writing, request failed")
	}
	return f, func() { f.Close() }, nil
}

func (t *transfer) deliver(redirected bool) error {
	r := t.resp
	head := strings.Join(r.Lines, "\r\n") + "\r\n\r\n"
	if name := t.value["dump-header"]; name == "-" {
		t.c.Out.WriteString(head)
	} else if name != "" {
		mode := os.O_TRUNC
		if t.redirects > 0 {
			mode = os.O_APPEND
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|mode, 0o666)
		if err != nil {
			return faultf(23, "Failed to open %s", name)
		}
		f.WriteString(head)
		f.Close()
	}
	failing := r.Status >= 400 && t.set["fail"]
	if failing && !t.set["include"] && !t.set["head"] {
		return nil
	}
	w, done, err := t.sink()
	if err != nil {
		return err
	}
	defer done()
	if t.set["include"] || t.set["head"] {
		if _, err := io.WriteString(w, head); err != nil {
			return faultf(23, "Failure writing output to destination, passed %d returned 0", len(head))
		}
	}
	if failing {
		return nil
	}
	if redirected {
		w = io.Discard
		t.note("Ignoring the response-body")
	}
	return t.copyBody(w)
}

func (t *transfer) copyBody(w io.Writer) error {
	body := io.Reader(&counted{t.resp.Body, t})
	if t.set["compressed"] && strings.EqualFold(t.resp.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(body)
		if err != nil {
			return faultf(61, "Error while processing content unencoding: %s", err.Error())
		}
		body = z
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if t.output == "" && w != io.Discard && sys.IsTerminal(1) && bytes.IndexByte(buf[:n], 0) >= 0 && t.downBytes == int64(n) {
				t.warn("Binary output can mess up your terminal. Use \"--output -\" to tell curl to output it to your terminal anyway, or consider \"--output <FILE>\" to save to a file.")
				return faultf(23, "client returned ERROR on write, %d bytes wanted, 0 accepted", n)
			}
			if t.set["verbose"] && !t.noted && (t.output != "" || !sys.IsTerminal(1)) {
				t.noted = true
				fmt.Fprintf(t.c.Stderr, "{ [%d bytes data]\n", n)
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return faultf(23, "Failure writing output to destination, passed %d returned 0", n)
			}
			if t.output == "" {
				t.c.Out.Flush() // watches and streams show at once
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

type counted struct {
	r io.Reader
	t *transfer
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.t.downBytes += int64(n)
	return n, err
}

// request writes the head as curl does, and the body.
func (t *transfer) request() (head string, body []byte, err error) {
	own := map[string]bool{} // headers that -H sets or removes
	for _, h := range t.headers {
		name, _, _ := strings.Cut(strings.TrimSuffix(h, ";"), ":")
		own[strings.ToLower(strings.TrimSpace(name))] = true
	}
	body, kind := t.body, "application/x-www-form-urlencoded"
	switch {
	case t.json:
		kind = "application/json"
	case t.hasBody && len(t.form) > 0:
		if body, kind, err = multipart(t.form); err != nil {
			return "", nil, err
		}
	case t.set["upload-file"]:
		kind = ""
	}
	target := t.at.target
	if v := t.value["request-target"]; v != "" {
		target = v
	}
	var b strings.Builder
	proto := "HTTP/1.1"
	if t.set["http1.0"] {
		proto = "HTTP/1.0"
	}
	fmt.Fprintf(&b, "%s %s %s\r\n", t.method, target, proto)
	add := func(name, value string) {
		if value != "" && !own[strings.ToLower(name)] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	sameHost := t.at.host == t.first.host && t.at.port == t.first.port || t.set["location-trusted"]
	add("Host", t.at.hostHeader())
	for _, h := range t.headers { // a Host of one's own takes the place of ours
		if name, _, ok := strings.Cut(h, ":"); ok && strings.EqualFold(name, "host") {
			b.WriteString(h + "\r\n")
		}
	}
	if sameHost {
		add("Authorization", t.authorization())
	}
	if r := t.value["range"]; r != "" {
		add("Range", "bytes="+r)
	}
	agent := "curl/" + curlVersion
	if t.set["user-agent"] {
		agent = t.value["user-agent"]
	}
	add("User-Agent", agent)
	if t.json {
		add("Content-Type", kind)
		add("Accept", kind)
		kind = ""
	} else {
		add("Accept", "*/*")
	}
	if t.set["compressed"] {
		add("Accept-Encoding", "gzip")
	}
	add("Referer", t.value["referer"])
	add("Cookie", t.cookies())
	t.ownHeaders(&b, sameHost)
	if t.hasBody {
		if !own["transfer-encoding"] {
			add("Content-Length", strconv.Itoa(len(body)))
		}
		add("Content-Type", kind)
	}
	b.WriteString("\r\n")
	return b.String(), body, nil
}

// ownHeaders writes the headers of -H: "Name: value", "Name;" for an empty one; "Name:" only removed ours.
func (t *transfer) ownHeaders(b *strings.Builder, sameHost bool) {
	for _, h := range t.headers {
		name, value, ok := strings.Cut(h, ":")
		switch {
		case strings.EqualFold(name, "host"), !sameHost && (strings.EqualFold(name, "authorization") || strings.EqualFold(name, "cookie")):
		case ok && strings.TrimSpace(value) != "":
			fmt.Fprintf(b, "%s\r\n", strings.TrimRight(h, " \r\n"))
		case !ok && strings.HasSuffix(h, ";"):
			fmt.Fprintf(b, "%s:\r\n", strings.TrimSuffix(h, ";"))
		}
	}
}

func (t *transfer) authorization() string {
	switch user := t.value["user"]; {
	case t.value["oauth2-bearer"] != "":
		return "Bearer " + t.value["oauth2-bearer"]
	case user != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user))
	case t.at.hasUser:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(t.at.user+":"+t.at.password))
	}
	return ""
}

func (t *transfer) cookies() string {
	list := append([]string(nil), t.jar...)
	if v := t.value["cookie"]; strings.Contains(v, "=") {
		list = append([]string{v}, list...)
	}
	return strings.Join(list, "; ")
}

// keepCookies remembers what the server set, for the redirects and URLs that follow, when -b names a file, which turns that on.
func (t *transfer) keepCookies() {
	if !t.set["cookie"] || strings.Contains(t.value["cookie"], "=") {
		return
	}
	for _, l := range t.resp.Lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		if !strings.EqualFold(name, "set-cookie") {
			continue
		}
		pair, _, _ := strings.Cut(strings.TrimSpace(value), ";")
		key, _, _ := strings.Cut(pair, "=")
		kept := t.jar[:0]
		for _, old := range t.jar {
			if !strings.HasPrefix(old, key+"=") {
				kept = append(kept, old)
			}
		}
		t.jar = append(kept, pair)
	}
}

// multipart is the body of -F (RFC 7578).
func multipart(parts []formPart) (body []byte, kind string, err error) {
	var random [11]byte
	rand.Read(random[:])
	boundary := fmt.Sprintf("------------------------%x", random)
	var b bytes.Buffer
	for _, p := range parts {
		content := []byte(p.content)
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"%s\"", boundary, p.name)
		kind := p.kind
		if p.file != "" {
			if content, err = os.ReadFile(p.file); err != nil {
				return nil, "", faultf(26, "Failed to open/read local data from file/application")
			}
			fmt.Fprintf(&b, "; filename=\"%s\"", filepath.Base(p.file))
			if kind == "" {
				kind = map[string]string{".txt": "text/plain", ".html": "text/html", ".json": "application/json", ".png": "image/png", ".jpg": "image/jpeg"}[filepath.Ext(p.file)]
			}
			if kind == "" {
				kind = "application/octet-stream"
			}
		}
		if kind != "" {
			fmt.Fprintf(&b, "\r\nContent-Type: %s", kind)
		}
		fmt.Fprintf(&b, "\r\n\r\n%s\r\n", content)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), "multipart/form-data; boundary=" + boundary, nil
}
