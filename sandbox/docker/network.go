package docker

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// defaultBridge and defaultSubnet are the network that containers are on when none is asked for.
const defaultBridge = "docker0"

var defaultSubnet = netip.MustParsePrefix("172.17.0.0/16")

// pools are where the subnets of user networks come from, in order (the daemon's default address pools, less what the lab's machines have).
func pools(yield func(netip.Prefix) bool) {
	for i := byte(19); i < 32; i++ {
		if !yield(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i, 0, 0}), 16)) {
			return
		}
	}
	for i := 0; i < 256; i += 16 {
		if !yield(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 20)) {
			return
		}
	}
}

// bridge is a network. The drivers host and null have no subnet.
type bridge struct {
	name, id, driver string
	link             string // of the machine: docker0, br-…
	subnet           netip.Prefix
	gateway          netip.Addr
	internal         bool
	labels           map[string]string
	options          map[string]string
	created          time.Time
	taken            map[netip.Addr]*container // guarded by Engine.mu
}

// endpoint is a container's place on a network.
type endpoint struct {
	bridge  *bridge
	id      string
	wanted  netip.Addr // --ip
	aliases []string
	addr    netip.Addr // guarded by Engine.mu; invalid while it does not run
}

func (e *Engine) defaultNetworks() error {
	for _, n := range []*bridge{{name: "bridge", driver: "bridge", link: defaultBridge, subnet: defaultSubnet, gateway: defaultSubnet.Addr().Next()}, {name: "host", driver: "host"}, {name: "none", driver: "null"}} {
		n.id, n.created, n.taken = e.newID(), e.now(), map[netip.Addr]*container{}
		e.networks[n.name] = n
		if e.cfg.Keeper.Documents(keptNetworks)[keptNetworks+n.name] == nil {
			e.keepNetwork(n)
		}
	}
	s := e.cfg.Machine.Net()
	if s == nil {
		return errors.New("docker: the machine has no network")
	}
	if err := s.AddLink(defaultBridge, defaultBridge, prefixOf(defaultSubnet.Addr().Next(), defaultSubnet)); err != nil {
		return fmt.Errorf("docker: bridge %s: %w", defaultBridge, err)
	}
	return nil
}

// network looks a network up by name, id or an unambiguous prefix of its id.
func (e *Engine) network(ref string) (*bridge, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.networks[ref]; n != nil {
		return n, nil
	}
	var found *bridge
	for _, n := range e.networks {
		if ref != "" && strings.HasPrefix(n.id, ref) {
			if found != nil {
				return nil, invalid("network %s is ambiguous (2 matches found on ID prefix)", ref)
			}
			found = n
		}
	}
	if found == nil {
		return nil, notFound("network %s not found", ref)
	}
	return found, nil
}

var networkName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// maxNetworks bounds the networks of a host.
const maxNetworks = 32

func (e *Engine) createNetwork(req network.CreateRequest) (*bridge, error) {
	n := &bridge{name: req.Name, driver: cmp.Or(req.Driver, "bridge"), internal: req.Internal, labels: req.Labels, options: req.Options, created: e.now(), taken: map[netip.Addr]*container{}}
	if !networkName.MatchString(req.Name) || len(req.Name) > maxName {
		return nil, invalid("invalid network name: %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", req.Name)
	}
	switch {
	case n.driver != "bridge":
		return nil, notFound("plugin %q not found", n.driver)
	case req.ConfigOnly || req.ConfigFrom != nil || req.Ingress:
		return nil, unsupported("config-only and ingress networks")
	}
	if req.IPAM != nil && len(req.IPAM.Config) > 0 {
		n.subnet, n.gateway = req.IPAM.Config[0].Subnet, req.IPAM.Config[0].Gateway
		if n.subnet.IsValid() && (!n.subnet.Addr().Is4() || n.subnet.Bits() > 29 || n.subnet != n.subnet.Masked()) {
			return nil, invalid("invalid subnet %s: it should be an IPv4 network of at most 29 bits, without host bits", n.subnet)
		}
		if n.gateway.IsValid() && !n.subnet.Contains(n.gateway) {
			return nil, invalid("no matching subnet for gateway %s", n.gateway)
		}
	}
	n.id = e.newID()
	n.link = "br-" + n.id[:12]
	if err := e.addNetwork(n); err != nil {
		return nil, err
	}
	if err := e.cfg.Machine.Net().AddLink(n.link, n.link, prefixOf(n.gateway, n.subnet)); err != nil {
		e.mu.Lock()
		delete(e.networks, n.name)
		e.mu.Unlock()
		return nil, failure(500, "bridge %s: %s", n.link, err)
	}
	e.keepNetwork(n)
	e.event(events.NetworkEventType, events.ActionCreate, n.id, map[string]string{"name": n.name, "type": n.driver})
	return n, nil
}

