package lab

import (
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/sandbox/image/registry"
	"github.com/drydock-labs/drydock/sandbox/network"
)

// The lab's registries: Docker Hub's name, open to all of the lab, and a private one with a login.
const (
	hub             = "docker.io"
	PrivateRegistry = "registry.lab"
)

// hubNames are what Docker's clients look up for docker.io.
var hubNames = []string{hub, "index.docker.io", "registry-1.docker.io"}

// registryAddr is where both answer inside the lab, over plain HTTP; Docker and the kubelets reach the content without it.
var registryAddr = netip.MustParseAddr("172.18.255.253")

const (
	registryPort  = 80
	registryConns = 64 // served at a time from inside the lab
)

// registryFile is where learners find the credentials.
const registryFile = learnerHome + "/registry.txt"

// registries are the lab's, over the names and content of its scope.
type registries struct {
	all      registry.Hosts // docker.io first
	password string
	stack    *network.Stack
	door     io.Closer
}

// private is the one with a login.
func (g *registries) private() *registry.Registry { return g.all[1] }

// issue makes the lab's login, or takes that which was kept.
func (g *registries) issue(random io.Reader, kept string) error {
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return err
	}
	if g.password = kept; kept == "" {
		g.password = strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	}
	return nil
}

// serveRegistries makes the lab's registries and has them answer in its network.
func (l *Lab) serveRegistries() error {
	g := &l.regs
	uploads := registry.NewUploads(registry.UploadsConfig{Clock: l.clock.Now, Rand: l.rand})
	cfg := registry.Config{Store: l.host.images, Scope: l.id, Login: l.knows, Uploads: uploads, MaxBlob: l.disk.limit}
	open := cfg
	open.Host, open.Open, open.Protected = hub, true, func(name string) bool { return strings.HasPrefix(name, "library/") }
	cfg.Host = PrivateRegistry
	g.all = registry.Hosts{registry.New(open), registry.New(cfg)}
	g.stack = l.fabric.NewStack("registry")
	if err := g.stack.AddLink("eth0", machineBridge, netip.PrefixFrom(registryAddr, machineNet.Bits())); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	g.stack.AddRoute(anywhere, gateway, "eth0")
	var err error
	if g.door, err = g.stack.Serve(netip.AddrPortFrom(registryAddr, registryPort), registryConns, func(c net.Conn) { serveHTTP(c, g.all) }); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}

// knows judges a login: the lab has issued one.
func (l *Lab) knows(user, password string) bool {
	return user == Learner && subtle.ConstantTimeCompare([]byte(password), []byte(l.regs.password)) == 1
}

// nameRegistries has the registries' names resolve in the lab.
func (l *Lab) nameRegistries(cp *orchestrator.ControlPlane) {
	for _, name := range append(hubNames, PrivateRegistry) {
		cp.RegisterName(name, registryAddr)
	}
}

func (g *registries) close() {
	if g.door != nil {
		g.door.Close()
	}
	if g.stack != nil {
		g.stack.Close()
	}
}

// credentials is the text of registryFile.
func (g *registries) credentials() string {
	return fmt.Sprintf(`# 이 실습 안에서만 쓰는 로그인이에요. The login of this lab's own registry; it works nowhere else.
# docker login %[1]s -u %[2]s
registry %[1]s
username %[2]s
password %[3]s
`, PrivateRegistry, Learner, g.password)
}

// Registry is the private registry for clients on this machine, with the login that it takes.
func (l *Lab) Registry() (h http.Handler, user, password string) {
	return l.regs.private(), Learner, l.regs.password
}
