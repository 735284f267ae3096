package docker

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	apibuild "github.com/moby/moby/api/types/build"
	apicontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	apivolume "github.com/moby/moby/api/types/volume"
)

// yes tells whether a filter is set to true, given what it is when nobody says.
func (f filters) yes(name string, otherwise bool) bool {
	if len(f[name]) == 0 {
		return otherwise
	}
	return f.any(name, func(v string) bool { return v == "true" || v == "1" })
}

// until reads the filter of the prunes: a time, or how long ago it is. The zero time when nobody asks.
func (f filters) until(now time.Time) (time.Time, error) {
	if len(f["until"]) > 1 {
		return time.Time{}, invalid("more than one until filter specified")
	}
	for v := range f["until"] {
		if d, err := time.ParseDuration(v); err == nil {
			return now.Add(-d), nil
		}
		return moment(v)
	}
	return time.Time{}, nil
}

// pruned tells whether something of a time and labels is one that a prune's filters take.
func (f filters) pruned(made, until time.Time, labels map[string]string) bool {
	if !f.labels(labels) || !until.IsZero() && !made.Before(until) {
		return false
	}
	not := filters{"label": f["label!"]}
	for v := range f["label!"] {
		not["label"] = map[string]bool{v: true}
		if not.labels(labels) {
			return false
		}
	}
	return true
}

// pruneImages removes images that no container has: those without a name, or with dangling=false all.
func (e *Engine) pruneImages(w http.ResponseWriter, r *http.Request) error {
	f, err := readFilters(r, "dangling", "until", "label", "label!")
	if err != nil {
		return err
	}
	until, err := f.until(e.now())
	if err != nil {
		return err
	}
	rep := image.PruneReport{ImagesDeleted: []image.DeleteResponse{}}
	for _, i := range e.cfg.Images.List() {
		if f.yes("dangling", true) && len(i.Tags) > 0 || e.builder.hasChildren(i.ID) || e.usesImage(i.Image) || !f.pruned(i.Created, until, i.Config.Labels) {
			continue
		}
		before := e.imageBytes()
		if e.cfg.Images.Remove(i.ID) != nil {
			continue // it went meanwhile
		}
		for _, t := range familiar(i.Tags) {
			rep.ImagesDeleted = append(rep.ImagesDeleted, image.DeleteResponse{Untagged: t})
		}
		rep.ImagesDeleted = append(rep.ImagesDeleted, e.deleted(i.ID, false)...)
		rep.SpaceReclaimed += uint64(max(0, before-e.imageBytes()))
	}
	return answer(w, http.StatusOK, rep)
}

// imageBytes is the size of all layers, each once.
func (e *Engine) imageBytes() (n int64) {
	seen := map[string]bool{}
	for _, i := range e.cfg.Images.List() {
		for _, l := range i.Layers {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				n += l.Size
			}
		}
	}
	return n
}

// pruneBuilds forgets which step gave which image, so that the next builds run all of theirs. Space is the images' and goes with them.
func (e *Engine) pruneBuilds(w http.ResponseWriter, r *http.Request) error {
	if _, err := readFilters(r); err != nil {
		return err
	}
	rep := apibuild.CachePruneReport{CachesDeleted: []string{}}
	x := &e.builder
	x.mu.Lock()
	for key, id := range x.steps {
		rep.CachesDeleted = append(rep.CachesDeleted, short(id))
		delete(x.steps, key)
	}
	x.mu.Unlock()
	slices.Sort(rep.CachesDeleted)
	return answer(w, http.StatusOK, rep)
}

// usage is what docker system df is told: in the shape of API 1.52 and later, and in the older one, of which clients read what they know.
type usage struct {
	ImageUsage      image.DiskUsage
	ContainerUsage  apicontainer.DiskUsage
	VolumeUsage     apivolume.DiskUsage
	BuildCacheUsage apibuild.DiskUsage

	LayersSize  int64
	Images      []image.Summary
	Containers  []apicontainer.Summary
	Volumes     []apivolume.Volume
	BuildCache  []apibuild.CacheRecord
	BuilderSize int64
}

func (e *Engine) getUsage(w http.ResponseWriter, _ *http.Request) error {
	u := usage{LayersSize: e.imageBytes(), Images: []image.Summary{}, Containers: []apicontainer.Summary{}, Volumes: []apivolume.Volume{}, BuildCache: []apibuild.CacheRecord{}}
	e.imageUsage(&u)
	e.containerUsage(&u)
	e.volumeUsage(&u)
	return answer(w, http.StatusOK, u)
}

func (e *Engine) imageUsage(u *usage) {
	shared := map[string]int{}
	all := e.cfg.Images.List()
	for _, i := range all {
		for _, l := range i.Layers {
			shared[l.Digest]++
		}
	}
	used := map[string]int64{}
	for _, c := range e.all() {
		used[c.image.ID]++
	}
	free := u.LayersSize
	counted := map[string]bool{}
	for _, i := range all {
		s := image.Summary{ID: i.ID, Created: i.Created.Unix(), Labels: i.Config.Labels, RepoDigests: familiar(i.Digests), RepoTags: familiar(i.Tags), Size: i.Size, Containers: used[i.ID]}
		for _, l := range i.Layers {
			if shared[l.Digest] > 1 {
				s.SharedSize += l.Size
			}
			if used[i.ID] > 0 && !counted[l.Digest] {
				counted[l.Digest] = true
				free -= l.Size
			}
		}
		if used[i.ID] > 0 {
			u.ImageUsage.ActiveCount++
		}
		u.Images = append(u.Images, s)
	}
	u.ImageUsage.Items, u.ImageUsage.TotalCount, u.ImageUsage.TotalSize, u.ImageUsage.Reclaimable = u.Images, int64(len(all)), u.LayersSize, free
}

func (e *Engine) containerUsage(u *usage) {
	for _, c := range e.all() {
		s, running := c.summary(true)
		u.Containers = append(u.Containers, s)
		u.ContainerUsage.TotalCount++
		u.ContainerUsage.TotalSize += s.SizeRw
		if running {
			u.ContainerUsage.ActiveCount++
		} else {
			u.ContainerUsage.Reclaimable += s.SizeRw
		}
	}
	u.ContainerUsage.Items = u.Containers
}

func (e *Engine) volumeUsage(u *usage) {
	e.mu.Lock()
	for _, v := range e.volumes {
		size, _ := v.fs.Used()
		a := v.api()
		a.UsageData = &apivolume.UsageData{Size: size, RefCount: int64(len(v.users))}
		u.Volumes = append(u.Volumes, a)
		u.VolumeUsage.TotalCount++
		u.VolumeUsage.TotalSize += size
		if len(v.users) > 0 {
			u.VolumeUsage.ActiveCount++
		} else {
			u.VolumeUsage.Reclaimable += size
		}
	}
	e.mu.Unlock()
	slices.SortFunc(u.Volumes, func(a, b apivolume.Volume) int { return cmp.Compare(a.Name, b.Name) })
	u.VolumeUsage.Items = u.Volumes
}
