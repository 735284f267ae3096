package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/kubelet/null"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

var _ apiserver.Kubelet = (*kubelet.Kubelet)(nil)

// spec returns how a running container of a pod on node-1 was asked for.
func (l *lab) spec(pod, container string) kubelet.ContainerSpec {
	l.t.Helper()
	rt := l.Runtimes["node-1"]
	id, ok := rt.Find("default", pod)[container]
	if !ok {
		l.t.Fatalf("container %s of pod %s does not run: %+v", container, pod, l.pod(pod).Status)
	}
	return rt.Spec(id)
}

func TestEnvironment(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.ConfigMaps, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default"}, Data: map[string]string{"color": "red", "size": "L"}})
	l.create(informer.Secrets, &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}, Data: map[string][]byte{"password": []byte("p")}})
	l.create(informer.Services, &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "default"}, Spec: v1.ServiceSpec{ClusterIP: "10.96.7.7", Ports: []v1.ServicePort{{Port: 80}}}})
	field := func(path string) *v1.EnvVarSource {
		return &v1.EnvVarSource{FieldRef: &v1.ObjectFieldSelector{FieldPath: path}}
	}
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Labels = map[string]string{"tier": "front"}
		c := &p.Spec.Containers[0]
		c.Resources.Limits = v1.ResourceList{v1.ResourceMemory: resource.MustParse("16Mi"), v1.ResourceCPU: resource.MustParse("250m")}
		c.Args = []string{"--color=$(CM_color)", "$(NOBODY)", "$$(CM_color)"}
		c.EnvFrom = []v1.EnvFromSource{{Prefix: "CM_", ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}}
		c.Env = []v1.EnvVar{
			{Name: "NODE", ValueFrom: field("spec.nodeName")}, {Name: "IP", ValueFrom: field("status.podIP")}, {Name: "TIER", ValueFrom: field("metadata.labels['tier']")},
			{Name: "MEM", ValueFrom: &v1.EnvVarSource{ResourceFieldRef: &v1.ResourceFieldSelector{Resource: "limits.memory"}}},
			{Name: "PASS", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "s"}, Key: "password"}}},
			{Name: "URL", Value: "http://$(SHOP_SERVICE_HOST):$(SHOP_SERVICE_PORT)/$(CM_size)"},
		}
	}))
	l.settle()
	spec := l.spec("a", "main")
	got := map[string]string{}
	for _, e := range spec.Env {
		if !strings.HasPrefix(e.Name, "KUBERNETES_") && !strings.HasPrefix(e.Name, "SHOP_PORT") {
			got[e.Name] = e.Value
		}
	}
	want := map[string]string{
		"CM_color": "red", "CM_size": "L", "NODE": "node-1", "IP": l.pod("a").Status.PodIP, "TIER": "front", "MEM": "16777216", "PASS": "p",
		"URL": "http://10.96.7.7:80/L", "SHOP_SERVICE_HOST": "10.96.7.7", "SHOP_SERVICE_PORT": "80",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"--color=red", "$(NOBODY)", "$(CM_color)"}, spec.Args); diff != "" {
		t.Error(diff)
	}
	if r := spec.Resources; r.MemoryMax != 16<<20 || r.MemoryRequest != 16<<20 || r.CPUQuota != 25000 || r.CPUPeriod != 100000 {
		t.Errorf("resources %+v", r)
	}
}

func TestMissingConfigMapIsWaitedFor(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Spec.Containers[0].EnvFrom = []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}}
	}))
	l.create(informer.Pods, pod("b", func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "cfg", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "cfg", MountPath: "/etc/cfg"}}
	}))
	l.settle()
	if w := l.pod("a").Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "CreateContainerConfigError" || w.Message != `configmap "cm" not found` {
		t.Errorf("%+v", w)
	}
	if got := l.events("Pod", "b"); !slices.Contains(got, `FailedMount MountVolume.SetUp failed for volume "cfg" : configmap "cm" not found`) {
		t.Error(got)
	}
	l.create(informer.ConfigMaps, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default"}, Data: map[string]string{"color": "red"}})
	l.settle()
	l.advance(3 * time.Second)
	for _, name := range []string{"a", "b"} {
		if p := l.pod(name); p.Status.Phase != v1.PodRunning {
			t.Errorf("pod %s is %s: %+v", name, p.Status.Phase, p.Status.ContainerStatuses)
		}
	}
	l.patch(informer.ConfigMaps, "default", "cm", `{"data":{"color":"blue"}}`)
	l.settle()
	v, ok := l.Runtimes["node-1"].Volume(string(l.pod("b").UID), "cfg")
	if !ok || len(v.Files) != 1 || string(v.Files[0].Data) != "blue" {
		t.Errorf("the mounted volume holds %+v", v)
	}
}

