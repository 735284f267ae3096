package kubelet

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/pkg/kubelet/envvars"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// environment is a container's variables: Services first, then envFrom, then env, each later one in the place of an earlier.
func (k *Kubelet) environment(w *worker, c *v1.Container) ([]Env, error) {
	e := &environment{at: map[string]int{}}
	for _, v := range k.serviceVars(w.pod) {
		e.set(v.Name, v.Value)
	}
	services := len(e.vars)
	if err := k.envFrom(w.pod.Namespace, c, e); err != nil {
		return nil, err
	}
	mapping := expansion.MappingFuncFor(e.declared(services), e.known(services))
	for i := range c.Env {
		v := &c.Env[i]
		value := v.Value
		switch {
		case value != "":
			value = expansion.Expand(value, mapping)
		case v.ValueFrom != nil:
			from, skip, err := k.valueFrom(w, c, v)
			if err != nil {
				return nil, err
			}
			if skip {
				continue
			}
			value = from
		}
		e.set(v.Name, value)
		mapping = expansion.MappingFuncFor(e.declared(services), e.known(services))
	}
	return e.vars, nil
}

// environment is variables in order of first appearance.
type environment struct {
	vars []Env
	at   map[string]int
}

func (e *environment) set(name, value string) {
	if i, ok := e.at[name]; ok {
		e.vars[i].Value = value
		return
	}
	e.at[name] = len(e.vars)
	e.vars = append(e.vars, Env{name, value})
}

// declared are the variables of the container itself, known those of Services: expansion prefers the first.
func (e *environment) declared(services int) map[string]string { return table(e.vars[services:]) }
func (e *environment) known(services int) map[string]string    { return table(e.vars[:services]) }

func table(vars []Env) map[string]string {
	m := make(map[string]string, len(vars))
	for _, v := range vars {
		m[v.Name] = v.Value
	}
	return m
}

func lookup(vars []Env) func(string) string { return expansion.MappingFuncFor(table(vars)) }

func expandAll(list []string, mapping func(string) string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = expansion.Expand(s, mapping)
	}
	return out
}

// serviceVars are those of the Services in the pod's namespace (unless it declines them) and of the API server.
func (k *Kubelet) serviceVars(p *v1.Pod) []v1.EnvVar {
	links := p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks
	var services []*v1.Service
	if s, ok := informer.Get[*v1.Service](k.Reader, informer.Services, metav1.NamespaceDefault, "kubernetes"); ok {
		services = append(services, s)
	}
	if links {
		for _, s := range informer.List[*v1.Service](k.Reader, informer.Services, p.Namespace) {
			if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != v1.ClusterIPNone && !(s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes") {
				services = append(services, s)
			}
		}
	}
	vars := envvars.FromServices(services)
	slices.SortStableFunc(vars, func(a, b v1.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return vars
}

func (k *Kubelet) envFrom(ns string, c *v1.Container, e *environment) error {
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			ref := from.ConfigMapRef
			cm, ok := informer.Get[*v1.ConfigMap](k.Reader, informer.ConfigMaps, ns, ref.Name)
			if !ok {
				if optional(ref.Optional) {
					continue
				}
				return configError{fmt.Sprintf("configmap %q not found", ref.Name)}
			}
			for _, name := range sortedKeys(cm.Data) {
				e.add(from.Prefix+name, cm.Data[name])
			}
		case from.SecretRef != nil:
			ref := from.SecretRef
			s, ok := informer.Get[*v1.Secret](k.Reader, informer.Secrets, ns, ref.Name)
			if !ok {
				if optional(ref.Optional) {
					continue
				}
				return configError{fmt.Sprintf("secret %q not found", ref.Name)}
			}
			for _, name := range sortedKeys(s.Data) {
				e.add(from.Prefix+name, string(s.Data[name]))
			}
		}
	}
	return nil
}

// add leaves out keys that cannot be a variable's name.
func (e *environment) add(name, value string) {
	if len(validation.IsRelaxedEnvVarName(name)) == 0 {
		e.set(name, value)
	}
}

func optional(b *bool) bool { return b != nil && *b }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for name := range m {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	return keys
}

// valueFrom reads what a variable refers to; skip says that something optional is not there.
func (k *Kubelet) valueFrom(w *worker, c *v1.Container, v *v1.EnvVar) (value string, skip bool, err error) {
	from := v.ValueFrom
	switch {
	case from.FieldRef != nil:
		value, err = k.field(w, from.FieldRef.FieldPath)
	case from.ResourceFieldRef != nil:
		name := from.ResourceFieldRef.ContainerName
		if name == "" {
			name = c.Name
		}
		value, err = resource.ExtractResourceValueByContainerNameAndNodeAllocatable(from.ResourceFieldRef, w.pod, name, k.allocatable())
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, ok := informer.Get[*v1.ConfigMap](k.Reader, informer.ConfigMaps, w.pod.Namespace, ref.Name)
		if !ok {
			return "", optional(ref.Optional), configError{fmt.Sprintf("configmap %q not found", ref.Name)}.unless(ref.Optional)
		}
		if value, ok = cm.Data[ref.Key]; !ok {
			return "", optional(ref.Optional), configError{fmt.Sprintf("couldn't find key %v in ConfigMap %v/%v", ref.Key, w.pod.Namespace, ref.Name)}.unless(ref.Optional)
		}
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, ok := informer.Get[*v1.Secret](k.Reader, informer.Secrets, w.pod.Namespace, ref.Name)
		if !ok {
			return "", optional(ref.Optional), configError{fmt.Sprintf("secret %q not found", ref.Name)}.unless(ref.Optional)
		}
		data, ok := s.Data[ref.Key]
		if !ok {
			return "", optional(ref.Optional), configError{fmt.Sprintf("couldn't find key %v in Secret %v/%v", ref.Key, w.pod.Namespace, ref.Name)}.unless(ref.Optional)
		}
		value = string(data)
	default:
		return "", false, configError{fmt.Sprintf("variable %s: drydock nodes do not support this kind of reference", v.Name)}
	}
	if err != nil {
		return "", false, configError{err.Error()}
	}
	return value, false, nil
}

func (e configError) unless(optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return e
}

// field is a downward API field: those the kubelet knows itself, and the metadata.
func (k *Kubelet) field(w *worker, path string) (string, error) {
	switch path {
	case "spec.nodeName":
		return w.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return w.pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return k.cfg.Node.IP.String(), nil
	case "status.podIP", "status.podIPs":
		return k.podIP(w), nil
	}
	return fieldpath.ExtractFieldPathAsString(w.pod, path)
}

func (k *Kubelet) podIP(w *worker) string {
	if w.pod.Spec.HostNetwork {
		return k.cfg.Node.IP.String()
	}
	if !w.ip.IsValid() {
		return ""
	}
	return w.ip.String()
}

func (k *Kubelet) allocatable() v1.ResourceList {
	return v1.ResourceList{v1.ResourceCPU: k.cfg.Node.CPU, v1.ResourceMemory: k.cfg.Node.Memory}
}
