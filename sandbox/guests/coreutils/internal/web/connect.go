// Package web has the utilities that speak HTTP: curl and wget.
package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// address is where a request goes.
type address struct {
	scheme, host, port string // host without brackets
	user, password     string
	hasUser            bool
	target             string // path and query
}

// fault is an error with the number and text that curl gives it.
type fault struct {
	code int
	text string
}

func (f *fault) Error() string { return f.text }

func faultf(code int, format string, args ...any) *fault {
	return &fault{code, fmt.Sprintf(format, args...)}
}

// parseAddress reads a URL; without a scheme it is http.
func parseAddress(s string) (a address, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "http", s
	}
	a.scheme = strings.ToLower(scheme)
	if a.scheme != "http" && a.scheme != "https" {
		return a, faultf(1, "Protocol \"%s\" not supported", a.scheme)
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	if a.target = encodeTarget(rest[end:]); !strings.HasPrefix(a.target, "/") {
		a.target = "/" + a.target
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		a.user, _ = url.PathUnescape(user)
		a.password, _ = url.PathUnescape(password)
		a.hasUser, authority = true, authority[at+1:]
	}
	a.host, a.port = authority, map[string]string{"http": "80", "https": "443"}[a.scheme]
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		if a.host = authority[:i]; i+1 < len(authority) {
			a.port = authority[i+1:]
		}
		if n, err := net.LookupPort("tcp", a.port); err != nil || strings.Trim(a.port, "0123456789") != "" || n == 0 {
			return a, faultf(3, "URL rejected: Port number was not a decimal number between 0 and 65535")
		}
	}
	a.host = strings.TrimSuffix(strings.TrimPrefix(a.host, "["), "]")
	switch {
	case a.host == "":
		return a, faultf(3, "URL rejected: No host part in the URL")
	case strings.ContainsAny(s, " \t\r\n\x00"):
		return a, faultf(3, "URL rejected: Malformed input to a URL function")
	case strings.ContainsAny(a.host, "\"<>\\^`{|}[]%"):
		return a, faultf(3, "URL rejected: Bad hostname")
	}
	return a, nil
}

