package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// builtIn are the group versions that a kube-apiserver of our minor serves by default.
var builtIn = []string{
	"admissionregistration.k8s.io/v1", "apps/v1", "authentication.k8s.io/v1", "authorization.k8s.io/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1",
	"certificates.k8s.io/v1", "coordination.k8s.io/v1", "discovery.k8s.io/v1", "events.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1", "networking.k8s.io/v1",
	"node.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1", "resource.k8s.io/v1", "scheduling.k8s.io/v1", "storage.k8s.io/v1", "storagemigration.k8s.io/v1", "v1",
}

// TestDiscovery: all built-in group versions and no others (no apiextensions.k8s.io), and every kind is in OpenAPI, where `explain` looks.
func TestDiscovery(t *testing.T) {
	client := adminClient(t, testCluster(t, ClusterConfig{})).Discovery()
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for _, l := range lists {
		groups = append(groups, l.GroupVersion)
		path := "apis/" + l.GroupVersion
		if l.GroupVersion == "v1" {
			path = "api/v1"
		}
		explained := explainedKinds(t, paths[path].Schema)
		for _, r := range l.APIResources {
			if strings.Contains(r.Name, "/") {
				continue // the options of exec and its like are not described upstream either
			}
			gv, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil {
				t.Fatal(err)
			}
			kind := gv.WithKind(r.Kind)
			if r.Group != "" || r.Version != "" {
				kind.Group, kind.Version = r.Group, r.Version
			}
			if !explained[kind] {
				t.Errorf("%s %s: OpenAPI does not describe %s", l.GroupVersion, r.Name, kind)
			}
		}
	}
	slices.Sort(groups)
	if d := cmp.Diff(builtIn, groups); d != "" {
		t.Errorf("group versions (-want +got):\n%s", d)
	}
}

// explainedKinds are the kinds that a group version's OpenAPI document describes.
func explainedKinds(t *testing.T, document func(string) ([]byte, error)) map[schema.GroupVersionKind]bool {
	t.Helper()
	data, err := document("application/json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Kinds []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	out := map[schema.GroupVersionKind]bool{}
	for _, s := range doc.Components.Schemas {
		for _, k := range s.Kinds {
			out[k] = true
		}
	}
	return out
}

// warnings collects the warnings that a client is given.
type warnings struct{ texts []string }

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) { w.texts = append(w.texts, text) }

// TestInert: what nobody acts on is stored with a warning, what would pretend to protect is refused with the same sentence, and the rest is
// done without a word.
func TestInert(t *testing.T) {
	c := testCluster(t, ClusterConfig{})
	said := &warnings{}
	cfg := c.RESTConfig("admin", "system:masters")
	cfg.WarningHandler = said
	client := kubernetes.NewForConfigOrDie(cfg)
	ctx, name := context.Background(), metav1.ObjectMeta{Name: "x"}
	spec := v1.PodTemplateSpec{Spec: v1.PodSpec{RestartPolicy: v1.RestartPolicyNever, Containers: []v1.Container{{Name: "c", Image: "x"}}}}
	rows := []struct {
		kind    string
		create  func() error
		refused bool
		silent  bool
	}{
		{kind: "Job", create: func() error {
			_, err := client.BatchV1().Jobs("default").Create(ctx, &batchv1.Job{ObjectMeta: name, Spec: batchv1.JobSpec{Template: spec}}, metav1.CreateOptions{})
			return err
		}},
		{kind: "PersistentVolumeClaim", create: func() error {
			claim := &v1.PersistentVolumeClaim{ObjectMeta: name, Spec: v1.PersistentVolumeClaimSpec{AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}}}}
			_, err := client.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim, metav1.CreateOptions{})
			return err
		}},
		{kind: "NetworkPolicy", create: func() error {
			_, err := client.NetworkingV1().NetworkPolicies("default").Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: name}, metav1.CreateOptions{})
			return err
		}},
		{kind: "ValidatingWebhookConfiguration", refused: true, create: func() error {
			_, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: name}, metav1.CreateOptions{})
			return err
		}},
		{kind: "MutatingWebhookConfiguration", refused: true, create: func() error {
			_, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: name}, metav1.CreateOptions{})
			return err
		}},
		{kind: "ValidatingAdmissionPolicy", refused: true, create: func() error {
			policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: name, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{Validations: []admissionregistrationv1.Validation{{Expression: "true"}}}}
			_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{})
			return err
		}},
		{kind: "ValidatingAdmissionPolicyBinding", refused: true, create: func() error {
			_, err := client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: name}, metav1.CreateOptions{})
			return err
		}},
		{kind: "ConfigMap", silent: true, create: func() error {
			_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: name}, metav1.CreateOptions{})
			return err
		}},
	}
	for _, r := range rows {
		t.Run(r.kind, func(t *testing.T) {
			said.texts = nil
			err := r.create()
			sentence := fmt.Sprintf("drydock test does not act on %s yet", r.kind)
			warned := slices.ContainsFunc(said.texts, func(s string) bool { return strings.HasPrefix(s, sentence) })
			switch {
			case r.refused && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), sentence)):
				t.Errorf("to be refused: %v", err)
			case !r.refused && err != nil:
				t.Error(err)
			case !r.refused && warned == r.silent:
				t.Errorf("warnings: %q", said.texts)
			}
		})
	}
}

