package web

import (
	"strings"
)

// serverFor chooses the server for an address and a host (nginx.org, "Server names"): the exact name, the longest wildcard at the
// beginning, the longest at the end, the default server.
func (c *Config) serverFor(at Address, host string) *server {
	var first, byDefault, best *server
	rank, length := 0, 0
	for _, s := range c.servers {
		listens := false
		for _, l := range s.listen {
			if l.Address == at {
				listens = true
				if l.isDefault {
					byDefault = s
				}
			}
		}
		if !listens {
			continue
		}
		if first == nil {
			first = s
		}
		for _, n := range s.names {
			if r := matchName(n, host); r > rank || r == rank && r > 0 && len(n) > length {
				best, rank, length = s, r, len(n)
			}
		}
	}
	switch {
	case best != nil:
		return best
	case byDefault != nil:
		return byDefault
	}
	return first
}

// matchName ranks how a name fits a host: 3 exactly, 2 by a wildcard at its beginning, 1 by one at its end, 0 not at all.
func matchName(name, host string) int {
	switch {
	case name == host:
		return 3
	case strings.HasPrefix(name, "*.") && len(host) >= len(name) && strings.HasSuffix(host, name[1:]):
		return 2
	case strings.HasPrefix(name, ".") && (strings.HasSuffix(host, name) || host == name[1:]):
		return 2
	case strings.HasSuffix(name, ".*") && strings.HasPrefix(host, name[:len(name)-1]):
		return 1
	}
	return 0
}

// locate chooses the location for a path as nginx.org, "location", says: an exact one; else the longest prefix is remembered, and unless
// it is marked ^~ the first regular expression that matches wins.
func locate(ls []*location, path string) (found *location, captures []string) {
	var longest *location
	for _, l := range ls {
		switch l.modifier {
		case "=":
			if l.path == path {
				return l, nil
			}
		case "", "^~":
			if strings.HasPrefix(path, l.path) && (longest == nil || len(l.path) > len(longest.path)) {
				longest = l
			}
		}
	}
	var inner *location
	if longest != nil && len(longest.nested) > 0 {
		if inner, captures = locate(longest.nested, path); inner != nil && inner.re != nil {
			return inner, captures
		}
	}
	if longest == nil || longest.modifier != "^~" {
		for _, l := range ls {
			if l.re == nil {
				continue
			}
			if m := l.re.FindStringSubmatch(path); m != nil {
				if nested, c := locate(l.nested, path); nested != nil {
					return nested, c
				}
				return l, m
			}
		}
	}
	if inner != nil {
		return inner, captures
	}
	return longest, nil
}
