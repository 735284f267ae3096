package lessons

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/google/cel-go/common/types"
)

// Link is one step of an explanation: a code of the portal's message catalogue under why.*, with parameters.
type Link struct {
	Code   string         `json:"code"`
	Params map[string]any `json:"params,omitempty"`
	Rev    int64          `json:"rev"`
}

// longestChain bounds an explanation: a person reads a sentence, not a log.
const longestChain = 8

// byLearner reports whether a person asked for the change: cluster components and nodes are called system:….
func (c Change) byLearner() bool {
	return c.Cause.Actor != "" && !strings.HasPrefix(c.Cause.Actor, "system:serviceaccount:") && !strings.HasPrefix(c.Cause.Actor, "system:node:") &&
		!strings.HasPrefix(c.Cause.Actor, "system:kube-") && c.Cause.Actor != "system:apiserver" && c.Cause.Kind == "request"
}

// why explains the object that the task's `explain` names.
func (t *Task) why(ctx context.Context, v *view) []Link {
	if t.explain == nil {
		return nil
	}
	out, err := t.explain.eval(ctx, v)
	if err != nil || types.IsError(out) {
		return nil
	}
	m, err := out.ConvertToNative(mapType)
	if err != nil {
		return nil
	}
	of := m.(map[string]any)
	ns := text(of, "namespace")
	if ns == "" {
		ns = "default"
	}
	return Why(v.world, text(of, "resource"), ns, text(of, "name"))
}

