package kubelet

import (
	"fmt"
	"slices"
	"strconv"

	v1 "k8s.io/api/core/v1"
	v1qos "k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// configError is a pod's spec that cannot be carried out as it is: CreateContainerConfigError.
type configError struct{ text string }

func (e configError) Error() string { return e.text }

func (k *Kubelet) sandboxSpec(w *worker) SandboxSpec {
	p := w.pod
	s := SandboxSpec{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Attempt: w.sandboxTries, IP: w.ip,
		HostNetwork: p.Spec.HostNetwork, HostPID: p.Spec.HostPID, Hostname: hostname(p), DNS: k.dns(p),
	}
	if p.Spec.HostNetwork {
		s.Hostname = k.cfg.Node.Name
	}
	if share := p.Spec.ShareProcessNamespace; share != nil {
		s.ShareProcesses = *share
	}
	for _, a := range p.Spec.HostAliases {
		s.Hosts = append(s.Hosts, HostAlias{IP: a.IP, Names: a.Hostnames})
	}
	if sc := p.Spec.SecurityContext; sc != nil {
		for _, ctl := range sc.Sysctls {
			if s.Sysctls == nil {
				s.Sysctls = map[string]string{}
			}
			s.Sysctls[ctl.Name] = ctl.Value
		}
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.HostPort != 0 && !p.Spec.HostNetwork {
				s.HostPorts = append(s.HostPorts, HostPort{Protocol: string(port.Protocol), HostIP: port.HostIP, Host: uint16(port.HostPort), Container: uint16(port.ContainerPort)})
			}
		}
	}
	return s
}

// hostname is the pod's name, or what it asks for, cut to the 63 bytes that Linux takes.
func hostname(p *v1.Pod) string {
	name := p.Name
	if p.Spec.Hostname != "" {
		name = p.Spec.Hostname
	}
	if p.Spec.HostnameOverride != nil {
		name = *p.Spec.HostnameOverride
	}
	if len(name) > 63 {
		name = name[:63]
		for name != "" && (name[len(name)-1] == '-' || name[len(name)-1] == '.') {
			name = name[:len(name)-1]
		}
	}
	return name
}

// dns follows the pod's dnsPolicy; dnsConfig is merged in as upstream does.
func (k *Kubelet) dns(p *v1.Pod) DNS {
	var d DNS
	cluster := p.Spec.DNSPolicy == v1.DNSClusterFirst && !p.Spec.HostNetwork || p.Spec.DNSPolicy == v1.DNSClusterFirstWithHostNet
	if p.Spec.DNSPolicy != v1.DNSNone && k.cfg.ClusterDNS.IsValid() {
		d.Servers = []string{k.cfg.ClusterDNS.String()} // nodes of a lab resolve through the same server
	}
	if cluster {
		domain := k.cfg.ClusterDomain
		d.Searches = []string{p.Namespace + ".svc." + domain, "svc." + domain, domain}
		d.Options = []string{"ndots:5"}
	}
	c := p.Spec.DNSConfig
	if c == nil {
		return d
	}
	merge := func(have, more []string) []string {
		for _, s := range more {
			if !slices.Contains(have, s) {
				have = append(have, s)
			}
		}
		return have
	}
	d.Servers, d.Searches = merge(d.Servers, c.Nameservers), merge(d.Searches, c.Searches)
	for _, o := range c.Options {
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		d.Options = slices.DeleteFunc(d.Options, func(have string) bool {
			return have == o.Name || len(have) > len(o.Name) && have[:len(o.Name)+1] == o.Name+":"
		})
		d.Options = append(d.Options, text)
	}
	return d
}

