package clienttest

import (
	"context"
	"fmt"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/store"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Step is one write.
type Step struct {
	Name  string
	Fails bool // it is refused
	// Random answers are not compared: a signature is different each time.
	Random bool
	Do     func(context.Context, *player) (runtime.Object, error)
}

// player is a subject with what the steps ask of it.
type player struct{ Subject }

func (p *player) admin() store.Client { return p.Client("admin", "system:masters") }
func (p *player) controller(name string) store.Client {
	return p.Client("system:serviceaccount:kube-system:"+name, "system:serviceaccounts", "system:serviceaccounts:kube-system")
}
func (p *player) kubelet() store.Client   { return p.Client("system:node:node-1", "system:nodes") }
func (p *player) scheduler() store.Client { return p.Client("system:kube-scheduler") }

// get returns a copy of what is stored.
func get[T runtime.Object](p *player, gr schema.GroupResource, ns, name string) (T, error) {
	obj, ok := p.Store.Get(gr, ns, name)
	if !ok {
		var none T
		return none, fmt.Errorf("the scenario has no %s %s/%s", gr, ns, name)
	}
	return obj.DeepCopyObject().(T), nil
}

// change updates what is stored after f changed a copy of it.
func change[T runtime.Object](gr schema.GroupResource, ns, name string, who func(*player) store.Client, status bool, f func(T)) func(context.Context, *player) (runtime.Object, error) {
	return func(ctx context.Context, p *player) (runtime.Object, error) {
		obj, err := get[T](p, gr, ns, name)
		if err != nil {
			return nil, err
		}
		f(obj)
		if status {
			return who(p).UpdateStatus(ctx, gr, ns, obj)
		}
		return who(p).Update(ctx, gr, ns, obj)
	}
}

func create(gr schema.GroupResource, ns string, who func(*player) store.Client, obj runtime.Object) func(context.Context, *player) (runtime.Object, error) {
	return func(ctx context.Context, p *player) (runtime.Object, error) { return who(p).Create(ctx, gr, ns, obj) }
}

func remove(gr schema.GroupResource, ns, name string, opts *metav1.DeleteOptions) func(context.Context, *player) (runtime.Object, error) {
	return func(ctx context.Context, p *player) (runtime.Object, error) {
		return nil, p.admin().Delete(ctx, gr, ns, name, opts)
	}
}

func patch(gr schema.GroupResource, ns, name string, pt types.PatchType, data, sub string) func(context.Context, *player) (runtime.Object, error) {
	return func(ctx context.Context, p *player) (runtime.Object, error) {
		return p.admin().Patch(ctx, gr, ns, name, pt, []byte(data), sub)
	}
}

var (
	pods        = v1.Resource("pods")
	configMaps  = v1.Resource("configmaps")
	services    = v1.Resource("services")
	nodes       = v1.Resource("nodes")
	namespaces  = v1.Resource("namespaces")
	events      = v1.Resource("events")
	endpoints   = v1.Resource("endpoints")
	accounts    = v1.Resource("serviceaccounts")
	quotas      = v1.Resource("resourcequotas")
	secrets     = v1.Resource("secrets")
	deployments = appsv1.Resource("deployments")
	replicaSets = appsv1.Resource("replicasets")
	leases      = coordinationv1.Resource("leases")
	slices      = discoveryv1.Resource("endpointslices")
	budgets     = policyv1.Resource("poddisruptionbudgets")
	roles       = rbacv1.Resource("roles")
)

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func template() v1.PodTemplateSpec {
	return v1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: v1.PodSpec{Containers: []v1.Container{{Name: "web", Image: "nginx:1.28", Ports: []v1.ContainerPort{{ContainerPort: 80}},
			Resources:      v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("0.05"), v1.ResourceMemory: resource.MustParse("16Mi")}},
			ReadinessProbe: &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)}}}}}},
	}
}

func ptr[T any](v T) *T { return &v }

func webPod(meta metav1.ObjectMeta) *v1.Pod {
	meta.Labels = map[string]string{"app": "web"}
	return &v1.Pod{ObjectMeta: meta, Spec: template().Spec}
}

// running is the status a kubelet reports; the time has a fraction of a second, which the wire format drops.
func running(p *v1.Pod) {
	at := metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 678, time.UTC))
	p.Status.Phase, p.Status.PodIP, p.Status.HostIP, p.Status.StartTime = v1.PodRunning, "10.244.1.2", "10.0.0.2", &at
	p.Status.PodIPs = []v1.PodIP{{IP: "10.244.1.2"}}
	p.Status.Conditions = append(p.Status.Conditions, v1.PodCondition{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: at})
	p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "web", Ready: true, Started: ptr(true), Image: "nginx:1.28", ImageID: "sha256:1",
		State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: at}}}}
}

