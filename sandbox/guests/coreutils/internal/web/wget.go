package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/http1"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/system"
)

// wget is one run.
type wget struct {
	c        *applet.Cmd
	quiet    bool
	spider   bool
	headers  bool // -S
	resume   bool
	output   string // -O; "" takes the URL's name
	prefix   string
	extra    []string
	post     string
	hasPost  bool
	agent    string
	timeout  time.Duration
	insecure bool
}

// Wget is BusyBox's wget, which is the one in most containers: its options and messages.
func Wget(c *applet.Cmd) int {
	opts, urls, st, ok := c.Parse(applet.Spec{Short: "cqSsO:o:P:T:t:U:Y:n", Help: "[-cqS] [--spider] [-O FILE] [-o LOGFILE] [--header STR] [--post-data STR] [--no-check-certificate] [-T SEC] [-P DIR] [-U AGENT] URL...",
		Long: []string{"continue/c", "quiet/q", "server-response/S", "spider/s", "output-document=/O", "output-file=/o", "directory-prefix=/P", "timeout=/T", "tries=/t", "user-agent=/U", "header=",
			"post-data=", "post-file=", "no-check-certificate", "no-verbose", "connect-timeout=/T", "read-timeout=/T"}})
	if !ok {
		return st
	}
	w := &wget{c: c, agent: "Wget", timeout: 15 * time.Minute}
	for _, o := range opts {
		switch o.Key {
		case "c":
			w.resume = true
		case "q":
			w.quiet = true
		case "S":
			w.headers = true
		case "s":
			w.spider = true
		case "O":
			w.output = o.Arg
		case "P":
			w.prefix = o.Arg
		case "U":
			w.agent = o.Arg
		case "header":
			w.extra = append(w.extra, o.Arg)
		case "post-data":
			w.post, w.hasPost = o.Arg, true
		case "post-file":
			data, err := readData(c, o.Arg)
			if err != nil {
				c.Fail("can't open '%s': No such file or directory", o.Arg)
				return 1
			}
			w.post, w.hasPost = string(data), true
		case "no-check-certificate":
			w.insecure = true
		case "T":
			d, ok := system.Duration(o.Arg)
			if !ok {
				c.Fail("invalid number '%s'", o.Arg)
				return 1
			}
			w.timeout = d
		}
	}
	if len(urls) == 0 {
		return c.Usage(1, "missing URL")
	}
	for _, u := range urls {
		if err := w.get(u); err != nil {
			c.Fail("%s", err.Error())
			return 1
		}
	}
	return c.Status()
}

func (w *wget) log(format string, args ...any) {
	if !w.quiet {
		w.c.Out.Flush()
		fmt.Fprintf(w.c.Stderr, format+"\n", args...)
	}
}

// get fetches one URL, through at most 10 redirects.
func (w *wget) get(target string) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
	defer cancel()
	var from int64
	a, err := parseAddress(target)
	if err != nil {
		return errors.New(busyText(err, a))
	}
	name := w.fileName(a)
	if w.resume && name != "-" {
		if fi, err := os.Stat(name); err == nil {
			from = fi.Size()
		}
	}
	for range 10 {
		l, resp, err := w.request(ctx, a, from)
		if err != nil {
			return errors.New(w.explain(ctx, err, a))
		}
		where := resp.Get("Location")
		if resp.Status/100 != 3 || where == "" {
			defer l.Close()
			return w.save(ctx, name, from, a, resp)
		}
		l.Close()
		base, _ := url.Parse(a.String())
		to, err := url.Parse(where)
		if err != nil || base == nil {
			return fmt.Errorf("can't parse location '%s'", where)
		}
		if a, err = parseAddress(base.ResolveReference(to).String()); err != nil {
			return errors.New(busyText(err, a))
		}
	}
	return errors.New("too many redirections")
}

// busyText is BusyBox's text of one of our faults.
func busyText(err error, a address) string {
	var f *fault
	if !errors.As(err, &f) {
		return err.Error()
	}
	switch f.code {
	case 1:
		return fmt.Sprintf("not an http or ftp url: %s", a.scheme)
	case 6:
		return fmt.Sprintf("bad address '%s'", a.host)
	case 28:
		return "download timed out"
	case 3:
		return fmt.Sprintf("bad address '%s'", a.host)
	}
	text, _, _ := strings.Cut(f.text, "\n")
	return text
}

func (w *wget) explain(ctx context.Context, err error, a address) string {
	var op *net.OpError
	var timeout net.Error
	switch {
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return "download timed out"
	case errors.As(err, &op) && op.Op == "dial":
		host, _, _ := net.SplitHostPort(op.Addr.String())
		return fmt.Sprintf("can't connect to remote host (%s): %s", host, reason(err))
	case errors.Is(err, http1.ErrEmpty), errors.Is(err, io.ErrUnexpectedEOF):
		return "error getting response"
	}
	return busyText(err, a)
}

