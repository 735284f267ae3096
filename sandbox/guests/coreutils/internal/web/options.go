package web

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// curlVersion is the curl whose options, messages and numbers we follow.
const curlVersion = "8.17.0"

// flagNames are curl's options without an argument, by long name and letter.
var flagNames = map[string]string{"silent": "s", "show-error": "S", "fail": "f", "fail-with-body": "", "include": "i", "show-headers": "i", "head": "I", "verbose": "v", "remote-name": "O", "remote-name-all": "", "location": "L",
	"location-trusted": "", "insecure": "k", "get": "G", "no-buffer": "N", "progress-bar": "#", "no-progress-meter": "", "compressed": "", "globoff": "g", "ipv4": "4", "ipv6": "6", "http1.1": "", "http1.0": "0", "http2": "",
	"retry-connrefused": "", "retry-all-errors": "", "create-dirs": "", "path-as-is": "", "version": "V", "help": "h", "no-keepalive": "", "disable": "q", "tlsv1.2": "", "tlsv1.3": "", "fail-early": "", "tcp-nodelay": "", "no-clobber": "",
	"post301": "", "post302": "", "post303": "", "basic": "", "remote-time": "R", "next": ":", "anyauth": "", "no-sessionid": "", "no-alpn": "", "tcp-fastopen": ""}

// valueNames are the options with one.
var valueNames = map[string]string{"output": "o", "output-dir": "", "request": "X", "header": "H", "data": "d", "data-ascii": "", "data-raw": "", "data-binary": "", "data-urlencode": "", "json": "", "form": "F", "form-string": "", "write-out": "w",
	"max-time": "m", "connect-timeout": "", "retry": "", "retry-delay": "", "retry-max-time": "", "user-agent": "A", "referer": "e", "user": "u", "cookie": "b", "dump-header": "D", "range": "r", "cacert": "", "cert": "E", "key": "", "max-redirs": "",
	"resolve": "", "connect-to": "", "unix-socket": "", "url": "", "url-query": "", "upload-file": "T", "noproxy": "", "oauth2-bearer": "", "stderr": "", "request-target": "", "limit-rate": "", "speed-limit": "Y", "speed-time": "y", "max-filesize": ""}

// options is a parsed command line of curl.
type options struct {
	set       map[string]bool
	value     map[string]string
	urls      []string
	outputs   []string // per URL, in order; "" with remote[i]
	remote    []bool
	headers   []string
	data      []byte
	hasData   bool
	json      bool
	form      []formPart
	resolve   map[string]string
	maxTime   time.Duration
	connect   time.Duration
	retries   int
	delay     time.Duration
	maxRedirs int
}

type formPart struct{ name, file, kind, content string }

func letterName(names map[string]string, letter string) string {
	for long, l := range names {
		if l == letter {
			return long
		}
	}
	return ""
}

// parseOptions reads curl's command line. A fault has code 2 and the text after "curl: ".
func parseOptions(c *applet.Cmd) (*options, error) {
	o := &options{set: map[string]bool{}, value: map[string]string{}, resolve: map[string]string{}, maxRedirs: 50}
	args := c.Args
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		next := func(option string) (string, error) {
			if len(args) == 0 {
				return "", faultf(2, "option %s: requires parameter", option)
			}
			v := args[0]
			args = args[1:]
			return v, nil
		}
		switch {
		case strings.HasPrefix(a, "--") && len(a) > 2:
			name := a[2:]
			if _, ok := valueNames[name]; ok {
				v, err := next(a)
				if err == nil {
					err = o.take(c, name, v)
				}
				if err != nil {
					return nil, err
				}
				continue
			}
			_, plain := flagNames[name]
			if base, negated := strings.CutPrefix(name, "no-"); !plain && negated {
				if _, known := flagNames[base]; known {
					o.set[base] = false
					continue
				}
			}
			if !plain {
				return nil, faultf(2, "option %s: is unknown", a)
			}
			o.flag(name)
		case len(a) > 1 && a[0] == '-':
			for i := 1; i < len(a); i++ {
				letter := a[i : i+1]
				if name := letterName(flagNames, letter); name != "" {
					o.flag(name)
					continue
				}
				name := letterName(valueNames, letter)
				if name == "" {
					return nil, faultf(2, "option %s: is unknown", "-"+letter)
				}
				v, err := a[i+1:], error(nil)
				if v == "" {
					v, err = next("-" + letter)
				}
				if err == nil {
					err = o.take(c, name, v)
				}
				if err != nil {
					return nil, err
				}
				break
			}
		default:
			o.urls = append(o.urls, a)
		}
	}
	return o, nil
}

func (o *options) flag(name string) {
	if name == "show-headers" {
		name = "include"
	}
	o.set[name] = true
	if name == "remote-name" {
		o.outputs, o.remote = append(o.outputs, ""), append(o.remote, true)
	}
}

