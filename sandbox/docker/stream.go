package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// hijack takes the connection over for a raw stream ("Attach to a container": 101 when the client asks for an upgrade, else 200). What comes in
// is read through the reader; ctx ends when the client is gone.
func hijack(w http.ResponseWriter, r *http.Request, media string) (*bufio.Reader, net.Conn, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, failure(500, "the connection cannot carry a stream: %s", err)
	}
	status := "200 OK"
	upgrade := ""
	if strings.EqualFold(r.Header.Get("Upgrade"), "tcp") {
		status, upgrade = "101 UPGRADED", "Connection: Upgrade\r\nUpgrade: tcp\r\n"
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: %s\r\n%s\r\n", status, media, upgrade)
	return rw.Reader, conn, err
}

// muxed makes writers that mark each piece with its stream.
func muxed(w io.Writer, tty bool) (out, err io.Writer) {
	if tty {
		return w, w
	}
	l := &locked{w: w}
	return &frames{l, stdcopy.Stdout}, &frames{l, stdcopy.Stderr}
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

// frames writes pieces with the header of stdcopy: stream, three zeros, length in big endian.
type frames struct {
	to     *locked
	stream stdcopy.StdType
}

func (f *frames) Write(p []byte) (int, error) {
	f.to.mu.Lock()
	defer f.to.mu.Unlock()
	n := len(p)
	b := make([]byte, 8, 8+n)
	b[0], b[4], b[5], b[6], b[7] = byte(f.stream), byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	if _, err := f.to.w.Write(append(b, p...)); err != nil {
		return 0, err
	}
	return n, nil
}

func mediaType(tty bool) string {
	if tty {
		return string(types.MediaTypeRawStream)
	}
	return string(types.MediaTypeMultiplexedStream)
}

// errDetached is the end of an attachment by its escape keys.
var errDetached = errors.New("detached")

// detacher looks for the keys that detach (Ctrl-P Ctrl-Q) in what is typed.
type detacher struct {
	r    io.Reader
	keys []byte
	at   int
	stop func()
}

func (d *detacher) Read(p []byte) (int, error) {
	for {
		n, err := d.r.Read(p)
		out := p[:0]
		for _, b := range slices.Clone(p[:n]) {
			if b == d.keys[d.at] {
				if d.at++; d.at == len(d.keys) {
					d.stop()
					return len(out), errDetached
				}
				continue
			}
			out = append(out, d.keys[:d.at]...)
			d.at = 0
			if b == d.keys[0] {
				d.at = 1
				continue
			}
			out = append(out, b)
		}
		if len(out) > 0 || err != nil || n == 0 {
			return len(out), err
		}
	}
}

// detachKeys reads the parameter: letters, ctrl-X, separated by commas.
func detachKeys(s string) ([]byte, error) {
	if s == "" {
		return []byte{16, 17}, nil
	}
	var keys []byte
	for k := range strings.SplitSeq(s, ",") {
		c, ctrl := strings.CutPrefix(k, "ctrl-")
		switch {
		case !ctrl && len(c) == 1:
			keys = append(keys, c[0])
		case ctrl && len(c) == 1 && (c[0] >= '@' && c[0] <= '_' || c[0] >= 'a' && c[0] <= 'z'):
			keys = append(keys, c[0]&0x1f)
		default:
			return nil, invalid("Invalid detach keys (%s) provided: Unknown character: '%s'", s, k)
		}
	}
	return keys, nil
}

func (e *Engine) postAttach(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	keys, err := detachKeys(r.FormValue("detachKeys"))
	if err != nil {
		return err
	}
	var place *joiner
	if flag(r, "stream") { // before the client is answered, which then starts the container
		place = c.enlist()
		defer place.leave()
	}
	in, conn, err := hijack(w, r, mediaType(c.config.Tty))
	if err != nil {
		return err
	}
	defer conn.Close()
	out, errOut := muxed(conn, c.config.Tty)
	if !flag(r, "stdout") {
		out = nil
	}
	if !flag(r, "stderr") {
		errOut = nil
	}
	ctx, cancel := e.until(context.Background())
	defer cancel()
	if flag(r, "logs") {
		if err := c.log.Copy(ctx, runtime.LogOptions{Tail: -1}, out, errOut); err != nil {
			return nil
		}
	}
	if place != nil {
		var typed io.Reader
		if flag(r, "stdin") {
			typed = in
			if c.config.Tty {
				typed = &detacher{r: in, keys: keys, stop: cancel}
			}
		}
		c.attach(ctx, place, runtime.IO{Stdin: typed, Stdout: out, Stderr: errOut, TTY: c.config.Tty})
	}
	return nil
}

// attach runs an attachment until the container's life or the client ends.
func (c *container) attach(ctx context.Context, place *joiner, s runtime.IO) {
	c.e.event(events.ContainerEventType, events.ActionAttach, c.id, c.attributes())
	if a, err := place.wait(ctx); err == nil {
		_ = a.Run(ctx, s) // the client has gone, or the container
	}
}

// until is a context for a stream: it ends with the engine. That the client of a hijacked connection has gone is noticed at the next byte.
func (e *Engine) until(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(e.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

func (e *Engine) postResize(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	z, err := windowSize(r)
	if err != nil {
		return err
	}
	if err := e.runtime.Resize(c.id, z); err != nil {
		return conflict("container %s is not running", c.id)
	}
	return nil
}

func windowSize(r *http.Request) (z runtime.Size, err error) {
	h, err1 := strconv.ParseUint(r.FormValue("h"), 10, 16)
	w, err2 := strconv.ParseUint(r.FormValue("w"), 10, 16)
	if err1 != nil || err2 != nil {
		return z, invalid("invalid window size: h=%q w=%q", r.FormValue("h"), r.FormValue("w"))
	}
	return runtime.Size{Rows: uint16(h), Cols: uint16(w)}, nil
}

func (e *Engine) getLogs(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	if !flag(r, "stdout") && !flag(r, "stderr") {
		return invalid("Bad parameters: you must choose at least one stream")
	}
	o := runtime.LogOptions{Follow: flag(r, "follow") && c.isRunning(), Tail: -1, Timestamps: flag(r, "timestamps")}
	if t := r.FormValue("tail"); t != "" && t != "all" {
		if o.Tail, err = strconv.ParseInt(t, 10, 64); err != nil {
			return invalid("invalid tail: %q is no number", t)
		}
	}
	if o.Since, err = moment(r.FormValue("since")); err != nil {
		return err
	}
	if o.Until, err = moment(r.FormValue("until")); err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType(c.config.Tty))
	w.WriteHeader(http.StatusOK)
	flush(w)
	out, errOut := muxed(flushing{w}, c.config.Tty)
	if !flag(r, "stdout") {
		out = nil
	}
	if !flag(r, "stderr") {
		errOut = nil
	}
	ctx, cancel := e.until(r.Context())
	defer cancel()
	if o.Follow && !o.Until.IsZero() {
		defer e.cfg.Machine.Clock().AfterFunc(max(0, o.Until.Sub(e.now())), cancel)()
	}
	_ = c.log.Copy(ctx, o, out, errOut) // the client has gone
	return nil
}

// flushing sends each write at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	flush(f.w)
	return n, err
}

// moment reads a time of the API: seconds since 1970 with a fraction. "" and "0" are the zero time.
func moment(s string) (time.Time, error) {
	if s == "" || s == "0" {
		return time.Time{}, nil
	}
	sec, frac, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(sec, 10, 64)
	if err != nil {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t, nil
		}
		return time.Time{}, invalid("invalid time: %q", s)
	}
	nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
	return time.Unix(n, nanos), nil
}

