package lab

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/sandbox/docker"
	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/catalogue"
	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/runtime"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// kernelRelease is what uname -r says on every machine.
const kernelRelease = "6.12.0-drydock"

// Size of a node as it reports it.
const (
	nodeCPUs   = 2
	nodeMemory = 256 << 20
)

// node is a machine of a lab and, but for the workstation, the kubelet.Runtime of a cluster's node. The machine, its processes and its
// containers live from one power-on to the next; the disk (upper layer, pulled images) stays.
type node struct {
	lab    *Lab
	name   string
	ip     netip.Addr
	pods   netip.Prefix // invalid: no pods, a workstation
	upper  *vfs.Tmpfs   // the disk
	images *image.Local

	power sync.Mutex // held while the machine is switched on or off, calls into the cluster and the kernel included

	mu       sync.Mutex
	boot     *boot                        // protected by mu: nil while it is off
	last     *boot                        // protected by mu: the boot whose power was cut, until the next one
	notify   func(kubelet.Event)          // protected by mu
	started  map[string]kubelet.Resources // protected by mu: limits of containers, by id
	unlocked bool                         // protected by mu: files that need secrets have been written
}

// boot is a machine from power-on to power-off.
type boot struct {
	machine *kernel.Machine
	stack   *network.Stack
	runtime *runtime.Runtime // nil on the workstation
	docker  *docker.Engine   // nil but on the workstation
	door    io.Closer        // of the Docker host's socket; nil but on the workstation
	root    *vfs.View
}

