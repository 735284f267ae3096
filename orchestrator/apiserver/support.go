package apiserver

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// Acting says whether something here acts on a resource.
type Acting int

const (
	// Acts: something here does what the resource asks for.
	Acts Acting = iota
	// Stored: the resource is validated, stored and listed, and nothing acts on it; creating one is answered with a warning.
	Stored
	// Refused: creating one would pretend to protect, so it is refused.
	Refused
)

func (a Acting) String() string { return [...]string{"acts", "stored", "refused"}[a] }

// Support is one row of the table.
type Support struct {
	Acting Acting
	// Reason says who acts, or why nothing does.
	Reason string
}

const (
	byAPI     = "the API server itself answers"
	refusedBy = "nothing enforces it yet, and a cluster that seems protected is worse than one that says it is not"
)

// support is the one table that says for each built-in resource whether something acts on it here. Subresources follow their resource.
var support = map[schema.GroupResource]Support{
	{Resource: "bindings"}:               {Acts, "binds a pod to a node"},
	{Resource: "componentstatuses"}:      {Stored, "deprecated upstream; always empty here"},
	{Resource: "configmaps"}:             {Acts, "the kubelet mounts them"},
	{Resource: "endpoints"}:              {Acts, "the endpoints controller writes them"},
	{Resource: "events"}:                 {Acts, "kept for an hour"},
	{Resource: "limitranges"}:            {Acts, "admission applies them"},
	{Resource: "namespaces"}:             {Acts, "the namespace controller empties deleted ones"},
	{Resource: "nodes"}:                  {Acts, "kubelets and the node life cycle controller"},
	{Resource: "persistentvolumeclaims"}: {Stored, "no volume controller runs yet"},
	{Resource: "persistentvolumes"}:      {Stored, "no volume controller runs yet"},
	{Resource: "pods"}:                   {Acts, "the scheduler and the kubelets"},
	{Resource: "podtemplates"}:           {Stored, "nothing uses them, as in every cluster"},
	{Resource: "replicationcontrollers"}: {Stored, "the ReplicaSet controller alone runs"},
	{Resource: "resourcequotas"}:         {Acts, "admission enforces them, their controller counts"},
	{Resource: "secrets"}:                {Acts, "the kubelet mounts them"},
	{Resource: "serviceaccounts"}:        {Acts, "admission mounts their tokens"},
	{Resource: "services"}:               {Acts, "addresses are allocated and routed"},

	{Group: "apps", Resource: "controllerrevisions"}: {Stored, "its users, DaemonSet and StatefulSet, have no controller yet"},
	{Group: "apps", Resource: "daemonsets"}:          {Stored, "no controller runs yet"},
	{Group: "apps", Resource: "deployments"}:         {Acts, "the deployment controller"},
	{Group: "apps", Resource: "replicasets"}:         {Acts, "the ReplicaSet controller"},
	{Group: "apps", Resource: "statefulsets"}:        {Stored, "no controller runs yet"},

	{Group: "autoscaling", Resource: "horizontalpodautoscalers"}: {Stored, "no controller runs yet"},
	{Group: "batch", Resource: "cronjobs"}:                       {Stored, "no controller runs yet"},
	{Group: "batch", Resource: "jobs"}:                           {Stored, "no controller runs yet"},

	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:       {Acts, byAPI},
	{Group: "authentication.k8s.io", Resource: "tokenreviews"}:             {Acts, byAPI},
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: {Acts, byAPI},
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:  {Acts, byAPI},
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:   {Acts, byAPI},
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:      {Acts, byAPI},

	{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}: {Acts, "every request is authorised by them"},
	{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}:        {Acts, "every request is authorised by them"},
	{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}:        {Acts, "every request is authorised by them"},
	{Group: "rbac.authorization.k8s.io", Resource: "roles"}:               {Acts, "every request is authorised by them"},

	{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicies"}:         {Refused, refusedBy},
	{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicybindings"}:   {Refused, refusedBy},
	{Group: "admissionregistration.k8s.io", Resource: "mutatingwebhookconfigurations"}:     {Refused, refusedBy},
	{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies"}:       {Refused, refusedBy},
	{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicybindings"}: {Refused, refusedBy},
	{Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"}:   {Refused, refusedBy},

	{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}: {Stored, "no signer runs yet"},
	{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}:        {Stored, "no signer runs yet"},
	{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}:     {Stored, "no signer runs yet"},
	{Group: "coordination.k8s.io", Resource: "leases"}:                     {Acts, "kubelets renew them"},
	{Group: "discovery.k8s.io", Resource: "endpointslices"}:                {Acts, "the endpoint slice controller writes them, Service routing reads them"},
	{Group: "events.k8s.io", Resource: "events"}:                           {Acts, "kept for an hour"},
	{Group: "flowcontrol.apiserver.k8s.io", Resource: "flowschemas"}:       {Stored, "a lab has one limit on requests in flight instead"},
	{Group: "flowcontrol.apiserver.k8s.io", Resource: "prioritylevelconfigurations"}: {Stored,
		"a lab has one limit on requests in flight instead"},
	{Group: "networking.k8s.io", Resource: "ingressclasses"}:  {Stored, "no ingress controller runs yet"},
	{Group: "networking.k8s.io", Resource: "ingresses"}:       {Stored, "no ingress controller runs yet"},
	{Group: "networking.k8s.io", Resource: "ipaddresses"}:     {Stored, "ClusterIPs are allocated from the Services themselves"},
	{Group: "networking.k8s.io", Resource: "networkpolicies"}: {Stored, "the lab's network does not filter by them yet"},
	{Group: "networking.k8s.io", Resource: "servicecidrs"}:    {Stored, "a lab's Service range is fixed"},
	{Group: "node.k8s.io", Resource: "runtimeclasses"}:        {Stored, "nodes have one runtime"},
	{Group: "policy", Resource: "poddisruptionbudgets"}:       {Stored, "evictions read them, but no controller keeps their status yet"},
	{Group: "scheduling.k8s.io", Resource: "priorityclasses"}: {Acts, "admission sets pods' priority"},

	{Group: "resource.k8s.io", Resource: "deviceclasses"}:          {Stored, "nodes have no devices"},
	{Group: "resource.k8s.io", Resource: "devicetaintrules"}:       {Stored, "nodes have no devices"},
	{Group: "resource.k8s.io", Resource: "resourceclaims"}:         {Stored, "nodes have no devices"},
	{Group: "resource.k8s.io", Resource: "resourceclaimtemplates"}: {Stored, "nodes have no devices"},
	{Group: "resource.k8s.io", Resource: "resourceslices"}:         {Stored, "nodes have no devices"},

	{Group: "storagemigration.k8s.io", Resource: "storageversionmigrations"}: {Stored, "everything is stored in one version"},

	{Group: "storage.k8s.io", Resource: "csidrivers"}:              {Stored, "no volume controller runs yet"},
	{Group: "storage.k8s.io", Resource: "csinodes"}:                {Stored, "no volume controller runs yet"},
	{Group: "storage.k8s.io", Resource: "csistoragecapacities"}:    {Stored, "no volume controller runs yet"},
	{Group: "storage.k8s.io", Resource: "storageclasses"}:          {Stored, "no volume controller runs yet"},
	{Group: "storage.k8s.io", Resource: "volumeattachments"}:       {Stored, "no volume controller runs yet"},
	{Group: "storage.k8s.io", Resource: "volumeattributesclasses"}: {Stored, "no volume controller runs yet"},
}

// SupportOf says whether something acts on a resource; false when the table does not know it.
func SupportOf(gr schema.GroupResource) (Support, bool) {
	s, ok := support[gr]
	return s, ok
}

// SupportTable returns the whole table and its resources in order (group, then name).
func SupportTable() ([]schema.GroupResource, map[schema.GroupResource]Support) {
	keys := slices.SortedFunc(maps.Keys(support), func(a, b schema.GroupResource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource))
	})
	return keys, maps.Clone(support)
}

// sentence is what is said about a kind that nothing acts on.
func (s *Server) sentence(kind string) string {
	return fmt.Sprintf("drydock %s does not act on %s yet", s.cfg.Product, kind)
}

// refuse is the error for a create or update of a resource that would pretend to protect.
func (c *Cluster) refuse(a admission.Attributes) error {
	op := a.GetOperation()
	if op != admission.Create && op != admission.Update {
		return nil
	}
	row, ok := support[a.GetResource().GroupResource()]
	if !ok || row.Acting != Refused {
		return nil
	}
	return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), fmt.Errorf("%s: %s", c.server.sentence(a.GetKind().Kind), row.Reason))
}

// inert returns the warning for a create of a resource that nothing acts on, "" for others. The server's own writes are not warned about.
func (s *Server) inert(a admission.Attributes) string {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" || s.template == nil {
		return ""
	}
	if row, ok := support[a.GetResource().GroupResource()]; ok && row.Acting == Stored {
		return s.sentence(a.GetKind().Kind) + ": " + row.Reason
	}
	return ""
}
