package server

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/lessons"
)

// desk is a lesson that a session has open: a lab, how far the learner is, and the terminals. A reset puts another lab on the same desk.
type desk struct {
	server *Server
	owner  *session
	lesson *lessons.Lesson
	lang   lessons.Lang
	began  time.Time

	mu       sync.Mutex
	now      *bench         // protected by mu
	before   *bench         // protected by mu: what a reset replaced, until it can no longer be undone
	forget   *time.Timer    // protected by mu
	pages    int            // protected by mu: live sockets
	left     time.Time      // protected by mu: when the last page left
	watchers map[int]func() // protected by mu: told when the progress or the bench changes
	next     int            // protected by mu
	closed   bool           // protected by mu
	watched  int            // protected by mu: sockets of a teacher who looks on
	why      error          // protected by mu: what pages are told when the lab ends; nil: that it is gone
}

// bench is one lab with what belongs to it. Its fields but terminals are immutable.
type bench struct {
	lab      Lab
	run      *lessons.Run
	commands *lessons.Commands

	mu        sync.Mutex
	terminals map[string]*terminal // protected by mu, by "machine/number"
	gone      bool                 // protected by mu
}

func newDesk(s *Server, owner *session, l *lessons.Lesson, lang lessons.Lang) *desk {
	return &desk{server: s, owner: owner, lesson: l, lang: lang, began: time.Now(), watchers: map[int]func(){}, left: time.Now()}
}

// start makes a lab for the desk with the lesson's files in it; solve are tasks whose solutions run before it is shown, done what stays ticked.
func (d *desk) start(ctx context.Context, solve []*lessons.Task, done []lessons.TaskProgress) error {
	var seed [8]byte
	if _, err := io.ReadFull(d.server.cfg.Rand, seed[:]); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	o := LabOptions{Nodes: d.lesson.Nodes, Lang: string(d.lang)}
	for _, b := range seed {
		o.Seed = o.Seed<<8 | uint64(b)
	}
	lab, err := d.server.sessions.newLab(ctx, o)
	if err != nil {
		return err
	}
	b := &bench{lab: lab, commands: &lessons.Commands{}, terminals: map[string]*terminal{}}
	if err := d.lesson.SetUp(lab); err != nil {
		return closing(lab, err)
	}
	for _, t := range solve {
		if err := t.Solve(ctx, lab, &lessons.Commands{}); err != nil {
			return closing(lab, fmt.Errorf("bring the lab to the task's start: %w", err))
		}
		if err := lessons.Await(ctx, d.lesson, t, lab.World()); err != nil {
			return closing(lab, err)
		}
	}
	b.run = lessons.NewRun(d.lesson, lab.World(), b.commands, done, func(lessons.Progress) { d.tell() })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		b.run.Close()
		return closing(lab, fmt.Errorf("the session has ended"))
	}
	d.now, d.before = b, d.now
	return nil
}

func closing(lab Lab, err error) error {
	_ = lab.Close() // what failed is the news
	return err
}

func (d *desk) current() *bench {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// reset puts a fresh lab on the desk. To a task's start, the earlier tasks' solutions run in it first and ticks stay; otherwise the lesson
// begins anew. What was there can be brought back for a while.
func (d *desk) reset(ctx context.Context, toTask bool) error {
	var solve []*lessons.Task
	var done []lessons.TaskProgress
	if toTask {
		p := d.current().run.Progress()
		solve, done = d.lesson.Tasks[:p.Current], p.Tasks
	}
	d.dropBefore()
	if err := d.start(ctx, solve, done); err != nil {
		return err
	}
	d.mu.Lock()
	d.before.hangUp()
	d.forget = time.AfterFunc(d.server.cfg.UndoFor, d.dropBefore)
	d.mu.Unlock()
	d.tell()
	return nil
}

// undo brings back what the last reset replaced; false when that is over.
func (d *desk) undo() bool {
	d.mu.Lock()
	if d.before == nil {
		d.mu.Unlock()
		return false
	}
	d.forget.Stop()
	gone := d.now
	d.now, d.before = d.before, nil
	d.now.mu.Lock()
	d.now.gone = false
	d.now.mu.Unlock()
	d.mu.Unlock()
	gone.close()
	d.tell()
	return true
}

func (d *desk) dropBefore() {
	d.mu.Lock()
	b := d.before
	d.before = nil
	if d.forget != nil {
		d.forget.Stop()
	}
	d.mu.Unlock()
	if b != nil {
		b.close()
		d.tell()
	}
}

func (d *desk) undoable() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.before != nil
}