func (o *options) take(c *applet.Cmd, name, v string) error {
	o.value[name], o.set[name] = v, true
	seconds := func() (time.Duration, error) {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || f < 0 || f > 1e9 {
			return 0, faultf(2, "option --%s: expected a proper numerical parameter", name)
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	var err error
	switch name {
	case "output":
		o.outputs, o.remote = append(o.outputs, v), append(o.remote, false)
	case "url":
		o.urls = append(o.urls, v)
	case "header":
		if file, ok := strings.CutPrefix(v, "@"); ok {
			text, err := readData(c, file)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(text)) {
				o.headers = append(o.headers, strings.TrimRight(line, "\r\n"))
			}
			return nil
		}
		o.headers = append(o.headers, v)
	case "data", "data-ascii", "data-raw", "data-binary", "data-urlencode", "json":
		return o.addData(c, name, v)
	case "form", "form-string":
		return o.addForm(name, v)
	case "max-time":
		o.maxTime, err = seconds()
	case "connect-timeout":
		o.connect, err = seconds()
	case "retry-delay":
		o.delay, err = seconds()
	case "retry", "max-redirs":
		n, bad := strconv.Atoi(v)
		if bad != nil {
			return faultf(2, "option --%s: expected a proper numerical parameter", name)
		}
		if name == "retry" {
			o.retries = n
		} else {
			o.maxRedirs = n
		}
	case "resolve":
		host, rest, _ := strings.Cut(strings.TrimPrefix(v, "+"), ":")
		port, ip, ok := strings.Cut(rest, ":")
		if !ok {
			return faultf(49, "Could not parse CURLOPT_RESOLVE entry '%s'", v)
		}
		ip, _, _ = strings.Cut(ip, ",")
		o.resolve[host+":"+port] = strings.Trim(ip, "[]")
	}
	return err
}

// maxData bounds what -d and -F read into memory, in bytes.
const maxData = 64 << 20

func readData(c *applet.Cmd, file string) ([]byte, error) {
	r, err := c.Open(file)
	if err != nil {
		return nil, faultf(26, "Failed to open %s", file)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxData))
	if err != nil {
		return nil, faultf(26, "Failed to read %s: %s", file, applet.Reason(err))
	}
	return data, nil
}

func (o *options) addData(c *applet.Cmd, name, v string) error {
	data := []byte(v)
	file, isFile := strings.CutPrefix(v, "@")
	switch {
	case name == "data-urlencode":
		at := strings.IndexAny(v, "=@")
		key := v[:max(at, 0)]
		content := []byte(v[at+1:])
		if at >= 0 && v[at] == '@' {
			var err error
			if content, err = readData(c, v[at+1:]); err != nil {
				return err
			}
		}
		text := url.QueryEscape(string(content))
		if key != "" {
			text = key + "=" + text
		}
		data = []byte(text)
	case isFile && name != "data-raw":
		var err error
		if data, err = readData(c, file); err != nil {
			return err
		}
		if name == "data" || name == "data-ascii" {
			data = []byte(strings.NewReplacer("\n", "", "\r", "", "\x00", "").Replace(string(data)))
		}
	}
	o.json = o.json || name == "json"
	if o.hasData && name != "json" {
		o.data = append(o.data, '&')
	}
	o.data, o.hasData = append(o.data, data...), true
	return nil
}

func (o *options) addForm(option, v string) error {
	name, content, ok := strings.Cut(v, "=")
	if !ok {
		return faultf(2, "Illegally formatted input field")
	}
	p := formPart{name: name, content: content}
	if file, isFile := strings.CutPrefix(content, "@"); isFile && option == "form" {
		p.file, p.kind, _ = strings.Cut(file, ";type=")
	} else if option == "form" {
		p.content, p.kind, _ = strings.Cut(content, ";type=")
	}
	o.form = append(o.form, p)
	return nil
}

// expand writes out {a,b} and [1-3] in a URL, with what each '#1' in an output name then stands for.
func expand(s string) (out []string) {
	const most = 10000
	var walk func(done, rest string)
	walk = func(done, rest string) {
		i := strings.IndexAny(rest, "{[")
		if i < 0 || len(out) >= most {
			out = append(out, done+rest)
			return
		}
		end := strings.IndexByte(rest[i:], map[byte]byte{'{': '}', '[': ']'}[rest[i]])
		if end < 0 {
			out = append(out, done+rest)
			return
		}
		body, after := rest[i+1:i+end], rest[i+end+1:]
		if rest[i] == '{' {
			for _, one := range strings.Split(body, ",") {
				walk(done+rest[:i]+one, after)
			}
			return
		}
		from, to, ok := strings.Cut(body, "-")
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if !ok || errA != nil || errB != nil || b-a > most {
			walk(done+rest[:i+end+1], after)
			return
		}
		for n := a; n <= b; n++ {
			walk(fmt.Sprintf("%s%0*d", done+rest[:i], len(from), n), after)
		}
	}
	walk("", s)
	return out
}

// outputName is where the i-th URL's body goes; "" is standard output.
func (o *options) outputName(i int, a address) (string, error) {
	name := ""
	switch {
	case i < len(o.outputs) && !o.remote[i] && o.outputs[i] != "-":
		name = o.outputs[i]
	case i < len(o.outputs) && o.remote[i], o.set["remote-name-all"] && i >= len(o.outputs):
		path, _, _ := strings.Cut(a.target, "?")
		if name = path[strings.LastIndexByte(path, '/')+1:]; name == "" {
			return "", faultf(23, "Failed to extract a filename to use for storage")
		}
	}
	if dir := o.value["output-dir"]; name != "" && dir != "" {
		name = dir + "/" + name
	}
	if i := strings.LastIndexByte(name, '/'); i > 0 && o.set["create-dirs"] {
		os.MkdirAll(name[:i], 0o750)
	}
	return name, nil
}
