package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
	"golang.org/x/mod/modfile"
)

var update = flag.Bool("update", false, "rewrite THIRD_PARTY_NOTICES")

// allowed are the licences of what we ship: all let a program be given on under Apache-2.0 together with their texts.
var allowed = regexp.MustCompile(`^(Apache-2\.0|MIT|MIT-0|BSD-[123]-Clause.*|0BSD|ISC|MPL-2\.0|OFL-1\.1)$`)

// component is one thing of other people that we ship: a Go module, an npm package, Go's own library.
type component struct {
	kind, name, version string
	texts               []string // licences and notices, in full
	ids                 []string // SPDX
}

const (
	kindProgram = "Go modules in the program"
	kindGuests  = "Go modules in the guest programs (WebAssembly)"
	kindPage    = "npm packages in the page"
	kindFonts   = "Fonts in the page"
)

// TestNotices generates THIRD_PARTY_NOTICES from what the builds contain and compares. A licence that is not allowed fails.
func TestNotices(t *testing.T) {
	if _, err := os.Stat("frontend/node_modules"); err != nil {
		t.Skip("the npm packages are not installed: task frontend installs them, and they are part of the notices")
	}
	components := slices.Concat(goProgram(t), goGuests(t), npmPackages(t))
	for i := range components {
		judge(t, &components[i])
	}
	got := render(t, components)
	if *update {
		if err := os.WriteFile("THIRD_PARTY_NOTICES", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("THIRD_PARTY_NOTICES")
	if err != nil {
		t.Fatal(err)
	}
	if line := firstDifference(string(want), string(got)); line != "" {
		t.Errorf("THIRD_PARTY_NOTICES is not what the builds contain (%s): run `go tool -modfile=tools.mod task notices`", line)
	}
}

func firstDifference(old, new string) string {
	a, b := strings.Split(old, "\n"), strings.Split(new, "\n")
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return "new: " + b[i]
		case i >= len(b):
			return "gone: " + a[i]
		case a[i] != b[i]:
			return fmt.Sprintf("line %d: %.100q is now %.100q", i+1, a[i], b[i])
		}
	}
	return ""
}

// TestJudge: what the test above allows and refuses, on known texts.
func TestJudge(t *testing.T) {
	apache, err := os.ReadFile("LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"apache", string(apache), ""},
		{"other", "You may not use this software at all.", "no licence recognised"},
		{"added clause", "SPDX-License-Identifier: GPL-3.0-only", "no licence recognised"},
		{"copyleft", copyleft(t), "GPL"},
	} {
		if _, problem := identify(c.text); c.want == "" && problem != "" || c.want != "" && !strings.Contains(problem, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, problem, c.want)
		}
	}
}

// copyleft is a licence text that we could not ship, as the checker itself knows it: the notice at the head of a GPL program.
func copyleft(t *testing.T) string {
	t.Helper()
	return `This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published by
the Free Software Foundation, either version 3 of the License, or (at your option) any later version. This program is distributed in the hope
that it will be useful, but WITHOUT ANY WARRANTY; without even the implied warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See
the GNU General Public License for more details. You should have received a copy of the GNU General Public License along with this program. If
not, see <https://www.gnu.org/licenses/>.`
}

func judge(t *testing.T, c *component) {
	t.Helper()
	if len(c.texts) == 0 {
		t.Errorf("%s %s has no licence file", c.name, c.version)
	}
	licensed := false
	for _, text := range c.texts {
		ids, problem := identify(text)
		if problem == "" {
			licensed = true
		} else if !isNotice(text) {
			t.Errorf("%s %s: %s", c.name, c.version, problem)
		}
		c.ids = append(c.ids, ids...)
	}
	if !licensed {
		t.Errorf("%s %s: none of its texts is a licence", c.name, c.version)
	}
	slices.Sort(c.ids)
	c.ids = slices.Compact(c.ids)
}