func TestServiceAccountVolume(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("a"))
	l.settle()
	var name string
	for _, m := range l.spec("a", "main").Mounts {
		if m.Target == "/var/run/secrets/kubernetes.io/serviceaccount" && m.ReadOnly {
			name = m.Volume
		}
	}
	v, _ := l.Runtimes["node-1"].Volume(string(l.pod("a").UID), name)
	files := map[string]string{}
	for _, f := range v.Files {
		data, err := f.Content(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		files[f.Path] = string(data)
	}
	if files["namespace"] != "default" || !strings.Contains(files["ca.crt"], "CERTIFICATE") || strings.Count(files["token"], ".") != 2 {
		t.Errorf("files %v", files)
	}
}

func TestUnsupportedVolumeIsRefusedClearly(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Spec.Volumes = []v1.Volume{{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: "/"}}}}
	}))
	l.settle()
	want := `FailedMount MountVolume.SetUp failed for volume "host" : drydock nodes do not support hostPath volumes; configMap, secret, downwardAPI, projected and emptyDir work`
	if got := l.events("Pod", "a"); !slices.Contains(got, want) {
		t.Error(got)
	}
}

func TestInitContainersAndSidecars(t *testing.T) {
	var order []string
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}, Runtime: func(string) null.Config {
		tries := 0
		return null.Config{Fate: func(_ kubelet.SandboxSpec, c kubelet.ContainerSpec) null.Fate {
			order = append(order, c.Name)
			switch c.Name {
			case "first":
				tries++
				return null.Fate{After: time.Second, Code: int32(max(0, 2-tries))}
			case "second":
				return null.Fate{After: time.Second}
			case "main":
				return null.Fate{After: 5 * time.Second}
			}
			return null.Fate{}
		}}
	}})
	always := v1.ContainerRestartPolicyAlways
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Spec.RestartPolicy = v1.RestartPolicyOnFailure
		init := func(name string, policy *v1.ContainerRestartPolicy) v1.Container {
			return v1.Container{Name: name, Image: "busybox:1.37", ImagePullPolicy: v1.PullIfNotPresent, RestartPolicy: policy}
		}
		p.Spec.InitContainers = []v1.Container{init("first", nil), init("mesh", &always), init("second", nil)}
	}))
	l.settle()
	if p := l.pod("a"); p.Status.Phase != v1.PodPending || p.Status.ContainerStatuses[0].State.Waiting.Reason != "PodInitializing" {
		t.Errorf("phase %s, status %+v", p.Status.Phase, p.Status.ContainerStatuses)
	}
	l.advance(5 * time.Second)
	if p := l.pod("a"); p.Status.Phase != v1.PodRunning {
		t.Errorf("phase %s, status %+v", p.Status.Phase, p.Status.InitContainerStatuses)
	}
	l.advance(10 * time.Second)
	if p := l.pod("a"); p.Status.Phase != v1.PodSucceeded {
		t.Errorf("phase %s: a sidecar holds the pod: %+v", p.Status.Phase, p.Status.InitContainerStatuses)
	}
	if diff := cmp.Diff([]string{"first", "first", "mesh", "second", "main"}, order); diff != "" {
		t.Error(diff)
	}
}

func TestProbes(t *testing.T) {
	healthy := true
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}, Runtime: func(string) null.Config {
		return null.Config{Exec: func(c kubelet.ContainerSpec, cmd []string) (string, int, error) {
			if cmd[0] == "ready" || healthy {
				return "", 0, nil
			}
			return "sick", 1, nil
		}}
	}})
	exec := func(name string) v1.ProbeHandler {
		return v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{name}}}
	}
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		c := &p.Spec.Containers[0]
		c.ReadinessProbe = &v1.Probe{ProbeHandler: exec("ready"), InitialDelaySeconds: 5, PeriodSeconds: 5}
		c.LivenessProbe = &v1.Probe{ProbeHandler: exec("live"), PeriodSeconds: 10, FailureThreshold: 3}
	}))
	l.settle()
	if s := l.pod("a").Status.ContainerStatuses[0]; s.Ready || !*s.Started {
		t.Errorf("ready before the probe: %+v", s)
	}
	l.advance(5 * time.Second)
	if s := l.pod("a").Status.ContainerStatuses[0]; !s.Ready {
		t.Errorf("not ready after the probe: %+v", s)
	}
	healthy = false
	l.advance(26 * time.Second)
	s := l.pod("a").Status.ContainerStatuses[0]
	if s.RestartCount != 1 {
		t.Errorf("%d restarts after three failures", s.RestartCount)
	}
	got := strings.Join(l.events("Pod", "a"), "\n")
	for _, want := range []string{"Unhealthy Liveness probe failed: sick", "Killing Container main failed liveness probe, will be restarted"} {
		if !strings.Contains(got, want) {
			t.Errorf("no event %q in\n%s", want, got)
		}
	}
}

