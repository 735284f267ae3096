package term

// Terminals over the import module "drydock" (sandbox/wasi/README.md of github.com/drydock-labs/drydock describes it).

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// termios has the layout and the bits of Linux.
type termios struct {
	iflag, oflag, cflag, lflag uint32
	line                       uint8
	cc                         [19]uint8
}

type state struct{ termios termios }

const (
	vtime = 5
	vmin  = 6
)

//go:wasmimport drydock isatty
func hostIsatty(fd int32) int32

//go:wasmimport drydock tcgetattr
//go:noescape
func hostTcgetattr(fd int32, out unsafe.Pointer) uint32

//go:wasmimport drydock tcsetattr
//go:noescape
func hostTcsetattr(fd, action int32, in unsafe.Pointer) uint32

//go:wasmimport drydock winsize
//go:noescape
func hostWinsize(fd int32, out unsafe.Pointer) uint32

func hostError(errno uint32) error {
	if errno == 0 {
		return nil
	}
	return syscall.Errno(errno)
}

func isTerminal(fd int) bool { return hostIsatty(int32(fd)) == 1 }

func getState(fd int) (*State, error) {
	var s State
	if err := hostError(hostTcgetattr(int32(fd), unsafe.Pointer(&s.termios))); err != nil {
		return nil, err
	}
	return &s, nil
}

func restore(fd int, s *State) error {
	return hostError(hostTcsetattr(int32(fd), 0, unsafe.Pointer(&s.termios)))
}

func makeRaw(fd int) (*State, error) {
	old, err := getState(fd)
	if err != nil {
		return nil, err
	}
	raw := *old
	t := &raw.termios
	t.iflag &^= 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400 // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
	t.oflag &^= 0x1                                                  // OPOST
	t.lflag &^= 0x8 | 0x40 | 0x2 | 0x1 | 0x8000                      // ECHO ECHONL ICANON ISIG IEXTEN
	t.cflag = t.cflag&^(0x30|0x100) | 0x30                           // 8 bits, no parity
	t.cc[vmin], t.cc[vtime] = 1, 0
	return old, restore(fd, &raw)
}

func getSize(fd int) (width, height int, err error) {
	var size [4]uint16 // rows, columns, pixels
	if err := hostError(hostWinsize(int32(fd), unsafe.Pointer(&size))); err != nil {
		return -1, -1, err
	}
	return int(size[1]), int(size[0]), nil
}

func readPassword(fd int) ([]byte, error) {
	old, err := getState(fd)
	if err != nil {
		return nil, err
	}
	quiet := *old
	quiet.termios.lflag = quiet.termios.lflag&^0x8 | 0x2 | 0x1 // no ECHO, ICANON, ISIG
	quiet.termios.iflag |= 0x100                               // ICRNL
	if err := restore(fd, &quiet); err != nil {
		return nil, err
	}
	defer restore(fd, old)
	if fd == 0 {
		return readPasswordLine(os.Stdin) // waits while other goroutines run
	}
	return readPasswordLine(descriptor(fd))
}

type descriptor int

func (fd descriptor) Read(p []byte) (int, error) {
	n, err := syscall.Read(int(fd), p)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}
