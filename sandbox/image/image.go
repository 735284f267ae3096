// Package image is the content store and the images in it: blobs by digest, OCI images (image-spec), their layers unpacked
// into shared read-only trees, the names that registries offer to a lab, and the images that one machine has pulled.
//
// A layer is decompressed and parsed once for the whole process; every lab and every container mounts the same tree. With a cache directory
// the bytes are a mapped file, so that only pages that somebody reads take memory.
//
// What labs write, as uploads to a registry (Scope) or as images that a machine built or pulled (Local), is held by reference: a digest's
// bytes are kept once for the process and charged once to each lab that has it, until its last repository and machine let go.
//
// It knows nothing of containers, processes or Kubernetes. There is no network: what is not in the store does not exist, and
// the error says so.
//
// Lock order: Local.mu → Store.mu → writer.mu → Content.mu. Nothing is decompressed, and no stranger waited for, with a lock held.
package image

import (
	"fmt"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Platform says what an image's programs run on.
type Platform struct{ OS, Architecture, Variant string }

// Wasm is the platform of the machines here.
var Wasm = Platform{OS: "wasi", Architecture: "wasm"}

// String is "os/architecture" with "/variant" if there is one.
func (p Platform) String() string {
	if p.Variant != "" {
		return p.OS + "/" + p.Architecture + "/" + p.Variant
	}
	return p.OS + "/" + p.Architecture
}

// Config is how a container of an image is started (image-spec, "Image Configuration").
type Config struct {
	Entrypoint, Cmd []string
	Env             []string // NAME=value
	User            string   // "", "name", "uid", each with ":group"
	WorkingDir      string   // "" = /
	ExposedPorts    []string // "80/tcp", in order
	Volumes         []string // absolute paths, in order
	StopSignal      string   // "" = SIGTERM
	Labels          map[string]string
}

// Image is one image for one platform. It is immutable and shared.
type Image struct {
	Digest   string // of the manifest, "sha256:…": what a name is resolved to
	ID       string // of the configuration: what `docker images` shows
	Platform Platform
	Config   Config
	Created  time.Time
	Size     int64   // bytes as transferred: configuration and layers
	Layers   []Layer // the lowest first

	content *Content
}

// Layer is one layer of an image.
type Layer struct {
	Digest    string // of the blob as transferred
	DiffID    string // of the uncompressed archive
	Size      int64  // of the blob
	MediaType string
}

// FS is the layers as file systems, the top one first, as vfs.NewOverlay wants them. The first call in a process decompresses.
func (i *Image) FS() ([]vfs.FS, error) {
	fs := make([]vfs.FS, 0, len(i.Layers))
	for k := len(i.Layers) - 1; k >= 0; k-- {
		l, err := i.content.Tree(i.Layers[k])
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Digest, err)
		}
		fs = append(fs, l)
	}
	return fs, nil
}

// parseConfig takes what we use of a configuration blob.
func parseConfig(c *v1.ConfigFile) (Config, Platform) {
	cfg := Config{
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env, User: c.Config.User,
		WorkingDir: c.Config.WorkingDir, StopSignal: c.Config.StopSignal, Labels: c.Config.Labels,
		ExposedPorts: sortedKeys(c.Config.ExposedPorts), Volumes: sortedKeys(c.Config.Volumes),
	}
	return cfg, Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
}
