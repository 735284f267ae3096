package sim

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/apiserver"
	"github.com/drydock-labs/drydock/orchestrator/informer"
)

func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

var shared struct {
	once   sync.Once
	server *apiserver.Server
	err    error
}

func testServer(t testing.TB) *apiserver.Server {
	t.Helper()
	shared.once.Do(func() {
		shared.server, shared.err = apiserver.New(apiserver.Config{Product: "sim", Verify: os.Getenv("DRYDOCK_BENCH") == ""})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// lab is a Lab with the short verbs of tests; every error ends the test.
type lab struct {
	*Lab
	t testing.TB
}

func newLab(t testing.TB, o Options) *lab {
	t.Helper()
	if o.OnError == nil {
		o.OnError = func(queue string, key any, err error) { t.Logf("%s %v: %v", queue, key, err) }
	}
	l, err := New(testServer(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return &lab{Lab: l, t: t}
}

func (l *lab) create(gr informer.GroupResource, obj runtime.Object) {
	l.t.Helper()
	ns := obj.(metav1.Object).GetNamespace()
	if _, err := l.Admin.Create(context.Background(), gr, ns, obj); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) settle() {
	l.t.Helper()
	if err := l.Settle(); err != nil {
		l.fatal(err)
	}
}

func (l *lab) advance(d time.Duration) {
	l.t.Helper()
	if err := l.Advance(d); err != nil {
		l.fatal(err)
	}
}

func (l *lab) fatal(err error) {
	l.t.Helper()
	if c := l.Loop().Crashed(); c != nil {
		l.t.Fatalf("%v\n%s", err, c.Stack)
	}
	l.t.Fatal(err)
}

// pods lists the pods of a namespace, in order of name.
func (l *lab) pods(ns string) []*v1.Pod {
	return informer.List[*v1.Pod](l.Cluster.Reader(), informer.Pods, ns)
}

func (l *lab) get(gr informer.GroupResource, ns, name string) runtime.Object {
	l.t.Helper()
	o, ok := l.Cluster.Reader().Get(gr, ns, name)
	if !ok {
		l.t.Fatalf("%s %s/%s is not there", gr, ns, name)
	}
	return o
}

// events lists reason and message of the events about an object, oldest first.
func (l *lab) events(kind, name string) []string {
	var out []string
	for _, e := range informer.List[*v1.Event](l.Cluster.Reader(), informer.Events, "") {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name {
			out = append(out, e.Reason+" "+e.Message)
		}
	}
	return out
}

// log renders the history: what was done, by whom, why.
func (l *lab) log() string {
	var b strings.Builder
	commits, err := l.Cluster.Store().History(l.Base)
	if err != nil {
		return err.Error()
	}
	for _, c := range commits {
		if c.Resource == informer.Events {
			continue
		}
		b.WriteString(strings.Join([]string{c.Op.String(), c.Resource.Resource, c.Namespace + "/" + c.Name, c.Cause.Component, c.Cause.Detail}, " ") + "\n")
	}
	return b.String()
}

func ready(pods []*v1.Pod) (n int) {
	for _, p := range pods {
		if p.DeletionTimestamp == nil && podutil.IsPodReady(p) {
			n++
		}
	}
	return n
}

func deployment(name string, replicas int32, image string, change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: v1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "web", Image: image, ImagePullPolicy: v1.PullIfNotPresent}}},
			},
		},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

func TestDeploymentRuns(t *testing.T) {
	l := newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28"}})
	for _, n := range informer.List[*v1.Node](l.Cluster.Reader(), informer.Nodes, "") {
		t.Log(n.Name, n.Spec.Taints, n.Status.Conditions[3].Status, n.Spec.PodCIDR)
	}
	l.create(informer.Deployments, deployment("web", 3, "nginx:1.28"))
	l.settle()
	pods := l.pods("default")
	if len(pods) != 3 || ready(pods) != 3 {
		t.Errorf("%d pods, %d ready, want 3 of 3", len(pods), ready(pods))
	}
	d := l.get(informer.Deployments, "default", "web").(*appsv1.Deployment)
	if d.Status.AvailableReplicas != 3 {
		t.Errorf("status %+v", d.Status)
	}
	if t.Failed() || testing.Verbose() {
		t.Log("\n" + l.log())
		if len(pods) > 0 {
			t.Log(strings.Join(l.events("Pod", pods[0].Name), "\n"))
		}
	}
}