// addNetwork gives a network its addresses and makes it known.
func (e *Engine) addNetwork(n *bridge) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.networks[n.name] != nil:
		return conflict("network with name %s already exists", n.name)
	case len(e.networks) >= maxNetworks:
		return failure(507, "this host has %d networks, the most a lab may have", maxNetworks)
	}
	free := func(p netip.Prefix) bool {
		for _, o := range e.networks {
			if o.subnet.IsValid() && o.subnet.Overlaps(p) {
				return false
			}
		}
		for _, l := range e.cfg.Machine.Net().Links() {
			if slices.ContainsFunc(l.Addrs, p.Overlaps) {
				return false
			}
		}
		return true
	}
	if n.subnet.IsValid() && !free(n.subnet) {
		return conflict("invalid pool request: Pool overlaps with other one on this address space")
	}
	if !n.subnet.IsValid() {
		for p := range pools {
			if free(p) {
				n.subnet = p
				break
			}
		}
	}
	if !n.subnet.IsValid() {
		return failure(500, "all predefined address pools have been fully subnetted")
	}
	if !n.gateway.IsValid() {
		n.gateway = n.subnet.Addr().Next()
	}
	e.networks[n.name] = n
	return nil
}

func (e *Engine) removeNetwork(n *bridge) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case n.name == "bridge" || n.name == "host" || n.name == "none":
		return failure(403, "%s is a pre-defined network and cannot be removed", n.name)
	case len(n.taken) > 0:
		var who []string
		for _, c := range n.taken {
			who = append(who, fmt.Sprintf("name:%q id:%q", c.name, c.id[:12]))
		}
		slices.Sort(who)
		return failure(403, "error while removing network: network %s has active endpoints (%s)", n.name, strings.Join(who, ", "))
	case e.networks[n.name] != n:
		return notFound("network %s not found", n.name)
	}
	delete(e.networks, n.name)
	e.cfg.Keeper.Drop(keptNetworks + n.name)
	return nil
}

// plug gives a container that is made its places on networks, without addresses.
func (e *Engine) plug(c *container, cfg *network.NetworkingConfig) error {
	mode := string(c.host.NetworkMode)
	if mode == "" || mode == network.NetworkDefault {
		mode = network.NetworkBridge
		c.host.NetworkMode = network.NetworkBridge
	}
	want := map[string]*network.EndpointSettings{mode: {}}
	if cfg != nil {
		for name, s := range cfg.EndpointsConfig {
			if name == network.NetworkDefault {
				name = network.NetworkBridge
			}
			want[name] = s
		}
	}
	places := map[string]*endpoint{}
	for name, s := range want {
		n, err := e.network(name)
		if err != nil { // it may be made before the start
			c.nets = cfg
			return nil
		}
		p := &endpoint{bridge: n, id: e.newID()}
		if s != nil {
			p.aliases = s.Aliases
			if s.IPAMConfig != nil {
				p.wanted = s.IPAMConfig.IPv4Address
			}
		}
		switch {
		case p.wanted.IsValid() && n.name == "bridge":
			return invalid("invalid config for network bridge: user specified IP address is supported on user defined networks only")
		case p.wanted.IsValid() && !n.subnet.Contains(p.wanted):
			return invalid("invalid config for network %s: invalid endpoint settings:\nno configured subnet contains IP address %s", n.name, p.wanted)
		}
		places[n.name] = p
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c.endpoints, c.nets = places, nil
	return nil
}

// replug looks for the networks again that were not there when the container was made. Precondition: c.ops is held.
func (e *Engine) replug(c *container) error {
	if c.endpoints != nil {
		return nil
	}
	if err := e.plug(c, c.nets); err != nil {
		return err
	}
	if c.endpoints == nil {
		return notFound("failed to set up container networking: network %s not found", c.host.NetworkMode)
	}
	return nil
}

// unplug gives the addresses of a container back.
func (e *Engine) unplug(c *container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range c.endpoints {
		if p.addr.IsValid() {
			delete(p.bridge.taken, p.addr)
			p.addr = netip.Addr{}
		}
	}
}

// placesLocked are a container's endpoints, that of the network mode first.
func (c *container) placesLocked() []*endpoint {
	l := slices.Collect(maps.Values(c.endpoints))
	first := func(p *endpoint) int {
		if p.bridge.name == string(c.host.NetworkMode) {
			return 0
		}
		return 1
	}
	slices.SortFunc(l, func(a, b *endpoint) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), strings.Compare(a.bridge.name, b.bridge.name))
	})
	return l
}

