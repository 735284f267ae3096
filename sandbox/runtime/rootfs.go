package runtime

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// rootfs makes the container's mount namespace: the image's layers under an upper layer, the kernel's file systems, the sandbox's files
// and the mounts of the spec. Missing mount points are made.
func (c *Container) rootfs() error {
	lowers, err := c.image.FS()
	if err != nil {
		return err
	}
	r := c.r
	if c.upper = c.spec.Upper; c.upper == nil {
		c.upper = vfs.NewTmpfs(r.UpperOptions())
	}
	v := vfs.NewNamespace(vfs.NewOverlay(lowers, c.upper)).View(vfs.Root)
	v.Umask = 0o022
	c.view = v
	if err := c.system(v); err != nil {
		return err
	}
	for _, f := range []string{"hosts", "resolv.conf", "hostname"} {
		if err := c.bindFrom(v, c.box.etcV, "/"+f, "/etc/"+f, false); err != nil {
			return fmt.Errorf("mount /etc/%s: %w", f, err)
		}
	}
	if err := c.terminationLog(v); err != nil {
		return err
	}
	mounts := slices.Clone(c.spec.Mounts)
	slices.SortStableFunc(mounts, func(a, b Mount) int {
		return cmp.Compare(strings.Count(path.Clean(a.Target), "/"), strings.Count(path.Clean(b.Target), "/"))
	})
	for _, m := range mounts {
		if err := c.mount(v, m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	if err := c.workdir(v); err != nil {
		return err
	}
	if c.spec.ReadOnlyRoot {
		return v.Remount("/", vfs.MountReadOnly)
	}
	return nil
}

// UpperOptions are those of upper layers: charged to the machine's disk.
func (r *Runtime) UpperOptions() vfs.TmpfsOptions {
	return vfs.TmpfsOptions{Size: r.cfg.DiskSize, Charger: r.cfg.Disk, Inodes: r.cfg.RootInodes, Clock: r.fsClock(), Type: "overlay"}
}

// system mounts /proc, /sys and /dev.
func (c *Container) system(v *vfs.View) error {
	dev := vfs.NewTmpfs(vfs.TmpfsOptions{Size: 64 << 10, Inodes: 256, Charger: c.cgroup.Charger(), Clock: c.r.fsClock()})
	shm := vfs.NewTmpfs(vfs.TmpfsOptions{Size: 64 << 20, Inodes: 4096, Mode: 0o1777, Charger: c.cgroup.Charger(), Clock: c.r.fsClock(), Type: "tmpfs"})
	c.temp = append(c.temp, dev, shm)
	if err := Devices(vfs.NewNamespace(dev).View(vfs.Root)); err != nil {
		return fmt.Errorf("make /dev: %w", err)
	}
	const plain = vfs.MountNoSuid | vfs.MountNoDev | vfs.MountNoExec
	for _, m := range []struct {
		source, target string
		fs             vfs.FS
		flags          vfs.MountFlags
	}{
		{"proc", "/proc", c.r.m.ProcFS(c.pidns), plain},
		{"sysfs", "/sys", c.r.sys, plain | vfs.MountReadOnly},
		{"tmpfs", "/dev", dev, vfs.MountNoSuid},
		{"devpts", "/dev/pts", c.r.pts, vfs.MountNoSuid | vfs.MountNoExec},
		{"shm", "/dev/shm", shm, plain},
	} {
		if err := mountpoint(v, m.target, true); err != nil {
			return fmt.Errorf("mount point %s: %w", m.target, err)
		}
		if err := v.Mount(m.source, m.target, m.fs, m.flags); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// Devices fills the root of v, a /dev, as runc does (OCI runtime-spec, "Default Devices" and "Dev symbolic links"): nodes, links, and the directories pts and shm to mount on.
func Devices(v *vfs.View) error {
	v.Umask = 0
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		if err := v.Mknod(nil, d.name, vfs.ModeChar|0o666, vfs.MakeDev(d.major, d.minor)); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
		if err := v.Symlink(l[1], nil, l[0]); err != nil {
			return err
		}
	}
	for _, d := range []string{"pts", "shm"} {
		if err := v.Mkdir(nil, d, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mountpoint makes sure that something to mount on is there.
func mountpoint(v *vfs.View, target string, dir bool) error {
	if !path.IsAbs(target) {
		return fmt.Errorf("%q is not absolute", target)
	}
	_, err := v.Stat(nil, target)
	if err != syscall.ENOENT {
		return err
	}
	if dir {
		return v.MkdirAll(target, 0o755)
	}
	if err := v.MkdirAll(path.Dir(target), 0o755); err != nil {
		return err
	}
	return v.WriteFile(target, nil, 0o644)
}

// bindFrom mounts what is at source in another view on target.
func (c *Container) bindFrom(v, from *vfs.View, source, target string, ro bool) error {
	f, err := from.Open(nil, source, vfs.O_PATH, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := mountpoint(v, target, f.IsDir()); err != nil {
		return err
	}
	return v.BindFile(f, target, ro)
}

// mount does one Mount of the spec.
func (c *Container) mount(v *vfs.View, m Mount) error {
	var from *vfs.View
	source := "/" + m.SubPath
	switch {
	case m.Volume != "":
		vol, err := c.r.volume(c.box.spec.UID, m.Volume)
		if err != nil {
			return err
		}
		from = vol.view
		m.ReadOnly = m.ReadOnly || vol.readOnly
	case m.FS != nil:
		from = vfs.NewNamespace(m.FS).View(vfs.Root)
	case m.HostPath != "":
		if c.r.m.Root() == nil {
			return fmt.Errorf("the machine has no files of its own")
		}
		host := *c.r.m.Root()
		host.Cred = vfs.Root
		from, source = &host, m.HostPath
	default:
		return fmt.Errorf("nothing to mount")
	}
	if slices.Contains(strings.Split(m.SubPath, "/"), "..") {
		return fmt.Errorf("sub path %q must not contain '..'", m.SubPath)
	}
	if m.SubPath != "" {
		if _, err := from.Stat(nil, source); err == syscall.ENOENT {
			if err := from.MkdirAll(source, 0o750); err != nil {
				return fmt.Errorf("sub path %s: %w", m.SubPath, err)
			}
		}
	}
	return c.bindFrom(v, from, source, m.Target, m.ReadOnly)
}

const terminationLimit = 4096

// terminationLog mounts the file in which a program leaves its last words.
func (c *Container) terminationLog(v *vfs.View) error {
	if c.spec.TerminationLog == "" {
		return nil
	}
	fs := vfs.NewTmpfs(vfs.TmpfsOptions{Size: 64 << 10, Inodes: 4, Charger: c.r.cfg.Disk, Clock: c.r.fsClock()})
	c.temp = append(c.temp, fs)
	c.last = vfs.NewNamespace(fs).View(vfs.Root)
	c.last.Umask = 0
	if err := c.last.WriteFile("/message", nil, 0o666); err != nil {
		return err
	}
	if err := c.bindFrom(v, c.last, "/message", path.Clean("/"+c.spec.TerminationLog), false); err != nil {
		return fmt.Errorf("mount %s: %w", c.spec.TerminationLog, err)
	}
	return nil
}

// lastWords is the text of the termination log, at most 4 KiB.
func (c *Container) lastWords() string {
	if c.last == nil {
		return ""
	}
	f, err := c.last.Open(nil, "/message", vfs.O_RDONLY, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, terminationLimit)
	n, _ := f.ReadAt(b, 0)
	return strings.ToValidUTF8(string(b[:n]), "?")
}

// workdir makes the working directory if it isn't there, as runc does.
func (c *Container) workdir(v *vfs.View) error {
	c.dir = cmp.Or(c.spec.WorkingDir, c.image.Config.WorkingDir, "/")
	if !path.IsAbs(c.dir) {
		return fmt.Errorf("working directory %q is not absolute", c.dir)
	}
	if _, err := v.Stat(nil, c.dir); err != syscall.ENOENT {
		if err != nil {
			return fmt.Errorf("working directory %s: %w", c.dir, err)
		}
		return nil
	}
	if err := v.MkdirAll(c.dir, 0o755); err != nil {
		return fmt.Errorf("working directory %s: %w", c.dir, err)
	}
	return nil
}

// account is an entry of /etc/passwd.
type account struct {
	name, home string
	uid, gid   uint32
}

// accounts reads /etc/passwd of a container, as passwd(5); what does not parse is no account.
func accounts(v *vfs.View) []account {
	var l []account
	for f := range colonFile(v, "/etc/passwd") {
		if len(f) < 6 {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 == nil && err2 == nil {
			l = append(l, account{f[0], f[5], uint32(uid), uint32(gid)})
		}
	}
	return l
}

// group is an entry of /etc/group.
type group struct {
	name    string
	gid     uint32
	members []string
}

func groups(v *vfs.View) []group {
	var l []group
	for f := range colonFile(v, "/etc/group") {
		if len(f) < 4 {
			continue
		}
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			l = append(l, group{f[0], uint32(gid), strings.Split(f[3], ",")})
		}
	}
	return l
}

// colonFile is the fields of each line of a file of at most 1 MiB.
func colonFile(v *vfs.View, name string) func(func([]string) bool) {
	b, err := v.ReadFile(name, 1<<20)
	if err != nil {
		b = nil
	}
	return func(yield func([]string) bool) {
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if line != "" && line[0] != '#' && !yield(strings.Split(line, ":")) {
				return
			}
		}
	}
}

// identity finds who a container (or a program executed in it) runs as: uid, gid, groups and home directory. The texts are runc's.
func identity(v *vfs.View, user string, u User) (cred vfs.Cred, home string, err error) {
	name, groupName, hasGroup := strings.Cut(user, ":")
	as, gs := accounts(v), groups(v)
	acct := account{home: "/"}
	found := name == ""
	n, numErr := strconv.ParseUint(name, 10, 32)
	if u.UID != nil {
		n, numErr, name = uint64(*u.UID), nil, strconv.FormatInt(*u.UID, 10)
		hasGroup = hasGroup && u.GID == nil
	}
	if name == "" {
		n, numErr = 0, nil
	}
	for _, a := range as {
		if numErr == nil && a.uid == uint32(n) || numErr != nil && a.name == name {
			acct, found = a, true
			break
		}
	}
	if !found && numErr != nil {
		return cred, "", fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	}
	if numErr == nil {
		acct.uid = uint32(n)
	}
	if hasGroup && groupName != "" {
		if acct.gid, err = findGroup(gs, groupName); err != nil {
			return cred, "", err
		}
	}
	if u.GID != nil {
		acct.gid = uint32(*u.GID)
	}
	cred = vfs.Cred{UID: acct.uid, GID: acct.gid}
	for _, g := range gs {
		if acct.name != "" && g.gid != acct.gid && slices.Contains(g.members, acct.name) {
			cred.Groups = append(cred.Groups, g.gid)
		}
	}
	for _, g := range u.Groups {
		cred.Groups = append(cred.Groups, uint32(g))
	}
	return cred, cmp.Or(acct.home, "/"), nil
}

// Owner is whom "user", "user:group" or numbers of them name in a file system; "" is root. The texts are runc's.
func Owner(v *vfs.View, name string) (vfs.Cred, error) {
	user, _, hasGroup := strings.Cut(name, ":")
	cred, _, err := identity(v, name, User{})
	if n, perr := strconv.ParseUint(user, 10, 32); perr == nil && !hasGroup { // docker-build: "the same number is used for the group"
		cred.GID = uint32(n)
	}
	return cred, err
}

func findGroup(gs []group, name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	for _, g := range gs {
		if g.name == name {
			return g.gid, nil
		}
	}
	return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", name)
}

// environment puts the image's, the spec's and the usual variables together; later ones win, order stays.
func environment(lists ...[]string) []string {
	var env []string
	at := map[string]int{}
	for _, l := range lists {
		for _, e := range l {
			name, _, _ := strings.Cut(e, "=")
			if i, ok := at[name]; ok {
				env[i] = e
				continue
			}
			at[name] = len(env)
			env = append(env, e)
		}
	}
	return env
}

func getenv(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// lookPath finds the program as execvp(3) does. The error's text is runc's.
func lookPath(v *vfs.View, file, dir string, env []string) (string, error) {
	try := func(p string) error {
		if !path.IsAbs(p) {
			p = path.Join(dir, p)
		}
		st, err := v.Stat(nil, p)
		switch {
		case err != nil:
			return err
		case st.IsDir():
			return syscall.EISDIR
		}
		return v.Access(nil, p, vfs.AccessExec)
	}
	if strings.Contains(file, "/") {
		switch err := try(file); err {
		case nil:
			return file, nil
		case syscall.EACCES:
			return "", fmt.Errorf("exec: %q: permission denied", file)
		case syscall.EISDIR:
			return "", fmt.Errorf("exec: %q: is a directory", file)
		default:
			return "", fmt.Errorf("exec: %q: stat %s: %w", file, file, err)
		}
	}
	denied := false
	for _, d := range strings.Split(getenv(env, "PATH"), ":") {
		p := path.Join(cmp.Or(d, "."), file)
		switch err := try(p); err {
		case nil:
			if !path.IsAbs(p) {
				p = path.Join(dir, p)
			}
			return p, nil
		case syscall.EACCES:
			denied = true
		}
	}
	if denied {
		return "", fmt.Errorf("exec: %q: permission denied", file)
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", file)
}
