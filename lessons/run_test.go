package lessons

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// follower keeps the progress that a run told.
type follower struct {
	mu   sync.Mutex
	told []Progress
}

func (f *follower) notify(p Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, p)
}

func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.told)
}

var you = Cause{Kind: "request", Actor: "learner"}

func TestRun(t *testing.T) {
	l := load(t)
	synctest.Test(t, func(t *testing.T) {
		w, c, f := newTestWorld(), &Commands{}, &follower{}
		r := NewRun(l, w, c, nil, f.notify)
		defer r.Close()
		synctest.Wait()
		if d := cmp.Diff([]Said{{Code: "first/none"}}, r.Progress().Tasks[0].Missing); d != "" {
			t.Errorf("before anything (-want +got):\n%s", d)
		}

		c.Add(Command{Line: "애찯 a", Exit: 127})
		time.Sleep(longestPause)
		synctest.Wait()
		want := []Said{{Code: "wrong/hangul", Params: map[string]any{"typed": "애찯"}, Wrong: true}, {Code: "first/none"}}
		if d := cmp.Diff(want, r.Progress().Tasks[0].Missing); d != "" {
			t.Errorf("after Hangul (-want +got):\n%s", d)
		}
		if got := r.Progress().Tasks[0].Tries; got != 1 {
			t.Errorf("tries are %d, want 1", got)
		}

		w.write(Create, "pods", "a", map[string]any{"status": map[string]any{"phase": "Pending"}}, you)
		time.Sleep(longestPause)
		synctest.Wait()
		if got := r.Progress().Tasks[0].Missing; got[len(got)-1].Params["phase"] != "Pending" {
			t.Errorf("pending: %v", got)
		}

		began := time.Now()
		w.write(Update, "pods", "a", map[string]any{"status": map[string]any{"phase": "Running"}}, you)
		for r.Progress().Current == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("the tick came after %v of a clock that only waiting moves", took)
		}

		w.write(Delete, "pods", "a", nil, Cause{Kind: "event", Actor: "system:serviceaccount:kube-system:garbage-collector"})
		time.Sleep(longestPause)
		synctest.Wait()
		if r.Progress().Current != 1 {
			t.Error("a pod that the cluster deleted counts as the learner's, or a tick was taken back")
		}
		w.write(Create, "pods", "a", map[string]any{}, you)
		w.write(Delete, "pods", "a", nil, you)
		time.Sleep(longestPause)
		synctest.Wait()
		if p := r.Progress(); p.Current != 2 || !p.Tasks[1].Done {
			t.Errorf("progress is %+v, want both done", p)
		}
	})
}

