package kernel

import (
	"sync/atomic"
	"syscall"
)

// pidMax bounds process numbers (/proc/sys/kernel/pid_max).
const pidMax = 32768

var nsIno atomic.Uint64

func newNSIno() uint64 { return 0xf0000000 + nsIno.Add(1) }

// PIDNS is a pid namespace (pid_namespaces(7)). Its first process is its init: when that ends, all others are killed.
type PIDNS struct {
	m      *Machine
	parent *PIDNS
	level  int
	ino    uint64

	// Guarded by m.mu.
	next  int
	byNr  map[int]*pidRef
	init  *Process
	dead  bool
	count int           // processes not yet reaped
	empty chan struct{} // closed when init ends alone; made when init waits for that
}

// NewPIDNamespace makes an empty namespace inside parent. The first process spawned into it is its init.
func NewPIDNamespace(parent *PIDNS) *PIDNS {
	return &PIDNS{m: parent.m, parent: parent, level: parent.level + 1, ino: newNSIno(), byNr: map[int]*pidRef{}, next: 1}
}

// Parent is the namespace around it, nil for a machine's outermost.
func (ns *PIDNS) Parent() *PIDNS { return ns.parent }

// Init is the namespace's pid 1, nil before the first process and after its end.
func (ns *PIDNS) Init() *Process {
	ns.m.mu.Lock()
	defer ns.m.mu.Unlock()
	if ns.dead {
		return nil
	}
	return ns.init
}

// contains reports whether o is ns or inside it.
func (ns *PIDNS) contains(o *PIDNS) bool {
	for ; o != nil; o = o.parent {
		if o == ns {
			return true
		}
	}
	return false
}

// pidRef is Linux' struct pid: the numbers of a process in its namespace and those around, kept as long as a process, group or session has them.
type pidRef struct {
	ns      *PIDNS
	nrs     []int // by level
	proc    *Process
	group   *pgroup
	session *session
}

// in is the number in ns, 0 when it is not visible there.
func (r *pidRef) in(ns *PIDNS) int {
	if r == nil || !ns.contains(r.ns) {
		return 0
	}
	return r.nrs[ns.level]
}

func (ns *PIDNS) allocLocked(p *Process) *pidRef {
	r := &pidRef{ns: ns, nrs: make([]int, ns.level+1), proc: p}
	for n := ns; n != nil; n = n.parent {
		for n.byNr[n.next] != nil {
			n.next = n.next%(pidMax-1) + 1
		}
		r.nrs[n.level] = n.next
		n.byNr[n.next] = r
		n.next = n.next%(pidMax-1) + 1
		n.count++
	}
	return r
}

// dropLocked frees the numbers when nobody has them any more.
func (r *pidRef) dropLocked() {
	if r.proc != nil || r.group != nil || r.session != nil {
		return
	}
	for n := r.ns; n != nil; n = n.parent {
		delete(n.byNr, r.nrs[n.level])
	}
}

// pgroup is a process group.
type pgroup struct {
	ref     *pidRef
	session *session
	members map[*Process]struct{}
	giver   *pgroup // spawned this one into the foreground; nil when that was done otherwise
}

// giveBackLocked makes the giver of a foreground group without a living member the foreground group. Linux leaves that to the shell, and what
// is typed until it comes to it (a Ctrl-C between two commands of a loop) reaches nobody.
func (g *pgroup) giveBackLocked() {
	t := g.session.tty
	if g.giver == nil || t == nil || t.fg != g || g.giver.ref.group != g.giver || g.giver.session != g.session {
		return
	}
	for p := range g.members {
		if !p.exiting {
			return
		}
	}
	t.fg = g.giver
}

// session is a session; tty is its controlling terminal.
type session struct {
	ref    *pidRef
	leader *Process // nil once it has ended
	groups int
	tty    *TTY
}

func newSessionLocked(r *pidRef, leader *Process) *session {
	s := &session{ref: r, leader: leader}
	r.session = s
	return s
}

