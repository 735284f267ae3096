package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	apibuild "github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/jsonstream"
	api "github.com/moby/moby/api/types/registry"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// Bounds of a build.
const (
	maxDockerfile = 256 << 10 // bytes
	maxSteps      = 1000      // instructions of all stages
	maxBuilds     = 4         // at a time, of one host
)

// needsBuildKit is said to what only that builder knows.
const needsBuildKit = "drydock builds as Docker's classic builder does, without BuildKit: build with DOCKER_BUILDKIT=0 and without what only BuildKit knows"

// builder is what builds share: which image came of which by which step, for the cache, and how many builds there are.
type builder struct {
	mu      sync.Mutex
	parents map[string]string // guarded by mu; image id → the id that it was built on, "" = scratch
	steps   map[string]string // guarded by mu; parent and step → image id
	running int               // guarded by mu
}

// buildOptions are the parameters of POST /build.
type buildOptions struct {
	dockerfile, target, platform, network string
	tags                                  []string
	quiet, noCache, pull, keep, forceRm   bool
	args                                  map[string]*string
	labels                                map[string]string
	cacheFrom                             []string
	memory, cpuQuota, cpuPeriod           int64
}

func readBuildOptions(r *http.Request) (o buildOptions, err error) {
	q := r.URL.Query()
	o = buildOptions{dockerfile: cmp.Or(q.Get("dockerfile"), "Dockerfile"), target: q.Get("target"), platform: q.Get("platform"), network: q.Get("networkmode"), tags: q["t"],
		quiet: flag(r, "q"), noCache: flag(r, "nocache"), pull: flag(r, "pull"), keep: q.Has("rm") && !flag(r, "rm"), forceRm: flag(r, "forcerm")}
	switch {
	case q.Get("version") == string(apibuild.BuilderBuildKit):
		return o, failure(http.StatusNotImplemented, needsBuildKit)
	case q.Get("remote") != "":
		return o, failure(http.StatusNotImplemented, "nothing leaves a lab: %q cannot be fetched; get the files here first and build from their folder", q.Get("remote"))
	case flag(r, "squash"):
		return o, unsupported("docker build --squash")
	}
	for name, into := range map[string]any{"buildargs": &o.args, "labels": &o.labels, "cachefrom": &o.cacheFrom} {
		if text := q.Get(name); text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				return o, invalid("invalid %s: %s", name, err)
			}
		}
	}
	for name, into := range map[string]*int64{"memory": &o.memory, "cpuquota": &o.cpuQuota, "cpuperiod": &o.cpuPeriod} {
		if text := q.Get(name); text != "" {
			if *into, err = strconv.ParseInt(text, 10, 64); err != nil {
				return o, invalid("invalid %s: %q is no number", name, text)
			}
		}
	}
	for _, t := range o.tags {
		if ref, err := image.ParseRef(t); err != nil || ref.Digest != "" {
			return o, invalid("invalid reference format")
		}
	}
	return o, nil
}

// postBuild is docker build, classic: the context comes as an archive, the output goes as a stream of JSON messages.
func (e *Engine) postBuild(w http.ResponseWriter, r *http.Request) error {
	o, err := readBuildOptions(r)
	if err != nil {
		return err
	}
	auth, err := registryConfig(r.Header.Get("X-Registry-Config"))
	if err != nil {
		return err
	}
	if !e.builder.begin() {
		return failure(http.StatusTooManyRequests, "this host runs %d builds, the most at a time", maxBuilds)
	}
	defer e.builder.end()
	fs := vfs.NewTmpfs(vfs.TmpfsOptions{Size: e.cfg.DiskSize, Charger: e.cfg.Disk, Inodes: maxEntries, Clock: e.cfg.Machine.Clock().Now, Type: "tmpfs"})
	defer fs.Close()
	b := &building{e: e, opt: o, auth: auth, files: vfs.NewNamespace(fs).View(vfs.Root), lex: shell.NewLex('\\')}
	if err := b.receive(r.Body); err != nil {
		return err
	}
	ctx, cancel := e.until(r.Context())
	defer cancel()
	b.ctx = ctx
	stages, err := b.parse()
	if err != nil {
		return err
	}
	b.out = &progressStream{w: w}
	b.out.begin()
	name := ""
	if len(o.tags) > 0 {
		name = withTag(o.tags[0])
	}
	var done func()
	b.shown, done = e.working("build", name)
	defer done()
	return b.finish(b.build(stages))
}

