package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/system"
)

// netcat is one run of nc.
type netcat struct {
	c          *applet.Cmd
	network    string
	listen     bool
	keep       bool // -k: listen again
	scan       bool // -z
	verbose    bool
	numeric    bool
	timeout    time.Duration // -w
	localPort  string
	localHost  string
	half       bool // -N: end our side when standard input ends
	program    []string
	quitAfter  time.Duration // -q; negative: never
	fromNobody bool          // -d
}

// Nc is nc(1) as OpenBSD has it, with BusyBox's -e.
func Nc(c *applet.Cmd) int {
	n := &netcat{c: c, network: "tcp", quitAfter: -1}
	for i, a := range c.Args { // -e takes the rest of the line
		if a == "-e" && i+1 < len(c.Args) {
			n.program, c.Args = c.Args[i+1:], c.Args[:i]
			break
		}
	}
	opts, names, st, ok := c.Parse(applet.Spec{Short: "46dhklnNp:q:s:tuUvw:z", Help: "[-46dklNnuvz] [-p PORT] [-q SECONDS] [-s ADDRESS] [-w TIMEOUT] [DESTINATION] [PORT] [-e PROGRAM ARG...]"})
	if !ok {
		return st
	}
	for _, o := range opts {
		switch o.Key {
		case "4", "6":
			n.network += o.Key
		case "d":
			n.fromNobody = true
		case "k":
			n.keep = true
		case "l":
			n.listen = true
		case "n":
			n.numeric = true
		case "N":
			n.half = true
		case "p":
			n.localPort = o.Arg
		case "s":
			n.localHost = o.Arg
		case "q", "w":
			d, ok := system.Duration(o.Arg)
			if !ok {
				c.Fail("timeout invalid: %s", o.Arg)
				return 1
			}
			if o.Key == "w" {
				n.timeout = d
			} else {
				n.quitAfter = d
			}
		case "u":
			n.network = strings.Replace(n.network, "tcp", "udp", 1)
		case "U":
			n.network = "unix"
		case "v":
			n.verbose = true
		case "z":
			n.scan = true
		}
	}
	if n.listen {
		return n.serve(names)
	}
	return n.dialAll(names)
}

func (n *netcat) dialAll(names []string) int {
	if n.network == "unix" && len(names) == 1 {
		return n.dial(names[0], "", names[0])
	}
	if len(names) != 2 {
		fmt.Fprintln(n.c.Stderr, "usage: nc [-46dklNnuvz] [-p source_port] [-s sourceaddr] [-w timeout] [destination] [port]")
		return 1
	}
	from, to, ranged := strings.Cut(names[1], "-")
	first, err := net.LookupPort("tcp", from)
	last := first
	if err == nil && ranged {
		last, err = net.LookupPort("tcp", to)
	}
	if err != nil || first == 0 || last == 0 {
		n.c.Fail("port number invalid: %s", names[1])
		return 1
	}
	code := 1
	for port := first; port <= last; port++ {
		if n.dial(net.JoinHostPort(names[0], strconv.Itoa(port)), names[0], strconv.Itoa(port)) == 0 {
			code = 0
		}
	}
	return code
}

func (n *netcat) dial(address, host, port string) int {
	ctx := context.Background()
	if n.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.timeout)
		defer cancel()
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, n.network, address)
	proto := strings.TrimRight(n.network, "46")
	if err != nil {
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns):
			n.c.Fail("getaddrinfo for host \"%s\" port %s: Name or service not known", host, port)
		case n.verbose || !n.scan:
			n.c.Fail("connect to %s port %s (%s) failed: %s", host, port, proto, why(ctx, err))
		}
		return 1
	}
	defer conn.Close()
	if n.verbose {
		service := "*"
		if p, ok := services[port]; ok && !n.numeric {
			service = p
		}
		fmt.Fprintf(n.c.Stderr, "Connection to %s %s port [%s/%s] succeeded!\n", host, port, proto, service)
	}
	if n.scan {
		return 0
	}
	return n.talk(conn)
}

// services are the ports that people look at with nc -v.
var services = map[string]string{"22": "ssh", "25": "smtp", "53": "domain", "80": "http", "443": "https", "3306": "mysql", "5432": "postgresql", "6379": "redis", "8080": "http-alt"}

