package informer

import "k8s.io/apimachinery/pkg/runtime/schema"

// GroupResource names a resource.
type GroupResource = schema.GroupResource

// The resources that components read and write.
var (
	Pods                   = GroupResource{Resource: "pods"}
	Nodes                  = GroupResource{Resource: "nodes"}
	Services               = GroupResource{Resource: "services"}
	Endpoints              = GroupResource{Resource: "endpoints"}
	Namespaces             = GroupResource{Resource: "namespaces"}
	ConfigMaps             = GroupResource{Resource: "configmaps"}
	Secrets                = GroupResource{Resource: "secrets"}
	ServiceAccounts        = GroupResource{Resource: "serviceaccounts"}
	Events                 = GroupResource{Resource: "events"}
	ResourceQuotas         = GroupResource{Resource: "resourcequotas"}
	ReplicationControllers = GroupResource{Resource: "replicationcontrollers"}
	Deployments            = GroupResource{Group: "apps", Resource: "deployments"}
	ReplicaSets            = GroupResource{Group: "apps", Resource: "replicasets"}
	EndpointSlices         = GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	Leases                 = GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	ClusterRoles           = GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}
)
