package sim

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/store"
)

func (l *lab) patch(gr informer.GroupResource, ns, name, merge string) {
	l.t.Helper()
	if _, err := l.Admin.Patch(context.Background(), gr, ns, name, types.StrategicMergePatchType, []byte(merge), ""); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) delete(gr informer.GroupResource, ns, name string, change ...func(*metav1.DeleteOptions)) {
	l.t.Helper()
	opts := &metav1.DeleteOptions{}
	for _, c := range change {
		c(opts)
	}
	if err := l.Admin.Delete(context.Background(), gr, ns, name, opts); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) deployment(name string) *appsv1.Deployment {
	l.t.Helper()
	return l.get(informer.Deployments, "default", name).(*appsv1.Deployment)
}

// watchPods calls f after every commit of a pod with all pods of the namespace as they were then.
func (l *lab) watchPods(ns string, f func(pods map[string]*v1.Pod, c store.Commit)) {
	pods := map[string]*v1.Pod{}
	for _, p := range l.pods(ns) {
		pods[p.Name] = p
	}
	l.t.Cleanup(l.Cluster.Store().OnCommit(func(c store.Commit) {
		if c.Resource != informer.Pods || c.Namespace != ns {
			return
		}
		if c.New == nil {
			delete(pods, c.Name)
		} else {
			pods[c.Name] = c.New.External().(*v1.Pod)
		}
		f(pods, c)
	}))
}

func image(p *v1.Pod) string { return p.Spec.Containers[0].Image }

func TestRollingUpdateNeverFallsBelowAvailability(t *testing.T) {
	for _, c := range []struct {
		name        string
		surge, down string
		least, most int
		minReady    int32
	}{
		{name: "one more, none less", surge: "1", down: "0", least: 4, most: 5},
		{name: "none more, one less", surge: "0", down: "1", least: 3, most: 4},
		{name: "half", surge: "50%", down: "25%", least: 3, most: 6},
		{name: "min ready seconds", surge: "1", down: "0", least: 4, most: 5, minReady: 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28", "nginx:1.29"}})
			surge, down := intstr.Parse(c.surge), intstr.Parse(c.down)
			l.create(informer.Deployments, deployment("web", 4, "nginx:1.28", func(d *appsv1.Deployment) {
				d.Spec.MinReadySeconds = c.minReady
				d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
					RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &down}}
			}))
			l.settle()
			l.advance(time.Minute)
			least, most := 99, 0
			l.watchPods("default", func(pods map[string]*v1.Pod, _ store.Commit) {
				ready, all := 0, 0
				for _, p := range pods {
					if p.DeletionTimestamp == nil {
						all++
						if podutil.IsPodReady(p) {
							ready++
						}
					}
				}
				least, most = min(least, ready), max(most, all)
			})
			l.patch(informer.Deployments, "default", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.29"}]}}}}`)
			l.settle()
			l.advance(10 * time.Minute)
			if least < c.least || most > c.most {
				t.Errorf("%d to %d pods ready, at most %d at once; want at least %d and at most %d", least, ready(l.pods("default")), most, c.least, c.most)
			}
			d := l.deployment("web")
			if d.Status.UpdatedReplicas != 4 || d.Status.AvailableReplicas != 4 || d.Status.Replicas != 4 {
				t.Errorf("status %+v", d.Status)
			}
			for _, p := range l.pods("default") {
				if image(p) != "nginx:1.29" {
					t.Errorf("pod %s has image %s", p.Name, image(p))
				}
			}
			if cond := d.Status.Conditions[len(d.Status.Conditions)-1]; cond.Reason != "NewReplicaSetAvailable" {
				t.Errorf("condition %+v", cond)
			}
		})
	}
}

