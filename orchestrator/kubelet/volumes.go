package kubelet

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/api/v1/resource"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"github.com/drydock-labs/drydock/orchestrator/informer"
	"github.com/drydock-labs/drydock/orchestrator/loop"
)

// mounts places the pod's volumes in a container.
func mounts(c *v1.Container, env []Env) ([]Mount, error) {
	var out []Mount
	for _, m := range c.VolumeMounts {
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expansion.Expand(m.SubPathExpr, lookup(env))
		}
		if path.IsAbs(sub) || sub == ".." || strings.HasPrefix(sub, "../") || strings.Contains(sub, "/../") || strings.HasSuffix(sub, "/..") {
			return nil, configError{fmt.Sprintf("subPath %q of volume mount %q must be a relative path without '..'", sub, m.Name)}
		}
		out = append(out, Mount{Volume: m.Name, SubPath: sub, Target: m.MountPath, ReadOnly: m.ReadOnly})
	}
	return out, nil
}

// prepareVolumes writes the pod's volumes, again when a source changed, and reports whether they are there.
func (k *Kubelet) prepareVolumes(t loop.Trigger, w *worker) bool {
	now := k.Loop.Now()
	if !w.tokensUntil.IsZero() && !now.Before(w.tokensUntil) {
		w.volumesStale = true
	}
	if w.volumesReady && !w.volumesStale {
		return true
	}
	if left := w.volumesWait.left(now); left > 0 {
		k.later(w, left)
		return w.volumesReady
	}
	first := !w.volumesReady
	specs, err := k.volumeSpecs(w)
	if err != nil {
		k.volumesFailed(t, w, err)
		return w.volumesReady
	}
	w.volumesStale = false
	if len(specs) == 0 {
		w.volumesReady = true
		return true
	}
	w.tokensUntil = time.Time{}
	if refresh := tokenRefresh(w.pod); refresh > 0 {
		w.tokensUntil = now.Add(refresh)
		k.later(w, refresh)
	}
	uid := string(w.uid)
	k.run(w, func(ctx context.Context) func() {
		var err error
		for _, s := range specs {
			if !first && !s.Projected {
				continue // an emptyDir is the pod's own
			}
			if err = k.rt.WriteVolume(ctx, uid, s); err != nil {
				err = volumeError{s.Name, err}
				break
			}
		}
		return func() {
			if err != nil {
				k.volumesFailed(k.Loop.Current(), w, err)
				return
			}
			w.volumesReady, w.volumesWait = true, backOff{}
		}
	})
	return true
}

// volumeError is upstream's text for a volume that could not be set up.
type volumeError struct {
	volume string
	err    error
}

func (e volumeError) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.volume, e.err)
}

func (k *Kubelet) volumesFailed(t loop.Trigger, w *worker, err error) {
	t.Parent = w.parent
	w.volumesWait.fail(k.Loop.Now(), firstVolume, maxVolume)
	k.later(w, w.volumesWait.delay)
	k.events.Warning(k.Context(t, "volume-failed"), w.pod, "FailedMount", "%s", err.Error())
}

// volumeSpecs says what the pod's volumes hold.
func (k *Kubelet) volumeSpecs(w *worker) ([]VolumeSpec, error) {
	var out []VolumeSpec
	w.downward = false
	var gid *int64
	if sc := w.pod.Spec.SecurityContext; sc != nil {
		gid = sc.FSGroup
	}
	for i := range w.pod.Spec.Volumes {
		v := &w.pod.Spec.Volumes[i]
		s := VolumeSpec{Name: v.Name, GID: gid, Projected: true}
		var err error
		switch {
		case v.EmptyDir != nil:
			s.Projected, s.Memory = false, v.EmptyDir.Medium == v1.StorageMediumMemory
			if v.EmptyDir.SizeLimit != nil {
				s.SizeLimit = v.EmptyDir.SizeLimit.Value()
			}
		case v.ConfigMap != nil:
			s.Files, err = k.configMapFiles(w, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional, v.ConfigMap.DefaultMode)
		case v.Secret != nil:
			s.Files, err = k.secretFiles(w, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional, v.Secret.DefaultMode)
		case v.DownwardAPI != nil:
			s.Files, err = k.downwardFiles(w, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
		case v.Projected != nil:
			s.Files, err = k.projectedFiles(w, v.Projected)
		default:
			err = fmt.Errorf("drydock nodes do not support %s volumes; configMap, secret, downwardAPI, projected and emptyDir work", volumeKind(v))
		}
		if err != nil {
			return nil, volumeError{v.Name, err}
		}
		out = append(out, s)
	}
	return out, nil
}

func volumeKind(v *v1.Volume) string {
	switch {
	case v.HostPath != nil:
		return "hostPath"
	case v.PersistentVolumeClaim != nil:
		return "persistentVolumeClaim"
	case v.NFS != nil:
		return "nfs"
	case v.CSI != nil:
		return "csi"
	case v.Ephemeral != nil:
		return "ephemeral"
	case v.Image != nil:
		return "image"
	}
	return "this kind of"
}

func mode(own, def *int32) uint32 {
	switch {
	case own != nil:
		return uint32(*own)
	case def != nil:
		return uint32(*def)
	}
	return 0o644
}

// pick chooses the files that items name, or all of data.
func pick(data map[string][]byte, items []v1.KeyToPath, def *int32, optional bool, what string) ([]VolumeFile, error) {
	var files []VolumeFile
	if len(items) == 0 {
		for _, name := range sortedKeys(data) {
			files = append(files, VolumeFile{Path: name, Mode: mode(nil, def), Data: data[name]})
		}
		return files, nil
	}
	for _, it := range items {
		content, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, fmt.Errorf("%s references non-existent %s key: %s", what, what, it.Key)
		}
		files = append(files, VolumeFile{Path: path.Clean(it.Path), Mode: mode(it.Mode, def), Data: content})
	}
	return files, nil
}