// identify names the licences in a text, and says what is wrong with them.
func identify(text string) (ids []string, problem string) {
	found := licensecheck.Scan([]byte(text))
	for _, m := range found.Match {
		if m.IsURL {
			continue
		}
		if !allowed.MatchString(m.ID) {
			problem = "licence " + m.ID + " is not among those we ship"
			continue
		}
		ids = append(ids, m.ID)
	}
	if problem == "" && (len(ids) == 0 || found.Percent < 60) {
		problem = fmt.Sprintf("no licence recognised in %.0f %% of the text that begins %.80q", 100-found.Percent, text)
	}
	return ids, problem
}

// isNotice tells texts that accompany a licence: attributions (Apache-2.0, section 4d) and Go's grant of patents.
func isNotice(text string) bool {
	return strings.HasPrefix(text, "Additional IP Rights Grant (Patents)") ||
		slices.ContainsFunc(accompanying, func(kind string) bool { return strings.HasPrefix(text, kind+"\n\n") }) ||
		slices.ContainsFunc(unconditional, func(begin string) bool { return strings.HasPrefix(text, begin) })
}

// unconditional are the beginnings of texts that stand beside a licence and ask nothing of us. Each is one known text; the module still needs a
// licence of the allowed ones.
var unconditional = []string{
	"# Third-Party Software Notices\n\nThis repository contains code and assets acquire", // modernc.org/libc lists musl and others, MIT and BSD, amid tables
	"SQLite Is Public Domain\n",                                       // the authors' dedication: modernc.org/sqlite, itself BSD, translates their code
	"https://commons.wikimedia.org/wiki/File:Memory_infra_logo.png\n", // where modernc.org/memory's logo is from, a picture that is not linked
}

// accompanying are names of files with notices; the text is kept below the name.
var accompanying = []string{"NOTICE", "COPYRIGHT"}

type listed struct {
	ImportPath, Dir string
	Standard        bool
	Module          *struct {
		Path, Version, Dir string
		Main               bool
		Replace            *struct{ Path, Version, Dir string }
	}
}

// goProgram lists the modules whose packages are linked into the program, on any of the systems we support.
func goProgram(t *testing.T) []component {
	t.Helper()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimPrefix(modfileToolchain(t), "go")
	list := []component{{kind: kindProgram, name: "Go standard library and runtime", version: version,
		texts: licenceTexts(t, strings.TrimSpace(string(goroot)), strings.TrimSpace(string(goroot)))}}
	var packages []listed
	for _, system := range []string{"linux/amd64", "linux/arm64", "darwin/arm64"} {
		goos, goarch, _ := strings.Cut(system, "/")
		packages = append(packages, goList(t, ".", []string{"GOOS=" + goos, "GOARCH=" + goarch}, "-deps", ".")...)
	}
	return append(list, modules(t, kindProgram, packages)...)
}

// goGuests lists the modules in the guest programs.
func goGuests(t *testing.T) []component {
	t.Helper()
	mods, err := filepath.Glob("sandbox/guests/*/go.mod")
	if err != nil || len(mods) < 3 {
		t.Fatalf("guest modules: %v %v", mods, err)
	}
	var packages []listed
	for _, m := range mods {
		// -e: the guests' edited standard library has more packages than go list sees
		packages = append(packages, goList(t, filepath.Dir(m), []string{"GOOS=wasip1", "GOARCH=wasm"}, "-e", "-deps", "./...")...)
	}
	return modules(t, kindGuests, packages)
}

func modfileToolchain(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil || f.Toolchain == nil {
		t.Fatalf("go.mod: toolchain: %v", err)
	}
	return f.Toolchain.Name
}

func goList(t *testing.T, dir string, env []string, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Standard,Module"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "CGO_ENABLED=0")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v in %s: %v\n%s", args, dir, err, stderr.Bytes())
	}
	var list []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// modules are the modules of packages, each with the licences on the way from its linked packages up to its root: parts that were taken