func (e *Engine) getStats(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	stream := !r.URL.Query().Has("stream") || flag(r, "stream")
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	var before api.StatsResponse
	if !flag(r, "one-shot") {
		before = c.stats()
		if !c.tick(r.Context()) {
			return nil
		}
	}
	for {
		s := c.stats()
		s.PreRead, s.PreCPUStats = before.Read, before.CPUStats
		if err := enc.Encode(s); err != nil || !stream {
			return nil
		}
		flush(w)
		before = s
		if !c.tick(r.Context()) {
			return nil
		}
	}
}

// tick waits a second of lab time; false when the client or the engine is gone.
func (c *container) tick(ctx context.Context) bool {
	ch := make(chan struct{})
	stop := c.e.cfg.Machine.Clock().AfterFunc(time.Second, func() { close(ch) })
	defer stop()
	select {
	case <-ch:
		return true
	case <-ctx.Done():
	case <-c.e.ctx.Done():
	}
	return false
}

// stats are the metered figures of a container that runs; zeros of one that doesn't, as the daemon answers.
func (c *container) stats() api.StatsResponse {
	s := api.StatsResponse{ID: c.id, Name: "/" + c.currentName(), Read: c.e.now(), OSType: "linux"}
	m := c.e.cfg.Machine
	x, err := c.e.runtime.Stats(context.Background(), c.id)
	if err != nil {
		return s
	}
	limit, _ := m.Memory()
	if x.MemoryLimit > 0 {
		limit = min(limit, x.MemoryLimit)
	}
	s.CPUStats = api.CPUStats{CPUUsage: api.CPUUsage{TotalUsage: uint64(x.CPU)}, OnlineCPUs: uint32(m.Config().CPUs), SystemUsage: uint64(c.e.now().Sub(m.Boot())) * uint64(m.Config().CPUs),
		ThrottlingData: api.ThrottlingData{ThrottledTime: uint64(x.Throttled)}}
	s.MemoryStats = api.MemoryStats{Usage: uint64(x.Memory), MaxUsage: uint64(x.MemoryPeak), Limit: uint64(limit), Stats: map[string]uint64{}}
	s.PidsStats = api.PidsStats{Current: uint64(x.PIDs)}
	return s
}

