package apiserver

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/drydock-labs/drydock/orchestrator/apiserver/internal/generated"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubernetes/pkg/apis/core"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/kubernetes/plugin/pkg/admission/nodetaint"
	"k8s.io/kubernetes/plugin/pkg/admission/priority"
	"k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"
)

// clusterAdmission hands every admission to the chain of the context's cluster.
type clusterAdmission struct{}

// Handles implements admission.Interface.
func (clusterAdmission) Handles(admission.Operation) bool { return true }

// Admit implements admission.MutationInterface.
func (clusterAdmission) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return errNoCluster
	}
	if err := c.refuse(a); err != nil {
		return err
	}
	ch, err := c.chain()
	if err != nil {
		return err
	}
	return ch.admit(ctx, a, o)
}

// Validate implements admission.ValidationInterface.
func (clusterAdmission) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return errNoCluster
	}
	ch, err := c.chain()
	if err != nil {
		return err
	}
	if err := ch.validate(ctx, a, o); err != nil {
		return err
	}
	if text := c.server.inert(a); text != "" {
		warning.AddWarning(ctx, "", text)
	}
	return nil
}

// chain is one cluster's admission plugins, in upstream's order.
type chain struct {
	cluster  *Cluster
	plugins  []admission.Interface
	accounts admission.Interface // the service account plugin among plugins

	mu    sync.Mutex
	quota *resourcequota.QuotaAdmission // built when the first ResourceQuota exists: it has goroutines; protected by mu
}

func newChain(c *Cluster, client *boundClient) (*chain, error) {
	nsLifecycle, err := lifecycle.NewLifecycle(sets.New(metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic))
	if err != nil {
		return nil, err
	}
	limits, err := limitranger.NewLimitRanger(nil)
	if err != nil {
		return nil, err
	}
	ch := &chain{cluster: c, accounts: serviceaccount.NewServiceAccount()}
	ch.plugins = []admission.Interface{nsLifecycle, limits, ch.accounts, nodetaint.NewPlugin(), priority.NewPlugin(), defaulttolerationseconds.NewDefaultTolerationSeconds()}
	for _, p := range ch.plugins {
		if err := initialize(p, c, client); err != nil {
			return nil, err
		}
	}
	return ch, nil
}

// initialize gives a plugin what it asks for.
func initialize(p admission.Interface, c *Cluster, client *boundClient) error {
	initializer.New(client, nil, informerFactory{cluster: c}, c.server.authorizer, feature.DefaultFeatureGate, c.server.generic.EffectiveVersion, c.closed, nil).Initialize(p)
	if v, ok := p.(admission.InitializationValidator); ok {
		if err := v.ValidateInitialization(); err != nil {
			return fmt.Errorf("admission of cluster %s: %w", c.cfg.ID, err)
		}
	}
	return nil
}

func (ch *chain) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, p := range ch.plugins {
		if m, ok := p.(admission.MutationInterface); ok && p.Handles(a.GetOperation()) {
			if err := m.Admit(ctx, a, o); err != nil {
				return err
			}
			if p == ch.accounts {
				ch.nameTokenVolume(a)
			}
		}
	}
	return nil
}

func (ch *chain) validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, p := range ch.plugins {
		if v, ok := p.(admission.ValidationInterface); ok && p.Handles(a.GetOperation()) {
			if err := v.Validate(ctx, a, o); err != nil {
				return err
			}
		}
	}
	q, err := ch.quotaPlugin()
	if err != nil || q == nil || !q.Handles(a.GetOperation()) {
		return err
	}
	return q.Validate(ctx, a, o)
}

// nameTokenVolume gives the volume that the service account plugin added the cluster's own suffix.
func (ch *chain) nameTokenVolume(a admission.Attributes) {
	pod, ok := a.GetObject().(*core.Pod)
	if !ok || a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return
	}
	for i := range pod.Spec.Volumes {
		old := pod.Spec.Volumes[i].Name
		base, ours := strings.CutSuffix(old, generated.Sentinel)
		if !ours || pod.Spec.Volumes[i].Projected == nil {
			continue
		}
		name := base + ch.cluster.ids.suffix()
		pod.Spec.Volumes[i].Name = name
		renameMounts(pod.Spec.InitContainers, old, name)
		renameMounts(pod.Spec.Containers, old, name)
	}
}

func renameMounts(containers []core.Container, old, name string) {
	for i := range containers {
		for j := range containers[i].VolumeMounts {
			if m := &containers[i].VolumeMounts[j]; m.Name == old {
				m.Name = name
			}
		}
	}
}

var quotas = schema.GroupResource{Resource: "resourcequotas"}

// quotaPlugin returns upstream's quota admission once the cluster has a ResourceQuota.
func (ch *chain) quotaPlugin() (*resourcequota.QuotaAdmission, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.quota != nil {
		return ch.quota, nil
	}
	if ch.cluster.store.Count(quotas) == 0 {
		return nil, nil
	}
	q, err := resourcequota.NewResourceQuota(nil, 2)
	if err != nil {
		return nil, err
	}
	factory := informerFactory{cluster: ch.cluster}
	config, err := quotainstall.NewQuotaConfigurationForAdmission(factory, nil)
	if err != nil {
		return nil, err
	}
	q.SetDrainedNotification(ch.cluster.closed)
	q.SetExternalKubeClientSet(ch.cluster.client())
	q.SetExternalKubeInformerFactory(factory)
	q.SetQuotaConfiguration(config)
	if err := q.ValidateInitialization(); err != nil {
		return nil, err
	}
	ch.quota = q
	return q, nil
}
