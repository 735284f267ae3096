package lessons

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader walks a YAML tree by hand, because a message for an author needs the line and a remedy, not a Go type.
type reader struct {
	file     string
	problems *Problems
}

func (r *reader) fail(n *yaml.Node, remedy, format string, args ...any) {
	r.problems.add(r.file, n.Line, remedy, format, args...)
}

// fields calls the function of each key of a mapping, in the file's order, and reports keys it does not know, keys given twice and keys missing
// (required keys end in "!").
func (r *reader) fields(n *yaml.Node, what string, of map[string]func(*yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, "write it as `key: value` lines", "%s must be a mapping", what)
		return
	}
	known := make([]string, 0, len(of))
	handler := map[string]func(*yaml.Node){}
	for k, f := range of {
		handler[strings.TrimSuffix(k, "!")] = f
		known = append(known, strings.TrimSuffix(k, "!"))
	}
	slices.Sort(known)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f, ok := handler[key.Value]
		switch {
		case !ok:
			r.fail(key, "known here: "+strings.Join(known, ", "), "%s has no field %q", what, key.Value)
		case seen[key.Value]:
			r.fail(key, "keep one of them", "%s has the field %q twice", what, key.Value)
		default:
			seen[key.Value] = true
			f(value)
		}
	}
	for k := range of {
		if name, required := strings.CutSuffix(k, "!"); required && !seen[name] {
			r.fail(n, "add `"+name+":`", "%s lacks the field %q", what, name)
		}
	}
}

func (r *reader) each(n *yaml.Node, what string, f func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "write it as `- item` lines", "%s must be a list", what)
		return
	}
	for _, item := range n.Content {
		f(item)
	}
}

func (r *reader) str(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || strings.TrimSpace(n.Value) == "" {
		r.fail(n, "write a text", "%s is empty or not a text", what)
		return ""
	}
	return n.Value
}

func (r *reader) number(n *yaml.Node, what string, low, high int) int {
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || i < low || i > high {
		r.fail(n, "write a whole number from "+strconv.Itoa(low)+" to "+strconv.Itoa(high), "%s is %q", what, n.Value)
		return low
	}
	return i
}

func (r *reader) oneOf(n *yaml.Node, what string, values ...string) string {
	if n.Kind != yaml.ScalarNode || !slices.Contains(values, n.Value) {
		r.fail(n, "one of "+strings.Join(values, ", "), "%s is %q", what, n.Value)
		return values[0]
	}
	return n.Value
}

// text reads a text in both languages.
func (r *reader) text(n *yaml.Node, what string) (t Text) {
	r.fields(n, what, map[string]func(*yaml.Node){
		"ko!": func(n *yaml.Node) { t.Ko = strings.TrimSpace(r.str(n, what+" in Korean")) },
		"en!": func(n *yaml.Node) { t.En = strings.TrimSpace(r.str(n, what+" in English")) },
	})
	return t
}

// id reads a name for use in codes and addresses.
func (r *reader) id(n *yaml.Node, what string) string {
	s := r.str(n, what)
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			r.fail(n, "use small letters, digits and -", "%s is %q", what, s)
			break
		}
	}
	if len(s) > 64 {
		r.fail(n, "use at most 64 characters", "%s is %d characters long", what, len(s))
	}
	return s
}