// encodeTarget percent-encodes what may not stand in a request line.
func encodeTarget(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			fmt.Fprintf(&b, "%%%02x", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// hostHeader is the Host header: the port is named only when it isn't the scheme's own.
func (a address) hostHeader() string {
	host := a.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.scheme == "http" && a.port == "80" || a.scheme == "https" && a.port == "443" {
		return host
	}
	return host + ":" + a.port
}

func (a address) String() string { return a.scheme + "://" + a.hostHeader() + a.target }

// link is an open connection with the times at which its stages were reached, since the start.
type link struct {
	net.Conn
	lookup, connected, secured time.Duration
	tls                        *tls.ConnectionState
}

// dialer opens connections.
type dialer struct {
	start          time.Time
	connectTimeout time.Duration     // of look-up and connecting; 0 is five minutes
	resolve        map[string]string // "host:port" → address given by --resolve
	network        string            // tcp, tcp4 or tcp6
	unixSocket     string
	tls            *tls.Config                      // its ServerName is set here
	note           func(format string, args ...any) // -v's "* " lines
}

// open looks the name up, tries its addresses in order and, for https, shakes hands.
func (d *dialer) open(ctx context.Context, a address) (*link, error) {
	limit := d.connectTimeout
	if limit == 0 {
		limit = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l := &link{}
	ips, err := d.lookup(ctx, a)
	if err != nil {
		if ctx.Err() != nil {
			return nil, faultf(28, "Resolving timed out after %d milliseconds", d.since().Milliseconds())
		}
		return nil, faultf(6, "Could not resolve host: %s", a.host)
	}
	l.lookup = d.since()
	if err := d.connect(ctx, l, a, ips); err != nil {
		return nil, err
	}
	l.connected = d.since()
	if a.scheme != "https" {
		return l, nil
	}
	if err := d.secure(ctx, l, a); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (d *dialer) since() time.Duration { return time.Since(d.start) }

func (d *dialer) lookup(ctx context.Context, a address) ([]string, error) {
	if d.unixSocket != "" {
		return []string{d.unixSocket}, nil
	}
	if ip, ok := d.resolve[a.host+":"+a.port]; ok {
		return []string{ip}, nil
	}
	if net.ParseIP(a.host) != nil {
		return []string{a.host}, nil
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, a.host)
	if err != nil {
		return nil, err
	}
	keep := ips[:0]
	for _, ip := range ips {
		if six := strings.Contains(ip, ":"); d.network == "tcp" || six == (d.network == "tcp6") {
			keep = append(keep, ip)
		}
	}
	if len(keep) == 0 {
		return nil, errors.New("no address of the wanted family")
	}
	return keep, nil
}

func (d *dialer) connect(ctx context.Context, l *link, a address, ips []string) (err error) {
	for _, ip := range ips {
		at, network := net.JoinHostPort(ip, a.port), d.network
		if d.unixSocket != "" {
			at, network = ip, "unix"
		}
		d.note("  Trying %s...", at)
		if l.Conn, err = (&net.Dialer{}).DialContext(ctx, network, at); err == nil {
			d.note("Connected to %s (%s) port %s", a.host, ip, a.port)
			return nil
		}
		if ctx.Err() != nil {
			return faultf(28, "Connection timed out after %d milliseconds", d.since().Milliseconds())
		}
		d.note("connect to %s port %s from 0.0.0.0 port 0 failed: %s", ip, a.port, reason(err))
	}
	return faultf(7, "Failed to connect to %s port %s after %d ms: Could not connect to server", a.host, a.port, d.since().Milliseconds())
}

// reason is the last part of a network error, as strerror(3) spells it.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		err = se.Err
	}
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

func (d *dialer) secure(ctx context.Context, l *link, a address) error {
	cfg := d.tls.Clone()
	cfg.ServerName = a.host
	c := tls.Client(l.Conn, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return faultf(28, "SSL connection timeout")
		}
		return tlsFault(err, a.host)
	}
	state := c.ConnectionState()
	l.Conn, l.tls, l.secured = c, &state, d.since()
	d.note("SSL connection using %s / %s", strings.ReplaceAll(tls.VersionName(state.Version), "TLS 1", "TLSv1"), tls.CipherSuiteName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		const form = "Jan _2 15:04:05 2006 GMT"
		d.note("Server certificate:")
		d.note(" subject: %s", cert.Subject)
		d.note(" start date: %s", cert.NotBefore.UTC().Format(form))
		d.note(" expire date: %s", cert.NotAfter.UTC().Format(form))
		d.note(" issuer: %s", cert.Issuer)
	}
	return nil
}

// moreDetails follows the message of a certificate that could not be verified.
const moreDetails = `
More details here: https://curl.se/docs/sslcerts.html

curl failed to verify the legitimacy of the server and therefore could not
establish a secure connection to it. To learn more about this situation and
how to fix it, please visit the webpage mentioned above.`

func tlsFault(err error, host string) *fault {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	why := ""
	switch {
	case errors.As(err, &unknown):
		why = "SSL certificate problem: unable to get local issuer certificate"
		if c := unknown.Cert; c != nil && c.Issuer.String() == c.Subject.String() {
			why = "SSL certificate problem: self-signed certificate"
		}
	case errors.As(err, &name):
		why = fmt.Sprintf("SSL: no alternative certificate subject name matches target host name '%s'", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		why = "SSL certificate problem: certificate has expired"
	case errors.As(err, &invalid):
		why = "SSL certificate problem: " + invalid.Error()
	case errors.As(err, &record):
		return faultf(35, "TLS connect error: wrong version number")
	case errors.As(err, &alert):
		return faultf(35, "TLS connect error: %s", strings.TrimPrefix(alert.Error(), "tls: "))
	default:
		return faultf(35, "TLS connect error: %s", reason(err))
	}
	return faultf(60, "%s%s", why, moreDetails)
}

// caFiles are where Linux distributions keep the certificates of authorities.
var caFiles = [...]string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// authorities reads the CA certificates of file, or of the environment or the machine when file is empty.
func authorities(file string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	files := []string{file}
	if file == "" {
		files = append([]string{os.Getenv("CURL_CA_BUNDLE"), os.Getenv("SSL_CERT_FILE")}, caFiles[:]...)
	}
	for _, f := range files {
		if f == "" {
			continue
		}
		data, err := os.ReadFile(f)
		if err == nil && pool.AppendCertsFromPEM(data) {
			return pool, nil
		}
		if file != "" {
			return nil, faultf(77, "error adding trust anchors from file: %s", file)
		}
	}
	return pool, nil
}
