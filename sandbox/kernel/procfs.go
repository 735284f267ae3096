package kernel

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// userHz is the unit of CPU times in /proc (sysconf(_SC_CLK_TCK)).
const userHz = 100

// callerOf is the process that looks at a file of ours, nil for host code.
func callerOf(caller any) *Process {
	p, _ := caller.(*Process)
	return p
}

func text(f func(p *Process) string) *vfs.DynFile {
	return &vfs.DynFile{Read: func(caller any) ([]byte, error) { return []byte(f(callerOf(caller))), nil }}
}

// NewProc is a proc file system that shows the processes of ns (proc(5)). What the kernel does not measure is left out, or 0 where a format
// has a place for it.
func (m *Machine) NewProc(ns *PIDNS) vfs.FS {
	self := &vfs.DynLink{Read: func(caller any) (string, error) {
		if p := callerOf(caller); p != nil {
			if n := p.pid.in(ns); n > 0 {
				return strconv.Itoa(n), nil
			}
		}
		return "", syscall.ENOENT
	}}
	root := &vfs.DynDir{
		Static: map[string]vfs.DynEntry{
			"self":    self,
			"mounts":  &vfs.DynLink{Target: "self/mounts"},
			"net":     &vfs.DynLink{Target: "self/net"},
			"meminfo": text(func(*Process) string { return m.meminfo() }),
			"uptime":  text(func(*Process) string { return m.uptime() }),
			"loadavg": text(func(*Process) string { return m.loadavg(ns) }),
			"cpuinfo": text(func(*Process) string { return m.cpuinfo() }),
			"stat":    text(func(*Process) string { return m.procStat() }),
			"version": text(func(*Process) string { return m.version() }),
			"filesystems": text(func(*Process) string {
				return "nodev\tproc\nnodev\ttmpfs\nnodev\tsysfs\nnodev\tcgroup2\nnodev\tdevpts\nnodev\toverlay\n\terofs\n"
			}),
			"cgroups": text(func(*Process) string {
				return "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n"
			}),
			"sys": m.procSys(),
		},
		Lookup: func(_ any, name string) vfs.DynEntry {
			n, err := strconv.Atoi(name)
			if err != nil || strconv.Itoa(n) != name {
				return nil
			}
			if p, ok := ns.Process(n); ok {
				return m.procDir(p, ns)
			}
			return nil
		},
		Names: func() []string { return ns.numbers() },
	}
	return vfs.NewDynamic("proc", vfs.MagicProc, m.clock.Now, root)
}

// numbers are the pids of ns in order.
func (ns *PIDNS) numbers() []string {
	ns.m.mu.Lock()
	l := make([]int, 0, len(ns.byNr))
	for n, r := range ns.byNr {
		if r.proc != nil {
			l = append(l, n)
		}
	}
	ns.m.mu.Unlock()
	slices.Sort(l)
	s := make([]string, len(l))
	for i, n := range l {
		s[i] = strconv.Itoa(n)
	}
	return s
}

func (m *Machine) meminfo() string {
	total, free := m.Memory()
	var b strings.Builder
	fmt.Fprintf(&b, "MemTotal:       %8d kB\nMemFree:        %8d kB\nMemAvailable:   %8d kB\n", total>>10, free>>10, free>>10)
	b.WriteString("SwapTotal:             0 kB\nSwapFree:              0 kB\n")
	return b.String()
}

func (m *Machine) busy() time.Duration {
	return fuelTime(m.cgroup.user.Load() + m.cgroup.system.Load())
}

func (m *Machine) uptime() string {
	up := m.clock.Now().Sub(m.boot)
	idle := max(up*time.Duration(m.cfg.CPUs)-m.busy(), 0)
	return fmt.Sprintf("%.2f %.2f\n", up.Seconds(), idle.Seconds())
}

func (m *Machine) loadavg(ns *PIDNS) string {
	avg, running := m.LoadAverage()
	m.mu.Lock()
	total, last := len(ns.byNr), ns.next-1
	m.mu.Unlock()
	return fmt.Sprintf("%.2f %.2f %.2f %d/%d %d\n", avg[0], avg[1], avg[2], running, total, last)
}

func (m *Machine) cpuinfo() string {
	var b strings.Builder
	for i := range m.cfg.CPUs {
		fmt.Fprintf(&b, "processor\t: %d\nmodel name\t: WebAssembly, metered\n\n", i)
	}
	return b.String()
}

