package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/db"
)

// desk is a lesson that a session has open: a lab, how far the learner is, and the terminals. A reset puts another lab on the same desk. A desk
// that nobody looks at for a while is asleep: its lab is closed, and wakes when somebody comes.
type desk struct {
	server *Server
	owner  *session
	lesson *lessons.Lesson
	lang   lessons.Lang
	began  time.Time

	moving sync.Mutex // held while a lab is made, woken, put to sleep or replaced; before mu

	mu       sync.Mutex
	now      place          // protected by mu
	before   *place         // protected by mu: what a reset replaced, until it can no longer be undone
	forget   *time.Timer    // protected by mu
	nap      *time.Timer    // protected by mu: armed while nobody looks
	pages    int            // protected by mu: live sockets
	held     int            // protected by mu: requests and other sockets
	left     time.Time      // protected by mu: when the last page left
	watchers map[int]func() // protected by mu: told when the progress or the bench changes
	next     int            // protected by mu
	closed   bool           // protected by mu
	watched  int            // protected by mu: sockets of a teacher who looks on
	why      error          // protected by mu: what pages are told when the lab ends; nil: that it is gone
}

// place is a lab of the desk's. Its bench is nil while it is asleep.
type place struct {
	lab   string
	bench *bench
}

// bench is one lab that is awake, with what belongs to it. Its fields but terminals are immutable.
type bench struct {
	lab      Lab
	run      *lessons.Run
	commands *lessons.Commands
	changed  func()      // has the progress and the code kept
	woke     atomic.Bool // nobody was told yet that the lab slept

	mu        sync.Mutex
	code      string               // protected by mu: the return code
	terminals map[string]*terminal // protected by mu, by "machine/number"
	gone      bool                 // protected by mu
}

func newDesk(s *Server, owner *session, l *lessons.Lesson, lang lessons.Lang) *desk {
	return &desk{server: s, owner: owner, lesson: l, lang: lang, began: time.Now(), watchers: map[int]func(){}, left: time.Now()}
}

// start makes a lab for the desk with the lesson's files in it; solve are tasks whose solutions run before it is shown, done what stays ticked.
// Precondition: moving is held.
func (d *desk) start(ctx context.Context, solve []*lessons.Task, done []lessons.TaskProgress) error {
	var seed [8]byte
	if _, err := io.ReadFull(d.server.cfg.Rand, seed[:]); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	o := LabOptions{Nodes: d.lesson.Nodes, Lang: string(d.lang)}
	for _, b := range seed {
		o.Seed = o.Seed<<8 | uint64(b)
	}
	lab, err := d.server.sessions.room(ctx, func() (Lab, error) { return d.server.cfg.Labs.NewLab(ctx, o) })
	if err != nil {
		return err
	}
	b, err := d.prepare(ctx, lab, solve, done)
	if err != nil {
		return errors.Join(err, lab.Close(), d.server.cfg.Labs.DeleteLab(lab.ID()))
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		b.run.Close()
		return errors.Join(errors.New("the session has ended"), lab.Close(), d.server.cfg.Labs.DeleteLab(lab.ID()))
	}
	old := d.now
	d.now = place{lab.ID(), b}
	d.before = nil
	if old.lab != "" {
		d.before = &old
	}
	d.mu.Unlock()
	return nil
}

// prepare brings a new lab to where the lesson begins, and remembers whose it is.
func (d *desk) prepare(ctx context.Context, lab Lab, solve []*lessons.Task, done []lessons.TaskProgress) (*bench, error) {
	if err := d.lesson.SetUp(lab); err != nil {
		return nil, err
	}
	for _, t := range solve {
		if err := t.Solve(ctx, lab, &lessons.Commands{}); err != nil {
			return nil, fmt.Errorf("bring the lab to the task's start: %w", err)
		}
		if err := lessons.Await(ctx, d.lesson, t, lab.World()); err != nil {
			return nil, err
		}
	}
	code, err := d.server.newCode()
	if err != nil {
		return nil, err
	}
	now, hash := time.Now(), db.HashOf(code)
	row := db.Lab{ID: lab.ID(), Session: d.owner.id, Lesson: d.lesson.ID, Lang: string(d.lang), Code: &hash, Created: now, Seen: now}
	if err := d.server.cfg.DB.AddLab(ctx, row); err != nil {
		return nil, err
	}
	return d.bench(lab, code, done), nil
}

