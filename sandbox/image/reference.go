package image

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/distribution/reference"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

// Ref is a name of an image as Docker completes it: "nginx" is docker.io/library/nginx:latest.
type Ref struct {
	Domain string // "docker.io"
	Path   string // "library/nginx"
	Tag    string // "latest"; "" when only a digest was given
	Digest string // "sha256:…" or ""
}

// InvalidNameError says that a text is no name of an image. Kubernetes calls this InvalidImageName.
type InvalidNameError struct {
	Name string
	Err  error
}

// Error is in the words of Docker's parser.
func (e *InvalidNameError) Error() string {
	return fmt.Sprintf("couldn't parse image name %q: %v", e.Name, e.Err)
}

// Unwrap is the parser's error.
func (e *InvalidNameError) Unwrap() error { return e.Err }

// ParseRef completes and checks a name by Docker's own rules. The error is an *InvalidNameError.
func ParseRef(name string) (Ref, error) {
	if len(name) > 4096 {
		return Ref{}, &InvalidNameError{name[:64] + "…", reference.ErrNameTooLong}
	}
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return Ref{}, &InvalidNameError{name, err}
	}
	r := Ref{Domain: reference.Domain(n), Path: reference.Path(n)}
	if d, ok := n.(reference.Digested); ok {
		r.Digest = d.Digest().String()
	}
	if t, ok := n.(reference.Tagged); ok {
		r.Tag = t.Tag()
	} else if r.Digest == "" {
		r.Tag = "latest"
	}
	return r, nil
}

// Repository is the name without tag and digest: "docker.io/library/nginx".
func (r Ref) Repository() string { return r.Domain + "/" + r.Path }

// String is the complete name: "docker.io/library/nginx:latest".
func (r Ref) String() string {
	s := r.Repository()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Familiar is the short name that people write: "nginx:latest".
func (r Ref) Familiar() string {
	n, err := reference.ParseNormalizedNamed(r.String())
	if err != nil {
		return r.String()
	}
	return reference.FamiliarString(n)
}
