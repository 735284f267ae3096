package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
)

// socket is one WebSocket of a page, whose writes each have their time.
type socket struct {
	*websocket.Conn
	writeTime time.Duration
}

func (k *socket) send(ctx context.Context, kind websocket.MessageType, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, k.writeTime)
	defer cancel()
	return k.Write(ctx, kind, p)
}

func (k *socket) sendJSON(ctx context.Context, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return k.send(ctx, websocket.MessageText, p)
}

// longestReason is how long the reason of a WebSocket's end may be (RFC 6455, section 5.5).
const longestReason = 123

// goodbye is the close status under which a page shows a refusal: 4000 + the HTTP status; the reason is the code, a space and its parameters
// as JSON where they fit.
func (k *socket) goodbye(err error) {
	p := asProblem(err)
	reason := p.Code
	if params, err := json.Marshal(p.Params); err == nil && len(p.Params) > 0 && len(reason)+1+len(params) <= longestReason {
		reason += " " + string(params)
	}
	_ = k.Close(websocket.StatusCode(4000+p.status), reason)
}

// accept upgrades a request and runs f until it returns, the page leaves or the portal closes. The upgrade comes before every refusal: a page
// learns a status only from an open socket.
func (s *Server) accept(c echo.Context, limit int64, f func(ctx context.Context, k *socket) error) error {
	d := c.Get("session").(*session)
	leave, refused := d.enter(true)
	if refused == nil {
		defer leave()
	}
	// sameOrigin has judged the origin
	conn, err := websocket.Accept(c.Response(), c.Request(), &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionContextTakeover,
		CompressionThreshold: 1024})
	if err != nil {
		return nil // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(limit)
	k := &socket{Conn: conn, writeTime: s.cfg.Limits.WriteTime}
	if refused != nil {
		k.goodbye(refused)
		return nil
	}
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	switch err := f(ctx, k); {
	case s.ctx.Err() != nil:
		_ = conn.Close(websocket.StatusGoingAway, "closing")
	case err == nil:
		_ = conn.Close(websocket.StatusNormalClosure, "")
	case ctx.Err() == nil && websocket.CloseStatus(err) == -1 && !errors.Is(err, context.Canceled):
		k.goodbye(err)
	}
	return nil
}

// fromTerminal are the texts that a page sends on a terminal's socket; its bytes are what is typed.
type fromTerminal struct {
	Type string `json:"type"` // resize, ack, close (hang up: the tab is closed)
	Rows int    `json:"rows"`
	Cols int    `json:"cols"`
	N    int64  `json:"n"`
}

// toTerminal are the texts that a page gets on it; bytes are output.
type toTerminal struct {
	Type    string `json:"type"`              // start: clear and paint the replay that follows; live: from here on it happens now; size; exit
	Running string `json:"running,omitempty"` // with live: the command line that has the terminal
	Rows    int    `json:"rows,omitempty"`    // with size, to those who look on: what the learner's page has
	Cols    int    `json:"cols,omitempty"`
}

func (s *Server) terminal(c echo.Context) error {
	machine := c.Param("machine")
	number, err := strconv.Atoi(c.Param("number"))
	if err != nil || number < 1 || number > s.cfg.Limits.Terminals {
		return refuse(http.StatusNotFound, "not-found", nil)
	}
	rows, cols := size(c.QueryParam("rows"), 24), size(c.QueryParam("cols"), 80)
	return s.accept(c, 256<<10, func(ctx context.Context, k *socket) error {
		b := c.Get("bench").(*bench)
		t, err := b.terminal(s, machine, number, rows, cols, langOf(c))
		if err != nil {
			return err
		}
		t.resize(rows, cols)
		v, replay, running := t.view()
		defer t.leave(v)
		ctx, cancel := context.WithCancel(ctx)
		var typing sync.WaitGroup
		defer typing.Wait()
		defer cancel()
		typing.Go(func() {
			defer cancel()
			t.typed(ctx, k, v)
		})
		if err := paint(ctx, k, replay, running); err != nil {
			return err
		}
		for {
			p, reset, over, err := t.next(ctx, v)
			switch {
			case err != nil:
				if ctx.Err() == nil {
					k.goodbye(err) // before typed's Read is cancelled, which breaks the connection
				}
				return err
			case over:
				err := k.sendJSON(ctx, toTerminal{Type: "exit"})
				_ = k.Close(websocket.StatusNormalClosure, "") // before typed's Read is cancelled
				return err
			case reset:
				err = paint(ctx, k, p, "")
			default:
				err = k.send(ctx, websocket.MessageBinary, p)
			}
			if err != nil {
				return err
			}
		}
	})
}