func (m *Machine) procStat() string {
	up := m.clock.Now().Sub(m.boot)
	user, system := hz(fuelTime(m.cgroup.user.Load())), hz(fuelTime(m.cgroup.system.Load()))
	idle := max(hz(up)*int64(m.cfg.CPUs)-user-system, 0)
	_, running := m.LoadAverage()
	var b strings.Builder
	fmt.Fprintf(&b, "cpu  %d 0 %d %d 0 0 0 0 0 0\n", user, system, idle)
	if m.cfg.CPUs == 1 {
		fmt.Fprintf(&b, "cpu0 %d 0 %d %d 0 0 0 0 0 0\n", user, system, idle)
	}
	fmt.Fprintf(&b, "btime %d\nprocesses %d\nprocs_running %d\nprocs_blocked 0\n", m.boot.Unix(), m.forks.Load(), running)
	return b.String()
}

func hz(d time.Duration) int64 { return int64(d * userHz / time.Second) }

func (m *Machine) version() string {
	return fmt.Sprintf("Linux version %s (drydock) (wazero) %s\n", m.cfg.Release, m.cfg.Version)
}

func (m *Machine) procSys() *vfs.DynDir {
	uts := func(p *Process) *UTS {
		if p == nil {
			return m.uts
		}
		return p.uts
	}
	hostname := text(func(p *Process) string { return uts(p).Hostname() + "\n" })
	hostname.Write = func(caller any, b []byte) error {
		p := callerOf(caller)
		name := strings.TrimSuffix(string(b), "\n")
		if p == nil || p.Cred().UID != 0 {
			return syscall.EPERM
		}
		if len(name) > 64 || strings.ContainsAny(name, "\x00\n") {
			return syscall.EINVAL
		}
		p.uts.SetHostname(name)
		return nil
	}
	line := func(s string) *vfs.DynFile { return text(func(*Process) string { return s + "\n" }) }
	return &vfs.DynDir{Static: map[string]vfs.DynEntry{
		"kernel": &vfs.DynDir{Static: map[string]vfs.DynEntry{
			"hostname":     hostname,
			"domainname":   line("(none)"),
			"ostype":       line("Linux"),
			"osrelease":    line(m.cfg.Release),
			"version":      line(m.cfg.Version),
			"pid_max":      line(strconv.Itoa(pidMax)),
			"cap_last_cap": line("40"),
			"ngroups_max":  line("65536"),
			"threads-max":  text(func(*Process) string { return strconv.FormatInt(m.acct.Limits().Processes, 10) + "\n" }),
			"random":       &vfs.DynDir{Static: map[string]vfs.DynEntry{"uuid": text(func(*Process) string { return m.uuid() + "\n" })}},
		}},
		"fs": &vfs.DynDir{Static: map[string]vfs.DynEntry{
			"file-max":      line("1048576"),
			"pipe-max-size": line(strconv.Itoa(PipeSize)),
		}},
	}}
}

