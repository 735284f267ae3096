package web

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// template is text with variables.
type template struct{ parts []part }

type part struct {
	text  string
	value func(*request) string // nil for text
}

func letter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func parseTemplate(s string) (*template, error) {
	t := &template{}
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			t.parts = append(t.parts, part{text: s[:i]})
		}
		if s = s[i:]; s == "" {
			break
		}
		name := ""
		if rest, ok := strings.CutPrefix(s, "${"); ok {
			if name, s, ok = strings.Cut(rest, "}"); !ok {
				return nil, fmt.Errorf("the closing bracket in %q variable is missing", name)
			}
		} else {
			n := 1
			for n < len(s) && letter(s[n]) && (n == 1 || s[1] < '1' || s[1] > '9') { // $1x is $1 and x
				n++
			}
			name, s = s[1:n], s[n:]
		}
		if name == "" {
			return nil, fmt.Errorf("invalid variable name in %q", "$"+s)
		}
		f := variable(name)
		if f == nil {
			return nil, fmt.Errorf("unknown %q variable", name)
		}
		t.parts = append(t.parts, part{value: f})
	}
	return t, nil
}

// expand fills in the variables.
func (t *template) expand(q *request) string {
	if len(t.parts) == 1 && t.parts[0].value == nil {
		return t.parts[0].text
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.value == nil {
			b.WriteString(p.text)
		} else {
			b.WriteString(p.value(q))
		}
	}
	return b.String()
}

// appendLog fills in the variables as a log has them: "-" for nothing, and bytes that could forge or garble a line escaped.
func (t *template) appendLog(b []byte, q *request) []byte {
	for _, p := range t.parts {
		if p.value == nil {
			b = append(b, p.text...)
			continue
		}
		v := p.value(q)
		if v == "" {
			b = append(b, '-')
			continue
		}
		for i := range len(v) {
			if c := v[i]; c < 32 || c > 126 || c == '"' || c == '\\' {
				b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			} else {
				b = append(b, c)
			}
		}
	}
	return b
}

const hexDigits = "0123456789ABCDEF"

