package sim

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/kubelet"
	"github.com/drydock-labs/drydock/orchestrator/kubelet/null"
)

func (l *lab) nodeReady(name string) v1.ConditionStatus {
	l.t.Helper()
	for _, c := range l.get(informer.Nodes, "", name).(*v1.Node).Status.Conditions {
		if c.Type == v1.NodeReady {
			return c.Status
		}
	}
	return ""
}

func TestNodeLosesPowerAndComesBack(t *testing.T) {
	l := newLab(t, Options{Workers: 3, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 3, "nginx:1.28"))
	l.settle()
	l.advance(3 * time.Minute)
	if err := l.PowerOff("node-2"); err != nil {
		t.Fatal(err)
	}
	l.settle()
	l.advance(29 * time.Second)
	if got := l.nodeReady("node-2"); got != v1.ConditionTrue {
		t.Errorf("Ready is %s before 40 s of silence", got)
	}
	l.advance(11 * time.Second)
	if got := l.nodeReady("node-2"); got != v1.ConditionUnknown {
		t.Errorf("Ready is %s after 40 s of silence", got)
	}
	if n := ready(l.pods("default")); n != 2 {
		t.Errorf("%d pods are shown as ready, want 2", n)
	}
	node := l.get(informer.Nodes, "", "node-2").(*v1.Node)
	var taints []string
	for _, taint := range node.Spec.Taints {
		taints = append(taints, taint.ToString())
	}
	if diff := cmp.Diff([]string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}, taints); diff != "" {
		t.Error(diff)
	}
	l.advance(290 * time.Second)
	if n := len(l.pods("default")); n != 3 {
		t.Errorf("%d pods before the toleration of 300 s is over, want 3", n)
	}
	l.advance(15 * time.Second)
	if n := ready(l.pods("default")); n != 3 {
		t.Errorf("%d pods ready after the eviction, want 3", n)
	}
	terminating := 0
	for _, p := range l.pods("default") {
		if p.DeletionTimestamp != nil {
			terminating++
			if p.Spec.NodeName != "node-2" {
				t.Errorf("pod %s on %s is terminating", p.Name, p.Spec.NodeName)
			}
		}
	}
	if terminating != 1 {
		t.Errorf("%d pods are terminating, want the one on the dead node", terminating)
	}
	if err := l.PowerOn("node-2"); err != nil {
		t.Fatal(err)
	}
	l.settle()
	if got := l.nodeReady("node-2"); got != v1.ConditionTrue {
		t.Errorf("Ready is %s after power came back", got)
	}
	if n := len(l.get(informer.Nodes, "", "node-2").(*v1.Node).Spec.Taints); n != 0 {
		t.Errorf("%d taints are left", n)
	}
	if n := len(l.pods("default")); n != 3 {
		t.Errorf("%d pods at the end, want 3", n)
	}
}

func TestShortPowerCutRestartsContainers(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("a"))
	l.settle()
	if err := l.PowerOff("node-1"); err != nil {
		t.Fatal(err)
	}
	l.advance(20 * time.Second)
	if err := l.PowerOn("node-1"); err != nil {
		t.Fatal(err)
	}
	l.settle()
	l.advance(time.Second)
	s := l.pod("a").Status.ContainerStatuses[0]
	if s.State.Running == nil || s.RestartCount != 1 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 255 {
		t.Errorf("container status %+v", s)
	}
	if !strings.Contains(strings.Join(l.events("Pod", "a"), "\n"), "SandboxChanged") {
		t.Error(l.events("Pod", "a"))
	}
}

func TestRemovedNodeLosesItsPods(t *testing.T) {
	l := newLab(t, Options{Workers: 2, Images: []string{"nginx:1.28"}})
	l.create(informer.Deployments, deployment("web", 4, "nginx:1.28"))
	l.settle()
	if err := l.RemoveNode("node-1"); err != nil {
		t.Fatal(err)
	}
	l.settle()
	l.absent(informer.Nodes, "", "node-1")
	l.advance(41 * time.Second)
	l.absent(informer.Leases, v1.NamespaceNodeLease, "node-1")
	pods := l.pods("default")
	if len(pods) != 4 || ready(pods) != 4 {
		t.Errorf("%d pods, %d ready", len(pods), ready(pods))
	}
	for _, p := range pods {
		if p.Spec.NodeName != "node-2" {
			t.Errorf("pod %s is on %s", p.Name, p.Spec.NodeName)
		}
	}
}

func requests(cpu, memory string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
}