// from elsewhere have their own.
func modules(t *testing.T, kind string, packages []listed) []component {
	t.Helper()
	found := map[string]*component{}
	for _, p := range packages {
		if p.Standard || p.Module == nil || p.Module.Main || p.Module.Path == module || strings.HasPrefix(p.Module.Path, module+"/") {
			continue
		}
		version, root := p.Module.Version, p.Module.Dir
		if r := p.Module.Replace; r != nil {
			version, root = r.Version, r.Dir
		}
		key := p.Module.Path + " " + version
		c := found[key]
		if c == nil {
			c = &component{kind: kind, name: p.Module.Path, version: version}
			found[key] = c
		}
		for _, text := range licenceTexts(t, root, p.Dir) {
			if !slices.Contains(c.texts, text) {
				c.texts = append(c.texts, text)
			}
		}
	}
	var list []component
	for _, key := range slices.Sorted(maps.Keys(found)) {
		slices.Sort(found[key].texts)
		list = append(list, *found[key])
	}
	return list
}

var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents|copyright)([-._].*)?$`)

var textCache = map[string][]string{}

// licenceTexts reads the licence files in dir and the folders above it, up to and with root.
func licenceTexts(t *testing.T, root, dir string) (texts []string) {
	t.Helper()
	for d := dir; ; d = filepath.Dir(d) {
		if _, cached := textCache[d]; !cached {
			textCache[d] = licenceFiles(t, d)
		}
		texts = append(texts, textCache[d]...)
		if d == root || len(d) <= len(root) {
			return texts
		}
	}
}

func licenceFiles(t *testing.T, dir string) (texts []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) || slices.Contains([]string{".go", ".docs", ".s"}, strings.ToLower(filepath.Ext(e.Name()))) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text := normalise(string(data))
		for _, kind := range accompanying {
			if strings.HasPrefix(strings.ToUpper(e.Name()), kind) {
				text = kind + "\n\n" + text
			}
		}
		texts = append(texts, text)
	}
	return texts
}

// normalise makes copies of one licence equal that differ in line ends and empty lines at the edges only.
func normalise(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\f")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n") + "\n"
}

type npmPackage struct {
	Version, License string
	Dev              bool
}

func npmLock(t *testing.T) map[string]npmPackage {
	t.Helper()
	data, err := os.ReadFile("frontend/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct{ Packages map[string]npmPackage }
	if err := json.Unmarshal(data, &lock); err != nil {
		t.Fatal(err)
	}
	delete(lock.Packages, "")
	return lock.Packages
}

// npmPackages lists the npm packages that the page's production dependencies bring: more than what the bundler keeps of them.
func npmPackages(t *testing.T) []component {
	t.Helper()
	var list []component
	lock := npmLock(t)
	for _, path := range slices.Sorted(maps.Keys(lock)) {
		p := lock[path]
		if p.Dev {
			continue
		}
		_, name, _ := strings.Cut(path, "node_modules/")
		c := component{kind: kindPage, name: name, version: p.Version}
		if strings.HasPrefix(p.License, "OFL") {
			c.kind = kindFonts
		}
		for _, dir := range []string{path, path + "/dist"} {
			if len(c.texts) == 0 && isFolder("frontend/"+dir) {
				c.texts = licenceFiles(t, "frontend/"+dir)
			}
		}
		if len(c.texts) == 0 {
			c.texts = []string{declared(t, "frontend/"+path, p.License)}
		}
		list = append(list, c)
	}
	return list
}

func isFolder(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// mit is the text that packages mean who declare "MIT" and carry no file (opensource.org/license/mit).
const mit = `MIT License

Copyright (c) %s

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR
ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH
THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`

func declared(t *testing.T, dir, license string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ Author any }
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	author, _ := p.Author.(string)
	if m, ok := p.Author.(map[string]any); ok {
		author, _ = m["name"].(string)
	}
	if license != "MIT" || author == "" {
		t.Errorf("%s declares licence %q, author %q and carries no licence text", dir, license, author)
	}
	return fmt.Sprintf(mit, author)
}

const preamble = `THIRD-PARTY NOTICES