func TestStartupProbeHoldsTheOthers(t *testing.T) {
	started := false
	asked := map[string]int{}
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}, Runtime: func(string) null.Config {
		return null.Config{Exec: func(c kubelet.ContainerSpec, cmd []string) (string, int, error) {
			asked[cmd[0]]++
			if cmd[0] == "startup" && !started {
				return "", 1, nil
			}
			return "", 0, nil
		}}
	}})
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		c := &p.Spec.Containers[0]
		c.StartupProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"startup"}}}, PeriodSeconds: 1, FailureThreshold: 30}
		c.LivenessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"live"}}}, PeriodSeconds: 1}
	}))
	l.settle()
	l.advance(10 * time.Second)
	if asked["live"] != 0 || l.pod("a").Status.ContainerStatuses[0].Ready {
		t.Errorf("asked %v before the container had started", asked)
	}
	started = true
	l.advance(3 * time.Second)
	if asked["live"] == 0 || !l.pod("a").Status.ContainerStatuses[0].Ready {
		t.Errorf("asked %v after it had", asked)
	}
}

func TestHTTPProbeGoesThroughTheRuntime(t *testing.T) {
	status := http.StatusInternalServerError
	done := make(chan struct{})
	defer close(done)
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}, Runtime: func(string) null.Config {
		return null.Config{Dial: func(_ kubelet.SandboxSpec, port uint16) (net.Conn, error) {
			if port != 8080 {
				return nil, errors.New("connect: connection refused")
			}
			client, server := net.Pipe()
			go serveOnce(server, status)
			return client, nil
		}}
	}})
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = []v1.ContainerPort{{Name: "web", ContainerPort: 8080}}
		p.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("web")}}, PeriodSeconds: 1}
	}))
	l.settle()
	if l.pod("a").Status.ContainerStatuses[0].Ready {
		t.Error("ready with status 500")
	}
	if got := l.events("Pod", "a"); !slices.Contains(got, "Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 500") {
		t.Error(got)
	}
	status = http.StatusOK
	l.advance(2 * time.Second)
	if !l.pod("a").Status.ContainerStatuses[0].Ready {
		t.Error("not ready with status 200")
	}
}

func serveOnce(c net.Conn, status int) {
	defer c.Close()
	buf := make([]byte, 4096)
	if _, err := c.Read(buf); err != nil {
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", status)
}

func TestTermination(t *testing.T) {
	var hooks []string
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}, Execute: func(f func()) { go f() }, Runtime: func(string) null.Config {
		return null.Config{
			Fate: func(_ kubelet.SandboxSpec, c kubelet.ContainerSpec) null.Fate {
				return null.Fate{Stubborn: c.Name == "main"}
			},
			Exec: func(c kubelet.ContainerSpec, cmd []string) (string, int, error) {
				hooks = append(hooks, cmd[0])
				return "", 0, nil
			},
		}
	}})
	grace := int64(10)
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"goodbye"}}}}
	}))
	l.settle()
	l.delete(informer.Pods, "default", "a")
	l.awaitStop("node-1")
	if l.pod("a").DeletionTimestamp == nil {
		t.Error("not terminating")
	}
	for f, ok := l.Clock.Next(l.Clock.Now().Add(10 * time.Second)); ok; f, ok = l.Clock.Next(l.Clock.Now()) {
		f()
	}
	l.settle()
	l.absent(informer.Pods, "default", "a")
	if diff := cmp.Diff([]string{"goodbye"}, hooks); diff != "" {
		t.Error(diff)
	}
	commits, err := l.Cluster.Store().History(l.Base)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commits {
		if c.Op == store.Delete && c.Name == "a" {
			if s := c.Old.External().(*v1.Pod).Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 137 {
				t.Errorf("last status %+v", s)
			}
		}
	}
	if s, c, v := l.Runtimes["node-1"].Counts(); s+c+v != 0 {
		t.Errorf("%d sandboxes, %d containers, %d volumes are left", s, c, v)
	}
}