// Scenario returns the steps, in order.
func Scenario() []Step {
	return append(append(objects(), podLife()...), refusals()...)
}

func objects() []Step {
	admin, ns := (*player).admin, "default"
	deploy := &appsv1.Deployment{ObjectMeta: named("web"), Spec: appsv1.DeploymentSpec{Replicas: ptr[int32](3), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template()}}
	return []Step{
		{Name: "create namespace", Do: create(namespaces, "", admin, &v1.Namespace{ObjectMeta: named("team")})},
		{Name: "create service account", Do: create(accounts, "team", admin, &v1.ServiceAccount{ObjectMeta: named("builder")})},
		{Name: "create config map", Do: create(configMaps, ns, admin, &v1.ConfigMap{ObjectMeta: named("a"), Data: map[string]string{"k": "v"}})},
		{Name: "update config map", Do: change(configMaps, ns, "a", admin, false, func(c *v1.ConfigMap) { c.Data["l"] = "w" })},
		{Name: "update that changes nothing", Do: change(configMaps, ns, "a", admin, false, func(*v1.ConfigMap) {})},
		{Name: "update without a revision", Do: change(configMaps, ns, "a", admin, false, func(c *v1.ConfigMap) { c.ResourceVersion, c.Data["m"] = "", "x" })},
		{Name: "another manager", Do: change(configMaps, ns, "a", func(p *player) store.Client { return p.Client("other", "system:masters") }, false, func(c *v1.ConfigMap) { c.Data["k"] = "other" })},
		{Name: "merge patch", Do: patch(configMaps, ns, "a", types.MergePatchType, `{"data":{"k":null,"n":"1"}}`, "")},
		{Name: "JSON patch", Do: patch(configMaps, ns, "a", types.JSONPatchType, `[{"op":"add","path":"/data/o","value":"2"}]`, "")},
		{Name: "apply that creates", Do: patch(configMaps, ns, "applied", types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"k":"v"}}`, "")},
		{Name: "apply again", Do: patch(configMaps, ns, "applied", types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"k":"w"}}`, "")},
		{Name: "create secret with stringData", Do: create(secrets, ns, admin, &v1.Secret{ObjectMeta: named("s"), StringData: map[string]string{"a": "b"}})},
		{Name: "create deployment", Do: create(deployments, ns, admin, deploy)},
		{Name: "strategic patch", Do: patch(deployments, ns, "web", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.29"}]}}}}`, "")},
		{Name: "deployment status", Do: change(deployments, ns, "web", func(p *player) store.Client { return p.controller("deployment-controller") }, true, func(d *appsv1.Deployment) {
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, UnavailableReplicas: 3}
		})},
		{Name: "scale", Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			return p.admin().Subresource(ctx, deployments, ns, "web", "scale", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns}, Spec: autoscalingv1.ScaleSpec{Replicas: 5}})
		}},
		{Name: "create service", Do: create(services, ns, admin, &v1.Service{ObjectMeta: named("web"), Spec: v1.ServiceSpec{Selector: map[string]string{"app": "web"}, Type: v1.ServiceTypeNodePort, Ports: []v1.ServicePort{{Port: 80}}}})},
		{Name: "service becomes a load balancer", Do: change(services, ns, "web", admin, false, func(s *v1.Service) { s.Spec.Type = v1.ServiceTypeLoadBalancer })},
		{Name: "create headless service", Do: create(services, ns, admin, &v1.Service{ObjectMeta: named("headless"), Spec: v1.ServiceSpec{ClusterIP: "None", Selector: map[string]string{"app": "web"}, Ports: []v1.ServicePort{{Port: 80}}}})},
		{Name: "create endpoint slice", Do: create(slices, ns, func(p *player) store.Client { return p.controller("endpointslice-controller") }, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}}, AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.2"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}}}, Ports: []discoveryv1.EndpointPort{{Port: ptr[int32](80)}}})},
		{Name: "create endpoints", Do: create(endpoints, ns, func(p *player) store.Client { return p.controller("endpoint-controller") }, &v1.Endpoints{ObjectMeta: named("web"), Subsets: []v1.EndpointSubset{{Addresses: []v1.EndpointAddress{{IP: "10.244.1.2"}}, Ports: []v1.EndpointPort{{Port: 80}}}}})},
		{Name: "create role", Do: create(roles, ns, admin, &rbacv1.Role{ObjectMeta: named("r"), Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}})},
		{Name: "create node", Do: create(nodes, "", (*player).kubelet, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"kubernetes.io/hostname": "node-1"}}})},
		{Name: "node status", Do: change(nodes, "", "node-1", (*player).kubelet, true, func(n *v1.Node) {
			n.Status.Capacity = v1.ResourceList{v1.ResourceCPU: resource.MustParse("2"), v1.ResourcePods: resource.MustParse("110")}
			n.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC))}}
		})},
		{Name: "create lease", Do: create(leases, "kube-node-lease", (*player).kubelet, &coordinationv1.Lease{ObjectMeta: named("node-1"), Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr("node-1"), LeaseDurationSeconds: ptr[int32](40), RenewTime: ptr(metav1.NewMicroTime(time.Date(2030, 1, 2, 3, 4, 5, 6789, time.UTC)))}})},
		{Name: "renew lease", Do: change(leases, "kube-node-lease", "node-1", (*player).kubelet, false, func(l *coordinationv1.Lease) {
			l.Spec.RenewTime = ptr(metav1.NewMicroTime(time.Date(2030, 1, 2, 3, 4, 15, 0, time.UTC)))
		})},
	}
}

