package web

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const statusHeaderTooLarge = 494 // answered as 400, as nginx does

// maxRedirects bounds internal redirects of one request.
const maxRedirects = 10

// request is a request with its answer under way.
type request struct {
	conn   *conn
	config *Config
	server *server
	scope  *scope
	http   *http.Request
	line   string // as it came
	start  time.Time
	began  int64 // bytes that had been read before it

	uri, args string
	captures  []string
	location  *location
	redirects int

	refusal   int  // status of what is no proper request
	close     bool // the connection ends after the answer
	broken    bool // the connection ends, without an answer if none has begun
	continued bool // the client was told to send its body

	hosted   bool        // the answer's Location was made absolute here
	reason   string      // of the upstream's status line
	header   http.Header // what the answer has beside what begin adds
	override int         // status of an answer that an error page gives
	inError  bool        // an error page is being answered
	status   int
	headSent int64
	bodySent int64
	chunked  bool

	upstream, upstreamStatus string
}

// redirect sends the request on within the server: to a path, or to a named location.
type redirect struct {
	uri, args string
	named     *location
}

// answer finds what the configuration says and does it.
func (q *request) answer() {
	if q.broken {
		q.status = q.refusal
		return
	}
	if q.refusal != 0 {
		q.fail(q.refusal)
		return
	}
	if r := q.server.returns; r != nil {
		q.doReturn(r)
		return
	}
	q.run(nil)
}

// run handles the request at its path, or in a named location.
func (q *request) run(named *location) {
	for {
		q.choose(named)
		next, status := q.handle()
		if next == nil {
			if status != 0 {
				q.fail(status)
			}
			return
		}
		if q.redirects++; q.redirects > maxRedirects {
			q.logError(Error, fmt.Sprintf("rewrite or internal redirection cycle while internally redirecting to %q", next.uri))
			q.inError = true
			q.fail(http.StatusInternalServerError)
			return
		}
		if named = next.named; named == nil {
			q.uri, q.args = next.uri, next.args
		}
	}
}

func (q *request) choose(named *location) {
	q.location = named
	if named == nil {
		q.location, q.captures = locate(q.server.locations, q.uri)
	}
	q.scope = &q.server.scope
	if q.location != nil {
		q.scope = &q.location.scope
	}
}

// handle does what the location says: an answer (nil, 0), a way on, or a status to fail with.
func (q *request) handle() (*redirect, int) {
	s := q.scope
	if l := q.location; l == nil || l.modifier != "=" {
		if to := q.slashFor(); to != "" {
			return nil, q.movedTo(to)
		}
	}
	if s.returns != nil {
		q.doReturn(s.returns)
		return nil, 0
	}
	if s.maxBody > 0 && q.http.ContentLength > s.maxBody {
		q.logError(Error, fmt.Sprintf("client intended to send too large body: %d bytes", q.http.ContentLength))
		q.close = true
		return nil, http.StatusRequestEntityTooLarge
	}
	if s.tryFiles != nil {
		if next, status := q.tryFiles(); next != nil || status != 0 {
			return next, status
		}
	}
	if s.proxy != nil {
		return nil, q.doProxy(s.proxy)
	}
	return q.serveFile()
}

// slashFor: where a location /dir/ is proxied, /dir is redirected to it.
func (q *request) slashFor() string {
	for _, l := range q.server.locations {
		if l.proxy != nil && l.re == nil && l.path == q.uri+"/" {
			return l.path
		}
	}
	return ""
}

// doReturn answers with a status and, for redirects, an address.
func (q *request) doReturn(r *returns) {
	text := ""
	if r.text != nil {
		text = r.text.expand(q)
	}
	switch {
	case r.code == 444: // nginx's way to hang up
		q.broken, q.status = true, 444
	case slices.Contains([]int{301, 302, 303, 307, 308}, r.code) && r.text != nil:
		q.header.Set("Location", q.absolute(text))
		q.fail(r.code)
	case r.text == nil && r.code >= 300:
		q.fail(r.code)
	default:
		if r.text != nil && r.code != http.StatusNoContent {
			q.header.Set("Content-Type", q.contentType(q.uri))
		}
		if q.begin(r.code, int64(len(text))) {
			q.write([]byte(text))
		}
	}
}