func (m *Machine) uuid() string {
	var b [16]byte
	m.rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// NewDev is a /dev: memory devices, terminals, standard streams, and an empty directory shm to mount on.
func (m *Machine) NewDev() vfs.FS {
	node := func(major, minor uint32, perm uint32) *vfs.DynNode {
		return &vfs.DynNode{Mode: vfs.ModeChar | perm, Rdev: vfs.MakeDev(major, minor)}
	}
	tty := node(5, 0, 0o666)
	tty.GID = 5
	root := &vfs.DynDir{DynOwner: vfs.DynOwner{Perm: 0o755}, Static: map[string]vfs.DynEntry{
		"null":    node(1, 3, 0o666),
		"zero":    node(1, 5, 0o666),
		"full":    node(1, 7, 0o666),
		"random":  node(1, 8, 0o666),
		"urandom": node(1, 9, 0o666),
		"tty":     tty,
		"console": node(5, 1, 0o600),
		"ptmx":    &vfs.DynLink{Target: "pts/ptmx"},
		"pts":     m.devPTS(),
		"shm":     &vfs.DynDir{DynOwner: vfs.DynOwner{Perm: 0o1777}},
		"kmsg":    &vfs.DynFile{DynOwner: vfs.DynOwner{Perm: 0o600}, Read: func(any) ([]byte, error) { return m.kmsg(), nil }},
		"fd":      &vfs.DynLink{Target: "/proc/self/fd"},
		"stdin":   &vfs.DynLink{Target: "/proc/self/fd/0"},
		"stdout":  &vfs.DynLink{Target: "/proc/self/fd/1"},
		"stderr":  &vfs.DynLink{Target: "/proc/self/fd/2"},
	}}
	return vfs.NewDynamic("devtmpfs", vfs.MagicTmpfs, m.clock.Now, root)
}

// kmsg is the kernel log as lines of "<level>[seconds] text".
func (m *Machine) kmsg() []byte {
	var b []byte
	for _, l := range m.LogLines() {
		b = fmt.Appendf(b, "<%d>[%12.6f] %s\n", l.Level, l.Time.Seconds(), l.Text)
	}
	return b
}

func (m *Machine) devPTS() *vfs.DynDir {
	return &vfs.DynDir{
		Static: map[string]vfs.DynEntry{"ptmx": &vfs.DynNode{Mode: vfs.ModeChar | 0o666, GID: 5, Rdev: vfs.MakeDev(5, 2)}},
		Lookup: func(caller any, name string) vfs.DynEntry {
			n, err := strconv.Atoi(name)
			if err != nil {
				return nil
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			t := m.ptys[n]
			if t == nil || !t.visibleLocked(callerOf(caller)) {
				return nil
			}
			return &vfs.DynNode{Mode: vfs.ModeChar | 0o620, UID: t.uid, GID: 5, Rdev: vfs.MakeDev(ptsMajor, uint32(n))}
		},
		Names: func() []string {
			m.mu.Lock()
			defer m.mu.Unlock()
			l := make([]int, 0, len(m.ptys))
			for n := range m.ptys {
				l = append(l, n)
			}
			slices.Sort(l)
			s := make([]string, len(l))
			for i, n := range l {
				s[i] = strconv.Itoa(n)
			}
			return s
		},
	}
}

// visibleLocked reports whether p may know of t: terminals of a pid namespace are seen from it and those around it.
func (t *TTY) visibleLocked(p *Process) bool {
	return p == nil || t.ns == nil || p.ns.contains(t.ns)
}

// NewSys is a /sys with the cgroup tree from c on below fs/cgroup.
func (m *Machine) NewSys(c *Cgroup) vfs.FS { return m.sysFS(c.dir()) }

func (m *Machine) sysFS(cgroup *vfs.DynDir) vfs.FS {
	root := &vfs.DynDir{Static: map[string]vfs.DynEntry{
		"fs": &vfs.DynDir{Static: map[string]vfs.DynEntry{"cgroup": cgroup}},
		"devices": &vfs.DynDir{Static: map[string]vfs.DynEntry{"system": &vfs.DynDir{Static: map[string]vfs.DynEntry{
			"cpu": &vfs.DynDir{Static: map[string]vfs.DynEntry{"online": text(func(*Process) string { return m.online() })}},
		}}}},
	}}
	return vfs.NewDynamic("sysfs", vfs.MagicSysfs, m.clock.Now, root)
}

func (m *Machine) online() string {
	if m.cfg.CPUs == 1 {
		return "0\n"
	}
	return fmt.Sprintf("0-%d\n", m.cfg.CPUs-1)
}

// ProcFS is NewProc: what a container mounts at /proc.
func (m *Machine) ProcFS(ns *PIDNS) vfs.FS { return m.NewProc(ns) }

// SysFS is what a container mounts at /sys: fs/cgroup shows each process its own cgroup as the root (cgroup_namespaces(7)).
func (m *Machine) SysFS() vfs.FS {
	names := slices.Sorted(maps.Keys(m.cgroup.files()))
	own := &vfs.DynDir{
		Lookup: func(caller any, name string) vfs.DynEntry {
			c := m.cgroup
			if p := callerOf(caller); p != nil {
				c = p.cgroup
			}
			if f, ok := c.files()[name]; ok {
				return f
			}
			return nil
		},
		Names: func() []string { return names },
	}
	return m.sysFS(own)
}

// PtsFS is what a container mounts at /dev/pts: the terminals of its pid namespace.
func (m *Machine) PtsFS() vfs.FS {
	return vfs.NewDynamic("devpts", magicDevpts, m.clock.Now, m.devPTS())
}

const magicDevpts = 0x1cd1

// NewCgroupFS is a cgroup2 file system with c as its root.
func (m *Machine) NewCgroupFS(c *Cgroup) vfs.FS {
	return vfs.NewDynamic("cgroup2", vfs.MagicCgroup2, m.clock.Now, c.dir())
}

// dir is the directory of c with those of its children.
func (c *Cgroup) dir() *vfs.DynDir {
	d := &vfs.DynDir{
		Static: c.files(),
		Lookup: func(_ any, name string) vfs.DynEntry {
			c.mu.Lock()
			defer c.mu.Unlock()
			if k := c.children[name]; k != nil {
				return k.dir()
			}
			return nil
		},
		Names: func() []string {
			var l []string
			for _, k := range c.Children() {
				l = append(l, k.name)
			}
			return l
		},
	}
	return d
}

func orMax(n int64) string {
	if n == 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// files are the interface files of a cgroup, for reading: limits are the runtime's to set.
func (c *Cgroup) files() map[string]vfs.DynEntry {
	f := func(g func(s CgroupStat, l CgroupLimits) string) *vfs.DynFile {
		return text(func(*Process) string { return g(c.Stat(), c.Limits()) + "\n" })
	}
	return map[string]vfs.DynEntry{
		"cgroup.controllers": text(func(*Process) string { return "cpu memory pids\n" }),
		"cgroup.procs":       text(c.procsFile),
		"cgroup.events": f(func(s CgroupStat, _ CgroupLimits) string {
			return fmt.Sprintf("populated %d\nfrozen 0", min(s.Pids, 1))
		}),
		"memory.current": f(func(s CgroupStat, _ CgroupLimits) string { return strconv.FormatInt(s.MemoryCurrent, 10) }),
		"memory.peak":    f(func(s CgroupStat, _ CgroupLimits) string { return strconv.FormatInt(s.MemoryPeak, 10) }),
		"memory.max":     f(func(_ CgroupStat, l CgroupLimits) string { return orMax(l.MemoryMax) }),
		"memory.low":     f(func(_ CgroupStat, l CgroupLimits) string { return strconv.FormatInt(l.MemoryRequest, 10) }),
		"memory.stat":    f(func(s CgroupStat, _ CgroupLimits) string { return fmt.Sprintf("anon %d", s.MemoryCurrent) }),
		"memory.oom.group": f(func(_ CgroupStat, l CgroupLimits) string {
			if l.OOMGroup {
				return "1"
			}
			return "0"
		}),
		"memory.events": f(func(s CgroupStat, _ CgroupLimits) string {
			return fmt.Sprintf("low 0\nhigh 0\nmax %d\noom %d\noom_kill %d", s.MemoryMaxEvents, s.OOM, s.OOMKill)
		}),
		"cpu.max": f(func(_ CgroupStat, l CgroupLimits) string {
			period := l.CPUPeriod
			if period == 0 {
				period = defaultPeriod
			}
			return orMax(l.CPUMaxQuota.Microseconds()) + " " + strconv.FormatInt(period.Microseconds(), 10)
		}),
		"cpu.weight": f(func(_ CgroupStat, l CgroupLimits) string {
			if l.CPUWeight == 0 {
				return strconv.Itoa(weightUnit)
			}
			return strconv.FormatInt(l.CPUWeight, 10)
		}),
		"cpu.stat": f(func(s CgroupStat, _ CgroupLimits) string {
			return fmt.Sprintf("usage_usec %d\nuser_usec %d\nsystem_usec %d\nnr_periods %d\nnr_throttled %d\nthrottled_usec %d",
				s.UsageUsec(), s.UserUsec, s.SystemUsec, s.Periods, s.Throttled, s.ThrottleUsec)
		}),
		"pids.current": f(func(s CgroupStat, _ CgroupLimits) string { return strconv.FormatInt(s.Pids, 10) }),
		"pids.max":     f(func(_ CgroupStat, l CgroupLimits) string { return orMax(l.PidsMax) }),
		"pids.events":  f(func(s CgroupStat, _ CgroupLimits) string { return fmt.Sprintf("max %d", s.PidsEvents) }),
	}
}

func (c *Cgroup) procsFile(by *Process) string {
	var b strings.Builder
	for _, p := range c.Processes() {
		n := p.rootPID()
		if by != nil {
			n = p.pid.in(by.ns)
		}
		fmt.Fprintln(&b, n)
	}
	return b.String()
}

// pathFor is c's path as p sees it: its own cgroup is the root of what a process in a pid namespace of its own sees.
func (c *Cgroup) pathFor(p *Process) string {
	if p == nil || p.ns == p.m.pids {
		return c.Path()
	}
	top := p.cgroup
	for g := c; g != nil; g = g.parent {
		if g == top {
			return path.Clean("/" + strings.TrimPrefix(c.Path(), top.Path()))
		}
	}
	return "/.." + c.Path()
}