// address takes an address of the network: the one that is wanted, or the lowest that is free.
func (n *bridge) addressLocked(c *container, wanted netip.Addr) (netip.Addr, error) {
	if wanted.IsValid() {
		if n.taken[wanted] != nil || wanted == n.gateway {
			return netip.Addr{}, failure(403, "Address already in use")
		}
		n.taken[wanted] = c
		return wanted, nil
	}
	last := lastOf(n.subnet)
	for a := n.subnet.Addr().Next(); n.subnet.Contains(a) && a != last; a = a.Next() {
		if a != n.gateway && n.taken[a] == nil {
			n.taken[a] = c
			return a, nil
		}
	}
	return netip.Addr{}, failure(500, "no available IPv4 addresses on this network's address pools: %s (%s)", n.name, n.id)
}

// lastOf is a network's broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | (1<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// enter makes the sandbox for a life: addresses, links, names, published ports.
func (e *Engine) enter(c *container) (_ *life, err error) {
	if err := e.replug(c); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.unplug(c)
		}
	}()
	e.mu.Lock()
	places := c.placesLocked()
	var connected []*endpoint
	for _, p := range places {
		if p.bridge.subnet.IsValid() {
			if p.addr, err = p.bridge.addressLocked(c, p.wanted); err != nil {
				e.mu.Unlock()
				return nil, err
			}
			connected = append(connected, p)
		}
	}
	name := c.name
	e.mu.Unlock()
	spec := runtime.SandboxSpec{Namespace: "docker", Name: name, UID: c.id, Hostname: c.config.Hostname, HostNetwork: c.host.NetworkMode.IsHost(), HostPID: c.host.PidMode.IsHost(),
		EtcHosts: c.hostsFile(connected), DNS: c.dns(connected)}
	if len(connected) > 0 {
		spec.IP = connected[0].addr
		if spec.HostPorts, err = c.published(); err != nil {
			return nil, err
		}
	}
	id, err := e.runtime.RunPodSandbox(context.Background(), spec)
	if err != nil {
		return nil, e.portError(c, err)
	}
	l := &life{sandbox: id, gone: make(chan struct{})}
	if err := e.links(c, l, connected); err != nil {
		e.runtime.RemovePodSandbox(context.Background(), id)
		return nil, failure(500, "failed to set up container networking: %s", err)
	}
	return l, nil
}

// links adds the links of the further networks, and the name server that user networks have.
func (e *Engine) links(c *container, l *life, places []*endpoint) error {
	if len(places) == 0 {
		return nil
	}
	s, err := e.runtime.Stack(l.sandbox)
	if err != nil {
		return err
	}
	for i, p := range places[1:] {
		if err := s.AddLink("eth"+strconv.Itoa(i+1), p.bridge.link, prefixOf(p.addr, p.bridge.subnet)); err != nil {
			return err
		}
	}
	if named(places) {
		_, err = s.ServeDNS(netip.AddrPortFrom(embeddedDNS, 53), func(_ netip.Addr, q []byte) []byte { return e.resolve(c, q) })
	}
	return err
}

// named tells whether one of the networks has names: those that users made.
func named(places []*endpoint) bool {
	return slices.ContainsFunc(places, func(p *endpoint) bool { return p.bridge.name != network.NetworkBridge })
}

// embeddedDNS is where the daemon answers for names of user networks.
var embeddedDNS = netip.MustParseAddr("127.0.0.11")

