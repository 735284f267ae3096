package wasi

import (
	"strings"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/kernel"
	"github.com/drydock-labs/drydock/sandbox/vfs"
)

// abiVersion is what abi_version answers.
const abiVersion = 1

// drydock are the functions of module drydock, version 1.
func drydock() []entry {
	l := []entry{
		{name: "abi_version", value: func(*call) int32 { return abiVersion }},
		{name: "spawn", sig: "iiiiiiiiiiiii", f: spawn, none: syscall.ENOSYS},
		{name: "exec", sig: "iiiiii", f: execCall, none: syscall.ENOSYS},
		{name: "wait", sig: "iiiii", f: wait, none: syscall.ENOSYS},
		{name: "kill", sig: "ii", f: kill, none: syscall.ENOSYS},
		{name: "getpid", value: func(c *call) int32 { return int32(c.p.PID(nil)) }},
		{name: "getppid", value: func(c *call) int32 { return int32(c.p.PPID()) }},
		{name: "getpgid", sig: "i", value: func(c *call) int32 { return orErrno(c.p.Pgid(c.int(0))) }},
		{name: "getsid", sig: "i", value: func(c *call) int32 { return orErrno(c.p.Sid(c.int(0))) }},
		{name: "setpgid", sig: "ii", f: func(c *call) error { return c.p.SetPgid(c.int(0), c.int(1)) }, none: syscall.ENOSYS},
		{name: "setsid", sig: "i", f: setsid, none: syscall.ENOSYS},
		{name: "getids", sig: "i", f: getids, none: syscall.ENOSYS},
		{name: "setids", sig: "ii", f: setids, none: syscall.ENOSYS},
		{name: "getgroups", sig: "iii", f: getgroups, none: syscall.ENOSYS},
		{name: "umask", sig: "i", value: umask},
		{name: "getcwd", sig: "iii", f: getcwd, none: syscall.ENOSYS},
		{name: "chdir", sig: "ii", f: chdir, none: syscall.ENOSYS},
		{name: "nice", sig: "iii", f: nice, none: syscall.ENOSYS},
		{name: "getrlimit", sig: "ii", f: getrlimit, none: syscall.ENOSYS},
		{name: "setrlimit", sig: "ii", f: setrlimit, none: syscall.ENOSYS},
		{name: "self_path", sig: "iii", f: func(c *call) error { return c.text(0, c.p.Path()) }, none: syscall.ENOSYS},

		{name: "sigaction", sig: "ii", f: sigaction, early: func(*call) error { return nil }},
		{name: "signext", value: func(c *call) int32 { return int32(c.p.NextSignal()) }},
		{name: "sigmode", sig: "i", value: sigmode},
		{name: "sigintr", sig: "i", f: func(c *call) error { c.p.SetInterrupting(c.u32(0) != 0); return nil }, none: syscall.ENOSYS},
	}
	l = append(l, descriptorCalls()...)
	l = append(l, fileCalls()...)
	return append(l, systemCalls()...)
}

// orErrno is a result or a negative WASI errno.
func orErrno(n int, err error) int32 {
	if err != nil {
		return -int32(errno(err))
	}
	return int32(n)
}

// list is a list of strings in parameters i and i+1, each ended by NUL. E2BIG, EINVAL when the last one isn't ended.
func (c *call) list(i int) ([]string, error) {
	if c.u32(i+1) > kernel.ArgMax {
		return nil, syscall.E2BIG
	}
	b, err := c.arg(i)
	if err != nil {
		return nil, err
	}
	return splitList(string(b))
}

func splitList(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if s[len(s)-1] != 0 {
		return nil, syscall.EINVAL
	}
	return strings.Split(s[:len(s)-1], "\x00"), nil
}

// Bits of spawn's attr.
const (
	spawnSetpgid    = 1
	spawnSetsid     = 2
	spawnForeground = 4
	spawnSetids     = 8
	spawnSetctty    = 16
)

