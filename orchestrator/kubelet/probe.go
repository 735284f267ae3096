package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/version"
	upstream "k8s.io/kubernetes/pkg/probe"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"

	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// probeKind is one of a container's three probes.
type probeKind uint8

const (
	startup probeKind = iota
	liveness
	readiness
)

var probeNames = [...]string{"startup", "liveness", "readiness"}
var probeTitles = [...]string{"Startup", "Liveness", "Readiness"}

// probe is a probe of a running container.
type probe struct {
	kind  probeKind
	spec  *v1.Probe
	timer *loop.Timer
	good  int32
	bad   int32
	ended bool
}

func (c *container) probeOf(kind probeKind) *v1.Probe {
	switch kind {
	case startup:
		return c.spec.StartupProbe
	case liveness:
		return c.spec.LivenessProbe
	}
	return c.spec.ReadinessProbe
}

// probeSpec finds a probe by its name in messages.
func (c *container) probeSpec(name string) *v1.Probe {
	for kind, n := range probeNames {
		if n == name {
			return c.probeOf(probeKind(kind))
		}
	}
	return nil
}

// beginProbes starts the probes of a container that has just started. Liveness and readiness wait for the startup probe.
func (k *Kubelet) beginProbes(w *worker, c *container) {
	c.stopProbes()
	c.killFor = ""
	c.passed = c.spec.StartupProbe == nil
	c.healthy = true
	c.ready = c.passed && c.spec.ReadinessProbe == nil
	if !c.passed {
		k.beginProbe(w, c, startup)
		return
	}
	k.beginOthers(w, c)
}

func (k *Kubelet) beginOthers(w *worker, c *container) {
	for _, kind := range []probeKind{liveness, readiness} {
		if c.probeOf(kind) != nil && (!c.init || c.sidecar) {
			k.beginProbe(w, c, kind)
		}
	}
	if c.spec.ReadinessProbe == nil {
		c.ready = true
	}
}

func (k *Kubelet) beginProbe(w *worker, c *container, kind probeKind) {
	p := &probe{kind: kind, spec: c.probeOf(kind)}
	c.probes[kind] = p
	left := c.status.StartedAt.Add(time.Duration(p.spec.InitialDelaySeconds) * time.Second).Sub(k.Loop.Now())
	if p.spec.InitialDelaySeconds == 0 || left <= 0 {
		k.ask(w, c, p)
		return
	}
	p.timer = k.Loop.After(left, func() { k.ask(w, c, p) })
}

func (c *container) stopProbes() {
	for i, p := range c.probes {
		if p != nil {
			p.ended = true
			p.timer.Stop()
			c.probes[i] = nil
		}
	}
}

// ask runs a probe once, away from the loop.
func (k *Kubelet) ask(w *worker, c *container, p *probe) {
	if p.ended || c.state != running {
		return
	}
	target := probeTarget{k: k, pod: w.pod, container: c.spec, id: c.id, sandbox: w.sandboxID, ip: w.ip}
	boot := k.boot
	k.Loop.Go(func() func() {
		result, output, err := target.probe(p.spec)
		return func() {
			if boot != k.boot || p.ended || c.state != running {
				return
			}
			k.answered(w, c, p, result, output, err)
			if !p.ended {
				p.timer = k.Loop.After(time.Duration(max(1, p.spec.PeriodSeconds))*time.Second, func() { k.ask(w, c, p) })
			}
		}
	})
}

// answered counts a probe's result and acts when a threshold is reached.
func (k *Kubelet) answered(w *worker, c *container, p *probe, result upstream.Result, output string, err error) {
	t := k.Loop.Current()
	t.Parent = w.parent
	tell := func(reason, format string, args ...any) {
		k.events.Field(k.Context(t, "probe kind=%s result=%s", probeNames[p.kind], result), w.pod, c.path(), v1.EventTypeWarning, reason, format, args...)
	}
	switch {
	case err != nil:
		tell("Unhealthy", "%s probe errored and resulted in %s state: %s", probeTitles[p.kind], result, err)
	case result == upstream.Warning:
		tell("ProbeWarning", "%s probe warning: %s", probeTitles[p.kind], output)
	case result != upstream.Success:
		tell("Unhealthy", "%s probe failed: %s", probeTitles[p.kind], output)
	}
	if result == upstream.Success || result == upstream.Warning {
		p.good, p.bad = p.good+1, 0
	} else {
		p.good, p.bad = 0, p.bad+1
	}
	switch {
	case p.good > 0 && p.good >= p.spec.SuccessThreshold:
		k.passed(w, c, p)
	case p.bad > 0 && p.bad >= p.spec.FailureThreshold:
		k.failed(w, c, p)
	}
}

func (k *Kubelet) passed(w *worker, c *container, p *probe) {
	switch p.kind {
	case startup:
		p.ended = true
		c.probes[startup] = nil
		c.passed = true
		k.beginOthers(w, c)
		k.touch(w, 0)
	case readiness:
		if !c.ready {
			c.ready = true
			k.touch(w, 0)
		}
	}
}

func (k *Kubelet) failed(w *worker, c *container, p *probe) {
	switch p.kind {
	case readiness:
		if c.ready {
			c.ready = false
			k.touch(w, 0)
		}
		return
	}
	if !w.terminating {
		c.killFor = probeNames[p.kind]
		p.bad = 0
		k.touch(w, 0)
	}
}

