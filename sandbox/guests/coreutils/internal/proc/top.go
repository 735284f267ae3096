package proc

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

type topView struct {
	c      *applet.Cmd
	delay  time.Duration
	count  int // −1: for ever
	batch  bool
	sortBy byte // P cpu, M memory, N pid, T time
	rows   int
	cols   int
	users  string
	pids   []int
	full   bool

	before map[int]int64 // CPU ticks at the last look
	cpu    []int64
	at     time.Time
	note   string
}

// Top is top(1): batch (-b), or interactive with the keys q, P, M, N, T, c, k, d and space.
func Top(c *applet.Cmd) int {
	opts, _, st, ok := c.Parse(applet.Spec{Short: "bcd:Hin:o:p:SsU:u:w::1", Help: "-hv | -bc -d secs -n max -u user -p pid(s) -o field"})
	if !ok {
		return st
	}
	v := &topView{c: c, delay: 3 * time.Second, count: -1, sortBy: 'P', cols: 80, rows: 1 << 30, before: map[int]int64{}}
	for _, o := range opts {
		switch o.Key {
		case "b":
			v.batch = true
		case "c":
			v.full = true
		case "d":
			s, err := strconv.ParseFloat(o.Arg, 64)
			if err != nil || s < 0 {
				c.Fail("bad delay interval '%s'", o.Arg)
				return 1
			}
			v.delay = max(time.Duration(s*float64(time.Second)), 100*time.Millisecond)
		case "n":
			n, err := strconv.Atoi(o.Arg)
			if err != nil || n < 1 {
				c.Fail("bad iterations argument '%s'", o.Arg)
				return 1
			}
			v.count = n
		case "o":
			v.sortBy = map[string]byte{"%CPU": 'P', "%MEM": 'M', "PID": 'N', "TIME+": 'T', "RES": 'M'}[strings.TrimLeft(o.Arg, "+-")]
		case "p":
			v.pids = append(v.pids, numbers(o.Arg)...)
		case "u", "U":
			v.users = o.Arg
		}
	}
	if !v.batch && !sys.IsTerminal(0) {
		c.Fail("failed tty get")
		return 1
	}
	if v.batch {
		for i := 0; v.count < 0 || i < v.count; i++ {
			if i > 0 {
				time.Sleep(v.delay)
				fmt.Fprintln(c.Out)
			}
			v.print(c.Out, "\n")
			c.Out.Flush()
		}
		return 0
	}
	return v.interact()
}

func (v *topView) interact() int {
	old, err := sys.MakeRaw(0)
	if err != nil {
		v.c.Fail("failed tty get")
		return 1
	}
	defer sys.Tcsetattr(0, sys.TCSADRAIN, old)
	fmt.Fprint(v.c.Out, "\x1b[?1049h\x1b[?25l")
	defer func() {
		fmt.Fprint(v.c.Out, "\x1b[?25h\x1b[?1049l")
		v.c.Out.Flush()
	}()
	keys := make(chan byte)
	go func() {
		defer close(keys)
		one := make([]byte, 1)
		for {
			n, err := os.Stdin.Read(one)
			if n == 0 || err != nil {
				return
			}
			keys <- one[0]
		}
	}()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGHUP)
	for i := 0; v.count < 0 || i < v.count; {
		v.size()
		var b strings.Builder
		v.print(&b, "\x1b[K\r\n")
		fmt.Fprint(v.c.Out, "\x1b[H", strings.TrimSuffix(b.String(), "\r\n"), "\x1b[J")
		v.c.Out.Flush()
		timer := time.NewTimer(v.delay)
		select {
		case <-timer.C:
			i++
		case <-resized:
			fmt.Fprint(v.c.Out, "\x1b[2J")
		case <-term:
			timer.Stop()
			return 0
		case k, ok := <-keys:
			if !ok || !v.key(k, keys) {
				timer.Stop()
				return 0
			}
		}
		timer.Stop()
	}
	return 0
}

func (v *topView) size() {
	v.rows, v.cols = 24, 80
	if w, err := sys.GetWinsize(0); err == nil && w.Rows > 8 {
		v.rows, v.cols = int(w.Rows), int(w.Cols)
	}
}

// key handles one key press; false ends top.
func (v *topView) key(k byte, keys <-chan byte) bool {
	v.note = ""
	switch k {
	case 'q', 3, 4:
		return false
	case 'P', 'M', 'N', 'T':
		v.sortBy = k
	case 'c':
		v.full = !v.full
	case 'h', '?':
		v.note = "q quit  P by CPU  M by memory  N by pid  T by time  c command line  k kill  d delay"
	case 'd', 's':
		if s, ok := v.ask(fmt.Sprintf("Change delay from %.1f to ", v.delay.Seconds()), keys); ok {
			if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0.1 {
				v.delay = time.Duration(f * float64(time.Second))
			}
		}
	case 'k':
		s, ok := v.ask("PID to signal/kill ", keys)
		pid, err := strconv.Atoi(s)
		if !ok || err != nil {
			break
		}
		if err := sys.Kill(pid, syscall.SIGTERM); err != nil {
			v.note = fmt.Sprintf("Failed signal pid '%d' with '15': %s", pid, applet.Reason(err))
		}
	}
	return true
}