// TestRefusedKinds: the table refuses everything of admissionregistration.k8s.io, and nothing else.
func TestRefusedKinds(t *testing.T) {
	rows, table := SupportTable()
	for _, gr := range rows {
		if refused := table[gr].Acting == Refused; refused != (gr.Group == "admissionregistration.k8s.io") {
			t.Errorf("%s: %s", gr, table[gr].Acting)
		}
	}
}

// TestAdmission: each plugin does its work.
func TestAdmission(t *testing.T) {
	c := testCluster(t, ClusterConfig{})
	client, ctx := adminClient(t, c), context.Background()
	pod := func(change func(*v1.Pod)) (*v1.Pod, error) {
		p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "p-"}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c", Image: "x"}}}}
		if change != nil {
			change(p)
		}
		return client.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := pod(nil)
	must(err)
	t.Run("ServiceAccount", func(t *testing.T) {
		if p.Spec.ServiceAccountName != "default" || len(p.Spec.Volumes) != 1 || !strings.HasPrefix(p.Spec.Volumes[0].Name, "kube-api-access-") || p.Spec.Containers[0].VolumeMounts[0].Name != p.Spec.Volumes[0].Name {
			t.Errorf("%+v", p.Spec)
		}
		if _, err := pod(func(p *v1.Pod) { p.Spec.ServiceAccountName = "nobody" }); err == nil || !strings.Contains(err.Error(), `serviceaccount "nobody" not found`) {
			t.Error(err)
		}
	})
	t.Run("DefaultTolerationSeconds", func(t *testing.T) {
		if n := len(p.Spec.Tolerations); n != 2 || *p.Spec.Tolerations[0].TolerationSeconds != 300 {
			t.Errorf("%+v", p.Spec.Tolerations)
		}
	})
	t.Run("Priority", func(t *testing.T) {
		_, err := client.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000}, metav1.CreateOptions{})
		must(err)
		p, err := pod(func(p *v1.Pod) { p.Spec.PriorityClassName = "high" })
		if must(err); *p.Spec.Priority != 1000 {
			t.Errorf("priority %d", *p.Spec.Priority)
		}
		if _, err := pod(func(p *v1.Pod) { p.Spec.PriorityClassName = "none" }); !apierrors.IsForbidden(err) {
			t.Error(err)
		}
	})
	t.Run("TaintNodesByCondition", func(t *testing.T) {
		n, err := client.CoreV1().Nodes().Create(ctx, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{})
		if must(err); len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != "node.kubernetes.io/not-ready" || n.Spec.Taints[0].Effect != v1.TaintEffectNoSchedule {
			t.Errorf("%+v", n.Spec.Taints)
		}
	})
	t.Run("LimitRanger", func(t *testing.T) {
		half := v1.ResourceList{v1.ResourceCPU: resource.MustParse("500m")}
		_, err := client.CoreV1().LimitRanges("default").Create(ctx, &v1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: v1.LimitRangeSpec{Limits: []v1.LimitRangeItem{{Type: v1.LimitTypeContainer, Default: half, Max: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")}}}}}, metav1.CreateOptions{})
		must(err)
		p, err := pod(nil)
		if must(err); p.Spec.Containers[0].Resources.Limits.Cpu().String() != "500m" {
			t.Errorf("%+v", p.Spec.Containers[0].Resources)
		}
		if _, err := pod(func(p *v1.Pod) {
			p.Spec.Containers[0].Resources.Limits = v1.ResourceList{v1.ResourceCPU: resource.MustParse("2")}
		}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "maximum cpu usage per Container is 1") {
			t.Error(err)
		}
		must(client.CoreV1().LimitRanges("default").Delete(ctx, "l", metav1.DeleteOptions{}))
	})
	t.Run("ResourceQuota", func(t *testing.T) {
		hard := v1.ResourceList{v1.ResourceConfigMaps: resource.MustParse("1")}
		q, err := client.CoreV1().ResourceQuotas("default").Create(ctx, &v1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: v1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{})
		must(err)
		q.Status = v1.ResourceQuotaStatus{Hard: hard, Used: v1.ResourceList{v1.ResourceConfigMaps: resource.MustParse("0")}} // as its controller counts
		_, err = client.CoreV1().ResourceQuotas("default").UpdateStatus(ctx, q, metav1.UpdateOptions{})
		must(err)
		_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
		must(err)
		if _, err = client.CoreV1().ConfigMaps("default").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1") {
			t.Error(err)
		}
	})
	t.Run("NamespaceLifecycle", func(t *testing.T) {
		_, err := client.CoreV1().Namespaces().Create(ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going"}}, metav1.CreateOptions{})
		must(err)
		must(client.CoreV1().Namespaces().Delete(ctx, "going", metav1.DeleteOptions{}))
		if _, err = client.CoreV1().ConfigMaps("going").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); !apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause) {
			t.Error(err)
		}
		if _, err = client.CoreV1().ConfigMaps("never").Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
			t.Error(err)
		}
		if err = client.CoreV1().Namespaces().Delete(ctx, "kube-system", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Error(err)
		}
	})
}

