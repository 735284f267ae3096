package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Sandbox is a pod's sandbox: the network namespace, host name and files that its containers share, and their cgroup.
type Sandbox struct {
	ID   string
	spec SandboxSpec
	r    *Runtime
	made time.Time
	ctx  context.Context // ends when its ports close
	end  context.CancelFunc

	net    *network.Stack // the machine's with HostNetwork
	uts    *kernel.UTS
	cgroup *kernel.Cgroup
	etc    *vfs.Tmpfs // hosts, resolv.conf, hostname
	etcV   *vfs.View
	ports  []io.Closer

	mu      sync.Mutex
	stopped bool // guarded by mu
	removed bool // guarded by mu
}

// RunPodSandbox makes a sandbox. Its address answers when this returns. EADDRINUSE when another pod has it.
func (r *Runtime) RunPodSandbox(_ context.Context, spec SandboxSpec) (string, error) {
	if err := checkSandbox(&spec); err != nil {
		return "", err
	}
	id, err := r.newID()
	if err != nil {
		return "", err
	}
	s := &Sandbox{ID: id, spec: spec, r: r, made: r.now()}
	s.ctx, s.end = context.WithCancel(context.Background())
	if err := s.setup(); err != nil {
		s.release()
		return "", fmt.Errorf("failed to create pod sandbox %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		s.release()
		return "", ErrClosed
	}
	r.sandboxes[id] = s
	r.mu.Unlock()
	return id, nil
}

func checkSandbox(spec *SandboxSpec) error {
	var errs []error
	if spec.ShareProcesses {
		errs = append(errs, errors.New("a process namespace shared by a pod's containers is not supported"))
	}
	for _, name := range slices.Sorted(mapKeys(spec.Sysctls)) {
		if !harmlessSysctls[name] {
			errs = append(errs, fmt.Errorf("sysctl %q is not supported", name))
		}
	}
	for _, p := range spec.HostPorts {
		if p.Protocol != "" && p.Protocol != "TCP" {
			errs = append(errs, fmt.Errorf("host port %d/%s: only TCP is supported", p.Host, p.Protocol))
		}
	}
	if spec.Hostname == "" {
		spec.Hostname = spec.Name
	}
	if len(spec.Hostname) > 64 {
		errs = append(errs, fmt.Errorf("host name of %d bytes", len(spec.Hostname)))
	}
	return errors.Join(errs...)
}

// harmlessSysctls are accepted because what they set is so here anyway.
var harmlessSysctls = map[string]bool{"net.ipv4.ip_unprivileged_port_start": true, "net.ipv4.ping_group_range": true}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (s *Sandbox) setup() error {
	pods, err := s.r.cgroup.get(s.r.m, s.r.cfg.Cgroup)
	if err != nil {
		return err
	}
	if s.cgroup, err = pods.Child("pod"+s.ID[:12], kernel.CgroupLimits{}); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if s.spec.HostNetwork {
		s.net, s.uts = s.r.m.Net(), s.r.m.UTS()
	} else {
		s.uts = kernel.NewUTS(s.spec.Hostname)
		if err := s.connect(); err != nil {
			return err
		}
	}
	if err := s.files(); err != nil {
		return err
	}
	return s.openPorts()
}

// connect gives the pod its link and routes.
func (s *Sandbox) connect() error {
	cfg := s.r.cfg
	s.net = cfg.Fabric.NewStack(s.spec.Namespace + "/" + s.spec.Name)
	s.net.SetCharger(s.cgroup.Charger())
	if !s.spec.IP.IsValid() {
		return nil
	}
	bits := cfg.PodBits
	if !s.spec.IP.Is4() {
		bits = 64
	}
	if err := s.net.AddLink("eth0", cfg.Bridge, netip.PrefixFrom(s.spec.IP, bits)); err != nil {
		return fmt.Errorf("address %s: %w", s.spec.IP, err)
	}
	if cfg.Gateway.IsValid() && cfg.Gateway.Is4() == s.spec.IP.Is4() {
		s.net.AddRoute(netip.PrefixFrom(cfg.Gateway, 0), cfg.Gateway, "eth0")
	}
	return nil
}

// files writes what is mounted over /etc/hosts, /etc/resolv.conf and /etc/hostname of each container.
func (s *Sandbox) files() error {
	s.etc = vfs.NewTmpfs(vfs.TmpfsOptions{Size: 1 << 20, Inodes: 64, Charger: s.r.cfg.Disk, Clock: s.r.fsClock()})
	s.etcV = vfs.NewNamespace(s.etc).View(vfs.Root)
	hosts := cmp.Or(s.spec.EtcHosts, s.hosts())
	resolv := resolvConf(s.spec.DNS)
	if s.spec.HostNetwork && s.r.m.Root() != nil {
		host := s.r.m.Root()
		if b, err := host.ReadFile("/etc/hosts", 256<<10); err == nil {
			hosts = string(b) + aliases(s.spec.Hosts)
		}
		if b, err := host.ReadFile("/etc/resolv.conf", 64<<10); err == nil && len(s.spec.DNS.Servers) == 0 {
			resolv = string(b)
		}
	}
	for _, f := range []struct{ name, text string }{{"/hosts", hosts}, {"/resolv.conf", resolv}, {"/hostname", s.uts.Hostname() + "\n"}} {
		if err := s.etcV.WriteFile(f.name, []byte(f.text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

// hosts is in the kubelet's words, which people look for.
func (s *Sandbox) hosts() string {
	b := strings.Builder{}
	b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
	if s.spec.IP.IsValid() {
		fmt.Fprintf(&b, "%s\t%s\n", s.spec.IP, s.spec.Hostname)
	}
	b.WriteString(aliases(s.spec.Hosts))
	return b.String()
}

func aliases(hs []HostAlias) string {
	if len(hs) == 0 {
		return ""
	}
	b := strings.Builder{}
	b.WriteString("\n# Entries added by HostAliases.\n")
	for _, h := range hs {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, strings.Join(h.Names, "\t"))
	}
	return b.String()
}

func resolvConf(d DNS) string {
	b := strings.Builder{}
	if len(d.Searches) > 0 {
		b.WriteString("search " + strings.Join(d.Searches, " ") + "\n")
	}
	for _, s := range d.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(d.Options) > 0 {
		b.WriteString("options " + strings.Join(d.Options, " ") + "\n")
	}
	return b.String()
}

// openPorts leads ports of the machine to the pod.
func (s *Sandbox) openPorts() error {
	host := s.r.m.Net()
	for _, p := range s.spec.HostPorts {
		if s.spec.HostNetwork || host == nil {
			continue // the container listens there itself
		}
		addr := netip.IPv4Unspecified()
		if p.HostIP != "" {
			a, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return fmt.Errorf("host port %d: %w", p.Host, err)
			}
			addr = a
		}
		to := netip.AddrPortFrom(s.spec.IP, p.Container).String()
		c, err := host.Serve(netip.AddrPortFrom(addr, p.Host), 256, func(c net.Conn) { s.forward(c, to) })
		if err != nil {
			return fmt.Errorf("host port %d: %w", p.Host, err)
		}
		s.ports = append(s.ports, c)
	}
	return nil
}

func (s *Sandbox) forward(from net.Conn, addr string) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	to, err := s.r.m.Net().DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer to.Close()
	defer context.AfterFunc(s.ctx, func() { to.Close() })() // after a power cut nobody on the other side does
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(to, from)
		if w, ok := to.(interface{ CloseWrite() error }); ok {
			w.CloseWrite()
		}
	}()
	io.Copy(from, to)
	if w, ok := from.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	to.Close()
	from.Close()
	<-done
}

func (r *Runtime) sandbox(id string) (*Sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sandboxes[id]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("sandbox %q: %w", id, ErrNotFound)
}

// Stack is a sandbox's network namespace; the machine's with HostNetwork. ErrNotFound.
func (r *Runtime) Stack(sandboxID string) (*network.Stack, error) {
	s, err := r.sandbox(sandboxID)
	if err != nil {
		return nil, err
	}
	return s.net, nil
}

// of are the containers of a sandbox, by id.
func (r *Runtime) of(sandboxID string) []*Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var l []*Container
	for _, c := range r.containers {
		if sandboxID == "" || c.box.ID == sandboxID {
			l = append(l, c)
		}
	}
	slices.SortFunc(l, func(a, b *Container) int { return strings.Compare(a.ID, b.ID) })
	return l
}

