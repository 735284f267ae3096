package kernel

import (
	"context"
	"errors"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/sandbox/wasm"
)

// main is the life of p.
func (p *Process) main() {
	defer p.m.acct.running.Done()
	ctx := context.WithValue(context.Background(), processKey{}, p)
	var status uint32
	for reloads := 0; ; {
		err := p.admit()
		if err == nil {
			p.callFuel += startCost
			err = p.prog.Run(ctx, p)
		}
		if errors.Is(err, errExec) && p.next != nil {
			p.become(p.next)
			continue
		}
		if errors.Is(err, wasm.ErrRetired) && reloads < 3 { // unloaded to make room between the look for it and its first instruction
			reloads++
			img, e := p.m.host.load(ctx, p.View(), p.Path(), p.Args(), p.Env(), true)
			if e == nil {
				p.prog = img.prog
				continue
			}
		}
		status = p.statusOf(err)
		break
	}
	p.exit(status)
}

// statusOf is the wait status for what Run returned.
func (p *Process) statusOf(err error) uint32 {
	p.m.mu.Lock()
	fatal := p.fatal
	p.m.mu.Unlock()
	var exit *wasm.ExitError
	var trap *wasm.TrapError
	switch {
	case fatal != 0:
		return uint32(fatal)
	case errors.As(err, &exit):
		return exit.Code & 0xff << 8
	case err == nil:
		return 0
	case errors.As(err, &trap):
		p.report(trap)
		return uint32(trap.Signal) & 0x7f
	}
	p.m.Log(3, p.Comm()+": "+err.Error())
	return uint32(SIGKILL)
}

// report writes a trap's text where the program's own last words would go: on its standard error, and in the kernel log.
func (p *Process) report(t *wasm.TrapError) {
	p.m.Log(3, p.Comm()+": "+t.Reason)
	if s, err := p.fds.get(2); err == nil {
		text := []byte(t.Text)
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		s.fd.d.Write(text) // as far as it takes it: nobody waits for a dying program
	}
}

// uncharge gives the private memory back.
func (p *Process) uncharge() {
	if n := p.mem.Swap(0); n != 0 {
		p.cgroup.tryCharge(-n)
	}
}

