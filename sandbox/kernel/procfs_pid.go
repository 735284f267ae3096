package kernel

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// procDir is /proc/PID of p as ns numbers processes.
func (m *Machine) procDir(p *Process, ns *PIDNS) *vfs.DynDir {
	own := vfs.DynOwner{Owner: func() (uint32, uint32) { c := p.Cred(); return c.UID, c.GID }}
	private := own
	private.Perm = 0o400
	file := func(o vfs.DynOwner, f func(by *Process) string) *vfs.DynFile {
		t := text(f)
		t.DynOwner = o
		return t
	}
	return &vfs.DynDir{DynOwner: own, Static: map[string]vfs.DynEntry{
		"stat":      file(own, func(*Process) string { return p.statLine(ns) }),
		"statm":     file(own, func(*Process) string { n := p.mem.Load() >> 12; return fmt.Sprintf("%d %d 0 0 0 %d 0\n", n, n, n) }),
		"status":    file(own, func(*Process) string { return p.statusText(ns) }),
		"cmdline":   file(own, func(*Process) string { return nulList(p.Args()) }),
		"environ":   file(private, func(*Process) string { return nulList(p.Env()) }),
		"comm":      file(own, func(*Process) string { return p.Comm() + "\n" }),
		"cgroup":    file(own, func(by *Process) string { return "0::" + p.cgroup.pathFor(by) + "\n" }),
		"mounts":    file(own, func(*Process) string { return mountsText(p.View(), false) }),
		"mountinfo": file(own, func(*Process) string { return mountsText(p.View(), true) }),
		"limits":    file(own, func(*Process) string { return p.limitsText() }),
		"wchan":     file(own, func(*Process) string { return "0" }),
		"oom_score": file(own, func(*Process) string { return strconv.FormatInt(p.oomScore(), 10) + "\n" }),
		"exe":       p.magic(func() string { return p.Path() }, nil),
		"cwd":       p.magic(p.cwdPath, func() vfs.Path { return p.View().Cwd }),
		"root":      p.magic(func() string { return "/" }, func() vfs.Path { return p.View().Root }),
		"fd":        p.fdDir(),
		"ns":        p.nsDir(),
		"net":       p.netDir(),
	}}
}

func nulList(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return strings.Join(l, "\x00") + "\x00"
}

// mayInspect is ptrace's check for what only the owner may look into.
func (p *Process) mayInspect(caller any) error {
	by := callerOf(caller)
	if by == nil {
		return nil
	}
	if c := by.Cred(); c.UID != 0 && c.UID != p.Cred().UID {
		return syscall.EACCES
	}
	return nil
}

// magic is a link that leads straight to a place in p's view of files.
func (p *Process) magic(name func() string, to func() vfs.Path) *vfs.DynLink {
	c := p.Cred()
	l := &vfs.DynLink{UID: c.UID, GID: c.GID, Read: func(caller any) (string, error) {
		if err := p.mayInspect(caller); err != nil {
			return "", err
		}
		s := name()
		if s == "" {
			return "", syscall.ENOENT
		}
		return s, nil
	}}
	if to != nil {
		l.To = func(caller any) (vfs.Target, error) {
			if err := p.mayInspect(caller); err != nil {
				return vfs.Target{}, err
			}
			return vfs.Target{Dir: to()}, nil
		}
	}
	return l
}

func (p *Process) cwdPath() string {
	if p.kernel {
		return "/"
	}
	s, err := p.View().Getcwd()
	if err != nil {
		return "(unreachable)"
	}
	return s
}