// awaitStop returns when a stubborn container is being stopped. That is a call under way, so the loop does not fall idle: the clock has
// to be moved without waiting for it.
func (l *lab) awaitStop(node string) {
	for l.Runtimes[node].Stopping() == 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestForcedDeletionLeavesNothing(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("a"))
	l.settle()
	zero := int64(0)
	l.delete(informer.Pods, "default", "a", func(o *metav1.DeleteOptions) { o.GracePeriodSeconds = &zero })
	l.settle()
	if s, c, v := l.Runtimes["node-1"].Counts(); s+c+v != 0 {
		t.Errorf("%d sandboxes, %d containers, %d volumes are left", s, c, v)
	}
}

func TestLogsOfAPodThatWaits(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Runtime: func(string) null.Config {
		return null.Config{Pull: func(string) error { return errors.New("no") }}
	}})
	l.create(informer.Pods, pod("a"))
	l.settle()
	k, ok := l.Kubelet("node-1")
	if !ok {
		t.Fatal("no kubelet")
	}
	err := k.Logs(context.Background(), "default", "a", &v1.PodLogOptions{Container: "main"}, io.Discard)
	if err == nil || err.Error() != `container "main" in pod "a" is waiting to start: trying and failing to pull image` && !strings.Contains(err.Error(), "is waiting to start: ErrImagePull") {
		t.Error(err)
	}
}

func TestActiveDeadline(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	seconds := int64(30)
	l.create(informer.Pods, pod("a", func(p *v1.Pod) { p.Spec.ActiveDeadlineSeconds = &seconds }))
	l.settle()
	l.advance(31 * time.Second)
	if p := l.pod("a"); p.Status.Phase != v1.PodFailed || p.Status.Reason != "DeadlineExceeded" {
		t.Errorf("phase %s reason %s", p.Status.Phase, p.Status.Reason)
	}
}

// What happens again is counted in one Event.
func TestEventsAreCounted(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}, Runtime: fate(null.Fate{After: time.Second, Code: 1})})
	l.create(informer.Pods, pod("a"))
	l.settle()
	l.advance(3 * time.Minute)
	for _, e := range informer.List[*v1.Event](l.Cluster.Reader(), informer.Events, "default") {
		if e.Reason != "Started" {
			continue
		}
		if e.Count != l.pod("a").Status.ContainerStatuses[0].RestartCount+1 || !e.LastTimestamp.After(e.FirstTimestamp.Time) || e.InvolvedObject.FieldPath != "spec.containers{main}" {
			t.Errorf("%+v", e)
		}
		return
	}
	t.Error("no Event says that the container was started")
}

// A pod's image may be changed in place: what runs is stopped and started again with it, what could not be pulled is pulled.
func TestImageOfARunningPodIsChanged(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Runtime: func(string) null.Config {
		return null.Config{Pull: func(ref string) error {
			if ref == "bussybox:1.37" {
				return errors.New("no such image")
			}
			return nil
		}}
	}})
	set := func(image string) {
		l.patch(informer.Pods, "default", "a", fmt.Sprintf(`{"spec":{"containers":[{"name":"main","image":%q}]}}`, image))
		l.settle()
	}
	l.create(informer.Pods, pod("a", func(p *v1.Pod) {
		p.Spec.RestartPolicy = v1.RestartPolicyNever
		p.Spec.Containers[0].Image = "bussybox:1.37"
	}))
	l.settle()
	l.advance(5 * time.Second)
	if w := l.pod("a").Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "ImagePullBackOff" {
		t.Fatalf("%+v", l.pod("a").Status.ContainerStatuses)
	}
	set("busybox:1.37")
	if got := l.spec("a", "main").Image.Ref; got != "busybox:1.37" {
		t.Errorf("%s runs", got)
	}
	set("busybox:1.38")
	if got := l.spec("a", "main").Image.Ref; got != "busybox:1.38" {
		t.Errorf("%s runs", got)
	}
	if s := l.pod("a").Status.ContainerStatuses[0]; s.RestartCount != 1 || s.Image != "busybox:1.38" || s.State.Running == nil {
		t.Errorf("status %+v", s)
	}
	if got := l.events("Pod", "a"); !slices.Contains(got, "Killing Container main definition changed, will be restarted") {
		t.Error(got)
	}
}