// TestRunRests: nothing runs and nothing is told while nothing changes, and a thousand changes are judged a few times.
func TestRunRests(t *testing.T) {
	l := load(t)
	synctest.Test(t, func(t *testing.T) {
		w, f := newTestWorld(), &follower{}
		r := NewRun(l, w, &Commands{}, nil, f.notify)
		synctest.Wait()
		time.Sleep(time.Second)
		before := f.count()
		time.Sleep(time.Hour)
		synctest.Wait()
		if f.count() != before {
			t.Errorf("%d messages in an idle hour", f.count()-before)
		}
		for range 1000 {
			w.write(Create, "pods", "b", map[string]any{}, you)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := f.count() - before; n > 2 {
			t.Errorf("%d messages about changes that change nothing for the task", n)
		}
		r.Close()
		w.write(Create, "pods", "a", map[string]any{"status": map[string]any{"phase": "Running"}}, you)
		synctest.Wait()
		if r.Progress().Current != 0 {
			t.Error("a closed run judges")
		}
	})
}

func TestRunKeepsTicks(t *testing.T) {
	l := load(t)
	done := []TaskProgress{{ID: "first", Done: true, Why: []Link{{Code: "you-created"}}}, {ID: "second"}}
	r := NewRun(l, newTestWorld(), &Commands{}, done, func(Progress) {})
	defer r.Close()
	p := r.Progress()
	if p.Current != 1 || !p.Tasks[0].Done || len(p.Tasks[0].Why) != 1 {
		t.Errorf("progress is %+v, want the first kept", p)
	}
}

// replicaPod is a pod of a ReplicaSet, in a state.
func replicaPod(uid string, more map[string]any) map[string]any {
	o := map[string]any{"kind": "Pod", "metadata": map[string]any{"uid": uid, "ownerReferences": []any{map[string]any{"kind": "ReplicaSet", "name": "web-5d", "controller": true}}},
		"spec":   map[string]any{"containers": []any{map[string]any{"name": "c", "resources": map[string]any{"limits": map[string]any{"memory": "32Mi"}}}}},
		"status": map[string]any{"phase": "Pending"}}
	for k, v := range more {
		o[k] = v
	}
	return o
}

// TestWhy reads the explanation of a replacement out of a log, as a cluster records it.
func TestWhy(t *testing.T) {
	w := newTestWorld()
	by := func(who string, parent int64) Cause {
		return Cause{Kind: "event", Actor: "system:serviceaccount:kube-system:" + who, Component: who, Parent: parent}
	}
	d := w.write(Create, "deployments", "web", map[string]any{"kind": "Deployment", "spec": map[string]any{"replicas": int64(2)}}, you)
	rs := w.write(Create, "replicasets", "web-5d", map[string]any{"kind": "ReplicaSet", "spec": map[string]any{"replicas": int64(2)}}, by("deployment-controller", d))
	w.write(Create, "pods", "web-5d-a", replicaPod("a", nil), by("replicaset-controller", rs))
	w.write(Create, "pods", "web-5d-b", replicaPod("b", nil), by("replicaset-controller", rs))
	deleting := replicaPod("a", nil)
	deleting["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T00:00:00Z"
	gone := w.write(Update, "pods", "web-5d-a", deleting, you)
	count := w.write(Update, "replicasets", "web-5d", map[string]any{"kind": "ReplicaSet", "spec": map[string]any{"replicas": int64(2)}, "status": map[string]any{"replicas": int64(1)}}, by("replicaset-controller", gone))
	c := w.write(Create, "pods", "web-5d-c", replicaPod("c", nil), by("replicaset-controller", count))
	bound := w.write(Update, "pods", "web-5d-c", replicaPod("c", map[string]any{"spec": map[string]any{"nodeName": "node-2", "containers": replicaPod("", nil)["spec"].(map[string]any)["containers"]}}), Cause{Kind: "event", Actor: "system:kube-scheduler", Parent: c})
	running := replicaPod("c", map[string]any{"status": map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "c", "state": map[string]any{"running": map[string]any{}}}}}})
	running["spec"].(map[string]any)["nodeName"] = "node-2"
	up := w.write(Update, "pods", "web-5d-c", running, Cause{Kind: "event", Actor: "system:node:node-2", Parent: bound})
	killed := replicaPod("c", map[string]any{"status": map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "c", "state": map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff"}},
		"lastState": map[string]any{"terminated": map[string]any{"reason": "OOMKilled", "exitCode": int64(137)}}}}}})
	oom := w.write(Update, "pods", "web-5d-c", killed, Cause{Kind: "event", Actor: "system:node:node-2", Parent: up})

	want := []Link{
		{Code: "you-deleted", Params: map[string]any{"kind": "Pod", "name": "web-5d-a"}, Rev: gone},
		{Code: "replicaset-short", Params: map[string]any{"kind": "Pod", "name": "web-5d-c", "owner": "web-5d", "wanted": int64(2), "had": int64(1)}, Rev: c},
		{Code: "scheduled", Params: map[string]any{"name": "web-5d-c", "node": "node-2"}, Rev: bound},
		{Code: "started", Params: map[string]any{"name": "web-5d-c", "node": "node-2", "ms": int64(20)}, Rev: up},
		{Code: "oom-killed", Params: map[string]any{"name": "web-5d-c", "container": "c", "limit": "32Mi", "exit": int64(137)}, Rev: oom},
	}
	if diff := cmp.Diff(want, Why(w, "pods", "default", "web-5d-c")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Why(w, "pods", "default", "nobody"); got != nil {
		t.Errorf("of nobody: %v", got)
	}
}

// TestWhyWaits: a pod without a seat says which nodes were no good, and not also why nobody was sent away for it.
func TestWhyWaits(t *testing.T) {
	w := newTestWorld()
	c := w.write(Create, "pods", "web-5d-g", replicaPod("g", nil), Cause{Kind: "event", Component: "replicaset-controller"})
	waiting := replicaPod("g", map[string]any{"status": map[string]any{"phase": "Pending", "conditions": []any{map[string]any{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
		"message": "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient memory. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."}}}})
	w.write(Update, "pods", "web-5d-g", waiting, Cause{Kind: "event", Actor: "system:kube-scheduler", Parent: c})
	got := Why(w, "pods", "default", "web-5d-g")
	want := "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient memory."
	if len(got) != 2 || got[1].Code != "unschedulable" || got[1].Params["message"] != want {
		t.Errorf("got %v", got)
	}
}