func TestPendingPodsSayWhy(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  func(*v1.Pod)
		want string
	}{
		{"too large", requests("3", "1Mi"), "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."},
		{"selector", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }, "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."},
		{"affinity to nobody", func(p *v1.Pod) {
			p.Spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{
				{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "nobody"}}, TopologyKey: v1.LabelHostname}}}}
		}, "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s) didn't match pod affinity rules. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, Options{Workers: 3, Images: []string{"busybox:1.37"}})
			l.create(informer.Pods, pod("a", c.pod))
			l.settle()
			if diff := cmp.Diff([]string{"FailedScheduling " + c.want}, l.events("Pod", "a")); diff != "" {
				t.Error(diff)
			}
			cond := l.pod("a").Status.Conditions
			if len(cond) != 1 || cond[0].Reason != "Unschedulable" || cond[0].Message != c.want {
				t.Errorf("conditions %+v", cond)
			}
		})
	}
}

func TestPendingPodIsScheduledWhenRoomIsMade(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("big", requests("1500m", "1Mi")))
	l.create(informer.Pods, pod("next", requests("1", "1Mi")))
	l.settle()
	if l.pod("next").Spec.NodeName != "" {
		t.Fatal("two pods of 2.5 CPU fit a node of 2")
	}
	l.delete(informer.Pods, "default", "big")
	l.settle()
	l.advance(15 * time.Second)
	if p := l.pod("next"); p.Status.Phase != v1.PodRunning {
		t.Errorf("phase %s: %v", p.Status.Phase, p.Status.Conditions)
	}
}

func TestPreemption(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}})
	l.create(informer.Pods, pod("small", requests("1500m", "1Mi")))
	l.settle()
	l.create(informer.Pods, pod("vip", requests("1", "1Mi"), func(p *v1.Pod) {
		p.Namespace = "kube-system"
		p.Spec.PriorityClassName = "system-cluster-critical"
	}))
	l.settle()
	l.advance(time.Minute)
	l.absent(informer.Pods, "default", "small")
	p := l.get(informer.Pods, "kube-system", "vip").(*v1.Pod)
	if p.Status.Phase != v1.PodRunning {
		t.Errorf("phase %s", p.Status.Phase)
	}
}

func TestImagePullBackOff(t *testing.T) {
	missing := true
	l := newLab(t, Options{Workers: 1, Runtime: func(string) null.Config {
		return null.Config{Pull: func(ref string) error {
			if missing {
				return &kubelet.PullError{Ref: ref, Explanation: "this lab's registry has no image named " + ref}
			}
			return nil
		}}
	}})
	l.create(informer.Pods, pod("a"))
	l.settle()
	waiting := func() string {
		w := l.pod("a").Status.ContainerStatuses[0].State.Waiting
		if w == nil {
			return ""
		}
		return w.Reason + ": " + w.Message
	}
	if got := waiting(); got != "ErrImagePull: this lab's registry has no image named busybox:1.37" {
		t.Error(got)
	}
	l.advance(2 * time.Second)
	if got := waiting(); !strings.HasPrefix(got, `ImagePullBackOff: Back-off pulling image "busybox:1.37": ErrImagePull: this lab's registry`) {
		t.Error(got)
	}
	missing = false
	l.advance(10 * time.Second)
	if p := l.pod("a"); p.Status.Phase != v1.PodRunning {
		t.Errorf("phase %s after the image came: %s", p.Status.Phase, waiting())
	}
	want := []string{
		"Scheduled Successfully assigned default/a to node-1", `Pulling Pulling image "busybox:1.37"`,
		`Failed Failed to pull image "busybox:1.37": this lab's registry has no image named busybox:1.37`, "Failed Error: ErrImagePull",
		`BackOff Back-off pulling image "busybox:1.37"`, "Failed Error: ImagePullBackOff",
	}
	if diff := cmp.Diff(want, l.events("Pod", "a")[:min(6, len(l.events("Pod", "a")))]); diff != "" {
		t.Error(diff)
	}
}

func fate(f null.Fate) func(string) null.Config {
	return func(string) null.Config {
		return null.Config{Fate: func(kubelet.SandboxSpec, kubelet.ContainerSpec) null.Fate { return f }}
	}
}

func TestCrashLoopBackOff(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}, Runtime: fate(null.Fate{After: time.Second, Code: 1})})
	l.create(informer.Pods, pod("a"))
	l.settle()
	var starts []time.Duration
	began := l.Clock.Now()
	for range 200 {
		before := l.pod("a").Status.ContainerStatuses[0].RestartCount
		l.advance(time.Second)
		if l.pod("a").Status.ContainerStatuses[0].RestartCount > before {
			starts = append(starts, l.Clock.Now().Sub(began))
		}
	}
	// First at once, then after 10, 20, 40 and 80 s from the end of the run before.
	want := []time.Duration{1 * time.Second, 12 * time.Second, 33 * time.Second, 74 * time.Second, 155 * time.Second}
	if diff := cmp.Diff(want, starts); diff != "" {
		t.Error(diff)
	}
	s := l.pod("a").Status.ContainerStatuses[0]
	if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("status %+v", s)
	}
	if !strings.HasPrefix(s.State.Waiting.Message, "back-off 2m40s restarting failed container=main pod=a_default(") {
		t.Error(s.State.Waiting.Message)
	}
}