// containerSpec says how to run a container. Errors are config errors.
func (k *Kubelet) containerSpec(w *worker, c *container) (ContainerSpec, error) {
	p, spec := w.pod, c.spec
	env, err := k.environment(w, spec)
	if err != nil {
		return ContainerSpec{}, err
	}
	mounts, err := mounts(spec, env)
	if err != nil {
		return ContainerSpec{}, err
	}
	out := ContainerSpec{
		Name: spec.Name, Attempt: c.attempt, Env: env, WorkingDir: spec.WorkingDir, TTY: spec.TTY, Stdin: spec.Stdin, StdinOnce: spec.StdinOnce,
		Mounts: mounts, Resources: k.resources(p, spec), User: user(p, spec), TerminationLog: spec.TerminationMessagePath,
		TerminationFallsBackToLog: spec.TerminationMessagePolicy == v1.TerminationMessageFallbackToLogsOnError,
	}
	vars := lookup(env)
	out.Command, out.Args = expandAll(spec.Command, vars), expandAll(spec.Args, vars)
	if sc := spec.SecurityContext; sc != nil && sc.ReadOnlyRootFilesystem != nil {
		out.ReadOnlyRoot = *sc.ReadOnlyRootFilesystem
	}
	return out, nil
}

func user(p *v1.Pod, c *v1.Container) (u User) {
	if sc := p.Spec.SecurityContext; sc != nil {
		u.UID, u.GID = sc.RunAsUser, sc.RunAsGroup
		u.Groups = append(u.Groups, sc.SupplementalGroups...)
		if sc.FSGroup != nil {
			u.Groups = append(u.Groups, *sc.FSGroup)
		}
	}
	if sc := c.SecurityContext; sc != nil {
		if sc.RunAsUser != nil {
			u.UID = sc.RunAsUser
		}
		if sc.RunAsGroup != nil {
			u.GID = sc.RunAsGroup
		}
	}
	return u
}

// mayRunAs refuses what runAsNonRoot forbids, in upstream's words.
func mayRunAs(p *v1.Pod, c *v1.Container, spec ContainerSpec) error {
	nonRoot := p.Spec.SecurityContext != nil && p.Spec.SecurityContext.RunAsNonRoot != nil && *p.Spec.SecurityContext.RunAsNonRoot
	if sc := c.SecurityContext; sc != nil && sc.RunAsNonRoot != nil {
		nonRoot = *sc.RunAsNonRoot
	}
	if !nonRoot {
		return nil
	}
	where := fmt.Sprintf("(pod: \"%s_%s(%s)\", container: %s)", p.Name, p.Namespace, p.UID, c.Name)
	if spec.User.UID != nil {
		if *spec.User.UID == 0 {
			return configError{"container's runAsUser breaks non-root policy " + where}
		}
		return nil
	}
	name := spec.Image.User
	if name == "" || name == "root" || name == "0" {
		return configError{"container has runAsNonRoot and image will run as root " + where}
	}
	if _, err := strconv.ParseInt(name, 10, 64); err != nil {
		return configError{fmt.Sprintf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", name, where)}
	}
	return nil
}

// period is the CPU quota's period in microseconds, the kernel's default.
const period = 100_000

// resources turns requests and limits into a cgroup's settings, by upstream's formulas (pkg/kubelet/cm/helpers_linux.go and the
// conversion of cpu.shares to cpu.weight in KEP-2254).
func (k *Kubelet) resources(p *v1.Pod, c *v1.Container) (r Resources) {
	r.MemoryMax, r.MemoryRequest = c.Resources.Limits.Memory().Value(), c.Resources.Requests.Memory().Value()
	if milli := c.Resources.Limits.Cpu().MilliValue(); milli > 0 {
		r.CPUPeriod, r.CPUQuota = period, max(1000, milli*period/1000)
	}
	request := c.Resources.Requests.Cpu().MilliValue()
	if request == 0 {
		request = c.Resources.Limits.Cpu().MilliValue()
	}
	shares := min(max(2, request*1024/1000), 262144)
	r.CPUWeight = uint64(1 + (shares-2)*9999/262142)
	switch v1qos.GetPodQOS(p) {
	case v1.PodQOSGuaranteed:
		r.OOMScoreAdj = -997
	case v1.PodQOSBestEffort:
		r.OOMScoreAdj = 1000
	default:
		r.OOMScoreAdj = 1000
		if total := k.cfg.Node.Memory.Value(); total > 0 {
			r.OOMScoreAdj = min(max(3, 1000-1000*c.Resources.Requests.Memory().Value()/total), 999)
		}
	}
	return r
}