// joinLocked moves p into the group numbered r of session s, made if it isn't there.
func (p *Process) joinLocked(r *pidRef, s *session) {
	g := r.group
	if g == nil {
		g = &pgroup{ref: r, session: s, members: map[*Process]struct{}{}}
		r.group = g
		s.groups++
	}
	if p.group == g {
		return
	}
	g.members[p] = struct{}{}
	old := p.group
	p.group, p.session = g, s
	if old != nil {
		p.leaveLocked(old)
	}
}

func (p *Process) leaveLocked(g *pgroup) {
	delete(g.members, p)
	if len(g.members) > 0 {
		return
	}
	g.giveBackLocked()
	s := g.session
	if s.tty != nil && s.tty.fg == g {
		s.tty.fg = nil
	}
	g.ref.group = nil
	g.ref.dropLocked()
	if s.groups--; s.groups == 0 {
		if s.tty != nil {
			s.tty.session, s.tty.fg = nil, nil
			s.tty = nil
		}
		s.ref.session = nil
		s.ref.dropLocked()
	}
}

func (g *pgroup) listLocked() []*Process {
	l := make([]*Process, 0, len(g.members))
	for p := range g.members {
		l = append(l, p)
	}
	return l
}

// orphanedLocked: no member has a parent in another group of the same session (POSIX 3.253), so nobody would continue it.
func (g *pgroup) orphanedLocked() bool {
	for p := range g.members {
		if q := p.parent; q != nil && !q.kernel && !p.ended && q.group != g && q.session == g.session {
			return false
		}
	}
	return true
}

func (g *pgroup) signalLocked(m *Machine, s Signal, from *Process) {
	for p := range g.members {
		m.sendLocked(p, s, from)
	}
}

// targetLocked finds the process pid names for setpgid and the like; 0 is p itself.
func (p *Process) targetLocked(pid int) (*Process, error) {
	if pid == 0 {
		return p, nil
	}
	if r := p.ns.byNr[pid]; r != nil && r.proc != nil {
		return r.proc, nil
	}
	return nil, syscall.ESRCH
}

// Pgid is getpgid(2).
func (p *Process) Pgid(pid int) (int, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	q, err := p.targetLocked(pid)
	if err != nil {
		return 0, err
	}
	return q.group.ref.in(p.ns), nil
}

// Sid is getsid(2).
func (p *Process) Sid(pid int) (int, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	q, err := p.targetLocked(pid)
	if err != nil {
		return 0, err
	}
	return q.session.ref.in(p.ns), nil
}

// SetPgid is setpgid(2), but for EACCES after exec: a child that was spawned here has always begun its program.
func (p *Process) SetPgid(pid, pgid int) error {
	if pgid < 0 {
		return syscall.EINVAL
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	q, err := p.targetLocked(pid)
	if err != nil {
		return err
	}
	if q != p && q.parent != p {
		return syscall.ESRCH
	}
	return q.setPgidLocked(pgid, p)
}

// setPgidLocked moves q into group pgid (0: its own) as by sees numbers. EPERM for session leaders and groups of other sessions.
func (q *Process) setPgidLocked(pgid int, by *Process) error {
	if q.session.leader == q || q.session != by.session {
		return syscall.EPERM
	}
	ref := q.pid
	if pgid != 0 && pgid != q.pid.in(by.ns) {
		ref = by.ns.byNr[pgid]
		if ref == nil || ref.group == nil || ref.group.session != q.session {
			return syscall.EPERM
		}
	}
	q.joinLocked(ref, q.session)
	return nil
}

// SetSid is setsid(2). EPERM for group leaders.
func (p *Process) SetSid() (int, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.pid.group != nil {
		return 0, syscall.EPERM
	}
	p.joinLocked(p.pid, newSessionLocked(p.pid, p))
	return p.pid.in(p.ns), nil
}
