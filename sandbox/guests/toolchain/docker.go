package main

// What is built differently for docker alone.

// The release, by its tag, and the time of that.
var dockerLDFlags = stamp(map[string]string{"Version": "29.7.2+drydock", "GitCommit": "v29.7.2", "BuildTime": "2026-08-05T17:34:15Z"},
	"github.com/docker/cli/cli/version")

// dockerPatches leave out what a lab's Docker host has not: Swarm, plugins, BuildKit, collectors of telemetry.
// The rest are places where a module knows only systems by name.
var dockerPatches = []patch{
	{module: "github.com/docker/cli", sources: []source{
		{path: "cli/command/commands/commands.go", edits: leaveOut("checkpoint", "config", "manifest", "node", "plugin", "secret", "service", "stack", "swarm")},
		{path: "cli/command/telemetry_docker.go", drop: true},
		// The classic builder is the one there is: it is used without a warning, and what asks for BuildKit is told so.
		{path: "cmd/docker/builder.go", edits: []edit{
			{old: "future release.\n            BuildKit is currently disabled; enable it by removing the DOCKER_BUILDKIT=0\n            environment-variable.`", new: "future release.`"},
			{old: "\t\t_, _ = fmt.Fprintf(dockerCli.Err(), \"%s\\n\\n\", newBuilderError(buildxMissingWarning, perr))\n"},
			{old: "\tbuildxMissingWarning = `DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n            Install the buildx component to build images with BuildKit:\n            https://docs.docker.com/go/buildx/`\n"},
			{old: "       Install the buildx component to build images with BuildKit:\n       https://docs.docker.com/go/buildx/`", new: "       This lab builds images with the legacy builder: unset DOCKER_BUILDKIT to use it.`"},
			{old: "       Install the buildx component to use bake:\n       https://docs.docker.com/go/buildx/`", new: "       This lab has no buildx: build the images one by one with docker build.`"},
		}},
	}},
	// Its counters would bring Prometheus and protocol buffers, an eighth of the program.
	{module: "github.com/docker/distribution", sources: []source{
		{path: "registry/storage/cache/cachedblobdescriptorstore.go", edits: []edit{
			{old: "\tprometheus \"github.com/docker/distribution/metrics\"\n"},
			{old: "var (\n\t// cacheCount is the number of total cache request received/hits/misses\n\tcacheCount = prometheus.StorageNamespace.NewLabeledCounter(\"cache\", \"The number of cache request received\", \"type\")\n)\n"},
			{old: "\tcacheCount.WithValues(\"Request\").Inc(1)\n"},
			{old: "\tcacheCount.WithValues(\"Hit\").Inc(1)\n"},
			{old: "\tcacheCount.WithValues(\"Miss\").Inc(1)\n"},
		}},
	}},
	// Sockets are dialled, not listened on.
	{module: "github.com/docker/go-connections", sources: []source{
		{path: "sockets/sockets.go", edits: []edit{{old: "\t\"syscall\"\n"}, {old: "len(syscall.RawSockaddrUnix{}.Path)", new: "108"}}},
		{path: "sockets/unix_socket.go", drop: true},
		{path: "sockets/unix_socket_unix.go", drop: true},
		{path: "sockets/unix_socket_nolinux.go", drop: true},
	}},
	{module: "github.com/moby/sys/signal", sources: []source{
		{path: "signal.go", edits: []edit{{old: "return -1, ", new: "return 0, ", n: 2}}},
		{path: "signal_unsupported.go", edits: []edit{tag("!linux && !darwin && !freebsd && !windows", "!linux && !darwin && !freebsd && !windows && !wasip1"),
			{old: "// +build !linux,!darwin,!freebsd,!windows\n"}}},
		{path: "signal_wasip1.go", from: "signal_linux.go"},
	}},
	{module: "github.com/moby/sys/user", sources: []source{
		{path: "lookup_unix.go", edits: []edit{tag("darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris",
			"darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris || wasip1")}},
	}},
}

// leaveOut removes the imports that register commands.
func leaveOut(commands ...string) (es []edit) {
	for _, c := range commands {
		es = append(es, edit{old: "\t_ \"github.com/docker/cli/cli/command/" + c + "\"\n"})
	}
	return es
}
