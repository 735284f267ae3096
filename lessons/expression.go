package lessons

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
)

// expression is a compiled CEL expression over a World.
//
// Variables:
//   - last: the command that ended last since the task began: {line, program, exit, machine}; line is "" if there is none.
//   - commands: all of them, oldest first, as last.
//   - docker: the workstation's Docker host: {on, containers, images}, see dockerMap.
//   - lab: for the functions below, which authors call without it.
//
// Functions (macros over lab):
//   - objects(resource), objects(resource, namespace): list of objects as the API serves them; without a namespace it is "default",
//     and "" means all.
//   - object(resource, name): one of namespace "default", an empty map if there is none.
//   - changes(resource): what was committed since the task began, oldest first: {op, name, namespace, object, old, actor, component, learner}.
//   - file(path): a workstation's file, "" if it can't be read.
//   - usage(pod, container): {memory, memoryMax, oomKills, cpuMillis, throttledMillis, cpuMax}, zero if it does not run.
//   - written(container): what a container's own layer changes: {path, kind, at}.
//   - logged(container): the newest part of a container's log: {text, stderr, at}.
//   - quantity(text): a Kubernetes quantity as a number.
//
// A key that isn't there makes a condition false rather than an error; `?.` and orValue() are there to be exact.
type expression struct {
	source  string
	program cel.Program
}

type want int

const (
	wantAny want = iota
	wantBool
	wantObject
)

// Limits of one evaluation: cost is CEL's own count of operations, which a lab's 20,000 objects stay below with one pass.
const (
	costLimit = 5_000_000
	evalTime  = 2 * time.Second
)

var env = sync.OnceValues(func() (*cel.Env, error) {
	lab := cel.OpaqueType("lab")
	fn := func(name string, result *cel.Type, f func(*view, []string) any, args int) cel.EnvOption {
		params := []*cel.Type{lab}
		for range args {
			params = append(params, cel.StringType)
		}
		return cel.Function(name, cel.Overload(fmt.Sprintf("%s_%d", strings.ReplaceAll(name, "@", ""), args), params, result,
			cel.FunctionBinding(binding(f))))
	}
	options := []cel.EnvOption{
		cel.OptionalTypes(), ext.Strings(), ext.Bindings(), ext.Lists(), ext.Math(),
		cel.Variable("@lab", lab),
		cel.Variable("docker", cel.DynType), cel.Variable("last", cel.DynType), cel.Variable("commands", cel.ListType(cel.DynType)),
		fn("@objects", cel.ListType(cel.DynType), func(v *view, a []string) any { return v.objects(a[0], "default") }, 1),
		fn("@objects", cel.ListType(cel.DynType), func(v *view, a []string) any { return v.objects(a[0], a[1]) }, 2),
		fn("@object", cel.DynType, func(v *view, a []string) any { return v.object(a[0], a[1]) }, 2),
		fn("@changes", cel.ListType(cel.DynType), func(v *view, a []string) any { return v.changes(a[0]) }, 1),
		fn("@file", cel.StringType, func(v *view, a []string) any { return v.file(a[0]) }, 1),
		fn("@usage", cel.DynType, func(v *view, a []string) any { return v.usage(a[0], a[1]) }, 2),
		fn("@written", cel.ListType(cel.DynType), func(v *view, a []string) any { return v.written(a[0]) }, 1),
		fn("@logged", cel.ListType(cel.DynType), func(v *view, a []string) any { return v.logged(a[0]) }, 1),
		cel.Function("quantity", cel.Overload("quantity_string", []*cel.Type{cel.StringType}, cel.DoubleType, cel.UnaryBinding(quantity))),
	}
	for name, counts := range map[string][]int{"objects": {1, 2}, "object": {2}, "changes": {1}, "file": {1}, "usage": {2}, "written": {1}, "logged": {1}} {
		for _, n := range counts {
			options = append(options, cel.Macros(cel.GlobalMacro(name, n, labMacro("@"+name))))
		}
	}
	return cel.NewEnv(options...)
})

func binding(f func(*view, []string) any) functions.FunctionOp {
	return func(args ...ref.Val) ref.Val {
		v, ok := args[0].(*view)
		if !ok {
			return types.NewErr("not a lab")
		}
		names := make([]string, len(args)-1)
		for i, a := range args[1:] {
			names[i] = string(a.(types.String))
		}
		return types.DefaultTypeAdapter.NativeToValue(f(v, names))
	}
}

func quantity(arg ref.Val) ref.Val {
	q, err := resource.ParseQuantity(string(arg.(types.String)))
	if err != nil {
		return types.NewErr("quantity %q: %v", arg, err)
	}
	return types.Double(q.AsApproximateFloat64())
}

// expression compiles a node's text; problems name the line inside a block text too.
func (r *reader) expression(n *yaml.Node, what string, w want) *expression {
	source := strings.TrimSpace(r.str(n, what))
	if source == "" {
		return nil
	}
	e, err := env()
	if err != nil {
		r.fail(n, "report this", "the expression language does not start: %v", err)
		return nil
	}
	tree, issues := e.Compile(source)
	if issues != nil && issues.Err() != nil {
		for _, issue := range issues.Errors() {
			at := *n
			if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
				at.Line += issue.Location.Line()
			}
			r.fail(&at, "see the list of variables and functions in lessons/README.md", "%s: %s", what, issue.Message)
		}
		return nil
	}
	if kind := tree.OutputType().Kind(); w == wantBool && kind != types.BoolKind && kind != types.DynKind {
		r.fail(n, "compare with == or use a condition", "%s must be true or false, not %s", what, tree.OutputType())
		return nil
	}
	program, err := e.Program(tree, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit), cel.InterruptCheckFrequency(1000))
	if err != nil {
		r.fail(n, "write it plainer", "%s: %v", what, err)
		return nil
	}
	return &expression{source: source, program: program}
}

