package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// victim, in the environment, has the test binary load the journal in that folder until it is killed.
const victim = "DRYDOCK_JOURNAL_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		if err := load(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const victims = 4 // labs of a victim

func victimConfig(dir string) Config {
	return Config{Dir: dir, QueueBytes: 1 << 20, SegmentBytes: 32 << 10, Window: 2 * time.Millisecond}
}

// load has each lab count on from where its log ends: record n's payload is n and padding; a snapshot's is the number it reaches up to. Some
// records refer to a blob that was put for them. "durable LAB N" is printed once record N is.
func load(dir string) error {
	j, err := Open(victimConfig(dir))
	if err != nil {
		return err
	}
	errs := make(chan error, victims)
	for l := range victims {
		id := fmt.Sprint("lab-", l)
		c := &counter{j: j}
		w, _, err := j.Own(id, 0, c.replay)
		if err != nil {
			return err
		}
		go func() {
			for i := c.last + 1; ; i++ {
				if err := step(j, w, id, i, func(i int) { fmt.Println("durable", id, i) }); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// step writes a lab's next record; durable is told when it is waited for and durable.
func step(j *Journal, w *Writer, id string, i int, durable func(int)) error {
	var blobs []Digest
	if i%20 == 0 {
		d, _, err := j.PutBlob(strings.NewReader(strings.Repeat(id, 100+i)), 1<<20)
		if err != nil {
			return err
		}
		blobs = append(blobs, d)
	}
	ticket, err := w.Append(1, fmt.Append(nil, i, " ", strings.Repeat("p", i*7%900)), blobs...)
	if err != nil {
		return err
	}
	if i%3 == 0 {
		if err := ticket.Wait(context.Background()); err != nil {
			return err
		}
		durable(i)
	}
	if i%100 == 0 {
		return w.Compact(context.Background(), func(add func(Kind, []byte, ...Digest) error) error { return add(2, fmt.Append(nil, i), blobs...) })
	}
	return nil
}

// counter follows a lab of load.
type counter struct {
	j     *Journal
	last  int
	blobs int
}

func (c *counter) replay(r Record) error {
	number, _, _ := strings.Cut(string(r.Payload), " ")
	i, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	if r.Kind == 1 && i != c.last+1 {
		return fmt.Errorf("record %d follows record %d", i, c.last)
	}
	c.last = i
	for _, d := range r.Blobs {
		c.blobs++
		if err := c.j.CheckBlob(d); err != nil {
			return err
		}
	}
	return nil
}

// TestKill kills a process that writes to four labs at a random instant, again and again in the same folder: all that was durable is there, in
// order and whole, with its blobs, and nothing but the last record of a lab is cut off. DRYDOCK_KILLS says how often (40).
func TestKill(t *testing.T) {
	rounds := 40
	if n, err := strconv.Atoi(os.Getenv("DRYDOCK_KILLS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	var records, cuts, blobs int
	for round := range rounds {
		durable := killed(t, dir, time.Duration(rand.Int64N(int64(60*time.Millisecond))))
		j := open(t, victimConfig(dir))
		for l := range victims {
			id := fmt.Sprint("lab-", l)
			c := &counter{j: j}
			report, err := j.Read(id, c.replay)
			if errors.Is(err, ErrNoLab) && durable[id] == 0 {
				continue
			}
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if c.last < durable[id] {
				t.Fatalf("round %d: lab %s ends at record %d, and %d was durable", round, id, c.last, durable[id])
			}
			for _, d := range report.Damage {
				cuts++
				if d.Reason != CutOff {
					t.Fatalf("round %d: %s", round, d)
				}
			}
			records, blobs = records+report.Records, blobs+c.blobs
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills: %d records read, %d blobs, %d cut off", rounds, records, blobs, cuts)
	if records < rounds || blobs == 0 {
		t.Errorf("only %d records and %d blobs in %d rounds: the victims did nothing", records, blobs, rounds)
	}
}

// killed runs a victim, kills it that long after its first record was durable, and returns the last record of each lab that it said was durable.
func killed(t *testing.T, dir string, after time.Duration) map[string]int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	durable := map[string]int{}
	lines := bufio.NewReader(out)
	for first := true; ; first = false {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line that was cut off says nothing
		}
		if err != nil {
			t.Fatal(err)
		}
		if first {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		var id string
		var n int
		if _, err := fmt.Sscanf(line, "durable %s %d\n", &id, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		durable[id] = n
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Fatalf("the victim was to be killed: %v", err)
	}
	return durable
}