func why(ctx context.Context, err error) string {
	if ctx.Err() != nil || os.IsTimeout(err) {
		return "Connection timed out"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return applet.Reason(err)
}

// talk copies standard input to the connection and the connection to standard output until the other side ends.
func (n *netcat) talk(conn net.Conn) int {
	if n.program != nil {
		return n.run(conn)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(os.Stdout, &idle{conn, n.timeout})
		ended <- err
	}()
	if n.fromNobody {
		<-ended
		return 0
	}
	sent := make(chan struct{})
	go func() {
		io.Copy(conn, n.c.Stdin)
		close(sent)
	}()
	for {
		select {
		case <-ended:
			return 0
		case <-sent:
			if h, ok := conn.(interface{ CloseWrite() error }); ok && (n.half || n.quitAfter >= 0) {
				h.CloseWrite()
			}
			if n.quitAfter < 0 {
				sent = nil
				continue
			}
			select {
			case <-ended:
			case <-time.After(n.quitAfter):
			}
			return 0
		}
	}
}

// idle gives up when nothing has come for a time (-w).
type idle struct {
	conn  net.Conn
	limit time.Duration
}

func (r *idle) Read(p []byte) (int, error) {
	if r.limit > 0 {
		r.conn.SetReadDeadline(time.Now().Add(r.limit))
	}
	return r.conn.Read(p)
}

// run gives the connection to a program as standard input and output (-e).
func (n *netcat) run(conn net.Conn) int {
	cmd := exec.Command(n.program[0], n.program[1:]...)
	cmd.Stdout, cmd.Stderr = conn, os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.c.Fail("can't execute '%s': %s", n.program[0], applet.Reason(err))
		return 1
	}
	go func() {
		io.Copy(in, conn)
		in.Close()
	}()
	cmd.Wait()
	return 0
}

// serve listens at [ADDRESS] PORT.
func (n *netcat) serve(names []string) int {
	host, port := n.localHost, n.localPort
	switch len(names) {
	case 1:
		port = names[0]
	case 2:
		host, port = names[0], names[1]
	}
	if port == "" {
		fmt.Fprintln(n.c.Stderr, "usage: nc [-46dklNnuvz] [-p source_port] [-s sourceaddr] [-w timeout] [destination] [port]")
		return 1
	}
	if strings.HasPrefix(n.network, "udp") {
		return n.serveUDP(host, port)
	}
	address := net.JoinHostPort(host, port)
	if n.network == "unix" {
		address = port
	}
	l, err := net.Listen(n.network, address)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		n.c.Fail("%s", applet.Reason(err))
		return 1
	}
	defer l.Close()
	if n.verbose {
		shown := host
		if shown == "" {
			shown = "0.0.0.0"
		}
		fmt.Fprintf(n.c.Stderr, "Listening on %s %s\n", shown, port)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			n.c.Fail("accept: %s", why(context.Background(), err))
			return 1
		}
		if n.verbose {
			peer, from, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprintf(n.c.Stderr, "Connection received on %s %s\n", peer, from)
		}
		code := n.talk(conn)
		conn.Close()
		if !n.keep {
			return code
		}
	}
}

// serveUDP prints what comes and answers the last sender with standard input.
func (n *netcat) serveUDP(host, port string) int {
	pc, err := net.ListenPacket(n.network, net.JoinHostPort(host, port))
	if err != nil {
		n.c.Fail("%s", why(context.Background(), err))
		return 1
	}
	defer pc.Close()
	buf := make([]byte, 64<<10)
	answering := false
	for {
		if n.timeout > 0 {
			pc.SetReadDeadline(time.Now().Add(n.timeout))
		}
		k, from, err := pc.ReadFrom(buf)
		if err != nil {
			return 0
		}
		os.Stdout.Write(buf[:k])
		if !answering && !n.fromNobody {
			answering = true
			go func() {
				in := make([]byte, 16<<10)
				for {
					k, err := n.c.Stdin.Read(in)
					if k > 0 {
						pc.WriteTo(in[:k], from)
					}
					if err != nil {
						return
					}
				}
			}()
		}
	}
}
