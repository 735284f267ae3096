package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// proxyArgs are build arguments that need no ARG and are no part of the cache's keys ("Predefined ARGs").
var proxyArgs = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}

// stage is a FROM and what follows.
type stage struct {
	name   string
	image  *image.Image              // so far; nil = scratch
	config dockerspec.DockerOCIImage // so far
	global map[string]string         // arguments from before the first FROM, immutable
	args   map[string]string         // declared ones with a value
	cmdSet bool                      // by this stage: an ENTRYPOINT does not drop it
	fresh  bool                      // a step was not in the cache: those after it cannot be
}

func (s *stage) id() string {
	if s.image == nil {
		return ""
	}
	return short(s.image.ID)
}

// parent is the id that the next step builds on.
func (s *stage) parent() string {
	if s.image == nil {
		return ""
	}
	return s.image.ID
}

func (s *stage) layers() []image.Layer {
	if s.image == nil {
		return nil
	}
	return s.image.Layers
}

// environment is what instructions see: ENV wins over ARG.
func (s *stage) environment() shell.EnvGetter {
	env := s.declared()
	return shell.EnvsFromSlice(append(env, s.config.Config.Env...))
}

// declared is NAME=value of the arguments that no ENV hides, in order.
func (s *stage) declared() (env []string) {
	for _, name := range slices.Sorted(maps.Keys(s.args)) {
		if !slices.ContainsFunc(s.config.Config.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			env = append(env, name+"="+s.args[name])
		}
	}
	return env
}

// globals are the arguments that FROM sees without an ARG.
func (b *building) globals() map[string]string {
	p := image.Wasm
	return map[string]string{"BUILDPLATFORM": p.String(), "BUILDOS": p.OS, "BUILDARCH": p.Architecture, "TARGETPLATFORM": p.String(), "TARGETOS": p.OS, "TARGETARCH": p.Architecture}
}

// declareGlobal is an ARG before the first FROM.
func (b *building) declareGlobal(c *instructions.ArgCommand, global map[string]string) error {
	if err := c.Expand(b.expander(shell.EnvsFromSlice(pairs(global)))); err != nil {
		return invalid("%s", err)
	}
	for _, a := range c.Args {
		b.used[a.Key] = true
		if v := b.opt.args[a.Key]; v != nil {
			global[a.Key] = *v
		} else if a.Value != nil {
			global[a.Key] = *a.Value
		}
	}
	return nil
}

func pairs(m map[string]string) (l []string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		l = append(l, k+"="+m[k])
	}
	return l
}

func (b *building) expander(env shell.EnvGetter) instructions.SingleWordExpander {
	return func(word string) (string, error) {
		out, _, err := b.lex.ProcessWord(word, env)
		return out, err
	}
}

// from begins a stage with an earlier one's image, one that the host has or pulls, or nothing. It gives the base's ONBUILD instructions.
func (b *building) from(st *stage, s *instructions.Stage) ([]instructions.Command, error) {
	expand := b.expander(shell.EnvsFromSlice(pairs(st.global)))
	name, err := expand(s.BaseName)
	if err == nil && name == "" {
		err = fmt.Errorf("base name (%s) should not be blank", s.BaseName)
	}
	if err != nil {
		return nil, invalid("%s", err)
	}
	platform, err := expand(s.Platform)
	if err != nil {
		return nil, invalid("%s", err)
	}
	if platform == "" {
		platform = b.opt.platform
	}
	if err := b.base(st, name, platform); err != nil {
		return nil, err
	}
	b.print(" ---> %s\n", st.id())
	triggers := st.config.Config.OnBuild
	st.config.Config.OnBuild = nil
	if len(triggers) > 0 {
		b.print("# Executing %d build triggers\n", len(triggers))
	}
	var l []instructions.Command
	for _, t := range triggers {
		parsed, _, _, err := parseDockerfile([]byte("FROM scratch\n" + t))
		if err != nil {
			return nil, err
		}
		l = append(l, parsed[0].Commands...)
	}
	return l, nil
}

