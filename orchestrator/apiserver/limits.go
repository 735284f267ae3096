package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The limits of a cluster whose ClusterConfig names no others.
const (
	DefaultMaxObjects  = 20_000
	DefaultMaxWatches  = 200
	DefaultMaxStreams  = 200
	DefaultMaxInFlight = 100
)

const (
	// maxBody is the size of the largest request body, upstream's.
	maxBody = 3 << 20
	// maxConns bounds the connections of a cluster's clients through a gate.
	maxConns = 512
	// maxRefusals bounds the connections beyond those that are taken to be answered with 429, each for at most refusalDelay and headerTimeout.
	maxRefusals = 2048
	// connRate is how many connections a second a cluster's clients may open once they have opened connBurst at once: further ones wait with their
	// handshake. A handshake costs the server about a millisecond, which no account of the lab pays.
	connRate  = 250
	connBurst = 64
	// refusalDelay is how long a request that is refused with 429 waits at most for that answer, so that a client that asks again at once is
	// slowed down and not served refusals at full speed.
	refusalDelay = time.Second
	// maxBodies bounds the bodies that a cluster's requests hold at a time.
	maxBodies = 32 << 20
)

// limit is a setting's value: its default for 0, no limit for negative ones.
func limit(set, def int) int {
	switch {
	case set == 0:
		return def
	case set < 0:
		return 0
	}
	return set
}

// gauge counts what is in use of something limited.
type gauge struct {
	used atomic.Int64
	max  int64 // 0: no limit
}

func (g *gauge) add(n int64) bool {
	if used := g.used.Add(n); g.max > 0 && used > g.max {
		g.used.Add(-n)
		return false
	}
	return true
}

func (g *gauge) sub(n int64) { g.used.Add(-n) }

// turns lets a few of a cluster's requests work at a time, one less than Go has processors (GOMAXPROCS); the others wait in order. A flood of requests
// to one cluster so is only ever a few goroutines in front of another cluster's request. A turn ends after a while even if its request goes
// on, because some requests wait rather than work (upstream's admission sleeps for a namespace or a service account that is not there yet).
type turns struct {
	work chan struct{} // whose turn it is
	all  chan struct{} // those, and requests whose turn has ended
}

// turnTime is how long a turn lasts.
const turnTime = 50 * time.Millisecond

func newTurns() turns {
	n := runtime.GOMAXPROCS(0)
	return turns{work: make(chan struct{}, max(1, n-1)), all: make(chan struct{}, n+2)}
}

// turn is what a request holds while it works.
type turn struct {
	turns turns
	timer *time.Timer
}

func (t turns) take(ctx context.Context) (*turn, error) {
	if err := enter(ctx, t.all); err != nil {
		return nil, err
	}
	if err := enter(ctx, t.work); err != nil {
		<-t.all
		return nil, err
	}
	return &turn{turns: t, timer: time.AfterFunc(turnTime, func() { <-t.work })}, nil
}

func enter(ctx context.Context, c chan<- struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) give() {
	if t.timer.Stop() {
		<-t.turns.work
	}
	<-t.turns.all
}

// bodies counts the bytes of a request's body against the cluster's.
type bodies struct {
	gauge *gauge
	slow  time.Duration
	held  int64
}

func (b *bodies) release() { b.gauge.sub(b.held) }

var errTooMuch = errors.New("too many bytes of bodies")

// read reads a whole body before the request takes its turn, so that a client that sends slowly keeps nobody waiting.
func (b *bodies) read(w http.ResponseWriter, req *http.Request) *apierrors.StatusError {
	if req.ContentLength > maxBody {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	if req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		return nil
	}
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(b.slow)) // a writer without deadlines has no slow client behind it
	data, err := b.readAll(req.Body)
	_ = deadline.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, errTooMuch):
		return apierrors.NewTooManyRequests(fmt.Sprintf("the bodies of the requests to this cluster are more than %d MiB", maxBodies>>20), 1)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failure(http.StatusRequestTimeout, metav1.StatusReasonTimeout, fmt.Sprintf("the body did not arrive within %s", b.slow))
	case err != nil:
		return apierrors.NewBadRequest("unable to read the body: " + err.Error())
	case len(data) > maxBody:
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
	}
	req.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// readAll reads up to one byte more than the largest body.
func (b *bodies) readAll(r io.Reader) ([]byte, error) {
	var data bytes.Buffer
	for data.Len() <= maxBody {
		const part = 32 << 10
		if !b.gauge.add(part) {
			return nil, errTooMuch
		}
		b.held += part
		if n, err := io.CopyN(&data, r, min(part, int64(maxBody+1-data.Len()))); err != nil || n == 0 {
			if err == io.EOF {
				err = nil
			}
			return data.Bytes(), err
		}
	}
	return data.Bytes(), nil
}

// turnWriter gives the request's turn back while the client is written to, and a client that does not read loses its connection.
type turnWriter struct {
	http.ResponseWriter
	ctx      context.Context
	turns    turns
	turn     *turn // nil when it could not be taken again
	deadline *http.ResponseController
	slow     time.Duration
}

// Unwrap lets http.ResponseController and upstream find the connection's writer.
func (w *turnWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// CloseNotify implements http.CloseNotifier, which upstream's wrappers demand of every writer that flushes; they look at the context.
func (w *turnWriter) CloseNotify() <-chan bool { return nil }

func (w *turnWriter) Write(b []byte) (n int, err error) {
	w.outside(func() { n, err = w.ResponseWriter.Write(b) })
	return n, err
}

// Flush implements http.Flusher.
func (w *turnWriter) Flush() { w.outside(func() { _ = w.deadline.Flush() }) }

func (w *turnWriter) outside(write func()) {
	w.done()
	_ = w.deadline.SetWriteDeadline(time.Now().Add(w.slow))
	write()
	_ = w.deadline.SetWriteDeadline(time.Time{})
	w.turn, _ = w.turns.take(w.ctx) // fails when the client has gone: nothing is left to do but to return
}

// done gives the turn back for good.
func (w *turnWriter) done() {
	if w.turn != nil {
		w.turn.give()
		w.turn = nil
	}
}