func (c *container) dns(places []*endpoint) runtime.DNS {
	d := runtime.DNS{Searches: c.host.DNSSearch, Options: c.host.DNSOptions}
	switch {
	case c.host.NetworkMode.IsHost():
		return d
	case named(places):
		d.Servers = []string{embeddedDNS.String()}
		if len(d.Options) == 0 {
			d.Options = []string{"ndots:0"}
		}
	case len(c.host.DNS) > 0:
		for _, a := range c.host.DNS {
			d.Servers = append(d.Servers, a.String())
		}
	case c.e.cfg.Machine.Root() != nil: // the host's own
		if b, err := c.e.cfg.Machine.Root().ReadFile("/etc/resolv.conf", 64<<10); err == nil {
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); len(f) == 2 && f[0] == "nameserver" {
					d.Servers = append(d.Servers, f[1])
				}
			}
		}
	}
	return d
}

// published are the ports of the machine that lead to the container. Those without a number get one that is free.
func (c *container) published() ([]runtime.HostPort, error) {
	var l []runtime.HostPort
	bindings := maps.Clone(c.host.PortBindings)
	if c.host.PublishAllPorts {
		if bindings == nil {
			bindings = network.PortMap{}
		}
		for p := range c.config.ExposedPorts {
			if _, ok := bindings[p]; !ok {
				bindings[p] = []network.PortBinding{{}}
			}
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(bindings), func(a, b network.Port) int { return cmp.Compare(a.Num(), b.Num()) }) {
		if p.Proto() != network.TCP {
			return nil, unsupported("publishing " + string(p.Proto()) + " ports")
		}
		for _, b := range bindings[p] {
			host := uint64(0)
			if b.HostPort != "" {
				first, _, _ := strings.Cut(b.HostPort, "-")
				var err error
				if host, err = strconv.ParseUint(first, 10, 16); err != nil {
					return nil, invalid("invalid port specification: %q", b.HostPort)
				}
			}
			if host == 0 {
				host = uint64(c.e.freePort(l))
			}
			h := runtime.HostPort{Protocol: "TCP", Host: uint16(host), Container: p.Num()}
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				h.HostIP = b.HostIP.String()
			}
			l = append(l, h)
		}
	}
	return l, nil
}

// freePort is the lowest port from 32768 on that nobody listens at and that is not taken in l.
func (e *Engine) freePort(l []runtime.HostPort) uint16 {
	used := map[uint16]bool{}
	for _, a := range e.cfg.Machine.Net().Listeners() {
		used[a.Port()] = true
	}
	for _, p := range l {
		used[p.Host] = true
	}
	for p := uint16(32768); p < 61000; p++ {
		if !used[p] {
			return p
		}
	}
	return 0
}

// portError says which published port is not free, as the daemon does.
func (e *Engine) portError(c *container, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return failure(500, "%s", err)
	}
	var port int
	if _, after, ok := strings.Cut(err.Error(), "host port "); ok {
		fmt.Sscanf(after, "%d", &port)
	}
	return failure(500, "failed to set up container networking: driver failed programming external connectivity on endpoint %s (%s): Bind for 0.0.0.0:%d failed: port is already allocated", c.currentName(), c.id, port)
}

// leave ends a life: its sandbox goes and its addresses are free.
func (e *Engine) leave(c *container, l *life) {
	e.runtime.RemovePodSandbox(context.Background(), l.sandbox)
	e.unplug(c)
}

// resolve answers a container's query for the names on its networks; no others exist, since nothing leaves a lab.
func (e *Engine) resolve(c *container, query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	found := e.lookup(c, name)
	h = dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}
	if len(found) == 0 {
		h.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, h)
	b.EnableCompression()
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil
	}
	for _, a := range found {
		if q.Type == dnsmessage.TypeA {
			if b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 600}, dnsmessage.AResource{A: a.As4()}) != nil {
				return nil
			}
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}

// lookup are the addresses behind a name on the networks that c is on.
func (e *Engine) lookup(c *container, name string) []netip.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	var l []netip.Addr
	for _, mine := range c.placesLocked() {
		if mine.bridge.name == network.NetworkBridge {
			continue
		}
		for _, o := range mine.bridge.taken {
			p := o.endpoints[mine.bridge.name]
			if p != nil && p.addr.IsValid() && (o.name == name || o.id[:12] == name || o.config.Hostname == name || slices.Contains(p.aliases, name)) {
				l = append(l, p.addr)
			}
		}
	}
	slices.SortFunc(l, netip.Addr.Compare)
	return l
}

