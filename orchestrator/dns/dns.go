// Package dns answers the queries of a cluster's pods, by the Kubernetes DNS specification (kubernetes/dns, "DNS-Based Service
// Discovery", schema 1.1.0) and as CoreDNS' kubernetes plugin does where that is open.
//
// Resolve is a function from a query's bytes to an answer's; it opens no socket. Names outside the cluster's domain are those the lab
// registered; nothing is forwarded, as nothing leaves a lab.
//
// Lock: Server.mu guards the registered names. The cluster is read through store.Reader.
package dns

import (
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/drydock-labs/drydock/orchestrator/store"
)

const (
	ttl = 30 // seconds, as kubeadm's CoreDNS
	// maxUDP is what a client without EDNS takes over UDP (RFC 1035, section 2.3.4), maxEDNS what is answered at most to one that has it.
	maxUDP  = 512
	maxEDNS = 4096
)

var rootName = dnsmessage.MustNewName(".")

// Server answers for one cluster.
type Server struct {
	reader store.Reader
	domain string // "cluster.local."

	mu    sync.RWMutex
	names map[string][]netip.Addr // by lower-case name with its dot; protected by mu
}

// New makes a server for the domain ("cluster.local").
func New(r store.Reader, domain string) *Server {
	return &Server{reader: r, domain: strings.ToLower(strings.TrimSuffix(domain, ".")) + ".", names: map[string][]netip.Addr{}}
}

// Register has a name outside the cluster's domain answered with addrs; without addrs it is forgotten.
func (s *Server) Register(name string, addrs ...netip.Addr) {
	name = strings.ToLower(strings.TrimSuffix(name, ".")) + "."
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(addrs) == 0 {
		delete(s.names, name)
		return
	}
	s.names[name] = addrs
}

// answer is what there is to say about a question.
type answer struct {
	records []dnsmessage.Resource
	extra   []dnsmessage.Resource
	exists  bool // the name exists, if not with this type
	inZone  bool // the cluster's domain: an authoritative answer
}

// Resolve answers a query. tcp lifts the limit on the answer's size. Bytes that are not a query get nil.
func (s *Server) Resolve(query []byte, tcp bool) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil || head.Response {
		return nil
	}
	reply := dnsmessage.Header{ID: head.ID, Response: true, OpCode: head.OpCode, RecursionDesired: head.RecursionDesired}
	q, err := p.Question()
	if err != nil {
		reply.RCode = dnsmessage.RCodeFormatError
		return pack(reply, nil, answer{}, nil, tcp, 0)
	}
	if head.OpCode != 0 || q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY {
		reply.RCode = dnsmessage.RCodeNotImplemented
		return pack(reply, &q, answer{}, nil, tcp, 0)
	}
	a := s.lookUp(strings.ToLower(q.Name.String()), q)
	// CoreDNS' own zones are answered with authority and without an offer to recurse; what it forwards, the other way round.
	reply.Authoritative, reply.RecursionAvailable = a.inZone, !a.inZone
	if !a.exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	var authority []dnsmessage.Resource
	if len(a.records) == 0 && a.inZone {
		authority = s.soa()
	}
	return pack(reply, &q, a, authority, tcp, ednsSize(&p))
}

// ednsSize is how large an answer the client takes over UDP by RFC 6891, 0 when it does not speak of it.
func ednsSize(p *dnsmessage.Parser) int {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return 0
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return 0
		}
		if h.Type == dnsmessage.TypeOPT {
			return min(max(int(h.Class), maxUDP), maxEDNS)
		}
		if p.SkipAdditional() != nil {
			return 0
		}
	}
}

