package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What is built differently for kubectl alone: its version, and what is left out to make it a third smaller.

const kubernetesVersion = "v1.37.2+drydock"

// kubectlLDFlags stamp the version into both packages that tell it. Without it `kubectl version` would exit 1: it compares minors.
var kubectlLDFlags = stamp(map[string]string{"gitVersion": kubernetesVersion, "gitMajor": "1", "gitMinor": "37", "gitTreeState": "clean"},
	"k8s.io/component-base/version", "k8s.io/client-go/pkg/version")

func stamp(values map[string]string, packages ...string) string {
	var flags []string
	for _, p := range packages {
		for name, value := range values {
			flags = append(flags, fmt.Sprintf("-X %s.%s=%s", p, name, value))
		}
	}
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

// kubectlGoroot lets the linker drop methods that nothing calls: text/template calls methods by a name known only at run time, so the
// linker must keep every exported method of every type, of all API types and typed clients. kubectl's templates call these.
var kubectlGoroot = []source{
	{path: "text/template/exec.go", edits: []edit{{old: "ptr.MethodByName(fieldName)", new: "drydockMethod(ptr, fieldName)"}}},
}

// templateMethods are the methods that the help and usage templates of cobra and kubectl call, and those of pflag that they reach.
var templateMethods = strings.Fields(`CommandPath UseLine Name Runnable HasSubCommands HasAvailableSubCommands HasExample HasParent
	IsAvailableCommand Commands Groups LocalFlags PersistentFlags InheritedFlags HasAvailableLocalFlags HasAvailableInheritedFlags
	HasInheritedFlags HasHelpSubCommands IsAdditionalHelpTopicCommand AllChildCommandsHaveGroup NameAndAliases NamePadding
	CommandPathPadding UsageString DisplayName Root HasFlags FlagUsages String`)

// methodSwitch is a file of text/template with the function that calls the methods by constant names, which the linker understands.
func methodSwitch(names []string) []byte {
	var b bytes.Buffer
	b.WriteString("package template\n\nimport \"reflect\"\n\nfunc drydockMethod(v reflect.Value, name string) reflect.Value {\n\tswitch name {\n")
	for _, n := range names {
		fmt.Fprintf(&b, "\tcase %q:\n\t\treturn v.MethodByName(%q)\n", n, n)
	}
	b.WriteString("\t}\n\treturn reflect.Value{}\n}\n")
	return b.Bytes()
}

// kubectlPatches leave out the typed clients and codecs of alpha and beta versions that kubectl's own code has no use for.
// Objects of those versions are still fetched, printed, edited and applied: kubectl does that with any object, as data.
var kubectlPatches = []patch{
	{module: "k8s.io/client-go", sources: []source{
		{path: "kubernetes/clientset.go", transform: withoutImports(unstable("k8s.io/client-go/kubernetes/typed/"))},
		{path: "kubernetes/scheme/register.go", transform: withoutImports(unstable("k8s.io/api/"))},
	}},
	// For the kinds that kubectl has types of, apply computes its patch from those types, as it does where a server publishes no schema,
	// and does not parse the group's OpenAPI document first: the lab's server is of the same minor, so that both say the same.
	{module: "k8s.io/kubectl", sources: []source{
		{path: "pkg/cmd/apply/patcher.go", edits: []edit{
			{old: "\tif p.OpenAPIV3Root != nil {\n", new: "\tif p.OpenAPIV3Root != nil && !scheme.Scheme.Recognizes(p.Mapping.GroupVersionKind) {\n"},
			{old: "\tif patch == nil && p.OpenAPIGetter != nil {\n", new: "\tif patch == nil && p.OpenAPIGetter != nil && !scheme.Scheme.Recognizes(p.Mapping.GroupVersionKind) {\n"},
		}},
	}},
}

// unstableKept are the alpha and beta versions that kubectl's code calls.
var unstableKept = []string{"networking/v1beta1", "authentication/v1alpha1", "authentication/v1beta1", "certificates/v1beta1", "policy/v1beta1"}

func unstable(prefix string) func(importPath string) bool {
	version := regexp.MustCompile(`/v[0-9]+(alpha|beta)[0-9]+$`)
	return func(path string) bool {
		rest, ok := strings.CutPrefix(path, prefix)
		return ok && version.MatchString(path) && !slices.Contains(unstableKept, rest)
	}
}

var (
	importLine = regexp.MustCompile(`^\t([a-z0-9]+) "([^"]+)"$`)
	indent     = regexp.MustCompile(`^\t*`)
)

// withoutImports is a transformation for generated code of regular shape: it removes the imports that drop chooses and every line
// that uses one of them, with the block that the line opens, the comment above it and the check of err below it.
func withoutImports(drop func(importPath string) bool) func([]byte) ([]byte, error) {
	return func(text []byte) ([]byte, error) {
		lines := strings.Split(string(text), "\n")
		var names []string
		lines = slices.DeleteFunc(lines, func(l string) bool {
			m := importLine.FindStringSubmatch(l)
			if m == nil || !drop(m[2]) {
				return false
			}
			names = append(names, m[1])
			return true
		})
		if len(names) == 0 {
			return nil, fmt.Errorf("no import to leave out")
		}
		uses := regexp.MustCompile(`\b(` + strings.Join(names, "|") + `)\.`)
		var kept []string
		for i := 0; i < len(lines); i++ {
			if !uses.MatchString(lines[i]) {
				kept = append(kept, lines[i])
				continue
			}
			margin := indent.FindString(lines[i])
			for len(kept) > 0 && strings.HasPrefix(kept[len(kept)-1], margin+"// ") {
				kept = kept[:len(kept)-1]
			}
			if strings.HasSuffix(lines[i], "{") || i+1 < len(lines) && lines[i+1] == margin+"if err != nil {" {
				for i++; i < len(lines) && lines[i] != margin+"}"; i++ {
				}
			}
		}
		return []byte(strings.Join(kept, "\n")), nil
	}
}
