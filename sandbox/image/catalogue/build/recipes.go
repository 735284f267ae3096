package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// released is the time that images and their files carry.
var released = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// programs are the guest programs by name, and the utilities that coreutils answers to.
type programs struct {
	wasm    map[string][]byte
	applets []string
	elf     []byte // hello-amd64
}

// recipe is an image of the catalogue with the guests that it needs.
type recipe struct {
	image.Recipe
	scope string
	needs []string
}

func text(path, body string) image.File { return image.File{Path: path, Data: []byte(body)} }

func program(path string, data []byte) image.File {
	return image.File{Path: path, Mode: 0o755, Data: data}
}

func dir(path string, mode uint32) image.File { return image.File{Path: path, Dir: true, Mode: mode} }

// labels badge an image.
func labels(of, version string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       of,
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.vendor":      "Drydock",
		"org.opencontainers.image.description": fmt.Sprintf("A WebAssembly substitute for learning: compatible with %s, not made by its authors.", of),
		"io.drydock.substitute-for":            of,
	}
}

// osRelease is /etc/os-release (os-release(5)).
func osRelease(pretty, of, version string) string {
	s := fmt.Sprintf("NAME=\"Drydock lab (WebAssembly)\"\nID=drydock\nPRETTY_NAME=%q\nHOME_URL=\"https://github.com/drydock-labs/drydock\"\n", pretty)
	if of != "" {
		s += fmt.Sprintf("ID_LIKE=%s\nVERSION_ID=%s\nDRYDOCK_SUBSTITUTE_FOR=%q\n", of, version, of+" "+version+": compatible with, not made by")
	}
	return s
}

// base is the layer that all images with a shell share: the utilities under their names, sh, the usual directories.
func (p programs) base() []image.File {
	l := []image.File{
		program("bin/coreutils", p.wasm["coreutils"]), {Path: "bin/busybox", Hardlink: "bin/coreutils"}, {Path: "usr/bin/env", Hardlink: "bin/coreutils"},
		program("bin/sh", p.wasm["shell"]),
		dir("root", 0o700), dir("tmp", 0o1777), dir("var/tmp", 0o1777), dir("home", 0o755), dir("proc", 0o555), dir("sys", 0o555), dir("dev", 0o755), dir("etc", 0o755),
		dir("mnt", 0o755), dir("run", 0o755), dir("sbin", 0o755), dir("usr/local/bin", 0o755), dir("usr/local/sbin", 0o755), dir("usr/sbin", 0o755), dir("var/log", 0o755),
		{Path: "var/run", Symlink: "../run"},
		text("etc/group", "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\ntty:x:5:\nwww-data:x:82:\nusers:x:100:\nnogroup:x:65534:\n"),
		text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\nwww-data:x:82:82:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
		text("etc/shells", "/bin/sh\n"), text("etc/hostname", "localhost\n"), text("etc/nsswitch.conf", "hosts: files dns\n"),
		text("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"), text("etc/resolv.conf", ""),
	}
	if p.wasm["vi"] != nil { // -partial builds do without
		l = append(l, program("usr/bin/vi", p.wasm["vi"]))
	}
	for _, a := range p.applets {
		switch a {
		case "curl", "env", "sh", "busybox", "coreutils": // curl is an image of its own, the others are there
			continue
		}
		l = append(l, image.File{Path: "bin/" + a, Hardlink: "bin/coreutils"})
	}
	return l
}

// debian is what Debian-like images add to the base: bash, and the utilities in /usr/bin as well.
func (p programs) debian() []image.File {
	l := []image.File{{Path: "bin/bash", Symlink: "sh"}, {Path: "usr/bin/bash", Symlink: "../../bin/sh"}, {Path: "usr/bin/sh", Symlink: "../../bin/sh"}, text("etc/shells", "/bin/sh\n/bin/bash\n")}
	for _, a := range p.applets {
		if a != "env" { // the base has it
			l = append(l, image.File{Path: "usr/bin/" + a, Symlink: "../../bin/coreutils"})
		}
	}
	return l
}

