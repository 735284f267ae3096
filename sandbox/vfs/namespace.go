package vfs

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// MountFlags restrict a mount (mount(2)).
type MountFlags uint32

// The flags, with mount(2)'s numbers.
const (
	MountReadOnly MountFlags = 1
	MountNoSuid   MountFlags = 2
	MountNoDev    MountFlags = 4
	MountNoExec   MountFlags = 8
)

// Mount is a file system, or a part of one, at a place in a Namespace. All fields but flags are immutable once it is mounted.
type Mount struct {
	id     int
	dev    uint64
	fs     FS
	root   Node   // what is seen at the place; part of fs
	sub    string // root's path inside fs, for mountinfo
	source string
	flags  atomic.Uint32 // MountFlags
	key    mountKey
}

func newMount(fs FS, root Node, sub, source string, flags MountFlags) *Mount {
	m := &Mount{fs: fs, root: root, sub: sub, source: source}
	m.flags.Store(uint32(flags))
	return m
}

func (m *Mount) has(f MountFlags) bool { return MountFlags(m.flags.Load())&f != 0 }

// mountKey is the entry that a mount covers. dir nil means the root of mnt itself (a mount over a mount).
type mountKey struct {
	mnt  *Mount
	dir  Dir
	name string
}

// Path is a directory as reached through a mount: what a working directory or a root is. The zero Path is nowhere.
type Path struct {
	mnt *Mount
	dir Dir
}

// Valid reports whether p is somewhere.
func (p Path) Valid() bool { return p.dir != nil }

// Namespace is a mount namespace (mount_namespaces(7)), private propagation.
type Namespace struct {
	mu      sync.RWMutex
	over    map[mountKey]*Mount // guarded by mu
	order   []*Mount            // guarded by mu; in order of mounting
	devs    map[FS]uint64       // guarded by mu; st_dev of each file system seen
	nextDev uint64              // guarded by mu
	nextID  int                 // guarded by mu
	root    *Mount              // immutable
}

// NewNamespace has root mounted at /. root's Root must be a Dir.
func NewNamespace(root FS) *Namespace {
	ns := &Namespace{over: map[mountKey]*Mount{}, devs: map[FS]uint64{}, nextDev: 0x20, nextID: 20}
	ns.root = newMount(root, root.Root(), "/", root.Type(), 0)
	ns.addLocked(ns.root)
	return ns
}

func (ns *Namespace) addLocked(m *Mount) {
	dev, ok := ns.devs[m.fs]
	if !ok {
		ns.nextDev++
		dev = ns.nextDev
		ns.devs[m.fs] = dev
	}
	ns.nextID++
	m.id, m.dev = ns.nextID, dev
	ns.order = append(ns.order, m)
	if m.key.mnt != nil {
		ns.over[m.key] = m
	}
}

// Root is the namespace's /.
func (ns *Namespace) Root() Path { return Path{ns.root, ns.root.root.(Dir)} }

// View is the namespace as c sees it from its root, with umask 022.
func (ns *Namespace) View(c Cred) *View {
	return &View{NS: ns, Root: ns.Root(), Cwd: ns.Root(), Cred: c, Umask: 0o022}
}

// Mount mounts fs at target, an absolute path that exists. ENOENT, ENOTDIR when one is a directory and the other isn't.
func (ns *Namespace) Mount(target string, fs FS, flags MountFlags) error {
	return ns.View(Root).Mount(fs.Type(), target, fs, flags)
}

// Bind makes what is at source (a directory or a file) visible at target too.
func (ns *Namespace) Bind(source, target string, ro bool) error {
	return ns.View(Root).Bind(source, target, ro)
}

// Unmount removes the mount at target. EINVAL when none is there, EBUSY when others are mounted inside it or it is the root.
// Open files and working directories inside stay usable (MNT_DETACH).
func (ns *Namespace) Unmount(target string) error { return ns.View(Root).Unmount(target) }

// Clone is a copy with the same mounts (CLONE_NEWNS); move translates a Path of the original into the copy.
func (ns *Namespace) Clone() (clone *Namespace, move func(Path) Path) {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	c := &Namespace{over: make(map[mountKey]*Mount, len(ns.over)), devs: make(map[FS]uint64, len(ns.devs)), nextDev: ns.nextDev, nextID: ns.nextID}
	for fs, d := range ns.devs {
		c.devs[fs] = d
	}
	old := make(map[*Mount]*Mount, len(ns.order))
	for _, m := range ns.order {
		n := newMount(m.fs, m.root, m.sub, m.source, MountFlags(m.flags.Load()))
		if n.key = m.key; n.key.mnt != nil {
			n.key.mnt = old[n.key.mnt]
		}
		old[m] = n
		c.addLocked(n)
	}
	c.root = old[ns.root]
	return c, func(p Path) Path {
		if m, ok := old[p.mnt]; ok {
			p.mnt = m
		}
		return p
	}
}

