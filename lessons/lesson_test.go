package lessons

import (
	"context"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

const good = `id: small
title: {ko: 작은 수업, en: A small lesson}
summary: {ko: 파드 하나, en: One pod}
difficulty: easy
minutes: 5
files:
  - {path: pod.yaml, from: assets/pod.yaml, mode: 0600}
what:
  - {kind: real, name: {ko: API 서버, en: API server}}
wrong:
  - code: hangul
    when: last.program.matches('[가-힣]')
    ko: "한글: {typed}"
    en: "Hangul: {typed}"
    with: {typed: last.program}
tasks:
  - id: first
    title: {ko: 하나, en: One}
    checks:
      - id: there
        must: object('pods', 'a').status.phase == 'Running'
        else:
          - code: none
            when: object('pods', 'a') == {}
            ko: 없어요
            en: There is none
          - code: phase
            ko: "{phase} 예요"
            en: "It is {phase}"
            with: {phase: "object('pods', 'a').?status.?phase.orValue('nothing')"}
    hints:
      - {ko: "` + "`run a`" + `", en: "` + "`run a`" + `"}
    solution: [run a]
    explain: "{'resource': 'pods', 'name': 'a'}"
  - id: second
    title: {ko: 둘, en: Two}
    checks:
      - id: gone
        must: changes('pods').exists(c, c.learner && c.op == 'delete' && c.name == 'a')
        else: [{code: still, ko: 아직 있어요, en: It is still there}]
    solution: [delete a, "! false"]
`

const goodText = "머리말이에요.\n\n## first\n\n```sh\nrun a\n```\n\n보세요.\n\n```yaml\na: 1\n```\n\n## second\n\n지워 보세요.\n"

func files(change map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, body := range map[string]string{"lesson.yaml": good, "ko.md": goodText, "en.md": goodText, "assets/pod.yaml": "kind: Pod\n"} {
		m["small/"+name] = &fstest.MapFile{Data: []byte(body)}
	}
	for name, body := range change {
		if body == "" {
			delete(m, "small/"+name)
			continue
		}
		m["small/"+name] = &fstest.MapFile{Data: []byte(body)}
	}
	return m
}

func load(t *testing.T) *Lesson {
	t.Helper()
	l, err := Load(files(nil), "small")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLoad(t *testing.T) {
	l := load(t)
	want := []Block{{Command: "run a"}, {HTML: "<p>보세요.</p>\n"}, {Code: "a: 1", Language: "yaml"}}
	if d := cmp.Diff(want, l.Tasks[0].Text[Korean]); d != "" {
		t.Errorf("text of the first task (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]File{{Path: "pod.yaml", Mode: 0o600, Data: []byte("kind: Pod\n")}}, l.Files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if d := cmp.Diff(Text{Ko: "없어요", En: "There is none"}, l.Messages["first/none"]); d != "" {
		t.Errorf("message (-want +got):\n%s", d)
	}
}

func TestLoadProblems(t *testing.T) {
	swap := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, test := range []struct {
		name   string
		change map[string]string
		want   string // a regular expression over the report
	}{
		{"no lesson.yaml", map[string]string{"lesson.yaml": ""}, `^small/lesson\.yaml: the file is missing \(a lesson is a folder`},
		{"not YAML", map[string]string{"lesson.yaml": "id: [a\n"}, `^small/lesson\.yaml:[12]: .*\(mend the YAML`},
		{"empty", map[string]string{"lesson.yaml": "# nothing\n"}, `small/lesson\.yaml:1: the file is empty`},
		{"unknown field", map[string]string{"lesson.yaml": swap("minutes: 5", "minuts: 5")}, `small/lesson\.yaml:5: the lesson has no field "minuts" \(known here: .*minutes`},
		{"lacks a field", map[string]string{"lesson.yaml": swap("minutes: 5\n", "")}, `lacks the field "minutes" \(add`},
		{"field twice", map[string]string{"lesson.yaml": swap("minutes: 5", "minutes: 5\nminutes: 6")}, `small/lesson\.yaml:6: .*twice`},
		{"one language", map[string]string{"lesson.yaml": swap("title: {ko: 작은 수업, en: A small lesson}", "title: {ko: 작은 수업}")}, `small/lesson\.yaml:2: the title lacks the field "en"`},
		{"folder of another name", map[string]string{"lesson.yaml": swap("id: small", "id: large")}, `small/lesson\.yaml:1: the id is "large", the folder "small"`},
		{"own without a sentence", map[string]string{"lesson.yaml": swap("kind: real", "kind: own")}, `small/lesson\.yaml:9: own entry "API server" does not say how a real system has it \(add .instead:. .*On a real system`},
		{"bad expression", map[string]string{"lesson.yaml": swap("object('pods', 'a').status.phase == 'Running'", "object('pods') ==")}, `small/lesson\.yaml:21: must: Syntax error`},
		{"unknown function", map[string]string{"lesson.yaml": swap("last.program.matches('[가-힣]')", "shell('rm')")}, `small/lesson\.yaml:12: when: undeclared reference to 'shell'`},
		{"expression of the wrong type", map[string]string{"lesson.yaml": swap("must: object('pods', 'a').status.phase == 'Running'", "must: \"'yes'\"")}, `small/lesson\.yaml:21: must must be true or false`},
		{"bad expression in a block", map[string]string{"lesson.yaml": swap("must: object('pods', 'a').status.phase == 'Running'", "must: >-\n          true\n          && nothing")}, `small/lesson\.yaml:2[0-2]: must: undeclared reference to 'nothing'`},
		{"no last word", map[string]string{"lesson.yaml": swap("else: [{code: still, ko: 아직 있어요, en: It is still there}]", "else: [{code: still, when: 'true', ko: 아직 있어요, en: It is still there}]")}, `else leaves cases without a sentence`},
		{"a hole without value", map[string]string{"lesson.yaml": swap("ko: 없어요", "ko: \"{name} 없어요\"")}, `small/lesson\.yaml:\d+: the ko sentence uses \{name\}, which is not given`},
		{"a value without hole", map[string]string{"lesson.yaml": swap("en: \"It is {phase}\"", "en: It is something")}, `the en sentence does not use \{phase\}`},
		{"file outside", map[string]string{"lesson.yaml": swap("path: pod.yaml", "path: ../pod.yaml")}, `small/lesson\.yaml:7: the path is "\.\./pod\.yaml"`},
		{"asset outside", map[string]string{"lesson.yaml": swap("from: assets/pod.yaml", "from: ../secret")}, `small/lesson\.yaml:7: from is "\.\./secret" \(name a file under assets/\)`},
		{"asset missing", map[string]string{"assets/pod.yaml": ""}, `small/assets/pod\.yaml: the file is missing`},
		{"aliases", map[string]string{"lesson.yaml": "a: &a [x]\nb: *a\n"}, `small/lesson\.yaml:2: aliases`},
		{"text missing", map[string]string{"en.md": ""}, `small/en\.md: the file is missing \(each lesson is written in both languages\)`},
		{"sections swapped", map[string]string{"en.md": strings.Replace(goodText, "## first", "## second", 1)}, `small/en\.md:3: the section "second" is not the next task`},
		{"section missing", map[string]string{"en.md": "Hello\n\n## first\n\nText\n"}, `small/en\.md: task "second" of lesson\.yaml has no section`},
		{"raw HTML", map[string]string{"en.md": goodText + "\n<script>alert(1)</script>\n"}, `small/en\.md:\d+: raw HTML is not allowed`},
		{"link outside", map[string]string{"en.md": goodText + "\nSee [this](https://example.com).\n"}, `small/en\.md:19: the link "https://example\.com" leads outside`},
		{"belittles", map[string]string{"en.md": goodText + "\nSimply delete it.\n"}, `small/en\.md:19: the word "Simply"`},
		{"belittles in Korean", map[string]string{"ko.md": goodText + "\n쉽게 지울 수 있어요.\n"}, `small/ko\.md:19: the word "쉽게"`},
		{"not UTF-8", map[string]string{"en.md": "\xff\xfe"}, `small/en\.md: the file is not UTF-8`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(files(test.change), "small")
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is %v, want Problems", err)
			}
			if !regexp.MustCompile(`(?m)` + test.want).MatchString(err.Error()) {
				t.Errorf("report:\n%v\nwant a match of %s", err, test.want)
			}
		})
	}
}

func TestLoadReportsAll(t *testing.T) {
	_, err := Load(files(map[string]string{"lesson.yaml": strings.NewReplacer("minutes: 5", "minutes: 500", "difficulty: easy", "difficulty: light").Replace(good), "en.md": ""}), "small")
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("problems are %v, want three", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(good, goodText)
	f.Add("id: &a [*a]", "## first")
	f.Add("tasks: [{id: a, checks: [{must: \"objects('pods').map(x, objects('pods'))\"}]}]", "<b>")
	f.Add("what: {?: [", "```sh\n## first\n")
	f.Fuzz(func(t *testing.T, yaml, text string) {
		l, err := Load(files(map[string]string{"lesson.yaml": yaml + "\n", "en.md": text + "\n"}), "small")
		var problems Problems
		switch {
		case err == nil:
			for _, task := range l.Tasks {
				l.judgeTask(t.Context(), task, newView(newTestWorld(), 0, nil))
			}
		case !errors.As(err, &problems):
			t.Fatalf("error is %v, want Problems", err)
		}
		for _, p := range problems {
			if p.File == "" || p.What == "" || p.Remedy == "" {
				t.Fatalf("problem %#v lacks file, text or remedy", p)
			}
		}
	})
}

// TestContent reads what ships.
func TestContent(t *testing.T) {
	all, err := LoadAll(Content())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no lesson ships")
	}
	for _, l := range all {
		for code, m := range l.Messages {
			if !strings.ContainsFunc(m.Ko, func(r rune) bool { return unicode.Is(unicode.Hangul, r) }) || strings.ContainsFunc(m.En, func(r rune) bool { return unicode.Is(unicode.Hangul, r) }) {
				t.Errorf("%s %s: a sentence is in the wrong language: %q, %q", l.ID, code, m.Ko, m.En)
			}
		}
		for _, task := range l.Tasks {
			cluster := strings.Contains(strings.Join(task.Solution, "\n"), "kubectl") // whose log has causes
			if len(task.Hints) == 0 || cluster && task.explain == nil {
				t.Errorf("%s %s: has %d hints, explain %v", l.ID, task.ID, len(task.Hints), task.explain)
			}
		}
	}
}

func TestDifferences(t *testing.T) {
	for _, lang := range Langs {
		text := Differences(lang, "1.2.3")
		if !strings.Contains(text, "Drydock 1.2.3") || strings.Contains(text, "{version}") || strings.Count(text, "\n## ") != 4 {
			t.Errorf("%s: the version or one of the four parts is missing:\n%s", lang, text)
		}
		if html := DifferencesHTML(lang, "1.2.3<script>"); strings.Contains(html, "<script>") || !strings.Contains(html, "<h2>") {
			t.Errorf("%s: not escaped, or not rendered:\n%s", lang, html)
		}
	}
}

func TestTest(t *testing.T) {
	lab := func() *testLab {
		w := newTestWorld()
		you := Cause{Kind: "request", Actor: "learner"}
		return &testLab{testWorld: w, commands: map[string]func() int{
			"run a": func() int {
				w.write(Create, "pods", "a", map[string]any{"kind": "Pod", "status": map[string]any{"phase": "Running"}}, you)
				return 0
			},
			"delete a": func() int { w.write(Delete, "pods", "a", nil, you); return 0 },
			"false":    func() int { return 1 },
		}}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	t.Run("passes", func(t *testing.T) {
		l := lab()
		tried, err := Test(ctx, load(t), l)
		if err != nil {
			t.Fatal(err)
		}
		if len(tried) != 2 || len(tried[0].Why) != 1 || tried[0].Why[0].Code != "you-created" {
			t.Errorf("tried %+v, want two tasks and that you created the pod", tried)
		}
		if l.files["pod.yaml"] != "kind: Pod\n" {
			t.Errorf("pod.yaml is %q", l.files["pod.yaml"])
		}
	})
	t.Run("holds before", func(t *testing.T) {
		l := lab()
		l.commands["run a"]()
		if _, err := Test(ctx, load(t), l); err == nil || !strings.Contains(err.Error(), "task first holds before its solution") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("fails after", func(t *testing.T) {
		l := lab()
		l.commands["run a"] = func() int { return 0 }
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := Test(short, load(t), l); err == nil || !strings.Contains(err.Error(), "task first is not done after its solution: There is none") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("command fails", func(t *testing.T) {
		l := lab()
		delete(l.commands, "run a")
		if _, err := Test(ctx, load(t), l); err == nil || !strings.Contains(err.Error(), "exit status 127") {
			t.Errorf("error is %v", err)
		}
	})
}

var _ fs.FS = Content()

// The catalogue stands by place, and lessons without one follow by name.
func TestCatalogueOrder(t *testing.T) {
	fsys := fstest.MapFS{}
	for name, place := range map[string]string{"a": "", "b": "place: 2\n", "c": "place: 1\n", "d": ""} {
		for file, f := range files(map[string]string{"lesson.yaml": strings.Replace(strings.Replace(good, "id: small", "id: "+name, 1), "minutes: 5\n", "minutes: 5\n"+place, 1)}) {
			fsys[strings.Replace(file, "small", name, 1)] = f
		}
	}
	all, err := LoadAll(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, l := range all {
		order = append(order, l.ID)
	}
	if got := strings.Join(order, " "); got != "c b a d" {
		t.Errorf("the order is %s", got)
	}
}