// variable is the function that computes a variable (nginx.org, "Embedded Variables"), nil if there is none of that name.
func variable(name string) func(*request) string {
	if f, ok := variables[name]; ok {
		return f
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < 10 {
		return func(q *request) string {
			if n < len(q.captures) {
				return q.captures[n]
			}
			return ""
		}
	}
	if h, ok := strings.CutPrefix(name, "http_"); ok && h != "" {
		key := http.CanonicalHeaderKey(strings.ReplaceAll(h, "_", "-"))
		return func(q *request) string { return strings.Join(q.http.Header[key], ", ") }
	}
	if h, ok := strings.CutPrefix(name, "sent_http_"); ok && h != "" {
		key := http.CanonicalHeaderKey(strings.ReplaceAll(h, "_", "-"))
		return func(q *request) string { return q.header.Get(key) }
	}
	if a, ok := strings.CutPrefix(name, "arg_"); ok && a != "" {
		return func(q *request) string { return argument(q.args, a) }
	}
	return nil
}

// argument is the first value of an argument as it was sent.
func argument(args, name string) string {
	for pair := range strings.SplitSeq(args, "&") {
		if k, v, _ := strings.Cut(pair, "="); strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

func splitAddr(a net.Addr) (host, port string) {
	if a == nil {
		return "", ""
	}
	host, port, _ = net.SplitHostPort(a.String())
	return host, port
}

var variables = map[string]func(*request) string{
	"args":                func(q *request) string { return q.args },
	"query_string":        func(q *request) string { return q.args },
	"body_bytes_sent":     func(q *request) string { return strconv.FormatInt(q.bodySent, 10) },
	"bytes_sent":          func(q *request) string { return strconv.FormatInt(q.bodySent+q.headSent, 10) },
	"connection":          func(q *request) string { return strconv.FormatUint(q.conn.id, 10) },
	"connection_requests": func(q *request) string { return strconv.Itoa(q.conn.requests) },
	"content_length":      func(q *request) string { return q.http.Header.Get("Content-Length") },
	"content_type":        func(q *request) string { return q.http.Header.Get("Content-Type") },
	"document_root":       func(q *request) string { return q.scope.root.expand(q) },
	"host":                (*request).host,
	"hostname":            func(*request) string { h, _ := os.Hostname(); return h },
	"is_args":             func(q *request) string { return map[bool]string{true: "?"}[q.args != ""] },
	"msec":                func(*request) string { t := time.Now().UnixMilli(); return fmt.Sprintf("%d.%03d", t/1000, t%1000) },
	"nginx_version":       func(q *request) string { return q.conn.server.Version },
	"pid":                 func(*request) string { return strconv.Itoa(os.Getpid()) },
	"proxy_host":          func(q *request) string { return q.proxyHost() },
	"remote_addr":         func(q *request) string { h, _ := splitAddr(q.conn.net.RemoteAddr()); return h },
	"remote_port":         func(q *request) string { _, p := splitAddr(q.conn.net.RemoteAddr()); return p },
	"remote_user":         func(q *request) string { u, _, _ := q.http.BasicAuth(); return u },
	"request":             func(q *request) string { return q.line },
	"request_filename":    (*request).filename,
	"request_length":      func(q *request) string { return strconv.FormatInt(q.conn.in.taken-q.began, 10) },
	"request_method":      func(q *request) string { return q.http.Method },
	"request_time":        func(q *request) string { return fmt.Sprintf("%.3f", time.Since(q.start).Seconds()) },
	"request_uri":         func(q *request) string { return q.http.RequestURI },
	"scheme":              func(*request) string { return "http" },
	"server_addr":         func(q *request) string { h, _ := splitAddr(q.conn.net.LocalAddr()); return h },
	"server_name":         func(q *request) string { return q.server.names[0] },
	"server_port":         func(q *request) string { _, p := splitAddr(q.conn.net.LocalAddr()); return p },
	"server_protocol":     func(q *request) string { return q.http.Proto },
	"status":              func(q *request) string { return fmt.Sprintf("%03d", q.status) },
	"time_iso8601":        func(*request) string { return time.Now().Format("2006-01-02T15:04:05-07:00") },
	"time_local":          func(*request) string { return time.Now().Format("02/Jan/2006:15:04:05 -0700") },
	"upstream_addr":       func(q *request) string { return q.upstream },
	"upstream_status":     func(q *request) string { return q.upstreamStatus },
	"uri":                 func(q *request) string { return q.uri },
	"document_uri":        func(q *request) string { return q.uri },
	"proxy_add_x_forwarded_for": func(q *request) string {
		h, _ := splitAddr(q.conn.net.RemoteAddr())
		if before := q.http.Header["X-Forwarded-For"]; len(before) > 0 {
			return strings.Join(before, ", ") + ", " + h
		}
		return h
	},
}

// host is the request's host in lower case without port, or the server's name.
func (q *request) host() string {
	h := q.http.Host
	if h == "" {
		return q.server.names[0]
	}
	if name, _, err := net.SplitHostPort(h); err == nil {
		h = name
	}
	return strings.ToLower(h)
}

func (q *request) proxyHost() string {
	if q.scope.proxy == nil {
		return ""
	}
	return q.scope.proxy.host
}

// splitURI parts the target of a request into the path, decoded and made simple, and the arguments. Above the root is refused.
func splitURI(target string) (path, args string, ok bool) {
	if rest, found := strings.CutPrefix(target, "http://"); found {
		if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
			target = rest[i:]
		} else {
			target = "/" + strings.TrimLeft(rest[max(i, 0):], "/")
			if i < 0 {
				target = "/"
			}
		}
	}
	target, _, _ = strings.Cut(target, "#")
	raw, args, _ := strings.Cut(target, "?")
	path, err := url.PathUnescape(raw)
	if err != nil || !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return "", "", false
	}
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return path, args, true
	}
	var kept []string
	words := strings.Split(path, "/")
	for i, w := range words {
		last := i == len(words)-1
		switch {
		case w == "..":
			if len(kept) == 0 {
				return "", "", false
			}
			kept = kept[:len(kept)-1]
		case w != "" && w != ".":
			kept = append(kept, w)
			if last {
				return "/" + strings.Join(kept, "/"), args, true
			}
		}
	}
	if len(kept) == 0 {
		return "/", args, true
	}
	return "/" + strings.Join(kept, "/") + "/", args, true
}