// registryConfig reads X-Registry-Config: credentials by server.
func registryConfig(header string) (map[string]api.AuthConfig, error) {
	if header == "" {
		return nil, nil
	}
	b, err := decodeHeader(header)
	if err != nil {
		return nil, invalid("invalid X-Registry-Config header: %s", err)
	}
	var m map[string]api.AuthConfig
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, invalid("invalid X-Registry-Config header: it is not JSON")
	}
	return m, nil
}

func (b *builder) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running >= maxBuilds {
		return false
	}
	b.running++
	return true
}

func (b *builder) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
}

// building is one build.
type building struct {
	shown  func(step, of int) // in pictures
	e      *Engine
	ctx    context.Context
	opt    buildOptions
	auth   map[string]api.AuthConfig
	files  *vfs.View // the context
	ignore *patternmatcher.PatternMatcher
	lex    *shell.Lex
	meta   []instructions.ArgCommand // before the first FROM
	out    *progressStream
	quiet  bytes.Buffer // the output that -q shows after a failure only

	stages      []*stage
	used        map[string]bool // build arguments that something declared
	step, total int
	dry         bool // only the configuration is wanted: docker commit --change
}

// receive unpacks the context. What its .dockerignore names is as if it had not come.
func (b *building) receive(body io.Reader) error {
	r := bufio.NewReader(body)
	var plain io.Reader = r
	if head, _ := r.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return invalid("invalid build context: %s", err)
		}
		plain = z
	}
	if err := unpack(b.files, "/", tar.NewReader(plain)); err != nil {
		return invalid("Error processing tar file: %s", err)
	}
	text, err := b.files.ReadFile("/.dockerignore", maxDockerfile)
	if err != nil {
		return nil // there is none
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err == nil {
		b.ignore, err = patternmatcher.New(patterns)
	}
	if err != nil {
		return invalid("Error checking context: %s", err)
	}
	return nil
}

// parse reads the Dockerfile up to the target stage. Its own text may be ignored by .dockerignore all the same.
func (b *building) parse() ([]instructions.Stage, error) {
	name := path.Clean("/" + b.opt.dockerfile)
	st, err := b.files.Stat(nil, name)
	switch {
	case err != nil || st.IsDir():
		return nil, invalid("Cannot locate specified Dockerfile: %s", b.opt.dockerfile)
	case st.Size == 0:
		return nil, invalid("the Dockerfile (%s) cannot be empty", b.opt.dockerfile)
	case st.Size > maxDockerfile:
		return nil, failure(http.StatusRequestEntityTooLarge, "the Dockerfile (%s) has %d bytes, more than %d", b.opt.dockerfile, st.Size, maxDockerfile)
	}
	text, err := b.files.ReadFile(name, maxDockerfile)
	if err != nil {
		return nil, failure(500, "read %s: %s", b.opt.dockerfile, err)
	}
	stages, meta, escape, err := parseDockerfile(text)
	if err != nil {
		return nil, err
	}
	b.meta, b.lex = meta, shell.NewLex(escape)
	if b.opt.target != "" {
		at, ok := instructions.HasStage(stages, b.opt.target)
		if n, err := strconv.Atoi(b.opt.target); !ok && err == nil && n >= 0 && n < len(stages) {
			at, ok = n, true
		}
		if !ok {
			return nil, invalid("failed to reach build target %s in Dockerfile", b.opt.target)
		}
		stages = stages[:at+1]
	}
	last := &stages[len(stages)-1]
	for _, k := range slices.Sorted(maps.Keys(b.opt.labels)) {
		last.AddCommand(instructions.NewLabelCommand(k, b.opt.labels[k], true))
	}
	return stages, nil
}

// parseDockerfile takes a Dockerfile apart. Errors are Docker's, with the line.
func parseDockerfile(text []byte) (stages []instructions.Stage, meta []instructions.ArgCommand, escape rune, err error) {
	res, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, nil, 0, invalid("dockerfile parse error%s: %s", lineOf(err), err)
	}
	if stages, meta, err = instructions.Parse(res.AST, nil); err != nil {
		text := err.Error() // with the line, if the instruction itself is wrong
		if !strings.HasPrefix(text, "dockerfile parse error") {
			text = fmt.Sprintf("dockerfile parse error%s: %s", lineOf(err), err)
		}
		return nil, nil, 0, invalid("%s", text)
	}
	n := len(meta)
	for _, s := range stages {
		n += 1 + len(s.Commands)
	}
	switch {
	case len(stages) == 0:
		return nil, nil, 0, invalid("dockerfile parse error: no build stage in current context")
	case n > maxSteps:
		return nil, nil, 0, invalid("dockerfile parse error: %d instructions, more than %d", n, maxSteps)
	}
	return stages, meta, res.EscapeToken, nil
}

