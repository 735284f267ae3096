package lab

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/server/journal"
)

// configMap applies a ConfigMap of a name, as the learner does.
func configMap(l *Lab, name string) error {
	results, err := l.Apply(context.Background(), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+"}\ndata: {a: b}\n"))
	if err == nil && (len(results) != 1 || results[0].Err != "") {
		err = fmt.Errorf("%+v", results)
	}
	return err
}

// TestLabKilled kills a process whose lab is written to, at random instants, and looks for everything that was answered: what was durable when
// the process said so has to be there, and of the objects answered since none may be there without those before it. Each life goes on where the
// last one ended. DRYDOCK_KILLS says how often.
func TestLabKilled(t *testing.T) {
	dir := os.Getenv("DRYDOCK_KILLED_DIR")
	if dir != "" {
		killed(t, dir)
		return
	}
	kills := 3
	if n, err := strconv.Atoi(os.Getenv("DRYDOCK_KILLS")); err == nil {
		kills = n
	}
	dir = t.TempDir()
	rnd := rand.New(rand.NewPCG(1, uint64(kills)))
	id, lives := "", 0
	var sure []string   // durable before a kill
	var last [][]string // objects answered since, of each life
	for ; lives < kills; lives++ {
		durable, since := []string(nil), []string(nil)
		id, durable, since = life(t, dir, id, time.Duration(rnd.IntN(400))*time.Millisecond)
		sure, last = append(sure, durable...), append(last, since)
	}
	h, _ := keptHost(t, dir)
	l, err := h.Open(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.keeper.first.report(nil); err != nil {
		t.Errorf("not all could be read back: %v", err)
	}
	out, code, err := l.Run(context.Background(), "kubectl get configmaps -o name; cat files/* ; docker ps -aq | wc -l")
	if err != nil || code != 0 {
		t.Fatalf("%s exit %d %v", out, code, err)
	}
	have := map[string]bool{}
	for _, line := range strings.Fields(string(out)) {
		have[strings.TrimPrefix(line, "configmap/")] = true
	}
	missing := 0
	for _, name := range sure {
		if !have[name] {
			missing++
			t.Errorf("%s was answered and is not there", name)
		}
	}
	lost := 0
	for _, names := range last {
		gap := ""
		for _, name := range names {
			switch {
			case !have[name]:
				lost++
				gap = name
			case gap != "":
				t.Errorf("%s is there, and %s, which was answered before it, is not", name, gap)
			}
		}
	}
	t.Logf("%d kills: %d answers durable, %d of them missing; of those on their way %d lost", kills, len(sure), missing, lost)
}

// life runs a process until it is killed, a while after its first answer. It returns what was answered and durable, and the objects that were
// answered since.
func life(t *testing.T, dir, id string, after time.Duration) (lab string, durable, since []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLabKilled$")
	cmd.Env = append(os.Environ(), "DRYDOCK_KILLED_DIR="+dir, "DRYDOCK_KILLED_LAB="+id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var files []string
	var kill *time.Timer
	var rest []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		word, name, ok := strings.Cut(lines.Text(), " ")
		switch {
		case ok && word == "lab":
			id = name
		case ok && word == "object":
			since = append(since, name)
			if kill == nil {
				kill = time.AfterFunc(after, func() { _ = cmd.Process.Signal(syscall.SIGKILL) }) // it has not ended
			}
		case ok && word == "file":
			files = append(files, name)
		case word == "durable":
			durable = append(append(durable, since...), files...)
			since, files = nil, nil
		default:
			rest = append(rest, lines.Text())
		}
	}
	_ = cmd.Wait() // killed
	if kill == nil {
		t.Fatalf("the process ended by itself: %s", strings.Join(rest, "\n"))
	}
	return id, durable, since
}

// killed is the process: it opens or makes the lab and writes to it, objects and files, until it is killed.
func killed(t *testing.T, dir string) {
	j, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	ShareProcessors()
	h, err := NewHost(context.Background(), HostConfig{CacheDir: testCache(), Journal: j, ContentDir: filepath.Join(dir, "content")})
	if err != nil {
		t.Fatal(err)
	}
	var l *Lab
	id := os.Getenv("DRYDOCK_KILLED_LAB")
	if id == "" {
		l, err = h.New(context.Background(), Options{Nodes: 1})
	} else {
		l, err = h.Open(context.Background(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("lab", l.ID())
	for i := 0; ; i++ {
		name := fmt.Sprintf("n-%d-%d", os.Getpid(), i)
		if i%4 == 3 {
			if err := l.WriteFile("files/"+name, []byte(name+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			fmt.Println("file", name)
		} else if err := configMap(l, name); err != nil {
			t.Fatal(err)
		} else {
			fmt.Println("object", name)
		}
		if i%8 == 7 {
			l.keeper.write() // what the window would have written
			if err := j.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			fmt.Println("durable")
		}
	}
}
