package deployment

import (
	"context"
	"sort"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/deployment/util"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

var logger = klog.Background()

// scaleTo sets the size of one ReplicaSet; the result takes its place in the pass.
func (p *pass) scaleTo(rs *appsv1.ReplicaSet, size int32) error {
	from := *rs.Spec.Replicas
	wanted, most := *p.d.Spec.Replicas, *p.d.Spec.Replicas+util.MaxSurge(*p.d)
	if from == size && !util.ReplicasAnnotationsNeedUpdate(rs, wanted, most) {
		return nil
	}
	next := rs.DeepCopy()
	next.Spec.Replicas = &size
	util.SetReplicasAnnotations(next, wanted, most)
	ctx := p.Context(p.t, "scaled replicaset=%s from=%d to=%d", rs.Name, from, size)
	obj, err := p.Client.Update(ctx, informer.ReplicaSets, rs.Namespace, next)
	if err != nil {
		return err
	}
	p.replace(obj.(*appsv1.ReplicaSet))
	p.tellScaled(ctx, rs.Name, from, size)
	return nil
}

func (p *pass) tellScaled(ctx context.Context, name string, from, to int32) {
	switch {
	case from < to:
		p.events.Normal(ctx, p.d, "ScalingReplicaSet", "Scaled up replica set %s from %d to %d", name, from, to)
	case from > to:
		p.events.Normal(ctx, p.d, "ScalingReplicaSet", "Scaled down replica set %s from %d to %d", name, from, to)
	}
}

// replace puts a newer state of a ReplicaSet into the pass.
func (p *pass) replace(rs *appsv1.ReplicaSet) {
	if p.new != nil && p.new.UID == rs.UID {
		p.new = rs
	}
	for _, list := range [][]*appsv1.ReplicaSet{p.old, p.rss} {
		for i := range list {
			if list[i].UID == rs.UID {
				list[i] = rs
			}
		}
	}
}

// growNew brings the new ReplicaSet towards the wanted size as far as maxSurge lets it.
func (p *pass) growNew() (scaled bool, err error) {
	wanted, has := *p.d.Spec.Replicas, *p.new.Spec.Replicas
	if has == wanted {
		return false, nil
	}
	size := wanted
	if has < wanted {
		if size, err = util.NewRSNewReplicas(p.d, p.all(), p.new); err != nil {
			return false, err
		}
	}
	if size == has {
		return false, nil
	}
	return true, p.scaleTo(p.new, size)
}

// shrinkOld takes from the old ReplicaSets what may go: first replicas that are not available anyway, then available ones as far as
// maxUnavailable lets it.
func (p *pass) shrinkOld() (scaled bool, err error) {
	if util.GetReplicaCountForReplicaSets(p.old) == 0 {
		return false, nil
	}
	least := *p.d.Spec.Replicas - util.MaxUnavailable(*p.d)
	newUnavailable := *p.new.Spec.Replicas - p.new.Status.AvailableReplicas
	budget := util.GetReplicaCountForReplicaSets(p.all()) - least - newUnavailable
	if budget <= 0 {
		return false, nil
	}
	sort.Stable(controller.ReplicaSetsByCreationTimestamp(p.old))
	for i := range p.old {
		rs := p.old[i]
		if gone := min(budget, *rs.Spec.Replicas-rs.Status.AvailableReplicas); gone > 0 {
			if err := p.scaleTo(rs, *rs.Spec.Replicas-gone); err != nil {
				return scaled, err
			}
			budget -= gone
			scaled = true
		}
	}
	spare := util.GetAvailableReplicaCountForReplicaSets(p.all()) - least
	for i := range p.old {
		rs := p.old[i]
		if gone := min(spare, *rs.Spec.Replicas); gone > 0 {
			if err := p.scaleTo(rs, *rs.Spec.Replicas-gone); err != nil {
				return scaled, err
			}
			spare -= gone
			scaled = true
		}
	}
	return scaled, nil
}

// scaleProportionally spreads a new size of the Deployment over its ReplicaSets in the middle of a roll-out.
func (p *pass) scaleProportionally() error {
	if rs := util.FindActiveOrLatest(p.new, p.old); rs != nil {
		return p.scaleTo(rs, *p.d.Spec.Replicas)
	}
	if util.IsSaturated(p.d, p.new) {
		for _, rs := range controller.FilterActiveReplicaSets(p.old) {
			if err := p.scaleTo(rs, 0); err != nil {
				return err
			}
		}
		return nil
	}
	if !util.IsRollingUpdate(p.d) {
		return nil
	}
	active := controller.FilterActiveReplicaSets(p.all())
	allowed := int32(0)
	if *p.d.Spec.Replicas > 0 {
		allowed = *p.d.Spec.Replicas + util.MaxSurge(*p.d)
	}
	toAdd := allowed - util.GetReplicaCountForReplicaSets(active)
	if toAdd > 0 {
		sort.Stable(controller.ReplicaSetsBySizeNewer(active))
	} else if toAdd < 0 {
		sort.Stable(controller.ReplicaSetsBySizeOlder(active))
	}
	sizes, added := make([]int32, len(active)), int32(0)
	for i, rs := range active {
		share := int32(0)
		if toAdd != 0 {
			share = util.GetReplicaSetProportion(logger, rs, *p.d, toAdd, added)
		}
		sizes[i] = *rs.Spec.Replicas + share
		added += share
	}
	for i, rs := range active {
		if i == 0 { // what rounding left goes to the largest
			sizes[i] = max(0, sizes[i]+toAdd-added)
		}
		if err := p.scaleTo(rs, sizes[i]); err != nil {
			return err
		}
	}
	return nil
}

// trimHistory deletes empty old ReplicaSets beyond revisionHistoryLimit, oldest revision first.
func (p *pass) trimHistory() error {
	if !util.HasRevisionHistoryLimit(p.d) {
		return nil
	}
	var alive []*appsv1.ReplicaSet
	for _, rs := range p.old {
		if rs.DeletionTimestamp == nil {
			alive = append(alive, rs)
		}
	}
	excess := len(alive) - int(*p.d.Spec.RevisionHistoryLimit)
	if excess <= 0 {
		return nil
	}
	sort.Stable(util.ReplicaSetsByRevision(alive))
	for _, rs := range alive[:excess] {
		if rs.Status.Replicas != 0 || *rs.Spec.Replicas != 0 || rs.Generation > rs.Status.ObservedGeneration {
			continue
		}
		ctx := p.Context(p.t, "history limit=%d removed=%s", *p.d.Spec.RevisionHistoryLimit, rs.Name)
		if err := informer.Retry(p.Client.Delete(ctx, informer.ReplicaSets, rs.Namespace, rs.Name, nil)); err != nil {
			return err
		}
	}
	return nil
}