// connect puts a container on one more network.
func (e *Engine) connect(n *bridge, c *container, s *network.EndpointSettings) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if !n.subnet.IsValid() || c.host.NetworkMode.IsHost() || c.host.NetworkMode.IsNone() {
		return failure(403, "container cannot be connected to host network or disconnected from it")
	}
	c.mu.Lock()
	l := c.life
	c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.endpoints[n.name] != nil {
		return failure(403, "endpoint with name %s already exists in network %s", c.name, n.name)
	}
	p := &endpoint{bridge: n, id: e.newID()}
	if s != nil {
		p.aliases = s.Aliases
	}
	if l != nil {
		return unsupported("connecting a running container to a network (stop it first)")
	}
	c.endpoints[n.name] = p
	return nil
}

// disconnect takes a container off a network.
func (e *Engine) disconnect(n *bridge, c *container) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if c.isRunning() {
		return unsupported("disconnecting a running container from a network (stop it first)")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.endpoints[n.name] == nil {
		return failure(403, "container %s is not connected to network %s", c.id, n.name)
	}
	delete(c.endpoints, n.name)
	return nil
}

// settings is what inspect and ps tell of a container's networks.
func (c *container) settings() map[string]*network.EndpointSettings {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	out := map[string]*network.EndpointSettings{}
	for name, p := range c.endpoints {
		s := &network.EndpointSettings{NetworkID: p.bridge.id, Aliases: p.aliases}
		if p.addr.IsValid() {
			s.EndpointID, s.IPAddress, s.IPPrefixLen, s.Gateway, s.MacAddress = p.id, p.addr, p.bridge.subnet.Bits(), p.bridge.gateway, mac(p.addr)
		}
		if p.bridge.name != network.NetworkBridge && p.bridge.subnet.IsValid() {
			s.DNSNames = append([]string{c.name, c.id[:12]}, p.aliases...)
		}
		out[name] = s
	}
	return out
}

// mac is the hardware address that the bridge driver gives an address: 02:42 and its four bytes.
func mac(a netip.Addr) network.HardwareAddr {
	b := a.As4()
	return network.HardwareAddr(net.HardwareAddr{2, 0x42, b[0], b[1], b[2], b[3]})
}

// portMap is what inspect tells of a running container's ports.
func (c *container) portMap() network.PortMap {
	c.mu.Lock()
	l := c.life
	c.mu.Unlock()
	m := network.PortMap{}
	if l == nil {
		return m
	}
	for p := range c.config.ExposedPorts {
		m[p] = nil
	}
	st, err := c.e.runtime.SandboxStatus(l.sandbox)
	if err != nil {
		return m
	}
	for _, h := range st.Spec.HostPorts {
		p, _ := network.PortFrom(h.Container, network.TCP)
		ip, err := netip.ParseAddr(h.HostIP)
		if err != nil {
			ip = netip.IPv4Unspecified()
		}
		m[p] = append(m[p], network.PortBinding{HostIP: ip, HostPort: strconv.Itoa(int(h.Host))})
	}
	return m
}

// ports is portMap as docker ps wants it.
func (c *container) ports() []api.PortSummary {
	out := []api.PortSummary{}
	for p, bs := range c.portMap() {
		if len(bs) == 0 {
			out = append(out, api.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range bs {
			n, _ := strconv.ParseUint(b.HostPort, 10, 16)
			out = append(out, api.PortSummary{IP: b.HostIP, PrivatePort: p.Num(), PublicPort: uint16(n), Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(a, b api.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.PublicPort, b.PublicPort))
	})
	return out
}

// Reaches tells whether the engine's networks let a connection from one address to another, and why not: containers reach those on a network of
// theirs, the machine reaches all, and nobody else comes in but by a published port.
func (e *Engine) Reaches(from, to netip.Addr) (bool, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var source, target *bridge
	for _, n := range e.networks {
		if n.subnet.IsValid() && n.subnet.Contains(to) {
			target = n
		}
		if n.subnet.IsValid() && n.subnet.Contains(from) {
			source = n
		}
	}
	switch {
	case target == nil && source != nil && source.internal:
		return false, "the network " + source.name + " is internal"
	case target == nil, source == target, to == target.gateway, from == target.gateway:
		return true, ""
	case e.cfg.Machine.Net().Addr() == from:
		return true, ""
	}
	if c := target.taken[to]; c != nil && source != nil { // a container on both
		if o := source.taken[from]; o != nil && (o.endpoints[target.name] != nil || c.endpoints[source.name] != nil) {
			return true, ""
		}
	}
	return false, "Docker's bridges are isolated from each other"
}