// pack writes the message; what does not fit a datagram is left out and said so, for the client to come again over TCP. edns is the
// client's limit, 0 when it gave none: then the answer has no OPT record either.
func pack(h dnsmessage.Header, q *dnsmessage.Question, a answer, authority []dnsmessage.Resource, tcp bool, edns int) []byte {
	m := dnsmessage.Message{Header: h, Answers: a.records, Authorities: authority}
	var opt []dnsmessage.Resource
	if edns > 0 {
		opt = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: rootName, Type: dnsmessage.TypeOPT, Class: dnsmessage.Class(edns)}, Body: &dnsmessage.OPTResource{}}}
	}
	m.Additionals = append(append(m.Additionals, a.extra...), opt...)
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	limit := max(edns, maxUDP)
	if tcp {
		limit = 65535
	}
	for {
		b, err := m.Pack()
		if err != nil {
			return nil
		}
		if len(b) <= limit {
			return b
		}
		switch {
		case len(m.Additionals) > len(opt):
			m.Additionals = opt
		case len(m.Answers) > 0:
			m.Truncated = true
			m.Answers = m.Answers[:len(m.Answers)*limit/(len(b)+1)]
		default:
			return nil
		}
	}
}

func (s *Server) header(name string, t dnsmessage.Type) (dnsmessage.ResourceHeader, bool) {
	n, err := dnsmessage.NewName(name)
	return dnsmessage.ResourceHeader{Name: n, Type: t, Class: dnsmessage.ClassINET, TTL: ttl}, err == nil
}

func (s *Server) soa() []dnsmessage.Resource {
	h, ok := s.header(s.domain, dnsmessage.TypeSOA)
	ns, err := dnsmessage.NewName("ns.dns." + s.domain)
	mbox, err2 := dnsmessage.NewName("hostmaster." + s.domain)
	if !ok || err != nil || err2 != nil {
		return nil
	}
	return []dnsmessage.Resource{{Header: h, Body: &dnsmessage.SOAResource{NS: ns, MBox: mbox, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, MinTTL: ttl}}}
}

// addresses makes the records of a name that has addresses, and says that it exists.
func (s *Server) addresses(name string, q dnsmessage.Question, addrs []netip.Addr) answer {
	a := answer{exists: true, inZone: true}
	for _, ip := range addrs {
		if r, ok := s.addressRecord(name, ip); ok && (q.Type == r.Header.Type || q.Type == dnsmessage.TypeALL) {
			a.records = append(a.records, r)
		}
	}
	return a
}

func (s *Server) addressRecord(name string, ip netip.Addr) (r dnsmessage.Resource, ok bool) {
	if ip.Is4() {
		r.Header, ok = s.header(name, dnsmessage.TypeA)
		r.Body = &dnsmessage.AResource{A: ip.As4()}
		return r, ok
	}
	r.Header, ok = s.header(name, dnsmessage.TypeAAAA)
	r.Body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
	return r, ok
}

// lookUp finds what there is under a lower-case name.
func (s *Server) lookUp(name string, q dnsmessage.Question) answer {
	if strings.HasSuffix(name, ".in-addr.arpa.") {
		return s.reverse(name, q)
	}
	if name != s.domain && !strings.HasSuffix(name, "."+s.domain) {
		s.mu.RLock()
		addrs, ok := s.names[name]
		s.mu.RUnlock()
		if !ok {
			return answer{}
		}
		a := s.addresses(name, q, addrs)
		a.inZone = false
		return a
	}
	rest := strings.TrimSuffix(strings.TrimSuffix(name, s.domain), ".")
	labels := strings.Split(rest, ".")
	if rest == "" {
		a := answer{exists: true, inZone: true}
		if q.Type == dnsmessage.TypeSOA {
			a.records = s.soa()
		}
		return a
	}
	switch last := labels[len(labels)-1]; {
	case rest == "dns-version":
		return s.version(name, q)
	case last == "svc":
		return s.service(name, q, labels[:len(labels)-1])
	case last == "pod":
		return s.pod(name, q, labels[:len(labels)-1])
	}
	return answer{inZone: true}
}

func (s *Server) version(name string, q dnsmessage.Question) answer {
	a := answer{exists: true, inZone: true}
	if h, ok := s.header(name, dnsmessage.TypeTXT); ok && (q.Type == dnsmessage.TypeTXT || q.Type == dnsmessage.TypeALL) {
		a.records = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{"1.1.0"}}}}
	}
	return a
}