// Why tells how an object came to be and, for a pod, what became of it: the learner's act first, then what each part of the cluster did
// because of it, from the causes in the log. Nil if the log no longer holds its creation.
func Why(w World, resource, namespace, name string) []Link {
	history := w.History(0, "")
	at := -1
	for i, c := range history {
		if c.Resource == resource && c.Namespace == namespace && c.Name == name && c.Op == Create {
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	chain := backward(history, at)
	if resource == "pods" {
		chain = append(chain, forward(history, at)...)
	}
	if len(chain) > longestChain {
		chain = append(chain[:1:1], chain[len(chain)-longestChain+1:]...)
	}
	return chain
}

// backward follows the parents of a commit to what began it.
func backward(history []Change, at int) []Link {
	var chain []Link
	seen := map[int64]bool{}
	for i := at; i >= 0; {
		c := history[i]
		if seen[c.Rev] {
			break
		}
		seen[c.Rev] = true
		if link, ok := step(history, i); ok {
			chain = append(chain, link)
		}
		if c.byLearner() || c.Cause.Parent == 0 {
			break
		}
		parent, found := slices.BinarySearchFunc(history, c.Cause.Parent, func(c Change, rev int64) int { return int(min(max(c.Rev-rev, -1), 1)) })
		if !found {
			break
		}
		i = parent
	}
	slices.Reverse(chain)
	return chain
}

// step puts one commit of a chain into words; false if it says nothing to a person (a status that was counted up).
func step(history []Change, i int) (Link, bool) {
	c := history[i]
	kind := kindOf(c)
	base := func(code string, more map[string]any) (Link, bool) {
		p := map[string]any{"kind": kind, "name": c.Name}
		for k, v := range more {
			p[k] = v
		}
		return Link{Code: code, Params: p, Rev: c.Rev}, true
	}
	deleted := c.Op == Delete || c.Op == Update && text(state(c.Old), "metadata", "deletionTimestamp") == "" && text(state(c.Object), "metadata", "deletionTimestamp") != ""
	switch {
	case c.byLearner() && deleted:
		return base("you-deleted", nil)
	case c.byLearner() && c.Op == Create:
		return base("you-created", nil)
	case c.byLearner():
		from, to := number(state(c.Old), "spec", "replicas"), number(state(c.Object), "spec", "replicas")
		if from != to {
			return base("you-scaled", map[string]any{"from": from, "to": to})
		}
		return base("you-changed", nil)
	case c.Cause.Kind == "fault":
		return base("fault", map[string]any{"detail": c.Cause.Detail})
	case c.Op == Create && c.Resource == "pods":
		owner := controller(state(c.Object))
		if owner == "" {
			return base("created", map[string]any{"by": c.Cause.Component})
		}
		wanted, had := shortage(history, i, owner)
		return base("replicaset-short", map[string]any{"owner": owner, "wanted": wanted, "had": had})
	case c.Op == Create:
		return base("created", map[string]any{"by": c.Cause.Component})
	case deleted:
		return base("deleted", map[string]any{"by": c.Cause.Component})
	case number(state(c.Old), "spec", "replicas") != number(state(c.Object), "spec", "replicas"):
		return base("scaled", map[string]any{"by": c.Cause.Component, "from": number(state(c.Old), "spec", "replicas"), "to": number(state(c.Object), "spec", "replicas")})
	case c.Resource == "nodes":
		return base("node-changed", map[string]any{"by": c.Cause.Component})
	}
	return Link{}, false
}

// shortage counts, just before commit i, how many pods the ReplicaSet wanted and how many it had.
func shortage(history []Change, i int, owner string) (wanted, had int64) {
	ns := history[i].Namespace
	pods := map[string]bool{}
	for _, c := range history[:i] {
		switch {
		case c.Namespace != ns:
		case c.Resource == "replicasets" && c.Name == owner:
			wanted = number(state(c.Object), "spec", "replicas")
		case c.Resource == "pods" && controller(state(c.Object)) == owner:
			o := state(c.Object)
			phase := text(o, "status", "phase")
			pods[c.Name] = c.Op != Delete && text(o, "metadata", "deletionTimestamp") == "" && phase != "Succeeded" && phase != "Failed"
		}
	}
	for _, alive := range pods {
		if alive {
			had++
		}
	}
	return wanted, had
}

// forward tells what became of a pod after its creation: its node, its start, its ends.
func forward(history []Change, at int) []Link {
	born := history[at]
	var chain []Link
	said := map[string]bool{}
	tell := func(c Change, code string, more map[string]any) {
		if said[code] {
			return
		}
		said[code] = true
		more["name"] = born.Name
		chain = append(chain, Link{Code: code, Params: more, Rev: c.Rev})
	}
	uid := text(state(born.Object), "metadata", "uid")
	for _, c := range history[at+1:] {
		if c.Resource != "pods" || c.Name != born.Name || c.Namespace != born.Namespace {
			continue
		}
		o := state(c.Object)
		if text(o, "metadata", "uid") != uid {
			break
		}
		if node := text(o, "spec", "nodeName"); node != "" {
			tell(c, "scheduled", map[string]any{"node": node})
		} else if cond := condition(o, "PodScheduled"); text(cond, "reason") == "Unschedulable" {
			message, _, _ := strings.Cut(text(cond, "message"), " preemption:") // why no other pod was sent away is another story
			tell(c, "unschedulable", map[string]any{"message": message})
		}
		statuses, _ := field(o, "status", "containerStatuses").([]any)
		for _, s := range statuses {
			if field(s, "state", "running") != nil {
				tell(c, "started", map[string]any{"ms": c.Time.Sub(born.Time).Milliseconds(), "node": text(o, "spec", "nodeName")})
			}
			for _, when := range []string{"state", "lastState"} {
				if text(s, when, "terminated", "reason") == "OOMKilled" {
					tell(c, "oom-killed", map[string]any{"container": text(s, "name"), "limit": memoryLimit(o, text(s, "name")), "exit": number(s, when, "terminated", "exitCode")})
				}
			}
		}
		if text(condition(o, "Ready"), "status") == "True" {
			tell(c, "ready", map[string]any{"ms": c.Time.Sub(born.Time).Milliseconds()})
		}
	}
	return chain
}

func condition(o any, kind string) map[string]any {
	list, _ := field(o, "status", "conditions").([]any)
	for _, c := range list {
		if text(c, "type") == kind {
			return c.(map[string]any)
		}
	}
	return nil
}

func memoryLimit(pod any, container string) string {
	list, _ := field(pod, "spec", "containers").([]any)
	for _, c := range list {
		if text(c, "name") == container {
			return text(c, "resources", "limits", "memory")
		}
	}
	return ""
}

// controller is the name of the object's controlling owner.
func controller(o any) string {
	refs, _ := field(o, "metadata", "ownerReferences").([]any)
	for _, r := range refs {
		if field(r, "controller") == true {
			return text(r, "name")
		}
	}
	return ""
}

func kindOf(c Change) string {
	if k := text(state(c.Object), "kind"); k != "" {
		return k
	}
	return c.Resource
}

func number(v any, path ...string) int64 {
	switch n := field(v, path...).(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	case int:
		return int64(n)
	case float64:
		return int64(n)
	}
	return 0
}

var mapType = reflect.TypeFor[map[string]any]()
