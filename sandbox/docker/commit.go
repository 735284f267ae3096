package docker

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// postCommit is docker commit: an image of what a container changed, with its configuration and the changes asked for.
func (e *Engine) postCommit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	c, err := e.find(q.Get("container"))
	if err != nil {
		return err
	}
	var names []string
	if repo := q.Get("repo"); repo != "" {
		if tag := q.Get("tag"); tag != "" {
			repo += ":" + tag
		}
		ref, err := image.ParseRef(repo)
		if err != nil || ref.Digest != "" {
			return invalid("invalid reference format")
		}
		names = append(names, ref.String())
	}
	var override *api.Config
	if err := decode(w, r, &override); err != nil {
		return err
	}
	if !q.Has("pause") || flag(r, "pause") { // so that its files do not change meanwhile
		if c.pause() == nil {
			defer c.unpause()
		}
	}
	i, err := e.commit(c, override, q["changes"], ocispec.History{Author: q.Get("author"), Comment: q.Get("comment")}, names)
	if err != nil {
		return err
	}
	a := c.attributes()
	a["imageID"], a["imageRef"] = i.ID, strings.Join(names, ",")
	e.event(events.ContainerEventType, events.ActionCommit, c.id, a)
	return answer(w, http.StatusCreated, api.CommitResponse{ID: i.ID})
}

func (e *Engine) commit(c *container, override *api.Config, changes []string, by ocispec.History, names []string) (*image.Image, error) {
	config, err := e.imageConfig(c.image)
	if err != nil {
		return nil, err
	}
	config.Config = committed(c.config)
	if override != nil {
		for k, v := range override.Labels {
			if config.Config.Labels == nil {
				config.Config.Labels = map[string]string{}
			}
			config.Config.Labels[k] = v
		}
	}
	if err := change(&config, changes); err != nil {
		return nil, err
	}
	lowers, err := c.image.FS()
	if err != nil {
		return nil, failure(500, "%s", err)
	}
	layer, err := e.cfg.Images.WriteLayer(func(w io.Writer) error { return writeLayer(c.upper, lowers, w) })
	if err != nil {
		return nil, failure(500, "write the layer: %s", err)
	}
	defer layer.Release()
	now := e.now().UTC()
	by.Created, by.CreatedBy = &now, c.command()
	config.Created, config.Author = &now, by.Author
	config.RootFS.DiffIDs = append(slices.Clone(config.RootFS.DiffIDs), digest.Digest(layer.DiffID))
	config.History = append(slices.Clone(config.History), by)
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	i, err := e.cfg.Images.Derive(text, append(slices.Clone(c.image.Layers), layer.Layer), names...)
	if err != nil {
		return nil, failure(500, "%s", err)
	}
	return i, nil
}

// committed is what an image keeps of a container's configuration.
func committed(c *api.Config) (out dockerspec.DockerOCIImageConfig) {
	out.User, out.Env, out.Entrypoint, out.Cmd, out.WorkingDir, out.Labels, out.StopSignal = c.User, c.Env, c.Entrypoint, c.Cmd, c.WorkingDir, c.Labels, c.StopSignal
	out.Volumes, out.OnBuild, out.Shell, out.Healthcheck = c.Volumes, c.OnBuild, c.Shell, c.Healthcheck
	for p := range c.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[p.String()] = struct{}{}
	}
	return out
}

// changeable are the instructions that docker commit takes.
var changeable = []string{"cmd", "entrypoint", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir"}

// change applies instructions of a Dockerfile to a configuration (docker commit --change).
func change(config *dockerspec.DockerOCIImage, changes []string) error {
	if len(changes) == 0 {
		return nil
	}
	text := "FROM scratch\n" + strings.Join(changes, "\n")
	if len(text) > maxDockerfile {
		return failure(http.StatusRequestEntityTooLarge, "changes of %d bytes, more than %d", len(text), maxDockerfile)
	}
	res, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return invalid("%s", err)
	}
	stages, _, err := instructions.Parse(res.AST, nil)
	if err != nil {
		return invalid("%s", err)
	}
	b := &building{lex: shell.NewLex(res.EscapeToken), used: map[string]bool{}, dry: true}
	st := &stage{config: *config, args: map[string]string{}}
	for _, s := range stages {
		for _, c := range s.Commands {
			if !slices.Contains(changeable, strings.ToLower(c.Name())) {
				return invalid("%s is not a valid change command", c.Name())
			}
			if err := b.dispatch(st, c); err != nil {
				return err
			}
		}
	}
	*config = st.config
	return nil
}