func (b *building) base(st *stage, name, platform string) (err error) {
	switch i := b.earlier(name); {
	case i != nil:
		st.image = i.image
	case name == "scratch":
		st.config = dockerspec.DockerOCIImage{Image: ocispec.Image{Platform: ocispec.Platform{OS: image.Wasm.OS, Architecture: image.Wasm.Architecture}, RootFS: ocispec.RootFS{Type: "layers"}}}
		return nil
	default:
		if st.image, err = b.fetch(name); err != nil {
			return err
		}
	}
	if st.image == nil {
		return invalid("stage %s has no image", name)
	}
	if platform != "" && st.image.Platform.String() != platform {
		return notFound("image with reference %s was found but its platform (%s) does not match the specified platform (%s)", name, st.image.Platform, platform)
	}
	st.config, err = b.e.imageConfig(st.image)
	return err
}

// earlier is a stage of this build by name or number, nil when there is none.
func (b *building) earlier(name string) *stage {
	for _, s := range b.stages {
		if strings.EqualFold(s.name, name) && name != "" {
			return s
		}
	}
	return nil
}

// fetch is an image that the host has, or pulls.
func (b *building) fetch(name string) (*image.Image, error) {
	if i, err := b.e.cfg.Images.Find(name); err == nil && !b.opt.pull {
		return i, nil
	}
	ref, err := image.ParseRef(name)
	if err != nil {
		return nil, invalid("invalid reference format")
	}
	if err := b.e.admitted(ref, b.auth[authKey(ref.Domain)]); err != nil {
		return nil, err
	}
	if !b.opt.quiet {
		b.out.send(jsonstream.Message{ID: ref.Tag, Status: "Pulling from " + ref.Path})
	}
	i, err := b.e.cfg.Images.Pull(b.ctx, name, func(p image.Progress) {
		if !b.opt.quiet {
			b.out.send(jsonstream.Message{ID: short(p.Digest), Status: string(p.State)})
		}
	})
	if err != nil {
		return nil, pullFailure(err)
	}
	if !b.opt.quiet {
		b.out.send(jsonstream.Message{Status: "Digest: " + i.Digest})
		b.out.send(jsonstream.Message{Status: "Status: Downloaded newer image for " + ref.Familiar()})
	}
	return i, nil
}

// authKey is a registry's name in the client's configuration.
func authKey(host string) string {
	if host == "docker.io" {
		return hubServer
	}
	return host
}

// imageConfig is an image's whole configuration.
func (e *Engine) imageConfig(i *image.Image) (c dockerspec.DockerOCIImage, err error) {
	text, err := e.cfg.Images.Configuration(i)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, failure(500, "configuration of image %s: %s", i.ID, err)
	}
	return c, nil
}

// nop is how the history tells of an instruction that runs nothing.
func nop(text string) string { return "/bin/sh -c #(nop) " + text }

// dispatch runs one instruction.
func (b *building) dispatch(st *stage, c instructions.Command) error {
	if x, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		if err := x.Expand(b.expander(st.environment())); err != nil {
			return invalid("failed to process %q: %s", fmt.Sprint(c), err)
		}
	}
	cfg := &st.config.Config
	switch c := c.(type) {
	case *instructions.RunCommand:
		return b.run(st, c)
	case *instructions.CopyCommand:
		return b.copy(st, copying{verb: "COPY", SourcesAndDest: c.SourcesAndDest, from: c.From, chown: c.Chown, chmod: c.Chmod, odd: c.Link || c.Parents || len(c.ExcludePatterns) > 0})
	case *instructions.AddCommand:
		return b.copy(st, copying{verb: "ADD", SourcesAndDest: c.SourcesAndDest, chown: c.Chown, chmod: c.Chmod, odd: c.Link || c.Checksum != "" || c.KeepGitDir != nil || c.Unpack != nil || len(c.ExcludePatterns) > 0})
	case *instructions.ArgCommand:
		return b.arg(st, c)
	case *instructions.WorkdirCommand:
		return b.workdir(st, c.Path)
	case *instructions.ExposeCommand:
		return b.expose(st, c)
	case *instructions.EnvCommand:
		text := "ENV"
		for _, kv := range c.Env {
			cfg.Env = append(slices.DeleteFunc(slices.Clone(cfg.Env), func(e string) bool { return strings.HasPrefix(e, kv.Key+"=") }), kv.String())
			text += " " + kv.String()
		}
		return b.note(st, text)
	case *instructions.LabelCommand:
		text := "LABEL"
		cfg.Labels = maps.Clone(cfg.Labels)
		for _, kv := range c.Labels {
			if cfg.Labels == nil {
				cfg.Labels = map[string]string{}
			}
			cfg.Labels[kv.Key] = kv.Value
			text += " " + kv.String()
		}
		return b.note(st, text)
	}
	return b.setting(st, c)
}