// covered follows the mounts on key; nil when there is none.
func (ns *Namespace) covered(key mountKey) *Mount {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	m := ns.over[key]
	for m != nil {
		n := ns.over[mountKey{mnt: m}]
		if n == nil {
			break
		}
		m = n
	}
	return m
}

// busy reports whether something is mounted on the entry.
func (ns *Namespace) busy(at Path, name string) bool {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return ns.over[mountKey{at.mnt, at.dir, name}] != nil
}

// up is the parent of p, across mounts; / is its own.
func (ns *Namespace) up(p Path) Path {
	q, err := ns.upWithin(p, Path{})
	if err != nil {
		return p
	}
	return q
}

// upWithin is the parent of p; root and the namespace's / are their own. ENOENT when p was moved out of the part
// of its file system that is mounted: to follow its parent there would leave the mount (path_connected in Linux).
func (ns *Namespace) upWithin(p, root Path) (Path, error) {
	for {
		if p == root {
			return p, nil
		}
		if p.dir != p.mnt.root {
			break
		}
		k := p.mnt.key
		if k.mnt == nil {
			return p, nil
		}
		if k.dir != nil {
			return Path{k.mnt, k.dir}, nil
		}
		d, ok := k.mnt.root.(Dir)
		if !ok {
			return p, syscall.ENOENT
		}
		p = Path{k.mnt, d}
	}
	parent, _ := p.dir.Up()
	if parent == nil {
		return p, syscall.ENOENT
	}
	if p.mnt.sub != "/" && !below(parent, p.mnt.root) {
		return p, syscall.ENOENT
	}
	return Path{p.mnt, parent}, nil
}

// below reports whether d is top or inside it.
func below(d Dir, top Node) bool {
	for d != nil {
		if d == top {
			return true
		}
		d, _ = d.Up()
	}
	return false
}

// pathname is the absolute path of p seen from root (zero: the namespace's). ok is false when it was removed or is not below root.
func (ns *Namespace) pathname(p, root Path) (string, bool) {
	var parts []string
	size, ok := 0, p.dir.Stat().Nlink > 0
	for p != root {
		if p.dir == p.mnt.root {
			k := p.mnt.key
			if k.mnt == nil {
				ok = ok && root == Path{}
				break
			}
			if k.dir == nil {
				d, isDir := k.mnt.root.(Dir)
				if !isDir {
					ok = false
					break
				}
				p = Path{k.mnt, d}
				continue
			}
			parts = append(parts, k.name)
			size += len(k.name) + 1
			p = Path{k.mnt, k.dir}
			continue
		}
		parent, name := p.dir.Up()
		if parent == nil {
			ok = false
			break
		}
		parts = append(parts, name)
		size += len(name) + 1
		p = Path{p.mnt, parent}
	}
	if len(parts) == 0 {
		return "/", ok
	}
	slices.Reverse(parts)
	b := strings.Builder{}
	b.Grow(size)
	for _, s := range parts {
		b.WriteByte('/')
		b.WriteString(s)
	}
	return b.String(), ok
}

func (ns *Namespace) stat(m *Mount, n Node) Stat {
	st := n.Stat()
	st.Dev = m.dev
	return st
}

// MountInfo is one line of /proc/PID/mountinfo.
type MountInfo struct {
	ID, Parent int
	Dev        uint64
	Root       string // the part of the file system that is mounted
	Target     string
	FSType     string
	Source     string
	Flags      MountFlags
}

// Options are the mount options as /proc/mounts shows them.
func (m MountInfo) Options() string {
	o := "rw"
	if m.Flags&MountReadOnly != 0 {
		o = "ro"
	}
	for _, f := range []struct {
		flag MountFlags
		name string
	}{{MountNoSuid, ",nosuid"}, {MountNoDev, ",nodev"}, {MountNoExec, ",noexec"}} {
		if m.Flags&f.flag != 0 {
			o += f.name
		}
	}
	return o + ",noatime"
}