// spawn(path, len, argv, len, env, len, dir, len, fds, n, attr, pid_out, pidfd_out)
func spawn(c *call) error {
	s := kernel.SpawnSpec{Parent: c.p}
	var err error
	if s.Path, err = c.path(0); err != nil {
		return err
	}
	if s.Args, err = c.list(2); err != nil {
		return err
	}
	if s.Env, err = c.list(4); err != nil {
		return err
	}
	if s.Dir, err = c.path(6); err != nil {
		return err
	}
	if s.Path == "" {
		return syscall.ENOENT
	}
	if s.Files, err = c.files(8); err != nil {
		return err
	}
	if err := c.attr(10, &s); err != nil {
		return err
	}
	if _, err := c.out(11, 4); err != nil {
		return err
	}
	if c.u32(12) != 0 {
		if _, err := c.out(12, 4); err != nil {
			return err
		}
	}
	q, err := c.p.Spawn(c.ctx, s)
	if err != nil {
		return err
	}
	if c.u32(12) != 0 {
		fd := q.PIDFD()
		n, err := c.p.Install(fd)
		if err != nil { // the child runs; the caller can still wait for it
			fd.Close()
			n = -1
		}
		if err := c.put32(12, uint32(int32(n))); err != nil {
			return err
		}
	}
	return c.put32(11, uint32(q.PID(c.p.PIDNS())))
}

