package main

import (
	"slices"

	"github.com/drydock-labs/drydock/sandbox/image"
	"github.com/drydock-labs/drydock/sandbox/image/catalogue"
)

// profile is /etc/profile: what a login shell sets up.
const profile = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PAGER=less EDITOR=vi LANG=C.UTF-8
umask 022
if [ -n "$BASH_VERSION" ]; then
	if [ "$(id -u)" -eq 0 ]; then
		PS1='\u@\h:\w# '
	else
		PS1='\u@\h:\w\$ '
	fi
fi
`

// machines are the root file systems of the workstation and of the cluster's nodes.
func (p programs) machines() []recipe {
	system := append(p.debian(),
		text("etc/passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nlearner:x:1000:1000:learner:/home/learner:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
		text("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nlearner:x:1000:\nnogroup:x:65534:\n"),
		text("etc/os-release", osRelease("Drydock lab (WebAssembly)", "", "")), text("etc/profile", profile),
		text("etc/issue", "Drydock lab (WebAssembly)\n"),
	)
	home := []image.File{
		{Path: "home/learner", Dir: true, Mode: 0o755, UID: 1000, GID: 1000},
	}
	kubectl := []image.File{program("usr/local/bin/kubectl", p.wasm["kubectl"])}
	docker := []image.File{program("usr/local/bin/docker", p.wasm["docker"])}
	var opt []image.File
	for _, d := range []string{"var/lib/kubelet", "var/lib/containers", "var/log/pods", "opt/cni/bin", "etc/kubernetes"} {
		opt = append(opt, dir(d, 0o755))
	}
	cfg := image.Config{Entrypoint: []string{"/bin/bash", "-l"}, Env: []string{searchPath, "LANG=C.UTF-8"}, Labels: map[string]string{"org.opencontainers.image.vendor": "Drydock"}}
	needs := []string{"coreutils", "shell", "kubectl"}
	return []recipe{
		{scope: catalogue.MachineScope, needs: append(slices.Clip(needs), "docker"), Recipe: image.Recipe{Names: []string{catalogue.Workstation}, Created: released, Config: cfg, Layers: [][]image.File{p.base(), kubectl, docker, slices.Concat(system, home)}}},
		{scope: catalogue.MachineScope, needs: needs, Recipe: image.Recipe{Names: []string{catalogue.Node}, Created: released, Config: cfg, Layers: [][]image.File{p.base(), kubectl, slices.Concat(system, opt)}}},
	}
}
