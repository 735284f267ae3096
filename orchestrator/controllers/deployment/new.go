package deployment

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/deployment/util"
	labelsutil "k8s.io/kubernetes/pkg/util/labels"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// historyLength bounds the revision-history annotation, as upstream.
const historyLength = 2000

// ensureNew makes the ReplicaSet of the current template or brings the annotations of the existing one up to date.
func (p *pass) ensureNew() error {
	if p.new != nil {
		return p.refreshNew()
	}
	return p.createNew()
}

func (p *pass) nextRevision() string {
	return strconv.FormatInt(util.MaxRevision(logger, p.old)+1, 10)
}

// refreshNew gives an existing ReplicaSet the newest revision (a roll-back makes an old one new again) and the Deployment's
// annotations, and notes its revision on the Deployment.
func (p *pass) refreshNew() error {
	ctx := p.Context(p.t, "revision replicaset=%s", p.new.Name)
	rs := p.new.DeepCopy()
	changed := util.SetNewReplicaSetAnnotations(ctx, p.d, rs, p.nextRevision(), true, historyLength)
	if rs.Spec.MinReadySeconds != p.d.Spec.MinReadySeconds {
		rs.Spec.MinReadySeconds = p.d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		obj, err := p.Client.Update(ctx, informer.ReplicaSets, rs.Namespace, rs)
		if err != nil {
			return err
		}
		p.replace(obj.(*appsv1.ReplicaSet))
	}
	dirty := util.SetDeploymentRevision(p.d, p.new.Annotations[util.RevisionAnnotation])
	if util.HasProgressDeadline(p.d) && util.GetDeploymentCondition(p.d.Status, appsv1.DeploymentProgressing) == nil {
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, v1.ConditionTrue, util.FoundNewRSReason, fmt.Sprintf("Found new replica set %q", p.new.Name))
		dirty = true
	}
	if !dirty {
		return nil
	}
	return p.putStatus("revision=%s", p.d.Annotations[util.RevisionAnnotation])
}

func (p *pass) createNew() error {
	template := *p.d.Spec.Template.DeepCopy()
	hash := controller.ComputeHash(&template, p.d.Status.CollisionCount)
	template.Labels = labelsutil.CloneAndAddLabel(p.d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(p.d.Name, hash), Namespace: p.d.Namespace, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32), MinReadySeconds: p.d.Spec.MinReadySeconds, Template: template,
			Selector: labelsutil.CloneSelectorAndAddLabel(p.d.Spec.Selector, appsv1.DefaultDeploymentUniqueLabelKey, hash),
		},
	}
	size, err := util.NewRSNewReplicas(p.d, append(p.all(), rs), rs)
	if err != nil {
		return err
	}
	*rs.Spec.Replicas = size
	ctx := p.Context(p.t, "template hash=%s replicas=%d", hash, size)
	util.SetNewReplicaSetAnnotations(ctx, p.d, rs, p.nextRevision(), false, historyLength)
	obj, err := p.Client.Create(ctx, informer.ReplicaSets, p.d.Namespace, rs)
	switch {
	case apierrors.IsAlreadyExists(err):
		return p.collided(rs, err)
	case apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause):
		return err
	case err != nil:
		return p.createFailed(rs, err)
	}
	p.new = obj.(*appsv1.ReplicaSet)
	p.rss = append(p.rss, p.new)
	p.tellScaled(ctx, p.new.Name, 0, size)
	dirty := util.SetDeploymentRevision(p.d, p.new.Annotations[util.RevisionAnnotation])
	if util.HasProgressDeadline(p.d) {
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, v1.ConditionTrue, util.NewReplicaSetReason, fmt.Sprintf("Created new replica set %q", p.new.Name))
		dirty = true
	}
	if !dirty {
		return nil
	}
	return p.putStatus("created replicaset=%s", p.new.Name)
}

// setName is the Deployment's name, cut where it must be, and its template's hash.
func setName(deployment, hash string) string {
	if most := validation.DNS1123SubdomainMaxLength - 1 - len(hash); len(deployment) > most {
		deployment = deployment[:most]
	}
	return deployment + "-" + hash
}

// collided: another ReplicaSet has the name. If its template is the same it is ours after all; else the hash is salted.
func (p *pass) collided(rs *appsv1.ReplicaSet, cause error) error {
	other, ok := informer.Get[*appsv1.ReplicaSet](p.Reader, informer.ReplicaSets, rs.Namespace, rs.Name)
	if !ok {
		return cause
	}
	if ref := metav1.GetControllerOfNoCopy(other); ref != nil && ref.UID == p.d.UID && util.EqualIgnoreHash(&p.d.Spec.Template, &other.Spec.Template) {
		p.new = other
		p.rss = append(p.rss, other)
		return p.refreshNew()
	}
	if p.d.Status.CollisionCount == nil {
		p.d.Status.CollisionCount = new(int32)
	}
	*p.d.Status.CollisionCount++
	if err := p.putStatus("name-collision replicaset=%s", rs.Name); err != nil {
		return err
	}
	return cause
}

func (p *pass) createFailed(rs *appsv1.ReplicaSet, cause error) error {
	message := fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, cause)
	if util.HasProgressDeadline(p.d) {
		p.setCondition(&p.d.Status, appsv1.DeploymentProgressing, v1.ConditionFalse, util.FailedRSCreateReason, message)
		if err := p.putStatus("replicaset-refused"); err != nil {
			return err
		}
	}
	p.events.Warning(p.Context(p.t, "replicaset-refused"), p.d, util.FailedRSCreateReason, "%s", message)
	return cause
}

// putStatus writes the pass' Deployment (status and, as upstream does, its revision annotation) and continues with the result.
func (p *pass) putStatus(detail string, args ...any) error {
	if stored, ok := informer.Get[*appsv1.Deployment](p.Reader, informer.Deployments, p.d.Namespace, p.d.Name); ok &&
		equality.Semantic.DeepEqual(stored.Status, p.d.Status) && equality.Semantic.DeepEqual(stored.Annotations, p.d.Annotations) {
		return nil
	}
	obj, err := p.Client.UpdateStatus(p.Context(p.t, detail, args...), informer.Deployments, p.d.Namespace, p.d)
	if err != nil {
		return err
	}
	p.d = obj.(*appsv1.Deployment)
	return nil
}