// watch calls f after each change of the progress or of the bench until cancel is called; f must return at once.
func (d *desk) watch(f func()) (cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := d.next
	d.next++
	d.watchers[id] = f
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, id)
	}
}

func (d *desk) tell() {
	d.mu.Lock()
	list := make([]func(), 0, len(d.watchers))
	for _, f := range d.watchers {
		list = append(list, f)
	}
	d.mu.Unlock()
	for _, f := range list {
		f()
	}
	d.server.classes.moved(d)
}

// arrive counts a page that looks at the desk.
func (d *desk) arrive() (leave func()) {
	d.mu.Lock()
	d.pages++
	d.mu.Unlock()
	d.server.classes.moved(d)
	return func() {
		d.mu.Lock()
		d.pages--
		d.left = time.Now()
		d.mu.Unlock()
		d.server.classes.left(d)
		d.server.classes.moved(d)
	}
}

func (d *desk) idle() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pages > 0 {
		return 0
	}
	return time.Since(d.left)
}

// end closes the desk for a reason that its pages are told.
func (d *desk) end(why error) error {
	d.mu.Lock()
	d.why = why
	b := d.now
	d.mu.Unlock()
	for _, t := range b.open() {
		t.dismiss(why)
	}
	d.owner.forget(d)
	err := d.close()
	d.tell()
	return err
}

// farewell is what pages are told when the lab has ended.
func (d *desk) farewell() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.why != nil {
		return d.why
	}
	return refuse(http.StatusGone, "lab-gone", nil)
}

// lookOn counts a teacher who looks over the learner's shoulder: their page says so until done is called.
func (d *desk) lookOn() (done func()) {
	count := func(n int) {
		d.mu.Lock()
		d.watched += n
		d.mu.Unlock()
		d.tell()
	}
	count(1)
	return func() { count(-1) }
}

func (d *desk) close() error {
	d.dropBefore()
	d.mu.Lock()
	d.closed = true
	b := d.now
	d.mu.Unlock()
	return b.close()
}

// terminal finds or opens a terminal of the bench.
func (b *bench) terminal(s *Server, machine string, number, rows, cols int, lang lessons.Lang) (*terminal, error) {
	key := fmt.Sprintf("%s/%d", machine, number)
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.terminals[key]; t != nil && !t.ended() {
		return t, nil
	}
	if b.gone {
		return nil, &Refusal{Code: "lab-reset"}
	}
	for k, t := range b.terminals {
		if t.ended() {
			_ = t.term.Close() // the shell is gone already
			delete(b.terminals, k)
		}
	}
	if len(b.terminals) >= s.cfg.Limits.Terminals {
		return nil, &Refusal{Code: "lab-terminals", Params: map[string]any{"limit": s.cfg.Limits.Terminals}}
	}
	t, err := b.lab.Terminal(machine, rows, cols, string(lang))
	if err != nil {
		return nil, err
	}
	b.terminals[key] = newTerminal(t, machine, b.commands, b.lab.World().Now)
	return b.terminals[key], nil
}

// open are the bench's terminals.
func (b *bench) open() []*terminal {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.terminals))
}

// existing is a terminal that the learner has open; nil if there is none.
func (b *bench) existing(machine string, number int) *terminal {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.terminals[fmt.Sprintf("%s/%d", machine, number)]
}

// places names the terminals that the learner has open, "machine/number".
func (b *bench) places() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.terminals))
}

// hangUp makes viewers of the bench's terminals leave; the terminals stay, for an undo.
func (b *bench) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	for _, t := range b.terminals {
		t.dismiss(&Refusal{Code: "lab-reset"})
	}
}

func (b *bench) close() error {
	b.mu.Lock()
	b.gone = true
	b.mu.Unlock()
	b.run.Close()
	for _, t := range b.open() {
		t.close()
	}
	return b.lab.Close()
}