// movedTo sets up a permanent redirect and returns its status.
func (q *request) movedTo(path string) int {
	to := (&textURL{path}).String()
	if q.args != "" {
		to += "?" + q.args
	}
	q.header.Set("Location", q.absolute(to))
	return http.StatusMovedPermanently
}

// absolute adds scheme and host to an address that begins with a slash, unless the configuration says not to.
func (q *request) absolute(to string) string {
	if !strings.HasPrefix(to, "/") || q.scope.noHostName {
		return to
	}
	q.hosted = true
	host := q.host()
	if _, port := splitAddr(q.conn.net.LocalAddr()); port != "80" {
		host += ":" + port
	}
	return "http://" + host + to
}

// textURL writes a path as an address has it.
type textURL struct{ path string }

func (u *textURL) String() string {
	var b strings.Builder
	for i := range len(u.path) {
		c := u.path[i]
		if c <= 32 || c >= 127 || strings.IndexByte(`"#%<>?\^`+"`{|}", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// fail answers with a status: with the configured error page or the one that is built in.
func (q *request) fail(status int) {
	shown := status
	if status == statusHeaderTooLarge {
		shown = http.StatusBadRequest
	}
	if p, ok := q.scope.errorPages[shown]; ok && !q.inError {
		q.errorPage(p, shown)
		return
	}
	if q.override != 0 && shown < 400 {
		shown = q.override
	}
	body := q.page(status)
	if shown == http.StatusNoContent || shown == http.StatusNotModified {
		body = ""
	} else {
		q.header.Set("Content-Type", "text/html")
		q.header.Del("Content-Encoding")
	}
	for _, k := range []string{"Last-Modified", "ETag", "Accept-Ranges"} {
		delete(q.header, k)
	}
	if q.begin(shown, int64(len(body))) {
		q.write([]byte(body))
	}
}

// errorPage answers from the page that error_page names.
func (q *request) errorPage(p errorPage, status int) {
	q.inError, q.override = true, status
	switch {
	case p.code > 0:
		q.override = p.code
	case p.code < 0:
		q.override = 0
	}
	to := p.uri.expand(q)
	if strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") {
		if q.override != 301 && q.override != 303 && q.override != 307 && q.override != 308 {
			q.override = 302
		}
		q.header.Set("Location", to)
		q.fail(q.override)
		return
	}
	r := *q.http
	if r.Method != http.MethodHead {
		r.Method = http.MethodGet
	}
	q.http = &r
	if named := q.server.named[to]; named != nil {
		q.run(named)
		return
	}
	q.uri, q.args, _ = strings.Cut(to, "?")
	q.run(nil)
}

// page is the built-in page of a status.
func (q *request) page(status int) string {
	title := fmt.Sprintf("%d %s", status, reason(status))
	if status == http.StatusFound {
		title = "302 Found"
	}
	heading := title
	detail := ""
	if status == statusHeaderTooLarge {
		title, heading, detail = "400 Request Header Or Cookie Too Large", "400 Bad Request", "<center>Request Header Or Cookie Too Large</center>\r\n"
	}
	page := "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + heading + "</h1></center>\r\n" + detail +
		"<hr><center>" + q.product() + "</center>\r\n</body>\r\n</html>\r\n"
	if agent := q.http.UserAgent(); status >= 400 && (strings.Contains(agent, "Chrome/") || strings.Contains(agent, "MSIE ")) {
		page += strings.Repeat("<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n", 6)
	}
	return page
}

func (q *request) product() string {
	if !q.scope.tokens {
		return "nginx"
	}
	return "nginx/" + q.conn.server.Version
}

// reason is the text that nginx has for a status, "" for one it does not know.
func reason(status int) string {
	switch status {
	case 302:
		return "Moved Temporarily"
	case 405:
		return "Not Allowed"
	case 408:
		return "Request Time-out"
	case 414:
		return "Request-URI Too Large"
	case 416:
		return "Requested Range Not Satisfiable"
	case 503:
		return "Service Temporarily Unavailable"
	case 504:
		return "Gateway Time-out"
	}
	return http.StatusText(status)
}

// first are the headers that come before others, in this order.
var first = []string{"Server", "Date", "Content-Type", "Content-Length", "Last-Modified", "Location", "Transfer-Encoding", "Connection"}

// begin sends the status and the headers of an answer with a body of length bytes, −1 if that is not known.
// False when no body is to follow.
func (q *request) begin(status int, length int64) bool {
	if q.override != 0 && status == http.StatusOK {
		status = q.override
	}
	q.status = status
	h := q.header
	h.Set("Server", q.product())
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	bodiless := status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
	h.Del("Content-Length")
	switch {
	case bodiless:
	case length >= 0:
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	case q.http.ProtoAtLeast(1, 1):
		q.chunked = true
		h.Set("Transfer-Encoding", "chunked")
	default:
		q.close = true
	}
	if q.conn.server.draining.Load() {
		q.close = true
	}
	h.Set("Connection", "keep-alive")
	if q.close {
		h.Set("Connection", "close")
	}
	b := fmt.Appendf(make([]byte, 0, 512), "HTTP/1.1 %03d", status)
	r := q.reason
	if r == "" {
		r = reason(status)
	}
	if r != "" {
		b = append(append(b, ' '), r...)
	}
	b = q.appendHeaders(append(b, "\r\n"...))
	n, _ := q.conn.bw.Write(b)
	q.headSent = int64(n)
	return !bodiless && q.http.Method != http.MethodHead
}

func (q *request) appendHeaders(b []byte) []byte {
	line := func(k, v string) {
		b = append(append(append(append(b, k...), ": "...), oneLine.Replace(v)...), "\r\n"...)
	}
	head := first
	if !q.hosted { // an address that was given whole is no special header
		head = slices.DeleteFunc(slices.Clone(first), func(k string) bool { return k == "Location" })
	}
	for _, k := range head {
		for _, v := range q.header[k] {
			line(k, v)
		}
	}
	var rest []string
	for k := range q.header {
		if !slices.Contains(head, k) {
			rest = append(rest, k)
		}
	}
	slices.Sort(rest)
	ofRanges := func(k string) bool { return k == "Accept-Ranges" || k == "Content-Range" }
	for _, k := range rest {
		if !ofRanges(k) {
			for _, v := range q.header[k] {
				line(k, v)
			}
		}
	}
	for _, a := range q.scope.headers {
		if v := a.value.expand(q); v != "" && (a.always || slices.Contains(addedTo, q.status)) {
			line(a.name, v)
		}
	}
	for _, k := range rest {
		if ofRanges(k) {
			line(k, q.header.Get(k))
		}
	}
	return append(b, "\r\n"...)
}

// addedTo are the statuses to which add_header adds without "always". 416 is among them because nginx finds out about ranges later.
var addedTo = []int{200, 201, 204, 206, 301, 302, 303, 304, 307, 308, 416}

// oneLine keeps a value from becoming two headers.
var oneLine = strings.NewReplacer("\r", "", "\n", "")

// write sends a piece of the body.
func (q *request) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if q.chunked {
		return q.send([]byte(strconv.FormatInt(int64(len(p)), 16)+"\r\n"), p, []byte("\r\n"))
	}
	return q.send(p)
}

// end finishes a body whose length was not known.
func (q *request) end() {
	if q.chunked {
		q.send([]byte("0\r\n\r\n"))
	}
}

func (q *request) send(parts ...[]byte) error {
	for _, p := range parts {
		n, err := q.conn.bw.Write(p)
		q.bodySent += int64(n)
		if err != nil {
			q.broken = true
			return err
		}
	}
	return nil
}

// Read reads the request's body, after telling a client that waits for it to send.
func (q *request) Read(p []byte) (int, error) {
	if !q.continued && strings.EqualFold(q.http.Header.Get("Expect"), "100-continue") {
		q.continued = true
		q.conn.bw.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
		if err := q.conn.bw.Flush(); err != nil {
			return 0, err
		}
	}
	return q.http.Body.Read(p)
}