func paint(ctx context.Context, k *socket, replay []byte, running string) error {
	if err := k.sendJSON(ctx, toTerminal{Type: "start"}); err != nil {
		return err
	}
	for len(replay) > 0 {
		n := min(len(replay), chunkBytes)
		if err := k.send(ctx, websocket.MessageBinary, replay[:n]); err != nil {
			return err
		}
		replay = replay[n:]
	}
	return k.sendJSON(ctx, toTerminal{Type: "live", Running: running})
}

// typed carries what the page types into the terminal until the page leaves.
func (t *terminal) typed(ctx context.Context, k *socket, v *viewer) {
	for {
		kind, p, err := k.Read(ctx)
		if err != nil {
			return
		}
		if kind == websocket.MessageBinary {
			if t.term.Write(ctx, p) != nil && ctx.Err() != nil {
				return
			}
			continue
		}
		var m fromTerminal
		if json.Unmarshal(p, &m) != nil {
			continue // a page of another version; what it meant can't be done
		}
		switch m.Type {
		case "resize":
			t.resize(clamp(m.Rows), clamp(m.Cols))
		case "ack":
			t.ack(v, m.N)
		case "close":
			_ = t.term.Close() // the reader meets the end and says so
		}
	}
}

func size(s string, otherwise int) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return otherwise
	}
	return clamp(n)
}

func clamp(n int) int { return min(max(n, 2), 500) }

// toPage are the messages of the live socket.
type toPage struct {
	Type     string              `json:"type"` // hello, progress, changes, programs, class
	Lab      string              `json:"lab,omitempty"`
	Machines []string            `json:"machines,omitempty"`
	Undo     bool                `json:"undo"`
	Progress *lessons.Progress   `json:"progress,omitempty"`
	Snapshot bool                `json:"snapshot,omitempty"`
	Rev      int64               `json:"rev,omitempty"`
	Now      time.Time           `json:"now,omitzero"`
	Changes  []change            `json:"changes,omitempty"`
	Requests map[string]Requests `json:"requests,omitempty"`
	Programs []Program           `json:"programs,omitempty"`
	Woke     bool                `json:"woke,omitempty"` // with hello, to the first page: the lab slept, and its processes are others now
	Class    *inClass            `json:"class,omitempty"`
	Docker   []DockerChange      `json:"docker,omitempty"`
	Uses     map[string]Use      `json:"uses,omitempty"`
	UsesAt   time.Time           `json:"usesAt,omitzero"`
}

// change is one commit as the page gets it.
type change struct {
	Rev       int64          `json:"rev"`
	Time      time.Time      `json:"time"`
	Op        lessons.Op     `json:"op"`
	Resource  string         `json:"resource"`
	Namespace string         `json:"namespace,omitempty"`
	Name      string         `json:"name"`
	Object    map[string]any `json:"object,omitempty"`
	Actor     string         `json:"actor,omitempty"`
	Component string         `json:"component,omitempty"`
}

// shown are the resources that the page draws; the rest, secrets among it, stays in the lab.
var shown = map[string]bool{"nodes": true, "pods": true, "services": true, "endpointslices": true, "deployments": true, "replicasets": true, "events": true}

// live streams the cluster's changes and the learner's progress. Both are pulled by this socket at its own pace.
func (s *Server) live(c echo.Context) error {
	d := c.Get("desk").(*desk)
	return s.accept(c, 4<<10, func(ctx context.Context, k *socket) error {
		defer d.arrive()()
		return s.liveDesk(k.CloseRead(ctx), k, d) // nothing is expected; a page that leaves ends it
	})
}

// liveDesk streams whatever bench is on a desk.
func (s *Server) liveDesk(ctx context.Context, k *socket, d *desk) error {
	for {
		b, err := d.awake(ctx)
		if err != nil {
			return err
		}
		if err := s.liveBench(ctx, k, d, b); err != nil || d.current() == b {
			return err
		}
	}
}