func TestScaleAndRollBack(t *testing.T) {
	l := newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28", "nginx:1.29"}})
	l.create(informer.Deployments, deployment("web", 2, "nginx:1.28"))
	l.settle()
	l.patch(informer.Deployments, "default", "web", `{"spec":{"replicas":5}}`)
	l.settle()
	if n := ready(l.pods("default")); n != 5 {
		t.Errorf("%d ready after scaling up, want 5", n)
	}
	l.patch(informer.Deployments, "default", "web", `{"spec":{"replicas":1}}`)
	l.settle()
	l.advance(time.Minute)
	if n := len(l.pods("default")); n != 1 {
		t.Errorf("%d pods after scaling down, want 1", n)
	}
	first := l.replicaSets("web")
	l.patch(informer.Deployments, "default", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.29"}]}}}}`)
	l.settle()
	l.advance(time.Minute)
	l.patch(informer.Deployments, "default", "web", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}`)
	l.settle()
	l.advance(time.Minute)
	if got := l.deployment("web").Annotations["deployment.kubernetes.io/revision"]; got != "3" {
		t.Errorf("revision %s after rolling back, want 3", got)
	}
	sets := l.replicaSets("web")
	for _, rs := range sets {
		if want := "web-" + rs.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; rs.Name != want {
			t.Errorf("replica set %s, want %s", rs.Name, want)
		}
	}
	if len(sets) != 2 {
		t.Fatalf("%d replica sets, want the 2 that were", len(sets))
	}
	for _, rs := range sets {
		want := int32(0)
		if rs.UID == first[0].UID {
			want = 1
		}
		if *rs.Spec.Replicas != want {
			t.Errorf("replica set %s has %d replicas, want %d", rs.Name, *rs.Spec.Replicas, want)
		}
	}
	want := []string{
		"Scaled up replica set SET from 0 to 2", "Scaled up replica set SET from 2 to 5", "Scaled down replica set SET from 5 to 1",
	}
	var got []string
	for _, e := range l.events("Deployment", "web") {
		if strings.Contains(e, first[0].Name) {
			got = append(got, strings.ReplaceAll(strings.TrimPrefix(e, "ScalingReplicaSet "), first[0].Name, "SET"))
		}
	}
	if diff := cmp.Diff(want, got[:min(3, len(got))]); diff != "" {
		t.Error(diff)
	}
}

func (l *lab) replicaSets(owner string) (out []*appsv1.ReplicaSet) {
	for _, rs := range informer.List[*appsv1.ReplicaSet](l.Cluster.Reader(), informer.ReplicaSets, "default") {
		if ref := metav1.GetControllerOf(rs); ref != nil && ref.Name == owner {
			out = append(out, rs)
		}
	}
	return out
}

func TestHistoryLimitRecreateAndPause(t *testing.T) {
	l := newLab(t, Options{Workers: 2, Images: []string{"i:0", "i:1", "i:2", "i:3", "i:4"}})
	limit := int32(2)
	l.create(informer.Deployments, deployment("web", 2, "i:0", func(d *appsv1.Deployment) {
		d.Spec.RevisionHistoryLimit = &limit
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	}))
	l.settle()
	images := map[string]bool{}
	l.watchPods("default", func(pods map[string]*v1.Pod, _ store.Commit) {
		clear(images)
		for _, p := range pods {
			images[image(p)] = true
		}
		if len(images) > 1 {
			t.Errorf("Recreate let two versions live at once: %v", images)
		}
	})
	for i := 1; i <= 4; i++ {
		l.patch(informer.Deployments, "default", "web", fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"i:%d"}]}}}}`, i))
		l.settle()
		l.advance(time.Minute)
	}
	if n := len(l.replicaSets("web")); n != 3 {
		t.Errorf("%d replica sets, want the current one and 2 of history", n)
	}
	l.patch(informer.Deployments, "default", "web", `{"spec":{"paused":true,"template":{"spec":{"containers":[{"name":"web","image":"i:0"}]}}}}`)
	l.settle()
	l.advance(time.Minute)
	for _, p := range l.pods("default") {
		if image(p) != "i:4" {
			t.Errorf("a paused deployment rolled out %s", image(p))
		}
	}
	l.patch(informer.Deployments, "default", "web", `{"spec":{"paused":false}}`)
	l.settle()
	l.advance(time.Minute)
	for _, p := range l.pods("default") {
		if image(p) != "i:0" {
			t.Errorf("a resumed deployment kept %s", image(p))
		}
	}
}

func TestProgressDeadline(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	deadline := int32(60)
	l.create(informer.Deployments, deployment("web", 1, "nginx:1.28", func(d *appsv1.Deployment) {
		d.Spec.ProgressDeadlineSeconds = &deadline
		d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	}))
	l.settle()
	l.advance(50 * time.Second)
	progressing := func() *appsv1.DeploymentCondition {
		for _, c := range l.deployment("web").Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing {
				return &c
			}
		}
		return nil
	}
	if c := progressing(); c == nil || c.Status != v1.ConditionTrue {
		t.Errorf("before the deadline: %+v", c)
	}
	l.advance(20 * time.Second)
	if c := progressing(); c == nil || c.Reason != "ProgressDeadlineExceeded" || c.Status != v1.ConditionFalse {
		t.Errorf("after the deadline: %+v", c)
	}
}

func TestDeletedPodIsReplacedAndTheCauseIsTold(t *testing.T) {
	l := newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 3, "nginx:1.28"))
	l.settle()
	before := l.Cluster.Store().Rev()
	victim := l.pods("default")[1].Name
	l.delete(informer.Pods, "default", victim)
	l.settle()
	l.advance(31 * time.Second)
	pods := l.pods("default")
	if len(pods) != 3 || ready(pods) != 3 {
		t.Fatalf("%d pods, %d ready", len(pods), ready(pods))
	}
	commits, err := l.Cluster.Store().History(before)
	if err != nil {
		t.Fatal(err)
	}
	byRev := map[int64]store.Commit{}
	var last store.Commit
	for _, c := range commits {
		byRev[c.Rev] = c
		if c.Resource == informer.Pods && strings.HasPrefix(c.Cause.Detail, "started") {
			last = c
		}
	}
	var chain []string
	for c := last; c.Rev != 0; c = byRev[c.Cause.Parent] {
		detail := c.Cause.Detail
		if i := strings.Index(detail, " node="); i > 0 {
			detail = detail[:i]
		}
		chain = append([]string{c.Cause.Component + ": " + detail}, chain...)
	}
	want := []string{"admin: ", "replicaset-controller: replicas wanted=3 had=2", "default-scheduler: scheduled", "kubelet: started ms=0"}
	if len(chain) > 0 && strings.HasPrefix(chain[0], "admin") {
		chain[0] = "admin: "
	}
	if diff := cmp.Diff(want, chain); diff != "" {
		t.Errorf("%s\n%s", diff, l.log())
	}
}

func pod(name string, change ...func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "main", Image: "busybox:1.37", ImagePullPolicy: v1.PullIfNotPresent}}},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func (l *lab) pod(name string) *v1.Pod {
	l.t.Helper()
	return l.get(informer.Pods, "default", name).(*v1.Pod)
}

func (l *lab) absent(gr informer.GroupResource, ns, name string) {
	l.t.Helper()
	if _, ok := l.Cluster.Reader().Get(gr, ns, name); ok {
		l.t.Errorf("%s %s/%s is still there", gr, ns, name)
	}
}
