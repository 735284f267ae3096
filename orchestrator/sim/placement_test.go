package sim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/drydock-labs/drydock/orchestrator"
	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// mixed are two workers: node-1 is labelled disk=ssd and tainted gpu=yes:NoSchedule, node-2 is plain and takes one pod.
func mixed(t *testing.T) *lab {
	return newLab(t, Options{Workers: 2, NoControlPlane: true, Images: []string{"busybox:1.37"}, Node: func(n *orchestrator.NodeSpec) {
		if n.Name == "node-1" {
			n.Labels = map[string]string{"disk": "ssd"}
			n.Taints = []v1.Taint{{Key: "gpu", Value: "yes", Effect: v1.TaintEffectNoSchedule}}
		} else {
			n.Pods = 1
		}
	}})
}

func tolerant(p *v1.Pod) {
	p.Spec.Tolerations = []v1.Toleration{{Key: "gpu", Operator: v1.TolerationOpExists}}
}

func disk(op v1.NodeSelectorOperator, values ...string) []v1.NodeSelectorRequirement {
	return []v1.NodeSelectorRequirement{{Key: "disk", Operator: op, Values: values}}
}

func TestPlacement(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  func(*v1.Pod)
		want string // the node, or the end of the message
	}{
		{"a taint keeps away", func(*v1.Pod) {}, "node-2"},
		{"a toleration lets in, a selector asks for", func(p *v1.Pod) { tolerant(p); p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }, "node-1"},
		{"required affinity", func(p *v1.Pod) {
			tolerant(p)
			p.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: disk(v1.NodeSelectorOpIn, "ssd", "nvme")}}}}}
		}, "node-1"},
		{"preferred affinity", func(p *v1.Pod) {
			tolerant(p)
			p.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.PreferredSchedulingTerm{{Weight: 100, Preference: v1.NodeSelectorTerm{MatchExpressions: disk(v1.NodeSelectorOpDoesNotExist)}}}}}
		}, "node-2"},
		{"affinity that no node meets", func(p *v1.Pod) {
			tolerant(p)
			p.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: disk(v1.NodeSelectorOpIn, "tape")}}}}}
		}, "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		{"a selector for a tainted node", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} },
			"0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		{"too much memory", func(p *v1.Pod) { tolerant(p); requests("1m", "1Gi")(p) }, "0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
		{"a node by name is not asked", func(p *v1.Pod) { p.Spec.NodeName = "node-1" }, "node-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := mixed(t)
			l.create(informer.Pods, pod("a", c.pod))
			l.settle()
			got := l.pod("a").Spec.NodeName
			if got == "" {
				got = l.pod("a").Status.Conditions[0].Message
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFullAndCordonedNodes(t *testing.T) {
	l := mixed(t)
	l.create(informer.Pods, pod("first"))
	l.create(informer.Pods, pod("second"))
	l.settle()
	want := "0/2 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
	var waiting *v1.Pod
	for _, p := range l.pods("default") {
		if p.Spec.NodeName == "" {
			waiting = p
		}
	}
	if waiting == nil || waiting.Status.Conditions[0].Message != want {
		t.Fatalf("%+v", waiting)
	}
	l.patch(informer.Nodes, "", "node-2", `{"spec":{"unschedulable":true}}`)
	l.settle()
	for _, p := range l.pods("default") {
		if p.Spec.NodeName == "node-2" {
			l.delete(informer.Pods, "default", p.Name)
		}
	}
	l.settle()
	l.advance(20 * time.Second)
	if p := l.pod(waiting.Name); p.Spec.NodeName != "" || !strings.Contains(p.Status.Conditions[0].Message, "1 node(s) were unschedulable") {
		t.Errorf("on %q: %v", p.Spec.NodeName, p.Status.Conditions)
	}
	l.patch(informer.Nodes, "", "node-2", `{"spec":{"unschedulable":null}}`)
	l.settle()
	l.advance(20 * time.Second)
	if p := l.pod(waiting.Name); p.Spec.NodeName != "node-2" {
		t.Errorf("on %q after uncordon: %v", p.Spec.NodeName, p.Status.Conditions)
	}
}

func TestNoExecuteTaintEvicts(t *testing.T) {
	l := newLab(t, Options{Workers: 1, NoControlPlane: true, Images: []string{"busybox:1.37"}})
	seconds := int64(60)
	l.create(informer.Pods, pod("plain"))
	l.create(informer.Pods, pod("patient", func(p *v1.Pod) {
		p.Spec.Tolerations = []v1.Toleration{{Key: "fire", Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute, TolerationSeconds: &seconds}}
	}))
	l.create(informer.Pods, pod("proof", func(p *v1.Pod) {
		p.Spec.Tolerations = []v1.Toleration{{Key: "fire", Operator: v1.TolerationOpExists}}
	}))
	l.settle()
	l.patch(informer.Nodes, "", "node-1", `{"spec":{"taints":[{"key":"fire","effect":"NoExecute"}]}}`)
	l.settle()
	l.absent(informer.Pods, "default", "plain")
	if got := l.events("Pod", "plain"); !slices.Contains(got, "TaintManagerEviction Marking for deletion Pod default/plain") {
		t.Error(got)
	}
	l.advance(55 * time.Second)
	l.pod("patient")
	l.advance(10 * time.Second)
	l.absent(informer.Pods, "default", "patient")
	l.pod("proof")
}

func TestDependentsOfNobodyAreCollected(t *testing.T) {
	l := newLab(t, Options{NoControlPlane: true})
	cm := func(name string, refs ...metav1.OwnerReference) {
		l.create(informer.ConfigMaps, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", OwnerReferences: refs}})
	}
	ref := func(name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: l.get(informer.ConfigMaps, "default", name).(*v1.ConfigMap).UID}
	}
	cm("owner")
	cm("other")
	l.settle()
	cm("one", ref("owner"))
	cm("two", ref("owner"), ref("other"))
	cm("stray", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "never", UID: "00000000-0000-0000-0000-000000000000"})
	l.settle()
	l.absent(informer.ConfigMaps, "default", "stray")
	l.delete(informer.ConfigMaps, "default", "owner")
	l.settle()
	l.absent(informer.ConfigMaps, "default", "one")
	if refs := l.get(informer.ConfigMaps, "default", "two").(*v1.ConfigMap).OwnerReferences; len(refs) != 1 || refs[0].Name != "other" {
		t.Errorf("owners of what has another owner: %+v", refs)
	}
}
