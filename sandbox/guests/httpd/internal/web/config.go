// Package web is a web server that behaves as nginx does where it offers the same: configuration, choice of server and location,
// static files, redirects, proxying, error pages, logs, texts. It speaks HTTP/1.1 without TLS.
//
// A Config is immutable once loaded. A Server serves connections under whatever Config is current when a request begins.
package web

import (
	"regexp"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/httpd/internal/conf"
)

// Config is a loaded configuration.
type Config struct {
	Daemon   bool
	PID      string // file
	ErrorLog Target
	Listen   []Address // distinct, in order of appearance
	Warnings []string
	Files    []string // every log file that is written
	Sources  []string // every file that was read

	servers   []*server
	upstreams map[string]*upstream
}

// Address is where to listen.
type Address struct {
	Network string // tcp4 or tcp6
	Host    string // as in "host:port" of package net
}

// twin is the wildcard of the other family at the same port, if a is a wildcard.
func (a Address) twin() Address {
	if port, ok := strings.CutPrefix(a.Host, "0.0.0.0:"); ok {
		return Address{"tcp6", "[::]:" + port}
	}
	if port, ok := strings.CutPrefix(a.Host, "[::]:"); ok {
		return Address{"tcp4", "0.0.0.0:" + port}
	}
	return Address{}
}

// Target is where an error log goes: a file and the least level, as an index of levels.
type Target struct {
	File  string
	Level int
}

var levels = []string{"emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"}

// Levels of the error log.
const (
	Emerg  = 0
	Error  = 3
	Warn   = 4
	Notice = 5
	Info   = 6
)

type server struct {
	scope
	names     []string
	listen    []listen
	locations []*location
	named     map[string]*location
	at        *conf.Directive
}

type listen struct {
	Address
	isDefault bool
}

type location struct {
	scope
	modifier string // "", "=", "^~", "~", "~*", "@"
	path     string
	re       *regexp.Regexp
	nested   []*location
}

// scope is what a location inherits from its server and that from http.
type scope struct {
	root, alias  *template
	index        []*template
	autoindex    bool
	defaultType  string
	types        map[string]string // by extension
	charset      string
	tokens       bool // server_tokens
	keepalive    time.Duration
	maxBody      int64 // 0 is no limit
	errorLog     Target
	access       []accessLog
	errorPages   map[int]errorPage
	headers      []addedHeader
	proxyHeaders []proxyHeader
	proxyVersion string
	proxyTimeout time.Duration
	noHostName   bool // absolute_redirect off

	// These are the location's (or server's) own, never inherited.
	returns  *returns
	tryFiles []*template
	proxy    *proxyPass

	own map[string]bool // directives given in this very block
}

// child is what a block inside s begins with.
func (s *scope) child() scope {
	c := *s
	c.returns, c.tryFiles, c.proxy, c.own = nil, nil, nil, map[string]bool{}
	return c
}

type accessLog struct {
	file   string
	format *template
}

type errorPage struct {
	uri  *template
	code int // 0 keeps the code, −1 takes that of the answer
}

type addedHeader struct {
	name   string
	value  *template
	always bool
}

type proxyHeader struct {
	name  string
	value *template
}

type returns struct {
	code int
	text *template // body, or the address of a redirect; may be nil
}

type proxyPass struct {
	upstream *upstream
	host     string // $proxy_host: as written
	uri      string // "" passes the request's own on
	hasURI   bool
}

type upstream struct {
	name  string
	peers []string // host:port with an address
	next  chan int // the turn, held while it is taken
}