func TestOOMKilled(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}, Runtime: fate(null.Fate{After: time.Second, OOM: true})})
	l.create(informer.Pods, pod("a", func(p *v1.Pod) { p.Spec.RestartPolicy = v1.RestartPolicyNever }))
	l.settle()
	l.advance(2 * time.Second)
	p := l.pod("a")
	s := p.Status.ContainerStatuses[0]
	if p.Status.Phase != v1.PodFailed || s.State.Terminated == nil || s.State.Terminated.Reason != "OOMKilled" || s.State.Terminated.ExitCode != 137 {
		t.Errorf("phase %s, status %+v", p.Status.Phase, s)
	}
}

func TestRestartPolicies(t *testing.T) {
	for _, c := range []struct {
		policy v1.RestartPolicy
		code   int32
		phase  v1.PodPhase
	}{
		{v1.RestartPolicyNever, 0, v1.PodSucceeded}, {v1.RestartPolicyNever, 3, v1.PodFailed},
		{v1.RestartPolicyOnFailure, 0, v1.PodSucceeded}, {v1.RestartPolicyOnFailure, 3, v1.PodRunning}, {v1.RestartPolicyAlways, 0, v1.PodRunning},
	} {
		t.Run(string(c.policy)+string(c.phase), func(t *testing.T) {
			l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}, Runtime: fate(null.Fate{After: time.Second, Code: c.code})})
			l.create(informer.Pods, pod("a", func(p *v1.Pod) { p.Spec.RestartPolicy = c.policy }))
			l.settle()
			l.advance(3 * time.Second)
			if got := l.pod("a").Status.Phase; got != c.phase {
				t.Errorf("phase %s, want %s: %+v", got, c.phase, l.pod("a").Status.ContainerStatuses)
			}
		})
	}
}

func TestStartError(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}, Runtime: fate(null.Fate{StartError: errors.New("exec /hello: exec format error")})})
	l.create(informer.Pods, pod("a"))
	l.settle()
	s := l.pod("a").Status.ContainerStatuses[0]
	term := s.LastTerminationState.Terminated
	if s.State.Waiting == nil || term == nil || term.Reason != "StartError" || term.ExitCode != 128 || !strings.Contains(term.Message, "exec format error") {
		t.Errorf("status %+v", s)
	}
}

func TestQuota(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"busybox:1.37"}})
	l.create(informer.ResourceQuotas, &v1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q", Namespace: "default"},
		Spec: v1.ResourceQuotaSpec{Hard: v1.ResourceList{v1.ResourcePods: resource.MustParse("1"), v1.ResourceRequestsCPU: resource.MustParse("1"), "count/configmaps": resource.MustParse("5")}}})
	l.settle()
	used := func() string {
		u := l.get(informer.ResourceQuotas, "default", "q").(*v1.ResourceQuota).Status.Used
		pods, cpu, maps := u[v1.ResourcePods], u[v1.ResourceRequestsCPU], u["count/configmaps"]
		return pods.String() + " " + cpu.String() + " " + maps.String()
	}
	if got := used(); got != "0 0 1" {
		t.Errorf("used %s in an empty namespace, want 0 0 1 (kube-root-ca.crt)", got)
	}
	l.create(informer.Pods, pod("a", requests("500m", "1Mi")))
	l.settle()
	if got := used(); got != "1 500m 1" {
		t.Errorf("used %s with one pod", got)
	}
	_, err := l.Admin.Create(context.Background(), informer.Pods, "default", pod("b", requests("100m", "1Mi")))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1") {
		t.Errorf("a second pod: %v", err)
	}
	l.delete(informer.Pods, "default", "a")
	l.settle()
	l.advance(31 * time.Second)
	if got := used(); got != "0 0 1" {
		t.Errorf("used %s after the pod is gone", got)
	}
}

