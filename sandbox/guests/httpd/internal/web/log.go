package web

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Logs are the open log files. Each line is one write, so that lines of several writers do not mix.
type Logs struct {
	mu    sync.Mutex
	files map[string]*os.File // protected by mu
}

// Open opens the files that are not open yet and closes those that are not named.
func (l *Logs) Open(names []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := map[string]*os.File{}
	for _, n := range names {
		if f := l.files[n]; f != nil {
			files[n] = f
			continue
		}
		f, err := openLog(n)
		if err != nil {
			for n, f := range files {
				if l.files[n] == nil {
					closeLog(f)
				}
			}
			return fmt.Errorf("%s", openText(n, err))
		}
		files[n] = f
	}
	for n, f := range l.files {
		if files[n] == nil {
			closeLog(f)
		}
	}
	l.files = files
	return nil
}

// openLog opens a file to append to. What leads to the standard streams is those, for whoever may not open them by name.
func openLog(name string) (*os.File, error) {
	if to, err := os.Readlink(name); err == nil {
		name = to
	}
	switch name {
	case "/dev/stdout", "/proc/self/fd/1":
		return os.Stdout, nil
	case "/dev/stderr", "/proc/self/fd/2":
		return os.Stderr, nil
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
}

func closeLog(f *os.File) {
	if f != os.Stdout && f != os.Stderr {
		f.Close()
	}
}

// Reopen closes and opens all files, after something has moved them away.
func (l *Logs) Reopen() error {
	l.mu.Lock()
	var names []string
	for n := range l.files {
		names = append(names, n)
	}
	old := l.files
	l.files = nil
	l.mu.Unlock()
	if err := l.Open(names); err != nil {
		l.mu.Lock()
		l.files = old
		l.mu.Unlock()
		return err
	}
	for _, f := range old {
		closeLog(f)
	}
	return nil
}

func (l *Logs) write(file string, line []byte) {
	l.mu.Lock()
	f := l.files[file]
	l.mu.Unlock()
	if f != nil {
		f.Write(line) // a full disk must not stop the server
	}
}

// Error writes to an error log: "2026/01/02 15:04:05 [error] PID#PID: text".
func (l *Logs) Error(t Target, level int, text string) {
	if level > t.Level {
		return
	}
	pid := os.Getpid()
	text = strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(text)
	l.write(t.File, fmt.Appendf(nil, "%s [%s] %d#%d: %s\n", time.Now().Format("2006/01/02 15:04:05"), levels[level], pid, pid, text))
}

func (q *request) logAccess() {
	for _, a := range q.scope.access {
		q.conn.server.Logs.write(a.file, append(a.format.appendLog(make([]byte, 0, 256), q), '\n'))
	}
}

// logError writes what went wrong with where it happened.
func (q *request) logError(level int, text string) {
	s := fmt.Sprintf("*%d %s, client: %s, server: %s, request: %q", q.conn.id, text, variables["remote_addr"](q), q.server.names[0], q.line)
	if q.upstream != "" {
		s += fmt.Sprintf(", upstream: %q", "http://"+q.upstream+q.uri)
	}
	if q.http.Host != "" {
		s += fmt.Sprintf(", host: %q", q.http.Host)
	}
	q.conn.server.Logs.Error(q.scope.errorLog, level, s)
}
