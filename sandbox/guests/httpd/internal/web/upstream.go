package web

import (
	"net"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/httpd/internal/conf"
)

func (b *builder) addUpstream(s *scope, d *conf.Directive) error {
	name := d.Args[0]
	if b.config.upstreams[name] != nil {
		return d.Errorf("duplicate upstream %q", name)
	}
	b.group = &upstream{name: name, next: make(chan int, 1)}
	defer func() { b.group = nil }()
	c := s.child()
	if err := b.block(inUpstream, &c, d.Block); err != nil {
		return err
	}
	if len(b.group.peers) == 0 {
		return d.Errorf("no servers are inside upstream")
	}
	b.group.next <- 0
	b.config.upstreams[name] = b.group
	return nil
}

// addPeer adds a server of an upstream. A weight repeats it.
func (b *builder) addPeer(d *conf.Directive) error {
	weight := 1
	for _, p := range d.Args[1:] {
		name, value, _ := strings.Cut(p, "=")
		n, err := strconv.Atoi(value)
		switch {
		case name == "weight" && err == nil && n > 0 && n <= 100:
			weight = n
		case (name == "max_fails" || name == "max_conns") && err == nil, name == "fail_timeout":
		default:
			return d.Errorf("invalid parameter %q", p)
		}
	}
	addrs, err := b.resolve(d, d.Args[0])
	if err != nil {
		return err
	}
	for range weight {
		b.group.peers = append(b.group.peers, addrs...)
	}
	return nil
}

// resolve finds the addresses of host or host:port.
func (b *builder) resolve(d *conf.Directive, s string) ([]string, error) {
	host, port := s, "80"
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return nil, d.Errorf("invalid port in upstream %q", s)
	}
	host = strings.Trim(host, "[]")
	ips := []string{host}
	if net.ParseIP(host) == nil {
		var err error
		if ips, err = b.lookup(host); err != nil || len(ips) == 0 {
			return nil, d.Errorf("host not found in upstream %q", s)
		}
	}
	var l []string
	for _, ip := range ips {
		l = append(l, net.JoinHostPort(ip, port))
	}
	return l, nil
}

func (b *builder) addProxy(s *scope, d *conf.Directive) error {
	rest, ok := strings.CutPrefix(d.Args[0], "http://")
	switch {
	case strings.Contains(d.Args[0], "$"):
		return d.Errorf("variables in \"proxy_pass\" are not part of this substitute")
	case strings.HasPrefix(d.Args[0], "https://"):
		return d.Errorf("https protocol requires SSL support")
	case !ok:
		return d.Errorf("invalid URL prefix")
	}
	p := &proxyPass{}
	p.host, p.uri = rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		p.host, p.uri, p.hasURI = rest[:i], rest[i:], true
	}
	if p.hasURI && (b.location.re != nil || b.location.modifier == "@") {
		return d.Errorf(`"proxy_pass" cannot have URI part in location given by regular expression, or inside named location, or inside "if" statement, or inside "limit_except" block`)
	}
	s.proxy = p
	b.pending = append(b.pending, func() error {
		if p.upstream = b.config.upstreams[p.host]; p.upstream != nil {
			return nil
		}
		addrs, err := b.resolve(d, p.host)
		p.upstream = &upstream{name: p.host, peers: addrs, next: make(chan int, 1)}
		p.upstream.next <- 0
		return err
	})
	return nil
}

// turn is the peers in the order to try them for one request.
func (u *upstream) turn() []string {
	i := <-u.next
	u.next <- (i + 1) % len(u.peers)
	var l []string
	for k := range u.peers {
		p := u.peers[(i+k)%len(u.peers)]
		if len(l) == 0 || l[len(l)-1] != p {
			l = append(l, p)
		}
	}
	return l
}