func TestGarbageCollection(t *testing.T) {
	for _, c := range []struct {
		name       string
		policy     metav1.DeletionPropagation
		sets, pods int
	}{
		{"background", metav1.DeletePropagationBackground, 0, 0},
		{"foreground", metav1.DeletePropagationForeground, 0, 0},
		{"orphan", metav1.DeletePropagationOrphan, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
			l.create(informer.Deployments, deployment("web", 2, "nginx:1.28"))
			l.settle()
			set := l.replicaSets("web")[0].Name
			var order []string
			begin := l.Cluster.Store().Rev()
			l.delete(informer.Deployments, "default", "web", func(o *metav1.DeleteOptions) { o.PropagationPolicy = &c.policy })
			l.settle()
			l.advance(time.Minute)
			l.absent(informer.Deployments, "default", "web")
			commits, err := l.Cluster.Store().History(begin)
			if err != nil {
				t.Fatal(err)
			}
			for _, cm := range commits {
				if cm.New == nil && cm.Resource != informer.Events {
					order = append(order, cm.Resource.Resource)
				}
			}
			if n := len(l.pods("default")); n != c.pods {
				t.Errorf("%d pods left, want %d", n, c.pods)
			}
			_, hasSet := l.Cluster.Reader().Get(informer.ReplicaSets, "default", set)
			if hasSet != (c.sets == 1) {
				t.Errorf("replica set there: %v", hasSet)
			}
			if c.policy == metav1.DeletePropagationForeground {
				if diff := cmp.Diff([]string{"pods", "pods", "replicasets", "deployments"}, order); diff != "" {
					t.Error("foreground deletes dependents first: " + diff)
				}
			}
		})
	}
}

func TestOrphansAreAdopted(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	orphan := metav1.DeletePropagationOrphan
	l.create(informer.Deployments, deployment("web", 2, "nginx:1.28"))
	l.settle()
	before := map[types.UID]bool{}
	for _, p := range l.pods("default") {
		before[p.UID] = true
	}
	l.delete(informer.Deployments, "default", "web", func(o *metav1.DeleteOptions) { o.PropagationPolicy = &orphan })
	l.settle()
	l.create(informer.Deployments, deployment("web", 2, "nginx:1.28"))
	l.settle()
	for _, p := range l.pods("default") {
		if !before[p.UID] {
			t.Errorf("pod %s is new", p.Name)
		}
	}
	if n := len(l.replicaSets("web")); n != 1 {
		t.Errorf("%d replica sets are the new deployment's, want the adopted one", n)
	}
}

func TestNamespaceDeletion(t *testing.T) {
	l := newLab(t, Options{Workers: 1, Images: []string{"nginx:1.28"}})
	l.create(informer.Namespaces, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	l.settle()
	l.get(informer.ServiceAccounts, "shop", "default")
	l.get(informer.ConfigMaps, "shop", "kube-root-ca.crt")
	d := deployment("web", 2, "nginx:1.28")
	d.Namespace = "shop"
	l.create(informer.Deployments, d)
	l.create(informer.ConfigMaps, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Namespace: "shop", Finalizers: []string{"example.com/hold"}}})
	l.settle()
	if n := ready(l.pods("shop")); n != 2 {
		t.Fatalf("%d pods ready", n)
	}
	l.delete(informer.Namespaces, "", "shop")
	l.settle()
	l.advance(time.Minute)
	ns := l.get(informer.Namespaces, "", "shop").(*v1.Namespace)
	text := ""
	for _, c := range ns.Status.Conditions {
		if c.Status == v1.ConditionTrue {
			text += c.Message + "\n"
		}
	}
	if want := "Some resources are remaining: configmaps. has 1 resource instances\nSome content in the namespace has finalizers remaining: example.com/hold in 1 resource instances\n"; text != want {
		t.Errorf("conditions say %q", text)
	}
	l.patch(informer.ConfigMaps, "shop", "held", `{"metadata":{"finalizers":null}}`)
	l.settle()
	l.absent(informer.Namespaces, "", "shop")
	for _, k := range l.Cluster.Store().Kinds().All() {
		if k.Namespaced {
			if n := len(l.Cluster.Reader().List(k.Resource, "shop", nil)); n != 0 {
				t.Errorf("%d %s are left", n, k.Resource)
			}
		}
	}
}

func TestAggregatedRoles(t *testing.T) {
	l := newLab(t, Options{NoControlPlane: true})
	l.create(informer.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "widgets", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{"example.com"}, Resources: []string{"widgets"}, Verbs: []string{"get"}}}})
	l.settle()
	for _, name := range []string{"view", "edit", "admin"} {
		found := false
		for _, r := range l.get(informer.ClusterRoles, "", name).(*rbacv1.ClusterRole).Rules {
			found = found || len(r.Resources) > 0 && r.Resources[0] == "widgets"
		}
		if !found {
			t.Errorf("role %s lacks the rule", name)
		}
	}
}
