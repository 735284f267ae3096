package sys

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpawnAndWait(t *testing.T) {
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(r)
	pid, err := Spawn("/bin/sh", []string{"sh", "-c", `printf '%s %s' "$PWD" "$X"; exit 7`},
		&SpawnAttr{Dir: "/", Env: []string{"X=y"}, Files: []int{0, w, 2}, Setpgid: true})
	unix.Close(w)
	if err != nil {
		t.Fatal(err)
	}
	if pgid, err := Getpgid(pid); err == nil && pgid != pid {
		t.Errorf("child's group is %d, want its own pid %d", pgid, pid)
	}
	got, status, _, err := Wait(pid, 0)
	if err != nil || got != pid || !status.Exited() || status.ExitStatus() != 7 || status.ShellCode() != 7 {
		t.Errorf("Wait = %d, %#x, %v; want pid %d, exit 7", got, status, err, pid)
	}
	buf := make([]byte, 64)
	n, _ := unix.Read(r, buf)
	if string(buf[:n]) != "/ y" {
		t.Errorf("child printed %q, want directory and variable it was given", buf[:n])
	}
	if _, _, _, err := Wait(pid, 0); err != syscall.ECHILD {
		t.Errorf("second Wait: %v, want ECHILD", err)
	}
}

func TestStopContinueKill(t *testing.T) {
	r, w, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w)
	pid, err := Spawn("/bin/cat", []string{"cat"}, &SpawnAttr{Files: []int{r, 1, 2}, Setpgid: true})
	unix.Close(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		sig  syscall.Signal
		want func(WaitStatus) bool
		code int
	}{
		{syscall.SIGSTOP, WaitStatus.Stopped, 128 + 19},
		{syscall.SIGCONT, WaitStatus.Continued, 0},
		{syscall.SIGKILL, WaitStatus.Signaled, 137},
	} {
		if err := Kill(-pid, step.sig); err != nil {
			t.Fatal(err)
		}
		_, status, _, err := Wait(pid, WUNTRACED|WCONTINUED)
		if err != nil || !step.want(status) || status.ShellCode() != step.code {
			t.Errorf("after %v: status %#x, code %d, %v; want code %d", step.sig, status, status.ShellCode(), err, step.code)
		}
	}
}

func TestSpawnErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	os.WriteFile(plain, []byte("text"), 0o644)
	program := filepath.Join(dir, "program")
	os.WriteFile(program, []byte("text"), 0o755)
	for path, want := range map[string]error{filepath.Join(dir, "none"): syscall.ENOENT, plain: syscall.EACCES, program: syscall.ENOEXEC} {
		if _, err := Spawn(path, []string{path}, nil); err != want {
			t.Errorf("Spawn(%s): %v, want %v", path, err, want)
		}
	}
}

func TestTerminal(t *testing.T) {
	master, slave, err := OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(master)
	defer unix.Close(slave)
	if !IsTerminal(slave) {
		t.Error("slave is no terminal")
	}
	if err := SetWinsize(master, Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	if w, err := GetWinsize(slave); err != nil || w.Rows != 24 || w.Cols != 80 {
		t.Errorf("GetWinsize = %v, %v", w, err)
	}
	old, err := MakeRaw(slave)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := Tcgetattr(slave); err != nil || raw.Lflag&(ICANON|ECHO|ISIG) != 0 || raw.Cc[VMIN] != 1 {
		t.Errorf("raw mode: %+v, %v", raw, err)
	}
	if err := Tcsetattr(slave, TCSADRAIN, old); err != nil {
		t.Fatal(err)
	}
	if now, _ := Tcgetattr(slave); *now != *old {
		t.Errorf("restored to %+v, want %+v", now, old)
	}
}

func TestFiles(t *testing.T) {
	defer Umask(Umask(0o022))
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	fd, err := Open(name, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if p, err := FDPath(fd); err != nil || p != name {
		t.Errorf("FDPath = %q, %v; want %q", p, err, name)
	}
	for _, step := range []struct {
		name string
		do   func() error
		path string
		mode uint32
	}{
		{"created", func() error { return nil }, name, S_IFREG | 0o644},
		{"chmod", func() error { return Chmod(name, S_ISUID|0o711) }, name, S_IFREG | S_ISUID | 0o711},
		{"mkdir", func() error { return Mkdir(filepath.Join(dir, "d"), 0o777) }, filepath.Join(dir, "d"), S_IFDIR | 0o755},
		{"fifo", func() error { return Mknod(filepath.Join(dir, "p"), S_IFIFO|0o600, 0) }, filepath.Join(dir, "p"), S_IFIFO | 0o600},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if st, err := StatFile(step.path, false); err != nil || st.Mode != step.mode || st.UID != uint32(os.Getuid()) {
			t.Errorf("%s: mode %o, uid %d, %v; want mode %o", step.name, st.Mode, st.UID, err, step.mode)
		}
	}
	if err := Access(filepath.Join(dir, "none"), F_OK); err != syscall.ENOENT {
		t.Errorf("Access of no file: %v", err)
	}
}

func TestMachine(t *testing.T) {
	if u, err := Uname(); err != nil || u.Sysname != "Linux" || u.Machine == "" {
		t.Errorf("Uname = %+v, %v", u, err)
	}
	if si, err := GetSysinfo(); err != nil || si.TotalBytes == 0 || si.Uptime == 0 {
		t.Errorf("GetSysinfo = %+v, %v", si, err)
	}
	if fs, err := GetStatfs("/"); err != nil || fs.Blocks == 0 {
		t.Errorf("GetStatfs = %+v, %v", fs, err)
	}
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call itself answers 20 minus the nice value
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Nice(0, 0); err != nil || n != 20-own {
		t.Errorf("Nice = %d, %v", n, err)
	}
	if dev := Mkdev(1, 300); Major(dev) != 1 || Minor(dev) != 300 || dev != unix.Mkdev(1, 300) {
		t.Errorf("Mkdev(1, 300) = %#x", dev)
	}
}
