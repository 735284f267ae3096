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

// turns lets a few of a cluster's requests work at a time; the others wait in order. A flood of requests to one cluster so is only ever a few
// goroutines in front of another cluster's request.
type turns chan struct{}

func newTurns() turns { return make(turns, max(2, runtime.GOMAXPROCS(0))) }

func (t turns) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turns) give() { <-t }

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
	deadline *http.ResponseController
	slow     time.Duration
	lost     bool // the turn was not taken again
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
	if !w.lost {
		w.turns.give()
	}
	_ = w.deadline.SetWriteDeadline(time.Now().Add(w.slow))
	write()
	_ = w.deadline.SetWriteDeadline(time.Time{})
	w.lost = w.turns.take(w.ctx) != nil
}

// done gives the turn back for good.
func (w *turnWriter) done() {
	if !w.lost {
		w.turns.give()
	}
}
