package main

// source is one file of GOROOT (or of a module) that is compiled differently for guests.
type source struct {
	path  string // below GOROOT/src, or below the module
	from  string // the file whose text is taken, if not path: a sibling for another system
	drop  bool   // leave the file out
	edits []edit

	transform func([]byte) ([]byte, error) // applied after the edits
}

// edit replaces a piece of text that must occur exactly once, or n times.
type edit struct {
	old, new string
	n        int
}

// tag changes a file's build constraint.
func tag(old, new string) edit {
	return edit{old: "//go:build " + old + "\n", new: "//go:build " + new + "\n"}
}

// aside renames a function, which ours in a new file takes the place of; the linker drops it.
func aside(signatures ...string) (es []edit) {
	for _, s := range signatures {
		es = append(es, edit{old: "\nfunc " + s + "(", new: "\nfunc wasi" + s + "("})
	}
	return es
}

func all(lists ...[]edit) (es []edit) {
	for _, l := range lists {
		es = append(es, l...)
	}
	return es
}

// goroot is what is changed in Go's standard library for GOOS=wasip1. The new files are in _goroot.
// Most of package net is not changed but chosen: the files for Unix systems instead of the fakes, above sockets in package syscall.
var goroot = []source{
	// Signals: the number of signals, who is told, who waits; the poller hears them on a reserved descriptor.
	{path: "runtime/os_wasm.go", edits: []edit{
		{old: "const _NSIG = 0\n", new: "const _NSIG = 65\n"},
		{old: "func os_sigpipe() {}", new: "func os_sigpipe() { drydockSigpipe() }"},
		{old: "func sigdisable(uint32)              {}\nfunc sigenable(uint32)               {}\nfunc sigignore(uint32)               {}\n"},
	}},
	{path: "runtime/sigqueue.go", edits: []edit{
		{old: "\t\t\t\tnotewakeup(&sig.note)\n", new: "\t\t\t\tdrydockSignalWake()\n"},
		{old: "notetsleepg(&sig.note, -1)\n\t\t\t\t\tnoteclear(&sig.note)", new: "drydockSignalWait()"},
	}},
	{path: "runtime/netpoll_wasip1.go", edits: []edit{
		{old: "make([]subscription, 1, 128)", new: "make([]subscription, 2, 128)"},
		{old: "make([]event, 0, 128)", new: "make([]event, 2, 128)"},
		{old: "\tclock.precision = 1e3\n", new: "\tclock.precision = 1e3\n\n\t*subs[1].u.eventtype() = eventtypeFdRead\n\tsubs[1].u.subscriptionFdReadwrite().fd = drydockSignalFD\n"},
		{old: "\t\thangup := e.fdReadwrite", new: "\t\tif e.userdata == 0 {\n\t\t\tdrydockDrain()\n\t\t\tcontinue\n\t\t}\n\n\t\thangup := e.fdReadwrite"},
		{old: "\tunlock(&mtx)\n\treturn toRun, delta\n", new: "\tdelta += drydockRunReceiver(&toRun)\n\tunlock(&mtx)\n\treturn toRun, delta\n"},
	}},

	// There are no arguments while the image is made, and many packages look at os.Args[0] when they are initialised.
	{path: "runtime/os_wasip1.go", edits: []edit{{old: "\targslice = make([]string, argc)\n", new: "\targslice = make([]string, max(argc, 1))\n"}}},
	// A guest is a whole program although it is linked as a library: a panic ends it with 2 and shows what it would show natively.
	{path: "runtime/runtime1.go", edits: []edit{{old: "\tif islibrary || isarchive {\n\t\tt |= tracebackCrash\n\t}\n"}}},

	{path: "syscall/syscall_wasip1.go", edits: all(
		aside("Sysctl", "Getuid", "Getgid", "Geteuid", "Getegid", "Getgroups", "Getpid", "Getppid", "Kill", "StartProcess", "Wait4", "Umask", "Getrlimit"),
		[]edit{
			{old: "\t\ts := errorstr[e]\n", new: "\t\ts := drydockErrorText(e)\n"},
			{old: "\t\treturn e == ENOSYS\n", new: "\t\treturn e == ENOSYS || e == ENOTSUP\n"},
			// Linux's numbers.
			{old: "\tSIGBUS\n\tSIGFPE\n\tSIGKILL\n\tSIGUSR1\n\tSIGSEGV\n\tSIGUSR2\n\tSIGPIPE\n\tSIGALRM\n\tSIGTERM\n\tSIGCHLD\n",
				new: "\tSIGBUS\n\tSIGFPE\n\tSIGKILL\n\tSIGUSR1\n\tSIGSEGV\n\tSIGUSR2\n\tSIGPIPE\n\tSIGALRM\n\tSIGTERM\n\tSIGSTKFLT\n\tSIGCHLD\n"},
			{old: "\tO_SYNC      = 010000\n\tO_DIRECTORY = 020000\n\tO_NOFOLLOW  = 0400\n", new: "\tO_SYNC      = 04010000\n\tO_DIRECTORY = 0200000\n\tO_NOFOLLOW  = 0400000\n"},
			{old: "\tRLIMIT_NOFILE = iota\n", new: "\tRLIMIT_NOFILE = 7\n"},
			{old: "type Rusage struct {\n\tUtime Timeval\n\tStime Timeval\n}", new: "type Rusage struct {\n\tUtime  Timeval\n\tStime  Timeval\n\tMaxrss int64\n}"},
			{old: "type SysProcAttr struct {\n}", new: "type SysProcAttr struct {\n\tChroot     string\n\tCredential *Credential\n\tSetsid     bool\n\tSetpgid    bool\n\tSetctty    bool\n\tNoctty     bool\n\tForeground bool\n\tCtty       int\n\tPgid       int\n}"},
			{old: "func (w WaitStatus) Exited() bool       { return false }\nfunc (w WaitStatus) ExitStatus() int    { return 0 }\n" +
				"func (w WaitStatus) Signaled() bool     { return false }\nfunc (w WaitStatus) Signal() Signal     { return 0 }\n" +
				"func (w WaitStatus) CoreDump() bool     { return false }\nfunc (w WaitStatus) Stopped() bool      { return false }\n" +
				"func (w WaitStatus) Continued() bool    { return false }\nfunc (w WaitStatus) StopSignal() Signal { return 0 }\n" +
				"func (w WaitStatus) TrapCause() int     { return 0 }\n"},
		})},
	{path: "syscall/fs_wasip1.go", edits: all(
		aside("preparePath", "openat", "Mkdir", "Stat", "Lstat", "Fstat", "Chmod", "Fchmod", "Chown", "Fchown", "Lchown", "Getwd", "Chdir", "Dup", "Dup2", "Pipe"),
		[]edit{
			{old: "\tUid uint32\n\tGid uint32\n}", new: "\tUid uint32\n\tGid uint32\n\n\tRdev    uint64\n\tBlksize int64\n\tBlocks  int64\n}"},
			{old: "\tif path == \"\" {\n\t\treturn -1, EINVAL\n", new: "\tif path == \"\" {\n\t\treturn -1, ENOENT\n"},
			{old: "\tif path == \"\" {\n\t\treturn EINVAL\n", new: "\tif path == \"\" {\n\t\treturn ENOENT\n", n: 8},
		})},
	{path: "syscall/net_fake.go", drop: true},
	{path: "syscall/net_wasip1.go", drop: true},

	{path: "internal/syscall/unix/at_wasip1.go", edits: aside("Fstatat", "Mkdirat", "Fchmodat", "Fchownat")},
	{path: "internal/syscall/unix/fcntl_wasip1.go", drop: true},
	{path: "internal/syscall/unix/net_wasip1.go", from: "internal/syscall/unix/net.go", edits: []edit{tag("unix", "wasip1")}},
	{path: "internal/poll/sockopt.go", edits: []edit{tag("unix || windows", "unix || wasip1 || windows")}},
	{path: "internal/poll/sockopt_unix.go", edits: []edit{tag("unix", "unix || wasip1")}},
	{path: "internal/poll/fd_wasip1.go", edits: []edit{{old: "\treturn syscall.Chdir(fd.Path)\n", new: "\treturn syscall.Fchdir(fd.Sysfd)\n"}}},

	{path: "os/pipe_wasm.go", drop: true},
	{path: "os/executable_wasm.go", drop: true},
	{path: "os/wait_unimp.go", edits: []edit{tag("aix || darwin || (js && wasm) || openbsd || solaris || wasip1", "aix || darwin || (js && wasm) || openbsd || solaris")}},
	{path: "os/stat_wasip1.go", edits: []edit{
		{old: "\tif fs.sys.Filetype == syscall.FILETYPE_DIRECTORY {\n\t\tfs.mode |= 0700\n\t} else {\n\t\tfs.mode |= 0600\n\t}\n", new: "\tdrydockFillMode(fs)\n"},
	}},
	{path: "os/file_open_wasip1.go", edits: []edit{
		{old: "\tif filePath == \"\" {\n\t\treturn -1, poll.SysFile{}, syscall.EINVAL\n\t}\n", new: "\tif true {\n\t\tfd, err := syscall.Open(filePath, flag, perm)\n\t\treturn fd, poll.SysFile{}, err\n\t}\n"},
	}},
	{path: "os/exec/lp_wasm.go", from: "os/exec/lp_unix.go", edits: []edit{tag("unix", "wasip1")}},

	{path: "time/zoneinfo_wasip1.go", from: "time/zoneinfo_unix.go", edits: []edit{tag("unix && !ios && !android", "wasip1")}},
	{path: "crypto/x509/root_wasm.go", from: "crypto/x509/root_linux.go"},

	{path: "net/net_fake.go", drop: true},
	{path: "net/fd_fake.go", drop: true},
	{path: "net/fd_wasip1.go", drop: true},
	{path: "net/file_wasip1.go", drop: true},
	{path: "net/sockopt_fake.go", drop: true},
	{path: "net/tcpsockopt_stub.go", drop: true},
	{path: "net/fd_posix.go", edits: []edit{tag("unix || windows", "unix || wasip1 || windows")}},
	{path: "net/fd_unix.go", edits: []edit{tag("unix", "unix || wasip1")}},
	{path: "net/file_posix.go", edits: []edit{tag("unix || windows", "unix || wasip1 || windows")}},
	{path: "net/file_unix.go", edits: []edit{tag("unix", "unix || wasip1")}},
	{path: "net/sock_posix.go", edits: []edit{tag("unix || windows", "unix || wasip1 || windows")}},
	{path: "net/sock_cloexec.go", edits: []edit{tag("dragonfly || freebsd || linux || netbsd || openbsd", "dragonfly || freebsd || linux || netbsd || openbsd || wasip1")}},
	{path: "net/sockopt_posix.go", edits: []edit{tag("unix || windows", "unix || wasip1 || windows")}},
	{path: "net/tcpsockopt_posix.go", edits: []edit{tag("unix || windows", "unix || wasip1 || windows")}},
	{path: "net/tcpsockopt_unix.go", edits: []edit{tag("aix || dragonfly || freebsd || illumos || linux || netbsd", "aix || dragonfly || freebsd || illumos || linux || netbsd || wasip1")}},
	{path: "net/ipsock_posix.go", edits: []edit{{old: "\tcase \"js\", \"wasip1\":\n", new: "\tcase \"js\":\n"}}},
}
