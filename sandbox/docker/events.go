package docker

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/moby/moby/api/types/events"
)

// pastEvents is how many events are remembered for --since, as the daemon's 256.
const pastEvents = 256

// maxBehind bounds what waits for a slow listener; one that is further behind loses its stream.
const maxBehind = 1024

// listener is a client of /events.
type listener struct {
	news chan events.Message
}

// event tells of something that happened.
func (e *Engine) event(t events.Type, a events.Action, id string, attributes map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.eventLocked(t, a, id, attributes)
}

func (e *Engine) eventLocked(t events.Type, a events.Action, id string, attributes map[string]string) {
	now := e.now()
	m := events.Message{Type: t, Action: a, Actor: events.Actor{ID: id, Attributes: attributes}, Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano()}
	if len(e.past) == pastEvents {
		e.past = append(e.past[:0], e.past[1:]...)
	}
	e.past = append(e.past, m)
	e.keepLocked(t, id)
	e.changed.tell()
	for l := range e.listeners {
		select {
		case l.news <- m:
		default:
			delete(e.listeners, l)
			close(l.news)
		}
	}
}

func (e *Engine) getEvents(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "type", "event", "container", "image", "network", "volume", "label", "scope", "daemon")
	if err != nil {
		return err
	}
	since, err := moment(r.FormValue("since"))
	if err != nil {
		return err
	}
	until, err := moment(r.FormValue("until"))
	if err != nil {
		return err
	}
	l := &listener{news: make(chan events.Message, maxBehind)}
	e.mu.Lock()
	past := slices.Clone(e.past)
	e.listeners[l] = struct{}{}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.listeners, l)
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush(w)
	enc := json.NewEncoder(w)
	show := func(m events.Message) error {
		if !f.event(m) {
			return nil
		}
		if err := enc.Encode(m); err != nil {
			return err
		}
		flush(w)
		return nil
	}
	for _, m := range past {
		if at := time.Unix(0, m.TimeNano); !since.IsZero() && !at.Before(since) && (until.IsZero() || at.Before(until)) {
			if err := show(m); err != nil {
				return nil
			}
		}
	}
	return e.follow(r, l, until, show)
}

// follow shows what happens until the client has gone or the time is there.
func (e *Engine) follow(r *http.Request, l *listener, until time.Time, show func(events.Message) error) error {
	var over <-chan struct{}
	if !until.IsZero() {
		ch := make(chan struct{})
		stop := e.cfg.Machine.Clock().AfterFunc(max(0, until.Sub(e.now())), func() { close(ch) })
		defer stop()
		over = ch
	}
	for {
		select {
		case m, ok := <-l.news:
			if !ok || show(m) != nil {
				return nil
			}
		case <-over:
			return nil
		case <-r.Context().Done():
			return nil
		case <-e.ctx.Done():
			return nil
		}
	}
}

// event tells whether an event is one that the filters let through.
func (f filters) event(m events.Message) bool {
	is := func(t events.Type, name string) bool {
		return f.any(name, func(v string) bool {
			return m.Type == t && (m.Actor.ID == v || m.Actor.Attributes["name"] == v || len(v) >= 4 && len(m.Actor.ID) > len(v) && m.Actor.ID[:len(v)] == v)
		})
	}
	image := func(v string) bool {
		return m.Type == events.ImageEventType && withTag(m.Actor.ID) == withTag(v) || withTag(m.Actor.Attributes["image"]) == withTag(v)
	}
	return f.any("type", func(v string) bool { return v == string(m.Type) }) && f.any("event", func(v string) bool { return v == string(m.Action) }) &&
		is(events.ContainerEventType, "container") && is(events.NetworkEventType, "network") && is(events.VolumeEventType, "volume") && f.any("image", image) &&
		f.labels(maps.Clone(m.Actor.Attributes))
}