// liveBench streams one bench until another takes its place.
func (s *Server) liveBench(ctx context.Context, k *socket, d *desk, b *bench) error {
	page := ctx // what is half sent is sent whole when the lab ends: a cancelled write would break the connection before the goodbye
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // one message at a time
	send := func(m toPage) error {
		mu.Lock()
		defer mu.Unlock()
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return k.sendJSON(page, m)
	}
	p := b.run.Progress()
	if err := send(toPage{Type: "hello", Lab: b.lab.ID(), Machines: b.lab.Machines(), Progress: &p, Undo: d.undoable(), Programs: b.lab.Programs(), Woke: b.woke.Swap(false)}); err != nil {
		return err
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel(nil)
	errReplaced := errors.New("another lab")
	work.Go(func() { cancel(s.liveProgress(ctx, d, b, send, errReplaced)) })
	work.Go(func() { s.livePrograms(ctx, b, send) })
	work.Go(func() {
		select {
		case <-b.lab.Done():
			cancel(d.farewell())
		case <-ctx.Done():
		}
	})
	err := s.liveFeed(ctx, b, send)
	select {
	case <-b.lab.Done(): // whoever noticed first
		err = d.farewell()
	default:
		if d.ending() && page.Err() == nil { // the feed may end before the lab has
			err = d.farewell()
		}
	}
	cancel(err)
	if cause := context.Cause(ctx); errors.Is(cause, errReplaced) {
		return nil
	} else if p := asProblem(err); p.status != http.StatusGone && cause != nil {
		return cause
	}
	return err
}

func (s *Server) liveProgress(ctx context.Context, d *desk, b *bench, send func(toPage) error, replaced error) error {
	changed := make(chan struct{}, 1)
	defer d.watch(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	for {
		if d.current() != b {
			return replaced
		}
		p := b.run.Progress()
		if err := send(toPage{Type: "progress", Progress: &p, Undo: d.undoable(), Class: s.classes.of(d)}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// programsEvery is how often a page hears how far compilations are.
const programsEvery = 400 * time.Millisecond

// livePrograms tells how far first compilations are while there are any: some begin only when a program is first called.
func (s *Server) livePrograms(ctx context.Context, b *bench, send func(toPage) error) {
	tick := time.NewTicker(programsEvery)
	defer tick.Stop()
	for told := len(b.lab.Programs()); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		list := b.lab.Programs()
		if len(list)+told == 0 {
			continue
		}
		if send(toPage{Type: "programs", Programs: list}) != nil {
			return
		}
		told = len(list)
	}
}

func (s *Server) liveFeed(ctx context.Context, b *bench, send func(toPage) error) error {
	feed := b.lab.Feed(0)
	defer feed.Close()
	for {
		batch, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		m := toPage{Type: "changes", Snapshot: batch.Snapshot, Rev: batch.Rev, Now: b.lab.World().Now(), Requests: batch.Requests, Changes: []change{},
			Docker: batch.Docker, Uses: batch.Uses, UsesAt: batch.UsesAt}
		for _, c := range batch.Changes {
			if shown[c.Resource] {
				m.Changes = append(m.Changes, change{Rev: c.Rev, Time: c.Time, Op: c.Op, Resource: c.Resource, Namespace: c.Namespace, Name: c.Name,
					Object: trimmed(c), Actor: c.Cause.Actor, Component: c.Cause.Component})
			}
		}
		if len(m.Changes)+len(m.Requests)+len(m.Docker)+len(m.Uses) == 0 && !m.Snapshot {
			continue
		}
		if err := send(m); err != nil {
			return err
		}
	}
}

// trimmed is an object without what the page never shows and that is most of its bytes.
func trimmed(c lessons.Change) map[string]any {
	if c.Object == nil || c.Op == lessons.Delete {
		return nil
	}
	o := c.Object()
	meta, _ := o["metadata"].(map[string]any)
	if meta["managedFields"] == nil {
		return o
	}
	copied, lean := make(map[string]any, len(o)), make(map[string]any, len(meta))
	for k, v := range o {
		copied[k] = v
	}
	for k, v := range meta {
		if k != "managedFields" {
			lean[k] = v
		}
	}
	copied["metadata"] = lean
	return copied
}
