package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/drydock-labs/drydock/orchestrator/store"

	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	schedulingapiv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// DNSServiceIP is the ClusterIP of the Service kube-dns in every cluster; KubernetesServiceIP that of the Service kubernetes.
const (
	DNSServiceIP        = "10.96.0.10"
	KubernetesServiceIP = "10.96.0.1"
)

// buildTemplate makes the cluster that all others are cloned from, through the server itself as upstream's post-start hooks would: system
// namespaces and their default service accounts, RBAC, priority classes, and the Services of API server and DNS.
func (s *Server) buildTemplate() error {
	// Its uids are the same in every process, so that a seed gives a cluster the same uids again.
	c, err := s.NewCluster(ClusterConfig{ID: "template", Rand: rand.NewChaCha8([32]byte{})})
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(func() *restclient.Config {
		cfg := restclient.CopyConfig(s.loopback)
		cfg.Transport = &transport{server: s, cluster: c}
		cfg.UserAgent = "kube-apiserver/" + KubernetesVersion
		return cfg
	}())
	if err != nil {
		return err
	}
	ctx := store.WithCause(context.Background(), store.Cause{Kind: store.CauseBoot, Component: "kube-apiserver"})
	for _, step := range []func(context.Context, kubernetes.Interface) error{createNamespaces, createRBAC, createPriorityClasses, createServices} {
		if err := step(ctx, client); err != nil {
			return err
		}
	}
	s.template = c.store
	return nil
}

func createNamespaces(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, v1.NamespaceNodeLease} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		sa := &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := client.CoreV1().ServiceAccounts(name).Create(ctx, sa, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// createRBAC writes upstream's bootstrap policy. Aggregated roles get their rules at once: their controller would find nothing to change.
// Nodes have their rights from a binding of system:node until a node authoriser decides for each node.
func createRBAC(ctx context.Context, client kubernetes.Interface) error {
	rbac := client.RbacV1()
	roles := append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...)
	for _, r := range flattened(roles) {
		if _, err := rbac.ClusterRoles().Create(ctx, &r, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("cluster role %s: %w", r.Name, err)
		}
	}
	bindings := append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...)
	for _, b := range bindings {
		if b.Name == "system:node" {
			b.Subjects = []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:nodes"}}
		}
		if _, err := rbac.ClusterRoleBindings().Create(ctx, &b, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("cluster role binding %s: %w", b.Name, err)
		}
	}
	namespaceRoles, namespaceBindings := bootstrappolicy.NamespaceRoles(), bootstrappolicy.NamespaceRoleBindings()
	for _, ns := range slices.Sorted(maps.Keys(namespaceRoles)) {
		for _, r := range namespaceRoles[ns] {
			if _, err := rbac.Roles(ns).Create(ctx, &r, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("role %s/%s: %w", ns, r.Name, err)
			}
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(namespaceBindings)) {
		for _, b := range namespaceBindings[ns] {
			if _, err := rbac.RoleBindings(ns).Create(ctx, &b, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("role binding %s/%s: %w", ns, b.Name, err)
			}
		}
	}
	return nil
}

// flattened gives aggregated roles the rules of the roles they select, in the order of those roles' names, as their controller does.
func flattened(roles []rbacv1.ClusterRole) []rbacv1.ClusterRole {
	roles = slices.Clone(roles)
	slices.SortFunc(roles, func(a, b rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	for range 3 { // admin aggregates edit, which aggregates view
		for i := range roles {
			if roles[i].AggregationRule == nil {
				continue
			}
			roles[i].Rules = aggregate(roles[i], roles)
		}
	}
	return roles
}

func aggregate(r rbacv1.ClusterRole, roles []rbacv1.ClusterRole) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for _, sel := range r.AggregationRule.ClusterRoleSelectors {
		s, err := metav1.LabelSelectorAsSelector(&sel)
		if err != nil {
			continue
		}
		for _, other := range roles {
			if other.Name == r.Name || !s.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return have.String() == rule.String() }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}

func createPriorityClasses(ctx context.Context, client kubernetes.Interface) error {
	for _, pc := range schedulingapiv1.SystemPriorityClasses() {
		if _, err := client.SchedulingV1().PriorityClasses().Create(ctx, pc, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("priority class %s: %w", pc.Name, err)
		}
	}
	return nil
}

func createServices(ctx context.Context, client kubernetes.Interface) error {
	kubernetesService := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"}},
		Spec: v1.ServiceSpec{ClusterIP: KubernetesServiceIP, Type: v1.ServiceTypeClusterIP,
			Ports: []v1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt32(6443), Protocol: v1.ProtocolTCP}}},
	}
	dns := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
		Spec: v1.ServiceSpec{ClusterIP: DNSServiceIP, Type: v1.ServiceTypeClusterIP, Selector: map[string]string{"k8s-app": "kube-dns"},
			Ports: []v1.ServicePort{
				{Name: "dns", Port: 53, TargetPort: intstr.FromInt32(53), Protocol: v1.ProtocolUDP},
				{Name: "dns-tcp", Port: 53, TargetPort: intstr.FromInt32(53), Protocol: v1.ProtocolTCP}}},
	}
	if _, err := client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, kubernetesService, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := client.CoreV1().Services(metav1.NamespaceSystem).Create(ctx, dns, metav1.CreateOptions{})
	return err
}
