package web

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/httpd/internal/conf"
)

// Prefix is where relative names of the configuration begin.
const Prefix = "/etc/nginx"

const combined = `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`

// Defaults of what no directive says.
const (
	DefaultErrorLog  = "/var/log/nginx/error.log"
	defaultAccessLog = "/var/log/nginx/access.log"
	defaultPID       = "/run/nginx.pid"
)

// Load reads the configuration in file, after the directives given on the command line.
// lookup finds the addresses of upstream servers, as net.LookupHost does.
func Load(file, global string, lookup func(string) ([]string, error)) (*Config, error) {
	b := &builder{
		config:  &Config{Daemon: true, PID: defaultPID, ErrorLog: Target{DefaultErrorLog, Error}, upstreams: map[string]*upstream{}},
		formats: map[string]*template{}, lookup: lookup,
	}
	b.formats["combined"], _ = parseTemplate(combined)
	line, err := conf.ParseLine(global, openText)
	if err != nil {
		return nil, err
	}
	main := rootScope()
	if err := b.block(inMain, &main, line); err != nil {
		return nil, err
	}
	ds, files, err := conf.Load(file, openText)
	if err != nil {
		return nil, err
	}
	if err := b.block(inMain, &main, ds); err != nil {
		return nil, err
	}
	b.config.Sources = files
	if !b.events {
		return nil, fmt.Errorf(`no "events" section in configuration`)
	}
	return b.config, b.finish()
}

func rootScope() scope {
	t := func(s string) *template { x, _ := parseTemplate(s); return x }
	s := scope{root: t(Prefix + "/html"), index: []*template{t("index.html")}, defaultType: "text/plain", tokens: true,
		types:     map[string]string{"html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"},
		keepalive: 75 * time.Second, maxBody: 1 << 20, errorLog: Target{DefaultErrorLog, Error}, proxyVersion: "1.0", proxyTimeout: time.Minute}
	s.access = []accessLog{{defaultAccessLog, t(combined)}}
	s.own = map[string]bool{}
	return s
}

type builder struct {
	config  *Config
	formats map[string]*template
	lookup  func(string) ([]string, error)
	events  bool
	pending []func() error // what can be judged only when all is read

	server   *server
	location *location
	group    *upstream
}

// contexts a directive may stand in.
type context int

const (
	inMain context = 1 << iota
	inEvents
	inHTTP
	inServer
	inLocation
	inUpstream
	inAll = inHTTP | inServer | inLocation
)

// directive says where a directive may stand, how many words follow it and what it does. A nil apply has no effect that could be
// seen here (tuning); warn says that a user might miss it.
type directive struct {
	in       context
	min, max int // of arguments; max −1 is no limit
	block    bool
	either   bool // with a block or without, which apply judges
	repeats  bool // may be given more than once in a block
	warn     bool
	apply    func(b *builder, s *scope, d *conf.Directive) error
}

func (b *builder) block(in context, s *scope, ds []*conf.Directive) error {
	for _, d := range ds {
		k, ok := directives[d.Name]
		switch {
		case !ok:
			return d.Errorf("unknown directive %q", d.Name)
		case k.in&in == 0:
			return d.Errorf("%q directive is not allowed here", d.Name)
		case k.block && !d.IsBlock:
			return d.Errorf(`directive %q has no opening "{"`, d.Name)
		case !k.block && !k.either && d.IsBlock:
			return d.Errorf(`directive %q is not terminated by ";"`, d.Name)
		case len(d.Args) < k.min || k.max >= 0 && len(d.Args) > k.max:
			return d.Errorf("invalid number of arguments in %q directive", d.Name)
		case !k.repeats && s.own[d.Name]:
			return d.Errorf("%q directive is duplicate", d.Name)
		}
		if k.warn {
			b.config.Warnings = append(b.config.Warnings, d.Errorf("directive %q has no effect in this substitute", d.Name).Error())
		}
		if k.apply != nil {
			if err := k.apply(b, s, d); err != nil {
				return err
			}
		}
		s.own[d.Name] = true
	}
	return nil
}

// finish judges the whole: upstreams by name, duplicate servers, log files.
func (b *builder) finish() error {
	for _, f := range b.pending {
		if err := f(); err != nil {
			return err
		}
	}
	c := b.config
	seen := map[Address]bool{}
	defaults := map[Address]bool{}
	names := map[string]bool{}
	for _, s := range c.servers {
		for _, l := range s.listen {
			if !seen[l.Address] {
				seen[l.Address] = true
				c.Listen = append(c.Listen, l.Address)
			}
			if l.isDefault && defaults[l.Address] {
				return s.at.Errorf("a duplicate default server for %s", l.Host)
			}
			defaults[l.Address] = defaults[l.Address] || l.isDefault
			for _, n := range s.names {
				if key := l.Host + " " + n; names[key] {
					c.Warnings = append(c.Warnings, fmt.Sprintf("conflicting server name %q on %s, ignored", n, l.Host))
				} else {
					names[key] = true
				}
			}
		}
	}
	files := map[string]bool{c.ErrorLog.File: true}
	c.Files = append(c.Files, c.ErrorLog.File)
	add := func(s *scope) {
		for _, f := range append([]accessLog{{file: s.errorLog.File}}, s.access...) {
			if !files[f.file] {
				files[f.file] = true
				c.Files = append(c.Files, f.file)
			}
		}
	}
	for _, s := range c.servers {
		add(&s.scope)
		s.eachLocation(func(l *location) { add(&l.scope) })
	}
	return nil
}