func (w *wget) fileName(a address) string {
	if w.output != "" {
		return w.output
	}
	path, _, _ := strings.Cut(a.target, "?")
	name := path[strings.LastIndexByte(path, '/')+1:]
	if name == "" {
		name = "index.html"
	}
	if w.prefix != "" {
		os.MkdirAll(w.prefix, 0o777)
		name = strings.TrimSuffix(w.prefix, "/") + "/" + name
	}
	return name
}

// request connects, asks, and reads the head of the answer. The caller closes the link.
func (w *wget) request(ctx context.Context, a address, from int64) (*link, *http1.Response, error) {
	cfg := &tls.Config{InsecureSkipVerify: w.insecure}
	if a.scheme == "https" {
		cfg.RootCAs, _ = authorities("")
	}
	d := &dialer{start: time.Now(), network: "tcp", tls: cfg, note: func(string, ...any) {}}
	ips, err := d.lookup(ctx, a)
	if err != nil {
		return nil, nil, faultf(6, "")
	}
	at := net.JoinHostPort(ips[0], a.port)
	w.log("Connecting to %s (%s)", a.hostHeader(), at)
	l := &link{}
	if l.Conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", at); err != nil {
		return nil, nil, err
	}
	if a.scheme == "https" {
		if err := d.secure(ctx, l, a); err != nil {
			l.Close()
			return nil, nil, err
		}
	}
	if t, ok := ctx.Deadline(); ok {
		l.SetDeadline(t)
	}
	method := "GET"
	switch {
	case w.hasPost:
		method = "POST"
	case w.spider:
		method = "HEAD"
	}
	if _, err := io.WriteString(l, w.head(method, a, from)+w.post); err != nil {
		l.Close()
		return nil, nil, err
	}
	resp, err := http1.ReadResponse(bufio.NewReader(l), method)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	if w.headers {
		w.c.Out.Flush()
		for _, line := range resp.Lines {
			fmt.Fprintf(w.c.Stderr, "  %s\n", line)
		}
		fmt.Fprintln(w.c.Stderr, "  ")
	}
	return l, resp, nil
}

func (w *wget) head(method string, a address, from int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, a.target)
	own := map[string]bool{}
	for _, h := range w.extra {
		name, _, _ := strings.Cut(h, ":")
		own[strings.ToLower(name)] = true
	}
	add := func(name, value string) {
		if !own[strings.ToLower(name)] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	add("Host", a.hostHeader())
	add("User-Agent", w.agent)
	add("Connection", "close")
	if a.hasUser {
		add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.user+":"+a.password)))
	}
	if from > 0 {
		add("Range", fmt.Sprintf("bytes=%d-", from))
	}
	for _, h := range w.extra {
		b.WriteString(h + "\r\n")
	}
	if w.hasPost {
		add("Content-Type", "application/x-www-form-urlencoded")
		add("Content-Length", strconv.Itoa(len(w.post)))
	}
	return b.String() + "\r\n"
}

// save writes the body where it belongs, with the progress bar.
func (w *wget) save(ctx context.Context, name string, from int64, a address, resp *http1.Response) error {
	if resp.Status/100 != 2 {
		return fmt.Errorf("server returned error: %s", resp.Lines[0])
	}
	if w.spider {
		w.log("remote file exists")
		return nil
	}
	out, shown := io.Writer(w.c.Out), "-"
	if name != "-" {
		mode := os.O_TRUNC
		if from > 0 && resp.Status == 206 {
			mode = os.O_APPEND
		} else if w.output == "" && !w.resume {
			mode = os.O_EXCL
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|mode, 0o666)
		if err != nil {
			return fmt.Errorf("can't open '%s': %s", name, applet.Reason(err))
		}
		defer f.Close()
		out, shown = f, name[strings.LastIndexByte(name, '/')+1:]
		w.log("saving to '%s'", name)
	} else {
		w.log("writing to stdout")
	}
	n, err := io.Copy(out, resp.Body)
	w.c.Out.Flush()
	w.bar(shown, n, resp.Length)
	if err != nil {
		if ctx.Err() != nil || os.IsTimeout(err) {
			return errors.New("download timed out")
		}
		return errors.New("connection closed prematurely")
	}
	if name == "-" {
		w.log("written to stdout")
	} else {
		w.log("'%s' saved", name)
	}
	return nil
}

// bar is the progress bar as it stands at the end.
func (w *wget) bar(name string, n, length int64) {
	if w.quiet {
		return
	}
	if len(name) > 20 {
		name = name[:20]
	}
	if length >= 0 {
		done := int64(100)
		if length > 0 {
			done = n * 100 / length
		}
		stars := int(done * 32 / 100)
		fmt.Fprintf(w.c.Stderr, "%-20s %3d%% |%s%s| %5s  0:00:00 ETA\n", name, done, strings.Repeat("*", stars), strings.Repeat(" ", 32-stars), busySize(n))
		return
	}
	fmt.Fprintf(w.c.Stderr, "%-20s      |%s| %5s  0:00:00 ETA\n", name, strings.Repeat(" ", 32), busySize(n))
}

func busySize(n int64) string {
	unit := ""
	for _, u := range []string{"k", "M", "G"} {
		if n < 100000 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}