// TestBootstrapRBAC: upstream's roles and bindings are there and enforced; nodes have their rights by the binding to system:nodes.
func TestBootstrapRBAC(t *testing.T) {
	c := testCluster(t, ClusterConfig{})
	client, ctx := adminClient(t, c), context.Background()
	for _, want := range append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...) {
		got, err := client.RbacV1().ClusterRoles().Get(ctx, want.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if want.AggregationRule == nil && fmt.Sprint(want.Rules) != fmt.Sprint(got.Rules) {
			t.Errorf("%s has other rules", want.Name)
		}
		if want.AggregationRule != nil && len(got.Rules) == 0 {
			t.Errorf("%s is not aggregated", want.Name)
		}
	}
	_, err := client.RbacV1().RoleBindings("default").Create(ctx, bindingTo("view", "viewer"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	as := func(user string, groups ...string) *kubernetes.Clientset {
		return kubernetes.NewForConfigOrDie(c.RESTConfig(user, groups...))
	}
	if _, err := as("viewer").CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("view may list pods: %v", err)
	}
	if _, err := as("viewer").CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("view may not read Secrets: %v", err)
	}
	if _, err := as("viewer").CoreV1().Pods("kube-system").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a RoleBinding is for its namespace: %v", err)
	}
	kubelet := as("system:node:n", "system:nodes")
	if _, err := kubelet.CoreV1().Nodes().Create(ctx, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a node registers itself: %v", err)
	}
	if err := kubelet.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a node may not delete namespaces: %v", err)
	}
	binding, err := client.RbacV1().ClusterRoleBindings().Get(ctx, "system:node", metav1.GetOptions{})
	if err != nil || len(binding.Subjects) != 1 || binding.Subjects[0].Name != "system:nodes" {
		t.Errorf("%+v %v", binding, err)
	}
}

// TestReading: pages, selectors, watch-list and bookmarks, and 410 for what the log no longer holds.
func TestReading(t *testing.T) {
	c := testCluster(t, ClusterConfig{LogBytes: 16 << 10})
	client := adminClient(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	maps := client.CoreV1().ConfigMaps("default")
	for i := range 5 {
		if _, err := maps.Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i), Labels: map[string]string{"odd": fmt.Sprint(i % 2)}}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil || len(page.Items) != 2 || page.RemainingItemCount == nil || *page.RemainingItemCount != 3 {
		t.Fatalf("the first page: %+v %v", page, err)
	}
	next, err := maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue})
	if err != nil || next.Items[0].Name != "c2" || next.ResourceVersion != page.ResourceVersion {
		t.Fatalf("the second page: %+v %v", next, err)
	}
	odd, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "odd=1", FieldSelector: "metadata.name!=c3"})
	if err != nil || len(odd.Items) != 1 || odd.Items[0].Name != "c1" {
		t.Fatalf("selected: %+v %v", odd, err)
	}

	w, err := maps.Watch(ctx, metav1.ListOptions{SendInitialEvents: new(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, LabelSelector: "odd=1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, want := range []string{"c1", "c3"} {
		if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*v1.ConfigMap).Name != want {
			t.Fatalf("watch-list: %v", e)
		}
	}
	if e := <-w.ResultChan(); e.Type != watch.Bookmark || e.Object.(*v1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Fatalf("watch-list ends with %v", e)
	}

	for i := range 100 {
		cm, err := maps.Get(ctx, "c0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cm.Data = map[string]string{"i": fmt.Sprint(i)}
		if _, err := maps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue}); !apierrors.IsResourceExpired(err) {
		t.Errorf("an old page: %v", err)
	}
	late, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: page.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Stop()
	if e := <-late.ResultChan(); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("a watch from an old revision: %v", e)
	}
}

// TestVersionAndCRDs: /version is ours, and custom resources are neither listed nor created.
func TestVersionAndCRDs(t *testing.T) {
	client := adminClient(t, testCluster(t, ClusterConfig{}))
	v, err := client.Discovery().ServerVersion()
	if err != nil || v.GitVersion != KubernetesVersion+"+drydock" {
		t.Errorf("%v %v", v, err)
	}
	err = client.RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").Body([]byte("{}")).Do(context.Background()).Error()
	if st, ok := err.(apierrors.APIStatus); !ok || st.Status().Code != http.StatusNotFound {
		t.Errorf("creating a custom resource: %v", err)
	}
}

var _ restclient.WarningHandler = (*warnings)(nil)