// Mounts lists the mounts in the order in which they were made, with targets seen from the namespace's root.
func (ns *Namespace) Mounts() []MountInfo {
	ns.mu.RLock()
	order := slices.Clone(ns.order)
	ns.mu.RUnlock()
	l := make([]MountInfo, 0, len(order))
	for _, m := range order {
		mi := MountInfo{ID: m.id, Dev: m.dev, Root: m.sub, FSType: m.fs.Type(), Source: m.source, Flags: MountFlags(m.flags.Load()), Target: "/"}
		if k := m.key; k.mnt != nil {
			mi.Parent = k.mnt.id
			d, name := k.dir, k.name
			if d == nil {
				d, _ = k.mnt.root.(Dir)
			}
			if d != nil {
				mi.Target, _ = ns.pathname(Path{k.mnt, d}, Path{})
			}
			if name != "" {
				mi.Target = strings.TrimSuffix(mi.Target, "/") + "/" + name
			}
		}
		l = append(l, mi)
	}
	return l
}

// Mount mounts fs at target as v sees it; source is the word shown in /proc/mounts. EPERM unless root.
func (v *View) Mount(source, target string, fs FS, flags MountFlags) error {
	return v.attach(target, newMount(fs, fs.Root(), "/", source, flags))
}

// Bind makes source visible at target. EPERM unless root. Mounts inside source are not taken along.
func (v *View) Bind(source, target string, ro bool) error {
	l, err := v.walk(nil, source, walkFollow)
	if err != nil {
		return err
	}
	if l.node == nil {
		return syscall.ENOENT
	}
	return v.attach(target, l.bind(ro))
}

// BindFile is Bind of what an open File or directory shows, possibly of another namespace.
func (v *View) BindFile(f *File, target string, ro bool) error {
	return v.attach(target, location{at: f.at, name: f.name, mnt: f.mnt, node: f.node}.bind(ro))
}

// bind is a mount of what is at l.
func (l location) bind(ro bool) *Mount {
	flags := MountFlags(l.mnt.flags.Load())
	if ro {
		flags |= MountReadOnly
	}
	return newMount(l.mnt.fs, l.node, l.inFS(), l.mnt.source, flags)
}

func (v *View) attach(target string, m *Mount) error {
	if v.Cred.UID != 0 {
		return syscall.EPERM
	}
	l, err := v.walk(nil, target, walkFollow)
	if err != nil {
		return err
	}
	if l.node == nil {
		return syscall.ENOENT
	}
	_, isDir := m.root.(Dir)
	if _, overDir := l.node.(Dir); isDir != overDir {
		return syscall.ENOTDIR
	}
	m.key = l.key()
	v.NS.mu.Lock()
	defer v.NS.mu.Unlock()
	if len(v.NS.order) >= maxMounts {
		return syscall.ENOSPC
	}
	if v.NS.over[m.key] != nil { // somebody was faster; mount on theirs
		return syscall.EBUSY
	}
	v.NS.addLocked(m)
	return nil
}

// Remount changes the flags of the mount at target (MS_REMOUNT|MS_BIND). EINVAL when none is there, EPERM unless root.
// Files that are open for writing stay so.
func (v *View) Remount(target string, flags MountFlags) error {
	if v.Cred.UID != 0 {
		return syscall.EPERM
	}
	l, err := v.find(nil, target, walkFollow)
	if err != nil {
		return err
	}
	if l.node != l.mnt.root {
		return syscall.EINVAL
	}
	l.mnt.flags.Store(uint32(flags))
	return nil
}

// maxMounts bounds a namespace (fs.mount-max in Linux, smaller).
const maxMounts = 4096

// Unmount removes the mount at target as v sees it; see Namespace.Unmount. EPERM unless root.
func (v *View) Unmount(target string) error {
	if v.Cred.UID != 0 {
		return syscall.EPERM
	}
	l, err := v.walk(nil, target, walkFollow)
	if err != nil {
		return err
	}
	if l.node == nil {
		return syscall.ENOENT
	}
	if l.node != l.mnt.root {
		return syscall.EINVAL
	}
	if l.mnt == v.NS.root {
		return syscall.EBUSY
	}
	ns := v.NS
	ns.mu.Lock()
	defer ns.mu.Unlock()
	i := slices.Index(ns.order, l.mnt)
	if i < 0 {
		return syscall.EINVAL
	}
	for _, m := range ns.order {
		if m.key.mnt == l.mnt {
			return syscall.EBUSY
		}
	}
	ns.order = slices.Delete(ns.order, i, i+1)
	delete(ns.over, l.mnt.key)
	return nil
}
