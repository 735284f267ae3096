package web

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const curlHelp = `Usage: curl [options...] <url>
 -d, --data <data>           HTTP POST data
 -f, --fail                  Fail fast with no output on HTTP errors
 -h, --help <subject>        Get help for commands
 -o, --output <file>         Write to file instead of stdout
 -O, --remote-name           Write output to file named as remote file
 -i, --show-headers          Show response headers in output
 -s, --silent                Silent mode
 -T, --upload-file <file>    Transfer local FILE to destination
 -u, --user <user:password>  Server user and password
 -A, --user-agent <name>     Send User-Agent <name> to server
 -v, --verbose               Make the operation more talkative
 -V, --version               Show version number and quit
 -H, --header <header>       Pass custom header to server
 -I, --head                  Show document info only
 -k, --insecure              Allow insecure server connections
 -L, --location              Follow redirects
 -m, --max-time <seconds>    Maximum time allowed for transfer
 -w, --write-out <format>    Output FORMAT after completion
 -X, --request <method>      Specify request method to use
`

// writeOut prints -w's format.
func (t *transfer) writeOut() {
	format := t.value["write-out"]
	if format == "" {
		return
	}
	if file, ok := strings.CutPrefix(format, "@"); ok {
		data, err := readData(t.c, file)
		if err != nil {
			return
		}
		format = string(data)
	}
	var w io.Writer = t.c.Out
	for format != "" {
		i := strings.IndexAny(format, `%\`)
		if i < 0 {
			i = len(format)
		}
		io.WriteString(w, format[:i])
		if format = format[i:]; format == "" {
			break
		}
		rest := format[1:]
		end := strings.IndexByte(rest, '}')
		switch {
		case format[0] == '\\' && rest != "":
			if k := strings.IndexByte("nrt", rest[0]); k >= 0 {
				io.WriteString(w, string("\n\r\t"[k]))
			} else {
				io.WriteString(w, format[:2])
			}
			format = rest[1:]
		case strings.HasPrefix(rest, "%"):
			io.WriteString(w, "%")
			format = rest[1:]
		case strings.HasPrefix(rest, "header{") && end > 0:
			if t.resp != nil {
				io.WriteString(w, t.resp.Get(rest[7:end]))
			}
			format = rest[end+1:]
		case strings.HasPrefix(rest, "{") && end > 0:
			switch name := rest[1:end]; name {
			case "stdout":
				w = t.c.Out
			case "stderr":
				t.c.Out.Flush()
				w = t.c.Stderr
			case "onerror":
				if t.fault == nil {
					return
				}
			default:
				if v, ok := t.variable(name); ok {
					io.WriteString(w, v)
				} else {
					t.c.Out.Flush()
					fmt.Fprintf(t.c.Stderr, "curl: unknown --write-out variable: '%s'\n", name)
				}
			}
			format = rest[end+1:]
		default:
			io.WriteString(w, format[:1])
			format = rest
		}
	}
	t.c.Out.Flush()
}

// variable is the value of one of -w's variables.
func (t *transfer) variable(name string) (string, bool) {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }
	var l link
	if t.link != nil {
		l = *t.link
	}
	switch name {
	case "http_code", "response_code":
		if t.resp == nil {
			return "000", true
		}
		return fmt.Sprintf("%03d", t.resp.Status), true
	case "time_namelookup":
		return seconds(l.lookup), true
	case "time_connect":
		return seconds(l.connected), true
	case "time_appconnect":
		return seconds(l.secured), true
	case "time_pretransfer":
		return seconds(max(l.connected, l.secured)), true
	case "time_starttransfer":
		return seconds(t.ready), true
	case "time_total":
		return seconds(t.total), true
	case "time_redirect":
		return seconds(0), true
	case "size_download":
		return strconv.FormatInt(t.downBytes, 10), true
	case "size_upload":
		return strconv.FormatInt(t.upBytes, 10), true
	case "size_header":
		return strconv.FormatInt(t.headBytes, 10), true
	case "speed_download", "speed_upload":
		n := t.downBytes
		if name == "speed_upload" {
			n = t.upBytes
		}
		return strconv.FormatInt(int64(float64(n)/max(t.total.Seconds(), 1e-6)), 10), true
	}
	return t.words(name, &l)
}

// words are the variables that aren't numbers of a measurement.
func (t *transfer) words(name string, l *link) (string, bool) {
	ends := func(a func(net.Conn) net.Addr, port bool) string {
		if l.Conn == nil || a(l.Conn) == nil {
			return ""
		}
		host, p, _ := net.SplitHostPort(a(l.Conn).String())
		if port {
			return p
		}
		return host
	}
	switch name {
	case "http_version":
		if t.resp == nil {
			return "0", true
		}
		return strings.TrimPrefix(t.resp.Proto, "HTTP/"), true
	case "content_type":
		if t.resp == nil {
			return "", true
		}
		return t.resp.Get("Content-Type"), true
	case "method":
		return t.method, true
	case "scheme":
		return t.at.scheme, true
	case "num_redirects":
		return strconv.Itoa(t.redirects), true
	case "num_connects":
		return strconv.Itoa(t.opened), true
	case "redirect_url":
		return t.next, true
	case "url":
		return t.first.String(), true
	case "url_effective":
		return t.at.String(), true
	case "filename_effective":
		return t.output, true
	case "remote_ip":
		return ends(net.Conn.RemoteAddr, false), true
	case "remote_port":
		return ends(net.Conn.RemoteAddr, true), true
	case "local_ip":
		return ends(net.Conn.LocalAddr, false), true
	case "local_port":
		return ends(net.Conn.LocalAddr, true), true
	case "exitcode":
		return strconv.Itoa(codeOrZero(t.fault)), true
	case "errormsg":
		if t.fault != nil {
			return t.fault.text, true
		}
		return "", true
	case "ssl_verify_result", "proxy_ssl_verify_result":
		return "0", true
	}
	return "", false
}

func codeOrZero(f *fault) int {
	if f == nil {
		return 0
	}
	return f.code
}

// meterEnd prints the progress meter as it stands at the end.
func (t *transfer) meterEnd() {
	t.c.Out.Flush()
	fmt.Fprint(t.c.Stderr, "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n                                 Dload  Upload   Total   Spent    Left  Speed\n")
	size := t.downBytes
	if t.resp != nil && t.resp.Length > 0 && t.method != "HEAD" {
		size = t.resp.Length
	}
	percent := func(part, whole int64) int64 {
		if whole == 0 {
			return 0
		}
		return part * 100 / whole
	}
	s := max(t.total.Seconds(), 1e-6)
	all := size + t.upBytes
	spent := "--:--:--"
	if n := int64(t.total.Seconds()); n > 0 {
		spent = fmt.Sprintf("%2d:%02d:%02d", n/3600, n/60%60, n%60)
	}
	fmt.Fprintf(t.c.Stderr, "\r%3d %s  %3d %s  %3d %s  %s %s %8s %8s %8s %s\n", percent(t.downBytes+t.upBytes, all), amount(all), percent(t.downBytes, size), amount(t.downBytes), percent(t.upBytes, t.upBytes), amount(t.upBytes),
		amount(int64(float64(t.downBytes)/s)), amount(int64(float64(t.upBytes)/s)), "--:--:--", spent, "--:--:--", amount(int64(float64(t.downBytes)/s)))
}

// amount writes a number of bytes in five columns.
func amount(n int64) string {
	if n < 100000 {
		return fmt.Sprintf("%5d", n)
	}
	f := float64(n) / 1024
	for _, unit := range "kMG" {
		switch {
		case f < 100 && unit != 'k':
			return fmt.Sprintf("%4.1f%c", f, unit)
		case f < 10000:
			return fmt.Sprintf("%4d%c", int64(f), unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%4dT", int64(f))
}