func (e *Engine) getTop(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	if !c.isRunning() {
		return conflict("container %s is not running", c.id)
	}
	if a := r.FormValue("ps_args"); a != "" && a != "-ef" {
		return unsupported("ps arguments of docker top")
	}
	top := api.TopResponse{Titles: []string{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}, Processes: [][]string{}}
	for _, p := range e.cfg.Machine.Processes() {
		if !strings.Contains(p.Cgroup().Path(), c.id) {
			continue
		}
		top.Processes = append(top.Processes, e.psLine(p))
	}
	return answer(w, http.StatusOK, top)
}

// psLine is a line of ps -ef.
func (e *Engine) psLine(p *kernel.Process) []string {
	ns := e.cfg.Machine.PIDNS()
	u := p.Usage()
	uid := strconv.Itoa(int(p.View().Cred.UID))
	if uid == "0" {
		uid = "root"
	}
	cpu := (u.User + u.System).Truncate(time.Second)
	return []string{uid, strconv.Itoa(p.PID(ns)), strconv.Itoa(p.PPID()), "0", u.Started.UTC().Format("15:04"), "?", fmt.Sprintf("%02d:%02d:%02d", int(cpu.Hours()), int(cpu.Minutes())%60, int(cpu.Seconds())%60), strings.Join(p.Args(), " ")}
}

// exec is a program that is to be run, runs or has run in a container.
type exec struct {
	id  string
	c   *container
	req api.ExecCreateRequest

	mu      sync.Mutex
	started bool              // guarded by mu
	running bool              // guarded by mu
	code    *int              // guarded by mu
	sizes   chan runtime.Size // has room for one
}

// maxExecs bounds the execs that are remembered of a host.
const maxExecs = 1000

func (e *Engine) postExec(w http.ResponseWriter, r *http.Request) error {
	c, err := e.named(r)
	if err != nil {
		return err
	}
	x := &exec{id: e.newID(), c: c, sizes: make(chan runtime.Size, 1)}
	if err := decode(w, r, &x.req); err != nil {
		return err
	}
	switch {
	case len(x.req.Cmd) == 0:
		return invalid("No exec command specified")
	case x.req.Privileged:
		return unsupported("docker exec --privileged")
	case !c.isRunning():
		return conflict("container %s is not running", c.id)
	case c.isPaused():
		return conflict("container %s is paused, unpause the container before exec", c.id)
	}
	if z := x.req.ConsoleSize; z != nil {
		x.sizes <- runtime.Size{Rows: uint16(z[0]), Cols: uint16(z[1])}
	}
	e.mu.Lock()
	if len(e.execs) >= maxExecs {
		for id, o := range e.execs {
			if o.over() {
				delete(e.execs, id)
			}
		}
	}
	full := len(e.execs) >= maxExecs
	if !full {
		e.execs[x.id] = x
	}
	e.mu.Unlock()
	if full {
		return failure(http.StatusTooManyRequests, "this host runs %d execs, the most a lab may have", maxExecs)
	}
	e.event(events.ContainerEventType, events.Action(string(events.ActionExecCreate)+": "+strings.Join(x.req.Cmd, " ")), c.id, c.attributes())
	return answer(w, http.StatusCreated, api.ExecCreateResponse{ID: x.id})
}