func podLife() []Step {
	ns := "default"
	rsController := func(p *player) store.Client { return p.controller("replicaset-controller") }
	owner := func(p *player) ([]metav1.OwnerReference, error) {
		rs, err := get[*appsv1.ReplicaSet](p, replicaSets, ns, "web-1")
		if err != nil {
			return nil, err
		}
		ref := *metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
		return []metav1.OwnerReference{ref, ref}, nil // twice: one is dropped
	}
	return []Step{
		{Name: "create replica set", Do: create(replicaSets, ns, func(p *player) store.Client { return p.controller("deployment-controller") }, &appsv1.ReplicaSet{ObjectMeta: named("web-1"), Spec: appsv1.ReplicaSetSpec{Replicas: ptr[int32](3), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template()}})},
		{Name: "create pod with a generated name", Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			refs, err := owner(p)
			if err != nil {
				return nil, err
			}
			return rsController(p).Create(ctx, pods, ns, webPod(metav1.ObjectMeta{GenerateName: "web-1-", OwnerReferences: refs}))
		}},
		{Name: "create pod", Do: create(pods, ns, (*player).admin, webPod(named("one")))},
		{Name: "bind", Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			return p.scheduler().Subresource(ctx, pods, ns, "one", "binding", &v1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: ns}, Target: v1.ObjectReference{Kind: "Node", Name: "node-1"}})
		}},
		{Name: "bind again", Fails: true, Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			return p.scheduler().Subresource(ctx, pods, ns, "one", "binding", &v1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: ns}, Target: v1.ObjectReference{Kind: "Node", Name: "node-1"}})
		}},
		{Name: "pod status", Do: change(pods, ns, "one", (*player).kubelet, true, running)},
		{Name: "pod status that changes nothing", Do: change(pods, ns, "one", (*player).kubelet, true, func(*v1.Pod) {})},
		{Name: "pod status patch", Do: patch(pods, ns, "one", types.StrategicMergePatchType, `{"status":{"message":"m"}}`, "status")},
		{Name: "pod labels", Do: change(pods, ns, "one", (*player).admin, false, func(p *v1.Pod) { p.Labels["tier"] = "front" })},
		{Name: "replica set status", Do: change(replicaSets, ns, "web-1", rsController, true, func(rs *appsv1.ReplicaSet) {
			rs.Status = appsv1.ReplicaSetStatus{Replicas: 1, FullyLabeledReplicas: 1, ObservedGeneration: 1}
		})},
		{Name: "event", Do: create(events, ns, (*player).kubelet, &v1.Event{ObjectMeta: named("one.17"), InvolvedObject: v1.ObjectReference{Kind: "Pod", Namespace: ns, Name: "one"}, Reason: "Started", Message: "Started container web", Type: "Normal", Count: 1,
			Source: v1.EventSource{Component: "kubelet", Host: "node-1"}, FirstTimestamp: metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)), LastTimestamp: metav1.NewTime(time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC))})},
		{Name: "token", Random: true, Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			return p.kubelet().Subresource(ctx, accounts, ns, "default", "token", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr[int64](3600)}})
		}},
		{Name: "ephemeral container", Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			pod, err := get[*v1.Pod](p, pods, ns, "one")
			if err != nil {
				return nil, err
			}
			pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug", Image: "busybox", TerminationMessagePolicy: v1.TerminationMessageReadFile, ImagePullPolicy: v1.PullAlways}}}
			return p.admin().Subresource(ctx, pods, ns, "one", "ephemeralcontainers", pod)
		}},
		{Name: "disruption budget", Do: create(budgets, ns, (*player).admin, &policyv1.PodDisruptionBudget{ObjectMeta: named("web"), Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "front"}}}})},
		{Name: "eviction that a budget stops", Fails: true, Do: evict("one")},
		{Name: "delete the budget", Do: remove(budgets, ns, "web", nil)},
		{Name: "eviction", Do: evict("one")},
		{Name: "delete with grace", Do: remove(pods, ns, "one", &metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](7)})},
		{Name: "delete with the wrong uid", Fails: true, Do: remove(pods, ns, "one", &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("nope")})},
		{Name: "delete at once", Do: remove(pods, ns, "one", &metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](0)})},
		{Name: "foreground delete waits", Do: remove(deployments, ns, "web", &metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationForeground)})},
		{Name: "quota", Do: create(quotas, "team", (*player).admin, &v1.ResourceQuota{ObjectMeta: named("q"), Spec: v1.ResourceQuotaSpec{Hard: v1.ResourceList{"count/configmaps": resource.MustParse("0")}}})},
		{Name: "delete namespace", Do: remove(namespaces, "", "team", nil)},
		{Name: "finalize namespace", Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			obj, err := get[*v1.Namespace](p, namespaces, "", "team")
			if err != nil {
				return nil, err
			}
			obj.Spec.Finalizers = nil
			return p.controller("namespace-controller").Subresource(ctx, namespaces, "", "team", "finalize", obj)
		}},
	}
}