// setting is an instruction that sets one thing of the configuration.
func (b *building) setting(st *stage, c instructions.Command) error {
	cfg := &st.config.Config
	switch c := c.(type) {
	case *instructions.CmdCommand:
		cfg.Cmd, st.cmdSet = st.argv(c.ShellDependantCmdLine), true
		return b.note(st, fmt.Sprintf("CMD %q", cfg.Cmd))
	case *instructions.EntrypointCommand:
		cfg.Entrypoint = st.argv(c.ShellDependantCmdLine)
		if !st.cmdSet {
			cfg.Cmd = nil
		}
		return b.note(st, fmt.Sprintf("ENTRYPOINT %q", cfg.Entrypoint))
	case *instructions.UserCommand:
		cfg.User = c.User
		return b.note(st, "USER "+c.User)
	case *instructions.VolumeCommand:
		cfg.Volumes = maps.Clone(cfg.Volumes)
		for _, v := range c.Volumes {
			if v == "" {
				return invalid("VOLUME specified can not be an empty string")
			}
			if cfg.Volumes == nil {
				cfg.Volumes = map[string]struct{}{}
			}
			cfg.Volumes[v] = struct{}{}
		}
		return b.note(st, fmt.Sprintf("VOLUME %v", c.Volumes))
	case *instructions.StopSignalCommand:
		if !runtime.ValidSignal(c.Signal) {
			return invalid("invalid signal: %s", c.Signal)
		}
		cfg.StopSignal = c.Signal
		return b.note(st, "STOPSIGNAL "+c.Signal)
	case *instructions.HealthCheckCommand:
		cfg.Healthcheck = c.Health
		return b.note(st, fmt.Sprintf("HEALTHCHECK %+v", *c.Health))
	case *instructions.ShellCommand:
		cfg.Shell = c.Shell
		return b.note(st, fmt.Sprintf("SHELL %v", c.Shell))
	case *instructions.OnbuildCommand:
		cfg.OnBuild = append(slices.Clone(cfg.OnBuild), c.Expression)
		return b.note(st, "ONBUILD "+c.Expression)
	case *instructions.MaintainerCommand:
		st.config.Author = c.Maintainer
		return b.note(st, "MAINTAINER "+c.Maintainer)
	}
	return failure(http.StatusNotImplemented, "%s: %s", strings.ToUpper(c.Name()), needsBuildKit)
}

// argv is a command in exec form; in shell form, given to the stage's shell.
func (s *stage) argv(c instructions.ShellDependantCmdLine) []string {
	if !c.PrependShell {
		return c.CmdLine
	}
	sh := s.config.Config.Shell
	if len(sh) == 0 {
		sh = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(sh), c.CmdLine...)
}

func (b *building) arg(st *stage, c *instructions.ArgCommand) error {
	text := "ARG"
	for _, a := range c.Args {
		b.used[a.Key] = true
		global, isGlobal := st.global[a.Key]
		switch given := b.opt.args[a.Key]; {
		case given != nil:
			st.args[a.Key] = *given
		case a.Value != nil:
			st.args[a.Key] = *a.Value
		case isGlobal:
			st.args[a.Key] = global
		}
		text += " " + a.Key
		if a.Value != nil {
			text += "=" + *a.Value
		}
	}
	return b.note(st, text)
}

// maxExposed bounds the ports of an image: a range names thousands.
const maxExposed = 1024