func (k *Kubelet) configMapFiles(w *worker, name string, items []v1.KeyToPath, opt *bool, def *int32) ([]VolumeFile, error) {
	cm, ok := informer.Get[*v1.ConfigMap](k.Reader, informer.ConfigMaps, w.pod.Namespace, name)
	if !ok && !optional(opt) {
		return nil, fmt.Errorf("configmap %q not found", name)
	}
	data := map[string][]byte{}
	if ok {
		for key, v := range cm.Data {
			data[key] = []byte(v)
		}
		for key, v := range cm.BinaryData {
			data[key] = v
		}
	}
	return pick(data, items, def, optional(opt), "configmap")
}

func (k *Kubelet) secretFiles(w *worker, name string, items []v1.KeyToPath, opt *bool, def *int32) ([]VolumeFile, error) {
	s, ok := informer.Get[*v1.Secret](k.Reader, informer.Secrets, w.pod.Namespace, name)
	if !ok && !optional(opt) {
		return nil, fmt.Errorf("secret %q not found", name)
	}
	var data map[string][]byte
	if ok {
		data = s.Data
	}
	return pick(data, items, def, optional(opt), "secret")
}

func (k *Kubelet) downwardFiles(w *worker, items []v1.DownwardAPIVolumeFile, def *int32) ([]VolumeFile, error) {
	w.downward = true
	var files []VolumeFile
	for _, it := range items {
		var value string
		var err error
		if it.FieldRef != nil {
			value, err = k.field(w, it.FieldRef.FieldPath)
		} else if it.ResourceFieldRef != nil {
			value, err = resource.ExtractResourceValueByContainerNameAndNodeAllocatable(it.ResourceFieldRef, w.pod, it.ResourceFieldRef.ContainerName, k.allocatable())
		}
		if err != nil {
			return nil, err
		}
		files = append(files, VolumeFile{Path: path.Clean(it.Path), Mode: mode(it.Mode, def), Data: []byte(value)})
	}
	return files, nil
}

func (k *Kubelet) projectedFiles(w *worker, p *v1.ProjectedVolumeSource) ([]VolumeFile, error) {
	var all []VolumeFile
	for _, src := range p.Sources {
		var files []VolumeFile
		var err error
		switch {
		case src.ConfigMap != nil:
			files, err = k.configMapFiles(w, src.ConfigMap.Name, src.ConfigMap.Items, src.ConfigMap.Optional, p.DefaultMode)
		case src.Secret != nil:
			files, err = k.secretFiles(w, src.Secret.Name, src.Secret.Items, src.Secret.Optional, p.DefaultMode)
		case src.DownwardAPI != nil:
			files, err = k.downwardFiles(w, src.DownwardAPI.Items, p.DefaultMode)
		case src.ServiceAccountToken != nil:
			files = []VolumeFile{{Path: path.Clean(src.ServiceAccountToken.Path), Mode: mode(nil, p.DefaultMode), Load: k.token(w.pod, src.ServiceAccountToken)}}
		default:
			err = fmt.Errorf("drydock nodes do not support clusterTrustBundle and podCertificate sources of projected volumes")
		}
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
	}
	return all, nil
}

// token asks the API server for a token of the pod's service account, bound to the pod.
func (k *Kubelet) token(p *v1.Pod, src *v1.ServiceAccountTokenProjection) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
			ExpirationSeconds: src.ExpirationSeconds,
			BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
		}}
		if src.Audience != "" {
			req.Spec.Audiences = []string{src.Audience}
		}
		obj, err := k.Client.Subresource(ctx, informer.ServiceAccounts, p.Namespace, p.Spec.ServiceAccountName, "token", req)
		if err != nil {
			return nil, fmt.Errorf("failed to fetch token: %w", err)
		}
		return []byte(obj.(*authv1.TokenRequest).Status.Token), nil
	}
}

// tokenRefresh is when the pod's first token is to be renewed: at 80 % of its life, and after a day at most. 0: it has none.
func tokenRefresh(p *v1.Pod) time.Duration {
	var first time.Duration
	for _, v := range p.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, src := range v.Projected.Sources {
			if src.ServiceAccountToken == nil {
				continue
			}
			life := time.Hour
			if s := src.ServiceAccountToken.ExpirationSeconds; s != nil {
				life = time.Duration(*s) * time.Second
			}
			if d := min(life*8/10, 24*time.Hour); first == 0 || d < first {
				first = d
			}
		}
	}
	return first
}