func (p *Process) fdDir() *vfs.DynDir {
	own := vfs.DynOwner{Perm: 0o500, Owner: func() (uint32, uint32) { c := p.Cred(); return c.UID, c.GID }}
	return &vfs.DynDir{DynOwner: own,
		Lookup: func(_ any, name string) vfs.DynEntry {
			n, err := strconv.Atoi(name)
			if err != nil {
				return nil
			}
			if _, err := p.fds.get(n); err != nil {
				return nil
			}
			return &vfs.DynLink{
				Read: func(caller any) (string, error) {
					if err := p.mayInspect(caller); err != nil {
						return "", err
					}
					return p.FDPath(n)
				},
				To: func(caller any) (vfs.Target, error) {
					if err := p.mayInspect(caller); err != nil {
						return vfs.Target{}, err
					}
					s, err := p.fds.get(n)
					if err != nil {
						return vfs.Target{}, syscall.ENOENT
					}
					if f := s.fd.File(); f != nil {
						return vfs.Target{File: f}, nil
					}
					return vfs.Target{Special: s.fd}, nil
				}}
		},
		Names: func() []string {
			var l []string
			for _, n := range p.fds.list() {
				l = append(l, strconv.Itoa(n))
			}
			return l
		}}
}

func (p *Process) nsDir() *vfs.DynDir {
	link := func(kind string, id func() uint64) *vfs.DynLink {
		return &vfs.DynLink{Read: func(caller any) (string, error) {
			if err := p.mayInspect(caller); err != nil {
				return "", err
			}
			return fmt.Sprintf("%s:[%d]", kind, id()), nil
		}}
	}
	return &vfs.DynDir{DynOwner: vfs.DynOwner{Perm: 0o511}, Static: map[string]vfs.DynEntry{
		"pid": link("pid", func() uint64 { return p.ns.ino }),
		"uts": link("uts", func() uint64 { return p.uts.ino }),
		"mnt": link("mnt", func() uint64 { return identity(p.View().NS) }),
		"net": link("net", func() uint64 { return identity(p.net) }),
	}}
}

// identity is a number for a namespace of another package, the same as long as it lives.
func identity(ns any) uint64 { return uint64(reflect.ValueOf(ns).Pointer()) >> 4 & 0xffffffff }

func (p *Process) netDir() *vfs.DynDir {
	return &vfs.DynDir{Static: map[string]vfs.DynEntry{"dev": text(func(*Process) string {
		var b strings.Builder
		b.WriteString("Inter-|   Receive                                                |  Transmit\n" +
			" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
		if p.net == nil {
			return b.String()
		}
		for _, l := range p.net.Links() {
			fmt.Fprintf(&b, "%6s: %7d %7d    0    0    0     0          0         0 %8d %7d    0    0    0     0       0          0\n",
				l.Name, l.Count.RxBytes.Load(), l.Count.RxPackets.Load(), l.Count.TxBytes.Load(), l.Count.TxPackets.Load())
		}
		return b.String()
	})}}
}

// stateLetter is R, S, T or Z as in ps(1).
func (p *Process) stateLetterLocked() byte {
	switch {
	case p.ended:
		return 'Z'
	case p.stopSig != 0:
		return 'T'
	case p.kernel || p.sleeping.Load():
		return 'S'
	}
	return 'R'
}

var stateNames = map[byte]string{'R': "R (running)", 'S': "S (sleeping)", 'T': "T (stopped)", 'Z': "Z (zombie)"}

// statLine is /proc/PID/stat. Fields that nothing here counts are 0.
func (p *Process) statLine(ns *PIDNS) string {
	m := p.m
	m.mu.Lock()
	state, ppid, pgrp, sid := p.stateLetterLocked(), p.ppidLocked(ns), 0, 0
	if p.group != nil {
		pgrp, sid = p.group.ref.in(ns), p.session.ref.in(ns)
	}
	ttyNr, tpgid := uint64(0), -1
	if p.session != nil && p.session.tty != nil {
		ttyNr = p.session.tty.device()
		if fg := p.session.tty.fg; fg != nil {
			tpgid = fg.ref.in(ns)
		}
	}
	cu, cs := p.childUser, p.childSystem
	m.mu.Unlock()
	nice := int(p.nice.Load())
	rss := p.mem.Load()
	return fmt.Sprintf("%d (%s) %c %d %d %d %d %d 0 0 0 0 0 %d %d %d %d %d %d 1 0 %d %d %d 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
		p.pid.in(ns), p.Comm(), state, ppid, pgrp, sid, ttyNr, tpgid,
		hz(fuelTime(p.user.Load())), hz(fuelTime(p.system.Load())), hz(fuelTime(cu)), hz(fuelTime(cs)),
		20+nice, nice, hz(p.started.Sub(m.boot)), rss, rss>>12)
}

func (p *Process) statusText(ns *PIDNS) string {
	m := p.m
	m.mu.Lock()
	state, ppid := p.stateLetterLocked(), p.ppidLocked(ns)
	var ignored, caught uint64
	for s := Signal(1); s <= MaxSignal; s++ {
		switch p.actions[s] {
		case ModeIgnored:
			ignored |= s.bit()
		case ModeCaught:
			caught |= s.bit()
		}
	}
	pending := p.pending
	m.mu.Unlock()
	c, v := p.Cred(), p.View()
	var b strings.Builder
	fmt.Fprintf(&b, "Name:\t%s\nUmask:\t%04o\nState:\t%s\nTgid:\t%d\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", p.Comm(), v.Umask, stateNames[state], p.pid.in(ns), p.pid.in(ns), ppid)
	fmt.Fprintf(&b, "Uid:\t%d\t%d\t%d\t%d\nGid:\t%d\t%d\t%d\t%d\nFDSize:\t%d\nGroups:\t", c.UID, c.UID, c.UID, c.UID, c.GID, c.GID, c.GID, c.GID, len(p.fds.list()))
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "%d ", g)
	}
	b.WriteString("\nNSpid:")
	for n := range p.pid.nrs[ns.level:] {
		fmt.Fprintf(&b, "\t%d", p.pid.nrs[ns.level+n])
	}
	if state != 'Z' && !p.kernel {
		fmt.Fprintf(&b, "\nVmHWM:\t%8d kB\nVmRSS:\t%8d kB\nRssAnon:\t%8d kB", p.memPeak.Load()>>10, p.mem.Load()>>10, p.mem.Load()>>10)
	}
	fmt.Fprintf(&b, "\nThreads:\t1\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\n", 0, pending, 0, ignored, caught)
	return b.String()
}