func (b *building) expose(st *stage, c *instructions.ExposeCommand) error {
	cfg := &st.config.Config
	ports := maps.Clone(cfg.ExposedPorts)
	if ports == nil {
		ports = map[string]struct{}{}
	}
	for _, text := range c.Ports {
		words, err := b.lex.ProcessWords(text, st.environment())
		if err != nil {
			return invalid("%s", err)
		}
		for _, w := range words {
			r, err := network.ParsePortRange(w)
			if err != nil {
				return invalid("invalid containerPort: %s", w)
			}
			for p := range r.All() {
				if ports[p.String()] = struct{}{}; len(ports) > maxExposed {
					return invalid("EXPOSE of more than %d ports", maxExposed)
				}
			}
		}
	}
	cfg.ExposedPorts = ports
	return b.note(st, "EXPOSE "+strings.Join(c.Ports, " "))
}

// workdir makes the directory if it is missing, as the classic builder's container does.
func (b *building) workdir(st *stage, dir string) error {
	if dir == "" {
		return invalid("cannot normalize nothing")
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", st.config.Config.WorkingDir, dir)
	}
	dir = path.Clean(dir)
	st.config.Config.WorkingDir = dir
	text := "WORKDIR " + dir
	return b.commit(st, text, nop(text), func() (*image.NewLayer, error) {
		v, upper, err := b.root(st)
		if err != nil {
			return nil, err
		}
		defer upper.Close()
		if _, err := v.Stat(nil, dir); err == nil {
			return nil, nil
		}
		if err := v.MkdirAll(dir, 0o755); err != nil {
			return nil, failure(500, "mkdir %s: %s", dir, err)
		}
		return b.layer(st, upper)
	})
}

// note commits a change of the configuration alone.
func (b *building) note(st *stage, text string) error {
	return b.commit(st, text, nop(" "+text), func() (*image.NewLayer, error) { return nil, nil })
}

// commit makes the image of a step, or takes it from the cache. key tells the step from others on the same image; layer makes its files, nil when it has none.
func (b *building) commit(st *stage, key, createdBy string, layer func() (*image.NewLayer, error)) error {
	if b.dry {
		return nil
	}
	key = st.parent() + "\x00" + key
	if i := b.cached(st, key); i != nil {
		b.print(" ---> Using cache\n")
		config, err := b.e.imageConfig(i)
		st.image, st.config = i, config
		return err
	}
	st.fresh = true
	n, err := layer()
	if err != nil {
		return err
	}
	now := b.e.now().UTC()
	layers := slices.Clone(st.layers())
	st.config.Created = &now
	st.config.RootFS.DiffIDs = slices.Clone(st.config.RootFS.DiffIDs)
	if n != nil {
		defer n.Release()
		layers = append(layers, n.Layer)
		st.config.RootFS.DiffIDs = append(st.config.RootFS.DiffIDs, digest.Digest(n.DiffID))
	}
	st.config.History = append(slices.Clone(st.config.History), ocispec.History{Created: &now, CreatedBy: createdBy, EmptyLayer: n == nil})
	text, err := json.Marshal(st.config)
	if err != nil {
		return err
	}
	i, err := b.e.cfg.Images.Derive(text, layers)
	if err != nil {
		return failure(500, "%s", err)
	}
	b.e.builder.remember(st.parent(), key, i.ID)
	st.image = i
	return nil
}

// cached is the image that a step gave before, nil when it must be run.
func (b *building) cached(st *stage, key string) *image.Image {
	if b.opt.noCache || st.fresh {
		return nil
	}
	x := &b.e.builder
	x.mu.Lock()
	id := x.steps[key]
	x.mu.Unlock()
	if id == "" || len(b.opt.cacheFrom) > 0 && !b.mayUse(id) {
		return nil
	}
	i, err := b.e.cfg.Images.Find(id)
	if err != nil { // it was removed
		x.forget(id)
		return nil
	}
	return i
}