// ask reads a line at the bottom of the head.
func (v *topView) ask(question string, keys <-chan byte) (string, bool) {
	text := ""
	for {
		fmt.Fprintf(v.c.Out, "\x1b[6;1H\x1b[K%s%s", question, text)
		v.c.Out.Flush()
		k, ok := <-keys
		switch {
		case !ok || k == 3 || k == 27:
			return "", false
		case k == '\r' || k == '\n':
			return text, true
		case k == 0x7f || k == 8:
			if text != "" {
				text = text[:len(text)-1]
			}
		case k >= 0x20 && k < 0x7f && len(text) < 20:
			text += string(rune(k))
		}
	}
}

type topRow struct {
	process
	percent float64
}

func (v *topView) print(w io.Writer, end string) {
	m := readMachine()
	now := time.Now()
	since := now.Sub(v.at).Seconds()
	first := v.at.IsZero()
	var rows []topRow
	var ids names
	states := map[string]int{}
	after := map[int]int64{}
	for _, p := range all() {
		used := p.utime + p.stime
		after[p.pid] = used
		states[p.state]++
		if len(v.pids) > 0 && !has(v.pids, p.pid) || v.users != "" && ids.User(p.uid) != v.users {
			continue
		}
		share := m.share(p)
		if prev, ok := v.before[p.pid]; ok && !first && since > 0 {
			share = float64(used-prev) / ticks / since * 100
		}
		rows = append(rows, topRow{p, share})
	}
	v.before, v.at = after, now
	v.sort(rows)
	line := func(format string, args ...any) {
		fmt.Fprint(w, fit(fmt.Sprintf(format, args...), max(v.cols, 79)), end)
	}
	total := 0
	for _, n := range states {
		total += n
	}
	sleeping := states["S"] + states["I"] + states["D"]
	line("top - %s up %s,  load average: %s", now.Format("15:04:05"), uptimeText(m.uptime), m.loads())
	line("Tasks: %3d total, %3d running, %3d sleeping, %3d stopped, %3d zombie", total, states["R"], sleeping, states["T"]+states["t"], states["Z"])
	line("%s", v.cpuLine(m.cpu))
	mem := func(name string) float64 { return float64(m.memory[name]) / 1024 }
	cache := mem("Buffers") + mem("Cached") + mem("SReclaimable")
	line("MiB Mem : %8.1f total, %8.1f free, %8.1f used, %8.1f buff/cache", mem("MemTotal"), mem("MemFree"), mem("MemTotal")-mem("MemFree")-cache, cache)
	line("MiB Swap: %8.1f total, %8.1f free, %8.1f used. %8.1f avail Mem", mem("SwapTotal"), mem("SwapFree"), mem("SwapTotal")-mem("SwapFree"), mem("MemAvailable"))
	line("%s", v.note)
	head := "    PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND"
	if !v.batch {
		head = "\x1b[7m" + head + strings.Repeat(" ", max(0, v.cols-len(head))) + "\x1b[0m"
		fmt.Fprint(w, head, end)
	} else {
		line("%s", head)
	}
	for i, r := range rows {
		if i >= v.rows-7 {
			break
		}
		name := r.comm
		if v.full {
			name = r.command()
		}
		t := r.utime + r.stime
		line("%7d %-8s %3s %3d %7s %6s %6s %s %5.1f %5.1f %9s %s", r.pid, userText(ids.User(r.uid), 8), priorityText(r.priority), r.nice, kib(r.vsize, 7), kib(r.rss, 6), kib(r.shared, 6),
			r.state, r.percent, m.memoryShare(r.process), fmt.Sprintf("%d:%02d.%02d", t/ticks/60, t/ticks%60, t%ticks), name)
	}
}

func has(list []int, n int) bool {
	for _, l := range list {
		if l == n {
			return true
		}
	}
	return false
}

func priorityText(p int) string {
	if p <= -100 {
		return "rt"
	}
	return strconv.Itoa(p)
}

// kib writes a size in KiB, or in a larger unit where it would not fit.
func kib(n int64, width int) string {
	s := strconv.FormatInt(n, 10)
	f := float64(n)
	for _, unit := range "mgt" {
		if len(s) <= width {
			return s
		}
		f /= 1024
		s = fmt.Sprintf("%.1f%c", f, unit)
	}
	return s
}

func (v *topView) sort(rows []topRow) {
	sort.SliceStable(rows, func(i, j int) bool {
		a, b := rows[i], rows[j]
		switch v.sortBy {
		case 'M':
			return a.rss > b.rss
		case 'N':
			return a.pid > b.pid
		case 'T':
			return a.utime+a.stime > b.utime+b.stime
		}
		return a.percent > b.percent
	})
}

