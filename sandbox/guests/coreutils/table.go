package main

import (
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/files"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/sed"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/text"
)

// table lists the utilities by name. An image links each to the one program.
var table = [...]struct {
	name string
	main applet.Main
}{
	{"cat", text.Cat},
	{"chgrp", files.Chown},
	{"chmod", files.Chmod},
	{"chown", files.Chown},
	{"comm", text.Comm},
	{"cp", files.Copy},
	{"cut", text.Cut},
	{"dir", files.List},
	{"echo", text.Echo},
	{"egrep", text.Grep},
	{"fgrep", text.Grep},
	{"fold", text.Fold},
	{"grep", text.Grep},
	{"head", text.Head},
	{"ln", files.Link},
	{"ls", files.List},
	{"mkdir", files.Mkdir},
	{"mv", files.Move},
	{"nl", text.Nl},
	{"paste", text.Paste},
	{"printf", text.Printf},
	{"rev", text.Rev},
	{"rm", files.Remove},
	{"rmdir", files.Rmdir},
	{"sed", sed.Main},
	{"seq", text.Seq},
	{"sort", text.Sort},
	{"tac", text.Tac},
	{"tail", text.Tail},
	{"tee", text.Tee},
	{"tr", text.Tr},
	{"uniq", text.Uniq},
	{"wc", text.Wc},
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