// mayUse tells whether an image is one of those that --cache-from names, or one that they were built on.
func (b *building) mayUse(id string) bool {
	x := &b.e.builder
	for _, name := range b.opt.cacheFrom {
		i, err := b.e.cfg.Images.Find(name)
		if err != nil {
			continue
		}
		x.mu.Lock()
		at := i.ID
		for at != "" && at != id {
			at = x.parents[at]
		}
		x.mu.Unlock()
		if at == id {
			return true
		}
	}
	return false
}

func (b *builder) remember(parent, key, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parents == nil {
		b.parents, b.steps = map[string]string{}, map[string]string{}
	}
	b.parents[id], b.steps[key] = parent, id
}

// forget drops an image that is gone.
func (b *builder) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.parents, id)
	for k, v := range b.steps {
		if v == id {
			delete(b.steps, k)
		}
	}
}

// parentOf is the image that another was built on here, "" when it was not.
func (b *builder) parentOf(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.parents[id]
}

// hasChildren tells whether an image that is here was built on another.
func (b *builder) hasChildren(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.parents {
		if p == id {
			return true
		}
	}
	return false
}

// run runs a command in a container of the image so far and makes a layer of what it changed.
func (b *building) run(st *stage, c *instructions.RunCommand) error {
	if len(c.FlagsUsed) > 0 {
		return failure(http.StatusNotImplemented, "the --%s option requires BuildKit: %s", c.FlagsUsed[0], needsBuildKit)
	}
	if len(c.Files) > 0 {
		return failure(http.StatusNotImplemented, "here-documents require BuildKit: %s", needsBuildKit)
	}
	argv := st.argv(c.ShellDependantCmdLine)
	args := st.declared()
	by := strings.Join(argv, " ")
	if len(args) > 0 {
		by = "|" + strconv.Itoa(len(args)) + " " + strings.Join(args, " ") + " " + by
	}
	key, err := json.Marshal([][]string{argv, args})
	if err != nil {
		return err
	}
	return b.commit(st, "RUN "+string(key), by, func() (*image.NewLayer, error) { return b.execute(st, argv, args) })
}

func (b *building) execute(st *stage, argv, args []string) (_ *image.NewLayer, err error) {
	if st.image == nil {
		return nil, failure(500, "unable to start container process: exec: %q: no such file or directory: the stage is empty (FROM scratch)", argv[0])
	}
	for _, name := range proxyArgs {
		if v := b.opt.args[name]; v != nil {
			args = append(args, name+"="+*v)
		}
	}
	host := &api.HostConfig{NetworkMode: api.NetworkMode(b.opt.network), Resources: api.Resources{Memory: b.opt.memory, CPUQuota: b.opt.cpuQuota, CPUPeriod: b.opt.cpuPeriod}}
	none := &api.HealthConfig{Test: []string{"NONE"}}
	c, _, err := b.e.create("", &api.CreateRequest{Config: &api.Config{Image: st.image.ID, Cmd: argv, Entrypoint: []string{}, Env: args, Healthcheck: none}, HostConfig: host})
	if err != nil {
		return nil, err
	}
	b.print(" ---> Running in %s\n", short(c.id))
	defer func() {
		if err != nil && !b.opt.forceRm && b.ctx.Err() == nil || b.opt.keep && err == nil {
			return // docker build leaves the container of a failed step to look into
		}
		if rmErr := c.remove(true, true); rmErr == nil && err == nil {
			b.print(" ---> Removed intermediate container %s\n", short(c.id))
		}
	}()
	code, err := b.await(c)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, &stepError{argv, code}
	}
	return b.layer(st, c.upper)
}

// await starts a container, shows its output and gives its exit code.
func (b *building) await(c *container) (int, error) {
	place := c.enlist()
	defer place.leave()
	ended, cancel := c.wait(api.WaitConditionNextExit)
	defer cancel()
	if _, err := c.start(b.ctx); err != nil {
		return 0, err
	}
	a, err := place.wait(b.ctx)
	if err != nil {
		return 0, err
	}
	if err := a.Run(b.ctx, runtime.IO{Stdout: b, Stderr: b}); err != nil {
		return 0, err
	}
	select {
	case res := <-ended:
		return int(res.StatusCode), nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}
