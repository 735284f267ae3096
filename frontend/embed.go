// Package frontend embeds the built page. It knows nothing of what the page talks to.
package frontend

import (
	"embed"
	"errors"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// ErrNotBuilt is what a portal answers when the page was not built before the program.
var ErrNotBuilt = errors.New("the page is not built: run `go tool -modfile=tools.mod task frontend` (needs Node 20) and build again")

// Dist returns the built page's files, with index.html at the root.
func Dist() (fs.FS, error) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(sub, "index.html"); err != nil {
		return nil, ErrNotBuilt
	}
	return sub, nil
}
