package web

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/httpd/internal/conf"
)

// directives is the table of everything that a configuration may say. It is filled by init because blocks lead back to it.
var directives map[string]directive

func init() {
	directives = map[string]directive{
		"user":                 {in: inMain, min: 1, max: 2},
		"worker_processes":     {in: inMain, min: 1, max: 1},
		"worker_rlimit_nofile": {in: inMain, min: 1, max: 1},
		"pid":                  {in: inMain, min: 1, max: 1, apply: func(b *builder, _ *scope, d *conf.Directive) error { b.config.PID = full(d.Args[0]); return nil }},
		"daemon": {in: inMain, min: 1, max: 1, apply: func(b *builder, _ *scope, d *conf.Directive) (err error) {
			b.config.Daemon, err = onOff(d)
			return err
		}},
		"master_process": {in: inMain, min: 1, max: 1},
		"error_log":      {in: inMain | inAll, min: 1, max: 2, repeats: true, apply: errorLog},
		"events": {in: inMain, block: true, apply: func(b *builder, s *scope, d *conf.Directive) error {
			b.events = true
			c := s.child()
			return b.block(inEvents, &c, d.Block)
		}},
		"worker_connections": {in: inEvents, min: 1, max: 1},
		"use":                {in: inEvents, min: 1, max: 1},
		"multi_accept":       {in: inEvents, min: 1, max: 1},
		"http": {in: inMain, block: true, apply: func(b *builder, s *scope, d *conf.Directive) error {
			c := s.child()
			return b.block(inHTTP, &c, d.Block)
		}},
		"upstream":     {in: inHTTP, min: 1, max: 1, block: true, repeats: true, apply: (*builder).addUpstream},
		"keepalive":    {in: inUpstream, min: 1, max: 1},
		"log_format":   {in: inHTTP, min: 2, max: -1, repeats: true, apply: logFormat},
		"access_log":   {in: inAll, min: 1, max: 3, repeats: true, apply: access},
		"types":        {in: inAll, block: true, apply: types},
		"default_type": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) error { s.defaultType = d.Args[0]; return nil }},
		"charset": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) error {
			s.charset = strings.TrimPrefix(d.Args[0], "off")
			return nil
		}},
		"server_tokens": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) error {
			if s.tokens = d.Args[0] == "on"; !s.tokens && d.Args[0] != "off" {
				return d.Errorf("invalid value %q", d.Args[0])
			}
			return nil
		}},
		"autoindex": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) (err error) { s.autoindex, err = onOff(d); return err }},
		"absolute_redirect": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) error {
			on, err := onOff(d)
			s.noHostName = !on
			return err
		}},
		"keepalive_timeout":    {in: inAll, min: 1, max: 2, apply: func(_ *builder, s *scope, d *conf.Directive) (err error) { s.keepalive, err = duration(d); return err }},
		"client_max_body_size": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) (err error) { s.maxBody, err = size(d); return err }},
		"root":                 {in: inAll, min: 1, max: 1, apply: root},
		"index":                {in: inAll, min: 1, max: -1, repeats: true, apply: index},
		"error_page":           {in: inAll, min: 2, max: -1, repeats: true, apply: (*builder).addErrorPage},
		"add_header":           {in: inAll, min: 2, max: 3, repeats: true, apply: addHeader},
		"server":               {in: inHTTP | inUpstream, either: true, repeats: true, max: -1, apply: serverOrPeer},
		"listen":               {in: inServer, min: 1, max: -1, repeats: true, apply: (*builder).addListen},
		"server_name":          {in: inServer, min: 1, max: -1, repeats: true, apply: serverName},
		"location":             {in: inServer | inLocation, min: 1, max: 2, block: true, repeats: true, apply: (*builder).addLocation},
		"alias":                {in: inLocation, min: 1, max: 1, apply: alias},
		"return":               {in: inServer | inLocation, min: 1, max: 2, repeats: true, apply: addReturn},
		"try_files":            {in: inServer | inLocation, min: 2, max: -1, apply: tryFiles},
		"proxy_pass":           {in: inLocation, min: 1, max: 1, apply: (*builder).addProxy},
		"proxy_set_header":     {in: inAll, min: 2, max: 2, repeats: true, apply: proxySetHeader},
		"proxy_http_version":   {in: inAll, min: 1, max: 1, apply: proxyVersion},
		"proxy_read_timeout": {in: inAll, min: 1, max: 1, apply: func(_ *builder, s *scope, d *conf.Directive) (err error) {
			s.proxyTimeout, err = duration(d)
			return err
		}},
	}
	for _, tuning := range []string{"sendfile", "tcp_nopush", "tcp_nodelay", "keepalive_requests", "types_hash_max_size", "types_hash_bucket_size",
		"server_names_hash_bucket_size", "client_body_temp_path", "proxy_temp_path", "fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path", "server_names_hash_max_size", "client_body_buffer_size", "client_header_buffer_size", "large_client_header_buffers", "client_header_timeout",
		"client_body_timeout", "send_timeout", "open_file_cache", "reset_timedout_connection", "proxy_buffering", "proxy_buffers", "proxy_buffer_size",
		"proxy_busy_buffers_size", "proxy_connect_timeout", "proxy_send_timeout", "log_not_found", "server_name_in_redirect", "port_in_redirect"} {
		directives[tuning] = directive{in: inAll, min: 1, max: -1}
	}
	for _, missed := range []string{"gzip", "gzip_types", "gzip_vary", "gzip_min_length", "gzip_comp_level", "gzip_proxied", "gzip_disable", "gzip_static", "expires", "etag", "proxy_redirect"} {
		directives[missed] = directive{in: inAll, min: 1, max: -1, warn: true}
	}
}