// recipes is the whole catalogue.
func (p programs) recipes() []recipe {
	rs := []recipe{
		p.nginx("1.28", "1.28.0", "nginx:1.28", "nginx:1.28.0", "nginx:1.28-alpine"),
		p.nginx("1.29", "1.29.3", "nginx:1.29", "nginx:1.29.3", "nginx:1.29-alpine", "nginx:latest", "nginx:alpine"),
		p.shellImage("busybox", "1.37", []string{"sh"}, "busybox:1.37", "busybox:latest"),
		p.shellImage("alpine", "3.22", []string{"/bin/sh"}, "alpine:3.22", "alpine:latest"),
		p.curl(),
		p.single("hello-world", "linux", "hello", "hello", image.Config{Cmd: []string{"/hello"}}, "hello-world:linux", "hello-world:latest"),
		p.single("pause", "3.10", "pause", "pause", image.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:latest"),
		p.single("hog", "1.0", "hog", "hog", image.Config{Entrypoint: []string{"/hog"}}, "drydock/hog:1.0", "drydock/hog:latest"),
		p.single("crash", "1.0", "crash", "crash", image.Config{Entrypoint: []string{"/crash"}}, "drydock/crash:1.0", "drydock/crash:latest"),
		{Recipe: image.Recipe{Names: []string{"drydock/hello-amd64:1.0", "drydock/hello-amd64:latest"}, Platform: image.Platform{OS: "linux", Architecture: "amd64"}, Created: released,
			Config: image.Config{Cmd: []string{"/hello"}, Env: []string{searchPath}, Labels: map[string]string{"org.opencontainers.image.vendor": "Drydock",
				"org.opencontainers.image.description": "An ordinary linux/amd64 program, which the machines of a lab cannot run."}},
			Layers: [][]image.File{{program("hello", p.elf)}}}},
	}
	return append(rs, p.machines()...)
}

// single is an image of one program, as those made FROM scratch.
func (p programs) single(of, version, guest, path string, cfg image.Config, names ...string) recipe {
	cfg.Env, cfg.Labels = []string{searchPath}, labels(of, version)
	if strings.HasPrefix(names[0], "drydock/") {
		cfg.Labels = map[string]string{"org.opencontainers.image.vendor": "Drydock", "org.opencontainers.image.version": version, "org.opencontainers.image.title": of}
	}
	return recipe{needs: []string{guest}, Recipe: image.Recipe{Names: names, Created: released, Config: cfg, Layers: [][]image.File{{program(path, p.wasm[guest])}}}}
}

func (p programs) shellImage(of, version string, cmd []string, names ...string) recipe {
	pretty := fmt.Sprintf("Drydock substitute for %s %s (WebAssembly)", of, version)
	etc := []image.File{text("etc/os-release", osRelease(pretty, of, version))}
	if of == "alpine" {
		etc = append(etc, text("etc/alpine-release", version+".0\n"), text("etc/profile", profile))
	}
	return recipe{needs: []string{"coreutils", "shell"}, Recipe: image.Recipe{Names: names, Created: released,
		Config: image.Config{Cmd: cmd, Env: []string{searchPath}, Labels: labels(of, version)}, Layers: [][]image.File{p.base(), etc}}}
}

// curlEntrypoint lets `docker run curlimages/curl -s URL` and `docker run curlimages/curl sh` both work.
const curlEntrypoint = `#!/bin/sh
# Options and addresses go to curl; anything that is a command is run as it is.
case "$1" in
-* | "") set -- curl "$@" ;;
*) command -v "$1" >/dev/null 2>&1 || set -- curl "$@" ;;
esac
exec "$@"
`

func (p programs) curl() recipe {
	const version = "8.17.0"
	add := []image.File{
		{Path: "usr/bin/curl", Symlink: "../../bin/coreutils"}, program("entrypoint.sh", []byte(curlEntrypoint)),
		text("etc/os-release", osRelease("Drydock substitute for curlimages/curl "+version+" (WebAssembly)", "alpine", "3.22")),
		text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ncurl_user:x:100:101::/home/curl_user:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
		text("etc/group", "root:x:0:\ncurl_group:x:101:curl_user\nusers:x:100:\nnogroup:x:65534:\n"),
		{Path: "home/curl_user", Dir: true, Mode: 0o755, UID: 100, GID: 101},
	}
	return recipe{needs: []string{"coreutils", "shell"}, Recipe: image.Recipe{Names: []string{"curlimages/curl:" + version, "curlimages/curl:latest"}, Created: released,
		Config: image.Config{Entrypoint: []string{"/entrypoint.sh"}, Cmd: []string{"curl"}, User: "curl_user", WorkingDir: "/home/curl_user", Env: []string{searchPath}, Labels: labels("curlimages/curl", version)},
		Layers: [][]image.File{p.base(), add}}}
}