// StopPodSandbox kills every process of the sandbox and releases its address. An unknown one is stopped; twice is fine.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	if s, err := r.sandbox(id); err == nil {
		s.stop()
	}
	return nil
}

func (s *Sandbox) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	for _, c := range s.r.of(s.ID) {
		c.kill()
	}
	for _, c := range s.r.of(s.ID) {
		c.awaitEnd()
	}
	s.disconnect()
}

func (s *Sandbox) disconnect() {
	s.end()
	for _, p := range s.ports {
		p.Close()
	}
	if s.net != nil && !s.spec.HostNetwork {
		s.net.Close()
	}
}

// RemovePodSandbox forgets a sandbox with its containers, their logs and upper layers; what still runs is killed. An unknown one is removed.
func (r *Runtime) RemovePodSandbox(_ context.Context, id string) error {
	s, err := r.sandbox(id)
	if err != nil {
		return nil
	}
	s.stop()
	s.remove()
	return nil
}

func (s *Sandbox) remove() {
	for _, c := range s.r.of(s.ID) {
		s.r.forget(c)
	}
	s.r.mu.Lock()
	delete(s.r.sandboxes, s.ID)
	s.r.mu.Unlock()
	s.release()
}

// release gives back what setup took. Twice is fine.
func (s *Sandbox) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed {
		return
	}
	s.removed, s.stopped = true, true
	s.disconnect()
	if s.etc != nil {
		s.etc.Close()
	}
	if s.cgroup != nil {
		if err := s.cgroup.Close(); err != nil && err != syscall.ENOENT {
			s.r.m.Log(4, fmt.Sprintf("cgroup of sandbox %s: %v", s.ID[:12], err))
		}
	}
}

