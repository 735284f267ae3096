package lessons

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Run is a learner's way through a lesson in one lab. It judges the current task whenever the world or a terminal changes, holds no goroutine
// in between, and never takes a tick back.
//
// Lock order: mu is taken alone; World and Commands are called without it.
type Run struct {
	lesson   *Lesson
	world    World
	commands *Commands
	notify   func(Progress)
	ctx      context.Context
	cancel   context.CancelFunc
	cancels  []func()
	working  sync.WaitGroup

	mu       sync.Mutex
	progress Progress // protected by mu; replaced, never changed in place
	since    int64    // protected by mu: revision at which the current task began
	skip     int64    // protected by mu: commands there had been when it began
	busy     bool     // protected by mu: an evaluation runs or is due
	dirty    bool     // protected by mu: something changed since it began
	closed   bool     // protected by mu
}

// Progress is how far a learner is. Values are immutable.
type Progress struct {
	Tasks   []TaskProgress `json:"tasks"`
	Current int            `json:"current"` // index of the task being worked on; len(Tasks) when all are done
}

// TaskProgress is one task's state.
type TaskProgress struct {
	ID   string    `json:"id"`
	Done bool      `json:"done"`
	At   time.Time `json:"at,omitzero"`
	// Why tells, after the tick, what led to it, from the cluster's recorded causes.
	Why []Link `json:"why,omitempty"`
	// Missing tells, while the task is current, what is not so yet: one remark for each unmet check.
	Missing []Said `json:"missing,omitempty"`
	// Checks tells which checks hold.
	Checks map[string]bool `json:"checks,omitempty"`
	// Tries counts the commands that ended since the task began.
	Tries int `json:"tries"`
}

// Said is a sentence by code of Lesson.Messages, with its parameters.
type Said struct {
	Code   string         `json:"code"`
	Params map[string]any `json:"params,omitempty"`
	// Wrong marks a remark on what was tried, where the others tell what is missing.
	Wrong bool `json:"wrong,omitempty"`
}

// NewRun starts judging. done holds what was ticked before (in a lab that was reset), notify is called after each change of the progress, in
// order, and must return soon. Close ends it.
func NewRun(l *Lesson, w World, c *Commands, done []TaskProgress, notify func(Progress)) *Run {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{lesson: l, world: w, commands: c, notify: notify, ctx: ctx, cancel: cancel}
	for _, t := range l.Tasks {
		p := TaskProgress{ID: t.ID}
		if i := slices.IndexFunc(done, func(d TaskProgress) bool { return d.ID == t.ID && d.Done }); i >= 0 && r.progress.Current == len(r.progress.Tasks) {
			p = done[i]
			r.progress.Current++
		}
		r.progress.Tasks = append(r.progress.Tasks, p)
	}
	r.since = w.Rev()
	_, r.skip = c.Last()
	r.cancels = []func(){w.OnChange(r.Touch), c.OnAdd(r.Touch)}
	r.Touch()
	return r
}

// Progress returns the newest progress.
func (r *Run) Progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress
}

// Close stops judging and waits for an evaluation under way.
func (r *Run) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	for _, cancel := range r.cancels {
		cancel()
	}
	r.working.Wait()
}

// Touch asks for an evaluation: one runs at a time, and changes meanwhile lead to exactly one more.
func (r *Run) Touch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.dirty = true
	if !r.busy {
		r.busy = true
		r.working.Add(1)
		go r.work()
	}
}

// share is how much longer than an evaluation the pause after it is, so that judging takes at most about a tenth of a processor while a
// cluster changes without pause. longestPause keeps the tick within what a learner feels as at once.
const (
	share        = 8
	longestPause = 100 * time.Millisecond
)

func (r *Run) work() {
	defer r.working.Done()
	for {
		r.mu.Lock()
		if !r.dirty || r.closed {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.dirty = false
		r.mu.Unlock()

		began := time.Now()
		r.judge()
		select {
		case <-time.After(min(share*time.Since(began), longestPause)):
		case <-r.ctx.Done():
		}
	}
}

// judge evaluates the current task, and the next one after a tick.
func (r *Run) judge() {
	for r.ctx.Err() == nil {
		r.mu.Lock()
		p, since, skip := r.progress, r.since, r.skip
		r.mu.Unlock()
		if p.Current >= len(r.lesson.Tasks) {
			return
		}
		task := r.lesson.Tasks[p.Current]
		list, total := r.commands.Last()
		rev := r.world.Rev()
		fresh := list[max(0, len(list)-int(total-skip)):]
		v := newView(r.world, since, fresh)
		state := r.lesson.judgeTask(r.ctx, task, v)
		state.Tries = int(total - skip)
		if r.ctx.Err() != nil {
			return
		}
		next := Progress{Tasks: slices.Clone(p.Tasks), Current: p.Current}
		if state.Done {
			state.At = r.world.Now()
			state.Why = task.why(r.ctx, v)
			next.Current++
		}
		next.Tasks[p.Current] = state
		same := equalTask(p.Tasks[p.Current], state)
		r.mu.Lock()
		r.progress = next
		if state.Done {
			r.since, r.skip = rev, total
		}
		r.mu.Unlock()
		if !same {
			r.notify(next)
		}
		if !state.Done {
			return
		}
	}
}

// judgeTask evaluates a task's checks over a view.
func (l *Lesson) judgeTask(ctx context.Context, task *Task, v *view) TaskProgress {
	p := TaskProgress{ID: task.ID, Checks: map[string]bool{}, Done: true}
	for _, c := range task.Checks {
		ok := c.must.holds(ctx, v)
		p.Checks[c.ID] = ok
		if ok {
			continue
		}
		p.Done = false
		for _, m := range c.Else {
			if m.when == nil || m.when.holds(ctx, v) {
				p.Missing = append(p.Missing, m.say(ctx, v, false))
				break
			}
		}
	}
	if p.Done {
		p.Missing = nil
		return p
	}
	for _, m := range l.Wrong {
		if m.when.holds(ctx, v) {
			p.Missing = append([]Said{m.say(ctx, v, true)}, p.Missing...)
			break
		}
	}
	return p
}

func (m *Remark) say(ctx context.Context, v *view, wrong bool) Said {
	s := Said{Code: m.Code, Wrong: wrong}
	if len(m.with) > 0 {
		s.Params = map[string]any{}
		for name, x := range m.with {
			s.Params[name] = x.value(ctx, v)
		}
	}
	return s
}

func equalTask(a, b TaskProgress) bool {
	if a.Done != b.Done || a.Tries != b.Tries || len(a.Missing) != len(b.Missing) || len(a.Checks) != len(b.Checks) {
		return false
	}
	for k, v := range a.Checks {
		if b.Checks[k] != v {
			return false
		}
	}
	return slices.EqualFunc(a.Missing, b.Missing, func(x, y Said) bool {
		if x.Code != y.Code || len(x.Params) != len(y.Params) {
			return false
		}
		for k, v := range x.Params {
			if y.Params[k] != v {
				return false
			}
		}
		return true
	})
}

// Await waits until a task's checks hold in a world, whatever happened in which order there. A lab brought to a task's start by the earlier
// solutions uses it.
func Await(ctx context.Context, l *Lesson, t *Task, w World) error {
	changed := make(chan struct{}, 1)
	cancel := w.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer cancel()
	for {
		p := l.judgeTask(ctx, t, newView(w, 0, nil))
		if p.Done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("task %s is not done after its solution: %s: %w", t.ID, l.report(p), ctx.Err())
		}
	}
}