Drydock is licensed under the Apache License 2.0 (see LICENSE). The program, the guest programs inside it and its page contain the
following works of others. Their licences follow the lists, each text once with those whom it covers.

This file is generated from what the builds contain: go tool -modfile=tools.mod task notices
`

func render(t *testing.T, components []component) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(preamble)
	covers := map[string][]string{}
	for _, kind := range []string{kindProgram, kindGuests, kindPage, kindFonts} {
		fmt.Fprintf(&b, "\n\n## %s\n\n", kind)
		for _, c := range components {
			if c.kind != kind {
				continue
			}
			name := strings.TrimSpace(c.name + " " + c.version)
			fmt.Fprintf(&b, "- %s: %s\n", name, strings.Join(c.ids, ", "))
			for _, text := range c.texts {
				if !slices.Contains(covers[text], name) {
					covers[text] = append(covers[text], name)
				}
			}
		}
	}
	renderChanges(t, &b)
	renderBuildOnly(t, &b, components)
	texts := slices.SortedFunc(maps.Keys(covers), func(x, y string) int {
		return cmp.Or(cmp.Compare(covers[x][0], covers[y][0]), cmp.Compare(x, y))
	})
	for _, text := range texts {
		fmt.Fprintf(&b, "\n\n%s\n%s\n\n%s", strings.Repeat("=", 120), strings.Join(covers[text], "\n"), text)
	}
	return b.Bytes()
}

// renderChanges lists which files of others the guest programs contain in changed form (Apache-2.0, section 4b).
func renderChanges(t *testing.T, b *bytes.Buffer) {
	t.Helper()
	sums, err := os.ReadFile("sandbox/guests/toolchain/sums.txt")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]string{}
	for line := range strings.Lines(string(sums)) {
		if f := strings.Fields(line); len(f) == 3 {
			files[f[1]] = append(files[f[1]], f[2])
		}
	}
	if len(files) < 2 {
		t.Fatal("sums.txt names no changed files")
	}
	b.WriteString("\n\n## Changed files\n\nThe guest programs are compiled with changes of ours to these files; the changes are in sandbox/guests/toolchain.\n\n")
	for _, of := range slices.Sorted(maps.Keys(files)) {
		slices.Sort(files[of])
		fmt.Fprintf(b, "- %s: %s\n", of, strings.Join(files[of], ", "))
	}
}

// renderBuildOnly names what takes part in building and testing and is not shipped.
func renderBuildOnly(t *testing.T, b *bytes.Buffer, shipped []component) {
	t.Helper()
	have := map[string]bool{}
	for _, c := range shipped {
		have[c.name+" "+c.version] = true
	}
	var goNames, npmNames []string
	for _, c := range modules(t, "", goList(t, ".", nil, "-deps", "-test", "./...")) {
		if name := c.name + " " + c.version; !have[name] {
			goNames = append(goNames, name)
		}
	}
	for path, version := range requires(t, "tools.mod") {
		if name := path + " " + version; !have[name] && !slices.Contains(goNames, name) {
			goNames = append(goNames, name)
		}
	}
	for path, p := range npmLock(t) {
		if _, name, _ := strings.Cut(path, "node_modules/"); p.Dev {
			npmNames = append(npmNames, name+" "+p.Version)
		}
	}
	b.WriteString("\n\n## Used to build and to test, not shipped\n\n")
	for _, l := range []struct {
		kind  string
		names []string
	}{{"Go modules", goNames}, {"npm packages", npmNames}} {
		slices.Sort(l.names)
		fmt.Fprintf(b, "%s:\n- %s\n\n", l.kind, strings.Join(l.names, "\n- "))
	}
	b.WriteString("Programs in C under sandbox/wasm/testdata are built with wasi-libc (Apache-2.0 WITH LLVM-exception, MIT, BSD-2-Clause); they are measured, not shipped.\n")
}
