package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilexec "k8s.io/utils/exec"

	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/kubelet/null"
)

// talking is a null runtime whose containers have a log, a shell and an echo server.
type talking struct {
	*null.Runtime
	logs []kubelet.LogOptions
	ids  []string
	to   []string
	echo string // address of an echo server
}

func (r *talking) Logs(_ context.Context, id string, o kubelet.LogOptions, stdout, stderr io.Writer) error {
	r.logs, r.ids = append(r.logs, o), append(r.ids, id)
	fmt.Fprintf(stdout, "out of %s\n", r.Spec(id).Name)
	fmt.Fprintln(stderr, "err")
	return nil
}

func (r *talking) Exec(_ context.Context, id string, cmd []string, s kubelet.IO) (int, error) {
	if cmd[0] != "cat" {
		return 0, fmt.Errorf("exec: %q: executable file not found in $PATH", cmd[0])
	}
	n, err := io.Copy(s.Stdout, s.Stdin)
	return int(n), err
}

func (r *talking) Attach(_ context.Context, id string, s kubelet.IO) error {
	fmt.Fprintf(s.Stdout, "attached to %s", r.Spec(id).Name)
	return nil
}

func (r *talking) Dial(_ context.Context, _ string, addr netip.Addr, port uint16) (net.Conn, error) {
	r.to = append(r.to, netip.AddrPortFrom(addr, port).String())
	if port != 8080 {
		return nil, errors.New("connect: connection refused")
	}
	return net.Dial("tcp", r.echo)
}

func talkingLab(t *testing.T, o Options) (*lab, *talking) {
	var rt *talking
	o.Workers, o.NoControlPlane, o.Images = 1, true, []string{"busybox:1.37"}
	o.Node = func(n *orchestrator.NodeSpec) {
		rt = &talking{Runtime: n.Runtime.(*null.Runtime)}
		n.Runtime = rt
	}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	l := newLab(t, o)
	rt.echo = server.Addr().String()
	return l, rt
}

func (l *lab) kubelet() *kubelet.Kubelet {
	l.t.Helper()
	k, ok := l.Kubelet("node-1")
	if !ok {
		l.t.Fatal("node-1 has no kubelet")
	}
	return k
}

