//go:build wasip1

// Package docker names what the guest program docker is made of, for the tools that look at modules.
//
// The program is upstream's own, github.com/docker/cli/cmd/docker of the release in go.mod: sandbox/guests/toolchain compiles it with
// the few changes that docker.go there lists. No Go file can import a program; what it is linked from are these packages and theirs.
package docker

import (
	_ "github.com/docker/cli/cli-plugins/manager"
	_ "github.com/docker/cli/cli-plugins/socket"
	_ "github.com/docker/cli/cli/command/builder"
	_ "github.com/docker/cli/cli/command/container"
	_ "github.com/docker/cli/cli/command/context"
	_ "github.com/docker/cli/cli/command/image"
	_ "github.com/docker/cli/cli/command/network"
	_ "github.com/docker/cli/cli/command/registry"
	_ "github.com/docker/cli/cli/command/system"
	_ "github.com/docker/cli/cli/command/volume"
)
