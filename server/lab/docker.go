package lab

import (
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/drydock-labs/drydock/sandbox/docker"
	"github.com/drydock-labs/drydock/sandbox/network"
	"github.com/drydock-labs/drydock/sandbox/runtime"
)

// dockerSocket is where clients on the workstation find the Docker host; dockerGID may use it, as the group docker does.
const (
	dockerSocket = "/var/run/docker.sock"
	dockerGID    = learnerUID
)

// startDocker makes the workstation a Docker host.
func (n *node) startDocker(b *boot) (err error) {
	l := n.lab
	b.docker, err = docker.New(docker.Config{Machine: b.machine, Images: n.images, Fabric: l.fabric, Disk: &l.disk, DiskSize: l.disk.limit, LogLimit: l.host.limits.LogBytes,
		Containers: l.host.limits.Containers, Version: l.host.cfg.Version, Keeper: l.keeper, Registries: l.regs.all})
	if err != nil {
		return err
	}
	b.docker.Watch(l.hosted.signal) // ends with the engine
	b.docker.WatchLogs(l.hosted.signal)
	l.hosted.signal()
	b.docker.Watch(l.docked.soon)
	l.docked.soon()
	if err := b.root.MkdirAll("/var/run", 0o755); err != nil {
		return err
	}
	_ = b.root.Unlink(nil, dockerSocket) // of the boot before
	ln, err := b.machine.ListenUnix(dockerSocket, 0o660, 0, dockerGID)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", dockerSocket, err)
	}
	b.door = network.ServeListener(ln, dockerConns, func(c net.Conn) { serveHTTP(c, b.docker) })
	return nil
}

// dockerConns bounds the connections to the Docker host that are served at a time from inside the lab.
const dockerConns = 128

// serveHTTP serves one connection until it ends.
func serveHTTP(c net.Conn, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 15 * time.Second, IdleTimeout: 3 * time.Minute, MaxHeaderBytes: 64 << 10}
	_ = srv.Serve(&oneConn{conn: &heldConn{Conn: c, done: make(chan struct{})}}) // always the listener's end
}

// oneConn is a listener with one connection, which ends with it.
type oneConn struct {
	conn  *heldConn
	taken bool
}

// Accept implements net.Listener.
func (l *oneConn) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return l.conn, nil
	}
	<-l.conn.done
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *oneConn) Close() error { return nil }

// Addr implements net.Listener.
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// Docker is the lab's Docker host: the Engine API. An error while the workstation is off.
func (l *Lab) Docker() (http.Handler, error) {
	b, err := l.nodes[Workstation].current()
	if err != nil {
		return nil, err
	}
	if b.docker == nil {
		return nil, runtime.ErrClosed
	}
	return b.docker, nil
}