// kept is what the desk keeps in its lab.
type kept struct {
	Tasks []lessons.TaskProgress `json:"tasks"`
	Code  string                 `json:"code"`
}

// bench begins to judge a lab that is awake.
func (d *desk) bench(lab Lab, code string, done []lessons.TaskProgress) *bench {
	b := &bench{lab: lab, commands: &lessons.Commands{}, terminals: map[string]*terminal{}, code: code}
	judging := make(chan struct{})
	b.changed = lab.Keep("desk", func() []byte {
		<-judging
		p, _ := json.Marshal(kept{Tasks: b.run.Progress().Tasks, Code: b.returnCode()}) // plain data
		return p
	})
	b.run = lessons.NewRun(d.lesson, lab.World(), b.commands, done, func(lessons.Progress) {
		b.changed()
		d.tell()
	})
	close(judging)
	b.changed()
	return b
}

func (b *bench) returnCode() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.code
}

func (b *bench) setCode(code string) {
	b.mu.Lock()
	b.code = code
	b.mu.Unlock()
	b.changed()
}

// awake returns the desk's bench and wakes its lab first where it is asleep or has ended by itself.
func (d *desk) awake(ctx context.Context) (*bench, error) {
	if b := d.current(); b != nil && !b.over() {
		return b, nil
	}
	d.moving.Lock()
	defer d.moving.Unlock()
	b := d.current()
	if b != nil && !b.over() {
		return b, nil
	}
	if b != nil {
		_ = b.close() // it has ended
	}
	d.mu.Lock()
	d.now.bench = nil
	id, closed := d.now.lab, d.closed
	d.mu.Unlock()
	if closed {
		return nil, d.farewell()
	}
	lab, err := d.server.sessions.room(ctx, func() (Lab, error) { return d.server.cfg.Labs.OpenLab(ctx, id) })
	if err != nil {
		return nil, err
	}
	var was kept
	if p := lab.Kept("desk"); p != nil {
		if err := json.Unmarshal(p, &was); err != nil {
			d.server.cfg.Log.Error("a lesson's progress could not be read back", "lab", id, "error", err)
		}
	}
	b = d.bench(lab, was.Code, was.Tasks)
	b.woke.Store(true)
	d.mu.Lock()
	d.now.bench = b
	d.mu.Unlock()
	d.tell()
	return b, nil
}

// over tells that the lab has ended.
func (b *bench) over() bool {
	select {
	case <-b.lab.Done():
		return true
	default:
		return false
	}
}

// current is the bench, nil while the desk is asleep.
func (d *desk) current() *bench {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now.bench
}

// sleep puts the lab to sleep, unless somebody looks.
func (d *desk) sleep() error {
	d.moving.Lock()
	defer d.moving.Unlock()
	d.mu.Lock()
	b := d.now.bench
	if d.pages+d.held > 0 || b == nil || d.closed {
		d.mu.Unlock()
		return nil
	}
	d.now.bench = nil
	d.mu.Unlock()
	return b.close()
}

// reset puts a fresh lab on the desk. To a task's start, the earlier tasks' solutions run in it first and ticks stay; otherwise the lesson
// begins anew. What was there can be brought back for a while.
func (d *desk) reset(ctx context.Context, toTask bool) error {
	b, err := d.awake(ctx)
	if err != nil {
		return err
	}
	d.moving.Lock()
	defer d.moving.Unlock()
	var solve []*lessons.Task
	var done []lessons.TaskProgress
	if toTask {
		p := b.run.Progress()
		solve, done = d.lesson.Tasks[:p.Current], p.Tasks
	}
	d.dropBefore()
	if err := d.start(ctx, solve, done); err != nil {
		return err
	}
	d.mu.Lock()
	if d.before.bench != nil {
		d.before.bench.hangUp()
	}
	d.forget = time.AfterFunc(d.server.cfg.UndoFor, d.dropBefore)
	d.mu.Unlock()
	d.tell()
	return nil
}