func evict(name string) func(context.Context, *player) (runtime.Object, error) {
	return func(ctx context.Context, p *player) (runtime.Object, error) {
		return p.admin().Subresource(ctx, pods, "default", name, "eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}})
	}
}

func refusals() []Step {
	ns, admin := "default", (*player).admin
	return []Step{
		{Name: "already there", Fails: true, Do: create(configMaps, ns, admin, &v1.ConfigMap{ObjectMeta: named("a")})},
		{Name: "invalid", Fails: true, Do: create(pods, ns, admin, &v1.Pod{ObjectMeta: named("Bad"), Spec: v1.PodSpec{}})},
		{Name: "no such namespace", Fails: true, Do: create(configMaps, "nowhere", admin, &v1.ConfigMap{ObjectMeta: named("a")})},
		{Name: "wrong namespace", Fails: true, Do: create(configMaps, ns, admin, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: "kube-system"}})},
		{Name: "forbidden", Fails: true, Do: create(configMaps, ns, func(p *player) store.Client { return p.Client("stranger") }, &v1.ConfigMap{ObjectMeta: named("b")})},
		{Name: "conflict", Fails: true, Do: change(configMaps, ns, "a", admin, false, func(c *v1.ConfigMap) { c.ResourceVersion, c.Data["z"] = "1", "z" })},
		{Name: "immutable field", Fails: true, Do: change(services, ns, "web", admin, false, func(s *v1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.77", []string{"10.96.0.77"} })},
		{Name: "address taken", Fails: true, Do: create(services, ns, admin, &v1.Service{ObjectMeta: named("c"), Spec: v1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []v1.ServicePort{{Port: 80}}}})},
		{Name: "port taken", Fails: true, Do: func(ctx context.Context, p *player) (runtime.Object, error) {
			web, err := get[*v1.Service](p, services, ns, "web")
			if err != nil {
				return nil, err
			}
			return p.admin().Create(ctx, services, ns, &v1.Service{ObjectMeta: named("c"), Spec: v1.ServiceSpec{Type: v1.ServiceTypeNodePort, Ports: []v1.ServicePort{{Port: 80, NodePort: web.Spec.Ports[0].NodePort}}}})
		}},
		{Name: "not found", Fails: true, Do: remove(pods, ns, "nope", nil)},
		{Name: "escalation", Fails: true, Do: create(roles, ns, func(p *player) store.Client { return p.controller("deployment-controller") }, &rbacv1.Role{ObjectMeta: named("x"), Rules: []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}})},
		{Name: "protected namespace", Fails: true, Do: remove(namespaces, "", "default", nil)},
	}
}