// SandboxStatus tells of one sandbox. ErrNotFound.
func (r *Runtime) SandboxStatus(id string) (SandboxStatus, error) {
	s, err := r.sandbox(id)
	if err != nil {
		return SandboxStatus{}, err
	}
	return s.status(), nil
}

func (s *Sandbox) status() SandboxStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SandboxStatus{ID: s.ID, Spec: s.spec, Ready: !s.stopped, IP: s.spec.IP, CreatedAt: s.made}
}

// ListSandboxes are all, the oldest first.
func (r *Runtime) ListSandboxes() []SandboxStatus {
	r.mu.Lock()
	var l []*Sandbox
	for _, s := range r.sandboxes {
		l = append(l, s)
	}
	r.mu.Unlock()
	out := make([]SandboxStatus, 0, len(l))
	for _, s := range l {
		out = append(out, s.status())
	}
	slices.SortFunc(out, func(a, b SandboxStatus) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Dial connects to a TCP port: of addr, from the machine, or with an invalid addr of the pod's loopback, from inside it.
func (r *Runtime) Dial(ctx context.Context, sandboxID string, addr netip.Addr, port uint16) (net.Conn, error) {
	s, err := r.sandbox(sandboxID)
	if err != nil {
		return nil, err
	}
	from, to := r.m.Net(), addr
	if !addr.IsValid() {
		from, to = s.net, netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if from == nil {
		return nil, fmt.Errorf("dial %s: %w", netip.AddrPortFrom(to, port), syscall.ENETUNREACH)
	}
	return from.DialContext(ctx, "tcp", netip.AddrPortFrom(to, port).String())
}
