package apiserver

import (
	"context"

	"github.com/drydock-labs/drydock/orchestrator/store"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"
)

// newAuthorizer is RBAC over the roles and bindings of the context's cluster; system:masters may do everything, as in every cluster.
func newAuthorizer() (authorizer.Authorizer, authorizer.RuleResolver, error) {
	g := rbacGetter{}
	r := rbac.New(g, g, g, g)
	masters := authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)
	u, err := union.New(union.NamedAuthorizer{AuthorizerName: "masters", Authorizer: masters}, union.NamedAuthorizer{AuthorizerName: "rbac", Authorizer: r})
	return u, r, err
}

// rbacGetter reads roles and bindings from the context's cluster.
type rbacGetter struct{}

var (
	roles               = schema.GroupResource{Group: rbacv1.GroupName, Resource: "roles"}
	roleBindings        = schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}
	clusterRoles        = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"}
	clusterRoleBindings = schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterrolebindings"}
)

func getRBAC[T any](ctx context.Context, gr schema.GroupResource, ns, name string) (T, error) {
	var none T
	c, err := store.ClusterFrom(ctx)
	if err != nil {
		return none, err
	}
	obj, ok := c.Content(gr, ns, name)
	if !ok {
		return none, apierrors.NewNotFound(gr, name)
	}
	return obj.(T), nil
}

func listRBAC[T any](ctx context.Context, gr schema.GroupResource, ns string) ([]T, error) {
	c, err := store.ClusterFrom(ctx)
	if err != nil {
		return nil, err
	}
	objs := c.Contents(gr, ns)
	out := make([]T, len(objs))
	for i, o := range objs {
		out[i] = o.(T)
	}
	return out, nil
}

// GetRole implements upstream's RoleGetter.
func (rbacGetter) GetRole(ctx context.Context, ns, name string) (*rbacv1.Role, error) {
	return getRBAC[*rbacv1.Role](ctx, roles, ns, name)
}

// ListRoleBindings implements upstream's RoleBindingLister.
func (rbacGetter) ListRoleBindings(ctx context.Context, ns string) ([]*rbacv1.RoleBinding, error) {
	return listRBAC[*rbacv1.RoleBinding](ctx, roleBindings, ns)
}

// GetClusterRole implements upstream's ClusterRoleGetter.
func (rbacGetter) GetClusterRole(ctx context.Context, name string) (*rbacv1.ClusterRole, error) {
	return getRBAC[*rbacv1.ClusterRole](ctx, clusterRoles, "", name)
}

// ListClusterRoleBindings implements upstream's ClusterRoleBindingLister.
func (rbacGetter) ListClusterRoleBindings(ctx context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	return listRBAC[*rbacv1.ClusterRoleBinding](ctx, clusterRoleBindings, "")
}