// exit ends p with status.
func (p *Process) exit(status uint32) {
	p.instance = nil
	p.dropSlot()
	p.uncharge()
	p.m.mu.Lock()
	if p.fatal != 0 { // it came after the guest's last instruction
		status = uint32(p.fatal)
	}
	p.exiting = true // signals do nothing any more
	p.group.giveBackLocked()
	p.m.mu.Unlock()
	for _, f := range p.fds.takeAll(false) {
		f.Close()
	}
	m := p.m
	if p.isInit() {
		p.endNamespace()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.leaveTTYLocked()
	p.orphanLocked()
	p.ended, p.status, p.endedAt = true, status, m.clock.Now()
	p.cgroup.part(p)
	if p.isInit() {
		p.ns.dead = true
	}
	close(p.done)
	p.watch.notifyLocked()
	q := p.parent
	if q.kernel || q.actions[SIGCHLD] == ModeIgnored {
		p.reapLocked()
	} else {
		m.childNewsLocked(p)
	}
	m.live--
	m.checkDoneLocked()
}

// endNamespace kills what is left of p's namespace and waits until it is gone: the end of an init.
func (p *Process) endNamespace() {
	ns := p.ns
	p.m.mu.Lock()
	ns.dead = true
	var zombies []*Process
	for _, r := range ns.byNr {
		q := r.proc
		if q == nil || q == p {
			continue
		}
		if !q.ended {
			q.killLocked(SIGKILL)
		}
		if q.parent == p || q.parent.ns == ns {
			q.parent.disownLocked(q)
			q.parent = p.m.init
			p.m.init.children[q] = struct{}{}
			if q.ended {
				zombies = append(zombies, q)
			}
		}
	}
	for _, q := range zombies {
		q.reapLocked()
	}
	if ns.count <= 1 {
		p.m.mu.Unlock()
		return
	}
	empty := make(chan struct{})
	ns.empty = empty
	p.m.mu.Unlock()
	<-empty
}

func (p *Process) disownLocked(q *Process) { delete(p.children, q) }

// orphanLocked hands p's children to the reaper and wakes stopped groups that nobody will continue any more.
func (p *Process) orphanLocked() {
	m := p.m
	reaper := p.ns.init
	if reaper == p || reaper == nil || reaper.ended || p.ns.dead {
		reaper = m.init
	}
	var groups []*pgroup
	for q := range p.children {
		if q.group != nil && q.group.session == p.session && q.group != p.group {
			groups = append(groups, q.group)
		}
		q.parent = reaper
		if reaper.children == nil {
			reaper.children = map[*Process]struct{}{}
		}
		reaper.children[q] = struct{}{}
		if q.ended {
			if reaper.kernel {
				q.reapLocked()
			} else {
				m.childNewsLocked(q)
			}
		}
	}
	p.children = nil
	g := p.group
	was := g.orphanedLocked()
	p.ended = true
	if !was {
		groups = append(groups, g)
	}
	for _, g := range groups {
		if g.ref.group != g || !g.orphanedLocked() {
			continue
		}
		for q := range g.members {
			if q.stopSig != 0 {
				g.signalLocked(m, SIGHUP, nil)
				g.signalLocked(m, SIGCONT, nil)
				break
			}
		}
	}
}

// reapLocked takes an ended process out of the table.
func (p *Process) reapLocked() {
	q := p.parent
	q.disownLocked(p)
	q.childUser += p.user.Load() + p.childUser
	q.childSystem += p.system.Load() + p.childSystem
	if g := p.group; g != nil {
		p.leaveLocked(g)
	}
	if s := p.session; s != nil && s.leader == p {
		s.leader = nil
	}
	p.forgetLocked()
	p.cgroup.leave()
}

// Options of Wait.
const (
	WNOHANG    = 1
	WUNTRACED  = 2
	WCONTINUED = 8
)

// Waited is what Wait found. PID 0: nothing yet (WNOHANG).
type Waited struct {
	PID    int
	Status WaitStatus
	Usage  Usage
}

// Wait is waitpid(2): pid −1 any child, 0 of the own group, < −1 of group −pid. ECHILD, EINTR, EINVAL.
func (p *Process) Wait(pid, options int) (Waited, error) {
	if options&^(WNOHANG|WUNTRACED|WCONTINUED) != 0 {
		return Waited{}, syscall.EINVAL
	}
	var w Waited
	var err error
	look := func() bool {
		w, err = p.waitOnce(pid, options)
		return err != nil || w.PID != 0
	}
	if look() || options&WNOHANG != 0 {
		return w, err
	}
	if e := p.Block(look); e != nil {
		if w.PID != 0 && e == ErrKilled {
			return w, nil // taken already; the caller will see the kill by itself
		}
		return w, e
	}
	return w, err
}

func (p *Process) waitOnce(pid, options int) (Waited, error) {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	some := false
	for q := range p.children {
		switch {
		case pid > 0 && q.pid.in(p.ns) != pid,
			pid == 0 && q.group != p.group,
			pid < -1 && (q.group == nil || q.group.ref.in(p.ns) != -pid):
			continue
		}
		some = true
		w := Waited{PID: q.pid.in(p.ns)}
		switch {
		case q.ended:
			w.Status = WaitStatus(q.status)
			w.Usage = Usage{User: fuelTime(q.user.Load() + q.childUser), System: fuelTime(q.system.Load() + q.childSystem), MaxRSS: q.memPeak.Load()}
			q.reapLocked()
			return w, nil
		case q.stopNews && options&WUNTRACED != 0:
			q.stopNews = false
			w.Status = WaitStatus(q.stopSig)<<8 | 0x7f
			return w, nil
		case q.contNews && options&WCONTINUED != 0:
			q.contNews = false
			w.Status = 0xffff
			return w, nil
		}
	}
	if !some {
		return Waited{}, syscall.ECHILD
	}
	return Waited{}, nil
}

// pidFD is the description of a pidfd: readable once the process has ended.
type pidFD struct{ p *Process }

// PIDFD is a descriptor that polls readable when q has ended.
func (q *Process) PIDFD() *FD { return NewFD(&pidFD{q}) }

func (d *pidFD) Read([]byte) (int, error)  { return 0, syscall.EINVAL }
func (d *pidFD) Write([]byte) (int, error) { return 0, syscall.EINVAL }
func (d *pidFD) Watch(f func()) func()     { return d.p.Watch(f) }
func (d *pidFD) Name() string              { return "anon_inode:[pidfd]" }
func (d *pidFD) Kind() Kind                { return KindOther }
func (d *pidFD) Release()                  {}

func (d *pidFD) Poll() Events {
	if d.p.exited() {
		return EventIn
	}
	return 0
}

func (d *pidFD) Stat() vfs.Stat { return vfs.Stat{Dev: 14, Ino: 1, Mode: 0o600, Nlink: 1} }
