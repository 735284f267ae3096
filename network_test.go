//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// TestEmptyNetwork runs the portal and a lab in a network namespace that has loopback and nothing else (network_namespaces(7)): all works, and the
// kernel counts no attempt to reach anything outside.
func TestEmptyNetwork(t *testing.T) {
	const inside = "DRYDOCK_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		raiseLoopback(t)
		p := serve(t, t.TempDir())
		tryPortal(t, p)
		if n := outside(t); n != 0 {
			t.Errorf("%d attempts to reach the network outside", n)
		}
		if _, err := net.Dial("tcp", "192.0.2.1:80"); !errors.Is(err, syscall.ENETUNREACH) || outside(t) == 0 {
			t.Errorf("a connection to the outside from here is not noticed: %v", err)
		}
		p.stop(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEmptyNetwork$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 && (errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC)) {
		t.Skipf("this machine forbids network namespaces: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestEmptyNetwork") {
		t.Errorf("inside an empty network: %v\n%s", err, out)
	}
}

// raiseLoopback sets lo up, which a new namespace has down (netdevice(7), SIOCSIFFLAGS).
func raiseLoopback(t *testing.T) {
	t.Helper()
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(s)
	var req struct { // struct ifreq
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); errno != 0 {
		t.Fatalf("setting lo up: %v", errno)
	}
	if list, err := net.Interfaces(); err != nil || len(list) != 1 {
		t.Fatalf("interfaces in the new namespace: %v %v", list, err)
	}
}

// outside counts connections without a route and datagrams sent (a name looked up) in this network namespace, from the kernel's own
// counters (RFC 1213, ipOutNoRoutes and udpOutDatagrams).
func outside(t *testing.T) (n int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	found := 0
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for k, name := range names {
			if key := names[0] + name; key == "Ip:OutNoRoutes" || key == "Udp:OutDatagrams" {
				v, err := strconv.Atoi(values[k])
				if err != nil {
					t.Fatal(err)
				}
				n, found = n+v, found+1
			}
		}
	}
	if found != 2 {
		t.Fatal(fmt.Errorf("/proc/self/net/snmp lacks the counters:\n%s", data))
	}
	return n
}