// undo brings back what the last reset replaced; false when that is over.
func (d *desk) undo() bool {
	d.moving.Lock()
	defer d.moving.Unlock()
	d.mu.Lock()
	if d.before == nil {
		d.mu.Unlock()
		return false
	}
	if d.forget != nil {
		d.forget.Stop()
	}
	gone := d.now
	d.now, d.before = *d.before, nil
	if b := d.now.bench; b != nil {
		b.mu.Lock()
		b.gone = false
		b.mu.Unlock()
	}
	d.mu.Unlock()
	d.discard(gone)
	d.tell()
	return true
}

func (d *desk) dropBefore() {
	d.mu.Lock()
	p := d.before
	d.before = nil
	if d.forget != nil {
		d.forget.Stop()
	}
	d.mu.Unlock()
	if p != nil {
		d.discard(*p)
		d.tell()
	}
}

// discard ends a lab for good.
func (d *desk) discard(p place) {
	var err error
	if p.bench != nil {
		err = p.bench.close()
	}
	if err = errors.Join(err, d.server.discard(p.lab)); err != nil {
		d.server.cfg.Log.Error("a lab was not deleted", "lab", p.lab, "error", err)
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
	release := d.hold(&d.pages)
	d.server.classes.moved(d)
	return func() {
		release()
		d.server.classes.left(d)
		d.server.classes.moved(d)
	}
}

// hold keeps the lab from going to sleep until release is called; count is the one of the desk's counts that it is in.
func (d *desk) hold(count *int) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*count++
	if d.nap != nil {
		d.nap.Stop()
	}
	return func() { d.release(count) }
}

// release ends hold. Once nobody is left for a while, the lab sleeps.
func (d *desk) release(count *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*count--
	d.left = time.Now()
	switch {
	case d.pages+d.held > 0 || d.closed:
	case d.nap == nil:
		d.nap = time.AfterFunc(d.server.cfg.Limits.IdleAfter, d.doze)
	default:
		d.nap.Reset(d.server.cfg.Limits.IdleAfter)
	}
}

func (d *desk) doze() {
	d.seen()
	if err := d.sleep(); err != nil {
		d.server.cfg.Log.Error("a lab did not go to sleep", "error", err)
	}
}

// seen notes in the portal's tables when the lab was last looked at: how long it is kept counts from there.
func (d *desk) seen() {
	d.mu.Lock()
	id, at := d.now.lab, d.left
	d.mu.Unlock()
	if err := d.server.cfg.DB.SeeLab(context.Background(), id, at); err != nil && !errors.Is(err, db.ErrNone) {
		d.server.cfg.Log.Error("when a lab was seen was not noted", "lab", id, "error", err)
	}
}

// idle is how long nobody has looked at a lab that is awake; 0 while it sleeps.
func (d *desk) idle() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pages+d.held > 0 || d.now.bench == nil {
		return 0
	}
	return time.Since(d.left)
}

// end closes the desk for a reason that its pages are told, and deletes its labs.
func (d *desk) end(why error) error {
	d.mu.Lock()
	d.why = why
	b := d.now.bench
	d.mu.Unlock()
	if b != nil {
		for _, t := range b.open() {
			t.dismiss(why)
		}
	}
	d.owner.forget(d)
	err := d.finish(true)
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

// ending tells whether the desk is being closed for a reason that its pages are to be told.
func (d *desk) ending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.why != nil
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

// finish closes the desk. Its labs are deleted with discard, else they sleep.
func (d *desk) finish(discard bool) error {
	d.mu.Lock()
	d.closed = true
	for _, t := range []*time.Timer{d.nap, d.forget} {
		if t != nil {
			t.Stop()
		}
	}
	d.mu.Unlock()
	d.moving.Lock()
	defer d.moving.Unlock()
	d.mu.Lock()
	places := []place{d.now}
	if d.before != nil {
		places = append(places, *d.before)
	}
	d.now.bench, d.before = nil, nil
	d.mu.Unlock()
	var errs []error
	for _, p := range places {
		if p.bench != nil {
			errs = append(errs, p.bench.close())
		}
		if discard && p.lab != "" {
			errs = append(errs, d.server.discard(p.lab))
		}
	}
	if !discard {
		d.seen()
	}
	return errors.Join(errs...)
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
	b.terminals[key] = newTerminal(t, machine, b, "terminal/"+key)
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

// close ends what belongs to the lab, and puts it to sleep.
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
