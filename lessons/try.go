package lessons

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

// Lab is what Test needs to try a lesson: a fresh lab whose commands it runs as the learner.
type Lab interface {
	World() World
	// Run runs a command line in the learner's shell on the workstation and waits for its end.
	Run(ctx context.Context, line string) (output []byte, exit int, err error)
	WriteFile(path string, data []byte, mode uint32) error
}

// Tried is what Test saw of one task.
type Tried struct {
	Task string
	Took time.Duration // wall time from the first command to the tick
	Why  []Link
}

// SetUp puts the lesson's files on the workstation.
func (l *Lesson) SetUp(lab Lab) error {
	for _, f := range l.Files {
		if err := lab.WriteFile(f.Path, f.Data, f.Mode); err != nil {
			return fmt.Errorf("set up %s: %w", f.Path, err)
		}
	}
	return nil
}

// Solve runs a task's solution and records its commands. A command that fails ends it, unless its line begins with "!" (which stands for: this
// fails, and should).
func (t *Task) Solve(ctx context.Context, lab Lab, commands *Commands) error {
	for _, line := range t.Solution {
		line, fails := strings.CutPrefix(line, "! ")
		out, exit, err := lab.Run(ctx, line)
		if err != nil {
			return fmt.Errorf("task %s: %s: %w", t.ID, line, err)
		}
		commands.Add(Command{Machine: "workstation", Line: line, Exit: exit, At: lab.World().Now()})
		if (exit != 0) != fails {
			return fmt.Errorf("task %s: %s: exit status %d, output:\n%s", t.ID, line, exit, bytes.TrimSpace(out))
		}
	}
	return nil
}

// Test tries a lesson in a fresh lab: before a task's solution at least one of its checks must not hold, and after it all must, within the time
// that ctx gives. It sets the lab up itself.
//
// # Errors
//   - what could not be run, with its output
//   - a task that holds without its solution, or does not after it, with the codes of what is missing
func Test(ctx context.Context, l *Lesson, lab Lab) ([]Tried, error) {
	if err := l.SetUp(lab); err != nil {
		return nil, err
	}
	commands := &Commands{}
	changed := make(chan struct{}, 1)
	run := NewRun(l, lab.World(), commands, nil, func(Progress) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer run.Close()
	var tried []Tried
	for i, task := range l.Tasks {
		_, total := commands.Last()
		if v := newView(lab.World(), lab.World().Rev(), nil); run.Progress().Current > i || l.judgeTask(ctx, task, v).Done {
			return tried, fmt.Errorf("task %s holds before its solution ran (%d commands so far)", task.ID, total)
		}
		began := time.Now()
		if err := task.Solve(ctx, lab, commands); err != nil {
			return tried, err
		}
		for run.Progress().Current <= i {
			select {
			case <-changed:
			case <-ctx.Done():
				return tried, fmt.Errorf("task %s is not done after its solution: %s", task.ID, l.report(run.Progress().Tasks[i]))
			}
		}
		p := run.Progress().Tasks[i]
		tried = append(tried, Tried{Task: task.ID, Took: time.Since(began), Why: p.Why})
		if task.explain != nil && len(p.Why) == 0 {
			return tried, fmt.Errorf("task %s: its explain finds no recorded cause", task.ID)
		}
	}
	return tried, nil
}

// report puts what is missing into English.
func (l *Lesson) report(p TaskProgress) string {
	var lines []string
	for _, m := range p.Missing {
		lines = append(lines, Fill(l.Messages[m.Code].En, m.Params))
	}
	return strings.Join(lines, " ")
}

// Fill puts parameters into a sentence.
func Fill(sentence string, params map[string]any) string {
	return placeholder.ReplaceAllStringFunc(sentence, func(m string) string {
		if v, ok := params[m[1:len(m)-1]]; ok {
			return fmt.Sprint(v)
		}
		return m
	})
}
