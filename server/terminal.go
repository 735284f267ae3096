package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/drydock-labs/drydock/lessons"
)

// Sizes of a terminal's way to the page.
const (
	scrollbackBytes = 512 << 10
	chunkBytes      = 32 << 10
	// window is how much may be on its way to a page that has not said it painted it: a flood of output waits in the guest, where Ctrl+C
	// reaches it, and not in the network.
	window = 256 << 10
)

// terminal carries a lab's terminal to any number of pages. One goroutine reads it while it is open; pages read from the scrollback at their
// own pace, and the fastest one holds the reader back.
type terminal struct {
	term    Terminal
	machine string
	stop    context.CancelFunc
	done    chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	back    scrollback           // protected by mu
	marks   marks                // protected by mu
	viewers map[*viewer]struct{} // protected by mu
	grown   chan struct{}        // protected by mu: closed and replaced when there is more to see
	room    chan struct{}        // protected by mu: closed and replaced when a viewer has painted or left
	over    bool                 // protected by mu: the shell has ended
	saved   int64                // protected by mu: what is before is kept with the lab
	changed func()               // has what is behind kept
	rows    int                  // protected by mu: as the learner's page last had it
	cols    int                  // protected by mu
}

// viewer is one page's place in the output. Its fields are protected by its terminal's mu.
type viewer struct {
	at      int64 // next byte to send
	painted int64 // the page has painted everything before
	gone    chan struct{}
	why     error // why it was dismissed
}

// newTerminal begins to read a lab's terminal, behind what a terminal of the name showed before the lab slept.
func newTerminal(t Terminal, machine string, b *bench, name string) *terminal {
	ctx, stop := context.WithCancel(context.Background())
	out := &terminal{term: t, machine: machine, stop: stop, done: make(chan struct{}), back: scrollback{limit: scrollbackBytes},
		viewers: map[*viewer]struct{}{}, grown: make(chan struct{}), room: make(chan struct{})}
	var before modes
	for _, p := range b.lab.KeptStream(name) {
		out.back.write(p)
		before.feed(p)
	}
	out.saved = out.back.end()
	if out.saved > 0 {
		out.back.write(before.plain())
	}
	out.changed = b.lab.KeepStream(name, out.flush, out.snapshot)
	go out.read(ctx, b.commands, b.lab.World().Now)
	return out
}

// flush gives what was shown since the last flush; what the scrollback has dropped meanwhile is left out.
func (t *terminal) flush(emit func([]byte) error) error {
	t.mu.Lock()
	from := max(t.saved, t.back.start)
	p, _ := t.back.from(from, scrollbackBytes)
	t.mu.Unlock()
	if len(p) == 0 {
		return nil
	}
	if err := emit(p); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saved = from + int64(len(p))
	return nil
}

// snapshot gives the scrollback as far as it was flushed.
func (t *terminal) snapshot(emit func([]byte) error) error {
	t.mu.Lock()
	p := append(t.back.dropped.sequence(), t.back.data[:max(0, t.saved-t.back.start)]...)
	t.mu.Unlock()
	if len(p) == 0 {
		return nil
	}
	return emit(p)
}

func (t *terminal) read(ctx context.Context, commands *lessons.Commands, now func() time.Time) {
	defer close(t.done)
	for t.waitForRoom(ctx) {
		p, err := t.term.Read(ctx)
		var ended []lessons.Command
		t.mu.Lock()
		t.back.write(p)
		t.marks.feed(p, func(line string, status int) {
			ended = append(ended, lessons.Command{Machine: t.machine, Line: line, Exit: status})
		})
		t.over = err != nil
		close(t.grown)
		t.grown = make(chan struct{})
		t.mu.Unlock()
		t.changed()
		for _, c := range ended {
			c.At = now()
			commands.Add(c)
		}
		if err != nil {
			return
		}
	}
}

// waitForRoom waits while every page that looks is behind by a window; without pages it does not wait. False when ctx has ended.
func (t *terminal) waitForRoom(ctx context.Context) bool {
	for {
		t.mu.Lock()
		ahead := int64(0)
		for v := range t.viewers {
			ahead = max(ahead, v.painted)
		}
		full := len(t.viewers) > 0 && t.back.end()-ahead > window
		room := t.room
		t.mu.Unlock()
		if !full {
			return ctx.Err() == nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return false
		}
	}
}

// view adds a page, whose place is the beginning of the scrollback. replay is what to paint first and may be empty; running is the program
// that has the terminal.
func (t *terminal) view() (v *viewer, replay []byte, running string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v = &viewer{gone: make(chan struct{})}
	t.viewers[v] = struct{}{}
	return v, t.rewind(v), t.marks.running
}

// resize gives the terminal the size that the learner's page has.
func (t *terminal) resize(rows, cols int) {
	t.mu.Lock()
	t.rows, t.cols = rows, cols
	t.mu.Unlock()
	_ = t.term.Resize(rows, cols) // an ended shell says so on reading
}

// dimensions is the size that the learner's page last had.
func (t *terminal) dimensions() (rows, cols int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rows, t.cols
}

// rewind moves a viewer to the end and returns all there is before.
func (t *terminal) rewind(v *viewer) []byte {
	replay := append(t.back.dropped.sequence(), t.back.data...)
	v.at, v.painted = t.back.end(), t.back.end()
	return replay
}

// next waits for output after the viewer's place. reset means that the viewer was too slow and p is everything there is. over means that the
// shell has ended and all is read.
func (t *terminal) next(ctx context.Context, v *viewer) (p []byte, reset, over bool, err error) {
	for {
		t.mu.Lock()
		p, ok := t.back.from(v.at, chunkBytes)
		if !ok {
			p = t.rewind(v)
			t.mu.Unlock()
			return p, true, false, nil
		}
		v.at += int64(len(p))
		over, grown := t.over, t.grown
		t.mu.Unlock()
		if len(p) > 0 {
			return p, false, false, nil
		}
		if over {
			return nil, false, true, nil
		}
		select {
		case <-grown:
		case <-v.gone:
			return nil, false, false, v.why
		case <-ctx.Done():
			return nil, false, false, ctx.Err()
		}
	}
}

// ack says that the page has painted n bytes more.
func (t *terminal) ack(v *viewer, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.painted = min(v.at, v.painted+max(n, 0))
	t.makeRoom()
}

func (t *terminal) leave(v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.viewers, v)
	t.makeRoom()
}

func (t *terminal) makeRoom() {
	close(t.room)
	t.room = make(chan struct{})
}

// dismiss makes every viewer leave, and says why.
func (t *terminal) dismiss(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for v := range t.viewers {
		delete(t.viewers, v)
		v.why = why
		close(v.gone)
	}
	t.makeRoom()
}

func (t *terminal) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

// close hangs up and waits for the reader.
func (t *terminal) close() {
	t.dismiss(&problem{status: http.StatusGone, Code: "lab-gone"})
	t.stop()
	_ = t.term.Close() // a shell that is gone already is closed enough
	<-t.done
}
