package main

import (
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/archive"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/awk"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/files"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/network"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/proc"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/sed"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/system"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/text"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/web"
)

// table lists the utilities by name. An image links each to the one program.
var table = [...]struct {
	name string
	main applet.Main
}{
	{"[", system.Test},
	{"arch", system.Arch},
	{"awk", awk.Main},
	{"base64", text.Base64},
	{"basename", files.Basename},
	{"cat", text.Cat},
	{"chgrp", files.Chown},
	{"chmod", files.Chmod},
	{"chown", files.Chown},
	{"clear", system.Clear},
	{"cmp", text.Cmp},
	{"comm", text.Comm},
	{"cp", files.Copy},
	{"curl", web.Curl},
	{"cut", text.Cut},
	{"date", system.Date},
	{"df", files.Df},
	{"diff", text.Diff},
	{"dir", files.List},
	{"dirname", files.Dirname},
	{"dmesg", system.Dmesg},
	{"du", files.Du},
	{"echo", text.Echo},
	{"egrep", text.Grep},
	{"env", system.Env},
	{"expr", system.Expr},
	{"false", system.False},
	{"fgrep", text.Grep},
	{"find", files.Find},
	{"fold", text.Fold},
	{"free", proc.Free},
	{"grep", text.Grep},
	{"groups", system.Groups},
	{"gunzip", archive.Gzip},
	{"gzip", archive.Gzip},
	{"halt", system.Power},
	{"hd", text.Hexdump},
	{"head", text.Head},
	{"hexdump", text.Hexdump},
	{"hostname", system.Hostname},
	{"id", system.Id},
	{"kill", proc.Kill},
	{"killall", proc.Pgrep},
	{"ln", files.Link},
	{"ls", files.List},
	{"md5sum", text.Sum},
	{"mkdir", files.Mkdir},
	{"mktemp", system.Mktemp},
	{"mount", files.Mount},
	{"mv", files.Move},
	{"nc", network.Nc},
	{"nice", system.Nice},
	{"nl", text.Nl},
	{"nohup", system.Nohup},
	{"nproc", system.Nproc},
	{"nslookup", network.Nslookup},
	{"od", text.Od},
	{"paste", text.Paste},
	{"pgrep", proc.Pgrep},
	{"pidof", proc.Pgrep},
	{"pkill", proc.Pgrep},
	{"poweroff", system.Power},
	{"printenv", system.Printenv},
	{"printf", text.Printf},
	{"ps", proc.Ps},
	{"pwd", system.Pwd},
	{"readlink", files.Readlink},
	{"realpath", files.Realpath},
	{"reboot", system.Power},
	{"reset", system.Reset},
	{"rev", text.Rev},
	{"rm", files.Remove},
	{"rmdir", files.Rmdir},
	{"sed", sed.Main},
	{"seq", text.Seq},
	{"sha1sum", text.Sum},
	{"sha256sum", text.Sum},
	{"sha512sum", text.Sum},
	{"sleep", system.Sleep},
	{"sort", text.Sort},
	{"stat", files.Stat},
	{"stty", system.Stty},
	{"sync", system.Sync},
	{"tac", text.Tac},
	{"tail", text.Tail},
	{"tar", archive.Tar},
	{"tee", text.Tee},
	{"test", system.Test},
	{"timeout", system.Timeout},
	{"top", proc.Top},
	{"touch", files.Touch},
	{"tr", text.Tr},
	{"true", system.True},
	{"tty", system.Tty},
	{"uname", system.Uname},
	{"uniq", text.Uniq},
	{"uptime", proc.Uptime},
	{"wc", text.Wc},
	{"wget", web.Wget},
	{"which", system.Which},
	{"whoami", system.Whoami},
	{"xargs", system.Xargs},
	{"xxd", text.Hexdump},
	{"yes", system.Yes},
	{"zcat", archive.Gzip},
}

func find(name string) (applet.Main, bool) {
	for i := range table {
		if table[i].name == name {
			return table[i].main, true
		}
	}
	return nil, false
}

// Names are all utilities, sorted.
func Names() []string {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	return names
}