// oomScore is the share of the account's memory in thousandths.
func (p *Process) oomScore() int64 {
	total, _ := p.m.Memory()
	if total == 0 {
		return 0
	}
	return min(p.mem.Load()*1000/total, 1000)
}

func (p *Process) limitsText() string {
	if p.kernel {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s%-21s%-21s%-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	for _, l := range []struct {
		name, unit string
		resource   int
	}{{"Max file size", "bytes", RLIMIT_FSIZE}, {"Max core file size", "bytes", RLIMIT_CORE}, {"Max processes", "processes", RLIMIT_NPROC},
		{"Max open files", "files", RLIMIT_NOFILE}, {"Max address space", "bytes", RLIMIT_AS}} {
		r, err := p.Rlimit(l.resource)
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "%-26s%-21s%-21s%-10s\n", l.name, limitText(r.Soft), limitText(r.Hard), l.unit)
	}
	return b.String()
}

func limitText(n uint64) string {
	if n == RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// mountsText is /proc/PID/mounts or mountinfo. Mounts outside of the process's root are not told apart: its namespace is its own.
func mountsText(v *vfs.View, info bool) string {
	if v.NS == nil {
		return ""
	}
	esc := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace
	var b strings.Builder
	for _, m := range v.NS.Mounts() {
		if info {
			fmt.Fprintf(&b, "%d %d 0:%d %s %s %s - %s %s rw\n", m.ID, m.Parent, m.Dev, esc(m.Root), esc(m.Target), m.Options(), m.FSType, esc(m.Source))
		} else {
			fmt.Fprintf(&b, "%s %s %s %s 0 0\n", esc(m.Source), esc(m.Target), m.FSType, m.Options())
		}
	}
	return b.String()
}

// Since is how long ago p was started.
func (p *Process) Since() time.Duration { return p.m.clock.Now().Sub(p.started) }
