// Package proc has the utilities that look at processes: ps, top, free, uptime, kill and their kin.
// All they know they read from /proc (proc(5)); what the kernel does not count is shown as "-", never made up.
package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/files"
)

// ticks are the clock ticks per second of /proc/PID/stat.
const ticks = 100

// process is what /proc tells of one process. Times are in ticks, sizes in KiB.
type process struct {
	pid, ppid, pgrp, sid, tty, tpgid int
	state                            string
	comm                             string
	args                             []string
	utime, stime                     int64
	start                            int64 // ticks after boot
	flags                            int
	nice, priority, threads          int
	uid, gid                         uint32
	vsize, rss, shared               int64
}

// read reads one process; ok is false when it has ended meanwhile.
func read(pid int) (p process, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	data, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	text := string(data)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return p, false
	}
	p.pid, p.comm = pid, text[open+1:end]
	f := strings.Fields(text[end+1:])
	if len(f) < 22 {
		return p, false
	}
	num := func(i int) int { n, _ := strconv.Atoi(f[i]); return n }
	p.state, p.ppid, p.pgrp, p.sid, p.tty, p.tpgid = f[0], num(1), num(2), num(3), num(4), num(5)
	p.flags = num(6)
	p.utime, p.stime = int64(num(11)), int64(num(12))
	p.priority, p.nice, p.threads = num(15), num(16), num(17)
	p.start = int64(num(19))
	p.vsize = int64(num(20)) / 1024
	p.rss = int64(num(21)) * int64(os.Getpagesize()) / 1024
	if data, err := os.ReadFile(dir + "/cmdline"); err == nil && len(data) > 0 {
		p.args = strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
	}
	p.status(dir)
	return p, true
}

// status takes owner and sizes from /proc/PID/status.
func (p *process) status(dir string) {
	data, err := os.ReadFile(dir + "/status")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		n, _ := strconv.ParseInt(f[0], 10, 64)
		switch name {
		case "Uid":
			if len(f) > 1 {
				n, _ = strconv.ParseInt(f[1], 10, 64)
			}
			p.uid = uint32(n)
		case "Gid":
			p.gid = uint32(n)
		case "VmRSS":
			p.rss = n
		case "RssFile", "RssShmem":
			p.shared += n
		case "VmSize":
			p.vsize = n
		}
	}
}

// all reads all processes, by pid.
func all() (list []process) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := read(pid); ok {
			list = append(list, p)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].pid < list[j].pid })
	return list
}

// command is the command line as ps shows it; processes without one show their name in brackets.
func (p *process) command() string {
	if len(p.args) == 0 {
		if p.state == "Z" {
			return "[" + p.comm + "] <defunct>"
		}
		return "[" + p.comm + "]"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, strings.Join(p.args, " "))
}

// ttyName is the name of a terminal by its device number.
func ttyName(dev int) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case dev == 0:
		return "?"
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", minor+(major-136)*256)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	case major == 5 && minor == 1:
		return "console"
	}
	return fmt.Sprintf("%d/%d", major, minor)
}

// pidWidth is the number of digits of the largest process id.
func pidWidth() int {
	data, err := os.ReadFile("/proc/sys/kernel/pid_max")
	n, bad := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || bad != nil {
		return 5
	}
	return len(strconv.Itoa(n - 1))
}

// machine is what /proc tells of the whole machine.
type machine struct {
	boot   time.Time
	uptime time.Duration
	memory map[string]int64 // /proc/meminfo, in KiB
	load   string
	cpu    []int64 // first line of /proc/stat
}

func readMachine() machine {
	m := machine{memory: map[string]int64{}}
	if data, err := os.ReadFile("/proc/uptime"); err == nil {
		if f := strings.Fields(string(data)); len(f) > 0 {
			s, _ := strconv.ParseFloat(f[0], 64)
			m.uptime = time.Duration(s * float64(time.Second))
		}
	}
	m.boot = time.Now().Add(-m.uptime)
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(line, ":")
			if f := strings.Fields(value); len(f) > 0 {
				m.memory[name], _ = strconv.ParseInt(f[0], 10, 64)
			}
		}
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load = strings.TrimSpace(string(data))
	}
	if data, err := os.ReadFile("/proc/stat"); err == nil {
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 1 && f[0] == "cpu" {
				for _, s := range f[1:] {
					n, _ := strconv.ParseInt(s, 10, 64)
					m.cpu = append(m.cpu, n)
				}
			}
			if len(f) > 1 && f[0] == "btime" {
				if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					m.boot = time.Unix(n, 0)
				}
			}
		}
	}
	return m
}

// loads are the three load averages as text.
func (m *machine) loads() string {
	f := strings.Fields(m.load)
	if len(f) < 3 {
		return "-, -, -"
	}
	return strings.Join(f[:3], ", ")
}

// share is the percentage of one CPU a process used over its life.
func (m *machine) share(p process) float64 {
	seconds := m.uptime.Seconds() - float64(p.start)/ticks
	if seconds <= 0 {
		return 0
	}
	return float64(p.utime+p.stime) / ticks / seconds * 100
}

func (m *machine) memoryShare(p process) float64 {
	if total := m.memory["MemTotal"]; total > 0 {
		return float64(p.rss) / float64(total) * 100
	}
	return 0
}

func (m *machine) started(p process) time.Time {
	return m.boot.Add(time.Duration(p.start) * time.Second / ticks)
}

// names is shared by one run of a utility.
type names = files.Names