func (l *Lab) makeMachines(workers int) error {
	if err := l.serveDNS(); err != nil {
		return err
	}
	if err := l.serveRegistries(); err != nil {
		return err
	}
	l.addMachine(Workstation, workstationIP, netip.Prefix{})
	l.addMachine(ControlPlane, machineIP(0), podNet(0))
	for i := 1; i <= workers; i++ {
		l.addMachine(fmt.Sprintf("node-%d", i), machineIP(i), podNet(i))
	}
	for _, name := range l.order {
		if err := l.nodes[name].powerOn(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (l *Lab) addMachine(name string, ip netip.Addr, pods netip.Prefix) {
	n := &node{lab: l, name: name, ip: ip, pods: pods, started: map[string]kubelet.Resources{}}
	n.upper = l.keeper.Files("machine/"+name, vfs.TmpfsOptions{Size: l.disk.limit, Charger: &l.disk, Clock: l.clock.Now, Type: "overlay"})
	n.images = l.keptLocal("images/" + name)
	l.order = append(l.order, name)
	l.nodes[name] = n
}

func (n *node) isWorkstation() bool { return !n.pods.IsValid() }

// powerOn boots the machine; a lab that has ended boots none.
func (n *node) powerOn() error {
	n.closeLast()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.boot != nil {
		return nil
	}
	select {
	case <-n.lab.done:
		return errEnded
	default:
	}
	clear(n.started) // containers do not live through a power cut
	b := &boot{}
	if err := n.start(b); err != nil {
		b.close()
		return err
	}
	n.boot = b
	return nil
}

func (n *node) start(b *boot) (err error) {
	if b.stack, err = n.connect(); err != nil {
		return err
	}
	if b.root, err = n.files(); err != nil {
		return err
	}
	l := n.lab
	b.machine = l.host.kernel.NewMachine(kernel.MachineConfig{
		Account: l.account, Hostname: n.name, Root: b.root, Net: b.stack, Fabric: l.fabric, Clock: l.clock, Rand: l.rand,
		Release: kernelRelease, Memory: nodeMemory, CPUs: nodeCPUs,
	})
	b.machine.OnReboot(func(cmd uint32) { go l.reboot(n.name, cmd) })
	b.stack.SetCharger(b.machine.Cgroup().Charger())
	for _, m := range []struct {
		at string
		fs vfs.FS
	}{{"/proc", b.machine.NewProc(b.machine.PIDNS())}, {"/sys", b.machine.NewSys(b.machine.Cgroup())}, {"/dev", b.machine.NewDev()}} {
		if err := b.root.NS.Mount(m.at, m.fs, 0); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if n.isWorkstation() {
		return n.startDocker(b)
	}
	if n.name == ControlPlane {
		if err := l.serveAPI(b.stack, n.ip); err != nil {
			return err
		}
	}
	b.runtime, err = runtime.New(runtime.Config{Machine: b.machine, Images: n.images, Fabric: l.fabric, Disk: &l.disk, DiskSize: l.disk.limit,
		Gateway: n.pods.Addr().Next(), Bridge: podBridge, PodBits: 24, LogLimit: l.host.limits.LogBytes, Events: func(e runtime.Event) { n.event(b, e) }})
	return err
}

// connect gives the machine its place in the lab's network.
func (n *node) connect() (*network.Stack, error) {
	s := n.lab.fabric.NewStack(n.name)
	if err := s.AddLink("eth0", machineBridge, netip.PrefixFrom(n.ip, machineNet.Bits())); err != nil {
		return s, fmt.Errorf("address %s: %w", n.ip, err)
	}
	s.AddRoute(anywhere, gateway, "eth0")
	if n.pods.IsValid() {
		if err := s.AddLink("cni0", podBridge, netip.PrefixFrom(n.pods.Addr().Next(), 24)); err != nil {
			return s, fmt.Errorf("address of the pods' bridge: %w", err)
		}
	}
	return s, nil
}

// files is the machine's root file system: its image under what was changed, and the files that name the machine.
func (n *node) files() (*vfs.View, error) {
	img := n.lab.host.machines[catalogue.Node]
	if n.isWorkstation() {
		img = n.lab.host.machines[catalogue.Workstation]
	}
	layers, err := img.FS()
	if err != nil {
		return nil, err
	}
	root := vfs.NewNamespace(vfs.NewOverlay(layers, n.upper)).View(vfs.Root)
	hosts := strings.Builder{}
	fmt.Fprintf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, name := range n.lab.order {
		fmt.Fprintf(&hosts, "%s\t%s\n", n.lab.nodes[name].ip, name)
	}
	fmt.Fprintf(&hosts, "%s\tkubernetes.default.svc kubernetes.default.svc.cluster.local\n", apiserver.KubernetesServiceIP)
	for _, f := range []struct{ name, text string }{
		{"/etc/hostname", n.name + "\n"}, {"/etc/hosts", hosts.String()},
		{"/etc/resolv.conf", "nameserver " + apiserver.DNSServiceIP + "\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"},
	} {
		if err := root.WriteFile(f.name, []byte(f.text), 0o644); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return root, nil
}

// about is the command `drydock` inside a lab.
const about = `#!/bin/sh
case "$1" in
differences)
	case "${LC_ALL:-${LC_MESSAGES:-$LANG}}" in
	ko*) cat /usr/share/drydock/differences.ko.md ;;
	*) cat /usr/share/drydock/differences.en.md ;;
	esac ;;
version) cat /usr/share/drydock/version ;;
*) echo "usage: drydock differences | version" >&2; exit 2 ;;
esac
`

// unlock writes what only people at a terminal need: the kubeconfig, whose certificate takes a signature, and the command drydock.
func (n *node) unlock() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unlocked || n.boot == nil {
		return nil
	}
	home, config, user, uid := "/root", "/etc/kubernetes/admin.conf", "kubernetes-admin", uint32(0)
	if n.isWorkstation() {
		home, config, user, uid = learnerHome, learnerHome+"/.kube/config", Learner, learnerUID
	}
	root := n.boot.root
	if err := errors.Join(root.MkdirAll("/usr/share/drydock", 0o755), root.MkdirAll(home+"/.kube", 0o755)); err != nil {
		return err
	}
	version := n.lab.host.cfg.Version
	files := []file{
		{"/usr/local/bin/drydock", about, 0o755, 0}, {"/usr/share/drydock/version", "drydock " + version + "\n", 0o644, 0},
		{"/usr/share/drydock/differences.ko.md", lessons.Differences(lessons.Korean, version), 0o644, 0},
		{"/usr/share/drydock/differences.en.md", lessons.Differences(lessons.English, version), 0o644, 0},
	}
	if n.isWorkstation() || n.name == ControlPlane {
		text, err := n.lab.cluster.Kubeconfig("https://kubernetes.default.svc", "", user, AdminGroup)
		if err != nil {
			return err
		}
		files = append(files, file{config, string(text), 0o600, uid})
		if n.name == ControlPlane {
			files = append(files, file{home + "/.kube/config", string(text), 0o600, uid})
		}
	}
	if n.isWorkstation() {
		files = append(files, file{registryFile, n.lab.regs.credentials(), 0o600, learnerUID})
	}
	for _, f := range files {
		if err := f.write(root); err != nil {
			return err
		}
	}
	n.unlocked = true
	return root.Chown(nil, home+"/.kube", uid, uid, true)
}

type file struct {
	path, text string
	mode, uid  uint32
}

func (f file) write(root *vfs.View) error {
	if err := root.WriteFile(f.path, []byte(f.text), f.mode); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return errors.Join(root.Chmod(nil, f.path, f.mode), root.Chown(nil, f.path, f.uid, f.uid, true))
}

// current is the machine while it is on.
func (n *node) current() (*boot, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.boot == nil {
		return nil, runtime.ErrClosed
	}
	return n.boot, nil
}

// switchOff is cut while nobody else switches.
func (n *node) switchOff() {
	n.power.Lock()
	defer n.power.Unlock()
	n.cut()
}

// cut takes the machine's power: it falls silent before its processes die, so that nobody hears a goodbye.
func (n *node) cut() {
	n.mu.Lock()
	b := n.boot
	n.boot = nil
	if b != nil {
		n.last = b
	}
	n.mu.Unlock()
	if b == nil {
		return
	}
	for _, s := range n.lab.fabric.Stacks() {
		if s == b.stack || n.pods.IsValid() && n.pods.Contains(s.Addr()) {
			s.SetDown(true)
		}
	}
	if b.docker != nil {
		b.docker.PowerCut()
		n.lab.hosted.signal()
		n.lab.docked.soon()
	}
	b.machine.PowerOff()
}

// closeLast releases what the last power cut left. It holds no lock meanwhile: the runtime tells of the sandboxes that it loses.
func (n *node) closeLast() {
	n.mu.Lock()
	b := n.last
	n.last = nil
	n.mu.Unlock()
	if b != nil {
		b.close()
	}
}

func (b *boot) close() {
	if b.machine != nil {
		b.machine.PowerOff()
		<-b.machine.Done()
	}
	if b.runtime != nil {
		b.runtime.Close()
	}
	if b.docker != nil {
		b.docker.Close()
	}
	if b.door != nil {
		b.door.Close()
	}
	if b.stack != nil {
		b.stack.Close()
	}
}

var errEnded = errors.New("the lab has ended")

// PowerOff cuts a machine's power. The cluster finds out only as a real one would.
func (l *Lab) PowerOff(name string) error {
	n, ok := l.nodes[name]
	if !ok {
		return fmt.Errorf("there is no machine %q", name)
	}
	n.power.Lock()
	defer n.power.Unlock()
	if !n.isWorkstation() {
		if err := l.cp.Load().PowerOff(name); err != nil {
			return err
		}
	}
	n.cut()
	return nil
}

// PowerOn boots a machine that is off; its kubelet takes up the pods bound to it.
func (l *Lab) PowerOn(name string) error {
	n, ok := l.nodes[name]
	if !ok {
		return fmt.Errorf("there is no machine %q", name)
	}
	n.power.Lock()
	defer n.power.Unlock()
	if err := n.powerOn(); err != nil {
		return err
	}
	if n.isWorkstation() {
		return nil
	}
	return l.cp.Load().PowerOn(name)
}

// reboot does what root asked of a machine.
func (l *Lab) reboot(name string, cmd uint32) {
	select {
	case <-l.done:
		return
	default:
	}
	err := l.PowerOff(name)
	if err == nil && cmd == kernel.RebootRestart {
		err = l.PowerOn(name)
	}
	if err != nil {
		l.host.cfg.Log.Error("a machine did not go down as it was told", "lab", l.id, "machine", name, "error", err)
	}
}

// event passes on what happened on a machine, unless it was before the last power cut.
func (n *node) event(b *boot, e runtime.Event) {
	n.mu.Lock()
	f := n.notify
	if n.boot != b {
		f = nil
	}
	n.mu.Unlock()
	if f == nil {
		return
	}
	types := map[runtime.EventType]kubelet.EventType{runtime.EventExited: kubelet.ContainerExited, runtime.EventOOM: kubelet.ContainerOOM, runtime.EventSandboxLost: kubelet.SandboxLost}
	if t, ok := types[e.Type]; ok {
		f(kubelet.Event{Type: t, SandboxID: e.SandboxID, ContainerID: e.ContainerID})
	}
}