// files are the descriptors that the list in parameters i and i+1 names.
func (c *call) files(i int) ([]*kernel.FD, error) {
	n := c.u32(i + 1)
	if n > maxFDs {
		return nil, syscall.EINVAL
	}
	b, err := c.bytes(c.u32(i), n*4)
	if err != nil {
		return nil, err
	}
	l := make([]*kernel.FD, n)
	for k := range l {
		fd := int32(le32(b[k*4:]))
		if fd < 0 || k == 3 {
			continue
		}
		if l[k], _, err = c.p.FD(int(fd)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// attr reads spawn's attributes, 24 bytes or none.
func (c *call) attr(i int, s *kernel.SpawnSpec) error {
	if c.u32(i) == 0 {
		return nil
	}
	b, err := c.out(i, 24)
	if err != nil {
		return err
	}
	fl := le32(b)
	if fl&^31 != 0 {
		return syscall.EINVAL
	}
	s.Setsid = fl&spawnSetsid != 0
	if fl&spawnSetpgid != 0 && !s.Setsid {
		s.SetPgid, s.Pgid = true, int(int32(le32(b[4:])))
		if s.Pgid < 0 {
			return syscall.EINVAL
		}
	}
	if fl&spawnSetids != 0 {
		v := c.p.View()
		if v.Cred.UID != 0 {
			return syscall.EPERM
		}
		s.Cred = &vfs.Cred{UID: le32(b[8:]), GID: le32(b[12:])}
	}
	if fl&(spawnForeground|spawnSetctty) == 0 {
		return nil
	}
	fd, _, err := c.p.FD(int(int32(le32(b[16:]))))
	if err != nil {
		return err
	}
	t := fd.TTY()
	if t == nil {
		return syscall.ENOTTY
	}
	if fl&spawnSetctty != 0 {
		if !s.Setsid {
			return syscall.EINVAL
		}
		s.TTY = t
	} else {
		s.Foreground = t
	}
	return nil
}

func execCall(c *call) error {
	path, err := c.path(0)
	if err != nil {
		return err
	}
	args, err := c.list(2)
	if err != nil {
		return err
	}
	env, err := c.list(4)
	if err != nil {
		return err
	}
	if path == "" {
		return syscall.ENOENT
	}
	return c.p.Exec(c.ctx, path, args, env)
}

// wait(pid, options, status_out, pid_out, rusage_out); any of the outs may be 0.
func wait(c *call) error {
	for i, n := range map[int]uint32{2: 4, 3: 4, 4: 24} {
		if c.u32(i) != 0 {
			if _, err := c.out(i, n); err != nil {
				return err
			}
		}
	}
	w, err := c.p.Wait(c.int(0), c.int(1))
	if err != nil {
		return err
	}
	if c.u32(2) != 0 {
		c.put32(2, uint32(w.Status))
	}
	if c.u32(3) != 0 {
		c.put32(3, uint32(w.PID))
	}
	if c.u32(4) != 0 {
		c.put64(4, uint64(w.Usage.User.Microseconds()))
		c.mem.WriteUint64Le(c.u32(4)+8, uint64(w.Usage.System.Microseconds()))
		c.mem.WriteUint64Le(c.u32(4)+16, uint64(w.Usage.MaxRSS))
	}
	return nil
}

func kill(c *call) error {
	if s := c.u32(1); s > uint32(kernel.MaxSignal) {
		return syscall.EINVAL
	}
	return c.p.Kill(c.int(0), kernel.Signal(c.u32(1)))
}

func setsid(c *call) error {
	if c.u32(0) != 0 {
		if _, err := c.out(0, 4); err != nil {
			return err
		}
	}
	sid, err := c.p.SetSid()
	if err != nil || c.u32(0) == 0 {
		return err
	}
	return c.put32(0, uint32(sid))
}

func getids(c *call) error {
	b, err := c.out(0, 16)
	if err != nil {
		return err
	}
	cr := c.p.Cred()
	put32(b, cr.UID)
	put32(b[4:], cr.UID)
	put32(b[8:], cr.GID)
	put32(b[12:], cr.GID)
	return nil
}

func setids(c *call) error {
	v := *c.p.View()
	if v.Cred.UID != 0 {
		return syscall.EPERM
	}
	v.Cred = vfs.Cred{UID: c.u32(0), GID: c.u32(1)}
	c.p.SetView(v)
	return nil
}

func getgroups(c *call) error {
	g := c.p.Cred().Groups
	if err := c.put32(2, uint32(len(g))); err != nil {
		return err
	}
	if c.u32(1) == 0 {
		return nil
	}
	if int(c.u32(1)) < len(g) {
		return syscall.EINVAL
	}
	b, err := c.bytes(c.u32(0), uint32(len(g))*4)
	if err != nil {
		return err
	}
	for i, x := range g {
		put32(b[i*4:], x)
	}
	return nil
}

func umask(c *call) int32 {
	v := *c.p.View()
	old := v.Umask
	v.Umask = c.u32(0) & 0o777
	c.p.SetView(v)
	return int32(old)
}

func getcwd(c *call) error {
	s, err := c.p.View().Getcwd()
	if err != nil {
		return err
	}
	return c.text(0, s)
}

func chdir(c *call) error {
	path, err := c.path(0)
	if err != nil {
		return err
	}
	v := *c.p.View()
	if err := v.Chdir(nil, path); err != nil {
		return err
	}
	c.p.SetView(v)
	return nil
}

func nice(c *call) error {
	if _, err := c.out(2, 4); err != nil {
		return err
	}
	n, err := c.p.Nice(c.int(0), c.int(1))
	if err != nil {
		return err
	}
	return c.put32(2, uint32(int32(n)))
}

func getrlimit(c *call) error {
	b, err := c.out(1, 16)
	if err != nil {
		return err
	}
	l, err := c.p.Rlimit(c.int(0))
	if err != nil {
		return err
	}
	put64(b, l.Soft)
	put64(b[8:], l.Hard)
	return nil
}

func setrlimit(c *call) error {
	b, err := c.out(1, 16)
	if err != nil {
		return err
	}
	return c.p.SetRlimit(c.int(0), kernel.Rlimit{Soft: le64(b), Hard: le64(b[8:])})
}

func sigaction(c *call) error {
	if c.u32(0) > uint32(kernel.MaxSignal) || c.u32(1) > 2 {
		return syscall.EINVAL
	}
	return c.p.SetAction(kernel.Signal(c.u32(0)), kernel.Mode(c.u32(1)))
}

func sigmode(c *call) int32 {
	if c.u32(0) > uint32(kernel.MaxSignal) {
		return 0
	}
	return int32(c.p.Action(kernel.Signal(c.u32(0))))
}