// cpuLine shows how the CPUs spent the time since the last look, or "-" when the kernel does not count that.
func (v *topView) cpuLine(cpu []int64) string {
	if len(cpu) < 4 {
		return "%Cpu(s):  - us,  - sy,  - ni,  - id"
	}
	d := make([]float64, 8)
	sum := 0.0
	for i := range d {
		if i < len(cpu) {
			d[i] = float64(cpu[i])
			if i < len(v.cpu) {
				d[i] -= float64(v.cpu[i])
			}
			sum += d[i]
		}
	}
	v.cpu = cpu
	if sum <= 0 {
		sum, d[3] = 1, 1
	}
	p := func(i int) float64 { return d[i] / sum * 100 }
	return fmt.Sprintf("%%Cpu(s): %4.1f us, %4.1f sy, %4.1f ni, %4.1f id, %4.1f wa, %4.1f hi, %4.1f si, %4.1f st", p(0), p(2), p(1), p(3), p(4), p(5), p(6), p(7))
}

func uptimeText(d time.Duration) string {
	minutes := int(d.Minutes())
	var s string
	if days := minutes / 1440; days == 1 {
		s = "1 day, "
	} else if days > 1 {
		s = fmt.Sprintf("%d days, ", days)
	}
	if h := minutes / 60 % 24; h > 0 {
		return s + fmt.Sprintf("%2d:%02d", h, minutes%60)
	}
	return s + fmt.Sprintf("%d min", minutes%60)
}

// Uptime is uptime(1).
func Uptime(c *applet.Cmd) int {
	opts, _, st, ok := c.Parse(applet.Spec{Short: "ps", Long: []string{"pretty/p", "since/s"}, Help: "[options]"})
	if !ok {
		return st
	}
	m := readMachine()
	for _, o := range opts {
		if o.Key == "s" {
			fmt.Fprintln(c.Out, m.boot.Format("2006-01-02 15:04:05"))
			return 0
		}
		fmt.Fprintln(c.Out, "up "+pretty(m.uptime))
		return 0
	}
	fmt.Fprintf(c.Out, " %s up %s,  load average: %s\n", time.Now().Format("15:04:05"), uptimeText(m.uptime), m.loads())
	return 0
}

func pretty(d time.Duration) string {
	minutes := int(d.Minutes())
	var parts []string
	for _, u := range []struct {
		n    int
		name string
	}{{minutes / 10080, "week"}, {minutes / 1440 % 7, "day"}, {minutes / 60 % 24, "hour"}, {minutes % 60, "minute"}} {
		switch {
		case u.n == 1:
			parts = append(parts, "1 "+u.name)
		case u.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", u.n, u.name))
		}
	}
	if len(parts) == 0 {
		return "0 minutes"
	}
	return strings.Join(parts, ", ")
}

// Free is free(1).
func Free(c *applet.Cmd) int {
	opts, _, st, ok := c.Parse(applet.Spec{Short: "bkmghtwls:c:", Long: []string{"bytes/b", "kibi/k", "mebi/m", "gibi/g", "human/h", "total/t", "wide/w"}, Help: "[options]"})
	if !ok {
		return st
	}
	m := readMachine().memory
	if len(m) == 0 {
		c.Fail("cannot read /proc/meminfo")
		return 1
	}
	unit, human, total := int64(1), false, false
	for _, o := range opts {
		switch o.Key {
		case "b":
			unit = -1024
		case "m":
			unit = 1 << 10
		case "g":
			unit = 1 << 20
		case "h":
			human = true
		case "t":
			total = true
		}
	}
	text := func(n int64) string {
		switch {
		case human:
			return freeHuman(n)
		case unit < 0:
			return strconv.FormatInt(n*1024, 10)
		}
		return strconv.FormatInt(n/unit, 10)
	}
	cache := m["Buffers"] + m["Cached"] + m["SReclaimable"]
	used := m["MemTotal"] - m["MemAvailable"]
	swapUsed := m["SwapTotal"] - m["SwapFree"]
	row := func(name string, values ...int64) {
		fmt.Fprintf(c.Out, "%-7s", name)
		for _, v := range values {
			fmt.Fprintf(c.Out, " %11s", text(v))
		}
		fmt.Fprintln(c.Out)
	}
	fmt.Fprintf(c.Out, "%8s %11s %11s %11s %11s %11s %11s\n", "", "total", "used", "free", "shared", "buff/cache", "available")
	row("Mem:", m["MemTotal"], used, m["MemFree"], m["Shmem"], cache, m["MemAvailable"])
	row("Swap:", m["SwapTotal"], swapUsed, m["SwapFree"])
	if total {
		row("Total:", m["MemTotal"]+m["SwapTotal"], used+swapUsed, m["MemFree"]+m["SwapFree"])
	}
	return 0
}

func freeHuman(kib int64) string {
	f := float64(kib) * 1024
	for _, unit := range []string{"B", "Ki", "Mi", "Gi"} {
		if f < 1024 || unit == "Gi" {
			if unit != "B" && f < 10 {
				return fmt.Sprintf("%.1f%s", f, unit)
			}
			return fmt.Sprintf("%d%s", int64(f), unit)
		}
		f /= 1024
	}
	return ""
}
