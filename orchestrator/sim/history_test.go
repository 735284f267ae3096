package sim

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/kubelet/null"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

// story runs one eventful life of a cluster and returns its history. Everything in it is decided by the seed.
func story(t *testing.T, seed uint64) []store.Commit {
	t.Helper()
	runs := 0
	l := newLab(t, Options{Seed: seed, Workers: 4, Images: []string{"nginx:1.28", "nginx:1.29", "flaky:1"}, Runtime: func(string) null.Config {
		return null.Config{Fate: func(_ kubelet.SandboxSpec, c kubelet.ContainerSpec) null.Fate {
			if runs++; c.Image.Ref == "flaky:1" {
				return null.Fate{After: time.Duration(1+runs%7) * time.Second, Code: int32(runs % 3), OOM: runs%5 == 0}
			}
			return null.Fate{}
		}}
	}})
	l.create(informer.Services, &v1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: v1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []v1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}})
	l.settle() // here and below: two writers at once would race
	l.create(informer.Deployments, deployment("web", 6, "nginx:1.28", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}, InitialDelaySeconds: 2}
	}))
	l.settle()
	l.create(informer.Deployments, deployment("flaky", 3, "flaky:1"))
	l.settle()
	l.create(informer.Deployments, deployment("gone", 2, "missing:1"))
	l.settle()
	l.advance(time.Minute)
	l.patch(informer.Deployments, "default", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.29"}]}}}}`)
	l.settle()
	l.advance(30 * time.Second)
	l.delete(informer.Pods, "default", l.pods("default")[0].Name)
	l.settle()
	if err := l.PowerOff("node-3"); err != nil {
		t.Fatal(err)
	}
	l.advance(6 * time.Minute)
	if err := l.PowerOn("node-3"); err != nil {
		t.Fatal(err)
	}
	l.advance(time.Minute)
	l.patch(informer.Deployments, "default", "web", `{"spec":{"replicas":2}}`)
	l.settle()
	l.delete(informer.Deployments, "default", "gone")
	l.settle()
	l.advance(time.Minute)
	commits, err := l.Cluster.Store().History(l.Base)
	if err != nil {
		t.Fatal(err)
	}
	return commits
}

func line(c store.Commit) string {
	return fmt.Sprintf("%d %s %s %s cause=%+v", c.Rev, c.Time.Format(time.RFC3339Nano), c.Op, c.Key, c.Cause)
}

func TestEqualSeedsMakeEqualHistories(t *testing.T) {
	a, b := story(t, 7), story(t, 7)
	for i := range min(len(a), len(b)) {
		if la, lb := line(a[i]), line(b[i]); la != lb {
			t.Fatalf("commit %d of %d:\n%s\n%s", i, len(a), la, lb)
		}
		if !bytes.Equal(a[i].Bytes, b[i].Bytes) {
			t.Fatalf("commit %d of %d: %s: the objects differ:\n%v\n%v", i, len(a), line(a[i]), a[i].Bytes, b[i].Bytes)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d and %d commits", len(a), len(b))
	}
	if len(a) < 300 {
		t.Errorf("only %d commits: the story is too short to prove anything", len(a))
	}
	t.Logf("%d commits", len(a))
	c := story(t, 8)
	same := len(a) == len(c)
	for i := range min(len(a), len(c)) {
		same = same && a[i].Key == c[i].Key
	}
	if same {
		t.Error("another seed made the same names")
	}
}
