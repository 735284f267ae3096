// Package network has the utilities about names and sockets: nslookup and nc.
package network

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// resolver is what /etc/resolv.conf says.
type resolver struct {
	server  string // host:port
	shown   string // as it was named
	search  []string
	timeout time.Duration
	tries   int
}

func readResolver() resolver {
	r := resolver{server: "127.0.0.1:53", shown: "127.0.0.1", timeout: 5 * time.Second, tries: 3}
	data, _ := os.ReadFile("/etc/resolv.conf")
	named := false
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if !named {
				r.server, r.shown, named = net.JoinHostPort(f[1], "53"), f[1], true
			}
		case "search", "domain":
			r.search = f[1:]
		}
	}
	return r
}

var types = map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "MX": dnsmessage.TypeMX, "NS": dnsmessage.TypeNS, "PTR": dnsmessage.TypePTR,
	"SOA": dnsmessage.TypeSOA, "SRV": dnsmessage.TypeSRV, "TXT": dnsmessage.TypeTXT, "ANY": dnsmessage.TypeALL}

// Nslookup is BusyBox's nslookup: [-type=TYPE] NAME [SERVER]. It asks for A and AAAA unless told otherwise, along the search list.
func Nslookup(c *applet.Cmd) int {
	r := readResolver()
	var names []string
	kinds := []dnsmessage.Type{}
	for _, a := range c.Args {
		if !strings.HasPrefix(a, "-") {
			names = append(names, a)
			continue
		}
		option, value, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		switch option {
		case "type", "t", "querytype", "q", "query":
			k, ok := types[strings.ToUpper(value)]
			if !ok {
				c.Fail("invalid query type \"%s\"", value)
				return 1
			}
			kinds = append(kinds, k)
		case "timeout":
			if d, err := time.ParseDuration(value + "s"); err == nil && d > 0 {
				r.timeout = d
			}
		case "retry":
			fmt.Sscanf(value, "%d", &r.tries)
		case "port":
			host, _, _ := net.SplitHostPort(r.server)
			r.server = net.JoinHostPort(host, value)
		case "debug":
		default:
			c.Fail("invalid option -- '%s'", option)
			return 1
		}
	}
	if len(names) == 0 || len(names) > 2 {
		fmt.Fprintf(c.Stderr, "Usage: %s [-type=QUERY_TYPE] [-debug] HOST [DNS_SERVER]\n", c.Name)
		return 1
	}
	if len(names) == 2 {
		if err := r.use(names[1]); err != nil {
			c.Fail("bad address '%s'", names[1])
			return 1
		}
	}
	return lookup(c, r, names[0], kinds)
}

// use takes the server given on the command line, a name or an address, with a port or without.
func (r *resolver) use(server string) error {
	_, port, _ := net.SplitHostPort(r.server)
	host := server
	if h, p, err := net.SplitHostPort(server); err == nil {
		host, port = h, p
	}
	ips, err := net.LookupHost(strings.Trim(host, "[]"))
	if err != nil {
		return err
	}
	r.server, r.shown = net.JoinHostPort(ips[0], port), server
	return nil
}

func lookup(c *applet.Cmd, r resolver, name string, kinds []dnsmessage.Type) int {
	if ip, err := netip.ParseAddr(name); err == nil {
		name, kinds = reverse(ip), []dnsmessage.Type{dnsmessage.TypePTR}
	}
	if len(kinds) == 0 {
		kinds = []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	}
	fmt.Fprintf(c.Out, "Server:\t\t%s\nAddress:\t%s\n\n", r.shown, r.server)
	for _, k := range kinds {
		for _, full := range r.candidates(name, k) {
			m, err := r.ask(full, k)
			switch {
			case err != nil:
				fmt.Fprint(c.Out, ";; connection timed out; no servers could be reached\n\n")
				return 1
			case m.RCode != dnsmessage.RCodeSuccess:
				fmt.Fprintf(c.Out, "** server can't find %s: %s\n\n", full, codeName(m.RCode))
				c.Set(1)
			default:
				printAnswer(c, m)
			}
		}
	}
	return c.Status()
}

// candidates are the names to ask for. As in BusyBox, a name with a dot is taken as it is, whatever resolv.conf's ndots says, and one
// without is looked up in every domain of the search list.
func (r resolver) candidates(name string, kind dnsmessage.Type) (list []string) {
	if kind == dnsmessage.TypePTR || len(r.search) == 0 || strings.Contains(name, ".") {
		return []string{name}
	}
	for _, s := range r.search {
		list = append(list, name+"."+strings.TrimSuffix(s, "."))
	}
	return list
}