func TestLogOptions(t *testing.T) {
	l, rt := talkingLab(t, Options{Runtime: fate(null.Fate{After: 5 * time.Second, Code: 1})})
	l.create(informer.Pods, pod("a"))
	l.settle()
	n := func(i int64) *int64 { return &i }
	stream := v1.LogStreamStderr
	since := metav1.NewTime(Epoch.Add(time.Second))
	for _, c := range []struct {
		name string
		opts v1.PodLogOptions
		want kubelet.LogOptions
		text string
	}{
		{"all", v1.PodLogOptions{}, kubelet.LogOptions{Tail: -1}, "out of main\nerr\n"},
		{"follow", v1.PodLogOptions{Follow: true, Timestamps: true}, kubelet.LogOptions{Tail: -1, Follow: true, Timestamps: true}, "out of main\nerr\n"},
		{"tail and limit", v1.PodLogOptions{TailLines: n(3), LimitBytes: n(100)}, kubelet.LogOptions{Tail: 3, Limit: 100}, "out of main\nerr\n"},
		{"nothing of it", v1.PodLogOptions{TailLines: n(0)}, kubelet.LogOptions{Tail: 0}, "out of main\nerr\n"},
		{"since seconds of the lab's clock", v1.PodLogOptions{SinceSeconds: n(10)}, kubelet.LogOptions{Tail: -1, Since: l.Clock.Now().Add(-10 * time.Second)}, "out of main\nerr\n"},
		{"since a time", v1.PodLogOptions{SinceTime: &since}, kubelet.LogOptions{Tail: -1, Since: since.Time}, "out of main\nerr\n"},
		{"one stream", v1.PodLogOptions{Stream: &stream}, kubelet.LogOptions{Tail: -1}, "err\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Container = "main"
			var b bytes.Buffer
			if err := l.kubelet().Logs(context.Background(), "default", "a", &c.opts, &b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, rt.logs[len(rt.logs)-1]) + cmp.Diff(c.text, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if err := l.kubelet().Logs(context.Background(), "default", "a", &v1.PodLogOptions{Container: "main", Previous: true}, io.Discard); err == nil || err.Error() != `previous terminated container "main" in pod "a" not found` {
		t.Error(err)
	}
	first := rt.ids[0]
	l.advance(7 * time.Second) // it crashed and was started again
	if err := l.kubelet().Logs(context.Background(), "default", "a", &v1.PodLogOptions{Container: "main", Previous: true}, io.Discard); err != nil || rt.ids[len(rt.ids)-1] != first {
		t.Errorf("the previous log is that of %s, want %s: %v", rt.ids[len(rt.ids)-1], first, err)
	}
	if err := l.kubelet().Logs(context.Background(), "default", "a", &v1.PodLogOptions{Container: "other"}, io.Discard); err == nil {
		t.Error("a container that is not there has a log")
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestExecAndAttach(t *testing.T) {
	l, _ := talkingLab(t, Options{})
	l.create(informer.Pods, pod("a"))
	l.settle()
	ctx := context.Background()
	var out bytes.Buffer
	err := l.kubelet().Exec(ctx, "default", "a", "main", []string{"cat"}, strings.NewReader("abc"), nopCloser{&out}, nil, false, nil)
	var code utilexec.CodeExitError
	if !errors.As(err, &code) || code.Code != 3 || err.Error() != "command terminated with exit code 3" || out.String() != "abc" {
		t.Errorf("%v after %q", err, out.String())
	}
	if err := l.kubelet().Exec(ctx, "default", "a", "main", []string{"cat"}, strings.NewReader(""), nopCloser{&out}, nil, false, nil); err != nil {
		t.Errorf("exit code 0: %v", err)
	}
	if err := l.kubelet().Exec(ctx, "default", "a", "main", []string{"foo"}, nil, nopCloser{&out}, nil, false, nil); err == nil || err.Error() != `exec: "foo": executable file not found in $PATH` {
		t.Error(err)
	}
	out.Reset()
	if err := l.kubelet().Attach(ctx, "default", "a", "main", nil, nopCloser{&out}, nil, false, nil); err != nil || out.String() != "attached to main" {
		t.Errorf("%v after %q", err, out.String())
	}
	for _, id := range l.Runtimes["node-1"].Find("default", "a") {
		l.Runtimes["node-1"].Exit(id, 0, false)
	}
	if err := l.PowerOff("node-1"); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Kubelet("node-1"); ok {
		t.Error("a node without power answers")
	}
}

// duplex is a client's end of a forwarded port.
type duplex struct {
	in  io.Reader
	out bytes.Buffer
}

func (d *duplex) Read(p []byte) (int, error)  { return d.in.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.out.Write(p) }
func (d *duplex) Close() error                { return nil }

func TestPortForward(t *testing.T) {
	l, rt := talkingLab(t, Options{})
	l.create(informer.Pods, pod("a"))
	l.settle()
	d := &duplex{in: strings.NewReader("hello")}
	if err := l.kubelet().PortForward(context.Background(), "default", "a", 8080, d); err != nil {
		t.Error(err)
	}
	if d.out.String() != "hello" || rt.to[0] != "127.0.0.1:8080" {
		t.Errorf("%q came back from %v", d.out.String(), rt.to)
	}
	err := l.kubelet().PortForward(context.Background(), "default", "a", 81, d)
	if err == nil || err.Error() != "failed to connect to localhost:81 inside the pod: connect: connection refused" {
		t.Error(err)
	}
	if err := l.kubelet().PortForward(context.Background(), "default", "nobody", 81, d); err == nil {
		t.Error("a pod that is not there is forwarded to")
	}
}

func TestTCPProbe(t *testing.T) {
	l, _ := talkingLab(t, Options{})
	probe := func(port int32) func(*v1.Pod) {
		return func(p *v1.Pod) {
			p.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt32(port)}}}
		}
	}
	l.create(informer.Pods, pod("open", probe(8080)))
	l.create(informer.Pods, pod("shut", probe(81)))
	l.settle()
	if n := ready([]*v1.Pod{l.pod("open")}); n != 1 {
		t.Error("a port that is open is not ready")
	}
	if n := ready([]*v1.Pod{l.pod("shut")}); n != 0 {
		t.Error("a port that is shut is ready")
	}
	want := fmt.Sprintf("Unhealthy Readiness probe failed: dial tcp %s:81: connect: connection refused", l.pod("shut").Status.PodIP)
	if got := l.events("Pod", "shut"); !slices.Contains(got, want) {
		t.Error(got)
	}
}

func TestPullPolicies(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  v1.PullPolicy
		present bool
		pulls   int
		waiting string
		event   string
	}{
		{"always, there", v1.PullAlways, true, 1, "", `Pulled Successfully pulled image "busybox:1.37" in 0s (0s including waiting). Image size: 1048576 bytes.`},
		{"always, missing", v1.PullAlways, false, 1, "", `Pulling Pulling image "busybox:1.37"`},
		{"if not present, there", v1.PullIfNotPresent, true, 0, "", `Pulled Container image "busybox:1.37" already present on machine and can be accessed by the pod`},
		{"if not present, missing", v1.PullIfNotPresent, false, 1, "", `Pulling Pulling image "busybox:1.37"`},
		{"never, there", v1.PullNever, true, 0, "", `Pulled Container image "busybox:1.37" already present on machine and can be accessed by the pod`},
		{"never, missing", v1.PullNever, false, 0, "ErrImageNeverPull", `ErrImageNeverPull Container image "busybox:1.37" is not present with pull policy of Never`},
	} {
		t.Run(c.name, func(t *testing.T) {
			pulls := 0
			o := Options{Workers: 1, NoControlPlane: true, Runtime: func(string) null.Config {
				return null.Config{Pull: func(string) error { pulls++; return nil }}
			}}
			if c.present {
				o.Images = []string{"busybox:1.37"}
			}
			l := newLab(t, o)
			l.create(informer.Pods, pod("a", func(p *v1.Pod) { p.Spec.Containers[0].ImagePullPolicy = c.policy }))
			l.settle()
			reason := ""
			if w := l.pod("a").Status.ContainerStatuses[0].State.Waiting; w != nil {
				reason = w.Reason
			}
			if pulls != c.pulls || reason != c.waiting || !slices.Contains(l.events("Pod", "a"), c.event) {
				t.Errorf("%d pulls, waiting for %q, events %q", pulls, reason, l.events("Pod", "a"))
			}
		})
	}
}

func TestVolumesAndTheirUpdates(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.ConfigMaps, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default"}, Data: map[string]string{"color": "red", "size": "L"}})
	l.create(informer.Secrets, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"password": []byte("p")}})
	mode, limit, yes := int32(0o400), resource.MustParse("1Mi"), true
	label := v1.DownwardAPIVolumeFile{Path: "labels", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels"}}
	volumes := []v1.Volume{
		{Name: "items", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}, Items: []v1.KeyToPath{{Key: "color", Path: "deep/color.txt", Mode: &mode}}}}},
		{Name: "secret", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s", DefaultMode: &mode}}},
		{Name: "optional", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "none", Optional: &yes}}},
		{Name: "scratch", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: &limit}}},
		{Name: "down", VolumeSource: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{label}}}},
		{Name: "all", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
			{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}},
			{Secret: &v1.SecretProjection{LocalObjectReference: v1.LocalObjectReference{Name: "s"}, Items: []v1.KeyToPath{{Key: "password", Path: "pw"}}}},
		}}}},
	}
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Labels = map[string]string{"tier": "front"}
		p.Spec.Volumes = volumes
		for _, v := range volumes {
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
		}
	}))
	l.settle()
	files := func(name string) string {
		t.Helper()
		v, ok := l.Runtimes["node-1"].Volume(string(l.pod("a").UID), name)
		if !ok {
			t.Fatalf("volume %s was not made", name)
		}
		var out []string
		for _, f := range v.Files {
			out = append(out, fmt.Sprintf("%s(%o)=%s", f.Path, f.Mode, f.Data))
		}
		return strings.Join(out, " ")
	}
	expect := func(want map[string]string) {
		t.Helper()
		for name, text := range want {
			if diff := cmp.Diff(text, files(name)); diff != "" {
				t.Errorf("volume %s: %s", name, diff)
			}
		}
	}
	expect(map[string]string{"items": "deep/color.txt(400)=red", "secret": "password(400)=p", "optional": "", "down": `labels(644)=tier="front"`, "all": "color(644)=red size(644)=L pw(644)=p"})
	if v, _ := l.Runtimes["node-1"].Volume(string(l.pod("a").UID), "scratch"); v.Projected || !v.Memory || v.SizeLimit != 1<<20 {
		t.Errorf("emptyDir %+v", v)
	}
	l.patch(informer.ConfigMaps, "default", "cm", `{"data":{"color":"blue","size":null}}`)
	l.patch(informer.Secrets, "default", "s", `{"stringData":{"password":"q"}}`)
	l.patch(informer.Pods, "default", "a", `{"metadata":{"labels":{"tier":"back"}}}`)
	l.settle()
	expect(map[string]string{"items": "deep/color.txt(400)=blue", "secret": "password(400)=q", "down": `labels(644)=tier="back"`, "all": "color(644)=blue pw(644)=q"})
	if s := l.pod("a").Status.ContainerStatuses[0]; s.RestartCount != 0 {
		t.Errorf("%d restarts: new content must not restart anything", s.RestartCount)
	}
}

func TestReadinessGate(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("a", func(p *v1.Pod) { p.Spec.ReadinessGates = []v1.PodReadinessGate{{ConditionType: "example.com/open"}} }))
	l.settle()
	if ready([]*v1.Pod{l.pod("a")}) != 0 {
		t.Error("ready with a shut gate")
	}
	next := l.pod("a").DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, v1.PodCondition{Type: "example.com/open", Status: v1.ConditionTrue})
	if _, err := l.Admin.UpdateStatus(context.Background(), informer.Pods, "default", next); err != nil {
		t.Fatal(err)
	}
	l.settle()
	if ready([]*v1.Pod{l.pod("a")}) != 1 {
		t.Errorf("not ready with an open gate: %+v", l.pod("a").Status.Conditions)
	}
}