func lineOf(err error) string {
	var at *parser.LocationError
	if errors.As(err, &at) && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		return fmt.Sprintf(" on line %d", at.Locations[0][0].Start.Line)
	}
	return ""
}

// print writes a line or a piece of one to the client.
func (b *building) print(format string, args ...any) {
	_, _ = b.Write(fmt.Appendf(nil, format, args...))
}

// Write implements io.Writer for the output of steps.
func (b *building) Write(p []byte) (int, error) {
	if b.opt.quiet {
		if room := maxQuiet - b.quiet.Len(); room > 0 {
			b.quiet.Write(p[:min(len(p), room)])
		}
		return len(p), nil
	}
	b.out.send(jsonstream.Message{Stream: string(p)})
	return len(p), nil
}

// maxQuiet is how much of the output -q keeps for a failure.
const maxQuiet = 64 << 10

// finish ends the stream.
func (b *building) finish(i *image.Image, err error) error {
	if err != nil {
		if b.quiet.Len() > 0 {
			b.out.send(jsonstream.Message{Stream: b.quiet.String()})
		}
		var step *stepError
		if errors.As(err, &step) {
			b.out.send(jsonstream.Message{Error: &jsonstream.Error{Code: step.code, Message: err.Error()}})
			return nil
		}
		return b.out.failed(err)
	}
	id, err := json.Marshal(apibuild.Result{ID: i.ID})
	if err != nil {
		return err
	}
	b.out.send(jsonstream.Message{Aux: (*json.RawMessage)(&id)})
	b.print("Successfully built %s\n", short(i.ID))
	for _, t := range b.opt.tags {
		if err := b.e.cfg.Images.Tag(i.ID, t); err != nil {
			return b.out.failed(err)
		}
		b.print("Successfully tagged %s\n", withTag(t))
	}
	if b.opt.quiet {
		b.out.send(jsonstream.Message{Stream: i.ID + "\n"})
	}
	return nil
}

// stepError is a RUN that failed.
type stepError struct {
	argv []string
	code int
}

// Error is the classic builder's text.
func (s *stepError) Error() string {
	return fmt.Sprintf("The command '%s' returned a non-zero code: %d", strings.Join(s.argv, " "), s.code)
}

// build runs all stages and gives the last one's image.
func (b *building) build(stages []instructions.Stage) (*image.Image, error) {
	b.total, b.used = len(b.meta), map[string]bool{}
	for _, s := range stages {
		b.total += 1 + len(s.Commands)
	}
	global := b.globals()
	for i := range b.meta {
		b.announce(&b.meta[i])
		if err := b.declareGlobal(&b.meta[i], global); err != nil {
			return nil, err
		}
	}
	for i := range stages {
		if err := b.stage(&stages[i], global); err != nil {
			return nil, err
		}
	}
	var unused []string
	for name := range b.opt.args {
		if !b.used[name] && !slices.Contains(proxyArgs, name) {
			unused = append(unused, name)
		}
	}
	if slices.Sort(unused); len(unused) > 0 {
		b.print("[Warning] One or more build-args %v were not consumed\n", unused)
	}
	last := b.stages[len(b.stages)-1].image
	if last == nil {
		return nil, invalid("No image was generated. Is your Dockerfile empty?")
	}
	return last, nil
}

// announce prints an instruction before it is run.
func (b *building) announce(c any) {
	b.step++
	b.shown(b.step, b.total)
	b.print("Step %d/%d : %s\n", b.step, b.total, c)
}

// stage runs one stage.
func (b *building) stage(s *instructions.Stage, global map[string]string) error {
	b.announce(s.SourceCode)
	st := &stage{name: s.Name, global: global, args: map[string]string{}}
	triggers, err := b.from(st, s)
	if err != nil {
		return err
	}
	b.stages = append(b.stages, st)
	commands := append(triggers, s.Commands...)
	for i, c := range commands {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if i >= len(triggers) {
			b.announce(c)
		} else {
			b.print("Trigger %d, %s\n", i+1, c)
		}
		if err := b.dispatch(st, c); err != nil {
			return err
		}
		b.print(" ---> %s\n", st.id())
	}
	return nil
}