// TestWhyEnds: causes that point at each other, or at nothing, end.
func TestWhyEnds(t *testing.T) {
	w := newTestWorld()
	w.write(Create, "pods", "a", replicaPod("a", nil), Cause{Kind: "event", Component: "x", Parent: 2})
	w.write(Create, "pods", "b", replicaPod("b", nil), Cause{Kind: "event", Component: "x", Parent: 1})
	w.write(Create, "pods", "c", replicaPod("c", nil), Cause{Kind: "event", Component: "x", Parent: 99})
	for _, name := range []string{"a", "b", "c"} {
		if got := Why(w, "pods", "default", name); len(got) == 0 || len(got) > longestChain {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWrongWays types the three wrong ways of the first lesson.
func TestWrongWays(t *testing.T) {
	all, err := LoadAll(Content())
	if err != nil {
		t.Fatal(err)
	}
	var lesson *Lesson
	for _, l := range all {
		if l.ID == "deploy-by-plan" {
			lesson = l
		}
	}
	for _, test := range []struct{ name, line, code, ko, en string }{
		{"misspelt", "kubectl aply -f web.yaml", "wrong/misspelt", "kubectl 에는 ‘aply’ 라는 명령이 없어요. p 가 두 개예요: kubectl apply -f web.yaml", "kubectl has no command ‘aply’. It has two p's: kubectl apply -f web.yaml"},
		{"without -f", "kubectl apply web.yaml", "wrong/no-flag", "kubectl apply 는 파일을 -f 로 받아요: kubectl apply -f web.yaml", "kubectl apply takes a file with -f: kubectl apply -f web.yaml"},
		{"in Hangul", "ㅏㅕㅠㄷㅊ시 메ㅔㅣㅛ -ㄹ web.yaml", "wrong/hangul", "‘ㅏㅕㅠㄷㅊ시’ — 한글로 입력됐어요. 한/영 키를 한 번 누르고 다시 입력해 보세요: kubectl", "‘ㅏㅕㅠㄷㅊ시’ was typed in Hangul. Press the Korean/English key once and type it again: kubectl"},
		{"another file", "kubectl apply -f wev.yaml", "wrong/no-file", "홈 디렉터리에는 web.yaml 과 hog.yaml 이 있어요. ls 로 볼 수 있어요.", "Your home directory holds web.yaml and hog.yaml; ls shows them."},
	} {
		t.Run(test.name, func(t *testing.T) {
			exit := 1
			if test.code == "wrong/hangul" {
				exit = 127
			}
			p := lesson.judgeTask(t.Context(), lesson.Tasks[0], newView(newTestWorld(), 0, []Command{{Line: test.line, Exit: exit}}))
			if len(p.Missing) == 0 || !p.Missing[0].Wrong {
				t.Fatalf("no remark on what was typed: %v", p.Missing)
			}
			m := p.Missing[0]
			if got := Fill(lesson.Messages[m.Code].Ko, m.Params); m.Code != test.code || got != test.ko {
				t.Errorf("%s: %s", m.Code, got)
			}
			if got := Fill(lesson.Messages[m.Code].En, m.Params); got != test.en {
				t.Error(got)
			}
		})
	}
	t.Run("the right way", func(t *testing.T) {
		p := lesson.judgeTask(t.Context(), lesson.Tasks[0], newView(newTestWorld(), 0, []Command{{Line: "kubectl apply -f web.yaml", Exit: 1}}))
		if len(p.Missing) == 0 || p.Missing[0].Wrong {
			t.Errorf("a failed right command is called wrong: %v", p.Missing)
		}
	})
}

// TestFirstContainer types wrong ways of the lesson that stands first.
func TestFirstContainer(t *testing.T) {
	lesson, err := Load(Content(), "first-container")
	if err != nil {
		t.Fatal(err)
	}
	world := newTestWorld()
	world.docker = &testDocker{containers: []Container{{Name: "web", Image: "nginx:latest", State: "running", Ports: []PublishedPort{{Host: 80, Container: 8080}}}}}
	for _, test := range []struct {
		name string
		task int
		last Command
		code string
	}{
		{"no hyphen", 0, Command{Line: "docker run helloworld", Exit: 125}, "wrong/image-name"},
		{"a letter missing", 0, Command{Line: "docker run hello-word", Exit: 125}, "wrong/image-name"},
		{"no run", 0, Command{Line: "docker hello-world", Exit: 1}, "wrong/no-run"},
		{"in Hangul", 0, Command{Line: "애찯ㄱ 겨ㅜ hello-world", Exit: 127}, "wrong/hangul"},
		{"no docker", 0, Command{Line: "run hello-world", Exit: 127}, "wrong/no-docker"},
		{"removed by itself", 0, Command{Line: "docker run --rm hello-world"}, "hello/removed"},
		{"options too late", 1, Command{Line: "docker run nginx -d -p 8080:80 --name web", Exit: 127}, "wrong/late-options"},
		{"the name is taken", 1, Command{Line: "docker run -d --name web nginx", Exit: 125}, "wrong/name-taken"},
		{"ports the other way round", 1, Command{Line: "docker run -d -p 80:8080 --name web nginx"}, "serve/other-port"},
		{"written outside", 2, Command{Line: "docker exec web echo hi > /usr/share/nginx/html/index.html", Exit: 1}, "wrong/outside"},
		{"not stopped", 3, Command{Line: "docker ps"}, "restart/still-running"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := lesson.judgeTask(t.Context(), lesson.Tasks[test.task], newView(world, 0, []Command{test.last}))
			var codes []string
			for _, m := range p.Missing {
				codes = append(codes, m.Code)
			}
			if p.Done || !slices.Contains(codes, test.code) {
				t.Errorf("done %t, said %q", p.Done, codes)
			}
		})
	}
}