func (x *exec) over() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.started && !x.running
}

func (e *Engine) exec(id string) (*exec, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.execs[id]; x != nil {
		return x, nil
	}
	return nil, notFound("No such exec instance: %s", id)
}

func (e *Engine) startExec(w http.ResponseWriter, r *http.Request) error {
	x, err := e.exec(r.PathValue("id"))
	if err != nil {
		return err
	}
	var req api.ExecStartRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	if err := x.begin(); err != nil {
		return err
	}
	if req.Detach {
		e.spawn(func() { _ = x.run(context.Background(), runtime.IO{}) }) // its exit code tells
		return nil
	}
	in, conn, err := hijack(w, r, mediaType(x.req.Tty))
	if err != nil {
		x.end(126)
		return err
	}
	defer conn.Close()
	ctx, cancel := e.until(context.Background())
	defer cancel()
	s := runtime.IO{TTY: x.req.Tty}
	out, errOut := muxed(conn, x.req.Tty)
	if x.req.AttachStdout {
		s.Stdout = out
	}
	if x.req.AttachStderr {
		s.Stderr = errOut
	}
	if x.req.AttachStdin {
		s.Stdin = in
	}
	if x.req.Tty {
		s.Resize = x.sizes
	}
	if err := x.run(ctx, s); err != nil {
		fmt.Fprintf(errOut, "%s\r\n", err)
	}
	return nil
}

func (x *exec) begin() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.started {
		return conflict("Error: Exec command %s is already running", x.id)
	}
	x.started, x.running = true, true
	return nil
}

// run runs the program; the error is the reason why it was not started.
func (x *exec) run(ctx context.Context, s runtime.IO) error {
	c := x.c
	c.mu.Lock()
	c.running[x.id] = x
	c.mu.Unlock()
	code, err := c.e.runtime.ExecAs(ctx, c.id, runtime.ExecSpec{Cmd: x.req.Cmd, Env: x.req.Env, Dir: x.req.WorkingDir, User: x.req.User}, s)
	c.mu.Lock()
	delete(c.running, x.id)
	c.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		code = 126
		if t := err.Error(); strings.Contains(t, "executable file not found") || strings.Contains(t, "no such file or directory") {
			code = 127
		}
		if _, cause, ok := strings.Cut(err.Error(), "OCI runtime exec failed"); ok {
			err = errors.New("OCI runtime exec failed" + cause)
		}
	} else {
		err = nil
	}
	x.end(code)
	return err
}

func (x *exec) end(code int) {
	x.mu.Lock()
	x.running, x.code = false, &code
	x.mu.Unlock()
	a := x.c.attributes()
	a["execID"], a["exitCode"] = x.id, strconv.Itoa(code)
	x.c.e.event(events.ContainerEventType, events.ActionExecDie, x.c.id, a)
}

func (e *Engine) resizeExec(w http.ResponseWriter, r *http.Request) error {
	x, err := e.exec(r.PathValue("id"))
	if err != nil {
		return err
	}
	z, err := windowSize(r)
	if err != nil {
		return err
	}
	select { // the last one counts
	case <-x.sizes:
	default:
	}
	select {
	case x.sizes <- z:
	default:
	}
	return nil
}

func (e *Engine) inspectExec(w http.ResponseWriter, r *http.Request) error {
	x, err := e.exec(r.PathValue("id"))
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return answer(w, http.StatusOK, api.ExecInspectResponse{ID: x.id, Running: x.running, ExitCode: x.code, ContainerID: x.c.id, OpenStdin: x.req.AttachStdin, OpenStdout: x.req.AttachStdout,
		OpenStderr: x.req.AttachStderr, ProcessConfig: &api.ExecProcessConfig{Tty: x.req.Tty, Entrypoint: x.req.Cmd[0], Arguments: x.req.Cmd[1:], User: x.req.User}})
}
