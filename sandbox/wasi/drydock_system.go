package wasi

import (
	"syscall"
	"time"
)

func systemCalls() []entry {
	return []entry{
		{name: "uname", sig: "i", f: uname, none: syscall.ENOSYS},
		{name: "sethostname", sig: "ii", f: sethostname, none: syscall.ENOSYS},
		{name: "reboot", sig: "i", f: func(c *call) error { return c.p.Reboot(c.u32(0)) }, none: syscall.ENOSYS},
		{name: "sysinfo", sig: "i", f: sysinfo, none: syscall.ENOSYS},
		{name: "log", sig: "iii", f: log, none: syscall.ENOSYS},
	}
}

const utsField = 65

func uname(c *call) error {
	b, err := c.out(0, 6*utsField)
	if err != nil {
		return err
	}
	clear(b)
	cfg := c.p.Machine().Config()
	for i, s := range [...]string{"Linux", c.p.UTS().Hostname(), cfg.Release, cfg.Version, cfg.Arch, "(none)"} {
		copy(b[i*utsField:(i+1)*utsField-1], s)
	}
	return nil
}

func sethostname(c *call) error {
	if c.p.Cred().UID != 0 {
		return syscall.EPERM
	}
	s, err := c.str(0, 64)
	if err == syscall.ENAMETOOLONG {
		err = syscall.EINVAL
	}
	if err != nil {
		return err
	}
	c.p.UTS().SetHostname(s)
	return nil
}

func sysinfo(c *call) error {
	b, err := c.out(0, 56)
	if err != nil {
		return err
	}
	m := c.p.Machine()
	total, free := m.Memory()
	load, _ := m.LoadAverage()
	put64(b, uint64(m.Clock().Now().Sub(m.Boot())/time.Second))
	put64(b[8:], uint64(total))
	put64(b[16:], uint64(free))
	put64(b[24:], uint64(len(m.Processes())+1))
	for i, l := range load {
		put64(b[32+i*8:], uint64(l*65536))
	}
	return nil
}

const maxLog = 1024

// log writes a line to the kernel log. EMSGSIZE above 1024 bytes.
func log(c *call) error {
	if c.u32(2) > maxLog {
		return syscall.EMSGSIZE
	}
	b, err := c.arg(1)
	if err != nil {
		return err
	}
	c.p.Machine().Log(c.int(0), c.p.Comm()+": "+string(b))
	return nil
}