// probeTarget is a container as probes and hooks reach it.
type probeTarget struct {
	k         *Kubelet
	pod       *v1.Pod
	container *v1.Container
	id        string
	sandbox   string
	ip        netip.Addr
}

// probe runs one probe and returns its result, what it said, and an error that kept it from being run.
func (p probeTarget) probe(spec *v1.Probe) (upstream.Result, string, error) {
	limit := time.Duration(max(1, spec.TimeoutSeconds)) * time.Second
	ctx, cancel := p.k.timeout(context.Background(), limit)
	defer cancel()
	switch {
	case spec.Exec != nil:
		return p.exec(ctx, spec.Exec.Command, limit)
	case spec.HTTPGet != nil:
		req, err := p.request(spec.HTTPGet, "probe")
		if err != nil {
			return upstream.Unknown, "", err
		}
		return httpprobe.DoHTTPProbe(req.WithContext(ctx), p.client())
	case spec.TCPSocket != nil:
		port, err := resolvePort(spec.TCPSocket.Port, p.container)
		if err != nil {
			return upstream.Unknown, "", err
		}
		conn, err := p.dial(ctx, port)
		if err != nil {
			return upstream.Failure, err.Error(), nil
		}
		conn.Close()
		return upstream.Success, "", nil
	}
	return upstream.Failure, "drydock nodes do not support gRPC probes", nil
}

// request is a probe's or a hook's request. Upstream takes the version in its User-Agent from what its own build was linked with: here
// it is the node's.
func (p probeTarget) request(a *v1.HTTPGetAction, purpose string) (*http.Request, error) {
	req, err := httpprobe.NewRequestForHTTPGetAction(a, p.container, p.address(), purpose)
	if err != nil {
		return nil, err
	}
	named := slices.ContainsFunc(a.HTTPHeaders, func(h v1.HTTPHeader) bool { return http.CanonicalHeaderKey(h.Name) == "User-Agent" })
	if v, err := version.ParseGeneric(p.k.cfg.Node.Version); err == nil && !named {
		req.Header.Set("User-Agent", fmt.Sprintf("kube-%s/%d.%d", purpose, v.Major(), v.Minor()))
	}
	return req, nil
}

func (p probeTarget) exec(ctx context.Context, cmd []string, limit time.Duration) (upstream.Result, string, error) {
	stdout, stderr, code, err := p.k.rt.ExecSync(ctx, p.id, cmd, limit)
	output := strings.TrimRight(string(stdout)+string(stderr), "\n")
	switch {
	case errors.Is(err, ErrDeadline) || ctx.Err() != nil:
		return upstream.Failure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(cmd, " "), limit), nil
	case err != nil:
		return upstream.Unknown, "", err
	case code != 0:
		return upstream.Failure, output, nil
	}
	return upstream.Success, output, nil
}

func (p probeTarget) address() string {
	if p.pod.Spec.HostNetwork || !p.ip.IsValid() {
		return p.k.cfg.Node.IP.String()
	}
	return p.ip.String()
}

// dial connects to the pod. Errors read like those of Go's dialer over the node's network.
func (p probeTarget) dial(ctx context.Context, port int) (net.Conn, error) {
	conn, err := p.k.rt.Dial(ctx, p.sandbox, p.ip, uint16(port))
	if err == nil {
		return conn, nil
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = errors.New("i/o timeout")
	}
	var already *net.OpError
	if errors.As(err, &already) {
		return nil, err
	}
	return nil, fmt.Errorf("dial tcp %s: %w", net.JoinHostPort(p.address(), strconv.Itoa(port)), err)
}

// client sends to the pod whatever the URL's host is, as the probes of upstream do not follow redirects to other hosts.
func (p probeTarget) client() *http.Client {
	return &http.Client{
		CheckRedirect: httpprobe.RedirectChecker(false),
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				host, text, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				port, err := strconv.Atoi(text)
				if err != nil {
					return nil, err
				}
				if host != p.address() {
					return nil, fmt.Errorf("dial tcp %s: only the pod's own address can be probed", addr)
				}
				return p.dial(ctx, port)
			},
		},
	}
}

func resolvePort(port intstr.IntOrString, c *v1.Container) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(port.StrVal); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("couldn't find port: %v in the container's ports", port.StrVal)
}

// hook runs a postStart or preStop handler.
func (k *Kubelet) hook(ctx context.Context, pod *v1.Pod, c *v1.Container, id, sandbox string, ip netip.Addr, h *v1.LifecycleHandler) error {
	target := probeTarget{k: k, pod: pod, container: c, id: id, sandbox: sandbox, ip: ip}
	switch {
	case h.Exec != nil:
		out, errOut, code, err := k.rt.ExecSync(ctx, id, h.Exec.Command, 0)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("command %q exited with %d: %s%s", strings.Join(h.Exec.Command, " "), code, out, errOut)
		}
		return nil
	case h.HTTPGet != nil:
		req, err := target.request(h.HTTPGet, "lifecycle")
		if err != nil {
			return err
		}
		resp, err := target.client().Do(req.WithContext(ctx))
		if err != nil {
			return err
		}
		return resp.Body.Close()
	case h.Sleep != nil:
		ctx, cancel := k.timeout(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		defer cancel()
		<-ctx.Done()
		return nil
	}
	return errors.New("drydock nodes do not support this kind of lifecycle hook")
}
