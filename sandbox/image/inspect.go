package image

// Scope is what the lab of the machine is offered.
func (l *Local) Scope() *Scope { return l.store.Scope(l.scope) }

// Inspect tells of a name without pulling it: its manifest, and the platforms that it is for. *NotFoundError, or what is wrong with the content.
func (v *Scope) Inspect(r Ref) (Manifest, []Platform, error) {
	m, err := v.Manifest(r)
	if err != nil {
		return Manifest{}, nil, err
	}
	if len(m.Lists) == 0 {
		i, err := v.store.Image(m.Digest)
		if err != nil {
			return Manifest{}, nil, err
		}
		return m, []Platform{i.Platform}, nil
	}
	var l []Platform
	for _, d := range m.Lists {
		if i, err := v.store.Image(d.Digest); err == nil { // an index may list what is no image
			l = append(l, i.Platform)
		}
	}
	return m, l, nil
}

// descriptionLabel is image-spec's ("Pre-Defined Annotation Keys").
const descriptionLabel = "org.opencontainers.image.description"

// Description is what the newest name of a repository says of itself; "" when it says nothing.
func (v *Scope) Description(repository string) string {
	r, err := ParseRef(repository)
	if err != nil {
		return ""
	}
	tags, err := v.Tags(r)
	if err != nil || len(tags) == 0 {
		return ""
	}
	r.Tag = tags[len(tags)-1]
	digest, err := v.store.Resolve(r, v.id)
	if err != nil {
		return ""
	}
	i, err := v.store.Image(digest)
	if err != nil {
		return ""
	}
	return i.Config.Labels[descriptionLabel]
}