// reverse is the name under which an address's own name is kept (RFC 1035 section 3.5, RFC 3596).
func reverse(ip netip.Addr) string {
	if ip.Is4() || ip.Is4In6() {
		b := ip.Unmap().As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa", b[3], b[2], b[1], b[0])
	}
	var s strings.Builder
	b := ip.As16()
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&s, "%x.%x.", b[i]&15, b[i]>>4)
	}
	return s.String() + "ip6.arpa"
}

var errAnswer = errors.New("no usable answer")

// ask sends one question over UDP, and over TCP when the answer was cut.
func (r resolver) ask(name string, kind dnsmessage.Type) (*dnsmessage.Message, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return &dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}}, nil
	}
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(time.Now().UnixNano()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}}}
	packet, err := q.Pack()
	if err != nil {
		return nil, err
	}
	for range max(r.tries, 1) {
		m, err := exchange("udp", r.server, packet, r.timeout)
		if err == nil && m.Truncated {
			m, err = exchange("tcp", r.server, packet, r.timeout)
		}
		if err == nil && m.ID == q.ID {
			return m, nil
		}
	}
	return nil, errAnswer
}

func exchange(network, server string, packet []byte, timeout time.Duration) (*dnsmessage.Message, error) {
	conn, err := net.DialTimeout(network, server, timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(timeout))
	buf := make([]byte, 64<<10)
	if network == "tcp" {
		packet = append([]byte{byte(len(packet) >> 8), byte(len(packet))}, packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	n := 0
	if network == "tcp" {
		br := bufio.NewReader(conn)
		var size [2]byte
		if _, err := io.ReadFull(br, size[:]); err != nil {
			return nil, err
		}
		n = int(size[0])<<8 | int(size[1])
		if _, err := io.ReadFull(br, buf[:n]); err != nil {
			return nil, err
		}
	} else if n, err = conn.Read(buf); err != nil {
		return nil, err
	}
	m := new(dnsmessage.Message)
	return m, m.Unpack(buf[:n])
}

func codeName(code dnsmessage.RCode) string {
	switch code {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return code.String()
}

func printAnswer(c *applet.Cmd, m *dnsmessage.Message) {
	if !m.Authoritative && len(m.Answers) > 0 {
		fmt.Fprintln(c.Out, "Non-authoritative answer:")
	}
	for _, a := range m.Answers {
		owner := strings.TrimSuffix(a.Header.Name.String(), ".")
		dot := func(n dnsmessage.Name) string { return strings.TrimSuffix(n.String(), ".") }
		switch b := a.Body.(type) {
		case *dnsmessage.AResource:
			fmt.Fprintf(c.Out, "Name:\t%s\nAddress: %s\n", owner, netip.AddrFrom4(b.A))
		case *dnsmessage.AAAAResource:
			fmt.Fprintf(c.Out, "Name:\t%s\nAddress: %s\n", owner, netip.AddrFrom16(b.AAAA))
		case *dnsmessage.CNAMEResource:
			fmt.Fprintf(c.Out, "%s\tcanonical name = %s\n", owner, dot(b.CNAME))
		case *dnsmessage.PTRResource:
			fmt.Fprintf(c.Out, "%s\tname = %s\n", owner, dot(b.PTR))
		case *dnsmessage.NSResource:
			fmt.Fprintf(c.Out, "%s\tnameserver = %s\n", owner, dot(b.NS))
		case *dnsmessage.MXResource:
			fmt.Fprintf(c.Out, "%s\tmail exchanger = %d %s\n", owner, b.Pref, dot(b.MX))
		case *dnsmessage.TXTResource:
			fmt.Fprintf(c.Out, "%s\ttext = \"%s\"\n", owner, strings.Join(b.TXT, `" "`))
		case *dnsmessage.SRVResource:
			fmt.Fprintf(c.Out, "%s\tservice = %d %d %d %s\n", owner, b.Priority, b.Weight, b.Port, dot(b.Target))
		case *dnsmessage.SOAResource:
			fmt.Fprintf(c.Out, "%s\n\torigin = %s\n\tmail addr = %s\n\tserial = %d\n\trefresh = %d\n\tretry = %d\n\texpire = %d\n\tminimum = %d\n", owner, dot(b.NS), dot(b.MBox), b.Serial, b.Refresh, b.Retry, b.Expire, b.MinTTL)
		}
	}
	fmt.Fprintln(c.Out)
}