// eval evaluates over a view.
func (x *expression) eval(ctx context.Context, v *view) (ref.Val, error) {
	ctx, cancel := context.WithTimeout(ctx, evalTime)
	defer cancel()
	out, _, err := x.program.ContextEval(ctx, map[string]any{"@lab": v, "docker": v.docker, "last": v.last(), "commands": v.commandList()})
	return out, err
}

// holds reports whether a condition is true. A key that is not there yet is the usual reason for an error, and means no.
func (x *expression) holds(ctx context.Context, v *view) bool {
	out, err := x.eval(ctx, v)
	return err == nil && out == types.True
}

// value evaluates to a parameter of a sentence: a string, a number, or a list joined with commas; "" on error.
func (x *expression) value(ctx context.Context, v *view) any {
	out, err := x.eval(ctx, v)
	if err != nil {
		return ""
	}
	return param(out)
}

func param(out ref.Val) any {
	switch t := out.(type) {
	case types.String:
		return string(t)
	case types.Int:
		return int64(t)
	case types.Double:
		return float64(t)
	case types.Bool:
		return bool(t)
	case *types.Optional:
		if t.HasValue() {
			return param(t.GetValue())
		}
		return ""
	case traits.Lister:
		var parts []string
		for it := t.Iterator(); it.HasNext() == types.True && len(parts) < 12; {
			parts = append(parts, fmt.Sprint(param(it.Next())))
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprint(out.Value())
}

// view is a World at the time of one evaluation, with what was read kept for it.
type view struct {
	world    World
	since    int64 // the revision at which the task began
	commands []Command
	objs     map[[2]string][]map[string]any
	changed  map[string][]map[string]any
	hosted   map[string]any              // the Docker host; nil: not read yet
	layers   map[string][]map[string]any // by container
	logs     map[string][]map[string]any // by container
}

func newView(w World, since int64, commands []Command) *view {
	return &view{world: w, since: since, commands: commands, objs: map[[2]string][]map[string]any{}, changed: map[string][]map[string]any{},
		layers: map[string][]map[string]any{}, logs: map[string][]map[string]any{}}
}

func (v *view) objects(res, ns string) []map[string]any {
	k := [2]string{res, ns}
	list, ok := v.objs[k]
	if !ok {
		list = v.world.Objects(res, ns)
		v.objs[k] = list
	}
	return list
}

func (v *view) object(res, name string) map[string]any {
	for _, o := range v.objects(res, "default") {
		if field(o, "metadata", "name") == name {
			return o
		}
	}
	return map[string]any{}
}

func (v *view) changes(res string) []map[string]any {
	list, ok := v.changed[res]
	if !ok {
		for _, c := range v.world.History(v.since, res) {
			list = append(list, map[string]any{"op": string(c.Op), "name": c.Name, "namespace": c.Namespace, "object": state(c.Object), "old": state(c.Old),
				"actor": c.Cause.Actor, "component": c.Cause.Component, "learner": c.byLearner()})
		}
		v.changed[res] = list
	}
	return list
}

func (v *view) file(path string) string {
	data, err := v.world.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

func (v *view) usage(pod, container string) map[string]any {
	u, _ := v.world.Usage("default", pod, container)
	return map[string]any{"memory": u.MemoryBytes, "memoryMax": u.MemoryMax, "oomKills": u.OOMKills, "cpuMillis": u.CPU.Milliseconds(),
		"throttledMillis": u.Throttled.Milliseconds(), "cpuMax": u.CPUMaxFraction}
}

func (v *view) last() map[string]any {
	if len(v.commands) == 0 {
		return commandMap(Command{})
	}
	return commandMap(v.commands[len(v.commands)-1])
}

func (v *view) commandList() []map[string]any {
	out := make([]map[string]any, len(v.commands))
	for i, c := range v.commands {
		out[i] = commandMap(c)
	}
	return out
}

func commandMap(c Command) map[string]any {
	program, _, _ := strings.Cut(strings.TrimSpace(c.Line), " ")
	return map[string]any{"line": c.Line, "program": program, "exit": int64(c.Exit), "machine": c.Machine}
}

// view is a CEL value so that functions receive it; expressions cannot do anything else with it.

func (v *view) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("a lab is not a value")
}
func (v *view) ConvertToType(ref.Type) ref.Val { return types.NewErr("a lab is not a value") }
func (v *view) Equal(o ref.Val) ref.Val        { return types.Bool(ref.Val(v) == o) }
func (v *view) Type() ref.Type                 { return cel.OpaqueType("lab") }
func (v *view) Value() any                     { return v }

// field walks a JSON-shaped value; nil if something on the way is missing.
func field(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func text(v any, path ...string) string {
	s, _ := field(v, path...).(string)
	return s
}

func state(f func() map[string]any) map[string]any {
	if f == nil {
		return map[string]any{}
	}
	if m := f(); m != nil {
		return m
	}
	return map[string]any{}
}