func onOff(d *conf.Directive) (bool, error) {
	switch strings.ToLower(d.Args[0]) {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, d.Errorf(`invalid value %q in %q directive, it must be "on" or "off"`, d.Args[0], d.Name)
}

// duration reads nginx's times: "65", "30s", "500ms", "1m", "1h30m".
func duration(d *conf.Directive) (time.Duration, error) {
	text := d.Args[0]
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < 1<<30 {
		return time.Duration(n) * time.Second, nil
	}
	days := time.Duration(0)
	if n, rest, ok := strings.Cut(text, "d"); ok {
		if v, err := strconv.ParseUint(n, 10, 12); err == nil {
			days, text = time.Duration(v)*24*time.Hour, rest+"0s"
		}
	}
	v, err := time.ParseDuration(text)
	if err != nil || v < 0 || strings.ContainsAny(text, ".µn") {
		return 0, d.Errorf("%q directive invalid value", d.Name)
	}
	return v + days, nil
}

// size reads "1m", "8k", "1g" or bytes.
func size(d *conf.Directive) (int64, error) {
	text, shift := strings.ToLower(d.Args[0]), 0
	if text != "" {
		shift = map[byte]int{'k': 10, 'm': 20, 'g': 30}[text[len(text)-1]]
	}
	if shift > 0 {
		text = text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, d.Errorf("%q directive invalid value", d.Name)
	}
	return n << shift, nil
}

func templates(d *conf.Directive, words []string) ([]*template, error) {
	var l []*template
	for _, w := range words {
		t, err := parseTemplate(w)
		if err != nil {
			return nil, d.Errorf("%v", err)
		}
		l = append(l, t)
	}
	return l, nil
}

func errorLog(b *builder, s *scope, d *conf.Directive) error {
	t := Target{full(d.Args[0]), Error}
	if d.Args[0] == "stderr" {
		t.File = "/dev/stderr"
	}
	if len(d.Args) == 2 {
		if t.Level = slices.Index(levels, d.Args[1]); t.Level < 0 {
			return d.Errorf("invalid log level %q", d.Args[1])
		}
	}
	s.errorLog = t
	if b.server == nil {
		b.config.ErrorLog = t
	}
	return nil
}

func logFormat(b *builder, _ *scope, d *conf.Directive) error {
	words := d.Args[1:]
	if strings.HasPrefix(words[0], "escape=") {
		words = words[1:]
	}
	t, err := parseTemplate(strings.Join(words, ""))
	if err != nil {
		return d.Errorf("%v", err)
	}
	if b.formats[d.Args[0]] != nil {
		return d.Errorf("duplicate \"log_format\" name %q", d.Args[0])
	}
	b.formats[d.Args[0]] = t
	return nil
}

func access(b *builder, s *scope, d *conf.Directive) error {
	if !s.own[d.Name] {
		s.access = nil
	}
	if d.Args[0] == "off" {
		return nil
	}
	name := "combined"
	if len(d.Args) > 1 {
		name = d.Args[1]
	}
	f := b.formats[name]
	if f == nil {
		return d.Errorf("unknown log format %q", name)
	}
	s.access = append(s.access, accessLog{full(d.Args[0]), f})
	return nil
}

func types(_ *builder, s *scope, d *conf.Directive) error {
	s.types = map[string]string{}
	for _, t := range d.Block {
		for _, ext := range t.Args {
			s.types[strings.ToLower(ext)] = t.Name
		}
	}
	return nil
}

func root(_ *builder, s *scope, d *conf.Directive) error {
	if s.own["alias"] {
		return d.Errorf(`"root" directive is duplicate, "alias" directive was specified earlier`)
	}
	l, err := templates(d, []string{full(d.Args[0])})
	if err == nil {
		s.root, s.alias = l[0], nil
	}
	return err
}

func alias(_ *builder, s *scope, d *conf.Directive) error {
	if s.own["root"] {
		return d.Errorf(`"alias" directive is duplicate, "root" directive was specified earlier`)
	}
	name := full(d.Args[0])
	l, err := templates(d, []string{name})
	if err == nil {
		s.alias = l[0]
	}
	return err
}

func index(_ *builder, s *scope, d *conf.Directive) error {
	if !s.own[d.Name] {
		s.index = nil
	}
	l, err := templates(d, d.Args)
	s.index = append(s.index, l...)
	return err
}

func (b *builder) addErrorPage(s *scope, d *conf.Directive) error {
	words := d.Args
	last := len(words) - 1
	p := errorPage{}
	t, err := parseTemplate(words[last])
	if err != nil {
		return d.Errorf("%v", err)
	}
	p.uri = t
	if code, ok := strings.CutPrefix(words[last-1], "="); ok {
		p.code = -1
		if code != "" {
			if p.code, err = strconv.Atoi(code); err != nil || p.code < 100 || p.code > 999 {
				return d.Errorf("invalid value %q", words[last-1])
			}
		}
		last--
	}
	pages := map[int]errorPage{}
	if s.own[d.Name] {
		pages = s.errorPages
	}
	for _, w := range words[:last] {
		code, err := strconv.Atoi(w)
		if err != nil {
			return d.Errorf("invalid value %q", w)
		}
		if code < 300 || code > 599 {
			return d.Errorf(`value %q must be between 300 and 599`, w)
		}
		if _, ok := pages[code]; !ok {
			pages[code] = p
		}
	}
	s.errorPages = pages
	return nil
}

func addHeader(_ *builder, s *scope, d *conf.Directive) error {
	if !s.own[d.Name] {
		s.headers = nil
	}
	t, err := parseTemplate(d.Args[1])
	if err != nil {
		return d.Errorf("%v", err)
	}
	if len(d.Args) == 3 && d.Args[2] != "always" {
		return d.Errorf("invalid parameter %q", d.Args[2])
	}
	s.headers = append(slices.Clip(s.headers), addedHeader{d.Args[0], t, len(d.Args) == 3})
	return nil
}

func serverOrPeer(b *builder, s *scope, d *conf.Directive) error {
	if b.group != nil {
		if d.IsBlock || len(d.Args) == 0 {
			return d.Errorf(`invalid number of arguments in "server" directive`)
		}
		return b.addPeer(d)
	}
	if !d.IsBlock {
		return d.Errorf(`directive "server" has no opening "{"`)
	}
	if len(d.Args) > 0 {
		return d.Errorf(`invalid number of arguments in "server" directive`)
	}
	return b.addServer(s, d)
}

func serverName(b *builder, _ *scope, d *conf.Directive) error {
	for _, n := range d.Args {
		if strings.HasPrefix(n, "~") {
			return d.Errorf("regular expressions in \"server_name\" are not part of this substitute")
		}
		b.server.names = append(b.server.names, strings.ToLower(strings.Trim(n, `"`)))
	}
	return nil
}

func addReturn(_ *builder, s *scope, d *conf.Directive) error {
	if s.returns != nil {
		return nil // the first one wins
	}
	r := &returns{code: http.StatusFound}
	words := d.Args
	code, err := strconv.Atoi(words[0])
	switch {
	case err == nil && code >= 0 && code <= 999:
		r.code, words = code, words[1:]
	case err == nil || len(words) == 2 || !strings.HasPrefix(words[0], "http://") && !strings.HasPrefix(words[0], "https://") && !strings.HasPrefix(words[0], "$scheme"):
		return d.Errorf("invalid return code %q", words[0])
	}
	if len(words) > 0 {
		l, err := templates(d, words)
		if err != nil {
			return err
		}
		r.text = l[0]
	}
	s.returns = r
	return nil
}

func tryFiles(_ *builder, s *scope, d *conf.Directive) error {
	last := d.Args[len(d.Args)-1]
	if code, ok := strings.CutPrefix(last, "="); ok {
		if n, err := strconv.Atoi(code); err != nil || n < 0 || n > 999 {
			return d.Errorf("invalid code %q", code)
		}
	}
	l, err := templates(d, d.Args)
	s.tryFiles = l
	return err
}

func proxySetHeader(_ *builder, s *scope, d *conf.Directive) error {
	if !s.own[d.Name] {
		s.proxyHeaders = nil
	}
	t, err := parseTemplate(d.Args[1])
	if err != nil {
		return d.Errorf("%v", err)
	}
	s.proxyHeaders = append(slices.Clip(s.proxyHeaders), proxyHeader{http.CanonicalHeaderKey(d.Args[0]), t})
	return nil
}

func proxyVersion(_ *builder, s *scope, d *conf.Directive) error {
	if v := d.Args[0]; v != "1.0" && v != "1.1" {
		return d.Errorf("invalid value %q", v)
	}
	s.proxyVersion = d.Args[0]
	return nil
}