func (s *server) eachLocation(f func(*location)) {
	var walk func([]*location)
	walk = func(ls []*location) {
		for _, l := range ls {
			f(l)
			walk(l.nested)
		}
	}
	walk(s.locations)
	for _, l := range s.named {
		f(l)
	}
}

func full(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(Prefix, name)
}

func (b *builder) addServer(s *scope, d *conf.Directive) error {
	srv := &server{scope: s.child(), named: map[string]*location{}, at: d}
	b.server = srv
	if err := b.block(inServer, &srv.scope, d.Block); err != nil {
		return err
	}
	b.server = nil
	if len(srv.listen) == 0 {
		port := ":80"
		if os.Geteuid() != 0 {
			port = ":8000"
		}
		srv.listen = []listen{{Address: Address{"tcp4", "0.0.0.0" + port}}}
	}
	if len(srv.names) == 0 {
		srv.names = []string{""}
	}
	b.config.servers = append(b.config.servers, srv)
	return nil
}

func (b *builder) addListen(_ *scope, d *conf.Directive) error {
	l := listen{}
	for _, a := range d.Args[1:] {
		switch {
		case a == "default_server" || a == "default":
			l.isDefault = true
		case a == "reuseport" || strings.HasPrefix(a, "backlog=") || strings.HasPrefix(a, "ipv6only=") || a == "deferred":
		case a == "ssl" || a == "http2" || a == "quic":
			return d.Errorf("the %q parameter requires a part of nginx that this substitute lacks", a)
		default:
			return d.Errorf("invalid parameter %q", a)
		}
	}
	var err error
	if l.Address, err = parseListen(d.Args[0]); err != nil {
		return d.Errorf("%s in %q of the \"listen\" directive", err, d.Args[0])
	}
	for _, other := range b.server.listen {
		if other.Address == l.Address {
			return d.Errorf("a duplicate listen %s", l.Host)
		}
	}
	b.server.listen = append(b.server.listen, l)
	return nil
}

// parseListen reads "80", "127.0.0.1:80", "*:80", "[::]:80" or an address alone.
func parseListen(s string) (Address, error) {
	host, port := s, "80"
	if _, err := strconv.Atoi(s); err == nil {
		host, port = "0.0.0.0", s
	} else if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	if host == "*" || host == "" {
		host = "0.0.0.0"
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return Address{}, fmt.Errorf("invalid port")
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return Address{}, fmt.Errorf("host not found")
	}
	network := "tcp4"
	if ip.To4() == nil {
		network = "tcp6"
	}
	return Address{network, net.JoinHostPort(host, port)}, nil
}

func (b *builder) addLocation(s *scope, d *conf.Directive) error {
	l := &location{scope: s.child(), path: d.Args[len(d.Args)-1]}
	if len(d.Args) == 2 {
		l.modifier = d.Args[0]
	} else if rest, ok := strings.CutPrefix(l.path, "@"); ok && rest != "" {
		l.modifier = "@"
	}
	switch l.modifier {
	case "", "=", "^~", "@":
	case "~", "~*":
		flags := ""
		if l.modifier == "~*" {
			flags = "(?i)"
		}
		var err error
		if l.re, err = regexp.Compile(flags + l.path); err != nil {
			return d.Errorf("%v", err)
		}
	default:
		return d.Errorf("invalid location modifier %q", l.modifier)
	}
	parent := b.location
	siblings := &b.server.locations
	if parent != nil {
		siblings = &parent.nested
		if parent.re == nil && parent.modifier != "=" && l.re == nil && !strings.HasPrefix(l.path, parent.path) {
			return d.Errorf("location %q is outside location %q", l.path, parent.path)
		}
		if l.modifier == "@" || parent.modifier == "=" || parent.modifier == "@" {
			return d.Errorf("location %q cannot be inside location %q", l.path, parent.path)
		}
	}
	if l.modifier == "@" {
		if b.server.named[l.path] != nil {
			return d.Errorf("duplicate location %q", l.path)
		}
		b.server.named[l.path] = l
	} else {
		for _, o := range *siblings {
			if o.path == l.path && o.re == nil && l.re == nil && (o.modifier == "=") == (l.modifier == "=") {
				return d.Errorf("duplicate location %q", l.path)
			}
		}
		*siblings = append(*siblings, l)
	}
	b.location = l
	defer func() { b.location = parent }()
	return b.block(inLocation, &l.scope, d.Block)
}
